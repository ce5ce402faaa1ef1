"""Exports of Clarity and LibreView: every branch on files written here, and the shared ones counted anew."""

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from t1djax import inspect_file
from t1djax.io import recognised_formats
from t1djax.io._raw import RawBasal, RawDose
from t1djax.io.formats._rates import Command, delivered

from .vendor_files import DAY, at, injections, parsed, refused, told

# Dexcom Clarity


def clarity(rows: Sequence[str], unit: str = "mg/dL", delimiter: str = ",") -> str:
    header = (
        "Index,Timestamp (YYYY-MM-DDThh:mm:ss),Event Type,Event Subtype,Patient Info,Device Info,Source Device ID,"
        f"Glucose Value ({unit}),Insulin Value (u),Carb Value (grams),Duration (hh:mm:ss),"
        f"Glucose Rate of Change ({unit}/min),Transmitter Time (Long Integer),Transmitter ID"
    )
    top = ["1,,FirstName,,Ada,,,,,,,,,", "2,,Alert,High,,,iOS G6,251,,,,,,"]
    body = [f"{i},{row}" for i, row in enumerate(rows, 3)]
    return "\ufeff" + "\r\n".join([header, *top, *body]).replace(",", delimiter) + "\r\n"


def egv(time: str, value: object, kind: str = "EGV,") -> str:
    return f"{time},{kind},,,iOS G6,{value},,,,,1,X"


def event(time: str, kind: str, insulin: object = "", carbs: object = "") -> str:
    return f"{time},{kind},,,iOS G6,,{insulin},{carbs},,,,"


def test_clarity_sample(shared: Path) -> None:
    path = shared / "data" / "vendor_formats" / "dexcom_clarity_400rows.csv"
    frame = pd.read_csv(path, encoding="utf-8-sig")
    frame["line"] = frame.index + 2
    egv_rows = frame.loc[frame["Event Type"] == "EGV"]
    raw = parsed(path)
    assert [r.value for r in raw.readings] == egv_rows["Glucose Value (mg/dL)"].tolist()
    assert len(raw.readings) == 386
    when = pd.to_datetime(egv_rows["Timestamp (YYYY-MM-DDThh:mm:ss)"])
    assert [r.time for r in raw.readings] == when.dt.to_pydatetime().tolist()
    assert [r.where for r in raw.readings] == egv_rows["line"].tolist()
    assert [dose.amount for dose in raw.boluses] == [5.0, 4.0]
    assert injections(raw) == [(dt.datetime(1961, 4, 12, 6, 30), 27.0)]
    assert raw.glucose_unit == "mg/dL"
    assert "Gagarin" not in repr(raw)


def test_clarity_events(tmp_path: Path) -> None:
    rows = [
        egv("2024-05-13T08:00:00", 100),
        egv("2024-05-13 8:05:00", "Low"),
        egv("2024-05-13T08:10:00", "High"),
        egv("2024-05-13T08:12:00", 118, "Calibration,"),
        event("2024-05-13T08:15:00", "Insulin,Fast-Acting", 4.5),
        event("2024-05-13T08:16:00", "Carbs,", carbs=60),
        event("2024-05-13T21:00:00", "Insulin,Long-Acting", 24),
        event("2024-05-13T22:00:00", "Health,Stress"),
        event("2024-05-13T22:05:00", "Swimming,"),
        event("2024-05-13T22:10:00", "Carbs,"),
        egv("2024-05-13T22:15:00", ""),
    ]
    raw, notes = told(tmp_path / "ada.csv", clarity(rows))
    assert [(r.value, r.censored, r.kind) for r in raw.readings] == [
        (100.0, "", "cgm"), (40.0, "low", "cgm"), (400.0, "high", "cgm"), (118.0, "", "calibration"),
    ]  # fmt: skip
    assert raw.readings[1].time == at(8 + 5 / 60)
    assert raw.readings[1].where == 5
    assert raw.boluses == (RawDose(at(8.25), 4.5, 8),)
    assert raw.meals == (RawDose(at(8 + 16 / 60), 60.0, 9),)
    assert injections(raw) == [(at(21), 24.0)]
    assert raw.subject == "ada"
    assert any("Swimming" in note for note in notes)
    for kind in ("food", "glucose"):
        assert any(f"1 records of {kind} without a number" in note for note in notes)
    assert not any("Stress" in note or "Health" in note for note in notes)


