"""Forecasts of a record from many origins, by the filter."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from .._checked import check_types
from ..data import HIGHEST_READING, HORIZONS_MIN, LOWEST_READING, Patient, readings_ahead, rolling_origins
from ..physics import Doses
from ..programs import together
from ..records import FutureInputs, RollingForecasts
from ._ahead import Ahead, Changes, ahead, changes_after, lasting_rates, lengths_ahead
from ._body import unit_of
from ._hyper import Form
from ._person import Person
from ._records import PatientStateSpace, StateSpaceFit
from ._search import run_filter
from ._steps import Steps, stack_steps, steps_for


def state_space_forecasts(
    fit: StateSpaceFit,
    patient: Patient,
    *,
    origin_min: Float[np.ndarray, " origins"] | None = None,
    horizon_min: Sequence[float] = HORIZONS_MIN,
    future_inputs: FutureInputs = "none",
    announced_min: float = 30.0,
    also: Doses | None = None,
) -> RollingForecasts:
    """Forecast a record from many origins with its stochastic model.

    The filter walks the record once; every origin starts from what it knows there. Constants stay as fitted; the
    states, and among them the effects of insulin and meals, go on learning from each reading. Nothing after an
    origin is looked at, except as `future_inputs` says.

    Args:
        fit: the cohort's models.
        patient: the record, of a patient in the fit.
        origin_min: times of readings to forecast from, min; left out, the readings after the training part.
        horizon_min: how far ahead, min.
        future_inputs: *none*: the basal rate in force goes on, nothing is eaten or injected, and whatever is usual
            afterwards counts as far as the fit has seen it. *announced*: meals that begin within `announced_min`, and
            boluses within 15 min of them; a loop's later basal and corrections stay unknown. *recorded*: all of the
            record.
        announced_min: how long before it begins a meal, or a bolus with it, is known, min.
        also: boluses and meals that are announced besides, from every origin, at minutes after it: what if. A bolus
            among them hides no meal.

    Returns:
        The forecasts; `sd_mg_dL` is that of a reading.

    Raises:
        KeyError: where the patient is not in the fit.
        ValueError: where an origin is no reading of the record, a horizon is not positive, `announced_min` is
            negative, or a dose in `also` is before the origin.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"])
        >>> options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3)
        >>> fit = t1djax.fit_state_space(list(cohort), options=options)
        >>> forecasts = t1djax.state_space_forecasts(fit, cohort["Pat3"], horizon_min=(30.0, 60.0))
        >>> forecasts.mean_mg_dL.shape
        (58, 2)
    """
    check_types(state_space_forecasts, locals())
    found = fit[patient.name]
    origins = rolling_origins(patient, after_min=found.train_until_min) if origin_min is None else origin_min
    horizons = np.asarray(horizon_min, dtype=np.float64)
    if not np.all(horizons > 0):
        raise ValueError(f"state_space_forecasts: horizon_min is {tuple(horizon_min)}; give positive times")
    if not 0 <= announced_min < np.inf:
        raise ValueError(f"state_space_forecasts: announced_min is {announced_min}; give minutes, zero or more")
    if not np.all(np.isin(origins, patient.time_min[patient.valid])):
        raise ValueError(f"{patient.name}: an origin is no reading of the record; take them from rolling_origins")
    if also is not None and min([*also.bolus_time_min, *also.meal_time_min], default=0.0) < 0:
        raise ValueError(
            "state_space_forecasts: a dose in also is before the origin; give minutes after it, zero or more"
        )
    mean, var = forecast_moments(found, patient, origins, horizons, future_inputs, announced_min, also)
    return RollingForecasts(
        name=patient.name,
        method="stochastic",
        future_inputs=future_inputs,
        origin_min=origins,
        horizon_min=horizons,
        mean_mg_dL=_within_limits(mean, patient, found.train_until_min),
        sd_mg_dL=np.sqrt(var),
        observed_mg_dL=readings_ahead(patient, origins, horizons.tolist()),
    )


class DoseResponses(NamedTuple):
    """How much one more dose at each origin moves the forecast."""

    unit_mg_dL: Float[np.ndarray, "origins horizons"]
    """By a unit of insulin, mg/dL."""
    carbs_mg_dL: Float[np.ndarray, "origins horizons"]
    """By 20 g of carbohydrate, mg/dL."""


def dose_responses(
    fit: StateSpaceFit,
    patient: Patient,
    *,
    origin_min: Float[np.ndarray, " origins"] | None = None,
    horizon_min: Sequence[float] = HORIZONS_MIN,
) -> DoseResponses:
    """What forecasts say that insulin and carbohydrate do: those with one more dose at the origin less those without.

    Args:
        fit: the cohort's models.
        patient: the record, of a patient in the fit.
        origin_min: times of readings, min; left out, the readings after the training part.
        horizon_min: how far ahead, min.

    Returns:
        The differences; the blend's are the same.

    Raises:
        KeyError: where the patient is not in the fit.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"])
        >>> options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3)
        >>> fit = t1djax.fit_state_space(list(cohort), options=options)
        >>> moves = t1djax.statespace.dose_responses(fit, cohort["Pat3"], horizon_min=(120.0,))
        >>> bool((moves.unit_mg_dL < 0).all() and (moves.carbs_mg_dL > 0).all())
        True
    """
    found = fit[patient.name]
    origins = rolling_origins(patient, after_min=found.train_until_min) if origin_min is None else origin_min
    horizons = np.asarray(horizon_min, dtype=np.float64)
    each = (Doses.of(), Doses.of(boluses=[(0, 1)]), Doses.of(meals=[(0, 20)]))
    usual, unit, carbs = (forecast_moments(found, patient, origins, horizons, "none", 0.0, also)[0] for also in each)
    return DoseResponses(unit - usual, carbs - usual)


def _within_limits(
    mean: Float[np.ndarray, "origins horizons"], patient: Patient, until_min: float
) -> Float[np.ndarray, "origins horizons"]:
    """What a sensor with limits would read: none is passed that the readings learnt from do not pass."""
    seen = patient.glucose_mg_dL[patient.valid & (patient.time_min <= until_min)]
    return np.clip(mean, min(LOWEST_READING, seen.min()), max(HIGHEST_READING, seen.max()))


def forecast_moments(
    found: PatientStateSpace,
    patient: Patient,
    origins: Float[np.ndarray, " origins"],
    horizons: Float[np.ndarray, " horizons"],
    future: FutureInputs,
    announced_min: float,
    also: Doses | None,
) -> tuple[Float[np.ndarray, "origins horizons"], Float[np.ndarray, "origins horizons"]]:
    """Mean (mg/dL) and variance of the readings to come."""
    if not len(origins):
        empty = np.zeros((0, len(horizons)))
        return empty, empty
    with jax.enable_x64(True):
        steps = jax.tree.map(lambda x: x[0], stack_steps([steps_for(patient, found.form)]))
        changes = changes_after(patient, origins, horizons, future=future, announced_min=announced_min, also=also)
    h = {symbol: np.asarray(e.value) for symbol, e in found.constants.items()}
    person = jax.tree.map(np.asarray, found.person)
    # Similar numbers of origins share one program.
    at = np.pad(np.searchsorted(np.asarray(steps.time_min), origins), (0, -len(origins) % 64))
    static = (found.form, future, tuple(horizons.tolist()))
    expected, _ = together(_forecasts, h, person, steps, at, changes, static=static)
    mean, var = (x[: len(origins)] for x in expected)
    return mean + float(person.level_mg_dL), var


def _forecasts(
    h: dict[str, Array],
    person: Person,
    steps: Steps,
    at: Array,
    changes: Changes | None,
    form: Form,
    future: FutureInputs,
    horizon_min: tuple[float, ...],
) -> Ahead:
    unit = unit_of(h, person.level_mg_dL, form)
    *known, beyond = run_filter(h, person, steps, form, unit, lengths_ahead(form, horizon_min))
    every = (*known, lasting_rates(steps, future), steps.block)
    filtered, on_board, rates, block = jax.tree.map(lambda x: x[at], every)
    return ahead(h, unit, person, form, filtered, on_board, rates, block, horizon_min, changes, over=beyond)
