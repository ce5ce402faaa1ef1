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
    first: str = eqx.field(static=True)
    """The state that is glucose."""
    insulin_states: tuple[str, ...] = eqx.field(static=True)
    """Those that insulin alone drives."""

    def rates(self, y: Any, insulin_U_min: Any, carbs_mg_min: Any) -> Any:
        """The equations above."""
        dy = self.unit.body.rates(y, self.insulin * insulin_U_min, self.food * carbs_mg_min)
        more = self.drift_mg_dL_min - self.reversion_per_min * (self.glucose(y) - self.level_mg_dL)
        risen = getattr(dy, self.first) - self.unit.rise + more / self.unit.size
        return eqx.tree_at(lambda dy: getattr(dy, self.first), dy, risen)

    def glucose(self, y: Any) -> Float[Array, "*shape"]:
        """Glucose, mg/dL."""
        return self.unit.body.glucose(y)

    def steady(self, glucose_mg_dL: Float[Array, ""]) -> tuple[Any, Float[Array, ""]]:
        """State and basal rate (U/h) at which this glucose stands still, by Newton's method."""

        def state(basal_U_min: Array) -> Any:
            y = self.unit.body.start(glucose_mg_dL, self.insulin * basal_U_min)
            full = self.insulin * basal_U_min * self.unit.full[INSULIN]
            lags = lambda y: [getattr(y, name) for name in self.insulin_states]
            return eqx.tree_at(lags, y, [full[i] for i in range(len(self.insulin_states))])

        left = lambda u: getattr(self.rates(state(u), u, 0.0), self.first)
        newton = lambda _, u: u - left(u) / jax.grad(left)(u)
        basal = jax.lax.fori_loop(0, _NEWTON, newton, jnp.zeros_like(glucose_mg_dL))
        return state(basal), 60 * basal

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
        form.pools[0],
        facts.insulin_states,
    )
