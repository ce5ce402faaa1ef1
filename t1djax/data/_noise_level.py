"""How noisy readings are, from the readings themselves."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._records import Series

TYPICAL_NOISE_MG_DL = 10.0
"""Of a continuous glucose monitor, mg/dL: taken where the readings are too sparse to tell."""
_LONGEST_MIN = 180.0  # over longer times glucose itself bends
_NORMAL_MEDIAN = 0.6745  # median of the absolute value of a standard normal number


def noise_level(data: Series) -> Float[Array, ""]:
    """Standard deviation (mg/dL) of the white noise on the `fit` readings of one patient.

    From third divided differences of four readings in a row within three hours, in which smooth glucose all but
    vanishes; the median keeps meals from counting. Noise that lasts longer than a reading (autocorrelation,
    calibration) shows in part. 10 mg/dL, as of a sensor, where there are no four such readings.

    Args:
        data: the arrays of one patient; only rows of its `fit` mask count.

    Returns:
        The standard deviation, mg/dL.

    Source: Rice, "Bandwidth choice for nonparametric regression", Ann. Statist. 12, 1984 (noise from differences).
    """
    # Fitted readings first, in their order; rows without one do not stand between them.
    order = jnp.argsort(~data.fit, stable=True)
    four = lambda x: jnp.stack([x[order][i : len(order) - 3 + i] for i in range(4)])
    y, t, seen = four(data.glucose_mg_dL), four(data.time_min), jnp.all(four(data.fit), axis=0)
    usable = seen & (t[3] - t[0] <= _LONGEST_MIN) & jnp.all(jnp.diff(t, axis=0) > 0, axis=0)
    apart = t[:, None] - t[None]
    apart = jnp.where(usable & (jnp.abs(apart) > 0), apart, 1.0)  # of itself, or of no use: one
    # Weights of the third divided difference, of norm one: the noise of the sum is that of a reading, for any spacing.
    weights = 1 / jnp.prod(apart, axis=1)
    third = jnp.abs(jnp.sum(weights * y, axis=0)) / jnp.linalg.norm(weights, axis=0)
    ordered = jnp.sort(jnp.where(usable, third, jnp.inf))
    count = jnp.sum(usable)
    middle = ordered[jnp.maximum((count - 1) // 2, 0)]
    return jnp.where(count > 0, middle / _NORMAL_MEDIAN, TYPICAL_NOISE_MG_DL)
