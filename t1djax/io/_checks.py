"""Text tables as they come from disk: cells, numbers, times, and names."""

import copy
import csv
import datetime as dt
import difflib
import io
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from .._arguments import argument
from ._remarks import SHOWN, Doubt, Flaw, Step, flaw

HUPA = ("time", "glucose", "basal_rate", "bolus_volume_delivered", "carb_input")
"""Columns by which the HUPA-UCM layout is known."""
HUPA_SEEN = "this is the HUPA-UCM layout, not a canonical table"


def hupa_remedy() -> str:
    return f"read it with read_hupa, or train with {argument('layout', 'hupa')}"


BLANKS = " \t\r\n"
"""What may stand around a cell's text. Other characters that count as white space are damage."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NUMBER_CHARACTERS = frozenset("0123456789+-.eE \t")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([, '\u00a0\u202f]\d{3})+(\.\d+)?", re.ASCII)
_CLOCK = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,6})?)?(Z|[+-]\d\d:?\d\d(:\d\d([.]\d{1,6})?)?)?", re.ASCII
)
_MINUTE = dt.timedelta(minutes=1)


class Table:
    """Cells as text, by column, with the number of the line each row stands on."""

    def __init__(self, file: str, names: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[Any]) -> None:
        self.file = file
        self.names = tuple(names)
        self.lines = lines
        cells: list[Sequence[str]] = (
            [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in names]
        )
        # Of columns with one name the first counts; that they repeat is reported apart.
        self.columns: dict[str, Sequence[str]] = dict(zip(reversed(self.names), reversed(cells), strict=True))

    def __len__(self) -> int:
        return len(self.lines)

    def take(self, rows: Sequence[int]) -> "Table":
        """Some of its rows."""
        part = copy.copy(self)
        part.lines = [self.lines[i] for i in rows]
        part.columns = {name: [cells[i] for i in rows] for name, cells in self.columns.items()}
        return part

    def with_cells(self, cells: Mapping[str, Sequence[str]]) -> "Table":
        """With other cells in some columns, or with more columns."""
        part = copy.copy(self)
        part.columns = {**self.columns, **cells}
        return part

    def stripped(self, name: str) -> list[str]:
        """Cells of a column without blanks around them; empty ones where there is no such column."""
        return [cell.strip(BLANKS) for cell in self.columns.get(name, [""] * len(self))]


def flag(table: Table, column: str, bad: Bool[np.ndarray, " rows"], what: str, remedy: str) -> Step[None]:
    """One kind of problem in the marked rows; `{}` in `what` becomes the cell."""
    where = np.flatnonzero(bad).tolist()
    if where:
        texts = tuple(what.replace("{}", quote(table.columns[column][i])) for i in where[:SHOWN])
        yield Flaw(table.file, column, tuple(table.lines[i] for i in where), texts, remedy)


def quote(cell: str) -> str:
    """A cell as an error shows it: escaped, and cut where it is long."""
    return ascii(cell if len(cell) <= 40 else cell[:37] + "...")


def split_table(file: str, text: str, *, delimiter: str = ",") -> Step[Table | None]:
    """Header and rows of delimited text."""
    split = yield from split_rows(file, text, delimiter=delimiter)
    if split is None:
        return None
    rows, lines = split
    names = [name.strip(BLANKS) for name in rows[0]]
    header = lines[0]
    if len(names) == 1:
        other = next((d for d in (",", ";", "\t", "|") if d != delimiter and d in names[0]), None)
        if other is not None and delimiter == "," and set(HUPA) <= set(names[0].split(other)):
            yield flaw(file, HUPA_SEEN, hupa_remedy(), row=header)
            return None
        if other is not None:
            what = f"its cells are separated by {other!r}, not by {delimiter!r}"
            yield flaw(file, what, f"export it with {delimiter!r} and a decimal point", row=header)
            return None
    for name in sorted({name for name in names if names.count(name) > 1 and name}):
        yield flaw(file, "there is more than one such column", "keep one", column=quote_name(name), row=header)
    for number, name in enumerate(names, 1):
        if not name:
            yield flaw(file, f"column {number} has no name", "name it or remove it", row=header)
    table = yield from section(file, names, rows[1:], lines[1:])
    if len(rows) < 2:
        yield flaw(file, "there is a header and no row", "write the rows below it", row=header)
        return None
    return table


def section(file: str, names: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int]) -> Step[Table]:
    """The rows below a header. Those with other than its number of cells are reported; blank ones more are none."""
    width = len(names)
    even = [row[:width] if not any(cell.strip(BLANKS) for cell in row[width:]) else row for row in rows]
    ragged = [i for i, row in enumerate(even) if len(row) != width]
    if ragged:
        what = tuple(f"it has {len(even[i])} cells, the header {width}" for i in ragged[:SHOWN])
        cut = ragged == [len(rows) - 1] and len(even[-1]) < width
        remedy = "is the file cut short? export it again" if cut else "is there a decimal comma, or a comma unquoted?"
        yield Flaw(file, None, tuple(lines[i] for i in ragged), what, remedy)
    skip = set(ragged)
    keep = [i for i in range(len(even)) if i not in skip]
    return Table(file, names, [even[i] for i in keep], [lines[i] for i in keep])


def split_rows(file: str, text: str, *, delimiter: str = ",") -> Step[tuple[list[list[str]], list[int]] | None]:
    """Rows of cells and the line each begins on, blank rows left out; None where the text cannot be split."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    line = 1
    try:
        for row in reader:
            if any(row):
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        yield flaw(file, f"the row cannot be split into cells ({error})", 'look for a stray " or a huge cell', row=line)
        return None
    if not rows:
        yield flaw(file, "it has no header", "write a header line and rows", row=1)
        return None
    return rows, lines


