"""Glucose in whole steps: the step that a column is written in, and straight lines that were rounded to it."""

import numpy as np
from jaxtyping import Float, Int

from .._types import MG_DL_PER_MMOL_L

_FACTORS = (MG_DL_PER_MMOL_L, 18.0, 18.018, 18.0182, 18.0156, 18.02)
_STEPS = (
    *((0.1 * factor, near) for near in (1e-6, 0.5001) for factor in _FACTORS),
    (1.0, 1e-6),
    (0.5, 1e-6),
    *((0.01 * factor, 1e-6) for factor in _FACTORS),
    *((10.0**-n, 1e-8) for n in (1, 2, 3, 4)),
)
_ON = 0.99
_FEWEST = 20
_OFF_LINE = 0.75
_LEAST_ROWS = 6
_BY_CHANCE = 0.01
"""Lines that chance may draw in a record."""


def in_steps(glucose: Float[np.ndarray, " rows"]) -> tuple[Float[np.ndarray, " rows"], float]:
    """Readings as numbers of steps, and the step that the column is rounded to, mg/dL; 0 where it is not.

    Tenths of a mmol/L are known also where they were turned into whole mg/dL afterwards.
    """
    if len(np.unique(glucose)) < _FEWEST:
        step = 1.0 if np.all(glucose == np.round(glucose)) else 0.0
        return (glucose, step)
    for step, near in _STEPS:
        whole = np.round(glucose / step)
        on = np.abs(glucose - whole * step) <= near
        if on.mean() >= _ON:
            return np.where(on, whole, glucose / step), step
    return glucose, 0.0


def rounded_lines(
    slot: Int[np.ndarray, " rows"], level: Float[np.ndarray, " rows"], *, least_rows: int, least_rise: float = 6.0
) -> list[tuple[int, int]]:
    """First and last rows of stretches that are a straight line rounded to whole steps.

    Rows are numbered on the grid and levels counted in steps; `least_rise` is how many of them a stretch goes up or
    down.
    """
    found = []
    bent = (np.diff(slot)[1:] != 1) | (np.diff(slot)[:-1] != 1) | (np.abs(np.diff(level, 2)) > 1.001)
    ends = np.concatenate([[0], np.flatnonzero(bent) + 1, [len(slot) - 1]])
    for first, last in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        begin = first
        while last - begin + 1 >= least_rows:
            if not _straight(level[begin : begin + least_rows]):
                begin += 1
                continue
            low, high = begin + least_rows - 1, last
            while low < high:  # the last row that the line reaches
                middle = (low + high + 1) // 2
                low, high = (middle, high) if _straight(level[begin : middle + 1]) else (low, middle - 1)
            if abs(level[low] - level[begin]) >= least_rise:
                found.append((begin, low))
            begin = low
    return found


def lines_by_chance(slot: Int[np.ndarray, " rows"], level: Float[np.ndarray, " rows"]) -> int:
    """How many rows a stretch must have that chance hardly makes straight anywhere in a series like this."""
    beside = (np.diff(slot)[1:] == 1) & (np.diff(slot)[:-1] == 1)
    faint = beside & (np.abs(np.diff(level, 2)) <= 1.001)
    after = faint[:-1] & beside[1:]
    if not after.any():
        return _LEAST_ROWS
    # A bend within the rounding follows upon another more often than not.
    share = max(float(np.mean(faint[1:][after])), 0.05)
    if share >= 0.95:
        return len(slot) + 1
    return max(_LEAST_ROWS, 3 + int(np.ceil(np.log(_BY_CHANCE / faint.sum()) / np.log(share))))


def _straight(level: Float[np.ndarray, " rows"]) -> bool:
    """Whether readings lie on one line, up to rounding."""
    at = np.arange(len(level)) - (len(level) - 1) / 2
    left = level - level.mean()
    return bool(np.max(np.abs(left - at * (at @ left) / (at @ at))) <= _OFF_LINE)
