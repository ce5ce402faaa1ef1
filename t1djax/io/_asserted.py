"""What is stated of people: parameters and zones in `patients.csv`, true parameters in `truth.csv`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from ..physics import PHYSIOLOGIES
from ._checks import BLANKS, Table, check_columns, flag, from_cell, numbers, safe_name
from ._options import zone
from ._quantities import MMOL
from ._remarks import Step, flaw
from ._text import read_table

PATIENTS_FILE, TRUTH_FILE = "patients.csv", "truth.csv"
TIME_ZONE = "time_zone"
"""Column of `patients.csv`: IANA name of the zone in which a patient's times are told."""


class Asserted(NamedTuple):
    """What is stated of one patient."""

    parameters: Mapping[str, float] = {}
    """By symbol; what is blank is left out."""
    time_zone: str | None = None


def read_asserted(path: Path) -> Step[dict[str, Asserted]]:
    """What is stated of each patient in `patients.csv` or `truth.csv`; nothing where there is no such file."""
    table = (yield from read_table(path)) if path.exists() else None
    return {} if table is None else (yield from asserted_table(table))


def asserted_table(table: Table) -> Step[dict[str, Asserted]]:
    """What is stated of each patient in the cells of such a file."""
    columns = {p.column: symbol for body in PHYSIOLOGIES.values() for symbol, p in body.parameters.items()}
    if not (yield from check_columns(table, ("patient",), (*columns, TIME_ZONE))):
        return {}
    names = [from_cell(name.strip(BLANKS)) for name in table.columns["patient"]]
    reasons = [safe_name(name) for name in names]
    for why in dict.fromkeys(why for why in reasons if why):
        bad = _where([w == why for w in reasons])
        yield from flag(table, "patient", bad, f"the name {{}} {why}", "rename the patient")
    seen: set[str] = set()
    twice = [name in seen or seen.add(name) is not None for name in names]
    yield from flag(table, "patient", _where(twice), "{} stands above already", "keep one row for each patient")
    values = {}
    for name in (name for name in table.columns if name in columns):
        if columns[name] in values:
            what = f"is {columns[name]} once more, in the unit of another model"
            yield flaw(table.file, what, "keep one of the two", column=name)
        values[columns[name]] = yield from numbers(table, name)
    for name in columns:
        if name in table.names:
            bad = values[columns[name]] <= 0
            yield from flag(table, name, bad, "{} is not positive", "leave it empty where it is unknown")
    zones = [cell.strip(BLANKS) for cell in table.columns.get(TIME_ZONE, [""] * len(table))]
    unknown = _where([bool(cell) and not _is_zone(cell) for cell in zones])
    if unknown.any():
        yield from flag(table, TIME_ZONE, unknown, "{} is no time zone", "give an IANA name such as Europe/Madrid")
    if "G0" in values:
        bad = (values["G0"] >= 2) & (values["G0"] <= 30)
        yield from flag(table, "G0_mg_dL", bad, "{} looks like mmol/L", f"multiply by {MMOL}")
    for body in PHYSIOLOGIES.values():
        for row in body.facts.proxies:
            if row.pair <= set(values):
                of, stands = body.parameters[row.of].column, body.parameters[row.symbol].column
                bad = body.disagree(row, values[row.symbol], values[row.of])
                what = f"{{}} is not {row.rule.format(stands)} within 1 %"
                yield from flag(table, of, bad, what, f"give {stands} or {of}, not both")
    stated = [{s: float(x[i]) for s, x in values.items() if np.isfinite(x[i])} for i in range(len(table))]
    known = [key if key and not bad else None for key, bad in zip(zones, unknown.tolist(), strict=True)]
    return {name: Asserted(one, key) for name, one, key in zip(names, stated, known, strict=True)}


def _is_zone(key: str) -> bool:
    try:
        zone(key)
    except ValueError:
        return False
    return True


def _where(flags: Sequence[bool]) -> Bool[np.ndarray, " rows"]:
    return np.asarray(flags, dtype=bool)
