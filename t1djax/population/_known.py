"""What is known of a person at an origin, as the columns that the population forecaster looks at."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..data import Delivered, Patient, readings_before

LAGS_MIN = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0)
AHEAD_MIN = (30.0, 60.0, 120.0, 240.0)
PAST_MIN = (30.0, 60.0, 120.0)
INSULIN_LAG_MIN, CARBS_LAG_MIN = 55.0, 40.0
"""Time constants of the two equal lags through which insulin, and carbohydrate, act, min."""
_FRESH_MIN = (5.0, 15.0, 30.0)
_LONG_H = (6.0, 24.0)
_BIN_MIN, _BINS = 5.0, 96
_DAY_MIN, _HOURS = 1440.0, 24
_USUAL_MG_DL, _USUAL_SD, _USUAL_U = 150.0, 50.0, 40.0
"""Level, spread and daily insulin that are taken until the record shows the person's own."""
_LEVEL_DAYS, _DAYS_OF_DAY = 0.5, 3.0
"""Days of what is usual that count beside the person's own: of level and spread, and of the course of a day."""
_RULE_MG_DL, _RISE_MG_DL_G = 1700.0, 3.4

_ACT = (*(f"next_{h:g}" for h in AHEAD_MIN), *(f"last_{h:g}" for h in PAST_MIN))
_GROUPS: dict[str, tuple[str, ...]] = {
    "now": ("now",),
    "limits": ("low", "high"),
    **{f"change_{lag:g}": (f"change_{lag:g}",) for lag in LAGS_MIN},
    "long": tuple(f"{what}_{h:g}_h" for h in _LONG_H for what in ("mean", "sd")),
    "day_ago": ("day_ago_60", "day_ago_120"),
    "clock": ("sin_1", "cos_1", "sin_2", "cos_2", *(f"usual_{h:g}" for h in AHEAD_MIN)),
    "insulin": (
        *(f"bolus_{x}" for x in _ACT),
        *(f"basal_{x}" for x in _ACT),
        "rate",
        *(f"bolus_of_{m:g}" for m in _FRESH_MIN),
    ),
    "carbs": (*(f"carbs_{x}" for x in _ACT), *(f"carbs_of_{m:g}" for m in _FRESH_MIN)),
}
COLUMNS = tuple(name for names in _GROUPS.values() for name in names)
"""Names of the columns."""
MAY_LACK = tuple(
    np.array([COLUMNS.index(name) for name in names])
    for group, names in _GROUPS.items()
    if group not in ("now", "limits", "long")
)
"""Columns that are missing together."""


class Known(NamedTuple):
    """What is known at each origin."""

    columns: Float[np.ndarray, "origins columns"]
    """Without unit, about one in size; NaN where something is missing."""
    now_mg_dL: Float[np.ndarray, " origins"]
    """The reading at the origin."""
    spread_mg_dL: Float[np.ndarray, " origins"]
    """The person's standard deviation so far, the unit of every column of glucose."""


def known_at(patient: Patient, origins: Float[np.ndarray, " origins"]) -> Known:
    """Columns of what a record says up to each origin; what begins at the very minute of it is not known yet."""
    now = readings_before(patient, origins[:, None], origins)
    before = _Before(patient, origins)
    level, spread = before.level, before.spread[:, None]
    lags = readings_before(patient, origins[:, None] - np.asarray(LAGS_MIN), origins)
    day = readings_before(patient, origins[:, None] - _DAY_MIN + np.asarray([0.0, 60.0, 120.0]), origins)
    blocks = [
        (now - level[:, None]) / spread,
        (80 - now).clip(0) / 30,
        (now - 250).clip(0) / 50,
        2 * (now - lags) / spread,
        *(before.over(60 * h) for h in _LONG_H),
        (day[:, 1:] - day[:, :1]) / spread,
        before.day(),
        _doses(patient, origins, spread),
    ]
    return Known(np.concatenate(blocks, axis=1), now[:, 0], spread[:, 0])


