"""The sensor's readings: in mg/dL and in time, each once, of one sensor, and which of them are its own."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from .._arguments import argument
from .._words import counted
from . import _limits as limits
from ._clocks import Placed
from ._columns import GLUCOSE
from ._copies import once
from ._glucose import glucose_factor, stuck
from ._interpolated import own_readings, share_on_lines
from ._limits import Limited
from ._options import ReadOptions, moment
from ._quantities import TOO_MUCH
from ._raw import Raw
from ._remarks import Doubt, Facts, Note, Step, flaw, flaw_of_rows

_ON_LINES = 0.5  # of whole mg/dL that walk, a quarter lie so by chance
_STRAY_MIN, _FEW_STRAYS, _STRAY_SHARE = 20160.0, 12, 0.01
"""A few readings, and few beside the rest, that stand this far away from all others are strays."""
_FAST = 10.0
"""Change of glucose that no body makes from reading to reading, mg/dL/min."""


class Series(NamedTuple):
    """Readings in time."""

    time_min: Float[np.ndarray, " rows"]
    """Times, min, increasing."""
    glucose_mg_dL: Float[np.ndarray, " rows"]
    """Readings, mg/dL."""
    own: Bool[np.ndarray, " rows"]
    """Which are the sensor's own."""
    side: np.ndarray
    """`low` or `high` where the file says that glucose lay beyond what the sensor reports, else empty: texts."""

    def take(self, which: Bool[np.ndarray, " rows"]) -> "Series":
        return Series(*(x[which] for x in self))


def series(raw: Raw, placed: Placed, options: ReadOptions) -> Step[tuple[Series, str] | None]:
    """The sensor's readings in time, each once, and how drawn ones are known; None where there is none.

    Args:
        raw: the parsed file.
        placed: its events on one clock.
        options: how to read it.
    """
    kinds = np.array([reading.kind for reading in raw.readings])
    others = {kind: int(np.sum(kinds == kind)) for kind in ("scan", "fingerstick", "calibration")}
    if any(others.values()):
        words = ", ".join(f"{count} of kind {kind}" for kind, count in others.items() if count)
        yield Note(f"readings beside the sensor's series are not used: {words}")
    cgm = kinds == "cgm"
    if not cgm.any():
        yield flaw(raw.file, "there is no reading of a sensor", "a fit needs a sensor's series")
        return None
    time = placed.minutes["readings"][cgm]
    value = np.array([reading.value for reading in raw.readings], dtype=np.float64)[cgm]
    where = np.array([reading.where for reading in raw.readings])[cgm]
    side = np.array([reading.censored for reading in raw.readings])[cgm]
    device = np.array([reading.device for reading in raw.readings])[cgm]
    missing, bad = value == 0, ~np.isfinite(value) | (value < 0)
    what = "the reading is 0, as some programs write a missing one"
    yield from flaw_of_rows(raw.file, "glucose", missing, where, what, "leave the cell empty, or the row out")
    yield from flaw_of_rows(raw.file, "glucose", bad, where, "it is no glucose", "remove the row")
    bad |= missing
    if bad.all():
        return None
    stated, wanted = raw.glucose_unit, options.glucose_unit
    factor = yield from glucose_factor(value[~bad], where[~bad].tolist(), stated, wanted, raw.file)
    glucose = value * factor
    bad |= glucose > TOO_MUCH[GLUCOSE]
    much = glucose > TOO_MUCH[GLUCOSE]
    yield from flaw_of_rows(raw.file, "glucose", much, where, "it is no glucose in mg/dL", "check the unit")
    order = np.argsort(time, kind="stable")
    order = order[~bad[order]]
    if not len(order):
        return None
    rows = Series(time[order], glucose[order], np.full(len(order), True), side[order])
    rows = yield from _each_once(rows, device[order], placed, options, raw.file)
    judged = own_readings(rows.time_min, rows.glucose_mg_dL)
    yield Facts(glucose_step_mg_dL=judged.step_mg_dL or None)
    if judged.doubt:
        remedy = "read the parts by themselves (start, hours), or get the sensor's own export"
        yield Doubt(f"{judged.doubt}; {remedy}")
    elif judged.unjudged:
        yield Note(judged.unjudged)
    return (rows._replace(own=judged.own), judged.how)


