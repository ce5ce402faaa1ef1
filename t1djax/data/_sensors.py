"""What a glucose sensor makes of true glucose: error, interval, lost readings, and the range it can report."""

import abc
from collections.abc import Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Key

LOWEST_READING = 40.0
"""A censoring device reports lower glucose as this, mg/dL."""
HIGHEST_READING = 400.0
"""A censoring device reports higher glucose as this, mg/dL."""


class AbstractNoise(eqx.Module):
    """A model of sensor error. `sample` is pure JAX for one patient; `vmap` it for a cohort."""

    @abc.abstractmethod
    def sample(self, key: Key, glucose_mg_dL: Float[Array, " times"], *, interval_min: float) -> Float[Array, " times"]:
        """Readings of the true glucose.

        Args:
            key: random key.
            glucose_mg_dL: true glucose on a regular grid, mg/dL.
            interval_min: step of that grid, min.

        Returns:
            Readings at the same times, mg/dL, neither censored nor lost.
        """


class NoNoise(AbstractNoise):
    """A perfect sensor."""

    def sample(self, key: Key, glucose_mg_dL: Float[Array, " times"], *, interval_min: float) -> Float[Array, " times"]:
        """The glucose itself."""
        return glucose_mg_dL


class WhiteNoise(AbstractNoise):
    """Independent normal errors.

    Raises:
        ValueError: where the standard deviation is negative or not finite.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from t1djax import WhiteNoise
        >>> WhiteNoise(10.0).sample(jax.random.key(0), jnp.full(100, 120.0), interval_min=5).shape
        (100,)
    """

    sd_mg_dL: float
    """Standard deviation, mg/dL."""

    def __check_init__(self) -> None:
        _check_sd(self.sd_mg_dL)

    def sample(self, key: Key, glucose_mg_dL: Float[Array, " times"], *, interval_min: float) -> Float[Array, " times"]:
        """Glucose plus white noise."""
        return glucose_mg_dL + self.sd_mg_dL * jax.random.normal(key, glucose_mg_dL.shape, glucose_mg_dL.dtype)


class AR1Noise(AbstractNoise):
    """Autocorrelated errors, AR(1): `e[n] = rho e[n-1] + sqrt(1 - rho^2) sd v[n]`, `v` standard normal.

    The first error has the stationary distribution, so `sd_mg_dL` is the standard deviation at every sample.
    `rho` is per sample, whatever the interval: at a longer interval the same `rho` is a longer memory in minutes.

    Raises:
        ValueError: where a standard deviation is negative, or `rho` is not between -1 and 1.
    """

    sd_mg_dL: float
    """Marginal standard deviation, mg/dL."""
    rho: float = 0.7
    """Correlation of neighbouring samples, in (-1, 1)."""

    def __check_init__(self) -> None:
        _check_sd(self.sd_mg_dL)
        if isinstance(self.rho, float | int) and not -1 < self.rho < 1:
            raise ValueError(f"AR1Noise: rho is {self.rho}; it is a correlation between -1 and 1, both excluded")

    def sample(self, key: Key, glucose_mg_dL: Float[Array, " times"], *, interval_min: float) -> Float[Array, " times"]:
        """Glucose plus autoregressive noise; `rho` is per reading, whatever their interval."""
        return glucose_mg_dL + self.sd_mg_dL * _unit_ar1(key, glucose_mg_dL, self.rho)


class BretonKovatchevNoise(AbstractNoise):
    """The published error of a FreeStyle Navigator, found against reference blood glucose drawn every 15 min.

    ```
    e[n] = 0.7 (e[n-1] + v[n])                          v standard normal, one n per 15 min
    error = xi + lambda sinh((e - gamma) / delta)       a Johnson SU distribution
    lambda = 15.96, xi = -5.471, gamma = -0.5444, delta = 1.6898
    ```

    The errors have a mean of 0.7 mg/dL, a standard deviation of 11 mg/dL, and heavy tails to the right. Two
    things differ from the paper. `e` starts from its stationary distribution rather than with variance 1.
    At an interval other than 15 min, `e` has the correlation `0.7^(interval / 15)` and the same variance, so that
    the distribution of the errors and their correlation over 15 min are the published ones at any interval.
    The error is that of a calibrated sensor aligned in time with blood: the delay of interstitial glucose, which
    the paper models apart, is not in it.

    Source: Breton and Kovatchev, "Analysis, modeling, and simulation of the accuracy of continuous glucose
    sensors", J. Diabetes Sci. Technol. 2(5):853-862, 2008 (PMC2740661), sensor noise and its Johnson parameters.
    """

    def sample(self, key: Key, glucose_mg_dL: Float[Array, " times"], *, interval_min: float) -> Float[Array, " times"]:
        """Glucose plus the published error."""
        sd = _BK_RHO / (1 - _BK_RHO**2) ** 0.5
        e = sd * _unit_ar1(key, glucose_mg_dL, _BK_RHO ** (interval_min / _BK_INTERVAL_MIN))
        return glucose_mg_dL + _BK_XI + _BK_LAMBDA * jnp.sinh((e - _BK_GAMMA) / _BK_DELTA)


_BK_RHO = 0.7
_BK_INTERVAL_MIN = 15.0
_BK_LAMBDA, _BK_XI, _BK_GAMMA, _BK_DELTA = 15.96, -5.471, -0.5444, 1.6898


