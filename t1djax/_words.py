"""Numbers of things, in words; and words as lists."""

import difflib
import textwrap
from collections.abc import Iterable


def counted(n: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 patient`, `2 patients`.

    Example:
        >>> from t1djax._words import counted
        >>> counted(1, "patient"), counted(0, "patient"), counted(2, "person", "people")
        ('1 patient', '0 patients', '2 people')
    """
    return f"{n} {one if n == 1 else many or f'{one}s'}"


def did_you_mean(name: object, among: Iterable[str]) -> str:
    """`: did you mean ...?`, where one of the names is close; else nothing.

    Example:
        >>> from t1djax._words import did_you_mean
        >>> did_you_mean("ksy", ["ksi", "kl"]), did_you_mean("Tu", ["ksi"])
        (': did you mean ksi?', '')
    """
    close = difflib.get_close_matches(str(name), list(among), n=1)
    return f": did you mean {close[0]}?" if close else ""


def folded(text: str) -> str:
    """A text in lines of a terminal, those after the first moved to the right."""
    return textwrap.fill(text, 80, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def some(names: Iterable[str], most: int = 5, *, between: str = ", ") -> str:
    """The first names, and how many there are more.

    Example:
        >>> from t1djax._words import some
        >>> some(["Ada", "Ben", "Cleo"], 2)
        'Ada, Ben and 1 more'
    """
    names = list(names)
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def each(names: str | Iterable[str]) -> tuple[str, ...]:
    """Names, in order; a text is one name, not its letters.

    Example:
        >>> from t1djax._words import each
        >>> each("ksi"), each(["ksi", "kl"])
        (('ksi',), ('ksi', 'kl'))
    """
    return (names,) if isinstance(names, str) else tuple(names)
