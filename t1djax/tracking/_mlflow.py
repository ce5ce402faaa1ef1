"""The tracker that keeps the course of a training and lets MLflow have it."""

import dataclasses
import os
import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..records import ChunkMetrics, RunInfo
from ._client import Place
from ._course import COURSE, RUNS, Chunk, read_course, read_info, write_info
from ._sender import Sender
from ._tracker import Tracker, TrackingWarning


class MLflowTracker(Tracker):
    """Tracks runs with MLflow, off the path of the training.

    What MLflow shows follows from the result folders and from the course of the training, which is on disk, in
    `RESULTS/.runs`, before it is sent. A server that dies, refuses or hangs costs the training nothing: one warning
    says how to send the rest later (`sync`, or `t1djax track sync`).

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from t1djax import MLflowTracker
        >>> tracker = MLflowTracker(Path(tempfile.mkdtemp()))
        >>> tracker.close()
    """

    def __init__(
        self,
        results: str | Path,
        *,
        tracking_uri: str | None = None,
        system_metrics: bool = False,
        most_children: int = 200,
        wait_s: float = 60.0,
    ) -> None:
        """Nothing is started or imported before the first program begins.

        Args:
            results: the results folder.
            tracking_uri: an MLflow server or database. If not given, `MLFLOW_TRACKING_URI` of the environment; if that
                is not set, `mlflow.db` and `mlartifacts` in the results folder.
            system_metrics: also log processor, memory and accelerator, on the parent run.
            most_children: programs with more fits get one run with quantiles instead of one run per fit.
            wait_s: how long `close` waits for what is not sent yet, s.

        Raises:
            ImportError: where MLflow is not installed.
            ValueError: where the URI is that of no server or database.
        """
        self.results = Path(results).absolute()
        self.most_children = most_children
        self._wait_s = wait_s
        self._sender = Sender(Place(self.results, tracking_uri), system_metrics=system_metrics)
        self._programs: dict[str, _Program] = {}
        self._warned = False

    def begin(self, info: RunInfo) -> None:
        """Open the course of a program; one that was stopped goes on in the same MLflow runs.

        Raises:
            ValueError: where the name is none for a folder, or a run of this name is of other fits.
        """
        if not re.fullmatch(r"[^/\\\0.][^/\\\0]*", info.name):
            raise ValueError(f"{info.name!r} is no name for a folder; leave out slashes and leading dots")
        folder = self.results / RUNS / info.name
        before = read_info(folder)
        if before is not None and before.rows != info.rows:
            raise ValueError(f"{folder}: is of other patients or seeds; choose another name")
        most = self.most_children if before is None else before.most_children
        try:
            self._programs[info.name] = _Program(folder, info)
            write_info(folder, dataclasses.replace(info, most_children=most))
        except OSError as e:
            self._warn(f"{folder}: {e.strerror or e}; the course is not kept")
        self._sender.watch(folder)

    def chunk(self, name: str, rows: Sequence[tuple[str, int]], chunk: ChunkMetrics) -> None:
        """Keep the metrics of a step, unless the course has them from before a restart.

        Raises:
            ValueError: where the program has not begun, or a fit is none of its own.
        """
        if name not in self._programs:
            raise ValueError(f"{name!r} has not begun; call begin first")
        if self._sender.trouble is not None:
            self._warn(self._sender.trouble)
        try:
            self._programs[name].append(rows, chunk)
        except OSError as e:
            self._warn(f"{name}: {e.strerror or e}; some of what happens is not kept")

    def result(self, name: str, row: tuple[str, int], folder: str | Path) -> None:
        """Nothing: results are found in the results folder when they are sent."""

    def end(self, name: str) -> None:
        """No more steps of a program; one that never began is passed over."""
        if (program := self._programs.pop(name, None)) is not None:
            program.close()

    def close(self) -> None:
        """Send what is left, for `wait_s` at most."""
        for name in list(self._programs):
            self.end(name)
        if not self._sender.stop(self._wait_s):
            self._warn(self._sender.trouble or "the server did not take everything in time")

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"tracking: {why}. The training goes on, and what was not sent is kept; send it with "
                f"`t1djax track sync {self.results}`",
                TrackingWarning,
                stacklevel=3,
            )


class _Program:
    """A course that is being written, and what it has."""

    def __init__(self, folder: Path, info: RunInfo) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / COURSE
        self._fits = frozenset(info.rows)
        self._seen = {(chunk.step, fit) for chunk in read_course(folder)[0] for fit in chunk.rows}
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def append(self, rows: Sequence[tuple[str, int]], chunk: ChunkMetrics) -> None:
        if strange := [row for row in rows if row not in self._fits]:
            raise ValueError(f"{strange[0]!r} is no fit of {self.path.parent.name}")
        columns = {f"loss_{name}": x for name, x in chunk.losses.items()}
        columns |= {f"estimate_{symbol}": x for symbol, x in chunk.values.items()}
        if chunk.gradient_norm is not None:
            columns["gradient_norm"] = chunk.gradient_norm
        whole = Chunk(time.time_ns() // 1_000_000, chunk.step, [*rows], {n: np.asarray(x) for n, x in columns.items()})
        new = whole.take([i for i, row in enumerate(rows) if (chunk.step, row) not in self._seen])
        if new.rows:
            new.append(self._file)
            self._seen.update((chunk.step, row) for row in new.rows)

    def close(self) -> None:
        os.close(self._file)
