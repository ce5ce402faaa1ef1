"""Units held against bodies and sensors once more: mixtures at every share, sums of a day, flags that contradict."""

import datetime as dt
import json
import zoneinfo
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from t1djax import Cohort, DataError, inspect_file, read_cohort, write_cohort
from t1djax.cli import app
from t1djax.io import CarbsUnit, ReadReport

from .files import START, every, quietly, walk

MMOL = 18.016


def simulation(glucose: np.ndarray) -> str:
    rows = ["Time,BG,CGM,CHO,insulin"]
    rows += [
        f"{t:%Y-%m-%d %H:%M:%S},,{v!r},0,0.02" for t, v in zip(every(5, len(glucose)), glucose.tolist(), strict=True)
    ]
    return "\n".join(rows) + "\n"


def own(glucose: np.ndarray) -> str:
    rows = ["time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g"]
    rows += [f"{5 * i},{v!r},1,," for i, v in enumerate(glucose.tolist())]
    return "\n".join(rows) + "\n"


def hupa(
    n: int = 600, *, glucose: np.ndarray | None = None, basal: float = 0.08, bolus: float = 5.0, carbs: float = 50.0
) -> str:
    """Four meals a day, each with a bolus."""
    glucose = walk(n) if glucose is None else glucose
    rows = ["time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input"]
    for i, (t, v) in enumerate(zip(every(5, n), glucose.tolist(), strict=True)):
        on = i % 72 == 30
        rows.append(f"{t.isoformat()};{v!r};1;70;0;{basal!r};{bolus * on!r};{carbs * on!r}")
    return "\n".join(rows) + "\n"


def replay(*, cho: float = 10.0, bolus: float = 1.0, basal: float = 0.015, n: int = 600) -> str:
    """Rates over 5-min rows: four meals of 50 g a day with 5 U each, and a basal of 21.6 U a day."""
    rows = ["t,glucose,cho,bolus,basal,bolus_label,cho_label"]
    for i, (t, v) in enumerate(zip(every(5, n), walk(n).tolist(), strict=True)):
        on = i % 72 == 30
        rows.append(f"{t:%d}-May-2024 {t:%H:%M:%S},{v!r},{cho * on!r},{bolus * on!r},{basal!r},,")
    return "\n".join(rows) + "\n"


def problems(report: ReadReport) -> str:
    return "\n".join(report.problems)


# Glucose


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
@pytest.mark.parametrize("how", ["front", "scattered"])
@pytest.mark.parametrize("make", [simulation, own], ids=["simglucose", "own"])
def test_two_units_are_seen_at_every_share(
    put: Callable[..., Path], make: Callable[[np.ndarray], str], how: str, share: float
) -> None:
    glucose = walk(600)
    which = np.arange(600) < 600 * share
    which = which if how == "front" else np.random.default_rng(3).permutation(which)
    glucose[which] = (glucose[which] / MMOL).round(1)
    said = problems(inspect_file(put(make(glucose))))
    low, high = int(which.sum()), int((~which).sum())
    assert f"{low} readings are below 25 and 0 from 25 to 40, as if mmol/L were mixed in" in said
    assert f"({high} readings)" in said
    first = np.flatnonzero(which)[:3] + 2
    assert f"rows {', '.join(map(str, first))}, ... look like mmol/L" in said
    assert "all readings in one unit (mmol/L times 18.016 are mg/dL)" in said


def test_alternating_days_are_a_mixture_even_where_mmol_is_asked_for(put: Callable[..., Path]) -> None:
    glucose = walk(1152)
    odd = np.arange(1152) // 288 % 2 == 1
    glucose[odd] /= MMOL
    file = put(hupa(1152, glucose=glucose))
    for unit in (None, "mg/dL", "mmol/L"):
        assert "as if mmol/L were mixed in" in problems(inspect_file(file, carbs_unit="g", glucose_unit=unit))


def test_one_unit_with_lows_is_no_mixture(put: Callable[..., Path]) -> None:
    glucose = np.concatenate([walk(500), np.linspace(60, 15, 50), np.linspace(15, 60, 50)])
    report = inspect_file(put(simulation(glucose)))
    assert report.problems == ()
    low = int(np.sum(glucose < 39))
    assert any(f"% of readings ({low}) are below 39 mg/dL, the lowest 15" in text for text in report.warnings)
    tidy = inspect_file(put(simulation(walk(600))))
    assert not any("no sensor" in text for text in (*tidy.problems, *tidy.warnings))


