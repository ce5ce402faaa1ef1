"""The feed-forward network of time."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Key
from ._features import LONGEST_WINDOW_MIN, TimeFeatureOptions, TimeFeatures
from ._layers import Dense
from ._surrogates import AbstractSurrogate, NetworkOptions, Window


@dataclasses.dataclass(frozen=True, kw_only=True)
class PINNOptions(NetworkOptions):
    """Shape of the feed-forward network.

    Raises:
        ValueError: naming the field that is not valid.

    Example:
        >>> from t1djax import PINNOptions
        >>> PINNOptions(width=64).cells(2880.0)
        576
    """

    model: ClassVar[str] = "pinn"
    longest_window_min: ClassVar[float] = LONGEST_WINDOW_MIN

    width: int = 128
    """Units of a hidden layer."""
    depth: int = 2
    """Hidden layers; none gives a model linear in its features."""
    spread: float = 1.5
    """Scale of the random hidden weights."""
    time: TimeFeatureOptions = dataclasses.field(default_factory=TimeFeatureOptions)
    """What the network sees of time and doses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1 or self.depth < 0 or self.spread <= 0:
            raise ValueError("width must be at least 1, depth at least 0, spread positive")

    def network(self, window: Window, edges_min: Float[Array, " edges"], *, key: Key) -> "PINN":
        """Random hidden layers and a readout of zero: the network starts as a flat line."""
        return PINN(self, window, edges_min, key=key)


class PINN(AbstractSurrogate):
    """A feed-forward network of time, `t -> (G, I, D)` in units of one, zero at the start of the window.

    ```
    x = [waves of t, dose memories at t]
    h = tanh(W2 tanh(W1 x + b1) + b2)                  (depth layers)
    y = (1 - exp(-(t - t0)/60)) [h, x, 1] @ readout
    ```

    The gate builds the initial condition in. Inputs skip to the readout so that slow and kinked parts need not pass
    the hidden layers.

    Source: Raissi, Perdikaris, Karniadakis, J. Comput. Phys. 378, 2019 (physics-informed networks); Dwivedi and
    Srinivasan, Neurocomputing 391, 2020 (fitting the readout of a random hidden layer by least squares).
    """

    features: TimeFeatures
    """What it sees; does not train."""
    layers: tuple[Dense, ...]
    """Hidden layers."""
    readout: Float[Array, "basis states"]
    """From hidden units, features and one to the states."""

    def __init__(self, options: PINNOptions, window: Window, ts: Float[Array, " times"], *, key: Key):
        """Random hidden layers and a readout of zero; features scaled over `ts` (min).

        Args:
            options: the shape.
            window: the stretch of time and its doses.
            ts: edges of the collocation cells, min.
            key: draws the weights.
        """
        keys = jax.random.split(key, options.depth + 1)
        self.features = TimeFeatures(options.time, window, ts, key=keys[-1])
        sizes = [self.features.size] + [options.width] * options.depth
        self.layers = tuple(
            Dense(n, m, spread=options.spread, key=k) for n, m, k in zip(sizes[:-1], sizes[1:], keys[:-1], strict=True)
        )
        self.readout = jnp.zeros((sizes[0] + (sizes[-1] if self.layers else 0) + 1, 3))

    def basis(self, window: Window, ts: Float[Array, " times"]) -> Float[Array, "times basis"]:
        """Hidden units, features and one at `ts` (min), each times the gate."""
        x = self.features(window, ts)
        h = x
        for layer in self.layers:
            h = jnp.tanh(layer(h))
        hidden = [h] if self.layers else []
        gate = self.features.gate(window, ts)
        return gate[:, None] * jnp.concatenate([*hidden, x, jnp.ones_like(x[:, :1])], axis=1)
