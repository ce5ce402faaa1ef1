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
    """Arrays of patients in stretches of one length, each the work of a thread, or of all devices together."""

    each: tuple[T, ...]
    """The last one repeats its last patient to be as long as the others."""
    rows: int
    """How many patients there are."""

    def joined(self) -> T:
        """The arrays of all patients."""
        if len(self.each) == 1:
            whole = self.each[0]
            alike = len(jax.tree.leaves(whole)[0]) == self.rows
            return whole if alike else jax.tree.map(lambda x: x[: self.rows], whole)
        return jax.tree.map(lambda *parts: np.concatenate(parts)[: self.rows], *self.each)

    def pick(self, f: Callable[[T], Any]) -> "Shares[Any]":
        """A part of each share, or what a function of it gives."""
        return Shares(tuple(f(share) for share in self.each), self.rows)

    def members(self) -> "list[Shares[Any]]":
        """Of shares that are tuples, all members."""
        return [self.member(i) for i in range(len(self.each[0]))]  # pyright: ignore[reportArgumentType]

    def member(self, i: int) -> "Shares[Any]":
        """Of shares that are tuples, a member of each."""
        whole: tuple[Any, ...] = self.each
        return Shares(tuple(share[i] for share in whole), self.rows)


def share_out(tree: T, threads: int) -> Shares[T]:
    """Arrays of patients in a share for each thread."""
    rows = len(jax.tree.leaves(tree)[0])
    if threads == 1:
        return Shares((tree,), rows)
    host = jax.tree.map(on_host, tree)
    each = (jax.tree.map(lambda x: x[here], host) for here in _sizes.blocks(rows, -(-rows // threads)))  # noqa: B023
    return Shares(tuple(map(jax.device_put, each)), rows)


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


def on_host(x: Any) -> Any:
    """Where a stretch of an array costs nothing; random keys have no such form."""
    array = isinstance(x, jax.Array) and not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(x) if array else x
