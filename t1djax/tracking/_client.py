"""Where MLflow is, and a client of it that leaves the user's process as it was."""

import hashlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from ._journal import FOLDER, only_one
from ._tracker import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

EMBEDDED = "embedded"
_ANSWER_S = 5.0  # a server that does not say anything for so long counts as away


class Place:
    """An MLflow to send to: a server, a database, or what the results folder holds itself."""

    def __init__(self, results: Path, tracking_uri: str | None) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise ImportError('tracking needs MLflow: pip install "t1djax[mlflow]", or train without tracking')
        self.results = results.absolute()
        stated = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or None
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
        """Where a new experiment keeps its files; None leaves it to the server."""
        return (self.results / "mlartifacts" / experiment).as_uri() if self.embedded else None

    def connect(self) -> "MlflowClient":
        """A client; takes seconds at the first call.

        Raises:
            TrackingError: where a server does not answer.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing about anybody's runs goes to third parties
        from mlflow import MlflowClient  # noqa: PLC0415 - seconds

        self.check()
        if not self.embedded:
            return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        for chatty in ("mlflow.store.db.utils", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        with only_one(self.results / FOLDER / "mlflow.lock") as alone:
            if not alone:
                raise TrackingError("another process makes the database")
            return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def check(self) -> None:
        """Ask a server for a sign of life: MLflow's own calls try for minutes.

        Raises:
            TrackingError: where it gives none.
        """
        if not self.uri.startswith(("http://", "https://")):
            return
        import requests  # noqa: PLC0415 - comes with MLflow

        try:
            requests.get(f"{self.uri.rstrip('/')}/health", timeout=_ANSWER_S, allow_redirects=False)
        except requests.exceptions.SSLError:
            return  # it answers; whether it is to be trusted is for MLflow to say
        except requests.exceptions.RequestException as e:
            raise TrackingError(f"{self.shown} does not answer ({type(e).__name__})") from e
