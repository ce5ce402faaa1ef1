"""Profile likelihoods: intervals that need no straight line between parameters and glucose."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special

from .._checked import check_types
from ..data import Cohort, Patient, PatientArrays, Series
from ..programs import over_cohort
from ..records import Fit, PatientProfile, Profile, fitted_records
from ..twin import Physiology
from ._information import WHITE, coloured, noise_correlations, residuals
from ._least_squares import _Given, _misfit
from ._levenberg import Optimum, damped, least_squares

_BLOCK = 64  # patients per program: two sides each
_LEAST = 1e-10  # of a parameter's own information, what a direction is taken to have at the least
_LEAST_NOISE_MG_DL = 1e-6  # below it rounding hides what a step adds to the sum of squares


class ProfileOptions(NamedTuple):
    """Options of a profile.

    Example:
        >>> from t1djax.inference import ProfileOptions
        >>> ProfileOptions().max_steps
        30
    """

    multiples: tuple[float, ...] = (0.4, 0.8, 1.2, 1.6, 2.0, 2.5, 3.2, 4.5, 7.0, 14.0)
    """Where to look on either side, in standard errors; increasing."""
    widest: float = 0.5
    """Standard error of a logarithm that is taken at the most: 14 of them are a factor of a thousand."""
    max_steps: int = 30
    """Steps of each constrained fit."""
    tolerance: float = 1e-8
    """Relative fall of the sum of squares at which one has converged."""


class _Traced(NamedTuple):
    """One patient's profile as computed."""

    values: Float[Array, " points"]
    cost: Float[Array, " points"]
    estimate: Array
    least: Array
    noise: Array
    inflation: Array
    converged: Array


def profile(
    fit: Fit,
    cohort: Cohort | Sequence[Patient] | None = None,
    symbol: str | None = None,
    *,
    level: float = 0.9,
    autocorrelated: bool = True,
    options: ProfileOptions | None = None,
) -> Profile:
    """Intervals of one parameter by profile likelihood, all patients and grid points in one program.

    ```
    excess(theta) = (min over the others of Q(theta, others) - min Q) / (s^2 f^2)
    ```

    with `Q` the sum of squares and priors of `fit_ode`, `s` the noise and `f` the factor by which autocorrelated
    residuals widen the standard error. The interval is where the excess is below the quantile of chi-square(1) where
    the noise is given, and of F(1, n - k) where it is estimated. From the optimum each side is walked outwards; at
    each point the other parameters are fitted anew by Levenberg-Marquardt, starting at the neighbour's.

    Args:
        fit: from any model, in inverse mode; its estimates are the starting point.
        cohort: other records of these patients on the same rows; those that were fitted if not given.
        symbol: the free parameter; it need not be said where one alone was asked for.
        level: probability of the intervals.
        autocorrelated: whether to widen them for autocorrelated residuals.
        options: see `ProfileOptions`.

    Returns:
        One record per patient; a side on which no value is excluded is open, and the parameter then practically not
        identifiable.

    Raises:
        ValueError: where the parameter was not estimated, a patient of the fit is not among those given, or on other
            rows.

    Example:
        >>> import jax
        >>> import t1djax
        >>> white = t1djax.WhiteNoise(10.0)
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"], noise=white, key=jax.random.key(0))
        >>> fit = t1djax.fit(cohort, model="ode", free=["ksi"])
        >>> t1djax.profile(fit)["Pat3"].identifiable
        True

    Source: Raue et al., Bioinformatics 25(15), 2009; the factor as in Chandler and Bate, Biometrika 94(1), 2007.
    """
    check_types(profile, locals())
    options = ProfileOptions() if options is None else options
    patients, problem = fitted_records(fit, cohort), fit.problem
    only = list(problem.named) if symbol is None else [symbol]
    if len(only) != 1 or only[0] not in problem.start:
        what = "say which parameter" if symbol is None else f"{symbol} was not estimated"
        raise ValueError(f"profile: {what}; there are {', '.join(problem.start) or 'none'}")
    symbol = only[0]
    if not 0 < level < 1:
        raise ValueError(f"profile: level is {level:g}; it lies between 0 and 1")
    order = sorted(problem.start)
    left = [residuals(p, f.glucose_mg_dL) for p, f in zip(patients, fit, strict=True)]
    correlations = noise_correlations(left) if autocorrelated else [WHITE] * len(left)
    estimates = {s: np.array([f.estimates[s].value for f in fit]) for s in problem.start}
    body, memory = problem.physiology(start=estimates), np.array([m[1:] for m in correlations])
    index = np.asarray(order.index(symbol))
    traced, _ = over_cohort(
        _trace, body, PatientArrays(patients), memory, shared=(index,), static=(options,), block=_BLOCK
    )
    limits = problem.limits(symbol)
    found = []
    for i, patient in enumerate(patients):
        readings = int(patient.masks.fit.sum())
        if problem.noise_sd_mg_dL is not None:
            threshold = float(special.chdtri(1, 1 - level))
        else:
            threshold = float(special.fdtri(1, max(readings - len(order), 1), level))
        mine = jax.tree.map(lambda x, i=i: x[i], traced)
        found.append(_record(patient.name, symbol, mine, threshold, limits))
    return Profile(symbol, level, tuple(found))


