"""What a run leaves for MLflow besides its results: who it is of, and the course of its training, `RESULTS/.runs/NAME`.

`info.json` is a `RunInfo`. `course.jsonl` has in its first line the `fits`, each a patient and a seed; then a line for
each chunk of steps, appended by a single write: `ms`, the time in milliseconds since 1970, `step`, `rows` by their
places in the first line, and `metrics`, little-endian float64 in base64: exact, and much faster to write than decimals.
A line that a kill or a full disk tore is skipped by readers.
"""

import base64
import dataclasses
import datetime as dt
import errno
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..io import without_nan
from ..records import RunData, RunInfo

RUNS = ".runs"
"""The folder of a results folder in which each run has its own."""
INFO, COURSE = "info.json", "course.jsonl"


Fit = tuple[str, int]
"""A patient's name and a seed."""


class Chunk(NamedTuple):
    """What some steps came to, for several fits."""

    ms: int
    step: int
    rows: list[Fit]
    metrics: dict[str, np.ndarray]


class Course:
    """Appends chunks to the course of a run."""

    def __init__(self, folder: Path, fits: Sequence[Fit]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / COURSE
        self._index = {fit: i for i, fit in enumerate(fits)}
        size = self.path.stat().st_size if self.path.exists() else 0
        self._torn = size > 0 and not _ends_a_line(self.path)
        self._head = b"" if size else _line({"fits": list(fits)})
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, chunk: Chunk) -> None:
        """Write one line at once.

        Raises:
            OSError: where the disk refuses; a part of a line that it took is closed off by the next one.
        """
        line = (b"\n" if self._torn else b"") + self._head + _line(_packed(chunk, self._index))
        if os.write(self._file, line) < len(line):
            self._torn = not self._head
            if self._head:  # what says whose the rows are is whole or not there
                os.ftruncate(self._file, 0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn, self._head = False, b""

    def close(self) -> None:
        """No more chunks."""
        os.close(self._file)


def course_of(chunks: Iterable[Chunk], fits: Sequence[Fit]) -> bytes:
    """A whole course, as `Course` writes it, of these fits alone."""
    index, lines = {fit: i for i, fit in enumerate(fits)}, [_line({"fits": list(fits)})]
    for chunk in chunks:
        kept = [k for k, row in enumerate(chunk.rows) if row in index]
        metrics = {name: x[kept] for name, x in chunk.metrics.items()}
        left = chunk._replace(rows=[chunk.rows[k] for k in kept], metrics=metrics)
        lines += [_line(_packed(left, index))] if kept else []
    return b"".join(lines)


def _packed(chunk: Chunk, index: Mapping[Fit, int]) -> dict[str, Any]:
    packed = lambda x: base64.b64encode(np.ascontiguousarray(x, dtype="<f8").tobytes()).decode("ascii")
    metrics = {name: packed(x) for name, x in chunk.metrics.items()}
    return {"ms": chunk.ms, "step": chunk.step, "rows": [index[row] for row in chunk.rows], "metrics": metrics}


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def read_course(folder: Path, offset: int = 0, most_bytes: int | None = None) -> tuple[list[Chunk], int]:
    """The whole lines of a run's course from `offset` on, and the offset behind them.

    Args:
        folder: the run's.
        offset: where to start, a number of bytes.
        most_bytes: stop after about so many; everything if not given.
    """
    chunks: list[Chunk] = []
    if not (folder / COURSE).exists():
        return chunks, 0
    with (folder / COURSE).open("rb") as file:
        fits = [(str(name), int(seed)) for name, seed in _read(file.readline()).get("fits", ())]
        end = file.seek(offset)
        for line in file:
            if not line.endswith(b"\n") or (most_bytes is not None and end - offset >= most_bytes):
                break
            end += len(line)
            if "metrics" in (c := _read(line)):
                metrics = {n: np.frombuffer(base64.b64decode(x), dtype="<f8") for n, x in c["metrics"].items()}
                chunks.append(Chunk(int(c["ms"]), int(c["step"]), [fits[i] for i in c["rows"]], metrics))
    return chunks, end


def _read(line: bytes) -> dict[str, Any]:
    """A line; empty where it is torn."""
    try:
        content = json.loads(line)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def write_info(folder: Path, info: RunInfo) -> None:
    """Say who a run is of; whole or not at all."""
    stored = {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}
    stored |= {"started": info.started.isoformat(), "data": [dataclasses.asdict(d) for d in info.data]}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{INFO}.{os.getpid()}.partial"
    partial.write_text(json.dumps(without_nan(stored), indent=2, default=str) + "\n", encoding="utf-8")
    partial.replace(folder / INFO)


def read_info(folder: Path) -> RunInfo | None:
    """Who a run is of; None where nothing says so, or it is damaged."""
    try:
        stored: Mapping[str, Any] = json.loads((folder / INFO).read_text(encoding="utf-8"))
        return RunInfo(
            **{
                **stored,
                "named": tuple(stored["named"]),
                "rows": tuple((patient, seed) for patient, seed in stored["rows"]),
                "started": dt.datetime.fromisoformat(stored["started"]),
                "data": tuple(RunData(**{**d, "patients": tuple(d["patients"])}) for d in stored["data"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_folders(results: Path) -> list[Path]:
    """The folders of the runs of which something can be sent.

    Raises:
        FileNotFoundError: where there is none.
    """
    found = sorted(path.parent for path in (results / RUNS).glob(f"*/{INFO}"))
    if not found:
        raise FileNotFoundError(f"{results / RUNS}: holds no tracked runs")
    return found


def errors(
    columns: Mapping[str, Float[np.ndarray, " rows"]], info: RunInfo, rows: Sequence[Fit]
) -> Iterator[tuple[str, Float[np.ndarray, " rows"]]]:
    """Absolute relative errors in %, of the estimates whose truth is known."""
    for name, column in columns.items():
        symbol = name.removeprefix("estimate_")
        if symbol != name:
            truth = np.asarray([info.truth.get(name, {}).get(symbol) or np.nan for name, _ in rows], dtype=float)
            if np.isfinite(truth).any():
                yield f"error_percent_{symbol}", 100 * np.abs(column / truth - 1)


def results_id(results: Path) -> str:
    """An identity of the results folder, made once: two folders with runs of one name stay apart on a server."""
    path = results / RUNS / "id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        own = path.with_name(f"id.{uuid.uuid4().hex}")
        own.write_text(own.suffix[1:] + "\n", encoding="ascii")
        try:
            os.link(own, path)  # unlike a rename, leaves the identity of whoever came first
        except FileExistsError:
            pass
        finally:
            own.unlink()
    return path.read_text(encoding="ascii").strip()


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
