"""Forecasts from many origins of a record, beside what was then read."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float

FutureInputs = Literal["none", "announced", "recorded"]
"""What a forecast knows of insulin and meals after its origin. *none*: the basal rate in force goes on and nothing is
eaten. *announced*: what the record states ahead of time, the basal schedule and what begins within the announcement.
*recorded*: everything on record, which no live forecast has."""


@dataclasses.dataclass(frozen=True, eq=False)
class RollingForecasts:
    """Forecasts of one patient from many origins, at fixed horizons.

    A forecast is of a reading, so its spread has the sensor's noise in it.
    """

    name: str
    """The patient."""
    method: str
    """Who forecast: `stochastic`, `persistence`, `linear`, `ridge`, or a name of the caller's."""
    future_inputs: FutureInputs
    """What it knew of insulin and meals after each origin."""
    origin_min: Float[np.ndarray, " origins"]
    """Times from which it forecasts, min on the record's clock; the readings up to them were seen."""
    horizon_min: Float[np.ndarray, " horizons"]
    """How far ahead, min."""
    mean_mg_dL: Float[np.ndarray, "origins horizons"]
    """Expected readings, mg/dL; NaN where no forecast could be made."""
    sd_mg_dL: Float[np.ndarray, "origins horizons"]
    """Standard deviations of the readings about them, mg/dL; NaN where the method states none."""
    observed_mg_dL: Float[np.ndarray, "origins horizons"]
    """What the sensor then read, mg/dL; NaN where there is no real reading at that time."""
