"""Kalman filter and Rauch-Tung-Striebel smoother, step by step and as parallel prefix sums."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._types import Scalar
from ._model import Exact, Model


class Filtered(NamedTuple):
    """States given the readings up to each step, that of the step included."""

    mean: Float[Array, "steps states"]
    """Means; each state has the unit that the model gives it."""
    cov: Float[Array, "steps states states"]
    """Covariances, in the products of those units."""
    innovation: Float[Array, " steps"]
    """Reading less what was expected of it, mg/dL; of no meaning where there is no reading."""
    innovation_var: Float[Array, " steps"]
    """Its variance, (mg/dL)^2."""
    log_likelihood: Float[Array, " steps"]
    """Logarithm of the density of each reading given those before it, without unit; 0 where there is none. The sum is
    the marginal log-likelihood."""


class Smoothed(NamedTuple):
    """States given all readings."""

    mean: Float[Array, "steps states"]
    """Means; each state has the unit that the model gives it."""
    cov: Float[Array, "steps states states"]
    """Covariances, in the products of those units."""


def kalman_filter(model: Model, *, parallel: bool = False, upto: Int[Array, ""] | None = None) -> Filtered:
    """Filter one record: missing readings and steps of any length are no special case.

    ```
    S = H P H' + sd^2,  K = P H'/S,  m + K miss,  (I - share K H) P
    ```

    `miss` is the reading less what is expected, and the share is one. At a limit of the sensor glucose is beyond it
    instead: `miss` and share are those of the normal distribution cut off there, and the likelihood is that of lying
    beyond. Where steps are not linear the mean takes the step itself and the covariance its derivative there.

    In parallel the same is computed for linear steps as an associative scan, whose depth is logarithmic and which takes
    limits for readings; on a CPU the sequential form is faster.

    Args:
        model: the model with its readings.
        parallel: whether to scan in parallel.
        upto: how many steps to walk, in sequence. The states are then those of the last of them alone, and steps behind
            it count for nothing.

    Returns:
        The filtered states and the log-likelihood.

    Raises:
        ValueError: where steps that are not linear are to be filtered in parallel.

    Source: Kalman 1960; Bucy and Joseph 1968; Sarkka and Garcia-Fernandez, "Temporal parallelization of Bayesian
    smoothers", IEEE Trans. Autom. Control 66(1), 2021.
    """
    return _parallel_filter(model) if parallel else _sequential_filter(model, upto)


def kalman_update(
    mean: Float[Array, " states"],
    cov: Float[Array, "states states"],
    read: Float[Array, " states"],
    noise_var: Scalar,
    y: Scalar,
    valid: Array,
    limit: Scalar,
) -> Filtered:
    """One reading, as `kalman_filter` takes it.

    Args:
        mean: of the states before it.
        cov: their covariance.
        read: what it reads of them, `H`.
        noise_var: variance of its error, (mg/dL)^2.
        y: the reading, mg/dL.
        valid: whether there is one; the states stay as they are if not.
        limit: -1 where it is the lowest that a sensor reports, 1 where it is the highest, 0 between.

    Returns:
        The states with it.
    """
    PH = cov @ read
    S, miss = read @ PH + noise_var, y - read @ mean
    shift, share = _taken(miss, S, limit)
    K = jnp.where(valid, PH / S, 0.0)
    # A product of matrices: the outer product of `K` and `P H` costs twice as much where slopes go along.
    left = jnp.eye(len(mean), dtype=cov.dtype) - share * K[:, None] * read
    return Filtered(mean + K * shift, left @ cov, miss, S, _density(miss, S, valid, limit))


def _inside(miss: Array, S: Array, limit: Array) -> tuple[Array, Array]:
    """How far inside the limit lies what is expected, in standard deviations, at most 30 where it is beyond, and the
    logarithm of the probability that glucose lies beyond; nought and that of a half where there is no limit."""
    a = jnp.where(limit != 0.0, jnp.maximum(-limit * miss / jnp.sqrt(S), -30.0), 0.0)
    return a, jnp.log(jax.lax.erfc(-a / np.sqrt(2)) / 2)


def _taken(miss: Array, S: Array, limit: Array) -> tuple[Array, Array]:
    """What a reading moves, in place of its miss, and the share of the variance that it takes away."""
    a, beyond = _inside(miss, S, limit)
    hazard = jnp.exp(-(a**2) / 2 - beyond) / np.sqrt(2 * np.pi)
    at_limit = limit != 0.0
    return jnp.where(at_limit, limit * jnp.sqrt(S) * hazard, miss), jnp.where(at_limit, hazard * (hazard + a), 1.0)


def _density(miss: Array, S: Array, valid: Array, limit: Array) -> Array:
    """Logarithm of a reading's density, or of the probability of lying beyond; nought where there is none."""
    _, beyond = _inside(miss, S, limit)
    within = -0.5 * (jnp.log(2 * jnp.pi * S) + miss**2 / S)
    return jnp.where(valid, jnp.where(limit != 0.0, beyond, within), 0.0)


