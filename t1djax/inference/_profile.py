"""Profile likelihoods: intervals that need no straight line between parameters and glucose."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import stats

from .._compile import compile_once, one_thread_per_factorisation
from ..data import Cohort, Patient, split, stack, stacked_shape
from ..records import Fit, PatientProfile, Profile
from ._information import WHITE, coloured, memory, residuals
from ._least_squares import _Given, _misfit, blocks

_BLOCK = 64  # patients per program: two sides each
_LEAST = 1e-10  # of a parameter's own information, what a direction is taken to have at the least
_STIFFEST = 1e8  # damping at which no step helps any more


class ProfileOptions(NamedTuple):
    """Options of a profile.

    Example:
        >>> from t1djax import ProfileOptions
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
    cohort: Cohort | Sequence[Patient],
    symbol: str,
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
        cohort: the patients that were fitted.
        symbol: the free parameter.
        level: probability of the intervals.
        autocorrelated: whether to widen them for autocorrelated residuals.
        options: see `ProfileOptions`.

    Returns:
        One record per patient; a side on which no value is excluded is open, and the parameter then practically not
        identifiable.

    Raises:
        ValueError: where the parameter was not estimated, or the patients are not those of the fit.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"], noise=t1djax.WhiteNoise(10.0))
        >>> fit = t1djax.fit(cohort, model="ode", free=["ksi"])
        >>> t1djax.profile(fit, cohort, "ksi")["Pat3"].identifiable
        True

    Source: Raue et al., Bioinformatics 25(15), 2009; the factor as in Chandler and Bate, Biometrika 94(1), 2007.
    """
    options = ProfileOptions() if options is None else options
    patients, problem = tuple(cohort), fit.problem
    if tuple(p.name for p in patients) != problem.names:
        raise ValueError("profile: give the patients of the fit, in its order")
    if symbol not in problem.start:
        raise ValueError(f"profile: {symbol} was not estimated; there are {', '.join(problem.start) or 'none'}")
    if not 0 < level < 1:
        raise ValueError(f"profile: level is {level:g}; it lies between 0 and 1")
    order = sorted(problem.start)
    memories = [
        memory(*residuals(p, f.glucose_mg_dL)) if autocorrelated else WHITE for p, f in zip(patients, fit, strict=True)
    ]
    estimates = {s: np.array([f.estimates[s].value for f in fit]) for s in problem.start}
    parts = []
    with one_thread_per_factorisation(), jax.enable_x64(True):
        everyone = (problem.physiology(start=estimates), jnp.asarray([m.forgets_per_min for m in memories]))
        shape = stacked_shape(patients)
        for here in blocks(len(patients), _BLOCK):
            body, rate = jax.tree.map(lambda x, here=here: x[here], everyone)
            data = stack([patients[i] for i in here], least=shape)
            args = (_Given(body, data), rate, jnp.asarray(order.index(symbol)))
            program, _ = compile_once(_program, (options,), args)
            parts.append(jax.tree.map(np.asarray, program(*args)))
    traced = jax.tree.map(lambda *x: np.concatenate(x)[: len(patients)], *parts)
    limits = problem.bounds.get(symbol, (0.0, np.inf))
    found = []
    for i, patient in enumerate(patients):
        readings = int(split(patient.time_min, patient.valid).fit.sum())
        if problem.noise_sd_mg_dL is not None:
            threshold = float(stats.chi2.ppf(level, 1))
        else:
            threshold = float(stats.f.ppf(level, 1, max(readings - len(order), 1)))
        mine = jax.tree.map(lambda x, i=i: x[i], traced)
        found.append(_record(patient.name, symbol, mine, threshold, limits))
    return Profile(symbol, level, tuple(found))


def _program(options: ProfileOptions) -> Callable[..., _Traced]:
    def one(given: _Given, forgets_per_min: Array, index: Array) -> _Traced:
        return _trace(given, forgets_per_min, index, options)

    return jax.vmap(one, in_axes=(0, 0, None))


class _Point(NamedTuple):
    """A constrained optimum."""

    z: Float[Array, " free"]
    cost: Array
    information: Float[Array, "free free"]
    converged: Array


def _trace(given: _Given, forgets_per_min: Array, index: Array, options: ProfileOptions) -> _Traced:
    body, order = given.body, sorted(given.body.free)
    named = lambda z: dict(zip(order, z, strict=True))
    readings = jnp.sum(given.data.fit)
    z0 = jnp.stack([body.free[s] for s in order])
    # Priors weigh against the noise at the estimates, as they did in the fit.
    noise = body.noise(jnp.sum(_misfit(named(z0), given) ** 2), readings)

    def rows(z: Array) -> Array:
        return jnp.concatenate([_misfit(named(z), given), body.with_free(named(z)).prior_misfit(noise)])

    everything = jnp.ones_like(z0)
    best = _relax(rows, z0, everything, options)
    if body.noise_sd_mg_dL is None:
        noise = body.noise(jnp.sum(_misfit(named(best.z), given) ** 2), readings)
    J = jax.jacfwd(rows)(best.z)
    A = J.T @ J
    inverse = _inverse(A)
    memoryless = A - J[: given.data.fit.size].T @ J[: given.data.fit.size]
    robust = inverse @ (coloured(J[: given.data.fit.size], given.data, forgets_per_min) + memoryless) @ inverse
    inflation = jnp.sqrt(robust[index, index] / inverse[index, index])
    sd = jnp.minimum(noise * jnp.sqrt(robust[index, index]), options.widest)
    held = everything.at[index].set(0.0)

    def outwards(side: Array) -> _Point:
        def to(point: _Point, multiple: Array) -> tuple[_Point, _Point]:
            move = best.z[index] + side * multiple * sd - point.z[index]
            others = _solve(point.information, held, -point.information[:, index] * move, 0.0)
            start = (point.z + others).at[index].set(point.z[index] + move)
            new = _relax(rows, start, held, options)
            return new, new

        return jax.lax.scan(to, best, jnp.asarray(options.multiples, z0.dtype))[1]

    sides = jax.vmap(outwards)(jnp.asarray([-1.0, 1.0], z0.dtype))
    z = jnp.concatenate([sides.z[0, ::-1], best.z[None], sides.z[1]])
    value = lambda point: body.with_free(named(point)).estimates()
    pick = lambda point: jnp.stack([value(point)[s] for s in order])[index]
    return _Traced(
        values=jax.vmap(pick)(z),
        cost=jnp.concatenate([sides.cost[0, ::-1], best.cost[None], sides.cost[1]]),
        estimate=pick(best.z),
        least=best.cost,
        noise=noise,
        inflation=inflation,
        converged=best.converged & jnp.all(sides.converged),
    )


def _inverse(A: Float[Array, "free free"]) -> Float[Array, "free free"]:
    size = jnp.sqrt(jnp.maximum(jnp.diagonal(A), 1e-30))
    values, vectors = jnp.linalg.eigh(A / jnp.outer(size, size))
    return (vectors / jnp.maximum(values, _LEAST)) @ vectors.T / jnp.outer(size, size)


def _solve(A: Array, moves: Float[Array, " free"], b: Float[Array, " free"], damping: Array | float) -> Array:
    """The damped step of what moves; what is held does not."""
    diagonal = jnp.maximum(jnp.diagonal(A), 1e-30)
    free = A * jnp.outer(moves, moves) + jnp.diag((damping + _LEAST) * diagonal * moves + (1 - moves))
    size = jnp.sqrt(jnp.diagonal(free))
    return jnp.linalg.solve(free / jnp.outer(size, size), b * moves / size) / size * moves


def _relax(rows: Callable[[Array], Array], z0: Array, moves: Array, options: ProfileOptions) -> _Point:
    """Levenberg-Marquardt on what moves."""

    def at(z: Array) -> tuple[Array, Array, Array]:
        # The value comes with its derivatives: one sweep.
        J, r = jax.jacfwd(lambda z: (rows(z),) * 2, has_aux=True)(z)
        return jnp.sum(r**2), J.T @ J, J.T @ r

    class State(NamedTuple):
        z: Array
        cost: Array
        A: Array
        g: Array
        damping: Array
        steps: Array
        done: Array

    def step(s: State) -> State:
        z = s.z + _solve(s.A, moves, -s.g, s.damping)
        cost, A, g = at(z)
        better = cost <= s.cost
        small = better & (s.cost - cost <= options.tolerance * s.cost)
        pick = lambda new, old: jnp.where(better, new, old)
        damping = jnp.where(better, s.damping / 10, jnp.maximum(s.damping, 1e-4) * 10)
        return State(
            pick(z, s.z), pick(cost, s.cost), pick(A, s.A), pick(g, s.g), damping, s.steps + 1,
            s.done | small | (damping > _STIFFEST),
        )  # fmt: skip

    cost, A, g = at(z0)
    start = State(z0, cost, A, g, jnp.asarray(1e-6, z0.dtype), jnp.asarray(0), jnp.asarray(False))
    end = jax.lax.while_loop(lambda s: ~s.done & (s.steps < options.max_steps), step, start)
    return _Point(end.z, end.cost, end.A, end.done & jnp.isfinite(end.cost))


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
    above = np.flatnonzero(~(root < level))
    if not above.size:
        return None
    i = int(above[0])
    if i == 0 or not np.isfinite(root[i]):
        return float(x[max(i - 1, 0)])
    share = (level - root[i - 1]) / (root[i] - root[i - 1])
    return float(x[i - 1] + share * (x[i] - x[i - 1]))
