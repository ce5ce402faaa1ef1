"""LibreView: a title line, a header whose names are translated, and rows of numbered kinds."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from ...physics import LONG_ACTING_MIN
from .._checks import BLANKS, Findings, Table, blank, numbers, split_rows
from .._raw import Raw, RawDose, RawReading
from . import _exports, _rows

NAMES = ("device", "serial", "time", "kind", "historic", "scan", "rapid_text", "rapid", "food_text", "carbs",
         "servings", "long_text", "long", "notes", "strip", "ketone", "meal_part", "correction_part",
         "change_part")  # fmt: skip
"""Columns in their fixed order: the file's own names are in the language of the account."""
AMOUNTS = ("historic", "scan", "rapid", "carbs", "servings", "long", "strip", "meal_part", "correction_part",
           "change_part")  # fmt: skip
LIMITS = {"mg/dL": (40.0, 400.0), "mmol/L": (2.2, 22.2)}
"""Within which every sensor of the family reports numbers; some go to 500 mg/dL."""
HISTORIC, INSULIN, FOOD = "0", "4", "5"
GLUCOSE: tuple[tuple[str, str, Literal["cgm", "scan", "fingerstick"]], ...] = (
    ("historic", HISTORIC, "cgm"),
    ("scan", "1", "scan"),
    ("strip", "2", "fingerstick"),
)
"""Columns of readings, the kind of record that fills each, and who measured."""

_UNIT = re.compile(r".*\b(mg/dL|mmol/L)", re.I)


def recognise(head: str, name: str) -> bool:
    """Whether one of the first lines is a header of this shape."""
    return _header(head) is not None


def _header(text: str) -> int | None:
    for number, line in enumerate(text.lstrip("\ufeff").splitlines()[:4]):
        cells = [cell.strip(BLANKS + '"') for cell in line.split(_exports.delimiter_of(line))]
        if len(cells) >= len(NAMES) and all(_UNIT.fullmatch(cells[i]) for i in (4, 5, 14)):
            return number
    return None


def parse(path: Path, text: str, found: Findings, *, day_first: bool | None = None) -> Raw | None:
    """The sensor's own readings, scans, strips, insulin and food. The person's name is not read.

    Args:
        path: the file.
        text: its content.
        found: what is wrong.
        day_first: whether dates are written with the day before the month, where the file does not tell.
    """
    file = str(path)
    at = _header(text)
    if at is None:
        what, mend = "no header of LibreView is in the first lines", "export the file again"
        found.add(file, what, mend, row=1)
        return None
    header_line = text.lstrip("\ufeff").splitlines()[at]
    split = split_rows(file, text, found, delimiter=_exports.delimiter_of(header_line))
    if split is None:
        return None
    rows, lines = split
    top = next(i for i, row in enumerate(rows) if len(row) >= len(NAMES))
    header = [name.strip(BLANKS) for name in rows[top]]
    units = {match[1].lower() for i in (4, 5, 14) if (match := _UNIT.fullmatch(header[i]))}
    if len(units) > 1:
        found.add(file, f"the header states {' and '.join(sorted(units))}", "export it in one unit", row=lines[top])
        return None
    unit: Literal["mg/dL", "mmol/L"] = "mmol/L" if units == {"mmol/l"} else "mg/dL"
    more = [f"column {i + 1}" for i in range(len(NAMES), len(header))]
    table = _exports.section(file, [*NAMES, *more], rows[top + 1 :], lines[top + 1 :], found)
    when = _exports.stamps(table, "time", found, day_first=day_first, hint=_generated(rows[:top]))
    _exports.decimal_points(table, AMOUNTS)
    kinds = np.array([cell.strip(BLANKS) for cell in table.columns["kind"]])
    found.flag(table, "kind", ~np.isin(kinds, list("0123456789")), "{} is no kind of record", "export the file again")
    _check_order(table, kinds, when, found)
    notes: list[str] = []
    readings = _readings(table, kinds, when, LIMITS[unit], found)
    rapid, slow = _insulin(table, kinds == INSULIN, when, notes, found)
    meals = _meals(table, kinds == FOOD, when, notes, found)
    for kind, count in Counter(str(kind) for kind in kinds if kind in set("3789")).items():
        what = "ketones" if kind == "3" else f"kind {kind}"
        notes.append(f"{count} records of {what} are left out")
    return Raw(
        format="libreview",
        file=file,
        subject=path.stem,
        readings=readings,
        boluses=rapid,
        meals=meals,
        long_acting=slow,
        glucose_unit=unit,
        notes=tuple(notes),
    )


