"""What people see in a terminal of 80 columns: whole cells, the progress, warnings once, what is going on."""

import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import t1djax
from t1djax.cli import _execution
from t1djax.cli._execution import telling
from t1djax.cli._output import remove_figures
from t1djax.cli._tables import alike, parts, print_table
from t1djax.cli._train import _line, _tell_of_errors
from t1djax.training import Progress

from .command import call


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, frame: pd.DataFrame, stdout: io.StringIO, columns: str = "80") -> str:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", stdout)
    print_table(frame)
    return re.sub(r"\x1b\[[0-9;]*m", "", stdout.getvalue())


def wide() -> pd.DataFrame:
    rows = {"patient": ["Pat2", "Ada Lovelace [x]"], "seed": [0, 1]}
    rows |= {f"ksi_{k}": [f"{197 + k}.25 ± 0.{k}5", f"{300 + k} ± 2{k}"] for k in range(9)}
    return pd.DataFrame(rows | {"rmse_forecast_mg_dL": [12.345, np.nan]})


def cells(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")] for line in lines if "│" in line]


def test_a_wide_table_is_several_that_fit_with_every_cell_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, wide(), Terminal()).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    found = cells(lines)
    assert len(found) > 2
    assert all(row[:2] in (["Pat2", "0"], ["Ada Lovelace [x]", "1"]) for row in found)
    for k, name in enumerate(("Pat2", "Ada Lovelace [x]")):
        values = [cell for row in found if row[0] == name for cell in row[2:]]
        assert values == [*(wide()[f"ksi_{i}"][k] for i in range(9)), ("12.35" if k == 0 else "-")]


def test_a_table_that_fits_is_one_and_so_is_one_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    small = wide().loc[:, ["patient", "seed", "ksi_0"]]
    assert len(cells(shown(monkeypatch, small, Terminal()).splitlines())) == 2
    long = wide().assign(folder="/a/long/path" * 20)
    found = cells(shown(monkeypatch, long, io.StringIO()).splitlines())
    assert [row[-1] for row in found] == ["/a/long/path" * 20] * 2


def test_a_cell_wider_than_the_terminal_goes_on_below(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"name": ["run"], "uri": ["sqlite:///" + "abc/" * 40]})
    said = shown(monkeypatch, frame, Terminal())
    assert max(map(len, said.splitlines())) <= 80
    assert "".join(row[1] for row in cells(said.splitlines())) == frame["uri"][0]


def test_names_that_leave_no_room_are_not_repeated() -> None:
    wide = {"model": 30, "mode": 30, "patient": 12, "ksi": 20, "kl": 20}
    assert parts(wide, 70) == [["model", "mode"], ["model", "patient", "ksi"], ["model", "kl"]]
    assert parts({"patient": 9}, 5) == [["patient"]]


TOLD = Progress(2, 12345, 20000, 10, np.full(10, 123.4**2), {"ksi": np.full(10, 197.3)}, None)


def last_line(monkeypatch: pytest.MonkeyPatch, told: Progress, then: str = "") -> str:
    out = io.StringIO()
    monkeypatch.setattr(_execution, "stderr", Console(file=out, force_terminal=True, width=80, color_system=None))
    with telling(_line, show=True) as tell:
        tell(told)
        if then:
            tell.now(then)
    said = re.split(r"[\r\n]|\x1b\[[0-9;?]*[a-zA-Z]", out.getvalue())
    return next(line for line in reversed(said) if line.strip())


@pytest.mark.parametrize("seconds", [None, 12345.0])
def test_progress_fits_into_80_columns(monkeypatch: pytest.MonkeyPatch, seconds: float | None) -> None:
    last = last_line(monkeypatch, TOLD._replace(seconds_left=seconds))
    assert len(last) <= 80
    assert last.startswith("stage 2, step ")
    assert "12345/20000" in last
    assert "misfit 123 mg/dL" in last
    assert seconds is None or "12345 s left" in last


def test_what_begins_is_not_counted_by_what_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    last = last_line(monkeypatch, TOLD, then="drawing")
    assert last.startswith("drawing ")
    assert " 0/? " in last


