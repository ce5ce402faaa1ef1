"""Readings that someone drew between the sensor's own, in series of any spacing."""

import numpy as np
import pytest

from t1djax.io._interpolated import own_readings

from .files import walk

MMOL = 18.016


@pytest.mark.parametrize(("row", "period"), [(5.0, 3), (5.0, 2), (1.0, 5), (1.0, 15), (5.0, 6)])
def test_lines_between_readings_are_found_at_any_spacing(row: float, period: int) -> None:
    n = 60 * period
    at = np.arange(2, n, period)
    rng = np.random.default_rng(5)
    readings = 150.0 + rng.normal(0, 20, len(at)).cumsum() % 97
    glucose = np.interp(np.arange(at[0], at[-1] + 1), at, readings)
    own, how = own_readings(row * np.arange(len(glucose)), glucose)
    assert how == f"straight lines between readings {period * row:g} min apart"
    assert np.flatnonzero(own).tolist() == list(range(0, len(glucose), period))


def test_held_readings_and_lines_over_gaps_are_found() -> None:
    held = np.repeat(150 + np.random.default_rng(0).normal(0, 9, 80), 3)
    own, how = own_readings(5.0 * np.arange(240), held)
    assert how == "readings held over 15 min"
    assert np.flatnonzero(own).tolist() == list(range(0, 240, 3))
    filled = walk(300)
    filled[99:141] = np.linspace(100.0, 167.0, 42)
    own, how = own_readings(5.0 * np.arange(300), filled)
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
    own, how = own_readings(5.0 * np.arange(len(glucose)), glucose)
    assert own.all()
    assert how == ""
