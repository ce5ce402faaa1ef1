"""Figures of trials: the day under each controller, and everybody's extremes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ._forecasts import _COLOURS
from ._results import _STYLE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def plot_trial(outcomes: "pd.DataFrame", profiles: "Mapping[str, pd.DataFrame]") -> "Figure":
    """The day under each controller, median with 5 to 95 %; and the lowest against the highest glucose of each person.

    Args:
        outcomes: of a trial, a row for each controller and person.
        profiles: by controller, quantiles of glucose over the day.

    Returns:
        The figure.

    Source: the grid of extremes follows Magni et al., J. Diabetes Sci. Technol. 2(4):630-635, 2008.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - heavy, and only people who plot need it
    from matplotlib.figure import Figure  # noqa: PLC0415

    n = len(profiles)
    with rc_context(_STYLE):
        figure = Figure(figsize=(9.0, 1.2 + 1.7 * n))
        layout = figure.add_gridspec(n, 2, width_ratios=(3, 2))
        panels = layout[:, 0].subgridspec(n, 1).subplots(sharex=True, sharey=True, squeeze=False)[:, 0]
        grid = figure.add_subplot(layout[:, 1])
        for i, (ax, (name, profile)) in enumerate(zip(panels, profiles.items(), strict=True)):
            hours, colour = profile["minute"] / 60, _COLOURS[i % len(_COLOURS)]
            ax.axhspan(70, 180, color="0.93", lw=0)
            ax.fill_between(hours, profile["q05_mg_dL"], profile["q95_mg_dL"], color=colour, alpha=0.2, lw=0)
            ax.fill_between(hours, profile["q25_mg_dL"], profile["q75_mg_dL"], color=colour, alpha=0.35, lw=0)
            ax.plot(hours, profile["q50_mg_dL"], color=colour)
            ax.set(ylabel="mg/dL", title=name, xlim=(0, 24), xticks=range(0, 25, 4))
            mine = outcomes[outcomes["controller"] == name]
            grid.plot(mine["lowest_mg_dL"], mine["highest_mg_dL"], ".", ms=4, color=colour, alpha=0.6, label=name)
        panels[-1].set_xlabel("time of day, h (median, 25 to 75 %, 5 to 95 %)")
        grid.axvline(70, color="0.7", lw=0.8)
        grid.axhline(180, color="0.7", lw=0.8)
        grid.set(xlabel="lowest glucose, mg/dL", ylabel="highest glucose, mg/dL", title="each person's extremes")
        grid.legend(loc="upper right")
    return figure
