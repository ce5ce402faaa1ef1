"""Files that people have: formats, clocks, units and everything that may have happened to a file."""

import datetime as dt
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t1djax import DataError, DataWarning, inspect_file, read_recording, write_cohort
from t1djax.data import Cohort
from t1djax.io import finished, read_hupa, read_patient
from t1djax.io._schedule import changes, mean_rate
from t1djax.io.formats import FORMATS, recognised

from .files import START, every, frame, quietly, walk

MMOL = 18.016
OHIO = """<?xml version="1.0" encoding="UTF-8"?>
<patient id="559" weight="99" insulin_type="Novalog">
<glucose_level>
{glucose}
</glucose_level>
<finger_stick><event ts="01-05-2024 00:03:00" value="111"/></finger_stick>
<basal>
<event ts="30-04-2024 22:00:00" value="0.8"/>
<event ts="01-05-2024 01:00:00" value="1.2"/>
</basal>
<temp_basal><event ts_begin="01-05-2024 00:30:00" ts_end="01-05-2024 01:30:00" value="0.0"/></temp_basal>
<bolus>
<event ts_begin="01-05-2024 00:10:00" ts_end="01-05-2024 00:10:00" type="normal" dose="4.5" bwz_carb_input="45"/>
<event ts_begin="01-05-2024 00:10:00" ts_end="01-05-2024 01:10:00" type="square dual" dose="2.0" bwz_carb_input="0"/>
</bolus>
<meal><event ts="01-05-2024 00:12:00" type="Breakfast" carbs="45"/></meal>
<sleep><event ts_begin="01-05-2024 00:00:00" ts_end="01-05-2024 00:01:00" quality="3"/></sleep>
</patient>
"""


# Formats


def ohio(n: int = 24) -> str:
    glucose = walk(n)
    rows = [f'<event ts="{t:%d-%m-%Y %H:%M:%S}" value="{v:g}"/>' for t, v in zip(every(5, n), glucose, strict=True)]
    return OHIO.format(glucose="\n".join(rows))


