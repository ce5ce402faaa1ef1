"""Patients shared out to threads, and joined again."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from . import _sizes

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Shares(Generic[T]):
    """Arrays of patients in stretches of one length, each the work of a thread."""

    each: tuple[T, ...]
    """The last one repeats its last patient to be as long as the others."""
    rows: int
    """How many patients there are."""

    def joined(self) -> T:
        """The arrays of all patients."""
        if len(self.each) == 1:
            return self.each[0]
        return jax.tree.map(lambda *parts: np.concatenate(parts)[: self.rows], *self.each)

    def pick(self, f: Callable[[T], Any]) -> "Shares[Any]":
        """A part of each share, or what a function of it gives."""
        return Shares(tuple(f(share) for share in self.each), self.rows)

    def member(self, i: int) -> "Shares[Any]":
        """Of shares that are tuples, a member of each."""
        whole: tuple[Any, ...] = self.each
        return Shares(tuple(share[i] for share in whole), self.rows)


def share_out(tree: T, threads: int) -> Shares[T]:
    """Arrays of patients in a share for each thread."""
    rows = jax.tree.leaves(tree)[0].shape[0]
    share, host = -(-rows // threads), jax.tree.map(_on_host, tree)
    each: list[T] = []
    for first in range(0, rows, share):
        inside = first + share <= rows
        at = slice(first, first + share) if inside else np.minimum(np.arange(first, first + share), rows - 1)
        each.append(jax.device_put(jax.tree.map(lambda x, at=at: x[at], host)))
    return Shares(tuple(each), rows)


def on_threads(program: Callable[..., Any], rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What a program gives for each tuple of arguments, all of them at once; the first in this thread."""
    wide = jnp.result_type(float) == jnp.float64  # in this thread; the others start with their own setting

    def one(row: tuple[Any, ...]) -> Any:
        with jax.enable_x64(wide):
            return jax.block_until_ready(program(*row))

    others = [_threads().submit(one, row) for row in rows[1:]]
    try:
        found = one(rows[0])
    finally:  # an interrupted fit leaves no thread at work
        wait(others)
    return [found, *(other.result() for other in others)]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads that wait for shares; starting them anew takes a millisecond, as long as a small program."""
    return ThreadPoolExecutor(_sizes.cores(), "t1djax")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a child has the pool, but none of its threads


def _on_host(x: Any) -> Any:
    """Where a stretch of an array costs nothing; random keys have no such form."""
    return x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)
