"""Where a word ends: whether the sign beside a name continues it, however the sign is written.

Source: Unicode Standard Annex 29, section 4 (word boundaries), simplified to names.
"""

import html
import re
import unicodedata
from collections.abc import Iterator

REACH = 96
"""Bytes that are read on either side of a name: a few signs, each in its longest writing."""
_NONE = "\N{REPLACEMENT CHARACTER}"
# Words follow each other without a space, or particles are joined to them: a letter beside a name says nothing.
_RUNNING = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "ARABIC", "HEBREW"}
_SIGN = (
    r"(?:%(?:25)*[0-9A-Fa-f]{2})+"  # URLs
    r"|(?:\\+u[0-9A-Fa-f]{4})+|\\+U[0-9A-Fa-f]{8}|(?:\\+x[0-9A-Fa-f]{2})+"  # JSON, YAML, Python
    r"|(?:\\+[23][0-7]{2})+|\\+[abefnrtv0NLP_]"  # Git, YAML
    r"|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][0-9A-Za-z]{1,30});"  # HTML
)
_FIRST, _LAST = re.compile(_SIGN), re.compile(rf"(?:{_SIGN})\Z")


class Word:
    """A name, and which signs beside it make it part of a longer word.

    Letters of the name's own scripts, digits and accents do. So `Ada` is no word in `Adam`, in `Ada` with an accent on
    its last letter, or in `Ada` followed by `\\u00ed`; but it is one between Chinese letters.
    """

    def __init__(self, name: str) -> None:
        self._scripts = {_script(c) for c in name if c.isalpha()} - _RUNNING

    def ends(self, before: str, after: str) -> bool:
        """Whether a name that stands between these texts is not part of a longer word."""
        return not (self.continues(last_sign(before)) or self.continues(first_sign(after)))

    def goes_on(self, byte: bytes) -> bool:
        """Whether the byte after a name alone says that the word goes on; most of them do."""
        return byte.isascii() and self.continues(byte.decode())

    def continues(self, sign: str) -> bool:
        """Whether a sign beside the name belongs to the same word."""
        if not sign:
            return False
        if sign.isascii():
            return sign.isdigit() or (sign.isalpha() and "LATIN" in self._scripts)
        kind = unicodedata.category(sign)
        return kind[0] == "M" or kind == "Nd" or (kind[0] == "L" and _script(sign) in self._scripts)


def _script(sign: str) -> str:
    return unicodedata.name(sign, "").split(" ")[0].split("-")[0]


def _passes(sign: str) -> bool:
    """Whether a sign only says how the one before it is drawn."""
    return "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef" or sign == "\u034f"


def first_sign(text: str) -> str:
    """The sign that a text begins with, read from its escape; empty at the end of a text."""
    while True:
        match = _FIRST.match(text)
        signs = _read(match[0]) if match else text[:1]
        sign = next((c for c in signs if not _passes(c)), "")
        if sign or not signs:
            return sign
        text = text[match.end() if match else 1 :]


def last_sign(text: str) -> str:
    """The sign that a text ends with, read from its escape and without its accents."""
    while True:
        match = _LAST.search(text) if any(mark in text for mark in "%\\&") else None
        signs = _read(match[0]) if match else text[-1:]
        sign = next((c for c in reversed(signs) if unicodedata.category(c)[0] != "M"), "")
        if sign or not signs:
            return sign
        text = text[: match.start() if match else -1]


def _read(escape: str) -> str:
    """What an escape stands for. ASCII letters and digits need none: what looks like one of them is something else."""
    if escape.startswith("&"):
        read = html.unescape(escape)
    elif escape.startswith("%"):
        read = _bytes(re.sub("%(?:25)*", "", escape), 16, 2)
    else:
        kind, digits = escape.lstrip("\\")[0], re.sub(r"\\+[uUx]?", "", escape)
        if kind == "x":
            read = _bytes(digits, 16, 2)
            if _NONE in read:  # YAML's, which are signs, and not Python's, which are bytes
                read = bytes.fromhex(digits).decode("latin-1")
        elif kind in "uU":
            read = _units(digits, 4 if kind == "u" else 8)
        else:
            read = _bytes(digits, 8, 3) if kind in "23" else " "
    return "".join(" " if c.isascii() and c.isalnum() else c for c in read) or " "


def _bytes(digits: str, base: int, width: int) -> str:
    codes = [int(digits[i : i + width], base) for i in range(0, len(digits), width)]
    return bytes(codes).decode("utf-8", "replace")


def _units(digits: str, width: int) -> str:
    codes = [int(digits[i : i + width], 16) for i in range(0, len(digits), width)]
    if width == 8:
        return "".join(chr(code) if code < 0x110000 else _NONE for code in codes)
    return b"".join(code.to_bytes(2, "little") for code in codes).decode("utf-16-le", "replace")


def sides(data: bytes, start: int, end: int, encoding: str = "utf-8") -> tuple[str, str]:
    """The text on either side of a place in bytes; what is none reads as U+FFFD, which ends a word."""
    unit = 2 if encoding.startswith("utf-16") else 1
    first = start - min(start // unit, REACH // unit) * unit
    return data[first:start].decode(encoding, "replace"), data[end : end + REACH].decode(encoding, "replace")


def utf16_places(data: bytes, name: str, word: Word) -> Iterator[tuple[int, int, str]]:
    """Where UTF-16 has a name as a word of its own, in which byte order.

    A name in ASCII can often be read in both, one byte apart; the signs beside it differ then. UTF-16 begins at even
    places, so that the even reading counts, but where the odd one sees what a misreading hardly makes: Chinese.
    """
    for order, other, aside in (("utf-16-le", "utf-16-be", -1), ("utf-16-be", "utf-16-le", 1)):
        form, twin = name.encode(order), name.encode(other)
        at = data.find(form)
        while at >= 0:
            end = at + len(form)
            beside = _beside(data, at, end, order)
            free = not any(map(word.continues, beside))
            there = at + aside
            if free and at % 2 and there >= 0 and data[there : there + len(twin)] == twin:
                theirs = _beside(data, there, there + len(twin), other)
                free = all(not word.continues(x) or "\u3000" <= s < _NONE for x, s in zip(theirs, beside, strict=True))
            if free:
                yield at, end, order
            at = data.find(form, at + 1)


def _beside(data: bytes, start: int, end: int, order: str) -> tuple[str, str]:
    before, after = sides(data, start, end, order)
    return last_sign(before), first_sign(after)
