"""Medtronic CareLink: a pump block and a sensor block, each with the newest row first."""

import bisect
import datetime as dt
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from .._checks import BLANKS, Findings, Table, blank, split_rows
from .._raw import CarbsUnit, GlucoseUnit, Raw, RawBasal, RawDose, RawReading
from . import _exports, _rows
from ._rates import Command, commands_note, delivered

TIME = "Date and Time"
"""The two columns put together."""
BASAL, BOLUS, BOLUS_TYPE = "Basal.Rate..U.h.", "Bolus.Volume.Delivered..U.", "Bolus.Type"
BOLUS_DURATION, SELECTED = "Bolus.Duration..h.mm.ss.", "Bolus.Volume.Selected..U."
TEMP, TEMP_TYPE, TEMP_DURATION = "Temp.Basal.Amount", "Temp.Basal.Type", "Temp.Basal.Duration..h.mm.ss."
SUSPEND, MARKER, SOURCE = "Suspend", "Event.Marker", "Bolus.Source"
SAME = dt.timedelta(seconds=5)
"""A rate written this near to a command is the rate that the command set."""
GLUCOSE = ("Sensor.Glucose", "BG.Reading", "Sensor.Calibration.BG")
CARBS = "BWZ.Carb.Input"

_OWN = frozenset((
    "Index", "New.Device.Time", "Linked.BG.Meter.ID", TEMP, TEMP_TYPE, TEMP_DURATION, BOLUS_TYPE, BOLUS_DURATION,
    SELECTED, BOLUS, "Alarm", SUSPEND, "Rewind", "ISIG.Value", MARKER, "Bolus.Number", "Sensor.Exception",
))  # fmt: skip
"""Names that only CareLink gives its columns."""
_GLUCOSE = re.compile(r"(Sensor\.Glucose|BG\.Reading|Sensor\.Calibration\.BG)\.\.(mg\.dL|mmol\.L)\.")
_CARBS = re.compile(r"BWZ\.Carb\.Input(?:\.\.(grams|exchanges)\.)?")
_DURATION = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?", re.ASCII)
_MARKER = re.compile(r"(Meal|Insulin): ?(\d+(?:[.,]\d+)?) ?(grams|units|exchanges)?", re.I | re.ASCII)
_RESUMES = ("RESTART", "NORMAL_PUMPING", "RESUME")
_AUTO_BASAL = re.compile(r"(AUTO|CLOSED[_ ]?LOOP).*(BASAL|MICRO)|MICRO[_ ]?BOLUS", re.I)
"""Source of what a closed loop gives each five minutes in the place of a basal rate."""
_TOTAL = re.compile(r"AUTO[_ ]?INSULIN|DAILY|TOTAL|AGGREGAT", re.I)
"""Source of a row, or title of a block, that sums up a day."""
_STEP = dt.timedelta(minutes=5)
_LOOP_IS_ON = dt.timedelta(minutes=15)
_DAY = dt.timedelta(days=1)


class Block(NamedTuple):
    """The rows below one header."""

    table: Table
    when: list[dt.datetime | None]
    totals: bool = False
    """Whether its boluses are sums of a day, not doses."""

    def rows(self, column: str) -> list[tuple[int, dt.datetime, str]]:
        """Cells of a column that are not blank, with their row and time, turned to run forward."""
        cells = self.table.columns.get(column, ())
        out = [
            (i, t, cell.strip(BLANKS))
            for i, (t, cell) in enumerate(zip(self.when, cells, strict=False))
            if t is not None and cell.strip(BLANKS)
        ]
        return out if _exports.by_time([t for _, t, _ in out]) else out[::-1]


def dotted(name: str) -> str:
    """A column's name as R writes it: every sign that is no letter or digit is a dot."""
    return re.sub(r"[^0-9A-Za-z]", ".", name.strip(BLANKS))


