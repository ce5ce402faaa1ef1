"""What other systems are asked, what becomes of one that is missing, suites that resume, and reports compared."""

import dataclasses
import importlib.util
import json
import os
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import t1djax
from benchmarks import identification, jobs, peers, suite
from benchmarks.__main__ import app
from benchmarks.compare import Comparison, compare, told
from benchmarks.identification import _batch_time, _in_turn
from benchmarks.report import Report

ABOUT = {"machine": "m", "date": "d", "versions": {"t1djax": "1"}}


@pytest.fixture(scope="module")
def cohort() -> t1djax.Cohort:
    return t1djax.reference_cohort(interval_min=15.0, names=["Pat2", "Pat3"])


def script(name: str) -> ModuleType:
    """A file of the peers, which is in no package."""
    spec = importlib.util.spec_from_file_location(name, peers.HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_scipy_solves_the_same_equations(cohort: t1djax.Cohort) -> None:
    told_ = jobs.patients(cohort)
    true = np.stack([cohort.truth[name].glucose_mg_dL for name in cohort.names])
    job = {"task": "simulate", "patients": told_, "repeat": 2}
    fine = peers.ask("scipy", {**job, "method": "LSODA", "rtol": 1e-9, "atol": 1e-9}, envs=None)
    assert fine.ok, fine.words
    assert len(fine.found["seconds"]) == 2
    assert fine.found["peak_MiB"] > 10
    assert "scipy" in fine.found["versions"]
    np.testing.assert_allclose(np.asarray(fine.found["glucose_mg_dL"]), true, atol=1e-3)
    euler = peers.ask("scipy", {**job, "method": "euler", "step_min": 1.0}, envs=None)
    worst = np.abs(np.asarray(euler.found["glucose_mg_dL"]) - true).max()
    assert 0.01 < worst < 20  # a plain step of a minute: right doses, wrong by its order


@pytest.mark.slow
@pytest.mark.parametrize("body", ["kanderian", "hovorka"])
def test_scipy_solves_other_bodies(body: str) -> None:
    people = t1djax.virtual_population(
        2, key=jax.random.key(0), physiology=t1djax.physics.PHYSIOLOGIES[body], interval_min=30
    )
    job = {"task": "simulate", "method": "LSODA", "rtol": 1e-8, "atol": 1e-8, "repeat": 1}
    fine = peers.ask("scipy", job | {"patients": jobs.patients(people, body=body)}, envs=None)
    assert fine.ok, fine.words
    for name, glucose in zip(people.names, fine.found["glucose_mg_dL"], strict=True):
        np.testing.assert_allclose(glucose, people.truth[name].glucose_mg_dL, atol=0.1)


@pytest.mark.slow
def test_scipy_fits_ksi_from_our_start(cohort: t1djax.Cohort) -> None:
    fit = t1djax.fit(cohort, model="ode", free=["ksi"])
    patients = jobs.patients(cohort, fit)
    assert all("ksi" not in row["parameters"] and row["start"]["ksi"] > 0 for row in patients)  # the truth is not told
    job = {"task": "fit", "patients": patients, "method": "LSODA", "rtol": 1e-6, "atol": 1e-6}
    found = peers.ask("scipy", job, envs=None).found
    true = [cohort.truth[name].parameters["ksi"] for name in cohort.names]
    np.testing.assert_allclose([values["ksi"] for values in found["found"]], true, rtol=1e-3)
    for start, course in zip(fit.problem.start["ksi"], found["courses"], strict=True):
        assert course[0][2] == pytest.approx(float(start))


def test_lags_that_peers_are_given_are_those_of_the_library(cohort: t1djax.Cohort) -> None:
    module = script("lags")
    row = jobs.patients(cohort)[0]
    ts = np.arange(0.0, 2881.0, 7.0)
    inputs = cohort["Pat2"].doses.inputs(0.0, 2880.0)
    p = t1djax.presets()["Pat2"].model()
    exact = t1djax.propagate(p, inputs, jnp.asarray(ts), y0=t1djax.physics.State(*(jnp.zeros(()) for _ in range(5))))
    first, second = module.lags(row, "insulin_U_min", float(p.Tu), float(p.ku_Vi)).at(ts)
    np.testing.assert_allclose(first, np.asarray(exact.state.S), atol=1e-5 * np.abs(first).max())
    np.testing.assert_allclose(second, np.asarray(exact.state.I), atol=1e-5 * np.abs(second).max())
    edges = np.arange(0.0, 2881.0, 5.0)
    insulin = float(np.sum(module.mean_rates(row, "insulin_U_min", edges) * 5.0))
    assert insulin == pytest.approx(float(inputs.delivered(jnp.asarray([2880.0]))[0][0]), rel=1e-5)


@pytest.fixture(scope="module")
def five() -> t1djax.Cohort:
    return t1djax.reference_cohort(interval_min=5.0, names=["Pat2", "Pat3"])


def test_replaybg_is_told_every_dose(five: t1djax.Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(peers.HERE))
    module = script("run_py_replay_bg")
    for row, patient in zip(jobs.patients(five), five, strict=True):
        table = module._table(row)
        given = patient.doses.inputs(0.0, 2880.0).delivered(jnp.asarray([2880.0]))
        insulin, carbs_g = (float(x[0]) for x in given)
        assert 5 * float((table["bolus"] + table["basal"])[:-1].sum()) == pytest.approx(insulin, rel=1e-5)
        assert 5 * float(table["cho"].sum()) == pytest.approx(carbs_g, rel=1e-5)
        assert float(table["basal"].max()) < 0.05  # U/min: no bolus left in it
        meals = table[table["cho"] * 5 > 50]
        assert meals["cho_label"].tolist() == ["D", "B", "L"]
        assert set(table["cho_label"][(table["cho"] > 0) & (table["cho"] * 5 < 25)]) == {"H"}
        assert table["glucose"].notna().tolist() == row["fit"]
        assert module._mass_kg(row) == five.truth[patient.name].parameters["M"]
    every_15 = jobs.patients(t1djax.reference_cohort(interval_min=15.0, names=["Pat2"]))[0]
    with pytest.raises(ValueError):
        module._table(every_15)


def test_a_row_of_another_model_has_no_errors_of_ksi(monkeypatch: pytest.MonkeyPatch) -> None:
    base = {"case": "noise-free", "names": ["Pat2", "Pat3"], "seed": 0}
    true = t1djax.reference_cohort(interval_min=5.0).truth["Pat2"].glucose_mg_dL
    found = {"ksi": [], "seconds": [7.0], "compile_s": 1.0, "status": "stopped at its budget (1 of 2 patients)"}
    found |= {"glucose_mg_dL": [(true + 3.0).tolist()], "inside_mg_dL": [2.0], "starts": 4, "cpu_s": 1.0}
    found |= {"peak_MiB": 1.0, "versions": {"py_replay_bg": "1"}}
    monkeypatch.setattr(identification, "ask", lambda *_, **__: peers.Answer("ok", found))
    row = identification._other("py_replay_bg", base, None, 10.0)
    assert not any(head.startswith("ksi") for head in row)
    assert row["RMSE median, mg/dL"] == pytest.approx(3.0)
    assert (row["RMSE inside, mg/dL"], row["s per patient"], row["model"]) == (2.0, 7.0, "ReplayBG")
    found |= {"seconds": [], "glucose_mg_dL": [], "inside_mg_dL": []}
    assert "s per patient" not in identification._other("py_replay_bg", base, None, 10.0)


@pytest.mark.slow
def test_replaybg_follows_the_readings_it_is_given(five: t1djax.Cohort) -> None:
    envs = Path(os.environ.get("T1DJAX_PEERS", "no such folder"))
    if peers.PEERS["py_replay_bg"].python(envs) is None:
        pytest.skip("no environment of py_replay_bg; name the folder of peers' environments in T1DJAX_PEERS")
    told_ = jobs.patients(five)
    job = {"task": "fit", "patients": told_, "budget_s": 120.0, "starts": 1}
    found = peers.ask("py_replay_bg", job, envs=envs).found
    assert found["status"] == "ok, another model"
    assert [len(course) for course in found["glucose_mg_dL"]] == [577, 577]
    for row, course, inside in zip(told_, found["glucose_mg_dL"], found["inside_mg_dL"], strict=True):
        readings = np.asarray(row["glucose_mg_dL"])[row["fit"]]
        missed = np.asarray(course)[row["fit"]] - readings
        assert inside == pytest.approx(float(np.sqrt(np.mean(missed**2))))
        assert inside < 0.8 * float(np.std(readings))  # from one start of its search
    short = peers.ask("py_replay_bg", job | {"budget_s": 0.0}, envs=envs).found
    assert short["status"] == "stopped at its budget (0 of 2 patients)"


def test_a_missing_peer_says_how_to_install_it(tmp_path: Path) -> None:
    answer = peers.ask("deepxde", {"task": "fit"}, envs=tmp_path)
    assert (answer.status, answer.ok) == ("not installed", False)
    assert f"pip install {peers.PEERS['deepxde'].packages}" in answer.words
    assert all((peers.HERE / peer.script).exists() for peer in peers.PEERS.values())


@pytest.mark.slow
def test_a_peer_that_fails_or_hangs_is_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert peers.ask("scipy", {"task": "no such task"}, envs=None).status == "failed"
    slow = tmp_path / "slow.py"
    slow.write_text("import time; time.sleep(60)")
    monkeypatch.setitem(peers.PEERS, "scipy", dataclasses.replace(peers.PEERS["scipy"], script=str(slow)))
    assert peers.ask("scipy", {}, envs=None, timeout_s=0.5).status == "timed out"
    slow.write_text("import no_such_module")
    assert peers.ask("scipy", {}, envs=None).status == "not installed"


def test_seconds_to_a_level_count_only_if_it_stays_below() -> None:
    true = np.array([100.0, 200.0])
    batch = [[1.0, 0.5, [110.0, 200.0]], [2.0, 1.0, [100.1, 203.0]], [3.0, 1.5, [100.1, 200.1]]]
    assert _batch_time(batch, true, 1.0) == (3.0, 1.5)
    assert _batch_time(batch, true, 5.0) == (2.0, 1.0)
    assert _batch_time(batch, true, 0.01) is None
    courses = [[[1.0, 1.0, 100.1], [2.0, 2.0, 120.0], [3.0, 3.0, 100.2]], [[1.0, 0.5, 201.0], [2.0, 1.0, 200.0]]]
    assert _in_turn(courses, true, 1.0) == {"s to 1 %": 4.0, "CPU s to 1 %": 3.5}
    assert _in_turn(courses, true, 0.15)["s to 0.15 %"] == "not reached (1 of 2)"


def report(folder: Path, rows: list[dict], **about: object) -> Path:
    made = Report("demo", "A demonstration", folder, {"n": 1}, about=ABOUT | about)
    for row in rows:
        made.add(row)
    made.finish()
    return folder / "demo.json"


def test_comparison_names_what_left_the_noise(tmp_path: Path) -> None:
    row = lambda name, seconds, **more: {"system": name, "patients": 10, "seconds each": seconds, **more}
    still = [1.0, 1.01, 0.99]
    before = report(
        tmp_path / "a", [row("a", still), row("b", [1.0, 2.0, 1.5]), row("c", still), row("d", still), row("e", still)]
    )
    rows = [row("a", [1.3, 1.31, 1.29]), row("b", [1.7, 2.2, 1.8]), row("c", [0.5, 0.5, 0.5])]
    after = report(tmp_path / "b", [*rows, row("d", [], status="failed"), row("f", still)])
    found = compare(before, after)
    assert [(c.row, c.slower, c.faster) for c in found.changes] == [
        ("a, 10 patients", True, False), ("b, 10 patients", False, False), ("c, 10 patients", False, True),
    ]  # fmt: skip
    assert found.lost == ("e, 10 patients",)
    assert found.worse == ("d, 10 patients: ok before, failed now",)
    lines = told(found)
    assert lines[0].startswith("slower: a, 10 patients: 1.30 x")
    assert any(line.startswith("faster: c, 10 patients: 2.00 x") for line in lines)
    invoked = CliRunner().invoke(app, ["compare", str(before), str(after)])
    assert invoked.exit_code == 1
    assert "slower: a, 10 patients" in invoked.output
    assert "slower: b" not in invoked.output
    assert CliRunner().invoke(app, ["compare", str(before), str(before)]).exit_code == 0
    assert compare(before, report(tmp_path / "c", [], machine="another")).warnings == (
        "machine: m before, another now",
    )
    assert told(Comparison()) == ["0 rows compared, 0 by seconds, 0 of them within the noise"]


def test_a_report_goes_on_where_it_stopped(tmp_path: Path) -> None:
    begun = Report("demo", "A demonstration", tmp_path, {"n": 1}, about=ABOUT)
    begun.add({"system": "a", "x": 1.0})
    begun.add({"system": "b", "status": "not installed"})
    again = Report("demo", "A demonstration", tmp_path, {"n": 1}, about=ABOUT).resume()
    assert again.has(system="a")
    assert not again.has(system="b")
    again.note("a line")
    again.note("a line")
    once_more = Report("demo", "A demonstration", tmp_path, {"n": 1}, about=ABOUT).resume()
    assert (once_more.rows, once_more.notes) == ([{"system": "a", "x": 1.0}], ["a line"])
    with pytest.raises(ValueError):
        once_more.resume()
    assert not Report("demo", "", tmp_path, {"n": 2}, about=ABOUT).resume().rows
    newer = ABOUT | {"versions": {"t1djax": "2"}}
    assert not Report("demo", "", tmp_path, {"n": 1}, about=newer).resume().rows


def test_a_suite_leaves_out_what_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def pretend(command: list[str]) -> int:
        ran.append(command)
        return int("closed-loop" in command)

    monkeypatch.setattr(suite, "run_to_end", pretend)
    installed = {name: version(name) for name in ("t1djax", "jax")}
    report(tmp_path / "quick", [{"system": "a"}], versions=installed)
    (tmp_path / "quick" / "demo.json").rename(tmp_path / "quick" / "bound.json")
    (tmp_path / "quick" / "startup.json").write_text(json.dumps({"rows": [], "complete": False}))
    flags = ["--suite", "quick", "--out", str(tmp_path), "--envs", "e"]
    only = [flag for part in ("bound", "startup", "peers", "closed-loop") for flag in ("--only", part)]
    invoked = CliRunner().invoke(app, [*flags, *only])
    assert invoked.exit_code == 1
    assert "failed: closed-loop" in invoked.output
    assert [command[3] for command in ran] == ["startup", "peers", "closed-loop"]
    assert all("--quick" in command for command in ran)
    assert ran[1][-2:] == ["--envs", "e"]
    assert "--envs" not in ran[0]
    assert CliRunner().invoke(app, [*flags, "--only", "nothing"]).exit_code == 2
    registered = {c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands if c.callback}
    assert {part.command for part in suite.PARTS} <= registered
