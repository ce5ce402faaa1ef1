"""What the DAGs share: how a task calls the `t1djax` command line, and where things lie. Nothing heavy is imported.

Environment of the workers:
    T1DJAX_PYTHON: the Python that has t1djax; without it, `t1djax` on the path.
    T1DJAX_RESULTS: folder for results, the same for every worker.
    T1DJAX_INBOX: folder of the files of `real_patient_pipeline`.
Environment of the DAG processor as well:
    T1DJAX_RETRIES, T1DJAX_RETRY_SECONDS, T1DJAX_TRAIN_HOURS, T1DJAX_POOL.
"""

import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

WRONG_CALL, WRONG_DATA, FAILED_FITS, REFUSED_PROMOTION = 2, 3, 4, 5
"""Exit codes of t1djax."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""What may name a folder."""
LABEL = "{{ label }}"
"""Of a mapped task in the web page: what it told `label`."""
POOL = os.environ.get("T1DJAX_POOL", "default_pool")
RETRIES: dict[str, Any] = {
    "retries": int(os.environ.get("T1DJAX_RETRIES", "2")),
    "retry_delay": dt.timedelta(seconds=float(os.environ.get("T1DJAX_RETRY_SECONDS", "60"))),
    "execution_timeout": dt.timedelta(hours=1),
}
TRAIN_TIMEOUT = dt.timedelta(hours=float(os.environ.get("T1DJAX_TRAIN_HOURS", "24")))
_GRACE_S = 60.0  # for a training to reach the end of a chunk and keep its state


class Refused(AirflowFailException):
    """The call or the data is wrong: trying again would not help."""


class Done(NamedTuple):
    """What a call said."""

    code: int
    out: str

    @property
    def json(self) -> Any:
        """Of a call with `--json`."""
        return json.loads(self.out)


def t1djax(*arguments: str, accept: tuple[int, ...] = (), show: bool = True, mlflow: str | None = None) -> Done:
    """Call the command line; its messages go to the task's log.

    Args:
        arguments: of the command.
        accept: exit codes beside 0 that are answers.
        show: whether standard output goes to the log too.
        mlflow: MLflow's address; not among the arguments, since an address may hold a password and those are logged.

    Raises:
        Refused: for exit codes 2 and 3, with the reason; such a task is not tried again.
        AirflowException: for other failures, killed processes among them.
    """
    python = os.environ.get("T1DJAX_PYTHON")
    command = [*([python, "-m", "t1djax.cli"] if python else ["t1djax"]), *arguments]
    _say("$ " + " ".join(command))
    if setpriv := shutil.which(
        "setpriv"
    ):  # a task that is killed takes it along: the next try must find nobody at work
        command = [setpriv, "--pdeathsig", "KILL", *command]
    last = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        # It stays in the process group of the task: what Airflow sends to the task reaches it.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, text=True, errors="replace",
            env=os.environ | ({} if mlflow is None else {"MLFLOW_TRACKING_URI": mlflow}),
        )  # fmt: skip
        try:
            assert process.stderr is not None
            for line in process.stderr:
                _say(line.rstrip())
                last = line.strip() or last
            code = process.wait()
        finally:  # a timeout arrives here as an exception
            _end(process)
        out.seek(0)
        text = out.read()
    if show:
        _say(text.rstrip())
    if code in (0, *accept):
        return Done(code, text)
    reason = last.removeprefix("error: ") or f"t1djax {arguments[0]} ended with {code}"
    if code in (WRONG_CALL, WRONG_DATA):
        raise Refused(reason)
    raise AirflowException(f"t1djax {arguments[0]} ended with {code}: {reason}")


def flags(values: Mapping[str, Any]) -> list[str]:
    """Options of the command line from parameters of a form: None and "" are left out, lists repeat the option."""
    found: list[str] = []
    for name, value in values.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            found.append(option)
        elif value is False or value is None or value == "":
            continue
        else:  # with `=` a value is never taken for an option
            found += [f"{option}={one}" for one in (value if isinstance(value, list) else [value])]
    return found


def label(text: str) -> None:
    """Call a mapped task by what it is at work on, and not by a number."""
    get_current_context()["label"] = text  # type: ignore[typeddict-unknown-key]


def results(study: str) -> Path:
    """The folder of a study."""
    root = (
        os.environ.get("T1DJAX_RESULTS") or Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "results"
    )
    return Path(root).absolute() / study


def mlflow_of(folder: Path) -> str:
    """MLflow's address: the server, or else a database in the folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"


def links(folder: Path) -> list[str]:
    """Pages in MLflow of what was trained into a folder, the run of the whole first; none where MLflow is away."""
    try:
        runs = t1djax("track", "runs", "--json", "--", str(folder), show=False).json
    except AirflowException as e:
        _say(f"no links to MLflow: {e}")
        return []
    found = [run["url"] or f"MLflow run {run['run_id']} of {folder}" for run in runs]
    for link in found:
        _say(link)
    return found


def _say(text: str) -> None:
    print(text, flush=True)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stderr is not None:
        process.stderr.close()
