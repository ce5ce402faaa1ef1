"""Tables of any make: a person says which column is which, or the columns have the library's own names."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from ..._arguments import argument
from .._checks import BLANKS, SHOWN, Findings, Table, blank, numbers, quote_name, split_rows
from .._columns import JOIN, OWN_COLUMNS, TIME, meant, parts, placed, unit_of
from .._raw import GlucoseUnit, Raw, RawDose, RawReading
from .._tables import LONGEST, TRUTH
from . import _exports, _rows
from ._clarity import LIMITS

EPOCH = dt.datetime(2000, 1, 1)
_MINUTE = dt.timedelta(minutes=1)
_NOTHING = frozenset(("", "nan", "na", "n/a", "null", "none", "-", "--", "---"))
"""What programs write into a cell without a value."""
Side = Literal["", "low", "high"]
_WORDS: Mapping[str, Side] = {"low": "low", "lo": "low", "high": "high", "hi": "high"}
_SWEET_MMOL = 35.0
"""A median below is of mmol/L."""
_AMOUNTS = ("glucose", "basal", "bolus", "carbs", "bolus_duration", "meal_duration")


class Mapped(NamedTuple):
    """A table, and the column of each kind."""

    table: Table
    columns: Mapping[str, str]
    """The person's column, by kind."""
    units: Mapping[str, Any]
    """Stated by a column's name, by kind; None where it is not."""
    minutes: bool
    """Whether the times are minutes."""
    unread: tuple[str, ...]
    """Columns that nobody named."""


def parse(
    path: Path,
    text: str,
    found: Findings,
    *,
    columns: Mapping[str, str],
    glucose_unit: GlucoseUnit | None = None,
    subject: str | None = None,
    day_first: bool | None = None,
    rows_count: bool = False,
) -> Raw | None:
    """Rows of a table in any order: a reading, a rate, a dose or a meal where there is a number.

    Args:
        path: the file.
        text: its content.
        found: what is wrong.
        columns: the person's column by the library's name.
        glucose_unit: of its glucose, where that is not what a column's name says.
        subject: whom to read, where a column says whose a row is.
        day_first: whether dates are written with the day before the month, where the file does not tell.
        rows_count: whether the record begins and ends with its rows rather than its readings.
    """
    mapped = mapped_table(str(path), text, columns, found)
    if mapped is None:
        return None
    table, there = mapped.table, mapped.columns
    if "patient" in there:
        table = _one(table, there["patient"], subject, found)
        if table is None:
            return None
    if mapped.minutes:
        when, turn = _from_minutes(table, there["time"], found), False
    else:
        when, turn = _from_clock(table, there["time"], day_first, found)
    if all(t is None for t in when):
        return None
    beyond = _beyond(table, there["glucose"])
    amounts = _amounts(table, there, found)
    known = set(table.columns[there["patient"]]) if "patient" in there else set()
    readings = _readings(table, when, amounts["glucose"], beyond, glucose_unit or mapped.units["glucose"])
    lead, trail = _ends(when, [x.time for x in readings]) if rows_count else (0.0, 0.0)
    alone = known.pop().strip(BLANKS) if len(known) == 1 else ""
    unread = ", ".join(map(quote_name, mapped.unread[: 2 * SHOWN]))
    return Raw(
        format="table",
        file=str(path),
        subject=subject or alone or path.stem,
        readings=readings,
        basal=_rows.rates(table, when, amounts["basal"]) if "basal" in amounts else (),
        boluses=_doses(table, when, amounts, "bolus"),
        meals=_doses(table, when, amounts, "carbs"),
        glucose_unit=mapped.units["glucose"],
        basal_unit=mapped.units.get("basal"),
        carbs_unit=mapped.units.get("carbs"),
        clock=not mapped.minutes,
        turn_dates=turn,
        lead_min=lead,
        trail_min=trail,
        notes=(f"columns that are not read: {unread}{', ...' if len(mapped.unread) > 2 * SHOWN else ''}",)
        * bool(unread),
    )


