"""Constants of the stochastic model by maximum a posteriori, the whole cohort in one program."""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._by_name import ByName
from .._html import html_table
from .._words import counted
from ..data import TRAINING_SHARE, Cohort, Patient, readings_ahead, training_end
from ..programs import over_cohort
from ..records import UNITS, Cost, Estimate, Outcome, WithOutcome, legend_line
from ._ahead import ahead, level_at
from ._filter import Filtered, kalman_filter
from ._hyper import CONSTANTS, HYPERPARAMETERS, StateSpaceOptions, free_symbols
from ._model import Lags, Person, build, layout, person_of
from ._steps import Steps, stack_steps, steps_of

REACH = 2.0
"""No constant lies further from the median of its prior than so many standard deviations of its logarithm."""
EFFECTS = ("c", "p1", "q", "r")


@dataclasses.dataclass(frozen=True, eq=False)
class PatientStateSpace(WithOutcome):
    """The stochastic model of one person."""

    name: str
    """The patient."""
    outcome: Outcome
    """How the optimiser ended."""
    train_until_min: float
    """Nothing after this time was seen, min on the record's clock."""
    constants: Mapping[str, Estimate]
    """Constants by symbol, in the units of `HYPERPARAMETERS`; the standard errors are those of the marginal
    likelihood and the prior, from the curvature in the logarithms."""
    effects: Mapping[str, Estimate]
    """`c` (mg/dL/min), `p1` (mg/dL/U), `q` (mg/dL/g), and `r` (mg/dL/U), which a bolus without carbohydrate on record
    raises: posterior means at the end of training, prior means as initial values."""
    log_likelihood: float
    """Marginal log-likelihood of the training readings, without unit."""
    readings: int
    """How many they are."""
    steps: int
    """Steps of the optimiser."""
    person: Person
    """Level and priors."""

    def __repr__(self) -> str:
        trouble = "" if self.ok else f"; failed: {self.message}"
        return f"PatientStateSpace({self.name}: {self.readings} readings, {self.steps} steps{trouble})"

    def _repr_html_(self) -> str:
        rows = [row[1:] for row in _constant_rows(self)]
        return html_table(f"Stochastic model of {self.name}", _CONSTANTS[1:], rows, notes=[_legend([self])])


def _legend(patients: Iterable["PatientStateSpace"]) -> str:
    """What the symbols mean, for below a table."""
    return legend_line((symbol for p in patients for symbol in (*p.constants, *p.effects)), CONSTANTS)


_CONSTANTS = ("patient", "symbol", "unit", "value", "standard error", "prior")


