"""A column of times: clocks in any order of day and month, counts of seconds or days, minutes, and times of day."""

import datetime as dt
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..._arguments import argument
from .._checks import BLANKS, Table, blank, flag, numbers, quote, quote_name
from .._remarks import Doubt, Step, flaw
from .._tables import LONGEST
from . import _times
from ._times import Stamp

Times = Sequence[dt.datetime | None]
EPOCH = dt.datetime(2000, 1, 1)
"""Day from which times without dates count."""
_NEAR = dt.timedelta(hours=2)
"""Readings this near on both sides of midnight show which number is the day."""
_DAY, _MINUTE = dt.timedelta(days=1), dt.timedelta(minutes=1)
_OF_DAY = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?", re.ASCII)
_COUNTS = re.compile(r"\d{5,19}(\.\d*)?|\d\.\d+[eE]\+?\d{1,2}", re.ASCII)


def from_minutes(table: Table, column: str) -> Step[Times]:
    """Times of a column of minutes, from `EPOCH` on."""
    minutes = yield from numbers(table, column)
    yield from flag(table, column, blank(table, column), "the row has no time", "state it")
    yield from flag(table, column, np.abs(minutes) > LONGEST, "{} is beyond any record", "give minutes")
    return [EPOCH + m * _MINUTE if abs(m) <= LONGEST else None for m in minutes.tolist()]


def from_clock(table: Table, column: str, day_first: bool | None, hint: str = "") -> Step[tuple[Times, bool]]:
    """Times, and whether day and month are to be turned round because it was asked for where their order is fixed.

    A row without a time is reported. Where the user does not say `day_first`, the whole column decides, and a `hint`, a
    date elsewhere in the file.
    """
    cells = [cell.strip(BLANKS) for cell in table.columns[column]]
    stated = [cell for cell in cells if cell]
    # R writes midnight without its time of day.
    dates = [_times.is_date(cell) for cell in cells]
    if 0 < sum(dates) < 0.2 * len(cells):
        cells = [f"{cell} 00:00:00" if date else cell for cell, date in zip(cells, dates, strict=True)]
    turn = False
    if stated and all(map(_COUNTS.fullmatch, stated)) and (counts := _counted(cells)) is not None:
        out = counts
        if day_first is not None:
            what = "its times are counted and have no day or month"
            yield flaw(table.file, what, f"leave {argument('day_first')} out", column=quote_name(column))
    elif stated and all(map(_OF_DAY.fullmatch, stated)):
        out = _of_day(cells)
    elif any(map(_times.is_iso, stated)):
        out, turn = [_times.iso(cell) for cell in cells], bool(day_first)
    else:
        written = [_times.stamp(cell) for cell in cells]
        if not any(written):
            what = f"{quote(stated[0])} is no time" if stated else "there is no time"
            two = argument("columns", "time=Date+Time")
            remedy = f"write 2024-05-01 07:30 or 01.05.2024 07:30; two columns are joined as in {two}"
            yield flaw(table.file, what, f"{remedy}; minutes are time_min", column=quote_name(column))
            return [None] * len(cells), False
        order, turn = False, bool(day_first)
        if not all(part.year_first for part in written if part is not None):
            order, turn = day_first, False
            if order is None and (order := (yield from _day_first(table, column, written, hint))) is None:
                return [None] * len(cells), False
        halves = [cell[-2:].lower() in ("am", "pm", "m.", " m") for cell in cells]
        clock_of_12 = any(halves)
        rows = zip(written, halves, strict=True)
        out = [None if part is None or (clock_of_12 and not half) else part.time(order) for part, half in rows]
    empty = blank(table, column)
    wrong = np.array([t is None for t in out], dtype=bool) & ~empty
    yield from flag(table, column, empty, "the row has no time", "state it")
    what = "{} is no time as the other rows write it, or none of the calendar"
    yield from flag(table, column, wrong, what, "are day and month swapped? export the file again")
    return out, turn


def _counted(cells: Sequence[str]) -> list[dt.datetime | None] | None:
    """Times that count seconds from 1970, or days as spreadsheets do; None where they do neither."""
    if all(_times.unix(cell) is not None for cell in cells if cell):
        return [_times.unix(cell) if cell else None for cell in cells]
    days = _times.serials([float(cell) for cell in cells if cell])
    left = iter(days or ())
    return None if days is None else [next(left) if cell else None for cell in cells]


def _of_day(cells: Sequence[str]) -> list[dt.datetime | None]:
    """Times of day without dates: a new day begins where they go back."""
    out: list[dt.datetime | None] = []
    day, last = EPOCH, EPOCH
    for cell in cells:
        if (found := _OF_DAY.fullmatch(cell)) is None:
            out.append(None)
            continue
        of_day = dt.timedelta(hours=int(found[1]), minutes=int(found[2]), seconds=int(found[3] or 0))
        day += _DAY * (day + of_day < last)
        last = day + of_day
        out.append(last)
    return out


