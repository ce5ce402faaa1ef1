"""Medtronic CareLink: a pump block and a sensor block, each with the newest row first."""

import bisect
import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from .._checks import BLANKS, Table, blank, flag, numbers, section, split_rows
from .._options import ReadOptions
from .._raw import CarbsUnit, GlucoseUnit, Raw, RawBasal, RawDose, RawReading
from .._remarks import Doubt, Note, Step, flaw, sound
from . import _stamps
from ._rates import Command, delivered, say_commands
from ._rows import decimal_points
from ._sheets import Files

TIME = "Date and Time"
"""The two columns put together."""
BASAL, BOLUS, BOLUS_TYPE = "Basal.Rate..U.h.", "Bolus.Volume.Delivered..U.", "Bolus.Type"
BOLUS_DURATION, SELECTED = "Bolus.Duration..h.mm.ss.", "Bolus.Volume.Selected..U."
TEMP, TEMP_TYPE, TEMP_DURATION = "Temp.Basal.Amount", "Temp.Basal.Type", "Temp.Basal.Duration..h.mm.ss."
SUSPEND, MARKER, SOURCE = "Suspend", "Event.Marker", "Bolus.Source"
SAME = dt.timedelta(seconds=5)
"""A rate written this near to a command is the rate that the command set."""

_OWN = frozenset((
    "Index", "New.Device.Time", "Linked.BG.Meter.ID", TEMP, TEMP_TYPE, TEMP_DURATION, BOLUS_TYPE, BOLUS_DURATION,
    SELECTED, BOLUS, "Alarm", SUSPEND, "Rewind", "ISIG.Value", MARKER, "Bolus.Number", "Sensor.Exception",
))  # fmt: skip
"""Names that only CareLink gives its columns."""
_READINGS: Mapping[str, Literal["cgm", "fingerstick", "calibration"]] = {
    "Sensor.Glucose": "cgm", "BG.Reading": "fingerstick", "Sensor.Calibration.BG": "calibration",
}  # fmt: skip
_GLUCOSE = re.compile(rf"({'|'.join(map(re.escape, _READINGS))})\.\.(mg\.dL|mmol\.L)\.")
_GLUCOSE_UNITS: Mapping[str | None, GlucoseUnit] = {"mg.dL": "mg/dL", "mmol.L": "mmol/L"}
_CARBS = re.compile(r"BWZ\.Carb\.Input(?:\.\.(grams|exchanges)\.)?")
_CARBS_UNITS: Mapping[str | None, CarbsUnit | None] = {"grams": "g", "exchanges": "exchange", "no unit": None}
_DURATION = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?", re.ASCII)
_MARKER = re.compile(r"(Meal|Insulin): ?(\d+(?:[.,]\d+)?) ?(grams|units|exchanges)?", re.I | re.ASCII)
_RESUMES = re.compile("RESTART|NORMAL_PUMPING|RESUME", re.I)
_PERCENT, _ABSOLUTE = re.compile("percent.*|%", re.I), re.compile("(abs|rate|u/h|insulin).*", re.I)
_AUTO_BASAL = re.compile(r"(AUTO|CLOSED[_ ]?LOOP).*(BASAL|MICRO)|MICRO[_ ]?BOLUS", re.I)
"""Source of what a closed loop gives each five minutes in the place of a basal rate."""
_TOTAL = re.compile(r"AUTO[_ ]?INSULIN|DAILY|TOTAL|AGGREGAT", re.I)
"""Source of a row, or title of a block, that sums up a day."""
_STEP = dt.timedelta(minutes=5)
_LOOP_IS_ON = dt.timedelta(minutes=15)
_HOUR, _DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
Numbers = Float[np.ndarray, " rows"]


