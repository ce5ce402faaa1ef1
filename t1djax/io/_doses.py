"""Insulin and meals: on the record's clock, in U/h, U and g, each once, held against what people live on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from .._words import counted
from ..physics import Doses
from ._basal import basal_of, check_insulin
from ._carbs import Meals, check_carbs, per_bolus, unit_of_carbs
from ._clocks import Placed
from ._columns import BASAL, BOLUS, CARBS, LONG_ACTING, LONG_ACTING_DURATION
from ._coverage import Coverage, covered, mean_over, midnight_of
from ._options import ReadOptions
from ._quantities import BRIEFEST, TOO_MUCH
from ._raw import Raw, RawDose
from ._remarks import Doubt, Facts, Note, Step, finished, flaw, flaw_of_rows

_BEFORE_MIN = 1440.0
"""How long before the first reading doses are kept, at the least, min."""
_PAIR_MIN = 2.0
"""Two doses of one size this near are one dose on record twice, as a rule."""


class _Events(NamedTuple):
    """Boluses, meals, or injections."""

    time_min: Float[np.ndarray, " events"]
    amount: Float[np.ndarray, " events"]
    duration_min: Float[np.ndarray, " events"]


def doses_of(
    raw: Raw,
    placed: Placed,
    options: ReadOptions,
    time: Float[np.ndarray, " rows"],
    own: Bool[np.ndarray, " rows"],
) -> Step[Doses]:
    """Insulin and meals around the span of the rows (min), in U/h, U and g; `own` rows have a reading."""
    span = (float(time[0]), float(time[-1]))
    events = []
    for kind, column in (("boluses", "bolus"), ("meals", "carbs"), ("long_acting", "long-acting insulin")):
        events.append((yield from _events(raw.file, getattr(raw, kind), placed.minutes[kind], column)))
    boluses, meals, slow = events
    given = np.concatenate([boluses.time_min, meals.time_min, slow.time_min])
    part = covered(span, time[own], given, midnight_of(placed.at(span[0])) + span[0])
    days = part.days()
    yield from _pairs(boluses, part, "boluses", "U")
    yield from _pairs(meals, part, "meals", "g")
    bolus_U = float(np.sum(boluses.amount[part.inside(boluses.time_min)]))
    step = basal_of(raw, placed.minutes["basal"], options.basal_unit, span, bolus_U / days)
    (basal_time, basal_rate), seen = finished(step)
    yield from seen
    basal_U_day = 24 * mean_over(basal_time, basal_rate, part.doses) + float(
        np.sum(slow.amount[part.inside(slow.time_min)]) / days
    )
    late = int(sum(np.sum(x.time_min > span[1]) for x in (boluses, meals, slow)))
    if late:
        yield Note(f"{counted(late, 'dose')} after the last reading are left out: given later, or only planned")
    if not any(flaw.column == "basal" for flaw in seen.problems):
        insist = options.basal_unit is not None
        yield from check_insulin(basal_U_day, bolus_U, days, merged=raw.merged_insulin, wanted=insist, file=raw.file)
    if raw.merged_insulin:
        basal_rate, boluses = _bursts(basal_time, basal_rate, boluses)
    meals = yield from _carbs(raw, options, part, meals, boluses)
    if len(slow.amount):
        yield Note(
            f"long-acting insulin: {counted(len(slow.amount), 'injection')}, {slow.amount.sum():g} U, each spread "
            "evenly over its day as basal"
        )
        if len(raw.basal) and np.any(basal_rate):
            yield Doubt("long-acting injections stand beside a pump's basal: both count")
    given = []
    for e, most, column in (
        (boluses, TOO_MUCH[BOLUS], "bolus"),
        (meals, TOO_MUCH[CARBS], "carbs"),
        (slow, TOO_MUCH[LONG_ACTING], "long-acting insulin"),
    ):
        if (large := e.amount > most).any():
            what = f"{int(large.sum())} entries are more than {most:g}, the largest {e.amount.max():g}"
            yield flaw(raw.file, what, "check the unit", column=column)
        near = (e.time_min >= span[0] - np.maximum(_BEFORE_MIN, e.duration_min)) & (e.time_min <= span[1])
        given += _apart(_Events(*(x[near & ~large] for x in e)))
    last = max(int(np.searchsorted(basal_time, span[0] - _BEFORE_MIN, side="right")) - 1, 0)
    keep = (np.arange(len(basal_time)) >= last) & (basal_time <= max(span[1], basal_time[0]))
    return Doses(basal_time[keep], basal_rate[keep], *given)


def _events(file: str, doses: Sequence[RawDose], minutes: Float[np.ndarray, " events"], column: str) -> Step[_Events]:
    """Amounts in the file's unit, in time, each once."""
    amount = np.array([dose.amount for dose in doses], dtype=np.float64)
    duration = np.array([dose.duration_min for dose in doses], dtype=np.float64)
    where = np.array([dose.where for dose in doses], dtype=np.int64)
    bad = ~np.isfinite(amount) | (amount < 0) | ~(duration <= TOO_MUCH[LONG_ACTING_DURATION])
    yield from flaw_of_rows(file, column, bad, where, "its amount or duration is none", "put it right or remove it")
    given = np.flatnonzero(~bad & (amount > 0))
    key = list(zip(minutes[given].tolist(), amount[given].tolist(), duration[given].tolist(), strict=True))
    once = [i for i, k in zip(given.tolist(), _firsts(key), strict=True) if k]
    if len(once) < len(given):
        yield Doubt(f"{len(given) - len(once)} entries of {column} repeat another exactly and are left out")
    once = np.array(sorted(once, key=lambda i: minutes[i]), dtype=np.int64)
    return _Events(minutes[once], amount[once], np.fmax(duration[once], BRIEFEST))