def test_levels_that_no_person_has(put: Callable[..., Path]) -> None:
    assert "its median is 33" in problems(inspect_file(put(simulation(np.linspace(30, 36, 300)))))
    high = inspect_file(put(simulation(walk(300) * 3)))
    assert high.problems == ()
    assert any("the median of glucose is 4" in text for text in high.warnings)
    assert any("are above 500 mg/dL" in text for text in high.warnings)


def test_zeros_for_missing_readings(put: Callable[..., Path]) -> None:
    glucose = walk(300)
    glucose[100:120] = 0
    said = problems(inspect_file(put(simulation(glucose))))
    assert "20 rows (102, 103," in said


# Sums of a day


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (replay(), ""),
        (replay(cho=50.0), "carbohydrate sums to 9"),
        (replay(bolus=10.0), "boluses sum to 1"),
        (replay(basal=0.12), "basal sums to 173 U/day as U/min; as U per 5 min it is 34.6; pass basal_unit"),
        (hupa(), ""),
        (hupa(carbs=250.0), "nobody eats that much"),
        (hupa(bolus=0.5), "the median is 100 g of carbohydrate per U of bolus (8 meals with one), where people have 3"),
        (hupa(bolus=25.0), "2 per U of bolus: of grams by the size, but not by the boluses; are the boluses in U?"),
    ],
)
def test_sums_of_a_day(put: Callable[..., Path], text: str, message: str) -> None:
    report = inspect_file(put(text), carbs_unit="g" if text.startswith("time;") else None)
    assert message in problems(report) if message else report.problems == ()


def test_unusual_sums_are_remarked_on(put: Callable[..., Path]) -> None:
    many = inspect_file(put(hupa(basal=0.3, bolus=18.0, carbs=140.0)), carbs_unit="g")
    assert many.problems == ()
    assert any("insulin sums to 1" in text and "hardly anybody" in text for text in many.warnings)
    assert any("carbohydrate sums to 5" in text for text in many.warnings)
    few = inspect_file(put(replay(basal=0.0, bolus=0.1, cho=0)))
    assert any("less than an adult with type 1 diabetes lives on" in text for text in few.warnings)


# Flags against formats


@pytest.mark.parametrize("unit", ["g", "exchange"])
def test_a_unit_of_carbohydrate_that_contradicts_the_format(put: Callable[..., Path], unit: CarbsUnit) -> None:
    said = problems(inspect_file(put(replay()), carbs_unit=unit))
    assert "this format has carbohydrate in g/min, 192.3 g/day" in said
    assert 'leave carbs_unit out, or pass carbs_unit="g/min" or "none"' in said
    assert inspect_file(put(replay()), carbs_unit="g/min").problems == ()
    assert inspect_file(put(replay()), carbs_unit="none").carbs_g_day == 0


def test_a_flag_that_mends_a_sum_is_taken_with_a_warning(put: Callable[..., Path]) -> None:
    report = inspect_file(put(replay(cho=50.0)), carbs_unit="g")
    assert report.problems == ()
    days = 599 * 5 / 1440
    assert report.carbs_g_day == pytest.approx(8 * 50 / days)
    assert any("this format has carbohydrate in g/min" in text for text in report.warnings)


def test_a_unit_of_basal_that_contradicts_the_format(put: Callable[..., Path]) -> None:
    said = problems(inspect_file(put(replay()), basal_unit="U/5min"))
    assert "this format has basal in U/min, 21.6 U/day; as U per 5 min, asked for, it is 4.32; leave basal_unit" in said
    report = inspect_file(put(replay(basal=0.12)), basal_unit="U/5min")
    assert report.problems == ()
    assert any("this format has basal in U/min, 173 U/day" in text for text in report.warnings)


def test_amounts_are_no_rates(put: Callable[..., Path]) -> None:
    assert "they are amounts, not rates in g/min" in problems(inspect_file(put(hupa()), carbs_unit="g/min"))