class Block(NamedTuple):
    """The rows below one header."""

    table: Table
    when: _stamps.Times
    totals: bool
    """Whether its boluses are sums of a day, not doses."""
    numbers: Mapping[str, Numbers]
    """By column."""
    sources: Sequence[str]
    """Who asked for each bolus: the person, or the loop."""

    def cells(self, column: str) -> list[tuple[int, dt.datetime, str]]:
        """Cells of a column that are not blank, with their row and time, turned to run forward."""
        rows = zip(range(len(self.table)), self.when, self.table.stripped(column), strict=True)
        out = [(i, t, cell) for i, t, cell in rows if t is not None and cell]
        return out if _stamps.by_time([t for _, t, _ in out]) else out[::-1]

    def amounts(self, column: str) -> Iterator[tuple[int, dt.datetime, float]]:
        """Numbers of a column, likewise."""
        values = self.numbers.get(column, np.zeros(0)).tolist()
        rows = self.cells(column) if values else ()
        yield from ((i, t, values[i]) for i, t, _ in rows if np.isfinite(values[i]))

    def source(self, row: int) -> Literal["total", "basal", "dose"]:
        """What a bolus is: the sum of a day, automatic insulin in the place of basal, or a dose."""
        if self.totals or _TOTAL.search(self.sources[row]):
            return "total"
        return "basal" if _AUTO_BASAL.search(self.sources[row]) else "dose"


def dotted(name: str) -> str:
    """A column's name as R writes it: every sign that is no letter or digit is a dot."""
    return re.sub(r"[^0-9A-Za-z]", ".", name.strip(BLANKS))


def _is_header(cells: Sequence[str]) -> bool:
    names = {dotted(cell) for cell in cells}
    if not {"Date", "Time"} <= names or not ({BASAL, BOLUS} & names or any(map(_GLUCOSE.fullmatch, names))):
        return False
    # A table of one's own may call its glucose as CareLink does, but has not the pump's other columns.
    return len(_OWN & names) + sum(name.startswith("BWZ.") for name in names) > 1


def recognise(head: str) -> bool:
    """Whether one of the first lines is a header of CareLink, as exported or as R renames it."""
    return _delimiter(head) is not None


def _delimiter(text: str) -> str | None:
    """What separates the cells of the first header; None where there is none."""
    for line in text.lstrip("\ufeff").splitlines()[:40]:
        delimiter = max(",;\t|", key=line.count)
        if _is_header([cell.strip('"') for cell in line.split(delimiter)]):
            return delimiter
    return None


def parse(files: Files, options: ReadOptions) -> Step[Raw | None]:
    """Sensor, pump and bolus wizard. The preamble, which names the person, is not read."""
    path, text = files[0]
    file = str(path)
    split = yield from split_rows(file, text, delimiter=_delimiter(text) or ",")
    if split is None:
        return None
    if not any(map(_is_header, split[0])):
        yield flaw(file, "there is no header of CareLink, in English", "set CareLink to English and export again")
        return None
    blocks = yield from sound(_blocks(file, *split, options.day_first))
    if not blocks:
        if blocks is not None:
            yield flaw(file, "there is a header and no row", "export the file again")
        return None
    units = {match[2] for block in blocks for name in block.table.names if (match := _GLUCOSE.fullmatch(name))}
    glucose = yield from _stated(units, "glucose", file)
    stated: list[RawBasal] = []
    boluses: list[RawDose] = []
    for block in blocks:
        stated += yield from _basal(block)
        boluses += yield from _boluses(block)
    meals, carbs_unit = yield from _meals(blocks, file)
    return Raw(
        format="carelink",
        file=file,
        subject=path.stem,
        readings=tuple(reading for block in blocks for reading in _readings(block)),
        basal=(yield from _automatic(blocks, sorted(stated, key=lambda rate: rate.time))),
        boluses=tuple(boluses),
        meals=meals,
        glucose_unit=_GLUCOSE_UNITS.get(glucose),
        carbs_unit=carbs_unit,
    )


