"""Nightscout's `entries.csv`: a date, its milliseconds, a reading, its trend, and who gave it; without a header."""

import dataclasses
import re
from pathlib import Path

from .._checks import Findings
from .._columns import CLOCK, DEVICE, GLUCOSE
from .._raw import Raw
from . import _layout, _mapped

_ROW = re.compile(r'"?\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:?\d\d)"?[\t,]\d{13}(\.0)?[\t,]"?[\d.]*"?[\t,].*')
_NAMES = ("dateString", "date", "sgv", "direction", "device")


def recognise(head: str, name: str) -> bool:
    """Whether the first line is an entry."""
    return _ROW.match(head.lstrip("\ufeff")) is not None


def parse(path: Path, text: str, found: Findings) -> Raw | None:
    """The readings, mg/dL; a row without one is of another kind."""
    mark = _layout.delimiter_of(text)
    raw = _mapped.parse(path, f"{mark.join(_NAMES)}\n{text.lstrip(chr(0xFEFF))}", found,
                        columns={CLOCK: "dateString", GLUCOSE: "sgv", DEVICE: "device"})  # fmt: skip
    return None if raw is None else dataclasses.replace(raw, format="nightscout_csv", notes=())