class RandomGaps(eqx.Module):
    """Gaps in the record at times drawn from the key: a sensor change, a lost signal.

    Raises:
        ValueError: where a number or a length is negative.
    """

    number: int
    """How many gaps; they may overlap."""
    length_min: float
    """Length of each, min."""

    def __check_init__(self) -> None:
        if self.number < 0 or self.length_min < 0:
            raise ValueError(f"RandomGaps: {self.number} gaps of {self.length_min} min; neither can be negative")


class Sensor(eqx.Module):
    """A device: its error, how often it reads, what it loses, and the range that it reports.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from t1djax import AR1Noise, RandomGaps, Sensor
        >>> sensor = Sensor(AR1Noise(8.0), interval_min=5, dropout=0.05, gaps=RandomGaps(1, 120), censor=True)
        >>> readings = sensor.sample(jax.random.key(0), jnp.full(289, 120.0))
        >>> bool(jnp.isnan(readings).any())
        True

    Raises:
        ValueError: naming the field, where the interval is not positive, the dropout is not a share below 1, or a
            gap has a negative length.
    """

    noise: AbstractNoise
    """The model of the error."""
    interval_min: float
    """Time between readings, min."""
    dropout: float
    """Share of the readings lost at random, each on its own."""
    gaps: tuple[tuple[float, float], ...] | RandomGaps
    """Times without readings: `(start_min, length_min)` counted from the first reading, or drawn at random."""
    censor: bool
    """Whether readings below 40 are reported as 40 and those above 400 as 400 mg/dL, as devices do."""

    def __init__(
        self,
        noise: AbstractNoise | None = None,
        *,
        interval_min: float = 5.0,
        dropout: float = 0.0,
        gaps: Iterable[tuple[float, float]] | RandomGaps = (),
        censor: bool = False,
    ) -> None:
        """A sensor; without arguments, a perfect one that reads every 5 min.

        Args:
            noise: the model of the error; none if not given.
            interval_min: time between readings, min.
            dropout: share of the readings lost at random, from 0 to below 1.
            gaps: times without readings, `(start_min, length_min)` from the first reading, or `RandomGaps`.
            censor: whether readings are kept within 40 to 400 mg/dL, as devices do.
        """
        self.noise = NoNoise() if noise is None else noise
        self.interval_min = float(interval_min)
        self.dropout = float(dropout)
        self.gaps = gaps if isinstance(gaps, RandomGaps) else tuple((float(t), float(dt)) for t, dt in gaps)
        self.censor = censor

    def __check_init__(self) -> None:
        if not 0 < self.interval_min < float("inf"):
            raise ValueError(f"Sensor: interval_min is {self.interval_min}; it must be a positive number of minutes")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Sensor: dropout is {self.dropout}; it is a share of the readings, from 0 to below 1")
        if not isinstance(self.gaps, RandomGaps) and any(length < 0 for _, length in self.gaps):
            raise ValueError("Sensor: gaps has a negative length; state (start_min, length_min)")

    @property
    def noisy(self) -> bool:
        """Whether a reading may differ from the true glucose within the reported range."""
        return not isinstance(self.noise, NoNoise)

    @property
    def random(self) -> bool:
        """Whether the readings depend on a key."""
        return self.noisy or self.dropout > 0 or (isinstance(self.gaps, RandomGaps) and self.gaps.number > 0)

    def sample(self, key: Key, glucose_mg_dL: Float[Array, " times"]) -> Float[Array, " times"]:
        """Readings of true glucose (mg/dL) on the grid of `interval_min`; NaN where a reading is lost.

        Noise, dropout and gaps draw from keys of their own: a change of one leaves the others as they were.

        Args:
            key: draws noise, losses and gaps.
            glucose_mg_dL: true glucose on the grid, mg/dL.

        Returns:
            The readings, mg/dL; NaN where one is lost.
        """
        noise_key, dropout_key, gap_key = jax.random.split(key, 3)
        readings = self.noise.sample(noise_key, glucose_mg_dL, interval_min=self.interval_min)
        if self.censor:
            readings = jnp.clip(readings, LOWEST_READING, HIGHEST_READING)
        t = self.interval_min * jnp.arange(glucose_mg_dL.shape[0], dtype=glucose_mg_dL.dtype)
        lost = jax.random.uniform(dropout_key, t.shape, t.dtype) < self.dropout
        if isinstance(self.gaps, RandomGaps):
            latest = jnp.maximum(t[-1] - self.gaps.length_min, 0)
            begin = latest * jax.random.uniform(gap_key, (self.gaps.number,), t.dtype)
            gaps = [(begin[i], self.gaps.length_min) for i in range(self.gaps.number)]
        else:
            gaps = self.gaps
        for start, length in gaps:
            lost = lost | ((t >= start) & (t < start + length))
        return jnp.where(lost, jnp.nan, readings)


def _unit_ar1(key: Key, like: Float[Array, " times"], rho: float) -> Array:
    """A stationary autoregressive series with variance one."""
    v = jax.random.normal(key, like.shape, like.dtype)
    scale = (1 - rho**2) ** 0.5

    def step(e: Array, v: Array) -> tuple[Array, Array]:
        e = rho * e + scale * v
        return e, e

    _, later = jax.lax.scan(step, v[0], v[1:])
    return jnp.concatenate([v[:1], later])


def _check_sd(sd_mg_dL: float) -> None:
    if isinstance(sd_mg_dL, float | int) and not 0 <= sd_mg_dL < float("inf"):
        raise ValueError(f"sensor noise: sd_mg_dL is {sd_mg_dL}; a standard deviation is zero or more")
