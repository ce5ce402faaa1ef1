"""LibreView: a title line, a header whose names are translated, and rows of numbered kinds."""

import re
from collections.abc import Sequence

from .._checks import BLANKS, split_rows
from .._columns import BOLUS, CARBS, CLOCK, DEVICE, EVENT, LONG_ACTING
from .._options import ReadOptions
from .._raw import Raw
from .._remarks import Note, Step, flaw
from . import _layout, _sheets, _times
from ._known import Sheet

NAMES = ("device", "serial", "time", "kind", "historic", "scan", "rapid_text", "rapid", "food_text", "carbs",
         "servings", "long_text", "long", "notes", "strip", "ketone", "meal_part", "correction_part",
         "change_part")  # fmt: skip
"""Columns in their fixed order: the file's own names are in the language of the account."""
_ROLES = {CLOCK: "time", EVENT: "kind", DEVICE: "serial", "glucose": "historic", "scan": "scan",
          "fingerstick": "strip", BOLUS: "rapid", LONG_ACTING: "long", CARBS: "carbs"}  # fmt: skip
_EVENTS = {"0": "glucose", "1": "scan", "2": "fingerstick", "4": "bolus long_acting", "5": "carbs", "6": "", "3": ""}
"""What a record of each kind holds; ketones and notes are passed over."""
_AT = {name: i for i, name in enumerate(NAMES)}
_UNIT = re.compile(r".*\b(mg/dL|mmol/L)", re.I)
_GLUCOSE = ("historic", "scan", "strip")


def recognise(head: str) -> bool:
    """Whether one of the first lines is a header of this shape."""
    return _header(head) is not None


def _header(text: str) -> str | None:
    """The delimiter of the header; None where there is none."""
    for line in text.lstrip("\ufeff").splitlines()[:4]:
        delimiter = max(",;\t|", key=line.count)
        cells = [cell.strip(BLANKS + '"') for cell in line.split(delimiter)]
        if len(cells) >= len(NAMES) and all(_UNIT.fullmatch(cells[_AT[name]]) for name in _GLUCOSE):
            return delimiter
    return None


def parse(files: _sheets.Files, options: ReadOptions) -> Step[Raw | None]:
    """The sensor's own readings, scans, strips, insulin and food. The person's name is not read."""
    file, text = str(files[0][0]), files[0][1]
    delimiter = _header(text)
    if delimiter is None:
        yield flaw(file, "no header of LibreView is in the first lines", "export the file again", row=1)
        return None
    split = yield from split_rows(file, text.lstrip("\ufeff"), delimiter=delimiter)
    if split is None:
        return None
    rows, lines = split
    top = next(i for i, row in enumerate(rows) if len(row) >= len(NAMES))
    units = {match[1].lower() for name in _GLUCOSE if (match := _UNIT.fullmatch(rows[top][_AT[name]].strip(BLANKS)))}
    if len(units) > 1:
        yield flaw(file, f"the header states {' and '.join(sorted(units))}", "export it in one unit", row=lines[top])
        return None
    names = [*NAMES, *(f"column {i + 1}" for i in range(len(NAMES), len(rows[top])))]
    body = [_with_parts(row) for row in rows[top + 1 :]]
    servings = [len(row) > _AT["servings"] and bool(row[_AT["servings"]]) and not row[_AT["carbs"]] for row in body]
    if any(servings):
        yield Note(f"{sum(servings)} meals are stated in servings, not grams, and are left out")
    keep = [i for i, only in enumerate(servings) if not only]
    block = _layout.Block(names, lines[top], [body[i] for i in keep], [lines[top + 1 + i] for i in keep])
    unit = "mmol/L" if units == {"mmol/l"} else "mg/dL"
    mapped = yield from _sheets.mapped_of(file, block, _ROLES, Sheet(events=_EVENTS, units={"glucose": unit}))
    return (yield from _sheets.raw_of([mapped], files, options, "libreview", hint=_generated(rows[:top])))


def _with_parts(row: list[str]) -> list[str]:
    """With the sum of the parts that the bolus calculator writes, some devices without their sum."""
    if len(row) < len(NAMES) or row[_AT["rapid"]].strip(BLANKS):
        return row
    stated = [part for part in row[_AT["meal_part"] : len(NAMES)] if part.strip(BLANKS)]
    try:
        total = sum(float(part.replace(",", ".")) for part in stated)
    except ValueError:
        return row
    return [*row[: _AT["rapid"]], f"{total:g}" if stated else "", *row[_AT["rapid"] + 1 :]]


def _generated(rows: Sequence[Sequence[str]]) -> str:
    """The date of the export in the title line, which is written as the others are."""
    cells = [cell.strip(BLANKS).removesuffix("UTC").strip(BLANKS) for row in rows for cell in row]
    return next((cell for cell in cells if _times.stamp(cell) is not None), "")
