"""The training loop: Python over stages and chunks, compiled scans inside, the whole cohort at once."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..data import Series
from ..losses import Drive, Terms, losses
from ..programs import Effort, Shares, Spread, on_device, spread_over, training_block
from ..records import History, TrainState
from ..twin import Twin
from ._factored import MOST_STEPS, factored_steps, reduced
from ._first_order import first_order_steps, initial_moments
from ._gauss_newton import (
    Damping,
    Evaluated,
    Prepared,
    Reduced,
    gauss_newton_step,
    initial_damping,
    prepare,
    prepared_losses,
)
from ._keeper import Keeper
from ._stages import GAUSS_NEWTON, Progress, Stage, stays_linear

_FEW = 32  # patients, for whom programs that run once are not worth optimising


class Trained(NamedTuple):
    """The outcome of `train`."""

    shares: Shares[Twin]
    """Trained twins, as the threads hold them."""
    reduced: Reduced
    """What readings and equations say of the free coordinates at the end, float64, stacked."""
    history: History
    """Estimates and losses after each chunk."""
    compile_s: float
    """Seconds spent compiling."""
    run_s: float
    """Seconds spent training."""

    @property
    def twins(self) -> Twin:
        """Trained twins, stacked."""
        return on_device(self.shares.joined())


def train(
    twins: Twin | Shares[Twin],
    data: Series | Shares[Series],
    d: Drive | Shares[Drive],
    stages: Sequence[Stage],
    *,
    spread: Spread | None = None,
    keeper: Keeper | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train a cohort of twins, stacked along a leading axis, through the stages of a curriculum.

    Where a spread is given, all is split already. Of `data` only `fit` readings are looked at. `keeper` keeps the state
    after chunks, and gives back the one to go on from; else nothing but progress returns to the host before the end.
    """
    if spread is None:
        patients = jax.tree.leaves(data)[0].shape[0]
        spread = spread_over(patients, training_block()).on_threads(patients)
    twins = twins if isinstance(twins, Shares) else spread.split(twins)
    data = data if isinstance(data, Shares) else spread.split(data)
    d = d if isinstance(d, Shares) else spread.split(d)
    run = _Run(twins, data, d, tuple(stages), spread, keeper, on_progress)
    run.through()
    return run.outcome()


class _At(NamedTuple):
    """What of `TrainState` the host holds for all patients at once; see there."""

    stage: int
    chunk: int
    step: int
    steps: np.ndarray
    values: Mapping[str, np.ndarray]
    losses: Mapping[str, np.ndarray]


