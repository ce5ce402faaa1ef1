"""Cohorts become folders of files that read back as the same numbers."""

import csv
import dataclasses
import datetime as dt
import math
import os
import warnings
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._arguments import argument
from .._words import counted, some
from ..data import Cohort
from ..physics import PARAMETERS, table_with
from ._asserted import PATIENTS_FILE, TIME_ZONE, TRUTH_FILE, asserted_table
from ._checks import Table, as_cell, from_cell, safe_name
from ._frames import patient_columns
from ._remarks import DataWarning, Note, Step, finished, flaw, settled
from ._tables import table_to_patient


def write_cohort(cohort: Cohort, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write a cohort as `read_cohort` reads it, without loss: every number by its shortest exact text.

    `patients.csv` holds what is asserted, and the time zone of those who have one by name; `truth.csv` the truth
    where there is any. Tables are those of `patient_to_frame`. Everything is checked before anything is written, and
    each file appears whole or not at all.

    Args:
        cohort: the patients.
        folder: where to; made if it is not there.
        overwrite: whether to replace the files of a cohort of the same patients.

    Raises:
        FileExistsError: where the folder is not empty, or holds tables that are no part of the cohort.
        DataError: where the cohort holds what no reader would accept.
        ValueError: where there is no patient, or a table cannot state a patient's doses.

    Example:
        >>> import pathlib, tempfile
        >>> from t1djax import Cohort, Doses, Patient
        >>> from t1djax.io import write_cohort
        >>> import numpy as np
        >>> ada = Patient("Ada", np.array([0.0, 5.0]), np.array([120.0, 118.0]), Doses.of(basal=0.9), {"M": 62.0})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_cohort(Cohort((ada,)), folder)
        ...     print(pathlib.Path(folder, "Ada.csv").read_text())
        time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g
        0,120,0.9,,
        5,118,,,
        <BLANKLINE>
    """
    if not len(cohort):
        raise ValueError("write_cohort: there is no patient in the cohort; give at least one")
    folder = Path(folder)
    # What is merely odd in a cohort was said when it was read or made.
    files, remarks = finished(_files(cohort))
    settled(files, dataclasses.replace(remarks, warnings=[]))
    _prepare(folder, files, overwrite)
    for file, rows in files.items():
        _write(folder / file, rows)
    for text in remarks.notes:
        warnings.warn(text, DataWarning, stacklevel=2)


def _files(cohort: Cohort) -> Step[dict[str, list[list[str]]]]:
    """Rows by file."""
    files: dict[str, list[list[str]]] = {}
    names = [name.casefold() for name in cohort.names]
    for name in cohort.names:
        why = safe_name(name)
        if why is not None:
            yield flaw(f"patient {name!a}", f"the name {why}", "rename the patient")
        elif names.count(name.casefold()) > 1:
            yield flaw(f"patient {name!a}", "another's name differs in case alone", "rename one of them")
    zones = {patient.name: patient.start.tzinfo for patient in cohort if patient.start is not None}
    keys = {name: kind.key for name, kind in zones.items() if isinstance(kind, zoneinfo.ZoneInfo) and kind.key}
    known = {patient.name: patient.known for patient in cohort}
    files[PATIENTS_FILE] = yield from _parameters(known, PATIENTS_FILE, keys)
    if cohort.truth:
        true = {name: cohort.truth[name].parameters for name in cohort.names if name in cohort.truth}
        files[TRUTH_FILE] = yield from _parameters(true, TRUTH_FILE)
    for patient in cohort:
        columns, lost = patient_columns(patient, cohort.truth.get(patient.name))
        if lost:
            what = "begins after the last row; it is" if lost == 1 else "begin after the last row; they are"
            yield Note(f"patient {patient.name}: {counted(lost, 'dose')} {what} left out")
        cells = [[_text(x) for x in column] for column in columns.values()]
        rows = [list(row) for row in zip(*cells, strict=True)]
        file = f"{patient.name}.csv"
        table = Table(file, list(columns), rows, range(2, len(rows) + 2))
        yield from table_to_patient(table, patient.name, patient.known, strict=False)
        files[file] = [list(columns), *rows]
    return files


def _text(value: Any) -> str:
    """The shortest text that reads back as the same number; empty for NaN."""
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return "" if math.isnan(value) else repr(float(value)).removesuffix(".0")


def _parameters(
    stated: Mapping[str, Mapping[str, float]], file: str, zones: Mapping[str, str] = {}
) -> Step[list[list[str]]]:
    """Header and rows; time zones have a column where anybody has one."""
    wanted = {symbol for values in stated.values() for symbol in values}
    known = table_with(wanted)
    if known is None:
        known = {symbol: PARAMETERS[symbol] for symbol in PARAMETERS if symbol in wanted}
        other = ", ".join(sorted(wanted - set(known)))
        yield flaw(
            file,
            f"{other}: not of one physiology that is known by name",
            "write people of each physiology by themselves; one of your own is named by physiology='module:Class' in a "
            "call before",
        )
    header = ["patient", *(p.column for p in known.values())]
    rows = [
        [as_cell(name), *(_text(values.get(symbol, math.nan)) for symbol in known)] for name, values in stated.items()
    ]
    if zones:
        header.append(TIME_ZONE)
        rows = [[*row, zones.get(from_cell(row[0]), "")] for row in rows]
    # An unsafe name is reported above, as the patient's.
    safe = [row for row in rows if safe_name(from_cell(row[0])) is None]
    yield from asserted_table(Table(file, header, safe, range(2, len(safe) + 2)))
    return [header, *rows]


def _prepare(folder: Path, files: Iterable[str], overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    there = sorted(path.name for path in folder.iterdir())
    if there and not overwrite:
        raise FileExistsError(f"{folder} is not empty; choose another folder, or pass {argument('overwrite', True)}")
    # A table of another cohort would be read as one more patient, or as this one's truth.
    foreign = [name for name in there if name.lower().endswith(".csv") and name not in files]
    if foreign:
        raise FileExistsError(
            f"{folder} holds tables that are no part of the cohort ({some(foreign)}); "
            "remove them or choose another folder"
        )


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
