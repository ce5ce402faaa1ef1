"""Reports of the shared files against what their folder says of them, and the commands that print them."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import t1djax
from t1djax import DataError, DataWarning, inspect_file, read_recording
from t1djax.cli import app
from t1djax.cli._data import read_people
from t1djax.experiment import load_cohort
from t1djax.io import ReadReport

from .command import call


@pytest.fixture
def data(shared: Path) -> Path:
    folder = shared / "data"
    if not folder.is_dir():
        pytest.skip("no data in the shared folder")
    return folder


# What the shared folder says of its files. Doses of the HUPA-UCM people are sums of the file's columns over its days.
PEOPLE = {
    "HUPA0002P": (25.448, 21.068, 57.58, 1055),
    "HUPA0004P": (21.060, 42.974, 182.71, 914),
    "HUPA0022P": (38.941, 27.998, 281.27, 1304),
}


@pytest.mark.parametrize("person", PEOPLE)
def test_people_of_hupa(data: Path, person: str) -> None:
    file = data / "hupa_ucm" / f"{person}.csv"
    unsaid = inspect_file(file)
    assert len(unsaid.problems) == 1
    assert "column carbs: the unit is not stated" in unsaid.problems[0]
    assert "g by its size; pass carbs_unit=" in unsaid.problems[0]
    assert unsaid.carbs_g_day is None
    report = inspect_file(file, carbs_unit="g")
    basal, bolus, carbs, readings = PEOPLE[person]
    assert report.problems == ()
    assert (report.format, report.readings, report.interval_min) == ("hupa", readings, 15.0)
    # Per day of the record's span rather than of its rows: a row of some thousands less.
    assert report.basal_U_day == pytest.approx(basal, rel=1e-3)
    assert report.bolus_U_day == pytest.approx(bolus, rel=1e-3)
    assert report.carbs_g_day == pytest.approx(carbs, rel=1e-3)
    assert report.interpolation == "straight lines between readings 15 min apart"
    assert 0.66 < (report.interpolated_share or 0) < 0.72
    assert report.glucose_min_mg_dL == 40
    assert report.time_zone == "local, not stated"
    with pytest.raises(DataError, match="which are not exchanges"):
        read_recording(file, carbs_unit="exchange")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        mine = read_recording(file, carbs_unit="g").patient
        theirs = t1djax.io.read_hupa(file, carbs_unit="g")
    assert np.array_equal(mine.time_min[mine.valid], theirs.time_min[theirs.valid])
    assert np.array_equal(mine.glucose_mg_dL[mine.valid], theirs.glucose_mg_dL[theirs.valid])
    for name in vars(theirs.doses):
        assert np.array_equal(getattr(mine.doses, name), getattr(theirs.doses, name)), name


def test_the_best_file_of_hupa(data: Path) -> None:
    report = inspect_file(data / "hupa_ucm" / "HUPA0022P.csv", carbs_unit="g")
    assert round(report.basal_U_day or 0, 1) == 38.9
    assert round(report.bolus_U_day or 0, 1) == 28.0
    assert round(report.carbs_g_day or 0) == 281
    assert round(report.g_per_U or 0, 1) == 12.7
    assert any("meals are of exactly 1 g: marks rather than meals" in text for text in report.warnings)
    seen = inspect_file(data / "hupa_ucm" / "HUPA0022P.csv", carbs_unit="g", basal_unit="U/h")
    assert any("basal sums to 3.25 U/day as U/h" in text for text in seen.warnings)


def test_carelink(data: Path) -> None:
    report = inspect_file(data / "carelink" / "carelink_veo754_12d.csv")
    assert report.problems == ()
    assert (report.format, report.readings, report.interval_min) == ("carelink", 3210, 5.0)
    assert (report.gaps, report.longest_gap_min) == (6, 885.0)
    assert (report.glucose_unit, report.carbs_unit) == ("mg/dL", "exchange")
    assert 11.9 < (report.span_h or 0) / 24 < 12
    with pytest.raises(DataError, match="this format has carbohydrate in exchange, 125"):
        read_recording(data / "carelink" / "carelink_veo754_12d.csv", carbs_unit="g")


def test_nightscout_against_the_expected_table(data: Path) -> None:
    folder = data / "vendor_formats"
    files = [folder / f"nightscout_{kind}.json" for kind in ("entries", "treatments", "profiles")]
    recording = read_recording(files)
    expected = read_recording(folder / "nightscout_expected_output.csv").patient
    patient, report = recording.patient, recording.report
    assert report.problems == ()
    assert report.time_zone == "Europe/Helsinki"
    assert report.clock_changes == ("2024-10-27T03:00:00+02:00",)
    assert patient.start is not None
    assert expected.start is not None
    assert patient.start == expected.start
    assert np.array_equal(patient.time_min, expected.time_min)
    assert np.array_equal(patient.glucose_mg_dL, expected.glucose_mg_dL)
    for name in ("bolus_time_min", "bolus_U", "meal_time_min", "carbs_g"):
        assert np.array_equal(getattr(patient.doses, name), getattr(expected.doses, name)), name
    assert read_recording(folder).report.readings == report.readings
    with pytest.raises(DataError, match="no glucose reading at all"):
        read_recording(files[2])
    with pytest.raises(DataError, match="no profile, so the scheduled basal is unknown"):
        read_recording(files[:2])


def test_clarity_and_libreview(data: Path) -> None:
    clarity = inspect_file(data / "vendor_formats" / "dexcom_clarity_400rows.csv")
    libre = inspect_file(data / "vendor_formats" / "libreview_400rows.csv")
    for report, name in ((clarity, "dexcom_clarity"), (libre, "libreview")):
        assert report.problems == ()
        assert (report.format, report.glucose_unit, report.interval_min) == (name, "mg/dL", 5.0)
        assert any("when there were no such sensors" in text for text in report.warnings)
    assert (clarity.censored_share or 0) > 0.05  # Low and High
    assert any("no insulin is on record in" in text for text in libre.warnings)


def test_frame_of_glupredkit(data: Path) -> None:
    report = inspect_file(data / "vendor_formats" / "glupredkit_synthetic_2000rows.csv")
    assert report.problems == ()
    assert (report.readings, report.basal_unit) == (1999, "U/5min")
    said = "\n".join(report.warnings)
    assert "basal sums to 146 U/day as U per 5 min; as U/h it is 12.1: check the unit" in said
    assert "steps change faster than 10 mg/dL/min" in said
    assert "below 39 mg/dL" in said


@pytest.mark.parametrize("day", [1, 2])
def test_replaybg(data: Path, day: int) -> None:
    file = data / "replaybg" / f"data_day_{day}.csv"
    report = inspect_file(file)
    assert report.problems == ()
    cells = [line.split(",") for line in file.read_text().splitlines()[1:]]
    assert report.readings == sum(cell[1] not in ("", "nan", "NaN") for cell in cells)
    # 100 kg: 32 to 36 U/day of basal, g/min over rows of 5 min.
    assert 30 < (report.basal_U_day or 0) < 40
    assert 5 < (report.g_per_U or 0) < 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        doses = read_recording(file).patient.doses
    eaten = sum(5 * float(cell[2]) for cell in cells)
    assert doses.carbs_g.sum() == pytest.approx(eaten)
    assert doses.bolus_U.sum() == pytest.approx(sum(5 * float(cell[3]) for cell in cells))


@pytest.mark.parametrize("adult", [1, 2, 3])
def test_simglucose(data: Path, adult: int) -> None:
    file = data / "simglucose" / f"adult_{adult:03d}_GuardianRT5min_72h.csv"
    report = inspect_file(file)
    assert report.problems == ()
    assert (report.readings, report.gaps, report.span_h) == (865, 0, 72.0)
    assert report.meals_day == pytest.approx(3)
    assert report.basal_U_day is None
    cells = [line.split(",") for line in file.read_text().splitlines()[1:-1]]
    assert report.insulin_U_day == pytest.approx(sum(5 * float(cell[4]) for cell in cells) / 3)
    assert report.carbs_g_day == pytest.approx(sum(5 * float(cell[3]) for cell in cells) / 3)
    states = inspect_file(data / "simglucose" / f"adult_{adult:03d}_states_1min_24h.csv")
    assert (states.problems, states.readings, states.interval_min) == ((), 1440, 1.0)
    assert states.first == "minute 0"


@pytest.mark.slow
def test_every_recording_is_read_and_every_other_file_says_why(data: Path) -> None:
    for file in sorted(data.rglob("*.csv")):
        report = inspect_file(file, carbs_unit="g" if file.name.startswith("HUPA") else None)
        if "info" in file.name:
            assert any("a table about people" in text for text in report.problems), file
        elif file.parent.name == "azt1d" and file.stem in ("Subject 1", "Subject 10", "Subject 11"):
            # Published with boluses or basal rates that lack their decimal point.
            assert any("column b" in text for text in report.problems), file
        else:
            assert report.problems == (), file
            assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["readings"] == report.readings


# The commands


def small(folder: Path, name: str = "adult.csv", factor: float = 1.0) -> Path:
    file = folder / name
    glucose = 140 + 40 * np.sin(np.arange(288) / 30)
    rows = [f"2024-05-01 {i // 12:02d}:{i % 12 * 5:02d}:00,{v * factor:.1f},{9 if i == 90 else 0},0.02"
            for i, v in enumerate(glucose)]  # fmt: skip
    file.write_text("\n".join(["Time,CGM,CHO,insulin", *rows]) + "\n")
    return file


def test_inspect_prints_and_gives_json(tmp_path: Path) -> None:
    file = small(tmp_path)
    said = call("inspect", file)
    assert said.code == 0
    expected = (
        "simglucose, results of a simulation",
        "2024-05-01T00:00:00 to 2024-05-01T23:55:00",
        "288, each 5 min",
        "28.8 U/day, basal and bolus not told apart",
        "45 g/day in 1.0 meals/day",
        "gaps          none",
        "mmol/L)",
    )
    for text in expected:
        assert text in said.out
    one = json.loads(call("inspect", file, "--json").out)
    assert one == json.loads(json.dumps(inspect_file(file).as_dict()))
    both = call("inspect", file, tmp_path / "nowhere.csv", "--json")
    assert both.code == 3
    assert [bool(x["problems"]) for x in json.loads(both.out)] == [False, True]
    wrong = call("inspect", small(tmp_path, "mmol.csv", 1 / 18.016))
    assert wrong.code == 3
    assert "problem: " in wrong.out
    assert "looks like mmol/L; pass --glucose-unit mmol/L" in wrong.out
    assert call("inspect", file, "--glucose-unit", "g").code == 2


def test_convert_makes_a_cohort(tmp_path: Path) -> None:
    files = [small(tmp_path, "ada.csv", 1 / 18.016), small(tmp_path, "ben.csv", 1 / 18.016)]
    refused = call("convert", *files, "--out", tmp_path / "cohort")
    assert refused.code == 3
    assert not (tmp_path / "cohort").exists()
    said = call("convert", *files, "--glucose-unit", "mmol/L", "--out", tmp_path / "cohort")
    assert said.code == 0, said.err
    cohort = t1djax.read_cohort(tmp_path / "cohort")
    assert cohort.names == ("ada", "ben")
    truth = 140 + 40 * np.sin(np.arange(288) / 30)
    assert cohort["ada"].glucose_mg_dL == pytest.approx(truth, abs=0.05 * 18.016)
    assert cohort["ada"].doses.carbs_g.tolist() == [45.0]
    reports = json.loads((tmp_path / "cohort" / "reading.json").read_text())["reports"]
    assert [x["glucose_unit"] for x in reports] == ["mmol/L", "mmol/L"]
    assert call("convert", *files, "--glucose-unit", "mmol/L", "--out", tmp_path / "cohort").code == 2
    frame = tmp_path / "two.csv"
    rows = [f"2024-05-01 {h:02d}:{m:02d}:00,{who},{120 + h + m % 7 * 3}.5,0.08,0"
            for who in ("Ada", "Ben") for h in range(4) for m in range(0, 60, 5)]  # fmt: skip
    frame.write_text("\n".join(["date,id,CGM,insulin,carbs", *rows]) + "\n")
    both = call("convert", frame, "--out", tmp_path / "two", "--json")
    assert json.loads(both.out)["patients"] == ["Ada", "Ben"]


def test_an_experiment_reads_any_format(tmp_path: Path) -> None:
    config = t1djax.Experiment(data=str(small(tmp_path)), layout="auto", reading=t1djax.io.ReadOptions(hours=6))
    (patient,) = load_cohort(config)
    assert (patient.name, len(patient.time_min)) == ("adult", 73)
    with pytest.raises(ValueError, match="info goes with layout hupa"):
        t1djax.Experiment(data="a.csv", layout="auto", info="b.csv")


def test_report_is_flat_and_complete(tmp_path: Path) -> None:
    report = inspect_file(small(tmp_path))
    assert isinstance(report, ReadReport)
    assert report.coverage == 1.0
    assert report.censored_share == 0.0
    assert report.as_dict().keys() == set(ReadReport.__dataclass_fields__)


def test_what_a_record_lacks_is_remarked_on(tmp_path: Path) -> None:
    def table(name: str, basal: float, bolus: float, carbs: float) -> Path:
        rows = [f"{5 * i},{130 + i % 7 * 4},{basal:g},{bolus if i == 40 else ''},{carbs if i == 40 else ''}"
                for i in range(300)]  # fmt: skip
        file = tmp_path / "cohort" / f"{name}.csv"
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(["time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g", *rows]) + "\n")
        return file

    lacks = {
        "Ada": ((0, 0, 40), "no insulin is on record in 24.9 h"),
        "Ben": ((0, 4, 40), "basal is zero in 24.9 h"),
        "Cem": ((0.9, 4, 0), "no meal is on record in 24.9 h"),
        "Dee": ((0.9, 4, 40), None),
    }
    for name, (amounts, words) in lacks.items():
        said = call("inspect", table(name, *amounts))
        assert said.code == 0
        assert [
            line
            for line in said.out.splitlines()
            if line.startswith("warning") and ("on record" in line or "is zero" in line)
        ] == ([] if words is None else [line for line in said.out.splitlines() if line.startswith(f"warning: {words}")])
        assert words is None or words in said.out
    # A folder of the library's own tables is warned of when a command reads it.
    with pytest.warns(DataWarning) as seen:
        read_people([str(tmp_path / "cohort")])
    assert [str(w.message).split(" in 24.9 h")[0] for w in seen] == [
        "Ada: no insulin is on record", "Ben: basal is zero", "Cem: no meal is on record",
    ]  # fmt: skip


def test_files_called_alike_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    files = []
    for folder in ("ada", "ben"):
        (tmp_path / folder).mkdir()
        files.append(small(tmp_path / folder, "person.csv"))
    said = call("convert", *files, "--out", tmp_path / "cohort")
    assert said.code == 0, said.err
    assert f"{files[0]}: another file is called person as well: this patient is named ada_person" in said.err
    assert t1djax.read_cohort(tmp_path / "cohort").names == ("ada_person", "ben_person")
    reports = json.loads((tmp_path / "cohort" / "reading.json").read_text())["reports"]
    assert [x["subject"] for x in reports] == ["ada_person", "ben_person"]
    assert any("named ben_person, after the folder" in text for text in reports[1]["warnings"])
    with pytest.warns(DataWarning):  # as identify, forecast and report read them
        assert read_people(list(map(str, files))).cohort.names == ("ada_person", "ben_person")
    for again, words in (((files[0], files[0]), "person"), ((*files, "--subject", "Ada"), "Ada")):
        refused = call("convert", *again, "--out", tmp_path / "other")
        assert refused.code == 2
        assert f"{again[0]} and {again[1]} both give a patient called {words}" in refused.err
        assert "rename the files or put each into a folder of its own" in refused.err
    assert not (tmp_path / "other").exists()


def test_a_folder_that_convert_made_is_inspected(tmp_path: Path) -> None:
    assert call("convert", small(tmp_path, "ada.csv"), small(tmp_path, "ben.csv"), "--out",
               tmp_path / "cohort").code == 0  # fmt: skip
    said = call("inspect", tmp_path / "cohort", "--json")
    assert said.code == 0, said.out
    assert [(x["subject"], x["format"], x["readings"]) for x in json.loads(said.out)] == [
        ("ada", "table", 288), ("ben", "table", 288),
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    for folder, words in (
        (tmp_path / "empty", "the folder is empty; a folder is for the files of one person, or for t1djax's own"),
        (tmp_path, "ada.csv is in more than one folder"),
    ):
        refused = call("inspect", folder)
        assert refused.code == 3
        assert words in refused.out
        assert "read_cohort" not in refused.out


def test_a_table_of_glucose_alone_is_told_the_columns_it_lacks(tmp_path: Path) -> None:
    file = tmp_path / "ada.csv"
    file.write_text("time,glucose\n2024-05-01 00:00:00,120\n2024-05-01 00:05:00,121\n")
    said = call("inspect", file)
    assert said.code == 3
    assert "its columns are time, glucose; read it with --columns time=time,glucose=glucose" in said.out
    repaired = call("inspect", file, "--columns", "time=time,glucose=glucose")  # as the message says
    assert repaired.code == 0, repaired.out
    assert "warning: no insulin is on record" in repaired.out
    assert "there is no basal rate in the file; it is taken as zero" in repaired.out


HUPA = "time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input"


def of_hupa(folder: Path, name: str, meal: float) -> Path:
    rows = [f"2020-01-17T{i // 12:02d}:{i % 12 * 5:02d}:00;{130 + i % 7 * 5};8;70;0;0.07;{4 if i % 60 == 9 else 0};"
            f"{meal if i % 60 == 9 else 0}" for i in range(280)]  # fmt: skip
    file = folder / f"{name}.csv"
    file.write_text("\n".join([HUPA, *rows]) + "\n")
    return file


def test_units_of_carbohydrate_by_file(tmp_path: Path) -> None:
    grams, exchanges, stated = of_hupa(tmp_path, "ada", 40.0), of_hupa(tmp_path, "ben", 4.0), small(tmp_path, "cem.csv")

    def carbs(*args: object) -> list[tuple[str, str, float]]:
        out = json.loads(call("inspect", *args, "--json").out)
        return [(x["carbs_unit"], x["carbs_unit_by"], round(x["carbs_g_day"])) for x in out]

    # Of several formats, a bare unit is for the file that leaves it open.
    assert carbs(grams, stated, "--carbs-unit", "g") == [("g", "asked for", 206), ("g/min", "stated or documented", 45)]
    by_file = (grams, exchanges, "--carbs-unit", "g", "--carbs-unit", "ben=exchange")
    assert carbs(*by_file) == [("g", "asked for", 206), ("exchange", "asked for", 206)]
    said = call("convert", *by_file, "--out", tmp_path / "cohort")
    assert said.code == 0, said.err
    assert t1djax.read_cohort(tmp_path / "cohort")["ben"].doses.carbs_g.tolist() == [40.0] * 5
    for units, words in (
        (("pounds",), "--carbs-unit pounds: give g, exchange, "),
        (("dee=g",), "--carbs-unit dee=g: there is no file dee; there are ada.csv, ben.csv"),
        (("g", "exchange"), "say for which file, as in --carbs-unit FILE=exchange"),
    ):
        options = [part for unit in units for part in ("--carbs-unit", unit)]
        refused = call("inspect", grams, exchanges, *options)
        assert refused.code == 2
        assert words in refused.err


def test_readings_beyond_the_sensor_are_told_with_what_stands_for_them(tmp_path: Path) -> None:
    said = {3: "LOW", 4: "LOW", 9: "High", 20: "405", 30: "40"}
    walk = np.random.default_rng(3).integers(-9, 10, 60).cumsum() + 150
    rows = [f"2025-03-01 {i // 12:02d}:{5 * (i % 12):02d},{said.get(i, walk[i])}" for i in range(60)]
    file = tmp_path / "own.csv"
    file.write_text("\n".join(["when,sugar", *rows]) + "\n", encoding="utf-8")
    named = {"time": "when", "glucose": "sugar"}
    told = "2 LOW taken as 40 mg/dL, 1 HIGH taken as 405 mg/dL"
    with pytest.warns(DataWarning) as warned:
        recording = read_recording(file, columns=named)
    assert sum(told in str(w.message) for w in warned) == 1
    assert recording.patient.glucose_mg_dL[[3, 4, 9]].tolist() == [40.0, 40.0, 405.0]
    report = inspect_file(file, columns=named)
    assert (report.censored_low, report.censored_high, report.censored_high_mg_dL) == (2, 1, 405.0)
    assert report.censored_share == pytest.approx(5 / 60)  # numbers at the limits are among them
    assert any(told in text for text in report.warnings)
    shown = CliRunner().invoke(app, ["inspect", str(file), "--columns", "time=when,glucose=sugar"])
    assert f"5 (8.3 %): {told}" in shown.stdout
    made = CliRunner().invoke(
        app, ["convert", str(file), "--columns", "time=when,glucose=sugar", "--out", str(tmp_path / "c")]
    )
    assert f"5 (8.3 %) at a limit of the sensor: {told};" in " ".join(made.stderr.split())
    # Of the part without them nothing is said.
    with pytest.warns(DataWarning) as warned:
        later = read_recording(file, columns=named, start="2025-03-01T02:00").report
    assert (later.censored_low, later.censored_low_mg_dL, later.censored_high) == (0, None, 0)
    assert not any("LOW" in str(w.message) for w in warned)
