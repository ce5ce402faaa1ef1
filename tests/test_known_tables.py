"""Tables of apps, vendors and studies, tables of one's own in any layout, and times as programs write them."""

import datetime as dt
import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from t1djax import inspect_file
from t1djax.io import people_in
from t1djax.io.formats import _guess, _layout

from .cases import MEALS, about, at, course
from .files import quietly

DAYS = 2 - 5 / 1440
N = 576
GLUCOSE = course(N)
BOLUS, CARBS = 34 / DAYS, 340 / DAYS
Row = Sequence[Any]


def csv(*rows: Row, mark: str = ",") -> str:
    cell = lambda x: f'"{x}"' if mark in str(x) else str(x)
    return "\n".join(mark.join(map(cell, row)) for row in rows) + "\n"


def readings(make: Callable[[dt.datetime, float], Row]) -> list[Row]:
    return [make(at(2 + 5 * i).replace(tzinfo=None), float(x)) for i, x in enumerate(GLUCOSE.tolist())]


def given(make: Callable[[dt.datetime, float, float], Row]) -> list[Row]:
    return [
        make(at(1440 * day + 60 * hour + 12).replace(tzinfo=None), units, grams)
        for day in range(2)
        for hour, units, grams in MEALS
    ]


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def glooko(folder: Path) -> Path:
    title = ("Name:Ada Lovelace", "Date Range:2024-03-04 - 2024-03-05")
    clock = lambda t: t.strftime("%Y-%m-%d %H:%M")
    write(folder, "cgm_data_1.csv", csv(title, ("Timestamp", "CGM Glucose Value (mg/dl)", "Serial Number"),
          *reversed(readings(lambda t, x: (clock(t), f"{x:g}", "X1")))))  # fmt: skip
    write(folder, "Insulin data/bolus_data_1.csv", csv(title, ("Timestamp", "Insulin Type",
          "Blood Glucose Input (mg/dl)", "Carbs Input (g)", "Carbs Ratio", "Insulin Delivered (U)",
          "Initial Delivery (U)", "Extended Delivery (U)", "Serial Number"),
          *given(lambda t, u, g: (clock(t), "Normal", 0, g, 10, u, u, "", "X1"))))  # fmt: skip
    write(folder, "Insulin data/basal_data_1.csv", csv(title, ("Timestamp", "Insulin Type", "Duration (minutes)",
          "Percentage (%)", "Rate", "Insulin Delivered (U)", "Serial Number"),
          *((clock(at(60 * h)), "Scheduled", 60, "", 1.0, 1.0, "X1") for h in range(48))))  # fmt: skip
    alarm = csv(title, ("Timestamp", "Alarm/Event", "Serial Number"), ("2024-03-04 01:00", "tandem_cgm", "X"))
    write(folder, "alarms_data_1.csv", alarm)
    return folder


def test_glooko_as_a_folder_and_as_an_archive(tmp_path: Path) -> None:
    folder = glooko(tmp_path / "export")
    shutil.make_archive(str(tmp_path / "export"), "zip", folder)
    for path in (folder, tmp_path / "export.zip"):
        report = inspect_file(path)
        assert (report.format, report.readings, report.problems) == ("glooko", N, ())
        assert report.bolus_U_day == pytest.approx(BOLUS)
        assert report.carbs_g_day == pytest.approx(CARBS)
        assert report.basal_U_day == pytest.approx(24)
        assert "Lovelace" not in str(report)


def test_the_folders_of_two_people_are_not_read_as_one(tmp_path: Path) -> None:
    glooko(tmp_path / "all" / "ada")
    glooko(tmp_path / "all" / "ben")
    assert any("several people" in text for text in inspect_file(tmp_path / "all").problems)
    for name in ("ada", "ben"):
        write(tmp_path, f"own/{name}.csv", "time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g\n0,120,0.9,,\n5,118,,,\n")
    assert any("2 files of table" in text for text in inspect_file(tmp_path / "own").problems)


