"""What to say of a file of no known format: which columns it has, and how it can be read."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from .._arguments import argument
from ._checks import BLANKS, quote_name
from ._columns import BASAL, CARBS, JOIN, OWN_COLUMNS, columns_to_text, unit_of
from ._remarks import SHOWN, Facts, finished
from .formats import _guess, _layout

_ROWS = 2000
"""Rows that a guess is made by."""
_WIDE = 100
_OPEN = {
    BASAL: ("basal rates in U/h: else name them basal and state", "basal_unit"),
    CARBS: ("carbohydrate in g: else name it carbs and state", "carbs_unit"),
}
"""What a guess takes for granted where a name does not say it."""
_CARELINK = re.compile(r"index", re.I)
_CLARITY = re.compile(r".*\([^()]{4,10}[-T][^()]{2,6}T?hh:mm:ss\).*\((mg/dl|mmol/l)\).*\(hh:mm:ss\)", re.I)
_HOURS = re.compile(r"\(h+:mm(:ss)?\)|hh:mm", re.I)


class Unknown(NamedTuple):
    """What is wrong with a file, the remedy, and the guess."""

    what: str
    remedy: str
    columns: Mapping[str, str] = {}
    """Columns by the library's names."""
    unplaced: tuple[str, ...] = ()
    """Columns that the guess could not place."""

    @property
    def facts(self) -> Facts:
        """The guess, for the report."""
        return Facts(columns=dict(self.columns), columns_unplaced=self.unplaced)


def unknown_format(text: str) -> Unknown:
    """What is wrong with a file of no known format, and the remedy: for a table, the columns that it likely has."""
    what = "its format is not recognised"
    known = "if it is an export of a known format (`t1djax inspect --help` lists them), is its header whole?"
    tables = [] if text.lstrip("\ufeff" + BLANKS)[:1] in ("{", "[", "<") else _tables(text)
    if not tables or not 1 < len(tables[0].names) <= _WIDE:
        return Unknown(what, known)
    names = [name for name in tables[0].names if name]
    if _CLARITY.match(",".join(names)):
        what, known = "it looks like Clarity in another language", "or set Clarity to English and export again"
    elif _CARELINK.fullmatch(names[0]) and any(map(_HOURS.search, names)):
        what = "it looks like CareLink in another language than English"
        known = "or set CareLink to English and export again, which reads its temporary rates and suspensions as well"
    shown = ", ".join(map(quote_name, names[: 2 * SHOWN])) + ", ..." * (len(names) > 2 * SHOWN)
    what = f"{what}; its columns are {shown}"
    cells = {name: [row[i] for row in tables[0].rows if i < len(row)] for i, name in enumerate(tables[0].names) if name}
    guess = _guess.guessed(names, cells)
    taken = {part for name in guess.values() for part in (name, *name.split(JOIN))}
    unplaced = tuple(name for name in names if name not in taken)
    kinds = {OWN_COLUMNS[own].kind for own in guess} | ({"glucose"} if "value" in guess else set())
    if not {"time", "glucose"} <= kinds:
        words = {"time": "time (written 2024-05-01 07:30 or 01.05.2024 07:30)", "glucose": "glucose"}
        missing = " and ".join(word for kind, word in words.items() if kind not in kinds)
        way = argument("columns", "time=NAME,glucose=NAME")
        events = argument("columns", "time=NAME,event=NAME,value=NAME")
        how = f"none of them looks like {missing}: say which are which, as in {way}, or {events} for one row an event"
        return Unknown(what, f"{how}; {known}", guess, unplaced)
    plain = lambda own: unit_of(own, guess[own]) == OWN_COLUMNS[own].unit
    open_ = [
        f"{text} {argument(name)}"
        for own, (text, name) in _OPEN.items()
        if own in guess and plain(own) and unit_of(OWN_COLUMNS[own].kind, guess[own]) is None
    ]
    auto = f"a guess, which {argument('columns', 'auto')} takes"
    line = f"read it with {argument('columns', columns_to_text(guess))} ({' and '.join([auto, *open_])}"
    empty = lambda name: " (empty)" * (not any(cell.strip() for cell in cells[name]))
    first = [f"{quote_name(name)}{empty(name)}" for name in unplaced[: 2 * SHOWN]]
    rest = f"; not placed: {', '.join(first)}{', ...' * (len(unplaced) > 2 * SHOWN)}"
    return Unknown(what, f"{line}{rest if unplaced else ''}); {known}", guess, unplaced)


def _tables(text: str) -> list[_layout.Block]:
    return finished(_layout.blocks("", "\n".join(text.split("\n", _ROWS)[:_ROWS])))[0]
