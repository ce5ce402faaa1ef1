"""Gauss-Newton steps of a constant weight, where one factorisation serves them all."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..losses import Drive, Terms
from ..twin import Twin
from ._gauss_newton import (
    Damping,
    Evaluated,
    LinearMisses,
    Prepared,
    Reduced,
    Slopes,
    least_damping,
    limited,
    misses_of,
    sizes,
)

MOST_STEPS = 8
"""That one factorisation serves; more steps make another."""


class Course(NamedTuple):
    """What was seen at the start and after each step; rows beyond the last step are not used."""

    values: dict[str, Float[Array, " points"]]
    """Estimates by symbol."""
    losses: Terms
    """As of `losses`."""
    gradient_norm: Float[Array, " points"]
    """Before the step, see `Damping`; nothing at the start."""


def factored_steps(
    twin: Twin,
    state: Damping,
    prepared: Prepared,
    d: Drive,
    weight: Float[Array, ""],
    steps: Int[Array, ""],
    moves: Bool[Array, ""],
) -> tuple[Twin, Damping, Course]:
    """Up to `MOST_STEPS` steps on the objective of `gauss_newton_step`, for free parameters that `stays_linear` allows.

    The block of the readout in the normal equations is then the same at every step, but for the units of states, which
    go with their effects. It is factorised once. Each step eliminates the readout (variable projection: Golub and
    Pereyra, SIAM J. Numer. Anal. 10, 1973) and damps the free coordinates alone.
    """
    rest = {"prepared": prepared, "weight": weight, "drive": d, "network_moves": jnp.asarray(True)}
    at = lambda twin: LinearMisses(twin=twin, **rest)
    lower, effects = _factor(at(twin).readout_block(at(twin).start())), _effects(twin)

    def step(i: Array, carry: tuple[Twin, Damping, Course]) -> tuple[Twin, Damping, Course]:
        before, state, course = carry
        twin, state, squares = _step(at(before), state, lower, _effects(before) / effects, moves)
        course = _noted(course, i, before, squares)
        return twin, state, course._replace(gradient_norm=course.gradient_norm.at[i + 1].set(state.gradient_norm))

    nothing = jnp.zeros(MOST_STEPS + 1, lower.dtype)
    course = Course(
        dict.fromkeys(twin.physiology.free, nothing),
        Terms(nothing, jnp.zeros((MOST_STEPS + 1, effects.size), nothing.dtype)),
        nothing,
    )
    twin, state, course = jax.lax.fori_loop(0, steps, step, (twin, state, course))
    found, unit = _slopes(at(twin), _effects(twin) / effects)
    state = state._replace(reduced=_reduced(found, lower, unit))
    return twin, state, _noted(course, steps, twin, found.squares)


def _noted(course: Course, i: Array, twin: Twin, squares: Terms) -> Course:
    rows, seen = (course.values, course.losses), (twin.physiology.estimates(), squares)
    values, found = jax.tree.map(lambda row, x: row.at[i].set(x), rows, seen)
    return course._replace(values=values, losses=found)


def _factor(A: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Of Cholesky, damped as little as it needs; steps by it, repeated, take the damping's effect away again."""

    def at(damping: Array) -> tuple[Array, Array]:
        return damping, jnp.linalg.cholesky(A + jnp.diag(damping * sizes(A)), symmetrize_input=False)

    fails = lambda tried: ~jnp.all(jnp.isfinite(jnp.diag(tried[1]))) & (tried[0] < 1)
    start = at(jnp.asarray(10 * least_damping(A.dtype), A.dtype))
    return jax.lax.while_loop(fails, lambda tried: at(10 * tried[0]), start)[1]


def reduced(twin: Twin, prepared: Prepared | Evaluated, d: Drive, weight: Float[Array, ""]) -> Reduced:
    """What readings and equations say of the free coordinates where the twin is."""
    misses = misses_of(twin, weight, prepared, d, jnp.asarray(True))
    w, z = twin.surrogate.readout.T, misses.start()
    A, found = misses.normal_equations(w, z)
    return _reduced(found, _factor(A), jnp.ones((), A.dtype))


def _reduced(found: Slopes, lower: Array, unit: Array) -> Reduced:
    side, rest = _eliminated(found, lower, unit)
    return Reduced(found.corner - side.T @ side - found.from_priors, found.free - side.T @ rest)


def _eliminated(found: Slopes, lower: Array, unit: Array) -> tuple[Array, Array]:
    """Columns of the free coordinates and of the residuals, behind the inverse of the readout's factor."""
    columns = jnp.concatenate([found.side, found.readout[:, None]], axis=1) / unit
    half = jax.scipy.linalg.solve_triangular(lower, columns, lower=True)
    return half[:, :-1], half[:, -1]


def _effects(twin: Twin) -> Float[Array, " states"]:
    return twin.physiology.model().effects(twin.scales.glucose_mg_dL, twin.scales.states)


def _slopes(misses: LinearMisses, ratio: Float[Array, " states"]) -> tuple[Slopes, Float[Array, "readout 1"]]:
    """Slopes where the twin is, and the readout's units beside those of the factor, by the ratios of effects."""
    w = misses.twin.surrogate.readout.T
    return misses.slopes(w, misses.start()), jnp.repeat(ratio, w.shape[1])[:, None]


def _step(
    misses: LinearMisses,
    state: Damping,
    lower: Float[Array, "readout readout"],
    ratio: Float[Array, " states"],
    moves: Array,
) -> tuple[Twin, Damping, Terms]:
    """One step, by the factor of the readout's block and the ratios of effects to those for which it was made; and the
    losses before it."""
    twin = misses.twin
    w, z = twin.surrogate.readout.T, misses.start()
    found, unit = _slopes(misses, ratio)
    side, rest = _eliminated(found, lower, unit)
    schur = found.corner - side.T @ side
    diagonal = jnp.maximum(jnp.diag(schur), least_damping(w.dtype) * jnp.diag(found.corner))
    root = jnp.linalg.cholesky(schur + jnp.diag(state.damping * diagonal))
    dz = -jax.scipy.linalg.cho_solve((root, True), found.free - side.T @ rest)
    dz = jnp.where(moves, limited(dz, z, twin), 0.0)
    dw = -jax.scipy.linalg.solve_triangular(lower, rest + side @ dz, lower=True, trans=1) / unit[:, 0]
    moved, damping = misses.judged(dw.reshape(w.shape), dz, found.total, state.damping)
    gradient = jnp.concatenate([found.readout, jnp.where(moves, found.free, 0.0)])
    return moved, state._replace(damping=damping, gradient_norm=jnp.linalg.norm(gradient)), found.squares
