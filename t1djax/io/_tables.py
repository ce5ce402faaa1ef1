"""The canonical tables: one row per time, units in the names of the columns; files and frames become patients."""

import dataclasses
import datetime as dt
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ..data import Cohort, Patient, Truth
from ..physics import PHYSIOLOGIES, Doses, state_columns
from ._asserted import PATIENTS_FILE, TRUTH_FILE, Asserted, read_asserted
from ._checks import (
    HUPA,
    HUPA_SEEN,
    Table,
    blank,
    check_columns,
    check_order,
    clock,
    flag,
    hupa_remedy,
    numbers,
    quote,
    safe_name,
)
from ._columns import BASAL, BOLUS, CARBS, CLOCK, GLUCOSE, GLUCOSE_MMOL, LONG_ACTING, TIME
from ._options import zone
from ._quantities import (
    DURATIONS,
    TOO_MUCH,
    UNIT,
    amounts_column,
    check_basal_unit,
    doses_columns,
    first_rate,
    glucose_column,
    time_column,
)
from ._remarks import Step, finished, flaw, settled, sound
from ._text import read_table

TRUE_GLUCOSE = "true_glucose_mg_dL"


def truth_columns() -> tuple[str, ...]:
    """Columns of what a person was simulated with."""
    return (TRUE_GLUCOSE, *(column for body in PHYSIOLOGIES.values() for column in state_columns(body.States)))


LONGEST = 1e8
"""Latest time, min (190 years)."""


def read_cohort(
    folder: str | Path, *, patients: Sequence[str] | None = None, strict: bool = False, truth: bool = False
) -> Cohort:
    """Read a cohort: a folder with `patients.csv` and one `<patient>.csv` each.

    Each table has `time_min` (or `time`, ISO 8601), `glucose_mg_dL` (or `glucose_mmol_L`), `basal_U_h`, `bolus_U`,
    `carbs_g`, and may have `long_acting_U`, `bolus_duration_min`, `meal_duration_min` and `long_acting_duration_min`;
    of a person on pens there need be no `basal_U_h`. Empty glucose is no reading, an empty or
    zero bolus or meal is no event, an empty basal holds the last rate. Without `patients.csv` nothing is known of
    anyone.

    Args:
        folder: the folder, or one patient's file in it.
        patients: names of those to read, in order; left out, all: as in `patients.csv`, then the other files.
        strict: whether a reading below 40 mg/dL is an error rather than a warning.
        truth: whether to read the truth of synthetic patients. Left out, it is not looked at.

    Returns:
        The cohort.

    Raises:
        DataError: listing everything wrong, by file, row and column.

    Example:
        >>> import tempfile
        >>> import pandas as pd
        >>> from t1djax import Cohort
        >>> from t1djax.io import frame_to_patient, read_cohort, write_cohort
        >>> frame = pd.DataFrame({"time_min": [0, 5], "glucose_mg_dL": [120, 118], "basal_U_h": [0.9, None],
        ...                       "bolus_U": [None, 4.5], "carbs_g": [None, 40]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_cohort(Cohort((frame_to_patient(frame, "Ada"),)), folder)
        ...     read_cohort(folder).names
        ('Ada',)
    """
    cohort, remarks = finished(_read(Path(folder), patients, strict, truth))
    # What else is wrong in such a folder is of no use to anyone.
    remarks.problems = [flaw for flaw in remarks.problems if flaw.what[0] == HUPA_SEEN] or remarks.problems
    return settled(cohort, remarks)


def _read(folder: Path, patients: Sequence[str] | None, strict: bool, truth: bool) -> Step[Cohort]:
    if os.path.isdir(folder) or folder.suffix.lower() != ".csv":
        return (yield from _read_folder(folder, patients, strict, truth))
    if patients is not None:
        yield flaw(str(folder), "it is one patient's file", "give the folder to choose patients from it")
    return (yield from _read_single(folder, strict, truth))


def _read_single(path: Path, strict: bool, truth: bool) -> Step[Cohort]:
    name = path.stem
    why = safe_name(name)
    if why is not None:
        remedy = "give the cohort's folder" if why == "is reserved" else "rename the file"
        yield flaw(str(path), f"the patient's name {why}", remedy)
        return Cohort(())
    asserted = yield from read_asserted(path.parent / PATIENTS_FILE)
    return (yield from _cohort(path.parent, {name: path}, asserted, strict, truth))


