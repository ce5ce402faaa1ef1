"""What a network of time sees of time: waves, and smooth memories of the doses."""

import dataclasses
import functools
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Key
from ..physics import Inputs, lag_response
from ._surrogates import AbstractFeatures, Window, check_numbers

LONGEST_WINDOW_MIN = 4 * 1440.0
"""Networks of time were found good up to four days and poor from a week on."""


def waves(
    phase: Float[Array, " times"], frequencies: Float[Array, " waves"], amplitudes: Float[Array, " waves"]
) -> Float[Array, "times features"]:
    """`2 phase - 1`, then `a sin(pi f phase)` and `a cos(pi f phase)` for every frequency `f` and amplitude `a`.

    Source: Tancik et al., "Fourier features let networks learn high frequency functions in low dimensional domains",
    NeurIPS 2020.
    """
    angle = jnp.pi * phase[:, None] * frequencies
    columns = [2 * phase[:, None] - 1, amplitudes * jnp.sin(angle), amplitudes * jnp.cos(angle)]
    return jnp.concatenate(columns, axis=1)


@functools.partial(jax.jit, static_argnums=2)
def dose_memories(
    inputs: Inputs, ts: Float[Array, " times"], lags_min: tuple[float, ...]
) -> Float[Array, "times features"]:
    """How insulin, carbohydrate, and what was on board at the start would appear through fixed pairs of lags.

    Insulin and meals are absorbed with kinks where they are given; a sum of smooth waves rings there. These columns
    have the kinks in the right places. They hold no parameter of the patient: the time constants are fixed and
    straddle those of the population.

    Returns:
        Four columns per time constant, not scaled: insulin (U/min), carbohydrate (mg/min), and the two answers of
        a pair of lags to its own start (1).
    """
    T = jnp.asarray(lags_min, ts.dtype)
    insulin = jax.vmap(lambda T: lag_response(inputs, inputs.insulin_U_min, ts, T))(T)
    carbs = jax.vmap(lambda T: lag_response(inputs, inputs.carbs_mg_min, ts, T))(T)
    h = (ts - inputs.start_min) / T[:, None]
    return jnp.concatenate([insulin, carbs, h * jnp.exp(-h), jnp.exp(-h)]).T


def largest(columns: Float[Array, "times features"]) -> Float[Array, " features"]:
    """What to divide columns by so that they reach one at most; one where a column is zero throughout."""
    size = jnp.max(jnp.abs(columns), axis=0)
    return jnp.where(size > 1e-9, size, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeFeatureOptions:
    """Which features of time a network sees.

    Raises:
        ValueError: naming the field that is not valid.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}

    waves: Literal["octaves", "random"] = "octaves"
    """Frequencies: doubling from one half-wave a window, or drawn from a normal distribution."""
    octaves: int = 7
    """How many frequencies; for octaves, `2^0` to `2^(octaves - 1)` half-waves."""
    lags_min: tuple[float, ...] = (40.0, 80.0, 160.0)
    """Fixed time constants of the dose memories, min; none leaves the waves alone."""
    gate_min: float = 60.0
    """Time constant of the gate that opens after the start, min."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.waves not in ("octaves", "random"):
            raise ValueError(f"waves must be octaves or random, not {self.waves!r}")
        if self.octaves < 1 or self.gate_min <= 0 or any(T <= 0 for T in self.lags_min):
            raise ValueError("octaves must be at least 1; gate_min and lags_min must be positive")


class TimeFeatures(AbstractFeatures):
    """Waves of time and memories of the doses, in numbers of about one; nothing of it trains."""

    frequencies: Float[Array, " waves"]
    """Half-waves per window."""
    amplitudes: Float[Array, " waves"]
    """`1/f` (no less than one half-wave): the falling spectrum of a smooth function. With equal ones a random network
    is mostly ripple."""
    memory_scale: Float[Array, " memories"]
    """What the dose memories are divided by."""
    lags_min: tuple[float, ...] = eqx.field(static=True)
    """Time constants of the memories, min."""
    gate_min: float = eqx.field(static=True)
    """Time constant of the gate, min."""

    def __init__(self, options: TimeFeatureOptions, window: Window, ts: Float[Array, " times"], *, key: Key):
        """Features of a window, scaled to at most one over `ts` (min).

        Args:
            options: which features.
            window: the stretch of time and its doses.
            ts: times over which no memory exceeds one, min.
            key: draws the frequencies where they are random.
        """
        n = options.octaves
        if options.waves == "octaves":
            self.frequencies = 2.0 ** jnp.arange(n)
        else:
            self.frequencies = 2.0 ** (n / 2) * jnp.abs(jax.random.normal(key, (n,)))
        self.amplitudes = 1 / jnp.maximum(self.frequencies, 1.0)
        self.memory_scale = largest(dose_memories(window.inputs, ts, options.lags_min))
        self.lags_min = options.lags_min
        self.gate_min = options.gate_min

    @property
    def size(self) -> int:
        """Number of features."""
        return 1 + 2 * self.frequencies.shape[-1] + 4 * len(self.lags_min)

    def __call__(self, window: Window, ts: Float[Array, " times"]) -> Float[Array, "times features"]:
        """The features at `ts` (min).

        Args:
            window: the stretch of time and its doses.
            ts: times, min.

        Returns:
            The features, without unit.
        """
        fixed = jax.lax.stop_gradient(self)
        x = waves((ts - window.start_min) / window.span_min, fixed.frequencies, fixed.amplitudes)
        return jnp.concatenate([x, dose_memories(window.inputs, ts, self.lags_min) / fixed.memory_scale], axis=1)

    def gate(self, window: Window, ts: Float[Array, " times"]) -> Float[Array, " times"]:
        """Zero at the start of the window, then one: `1 - exp(-(t - t0)/gate)`.

        Args:
            window: gives the start.
            ts: times, min.

        Returns:
            The gate, without unit.
        """
        return -jnp.expm1(-(ts - window.start_min) / self.gate_min)
