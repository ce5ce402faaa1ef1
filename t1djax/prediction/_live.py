"""Glucose after the last reading of a request: forecasts of a person whose record goes on."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from ..data import HIGHEST_READING, LOWEST_READING, Patient
from ..io import PATIENT, finished, frame_to_patient, settled
from ..physics import Doses
from ..records import FittedPatient
from ._predict import ask, by_patient, solve_alike

if TYPE_CHECKING:
    import pandas as pd

    from ..population import PopulationForecaster
    from ..statespace import StateSpaceFit


def with_stochastic(model: FittedPatient, fit: "StateSpaceFit") -> FittedPatient:
    """The patient with the person's stochastic model, by which `predict_from_readings` forecasts better.

    Args:
        model: the patient.
        fit: stochastic models, this person's among them, of the same physiology.

    Returns:
        A new patient; `write_fitted` and the registry keep the model with it.

    Raises:
        KeyError: where the person is not in the fit.
        ValueError: where the stochastic model is of another physiology or form, or its fit failed.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"])
        >>> model = t1djax.prediction.fitted_patient(t1djax.fit(cohort, model="ode"), cohort["Pat3"])
        >>> options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3)
        >>> fit = t1djax.fit_state_space(list(cohort), options=options)
        >>> "walk" in t1djax.prediction.with_stochastic(model, fit).stochastic
        True
    """
    from ..statespace import model_numbers  # noqa: PLC0415 - what equations do not want

    own = fit[model.name]
    if own.form.physiology is not model.body:
        raise ValueError(
            f"{model.name}: is of {model.body.__name__}, the stochastic model of {own.form.physiology.__name__}; "
            "fit both to one physiology"
        )
    return dataclasses.replace(model, stochastic=model_numbers(own))


def predict_from_readings(
    model: FittedPatient | Mapping[str, FittedPatient],
    table: "pd.DataFrame",
    *,
    forecaster: "PopulationForecaster | None" = None,
    level: float = 0.9,
) -> "pd.DataFrame":
    """Expected glucose and an interval for a reading, after the last reading in a table.

    ```
    p + G(doses from the last reading on) - G(the basal rate in force alone)
    ```

    `p` is what other people taught about how the readings and doses of the table go on, with what the person's own days
    in it add (`population_forecasts`). What is given from the last reading on is known to the fitted equations
    alone: `G` is their solution. Where the patient has a stochastic model (`with_stochastic`), the forecast is the
    blend of `p` with it (`blended_forecasts`), and it is what knows the doses to come. The interval is that of `p`, or
    the blend's. Fitted equations alone may be far off in what a dose does, where they are not the person's.

    Args:
        model: a patient, or a cohort by name; then the table has a column `patient`, unless it is of one patient only.
        table: of each patient the last hours or days, in the columns of a patient's file, and then the times to
            forecast, up to 240 min after the last reading, with what will be given and without readings. `time_min` is
            on the record's own clock. The more days, the better.
        forecaster: what others taught; the package's own if not given.
        level: probability of the interval.

    Returns:
        The rows after each last reading, with the index of the table: `patient` and the times as given, then
        `glucose_mg_dL`, `lower_mg_dL`, `upper_mg_dL`.

    Raises:
        DataError: listing everything wrong with the table, by row and column.
        ValueError: where the level is no probability, a patient has no reading, no row after the last one or one later
            than 240 min.

    Example:
        >>> import numpy as np, pandas as pd
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"])
        >>> model = t1djax.prediction.fitted_patient(t1djax.fit(cohort, model="ode"), cohort["Pat3"])
        >>> table = pd.DataFrame({"time_min": 3000 + 30 * np.arange(8), "glucose_mg_dL": [150.0] * 6 + [None] * 2,
        ...                       "basal_U_h": 0.8, "bolus_U": 0, "carbs_g": [0] * 6 + [40, 0]})
        >>> t1djax.prediction.predict_from_readings(model, table).time_min.tolist()
        [3180, 3210]
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level:g}; it is a probability, such as 0.9")
    from ..population import shipped_forecaster  # noqa: PLC0415 - its training loads optax, which equations do not want

    forecaster = shipped_forecaster() if forecaster is None else forecaster
    people = settled(*finished(by_patient(model, table)))
    found = np.full((2, len(table)), np.nan)
    asked = np.full(len(table), False)
    for one, rows in people:
        frame = table.iloc[rows].drop(columns=[c for c in table.columns if str(c).strip() == PATIENT])
        record = frame_to_patient(frame, one.name)
        if record.start is None:
            record = dataclasses.replace(record, start=one.start)
        mean, sd = _after_last(one, record, forecaster)
        later = rows[len(rows) - len(mean) :]
        found[:, later], asked[later] = (mean, sd), True
    kept = [name for name in table.columns if str(name).strip() in (PATIENT, "time_min", "time")]
    (glucose, sd), half = found[:, asked], ndtri((1 + level) / 2)
    frame = table.loc[asked, kept]
    return frame.assign(glucose_mg_dL=glucose, lower_mg_dL=glucose - half * sd, upper_mg_dL=glucose + half * sd)