def test_clarity_in_mmol_with_decimal_commas(tmp_path: Path) -> None:
    rows = [egv("2024-05-13T08:00:00", "5.6"), egv("2024-05-13T08:05:00", "Low"), egv("2024-05-13T08:10:00", "High")]
    text = clarity(rows, "mmol/L")
    raw = parsed(tmp_path / "a.csv", text)
    assert raw.glucose_unit == "mmol/L"
    assert [r.value for r in raw.readings] == [5.6, 2.2, 22.2]
    comma = parsed(tmp_path / "b.csv", clarity(rows, "mmol/L", ";").replace("5.6", "5,6"))
    assert comma.readings == raw.readings


def test_clarity_sensor_with_wider_limits(tmp_path: Path) -> None:
    rows = [egv("2024-05-13T08:00:00", 38), egv("2024-05-13T08:05:00", "LOW"), egv("2024-05-13T08:10:00", 450),
            egv("2024-05-13T08:15:00", "High")]  # fmt: skip
    assert [r.value for r in parsed(tmp_path / "a.csv", clarity(rows)).readings] == [38, 38, 450, 450]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([egv("2024-05-13T08:00:00", "1x3")], "row 4, column Glucose Value (mg/dL): '1x3' is not a number"),
        ([egv("2024-05-13T08:00:00", '"5,6"'), egv("2024-05-13T08:05:00", "5.7")], "'5,6' has a decimal comma"),
        ([egv("2024-13-45T08:00:00", 100)], "'2024-13-45T08:00:00' is no time"),
        (
            [egv("2024-05-13T07:55:00", 99), egv("", 100)],
            "row 5, column Timestamp (YYYY-MM-DDThh:mm:ss): the row has no",
        ),
        ([event("2024-05-13T08:00:00", "Insulin,Fast-Acting", -3)], "'-3' is negative"),
        ([egv("2024-05-13T08:00:00", 100)[:-5]], "row 4: it has 11 cells, the header 14; is the file cut short"),
    ],
)
def test_clarity_refusals(tmp_path: Path, rows: list[str], says: str) -> None:
    assert says in refused(tmp_path / "bad.csv", clarity(rows))


def test_clarity_in_another_language_is_named(tmp_path: Path) -> None:
    header = (
        "Index,Zeitstempel (JJJJ-MM-TTThh:mm:ss),Ereignistyp,Ereignisuntertyp,Patient,Ger\u00e4t,"
        "Quell-ID,Glukosewert (mg/dl),Insulinwert (E),Kohlenhydratwert (Gramm),Dauer (hh:mm:ss),x,y,z\n"
    )
    file = tmp_path / "de.csv"
    file.write_text(header + "1,2024-05-13T08:00:00,EGV,,,,,100,,,,,,\n")
    assert "set Clarity to English and export again" in inspect_file(file).problems[0]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_any_delimiter(tmp_path: Path, delimiter: str) -> None:
    rows = [egv("2024-05-13T08:00:00", 100), event("2024-05-13T08:15:00", "Insulin,Fast-Acting", 4.5)]
    raw, plain = (parsed(tmp_path / "a.csv", clarity(rows, delimiter=d)) for d in (delimiter, ","))
    assert raw == plain
    rows = [record("13-05-2024 08:00", 0, historic=98)]
    raw, plain = (parsed(tmp_path / "l.csv", libre(rows).replace(",", d)) for d in (delimiter, ","))
    assert raw == plain


def test_clarity_mangled(tmp_path: Path) -> None:
    text = clarity([egv("2024-05-13T08:00:00", 100), egv("2024-05-13T08:05:00", 101)])
    (tmp_path / "a.csv").write_bytes(text.encode("utf-16"))
    assert len(parsed(tmp_path / "a.csv").readings) == 2
    assert "it has 8 cells, the header 14" in refused(tmp_path / "b.csv", text[: text.rindex(",,,,,1,X")])
    assert "is not UTF-8" in refused(tmp_path / "c.csv", text.encode().replace(b"iOS", b"i\xd6S"))


