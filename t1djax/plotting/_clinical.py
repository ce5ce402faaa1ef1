"""Figures that clinicians know: a day with its doses, the ambulatory glucose profile, error grids."""

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._types import mg_dL_in
from ..data import Patient
from ..records import (
    CLARKE_LINES,
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
from ._style import FIT, FORECAST, HELD_OUT, INK, TARGET_MG_DL, TRUTH, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DAY_MIN = 1440.0
_GAP_MIN = 45.0  # a line is not drawn across a longer gap, but where readings are as rare as that
ZONE_COLOURS = {"A": TRUTH, "B": "#56B4E9", "C": HELD_OUT, "D": FORECAST, "E": "#7A0403"}
_AGP_BIN_MIN, _AGP_HALF_MIN, _AGP_LEAST = 15.0, 30.0, 5
"""The profile: a point each 15 min from the readings within 30 min of it, of which there must be five."""


def plot_day(patient: Patient, *, start_min: float | None = None, hours: float = 24.0, unit: str = "mg/dL") -> "Figure":
    """A stretch of a record: glucose with the target range, insulin, and carbohydrate below one another.

    Readings are joined where they are at most 45 min apart.

    Args:
        patient: the record.
        start_min: where to begin, min on the record's clock; left out, the first midnight after which the record goes
            on that long, or else its first row.
        hours: how much of it, h.
        unit: unit of glucose, `mg/dL` or `mmol/L`.

    Returns:
        The figure.

    Raises:
        ValueError: where the unit is unknown or the length is not positive.

    Example:
        >>> import t1djax
        >>> from t1djax.plotting import plot_day
        >>> figure = plot_day(t1djax.reference_cohort(interval_min=15, names=["Pat2"])["Pat2"])
        >>> len(figure.axes)
        3
    """
    factor = mg_dL_in(unit)
    if not hours > 0:
        raise ValueError(f"plot_day: hours is {hours!r}; give a length of more than zero")
    clock = _clock(patient)
    begin = _first_day(patient, clock, 60 * hours) if start_min is None else start_min
    end = begin + 60 * hours
    x = lambda minutes: (minutes + clock) / 60
    with new_figure(7.2, 4.8) as figure:
        glucose, insulin, carbs = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1.3, 1))
        _target(glucose, factor)
        seen = patient.valid & (patient.time_min >= begin) & (patient.time_min <= end)
        time, reading = _with_gaps(patient.time_min[seen], patient.glucose_mg_dL[seen] / factor)
        glucose.plot(x(time), reading, color=FIT, lw=1.2, marker="o", ms=2.5)
        glucose.set(ylabel=f"glucose, {unit}")
        glucose.set_ylim(bottom=0)
        doses = patient.doses
        since, rates = doses.background
        basal_time = np.concatenate([[begin], since[(since > begin) & (since < end)]])
        rate = rates[(np.searchsorted(since, basal_time, side="right") - 1).clip(0)]
        insulin.stairs(rate, x(np.append(basal_time, end)), color="#56B4E9", fill=True, alpha=0.5, label="basal, U/h")
        _bars(insulin, x, doses.bolus_time_min, doses.bolus_U, (begin, end), INK, "bolus, U")
        insulin.set(ylabel="insulin")
        # Beside the axes: bars may stand anywhere inside.
        insulin.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.0)
        _bars(carbs, x, doses.meal_time_min, doses.carbs_g, (begin, end), HELD_OUT, "")
        carbs.set(ylabel="carbs, g", xlim=(x(begin), x(end)))
        for ax in (insulin, carbs):
            ax.set_ylim(bottom=0)
            ax.margins(y=0.15)
        _clock_axis(carbs, patient, x(begin), x(end))
        figure.align_ylabels([glucose, insulin, carbs])
        glucose.set_title(f"{patient.name}: {_date(patient, begin)}{hours:g} h")
    return figure


