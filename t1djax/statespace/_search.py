"""The search for one person's constants: the objective with its curvature, and damped Fisher scoring on it."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._ahead import ahead, lasting_rates, lengths_ahead
from ._body import Unit, unit_of
from ._filter import Filtered, kalman_filter
from ._hyper import Form
from ._model import Spans, build, spans
from ._person import Person
from ._steps import Steps

REACH = 2.0
"""No constant lies further from the median of its prior than so many standard deviations of its logarithm."""


class Belief(NamedTuple):
    """The prior of the constants' standardised logarithms, and where their search starts."""

    mean: Float[Array, "*batch free"]
    sd: Float[Array, "*batch free"]
    start: Float[Array, "*batch free"]


class Data(NamedTuple):
    """What is known of one person beforehand, and the forecasts that count."""

    steps: Steps
    person: Person
    belief: Belief
    origin: Int[Array, "*batch origins"]
    target: Float[Array, "*batch origins horizons"]
    weight: Float[Array, "*batch origins horizons"]


class Found(NamedTuple):
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


class SearchResult(NamedTuple):
    """Where the search ended."""

    z: Array
    converged: Array
    steps: Array
    found: Found


def constants(z: Float[Array, " free"], form: Form) -> dict[str, Array]:
    """The constants from their standardised logarithms, which end two standard deviations from the median."""
    inside = REACH * jnp.tanh(z / REACH)
    return {row.symbol: row.median * jnp.exp(row.log_sd * inside[i]) for i, row in enumerate(form.constants)}


def run_filter(
    h: Mapping[str, Array],
    person: Person,
    steps: Steps,
    form: Form,
    unit: Unit,
    beyond_min: Float[np.ndarray, " lengths"],
    *,
    upto: Array | None = None,
) -> tuple[Filtered, Float[Array, "steps 3 lags"], Spans]:
    """The filtered record of one patient, what is on board at its steps, and the matrices over further lengths."""
    n = len(steps.dt_min)
    both = spans(h, unit, form, jnp.concatenate([steps.dt_min, beyond_min]))
    model, on_board = build(h, person, steps, form, unit, jax.tree.map(lambda x: x[:n], both))
    return kalman_filter(model, upto=upto), on_board, jax.tree.map(lambda x: x[n:], both)


_STEP_MIN = 15.0  # of the walks to the horizons in the fit: lags are longer


_MOVED = 1e-5  # of a constant, for slopes: errs by as small a share


def evaluate(z: Array, upto: Array, data: Data, form: Form) -> Found:
    """The objective of so many steps, and its slope and curvature, by walks with each of the constants moved a little.

    A normal term `log(S)/2 + miss^2/(2S)` is expected to curve by `miss' miss'/S + log(S)' log(S)'/2`. Derivatives
    along the walk would cost three times as much, to compute and to compile.
    """
    horizons = form.options.horizons_min

    def terms(z: Array) -> tuple[Array, ...]:
        h = constants(z, form)
        unit = unit_of(h, data.person.level_mg_dL, form)
        beyond_min = lengths_ahead(form, horizons, _STEP_MIN)
        walked = None if horizons else upto
        filtered, on_board, beyond = run_filter(h, data.person, data.steps, form, unit, beyond_min, upto=walked)
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
        return cost, *ours, *theirs, filtered.mean[-1], log_likelihood, filtered.cov[-1]

    n = len(z)
    every = jax.vmap(terms)(z + _MOVED * jnp.eye(n + 1, n, -1))
    values = jax.tree.map(lambda x: x[0], every)
    slopes = [(x[1:] - x[0]).T / _MOVED for x in every[:6]]

    def information(i: int, weight: Array) -> Array:
        miss, log_var = slopes[i], slopes[i + 1]
        share = weight * jnp.exp(-values[i + 1])
        return miss.T @ (miss * share[:, None]) + log_var.T @ (log_var * weight[:, None]) / 2

    readings = information(1, (data.steps.valid & (jnp.arange(len(data.steps.valid)) < upto)).astype(z.dtype))
    forecasts = information(3, data.weight.ravel())
    prior = jnp.diag(data.belief.sd**-2)
    _, _, _, _, _, mean, log_likelihood, cov = values
    whole = readings + forecasts + prior
    return Found(values[0], slopes[0], whole, readings + prior, slopes[5], log_likelihood, mean, cov)


_CLOSE = 3e-2  # what a whole step would still gain in the objective: a quarter of a standard error at the most
_FIRST_PART, _FIRST_STEPS = 8, 864  # the share of a record that a search begins with, and the least of it: three days
_PART_CLOSE = 0.1  # where it takes the whole record
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


def solve(data: Data, form: Form) -> SearchResult:
    """Fisher scoring, damped by Levenberg's and Marquardt's rule; near the end steps go by the curvature that is met,
    also on steps that led nowhere. It starts with a part of the record, where no forecasts count."""
    n, valid = len(form.constants), data.steps.valid
    every = jnp.max(jnp.where(valid, jnp.arange(len(valid)), 0)) + 1
    part = every if form.options.horizons_min else jnp.minimum(every, jnp.maximum(every // _FIRST_PART, _FIRST_STEPS))

    class Now(NamedTuple):
        z: Array
        trial: Array
        best: Found
        H: Array
        """The curvature that steps go by."""
        damping: Array
        promised: Array
        """What the step to the trial should gain."""
        gain: Array
        steps: Array
        upto: Array
        """How many steps of the record count."""

    def step(now: Now) -> Now:
        tried = evaluate(now.trial, now.upto, data, form)
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
        full, whole = (jnp.linalg.solve(A, best.slope) for A in (H, damped))
        # No further than two standard deviations of the prior at once: beyond, constants hardly move.
        move = whole * jnp.minimum(1.0, REACH / jnp.max(jnp.abs(whole)))
        promised = best.slope @ move - move @ H @ move / 2
        after = Now(z, z - move, best, H, damping, promised, best.slope @ full / 2, now.steps + 1, now.upto)
        through = (now.upto < every) & ~((after.gain > _PART_CLOSE) & (damping < _DAMPED[-1]))
        anew = begun._replace(z=z, trial=z, steps=after.steps, upto=every)
        return jax.tree.map(lambda a, b: jnp.where(through, a, b), anew, after)

    def going(now: Now) -> Array:
        return (now.steps <= form.options.max_steps) & (now.gain > _CLOSE) & (now.damping < _DAMPED[-1])

    shapes = jax.eval_shape(lambda: evaluate(jnp.zeros(n), every, data, form))
    nowhere = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)._replace(cost=jnp.asarray(jnp.inf))
    start, zero, far = data.belief.start, jnp.zeros(()), jnp.asarray(jnp.inf)
    begun = Now(start, start, nowhere, jnp.eye(n), zero, jnp.ones(()), far, jnp.asarray(0), part)
    end = jax.lax.while_loop(going, step, begun)
    # Where a body's rates have kinks, the slope leads a little astray: steps stop short of the last hundredth, and the
    # curvature that was met at a kink says nothing.
    expected = end.best.slope @ jnp.linalg.solve(end.best.curvature, end.best.slope) / 2
    converged = (jnp.minimum(end.gain, expected) <= 3 * _CLOSE) & jnp.isfinite(end.best.cost)
    return SearchResult(end.z, converged & (end.upto == every), end.steps - 1, end.best)
