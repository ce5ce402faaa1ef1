"""Sending later what a training could not send, and finding in MLflow what a results folder has there."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import filelock

from .._in_use import using
from ._client import Place
from ._course import COURSE, results_id, run_folders
from ._projection import Projection
from ._sender import in_words


class RunSync(NamedTuple):
    """What became of one program."""

    name: str
    """The program."""
    events: int
    """Number of chunks and results sent by this call."""
    left_bytes: int
    """Bytes of the course that MLflow does not have."""
    ended: bool
    """Whether MLflow has a result of every fit."""
    deleted_runs: int
    """Number of its MLflow runs that somebody deleted; they stay deleted."""
    message: str
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
    results = Path(results)
    with using([results]):
        return _sync(Place(results, tracking_uri), run_folders(results))


def _sync(place: Place, folders: Sequence[Path]) -> SyncReport:
    runs: list[RunSync] = []
    try:
        client = place.connect()
    except Exception as e:
        return SyncReport(place.shown, _unsent(folders, in_words(e)))
    for folder in folders:
        if runs and runs[-1].message.startswith("the server answers"):
            runs += _unsent([folder], runs[-1].message)  # trying each takes its time, and ends alike
            continue
        projection, message = Projection(place, folder), ""
        if not projection.claim():
            runs += _unsent([folder], "a training that runs is sending it")
            continue
        try:
            while projection.send(client):
                pass
            if not projection.complete and not _trains(folder):
                projection.killed(client)
        except Exception as e:
            message = in_words(e)
        finally:
            projection.release()
        runs.append(_state(projection, message))
    return SyncReport(place.shown, tuple(runs))


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
    results = Path(results)
    place, folders = Place(results, tracking_uri), run_folders(results)
    runs = []
    try:
        client = place.connect()
        for folder in folders:
            projection = Projection(place, folder)
            projection.look(client, make=False)
            runs.append(_state(projection, "" if projection.complete else "not all of it is there"))
    except Exception as e:
        return SyncReport(place.shown, _unsent(folders, in_words(e)))
    return SyncReport(place.shown, tuple(runs))


def _state(p: Projection, message: str) -> RunSync:
    return RunSync(p.folder.name, p.sent, p.left, p.complete, p.skipped, message)


def _unsent(folders: Sequence[Path], message: str) -> tuple[RunSync, ...]:
    size = lambda path: path.stat().st_size if path.exists() else 0
    return tuple(RunSync(folder.name, 0, size(folder / COURSE), False, 0, message) for folder in folders)


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
        >>> from t1djax import tracked_runs
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
    found, token = [], None
    while experiments:
        page = client.search_runs(list(experiments), query, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            break
    pages = place.shown.replace("***@", "").rstrip("/") if place.uri.startswith(("http://", "https://")) else None
    runs = []
    for run in found:
        info = run.info
        url = None if pages is None else f"{pages}/#/experiments/{info.experiment_id}/runs/{info.run_id}"
        parent = "mlflow.parentRunId" not in run.data.tags
        runs.append(TrackedRun(experiments[info.experiment_id], info.run_name, info.run_id, info.status, parent, url))
    return tuple(sorted(runs, key=lambda run: (not run.parent, run.experiment, run.name, run.run_id)))
