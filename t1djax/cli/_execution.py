"""How long work is carried out: what `train` and `sweep` share."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..tracking import MLflowTracker, Tracker

Figures = Annotated[bool, typer.Option(help="Draw figures into the result folders.")]
CheckpointEvery = Annotated[int, typer.Option(min=1, help="Chunks of training steps between two checkpoints.")]
Batch = Annotated[
    int | None,
    typer.Option(min=1, help="Most fits (patients times seeds) that train together.  [default: by memory]"),
]
Tracking = Annotated[
    bool, typer.Option("--tracking/--no-tracking", help="Log to MLflow; a database in --results unless told otherwise.")
]
TrackingUri = Annotated[str | None, typer.Option(help="MLflow server to log to, such as http://localhost:5000.")]


@contextmanager
def stop_on_term() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM came: training then ends at the next chunk of steps, its state on disk."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def tracker_of(tracking: bool, uri: str | None, results: str) -> Iterator[Tracker | None]:
    """An MLflow tracker where one is wanted; it is closed at the end, come what may."""
    if not tracking and uri is None:
        yield None
        return
    tracker = MLflowTracker(Path(results), tracking_uri=uri)
    try:
        yield tracker
    finally:
        tracker.close()