def _after_last(
    model: FittedPatient, record: Patient, forecaster: "PopulationForecaster"
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Mean and standard deviation at the rows after the last reading, mg/dL."""
    from ..population import population_forecasts  # noqa: PLC0415

    if not record.valid.any():
        raise ValueError(
            f"{model.name}: there is no reading; give the last hours, or leave glucose_mg_dL out of all rows"
        )
    last = float(record.time_min[record.valid][-1])
    times = record.time_min[record.time_min > last]
    if not len(times):
        raise ValueError(f"{model.name}: no row is after the last reading; add the times to forecast")
    horizons = (times - last).tolist()
    if model.stochastic is not None:
        return _blend(model, record, forecaster, last, horizons)
    p = population_forecasts(
        forecaster, record, origin_min=np.array([last]), horizon_min=horizons, train_until_min=last
    )
    mean = p.mean_mg_dL[0] + _effect_of_later(model, record.doses, last, times)
    return np.clip(mean, LOWEST_READING, HIGHEST_READING), p.sd_mg_dL[0]


def _blend(
    model: FittedPatient, record: Patient, forecaster: "PopulationForecaster", last: float, horizons: list[float]
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    from ..population import blended_forecasts, population_forecasts  # noqa: PLC0415
    from ..statespace import model_of_numbers, state_space_forecasts  # noqa: PLC0415

    fit = model_of_numbers(model.name, model.stochastic or {}, model.body, train_until_min=last)
    origins = record.time_min[record.valid]
    own = state_space_forecasts(fit, record, origin_min=origins, horizon_min=horizons)
    later = state_space_forecasts(fit, record, origin_min=origins[-1:], horizon_min=horizons, future_inputs="recorded")
    told = dataclasses.replace(own, mean_mg_dL=np.concatenate([own.mean_mg_dL[:-1], later.mean_mg_dL]))
    taught = population_forecasts(forecaster, record, origin_min=origins, horizon_min=horizons, train_until_min=last)
    both = blended_forecasts(taught, own, train_until_min=last, announced=told)
    return both.mean_mg_dL[-1], both.sd_mg_dL[-1]


def _effect_of_later(
    model: FittedPatient, doses: Doses, last: float, times: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    """What the doses from the last reading on do to glucose by the person's equations, mg/dL."""
    since, rate = doses.basal_time_min, doses.basal_U_h
    in_force = rate[max(int(np.searchsorted(since, last)) - 1, 0)]
    later = since >= last
    basal = np.append(last - 1.0, since[later]), np.append(in_force, rate[later])
    given = Doses(*basal, *(x[columns[0] >= last] for columns in doses.events for x in columns))
    alone = Doses.of(basal=float(in_force))
    if not any(len(x) for x, _, _ in given.events) and np.all(given.basal_U_h == in_force):
        return np.zeros(len(times))
    requests = [ask(model, np.arange(len(times)), times, d, start_min=last) for d in (given, alone)]
    mean, _ = solve_alike(requests)
    return (mean[0] - mean[1])[: len(times)]
