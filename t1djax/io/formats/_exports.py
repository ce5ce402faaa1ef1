"""What the spreadsheets of vendors have in common: rows above the header, dates in any order, decimal commas."""

import datetime as dt
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..._arguments import argument
from .._checks import BLANKS, SHOWN, Findings, Flaw, Table
from . import _times


def state_order() -> str:
    return f"state {argument('day_first', True)} or {argument('day_first', False)}"


NEAR = dt.timedelta(hours=2)
"""Readings this near on both sides of midnight show which number is the day."""
DAY = dt.timedelta(days=1)
YEARS = range(1900, 2200)
"""Of times that are one; outside there is damage, and clocks that no calendar carries."""

_STAMP = re.compile(
    r"(\d{1,4})([-/.])(\d{1,2})\2(\d{2,4})\.?[T ]+(\d{1,2}):(\d\d)(?::(\d\d))?(?: ?([ap])\.?m\.?)?", re.ASCII | re.I
)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_POINT = re.compile(r"[+-]?\d+\.\d+", re.ASCII)
_UNIX = re.compile(r"\d{9,19}(\.\d*)?|\d\.\d+[eE]\+?\d{1,2}", re.ASCII)
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_FIRST_S, _LAST_S = 9e8, 4.2e9  # from 1998 on, before which there were no sensors, to 2103
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)


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


def delimiter_of(line: str) -> str:
    """What separates the cells of a line: of what could, that which stands in it most."""
    return max(",;\t|", key=line.count)


def since_1970(number: float) -> dt.datetime | None:
    """A time of this century as seconds, milliseconds, microseconds or nanoseconds since 1970, in UTC."""
    per_second = 1e3 if 1e11 < number < 1e13 else 1.0 if number < 1e11 else 1e6 if number < 1e16 else 1e9
    seconds = number / per_second
    return _EPOCH + dt.timedelta(seconds=seconds) if _FIRST_S <= seconds < _LAST_S else None


def unix(cell: str) -> dt.datetime | None:
    """A time of this century as a number since 1970, in UTC."""
    return since_1970(float(cell)) if _UNIX.fullmatch(cell) else None


def best_delimiter(text: str, mark: str) -> str:
    """The delimiter of the first line that holds a mark."""
    return delimiter_of(next((line for line in text.splitlines() if mark in line), ""))


def section(file: str, names: Sequence[str], rows: Sequence[list[str]], lines: Sequence[int], found: Findings) -> Table:
    """The rows below a header. Rows with other than its number of cells are reported."""
    width = len(names)
    even = [row[:width] if not any(cell.strip(BLANKS) for cell in row[width:]) else row for row in rows]
    ragged = [i for i, row in enumerate(even) if len(row) != width]
    if ragged:
        what = tuple(f"it has {len(even[i])} cells, the header {width}" for i in ragged[:SHOWN])
        mend = "is the file cut short, or a cell's comma unquoted? export it again"
        found.problems.append(Flaw(file, None, tuple(lines[i] for i in ragged), what, mend))
    skip = set(ragged)
    keep = [i for i in range(len(even)) if i not in skip]
    return Table(file, names, [even[i] for i in keep], [lines[i] for i in keep])


def decimal_points(table: Table, columns: Sequence[str]) -> None:
    """Make decimal commas points, where the table shows that it uses them; else leave the cells to be judged."""
    cells = [cell.strip(BLANKS) for column in columns for cell in table.columns[column]]
    commas = [cell for cell in cells if _COMMA.fullmatch(cell)]
    if not commas or all(_THOUSANDS.fullmatch(cell) for cell in commas) or any(map(_POINT.fullmatch, cells)):
        return
    for column in columns:
        table.columns[column] = [
            cell.replace(",", ".") if _COMMA.fullmatch(cell.strip(BLANKS)) else cell for cell in table.columns[column]
        ]


def stamp(cell: str) -> Stamp | None:
    """The numbers of a time; None where it is no such thing."""
    match = _STAMP.fullmatch(cell.strip(BLANKS)) or _STAMP.fullmatch(_times.plain(cell))
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


