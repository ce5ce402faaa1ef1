"""The training loop: Python over stages and chunks, compiled scans inside, the whole cohort at once."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from .._compile import Effort, Spread, compile_once, spread_over, training_block
from ..data import Series
from ..losses import Drive, Terms, losses
from ..records import History, TrainState
from ..twin import Twin
from ._factored import MOST_STEPS, Course, factored_steps
from ._first_order import Moments, first_order_steps, initial_moments
from ._gauss_newton import Damping, Prepared, gauss_newton_step, initial_damping, prepare, prepared_losses
from ._keeper import Keeper
from ._stages import GAUSS_NEWTON, Progress, Stage, stays_linear

_FEW = 32  # patients, for whom programs that run once are not worth optimising


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
    spread: Spread | None = None,
    keeper: Keeper | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train a cohort of twins, stacked along a leading axis, through the stages of a curriculum.

    Args:
        twins: one per patient, stacked.
        data: the patients' arrays, stacked; only `fit` readings are looked at.
        d: their collocation, stacked.
        stages: the curriculum.
        spread: on which devices, in which blocks; by `spread_over` if not given.
        keeper: keeps the state after chunks, and gives back the one to go on from.
        on_progress: called after each chunk; nothing else returns to the host before the end.
    """
    spread = spread_over(data.time_min.shape[0], training_block()) if spread is None else spread
    run = _Run(twins, data, d, tuple(stages), spread, keeper, on_progress)
    run.through()
    if not (stages and stages[-1].optimizer == GAUSS_NEWTON and stages[-1].trains == "joint"):
        run.look(stages[-1].residual_weight[1] if stages else 1.0)
    return run.outcome()