def _stated(units: set[str], what: str, file: str) -> Step[str | None]:
    if len(units) > 1:
        yield flaw(file, f"the headers state {what} in {' and '.join(sorted(units))}", "export it in one unit")
    return next(iter(units)) if len(units) == 1 else None


def _blocks(file: str, rows: list[list[str]], lines: list[int], day_first: bool | None) -> Step[list[Block]]:
    """The parts of the file below each header, without rows that repeat another."""
    heads = [i for i, row in enumerate(rows) if _is_header(row)]
    out: list[Block] = []
    for start, end in pairwise([*heads, len(rows)]):
        names = [dotted(cell) for cell in rows[start]]
        index = names.index("Index") if "Index" in names else -1
        body: list[list[str]] = []
        where: list[int] = []
        before: list[list[str]] = []
        title = " ".join(rows[start - 1]) if start and rows[start - 1][0].startswith("---") else ""
        for row, line in zip(rows[start + 1 : end], lines[start + 1 : end], strict=True):
            if row[0].startswith("---"):
                continue  # the title of the next block
            # The pump repeats rows; between the two may stand another of the same second.
            bare = [cell for i, cell in enumerate(row) if i != index]
            if bare in before:
                continue
            before = [*before[-2:], bare]
            body.append(row)
            where.append(line)
        table = yield from section(file, names, body, where)
        if not len(table):
            continue
        pairs = zip(table.stripped("Date"), table.stripped("Time"), strict=True)
        table = table.with_cells({TIME: [f"{date} {clock}" for date, clock in pairs]})
        when, _ = yield from _stamps.from_clock(table, TIME, day_first)
        glucose = [name for name in dict.fromkeys(names) if _GLUCOSE.fullmatch(name)]
        for name in {*names} & {BASAL, *glucose}:
            yield from _stamps.check_swapped(table, TIME, when, (~blank(table, name)).tolist())
        numeric = [*glucose, *(name for name in dict.fromkeys(names) if _CARBS.fullmatch(name))]
        numeric += [name for name in (BASAL, BOLUS, SELECTED, TEMP) if name in names]
        table = decimal_points(table, numeric)
        values: dict[str, Numbers] = {}
        for name in numeric:
            values[name] = yield from numbers(table, name)
            yield from flag(table, name, values[name] < 0, "{} is negative", "give zero or more")
        out.append(Block(table, when, _TOTAL.search(title) is not None, values, table.stripped(SOURCE)))
    return out


def _readings(block: Block) -> Iterator[RawReading]:
    for name in block.numbers:
        if match := _GLUCOSE.fullmatch(name):
            lines, kind = block.table.lines, _READINGS[match[1]]
            yield from (RawReading(t, x, lines[i], "", kind) for i, t, x in block.amounts(name))


def _basal(block: Block) -> Step[Sequence[RawBasal]]:
    """Rates as delivered. A pump that writes the rate at each command has done the sum already."""
    lines = block.table.lines
    rows = {t: RawBasal(t, x, lines[i]) for i, t, x in block.amounts(BASAL)}
    rates = [rows[t] for t in sorted(rows)]
    if BASAL not in block.table.names:
        return []
    commands = [*(yield from _temporary(block)), *(yield from _suspended(block, rates))]
    times = [row.time for row in rates]
    near = lambda t: bisect.bisect_right(times, t + SAME) > bisect.bisect_left(times, t - SAME)
    loose = [command for command in commands if not near(command.start)]
    yield from say_commands(commands)
    # A command that cancels another has no length of its own.
    return delivered(rates, loose) if any(row.end > row.start for row in loose) else rates


