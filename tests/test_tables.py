"""Canonical tables: what is written reads back as the same bits."""

import csv
import datetime as dt
import functools
import itertools
import math
import os
import warnings
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from t1djax import PARAMETERS, Cohort, Doses, Patient, Truth, presets, propagate
from t1djax.io import (
    DataError,
    DataWarning,
    frame_to_patient,
    patient_to_frame,
    read_cohort,
    read_patient,
    read_patient_truth,
    write_cohort,
)

from .test_bad_tables import GOOD, HEADER, put

DOSE_COLUMNS = ("basal_time_min", "basal_U_h", "bolus_time_min", "bolus_U", "bolus_duration_min", "meal_time_min",
                "carbs_g", "meal_duration_min")  # fmt: skip


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def assert_same(a: Patient, b: Patient) -> None:
    assert a.name == b.name
    assert dict(a.known) == dict(b.known)
    assert a.start == b.start
    assert (a.start and a.start.utcoffset()) == (b.start and b.start.utcoffset())
    assert same(a.time_min, b.time_min)
    assert np.array_equal(a.glucose_mg_dL, b.glucose_mg_dL, equal_nan=True)
    for column in DOSE_COLUMNS:
        assert same(getattr(a.doses, column), getattr(b.doses, column)), column


@functools.cache
def reference(interval_min: float) -> Cohort:
    patients, truth = [], {}
    with jax.enable_x64(True):
        solve = jax.jit(propagate)
        for name, preset in presets().items():
            ts = np.arange(preset.start_min, preset.end_min + 1e-9, interval_min)
            inputs = preset.doses.inputs(preset.start_min, preset.end_min).pad(64)
            y = solve(preset.model(), inputs, jax.numpy.asarray(ts), G0=preset.parameters["G0"])
            glucose = np.asarray(y.glucose_mg_dL)
            states = {name: np.asarray(getattr(y, name)) for name in ("insulin_U_dL", "digestion_mg_dL_min")}
            known = {k: v for k, v in preset.parameters.items() if k != "ksi"}
            patients.append(Patient(name, ts, glucose, preset.doses, known))
            truth[name] = Truth(preset.parameters, glucose, states)
    return Cohort(tuple(patients), truth)


def inside(doses: Doses, end: float) -> Doses:
    """The doses as a table up to `end` states them: one basal for each change, nothing that begins later."""
    basal = [(t, r) for t, r in zip(doses.basal_time_min, doses.basal_U_h, strict=True) if t <= end]
    basal = [row for i, row in enumerate(basal) if i == 0 or row[1] != basal[i - 1][1]]
    pick = lambda *columns: [row for row in zip(*columns, strict=True) if row[0] <= end]
    boluses = pick(doses.bolus_time_min, doses.bolus_U, doses.bolus_duration_min)
    return Doses.of(
        basal=basal, boluses=boluses, meals=pick(doses.meal_time_min, doses.carbs_g, doses.meal_duration_min)
    )


# --- round trips -------------------------------------------------------------------------------------------------


def test_reference_cohort_survives(tmp_path: Path) -> None:
    cohort = reference(5.0)
    assert min(p.glucose_mg_dL.min() for p in cohort) < -500  # the case that plausibility must let pass
    write_cohort(cohort, tmp_path / "out")
    with pytest.warns(DataWarning) as caught:
        back = read_cohort(tmp_path / "out", truth=True)
    assert back.names == cohort.names
    for p in cohort:
        assert_same(back[p.name], Patient(p.name, p.time_min, p.glucose_mg_dL, inside(p.doses, 2880), p.known))
        assert dict(back.truth[p.name].parameters) == dict(cohort.truth[p.name].parameters)
        ours, theirs = back.truth[p.name], cohort.truth[p.name]
        assert same(ours.glucose_mg_dL, theirs.glucose_mg_dL)
        assert set(ours.states) == set(theirs.states) == {"insulin_U_dL", "digestion_mg_dL_min"}
        assert all(same(ours.states[column], theirs.states[column]) for column in ours.states)
        with jax.enable_x64(True):
            ours, theirs = (x.doses.inputs(0, 2880) for x in (back[p.name], p))
            pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
            assert all(same(np.asarray(a), np.asarray(b)) for a, b in pairs)
    low = [p for p in cohort if (p.glucose_mg_dL < 40).any()]
    assert len(caught) == len(low) > 0
    text = str(caught[0].message)
    row = int(np.argmax(low[0].glucose_mg_dL < 40)) + 2
    assert f"{low[0].name}.csv, row {row}, column glucose_mg_dL" in text
    assert f"first of {(low[0].glucose_mg_dL < 40).sum()} readings" in text
    first = rf"{low[0].name}.csv, \d+ rows \({row}, .*column glucose_mg_dL: .* is below 40"
    with pytest.raises(DataError, match=first):
        read_cohort(tmp_path / "out", strict=True)