def test_ohio(put: Callable[..., Path]) -> None:
    recording = read_recording(put(ohio(), "xml"))
    patient, report = recording.patient, recording.report
    assert (report.format, patient.name, patient.start) == ("ohio", "559", START)
    assert np.array_equal(patient.glucose_mg_dL, walk(24))
    assert patient.doses.basal_time_min.tolist() == [-120, 30, 90]
    assert patient.doses.basal_U_h.tolist() == [0.8, 0.0, 1.2]
    assert patient.doses.bolus_U.tolist() == [4.5, 2.0]
    assert patient.doses.bolus_duration_min.tolist() == [1.0, 60.0]
    # A second apart: a row of a table holds one duration.
    assert np.diff(patient.doses.bolus_time_min).tolist() == pytest.approx([1 / 60])
    assert (patient.doses.meal_time_min.tolist(), patient.doses.carbs_g.tolist()) == ([12.0], [45.0])
    assert patient.known == {}
    assert "readings beside the sensor's series are not used: 1 of kind fingerstick" in report.notes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</patient>", "", "it is not whole XML (no element found); is it cut off?"),
        ("<glucose_level>", "<glucose>", "it is not whole XML (mismatched tag)"),
        ("01-05-2024 00:12:00", "05-13-2024 00:12:00", "column meal/ts: '05-13-2024 00:12:00' is no time"),
        ('value="1.2"', 'value="1,2"', "column basal/value: '1,2' is no amount"),
        ('dose="4.5"', 'dose="-4.5"', "column bolus/dose: '-4.5' is no amount"),
        ("00:10:00\" ts_end=\"01-05-2024 01:10:00", "00:10:00\" ts_end=\"01-05-2024 00:00:00", "ends before it begins"),
        ("<patient", '<!DOCTYPE p [<!ENTITY a "b">]>\n<patient', "it declares a document type or entities"),
        ("<basal>", "<!-- <!ENTITY --><basal>", "it declares a document type or entities"),
    ],
)  # fmt: skip
def test_ohio_accidents(put: Callable[..., Path], old: str, new: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_recording(put(ohio().replace(old, new, 1), "xml"))
    assert message in str(caught.value)


def test_merged_insulin_is_delivered_as_stated(put: Callable[..., Path]) -> None:
    n = 60
    text = frame(every(5, n), walk(n), basal=0.08, boluses={12: 6.0, 13: 0.5}, merged=True)
    recording = read_recording(put(text))
    assert recording.report.basal_U_day is recording.report.bolus_U_day is None
    assert recording.report.insulin_U_day == pytest.approx((0.08 * (n - 1) + 6.5) / (5 * (n - 1) / 1440))
    assert "basal and bolus are taken as one delivered rate" in recording.report.notes
    doses = recording.patient.doses
    inputs = doses.inputs(0.0, 5.0 * n)
    edges = np.append(np.asarray(inputs.break_min, dtype=np.float64), 5.0 * n)
    delivered = np.concatenate([[0], np.cumsum(np.diff(edges) * np.asarray(inputs.insulin_U_min))])
    per_row = np.diff(np.interp(5.0 * np.arange(n + 1), edges, delivered))
    stated = np.full(n, 0.08)
    stated[12] += 6.0
    stated[13] += 0.5
    assert per_row == pytest.approx(stated, abs=1e-5)
    assert doses.basal_U_h.max() <= 15


@pytest.mark.parametrize("unit", ["U/5min", "U/h"])
def test_the_basal_unit_of_a_frame_follows_from_its_sum(put: Callable[..., Path], unit: str) -> None:
    text = frame(every(5, 60), walk(60), basal=0.08, boluses={12: 6.0})
    if unit == "U/h":
        rows = [line.rsplit(",", 2) for line in text.splitlines()]
        text = "\n".join([",".join(rows[0]), *(f"{row[0]},0.96,{row[2]}" for row in rows[1:])]) + "\n"
    recording = read_recording(put(text))
    assert recording.report.basal_unit == unit
    assert recording.patient.doses.basal_U_h.tolist() == [0.96]


def test_a_frame_whose_sum_is_wrong_is_refused(put: Callable[..., Path]) -> None:
    text = frame(every(5, 60), walk(60), basal=0.08).replace(",0.08,0,0.08", ",0.5,0,0.08")
    with pytest.raises(DataError, match="not the sum of basal and bolus, per 5 min or per hour"):
        read_recording(put(text))


def test_people_in_one_frame(put: Callable[..., Path]) -> None:
    text = frame(every(5, 30), walk(30))
    file = put(text + frame(every(5, 30), walk(30, 1)).split("\n", 1)[1].replace(",1,", ",2,", 30))
    with pytest.raises(DataError, match='2 people are in it; choose with subject="NAME", one of 1, 2'):
        read_recording(file)
    assert np.array_equal(read_recording(file, subject="2").patient.glucose_mg_dL, walk(30, 1))
    with pytest.raises(DataError, match="'3' is not in it"):
        read_recording(file, subject="3")


def test_replaybg_and_simglucose_rates(put: Callable[..., Path]) -> None:
    rows = ["t,glucose,cho,bolus,basal,bolus_label,cho_label"]
    for i, (t, value) in enumerate(zip(every(5, 40), walk(40), strict=True)):
        glucose = "nan" if i < 3 else f"{value:g}"
        rows.append(f"{t:%d}-May-2024 {t:%H:%M:%S},{glucose},{12 if i == 4 else 0},{1.4 if i == 4 else 0},0.02,,")
    patient = read_recording(put("\n".join(rows) + "\n")).patient
    assert patient.start == START + dt.timedelta(minutes=15)
    assert (patient.doses.carbs_g.tolist(), patient.doses.bolus_U.tolist()) == ([60.0], [7.0])
    assert patient.doses.meal_duration_min.tolist() == patient.doses.bolus_duration_min.tolist() == [5.0]
    assert patient.doses.basal_U_h.tolist() == [1.2]
    assert read_recording(put("\n".join(rows).replace("May", "Mai") + "\n")).patient.start == patient.start


def test_own_tables_read_the_same(put: Callable[..., Path], tmp_path: Path) -> None:
    text = "time,glucose_mg_dL,basal_U_h,bolus_U,carbs_g,bolus_duration_min\n"
    rows = [(t, f"{v:g}") for t, v in zip(every(5, 40), walk(40), strict=True)]
    dosed = {0: "0.9,,,", 3: ",4.5,40,", 9: ",2,,120"}
    text += "".join(f"{t.isoformat()}+02:00,{v},{dosed.get(i, ',,,')}\n" for i, (t, v) in enumerate(rows))
    file = put(text)
    (tmp_path / "patients.csv").write_text(f"patient,M_kg\n{file.stem},62\n")
    mine, theirs = read_recording(file).patient, read_patient(file, known={"M": 62.0})
    assert mine.known == theirs.known
    assert mine.start == theirs.start
    for name in ("time_min", "glucose_mg_dL"):
        assert np.array_equal(getattr(mine, name), getattr(theirs, name))
    for name in vars(theirs.doses):
        assert np.array_equal(getattr(mine.doses, name), getattr(theirs.doses, name))
    minutes = read_recording(put("time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g\n0,120,0.9,,\n5,118,,,\n"))
    assert minutes.patient.start is None
    assert minutes.report.first == "minute 0"


def test_content_tells_the_format_and_nothing_else(put: Callable[..., Path]) -> None:
    assert [f.name for f in recognised(ohio())] == ["ohio"]
    assert recognised("a,b,c\n1,2,3\n") == ()
    with pytest.raises(
        DataError, match=r"its format is not recognised; its columns are a, b, c; .*an export of a known format"
    ):
        read_recording(put("a,b,c\n1,2,3\n"))
    with pytest.raises(DataError, match="a table about people, not a recording"):
        read_recording(put("person_id,weight\nA,70\n"))
    with pytest.raises(ValueError, match="format 'excel' is not known"):
        read_recording(put(""), format="excel")
    twice = [put(frame(every(5, 30), walk(30))), put(frame(every(5, 30), walk(30)))]
    assert (inspect_file(twice).readings, inspect_file(twice).duplicates) == (30, 30)
    with pytest.raises(DataError, match="these are 2 files of glupredkit, simglucose"):
        read_recording([twice[0], put("Time,CGM,CHO,insulin\n2024-05-01 00:00,120,0,0.02\n")])


# Glucose


def test_mmol_in_disguise_is_refused(put: Callable[..., Path]) -> None:
    file = put(frame(every(5, 60), (walk(60) / MMOL).round(1)))
    with pytest.raises(
        DataError, match=r"labelled mg/dL, but a median of \d+(\.\d+)? looks like mmol/L; pass glucose_unit="
    ):
        read_recording(file)
    right = read_recording(file, glucose_unit="mmol/L")
    assert right.patient.glucose_mg_dL == pytest.approx((walk(60) / MMOL).round(1) * MMOL)
    with pytest.raises(DataError, match=r"it is asked for mmol/L, but a median of .* looks like mg/dL"):
        read_recording(put(frame(every(5, 60), walk(60))), glucose_unit="mmol/L")


def test_mixed_and_doubled_units_are_refused(put: Callable[..., Path]) -> None:
    mixed = walk(60)
    mixed[40:] = (mixed[40:] / MMOL).round(1)
    with pytest.raises(DataError, match="20 readings are below 25 and 0 from 25 to 40, as if mmol/L were mixed in"):
        read_recording(put(frame(every(5, 60), mixed)))
    with pytest.raises(DataError, match="was it multiplied twice"):
        read_recording(put(frame(every(5, 60), walk(60) * MMOL)))


# Basal


def test_basal_in_another_unit_is_named(put: Callable[..., Path]) -> None:
    """A ReplayBG table, which is in U/min, filled in with 22 U/day in other units."""

    def filled(units_in_a_day: float) -> Path:
        rows = ["t,glucose,cho,bolus,basal"]
        rate = 22 / units_in_a_day
        rows += [f"{t.isoformat(' ')},{v:g},0,0,{rate!r}" for t, v in zip(every(5, 280), walk(280), strict=True)]
        return put("\n".join(rows) + "\n")

    assert read_recording(filled(1440)).report.basal_U_day == pytest.approx(22)
    with pytest.raises(DataError, match=r"sums to 1\.32e\+03 U/day as U/min; as U/h it is 22; pass basal_unit=\"U/h\""):
        read_recording(filled(24))
    with pytest.warns(
        DataWarning, match=r"this format has basal in U/min, 1\.32e\+03 U/day; as U/h, asked for, it is 22"
    ):
        assert read_recording(filled(24), basal_unit="U/h").report.basal_U_day == pytest.approx(22)
    with pytest.warns(DataWarning, match=r"sums to 110 U/day as U/min; as U per 5 min it is 22: check the unit"):
        read_recording(filled(288))


def test_doses_per_row_taken_for_rates_are_named(put: Callable[..., Path]) -> None:
    """The trap of 5-min tables: 1.3 U/day that are 15.6."""
    per_row = 15.6 / 288
    rows = ["t,glucose,cho,bolus,basal"]
    rows += [f"{t.isoformat(' ')},{v:g},0,0,{per_row!r}" for t, v in zip(every(5, 280), walk(280), strict=True)]
    file = put("\n".join(rows) + "\n")
    with pytest.warns(
        DataWarning, match=r"basal sums to 1\.3 U/day as U/h; as U/min it is 78; as U per 5 min it is 15\.6"
    ):
        insisted = read_recording(file, basal_unit="U/h")
    assert insisted.report.basal_U_day == pytest.approx(1.3)
    with pytest.warns(
        DataWarning, match=r"this format has basal in U/min, 78 U/day; as U per 5 min, asked for, it is 15"
    ):
        assert read_recording(file, basal_unit="U/5min").report.basal_U_day == pytest.approx(15.6)


def test_a_small_share_of_basal_is_named(put: Callable[..., Path]) -> None:
    """3.2 U/day beside 28 of boluses: per 5 min it is 38.9, as for a person of the HUPA-UCM set."""
    text = frame(every(5, 288), walk(288), basal=38.9 / 288 / 12, boluses=dict.fromkeys(range(0, 288, 72), 7.0))
    with pytest.raises(
        DataError, match=r"sums to 3\.24 U/day as U per 5 min; as U/min it is 16\.2.*boluses come to 28"
    ):
        read_recording(put(text))


def test_rates_change_where_they_change_and_the_last_of_one_time_counts() -> None:
    (time, rate), remarks = finished(changes(np.array([30.0, 0, 30, 60, 90]), np.array([2.0, 1, 3, 3, 0])))
    assert (time.tolist(), rate.tolist()) == ([0, 30, 90], [1, 3, 0])
    assert len(remarks.warnings) == 1
    assert mean_rate(np.array([0.0, 30.0]), np.array([1.0, 3.0]), (15.0, 45.0)) == 2.0


# Carbohydrate


def hupa(carbs: float, bolus: float, n: int = 300) -> str:
    rows = ["time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input"]
    for i, (t, v) in enumerate(zip(every(5, n), walk(n), strict=True)):
        given = i % 40 == 5
        rows.append(f"{t.isoformat()};{v:g};8;69;0;0.09;{bolus if given else 0};{carbs if given else 0}")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(("carbs", "bolus", "likely", "right", "factor"), [
    (60.0, 5.0, "g by its size", "g", 1), (4.0, 3.0, "exchange by its size", "exchange", 10),
    (1.0, 5.0, "flags [(]none[)] by its size", "none", 0),
])  # fmt: skip
def test_carbohydrate_of_hupa_needs_its_unit(
    put: Callable[..., Path], carbs: float, bolus: float, likely: str, right: Any, factor: float
) -> None:
    file = put(hupa(carbs, bolus))
    with pytest.raises(DataError, match=f"the unit is not stated; .*{likely}; pass carbs_unit="):
        read_recording(file)
    doses = read_recording(file, carbs_unit=right).patient.doses
    assert doses.carbs_g.tolist() == ([carbs * factor] * 8 if factor else [])
    for wrong in {"g", "exchange"} - {right}:
        with pytest.raises(DataError, match=r"which are not|a flag, not an amount"):
            read_recording(file, carbs_unit=wrong)  # pyright: ignore[reportArgumentType]


def test_the_pipeline_agrees_with_the_reader_of_hupa(put: Callable[..., Path]) -> None:
    file = put(hupa(60.0, 5.0))
    theirs, mine = read_hupa(file, carbs_unit="g"), read_recording(file, carbs_unit="g").patient
    assert np.array_equal(mine.glucose_mg_dL, theirs.glucose_mg_dL)
    for name in vars(theirs.doses):
        assert np.array_equal(getattr(mine.doses, name), getattr(theirs.doses, name)), name


# Duplicates, gaps, windows


def test_duplicates_and_gaps(put: Callable[..., Path]) -> None:
    lines = frame(every(5, 60), walk(60), boluses={20: 4.0}).splitlines()
    lines[40] = lines[40].replace(repr(walk(60)[39]), repr(walk(60)[39] + 30))
    del lines[25:31]
    again = [*lines, lines[10], lines[21]]
    contrary = lines[15].split(",")
    contrary[2] = "222.0"
    file = put("\n".join([*again, ",".join(contrary)]) + "\n")
    with pytest.warns(DataWarning) as caught:
        recording = read_recording(file)
    said = [str(w.message) for w in caught]
    assert any("contradict each other at 1 time; the first in the file is kept" in text for text in said)
    assert any("1 entries of bolus repeat another exactly and are left out" in text for text in said)
    report = recording.report
    assert (report.duplicates, report.conflicting_duplicates) == (2, 1)
    assert (report.gaps, report.longest_gap_min) == (1, 35.0)
    assert report.gap_list == (("2024-05-01T01:55:00", 35.0),)
    assert recording.patient.doses.bolus_U.tolist() == [4.0]
    assert report.readings == len(recording.patient.time_min) == 54  # the gap stays a gap
    assert recording.patient.glucose_mg_dL[14] == walk(60)[14]


def test_windows(put: Callable[..., Path]) -> None:
    file = put(frame(every(5, 300), walk(300), boluses={30: 4.0, 150: 2.0, 290: 1.0}))
    part = read_recording(file, start="2024-05-01T05:00", hours=10).patient
    assert part.start == START + dt.timedelta(hours=5)
    assert (part.time_min[0], part.time_min[-1]) == (0.0, 600.0)
    assert np.array_equal(part.glucose_mg_dL, walk(300)[60:181])
    assert part.doses.bolus_time_min.tolist() == [-150.0, 450.0]
    with pytest.raises(DataError, match="fewer than two readings in the window; the file runs from 2024-05-01"):
        read_recording(file, start="2025-01-01")
    with pytest.raises(DataError, match="start has an offset from UTC"):
        read_recording(file, start="2024-05-01T05:00+02:00")
    with pytest.raises(ValueError, match="hours: is 0"):
        read_recording(file, hours=0.0)
    with pytest.raises(ValueError, match="is not ISO 8601"):
        read_recording(file, start="soon")


def test_noise_and_two_devices_are_flagged(put: Callable[..., Path]) -> None:
    noise = np.random.default_rng(0).uniform(50, 390, 60).round()
    with pytest.warns(DataWarning, match="steps change faster than 10 mg/dL/min"):
        read_recording(put(frame(every(5, 60), noise)))
    two = sorted([*every(5, 60), *every(5, 60, START + dt.timedelta(seconds=60))])
    text = "Time,CGM,CHO,insulin\n" + "".join(f"{t.isoformat(' ')},150,0,0.02\n" for t in two)
    with pytest.raises(DataError, match=r"fewer than nine of ten rows are .* min apart"):
        read_recording(put(text))


# Accidents


def test_a_file_cut_anywhere_gives_no_silent_wrong_number(put: Callable[..., Path], tmp_path: Path) -> None:
    text = frame(every(5, 60), walk(60), boluses={20: 4.0}, carbs={20: 50})
    whole = read_recording(put(text)).patient
    seen = dict(zip(whole.time_min.tolist(), whole.glucose_mg_dL.tolist(), strict=True))
    file = tmp_path / "cut.csv"
    for end in range(len(text) // 2, len(text) - 1, 37):
        file.write_text(text[:end])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            try:
                part = read_recording(file).patient
            except DataError:
                continue
        rows = dict(zip(part.time_min.tolist(), part.glucose_mg_dL.tolist(), strict=True))
        assert rows.items() <= seen.items() or any("the last line has no end" in str(w.message) for w in caught)
        assert text[end - 1] == "\n" or caught


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:400] + b"\x81" + raw[400:], "is not UTF-8"),
        (lambda raw: raw[:400] + b"\xe9" + raw[400:], "is not a number"),
        (lambda raw: b"PK\x03\x04" + raw, "it is a spreadsheet or an archive"),
        (lambda raw: raw.replace(b"CGM", b"XGM"), "its format is not recognised"),
        (lambda raw: raw.replace(b",1,", b",1,-", 1), "is negative"),
        (lambda raw: b"", "it is empty"),
    ],
)
def test_damaged_files(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    file = tmp_path / "person.csv"
    file.write_bytes(damage(frame(every(5, 60), walk(60)).encode()))
    with pytest.raises(DataError) as caught:
        read_recording(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_report_comes_of_every_accident(tmp_path: Path) -> None:
    """`inspect_file` never raises, and `read_recording` raises where, and only where, the report lists problems."""
    rng = random.Random(11)
    whole = [ohio(30), frame(every(5, 40), walk(40), boluses={4: 3.0}, carbs={4: 30}), hupa(60.0, 5.0, 40)]
    words = [
        "",
        "nan",
        "-1",
        "1e999",
        "5,5",
        '"',
        ",",
        ";",
        "\n",
        "Low",
        "9" * 30,
        "0001-01-01 00:00:00",
        "<",
        "&",
        "13",
    ]
    refused = 0
    for case in range(150):
        text = whole[case % 3]
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(words) + text[at + rng.choice([0, 1, 3, 20]) :]
        file = tmp_path / f"case{case}.txt"
        file.write_text(text, encoding="utf-8")
        report = inspect_file(file, carbs_unit="g")
        assert report.file == str(file)
        if report.problems:
            refused += 1
            with pytest.raises(DataError):
                quietly(file, carbs_unit="g")
        else:
            quietly(file, carbs_unit="g")
    assert 20 < refused < 150


def test_what_is_read_can_be_written_and_read_again(put: Callable[..., Path], tmp_path: Path) -> None:
    first = read_recording(put(ohio(40), "xml")).patient
    merged = frame(every(5, 60), walk(60), boluses={12: 6.0}, merged=True)
    second = read_recording(put(merged)).patient
    write_cohort(Cohort((first, second)), tmp_path / "cohort")
    for patient in (first, second):
        again = read_recording(tmp_path / "cohort" / f"{patient.name}.csv").patient
        assert np.array_equal(again.glucose_mg_dL[again.valid], patient.glucose_mg_dL[patient.valid])
        assert again.doses.bolus_U.sum() == pytest.approx(patient.doses.bolus_U.sum())


def test_every_format_has_what_it_needs() -> None:
    for name, entry in FORMATS.items():
        assert name == entry.name
        assert entry.description
