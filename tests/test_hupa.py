"""The HUPA-UCM layout: units, windows, and readings that are the sensor's own."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t1djax.io import DataError, DataWarning, read_cohort, read_hupa, read_patient

HEADER = "time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input"
START = dt.datetime(2020, 1, 17, 0, 35)


def put(
    folder: Path,
    glucose: np.ndarray,
    *,
    boluses: dict[int, float] | None = None,
    carbs: dict[int, float] | None = None,
    basal: float = 0.1,
    name: str = "HUPA9",
) -> Path:
    rows = [HEADER]
    for i, reading in enumerate(glucose.tolist()):
        stamp = (START + dt.timedelta(minutes=5 * i)).isoformat()
        rows.append(f"{stamp};{reading!r};8.5;69;0;{basal!r};{(boluses or {}).get(i, 0.0)};{(carbs or {}).get(i, 0.0)}")
    file = folder / f"{name}.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


def walk(n: int, seed: int = 0) -> np.ndarray:
    """Whole readings whose steps are never a multiple of three, so that lines between them have fractions."""
    rng = np.random.default_rng(seed)
    sign = np.where(np.arange(n) % 2 == 0, 1, -1)
    return np.cumsum(sign * (3 * rng.integers(0, 8, n) + 1)) + 150.0


def drawn(n: int, phase: int, gap: slice | None = None) -> np.ndarray:
    """5-min rows drawn between 15-min readings on the given phase, as the dataset's authors did."""
    at = np.arange(phase, 3 * n, 3)
    readings = walk(len(at))
    seen = np.full(len(at), True)
    if gap is not None:
        seen[gap] = False
    return np.interp(np.arange(3 * n), at[seen], readings[seen])


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_lines_between_readings_are_taken_out(tmp_path: Path, phase: int) -> None:
    glucose = drawn(60, phase)
    file = put(tmp_path, glucose)
    patient = read_hupa(file, carbs_unit="g")
    assert np.flatnonzero(patient.valid).tolist() == list(range(phase, 180, 3))
    assert np.array_equal(patient.glucose_mg_dL[phase::3], walk(60))
    kept = read_hupa(file, carbs_unit="g", keep_interpolated=True)
    assert np.array_equal(kept.glucose_mg_dL, glucose)
    # The window moves the rows, not the phase; too short to tell by itself, it is judged by the whole file.
    part = read_hupa(file, carbs_unit="g", start=START + dt.timedelta(minutes=100), hours=1)
    assert part.start == START + dt.timedelta(minutes=100)
    assert part.time_min.tolist() == list(range(0, 61, 5))
    assert [20 + i for i in np.flatnonzero(part.valid)] == [i for i in range(20, 33) if i % 3 == phase]


def test_a_gap_drawn_over_is_a_gap(tmp_path: Path) -> None:
    short = read_hupa(put(tmp_path, drawn(60, 1, slice(20, 22))), carbs_unit="g")
    lost = {3 * i + 1 for i in (20, 21)}
    assert {*range(1, 180, 3)} - {*np.flatnonzero(short.valid).tolist()} == lost
    long = read_hupa(put(tmp_path, drawn(60, 1, slice(20, 30))), carbs_unit="g")
    assert {*range(1, 180, 3)} - {*np.flatnonzero(long.valid).tolist()} == {3 * i + 1 for i in range(20, 30)}


def test_strays_of_another_device_do_not_hide_the_phase(tmp_path: Path) -> None:
    glucose = drawn(100, 2)
    stray = [3 * i + 3 for i in range(5, 100, 25)]
    glucose[stray] += 40
    patient = read_hupa(put(tmp_path, glucose), carbs_unit="g")
    assert np.flatnonzero(patient.valid).tolist() == list(range(2, 300, 3))


