"""What is wrong with a canonical table is said all at once, each with its file, row and column."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from t1djax.io import DataError, DataWarning, read_cohort, read_patient

HEADER = "time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g"
GOOD = f"{HEADER}\n0,120,0.9,,\n5,118,,4,40\n10,,,,\n15,125,1.1,0,\n"


def put(folder: Path, text: str | bytes, name: str = "Ada") -> Path:
    file = folder / f"{name}.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


FINE = "0,120,0.9,,\n5,118,,4,40\n"
MANY = "".join(f"{5 * i},{120 + i},{{}},," + "\n" for i in range(12))
BAD: list[tuple[str, str | bytes, str]] = [
    ("missing column", "time_min,glucose_mmol,basal_U_h,bolus_U,carbs_g\n" + FINE,
     ", column glucose_mg_dL: the column is missing; is it glucose_mmol? rename it and mind the unit"),
    ("missing time", "minute,glucose_mg_dL,basal_U_h,bolus_U,carbs_g\n" + FINE,
     ", column time_min: the column is missing; add it, or time"),
    ("both times", f"time,{HEADER}\n2024-01-01T00:00,0,120,1,,\n2024-01-01T00:05,5,120,1,,\n",
     ", column time_min: there is time as well; keep one of them"),
    ("dose before a row without its time",
     f"{HEADER.replace('time_min', 'time')}\n2024-05-01T07:00,,,2,\n,120,0.9,,\n2024-05-01T07:10,118,,,\n",
     ", row 3, column time: the row has no time"),
    ("column twice", f"{HEADER},bolus_U\n0,120,0.9,,,\n5,118,,4,40,\n", ", row 1, column bolus_U: there is more"),
    ("column without a name", f"{HEADER},\n0,120,0.9,,,\n5,118,,4,40,\n", ", row 1: column 6 has no name"),
    ("empty", b"", ", row 1: it is empty"),
    ("blank", b"\n \n\n", ", row 1: it is empty"),
    ("header only", HEADER + "\n", ", row 1: there is a header and no row"),
    ("one row", HEADER + "\n0,120,1,,\n", ", column time_min: there are fewer than two rows"),
    ("Latin-1", GOOD.encode() + "20,118,,,\n25,ö,,,\n".encode("latin-1"),
     ", row 7, column glucose_mg_dL: '\\xf6' is not a number"),
    ("Latin-1 with mark", b"\xef\xbb\xbf" + GOOD.encode() + b"\xf6", ", row 6: byte 97 (0xf6) is not UTF-8"),
    ("spreadsheet", b"PK\x03\x04\0\0\0", ", row 1: it is a spreadsheet or an archive"),
    ("binary", bytes(range(256)), ", row 1: byte 0 is NUL"),
    ("NUL inside", GOOD.replace("125", "1\x0025"), ", row 5: byte 84 is NUL"),
    ("semicolons", GOOD.replace(",", ";"), ", row 1: its cells are separated by ';', not by ','"),
    ("tabs", GOOD.replace(",", "\t"), r", row 1: its cells are separated by '\t', not by ','"),
    ("ragged short", f"{HEADER}\n{FINE}10,118\n15,118,,,\n", ", row 4: it has 2 cells, the header 5"),
    ("ragged long", f"{HEADER}\n{FINE}10,118,5,,,7\n15,118,,,\n", ", row 4: it has 6 cells, the header 5"),
    ("quote", f'{HEADER}\n{FINE}10,"118,,,\n15,118,,,\n', ", row 4: the row cannot be split into cells"),
    ("huge cell", f"{HEADER}\n{FINE}10,{'9' * 140_000},,,\n", ", row 4: the row cannot be split into cells"),
    ("text", f"{HEADER}\n{FINE}10,High,,,\n", ", row 4, column glucose_mg_dL: 'High' is not a number"),
    ("digits of other scripts", f"{HEADER}\n{FINE}10,١٢٠,,,\n", ", row 4, column glucose_mg_dL: "),
    ("control character", f"{HEADER}\n{FINE}10,120\x1c,,,\n", ", row 4, column glucose_mg_dL: '120\\x1c' is not"),
    ("underscore", f"{HEADER}\n{FINE}10,1_20,,,\n", ", row 4, column glucose_mg_dL: '1_20' is not a number"),
    ("long text", f"{HEADER}\n{FINE}10,{'x' * 500},,,\n", f", row 4, column glucose_mg_dL: '{'x' * 37}...' is not"),
    ("inf", f"{HEADER}\n{FINE}10,inf,,,\n", ", row 4, column glucose_mg_dL: 'inf' is not a finite number"),
    ("nan", f"{HEADER}\n{FINE}10,NaN,,,\n", ", row 4, column glucose_mg_dL: 'NaN' is not a finite number"),
    ("overflow", f"{HEADER}\n{FINE}10,1e999,,,\n", ", row 4, column glucose_mg_dL: '1e999' is not a finite number"),
    ("decimal comma", f'{HEADER}\n{FINE}10,118,,"4,5",\n', ", row 4, column bolus_U: '4,5' has a decimal comma"),
    ("thousands", f'{HEADER}\n{FINE}"1,000",118,,4,\n', ", row 4, column time_min: '1,000' has a thousands separator"),
    ("no glucose", f"{HEADER}\n0,,1,,\n5,,,4,40\n", ", column glucose_mg_dL: there is no reading at all"),
    ("mmol/L", f"{HEADER}\n0,6.7,1,,\n5,6.1,,4,40\n", ", column glucose_mg_dL: its median is 6.4, which looks like "
     "mmol/L; multiply by 18.016"),
    ("glucose too high", f"{HEADER}\n{FINE}10,12000,,,\n", ", row 4, column glucose_mg_dL: '12000' is more than 5000"),
    ("milligrams", f"{HEADER}\n{FINE}10,118,,,45000\n", ", row 4, column carbs_g: '45000' is more than 1000; give "
     "carbohydrate in g; is it mg?"),
    ("large bolus", f"{HEADER}\n{FINE}10,118,,101,\n", ", row 4, column bolus_U: '101' is more than 100"),
    ("large basal", f"{HEADER}\n{FINE}10,118,16,,\n", ", row 4, column basal_U_h: '16' is more than 15"),
    ("basal per minute", f"{HEADER}\n{MANY.format(*[0.015] * 12)}", ", column basal_U_h: it comes to 0.36 U a day"),
    ("negative bolus", f"{HEADER}\n{FINE}10,118,,-4,\n", ", row 4, column bolus_U: '-4' is negative"),
    ("negative meal", f"{HEADER}\n{FINE}10,118,,,-40\n", ", row 4, column carbs_g: '-40' is negative"),
    ("negative basal", f"{HEADER}\n{FINE}10,118,-1,,\n", ", row 4, column basal_U_h: '-1' is negative"),
    ("first basal", f"{HEADER}\n0,120,,,\n5,118,1,4,40\n", ", row 2, column basal_U_h: the first row states no rate"),
    ("zero duration", f"{HEADER},bolus_duration_min\n0,120,1,4,,0\n5,118,,,,\n",
     ", row 2, column bolus_duration_min: '0' is no duration"),
    ("negative duration", f"{HEADER},meal_duration_min\n0,120,1,4,,-5\n5,118,,,,\n",
     ", row 2, column meal_duration_min: '-5' is no duration"),
    ("brief duration", f"{HEADER},meal_duration_min\n0,120,1,,9,1e-9\n5,118,,,,\n",
     ", row 2, column meal_duration_min: '1e-9' is less than a second"),
    ("long duration", f"{HEADER},meal_duration_min\n0,120,1,,9,7200\n5,118,,,,\n",
     ", row 2, column meal_duration_min: '7200' is more than 1440"),
    ("back in time", f"{HEADER}\n{FINE}4,118,,,\n", ", row 4, column time_min: '4' goes back in time"),
    ("time twice", f"{HEADER}\n{FINE}5,118,,,\n", ", row 4, column time_min: '5' repeats the row before"),
    ("time blank", f"{HEADER}\n{FINE},118,,,\n", ", row 4, column time_min: the row has no time"),
    ("time huge", f"{HEADER}\n{FINE}1e300,118,,,\n", ", row 4, column time_min: '1e300' is beyond any record"),
    ("day first", HEADER.replace("time_min", "time") + "\n13/06/2018 22:45,120,1,,\n13/06/2018 22:50,120,1,,\n",
     ", 2 rows (2, 3), column time: '13/06/2018 22:45' is not a timestamp"),
    ("no such day", HEADER.replace("time_min", "time") + "\n2023-02-28T00:00,120,1,,\n2023-02-29T00:00,120,1,,\n",
     ", row 3, column time: '2023-02-29T00:00' is not a timestamp"),
    ("nanoseconds", HEADER.replace("time_min", "time") + "\n2023-02-28T00:00:00.1234567,120,1,,\n",
     ", row 2, column time: '2023-02-28T00:00:00.1234567' is not a timestamp; write ISO 8601 to the microsecond"),
    ("some offsets", HEADER.replace("time_min", "time") + "\n2023-02-28T00:00,120,1,,\n2023-02-28T00:05,120,1,,\n"
     "2023-02-28T00:10Z,120,1,,\n", ", row 4, column time: '2023-02-28T00:10Z' has an offset from UTC, unlike others"),
    ("clocks back", HEADER.replace("time_min", "time") + "\n2024-10-27T02:55,120,1,,\n2024-10-27T02:00,120,1,,\n",
     ", row 3, column time: '2024-10-27T02:00' goes back in time; sort the rows; give local times an offset"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
@pytest.mark.parametrize("reader", [read_patient, read_cohort])
def test_bad_file(tmp_path: Path, text: str | bytes, message: str, reader: Callable[[Path], object]) -> None:
    file = put(tmp_path, text)
    with pytest.raises(DataError) as caught:
        reader(file)
    assert f"{file}{message}" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.csv", "there is no such file"),
        (tmp_path / "none", "there is no such folder"),
        (tmp_path, "there is no patient's file"),
        (tmp_path / "patients.csv", "is reserved"),
    ):
        with pytest.raises(DataError) as caught:
            read_cohort(path)
        assert f"{path}: " in str(caught.value)
        assert message in str(caught.value)
    with pytest.raises(DataError, match="this is not a file"):
        read_patient(tmp_path)
    for path in (f"a\0b{tmp_path}", tmp_path / ("a" * 5000)):
        for reader in (read_patient, read_cohort):
            with pytest.raises(DataError, match=r"there is no such|cannot be opened"):
                reader(path)
    with pytest.raises(DataError, match="give the folder"):
        read_cohort(put(tmp_path, GOOD), patients=["Ada"])


def test_a_huge_file_is_not_swallowed(tmp_path: Path) -> None:
    file = tmp_path / "Ada.csv"
    with file.open("wb") as stream:
        stream.truncate(300 * 2**20)  # sparse: takes no room
    with pytest.raises(DataError, match="it is larger than 256 MB"):
        read_patient(file)


PARAMETER_TABLES = [
    ("patient\nAda\nAda\n", ", row 3, column patient: 'Ada' stands above already"),
    ("patient,M_kg\nAda,-70\n", ", row 2, column M_kg: '-70' is not positive"),
    ("patient,ksi\nAda,0\n", ", row 2, column ksi: '0' is not positive"),
    ("patient,ksi\nAda,inf\n", ", row 2, column ksi: 'inf' is not a finite number"),
    ("patient,ksi\nAda,high\n", ", row 2, column ksi: 'high' is not a number"),
    ("patient,G0_mg_dL\nAda,6.7\n", ", row 2, column G0_mg_dL: '6.7' looks like mmol/L; multiply by 18.016"),
    (
        "patient,M_kg,kb\nAda,72,1.9\n",
        ", row 2, column kb: '1.9' is not 128 / M_kg within 1 %; give M_kg or kb, not both",
    ),
    ("patient\nAda\n../Bob\n", ", row 3, column patient: the name '../Bob' begins with a dot or has one of"),
    ("patient\nAda\nTRUTH\n", ", row 3, column patient: the name 'TRUTH' is reserved"),
    ('patient\nAda\n""\n..\n', ", row 4, column patient: the name '..' begins with a dot"),
    ("patient,ksi\nAda,200\n,200\n", ", row 3, column patient: the name '' is empty"),
    ("person,ksi\nAda,200\n", ", column patient: the column is missing"),
    ("patient;ksi\nAda;200\n", ", row 1: its cells are separated by ';'"),
]


@pytest.mark.parametrize(("text", "message"), PARAMETER_TABLES)
@pytest.mark.parametrize("file", ["patients.csv", "truth.csv"])
def test_bad_parameters(tmp_path: Path, file: str, text: str, message: str) -> None:
    put(tmp_path, GOOD)
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError) as caught:
        read_cohort(tmp_path, truth=True)
    assert f"{tmp_path / file}{message}" in str(caught.value)


def test_agreeing_mass_and_kb_are_kept(tmp_path: Path) -> None:
    put(tmp_path, GOOD)
    (tmp_path / "patients.csv").write_text(f"patient,M_kg,kb\nAda,72,{128 / 72 * 1.009}\n")
    assert read_cohort(tmp_path)["Ada"].known == {"M": 72.0, "kb": 128 / 72 * 1.009}


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    rows = "".join(f"{5 * i},118,,-1,\n" for i in range(2, 44))
    put(tmp_path, f"{HEADER}\n0,120,,,\n5,x,,,\n{rows}200,110,,,-3\n220,110\n")
    put(tmp_path, GOOD.replace(",", ";"), "Bob")
    (tmp_path / "patients.csv").write_text("patient,ksi,Tu\nAda,-1,60\nEve,,\n")
    with pytest.raises(DataError) as caught:
        read_cohort(tmp_path)
    ada, eve = tmp_path / "Ada.csv", tmp_path / "patients.csv"
    short = "is the file cut short? export it again"
    number = "is not a number; write a number, or leave the cell empty where there is none"
    negative = "give amounts and rates of zero or more"
    assert sorted(str(caught.value).splitlines()) == sorted([
        f"{eve}, row 2, column ksi: '-1' is not positive; leave it empty where it is unknown",
        f"{eve}, column patient: patient 'Eve' has no file; write Eve.csv, or remove the row",
        f"{ada}, row 47: it has 2 cells, the header 5; {short}",
        f"{ada}, row 46, column time_min: '200' goes back in time; sort the rows; give local times an offset from UTC",
        f"{ada}, row 2, column basal_U_h: the first row states no rate; state the rate in force (0 for none)",
        f"{ada}, row 3, column glucose_mg_dL: 'x' {number}",
        f"{ada}, 42 rows (4, 5, 6, 7, 8, ...), column bolus_U: '-1' is negative; {negative}",
        f"{ada}, row 46, column carbs_g: '-3' is negative; {negative}",
        f"{tmp_path / 'Bob.csv'}, row 1: its cells are separated by ';', not by ','; export it with ',' and a decimal "
        "point",
    ])  # fmt: skip
    assert len(caught.value.problems) == 9
    assert {len(p.rows) for p in caught.value.problems if p.column == "bolus_U"} == {42}


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    text = f'{HEADER},note\n0,120,1,,,"two\nlines"\n\n5,118,,,,\n,,,,,\n10,x,,,,\n'
    with pytest.raises(DataError, match=r"row 7, column glucose_mg_dL: 'x'"):
        read_patient(put(tmp_path, text))


def test_what_is_odd_warns(tmp_path: Path) -> None:
    put(tmp_path, f"{HEADER},glucose_mmol,bolus_duration\n0,120,1,,,6.7,\n5,30,1,,,6,\n10,20,,,,,\n")
    with pytest.warns(DataWarning) as caught:
        patient = read_cohort(tmp_path)["Ada"]
    assert patient.glucose_mg_dL.tolist() == [120, 30, 20]
    file = tmp_path / "Ada.csv"
    assert sorted(str(w.message) for w in caught) == sorted([
        f"{file}, column glucose_mmol: unknown, not read; is glucose_mg_dL meant?",
        f"{file}, column bolus_duration: unknown, not read; is bolus_duration_min meant?",
        f"{file}, row 3, column glucose_mg_dL: first of 2 readings below 40 mg/dL (the lowest is 20); they are kept",
    ])  # fmt: skip
    put(tmp_path, f"{HEADER}\n" + MANY.format(*[0.1] * 12))
    with pytest.warns(DataWarning, match=r"2.4 U a day only; is it U per 5 min\?"):
        read_cohort(tmp_path)