def _day_first(table: Table, column: str, parts: Sequence[Stamp | None], hint: str) -> Step[bool | None]:
    """Whether the day leads; None, with the reason reported, where the file does not tell."""
    written = [part for part in parts if part is not None]
    state_order = f"state {argument('day_first', True)} or {argument('day_first', False)}"
    told = lambda part, i: part.date[i] > 12 >= part.date[1 - i]  # what is above 12 twice is no date in either order
    lead, follow = (sum(told(part, i) for part in written) for i in (0, 1))
    if lead and follow:
        few = np.array([part is not None and told(part, int(lead >= follow)) for part in parts], dtype=bool)
        what = "{} has day and month in the other order than other rows"
        yield from flag(table, column, few, what, "export it again")
        return None
    firsts, thirds = ({part.date[i] for part in written} for i in (0, 2))
    unsure = len(thirds) > max(len(firsts), 2) or (lead and len(firsts) == len(thirds) == 1)
    if unsure and any(part.short_year for part in written):
        what = "the year has two digits and may stand first or last"
        yield flaw(table.file, what, f"export it with four-digit years, or {state_order}", column=column)
        return None
    if lead or follow:
        return bool(lead)
    nights = {order: _midnights([part.time(order) for part in written]) for order in (True, False)}
    if bool(nights[True]) != bool(nights[False]):
        return bool(nights[True])
    other = _times.stamp(hint)
    if other is not None and not other.year_first and (other.date[0] > 12) != (other.date[1] > 12):
        return other.date[0] > 12
    yield flaw(table.file, "no day is above 12, so day and month cannot be told apart", state_order, column=column)
    return None


def _midnights(times: Times) -> int:
    """How often the rows go on over midnight."""
    pairs = ((a, b) for a, b in pairwise(times) if a is not None and b is not None)
    return sum(a.date() != b.date() and abs(b - a) < _NEAR for a, b in pairs)


def check_swapped(table: Table, column: str, times: Times, own: Sequence[bool]) -> Step[None]:
    """Report rows out of order, of those marked, whose place would be right with day and month swapped."""
    if any((part := _times.stamp(cell)) is None or part.year_first for cell in table.columns[column][:1]):
        return
    rows = [(i, t) for i, (t, mine) in enumerate(zip(times, own, strict=True)) if t is not None and mine]
    forward = by_time([t for _, t in rows])
    back, far = np.zeros((2, len(table)), dtype=bool)
    for (i, a), (j, b) in pairwise(rows):
        if abs(b - a) > _DAY:
            for at, t, other in ((j, b, a), (i, a, b)):
                if t.day <= 12 and t.day != t.month and abs(t.replace(month=t.day, day=t.month) - other) <= _DAY:
                    (far if (b > a) == forward else back)[at] = True
                    break
    what = "{} is out of order, and would not be with day and month swapped"
    yield from flag(table, column, back, what, "export the file again")
    if far.any():
        line = table.lines[int(np.flatnonzero(far)[0])]
        yield Doubt(f"{table.file}, row {line}, column {column}: a gap that would close if day and month were swapped")


def by_time(times: Times) -> bool:
    """Whether rows run forward; exports with the newest first run backward."""
    stated = [t for t in times if t is not None]
    return sum((b > a) - (b < a) for a, b in pairwise(stated)) >= 0


def at_offset(time: dt.datetime | None, hours: float) -> dt.datetime | None:
    """A time in UTC as local time with its offset, h."""
    if time is None or not abs(hours) < 24:
        return time
    utc = time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time
    return utc.astimezone(dt.timezone(dt.timedelta(hours=hours)))


def spacing(when: Times) -> float | None:
    """The usual step of the rows, min; None where there are no two."""
    stated = [t for t in when if t is not None]
    if len(stated) < 2 or len({t.tzinfo is None for t in stated}) > 1:
        return None
    return float(np.median(np.diff(sorted((t - stated[0]) / _MINUTE for t in stated))))


def check_grid(table: Table, column: str, when: Times, row_min: float) -> Step[None]:
    """Report rows off the grid that a format's amounts per row count on."""
    stated = [t for t in when if t is not None]
    if len(stated) < 2 or len({t.tzinfo is None for t in stated}) > 1:
        return
    minutes = np.array([(t - stated[0]) / _MINUTE for t in stated])
    even = lambda x: np.mean(np.isclose(np.abs(np.diff(x)), row_min)) >= 0.9
    remedy = "amounts are per row: resample the file"
    if not even(minutes):
        sorted_even = even(np.sort(minutes))
        what = "the rows are out of order" if sorted_even else f"fewer than nine of ten rows are {row_min:g} min apart"
        yield flaw(table.file, what, "sort them by time" if sorted_even else remedy, column=column)
        return
    off = np.array([t is not None and ((t - stated[0]) / _MINUTE) % row_min != 0 for t in when], dtype=bool)
    yield from flag(table, column, off, f"{{}} is off the {row_min:g}-min grid of this format", remedy)