def people(text: str, columns: Mapping[str, str]) -> tuple[str, ...]:
    """Whom a table holds, in order, where a column says so."""
    mapped = mapped_table("", text, columns, Findings())
    if mapped is None or "patient" not in mapped.columns:
        return ()
    cells = (cell.strip(BLANKS) for cell in mapped.table.columns[mapped.columns["patient"]])
    return tuple(dict.fromkeys(cell for cell in cells if cell))


def mapped_table(file: str, text: str, columns: Mapping[str, str], found: Findings) -> Mapped | None:
    """The table of a text, and which of its columns is which; None where one is missing."""
    text = _exports.without_title(text)
    delimiter = _exports.delimiter_of(text.lstrip("\r\n").split("\n", 1)[0])
    split = split_rows(file, text, found, delimiter=delimiter)
    if split is None:
        return None
    rows, lines = split
    names = [name.strip(BLANKS) for name in rows[0]]
    there, before = ", ".join(quote_name(name) for name in names if name), len(found.problems)
    mapping = placed(columns, names)
    found_at = {own: parts(name, names) for own, name in mapping.items()}
    for own, wanted in found_at.items():
        for name in wanted:
            if name not in names:
                what = f"there is no column {quote_name(name)} to take as {own}{meant(name, names)}"
                found.add(file, what, f"its columns are {there}", row=lines[0])
            elif names.count(name) > 1:
                found.add(file, "there is more than one such column", "keep one", column=quote_name(name), row=lines[0])
    kinds = {OWN_COLUMNS[own].kind: own for own in mapping}
    for kind, own in (("time", "time"), ("glucose", "glucose")):
        if kind not in kinds:
            mend = f"name it, as in {argument('columns', f'{own}=NAME')}; its columns are {there}"
            found.add(file, f"no column is named as {own}", mend, row=lines[0])
    if len(rows) == 1:
        found.add(file, "there is a header and no row", "write the rows below it", row=lines[0])
    if len(found.problems) > before:
        return None
    table = _exports.section(file, names, rows[1:], lines[1:], found)
    one: dict[str, str] = {}
    for own, wanted in found_at.items():
        one[OWN_COLUMNS[own].kind] = name = wanted[0] if len(wanted) == 1 else JOIN.join(wanted)
        if len(wanted) > 1:
            cells = zip(*(table.columns[part] for part in wanted), strict=True)
            table.columns[name] = [" ".join(cell.strip(BLANKS) for cell in row) for row in cells]
    units = {kind: unit_of(own, one[kind]) for kind, own in kinds.items()}
    taken = {part for wanted in found_at.values() for part in wanted}
    unread = tuple(name for name in dict.fromkeys(names) if name and name not in {*taken, *TRUTH})
    return Mapped(table, one, units, kinds["time"] == TIME, unread)


def _one(table: Table, column: str, subject: str | None, found: Findings) -> Table | None:
    """The rows of one person."""
    who = [cell.strip(BLANKS) for cell in table.columns[column]]
    there = list(dict.fromkeys(who))
    if subject is None and len(there) < 2:
        return table
    if subject not in there:
        what = f"{len(there)} people are in it" if subject is None else f"{subject!a} is not in it"
        found.add(
            table.file,
            what,
            f"choose with {argument('subject', 'NAME')}, one of {', '.join(there[:30])}",
            column=column,
        )
        return None
    keep = [i for i, name in enumerate(who) if name == subject]
    part = Table(table.file, (), [], [table.lines[i] for i in keep])
    part.names = table.names
    part.columns = {name: [cells[i] for i in keep] for name, cells in table.columns.items()}
    return part


def _from_minutes(table: Table, column: str, found: Findings) -> _rows.Times:
    minutes = numbers(table, column, found)
    found.flag(table, column, blank(table, column), "the row has no time", "state it")
    found.flag(table, column, np.abs(minutes) > LONGEST, "{} is beyond any record", "give minutes")
    return [EPOCH + dt.timedelta(minutes=m) if abs(m) <= LONGEST else None for m in minutes.tolist()]