@pytest.mark.parametrize(
    "glucose",
    [
        np.random.default_rng(1).integers(60, 300, 300).astype(float),
        140 + 60 * np.sin(np.arange(300) / 20),
        np.full(300, 120.0),
        drawn(3, 0),
    ],
    ids=["5-min readings", "a smooth curve", "a level line", "too few to tell"],
)
def test_other_files_are_left_alone(tmp_path: Path, glucose: np.ndarray) -> None:
    patient = read_hupa(put(tmp_path, glucose), carbs_unit="g")
    assert np.array_equal(patient.glucose_mg_dL, glucose)


def test_units(tmp_path: Path) -> None:
    file = put(tmp_path, walk(12), boluses={2: 4.5, 7: 1.0}, carbs={2: 4.0, 8: 2.5}, basal=0.1083333333333333)
    grams = read_hupa(file, carbs_unit="g")
    assert grams.doses.basal_time_min.tolist() == [0.0]
    assert grams.doses.basal_U_h.tolist() == [1.3]
    assert grams.doses.bolus_time_min.tolist() == [10.0, 35.0]
    assert grams.doses.bolus_U.tolist() == [4.5, 1.0]
    assert grams.doses.bolus_duration_min.tolist() == [1.0, 1.0]
    assert grams.doses.carbs_g.tolist() == [4.0, 2.5]
    assert read_hupa(file, carbs_unit="exchange").doses.carbs_g.tolist() == [40.0, 25.0]
    assert read_hupa(file, carbs_unit="none").doses.carbs_g.tolist() == []
    cut = read_hupa(file, carbs_unit="g", start="2020-01-17T00:47", hours=0.5)
    assert cut.start == dt.datetime(2020, 1, 17, 0, 50)
    assert cut.doses.bolus_time_min.tolist() == [20.0]
    assert cut.doses.basal_time_min.tolist() == [0.0]


@pytest.mark.parametrize(
    ("unit", "meal", "bolus", "message"),
    [
        (
            "g",
            4.0,
            3.0,
            'the median is 4 a meal and 1.33 per U of bolus, which are not grams; pass carbs_unit="exchange"',
        ),
        ("g", 4.0, 0.0, "the median is 4 a meal, which are not grams"),
        ("g", 20.0, 10.0, "the median is 20 a meal and 2 per U of bolus, which are not grams"),
        ("exchange", 50.0, 5.0, 'and 10 per U of bolus, which are not exchanges; pass carbs_unit="g"'),
        ("exchange", 50.0, 0.0, "which are not exchanges"),
        ("g", 1.0, 5.0, 'every entry is 1: a flag, not an amount; pass carbs_unit="none"'),
        ("exchange", 1.0, 0.0, "every entry is 1"),
        ("g", 50.0, 5.0, None),
        ("g", 50.0, 0.0, None),
        ("exchange", 4.0, 3.0, None),
        ("none", 1.0, 5.0, None),
    ],
)
def test_carbohydrate_must_be_in_the_unit_stated(
    tmp_path: Path, unit: Any, meal: float, bolus: float, message: str | None
) -> None:
    at = range(0, 60, 10)
    file = put(tmp_path, walk(60), boluses=dict.fromkeys(at, bolus), carbs=dict.fromkeys(at, meal))
    if message is None:
        read_hupa(file, carbs_unit=unit)
        return
    with pytest.raises(DataError) as caught:
        read_hupa(file, carbs_unit=unit)
    assert f"{file}, column carb_input: " in str(caught.value)
    assert message in str(caught.value)