def _firsts(keys: Sequence[tuple[float, ...]]) -> list[bool]:
    seen: set[tuple[float, ...]] = set()
    return [not (key in seen or seen.add(key)) for key in keys]


def _pairs(events: _Events, part: Coverage, word: str, unit: str) -> Step[None]:
    """A remark on doses of one size within two minutes: two records of one dose, as a rule. They are kept."""
    keep = part.inside(events.time_min)
    time, amount = events.time_min[keep], events.amount[keep]
    pair = (np.diff(time) <= _PAIR_MIN) & (np.abs(np.diff(amount)) <= 1e-6)
    if not pair.any():
        return
    twice = float(amount[1:][pair].sum())
    yield Doubt(
        f"{int(pair.sum())} {word} ({twice:.4g} {unit}) follow within {_PAIR_MIN:g} min upon one of the same size: are "
        f"they on record twice? all are kept; without them {word} come to {(amount.sum() - twice) / part.days():.3g} "
        f"{unit}/day"
    )


def _apart(events: _Events) -> _Events:
    """Doses of one time but different durations, a second apart, so that each has a row of its own in a table."""
    time = events.time_min.copy()
    for i in range(1, len(time)):
        if abs(time[i] - time[i - 1]) < BRIEFEST / 2 and events.duration_min[i] != events.duration_min[i - 1]:
            time[i] += BRIEFEST
    return events._replace(time_min=time)


def _bursts(
    time: Float[np.ndarray, " basals"], rate: Float[np.ndarray, " basals"], boluses: _Events
) -> tuple[Float[np.ndarray, " basals"], _Events]:
    """Rates that no basal reaches, as the rate before them and a dose over the row: the same insulin at the same time.

    A table of patients holds no such rates.
    """
    burst = rate > TOO_MUCH[BASAL]
    burst[-1] = False
    if not burst.any():
        return rate, boluses
    calm = np.maximum.accumulate(np.where(burst, -1, np.arange(len(rate))))
    before = np.where(calm < 0, 0.0, rate[np.clip(calm, 0, None)])
    minutes = np.diff(time, append=time[-1])[burst]
    amount = (rate - before)[burst] * minutes / 60
    given = _Events(*(np.concatenate(x) for x in zip(boluses, (time[burst], amount, minutes), strict=True)))
    order = np.argsort(given.time_min, kind="stable")
    return np.where(burst, before, rate), _Events(*(x[order] for x in given))


def _carbs(raw: Raw, options: ReadOptions, part: Coverage, meals: _Events, boluses: _Events) -> Step[_Events]:
    """Meals in g; none where their unit is not known, or where they are left out on demand."""
    if not len(meals.amount):
        yield Facts(carbs_unit=None, carbs_unit_by=None)
        return meals
    ratio = per_bolus(meals.time_min, meals.amount, boluses.time_min, boluses.amount)
    entered = Meals(meals.amount, meals.duration_min, part.inside(meals.time_min), part.days(), ratio)
    unit, seen = finished(unit_of_carbs(entered, raw.carbs_unit, options.carbs_unit, raw.file))
    yield from seen
    if unit == "none":
        return meals if seen.problems else _Events(*(x[:0] for x in meals))
    meals = meals._replace(amount=entered.grams(unit))
    if not seen.problems:
        sure = raw.carbs_unit is not None and options.carbs_unit in (None, raw.carbs_unit)
        ratio = per_bolus(meals.time_min, meals.amount, boluses.time_min, boluses.amount)
        yield from check_carbs(entered, unit, sure, ratio[:0] if raw.merged_insulin else ratio, raw.file)
    return meals
