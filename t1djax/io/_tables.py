"""The canonical tables: one row per time, units in the names of the columns; files and frames become patients."""

import dataclasses
import datetime as dt
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from .._types import MG_DL_PER_MMOL_L
from ..data import Cohort, Patient, Truth
from ..physics import KB_BODY_MASS, PARAMETERS, Doses
from ._checks import (
    BLANKS,
    HUPA,
    HUPA_MEND,
    HUPA_SEEN,
    Findings,
    Table,
    blank,
    check_columns,
    check_order,
    clock,
    numbers,
    quote,
    read_table,
    safe_name,
)
from ._mixed import mixed_units
from ._noted import zone
from ._zones import TIME_ZONE, is_zone, read_zones

TIME, CLOCK, GLUCOSE, BASAL, BOLUS, CARBS = "time_min", "time", "glucose_mg_dL", "basal_U_h", "bolus_U", "carbs_g"
BOLUS_DURATION, MEAL_DURATION = "bolus_duration_min", "meal_duration_min"
TRUTH = ("true_glucose_mg_dL", "insulin_U_dL", "digestion_mg_dL_min")
PATIENTS_FILE, TRUTH_FILE = "patients.csv", "truth.csv"

MMOL = MG_DL_PER_MMOL_L
"""mg/dL of glucose in 1 mmol/L."""
LOW = 40.0
"""A sensor reports nothing below this, mg/dL."""
TOO_MUCH = {GLUCOSE: 5000.0, BASAL: 15.0, BOLUS: 100.0, CARBS: 1000.0, BOLUS_DURATION: 1440.0, MEAL_DURATION: 1440.0}
"""Values beyond these are wrong in unit, not merely large."""
BRIEFEST = 1 / 60
"""Shortest duration of a dose, min."""
LONGEST = 1e8
"""Latest time, min (190 years)."""
UNIT = {
    GLUCOSE: "give glucose in mg/dL",
    BASAL: "give basal rates in U/h",
    BOLUS: "give boluses in U",
    CARBS: "give carbohydrate in g; is it mg?",
    BOLUS_DURATION: "give durations in min",
    MEAL_DURATION: "give durations in min",
}


