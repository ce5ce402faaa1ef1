"""The formats that people's files come in, and how each is known by its content."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from .._columns import WHO
from .._options import ReadOptions
from .._raw import Raw
from .._remarks import Step
from . import _canonical, _carelink, _layout, _libreview, _nightscout, _nightscout_csv, _ohio, _sheets, _tidepool
from ._known import KNOWN, Known, formats_of


class Format(NamedTuple):
    """One format."""

    name: str
    """As in reports and in `format=`."""
    description: str
    """What it is, in a few words."""
    recognise: Callable[[str], bool]
    """Whether the first characters of a file are of this format."""
    parse: Callable[[_sheets.Files, ReadOptions], Step[Raw | None]]
    """The files of one person as parsed."""
    people: Callable[[str], tuple[str, ...]] | None = None
    """Who is in a file, where a format puts several people into one."""
    joins: bool = False
    """Whether one person may have several files of it."""


def _table(known: Known) -> Format:
    who = (lambda text: _sheets.people(text, None, known)) if any(WHO in s.roles for s in known.sheets) else None
    parse = partial(_sheets.parse, known=known)
    return Format(known.name, known.description, lambda head: known.name in formats_of(head), parse, who, known.joins)


FORMATS: Mapping[str, Format] = {
    entry.name: entry
    for entry in (
        Format("table", "t1djax's own table, or any whose columns are named", _canonical.recognise, _canonical.parse,
               _canonical.people),
        Format("nightscout", "Nightscout, JSON of entries, treatments and profiles", _nightscout.recognise,
               _nightscout.parse, joins=True),
        Format("libreview", "LibreView, CSV export", _libreview.recognise, _libreview.parse),
        Format("carelink", "Medtronic CareLink, CSV export", _carelink.recognise, _carelink.parse),
        Format("tidepool", "Tidepool, export", _tidepool.recognise, _tidepool.parse),
        Format("ohio", "OhioT1DM, XML", _ohio.recognise, _ohio.parse),
        Format("nightscout_csv", "Nightscout, entries.csv", _nightscout_csv.recognise, _nightscout_csv.parse),
        *map(_table, KNOWN),
    )
}  # fmt: skip
"""Formats by name."""


def recognised(text: str) -> tuple[Format, ...]:
    """The formats that a text can be of."""
    return tuple(entry for entry in FORMATS.values() if entry.recognise(text[: _layout.HEAD]))
