"""Exports of Medtronic CareLink: every branch on files written here, and the shared one counted anew."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from t1djax.io._raw import RawDose

from .vendor_files import at, parsed, refused, steps, told

NAMES = ("Index", "Date", "Time", "New Device Time", "BG Reading ({})", "Basal Rate (U/h)", "Temp Basal Amount",
         "Temp Basal Type", "Temp Basal Duration (h:mm:ss)", "Bolus Type", "Bolus Volume Selected (U)",
         "Bolus Volume Delivered (U)", "Bolus Duration (h:mm:ss)", "Alarm", "Suspend",
         "BWZ Carb Input ({})", "Sensor Calibration BG ({})", "Sensor Glucose ({})", "Event Marker")  # fmt: skip
SHORT = {"bg": 4, "basal": 5, "temp": 6, "type": 7, "long": 8, "bolus": 9, "asked": 10, "given": 11, "over": 12,
         "alarm": 13, "suspend": 14, "carbs": 15, "cal": 16, "sg": 17, "marker": 18}  # fmt: skip
Row = tuple[str, Mapping[str, object]]


def header(unit: str = "mg/dL", carbs: str = "grams") -> list[str]:
    return [name.format(carbs if "Carb" in name else unit) for name in NAMES]


def block(rows: Sequence[Row], names: Sequence[str], date: str = "2024/05/13", delimiter: str = ",") -> list[str]:
    """Rows given in order of time, written as CareLink does: the newest first."""
    out = [delimiter.join(names)]
    for i, (time, values) in enumerate(reversed(rows), 1):
        cells = [str(i), date, time, *[""] * (len(names) - 3)]
        for name, value in values.items():
            cells[SHORT[name]] = str(value)
        out.append(delimiter.join(cells))
    return out


def export(pump: Sequence[Row], sensor: Sequence[Row] = (), *, unit: str = "mg/dL", carbs: str = "grams") -> str:
    top = ["Last Name,First Name,Patient ID", "Curie,Marie,7", ""]
    lines = [*top, '"-------",MiniMed 640G,Pump,NG1,"-------"', *block(pump, header(unit, carbs))]
    if sensor:
        lines += ['"-------",MiniMed 640G,Sensor,NG1,"-------"', *block(sensor, header(unit, carbs))]
    return "\r\n".join(lines) + "\r\n"


def test_sample(shared: Path) -> None:
    path = shared / "data" / "carelink" / "carelink_veo754_12d.csv"
    frame = pd.read_csv(path, low_memory=False)
    frame.index = pd.to_datetime(frame["Date"] + " " + frame["Time"])
    raw = parsed(path)
    sensor = frame["Sensor.Glucose..mg.dL."].dropna().iloc[::-1]
    cgm = [r for r in raw.readings if r.kind == "cgm"]
    assert len(cgm) == 3210
    assert [r.value for r in cgm] == sensor.tolist()
    assert [r.time for r in cgm] == sensor.index.to_pydatetime().tolist()
    gaps = np.diff(sensor.index) / pd.Timedelta(minutes=1)
    assert sorted(gaps[gaps > 7.5]) == [15, 20, 50, 115, 115, 885]
    rates = frame["Basal.Rate..U.h."].dropna().iloc[::-1]
    rates = rates[~rates.index.duplicated(keep="last")].sort_index()
    assert len(rates) == 203
    assert steps(raw) == list(zip(rates.index.to_pydatetime(), rates.tolist(), strict=True))
    assert sum(dose.amount for dose in raw.boluses) == pytest.approx(frame["Bolus.Volume.Delivered..U."].sum())
    assert len(raw.boluses) == frame["Bolus.Volume.Delivered..U."].notna().sum() == 78
    carbs = frame["BWZ.Carb.Input..exchanges."]
    assert sum(dose.amount for dose in raw.meals) == pytest.approx(carbs.sum())
    assert len(raw.meals) == (carbs > 0).sum()
    assert (raw.carbs_unit, raw.glucose_unit, raw.basal_unit) == ("exchange", "mg/dL", "U/h")
    # An hour at zero per cent, ended after twelve minutes; the rates in the file show both already.
    dates = [time for time, rate in steps(raw) if rate == 0 and time.date() == dt.date(2016, 3, 24)]
    assert dt.datetime(2016, 3, 24, 19, 37, 25) in dates
    assert (dt.datetime(2016, 3, 24, 19, 49, 42), 0.85) in steps(raw)


def test_blocks_below_a_preamble(tmp_path: Path) -> None:
    pump: list[Row] = [
        ("06:00:00", {"basal": 0.8}),
        ("06:00:00", {"basal": 0.8}),
        ("08:00:00", {"bg": 140}),
        ("08:00:00", {"bolus": "Normal", "asked": 4, "given": 4}),
        ("08:00:00", {"carbs": 40}),
        ("08:05:00", {"bolus": "Square", "asked": 3, "given": 2.5, "over": "1:30:00"}),
        ("12:00:00", {"bolus": "Dual (normal part)", "asked": 2, "given": 2}),
        ("12:00:00", {"bolus": "Dual (square part)", "asked": 1, "given": 1, "over": "2:00:00"}),
        ("13:00:00", {"bolus": "Normal", "asked": 1}),
        ("14:00:00", {"carbs": 0}),
        ("15:00:00", {"marker": "Meal: 25.50grams"}),
        ("15:01:00", {"marker": "Insulin: 1.50"}),
        ("15:02:00", {"marker": "Exercise: 30 minutes"}),
        ("18:00:00", {"basal": 0.6}),
    ]
    sensor: list[Row] = [("08:00:00", {"cal": 138}), ("08:02:00", {"sg": 120}), ("08:07:00", {"sg": 125})]
    raw, notes = told(tmp_path / "marie.csv", export(pump, sensor))
    assert [(r.time, r.value, r.kind) for r in raw.readings] == [
        (at(8), 140, "fingerstick"),
        (at(8), 138, "calibration"),
        (at(8 + 2 / 60), 120, "cgm"),
        (at(8 + 7 / 60), 125, "cgm"),
    ]
    assert steps(raw) == [(at(6), 0.8), (at(18), 0.6)]
    assert [dose[:2] + dose[3:] for dose in raw.boluses] == [
        (at(8), 4, 1), (at(8 + 5 / 60), 2.5, 90), (at(12), 2, 1), (at(12), 1, 120), (at(15 + 1 / 60), 1.5, 1),
    ]  # fmt: skip
    assert [dose[:2] for dose in raw.meals] == [(at(8), 40), (at(15), 25.5)]
    assert raw.carbs_unit == "g"
    assert "1 boluses that were selected and not delivered are left out" in notes
    assert any("1 event markers" in note for note in notes)
    assert "Curie" not in repr(raw)


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    text = export([("06:00:00", {"basal": 0.8}), ("08:00:00", {"bolus": "Normal", "given": 4})])
    raw = parsed(tmp_path / "a.csv", text)
    lines = text.split("\r\n")
    assert ",Normal,,4," in lines[raw.boluses[0].where - 1]
    assert ",0.8," in lines[raw.basal[0].where - 1]


def test_semicolons_decimal_commas_and_mmol(tmp_path: Path) -> None:
    rows: list[Row] = [
        ("06:00:00", {"basal": "0,85"}), ("08:00:00", {"bolus": "Normal", "given": "4,2"}), ("08:00:00", {"carbs": 4}),
        ("08:01:00", {"sg": "5,6"}),
    ]  # fmt: skip
    text = "\n".join(block(rows, header("mmol/L", "exchanges"), "13.05.2024", ";")) + "\n"
    raw = parsed(tmp_path / "a.csv", text)
    assert (raw.readings[0].value, raw.glucose_unit) == (5.6, "mmol/L")
    assert (raw.boluses[0], raw.meals[0].amount, raw.carbs_unit) == (RawDose(at(8), 4.2, 4), 4, "exchange")
    assert steps(raw) == [(at(6), 0.85)]


def test_commands_without_a_rate_of_their_own(tmp_path: Path) -> None:
    rows: list[Row] = [
        ("00:00:00", {"basal": 1.0}),
        ("02:00:00", {"temp": 50, "type": "Percent", "long": "02:00:00"}),
        ("03:00:00", {"basal": 2.0}),
        ("06:00:00", {"temp": 0.3, "type": "Absolute", "long": "1:00:00"}),
        ("06:30:00", {"temp": 0, "type": "Percent", "long": "0:00:00"}),
        ("08:00:00", {"suspend": "LOWSG_SUSPEND"}),
        ("09:00:00", {"basal": 1.5}),
        ("10:00:00", {"suspend": "USER_RESTART_BASAL"}),
        ("12:00:00", {"suspend": "USER_SUSPEND"}),
        ("13:00:00", {"basal": 1.2}),
    ]
    raw, notes = told(tmp_path / "a.csv", export(rows))
    assert steps(raw) == [
        (at(0), 1.0), (at(2), 0.5), (at(3), 1.0), (at(4), 2.0), (at(6), 0.3), (at(6.5), 2.0), (at(8), 0.0),
        (at(10), 1.5), (at(12), 0.0), (at(13), 1.2),
    ]  # fmt: skip
    for text in ("2 temporary", "2 suspension", "the suspension has no end"):
        assert any(text in note for note in notes), text


def test_commands_whose_rate_is_written_are_not_applied_twice(tmp_path: Path) -> None:
    rows: list[Row] = [
        ("00:00:00", {"basal": 1.0}),
        ("02:00:00", {"temp": 50, "type": "Percent", "long": "02:00:00"}),
        ("02:00:01", {"basal": 0.5}),
        ("04:00:00", {"basal": 1.0}),
        ("08:00:00", {"suspend": "LOWSG_SUSPEND"}),
        ("08:00:00", {"basal": 0.0}),
        ("10:00:00", {"suspend": "NORMAL_PUMPING"}),
        ("10:00:00", {"basal": 1.0}),
    ]
    second = dt.timedelta(seconds=1)
    assert steps(parsed(tmp_path / "a.csv", export(rows))) == [
        (at(0), 1.0), (at(2) + second, 0.5), (at(4), 1.0), (at(8), 0.0), (at(10), 1.0),
    ]  # fmt: skip


def test_two_rates_of_one_second(tmp_path: Path) -> None:
    rows: list[Row] = [("00:00:00", {"basal": 1.0}), ("02:00:00", {"basal": 0.0}), ("02:00:00", {"basal": 0.7})]
    assert steps(parsed(tmp_path / "a.csv", export(rows))) == [(at(0), 1.0), (at(2), 0.7)]


def test_hour_that_stands_twice_keeps_its_order(tmp_path: Path) -> None:
    times = ["02:40:00", "02:45:00", "02:50:00", "02:55:00", "02:00:00", "02:05:00", "02:10:00"]
    rows: list[Row] = [(time, {"sg": 100 + i}) for i, time in enumerate(times)]
    raw = parsed(tmp_path / "a.csv", export([("00:00:00", {"basal": 1})], rows))
    assert [r.value for r in raw.readings] == [100 + i for i in range(7)]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("06:00:00", {"basal": "0.8U"})], "column Basal.Rate..U.h.: '0.8U' is not a number"),
        ([("06:00", {"sg": "x"})], "column Sensor.Glucose..mg.dL.: 'x' is not a number"),
        ([("06:00:00", {"sg": -5})], "'-5' is negative"),
        ([("06:05:00", {"sg": 100}), ("6 o'clock", {"sg": 100})], "is no time"),
        ([("06:00:00", {"temp": 50, "long": "1:00:00"})], "'50' has neither the type percent nor absolute"),
        ([("06:00:00", {"temp": 50, "type": "Percent"})], "the temporary rate has no duration"),
        ([("06:00:00", {"temp": 50, "type": "Percent", "long": "60"})], "'60' is no duration; it is written h:mm:ss"),
        ([("06:00:00", {"bolus": "Square", "given": 2})], "column Bolus.Type: 'Square' has no duration"),
    ],
)
def test_refusals(tmp_path: Path, rows: list[Row], says: str) -> None:
    text = refused(tmp_path / "bad.csv", export(rows))
    assert says in text
    assert ", row 6, " in text


def test_units_that_contradict_each_other(tmp_path: Path) -> None:
    grams, exchanges = (
        export([("06:00:00", {"carbs": 40})]),
        block([("07:00:00", {"carbs": 4})], header(carbs="exchanges")),
    )
    says = refused(tmp_path / "c.csv", grams + "\r\n".join(exchanges) + "\r\n")
    assert "the headers state carbohydrate in exchanges and grams" in says
    other = block([("07:00:00", {"sg": 5.5})], header("mmol/L"))
    says = refused(tmp_path / "g.csv", grams + "\r\n".join(other) + "\r\n")
    assert "the headers state glucose in mg.dL and mmol.L" in says


@pytest.mark.parametrize(
    ("date", "says"),
    [
        ("05/04/2024", "day and month cannot be told apart"),
        ("16/03/24", "the year has two digits and may stand first or last"),
        ("2024/13/05", "'2024/13/05 06:00:00' is no time"),
    ],
)
def test_dates_that_may_be_read_in_two_ways(tmp_path: Path, date: str, says: str) -> None:
    text = "\n".join(block([("06:00:00", {"sg": 100})], header(), date)) + "\n"
    assert says in refused(tmp_path / "a.csv", text)
    if date != "2024/13/05":
        assert parsed(tmp_path / "a.csv", day_first=True).readings[0].time.day in (5, 16)


def test_mangled(tmp_path: Path) -> None:
    text = export([("06:00:00", {"basal": 0.8}), ("08:00:00", {"bolus": "Normal", "given": 4})])
    assert "row 7: it has 5 cells, the header 19; is the file cut short" in refused(tmp_path / "a.csv", text[:-19])
