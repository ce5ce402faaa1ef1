"""What people know of their own body: basal need, and what a unit and a gram do, measured by small experiments."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._inputs import DOSE_DURATION_MIN, MG_PER_G, MIN_PER_H, Inputs
from ._physiology import AbstractPhysiology
from ._steps import count_steps


class Settings(NamedTuple):
    """Answers of one body at rest to a small dose and to a small meal."""

    basal_U_h: Float[Array, ""]
    """The basal rate that holds glucose, U/h; below zero where there is none."""
    fall_per_U: Float[Array, ""]
    """Largest fall of glucose by insulin, mg/dL per U."""
    fall_at_min: Float[Array, ""]
    """When it falls so far, min after the dose."""
    rise_per_g: Float[Array, ""]
    """Largest rise of glucose by carbohydrate, mg/dL per g."""
    g_per_U: Float[Array, ""]
    """Carbohydrate that a unit covers by these two, g/U."""


@functools.partial(jax.jit, static_argnames=("insulin_U", "carbs_g", "within_min", "every_min"))
def settings(
    body: AbstractPhysiology,
    glucose_mg_dL: Float[Array, ""],
    *,
    insulin_U: float = 0.1,
    carbs_g: float = 1.0,
    within_min: float = 480.0,
    every_min: float = 1.0,
) -> Settings:
    """Measure a body from rest: once with some insulin, once with some carbohydrate, each over a minute.

    Pure JAX for one person; compute in float64, since the doses are small. A body with a set point gives part of the
    effect back while it lasts, so that the numbers are smaller than rules of thumb for corrections from high glucose.

    Args:
        body: the person.
        glucose_mg_dL: glucose at rest, mg/dL.
        insulin_U: the dose, U.
        carbs_g: the meal, g.
        within_min: how long one waits for the largest change, min.
        every_min: how often one looks, min.

    Returns:
        The settings.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from t1djax.physics import kanderian, settings
        >>> with jax.enable_x64(True):
        ...     found = settings(kanderian()["1"], jnp.asarray(120.0))
        >>> round(float(found.fall_per_U), 1), round(float(found.rise_per_g), 2)
        (13.7, 1.58)
    """
    y0, basal = body.steady(glucose_mg_dL)
    every, dosed = np.arange(0.0, within_min + every_min / 2, every_min), np.asarray([0.0, DOSE_DURATION_MIN])
    steps = count_steps(every, dosed, body.step_min)
    ts = jnp.asarray(every)
    first = jnp.asarray([1.0, 0.0], ts.dtype) / DOSE_DURATION_MIN

    def answer(U: float, g: float) -> Array:
        inputs = Inputs(jnp.asarray(dosed), basal / MIN_PER_H + U * first, MG_PER_G * g * first)
        return body.solution(inputs, ts, y0, steps=steps).glucose_mg_dL - glucose_mg_dL

    fallen, risen = answer(insulin_U, 0.0), answer(0.0, carbs_g)
    fall, rise = -jnp.min(fallen) / insulin_U, jnp.max(risen) / carbs_g
    return Settings(basal, fall, ts[jnp.argmin(fallen)], rise, fall / rise)