# LibreView

LIBRE = (
    "Device,Serial Number,Device Timestamp,Record Type,Historic Glucose {0},Scan Glucose {0},"
    "Non-numeric Rapid-Acting Insulin,Rapid-Acting Insulin (units),Non-numeric Food,Carbohydrates (grams),"
    "Carbohydrates (servings),Non-numeric Long-Acting Insulin,Long-Acting Insulin Value (units),Notes,"
    "Strip Glucose {0},Ketone mmol/L,Meal Insulin (units),Correction Insulin (units),User Change Insulin (units)"
)
COLUMN = {"historic": 4, "scan": 5, "rapid": 7, "carbs": 9, "servings": 10, "long": 12, "notes": 13, "strip": 14,
          "ketone": 15, "meal": 16, "correction": 17, "change": 18}  # fmt: skip


def libre(
    rows: Sequence[str], unit: str = "mg/dL", title: str = "Glucose Data,Generated on,01-02-2024 09:40 UTC"
) -> str:
    return "\n".join([title, LIBRE.format(unit), *rows]) + "\n"


def record(time: str, kind: object, **values: object) -> str:
    cells = ["Libre 3", "ABC", time, str(kind), *[""] * 15]
    for name, value in values.items():
        cells[COLUMN[name]] = str(value)
    return ",".join(f'"{cell}"' if "," in cell else cell for cell in cells)


def test_libreview_sample(shared: Path) -> None:
    path = shared / "data" / "vendor_formats" / "libreview_400rows.csv"
    frame = pd.read_csv(path, skiprows=1)
    raw = parsed(path)
    assert [r.value for r in raw.readings] == frame["Historic Glucose mg/dL"].tolist()
    assert len(raw.readings) == 398
    when = pd.to_datetime(frame["Device Timestamp"], format="%d-%m-%Y %H:%M")
    assert [r.time for r in raw.readings] == when.dt.to_pydatetime().tolist()
    assert {r.kind for r in raw.readings} == {"cgm"}
    assert not raw.boluses
    assert not raw.basal
    assert "Gagarin" not in repr(raw)


def test_libreview_kinds_of_record(tmp_path: Path) -> None:
    rows = [
        record("13-05-2024 08:00", 0, historic=98),
        record("13-05-2024 08:05", 1, scan=101),
        record("13-05-2024 08:06", 2, strip=110),
        record("13-05-2024 08:10", 4, rapid=5.5),
        record("13-05-2024 08:11", 4, meal=4, correction=-1.5, change=0.5),
        record("13-05-2024 08:12", 4),
        record("13-05-2024 08:15", 5, carbs=45),
        record("13-05-2024 08:16", 5, servings=3),
        record("13-05-2024 08:17", 5),
        record("13-05-2024 08:20", 3, ketone=0.2),
        record("13-05-2024 08:25", 6, notes="a note, with a comma"),
        record("13-05-2024 08:30", 0, historic="LO"),
        record("13-05-2024 08:45", 0, historic="HI"),
        record("13-05-2024 09:00", 0, historic=480),
        record("13-05-2024 22:00", 4, long=12),
        record("14-05-2024 10:00", 4, long=12),
    ]
    raw, notes = told(tmp_path / "l.csv", libre(rows))
    assert [(r.value, r.censored, r.kind) for r in raw.readings] == [
        (98, "", "cgm"), (40, "low", "cgm"), (480, "high", "cgm"), (480, "", "cgm"),
        (101, "", "scan"), (110, "", "fingerstick"),
    ]  # fmt: skip
    assert [dose.amount for dose in raw.boluses] == [5.5, 3.0]
    assert [(dose.time, dose.amount) for dose in raw.meals] == [(at(8.25), 45.0)]
    # Two injections overlap for half a day.
    assert injections(raw) == [(at(22), 12.0), (at(10, 1), 12.0)]
    for text in ("1 meals are stated in servings", "1 records of insulin without", "1 records of food"):
        assert any(text in note for note in notes), text