def quote_name(name: str) -> str:
    """A column's name as an error shows it: as it is where it is plain."""
    return name if name.isascii() and name.isprintable() and len(name) <= 60 else quote(name)


def check_columns(table: Table, required: Sequence[str], optional: Sequence[str]) -> Step[bool]:
    """Report required columns that are missing and columns that nobody knows; whether all are there."""
    known = {*required, *optional}
    unknown = [name for name in dict.fromkeys(table.names) if name and name not in known]
    missing = [name for name in required if name not in table.names]
    for name in missing:
        close = difflib.get_close_matches(name, unknown, n=1, cutoff=0.5)
        remedy = f"is it {quote_name(close[0])}? rename it and mind the unit" if close else "add it"
        yield flaw(table.file, "the column is missing", remedy, column=name)
    for name in unknown:
        close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
        hint = f"; is {close[0]} meant?" if close else ""
        yield Doubt(f"{table.file}, column {quote_name(name)}: unknown, not read{hint}")
    return not missing


def numbers(table: Table, column: str) -> Step[Float[np.ndarray, " rows"]]:
    """A column as floats, read exactly; NaN where a cell is blank or wrong (the latter is reported)."""
    cells = table.columns[column]
    out = np.full(len(cells), np.nan)
    kinds: dict[str, list[int]] = {}
    try:
        if not set("".join(cells)) <= _NUMBER_CHARACTERS:
            raise ValueError
        full = [i for i, cell in enumerate(cells) if cell and not cell.isspace()]
        out[full] = [float(cells[i]) for i in full]
    except ValueError:  # cell by cell
        for i, cell in enumerate(cell.strip(BLANKS) for cell in cells):
            if _NUMBER.fullmatch(cell):
                out[i] = float(cell)
            elif cell:
                kinds.setdefault(_kind(cell), []).append(i)
    kinds.setdefault("infinite", []).extend(np.flatnonzero(np.isinf(out)).tolist())
    out[np.isinf(out)] = np.nan
    for kind, where in kinds.items():
        yield from flag(table, column, np.isin(np.arange(len(cells)), where), *_BAD[kind])
    return out


_BAD = {
    "thousands": ("{} has a thousands separator", "write digits and a decimal point only"),
    "comma": ("{} has a decimal comma", "write a decimal point"),
    "infinite": ("{} is not a finite number", "leave the cell empty where there is no value"),
    "text": ("{} is not a number", "write a number, or leave the cell empty where there is none"),
}


def _kind(cell: str) -> str:
    if _THOUSANDS.fullmatch(cell):
        return "thousands"
    if _DECIMAL_COMMA.fullmatch(cell):
        return "comma"
    return "infinite" if cell.lower().lstrip("+-") in ("nan", "inf", "infinity", "na", "n/a") else "text"