def _constant_rows(patient: PatientStateSpace) -> list[tuple[object, ...]]:
    """What a notebook shows of a model, in the order of `_CONSTANTS`."""
    units = {**UNITS, **{symbol: row.unit for symbol, row in HYPERPARAMETERS.items()}}
    return [
        (patient.name, symbol, units.get(symbol, ""), e.value, e.standard_error, e.initial)
        for symbol, e in {**patient.constants, **patient.effects}.items()
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class StateSpaceFit(ByName[PatientStateSpace]):
    """The stochastic models of a cohort."""

    options: StateSpaceOptions
    """Form of the model."""
    patients: tuple[PatientStateSpace, ...]
    """One per patient, in order."""
    cost: Cost
    """Wall time."""

    def __repr__(self) -> str:
        failed = sum(not patient.ok for patient in self.patients)
        trouble = f", {failed} failed" if failed else ""
        return f"StateSpaceFit({counted(len(self), 'patient')}{trouble}, {self.cost.run_s:.1f} s)"

    def _repr_html_(self) -> str:
        notes = [f"{p.name} failed: {p.message}" for p in self if not p.ok]
        rows = [row for p in self for row in _constant_rows(p)]
        return html_table(repr(self), _CONSTANTS, rows, notes=[_legend(self), *notes])


class _Data(NamedTuple):
    steps: Steps
    person: Person
    target: Float[Array, "*batch steps horizons"]
    there: Bool[Array, "*batch steps horizons"]
    step_min: Float[Array, "*batch"]


class _Solution(NamedTuple):
    z: Array
    converged: Array
    steps: Array
    curvature: Array
    log_likelihood: Array
    mean: Array
    cov: Array


def fit_state_space(
    patients: Sequence[Patient],
    *,
    options: StateSpaceOptions | None = None,
    train_share: float = TRAINING_SHARE,
    train_until_min: float | None = None,
) -> StateSpaceFit:
    """Find each patient's constants from the training part of the record.

    ```
    min over z of   - log p(y)  -  sum over horizons h (step/h) sum over origins log p(y(t+h) | until t)  +  z'z/2
    ```

    with `z` the logarithms of the constants, standardised by their priors (`HYPERPARAMETERS`), `step` the usual time
    between readings, and forecasts that know no insulin or meal after `t`. The first term is the marginal likelihood of
    the Kalman filter; the second makes the model good at what it is used for, where it is wrong, and is weighed down
    since overlapping forecasts say the same. `c`, `p1`, `q` and `r` are states of the filter, hence found exactly. It
    computes in float64, whatever the global setting, by BFGS.

    Args:
        patients: the cohort.
        options: form of the model; `StateSpaceOptions()` if not given.
        train_share: share of each record to learn from.
        train_until_min: the same as a time on the record's clock, min; takes precedence.

    Returns:
        The fit. A patient that does not converge has `ok` false; the others are not touched.

    Raises:
        ValueError: where there is no patient, or a training part has fewer than twenty readings.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"])
        >>> options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3)
        >>> fit = t1djax.fit_state_space(list(cohort), options=options)
        >>> fit["Pat3"].readings
        135
    """
    options = StateSpaceOptions() if options is None else options
    _check(options)
    patients = Cohort.of(patients).patients
    if not patients:
        raise ValueError("fit_state_space: give at least one patient")
    ends = [training_end(p, share=train_share) if train_until_min is None else train_until_min for p in patients]
    for patient, end in zip(patients, ends, strict=True):
        count = int(np.sum(patient.valid & (patient.time_min <= end)))
        if count < _LEAST:
            raise ValueError(f"{patient.name}: {count} readings until {end:g} min to learn from; give {_LEAST}")
    began = time.perf_counter()
    with jax.enable_x64(True):
        data = _stack(patients, ends, options)
    solution, compile_s = over_cohort(_solve, data, static=(options,), effort="some")
    run_s = time.perf_counter() - began - compile_s
    found = tuple(
        _record(patient, end, jax.tree.map(lambda x, i=i: x[i], (solution, data.person)), options)
        for i, (patient, end) in enumerate(zip(patients, ends, strict=True))
    )
    return StateSpaceFit(options, found, Cost(compile_s, run_s))


_LEAST = 20


def constants(z: Float[Array, " free"], options: StateSpaceOptions) -> dict[str, Array]:
    """The constants from their standardised logarithms, which end two standard deviations from the median."""
    rows = [HYPERPARAMETERS[symbol] for symbol in free_symbols(options)]
    inside = REACH * jnp.tanh(z / REACH)
    return {row.symbol: row.median * jnp.exp(row.log_sd * inside[i]) for i, row in enumerate(rows)}


def run_filter(
    h: Mapping[str, Array], person: Person, steps: Steps, options: StateSpaceOptions
) -> tuple[Filtered, Lags]:
    """The filtered record of one patient, and what is on board at its steps."""
    model, on_board = build(h, person, steps, options)
    return kalman_filter(model), on_board


def _stack(patients: Sequence[Patient], ends: Sequence[float], options: StateSpaceOptions) -> _Data:
    each = [steps_of(p, until_min=end) for p, end in zip(patients, ends, strict=True)]
    people = [person_of(p, until_min=end) for p, end in zip(patients, ends, strict=True)]
    steps = stack_steps(each)
    width = steps.time_min.shape[1]
    targets, apart = [], []
    for patient, end, s in zip(patients, ends, each, strict=True):
        seen = np.where(patient.time_min <= end, patient.glucose_mg_dL, np.nan)
        part = dataclasses.replace(patient, glucose_mg_dL=seen)
        origins = np.asarray(s.time_min)
        target = np.full((width, len(options.horizons_min)), np.nan)
        if options.horizons_min:
            ahead_of = readings_ahead(part, origins, options.horizons_min)
            target[: len(origins)] = np.where(np.asarray(s.valid)[:, None], ahead_of, np.nan)
        targets.append(target)
        apart.append(np.median(np.diff(part.time_min[part.valid])))
    target = np.stack(targets)
    there = np.isfinite(target)
    return _Data(
        steps=steps,
        person=jax.tree.map(lambda *leaves: jnp.stack(leaves), *people),
        target=jnp.asarray(np.where(there, target, 120.0)),
        there=jnp.asarray(there),
        step_min=jnp.asarray(np.array(apart)),
    )


def _likelihood(z: Array, data: _Data, options: StateSpaceOptions) -> Array:
    """Negative logarithm of the posterior, up to a constant."""
    filtered, _ = run_filter(constants(z, options), data.person, data.steps, options)
    return -jnp.sum(filtered.log_likelihood) + jnp.sum(z**2) / 2


def _objective(z: Array, data: _Data, options: StateSpaceOptions) -> Array:
    h = constants(z, options)
    filtered, on_board = run_filter(h, data.person, data.steps, options)
    total = -jnp.sum(filtered.log_likelihood) + jnp.sum(z**2) / 2
    if options.horizons_min:
        horizons = jnp.asarray(options.horizons_min)
        level = level_at(data.steps, "none")
        expected = ahead(h, data.person, options, filtered, on_board, level, horizons)
        miss = data.target - data.person.level_mg_dL - expected.mean
        score = 0.5 * (jnp.log(expected.var) + miss**2 / expected.var)
        total += jnp.sum(jnp.where(data.there, score, 0.0) * data.step_min / horizons)
    return total


def _solve(data: _Data, options: StateSpaceOptions) -> _Solution:
    import optimistix as optx  # noqa: PLC0415 - half a second at import

    z0 = jnp.zeros(len(free_symbols(options)))
    solver = optx.BFGS(rtol=options.tolerance, atol=options.tolerance)
    # The number of readings sets the scale, so that the first step is of a sensible length.
    scale = jnp.sum(data.steps.valid)
    found = optx.minimise(
        lambda z, data: _objective(z, data, options) / scale, solver, z0, data, max_steps=options.max_steps, throw=False
    )
    z = found.value
    slope = jax.grad(lambda z: _likelihood(z, data, options))
    shifts = 1e-3 * jnp.concatenate([jnp.eye(len(z0)), -jnp.eye(len(z0))])
    slopes = jax.lax.map(lambda shift: slope(z + shift), shifts)
    curvature = (slopes[: len(z0)] - slopes[len(z0) :]) / 2e-3
    filtered, _ = run_filter(constants(z, options), data.person, data.steps, options)
    return _Solution(
        z=z,
        converged=found.result == optx.RESULTS.successful,
        steps=found.stats["num_steps"],
        curvature=(curvature + curvature.T) / 2,
        log_likelihood=jnp.sum(filtered.log_likelihood),
        mean=filtered.mean[-1],
        cov=filtered.cov[-1],
    )


def _record(
    patient: Patient, end: float, found: tuple[_Solution, Person], options: StateSpaceOptions
) -> PatientStateSpace:
    s, person = found
    where = layout(options)
    finite = bool(np.all(np.isfinite(s.z)) and np.isfinite(s.log_likelihood))
    # A direction in which the likelihood alone is not at its best may curve the wrong way; the prior then speaks.
    vectors_values = np.linalg.eigh(s.curvature) if finite else (np.ones(len(s.z)), np.eye(len(s.z)))
    values = np.maximum(vectors_values[0], 1.0)
    spread = np.sqrt(np.sum(vectors_values[1] ** 2 / values, axis=1))
    fitted = {}
    for i, symbol in enumerate(free_symbols(options)):
        row = HYPERPARAMETERS[symbol]
        inside = np.tanh(s.z[i] / REACH)
        value = row.median * float(np.exp(row.log_sd * REACH * inside))
        fitted[symbol] = Estimate(
            value,
            row.median,
            value * row.log_sd * float(spread[i] * (1 - inside**2)),
            prior_dominated=bool(spread[i] ** 2 > 0.75),
            at_bound=bool(abs(inside) > 0.96),
        )
    effects = {}
    for i, symbol in enumerate(EFFECTS):
        if symbol in where.names:
            j = where.names.index(symbol)
            sd = float(np.sqrt(s.cov[j, j]))
            held = sd**2 > 0.75 * float(person.effect_sd[i]) ** 2
            effects[symbol] = Estimate(float(s.mean[j]), float(person.effect_mean[i]), sd, prior_dominated=bool(held))
    return PatientStateSpace(
        name=patient.name,
        outcome=Outcome.of(bool(s.converged), finite=finite),
        train_until_min=end,
        constants=fitted,
        effects=effects,
        log_likelihood=float(s.log_likelihood),
        readings=int(np.sum(patient.valid & (patient.time_min <= end))),
        steps=int(s.steps),
        person=person,
    )


def _check(options: StateSpaceOptions) -> None:
    if options.daily_rhythm < 0 or options.sensitivity_walk < 0 or options.max_steps < 1 or not options.tolerance > 0:
        raise ValueError(f"{options}: numbers must not be negative, max_steps and tolerance must be positive")
    if any(not h > 0 for h in options.horizons_min):
        raise ValueError(f"{options}: horizons_min must be positive")
