"""What the columns of a table may hold: glucose, rates, amounts and durations, each in its unit."""

import numpy as np
from jaxtyping import Float

from .._types import MG_DL_PER_MMOL_L
from ..physics import DOSE_DURATION_MIN, LONG_ACTING_MIN
from ._checks import Table, blank, flag, numbers
from ._columns import (
    BASAL,
    BOLUS,
    BOLUS_DURATION,
    CARBS,
    CLOCK,
    GLUCOSE,
    GLUCOSE_MMOL,
    LONG_ACTING,
    LONG_ACTING_DURATION,
    MEAL_DURATION,
    TIME,
)
from ._glucose import mixed_units
from ._remarks import Doubt, Step, flaw

MMOL = MG_DL_PER_MMOL_L
"""mg/dL of glucose in 1 mmol/L."""
LOW = 40.0
"""A sensor reports nothing below this, mg/dL."""
TOO_MUCH = {
    GLUCOSE: 5000.0, BASAL: 15.0, BOLUS: 100.0, CARBS: 1000.0, BOLUS_DURATION: 1440.0, MEAL_DURATION: 1440.0,
    LONG_ACTING: 700.0, LONG_ACTING_DURATION: 20160.0,
}  # fmt: skip
"""Values beyond these are wrong in unit, not merely large."""
_SWEET_MMOL = 35.0
"""No record in mmol/L has such a median."""
BRIEFEST = 1 / 60
"""Shortest duration of a dose, min."""
UNIT = {
    GLUCOSE: "give glucose in mg/dL",
    BASAL: "give basal rates in U/h",
    BOLUS: "give boluses in U",
    LONG_ACTING: "give injections in U",
    CARBS: "give carbohydrate in g; is it mg?",
    BOLUS_DURATION: "give durations in min",
    MEAL_DURATION: "give durations in min",
    LONG_ACTING_DURATION: "give durations in min",
}
DURATIONS = {
    BOLUS: (BOLUS_DURATION, DOSE_DURATION_MIN),
    CARBS: (MEAL_DURATION, DOSE_DURATION_MIN),
    LONG_ACTING: (LONG_ACTING_DURATION, LONG_ACTING_MIN),
}
"""Of each column of doses, that of durations, and what an empty one means, min."""


def glucose_column(table: Table, column: str, *, strict: bool = False) -> Step[Float[np.ndarray, " rows"]]:
    """Readings, mg/dL; NaN where there is none."""
    glucose = yield from numbers(table, column)
    if column == GLUCOSE_MMOL:
        if np.isfinite(glucose).any() and float(np.nanmedian(glucose)) > _SWEET_MMOL:
            what = f"its median is {np.nanmedian(glucose):.3g}, which looks like mg/dL"
            yield flaw(table.file, what, f"name the column {GLUCOSE}", column=column)
            return glucose
        glucose = glucose * MMOL
    yield from _too_much(table, column, glucose, TOO_MUCH[GLUCOSE], UNIT[GLUCOSE])
    seen = glucose[np.isfinite(glucose)]
    if not seen.size:
        if blank(table, column).all():
            yield flaw(table.file, "there is no reading at all", "a fit needs glucose", column=column)
        return glucose
    if column != GLUCOSE_MMOL and 2 <= np.median(seen) <= 30 and seen.max() < 35 and seen.min() > 0:
        what = f"its median is {np.median(seen):.3g}, which looks like mmol/L"
        named = f", or name the column {GLUCOSE_MMOL}" if column == GLUCOSE else ""
        yield flaw(table.file, what, f"multiply by {MMOL}{named}", column=column)
        return glucose
    stated = np.flatnonzero(np.isfinite(glucose)).tolist()
    if (two := mixed_units(seen, [table.lines[i] for i in stated])) is not None:
        yield flaw(table.file, *two, column=column)
        return glucose
    low = glucose < LOW
    if strict:
        yield from flag(table, column, low, "{} is below 40 mg/dL", "leave it empty, or read without strict")
    elif low.any():
        first = table.lines[int(np.argmax(low))]
        yield Doubt(
            f"{table.file}, row {first}, column {column}: first of {low.sum()} readings below 40 mg/dL "
            f"(the lowest is {seen.min():g}); they are kept"
        )
    return glucose


