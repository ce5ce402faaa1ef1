"""Flags of the simulated sensor."""

from typing import Any

from ..config import ConfigError, Experiment


def sensor(
    noise: str | None, sd: float | None, interval_min: float | None, dropout: float | None, censor: bool | None
) -> dict[str, Any]:
    return {
        "noise": noise,
        "noise_sd_mg_dL": sd,
        "interval_min": interval_min,
        "dropout": dropout,
        "censor": censor,
    }


def checked(experiment: Experiment, noise_sd: float | None) -> Experiment:
    """Refuse a standard deviation that nothing would use: a person who states one expects noise."""
    if noise_sd is not None and experiment.sensor.noise not in ("white", "ar1"):
        raise ConfigError(f"--noise-sd goes with --noise white or ar1, but the noise is {experiment.sensor.noise}")
    return experiment
