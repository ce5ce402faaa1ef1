"""How long work is carried out: what `train` and `sweep` share."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..config import ConfigError
from ..tracking import MLflowTracker, Tracker
from ._app import stderr

_OFTEN_S = 10.0  # between two lines

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

SystemMetrics = Annotated[
    bool, typer.Option("--system-metrics", help="Log processor, memory and accelerator to MLflow too.")
]
Data = Annotated[
    str | None, typer.Option(help="Folder of a cohort, file of a patient, or `reference`.  [default: reference]")
]
Patients = Annotated[
    str | None, typer.Option(help="all, or names: A,B; for the reference also 3,5 or Pat2-Pat11.  [default: all]")
]
AssumePopulation = Annotated[
    bool | None, typer.Option("--assume-population", help="Take what nobody stated from the population; said so.")
]


class Line(NamedTuple):
    """What progress looks like."""

    what: str
    done: int
    total: int
    says: str
    now: bool
    """Whether to print it even if one was printed just now."""
    unit: str = ""
    """Of what is counted."""


@contextmanager
def telling(words: Callable[[Any], Line], *, show: bool) -> Iterator[Callable[[Any], None] | None]:
    """A bar for people at a terminal; elsewhere, where nothing can be redrawn, a line now and then."""
    if not show:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[says]}"),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("compiling", total=None, says="")
        if not stderr.is_terminal:
            stderr.print("compiling, then training", highlight=False)
        last = [0.0]

        def tell(progress: Any) -> None:
            line = words(progress)
            bar.update(
                task,
                description=line.what,
                total=line.total,
                completed=line.done,
                says=f"{line.unit}  {line.says}".strip(),
            )
            if not stderr.is_terminal and (time.monotonic() - last[0] > _OFTEN_S or line.now):
                last[0] = time.monotonic()
                counted = " ".join(x for x in (f"{line.done} of {line.total}", line.unit) if x)
                stderr.print(", ".join(x for x in (f"{line.what}: {counted}", line.says) if x), highlight=False)

        yield tell


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
def tracker_of(tracking: bool, uri: str | None, results: str, *, system_metrics: bool) -> Iterator[Tracker | None]:
    """An MLflow tracker where one is wanted; it is closed at the end, come what may."""
    if not tracking and uri is None:
        if system_metrics:
            raise ConfigError("--system-metrics go to MLflow: give --tracking or --tracking-uri too")
        yield None
        return
    tracker = MLflowTracker(Path(results), tracking_uri=uri, system_metrics=system_metrics)
    try:
        yield tracker
    finally:
        tracker.close()
