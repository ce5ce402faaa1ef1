"""Readings that someone drew between the sensor's own, in series of any spacing."""

from pathlib import Path

import numpy as np
import pytest

from t1djax import inspect_file
from t1djax.io._interpolated import own_readings, share_on_lines

from .files import walk

MMOL = 18.016


@pytest.mark.parametrize(("row", "period"), [(5.0, 3), (5.0, 2), (1.0, 5), (1.0, 15), (5.0, 6)])
def test_lines_between_readings_are_found_at_any_spacing(row: float, period: int) -> None:
    n = 60 * period
    at = np.arange(2, n, period)
    rng = np.random.default_rng(5)
    readings = 150.0 + rng.normal(0, 20, len(at)).cumsum() % 97
    glucose = np.interp(np.arange(at[0], at[-1] + 1), at, readings)
    own, how, *_ = own_readings(row * np.arange(len(glucose)), glucose)
    assert how == f"straight lines between readings {period * row:g} min apart"
    assert np.flatnonzero(own).tolist() == list(range(0, len(glucose), period))


def test_held_readings_and_lines_over_gaps_are_found() -> None:
    held = np.repeat(150 + np.random.default_rng(0).normal(0, 9, 80), 3)
    own, how, *_ = own_readings(5.0 * np.arange(240), held)
    assert how == "readings held over 15 min"
    assert np.flatnonzero(own).tolist() == list(range(0, 240, 3))
    filled = walk(300)
    filled[99:141] = np.linspace(100.0, 167.0, 42)
    own, how, *_ = own_readings(5.0 * np.arange(300), filled)
    assert how == "straight lines across gaps"
    assert np.flatnonzero(~own).tolist() == list(range(100, 140))


@pytest.mark.parametrize(
    "glucose",
    [walk(600), walk(600).repeat(2)[:600] + np.arange(600) % 2, 140 + 60 * np.sin(np.arange(600) / 20),
     (walk(600) / MMOL).round(1) * MMOL, np.full(600, 120.0),
     130.0 + np.cumsum(np.random.default_rng(2).random(600) < 0.1)],
    ids=["whole", "jagged", "smooth", "mmol/L", "level", "slow"],
)  # fmt: skip
def test_a_sensors_own_series_is_left_alone(glucose: np.ndarray) -> None:
    own, how, *_ = own_readings(5.0 * np.arange(len(glucose)), glucose)
    assert own.all()
    assert how == ""


@pytest.mark.parametrize("rows", [8, 24, 36])
def test_lines_in_a_record_too_short_are_doubted(rows: int) -> None:
    at = np.arange(0, rows + 3, 3)
    readings = 150.0 + np.random.default_rng(4).normal(0, 20, len(at)).cumsum()
    drawn = np.interp(np.arange(rows), at, readings)
    assert share_on_lines(5.0 * np.arange(rows), drawn) > 0.5
    assert share_on_lines(5.0 * np.arange(72), np.linspace(179.0, 112.0, 72)) == 1.0
    assert share_on_lines(5.0 * np.arange(600), walk(600)) < 0.3
    assert share_on_lines(5.0 * np.arange(600), np.full(600, 120.0)) == 0.0  # level: a sensor at rest
    assert share_on_lines(np.array([0.0, 5.0, 10.0]), np.array([1.0, 2.0, 3.0])) == 0.0


def test_a_short_record_of_lines_is_flagged(tmp_path: Path) -> None:
    values = np.linspace(179.0, 112.0, 72)
    rows = [f"{5 * i},{value!r},0.9,," for i, value in enumerate(values.tolist())]
    file = tmp_path / "Ada.csv"
    file.write_text("\n".join(["time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g", *rows]) + "\n", encoding="utf-8")
    assert any("straight lines" in text for text in inspect_file(file).warnings)
