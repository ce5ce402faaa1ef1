"""What a curriculum is made of: stages, and what is told of their progress."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, get_args

import numpy as np
import optax
from jaxtyping import Float

from .._arguments import ArgumentError
from .._words import each
from ..networks import NetworkOptions, check_numbers
from ..physics import AbstractPhysiology, Magdelaine
from ..question import Mode

GAUSS_NEWTON: Literal["gauss_newton"] = "gauss_newton"
# Of optax, those that need nothing but a gradient and a learning rate, and one that searches along its line.
Optimizer = Literal[
    "gauss_newton", "adabelief", "adagrad", "adam", "adamw", "amsgrad", "lamb", "lbfgs", "lion", "nadam", "radam",
    "rmsprop", "sgd", "yogi",
]  # fmt: skip
"""`gauss_newton`, or the name of an optax optimiser."""
Trains = Literal["joint", "network", "physiology"]
"""Which leaves move: network and free parameters, the network alone, or the free parameters alone."""
Schedule = Literal["constant", "cosine"]
Balance = Literal["none", "gradient_norm", "ntk"]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of training; static, so that each kind of stage is one compiled program.

    Example:
        >>> from t1djax import Stage
        >>> Stage(trains="joint", steps=4000, optimizer="adam", learning_rate=3e-3).chunk
        50

    Raises:
        ArgumentError: naming the field that is not valid.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}

    trains: Trains = "joint"
    """Which leaves move; the others have no gradient and no moments."""
    steps: int = 10
    """How many steps."""
    optimizer: Optimizer = GAUSS_NEWTON
    """`gauss_newton` (the readout and the free parameters, by damped normal equations) or the name of an optax
    optimiser, such as adam or lbfgs, which moves hidden layers too."""
    learning_rate: float = 3e-3
    """Of an optax optimiser; the logarithms of parameters and the weights share it. Not used by lbfgs, which searches
    along its line."""
    schedule: Schedule = "cosine"
    """How the learning rate goes over the stage."""
    clip_norm: float | None = None
    """Largest norm of the gradient for an optax optimiser; None leaves it as it is."""
    residual_weight: tuple[float, float] = (1.0, 1.0)
    """What a residual of 1 mg/dL/min counts against a misfit of one standard deviation of the noise (taken as 1 mg/dL
    at least), at the first and the last step; geometric in between. High weights make the equations a constraint."""
    balance: Balance = "none"
    """Further weights that make the terms of the loss pull alike, for optax optimisers: by the norms of their
    gradients, or by the traces of their neural tangent kernels."""
    causal: float = 0.0
    """How strongly equations wait for earlier ones to be met, for optax optimisers; 0 turns it off."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if isinstance(self.steps, bool) or int(self.steps) != self.steps or self.steps < 1:
            raise ArgumentError("steps", "must be a whole number, at least 1")
        if len(self.residual_weight) != 2 or min(self.residual_weight) <= 0:
            raise ArgumentError("residual_weight", "must be two positive numbers, the first and the last")
        if self.learning_rate <= 0:
            raise ArgumentError("learning_rate", "must be positive")
        if self.causal < 0:
            raise ArgumentError("causal", "must not be negative")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ArgumentError("clip_norm", "must be positive")
        for name, kind in (("schedule", Schedule), ("balance", Balance), ("trains", Trains), ("optimizer", Optimizer)):
            if getattr(self, name) not in get_args(kind):
                raise ArgumentError(name, f"must be one of {', '.join(get_args(kind))}, not {getattr(self, name)!r}")
        for name in ("balance", "causal", "clip_norm"):
            if self.optimizer == GAUSS_NEWTON and getattr(self, name) not in ("none", 0, None):
                raise ArgumentError(name, "goes with an optax optimiser, not with gauss_newton")

    @property
    def chunk(self) -> int:
        """Steps per compiled chunk at the most: enough to keep the progress lively."""
        return 2 if self.optimizer == GAUSS_NEWTON else 50

    def weights(self) -> Float[np.ndarray, " steps"]:
        """The residual's weight at each step, `(steps,)`."""
        return np.geomspace(*self.residual_weight, self.steps)

    def transformation(self) -> optax.GradientTransformationExtraArgs:
        """The optax optimiser with its schedule."""
        if self.optimizer == "lbfgs":
            return optax.lbfgs()
        rate = optax.constant_schedule(self.learning_rate)
        if self.schedule == "cosine":
            rate = optax.cosine_decay_schedule(self.learning_rate, self.steps)
        clip = optax.identity() if self.clip_norm is None else optax.clip_by_global_norm(self.clip_norm)
        return optax.with_extra_args_support(optax.chain(clip, getattr(optax, self.optimizer)(rate)))


