"""Input that somebody made to do harm, or that no program expects: an error in words, soon."""

import csv
import dataclasses
import os
import stat
import time
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest

import t1djax
from t1djax.config import ConfigError, load_experiment
from t1djax.io import DataError, read_patient, read_recording, write_fitted
from t1djax.io.formats import FORMATS

from .command import done

COMMENTS = "<!-- a --> " * 40
HEADS = {
    "comments": f"<?xml version='1.0'?>{COMMENTS}<patients/>",
    "comments without an end": "<!-- " * 1600,
    "dashes": "<!--" + "-" * 8000,
    "blanks": " " * 8000 + "x",
    "commas": "," * 8000,
    "quotes": '"' * 8000,
    "open brackets": "[" * 8000,
    "open braces": '{"a":' * 1600,
    "digits": "1" * 8000,
    "times": "2026-01-01T00:00:00" * 400,
    "semicolons and quotes": '";"' * 2600,
    "lines": "\n" * 8000,
    "keys": '{"date":1,' + '"sgv":1,' * 900,
    "headers": "Timestamp (YYYY-MM-DDThh:mm:ss)," * 250,
    "escapes": "\\u0041\\" * 1000,
    "marks": "\ufeff" * 4000,
}


@pytest.mark.parametrize("head", HEADS)
def test_no_recogniser_takes_long(head: str) -> None:
    """Forty comments before the first element took days."""
    for kind in FORMATS.values():
        began = time.process_time()
        kind.recognise(HEADS[head])
        assert time.process_time() - began < 3, kind.name


def test_comments_before_the_first_element_are_passed_over() -> None:
    from t1djax.io.formats import _ohio  # noqa: PLC0415

    assert _ohio.recognise(f"\ufeff <?xml version='1.0'?>{COMMENTS}<patient id='1'>")
    assert not _ohio.recognise(f"{COMMENTS}<patients>")


