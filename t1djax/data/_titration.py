"""What doses do to a body in the end, by its equations linearised at rest: what a therapy is titrated to."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..physics import AbstractPhysiology, state_units

_LEAK = 1e-9  # 1/min: glucose that nothing brings back is let go, so slowly that it does not show


class Titration(NamedTuple):
    """One person's body at rest, and what it makes of insulin and food.

    With `A` the slopes of the rates by the states at rest, what a state's excess adds to glucose, as much later as it
    takes and if glucose itself did not answer, is `w = l A^-1 / (l A^-1 e)`: `l` reads glucose, `e` adds to it.
    """

    rest: Any
    """The state at rest."""
    basal_U_h: Array
    """The basal rate that holds it, U/h."""
    gains: Any
    """What a unit of each state adds to glucose in the end, mg/dL."""
    per_U: Array
    """What a unit of insulin takes from glucose in the end, mg/dL."""
    per_g: Array
    """What a gram of carbohydrate adds, mg/dL."""
    insulin_min: Array
    """Mean time until a unit has acted, min."""
    meal_min: Array
    """Mean time until a gram has arrived, min."""

    def on_board(self, body: AbstractPhysiology, y: Any) -> tuple[Array, Array]:
        """What food and insulin on board will add to glucose and take from it, beyond rest, mg/dL."""
        left = jax.tree.map(lambda gain, now, rest: gain * (now - rest), self.gains, y, self.rest)
        total = lambda names: sum((getattr(left, name) for name in names), jnp.zeros_like(self.per_U))
        return total(body.facts.meal_states), -total(body.facts.insulin_states)

    def slope(self, body: AbstractPhysiology, y: Any) -> Array:
        """How glucose moves under the basal rate and without more food, mg/dL/min."""
        rates = body.rates(y, self.basal_U_h / 60, jnp.zeros_like(self.basal_U_h))
        return jax.jvp(body.glucose, (y,), (rates,))[1]


def titrate(body: AbstractPhysiology, glucose_mg_dL: Array) -> Titration:
    """Linearise a body at rest. Pure JAX for one person; compute in float64.

    Raises:
        ValueError: where the physiology does not say which states follow insulin and food.
    """
    if not (body.facts.insulin_states and body.facts.meal_states):
        name = type(body).__name__
        raise ValueError(f"{name}: a therapy is titrated to the states that `facts` say follow insulin and food alone")
    y, basal = body.steady(glucose_mg_dL)
    names = list(state_units(body.States))
    vector = lambda y: jnp.stack([getattr(y, name) for name in names])
    sizes = vector(body.scales())
    made = lambda v: body.States(**dict(zip(names, v * sizes, strict=True)))

    def rates(v: Array, u: Array, r: Array) -> Array:
        return vector(body.rates(made(v), u, r)) / sizes

    zero = jnp.zeros_like(basal)
    A, per_u, per_r = jax.jacfwd(rates, (0, 1, 2))(vector(y) / sizes, basal / 60, zero)
    reads = jax.grad(lambda v: body.glucose(made(v)))(vector(y) / sizes)
    w = jnp.linalg.solve(_LEAK * jnp.eye(len(names)) - A.T, reads)
    w = w / (w @ reads / (reads @ reads))

    def mean_time(states: Sequence[str], dose: Array) -> Array:
        at = np.flatnonzero(np.isin(names, states))
        mine, entered = w[at], dose[at]
        return -mine @ jnp.linalg.solve(A[np.ix_(at, at)], entered) / (mine @ entered)

    return Titration(
        rest=y,
        basal_U_h=basal,
        gains=body.States(**dict(zip(names, w / sizes, strict=True))),
        per_U=-w @ per_u,
        per_g=1000 * (w @ per_r),
        insulin_min=mean_time(body.facts.insulin_states, per_u),
        meal_min=mean_time(body.facts.meal_states, per_r),
    )
