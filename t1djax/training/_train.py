"""The training loop: Python over stages and chunks, compiled scans inside, the whole cohort at once."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from .._compile import compile_once
from ..data import Series
from ..losses import Drive, Terms, losses
from ..records import History
from ..twin import Twin
from ._first_order import first_order_steps, initial_moments
from ._gauss_newton import Damping, Prepared, gauss_newton_step, initial_damping, prepare
from ._stages import GAUSS_NEWTON, Progress, Stage

BLOCK = 32  # patients per vmapped block: bounds the memory of their normal equations


class Trained(NamedTuple):
    """The outcome of `train`."""

    twins: Twin
    """Trained twins, stacked."""
    information: Array
    """Of the readings about the free coordinates, network eliminated, per (mg/dL)^2, `(patients, free, free)`."""
    history: History
    """Estimates and losses after each chunk."""
    compile_s: float
    """Seconds spent compiling."""
    run_s: float
    """Seconds spent training."""


def train(
    twins: Twin,
    data: Series,
    d: Drive,
    stages: Sequence[Stage],
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train a cohort of twins, stacked along a leading axis, through the stages of a curriculum.

    Args:
        twins: one per patient, stacked.
        data: the patients' arrays, stacked; only `fit` readings are looked at.
        d: their collocation, stacked.
        stages: the curriculum.
        on_progress: called after each chunk; nothing else returns to the host before the end.
    """
    run = _Run(twins, data, d, sum(stage.steps for stage in stages), on_progress)
    for number, stage in enumerate(stages, start=1):
        if stage.optimizer == GAUSS_NEWTON:
            run.gauss_newton(number, stage)
        else:
            run.first_order(number, stage)
    if not (stages and stages[-1].optimizer == GAUSS_NEWTON and stages[-1].trains == "joint"):
        run.look(stages[-1].residual_weight[1] if stages else 1.0)
    return run.outcome()


