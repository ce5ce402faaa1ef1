"""Readings of a person, recognised wherever a dozen of them stand in a row."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt64

ROW = 12
"""How many readings in a row tell a person from others."""
_FEWEST, _KINDS = 6, 4
_STRIDES = 64
"""The most numbers that a record of a text may have."""
_MG_PER_MMOL = 18.016
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_FIELD = re.compile(rb"([\w.-]{1,40})[\"']?\s*[:=]\s*[\"']?(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)")
_LINE = re.compile(rb"[,;\t|]")


class Readings:
    """Hashes of all rows of readings: of each as it is, rounded, and in mmol/L.

    Args:
        series: readings in the order of time, mg/dL; NaN where there is none.
        copies: SHA-256 of whole files of the person, whatever they hold.
    """

    def __init__(self, series: Iterable[Float[np.ndarray, " _"]], copies: Iterable[str] = ()) -> None:
        self._copies = frozenset(copies)
        whole = [run for one in series for run in _runs(np.asarray(one, np.float64))]
        self.length = min(ROW, max((len(run) for run in whole), default=0))
        self.rows = 0
        self._factors = np.random.default_rng(0).integers(1, 2**63, max(self.length, 1), dtype=np.uint64) | np.uint64(1)
        wide: list[tuple[np.ndarray, np.ndarray]] = []
        narrow: list[tuple[np.ndarray, np.ndarray]] = []
        if self.length >= _FEWEST:
            for run in (run for run in whole if len(run) >= self.length):
                told = np.lib.stride_tricks.sliding_window_view(run, self.length)
                kinds = 1 + np.count_nonzero(np.diff(np.sort(told, axis=1), axis=1), axis=1)
                keep = kinds >= _KINDS  # a flat stretch may be anybody's
                self.rows += int(keep.sum())
                mmol = run / _MG_PER_MMOL
                forms = (run, np.round(run), np.round(run, 1), np.round(mmol, 1), np.round(mmol, 2), mmol)
                wide += [(form.view(np.uint64), self._hash(form.view(np.uint64))[keep]) for form in forms]
                bits = run.astype(np.float32).view(np.uint32).astype(np.uint64)
                narrow.append((bits, self._hash(bits)[keep]))
        self._wide, self._narrow = _Known.of(wide), _Known.of(narrow)

    def __bool__(self) -> bool:
        return self.rows > 0

    def in_bytes(self, data: bytes) -> str | None:
        """In which form bytes hold a row of readings, or that they are a file of the person; else None."""
        if self._copies and hashlib.sha256(data).hexdigest() in self._copies:
            return "a copy of a file of the person, byte for byte"
        if not self:
            return None
        for kind, width, known in (("float64", 8, self._wide), ("float32", 4, self._narrow)):
            for shift in range(width):
                count = (len(data) - shift) // width
                if count < self.length:
                    continue
                bits = np.frombuffer(data, f"<u{width}", count, shift)
                if self._known(bits.astype(np.uint64), known):
                    return f"{kind}, little-endian"
                if shift == 0 and self._known(bits.byteswap().astype(np.uint64), known):
                    return f"{kind}, big-endian"
        return self.in_text(data)

    def in_text(self, data: bytes) -> str | None:
        """Whether a text holds a row of readings: as a list, or down a column."""
        if not self or b"\0" in data[:4096]:
            return None
        numbers = _numbers(_NUMBER.findall(data))
        if self._among(numbers):
            return "numbers in a text"
        if any(self._known(found.view(np.uint64), self._wide) for found in by_field(data).values()):
            return "a field of records"
        rows = [_LINE.split(line) for line in data.splitlines()]
        for column in range(min(max((len(row) for row in rows), default=0), 40)):
            cells = [cell.strip(b' "') for row in rows if len(row) > column and (cell := row[column]).strip(b' "')]
            found = _numbers([cell if _NUMBER.fullmatch(cell) else b"nan" for cell in cells])
            if self._known(found[~np.isnan(found)].view(np.uint64), self._wide):
                return "a column of a table"
        return None

    def _among(self, numbers: Float[np.ndarray, " rows"]) -> bool:
        """Whether a row of readings stands among numbers, with as many others between each two."""
        if len(numbers) < self.length or not len(self._wide.values):
            return False
        bits = numbers.view(np.uint64)
        place = np.minimum(np.searchsorted(self._wide.values, bits), len(self._wide.values) - 1)
        alike = self._wide.values[place] == bits
        if np.count_nonzero(alike) < self.length:
            return False
        for stride in range(1, _STRIDES + 1):
            count = len(bits) - (self.length - 1) * stride
            if count <= 0:
                break
            start = alike[:count].copy()
            for i in range(1, self.length):
                start &= alike[i * stride : i * stride + count]
            at = np.flatnonzero(start)
            if len(at):
                total = np.zeros(len(at), np.uint64)
                for i, factor in enumerate(self._factors):
                    part = bits[at + i * stride]
                    total += (part ^ (part >> np.uint64(29))) * factor
                if np.isin(total, self._wide.hashes).any():
                    return True
        return False

    def _known(self, bits: UInt64[np.ndarray, " rows"], known: "_Known") -> bool:
        if len(bits) < self.length or not len(known.values):
            return False
        place = np.minimum(np.searchsorted(known.values, bits), len(known.values) - 1)
        alike = known.values[place] == bits
        if np.count_nonzero(alike) < self.length:
            return False
        in_row = np.convolve(alike, np.ones(self.length, int), "valid")
        return bool((in_row == self.length).any() and np.isin(self._hash(bits), known.hashes).any())

    def _hash(self, bits: UInt64[np.ndarray, " rows"]) -> UInt64[np.ndarray, " windows"]:
        """Of every row of `length` neighbours."""
        count = len(bits) - self.length + 1
        total = np.zeros(count, np.uint64)
        for i, factor in enumerate(self._factors):
            part = bits[i : i + count]
            total += (part ^ (part >> np.uint64(29))) * factor
        return total


class _Known(NamedTuple):
    """What is looked for, as bits."""

    values: np.ndarray
    """Single readings: most data are passed over by them."""
    hashes: np.ndarray
    """Of rows of them."""

    @classmethod
    def of(cls, found: "Sequence[tuple[np.ndarray, np.ndarray]]") -> "_Known":
        none = [np.zeros(0, np.uint64)]
        return cls(*(np.unique(np.concatenate([*none, *(one[i] for one in found)])) for i in (0, 1)))


def _runs(series: np.ndarray) -> list[np.ndarray]:
    """Stretches without a gap."""
    bad = np.flatnonzero(~np.isfinite(series))
    return [part for one in np.split(series, bad) if len(part := one[np.isfinite(one)])]


def _numbers(texts: Sequence[bytes]) -> np.ndarray:
    return np.array([float(text) for text in texts], np.float64)


def by_field(data: bytes) -> dict[bytes, Float[np.ndarray, " _"]]:
    """Numbers of a text by the field that they are said to be, `"sgv": 120` or `bg="120"`, in the order of the text."""
    found: dict[bytes, list[bytes]] = {}
    for field, number in _FIELD.findall(data):
        found.setdefault(field, []).append(number)
    return {field: _numbers(texts) for field, texts in found.items()}