def tconnect() -> str:
    head = "Tandem Diabetes\nPatient Name,Ada Lovelace\nDate of Birth,1815-12-10\n\n"
    sensor = csv(("DeviceType", "SerialNumber", "Description", "EventDateTime", "Readings (CGM / BGM)"),
                 *readings(lambda t, x: ("t:slim X2", "9", "EGV", t.isoformat(), f"{x:g}")))  # fmt: skip
    meter = csv(("DeviceType", "SerialNumber", "Description", "EventDateTime", "BG (mg/dL)", "Note"),
                ("t:slim X2", "9", "BG", "2024-03-04T07:00:00", 300, ""))  # fmt: skip
    bolus = csv(("Type", "BolusType", "BolusDeliveryMethod", "BG (mg/dL)", "SerialNumber", "CompletionDateTime",
                 "InsulinDelivered", "FoodDelivered", "CorrectionDelivered", "CarbSize"),
                *given(lambda t, u, g: ("Bolus", "Carb", "Auto", 120, "9", t.isoformat(), u, u - 1, 1, g)))  # fmt: skip
    return "\n".join([head + sensor, meter, bolus])


def test_tconnect_has_several_tables_in_one_file(tmp_path: Path) -> None:
    report = inspect_file(write(tmp_path, "ada.csv", tconnect()))
    assert (report.format, report.readings) == ("tconnect", N)
    assert (report.bolus_U_day, report.carbs_g_day) == (pytest.approx(BOLUS), pytest.approx(CARBS))
    assert report.glucose_max_mg_dL is not None
    assert report.glucose_max_mg_dL < 300  # the meter's is no reading of the sensor
    assert "Lovelace" not in str(report)


def azt1d(basal: Callable[[int], float] = lambda i: 1.0, glucose: str = "CGM") -> str:
    names = ("EventDateTime", "DeviceMode", "BolusType", "Basal", "CorrectionDelivered", "TotalBolusInsulinDelivered",
             "FoodDelivered", "CarbSize", glucose)  # fmt: skip
    doses = {t: (u, g) for t, u, g in given(lambda t, u, g: (t, u, g))}
    rows = []
    for i, (t, x) in enumerate(readings(lambda t, x: (t, x))):
        units, grams = doses.get(t, ("", ""))
        rows.append((t, "0", "Standard" if units else "", basal(i), 1 if units else "", units, units, grams, x))
    return csv(names, *rows)


@pytest.mark.parametrize("glucose", ["CGM", "Readings (CGM / BGM)"])
def test_azt1d(tmp_path: Path, glucose: str) -> None:
    report = inspect_file(write(tmp_path, "Subject 1.csv", azt1d(glucose=glucose)))
    assert (report.format, report.readings, report.problems) == ("azt1d", N, ())
    sums = (report.basal_U_day, report.bolus_U_day, report.carbs_g_day)
    assert sums == (pytest.approx(24), pytest.approx(BOLUS), pytest.approx(CARBS))


def test_azt1d_has_damaged_rows(tmp_path: Path) -> None:
    few = inspect_file(write(tmp_path, "few.csv", azt1d(lambda i: 4127.0 if 300 <= i < 305 else 1.0)))
    assert few.basal_U_day == pytest.approx(24)
    assert about(few, "5 rows have basal above 15")
    many = inspect_file(write(tmp_path, "many.csv", azt1d(lambda i: 1804.0 if i < 200 else 1.8)))
    assert any("basal" in text and "200 rows" in text for text in many.problems)


def test_the_people_of_azt1d_against_a_count_of_ones_own(shared: Path) -> None:
    files = sorted((shared / "data" / "azt1d").glob("*.csv"))
    if not files:
        pytest.skip("the dataset is not there")
    refused = set()
    for file in files:
        report = inspect_file(file)
        if report.problems:
            refused.add(int(file.stem.split()[1]))
            continue
        frame = pd.read_csv(file).rename(columns=lambda name: "CGM" if "CGM" in name else name)
        frame["t"] = pd.to_datetime(frame["EventDateTime"])
        span = frame.loc[frame["CGM"].notna(), "t"]
        frame = frame[(frame["t"] >= span.min()) & (frame["t"] <= span.max())]
        assert report.days_covered is not None
        for name, value in (("TotalBolusInsulinDelivered", report.bolus_U_day), ("CarbSize", report.carbs_g_day)):
            rows = frame.loc[frame[name] > 0, ["t", name]].drop_duplicates()
            inside = rows[name].sum() / report.days_covered
            assert value == pytest.approx(inside, rel=1e-9), (file, name)
    assert refused == {1, 10, 11}  # boluses or basal without their decimal point