def plot_days(patient: Patient, *, days: int = 14, unit: str = "mg/dL") -> "Figure":
    """The last days of a record as strips, a week a row, midnight to midnight, as an AGP report has them.

    What is below 70 and above 180 mg/dL is filled. A record without a clock is cut at multiples of 24 h of its own
    time.

    Args:
        patient: the record.
        days: how many at most, a number.
        unit: unit of glucose, `mg/dL` or `mmol/L`.

    Returns:
        The figure.

    Raises:
        ValueError: where the unit is unknown or there is no day to draw.

    Example:
        >>> import t1djax
        >>> from t1djax.plotting import plot_days
        >>> figure = plot_days(t1djax.reference_cohort(interval_min=15, names=["Pat2"])["Pat2"])
        >>> len(figure.axes)
        7
    """
    factor = mg_dL_in(unit)
    if days < 1:
        raise ValueError(f"plot_days: days is {days}; give 1 or more")
    clock = _clock(patient)
    at, reading = patient.time_min[patient.valid] + clock, patient.glucose_mg_dL[patient.valid] / factor
    first, last = int(at[0] // _DAY_MIN), int(np.ceil(at[-1] / _DAY_MIN)) - 1  # midnight ends a day
    last = max(first, last)
    first = max(first, last - days + 1)
    rows = -(-(last - first + 1) // 7)
    low, high = (limit / factor for limit in TARGET_MG_DL)
    with new_figure(7.2, 0.5 + 0.95 * rows) as figure:
        panels = figure.subplots(rows, 7, sharex=True, sharey=True, squeeze=False)
        for number, ax in enumerate(panels.flat):
            day = first + number
            if day > last:
                ax.set_axis_off()
                continue
            mine = (at >= day * _DAY_MIN) & (at < (day + 1) * _DAY_MIN)
            time, value = _with_gaps(at[mine] - day * _DAY_MIN, reading[mine])
            hours = time / 60
            _target(ax, factor)
            ax.plot(hours, value, color=INK, lw=0.8)
            ax.fill_between(hours, value, low, where=value < low, color=FORECAST, alpha=0.7, lw=0)
            ax.fill_between(hours, value, high, where=value > high, color=HELD_OUT, alpha=0.6, lw=0)
            date = None if patient.start is None else patient.start.date() + dt.timedelta(days=day)
            name = f"day {day + 1}" if date is None else f"{date:%a %d %b}"
            ax.set_title(name, fontsize=7, pad=2)
        panels[0, 0].set(xlim=(0, 24), ylim=(0, max(300 / factor, 1.05 * float(reading.max()))))
        panels[0, 0].set_xticks((0, 12, 24), ("0", "12", "24"))
        panels[0, 0].set_yticks([round(limit, 1) for limit in (low, high)])
        for ax in panels.flat:
            ax.tick_params(labelsize=7)
        figure.supylabel(f"glucose, {unit}", fontsize=8)
    return figure


def plot_agp(patient: Patient, *, unit: str = "mg/dL") -> "Figure":
    """The ambulatory glucose profile: median and percentiles of all days by time of day.

    A point stands each 15 min for the readings within 30 min of it; where there are fewer than five, nothing is drawn.
    A record without a clock is folded at multiples of 24 h of its own time.

    Args:
        patient: the record.
        unit: unit of glucose, `mg/dL` or `mmol/L`.

    Returns:
        The figure.

    Raises:
        ValueError: where the unit is unknown.

    Example:
        >>> import t1djax
        >>> from t1djax.plotting import plot_agp
        >>> figure = plot_agp(t1djax.reference_cohort(interval_min=15, names=["Pat2"])["Pat2"])
        >>> figure.axes[0].get_ylabel()
        'glucose, mg/dL'

    Source: Bergenstal et al., Diabetes Technol. Ther. 15(3):198 (2013); percentiles of Battelino et al. 2019.
    """
    factor = mg_dL_in(unit)
    hours, levels = agp(patient)
    days = (patient.time_min[patient.valid][-1] - patient.time_min[patient.valid][0]) / _DAY_MIN
    with new_figure(7.2, 3.6) as figure:
        ax = figure.subplots()
        _target(ax, factor)
        low, q1, median, q3, high = levels / factor
        ax.fill_between(hours, low, high, color=FIT, alpha=0.18, lw=0, label="5 to 95 %")
        ax.fill_between(hours, q1, q3, color=FIT, alpha=0.38, lw=0, label="25 to 75 %")
        ax.plot(hours, median, color=INK, lw=1.8, label="median")
        ax.axhline(54 / factor, color=FORECAST, lw=0.8, ls=":")
        ax.axhline(250 / factor, color=FORECAST, lw=0.8, ls=":")
        top = np.nanmax(high) if np.isfinite(high).any() else 0.0
        ax.set(xlim=(0, 24), ylim=(0, max(300 / factor, 1.08 * top)), ylabel=f"glucose, {unit}")
        ax.set_xticks(range(0, 25, 3), [f"{h:02d}:00" for h in range(0, 25, 3)])
        ax.set_xlabel("time of day" if patient.start is not None else "time of day, counted from the record's zero")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)
        few = "" if days >= 13.5 else "; fewer than 14 days"
        ax.set_title(f"{patient.name}: {days:.1f} days, {int(patient.valid.sum())} readings{few}")
    return figure


def agp(patient: Patient) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, "5 points"]]:
    """Hours of the day, and the 5, 25, 50, 75 and 95 % points of the readings about each, mg/dL."""
    time = (patient.time_min[patient.valid] + _clock(patient)) % _DAY_MIN
    reading = patient.glucose_mg_dL[patient.valid]
    points = np.arange(0.0, _DAY_MIN + 1, _AGP_BIN_MIN)
    levels = np.full((5, len(points)), np.nan)
    for i, point in enumerate(points.tolist()):
        away = np.abs(time - point)
        near = np.minimum(away, _DAY_MIN - away) <= _AGP_HALF_MIN
        if near.sum() >= _AGP_LEAST:
            levels[:, i] = np.quantile(reading[near], (0.05, 0.25, 0.5, 0.75, 0.95))
    return points / 60, levels


