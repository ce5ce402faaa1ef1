"""Where MLflow is, and a client of it that leaves the user's process as it was."""

import contextlib
import importlib.util
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import filelock

from ._course import RUNS
from ._tracker import TrackingError, TrackingWarning

if TYPE_CHECKING:
    from mlflow import MlflowClient

THREAD = "t1djax-tracking"
_SCHEMES = r"(https?|sqlite|postgresql|mysql|mssql)(\+\w+)?://|(databricks|uc)\b"
_SERVER_ERROR = 500
_ANSWER_S = 5.0  # a server that does not say anything for so long counts as away
_LOGGERS = ("alembic.runtime.migration", "mlflow.store.db.utils", "mlflow.system_metrics.system_metrics_monitor",
            "urllib3.connectionpool", "urllib3.util.retry")  # fmt: skip


class Place:
    """An MLflow to send to: a server, a database, or what the results folder holds itself."""

    def __init__(self, results: Path, tracking_uri: str | None) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise ImportError('tracking needs MLflow: pip install "t1djax[mlflow]", or train without tracking')
        self.results = results.absolute()
        stated = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or None
        if stated is not None and not re.match(_SCHEMES, stated):
            raise ValueError(f"{stated}: there is no such server or database; write http://HOST:PORT or sqlite:///FILE")
        self.uri = stated or f"sqlite:///{self.results / 'mlflow.db'}"
        self.server = self.uri.startswith(("http://", "https://"))

    @property
    def shown(self) -> str:
        """The URI without a password."""
        parts = urlsplit(self.uri)
        host = parts.netloc.rpartition("@")[2]
        return self.uri if parts.username is None else urlunsplit(parts._replace(netloc=f"***@{host}"))

    def artifacts(self, experiment: str) -> str | None:
        """Where a new experiment keeps its files: with a bare database, in the results folder; a server knows where."""
        bare = self.uri.startswith(("sqlite", "postgresql", "mysql", "mssql"))
        return (self.results / "mlartifacts" / experiment).as_uri() if bare else None

    def connect(self) -> "MlflowClient":
        """A client; takes seconds at the first call.

        Raises:
            TrackingError: where a server does not answer.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing about anybody's runs goes to third parties
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # standard output is the caller's
        from mlflow import MlflowClient  # noqa: PLC0415 - seconds

        for name in _LOGGERS:
            logging.getLogger(name).addFilter(not_of_sender)  # adding it twice adds it once
        self.check()
        if self.uri.startswith("sqlite:///"):
            self._prepare(Path(self.uri.removeprefix("sqlite:///")))
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _prepare(self, file: Path) -> None:
        """Set a database aside that is of no use, and make the tables of a new one under another name first.

        A kill or a full disk in the middle leaves a database that MLflow refuses from then on. What it showed of these
        results is sent again.
        """
        from mlflow import MlflowClient  # noqa: PLC0415 - seconds

        work = self.results / RUNS
        work.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(work / "database.lock"):
            if why := half_made(file):
                aside = next(p for n in range(1, 1000) if not (p := Path(f"{file}.half-made-{n}")).exists())
                for end in ("", "-wal", "-shm", "-journal"):
                    with contextlib.suppress(FileNotFoundError):
                        Path(f"{file}{end}").rename(f"{aside}{end}")
                warnings.warn(
                    f"{file}: was left half made ({why}); it is set aside as {aside.name} and made anew, and what the "
                    "results hold is sent again",
                    TrackingWarning,
                    stacklevel=2,
                )
            if file.exists():
                return
            for old in work.glob("database-*"):
                shutil.rmtree(old, ignore_errors=True)
            # A folder of its own each time: MLflow keeps a connection to a database that failed.
            partial = Path(tempfile.mkdtemp(prefix="database-", dir=work)) / file.name
            MlflowClient(tracking_uri=f"sqlite:///{partial}", registry_uri=f"sqlite:///{partial}")
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(partial, file)
            shutil.rmtree(partial.parent)

    def check(self) -> None:
        """Ask a server for a sign of life: MLflow's own calls try for minutes.

        Raises:
            TrackingError: where it gives none.
        """
        if not self.server:
            return
        import requests  # noqa: PLC0415 - comes with MLflow

        try:
            answer = requests.get(f"{self.uri.rstrip('/')}/health", timeout=_ANSWER_S, allow_redirects=False)
        except requests.exceptions.SSLError:
            return  # it answers; whether it is to be trusted is for MLflow to say
        except requests.exceptions.RequestException as e:
            raise TrackingError(f"{self.shown} does not answer ({type(e).__name__})") from e
        if answer.status_code >= _SERVER_ERROR:
            raise TrackingError(f"{self.shown} answers {answer.status_code}")


def pages(ask: Callable[[str | None], Any]) -> list[Any]:
    """Everything that MLflow tells page by page; `ask` is given the token of a page."""
    found, token = [], None
    while True:
        page = ask(token)
        found += page
        if not (token := page.token):
            return found


def half_made(file: Path) -> str | None:
    """Why a database of MLflow's is of no use: its making or a migration was interrupted; None where it is sound."""
    if not file.exists() or file.stat().st_size == 0:
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as db:
            tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
            version = db.execute("select * from alembic_version").fetchall() if "alembic_version" in tables else []
    except sqlite3.OperationalError:  # locked, or out of reach: MLflow says it
        return None
    except sqlite3.DatabaseError as e:
        return str(e)
    if left := sorted(name for name in tables if name.startswith("_alembic_tmp_")):
        return f"table {left[0]} is left of a migration"
    return "it has no version" if tables and not version else None


def not_of_sender(record: logging.LogRecord) -> bool:
    """Keeps what the sender's thread logs out of the user's terminal: that it tries again, and whole tracebacks.

    What it could not send is said in one line, by the tracker.
    """
    return record.threadName != THREAD


def in_words(error: Exception) -> str:
    """What went wrong, in one line; of a server that answers errors, which."""
    text = str(error).strip() or type(error).__name__
    if status := re.search(r"too many (\d{3}) error responses|failed with error code (5\d\d)", text):
        return f"the server answers {status[1] or status[2]}"
    return text.splitlines()[0][:300]
