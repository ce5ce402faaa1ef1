"""The benchmarks run shrunk, and their files hold the rows that they promise."""

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import t1djax
from benchmarks import cohorts, devices, identification, options, suite
from benchmarks import report as report_
from benchmarks.__main__ import app
from benchmarks.accuracy import verdict
from benchmarks.compare import compare, name_of, read, repetitions
from benchmarks.identification import _cost
from benchmarks.optimisers import Course
from benchmarks.parameters import bound_percent
from benchmarks.peers import HERE, Answer
from benchmarks.problems import CLEAN, SCORED, WHITE
from benchmarks.runners import NETWORKS, Scope, solve

ROOT = Path(__file__).resolve().parents[1]
RECORDED = sorted((ROOT / "benchmarks" / "recorded" / "cpu").glob("*.json"))


def rows(command: str, folder: Path, *flags: str) -> list[dict]:
    """Run a command shrunk and read its table from JSON, once it is clear that the Markdown says the same."""
    found = CliRunner().invoke(app, [command, "--quick", "--out", str(folder), *flags], catch_exceptions=False)
    assert found.exit_code == 0
    stated = json.loads((folder / f"{command}.json").read_text(encoding="utf-8"))
    assert stated["settings"]["seeds"] == [0]
    assert {"date", "machine", "versions", "command"} <= stated.keys()
    lines = (folder / f"{command}.md").read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert len(table) == 2 + len(stated["rows"])  # heads and rule
    assert {len(line) for line in table} == {len(table[0])}
    return stated["rows"]


def test_every_command_is_documented() -> None:
    helped = CliRunner().invoke(app, ["--help"]).output
    pages = " ".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    for command in (c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands if c.callback):
        assert f"python -m benchmarks {command}" in pages
        assert command in helped
        if command != "compare":
            assert "--quick" in CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output


