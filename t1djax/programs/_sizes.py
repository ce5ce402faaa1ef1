"""How many patients are at work at once."""

import os

import jax


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