_LAST_WEIGHT = 1_000.0  # the equations hold, and the fit is that of least squares on them
# The same in a body that is not linear: of ten people without noise and six free, 0.02 % off; 1.5 % at ten times that,
# where what the network cannot say of the equations outweighs what the readings say of weakly determined parameters.
_LAST_NONLINEAR = 100.0


def stays_linear(body: type[AbstractPhysiology], free: Iterable[str], precision: str) -> bool:
    """Whether the equations are linear in the states with coefficients that none of these parameters moves.

    In single precision the answer is no: the readout cannot be eliminated to the digits that weakly determined
    parameters hang on (ten patients, noise of 10 mg/dL, `ksi`, `kl`, `kr_Vb` and `G0` free: 45 % off in place of 4 %).
    """
    return body.facts.linear and precision == "float64" and not body.facts.coefficients & set(free)


def default_stages(
    mode: Mode,
    free: str | Iterable[str] = (),
    options: NetworkOptions | None = None,
    *,
    warm: bool = False,
    priors: bool = False,
    body: type[AbstractPhysiology] = Magdelaine,
) -> tuple[Stage, ...]:
    """The curriculum that is used where none is given: Gauss-Newton with a high weight of the equations.

    Where the equations are linear in network and parameters together, as `Magdelaine` is but for time constants, a few
    steps do, at a low weight, which is better conditioned, and at the last one. With a time constant free, in single
    precision, or in a body that is not linear, the weight rises: a low one first lets the network follow the readings
    while parameters are wrong. So it does with priors, which are weighed by the misfit. Parameters alone come first in
    no curriculum of ours: against a network that has not seen the readings the equations say nothing about them.

    Args:
        mode: forward or inverse.
        free: what is estimated, `G0` included.
        options: of the network; one whose hidden layers must be trained gets a stage of Adam first.
        warm: whether the fit starts from an earlier one: then hidden layers are trained, and half of the steps are
            enough; a rising weight begins at a tenth of the last.
        priors: whether some of the free parameters have one. What is on board at the start always does.
        body: of which physiology.

    Returns:
        The stages in order.

    Example:
        >>> from t1djax.training import default_stages
        >>> default_stages("inverse", ["ksi"])[0].steps, default_stages("inverse", ["ksi", "Tr"])[0].steps
        (3, 24)
    """
    free = set(each(free))
    precision = "float64" if options is None else options.precision
    if stays_linear(body, free, precision) and not priors and not free & set(body.initial_states()):
        only = mode == "forward" and not free
        at = lambda steps, weight: Stage(
            trains="network" if only else "joint", steps=steps, residual_weight=(weight, weight)
        )
        last = (at(1 if warm else 2 if only else 3, 1.0), at(2 if warm or only else 3, _LAST_WEIGHT))
    else:
        steps = 24 if body.facts.coefficients & free or not body.facts.linear else 12
        trains, steps = ("network", 6) if mode == "forward" and not free else ("joint", steps)
        most = _LAST_WEIGHT if body.facts.linear else _LAST_NONLINEAR
        last = (Stage(trains=trains, steps=steps, residual_weight=(1.0, most)),)
        if warm:  # parameters that are nearly right need no network that is free of them
            last = (dataclasses.replace(last[0], steps=steps // 2, residual_weight=(most / 10, most)),)
    if warm or options is None or options.random_layers_suffice:
        return last
    # A constant weight and a high rate: measured, see `python -m benchmarks optimisers`.
    first = Stage(
        trains=last[0].trains, steps=500, optimizer="adam", learning_rate=0.01, residual_weight=(100.0, 100.0)
    )
    return (first, *last)


class Progress(NamedTuple):
    """What is told after each chunk of steps. Where a cohort trains in parts, the patients are those of one part, and
    steps count through all of them."""

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
    losses: Mapping[str, np.ndarray] = {}
    """Loss terms by name: the misfit again, and the mean squares of the equations' residuals, `(patients,)`."""
    gradient_norm: np.ndarray | None = None
    """Norm of the gradient before the last step of the chunk, in the units of the stage's objective, `(patients,)`."""

    def take(self, rows: Sequence[int]) -> "Progress":
        """What is told of some of the rows, by position.

        Args:
            rows: positions, from 0.

        Returns:
            The same of those rows alone.
        """
        at = np.asarray(rows)
        part = lambda by_name: {name: values[at] for name, values in by_name.items()}
        norm = None if self.gradient_norm is None else self.gradient_norm[at]
        return self._replace(
            patients=len(rows),
            loss=self.loss[at],
            values=part(self.values),
            losses=part(self.losses),
            gradient_norm=norm,
        )
