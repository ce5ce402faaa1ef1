"""Tracking with real servers: PostgreSQL, S3, the UI in a browser, and what is killed in the middle."""

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from t1djax import MLflowTracker, sync
from t1djax.records import RunInfo
from t1djax.tracking import TrackingWarning, tracked_runs, tracking_status

from .services import S3, MLflowServer, Postgres, chromium, wait_for
from .test_survival_services import fill, little_disk  # noqa: F401 - a fixture
from .tracked import STEPS, Stored, courses, expected, finish, in_folder, play, program, steps, stored

pytestmark = [
    pytest.mark.services,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(__file__).resolve().parents[1]
NAMES = {
    ("pinn", "inverse"): "PINN_Inverse",
    ("birnn", "forward"): "BIRNN_Forward",
    ("modified_mlp", "inverse"): "ModifiedMLP_Inverse",
    ("ode", "inverse"): "ODE_Inverse",
}


def matrix() -> list[RunInfo]:
    return [
        program(f"{model}_{mode}_20261123_113000", model=model, mode=mode, named=("ksi",) if mode == "inverse" else ())
        for model, mode in NAMES
    ]


@pytest.fixture
def server(
    postgres: Postgres, moto_s3: S3, mlflow_server: Callable[..., MLflowServer]
) -> tuple[MLflowServer, Callable[[], list[Stored]]]:
    """MLflow on PostgreSQL and S3, and what is in its tables."""
    database = postgres.database()
    started = mlflow_server(postgres.uri(database), f"s3://{S3.bucket}/{database}", moto_s3.env)
    return started, lambda: stored(postgres.ask(database))


def exact(runs: list[Stored], info, at=STEPS) -> None:
    """No hole, no duplicate, no wrong value."""
    found = courses(runs, info)
    assert {k: sorted(v) for k, v in found.items()} == expected(info, at)
    assert all(len({step for step, _ in course}) == len(course) for course in found.values())


def test_matrix_on_postgres_and_s3_seen_in_a_browser(
    server: tuple[MLflowServer, Callable[[], list[Stored]]], moto_s3: S3, tmp_path: Path
) -> None:
    mlflow, runs = server
    programs = matrix()
    tracker = MLflowTracker(tmp_path, tracking_uri=mlflow.uri)
    for info in programs:
        play(tracker, tmp_path, info)
    tracker.close()
    before = runs()
    assert {run.experiment for run in before} == set(NAMES.values())
    assert len(before) == len(programs) * (1 + 4)
    for info in programs:
        exact(before, info)
    child = next(run for run in before if run.name.startswith("pinn_inverse_P1_ksi"))
    files = {key.rpartition("/artifacts/")[2] for key in moto_s3.files() if child.id in key}
    assert files == {"metadata.json", "config.yaml", "predictions.npz", "figures/glucose.png"}

    keys = moto_s3.files()
    report = sync(tmp_path, tracking_uri=mlflow.uri)
    assert report.complete, report.runs
    assert runs() == before, "sent twice, there once"
    assert moto_s3.files() == keys

    pages = {run.run_id: run.url for run in tracked_runs(tmp_path, tracking_uri=mlflow.uri)}
    assert set(pages) == {run.id for run in before}
    assert str(pages[child.id]).startswith(f"{mlflow.uri}/#/experiments/")
    assert str(pages[child.id]).endswith(f"/runs/{child.id}")

    look(mlflow.uri, before, tmp_path)


def test_matrix_in_the_results_folder_seen_in_a_browser(
    mlflow_server: Callable[..., MLflowServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = MLflowTracker(tmp_path)
    for info in matrix():
        play(tracker, tmp_path, info)
    tracker.close()
    server = mlflow_server(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "mlartifacts"))
    look(server.uri, in_folder(tmp_path), tmp_path)


def look(uri: str, runs: list[Stored], folder: Path) -> None:
    """The UI says it too. Pictures go to `T1DJAX_SCREENSHOTS` where that is set."""
    pictures = Path(os.environ.get("T1DJAX_SCREENSHOTS", folder))
    child = next(run for run in runs if run.name.startswith("pinn_inverse_P1_ksi"))
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1800})
        page.set_default_timeout(60_000)
        page.goto(f"{uri}/#/experiments")
        for name in NAMES.values():
            page.get_by_text(name, exact=True).first.wait_for()
        page.screenshot(path=pictures / "experiments.png")
        page.get_by_text("PINN_Inverse", exact=True).first.click()
        page.wait_for_url("**/experiments/*/**")
        number = page.url.split("/experiments/")[1].split("/")[0].split("?")[0]
        page.goto(f"{uri}/#/experiments/{number}/runs")
        page.get_by_text("sweep_20261123").first.wait_for()
        page.screenshot(path=pictures / "runs.png")
        page.goto(f"{uri}/#/experiments/{number}/runs/{child.id}")
        for text in (child.name, "loss_data", "final_ksi_error_percent", "network.width"):
            page.get_by_text(text).first.wait_for()
        page.screenshot(path=pictures / "run.png")
        page.goto(f"{uri}/#/experiments/{number}/runs/{child.id}/model-metrics")
        for metric in ("error_percent_ksi", "gradient_norm", "loss_G", "rmse_fit_mg_dL"):
            page.get_by_text(metric, exact=True).first.wait_for()
        page.wait_for_timeout(2000)  # lines are drawn
        page.screenshot(path=pictures / "metrics.png")


