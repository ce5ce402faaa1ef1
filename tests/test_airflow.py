"""The DAGs without Airflow: what they import at parse time, and how they call the command line."""

import ast
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

DAGS = Path(__file__).resolve().parents[1] / "examples" / "deployment" / "airflow" / "dags"
FILES = sorted(DAGS.glob("*.py"))


class AirflowException(Exception):
    """A stand-in."""


class AirflowFailException(AirflowException):
    """A stand-in."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that the DAGs share, with stand-ins for what it takes from Airflow."""
    exceptions, sdk = ModuleType("airflow.sdk.exceptions"), ModuleType("airflow.sdk")
    vars(exceptions).update(AirflowException=AirflowException, AirflowFailException=AirflowFailException)
    vars(sdk).update(get_current_context=dict)
    for name, module in {"airflow": ModuleType("airflow"), "airflow.sdk": sdk, exceptions.__name__: exceptions}.items():
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("t1djax_command", DAGS / "t1djax_command.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def acts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A program in t1djax's place: `acts("exit 3")`."""

    def acts(script: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("T1DJAX_PYTHON", str(program))

    return acts


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_parsing_a_dag_imports_nothing_heavy(file: Path) -> None:
    allowed = {*sys.stdlib_module_names, "airflow", "t1djax_command"}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {name.name.partition(".")[0] for name in node.names} <= allowed
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert (node.module or "").partition(".")[0] in allowed
            assert not (node.module or "").startswith("airflow") or (node.module or "").startswith("airflow.sdk")


def test_there_is_a_dag_of_each_name() -> None:
    assert {file.stem for file in FILES} == {
        "comprehensive_training", "model_comparison", "real_patient_pipeline", "t1djax_command",
    }  # fmt: skip
    for file in FILES:
        calls = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Expr)]
        called = {ast.unparse(node.value) for node in calls}
        assert file.stem == "t1djax_command" or f"{file.stem}()" in called
    assert (DAGS / ".airflowignore").read_text().split() == ["t1djax_command.py"]


def test_a_retry_replaces_what_the_first_try_wrote() -> None:
    tree = ast.parse((DAGS / "real_patient_pipeline.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "t1djax"]
    writing = {ast.unparse(call.args[0]): ast.unparse(call) for call in calls if "--out=" in ast.unparse(call)}
    assert set(writing) == {"'convert'", "'identify'", "'forecast'", "'report'"}
    assert [name for name, call in writing.items() if "'--overwrite'" not in call] == []


def test_flags(command: ModuleType) -> None:
    values = {"a_b": 1.5, "none": None, "empty": "", "no": False, "yes": True, "many": ["x", "--y"], "zero": 0}
    assert command.flags(values) == ["--a-b=1.5", "--yes", "--many=x", "--many=--y", "--zero=0"]


def test_answers_and_reasons(
    command: ModuleType, acts: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    acts('echo "{\\"args\\": \\"$*\\"}"; echo working >&2')
    done = command.t1djax("inspect", "--json", "a file")
    assert done.json == {"args": "-m t1djax.cli inspect --json a file"}
    assert "working" in capfd.readouterr().out
    acts('echo "$MLFLOW_TRACKING_URI"')
    address = "postgresql://{}@host/db".format("user:" + "word")
    assert command.t1djax("registry", mlflow=address, show=False).out == f"{address}\n"
    assert "word" not in capfd.readouterr().out
    acts("echo 'warning: x' >&2; echo 'error: row 2: no number' >&2; exit 3")
    with pytest.raises(command.Refused, match="row 2"):
        command.t1djax("inspect")
    assert command.t1djax("inspect", accept=(3,)).code == 3
    acts("exit 2")
    with pytest.raises(command.Refused):
        command.t1djax("sweep")
    for code in (1, 143):  # what another try may get past
        acts(f"echo 'error: no' >&2; exit {code}")
        with pytest.raises(AirflowException, match=str(code)) as error:
            command.t1djax("sweep")
        assert not isinstance(error.value, AirflowFailException)
    acts("kill -9 $$")
    with pytest.raises(AirflowException, match="-9"):
        command.t1djax("sweep")


def test_a_timeout_lets_the_training_keep_its_state(
    command: ModuleType, acts: Callable[[str], None], tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    acts(f"trap 'echo state > {kept}; exit 143' TERM; echo ready >&2; while :; do sleep 0.05; done")

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 0.6)
    try:
        with pytest.raises(TimeoutError):
            command.t1djax("sweep")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert kept.read_text() == "state\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_task_takes_its_training_along(
    command: ModuleType, acts: Callable[[str], None], tmp_path: Path
) -> None:
    if command.shutil.which("setpriv") is None:
        pytest.skip("no setpriv on this machine (util-linux)")
    number = tmp_path / "number"
    acts(f"echo $$ > {number}.new; mv {number}.new {number}; exec sleep 60")
    script = (
        "import sys, types\n"
        "for name in ('airflow', 'airflow.sdk', 'airflow.sdk.exceptions'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "sys.modules['airflow.sdk'].get_current_context = dict\n"
        "class E(Exception): pass\n"
        "vars(sys.modules['airflow.sdk.exceptions']).update(AirflowException=E, AirflowFailException=E)\n"
        f"sys.path.insert(0, {str(DAGS)!r})\n"
        "from t1djax_command import t1djax\n"
        "t1djax('sweep')\n"
    )
    task = command.subprocess.Popen(
        [sys.executable, "-S", "-B", "-c", script], stdout=command.subprocess.DEVNULL, env=dict(os.environ)
    )
    until = time.monotonic() + 20
    while not number.exists() and time.monotonic() < until:
        time.sleep(0.02)
    training = int(number.read_text())
    assert state(training) is not None
    task.kill()
    task.wait()
    while state(training) is not None and time.monotonic() < until:
        time.sleep(0.02)
    assert state(training) is None


def state(number: int) -> str | None:
    """Of a process; None where it is gone."""
    try:
        letter = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if letter in "ZX" else letter


def test_where_results_lie(command: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("T1DJAX_RESULTS", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert command.results("a") == tmp_path / "a"
    assert command.mlflow_of(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.delenv("T1DJAX_RESULTS")
    monkeypatch.setenv("AIRFLOW_HOME", "/home/x")
    assert command.results("a") == Path("/home/x/results/a")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert command.mlflow_of(tmp_path) == "http://127.0.0.1:5000"