def smooth(model: Model, filtered: Filtered, *, parallel: bool = False) -> Smoothed:
    """States given the whole record, from the filtered ones.

    ```
    G = P F' (F P F' + Q)^-1,   m + G (m_next - F m),   P + G (P_next - F P F' - Q) G'
    ```

    Args:
        model: the model with its readings.
        filtered: what `kalman_filter` gave for this model.
        parallel: whether to scan in parallel; the result is the same but for rounding.

    Returns:
        The smoothed states.

    Source: Rauch, Tung and Striebel 1965; the parallel form as for `kalman_filter`.
    """
    gain, shift, spread = _backwards(model, filtered)
    if not parallel:

        def step(
            later: tuple[Array, Array], now: tuple[Array, Array, Array]
        ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
            G, g, L = now
            found = G @ later[0] + g, _symmetric(G @ later[1] @ G.T + L)
            return found, found

        last = filtered.mean[-1], filtered.cov[-1]
        _, (mean, cov) = jax.lax.scan(step, last, (gain, shift, spread), reverse=True)
        whole = jnp.concatenate([mean, last[0][None]]), jnp.concatenate([cov, last[1][None]])
        return Smoothed(*whole)
    end = jnp.zeros_like(gain[:1])
    elements = (
        jnp.concatenate([gain, end]),
        jnp.concatenate([shift, filtered.mean[-1:]]),
        jnp.concatenate([spread, filtered.cov[-1:]]),
    )

    def combine(later: tuple[Array, Array, Array], earlier: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        (E1, g1, L1), (E2, g2, L2) = later, earlier
        return E2 @ E1, _times(E2, g1) + g2, _symmetric(E2 @ L1 @ _transpose(E2) + L2)

    _, mean, cov = jax.lax.associative_scan(combine, elements, reverse=True)
    return Smoothed(mean, cov)


def draw_paths(
    model: Model, filtered: Filtered, unit: Float[Array, "steps paths states"]
) -> Float[Array, "paths steps states"]:
    """Draws of all states of a record given all of its readings, by backward simulation.

    ```
    x[last] ~ N(m, P),   x[i] ~ N(m + G (x[i+1] - F m), P - G (F P F' + Q) G')
    ```

    Their means and covariances are those of `smooth`.

    Args:
        model: the model with its readings.
        filtered: what `kalman_filter` gave for this model.
        unit: what draws them, standard normal numbers.

    Source: Fruhwirth-Schnatter, J. Time Ser. Anal. 15(2), 1994; Godsill, Doucet and West, JASA 99(465), 2004.
    """
    gain, shift, spread = _backwards(model, filtered)
    root = jax.vmap(_root)(jnp.concatenate([spread, filtered.cov[-1:]]))
    end = filtered.mean[-1] + unit[-1] @ root[-1].T

    def step(later: Array, now: tuple[Array, ...]) -> tuple[Array, Array]:
        G, g, L, unit = now
        found = later @ G.T + g + unit @ L.T
        return found, found

    _, paths = jax.lax.scan(step, end, (gain, shift, root[:-1], unit[:-1]), reverse=True)
    return jnp.swapaxes(jnp.concatenate([paths, end[None]]), 0, 1)


def _root(P: Array) -> Array:
    # States without noise leave covariances of lower rank, which Cholesky's method refuses.
    scale = jnp.sqrt(jnp.maximum(jnp.diagonal(P), 1e-300))
    values, vectors = jnp.linalg.eigh(P / (scale[:, None] * scale))
    # The symmetric root of what is scaled: vectors alone change their signs with the last digit, and draws with them.
    return scale[:, None] * ((vectors * jnp.sqrt(jnp.maximum(values, 0.0))) @ vectors.T)


def _sequential_filter(model: Model, upto: Array | None) -> Filtered:
    var, n = model.noise_sd**2, len(model.y)
    steps = model.motion.each, model.y, model.valid, model.limit

    def step(m: Array, P: Array, now: tuple[Any, ...]) -> tuple[tuple[Array, Array], Filtered]:
        each, y, valid, limit = now
        found = kalman_update(m, P, model.read, var, y, valid, limit)
        return model.motion.ahead(each, found.mean, found.cov), found

    if upto is None:

        def along(before: tuple[Array, Array], now: tuple[Any, ...]) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
            after, found = step(*before, now)
            return after, found[:4]

        m, P, miss, S = jax.lax.scan(along, (model.mean, model.cov), steps)[1]
        return Filtered(m, P, miss, S, _density(miss, S, model.valid, model.limit))

    def one(i: Array, so_far: tuple[Any, ...]) -> tuple[Any, ...]:
        (m, P), _, miss, S = so_far
        after, found = step(m, P, jax.tree.map(lambda x: x[i], steps))
        return after, found[:2], miss.at[i].set(found.innovation), S.at[i].set(found.innovation_var)

    start = model.mean, model.cov
    _, (m, P), miss, S = jax.lax.fori_loop(0, upto, one, (start, start, jnp.zeros(n), jnp.ones(n)))
    seen = model.valid & (jnp.arange(n) < upto)
    return Filtered(m[None], P[None], miss, S, _density(miss, S, seen, model.limit))


class _Element(NamedTuple):
    """A stretch of the record: `x_end | x_start ~ N(A x_start + b, C)`; its readings' likelihood has `eta`, `J`."""

    A: Array
    b: Array
    C: Array
    eta: Array
    J: Array


def _parallel_filter(model: Model) -> Filtered:
    n = model.mean.shape[0]
    H, var = model.read, model.noise_sd**2
    if not isinstance(model.motion, Exact):
        raise ValueError("kalman_filter: only linear steps can be filtered in parallel; leave parallel out")
    transition, noise = model.matrices()

    def element(F: Array, Q: Array, y: Array, valid: Array) -> _Element:
        S = H @ Q @ H + var
        K = jnp.where(valid, Q @ H / S, 0.0)
        left = jnp.eye(n, dtype=Q.dtype) - K[:, None] * H
        FtH = jnp.where(valid, F.T @ H, 0.0)
        return _Element(left @ F, K * y, _symmetric(left @ Q), FtH * y / S, FtH[:, None] * FtH / S)

    # The first element holds the prior: a step from nowhere, whose noise is the prior's covariance.
    nowhere = jnp.zeros((1, n, n), model.cov.dtype)
    into = jnp.concatenate([nowhere, transition[:-1]]), jnp.concatenate([model.cov[None], noise[:-1]])
    y = model.y.at[0].add(-(H @ model.mean))
    elements = jax.vmap(element)(*into, y, model.valid)
    elements = elements._replace(b=elements.b.at[0].add(model.mean))
    found = jax.lax.associative_scan(jax.vmap(_join), elements)
    expected = _times(transition[:-1], found.b[:-1])
    cov = transition[:-1] @ found.C[:-1] @ _transpose(transition[:-1]) + noise[:-1]
    miss = model.y - jnp.concatenate([model.mean[None], expected]) @ H
    S = jnp.einsum("nij,i,j->n", jnp.concatenate([model.cov[None], cov]), H, H) + var
    likelihood = jnp.where(model.valid, -0.5 * (jnp.log(2 * jnp.pi * S) + miss**2 / S), 0.0)
    return Filtered(found.b, found.C, miss, S, likelihood)


def _join(first: _Element, then: _Element) -> _Element:
    eye = jnp.eye(first.b.shape[0], dtype=first.b.dtype)
    # A2 (I + C1 J2)^-1 and A1' (I + J2 C1)^-1: the two inverses are each other's transpose.
    inverse = jnp.linalg.inv(eye + first.C @ then.J)
    M, N = then.A @ inverse, first.A.T @ inverse.T
    return _Element(
        A=M @ first.A,
        b=M @ (first.b + first.C @ then.eta) + then.b,
        C=_symmetric(M @ first.C @ then.A.T + then.C),
        eta=N @ (then.eta - then.J @ first.b) + first.eta,
        J=_symmetric(N @ then.J @ first.A + first.J),
    )


def _backwards(model: Model, filtered: Filtered) -> tuple[Array, Array, Array]:
    """Gain, offset and covariance of each state given the next one, for all steps but the last."""
    m, P = filtered.mean[:-1], filtered.cov[:-1]
    steps = jax.tree.map(lambda x: x[:-1], model.motion.each)
    return jax.vmap(_backward)(m, P, *jax.vmap(model.motion.step)(steps, m))


def _backward(m: Array, P: Array, next_mean: Array, F: Array, Q: Array) -> tuple[Array, Array, Array]:
    ahead = F @ P @ F.T + Q
    # A step of length zero adds no noise, and effects have none: a pseudo-inverse in all but name.
    scale = jnp.sqrt(jnp.diagonal(ahead))
    scale = jnp.where(scale > 0, scale, 1.0)
    unit = ahead / (scale[:, None] * scale) + 1e-13 * jnp.eye(len(m), dtype=m.dtype)
    gain = jnp.linalg.solve(unit, (F @ P) / scale[:, None]).T / scale
    return gain, m - gain @ next_mean, _symmetric(P - gain @ ahead @ gain.T)


def _symmetric(P: Array) -> Array:
    return (P + _transpose(P)) / 2


def _transpose(P: Array) -> Array:
    return jnp.swapaxes(P, -1, -2)


def _times(A: Array, x: Array) -> Array:
    return jnp.einsum("...ij,...j->...i", A, x)
