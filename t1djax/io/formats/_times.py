"""One time as R, pandas, .NET, spreadsheets, browsers and phones write it, where it is unambiguous."""

import datetime as dt
import re
import unicodedata
import zoneinfo
from typing import NamedTuple

from .._checks import BLANKS

_MONTHS = {
    "jan": 1, "ene": 1, "gen": 1, "feb": 2, "fev": 2, "mar": 3, "mrt": 3, "mae": 3, "apr": 4, "abr": 4, "avr": 4,
    "may": 5, "mai": 5, "mei": 5, "maj": 5, "mag": 5, "jun": 6, "juin": 6, "giu": 6, "jul": 7, "juil": 7, "lug": 7,
    "aug": 8, "ago": 8, "aou": 8, "sep": 9, "set": 9, "oct": 10, "okt": 10, "ott": 10, "out": 10, "nov": 11, "dec": 12,
    "dez": 12, "dic": 12,
}  # fmt: skip
_ZONES = {
    "UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "MEZ": 1, "CEST": 2, "MESZ": 2, "EET": 2,
    "EEST": 3, "MSK": 3, "EST": -5, "EDT": -4, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "JST": 9,
    "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13,
}  # fmt: skip
"""Offset from UTC, h. Names that several places share for different hours, such as CST and IST, are none."""
_SPACES = re.compile(r"[\u00a0\u2000-\u200b\u202f\u3000\ufeff]+")
_NET = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")
_ASIDE = re.compile(r"\s*(\([^)]*\)|\[[^\]]*\])$")
_WORD = r"([^\W\d_]{3,10})\.?"
_DAY_MONTH_YEAR = re.compile(rf"(\d{{1,2}})\.?[-/ ]+(?:de +)?{_WORD}[-/, ]+(?:de +)?(\d{{4}}|\d\d(?=\D))(.*)")
_MONTH_DAY_YEAR = re.compile(rf"{_WORD}[-/ ]+(\d{{1,2}}),?[-/ ]+(\d{{4}})(.*)")
_YEAR_MONTH_DAY = re.compile(rf"(\d{{4}})[-/ ]{_WORD}[-/ ](\d{{1,2}})(.*)")
_C_TIME = re.compile(rf"{_WORD} +(\d{{1,2}}) +(\d{{1,2}}:\d\d:\d\d)( +\S+)? +(\d{{4}})")
_WEEKDAY = re.compile(r"([^\W\d_]{2,10})\.?,? +(?=\S)")
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:[T ](\d\d):?(\d\d)(?::?(\d\d))?(?:\.\d+)?|(\d\d)(\d\d)(\d\d))(Z?)")
_COMMA = re.compile(r"(\d),\s*(?=\d{1,2}:\d\d)")
_BETWEEN = re.compile(r"(?<=\d),? +(à|um|at|kl\.?|klo|om|alle( ore)?|a las?|às) +(?=\d)", re.I)
"""What stands between a date and a time of day."""
_FRENCH = re.compile(r"(?<= )(\d{1,2}) ?h ?(?=\d\d)")
_EAST = str.maketrans({"年": "-", "月": "-", "日": " ", "时": ":", "時": ":", "分": ":", "秒": " "})
_HALF = re.compile(r"(?<=\d)\s*([ap])\.?\s?m\b\.?", re.I)
_FRACTION = re.compile(r"(:\d\d)[.,](\d{1,6})\d*")
_NAMED = re.compile(r"(.*:\d\d(?:\.\d+)?) *([A-Z]{1,5}|[A-Z][A-Za-z]+/[A-Za-z_/+-]+)")
_OFFSET = re.compile(r"(.*:\d\d(?:\.\d+)?) *(?:GMT|UTC)?([+-])(\d{1,2}):?(\d\d)?")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}")
_HOUR = re.compile(r"(\d{4}-\d\d-\d\d[T ])(\d:)")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_STAMP = re.compile(
    r"(\d{1,4})([-/.])(\d{1,2})\2(\d{2,4})\.?[T ]+(\d{1,2})[:.](\d\d)(?:[:.](\d\d))?(?: ?([ap])\.?m\.?)?",
    re.ASCII | re.I,
)
_UNIX = re.compile(r"\d{9,19}(\.\d*)?|\d\.\d+[eE]\+?\d{1,2}", re.ASCII)
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_FIRST_S, _LAST_S = 9e8, 4.2e9  # from 1998 on, before which there were no sensors, to 2103
YEARS = range(1900, 2200)
"""Of times that are one; outside there is damage, and clocks that no calendar carries."""
EPOCH_1900 = dt.datetime(1899, 12, 30)
"""Day zero of spreadsheets; MATLAB's is so many days before."""
_MATLAB_DAYS = 693960
_SERIALS = (36526.0, 73050.0)
"""Days of this century as spreadsheets count them: 2000 to 2099."""


def plain(cell: str) -> str:
    """A time in digits, ISO 8601 where the year leads; a text that is no time stays as it is."""
    text = _SPACES.sub(" ", cell).strip()
    if not text.isascii():  # digits of other scripts
        text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    if (net := _NET.fullmatch(text)) is not None:
        return (dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=int(net[1]))).isoformat()
    while (aside := _ASIDE.search(text)) is not None and text[0].isalnum():
        text = text[: aside.start()]
    text = _FRENCH.sub(r"\1:", _BETWEEN.sub(" ", " ".join(text.translate(_EAST).split())))
    text = _HOUR.sub(r"\g<1>0\2", _numbered(text))
    if (compact := _COMPACT.fullmatch(text)) is not None:
        year, month, day, h, m, s, *packed, utc = compact.groups()
        h, m, s = (h, m, s or "00") if h else packed
        text = f"{year}-{month}-{day}T{h}:{m}:{s}{utc}"
    text = _HALF.sub(lambda half: f" {half[1].upper()}M", _FRACTION.sub(r"\1.\2", _COMMA.sub(r"\1 ", text)))
    if (named := _NAMED.fullmatch(text)) is not None and named[2] not in ("AM", "PM"):
        return _with_zone(named[1], named[2]) or text
    if (offset := _OFFSET.fullmatch(text)) is not None:
        return f"{offset[1]}{offset[2]}{int(offset[3]):02d}:{offset[4] or '00'}"
    return text


def is_date(cell: str) -> bool:
    """Whether it is a date without a time of day, as R writes midnight."""
    return _DATE.fullmatch(cell) is not None


def serials(numbers: list[float]) -> list[dt.datetime] | None:
    """Times as spreadsheets (or MATLAB) count days; None where they are no such numbers."""
    first = min(numbers, default=0.0)
    days = _MATLAB_DAYS if first > _MATLAB_DAYS else 0
    if not all(_SERIALS[0] <= x - days < _SERIALS[1] for x in numbers):
        return None
    return [EPOCH_1900 + dt.timedelta(seconds=round((x - days) * 86400)) for x in numbers]


def _month(word: str) -> int | None:
    bare = unicodedata.normalize("NFKD", word.lower().replace("ä", "ae")).encode("ascii", "ignore").decode()
    return _MONTHS.get(bare[:4]) or _MONTHS.get(bare[:3])


def _numbered(text: str) -> str:
    """With the month as a number and without the day of the week."""
    if not any(c.isalpha() for c in text[:14]):
        return text
    if (weekday := _WEEKDAY.match(text)) is not None and _month(weekday[1]) is None and text[weekday.end()].isalnum():
        text = text[weekday.end() :]
    if (found := _C_TIME.fullmatch(text)) is not None and (month := _month(found[1])):
        return f"{found[5]}-{month:02d}-{int(found[2]):02d} {found[3]}{found[4] or ''}"
    for pattern, (year, name, day) in (
        (_DAY_MONTH_YEAR, (3, 2, 1)),
        (_MONTH_DAY_YEAR, (3, 1, 2)),
        (_YEAR_MONTH_DAY, (1, 2, 3)),
    ):
        if (found := pattern.fullmatch(text)) is not None and (month := _month(found[name])):
            whole = found[year] if len(found[year]) == 4 else f"20{found[year]}"
            return f"{whole}-{month:02d}-{int(found[day]):02d} {found[4].lstrip(' ,:T')}".rstrip()
    return text


