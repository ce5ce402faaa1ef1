"""simglucose: the table of a simulation, and noise-free states minute by minute."""

import datetime as dt
from pathlib import Path

import numpy as np

from .._checks import Findings, check_columns, split_table
from .._raw import Raw
from . import _rows

COLUMNS = ("Time", "CGM", "CHO", "insulin")
_MORE = ("BG", "LBGI", "HBGI", "Risk")
STATES = ("min", "Gsub_mgdl", "CHO_announced_g", "insulin_U_per_min")
_EPOCH = dt.datetime(2000, 1, 1)
_MERGED = "the file gives basal and bolus as one delivered rate"


def recognise(head: str, name: str) -> bool:
    """Whether the header has the columns of a simulation."""
    names = set(_rows.header_names(head))
    return set(COLUMNS) <= names or set(STATES) <= names


def parse(path: Path, text: str, found: Findings) -> Raw | None:
    """Rows of a simulation: glucose mg/dL, carbohydrate g/min, insulin U/min, both averaged over the row."""
    if set(STATES) <= set(_rows.header_names(text[:4096])):
        return _states(path, text, found)
    table = split_table(str(path), text, found)
    if table is None or not check_columns(table, COLUMNS, _MORE, found):
        return None
    when = _rows.times(table, "Time", _rows.iso, "2025-01-06 00:00:00", found)
    row = _rows.spacing(when) or _rows.ROW_MIN
    _rows.grid(table, "Time", when, row, found)
    glucose, cho, insulin = (_rows.column(table, name, found) for name in COLUMNS[1:])
    return Raw(
        format="simglucose",
        file=str(path),
        subject=path.stem,
        readings=_rows.readings(table, when, glucose),
        basal=_rows.rates(table, when, insulin),
        meals=_rows.doses(table, when, cho, row),
        glucose_unit="mg/dL",
        basal_unit="U/min",
        carbs_unit="g/min",
        merged_insulin=True,
        notes=(_MERGED, f"meals are rates held over {row:g}-min rows"),
    )


def _states(path: Path, text: str, found: Findings) -> Raw | None:
    """Noise-free states: the glucose under the skin is what a sensor without error would show."""
    table = split_table(str(path), text, found)
    if table is None or not check_columns(table, STATES, table.names, found):
        return None
    minute, glucose, carbs, insulin = (_rows.column(table, name, found) for name in STATES)
    found.flag(table, "min", np.isnan(minute), "the row has no time", "state it")
    when = [None if np.isnan(m) else _EPOCH + dt.timedelta(minutes=m) for m in minute.tolist()]
    return Raw(
        format="simglucose",
        file=str(path),
        subject=path.stem,
        readings=_rows.readings(table, when, glucose),
        basal=_rows.rates(table, when, insulin),
        meals=_rows.doses(table, when, carbs, _rows.spacing(when) or 1.0),
        glucose_unit="mg/dL",
        basal_unit="U/min",
        carbs_unit="g",
        merged_insulin=True,
        clock=False,
        notes=(_MERGED, "glucose is the simulation's own under the skin, without noise"),
    )
