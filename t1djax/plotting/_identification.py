"""Figures of what the data can tell: errors and correlations of one patient, and profile likelihoods."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..records import PatientIdentification, Profile, interval_words
from ._style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    "determined": "#009E73",
    "weakly determined": "#E69F00",
    "not determined": "#D55E00",
    "set by the prior": "#CC79A7",
    "set by an assumption": "#8C6D31",
    "at its bound": "#0072B2",
    "model misfit": "#7F3C8D",
}
_LOWEST, _HIGHEST = 1e-3, 1e3  # %, ends of the axis of errors
_FARTHEST = 10.0  # times the median estimate of the windows, to which a panel of them reaches
_TITLE = 150  # characters that a line of the title holds
_LIMITS = (10.0, 50.0)  # %, where verdicts change


def plot_identification(patient: PatientIdentification) -> "Figure":
    """Errors of each parameter with its interval and verdict, and their correlations.

    Example:
        >>> from t1djax.plotting import plot_identification  # doctest: +SKIP
        >>> plot_identification(report["Pat2"]).savefig("identification.png")  # doctest: +SKIP
    """
    n = len(patient.parameters) + len(patient.derived)
    with new_figure(10.5, max(3.2, 1.6 + 0.42 * n)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
        _errors(left, patient)
        _correlations(right, patient)
        noise = f"noise {patient.noise_sd_mg_dL:.3g} mg/dL, rank {patient.rank} of {len(patient.parameters)}"
        lines = [patient.line, noise, *(d.words for d in patient.directions[:2]), *patient.warnings[:2]]
        title = "\n".join(textwrap.fill(line, _TITLE, subsequent_indent="    ") for line in lines)
        figure.suptitle(title, fontsize=8, x=0.01, ha="left")
    return figure


def _errors(ax: "Axes", patient: PatientIdentification) -> None:
    rows = [*patient.parameters.values(), *patient.derived.values()]
    clip = lambda x: float(np.clip(x, _LOWEST, _HIGHEST)) if np.isfinite(x) else _HIGHEST
    for y, d in enumerate(rows):
        colour = _COLOURS[d.verdict]
        ends = [clip(d.error_percent), clip(d.robust_percent)]
        ax.plot([_LOWEST, ends[1]], [y, y], color=colour, lw=1.2, alpha=0.5)
        ax.plot(clip(d.bound_percent), y, marker="|", ms=11, color="#222222", ls="none")
        ax.plot(ends[0], y, marker="o", ms=5, mfc="white", color=colour, ls="none")
        ax.plot(ends[1], y, marker="o" if np.isfinite(d.robust_percent) else ">", ms=6, color=colour, ls="none")
    for limit in _LIMITS:
        ax.axvline(limit, color="#999999", lw=0.7, ls=":")
    named = [("|", "#222222", "#222222", "bound from the readings alone"), ("o", "#555555", "white", "white noise"),
             ("o", "#555555", "#555555", "as the residuals are")]  # fmt: skip
    for marker, colour, face, label in named:
        ax.plot([], [], marker=marker, ls="none", color=colour, mfc=face, label=label)
    ax.set(xscale="log", xlim=(_LOWEST, 1.5 * _HIGHEST), xlabel="one standard deviation, % of the value")
    labels = [f"{d.symbol} = {d.value:.4g} ({interval_words(*d.interval)})\n{d.verdict}" for d in rows]
    ax.set_yticks(range(len(rows)), labels)
    for tick, d in zip(ax.get_yticklabels(), rows, strict=True):
        tick.set_color(_COLOURS[d.verdict])
    ax.invert_yaxis()
    ax.set_title("Errors of the estimates")
    # So many font sizes below the axis, whatever the height: clear of its label.
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=5.5, ncols=3, fontsize=7)


def _correlations(ax: "Axes", patient: PatientIdentification) -> None:
    symbols = list(patient.parameters)
    ax.imshow(patient.correlation, vmin=-1, vmax=1, cmap="RdBu_r")
    ax.set_xticks(range(len(symbols)), symbols, rotation=90)
    ax.set_yticks(range(len(symbols)), symbols)
    for (i, j), r in np.ndenumerate(patient.correlation):
        if i != j and np.isfinite(r):
            colour = "white" if abs(r) > 0.6 else "#222222"
            ax.text(j, i, f"{r:.2f}", ha="center", va="center", fontsize=7, color=colour)
    ax.set_title("Correlations")


def plot_windows(windows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Estimates of one person's windows over time, with intervals, coloured by verdict; one panel per parameter.

    Args:
        windows: as `PatientIdentification.as_dict` gives them, with names such as `Ada@0012h`.

    Example:
        >>> from t1djax.plotting import plot_windows  # doctest: +SKIP
        >>> plot_windows([p.as_dict() for p in report]).savefig("windows.png")  # doctest: +SKIP
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # noqa: PLC0415

    symbols = list(dict.fromkeys(s for w in windows for s in w["parameters"]))
    named: set[str] = set()
    with new_figure(8.0, 0.8 + 1.5 * len(symbols)) as figure:
        axes = figure.subplots(len(symbols), 1, squeeze=False, sharex=True)[:, 0]
        for ax, symbol in zip(axes, symbols, strict=True):
            rows = [(_hours(w["name"], k), w["parameters"].get(symbol)) for k, w in enumerate(windows)]
            known = [(hour, d) for hour, d in rows if d is not None and d["value"] is not None and d["value"] > 0]
            around = float(np.median([d["value"] for _, d in known])) if known else 1.0
            for hour, d in known:
                low, high = d.get("interval") or (None, None)
                # An end that is far away would flatten all the others; one that JSON leaves out is infinite.
                low = max(low or 0.0, around / _FARTHEST)
                high = around * _FARTHEST if high is None else min(high, around * _FARTHEST)
                colour = _COLOURS.get(d["verdict"], "#555555")
                ax.plot([hour, hour], [low, high], color=colour, lw=1.2)
                shown = float(np.clip(d["value"], around / _FARTHEST, around * _FARTHEST))
                label = None if d["verdict"] in named else d["verdict"]
                named.add(d["verdict"])
                ax.plot(hour, shown, marker="o", ms=4, color=colour, ls="none", label=label)
            unit = known[0][1].get("unit", "") if known else ""
            ax.set(yscale="log", ylabel=f"{symbol}, {unit}".rstrip(", "))
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
            ax.yaxis.set_minor_locator(NullLocator())
        axes[-1].set_xlabel("first hour of the window, h of the record")
        figure.legend(loc="outside upper right", ncols=3, fontsize=7)
    return figure


def _hours(name: str, otherwise: int) -> float:
    """The first hour of a window, from its name; else its place."""
    hours, _, minutes = name.rpartition("@")[2].partition("h")
    return float(hours) + float(minutes or 0) / 60 if hours.isdigit() else float(otherwise)


def plot_profiles(profiles: Sequence[Profile], name: str) -> "Figure":
    """Profile likelihoods of one patient, one panel per parameter.

    Args:
        profiles: one per parameter, of the same fit.
        name: the patient.

    Example:
        >>> from t1djax.plotting import plot_profiles  # doctest: +SKIP
        >>> plot_profiles([t1djax.profile(fit, cohort, "ksi")], "Pat2").savefig("p.png")  # doctest: +SKIP
    """
    with new_figure(max(3.4, 2.6 * len(profiles)), 2.8) as figure:
        axes = figure.subplots(1, len(profiles), squeeze=False, sharey=True)[0]
        for ax, profile in zip(axes, profiles, strict=True):
            p = profile[name]
            near = p.excess < 6 * p.threshold
            ax.plot(p.values[near], p.excess[near], marker=".", ms=4, lw=1.2, color="#0072B2")
            ax.axhline(p.threshold, color="#D55E00", lw=0.8, ls="--")
            ax.axvline(p.estimate, color="#222222", lw=0.6)
            for end, is_open in ((p.low, p.open_low), (p.high, p.open_high)):
                if not is_open:
                    ax.axvline(end, color="#D55E00", lw=0.6)
            ax.set_xlabel(p.symbol if p.identifiable else f"{p.symbol} (open)")
        axes[0].set_ylabel(f"{name}\nfall of 2 log likelihood")
    return figure