class _Run:
    """Bookkeeping of one training run on the host."""

    def __init__(
        self, twins: Twin, data: Series, d: Drive, total: int, on_progress: Callable[[Progress], None] | None
    ) -> None:
        self.twins, self.data, self.drive = twins, data, d
        self.patients = data.time_min.shape[0]
        self.total, self.step, self.on_progress = total, 0, on_progress
        self.compile_s, self.began = 0.0, time.perf_counter()
        self.steps: list[int] = []
        self.courses: list[tuple[dict[str, np.ndarray], Terms]] = []
        self.prepared: Prepared | None = None
        self.information: Array | None = None
        self.record(0)

    def call(self, make: Callable[..., Any], static: tuple[Any, ...], *args: Any, once: bool = False) -> Any:
        many = self.patients > BLOCK
        program, seconds = compile_once(make, (*static, many), args, quick=once and not many)
        self.compile_s += seconds
        return program(*args)

    def gauss_newton(self, number: int, stage: Stage) -> None:
        if self.prepared is None:
            self.prepared = self.call(_prepare_program, (), self.twins, self.data, self.drive, once=True)
        state = self.call(_damping_program, (), self.twins, once=True)
        moves = (np.asarray(stage.trains != "physiology"), np.asarray(stage.trains != "network"))
        for weights in self.chunks(stage):
            self.twins, state = self.call(
                _gauss_newton_program, (), self.twins, state, weights, self.prepared, self.drive, moves
            )
            self.step += len(weights)
            self.record(number)
        self.information = state.information

    def look(self, weight: float) -> None:
        """What the data say of the free parameters, where no Gauss-Newton stage came last."""
        if self.prepared is None:
            self.prepared = self.call(_prepare_program, (), self.twins, self.data, self.drive, once=True)
        state = self.call(_damping_program, (), self.twins, once=True)
        # Several steps, so that damping can settle where the arithmetic allows; the moved twins are thrown away.
        weights, moves = self.as_weights([weight, weight]), (np.asarray(True), np.asarray(True))
        twins = self.twins
        for _ in range(4):
            twins, state = self.call(_gauss_newton_program, (), twins, state, weights, self.prepared, self.drive, moves)
        self.information = state.information

    def first_order(self, number: int, stage: Stage) -> None:
        if stage.trains != "physiology":
            self.prepared = None  # of a basis that moves now
        kind = dataclasses.replace(stage, residual_weight=(1.0, 1.0))  # the weights are data: no program of their own
        state = self.call(_moments_program, (kind,), self.twins, once=True)
        for weights in self.chunks(stage):
            self.twins, state = self.call(
                _first_order_program, (kind,), self.twins, state, weights, self.data, self.drive
            )
            self.step += len(weights)
            self.record(number)

    def chunks(self, stage: Stage) -> list[np.ndarray]:
        return np.split(self.as_weights(stage.weights()), stage.steps // stage.chunk)

    def as_weights(self, weights: Any) -> np.ndarray:
        return np.asarray(weights, dtype=self.twins.scales.G.dtype)

    def record(self, stage: int) -> None:
        terms = self.call(_losses_program, (), self.twins, self.data, self.drive)
        values = {symbol: np.asarray(x) for symbol, x in self.twins.physiology.estimates().items()}
        self.steps.append(self.step)
        self.courses.append((values, jax.tree.map(np.asarray, terms)))
        if self.on_progress is not None and self.step:
            spent = time.perf_counter() - self.began - self.compile_s
            left = spent / self.step * (self.total - self.step)
            self.on_progress(
                Progress(stage, self.step, self.total, self.patients, self.courses[-1][1].data, values, left)  # pyright: ignore[reportArgumentType]
            )

    def outcome(self) -> Trained:
        values, terms = zip(*self.courses, strict=True)
        symbols = values[0]
        history = History(
            step=np.asarray(self.steps),
            values={symbol: np.stack([v[symbol] for v in values]) for symbol in symbols},
            losses={name: np.stack([getattr(t, name) for t in terms]) for name in ("data", "G", "I", "D")},
        )
        assert self.information is not None
        run_s = time.perf_counter() - self.began - self.compile_s
        return Trained(self.twins, self.information, history, self.compile_s, run_s)


def _over_patients(f: Callable[..., Any], in_blocks: bool) -> Callable[..., Any]:
    """`vmap`, in blocks where there are many patients."""
    if in_blocks:
        return lambda *args: jax.lax.map(lambda each: f(*each), args, batch_size=BLOCK)
    return jax.vmap(f)


def _prepare_program(in_blocks: bool) -> Callable[..., Prepared]:
    return _over_patients(prepare, in_blocks)


def _damping_program(in_blocks: bool) -> Callable[..., Damping]:
    return _over_patients(initial_damping, in_blocks)


def _losses_program(in_blocks: bool) -> Callable[..., Terms]:
    return _over_patients(losses, in_blocks)


def _gauss_newton_program(in_blocks: bool) -> Callable[..., tuple[Twin, Damping]]:
    def program(
        twins: Twin, states: Damping, weights: Array, prepared: Prepared, d: Drive, moves: tuple[Array, Array]
    ) -> tuple[Twin, Damping]:
        def one(twin: Twin, state: Damping, prepared: Prepared, d: Drive) -> tuple[Twin, Damping]:
            def step(carry: tuple[Twin, Damping], weight: Array) -> tuple[tuple[Twin, Damping], None]:
                return gauss_newton_step(*carry, weight, prepared, d, moves), None

            return jax.lax.scan(step, (twin, state), weights)[0]

        return _over_patients(one, in_blocks)(twins, states, prepared, d)

    return program


def _moments_program(stage: Stage, in_blocks: bool) -> Callable[..., Any]:
    return _over_patients(lambda twin: initial_moments(twin, stage), in_blocks)


def _first_order_program(stage: Stage, in_blocks: bool) -> Callable[..., Any]:
    def program(twins: Twin, states: Any, weights: Array, data: Series, d: Drive) -> Any:
        one = lambda twin, state, data, d: first_order_steps(twin, state, weights, data, d, stage)
        return _over_patients(one, in_blocks)(twins, states, data, d)

    return program