def stamps(
    table: Table, column: str, found: Findings, *, day_first: bool | None = None, hint: str = ""
) -> list[dt.datetime | None]:
    """A column of times whose day may stand before the month or after it, decided over the whole column.

    Args:
        table: the table.
        column: its column; the cells hold a date and a time of day.
        found: what is wrong.
        day_first: which it is, where the user says so.
        hint: a date elsewhere in the file, written alike.
    """
    cells = table.columns[column]
    parts = [stamp(cell) for cell in cells]
    wrong = np.array([part is None for part in parts], dtype=bool)
    halves = np.array([cell.strip(BLANKS)[-2:].lower() in ("am", "pm", "m.", " m") for cell in cells], dtype=bool)
    if halves.any() and not halves.all():
        wrong |= ~halves
    found.flag(table, column, wrong, "{} is no time as the other rows write it", "export the file again")
    written = [part for part, bad in zip(parts, wrong, strict=True) if part is not None and not bad]
    if written and not all(part.year_first for part in written):
        if day_first is None:
            day_first = _day_first(table, column, parts, written, hint, found)
        if day_first is None:
            return [None] * len(parts)
    else:
        day_first = False
    out = [None if part is None or bad else part.time(day_first) for part, bad in zip(parts, wrong, strict=True)]
    none = np.array([t is None for t in out], dtype=bool) & ~wrong
    order = "" if written and written[0].year_first else f" with the {'day' if day_first else 'month'} first"
    found.flag(table, column, none, f"{{}} is no date{order}", "are day and month swapped? export the file again")
    return out


def _day_first(
    table: Table, column: str, parts: Sequence[Stamp | None], written: Sequence[Stamp], hint: str, found: Findings
) -> bool | None:
    """Whether the day leads; None, with the reason reported, where the file does not tell."""
    lead, follow = (any(part.date[i] > 12 for part in written) for i in (0, 1))
    if lead and follow:
        most = sum(part.date[0] > 12 for part in written) >= sum(part.date[1] > 12 for part in written)
        few = np.array([part is not None and part.date[1 if most else 0] > 12 for part in parts], dtype=bool)
        found.flag(table, column, few, "{} has day and month in the other order than other rows", "export it again")
        return None
    short = any(part.short_year for part in written)
    firsts, thirds = ({part.date[i] for part in written} for i in (0, 2))
    if short and (len(thirds) > max(len(firsts), 2) or (lead and len(firsts) == len(thirds) == 1)):
        what = "the year has two digits and may stand first or last"
        found.add(table.file, what, f"export it with four-digit years, or {state_order()}", column=column)
        return None
    if lead or follow:
        return lead
    nights = {order: _midnights([part.time(order) for part in written]) for order in (True, False)}
    if bool(nights[True]) != bool(nights[False]):
        return bool(nights[True])
    other = stamp(hint)
    if other is not None and not other.year_first and (other.date[0] > 12) != (other.date[1] > 12):
        return other.date[0] > 12
    what = "no day is above 12, so day and month cannot be told apart"
    found.add(table.file, what, state_order(), column=column)
    return None


def _midnights(times: Sequence[dt.datetime | None]) -> int:
    """How often the rows go on over midnight."""
    pairs = ((a, b) for a, b in pairwise(times) if a is not None and b is not None)
    return sum(a.date() != b.date() and abs(b - a) < NEAR for a, b in pairs)


def check_swapped(table: Table, column: str, times: Sequence[dt.datetime | None], found: Findings) -> None:
    """Report rows out of order whose place would be right with day and month swapped."""
    rows = [(i, t) for i, t in enumerate(times) if t is not None]
    steps = np.array([(b - a) / DAY for (_, a), (_, b) in pairwise(rows)])
    if not steps.size:
        return
    forward = np.sign(steps).sum() >= 0
    back, far = np.zeros((2, len(table)), dtype=bool)
    for (i, a), (j, b) in pairwise(rows):
        if abs(b - a) > DAY:
            for at, t, other in ((j, b, a), (i, a, b)):
                if t.day <= 12 and t.day != t.month and abs(t.replace(month=t.day, day=t.month) - other) <= DAY:
                    (far if (b > a) == forward else back)[at] = True
                    break
    what = "{} is out of order, and would not be with day and month swapped"
    found.flag(table, column, back, what, "export the file again")
    if far.any():
        found.odd.append(
            f"{table.file}, row {table.lines[int(np.flatnonzero(far)[0])]}, column {column}: a gap that would close "
            "if day and month were swapped"
        )


def by_time(times: Sequence[dt.datetime | None]) -> bool:
    """Whether rows run forward; exports with the newest first run backward."""
    stated = [t for t in times if t is not None]
    return sum((b > a) - (b < a) for a, b in pairwise(stated)) >= 0
