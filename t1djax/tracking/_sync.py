"""Sending later what a training could not send, and finding in MLflow what a results folder has there."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from .._in_use import using
from ._client import Place, in_words, pages
from ._course import COURSE, results_id, run_folders
from ._projection import Projection


class RunSync(NamedTuple):
    """What became of one program."""

    name: str
    """The program."""
    events: int = 0
    """Number of chunks and results sent by this call."""
    left_bytes: int = 0
    """Bytes of the course that MLflow does not have."""
    ended: bool = False
    """Whether MLflow has a result of every fit."""
    deleted_runs: int = 0
    """Number of its MLflow runs that somebody deleted; they stay deleted."""
    message: str = ""
    """Why something is left; empty where all is well."""


@dataclasses.dataclass(frozen=True, eq=False)
class SyncReport:
    """What `sync` did."""

    uri: str
    """The MLflow, without passwords."""
    runs: tuple[RunSync, ...]
    """One record per program."""

    @property
    def complete(self) -> bool:
        """Whether MLflow has everything that there is."""
        return not any(run.left_bytes or run.message for run in self.runs)


def sync(results: str | Path, *, tracking_uri: str | None = None) -> SyncReport:
    """Send to MLflow what it does not have of the runs of a results folder. Doing it twice changes nothing.

    What MLflow shows follows from the result folders and from the courses of training that were kept, so that this can
    be done at any time, to any MLflow, also for runs that were trained without tracking.

    Args:
        results: the results folder.
        tracking_uri: as for `MLflowTracker`.

    Returns:
        What was sent and what is left, and why.

    Raises:
        FileNotFoundError: where the folder has no run.
        ImportError: where MLflow is not installed.
        Busy: where a person is being removed from the folder.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from t1djax import sync
        >>> sync(Path(tempfile.mkdtemp()))
        Traceback (most recent call last):
        FileNotFoundError: ...: holds no tracked runs
    """
    with using([Path(results)]):
        return _report(Path(results), tracking_uri, send=True)


def tracking_status(results: str | Path, *, tracking_uri: str | None = None) -> SyncReport:
    """What `sync` would find, without sending anything.

    Args:
        results: the results folder.
        tracking_uri: as for `MLflowTracker`.

    Returns:
        The place, and for each run how far it has been sent; of an MLflow that does not answer, that nothing was.

    Raises:
        FileNotFoundError: where the folder has no run.
    """
    return _report(Path(results), tracking_uri, send=False)


def _report(results: Path, tracking_uri: str | None, *, send: bool) -> SyncReport:
    place, folders = Place(results, tracking_uri), run_folders(results)
    runs: list[RunSync] = []
    client, trouble = None, ""
    for folder in folders:
        projection, message = Projection(place, folder), trouble
        course = folder / COURSE
        projection.left = course.stat().st_size if course.exists() else 0
        try:
            if not trouble:
                client = client or place.connect()
                message = _send(projection, client) if send else _look(projection, client)
        except Exception as e:
            message = in_words(e)
            if client is None or message.startswith("the server answers"):
                trouble = message  # trying each run takes its time, and ends alike
        p = projection
        runs.append(RunSync(folder.name, p.sent, p.left, p.complete, p.skipped, message))
    return SyncReport(place.shown, tuple(runs))


def _look(projection: Projection, client: Any) -> str:
    projection.look(client, make=False)
    return "" if projection.complete else "not all of it is there"


def _send(projection: Projection, client: Any) -> str:
    try:
        with projection.lock:
            while projection.send(client):
                pass
            if not projection.complete and not _trains(projection.folder):
                projection.killed(client)
            return ""
    except filelock.Timeout:
        return "a training that runs is sending it"


def _trains(folder: Path) -> bool:
    """Whether a process is at work on a run."""
    try:
        with filelock.FileLock(folder / "lock", timeout=0):
            return False
    except filelock.Timeout:
        return True


class TrackedRun(NamedTuple):
    """A run in MLflow."""

    experiment: str
    """Model and mode, such as `PINN_Inverse`."""
    name: str
    """As in MLflow; of a patient's run the name of its results folder."""
    run_id: str
    """MLflow's own."""
    status: str
    """`RUNNING`, `FINISHED`, `FAILED` or `KILLED`."""
    parent: bool
    """Whether it is the run of a whole sweep, which holds those of its patients."""
    url: str | None
    """Its page; None in a database, which has no pages."""


def tracked_runs(results: str | Path, *, tracking_uri: str | None = None) -> tuple[TrackedRun, ...]:
    """The runs of a results folder in MLflow, parents first, without those that were deleted.

    Args:
        results: the results folder.
        tracking_uri: as for `MLflowTracker`.

    Returns:
        One record per run.

    Raises:
        FileNotFoundError: where the folder has no run.
        ImportError: where MLflow is not installed.
        TrackingError: where a server does not answer.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from t1djax.tracking import tracked_runs
        >>> tracked_runs(Path(tempfile.mkdtemp()))
        Traceback (most recent call last):
        FileNotFoundError: ...: holds no tracked runs
    """
    results = Path(results)
    place = Place(results, tracking_uri)
    run_folders(results)
    client = place.connect()
    experiments = {e.experiment_id: e.name for e in client.search_experiments()}
    query = f"tags.`t1djax.results` = '{results_id(results.absolute())}'"
    ids = list(experiments)
    found = pages(lambda t: client.search_runs(ids, query, max_results=1000, page_token=t)) if ids else []
    site = place.shown.replace("***@", "").rstrip("/") if place.server else None
    runs = []
    for info, tags in ((run.info, run.data.tags) for run in found):
        url = None if site is None else f"{site}/#/experiments/{info.experiment_id}/runs/{info.run_id}"
        parent = "mlflow.parentRunId" not in tags
        runs.append(TrackedRun(experiments[info.experiment_id], info.run_name, info.run_id, info.status, parent, url))
    return tuple(sorted(runs, key=lambda run: (not run.parent, run.experiment, run.name, run.run_id)))