def read_cohort(
    folder: str | Path, *, patients: Sequence[str] | None = None, strict: bool = False, truth: bool = False
) -> Cohort:
    """Read a cohort: a folder with `patients.csv` and one `<patient>.csv` each.

    Each table has `time_min` (or `time`, ISO 8601), `glucose_mg_dL`, `basal_U_h`, `bolus_U`, `carbs_g`, and
    may have `bolus_duration_min` and `meal_duration_min`. Empty glucose is no reading, an empty or zero bolus
    or meal is no event, an empty basal holds the last rate. Without `patients.csv` nothing is known of anyone.

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
        found.add(table.file, HUPA_SEEN, HUPA_MEND)
        return None
    time_min, start = _times(table, found)
    optional = (TIME, CLOCK, BOLUS_DURATION, MEAL_DURATION, *TRUTH)
    check_columns(table, (GLUCOSE, BASAL, BOLUS, CARBS), optional, found)
    there = lambda column: column in table.names
    glucose = basal = None
    if there(GLUCOSE):
        glucose = glucose_column(table, GLUCOSE, found, strict=strict)
    if there(BASAL):
        basal = amounts_column(table, BASAL, TOO_MUCH[BASAL], UNIT[BASAL], found)
        first_rate(table, BASAL, found)
        _basal_unit(table, time_min, basal, found)
    events = []
    for amount, duration in ((BOLUS, BOLUS_DURATION), (CARBS, MEAL_DURATION)):
        amounts = np.zeros(len(table))
        if there(amount):
            amounts = amounts_column(table, amount, TOO_MUCH[amount], UNIT[amount], found)
        durations = durations_column(table, duration, found) if there(duration) else np.ones(len(table))
        event = amounts > 0
        events += [time_min[event], amounts[event], durations[event]]
    if len(found.problems) > before or glucose is None or basal is None:
        return None
    rate = np.isfinite(basal)
    when, rate = time_min[rate], basal[rate]
    change = np.concatenate([[True], rate[1:] != rate[:-1]])
    return Patient(name, time_min, glucose, Doses(when[change], rate[change], *events), dict(known), start)


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


def glucose_column(table: Table, column: str, found: Findings, *, strict: bool = False) -> Float[np.ndarray, " rows"]:
    """Readings, mg/dL; NaN where there is none."""
    glucose = numbers(table, column, found)
    _too_much(table, column, glucose, TOO_MUCH[GLUCOSE], UNIT[GLUCOSE], found)
    seen = glucose[np.isfinite(glucose)]
    if not seen.size:
        if blank(table, column).all():
            found.add(table.file, "there is no reading at all", "a fit needs glucose", column=column)
        return glucose
    if 2 <= np.median(seen) <= 30 and seen.max() < 35 and seen.min() > 0:
        what = f"its median is {np.median(seen):.3g}, which looks like mmol/L"
        found.add(table.file, what, f"multiply by {MMOL}", column=column)
        return glucose
    stated = np.flatnonzero(np.isfinite(glucose)).tolist()
    if (two := mixed_units(seen, [table.lines[i] for i in stated])) is not None:
        found.add(table.file, *two, column=column)
        return glucose
    low = glucose < LOW
    if strict:
        found.flag(table, column, low, "{} is below 40 mg/dL", "leave it empty, or read without strict")
    elif low.any():
        first = table.lines[int(np.argmax(low))]
        found.odd.append(
            f"{table.file}, row {first}, column {column}: first of {low.sum()} readings below 40 mg/dL "
            f"(the lowest is {seen.min():g}); they are kept"
        )
    return glucose


def amounts_column(table: Table, column: str, most: float, mend: str, found: Findings) -> Float[np.ndarray, " rows"]:
    """Amounts or rates, none negative nor more than `most`; NaN where there is none."""
    values = numbers(table, column, found)
    found.flag(table, column, values < 0, "{} is negative", "give amounts and rates of zero or more")
    values[values < 0] = np.nan
    _too_much(table, column, values, most, mend, found)
    return values


def _too_much(
    table: Table, column: str, values: Float[np.ndarray, " rows"], most: float, mend: str, found: Findings
) -> None:
    bad = np.abs(values) > most
    found.flag(table, column, bad, f"{{}} is more than {most:g}", mend)
    values[bad] = np.nan


def first_rate(table: Table, column: str, found: Findings) -> None:
    """Report a first row that states no basal rate."""
    if len(table) and blank(table, column)[0]:
        first = np.arange(len(table)) == 0
        found.flag(table, column, first, "the first row states no rate", "state the rate in force (0 for none)")


def durations_column(table: Table, column: str, found: Findings) -> Float[np.ndarray, " rows"]:
    values = numbers(table, column, found)
    found.flag(table, column, values <= 0, "{} is no duration", "leave it empty for a dose over one minute")
    brief = (values > 0) & (values < BRIEFEST)
    found.flag(table, column, brief, "{} is less than a second", UNIT[column])
    values[values < BRIEFEST] = np.nan
    _too_much(table, column, values, TOO_MUCH[column], UNIT[column], found)
    return np.where(np.isnan(values), 1.0, values)


def _basal_unit(
    table: Table, time_min: Float[np.ndarray, " rows"], basal: Float[np.ndarray, " rows"], found: Findings
) -> None:
    """Rates so small, on rows so regular, that they are doses per row."""
    step = np.diff(time_min)
    stated = np.isfinite(basal)
    if len(step) == 0 or not np.allclose(step, 5.0, rtol=0, atol=1e-3) or not np.any(basal[stated] > 0):
        return
    held = np.flatnonzero(stated)[np.maximum(np.cumsum(stated) - 1, 0)]
    daily = 24 * float(np.mean(basal[held]))
    if daily < 0.5:
        what = f"it comes to {daily:.2g} U a day on 5-min rows, which looks like U per 5 min or U/min"
        found.add(table.file, what, "give basal rates in U/h: multiply by 12 or by 60", column=BASAL)
    elif daily < 3 and stated.mean() > 0.5:
        found.odd.append(f"{table.file}, column {BASAL}: it comes to {daily:.2g} U a day only; is it U per 5 min?")


def table_to_truth(table: Table, parameters: Mapping[str, float], found: Findings) -> Truth:
    """The truth columns of a table; NaN where there is none."""
    column = lambda name: numbers(table, name, found) if name in table.names else np.full(len(table), np.nan)
    return Truth(dict(parameters), *(column(name) for name in TRUTH))


def read_parameters(path: Path, found: Findings) -> dict[str, dict[str, float]]:
    """Parameters by patient from `patients.csv` or `truth.csv`; what is blank is left out."""
    table = read_table(path, found)
    return {} if table is None else parameter_table(table, found)


def parameter_table(table: Table, found: Findings) -> dict[str, dict[str, float]]:
    """Parameters by patient from the cells of such a file."""
    columns = {p.column: symbol for symbol, p in PARAMETERS.items()}
    if not check_columns(table, ("patient",), (*columns, TIME_ZONE), found):
        return {}
    names = [name.strip(BLANKS) for name in table.columns["patient"]]
    reasons = [safe_name(name) for name in names]
    for why in dict.fromkeys(why for why in reasons if why):
        found.flag(table, "patient", _where([w == why for w in reasons]), f"the name {{}} {why}", "rename the patient")
    seen: set[str] = set()
    twice = [name in seen or seen.add(name) is not None for name in names]
    found.flag(table, "patient", _where(twice), "{} stands above already", "keep one row for each patient")
    values = {columns[name]: numbers(table, name, found) for name in table.columns if name in columns}
    for symbol, column in values.items():
        bad = column <= 0
        found.flag(table, PARAMETERS[symbol].column, bad, "{} is not positive", "leave it empty where it is unknown")
    if TIME_ZONE in table.names:
        cells = [cell.strip(BLANKS) for cell in table.columns[TIME_ZONE]]
        unknown = _where([bool(cell) and not is_zone(cell) for cell in cells])
        found.flag(table, TIME_ZONE, unknown, "{} is no time zone", "give an IANA name such as Europe/Madrid")
    if "G0" in values:
        bad = (values["G0"] >= 2) & (values["G0"] <= 30)
        found.flag(table, "G0_mg_dL", bad, "{} looks like mmol/L", f"multiply by {MMOL}")
    if "M" in values and "kb" in values:
        what = "{} is not 128 / M_kg within 1 %"
        found.flag(table, "kb", disagree(values["M"], values["kb"]), what, "give M_kg or kb, not both")
    stated = [{s: float(x[i]) for s, x in values.items() if np.isfinite(x[i])} for i in range(len(table))]
    return dict(zip(names, stated, strict=True))


def disagree(M: Float[np.ndarray, " n"], kb: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Where body mass (kg) and `kb` (mg/dL/min), both stated, contradict each other by more than 1 %."""
    return np.abs(kb * M - KB_BODY_MASS) > 0.01 * KB_BODY_MASS


def _where(flags: Sequence[bool]) -> Bool[np.ndarray, " rows"]:
    return np.asarray(flags, dtype=bool)


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts Pat2 before Pat10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,18})", name)]