def test_libreview_by_position_in_another_language(tmp_path: Path) -> None:
    header = ["Ger\u00e4t", "Seriennummer", "Ger\u00e4tezeitstempel", "Aufzeichnungstyp"]
    header += [f"Spalte {i}" for i in range(4, 19)]
    for i, name in ((4, "Glukosewert-Verlauf"), (5, "Glukose-Scan"), (14, "Teststreifen-Blutzucker")):
        header[i] = f"{name} mmol/L"
    rows = [record("13-05-2024 08:00", 0, historic="5,6"), record("13-05-2024 08:05", 4, rapid="2,25")]
    raw = parsed(tmp_path / "de.csv", "\n".join(["Glukose-Werte,Erstellt am,x", ",".join(header), *rows]) + "\n")
    assert raw.glucose_unit == "mmol/L"
    assert raw.readings[0].value == 5.6
    assert raw.boluses[0].amount == 2.25


NIGHT = ["23:50", "00:05"]


@pytest.mark.parametrize(
    ("times", "title", "first"),
    [
        (["13/05/2024 08:00", "14/05/2024 08:00"], "", dt.datetime(2024, 5, 13, 8)),
        (["05-13-2024 08:00 PM", "05-14-2024 12:10 AM"], "", dt.datetime(2024, 5, 13, 20)),
        (["13.05.2024 08:00", "01.06.2024 08:00"], "", dt.datetime(2024, 5, 13, 8)),
        (["2024-05-13 08:00", "2024-05-13 08:15"], "", dt.datetime(2024, 5, 13, 8)),
        # Nothing is above 12, but the rows go on over midnight.
        ([f"11-04-2024 {NIGHT[0]}", f"12-04-2024 {NIGHT[1]}"], "", dt.datetime(2024, 4, 11, 23, 50)),
        ([f"04-11-2024 {NIGHT[0]}", f"04-12-2024 {NIGHT[1]}"], "", dt.datetime(2024, 4, 11, 23, 50)),
        # The title's date is written as the others are.
        (["04-05-2024 08:00", "04-05-2024 08:15"], "Glucose Data,Generated on,25-06-2024 09:40 UTC",
         dt.datetime(2024, 5, 4, 8)),
        (["04-05-2024 08:00", "04-05-2024 08:15"], "Glucose Data,Generated on,06-25-2024 09:40 UTC",
         dt.datetime(2024, 4, 5, 8)),
    ],
)  # fmt: skip
def test_day_and_month_are_told_apart_by_content(
    tmp_path: Path, times: list[str], title: str, first: dt.datetime
) -> None:
    rows = [record(time, 0, historic=98 + i) for i, time in enumerate(times)]
    raw = parsed(tmp_path / "d.csv", libre(rows, title=title or "Glucose Data,Generated on,01-02-2024 09:40 UTC"))
    assert raw.readings[0].time == first
    assert raw.readings[1].time > first


def test_day_and_month_that_cannot_be_told_apart(tmp_path: Path) -> None:
    rows = [record("04-05-2024 08:00", 0, historic=98), record("04-05-2024 08:15", 0, historic=99)]
    says = refused(tmp_path / "d.csv", libre(rows))
    assert "day and month cannot be told apart; state day_first=True or day_first=False" in says
    for day_first, month in ((True, 5), (False, 4)):
        assert parsed(tmp_path / "d.csv", day_first=day_first).readings[0].time.month == month
    stated = libre([record("25-05-2024 08:00", 0, historic=98)])
    assert "'25-05-2024 08:00' is no time as the other rows write it" in refused(
        tmp_path / "e.csv", stated, day_first=False
    )


