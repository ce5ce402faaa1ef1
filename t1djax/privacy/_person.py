"""A person's name as it may stand in bytes, and the names it must not be mistaken for."""

import html
import json
import re
import urllib.parse
from collections.abc import Iterable

from ..config import ConfigError
from ..networks import ARCHITECTURES
from ..physics import INITIAL_STATES, PARAMETERS

REMOVED = "[removed]"
"""What stands where a name stood in the middle of a text."""
_SHORTEST, _SHORT, _ROOMY = 3, 4, 6
_WORDS = {
    "all", "patient", "patients", "reference", "ode", "forward", "inverse", "name", "names", "data", "results", "model",
    "seed", "config", "metadata", "summary", "figures", "checkpoints", "true", "false", "null", "none", "time", "info",
}  # fmt: skip
# A letter before a name belongs to it, unless it ends what URLs and JSON write for another sign.
_ESCAPED = r"(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf])|(?<=\\u20[0-9A-Fa-f]{2})|(?<=\\u00[abAB][0-9A-Fa-f])"
_BEFORE, _AFTER = rf"(?:(?<![^\W_])|{_ESCAPED})", r"(?![^\W_])"
_BYTES_BEFORE, _BYTES_AFTER = rf"(?:(?<![0-9A-Za-z])|{_ESCAPED})".encode(), rb"(?![0-9A-Za-z])"
_PRINTABLE = frozenset(range(0x20, 0x7F)) | {0, 9, 10, 13}


class Person:
    """One person's name: found as a whole word, in every form in which it may stand in a file."""

    def __init__(self, name: str, others: Iterable[str] = ()) -> None:
        self.name, self.others = name, frozenset(others) - {name}
        self._text = re.compile(_BEFORE + re.escape(name) + _AFTER)
        raw: dict[bytes, str] = {}
        for how, form in _forms(name):
            raw.setdefault(form.encode(), how)
        self._bytes = [
            (how, form, re.compile(_BYTES_BEFORE + re.escape(form) + _BYTES_AFTER)) for form, how in raw.items()
        ]
        longest = sorted((form.decode() for form in raw), key=len, reverse=True)
        self._written = re.compile(_BEFORE + "(?:" + "|".join(map(re.escape, longest)) + ")" + _AFTER)
        for how in ("utf-16-le", "utf-16-be"):
            form = name.encode(how)
            self._bytes.append((how, form, re.compile(re.escape(form))))
        contained = [other for other in self.others if name in other]
        self._longer = re.compile(b"|".join(re.escape(o.encode()) for o in sorted(contained, key=len, reverse=True)))
        self._masks = bool(contained)

    def check(self) -> None:
        """Refuse a name that cannot be told from other people's, or from words of the files.

        Raises:
            ConfigError: saying which.
        """
        if alike := sorted(o for o in self.others if o.casefold() == self.name.casefold()):
            raise ConfigError(f"the patient's name differs from that of {alike[0]!r} in case alone; nothing is touched")
        if inside := sorted(o for o in self.others if self._text.search(o)):
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
        return self._text.search(text) is not None

    def alone_in(self, text: str) -> bool:
        """Whether a text mentions the person and nobody else who is known."""
        if not self.in_text(text):
            return False
        rest = self.masked(text, "")
        near = [other for other in self.others if other in rest]
        return not any(re.search(_BEFORE + re.escape(other) + _AFTER, rest) for other in near)

    def masked(self, text: str, by: str = REMOVED, *, forms: bool = False) -> str:
        """The text with something else in the name's place; with `forms`, also where JSON, YAML or HTML escape it"""
        return (self._written if forms else self._text).sub(by.replace("\\", r"\\"), text)

    def in_bytes(self, data: bytes, *, packed: bool = False) -> str | None:
        """In which form bytes hold the name; None where they do not.

        Args:
            data: what to look at.
            packed: whether texts stand in it without anything between them, as in a database's pages.
        """
        for how, form, pattern in self._bytes:
            if form not in data:
                continue
            for match in pattern.finditer(data):
                if self._plausible(data, match.start(), match.end()):
                    return how
            if packed and len(form) >= _ROOMY and how == "text":
                left = self._longer.sub(b"", data) if self._masks else data
                if form in left:
                    return f"{how}, packed"
        return None

    def _plausible(self, data: bytes, start: int, end: int) -> bool:
        """Four bytes come about by chance in a large binary file: a short name needs text around it."""
        if len(self.name) > _SHORT:
            return True
        around = data[max(0, start - 3) : start] + data[end : end + 3]
        return all(byte in _PRINTABLE for byte in around)


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