@pytest.mark.parametrize(
    "text",
    [
        '[{"type":"sgv","sgv":' + "1" * 5000 + ',"date":1772323200000}]',
        '[{"type":"sgv","sgv":120,"date":' + "9" * 5000 + "}]",
        '[{"type":"sgv","sgv":1e999,"date":1772323200000}]',
        '[{"type":"sgv","sgv":-120,"date":1772323200000}]',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_json_that_no_device_writes_is_an_error_in_words(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        read_recording(tmp_path / "a.json")


def test_aliases_of_a_configuration_do_not_multiply(tmp_path: Path) -> None:
    """Nine lines that stand for a thousand million values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    path = tmp_path / "a.yaml"
    path.write_text("\n".join(lines))
    began = time.process_time()
    with pytest.raises(ConfigError, match="aliases"):
        load_experiment(path)
    path.write_text("data: &a [*a]")
    with pytest.raises(ConfigError, match="aliases"):
        load_experiment(path)
    assert time.process_time() - began < 2
    path.write_text("sensor: &s {noise: none}\nreading: {}\nseed: 3\n")
    assert load_experiment(path).seed == 3


@pytest.mark.parametrize(
    ("times", "glucose"),
    [
        ([0.0, np.inf], [100.0, 110.0]), ([-np.inf, 0.0], [100.0, 110.0]), ([0.0, np.nan], [100.0, 110.0]),
        ([0.0, 5.0], [100.0, np.inf]),
    ],
)  # fmt: skip
def test_a_patient_has_finite_times_and_no_infinite_glucose(times: list[float], glucose: list[float]) -> None:
    with pytest.raises(ValueError, match=r"patient Ada: (time_min|glucose_mg_dL)"):
        t1djax.Patient("Ada", np.array(times), np.array(glucose), t1djax.Doses.of(basal=0.9))


def test_columns_of_a_patient_that_are_lists_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users see it
    columns: Any = [0.0, 5.0]
    with pytest.raises(TypeError, match="time_min"):
        t1djax.Patient("Ada", columns, columns, t1djax.Doses.of(basal=0.9))


def test_glucose_below_zero_is_refused_or_told(tmp_path: Path) -> None:
    """No sensor shows it: recordings are refused; own tables, which may be simulated, are remarked on."""
    table = tmp_path / "Ada.csv"
    head = "time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g\n"
    table.write_text(head + "".join(f"{5 * i},{120 + i % 7},0.9,,\n" for i in range(40)))
    table.write_text(table.read_text().replace("50,123,", "50,-20,"))
    with pytest.warns(t1djax.DataWarning, match="row 12, column glucose_mg_dL"):
        assert read_patient(table).glucose_mg_dL.min() == -20
    with pytest.raises(DataError, match="row 12, column glucose_mg_dL"):
        read_recording(table)


def people(*names: str) -> t1djax.Cohort:
    times = np.arange(30) * 5.0
    glucose = lambda i: 100 + (20 + 7 * i) * np.sin(times / (30 + i))
    make = lambda i, name: t1djax.Patient(name, times, glucose(i), t1djax.Doses.of(basal=0.9), {"M": 62.0})
    return t1djax.Cohort(tuple(make(i, name) for i, name in enumerate(names)))


@pytest.mark.parametrize("name", ["CON", "nul", "Aux.x", "COM1", "Ada."])
def test_a_name_that_no_windows_file_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rename the patient"):
        t1djax.write_cohort(people(name), tmp_path / "a")


@pytest.mark.parametrize("name", ["=1+1", "+Ada", "-Ada", "@Ada"])
def test_a_name_is_no_formula_of_a_spreadsheet(name: str, tmp_path: Path) -> None:
    """It comes back as it was, and can be forgotten."""
    t1djax.write_cohort(people(name, "Ben"), tmp_path)
    with (tmp_path / "patients.csv").open(newline="") as file:
        cells = [row[0] for row in csv.reader(file)]
    assert not any(cell[:1] in tuple("=+-@") for cell in cells)
    read = t1djax.read_cohort(tmp_path)
    assert read.names == (name, "Ben")
    assert read[name].known == {"M": 62.0}
    assert t1djax.forget(name, data=tmp_path).complete
    assert t1djax.read_cohort(tmp_path).names == ("Ben",)


@pytest.mark.parametrize(
    "command", [pytest.param("forecast --model population", marks=pytest.mark.slow), "identify --preflight --free ksi"]
)
def test_no_table_of_a_command_runs_a_name(command: str, tmp_path: Path) -> None:
    cohort = t1djax.reference_cohort(interval_min=5, names=["Pat2"])
    t1djax.write_cohort(t1djax.Cohort((dataclasses.replace(cohort[0], name="=Ada"),)), tmp_path / "data")
    for _ in range(2):  # the second finds the figures of the first by the table
        done(*command.split(), tmp_path / "data", "--out", tmp_path / "out", "--overwrite")
    (table,) = (tmp_path / "out").glob("*.csv")
    with table.open(newline="", encoding="utf-8") as file:
        assert {row["patient"] for row in csv.DictReader(file)} == {"'=Ada"}


def test_a_fitted_patient_is_for_whom_the_umask_says(tmp_path: Path) -> None:
    cohort = t1djax.reference_cohort(interval_min=60, names=["Pat2"])
    model = t1djax.prediction.fitted_patient(t1djax.fit(cohort, model="ode"), cohort["Pat2"])
    before = os.umask(0o077)
    try:
        assert stat.S_IMODE(write_fitted(model, tmp_path).stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_times_centuries_apart_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "Ada.csv"
    rows = "".join(f"2026-01-01T{h:02d}:{m:02d},120,1\n" for h in range(6) for m in range(0, 60, 5))
    path.write_text("time,glucose_mg_dL,basal_U_h\n1626-01-01T00:00,120,1\n" + rows)
    with pytest.raises((DataError, t1djax.DataWarning)):
        read_patient(path)
