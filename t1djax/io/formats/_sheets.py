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
from ...physics import DOSE_DURATION_MIN
from .._checks import Table, flag, numbers, quote, quote_name, section
from .._columns import JOIN, OWN_COLUMNS, TIME, meant, parts, placed, unit_of
from .._insulin import acts_min, kind_of_insulin
from .._options import ReadOptions
from .._raw import GlucoseUnit, Raw, RawBasal, RawDose, RawReading
from .._remarks import SHOWN, Doubt, Note, Step, finished, flaw, sound
from .._tables import TRUTH
from . import _layout, _stamps
from ._guess import NAMES, guessed, person_column
from ._known import Known, Sheet, columns_of, sheet_of

Files = Sequence[tuple[Path, str]]
"""Files of one person, and their content."""
LIMITS: Mapping[GlucoseUnit, tuple[float, float]] = {"mg/dL": (40.0, 400.0), "mmol/L": (2.2, 22.2)}
"""Between which most sensors report numbers."""
_MINUTE = dt.timedelta(minutes=1)
_NOTHING = frozenset(("", "nan", "na", "n/a", "nat", "null", "none", "-", "--", "---"))
"""What programs write into a cell without a value."""
_WORDS: Mapping[str, Literal["low", "high"]] = {"low": "low", "lo": "low", "high": "high", "hi": "high"}
_LENGTH = re.compile(r"(?:(\d+) days?,? +)?(\d{1,2}):(\d\d):(\d\d)(?:\.\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_POINT = re.compile(r"[+-]?\d+\.\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
_SWEET_MMOL = 35.0
"""A median below is of mmol/L."""
_DAMAGED_SHARE = 0.02
"""Rows with amounts that nobody takes are left out up to this share."""
_READINGS: Mapping[str, Literal["cgm", "scan", "fingerstick", "calibration"]] = {
    "glucose": "cgm", "scan": "scan", "fingerstick": "fingerstick", "calibration": "calibration",
}  # fmt: skip
_DOSES = ("bolus", "carbs", "long_acting")
_NOT_AMOUNTS = ("time", "patient", "device", "event")
_EVENTS: Sequence[tuple[str, str]] = (
    (r"calib", "calibration"),
    (r"finger|smbg|bgm|meter|strip|manual|blood", "fingerstick"),
    (NAMES["glucose"], "glucose"),
    (r"temp.*basal|basal.*rate|^basal$", "basal"),
    (r"insul|bolus|胰岛素|инсулин", "bolus"),
    (rf"{NAMES['carbs']}|food|essen", "carbs"),
)
"""What the words of a column of events mean, in this order; insulin then by its name."""
Amounts = dict[str, Float[np.ndarray, " rows"]]


class Mapped(NamedTuple):
    """A table, and the column of each kind."""

    table: Table
    columns: Mapping[str, str]
    """The table's column, by kind; several are joined."""
    units: Mapping[str, Any]
    """Stated by a column's name or documented, by kind; None where neither."""
    minutes: bool
    """Whether the times are minutes."""
    unread: tuple[str, ...]
    """Columns that nobody named."""
    sheet: Sheet
    """What is known of such tables."""


class Part(NamedTuple):
    """What one table holds."""

    readings: list[RawReading]
    basal: list[RawBasal]
    boluses: list[RawDose]
    meals: list[RawDose]
    long_acting: list[RawDose]
    when: _stamps.Times
    """Times of the rows of the record: doses given before it may stand above, in rows without a reading or a rate."""
    turn: bool
    """Whether day and month are to be turned round, because it was asked for where the year leads."""
    units: Mapping[str, Any]


def parse(
    files: Files,
    options: ReadOptions,
    *,
    columns: Mapping[str, str] | None = None,
    known: Known | None = None,
    rows_count: bool = False,
) -> Step[Raw | None]:
    """Rows of tables in any order: a reading, a rate, a dose or a meal where there is a number.

    Args:
        files: the files.
        options: how to read them.
        columns: the person's column by the library's name; left out, as the format or a guess says.
        known: the format of the tables.
        rows_count: whether the record begins and ends with its rows rather than its readings.
    """
    tables = yield from tables_of(files, columns, known)
    name = "table" if known is None else known.name
    return (yield from raw_of(tables, files, options, name, rows_count=rows_count))


def raw_of(
    tables: Sequence[Mapped], files: Files, options: ReadOptions, name: str, *, rows_count: bool = False, hint: str = ""
) -> Step[Raw | None]:
    """One person's record of tables whose columns are told.

    Args:
        tables: the tables.
        files: where they are from.
        options: how to read them.
        name: of the format.
        rows_count: as in `parse`.
        hint: a date elsewhere in the file, written as those of the table.
    """
    path = files[0][0]
    mine: list[Mapped] = []
    for mapped in tables:
        one = yield from _one(mapped, options.subject)
        if one is None:
            return None
        mine += [one] if len(one.table) else []
    read: list[Part] = []
    for mapped in mine:
        part = yield from _part(mapped, options, hint)
        read += [] if part is None else [part]
    if not read:
        return None
    unread = [quote_name(name) for mapped in tables for name in mapped.unread]
    if unread and name == "table":
        yield Note(f"columns that are not read: {', '.join(unread[: 2 * SHOWN])}{', ...' * (len(unread) > 2 * SHOWN)}")
    who = {cell for mapped in mine for cell in _cells(mapped, "patient")}
    stem = path.stem if len(files) == 1 else path.resolve().parent.name
    alone = who.pop() if len(who) == 1 else ""
    joined = lambda field: tuple(x for part in read for x in getattr(part, field))
    lead, trail = _ends([t for part in read for t in part.when], joined("readings")) if rows_count else (0.0, 0.0)
    unit = lambda kind: next((part.units[kind] for part in read if part.units.get(kind) is not None), None)
    first = [t for part in read for t in part.when[:1] if t is not None]
    return Raw(
        format=name,
        file=str(path) if len(files) == 1 else str(path.parent),
        subject=options.subject or (f"{stem}-{alone}" if alone.isdecimal() else alone) or stem,
        readings=joined("readings"),
        basal=joined("basal"),
        boluses=joined("boluses"),
        meals=joined("meals"),
        long_acting=joined("long_acting"),
        glucose_unit=unit("glucose"),
        basal_unit=unit("basal"),
        carbs_unit=unit("carbs"),
        merged_insulin=any(mapped.sheet.merged for mapped in mine),
        clock=not any(mapped.minutes for mapped in mine) and all(t.date() != _stamps.EPOCH.date() for t in first),
        turn_dates=any(part.turn for part in read),
        lead_min=lead,
        trail_min=trail,
    )


def people(text: str, columns: Mapping[str, str] | None, known: Known | None = None) -> tuple[str, ...]:
    """Whom a table holds, in order, where a column says so."""
    tables, _ = finished(tables_of([(Path(), text)], columns, known))
    return tuple(dict.fromkeys(cell for mapped in tables for cell in _cells(mapped, "patient") if cell))


def tables_of(files: Files, columns: Mapping[str, str] | None, known: Known | None) -> Step[list[Mapped]]:
    """The tables of the files whose columns can be told; none where glucose or a time lacks, which is reported."""
    every: list[tuple[str, _layout.Block]] = []
    for path, text in files:
        found, remarks = finished(_layout.blocks(str(path), text))
        yield from remarks
        if remarks.problems:
            return []
        every += [(str(path), block) for block in found]
    names = [name for _, block in every for name in block.names if name]
    there = ", ".join(map(quote_name, dict.fromkeys(names)))
    file, line = every[0][0], every[0][1].line
    wrong = [flaw(file, *why, row=line) for why in _absent(names, columns or {}, there)]
    for other, block in every:
        named = {part for name in (columns or {}).values() for part in parts(name, names)}
        twice = [name for name in dict.fromkeys(block.names) if name in named and block.names.count(name) > 1]
        wrong += [flaw(other, "there is more than one such column", "keep one", column=quote_name(name), row=block.line)
                  for name in twice]  # fmt: skip
    each = [(file, block, *_mapping(block, columns, known)) for file, block in every]
    out: list[Mapped] = []
    for where, block, mapping, sheet in each:
        if sheet is None:
            continue
        if (one := (yield from sound(mapped_of(where, block, mapping, sheet)))) is None:
            return []
        out.append(one)
    if known is not None and not out:
        what = f"its columns are not those of {known.name}"
        yield flaw(file, what, f"leave the format out; there are {there}", row=line)
        return []
    kinds = {kind for mapped in out for kind in mapped.columns} | {OWN_COLUMNS[own].kind for own in columns or {}}
    for kind in ("time", "glucose"):
        if kind not in kinds and not (kind == "glucose" and "value" in kinds):
            mend = f"name it, as in {argument('columns', f'{kind}=NAME')}; its columns are {there}"
            wrong.append(flaw(file, f"no column is named as {kind}", mend, row=line))
    for mapped in out:
        if "time" not in mapped.columns and "time" in kinds and not wrong:
            mend = f"its columns are {', '.join(mapped.unread)}"
            wrong.append(flaw(mapped.table.file, "no column is named as time", mend))
        if not len(mapped.table):
            mend = "write the rows below it"
            wrong.append(flaw(mapped.table.file, "there is a header and no row", mend, row=line))
    if not wrong and (passed := sum(sheet is None for *_, sheet in each)):
        yield Note(f"{passed} tables with no readings or doses are not read")
    yield from wrong
    return [] if wrong else out


def _absent(names: Sequence[str], columns: Mapping[str, str], there: str) -> list[tuple[str, str]]:
    """What to say of columns that are named and in none of the tables, and the remedy."""
    wanted = [(own, part) for own, name in columns.items() for part in parts(name, names)]
    return [
        (f"there is no column {quote_name(part)} to take as {own}{meant(part, names)}", f"its columns are {there}")
        for own, part in wanted
        if part not in names
    ]


def _mapping(
    block: _layout.Block, columns: Mapping[str, str] | None, known: Known | None
) -> tuple[Mapping[str, str], Sheet | None]:
    """Its columns by the library's name, and what is known of it; no sheet where the table is none of the format."""
    names = block.names
    if columns is not None:
        here = {own: name for own, name in columns.items() if all(part in names for part in parts(name, names))}
        return placed(here, names), Sheet()
    if known is not None:
        sheet = sheet_of(known, names)
        return ({} if sheet is None else columns_of(sheet, names)), sheet
    cells = {name: [row[i] for row in block.rows if i < len(row)] for i, name in enumerate(names)}
    return guessed(names, cells), Sheet()


def mapped_of(file: str, block: _layout.Block, mapping: Mapping[str, str], sheet: Sheet) -> Step[Mapped]:
    """A table with its columns by kind; those of a time or of words are put together.

    Args:
        file: the file.
        block: the table.
        mapping: its columns by the library's names.
        sheet: what is known of it.
    """
    names = block.names
    table = yield from section(file, names, block.rows, block.lines)
    kind_of = lambda own: OWN_COLUMNS[own].kind if own in OWN_COLUMNS else own
    columns: dict[str, str] = {}
    taken: set[str] = set()
    for own, whole in mapping.items():
        wanted = parts(whole, names)
        columns[kind_of(own)] = name = JOIN.join(wanted)
        taken |= set(wanted)
        if len(wanted) > 1 and kind_of(own) in _NOT_AMOUNTS:
            cells = zip(*(table.stripped(part) for part in wanted), strict=True)
            table = table.with_cells({name: [" ".join(row).strip() for row in cells]})
    units = {kind_of(own): unit_of(own, columns[kind_of(own)]) for own in mapping if own in OWN_COLUMNS}
    unread = tuple(name for name in dict.fromkeys(names) if name and name not in {*taken, *TRUTH})
    return Mapped(table, columns, {**units, **sheet.units}, TIME in mapping, unread, sheet)


def _cells(mapped: Mapped, kind: str) -> list[str]:
    """Cells of the column of a kind; none where there is no such column."""
    return mapped.table.stripped(mapped.columns[kind]) if kind in mapped.columns else []


def _one(mapped: Mapped, subject: str | None) -> Step[Mapped | None]:
    """The rows of one person."""
    table, column = mapped.table, mapped.columns.get("patient")
    if column is None:
        cells = {name: table.columns[name] for name in mapped.unread}
        if (other := person_column(list(cells), cells)) is None:
            return mapped
        what = f"{len(set(cells[other]))} people seem to be in it"
        way = argument("columns", f"patient={other},...")
        mend = f"name the column, as in {way}, or remove it where it is none of persons"
        yield flaw(table.file, what, mend, column=quote_name(other))
        return None
    who = table.stripped(column)
    there = list(dict.fromkeys(who))
    if subject is None and len(there) < 2:
        return mapped
    if subject not in there:
        what = f"{len(there)} people are in it" if subject is None else f"{subject!a} is not in it"
        mend = f"choose with {argument('subject', 'NAME')}, one of {', '.join(there[:30])}"
        yield flaw(table.file, what, mend, column=column)
        return None
    return mapped._replace(table=table.take([i for i, name in enumerate(who) if name == subject]))


def _part(mapped: Mapped, options: ReadOptions, hint: str) -> Step[Part | None]:
    """What one table holds."""
    table, there, sheet = mapped.table, mapped.columns, mapped.sheet
    words = _cells(mapped, "event") or [""] * len(table)
    meaning = {word: _meaning(word, sheet.events) for word in set(words)}
    of_rows = [meaning[word] for word in words]
    only = "event" in there and (bool(sheet.events) or "value" in there)
    """Whether a row holds nothing but what its word says."""
    if only:
        yield from _say_unknown(words, meaning)
        keep = [i for i, kinds in enumerate(of_rows) if kinds]
        table, words, of_rows = table.take(keep), [words[i] for i in keep], [of_rows[i] for i in keep]
    if mapped.minutes:
        when, turn = (yield from _stamps.from_minutes(table, there["time"])), False
    else:
        when, turn = yield from _stamps.from_clock(table, there["time"], options.day_first, hint)
    if all(t is None for t in when):
        return None
    amounts = yield from _amounts(table, there)
    amounts = yield from _clean(table, amounts, sheet.clean)
    if "offset" in amounts:
        when = [_stamps.at_offset(t, hours) for t, hours in zip(when, amounts["offset"].tolist(), strict=True)]
    of = _by_event(amounts, of_rows, only)
    if only:
        yield from _say_empty(of, of_rows)
    row = _stamps.spacing(when) or 5.0
    if sheet.row_min is not None:
        yield from _stamps.check_grid(table, there["time"], when, sheet.row_min or row)
    units = dict(mapped.units)
    if sheet.basal_unit_of is not None:
        units["basal"] = yield from sheet.basal_unit_of(table.file, amounts)
    for text in sheet.notes:
        yield Note(text.format(row=row))
    devices = _devices(_cells(mapped._replace(table=table), "device"), len(table))
    for device in () if mapped.minutes else dict.fromkeys(devices):
        own = [mine == device and not none for mine, none in zip(devices, np.isnan(of["glucose"]), strict=True)]
        yield from _stamps.check_swapped(table, there["time"], when, own)
    if units.get("bolus") == "U/min":
        of["bolus"] = of["bolus"] * row
    nothing = np.full(len(table), np.nan)

    def doses(kind: str, stated: str, usual: Sequence[float]) -> list[RawDose]:
        minutes = amounts.get(stated, nothing)
        lasts = np.where(minutes > 0, minutes, row if kind in sheet.over_rows else usual).tolist()
        rows = zip(when, of[kind].tolist(), table.lines, lasts, strict=True)
        return [RawDose(t, x, line, length) for t, x, line, length in rows if t is not None and x > 0]

    brief = [DOSE_DURATION_MIN] * len(table)
    rates = zip(when, of["basal"].tolist(), table.lines, amounts.get("basal_duration", nothing).tolist(), strict=True)
    return Part(
        _readings(table, when, of, devices, options.glucose_unit or units.get("glucose")),
        [RawBasal(t, x, line, None if np.isnan(long) else long) for t, x, line, long in rates if t and np.isfinite(x)],
        doses("bolus", "bolus_duration", brief),
        doses("carbs", "meal_duration", brief),
        doses("long_acting", "long_acting_duration", [acts_min(word) for word in words]),
        when[_above(of) :],
        turn,
        units,
    )


def _above(of: Amounts) -> int:
    """How many rows on top state a dose, and neither a reading nor a rate."""
    record = ~np.isnan(of["glucose"]) | ~np.isnan(of["basal"]) | ~np.any([of[kind] > 0 for kind in _DOSES], axis=0)
    return int(np.argmax(record)) if record.any() else 0


def _meaning(word: str, events: Mapping[str, str]) -> tuple[str, ...] | None:
    """The kinds of what a row with this word may hold; None where the word is not known."""
    for pattern, kinds in events.items():
        if re.fullmatch(pattern, word, re.IGNORECASE):
            return tuple(kinds.split())
    kind = next((kind for pattern, kind in _EVENTS if re.search(pattern, word, re.IGNORECASE)), None)
    insulin = kind_of_insulin(word)
    if kind in (None, "bolus") and insulin == "long":
        return ("long_acting",)
    return (kind,) if kind else None if insulin is None else ("bolus",)


def _by_event(amounts: Amounts, of_rows: Sequence[tuple[str, ...] | None], only: bool) -> Amounts:
    """Of each kind the amounts of the rows that may hold it; a reading is of the kind that the row's word says."""
    nothing = np.full(len(of_rows), np.nan)
    glucose, value = amounts.get("glucose", nothing), amounts.get("value", nothing)
    reading = [next((kind for kind in kinds or () if kind in _READINGS), "glucose") for kinds in of_rows]
    out: Amounts = {}
    for kind in (*_READINGS, "basal", *_DOSES):
        own = amounts.get(kind, glucose if kind in _READINGS else nothing)
        if only:
            holds = [kind in (kinds or ()) for kinds in of_rows]
        else:
            holds = [kind == mine for mine in reading] if kind in _READINGS else [True] * len(of_rows)
        out[kind] = np.where(holds, np.where(np.isnan(own), value if only else nothing, own), np.nan)
    return out


def _say_unknown(words: Sequence[str], meaning: Mapping[str, tuple[str, ...] | None]) -> Step[None]:
    """Remarks on words that nobody knows, and on insulin of an unknown kind."""
    few = lambda count: ", ".join(f"{quote(word)} ({n})" for word, n in count.most_common(SHOWN))
    if unknown := Counter(word for word in words if meaning[word] is None):
        yield Doubt(f"rows of events that are neither readings nor doses by their word are left out: {few(unknown)}")
    if unsure := Counter(w for w in words if meaning[w] == ("bolus",) and kind_of_insulin(w) != "rapid"):
        yield Note(f"insulin that is not said to be long-acting is taken as boluses: {few(unsure)}")


def _say_empty(of: Amounts, of_rows: Sequence[tuple[str, ...] | None]) -> Step[None]:
    empty = np.all([np.isnan(x) for x in of.values()], axis=0)
    what = {"bolus": "insulin", "long_acting": "insulin", "carbs": "food", "basal": "basal"}
    kinds = Counter(what.get(mine[0], "glucose") for mine, none in zip(of_rows, empty, strict=True) if mine and none)
    for kind, count in kinds.items():
        yield Note(f"{count} records of {kind} without a number are left out")


def _ends(when: _stamps.Times, readings: Sequence[RawReading]) -> tuple[float, float]:
    """From the first row to the first reading, and from the last reading to the last row, min."""
    stated, seen = [t for t in when if t is not None], [reading.time for reading in readings]
    if not seen or len({t.tzinfo is None for t in stated}) > 1:
        return 0.0, 0.0
    return (min(seen) - min(stated)) / _MINUTE, (max(stated) - max(seen)) / _MINUTE


def _amounts(table: Table, columns: Mapping[str, str]) -> Step[Amounts]:
    """Numbers by kind, those of several columns summed; NaN where there is none, infinite beyond a sensor's limit."""
    there = {kind: parts(name, table.names) for kind, name in columns.items() if kind not in _NOT_AMOUNTS}
    every = list(dict.fromkeys(name for names in there.values() for name in names))
    words = {name: [cell.lower() for cell in table.stripped(name)] for name in every}
    table = decimal_points(table.with_cells({name: list(map(_plain, table.stripped(name))) for name in every}), every)
    values: Amounts = {}
    for name in every:
        values[name] = yield from numbers(table, name)
        if name not in there.get("offset", ()):
            bad = values[name] < 0
            yield from flag(table, name, bad, "{} is negative", "give zero or more")
            values[name] = np.where(bad, np.nan, values[name])
        sides = np.array([_WORDS.get(word, "") for word in words[name]])
        values[name] = np.where(sides == "low", -np.inf, np.where(sides == "high", np.inf, values[name]))
    sums = {kind: np.array([values[name] for name in names]) for kind, names in there.items()}
    return {kind: np.where(np.isnan(x).all(axis=0), np.nan, np.nansum(x, axis=0)) for kind, x in sums.items()}


def _plain(cell: str) -> str:
    """A cell as a number is written: empty where a word stands for nothing, a length such as 0 days 00:30:00 in min."""
    if cell.lower() in _NOTHING or cell.lower() in _WORDS:
        return ""
    if (found := _LENGTH.fullmatch(cell)) is None:
        return cell
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return f"{1440 * days + 60 * hours + minutes + seconds / 60:g}"


def decimal_points(table: Table, columns: Sequence[str]) -> Table:
    """With points for decimal commas, where the table shows that it uses them; else the cells are to be judged."""
    cells = {name: table.stripped(name) for name in columns}
    every = [cell for column in cells.values() for cell in column]
    commas = [cell for cell in every if _COMMA.fullmatch(cell)]
    if not commas or all(_THOUSANDS.fullmatch(cell) for cell in commas) or any(map(_POINT.fullmatch, every)):
        return table
    point = lambda cell: cell.replace(",", ".") if _COMMA.fullmatch(cell) else cell
    return table.with_cells({name: [point(cell) for cell in column] for name, column in cells.items()})


def _clean(table: Table, amounts: Amounts, most: Mapping[str, float]) -> Step[Amounts]:
    """Without rows that are damaged as those of the format are known to be, where there are few."""
    out = dict(amounts)
    for kind in most.keys() & amounts.keys():
        bad = amounts[kind] > most[kind]
        if not bad.any():
            continue
        share = bad.sum() / max(1, np.isfinite(amounts[kind]).sum())
        first = ", ".join(str(table.lines[i]) for i in np.flatnonzero(bad)[:SHOWN].tolist())
        what = f"{bad.sum()} rows have {kind} above {most[kind]:g} (the first are {first}), which nobody has"
        if share > _DAMAGED_SHARE:
            mend = "leave them out of the file, or put them right: is a decimal point lost?"
            yield flaw(table.file, f"{what}, and are {100 * share:.0f} % of all", mend, column=kind)
        else:
            yield Doubt(f"{what} and left out")
        out[kind] = np.where(bad, np.nan, amounts[kind])
    return out


def _devices(names: Sequence[str], n: int) -> list[str]:
    """Which sensor each row is of, by number: a serial number stays in the file."""
    number = {name: f"sensor {i}" for i, name in enumerate(dict.fromkeys(names), 1)}
    return [number[name] for name in names] or [""] * n


def _readings(
    table: Table, when: _stamps.Times, of: Amounts, devices: Sequence[str], unit: GlucoseUnit | None
) -> list[RawReading]:
    """The readings; a word stands for the limit of the sensor, or for the farthest number where that lies beyond."""
    seen = of["glucose"][np.isfinite(of["glucose"])]
    unit = unit or ("mmol/L" if seen.size and np.median(seen) < _SWEET_MMOL else "mg/dL")
    low, high = (float(limit(np.append(seen, at))) for limit, at in zip((np.min, np.max), LIMITS[unit], strict=True))
    sides: Mapping[float, tuple[float, Literal["low", "high"]]] = {-np.inf: (low, "low"), np.inf: (high, "high")}
    return [
        RawReading(t, number, line, side, who, device)
        for kind, who in _READINGS.items()
        for t, value, line, device in zip(when, of[kind].tolist(), table.lines, devices, strict=True)
        if t is not None and not np.isnan(value)
        for number, side in (sides.get(value, (value, "")),)
    ]
