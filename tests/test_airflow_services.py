"""The DAGs under Airflow itself, in an environment of its own.

Airflow is found as `airflow` on the path or by `T1DJAX_AIRFLOW`. An environment with it is made by `python -m venv
airflow-env && airflow-env/bin/pip install -r examples/deployment/airflow/requirements.txt`. Tasks call t1djax by the
Python of the tests.
"""

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t1djax import reference_cohort

from .outcomes import leftovers, outcome
from .services import MLflowServer, Server, answers, chromium, free_port, tool, wait_for

pytestmark = pytest.mark.services
ROOT = Path(__file__).resolve().parents[1]
DAGS = ROOT / "examples" / "deployment" / "airflow" / "dags"
NAMES = ["comprehensive_training", "model_comparison", "real_patient_pipeline"]
HEADER = "time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input"
SLOW = """
overrides:
  pinn:
    network:
      width: 16
      depth: 1
      time: {octaves: 4}
      cell_min: 60
      stages:
        - {steps: 4000, optimizer: adam, learning_rate: 0.01, residual_weight: [100.0, 100.0]}
        - {steps: 12, residual_weight: [1.0, 1000.0]}
"""
"""Chunks enough to be killed between two of them."""


class Airflow:
    """The program with a home, a database and results of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.results = program, folder / "results"
        self.python = Path(program).parent / "python"
        self.env = {
            **{name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"},
            "PATH": f"{Path(program).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "PYTHONDONTWRITEBYTECODE": "1",
            "T1DJAX_PYTHON": sys.executable,
            "T1DJAX_RESULTS": str(self.results),
            "T1DJAX_RETRY_SECONDS": "1",
            "T1DJAX_RETRIES": "1",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        }
        self.env.pop("XLA_FLAGS", None)

    def call(self, *command: str, seconds: int = 560) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.env, text=True, capture_output=True, check=False, timeout=seconds, cwd=self.results.parent
        )

    def start(self, dag: str, **params: Any) -> subprocess.Popen[bytes]:
        """`airflow dags test`: the whole DAG in one process, but for what its tasks call."""
        with self.log(dag).open("wb") as out:
            return subprocess.Popen(
                [self.program, "dags", "test", dag, "--conf", json.dumps(params)],
                env=self.env, stdout=out, stderr=out, cwd=self.results.parent,
            )  # fmt: skip

    def log(self, dag: str) -> Path:
        return self.results.parent / f"{dag}.log"

    def run(self, dag: str, code: int = 0, **params: Any) -> str:
        process = self.start(dag, **params)
        try:
            process.wait(590)
        finally:
            process.kill()
            process.wait()
        said = self.log(dag).read_text(errors="replace")
        assert process.returncode == code, said[-8000:]
        return said

    def states(self, dag: str) -> dict[tuple[str, int], tuple[str, int]]:
        """State and number of tries of each task of the newest run, by name and index."""
        query = (
            "select task_id, map_index, state, try_number from task_instance where dag_id = :dag and run_id = "
            "(select run_id from dag_run where dag_id = :dag order by id desc limit 1)"
        )
        with contextlib.closing(sqlite3.connect(f"{self.env['AIRFLOW_HOME']}/airflow.db")) as db:
            return {(task, index): (state, tries) for task, index, state, tries in db.execute(query, {"dag": dag})}


def set_up(folder: Path) -> Airflow:
    try:
        program = tool("airflow")
    except pytest.skip.Exception as e:
        pytest.skip(f"{e}: pip install -r examples/deployment/airflow/requirements.txt, in an environment of its own")
    (folder / "results").mkdir()
    airflow = Airflow(program, folder)
    made = airflow.call(program, "db", "migrate")
    assert made.returncode == 0, made.stderr[-4000:]
    return airflow


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    return set_up(tmp_path_factory.mktemp("airflow"))


@pytest.fixture
def fresh_airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """One in whose database nothing ran: `dags test` leaves DAGs paused, and a killed one a run that never ends."""
    return set_up(tmp_path_factory.mktemp("fresh-airflow"))


def test_dags_parse_fast_and_import_nothing_heavy(airflow: Airflow) -> None:
    script = f"""
import importlib, json, sys, time
import airflow.sdk
sys.path.insert(0, {str(DAGS)!r})
before, began = set(sys.modules), time.perf_counter()
for name in {NAMES!r}:
    importlib.import_module(name)
