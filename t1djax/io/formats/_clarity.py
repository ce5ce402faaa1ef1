"""Dexcom Clarity: readings and events in one table, with rows about the person and the alerts on top."""

import datetime as dt
import re
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np

from ...physics import LONG_ACTING_MIN
from .._checks import BLANKS, Findings, Table, blank, split_rows
from .._insulin import kind_of_insulin
from .._raw import Raw, RawDose, RawReading
from . import _exports, _rows

TIME = "Timestamp (YYYY-MM-DDThh:mm:ss)"
TYPE, SUBTYPE = "Event Type", "Event Subtype"
INSULIN, CARBS = "Insulin Value (u)", "Carb Value (grams)"
LIMITS = {"mg/dL": (40.0, 400.0), "mmol/L": (2.2, 22.2)}
"""Between which the sensor reports numbers."""
READINGS: dict[str, Literal["cgm", "calibration", "fingerstick"]] = {
    "EGV": "cgm",
    "Calibration": "calibration",
    "Fasting Glucose": "fingerstick",
}
SKIPPED = ("Exercise", "Activity", "Health", "Notes", "Alert", "Device", "Sensor", "FirstName", "LastName",
           "DateOfBirth", "Medication", "Meal")  # fmt: skip

_GLUCOSE = re.compile(r"Glucose Value \((mg/dL|mmol/L)\)", re.I)
_ELSEWHERE = re.compile(r"\([^()]{4,10}[-T][^()]{2,6}T?hh:mm:ss\).*\((mg/dl|mmol/l)\).*\(hh:mm:ss\)", re.I)
_CLOCK = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d{1,2}):(\d\d):(\d\d)", re.ASCII)


def recognise(head: str, name: str) -> bool:
    """Whether the first line is the header of Clarity, in English or another language."""
    line = head.lstrip("\ufeff").split("\n", 1)[0]
    return (TIME in line and TYPE in line) or bool(_ELSEWHERE.search(line))


def parse(path: Path, text: str, found: Findings) -> Raw | None:
    """Readings, boluses, long-acting insulin and carbohydrate. Names and dates of birth are not read."""
    file = str(path)
    split = split_rows(file, text, found, delimiter=_exports.best_delimiter(text, "hh:mm:ss"))
    if split is None:
        return None
    rows, lines = split
    names = [name.strip(BLANKS) for name in rows[0]]
    unit = next((match[1] for name in names if (match := _GLUCOSE.fullmatch(name))), None)
    missing = [name for name in (TIME, TYPE, SUBTYPE) if name not in names]
    if unit is None or missing:
        what = f"the columns {', '.join(missing)} are missing" if missing else "no column 'Glucose Value' has a unit"
        mend = "set Clarity to English and export again: only its English files are read"
        found.add(file, what, mend, row=lines[0])
        return None
    table = _exports.section(file, names, rows[1:], lines[1:], found)
    glucose = next(name for name in names if _GLUCOSE.fullmatch(name))
    kinds = [cell.strip(BLANKS) for cell in table.columns[TYPE]]
    timed = ~blank(table, TIME)
    found.flag(
        table, TIME, np.isin(kinds, [*READINGS, "Insulin", "Carbs"]) & ~timed, "the row has no time", "export it again"
    )
    table = _where(table, timed)
    kinds = [kind for kind, has in zip(kinds, timed, strict=True) if has]
    when = _rows.times(table, TIME, _clock, "2024-05-01T07:30:00", found)
    _exports.decimal_points(table, [name for name in (glucose, INSULIN, CARBS) if name in table.names])
    limits: Literal["mg/dL", "mmol/L"] = "mmol/L" if unit.lower() == "mmol/l" else "mg/dL"
    readings = _readings(table, glucose, kinds, when, LIMITS[limits], found)
    notes: list[str] = []
    rapid, slow = _insulin(table, kinds, when, notes, found)
    meals = _amounts(table, CARBS, [kind == "Carbs" for kind in kinds], when, found)
    known = {*READINGS, *SKIPPED, "Insulin", "Carbs"}
    for kind, count in Counter(kind for kind in kinds if kind not in known).items():
        notes.append(f"{count} rows of the unknown kind {kind!r} are left out")
    return Raw(
        format="dexcom_clarity",
        file=file,
        subject=path.stem,
        readings=readings,
        boluses=rapid,
        meals=meals,
        long_acting=slow,
        glucose_unit=limits,
        notes=tuple(notes),
    )


