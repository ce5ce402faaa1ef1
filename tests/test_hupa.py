"""The HUPA-UCM layout: units, windows, and readings that are the sensor's own."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t1djax.io import DataError, read_cohort, read_hupa, read_patient

pytestmark = pytest.mark.filterwarnings("ignore::t1djax.DataWarning")

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
    assert cut.doses.bolus_time_min.tolist() == [-5.0, 20.0]  # what was given before acts in the window, too
    assert cut.doses.basal_U_h.tolist() == [1.3]


@pytest.mark.parametrize(
    ("unit", "meal", "bolus", "fits"),
    [
        ("g", 4.0, 3.0, False), ("g", 4.0, 0.0, False), ("g", 20.0, 10.0, False), ("exchange", 50.0, 5.0, False),
        ("exchange", 50.0, 0.0, False), ("g", 1.0, 5.0, False), ("exchange", 1.0, 0.0, False), ("g", 50.0, 5.0, True),
        ("g", 50.0, 0.0, True), ("exchange", 4.0, 1.0, True), ("none", 1.0, 5.0, True),
    ],
)  # fmt: skip
def test_carbohydrate_must_be_in_the_unit_stated(
    tmp_path: Path, unit: Any, meal: float, bolus: float, fits: bool
) -> None:
    at = range(0, 1440, 60)  # 24 of each in five days
    file = put(
        tmp_path,
        np.round(140 + 60 * np.sin(np.arange(1440) / 20)),
        boluses=dict.fromkeys(at, bolus),
        carbs=dict.fromkeys(at, meal),
    )
    if fits:
        read_hupa(file, carbs_unit=unit)
        return
    with pytest.raises(DataError) as caught:
        read_hupa(file, carbs_unit=unit)
    assert any(flaw.column == "carbs" and "carbs_unit=" in flaw.remedy for flaw in caught.value.problems)


GOOD = (
    f"{HEADER}\n2020-01-17T00:35:00;179.0;8;69;12;0.1;0;0\n2020-01-17T00:40:00;178;8;69;0;0.1;4;50\n"
    "2020-01-17T00:45:00;178;8;69;0;0.1;0;0\n2020-01-17T00:50:00;178;8;69;0;0.1;0;0\n"
)


@pytest.mark.parametrize(
    ("old", "new", "row", "column"),
    [
        ("basal_rate", "basal", 1, None),
        ("00:45:00;178", "00:43:00;178", None, "time"),
        ("2020-01-17T00:45:00", "", 4, "time"),
        ("2020-01-17T00:45:00", "17/01/2020", 4, "time"),
        ("0.1;4;50", "0.1;-4;50", 3, "bolus_volume_delivered"),
        ("0.1;4;50", "0.1;4;-50", 3, "carb_input"),
        ("0.1;4;50", "1.6;4;50", None, "basal"),
        ("00:35:00;179.0", "00:35:00;17x", 2, "glucose"),
    ],
)
def test_bad_file(tmp_path: Path, old: str, new: str, row: int | None, column: str | None) -> None:
    file = tmp_path / "HUPA9.csv"
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_hupa(file, carbs_unit="g")
    places = [(flaw.column, tuple(flaw.rows)) for flaw in caught.value.problems]
    assert (column, () if row is None else (row,)) in places
    assert {flaw.file for flaw in caught.value.problems} == {str(file)}


def test_arguments(tmp_path: Path) -> None:
    file = put(tmp_path, walk(12))
    with pytest.raises(DataError):
        read_hupa(file, carbs_unit="g", start="2021-01-01")
    with pytest.raises((ValueError, TypeError), match="carbs_unit"):  # TypeError: where types are checked at run time
        read_hupa(file, carbs_unit="mg")  # pyright: ignore[reportArgumentType]
    wrongs: tuple[dict[str, Any], ...] = ({"start": "tomorrow"}, {"hours": 0})
    for wrong in wrongs:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            read_hupa(file, carbs_unit="g", **wrong)


def test_mass(tmp_path: Path) -> None:
    file, info = put(tmp_path, walk(12)), tmp_path / "info.csv"
    info.write_text("person_id,weight\nHUPA8,\nHUPA9,77.6\n")
    assert read_hupa(file, carbs_unit="g", info=info).known == {"M": 77.6}
    for text, column in (
        ("person_id,weight\nHUPA8,77.6\n", "person_id"),
        ("person_id,weight\nHUPA9,\n", "weight"),
        ("person_id,weight\nHUPA9,7760\n", "weight"),
        ("person_id,mass\nHUPA9,77\n", "weight"),
    ):
        info.write_text(text)
        with pytest.raises(DataError) as caught:
            read_hupa(file, carbs_unit="g", info=info)
        assert [flaw.column for flaw in caught.value.problems] == [column]


def test_other_readers_name_this_one(tmp_path: Path) -> None:
    file = put(tmp_path, walk(12))
    (tmp_path / "patients_info.csv").write_text("person_id,weight\nHUPA9,77.6\n")
    for path in (tmp_path, file):
        with pytest.raises(DataError) as caught:
            read_cohort(path)
        assert [flaw.file for flaw in caught.value.problems] == [str(file)]
        assert "read_hupa" in caught.value.problems[0].remedy
    with pytest.raises(DataError, match='layout="hupa"'):
        read_patient(file)


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
    within = patient.doses.bolus_U[patient.doses.bolus_time_min >= 0].sum()
    assert within == pytest.approx(sum(float(row[6]) for row in inside))
    assert within > 50
