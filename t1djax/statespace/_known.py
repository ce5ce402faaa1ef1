"""What is known at an origin, as the columns that a correction of the forecast looks at."""

import numpy as np
from jaxtyping import Float

from ..data import Delivered, Patient, readings_before
from ..records import RollingForecasts

_LAGS_MIN = (15.0, 30.0, 45.0, 60.0, 90.0)
_EDGES_MIN = (-240.0, -120.0, -60.0, -30.0, 0.0)
_CARBS_G = 50.0  # a meal
_DAILY_U = 40.0  # taken for the first day's insulin, until the record shows the person's own
_SPREAD_MG_DL = 30.0
_DAY_MIN = 1440.0


def known_at_origins(forecasts: RollingForecasts, patient: Patient) -> Float[np.ndarray, "origins columns"]:
    """Columns without unit, about one in size; NaN where a reading is missing.

    In order: the reading at the origin; how far readings 15 to 90 min before lie from it; how far the forecasts do, in
    their standard deviations, and the logarithms of those; sums over the four hours before of insulin, as a share of
    what the person has taken a day so far, and of carbohydrate; the time of day, zero where there is no clock.

    What begins at the very minute of the origin is not known yet.
    """
    origins = forecasts.origin_min
    now = readings_before(patient, origins[:, None], origins)
    before = readings_before(patient, origins[:, None] - np.asarray(_LAGS_MIN), origins)
    delivered = Delivered(patient.doses)
    basal, bolus, carbs = np.split(delivered.sums(origins[:, None] + np.asarray(_EDGES_MIN)), 3, axis=1)
    start = float(patient.time_min[0])
    so_far = delivered.sums(np.stack([np.full_like(origins, start), origins], axis=1))[:, :2].sum(axis=1)
    daily = (_DAILY_U + so_far) / (1 + (origins - start) / _DAY_MIN)
    columns = [
        now / 100 - 1.4,
        (before - now) / _SPREAD_MG_DL,
        (forecasts.mean_mg_dL - now) / forecasts.sd_mg_dL,
        np.log(forecasts.sd_mg_dL / _SPREAD_MG_DL),
        10 * (basal + bolus) / daily[:, None],
        carbs / _CARBS_G,
        _time_of_day(patient, origins),
    ]
    return np.concatenate(columns, axis=1)


def _time_of_day(patient: Patient, origins: Float[np.ndarray, " origins"]) -> Float[np.ndarray, "origins 2"]:
    if patient.start is None:
        return np.zeros((len(origins), 2))
    midnight = patient.start.replace(hour=0, minute=0, second=0, microsecond=0)
    angle = 2 * np.pi * (origins + (patient.start - midnight).total_seconds() / 60) / _DAY_MIN
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)
