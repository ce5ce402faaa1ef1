"""Tracking without a server: the course, names, and MLflow's tables in the results folder, read by SQL."""

import contextlib
import http.server
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from t1djax import MLflowTracker, sync
from t1djax.records import RunInfo
from t1djax.tracking import (
    TrackingError,
    TrackingWarning,
    _client,
    _course,
    _names,
    experiment_name,
    git_state,
    params,
    tracked_runs,
    tracking_status,
)

from .command import call, done
from .persons import rows
from .tracked import STEPS, chunk, courses, expected, finish, in_folder, play, program, steps, stored, told

NOBODY = "http://127.0.0.1:9"  # refuses at once


def course(results: Path, info: RunInfo) -> list[_course.Chunk]:
    return _course.read_course(results / ".runs" / info.name)[0]


@contextlib.contextmanager
def noting() -> Iterator[list[str]]:
    """The tracking warnings of a block."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrackingWarning)
        yield said
    said += [str(w.message) for w in caught if issubclass(w.category, TrackingWarning)]


# The course


def test_a_course_comes_back_exactly(tmp_path: Path) -> None:
    x = np.asarray([0.1, -0.0, np.nan, np.inf, 5e-324, 1e308])
    fits = [(f"P{i}", 0) for i in range(6)]
    whole = _course.Chunk(1, 10, fits, {"a": x})
    (tmp_path / "course.jsonl").write_bytes(whole.line() + whole.take([1, 2]).line())
    (read, part), _ = _course.read_course(tmp_path)
    assert (read.ms, read.step, read.rows) == (1, 10, fits)
    assert read.metrics["a"].tobytes() == x.tobytes()
    assert (part.rows, part.metrics["a"].tobytes()) == (fits[1:3], x[1:3].tobytes()), "of some fits alone"


def test_torn_lines_cost_only_themselves(tmp_path: Path) -> None:
    line = lambda step: _course.Chunk(step, step, [("P1", 0)], {}).line()
    (tmp_path / "course.jsonl").write_bytes(line(1) + line(2)[:-9])
    assert [chunk.step for chunk in _course.read_course(tmp_path)[0]] == [1]
    with (tmp_path / "course.jsonl").open("ab") as file:
        file.write(line(3))
    found, offset = _course.read_course(tmp_path)
    assert [chunk.step for chunk in found] == [1, 3]
    assert offset == (tmp_path / "course.jsonl").stat().st_size


def test_full_disk_is_told_once_and_closed_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that takes half a line leaves the rest of the journal readable, and the training alone."""
    info, write = program(), os.write
    tracker = MLflowTracker(tmp_path, tracking_uri=NOBODY, wait_s=20)
    tracker.begin(info)
    monkeypatch.setattr(os, "write", lambda file, text: write(file, text[: len(text) // 2]))
    with noting() as said:
        steps(tracker, info, [10, 20])
        monkeypatch.setattr(os, "write", write)
        steps(tracker, info, [30])
        tracker.close()
    assert len(said) == 1
    assert "No space left" in said[0]
    assert [chunk.step for chunk in course(tmp_path, info)] == [30]


def test_a_results_folder_has_one_identity(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(_course.results_id(tmp_path / "a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert _course.results_id(tmp_path / "b") != found[0]
    assert [p.name for p in (tmp_path / "a" / ".runs").iterdir()] == ["id"]


def test_steps_that_a_restart_repeats_are_noted_once(tmp_path: Path) -> None:
    info = program()
    with noting():
        for first, last in ((1, 4), (3, 6)):
            tracker = MLflowTracker(tmp_path, tracking_uri=NOBODY, wait_s=20)
            tracker.begin(info)
            for step in range(first, last):
                tracker.chunk(info.name, info.rows[:2], chunk(info, info.rows[:2], step))
                tracker.chunk(info.name, info.rows, chunk(info, info.rows, step))  # two of them for the second time
            tracker.close()
    noted = [(chunk.step, info.rows.index(row)) for chunk in course(tmp_path, info) for row in chunk.rows]
    assert sorted(noted) == [(step, i) for step in range(1, 6) for i in range(4)]


def test_misuse_is_named(tmp_path: Path) -> None:
    info = program()
    tracker = MLflowTracker(tmp_path, tracking_uri=NOBODY)
    with pytest.raises(ValueError, match="begin first"):
        tracker.chunk(info.name, info.rows, chunk(info, info.rows, 1))
    _course.write_info(tmp_path / ".runs" / info.name, program(patients=["P9"]))
    with pytest.raises(ValueError, match="no name for a folder"):
        tracker.begin(program("../a"))
    with pytest.raises(ValueError, match="other patients"):
        tracker.begin(info)
    tracker.close()


def test_a_dead_server_costs_one_warning(tmp_path: Path) -> None:
    info = program()
    tracker = MLflowTracker(tmp_path, tracking_uri=NOBODY, wait_s=30)
    with noting() as said:
        began = time.perf_counter()
        play(tracker, tmp_path, info)
        assert time.perf_counter() - began < 1
        tracker.close()
        assert time.perf_counter() - began < 20
    assert len(said) == 1
    assert re.search(rf"127\.0\.0\.1:9 does not answer.*t1djax track sync {tmp_path}", said[0])
    (left,) = tracking_status(tmp_path, tracking_uri=NOBODY).runs
    assert (left.left_bytes, left.ended) == ((tmp_path / ".runs" / info.name / "course.jsonl").stat().st_size, False)
    again = call("track", "sync", tmp_path, "--tracking-uri", NOBODY, "--json")
    assert (again.code, again.json["complete"]) == (1, False)
    assert "does not answer" in again.json["runs"][0]["message"]


# Names


@contextlib.contextmanager
def erring(health: int) -> Iterator[str]:
    """A server whose every answer is an error, but perhaps that it is well."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(health if self.path == "/health" else 500)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("health", "says"), [(503, "answers 503"), (200, "the server answers 500")])
def test_an_erring_server_is_named_once_and_soon(health: int, says: str, tmp_path: Path) -> None:
    """Two programs, one line: the table's columns stay what they are."""
    for name in ("a", "b"):
        _course.write_info(tmp_path / ".runs" / name, program(name))
    began = time.monotonic()
    with erring(health) as url:
        said = call("track", "sync", tmp_path, "--tracking-uri", url)
    assert said.code == 1
    assert said.out.count(says) == 1
    assert "Traceback" not in said.out + said.err
    assert any(set("ab") & {cell.strip()} for line in said.out.splitlines() for cell in line.split("│"))
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("uri", ["foo", "file:///tmp/mlruns", "./mlruns"])
def test_what_is_no_server_and_no_database_is_said_at_once(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such server or database; write http://HOST:PORT or sqlite"):
        MLflowTracker(tmp_path, tracking_uri=uri)


def test_tracebacks_of_the_sender_stay_out_of_the_terminal() -> None:
    """MLflow logs those of its database and raises them as well; the caller's own threads lose nothing."""
    logger = logging.getLogger("mlflow.store.db.utils")
    logger.addFilter(_client.not_of_sender)
    record = lambda: logger.makeRecord(logger.name, logging.ERROR, "f", 1, "disk is full", (), None)
    passed: list[bool] = []
    thread = threading.Thread(target=lambda: passed.append(bool(logger.filter(record()))), name=_client.THREAD)
    thread.start()
    thread.join()
    assert passed == [False]
    assert logger.filter(record())


@pytest.mark.parametrize(
    ("model", "mode", "name"),
    [
        ("pinn", "inverse", "PINN_Inverse"),
        ("birnn", "forward", "BIRNN_Forward"),
        ("modified_mlp", "inverse", "ModifiedMLP_Inverse"),
        ("ode", "inverse", "ODE_Inverse"),
        ("my_own net", "forward", "MyOwnNet_Forward"),
    ],
)
def test_experiment_names(model: str, mode: str, name: str) -> None:
    assert experiment_name(model, mode) == name


def test_params_are_flat_and_short() -> None:
    flat = params({"a": {"b": [{"c": None}], "d": []}, "e": [1, 2], "f": "x" * 9000, "g ü:é": True})
    assert flat == {"e": "[1, 2]", "f": "x" * 6000, "g ___": "true"}, "nothing is no param"


def test_names_cannot_break_a_search() -> None:
    """And what tells two patients apart still does afterwards: a key is found again by its tag alone."""
    odd = ["A'x", "A_x", 'A"x', "A`x", "A\\x", "A%x", "A~x", "A~27x", "A~"]
    tags = [_names.as_tag(name) for name in odd]
    assert len(set(tags)) == len(odd)
    assert not any(set(tag) & set("'\"`\\%") for tag in tags)
    info = program(patients=odd)
    assert len({_names.row_key(info, row) for row in info.rows}) == len(info.rows)


def test_git_state(tmp_path: Path) -> None:
    git = lambda *args: subprocess.run(["git", "-C", str(tmp_path), *args], check=True, capture_output=True, text=True)
    git("init", "-q")
    assert git_state(tmp_path) == (None, None)
    (tmp_path / "a").write_text("1", encoding="ascii")
    git("add", "a")
    git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "a")
    assert git_state(tmp_path) == (git("rev-parse", "HEAD").stdout.strip(), False)
    (tmp_path / "a").write_text("2", encoding="ascii")
    assert git_state(tmp_path).dirty is True
    assert git_state(tmp_path / "nowhere") == (None, None)


# MLflow in the results folder


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two programs, the second one for many patients, the first one killed once and taken up again."""
    folder = tmp_path_factory.mktemp("results")
    info, wide = program(), program("wide", [f"P{i}" for i in range(1, 5)], named=("ksi", "kl"))
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        killed = MLflowTracker(folder)
        killed.begin(info)
        steps(killed, info, [10, 20])
        killed.close()  # no end: as a kill leaves it
        first = {run.id: run.status for run in in_folder(folder)}
        tracker = MLflowTracker(folder, most_children=5)
        tracker.begin(info)
        steps(tracker, info, [20, 30, 40, 50])
        finish(tracker, folder, info)
        tracker.begin(wide)
        for step in (10, 20):  # in two blocks
            for rows in (wide.rows[:3], wide.rows[3:]):
                tracker.chunk("wide", rows, chunk(wide, rows, step))
        finish(tracker, folder, wide)
        tracker.close()
    assert len(first) == 5
    assert set(first.values()) == {"RUNNING"}
    assert first.keys() < {run.id for run in in_folder(folder)}, "the resumed run goes on in the same MLflow runs"
    return folder


def test_runs_are_listed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    listed = tracked_runs(results)
    stored = in_folder(results)
    assert {(run.run_id, run.name, run.experiment, run.status) for run in listed} == {
        (run.id, run.name, run.experiment, run.status) for run in stored
    }
    assert {run.url for run in listed} == {None}
    parents = [run.parent for run in listed]
    assert 0 < sum(parents) < len(parents)
    assert parents == sorted(parents, reverse=True)
    said = done("track", "runs", results, "--json")
    assert [row["run_id"] for row in said.json] == [run.run_id for run in listed]
    with pytest.raises(TrackingError, match="does not answer"):
        tracked_runs(results, tracking_uri=NOBODY)
    assert call("track", "runs", results, "--tracking-uri", NOBODY).code == 1


def test_every_value_arrives_once(results: Path) -> None:
    found = courses(in_folder(results), program())
    assert found == expected(program())
    assert ("P1-s1", "loss_data") in found
    assert [step for step, _ in found["P1-s1", "loss_data"]] == list(STEPS)[1:], "NaN stays out"


def test_times_are_those_of_the_course(results: Path) -> None:
    noted = {chunk.step: chunk.ms for chunk in course(results, program())}
    run = next(run for run in in_folder(results) if run.tags.get("t1djax.patient") == "P2")
    assert {step: ms for step, _, ms in run.metrics["estimate_ksi"]} == noted


def test_runs_are_named_and_nested(results: Path) -> None:
    runs = in_folder(results)
    assert {run.experiment for run in runs} == {"PINN_Inverse"}
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.tags]
    assert (parent.name, parent.status) == ("sweep_20261123", "FINISHED")
    assert parent.params == {"model": "pinn", "mode": "inverse"}
    own = [r.metrics["rmse_fit_mg_dL"][0][1] for r in runs if "rmse_fit_mg_dL" in r.metrics]
    assert parent.metrics["ksi/rmse_fit_mg_dL_worst"][0][1] == max(own)
    assert parent.metrics["ksi/rmse_fit_mg_dL_median"][0][1] == np.median(own)
    children = {run.name: run for run in runs if run.tags.get("mlflow.parentRunId") == parent.id}
    names = [f"pinn_inverse_{p}_ksi_20261123_113000-s{s}" for p in ("P1", "P2") for s in (0, 1)]
    assert sorted(children) == [*names, "wide"]
    assert [children[name].status for name in names] == ["FINISHED"] * 3 + ["FAILED"], "a fit that failed says so"
    child = children[names[2]]
    assert child.params == {"seed": "0", "network.width": "16", "network.stages.0.steps": "60", "long": "x" * 6000}
    assert child.tags["mlflow.source.git.commit"] == child.tags["git_commit"] == "c0ffee"
    assert (child.tags["t1djax.patient"], child.tags["t1djax.seed"]) == ("P2", "0")
    assert child.inputs == parent.inputs == 1


def test_final_metrics_and_files(results: Path) -> None:
    runs = in_folder(results)
    child = next(run for run in runs if run.name == "pinn_inverse_P1_ksi_20261123_113000-s0")
    final = {k: v[0][1] for k, v in child.metrics.items() if k.startswith(("final_", "rmse_", "wall_"))}
    assert final == {
        "rmse_fit_mg_dL": 4.5, "final_ksi": 199.0, "final_ksi_standard_error": 2.0, "final_ksi_error_percent": 0.5,
        "wall_seconds": 12.5,
    }  # fmt: skip
    kept = results / "mlartifacts" / "PINN_Inverse" / child.id / "artifacts"
    files = {p.relative_to(kept).as_posix() for p in kept.rglob("*") if p.is_file()}
    assert files == {"metadata.json", "config.yaml", "predictions.npz", "figures/glucose.png"}
    assert (kept / "predictions.npz").read_bytes() == (results / child.name / "predictions.npz").read_bytes()


def test_many_patients_get_quantiles(results: Path) -> None:
    wide = program("wide", [f"P{i}" for i in range(1, 5)])
    (run,) = [run for run in in_folder(results) if run.tags.get("t1djax.program") == "wide"]
    assert {len(course) for course in run.metrics.values()} == {2}
    for step, place in ((10, 0), (20, 1)):
        losses = np.asarray([told(wide, i, step)["loss_data"] for i in range(8)])
        finite = losses[np.isfinite(losses)]
        found = {key: course[place][1] for key, course in run.metrics.items()}
        assert found["loss_data_median"] == pytest.approx(np.median(finite), rel=1e-12)
        assert found["loss_data_p05"] == pytest.approx(np.percentile(finite, 5), rel=1e-12)
        assert found["loss_data_worst"] == finite.max()
        assert found["loss_data_not_finite"] == 8 - len(finite)
        assert "estimate_ksi_worst" not in found, "no end of an estimate is the worse one"
        known = [100 * abs(told(wide, i, step)["estimate_ksi"] / t - 1) for i, t in enumerate([200, 200, 100, 100])]
        assert found["error_percent_ksi_worst"] == pytest.approx(max(known), rel=1e-12)
    (table,) = (results / "mlartifacts").rglob(f"{run.id}/artifacts/summary.csv")
    lines = table.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 9
    assert lines[0].startswith("patient,seed,ok,folder,rmse_fit_mg_dL,final_ksi")


def forgotten(database: Path) -> None:
    """As if nothing said how far the courses were sent."""
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        db.execute("delete from tags where key like 't1djax.course.%'")


def test_sending_all_of_it_again_changes_nothing(results: Path, tmp_path: Path) -> None:
    before = in_folder(results)
    forgotten(results / "mlflow.db")
    said = done("track", "sync", results, "--json").json
    assert said["complete"]
    assert [run["events"] for run in said["runs"]] == [5, 4]
    assert in_folder(results) == before
    assert [run["events"] for run in done("track", "sync", results, "--json").json["runs"]] == [0, 0]


def test_what_results_hold_is_sent_to_any_mlflow(results: Path, tmp_path: Path) -> None:
    """At any time: to a new one, and to one that is taken back to an earlier state."""
    uri, database = f"sqlite:///{tmp_path}/other.db", tmp_path / "other.db"
    told = lambda: sorted((r.name, r.status, r.params, [(k, v) for k, v in r.metrics.items()]) for r in there())
    there = lambda: stored(lambda query: rows(database, query))
    assert sync(results, tracking_uri=uri).complete
    whole = told()
    assert whole == sorted((r.name, r.status, r.params, [*r.metrics.items()]) for r in in_folder(results))
    with contextlib.closing(sqlite3.connect(database)) as db, db:  # an earlier state: fewer steps, one result less
        db.execute("update tags set value = '300' where key like 't1djax.course.%' and key not like '%complete'")
        db.execute("delete from tags where key like 't1djax.course.%.complete'")
        db.execute("delete from metrics where step > 20")
    assert sync(results, tracking_uri=uri).complete
    assert told() == whole


def test_a_database_left_half_made_is_set_aside(results: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(results, tmp_path / "copy"))
    database = copy / "mlflow.db"
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        db.execute("create table _alembic_tmp_runs (x)")
    half = database.read_bytes()
    with noting() as said:
        assert sync(copy).complete
    assert len(said) == 1
    assert (copy / "mlflow.db.half-made-1").read_bytes() == half, "nothing of it is lost"
    assert courses(in_folder(copy), program()) == courses(in_folder(results), program())


def test_a_half_made_database_is_known(results: Path, tmp_path: Path) -> None:
    database = Path(shutil.copy(results / "mlflow.db", tmp_path))
    assert _client.half_made(database) is None
    assert _client.half_made(tmp_path / "nowhere.db") is None
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        db.execute("delete from alembic_version")
    assert _client.half_made(database) is not None
    database.write_bytes(b"SQLite" + bytes(5000))
    assert _client.half_made(database) is not None


def test_deleted_runs_stay_deleted(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    from mlflow import MlflowClient  # noqa: PLC0415 - seconds

    client = MlflowClient(tracking_uri=f"sqlite:///{copy}/mlflow.db")
    gone = next(run.id for run in in_folder(copy) if run.tags.get("t1djax.patient") == "P2")
    client.delete_run(gone)
    before = in_folder(copy)
    forgotten(copy / "mlflow.db")
    report = sync(copy, tracking_uri=f"sqlite:///{copy}/mlflow.db")
    assert report.complete
    assert [run.deleted_runs for run in report.runs] == [1, 0]
    assert in_folder(copy) == before


def test_a_model_without_chunks_has_the_same_metrics(tmp_path: Path) -> None:
    """Least squares report no chunks; MLflow compares by name."""
    info = program("ode_inverse_ksi_20261123_113000", model="ode")
    tracker = MLflowTracker(tmp_path)
    tracker.begin(info)
    finish(tracker, tmp_path, info)
    tracker.close()
    children = [run for run in in_folder(tmp_path) if "t1djax.patient" in run.tags]
    assert [run.metrics["error_percent_ksi"][0][:2] for run in children] == [(0, 0.5)] * 4
    assert [run.metrics["estimate_ksi"][0][:2] for run in children] == [(0, 199.0)] * 4


def test_system_metrics_need_somewhere_to_go(tmp_path: Path) -> None:
    said = call("train", "--model", "ode", "--system-metrics", "--results", tmp_path)
    assert (said.code, "give --tracking or --tracking-uri too" in said.err) == (2, True)


def test_status_in_words(results: Path) -> None:
    said = done("track", "status", results)
    assert "complete" in said.out
    assert "pinn_inverse_ksi_20261123_113000" in said.out
    assert call("track", "status", results / "mlartifacts").code == 3


def test_the_process_keeps_its_mlflow(results: Path) -> None:
    import mlflow  # noqa: PLC0415 - seconds

    assert mlflow.active_run() is None
    assert str(results) not in mlflow.get_tracking_uri()


def test_a_chunk_costs_little(tmp_path: Path) -> None:
    """Microseconds to a millisecond, for a thousand fits too; generous for a busy machine."""
    info = program(patients=[f"P{i}" for i in range(500)])
    tracker = MLflowTracker(tmp_path, tracking_uri=NOBODY, wait_s=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracker.begin(info)
        chunks = [chunk(info, info.rows, step) for step in range(1, 21)]
        spent = []
        for each in chunks:
            began = time.perf_counter()
            tracker.chunk(info.name, info.rows, each)
            spent.append(time.perf_counter() - began)
        tracker.close()
    assert np.median(spent) < 5e-3
