"""Ahead-of-time compilation with its cost known, each program compiled once, and run without a fight for cores."""

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import scipy.linalg  # noqa: F401 - loads the library whose threads are limited below
import threadpoolctl

_MOST = 64  # programs kept: each holds megabytes of code
_PROGRAMS: dict[Hashable, Any] = {}


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
        quick: whether to compile in less time to a program that may run slower: for a few patients, once.

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
        lowered = jax.jit(make(*static)).lower(*args)
        _PROGRAMS[key] = _quickly(lowered) if quick and jax.default_backend() == "cpu" else lowered.compile()
    return _PROGRAMS[key], time.perf_counter() - began


def _quickly(lowered: Any) -> Any:
    try:
        # The emitters of fused loops take more than half of the time; without them LLVM has less to do.
        return lowered.compile(compiler_options={"xla_cpu_use_fusion_emitters": False})
    except jax.errors.JaxRuntimeError:  # a version of XLA that has no such option
        return lowered.compile()


@contextmanager
def one_thread_per_factorisation() -> Iterator[None]:
    """Keep the linear algebra library of the CPU to one thread while programs run.

    XLA's factorisations on the CPU call it patient by patient, on matrices too small to share. With threads of its own
    it spins while it waits for a core: beside other work the same ten factorisations took 2,300 ms in place of 9.
    """
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield
