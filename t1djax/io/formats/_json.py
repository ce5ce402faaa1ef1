"""Records of JSON exports: read as one array, one object, or one record a line, and judged by number."""

import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .._checks import BLANKS, quote
from .._remarks import Flaw, Step, flaw
from . import _times

Record = Mapping[str, Any]
_MOST_DIGITS = 300
LONGEST_MIN = 10 * 365 * 24 * 60.0
MS_PER_MIN = 6e4
_REMEDY = "is the file cut short? export it again"


def _loads(text: str) -> Any:
    """JSON; an integer of more digits than any number has is infinite, and so no reading."""
    whole = lambda digits: int(digits) if len(digits) < _MOST_DIGITS else float(digits)
    return json.loads(text, object_hook=_plain if '"$' in text else None, parse_int=whole)


class Source(NamedTuple):
    """One record, and where it stands."""

    file: str
    number: int
    """From 1, or the line where the records stand one on a line."""
    data: Record

    def flaw(self, key: str, what: str, remedy: str) -> Flaw:
        """One problem with a field."""
        return Flaw(self.file, key, (self.number,), (what,), remedy, "record")

    def inside(self, data: Any) -> "Source":
        """A record within this one; empty where it is none."""
        return self._replace(data=data if isinstance(data, dict) else {})

    def number_of(self, key: str, *, negative: bool = False) -> Step[float | None]:
        """A field as a number; None where it is absent or null, or wrong (which is reported)."""
        value = self.data.get(key)
        if value is None or value == "":
            return None
        number = math.nan
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
        elif isinstance(value, str):
            try:
                number = float(value) if value.strip(BLANKS).isascii() and "_" not in value else math.nan
            except ValueError:
                number = math.nan
        if not math.isfinite(number):
            yield self.flaw(key, f"{quote(str(value))} is not a number", "write a number with a decimal point")
            return None
        if number < 0 and not negative:
            yield self.flaw(key, f"{number:g} is negative", "give zero or more")
            return None
        return number

    def time_of(self, key: str) -> dt.datetime | None:
        """A field as a time: ISO 8601 text, or seconds or milliseconds since 1970."""
        value = self.data.get(key)
        if isinstance(value, str):
            time = _times.iso(value.strip(BLANKS))
            return _times.unix(value) if time is None else time
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _times.since_1970(float(value))
        return None

    def minutes_of(self, key: str, *, per_min: float = 1.0) -> Step[float | None]:
        """A field as a length, min. What lasts for years is cut to ten: it has no end in the file."""
        value = yield from self.number_of(key)
        return None if value is None else min(value / per_min, LONGEST_MIN)


def read_records(file: str, text: str) -> Step[list[Source] | None]:
    """The records of a text: those of an array, one object, or one object on each line."""
    try:
        data = _loads(text)
    except json.JSONDecodeError as error:
        lines = _lines(file, text)
        if lines is not None:
            return lines
        yield flaw(file, f"it is not JSON here ({error.msg}, column {error.colno})", _REMEDY, row=error.lineno)
        return None
    except RecursionError:
        yield flaw(file, "its JSON is nested too deep", "export it again", row=1)
        return None
    while isinstance(data, dict) and isinstance(inner := data.get("result"), list | dict):
        data = inner  # an answer of a server, with its status around
    rows = data if isinstance(data, list) else [data]
    wrong = [number for number, row in enumerate(rows, 1) if not isinstance(row, dict)]
    if wrong:
        yield Flaw(file, None, wrong, ("it is no object",), "export it again", "record")
        return None
    return [Source(file, number, row) for number, row in enumerate(rows, 1)]


def _plain(record: dict[str, Any]) -> Any:
    """A value in the extended JSON of MongoDB as itself."""
    if len(record) != 1:
        return record
    (key, value), *_ = record.items()
    if key in ("$numberLong", "$numberInt", "$numberDouble", "$numberDecimal"):
        return float(value) if "." in str(value) or "e" in str(value).lower() else int(value)
    return value if key in ("$date", "$oid") else record


def _lines(file: str, text: str) -> list[Source] | None:
    out: list[Source] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip(BLANKS):
            try:
                data = _loads(line)
            except (json.JSONDecodeError, RecursionError):
                return None
            if not isinstance(data, dict):
                return None
            out.append(Source(file, number, data))
    return out if len(out) > 1 else None


def once(rows: Sequence[Source], keys: Sequence[str]) -> list[Source]:
    """Without records that come again under the same identity, or word for word."""
    seen: set[str] = set()
    out: list[Source] = []
    for row in rows:
        name = next((f"{key}={row.data[key]}" for key in keys if row.data.get(key)), None)
        name = json.dumps(row.data, sort_keys=True) if name is None else name
        if name not in seen:
            seen.add(name)
            out.append(row)
    return out
