"""Ahead-of-time compilation with its cost known, and each program compiled once."""

import time
from collections.abc import Callable, Hashable
from typing import Any

import jax

_MOST = 64  # programs kept: each holds megabytes of code
_PROGRAMS: dict[Hashable, Any] = {}


def compile_once(
    make: Callable[..., Callable[..., Any]], static: tuple[Hashable, ...], args: tuple[Any, ...]
) -> tuple[Callable[..., Any], float]:
    """The compiled program of `make(*static)` for arguments of these shapes, and the seconds it took just now.

    `jax.jit` compiles at the first call and hides the cost in it; here the cost can be reported beside the run's.
    A second cohort of the same shapes costs nothing.

    Args:
        make: builds the function to compile from the static options; a module-level function.
        static: hashable options.
        args: the arguments of the first call.

    Returns:
        The executable, and the seconds spent (near zero where it was at hand).
    """
    leaves, structure = jax.tree.flatten(args)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    key = (make, static, structure, shapes)
    began = time.perf_counter()
    if key not in _PROGRAMS:
        while len(_PROGRAMS) >= _MOST:
            del _PROGRAMS[next(iter(_PROGRAMS))]  # the oldest
        _PROGRAMS[key] = jax.jit(make(*static)).lower(*args).compile()
    return _PROGRAMS[key], time.perf_counter() - began
