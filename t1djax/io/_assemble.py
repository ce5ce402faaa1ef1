"""From a parsed file to a patient: one clock, one set of units, nothing twice, nothing invented."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from .._arguments import argument
from .._words import counted
from ..data import Patient
from ..physics import Doses
from . import _limits as limits
from ._checks import SHOWN, Findings, Flaw, safe_name
from ._clocks import Placed, place
from ._columns import BASAL, BOLUS, CARBS, GLUCOSE, LONG_ACTING, LONG_ACTING_DURATION
from ._copies import once
from ._coverage import Coverage, covered, mean_over, midnight_of
from ._interpolated import own_readings, share_on_lines
from ._lacking import lacking
from ._limits import Limited
from ._mixed import stuck
from ._noted import Noted, ReadOptions, moment
from ._quantities import BRIEFEST, TOO_MUCH
from ._raw import Raw, RawBasal, RawDose
from ._schedule import mean_rate, schedule
from ._sums import check_carbs, check_insulin, contradicted_carbs, grams_by_unit
from ._units import G_PER_EXCHANGE, PER_DAY, carbs_doubt, check_basal, contradicted_basal, glucose_factor

_BEFORE_MIN = 1440.0
"""How long before the first reading doses are kept, min."""
_ON_LINES = 0.5  # of whole mg/dL that walk, a quarter lie so by chance
_ROW, _GAP = 20.0, 120.0
"""Rows that state a rate come at least so often; a step longer than the latter is a gap in doses, min."""
_STRAY_MIN, _FEW_STRAYS, _STRAY_SHARE = 20160.0, 12, 0.01
"""A few readings, and few beside the rest, that stand this far away from all others are strays."""
_PAIR_MIN = 2.0
"""Two doses of one size this near are one dose on record twice, as a rule."""
_HOLE_MIN = 1.5
"""Between two pieces of basal this near there is no hole."""
_FAST = 10.0
"""Change of glucose that no body makes from reading to reading, mg/dL/min."""


class _Events(NamedTuple):
    """Boluses or meals."""

    time_min: Float[np.ndarray, " events"]
    amount: Float[np.ndarray, " events"]
    duration_min: Float[np.ndarray, " events"]


def assemble(raw: Raw, options: ReadOptions, found: Findings, noted: Noted) -> Patient | None:
    """The patient of a parsed file. Problems go to `found`; a patient may come out all the same, for a report."""
    noted.notes += raw.notes
    noted.warnings += raw.warnings
    if not raw.readings:
        found.add(raw.file, "there is no glucose reading at all", "a fit needs glucose")
        return None
    placed = place(raw, options, found, noted)
    if placed is None:
        return None
    series = _readings(raw, placed, options, found, noted)
    if series is None:
        return None
    time, glucose, own = series
    window = _window(time, placed, options, raw, found)
    time, glucose, own = time[window], glucose[window], own[window]
    if len(time) < 2 or not own.any():
        first, last = placed.at(float(series[0][0])), placed.at(float(series[0][-1]))
        span = f"the file runs from {first or series[0][0]} to {last or series[0][-1]}"
        found.add(raw.file, "there are fewer than two readings in the window", span, column="glucose")
        return None
    _say_readings(time, glucose, own, options.keep_interpolated, noted)
    # Without a clock it is a simulation, which may rest in a steady state.
    if raw.clock and (held := stuck(time[own], glucose[own])) is not None:
        noted.warnings.append(held)
    if options.start is None and options.hours is None:
        ends = [time[0] - raw.lead_min] * (raw.lead_min > 0), [time[-1] + raw.trail_min] * (raw.trail_min > 0)
        time = np.concatenate([ends[0], time, ends[1]])
        glucose, own = (
            np.concatenate([[fill] * len(ends[0]), x, [fill] * len(ends[1])])
            for x, fill in ((glucose, np.nan), (own, False))
        )
        own = own.astype(bool)
    doses = _doses(raw, placed, options, time, own, found, noted)
    name = options.subject or raw.subject
    if (why := safe_name(name)) is not None:
        found.add(raw.file, f"the patient's name {name!a} {why}", f"pass {argument('subject', 'NAME')}")
    known = dict(raw.known)
    if raw.body_mass_kg is not None:
        known.setdefault("M", raw.body_mass_kg)
    zero = float(time[0])
    times = ("basal_time_min", "bolus_time_min", "meal_time_min", "long_acting_time_min")
    doses = dataclasses.replace(doses, **{key: getattr(doses, key) - zero for key in times})
    kept = own | options.keep_interpolated
    patient = Patient(name, time - zero, np.where(kept, glucose, np.nan), doses, known, placed.at(zero))
    left_out = options.carbs_unit == "none"
    noted.warnings += lacking(patient, merged=raw.merged_insulin, carbs_left_out=left_out)
    return patient


def _readings(
    raw: Raw, placed: Placed, options: ReadOptions, found: Findings, noted: Noted
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"], Bool[np.ndarray, " rows"]] | None:
    """The sensor's series in time: minutes, mg/dL, and which readings are its own."""
    kinds = np.array([reading.kind for reading in raw.readings])
    others = {kind: int(np.sum(kinds == kind)) for kind in ("scan", "fingerstick", "calibration")}
    if any(others.values()):
        words = ", ".join(f"{count} of kind {kind}" for kind, count in others.items() if count)
        noted.notes.append(f"readings beside the sensor's series are not used: {words}")
    cgm = kinds == "cgm"
    if not cgm.any():
        found.add(raw.file, "there is no reading of a sensor", "a fit needs a sensor's series")
        return None
    time = placed.minutes["readings"][cgm]
    value = np.array([reading.value for reading in raw.readings], dtype=np.float64)[cgm]
    where = np.array([reading.where for reading in raw.readings])[cgm]
    side = np.array([reading.censored for reading in raw.readings])[cgm]
    device = np.array([reading.device for reading in raw.readings])[cgm]
    bad = ~np.isfinite(value) | (value < 0)
    _flag(raw.file, "glucose", bad, where, "it is no glucose", "remove the row", found)
    if bad.all():
        return None
    factor = glucose_factor(
        value[~bad], where[~bad].tolist(), raw.glucose_unit, options.glucose_unit, raw.file, found, noted
    )
    glucose = value * factor
    bad |= glucose > TOO_MUCH[GLUCOSE]
    _flag(raw.file, "glucose", glucose > TOO_MUCH[GLUCOSE], where, "it is no glucose in mg/dL", "check the unit", found)
    order = np.argsort(time, kind="stable")
    order = order[~bad[order]]
    if not len(order):
        return None
    time, glucose, side, device = time[order], glucose[order], side[order], device[order]
    first = np.concatenate([[True], np.diff(time) > 0])
    held = np.flatnonzero(first)[np.cumsum(first) - 1]
    differ = ~first & (glucose != glucose[held])
    same, clash = int(np.sum(~first & ~differ)), int(np.sum(differ))
    noted.facts |= {"duplicates": same, "conflicting_duplicates": clash}
    if clash:
        noted.warnings.append(f"{clash} readings contradict another at the same time; the first in the file is kept")
    time, glucose, side, device = time[first], glucose[first], side[first], device[first]
    near = _main_stretch(time, options, placed, noted)
    time, glucose, side, device = time[near], glucose[near], side[near], device[near]
    single = once(time, glucose, device.tolist(), options.device)
    noted.facts |= {"copies": single.copies, "other_sensors": single.others}
    noted.warnings += single.warnings
    if single.problem is not None:
        found.add(raw.file, *single.problem, column="glucose")
    time, glucose, side = time[single.keep], glucose[single.keep], side[single.keep]
    noted.facts["limited"] = Limited(time, glucose, side)
    told = own_readings(time, glucose)
    noted.facts |= {"interpolation": told.how or None, "glucose_step_mg_dL": told.step_mg_dL or None}
    if told.doubt:
        mend = "read the parts by themselves (start, hours), or get the sensor's own export"
        noted.warnings.append(f"{told.doubt}; {mend}")
    elif told.unjudged:
        noted.notes.append(told.unjudged)
    return time, glucose, told.own


