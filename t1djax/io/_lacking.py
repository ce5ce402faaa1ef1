"""What a record lacks that models of insulin and meals live on."""

import numpy as np

from ..data import Patient
from ._coverage import coverage, on_pens, remarks
from ._schedule import mean_rate

_MEALS_H = 24.0
"""Nobody is asked about meals in a record shorter than this, h."""
_LATE_MIN = 60.0


def lacking(patient: Patient, *, merged: bool = False, carbs_left_out: bool = False) -> list[str]:
    """What insulin or carbohydrate is missing from a whole record, in words with the remedy.

    Basal and bolus may come `merged` as one rate, and carbohydrate may be left out on demand.
    """
    seen = patient.time_min[patient.valid]
    if len(seen) < 2:
        return []
    first, last = float(seen[0]), float(seen[-1])
    doses, hours = patient.doses, (last - first) / 60
    basal = mean_rate(*doses.background, (first, last))
    given = lambda time: bool(np.any((time >= first) & (time <= last)))
    found = []
    if not basal and not given(doses.bolus_time_min):
        found.append(
            f"no insulin is on record in {hours:.3g} h of readings: no effect of insulin can be estimated, and "
            "forecasts know none; add the file or the column that has it"
        )
    elif not basal and not merged:
        found.append(
            f"basal is zero in {hours:.3g} h of readings, and models take it as such; if there was some (pump or "
            "long-acting), add the file or the column that has it"
        )
    if hours >= _MEALS_H and not carbs_left_out and not given(doses.meal_time_min):
        found.append(
            f"no meal is on record in {hours:.3g} h of readings: models take every rise for something else; add the "
            "file or the column that has them, or read the result with that in mind"
        )
    if on_pens(doses):
        late = float(doses.long_acting_time_min.min()) - first
        if late > _LATE_MIN:
            found.append(
                f"the first long-acting injection is {late / 60:.3g} h after the first reading: what acts before it is "
                "not on record, and models take it as none"
            )
    return [*found, *remarks(patient, coverage(patient))]
