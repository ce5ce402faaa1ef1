"""Units by plausibility: what a file states is held against what people's bodies and devices do."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ._checks import Findings
from ._noted import Noted
from ._raw import BasalUnit, GlucoseUnit
from ._tables import MMOL

G_PER_EXCHANGE = 10.0
"""Carbohydrate in one exchange as counted in Spain, g."""
PER_DAY: Mapping[str, float] = {"U/h": 24.0, "U/min": 1440.0, "U/5min": 288.0}
"""U a day of a basal rate of one, by its unit."""
_WORD: Mapping[str, str] = {"U/h": "U/h", "U/min": "U/min", "U/5min": "U per 5 min"}
_FEW_U, _USUAL_U, _MANY_U, _TOO_MANY_U = 2.5, (4.0, 80.0), 80.0, 200.0  # basal a day


def glucose_factor(
    values: Float[np.ndarray, " readings"],
    stated: GlucoseUnit | None,
    asked: GlucoseUnit | None,
    file: str,
    found: Findings,
    noted: Noted,
) -> float:
    """mg/dL in one unit of the file's glucose. A unit that the values contradict is reported."""
    middle, most = float(np.median(values)), float(values.max())
    looks: GlucoseUnit | None = None
    if 2 <= middle <= 30 and most < 35:
        looks = "mmol/L"
    elif middle >= 40:
        looks = "mg/dL"
    unit = asked or stated or looks
    by = "asked for" if asked else "stated" if stated else "by its values"
    noted.facts |= {"glucose_unit": unit, "glucose_unit_by": by if unit else None}
    say = lambda what, mend: found.add(file, what, mend, column="glucose")
    if unit is None:
        what = f"its unit is not stated, and a median of {middle:.3g} is neither usual mg/dL nor mmol/L"
        say(what, 'pass glucose_unit="mg/dL" or "mmol/L" (--glucose-unit)')
        return 1.0
    if looks is not None and looks != unit:
        what = f"it is {by if asked else 'labelled'} {unit}, but a median of {middle:.3g} looks like {looks}"
        say(what, f'pass glucose_unit="{looks}" (--glucose-unit {looks})')
    elif unit == "mmol/L" and most > 40:
        say(f"readings of up to {most:.4g} stand among mmol/L", "are two units mixed? put the file right")
    factor = MMOL if unit == "mmol/L" else 1.0
    low, between = int(np.sum(values < 25)), int(np.sum((values >= 25) & (values < 40)))
    if unit == "mg/dL" and looks == "mg/dL" and low >= 3 and between < low / 4:
        what = f"{low} readings are below 25 and {between} from 25 to 40, as if mmol/L were mixed in"
        say(what, "are two units mixed? put the file right")
    elif (few := int(np.sum(values * factor < 20))) and looks == unit:
        noted.warnings.append(f"{few} readings are below 20 mg/dL, which no sensor reports; they are kept")
    if middle * factor > 500:
        say(f"its median is {middle * factor:.4g} mg/dL", "was it multiplied twice? put the file right")
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
    found: Findings,
    noted: Noted,
) -> None:
    """Hold a day's basal against what people use.

    Args:
        per_row: mean rate, in the unit.
        bolus_U_day: boluses, U/day.
        unit: of the rate.
        asked: whether the caller insists on the unit; then what is odd is a warning.
        rows: whether the file states a rate in every row, where a dose per row is easily taken for a rate.
        merged: whether the rate holds boluses too.
        file: the file.
        found: what is wrong.
        noted: what is odd.
    """
    day = per_row * PER_DAY[unit]
    if day == 0:
        return
    what = "insulin" if merged else "basal"
    share = day / (day + bolus_U_day)
    low = day < _FEW_U or (rows and not merged and share < 0.12 and day < 6)
    if not low and day <= _MANY_U:
        return
    others = [u for u in PER_DAY if u != unit and _USUAL_U[0] <= per_row * PER_DAY[u] <= _USUAL_U[1]]
    text = f"{what} sums to {day:.3g} U/day as {_WORD[unit]}"
    text += "".join(f"; as {_WORD[u]} it is {per_row * PER_DAY[u]:.3g}" for u in others)
    if low and day >= _FEW_U:
        text += f" (boluses come to {bolus_U_day:.3g} U/day)"
    if asked or not others or _MANY_U < day <= _TOO_MANY_U:
        noted.warnings.append(f"{text}: check the unit")
        return
    units = " or ".join(f'"{u}"' for u in others)
    mend = f'pass basal_unit={units} (--basal-unit), or "{unit}" if that is right'
    found.add(file, text, mend, column="basal")


def carbs_doubt(
    meals: Float[np.ndarray, " meals"], per_unit: Float[np.ndarray, " pairs"], unit: str, *, sure: bool = False
) -> tuple[str, str] | None:
    """Why carbohydrate cannot be in a unit, and the mend; None where it can.

    In the HUPA-UCM dataset the median carbohydrate per unit of bolus is 12.7 for a person who counts grams and 0.5 to
    2.7 for those who count exchanges. Meals are of tens of grams, or of a few exchanges.

    Args:
        meals: amounts as entered.
        per_unit: carbohydrate per U of bolus, where both were given.
        unit: `g`, `exchange` or `none`.
        sure: whether the file states the unit; then both signs must speak against it.
    """
    if len(meals) < 3 or unit == "none":
        return None
    ratio = float(np.median(per_unit)) if len(per_unit) >= 5 else np.nan
    size = float(np.median(meals))
    evidence = f"the median is {size:g} a meal" + ("" if np.isnan(ratio) else f" and {ratio:.3g} per U of bolus")
    if np.all(meals == 1):
        return "every entry is 1: a flag, not an amount", 'pass carbs_unit="none"'
    few, small = ratio < 4, size < 10
    if unit == "g" and ((few and small) if sure else (few or small)):
        return f"{evidence}, which are not grams", 'pass carbs_unit="exchange", or "none"'
    many, large = ratio > 6, size > 20
    if unit == "exchange" and ((many and large) if sure else (many or large)):
        return f"{evidence}, which are not exchanges", 'pass carbs_unit="g"'
    return None
