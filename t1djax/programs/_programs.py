"""Ahead-of-time compilation with its cost known, each program compiled once."""

import collections
import dataclasses
import functools
import os
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Literal, NamedTuple

import jax

_MOST = 64  # programs kept: each holds megabytes of code


Effort = Literal["least", "some", "most"]
# On the CPU, kernels of the older emitter compile in two thirds of the time and take up to twice as long to run.
_OPTIONS: dict[Effort, dict[str, Any]] = {
    "least": {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 0},
    "some": {"xla_cpu_use_fusion_emitters": False},
    "most": {},
}


class Key(NamedTuple):
    """What tells programs apart."""

    one: Callable[..., Any]
    how: Hashable
    structure: Hashable
    leaves: tuple[Hashable, ...]
    effort: Effort
    settings: tuple[Hashable, ...]


@dataclasses.dataclass(eq=False)
class _Program:
    run: Callable[..., Any] | None = None
    compiling: threading.Lock = dataclasses.field(default_factory=threading.Lock)


PROGRAMS: collections.OrderedDict[Key, _Program] = collections.OrderedDict()
"""Those that are kept, the one used last at the end."""
_LOCK = threading.Lock()


def compile_once(
    one: Callable[..., Any],
    how: Callable[[Callable[..., Any]], Callable[..., Any]],
    args: tuple[Any, ...],
    *,
    effort: Effort = "some",
) -> tuple[Callable[..., Any], float]:
    """The compiled program of `how(one)` for arguments like these, and the seconds it took just now.

    `jax.jit` compiles at the first call and hides the cost in it; here the cost can be reported beside the run's.
    A second cohort of the same shapes costs nothing, as long as JAX's settings (precision, products of matrices,
    default device, ...) are the same. Threads that ask for one program wait for it to be compiled once.

    Args:
        one: what to compute. Its identity is the program's: a function defined anew is compiled anew.
        how: makes of it the function to compile; hashable, with all options in it.
        args: the arguments of the first call.
        effort: of the compiler. On the CPU, `least` is for a program that runs once, on little: it compiles in a fifth
            of the time, unoptimised; `most` is for one that runs for thousands of steps.

    Returns:
        The executable, and the seconds spent (near zero where it was at hand).

    Raises:
        ForkError: where this process is a fork of one in which something was computed.
    """
    check_not_forked()
    began = time.perf_counter()
    leaves, structure = jax.tree.flatten(args)
    settings = tuple(jax.config.values.values())  # of this thread, as its context managers have them
    key = Key(one, how, structure, tuple(map(_kind, leaves)), effort, settings)
    with _LOCK:
        program = PROGRAMS.setdefault(key, _Program())
        PROGRAMS.move_to_end(key)
        while len(PROGRAMS) > _MOST:
            PROGRAMS.popitem(last=False)
    with program.compiling:
        if program.run is None:
            options = _options(effort, jax.default_backend())
            program.run = jax.jit(how(one)).lower(*args).compile(compiler_options=options)
    return program.run, time.perf_counter() - began


class ForkError(RuntimeError):
    """This process was forked from one that had computed."""


def check_not_forked() -> None:
    """Refuse to wait for threads that a fork left behind.

    Raises:
        ForkError: where the process is a fork of one in which something was computed.
    """
    if _first_process() != os.getpid():
        raise ForkError(
            "this process was forked from one that had computed with t1djax: JAX's threads are not in it, and it would "
            'wait for ever; make processes by multiprocessing.get_context("spawn"), or fork before anything is computed'
        )


_first_process = functools.cache(os.getpid)
"""The process in which something was computed first, which its forks have too."""


def _kind(leaf: Any) -> tuple[Hashable, ...]:
    """What a program takes in a place; an array that was put on a device by name is of no use on another."""
    return leaf.shape, leaf.dtype, leaf.sharding if getattr(leaf, "committed", False) else None


@functools.cache
def _options(effort: Effort, backend: str) -> dict[str, Any]:
    """Options of XLA that shorten compilation, where this version of it knows them."""
    options = _OPTIONS[effort]
    if backend != "cpu":
        return {}
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return {}
    return options
