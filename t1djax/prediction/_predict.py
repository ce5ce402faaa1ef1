"""Glucose after the end of a record, from a fitted patient and what will be given."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import ndtri

from .._words import some
from ..io import PATIENT, Step, finished, flaw, future_inputs, settled
from ..physics import AbstractPhysiology, Doses, Inputs, count_steps, state_units
from ..programs import over_cohort
from ..records import FittedPatient

if TYPE_CHECKING:
    import pandas as pd

_LEAST = 16  # rows, and input breaks, of the smallest program
_GROWS = 4  # from one size of program to the next, so that few are ever compiled
_HASTE = 4096  # rows up to which a program is compiled in haste


def predict(
    model: FittedPatient | Mapping[str, FittedPatient], table: "pd.DataFrame", *, level: float = 0.9
) -> "pd.DataFrame":
    """Expected glucose and an interval for a reading, at times after the end of the record.

    The equations run on from the state at the end of the record, by their exact solution, under what the table states
    will be given. With `x` the logarithms of the estimated parameters, `C` their covariance and `s` the noise of a
    reading, the interval is

    ```
    G(t) -+ z sqrt(dG/dx' C dG/dx + s^2)
    ```

    by the delta method. It holds what parameters and sensor leave open; it holds no disturbance that the equations do
    not know, so for real people it is too narrow. Nothing corrects the state by the last readings either:
    `predict_from_readings` does.

    Args:
        model: a patient, or a cohort by name; then the table has a column `patient`, unless it is of one patient only.
        table: one row for each time, in order, in the columns of a patient's file. `time_min` is minutes on the
            record's own clock (the first row is later than `end_min` of the model), or `time` is a clock time where the
            record has a clock. `basal_U_h` holds from its row on; where it is empty, the last rate goes on, at first
            that of the record's end. `bolus_U` and `carbs_g` must be stated, 0 for none. `bolus_duration_min` and
            `meal_duration_min` may be there. Readings are not looked at.
        level: probability of the interval.

    Returns:
        With the index of the table: `patient` and the times as given, then `glucose_mg_dL`, `lower_mg_dL`,
        `upper_mg_dL`.

    Raises:
        DataError: listing everything wrong with the table, by row and column.
        ValueError: where the level is no probability, or a model's fit failed.

    Example:
        >>> import pandas as pd
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"])
        >>> model = t1djax.prediction.fitted_patient(t1djax.fit(cohort, model="ode"), cohort["Pat3"])
        >>> future = pd.DataFrame({"time_min": [2910, 2940], "basal_U_h": 0.8, "bolus_U": [4, 0], "carbs_g": [40, 0]})
        >>> t1djax.predict(model, future).columns.tolist()
        ['time_min', 'glucose_mg_dL', 'lower_mg_dL', 'upper_mg_dL']

    Source: the delta method, as in van der Vaart, Asymptotic Statistics, 1998, chapter 3.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level:g}; it is a probability, such as 0.9")
    requests = settled(*finished(_requests(model, table)))
    glucose, sd = np.full((2, len(table)), np.nan)
    shapes: dict[tuple[int, int, type[AbstractPhysiology]], list[_Request]] = {}
    for one in requests:
        shapes.setdefault((_size(len(one.rows)), _size(len(one.inputs[0])), one.body), []).append(one)
    for alike in shapes.values():
        mean, spread = solve_alike(alike)
        for i, one in enumerate(alike):
            glucose[one.rows], sd[one.rows] = mean[i, : len(one.rows)], spread[i, : len(one.rows)]
    kept = [name for name in table.columns if str(name).strip() in (PATIENT, "time_min", "time")]
    half = ndtri((1 + level) / 2) * sd
    return table[kept].assign(glucose_mg_dL=glucose, lower_mg_dL=glucose - half, upper_mg_dL=glucose + half)


def _requests(model: FittedPatient | Mapping[str, FittedPatient], table: "pd.DataFrame") -> Step[list["_Request"]]:
    requests = []
    for one, rows in (yield from by_patient(model, table)):
        inputs = yield from future_inputs(table.iloc[rows], one)
        if inputs is not None:
            requests.append(ask(one, rows, *inputs))
    return requests


