"""Tables of what a patient will be given: times after the end of a record, insulin and meals."""

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from ..physics import Doses
from ..records import FittedPatient
from ._checks import Findings, Table, blank, check_columns, clock, numbers
from ._columns import BASAL, BOLUS, CARBS, CLOCK, GLUCOSE, LONG_ACTING, TIME
from ._frames import frame_table
from ._quantities import DURATIONS, TOO_MUCH, UNIT, amounts_column, durations_column
from ._tables import LONGEST

if TYPE_CHECKING:
    import pandas as pd

PATIENT = "patient"


def future_inputs(frame: "pd.DataFrame", model: FittedPatient, found: Findings) -> tuple[np.ndarray, Doses] | None:
    """Times (min, on the record's clock) and doses of one patient's future; what is wrong goes to `found`.

    Args:
        frame: rows after the end of the record.
        model: the patient.
        found: collects everything wrong, by row and column.

    Returns:
        Times and doses, with what is under way at the end of the record; None where something is wrong.
    """
    before = len(found.problems)
    table = frame_table(frame, model.name, found)
    durations = (duration for duration, _ in DURATIONS.values())
    check_columns(table, (BASAL, BOLUS, CARBS), (TIME, CLOCK, LONG_ACTING, *durations, GLUCOSE, PATIENT), found)
    time_min = _times(table, model, found)
    stated = {}
    for column in (BASAL, *DURATIONS):
        if column not in table.names:
            continue
        stated[column] = amounts_column(table, column, TOO_MUCH[column], UNIT[column], found)
        if column != BASAL:
            # In a record an empty cell is no dose; of a dose to come nobody can tell whether it was lost on the way.
            found.flag(table, column, blank(table, column), "the cell is empty", "state the dose, 0 for none")
    each = []
    for amount, (duration, usual) in DURATIONS.items():
        durations = np.full(len(table), usual)
        if duration in table.names:
            durations = durations_column(table, duration, usual, found)
        each.append((stated.get(amount, np.zeros(len(table))), durations))
    if len(found.problems) > before:
        return None
    rated = np.isfinite(stated[BASAL])
    going = model.under_way
    columns = [
        np.concatenate([going.basal_time_min, time_min[rated]]),
        np.concatenate([going.basal_U_h, stated[BASAL][rated]]),
    ]
    for (amounts, durations), left in zip(each, going.events, strict=True):
        given = amounts > 0
        new = (time_min[given], amounts[given], durations[given])
        columns += [np.concatenate(pair) for pair in zip(left, new, strict=True)]
    return time_min, Doses(*columns)


def _times(table: Table, model: FittedPatient, found: Findings) -> Float[np.ndarray, " rows"]:
    columns = [column for column in (TIME, CLOCK) if column in table.names]
    if len(columns) != 1:
        both = (f"there is {CLOCK} as well", "keep one of them")
        found.add(table.file, *(both if columns else ("the column is missing", f"add it, or {CLOCK}")), column=TIME)
        return np.full(len(table), np.nan)
    column = columns[0]
    time_min = numbers(table, TIME, found) if column == TIME else _clock(table, model.start, found)
    far = np.abs(time_min) > LONGEST
    found.flag(table, column, far, "{} is beyond any record", "give minutes")
    found.flag(table, column, blank(table, column), "the row has no time", "state it")
    early = time_min <= model.end_min
    end = f"minute {model.end_min:g}"
    if column == CLOCK and model.start is not None:
        end = (model.start + dt.timedelta(minutes=model.end_min)).isoformat(timespec="seconds")
    found.flag(table, column, early, f"{{}} is not after the end of the record, {end}", "give later rows only")
    back = _before_last(time_min)
    found.flag(table, column, back, "{} is not after the row before", "sort the rows, one for each time")
    return time_min


def _before_last(time_min: Float[np.ndarray, " rows"]) -> Bool[np.ndarray, " rows"]:
    back = np.zeros(len(time_min), dtype=bool)
    stated = np.flatnonzero(np.isfinite(time_min))
    back[stated[1:]] = np.diff(time_min[stated]) <= 0
    return back


def _clock(table: Table, start: dt.datetime | None, found: Findings) -> Float[np.ndarray, " rows"]:
    """Timestamps as minutes on the record's clock."""
    nothing = np.full(len(table), np.nan)
    if start is None:
        found.add(table.file, "the record has no clock", f"give {TIME}, minutes as in the record", column=CLOCK)
        return nothing
    minutes, first = clock(table, CLOCK, found)
    if first is None:
        return nothing
    if (first.tzinfo is None) != (start.tzinfo is None):
        word = "no offset" if first.tzinfo is None else "an offset"
        found.add(table.file, f"the times have {word} from UTC, unlike the record", "give them alike", column=CLOCK)
        return nothing
    return minutes + (first - start) / dt.timedelta(minutes=1)
