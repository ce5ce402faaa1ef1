"""Flags of the simulated sensor."""

from collections.abc import Mapping
from typing import Any

from ..config import ConfigError, Experiment


def checked(experiment: Experiment, stated: Mapping[str, Any]) -> Experiment:
    """Refuse a standard deviation that nothing would use: a person who states one expects noise."""
    if "noise_sd_mg_dL" in stated.get("sensor", {}) and experiment.sensor.noise not in ("white", "ar1"):
        raise ConfigError(f"--noise-sd goes with --noise white or ar1, but the noise is {experiment.sensor.noise}")
    return experiment
