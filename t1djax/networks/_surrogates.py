"""The contract of networks that stand in for the states."""

import abc
import dataclasses
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._types import Key
from ..physics import Inputs


class Window(eqx.Module):
    """Where a network lives: its stretch of time, and the doses that fall into it."""

    inputs: Inputs
    """Insulin and carbohydrate rates."""
    span_min: Float[Array, ""]
    """Length of the window, min."""

    @property
    def start_min(self) -> Float[Array, "*batch"]:
        """Start of the window, min."""
        return self.inputs.start_min


class AbstractFeatures(eqx.Module):
    """A part of a network that follows from the window and its doses: it never trains."""


class AbstractSurrogate(eqx.Module):
    """A network whose states are linear in its readout: `basis(t) @ readout`.

    The split lets a second-order step treat the readout exactly and cheaply; training may move the rest as well.
    """

    readout: eqx.AbstractVar[Float[Array, "basis states"]]
    """Weights from the basis to the learnt states, without unit."""

    @abc.abstractmethod
    def basis(self, window: Window, ts: Float[Array, " times"]) -> Float[Array, "times basis"]:
        """Everything before the readout, zero at the start of the window, at `ts` (min).

        Args:
            window: the stretch of time and its doses.
            ts: times within the window, min.

        Returns:
            The columns that the readout combines, without unit.
        """

    def moves(self, yes: bool) -> PyTree[bool]:
        """Which leaves training may move: a tree like the network, `yes` at its weights, False at features.

        Args:
            yes: what stands at the weights; False freezes the whole network.

        Returns:
            The tree of truth values.
        """
        fixed = lambda x: isinstance(x, AbstractFeatures)

        def mark(x: PyTree) -> PyTree[bool]:
            if fixed(x):
                return jax.tree.map(lambda _: False, x)
            return yes and eqx.is_inexact_array(x)

        return jax.tree.map(mark, self, is_leaf=fixed)


def check_numbers(options: Any) -> None:
    """Refuse numbers of an options record that are not finite; make tuples of lists, so that it is hashable.

    Raises:
        ValueError: naming the field.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, list):
            object.__setattr__(options, field.name, tuple(value))
        numbers = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(x, float) and not np.isfinite(x) for x in numbers):
            raise ValueError(f"{type(options).__name__}: {field.name} must be finite, not {value}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkOptions(abc.ABC):
    """Shape of a network and of its collocation. Each architecture has its own; hashable, since it selects a program.

    Raises:
        ValueError: naming the field that is not valid.
    """

    # A configuration that builds options refuses what it does not know.
    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}
    model: ClassVar[str]
    """Name of the architecture."""
    longest_window_min: ClassVar[float] = np.inf
    """The longest window for which the architecture was made, min."""
    random_layers_suffice: ClassVar[bool] = True
    """Whether hidden layers do their work with the values they were drawn with, so that training the readout alone is
    a good default."""

    cell_min: float = 5.0
    """Length of a collocation cell, min."""
    precision: Literal["float32", "float64"] = "float64"
    """Arithmetic. Gauss-Newton forms normal equations, which want float64; first-order training is content with
    float32."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.cell_min <= 0:
            raise ValueError("cell_min must be positive")
        if self.precision not in ("float32", "float64"):
            raise ValueError(f"precision must be float32 or float64, not {self.precision!r}")

    @abc.abstractmethod
    def network(self, window: Window, edges_min: Float[Array, " edges"], *, key: Key) -> AbstractSurrogate:
        """An untrained network for a window and the edges of its cells (min), with a readout of zero.

        Args:
            window: the stretch of time and its doses; features are scaled to it.
            edges_min: edges of the collocation cells, min, from the start of the window to its end.
            key: draws the weights.

        Returns:
            The network.
        """

    def cells(self, span_min: float) -> int:
        """Collocation cells of a window of this length, min.

        Args:
            span_min: length of the window, min.

        Returns:
            Their number, at least one.
        """
        return max(1, int(np.ceil(span_min / self.cell_min)))

    @property
    def dtype(self) -> np.dtype:
        """The NumPy type of `precision`."""
        return jnp.dtype(self.precision)
