"""Other data that a patient might bring: the same life with a change."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..data import Patient
from ..physics import Doses

MEAL_G = 40.0
"""The meal without a bolus, g."""
_MEAL_MIN = 15.0
_SEEN_MIN = 240.0  # so long before the last fit reading a meal shows
_LONGEST_MIN = 7 * 1440.0  # a window longer than that is not doubled


class Plan(NamedTuple):
    """A change, and the patients with it."""

    change: str
    """In words."""
    patients: tuple[Patient, ...]
    """In the order of the cohort."""


def changed(patients: Sequence[Patient]) -> list[Plan]:
    """Changes of the data that may help: a meal without a bolus far from other doses; the same once more."""
    plans = [Plan(f"a meal of {MEAL_G:g} g without a bolus", tuple(map(with_meal, patients)))]
    if all(p.time_min[-1] - p.time_min[0] <= _LONGEST_MIN for p in patients):
        plans.append(Plan("a window twice as long, with the same doses again", tuple(map(twice, patients))))
    return plans


def with_meal(patient: Patient) -> Patient:
    """The patient with one more meal, in the middle of the longest time without a bolus or meal."""
    d, fit = patient.doses, patient.masks.fit
    start, last = patient.time_min[0], patient.time_min[fit][-1]
    events = np.concatenate([d.bolus_time_min, d.meal_time_min])
    latest = max(last - _SEEN_MIN, start + 0.25 * (last - start))
    inside = np.unique(np.concatenate([[start], events[(events > start) & (events < latest)], [latest]]))
    widest = int(np.argmax(np.diff(inside)))
    at = float(inside[widest : widest + 2].mean())
    meals = (np.append(d.meal_time_min, at), np.append(d.carbs_g, MEAL_G), np.append(d.meal_duration_min, _MEAL_MIN))
    doses = dataclasses.replace(d, meal_time_min=meals[0], carbs_g=meals[1], meal_duration_min=meals[2])
    return dataclasses.replace(patient, doses=doses)


def twice(patient: Patient) -> Patient:
    """The patient living the record again, right behind it, under the same doses and readings."""
    t, d = patient.time_min, patient.doses
    step = float(np.median(np.diff(t)))
    later = float(t[-1] - t[0]) + step
    basal = np.maximum(d.basal_time_min, t[0])
    keep = np.append(np.diff(basal) > 0, True) & (basal <= t[-1])  # of several before the start, the last holds
    again = lambda x: np.concatenate([x, x + later])
    both = lambda x: np.concatenate([x, x])
    events = []
    for time, amount, duration in d.events:
        inside = _within(time, t)
        events += [again(time[inside]), both(amount[inside]), both(duration[inside])]
    doses = Doses(again(basal[keep]), both(d.basal_U_h[keep]), *events)
    return dataclasses.replace(patient, time_min=again(t), glucose_mg_dL=both(patient.glucose_mg_dL), doses=doses)


def _within(time_min: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (time_min >= rows[0]) & (time_min < rows[-1])
