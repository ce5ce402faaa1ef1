"""Figures of a result: glucose with data and forecast, latent states, residuals, parameters on their way."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._documented import field_texts
from ..physics import residual_columns, state_columns, state_units
from ..records import PatientFit, Result, quantity, symbols_of
from ._style import FIT, FORECAST, HELD_OUT, INK, STYLE, TARGET_MG_DL, TRUTH, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLE = 80  # characters that a title's line holds
_BY_HAND: Any = {"figure.constrained_layout.use": False}


def plot_result(result: Result) -> "dict[str, Figure]":
    """The figures of one patient's run by name: `glucose`, `states`, `residuals`, and `parameters` in inverse mode.

    Example:
        >>> from t1djax.plotting import plot_result  # doctest: +SKIP
        >>> plot_result(read_result(folder))["glucose"].savefig("glucose.png")  # doctest: +SKIP
    """
    figures = {}
    with new_figure(7.2, 4.6, **_BY_HAND) as figures["glucose"]:
        _glucose(figures["glucose"], result.predictions, _result_title(result))
    states, missed, n = state_columns(result.body.States), _missed(result), len(result.evolution)
    drawn = [
        ("states", len(states), 0.8 + 1.5 * len(states), _states),
        ("residuals", len(missed), 0.8 + 1.5 * len(missed), _residuals),
        *([("parameters", n, 1.2 + 1.7 * n, _parameters)] if n else []),
    ]
    for name, panels, height, draw in drawn:
        with new_figure(7.2, height, **_BY_HAND) as figures[name]:
            draw(figures[name].subplots(panels, 1, sharex=True, squeeze=False)[:, 0].tolist(), result)
            _margins(figures[name])
    return figures


def plot_fit(fit: PatientFit) -> "Figure":
    """Readings of one patient, the fitted and forecast glucose, and the doses.

    Args:
        fit: of one patient.

    Returns:
        The figure.

    Example:
        >>> import t1djax
        >>> fit = t1djax.fit(t1djax.reference_cohort(interval_min=30, names=["Pat2"]), model="ode", free=["ksi"])
        >>> fit["Pat2"].plot().axes[0].get_ylabel()
        'glucose, mg/dL'
    """
    units = symbols_of(fit.body)
    each = [
        quantity(f"{s} {e.value:.4g}" + (f" ± {e.standard_error:.2g}" if e.standard_error else ""), units[s].unit)
        for s, e in fit.estimates.items()
    ]
    lines = textwrap.wrap(", ".join([*each, *([] if fit.ok else [f"failed: {fit.message}"])]), _TITLE)
    with new_figure(7.2, 4.6, **_BY_HAND) as figure:
        _glucose(figure, fit.arrays(), "\n".join([fit.name, *lines]))
    return figure


def save_figures(result: Result, folder: str | Path | None = None) -> list[Path]:
    """Draw the figures of a result as PNG files into its folder, or another.

    Raises:
        OSError: where a file cannot be written.
    """

    from matplotlib import rc_context  # noqa: PLC0415

    folder = Path(result.folder if folder is None else folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with rc_context(STYLE):
        for name, figure in plot_result(result).items():
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1])
    return paths


def _title(result: Result) -> str:
    m = result.metadata
    return f"{m['patient']}: {m['model']} {m['mode']}, seed {m['seed']}"


def _hours(p: Mapping[str, Any]) -> np.ndarray:
    return (p["time_min"] - p["time_min"][0]) / 60


def _forecast_region(axes: "Sequence[Axes]", p: Mapping[str, Any]) -> None:
    forecast = p["mask_forecast"]
    if forecast.any():
        hours = _hours(p)
        for ax in axes:
            ax.axvspan(hours[forecast][0], hours[-1], color=INK, alpha=0.06, lw=0, label="_forecast")


def _result_title(result: Result) -> str:
    shown = [
        k for k in ("rmse_fit_mg_dL", "rmse_held_out_mg_dL", "rmse_forecast_mg_dL") if k in result.metadata["metrics"]
    ]
    numbers = ", ".join(
        f"{k.split('_', 1)[1].removesuffix('_mg_dL').replace('_', ' ')} {_number(result, k)}" for k in shown
    )
    # The first doubt in the title: a line that looks right is not to be taken for one that is.
    first = textwrap.shorten("; ".join((result.metadata.get("doubts") or [])[:1]), 2 * _TITLE, placeholder=" ...")
    return "\n".join([_title(result), *textwrap.wrap(first, _TITLE), f"RMSE, mg/dL: {numbers}"])


def _glucose(figure: "Figure", p: Mapping[str, Any], title: str) -> None:
    """Readings and model, and the doses below."""
    ax, doses = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    hours = _hours(p)
    ax.axhspan(*TARGET_MG_DL, color=TRUTH, alpha=0.07, lw=0)
    many = p["mask_fit"].sum() > 600
    size = 14 if many else 8  # wider than the line: where the two agree, both are seen
    for mask, colour, label in (
        ("mask_fit", "#7f7f7f", "readings fitted"),
        ("mask_held_out", HELD_OUT, "readings held out"),
        ("mask_forecast", FORECAST, "readings after the forecast start"),
    ):
        m = p[mask]
        ax.scatter(hours[m], p["observed_mg_dL"][m], s=size, color=colour, label=label, lw=0, alpha=0.6, zorder=2)
    ax.plot(hours, p["glucose_mg_dL"], color=FIT, lw=1.0, label="model", zorder=3)
    _doses(doses, p)
    _forecast_region([ax, doses], p)
    ax.set(ylabel="glucose, mg/dL", xlim=(hours[0], hours[-1]), title=title)
    # Below both: readings and bars may stand anywhere inside.
    figure.legend(loc="lower center", ncols=3, markerscale=1.5, fontsize=8.5)
    _margins(figure, bottom=0.95, title_lines=title.count("\n") + 1, between=0.12)


def _margins(figure: "Figure", *, bottom: float = 0.5, title_lines: int = 1, between: float = 0.32) -> None:
    """Room about the panels, inches: fixed, since a search for it takes as long as the drawing, of forty figures."""
    width, height = figure.get_size_inches()
    left, right, top = 0.8, 0.15, 0.22 + 0.17 * title_lines
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - top / height, hspace=between
    )
    figure.align_ylabels()


def _doses(ax: "Axes", p: Mapping[str, Any]) -> None:
    """Boluses upwards in U, meals downwards in g, each by its largest; results of 0.1 have none."""
    hours = _hours(p)
    for name, sign, colour, unit in (("bolus_U", 1, FIT, "U"), ("carbs_g", -1, HELD_OUT, "g")):
        amounts = p.get(name, np.zeros(len(hours)))
        given, most = amounts > 0, float(np.max(amounts, initial=0.0))
        if most > 0:
            label = f"{'bolus' if unit == 'U' else 'meal'}, up to {most:.3g} {unit}"
            ax.vlines(hours[given], 0, sign * amounts[given] / most, color=colour, lw=2, label=label)
    ax.axhline(0, color=INK, lw=0.6)
    ax.set(xlabel="time, h (shaded: forecast)", ylabel="doses", ylim=(-1.15, 1.15), yticks=[])


def _number(result: Result, key: str) -> str:
    value = result.metadata["metrics"][key]
    return "none" if value is None or not np.isfinite(value) else f"{value:.3g}"


def _states(axes: "Sequence[Axes]", result: Result) -> None:
    units, texts = state_units(result.body.States), field_texts(result.body.States)
    for ax, (column, name) in zip(axes, state_columns(result.body.States).items(), strict=True):
        ax.plot(_hours(result.predictions), result.predictions[column], color=FIT, lw=1.4)
        ax.set(ylabel=f"{name}, {units[name]}")
        ax.margins(y=0.2)  # room for what it is
        ax.text(0.01, 0.96, texts.get(name, "").rstrip("."), transform=ax.transAxes, va="top", fontsize=8.5)
    _below(axes, result, "unmeasured states")


def _residuals(axes: "Sequence[Axes]", result: Result) -> None:
    units = state_units(result.body.States)
    for ax, (column, name) in zip(axes, _missed(result).items(), strict=True):
        ax.axhline(0, color=INK, lw=0.6)
        ax.plot(_hours(result.predictions), result.predictions[column], color=FIT, lw=0.9)
        ax.set(ylabel=f"{name},\n{units[name]}/min".replace("/min/min", "/min²"))
    _below(axes, result, "what the states miss of the equations")


def _missed(result: Result) -> dict[str, str]:
    there = residual_columns(result.body.States, state_units(result.body.States))
    return {column: name for column, name in there.items() if column in result.predictions}


def _below(axes: "Sequence[Axes]", result: Result, what: str) -> None:
    """What panels below each other share."""
    for ax in axes:
        ax.ticklabel_format(axis="y", scilimits=(-2, 3))
    axes[0].set_title(f"{_title(result)}: {what}")
    axes[-1].set(xlabel="time, h (shaded: forecast)", xlim=_hours(result.predictions)[[0, -1]])
    _forecast_region(axes, result.predictions)


def _parameters(axes: "Sequence[Axes]", result: Result) -> None:
    for ax, (symbol, course) in zip(axes, result.evolution.items(), strict=True):
        ax.plot(course["step"], course["value"], color=FIT, lw=1.4, marker=".", ms=3, label="estimate")
        if "truth" in course:
            ax.axhline(float(course["truth"]), color=TRUTH, lw=1, ls="--", label="truth")
        ax.set(ylabel=f"{symbol}, {symbols_of(result.body)[symbol].unit}")
    axes[0].set_title(f"{_title(result)}: parameters on their way")
    axes[0].legend(loc="best")
    axes[-1].set(xlabel="step")
