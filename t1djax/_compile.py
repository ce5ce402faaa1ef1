"""Ahead-of-time compilation with its cost known, each program compiled once, and run without a fight for cores."""

import functools
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import scipy.linalg  # noqa: F401 - loads the library whose threads are limited below
import threadpoolctl

_MOST = 64  # programs kept: each holds megabytes of code
_PROGRAMS: dict[Hashable, Any] = {}


# On the CPU, kernels of the older emitter run as fast and compile in two thirds of the time.
_FULL: dict[str, bool | int | str | float] = {"xla_cpu_use_fusion_emitters": False}
_QUICK = _FULL | {"xla_backend_optimization_level": 0}


def compile_once(
    make: Callable[..., Callable[..., Any]], static: tuple[Hashable, ...], args: tuple[Any, ...], *, quick: bool = False
) -> tuple[Callable[..., Any], float]:
    """The compiled program of `make(*static)` for arguments of these shapes, and the seconds it took just now.

    `jax.jit` compiles at the first call and hides the cost in it; here the cost can be reported beside the run's.
    A second cohort of the same shapes costs nothing.

    Args:
        make: builds the function to compile from the static options; a module-level function.
        static: hashable options.
        args: the arguments of the first call.
        quick: for a program that runs once, on little: on the CPU it compiles in a fifth of the time, unoptimised.

    Returns:
        The executable, and the seconds spent (near zero where it was at hand).
    """
    leaves, structure = jax.tree.flatten(args)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    key = (make, static, structure, shapes, quick)
    began = time.perf_counter()
    if key not in _PROGRAMS:
        while len(_PROGRAMS) >= _MOST:
            del _PROGRAMS[next(iter(_PROGRAMS))]  # the oldest
        _PROGRAMS[key] = jax.jit(make(*static)).lower(*args).compile(_options(quick))
    return _PROGRAMS[key], time.perf_counter() - began


@functools.cache
def _options(quick: bool) -> dict[str, bool | int | str | float]:
    """Options of XLA that shorten compilation, where this version of it knows them."""
    options = _QUICK if quick else _FULL
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0).lower().compile(options)
    except jax.errors.JaxRuntimeError:
        return {}
    return options


@contextmanager
def one_thread_per_factorisation() -> Iterator[None]:
    """Keep the linear algebra library of the CPU to one thread while programs run.

    XLA's factorisations on the CPU call it patient by patient, on matrices too small to share. With threads of its own
    it spins while it waits for a core: beside other work the same ten factorisations took 2,300 ms in place of 9.
    """
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield
