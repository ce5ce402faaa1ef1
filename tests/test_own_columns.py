"""Tables of people's own make: columns named by them, units and dates by flag, settings by file, and what is said."""

import datetime as dt
import io
import json
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import t1djax
from t1djax import DataError, DataWarning, inspect_file, read_cohort, read_recording
from t1djax.config import ConfigError, load_experiment
from t1djax.experiment import load_cohort
from t1djax.io import columns_from_text, people_in

from .command import call, done

MMOL = 18.016
START = dt.datetime(2025, 1, 13, 7)
N = 60
READINGS = np.round(8 + 2 * np.sin(np.arange(N) / 9) + 0.4 * np.sin(np.arange(N) * 1.7), 1)  # mmol/L
GERMAN = {"time": "Zeit", "glucose": "Glukose", "basal_U_h": "Basal", "bolus": "Insulin", "carbs_g": "KH"}
FLAG = "time=Zeit,glucose=Glukose,basal_U_h=Basal,bolus=Insulin,carbs_g=KH"


def german(glucose: str = "Glukose", *, start: dt.datetime = START) -> str:
    """As a spreadsheet of half of Europe writes it."""
    rows = [f"Zeit;{glucose};Basal;Insulin;KH;Notiz"]
    for i, value in enumerate(READINGS.tolist()):
        t = start + dt.timedelta(minutes=5 * i)
        doses = f"{'0,95' if i < 30 else '1,1'};{'4,5' if i == 11 else ''};{'40' if i == 10 else ''}"
        rows.append(f"{t:%d.%m.%Y %H:%M};{str(value).replace('.', ',')};{doses};x")
    return "\n".join(rows) + "\n"


def own(glucose: np.ndarray = READINGS, *, name: str = "glucose_mmol_L", written: str = "%Y-%m-%dT%H:%M") -> str:
    """t1djax's own table."""
    rows = [f"time,{name},basal_U_h,bolus_U,carbs_g"]
    for i, value in enumerate(glucose.tolist()):
        t = START + dt.timedelta(minutes=5 * i)
        doses = f"{0.95 if i < 30 else 1.1},{4.5 if i == 11 else ''},{40 if i == 10 else ''}"
        rows.append(f"{t:{written}},{value!r},{doses}")
    return "\n".join(rows) + "\n"


def put(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def check(patient: t1djax.Patient) -> None:
    """It is the record that the texts above write."""
    assert patient.start == START
    assert patient.time_min.tolist() == [5.0 * i for i in range(N)]
    assert patient.glucose_mg_dL == pytest.approx(READINGS * MMOL, rel=1e-12)
    doses = patient.doses
    assert (doses.basal_time_min.tolist(), doses.basal_U_h.tolist()) == ([0.0, 150.0], [0.95, 1.1])
    assert (doses.bolus_time_min.tolist(), doses.bolus_U.tolist()) == ([55.0], [4.5])
    assert (doses.meal_time_min.tolist(), doses.carbs_g.tolist()) == ([50.0], [40.0])


# Named columns


def test_a_european_spreadsheet(tmp_path: Path) -> None:
    file = put(tmp_path, "ada.csv", german())
    recording = read_recording(file, columns=GERMAN)
    check(recording.patient)
    report = recording.report
    assert (report.glucose_unit, report.glucose_unit_by) == ("mmol/L", "by its values")
    assert (report.basal_unit, report.carbs_unit) == ("U/h", "g")
    assert "columns that are not read: Notiz" in report.notes
    stated = put(tmp_path, "ben.csv", german("Glukose (mmol/l)"))
    read = read_recording(stated, columns=GERMAN | {"glucose": "Glukose (mmol/l)"})
    check(read.patient)
    assert read.report.glucose_unit_by == "stated"
    with pytest.raises(DataError, match=r"column glucose: it is labelled mg/dL, but a median of .* looks like mmol/L"):
        read_recording(file, columns={k: v for k, v in GERMAN.items() if k != "glucose"} | {"glucose_mg_dL": "Glukose"})


def test_day_and_month_where_no_day_is_above_12(tmp_path: Path) -> None:
    early = START.replace(day=5, month=2)
    file = put(tmp_path, "ada.csv", german(start=early))
    with pytest.raises(DataError, match="no day is above 12, so day and month cannot be told apart; state day_first"):
        read_recording(file, columns=GERMAN)
    assert read_recording(file, columns=GERMAN, day_first=True).patient.start == early
    assert read_recording(file, columns=GERMAN, day_first=False).patient.start == early.replace(day=2, month=5)


def test_date_and_time_apart_am_and_pm_and_a_column_without_a_name(tmp_path: Path) -> None:
    rows = [",Date,Time,CGM,Carbs (g)"]
    for i in range(30):
        t = START + dt.timedelta(minutes=30 * i)
        rows.append(f"{i},{t:%m/%d/%Y},{t:%I:%M %p},{'LOW' if i == 3 else 'NA' if i == 4 else 120 + i * i % 11},")
    file = put(tmp_path, "ada.csv", "\n".join(rows) + "\n")
    with pytest.warns(DataWarning):
        recording = read_recording(file, columns={"time": "Date+Time", "glucose": "CGM", "carbs_g": "Carbs (g)"})
    patient = recording.patient
    assert patient.start == START
    assert patient.time_min.tolist() == [30.0 * i for i in range(30) if i != 4]
    assert patient.glucose_mg_dL[3] == 40.0
    assert recording.report.censored_share == pytest.approx(1 / 29)
    said = "1 reading is beyond what the sensor reports: 1 LOW taken as 40 mg/dL"
    assert any(text.startswith(said) for text in recording.report.warnings)


def test_units_that_nobody_states_must_be_said(tmp_path: Path) -> None:
    file = put(tmp_path, "ada.csv", german())
    plain = {"time": "Zeit", "glucose": "Glukose", "basal": "Basal", "bolus": "Insulin", "carbs": "KH"}
    said = "\n".join(inspect_file(file, columns=plain).problems)
    assert "the unit of the basal rate is not stated" in said
    assert "column carbs: the unit is not stated" in said
    check(read_recording(file, columns=plain, basal_unit="U/h", carbs_unit="g").patient)
    tenfold = read_recording(file, columns=plain, basal_unit="U/h", carbs_unit="none")
    assert tenfold.patient.doses.carbs_g.tolist() == []


def test_own_names_in_the_file_need_no_mapping(tmp_path: Path) -> None:
    file = put(tmp_path, "ada.csv", own().replace("bolus_U", "Humalog", 1))
    check(read_recording(file, columns={"bolus": "Humalog"}).patient)


def test_rows_in_any_order_and_several_at_one_time(tmp_path: Path) -> None:
    rows = ["minute\tBG\tdose\tfor"]
    rows += [f"{5 * i}\t{120 + i * i % 7}\t\t" for i in reversed(range(40))]
    rows += ["50\t\t4.5\t30", "50\t\t\t"]
    file = put(tmp_path, "ada.csv", "\n".join(rows) + "\n")
    columns = {"time_min": "minute", "glucose": "BG", "bolus": "dose", "bolus_duration_min": "for"}
    with pytest.warns(DataWarning, match="basal is zero"):
        patient = read_recording(file, columns=columns).patient
    assert patient.start is None
    assert patient.time_min.tolist() == [5.0 * i for i in range(40)]
    doses = patient.doses
    assert [doses.bolus_time_min.tolist(), doses.bolus_U.tolist(), doses.bolus_duration_min.tolist()] == [
        [50], [4.5], [30],
    ]  # fmt: skip


@pytest.mark.parametrize("wanted", [{"day_first": True}, {"time_zone": "Europe/Berlin"}])
def test_a_flag_for_clocks_is_refused_for_minutes(tmp_path: Path, wanted: dict[str, Any]) -> None:
    rows = "".join(f"{5 * i},{120 + i},1,,\n" for i in range(20))
    file = put(tmp_path, "ada.csv", f"time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g\n{rows}")
    (said,) = inspect_file(file, **wanted).problems
    assert f"its times are minutes, not of a clock; leave {next(iter(wanted))} out" in said
    (same,) = inspect_file(file, columns={"time_min": "time_min"}, **wanted).problems
    assert same == said


# The library's own table, by flag


def test_own_table_in_mmol_by_name_and_by_flag(tmp_path: Path) -> None:
    named = put(tmp_path, "ada.csv", own())
    check(read_recording(named).patient)
    assert read_cohort(named)["ada"].glucose_mg_dL == pytest.approx(READINGS * MMOL, rel=1e-12)
    wrong = put(tmp_path, "ben.csv", own(name="glucose_mg_dL"))
    with pytest.raises(DataError, match=r"looks like mmol/L; multiply by 18.016, or name the column glucose_mmol_L"):
        read_cohort(wrong)
    check(read_recording(wrong, glucose_unit="mmol/L").patient)
    high = put(tmp_path, "cem.csv", own(READINGS * MMOL))
    with pytest.raises(DataError, match="looks like mg/dL; name the column glucose_mg_dL"):
        read_cohort(high)
    with pytest.raises(DataError, match=r"labelled mmol/L, but a median of .* looks like mg/dL"):
        read_recording(high)
    frame = pd.DataFrame({"time_min": [0, 5], "glucose_mmol_L": [6.0, 7.0], "basal_U_h": 1, "bolus_U": 0, "carbs_g": 0})
    assert t1djax.frame_to_patient(frame, "Ada").glucose_mg_dL.tolist() == [6 * MMOL, 7 * MMOL]


def test_own_table_with_days_first_semicolons_and_commas(tmp_path: Path) -> None:
    days = put(tmp_path, "ada.csv", own(written="%d/%m/%Y %H:%M"))
    check(read_recording(days).patient)
    check(read_recording(days, day_first=True).patient)
    with pytest.raises(DataError, match="is no time as the other rows write it"):
        read_recording(days, day_first=False)
    european = own(written="%d/%m/%Y %H:%M").replace(".", ";").replace(",", "|").replace(";", ",").replace("|", ";")
    check(read_recording(put(tmp_path, "ben.csv", european)).patient)
    swapped = put(tmp_path, "cem.csv", own(written="%Y-%d-%mT%H:%M").replace("2025-13-01", "2025-02-01"))
    read = read_recording(swapped, day_first=True)
    assert read.patient.start == dt.datetime(2025, 1, 2, 7)
    assert "day and month are swapped, as asked for" in read.report.notes


def test_own_table_keeps_its_first_and_last_row(tmp_path: Path) -> None:
    text = own(written="%d/%m/%Y %H:%M").replace("13/01/2025 07:00,8.0,", "13/01/2025 07:00,,")
    patient = read_recording(put(tmp_path, "ada.csv", text)).patient
    assert patient.start == START
    assert patient.time_min.tolist() == [5.0 * i for i in range(N)]
    assert patient.valid.tolist() == [False] + [True] * (N - 1)


# Several people


def test_people_in_one_table(tmp_path: Path) -> None:
    both = pd.concat([pd.read_csv(io.StringIO(own())).assign(Who=name) for name in ("Ada", "Ben")])
    file = tmp_path / "all.csv"
    both.to_csv(file, index=False)
    assert people_in(file, columns={"patient": "Who"}) == ("Ada", "Ben")
    with pytest.raises(DataError, match='2 people are in it; choose with subject="NAME", one of Ada, Ben'):
        read_recording(file, columns={"patient": "Who"})
    check(read_recording(file, columns={"patient": "Who"}, subject="Ben").patient)
    said = call("convert", file, "--columns", "patient=Who", "--out", tmp_path / "cohort")
    assert said.code == 0, said.err
    assert read_cohort(tmp_path / "cohort").names == ("Ada", "Ben")
    long = tmp_path / "long.csv"  # as `cohort_to_frame` gives it
    t1djax.cohort_to_frame(read_cohort(tmp_path / "cohort")).to_csv(long, index=False)
    assert people_in(long) == ("Ada", "Ben")
    check(read_recording(long, subject="Ada").patient)


# What is wrong


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"glucos": "Glukose"}, r"'glucos' is none of t1djax's names \(did you mean glucose\?\); there are time, "),
        ({"time": "Zeit", "time_min": "KH"}, "time and time_min are one thing"),
        ({"glucose": " "}, "glucose has no column; write glucose=NAME"),
    ],
)
def test_wrong_names(tmp_path: Path, columns: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_recording(put(tmp_path, "ada.csv", german()), columns=columns)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    file = put(tmp_path, "ada.csv", german())
    said = inspect_file(file, columns=GERMAN | {"time": "Zeitt", "carbs_g": "kh"}).problems
    assert said == tuple(
        f"{file}, row 1: there is no column {name} to take as {own_name} (did you mean {near}?); its columns are "
        "Zeit, Glukose, Basal, Insulin, KH, Notiz"
        for name, own_name, near in (("Zeitt", "time", "Zeit"), ("kh", "carbs_g", "KH"))
    )
    (alone,) = inspect_file(file, columns={"time": "Zeit"}).problems
    assert 'no column is named as glucose; name it, as in columns="glucose=NAME"' in alone
    (words,) = inspect_file(file, columns={"time": "Notiz", "glucose": "Glukose"}).problems
    assert "column Notiz: 'x' is no time; write 2024-05-01 07:30 or 01.05.2024 07:30" in words
    unix = put(tmp_path, "ben.csv", "ts,bg\n" + "".join(f"{1736751600 + 300 * i},{99 + i}\n" for i in range(24)))
    (none,) = inspect_file(unix, columns={"time": "ts", "glucose": "bg"}, day_first=True).problems
    assert "column ts: its times are counted and have no day or month; leave day_first" in none
    with pytest.raises(ValueError, match="columns are for a table of another make; leave them or format hupa out"):
        read_recording(file, columns=GERMAN, format="hupa")


def test_texts_of_columns() -> None:
    assert columns_from_text('time=Date+Time, "glucose=Glucose, mg/dL" ,carbs_g=a=b') == {
        "time": "Date+Time", "glucose": "Glucose, mg/dL", "carbs_g": "a=b",
    }  # fmt: skip
    for text, says in (("time", "is no pair"), ("time=A,time=B", "time stands twice"), ("bg=A", "'bg' is none of")):
        with pytest.raises(ValueError, match=says):
            columns_from_text(text)


_STATED = FLAG.replace("bolus=", "bolus_U=")
_APART = [f"2025-01-13,{7 + i // 12}:{i % 12 * 5:02d},{99 + i},tea\n" for i in range(24)]
_TWO = [f"P{p},{5 * i},{120 + i * i % 9},77A,1,{40 * (i == 9)},0.1\n" for p in (1, 2) for i in range(40)]
TABLES = {
    "german": (german(), _STATED),
    "stated": (german("Glukose, mmol/l"), _STATED.replace("glucose=Glukose", '"glucose=Glukose, mmol/l"')),
    "title": ("Export of a pump\n\nTime,BG\n" + "".join(f"13.01.2025 07:{i},{99 + i}\n" for i in range(10, 60)),
              "time=Time,glucose=BG"),
    "sep": ("sep=;\nTime;BG\n" + "".join(f"{1736751600000 + 300000 * i};{99 + i}\n" for i in range(24)),
            "time=Time,glucose=BG"),
    "apart": ("".join(["Date,Time,BG,Meal\n", *_APART]), "time=Date+Time,glucose=BG"),
    "minutes": (
        "".join(["id,minutes,CGM,Sensor ID,Basal,CHO,total insulin\n", *_TWO]),
        "time_min=minutes,glucose=CGM,basal_U_h=Basal,carbs_g=CHO,patient=id",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_the_message_gives_the_line_that_reads_the_file(name: str, tmp_path: Path) -> None:
    text, line = TABLES[name]
    file = put(tmp_path, "ada.csv", text)
    said = call("inspect", file)
    assert said.code == 3
    assert "its format is not recognised; its columns are " in said.out
    argument = shlex.split(said.out.split("read it with --columns ")[1])[0]
    assert argument == line
    more = ("--subject", "P1") if name == "minutes" else ()
    repaired = call("inspect", file, "--columns", argument, *more)
    assert repaired.code == 0, repaired.out


def test_only_what_is_there_is_claimed(tmp_path: Path) -> None:
    for text, says in (
        (
            "a,b,c\n1,2,3\n",
            "a, b, c; none of them looks like time (written 2024-05-01 07:30 or 01.05.2024 07:30) and glucose: ",
        ),
        (
            "Time,Glucose\nmorning,120\nnoon,130\n",
            "its columns are Time, Glucose; none of them looks like time (written ",
        ),
        ("Time,Glucose\n2025-01-13 07:00,high\n2025-01-13 07:05,low\n", "none of them looks like glucose: "),
    ):
        (said,) = inspect_file(put(tmp_path, "ada.csv", text)).problems
        assert says in said
        assert "if it is an export of a known format" in said
        assert "read it with" not in said


# The command line: settings by file


def test_files_in_different_units(tmp_path: Path) -> None:
    ada, ben = put(tmp_path, "ada.csv", own(name="glucose_mg_dL")), put(tmp_path, "ben.csv", german())
    cem = put(tmp_path, "cem.csv", own(np.round(READINGS * MMOL), name="glucose_mg_dL"))
    done("convert", ada, ben, cem, "--columns", FLAG, "--glucose-unit", "ada.csv=mmol/L", "--out", tmp_path / "c")
    cohort = read_cohort(tmp_path / "c")
    assert cohort.names == ("ada", "ben", "cem")
    for name in ("ada", "ben"):
        check(cohort[name])
    assert cohort["cem"].glucose_mg_dL.tolist() == np.round(READINGS * MMOL).tolist()
    for by in (str(ben), "ben.csv", "ben"):
        said = call("inspect", ada, ben, "--columns", f"{by}={FLAG}", "--glucose-unit", "mmol/L", "--json")
        assert said.code == 0, said.out
        assert [x["glucose_unit"] for x in json.loads(said.out)] == ["mmol/L"] * 2
    subjects = ("--subject", "ada=A", "--subject", "ben=B", "--hours", "ben=2", "--dates", "ben=day-first")
    out = json.loads(call("inspect", ada, ben, "--columns", FLAG, "--glucose-unit", "mmol/L", *subjects, "--json").out)
    assert [(x["subject"], x["span_h"]) for x in out] == [("A", 5 * (N - 1) / 60), ("B", 2.0)]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--glucose-unit", "adda.csv=mmol/L"),
         "adda.csv=mmol/L: there is no file adda.csv (did you mean ada.csv?); there are ada.csv, ben.csv"),
        (("--glucose-unit", "mmol"), "--glucose-unit mmol: give mg/dL, mmol/L, or FILE=mg/dL for one file"),
        (("--glucose-unit", "ada=mmol"), "--glucose-unit ada=mmol: give mg/dL, mmol/L"),
        (("--glucose-unit", "mmol/L", "--glucose-unit", "mg/dL"), "for which file, as in --glucose-unit FILE=mg/dL"),
        (("--basal-unit", "ada=U/h", "--basal-unit", "ada=U/min"), "ada has another value already"),
        (("--columns", "dee.csv=time=Zeit"), "--columns dee.csv=time=Zeit: there is no file dee.csv"),
        (("--columns", "tme=Zeit"), "--columns tme=Zeit: 'tme' is none of t1djax's names (did you mean time?)"),
        (("--columns", "ben.csv=tme=Zeit,glucose=BG"), "'tme' is none of t1djax's names (did you mean time?)"),
        (("--hours", "two"), "--hours two: give a length in h"),
        (("--dates", "first"), "--dates first: give day-first, month-first"),
        (("--dates", "day-first", "--month-first"), "contradict each other"),
        (("--format", "excel"), "--format excel: give table, nightscout"),
    ],
)  # fmt: skip
def test_wrong_settings(tmp_path: Path, flags: tuple[str, ...], says: str) -> None:
    files = put(tmp_path, "ada.csv", own()), put(tmp_path, "ben.csv", own())
    said = call("inspect", *files, *flags)
    assert said.code == 2
    assert says in said.err


def test_files_called_alike_are_told_by_their_paths(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    files = put(tmp_path / "one", "x.csv", own()), put(tmp_path / "two", "x.csv", own(name="glucose_mg_dL"))
    said = call("inspect", *files, "--glucose-unit", "x.csv=mmol/L")
    assert said.code == 2
    assert f"several files are called x.csv; write {files[0]} or {files[1]}" in said.err
    assert call("inspect", *files, "--glucose-unit", f"{files[1]}=mmol/L").code == 0


# Configurations


def test_a_configuration_holds_the_same(tmp_path: Path) -> None:
    file = put(tmp_path, "ada.csv", german(start=START.replace(day=5)))
    config = put(tmp_path, "run.yaml", "layout: auto\nreading:\n  day_first: true\n  glucose_unit: mmol/L\n"
                 "  columns: {time: Zeit, glucose: Glukose, basal_U_h: Basal, bolus: Insulin}\n")  # fmt: skip
    experiment = load_experiment(config, {"data": str(file), "reading": {"columns": {"carbs_g": "KH"}}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        (patient,) = load_cohort(experiment)
    assert patient.start == START.replace(day=5)
    assert patient.doses.carbs_g.tolist() == [40.0]
    assert patient.glucose_mg_dL == pytest.approx(READINGS * MMOL)
    for wrong, says in (
        ({"reading": {"columns": {"tme": "Zeit"}}}, r"reading.columns: 'tme' is none of .* \(did you mean time\?\)"),
        ({"layout": "table"}, "glucose_unit, day_first, columns: for a file of another make; add layout=.auto."),
        ({"strict": True}, "strict goes with t1djax's own tables"),
    ):
        with pytest.raises(ConfigError, match=says):
            load_experiment(config, {"data": str(file), **wrong})
    plain = load_experiment(None, {"data": str(file)})
    with pytest.raises(DataError, match="it is read as t1djax's own table"):
        load_cohort(plain)


def test_no_accident_ends_in_anything_but_problems(tmp_path: Path) -> None:
    """`inspect_file` never raises, with columns or without: what is wrong is said, and the rest is read."""
    rng = np.random.default_rng(5)
    words = ["", ";", "\n", '"', "-1", "1e999", "nan", "31.02.2025", "0", "9" * 13, "\u00b5", "Zeit", "HI", ","]
    texts, outcomes = (german(), own(written="%d/%m/%Y %H:%M")), set()
    for i in range(60):
        text = texts[i % 2]
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(text)))
            text = text[:at] + words[rng.integers(len(words))] + text[at + int(rng.integers(3)) :]
        file = put(tmp_path, "ada.csv", text)
        for columns in (None, GERMAN if i % 2 == 0 else {"glucose": "glucose_mmol_L"}):
            outcomes.add(bool(inspect_file(file, columns=columns).problems))
    assert outcomes == {True, False}
