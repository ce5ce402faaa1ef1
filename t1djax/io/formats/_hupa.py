"""The HUPA-UCM dataset: 5-min rows in local time; basal per row, carbohydrate in a unit that differs by person."""

from pathlib import Path

from .._checks import HUPA, Findings, check_columns, split_table
from .._raw import Raw
from . import _rows


def recognise(head: str, name: str) -> bool:
    """Whether the header has the columns of the dataset."""
    return set(HUPA) <= set(_rows.header_names(head))


def parse(path: Path, text: str, found: Findings) -> Raw | None:
    """Rows of the dataset. The carbohydrate's unit is left open: grams, exchanges or flags."""
    table = split_table(str(path), text, found, delimiter=";")
    if table is None or not check_columns(table, HUPA, ("calories", "heart_rate", "steps"), found):
        return None
    when = _rows.times(table, "time", _rows.iso, "2020-01-17T00:35:00", found)
    _rows.grid(table, "time", when, _rows.ROW_MIN, found)
    glucose, basal, bolus, carbs = (_rows.column(table, name, found) for name in HUPA[1:])
    return Raw(
        format="hupa",
        file=str(path),
        subject=path.stem,
        readings=_rows.readings(table, when, glucose),
        basal=_rows.rates(table, when, basal),
        boluses=_rows.doses(table, when, bolus),
        meals=_rows.doses(table, when, carbs),
        glucose_unit="mg/dL",
        basal_unit="U/5min",
        carbs_unit=None,
    )