def _main_stretch(
    time: Float[np.ndarray, " rows"], options: ReadOptions, placed: Placed, noted: Noted
) -> Bool[np.ndarray, " rows"]:
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
    noted.warnings.append(
        f"left out, since weeks away from all others, as of a clock that was wrong: {counted(len(lost), 'reading')} "
        f"({where}); pass {argument('start')} or {argument('hours')} to read them"
    )
    return keep


def _flag(
    file: str, column: str, bad: Bool[np.ndarray, " n"], where: np.ndarray, what: str, mend: str, found: Findings
) -> None:
    if bad.any():
        rows = tuple(where[bad].tolist())
        found.problems.append(Flaw(file, column, rows, (what,) * min(SHOWN, len(rows)), mend))


def _window(
    time: Float[np.ndarray, " rows"], placed: Placed, options: ReadOptions, raw: Raw, found: Findings
) -> Bool[np.ndarray, " rows"]:
    """Rows between `start` and `start + hours`."""
    begin = float(time[0])
    if options.start is not None:
        try:
            begin = max(begin, placed.minute(moment(options.start)))
        except ValueError as error:
            found.add(raw.file, str(error), "give it as the file has its times")
    end = np.inf if options.hours is None else begin + 60 * options.hours
    return (time >= begin) & (time <= end)


