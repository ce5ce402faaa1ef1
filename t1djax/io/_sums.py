"""Sums of a day, held against what people live on.

People with type 1 diabetes take 0.2 to 2.5 U/kg of insulin a day and eat 50 to 600 g of carbohydrate; a unit of bolus
is for 3 to 30 g. What lies far beyond is a wrong unit, not a rare person.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from .._arguments import argument
from ._raw import CarbsUnit
from ._remarks import Doubt, Step, flaw
from ._units import G_PER_EXCHANGE

_BOLUS, _INSULIN, _MUCH_INSULIN, _LITTLE_INSULIN = 125.0, 250.0, 150.0, 3.0  # U/day
_CARBS, _MUCH_CARBS, _USUAL_CARBS = 700.0, 500.0, (30.0, 500.0)  # g/day
_PER_U, _USUAL_PER_U = (1.5, 60.0), (2.5, 30.0)  # g/U
_FEWEST_PAIRS = 3
_SHORTEST = 0.5
"""Of a record shorter than this the sum is taken over this, days: one meal is no day."""


def check_insulin(
    basal_U_day: float,
    bolus_U: float,
    days: float,
    *,
    merged: bool,
    asked: bool,
    file: str,
) -> Step[None]:
    """Report insulin that nobody takes.

    Args:
        basal_U_day: mean basal, U/day.
        bolus_U: boluses of the span, U.
        days: length of the span.
        merged: whether basal holds the boluses.
        asked: whether the caller insists on the unit of basal; then only boluses are refused.
        file: the file.
    """
    bolus = bolus_U / max(days, _SHORTEST)
    total = basal_U_day + bolus
    mend = "are they in U? put the file right"
    if bolus > _BOLUS and not merged:
        text = f"boluses sum to {bolus:.4g} U/day (basal is {basal_U_day:.3g}), which nobody takes"
        yield flaw(file, text, mend, column="bolus")
    elif total > _INSULIN and not asked:
        text = f"insulin sums to {total:.4g} U/day, which nobody takes"
        yield flaw(file, text, f"check the units of basal ({argument('basal_unit')}) and boluses", column="insulin")
    elif total > _MUCH_INSULIN:
        yield Doubt(f"insulin sums to {total:.4g} U/day, which hardly anybody takes: check the units")
    if 0 < total < _LITTLE_INSULIN and days >= 1:
        yield Doubt(
            f"insulin sums to {total:.2g} U/day, less than an adult with type 1 diabetes lives on: check the units"
        )
    return


def check_carbs(
    grams: Mapping[str, float],
    unit: str,
    per_unit: Float[np.ndarray, " pairs"],
    days: float,
    *,
    refused: bool,
    file: str,
) -> Step[None]:
    """Report carbohydrate that nobody eats, and boluses that fit none.

    Args:
        grams: sum of the span by unit that the column may be in, g.
        unit: the one it is read in.
        per_unit: carbohydrate per U of bolus, g/U, where both were given; empty where boluses are not known.
        days: length of the span.
        refused: whether the unit is refused already.
        file: the file.
    """
    day = {u: total / max(days, _SHORTEST) for u, total in grams.items()}
    text = f"carbohydrate sums to {day[unit]:.4g} g/day as {unit}"
    rates = day["g/min"] != day["g"]
    others = [u for u, x in day.items() if u != unit and _USUAL_CARBS[0] <= x <= _USUAL_CARBS[1]]
    others = [u for u in others if (rates or u != "g/min") and "-" not in u]
    text += "".join(f"; as {u} it is {day[u]:.4g}" for u in others)
    if day[unit] > _CARBS:
        mend = "put the file right"
        mend = f"pass {argument('carbs_unit', *others)}, or {mend}" if others else mend
        yield flaw(file, f"{text}; nobody eats that much", mend, column="carbs")
    elif day[unit] > _MUCH_CARBS:
        yield Doubt(f"{text}: check the unit")
    if len(per_unit) < _FEWEST_PAIRS:
        return
    ratio = float(np.median(per_unit))
    text = f"the median is {ratio:.3g} g of carbohydrate per U of bolus ({len(per_unit)} meals with one)"
    if not _PER_U[0] <= ratio <= _PER_U[1]:
        if not refused and day[unit] <= _CARBS:
            mend = f"check the units of boluses and of carbohydrate ({argument('carbs_unit')}), and put the file right"
            yield flaw(file, f"{text}, where people have 3 to 30", mend, column="carbs")
    elif not _USUAL_PER_U[0] <= ratio <= _USUAL_PER_U[1]:
        yield Doubt(f"{text}, where people have 3 to 30: check the units of boluses and of carbohydrate")
    return


def contradicted_carbs(
    grams: Mapping[str, float], meals: int, stated: CarbsUnit, asked: CarbsUnit, fits: bool, days: float
) -> tuple[str, bool]:
    """What to say of a unit that is asked for and is not the stated one, and whether to refuse it.

    Args:
        grams: sum of the span by unit, g.
        meals: how many there are; one or two tell nothing.
        stated: by the file or its format.
        asked: by the caller.
        fits: whether the amounts look like the stated unit.
        days: length of the span.
    """
    day = {u: total / max(days, _SHORTEST) for u, total in grams.items()}
    text = (
        f"this format has carbohydrate in {stated}, {day[stated]:.4g} g/day; as {asked}, asked for, it is "
        f"{day[asked]:.4g}"
    )
    return text, meals >= 3 and fits and day[stated] <= _CARBS


def grams_by_unit(amount: Float[np.ndarray, " meals"], duration_min: Float[np.ndarray, " meals"]) -> dict[str, float]:
    """Sum of the meals for each unit that they may be in, g."""
    whole = float(amount.sum())
    exchanges = {unit: grams * whole for unit, grams in G_PER_EXCHANGE.items()}
    return {"g": whole, "g/min": float(np.sum(amount * duration_min))} | exchanges
