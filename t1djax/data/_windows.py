"""Long records cut into windows by rule."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .._arguments import argument
from ._records import Cohort, Patient, Truth


@dataclasses.dataclass(frozen=True)
class _Rule:
    """How records are cut; the fields are the arguments of `windows`."""

    length_h: float
    step_h: float
    burn_in_h: float
    min_share: float
    max_gap_h: float | None

    def __post_init__(self) -> None:
        for name, least in (("length_h", 0.0), ("step_h", 1 / 60)):
            if not max(least, 1e-9) <= getattr(self, name) < np.inf:
                raise ValueError(
                    f"windows: {name} is {getattr(self, name):g}; it must be positive, step_h 1/60 or more"
                )
        if not 0 <= self.burn_in_h < np.inf:
            raise ValueError(f"windows: burn_in_h is {self.burn_in_h:g}; it must not be negative")
        if not 0 <= self.min_share <= 1:
            raise ValueError(f"windows: min_share is {self.min_share:g}; it lies between 0 and 1")
        if self.max_gap_h is not None and not self.max_gap_h > 0:
            raise ValueError(f"windows: max_gap_h is {self.max_gap_h:g}; it must be positive")


def windows(
    patients: Cohort | Sequence[Patient] | Patient,
    *,
    length_h: float = 48.0,
    step_h: float | None = None,
    burn_in_h: float = 12.0,
    min_share: float = 0.7,
    max_gap_h: float | None = None,
) -> Cohort:
    """Cut long records into overlapping windows, all of which fit as one batch.

    Window `i` holds the readings from `burn_in_h + i step_h` for `length_h` hours after the start of the record and is
    called `NAME@0012h` by its first hour (`NAME@0012h30` by hour and minute). Insulin and food on board at its first
    reading are those of the doses: the window begins `burn_in_h` hours before it, at rest, without readings, so that a
    fit starts its equations there and what was taken since acts with the parameters as they are estimated. After 12 h
    of burn-in less than 1 % of what was on board before is left for `Tu` up to 105 min, and 10 % for a meal with `Tr`
    183 min. `G0` is glucose at the start of the burn-in, so a stated one is dropped. With `burn_in_h=0`, estimate the
    initial state instead.

    Args:
        patients: whose records to cut; a cohort's truth is cut along.
        length_h: length of a window, h.
        step_h: from one window to the next, h, a minute at the least; half the length if not given.
        burn_in_h: how long before its first reading a window begins, h.
        min_share: least share of the readings that its record's usual interval promises.
        max_gap_h: longest time without a reading, h; any if not given.

    Returns:
        A cohort of windows. Minutes stay those of the record.

    Raises:
        ValueError: where no window is left, or a length makes no sense.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=5, names=["Pat2"])
        >>> t1djax.windows(cohort, length_h=18, step_h=9).names
        ('Pat2@0012h', 'Pat2@0021h', 'Pat2@0030h')
    """
    rule = _Rule(length_h, length_h / 2 if step_h is None else step_h, burn_in_h, min_share, max_gap_h)
    cohort = Cohort.of(patients)
    truth, cut, true = cohort.truth, [], {}
    for patient in cohort:
        for window, rows in _cut(patient, rule):
            cut.append(window)
            if patient.name in truth:
                true[window.name] = _true(truth[patient.name], rows)
    if not cut:
        raise ValueError(_none_left(cohort, rule))
    return Cohort(tuple(cut), true)


def _none_left(patients: Iterable[Patient], rule: _Rule) -> str:
    """Why no window is left, and what to do: by the longest record there is."""
    hours = {patient.name: float(patient.time_min[-1] - patient.time_min[0]) / 60 for patient in patients}
    if not hours:
        return "windows: there are no patients; give at least one"
    who = max(hours, key=lambda name: hours[name])
    why = f"windows: no record holds {rule.length_h:g} h"
    why += f" after {rule.burn_in_h:g} h of burn-in" if rule.burn_in_h else ""
    longest = f"the longest, of {who}, has {math.floor(10 * hours[who]) / 10:g} h"
    most = math.floor(hours[who] - rule.burn_in_h)
    if hours[who] < rule.length_h + rule.burn_in_h:
        shorter = f"take {argument('length_h', most)} or less, " if most >= 1 else ""
        other = f"or estimate the initial state ({argument('estimate_initial_state', True)}), which needs no burn-in"
        return f"{why}; {longest}: {shorter}{other if rule.burn_in_h else 'or take the records whole'}"
    gap = "" if rule.max_gap_h is None else f" and no gap over {rule.max_gap_h:g} h"
    return (
        f"{why} with {100 * rule.min_share:g} % of its readings{gap}; {longest} but lacks readings: take a shorter "
        f"{argument('length_h')}, which fits between the gaps, or the records whole"
    )


def _cut(patient: Patient, rule: _Rule) -> Iterator[tuple[Patient, np.ndarray]]:
    t, seen = patient.time_min, patient.valid
    length, step, burn_in = 60 * rule.length_h, 60 * rule.step_h, 60 * rule.burn_in_h
    stated = {s: v for s, v in patient.known.items() if s != "G0"}
    interval = float(np.median(np.diff(t[seen]))) if seen.sum() > 1 else np.inf
    for i in range(int((t[-1] - t[0]) // step) + 1):
        start = float(t[0]) + burn_in + i * step
        # Half an interval of grace: a record of 48 h has its last reading at 47 h 55 min.
        if start + length > t[-1] + 1.5 * interval:
            return
        inside = (t >= start) & (t <= start + length)
        readings = t[inside & seen]
        if len(readings) < max(2, rule.min_share * length / interval):
            continue
        edges = np.concatenate([[start], readings, [start + length]])
        if rule.max_gap_h is not None and np.diff(edges).max() > 60 * rule.max_gap_h:
            continue
        # One row at the start of the burn-in carries the doses since; it needs no others.
        rows = np.flatnonzero(inside)
        if burn_in > 0:
            rows = np.insert(rows, 0, np.flatnonzero(t <= start - burn_in + 1e-9)[-1])
        glucose = np.where(inside[rows], patient.glucose_mg_dL[rows], np.nan)
        name = f"{patient.name}@{_clock(start - float(t[0]))}"
        yield dataclasses.replace(patient, name=name, time_min=t[rows], glucose_mg_dL=glucose, known=stated), rows


def _clock(minutes: float) -> str:
    """Hours, and minutes past the hour where there are any; never the same for times a minute apart or more."""
    hours, rest = divmod(math.floor(minutes + 1e-6), 60)
    return f"{hours:04d}h" + (f"{rest:02d}" if rest else "")


def _true(truth: Truth, rows: np.ndarray) -> Truth:
    # On board at rows[0] nothing may be at rest: the other parameters hold all along.
    parameters = dict(truth.parameters) | {"G0": float(truth.glucose_mg_dL[rows[0]])}
    states = {column: values[rows] for column, values in truth.states.items()}
    return Truth(parameters, truth.glucose_mg_dL[rows], states)


def from_first_reading(patient: Patient) -> Patient:
    """The record without the rows before its first reading, where the initial state is estimated there.

    Args:
        patient: the record, with at least one reading.

    Returns:
        The record from the row of its first reading on; at least two rows stay.

    Example:
        >>> import numpy as np
        >>> import t1djax
        >>> late = t1djax.Patient("Ada", np.arange(4.0), np.array([np.nan, 110.0, 112.0, 113.0]), t1djax.Doses.of())
        >>> t1djax.data.from_first_reading(late).time_min
        array([1., 2., 3.])
    """
    first = int(np.flatnonzero(patient.valid)[0])
    rows = slice(min(first, len(patient.time_min) - 2), None)
    return dataclasses.replace(patient, time_min=patient.time_min[rows], glucose_mg_dL=patient.glucose_mg_dL[rows])
