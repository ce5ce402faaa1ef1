"""What carries the name or the readings and is not t1djax's to remove: found by reading, and listed."""

import collections
import csv
import hashlib
import html
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._log import is_log
from ._plan import Plan, Trace
from ._written import parsed

ROW = 12
"""How many readings in a row tell a person from others."""
_KINDS = 4  # different values in a row: a flat stretch may be anybody's
_MG_PER_MMOL = 18.016
_BLOCK = 100_000
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]*\w)")
_FIELD = re.compile(r"([\w.-]{1,40})[\"']?\s*[:=]\s*[\"']?(-?\d+(?:\.\d+)?)")
_FACTORS = np.random.default_rng(0).integers(1, 2**63, ROW, dtype=np.uint64) | np.uint64(1)


class Searched(NamedTuple):
    """How much was searched."""

    files: int = 0
    """Files, and the names of all folders on the way."""
    values: int = 0
    """Texts in databases."""
    bytes: int = 0
    """Of the files."""


class Readings:
    """Hashes of a person's rows of readings, rounded to 1 mg/dL and to 0.1 mmol/L, in either order of time."""

    def __init__(self, series: Iterable[np.ndarray]) -> None:
        known = [x[np.isfinite(x)] for x in series]
        each = [_hashes(np.round(x * scale), telling=True) for y in known for x in (y, y[::-1])
                for scale in (1.0, 10 / _MG_PER_MMOL)]  # fmt: skip
        self._known = np.unique(np.concatenate([np.zeros(0, np.uint64), *each]))
        self.rows = sum(len(x) for x in each[::4])

    def among(self, numbers: np.ndarray) -> bool:
        """Whether numbers have a row of the person's readings, in mg/dL or mmol/L."""
        if numbers.size < ROW or not self._known.size:
            return False
        parts = [numbers[start : start + _BLOCK + ROW] for start in range(0, numbers.size, _BLOCK)]
        return any(self._has(_hashes(np.round(part * scale))) for part in parts for scale in (1, 10))

    def _has(self, hashes: np.ndarray) -> bool:
        """Whether one of them is known; files have many short columns, so what is known is sorted once."""
        at = np.searchsorted(self._known, hashes)
        return bool(np.any(self._known[np.minimum(at, self._known.size - 1)] == hashes))


def _hashes(x: np.ndarray, *, telling: bool = False) -> np.ndarray:
    """Of each row; with `telling` without those of few values, which may be anybody's."""
    if x.size < ROW:
        return np.zeros(0, np.uint64)
    rows = np.lib.stride_tricks.sliding_window_view(x.clip(-1e15, 1e15).astype(np.int64), ROW)
    if telling:
        rows = rows[1 + np.count_nonzero(np.diff(np.sort(rows, axis=1), axis=1), axis=1) >= _KINDS]
    return (rows.astype(np.uint64) * _FACTORS).sum(axis=1, dtype=np.uint64)