class _Run:
    """Bookkeeping of one training run on the host."""

    def __init__(
        self,
        twins: Shares[Twin],
        data: Shares[Series],
        d: Shares[Drive],
        stages: tuple[Stage, ...],
        spread: Spread,
        keeper: Keeper | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.data, self.drive, self.stages = data, d, stages
        self.spread, self.keeper, self.on_progress = spread, keeper, on_progress
        self.patients, self.total = data.rows, sum(stage.steps for stage in stages)
        self.compile_s, self.began = 0.0, time.perf_counter()
        self.prepared: Shares[Prepared | Evaluated] | None = None
        self.body = twins.each[0].physiology.body
        self.free, self.dtype = twins.each[0].physiology.free, twins.each[0].scales.noise.dtype
        self.twins, self.solver = twins, Shares[Any]((None,) * len(twins.each), twins.rows)
        self.at = _At(0, 0, 0, np.zeros(0, int), {}, {})
        kept = None if keeper is None else keeper.restore(self.like)
        if kept is not None:
            self.twins, self.solver = spread.split(kept.twins), spread.split(kept.solver)
            self.at = _At(*(getattr(kept, name) for name in _At._fields))
        elif not (stages and self.factored_once(stages[0])):  # whose first chunk looks at the start itself
            self.look_around()
        self.began_at = self.at.step

    def like(self, number: int) -> TrainState:
        twins = self.twins.joined()
        solver = jax.eval_shape(jax.vmap(functools.partial(initial_solver, stage=self.stages[number - 1])), twins)
        return TrainState(twins=twins, solver=solver, **self.at._replace(stage=number)._asdict())

    def call(
        self, one: Callable[..., Any], *each: Shares[Any], factorises: bool = False, **options: Any
    ) -> Shares[Any]:
        spread = self.spread.for_factorisations() if factorises else self.spread
        found, seconds = spread.call(one, *each, **options)
        self.compile_s += seconds
        return found

    def through(self) -> None:
        """All stages, from where the state is."""
        for number, stage in enumerate(self.stages, start=1):
            if number < self.at.stage:
                continue
            kind = _kind(stage)
            if number > self.at.stage:  # else the solver goes on with what it had
                self.solver = self.call(initial_solver, self.twins, static=(kind,), effort=effort_once(self.patients))
                self.at = self.at._replace(stage=number, chunk=0)
            if not _fixed_basis(stage):
                self.prepared = None  # of a basis that moves now
            once = self.factored_once(stage)
            most = MOST_STEPS if once else stage.chunk
            end = sum(stage.steps for stage in self.stages[:number])
            weights = self.as_weights(stage.weights())[self.at.step - end + stage.steps :]
            for part in np.array_split(weights, -(-len(weights) // most)) if weights.size else ():
                if once:
                    self.factored(part)
                else:
                    self.steps(stage, kind, part)
                if self.keeper is not None:
                    twins, solver = self.twins.joined(), self.solver.joined()
                    state = TrainState(twins=twins, solver=solver, **self.at._asdict())
                    self.keeper.keep(state, stage_ends=state.step == end)

    def factored_once(self, stage: Stage) -> bool:
        """Whether one factorisation serves several steps of a stage."""
        first, last = stage.residual_weight
        solves = stage.optimizer == GAUSS_NEWTON and stage.trains != "physiology"
        return solves and first == last and stays_linear(self.body, self.free, self.dtype.name)

    def factored(self, weights: np.ndarray) -> None:
        """A chunk of steps of one weight, each of them noted, and the start before the first one."""
        at, steps = self.at, len(weights)
        moves = np.asarray(self.stages[at.stage - 1].trains != "network")
        each = (self.twins, self.solver, self.prepare(), self.drive)
        shared = (weights[0], np.asarray(steps), moves)
        self.twins, self.solver, courses = self.call(factored_steps, *each, shared=shared, factorises=True).members()
        self.at = at._replace(chunk=at.chunk + 1)
        course = jax.tree.map(np.asarray, courses.joined())
        for i in range(1 if at.steps.size else 0, steps + 1):
            row = jax.tree.map(lambda x, i=i: x[:, i], course)
            self.at = self.at._replace(step=at.step + i)
            self.note(row.losses, row.values, row.gradient_norm)

    def steps(self, stage: Stage, kind: Stage, weights: np.ndarray) -> None:
        """A chunk of steps; weights are filled up to one length, so that any number of steps is one program."""
        at, count = self.at, np.asarray(len(weights))
        filled = np.pad(weights, (0, stage.chunk - len(weights)))
        if stage.optimizer != GAUSS_NEWTON:
            each, shared = (self.twins, self.solver, self.data, self.drive), (filled, count)
            found = self.call(first_order_steps, *each, shared=shared, static=(kind,), effort="most")
        else:
            moves = (np.asarray(stage.trains != "physiology"), np.asarray(stage.trains != "network"))
            each, shared = (self.twins, self.solver, self.prepare(), self.drive), (filled, count, moves)
            found = self.call(gauss_newton_steps, *each, shared=shared, factorises=True)
        self.twins, self.solver = found.members()
        self.at = at._replace(chunk=at.chunk + 1, step=at.step + len(weights))
        self.look_around()

    def prepare(self) -> Shares[Prepared | Evaluated]:
        if self.prepared is None:
            self.prepared = self.call(prepare, self.twins, self.data, self.drive)
        return self.prepared

    def reduced(self) -> Reduced:
        """What readings and equations say of the free coordinates where the twins are."""
        k = len(self.free)
        if not k:
            return Reduced(jnp.zeros((self.patients, k, k)), jnp.zeros((self.patients, k)))
        if self.stages and self.factored_once(self.stages[-1]):  # found with the last of its steps
            found: Reduced = self.solver.pick(lambda solver: solver.reduced).joined()
            if not np.all(np.isnan(found.information)):  # of a state of 0.1.0 that had no step left
                return found
        with jax.enable_x64(True):  # in single precision too little of it is left when the readout is eliminated
            if self.dtype != np.float64:
                self.twins, self.data, self.drive = (x.pick(_wide) for x in (self.twins, self.data, self.drive))
                self.prepared = None
            weight = np.float64(self.stages[-1].residual_weight[1] if self.stages else 1.0)
            each, effort = (self.twins, self.prepare(), self.drive), effort_once(self.patients)
            return self.call(reduced, *each, shared=(weight,), factorises=True, effort=effort).joined()

    def as_weights(self, weights: Any) -> np.ndarray:
        return np.asarray(weights, dtype=self.dtype)

    def look_around(self) -> None:
        """Note where training is."""
        at = self.at
        stage = self.stages[max(at.stage, 1) - 1] if self.stages else None
        terms: Shares[Terms]
        if stage is not None and stage.optimizer == GAUSS_NEWTON:  # the network need not be evaluated again
            terms = self.call(prepared_losses, self.twins, self.prepare(), self.drive)
        else:
            terms = self.call(losses, self.twins, self.data, self.drive)
        norm = self.solver.pick(lambda solver: solver.gradient_norm).joined() if at.step else None
        self.note(terms.joined(), self.twins.pick(lambda twin: twin.physiology.estimates()).joined(), norm)

    def note(self, terms: Terms, estimates: dict[str, Any], gradient_norm: Any) -> None:
        """Add to the course, and tell of it."""
        at = self.at
        equations = np.asarray(terms.equations)
        losses = {"data": np.asarray(terms.data)} | {s: equations[:, i] for i, s in enumerate(self.body.facts.learnt)}
        values = {symbol: np.asarray(x) for symbol, x in estimates.items()}
        self.at = at._replace(
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
        at, twins = self.at, self.twins
        found = jax.tree.map(np.asarray, self.reduced())
        run_s = time.perf_counter() - self.began - self.compile_s
        history = History(at.steps, dict(at.values), dict(at.losses))
        return Trained(twins, found, history, self.compile_s, run_s)


def effort_once(patients: int) -> Effort:
    """Of the compiler, for a program that runs once for so many patients."""
    return "least" if patients <= _FEW else "some"


def _longer(course: np.ndarray | None, row: np.ndarray) -> np.ndarray:
    return row[None] if course is None else np.concatenate([course, row[None]])


def _wide(tree: Any) -> Any:
    """The same numbers in double precision."""
    return jax.tree.map(lambda x: x.astype(np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _kind(stage: Stage) -> Stage:
    """What a stage's programs depend on: the weights are data, and Gauss-Newton's other fields are too."""
    if stage.optimizer == GAUSS_NEWTON:
        return Stage()
    return dataclasses.replace(stage, residual_weight=(1.0, 1.0))


def _fixed_basis(stage: Stage) -> bool:
    return stage.optimizer == GAUSS_NEWTON or stage.trains == "physiology"


def initial_solver(twin: Twin, stage: Stage) -> Any:
    """What a stage's solver starts with."""
    return initial_damping(twin) if stage.optimizer == GAUSS_NEWTON else initial_moments(twin, stage)


def gauss_newton_steps(
    twin: Twin,
    state: Damping,
    prepared: Prepared | Evaluated,
    d: Drive,
    weights: Array,
    steps: Array,
    moves: tuple[Array, Array],
) -> tuple[Twin, Damping]:
    """So many steps of Gauss-Newton, each with its weight of the equations."""

    def step(i: Array, carry: tuple[Twin, Damping]) -> tuple[Twin, Damping]:
        return gauss_newton_step(*carry, weights[i], prepared, d, moves)

    return jax.lax.fori_loop(0, steps, step, (twin, state))
