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
from ._asserted import PATIENTS_FILE, TRUTH_FILE, read_parameters
from ._checks import (
    HUPA,
    HUPA_SEEN,
    Findings,
    Table,
    blank,
    check_columns,
    check_order,
    clock,
    hupa_mend,
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
    durations_column,
    first_rate,
    glucose_column,
)
from ._text import read_table
from ._zones import read_zones

TRUE_GLUCOSE = "true_glucose_mg_dL"
STATES = tuple(column for body in PHYSIOLOGIES.values() for column in state_columns(body.States))
TRUTH = (TRUE_GLUCOSE, *STATES)

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
    found = Findings()
    folder = Path(folder)
    if not os.path.isdir(folder) and folder.suffix.lower() == ".csv":
        if patients is not None:
            found.add(str(folder), "it is one patient's file", "give the folder to choose patients from it")
        cohort = _read_single(folder, found, strict, truth)
    else:
        cohort = _read_folder(folder, patients, found, strict, truth)
    found.finish()
    return cohort


def _read_single(path: Path, found: Findings, strict: bool, truth: bool) -> Cohort:
    name = path.stem
    why = safe_name(name)
    if why is not None:
        mend = "give the cohort's folder" if why == "is reserved" else "rename the file"
        found.add(str(path), f"the patient's name {why}", mend)
        return Cohort(())
    asserted, true = _parameter_files(path.parent, found, truth)
    return _cohort({name: path}, asserted or {}, true, found, strict, truth)


def _read_folder(folder: Path, patients: Sequence[str] | None, found: Findings, strict: bool, truth: bool) -> Cohort:
    try:
        entries = sorted(folder.iterdir(), key=lambda path: natural(path.name))
    except (OSError, ValueError) as error:
        what = "there is no such folder" if isinstance(error, FileNotFoundError) else f"it cannot be opened ({error})"
        found.add(str(folder), what, "check the path")
        return Cohort(())
    entries = [path for path in entries if path.suffix.lower() == ".csv" and not path.name.startswith(".")]
    files = {path.stem: path for path in entries if path.stem.casefold() not in ("patients", "truth")}
    asserted, true = _parameter_files(folder, found, truth)
    listed = list(asserted or {})
    there = [*listed, *(name for name in files if name not in listed)]
    if not there and not found.problems:
        found.add(str(folder), "there is no patient's file", "a cohort has one <patient>.csv each")
    chosen = there if patients is None else [patients] if isinstance(patients, str) else list(patients)
    if not chosen and there:
        found.add(str(folder), "no patient is chosen", f"there are {', '.join(there)}")
    for name in dict.fromkeys(chosen):
        if chosen.count(name) > 1:
            found.add(str(folder), f"patient {quote(name)} is chosen more than once", "name each once")
        if name not in there:
            found.add(str(folder), f"there is no patient {quote(name)}", f"there are {', '.join(there) or 'none'}")
        elif name not in files:
            mend = f"write {name}.csv, or remove the row"
            found.add(str(folder / PATIENTS_FILE), f"patient {quote(name)} has no file", mend, column="patient")
    paths = {name: files[name] for name in dict.fromkeys(chosen) if name in files}
    for name, path in paths.items():
        why = safe_name(name)
        if why is not None:
            found.add(str(path), f"the patient's name {why}", "rename the file")
    return _cohort(paths, asserted or {}, true, found, strict, truth)


def _parameter_files(
    folder: Path, found: Findings, truth: bool
) -> tuple[dict[str, dict[str, float]] | None, dict[str, dict[str, float]]]:
    asserted, true = None, {}
    if os.path.exists(folder / PATIENTS_FILE):
        asserted = read_parameters(folder / PATIENTS_FILE, found)
    if truth and os.path.exists(folder / TRUTH_FILE):
        true = read_parameters(folder / TRUTH_FILE, found)
    return asserted, true


def _cohort(
    paths: Mapping[str, Path],
    asserted: Mapping[str, dict[str, float]],
    true: Mapping[str, dict[str, float]],
    found: Findings,
    strict: bool,
    truth: bool,
) -> Cohort:
    read, truths = [], {}
    for name, path in paths.items():
        table = read_table(path, found)
        if table is None:
            continue
        patient = table_to_patient(table, name, asserted.get(name, {}), found, strict)
        if patient is None:
            continue
        if (
            (key := read_zones(path.parent / PATIENTS_FILE).get(name))
            and patient.start is not None
            and patient.start.tzinfo
        ):
            patient = dataclasses.replace(patient, start=patient.start.astimezone(zone(key)))
        read.append(patient)
        if truth and (name in true or any(column in table.names for column in TRUTH)):
            truths[name] = table_to_truth(table, true.get(name, {}), found)
    foreign = [problem for problem in found.problems if problem.what[0] == HUPA_SEEN]
    if foreign:  # what else is wrong in such a folder is of no use to anyone
        found.problems[:] = foreign
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
    found = Findings()
    table = read_table(Path(path), found)
    patient = None if table is None else table_to_patient(table, Path(path).stem, known or {}, found, strict)
    found.finish()
    assert patient is not None
    return patient


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
    found = Findings()
    table = read_table(Path(path), found)
    truth = None if table is None else table_to_truth(table, parameters or {}, found)
    found.odd.clear()
    found.finish()
    assert truth is not None
    return truth


