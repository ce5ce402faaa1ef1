"""The record as the filter walks it: one step per reading and per change of the inputs, constant inputs in between."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..data import HIGHEST_READING, LOWEST_READING, Patient
from ..physics import Doses
from ._hyper import Form

PAIRING_MIN = 60.0
"""A bolus belongs to the carbohydrate stated at most so long before it, min; without any it may hide a meal."""
LONGEST_MIN = 5.0
"""Longest step of a body that is linearised, min: shorter ones move the evidence of a week by less than five."""
MINUTES_PER_DAY = 1440.0
_MG_PER_G = 1000.0
_SMALL = 1e-3
_NONE = np.zeros(0)


class Steps(eqx.Module):
    """Readings and inputs of one patient on one grid; `stack_steps` makes a cohort of them for `vmap`.

    Step `i` begins at `time_min[i]`, where there may be a reading, and lasts `dt_min[interval[i]]` with constant
    inputs. Steps that pad a patient to the cohort's length last 0 min and have no reading.
    """

    time_min: Float[Array, "*batch steps"]
    """Times, min."""
    glucose_mg_dL: Float[Array, "*batch steps"]
    """Readings, mg/dL; a finite placeholder where there is none."""
    valid: Bool[Array, "*batch steps"]
    """Whether there is a reading."""
    limit: Float[Array, "*batch steps"]
    """-1 where the reading is the lowest that a sensor reports, 1 where it is the highest, 0 between: what lies
    beyond reads alike."""
    dt_min: Float[Array, "*batch intervals"]
    """The distinct lengths of the steps, min: the matrices of a step are computed once for each."""
    interval: Int[Array, "*batch steps"]
    """Which of them a step has."""
    block: Int[Array, "*batch steps"]
    """Which part of the day it is."""
    basal_U_min: Float[Array, "*batch steps"]
    """Basal insulin during the step, U/min: what a forecast without future inputs lets go on."""
    rates: Float[Array, "*batch steps 3"]
    """During the step: insulin (U/min), carbohydrate (g/min), and boluses without carbohydrate on record (U/min)."""
    squares: Float[Array, "*batch steps"]
    """Squares of meals, each spread over its time, g^2/min."""

    @property
    def before_U_min(self) -> Float[Array, ""]:
        """Basal insulin that a person was under before the record, U/min: the mean of its first day.

        The first rate alone may be anything: a loop's answers the first reading.
        """
        weight = self.dt_min[self.interval] * (self.time_min < self.time_min[0] + MINUTES_PER_DAY)
        return jnp.sum(weight * self.basal_U_min) / jnp.sum(weight)


def steps_of(
    patient: Patient,
    *,
    until_min: float | None = None,
    longest_min: float = np.inf,
    blocks: int = 1,
    ahead_min: float = 0.0,
    cut_min: Float[np.ndarray, " cuts"] = _NONE,
) -> Steps:
    """The steps of one patient, in JAX's current default precision.

    Args:
        patient: the record.
        until_min: readings and doses after this time are left out, min.
        longest_min: longest step, min.
        blocks: into how many equal parts the day is divided, on whose ends steps end.
        ahead_min: carbohydrate stated so long after a bolus belongs to it too, min.
        cut_min: times between the first and the last reading at which a step begins too, min.

    Raises:
        ValueError: where there are fewer than two readings, or no clock for parts of the day.
    """
    seen = patient.valid if until_min is None else patient.valid & (patient.time_min <= until_min)
    reading_min = patient.time_min[seen]
    if len(reading_min) < 2:
        raise ValueError(f"{patient.name}: there are fewer than two readings" + _until(until_min))
    start, end = float(reading_min[0]), float(reading_min[-1])
    doses = patient.doses
    # NumPy until the end: each operation of JAX by itself is compiled for each length of record.
    breaks, insulin, carbs = doses.rates(start, end)
    # Insulin of a bolus without a meal, in the place of the carbohydrate.
    alone = unpaired(doses, ahead_min=ahead_min)
    hidden_breaks, basal, hidden = Doses(
        *doses.background, _NONE, _NONE, _NONE,
        doses.bolus_time_min[alone], doses.bolus_U[alone], doses.bolus_duration_min[alone],
    ).rates(start, end)  # fmt: skip
    # A thousandth, since meals of more than some kilograms are refused as such.
    meal_breaks, _, squares = dataclasses.replace(doses, carbs_g=doses.carbs_g**2 * _SMALL).rates(start, end)
    every = (breaks, hidden_breaks, meal_breaks)
    time = np.unique(np.concatenate([reading_min, cut_min, *(b[b <= end] for b in every)]))
    length, midnight = MINUTES_PER_DAY / blocks, _midnight(patient) if blocks > 1 else 0.0
    ends = np.arange(np.floor((start - midnight) / length) + 1, np.ceil((end - midnight) / length))
    if blocks > 1:
        time = np.unique(np.concatenate([time, midnight + length * ends]))
    if np.isfinite(longest_min):
        parts = np.maximum(np.ceil(np.diff(time) / longest_min - 1e-6), 1).astype(int)
        between = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(time[:-1], time[1:], parts, strict=True)]
        time = np.concatenate([*between, time[-1:]])
    dt, interval = np.unique(np.round(np.diff(time, append=time[-1]), 6), return_inverse=True)
    at = [np.searchsorted(b, time, side="right") - 1 for b in every]
    glucose = np.full(len(time), patient.glucose_mg_dL[seen][0])
    valid = np.isin(time, reading_min)
    glucose[valid] = patient.glucose_mg_dL[seen]
    rates = insulin[at[0]], carbs[at[0]] / _MG_PER_G, hidden[at[1]] / _MG_PER_G
    return Steps(
        time_min=jax.device_put(time),
        glucose_mg_dL=jax.device_put(glucose),
        valid=jax.device_put(valid),
        limit=jax.device_put((glucose == HIGHEST_READING) * 1.0 - (glucose == LOWEST_READING)),
        dt_min=jax.device_put(dt),
        interval=jax.device_put(interval),
        block=jax.device_put(np.floor((time - midnight) / length + 1e-9).astype(int) % blocks),
        basal_U_min=jax.device_put(basal[at[1]]),
        rates=jax.device_put(np.stack(rates, axis=-1)),
        squares=jax.device_put(squares[at[2]] / (_SMALL * _MG_PER_G)),
    )


def steps_for(patient: Patient, form: Form, until_min: float | None = None) -> Steps:
    """The steps of a record as a model of this form takes them."""
    longest = np.inf if form.exact else LONGEST_MIN
    blocks, ahead_min = form.options.sensitivity_blocks, form.options.paired_ahead_min
    return steps_of(patient, until_min=until_min, longest_min=longest, blocks=blocks, ahead_min=ahead_min)


def _midnight(patient: Patient) -> float:
    """A midnight on the record's clock, min."""
    if patient.start is None:
        raise ValueError(f"{patient.name}: the record has no clock, so no parts of a day; give its start")
    at = patient.start
    return -(at - at.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds() / 60


def unpaired(doses: Doses, *, ahead_min: float = 0.0) -> Bool[np.ndarray, " boluses"]:
    """Which boluses have no carbohydrate stated with them or in the hour before.

    What is stated later does not count, but for `ahead_min`: it is not known when the bolus is given.
    """
    meals = np.sort(doses.meal_time_min)
    upto = np.searchsorted(meals, doses.bolus_time_min + ahead_min, side="right")
    since = np.searchsorted(meals, doses.bolus_time_min - PAIRING_MIN, side="left")
    return upto == since


def stack_steps(each: Sequence[Steps]) -> Steps:
    """The steps of a cohort, padded to the longest record; every leaf gains a leading axis of patients."""
    steps, intervals = (round_up(max(len(getattr(s, name)) for s in each)) for name in ("time_min", "dt_min"))

    def padded(name: str, x: np.ndarray) -> np.ndarray:
        more = (intervals if name == "dt_min" else steps) - len(x)
        # The last step of a record lasts 0 min: padding repeats it, without its reading.
        mode = "constant" if name in ("dt_min", "valid") else "edge"
        return np.pad(x, ((0, more), *[(0, 0)] * (x.ndim - 1)), mode=mode)

    names = [field.name for field in dataclasses.fields(Steps)]
    return Steps(*(jax.device_put(np.stack([padded(n, np.asarray(getattr(s, n))) for s in each])) for n in names))


def round_up(n: int) -> int:
    """The next of four sizes per doubling: similar records share a program, and little is walked in vain."""
    part = max(16, 1 << max(0, n.bit_length() - 3))
    return -(-n // part) * part


def _until(until_min: float | None) -> str:
    return "" if until_min is None else f" until {until_min:g} min"
