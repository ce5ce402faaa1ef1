"""Constants of the stochastic model by maximum a posteriori, the whole cohort in one program."""

import dataclasses
import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._by_name import ByName
from .._checked import check_types
from .._html import html_table
from .._words import counted, folded
from ..data import TRAINING_SHARE, Cohort, Patient, readings_ahead, rolling_origins, training_end
from ..physics import AbstractPhysiology
from ..programs import over_cohort
from ..question import Question
from ..records import SYMBOLS, Cost, Estimate, Outcome, WithOutcome, legend_line, quantity
from ._ahead import ahead, lasting_rates, lengths_ahead
from ._body import Unit, unit_of
from ._filter import Filtered, kalman_filter
from ._hyper import Form, StateSpaceOptions, layout
from ._model import Spans, build, effect_prior, positive, spans
from ._person import Person, person_of
from ._pool import Belief, of_everybody, of_the_cohort
from ._steps import Steps, round_up, stack_steps, steps_of

REACH = 2.0
"""No constant lies further from the median of its prior than so many standard deviations of its logarithm."""


class Joint(NamedTuple):
    """Constants and states at the end of training as one normal distribution.

    ```
    z ~ N(z0, C),   x | z ~ N(m + J (z - z0), P):   var(x) = P + J C J',   cov(x, z) = J C
    ```

    with `C` the inverse curvature of the readings' likelihood and the prior, `m` and `P` the filter's at `z0`, and `J`
    the slope of `m` by the constants. The filter alone takes the constants for known.
    """

    mean: Float[np.ndarray, " all"]
    """Standardised logarithms of the constants, then the states, in the order of the form."""
    cov: Float[np.ndarray, "all all"]
    """Their covariance."""


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
    """Constants by symbol, in the units of `HYPERPARAMETERS` and of the physiology's table; prior medians as initial
    values. The errors (`white_error`) are those of the marginal likelihood and the prior, from the curvature that is
    expected in the logarithms. Where `horizons_min` counted, constants are those that forecast best, and may lie many
    errors from those that describe the person best: `standard_error` is withheld. `horizons_min=()` gives it."""
    effects: Mapping[str, Estimate]
    """`c` (mg/dL/min), `p1` (mg/dL/U), `q` (mg/dL/g), and `r` (mg/dL/U), which a bolus without carbohydrate on record
    raises: posterior means at the end of training, prior means as initial values; standard errors carry what is not
    known of the constants (`together`)."""
    log_likelihood: float
    """Marginal log-likelihood of the training readings, without unit."""
    readings: int
    """How many they are."""
    steps: int
    """Steps of the optimiser."""
    person: Person
    """Level and priors."""
    form: Form
    """Form of the model."""
    joint: "Joint"
    """What is known of constants and states together."""

    def __repr__(self) -> str:
        trouble = "" if self.ok else f"; failed: {self.message}"
        return f"PatientStateSpace({self.name}: {self.readings} readings, {self.steps} steps{trouble})"

    def _repr_html_(self) -> str:
        rows = [row[1:] for row in _constant_rows(self)]
        return html_table(f"Stochastic model of {self.name}", _CONSTANTS[1:], rows, notes=[_legend([self])])


def _legend(patients: Iterable["PatientStateSpace"]) -> str:
    """What the symbols mean, for below a table."""
    patients = list(patients)
    return legend_line((s for p in patients for s in (*p.constants, *p.effects)), patients[0].form.symbols)


def _in_words(patient: PatientStateSpace) -> str:
    """What was found of a person, in lines of a terminal."""
    rows = {**SYMBOLS, **patient.form.symbols}
    found = {**patient.effects, **patient.constants}
    listed = ", ".join(f"{s} {quantity(f'{e.value:.3g}', rows[s].unit)}" for s, e in found.items())
    return folded(f"{patient.name}: {listed}" if patient.ok else f"{patient.name} failed: {patient.message}")


_PRINTED = 10  # people
_CONSTANTS = ("patient", "symbol", "unit", "value", "standard error", "prior")


