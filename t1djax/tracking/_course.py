"""What a run leaves for MLflow besides its results, in `RESULTS/.runs/NAME`: who it is of, and the course of training.

`info.json` is a `RunInfo`. `course.jsonl` has a line for each chunk of steps, appended by a single write: `ms`, the
time in milliseconds since 1970, `step`, `rows`, each a patient and a seed, and `metrics`, little-endian float64 in
base64: exact, and much faster to write than decimals. A line that a kill or a full disk tore is closed off by the next.
"""

import base64
import dataclasses
import errno
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from pydantic import TypeAdapter

from .._whole import whole
from ..records import RunInfo

RUNS = ".runs"
"""The folder of a results folder in which each run has its own."""
INFO, COURSE = "info.json", "course.jsonl"

_INFO = TypeAdapter(RunInfo)

Fit = tuple[str, int]
"""A patient's name and a seed."""


class Chunk(NamedTuple):
    """What some steps came to, for several fits."""

    ms: int
    step: int
    rows: list[Fit]
    metrics: dict[str, np.ndarray]

    def take(self, at: Sequence[int]) -> "Chunk":
        """That of some of the fits, by position."""
        rows = [self.rows[i] for i in at]
        return self._replace(rows=rows, metrics={name: x[list(at)] for name, x in self.metrics.items()})

    def line(self) -> bytes:
        """As it stands in the course."""
        packed = lambda x: base64.b64encode(np.ascontiguousarray(x, dtype="<f8").tobytes()).decode("ascii")
        content = self._asdict() | {"metrics": {name: packed(x) for name, x in self.metrics.items()}}
        return b"\n" + json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n"

    def append(self, file: int) -> None:
        """Write it at the end of a course.

        Raises:
            OSError: where the disk does not take all of it.
        """
        line = self.line()
        if os.write(file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_course(folder: Path, offset: int = 0, most_bytes: int | None = None) -> tuple[list[Chunk], int]:
    """The whole lines of a run's course from an offset on, about `most_bytes` of them, and the offset behind them."""
    chunks: list[Chunk] = []
    if not (folder / COURSE).exists():
        return chunks, 0
    with (folder / COURSE).open("rb") as file:
        end = file.seek(offset)
        for line in file:
            if not line.endswith(b"\n") or (most_bytes is not None and end - offset >= most_bytes):
                break
            end += len(line)
            try:
                c = json.loads(line)
                metrics = {n: np.frombuffer(base64.b64decode(x), dtype="<f8") for n, x in c["metrics"].items()}
                chunks.append(Chunk(c["ms"], c["step"], [(name, seed) for name, seed in c["rows"]], metrics))
            except (ValueError, KeyError, TypeError):  # torn, or empty
                continue
    return chunks, end


def write_info(folder: Path, info: RunInfo) -> None:
    """Say who a run is of; whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with whole(folder / INFO) as partial:
        partial.write_bytes(_INFO.dump_json(info, indent=2, fallback=str) + b"\n")


def read_info(folder: Path) -> RunInfo | None:
    """Who a run is of; None where nothing says so, or it is damaged."""
    try:
        return _INFO.validate_json((folder / INFO).read_bytes())
    except (OSError, ValueError):
        return None


def drop_patient(folder: Path, name: str, config: Mapping[str, Any]) -> None:
    """Leave one patient out of a run that MLflow is shown; each file is right by itself, and whole or as it was."""
    info = read_info(folder)
    assert info is not None
    rows = tuple(row for row in info.rows if row[0] != name)
    if (folder / COURSE).exists():
        left = [chunk.take([i for i, row in enumerate(chunk.rows) if row[0] != name])
                for chunk in read_course(folder)[0]]  # fmt: skip
        with whole(folder / COURSE) as partial:
            partial.write_bytes(b"".join(chunk.line() for chunk in left if chunk.rows))
    wide = len(info.rows) > info.most_children  # it stays one MLflow run for all
    data = [dataclasses.replace(d, patients=tuple(n for n in d.patients if n != name)) for d in info.data]
    write_info(folder, dataclasses.replace(
        info, rows=rows, config=config, truth={n: x for n, x in info.truth.items() if n != name}, data=tuple(data),
        most_children=min(info.most_children, len(rows) - 1) if wide else info.most_children,
    ))  # fmt: skip


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
    """How far the estimates are off where the truth is known, %."""
    for name, column in columns.items():
        if name.startswith("estimate_"):
            symbol = name.removeprefix("estimate_")
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
