"""Tables of any make, one or several of a person: which column is which is known, named by a person, or guessed."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from ..._arguments import argument
from ...physics import DOSE_DURATION_MIN, LONG_ACTING_MIN
from .._checks import BLANKS, SHOWN, Findings, Table, numbers, quote, quote_name
from .._columns import JOIN, OWN_COLUMNS, TIME, meant, parts, placed, unit_of
from .._insulin import acts_min, kind_of_insulin
from .._raw import BasalUnit, CarbsUnit, GlucoseUnit, Raw, RawBasal, RawDose, RawReading
from .._tables import TRUTH
from . import _clock, _exports, _layout, _rows
from ._clarity import LIMITS
from ._guess import guessed, person_column
from ._known import Known, columns_of, known_as

_MINUTE = dt.timedelta(minutes=1)
_NOTHING = frozenset(("", "nan", "na", "n/a", "nat", "null", "none", "-", "--", "---"))
"""What programs write into a cell without a value."""
Side = Literal["", "low", "high"]
_WORDS: Mapping[str, Side] = {"low": "low", "lo": "low", "high": "high", "hi": "high"}
_SWEET_MMOL = 35.0
"""A median below is of mmol/L."""
_AMOUNTS = (
    "glucose", "basal", "bolus", "carbs", "long_acting", "value", "offset", "bolus_duration", "meal_duration",
    "long_acting_duration", "basal_duration",
)  # fmt: skip
_DAMAGED_SHARE = 0.02
"""Rows with amounts that nobody takes are left out up to this share."""
_EVENTS: Sequence[tuple[str, str]] = (
    (r"calib|finger|smbg|bgm|meter|strip|manual|blood", "fingerstick"),
    (r"cgm|cbg|egv|sgv|sensor|gluc|gluk|glic|glyc|(?<![a-z])bg(?![a-z])", "glucose"),
    (r"temp.*basal|basal.*rate|^basal$", "basal"),
    (r"carb|meal|food|mahlzeit|essen|(?<![a-z])(cho|kh)(?![a-z])", "carbs"),
)
"""What the words of a column of events mean, in this order; else insulin by its name."""


class Mapped(NamedTuple):
    """A table, and the column of each kind."""

    table: Table
    columns: Mapping[str, str]
    """The table's column, by kind."""
    units: Mapping[str, Any]
    """Stated by a column's name, by kind; None where it is not."""
    minutes: bool
    """Whether the times are minutes."""
    unread: tuple[str, ...]
    """Columns that nobody named."""
    events: Mapping[str, str]
    """What the words of its events mean, where its format says so."""


class Part(NamedTuple):
    """What one table holds."""

    readings: list[RawReading]
    basal: list[RawBasal]
    boluses: list[RawDose]
    meals: list[RawDose]
    long_acting: list[RawDose]
    when: _rows.Times
    turn: bool
    """Whether day and month are to be turned round, because it was asked for where the year leads."""


