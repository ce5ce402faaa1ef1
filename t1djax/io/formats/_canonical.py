"""The library's own table, read by its own checks."""

import datetime as dt
import math
from pathlib import Path

from .._checks import Findings, split_table
from .._raw import Raw, RawBasal, RawDose, RawReading
from .._tables import BASAL, GLUCOSE, PATIENTS_FILE, read_parameters, table_to_patient
from .._zones import read_zones
from . import _rows

_EPOCH = dt.datetime(2000, 1, 1)


def recognise(head: str, name: str) -> bool:
    """Whether the header has glucose and basal by their canonical names."""
    return {GLUCOSE, BASAL} <= set(_rows.header_names(head))


def parse(path: Path, text: str, found: Findings) -> Raw | None:
    """A patient's table, with what `patients.csv` beside it asserts."""
    table = split_table(str(path), text, found)
    asserted = path.parent / PATIENTS_FILE
    known = read_parameters(asserted, found).get(path.stem, {}) if asserted.exists() else {}
    patient = None if table is None else table_to_patient(table, path.stem, known, found, strict=False)
    if patient is None or table is None:
        return None
    start = patient.start or _EPOCH
    # In one offset throughout: a clock that springs forward cannot be added to.
    start = start if start.tzinfo is None else start.astimezone(dt.timezone(start.utcoffset() or dt.timedelta()))
    when = lambda minute: start + dt.timedelta(minutes=minute)
    doses, lines = patient.doses, table.lines
    rows = zip(patient.time_min.tolist(), patient.glucose_mg_dL.tolist(), lines, strict=True)
    line_of = dict(zip(patient.time_min.tolist(), lines, strict=True))
    events = lambda *columns: tuple(
        RawDose(when(t), amount, line_of[t], minutes) for t, amount, minutes in zip(*columns, strict=True)
    )
    return Raw(
        format="table",
        file=str(path),
        subject=path.stem,
        readings=tuple(RawReading(when(t), value, line) for t, value, line in rows if math.isfinite(value)),
        basal=tuple(
            RawBasal(when(t), rate, line_of[t])
            for t, rate in zip(doses.basal_time_min.tolist(), doses.basal_U_h.tolist(), strict=True)
        ),
        boluses=events(doses.bolus_time_min.tolist(), doses.bolus_U.tolist(), doses.bolus_duration_min.tolist()),
        meals=events(doses.meal_time_min.tolist(), doses.carbs_g.tolist(), doses.meal_duration_min.tolist()),
        glucose_unit="mg/dL",
        lead_min=float(patient.time_min[patient.valid][0] - patient.time_min[0]) if patient.valid.any() else 0.0,
        trail_min=float(patient.time_min[-1] - patient.time_min[patient.valid][-1]) if patient.valid.any() else 0.0,
        time_zone=read_zones(asserted).get(path.stem),
        clock=patient.start is not None,
        known=known,
    )
