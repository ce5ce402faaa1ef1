"""Readings that someone drew between a sensor's own, found by the kinks of the series."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ._rounded import in_steps, lines_by_chance, rounded_lines

PHASES = 3
"""Rows between two readings of a sensor that reports each 15 min."""
_MOST_PHASES = 15
_LEAST_KINKS = 30
_LONG_MIN = 60.0
_LONG_ROWS = 7  # of readings each 15 min, five lie on a line now and then by rounding
_LEAST_JUDGED = 6
_ONE_STEP = 1.001  # a straight line that is rounded to steps bends by one of them at the most
_ROUNDED_SHARE = 0.8
_SURE = 18.4  # exp(-18.4) is 1e-8
_DOUBTFUL = 10.0
_DOUBTED_PHASES = 6
_JUDGED_MIN = 10.0


class Own(NamedTuple):
    """Which readings of a series are the sensor's own."""

    own: Bool[np.ndarray, " rows"]
    """Whether each is."""
    how: str
    """How the others are known, in words; empty where there are none."""
    step_mg_dL: float
    """Step that the readings are rounded to, mg/dL; 0 where they are not."""
    doubt: str = ""
    """Why some may be drawn all the same."""
    unjudged: str = ""
    """Why nobody can tell."""


def own_readings(time_min: Float[np.ndarray, " rows"], glucose: Float[np.ndarray, " rows"]) -> Own:
    """Readings that are the sensor's own, in a series of any grid.

    Three things are looked for: straight lines between every so many rows, readings held until the next, and long
    straight lines across gaps. Lines that were rounded afterwards are known by the whole record: bends of more than one
    step of the rounding then lie on one phase of the grid.
    """
    row = _grid(time_min)
    all_own = np.full(len(time_min), True)
    level, step = in_steps(glucose)
    if row is None:
        few = f"{len(time_min)} readings are too few to tell whether some were drawn between others and rounded"
        return Own(all_own, "", step, unjudged=few if step and len(time_min) < _LEAST_KINKS else "")
    slot = np.round(time_min / row).astype(np.int64)
    even, bend = _bends(slot, glucose)
    kinks = slot[1:-1][even & (np.abs(bend) > 1e-6)]
    if (period := _period(kinks)) > 1:
        own = _of_lines(slot, glucose, even, bend, period)
        return Own(own, f"straight lines between readings {period * row:g} min apart", step)
    beside = np.diff(slot) == 1
    changes = slot[1:][beside & (np.abs(np.diff(glucose)) > 1e-9)]
    if (period := _period(changes)) > 1 and len(changes) < 1.1 * beside.sum() / period:
        return Own(slot % period == changes[0] % period, f"readings held over {period * row:g} min", step)
    own = ~_drawn_over_gaps(slot, glucose, even, bend, row)
    if step:
        kinks = slot[1:-1][even & (np.abs(_bends(slot, level)[1]) > _ONE_STEP)]
        if (period := _rounded_period(kinks)) > 1:
            how = f"straight lines between readings {period * row:g} min apart, rounded to {step:.3g} mg/dL"
            own = slot % period == _phase(kinks, period)
            own[own] = ~_rounded_over_gaps(slot[own] // period, level[own])
            return Own(own, how, step)
        own &= ~_rounded_over_gaps(slot, level)
    how = "" if own.all() else "straight lines across gaps"
    unjudged = ""
    if step and row <= _JUDGED_MIN and len(kinks) * np.log(PHASES) < _SURE:
        unjudged = (
            f"the readings come in steps of {step:.3g} mg/dL, and only {len(kinks)} bend by more than that: too few to "
            "tell whether some were drawn between others and rounded"
        )
    return Own(own, how, step, _doubt(kinks, row), unjudged)


def share_on_lines(time_min: Float[np.ndarray, " rows"], glucose: Float[np.ndarray, " rows"]) -> float:
    """Share of readings that lie on the straight, sloping line between their neighbours; 0 where too few can be judged.

    A sensor's own readings do so now and then, by rounding; of readings drawn in threes two do. It doubts records too
    short for `own_readings` to tell which are the sensor's.
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


def _against_chance(kinks: np.ndarray, period: int) -> tuple[float, float]:
    """The largest share of kinks on one phase, and minus the logarithm of a bound of its chance (Chernoff)."""
    share = float(np.bincount(kinks % period, minlength=period).max() / len(kinks))
    rest = (1 - share) * np.log((1 - share) / (1 - 1 / period)) if share < 1 else 0.0
    return share, len(kinks) * float(share * np.log(share * period) + rest)


def _rounded_period(kinks: np.ndarray) -> int:
    """Longest period of which one phase has most of the kinks, beyond chance; 1 where none has."""
    if not len(kinks):
        return 1
    fits = lambda share, against: share >= _ROUNDED_SHARE and against >= _SURE
    return max((k for k in range(2, _MOST_PHASES + 1) if fits(*_against_chance(kinks, k))), default=1)


def _doubt(kinks: np.ndarray, row_min: float) -> str:
    """Words where one phase has more kinks than a sensor's own series gives it, but not nearly all."""
    if not len(kinks):
        return ""
    found = {k: _against_chance(kinks, k) for k in range(2, _DOUBTED_PHASES + 1)}
    # The three kinks of one outlier spread over two or three phases; over more they cluster.
    found = {k: (share, against if k <= PHASES else against / PHASES) for k, (share, against) in found.items()}
    k = max(found, key=lambda k: found[k][1])
    share, against = found[k]
    if against < _DOUBTFUL:
        return ""
    return (
        f"{100 * share:.0f} % of the bends of the series come every {k * row_min:g} min, by chance it were "
        f"{100 / k:.0f} %: part of the readings may be lines that someone drew between the sensor's own, and they are "
        "kept as readings"
    )


def _phase(slots: np.ndarray, period: int) -> int:
    """The phase of a period that most slots share."""
    return int(np.argmax(np.bincount(slots % period, minlength=period)))


def _of_lines(
    slot: np.ndarray, glucose: Float[np.ndarray, " rows"], even: np.ndarray, bend: np.ndarray, period: int
) -> Bool[np.ndarray, " rows"]:
    """The sensor's rows of a series of lines: those of the kinks' phase, strays of another device left out.

    Where the readings there are whole numbers, a straight stretch with fractions in it spans a gap; so does one of four
    readings and more that is not level.
    """
    kink = np.full(len(slot), False)
    kink[1:-1] = even & (np.abs(bend) > 1e-6)
    own = slot % period == _phase(slot[kink], period)
    rows = np.flatnonzero(own)
    whole = np.abs(glucose - np.round(glucose)) < 1e-6
    drawn = whole[kink & own].mean() > 0.95
    # Where a neighbour is missing nobody can tell; such a row ends a straight stretch as a kink does.
    end = kink.copy()
    end[[0, -1]] = True
    end[1:-1] |= ~even
    stretch = np.cumsum(end[rows])
    for label in np.unique(stretch[~end[rows]]):
        inside = rows[(stretch == label) & ~end[rows]]
        if (drawn and not whole[inside].all()) or (len(inside) > 3 and np.ptp(glucose[inside]) > 1e-6):
            own[inside] = False
    return own & (kink | whole) if drawn else own


def _rounded_over_gaps(slot: np.ndarray, level: Float[np.ndarray, " rows"]) -> Bool[np.ndarray, " rows"]:
    """Rows inside straight lines, rounded to steps, that are longer than chance makes them in this series."""
    drawn = np.full(len(slot), False)
    for _ in range(3):  # lines that are found no longer count as what the sensor does
        least = lines_by_chance(slot[~drawn], level[~drawn])
        lines = rounded_lines(slot, level, least_rows=least)
        before = drawn.sum()
        for first, last in lines:
            drawn[first + 1 : last] = True
        if drawn.sum() == before:
            break
    return drawn


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
    counted = bool(whole.mean() > 0.9)
    for first, last in zip(edges[::2], edges[1::2], strict=True):  # [first, last) has no kink
        step = abs(float(glucose[first] - glucose[first - 1]))
        fractions = counted and not whole[first:last].all()
        rows = last - first + 1
        long = rows * row_min >= _LONG_MIN and rows >= _LONG_ROWS and step > 1.5 * resolution
        drawn[first:last] = fractions or long
    return drawn
