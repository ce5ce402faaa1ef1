"""Carbohydrate: its unit, by what the file states and what people eat, and its sums.

People with type 1 diabetes eat 50 to 600 g a day; a unit of bolus is for 3 to 30 g. What lies far beyond is a wrong
unit, not a rare person.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .._arguments import argument
from ._raw import CarbsUnit
from ._remarks import Doubt, Facts, Step, flaw

G_PER_EXCHANGE: Mapping[str, float] = {
    "exchange": 10.0, "exchange-10g": 10.0, "exchange-12g": 12.0, "exchange-15g": 15.0,
}  # fmt: skip
"""Carbohydrate in one exchange, g: 10 in Spain, Britain and for a KE, 12 for a BE, 15 in America."""
_A_MEAL_G = 30.0
"""Amounts from here on are grams by their size: so many exchanges are no meal."""
_MOST, _MUCH, _USUAL = 700.0, 500.0, (30.0, 500.0)  # g/day
_PER_U, _USUAL_PER_U = (1.5, 60.0), (2.5, 30.0)  # g/U
_FEWEST_PAIRS = 3
SHORTEST = 0.5
"""Of a record shorter than this a sum is taken over this, days: one meal is no day."""


class Meals(NamedTuple):
    """Meals as entered, beside the boluses."""

    amount: Float[np.ndarray, " meals"]
    duration_min: Float[np.ndarray, " meals"]
    inside: np.ndarray
    """Which are in the days that are covered."""
    days: float
    """How many those are."""
    per_U: Float[np.ndarray, " pairs"]
    """Amount per U of bolus, where both were given."""

    def grams(self, unit: str) -> Float[np.ndarray, " meals"]:
        """Of each meal, g."""
        return self.amount * (self.duration_min if unit == "g/min" else G_PER_EXCHANGE.get(unit, 1.0))

    def day(self, unit: str) -> float:
        """Sum of a covered day, g."""
        return float(self.grams(unit)[self.inside].sum()) / max(self.days, SHORTEST)

    def doubt(self, unit: str, *, sure: bool = False) -> tuple[str, str] | None:
        """Why the amounts cannot be in a unit, and the remedy; None where they can.

        In the HUPA-UCM dataset the median carbohydrate per unit of bolus is 12.7 for a person who counts grams and 0.5
        to 2.7 for those who count exchanges. Meals are of tens of grams, or of a few exchanges. Where the file states
        the unit, both signs must speak against it.
        """
        if len(self.amount) < 3 or unit in ("none", "g/min"):
            return None
        ratio = float(np.median(self.per_U)) if len(self.per_U) >= 5 else np.nan
        size = float(np.median(self.amount))
        evidence = f"the median is {size:g} a meal" + ("" if np.isnan(ratio) else f" and {ratio:.3g} per U of bolus")
        against = all if sure else any
        if np.all(self.amount == 1):
            return "every entry is 1: a flag, not an amount", f"pass {argument('carbs_unit', 'none')}"
        ways = argument("carbs_unit", "exchange", "none")
        if unit == "g" and ratio < 4 and size >= _A_MEAL_G and not sure:
            remedy = f"are the boluses in U? put them right; or pass {ways}"
            return f"{evidence}: of grams by the size, but not by the boluses", remedy
        if unit == "g" and against((ratio < 4, size < 10)):
            return f"{evidence}, which are not grams", f"pass {ways}"
        if unit in G_PER_EXCHANGE and against((ratio > 6, size > 20)):
            return f"{evidence}, which are not exchanges", f"pass {argument('carbs_unit', 'g')}"
        return None


def unit_of_carbs(meals: Meals, stated: CarbsUnit | None, wanted: CarbsUnit | None, file: str) -> Step[str]:
    """The unit to take meals in: as asked for, as stated; none where it is refused or left out."""
    unit = wanted or stated
    by = "asked for" if wanted else "stated or documented" if stated else None
    yield Facts(carbs_unit=unit, carbs_unit_by=by)
    if unit is None or (stated is None and unit == "g/min" and np.all(meals.duration_min <= 1)):
        flags = len(meals.amount) > 2 and bool(np.all(meals.amount == 1))
        fits = " or ".join(u for u in ("g", "exchange") if meals.doubt(u) is None) or "none of them"
        ratio = f", {np.median(meals.per_U):.3g} per U of bolus" if len(meals.per_U) else ""
        why = "the unit is not stated" if unit is None else "they are amounts, not rates in g/min"
        likely = f"the median is {np.median(meals.amount):g} a meal{ratio}: {'flags (none)' if flags else fits}"
        remedy = f"pass {argument('carbs_unit', 'g', 'exchange', 'none')}; an exchange is 10 g"
        yield flaw(file, f"{why}; {likely} by its size", remedy, column="carbs")
        return "none"
    exchanges = stated == "exchange" and unit in G_PER_EXCHANGE
    if stated is not None and unit not in (stated, "none") and not exchanges:
        text = (
            f"this format has carbohydrate in {stated}, {meals.day(stated):.4g} g/day; as {unit}, asked for, it is "
            f"{meals.day(unit):.4g}"
        )
        # One or two meals tell nothing.
        if int(meals.inside.sum()) >= 3 and meals.doubt(stated) is None and meals.day(stated) <= _MOST:
            ways = argument("carbs_unit", stated, "none")
            remedy = f"leave {argument('carbs_unit')} out, or pass {ways}, which skips it"
            yield flaw(file, text, remedy, column="carbs")
            return stated
        yield Doubt(f"{text}: check the unit")
    elif exchanges and unit == "exchange":
        yield Doubt(
            "carbohydrate is in exchanges of a size that the file does not state: 10 g each is assumed; where 10, 12 "
            f"or 15 g are counted, pass {argument('carbs_unit', 'exchange-10g', 'exchange-12g', 'exchange-15g')}"
        )
    return unit


def check_carbs(meals: Meals, unit: str, sure: bool, per_U: Float[np.ndarray, " pairs"], file: str) -> Step[None]:
    """Report carbohydrate that cannot be in its unit, that nobody eats, or that fits no bolus.

    `sure` units are stated by the file; `per_U` is g per U of bolus where both were given.
    """
    if (doubt := meals.doubt(unit, sure=sure)) is not None:
        yield flaw(file, *doubt, column="carbs")
    elif (odd := meals.doubt(unit)) is not None:
        yield Doubt(f"carbohydrate is stated in {unit}, though {odd[0].removesuffix('s')}s; check it")
    day = {u: meals.day(u) for u in ("g", "g/min", *G_PER_EXCHANGE)}
    text = f"carbohydrate sums to {day[unit]:.4g} g/day as {unit}"
    others = [u for u, x in day.items() if u != unit and _USUAL[0] <= x <= _USUAL[1] and "-" not in u]
    others = [u for u in others if u != "g/min" or day["g/min"] != day["g"]]
    text += "".join(f"; as {u} it is {day[u]:.4g}" for u in others)
    if day[unit] > _MOST:
        remedy = f"pass {argument('carbs_unit', *others)}, or put the file right" if others else "put the file right"
        yield flaw(file, f"{text}; nobody eats that much", remedy, column="carbs")
    elif day[unit] > _MUCH:
        yield Doubt(f"{text}: check the unit")
    if len(per_U) >= _FEWEST_PAIRS:
        ratio = float(np.median(per_U))
        pairs = f"{ratio:.3g} g of carbohydrate per U of bolus ({len(per_U)} meals with one)"
        text = f"the median is {pairs}, where people have 3 to 30"
        if not _PER_U[0] <= ratio <= _PER_U[1]:
            if doubt is None and day[unit] <= _MOST:
                remedy = f"check the units of boluses and of carbohydrate ({argument('carbs_unit')})"
                yield flaw(file, text, f"{remedy}, and put the file right", column="carbs")
        elif not _USUAL_PER_U[0] <= ratio <= _USUAL_PER_U[1]:
            yield Doubt(f"{text}: check the units of boluses and of carbohydrate")
    small = int(np.sum(meals.grams(unit) == 1))
    if small and unit == "g":
        yield Doubt(f"{small} meals are of exactly 1 g: marks rather than meals? they are kept")


def per_bolus(
    meal_min: Float[np.ndarray, " meals"],
    carbs: Float[np.ndarray, " meals"],
    bolus_min: Float[np.ndarray, " boluses"],
    bolus: Float[np.ndarray, " boluses"],
) -> Float[np.ndarray, " pairs"]:
    """Carbohydrate per unit of bolus, for the meals with a bolus at their time; if these are few, within 20 min."""
    ratios = np.zeros(0)
    total = np.concatenate([[0.0], np.cumsum(bolus)])
    for near in (0.5, 20.0):
        first = np.searchsorted(bolus_min, meal_min - near)
        last = np.searchsorted(bolus_min, meal_min + near, side="right")
        units = total[last] - total[first]
        ratios = carbs[units > 0] / units[units > 0]
        if len(ratios) >= 5:
            break
    return ratios