def _say_readings(
    time: Float[np.ndarray, " rows"],
    glucose: Float[np.ndarray, " rows"],
    own: Bool[np.ndarray, " rows"],
    keep: bool,
    noted: Noted,
) -> None:
    """Facts and doubts about the readings of the window."""
    limited: Limited = noted.facts.pop("limited")
    noted.facts |= limits.facts_of(limited.take(np.isin(limited.time_min, time[own])))
    if said := limits.warning(noted.facts):
        noted.warnings.append(said)
    noted.facts |= {
        "interpolated": int(np.sum(~own)),
        "interpolated_share": float(np.mean(~own)),
    }
    if noted.facts["interpolation"] is not None and own.all():
        noted.facts["interpolation"] = None
    if not own.all():
        noted.notes.append(
            f"{np.sum(~own)} of {len(own)} readings are interpolated ({noted.facts['interpolation']}): they are "
            + ("kept, as asked for" if keep else "neither fitted nor scored")
        )
    on_lines = share_on_lines(time[own], glucose[own])
    if on_lines > _ON_LINES and not keep:
        noted.warnings.append(
            f"{100 * on_lines:.0f} % of the readings lie on straight lines between their neighbours, and the record is "
            "too short to tell which are the sensor's own: what is fitted, forecast and scored may be lines that "
            "someone drew; read a longer part of the record"
        )
    step = np.diff(time[own])
    if len(step) < 3:
        return
    fast = np.mean(np.abs(np.diff(glucose[own])) > _FAST * np.maximum(step, 1.0))
    if fast > 0.02:
        noted.warnings.append(
            f"{100 * fast:.0f} % of steps change faster than {_FAST:g} mg/dL/min: noise, two sensors, or rows out of "
            "order"
        )


