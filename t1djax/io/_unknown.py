"""What to say of a file of no known format: which columns it has, and how it can be read."""

import csv
import datetime as dt
import io
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from .._arguments import argument
from ._checks import BLANKS, SHOWN, quote_name
from ._columns import AS_IT_IS, BASAL, BOLUS, CARBS, CLOCK, JOIN, OWN_COLUMNS, TIME, WHO, columns_to_text, unit_of
from .formats import _exports, _rows

_ROWS = 2000
"""Rows that a guess is made by."""
_WIDE = 100
_NAMES: Mapping[str, str] = {
    "glucose": r"gluc|gluk|glyc|zucker|cgm|sgv|sensor|(?<![a-z])(bg|bz|sg)(?![a-z])",
    "basal": r"basal",
    "bolus": r"bolus|insulin",
    "carbs": r"carb|(?<![a-z])(cho|kh)(?![a-z])|kohlenhydrat|khydrat|hidrato|glucid|meal|mahlzeit",
}
"""How people name a column, by kind; what is in it decides as well."""
_OPEN = {
    BASAL: ("basal rates in U/h: else name them basal and state", "basal_unit"),
    CARBS: ("carbohydrate in g: else name it carbs and state", "carbs_unit"),
}
"""What a guess takes for granted where a name does not say it."""
_MINUTES = r"(?<![a-z])min(s|utes?|uten)?(?![a-z])"
_WHO = r"(patient|subject|person|participant|proband)(en)?[ _-]*(id|nr|no|name)?|id"
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?", re.ASCII)
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?( ?[ap]m)?", re.ASCII | re.IGNORECASE)


def unknown_format(text: str, formats: Iterable[str]) -> tuple[str, str]:
    """What is wrong with a file of no known format, and the mend: for a table, the columns that it likely has.

    Args:
        text: of the file.
        formats: names of those that are known.
    """
    what = "its format is not recognised"
    known = f"if it is an export ({', '.join(formats)}), is its header whole?"
    names, cells = _table(text)
    if not 1 < len(names) <= _WIDE:
        return what, known
    called = [quote_name(name) for name in names if name]
    shown = ", ".join(called[: 2 * SHOWN]) + ", ..." * (len(called) > 2 * SHOWN)
    what = f"{what}; its columns are {shown}"
    guess = guessed(names, cells)
    kinds = {OWN_COLUMNS[own].kind for own in guess}
    if not {"time", "glucose"} <= kinds:
        words = {"time": "time (written 2024-05-01 07:30 or 01.05.2024 07:30)", "glucose": "glucose"}
        missing = " and ".join(said for kind, said in words.items() if kind not in kinds)
        way = argument("columns", "time=NAME,glucose=NAME")
        how = f"none of them looks like {missing}: say which are which, as in {way}"
        return what, f"{how}; {known}"
    line = f"read it with {argument('columns', columns_to_text(guess))}"
    open_ = [_OPEN[own] for own in _OPEN if own in guess and unit_of(OWN_COLUMNS[own].kind, guess[own]) is None]
    return what, f"{line} ({' and '.join(['a guess', *(f'{text} {argument(name)}' for text, name in open_)])}); {known}"


def guessed(names: Sequence[str], cells: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Columns by the library's names, as far as their names and what stands in them tell.

    Args:
        names: of the columns.
        cells: of the first rows, by column, without blanks around them.
    """
    found = dict(_time(names, cells))
    left = [name for name in names if name and name not in JOIN.join(found.values()).split(JOIN)]
    found |= {
        name: name
        for name in AS_IT_IS
        if name in left and OWN_COLUMNS[name].kind not in {OWN_COLUMNS[f].kind for f in found}
    }
    for kind, pattern in _NAMES.items():
        taken = {OWN_COLUMNS[own].kind for own in found}
        if kind in taken:
            continue
        own = [name for name in left if name not in found.values() and re.search(pattern, name, re.IGNORECASE)]
        own = [name for name in own if _numeric(cells[name]) and "duration" not in name.lower()]
        if kind == "bolus":  # insulin in most rows is not given by hand
            own = [n for n in own if "bolus" in n.lower() or _share(cells[n]) < 0.5]
        if own:
            best = max(own, key=lambda name: (kind == "bolus" and "bolus" in name.lower(), _share(cells[name])))
            found[_named(kind, best)] = best
    who = next((n for n in left if re.fullmatch(_WHO, n, re.IGNORECASE) and len(set(cells[n])) > 1), None)
    # A number for each row is no person's.
    if who is not None and len(set(cells[who])) <= len(cells[who]) / 2:
        found[WHO] = who
    return found


def _named(kind: str, name: str) -> str:
    """The library's name for it, with its unit; without one where the person's name states another, or values tell."""
    usual = {"basal": BASAL, "bolus": BOLUS, "carbs": CARBS}.get(kind, kind)
    stated = unit_of(kind, name)
    return usual if stated in (None, OWN_COLUMNS[usual].unit) else kind


def _table(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """Names and cells of the first rows; nothing where it is no table."""
    start = _exports.without_title(text).lstrip("\ufeff" + BLANKS)
    if start[:1] in "{[<":
        return [], {}
    lines = start.split("\n", _ROWS)[:_ROWS]
    reader = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=_exports.delimiter_of(lines[0]))
    try:
        rows = [[cell.strip(BLANKS) for cell in row] for row in reader if any(row)]
    except csv.Error:
        return [], {}
    names = rows[0] if rows else []
    rows = [row for row in rows[1:] if len(row) >= len(names)]
    return names, {name: [row[i] for row in rows] for i, name in reversed(list(enumerate(names)))}


def _time(names: Sequence[str], cells: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The column of times; two where date and time of day are apart."""
    of = lambda holds: [name for name in names if name and _most(cells[name], holds)]
    if whole := of(_is_time):
        return {CLOCK: whole[0]}
    dates, clocks = of(lambda cell: _is_time(f"{cell} 00:00")), of(lambda cell: _CLOCK.fullmatch(cell) is not None)
    if dates and clocks:
        return {CLOCK: f"{dates[0]}{JOIN}{clocks[0]}"}
    minutes = [name for name in names if re.search(_MINUTES, name, re.IGNORECASE) and _most(cells[name], _is_number)]
    minutes = [name for name in minutes if _increases(cells[name])]
    return {TIME: minutes[0]} if minutes else {}


def _is_time(cell: str) -> bool:
    if _rows.iso(cell) is not None or _exports.unix(cell) is not None:
        return True
    written = _exports.stamp(cell)
    return written is not None and any(isinstance(written.time(order), dt.datetime) for order in (True, False))


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _increases(cells: Sequence[str]) -> bool:
    values = [float(cell.replace(",", ".")) for cell in cells if _NUMBER.fullmatch(cell)]
    up = sum(b >= a for a, b in itertools.pairwise(values))
    return len(values) > 1 and up >= 0.9 * (len(values) - 1)  # of several people, each begins anew


def _most(cells: Sequence[str], holds: Callable[[str], bool]) -> bool:
    return bool(cells) and sum(map(holds, cells)) > 0.8 * len(cells)


def _numeric(cells: Sequence[str]) -> bool:
    """Whether there are numbers, and little else."""
    stated = [cell for cell in cells if cell]
    return bool(stated) and sum(_NUMBER.fullmatch(cell) is not None for cell in stated) > 0.8 * len(stated)


def _share(cells: Sequence[str]) -> float:
    """Share of cells with a number other than zero."""
    given = [cell for cell in cells if _NUMBER.fullmatch(cell) and float(cell.replace(",", ".")) != 0]
    return len(given) / max(len(cells), 1)
