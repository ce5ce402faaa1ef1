"""A window cut into cells: what the doses give each of them, and the states that the doses alone drive."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._inputs import MG_PER_G, Inputs

_TERMS = 12  # of the exponential's series: exact to rounding for steps short beside every time constant


class Cells(eqx.Module):
    """Stretches of a window of one length, each with the doses that fall into it, whole."""

    edges_min: Float[Array, " edges"]
    """Edges of the cells, min, evenly from the start of the window to its end."""
    insulin_U_min: Float[Array, "cells parts"]
    """Mean insulin rate of each part of a cell, U/min."""
    carbs_mg_min: Float[Array, "cells parts"]
    """Mean carbohydrate rate of each part, mg/min."""
    inputs: Inputs
    """The rates themselves."""

    @property
    def part_min(self) -> Float[Array, ""]:
        """Length of a part, min."""
        return (self.edges_min[1] - self.edges_min[0]) / self.insulin_U_min.shape[1]


def cut(inputs: Inputs, end_min: Float[Array, ""], cells: int, parts: int) -> Cells:
    """Cut the window of some inputs, which begin with it, into equal cells.

    A part of a cell has the doses' mean rate: no dose is lost, and where none is shorter than a part each keeps its
    mean time.
    """
    span = end_min - inputs.start_min
    insulin, carbs = inputs.delivered(inputs.start_min + span * jnp.linspace(0.0, 1.0, cells * parts + 1))
    rate = lambda total: (jnp.diff(total) / (span / (cells * parts))).reshape(cells, parts)
    edges = inputs.start_min + span * jnp.linspace(0.0, 1.0, cells + 1)
    return Cells(edges, rate(insulin), MG_PER_G * rate(carbs), inputs)


def driven_states(rates: Callable[[Any, Any, Any], Any], names: Sequence[str], cells: Cells, y0: Any) -> Any:
    """States that the doses alone drive, linearly and with constant coefficients, exactly at the start of each cell.

    ```
    d' = A d + B (u, r, 1),   d(t + h) = exp(A h) d + integral of exp(A s) ds B (u, r, 1)
    ```

    Rates are of state, insulin (U/min) and carbohydrate (mg/min). States not in `names` stay as in `y0`.
    """
    pick = lambda y: [getattr(y, name) for name in names]
    if not names:
        return jax.tree.map(lambda x: jnp.broadcast_to(x, cells.insulin_U_min.shape[:1]), y0)

    def slope(d: Array, given: Array) -> Array:
        return jnp.stack(pick(rates(eqx.tree_at(pick, y0, list(d)), given[0], given[1])))

    d0 = jnp.stack(pick(y0))
    n, nothing, none = len(names), jnp.zeros_like(d0), jnp.zeros(2, d0.dtype)
    A, B = jax.jacfwd(slope, (0, 1))(nothing, none)
    system = jnp.concatenate([A, B, slope(nothing, none)[:, None]], axis=1) * cells.part_min
    system = jnp.concatenate([system, jnp.zeros((3, n + 3), system.dtype)])
    one = jnp.eye(n + 3, dtype=system.dtype)

    # Loops are compiled once where they stand: these programs take longer to compile than to run.
    def add(carry: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], None]:
        step, term = carry
        term = term @ system / i
        return (step + term, term), None

    (step, _), _ = jax.lax.scan(add, (one, one), jnp.arange(1, _TERMS + 1, dtype=system.dtype))
    decay, push = step[:n, :n], step[:n, n:]
    given = jnp.stack([cells.insulin_U_min, cells.carbs_mg_min, jnp.ones_like(cells.carbs_mg_min)], axis=-1)
    moved = given @ push.T
    join = lambda carry, more: ((carry[0] @ decay, carry[1] @ decay.T + more), None)
    (over, gain), _ = jax.lax.scan(join, (decay, moved[:, 0]), jnp.moveaxis(moved[:, 1:], 1, 0))
    _, at = jax.lax.scan(lambda d, gain: (over @ d + gain, d), d0, gain)
    like = jax.tree.map(lambda x: jnp.broadcast_to(x, at.shape[:1]), y0)
    return eqx.tree_at(pick, like, [at[:, i] for i in range(n)])


def over_cell(
    rates: Callable[[Any, Any, Any], Any], y: Any, insulin_U_min: Array, carbs_mg_min: Array, part_min: Array
) -> Any:
    """The state at the end of a cell from that at its start: a step of order 4 for each part."""
    add = lambda y, k, share: jax.tree.map(lambda a, b: a + share * part_min * b, y, k)
    dtype, parts = insulin_U_min.dtype, insulin_U_min.shape[0]
    shares = jnp.asarray([0.0, 0.5, 0.5, 1.0], dtype), jnp.asarray([1 / 6, 1 / 3, 1 / 3, 1 / 6], dtype)
    each = (*(jnp.tile(x, parts) for x in (*shares, jnp.arange(4) == 3)), jnp.repeat(insulin_U_min, 4))

    # One stage at a time, so that the equations are compiled once.
    def stage(carry: tuple[Any, Any, Any], now: tuple[Array, ...]) -> tuple[tuple[Any, Any, Any], None]:
        (y, k, end), (ahead, weight, last, u, r) = carry, now
        k = rates(add(y, k, ahead), u, r)
        end = add(end, k, weight)
        return (jax.tree.map(lambda a, b: jnp.where(last, b, a), y, end), k, end), None

    still = jax.tree.map(jnp.zeros_like, y)
    return jax.lax.scan(stage, (y, still, y), (*each, jnp.repeat(carbs_mg_min, 4)))[0][0]