def amounts_column(table: Table, column: str, most: float, remedy: str) -> Step[Float[np.ndarray, " rows"]]:
    """Amounts or rates, none negative nor more than `most`; NaN where there is none."""
    values = yield from numbers(table, column)
    yield from flag(table, column, values < 0, "{} is negative", "give amounts and rates of zero or more")
    values[values < 0] = np.nan
    yield from _too_much(table, column, values, most, remedy)
    return values


def doses_columns(table: Table) -> Step[list[tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]]]:
    """Amounts and durations of each kind of dose; NaN where there is none, zeros where there is no such column."""
    out = []
    for amount, (duration, usual) in DURATIONS.items():
        amounts, durations = np.zeros(len(table)), np.full(len(table), usual)
        if amount in table.names:
            amounts = yield from amounts_column(table, amount, TOO_MUCH[amount], UNIT[amount])
        if duration in table.names:
            durations = yield from durations_column(table, duration, usual)
        out.append((amounts, durations))
    return out


def time_column(table: Table) -> Step[str | None]:
    """The column of times, minutes or clocks; None, which is reported, where there is none, or both."""
    columns = [column for column in (TIME, CLOCK) if column in table.names]
    if len(columns) != 1:
        both = (f"there is {CLOCK} as well", "keep one of them")
        yield flaw(table.file, *(both if columns else ("the column is missing", f"add it, or {CLOCK}")), column=TIME)
    return columns[0] if len(columns) == 1 else None


def _too_much(table: Table, column: str, values: Float[np.ndarray, " rows"], most: float, remedy: str) -> Step[None]:
    bad = np.abs(values) > most
    yield from flag(table, column, bad, f"{{}} is more than {most:g}", remedy)
    values[bad] = np.nan


def first_rate(table: Table, column: str) -> Step[None]:
    """Report a first row that states no basal rate."""
    if len(table) and blank(table, column)[0]:
        first = np.arange(len(table)) == 0
        yield from flag(table, column, first, "the first row states no rate", "state the rate in force (0 for none)")


def durations_column(table: Table, column: str, usual: float) -> Step[Float[np.ndarray, " rows"]]:
    values = yield from numbers(table, column)
    yield from flag(table, column, values <= 0, "{} is no duration", f"leave it empty for {usual:g} min")
    brief = (values > 0) & (values < BRIEFEST)
    yield from flag(table, column, brief, "{} is less than a second", UNIT[column])
    values[values < BRIEFEST] = np.nan
    yield from _too_much(table, column, values, TOO_MUCH[column], UNIT[column])
    return np.where(np.isnan(values), usual, values)


def check_basal_unit(
    table: Table, time_min: Float[np.ndarray, " rows"], basal: Float[np.ndarray, " rows"]
) -> Step[None]:
    """Rates so small, on rows so regular, that they are doses per row."""
    step = np.diff(time_min)
    stated = np.isfinite(basal)
    if len(step) == 0 or not np.allclose(step, 5.0, rtol=0, atol=1e-3) or not np.any(basal[stated] > 0):
        return
    last_stated = np.flatnonzero(stated)[np.maximum(np.cumsum(stated) - 1, 0)]
    daily = 24 * float(np.mean(basal[last_stated]))
    if daily < 0.5:
        what = f"it comes to {daily:.2g} U a day on 5-min rows, which looks like U per 5 min or U/min"
        yield flaw(table.file, what, "give basal rates in U/h: multiply by 12 or by 60", column=BASAL)
    elif daily < 3 and stated.mean() > 0.5:
        yield Doubt(f"{table.file}, column {BASAL}: it comes to {daily:.2g} U a day only; is it U per 5 min?")
