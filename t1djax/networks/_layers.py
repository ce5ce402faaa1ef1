"""A dense layer, and its factorised form."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Key


class Dense(eqx.Module):
    """`x W + b`, or with factorised weights `x V diag(exp(s)) + b`.

    The factors are other coordinates for the same function: they change how first-order training goes, nothing else.

    Source: Wang, Wang, Seidman, Perdikaris, "Random weight factorization improves the training of continuous neural
    representations", arXiv 2210.01274 (2022), for the factors.
    """

    weight: Float[Array, "inputs outputs"]
    """`W`, or `V`."""
    bias: Float[Array, " outputs"]
    """`b`."""
    log_scale: Float[Array, " outputs"] | None
    """`s`; None where the weights are not factorised."""

    def __init__(self, inputs: int, outputs: int, *, spread: float, factorised: bool = False, key: Key):
        """Random weights.

        Args:
            inputs: inputs.
            outputs: units.
            spread: standard deviation of a unit's sum for inputs of one; above one, units differ more.
            factorised: whether to hold the weights as factors, with `s` drawn from N(1, 0.1).
            key: draws them.
        """
        for_weight, for_bias = jax.random.split(key)
        self.weight = spread * jax.random.normal(for_weight, (inputs, outputs)) / jnp.sqrt(1.0 * inputs)
        self.bias = spread * jax.random.uniform(for_bias, (outputs,), minval=-1.0, maxval=1.0)
        self.log_scale = None
        if factorised:
            self.log_scale = 1 + 0.1 * jax.random.normal(jax.random.fold_in(key, 2), (outputs,))
            self.weight = self.weight / jnp.exp(self.log_scale)

    def __call__(self, x: Float[Array, "times inputs"]) -> Float[Array, "times outputs"]:
        y = x @ self.weight
        return (y if self.log_scale is None else y * jnp.exp(self.log_scale)) + self.bias