seconds = time.perf_counter() - began
new = {{each.partition(".")[0] for each in set(sys.modules) - before}}
print(json.dumps([seconds, sorted(new)]))
"""
    said = airflow.call(str(airflow.python), "-c", script)
    assert said.returncode == 0, said.stderr[-3000:]
    seconds, new = json.loads(said.stdout.splitlines()[-1])
    print(f"{seconds:.2f} s; {new}")
    assert not set(new) & {"jax", "jaxlib", "mlflow", "numpy", "pandas", "scipy", "matplotlib", "t1djax"}
    assert {"comprehensive_training", "t1djax_command"} <= set(new)
    assert seconds < 5
    parsed = airflow.call(airflow.program, "dags", "reserialize")
    assert parsed.returncode == 0, parsed.stderr[-3000:]
    said = airflow.call(airflow.program, "dags", "list", "--output", "json")
    listed = {row["dag_id"] for row in json.loads(said.stdout[said.stdout.index("[{") :])}
    assert listed == set(NAMES)


def test_train_compare_promote(airflow: Airflow) -> None:
    small = {"patients": "2,3", "interval_min": 60, "figures": False}
    said = airflow.run("comprehensive_training", study="small", models=["ode", "pinn"], **small)
    states = airflow.states("comprehensive_training")
    assert {key: state for key, (state, _) in states.items()} == {
        ("plan", -1): "success", ("train", 0): "success", ("train", 1): "success",
        ("collect", -1): "success", ("complete", -1): "success",
    }  # fmt: skip
    study = airflow.results / "small"
    assert len(outcome(study / "ode")) == len(outcome(study / "pinn")) == 2
    assert said.count("MLflow run") == 6  # a sweep and two patients each
    assert len((study / "summary.csv").read_text().splitlines()) == 5
    said = airflow.run("model_comparison", study="small", target_mg_dL=1.0)
    assert {state for state, _ in airflow.states("model_comparison").values()} == {"success"}
    command = ["registry", "list", "--json", "--tracking-uri", f"sqlite:///{study / 'mlflow.db'}"]
    rows = json.loads(airflow.call(sys.executable, "-m", "t1djax.cli", *command).stdout)
    errors = {row["model"]: row["error_mg_dL"] for row in rows}
    (champion,) = [row["model"] for row in rows if "champion" in row["aliases"]]
    assert champion == min(errors, key=errors.__getitem__)
    assert {row["decision"] for row in rows} <= {"promoted", "refused"}
    assert len(rows) == 2
    # The same again trains nothing and makes no versions.
    before = {path: path.stat().st_mtime_ns for path in study.glob("*/*/*.npz")}
    airflow.run("comprehensive_training", study="small", models=["ode", "pinn"], **small)
    assert {path: path.stat().st_mtime_ns for path in study.glob("*/*/*.npz")} == before


def test_a_wrong_form_is_not_tried_twice_and_a_failed_model_shows(airflow: Airflow) -> None:
    airflow.run("comprehensive_training", 1, study="wrong", models=["ode"], patients="nobody", tracking=False)
    states = airflow.states("comprehensive_training")
    assert states["plan", -1] == ("failed", 1)
    assert states["complete", -1][0] == "upstream_failed"


def child(results: Path) -> int | None:
    """The process that trains into this folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if f"--results={results}".encode() in words:
                return int(path.parent.name)
    return None


