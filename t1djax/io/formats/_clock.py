"""A column of times of any table: clocks, counts of seconds or days, minutes, and times of day."""

import datetime as dt
import re
from collections.abc import Sequence

import numpy as np

from ..._arguments import argument
from .._checks import BLANKS, Findings, Table, blank, numbers, quote, quote_name
from .._tables import LONGEST
from . import _exports, _rows, _times

EPOCH = dt.datetime(2000, 1, 1)
"""Day from which times without dates count."""


def from_minutes(table: Table, column: str, found: Findings) -> _rows.Times:
    """Times of a column of minutes, from `EPOCH` on."""
    minutes = numbers(table, column, found)
    found.flag(table, column, blank(table, column), "the row has no time", "state it")
    found.flag(table, column, np.abs(minutes) > LONGEST, "{} is beyond any record", "give minutes")
    return [EPOCH + dt.timedelta(minutes=m) if abs(m) <= LONGEST else None for m in minutes.tolist()]


_OF_DAY = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?", re.ASCII)
_COUNTS = re.compile(r"\d{5,19}(\.\d*)?|\d\.\d+[eE]\+?\d{1,2}", re.ASCII)


def from_clock(
    table: Table, column: str, day_first: bool | None, found: Findings
) -> tuple[list[dt.datetime | None], bool]:
    """Times, and whether day and month are to be turned round because it was asked for where the year leads."""
    cells = [cell.strip(BLANKS) for cell in table.columns[column]]
    stated = [cell for cell in cells if cell]
    counts = bool(stated) and all(map(_COUNTS.fullmatch, stated))
    if counts and (counted := _counted(table, column, cells, stated, found)) is not None:
        if day_first is not None:
            what = "its times are counted and have no day or month"
            found.add(table.file, what, f"leave {argument('day_first')} out", column=quote_name(column))
        return counted, False
    if stated and all(map(_OF_DAY.fullmatch, stated)):
        return _of_day(cells), False
    # R writes midnight without its time of day.
    dates = [_times.is_date(cell) for cell in cells]
    if any(dates) and sum(dates) < 0.2 * len(cells):
        cells = [f"{cell} 00:00:00" if date else cell for cell, date in zip(cells, dates, strict=True)]
        table.columns[column] = cells
    if any(_rows.iso(cell) is not None for cell in stated):
        return list(_rows.times(table, column, _rows.iso, "2024-05-01 07:30:00 in other rows", found)), bool(day_first)
    written = [part for cell in stated if (part := _exports.stamp(cell)) is not None]
    if not written:
        shown = f"{quote(stated[0])} is no time" if stated else "there is no time"
        two = argument("columns", "time=Date+Time")
        mend = f"write 2024-05-01 07:30 or 01.05.2024 07:30; two columns are joined as in {two}"
        found.add(table.file, shown, f"{mend}; minutes are time_min", column=quote_name(column))
        return [None] * len(cells), False
    times = _exports.stamps(table, column, found, day_first=day_first)
    return times, bool(day_first) and all(part.year_first for part in written)


def _counted(
    table: Table, column: str, cells: Sequence[str], stated: Sequence[str], found: Findings
) -> list[dt.datetime | None] | None:
    """Times that count seconds from 1970, or days as spreadsheets do; None where they do neither."""
    if all(_exports.unix(cell) is not None for cell in stated):
        return list(_rows.times(table, column, _exports.unix, "1714545000 in other rows", found))
    days = _times.serials([float(cell) for cell in stated])
    if days is None:
        return None
    found.flag(table, column, blank(table, column), "the row has no time", "state it")
    left = iter(days)
    return [next(left) if cell else None for cell in cells]


def _of_day(cells: Sequence[str]) -> list[dt.datetime | None]:
    """Times of day without dates: a new day begins where they go back."""
    out: list[dt.datetime | None] = []
    day, last = EPOCH, EPOCH
    for cell in cells:
        found = _OF_DAY.fullmatch(cell)
        if found is None:
            out.append(None)
            continue
        of_day = dt.timedelta(hours=int(found[1]), minutes=int(found[2]), seconds=int(found[3] or 0))
        if day + of_day < last:
            day += dt.timedelta(days=1)
        last = day + of_day
        out.append(last)
    return out


def at_offset(time: dt.datetime | None, hours: float) -> dt.datetime | None:
    """A time in UTC as local time with its offset, h."""
    if time is None or not abs(hours) < 24:
        return time
    utc = time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time
    return utc.astimezone(dt.timezone(dt.timedelta(hours=hours)))
