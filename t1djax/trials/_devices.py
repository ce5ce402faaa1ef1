"""What stands between a body and its controller: a sensor, and a pump."""

import equinox as eqx
import jax
import jax.numpy as jnp

from .._arguments import ArgumentError
from .._types import Scalar
from ..data import STEP_MIN


class CGM(eqx.Module):
    """A sensor read every 5 min: interstitial glucose lags, errors are autocorrelated, some readings are lost."""

    noise_sd_mg_dL: float | Scalar = 10.0
    """Standard deviation of the error, mg/dL."""
    noise_rho: float | Scalar = 0.7
    """Correlation of the error from one reading to the next."""
    lag_min: float | Scalar = 7.0
    """Time constant of interstitial glucose, min; zero for none."""
    dropout: float | Scalar = 0.02
    """Share of the readings lost, each on its own; the one before stays, and its age grows."""
    lowest_mg_dL: float | Scalar = 40.0
    """What lower readings are reported as, mg/dL."""
    highest_mg_dL: float | Scalar = 400.0
    """What higher readings are reported as, mg/dL."""

    def follow(self, interstitial_mg_dL: Scalar, glucose_mg_dL: Scalar, minutes: float) -> Scalar:
        """Interstitial glucose some minutes on, with that of blood held."""
        kept = jnp.where(self.lag_min > 0, jnp.exp(-minutes / jnp.maximum(self.lag_min, 1e-6)), 0.0)
        return glucose_mg_dL + kept * (interstitial_mg_dL - glucose_mg_dL)


class Pump(eqx.Module):
    """A pump: what it can meter, what it never exceeds, and how often its way is blocked."""

    basal_step_U_h: float | Scalar = 0.05
    """Resolution of basal rates, U/h; zero for none."""
    bolus_step_U: float | Scalar = 0.05
    """Resolution of boluses, U; zero for none."""
    largest_rate_U_h: float | Scalar = 15.0
    """Highest basal rate, U/h."""
    largest_bolus_U: float | Scalar = 25.0
    """Largest bolus, U."""
    occlusions_per_day: float | Scalar = 0.0
    """How often an occlusion begins; nothing is delivered until it ends."""
    occlusion_min: float | Scalar = 180.0
    """How long it lasts, min."""
    delay_min: int = eqx.field(default=0, static=True)
    """Time from a decision until the pump carries it out, min: a multiple of 5."""

    def __check_init__(self) -> None:
        if self.delay_min < 0 or self.delay_min % STEP_MIN:
            raise ArgumentError("delay_min", f"is {self.delay_min}; give a multiple of {STEP_MIN} min")

    def metered(self, basal_U_h: Scalar, bolus_U: Scalar) -> tuple[Scalar, Scalar]:
        """What is delivered of what is asked for; gradients pass as if nothing were rounded."""
        rate = _rounded(jnp.clip(basal_U_h, 0.0, self.largest_rate_U_h), self.basal_step_U_h)
        return rate, _rounded(jnp.clip(bolus_U, 0.0, self.largest_bolus_U), self.bolus_step_U)


def _rounded(x: Scalar, step: float | Scalar) -> Scalar:
    down = jnp.where(step > 0, jnp.floor(x / jnp.maximum(step, 1e-9) + 1e-6) * step, x)
    return x + jax.lax.stop_gradient(down - x)