def mysugr(unit: str = "Grams, Factor 1", grams: float = 1.0) -> str:
    names = ("Date", "Time", "Tags", "Blood Sugar Measurement (mg/dL)", "Insulin Injection Units (Pen)",
             "Basal Injection Units", "Insulin Injection Units (pump)", "Insulin (Meal)", "Insulin (Correction)",
             f"Meal Carbohydrates ({unit})", "Note")  # fmt: skip
    day = lambda t: (t.strftime("%b %-d, %Y"), t.strftime("%I:%M:%S %p"))
    rows = [(*day(t), "", f"{x:g}", "", "", "", "", "", "", "") for t, x in
            readings(lambda t, x: (t, x))]  # fmt: skip
    rows += given(lambda t, u, g: (*day(t), "", "", u if g < 50 else "", "", "" if g < 50 else u, u, "", g / grams, ""))
    rows += [(*day(at(1260 + 1440 * i)), "", "", "", 18, "", "", "", "", "") for i in range(2)]
    return csv(names, *rows)


@pytest.mark.parametrize(("unit", "grams"), [("Grams, Factor 1", 1), ("Exchanges, Factor 12", 12)])
def test_mysugr(tmp_path: Path, unit: str, grams: float) -> None:
    report = inspect_file(write(tmp_path, "ada.csv", mysugr(unit, grams)))
    assert (report.format, report.readings, report.problems) == ("mysugr", N, ())
    assert (report.bolus_U_day, report.carbs_g_day) == (pytest.approx(BOLUS), pytest.approx(CARBS))
    assert report.long_acting_U_day == pytest.approx(36 / DAYS)


def sidiary() -> str:
    rows = readings(lambda t, x: (t.strftime("%d.%m.%Y"), t.strftime("%H:%M"), f"{x:g}", "", "", "", ""))
    rows += given(lambda t, u, g: (t.strftime("%d.%m.%Y"), t.strftime("%H:%M"), "", "", g, u, "lunch"))
    return csv(("DAY", "TIME", "UDT_CGMS", "BG_LEVEL", "CH_GR", "BOLUS", "REMARK"), *rows, mark=";")


def wide() -> str:
    names = (
        "id",
        "p_num",
        "time",
        *(f"bg-{h}:{m:02d}" for h in range(5, -1, -1) for m in range(55, -1, -5)),
        "bg+1:00",
    )
    rows = [(f"p01_{i}", "p01", t.strftime("%H:%M:%S"), *[f"{x / 18.016:.1f}"] * (len(names) - 4), 33)
            for i, (t, x) in enumerate(readings(lambda t, x: (t, x)))]  # fmt: skip
    return csv(names, *rows)


def entries_csv() -> str:
    return csv(*readings(lambda t, x: (f'"{t.isoformat()}.000Z"', int(t.replace(tzinfo=dt.UTC).timestamp() * 1000),
                                       f"{x:g}", '"Flat"', '"xDrip"')), mark="\t")  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "bolus"), [("sidiary", sidiary(), BOLUS), ("brist1d", wide(), 0.0),
                                                     ("nightscout_csv", entries_csv(), 0.0)])  # fmt: skip
def test_tables_of_one_person(tmp_path: Path, kind: str, text: str, bolus: float) -> None:
    report = inspect_file(write(tmp_path, "ada.csv", text))
    assert (report.format, report.readings, report.problems) == (kind, N, ())
    assert report.bolus_U_day == pytest.approx(bolus)
    assert report.glucose_max_mg_dL == pytest.approx(GLUCOSE.max(), abs=1)  # what is to come is no reading


def iglu() -> str:
    return csv(("id", "time", "gl"), *((who, t, x) for who in ("S 1", "S 2") for t, x in
               readings(lambda t, x: (t, x))))  # fmt: skip


