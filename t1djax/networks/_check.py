"""What is wrong with a network of one's own, found before any training."""

import jax
import numpy as np
from jaxtyping import Array, Float

from .._arguments import ArgumentError
from .._types import Key
from ._surrogates import AbstractSurrogate, NetworkOptions, Window

_ZERO = 1e-6  # of what the basis reaches


def check_network(options: NetworkOptions, window: Window, edges_min: Float[Array, " edges"], *, key: Key) -> None:
    """Hold the network that options make against the contract of `AbstractSurrogate`.

    Raises:
        ArgumentError: about `options`, naming what is wrong with the network.
    """
    network = options.network(window, edges_min, key=key)
    made = type(network).__name__
    if not isinstance(network, AbstractSurrogate):
        raise _wrong(f"{type(options).__name__}.network gives {made}; give an AbstractSurrogate")
    basis = jax.jit(type(network).basis)(network, window, edges_min)
    rows, columns = len(edges_min), np.shape(network.readout)[0]
    if np.shape(basis) != (rows, columns):
        raise _wrong(
            f"{made}.basis gives the shape {np.shape(basis)} at {rows} times for a readout of the shape "
            f"{np.shape(network.readout)}; it must be ({rows}, {columns}): times, then what the first axis of the "
            "readout combines"
        )
    if not np.all(np.isfinite(basis)):
        raise _wrong(f"{made}.basis gives numbers that are not finite")
    if (start := np.max(np.abs(basis[0]))) > _ZERO * np.max(np.abs(basis)):
        raise _wrong(
            f"{made}.basis is {start:.3g} at the start of the window, where the states are known; take "
            "`basis(ts) - basis(start)`"
        )


def _wrong(what: str) -> ArgumentError:
    return ArgumentError("options", what)