def by_patient(
    model: FittedPatient | Mapping[str, FittedPatient], table: "pd.DataFrame"
) -> Step[list[tuple[FittedPatient, np.ndarray]]]:
    """The rows of the table that are of each patient."""
    names = [str(column).strip() for column in table.columns]
    single = model if isinstance(model, FittedPatient) else None
    models = {model.name: model} if isinstance(model, FittedPatient) else dict(model)
    if PATIENT not in names:
        if len(models) == 1:
            return [(next(iter(models.values())), np.arange(len(table)))]
        yield flaw("table", "the column is missing", f"name one of {some(models, 10)} in each row", column=PATIENT)
        return []
    if not len(table):
        yield flaw("table", "it has no row", "give rows")
        return []
    column = table.iloc[:, names.index(PATIENT)]
    rows = [(str(name), np.asarray(where)) for name, where in column.groupby(column, sort=False).indices.items()]
    # Rows without a name are in no group.
    for label in table.index[column.isna()][:1]:
        yield flaw("table", "the cell is empty", f"name one of {some(models, 10)}", column=PATIENT, row=label)
    for name, where in rows:
        if name not in models:
            what = f"{name[:80]!r} is not the patient" if single is not None else f"there is no patient {name[:80]!r}"
            yield flaw("table", what, f"name one of {some(models, 10)}", column=PATIENT, row=table.index[where[0]])
    return [(models[name], where) for name, where in rows if name in models]


class _Request(NamedTuple):
    """What is asked of one patient, as arrays."""

    rows: np.ndarray
    """Of the table."""
    time_min: np.ndarray
    inputs: tuple[np.ndarray, np.ndarray, np.ndarray]
    """Breaks, insulin and carbohydrate."""
    theta: np.ndarray
    """Parameters of the equations, then the state at the end of the record."""
    covariance: np.ndarray
    """Of `theta`: parameters and state move together."""
    noise: np.ndarray
    body: type[AbstractPhysiology]


def ask(
    model: FittedPatient, rows: np.ndarray, time_min: np.ndarray, doses: Doses, start_min: float | None = None
) -> _Request:
    """The equations from the state at the end of the record, as if it were that at `start_min` where it is given."""
    here = {**model.parameters, **model.state}
    theta = np.array([here[s] for s in model.moving])
    slopes = np.stack([model.slopes[s] for s in model.moving])
    covariance = slopes @ model.covariance @ slopes.T
    if not all(np.all(np.isfinite(x)) for x in (theta, covariance, model.noise_sd_mg_dL)):
        raise ValueError(f"the fit of {model.name} failed, it predicts nothing: {model.message or 'not finite'}")
    inputs = doses.rates(model.end_min if start_min is None else start_min, float(time_min[-1]))
    return _Request(rows, time_min, inputs, theta, covariance, np.array([model.noise_sd_mg_dL]), model.body)


def solve_alike(alike: list[_Request]) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations, mg/dL, of patients that fit into one size of program."""
    rows, breaks = (max(map(_size, n)) for n in ([len(r.rows) for r in alike], [len(r.inputs[0]) for r in alike]))
    everyone = alike + alike[-1:] * (_size(len(alike), 1) - len(alike))
    columns = (
        np.stack([one.theta for one in everyone]),
        np.stack([one.covariance for one in everyone]),
        np.stack([one.noise for one in everyone]),
        np.stack([_pad(one.time_min, rows) for one in everyone]),
        *(np.stack([_pad(one.inputs[i], breaks) for one in everyone]) for i in range(3)),
    )
    effort, body = "least" if len(everyone) * rows <= _HASTE else "some", alike[0].body
    steps = None if body.facts.exact else count_steps(columns[3], columns[4], body.step_min)
    return over_cohort(_glucose, *columns, static=(body, steps), effort=effort, factorises=False)[0]


def _glucose(
    theta: Array,
    cov: Array,
    noise: Array,
    ts: Array,
    breaks: Array,
    insulin: Array,
    carbs: Array,
    body: type[AbstractPhysiology],
    steps: int | None,
) -> tuple[Array, Array]:
    inputs, states = Inputs(breaks, insulin, carbs), len(state_units(body.States))

    def glucose(moves: Float[Array, " n"]) -> tuple[Array, Array]:
        p, y0 = body(*moves[:-states]), body.States(*moves[-states:])
        G = p.solution(inputs, ts, y0, steps=steps).glucose_mg_dL
        return G, G

    J, G = jax.jacfwd(glucose, has_aux=True)(theta)
    variance = jnp.maximum(jnp.sum((J @ cov) * J, axis=-1), 0.0)
    return G, jnp.sqrt(variance + noise[0] ** 2)


def _size(n: int, least: int = _LEAST) -> int:
    while least < n:
        least *= _GROWS
    return least


def _pad(column: np.ndarray, length: int) -> np.ndarray:
    """The last value repeated: a repeated break has no length, a repeated time is looked at by nobody."""
    return np.concatenate([column, np.repeat(column[-1:], length - len(column))])
