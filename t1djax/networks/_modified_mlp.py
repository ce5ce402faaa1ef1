"""The gated feed-forward network with two encoders."""

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
class ModifiedMLPOptions(NetworkOptions):
    """Shape of the Modified MLP.

    Raises:
        ValueError: naming the field that is not valid.

    Example:
        >>> from t1djax import ModifiedMLPOptions
        >>> ModifiedMLPOptions(factorised=True).model
        'modified_mlp'
    """

    model: ClassVar[str] = "modified_mlp"
    longest_window_min: ClassVar[float] = LONGEST_WINDOW_MIN

    width: int = 128
    """Units of a hidden layer and of each encoder."""
    depth: int = 2
    """Hidden layers, at least one."""
    spread: float = 1.5
    """Scale of the random hidden weights."""
    factorised: bool = False
    """Whether hidden weights are held as factors (random weight factorisation); matters to optax stages alone."""
    time: TimeFeatureOptions = dataclasses.field(default_factory=TimeFeatureOptions)
    """What the network sees of time and doses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1 or self.depth < 1 or self.spread <= 0:
            raise ValueError("width and depth must be at least 1, spread positive")

    def network(self, window: Window, edges_min: Float[Array, " edges"], *, key: Key) -> "ModifiedMLP":
        """Random hidden layers and a readout of zero: the network starts as a flat line."""
        return ModifiedMLP(self, window, edges_min, key=key)


class ModifiedMLP(AbstractSurrogate):
    """A network of time whose hidden layers are gated between two encoders of its input.

    ```
    x = [waves of t, dose memories at t]
    U = tanh(Wu x + bu),  V = tanh(Wv x + bv)
    h1 = tanh(W1 x + b1)
    Z = tanh(Wk h + bk),  h <- (1 - Z) U + Z V         (depth times)
    y = (1 - exp(-(t - t0)/60)) [h, x, 1] @ readout
    ```

    Source: Wang, Teng, Perdikaris, "Understanding and mitigating gradient flow pathologies in physics-informed neural
    networks", SIAM J. Sci. Comput. 43(5), 2021, section 2.6.
    """

    features: TimeFeatures
    """What it sees; does not train."""
    encoders: tuple[Dense, Dense]
    """To `U` and `V`."""
    layers: tuple[Dense, ...]
    """To the first hidden layer, and the gates."""
    readout: Float[Array, "basis states"]
    """From hidden units, features and one to the states."""

    def __init__(self, options: ModifiedMLPOptions, window: Window, ts: Float[Array, " times"], *, key: Key):
        """Random hidden layers and a readout of zero; features scaled over `ts` (min).

        Args:
            options: the shape.
            window: the stretch of time and its doses.
            ts: edges of the collocation cells, min.
            key: draws the weights.
        """
        keys = jax.random.split(key, options.depth + 4)
        self.features = TimeFeatures(options.time, window, ts, key=keys[0])
        n, m = self.features.size, options.width
        dense = lambda n, k: Dense(n, m, spread=options.spread, factorised=options.factorised, key=k)
        self.encoders = (dense(n, keys[1]), dense(n, keys[2]))
        self.layers = (dense(n, keys[3]), *(dense(m, k) for k in keys[4:]))
        self.readout = jnp.zeros((n + m + 1, 3))

    def basis(self, window: Window, ts: Float[Array, " times"]) -> Float[Array, "times basis"]:
        """Hidden units, features and one at `ts` (min), each times the gate."""
        x = self.features(window, ts)
        U, V = (jnp.tanh(encoder(x)) for encoder in self.encoders)
        first, *gates = self.layers
        h = jnp.tanh(first(x))
        for layer in gates:
            Z = jnp.tanh(layer(h))
            h = (1 - Z) * U + Z * V
        gate = self.features.gate(window, ts)
        return gate[:, None] * jnp.concatenate([h, x, jnp.ones_like(x[:, :1])], axis=1)
