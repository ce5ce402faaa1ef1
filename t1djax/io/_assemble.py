"""From a parsed file to a patient: one clock, one set of units, nothing twice, nothing invented."""

import dataclasses

import numpy as np

from .._arguments import argument
from ..data import Patient
from ._checks import safe_name
from ._clocks import place
from ._doses import doses_of
from ._lacking import lacking
from ._options import ReadOptions
from ._raw import Raw
from ._remarks import Remarks
from ._series import judge, series, window


def assemble(raw: Raw, options: ReadOptions) -> tuple[Patient | None, Remarks]:
    """The patient of a parsed file; one that is refused may come out all the same, for a report.

    Args:
        raw: the parsed file.
        options: how to read it.
    """
    remarks = Remarks(warnings=[*raw.warnings], notes=[*raw.notes])
    if not raw.readings:
        remarks.problem(raw.file, "there is no glucose reading at all", "a fit needs glucose")
        return None, remarks
    placed, more = place(raw, options)
    remarks += more
    if placed is None:
        return None, remarks
    whole, more = series(raw, placed, options)
    remarks += more
    if whole is None:
        return None, remarks
    inside, more = window(whole, placed, options, raw.file)
    remarks += more
    if inside is None:
        return None, remarks
    keep = options.keep_interpolated
    remarks += judge(inside, remarks.facts["interpolation"], keep=keep, clock=raw.clock)
    time, glucose, own = inside.time_min, inside.glucose_mg_dL, inside.own
    if options.start is None and options.hours is None:
        ends = (int(raw.lead_min > 0), int(raw.trail_min > 0))
        first, last = time[0] - raw.lead_min, time[-1] + raw.trail_min
        time = np.pad(time, ends, constant_values=(first, last))
        glucose, own = np.pad(glucose, ends, constant_values=np.nan), np.pad(own, ends, constant_values=False)
    doses, more = doses_of(raw, placed, options, time, own)
    remarks += more
    name = options.subject or raw.subject
    if (why := safe_name(name)) is not None:
        remarks.problem(raw.file, f"the patient's name {name!a} {why}", f"pass {argument('subject', 'NAME')}")
    known = dict(raw.known)
    if raw.body_mass_kg is not None:
        known.setdefault("M", raw.body_mass_kg)
    zero = float(time[0])
    times = ("basal_time_min", "bolus_time_min", "meal_time_min", "long_acting_time_min")
    doses = dataclasses.replace(doses, **{key: getattr(doses, key) - zero for key in times})
    patient = Patient(name, time - zero, np.where(own | keep, glucose, np.nan), doses, known, placed.at(zero))
    left_out = options.carbs_unit == "none"
    remarks.warnings += lacking(patient, merged=raw.merged_insulin, carbs_left_out=left_out)
    return patient, remarks