def _from_clock(
    table: Table, column: str, day_first: bool | None, found: Findings
) -> tuple[list[dt.datetime | None], bool]:
    """Times, and whether day and month are to be turned round because it was asked for where the year leads."""
    cells = [cell.strip(BLANKS) for cell in table.columns[column]]
    stated = [cell for cell in cells if cell]
    if stated and all(_exports.unix(cell) is not None for cell in stated):
        if day_first is not None:
            mend = f"leave {argument('day_first')} out"
            found.add(table.file, "its times count from 1970 and have no day or month", mend, column=quote_name(column))
        return list(_rows.times(table, column, _exports.unix, "1714545000 in other rows", found)), False
    if any(_rows.iso(cell) is not None for cell in stated):
        return list(_rows.times(table, column, _rows.iso, "2024-05-01 07:30:00 in other rows", found)), bool(day_first)
    written = [part for cell in stated if (part := _exports.stamp(cell)) is not None]
    if not written:
        shown = f"{stated[0]!a:.40} is no time" if stated else "there is no time"
        two = argument("columns", "time=Date+Time")
        mend = f"write 2024-05-01 07:30 or 01.05.2024 07:30; two columns are joined as in {two}"
        found.add(table.file, shown, f"{mend}; minutes are time_min", column=quote_name(column))
        return [None] * len(cells), False
    times = _exports.stamps(table, column, found, day_first=day_first)
    return times, bool(day_first) and all(part.year_first for part in written)


def _ends(when: _rows.Times, seen: Sequence[dt.datetime]) -> tuple[float, float]:
    """From the first row to the first reading, and from the last reading to the last row, min."""
    stated = [t for t in when if t is not None]
    if not seen or len({t.tzinfo is None for t in stated}) > 1:
        return 0.0, 0.0
    return (min(seen) - min(stated)) / _MINUTE, (max(stated) - max(seen)) / _MINUTE


def _empty(table: Table, column: str) -> np.ndarray:
    return np.array([cell.strip(BLANKS).lower() in _NOTHING for cell in table.columns[column]], dtype=bool)


def _amounts(table: Table, columns: Mapping[str, str], found: Findings) -> dict[str, Float[np.ndarray, " rows"]]:
    """Numbers by kind; NaN where there is none."""
    there = {kind: columns[kind] for kind in _AMOUNTS if kind in columns}
    for name in there.values():
        empty = _empty(table, name)
        table.columns[name] = ["" if no else cell for cell, no in zip(table.columns[name], empty, strict=True)]
    _exports.decimal_points(table, list(there.values()))
    return {kind: _rows.column(table, name, found) for kind, name in there.items()}


def _beyond(table: Table, column: str) -> list[Side]:
    """Which readings are words for a level beyond what the sensor reports; their cells are emptied."""
    sides: list[Side] = [_WORDS.get(cell.strip(BLANKS).lower(), "") for cell in table.columns[column]]
    cells = zip(table.columns[column], sides, strict=True)
    table.columns[column] = ["" if side else cell for cell, side in cells]
    return sides


def _readings(
    table: Table,
    when: _rows.Times,
    values: Float[np.ndarray, " rows"],
    beyond: Sequence[Side],
    unit: GlucoseUnit | None,
) -> tuple[RawReading, ...]:
    """The readings; a word stands for the limit of the sensor, or for the farthest number where that lies beyond."""
    seen = values[np.isfinite(values)]
    unit = unit or ("mmol/L" if seen.size and np.median(seen) < _SWEET_MMOL else "mg/dL")
    low, high = (float(limit(np.append(seen, at))) for limit, at in zip((np.min, np.max), LIMITS[unit], strict=True))
    rows = zip(when, values.tolist(), beyond, table.lines, strict=True)
    return tuple(
        RawReading(t, low if side == "low" else high if side == "high" else value, line, side)
        for t, value, side, line in rows
        if t is not None and (side or np.isfinite(value))
    )


def _doses(
    table: Table, when: Sequence[dt.datetime | None], amounts: Mapping[str, Float[np.ndarray, " rows"]], kind: str
) -> tuple[RawDose, ...]:
    if kind not in amounts:
        return ()
    minutes = amounts.get("bolus_duration" if kind == "bolus" else "meal_duration", np.full(len(table), np.nan))
    rows = zip(when, amounts[kind].tolist(), table.lines, np.nan_to_num(minutes, nan=1.0).tolist(), strict=True)
    return tuple(
        RawDose(t, value, line, length or 1.0) for t, value, line, length in rows if t is not None and value > 0
    )
