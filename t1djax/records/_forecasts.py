"""Forecasts from many origins of a record, beside what was then read."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float

from .._html import html_table

FutureInputs = Literal["none", "announced", "recorded"]
"""What a forecast knows of insulin and meals after its origin. *none*: the basal rate in force goes on and nothing is
eaten. *announced*: also what a person announces: meals that begin within the announcement, and boluses within 15 min of
them. *recorded*: everything on record, which no live forecast has."""


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

    def after(self, time_min: float) -> "RollingForecasts":
        """The forecasts from origins after a time.

        Args:
            time_min: the time, min on the record's clock.

        Returns:
            New forecasts; these stay as they are.
        """
        keep = self.origin_min > time_min
        return dataclasses.replace(
            self,
            origin_min=self.origin_min[keep],
            mean_mg_dL=self.mean_mg_dL[keep],
            sd_mg_dL=self.sd_mg_dL[keep],
            observed_mg_dL=self.observed_mg_dL[keep],
        )

    def __repr__(self) -> str:
        ahead = ", ".join(f"{horizon:g}" for horizon in self.horizon_min)
        return f"RollingForecasts({self.name}: {self.method}, {len(self.origin_min)} origins, {ahead} min ahead)"

    def _repr_html_(self) -> str:
        rows = []
        for i, horizon in enumerate(self.horizon_min.tolist()):
            error = self.mean_mg_dL[:, i] - self.observed_mg_dL[:, i]
            error = error[np.isfinite(error)]
            rows.append((f"{horizon:g}", len(error), float(np.sqrt(np.mean(error**2))) if len(error) else None))
        return html_table(repr(self), ["ahead, min", "forecasts with a reading", "RMSE, mg/dL"], rows)
