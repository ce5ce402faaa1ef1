"""Forecasts from any time of a record: warm up on the readings before it, then run free."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .data import Patient
from .records import PatientFit, record_of


class WarmUp(NamedTuple):
    """How the readings before a forecast correct a free rollout.

    Example:
        >>> from t1djax.forecasting import WarmUp
        >>> WarmUp(memory_min=90.0).drift_sd_mg_dL_min
        0.1
    """

    memory_min: float = 40.0
    """Time over which a reading's weight falls to 1/e, min; longer for a model that is nearly right."""
    drift_sd_mg_dL_min: float = 0.1
    """How fast the rollout is believed to drift away from glucose, standard deviation, mg/dL/min; 0 corrects the level
    alone."""
    fade_min: float = 120.0
    """Time constant with which the drift ends, min: about that of what is on board."""
    noise_sd_mg_dL: float = 10.0
    """Noise of a reading, mg/dL."""


class Forecast(NamedTuple):
    """Glucose after an origin, from the readings before it and the doses on record."""

    time_min: Float[np.ndarray, " rows"]
    """Times of the rows after the origin, min."""
    glucose_mg_dL: Float[np.ndarray, " rows"]
    """The forecast, mg/dL."""
    level_mg_dL: float
    """What was added to the free rollout at the origin, mg/dL."""
    drift_mg_dL_min: float
    """How fast that grew there, mg/dL/min."""


def forecast(
    fit: PatientFit, patient: Patient | None = None, *, origin_min: float, warm_up: WarmUp | None = None
) -> Forecast:
    """Forecast from `origin_min` on: the fitted rollout, corrected by the readings up to it.

    A rollout depends on the doses and the parameters alone. Glucose integrates, so an error of the past stays as a
    level, and an error in what is on board shows as a drift that fades with it. Both are fitted to reading less
    rollout, by least squares with weights `exp(-age/memory)`, memory and fade being those of `WarmUp`, and added:

    ```
    G(t) = rollout(t) + level + drift fade (1 - exp(-(t - origin)/fade))
    ```

    Doses after the origin count as announced: the rollout knows them. Parameters know what `fit` has seen; for an
    origin before the forecast part of the record, that includes later readings, unless the record was cut there.

    Args:
        fit: the patient's fit, by any model.
        patient: another record of the patient on the same rows, the one that was fitted if not given; readings after
            the origin are not looked at.
        origin_min: where the forecast begins, min on the record's clock.
        warm_up: how to correct; `WarmUp()` if not given.

    Returns:
        The forecast at the rows of the record after the origin.

    Raises:
        ValueError: where there is no reading up to the origin, or no row after it; where the fit is not of this record.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"])
        >>> fit = t1djax.fit(cohort, model="ode")
        >>> ahead = t1djax.forecast(fit["Pat3"], origin_min=2400.0)
        >>> len(ahead.time_min)
        32
    """
    warm_up = WarmUp() if warm_up is None else warm_up
    patient = record_of(fit, patient)
    if not (min(warm_up.memory_min, warm_up.fade_min, warm_up.noise_sd_mg_dL) > 0 <= warm_up.drift_sd_mg_dL_min):
        raise ValueError(f"{warm_up}: memory_min, fade_min and noise_sd_mg_dL must be positive, the drift not negative")
    before = patient.valid & (patient.time_min <= origin_min)
    after = patient.time_min > origin_min
    if not before.any() or not after.any():
        first, last = patient.time_min[patient.valid][0], patient.time_min[-1]
        raise ValueError(
            f"{patient.name}: origin_min = {origin_min:g} has no reading before it or no row after it; the record has "
            f"readings from {first:g} and rows until {last:g} min"
        )
    age = origin_min - patient.time_min[before]
    miss = patient.glucose_mg_dL[before] - fit.glucose_mg_dL[before]
    # Backwards in time the drift is taken as it is at the origin, without its end.
    columns = np.stack([np.ones_like(age), -age], axis=1)[:, : 2 if warm_up.drift_sd_mg_dL_min > 0 else 1]
    weight = np.exp((age.min() - age) / warm_up.memory_min)  # the newest reading counts whole
    normal = (columns * weight[:, None]).T @ columns
    if warm_up.drift_sd_mg_dL_min > 0:
        normal[1, 1] += (warm_up.noise_sd_mg_dL / warm_up.drift_sd_mg_dL_min) ** 2
    found = np.linalg.solve(normal, (columns * weight[:, None]).T @ miss)
    level, drift = float(found[0]), float(found[1]) if len(found) > 1 else 0.0
    ahead = patient.time_min[after] - origin_min
    added = level - drift * warm_up.fade_min * np.expm1(-ahead / warm_up.fade_min)
    return Forecast(patient.time_min[after], fit.glucose_mg_dL[after] + added, level, drift)
