"""Whatever a file holds, a reader returns numbers that stand in it, or one error that names the file."""

import csv
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings

from t1djax import Cohort, Patient
from t1djax.io import DataError, DataWarning, read_cohort, read_hupa, read_patient

TABLE = (
    "time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g,bolus_duration_min,meal_duration_min\n"
    "0,120,0.9,,,,\n5,118.5,,4,40,,20\n10,,,0,,,\n15,125,1.1,2.5,,120,\n20,131,,,12,,\n"
)
CLOCK = (
    "time,glucose_mg_dL,basal_U_h,bolus_U,carbs_g,true_glucose_mg_dL,insulin_U_dL,digestion_mg_dL_min\n"
    "2024-05-01T07:30:00+02:00,120,0.9,,,121,0.001,0\n2024-05-01T07:35:00+02:00,118.5,,4,40,119,0.0011,0.1\n"
    "2024-05-01T07:40:00+02:00,,,0,,,,\n"
)
PATIENTS = "patient,M_kg,ksi,kl,kb,Tu_min,ku_Vi,Tr_min,kr_Vb,G0_mg_dL\nAda,72,197,1.94,,122,0.059,183,0.0024,120\n"
FUZZ = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
WORDS = st.sampled_from(
    ["", "nan", "inf", "-1", "1e999", "1e-320", "-0", "5,5", "1_0", "\0", '"', ",", ";", "\n", "\r", "\ufeff", "Low",
     "\u0663", "9" * 400, "2024-02-30T00:00", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-14:00", "24:00", "x" * 200,
     "0.02", "time_min", "glucose_mg_dL", "patient", "../x", "Ada", "40000", "1e7", "\x1c", "\u2028", "\x85", "0x10",
     "+5", "5.", " 7 ", "--3", "1e5"]
)  # fmt: skip


def attempt(read: Callable[[Path], Cohort | Patient], path: Path, file: Path) -> Cohort | Patient | None:
    """What comes out; None for the one error that may, which must name the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            return read(path)
        except DataError as error:
            wrong = error
    assert str(file) in str(wrong)
    assert wrong.problems
    assert str(wrong).encode()  # can be printed
    return None


@st.composite
def mutated(draw: st.DrawFn, text: str) -> bytes:
    """A valid file with a few accidents: of an editor, a spreadsheet, or a disk."""
    delimiter = ";" if ";" in text else ","
    for _ in range(draw(st.integers(1, 3))):
        lines = text.split("\n")
        i = draw(st.integers(0, len(lines) - 1))
        cells = lines[i].split(delimiter)
        j = draw(st.integers(0, len(cells) - 1))
        match draw(st.integers(0, 8)):
            case 0:
                cells[j] = draw(WORDS)
            case 1:
                del cells[j]
            case 2:
                k = draw(st.integers(0, len(cells) - 1))
                cells[j], cells[k] = cells[k], cells[j]
            case 3:
                cells[j] = cells[j] + draw(WORDS)
            case 4:
                cells = [*cells, *cells]
            case 5:
                lines.insert(i, lines[i])
            case 6:
                lines[i], lines[-1] = lines[-1], lines[i]
                cells = lines[i].split(delimiter)
            case 7:
                column = [line.split(delimiter) for line in lines]
                for row in column:
                    if len(row) > max(j, 1):
                        row[j], row[0] = row[0], row[j]
                lines = [delimiter.join(row) for row in column]
                cells = lines[i].split(delimiter)
            case _:
                at = draw(st.integers(0, len(lines[i])))
                lines[i] = lines[i][:at] + draw(WORDS) + lines[i][at:]
                cells = lines[i].split(delimiter)
        lines[i] = delimiter.join(cells)
        text = "\n".join(lines)
    raw = text.encode("utf-8", "surrogatepass")
    if raw and draw(st.booleans()):
        at = draw(st.integers(0, len(raw) - 1))
        raw = raw[:at] + bytes([draw(st.integers(0, 255))]) + raw[at + 1 :]
    return raw


def numbers_in(raw: bytes, delimiter: str) -> set[float]:
    """Every cell that Python itself takes for a number, zero for the first row, one for a duration left out."""
    out = {0.0, 1.0}
    for row in csv.reader(io.StringIO(raw.decode("utf-8-sig", "replace"), newline=""), delimiter=delimiter):
        for cell in row:
            try:
                out.add(float(cell))
            except ValueError:
                continue
    return out


def assert_from(patient: Patient, numbers: set[float], *, clocked: bool) -> None:
    """Every number of the patient stands in the file: none was bent on the way."""
    doses = patient.doses
    columns = [patient.glucose_mg_dL[patient.valid], doses.basal_U_h, doses.bolus_U, doses.carbs_g]
    columns += [doses.bolus_duration_min, doses.meal_duration_min, np.array([*patient.known.values()])]
    columns += [] if clocked else [patient.time_min]
    for column in columns:
        assert np.isfinite(column).all()
        assert set(column.tolist()) <= numbers
    given = np.concatenate([doses.basal_time_min, doses.bolus_time_min, doses.meal_time_min])
    assert np.isin(given, patient.time_min).all()


READERS = [read_patient, read_cohort, lambda path: read_hupa(path, carbs_unit="g")]


@pytest.mark.parametrize("reader", range(len(READERS)))
@FUZZ
@given(raw=st.binary(max_size=200) | st.text(max_size=120).map(lambda t: t.encode("utf-8", "surrogatepass")))
@example(raw=b"\xef\xbb\xbf")
@example(raw=b'"')
@example(raw=b"\r\r\r")
def test_any_bytes(reader: int, raw: bytes, tmp_path: Path) -> None:
    file = tmp_path / "Ada.csv"
    file.write_bytes(raw)
    assert attempt(READERS[reader], file, file) is None


@pytest.mark.parametrize("text", [TABLE, CLOCK], ids=["minutes", "clock"])
@FUZZ
@given(data=st.data())
def test_accidents_of_a_patients_file(data: st.DataObject, text: str, tmp_path: Path) -> None:
    raw = data.draw(mutated(text))
    file = tmp_path / "Ada.csv"
    file.write_bytes(raw)
    patient = attempt(read_patient, file, file)
    if isinstance(patient, Patient):
        assert_from(patient, numbers_in(raw, ","), clocked=patient.start is not None)
    cohort = attempt(lambda path: read_cohort(path, truth=True), tmp_path, file)
    # The truth may be wrong where the patient is right, never the other way round.
    assert patient is not None or cohort is None


@pytest.mark.parametrize("name", ["patients.csv", "truth.csv"])
@FUZZ
@given(data=st.data())
def test_accidents_of_a_parameter_file(data: st.DataObject, name: str, tmp_path: Path) -> None:
    raw = data.draw(mutated(PATIENTS))
    (tmp_path / "Ada.csv").write_text(TABLE)
    file = tmp_path / name
    file.write_bytes(raw)
    cohort = attempt(lambda path: read_cohort(path, truth=True), tmp_path, file)
    if isinstance(cohort, Cohort):
        known = [dict(p.known) for p in cohort] + [dict(t.parameters) for t in cohort.truth.values()]
        values = {value for parameters in known for value in parameters.values()}
        assert values <= numbers_in(raw, ",")
        assert all(0 < value < np.inf for value in values)


def test_the_files_are_good_before_the_accidents(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TABLE)
    (tmp_path / "b.csv").write_text(CLOCK)
    (tmp_path / "patients.csv").write_text(PATIENTS.replace("Ada", "a"))
    assert len(read_cohort(tmp_path, truth=True)) == 2
