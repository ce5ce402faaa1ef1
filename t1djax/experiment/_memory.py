"""How many fits train together."""

import os
from collections.abc import Sequence

import jax

from ..data import Patient
from ..networks import NetworkOptions
from ..problem import Problem
from ..training import Memory, Stage, training_memory

MOST = 1024
"""Fits that train together where memory sets no lower limit: results appear on the disk batch by batch."""
_SHARE = 0.5  # of what is free


def memory_of(
    patients: Sequence[Patient], problem: Problem, options: NetworkOptions | None, stages: Sequence[Stage] | None
) -> Memory | None:
    """Estimated memory of a training; None for least squares, which works in blocks of its own."""
    if options is None or stages is None:
        return None
    return training_memory(patients, problem, options, stages)


def rows_that_fit(
    patients: Sequence[Patient],
    problem: Problem,
    options: NetworkOptions | None,
    stages: Sequence[Stage] | None,
    *,
    most: int | None = None,
) -> int:
    """How many fits train together: `most`, or what half of the free memory of the devices holds, 1,024 at the most."""
    if most is not None:
        return most
    memory = memory_of(patients, problem, options, stages)
    return MOST if memory is None else min(MOST, memory.rows(int(_SHARE * free_bytes())))


def free_bytes() -> int:
    """Memory that is free on the devices of this process, together."""
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        try:
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):  # not on every system
            return 4 * 2**30
    stats = [device.memory_stats() or {} for device in devices]
    return sum(s.get("bytes_limit", 4 * 2**30) - s.get("bytes_in_use", 0) for s in stats)
