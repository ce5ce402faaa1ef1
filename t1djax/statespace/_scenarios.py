"""Other doses, in words that people use: boluses smaller, basal higher, boluses earlier."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from .._arguments import ArgumentError
from ..data import Patient
from ..physics import Doses

_BOLUS_MIN, _MEAL_MIN = 1.0, 10.0  # over which new ones are given
_FURTHEST_MIN = 720.0  # by which boluses move

Rates = tuple[np.ndarray, np.ndarray, np.ndarray]
"""What `Doses.rates` gives: times, min; insulin, U/min, and carbohydrate, mg/min, from each on."""


_MOST_TIMES = 3.0
"""A larger factor without a sign is a percentage without its signs."""


def factor(text: str, argument: str) -> float:
    """A change as a factor: `-20%`, `+10 %` and `0.8`.

    Args:
        text: as people write it.
        argument: which it is, for the error.

    Raises:
        ArgumentError: where it is none of these, below zero, or a factor so large that a percentage is meant.

    Example:
        >>> from t1djax.statespace import factor
        >>> factor("-20%", "bolus"), factor("+10%", "basal"), factor("0.8", "meals")
        (0.8, 1.1, 0.8)
    """
    found = re.fullmatch(r"\s*([+-]?)(\d+(?:\.\d+)?)\s*(%?)\s*", text)
    # 80% could be four fifths of it or 80 % more, and 0% all gone or nothing changed.
    if found is None or bool(found[1]) != bool(found[3]):
        raise ArgumentError(argument, f"{text!r} is no change; write -20%, +10%, or a factor such as 0.8")
    number = float(found[2]) / (100 if found[3] else 1)
    if not found[1] and number > _MOST_TIMES:
        text = f"{text.strip()!r} would be {number:g} times as much; write +{number:g}% or -{number:g}%"
        raise ArgumentError(argument, f"{text}, or a factor of {_MOST_TIMES:g} at the most")
    value = 1 - number if found[1] == "-" else 1 + number if found[1] else number
    if value < 0:
        raise ArgumentError(argument, f"{text!r} takes away more than there is")
    return round(value, 12)


def other_doses(
    patient: Patient,
    *,
    bolus: float = 1.0,
    basal: float = 1.0,
    meals: float = 1.0,
    bolus_earlier_min: float = 0.0,
    from_min: float = -np.inf,
    to_min: float = np.inf,
    between_h: tuple[float, float] = (0.0, 24.0),
) -> Doses:
    """The doses of a record, changed in a stretch of it.

    Args:
        patient: the record.
        bolus: factor of boluses.
        basal: factor of basal rates.
        meals: factor of carbohydrate.
        bolus_earlier_min: by how much boluses come earlier, min; below zero, later.
        from_min: from when, min on the record's clock.
        to_min: until when, min.
        between_h: in which hours of the day, h; the second may be less than the first, over midnight.

    Returns:
        The other doses.

    Raises:
        ArgumentError: where a factor is below zero, or boluses move by more than half a day.

    Example:
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=60, names=["Pat2"])["Pat2"]
        >>> less = t1djax.statespace.other_doses(patient, bolus=0.8)
        >>> round(float(less.bolus_U.sum() / patient.doses.bolus_U.sum()), 3)
        0.8
    """
    for name, value in (("bolus", bolus), ("basal", basal), ("meals", meals)):
        if not 0 <= value < np.inf:
            raise ArgumentError(name, f"is {value:g}; give a factor of zero or more")
    if not abs(bolus_earlier_min) <= _FURTHEST_MIN:
        raise ArgumentError("bolus_earlier", f"is {bolus_earlier_min:g} min; give at most {_FURTHEST_MIN:g} either way")
    clock = 0 if patient.start is None else 60 * patient.start.hour + patient.start.minute
    begin, end = (60 * hour for hour in between_h)

    def inside(t: np.ndarray) -> np.ndarray:
        minute = (t + clock) % 1440
        of_day = (minute >= begin) & (minute < end) if begin < end else (minute >= begin) | (minute < end)
        return of_day & (t >= from_min) & (t < to_min)

    d = patient.doses
    times, rates = _cut_basal(d, patient, clock, begin, end, from_min, to_min)
    here = inside(d.bolus_time_min)
    return dataclasses.replace(
        d,
        basal_time_min=times,
        basal_U_h=rates * np.where(inside(times), basal, 1.0),
        bolus_time_min=d.bolus_time_min - np.where(here, bolus_earlier_min, 0.0),
        bolus_U=d.bolus_U * np.where(here, bolus, 1.0),
        carbs_g=d.carbs_g * np.where(inside(d.meal_time_min), meals, 1.0),
    )


def replaced_doses(
    patient: Patient,
    *,
    basal: Sequence[tuple[float, float]] = (),
    boluses: Sequence[tuple[float, float]] = (),
    meals: Sequence[tuple[float, float]] = (),
    from_min: float,
    to_min: float,
) -> Doses:
    """The doses of a record, others in the place of those in a stretch of it.

    Args:
        patient: the record.
        basal: times and rates, min and U/h; where there are none, the record's stay.
        boluses: times and amounts, min and U.
        meals: times and carbohydrate, min and g, eaten over 10 min.
        from_min: from when, min on the record's clock.
        to_min: until when, and itself, min.

    Returns:
        The other doses.

    Raises:
        ArgumentError: where one is below zero or outside of the stretch.

    Example:
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=60, names=["Pat2"])["Pat2"]
        >>> other = t1djax.statespace.replaced_doses(patient, boluses=[(500.0, 4.0)], from_min=400.0, to_min=600.0)
        >>> bool(other.bolus_U[other.bolus_time_min == 500.0] == 4.0)
        True
    """
    given = {"basal": basal, "boluses": boluses, "meals": meals}
    for name, rows in given.items():
        if any(not (from_min <= t <= to_min and 0 <= x < np.inf) for t, x in rows):
            raise ArgumentError(name, f"give amounts of zero or more between {from_min:g} and {to_min:g} min")
    d = patient.doses
    column = lambda rows, i: np.asarray([row[i] for row in rows], dtype=float)
    outside = lambda t: (t < from_min) | (t > to_min)
    times, rates = _cut_basal(d, patient, 0.0, 0.0, 1440.0, from_min, to_min)
    if basal:
        kept = (times < from_min) | (times >= to_min)
        times = np.concatenate([times[kept], column(basal, 0)])
        order = np.argsort(times, kind="stable")
        times, rates = times[order], np.concatenate([rates[kept], column(basal, 1)])[order]
    boluses_kept, meals_kept = outside(d.bolus_time_min), outside(d.meal_time_min)
    merged = lambda old, new: np.concatenate([old, new])
    return dataclasses.replace(
        d,
        basal_time_min=times,
        basal_U_h=rates,
        bolus_time_min=merged(d.bolus_time_min[boluses_kept], column(boluses, 0)),
        bolus_U=merged(d.bolus_U[boluses_kept], column(boluses, 1)),
        bolus_duration_min=merged(d.bolus_duration_min[boluses_kept], np.full(len(boluses), _BOLUS_MIN)),
        meal_time_min=merged(d.meal_time_min[meals_kept], column(meals, 0)),
        carbs_g=merged(d.carbs_g[meals_kept], column(meals, 1)),
        meal_duration_min=merged(d.meal_duration_min[meals_kept], np.full(len(meals), _MEAL_MIN)),
    )


def _cut_basal(
    d: Doses, patient: Patient, clock: float, begin: float, end: float, from_min: float, to_min: float
) -> tuple[np.ndarray, np.ndarray]:
    """The basal schedule with a change wherever a stretch begins or ends."""
    first, last = float(patient.time_min[0]), float(patient.time_min[-1])
    days = np.arange(np.floor((first + clock) / 1440), np.ceil((last + clock) / 1440) + 1) * 1440 - clock
    edges = np.concatenate([days + begin % 1440, days + end % 1440, [from_min, to_min]])
    edges = edges[np.isfinite(edges) & (edges > d.basal_time_min[0]) & (edges < last)]
    times = np.unique(np.concatenate([d.basal_time_min, edges]))
    return times, d.basal_U_h[np.searchsorted(d.basal_time_min, times, side="right") - 1]


def changed_min(patient: Patient, other: Doses, argument: str | tuple[str, ...] = "doses") -> tuple[float, float]:
    """First and last time at which doses differ from those of the record, min on its clock.

    Args:
        patient: the record.
        other: the other doses.
        argument: what to name in the error.

    Raises:
        ArgumentError: where they differ nowhere in the record.

    Example:
        >>> import t1djax
        >>> from t1djax.statespace import changed_min, other_doses
        >>> patient = t1djax.reference_cohort(interval_min=60, names=["Pat2"])["Pat2"]
        >>> changed_min(patient, other_doses(patient, basal=0.8, from_min=300.0, to_min=420.0))
        (300.0, 420.0)
    """
    start, end = ends(patient)
    return differ_min(patient.doses.rates(start, end), other.rates(start, end), end, argument)


def differ_min(recorded: Rates, other: Rates, end_min: float, argument: str | tuple[str, ...]) -> tuple[float, float]:
    """What `changed_min` gives, of rates from the start of the record until its end."""
    start = recorded[0][0]
    breaks = np.concatenate([recorded[0], other[0]])
    grid = np.unique(np.append(breaks[breaks < end_min], end_min))
    record, changed = (np.stack(rates_at(columns, grid[:-1])) for columns in (recorded, other))
    differs = np.flatnonzero(np.any(np.abs(record - changed) > 1e-5, axis=0))
    if not differs.size:
        raise ArgumentError(
            argument, f"no dose changes from {start:g} to {end_min:g} min, where the record is; change some there"
        )
    return float(grid[differs[0]]), float(grid[differs[-1] + 1])


def ends(patient: Patient) -> tuple[float, float]:
    """First and last time with a reading, min."""
    times = patient.time_min[patient.valid]
    return float(times[0]), float(times[-1])


def rates_at(columns: Rates, time_min: np.ndarray) -> list[np.ndarray]:
    """Insulin (U/min) and carbohydrate (mg/min) from each time on, of what `Doses.rates` gives."""
    breaks, *rates = columns
    at = np.searchsorted(breaks, time_min, side="right") - 1
    return [rate[at] for rate in rates]
