"""Finding in MLflow what a results folder logged there."""

from pathlib import Path
from typing import NamedTuple

from ._client import Place
from ._journal import results_id
from ._sync import journals_of


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
        FileNotFoundError: where the folder has no journal.
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
    journals_of(results)
    place = Place(results, tracking_uri)
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
