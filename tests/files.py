"""Files that the tests of readers write, and how they read them."""

import datetime as dt
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from t1djax import DataWarning, read_recording
from t1djax.io import Recording

START = dt.datetime(2024, 5, 1)


def walk(n: int, seed: int = 0) -> np.ndarray:
    """A plausible course of whole readings, mg/dL."""
    steps = np.random.default_rng(seed).integers(-6, 7, n)
    return np.clip(140 + 40 * np.sin(np.arange(n) / 30) + np.cumsum(steps) % 25, 60, 300).round()


def frame(
    when: list[dt.datetime], glucose: np.ndarray, *, basal: float = 0.08, boluses: dict[int, float] | None = None,
    carbs: dict[int, float] | None = None, merged: bool = False,
) -> str:  # fmt: skip
    """A GluPredKit frame."""
    boluses, carbs = boluses or {}, carbs or {}
    rows = ["date,id,CGM,insulin,carbs" + ("" if merged else ",basal,bolus")]
    for i, (t, value) in enumerate(zip(when, glucose.tolist(), strict=True)):
        bolus = boluses.get(i, 0)
        row = [t.isoformat(" "), "1", repr(value), repr(basal + bolus), repr(carbs.get(i, 0))]
        rows.append(",".join(row + ([] if merged else [repr(basal), repr(bolus)])))
    return "\n".join(rows) + "\n"


def every(minutes: float, n: int, start: dt.datetime = START) -> list[dt.datetime]:
    return [start + i * dt.timedelta(minutes=minutes) for i in range(n)]


def quietly(path: Path, **how: Any) -> Recording:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return read_recording(path, **how)
