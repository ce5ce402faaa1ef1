"""Steps of a fixed order that end on every jump of the doses and on every time asked for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float

from ._inputs import Inputs
from ._solve import finite

_SAME = 1e-6  # share of the longest step below which two times are one
_ROOM = 16  # steps are counted up to a multiple of this, so that similar records share a program


def count_steps(ts: ArrayLike, break_min: ArrayLike, longest_min: float) -> int:
    """How many steps `runge_kutta` takes for these times, rounded up.

    Args:
        ts: times asked for, min, `(..., times)`.
        break_min: times at which a rate changes, min, `(..., breaks)`; the first is the start.
        longest_min: longest step, min.

    Returns:
        A number with room for each of the records.

    Raises:
        ValueError: where the times are traced, so that nothing can be counted.

    Example:
        >>> import numpy as np
        >>> from t1djax.physics import count_steps
        >>> count_steps(np.array([0.0, 600.0]), np.array([0.0, 60.0, 61.0]), 5.0)
        128
    """
    if isinstance(ts, Tracer) or isinstance(break_min, Tracer):
        raise ValueError("solution: the times are traced and cannot be counted; give steps=count_steps(...)")
    ts, breaks = np.atleast_2d(np.asarray(ts, np.float64)), np.atleast_2d(np.asarray(break_min, np.float64))
    edges = np.concatenate([np.clip(breaks, None, ts[:, -1:]), np.maximum(ts, breaks[:, :1])], axis=1)
    lengths = np.diff(np.sort(edges, axis=1), axis=1)
    most = np.max(np.sum(np.ceil(lengths / longest_min - _SAME), axis=1))
    return max(_ROOM, -(-(int(most) + 1) // _ROOM) * _ROOM)


def runge_kutta(
    rates: Callable[[Any, Array, Array], Any],
    inputs: Inputs,
    ts: Float[Array, " times"],
    y0: Any,
    *,
    steps: int,
    longest_min: float,
) -> tuple[Any, Bool[Array, ""]]:
    """The classical Runge-Kutta scheme of order 4; one scan, whose steps are laid out before it.

    Between neighbouring times, of those asked for and those at which a rate changes, steps are equal.

    Args:
        rates: of state, insulin (U/min) and carbohydrate (mg/min).
        inputs: insulin and carbohydrate rates.
        ts: times at which to report, min, increasing.
        y0: state at the start.
        steps: how many there is room for.
        longest_min: longest step, min.

    Returns:
        States at `ts`, not a number where there was no room for steps that far; and whether all is finite.

    Source: Hairer, Norsett, Wanner, *Solving Ordinary Differential Equations I*, 1993, section II.1.
    """
    ts, inputs = ts - inputs.start_min, inputs.since_start()
    edges = jnp.sort(jnp.concatenate([jnp.minimum(inputs.break_min, ts[-1]), jnp.maximum(ts, 0.0)]))
    length = jnp.diff(edges)
    pieces = jnp.ceil(length / longest_min - _SAME)
    done = jnp.cumsum(pieces)
    j = jnp.arange(steps)
    at = jnp.minimum(jnp.searchsorted(done, j.astype(done.dtype), side="right"), length.size - 1)
    h = length[at] / jnp.maximum(pieces[at], 1)
    begin = edges[at] + (j - (done[at] - pieces[at])) * h
    h = jnp.where(j < done[-1], h, 0.0)
    # Asked for in the middle of a step: at its ends two rates meet.
    u, r = inputs.at(begin + h / 2)

    def step(y: Any, now: tuple[Array, Array, Array]) -> tuple[Any, Any]:
        y = runge_kutta_step(rates, y, *now)
        return y, y

    _, after = jax.lax.scan(step, y0, (h, u, r))
    taken = jnp.concatenate([jnp.zeros_like(done[:1]), done])[jnp.searchsorted(edges, ts)].astype(int)
    reached = taken <= steps  # no room for the rest: no number rather than a wrong one
    states = jax.tree.map(
        lambda first, later: jnp.where(reached, jnp.concatenate([first[None], later])[taken], jnp.nan), y0, after
    )
    return states, finite(states)


def runge_kutta_step(rates: Callable[[Any, Array, Array], Any], y: Any, h: Array, u: Array, r: Array) -> Any:
    """One classical Runge-Kutta step of order 4 under constant doses.

    Args:
        rates: of state, insulin (U/min) and carbohydrate (mg/min).
        y: the state.
        h: length of the step, min.
        u: insulin, U/min.
        r: carbohydrate, mg/min.
    """
    add = lambda k, share: jax.tree.map(lambda a, b: a + share * h * b, y, k)
    k1 = rates(y, u, r)
    k2 = rates(add(k1, 0.5), u, r)
    k3 = rates(add(k2, 0.5), u, r)
    k4 = rates(add(k3, 1.0), u, r)
    return jax.tree.map(lambda y, a, b, c, d: y + h / 6 * (a + 2 * (b + c) + d), y, k1, k2, k3, k4)


def fastest_rate(body: Any, y: Any) -> Float[Array, ""]:
    """The fastest rate of a body's equations, linearised at a state, 1/min: no step should be long beside it.

    ```
    largest |eigenvalue| of A  <=  |A^16|^(1/16),   A = slopes of the rates by the states, in units of their scales
    ```
    """
    sizes, structure = jax.tree.flatten(body.scales())
    scale = jnp.stack(sizes)
    made = lambda v: structure.unflatten(list(v * scale))
    none = jnp.zeros_like(scale[0])
    rates = lambda v: jnp.stack(jax.tree.leaves(body.rates(made(v), none, none))) / scale
    A = jax.jacfwd(rates)(jnp.stack(jax.tree.leaves(y)) / scale)
    size = jnp.sqrt(jnp.sum(jnp.square(A)))
    power = A / size
    for _ in range(4):
        power = power @ power
    return size * jnp.sum(jnp.square(power)) ** (1 / 32)