def plot_error_grid(pairs: ErrorGrid, *, title: str = "") -> "Figure":
    """Pairs of glucose on their error grid, coloured by zone, with the share of each.

    Args:
        pairs: what `error_grid` gives.
        title: what to write above.

    Returns:
        The figure.

    Example:
        >>> import numpy as np, t1djax
        >>> from t1djax.plotting import plot_error_grid
        >>> pairs = t1djax.error_grid(np.array([100.0, 60.0]), np.array([110.0, 100.0]))
        >>> plot_error_grid(pairs).axes[0].get_xlabel()
        'reference, mg/dL'
    """
    clarke = pairs.grid == "clarke"
    # The published grid ends at 550 mg/dL; sensors read to 400.
    highest = max(float(np.max(x, initial=0.0)) for x in (pairs.reference_mg_dL, pairs.predicted_mg_dL))
    edge = 400 if clarke or highest <= 400 else 550
    with new_figure(5.2, 5.0) as figure:
        ax = figure.subplots()
        ax.plot((0, edge), (0, edge), color="#999999", lw=0.7, ls=":")
        for line in _lines(pairs.grid):
            ax.plot(*np.asarray(line).T, color=INK, lw=0.9)
        size = 12 if len(pairs.zone) < 600 else 6
        shares = pairs.percent
        for zone in ZONES:
            here = pairs.zone == zone
            xy = np.clip((pairs.reference_mg_dL[here], pairs.predicted_mg_dL[here]), 0, edge)
            label = f"{zone} {shares[zone]:.1f} %"
            ax.scatter(*xy, s=size, color=ZONE_COLOURS[zone], alpha=0.55, lw=0, label=label, zorder=3)
        for zone, x, y in _LETTERS[pairs.grid.rstrip("12"), edge]:
            ax.text(x, y, zone, fontsize=11, fontweight="bold", color=INK, ha="center", va="center", zorder=4)
        ax.set(xlim=(0, edge), ylim=(0, edge), xlabel="reference, mg/dL", ylabel="predicted, mg/dL", aspect="equal")
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.1),
            ncols=5,
            columnspacing=1.0,
            handletextpad=0.1,
            markerscale=2.0,
        )
        name = {"clarke": "Clarke", "dts": "DTS"}.get(pairs.grid, f"Parkes, type {pairs.grid[-1]}")
        ax.set_title(f"{title + ': ' if title else ''}{name} error grid, {len(pairs.zone)} pairs")
    return figure


