"""A stage of training as a record."""

from typing import Annotated, Literal

import pydantic

from ..training import Optimizer, Stage
from ._base import Strict


class StageConfig(Strict):
    """A stage of training; see `t1djax.Stage`."""

    trains: Literal["joint", "network", "physiology"] = "joint"
    """Which leaves move."""
    steps: int = pydantic.Field(gt=0)
    """How many steps."""
    optimizer: Optimizer = "gauss_newton"
    """`gauss_newton`, or the name of an optax optimiser."""
    learning_rate: float = pydantic.Field(default=3e-3, gt=0)
    """For optax optimisers, without unit."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How the learning rate goes."""
    clip_norm: float | None = pydantic.Field(default=None, gt=0)
    """Largest norm of the gradient, for optax optimisers; without unit."""
    residual_weight: tuple[float, float] = pydantic.Field(default=(1.0, 1.0), strict=False)
    """Weight of the equations against the readings, first and last step; geometric in between. Without unit."""
    balance: Literal["none", "gradient_norm", "ntk"] = "none"
    """How the terms of the loss are balanced, for optax optimisers."""
    causal: float = pydantic.Field(default=0.0, ge=0)
    """How strongly equations wait for earlier ones, for optax optimisers; without unit."""

    @pydantic.model_validator(mode="after")
    def _buildable(self) -> "StageConfig":
        self.stage()  # says what else is wrong, now rather than when it comes to training
        return self

    def stage(self) -> Stage:
        """The stage as training takes it."""
        return Stage(**self.model_dump())


STAGES = pydantic.TypeAdapter(Annotated[tuple[StageConfig, ...], pydantic.Field(strict=False)])