def checkpoints(results: Path) -> set[int]:
    return {int(path.name) for path in results.glob(".runs/*/batch-*/*") if path.name.isdigit()}


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
@pytest.mark.parametrize("victim", ["the training", "the task and all below it"])
def test_a_killed_worker_goes_on_from_its_checkpoint(airflow: Airflow, tmp_path: Path, victim: str) -> None:
    """Bit for bit what an undisturbed run finds."""
    config = airflow.results.parent / "slow.yaml"
    config.write_text(SLOW)
    how: dict[str, Any] = {
        "study": "killed", "models": ["pinn"], "patients": "2,3", "interval_min": 30, "config": str(config),
        "checkpoint_every": 1, "figures": False, "tracking": False,
    }  # fmt: skip
    folder = airflow.results / "killed" / "pinn"  # the configuration names it, so both runs must have it
    shutil.rmtree(folder, ignore_errors=True)
    airflow.run("comprehensive_training", **how)
    whole = outcome(folder)
    assert len(whole) == 2
    shutil.rmtree(folder)
    process, seen = airflow.start("comprehensive_training", **how), set()
    try:
        while len(seen) < 6 and process.poll() is None:
            seen |= checkpoints(folder)
            time.sleep(0.005)
        number = child(folder)
        assert number is not None
        if victim == "the training":
            os.kill(number, signal.SIGKILL)
        else:
            process.kill()
            process.wait()
            wait_for(lambda: not Path(f"/proc/{number}").exists(), "the end of the training", 10)
        stood, later = checkpoints(folder), set()
        assert stood
        assert min(seen) < min(stood)  # the first is gone: a start from the beginning would write it again
        if victim != "the training":
            process = airflow.start("comprehensive_training", **how)
        while process.poll() is None:
            later |= checkpoints(folder)
            time.sleep(0.005)
        assert process.returncode == 0, airflow.log("comprehensive_training").read_text(errors="replace")[-6000:]
    finally:
        process.kill()
        process.wait()
    tries = 2 if victim == "the training" else 1
    assert airflow.states("comprehensive_training")["train", 0] == ("success", tries)
    print(f"killed at {sorted(stood)}; then {sorted(later)}")
    assert later - stood
    assert min(later - stood) > max(stood)
    assert outcome(folder) == whole
    assert not leftovers(folder)