def _doses(
    raw: Raw,
    placed: Placed,
    options: ReadOptions,
    time: Float[np.ndarray, " rows"],
    own: Bool[np.ndarray, " rows"],
    found: Findings,
    noted: Noted,
) -> Doses:
    """Insulin and meals around the span of the rows, in U/h, U and g."""
    span = (float(time[0]), float(time[-1]))
    boluses = _events(raw, raw.boluses, placed.minutes["boluses"], "bolus", found, noted)
    meals = _events(raw, raw.meals, placed.minutes["meals"], "carbs", found, noted)
    slow = _events(raw, raw.long_acting, placed.minutes["long_acting"], "long-acting insulin", found, noted)
    given = np.concatenate([boluses.time_min, meals.time_min, slow.time_min])
    part = covered(span, time[own], given, midnight_of(placed.at(span[0])) + span[0])
    days = part.days()
    for events, word, unit in ((boluses, "boluses", "U"), (meals, "meals", "g")):
        noted.warnings += _pairs(events, part, word, unit)
    bolus_U = float(np.sum(boluses.amount[part.inside(boluses.time_min)]))
    basal_time, basal_rate = _basal(raw, placed, options, span, bolus_U / days, found, noted)
    basal_U_day = 24 * mean_over(basal_time, basal_rate, part.doses) + float(
        np.sum(slow.amount[part.inside(slow.time_min)]) / days
    )
    late = int(sum(np.sum(x.time_min > span[1]) for x in (boluses, meals, slow)))
    if late:
        noted.notes.append(f"{counted(late, 'dose')} after the last reading are left out: given later, or only planned")
    if not any(flaw.column == "basal" for flaw in found.problems):
        check_insulin(basal_U_day, bolus_U, days, merged=raw.merged_insulin, asked=options.basal_unit is not None,
                      file=raw.file, found=found, noted=noted)  # fmt: skip
    if raw.merged_insulin:
        basal_rate, boluses = _bursts(basal_time, basal_rate, boluses)
    meals = _carbs(raw, options, part, meals, boluses, found, noted)
    near = lambda e: _Events(*(x[(e.time_min >= span[0] - _BEFORE_MIN) & (e.time_min <= span[1])] for x in e))
    if len(slow.amount):
        noted.notes.append(
            f"long-acting insulin: {counted(len(slow.amount), 'injection')}, {slow.amount.sum():g} U, each spread "
            "evenly over its day as basal"
        )
        if len(raw.basal) and np.any(basal_rate):
            noted.warnings.append("long-acting injections stand beside a pump's basal: both count")
    cap = lambda e, most, column: _cap(raw, e, most, column, found)
    boluses = _apart(near(cap(boluses, TOO_MUCH[BOLUS], "bolus")))
    meals = _apart(near(cap(meals, TOO_MUCH[CARBS], "carbs")))
    slow = _apart(near(cap(slow, TOO_MUCH[LONG_ACTING], "long-acting insulin")))
    last = max(int(np.searchsorted(basal_time, span[0] - _BEFORE_MIN, side="right")) - 1, 0)
    keep = (np.arange(len(basal_time)) >= last) & (basal_time <= max(span[1], basal_time[0]))
    return Doses(basal_time[keep], basal_rate[keep], *boluses, *meals, *slow)


def _events(
    raw: Raw,
    doses: Sequence[RawDose],
    minutes: Float[np.ndarray, " events"],
    column: str,
    found: Findings,
    noted: Noted,
) -> _Events:
    """Amounts in the file's unit, in time, each once."""
    amount = np.array([dose.amount for dose in doses], dtype=np.float64)
    duration = np.array([dose.duration_min for dose in doses], dtype=np.float64)
    where = np.array([dose.where for dose in doses], dtype=np.int64)
    bad = ~np.isfinite(amount) | (amount < 0) | ~(duration <= TOO_MUCH[LONG_ACTING_DURATION])
    _flag(raw.file, column, bad, where, "its amount or duration is none", "put it right or remove it", found)
    given = np.flatnonzero(~bad & (amount > 0))
    key = list(zip(minutes[given].tolist(), amount[given].tolist(), duration[given].tolist(), strict=True))
    once = [i for i, k in zip(given.tolist(), _firsts(key), strict=True) if k]
    if len(once) < len(given):
        noted.warnings.append(f"{len(given) - len(once)} entries of {column} repeat another exactly and are left out")
    once = np.array(sorted(once, key=lambda i: minutes[i]), dtype=np.int64)
    return _Events(minutes[once], amount[once], np.fmax(duration[once], BRIEFEST))


def _firsts(keys: Sequence[tuple[float, ...]]) -> list[bool]:
    seen: set[tuple[float, ...]] = set()
    return [not (key in seen or seen.add(key)) for key in keys]


