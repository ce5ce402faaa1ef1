"""Time zones by name beside a cohort's tables, so that clocks are right after they change."""

from pathlib import Path

from ._checks import BLANKS, Findings, from_cell
from ._options import zone
from ._text import read_table

TIME_ZONE = "time_zone"
"""Column of `patients.csv`: IANA name of the zone in which a patient's times are told."""


def read_zones(file: Path) -> dict[str, str]:
    """Time zones by patient from `patients.csv`; what is wrong with it is told by `read_parameters`."""
    table = read_table(file, Findings()) if file.exists() else None
    if table is None or not {"patient", TIME_ZONE} <= set(table.names):
        return {}
    cells = zip(*([cell.strip(BLANKS) for cell in table.columns[key]] for key in ("patient", TIME_ZONE)), strict=True)
    return {from_cell(name): key for name, key in cells if key and is_zone(key)}


def is_zone(key: str) -> bool:
    """Whether there is such a zone."""
    try:
        zone(key)
    except ValueError:
        return False
    return True