def blank(table: Table, column: str) -> Bool[np.ndarray, " rows"]:
    """Which cells of a column are empty."""
    return np.array([not cell.strip(BLANKS) for cell in table.columns[column]], dtype=bool)


def clock(table: Table, column: str) -> Step[tuple[Float[np.ndarray, " rows"], dt.datetime | None]]:
    """A column of ISO timestamps as minutes since its first row, and that row's time.

    Clocks have a microsecond's resolution. Times with different offsets from UTC are converted to UTC; times
    without one stay without. NaN where a cell is wrong.
    """
    cells = table.columns[column]
    times: list[dt.datetime | None] = []
    for cell in cells:
        stamp = cell.strip(BLANKS)
        try:
            times.append(dt.datetime.fromisoformat(stamp) if _CLOCK.fullmatch(stamp) else None)
        except ValueError:
            times.append(None)
    wrong = np.array([t is None for t in times], dtype=bool) & ~blank(table, column)
    remedy = "write ISO 8601 to the microsecond at most, such as 2024-05-01T07:30:00+02:00"
    yield from flag(table, column, wrong, "{} is not a timestamp", remedy)
    first = next((t for t in times if t is not None), None)
    minutes = np.full(len(cells), np.nan)
    if first is None:
        return minutes, None
    naive = np.array([t is not None and t.tzinfo is None for t in times], dtype=bool)
    aware = np.array([t is not None and t.tzinfo is not None for t in times], dtype=bool)
    if naive.any() and aware.any():
        few = naive if naive.sum() <= aware.sum() else aware
        word = "no" if few is naive else "an"
        what = f"{{}} has {word} offset from UTC, unlike others"
        yield from flag(table, column, few, what, "give all or none an offset")
        return minutes, None
    minutes[:] = [np.nan if t is None else (t - first) / _MINUTE for t in times]
    if aware.any() and len({t.utcoffset() for t in times if t is not None}) > 1:
        try:
            first = first.astimezone(dt.UTC)
        except OverflowError:
            yield flaw(table.file, "the first time has no UTC equivalent", remedy, column=column)
    return minutes, first


def check_order(table: Table, column: str, time_min: Float[np.ndarray, " rows"]) -> Step[None]:
    """Report blank times, times that do not increase, and a table too short to be a record."""
    yield from flag(table, column, blank(table, column), "the row has no time", "state it")
    stated = np.flatnonzero(np.isfinite(time_min))
    step = np.diff(time_min[stated])
    back, same = np.zeros((2, len(table)), dtype=bool)
    back[stated[1:]], same[stated[1:]] = step < 0, step == 0
    yield from flag(table, column, back, "{} goes back in time", "sort the rows; give local times an offset from UTC")
    yield from flag(table, column, same, "{} repeats the row before", "write what happens at one time in one row")
    if len(table) < 2:
        yield flaw(table.file, "there are fewer than two rows", "a record has a start and an end", column=column)


_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_FORMULA = "=+-@"


def as_cell(name: str) -> str:
    """A name as a table holds it: one that a spreadsheet would run as a formula has an apostrophe before it."""
    return f"'{name}" if name[:1] and name[0] in _FORMULA else name


def as_cells(table: Any) -> Any:
    """A frame with its names as a table holds them; see `as_cell`."""
    return table.assign(patient=table["patient"].map(as_cell)) if "patient" in table else table


def from_cell(cell: str) -> str:
    """The name that `as_cell` wrote."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] and cell[1] in _FORMULA else cell


def safe_name(name: str) -> str | None:
    """Why a patient's name cannot be a file's name, or None where it can."""
    if not name or name != name.strip():
        return "is empty or has blanks around it"
    if name.startswith(".") or any(c in '/\\<>:"|?*' or not c.isprintable() for c in name):
        return 'begins with a dot or has one of / \\ < > : " | ? * or a character that does not print'
    if name.casefold() in ("patients", "truth"):
        return "is reserved"
    if name.endswith(".") or _DEVICES.fullmatch(name):
        return "ends in a dot or is a device's, which Windows has no file of"
    try:
        return "is too long" if len(os.fsencode(name)) > 200 else None
    except UnicodeEncodeError:
        return "has a character that no file name can hold"
