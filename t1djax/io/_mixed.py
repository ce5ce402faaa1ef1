"""Glucose in two units within one column, and readings that no sensor gives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

_MMOL_BELOW, _MG_FROM = 25.0, 40.0
_LOWEST, _HIGHEST = 39.0, 500.0
_LIMITS = (40.0, 400.0)
_STUCK_MIN, _STUCK_READINGS = 360.0, 12
_FEWEST = 3
_ROWS = 3
_EMPTY = 0.25
"""Share of the smaller kind that may lie between the two; a person's own lows fill that range."""


def mixed_units(values: Float[np.ndarray, " readings"], rows: Sequence[Any]) -> tuple[str, str] | None:
    """What to say of a column that holds mmol/L and mg/dL at any share of either, and the mend; None where it does not.

    Sensors report 39 to 500 mg/dL, or 2.2 to 27.8 mmol/L. Readings on both sides of an empty range from 25 to 40 are
    therefore of two kinds. So are zeros beside readings: some programs write them for a missing one.

    Args:
        values: readings in the file's unit, finite.
        rows: where each stands.
    """
    zero, between = values == 0, (values >= _MMOL_BELOW) & (values < _MG_FROM)
    low, high = (values > 0) & (values < _MMOL_BELOW), values >= _MG_FROM
    if zero.sum() >= _FEWEST:
        what = f"{zero.sum()} readings are 0 (rows {_some(zero, rows)}), as some programs write a missing one"
        return what, "leave these cells empty"
    fewer = min(int(low.sum()), int(high.sum()))
    if fewer < _FEWEST or between.sum() >= _EMPTY * fewer:
        return None
    what = (
        f"{low.sum()} readings are below {_MMOL_BELOW:g} and {between.sum()} from {_MMOL_BELOW:g} to {_MG_FROM:g}, as "
        f"if mmol/L were mixed in: rows {_some(low, rows)} look like mmol/L, rows {_some(high, rows)} like mg/dL "
        f"({high.sum()} readings)"
    )
    return what, "put the file right: all readings in one unit (mmol/L times 18.016 are mg/dL)"


def beyond_sensors(glucose: Float[np.ndarray, " readings"]) -> list[str]:
    """Remarks on readings that no sensor reports, and on a level that no person has.

    Args:
        glucose: readings, mg/dL, finite.
    """
    said = []
    low, high = glucose < _LOWEST, glucose > _HIGHEST
    ends = (
        (low, f"below {_LOWEST:g} mg/dL, the lowest", glucose.min()),
        (high, f"above {_HIGHEST:g} mg/dL, the highest", glucose.max()),
    )
    for beyond, word, most in ends:
        if beyond.any():
            said.append(
                f"{100 * beyond.mean():.2g} % of readings ({beyond.sum()}) are {word} {most:.3g}, which no sensor "
                "reports: are they scaled, or in another unit? they are kept"
            )
    return said


def stuck(time_min: Float[np.ndarray, " readings"], glucose: Float[np.ndarray, " readings"]) -> str | None:
    """A remark where a sensor shows one value for six hours and more, other than at the ends of its range.

    Args:
        time_min: times of readings, min, increasing.
        glucose: readings, mg/dL.
    """
    edges = np.concatenate([[0], np.flatnonzero(np.diff(glucose) != 0) + 1, [len(glucose)]])
    first, last = edges[:-1], edges[1:] - 1
    inner = (glucose[first] > _LIMITS[0]) & (glucose[first] < _LIMITS[1]) & (last - first + 1 >= _STUCK_READINGS)
    length = np.where(inner, time_min[last] - time_min[first], 0.0)
    if not (length >= _STUCK_MIN).any():
        return None
    longest = int(np.argmax(length))
    return (
        f"glucose stands at {glucose[first[longest]]:.4g} mg/dL for {length[longest] / 60:.3g} h: is the sensor stuck, "
        "or was a value filled in? these readings are kept"
    )


def _some(which: np.ndarray, rows: Sequence[Any]) -> str:
    first = [str(rows[i]) for i in np.flatnonzero(which)[:_ROWS].tolist()]
    return ", ".join(first) + (", ..." if which.sum() > _ROWS else "")
