"""Figures of forecasts: fans from their origins, residual diagnostics, methods against the horizon."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..data import Patient
from ..records import RollingForecasts
from ._clinical import _clock, _clock_axis, _date, _target, _with_gaps
from ._style import COLOURS, FIT, INK, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_MARKS = "osD^vPX"
_Z50, _Z90 = 0.6744897501960817, 1.6448536269514722  # of the normal distribution


def plot_forecasts(
    forecasts: RollingForecasts,
    patient: Patient,
    *,
    start_min: float | None = None,
    hours: float = 24.0,
    every_min: float | None = None,
) -> "Figure":
    """Fans of forecasts over the readings: the expected course with its central 50 % and 90 %.

    Args:
        forecasts: of this patient.
        patient: the record.
        start_min: where to begin, min on the record's clock; left out, at the first origin.
        hours: how much of the record, h.
        every_min: least distance between two fans, min; left out, the longest horizon, so that none covers another.

    Returns:
        The figure.

    Raises:
        ValueError: where the forecasts are of another patient, or none begins in that stretch.

    Example:
        >>> import t1djax
        >>> from t1djax.plotting import plot_forecasts
        >>> patient = t1djax.reference_cohort(interval_min=15, names=["Pat2"])["Pat2"]
        >>> figure = plot_forecasts(t1djax.baseline_forecasts(patient, "ridge"), patient)
        >>> figure.axes[0].get_ylabel()
        'glucose, mg/dL'
    """
    if forecasts.name != patient.name:
        raise ValueError(f"plot_forecasts: the forecasts are of {forecasts.name}, the record of {patient.name}")
    begin = float(np.min(forecasts.origin_min, initial=np.inf)) if start_min is None else start_min
    end = begin + 60 * hours
    apart = float(forecasts.horizon_min.max()) if every_min is None else every_min
    chosen: list[int] = []
    for i in np.flatnonzero((forecasts.origin_min >= begin) & (forecasts.origin_min < end)).tolist():
        known = np.isfinite(forecasts.mean_mg_dL[i]).any()
        if known and (not chosen or forecasts.origin_min[i] >= forecasts.origin_min[chosen[-1]] + apart):
            chosen.append(i)
    if not chosen:
        raise ValueError(f"plot_forecasts: {forecasts.name} has no forecast from {begin:g} to {end:g} min")
    clock = _clock(patient)
    x = lambda minutes: (minutes + clock) / 60
    with new_figure(7.2, 3.8) as figure:
        ax = figure.subplots()
        _target(ax, 1.0)
        for n, i in enumerate(chosen):
            _fan(ax, x, forecasts, patient, i, COLOURS[n % 2], n == 0)
        seen = patient.valid & (patient.time_min >= begin - 120) & (patient.time_min <= end)
        time, reading = _with_gaps(patient.time_min[seen], patient.glucose_mg_dL[seen])
        ax.plot(x(time), reading, color="#555555", lw=0.7, marker="o", ms=2.6, label="readings", zorder=5)
        ax.set(xlim=(x(begin - 60), x(end)), ylabel="glucose, mg/dL")
        ax.set_ylim(bottom=0)
        _clock_axis(ax, patient, x(begin - 60), x(end))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
        knows = {"none": "no later insulin or meals", "announced": "announced insulin and meals"}
        says = knows.get(forecasts.future_inputs, "all recorded insulin and meals")
        ax.set_title(f"{patient.name}: {forecasts.method}, knowing {says}\n{_date(patient, begin)}{hours:g} h")
    return figure


def _fan(ax, x, forecasts: RollingForecasts, patient: Patient, i: int, colour: str, first: bool) -> None:
    origin = float(forecasts.origin_min[i])
    at = patient.valid & (patient.time_min <= origin)
    known = np.isfinite(forecasts.mean_mg_dL[i])
    now = float(patient.glucose_mg_dL[at][-1]) if at.any() else float(forecasts.mean_mg_dL[i][known][0])
    time = x(np.concatenate([[origin], origin + forecasts.horizon_min[known]]))
    mean = np.concatenate([[now], forecasts.mean_mg_dL[i][known]])
    sd = np.concatenate([[0.0], np.nan_to_num(forecasts.sd_mg_dL[i][known])])
    name = lambda text: text if first else None
    ax.fill_between(time, mean - _Z90 * sd, mean + _Z90 * sd, color=colour, alpha=0.13, lw=0, label=name("90 %"))
    ax.fill_between(time, mean - _Z50 * sd, mean + _Z50 * sd, color=colour, alpha=0.28, lw=0, label=name("50 %"))
    ax.plot(time, mean, color=colour, lw=1.6, label=name("expected"))
    ax.plot(time[:1], mean[:1], marker="o", ms=5, color=colour, mec="white", mew=0.8, zorder=6)


def plot_residuals(
    time_min: Float[np.ndarray, " n"],
    residual: Float[np.ndarray, " n"],
    *,
    unit: str = "mg/dL",
    max_lag: int = 24,
    title: str = "",
) -> "Figure":
    """Four views of residuals: over time, autocorrelation, normal quantiles, and their distribution.

    Args:
        time_min: times of the readings, min.
        residual: reading less prediction, or the same in standard deviations; NaN are left out.
        unit: its unit, mg/dL unless said otherwise; for standardised ones `sd`.
        max_lag: how many steps of autocorrelation, a number.
        title: what to write above.

    Returns:
        The figure. Grey bands and dashed lines are what white normal noise of this size does in 95 of 100 cases.

    Raises:
        ValueError: where fewer than 10 residuals are finite.

    Example:
        >>> import numpy as np
        >>> from t1djax.plotting import plot_residuals
        >>> figure = plot_residuals(np.arange(50.0), np.sin(np.arange(50.0)))
        >>> len(figure.axes)
        4
    """
    from scipy.special import ndtri  # noqa: PLC0415

    there = np.isfinite(residual)
    r, hours = residual[there], (time_min[there] - time_min[0]) / 60
    n = len(r)
    if n < 10:
        raise ValueError(f"plot_residuals: {n} residuals are finite; give 10 or more")
    lags = np.arange(1, min(max_lag, n // 2) + 1)
    rho = autocorrelation(residual, int(lags[-1]))[1:]
    sd = float(r.std())
    with new_figure(7.2, 5.0) as figure:
        (over_time, correlation), (quantiles, spread) = figure.subplots(2, 2)
        over_time.axhline(0, color=INK, lw=0.7)
        over_time.scatter(hours, r, s=6, color=FIT, lw=0, alpha=0.6)
        over_time.set(xlabel="time, h", ylabel=f"residual, {unit}")
        edge = 1.96 / np.sqrt(n)
        correlation.axhspan(-edge, edge, color="#999999", alpha=0.25, lw=0)
        correlation.axhline(0, color=INK, lw=0.7)
        correlation.vlines(lags, 0, rho, color=FIT, lw=2)
        correlation.set(xlabel="lag, readings", ylabel="autocorrelation", ylim=(min(-0.3, 1.1 * float(rho.min())), 1.0))
        normal = ndtri((np.arange(n) + 0.5) / n)
        quantiles.plot(normal, r.mean() + sd * normal, color=INK, lw=0.8, ls="--")
        quantiles.scatter(normal, np.sort(r), s=6, color=FIT, lw=0, alpha=0.7)
        quantiles.set(xlabel="normal quantile", ylabel=f"residual, {unit}")
        spread.hist(r, bins=min(40, max(10, n // 15)), density=True, color=FIT, alpha=0.5)
        grid = np.linspace(r.min(), r.max(), 200)
        if sd > 0:
            bell = np.exp(-(((grid - r.mean()) / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))
            spread.plot(grid, bell, color=INK, lw=0.8, ls="--")
        spread.set(xlabel=f"residual, {unit}", ylabel="density")
        numbers = f"mean {r.mean():.3g}, sd {sd:.3g} {unit}, lag-1 autocorrelation {rho[0]:.2f}, n {n}"
        figure.suptitle(f"{title}\n{numbers}" if title else numbers, x=0.01, ha="left", fontsize=10)
    return figure


def autocorrelation(values: Float[np.ndarray, " n"], max_lag: int) -> Float[np.ndarray, " lags"]:
    """Autocorrelation at lags 0 to `max_lag` steps; pairs with a NaN are left out."""
    centred = values - np.nanmean(values)
    variance = np.nanmean(centred**2)
    found = np.full(max_lag + 1, np.nan)
    for lag in range(min(max_lag, len(values) - 1) + 1):
        product = centred[: len(values) - lag] * centred[lag:]
        if np.isfinite(product).any() and variance > 0:
            found[lag] = np.nanmean(product) / variance
    return np.nan_to_num(found)


def plot_horizons(scores: "pd.DataFrame", *, measure: str = "rmse_mg_dL") -> "Figure":
    """A score against the horizon, one line per method, the mean over patients; each patient is a faint line.

    A line far above the others, as extrapolation has at long horizons, leaves the axis.

    Args:
        scores: what `score_forecasts` gives; the rows of all readings are drawn.
        measure: a column of it.

    Returns:
        The figure.

    Raises:
        ValueError: where there is no such column.

    Example:
        >>> import t1djax
        >>> from t1djax.plotting import plot_horizons
        >>> patient = t1djax.reference_cohort(interval_min=15, names=["Pat2"])["Pat2"]
        >>> each = [t1djax.baseline_forecasts(patient, method) for method in ("persistence", "linear")]
        >>> plot_horizons(t1djax.score_forecasts(each)).axes[0].get_ylabel()
        'RMSE, mg/dL'
    """
    if measure not in scores:
        raise ValueError(f"plot_horizons: no column {measure!r}; there are {', '.join(map(str, scores.columns))}")
    rows: list[dict[str, Any]] = [row for row in scores.to_dict(orient="records") if row["range"] == "all"]
    lines: dict[tuple[str, str], dict[float, dict[str, float]]] = {}
    for row in rows:
        of = lines.setdefault((row["method"], row["future_inputs"]), {})
        of.setdefault(float(row["horizon_min"]), {})[row["patient"]] = float(row[measure])
    with new_figure(5.6, 3.6) as figure:
        ax = figure.subplots()
        highest = []
        for k, ((method, knows), at) in enumerate(lines.items()):
            colour, mark = COLOURS[k % len(COLOURS)], _MARKS[k % len(_MARKS)]
            horizons = sorted(at)
            people = list(dict.fromkeys(name for each in at.values() for name in each))
            own = np.array([[at[h].get(name, np.nan) for h in horizons] for name in people])
            if len(people) > 1:
                ax.plot(horizons, own.T, color=colour, lw=0.7, alpha=0.3)
            count = np.isfinite(own).sum(axis=0)
            mean = np.divide(np.nansum(own, axis=0), count, out=np.full(len(horizons), np.nan), where=count > 0)
            label = method if knows == "none" else f"{method}, {knows} inputs"
            ax.plot(horizons, mean, color=colour, lw=1.8, marker=mark, ms=5, label=label)
            highest.append(float(np.max(own, initial=0.0, where=np.isfinite(own))))
        if measure in ("coverage_50_percent", "coverage_90_percent"):
            ax.axhline(float(measure.split("_")[1]), color=INK, lw=0.8, ls="--")
        elif measure.startswith(("rmse", "mae", "mard", "crps")):
            ax.set_ylim(0, _top(highest))
        ax.set(xlabel="horizon, min", ylabel=_label(measure), xticks=sorted({h for at in lines.values() for h in at}))
        figure.legend(loc="outside right center")
    return figure


def _top(highest: list[float]) -> float:
    """Where the axis ends: extrapolation may end far above all others, which must still be told apart."""
    *others, worst = sorted(highest) or [1.0]
    top = others[-1] if len(others) > 1 and worst > 1.6 * others[-1] else worst
    return 1.15 * top if top > 0 else 1.0


def _label(measure: str) -> str:
    if measure.startswith("coverage"):
        return f"inside the {measure.split('_')[1]} % interval, %"
    for end, unit in (("_mg_dL", "mg/dL"), ("_percent", "%")):
        if measure.endswith(end):
            words = measure.removesuffix(end).replace("_", " ")
            return f"{words.upper() if words in ('rmse', 'mae', 'mard', 'crps') else words}, {unit}"
    return measure
