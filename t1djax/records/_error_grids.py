"""Error grids: the boundaries as published, and pairs of glucose with their zones."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float

from .._html import html_table
from .._plotted import Plotted

GridName = Literal["clarke", "parkes1", "parkes2", "dts"]
"""An error grid: Clarke's, the consensus grid of Parkes for type 1 or type 2 diabetes, or that of the Diabetes
Technology Society."""
ZONES = ("A", "B", "C", "D", "E")
"""Zones of the grids, from no consequence to the gravest."""

Line = tuple[tuple[float, float], ...]
"""Corners of a boundary, (reference, predicted) in mg/dL, outwards from an axis."""

PARKES_UPPER: Mapping[int, Mapping[str, Line]] = {
    1: {
        "B": ((0, 50), (30, 50), (140, 170), (280, 380), (430, 550)),
        "C": ((0, 60), (30, 60), (50, 80), (70, 110), (260, 550)),
        "D": ((0, 100), (25, 100), (50, 125), (80, 215), (125, 550)),
        "E": ((0, 150), (35, 155), (50, 550)),
    },
    2: {
        "B": ((0, 50), (30, 50), (230, 330), (440, 550)),
        "C": ((0, 60), (30, 60), (280, 550)),
        "D": ((0, 80), (25, 80), (35, 90), (125, 550)),
        "E": ((0, 200), (35, 200), (50, 550)),
    },
}
"""Boundaries above which a zone begins, by type of diabetes, mg/dL (Pfützner et al. 2013)."""
PARKES_LOWER: Mapping[int, Mapping[str, Line]] = {
    1: {
        "B": ((50, 0), (50, 30), (170, 145), (385, 300), (550, 450)),
        "C": ((120, 0), (120, 30), (260, 130), (550, 250)),
        "D": ((250, 0), (250, 40), (550, 150)),
    },
    2: {
        "B": ((50, 0), (50, 30), (90, 80), (330, 230), (550, 450)),
        "C": ((90, 0), (260, 130), (550, 250)),
        "D": ((250, 0), (250, 40), (410, 110), (550, 160)),
    },
}
"""Boundaries to the right of which a zone begins, by type of diabetes, mg/dL (Pfützner et al. 2013)."""
CLARKE_LINES: tuple[Line, ...] = (
    ((0, 70), (175 / 3, 70), (1000 / 3, 400)),
    ((70, 84), (70, 400)),
    ((0, 180), (70, 180), (290, 400)),
    ((70, 0), (70, 56), (400, 320)),
    ((130, 0), (180, 70)),
    ((180, 0), (180, 70), (400, 70)),
    ((240, 70), (240, 180), (400, 180)),
)
"""Boundaries of the Clarke grid on its square of 400 mg/dL."""
DTS_RISKS = (0.5, 1.5, 2.5, 3.5)
"""Risks above which zones B to E of the DTS grid begin (Klonoff et al. 2024)."""
DTS_HIGH, DTS_LOW = 2.75, 2.25
"""Risk per natural logarithm of a reading that is too high, and too low."""
DTS_LEAST_MG_DL = 50.0
"""Glucose below counts as this, mg/dL."""


@dataclasses.dataclass(frozen=True, eq=False)
class ErrorGrid(Plotted):
    """Pairs of glucose on an error grid."""

    grid: GridName
    """Which grid."""
    reference_mg_dL: Float[np.ndarray, " n"]
    """What a reference read, mg/dL."""
    predicted_mg_dL: Float[np.ndarray, " n"]
    """What is judged, mg/dL."""
    zone: np.ndarray
    """`A` to `E` for each pair."""

    @property
    def percent(self) -> dict[str, float]:
        """Share of each zone, %; NaN where there is no pair."""
        share = lambda name: 100.0 * float(np.mean(self.zone == name)) if self.zone.size else float("nan")
        return {name: share(name) for name in ZONES}

    def __repr__(self) -> str:
        listed = ", ".join(f"{zone} {percent:.1f} %" for zone, percent in self.percent.items())
        return f"ErrorGrid({self.grid} of {len(self.zone)} pairs: {listed})"

    def _repr_html_(self) -> str:
        title = f"Error grid {self.grid}, {len(self.zone)} pairs"
        return html_table(title, ["zone", "share of pairs, %"], self.percent.items())
