"""What a training run carries from chunk to chunk."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..twin import Twin


class TrainState(NamedTuple):
    """The whole state of a training run between two chunks: with the same data and stages, it goes on from here."""

    stage: int
    """Number of the stage, from 1."""
    chunk: int
    """Chunks of it that are done."""
    step: int
    """Steps taken, over all stages."""
    twins: Twin
    """Networks and physiologies, stacked."""
    solver: Any
    """State of the stage's solver, stacked: damping, or an optimiser's moments."""
    steps: np.ndarray
    """Steps at which the course was looked at, `(points,)`."""
    values: Mapping[str, np.ndarray]
    """Estimates there by symbol, `(points, patients)`."""
    losses: Mapping[str, np.ndarray]
    """Loss terms there by name, `(points, patients)`."""
