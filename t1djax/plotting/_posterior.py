"""Figures of a posterior: chains and pairs of one patient, and a forest of a cohort."""

from typing import TYPE_CHECKING

import numpy as np

from ..physics import AbstractPhysiology
from ..records import Hierarchy, PatientPosterior, Posterior, symbols_of
from ._style import FIT, FORECAST, INK, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_POINTS = 1500  # in a panel of pairs
_MOST_PEOPLE = 60  # in a forest


def plot_draws(patient: PatientPosterior) -> "Figure":
    """Chains, histograms and pairs of what was estimated of one patient.

    Example:
        >>> from t1djax.plotting import plot_draws  # doctest: +SKIP
        >>> plot_draws(posterior["Pat2"]).savefig("draws.png")  # doctest: +SKIP
    """
    derived = {row.symbol for row in patient.body.facts.derived}
    symbols = [s for s in patient.draws if s not in derived]
    n = len(symbols)
    with new_figure(2.4 + 1.9 * n, 1.0 + 1.7 * n) as figure:
        axes = figure.subplots(n, n + 1, squeeze=False, width_ratios=[1.5] + [1] * n)
        for i, symbol in enumerate(symbols):
            _chains(axes[i, 0], patient, symbol)
            for j, other in enumerate(symbols):
                if j > i:
                    axes[i, j + 1].set_axis_off()
                elif j == i:
                    _histogram(axes[i, j + 1], patient, symbol)
                else:
                    _pair(axes[i, j + 1], patient, other, symbol)
        chains, draws = patient.draws[symbols[0]].shape
        figure.suptitle(
            f"{patient.name}: {chains} chains of {draws} draws, {patient.divergences} divergent"
            + (f"\n{patient.message}" if patient.message else ""),
            fontsize=9,
            x=0.01,
            ha="left",
        )
    return figure


def plot_forest(found: Posterior | Hierarchy, symbol: str, *, level: float = 0.9) -> "Figure":
    """Intervals of one parameter for every patient, and of the population where there is one.

    Args:
        found: of a cohort; the first 60 patients are drawn.
        symbol: the parameter.
        level: share of the draws in an interval.

    Example:
        >>> from t1djax.plotting import plot_forest  # doctest: +SKIP
        >>> plot_forest(posterior, "ksi").savefig("ksi.png")  # doctest: +SKIP
    """
    people = list(found)[:_MOST_PEOPLE]
    with new_figure(6.4, 1.2 + 0.2 * len(people)) as figure:
        ax = figure.subplots()
        for y, patient in enumerate(people):
            low, high = patient.interval(symbol, level)
            colour = FIT if patient.ok else FORECAST
            ax.plot([low, high], [y, y], color=colour, lw=1.6, solid_capstyle="butt")
            ax.plot(np.median(patient.draws[symbol]), y, marker="o", ms=3.5, color=colour)
        if isinstance(found, Hierarchy) and symbol in found.median:
            middle = np.log(found.median[symbol])
            half = np.median(found.sd_log[symbol])
            ax.axvspan(*np.exp(middle.mean() + np.array([-1, 1]) * half), color=INK, alpha=0.08, lw=0)
            ax.axvline(float(np.exp(middle.mean())), color=INK, lw=0.8, ls=":")
        ax.set_yticks(range(len(people)), [p.name for p in people], fontsize=7)
        ax.set(xlabel=_label(symbol, found.problem.body), ylim=(len(people) - 0.5, -0.5))
        shaded = "; shaded: the population's middle, one standard deviation either way"
        ax.set_title(f"{100 * level:g} % intervals" + (shaded if isinstance(found, Hierarchy) else ""), fontsize=8)
    return figure


def _label(symbol: str, body: type[AbstractPhysiology]) -> str:
    ends_so = symbol.endswith(("_mg_dL", "_min"))  # it names its unit
    return symbol if ends_so else f"{symbol}, {symbols_of(body)[symbol].unit}"


def _chains(ax: "Axes", patient: PatientPosterior, symbol: str) -> None:
    for chain in patient.draws[symbol]:
        ax.plot(chain, lw=0.4)
    ax.set_ylabel(_label(symbol, patient.body))
    ess = min(patient.ess_bulk[symbol], patient.ess_tail[symbol])
    ax.set_title(f"R-hat {patient.r_hat[symbol]:.3f}, {ess:.0f} effective", fontsize=7)
    ax.tick_params(labelsize=6)


def _histogram(ax: "Axes", patient: PatientPosterior, symbol: str) -> None:
    ax.hist(patient.draws[symbol].ravel(), bins=30, color=FIT, alpha=0.7)
    for end in patient.interval(symbol, 0.9):
        ax.axvline(end, color=INK, lw=0.8, ls=":")
    ax.set_yticks([])
    ax.set_title(symbol, fontsize=7)
    ax.tick_params(labelsize=6)


def _pair(ax: "Axes", patient: PatientPosterior, across: str, up: str) -> None:
    x, y = patient.draws[across].ravel(), patient.draws[up].ravel()
    some = slice(None, None, max(1, x.size // _MOST_POINTS))
    ax.plot(x[some], y[some], ls="none", marker=".", ms=1.2, color=FIT, alpha=0.5)
    if np.ptp(x) > 0 and np.ptp(y) > 0:
        ax.set_title(f"correlation {np.corrcoef(x, y)[0, 1]:.2f}", fontsize=7)
    ax.tick_params(labelsize=6)