def _pairs(events: _Events, part: Coverage, word: str, unit: str) -> list[str]:
    """A remark on doses of one size within two minutes: two records of one dose, as a rule. They are kept."""
    keep = part.inside(events.time_min)
    time, amount = events.time_min[keep], events.amount[keep]
    pair = (np.diff(time) <= _PAIR_MIN) & (np.abs(np.diff(amount)) <= 1e-6)
    if not pair.any():
        return []
    twice = float(amount[1:][pair].sum())
    return [
        f"{int(pair.sum())} {word} ({twice:.4g} {unit}) follow within {_PAIR_MIN:g} min upon one of the same size: are "
        f"they on record twice? all are kept; without them {word} come to {(amount.sum() - twice) / part.days():.3g} "
        f"{unit}/day"
    ]


def _cap(raw: Raw, events: _Events, most: float, column: str, found: Findings) -> _Events:
    large = events.amount > most
    if large.any():
        what = f"{int(large.sum())} entries are more than {most:g}, the largest {events.amount.max():g}"
        found.add(raw.file, what, "check the unit", column=column)
    return _Events(*(x[~large] for x in events))


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
    found: Findings,
    noted: Noted,
) -> tuple[Float[np.ndarray, " basals"], Float[np.ndarray, " basals"]]:
    """When the rate changes, and to what, U/h."""
    if not raw.basal:
        noted.facts |= {"basal_unit": None, "basal_unit_by": None}
        if not raw.long_acting:
            noted.notes.append("there is no basal rate in the file; it is taken as zero")
        return np.array([span[0]]), np.zeros(1)
    unit = options.basal_unit or raw.basal_unit
    by = "asked for" if options.basal_unit else "stated or documented"
    if unit is None:
        unit, by = "U/h", "assumed"
        mend = f"pass {argument('basal_unit', 'U/h', 'U/min', 'U/5min')}"
        found.add(raw.file, "the unit of the basal rate is not stated", mend, column="basal")
    noted.facts |= {"basal_unit": unit, "basal_unit_by": by}
    rate = np.array([entry.rate for entry in raw.basal], dtype=np.float64)
    bad = ~np.isfinite(rate) | (rate < 0)
    where = np.array([entry.where for entry in raw.basal])
    _flag(raw.file, "basal", bad, where, "it is no rate", "put it right or remove it", found)
    entries: list[RawBasal] = [entry for entry, wrong in zip(raw.basal, bad.tolist(), strict=True) if not wrong]
    if not entries:
        return np.array([span[0]]), np.zeros(1)
    time, rate = schedule(entries, placed.minutes["basal"][~bad], noted)
    late = time[0] - span[0]
    if late > 60:
        noted.warnings.append(
            f"the first basal rate is stated {late / 60:.1f} h after the first reading; it is held back"
        )
    mean = mean_rate(time, rate, span)
    stated = np.sort(placed.minutes["basal"][~bad])
    gap = np.diff(stated[(stated >= span[0]) & (stated <= span[1])], append=span[1])
    noted.warnings += _holes(entries, placed.minutes["basal"][~bad], span)
    rows = len(gap) > 2 and float(np.median(gap)) <= _ROW
    if rows and gap.max() > _GAP:
        long = gap[gap > _GAP]
        noted.warnings.append(
            f"rows are missing for {long.sum() / 60:.3g} h in {len(long)} places, and with them insulin and meals: "
            "the basal before is held, and nothing is taken as eaten or injected"
        )
    contradicted_basal(mean, bolus_U_day, raw.basal_unit, options.basal_unit, rows=rows, merged=raw.merged_insulin,
                       file=raw.file, found=found, noted=noted)  # fmt: skip
    check_basal(mean, bolus_U_day, unit, options.basal_unit is not None, rows=rows, merged=raw.merged_insulin,
                file=raw.file, found=found, noted=noted)  # fmt: skip
    # Pumps step by fractions of a U/h; the twelfths in a file are rounded back to them.
    rate = np.round(rate * PER_DAY[unit] / 24, 9)
    most = TOO_MUCH[BASAL] if not raw.merged_insulin else 60 * TOO_MUCH[BOLUS]
    if rate.max() > most:
        what = f"a rate of {rate.max():.3g} U/h is more than {most:g}"
        found.add(raw.file, what, f"check the unit, {argument('basal_unit')}", column="basal")
    return time, rate


