"""The rows of a table whose columns are told: readings, rates and doses, by numbers and by words."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from ...physics import DOSE_DURATION_MIN
from .._checks import Table, flag, numbers, quote
from .._columns import parts
from .._insulin import acts_min, is_equivalent, is_priming, kind_of_insulin
from .._options import ReadOptions
from .._raw import GlucoseUnit, RawBasal, RawDose, RawReading
from .._remarks import SHOWN, Doubt, Note, Step, flaw
from . import _stamps
from ._guess import NAMES
from ._known import Sheet

LIMITS: Mapping[GlucoseUnit, tuple[float, float]] = {"mg/dL": (40.0, 400.0), "mmol/L": (2.2, 22.2)}
"""Between which most sensors report numbers."""
_NOTHING = frozenset(("", "nan", "na", "n/a", "nat", "null", "none", "-", "--", "---"))
"""What programs write into a cell without a value."""
_LOW = re.compile(r"low?|[<\u2264] *\d+([.,]\d+)?", re.IGNORECASE)
_HIGH = re.compile(r"hi(gh)?|[>\u2265] *\d+([.,]\d+)?", re.IGNORECASE)
"""What programs write for a reading beyond what the sensor reports."""
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
NOT_AMOUNTS = ("time", "patient", "device", "event")
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

    def cells(self, kind: str) -> list[str]:
        """Cells of the column of a kind; none where there is no such column."""
        return self.table.stripped(self.columns[kind]) if kind in self.columns else []


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


def part_of(mapped: Mapped, options: ReadOptions, hint: str) -> Step[Part | None]:
    """What one table holds."""
    table, there, sheet = mapped.table, mapped.columns, mapped.sheet
    words = mapped.cells("event") or [""] * len(table)
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
    amounts = yield from _amounts(table, there)
    if all(t is None for t in when):
        return None
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
    devices = _devices(mapped._replace(table=table).cells("device"), len(table))
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
    """The kinds of what a row with this word may hold; None where it is of no known kind, or no dose that acts."""
    for pattern, kinds in events.items():
        if re.fullmatch(pattern, word, re.IGNORECASE):
            return tuple(kinds.split())
    if is_priming(word) or is_equivalent(word):
        return None
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


def _amounts(table: Table, columns: Mapping[str, str]) -> Step[Amounts]:
    """Numbers by kind, those of several columns summed; NaN where there is none, infinite beyond a sensor's limit."""
    there = {kind: parts(name, table.names) for kind, name in columns.items() if kind not in NOT_AMOUNTS}
    every = list(dict.fromkeys(name for names in there.values() for name in names))
    seen = {name for kind in (*_READINGS, "value") for name in there.get(kind, ())}
    sides = {name: [_side(cell) for cell in table.stripped(name)] for name in seen}
    bare = {name: list(map(_plain, table.stripped(name))) for name in every}
    bare |= {name: ["" if side else cell for cell, side in zip(bare[name], sides[name], strict=True)] for name in seen}
    table = decimal_points(table.with_cells(bare), every)
    values: Amounts = {}
    for name in every:
        values[name] = yield from numbers(table, name)
        if name not in there.get("offset", ()):
            bad = values[name] < 0
            yield from flag(table, name, bad, "{} is negative", "give zero or more")
            values[name] = np.where(bad, np.nan, values[name])
        if name in seen:
            values[name] = np.where(sides[name], sides[name], values[name])
    sums = {kind: np.array([values[name] for name in names]) for kind, names in there.items()}
    return {kind: np.where(np.isnan(x).all(axis=0), np.nan, np.nansum(x, axis=0)) for kind, x in sums.items()}


def _side(cell: str) -> float:
    """Infinite where a reading lies beyond what the sensor reports, on the side where it does; else zero."""
    return -np.inf if _LOW.fullmatch(cell) else np.inf if _HIGH.fullmatch(cell) else 0.0


def _plain(cell: str) -> str:
    """A cell as a number is written: empty where a word stands for nothing, a length such as 0 days 00:30:00 in min."""
    if cell.lower() in _NOTHING:
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
            remedy = "leave them out of the file, or put them right: is a decimal point lost?"
            yield flaw(table.file, f"{what}, and are {100 * share:.0f} % of all", remedy, column=kind)
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
