"""Glucose by plausibility: its unit, two units in one column, and readings that no sensor gives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from .._arguments import argument
from .._types import MG_DL_PER_MMOL_L
from ._raw import GlucoseUnit
from ._remarks import Doubt, Facts, Step, flaw

_FAINT, _SWEET, _TOO_SWEET = 40.0, 400.0, 500.0  # medians, mg/dL
_MMOL_BELOW, _MG_FROM = 25.0, 40.0
_LOWEST, _HIGHEST = 39.0, 500.0
_LIMITS = (40.0, 400.0)
_STUCK_MIN, _STUCK_READINGS = 360.0, 12
_FEWEST = 3
_ROWS = 3
_EMPTY = 0.25
"""Share of the smaller kind that may lie between the two; a person's own lows fill that range."""


def mixed_units(values: Float[np.ndarray, " readings"], rows: Sequence[Any]) -> tuple[str, str] | None:
    """What to say of a column that holds mmol/L and mg/dL at any share of either, and the remedy, or None.

    Sensors report 39 to 500 mg/dL, or 2.2 to 27.8 mmol/L. Readings on both sides of an empty range from 25 to 40 are
    therefore of two kinds. So are zeros beside readings: some programs write them for a missing one.
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


def _beyond_sensors(glucose: Float[np.ndarray, " readings"]) -> Step[None]:
    """Remarks on readings that no sensor reports."""
    for beyond, word, most in (
        (glucose < _LOWEST, f"below {_LOWEST:g} mg/dL, the lowest", glucose.min()),
        (glucose > _HIGHEST, f"above {_HIGHEST:g} mg/dL, the highest", glucose.max()),
    ):
        if beyond.any():
            yield Doubt(
                f"{100 * beyond.mean():.2g} % of readings ({beyond.sum()}) are {word} {most:.3g}, which no sensor "
                "reports: are they scaled, or in another unit? they are kept"
            )


def stuck(time_min: Float[np.ndarray, " readings"], glucose: Float[np.ndarray, " readings"]) -> str | None:
    """A remark where a sensor shows one value for six hours and more, other than at the ends of its range."""
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


def glucose_factor(
    values: Float[np.ndarray, " readings"],
    where: Sequence[Any],
    stated: GlucoseUnit | None,
    wanted: GlucoseUnit | None,
    file: str,
) -> Step[float]:
    """mg/dL in one unit of the file's glucose. A unit that the values contradict is a problem."""
    middle, most = float(np.median(values)), float(values.max())
    looks: GlucoseUnit | None = None
    if 2 <= middle <= 30 and most < 35:
        looks = "mmol/L"
    elif middle >= 40:
        looks = "mg/dL"
    unit = wanted or stated or looks
    by = "asked for" if wanted else "stated" if stated else "by its values"
    yield Facts({"glucose_unit": unit, "glucose_unit_by": by if unit else None})
    if (two := mixed_units(values, where)) is not None:
        yield flaw(file, *two, column="glucose")
        return MG_DL_PER_MMOL_L if unit == "mmol/L" and looks != "mg/dL" else 1.0
    if unit is None:
        what = f"its unit is not stated, and a median of {middle:.3g} is neither usual mg/dL nor mmol/L"
        yield flaw(file, what, f"pass {argument('glucose_unit', 'mg/dL', 'mmol/L')}", column="glucose")
        return 1.0
    factor = MG_DL_PER_MMOL_L if unit == "mmol/L" else 1.0
    if looks is not None and looks != unit:
        what = f"it is {by if wanted else 'labelled'} {unit}, but a median of {middle:.3g} looks like {looks}"
        yield flaw(file, what, f"pass {argument('glucose_unit', looks)}", column="glucose")
        return factor
    if unit == "mmol/L" and most > 40:
        what = f"readings of up to {most:.4g} stand among mmol/L"
        yield flaw(file, what, "are two units mixed? put the file right", column="glucose")
    elif middle * factor < _FAINT:
        what = f"its median is {middle * factor:.3g} mg/dL, which no person has and no sensor reports"
        yield flaw(file, what, "is it scaled, or in another unit? put the file right", column="glucose")
    elif middle * factor > _TOO_SWEET:
        what = f"its median is {middle * factor:.4g} mg/dL"
        yield flaw(file, what, "was it multiplied twice? put the file right", column="glucose")
    elif middle * factor > _SWEET:
        yield Doubt(f"the median of glucose is {middle * factor:.4g} mg/dL: is it scaled?")
    yield from _beyond_sensors(values * factor)
    return factor
