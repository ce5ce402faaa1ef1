"""Units by plausibility: what a file states is held against what people's bodies and devices do."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from .._arguments import argument
from ._mixed import beyond_sensors, mixed_units
from ._quantities import MMOL
from ._raw import BasalUnit, GlucoseUnit
from ._remarks import Doubt, Facts, Step, flaw

G_PER_EXCHANGE: Mapping[str, float] = {
    "exchange": 10.0, "exchange-10g": 10.0, "exchange-12g": 12.0, "exchange-15g": 15.0,
}  # fmt: skip
"""Carbohydrate in one exchange, g: 10 in Spain, Britain and for a KE, 12 for a BE, 15 in America."""
PER_DAY: Mapping[str, float] = {"U/h": 24.0, "U/min": 1440.0, "U/5min": 288.0}
"""U a day of a basal rate of one, by its unit."""
_WORD: Mapping[str, str] = {"U/h": "U/h", "U/min": "U/min", "U/5min": "U per 5 min"}
_FEW_U, _USUAL_U, _MANY_U = 2.5, (4.0, 80.0), 80.0  # basal a day
_PLAIN_U = {False: 60.0, True: 100.0}  # up to here nothing speaks against a unit
_TOO_MANY_U = {False: 150.0, True: 200.0}  # by whether boluses are in it
_A_MEAL_G = 30.0
"""Amounts from here on are grams by their size: so many exchanges are no meal."""
_FAINT, _SWEET, _TOO_SWEET = 40.0, 400.0, 500.0  # medians, mg/dL


def glucose_factor(
    values: Float[np.ndarray, " readings"],
    where: Sequence[Any],
    stated: GlucoseUnit | None,
    asked: GlucoseUnit | None,
    file: str,
) -> Step[float]:
    """mg/dL in one unit of the file's glucose. A unit that the values contradict is a problem."""
    middle, most = float(np.median(values)), float(values.max())
    looks: GlucoseUnit | None = None
    if 2 <= middle <= 30 and most < 35:
        looks = "mmol/L"
    elif middle >= 40:
        looks = "mg/dL"
    unit = asked or stated or looks
    by = "asked for" if asked else "stated" if stated else "by its values"
    yield Facts({"glucose_unit": unit, "glucose_unit_by": by if unit else None})
    if (two := mixed_units(values, where)) is not None:
        yield flaw(file, *two, column="glucose")
        return MMOL if unit == "mmol/L" and looks != "mg/dL" else 1.0
    if unit is None:
        what = f"its unit is not stated, and a median of {middle:.3g} is neither usual mg/dL nor mmol/L"
        yield flaw(file, what, f"pass {argument('glucose_unit', 'mg/dL', 'mmol/L')}", column="glucose")
        return 1.0
    factor = MMOL if unit == "mmol/L" else 1.0
    if looks is not None and looks != unit:
        what = f"it is {by if asked else 'labelled'} {unit}, but a median of {middle:.3g} looks like {looks}"
        yield flaw(file, what, f"pass {argument('glucose_unit', looks)}", column="glucose")
        return factor
    if unit == "mmol/L" and most > 40:
        what = f"readings of up to {most:.4g} stand among mmol/L"
        yield flaw(file, what, "are two units mixed? put the file right", column="glucose")
    elif middle * factor < _FAINT:
        what = f"its median is {middle * factor:.3g} mg/dL, which no person has and no sensor reports"
        yield flaw(file, what, "is it scaled, or in another unit? put the file right", column="glucose")
    elif middle * factor > _TOO_SWEET:
        what = f"its median is {middle * factor:.4g} mg/dL"
        yield flaw(file, what, "was it multiplied twice? put the file right", column="glucose")
    elif middle * factor > _SWEET:
        yield Doubt(f"the median of glucose is {middle * factor:.4g} mg/dL: is it scaled?")
    yield from map(Doubt, beyond_sensors(values * factor))
    return factor