def _holes(entries: Sequence[RawBasal], minutes: Float[np.ndarray, " entries"], span: tuple[float, float]) -> list[str]:
    """A remark on times without a basal on record, where a file states how long each rate lasted: their sum."""
    lasts = np.array([np.inf if e.kind != "scheduled" or e.duration_min is None else e.duration_min for e in entries])
    if not np.isfinite(lasts).any():
        return []
    order = np.argsort(minutes, kind="stable")
    begin, end = minutes[order], np.maximum.accumulate(minutes[order] + lasts[order])
    begin = np.append(begin[1:], span[1])
    inside = (end > span[0]) & (end < span[1])
    hole = np.where(inside, np.minimum(begin, span[1]) - end, 0.0)
    hole = hole[hole > _HOLE_MIN]
    if not len(hole):
        return []
    return [
        f"no basal is on record for {hole.sum() / 60:.3g} of {(span[1] - span[0]) / 60:.4g} h, in "
        f"{counted(len(hole), 'hole')}: the rate before each is taken to go on"
    ]


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
    found: Findings,
    noted: Noted,
) -> _Events:
    """Meals in g; as entered, with an error, where the unit is not known."""
    unit = options.carbs_unit or raw.carbs_unit
    by = "asked for" if options.carbs_unit else "stated or documented" if raw.carbs_unit else None
    noted.facts |= {
        "carbs_unit": unit if len(meals.amount) else None,
        "carbs_unit_by": by if len(meals.amount) else None,
    }
    if not len(meals.amount) or unit == "none":
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
        found.add(raw.file, what, mend, column="carbs")
        return meals
    exchanges = raw.carbs_unit == "exchange" and unit in G_PER_EXCHANGE
    if exchanges and unit == "exchange":
        noted.warnings.append(
            "carbohydrate is in exchanges of a size that the file does not state: 10 g each is assumed; where 10, 12 "
            f"or 15 g are counted, pass {argument('carbs_unit', 'exchange-10g', 'exchange-12g', 'exchange-15g')}"
        )
    if raw.carbs_unit is not None and unit != raw.carbs_unit and not exchanges:
        alike = raw.carbs_unit == "g/min" or carbs_doubt(meals.amount, per_unit, raw.carbs_unit) is None
        what, refuse = contradicted_carbs(sums, int(inside.sum()), raw.carbs_unit, unit, alike, days)
        if refuse:
            ways = argument("carbs_unit", raw.carbs_unit, "none")
            mend = f"leave {argument('carbs_unit')} out, or pass {ways}, which skips it"
            found.add(raw.file, what, mend, column="carbs")
            return _in_grams(meals, raw.carbs_unit)
        noted.warnings.append(f"{what}: check the unit")
    if unit != "g/min":
        sure = raw.carbs_unit is not None and options.carbs_unit in (None, raw.carbs_unit)
        if (doubt := carbs_doubt(meals.amount, per_unit, unit, sure=sure)) is not None:
            found.add(raw.file, *doubt, column="carbs")
        elif (doubt := carbs_doubt(meals.amount, per_unit, unit)) is not None:
            noted.warnings.append(f"carbohydrate is stated in {unit}, though {doubt[0].removesuffix('s')}s; check it")
    meals = _in_grams(meals, unit)
    ratio = per_bolus(meals.time_min, meals.amount, boluses.time_min, boluses.amount)
    ratio = ratio[:0] if raw.merged_insulin else ratio
    check_carbs(sums, unit, ratio, days, file=raw.file, found=found, noted=noted)
    small = int(np.sum(meals.amount == 1))
    if small and unit == "g":
        noted.warnings.append(f"{small} meals are of exactly 1 g: marks rather than meals? they are kept")
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
