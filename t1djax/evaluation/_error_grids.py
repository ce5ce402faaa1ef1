"""Error grids: how much harm an error of glucose could do, as panels of clinicians judged it."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Shaped

from ..records import (
    DTS_HIGH,
    DTS_LEAST_MG_DL,
    DTS_LOW,
    DTS_RISKS,
    PARKES_LOWER,
    PARKES_UPPER,
    ZONES,
    ErrorGrid,
    GridName,
    Line,
)

SURVEILLANCE_LEVELS = (
    "none",
    "slight, lower",
    "slight, higher",
    "moderate, lower",
    "moderate, higher",
    "severe, lower",
    "severe, higher",
    "extreme",
)
"""Levels of the surveillance error grid; each is 0.5 of risk wide, the last one open."""


def clarke_zones(
    reference_mg_dL: Float[np.ndarray, " n"], predicted_mg_dL: Float[np.ndarray, " n"]
) -> Shaped[np.ndarray, " n"]:
    """Zones of the Clarke error grid.

    With `x` the reference and `y` the prediction, the first that holds:

    ```
    A   |y - x| <= 0.2 x, or x < 70 and y < 70
    E   x <= 70 and y >= 180, or x >= 180 and y <= 70
    C   x >= 70 and y > x + 110, or 130 <= x <= 180 and y < 1.4 (x - 130)
    D   x < 70 and 70 <= y < 180, or x > 240 and 70 < y < 180
    B   the rest
    ```

    Args:
        reference_mg_dL: what a reference read, mg/dL.
        predicted_mg_dL: what is judged, mg/dL.

    Returns:
        `A` to `E` for each pair; an empty text where one of the two is NaN.

    Raises:
        ValueError: where a reference is negative.

    Example:
        >>> import numpy as np, t1djax
        >>> t1djax.evaluation.clarke_zones(np.array([100.0, 60.0, 250.0]), np.array([110.0, 100.0, 60.0])).tolist()
        ['A', 'D', 'E']

    Source: Clarke et al., Diabetes Care 10(5):622 (1987).
    """
    x, y = reference_mg_dL, _checked("clarke_zones", reference_mg_dL, predicted_mg_dL)
    conditions = {
        "": ~(np.isfinite(x) & np.isfinite(y)),
        # As 5 |y - x| <= x, the edges of the grid at whole numbers are exact.
        "A": (5 * np.abs(y - x) <= x) | ((x < 70) & (y < 70)),
        "E": ((x <= 70) & (y >= 180)) | ((x >= 180) & (y <= 70)),
        "C": ((x >= 70) & (y > x + 110)) | ((x >= 130) & (x <= 180) & (5 * y < 7 * (x - 130))),
        "D": ((x < 70) & (y >= 70) & (y < 180)) | ((x > 240) & (y > 70) & (y < 180)),
    }
    return np.select(list(conditions.values()), list(conditions), default="B")


def parkes_zones(
    reference_mg_dL: Float[np.ndarray, " n"],
    predicted_mg_dL: Float[np.ndarray, " n"],
    *,
    diabetes_type: Literal[1, 2] = 1,
) -> Shaped[np.ndarray, " n"]:
    """Zones of the Parkes (consensus) error grid.

    Boundaries are straight between the published corners. A point on a boundary lies in the zone of less harm. Beyond
    550 mg/dL, where the published grid ends, the last pieces go on.

    Args:
        reference_mg_dL: what a reference read, mg/dL.
        predicted_mg_dL: what is judged, mg/dL.
        diabetes_type: the grid for type 1 or type 2 diabetes.

    Returns:
        `A` to `E` for each pair; an empty text where one of the two is NaN.

    Raises:
        ValueError: where the type is another, or a reference is negative.

    Example:
        >>> import numpy as np, t1djax
        >>> t1djax.evaluation.parkes_zones(np.array([100.0, 60.0, 300.0]), np.array([110.0, 100.0, 50.0])).tolist()
        ['A', 'C', 'D']

    Source: Parkes et al., Diabetes Care 23(8):1143 (2000); corners by Pfützner et al., J. Diabetes Sci. Technol.
    7(5):1275 (2013).
    """
    if diabetes_type not in PARKES_UPPER:
        raise ValueError(f"parkes_zones: diabetes_type is {diabetes_type!r}; 1 or 2")
    x, y = reference_mg_dL, _checked("parkes_zones", reference_mg_dL, predicted_mg_dL)
    zone = np.zeros(x.shape, dtype=np.int64)
    for rank, name in enumerate(ZONES[1:], start=1):
        above = y > _boundary(PARKES_UPPER[diabetes_type][name], x)
        line = PARKES_LOWER[diabetes_type].get(name)
        beyond = x > _boundary(tuple((b, a) for a, b in line), y) if line else np.full(x.shape, False)
        zone[above | beyond] = rank
    return np.where(np.isfinite(x) & np.isfinite(y), np.asarray(ZONES)[zone], "")


def dts_zones(
    reference_mg_dL: Float[np.ndarray, " n"], predicted_mg_dL: Float[np.ndarray, " n"]
) -> Shaped[np.ndarray, " n"]:
    """Zones of the error grid of the Diabetes Technology Society, for sensors and meters.

    ```
    risk = 2.75 ln(y/x) where y > x,  2.25 ln(x/y) elsewhere;   A to 0.5, B to 1.5, C to 2.5, D to 3.5, E beyond
    ```

    with `x` the reference and `y` the prediction, each 50 mg/dL at the least.

    Args:
        reference_mg_dL: what a reference read, mg/dL.
        predicted_mg_dL: what is judged, mg/dL.

    Returns:
        `A` to `E` for each pair; an empty text where one of the two is NaN.

    Raises:
        ValueError: where a reference is negative.

    Example:
        >>> import numpy as np, t1djax
        >>> t1djax.evaluation.dts_zones(np.array([100.0, 60.0, 250.0]), np.array([110.0, 100.0, 60.0])).tolist()
        ['A', 'B', 'D']

    Source: Klonoff et al., J. Diabetes Sci. Technol. 18(6):1346 (2024).
    """
    y = _checked("dts_zones", reference_mg_dL, predicted_mg_dL)
    apart = np.log(np.maximum(y, DTS_LEAST_MG_DL) / np.maximum(reference_mg_dL, DTS_LEAST_MG_DL))
    risk = np.where(apart > 0, DTS_HIGH, -DTS_LOW) * apart
    return np.where(np.isfinite(apart), np.asarray(ZONES)[np.searchsorted(DTS_RISKS, risk)], "")


def error_grid(
    reference_mg_dL: Float[np.ndarray, " n"], predicted_mg_dL: Float[np.ndarray, " n"], *, grid: GridName = "parkes1"
) -> ErrorGrid:
    """Pairs on an error grid, with their zones; pairs with a NaN are left out.

    An infinite prediction is in the worst zone.

    Args:
        reference_mg_dL: what a reference read, mg/dL; for forecasts the reading that followed.
        predicted_mg_dL: what is judged, mg/dL.
        grid: `"clarke"`, the Parkes grid for type 1 (`"parkes1"`) or type 2 diabetes (`"parkes2"`), or `"dts"`.

    Returns:
        The record that `plot_error_grid` draws; its `percent` is the share of each zone.

    Raises:
        ValueError: where the grid is unknown, or a reference is negative.

    Example:
        >>> import numpy as np, t1djax
        >>> t1djax.error_grid(np.array([100.0, 60.0]), np.array([110.0, 100.0]), grid="clarke").percent["D"]
        50.0
    """
    if grid not in get_args(GridName):
        raise ValueError(f"error_grid: grid is {grid!r}; one of {', '.join(get_args(GridName))}")
    both = np.isfinite(reference_mg_dL) & ~np.isnan(predicted_mg_dL)
    x, y = reference_mg_dL[both], predicted_mg_dL[both]
    if grid == "clarke":
        zones = clarke_zones(x, y)
    elif grid == "dts":
        zones = dts_zones(x, y)
    else:
        zones = parkes_zones(x, y, diabetes_type=1 if grid == "parkes1" else 2)
    return ErrorGrid(grid, x, y, np.where(np.isinf(y), ZONES[-1], zones))


def surveillance_levels(
    reference_mg_dL: Float[np.ndarray, " n"],
    predicted_mg_dL: Float[np.ndarray, " n"],
    *,
    risk: Float[np.ndarray, "reference predicted"],
) -> Shaped[np.ndarray, " n"]:
    """Levels of the surveillance error grid, from a table of risk that the caller has.

    The published grid is a table of 600 times 600 risks by a panel of experts. It has no closed form and is not free
    to copy, so t1djax does not ship it. Its levels are published: each 0.5 of risk is one, and above 3.5 is extreme.

    Args:
        reference_mg_dL: what a reference read, mg/dL.
        predicted_mg_dL: what is judged, mg/dL.
        risk: absolute risk, 0 to 4; row `i` and column `j` for a reference of `i` and a prediction of `j` mg/dL, from 0
            or, in a table of 600 rows and columns, from 1. Values are rounded to the nearest row and column.

    Returns:
        A level of `SURVEILLANCE_LEVELS` for each pair; an empty text where one of the two is NaN.

    Raises:
        ValueError: where the table is not of 600 or 601 rows and columns of risks from 0 to 4, or a reference is
            negative.

    Example:
        >>> import numpy as np, t1djax
        >>> made_up = np.abs(np.arange(601.0) - np.arange(601.0)[:, None]) / 150
        >>> reference, reading = np.array([100.0, 100.0]), np.array([110.0, 300.0])
        >>> t1djax.evaluation.surveillance_levels(reference, reading, risk=made_up).tolist()
        ['none', 'slight, higher']

    Source: Klonoff et al., J. Diabetes Sci. Technol. 8(4):658 (2014).
    """
    if risk.shape not in {(600, 600), (601, 601)} or not (np.all(risk >= 0) and np.all(risk <= 4)):
        raise ValueError(
            f"surveillance_levels: risk has shape {risk.shape}; give the table of 600 or 601 rows and columns with "
            "absolute risks from 0 to 4"
        )
    y = _checked("surveillance_levels", reference_mg_dL, predicted_mg_dL)
    both = np.isfinite(reference_mg_dL) & np.isfinite(y)
    first, last = 601 - len(risk), 600
    node = lambda g: np.rint(np.where(both, g, first)).clip(first, last).astype(np.int64) - first
    found = risk[node(reference_mg_dL), node(y)]
    # 0 to 0.5 is the first level, above 0.5 to 1 the second, and so on.
    level = (np.ceil(found / 0.5).astype(np.int64) - 1).clip(0, len(SURVEILLANCE_LEVELS) - 1)
    return np.where(both, np.asarray(SURVEILLANCE_LEVELS)[level], "")


def _boundary(line: Line, at: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Height of a boundary over its first coordinate; its last piece goes on for ever."""
    x, y = np.asarray(line, dtype=np.float64).T
    i = (np.searchsorted(x, at, side="right") - 1).clip(0, len(x) - 2)
    return y[i] + (at - x[i]) * (y[i + 1] - y[i]) / (x[i + 1] - x[i])


def _checked(
    who: str, reference: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    if np.any(reference < 0):
        raise ValueError(f"{who}: a reference is negative; give mg/dL")
    # A forecast may fall below zero, where no grid is drawn; it is judged as zero.
    return np.where(np.isfinite(predicted), np.maximum(predicted, 0.0), np.nan)