def check_basal(
    per_row: float,
    bolus_U_day: float,
    unit: BasalUnit,
    asked: bool,
    *,
    rows: bool,
    merged: bool,
    file: str,
) -> Step[None]:
    """Hold a day's basal against what people use.

    Args:
        per_row: mean rate, in the unit.
        bolus_U_day: boluses, U/day.
        unit: of the rate.
        asked: whether the caller insists on the unit; then what is odd is a warning.
        rows: whether the file states a rate in every row, where a dose per row is easily taken for a rate.
        merged: whether the rate holds boluses too.
        file: the file.
    """
    day = per_row * PER_DAY[unit]
    odd = _odd_basal(day, bolus_U_day, rows=rows, merged=merged)
    if odd is None:
        return
    what = "insulin" if merged else "basal"
    others = [u for u in PER_DAY if u != unit and _USUAL_U[0] <= per_row * PER_DAY[u] <= _USUAL_U[1]]
    text = f"{what} sums to {day:.3g} U/day as {_WORD[unit]}"
    text += "".join(f"; as {_WORD[u]} it is {per_row * PER_DAY[u]:.3g}" for u in others)
    if odd == "low" and day >= _FEW_U:
        text += f" (boluses come to {bolus_U_day:.3g} U/day)"
    if asked or not others or _MANY_U < day <= _TOO_MANY_U[merged]:
        yield Doubt(f"{text}: check the unit")
        return
    mend = f"pass {argument('basal_unit', *others)}, or {unit} if that is right"
    yield flaw(file, text, mend, column="basal")
    return


def _odd_basal(day: float, bolus_U_day: float, *, rows: bool, merged: bool) -> str | None:
    """Whether a day's basal is `low` or `high`."""
    if day == 0:
        return None
    share = day / (day + bolus_U_day)
    low = day < _FEW_U or (rows and not merged and share < 0.12 and day < 6)
    return "low" if low else "high" if day > _MANY_U else None


def contradicted_basal(
    per_row: float,
    bolus_U_day: float,
    stated: BasalUnit | None,
    asked: BasalUnit | None,
    *,
    rows: bool,
    merged: bool,
    file: str,
) -> Step[None]:
    """Hold a unit that is asked for against the one that the file states or its format documents.

    It is refused where the stated one gives what people use; else it is taken, with a warning.

    Args:
        per_row: mean rate, in the unit.
        bolus_U_day: boluses, U/day.
        stated: by the file or its format.
        asked: by the caller.
        rows: as in `check_basal`.
        merged: as in `check_basal`.
        file: the file.
    """
    if asked is None or stated is None or asked == stated or per_row == 0:
        return
    day, other = per_row * PER_DAY[stated], per_row * PER_DAY[asked]
    text = f"this format has basal in {_WORD[stated]}, {day:.3g} U/day; as {_WORD[asked]}, asked for, it is {other:.3g}"
    if _odd_basal(day, bolus_U_day, rows=rows, merged=merged) is None and day <= _PLAIN_U[merged]:
        yield flaw(file, text, f"leave {argument('basal_unit')} out", column="basal")
    elif _odd_basal(other, bolus_U_day, rows=rows, merged=merged) is None:  # else `check_basal` says so
        yield Doubt(f"{text}: check the unit")
    return


def carbs_doubt(
    meals: Float[np.ndarray, " meals"], per_unit: Float[np.ndarray, " pairs"], unit: str, *, sure: bool = False
) -> tuple[str, str] | None:
    """Why carbohydrate cannot be in a unit, and the mend; None where it can.

    In the HUPA-UCM dataset the median carbohydrate per unit of bolus is 12.7 for a person who counts grams and 0.5 to
    2.7 for those who count exchanges. Meals are of tens of grams, or of a few exchanges.

    Args:
        meals: amounts as entered.
        per_unit: carbohydrate per U of bolus, where both were given.
        unit: `g`, one of exchanges, or `none`.
        sure: whether the file states the unit; then both signs must speak against it.
    """
    if len(meals) < 3 or unit == "none":
        return None
    ratio = float(np.median(per_unit)) if len(per_unit) >= 5 else np.nan
    size = float(np.median(meals))
    evidence = f"the median is {size:g} a meal" + ("" if np.isnan(ratio) else f" and {ratio:.3g} per U of bolus")
    if np.all(meals == 1):
        return "every entry is 1: a flag, not an amount", f"pass {argument('carbs_unit', 'none')}"
    few, small = ratio < 4, size < 10
    if unit == "g" and few and size >= _A_MEAL_G and not sure:
        mend = f"are the boluses in U? put them right; or pass {argument('carbs_unit', 'exchange', 'none')}"
        return f"{evidence}: of grams by the size, but not by the boluses", mend
    if unit == "g" and ((few and small) if sure else (few or small)):
        return f"{evidence}, which are not grams", f"pass {argument('carbs_unit', 'exchange', 'none')}"
    many, large = ratio > 6, size > 20
    if unit in G_PER_EXCHANGE and ((many and large) if sure else (many or large)):
        return f"{evidence}, which are not exchanges", f"pass {argument('carbs_unit', 'g')}"
    return None