def jaeb() -> str:
    rows = readings(lambda t, x: (t, x))
    names = ("PtID", "RecID", "UTCDtTm", "TmZnOffset", "RecordType", "CGMVal")
    return csv(names, *((who, i, t, -5, "CGM" if i % 12 else "Calibration", f"{x / 18.016:.5f}") for who in (1, 2, 3)
               for i, (t, x) in enumerate(rows)), mark="|")  # fmt: skip


def metabonet() -> str:
    names = ("date", "id", "CGM", "insulin", "carbs", "source_file")
    return csv(names, *((t, who, f"{x:g}", 0.08, 0, "T1DEXI") for who in ("T1-1", "T1-2") for t, x in
               readings(lambda t, x: (t, x))))  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "people"), [("iglu", iglu(), ("S 1", "S 2")),
                                                      ("jaeb", jaeb(), ("1", "2", "3")),
                                                      ("glupredkit", metabonet(), ("T1-1", "T1-2"))])  # fmt: skip
def test_tables_of_several_people(tmp_path: Path, kind: str, text: str, people: tuple[str, ...]) -> None:
    file = write(tmp_path, "all.csv", text)
    assert people_in(file) == people
    assert any("people are in it" in problem for problem in inspect_file(file).problems)
    for who in people:
        report = inspect_file(file, subject=who)
        assert (report.format, report.problems) == (kind, ())
        assert report.readings == (N - N // 12 if kind == "jaeb" else N)
    if kind == "jaeb":  # local time, by the offset that the rows state
        assert inspect_file(file, subject="1").first == "2024-03-03T19:07:00-05:00"


def test_a_frame_of_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    file = write(tmp_path, "all.csv", metabonet())
    pd.read_csv(file).to_parquet(tmp_path / "all.parquet")
    assert inspect_file(tmp_path / "all.parquet", subject="T1-2").readings == N


@pytest.mark.parametrize("name", ["PtID", "id", "subject", "patient_id", "deidentified_id", "Patienten-ID", "USUBJID",
                                  "Proband", "participant", "ID", "Study_ID", "paciente"])  # fmt: skip
def test_several_people_are_never_read_as_one(tmp_path: Path, name: str) -> None:
    rows = [(who, t, x) for who in ("a", "b") for t, x in readings(lambda t, x: (t, x))]
    file = write(tmp_path, "all.csv", csv((name, "when", "sensor glucose"), *rows))
    mapped = {"time": "when", "glucose": "sensor glucose"}
    assert any(f"patient={name}" in text for text in inspect_file(file, columns=mapped).problems)
    guess = inspect_file(file).columns
    assert guess == {"time": "when", "glucose": "sensor glucose", "patient": name}
    assert inspect_file(file, columns="auto", subject="b").readings == N


def test_a_number_for_each_row_is_no_person(tmp_path: Path) -> None:
    rows = [(i, *row) for i, row in enumerate(readings(lambda t, x: (t, x)))]
    file = write(tmp_path, "ada.csv", csv(("id", "when", "glucose"), *rows))
    assert inspect_file(file, columns="time=when,glucose=glucose").readings == N


# The header is where the columns are


PREAMBLES = {
    "lines": "Name:Ada Lovelace\nBorn 1815-12-10\n\n",
    "pairs": "Surname,Lovelace\nDate of birth,1815-12-10\nDoctor,Somerville\n",
    "one line": "Name:Ada Lovelace,Date Range:2024-03-04 - 2024-03-05\n",
    "padded": "Patient,Lovelace,,\nBorn,1815-12-10,,\n,,,\n",
    "long": "".join(f"Lovelace {i}\n" for i in range(24)),
    "sep": "sep=,\nLovelace\n",
}


@pytest.mark.parametrize("kind", PREAMBLES)
def test_the_header_is_below_any_preamble_and_nobody_is_named(tmp_path: Path, kind: str) -> None:
    body = csv(("Datum", "Glukose (mg/dl)", "Bolus (IE)", "KE"), *readings(lambda t, x: (t, f"{x:g}", "", "")),
               *given(lambda t, u, g: (t, "", u, g / 10)))  # fmt: skip
    file = write(tmp_path, "ada.csv", PREAMBLES[kind] + body)
    report = inspect_file(file)
    assert "Lovelace" not in str(report)
    assert report.columns == {"time": "Datum", "glucose": "Glukose (mg/dl)", "bolus_U": "Bolus (IE)", "carbs": "KE"}
    read = inspect_file(file, columns=report.columns)
    assert (read.readings, read.problems) == (N, ())
    assert (read.bolus_U_day, read.carbs_g_day) == (pytest.approx(BOLUS), pytest.approx(CARBS))


def test_a_table_without_a_header_shows_no_cell(tmp_path: Path) -> None:
    file = write(tmp_path, "ada.csv", csv(*readings(lambda t, x: (t, f"{x:g}", "Lovelace"))))
    assert "Lovelace" not in str(inspect_file(file))


def test_where_a_header_stands() -> None:
    assert _layout.names_of("a;b\n1,5;2,5\n3,5;4,5\n") == ["a", "b"]
    assert _layout.names_of("Name,Ada\nDOB,1980-01-01\ntime,glucose\n2024-01-01 00:00,5\n2024-01-01 00:05,6\n") == [
        "time", "glucose",
    ]  # fmt: skip
    assert _layout.names_of("2024-01-01 00:00,5\n2024-01-01 00:05,6\n") == []


# What stands under names


NAMES = {
    "glucose": ["Sensorglukose", "CGM", "glicemia", "Glykämie mg", "gl", "BG", "Blutzucker", "sgv",
                "Sensor Glucose (mg/dL)"],
    "carbs": ["KE", "BE", "CH_GR", "Carbs (g)", "Kohlenhydrate", "koolhydraten", "glucides", "HC", "meal g"],
    "bolus": ["Rapid", "NovoRapid", "Bolus (U)", "insulin units", "Humalog"],
    "long_acting": ["Lantus", "Toujeo", "Long-acting", "Langzeitinsulin", "Basal Injection Units"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
def test_columns_by_their_names(kind: str, name: str) -> None:
    values = {"glucose": GLUCOSE[:50], "carbs": np.where(np.arange(50) % 9, 0, 40),
              "bolus": np.where(np.arange(50) % 9, 0, 4), "long_acting": np.where(np.arange(50), 0, 20)}  # fmt: skip
    cells = {"time": [str(at(5 * i)) for i in range(50)], name: [f"{x:g}" for x in values[kind]]}
    found = _guess.guessed(["time", name], cells)
    assert {own.split("_")[0] if kind != "long_acting" else own[:11] for own in found if own != "time"} == {kind}


def test_a_column_that_is_both_a_rate_and_a_dose_by_name_goes_by_its_values() -> None:
    clock = [str(at(5 * i)) for i in range(100)]
    for values, own in ((["0.8"] * 100, "basal_U_h"), (["20" if i == 50 else "" for i in range(100)], "long_acting_U")):
        assert own in _guess.guessed(["t", "Basal"], {"t": clock, "Basal": values})


def test_events_and_values_in_a_long_table(tmp_path: Path) -> None:
    rows = readings(lambda t, x: (t, "CGM", f"{x:g}"))
    rows += [row for t, u, g in given(lambda t, u, g: (t, u, g))
             for row in ((t, "Rapid insulin", u), (t, "Carbs", g))]  # fmt: skip
    rows += [(at(1290).replace(tzinfo=None), "Lantus", 20), (at(300).replace(tzinfo=None), "Steps", 800),
             (at(301).replace(tzinfo=None), "Fingerstick", 250)]  # fmt: skip
    file = write(tmp_path, "ada.csv", csv(("timestamp", "event", "value"), *rows))
    report = inspect_file(file)
    assert report.columns == {"time": "timestamp", "event": "event", "value": "value"}
    read = inspect_file(file, columns="auto", glucose_unit="mg/dL", carbs_unit="g")
    assert (read.readings, read.problems) == (N, ())
    assert (read.bolus_U_day, read.carbs_g_day) == (pytest.approx(BOLUS), pytest.approx(CARBS))
    assert read.long_acting_U_day == pytest.approx(20 / DAYS)
    assert about(read, "Steps", "1")


def uom(folder: Path) -> list[Path]:
    clock = lambda t: t.strftime("%m/%d/%Y %H:%M")
    return [
        write(folder, "UoMGlucose1.csv", csv(("bg_ts", "value"),
                                             *readings(lambda t, x: (clock(t), f"{x / 18.016:.2f}")))),
        write(folder, "UoMBolus1.csv", csv(("bolus_ts", "bolus_dose"), *given(lambda t, u, g: (clock(t), u)))),
        write(folder, "UoMBasal1.csv", csv(("basal_ts", "basal_dose", "insulin_kind"),
                                           *((clock(at(1260 + 1440 * i)), 18, "L") for i in range(2)))),
        write(folder, "UoMNutrition1.csv", csv(("meal_ts", "meal_type", "carbs_g", "prot_g"),
                                               *given(lambda t, u, g: (clock(t), "Lunch", g, 3)))),
    ]  # fmt: skip


def babelbetes(folder: Path) -> list[Path]:
    return [
        write(folder, "cgm.csv", csv(("patient_id", "datetime", "cgm"), *readings(lambda t, x: (7, t, f"{x:g}")))),
        write(folder, "bolus.csv", csv(("patient_id", "datetime", "bolus", "delivery_duration"),
                                       *given(lambda t, u, g: (7, t, u, "0 days 00:00:00")))),
        write(folder, "basal.csv", csv(("patient_id", "datetime", "basal_rate"), (7, at(0).replace(tzinfo=None), 1.0))),
    ]  # fmt: skip


@pytest.mark.parametrize("make", [uom, babelbetes])
def test_tables_of_one_person_in_several_files(tmp_path: Path, make: Callable[[Path], list[Path]]) -> None:
    files = make(tmp_path / "p1")
    for path in (files, tmp_path / "p1"):
        report = inspect_file(path, day_first=False if make is uom else None)
        assert (report.readings, report.problems) == (N, ())
        assert report.bolus_U_day == pytest.approx(BOLUS)
        if make is uom:
            assert report.carbs_g_day == pytest.approx(CARBS)
            assert report.long_acting_U_day == pytest.approx(36 / DAYS)
        else:
            assert report.basal_U_day == pytest.approx(24)


def test_tables_of_ones_own_in_several_files(tmp_path: Path) -> None:
    files = [write(tmp_path, "glucose.csv", csv(("when", "glucose"), *readings(lambda t, x: (t, f"{x:g}")))),
             write(tmp_path, "insulin.csv", csv(("zeit", "bolus"), *given(lambda t, u, g: (t, u)))),
             write(tmp_path, "food.csv", csv(("time", "carbs g"), *given(lambda t, u, g: (t, g))))]  # fmt: skip
    report = inspect_file(files, columns="auto")
    assert (report.readings, report.problems) == (N, ())
    assert (report.bolus_U_day, report.carbs_g_day) == (pytest.approx(BOLUS), pytest.approx(CARBS))


# Times


def quarter(t: dt.datetime) -> float:
    return (t - dt.datetime(1899, 12, 30)) / dt.timedelta(days=1)


WAYS: dict[str, Callable[[dt.datetime], str]] = {
    "nine digits": lambda t: t.isoformat() + ".000000000",
    "seven digits": lambda t: t.isoformat() + ".0000000",
    "named zone": lambda t: f"{t} CET",
    "UTC": lambda t: f"{t} UTC",
    "iana": lambda t: f"{t} Europe/Madrid",
    "narrow space": lambda t: t.strftime("%-m/%-d/%Y, %-I:%M:%S\u202f%p"),
    "spanish halves": lambda t: t.strftime("%d/%m/%Y %I:%M:%S ") + ("a. m." if t.hour < 12 else "p. m."),
    "month name": lambda t: t.strftime("%d-%b-%Y %H:%M:%S"),
    "american": lambda t: t.strftime("%B %-d, %Y %I:%M %p"),
    "german": lambda t: t.strftime("%d. März %Y %H:%M"),
    "spanish": lambda t: t.strftime("%d de marzo de %Y %H:%M"),
    "browser": lambda t: t.strftime("%a %b %d %Y %H:%M:%S GMT+0100 (Central European Standard Time)"),
    "ctime": lambda t: t.strftime("%a %b %d %H:%M:%S CET %Y"),
    "mail": lambda t: t.strftime("%a, %d %b %Y %H:%M:%S +0100"),
    "net": lambda t: f"/Date({int(t.replace(tzinfo=dt.UTC).timestamp() * 1000)})/",
    "seconds": lambda t: f"{t.replace(tzinfo=dt.UTC).timestamp():.1f}",
    "nanoseconds": lambda t: f"{int(t.replace(tzinfo=dt.UTC).timestamp())}000000000",
    "serial": lambda t: f"{quarter(t):.6f}",
    "matlab": lambda t: f"{quarter(t) + 693960:.6f}",
    "compact": lambda t: t.strftime("%Y%m%dT%H%M%S"),
    "digits": lambda t: t.strftime("%Y%m%d%H%M%S"),
    "arabic digits": lambda t: str(t).translate({48 + i: 0x660 + i for i in range(10)}),
    "r midnight": lambda t: str(t).removesuffix(" 00:00:00"),
}


@pytest.mark.parametrize("way", WAYS)
def test_times_as_programs_write_them(tmp_path: Path, way: str) -> None:
    when = [dt.datetime(2024, 3, 13, 12) + i * dt.timedelta(minutes=5) for i in range(N)]
    rows = [(WAYS[way](t), f"{x:g}") for t, x in zip(when, GLUCOSE.tolist(), strict=True)]
    file = write(tmp_path, "ada.csv", csv(("time", "glucose"), *rows, mark=";"))
    patient = quietly(file, columns={"time": "time", "glucose": "glucose"}).patient
    assert patient.time_min.tolist() == pytest.approx([5 * i for i in range(N)], abs=1e-3)
    assert patient.start is not None
    assert patient.start.replace(tzinfo=None, microsecond=0) == when[0]


def test_a_zone_of_several_places_is_not_guessed(tmp_path: Path) -> None:
    rows = [(f"{t} CST", x) for t, x in readings(lambda t, x: (t, x))]
    (problem,) = inspect_file(write(tmp_path, "ada.csv", csv(("time", "glucose"), *rows)),
                              columns="time=time,glucose=glucose").problems  # fmt: skip
    assert "CST" in problem


# Encodings


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_encodings(tmp_path: Path, codec: str) -> None:
    file = tmp_path / "ada.csv"
    file.write_bytes(sidiary().encode(codec))
    assert inspect_file(file).readings == N


def test_a_spreadsheet_is_read_or_names_what_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "ada.xlsx"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    problems = inspect_file(file).problems
    assert len(problems) == 1
    try:
        import openpyxl  # noqa: F401, PLC0415
    except ImportError:
        assert "pip install openpyxl" in problems[0]
    else:
        frame = pd.DataFrame(readings(lambda t, x: (t, x)), columns=["time", "glucose"])
        frame.to_excel(file, index=False)
        assert inspect_file(file, columns="auto").readings == N


def test_carelink_in_another_language_says_so(tmp_path: Path) -> None:
    names = ("Index", "Datum", "Tijd", "Tijdstempel", "BG-meetwaarde (mmol/l)", "Tijdel. basaalduur (hh:mm:ss)",
             "Afgegeven bolusvolume (E)", "Sensorglucose (mmol/l)")  # fmt: skip
    day, mmol = "%d-%m-%y", [f"{x / 18.016:.1f}".replace(".", ",") for x in GLUCOSE]
    when = [at(5 * i + 14400).replace(tzinfo=None) for i in range(N)]
    rows = [(i, t.strftime(day), t.time(), t.strftime(f"{day} %H:%M:%S"), "", "", "", x)
            for i, (t, x) in enumerate(zip(when, mmol, strict=True))]  # fmt: skip
    file = write(tmp_path, "ada.csv", "Achternaam,Lovelace\nVoornaam,Ada\n\n" + csv(names, *rows))
    report = inspect_file(file)
    assert any("another language" in text for text in report.problems)
    assert "Lovelace" not in json.dumps(report.as_dict())
    assert inspect_file(file, columns="auto").readings == N
