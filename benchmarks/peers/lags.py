"""Answers of two equal lags to the doses, in NumPy, for the scripts of this folder."""

from typing import Any, NamedTuple

import numpy as np


class Lags(NamedTuple):
    """Two equal lags, empty at the start, driven by a piecewise-constant rate: deviations at the start of each piece.

    Within piece `i`, with `h = (t - start[i]) / T`: first lag `level + x1 exp(-h)`, second
    `level + (x2 + x1 h) exp(-h)`.
    """

    T: float
    start: np.ndarray
    level: np.ndarray
    x1: np.ndarray
    x2: np.ndarray

    def at(self, ts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second lag at `ts` (min)."""
        i = np.clip(np.searchsorted(self.start, ts, side="right") - 1, 0, None)
        h = (ts - self.start[i]) / self.T
        decay = np.exp(-h)
        return self.level[i] + self.x1[i] * decay, self.level[i] + (self.x2[i] + self.x1[i] * h) * decay


def lags(patient: dict[str, Any], rate: str, T: float, gain: float = 1.0) -> Lags:
    """The lags of `insulin_U_min` or `carbs_mg_min`, times `gain`."""
    start, level = np.asarray(patient["break_min"]), gain * np.asarray(patient[rate])
    first = second = 0.0
    x1, x2 = [], []
    for i, here in enumerate(level):
        x1.append(first - here)
        x2.append(second - here)
        if i + 1 < len(start):
            h = (start[i + 1] - start[i]) / T
            second = here + (x2[-1] + x1[-1] * h) * np.exp(-h)
            first = here + x1[-1] * np.exp(-h)
    return Lags(T, start, level, np.array(x1), np.array(x2))


def mean_rates(patient: dict[str, Any], rate: str, edges: np.ndarray) -> np.ndarray:
    """Mean of a rate over each cell: whole doses, wherever they fall."""
    start, level = np.asarray(patient["break_min"]), np.asarray(patient[rate])
    total = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(start))])
    i = np.clip(np.searchsorted(start, edges, side="right") - 1, 0, None)
    return np.diff(total[i] + level[i] * (edges - start[i])) / np.diff(edges)
