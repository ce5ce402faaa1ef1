"""What is stated of people: the parameters in `patients.csv`, and in `truth.csv` of synthetic ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from ..physics import PHYSIOLOGIES
from ._checks import BLANKS, Findings, Table, check_columns, from_cell, numbers, safe_name
from ._quantities import MMOL
from ._text import read_table
from ._zones import TIME_ZONE, is_zone

PATIENTS_FILE, TRUTH_FILE = "patients.csv", "truth.csv"


def read_parameters(path: Path, found: Findings) -> dict[str, dict[str, float]]:
    """Parameters by patient from `patients.csv` or `truth.csv`; what is blank is left out."""
    table = read_table(path, found)
    return {} if table is None else parameter_table(table, found)


def parameter_table(table: Table, found: Findings) -> dict[str, dict[str, float]]:
    """Parameters by patient from the cells of such a file."""
    columns = {p.column: symbol for body in PHYSIOLOGIES.values() for symbol, p in body.parameters.items()}
    if not check_columns(table, ("patient",), (*columns, TIME_ZONE), found):
        return {}
    names = [from_cell(name.strip(BLANKS)) for name in table.columns["patient"]]
    reasons = [safe_name(name) for name in names]
    for why in dict.fromkeys(why for why in reasons if why):
        found.flag(table, "patient", _where([w == why for w in reasons]), f"the name {{}} {why}", "rename the patient")
    seen: set[str] = set()
    twice = [name in seen or seen.add(name) is not None for name in names]
    found.flag(table, "patient", _where(twice), "{} stands above already", "keep one row for each patient")
    values = {columns[name]: numbers(table, name, found) for name in table.columns if name in columns}
    for name in columns:
        if name in table.names:
            bad = values[columns[name]] <= 0
            found.flag(table, name, bad, "{} is not positive", "leave it empty where it is unknown")
    if TIME_ZONE in table.names:
        cells = [cell.strip(BLANKS) for cell in table.columns[TIME_ZONE]]
        unknown = _where([bool(cell) and not is_zone(cell) for cell in cells])
        found.flag(table, TIME_ZONE, unknown, "{} is no time zone", "give an IANA name such as Europe/Madrid")
    if "G0" in values:
        bad = (values["G0"] >= 2) & (values["G0"] <= 30)
        found.flag(table, "G0_mg_dL", bad, "{} looks like mmol/L", f"multiply by {MMOL}")
    for body in PHYSIOLOGIES.values():
        for row in body.facts.proxies:
            if row.pair <= set(values):
                of, stands = body.parameters[row.of].column, body.parameters[row.symbol].column
                bad = body.disagree(row, values[row.symbol], values[row.of])
                what = f"{{}} is not {row.rule.format(stands)} within 1 %"
                found.flag(table, of, bad, what, f"give {stands} or {of}, not both")
    stated = [{s: float(x[i]) for s, x in values.items() if np.isfinite(x[i])} for i in range(len(table))]
    return dict(zip(names, stated, strict=True))


def _where(flags: Sequence[bool]) -> Bool[np.ndarray, " rows"]:
    return np.asarray(flags, dtype=bool)