def _read_folder(folder: Path, patients: Sequence[str] | None, strict: bool, truth: bool) -> Step[Cohort]:
    try:
        entries = sorted(folder.iterdir(), key=lambda path: natural(path.name))
    except (OSError, ValueError) as error:
        what = "there is no such folder" if isinstance(error, FileNotFoundError) else f"it cannot be opened ({error})"
        yield flaw(str(folder), what, "check the path")
        return Cohort(())
    entries = [path for path in entries if path.suffix.lower() == ".csv" and not path.name.startswith(".")]
    files = {path.stem: path for path in entries if path.stem.casefold() not in ("patients", "truth")}
    asserted, remarks = finished(read_asserted(folder / PATIENTS_FILE))
    yield from remarks
    listed = list(asserted)
    there = [*listed, *(name for name in files if name not in listed)]
    if not there and not remarks.problems:
        yield flaw(str(folder), "there is no patient's file", "a cohort has one <patient>.csv each")
    chosen = there if patients is None else [patients] if isinstance(patients, str) else list(patients)
    if not chosen and there:
        yield flaw(str(folder), "no patient is chosen", f"there are {', '.join(there)}")
    for name in dict.fromkeys(chosen):
        if chosen.count(name) > 1:
            yield flaw(str(folder), f"patient {quote(name)} is chosen more than once", "name each once")
        if name not in there:
            yield flaw(str(folder), f"there is no patient {quote(name)}", f"there are {', '.join(there) or 'none'}")
        elif name not in files:
            remedy = f"write {name}.csv, or remove the row"
            yield flaw(str(folder / PATIENTS_FILE), f"patient {quote(name)} has no file", remedy, column="patient")
    paths = {name: files[name] for name in dict.fromkeys(chosen) if name in files}
    for name, path in paths.items():
        if (why := safe_name(name)) is not None:
            yield flaw(str(path), f"the patient's name {why}", "rename the file")
    return (yield from _cohort(folder, paths, asserted, strict, truth))


def _cohort(
    folder: Path, paths: Mapping[str, Path], asserted: Mapping[str, Asserted], strict: bool, truth: bool
) -> Step[Cohort]:
    true = (yield from read_asserted(folder / TRUTH_FILE)) if truth else {}
    read, truths = [], {}
    for name, path in paths.items():
        stated = asserted.get(name, Asserted())
        table = yield from read_table(path)
        if table is None:
            continue
        patient = yield from table_to_patient(table, name, stated.parameters, strict)
        if patient is None:
            continue
        if stated.time_zone and patient.start is not None and patient.start.tzinfo:
            patient = dataclasses.replace(patient, start=patient.start.astimezone(zone(stated.time_zone)))
        read.append(patient)
        if truth and (name in true or any(column in table.names for column in truth_columns())):
            truths[name] = yield from table_to_truth(table, true.get(name, Asserted()).parameters)
    return Cohort(tuple(read), truths)


def read_patient(path: str | Path, *, known: Mapping[str, float] | None = None, strict: bool = False) -> Patient:
    """Read one patient's table; the name is the file's.

    Args:
        path: the file.
        known: asserted parameters by symbol.
        strict: whether a reading below 40 mg/dL is an error rather than a warning.

    Returns:
        The patient.

    Raises:
        DataError: listing everything wrong, by row and column.

    Example:
        >>> import pathlib, tempfile
        >>> from t1djax.io import read_patient
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "Ada.csv")
        ...     _ = file.write_text("time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g\\n0,120,0.9,,\\n5,118,,4,40\\n")
        ...     read_patient(file)
        Patient(Ada: 2 readings over 0.1 h)
    """
    return settled(*finished(_patient(Path(path), known or {}, strict)))


def _patient(path: Path, known: Mapping[str, float], strict: bool) -> Step[Patient | None]:
    table = yield from read_table(path)
    return None if table is None else (yield from table_to_patient(table, path.stem, known, strict))


def read_patient_truth(path: str | Path, *, parameters: Mapping[str, float] | None = None) -> Truth:
    """Read the truth columns of a synthetic patient's table; a column that is absent, or a blank cell, is NaN.

    Args:
        path: the patient's file.
        parameters: true parameters by symbol, from `truth.csv`.

    Returns:
        The truth: parameters and states on the rows of the file.

    Raises:
        DataError: listing everything wrong, by row and column.

    Example:
        >>> import pathlib, tempfile
        >>> from t1djax.io import read_patient_truth
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "Ada.csv")
        ...     _ = file.write_text("time_min,true_glucose_mg_dL\\n0,120\\n5,119.5\\n")
        ...     read_patient_truth(file).glucose_mg_dL.tolist()
        [120.0, 119.5]
    """
    return settled(*finished(_truth(Path(path), parameters or {})))