def amounts(most: float) -> st.SearchStrategy[float]:
    return st.floats(1e-3, most, allow_subnormal=False)


@st.composite
def patients(draw: st.DrawFn) -> tuple[Any, ...]:
    clocked = draw(st.booleans())
    if clocked:  # whole microseconds: the resolution of a clock
        micros = draw(st.lists(st.integers(1, 10**10), min_size=1, max_size=12))
        times = np.array([t / 60e6 for t in (0, *itertools.accumulate(micros))])
        offset = draw(st.none() | st.integers(-14 * 60, 14 * 60))
        tz = None if offset is None else dt.timezone(dt.timedelta(minutes=offset))
        start = draw(st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2040, 1, 1))).replace(tzinfo=tz)
    else:
        values = draw(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=13, unique=True))
        times, start = np.unique(np.array(values) + 0.0), None
    # Far beyond what sensors report, but none in the range of mmol/L and no zeros: those are refused in number.
    readings = st.floats(-1000, -1) | st.floats(30, 2000)
    glucose = np.array(draw(st.lists(st.none() | readings, min_size=len(times), max_size=len(times))), dtype=float)
    glucose[draw(st.integers(0, len(times) - 1))] = draw(st.floats(40, 400))  # out of the range of mmol/L
    rows = st.lists(st.sampled_from(range(len(times))), unique=True, max_size=4).map(sorted)
    duration = st.just(1.0) | st.floats(0.1, 600)
    change = draw(rows)
    rates = draw(st.lists(st.floats(0.5, 15), min_size=len(change) + 1, max_size=len(change) + 1))
    basal = {0: rates[0], **dict(zip(change, rates[1:], strict=True))}
    doses = {
        "basal": [(times[i], rate) for i, rate in sorted(basal.items())],
        "boluses": [(times[i], draw(amounts(100)), draw(duration)) for i in draw(rows)],
        "meals": [(times[i], draw(amounts(1000)), draw(duration)) for i in draw(rows)],
    }
    known = draw(st.dictionaries(st.sampled_from([s for s in PARAMETERS if s != "kb"]), st.floats(35, 1e6)))
    return draw(st.sampled_from(["Ada", "Zoë, 2", "7"])), times, glucose, doses, known, start


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(facts=patients())
def test_what_is_written_reads_back(facts: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> None:
    name, times, glucose, doses, known, start = facts
    patient = Patient(name, times, glucose, Doses.of(**doses), known, start)
    folder = tmp_path_factory.mktemp("cohort")
    expected = Patient(
        patient.name,
        patient.time_min,
        patient.glucose_mg_dL,
        inside(patient.doses, math.inf),
        patient.known,
        patient.start,
    )
    write_cohort(Cohort((patient,)), folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        assert_same(read_cohort(folder)[patient.name], expected)
        frame = patient_to_frame(patient)
        assert_same(frame_to_patient(frame, patient.name, known=patient.known), expected)


def test_doses_between_rows_get_rows_and_two_of_one_time_are_one(tmp_path: Path) -> None:
    doses = Doses.of(
        basal=[(0, 1.0), (7, 1.0), (8, 2.0)], boluses=[(3, 1.5), (3, 2.25), (6, 0.0)], meals=[(10, 30, 20)]
    )
    patient = Patient("Ada", np.array([0.0, 5.0, 10.0]), np.array([100.0, 110.0, 120.0]), doses)
    write_cohort(Cohort((patient,)), tmp_path)
    back = read_cohort(tmp_path)["Ada"]
    assert back.time_min.tolist() == [0, 3, 5, 8, 10]
    assert back.valid.tolist() == [True, False, True, False, True]
    assert (back.doses.bolus_time_min.tolist(), back.doses.bolus_U.tolist()) == ([3.0], [3.75])
    assert (back.doses.basal_time_min.tolist(), back.doses.basal_U_h.tolist()) == ([0.0, 8.0], [1.0, 2.0])
    assert back.doses.meal_duration_min.tolist() == [20.0]
    with jax.enable_x64(True):
        ts = jax.numpy.array([0.0, 4.0, 10.0])
        expected, got = (p.doses.inputs(0, 10).delivered(ts)[0] for p in (patient, back))
        assert np.allclose(got, expected, rtol=0, atol=1e-12)
        assert float(expected[1]) == pytest.approx(3.75 + 4 / 60, abs=1e-12)


def test_doses_of_one_time_and_two_durations_are_refused(tmp_path: Path) -> None:
    doses = Doses.of(boluses=[(5, 1.0), (5, 2.0, 60)])
    patient = Patient("Ada", np.array([0.0, 10.0]), np.array([100.0, 110.0]), doses)
    with pytest.raises(ValueError, match="patient Ada, minute 5: doses in bolus_U over 1 and 60 min"):
        write_cohort(Cohort((patient,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_doses_before_the_rows_stay_whole_and_those_after_are_left_out(tmp_path: Path) -> None:
    doses = Doses.of(basal=[(-60, 0.7), (30, 0.9)], boluses=[(-30, 6.0, 60), (-60, 3.0), (21, 2.0)], meals=[(20, 50)])
    patient = Patient("Ada", np.array([0.0, 20.0]), np.array([100.0, 110.0]), doses)
    with pytest.warns(DataWarning, match="patient Ada: 1 dose "):
        write_cohort(Cohort((patient,)), tmp_path)
    read = read_cohort(tmp_path)["Ada"]
    assert read.time_min.tolist() == [0.0, 20.0]
    back = read.doses
    assert (back.basal_time_min.tolist(), back.basal_U_h.tolist()) == ([0.0], [0.7])
    assert [x.tolist() for x in (back.bolus_time_min, back.bolus_U, back.bolus_duration_min)] == [
        [-60.0, -30.0],
        [3.0, 6.0],
        [1.0, 60.0],
    ]
    with jax.enable_x64(True):
        ts = jax.numpy.arange(0.0, 21.0)
        old, new = (np.asarray(d.inputs(0, 20).delivered(ts)) for d in (doses, back))
    assert np.allclose(old, new, rtol=0, atol=1e-12)


def test_write_refuses_what_it_could_not_read(tmp_path: Path) -> None:
    rows, glucose = np.array([0.0, 5.0]), np.array([100.0, 110.0])
    make = lambda name="Ada", glucose=glucose, doses=None, known=None: Cohort(
        (Patient(name, rows, glucose, doses or Doses.of(), known or {}),)
    )
    for cohort, message in (
        (make(glucose=glucose / 18.016), "Ada.csv, column glucose_mg_dL: .*mmol/L"),
        (make(doses=Doses.of(meals=[(0, 4e4)])), "Ada.csv, row 2, column carbs_g: '40000' is more than 1000"),
        (make(known={"ksi": -1.0}), "patients.csv, row 2, column ksi: '-1' is not positive"),
        (make(known={"M": 70.0, "kb": 1.5}), "patients.csv, row 2, column kb: .*128 / M_kg"),
        (make("a/b"), "patient 'a/b': the name"),
        (make("Truth"), "patient 'Truth': the name is reserved"),
        (Cohort((*make("ada").patients, *make("Ada").patients)), "differs in case alone"),
    ):
        with pytest.raises(DataError, match=message):
            write_cohort(cohort, tmp_path)
    with pytest.raises(ValueError, match="no patient"):
        write_cohort(Cohort(()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_write_overwrites_only_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = Cohort((Patient("Ada", np.array([0.0, 5.0]), np.array([100.0, 110.0]), Doses.of()),))
    bob = Cohort((Patient("Bob", np.array([0.0, 5.0]), np.array([100.0, 111.0]), Doses.of()),))
    write_cohort(ada, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        write_cohort(ada, tmp_path)
    with pytest.raises(FileExistsError, match=r"no part of the cohort \(Ada.csv\)"):
        write_cohort(bob, tmp_path, overwrite=True)
    with pytest.raises(FileExistsError, match="is a file"):
        write_cohort(ada, tmp_path / "Ada.csv", overwrite=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before

    def fail(*_: object) -> None:
        raise OSError("disk full")

    newer = Cohort((Patient("Ada", np.array([0.0, 5.0]), np.array([100.0, 112.0]), Doses.of()),))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            write_cohort(newer, tmp_path, overwrite=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    write_cohort(newer, tmp_path, overwrite=True)
    assert read_cohort(tmp_path)["Ada"].glucose_mg_dL.tolist() == [100.0, 112.0]


# --- reading -----------------------------------------------------------------------------------------------------


def test_cells_mean_what_the_format_says(tmp_path: Path) -> None:
    patient = read_patient(put(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()), known={"ksi": 200.0})
    assert patient.time_min.tolist() == [0, 5, 10, 15]
    assert patient.valid.tolist() == [True, True, False, True]
    doses = patient.doses
    assert (doses.basal_time_min.tolist(), doses.basal_U_h.tolist()) == ([0.0, 15.0], [0.9, 1.1])
    assert [x.tolist() for x in (doses.bolus_time_min, doses.bolus_U, doses.bolus_duration_min)] == [
        [5.0],
        [4.0],
        [1.0],
    ]
    assert [x.tolist() for x in (doses.meal_time_min, doses.carbs_g, doses.meal_duration_min)] == [[5.0], [40.0], [1.0]]
    assert patient.known == {"ksi": 200.0}
    assert patient.start is None


@pytest.mark.parametrize(
    ("stamps", "minutes", "start"),
    [
        (("2024-05-01T07:30:00", "2024-05-01 07:35", "2024-05-01T07:40:00.500000"), (0, 5, 10 + 0.5 / 60),
         dt.datetime(2024, 5, 1, 7, 30)),
        (("2024-05-01T07:30+02:00", "2024-05-01T07:35+02:00", "2024-05-01T07:41+02:00"), (0, 5, 11),
         dt.datetime(2024, 5, 1, 7, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))),
        # The night on which clocks go back: offsets keep the order.
        (("2024-10-27T02:55+02:00", "2024-10-27T02:00+01:00", "2024-10-27T02:05+01:00"), (0, 5, 10),
         dt.datetime(2024, 10, 27, 0, 55, tzinfo=dt.UTC)),
        (("2024-05-01T07:30Z", "2024-05-01T07:31Z", "2024-05-01T07:32Z"), (0, 1, 2),
         dt.datetime(2024, 5, 1, 7, 30, tzinfo=dt.UTC)),
    ],
)  # fmt: skip
def test_clock_times(tmp_path: Path, stamps: tuple[str, ...], minutes: tuple[float, ...], start: dt.datetime) -> None:
    text = HEADER.replace("time_min", "time") + "".join(f"\n{stamp},110,1,," for stamp in stamps)
    patient = read_patient(put(tmp_path, text))
    assert patient.time_min.tolist() == pytest.approx(minutes, abs=1e-12)
    assert patient.start == start
    assert patient.start is not None
    assert patient.start.utcoffset() == start.utcoffset()


def test_frames_go_in_with_their_index_in_the_errors() -> None:
    frame = pd.DataFrame(
        {
            "time": pd.to_datetime(["2024-05-01 07:30", "2024-05-01 07:35", "2024-05-01 07:40"]),
            "glucose_mg_dL": [120, 118, 117],
            "basal_U_h": pd.array([0.9, None, None], dtype="Float64"),
            "bolus_U": [None, 4.5, 0],
            "carbs_g": ["", "40", None],
        },
        index=["a", "b", "c"],
    )
    patient = frame_to_patient(frame, "Ada")
    assert patient.start == dt.datetime(2024, 5, 1, 7, 30)
    assert patient.doses.carbs_g.tolist() == [40.0]
    frame.loc["b", "bolus_U"] = -4.5
    frame.loc["c", "carbs_g"] = "many"
    with pytest.raises(DataError) as caught:
        frame_to_patient(frame, "Ada")
    assert str(caught.value).splitlines() == [
        "frame Ada, row b, column bolus_U: '-4.5' is negative; give amounts and rates of zero or more",
        "frame Ada, row c, column carbs_g: 'many' is not a number; write a number, or leave the cell empty where "
        "there is none",
    ]
    for empty in (pd.DataFrame(), pd.DataFrame(columns=HEADER.split(","))):
        with pytest.raises(DataError, match="frame Ada"):
            frame_to_patient(empty, "Ada")


def test_which_patients_are_read(tmp_path: Path) -> None:
    for name in ("Pat10", "Pat2", "Eva"):
        put(tmp_path, GOOD, name)
    assert read_cohort(tmp_path).names == ("Eva", "Pat2", "Pat10")
    (tmp_path / "patients.csv").write_text("patient,ksi,M_kg\nPat10,200,\nEva,,71\n")
    cohort = read_cohort(tmp_path)
    assert cohort.names == ("Pat10", "Eva", "Pat2")
    assert [dict(p.known) for p in cohort] == [{"ksi": 200.0}, {"M": 71.0}, {}]
    put(tmp_path, "rubbish", "Pat2")  # not selected, not read
    chosen = read_cohort(tmp_path, patients=["Eva", "Pat10"])
    assert chosen.names == ("Eva", "Pat10")
    assert_same(read_cohort(tmp_path / "Eva.csv")["Eva"], chosen["Eva"])
    assert len(read_cohort(tmp_path / "Eva.csv")) == 1
    for wrong, message in (
        (["Pat3"], "no patient 'Pat3'; there are Pat10, Eva, Pat2"),
        (["Eva", "Eva"], "more than once"),
        ([], "no patient is chosen"),
    ):
        with pytest.raises(DataError, match=message):
            read_cohort(tmp_path, patients=wrong)
    (tmp_path / "patients.csv").write_text("patient,ksi\nPat10,200\nNobody,210\n")
    with pytest.raises(DataError, match=r"patients.csv, column patient: patient 'Nobody' has no file"):
        read_cohort(tmp_path)
    assert read_cohort(tmp_path, patients=["Pat10"]).names == ("Pat10",)


def test_truth_is_not_looked_at_unless_asked_for(tmp_path: Path) -> None:
    cohort = reference(5.0).select(["Pat2", "Pat3"])
    write_cohort(cohort, tmp_path / "clean")
    write_cohort(cohort, tmp_path / "garbage")
    (tmp_path / "garbage" / "truth.csv").write_bytes(b"\0\xff;;\n")
    for name in cohort.names:
        file = tmp_path / "garbage" / f"{name}.csv"
        rows = list(csv.reader(file.read_text().splitlines()))
        truth = [i for i, column in enumerate(rows[0]) if column in ("true_glucose_mg_dL", "insulin_U_dL",
                                                                     "digestion_mg_dL_min")]  # fmt: skip
        assert len(truth) == 3
        for row in rows[1:]:
            for i in truth:
                row[i] = "lies"
        file.write_text("\n".join(map(",".join, rows)) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        clean, garbage = read_cohort(tmp_path / "clean"), read_cohort(tmp_path / "garbage")
        seen = read_cohort(tmp_path / "clean", truth=True)
    assert dict(clean.truth) == dict(garbage.truth) == {}
    for name in cohort.names:
        assert_same(clean[name], garbage[name])
        assert_same(clean[name], seen[name])
        alone = read_patient_truth(tmp_path / "clean" / f"{name}.csv", parameters=cohort.truth[name].parameters)
        assert same(alone.states["insulin_U_dL"], cohort.truth[name].states["insulin_U_dL"])
    with pytest.raises(DataError) as caught:
        read_cohort(tmp_path / "garbage", truth=True)
    assert "truth.csv" in str(caught.value)
    assert "column insulin_U_dL: 'lies' is not a number" in str(caught.value)


def test_a_long_record_is_read_whole(tmp_path: Path) -> None:
    n = 30_000
    rng = np.random.default_rng(0)
    start = dt.datetime(2024, 1, 1)
    glucose = rng.normal(140, 20, n)
    rows = (f"{(start + dt.timedelta(minutes=i)).isoformat()},{g!r},1.1,," for i, g in enumerate(glucose.tolist()))
    file = put(tmp_path, "time,glucose_mg_dL,basal_U_h,bolus_U,carbs_g\n" + "\n".join(rows))
    patient = read_patient(file)
    assert same(patient.glucose_mg_dL, glucose)
