"""What a record says up to an origin: readings before it, and what was delivered."""

import numpy as np
from jaxtyping import Float

from ..physics import Doses
from ._records import Patient

_LONGEST_BRACKET_MIN = 35.0  # a lag between two readings further apart than two of the slowest sensors is unknown


def readings_before(
    patient: Patient, time_min: Float[np.ndarray, "origins lags"], origin_min: Float[np.ndarray, " origins"]
) -> Float[np.ndarray, "origins lags"]:
    """Glucose (mg/dL) at times up to the origins, between the two readings about each; NaN across a gap.

    The later of the two readings lies at the origin or before it.
    """
    seen, reading = patient.time_min[patient.valid], patient.glucose_mg_dL[patient.valid]
    last = np.searchsorted(seen, origin_min, side="right")[:, None] - 1
    right = np.minimum(np.searchsorted(seen, time_min), last)
    left = (right - (seen[right] > time_min)).clip(0)
    width = seen[right] - seen[left]
    share = np.divide(time_min - seen[left], width, out=np.zeros_like(time_min), where=width > 0)
    inside = (seen[left] <= time_min) & (seen[right] >= time_min) & (width <= _LONGEST_BRACKET_MIN) & (last >= 0)
    return np.where(inside, reading[left] + share * (reading[right] - reading[left]), np.nan)


class Delivered:
    """Basal and bolus insulin (U) and carbohydrate (g) since the start of the record, at any time.

    A rate is taken from the last change before a time, never from the next, so that no later dose touches an
    earlier value, not even by rounding.
    """

    def __init__(self, doses: Doses) -> None:
        self.columns = [
            _cumulative(doses.background[0], doses.background[1] / 60.0),
            *(_cumulative(*_rates(*columns)) for columns in doses.events[:2]),
        ]

    def sums(self, edges: Float[np.ndarray, "origins edges"]) -> Float[np.ndarray, "origins sums"]:
        """Amounts between neighbouring edges, min: those of basal, then of bolus, then of carbohydrate."""
        found = []
        for breaks, rates, totals in self.columns:
            i = np.searchsorted(breaks, edges, side="right") - 1
            found.append(np.diff(np.where(i >= 0, totals[i] + rates[i] * (edges - breaks[i]), 0.0), axis=1))
        return np.concatenate(found, axis=1)


def _rates(
    start: Float[np.ndarray, " doses"], amount: Float[np.ndarray, " doses"], duration: Float[np.ndarray, " doses"]
) -> tuple[Float[np.ndarray, " breaks"], Float[np.ndarray, " breaks"]]:
    """Times at which the sum of the doses' rates changes, and the rate from there."""
    times = np.concatenate([start, start + duration])
    steps = np.concatenate([amount / duration, -amount / duration])
    order = np.lexsort((steps, times))
    return times[order], np.cumsum(steps[order])


def _cumulative(
    breaks: Float[np.ndarray, " breaks"], rates: Float[np.ndarray, " breaks"]
) -> tuple[Float[np.ndarray, " some"], Float[np.ndarray, " some"], Float[np.ndarray, " some"]]:
    if not len(breaks):
        breaks, rates = np.zeros(1), np.zeros(1)
    return breaks, rates, np.concatenate([[0.0], np.cumsum(rates[:-1] * np.diff(breaks))])