def _lines(grid: GridName) -> tuple[Line, ...]:
    """Boundaries of the zones."""
    if grid == "clarke":
        return CLARKE_LINES
    if grid != "dts":
        kind = int(grid[-1])
        return (*PARKES_UPPER[kind].values(), *PARKES_LOWER[kind].values())
    corner, far = DTS_LEAST_MG_DL, 600.0
    above = [np.exp(risk / DTS_HIGH) for risk in DTS_RISKS]
    below = [np.exp(risk / DTS_LOW) for risk in DTS_RISKS]
    return (
        *(((0.0, corner * f), (corner, corner * f), (far, far * f)) for f in above),
        *(((corner * f, 0.0), (corner * f, corner), (far * f, far)) for f in below),
    )


_LETTERS = {
    ("clarke", 400): (("A", 30, 20), ("B", 285, 370), ("B", 375, 250), ("C", 130, 345), ("C", 160, 15), ("D", 30, 125),
                      ("D", 330, 125), ("E", 30, 300), ("E", 300, 30)),
    ("parkes", 550): (("A", 25, 20), ("B", 350, 520), ("B", 500, 340), ("C", 190, 520), ("C", 440, 155),
                      ("D", 88, 520), ("D", 480, 60), ("E", 20, 400)),
    ("parkes", 400): (("A", 18, 15), ("B", 231, 375), ("B", 370, 228), ("C", 141, 375), ("C", 370, 132),
                      ("D", 70, 375), ("D", 370, 35), ("E", 15, 290)),
    ("dts", 550): (("A", 25, 20), ("B", 380, 520), ("B", 520, 340), ("C", 250, 520), ("C", 520, 210), ("D", 170, 520),
                   ("D", 520, 140), ("E", 60, 520), ("E", 520, 40)),
    ("dts", 400): (("A", 25, 20), ("B", 265, 380), ("B", 380, 250), ("C", 190, 380), ("C", 380, 160), ("D", 130, 380),
                   ("D", 380, 105), ("E", 50, 380), ("E", 380, 30)),
}  # fmt: skip


def _target(ax: "Axes", factor: float) -> None:
    ax.axhspan(TARGET_MG_DL[0] / factor, TARGET_MG_DL[1] / factor, color=TRUTH, alpha=0.1, lw=0)


def _with_gaps(time: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """The series with a NaN inside every long gap, across which no line is drawn."""
    apart = np.diff(time)
    after = np.flatnonzero(apart > max(_GAP_MIN, 1.5 * float(np.median(apart)) if len(apart) else 0.0)) + 1
    return np.insert(time, after, time[after - 1] + 1 if len(after) else []), np.insert(values, after, np.nan)


def _bars(ax: "Axes", x, times, amounts, window: tuple[float, float], colour: str, label: str) -> None:
    here = (times >= window[0]) & (times < window[1]) & (amounts > 0)
    ax.vlines(x(times[here]), 0, amounts[here], color=colour, lw=2.2, label=label or "_carbs")
    ax.plot(x(times[here]), amounts[here], ls="", marker="o", ms=3, color=colour)


def _clock(patient: Patient) -> float:
    """Minutes from midnight to minute zero."""
    start = patient.start
    return 0.0 if start is None else 60.0 * start.hour + start.minute + start.second / 60


def _first_day(patient: Patient, clock: float, minutes: float) -> float:
    """The first midnight with so much of the record after it, a reading's length left or taken; else the first row."""
    first, last = float(patient.time_min[0]), float(patient.time_min[-1])
    midnight = np.ceil((first + clock) / _DAY_MIN) * _DAY_MIN - clock
    whole = patient.start is not None and midnight + minutes <= last + _GAP_MIN
    return float(midnight) if whole else first


def _date(patient: Patient, begin: float) -> str:
    if patient.start is None:
        return f"from minute {begin:g}, "
    return f"from {patient.start + dt.timedelta(minutes=begin):%Y-%m-%d %H:%M}, "


def _clock_axis(ax: "Axes", patient: Patient, first: float, last: float) -> None:
    step = next((s for s in (1, 2, 3, 6, 12, 24, 48) if (last - first) / s <= 10), 96)
    ticks = np.arange(np.ceil(first / step) * step, last + 1e-9, step)
    if patient.start is None:
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.set_xlabel("time, h")
    else:
        ax.set_xticks(ticks, [f"{int(t % 24):02d}:00" for t in ticks])
        ax.set_xlabel("time of day")