def _trace(body: Physiology, data: Series, correlation: Array, index: Array, options: ProfileOptions) -> _Traced:
    given, order, rows_seen = _Given(body, data), sorted(body.free), data.fit.size
    named = lambda z: dict(zip(order, z, strict=True))
    readings = jnp.sum(given.data.fit)
    z0 = jnp.stack([body.free[s] for s in order])
    # Priors weigh against the noise at the estimates, as they did in the fit.
    noise = body.noise(jnp.sum(_misfit(named(z0), given) ** 2), readings)

    def rows(z: Array) -> Array:
        return jnp.concatenate([_misfit(named(z), given), body.with_free(named(z)).prior_misfit(noise)])

    def relax(z: Array, moves: Array) -> Optimum:
        how = {"tolerance": options.tolerance, "max_steps": options.max_steps}
        return least_squares(rows, z, moves=moves, lowest=body.lowest(), **how)

    everything = jnp.ones_like(z0)
    fixed = everything.at[index].set(0.0)
    best = relax(z0, everything)
    if body.noise_sd_mg_dL is None:
        noise = body.noise(jnp.sum(_misfit(named(best.z), given) ** 2), readings)
    noise = jnp.maximum(noise, _LEAST_NOISE_MG_DL)
    J, beliefs = best.jacobian[:rows_seen], best.jacobian[rows_seen:]
    inverse = _inverse(best.jacobian.T @ best.jacobian)
    robust = inverse @ (coloured(J, given.data, correlation) + beliefs.T @ beliefs) @ inverse
    inflation = jnp.sqrt(robust[index, index] / inverse[index, index])
    sd = jnp.minimum(noise * jnp.sqrt(robust[index, index]), options.widest)

    def outwards(side: Array) -> tuple[Array, Array, Array]:
        def to(point: tuple[Array, Array], multiple: Array) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
            z, A = point
            move = best.z[index] + side * multiple * sd - z[index]
            start = (z + damped(A, fixed, -A[:, index] * move, 0.0)).at[index].add(move)
            new = relax(start, fixed)
            return (new.z, new.jacobian.T @ new.jacobian), (new.z, new.squares, new.converged)

        here = (best.z, best.jacobian.T @ best.jacobian)
        return jax.lax.scan(to, here, jnp.asarray(options.multiples, z0.dtype))[1]

    z, squares, converged = jax.vmap(outwards)(jnp.asarray([-1.0, 1.0], z0.dtype))
    both = lambda sides, middle: jnp.concatenate([sides[0, ::-1], middle[None], sides[1]])
    value = lambda point: jnp.stack([body.with_free(named(point)).estimates()[s] for s in order])[index]
    return _Traced(
        values=jax.vmap(value)(both(z, best.z)),
        cost=both(squares, best.squares),
        estimate=value(best.z),
        least=best.squares,
        noise=noise,
        inflation=inflation,
        converged=best.converged & jnp.all(converged),
    )


def _inverse(A: Float[Array, "free free"]) -> Float[Array, "free free"]:
    size = jnp.sqrt(jnp.maximum(jnp.diagonal(A), 1e-30))
    values, vectors = jnp.linalg.eigh(A / jnp.outer(size, size))
    return (vectors / jnp.maximum(values, _LEAST)) @ vectors.T / jnp.outer(size, size)


def _record(name: str, symbol: str, t: _Traced, threshold: float, limits: tuple[float, float]) -> PatientProfile:
    least = np.nanmin(t.cost)
    scale = max(float(t.noise * t.inflation) ** 2, 1e-300)
    excess = np.maximum(np.asarray(t.cost) - least, 0.0) / scale
    middle = len(excess) // 2
    up = _crossing(np.log(t.values[middle:]), excess[middle:], threshold)
    down = _crossing(np.log(t.values[middle::-1]), excess[middle::-1], threshold)
    return PatientProfile(
        name=name,
        symbol=symbol,
        estimate=float(t.estimate),
        low=limits[0] if down is None else max(float(np.exp(down)), limits[0]),
        high=limits[1] if up is None else min(float(np.exp(up)), limits[1]),
        open_low=down is None,
        open_high=up is None,
        values=np.asarray(t.values),
        excess=excess,
        threshold=threshold,
        inflation=float(t.inflation),
        converged=bool(t.converged),
    )


def _crossing(x: np.ndarray, excess: np.ndarray, threshold: float) -> float | None:
    """Where the excess first reaches the threshold, walking outwards; its root is nearly straight in between."""
    root, level = np.sqrt(excess), np.sqrt(threshold)
    above = np.flatnonzero(root >= level)  # what is not a number excludes nothing
    if not above.size:
        return None
    i = int(above[0])
    if i == 0 or not np.isfinite(root[i]):
        return float(x[max(i - 1, 0)])
    share = (level - root[i - 1]) / (root[i] - root[i - 1])
    return float(x[i - 1] + share * (x[i] - x[i - 1]))
