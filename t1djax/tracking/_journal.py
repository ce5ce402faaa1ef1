"""The journal: what a tracker was told, on disk before anything is sent.

One file per program, `RESULTS/.tracking/<name>.jsonl`, one JSON object per line, appended by a single write each.
Every line has `event` (`begin`, `chunk`, `result`, `end`) and `ms`, the time in milliseconds since 1970. Arrays are
little-endian float64 in base64: exact, and much faster to write than decimals. A line that a kill or a full disk tore
is skipped by readers.
"""

import base64
import dataclasses
import datetime as dt
import errno
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..io import without_nan
from ..records import RunData, RunInfo

FOLDER = ".tracking"
FORMAT_VERSION = 1


class Journal:
    """Appends events to a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._torn = path.exists() and path.stat().st_size > 0 and not _ends_a_line(path)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, event: Mapping[str, Any]) -> None:
        """Write one line at once.

        Raises:
            OSError: where the disk refuses; a part of a line that it took is closed off by the next one.
        """
        text = json.dumps(event, separators=(",", ":"), allow_nan=False, default=str)
        line = (b"\n" if self._torn else b"") + text.encode() + b"\n"
        written = os.write(self._file, line)
        self._torn = written < len(line)
        if self._torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """No more events."""
        os.close(self._file)


def read_events(path: Path, offset: int = 0, most_bytes: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """The whole lines from `offset` on, and the offset behind them.

    Args:
        path: the journal.
        offset: where to start, a number of bytes.
        most_bytes: stop after about so many; everything if not given.
    """
    events = []
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            try:
                event = json.loads(line)
            except ValueError:  # torn
                event = None
            if isinstance(event, dict) and "event" in event:
                events.append(event)
            if most_bytes is not None:
                most_bytes -= len(line)
                if most_bytes <= 0:
                    break
    return events, offset


def journals(results: Path) -> list[Path]:
    """The journals of a results folder, oldest name first."""
    return sorted((results / FOLDER).glob("*.jsonl"))


def pack(x: Float[np.ndarray, " rows"]) -> str:
    """An array as text."""
    return base64.b64encode(np.ascontiguousarray(x, dtype="<f8").tobytes()).decode("ascii")


def unpack(text: str) -> np.ndarray:
    """The array that `pack` wrote."""
    return np.frombuffer(base64.b64decode(text), dtype="<f8")


def pack_info(info: RunInfo) -> dict[str, Any]:
    """A `RunInfo` as JSON can hold it."""
    stored = {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}
    stored |= {"started": info.started.isoformat(), "data": [dataclasses.asdict(d) for d in info.data]}
    return without_nan(stored)


def unpack_info(stored: Mapping[str, Any]) -> RunInfo:
    """The `RunInfo` that `pack_info` wrote."""
    return RunInfo(
        **{
            **stored,
            "named": tuple(stored["named"]),
            "rows": tuple((patient, seed) for patient, seed in stored["rows"]),
            "started": dt.datetime.fromisoformat(stored["started"]),
            "data": tuple(RunData(**{**d, "patients": tuple(d["patients"])}) for d in stored["data"]),
        }
    )


def results_id(results: Path) -> str:
    """An identity of the results folder, made once: two folders with runs of one name stay apart on a server."""
    path = results / FOLDER / "id"
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


class Cursor:
    """How much of a journal one server has, kept in a file beside it."""

    def __init__(self, journal: Path, key: str) -> None:
        self.path = journal.with_name(f"{journal.stem}.{key}.cursor")

    def read(self) -> int:
        """Bytes of the journal that the server has."""
        try:
            return int(json.loads(self.path.read_text(encoding="ascii"))["offset"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0  # sent again from the start: that changes nothing on the server

    def write(self, offset: int) -> None:
        """Replace the file as a whole."""
        own = self.path.with_name(self.path.name + f".{os.getpid()}")
        own.write_text(json.dumps({"version": FORMAT_VERSION, "offset": offset}) + "\n", encoding="ascii")
        own.replace(self.path)


@contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the lock `path`; it is held until the block ends, or the process."""
    try:
        import fcntl  # noqa: PLC0415 - not on every system
    except ImportError:
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
