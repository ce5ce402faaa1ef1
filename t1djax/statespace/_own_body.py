"""A fitted person as a body of its own: rests, and answers doses, as the stochastic model has it without its noise."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..physics import AbstractPhysiology
from ._body import FOOD, INSULIN, Unit, unit_of
from ._hyper import Form
from ._person import Person

_NEWTON = 20
_AT_REST = 1e-7  # of the typical size of a state, per minute


class OwnBody(AbstractPhysiology):
    """The body of the form with a person's effects of insulin and food, drift and reversion.

    ```
    y' = f(y, p1/gross u, q/gross r),   and of glucose   + c - f(level, nothing) - k (G - level)
    ```
    """

    unit: Unit
    """The body under the person's constants."""
    insulin: Float[Array, ""]
    """What a unit counts in it."""
    food: Float[Array, ""]
    """What a gram counts in it."""
    drift_mg_dL_min: Float[Array, ""]
    """Rise of glucose at the level without insulin."""
    reversion_per_min: Float[Array, ""]
    """`k`, 1/min."""
    level_mg_dL: Float[Array, ""]
    """The level, mg/dL."""
    pools: tuple[str, ...] = eqx.field(static=True)
    """States that the doses alone do not drive: glucose first."""
    insulin_states: tuple[str, ...] = eqx.field(static=True)
    """Those that insulin alone drives."""

    def rates(self, y: Any, insulin_U_min: Any, carbs_mg_min: Any) -> Any:
        """The equations above."""
        dy = self.unit.body.rates(y, self.insulin * insulin_U_min, self.food * carbs_mg_min)
        more = self.drift_mg_dL_min - self.reversion_per_min * (self.glucose(y) - self.level_mg_dL)
        first = self.pools[0]
        risen = getattr(dy, first) - self.unit.rise + more / self.unit.size
        return eqx.tree_at(lambda dy: getattr(dy, first), dy, risen)

    def glucose(self, y: Any) -> Float[Array, "*shape"]:
        """Glucose, mg/dL."""
        return self.unit.body.glucose(y)

    def steady(self, glucose_mg_dL: Float[Array, ""]) -> tuple[Any, Float[Array, ""]]:
        """State and basal rate (U/h) at which this glucose stands still, by Newton's method; minus infinity where there
        is none."""
        unit, (first, *others) = self.unit, self.pools
        raised = getattr(unit.base, first) + (glucose_mg_dL - self.level_mg_dL) / unit.size
        places = lambda y: [getattr(y, name) for name in (first, *self.insulin_states, *others)]
        sizes = jnp.stack([getattr(self.scales(), name) for name in self.pools])

        def state(v: Array) -> Any:
            """Under a basal rate (U/min), and the other pools in their sizes."""
            full = self.insulin * v[0] * unit.full[INSULIN]
            lags = [full[i] for i in range(len(self.insulin_states))]
            return eqx.tree_at(places, unit.base, [raised, *lags, *(v[1:] * sizes[1:])])

        def left(v: Array) -> Array:
            dy = self.rates(state(v), v[0], 0.0)
            return jnp.stack([getattr(dy, name) for name in self.pools]) / sizes

        newton = lambda _, v: v - jnp.linalg.solve(jax.jacfwd(left)(v), left(v))
        pools = [getattr(unit.base, name) for name in others]
        v = jax.lax.fori_loop(0, _NEWTON, newton, jnp.stack([jnp.zeros_like(raised), *pools]) / sizes.at[0].set(1.0))
        at_rest = jnp.max(jnp.abs(left(v))) < _AT_REST
        return state(v), 60 * jnp.where(at_rest, v[0], -jnp.inf)

    def scales(self) -> Any:
        """Typical sizes of the states."""
        return self.unit.body.scales()


def own_body(
    h: Mapping[str, Array], person: Person, form: Form, *, p1: Array, q: Array, drift_mg_dL_min: Array
) -> OwnBody:
    """The body of a person under constants `h`, and effects in mg/dL per unit and gram."""
    unit = unit_of(h, person.level_mg_dL, form)
    facts = form.physiology.facts
    back = h.get("k", jnp.zeros_like(p1))
    return OwnBody(
        unit,
        p1 / unit.gross[INSULIN],
        q / unit.gross[FOOD],
        drift_mg_dL_min,
        back,
        person.level_mg_dL,
        form.pools,
        facts.insulin_states,
    )
