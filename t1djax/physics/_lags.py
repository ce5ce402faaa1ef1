"""Two equal lags in cascade, driven by rates that are constant between breaks: exact on any grid."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._inputs import Inputs


def lag_response(
    inputs: Inputs, rate: Float[Array, " breaks"], ts: Float[Array, " times"], T: Array
) -> Float[Array, " times"]:
    """Answer of two equal lags of `T` min, empty at the start, to piecewise-constant rates: exact, in their unit."""
    empty = jnp.zeros((), rate.dtype)
    return cascade(Lags(T, rate, empty, empty), inputs.break_min, ts, inputs.index(ts))[1]


class Lags(NamedTuple):
    """Two equal lags in cascade, driven to `level[k]` on interval `k`."""

    T: Array
    level: Array
    first0: Array
    second0: Array


@jax.jit
def cascade(lags: Lags, break_min: Array, ts: Array, i: Array) -> tuple[Array, Array, Array]:
    """First lag, second lag and the integral of the second, at `ts`; `i` tells in which interval each lies."""
    T, level, first0, second0 = lags
    tau = jnp.diff(break_min) / T
    # An affine map per interval; (tau, b) stands for y -> exp(-tau) [[1, 0], [tau, 1]] y + b.
    maps = (tau, level[:-1] * _rise1(tau), level[:-1] * _rise2(tau))

    # Sequential: there are few breaks, many patients beside them, and it compiles in half the time of a parallel scan.
    def cross(
        y: tuple[Array, Array], step: tuple[Array, Array, Array]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        tau, b1, b2 = step
        decay = jnp.exp(-tau)
        y = (decay * y[0] + b1, decay * (y[1] + tau * y[0]) + b2)
        return y, y

    _, (firsts, seconds) = jax.lax.scan(cross, (first0, second0), maps)
    first = jnp.concatenate([first0[None], firsts])
    second = jnp.concatenate([second0[None], seconds])
    x1, x2 = first - level, second - level  # deviations from the level, at the start of each interval
    areas = T * (level[:-1] * tau + x2[:-1] * _rise1(tau) + x1[:-1] * _rise2(tau))
    area = jnp.concatenate([jnp.zeros_like(first0)[None], jnp.cumsum(areas)])
    h = (ts - break_min[i]) / T
    decay = jnp.exp(-h)
    return (
        level[i] + x1[i] * decay,
        level[i] + (x2[i] + x1[i] * h) * decay,
        area[i] + T * (level[i] * h + x2[i] * _rise1(h) + x1[i] * _rise2(h)),
    )


def _rise1(tau: Array) -> Array:
    """Answer of one lag to a unit step: `1 - exp(-tau)`."""
    return -jnp.expm1(-tau)


def _rise2(tau: Array) -> Array:
    """Answer of two lags to a unit step: `1 - exp(-tau) - tau exp(-tau)`."""
    return -jnp.expm1(-tau) - tau * jnp.exp(-tau)
