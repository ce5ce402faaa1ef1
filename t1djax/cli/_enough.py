"""Whether records and horizons allow forecasts that say anything, told before anything is fitted."""

from collections.abc import Sequence

import numpy as np

from .._words import some
from ..config import ConfigError
from ..data import TOLERANCE_MIN, Cohort, Patient, readings_ahead, rolling_origins, training_end
from ..statespace import LEAST_READINGS

_OFF_GRID = 0.25
"""A horizon this share of the sensor's step from a multiple of it has no reading of its own."""
_FEW = 50
"""Fewer forecasts than this say little of a method: they overlap."""
_DAY_H = 24.0


def check_horizons(cohort: Cohort, horizon_min: Sequence[float]) -> None:
    """Refuse horizons at which the readings do not come.

    Raises:
        ConfigError: naming the horizons, the spacing of the readings, and the nearest horizons that have readings.
    """
    off: dict[tuple[float, tuple[float, ...]], list[str]] = {}
    for patient in cohort:
        seen = patient.time_min[patient.valid]
        if len(seen) < 2:
            continue
        usual = float(np.median(np.diff(seen)))
        step = round(usual, 1) or usual  # clocks of sensors jitter by seconds
        allowed = min(TOLERANCE_MIN, _OFF_GRID * step)
        wrong = tuple(h for h in horizon_min if abs(h - step * max(round(h / step), 1)) > allowed + 1e-9)
        if wrong:
            off.setdefault((step, wrong), []).append(patient.name)
    problems = []
    for (step, wrong), names in off.items():
        near = sorted({step * k for h in wrong for k in (int(h // step), int(h // step) + 1) if k > 0})
        problems.append(
            f"--horizons {_numbers(wrong)}: readings of {some(names)} come each {step:g} min, so there is none at that "
            f"distance to score against; the nearest horizons that have readings are {_numbers(near)} min"
        )
    if problems:
        raise ConfigError("\n".join(problems))


def check_length(cohort: Cohort, horizon_min: Sequence[float], train_share: float) -> list[str]:
    """Warnings, with numbers, where a record leaves little to learn from or to score.

    Raises:
        ConfigError: where it leaves too little to do it at all.
    """
    refused, doubted = [], []
    for patient in cohort:
        (refused if (why := _impossible(patient, horizon_min, train_share)) else doubted).extend(
            [why] if why else _thin(patient, horizon_min, train_share)
        )
    if refused:
        raise ConfigError("\n".join(refused))
    return doubted


def _impossible(patient: Patient, horizon_min: Sequence[float], share: float) -> str:
    end = training_end(patient, share=share)
    seen = patient.time_min[patient.valid]
    learnt, scored = int(np.sum(seen <= end)), _scored(patient, horizon_min, end)
    remedy = "give a longer record, change --train-share, or leave them out (--patients)"
    if learnt < LEAST_READINGS:
        return (
            f"{patient.name}: {learnt} readings in the first {100 * share:g} % of {_hours(patient):.1f} h to learn "
            f"from, and the fit needs {LEAST_READINGS}; {remedy}"
        )
    if not any(scored.values()):
        return (
            f"{patient.name}: {int(np.sum(seen > end))} readings after the first {100 * share:g} % of "
            f"{_hours(patient):.1f} h, and none of them {_numbers(horizon_min)} min after another: nothing can be "
            f"scored; {remedy}, or shorten --horizons"
        )
    return ""


def _thin(patient: Patient, horizon_min: Sequence[float], share: float) -> list[str]:
    end = training_end(patient, share=share)
    problems = []
    learnt_h = share * _hours(patient)
    if learnt_h < _DAY_H:
        problems.append(
            f"{patient.name}: {learnt_h:.1f} h to learn from, less than a day: the daily rhythm and most meals are not "
            "in it, and the forecasts rest on prior beliefs; several days are advised"
        )
    few = {h: n for h, n in _scored(patient, horizon_min, end).items() if n < _FEW}
    if few:
        counts = ", ".join(f"{n} at {h:g} min" for h, n in few.items())
        problems.append(f"{patient.name}: forecasts to score are few ({counts}): the scores are mostly chance")
    return problems


def _scored(patient: Patient, horizon_min: Sequence[float], end: float) -> dict[float, int]:
    """How many readings after training have one at each horizon."""
    there = np.isfinite(readings_ahead(patient, rolling_origins(patient, after_min=end), horizon_min))
    return dict(zip(horizon_min, there.sum(axis=0).tolist(), strict=True))


def _hours(patient: Patient) -> float:
    seen = patient.time_min[patient.valid]
    return float(seen[-1] - seen[0]) / 60


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