def test_day_and_month_swapped_in_some_rows(tmp_path: Path) -> None:
    both = [record(t, 0, historic=98) for t in ("13-05-2024 08:00", "14-05-2024 08:00", "05-15-2024 08:00")]
    says = refused(tmp_path / "a.csv", libre(both))
    assert "row 5, column time: '05-15-2024 08:00' has day and month in the other order" in says
    none = [record(t, 0, historic=98) for t in ("13-05-2024 08:00", "14-05-2024 08:00", "31-31-2024 08:00")]
    says = refused(tmp_path / "c.csv", libre(none))
    assert "'31-31-2024 08:00'" in says
    assert "other order" not in says
    # 12 May as 5 December: a date, yet out of order.
    some = [record(t, 0, historic=98) for t in ("05-12-2024 23:45", "13-05-2024 00:00", "13-05-2024 00:15")]
    says = refused(tmp_path / "b.csv", libre(some))
    assert "row 3, column time: '05-12-2024 23:45' is out of order, and would not be with day and month swapped" in says


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([record("13-05-2024 08:00", 0, historic="9x")], "row 3, column historic: '9x' is not a number"),
        ([record("13-05-2024", 0, historic=98)], "'13-05-2024' is no time"),
        ([record("13-05-2024 08:00", 4, rapid=-2)], "'-2' is negative"),
        ([record("13-05-2024 08:00", 4, meal=1, correction=-2)], "is negative"),
        ([record("13-05-2024 08:00", 0, historic="1,234")], "'1,234' has a thousands separator"),
        ([record("13-05-2024 08:00 PM", 0, historic=98), record("13-05-2024 21:00", 0, historic=98)],
         "row 4, column time: '13-05-2024 21:00' is no time as the other rows write it"),
        ([record("13-05-2024 08:00", 0, historic=98)[:-9]], "row 3: it has 10 cells, the header 19"),
    ],
)  # fmt: skip
def test_libreview_refusals(tmp_path: Path, rows: list[str], says: str) -> None:
    assert says in refused(tmp_path / "bad.csv", libre(rows))


def test_libreview_with_two_units(tmp_path: Path) -> None:
    text = libre([record("13-05-2024 08:00", 0, historic=98)]).replace("Scan Glucose mg/dL", "Scan Glucose mmol/L")
    assert "the header states mg/dl and mmol/l; export it in one unit" in refused(tmp_path / "u.csv", text)


@pytest.mark.parametrize("seed", range(8))
def test_delivered_rate_minute_by_minute(seed: int) -> None:
    rng = np.random.default_rng(seed)
    minute = lambda m: DAY + dt.timedelta(minutes=int(m))
    scheduled = [RawBasal(minute(m), float(rng.integers(1, 9)) / 4, 1) for m in [0, *sorted(rng.choice(300, 4) + 1)]]
    commands = []
    for start in rng.choice(300, 10, replace=False):
        long = int(rng.integers(0, 90))
        rate = None if rng.random() < 0.5 else float(rng.integers(0, 9))
        kind = "suspend" if rng.random() < 0.3 else "temporary"
        commands.append(Command(minute(start), minute(start + long), 1, 0.0 if kind == "suspend" else rate, 0.5, kind))
    out = delivered(scheduled, commands)
    for m in range(400):
        now = minute(m)
        expected = [b.rate for b in scheduled if b.time <= now][-1]
        begun = sorted((c for c in commands if c.kind == "temporary" and c.start <= now), key=lambda c: c.start)
        if begun and now < begun[-1].end:
            expected = expected * begun[-1].factor if begun[-1].rate_U_h is None else begun[-1].rate_U_h
        stopped = sorted((c for c in commands if c.kind == "suspend" and c.start <= now), key=lambda c: c.start)
        if stopped and now < stopped[-1].end:
            expected = 0.0
        assert [b.rate for b in out if b.time <= now][-1] == expected
    assert all(a.time < b.time and a.rate != b.rate for a, b in pairwise(out))


@pytest.mark.parametrize(("type_", "formats"), [("glucose", ()), ("cbg", ("tidepool",))])
def test_a_long_table_is_tidepools_by_its_types(tmp_path: Path, type_: str, formats: tuple[str, ...]) -> None:
    (tmp_path / "a.csv").write_text(f"time,type,value\n2026-03-02 00:00:00,{type_},140\n2026-03-02 00:05:00,bolus,2\n")
    assert recognised_formats(tmp_path / "a.csv") == formats