def test_what_is_said_of_one_member_names_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    estimate = lambda se: {"value": 200.0, "standard_error": se, "white_error": 1.0}
    fits = [("Ada", 3, 1.0), ("Ada", 4, 2.0), ("Ada", 5, 2.0), ("Bob", 3, 2.0), ("Bob", 4, 2.0), ("Bob", 5, 2.0)]
    told = [{"patient": name, "seed": seed, "estimates": {"ksi": estimate(se)}} for name, seed, se in fits]
    _tell_of_errors(told, {3, 4, 5})
    assert "residuals are autocorrelated, in Ada (seeds 4, 5), Bob: `t1djax identify`" in capsys.readouterr().out
    _tell_of_errors(told[1:2], {4})
    assert "in Ada: `t1djax identify`" in capsys.readouterr().out


def test_sentences_that_differ_in_numbers_are_one() -> None:
    said = [
        ("A@0012h", "G0 = 30 mg/dL is outside 70 to 250"),
        ("A@0012h", "memory (0.40 from one to the next), -0.5 below"),
        ("A@0024h", "memory (0.91 from one to the next), -1e-3 below"),
        ("A@0036h", "memory (0.7 from one to the next), -0.5 below"),
        ("B@0012h", "kl = 30 mg/dL is outside 70 to 250"),
        ("C", "first at 2024-05-01 10:15"),
        ("D", "first at 2024-05-02 10:20"),
    ]
    assert alike(said) == [
        (["A@0012h"], "G0 = 30 mg/dL is outside 70 to 250"),
        (["A@0012h", "A@0024h", "A@0036h"], "memory (0.40 to 0.91 from one to the next), -0.5 to -1e-3 below"),
        (["B@0012h"], "kl = 30 mg/dL is outside 70 to 250"),
        (["C"], "first at 2024-05-01 10:15"),
        (["D"], "first at 2024-05-02 10:20"),
    ]


def test_identify_refuses_a_folder_in_use_and_replaces_it_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "id"
    asked = ("identify", "reference", "--interval-min", "60", "--preflight", "--out", out)
    assert call(*asked, "--patients", "2").code == 0
    (out / "Pat2_profiles.png").write_bytes(b"then")
    (out / "profile_ksi.csv").write_text("then")
    (out / "notes.txt").write_text("mine")
    with monkeypatch.context() as patch:
        patch.setattr("t1djax.cli._identify.read_people", lambda *_, **__: pytest.fail("work was begun"))
        said = call(*asked, "--patients", "3")
        assert said.code == 2
        assert "holds identifications already; name another folder, or replace what is there with" in said.err
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "mine.txt").write_text("mine")
        said = call(*asked[:-1], tmp_path / "other", "--overwrite")
        assert (said.code, "holds no identifications" in said.err) == (2, True)
    assert call(*asked, "--patients", "3", "--overwrite").code == 0
    assert {path.name for path in out.iterdir()} == {
        "identification.csv", "identification.json", "Pat3.png", "notes.txt",
    }  # fmt: skip


def test_figures_outside_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out.png").write_bytes(b"mine")
    (tmp_path / "in" / "Ada.png").write_bytes(b"then")
    (tmp_path / "in" / "t.csv").write_text("patient\n../out\nAda\n")
    remove_figures(tmp_path / "in" / "t.csv")
    assert {path.name for path in tmp_path.rglob("*.png")} == {"out.png"}
    remove_figures(tmp_path / "none.csv")


def test_warnings_of_windows_are_grouped_and_identify_does_not_name_itself(tmp_path: Path) -> None:
    patient = t1djax.reference_cohort(interval_min=15, names=["Pat3"])["Pat3"]
    rng, noise = np.random.default_rng(0), np.zeros(len(patient.time_min))
    for i in range(1, len(noise)):
        noise[i] = 0.95 * noise[i - 1] + rng.normal(0, 8)
    readings = np.maximum(patient.glucose_mg_dL + noise, 41)
    noisy = t1djax.Patient("Ada", patient.time_min, readings, patient.doses, known=patient.known)
    t1djax.write_cohort(t1djax.Cohort((noisy,)), tmp_path / "c")
    said = call("identify", tmp_path / "c", "--windows", "12", "--step", "6", "--verbose")
    assert "t1djax identify" not in said.err
    about = [line for line in said.err.splitlines() if "residuals are autocorrelated" in line]
    assert len(about) == 1
    assert re.search(r"^warning: Ada@\d+h, Ada@\d+h.*\(0\.\d+ to 0\.\d+ from one reading", about[0])
    assert "the robust ones (robust_percent)" in about[0]


def test_json_comes_alone() -> None:
    said = call("identify", "reference", "--patients", "2", "--interval-min", "60", "--preflight", "--json")
    assert (said.code, said.err) == (0, "")
    json.loads(said.out)
