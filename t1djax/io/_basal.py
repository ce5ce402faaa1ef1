"""Basal insulin in U/h: its unit held against what people use, its holes, and the insulin of a day."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from .._arguments import argument
from .._words import counted
from ._carbs import SHORTEST
from ._columns import BASAL, BOLUS
from ._quantities import TOO_MUCH
from ._raw import BasalUnit, Raw
from ._remarks import Doubt, Facts, Note, Step, flaw, flaw_of_rows
from ._schedule import Rates, changes, mean_rate

_PER_DAY: Mapping[BasalUnit, float] = {"U/h": 24.0, "U/min": 1440.0, "U/5min": 288.0}
"""U a day of a basal rate of one, by its unit."""
_WORD: Mapping[str, str] = {"U/h": "U/h", "U/min": "U/min", "U/5min": "U per 5 min"}
_FEW, _USUAL, _MANY = 2.5, (4.0, 80.0), 80.0  # basal, U/day
_PLAIN = {False: 60.0, True: 100.0}  # up to here nothing speaks against a unit
_TOO_MANY = {False: 150.0, True: 200.0}  # by whether boluses are in it
_BOLUS, _INSULIN, _MUCH_INSULIN, _LITTLE_INSULIN = 125.0, 250.0, 150.0, 3.0  # U/day
_ROW, _GAP = 20.0, 120.0
"""Rows that state a rate come at least so often; a step longer than the latter is a gap in doses, min."""
_HOLE_MIN = 1.5
"""Between two pieces of basal this near there is no hole."""


def basal_of(
    raw: Raw, minutes: Rates, wanted: BasalUnit | None, span: tuple[float, float], bolus_U_day: float
) -> Step[tuple[Rates, Rates]]:
    """When the rate changes, min, and to what, U/h; `wanted` is the unit that the caller insists on."""
    file, merged, nothing = raw.file, raw.merged_insulin, (np.array([span[0]]), np.zeros(1))
    if not raw.basal:
        yield Facts(basal_unit=None, basal_unit_by=None)
        if not raw.long_acting:
            yield Note("there is no basal rate in the file; it is taken as zero")
        return nothing
    unit: BasalUnit = wanted or raw.basal_unit or "U/h"
    by = "asked for" if wanted else "stated or documented" if raw.basal_unit else "assumed"
    yield Facts(basal_unit=unit, basal_unit_by=by)
    if by == "assumed":
        remedy = f"pass {argument('basal_unit', 'U/h', 'U/min', 'U/5min')}"
        yield flaw(file, "the unit of the basal rate is not stated", remedy, column="basal")
    rate = np.array([entry.rate for entry in raw.basal], dtype=np.float64)
    bad = ~np.isfinite(rate) | (rate < 0)
    where = np.array([entry.where for entry in raw.basal])
    yield from flaw_of_rows(file, "basal", bad, where, "it is no rate", "put it right or remove it")
    if bad.all():
        return nothing
    minutes = minutes[~bad]
    time, rate = yield from changes(minutes, rate[~bad])
    if (late := time[0] - span[0]) > 60:
        yield Doubt(
            f"no basal rate is on record for the first {late / 60:.3g} of {(span[1] - span[0]) / 60:.4g} h: the first "
            "rate that is stated is taken for them"
        )
    lasts = np.array([np.inf if e.duration_min is None else e.duration_min for e in raw.basal])
    yield from _holes(minutes, lasts[~bad], span)
    stated = np.sort(minutes)
    gap = np.diff(stated[(stated >= span[0]) & (stated <= span[1])], append=span[1])
    rows = len(gap) > 2 and float(np.median(gap)) <= _ROW
    if rows and gap.max() > _GAP:
        long = gap[gap > _GAP]
        yield Doubt(
            f"rows are missing for {long.sum() / 60:.3g} h in {counted(len(long), 'place')}, and with them insulin "
            "and meals: the basal before is held, and nothing is taken as eaten or injected"
        )
    mean = mean_rate(time, rate, span)
    yield from _check_unit(mean, bolus_U_day, unit, raw.basal_unit, wanted, rows=rows, merged=merged, file=file)
    # Pumps step by fractions of a U/h; the twelfths in a file are rounded back to them.
    rate = np.round(rate * _PER_DAY[unit] / 24, 9)
    most = TOO_MUCH[BASAL] if not merged else 60 * TOO_MUCH[BOLUS]
    if rate.max() > most:
        what = f"a rate of {rate.max():.3g} U/h is more than {most:g}"
        yield flaw(file, what, f"check the unit, {argument('basal_unit')}", column="basal")
    return time, rate


def _holes(
    minutes: Float[np.ndarray, " entries"], lasts: Float[np.ndarray, " entries"], span: tuple[float, float]
) -> Step[None]:
    """A remark on times without a basal on record, where a file states how long each rate lasted: their sum."""
    order = np.argsort(minutes, kind="stable")
    begin, end = minutes[order], np.maximum.accumulate(minutes[order] + lasts[order])
    begin = np.append(begin[1:], span[1])
    inside = (end > span[0]) & (end < span[1])
    hole = np.minimum(begin, span[1])[inside] - end[inside]
    hole = hole[hole > _HOLE_MIN]
    if len(hole):
        yield Doubt(
            f"no basal is on record for {hole.sum() / 60:.3g} of {(span[1] - span[0]) / 60:.4g} h, in "
            f"{counted(len(hole), 'hole')}: the rate before each is taken to go on"
        )


def _check_unit(
    mean: float, bolus_U_day: float, unit: BasalUnit, stated: BasalUnit | None, wanted: BasalUnit | None,
    *, rows: bool, merged: bool, file: str,
) -> Step[None]:  # fmt: skip
    """Hold a day's basal against what people use.

    A unit that is asked for against the one that the file states or its format documents is refused where the stated
    one gives what people use. Where a file states a rate in every row, a dose per row is easily taken for a rate.
    """
    day: dict[str, float] = {u: mean * per_day for u, per_day in _PER_DAY.items()}

    def odd(units: float) -> str | None:
        if units == 0:
            return None
        share = units / (units + bolus_U_day)
        low = units < _FEW or (rows and not merged and share < 0.12 and units < 6)
        return "low" if low else "high" if units > _MANY else None

    if wanted is not None and stated is not None and wanted != stated and mean:
        text = (
            f"this format has basal in {_WORD[stated]}, {day[stated]:.3g} U/day; as {_WORD[wanted]}, asked for, it is "
            f"{day[wanted]:.3g}"
        )
        if odd(day[stated]) is None and day[stated] <= _PLAIN[merged]:
            yield flaw(file, text, f"leave {argument('basal_unit')} out", column="basal")
        elif odd(day[wanted]) is None:  # else it is said below
            yield Doubt(f"{text}: check the unit")
    if (how := odd(day[unit])) is None:
        return
    others = [u for u in day if u != unit and _USUAL[0] <= day[u] <= _USUAL[1]]
    text = f"{'insulin' if merged else 'basal'} sums to {day[unit]:.3g} U/day as {_WORD[unit]}"
    text += "".join(f"; as {_WORD[u]} it is {day[u]:.3g}" for u in others)
    if how == "low" and day[unit] >= _FEW:
        text += f" (boluses come to {bolus_U_day:.3g} U/day)"
    if wanted is not None or not others or _MANY < day[unit] <= _TOO_MANY[merged]:
        yield Doubt(f"{text}: check the unit")
    else:
        remedy = f"pass {argument('basal_unit', *others)}, or {unit} if that is right"
        yield flaw(file, text, remedy, column="basal")


def check_insulin(
    basal_U_day: float, bolus_U: float, days: float, *, merged: bool, wanted: bool, file: str
) -> Step[None]:
    """Report insulin that nobody takes: people with type 1 diabetes take 0.2 to 2.5 U/kg a day.

    `merged` basal holds the boluses. Where the caller insists on the unit of basal, only boluses are refused.
    """
    bolus = bolus_U / max(days, SHORTEST)
    total = basal_U_day + bolus
    if bolus > _BOLUS and not merged:
        text = f"boluses sum to {bolus:.4g} U/day (basal is {basal_U_day:.3g}); few take more than {_BOLUS:g}"
        yield flaw(file, text, "are they in U, with their decimal points? put the file right", column="bolus")
    elif total > _INSULIN and not wanted:
        text = f"insulin sums to {total:.4g} U/day; few take more than {_INSULIN:g}"
        remedy = f"check the units of basal ({argument('basal_unit')}) and boluses"
        yield flaw(file, text, remedy, column="insulin")
    elif total > _MUCH_INSULIN:
        yield Doubt(f"insulin sums to {total:.4g} U/day, which hardly anybody takes: check the units")
    if 0 < total < _LITTLE_INSULIN and days >= 1:
        yield Doubt(
            f"insulin sums to {total:.2g} U/day, less than an adult with type 1 diabetes lives on: check the units"
        )