GOOD = (
    f"{HEADER}\n2020-01-17T00:35:00;179.0;8;69;12;0.1;0;0\n2020-01-17T00:40:00;178;8;69;0;0.1;4;50\n"
    "2020-01-17T00:45:00;178;8;69;0;0.1;0;0\n"
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("basal_rate", "basal", ", column basal_rate: the column is missing; is it basal? rename it"),
        (";", ",", ", row 1: its cells are separated by ',', not by ';'"),
        ("00:45:00;178", "00:43:00;178", ", row 4, column time: '2020-01-17T00:43:00' is off the 5-min grid"),
        ("00:45:00;178", "00:40:00;178", ", row 4, column time: '2020-01-17T00:40:00' repeats the row before"),
        ("00:45:00;178", "00:30:00;178", ", row 4, column time: '2020-01-17T00:30:00' goes back in time"),
        ("2020-01-17T00:45:00", "", ", row 4, column time: the row has no time"),
        ("2020-01-17T00:45:00", "17/01/2020", ", row 4, column time: '17/01/2020' is not a timestamp"),
        (":00;", ":00+01:00;", ", column time: times have an offset from UTC"),
        ("0.1;4;50", "0.1;-4;50", ", row 3, column bolus_volume_delivered: '-4' is negative"),
        ("0.1;4;50", "0.1;4;-50", ", row 3, column carb_input: '-50' is negative"),
        ("0.1;4;50", "1.6;4;50", ", row 3, column basal_rate: '1.6' is more than 1.25"),
        ("12;0.1", "12;", ", row 2, column basal_rate: the first row states no rate"),
        ("179.0", "17,9", ", row 2, column glucose: '17,9' has a decimal comma"),
    ],
)
def test_bad_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "HUPA9.csv"
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_hupa(file, carbs_unit="g")
    assert f"{file}{message}" in str(caught.value)


def test_mmol_and_no_glucose(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column glucose: .*looks like mmol/L; multiply by 18\.016"):
        read_hupa(put(tmp_path, walk(12) / 18.016), carbs_unit="g")
    with pytest.warns(DataWarning, match="row 2, column glucose: first of 12 readings below 40"):
        read_hupa(put(tmp_path, np.full(12, 38.0)), carbs_unit="g")
    file = put(tmp_path, walk(12))
    file.write_text(GOOD.replace("179.0", "").replace("178", ""))
    with pytest.raises(DataError, match="column glucose: there is no reading at all"):
        read_hupa(file, carbs_unit="g")


def test_windows_and_arguments(tmp_path: Path) -> None:
    file = put(tmp_path, walk(12))
    with pytest.raises(DataError, match=r"fewer than two rows in the window; the file runs from 2020-01-17T00:35"):
        read_hupa(file, carbs_unit="g", start="2021-01-01")
    with pytest.raises((ValueError, TypeError), match="carbs_unit"):  # TypeError: where types are checked at run time
        read_hupa(file, carbs_unit="mg")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="is not ISO 8601"):
        read_hupa(file, carbs_unit="g", start="tomorrow")
    with pytest.raises(ValueError, match="offset from UTC"):
        read_hupa(file, carbs_unit="g", start="2020-01-17T00:35Z")
    with pytest.raises(ValueError, match="hours is 0"):
        read_hupa(file, carbs_unit="g", hours=0)


def test_mass(tmp_path: Path) -> None:
    file, info = put(tmp_path, walk(12)), tmp_path / "info.csv"
    info.write_text("person_id,weight\nHUPA8,\nHUPA9,77.6\n")
    assert read_hupa(file, carbs_unit="g", info=info).known == {"M": 77.6}
    for text, message in (
        ("person_id,weight\nHUPA8,77.6\n", "column person_id: no row for 'HUPA9'; there are HUPA8"),
        ("person_id,weight\nHUPA9,\n", "row 2, column weight: '' is no body mass"),
        ("person_id,weight\nHUPA9,7760\n", "row 2, column weight: '7760' is no body mass"),
        ("person_id,mass\nHUPA9,77\n", "column weight: the column is missing"),
    ):
        info.write_text(text)
        with pytest.raises(DataError, match=message):
            read_hupa(file, carbs_unit="g", info=info)


