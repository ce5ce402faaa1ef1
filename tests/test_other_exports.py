"""Tables as people in other countries, with other programs, have them: the same two days, read the same."""

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from t1djax import inspect_file
from t1djax.io import ReadReport

from . import cases

N = 576
WHEN = [cases.at(2 + 5 * i).replace(tzinfo=None) for i in range(N)]
GLUCOSE = cases.course(N).tolist()
MEALS = [(cases.at(1440 * day + 60 * hour + 10).replace(tzinfo=None), units, grams)
         for day in range(2) for hour, units, grams in cases.MEALS]  # fmt: skip
LONG = [(cases.at(1440 * day + 1260).replace(tzinfo=None), 20.0) for day in range(2)]
Time = Callable[[dt.datetime], str]


def csv(names: Sequence[str], rows: Sequence[Sequence[Any]], mark: str = ",", point: str = ".") -> str:
    cell = lambda x: f"{x:g}".replace(".", point) if isinstance(x, float) else str(x)
    return "\n".join(mark.join(map(cell, row)) for row in (names, *rows)) + "\n"


def wide(names: Sequence[str], time: Time, mark: str, glucose: float = 1.0, exchange: float = 1.0) -> str:
    rows = [(t, time(t), x * glucose, "", "") for t, x in zip(WHEN, GLUCOSE, strict=True)]
    rows += [(t, time(t), "", units, grams / exchange) for t, units, grams in MEALS]
    return csv(names, [row[1:] for row in sorted(rows, key=lambda row: row[0])], mark, "," if mark == ";" else ".")


def events(words: Sequence[str], names: Sequence[str]) -> str:
    rows = [(t, words[0], x) for t, x in zip(WHEN, GLUCOSE, strict=True)]
    rows += [(t, words[1], units) for t, units, _ in MEALS] + [(t, words[2], grams) for t, _, grams in MEALS]
    return csv(names, sorted(rows + [(t, words[3], units) for t, units in LONG]))


def read(path: Path | list[Path], **how: Any) -> ReadReport:
    report = inspect_file(path, columns="auto", **how)
    assert report.problems == ()
    assert (report.readings, report.glucose_median_mg_dL) == (N, pytest.approx(np.median(GLUCOSE), abs=1))
    return report


def sums(report: ReadReport) -> tuple[float | None, float | None, float | None]:
    return report.bolus_U_day, report.carbs_g_day, report.long_acting_U_day


A_DAY = (pytest.approx(17, rel=0.03), pytest.approx(170, rel=0.03))


def euro(t: dt.datetime) -> str:
    return t.strftime("%d.%m.%Y %H:%M")


@pytest.mark.parametrize(
    ("names", "time", "mark", "how"),
    [
        (("Datum", "Gewebezucker (mg/dl)", "Rapidinsulin (IE)", "Kohlenhydrate für Mahlzeit (g)"), euro, ";", {}),
        (("Zeitpunkt", "Blutzucker mg/dl", "Bolus IE", "BE"), euro, ";", {"exchange": 12.0}),
        (("Date et heure", "Glycémie (mg/dL)", "Insuline rapide (U)", "Glucides (g)"), euro, ";", {}),
        (("Fecha", "Glucosa", "Insulina", "Raciones"), euro, ",", {"exchange": 10.0}),
        (("Data e ora", "Glicemia", "Insulina rapida", "Carboidrati"), lambda t: t.strftime("%d/%m/%Y %H.%M"), ";", {}),
        (("Datum tijd", "Glucose (mmol/L)", "Snelwerkende insuline (E)", "Koolhydraten (g)"), euro, ";",
         {"glucose": 1 / 18.016}),
        (("Tidpunkt", "Blodsocker (mmol/L)", "Måltidsinsulin (E)", "Kolhydrater (g)"), str, ";",
         {"glucose": 1 / 18.016}),
        (("Data i godzina", "Glukoza (mg/dl)", "Insulina (j.)", "Węglowodany (g)"), euro, ";", {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("codec", ["utf-8", "cp1252"])
def test_columns_in_other_languages(
    tmp_path: Path, names: Sequence[str], time: Time, mark: str, how: dict[str, float], codec: str
) -> None:
    text = wide(names, time, mark, **how)
    if codec == "cp1252" and "Węglowodany" in text:
        pytest.skip("not in this character set")
    (tmp_path / "ada.csv").write_bytes(text.encode(codec))
    assert sums(read(tmp_path / "ada.csv"))[:2] == A_DAY


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("glucose", "meal bolus", "carbs", "long-acting insulin"), ("time", "type", "value")),
        (("Sensorglukose", "NovoRapid", "Kohlenhydrate", "Tresiba"), ("Zeit", "Typ", "Wert")),
        (("Glucosa", "Insulina rápida", "Hidratos de carbono", "Insulina lenta"), ("fecha", "tipo", "valor")),
        (("Glycémie", "Insuline rapide", "Glucides", "Insuline lente"), ("date", "type", "valeur")),
        (("glucose", "snelwerkende insuline", "koolhydraten", "langwerkende insuline"), ("tijd", "soort", "waarde")),
        (("Glicemia", "Humalog", "carboidrati", "Lantus"), ("data", "tipo", "valore")),
    ],
)
def test_events_in_other_languages(tmp_path: Path, words: Sequence[str], names: Sequence[str]) -> None:
    (tmp_path / "ada.csv").write_text(events(words, names), encoding="utf-8")
    assert sums(read(tmp_path / "ada.csv", carbs_unit="g")) == (*A_DAY, pytest.approx(20, rel=0.03))


@pytest.mark.parametrize("word", ["Prime bolus", "Füllung Kanüle (Insulin)", "Amorçage insuline", "FPU carbs"])
def test_what_is_no_dose_among_events_and_columns(tmp_path: Path, word: str) -> None:
    text = events(("glucose", "bolus", "carbs", "Lantus"), ("time", "type", "value")) + f"{WHEN[99]},{word},15\n"
    (tmp_path / "ada.csv").write_text(text, encoding="utf-8")
    report = read(tmp_path / "ada.csv", carbs_unit="g")
    assert sums(report) == (*A_DAY, pytest.approx(20, rel=0.03))
    assert cases.about(report, "left out", "(1)")
    names = ("Time", "Glucose", "Insulin (U)", "Carbs (g)")
    lines = wide(names, str, ",").splitlines()
    filled = [f"{line},{word if i == 0 else 15 if i == 99 else ''}" for i, line in enumerate(lines)]
    (tmp_path / "ben.csv").write_text("\n".join(filled) + "\n", encoding="utf-8")
    assert word in read(tmp_path / "ben.csv").columns_unplaced


@pytest.mark.parametrize(
    "time",
    ["%d-%b-%y %H:%M", "%d mars %Y à %H:%M", "%d. März %Y um %H:%M", "%Y年%m月%d日 %H:%M", "%d/%m/%Y %Hh%M",
     "%d/%m/%Y %H.%M", "%Y-%m-%d %-H:%M:%S"],
)  # fmt: skip
def test_times_as_programs_write_them(tmp_path: Path, time: str) -> None:
    rows = [(t.strftime(time), x) for t, x in zip(WHEN, GLUCOSE, strict=True)]
    (tmp_path / "ada.csv").write_text(csv(("when", "glucose"), rows), encoding="utf-8")
    assert read(tmp_path / "ada.csv").first == WHEN[0].isoformat()


def test_several_tables_of_a_person(tmp_path: Path) -> None:
    sensor, insulin, food = (tmp_path / f"{name}.csv" for name in ("sensor", "insulin", "food"))
    sensor.write_text(csv(("Zeit", "mg/dL"), list(zip(WHEN, GLUCOSE, strict=True))))
    given = [(t, "NovoRapid", units) for t, units, _ in MEALS] + [(t, "Tresiba", units) for t, units in LONG]
    insulin.write_text(csv(("Zeit", "Insulinart", "Einheiten"), sorted(given)))
    food.write_text(csv(("Zeit", "KH (g)"), [(t, grams) for t, _, grams in MEALS]))
    for path in (tmp_path, [sensor, insulin, food]):
        assert sums(read(path)) == (*A_DAY, pytest.approx(20, rel=0.03))


def test_exports_of_one_month_after_another(tmp_path: Path) -> None:
    """Given together they are one person's; in a folder they may be several people's."""
    rows = [f"{t.isoformat()},EGV,,{x:g},," for t, x in zip(WHEN, GLUCOSE, strict=True)]
    rows += [f"{t.isoformat()},Insulin,Fast-Acting,,{u:g}," for t, u, _ in MEALS]
    rows += [f"{t.isoformat()},Carbs,,,,{g:g}" for t, _, g in MEALS]
    head = ("Timestamp (YYYY-MM-DDThh:mm:ss),Event Type,Event Subtype,Glucose Value (mg/dL),Insulin Value (u),"
            "Carb Value (grams)")  # fmt: skip
    second = WHEN[288].isoformat()
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for file, mine in zip(files, ([r for r in rows if r < second], [r for r in rows if r >= second]), strict=True):
        file.write_text("\n".join([head, *mine]) + "\n")
    report = inspect_file([*files, files[0]])
    assert (report.readings, sums(report)[:2], report.problems) == (N, A_DAY, ())
    assert "2 files" in inspect_file(tmp_path).problems[0]
    text = csv(("time", "glucose"), list(zip(WHEN, GLUCOSE, strict=True)))
    (tmp_path / "joined.csv").write_text(text + text)
    assert read(tmp_path / "joined.csv").duplicates == N


def test_readings_beyond_the_sensor(tmp_path: Path) -> None:
    cells = ["<40", ">400", "LO", "High", *(f"{x:g}" for x in GLUCOSE[4:])]
    (tmp_path / "ada.csv").write_text(csv(("time", "glucose"), list(zip(WHEN, cells, strict=True))))
    report = read(tmp_path / "ada.csv")
    assert (report.censored_low, report.censored_high) == (2, 2)
    rows = [(t, x, "high") for t, x in zip(WHEN, GLUCOSE, strict=True)]
    (tmp_path / "ben.csv").write_text(csv(("time", "glucose", "bolus"), rows))
    report = inspect_file(tmp_path / "ben.csv", columns="time=time,glucose=glucose,bolus=bolus")
    assert "not a number" in report.problems[0]


def test_the_sheets_of_a_spreadsheet(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    sheets = {
        "Name": pd.DataFrame([["Name", "Ada"], ["Born", "1815"]]),
        "CGM": pd.DataFrame([("Time", "mg/dL"), *zip(WHEN, GLUCOSE, strict=True)]),
        "Insulin": pd.DataFrame([("Time", "Bolus Volume (U)"), *((t, units) for t, units, _ in MEALS)]),
        "Carbs": pd.DataFrame([("Time", "Carbs(g)"), *((t, grams) for t, _, grams in MEALS)]),
    }
    with pd.ExcelWriter(tmp_path / "ada.xlsx") as file:
        for name, sheet in sheets.items():
            sheet.to_excel(file, sheet_name=name, index=False, header=False)
    assert sums(read(tmp_path / "ada.xlsx"))[:2] == A_DAY


def test_another_sensor_is_left_out_to_the_last_reading(tmp_path: Path) -> None:
    other = [{**x, "date": x["date"] + 130_000, "sgv": x["sgv"] + 25, "device": "Libre"} for x in cases.entries()]
    folder = cases.nightscout(tmp_path / "ns", entries=[*cases.entries(), *other], treatments=[], profile=[])
    assert (inspect_file(folder).readings, inspect_file(folder).other_sensors) == (N, N)


def test_a_stray_reading_has_no_clock_change(tmp_path: Path) -> None:
    late = {**cases.entries()[0], "date": int(cases.at(1440 * 400).timestamp() * 1000)}
    zone = [{**cases.PROFILE[0], "store": {"A": {**cases.PROFILE[0]["store"]["A"], "timezone": "Europe/Madrid"}}}]
    folder = cases.nightscout(tmp_path / "ns", entries=[*cases.entries(), late], treatments=cases.meals(), profile=zone)
    report = inspect_file(folder)
    assert (report.readings, report.clock_changes) == (N, ())
