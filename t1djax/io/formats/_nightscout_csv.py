"""Nightscout's `entries.csv`: a date, its milliseconds, a reading, its trend, and who gave it; without a header."""

import re

from .._columns import CLOCK, DEVICE, GLUCOSE
from .._options import ReadOptions
from .._raw import Raw
from .._remarks import Step
from . import _layout, _sheets
from ._known import Known, Sheet

_ROW = re.compile(r'"?\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:?\d\d)"?[\t,]\d{13}(\.0)?[\t,]"?[\d.]*"?[\t,].*')
_NAMES = ("dateString", "date", "sgv", "direction", "device")
_ENTRIES = Known("nightscout_csv", "Nightscout, entries.csv", (
    Sheet(_NAMES, {CLOCK: "dateString", GLUCOSE: "sgv", DEVICE: "device"}),
))  # fmt: skip


def recognise(head: str) -> bool:
    """Whether the first line is an entry."""
    return _ROW.match(head.lstrip("\ufeff")) is not None


def parse(files: _sheets.Files, options: ReadOptions) -> Step[Raw | None]:
    """The readings, mg/dL; a row without one is of another kind."""
    path, text = files[0][0], files[0][1].lstrip("\ufeff")
    headed = f"{_layout.delimiter_of(text).join(_NAMES)}\n{text}"
    return (yield from _sheets.parse([(path, headed)], options, known=_ENTRIES))