def _truth(path: Path, parameters: Mapping[str, float]) -> Step[Truth | None]:
    table = yield from read_table(path)
    return None if table is None else (yield from table_to_truth(table, parameters))


def table_to_patient(table: Table, name: str, known: Mapping[str, float], strict: bool) -> Step[Patient | None]:
    """A patient from the cells of a table; None where something is wrong."""
    if set(HUPA) <= set(table.names):
        yield flaw(table.file, HUPA_SEEN, hupa_remedy())
        return None
    read = yield from sound(_columns(table, strict))
    if read is None:
        return None
    time_min, start, glucose, basal, events = read
    rate = np.isfinite(basal)
    when, rate = time_min[rate], basal[rate]
    change = np.concatenate([[True], rate[1:] != rate[:-1]])
    doses = []
    for amounts, durations in events:
        event = amounts > 0
        doses += [time_min[event], amounts[event], durations[event]]
    lead = _before(table)
    return Patient(name, time_min[lead:], glucose[lead:], Doses(when[change], rate[change], *doses), dict(known), start)


def _columns(
    table: Table, strict: bool
) -> Step[tuple[np.ndarray, dt.datetime | None, np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]]:
    """Times, the clock of minute zero, readings, rates, and amounts and durations of each kind of dose."""
    time_min, start = yield from _times(table)
    lead = _before(table)
    if start is not None and lead and np.isfinite(time_min[lead]):  # else it has been named
        start += dt.timedelta(minutes=float(time_min[lead]))
        time_min = time_min - time_min[lead]
    there = lambda column: column in table.names
    optional = (TIME, CLOCK, LONG_ACTING, *(duration for duration, _ in DURATIONS.values()), *truth_columns())
    readings = GLUCOSE_MMOL if there(GLUCOSE_MMOL) else GLUCOSE
    # Of a person on pens there need be no rate.
    rates = () if there(LONG_ACTING) and not there(BASAL) else (BASAL,)
    yield from check_columns(table, (readings, *rates, BOLUS, CARBS), optional)
    glucose, basal = np.full(len(table), np.nan), np.zeros(len(table))
    if there(readings):
        glucose = yield from glucose_column(table, readings, strict=strict)
    if there(BASAL):
        basal = yield from amounts_column(table, BASAL, TOO_MUCH[BASAL], UNIT[BASAL])
        if not lead:
            yield from first_rate(table, BASAL)
        yield from check_basal_unit(table, time_min, basal)
    return time_min, start, glucose, basal, (yield from doses_columns(table))


def _before(table: Table) -> int:
    """How many rows stand above the record: they state a dose, and neither a reading nor the rate in force."""
    there = lambda column: np.zeros(len(table), bool) if column not in table.names else ~blank(table, column)
    stated = np.flatnonzero(there(BASAL))
    lead = int(stated[0]) if stated.size else 0
    seen, dosed = there(GLUCOSE) | there(GLUCOSE_MMOL), there(BOLUS) | there(CARBS) | there(LONG_ACTING)
    return lead if np.all(dosed[:lead] & ~seen[:lead]) else 0


def _times(table: Table) -> Step[tuple[Float[np.ndarray, " rows"], dt.datetime | None]]:
    column, start = (yield from time_column(table)), None
    if column is None:
        return np.full(len(table), np.nan), None
    if column == TIME:
        time_min = yield from numbers(table, column)
    else:
        time_min, start = yield from clock(table, column)
    far = np.abs(time_min) > LONGEST
    yield from flag(table, column, far, "{} is beyond any record", "give minutes")
    time_min[far] = np.nan
    yield from check_order(table, column, time_min)
    return time_min, start


def table_to_truth(table: Table, parameters: Mapping[str, float]) -> Step[Truth]:
    """The truth columns of a table; NaN where there is none."""
    lead = _before(table)
    columns = {}
    for name in truth_columns():
        if name in table.names:
            columns[name] = (yield from numbers(table, name))[lead:]
    glucose = columns.pop(TRUE_GLUCOSE, np.full(len(table) - lead, np.nan))
    return Truth(dict(parameters), glucose, columns)


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts Pat2 before Pat10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,18})", name)]