def test_a_report_is_whole_after_every_row(tmp_path: Path) -> None:
    report = report_.Report("demo", "A demonstration", tmp_path, {}, about={"machine": "m", "date": "d"})
    report.add({"model": "a", "x": 1.23456})
    report.add({"model": "b", "x": math.nan, "y": 1e-9})
    stated = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
    assert stated["rows"] == [{"model": "a", "x": 1.23456}, {"model": "b", "x": None, "y": 1e-9}]
    assert (tmp_path / "demo.md").read_text(encoding="utf-8").splitlines()[-4:] == [
        "| model | x | y |",
        "| --- | --- | --- |",
        "| a | 1.23 |  |",
        "| b |  | 1e-09 |",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.json", "demo.md"]


def test_seeds_draw_noise_of_their_own_and_models_share_it() -> None:
    names = ("Pat2",)
    first, same, other = (WHITE.reference(seed, names)["Pat2"].glucose_mg_dL for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert np.nanstd(first - other) > 10


def test_verdicts() -> None:
    clean = {"worst": 0.05, "fit worst": 0.5, "held-out worst": 0.5, "forecast worst": 0.5}
    assert verdict(clean, {}, CLEAN) == "aim"
    assert verdict(clean | {"forecast worst": 4.0}, {}, CLEAN) == "pass"
    assert verdict(clean | {"worst": 1.1}, {}, CLEAN) == "FAIL"
    assert verdict(clean | {"fit worst": math.nan}, {}, CLEAN) == "FAIL"
    assert verdict({"worst": 0.5}, {"ksi": 1.05, "forecast": 1.0}, WHITE) == "aim"
    assert verdict({"worst": 0.5}, {"ksi": 1.05, "forecast": 1.4}, WHITE) == "pass"
    assert verdict({"worst": 0.5}, {"ksi": 1.6}, WHITE) == "FAIL"
    assert verdict({"worst": 0.5}, {}, WHITE) == "FAIL"


def test_a_guess_is_scored_as_the_start_it_is() -> None:
    cohort = WHITE.reference(0, ("Pat2",))
    guess, fitted = (solve(model, [cohort], [0], WHITE.free) for model in ("guess", "ode"))
    start = t1djax.fit(cohort, model="ode", free=WHITE.free, seed=0)["Pat2"].estimates["ksi"].initial
    true = cohort.truth["Pat2"].parameters["ksi"]
    assert guess.errors("ksi_error_percent") == pytest.approx(100 * abs(start / true - 1))
    assert guess.errors("rmse_true_fit_mg_dL") > 5 * fitted.errors("rmse_true_fit_mg_dL")


def test_the_bound_is_that_of_finite_differences_in_the_scored_parameters() -> None:
    """Differences in p1 and c themselves, where the benchmark takes the delta rule on the logarithms of ksi and kl."""
    cohort = WHITE.reference(0, ("Pat3",))
    patient, true = cohort["Pat3"], cohort.truth["Pat3"].parameters
    where = patient.masks.fit
    at = np.array(
        [true["ksi"] * true["ku_Vi"], true["kl"] - true["kb"], *(true[s] for s in ("Tu", "Tr", "kr_Vb", "G0"))]
    )

    def glucose(values: np.ndarray) -> np.ndarray:
        p1, c, Tu, Tr, kr_Vb, G0 = values
        body = t1djax.Magdelaine(
            ksi=p1 / true["ku_Vi"], kl=c + true["kb"], kb=true["kb"], Tu=Tu, ku_Vi=true["ku_Vi"], Tr=Tr, kr_Vb=kr_Vb
        )
        inputs = patient.doses.inputs(patient.time_min[0], patient.time_min[-1])
        return np.asarray(t1djax.propagate(body, inputs, jnp.asarray(patient.time_min), G0=G0).glucose_mg_dL)[where]

    with jax.enable_x64(True):
        np.testing.assert_allclose(glucose(at), cohort.truth["Pat3"].glucose_mg_dL[where], atol=1e-6)
        steps = 1e-4 * np.eye(6)
        slopes = [(glucose(at * (1 + e)) - glucose(at * (1 - e))) / 2e-4 for e in steps]
    J = np.stack(slopes, axis=1) / 10.0
    bound = 100 * np.sqrt(np.diagonal(np.linalg.inv(J.T @ J)))[: len(SCORED)]
    np.testing.assert_allclose(bound_percent(patient, cohort.truth["Pat3"]), bound, rtol=1e-3)


def test_time_to_a_level_leaves_compilation_out_and_must_last() -> None:
    course = Course()
    # Two stages of ten-step chunks, 1 s each, whose first chunks take 100 s more.
    course.stamps = [(0, 0, 0.0), (1, 10, 101.0), (1, 20, 102.0), (1, 30, 103.0), (2, 40, 204.0), (2, 50, 205.0)]
    course.ksi = [np.array([x, 100.0]) for x in (130.0, 100.5, 110.0, 100.2, 100.05)]
    np.testing.assert_allclose(course.seconds(), [1, 2, 3, 4, 5])
    truth = np.array([100.0, 100.0])
    assert course.time_to(1.0, truth) == pytest.approx(4)
    assert course.time_to(0.1, truth) == pytest.approx(5)
    assert course.time_to(0.01, truth) is None
    assert course.per_step(1) == pytest.approx(0.1)


@pytest.mark.slow
def test_accuracy_has_a_row_per_model(tmp_path: Path) -> None:
    found = rows("accuracy", tmp_path)
    assert [row["model"] for row in found] == ["ode", "guess", "pinn", "birnn"]
    by_model = {row["model"]: row for row in found}
    assert by_model["ode"]["verdict"] == "aim"
    assert by_model["guess"]["verdict"] == "FAIL"
    assert by_model["birnn"]["worst"] < 1


@pytest.mark.slow
def test_parameters_has_errors_and_the_bound(tmp_path: Path) -> None:
    found = rows("parameters", tmp_path)
    assert [row["model"] for row in found] == ["ode", "pinn", "ode", ""]
    assert found[0]["all"] < 0.01
    assert 0.2 < found[2]["all"] < 3  # four draws


@pytest.mark.slow
def test_matrix_has_a_row_per_architecture_and_the_sum(tmp_path: Path) -> None:
    found = rows("matrix", tmp_path)
    assert [row["model"] for row in found] == [*NETWORKS, "all"]
    assert found[-1]["total, s"] == pytest.approx(sum(row["total, s"] for row in found[:-1]))


@pytest.mark.slow
def test_optimisers_has_a_row_per_optimiser(tmp_path: Path) -> None:
    found = rows("optimisers", tmp_path)
    assert [row["optimiser"] for row in found] == ["adam + lbfgs", "gauss_newton"]
    assert all(row["ksi worst, %"] > 0 for row in found)


@pytest.mark.slow
def test_options_has_a_row_per_option(tmp_path: Path) -> None:
    found = rows("options", tmp_path)
    assert [row["optimiser"] for row in found] == ["adam", "gauss_newton"]


def test_a_report_names_no_folder_of_the_machine(monkeypatch):
    asked = ["-m", "cohorts", "--out", "/a/b", "--part", "ten", "--envs=/c", "--envs", "/d", "--quick"]
    monkeypatch.setattr(report_.sys, "argv", asked)
    assert report_.surroundings()["command"] == "python -m benchmarks cohorts --part ten --quick"


def compared(old: Path, new: Path):
    return CliRunner().invoke(app, ["compare", str(old), str(new)], env={"COLUMNS": "1000"})


def doctored(path: Path, folder: Path, change) -> Path:
    """A copy of a recorded report that `change` was let loose on."""
    report = json.loads(path.read_text(encoding="utf-8"))
    change(report)
    copy = folder / f"doctored-{path.name}"
    copy.write_text(json.dumps(report), encoding="utf-8")
    return copy


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_timed_row_of_a_recorded_report_is_compared(path: Path, tmp_path: Path) -> None:
    """Each by itself twice as slow is named, and each by itself lost is named."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    timed = [i for i, row in enumerate(rows) if row.get("seconds each") and "version" not in row]
    found = compare(path, path)
    assert len(found.changes) + len(found.not_judged) == len(timed)
    assert not found.bad
    judged = [i for i in timed if len(rows[i]["seconds each"]) > 1]
    assert len(judged) == len(found.changes)
    for i in judged:
        slow = doctored(
            path,
            tmp_path,
            lambda r, i=i: r["rows"][i].update({"seconds each": [9 * x for x in rows[i]["seconds each"]]}),
        )
        assert [c.row for c in compare(path, slow).changes if c.slower] == [name_of(rows[i])]
    for i in range(len(rows)):
        fewer = doctored(path, tmp_path, lambda r, i=i: r["rows"].pop(i))
        assert len(compare(path, fewer).lost) == 1


def test_rows_of_one_name_are_numbered(tmp_path: Path) -> None:
    path = next(path for path in RECORDED if path.stem == "simulation")
    twice = doctored(path, tmp_path, lambda r: r["rows"].append(r["rows"][0]))
    assert compare(twice, path).lost == (f"{name_of(read(path)['rows'][0])} (2)",)


def test_comparison_says_what_is_worse_and_what_differs(tmp_path: Path) -> None:
    path = next(path for path in RECORDED if path.stem == "bound")
    assert compared(path, path).exit_code == 0
    fails = doctored(path, tmp_path, lambda r: r["rows"][1].update(verdict="FAIL"))
    found = compared(path, fails)
    assert found.exit_code == 1
    assert "worse: pinn, 200 draws: aim before, FAIL now" in found.output
    assert compared(fails, path).exit_code == 0

    def other(report: dict) -> None:
        report["versions"]["jax"] = "0.0"
        report["settings"]["draws"] = 100
        report["rows"][2].update(status="failed", why="no memory")

    found = compared(path, doctored(path, tmp_path, other))
    assert found.exit_code == 1
    assert found.output.splitlines()[:2] == ["note: versions differ: jax", "note: settings differ: draws"]
    assert "worse: modified_mlp, 200 draws: ok before, failed now (no memory)" in found.output


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"benchmark": "startup"', '{"benchmark": "startup", "rows": [3]}']
    + [f'{{"benchmark": "startup", "rows": [{{"what": "import numpy", "seconds each": {x}}}]}}'
       for x in ("[null, 1]", "[0, 0]", "7", "[true, 1]", "[NaN, 1]", "[1e999, 1]", "[-1, 1]", '["1", "1"]')],
)  # fmt: skip
def test_what_is_no_report_is_an_error_that_names_it(content: str, tmp_path: Path) -> None:
    path = next(path for path in RECORDED if path.stem == "startup")
    bad = tmp_path / "bad.json"
    bad.write_text(content, encoding="utf-8")
    for pair in ((path, bad), (bad, path)):
        found = compared(*pair)
        assert found.exit_code == 2, found.output
        assert "bad.json" in found.output
        assert isinstance(found.exception, SystemExit)  # and no traceback


def test_nothing_to_judge_is_an_error(tmp_path: Path) -> None:
    startup, memory, bound = (next(p for p in RECORDED if p.stem == n) for n in ("startup", "cohorts-memory", "bound"))
    assert "is of startup" in compared(startup, bound).output
    assert compared(startup, bound).exit_code == 2
    assert "nothing could be judged" in compared(memory, memory).output
    assert compared(memory, memory).exit_code == 2
    empty = doctored(startup, tmp_path, lambda r: r.update(rows=[]))
    assert compared(startup, empty).exit_code == 2
    once = doctored(startup, tmp_path, lambda r: [row.update({"seconds each": [1.0]}) for row in r["rows"]])
    found = compared(startup, once)
    assert found.exit_code == 2
    assert "not judged: import jax" in found.output


def test_one_outlier_hides_no_slowdown_and_makes_none(tmp_path: Path) -> None:
    path = next(path for path in RECORDED if path.stem == "startup")
    still, outlier = [1.0, 1.01, 1.02], [1.0, 1.01, 60.0]
    each = lambda x: doctored(path, tmp_path / str(x[2]), lambda r: r["rows"][1].update({"seconds each": x}))
    slow = [1.5, 1.52, 90.0]
    for x in (still, outlier, slow):
        (tmp_path / str(x[2])).mkdir()
    for before in (still, outlier):
        assert [c.row for c in compare(each(before), each(slow)).changes if c.slower] == ["import jax"]
    assert not compare(each(still), each(outlier)).bad


def test_seconds_of_patients_are_no_repetitions() -> None:
    rows = [row for path in RECORDED if path.stem == "peers" for row in json.loads(path.read_text("utf-8"))["rows"]]
    per_patient = [row for row in rows if "version" in row]
    assert {len(row["seconds each"]) for row in per_patient} >= {10, 30}
    assert not any(repetitions(row) for row in per_patient)
    cells = _cost(Answer("ok", {"cpu_s": 1.0, "peak_MiB": 1.0}), [3.0, 4.0], report_.PER_PATIENT)
    assert not repetitions(cells)
    assert cells[report_.PER_PATIENT] == [3.0, 4.0]


class Timer:
    """Stands for measurements: every call takes a second longer than the one before."""

    def __init__(self) -> None:
        self.calls = 0

    def pairs(self, sides: list, repeat: int) -> list[list[float]]:
        self.calls += 1
        return [[float(self.calls)] * repeat for _ in sides]

    def number(self, *_: object) -> float:
        self.calls += 1
        return float(self.calls)

    def memory(self, *_: object) -> dict:
        return dict.fromkeys(("run, s", "peak, MiB", "growth, MiB", "results, MiB"), self.number())


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    """The measurements of `cohorts` replaced, so that a table takes no time."""
    timer, people = Timer(), lambda patients, truth: SimpleNamespace(patients=patients, truth=truth)
    monkeypatch.setattr(cohorts, "_people", lambda n, **_: people((None,) * n, {}))
    monkeypatch.setattr(cohorts.t1djax, "Cohort", people)
    for name, f in (("_pairs", timer.pairs), ("_first", timer.number), ("in_own_process", timer.memory)):
        monkeypatch.setattr(cohorts, name, f)
    return timer


GROUPS = ("ten", "scaling", "seeds", "windows", "memory")


def refused(*words: str) -> str:
    """What the command line says of what it refuses."""
    found = CliRunner().invoke(app, list(words), env={"COLUMNS": "1000"})
    assert found.exit_code == 2, found.output
    assert isinstance(found.exception, SystemExit)
    return found.output


def test_unknown_names_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "none"))
    assert "ten, scaling" in refused("cohorts", "--part", "tenn", *out)
    assert "mechanistic, networks, pool" in refused("coverage", "--part", "ten", *out)
    assert "noise, loop" in refused("misfit", "--group", "noisy", *out)
    assert "scipy, deepxde" in refused("peers", "--only", "scipyy", *out)
    assert "pinn, modified_mlp" in refused("optimisers", "--model", "pin", *out)
    assert "factorised weights" in refused("options", "--quick", "--only", "nothing like it", *out)
    for command, option in (("scale", "--sizes"), ("checkpoints", "--sizes"), ("checkpoints", "--memory")):
        for bad in ("abc", "-3", "0", "1.5"):
            assert f"no number of patients: {bad}" in refused(command, option, f"10,{bad}", *out)
    assert "no sizes" in refused("scale", "--sizes", "", *out)
    assert "--suite quick" in refused("--only", "bound", *out)
    assert not (tmp_path / "none").exists()


def test_a_part_run_by_itself_is_not_complete(tmp_path: Path, timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_scipy", "_pool"):
        monkeypatch.setattr(cohorts, name, lambda *_: None)
    path = tmp_path / "cohorts.json"
    run = lambda *flags: CliRunner().invoke(app, ["cohorts", "--out", str(tmp_path), *flags], catch_exceptions=False)
    assert run("--part", "ten", "--part", "seeds").exit_code == 0
    assert not suite.complete(path)
    assert run(*(word for part in cohorts.PARTS for word in ("--part", part))).exit_code == 0
    assert suite.complete(path)
    assert run("--part", "ten").exit_code == 0
    assert not suite.complete(path)
    assert run().exit_code == 0
    assert suite.complete(path)
    whole = path.read_text(encoding="utf-8")
    for status in ("not installed", "failed", "timed out"):
        bad = doctored(path, tmp_path, lambda r, status=status: r["rows"][0].update(status=status))
        assert not suite.complete(bad)
    assert suite.complete(doctored(path, tmp_path, lambda r: r["rows"][0].update(status="stopped at its budget")))
    for name in ("t1djax", "jax"):
        assert not suite.complete(doctored(path, tmp_path, lambda r, name=name: r["versions"].update({name: "0.0"})))
    for broken in (whole[:-20], "", "[]"):
        path.write_text(broken, encoding="utf-8")
        assert not suite.complete(path)
    assert not suite.complete(tmp_path / "none.json")


def test_quick_options_are_those_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(compile_s=1.0, run_s=1.0, failed=lambda: 0)
    monkeypatch.setattr(options, "solve", lambda *_, **__: found)
    monkeypatch.setattr(options, "errors", lambda _: {})
    chosen = lambda only: [row["option"] for row in options.run(Scope.of(True, 1, 2), tmp_path, only=only).rows]
    assert chosen("") == ["as it is (octaves, dose memories)", "no dose memories, random waves"]
    assert chosen("causal") == ["residual x1, causal weights, strength 1", "causal weights, strength 10"]
    assert chosen("factorised") == ["factorised weights"]


def cohorts_rows(folder: Path) -> dict:
    cohorts.run(folder, envs=None, full=True, quick=False, parts=GROUPS)
    return json.loads((folder / "cohorts.json").read_text(encoding="utf-8"))


def test_an_interrupted_table_gets_exactly_its_missing_rows(tmp_path: Path, timer: Timer) -> None:
    whole = cohorts_rows(tmp_path)
    names = [name_of(row) for row in whole["rows"]]
    assert len(set(names)) == len(names) == 6 + 5 + 5 + 2 * (4 + 3) + 4
    done = timer.calls
    assert cohorts_rows(tmp_path)["rows"] == whole["rows"]  # nothing is measured again
    assert timer.calls == done
    path = tmp_path / "cohorts.json"
    for kept in (range(i) for i in range(len(names))):
        path.write_text(json.dumps(whole | {"rows": [whole["rows"][i] for i in kept]}), encoding="utf-8")
        again = cohorts_rows(tmp_path)
        assert sorted(name_of(row) for row in again["rows"]) == sorted(names)
        assert again["rows"][: len(kept)] == whole["rows"][: len(kept)]
    for gone in range(len(names)):
        path.write_text(json.dumps(whole | {"rows": [r for i, r in enumerate(whole["rows"]) if i != gone]}), "utf-8")
        again = cohorts_rows(tmp_path)
        assert sorted(name_of(row) for row in again["rows"]) == sorted(names)
        assert len({note.partition("^")[0] for note in again["notes"]}) == len(again["notes"])


def test_slopes_and_ratios_are_of_recorded_rows_too(tmp_path: Path, timer: Timer) -> None:
    whole = cohorts_rows(tmp_path)
    rows = [row for row in whole["rows"] if (row["what"], row["model"]) == ("ten patients, seeds", "ode")]
    for row in rows:
        row["seconds"] = 2.0 * row["seeds"] ** 0.5
    lost = rows[-1]
    whole["rows"].remove(lost)
    (tmp_path / "cohorts.json").write_text(json.dumps(whole), encoding="utf-8")
    timer.calls = 15  # the next one takes 16 s
    again = cohorts_rows(tmp_path)
    found = [row for row in again["rows"] if (row["what"], row["model"]) == ("ten patients, seeds", "ode")]
    assert [row["seconds"] for row in found[:-1]] == [row["seconds"] for row in rows[:-1]]
    assert [row["ratio"] for row in found] == pytest.approx([1.0, 2**0.5, 2.0, 8.0])
    x, y = np.log([1, 2, 4, 8]), np.log([2.0, 2.0 * 2**0.5, 4.0, 16.0])
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    assert [note for note in again["notes"] if "ode: seconds grow as seeds" in note] == [
        f"ode: seconds grow as seeds^{slope:.2f}."
    ]


@pytest.mark.slow
def test_devices_go_on_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []

    def fit(command: list[str], *, env: dict[str, str], **_: object) -> SimpleNamespace:
        count = int(env["XLA_FLAGS"].rpartition("=")[2])
        asked.append((count, command[-1]))
        told = {"devices": count, "seconds": [1.0] * int(command[-1]), "ksi": [1.0, 1.0 + count / 100]}
        return SimpleNamespace(stdout=json.dumps(told))

    class Sweep:
        def __init__(self, command: list[str], **_: object) -> None:
            (Path(command[command.index("--results") + 1]) / "summary.csv").write_text("ksi\n1.0\n")

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(devices.subprocess, "run", fit)
    monkeypatch.setattr(devices.subprocess, "Popen", Sweep)
    report = report_.Report("devices", "", tmp_path, {}, about={"machine": "m", "date": "d"})
    for _ in range(2):
        devices._sharded(report, "ode", 2, (1, 8), 3)
        devices._two_processes(report, quick=True)
    assert asked == [(1, "3"), (8, "3")]
    names, whole = [name_of(row) for row in report.rows], list(report.rows)
    assert len(set(names)) == len(names) == 4
    for gone in range(4):
        report.rows = whole[:gone] + whole[gone + 1 :]
        devices._sharded(report, "ode", 2, (1, 8), 3)
        devices._two_processes(report, quick=True)
        assert sorted(name_of(row) for row in report.rows) == sorted(names)
        eight = report.find(what="sharded over devices", devices=8) or {}
        assert eight["difference"] == pytest.approx(1.08 / 1.01 - 1)
    assert asked[2:] == [(1, "3"), (1, "0"), (8, "3")]  # without repetitions where only its estimates are wanted
    report.rows = [{"what": "ceiling", "model": "float32", "GFLOP/s": 7.0}] + [
        {"what": "share of the ceiling", "model": f"pinn, {name}", "patients": 2} for name in ("Adam", "Gauss-Newton")
    ]
    devices._ceiling(report, quick=True)
    assert [(row["what"], row["model"]) for row in report.rows[3:]] == [("ceiling", "float64")]


def test_pairs_of_steps_are_measured_again_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = json.loads(next(p for p in RECORDED if p.stem == "pairs-later").read_text(encoding="utf-8"))["rows"]
    made = [row | {"case": row["case"].replace("10 patients", "2 patients")} for row in made]
    calls: list[int] = []

    def steps(report: report_.Report, *_: object) -> None:
        calls.append(len(report.rows))
        for row in made:
            report.add(row)

    monkeypatch.setattr(identification, "_steps", steps)
    again = lambda: identification.run(Scope.of(True, 1), tmp_path, envs=None, only=("step",)).rows
    assert again() == again() == made
    path = tmp_path / "peers.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(report | {"rows": made[:3]}), encoding="utf-8")
    assert again() == made
    assert calls == [0, 0]


_PART = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
folder = pathlib.Path(sys.argv[1])
(folder / "part").write_text(f"{os.getpid()} {child.pid}")
(folder / "part").rename(folder / "pids")
time.sleep(120)
"""
# A process in the background of a shell inherits that Ctrl-C is ignored.
_SUITE = """
import signal, sys
from benchmarks.suite import run_to_end
signal.signal(signal.SIGINT, signal.default_int_handler)
run_to_end([sys.executable, "-c", *sys.argv[1:]])
"""


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"  # what nobody has waited for is no longer running


def waited_for(done, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(done())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_suite_that_is_ended_ends_its_part(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SUITE, _PART, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        assert waited_for((tmp_path / "pids").exists)
        pids = [int(word) for word in (tmp_path / "pids").read_text(encoding="ascii").split()]
        assert all(alive(pid) for pid in pids)
        process.send_signal(getattr(signal, name))
        assert process.wait(30) == (143 if name == "SIGTERM" else -signal.SIGINT)
        assert waited_for(lambda: not any(alive(pid) for pid in pids), 10)
    finally:
        process.kill()
        process.wait()


def test_a_command_that_ends_tells_its_status() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert suite.run_to_end([sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="elsewhere a peak is what getrusage tells")
def test_a_peak_is_of_the_process_alone(tmp_path: Path) -> None:
    """Children of a process that holds 900 MiB: `getrusage` tells them of at least that."""
    script = f"import sys; sys.path.insert(0, {str(HERE)!r}); from talk import peak_MiB as peak"
    parent = (
        "import json, subprocess, sys; held = bytearray(900 << 20); held[::4096] = bytes(len(held[::4096]));"
        "ask = lambda s: subprocess.run([sys.executable, '-c', s + '; import resource; print(peak(), "
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)'], capture_output=True, text=True, check=True);"
        "print(json.dumps([float(x) for x in ask(sys.argv[1]).stdout.split()]))"
    )
    command = [sys.executable, "-c", parent, script]
    own, inherited = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert 1 < own < 800
    assert inherited >= own


def test_every_runner_reads_its_own_peak() -> None:
    readers = {p.name for p in (ROOT / "benchmarks").rglob("*.py") if "getrusage(" in p.read_text(encoding="utf-8")}
    assert readers == {"talk.py"}  # where there is no /proc
