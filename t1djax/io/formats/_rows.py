"""What tables of one row per time have in common."""

import datetime as dt
import re
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from .._checks import BLANKS, Findings, Table, blank, numbers
from .._raw import RawBasal, RawDose, RawReading
from . import _times

ROW_MIN = 5.0
"""Spacing of the rows of the tables that state amounts per row, min."""
_MINUTE = dt.timedelta(minutes=1)
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
Times = Sequence[dt.datetime | None]


def header_names(head: str) -> tuple[str, ...]:
    """Names of the first line, by whichever delimiter stands in it most."""
    line = head.lstrip("\ufeff").split("\n", 1)[0].strip(BLANKS)
    delimiter = max(",;\t|", key=line.count)
    return tuple(name.strip(BLANKS + '"') for name in line.split(delimiter))


def iso(cell: str) -> dt.datetime | None:
    """A time as ISO 8601 writes it, or as programs do that can be read in no other way."""
    try:
        if _ISO.fullmatch(cell):
            return dt.datetime.fromisoformat(cell)
        return dt.datetime.fromisoformat(text) if _ISO.fullmatch(text := _times.plain(cell)) else None
    except ValueError:
        return None


def times(
    table: Table, column: str, parse: Callable[[str], dt.datetime | None], example: str, found: Findings
) -> Times:
    """A column of times; what is none, or blank, is reported."""
    out = [parse(cell.strip(BLANKS)) for cell in table.columns[column]]
    empty = blank(table, column)
    wrong = np.array([t is None for t in out], dtype=bool) & ~empty
    found.flag(table, column, empty, "the row has no time", "state it")
    found.flag(table, column, wrong, "{} is no time of this format", f"it is written like {example}")
    return out


def column(table: Table, name: str, found: Findings, *, nan: bool = False) -> Float[np.ndarray, " rows"]:
    """A column of numbers that are not negative; NaN where there is none.

    Args:
        table: the table.
        name: the column.
        found: what is wrong.
        nan: whether the format writes `nan` for nothing.
    """
    if nan:
        cells = table.columns[name]
        table.columns[name] = ["" if cell.strip(BLANKS).lower() in ("nan", "na") else cell for cell in cells]
    values = numbers(table, name, found)
    found.flag(table, name, values < 0, "{} is negative", "give zero or more")
    values[values < 0] = np.nan
    return values


def grid(table: Table, name: str, when: Times, row_min: float, found: Findings) -> None:
    """Report rows off the grid that a format's amounts per row count on."""
    stated = [t for t in when if t is not None]
    if not stated or len({t.tzinfo is None for t in stated}) > 1:
        return
    first = stated[0]
    steps = np.diff([(t - first) / _MINUTE for t in stated])
    if np.mean(np.isclose(np.abs(steps), row_min)) < 0.9:
        if np.mean(np.isclose(np.diff(sorted((t - first) / _MINUTE for t in stated)), row_min)) >= 0.9:
            found.add(table.file, "the rows are out of order", "sort them by time", column=name)
            return
        mend = "amounts are per row: resample the file"
        found.add(table.file, f"fewer than nine of ten rows are {row_min:g} min apart", mend, column=name)
        return
    off = [t is not None and ((t - first) / _MINUTE) % row_min != 0 for t in when]
    mend = f"amounts are per {row_min:g} min: resample the file"
    found.flag(table, name, np.array(off, dtype=bool), f"{{}} is off the {row_min:g}-min grid of this format", mend)


def spacing(when: Times) -> float | None:
    """The usual step of the rows, min; None where there are no two."""
    stated = [t for t in when if t is not None]
    if len(stated) < 2 or len({t.tzinfo is None for t in stated}) > 1:
        return None
    return float(np.median(np.diff(sorted((t - stated[0]) / _MINUTE for t in stated))))


def readings(table: Table, when: Times, values: Float[np.ndarray, " rows"]) -> tuple[RawReading, ...]:
    """The rows that carry a reading."""
    rows = zip(when, values.tolist(), table.lines, strict=True)
    return tuple(RawReading(t, value, line) for t, value, line in rows if t is not None and np.isfinite(value))


def rates(table: Table, when: Times, values: Float[np.ndarray, " rows"]) -> tuple[RawBasal, ...]:
    """The rows that state a rate."""
    rows = zip(when, values.tolist(), table.lines, strict=True)
    return tuple(RawBasal(t, value, line) for t, value, line in rows if t is not None and np.isfinite(value))


def doses(
    table: Table, when: Times, values: Float[np.ndarray, " rows"], duration_min: float = 1.0
) -> tuple[RawDose, ...]:
    """The rows with something given."""
    rows = zip(when, values.tolist(), table.lines, strict=True)
    return tuple(RawDose(t, value, line, duration_min) for t, value, line in rows if t is not None and value > 0)
