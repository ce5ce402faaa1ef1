"""The search for one person's constants: the objective with its curvature, and damped Fisher scoring on it."""

import functools
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
    last: bool = False,
) -> tuple[Filtered, Float[Array, "steps 3 lags"], Spans]:
    """The filtered record of one patient, what is on board at its steps, and the matrices over further lengths."""
    n = len(steps.dt_min)
    both = spans(h, unit, form, jnp.concatenate([steps.dt_min, beyond_min]))
    model, on_board = build(h, person, steps, form, unit, jax.tree.map(lambda x: x[:n], both))
    return kalman_filter(model, last=last), on_board, jax.tree.map(lambda x: x[n:], both)


_STEP_MIN = 15.0  # of the walks to the horizons in the fit: lags are longer


@functools.partial(jax.jit, static_argnums=2)  # traced once, for its shapes and in the loop
def evaluate(z: Array, data: Data, form: Form) -> Found:
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
    return Found(values[0], slopes[0], readings + forecasts + prior, readings + prior, slopes[-1], *values[-3:])


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


def solve(data: Data, form: Form) -> SearchResult:
    """Fisher scoring, damped by Levenberg's and Marquardt's rule; near the end steps go by the curvature that is met,
    also on steps that led nowhere."""
    n = len(form.constants)

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

    def step(now: Now) -> Now:
        tried = evaluate(now.trial, data, form)
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

    shapes = jax.eval_shape(lambda: evaluate(jnp.zeros(n), data, form))
    nowhere = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)._replace(cost=jnp.asarray(jnp.inf))
    start, zero, far = data.belief.start, jnp.zeros(()), jnp.asarray(jnp.inf)
    begun = Now(start, start, nowhere, jnp.eye(n), zero, jnp.ones(()), far, jnp.asarray(0))
    end = jax.lax.while_loop(going, step, begun)
    # Where a body's rates have kinks, the slope leads a little astray: steps stop short of the last hundredth, and the
    # curvature that was met at a kink says nothing.
    expected = end.best.slope @ jnp.linalg.solve(end.best.curvature, end.best.slope) / 2
    converged = (jnp.minimum(end.gain, expected) <= 10 * _CLOSE) & jnp.isfinite(end.best.cost)
    return SearchResult(end.z, converged, end.steps - 1, end.best)