def _with_zone(time: str, name: str) -> str | None:
    """A time with the offset of a zone by its abbreviation, or by its IANA name; None where that is not known."""
    if name in _ZONES:
        return f"{time}{'-' if _ZONES[name] < 0 else '+'}{abs(_ZONES[name]):02d}:00"
    try:
        local = dt.datetime.fromisoformat(time).replace(tzinfo=zoneinfo.ZoneInfo(name))
    except (ValueError, zoneinfo.ZoneInfoNotFoundError, OSError):
        return None
    return local.isoformat()


def iso(cell: str) -> dt.datetime | None:
    """A time as ISO 8601 writes it, or as programs do that can be read in no other way."""
    try:
        text = cell if _ISO.fullmatch(cell) else plain(cell)
        time = dt.datetime.fromisoformat(text) if _ISO.fullmatch(text) else None
    except ValueError:
        return None
    return time if time is not None and time.year in YEARS else None


def is_iso(cell: str) -> bool:
    """Whether a time is written as ISO 8601, or so that nothing but ISO 8601 can be meant."""
    return _ISO.fullmatch(cell) is not None or (_STAMP.fullmatch(cell) is None and iso(cell) is not None)


def since_1970(number: float) -> dt.datetime | None:
    """A time of this century as seconds, milliseconds, microseconds or nanoseconds since 1970, in UTC."""
    per_second = 1e3 if 1e11 < number < 1e13 else 1.0 if number < 1e11 else 1e6 if number < 1e16 else 1e9
    seconds = number / per_second
    return _EPOCH + dt.timedelta(seconds=seconds) if _FIRST_S <= seconds < _LAST_S else None


def unix(cell: str) -> dt.datetime | None:
    """A time of this century as a number since 1970, in UTC."""
    return since_1970(float(cell)) if _UNIX.fullmatch(cell) else None


class Stamp(NamedTuple):
    """The numbers of a time as written."""

    date: tuple[int, int, int]
    clock: tuple[int, int, int]
    year_first: bool
    short_year: bool

    def time(self, day_first: bool) -> dt.datetime | None:
        """The time, with the day before the month or after it; where the year leads, the month follows it."""
        first, second, third = self.date
        if self.year_first:
            year, month, day = (first, third, second) if day_first else self.date
        else:
            day, month, year = (first, second, third) if day_first else (second, first, third)
            year += 2000 if self.short_year else 0
        try:
            return dt.datetime(year, month, day, *self.clock) if year in YEARS else None
        except ValueError:
            return None


def stamp(cell: str) -> Stamp | None:
    """The numbers of a time; None where it is no such thing."""
    match = _STAMP.fullmatch(cell.strip(BLANKS)) or _STAMP.fullmatch(plain(cell))
    if match is None:
        return None
    first, _, second, third, hour, minute, second_s, half = match.groups()
    if 3 in (len(first), len(third)) or len(first) == len(third) == 4:
        return None
    h = int(hour)
    if half is not None:
        if not 1 <= h <= 12:
            return None
        h = h % 12 + (12 if half in "pP" else 0)
    date = (int(first), int(second), int(third))
    return Stamp(date, (h, int(minute), int(second_s or 0)), len(first) == 4, max(len(first), len(third)) < 4)


def is_time(cell: str) -> bool:
    """Whether a cell holds a date and a time of day."""
    if iso(cell) is not None or unix(cell) is not None:
        return True
    written = stamp(cell)
    return written is not None and any(written.time(order) is not None for order in (True, False))
