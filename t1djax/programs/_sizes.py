"""How many patients are at work at once."""

import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


def cores() -> int:
    """How many cores of a CPU this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def training_block() -> int:
    """Most patients that a device maps over at once while networks train.

    Blocks bound the memory at work. On a CPU small ones are also the fastest, since their arrays stay in the caches: on
    two cores 100 patients by Adam took 64 ms a step in blocks of 4, 92 in blocks of 32, 104 at once. More cores get
    more, which has not been measured.
    """
    return 2 * cores() if jax.default_backend() == "cpu" else 256


def even(rows: int, block: int) -> int:
    """A size near `block` that leaves no remainder, which would be compiled a second time; `block` if there is none."""
    sizes = [size for size in range(max(1, block // 4), block + block // 4 + 1) if rows % size == 0]
    return max(sizes, default=block)


def blocks(count: int, most: int, devices: int = 1) -> Iterator[Any]:
    """Rows of blocks of one size that cover `count` rows, to index with; the last one repeats the last row.

    All of them share a program, and memory at work does not grow with their number. Each of the devices takes `most`
    rows of a block at the most; blocks are as small as their number allows, so that few rows come twice.

    Example:
        >>> from t1djax.programs._sizes import blocks
        >>> [list(range(5))[block] if isinstance(block, slice) else block.tolist() for block in blocks(5, 2)]
        [[0, 1], [2, 3], [4, 4]]
    """
    size = -(-count // -(-count // (most * devices)))
    size = -(-size // devices) * devices
    for first in range(0, count, size):
        yield stretch(first, first + size, count)


def stretch(first: int, end: int, count: int) -> Any:
    """Rows from one to before another, to index with; the last of `count` rows again where there are no more."""
    return slice(first, end) if end <= count else np.minimum(np.arange(first, end), count - 1)
