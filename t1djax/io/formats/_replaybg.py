"""The tables of ReplayBG: 5-min rows; everything delivered or eaten is a rate over its row."""

import datetime as dt
import re
from pathlib import Path

from .._checks import Findings, check_columns, split_table
from .._raw import Raw
from . import _rows

COLUMNS = ("t", "glucose", "cho", "bolus", "basal")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d)", re.ASCII)


def recognise(head: str, name: str) -> bool:
    """Whether the header has the columns of ReplayBG."""
    return set(COLUMNS) <= set(_rows.header_names(head))


def _time(cell: str) -> dt.datetime | None:
    """`11-May-2027 06:00:00`, whatever the language of the machine, or ISO 8601."""
    parts = _TIME.fullmatch(cell)
    if parts is None:
        return _rows.iso(cell)
    day, month, *rest = parts.groups()
    if month.lower() not in _MONTHS:
        return None
    year, hour, minute, second = map(int, rest)
    try:
        return dt.datetime(year, _MONTHS.index(month.lower()) + 1, int(day), hour, minute, second)
    except ValueError:
        return None


def parse(path: Path, text: str, found: Findings) -> Raw | None:
    """Rows of ReplayBG: glucose mg/dL, carbohydrate g/min, bolus and basal U/min."""
    table = split_table(str(path), text, found)
    if table is None or not check_columns(table, COLUMNS, ("bolus_label", "cho_label", "exercise", "hypo"), found):
        return None
    when = _rows.times(table, "t", _time, "11-May-2027 06:00:00", found)
    row = _rows.spacing(when) or _rows.ROW_MIN
    _rows.grid(table, "t", when, row, found)
    glucose = _rows.column(table, "glucose", found, nan=True)
    cho, bolus, basal = (_rows.column(table, name, found) for name in COLUMNS[2:])
    return Raw(
        format="replaybg",
        file=str(path),
        subject=path.stem,
        readings=_rows.readings(table, when, glucose),
        basal=_rows.rates(table, when, basal),
        boluses=_rows.doses(table, when, bolus * row, row),
        meals=_rows.doses(table, when, cho, row),
        glucose_unit="mg/dL",
        basal_unit="U/min",
        carbs_unit="g/min",
        notes=(f"boluses and meals are rates held over {row:g}-min rows",),
    )
