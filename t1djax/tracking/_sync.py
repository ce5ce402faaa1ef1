"""Sending later what a training could not send."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from ._client import Place
from ._delivery import Delivery
from ._journal import FOLDER, journals, read_events
from ._sender import in_words


class RunSync(NamedTuple):
    """What became of one program's journal."""

    name: str
    """The program."""
    events: int
    """Number of events sent by this call."""
    left_bytes: int
    """Bytes of the journal that the server does not have."""
    ended: bool
    """Whether the program came to its end."""
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
        """Whether MLflow has everything."""
        return not any(run.left_bytes or run.message for run in self.runs)


def sync(results: str | Path, *, tracking_uri: str | None = None) -> SyncReport:
    """Send to MLflow what it does not have yet of the runs of a results folder. Doing it twice changes nothing.

    Args:
        results: the results folder.
        tracking_uri: as for `MLflowTracker`.

    Returns:
        What was sent and what is left, and why.

    Raises:
        FileNotFoundError: where the folder has no journal.
        ImportError: where MLflow is not installed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from t1djax import sync
        >>> sync(Path(tempfile.mkdtemp()))
        Traceback (most recent call last):
        FileNotFoundError: ...: holds no tracked runs
    """
    results = Path(results)
    found = journals_of(results)
    place = Place(results, tracking_uri)
    runs = []
    try:
        client = place.connect()
    except Exception as e:
        return SyncReport(place.shown, tuple(_state(place, journal, in_words(e)) for journal in found))
    for journal in found:
        if runs and runs[-1].message.startswith("the server answers"):
            runs.append(_state(place, journal, runs[-1].message))  # trying each takes its time, and ends alike
            continue
        delivery = Delivery(place, journal)
        if not delivery.claim():
            runs.append(_state(place, journal, "a training that runs is sending it" if delivery.left else ""))
            continue
        message, deleted = "", 0
        try:
            while delivery.advance(client):
                pass
            if not delivery.recorder.ended:
                delivery.recorder.killed(client)
            deleted = delivery.recorder.skipped
        except Exception as e:
            message = in_words(e)
        finally:
            delivery.release()
        state = _state(place, journal, message)
        runs.append(state._replace(events=delivery.events, deleted_runs=deleted))
    return SyncReport(place.shown, tuple(runs))


def tracking_status(results: str | Path, *, tracking_uri: str | None = None) -> SyncReport:
    """What `sync` would find, without sending anything.

    Args:
        results: the results folder.
        tracking_uri: as for `MLflowTracker`.

    Returns:
        The place, and for each journal how far it has been sent.

    Raises:
        FileNotFoundError: where the folder has no journal.
    """
    results = Path(results)
    found = journals_of(results)
    place = Place(results, tracking_uri)
    return SyncReport(place.shown, tuple(_state(place, journal, "") for journal in found))


def journals_of(results: Path) -> list[Path]:
    """The journals of a results folder.

    Raises:
        FileNotFoundError: where it has none.
    """
    found = journals(results)
    if not found:
        raise FileNotFoundError(f"{results / FOLDER}: holds no tracked runs")
    return found


def _state(place: Place, journal: Path, message: str) -> RunSync:
    events = read_events(journal)[0]
    ended = bool(events) and events[-1]["event"] == "end"
    return RunSync(journal.stem, 0, Delivery(place, journal).left, ended, 0, message)
