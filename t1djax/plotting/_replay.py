"""Figures of replays: the stretch as it was, as it would have been, the doses of both, and the difference."""

from typing import TYPE_CHECKING

import numpy as np

from ..data import Patient
from ..physics import Doses
from ..records import Replay
from ._clinical import _clock, _clock_axis, _with_gaps
from ._style import FIT, FORECAST, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_replay(replay: Replay, patient: Patient, *, level: float = 0.9, hours: float = 24.0) -> "Figure":
    """A replay from the first change on.

    Args:
        replay: what `replay` found.
        patient: the record.
        level: probability of the bands.
        hours: how much is shown, h.

    Returns:
        The figure.

    Raises:
        ValueError: where the replay is of another patient.
    """
    if replay.name != patient.name:
        raise ValueError(f"plot_replay: the replay is of {replay.name}, the record of {patient.name}")
    begin = float(replay.time_min[0])
    shown = replay.time_min <= begin + 60 * hours
    time = replay.time_min[shown]
    was, middle, low, high = (
        _with_gaps(time, part[shown])[1] for part in (replay.recorded_mg_dL, *replay.interval(level))
    )
    x = (_with_gaps(time, time)[0] + _clock(patient)) / 60
    with new_figure(7.2, 6.8) as figure:
        glucose, doses, meals, change = figure.subplots(4, 1, sharex=True, height_ratios=(3, 1.3, 0.8, 1.7))
        glucose.axhspan(70, 180, color="0.94", lw=0)
        glucose.plot(x, was, ".", ms=3, color="0.45", label="as it was")
        glucose.fill_between(x, was + low, was + high, color=FIT, alpha=0.25, lw=0, label=f"{100 * level:.0f} %")
        glucose.plot(x, was + middle, color=FIT, label="as the model would have it")
        span = replay.span(patient.start)
        first = f" (the first {hours:g} h)" * (not shown.all())
        title = f"{replay.name}: {replay.scenario}\n{span}{first}. A model's answer, no advice.\n"
        glucose.set(ylabel="glucose, mg/dL", title=title)
        glucose.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3)
        end = begin + 60 * hours
        for given, colour, name, side in (
            (replay.recorded, "0.45", "as it was", -0.04),
            (replay.changed, FIT, "changed", 0.04),
        ):
            _draw_doses(doses, given, begin, end, _clock(patient), colour, name, side)
            eaten = (given.meal_time_min >= begin - 60) & (given.meal_time_min <= end)
            at = (given.meal_time_min[eaten] + _clock(patient)) / 60 + side
            meals.vlines(at, 0, given.carbs_g[eaten], color=colour, lw=2.5)
        doses.set(ylabel="bolus, U\nbasal, U/h", ylim=(0, None))
        doses.legend(loc="upper right", ncols=2)
        meals.set(ylabel="carbs, g", ylim=(0, None))
        change.axhline(0, color="0.6", lw=0.8)
        change.fill_between(x, low, high, color=FORECAST, alpha=0.25, lw=0)
        change.plot(x, middle, color=FORECAST)
        change.set(ylabel="change, mg/dL", xlim=(x[0] - 0.15, max(x[-1], x[0] + 1)))
        _clock_axis(change, patient, x[0], x[-1])
    return figure


def _draw_doses(ax, given: Doses, begin: float, end: float, clock: float, colour: str, name: str, side: float) -> None:
    inside = (given.bolus_time_min >= begin - 60) & (given.bolus_time_min <= end)
    ax.vlines((given.bolus_time_min[inside] + clock) / 60 + side, 0, given.bolus_U[inside], color=colour, lw=2.5,
              label=name)  # fmt: skip
    times = np.clip(np.append(given.basal_time_min, end), begin, end)
    ax.step((times + clock) / 60, np.append(given.basal_U_h, given.basal_U_h[-1]), where="post", color=colour, lw=1)