class _Run:
    """Bookkeeping of one training run on the host."""

    def __init__(
        self,
        twins: Twin,
        data: Series,
        d: Drive,
        stages: tuple[Stage, ...],
        spread: Spread,
        keeper: Keeper | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.data, self.drive, self.stages = data, d, stages
        self.spread, self.keeper, self.on_progress = spread, keeper, on_progress
        self.patients, self.total = data.time_min.shape[0], sum(stage.steps for stage in stages)
        self.compile_s, self.began = 0.0, time.perf_counter()
        self.prepared: Prepared | None = None
        free = len(twins.physiology.free)
        nothing = np.zeros((self.patients, free, free), twins.scales.G.dtype)
        solver = self.solver_like(twins, stages[0]) if stages else None
        self.state = TrainState(0, 0, 0, twins, solver, nothing, np.zeros(0, int), {}, {})
        kept = None if keeper is None else keeper.restore(self.like)
        if kept is not None:
            self.state = kept._replace(**self.spread.place({"twins": kept.twins, "solver": kept.solver}))
        elif not (stages and self.factored_once(stages[0])):  # whose first chunk looks at the start itself
            self.look_around()
        self.began_at = self.state.step

    def solver_like(self, twins: Twin, stage: Stage) -> Any:
        """Shapes and types of what a stage's solver keeps."""
        return jax.eval_shape(jax.vmap(initial_solver(stage)), twins)

    def like(self, number: int) -> TrainState:
        return self.state._replace(stage=number, solver=self.solver_like(self.state.twins, self.stages[number - 1]))

    def call(self, make: Callable[..., Any], static: tuple[Any, ...], *args: Any, effort: Effort = "some") -> Any:
        program, seconds = compile_once(make, (*static, self.spread), args, effort=effort)
        self.compile_s += seconds
        return program(*args)

    def through(self) -> None:
        """All stages, from where the state is."""
        for number, stage in enumerate(self.stages, start=1):
            at = self.state
            if number < at.stage:
                continue
            kind = _kind(stage)
            if number > at.stage:  # else the solver goes on with what it had
                solver = self.call(_initial_program, (kind,), at.twins, effort=effort_once(self.patients))
                self.state = at = at._replace(stage=number, chunk=0, solver=solver)
            if not _fixed_basis(stage):
                self.prepared = None  # of a basis that moves now
            once = self.factored_once(stage)
            length = MOST_STEPS if once else stage.chunk
            weights = self.as_weights(stage.weights())
            chunks = np.split(weights, range(length, stage.steps, length))
            for weights in chunks[at.chunk :]:
                if once:
                    self.factored(weights)
                else:
                    self.steps(stage, kind, weights)
                if self.keeper is not None:
                    self.keeper.keep(self.state, stage_ends=self.state.chunk == len(chunks))

    def factored_once(self, stage: Stage) -> bool:
        """Whether one factorisation serves several steps of a stage."""
        first, last = stage.residual_weight
        solves = stage.optimizer == GAUSS_NEWTON and stage.trains != "physiology"
        twins = self.state.twins
        return solves and first == last and stays_linear(twins.physiology.free, twins.scales.G.dtype.name)

    def factored(self, weights: np.ndarray) -> None:
        """A chunk of steps of one weight, each of them noted, and the start before the first one."""
        at, steps = self.state, len(weights)
        moves = np.asarray(self.stages[at.stage - 1].trains != "network")
        shared = (weights[0], np.asarray(steps), moves)
        args = (at.twins, at.solver, self.prepare(at.twins), self.drive, *shared)
        twins, solver, course = self.call(_factored_program, (), *args)
        self.state = at._replace(chunk=at.chunk + 1, twins=twins, solver=solver, information=solver.information)
        course = jax.tree.map(np.asarray, course)
        for i in range(1 if at.steps.size else 0, steps + 1):
            row = jax.tree.map(lambda x, i=i: x[:, i], course)
            self.state = self.state._replace(step=at.step + i)
            self.note(row.losses, row.values, row.gradient_norm)

    def steps(self, stage: Stage, kind: Stage, weights: np.ndarray) -> None:
        """A chunk of steps."""
        at = self.state
        if stage.optimizer != GAUSS_NEWTON:
            args = (at.twins, at.solver, self.data, self.drive, weights)
            twins, solver = self.call(_first_order_program, (kind,), *args, effort="most")
        else:
            moves = (np.asarray(stage.trains != "physiology"), np.asarray(stage.trains != "network"))
            twins, solver = self.gauss_newton(at.twins, at.solver, weights, moves)
            at = at._replace(information=solver.information)
        self.state = at._replace(chunk=at.chunk + 1, step=at.step + len(weights), twins=twins, solver=solver)
        self.look_around()

    def gauss_newton(self, twins: Twin, state: Any, weights: np.ndarray, moves: tuple[Any, Any]) -> tuple[Twin, Any]:
        return self.call(_gauss_newton_program, (), twins, state, self.prepare(twins), self.drive, weights, moves)

    def prepare(self, twins: Twin) -> Prepared:
        if self.prepared is not None:
            return self.prepared
        effort = effort_once(self.patients)
        made: Prepared = self.call(_prepare_program, (), twins, self.data, self.drive, effort=effort)
        self.prepared = made
        return made

    def look(self, weight: float) -> None:
        """What the data say of the free parameters, where no Gauss-Newton stage came last."""
        twins = self.state.twins
        state = self.call(_initial_program, (_kind(Stage()),), twins, effort=effort_once(self.patients))
        # Several steps, so that damping can settle where the arithmetic allows; the moved twins are thrown away.
        weights, moves = self.as_weights([weight, weight]), (np.asarray(True), np.asarray(True))
        for _ in range(4):
            twins, state = self.gauss_newton(twins, state, weights, moves)
        self.state = self.state._replace(information=state.information)

    def as_weights(self, weights: Any) -> np.ndarray:
        return np.asarray(weights, dtype=self.state.twins.scales.G.dtype)

    def look_around(self) -> None:
        """Note where training is."""
        at = self.state
        stage = self.stages[max(at.stage, 1) - 1] if self.stages else None
        terms: Terms
        if stage is not None and stage.optimizer == GAUSS_NEWTON:  # the network need not be evaluated again
            terms = self.call(_prepared_losses_program, (), at.twins, self.prepare(at.twins), self.drive)
        else:
            terms = self.call(_losses_program, (), at.twins, self.data, self.drive)
        norm = at.solver.gradient_norm if at.step else None
        self.note(terms, at.twins.physiology.estimates(), norm)

    def note(self, terms: Terms, estimates: dict[str, Any], gradient_norm: Any) -> None:
        """Add to the course, and tell of it."""
        at = self.state
        losses = {name: np.asarray(getattr(terms, name)) for name in ("data", "G", "I", "D")}
        values = {symbol: np.asarray(x) for symbol, x in estimates.items()}
        self.state = at._replace(
            steps=np.append(at.steps, at.step),
            values={s: _longer(at.values.get(s), v) for s, v in values.items()},
            losses={s: _longer(at.losses.get(s), v) for s, v in losses.items()},
        )
        if self.on_progress is not None and at.step:
            spent = time.perf_counter() - self.began - self.compile_s
            left = spent / (at.step - self.began_at) * (self.total - at.step)
            norm = np.asarray(gradient_norm)
            self.on_progress(
                Progress(at.stage, at.step, self.total, self.patients, losses["data"], values, left, losses, norm)
            )

    def outcome(self) -> Trained:
        at = self.state
        run_s = time.perf_counter() - self.began - self.compile_s
        history = History(at.steps, dict(at.values), dict(at.losses))
        return Trained(at.twins, at.information, history, self.compile_s, run_s)


def effort_once(patients: int) -> Effort:
    """Of the compiler, for a program that runs once for so many patients."""
    return "least" if patients <= _FEW else "some"


def _longer(course: np.ndarray | None, row: np.ndarray) -> np.ndarray:
    return row[None] if course is None else np.concatenate([course, row[None]])


def _kind(stage: Stage) -> Stage:
    """What a stage's programs depend on: the weights are data, and Gauss-Newton's other fields are too."""
    if stage.optimizer == GAUSS_NEWTON:
        return Stage()
    return dataclasses.replace(stage, residual_weight=(1.0, 1.0))


def _fixed_basis(stage: Stage) -> bool:
    return stage.optimizer == GAUSS_NEWTON or stage.trains == "physiology"


def initial_solver(stage: Stage) -> Callable[[Twin], Any]:
    """Makes what a stage's solver starts with."""
    if stage.optimizer == GAUSS_NEWTON:
        return initial_damping
    return lambda twin: initial_moments(twin, stage)


def _prepare_program(spread: Spread) -> Callable[..., Prepared]:
    return spread.over_patients(prepare)


def _initial_program(stage: Stage, spread: Spread) -> Callable[..., Any]:
    return spread.over_patients(initial_solver(stage))


def _losses_program(spread: Spread) -> Callable[..., Terms]:
    return spread.over_patients(losses)


def _prepared_losses_program(spread: Spread) -> Callable[..., Terms]:
    return spread.over_patients(prepared_losses)


def _gauss_newton_program(spread: Spread) -> Callable[..., tuple[Twin, Damping]]:
    def one(
        twin: Twin, state: Damping, prepared: Prepared, d: Drive, weights: Array, moves: tuple[Array, Array]
    ) -> tuple[Twin, Damping]:
        def step(carry: tuple[Twin, Damping], weight: Array) -> tuple[tuple[Twin, Damping], None]:
            return gauss_newton_step(*carry, weight, prepared, d, moves), None

        return jax.lax.scan(step, (twin, state), weights)[0]

    return spread.for_factorisations().over_patients(one, shared=2)


def _factored_program(spread: Spread) -> Callable[..., tuple[Twin, Damping, Course]]:
    return spread.for_factorisations().over_patients(factored_steps, shared=3)


def _first_order_program(stage: Stage, spread: Spread) -> Callable[..., Any]:
    def one(twin: Twin, state: Moments, data: Series, d: Drive, weights: Array) -> tuple[Twin, Moments]:
        return first_order_steps(twin, state, weights, data, d, stage)

    return spread.over_patients(one, shared=1)
