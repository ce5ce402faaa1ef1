"""Which readings a fit may see, which judge it inside the window, and which judge its forecast."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

FORECAST_FROM = 0.9
"""Share of the record's span after which readings belong to the forecast."""
HELD_OUT_EVERY = 10
"""Of the readings before the forecast, the last in every so many is held out."""
COPY_MIN = 0.75
"""No sensor gives two readings within this, min: such readings are copies of one, and go to one side."""


class Masks(NamedTuple):
    """Three disjoint sets that together are the valid readings."""

    fit: Bool[np.ndarray, " rows"]
    """Seen by the fit."""
    held_out: Bool[np.ndarray, " rows"]
    """Inside the window, never seen."""
    forecast: Bool[np.ndarray, " rows"]
    """After the forecast start, never seen."""


def split(time_min: Float[np.ndarray, " rows"], valid: Bool[np.ndarray, " rows"]) -> Masks:
    """Masks of the valid readings.

    With `t0` and `t_end` the times of the first and last valid reading, the forecast is
    `time_min > t0 + 0.9 (t_end - t0)`. Of the others, in time order from 0, those with `index % 10 == 9` are
    held out and the rest are fit. Readings within 45 s of one another count as one, so that no copy of a fitted reading
    judges the fit.

    Args:
        time_min: times of the rows, min, increasing.
        valid: whether a row has a reading.

    Returns:
        The masks; a row without a reading is in none of them.

    Example:
        >>> import numpy as np
        >>> from t1djax.data import split
        >>> masks = split(np.arange(100.0), np.full(100, True))
        >>> [int(mask.sum()) for mask in masks]
        [81, 9, 10]
    """
    seen = time_min[valid]
    if seen.size == 0:
        nothing = np.zeros(time_min.shape, dtype=bool)
        return Masks(nothing, nothing.copy(), nothing.copy())
    step = np.diff(seen)
    copy = step < min(COPY_MIN, 0.25 * float(np.median(seen[2:] - seen[:-2]))) if len(step) > 1 else step < 0
    number = np.cumsum(np.concatenate([[True], ~copy])) - 1  # copies share theirs
    late = (seen > seen[0] + FORECAST_FROM * (seen[-1] - seen[0]))[np.searchsorted(number, number)]
    apart = ~late & (number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1)
    masks = np.zeros((3, *time_min.shape), dtype=bool)
    masks[:, valid] = ~late & ~apart, apart, late
    return Masks(*masks)
