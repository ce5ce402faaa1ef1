"""Where MLflow is, and a client of it that leaves the user's process as it was."""

import hashlib
import importlib.util
import logging
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from ._journal import FOLDER, only_one
from ._tracker import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

EMBEDDED = "embedded"
THREAD = "t1djax-tracking"
_SCHEMES = r"(https?|sqlite|postgresql|mysql|mssql)(\+\w+)?://|(databricks|uc)\b"
_SERVER_ERROR = 500
_ANSWER_S = 5.0  # a server that does not say anything for so long counts as away


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
        self.embedded = stated is None or stated == f"sqlite:///{self.results / 'mlflow.db'}"
        # The folder may move with its database, so that its path is no part of the key.
        self.key = EMBEDDED if self.embedded else hashlib.sha256(self.uri.encode()).hexdigest()[:8]

    @property
    def shown(self) -> str:
        """The URI without a password."""
        parts = urlsplit(self.uri)
        if parts.password is None and parts.username is None:
            return self.uri
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"***@{host}"))

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

        _hush()
        self.check()
        if self.embedded:
            with only_one(self.results / FOLDER / "mlflow.lock") as alone:
                if not alone:
                    raise TrackingError("another process makes the database")
                self._make_database()
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _make_database(self) -> None:
        """Make the tables under another name first: a kill in the middle would leave a database of no use."""
        from mlflow import MlflowClient  # noqa: PLC0415 - seconds

        final = self.results / "mlflow.db"
        if final.exists():
            return
        folder = self.results / FOLDER / "new"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        partial = folder / final.name
        MlflowClient(tracking_uri=f"sqlite:///{partial}", registry_uri=f"sqlite:///{partial}")
        partial.rename(final)
        shutil.rmtree(folder)

    def check(self) -> None:
        """Ask a server for a sign of life: MLflow's own calls try for minutes.

        Raises:
            TrackingError: where it gives none.
        """
        if not self.uri.startswith(("http://", "https://")):
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


class _NotOurs(logging.Filter):
    """Keeps what the sender's thread logs out of the user's terminal: that it tries again, and whole tracebacks.

    What it could not send is said in one line, by the tracker.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return record.threadName != THREAD


_NOT_OURS = _NotOurs()


def _hush() -> None:
    for name in (
        "alembic.runtime.migration",
        "mlflow.store.db.utils",
        "mlflow.system_metrics.system_metrics_monitor",
        "urllib3.connectionpool",
        "urllib3.util.retry",
    ):
        logging.getLogger(name).addFilter(_NOT_OURS)  # adding it twice adds it once
