"""Figures of trials: the day under each controller, and the control-variability grid."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import COLOURS, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LOWS, _HIGHS = (110.0, 90.0, 70.0, 50.0), (110.0, 180.0, 300.0, 400.0)  # edges of the grid, mg/dL
_ZONES = (("A", "lower B", "lower C"), ("upper B", "B", "lower D"), ("upper C", "upper D", "E"))


def grid_zones(lowest_mg_dL: Any, highest_mg_dL: Any) -> np.ndarray:
    """Zones of the control-variability grid, `A` to `E`, of people by their extremes.

    Source: Magni et al., J. Diabetes Sci. Technol. 2(4):630-635, 2008.
    """
    lowest, highest = np.asarray(lowest_mg_dL, float), np.asarray(highest_mg_dL, float)
    column = (lowest < _LOWS[1]).astype(int) + (lowest < _LOWS[2])
    row = (highest > _HIGHS[1]).astype(int) + (highest > _HIGHS[2])
    return np.asarray(_ZONES)[row, column]


def plot_trial(outcomes: "pd.DataFrame", profiles: "Mapping[str, pd.DataFrame]") -> "Figure":
    """The day under each controller, median with 5 to 95 %; and the control-variability grid.

    In the grid stands each person by the mean over days of the day's lowest and of its highest glucose.

    Args:
        outcomes: of a trial, a row for each controller and person.
        profiles: by controller, quantiles of glucose over the day.

    Returns:
        The figure.

    Source: the grid of extremes follows Magni et al., J. Diabetes Sci. Technol. 2(4):630-635, 2008.
    """
    n = len(profiles)
    with new_figure(9.0, max(4.5, 1.4 + 1.7 * n)) as figure:
        layout = figure.add_gridspec(n, 2, width_ratios=(3, 2))
        panels = layout[:, 0].subgridspec(n, 1).subplots(sharex=True, sharey=True, squeeze=False)[:, 0]
        grid = figure.add_subplot(layout[:, 1])
        for i, (ax, (name, profile)) in enumerate(zip(panels, profiles.items(), strict=True)):
            hours, colour = profile["minute"] / 60, COLOURS[i % len(COLOURS)]
            ax.axhspan(70, 180, color="0.93", lw=0)
            ax.fill_between(hours, profile["q05_mg_dL"], profile["q95_mg_dL"], color=colour, alpha=0.2, lw=0)
            ax.fill_between(hours, profile["q25_mg_dL"], profile["q75_mg_dL"], color=colour, alpha=0.35, lw=0)
            ax.plot(hours, profile["q50_mg_dL"], color=colour)
            ax.set(ylabel="mg/dL", title=name, xlim=(0, 24), xticks=range(0, 25, 4))
            mine = outcomes[outcomes["controller"] == name]
            x, y = np.clip(mine["lowest_of_day_mg_dL"], 50, 110), np.clip(mine["highest_of_day_mg_dL"], 110, 400)
            pale = min(0.6, 0.1 + 30 / max(len(mine), 1))
            grid.plot(x, y, "o", ms=3, color=colour, alpha=pale, mew=0)
            # A legend of full dots, however pale those of many people are.
            grid.plot([], [], "o", ms=5, color=colour, label=name)
        panels[-1].set_xlabel("time of day, h (median, 25 to 75 %, 5 to 95 %)")
        for x in _LOWS[1:3]:
            grid.axvline(x, color="0.6", lw=0.8)
        for y in _HIGHS[1:3]:
            grid.axhline(y, color="0.6", lw=0.8)
        for row, zones in enumerate(_ZONES):
            for column, zone in enumerate(zones):
                grid.text(_LOWS[column] - 1, _HIGHS[row + 1] - 3, zone, va="top", fontsize=8, color="0.35")
        grid.set(xlabel="lowest glucose of a day, mg/dL", ylabel="highest glucose of a day, mg/dL",
                 title="control-variability grid, means over days", xlim=(110, 50), ylim=(110, 400))  # fmt: skip
        figure.legend(loc="outside lower right", ncols=min(n, 4))
    return figure
