"""What a curriculum is made of: stages, and what is told of their progress."""

import dataclasses
from collections.abc import Iterable
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from ..problem import Mode

GAUSS_NEWTON = "gauss_newton"
Trains = Literal["joint", "network", "physiology"]
"""Which leaves move: network and free parameters, the network alone, or the free parameters alone."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of training; static, so that each kind of stage is one compiled program.

    Example:
        >>> from t1djax import Stage
        >>> Stage(trains="joint", steps=4000, optimizer="adam", learning_rate=3e-3).chunk
        50

    Raises:
        ValueError: naming the field that is not valid.
    """

    trains: Trains = "joint"
    """Which leaves move; the others have no gradient and no moments."""
    steps: int = 10
    """How many steps."""
    optimizer: str = GAUSS_NEWTON
    """`gauss_newton` (the readout and the free parameters, by damped normal equations) or the name of an optax
    optimiser, which moves hidden layers too."""
    learning_rate: float = 3e-3
    """Of an optax optimiser; the logarithms of parameters and the weights share it."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How the learning rate goes over the stage."""
    residual_weight: tuple[float, float] = (1.0, 1.0)
    """What a residual of 1 mg/dL/min counts against a misfit of 1 mg/dL, at the first and the last step; geometric
    in between. High weights make the equations a constraint."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError("Stage: steps must be at least 1")
        if min(self.residual_weight) <= 0:
            raise ValueError("Stage: residual_weight must be positive")
        if self.trains not in ("joint", "network", "physiology"):
            raise ValueError(f"Stage: trains must be joint, network or physiology, not {self.trains!r}")
        if self.optimizer != GAUSS_NEWTON and not callable(getattr(optax, self.optimizer, None)):
            raise ValueError(
                f"Stage: optimizer {self.optimizer!r} is neither {GAUSS_NEWTON} nor an optax optimiser such as adam"
            )

    @property
    def chunk(self) -> int:
        """Steps per compiled chunk: the largest divisor of `steps` that keeps the progress lively."""
        most = 2 if self.optimizer == GAUSS_NEWTON else 50
        return max(n for n in range(1, most + 1) if self.steps % n == 0)

    def weights(self) -> np.ndarray:
        """The residual's weight at each step, `(steps,)`."""
        return np.geomspace(*self.residual_weight, self.steps)

    def transformation(self) -> optax.GradientTransformation:
        """The optax optimiser with its schedule."""
        rate = optax.constant_schedule(self.learning_rate)
        if self.schedule == "cosine":
            rate = optax.cosine_decay_schedule(self.learning_rate, self.steps)
        return optax.chain(optax.clip_by_global_norm(1e6), getattr(optax, self.optimizer)(rate))


def default_stages(mode: Mode, free: Iterable[str] = ()) -> tuple[Stage, ...]:
    """The curriculum that is used where none is given: Gauss-Newton with a rising weight of the equations.

    A low weight first lets the network follow the readings while parameters are wrong; at the high weight the
    equations hold, and the fit is that of least squares on them.

    Args:
        mode: forward or inverse.
        free: what is estimated, `G0` included. Time constants enter non-linearly and get twice the steps.

    Example:
        >>> from t1djax import default_stages
        >>> default_stages("inverse", ["ksi"])[0].steps, default_stages("inverse", ["ksi", "Tr"])[0].steps
        (12, 24)
    """
    free = set(free)
    steps = 24 if {"Tu", "Tr"} & free else 12
    joint = Stage(trains="joint", steps=steps, residual_weight=(10.0, 10_000.0))
    if mode == "inverse" or free:
        return (joint,)
    return (dataclasses.replace(joint, trains="network", steps=6),)


@dataclasses.dataclass(frozen=True)
class PINNOptions:
    """Shape of the network and of its collocation.

    Example:
        >>> from t1djax import PINNOptions
        >>> PINNOptions(width=64).cells(2880.0)
        576
    """

    width: int = 128
    """Units of a hidden layer."""
    depth: int = 2
    """Hidden layers."""
    octaves: int = 7
    """Fourier octaves of time."""
    cell_min: float = 5.0
    """Length of a collocation cell, min."""
    precision: Literal["float32", "float64"] = "float64"
    """Arithmetic. Gauss-Newton forms normal equations, which want float64; first-order training is content with
    float32."""

    def cells(self, span_min: float) -> int:
        """Collocation cells of a window of this length, min."""
        return max(1, int(np.ceil(span_min / self.cell_min)))

    @property
    def dtype(self) -> np.dtype:
        """The NumPy type of `precision`."""
        return jnp.dtype(self.precision)


class Progress(NamedTuple):
    """What is told after each chunk of steps."""

    stage: int
    """Number of the stage, from 1."""
    step: int
    """Steps taken, over all stages."""
    total_steps: int
    """Steps there are, over all stages."""
    patients: int
    """Patients that train together."""
    loss: np.ndarray
    """Mean squared misfit to the fit readings, (mg/dL)^2, `(patients,)`."""
    values: dict[str, np.ndarray]
    """Estimates by symbol, `(patients,)`."""
    seconds_left: float | None
    """Estimated time left, s; None where it is not known yet."""
