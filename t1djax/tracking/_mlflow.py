"""The tracker that writes a journal and lets MLflow have it."""

import re
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..records import ChunkMetrics, RunInfo
from ._client import Place
from ._journal import FOLDER, Journal, pack, pack_info, read_events
from ._sender import Sender
from ._tracker import TrackingWarning


class MLflowTracker:
    """Tracks runs with MLflow, off the path of the training.

    Every event is on disk, in `RESULTS/.tracking`, before it is sent. A server that dies, refuses or hangs costs the
    training nothing: one warning says how to send the rest later (`sync`, or `t1djax track sync`).

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
        """Open the journal of a program; one that was stopped goes on in the same MLflow runs.

        Args:
            info: the program: its name, its fits, its configuration.

        Raises:
            ValueError: where the name is none for a file, or a journal of this name is of other fits.
        """
        if not re.fullmatch(r"[^/\\\0.][^/\\\0]*", info.name):
            raise ValueError(f"{info.name!r} is no name for a file; leave out slashes and leading dots")
        path = self.results / FOLDER / f"{info.name}.jsonl"
        program = _Program(path, info)
        self._programs[info.name] = program
        self._write(program, "begin", {"info": pack_info(info), "most_children": self.most_children})
        self._sender.watch(path)

    def chunk(self, name: str, rows: Sequence[tuple[str, int]], chunk: ChunkMetrics) -> None:
        """Note the metrics of a step, unless the journal has them from before a restart.

        Args:
            name: the program, as `begin` named it.
            rows: the fits that trained, each a patient's name and a seed.
            chunk: losses and estimates after these steps, one number per fit.

        Raises:
            ValueError: where the program has not begun, or a fit is none of its own.
        """
        program = self._program(name)
        index = program.places(rows)
        seen = program.seen.setdefault(chunk.step, np.zeros(len(program.rows), bool))
        new = ~seen[index]
        if not new.any():
            return
        columns = {f"loss_{name}": x for name, x in chunk.losses.items()}
        columns |= {f"estimate_{symbol}": x for symbol, x in chunk.values.items()}
        if chunk.gradient_norm is not None:
            columns["gradient_norm"] = chunk.gradient_norm
        metrics = {name: pack(np.asarray(x)[new]) for name, x in columns.items()}
        if self._write(program, "chunk", {"step": chunk.step, "rows": index[new].tolist(), "metrics": metrics}):
            seen[index] = True

    def result(self, name: str, row: tuple[str, int], folder: str | Path) -> None:
        """Note a finished folder; its files are read when they are sent.

        Args:
            name: the program, as `begin` named it.
            row: the fit: the patient's name and the seed.
            folder: its result folder.

        Raises:
            ValueError: where the program has not begun, or the fit is none of its own.
        """
        program = self._program(name)
        program.places([row])
        folder = Path(folder).absolute()
        inside = folder.is_relative_to(self.results)
        shown = folder.relative_to(self.results).as_posix() if inside else str(folder)
        if program.finished.get(row) != shown:
            self._write(program, "result", {"row": list(row), "folder": shown})
            program.finished[row] = shown

    def end(self, name: str) -> None:
        """Note that a program is done.

        Args:
            name: the program, as `begin` named it; one that never began is passed over.
        """
        program = self._programs.pop(name, None)
        if program is not None:
            self._write(program, "end", {})
            program.journal.close()

    def close(self) -> None:
        """Send what is left, for `wait_s` at most."""
        for program in self._programs.values():
            program.journal.close()
        self._programs.clear()
        complete = self._sender.stop(self._wait_s)
        if not complete:
            self._warn(self._sender.trouble or "the server did not take everything in time")

    def _program(self, name: str) -> "_Program":
        if name not in self._programs:
            raise ValueError(f"{name!r} has not begun; call begin first")
        return self._programs[name]

    def _write(self, program: "_Program", event: str, content: Mapping[str, Any]) -> bool:
        if self._sender.trouble is not None:
            self._warn(self._sender.trouble)
        try:
            program.journal.append({"event": event, "ms": time.time_ns() // 1_000_000, **content})
        except OSError as e:
            self._warn(f"{program.journal_path}: {e.strerror or e}; some of what happens is not noted")
            return False
        return True

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
    """A journal that is being written, and what it has."""

    def __init__(self, path: Path, info: RunInfo) -> None:
        self.journal_path, self.rows = path, info.rows
        self.seen: dict[int, np.ndarray] = {}
        self.finished: dict[tuple[str, int], str] = {}
        self._index = {row: i for i, row in enumerate(info.rows)}
        self._last: tuple[tuple[tuple[str, int], ...], np.ndarray] | None = None
        if path.exists():
            for event in read_events(path)[0]:
                self._learn(event)
        self.journal = Journal(path)

    def places(self, rows: Sequence[tuple[str, int]]) -> np.ndarray:
        """Where rows stand in the program."""
        rows = tuple(rows)
        if self._last is None or self._last[0] != rows:
            try:
                self._last = (rows, np.asarray([self._index[row] for row in rows], dtype=int))
            except KeyError as e:
                raise ValueError(f"{e.args[0]!r} is no fit of {self.journal_path.stem}") from e
        return self._last[1]

    def _learn(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "begin":
                if tuple((patient, seed) for patient, seed in event["info"]["rows"]) != self.rows:
                    raise ValueError(f"{self.journal_path}: is of other patients or seeds; choose another name")
            case "chunk":
                self.seen.setdefault(event["step"], np.zeros(len(self.rows), bool))[event["rows"]] = True
            case "result":
                self.finished[event["row"][0], event["row"][1]] = event["folder"]
