"""Insulin and meals: on the record's clock, in U/h, U and g, each once, held against what people live on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from .._arguments import argument
from .._words import counted
from ..physics import Doses
from ._clocks import Placed
from ._columns import BASAL, BOLUS, CARBS, LONG_ACTING, LONG_ACTING_DURATION
from ._coverage import Coverage, covered, mean_over, midnight_of
from ._options import ReadOptions
from ._quantities import BRIEFEST, TOO_MUCH
from ._raw import Raw, RawDose
from ._remarks import Doubt, Facts, Note, Step, finished, flaw, flaw_of_rows
from ._schedule import changes, mean_rate
from ._sums import check_carbs, check_insulin, contradicted_carbs, grams_by_unit
from ._units import G_PER_EXCHANGE, PER_DAY, carbs_doubt, check_basal, contradicted_basal

_BEFORE_MIN = 1440.0
"""How long before the first reading doses are kept, at the least, min."""
_ROW, _GAP = 20.0, 120.0
"""Rows that state a rate come at least so often; a step longer than the latter is a gap in doses, min."""
_PAIR_MIN = 2.0
"""Two doses of one size this near are one dose on record twice, as a rule."""
_HOLE_MIN = 1.5
"""Between two pieces of basal this near there is no hole."""


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
    """Insulin and meals around the span of the rows, in U/h, U and g.

    Args:
        raw: the parsed file.
        placed: its events on one clock.
        options: how to read it.
        time: rows of the record, min.
        own: which of them have a reading.
    """
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
    (basal_time, basal_rate), seen = finished(_basal(raw, placed, options, span, bolus_U / days))
    yield from seen
    basal_U_day = 24 * mean_over(basal_time, basal_rate, part.doses) + float(
        np.sum(slow.amount[part.inside(slow.time_min)]) / days
    )
    late = int(sum(np.sum(x.time_min > span[1]) for x in (boluses, meals, slow)))
    if late:
        yield Note(f"{counted(late, 'dose')} after the last reading are left out: given later, or only planned")
    if not any(flaw.column == "basal" for flaw in seen.problems):
        insist = options.basal_unit is not None
        yield from check_insulin(basal_U_day, bolus_U, days, merged=raw.merged_insulin, asked=insist, file=raw.file)
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


def _basal(
    raw: Raw,
    placed: Placed,
    options: ReadOptions,
    span: tuple[float, float],
    bolus_U_day: float,
) -> Step[tuple[Float[np.ndarray, " basals"], Float[np.ndarray, " basals"]]]:
    """When the rate changes, and to what, U/h."""
    if not raw.basal:
        yield Facts({"basal_unit": None, "basal_unit_by": None})
        if not raw.long_acting:
            yield Note("there is no basal rate in the file; it is taken as zero")
        return np.array([span[0]]), np.zeros(1)
    unit = options.basal_unit or raw.basal_unit
    by = "asked for" if options.basal_unit else "stated or documented"
    if unit is None:
        unit, by = "U/h", "assumed"
        mend = f"pass {argument('basal_unit', 'U/h', 'U/min', 'U/5min')}"
        yield flaw(raw.file, "the unit of the basal rate is not stated", mend, column="basal")
    yield Facts({"basal_unit": unit, "basal_unit_by": by})
    rate = np.array([entry.rate for entry in raw.basal], dtype=np.float64)
    bad = ~np.isfinite(rate) | (rate < 0)
    where = np.array([entry.where for entry in raw.basal])
    yield from flaw_of_rows(raw.file, "basal", bad, where, "it is no rate", "put it right or remove it")
    minutes = placed.minutes["basal"][~bad]
    if bad.all():
        return np.array([span[0]]), np.zeros(1)
    time, rate = yield from changes(minutes, rate[~bad])
    late = time[0] - span[0]
    if late > 60:
        yield Doubt(f"the first basal rate is stated {late / 60:.1f} h after the first reading; it is held back")
    mean = mean_rate(time, rate, span)
    stated = np.sort(minutes)
    gap = np.diff(stated[(stated >= span[0]) & (stated <= span[1])], append=span[1])
    lasts = np.array([np.inf if e.duration_min is None else e.duration_min for e in raw.basal])
    yield from _holes(minutes, lasts[~bad], span)
    rows = len(gap) > 2 and float(np.median(gap)) <= _ROW
    if rows and gap.max() > _GAP:
        long = gap[gap > _GAP]
        yield Doubt(
            f"rows are missing for {long.sum() / 60:.3g} h in {len(long)} places, and with them insulin and meals: "
            "the basal before is held, and nothing is taken as eaten or injected"
        )
    asked, kind = options.basal_unit, {"rows": rows, "merged": raw.merged_insulin, "file": raw.file}
    yield from contradicted_basal(mean, bolus_U_day, raw.basal_unit, asked, **kind)
    yield from check_basal(mean, bolus_U_day, unit, asked is not None, **kind)
    # Pumps step by fractions of a U/h; the twelfths in a file are rounded back to them.
    rate = np.round(rate * PER_DAY[unit] / 24, 9)
    most = TOO_MUCH[BASAL] if not raw.merged_insulin else 60 * TOO_MUCH[BOLUS]
    if rate.max() > most:
        what = f"a rate of {rate.max():.3g} U/h is more than {most:g}"
        yield flaw(raw.file, what, f"check the unit, {argument('basal_unit')}", column="basal")
    return time, rate


def _holes(
    minutes: Float[np.ndarray, " entries"], lasts: Float[np.ndarray, " entries"], span: tuple[float, float]
) -> Step[None]:
    """A remark on times without a basal on record, where a file states how long each rate lasted: their sum."""
    if not np.isfinite(lasts).any():
        return
    order = np.argsort(minutes, kind="stable")
    begin, end = minutes[order], np.maximum.accumulate(minutes[order] + lasts[order])
    begin = np.append(begin[1:], span[1])
    inside = (end > span[0]) & (end < span[1])
    hole = np.where(inside, np.minimum(begin, span[1]) - end, 0.0)
    hole = hole[hole > _HOLE_MIN]
    if not len(hole):
        return
    yield Doubt(
        f"no basal is on record for {hole.sum() / 60:.3g} of {(span[1] - span[0]) / 60:.4g} h, in "
        f"{counted(len(hole), 'hole')}: the rate before each is taken to go on"
    )


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


def _carbs(
    raw: Raw,
    options: ReadOptions,
    part: Coverage,
    meals: _Events,
    boluses: _Events,
) -> Step[_Events]:
    """Meals in g; as entered, with an error, where the unit is not known."""
    unit = options.carbs_unit or raw.carbs_unit
    by = "asked for" if options.carbs_unit else "stated or documented" if raw.carbs_unit else None
    there = len(meals.amount) > 0
    yield Facts(carbs_unit=unit if there else None, carbs_unit_by=by if there else None)
    if not there or unit == "none":
        return _Events(*(x[:0] for x in meals))
    per_unit = per_bolus(meals.time_min, meals.amount, boluses.time_min, boluses.amount)
    inside = part.inside(meals.time_min)
    days, sums = part.days(), grams_by_unit(meals.amount[inside], meals.duration_min[inside])
    if unit is None or (raw.carbs_unit is None and unit == "g/min" and np.all(meals.duration_min <= 1)):
        fits = [u for u in ("g", "exchange") if carbs_doubt(meals.amount, per_unit, u) is None]
        flags = len(meals.amount) > 2 and bool(np.all(meals.amount == 1))
        likely = "flags (none)" if flags else " or ".join(fits) or "none of them"
        ratio = f", {np.median(per_unit):.3g} per U of bolus" if len(per_unit) else ""
        why = "the unit is not stated" if unit is None else "they are amounts, not rates in g/min"
        what = f"{why}; the median is {np.median(meals.amount):g} a meal{ratio}: {likely} by its size"
        mend = f"pass {argument('carbs_unit', 'g', 'exchange', 'none')}; an exchange is 10 g"
        yield flaw(raw.file, what, mend, column="carbs")
        return meals
    exchanges = raw.carbs_unit == "exchange" and unit in G_PER_EXCHANGE
    if exchanges and unit == "exchange":
        yield Doubt(
            "carbohydrate is in exchanges of a size that the file does not state: 10 g each is assumed; where 10, 12 "
            f"or 15 g are counted, pass {argument('carbs_unit', 'exchange-10g', 'exchange-12g', 'exchange-15g')}"
        )
    if raw.carbs_unit is not None and unit != raw.carbs_unit and not exchanges:
        alike = raw.carbs_unit == "g/min" or carbs_doubt(meals.amount, per_unit, raw.carbs_unit) is None
        what, refuse = contradicted_carbs(sums, int(inside.sum()), raw.carbs_unit, unit, alike, days)
        if refuse:
            ways = argument("carbs_unit", raw.carbs_unit, "none")
            mend = f"leave {argument('carbs_unit')} out, or pass {ways}, which skips it"
            yield flaw(raw.file, what, mend, column="carbs")
            return _in_grams(meals, raw.carbs_unit)
        yield Doubt(f"{what}: check the unit")
    doubt = None
    if unit != "g/min":
        sure = raw.carbs_unit is not None and options.carbs_unit in (None, raw.carbs_unit)
        if (doubt := carbs_doubt(meals.amount, per_unit, unit, sure=sure)) is not None:
            yield flaw(raw.file, *doubt, column="carbs")
        elif (odd := carbs_doubt(meals.amount, per_unit, unit)) is not None:
            yield Doubt(f"carbohydrate is stated in {unit}, though {odd[0].removesuffix('s')}s; check it")
    meals = _in_grams(meals, unit)
    ratio = per_bolus(meals.time_min, meals.amount, boluses.time_min, boluses.amount)
    ratio = ratio[:0] if raw.merged_insulin else ratio
    yield from check_carbs(sums, unit, ratio, days, refused=doubt is not None, file=raw.file)
    small = int(np.sum(meals.amount == 1))
    if small and unit == "g":
        yield Doubt(f"{small} meals are of exactly 1 g: marks rather than meals? they are kept")
    return meals


def _in_grams(meals: _Events, unit: str) -> _Events:
    factor = meals.duration_min if unit == "g/min" else G_PER_EXCHANGE.get(unit, 1.0)
    return meals._replace(amount=meals.amount * factor)


def per_bolus(
    meal_min: Float[np.ndarray, " meals"],
    carbs: Float[np.ndarray, " meals"],
    bolus_min: Float[np.ndarray, " boluses"],
    bolus: Float[np.ndarray, " boluses"],
) -> Float[np.ndarray, " pairs"]:
    """Carbohydrate per unit of bolus, for the meals with a bolus at their time; if these are few, within 20 min."""
    ratios = np.zeros(0)
    for near in (0.5, 20.0):
        first = np.searchsorted(bolus_min, meal_min - near)
        last = np.searchsorted(bolus_min, meal_min + near, side="right")
        total = np.concatenate([[0.0], np.cumsum(bolus)])
        units = total[last] - total[first]
        ratios = carbs[units > 0] / units[units > 0]
        if len(ratios) >= 5:
            break
    return ratios
