"""How noisy readings are, from the readings themselves."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._records import Series

_THIRD_DIFFERENCE = 20.0  # variance of y3 - 3 y2 + 3 y1 - y0 for white noise of variance one
_NORMAL_MEDIAN = 0.6745  # median of the absolute value of a standard normal number


def noise_level(data: Series) -> Float[Array, ""]:
    """Standard deviation (mg/dL) of the white noise on the `fit` readings of one patient.

    From third differences of four evenly spaced readings in a row, in which smooth glucose all but vanishes; the median
    keeps meals from counting. Noise that lasts longer than a reading (autocorrelation, calibration) shows in part.
    Zero where there are no four such readings.

    Source: Rice, "Bandwidth choice for nonparametric regression", Ann. Statist. 12, 1984 (noise from differences).
    """
    y, t, seen = data.glucose_mg_dL, data.time_min, data.fit
    third = jnp.abs(jnp.diff(y, n=3))
    together = seen[:-3] & seen[1:-2] & seen[2:-1] & seen[3:]
    even = jnp.max(jnp.abs(jnp.stack([jnp.diff(t, n=2)[:-1], jnp.diff(t, n=2)[1:]])), axis=0) < 1e-3
    usable = together & even
    ordered = jnp.sort(jnp.where(usable, third, jnp.inf))
    count = jnp.sum(usable)
    middle = ordered[jnp.maximum((count - 1) // 2, 0)]
    return jnp.where(count > 0, middle / (_NORMAL_MEDIAN * jnp.sqrt(_THIRD_DIFFERENCE)), 0.0)