def _constant_rows(patient: PatientStateSpace) -> list[tuple[object, ...]]:
    """What a notebook shows of a model, in the order of `_CONSTANTS`."""
    rows = {**SYMBOLS, **patient.form.symbols}
    return [
        (patient.name, symbol, rows[symbol].unit, e.value, e.standard_error, e.initial)
        for symbol, e in {**patient.constants, **patient.effects}.items()
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class StateSpaceFit(ByName[PatientStateSpace]):
    """The stochastic models of a cohort."""

    form: Form
    """Form of the model."""
    patients: tuple[PatientStateSpace, ...]
    """One per patient, in order."""
    cost: Cost
    """Wall time."""

    def __repr__(self) -> str:
        failed = sum(not patient.ok for patient in self.patients)
        trouble = f", {failed} failed" if failed else ""
        return f"StateSpaceFit({counted(len(self), 'patient')}{trouble}; {self.cost})"

    def __str__(self) -> str:
        more = [f"and {len(self) - _PRINTED} more"] * (len(self) > _PRINTED)
        return "\n".join([repr(self), *(_in_words(p) for p in self.patients[:_PRINTED]), *more])

    def _repr_html_(self) -> str:
        notes = [f"{p.name} failed: {p.message}" for p in self if not p.ok]
        rows = [row for p in self for row in _constant_rows(p)]
        return html_table(repr(self), _CONSTANTS, rows, notes=[_legend(self), *notes])


class _Data(NamedTuple):
    steps: Steps
    person: Person
    belief: Belief
    origin: Int[Array, "*batch origins"]
    target: Float[Array, "*batch origins horizons"]
    weight: Float[Array, "*batch origins horizons"]


class _Found(NamedTuple):
    """What one evaluation gives."""

    cost: Array
    slope: Array
    curvature: Array
    """Of the whole objective, as it is expected."""
    information: Array
    """Of the likelihood of the readings alone, likewise."""
    moves: Array
    """Slope of the last states by the constants."""
    log_likelihood: Array
    mean: Array
    cov: Array


class _Solution(NamedTuple):
    z: Array
    converged: Array
    steps: Array
    found: _Found


def fit_state_space(
    patients: Sequence[Patient],
    *,
    physiology: str | type[AbstractPhysiology] = "magdelaine",
    options: StateSpaceOptions | None = None,
    train_share: float = TRAINING_SHARE,
    train_until_min: float | None = None,
    pooled: bool = False,
) -> StateSpaceFit:
    """Find each patient's constants from the training part of the record.

    ```
    min over z of   - log p(y)  -  sum over horizons h (step/h) sum over origins log p(y(t+h) | until t)  +  z'z/2
    ```

    with `z` the logarithms of the constants, standardised by their priors (`HYPERPARAMETERS`, `Facts.followed`), `step`
    the time between origins, at least 15 min, and forecasts that know no insulin or meal after `t`. The first term is
    the marginal likelihood of the Kalman filter, extended where the body is not linear; the second makes the model good
    at what it is used for, where it is wrong, and is weighed down since overlapping forecasts say the same. `c`, `p1`,
    `q` and `r` are states of the filter. It computes in float64, whatever the global setting, by damped Fisher scoring.

    Args:
        patients: the cohort.
        physiology: the body, by name or class.
        options: form of the model; `StateSpaceOptions()` if not given.
        train_share: share of each record to learn from.
        train_until_min: the same as a time on the record's clock, min; takes precedence.
        pooled: whether the patients inform each other: the priors' medians and spreads, of the constants and of the
            effects beside the rules of thumb, are then those of the cohort, found by expectation and maximisation, with
            the priors for everybody as a few people more. It steadies short records; a cohort of a few says little.

    Returns:
        The fit. A patient that does not converge has `ok` false; the others are not touched.

    Raises:
        ValueError: where there is no patient, or a training part has fewer than twenty readings.
        ArgumentError: where the physiology is not known.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"])
        >>> options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3)
        >>> fit = t1djax.fit_state_space(list(cohort), options=options)
        >>> fit["Pat3"].readings
        135
    """
    check_types(fit_state_space, locals())
    form = Form(StateSpaceOptions() if options is None else options, Question(physiology=physiology).body)
    _check(form.options)
    patients = Cohort.of(patients).patients
    if not patients:
        raise ValueError("fit_state_space: give at least one patient")
    ends = [training_end(p, share=train_share) if train_until_min is None else train_until_min for p in patients]
    for patient, end in zip(patients, ends, strict=True):
        count = int(np.sum(patient.valid & (patient.time_min <= end)))
        if count < LEAST_READINGS:
            raise ValueError(f"{patient.name}: {count} readings until {end:g} min to learn from; give {LEAST_READINGS}")
    began = time.perf_counter()
    with jax.enable_x64(True):
        data = _stack(patients, ends, form)
    solution, compile_s = over_cohort(_solve, data, static=(form,), effort="some", block=_BLOCK, threaded=True)
    rules = data.person
    for _ in range(_PASSES if pooled else 0):
        with jax.enable_x64(True):
            person, belief = of_the_cohort(rules, solution, form)
            data = data._replace(person=person, belief=belief)
        solution, _ = over_cohort(_solve, data, static=(form,), effort="some", block=_BLOCK, threaded=True)
    run_s = time.perf_counter() - began - compile_s
    host = jax.device_get((solution, data.person, data.belief))
    rows = lambda i: (jax.tree.map(lambda x: x[i], tree) for tree in host)
    with jax.enable_x64(True):
        found = tuple(
            _record(p, end, *rows(i), form=form) for i, (p, end) in enumerate(zip(patients, ends, strict=True))
        )
    return StateSpaceFit(form, found, Cost(compile_s, run_s))


LEAST_READINGS = 20
"""From fewer nothing is learnt."""
_BLOCK = 2  # people at a time on a core: one who takes many steps holds up few, and their records fit into memory
_PASSES = 4  # of expectation and maximisation: priors then move by less than a tenth of their spread


def constants(z: Float[Array, " free"], form: Form) -> dict[str, Array]:
    """The constants from their standardised logarithms, which end two standard deviations from the median."""
    inside = REACH * jnp.tanh(z / REACH)
    return {row.symbol: row.median * jnp.exp(row.log_sd * inside[i]) for i, row in enumerate(form.constants)}


def root(cov: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """A matrix whose product with its own transpose is a covariance, which rounding may have left slightly negative."""
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def walked(patient: Patient, form: Form, until_min: float | None = None) -> Steps:
    """The steps of a record as a model of this form takes them."""
    longest = np.inf if form.exact else form.physiology.step_min
    blocks, ahead_min = form.options.sensitivity_blocks, form.options.paired_ahead_min
    return steps_of(patient, until_min=until_min, longest_min=longest, blocks=blocks, ahead_min=ahead_min)


def run_filter(
    h: Mapping[str, Array],
    person: Person,
    steps: Steps,
    form: Form,
    unit: Unit,
    beyond_min: Float[np.ndarray, " lengths"],
    *,
    last: bool = False,
) -> tuple[Filtered, Float[Array, "steps 3 lags"], Spans]:
    """The filtered record of one patient, what is on board at its steps, and the matrices over further lengths."""
    n = len(steps.dt_min)
    both = spans(h, unit, form, jnp.concatenate([steps.dt_min, beyond_min]))
    model, on_board = build(h, person, steps, form, unit, jax.tree.map(lambda x: x[:n], both))
    return kalman_filter(model, last=last), on_board, jax.tree.map(lambda x: x[n:], both)


def _stack(patients: Sequence[Patient], ends: Sequence[float], form: Form) -> _Data:
    each = [walked(p, form, end) for p, end in zip(patients, ends, strict=True)]
    o = form.options
    people = [
        person_of(p, until_min=end, ahead_min=o.paired_ahead_min, wide=o.wide_effects and not form.exact)
        for p, end in zip(patients, ends, strict=True)
    ]
    horizons = form.options.horizons_min
    rows = []
    for patient, end, s in zip(patients, ends, each, strict=True):
        seen = np.where(patient.time_min <= end, patient.glucose_mg_dL, np.nan)
        part = dataclasses.replace(patient, glucose_mg_dL=seen)
        origins = rolling_origins(part, after_min=-np.inf, every_min=_ORIGINS_MIN)
        target = readings_ahead(part, origins, horizons) if horizons else np.zeros((len(origins), 0))
        apart = np.median(np.diff(origins))
        weight = np.where(np.isfinite(target), apart / np.asarray(horizons), 0.0)
        rows.append((np.searchsorted(np.asarray(s.time_min), origins), np.nan_to_num(target, nan=120.0), weight))
    most = round_up(max(len(origin) for origin, _, _ in rows))
    pad = lambda x: np.pad(x, ((0, most - len(x)), *[(0, 0)] * (x.ndim - 1)))
    columns = (jax.device_put(np.stack([pad(x) for x in column])) for column in zip(*rows, strict=True))
    person = jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *people)
    return _Data(stack_steps(each), person, of_everybody(person, form), *columns)


_STEP_MIN = 15.0  # of the walks to the horizons in the fit: lags are longer
_ORIGINS_MIN = 14.5  # between origins of forecasts that count in the fit: closer ones say the same


@functools.partial(jax.jit, static_argnums=2)  # traced once, for its shapes and in the loop
def _evaluate(z: Array, data: _Data, form: Form) -> _Found:
    """The objective, and its slope and curvature: forward, so that one walk through the record gives all of it.

    A normal term `log(S)/2 + miss^2/(2S)` is expected to curve by `miss' miss'/S + log(S)' log(S)'/2`.
    """
    horizons = form.options.horizons_min

    def terms(z: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        h = constants(z, form)
        unit = unit_of(h, data.person.level_mg_dL, form)
        beyond_min = lengths_ahead(form, horizons, _STEP_MIN)
        filtered, on_board, beyond = run_filter(h, data.person, data.steps, form, unit, beyond_min, last=not horizons)
        log_likelihood = jnp.sum(filtered.log_likelihood)
        cost = jnp.sum(((z - data.belief.mean) / data.belief.sd) ** 2) / 2 - log_likelihood
        ours = filtered.innovation, jnp.log(filtered.innovation_var)
        theirs = jnp.zeros((0,)), jnp.zeros((0,))
        if horizons:
            every = filtered, on_board, lasting_rates(data.steps, "none"), data.steps.block
            known, lags, rates, block = jax.tree.map(lambda x: x[data.origin], every)
            expected = ahead(
                h, unit, data.person, form, known, lags, rates, block, horizons, longest_min=_STEP_MIN, over=beyond
            )
            miss, log_var = data.target - data.person.level_mg_dL - expected.mean, jnp.log(expected.var)
            cost += jnp.sum(data.weight * (log_var + miss**2 / expected.var)) / 2
            theirs = miss.ravel(), log_var.ravel()
        values = cost, *ours, *theirs, filtered.mean[-1]
        return values, (*values[:-1], log_likelihood, filtered.mean[-1], filtered.cov[-1])

    slopes, values = jax.jacfwd(terms, has_aux=True)(z)

    def information(i: int, weight: Array) -> Array:
        miss, log_var = slopes[i], slopes[i + 1]
        share = weight * jnp.exp(-values[i + 1])
        return miss.T @ (miss * share[:, None]) + log_var.T @ (log_var * weight[:, None]) / 2

    readings = information(1, data.steps.valid.astype(z.dtype))
    forecasts = information(3, data.weight.ravel())
    prior = jnp.diag(data.belief.sd**-2)
    return _Found(values[0], slopes[0], readings + forecasts + prior, readings + prior, slopes[-1], *values[-3:])


_CLOSE = 1e-2  # what a whole step would still gain in the objective
_NEAR = 5.0  # gain below which the curvature is followed by how the slope changes
_DAMPED = 0.3, 0.02, 1e3  # the first damping, the last, and that at which the search ends, as shares of the curvature


def _followed(H: Array, moved: Array, turned: Array) -> Array:
    """The curvature after a step, by how the slope changed on it; it stays positive.

    Source: Powell, "A fast algorithm for nonlinearly constrained optimization calculations", 1978, on the method of
    Broyden, Fletcher, Goldfarb and Shanno.
    """
    along = H @ moved
    expected, met = moved @ along, moved @ turned
    share = jnp.where(met < _BENT * expected, (1 - _BENT) * expected / (expected - met), 1.0)
    turned = share * turned + (1 - share) * along
    return H + jnp.outer(turned, turned) / (turned @ moved) - jnp.outer(along, along) / expected


_BENT = 0.2  # least share of the curvature that one step leaves


def _solve(data: _Data, form: Form) -> _Solution:
    """Fisher scoring, damped by Levenberg's and Marquardt's rule; near the end steps go by the curvature that is met,
    also on steps that led nowhere."""
    n = len(form.constants)

    class Now(NamedTuple):
        z: Array
        trial: Array
        best: _Found
        H: Array
        """The curvature that steps go by."""
        damping: Array
        promised: Array
        """What the step to the trial should gain."""
        gain: Array
        steps: Array

    def step(now: Now) -> Now:
        tried = _evaluate(now.trial, data, form)
        ratio = (now.best.cost - tried.cost) / now.promised
        better = ratio > 0
        moved, turned = now.trial - now.z, tried.slope - now.best.slope
        near = (now.gain < _NEAR) & jnp.isfinite(moved @ turned)
        H = jnp.where(near, _followed(now.H, moved, turned), jnp.where(better, tried.curvature, now.H))
        z, best = jax.tree.map(lambda a, b: jnp.where(better, a, b), (now.trial, tried), (now.z, now.best))
        first, last, _ = _DAMPED
        damping = jnp.where(ratio > 0.75, now.damping / 4, now.damping)
        damping = jnp.where(ratio > 0.25, jnp.where(damping < last, 0.0, damping), jnp.maximum(4 * damping, first))
        damped = H + damping * jnp.diag(jnp.diagonal(best.curvature))
        full, whole = jnp.linalg.solve(jnp.stack([H, damped]), best.slope[:, None])[..., 0]
        # No further than two standard deviations of the prior at once: beyond, constants hardly move.
        move = whole * jnp.minimum(1.0, REACH / jnp.max(jnp.abs(whole)))
        promised = best.slope @ move - move @ H @ move / 2
        return Now(z, z - move, best, H, damping, promised, best.slope @ full / 2, now.steps + 1)

    def going(now: Now) -> Array:
        return (now.steps <= form.options.max_steps) & (now.gain > _CLOSE) & (now.damping < _DAMPED[-1])

    shapes = jax.eval_shape(lambda: _evaluate(jnp.zeros(n), data, form))
    nowhere = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)._replace(cost=jnp.asarray(jnp.inf))
    start, zero, far = data.belief.start, jnp.zeros(()), jnp.asarray(jnp.inf)
    begun = Now(start, start, nowhere, jnp.eye(n), zero, jnp.ones(()), far, jnp.asarray(0))
    end = jax.lax.while_loop(going, step, begun)
    # Where a body's rates have kinks, the slope leads a little astray: steps stop short of the last hundredth, and the
    # curvature that was met at a kink says nothing.
    expected = end.best.slope @ jnp.linalg.solve(end.best.curvature, end.best.slope) / 2
    converged = (jnp.minimum(end.gain, expected) <= 10 * _CLOSE) & jnp.isfinite(end.best.cost)
    return _Solution(end.z, converged, end.steps - 1, end.best)


def _record(
    patient: Patient, end: float, s: _Solution, person: Person, belief: Belief, *, form: Form
) -> PatientStateSpace:
    where, found = layout(form), s.found
    finite = bool(np.all(np.isfinite(s.z)) and np.isfinite(found.cost))
    unknown = np.linalg.inv(found.information) if finite else np.full((len(s.z), len(s.z)), np.nan)
    across = found.moves @ unknown
    cov = np.block([[unknown, across.T], [across, found.cov + across @ found.moves.T]])
    spread = np.sqrt(np.diagonal(unknown))
    fitted, within = {}, np.tanh(np.stack([s.z, belief.mean]) / REACH)
    for i, row in enumerate(form.constants):
        inside = within[0, i]
        value, median = (row.median * np.exp(row.log_sd * REACH * within[:, i])).tolist()
        error = value * row.log_sd * float(spread[i] * (1 - inside**2))
        fitted[row.symbol] = Estimate(
            value,
            median,
            None if form.options.horizons_min else error,
            prior_dominated=bool(spread[i] ** 2 > 0.75 * belief.sd[i] ** 2),
            at_bound=bool(abs(inside) > 0.96),
            white_error=error,
        )
    at = [where.at("c"), *range(where.core, len(where.names))]
    prior_mean, prior_cov = (np.asarray(x) for x in effect_prior(person, form))
    means = [float(person.effect_mean[0]), *prior_mean.tolist()]
    prior_sd = [float(person.effect_sd[0]), *np.sqrt(np.diagonal(prior_cov)).tolist()]
    sds = np.sqrt(np.diagonal(cov)[len(s.z) :][at])
    weak = sds**2 > 0.75 * np.square(prior_sd)
    values = np.append(found.mean[at[0]], positive(jax.device_put(found.mean[where.core :]), person, form))
    if not form.exact:  # of a logarithm the error grows with the value
        sds[1:] *= values[1:] / prior_mean
    effects = {
        where.names[j]: Estimate(float(values[i]), means[i], float(sds[i]), prior_dominated=bool(weak[i]))
        for i, j in enumerate(at)
    }
    return PatientStateSpace(
        name=patient.name,
        outcome=Outcome.of(bool(s.converged), finite=finite),
        train_until_min=end,
        constants=fitted,
        effects=effects,
        log_likelihood=float(found.log_likelihood),
        readings=int(np.sum(patient.valid & (patient.time_min <= end))),
        steps=int(s.steps),
        person=person,
        form=form,
        joint=Joint(np.concatenate([s.z, found.mean]), cov),
    )


def _check(options: StateSpaceOptions) -> None:
    if options.daily_rhythm < 0 or min(options.sensitivity_blocks, options.max_steps) < 1:
        raise ValueError(f"{options}: numbers must not be negative, max_steps and sensitivity_blocks must be positive")
    if any(not h > 0 for h in options.horizons_min):
        raise ValueError(f"{options}: horizons_min must be positive")
