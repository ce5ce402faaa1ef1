"""Which part of a record its readings and its doses cover, and how many days each source has."""

import datetime as dt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .._words import counted
from ..data import Patient
from ..physics import Doses
from ._clocks import at
from ._schedule import mean_rate

DAY_MIN = 1440.0
LONG_GAP_MIN = DAY_MIN
"""A longer time without a reading, or without a dose, is outside what the record covers, min."""
Spans = Float[np.ndarray, "_ 2"]


class Coverage(NamedTuple):
    """What of a record is covered: spans on the record's clock, min, in order and apart."""

    readings: Spans
    """From reading to reading, without gaps of more than a day."""
    doses: Spans
    """Of these, what lies within a day's reach of boluses, meals and injections; all of it where there are none."""

    def days(self) -> float:
        """Covered by readings and doses, days."""
        return float(np.sum(np.diff(self.doses))) / DAY_MIN

    def inside(self, time_min: Float[np.ndarray, " events"]) -> np.ndarray:
        """Whether times are in the part that readings and doses cover."""
        return _inside(self.doses, time_min)


def coverage(patient: Patient) -> Coverage:
    """What of a record its readings and its doses cover.

    Where no bolus, meal or injection is on record for longer than a day, the days that lie wholly in that time count
    as not covered: nobody can tell whether nothing was given, or nothing was written down. Days begin at midnight, or
    at multiples of 24 h where there is no clock.
    """
    span = (float(patient.time_min[0]), float(patient.time_min[-1]))
    return covered(span, patient.time_min[patient.valid], dose_times(patient), midnight_of(patient.start))


def covered(span: tuple[float, float], rows: np.ndarray, given: np.ndarray, midnight: float) -> Coverage:
    """`coverage` of a span with readings and doses at these times, min; one of its days begins at `midnight`."""
    readings = _without(np.array([span]), _gaps(rows, *span))
    given = np.sort(given[(given >= span[0]) & (given <= span[1])])
    if not len(given):
        return Coverage(readings, readings)
    gaps = _gaps(given, *span)
    up = midnight + DAY_MIN * np.ceil((gaps[:, 0] - midnight) / DAY_MIN)
    down = midnight + DAY_MIN * np.floor((gaps[:, 1] - midnight) / DAY_MIN)
    begin, end = np.where(gaps[:, 0] > span[0], up, span[0]), np.where(gaps[:, 1] < span[1], down, span[1])
    whole = np.stack([begin, end], axis=1)[end > begin]
    return Coverage(readings, _without(readings, whole))


def midnight_of(start: dt.datetime | None) -> float:
    """Minute of the midnight before a record's minute zero; zero where it has no clock."""
    return 0.0 if start is None else -(start.hour * 60 + start.minute + start.second / 60)


def dose_times(patient: Patient) -> Float[np.ndarray, " doses"]:
    """When something was given, min: boluses, meals and injections."""
    return np.sort(np.concatenate([time[amount > 0] for time, amount, _ in patient.doses.events]))


def _gaps(times: np.ndarray, first: float, last: float) -> Spans:
    """Times of more than a day between events, the ends of the record among them."""
    edges = np.concatenate([[first], times, [last]])
    return np.stack([edges[:-1], edges[1:]], axis=1)[np.diff(edges) > LONG_GAP_MIN]


def _without(spans: Spans, holes: Spans) -> Spans:
    edges = np.unique(np.concatenate([spans.ravel(), holes.ravel()]))
    middle = (edges[:-1] + edges[1:]) / 2
    keep = _inside(spans, middle) & ~_inside(holes, middle)
    parts = np.stack([edges[:-1], edges[1:]], axis=1)[keep]
    if not len(parts):
        return parts
    new = np.concatenate([[True], parts[1:, 0] > parts[:-1, 1]])
    return np.stack([parts[new, 0], parts[np.append(np.flatnonzero(new)[1:] - 1, len(parts) - 1), 1]], axis=1)


def _inside(spans: Spans, times: np.ndarray) -> np.ndarray:
    if not len(spans):
        return np.full(len(times), False)
    at = np.maximum(np.searchsorted(spans[:, 0], times, side="right") - 1, 0)
    return (times >= spans[at, 0]) & (times <= spans[at, 1])


def mean_over(time: np.ndarray, rate: np.ndarray, spans: Spans) -> float:
    """Mean over spans of a rate that holds from each time to the next, and before the first."""
    means = [mean_rate(time, rate, (begin, end)) for begin, end in spans.tolist()]
    width = np.diff(spans).ravel()
    return means[0] if len(means) == 1 else float(np.sum(np.array(means) * width) / np.sum(width))


def on_pens(doses: Doses) -> bool:
    """Whether all basal insulin is injected."""
    return bool(len(doses.long_acting_U)) and not np.any(doses.basal_U_h)


def since(spans: Spans, minute: float) -> Spans:
    """What of spans lies behind a minute."""
    late = spans[spans[:, 1] > minute]
    return np.stack([np.maximum(late[:, 0], minute), late[:, 1]], axis=1)


def days_of_sources(patient: Patient) -> dict[str, int]:
    """On how many days there is a reading, a bolus, a meal or an injection, by field of the report."""
    first, last, midnight = float(patient.time_min[0]), float(patient.time_min[-1]), midnight_of(patient.start)
    day = lambda t: len(np.unique(np.floor((t[(t >= first) & (t <= last)] - midnight) / DAY_MIN)))
    names = ("days_boluses", "days_meals", "days_long_acting")
    doses = {name: day(time[amount > 0]) for name, (time, amount, _) in zip(names, patient.doses.events, strict=True)}
    return {"days_readings": day(patient.time_min[patient.valid])} | doses


def remarks(patient: Patient, found: Coverage) -> list[str]:
    """Long times without a reading or without a dose, in a line each."""
    first, last = float(patient.time_min[0]), float(patient.time_min[-1])
    out = []
    for what, times in (
        ("reading", patient.time_min[patient.valid]),
        ("bolus, meal or injection", dose_times(patient)),
    ):
        inside = times[(times >= first) & (times <= last)]
        if not len(inside):
            continue  # that there is none at all is said elsewhere
        gaps = _gaps(inside, first, last)
        if len(gaps):
            length = np.diff(gaps).ravel() / DAY_MIN
            at = int(np.argmax(length))
            out.append(
                f"no {what} is on record for {length.sum():.3g} of {(last - first) / DAY_MIN:.3g} days, in "
                f"{counted(len(gaps), 'stretch', 'stretches')} of more than a day, the longest "
                f"{length[at]:.3g} days from {_say(patient, float(gaps[at, 0]))}; amounts per day are those of the "
                f"{found.days():.3g} days that are covered"
            )
    return out


def _say(patient: Patient, minute: float) -> str:
    clock = at(patient.start, minute)
    return f"minute {minute:g}" if clock is None else clock.isoformat(timespec="minutes")