def _each_once(rows: Series, device: np.ndarray, placed: Placed, options: ReadOptions, file: str) -> Step[Series]:
    """Each reading once, of one sensor, without strays."""
    first = np.concatenate([[True], np.diff(rows.time_min) > 0])
    before = np.flatnonzero(first)[np.cumsum(first) - 1]
    differ = ~first & (rows.glucose_mg_dL != rows.glucose_mg_dL[before])
    same, clash = int(np.sum(~first & ~differ)), int(np.sum(differ))
    yield Facts({"duplicates": same, "conflicting_duplicates": clash})
    if clash:
        yield Doubt(f"readings contradict each other at {counted(clash, 'time')}; the first in the file is kept")
    rows, device = rows.take(first), device[first]
    near = yield from _main_stretch(rows.time_min, options, placed)
    rows, device = rows.take(near), device[near]
    keep = yield from once(rows.time_min, rows.glucose_mg_dL, device, options.device, file)
    return rows.take(keep)


def _main_stretch(
    time: Float[np.ndarray, " rows"], options: ReadOptions, placed: Placed
) -> Step[Bool[np.ndarray, " rows"]]:
    """Without stray readings: a few that stand weeks away from all others, as of a clock that was wrong."""
    everything = np.full(len(time), True)
    if options.start is not None or options.hours is not None:
        return everything
    edges = np.concatenate([[0], np.flatnonzero(np.diff(time) > _STRAY_MIN) + 1, [len(time)]])
    sizes = np.diff(edges)
    stray = (sizes <= _FEW_STRAYS) & (sizes < _STRAY_SHARE * sizes.max())
    if not stray.any():
        return everything
    keep = np.repeat(~stray, sizes)
    lost = np.flatnonzero(~keep)
    where = ", ".join(f"{placed.at(float(time[i])) or time[i]}" for i in lost[:3].tolist())
    yield Doubt(
        f"left out, since weeks away from all others, as of a clock that was wrong: {counted(len(lost), 'reading')} "
        f"({where}); pass {argument('start')} or {argument('hours')} to read them"
    )
    return keep


def window(whole: Series, placed: Placed, options: ReadOptions, file: str) -> Step[Series | None]:
    """The readings between `start` and `start + hours`; None where there are fewer than two."""
    time = whole.time_min
    begin = float(time[0])
    if options.start is not None:
        try:
            begin = max(begin, placed.minute(moment(options.start)))
        except ValueError as error:
            yield flaw(file, str(error), "give it as the file has its times")
    end = np.inf if options.hours is None else begin + 60 * options.hours
    inside = whole.take((time >= begin) & (time <= end))
    if len(inside.time_min) > 1 and inside.own.any():
        return inside
    first, last = placed.at(float(time[0])), placed.at(float(time[-1]))
    span = f"the file runs from {first or time[0]} to {last or time[-1]}"
    yield flaw(file, "there are fewer than two readings in the window", span, column="glucose")
    return None


def judge(readings: Series, interpolation: str, *, keep: bool, clock: bool) -> Step[None]:
    """Facts and doubts about the readings of the window; without a clock it is a simulation, which may rest."""
    time, glucose, own, side = readings
    at_limits = limits.facts_of(Limited(time[own], glucose[own], side[own]))
    yield Facts(at_limits)
    if beyond := limits.warning(at_limits):
        yield Doubt(beyond)
    share = float(np.mean(~own))
    how = interpolation if share else None
    yield Facts(interpolated=int(np.sum(~own)), interpolated_share=share, interpolation=how)
    if not own.all():
        yield Note(
            f"{np.sum(~own)} of {len(own)} readings are interpolated ({interpolation}): they are "
            + ("kept, as asked for" if keep else "neither fitted nor scored")
        )
    on_lines = share_on_lines(time[own], glucose[own])
    if on_lines > _ON_LINES and not keep:
        yield Doubt(
            f"{100 * on_lines:.0f} % of the readings lie on straight lines between their neighbours, and the record is "
            "too short to tell which are the sensor's own: what is fitted, forecast and scored may be lines that "
            "someone drew; read a longer part of the record"
        )
    step = np.diff(time[own])
    if clock and (still := stuck(time[own], glucose[own])) is not None:
        yield Doubt(still)
    fast = 0.0 if len(step) < 3 else np.mean(np.abs(np.diff(glucose[own])) > _FAST * np.maximum(step, 1.0))
    if fast > 0.02:
        yield Doubt(
            f"{100 * fast:.0f} % of steps change faster than {_FAST:g} mg/dL/min: noise, two sensors, or rows out of "
            "order"
        )
    return
