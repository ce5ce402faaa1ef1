"""Networks that stand in for the states."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._types import Key
from ..physics import Inputs
from ._features import dose_memories, fourier_octaves


class Window(eqx.Module):
    """Where a network lives: its stretch of time, and the doses that fall into it."""

    inputs: Inputs
    """Insulin and carbohydrate rates."""
    span_min: Float[Array, ""]
    """Length of the window, min."""

    @property
    def start_min(self) -> Array:
        """Start of the window, min."""
        return self.inputs.start_min


class AbstractSurrogate(eqx.Module):
    """A network whose states are linear in its readout: `gate(t) basis(t) @ readout`.

    The split lets a second-order step treat the readout exactly and cheaply; training may move the rest as well.
    """

    readout: eqx.AbstractVar[Float[Array, "basis 3"]]
    """Weights from the basis to the three states, without unit."""

    @abc.abstractmethod
    def basis(self, window: Window, ts: Float[Array, " times"]) -> Float[Array, "times basis"]:
        """Everything before the readout, zero at the start of the window, at `ts` (min)."""

    @abc.abstractmethod
    def moves(self, yes: bool) -> PyTree[bool]:
        """Which leaves training may move: a tree like the network, `yes` at its weights, False at all else."""


class PINN(AbstractSurrogate):
    """A feed-forward network of time, `t -> (G, I, D)` in units of one, zero at the start of the window.

    ```
    x = [Fourier octaves of t, dose memories at t]
    h = tanh(W2 tanh(W1 x + b1) + b2)                  (depth layers)
    y = (1 - exp(-(t - t0)/60)) [h, x, 1] @ readout
    ```

    The gate builds the initial condition in. Inputs skip to the readout so that slow and kinked parts need not pass
    the hidden layers.

    Example:
        >>> import jax
        >>> from t1djax import PINN
        >>> PINN(width=32, depth=2, octaves=7, key=jax.random.key(0)).readout.shape
        (60, 3)

    Source: Raissi, Perdikaris, Karniadakis, J. Comput. Phys. 378, 2019 (physics-informed networks); Dwivedi and
    Srinivasan, Neurocomputing 391, 2020 (fitting the readout of a random hidden layer by least squares).
    """

    weights: list[Float[Array, "inputs outputs"]]
    """Of the hidden layers."""
    biases: list[Float[Array, " outputs"]]
    """Of the hidden layers."""
    readout: Float[Array, "basis 3"]
    """From hidden units, features and one to the states."""
    feature_scale: Float[Array, " memories"]
    """What the dose memories are divided by; follows from the doses and does not train."""
    octaves: int = eqx.field(static=True)
    """Fourier octaves of time."""
    lags_min: tuple[float, ...] = eqx.field(static=True)
    """Fixed time constants of the dose memories, min."""
    gate_min: float = eqx.field(static=True)
    """Time constant of the gate, min."""

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        octaves: int,
        lags_min: tuple[float, ...] = (40.0, 80.0, 160.0),
        gate_min: float = 60.0,
        spread: float = 1.5,
        key: Key,
    ):
        """Random hidden layers and a readout of zero: the network starts as a flat line.

        Args:
            width: units of a hidden layer.
            depth: hidden layers; none gives a model linear in its features.
            octaves: Fourier octaves of time.
            lags_min: time constants of the dose memories, min.
            gate_min: time constant of the gate, min.
            spread: scale of the hidden weights; above one, so that hidden units differ.
            key: draws the weights.
        """
        features = 1 + 2 * octaves + 4 * len(lags_min)
        sizes = [features] + [width] * depth
        draws = [jax.random.split(k) for k in jax.random.split(key, max(depth, 1))]
        self.weights, self.biases = [], []
        for (kw, kb), n, m in zip(draws, sizes[:-1], sizes[1:], strict=False):
            self.weights.append(spread * jax.random.normal(kw, (n, m)) / jnp.sqrt(1.0 * n))
            self.biases.append(spread * jax.random.uniform(kb, (m,), minval=-1.0, maxval=1.0))
        self.readout = jnp.zeros((features + (width if depth else 0) + 1, 3))
        self.feature_scale = jnp.ones(4 * len(lags_min))
        self.octaves = octaves
        self.lags_min = lags_min
        self.gate_min = gate_min

    def scaled_to(self, window: Window, ts: Float[Array, " times"]) -> "PINN":
        """The same network with dose memories scaled to at most one over `ts` (min)."""
        largest = jnp.max(jnp.abs(dose_memories(window.inputs, ts, self.lags_min)), axis=0)
        return eqx.tree_at(lambda n: n.feature_scale, self, jnp.where(largest > 1e-9, largest, 1.0))

    def moves(self, yes: bool) -> PyTree[bool]:
        """Weights, biases and readout may move; the scale of the features follows from the doses and may not."""
        weights = jax.tree.map(lambda leaf: yes and eqx.is_inexact_array(leaf), self)
        return eqx.tree_at(lambda n: n.feature_scale, weights, False)

    def basis(self, window: Window, ts: Float[Array, " times"]) -> Float[Array, "times basis"]:
        """Hidden units, features and one at `ts` (min), each times the gate."""
        elapsed = ts - window.start_min
        memories = dose_memories(window.inputs, ts, self.lags_min) / jax.lax.stop_gradient(self.feature_scale)
        x = jnp.concatenate([fourier_octaves(elapsed / window.span_min, self.octaves), memories], axis=1)
        h = x
        for w, b in zip(self.weights, self.biases, strict=True):
            h = jnp.tanh(h @ w + b)
        hidden = [h] if self.weights else []
        gate = -jnp.expm1(-elapsed / self.gate_min)
        return gate[:, None] * jnp.concatenate([*hidden, x, jnp.ones_like(x[:, :1])], axis=1)
