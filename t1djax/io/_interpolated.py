"""Readings that someone drew between a sensor's own, found by the kinks of the series."""

import numpy as np
from jaxtyping import Bool, Float

ROW_MIN = 5.0
"""Spacing of the rows of most published tables, min."""
PHASES = 3
"""Rows between two readings of a sensor that reports each 15 min."""
_MOST_PHASES = 15
_LEAST_KINKS = 30
_LONG_MIN = 60.0
_LEAST_JUDGED = 6


def sensor_rows(
    time_min: Float[np.ndarray, " rows"],
    glucose: Float[np.ndarray, " rows"],
    *,
    row_min: float = ROW_MIN,
    phases: int = PHASES,
) -> Bool[np.ndarray, " rows"]:
    """Rows whose reading is the sensor's own; all, where the series shows no interpolation.

    A straight line between two readings has no kink inside. So if nine of ten kinks of the series lie on one phase of
    so many of the grid, that phase is the sensor's, and the rest is interpolated, strays of another device included.
    Where the readings there are whole numbers, a straight stretch with fractions in it spans a gap; so does one of
    four readings and more that is not level.

    Args:
        time_min: times of the rows, min.
        glucose: readings, mg/dL; NaN where there is none.
        row_min: spacing of the rows, min.
        phases: rows from one reading of the sensor to its next.
    """
    n = len(time_min)
    own = np.full(n, True)
    if n < phases:
        return own
    slot = np.round(time_min / row_min).astype(np.int64)
    even, bend = _bends(slot, glucose)
    kink = np.full(n, False)
    kink[1:-1] = even & np.isfinite(bend) & (np.abs(bend) > 1e-6)
    counts = np.bincount(slot[kink] % phases, minlength=phases)
    phase = int(np.argmax(counts))
    if counts.sum() < 10 or counts[phase] < 0.9 * counts.sum():
        return own
    own = slot % phases == phase
    rows = np.flatnonzero(own & np.isfinite(glucose))
    whole = np.abs(glucose - np.round(glucose)) < 1e-6
    drawn = whole[kink & own].mean() > 0.95
    # Where a neighbour is missing nobody can tell; such a row ends a straight stretch as a kink does.
    end = kink.copy()
    end[[0, -1]] = True
    end[1:-1] |= ~(even & np.isfinite(bend))
    stretch = np.cumsum(end[rows])
    for label in np.unique(stretch[~end[rows]]):
        inside = rows[(stretch == label) & ~end[rows]]
        if (drawn and not whole[inside].all()) or (len(inside) > 3 and np.ptp(glucose[inside]) > 1e-6):
            own[inside] = False
    if drawn:
        own &= kink | whole
    return own


def own_readings(
    time_min: Float[np.ndarray, " rows"], glucose: Float[np.ndarray, " rows"]
) -> tuple[Bool[np.ndarray, " rows"], str]:
    """Readings that are the sensor's own, in a series of any grid, and what was found in words.

    Three things are looked for: straight lines between every so many rows, readings held until the next, and long
    straight lines across gaps. A line that was rounded afterwards is not seen.

    Args:
        time_min: times of the readings, min, increasing.
        glucose: readings, mg/dL, all finite.
    """
    row = _grid(time_min)
    if row is None:
        return np.full(len(time_min), True), ""
    slot = np.round(time_min / row).astype(np.int64)
    even, bend = _bends(slot, glucose)
    kinks = slot[1:-1][even & (np.abs(bend) > 1e-6)]
    if (period := _period(kinks)) > 1:
        own = sensor_rows(time_min, glucose, row_min=row, phases=period)
        return own, f"straight lines between readings {period * row:g} min apart"
    beside = np.diff(slot) == 1
    changes = slot[1:][beside & (np.abs(np.diff(glucose)) > 1e-9)]
    if (period := _period(changes)) > 1 and len(changes) < 1.1 * beside.sum() / period:
        return slot % period == changes[0] % period, f"readings held over {period * row:g} min"
    own = ~_drawn_over_gaps(slot, glucose, even, bend, row)
    return own, "" if own.all() else "straight lines across gaps"


def share_on_lines(time_min: Float[np.ndarray, " rows"], glucose: Float[np.ndarray, " rows"]) -> float:
    """Share of readings that lie on the straight, sloping line between their neighbours; 0 where too few can be judged.

    A sensor's own readings do so now and then, by rounding; of readings drawn in threes two do. It doubts records too
    short for `own_readings` to tell which are the sensor's.

    Args:
        time_min: times of the readings, min, increasing.
        glucose: readings, mg/dL, all finite.
    """
    step = np.diff(time_min)
    even = np.abs(np.diff(step)) < 1e-6 * np.maximum(step[1:], 1.0)
    if even.sum() < _LEAST_JUDGED:
        return 0.0
    before, after = np.diff(glucose)[:-1][even], np.diff(glucose)[1:][even]
    return float(np.mean((np.abs(after - before) <= 1e-6) & (np.abs(after) > 1e-6)))


def _grid(time_min: Float[np.ndarray, " rows"]) -> float | None:
    """Spacing of the grid that the times lie on, min; None where they lie on none."""
    if len(time_min) < _LEAST_KINKS:
        return None
    row = float(np.round(np.median(np.diff(time_min)), 6))
    if row <= 0:
        return None
    off = (time_min - time_min[0]) / row
    return row if np.mean(np.abs(off - np.round(off)) < 0.01) > 0.99 else None


def _bends(slot: np.ndarray, glucose: Float[np.ndarray, " rows"]) -> tuple[np.ndarray, np.ndarray]:
    """Which inner rows have both neighbours, and the second difference there."""
    even = (np.diff(slot)[1:] == 1) & (np.diff(slot)[:-1] == 1)
    return even, glucose[2:] - 2 * glucose[1:-1] + glucose[:-2]


def _period(slots: np.ndarray) -> int:
    """Longest period of which nine of ten slots share a phase; 1 where none do."""
    if len(slots) < _LEAST_KINKS:
        return 1
    share = lambda k: np.bincount(slots % k, minlength=k).max() / len(slots)
    return max((k for k in range(2, _MOST_PHASES + 1) if share(k) >= 0.9), default=1)


def _drawn_over_gaps(
    slot: np.ndarray, glucose: Float[np.ndarray, " rows"], even: np.ndarray, bend: np.ndarray, row_min: float
) -> Bool[np.ndarray, " rows"]:
    """Rows inside straight lines that no sensor draws: with fractions among whole numbers, or an hour of them."""
    inside = np.full(len(glucose), False)
    inside[1:-1] = even & (np.abs(bend) <= 1e-6)
    whole = np.abs(glucose - np.round(glucose)) < 1e-6
    steps = np.abs(np.diff(glucose)[np.diff(slot) == 1])
    resolution = float(steps[steps > 1e-6].min(initial=np.inf))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    drawn = np.full(len(glucose), False)
    for first, last in zip(edges[::2], edges[1::2], strict=True):  # [first, last) has no kink
        step = abs(float(glucose[first] - glucose[first - 1]))
        fractions = whole.mean() > 0.9 and not whole[first:last].all()
        long = (last - first + 1) * row_min >= _LONG_MIN and step > 1.5 * resolution
        drawn[first:last] = fractions or long
    return drawn