class Search:
    """Looks for the person, and counts where it looked."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.person, self.readings = plan, plan.person, Readings(plan.series)
        whole = [path.read_bytes() for path in plan.copied if path.is_file()]
        self._copies = {hashlib.sha256(data).digest() for data in whole if data}
        self._sizes = {len(data) for data in whole}
        self.found = list(plan.unknown)
        self.searched = Searched()

    def places(self, but: Iterable[Path], keep: Sequence[Path]) -> None:
        """Every file in the folders, every name, and every link; `keep` are those that somebody decided to keep."""
        places, passed = self.plan.places, {path.absolute() for path in but}
        kept = [path.absolute() for path in keep]
        left = lambda path: not any(path.absolute().is_relative_to(one) for one in kept)
        stays: set[Path] = set()
        named: list[Path] = []
        for here in places.walk():
            for path in filter(left, here.links):
                stays |= set(path.parents)
                if not places.lead_in(path):
                    self._found(path, "a link out of the folders named, which was not followed")
                else:
                    self._name(path)
            for path in (here.path / name for name in sorted(here.files)):
                if path.absolute() not in passed and left(path):
                    stays |= set(path.parents)
                    if not is_log(path.name):
                        self._file(path)
            stays |= {here.path} if here.empty and str(here.path) not in self.plan.tasks else set()
            if here.path not in places.roots and here.path not in self.plan.ours and left(here.path):
                named.append(here.path)
        for folder in (folder for folder in named if folder in stays):
            self._name(folder)

    def database(self, values: Iterable[tuple[str, str]]) -> None:
        """Texts, and where they stand."""
        for where, value in values:
            self.searched = self.searched._replace(values=self.searched.values + 1)
            if self.person.in_text(value):
                self._found(where, "name")

    def _found(self, where: Path | str, what: str) -> None:
        if (trace := Trace(str(where), what)) not in self.found:
            self.found.append(trace)

    def _name(self, path: Path) -> None:
        if self.person.in_file_name(path.name):
            self._found(path, "name (of a file or folder)")

    def _file(self, path: Path) -> None:
        data = path.read_bytes()
        files, values, size = self.searched
        self.searched = Searched(files + 1, values, size + len(data))
        if path not in self.plan.ours:
            self._name(path)
        if len(data) in self._sizes and hashlib.sha256(data).digest() in self._copies:
            self._found(path, "a copy of a file of the person, byte for byte")
        elif any(map(self.readings.among, _numbers(path, data))):
            self._found(path, "readings")
        elif any(map(self.person.in_text, self._texts(path, data))):
            self._found(path, "name")

    def _texts(self, path: Path, data: bytes) -> Iterator[str]:
        if path not in self.plan.ours:
            yield (text := _text(data))
            yield html.unescape(text).replace(json.dumps(self.person.name)[1:-1], self.person.name)
            return
        table = path.suffix == ".csv"
        content = list(csv.reader(_text(data).splitlines()))[1:] if table else parsed(path, data)
        yield from (value for value in _nested(content) if value not in self.plan.names)


def _text(data: bytes) -> str:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-16" if wide else "utf-8", errors="replace")


def _nested(content: Any) -> Iterator[str]:
    """All values that are texts, but lists of patients; keys are words of the format."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        inner = [v for k, v in content.items() if k != "patients"] if isinstance(content, dict) else content
        for value in inner:
            yield from _nested(value)


def _numbers(path: Path, data: bytes) -> Iterator[np.ndarray]:
    """Numbers in the order in which they stand: of arrays, of columns of a table, of fields by name, of a text."""
    if data.startswith((b"PK", b"\x93NUMPY")):
        yield from _arrays(path)
        return
    if b"\0" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return
    text, columns = _text(data), collections.defaultdict[object, list[str]](list)
    for delimiter in (d for d in ",;\t|" if d in text):
        for line in (line for line in text.splitlines() if delimiter in line):
            for place, cell in enumerate(line.split(delimiter)):
                columns[delimiter, place].append(cell)
    for name, number in _FIELD.findall(text):
        columns[name].append(number)
    columns[None] = _NUMBER.findall(text)
    yield from map(_as_numbers, columns.values())


def _as_numbers(cells: Iterable[str]) -> np.ndarray:
    found: list[float] = []
    for cell in cells:
        try:
            found.append(float(cell.strip().strip("\"'").replace(",", ".")))
        except ValueError:
            continue
    whole = np.asarray(found, np.float64)
    return whole[np.isfinite(whole)]


def _arrays(path: Path) -> Sequence[np.ndarray]:
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = [*loaded.values()] if isinstance(loaded, Mapping) else [loaded]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, NotImplementedError):
        return []
    flat = [x.astype(np.float64).ravel() for x in arrays if x.dtype.kind in "fiu"]
    return [x[np.isfinite(x)] for x in flat]
