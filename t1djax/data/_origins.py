"""Where forecasts of a record begin, and the readings that judge them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ._records import Patient

HORIZONS_MIN = (15.0, 30.0, 60.0, 120.0, 240.0)
"""How far ahead forecasts are made and scored, min, unless one says otherwise."""
TRAINING_SHARE = 0.7
"""Share of the span from the first to the last reading from which forecasters may learn; the rest is forecast."""
TOLERANCE_MIN = 2.5
"""A reading counts as one at a stated time when it is at most so far from it, min: half the step of most sensors."""


def training_end(patient: Patient, *, share: float = TRAINING_SHARE) -> float:
    """Time until which forecasters may learn from a record, min: `t0 + share (t_end - t0)` of its readings.

    Args:
        patient: the record; only valid readings count.
        share: part of the record's length that is learnt from, above 0 and below 1.

    Returns:
        The time, min on the record's clock.

    Raises:
        ValueError: where the share does not lie between 0 and 1.

    Example:
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=5, names=["Pat2"])["Pat2"]
        >>> round(t1djax.data.training_end(patient))
        2016
    """
    if not 0 < share < 1:
        raise ValueError(f"training_end: share is {share!r}; give a number between 0 and 1")
    seen = patient.time_min[patient.valid]
    return float(seen[0] + share * (seen[-1] - seen[0]))


def rolling_origins(
    patient: Patient, *, after_min: float | None = None, every_min: float | None = None
) -> Float[np.ndarray, " origins"]:
    """Times of the real readings from which a record is forecast, min.

    An origin is a reading, never a row between two. A file whose rows someone interpolated must be read without
    them, as `read_hupa` does.

    Args:
        patient: the record.
        after_min: origins come after this time, min; left out, after `training_end`.
        every_min: least distance between two origins, min; left out, every reading is one.

    Returns:
        The origins in order, min; none where there is no reading after that time.

    Raises:
        ValueError: where `every_min` is not positive.

    Example:
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=5, names=["Pat2"])["Pat2"]
        >>> t1djax.data.rolling_origins(patient, every_min=240.0).tolist()
        [2020.0, 2260.0, 2500.0, 2740.0]
    """
    if every_min is not None and not every_min > 0:
        raise ValueError(f"rolling_origins: every_min is {every_min!r}; give a time of more than zero")
    after = training_end(patient) if after_min is None else after_min
    times = patient.time_min[patient.valid & (patient.time_min > after)]
    if every_min is None:
        return times
    kept: list[float] = []
    for time in times.tolist():
        if not kept or time >= kept[-1] + every_min:
            kept.append(time)
    return np.asarray(kept)


def readings_ahead(
    patient: Patient, origin_min: Float[np.ndarray, " origins"], horizon_min: Sequence[float] = HORIZONS_MIN
) -> Float[np.ndarray, "origins horizons"]:
    """What the sensor read at `origin + horizon`, mg/dL: the nearest real reading within 2.5 min, or NaN.

    Nothing is interpolated. The reading lies after the origin.

    Args:
        patient: the record.
        origin_min: times from which one looks ahead, min on the record's clock.
        horizon_min: how far ahead, min.

    Returns:
        Readings, mg/dL, one row per origin and one column per horizon; NaN where there is none.

    Example:
        >>> import numpy as np, t1djax
        >>> patient = t1djax.Patient("Ada", np.array([0.0, 15.0, 31.0]), np.array([100.0, 110.0, 125.0]),
        ...                          t1djax.Doses.of(basal=1.0))
        >>> t1djax.data.readings_ahead(patient, np.array([0.0]), (15, 30, 60)).tolist()
        [[110.0, 125.0, nan]]
    """
    seen, reading = patient.time_min[patient.valid], patient.glucose_mg_dL[patient.valid]
    wanted = origin_min[:, None] + np.asarray(horizon_min, dtype=np.float64)
    right = np.searchsorted(seen, wanted).clip(0, len(seen) - 1)
    left = (right - 1).clip(0)
    nearest = np.where(np.abs(seen[left] - wanted) <= np.abs(seen[right] - wanted), left, right)
    there = (np.abs(seen[nearest] - wanted) <= TOLERANCE_MIN) & (seen[nearest] > origin_min[:, None])
    return np.where(there, reading[nearest], np.nan)