def _clock(cell: str) -> dt.datetime | None:
    # Newer files write the hour without a leading zero.
    match = _CLOCK.fullmatch(cell)
    time = _rows.iso(f"{match[1]}T{int(match[2]):02d}:{match[3]}:{match[4]}") if match else None
    return time if time is not None and time.year in _exports.YEARS else None


def _where(table: Table, keep: np.ndarray) -> Table:
    kept = [int(i) for i in np.flatnonzero(keep)]
    rows = [[table.columns[name][i] for name in table.names] for i in kept]
    return Table(table.file, table.names, rows, [table.lines[i] for i in kept])


def _readings(
    table: Table,
    glucose: str,
    kinds: list[str],
    when: _rows.Times,
    limits: tuple[float, float],
    found: Findings,
) -> tuple[RawReading, ...]:
    words = [cell.strip(BLANKS).lower() for cell in table.columns[glucose]]
    table.columns[glucose] = ["" if word in ("low", "high") else word for word in words]
    values = _rows.column(table, glucose, found)
    measured = np.isin(kinds, list(READINGS))
    beyond = np.isin(words, ["low", "high"])
    found.flag(table, glucose, measured & ~beyond & blank(table, glucose), "there is no reading", "remove the row")
    found.flag(table, glucose, measured & (values == 0), "{} is no glucose", "leave the row out")
    # A file whose numbers pass the usual limits is of a sensor with wider ones.
    stated = values[np.array(kinds) == "EGV"]
    low, high = (float(limit(np.append(stated[np.isfinite(stated)], at))) for limit, at in
                 zip((np.min, np.max), limits, strict=True))  # fmt: skip
    out: list[RawReading] = []
    for kind, t, value, word, line in zip(kinds, when, values.tolist(), words, table.lines, strict=True):
        if t is None or kind not in READINGS:
            continue
        if word == "low":
            out.append(RawReading(t, low, line, "low", READINGS[kind]))
        elif word == "high":
            out.append(RawReading(t, high, line, "high", READINGS[kind]))
        elif np.isfinite(value):
            out.append(RawReading(t, value, line, "", READINGS[kind]))
    return tuple(out)


def _insulin(
    table: Table, kinds: list[str], when: _rows.Times, notes: list[str], found: Findings
) -> tuple[tuple[RawDose, ...], tuple[RawDose, ...]]:
    types = [cell.strip(BLANKS) for cell in table.columns[SUBTYPE]]
    insulin = [kind == "Insulin" for kind in kinds]
    slow = [is_dose and kind_of_insulin(kind) == "long" for is_dose, kind in zip(insulin, types, strict=True)]
    rapid = [is_dose and not long for is_dose, long in zip(insulin, slow, strict=True)]
    strange = sum(is_dose and kind_of_insulin(kind) != "rapid" for is_dose, kind in zip(rapid, types, strict=True))
    if strange:
        notes.append(f"{strange} doses of insulin that is not said to be long-acting are taken as boluses")
    return _amounts(table, INSULIN, rapid, when, found), _amounts(table, INSULIN, slow, when, found, LONG_ACTING_MIN)


def _amounts(
    table: Table, column: str, rows: list[bool], when: _rows.Times, found: Findings, minutes: float = 1.0
) -> tuple[RawDose, ...]:
    if not any(rows):
        return ()
    if column not in table.names:
        found.add(table.file, "the column is missing", "set Clarity to English and export again", column=column)
        return ()
    part = _where(table, np.array(rows, dtype=bool))
    values = _rows.column(part, column, found)
    found.flag(part, column, blank(part, column), "there is no amount", "remove the row")
    return _rows.doses(part, [t for t, has in zip(when, rows, strict=True) if has], values, minutes)