def parse(
    path: Path,
    text: str,
    found: Findings,
    *,
    columns: Mapping[str, str] | None = None,
    known: Known | None = None,
    others: Sequence[tuple[Path, str]] = (),
    glucose_unit: GlucoseUnit | None = None,
    subject: str | None = None,
    day_first: bool | None = None,
    rows_count: bool = False,
) -> Raw | None:
    """Rows of tables in any order: a reading, a rate, a dose or a meal where there is a number.

    Args:
        path: the file.
        text: its content.
        found: what is wrong.
        columns: the person's column by the library's name; left out, as the format or a guess says.
        known: the format of the tables.
        others: other files of the same person, and their content.
        glucose_unit: of its glucose, where that is not what a column's name says.
        subject: whom to read, where a column says whose a row is.
        day_first: whether dates are written with the day before the month, where the file does not tell.
        rows_count: whether the record begins and ends with its rows rather than its readings.
    """
    notes: list[str] = []
    warnings: list[str] = []
    tables = tables_of([(path, text), *others], columns, known, notes, found)
    if not tables:
        return None
    whose = [_one(mapped, subject, found) for mapped in tables]
    if None in whose:
        return None
    mine = [mapped for mapped in whose if mapped is not None and len(mapped.table)]
    each = [_part(mapped, known, glucose_unit, day_first, warnings, found) for mapped in mine]
    read = [part for part in each if part is not None]
    if not read:
        return None
    joined = lambda field: tuple(x for part in read for x in getattr(part, field))
    who = {c.strip(BLANKS) for m in mine if "patient" in m.columns for c in m.table.columns[m.columns["patient"]]}
    alone = who.pop() if len(who) == 1 else ""
    stem = path.stem if not others else path.resolve().parent.name
    lead, trail = (0.0, 0.0)
    if rows_count:
        lead, trail = _ends([t for part in read for t in part.when], [x.time for x in joined("readings")])
    unread = [quote_name(name) for mapped in tables for name in mapped.unread]
    if unread and known is None:
        notes.append(
            f"columns that are not read: {', '.join(unread[: 2 * SHOWN])}{', ...' * (len(unread) > 2 * SHOWN)}"
        )
    unit = lambda kind: next((m.units[kind] for m in mine if m.units.get(kind) is not None), None)
    minutes = any(mapped.minutes for mapped in mine)
    basal_unit: BasalUnit | None = unit("basal") or ("U/h" if any(m.events for m in mine) else None)
    carbs_unit: CarbsUnit | None = unit("carbs")
    return Raw(
        format="table" if known is None else known.name,
        file=str(path) if not others else str(path.parent),
        subject=subject or alone or stem,
        readings=joined("readings"),
        basal=joined("basal"),
        boluses=joined("boluses"),
        meals=joined("meals"),
        long_acting=joined("long_acting"),
        glucose_unit=unit("glucose"),
        basal_unit=basal_unit,
        carbs_unit=carbs_unit,
        clock=not minutes
        and not any(t is not None and t.year == _clock.EPOCH.year for part in read for t in part.when[:1]),
        turn_dates=any(part.turn for part in read),
        lead_min=lead,
        trail_min=trail,
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def people(text: str, columns: Mapping[str, str] | None, known: Known | None = None) -> tuple[str, ...]:
    """Whom a table holds, in order, where a column says so."""
    tables = tables_of([(Path(), text)], columns, known, [], Findings())
    cells = [c.strip(BLANKS) for m in tables if "patient" in m.columns for c in m.table.columns[m.columns["patient"]]]
    return tuple(dict.fromkeys(cell for cell in cells if cell))


def tables_of(
    files: Sequence[tuple[Path, str]],
    columns: Mapping[str, str] | None,
    known: Known | None,
    notes: list[str],
    found: Findings,
) -> list[Mapped]:
    """The tables of the files whose columns can be told; none where glucose or a time lacks, which is reported."""
    before = len(found.problems)
    every = [(str(path), block) for path, text in files for block in _layout.blocks(str(path), text, found)]
    if not every:
        if len(found.problems) == before:
            what = "there is no line with names of columns above the numbers"
            found.add(str(files[0][0]), what, "write one, such as time,glucose")
        return []
    if columns is not None:
        _check_there(every, columns, found)
    out, passed = [], 0
    for file, block in every:
        mapping, events = _mapping(block, columns, known)
        if mapping is None:
            passed += 1
            continue
        out.append(_mapped(file, block, mapping, events, found))
    if passed:
        notes.append(f"{passed} tables with no readings or doses are not read")
    file, block = every[0]
    there = ", ".join(quote_name(name) for _, one in every for name in one.names if name)
    kinds = {kind for mapped in out for kind in mapped.columns} | {OWN_COLUMNS[own].kind for own in columns or {}}
    for kind in ("time", "glucose"):
        if kind not in kinds and not (kind == "glucose" and "value" in kinds):
            mend = f"name it, as in {argument('columns', f'{kind}=NAME')}; its columns are {there}"
            found.add(file, f"no column is named as {kind}", mend, row=block.line)
    for mapped in out:
        if "time" not in mapped.columns and "time" in kinds and len(found.problems) == before:
            found.add(mapped.table.file, "no column is named as time", f"its columns are {', '.join(mapped.unread)}")
        if not len(mapped.table):
            found.add(mapped.table.file, "there is a header and no row", "write the rows below it", row=block.line)
    return out if len(found.problems) == before else []


def _check_there(every: Sequence[tuple[str, _layout.Block]], columns: Mapping[str, str], found: Findings) -> None:
    """Report columns that are named and in none of the tables, or twice in one."""
    names = [name for _, block in every for name in block.names]
    there = ", ".join(quote_name(name) for name in dict.fromkeys(names) if name)
    file, block = every[0]
    for own, name in columns.items():
        for part in parts(name, names):
            if part not in names:
                what = f"there is no column {quote_name(part)} to take as {own}{meant(part, names)}"
                found.add(file, what, f"its columns are {there}", row=block.line)
            for other, one in every:
                if one.names.count(part) > 1:
                    found.add(other, "there is more than one such column", "keep one", column=quote_name(part),
                              row=one.line)  # fmt: skip


def _mapping(
    block: _layout.Block, columns: Mapping[str, str] | None, known: Known | None
) -> tuple[dict[str, str] | None, Mapping[str, str]]:
    """Its columns by the library's name, and what its events mean; None where the table is none of the format."""
    names = block.names
    if columns is not None:
        here = {own: name for own, name in columns.items() if all(part in names for part in parts(name, names))}
        return placed(here, names), {}
    if known is not None:
        sheet = next((sheet for other, sheet in known_as(names) if other is known), None)
        return (None, {}) if sheet is None else (columns_of(sheet, names), sheet.events)
    cells = {name: [row[i] for row in block.rows if i < len(row)] for i, name in enumerate(names)}
    return guessed(names, cells), {}


def _mapped(
    file: str, block: _layout.Block, mapping: Mapping[str, str], events: Mapping[str, str], found: Findings
) -> Mapped:
    names = block.names
    table = _exports.section(file, names, block.rows, block.lines, found)
    one: dict[str, str] = {}
    taken: set[str] = set()
    for own, whole in mapping.items():
        wanted = parts(whole, names)
        one[OWN_COLUMNS[own].kind] = name = JOIN.join(wanted)
        taken |= set(wanted)
        if len(wanted) > 1 and OWN_COLUMNS[own].kind == "time":
            cells = zip(*(table.columns[part] for part in wanted), strict=True)
            table.columns[name] = [" ".join(cell.strip(BLANKS) for cell in row) for row in cells]
    kinds = {OWN_COLUMNS[own].kind: own for own in mapping}
    units = {kind: unit_of(own, one[kind]) for kind, own in kinds.items()}
    unread = tuple(name for name in dict.fromkeys(names) if name and name not in {*taken, *TRUTH})
    return Mapped(table, one, units, kinds.get("time") == TIME, unread, events)


def _one(mapped: Mapped, subject: str | None, found: Findings) -> Mapped | None:
    """The rows of one person."""
    table, column = mapped.table, mapped.columns.get("patient")
    if column is None:
        cells = {name: table.columns[name] for name in mapped.unread}
        if (other := person_column(list(cells), cells)) is None:
            return mapped
        what = f"{len(set(cells[other]))} people seem to be in it"
        way = argument("columns", f"patient={other},...")
        mend = f"name the column, as in {way}, or remove it where it is none of persons"
        found.add(table.file, what, mend, column=quote_name(other))
        return None
    who = [cell.strip(BLANKS) for cell in table.columns[column]]
    there = list(dict.fromkeys(who))
    if subject is None and len(there) < 2:
        return mapped
    if subject not in there:
        what = f"{len(there)} people are in it" if subject is None else f"{subject!a} is not in it"
        mend = f"choose with {argument('subject', 'NAME')}, one of {', '.join(there[:30])}"
        found.add(table.file, what, mend, column=column)
        return None
    keep = [i for i, name in enumerate(who) if name == subject]
    part = Table(table.file, (), [], [table.lines[i] for i in keep])
    part.names = table.names
    part.columns = {name: [cells[i] for i in keep] for name, cells in table.columns.items()}
    return mapped._replace(table=part)


def _part(
    mapped: Mapped,
    known: Known | None,
    glucose_unit: GlucoseUnit | None,
    day_first: bool | None,
    warnings: list[str],
    found: Findings,
) -> Part | None:
    """What one table holds."""
    table, there = mapped.table, mapped.columns
    if mapped.minutes:
        when, turn = _clock.from_minutes(table, there["time"], found), False
    else:
        when, turn = _clock.from_clock(table, there["time"], day_first, found)
    if all(t is None for t in when):
        return None
    beyond = _beyond(table, there.get("glucose") or there.get("value"))
    amounts = _amounts(table, there, found)
    if known is not None:
        _clean(table, amounts, known, warnings, found)
    if "offset" in amounts:
        when = [_clock.at_offset(t, hours) for t, hours in zip(when, amounts["offset"].tolist(), strict=True)]
    kinds = _kinds(table, there.get("event"), mapped.events)
    devices = _devices(table, there.get("device"))
    nothing = np.full(len(table), np.nan)
    of = lambda kind: amounts.get(kind, nothing)
    if "value" in amounts:
        split = lambda kind: np.where(kinds == kind, amounts["value"], of(kind))
        amounts |= {kind: split(kind) for kind in ("glucose", "basal", "bolus", "carbs", "long_acting")}
        fingers = np.where(kinds == "fingerstick", amounts["value"], np.nan)
    else:
        fingers = np.where(kinds == "fingerstick", of("glucose"), np.nan)
        amounts["glucose"] = np.where(kinds == "fingerstick", np.nan, of("glucose"))
    _say_unknown(table, there.get("event"), kinds, "value" in amounts, warnings)
    lasts = lambda kind, usual: np.where(np.nan_to_num(of(kind)) > 0, np.nan_to_num(of(kind)), usual)
    names = table.columns[there["event"]] if "event" in there else [""] * len(table)
    slow = np.array([acts_min(name) for name in names]) if "long_acting" in amounts else nothing
    basal = zip(when, of("basal").tolist(), table.lines, of("basal_duration").tolist(), strict=True)
    readings = _readings(table, when, of("glucose"), beyond, devices, glucose_unit or mapped.units.get("glucose"))
    sticks = zip(when, fingers.tolist(), table.lines, strict=True)
    return Part(
        [*readings, *(RawReading(t, x, line, "", "fingerstick") for t, x, line in sticks if t and np.isfinite(x))],
        [RawBasal(t, x, line, None if np.isnan(long) else long) for t, x, line, long in basal if t and np.isfinite(x)],
        _doses(table, when, of("bolus"), lasts("bolus_duration", DOSE_DURATION_MIN)),
        _doses(table, when, of("carbs"), lasts("meal_duration", DOSE_DURATION_MIN)),
        _doses(table, when, of("long_acting"), np.maximum(lasts("long_acting_duration", LONG_ACTING_MIN), slow)),
        when,
        turn,
    )


def _ends(when: _rows.Times, seen: Sequence[dt.datetime]) -> tuple[float, float]:
    """From the first row to the first reading, and from the last reading to the last row, min."""
    stated = [t for t in when if t is not None]
    if not seen or len({t.tzinfo is None for t in stated}) > 1:
        return 0.0, 0.0
    return (min(seen) - min(stated)) / _MINUTE, (max(stated) - max(seen)) / _MINUTE


def _amounts(table: Table, columns: Mapping[str, str], found: Findings) -> dict[str, Float[np.ndarray, " rows"]]:
    """Numbers by kind, those of several columns summed; NaN where there is none."""
    there = {kind: parts(columns[kind], table.names) for kind in _AMOUNTS if kind in columns}
    every = [name for names in there.values() for name in names]
    for name in every:
        cells = table.columns[name]
        table.columns[name] = ["" if cell.strip(BLANKS).lower() in _NOTHING else _minutes(cell) for cell in cells]
    _exports.decimal_points(table, every)
    out = {}
    for kind, names in there.items():
        read = numbers if kind == "offset" else _rows.column
        each = np.array([read(table, name, found) for name in names])
        out[kind] = np.where(np.isfinite(each).any(axis=0), np.nansum(each, axis=0), np.nan)
    return out


_LENGTH = re.compile(r"(?:(\d+) days?,? +)?(\d{1,2}):(\d\d):(\d\d)(?:\.\d+)?", re.ASCII)


def _minutes(cell: str) -> str:
    """A length written as 0 days 00:30:00 in minutes; all else as it is."""
    if (found := _LENGTH.fullmatch(cell.strip(BLANKS))) is None:
        return cell
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return f"{1440 * days + 60 * hours + minutes + seconds / 60:g}"


def _clean(
    table: Table, amounts: dict[str, Float[np.ndarray, " rows"]], known: Known, warnings: list[str], found: Findings
) -> None:
    """Without rows that are damaged as the format's are known to be, where there are few."""
    for kind, most in known.clean.items():
        if kind not in amounts:
            continue
        bad = amounts[kind] > most
        share = bad.sum() / max(1, np.isfinite(amounts[kind]).sum())
        if not bad.any():
            continue
        first = ", ".join(str(table.lines[i]) for i in np.flatnonzero(bad)[:SHOWN].tolist())
        what = f"{int(bad.sum())} rows have {kind} above {most:g} (the first are {first}), which nobody has"
        if share > _DAMAGED_SHARE:
            found.add(table.file, f"{what}, and are {100 * share:.0f} % of all", "leave them out of the file, or put "
                      "them right: is a decimal point lost?", column=kind)  # fmt: skip
        else:
            warnings.append(f"{what} and left out")
        amounts[kind] = np.where(bad, np.nan, amounts[kind])


def _kinds(table: Table, column: str | None, events: Mapping[str, str]) -> np.ndarray:
    """What the word of each row means; empty where nobody knows."""
    if column is None:
        return np.full(len(table), "", dtype=object)
    cells = [cell.strip(BLANKS) for cell in table.columns[column]]
    known = {cell: events.get(cell) or _event(cell) for cell in set(cells)}
    return np.array([known[cell] for cell in cells], dtype=object)


def _event(word: str) -> str:
    if (kind := next((kind for pattern, kind in _EVENTS if re.search(pattern, word, re.IGNORECASE)), None)) is not None:
        return kind
    insulin = kind_of_insulin(word)
    if insulin == "long":
        return "long_acting"
    return "bolus" if insulin is not None or re.search("insulin", word, re.IGNORECASE) else ""


def _say_unknown(table: Table, column: str | None, kinds: np.ndarray, values: bool, warnings: list[str]) -> None:
    """A remark on events whose words nobody knows."""
    if column is None or not values:
        return
    words = [cell.strip(BLANKS) for cell in table.columns[column]]
    unknown = Counter(word for word, kind in zip(words, kinds.tolist(), strict=True) if not kind)
    if unknown:
        each = ", ".join(f"{quote(word)} ({count})" for word, count in unknown.most_common(SHOWN))
        warnings.append(f"rows of events that are neither readings nor doses by their word are left out: {each}")


def _devices(table: Table, column: str | None) -> Sequence[str]:
    """Which sensor each row is of, by number: a serial number stays in the file."""
    if column is None:
        return [""] * len(table)
    number = {name: f"sensor {i}" for i, name in enumerate(dict.fromkeys(table.columns[column]), 1)}
    return [number[name] for name in table.columns[column]]


def _beyond(table: Table, column: str | None) -> list[Side]:
    """Which readings are words for a level beyond what the sensor reports; their cells are emptied."""
    if column is None or column not in table.columns:
        return [""] * len(table)
    sides: list[Side] = [_WORDS.get(cell.strip(BLANKS).lower(), "") for cell in table.columns[column]]
    cells = zip(table.columns[column], sides, strict=True)
    table.columns[column] = ["" if side else cell for cell, side in cells]
    return sides


def _readings(
    table: Table,
    when: _rows.Times,
    values: Float[np.ndarray, " rows"],
    beyond: Sequence[Side],
    devices: Sequence[str],
    unit: GlucoseUnit | None,
) -> list[RawReading]:
    """The readings; a word stands for the limit of the sensor, or for the farthest number where that lies beyond."""
    seen = values[np.isfinite(values)]
    unit = unit or ("mmol/L" if seen.size and np.median(seen) < _SWEET_MMOL else "mg/dL")
    low, high = (float(limit(np.append(seen, at))) for limit, at in zip((np.min, np.max), LIMITS[unit], strict=True))
    rows = zip(when, values.tolist(), beyond, table.lines, devices, strict=True)
    return [
        RawReading(t, low if side == "low" else high if side == "high" else value, line, side, "cgm", device)
        for t, value, side, line, device in rows
        if t is not None and (side or np.isfinite(value))
    ]


def _doses(
    table: Table, when: _rows.Times, amounts: Float[np.ndarray, " rows"], minutes: Float[np.ndarray, " rows"]
) -> list[RawDose]:
    rows = zip(when, amounts.tolist(), table.lines, minutes.tolist(), strict=True)
    return [RawDose(t, value, line, length) for t, value, line, length in rows if t is not None and value > 0]