class _Before:
    """Readings up to each origin."""

    def __init__(self, patient: Patient, origins: Float[np.ndarray, " origins"]) -> None:
        self.origins = origins
        self.seen, self.reading = patient.time_min[patient.valid], patient.glucose_mg_dL[patient.valid]
        self.clock = _minute_of_day(patient)
        self.upto = np.searchsorted(self.seen, origins, side="right")
        # Readings a day, so that what is usual weighs the same beside any sensor.
        self.a_day = _DAY_MIN / float(np.median(np.diff(self.seen))) if len(self.seen) > 1 else 288.0
        usual = _LEVEL_DAYS * self.a_day
        mean = lambda x, of: (_total(x, self.upto) + usual * of) / (self.upto + usual)
        self.level = mean(self.reading, _USUAL_MG_DL)
        square = mean(self.reading**2, _USUAL_MG_DL**2 + _USUAL_SD**2)
        self.spread = np.sqrt(square - self.level**2)

    def over(self, minutes: float) -> Float[np.ndarray, "origins 2"]:
        """Mean and spread of the last hours, beside the person's own."""
        since = np.searchsorted(self.seen, self.origins - minutes, side="right")
        mean = lambda x: (_total(x, self.upto) - _total(x, since)) / np.maximum(self.upto - since, 1)
        level = mean(self.reading)
        spread = np.sqrt(np.maximum(mean(self.reading**2) - level**2, 1.0))
        return np.stack([(level - self.level) / self.spread, spread / self.spread - 1], axis=1)

    def day(self) -> Float[np.ndarray, "origins 8"]:
        """Time of day, and the person's usual glucose at the hours to come less the level."""
        if self.clock is None:
            return np.full((len(self.origins), 4 + len(AHEAD_MIN)), np.nan)
        angle = 2 * np.pi * (self.origins + self.clock) / _DAY_MIN
        hours = np.arange(_HOURS)
        there = (self._hour(self.seen)[:, None] == hours).astype(np.float64)
        apart = np.abs(hours[:, None] - hours)
        near = np.exp(-0.5 * np.minimum(apart, _HOURS - apart) ** 2)
        sums, counts = _total(there * self.reading[:, None], self.upto) @ near, _total(there, self.upto) @ near
        few = _DAYS_OF_DAY * self.a_day / _HOURS * near.sum(axis=0)
        usual = (sums + few * self.level[:, None]) / (counts + few) - self.level[:, None]
        ahead = self._hour(self.origins[:, None] + np.asarray(AHEAD_MIN))
        usual = 2 * np.take_along_axis(usual, ahead, axis=1) / self.spread[:, None]
        waves = [f(k * angle) for k in (1, 2) for f in (np.sin, np.cos)]
        return np.concatenate([np.stack(waves, axis=1), usual], axis=1)

    def _hour(self, time_min: Float[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
        return np.floor((time_min + (self.clock or 0.0)) / 60).astype(np.int64) % _HOURS


def _total(x: Float[np.ndarray, "readings ..."], upto: Int[np.ndarray, " origins"]) -> Float[np.ndarray, "origins ..."]:
    return np.concatenate([np.zeros_like(x[:1]), np.cumsum(x, axis=0)])[upto]


def acted(minutes: Float[np.ndarray, "..."], lag_min: float) -> Float[np.ndarray, "..."]:
    """Share of a dose that has acted so long after it, through two equal lags: `1 - (1 + t/T) exp(-t/T)`."""
    tau = np.maximum(minutes, 0.0) / lag_min
    return 1.0 - (1.0 + tau) * np.exp(-tau)


def _daily(
    delivered: Delivered, patient: Patient, origins: Float[np.ndarray, " origins"]
) -> tuple[Float[np.ndarray, "origins 2"], Float[np.ndarray, "origins 3"]]:
    """Basal and bolus insulin a day so far, U, beside a day of what is usual; and all that was given."""
    start = float(patient.time_min[patient.valid][0])
    so_far = delivered.sums(np.stack([np.full_like(origins, start), np.maximum(origins, start)], axis=1))
    days = (origins - start).clip(0) / _DAY_MIN
    return (so_far[:, :2] + _USUAL_U / 2) / (1 + days)[:, None], so_far


def _doses(
    patient: Patient, origins: Float[np.ndarray, " origins"], spread: Float[np.ndarray, "origins 1"]
) -> Float[np.ndarray, "origins columns"]:
    """What insulin and carbohydrate given so far have done and will do, in the size that is expected of them."""
    delivered = Delivered(patient.doses)
    edges = -_BIN_MIN * np.arange(_BINS, -1, -1.0)
    basal, bolus, carbs = np.split(delivered.sums(origins[:, None] + edges), 3, axis=1)
    age = -(edges[:-1] + edges[1:]) / 2
    daily, so_far = _daily(delivered, patient, origins)
    own_basal = daily[:, :1] * _BIN_MIN / _DAY_MIN
    fall, rise = _RULE_MG_DL / daily.sum(axis=1, keepdims=True) / spread, _RISE_MG_DL_G / spread

    def act(given: np.ndarray, lag: float) -> np.ndarray:
        ahead = [acted(age + h, lag) - acted(age, lag) for h in AHEAD_MIN]
        return given @ np.stack([*ahead, *(acted(age, lag) - acted(age - h, lag) for h in PAST_MIN)], axis=1)

    fresh = lambda given: np.stack([given[:, -int(m / _BIN_MIN) :].sum(axis=1) for m in _FRESH_MIN], axis=1)
    insulin = [fall * act(bolus, INSULIN_LAG_MIN), fall * act(basal - own_basal, INSULIN_LAG_MIN)]
    insulin += [basal[:, -1:] / own_basal - 1, fall * fresh(bolus)]
    food = [rise * act(carbs, CARBS_LAG_MIN), rise * fresh(carbs)]
    # Who has none on record so far may well have taken some.
    known = lambda blocks, there: np.where(there[:, None], np.concatenate(blocks, axis=1), np.nan)
    return np.concatenate([known(insulin, so_far[:, :2].sum(axis=1) > 0), known(food, so_far[:, 2] > 0)], axis=1)


def _minute_of_day(patient: Patient) -> float | None:
    if patient.start is None:
        return None
    midnight = patient.start.replace(hour=0, minute=0, second=0, microsecond=0)
    return (patient.start - midnight).total_seconds() / 60