def _automatic(blocks: Sequence[Block], stated: Sequence[RawBasal]) -> Step[tuple[RawBasal, ...]]:
    """The basal with what a closed loop gave: rows of five minutes as rates, and a day's sum where nothing is finer.

    Between two of its rows that are no neighbours the loop gave nothing. While it is on, the rates that the pump has
    programmed are not delivered.
    """
    given = [
        (block.source(i), t, units, block.table.lines[i])
        for block in blocks
        for i, t, units in block.amounts(BOLUS)
        if units > 0
    ]
    doses = sorted((t, units, line) for kind, t, units, line in given if kind == "basal")
    sums = [(t, units, line) for kind, t, units, line in given if kind == "total"]
    begins = [t for t, _, _ in doses]
    pieces = [
        (t, min(after, t + _STEP), units, line)
        for (t, units, line), after in zip(doses, [*begins, dt.datetime.max][1:], strict=True)
        if after > t
    ]
    finer = {t.date() for t in begins}
    spread = [(t, units, line) for t, units, line in sums if t.date() not in finer]
    pieces += [(day := t.replace(hour=0, minute=0, second=0), day + _DAY, units, line) for t, units, line in spread]
    total = lambda rows: f"{sum(units for _, units, _ in rows):.4g} U"
    if doses:
        yield Doubt(f"{len(doses)} rows of automatic basal ({total(doses)}) are read as basal rates")
    if spread:
        yield Doubt(
            f"{len(spread)} daily sums of automatic insulin ({total(spread)}) are spread "
            "evenly over their days as basal, since nothing finer is in the file: its course within a day is not known"
        )
    if left := [row for row in sums if row[0].date() in finer]:
        yield Doubt(
            f"{len(left)} daily sums of automatic insulin ({total(left)}) are left out: their days have its rows"
        )
    summed = {t.date() for t, _, _ in spread}
    nearby = lambda t: bisect.bisect_right(begins, t + _LOOP_IS_ON) - bisect.bisect_left(begins, t - _LOOP_IS_ON)
    kept = [rate for rate in stated if rate.time.date() not in summed and not nearby(rate.time)]
    if len(kept) < len(stated):
        yield Doubt(f"{len(stated) - len(kept)} programmed basal rates of times when a closed loop was on are left out")
    rates: dict[dt.datetime, RawBasal] = {}
    own = [rate.time for rate in kept]
    for begin, end, units, line in sorted(pieces):
        rates[begin] = RawBasal(begin, units / ((end - begin) / _HOUR), line)
        if bisect.bisect_right(own, begin) == bisect.bisect_right(own, end):
            rates[end] = RawBasal(end, 0.0, line)
    return tuple(sorted([*kept, *rates.values()], key=lambda rate: rate.time))


def _temporary(block: Block) -> Step[list[Command]]:
    table = block.table
    lengths, kinds = (yield from _durations(table, TEMP_DURATION)), table.stripped(TEMP_TYPE)
    stated = np.array([bool(cell) for cell in table.stripped(TEMP)], dtype=bool) & (TEMP_DURATION in table.names)
    strange = np.array([not (_PERCENT.fullmatch(kind) or _ABSOLUTE.fullmatch(kind)) for kind in kinds], dtype=bool)
    what = "{} has neither the type percent nor absolute"
    yield from flag(table, TEMP, stated & strange, what, "export the file again")
    yield from flag(table, TEMP, stated & np.isnan(lengths), "the temporary rate has no duration", "state it")
    out: list[Command] = []
    for i, t, amount in block.amounts(TEMP):
        if stated[i] and not strange[i] and np.isfinite(lengths[i]):
            end = t + dt.timedelta(minutes=float(lengths[i]))
            percent = _PERCENT.fullmatch(kinds[i]) is not None
            rate, factor = (None, amount / 100) if percent else (amount, 1.0)
            out.append(Command(t, end, table.lines[i], rate, factor))
    return out