def table_to_patient(
    table: Table, name: str, known: Mapping[str, float], found: Findings, strict: bool
) -> Patient | None:
    """A patient from the cells of a table; what is wrong goes to `found`, and then there is none."""
    before = len(found.problems)
    if set(HUPA) <= set(table.names):
        found.add(table.file, HUPA_SEEN, hupa_mend())
        return None
    time_min, start = _times(table, found)
    lead = _before(table)
    if start is not None and lead:
        start += dt.timedelta(minutes=float(time_min[lead]))
        time_min = time_min - time_min[lead]
    there = lambda column: column in table.names
    optional = (TIME, CLOCK, LONG_ACTING, *(duration for duration, _ in DURATIONS.values()), *TRUTH)
    readings = GLUCOSE_MMOL if there(GLUCOSE_MMOL) else GLUCOSE
    # Of a person on pens there need be no rate.
    rates = () if there(LONG_ACTING) and not there(BASAL) else (BASAL,)
    check_columns(table, (readings, *rates, BOLUS, CARBS), optional, found)
    glucose = basal = None
    if there(readings):
        glucose = glucose_column(table, readings, found, strict=strict)
    if there(BASAL):
        basal = amounts_column(table, BASAL, TOO_MUCH[BASAL], UNIT[BASAL], found)
        if not lead:
            first_rate(table, BASAL, found)
        check_basal_unit(table, time_min, basal, found)
    elif not rates:
        basal = np.zeros(len(table))
    events = []
    for amount, (duration, usual) in DURATIONS.items():
        amounts = np.zeros(len(table))
        if there(amount):
            amounts = amounts_column(table, amount, TOO_MUCH[amount], UNIT[amount], found)
        durations = np.full(len(table), usual)
        if there(duration):
            durations = durations_column(table, duration, usual, found)
        event = amounts > 0
        events += [time_min[event], amounts[event], durations[event]]
    if len(found.problems) > before or glucose is None or basal is None:
        return None
    rate = np.isfinite(basal)
    when, rate = time_min[rate], basal[rate]
    change = np.concatenate([[True], rate[1:] != rate[:-1]])
    return Patient(
        name, time_min[lead:], glucose[lead:], Doses(when[change], rate[change], *events), dict(known), start
    )


def _before(table: Table) -> int:
    """How many rows stand above the record: they state a dose, and neither a reading nor the rate in force."""
    there = lambda column: np.zeros(len(table), bool) if column not in table.names else ~blank(table, column)
    stated = np.flatnonzero(there(BASAL))
    lead = int(stated[0]) if stated.size else 0
    seen, dosed = there(GLUCOSE) | there(GLUCOSE_MMOL), there(BOLUS) | there(CARBS) | there(LONG_ACTING)
    return lead if np.all(dosed[:lead] & ~seen[:lead]) else 0


def _times(table: Table, found: Findings) -> tuple[Float[np.ndarray, " rows"], dt.datetime | None]:
    start = None
    columns = [column for column in (TIME, CLOCK) if column in table.names]
    if len(columns) != 1:
        both = (f"there is {CLOCK} as well", "keep one of them")
        found.add(table.file, *(both if columns else ("the column is missing", f"add it, or {CLOCK}")), column=TIME)
        return np.full(len(table), np.nan), None
    column = columns[0]
    if column == TIME:
        time_min = numbers(table, column, found)
    else:
        time_min, start = clock(table, column, found)
    far = np.abs(time_min) > LONGEST
    found.flag(table, column, far, "{} is beyond any record", "give minutes")
    time_min[far] = np.nan
    check_order(table, column, time_min, found)
    return time_min, start


def table_to_truth(table: Table, parameters: Mapping[str, float], found: Findings) -> Truth:
    """The truth columns of a table; NaN where there is none."""
    lead = _before(table)
    columns = {name: numbers(table, name, found)[lead:] for name in TRUTH if name in table.names}
    glucose = columns.pop(TRUE_GLUCOSE, np.full(len(table) - lead, np.nan))
    return Truth(dict(parameters), glucose, columns)


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts Pat2 before Pat10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,18})", name)]
