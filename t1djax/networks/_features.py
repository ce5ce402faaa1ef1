"""What a network of time sees of time: Fourier octaves, and smooth memories of the doses."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..physics import Inputs, lag_response


def fourier_octaves(phase: Float[Array, " times"], octaves: int) -> Float[Array, "times features"]:
    """Sines and cosines of octave frequencies, with the slope of `phase` itself, for `phase` in 0..1.

    Columns: `2 phase - 1`, then `2^-k sin(pi 2^k phase)` and `2^-k cos(pi 2^k phase)` for k below `octaves`. The
    falling amplitude is that of a smooth function; with equal ones a random network is mostly ripple.

    Source: Tancik et al., "Fourier features let networks learn high frequency functions in low dimensional domains",
    NeurIPS 2020.
    """
    k = 2.0 ** jnp.arange(octaves)
    angle = jnp.pi * phase[:, None] * k
    return jnp.concatenate([2 * phase[:, None] - 1, jnp.sin(angle) / k, jnp.cos(angle) / k], axis=1)


def dose_memories(
    inputs: Inputs, ts: Float[Array, " times"], lags_min: tuple[float, ...]
) -> Float[Array, "times features"]:
    """How insulin, carbohydrate, and what was on board at the start would appear through fixed pairs of lags.

    Insulin and meals are absorbed with kinks where they are given; a sum of smooth waves rings there. These columns
    have the kinks in the right places. They hold no parameter of the patient: the time constants are fixed and
    straddle those of the population.

    Args:
        inputs: the doses.
        ts: times, min.
        lags_min: time constants, min.

    Returns:
        Four columns per time constant, not scaled: insulin (U/min), carbohydrate (mg/min), and the two answers of
        a pair of lags to its own start (1).
    """
    T = jnp.asarray(lags_min, ts.dtype)
    insulin = jax.vmap(lambda T: lag_response(inputs, inputs.insulin_U_min, ts, T))(T)
    carbs = jax.vmap(lambda T: lag_response(inputs, inputs.carbs_mg_min, ts, T))(T)
    h = (ts - inputs.start_min) / T[:, None]
    return jnp.concatenate([insulin, carbs, h * jnp.exp(-h), jnp.exp(-h)]).T
