"""Readings that someone drew between the sensor's own, in series of any spacing."""

from pathlib import Path

import numpy as np
import pytest

from t1djax import inspect_file
from t1djax.io import ReadReport
from t1djax.io._interpolated import own_readings, share_on_lines

from .files import quietly, walk

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


# Lines that were rounded after they were drawn

ROUNDINGS = {
    "mg/dL": lambda g: g.round(),
    "mmol/L": lambda g: (g / MMOL).round(1) * MMOL,
    "mmol/L to whole mg/dL": lambda g: ((g / 18.0).round(1) * 18.0).round(),
}


def drawn_in_threes(n: int) -> np.ndarray:
    """A sensor's readings each 15 min, and two drawn between them."""
    at = np.arange(0, n + 3, 3)
    steps = np.random.default_rng(7).standard_t(4, len(at)) * 7
    return np.interp(np.arange(n), at, 150 + 40 * np.sin(at / 40) + steps.cumsum() % 60)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_rounded_lines_are_known_by_the_whole_record(rounding: str) -> None:
    time = 5.0 * np.arange(900)
    found = own_readings(time, ROUNDINGS[rounding](drawn_in_threes(900)))
    assert found.how.startswith("straight lines between readings 15 min apart, rounded to 1")
    assert np.flatnonzero(found.own).tolist() == list(range(0, 900, 3))
    seen = np.arange(900) % 100 < 90
    with_gaps = own_readings(time[seen], ROUNDINGS[rounding](drawn_in_threes(900))[seen])
    assert np.flatnonzero(seen)[with_gaps.own].tolist() == np.flatnonzero(seen & (np.arange(900) % 3 == 0)).tolist()
    own = own_readings(time, ROUNDINGS[rounding](drawn_in_threes(2700)[::3]))  # the sensor's readings alone
    assert (own.own.all(), own.how, own.doubt) == (True, "", "")


def test_rounded_lines_across_gaps_are_found() -> None:
    for rounding, row in (("mg/dL", 5.0), ("mmol/L", 5.0), ("mg/dL", 15.0)):
        filled = walk(600)
        filled[200:261] = np.linspace(filled[200], filled[200] + 40.0, 61)
        found = own_readings(row * np.arange(600), ROUNDINGS[rounding](filled))
        assert found.how == "straight lines across gaps"
        drawn = np.flatnonzero(~found.own)
        assert set(range(203, 258)) <= set(drawn.tolist()) <= set(range(198, 263)), (rounding, row)
    both = drawn_in_threes(900)
    both[300:421] = np.linspace(both[300], both[300] + 50.0, 121)
    own = own_readings(5.0 * np.arange(900), both.round()).own
    assert own[:296:3].all()
    assert own[301:420].sum() <= 3


def test_a_record_drawn_in_part_or_too_smooth_to_tell_is_remarked_on() -> None:
    part = np.concatenate([drawn_in_threes(600).round(), walk(600)])
    found = own_readings(5.0 * np.arange(1200), part)
    assert found.own.all()
    assert "of the bends of the series come every 15 min, by chance it were 33 %" in found.doubt
    smooth = own_readings(5.0 * np.arange(600), (140 + 60 * np.sin(np.arange(600) / 20)).round())
    assert "too few to tell whether some were drawn" in smooth.unjudged
    assert own_readings(5.0 * np.arange(600), walk(600)).doubt == ""
    assert own_readings(5.0 * np.arange(24), walk(24)).unjudged.startswith("24 readings are too few")


def test_real_readings_are_left_alone_and_rounded_lines_of_real_people_found(shared: Path) -> None:
    """No reading of the real sensors is taken for a line, however it is rounded; the drawn ones are."""
    data = shared / "data"
    if not data.is_dir():
        pytest.skip("no data in the shared folder")
    pump = quietly(data / "carelink" / "carelink_veo754_12d.csv").patient
    for rounding in ROUNDINGS.values():
        found = own_readings(pump.time_min[pump.valid], rounding(pump.glucose_mg_dL[pump.valid]))
        assert (found.own.all(), found.doubt, found.unjudged) == (True, "", "")
        filled = pump.glucose_mg_dL[pump.valid]
        filled[1000:1048] = np.linspace(100.0, 170.0, 48)
        drawn = np.flatnonzero(~own_readings(pump.time_min[pump.valid], rounding(filled)).own)
        assert set(range(1002, 1046)) <= set(drawn.tolist()) <= set(range(998, 1050))
    for file in sorted((data / "hupa_ucm").glob("HUPA*.csv")):
        every = quietly(file, carbs_unit="none", keep_interpolated=True).patient
        truly = quietly(file, carbs_unit="none").patient.valid[every.valid]
        time, glucose = every.time_min[every.valid], every.glucose_mg_dL[every.valid]
        for rounding in ROUNDINGS.values():
            own = own_readings(time, rounding(glucose)).own
            assert np.sum(truly & ~own) <= 1  # of about a thousand
            assert np.sum(own & ~truly) <= 20
            alone = own_readings(time[truly], rounding(glucose[truly]))
            assert (alone.own.all(), alone.doubt) == (True, "")


def test_what_was_rounded_stands_in_the_report(tmp_path: Path) -> None:
    def inspect(glucose: np.ndarray) -> ReadReport:
        rows = [f"{5 * i},{value:g},0.9,," for i, value in enumerate(glucose.tolist())]
        file = tmp_path / "Ada.csv"
        file.write_text("\n".join(["time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g", *rows]) + "\n", encoding="utf-8")
        return inspect_file(file)

    report = inspect(drawn_in_threes(900).round())
    assert (report.glucose_step_mg_dL, report.readings, report.interval_min) == (1.0, 300, 15.0)
    assert any("600 of 900 readings are interpolated" in text for text in report.notes)
    part = inspect(np.concatenate([drawn_in_threes(600).round(), walk(600)]))
    assert any("may be lines" in text and "the sensor's own export" in text for text in part.warnings)
