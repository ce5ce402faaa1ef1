"""The frame of GluPredKit: 5-min rows, `insulin` the sum of basal and bolus, perhaps several people."""

import csv
import io
from pathlib import Path
from typing import Literal

import numpy as np

from ..._arguments import argument
from .._checks import BLANKS, Findings, Table, check_columns, split_table
from .._raw import Raw
from . import _rows

COLUMNS = ("date", "CGM", "insulin", "carbs")
_KNOWN = ("id", "is_test", "hour", "basal", "bolus", "heartrate", "steps", "calories_burned", "workout_label",
          "workout_intensity", "workout_duration", "scheduled_basal", "galvanic_skin_response", "skin_temp",
          "air_temp", "acceleration", "meal_type", "absorption_time", "age", "gender", "insulin_type", "weight",
          "height", "source_file", "dosage_type")  # fmt: skip


def recognise(head: str, name: str) -> bool:
    """Whether the header has the columns of the frame."""
    return set(COLUMNS) <= set(_rows.header_names(head))


def people(text: str) -> tuple[str, ...]:
    """The people of a frame, in order; empty where it does not name them."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return (
        tuple(dict.fromkeys((row.get("id") or "").strip(BLANKS) for row in rows))
        if "id" in (rows.fieldnames or ())
        else ()
    )


def parse(path: Path, text: str, found: Findings, *, subject: str | None = None) -> Raw | None:
    """Rows of one person.

    Args:
        path: the file.
        text: its content.
        found: what is wrong.
        subject: whom to read, where there are several.
    """
    table = split_table(str(path), text, found)
    if table is None or not check_columns(table, COLUMNS, _KNOWN, found):
        return None
    table = _one(table, subject, found)
    if table is None:
        return None
    when = _rows.times(table, "date", _rows.iso, "2024-07-01 00:05:00", found)
    _rows.grid(table, "date", when, _rows.ROW_MIN, found)
    glucose, insulin, carbs = (_rows.column(table, name, found, nan=True) for name in COLUMNS[1:])
    basal, bolus, unit, notes = insulin, np.zeros(len(table)), "U/5min", []
    merged = not {"basal", "bolus"} <= set(table.names)
    if not merged:
        held, given = (_rows.column(table, name, found, nan=True) for name in ("basal", "bolus"))
        per_row = _basal_unit(table, insulin, held, given, found)
        if per_row is not None:
            basal, bolus, unit = held, given, per_row
            notes.append(f"basal is in {per_row}: with it, insulin is the sum of basal and bolus")
        else:
            merged = True
    if merged:
        notes.append("basal and bolus are taken as one delivered rate")
    known = set(table.columns.get("id", ()))
    return Raw(
        format="glupredkit",
        file=str(path),
        subject=subject or (f"{path.stem}-{known.pop()}" if len(known) == 1 else path.stem),
        readings=_rows.readings(table, when, glucose),
        basal=_rows.rates(table, when, basal),
        boluses=_rows.doses(table, when, bolus),
        meals=_rows.doses(table, when, carbs),
        glucose_unit="mg/dL",
        basal_unit=unit,
        carbs_unit="g",
        merged_insulin=merged,
        notes=tuple(notes),
    )


def _one(table: Table, subject: str | None, found: Findings) -> Table | None:
    """The rows of one person."""
    if "id" not in table.names:
        return table
    who = [cell.strip(BLANKS) for cell in table.columns["id"]]
    there = list(dict.fromkeys(who))
    if len(there) == 1 and subject is None:
        return table
    if subject not in there:
        what = f"{len(there)} people are in it" if subject is None else f"{subject!a} is not in it"
        found.add(
            table.file, what, f"choose with {argument('subject', 'NAME')}, one of {', '.join(there[:30])}", column="id"
        )
        return None
    keep = [i for i, name in enumerate(who) if name == subject]
    rows = [[table.columns[name][i] for name in table.names] for i in keep]
    return Table(table.file, table.names, rows, [table.lines[i] for i in keep])


def _basal_unit(
    table: Table, insulin: np.ndarray, basal: np.ndarray, bolus: np.ndarray, found: Findings
) -> Literal["U/5min", "U/h"] | None:
    """In which unit basal and bolus sum to insulin; None, with an error, where in neither."""
    rest = np.nan_to_num(insulin) - np.nan_to_num(bolus)
    given = np.nan_to_num(basal)
    scale = 1e-4 + 1e-3 * np.abs(np.nan_to_num(insulin))
    units: tuple[tuple[Literal["U/5min", "U/h"], float], ...] = (("U/5min", 1.0), ("U/h", 60 / _rows.ROW_MIN))
    for unit, rows_per in units:
        if np.mean(np.abs(rest - given / rows_per) < scale) > 0.99:
            return unit
    mend = "put them right, or drop basal and bolus to read insulin as delivered"
    found.add(table.file, "it is not the sum of basal and bolus, per 5 min or per hour", mend, column="insulin")
    return None
