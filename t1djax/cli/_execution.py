"""How long work is carried out: what `train` and `sweep` share."""

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from ..config import ConfigError
from ..tracking import MLflowTracker, Tracker
from ._app import stderr

_OFTEN_S = 10.0  # between two lines
_WIDE = 120  # columns of a terminal


@dataclasses.dataclass(frozen=True)
class Tracked:
    """Where a run is logged."""

    tracking: bool = False
    """Log to MLflow, to a database in --results unless told otherwise; a sweep does where MLflow is installed."""
    tracking_uri: str | None = None
    """MLflow server to log to, such as http://localhost:5000."""
    system_metrics: bool = False
    """Log processor, memory and accelerator to MLflow too."""


class Line(NamedTuple):
    """What progress looks like."""

    what: str
    done: int
    total: int
    detail: str
    now: bool
    """Whether to print it even if one was printed just now."""
    unit: str = ""
    """Of what is counted."""


class Teller:
    """Says what is going on: a bar for people at a terminal; elsewhere, where nothing is redrawn, lines."""

    def __init__(self, words: Callable[[Any], Line], bar: Progress | None) -> None:
        self._words, self._bar, self._last = words, bar, 0.0
        self._task = None if bar is None else bar.add_task("", total=None, detail="")

    def now(self, what: str) -> None:
        """Say what begins, in a word or two, such as `reading`."""
        if self._bar is None or self._task is None:
            return
        self._bar.tasks[0].total = None  # which an update cannot take back
        self._bar.update(self._task, description=what, completed=0, detail="")
        if not stderr.is_terminal:
            stderr.print(what, highlight=False, markup=False, soft_wrap=True)

    def __call__(self, progress: Any) -> None:
        if self._bar is None or self._task is None:
            return
        line = self._words(progress)
        self._bar.update(
            self._task,
            description=line.what,
            total=line.total,
            completed=line.done,
            detail=f"{line.unit}  {line.detail}".strip(),
        )
        if not stderr.is_terminal and (time.monotonic() - self._last > _OFTEN_S or line.now):
            self._last = time.monotonic()
            counted = " ".join(x for x in (f"{line.done} of {line.total}", line.unit) if x)
            text = ", ".join(x for x in (f"{line.what}: {counted}", line.detail) if x)
            stderr.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def telling(words: Callable[[Any], Line], *, show: bool) -> Iterator[Teller]:
    """One who says what is going on."""
    if not show:
        yield Teller(words, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24 if stderr.width >= _WIDE else 10),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        # The last column alone gives way where there is no room: the count stays whole.
        TextColumn("{task.fields[detail]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal, expand=True) as bar:
        yield Teller(words, bar)


@contextmanager
def stop_on_term() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM came: training then ends at the next chunk of steps, its state on disk."""
    stop_requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop_requested.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop_requested.set())
    try:
        yield stop_requested.is_set
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def tracker_of(tracked: Tracked, results: str) -> Iterator[Tracker | None]:
    """An MLflow tracker where one is wanted; it is closed at the end, come what may."""
    if not tracked.tracking and tracked.tracking_uri is None:
        if tracked.system_metrics:
            raise ConfigError("--system-metrics go to MLflow: give --tracking or --tracking-uri too")
        yield None
        return
    tracker = MLflowTracker(Path(results), tracking_uri=tracked.tracking_uri, system_metrics=tracked.system_metrics)
    try:
        yield tracker
    finally:
        tracker.close()