def hupa(folder: Path, name: str, patient: Any) -> Path:
    """A made-up person in the layout of HUPA-UCM."""
    doses = patient.doses
    at = lambda times, amounts: {int(t // 5): float(x) for t, x in zip(times, amounts, strict=True)}
    bolus, carbs = at(doses.bolus_time_min, doses.bolus_U), at(doses.meal_time_min, doses.carbs_g)
    rows = [HEADER]
    for i, (minute, glucose) in enumerate(zip(patient.time_min, patient.glucose_mg_dL, strict=True)):
        when = (dt.datetime(2020, 1, 1) + dt.timedelta(minutes=float(minute))).isoformat()
        basal = float(doses.basal_U_h[np.searchsorted(doses.basal_time_min, minute, side="right") - 1]) / 12
        rows.append(f"{when};{round(float(glucose))};0;0;0;{basal!r};{bolus.get(i, 0.0)};{carbs.get(i, 0.0)}")
    file = folder / f"{name}.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


def mangle(source: Path, file: Path) -> None:
    """A cell of every row is lost."""
    head, *rows = source.read_text().splitlines()
    file.write_text("\n".join([head, *(row.replace(";", "|", 1) for row in rows)]) + "\n")


def pipeline(airflow: Airflow, study: str, inbox: Path, **params: Any) -> dict[str, Any]:
    airflow.run(
        "real_patient_pipeline", study=study, inbox=str(inbox), carbs_unit="g", known=["M=70"], assume_population=True,
        **params,
    )  # fmt: skip
    return json.loads((airflow.results / study / "summary.json").read_text())


def judge(airflow: Airflow, told: dict[str, Any], good: set[str], bad: str) -> None:
    assert {Path(file).name for file in told["reports"]} == good
    for page in told["reports"].values():
        text = Path(page).read_text()
        assert "<html" in text
        assert (Path(page).parent / "forecasts" / "forecasts.csv").is_file()
        assert (Path(page).parent / "identified" / "identification.json").is_file()
    ((file, why),) = told["quarantined"].items()
    assert Path(file).name == bad
    assert why.startswith("check: ")
    assert "row 2" in why
    states = airflow.states("real_patient_pipeline")
    skipped = {key for key, (state, _) in states.items() if state == "skipped"}
    steps = ("check", "convert", "identify", "forecast", "report")
    index = sorted([*good, bad]).index(bad)
    assert skipped == {(f"person.{step}", index) for step in steps}
    assert {state for state, _ in states.values()} == {"success", "skipped"}


def test_a_mangled_file_is_put_aside_with_its_reason(airflow: Airflow, tmp_path: Path) -> None:
    one, other = reference_cohort(interval_min=5, names=("Pat2", "Pat3"))
    hupa(tmp_path, "HUPA1", one)
    mangle(hupa(tmp_path, "HUPA3", other), tmp_path / "HUPA2.csv")
    told = pipeline(airflow, "made_up", tmp_path)
    judge(airflow, told, {"HUPA1.csv", "HUPA3.csv"}, "HUPA2.csv")


def test_real_people_get_reports(airflow: Airflow, shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "data" / "hupa_ucm").glob("HUPA*P.csv"))[:2]
    if len(files) < 2:
        pytest.skip("no HUPA-UCM files in the shared folder")
    for file in files:
        shutil.copy(file, tmp_path)
    mangle(files[0], tmp_path / "HUPA9999P.csv")
    told = pipeline(airflow, "real", tmp_path, hours=72)
    judge(airflow, told, {file.name for file in files}, "HUPA9999P.csv")


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_under_the_scheduler_and_its_web_page(
    fresh_airflow: Airflow, mlflow_server: Callable[..., MLflowServer], tmp_path: Path
) -> None:
    """Scheduler, workers and page as `airflow standalone` starts them; one worker is killed with all below it."""
    airflow = fresh_airflow
    mlflow = mlflow_server(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts"))
    page = f"http://127.0.0.1:{(port := free_port())}"
    env = airflow.env | {
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": page,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{page}/execution/",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "true",
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "MLFLOW_TRACKING_URI": mlflow.uri,
    }
    config = tmp_path / "slow.yaml"
    config.write_text(SLOW)
    form = {
        "study": "scheduled", "models": ["ode", "pinn"], "patients": "2,3", "interval_min": 30, "config": str(config),
        "checkpoint_every": 1, "figures": False,
    }  # fmt: skip
    dag, folder = NAMES[0], airflow.results / "scheduled" / "pinn"
    server = Server([airflow.program, "standalone"], tmp_path / "standalone.log", env=env, cwd=tmp_path)
    try:
        wait_for(lambda: server.check() is None and answers(f"{page}/api/v2/monitor/health"), "Airflow's page", 240)
        command = [airflow.program, "dags", "trigger", dag, "--run-id", "by_hand", "--conf", json.dumps(form)]
        triggered = lambda: subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0
        wait_for(triggered, "the DAG", 240)
        wait_for(lambda: len(checkpoints(folder)) > 1, "checkpoints", 400)
        number = child(folder)
        assert number is not None
        os.killpg(os.getpgid(number), signal.SIGKILL)  # the training and the task that started it
        ended = ("success", "failed", "upstream_failed")
        over = lambda: airflow.states(dag).get(("complete", -1), ("",))[0] in ended
        wait_for(over, "the end of the run", 500)
        states = airflow.states(dag)
        assert {state for state, _ in states.values()} == {"success"}, states
        assert states["train", 1] == ("success", 2)
        assert states["train", 0] == ("success", 1)
        look(page, dag, mlflow.uri, Path(os.environ.get("T1DJAX_SCREENSHOTS", tmp_path)))
    finally:
        server.end(seconds=30)
    assert len(outcome(folder)) == 2


def look(page: str, dag: str, mlflow: str, pictures: Path) -> None:
    """The page says it too. Pictures go to `T1DJAX_SCREENSHOTS` where that is set."""
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1500, "height": 1100})
        tab.set_default_timeout(60_000)
        tab.goto(f"{page}/dags")
        for name in NAMES:
            tab.get_by_text(name, exact=True).first.wait_for()
        tab.screenshot(path=pictures / "airflow_dags.png")
        tab.goto(f"{page}/dags/{dag}/runs/by_hand")
        tab.get_by_text("complete", exact=True).first.wait_for()
        tab.wait_for_timeout(2000)
        tab.screenshot(path=pictures / "airflow_run.png")
        tab.goto(f"{page}/dags/{dag}/runs/by_hand/tasks/train/mapped/1/details")
        link = tab.get_by_role("link", name="MLflow", exact=True).first
        link.wait_for()
        assert str(link.get_attribute("href")).startswith(f"{mlflow}/#/experiments/")
        tab.wait_for_timeout(2000)
        tab.screenshot(path=pictures / "airflow_task.png")
        tab.goto(f"{page}/dags/{dag}/runs/by_hand/tasks/train/mapped/1/xcom")
        tab.get_by_text("return_value", exact=True).first.wait_for()
        tab.wait_for_timeout(2000)
        tab.screenshot(path=pictures / "airflow_xcom.png")
        for name in (dag, NAMES[2]):
            tab.goto(f"{page}/dags/{name}")
            tab.get_by_text("Trigger", exact=True).first.click()
            tab.get_by_text("Folder for the results").first.wait_for()
            tab.wait_for_timeout(2000)
            tab.screenshot(path=pictures / f"airflow_form_{name}.png")
