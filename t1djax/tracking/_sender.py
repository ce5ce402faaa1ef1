"""The thread that sends runs while they train."""

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from .._in_use import using
from ._client import THREAD, Place, in_words
from ._projection import Projection
from ._tracker import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

PERIOD_S = 5.0  # events of so long go together
HEAD_START_S = 10.0  # MLflow's own start takes seconds of processor time: a short training is not to share them
_REST = 20.0  # times the processor time of a round to wait after it: sending takes 5 % of one core at most
_LOOK_S = 2.0  # between two looks at whether it makes sense to wait
_LONGEST_PAUSE_S = 60.0
_PATIENCE_S = 600.0  # of failing without a break; after it, one last try at the end


class Sender:
    """Sends on a daemon thread of its own: nothing that it does or waits for holds up who calls it."""

    def __init__(self, place: Place, *, system_metrics: bool = False) -> None:
        self.place = place
        self.trouble: str | None = None
        """Why what was last tried could not be sent; None where all is well."""
        self._system_metrics = system_metrics
        self._monitors: dict[str, Any] = {}
        self._runs: dict[Path, Projection] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, folder: Path) -> None:
        """Send this run from now on."""
        self._runs.setdefault(folder, Projection(self.place, folder))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=THREAD, daemon=True)
            self._thread.start()

    def stop(self, wait_s: float) -> bool:
        """Send what is left, for so many seconds at most; whether all of it is there."""
        self._stopping.set()
        if self._thread is not None:
            until, silent = time.monotonic() + wait_s, 0
            while self._thread.is_alive() and silent < 2 and (left := until - time.monotonic()) > 0:
                self._thread.join(min(left, _LOOK_S))
                if self._thread.is_alive():  # MLflow tries for minutes; a server that is away is not worth the wait
                    try:
                        self.place.check()
                        silent = 0
                    except TrackingError as e:
                        silent, self.trouble = silent + 1, str(e)
            if self._thread.is_alive():
                self.trouble = self.trouble or f"{self.place.shown} is slow"
                return False
        return self.trouble is None and all(run.left == 0 for run in self._runs.values())

    def _work(self) -> None:
        client, failing_since, failures, last = None, 0.0, 0, False
        self._stopping.wait(HEAD_START_S)
        while not last:
            last, pause = self._stopping.is_set(), 0.0
            if last or not failures or time.monotonic() - failing_since < _PATIENCE_S:
                try:
                    if client is not None and failures:
                        self.place.check()
                    client = client or self.place.connect()
                    began = time.thread_time()
                    with using([self.place.results]):
                        self._round(client)
                    pause = _REST * (time.thread_time() - began)
                    failures, self.trouble = 0, None
                # A server, a driver, a cloud's client: whatever they raise, the training must not hear of it, and
                # what it is about stays in the results.
                except Exception as e:
                    failing_since = failing_since if failures else time.monotonic()
                    failures += 1
                    self.trouble = in_words(e)
            if not last:
                self._stopping.wait(min(max(pause, PERIOD_S * 2 ** min(failures, 8)), _LONGEST_PAUSE_S))
        for monitor in self._monitors.values():
            monitor.finish()
        for run in self._runs.values():
            run.lock.release()

    def _round(self, client: "MlflowClient") -> None:
        """Send what there is of every run; one that cannot be sent does not hold up the others."""
        first: Exception | None = None
        for run in list(self._runs.values()):
            try:
                if not run.lock.is_locked:
                    run.lock.acquire()
                while run.send(client, live=True):
                    pass
                self._watch_system(run)
            except filelock.Timeout:
                first = first or TrackingError("another process sends these runs")
            except Exception as e:
                first = first or e
                self.place.check()
        if first is not None:
            raise first

    def _watch_system(self, run: Projection) -> None:
        """Start and stop MLflow's own monitor of processor, memory and accelerator, on the parent run."""
        if not self._system_metrics or run.parent is None:
            return
        if run.complete:
            if (monitor := self._monitors.pop(run.parent, None)) is not None:
                monitor.finish()
        elif run.parent not in self._monitors:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor as Monitor  # noqa: PLC0415

            self._monitors[run.parent] = Monitor(run.parent, resume_logging=True, tracking_uri=self.place.uri)
            self._monitors[run.parent].start()