def _is_header(cells: Sequence[str]) -> bool:
    names = {dotted(cell) for cell in cells}
    if not {"Date", "Time"} <= names or not ({BASAL, BOLUS} & names or any(map(_GLUCOSE.fullmatch, names))):
        return False
    # A table of one's own may call its glucose as CareLink does, but has not the pump's other columns.
    return len(_OWN & names) + sum(name.startswith("BWZ.") for name in names) > 1


def recognise(head: str, name: str) -> bool:
    """Whether one of the first lines is a header of CareLink, as exported or as R renames it."""
    return _delimiter(head) is not None


def _delimiter(text: str) -> str | None:
    """What separates the cells of the first header; None where there is none."""
    for line in text.lstrip("\ufeff").splitlines()[:40]:
        delimiter = _exports.delimiter_of(line)
        if _is_header([cell.strip('"') for cell in line.split(delimiter)]):
            return delimiter
    return None


def parse(path: Path, text: str, found: Findings, *, day_first: bool | None = None) -> Raw | None:
    """Sensor, pump and bolus wizard. The preamble, which names the person, is not read.

    Args:
        path: the file.
        text: its content.
        found: what is wrong.
        day_first: whether dates are written with the day before the month, where the file does not tell.
    """
    file = str(path)
    split = split_rows(file, text, found, delimiter=_delimiter(text) or ",")
    if split is None:
        return None
    before = len(found.problems)
    blocks = _blocks(file, *split, day_first, found)
    if not blocks:
        if len(found.problems) == before:
            found.add(file, "there is no header of CareLink, in English", "set CareLink to English and export again")
        return None
    names = [name for block in blocks for name in block.table.names]
    glucose = _stated({match[2] for name in names if (match := _GLUCOSE.fullmatch(name))}, "glucose", file, found)
    words: dict[str | None, GlucoseUnit] = {"mg.dL": "mg/dL", "mmol.L": "mmol/L"}
    notes: list[str] = []
    warnings: list[str] = []
    stated = sorted((rate for block in blocks for rate in _basal(block, notes, found)), key=lambda rate: rate.time)
    meals, carbs_unit = _meals(blocks, file, notes, found)
    return Raw(
        format="carelink",
        file=file,
        subject=path.stem,
        readings=tuple(reading for block in blocks for reading in _readings(block, found)),
        basal=_automatic(blocks, stated, warnings, found),
        boluses=tuple(dose for block in blocks for dose in _boluses(block, notes, found)),
        meals=meals,
        glucose_unit=words.get(glucose),
        carbs_unit=carbs_unit,
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def _stated(units: set[str], what: str, file: str, found: Findings) -> str | None:
    if len(units) > 1:
        found.add(file, f"the headers state {what} in {' and '.join(sorted(units))}", "export it in one unit")
    return next(iter(units)) if len(units) == 1 else None


def _blocks(
    file: str,
    rows: list[list[str]],
    lines: list[int],
    day_first: bool | None,
    found: Findings,
) -> list[Block]:
    """The parts of the file below each header, turned to run forward, without rows that repeat another."""
    heads = [i for i, row in enumerate(rows) if _is_header(row)]
    out: list[Block] = []
    for start, end in pairwise([*heads, len(rows)] if heads else ()):
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
        table = _exports.section(file, names, body, where, found)
        if not len(table):
            continue
        pairs = zip(table.columns["Date"], table.columns["Time"], strict=True)
        table.columns[TIME] = [f"{date.strip(BLANKS)} {clock.strip(BLANKS)}" for date, clock in pairs]
        when = _exports.stamps(table, TIME, found, day_first=day_first)
        for name in {*names} & {BASAL, *(name for name in names if _GLUCOSE.fullmatch(name))}:
            stated = [None if bad else t for t, bad in zip(when, blank(table, name), strict=True)]
            _exports.check_swapped(table, TIME, stated, found)
        numeric = [name for name in names if _GLUCOSE.fullmatch(name) or _CARBS.fullmatch(name)]
        _exports.decimal_points(table, [*numeric, *(n for n in (BASAL, BOLUS, SELECTED, TEMP) if n in names)])
        out.append(Block(table, when, _TOTAL.search(title) is not None))
    return out


def _numbers(block: Block, column: str, found: Findings) -> Float[np.ndarray, " rows"]:
    return _rows.column(block.table, column, found)


def _readings(block: Block, found: Findings) -> list[RawReading]:
    kinds: dict[str, Literal["cgm", "fingerstick", "calibration"]] = dict(
        zip(GLUCOSE, ("cgm", "fingerstick", "calibration"), strict=True)
    )
    out: list[RawReading] = []
    for name in dict.fromkeys(block.table.names):
        match = _GLUCOSE.fullmatch(name)
        if match is None:
            continue
        values = _numbers(block, name, found)
        found.flag(block.table, name, values == 0, "{} is no glucose", "leave the row out")
        lines = block.table.lines
        rows = [(i, t) for i, t, _ in block.rows(name) if values[i] > 0]
        out.extend(RawReading(t, float(values[i]), lines[i], "", kinds[match[1]]) for i, t in rows)
    return out


def _basal(block: Block, notes: list[str], found: Findings) -> tuple[RawBasal, ...]:
    """Rates as delivered. A pump that writes the rate at each command has done the sum already."""
    if BASAL not in block.table.names:
        return ()
    values, lines = _numbers(block, BASAL, found), block.table.lines
    rows = {t: RawBasal(t, float(values[i]), lines[i]) for i, t, _ in block.rows(BASAL) if np.isfinite(values[i])}
    rates = [rows[t] for t in sorted(rows)]
    commands = [*_temporary(block, found), *_suspended(block, rates, notes)]
    times = np.array([row.time for row in rates], dtype="datetime64[us]")
    near = np.timedelta64(SAME)
    loose: list[Command] = []
    for command in commands:
        start = np.datetime64(command.start)
        first, last = np.searchsorted(times, [start - near, start + near + np.timedelta64(1, "us")])
        if first == last:
            loose.append(command)
    notes.extend(commands_note(commands))
    # A command that cancels another has no length of its own.
    return delivered(rates, loose) if any(row.end > row.start for row in loose) else tuple(rates)


def _sources(block: Block) -> list[str]:
    """Who asked for each bolus: the person, or the loop."""
    table = block.table
    return [cell.strip(BLANKS) for cell in table.columns.get(SOURCE, [""] * len(table))]


def _automatic(
    blocks: Sequence[Block], stated: Sequence[RawBasal], warnings: list[str], found: Findings
) -> tuple[RawBasal, ...]:
    """The basal with what a closed loop gave: rows of five minutes as rates, and a day's sum where nothing is finer.

    Between two of its rows that are no neighbours the loop gave nothing. While it is on, the rates that the pump has
    programmed are not delivered.
    """
    doses: list[tuple[dt.datetime, float, int]] = []
    sums: list[tuple[dt.datetime, float, int]] = []
    for block in blocks:
        if BOLUS not in block.table.names:
            continue
        values, sources, lines = _numbers(block, BOLUS, found), _sources(block), block.table.lines
        for i, t, _ in block.rows(BOLUS):
            if values[i] > 0 and (block.totals or _TOTAL.search(sources[i])):
                sums.append((t, float(values[i]), lines[i]))
            elif values[i] > 0 and _AUTO_BASAL.search(sources[i]):
                doses.append((t, float(values[i]), lines[i]))
    doses.sort()
    ends = [*(t for t, _, _ in doses), dt.datetime.max][1:] if doses else []
    rows = zip(doses, ends, strict=True)
    pieces = [(t, min(after, t + _STEP), units, line) for (t, units, line), after in rows if after > t]
    finer = {t.date() for t, _, _ in doses}
    spread = [(t, units, line) for t, units, line in sums if t.date() not in finer]
    pieces += [(day := t.replace(hour=0, minute=0, second=0), day + _DAY, units, line) for t, units, line in spread]
    if doses:
        units_given = sum(units for _, units, _ in doses)
        warnings.append(f"{len(doses)} rows of automatic basal ({units_given:.4g} U) are read as basal rates")
    if spread:
        warnings.append(
            f"{len(spread)} daily sums of automatic insulin ({sum(units for _, units, _ in spread):.4g} U) are spread "
            "evenly over their days as basal, since nothing finer is in the file: its course within a day is not known"
        )
    if len(sums) > len(spread):
        left = [units for t, units, _ in sums if t.date() in finer]
        warnings.append(
            f"{len(left)} daily sums of automatic insulin ({sum(left):.4g} U) are left out: their days have its rows"
        )
    begins, summed = [t for t, _, _ in doses], {t.date() for t, _, _ in spread}
    nearby = lambda t: bisect.bisect_right(begins, t + _LOOP_IS_ON) - bisect.bisect_left(begins, t - _LOOP_IS_ON)
    kept = [rate for rate in stated if rate.time.date() not in summed and not nearby(rate.time)]
    if len(kept) < len(stated):
        warnings.append(
            f"{len(stated) - len(kept)} programmed basal rates of times when a closed loop was on are left out"
        )
    rates: dict[dt.datetime, RawBasal] = {}
    own = [rate.time for rate in kept]
    for begin, end, units, line in sorted(pieces):
        rates[begin] = RawBasal(begin, units / ((end - begin) / dt.timedelta(hours=1)), line)
        if bisect.bisect_right(own, begin) == bisect.bisect_right(own, end):
            rates[end] = RawBasal(end, 0.0, line)
    return tuple(sorted([*kept, *rates.values()], key=lambda rate: rate.time))


def _temporary(block: Block, found: Findings) -> list[Command]:
    if not {TEMP, TEMP_DURATION} <= {*block.table.names}:
        return []
    table = block.table
    amounts, lengths = _numbers(block, TEMP, found), _durations(table, TEMP_DURATION, found)
    kinds = [cell.strip(BLANKS).lower() for cell in table.columns.get(TEMP_TYPE, [""] * len(table))]
    rows = block.rows(TEMP)
    stated = np.zeros(len(table), dtype=bool)
    stated[[i for i, _, _ in rows]] = True
    strange = stated & np.array([not _percent(kind) and not _absolute(kind) for kind in kinds], dtype=bool)
    found.flag(table, TEMP, strange, "{} has neither the type percent nor absolute", "export the file again")
    found.flag(table, TEMP, stated & ~np.isfinite(lengths), "the temporary rate has no duration", "state it")
    out: list[Command] = []
    for i, t, _ in rows:
        if strange[i] or not np.isfinite(amounts[i] + lengths[i]):
            continue
        end = t + dt.timedelta(minutes=float(lengths[i]))
        rate, factor = (None, amounts[i] / 100) if _percent(kinds[i]) else (float(amounts[i]), 1.0)
        out.append(Command(t, end, table.lines[i], rate, float(factor)))
    return out


def _percent(kind: str) -> bool:
    return kind.startswith("percent") or kind == "%"


def _absolute(kind: str) -> bool:
    return kind.startswith(("abs", "rate", "u/h", "insulin"))


def _suspended(block: Block, rates: Sequence[RawBasal], notes: list[str]) -> list[Command]:
    """Each suspension until the pump resumes."""
    rows = [(i, t, cell.upper()) for i, t, cell in block.rows(SUSPEND)]
    out: list[Command] = []
    for at, (i, t, cell) in enumerate(rows):
        if any(word in cell for word in _RESUMES):
            continue
        ends = [after for _, after, text in rows[at + 1 :] if any(word in text for word in _RESUMES)]
        if not ends:
            ends = [row.time for row in rates if row.time > t + SAME]
            notes.append(
                f"row {block.table.lines[i]}: the suspension has no end; it is taken to last until the next rate"
            )
        if ends:
            out.append(Command(t, ends[0], block.table.lines[i], 0.0, kind="suspend"))
    return out


def _durations(table: Table, column: str, found: Findings) -> Float[np.ndarray, " rows"]:
    """A column of h:mm:ss as minutes; NaN where it is blank."""
    out = np.full(len(table), np.nan)
    wrong = np.zeros(len(table), dtype=bool)
    for i, cell in enumerate(table.columns[column]):
        match = _DURATION.fullmatch(cell.strip(BLANKS))
        if match is not None:
            out[i] = 60 * int(match[1]) + int(match[2]) + int(match[3] or 0) / 60
        wrong[i] = match is None and bool(cell.strip(BLANKS))
    found.flag(table, column, wrong, "{} is no duration", "it is written h:mm:ss")
    return out


def _boluses(block: Block, notes: list[str], found: Findings) -> list[RawDose]:
    table = block.table
    out: list[RawDose] = []
    if BOLUS in table.names:
        values = _numbers(block, BOLUS, found)
        blank_column = [""] * len(table)
        kinds = [cell.strip(BLANKS).lower() for cell in table.columns.get(BOLUS_TYPE, blank_column)]
        lengths = (
            _durations(table, BOLUS_DURATION, found) if BOLUS_DURATION in table.names else np.full(len(table), np.nan)
        )
        given: Bool[np.ndarray, " rows"] = np.isfinite(values) & (values > 0)
        square = np.array(["square" in kind for kind in kinds], dtype=bool)
        no_length = given & square & ~np.isfinite(lengths)
        found.flag(table, BOLUS_TYPE, no_length, "{} has no duration", "export the file again")
        sources = _sources(block)
        for i, t, _ in block.rows(BOLUS):
            if given[i] and not (block.totals or _TOTAL.search(sources[i]) or _AUTO_BASAL.search(sources[i])):
                minutes = lengths[i] if np.isfinite(lengths[i]) and "normal" not in kinds[i] else 1.0
                out.append(RawDose(t, float(values[i]), table.lines[i], max(float(minutes), 1.0)))
        if SELECTED in table.names:
            lost = int((~blank(table, SELECTED) & blank(table, BOLUS)).sum())
            if lost:
                notes.append(f"{lost} boluses that were selected and not delivered are left out")
    for i, t, cell in block.rows(MARKER):
        match = _MARKER.fullmatch(cell)
        if match is not None and match[1].lower() == "insulin":
            out.append(RawDose(t, float(match[2].replace(",", ".")), table.lines[i]))
    return sorted(out, key=lambda dose: dose.time)


def _meals(
    blocks: Sequence[Block], file: str, notes: list[str], found: Findings
) -> tuple[tuple[RawDose, ...], CarbsUnit | None]:
    """Carbohydrate told to the bolus wizard, and meals marked apart from it."""
    out: list[RawDose] = []
    units: set[str] = set()
    for block in blocks:
        for name in dict.fromkeys(block.table.names):
            match = _CARBS.fullmatch(name)
            if match is None:
                continue
            values = _numbers(block, name, found)
            told = [RawDose(t, float(values[i]), block.table.lines[i]) for i, t, _ in block.rows(name) if values[i] > 0]
            if told:
                units.add(match[1] or "no unit")
            out.extend(told)
    unit = _stated(units, "carbohydrate", file, found)
    marked, lost = [], 0
    for block in blocks:
        for i, t, cell in block.rows(MARKER):
            match = _MARKER.fullmatch(cell)
            if match is None:
                lost += 1
            elif match[1].lower() == "meal":
                told = (match[3] or "").lower()
                if told in ("grams", "exchanges") and unit in (None, told):
                    unit = told
                    marked.append(RawDose(t, float(match[2].replace(",", ".")), block.table.lines[i]))
                else:
                    lost += 1
    if lost:
        notes.append(f"{lost} event markers that state no meal or insulin in the file's unit are left out")
    units_of: dict[str | None, CarbsUnit | None] = {"grams": "g", "exchanges": "exchange", "no unit": None}
    meals = sorted([*out, *marked], key=lambda dose: dose.time)
    return tuple(meals), units_of.get(unit, "g")