def _suspended(block: Block, rates: Sequence[RawBasal]) -> Step[list[Command]]:
    """Each suspension until the pump resumes."""
    rows = block.cells(SUSPEND)
    out: list[Command] = []
    for at, (i, t, cell) in enumerate(rows):
        if _RESUMES.search(cell):
            continue
        ends = [after for _, after, text in rows[at + 1 :] if _RESUMES.search(text)]
        if not ends:
            ends = [row.time for row in rates if row.time > t + SAME]
            line = block.table.lines[i]
            yield Note(f"row {line}: the suspension has no end; it is taken to last until the next rate")
        if ends:
            out.append(Command(t, ends[0], block.table.lines[i], 0.0, kind="suspend"))
    return out


def _durations(table: Table, column: str) -> Step[Numbers]:
    """A column of h:mm:ss as minutes; NaN where it is blank, or where there is none."""
    out = np.full(len(table), np.nan)
    cells = table.stripped(column)
    found = [_DURATION.fullmatch(cell) for cell in cells]
    for i, match in enumerate(found):
        if match is not None:
            out[i] = 60 * int(match[1]) + int(match[2]) + int(match[3] or 0) / 60
    wrong = np.array([match is None and bool(cell) for match, cell in zip(found, cells, strict=True)], dtype=bool)
    yield from flag(table, column, wrong, "{} is no duration", "it is written h:mm:ss")
    return out


def _boluses(block: Block) -> Step[list[RawDose]]:
    table = block.table
    out: list[RawDose] = []
    lengths, kinds = (yield from _durations(table, BOLUS_DURATION)), [x.lower() for x in table.stripped(BOLUS_TYPE)]
    doses = [(i, t, units) for i, t, units in block.amounts(BOLUS) if units > 0]
    unknown = np.zeros(len(table), dtype=bool)
    unknown[[i for i, _, _ in doses if "square" in kinds[i] and np.isnan(lengths[i])]] = True
    yield from flag(table, BOLUS_TYPE, unknown, "{} has no duration", "export the file again")
    for i, t, units in doses:
        if block.source(i) == "dose":
            minutes = lengths[i] if np.isfinite(lengths[i]) and "normal" not in kinds[i] else 1.0
            out.append(RawDose(t, units, table.lines[i], max(float(minutes), 1.0)))
    if {SELECTED, BOLUS} <= {*table.names} and (lost := int((~blank(table, SELECTED) & blank(table, BOLUS)).sum())):
        yield Note(f"{lost} boluses that were selected and not delivered are left out")
    for i, t, cell in block.cells(MARKER):
        match = _MARKER.fullmatch(cell)
        if match is not None and match[1].lower() == "insulin":
            out.append(RawDose(t, float(match[2].replace(",", ".")), table.lines[i]))
    return sorted(out, key=lambda dose: dose.time)


def _meals(blocks: Sequence[Block], file: str) -> Step[tuple[tuple[RawDose, ...], CarbsUnit | None]]:
    """Carbohydrate that the bolus wizard was given, and meals marked apart from it."""
    out: list[RawDose] = []
    units: set[str] = set()
    for block in blocks:
        for name in block.numbers:
            if match := _CARBS.fullmatch(name):
                given = [RawDose(t, x, block.table.lines[i]) for i, t, x in block.amounts(name) if x > 0]
                units |= {match[1] or "no unit"} if given else set()
                out += given
    unit = yield from _stated(units, "carbohydrate", file)
    lost = 0
    for block in blocks:
        for i, t, cell in block.cells(MARKER):
            match = _MARKER.fullmatch(cell)
            stated = (match[3] or "").lower() if match else ""
            if match and match[1].lower() == "meal" and stated in ("grams", "exchanges") and unit in (None, stated):
                unit = stated
                out.append(RawDose(t, float(match[2].replace(",", ".")), block.table.lines[i]))
            else:
                lost += match is None or match[1].lower() == "meal"
    if lost:
        yield Note(f"{lost} event markers that state no meal or insulin in the file's unit are left out")
    return tuple(sorted(out, key=lambda dose: dose.time)), _CARBS_UNITS.get(unit, "g")