@pytest.mark.parametrize("arrived", [0, 2, 4])
def test_server_killed_in_mid_run(
    arrived: int, server: tuple[MLflowServer, Callable[[], list[Stored]]], tmp_path: Path
) -> None:
    """SIGKILL to the server: the run ends well, with one warning, and `sync` makes it whole."""
    mlflow, runs = server
    info = program()
    tracker = MLflowTracker(tmp_path, tracking_uri=mlflow.uri)
    tracker.begin(info)
    steps(tracker, info, STEPS[:arrived])
    if arrived:
        last = STEPS[arrived - 1]
        there = lambda: [s for c in courses(runs(), info).values() for s, _ in c if s == last]
        wait_for(there, "metrics on the server", 30)
    mlflow.end(signal.SIGKILL)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrackingWarning)
        began = time.perf_counter()
        steps(tracker, info, STEPS[arrived:])
        finish(tracker, tmp_path, info)
        assert time.perf_counter() - began < 1, "nothing waits for a dead server"
        tracker.close()
        assert time.perf_counter() - began < 15
    said = [str(w.message) for w in caught if issubclass(w.category, TrackingWarning)]
    assert len(said) == 1
    assert f"t1djax track sync {tmp_path}" in said[0]
    assert not tracking_status(tmp_path, tracking_uri=mlflow.uri).complete
    mlflow.restart()
    # The thread of a tracker that gave up waiting may still be at it, in this process: then it is the one that sends.
    report = wait_for(lambda: (r := sync(tmp_path, tracking_uri=mlflow.uri)).complete and r, "sync", 150)
    assert report.complete
    after = runs()
    exact(after, info)
    assert sorted(run.status for run in after) == ["FAILED", *["FINISHED"] * 4]
    assert sync(tmp_path, tracking_uri=mlflow.uri).runs[0].events == 0
    assert runs() == after


def test_server_that_hangs(server: tuple[MLflowServer, Callable[[], list[Stored]]], tmp_path: Path) -> None:
    """A stopped server takes connections and says nothing: closing waits its bound and no longer."""
    mlflow, runs = server
    info = program()
    tracker = MLflowTracker(tmp_path, tracking_uri=mlflow.uri, wait_s=5)
    tracker.begin(info)
    steps(tracker, info, STEPS[:1])
    wait_for(lambda: courses(runs(), info), "metrics on the server", 30)
    mlflow.send(signal.SIGSTOP)
    began = time.perf_counter()
    steps(tracker, info, STEPS[1:])
    finish(tracker, tmp_path, info)
    assert time.perf_counter() - began < 1
    with pytest.warns(TrackingWarning, match="track sync"):
        tracker.close()
    assert time.perf_counter() - began < 10
    mlflow.send(signal.SIGCONT)
    wait_for(lambda: sync(tmp_path, tracking_uri=mlflow.uri).complete, "sync", 150)
    exact(runs(), info)


def test_system_metrics_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.5")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    info = program()
    tracker = MLflowTracker(tmp_path, system_metrics=True)
    tracker.begin(info)
    parent = lambda: (
        [r for r in in_folder(tmp_path) if r.name == info.sweep] if (tmp_path / "mlflow.db").exists() else []
    )
    wait_for(lambda: any("system/cpu_utilization_percentage" in run.metrics for run in parent()), "system metrics", 60)
    finish(tracker, tmp_path, info)
    tracker.close()
    assert parent()[0].status == "FINISHED"


TRAINING = """
import sys, time
from pathlib import Path
from t1djax import MLflowTracker
from tests.tracked import chunk, finish, program
results, info = Path(sys.argv[1]), program()
tracker = MLflowTracker(results, wait_s=120)
tracker.begin(info)
print("began", flush=True)
for step in range(1, 301):
    tracker.chunk(info.name, info.rows, chunk(info, info.rows, step))
    time.sleep(0.02)
finish(tracker, results, info)
tracker.close()
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen]]:
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_training_killed_and_taken_up_again(tmp_path: Path, started: list[subprocess.Popen]) -> None:
    """kill -9 at random moments, each time started again: the same MLflow runs, every step once."""

    def start() -> subprocess.Popen:
        started.append(subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT,
            env={k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {"PYTHONPATH": str(ROOT)},
        ))  # fmt: skip
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == b"began\n"
        return started[-1]

    info, random_ = program(), random.Random(7)
    seen: set[str] = set()
    database = tmp_path / "mlflow.db"
    for attempt in range(10):
        process = start()
        if attempt > 5:  # while metrics are on their way; before, while MLflow and its tables are made
            wait_for(lambda: database.exists() and courses(in_folder(tmp_path), info), "something sent")
        time.sleep(random_.uniform(0.0, 2.5))
        process.kill()
        process.wait()
        if database.exists():
            seen |= {run.id for run in in_folder(tmp_path)}
    assert sync(tmp_path).complete
    killed = in_folder(tmp_path)
    assert {run.status for run in killed} <= {"KILLED", "FINISHED", "FAILED"}, "nothing runs that is dead"
    assert start().wait(120) == 0
    runs = in_folder(tmp_path)
    assert seen
    assert seen <= {run.id for run in runs}
    assert len(runs) == 5
    exact(runs, info, range(1, 301))
    assert sorted(run.status for run in runs) == ["FAILED", *["FINISHED"] * 4]


def test_full_disks_leave_a_database_that_can_be_completed(
    little_disk: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Full while the database is made, and while it is filled, again and again in one process; then there is room."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    info, results = program(), little_disk / "results"
    results.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrackingWarning)
        tracker = MLflowTracker(results, tracking_uri="http://127.0.0.1:9", wait_s=5)
        play(tracker, results, info)
        tracker.close()
        for leave in (10_000, 40_000, 200_000, 500_000, 900_000):
            filler = fill(little_disk, leave=leave)
            assert not sync(results).complete
            filler.unlink()
        assert sync(results).complete
    exact(in_folder(results), info)
