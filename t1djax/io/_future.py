"""Tables of what a patient will be given: times after the end of a record, insulin and meals."""

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from ..physics import Doses
from ..records import FittedPatient
from ._checks import Table, blank, check_columns, clock, flag, numbers
from ._columns import BASAL, BOLUS, CARBS, CLOCK, GLUCOSE, LONG_ACTING, TIME
from ._frames import frame_table
from ._quantities import DURATIONS, TOO_MUCH, UNIT, amounts_column, doses_columns, time_column
from ._remarks import Step, flaw, sound
from ._tables import LONGEST

if TYPE_CHECKING:
    import pandas as pd

PATIENT = "patient"


def future_inputs(frame: "pd.DataFrame", model: FittedPatient) -> Step[tuple[np.ndarray, Doses] | None]:
    """Times (min, on the record's clock) and doses of one patient's future; None where something is wrong.

    Doses under way at the end of the record are among them.
    """
    read = yield from sound(_columns(frame, model))
    if read is None:
        return None
    time_min, basal, events = read
    rated = np.isfinite(basal)
    going = model.under_way
    columns = [
        np.concatenate([going.basal_time_min, time_min[rated]]),
        np.concatenate([going.basal_U_h, basal[rated]]),
    ]
    for (amounts, durations), left in zip(events, going.events, strict=True):
        given = amounts > 0
        new = (time_min[given], amounts[given], durations[given])
        columns += [np.concatenate(pair) for pair in zip(left, new, strict=True)]
    return time_min, Doses(*columns)


def _columns(
    frame: "pd.DataFrame", model: FittedPatient
) -> Step[tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]]:
    """Times, rates, and amounts and durations of each kind of dose."""
    table = yield from frame_table(frame, model.name)
    durations = (duration for duration, _ in DURATIONS.values())
    yield from check_columns(table, (BASAL, BOLUS, CARBS), (TIME, CLOCK, LONG_ACTING, *durations, GLUCOSE, PATIENT))
    time_min = yield from _times(table, model)
    basal = np.zeros(len(table))
    if BASAL in table.names:
        basal = yield from amounts_column(table, BASAL, TOO_MUCH[BASAL], UNIT[BASAL])
    for column in DURATIONS.keys() & {*table.names}:
        # In a record an empty cell is no dose; of a dose to come nobody can tell whether it was lost on the way.
        yield from flag(table, column, blank(table, column), "the cell is empty", "state the dose, 0 for none")
    return time_min, basal, (yield from doses_columns(table))


def _times(table: Table, model: FittedPatient) -> Step[Float[np.ndarray, " rows"]]:
    column = yield from time_column(table)
    if column is None:
        return np.full(len(table), np.nan)
    time_min = yield from numbers(table, TIME) if column == TIME else _clock(table, model.start)
    far = np.abs(time_min) > LONGEST
    yield from flag(table, column, far, "{} is beyond any record", "give minutes")
    yield from flag(table, column, blank(table, column), "the row has no time", "state it")
    early = time_min <= model.end_min
    end = f"minute {model.end_min:g}"
    if column == CLOCK and model.start is not None:
        end = (model.start + dt.timedelta(minutes=model.end_min)).isoformat(timespec="seconds")
    yield from flag(table, column, early, f"{{}} is not after the end of the record, {end}", "give later rows only")
    back = _before_last(time_min)
    yield from flag(table, column, back, "{} is not after the row before", "sort the rows, one for each time")
    return time_min


def _before_last(time_min: Float[np.ndarray, " rows"]) -> Bool[np.ndarray, " rows"]:
    back = np.zeros(len(time_min), dtype=bool)
    stated = np.flatnonzero(np.isfinite(time_min))
    back[stated[1:]] = np.diff(time_min[stated]) <= 0
    return back


def _clock(table: Table, start: dt.datetime | None) -> Step[Float[np.ndarray, " rows"]]:
    """Timestamps as minutes on the record's clock."""
    nothing = np.full(len(table), np.nan)
    if start is None:
        yield flaw(table.file, "the record has no clock", f"give {TIME}, minutes as in the record", column=CLOCK)
        return nothing
    minutes, first = yield from clock(table, CLOCK)
    if first is None:
        return nothing
    if (first.tzinfo is None) != (start.tzinfo is None):
        word = "no offset" if first.tzinfo is None else "an offset"
        yield flaw(table.file, f"the times have {word} from UTC, unlike the record", "give them alike", column=CLOCK)
        return nothing
    return minutes + (first - start) / dt.timedelta(minutes=1)
