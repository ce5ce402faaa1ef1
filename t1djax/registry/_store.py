"""Where the registry is, and MLflow pointed at it for a while."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .._arguments import argument
from ..tracking import Place, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

RESULTS = "results"
"""The results folder, where none is named."""
_VARIABLE = "MLFLOW_TRACKING_URI"


class RegistryError(ValueError):
    """The registry cannot be used, or has not what is asked for; the message says what to do."""


class NotRegisteredError(RegistryError):
    """The registry has no such model, version or alias, or is not there itself."""


class UnreachableError(RegistryError):
    """MLflow refuses, or does not answer."""


def default_uri(results: str | Path = RESULTS) -> str:
    """The tracking URI where none is stated: `MLFLOW_TRACKING_URI`, or else `mlflow.db` in the results folder.

    Args:
        results: the results folder.

    Example:
        >>> from t1djax.registry import default_uri
        >>> default_uri("results").endswith("results/mlflow.db")
        True
    """
    return os.environ.get(_VARIABLE) or f"sqlite:///{Path(results).absolute() / 'mlflow.db'}"


@contextlib.contextmanager
def mlflow_at(uri: str, *, make: bool = False) -> "Iterator[MlflowClient]":
    """MLflow pointed at `uri` (a server, or `sqlite:///FILE`), and as it was before when it is done.

    Raises:
        NotRegisteredError: where there is no such database.
        UnreachableError: where MLflow refuses or does not answer.
        RegistryError: where it is not installed.
    """
    place = place_of(uri)
    if uri.startswith("sqlite:///"):
        if not make and not (file := Path(uri.removeprefix("sqlite:///"))).exists():
            raise NotRegisteredError(
                f"{file}: no such database; register a model first, or name another with {argument('tracking_uri')}"
            )
        place.results.mkdir(parents=True, exist_ok=True)
    try:
        place.check()
    except TrackingError as e:
        raise UnreachableError(f"the MLflow server {e}; is it running?") from e
    with _environment(), _quiet(), contextlib.redirect_stdout(sys.stderr):  # stdout is for what a command prints
        import mlflow  # noqa: PLC0415 - seconds
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        try:
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            yield mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        except MlflowException as e:
            raise UnreachableError(f"MLflow refuses: {e.message}") from e
        finally:
            mlflow.set_tracking_uri(before)  # pyright: ignore[reportArgumentType] - None unsets it
            mlflow.set_registry_uri(None)  # pyright: ignore[reportArgumentType]


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Variables of MLflow as this package wants them, and then as they were."""
    ours = {
        "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing about anybody's models goes to third parties
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    before = {name: os.environ.get(name) for name in (*ours, _VARIABLE, "MLFLOW_REGISTRY_URI")}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("mlflow.store.db.utils", "mlflow.pyfunc", "alembic")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def place_of(uri: str) -> Place:
    """The MLflow at `uri`; what a bare database does not keep itself lies beside it.

    Raises:
        RegistryError: where MLflow is not installed.
    """
    try:
        return Place(
            Path(uri.removeprefix("sqlite:///")).parent if uri.startswith("sqlite:///") else Path(RESULTS), uri
        )
    except ImportError as e:
        raise RegistryError('the registry needs MLflow: pip install "t1djax[mlflow]"') from e
