"""The network of the population forecaster, and what it makes of a person's columns."""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._types import Key
from ..networks import Dense
from ._known import COLUMNS, MAY_LACK

KNOTS_MIN = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0)
"""Horizons that the network forecasts, min; between them its forecasts are interpolated."""
KNOWN_DAYS = (0.25, 1.0, 3.0)
"""Days of a record after which intervals are calibrated; between them it is interpolated."""
_FURTHEST = 5.0  # standard deviations beyond which a column says nothing more


class PopulationOptions(NamedTuple):
    """Size of the population forecaster, and how it is trained.

    Example:
        >>> from t1djax.population import PopulationOptions
        >>> PopulationOptions(steps=100).members
        2
    """

    width: int = 48
    """Hidden units of each of two layers."""
    members: int = 2
    """Networks whose forecasts are averaged."""
    steps: int = 2000
    """Steps of the optimiser."""
    batch: int = 1024
    """Origins that a step looks at."""
    learning_rate: float = 1e-3
    """Of AdamW at its highest, without unit; it falls to zero."""
    weight_decay: float = 0.3
    """Of AdamW, without unit."""
    hidden_share: float = 0.1
    """Share of examples from which each group of columns (a lag, insulin, carbohydrate, the clock) is taken away."""


class PopulationNetwork(eqx.Module):
    """Two hidden layers beside a linear map, of columns `z` and of what is missing `m`.

    ```
    h = silu([z, m] W1 + b1),   k = h + silu(h W2 + b2)
    (change, log spread) = k W3 + b3 + (z L, 0)
    ```

    Changes of glucose from the origin to each horizon, and their spread, in units of what is usual there.
    """

    first: Dense
    """`W1`, `b1`."""
    second: Dense
    """`W2`, `b2`."""
    last: Dense
    """`W3`, `b3`."""
    direct: Float[Array, "columns horizons"]
    """`L`."""

    def __init__(self, width: int, *, key: Key):
        """Random hidden layers; the last one is small, and the linear map zero.

        Args:
            width: units of a hidden layer.
            key: draws them.
        """
        one, two, three = jax.random.split(key, 3)
        self.first = Dense(len(COLUMNS) + len(MAY_LACK), width, spread=1.0, key=one)
        self.second = Dense(width, width, spread=1.0, key=two)
        self.last = Dense(width, 2 * len(KNOTS_MIN), spread=0.1, key=three)
        self.direct = jnp.zeros((len(COLUMNS), len(KNOTS_MIN)))

    def __call__(
        self, z: Float[Array, "rows columns"], missing: Float[Array, "rows groups"]
    ) -> tuple[Float[Array, "rows horizons"], Float[Array, "rows horizons"]]:
        h = jax.nn.silu(self.first(jnp.concatenate([z, missing], axis=1)))
        change, log_sd = jnp.split(self.last(h + jax.nn.silu(self.second(h))), 2, axis=1)
        return change + z @ self.direct, log_sd


def standard(
    columns: Float[Array, "rows columns"], scale: Float[Array, " columns"]
) -> tuple[Float[Array, "rows columns"], Float[Array, "rows groups"]]:
    """Columns in standard units, zero where they are missing, and which groups of them are."""
    missing = jnp.stack([jnp.isnan(columns[:, group[0]]) for group in MAY_LACK], axis=1)
    z = jnp.clip(jnp.nan_to_num(columns) / scale, -_FURTHEST, _FURTHEST)
    return z, missing.astype(columns.dtype)


def expected(
    networks: PopulationNetwork,
    scale: Float[Array, " columns"],
    usual: Float[Array, " horizons"],
    columns: Float[Array, "rows columns"],
) -> tuple[Float[Array, "rows horizons"], Float[Array, "rows horizons"]]:
    """Changes until `KNOTS_MIN` and their standard deviations by all members, a number of the person's spreads."""
    change, log_sd = jax.vmap(lambda network: network(*standard(columns, scale)))(networks)
    return jnp.mean(change, axis=0) * usual, jnp.sqrt(jnp.mean(jnp.exp(2 * log_sd), axis=0)) * usual


@dataclasses.dataclass(frozen=True, eq=False)
class PopulationForecaster:
    """A forecaster that was learnt from some people and is meant for others.

    Example:
        >>> import t1djax
        >>> len(t1djax.shipped_forecaster().people)
        15
    """

    people: tuple[str, ...]
    """Who was learnt from; it says nothing to judge the forecaster by them."""
    scale: Float[np.ndarray, " columns"]
    """Size of each column over the training people, without unit."""
    usual: Float[np.ndarray, " horizons"]
    """Size of the change until each of `KNOTS_MIN`, a number of the person's standard deviations."""
    calibration: Float[np.ndarray, "days horizons"]
    """Factor of standard deviations by which 90 % intervals hold that share of people who were left out: after each of
    `KNOWN_DAYS` of a record, until each of `KNOTS_MIN`; one where nobody was."""
    networks: PopulationNetwork
    """The members, stacked."""

    def __repr__(self) -> str:
        return f"PopulationForecaster({len(self.people)} people)"
