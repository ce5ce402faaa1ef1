"""Settings of files: a value for all, or one for each by its name, as in `--glucose-unit ada.csv=mmol/L`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from .._arguments import ArgumentError
from ..config import ConfigError
from ..io import OWN_COLUMNS, BasalUnit, CarbsUnit, GlucoseUnit, columns_from_text, meant
from ..io.formats import FORMATS

T = TypeVar("T")
Group = Path | list[Path]
"""One person's file, or the files of Nightscout together."""


@dataclasses.dataclass(frozen=True)
class Setting(Generic[T]):
    """A value for every file, and those of some by name."""

    every: T | None
    """For the files without one of their own; None where none was given."""
    own: Mapping[int, T]
    """By the number of the file."""

    def of(self, number: int) -> T | None:
        """The value for a file."""
        return self.own.get(number, self.every)


@dataclasses.dataclass(frozen=True)
class _Kind(Generic[T]):
    """How a setting is written."""

    read: Callable[[str], T]
    """The value of a text; a ValueError says what a value looks like."""
    example: str
    """What may stand behind the name."""


def _one_of(*words: str) -> _Kind[str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"give {', '.join(words)}")
        return text

    return _Kind(read, words[0])


def _order(text: str) -> bool:
    if text not in ("day-first", "month-first"):
        raise ValueError("give day-first, month-first")
    return text == "day-first"


def _length(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("give a length in h") from None


_KINDS: Mapping[str, _Kind[Any]] = {
    "format": _one_of(*FORMATS),
    "glucose_unit": _one_of(*get_args(GlucoseUnit)),
    "basal_unit": _one_of(*get_args(BasalUnit)),
    "carbs_unit": _one_of(*get_args(CarbsUnit)),
    "time_zone": _Kind(str, "Europe/Madrid"),
    "dates": _Kind(_order, "day-first"),
    "columns": _Kind(columns_from_text, "time=Zeit,glucose=Glukose"),
    "subject": _Kind(str, "Ada"),
    "device": _Kind(str, "1 of 2"),
    "start": _Kind(str, "2024-05-01"),
    "hours": _Kind(_length, "48"),
}
"""Every setting that may be a file's own, by the name of its flag."""


def settings(groups: Sequence[Group], how: Mapping[str, Any]) -> dict[str, Setting[Any]]:
    """Settings of files as a person wrote them, by name: the texts of a flag, or one value for all.

    Raises:
        ConfigError: where a value is none, or no file has the name before it.
    """
    found: dict[str, Setting[Any]] = {}
    for name, given in how.items():
        if given in (None, []):
            continue
        texts = [given] if isinstance(given, str) else given
        if name in _KINDS and isinstance(texts, Sequence):
            found[name] = _setting(f"--{name.replace('_', '-')}", texts, _KINDS[name], groups)
        else:
            found[name] = Setting(given, {})
    if (dates := found.pop("dates", None)) is not None:
        plain = found.get("day_first", Setting(None, {})).every
        if None not in (plain, dates.every) and plain != dates.every:
            raise ConfigError("--day-first, --month-first and --dates contradict each other; leave one out")
        found["day_first"] = Setting(plain if dates.every is None else dates.every, dates.own)
    return found


def _setting(flag: str, texts: Sequence[str], kind: _Kind[T], groups: Sequence[Group]) -> Setting[T]:
    every: list[tuple[str, T]] = []
    own: dict[int, T] = {}
    for text in texts:
        name, value = _split(flag, text, kind, groups)
        try:
            read = kind.read(value)
        except ValueError as e:
            words = e.problem if isinstance(e, ArgumentError) else str(e)
            shown = f"{flag} {text}: {words}"
            raise ConfigError(f"{shown}, or FILE={kind.example} for one file" if kind.read is not columns_from_text
                              else shown) from None  # fmt: skip
        if name is None:
            every.append((value, read))
            continue
        number = _file(flag, name, text, groups)
        if own.setdefault(number, read) != read:
            raise ConfigError(f"{flag} {text}: {name} has another value already; give one for each file")
    if len(every) > 1:
        first, second = every[0][0], every[1][0]
        raise ConfigError(f"{flag} {first} and {second}: say for which file, as in {flag} FILE={second}")
    return Setting(every[0][1] if every else None, own)


def _split(flag: str, text: str, kind: _Kind[Any], groups: Sequence[Group]) -> tuple[str | None, str]:
    """The file's name before the value, and the value; None for all files."""
    there = sorted({name for group in groups for name in _names(group)}, key=len, reverse=True)
    head, equals, rest = text.partition("=")
    if kind.read is columns_from_text:
        # `time=Zeit,...` is for all; `ada.csv=time=Zeit,...` for one file.
        if head.strip() in OWN_COLUMNS or "=" not in rest.split(",", 1)[0]:
            return None, text
    elif not equals:
        return None, text
    known = next((name for name in there if text.startswith(f"{name}=")), None)
    return (head, rest) if known is None else (known, text[len(known) + 1 :])


def _file(flag: str, name: str, text: str, groups: Sequence[Group]) -> int:
    """The number of the file that a name stands for: its path as it was given, its name, or that without the ending."""
    named = [number for number, group in enumerate(groups) if name in _names(group)]
    if not named:
        there = [_shown(group) for group in groups]
        raise ConfigError(f"{flag} {text}: there is no file {name}{meant(name, there)}; there are {', '.join(there)}")
    if len(named) > 1:
        ways = " or ".join(str(_paths(groups[number])[0]) for number in named)
        raise ConfigError(f"{flag} {text}: several files are called {name}; write {ways}")
    return named[0]


def _names(group: Group) -> set[str]:
    return {name for path in _paths(group) for name in (str(path), path.name, path.stem)}


def _shown(group: Group) -> str:
    return " and ".join(path.name for path in _paths(group))


def _paths(group: Group) -> list[Path]:
    return [group] if isinstance(group, Path) else group