def _generated(rows: Sequence[Sequence[str]]) -> str:
    """The date of the export in the title line, which is written as the others are."""
    cells = [cell.strip(BLANKS).removesuffix("UTC").strip(BLANKS) for row in rows for cell in row]
    return next((cell for cell in cells if _exports.stamp(cell) is not None), "")


def _check_order(table: Table, kinds: np.ndarray, when: _rows.Times, found: Findings) -> None:
    """Of each device by itself: their rows stand one below another."""
    for serial in dict.fromkeys(table.columns["serial"]):
        own = np.array([cell == serial for cell in table.columns["serial"]], dtype=bool) & (kinds == HISTORIC)
        _exports.check_swapped(table, "time", [t if mine else None for t, mine in zip(when, own, strict=True)], found)


def _part(table: Table, column: str, rows: Bool[np.ndarray, " rows"], found: Findings) -> Float[np.ndarray, " rows"]:
    """Amounts of the marked rows; NaN elsewhere."""
    cells = table.columns[column]
    table.columns[column] = [cell if has else "" for cell, has in zip(cells, rows, strict=True)]
    values = numbers(table, column, found)
    # A correction that lowers the bolus is negative; nothing else may be.
    if column not in ("correction_part", "change_part"):
        found.flag(table, column, values < 0, "{} is negative", "give zero or more")
    return values


def _readings(
    table: Table, kinds: np.ndarray, when: _rows.Times, limits: tuple[float, float], found: Findings
) -> tuple[RawReading, ...]:
    out: list[RawReading] = []
    high = limits[1]
    # A serial number stays in the file: devices are told apart, not named.
    serials = {serial: f"sensor {number}" for number, serial in enumerate(dict.fromkeys(table.columns["serial"]), 1)}
    devices = [serials[serial] for serial in table.columns["serial"]]
    for column, kind, who in GLUCOSE:
        own = kinds == kind
        words = [cell.strip(BLANKS).upper() for cell in table.columns[column]]
        beyond = own & np.isin(words, ["LO", "HI"])
        table.columns[column] = ["" if bad else cell for cell, bad in zip(table.columns[column], beyond, strict=True)]
        values = _part(table, column, own, found)
        found.flag(table, column, own & ~beyond & blank(table, column), "there is no reading", "remove the row")
        found.flag(table, column, values == 0, "{} is no glucose", "leave the row out")
        if column == "historic" and np.isfinite(values).any():
            high = max(high, float(np.nanmax(values)))
        for i in map(int, np.flatnonzero(own & (beyond | (values > 0)))):
            t = when[i]
            if t is None:
                continue
            if beyond[i]:
                side = "low" if words[i] == "LO" else "high"
                out.append(RawReading(t, limits[0] if side == "low" else high, table.lines[i], side, who, devices[i]))
            else:
                out.append(RawReading(t, float(values[i]), table.lines[i], "", who, devices[i]))
    return tuple(out)


def _insulin(
    table: Table, own: Bool[np.ndarray, " rows"], when: _rows.Times, notes: list[str], found: Findings
) -> tuple[tuple[RawDose, ...], tuple[RawDose, ...]]:
    rapid, slow = _part(table, "rapid", own, found), _part(table, "long", own, found)
    parts = np.array([_part(table, f"{part}_part", own, found) for part in ("meal", "correction", "change")])
    # The bolus calculator writes the parts of a dose, some devices without their sum.
    summed = np.where(np.isfinite(parts).any(axis=0), np.nansum(parts, axis=0), np.nan)
    rapid = np.where(np.isfinite(rapid), rapid, summed)
    found.flag(table, "rapid", rapid < 0, "the parts of the bolus sum to less than zero", "export the file again")
    lost = int((own & ~np.isfinite(rapid) & ~np.isfinite(slow)).sum())
    if lost:
        notes.append(f"{lost} records of insulin without a number are left out")
    return _rows.doses(table, when, rapid), _rows.doses(table, when, slow, LONG_ACTING_MIN)


def _meals(
    table: Table, own: Bool[np.ndarray, " rows"], when: _rows.Times, notes: list[str], found: Findings
) -> tuple[RawDose, ...]:
    grams, servings = _part(table, "carbs", own, found), _part(table, "servings", own, found)
    only = own & ~np.isfinite(grams) & np.isfinite(servings)
    if only.any():
        notes.append(f"{int(only.sum())} meals are stated in servings, not grams, and are left out")
    lost = int((own & ~np.isfinite(grams) & ~np.isfinite(servings)).sum())
    if lost:
        notes.append(f"{lost} records of food without a number are left out")
    return _rows.doses(table, when, grams)