# Flags of the command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("forecast {} --announced-min -5", "--announced-min -5: give minutes, zero or more"),
        ("forecast {} --announced-min nan", "--announced-min nan: give minutes, zero or more"),
        ("identify {} --preflight --assume-population --noise-level 0", "noise_sd_mg_dL: "),
        ("identify reference --patients 3 --preflight --assume-population --interval-min 0", "interval_min is 0.0; it"),
    ],
)
def test_numbers_of_flags(put: Callable[..., Path], words: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        app(
            [word.format(put(hupa())) for word in words.split()] + ["--carbs-unit", "g"] * ("{}" in words),
            standalone_mode=False,
        )


# Nightscout


def nightscout(glucose: np.ndarray) -> str:
    start = START.replace(tzinfo=dt.UTC).timestamp()
    rows = [{"type": "sgv", "sgv": v, "date": 1000 * (start + 300 * i)} for i, v in enumerate(glucose.tolist())]
    return json.dumps(rows)


def test_nightscout_in_mmol(put: Callable[..., Path]) -> None:
    glucose = (walk(100) / MMOL).round(1)
    file = put(nightscout(glucose), "json")
    assert "looks like mmol/L; pass glucose_unit=" in problems(inspect_file(file))
    patient = quietly(file, glucose_unit="mmol/L").patient
    assert patient.glucose_mg_dL == pytest.approx(glucose * MMOL, rel=1e-9)


def test_nightscout_sensor_errors_are_still_left_out(put: Callable[..., Path]) -> None:
    glucose = walk(100)
    glucose[[10, 20, 30]] = [5, 10, 12]
    report = inspect_file(put(nightscout(glucose), "json"))
    assert (report.readings, report.problems) == (97, ())
    assert "3 entries below 13 are numbers of sensor errors and are left out" in report.notes
    glucose[40:60] = (glucose[40:60] / MMOL).round(1)
    assert "23 readings are below 25" in problems(inspect_file(put(nightscout(glucose), "json")))


# There and back


def test_sums_and_clock_are_the_same_after_convert(put: Callable[..., Path], tmp_path: Path) -> None:
    """A record with lines at its start, and one over the end of summer time."""
    at = np.arange(0, 606, 3)
    filled = np.interp(np.arange(606), at, walk(606)[at])[1:601]
    autumn = dt.datetime(2024, 10, 26, 5, 50)
    text = hupa(600, glucose=filled)
    shifted = "\n".join(
        [row if i == 0 else f"{moment.isoformat()};{row.split(';', 1)[1]}" for i, (row, moment) in enumerate(
            zip(text.splitlines(), [autumn, *wall(autumn, 600)], strict=True))]
    )  # fmt: skip
    recording = quietly(put(shifted + "\n"), carbs_unit="g", time_zone="Europe/Berlin")
    before = recording.report
    assert before.interpolated == 400
    assert before.first == "2024-10-26T06:00:00+02:00"
    assert before.clock_changes == ("2024-10-27T02:00:00+01:00",)
    write_cohort(Cohort((recording.patient,)), tmp_path / "cohort")
    file = tmp_path / "cohort" / f"{recording.patient.name}.csv"
    after = inspect_file(file)
    for name in ("first", "last", "time_zone", "clock_changes", "readings", "glucose_median_mg_dL"):
        assert getattr(after, name) == getattr(before, name), name
    for name in ("basal_U_day", "bolus_U_day", "insulin_U_day", "carbs_g_day", "meals_day", "boluses_day"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-9), name
    assert "2024-10-28T06:" in file.read_text().splitlines()[-1]
    again = read_cohort(tmp_path / "cohort")[recording.patient.name].start
    assert again is not None
    assert again.tzinfo == zoneinfo.ZoneInfo("Europe/Berlin")


def wall(start: dt.datetime, n: int) -> list[dt.datetime]:
    """Local times in Berlin, as clocks on the wall show them."""
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    first = start.replace(tzinfo=zone).astimezone(dt.UTC)
    return [(first + i * dt.timedelta(minutes=5)).astimezone(zone).replace(tzinfo=None) for i in range(n)]


def test_a_time_zone_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("patient,time_zone\nAda,Berlin\n")
    (tmp_path / "Ada.csv").write_text("time,glucose_mg_dL,basal_U_h,bolus_U,carbs_g\n" + "".join(
        f"2024-05-01T0{i}:00:00+02:00,120,1,,\n" for i in range(3)))  # fmt: skip
    with pytest.raises(DataError, match="'Berlin' is no time zone; give an IANA name such as Europe/Madrid"):
        read_cohort(tmp_path)


# What messages say


def test_rows_out_of_order(put: Callable[..., Path]) -> None:
    head, *rows = simulation(walk(200)).splitlines()
    mixed = np.random.default_rng(0).permutation(len(rows))
    file = put("\n".join([head, *(rows[i] for i in mixed)]) + "\n")
    assert inspect_file(file).problems == (f"{file}, column Time: the rows are out of order; sort them by time",)


def test_a_table_cut_short(put: Callable[..., Path]) -> None:
    text = hupa(200)
    said = problems(inspect_file(put(text[: text.rindex(";")]), carbs_unit="g"))
    assert "it has 7 cells, the header 8; is the file cut short? export it again" in said
    comma = problems(inspect_file(put(simulation(walk(50)).replace(",0.02\n", ",0,02\n", 3))))
    assert "is there a decimal comma" in comma


def test_an_own_table_in_mmol(put: Callable[..., Path]) -> None:
    renamed = own(walk(50)).replace("glucose_mg_dL", "glucose_mmol_L")
    said = problems(inspect_file(put(renamed)))
    assert "it is labelled mmol/L, but a median of 179 looks like mg/dL; pass glucose_unit=" in said
    right = own((walk(50) / MMOL).round(2)).replace("glucose_mg_dL", "glucose_mmol_L")
    report = inspect_file(put(right))
    assert not report.problems
    assert (report.glucose_unit, report.glucose_unit_by) == ("mmol/L", "stated")


def test_one_remedy_for_a_doubled_hour_in_sorted_rows(put: Callable[..., Path]) -> None:
    times = sorted(wall(dt.datetime(2024, 10, 26, 22), 100))
    rows = ["Time,BG,CGM,CHO,insulin"]
    rows += [f"{t:%Y-%m-%d %H:%M:%S},,{v!r},0,0.02" for t, v in zip(times, walk(100).tolist(), strict=True)]
    text = "\n".join(rows) + "\n"
    for zone in (None, "Europe/Berlin"):
        said = problems(inspect_file(put(text), time_zone=zone))
        assert "or leave that hour out" in said
        assert "pass time_zone" not in said


def test_dates_swapped_in_part(put: Callable[..., Path]) -> None:
    days = [dt.datetime(2020, 1, 4) + dt.timedelta(minutes=5) * i for i in range(16 * 288)]
    written = [t.replace(day=t.month, month=t.day) if t.day <= 12 else t for t in days]
    rows = ["Time,BG,CGM,CHO,insulin"]
    rows += [f"{t:%Y-%m-%d %H:%M:%S},,{v!r},0,0.02" for t, v in zip(written, walk(len(days)).tolist(), strict=True)]
    file = put("\n".join(rows) + "\n")
    said = problems(inspect_file(file))
    assert len(inspect_file(file, day_first=True).problems) == 1
    assert "days up to the 12th are swapped and later ones are not" in said
    assert "day_first" not in said


# Gaps and stuck sensors


def test_a_stuck_sensor(put: Callable[..., Path]) -> None:
    glucose = walk(400)
    glucose[100:180] = 121.0
    said = inspect_file(put(simulation(glucose))).warnings
    assert any(text.startswith("glucose stands at 121 mg/dL for 6.5") for text in said)
    glucose[100:180] = walk(80, 2)
    glucose[100:160] = 121.0
    assert not any("stands at" in text for text in inspect_file(put(simulation(glucose))).warnings)


def test_missing_rows_lack_doses_too(put: Callable[..., Path]) -> None:
    head, *rows = hupa(600).splitlines()
    report = inspect_file(put("\n".join([head, *rows[:200], *rows[320:]]) + "\n"), carbs_unit="g")
    assert report.problems == ()
    assert any(text.startswith("rows are missing for 10.1 h in 1 place") for text in report.warnings)
    without = rows.copy()
    for i in range(200, 320):
        cells = without[i].split(";")
        without[i] = ";".join([cells[0], "", *cells[2:]])
    assert not any("rows are missing" in x for x in inspect_file(put("\n".join([head, *without]) + "\n")).warnings)
