"""The formats that people's files come in, and how each is known by its content."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import NamedTuple

from .._columns import WHO
from .._raw import Raw
from . import (
    _canonical,
    _carelink,
    _clarity,
    _glupredkit,
    _hupa,
    _libreview,
    _mapped,
    _nightscout,
    _nightscout_csv,
    _ohio,
    _replaybg,
    _simglucose,
    _tidepool,
)
from ._known import KNOWN, Known, formats_of

HEAD = 8192
"""Characters of a file that a format is recognised by."""


class Format(NamedTuple):
    """One format."""

    name: str
    """As in reports and in `format=`."""
    description: str
    """What it is, in a few words."""
    recognise: Callable[[str, str], bool]
    """Whether the first characters of a file (and, in doubt, its name) are of this format."""
    parse: Callable[..., Raw | None]
    """The file as parsed; what is wrong with it is added to the findings."""
    options: frozenset[str] = frozenset()
    """What else `parse` takes by name: `subject`, `day_first`, `glucose_unit`, `columns`, `others` (files of the same
    person)."""
    people: Callable[[str], tuple[str, ...]] | None = None
    """Who is in a file, where a format puts several people into one."""
    day_first: bool = False
    """Whether its dates are written day before month."""


def _format(name: str, description: str, module: ModuleType, *, day_first: bool = False) -> Format:
    options = frozenset(inspect.signature(module.parse).parameters) - {"path", "text", "found"}
    people = getattr(module, "people", None)
    return Format(name, description, module.recognise, module.parse, options, people, day_first)


def _table(known: Known) -> Format:
    parse = partial(_mapped.parse, known=known)
    people = (lambda text: _mapped.people(text, None, known)) if any(WHO in s.roles for s in known.sheets) else None
    options = frozenset({"subject", "day_first", "glucose_unit"} | ({"others"} if len(known.sheets) > 1 else set()))
    return Format(known.name, known.description, lambda head, _: known.name in formats_of(head), parse, options, people)


FORMATS: Mapping[str, Format] = {
    entry.name: entry
    for entry in (
        _format("table", "t1djax's own table, or any whose columns are named", _canonical),
        _format("nightscout", "Nightscout, JSON of entries, treatments and profiles", _nightscout),
        _format("dexcom_clarity", "Dexcom Clarity, CSV export", _clarity),
        _format("libreview", "LibreView, CSV export", _libreview),
        _format("carelink", "Medtronic CareLink, CSV export", _carelink),
        _format("tidepool", "Tidepool, export", _tidepool),
        _format("ohio", "OhioT1DM, XML", _ohio, day_first=True),
        _format("hupa", "HUPA-UCM dataset, 5-min rows", _hupa),
        _format("replaybg", "ReplayBG, 5-min rows", _replaybg),
        _format("simglucose", "simglucose, results of a simulation", _simglucose),
        _format("glupredkit", "GluPredKit or MetaboNet, 5-min rows", _glupredkit),
        _format("nightscout_csv", "Nightscout, entries.csv", _nightscout_csv),
        *map(_table, KNOWN),
    )
}
"""Formats by name."""


def recognised(text: str, name: str) -> tuple[Format, ...]:
    """The formats that a text can be of."""
    return tuple(entry for entry in FORMATS.values() if entry.recognise(text[:HEAD], name))
