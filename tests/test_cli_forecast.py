"""`t1djax forecast` refuses, before any fit, what it could not score, and keeps what an earlier run wrote."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import t1djax
from t1djax.cli._enough import check_horizons, check_length
from t1djax.cli._forecast import _write
from t1djax.cli._output import check_folder
from t1djax.config import ConfigError

from .command import call
from .files import walk


def person(name: str, rows: int, step: float = 5.0) -> t1djax.Patient:
    doses = t1djax.Doses.of(basal=0.9, boluses=[(30, 4)], meals=[(30, 40)])
    return t1djax.Patient(name, step * np.arange(rows), walk(rows), doses)


def table(folder: Path, name: str, rows: int) -> Path:
    file = folder / f"{name}.csv"
    lines = [f"{5 * i},{v:g},{0.9},{4 if i == 6 else ''},{40 if i == 6 else ''}" for i, v in enumerate(walk(rows))]
    file.write_text("\n".join(["time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g", *lines]) + "\n")
    return file


@pytest.fixture
def no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a fit was begun")

    monkeypatch.setattr("t1djax.cli._forecast.fit_state_space", refuse)


def test_horizons_off_the_grid_are_named_before_any_fit(tmp_path: Path, no_fit: None) -> None:
    said = call("forecast", table(tmp_path, "Ada", 600), "--horizons", "7,30")
    assert said.code == 2
    expected = "--horizons 7: readings of Ada come each 5 min"
    assert expected in said.err
    assert "the nearest horizons that have readings are 5, 10 min" in said.err


def test_the_grid_is_each_persons_own() -> None:
    both = t1djax.Cohort((person("Ada", 300), person("Ben", 300, 15.0)))
    check_horizons(both, (15.0, 30.0, 60.0, 240.0))
    with pytest.raises(ConfigError, match=r"--horizons.*Ben"):
        check_horizons(both, (20.0, 5.0, 30.0))
    jitter = person("Cem", 900)
    jitter = t1djax.Patient("Cem", jitter.time_min * (5.02 / 5), jitter.glucose_mg_dL, jitter.doses)
    check_horizons(t1djax.Cohort((jitter,)), (30.0, 60.0, 120.0, 240.0))


def test_short_records_are_refused_or_doubted_with_numbers(tmp_path: Path, no_fit: None) -> None:
    said = call("forecast", table(tmp_path, "Ada", 20), "--horizons", "15")
    assert said.code == 2
    assert "Ada: 14 readings in the first 70 % of 1.6 h to learn from, and the fit needs 20" in said.err
    with pytest.raises(ConfigError, match=r"Ada.*240 min"):
        check_length(t1djax.Cohort((person("Ada", 100),)), (240.0,), 0.7)
    learnt, scored = check_length(t1djax.Cohort((person("Ada", 150),)), (30.0, 60.0), 0.7)
    assert learnt.startswith("Ada: 8.7 h to learn from, less than a day")
    assert scored.startswith("Ada: forecasts to score are few (39 at 30 min, 33 at 60 min)")
    assert check_length(t1djax.Cohort((person("Ada", 3000),)), (30.0, 60.0), 0.7) == []


def test_forecasts_of_an_earlier_run_are_kept_unless_asked(tmp_path: Path, no_fit: None) -> None:
    cohort = t1djax.Cohort((person("Ada", 600),))
    made = [t1djax.baseline_forecasts(cohort["Ada"], "persistence", horizon_min=(30.0,))]
    out = tmp_path / "forecasts"
    _write(out, cohort, made)
    (out / "Ada.png").write_bytes(b"a figure of then")
    (out / "notes.txt").write_text("mine")
    said = call("forecast", table(tmp_path, "Ben", 600), "--out", out)
    assert said.code == 2
    assert "holds forecasts already; name another folder, or replace what is there with --overwrite" in said.err
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError):
        check_folder(other, "forecasts.csv", "forecasts", overwrite=True)
    check_folder(out, "forecasts.csv", "forecasts", overwrite=True)
    _write(out, cohort, made)
    assert sorted(path.name for path in out.iterdir()) == ["forecasts.csv", "notes.txt"]  # no figure of then
    assert set(pd.read_csv(out / "forecasts.csv")["patient"]) == {"Ada"}
