"""A person's name as it may stand in bytes, and the names it must not be mistaken for."""

import html
import json
import re
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Literal

from ..config import ConfigError
from ..networks import ARCHITECTURES
from ..physics import INITIAL_STATES, PARAMETERS
from ._boundary import REACH, Word, sides, utf16_places

REMOVED = "[removed]"
"""What stands where a name stood in the middle of a text."""
_Normal = Literal["NFC", "NFD"]
_NORMAL: tuple[_Normal, ...] = ("NFC", "NFD")
_SHORTEST, _SHORT, _ROOMY = 3, 4, 6
_WORDS = {
    "all", "patient", "patients", "reference", "ode", "forward", "inverse", "name", "names", "data", "results", "model",
    "seed", "config", "metadata", "summary", "figures", "checkpoints", "true", "false", "null", "none", "time", "info",
}  # fmt: skip


class Person:
    """One person's name: found as a whole word, in every form in which it may stand in a file.

    Accents may be part of their letters or signs of their own (Unicode's NFC and NFD): both spellings are the person.
    """

    def __init__(self, name: str, others: Iterable[str] = ()) -> None:
        self.name, self.spellings = name, tuple(dict.fromkeys([name, *(_normal(name, how) for how in _NORMAL)]))
        self.others = frozenset(other for other in others if not self.same(other))
        self._others = frozenset(_normal(other, "NFC") for other in self.others)
        self._word = Word(name)
        self._text = _any_of(self.spellings)
        self._forms: dict[str, str] = {}
        for spelling in self.spellings:
            for how, form in _forms(spelling):
                self._forms.setdefault(form, how)
        self._written = _any_of(self._forms)
        contained = [other for other in self.others if any(_normal(name, n) in _normal(other, n) for n in _NORMAL)]
        longer = {form for other in contained for n in _NORMAL for _, form in _forms(_normal(other, n))}
        self._longer = re.compile(b"|".join(re.escape(x.encode()) for x in sorted(longer, key=len, reverse=True)))
        self._masks = bool(contained)

    def same(self, name: object) -> bool:
        """Whether this is the person's name, in either spelling."""
        return isinstance(name, str) and _normal(name, "NFC") == _normal(self.name, "NFC")

    def check(self) -> None:
        """Refuse a name that cannot be told from other people's, or from words of the files.

        Raises:
            ConfigError: saying which.
        """
        if alike := sorted(o for o in self.others if _folded(o) == _folded(self.name)):
            raise ConfigError(f"the patient's name differs from that of {alike[0]!r} in case alone; nothing is touched")
        if inside := sorted(o for o in self.others if self.in_text(o)):
            raise ConfigError(
                f"the patient's name stands as a word in that of {inside[0]!r}: files cannot tell whom they mean; "
                "nothing is touched"
            )
        known = _WORDS | {w.casefold() for w in (*PARAMETERS, *INITIAL_STATES, *ARCHITECTURES)}
        if len(self.name) < _SHORTEST or not any(c.isalpha() for c in self.name) or self.name.casefold() in known:
            raise ConfigError(
                f"the patient's name is a number, a word of the files, or shorter than {_SHORTEST} characters: its "
                "places cannot be told from others by search; nothing is touched"
            )

    def in_text(self, text: str) -> bool:
        """Whether a text mentions the person."""
        return next(_places(text, self._text, self._word), None) is not None

    def alone_in(self, text: str) -> bool:
        """Whether a text mentions the person and nobody else who is known."""
        if not self.in_text(text):
            return False
        rest = _normal(self.masked(text, ""), "NFC")
        near = [other for other in self._others if other in rest]
        return not any(next(_places(rest, _any_of([other]), Word(other)), None) for other in near)

    def others_in(self, text: str) -> bool:
        """Whether anybody else's name stands in a text, be it within a word."""
        text = _normal(text, "NFC")
        return any(other in text for other in self._others)

    def masked(self, text: str, by: str = REMOVED, *, forms: bool = False) -> str:
        """The text with something else in the name's place; with `forms`, also where JSON, YAML or HTML escape it"""
        parts, done = [], 0
        for start, end in _places(text, self._written if forms else self._text, self._word):
            parts += [text[done:start], by]
            done = end
        return "".join([*parts, text[done:]])

    def in_bytes(self, data: bytes, *, packed: bool = False) -> str | None:
        """In which form bytes hold the name; None where they do not.

        Args:
            data: what to look at.
            packed: whether texts stand in it without anything between them, as in a database's pages.
        """
        for form, how in self._forms.items():
            raw = form.encode()
            first = at = data.find(raw)
            while at >= 0:
                end = at + len(raw)
                if not self._word.goes_on(data[end : end + 1]):
                    before, after = sides(data, at, end)
                    if self._word.ends(before, after) and self._plausible(before, after):
                        return how
                at = data.find(raw, at + 1)
            if first >= 0 and packed and len(raw) >= _ROOMY and how == "text":
                left = self._longer.sub(b"", data) if self._masks else data
                if raw in left:
                    return f"{how}, packed"
        for spelling in self.spellings:
            for start, end, order in utf16_places(data, spelling, self._word):
                if self._plausible(*sides(data, start, end, order)):
                    return order
        return None

    def _plausible(self, before: str, after: str) -> bool:
        """Four bytes come about by chance in a large binary file: a short name needs text around it."""
        return len(self.name) > _SHORT or all(c.isprintable() or c in "\0\t\r\n" for c in before[-3:] + after[:3])


def _normal(name: str, how: _Normal) -> str:
    return unicodedata.normalize(how, name)


def _folded(name: str) -> str:
    return _normal(_normal(name, "NFC").casefold(), "NFC")


def _any_of(forms: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))


def _places(text: str, pattern: re.Pattern[str], word: Word) -> Iterator[tuple[int, int]]:
    """Where a text has what is looked for as a word of its own."""
    at = 0
    while match := pattern.search(text, at):
        start, end = match.span()
        free = word.ends(text[max(0, start - REACH) : start], text[end : end + REACH])
        if free:
            yield start, end
        at = end if free else start + 1


def _forms(name: str) -> Iterable[tuple[str, str]]:
    """How a name is written in files: as it is, and as JSON, YAML, URLs and HTML escape it."""
    yield "text", name
    yield "JSON", json.dumps(name)[1:-1]
    yield "JSON", json.dumps(name, ensure_ascii=False)[1:-1]
    for upper in (True, False):
        yield "JSON", "".join(c if c.isascii() else _hexed(json.dumps(c)[1:-1], upper) for c in name)
        yield "YAML", "".join(c if c.isascii() else _yaml(c, upper) for c in json.dumps(name, ensure_ascii=False)[1:-1])
    yield "YAML", name.replace("'", "''")
    yield "URL", urllib.parse.quote(name, safe="")
    yield "URL", urllib.parse.quote_plus(name)
    page = html.escape(name)
    for form in (page, page.replace("&#x27;", "&#39;").replace("&quot;", "&#34;"), html.escape(name, quote=False)):
        yield "HTML", form
        yield "HTML", form.encode("ascii", "xmlcharrefreplace").decode()


def _hexed(escape: str, upper: bool) -> str:
    """Escapes `\\u00e9` with their digits in one case."""
    return re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda m: m[0].upper() if upper else m[0], escape)


def _yaml(sign: str, upper: bool) -> str:
    """A sign as YAML writes it between double quotes (YAML 1.2.2, section 5.7)."""
    code = ord(sign)
    mark, width = ("x", 2) if code < 0x100 else ("u", 4) if code < 0x10000 else ("U", 8)
    return f"\\{mark}{code:0{width}{'X' if upper else 'x'}}"