def test_other_readers_name_this_one(tmp_path: Path) -> None:
    file = put(tmp_path, walk(12))
    (tmp_path / "patients_info.csv").write_text("person_id,weight\nHUPA9,77.6\n")
    for path in (tmp_path, file):
        with pytest.raises(DataError) as caught:
            read_cohort(path)
        assert str(caught.value) == (
            f"{file}, row 1: this is the HUPA-UCM layout, not a canonical table; read it with read_hupa, or train "
            'with layout="hupa"'
        )
    with pytest.raises(DataError, match='layout="hupa"'):
        read_patient(file)
    file.write_text(
        "time;glucose_mg_dL;basal_U_h;bolus_U;carbs_g\n2020-01-17T00:35;120;1;;\n2020-01-17T00:40;120;1;;\n"
    )
    with pytest.raises(DataError, match="this is a canonical table, not the HUPA-UCM layout; read it with read_cohort"):
        read_hupa(file, carbs_unit="g")


@pytest.mark.parametrize(
    ("person", "phase", "mass", "basal", "bolus", "carbs", "readings"),
    [
        ("HUPA0002P", 0, 82.4, 25.448, 21.068, 57.58, 1055),
        ("HUPA0004P", 0, 88.0, 21.060, 42.974, 182.71, 914),
        ("HUPA0022P", 2, 77.6, 38.941, 27.998, 281.27, 1304),
    ],
)
def test_real_people(
    shared: Path, person: str, phase: int, mass: float, basal: float, bolus: float, carbs: float, readings: int
) -> None:
    folder = shared / "data" / "hupa_ucm"
    if not folder.is_dir():
        pytest.skip("no HUPA-UCM files in the shared folder")
    file = folder / f"{person}.csv"
    patient = read_hupa(file, carbs_unit="g", info=folder / "patients_info.csv")
    assert patient.known == {"M": mass}
    # The basal schedule, integrated row by row, is the sum of the file's doses per 5 min.
    rows = [line.split(";") for line in file.read_text().splitlines()[1:]]
    days = len(rows) / 288
    doses = patient.doses
    held = doses.basal_U_h[np.searchsorted(doses.basal_time_min, patient.time_min, side="right") - 1]
    assert held.sum() / 12 == pytest.approx(sum(float(row[5]) for row in rows), rel=1e-9)
    assert 14 < basal < 39
    assert held.sum() / 12 / days == pytest.approx(basal, abs=0.001)
    assert doses.bolus_U.sum() / days == pytest.approx(bolus, abs=0.001)
    assert doses.carbs_g.sum() / days == pytest.approx(carbs, abs=0.01)
    where = np.flatnonzero(patient.valid)
    assert set((where % 3).tolist()) == {phase}
    assert len(where) == readings
    # The oracle: between rows of the phase the file is a straight line, strays apart.
    glucose = np.array([float(row[1]) for row in rows])
    first = np.flatnonzero(np.arange(len(rows) - 3) % 3 == phase)
    third = (glucose[first + 3] - glucose[first]) / 3
    straight = np.isclose(glucose[first + 1], glucose[first] + third) & np.isclose(
        glucose[first + 2], glucose[first] + 2 * third
    )
    assert straight.mean() > 0.96
    with pytest.raises(DataError, match="which are not exchanges"):
        read_hupa(file, carbs_unit="exchange")


def test_real_window(shared: Path) -> None:
    file = shared / "data" / "hupa_ucm" / "HUPA0022P.csv"
    if not file.is_file():
        pytest.skip("no HUPA-UCM files in the shared folder")
    patient = read_hupa(file, carbs_unit="g", start="2020-01-20", hours=48)
    assert patient.start == dt.datetime(2020, 1, 20)
    assert (patient.time_min[0], patient.time_min[-1], len(patient.time_min)) == (0, 2880, 577)
    assert int(patient.valid.sum()) == 192
    rows = [line.split(";") for line in file.read_text().splitlines()[1:]]
    inside = [row for row in rows if "2020-01-20" <= row[0] <= "2020-01-22T00:00:00"]
    assert patient.doses.bolus_U.sum() == pytest.approx(sum(float(row[6]) for row in inside))
    assert patient.doses.bolus_U.sum() > 50
