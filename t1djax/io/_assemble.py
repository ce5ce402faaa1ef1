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
from ._remarks import Doubt, Facts, Step, flaw
from ._series import judge, series, window


def assemble(raw: Raw, options: ReadOptions) -> Step[Patient | None]:
    """The patient of a parsed file; one that is refused may come out all the same, for a report."""
    if not raw.readings:
        yield flaw(raw.file, "there is no glucose reading at all", "a fit needs glucose")
        return None
    placed = yield from place(raw, options)
    if placed is None:
        return None
    seen = yield from series(raw, placed, options)
    if seen is None:
        return None
    whole, how = seen
    inside = yield from window(whole, placed, options, raw.file)
    if inside is None:
        return None
    keep = options.keep_interpolated
    yield from judge(inside, how, keep=keep, clock=raw.clock)
    first, last = placed.at(float(inside.time_min[0])), placed.at(float(inside.time_min[-1]))
    if first is not None and last is not None:
        yield Facts(clock_changes=tuple(t.isoformat() for t in placed.changes if first <= t <= last))
    time, glucose, own = inside.time_min, inside.glucose_mg_dL, inside.own
    if options.start is None and options.hours is None:
        ends = (int(raw.lead_min > 0), int(raw.trail_min > 0))
        first, last = time[0] - raw.lead_min, time[-1] + raw.trail_min
        time = np.pad(time, ends, constant_values=(first, last))
        glucose, own = np.pad(glucose, ends, constant_values=np.nan), np.pad(own, ends, constant_values=False)
    doses = yield from doses_of(raw, placed, options, time, own)
    name = options.subject or raw.subject
    if (why := safe_name(name)) is not None:
        yield flaw(raw.file, f"the patient's name {name!a} {why}", f"pass {argument('subject', 'NAME')}")
    known = dict(raw.known)
    if raw.body_mass_kg is not None:
        known.setdefault("M", raw.body_mass_kg)
    zero = float(time[0])
    times = ("basal_time_min", "bolus_time_min", "meal_time_min", "long_acting_time_min")
    doses = dataclasses.replace(doses, **{key: getattr(doses, key) - zero for key in times})
    patient = Patient(name, time - zero, np.where(own | keep, glucose, np.nan), doses, known, placed.at(zero))
    left_out = options.carbs_unit == "none"
    yield from map(Doubt, lacking(patient, merged=raw.merged_insulin, carbs_left_out=left_out))
    return patient
