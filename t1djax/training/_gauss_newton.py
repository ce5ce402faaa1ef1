"""Damped Gauss-Newton on the readout and the free parameters of one twin."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..data import Series
from ..losses import Drive, Terms, equation_residuals
from ..twin import Physiology, Twin

LARGEST_LOG_STEP = 0.5
_LARGEST_DAMPING = 1e6


class Prepared(NamedTuple):
    """What stays the same from step to step: the basis at the edges, and products of the basis and the readings."""

    basis: Float[Array, "edges basis"]
    cells: Float[Array, "4 basis basis"]
    """Of the basis at the start of each cell (0) and its change over the cell (1), summed over cells: 00, 01, 10,
    11."""
    readings: Float[Array, "columns columns"]
    """Of `[basis, 1, reading - reference]` at the fit readings, in mg/dL; they cost the same however many there are."""
    reference: Float[Array, ""]
    """Mean of the fit readings, mg/dL: taken off for the sake of rounding."""


class Damping(NamedTuple):
    """State of the solver."""

    damping: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    """Of half the sum of squares before the last step, by what moves: (mg/dL)^2."""


def prepare(twin: Twin, data: Series, d: Drive) -> Prepared:
    """Evaluate the basis once and condense cells and readings to products of its columns."""
    basis, rows = d.parts(twin.surrogate.basis(twin.window, d.points_min))
    rows = rows * twin.scales.G
    reference = jnp.sum(jnp.where(data.fit, data.glucose_mg_dL, 0.0)) / jnp.maximum(jnp.sum(data.fit), 1)
    table = jnp.concatenate([rows, jnp.ones_like(rows[:, :1]), (data.glucose_mg_dL - reference)[:, None]], axis=1)
    table = jnp.where(data.fit[:, None], table, 0.0)
    level, change = basis[:-1], jnp.diff(basis, axis=0)
    mixed = level.T @ change
    cells = jnp.stack([level.T @ level, mixed, mixed.T, change.T @ change])
    return Prepared(basis, cells, table.T @ table, reference)


def prepared_losses(twin: Twin, prepared: Prepared, d: Drive) -> Terms:
    """`losses`, from what is prepared: the network is not evaluated."""
    misses = Misses(twin, jnp.ones_like(prepared.reference), prepared, d, jnp.asarray(True))
    c = misses.misfit(twin.surrogate.readout.T, misses.start())
    squares = jax.tree.map(
        lambda x: jnp.mean(x**2), equation_residuals(twin.from_basis(prepared.basis), twin.physiology, d)
    )
    data = jnp.maximum(c @ prepared.readings @ c, 0.0) / jnp.maximum(misses.count, 1)
    return eqx.tree_at(lambda t: t.data, squares, data)


def initial_damping(twin: Twin) -> Damping:
    """The solver's state before the first step."""
    dtype = twin.scales.G.dtype
    return Damping(jnp.asarray(1e-3, dtype), jnp.zeros((), dtype))


def gauss_newton_step(
    twin: Twin,
    state: Damping,
    weight: Array,
    prepared: Prepared,
    d: Drive,
    moves: tuple[Bool[Array, ""], Bool[Array, ""]],
) -> tuple[Twin, Damping]:
    """One Levenberg-Marquardt step on `sum (misfit)^2 + (weight noise)^2 n/m sum (equation residual)^2 + priors`.

    `n` readings and `m` cells weigh alike, and the equations follow the noise of the readings. So do priors; where it
    is not given, that of the misfit before the step counts for them.

    Args:
        twin: the twin.
        state: damping.
        weight: of the equations, see `Stage.residual_weight`.
        prepared: see `prepare`.
        d: see `drive`.
        moves: whether the network moves and whether the physiology does.
    """
    misses = Misses(twin, weight, prepared, d, moves[0])
    w, z = twin.surrogate.readout.T, misses.start()  # state, basis
    size = w.size
    A, g, found = _normal_equations(misses, w, z)
    move = jnp.concatenate([jnp.broadcast_to(moves[0], (size,)), jnp.broadcast_to(moves[1], z.shape)])
    A = jnp.where(move[:, None] & move, A, 0.0)
    g = jnp.where(move, g, 0.0)

    damped = A + jnp.diag(state.damping * sizes(A))
    factor = jnp.linalg.cholesky(damped, symmetrize_input=False)
    step = -jax.scipy.linalg.cho_solve((factor, True), g)
    step = jnp.where(move, step, 0.0)
    dw, dz = step[:size].reshape(w.shape), jnp.clip(step[size:], -LARGEST_LOG_STEP, LARGEST_LOG_STEP)
    better, damping = judge(found.total, misses.sum_of_squares(w + dw, z + dz), state.damping)
    w = jnp.where(better, misses.readout(w + dw, z + dz), w)
    z = jnp.where(better, z + dz, z)
    moved = eqx.tree_at(lambda t: (t.surrogate.readout, t.physiology.free), twin, (w.T, misses.named(z)))
    return moved, Damping(damping, jnp.linalg.norm(g))


def sizes(A: Float[Array, "n n"]) -> Float[Array, " n"]:
    """What damping counts in: the diagonal, and a little of its mean where it is nearly nothing."""
    return jnp.diag(A) + 1e-2 * jnp.mean(jnp.diag(A))


def least_damping(dtype: Any) -> float:
    """Below it the factorisation fails."""
    return 10 * float(jnp.finfo(dtype).eps)


def judge(before: Array, after: Array, damping: Array) -> tuple[Bool[Array, ""], Float[Array, ""]]:
    """Whether a step is taken, and the damping of the next one."""
    better = jnp.isfinite(after) & (after <= before * (1 + 1e-4))
    factor = jnp.where(better, 0.1, 10.0)
    return better, jnp.clip(factor * damping, least_damping(damping.dtype), _LARGEST_DAMPING)


class Misses(eqx.Module):
    """What a twin misses, as a function of the readout `w` (state, basis) and the free coordinates `z`."""

    twin: Twin
    weight: Array
    prepared: Prepared
    drive: Drive
    network_moves: Array

    def start(self) -> Array:
        free = self.twin.physiology.free
        return jnp.stack([free[s] for s in sorted(free)]) if free else jnp.zeros(0, self.twin.scales.G.dtype)

    def named(self, z: Array) -> dict[str, Array]:
        return dict(zip(sorted(self.twin.physiology.free), z, strict=True))

    def body(self, z: Array) -> Physiology:
        return self.twin.physiology.with_free(self.named(z))

    def readout(self, w: Array, z: Array) -> Array:
        """The readout such that `ksi I` is what `w` says of it under the parameters before the step.

        Only that product acts on glucose. With it as a coordinate, changing ksi and ku_Vi against each other leaves
        every residual alone; with `I` itself, steps along that valley leave it sideways and are refused.
        """
        ratio = self.twin.physiology.values()["ksi"] / self.body(z).values()["ksi"]
        return (
            w
            * jnp.stack([jnp.ones_like(ratio), jnp.where(self.network_moves, ratio, 1.0), jnp.ones_like(ratio)])[
                :, None
            ]
        )

    def coefficients(self, z: Array) -> tuple[Float[Array, "equation state"], Float[Array, "equation state"]]:
        """See `_coefficients`."""
        scale = self.twin.scales.vector()
        return _coefficients(lambda states: self.equations(states, z), self.prepared.basis.shape[0], scale)

    @property
    def count(self) -> Array:
        """How many readings are fitted: the column of ones with itself."""
        return self.prepared.readings[-2, -2]

    @property
    def balance(self) -> Array:
        """What a residual of 1 mg/dL/min counts beside a misfit of 1 mg/dL."""
        return self.weight * self.twin.scales.noise * jnp.sqrt(self.count / self.prepared.basis.shape[0])

    def equations(self, states: Array, z: Array) -> Float[Array, "3 cells"]:
        terms: Terms = equation_residuals(states, self.body(z), self.drive)
        return self.balance * jnp.stack([terms.G, terms.I, terms.D])

    def rows(self, w: Array, z: Array) -> tuple[Array, Array]:
        """Equations, and distances from priors."""
        start, readout = self.body(z).initial_state(self.drive.inputs), self.readout(w, z)
        shift = self.prepared.basis @ (readout.T * self.twin.scales.vector())
        states = jnp.stack([start.G, start.I, start.D]) + shift
        now = self.misfit(self.twin.surrogate.readout.T, self.start())
        noise = self.twin.physiology.noise(jnp.maximum(now @ self.prepared.readings @ now, 0.0), self.count)
        return self.equations(states, z), self.body(z).prior_misfit(noise)

    def misfit(self, w: Array, z: Array) -> Array:
        """Coefficients of the columns of the readings: basis, one, reading."""
        G0 = self.body(z).initial_state().G - self.prepared.reference
        return jnp.concatenate([w[0], G0[None], -jnp.ones(1, w.dtype)])

    def sum_of_squares(self, w: Array, z: Array) -> Array:
        c, parts = self.misfit(w, z), self.rows(w, z)
        return jnp.sum(parts[0] ** 2) + jnp.sum(parts[1] ** 2) + c @ self.prepared.readings @ c


class Slopes(NamedTuple):
    """Normal equations without the block of the readout: `J'r`, and what of `J'J` touches the free coordinates."""

    readout: Float[Array, " readout"]
    free: Float[Array, " free"]
    side: Float[Array, "readout free"]
    corner: Float[Array, "free free"]
    held: Float[Array, "free free"]
    """The priors' part of `corner`."""
    squares: Terms
    """As of `losses`."""
    total: Float[Array, ""]
    """The sum of squares that is minimised."""


def _normal_equations(misses: Misses, w: Array, z: Array) -> tuple[Array, Array, Slopes]:
    """`J'J` and `J'r` over readout and free coordinates, and what they are made of."""
    found, A = slopes(misses, w, z), readout_block(misses, z)
    A = jnp.concatenate(
        [jnp.concatenate([A, found.side], axis=1), jnp.concatenate([found.side.T, found.corner], axis=1)]
    )
    return A, jnp.concatenate([found.readout, found.free]), found


def readout_block(misses: Misses, z: Array) -> Float[Array, "readout readout"]:
    """`J'J` over the readout.

    Equations are linear in the states at the two edges of their cell, with coefficients that are the same in every
    cell: `r = P x0 + Q (x1 - x0) + ...`. So it is a few products of the basis, made once, times 3 by 3 matrices, and a
    step costs little more than one factorisation.
    """
    prepared, size = misses.prepared, misses.twin.surrogate.readout.size
    P, Q = misses.coefficients(z)
    both = (P.T @ P, P.T @ Q, Q.T @ P, Q.T @ Q)
    # Written out: as one contraction a batch of patients takes ten times as long on a CPU.
    pairs = [m[:, None, :, None] * cells[None, :, None, :] for m, cells in zip(both, prepared.cells, strict=True)]
    A = (pairs[0] + pairs[1]) + (pairs[2] + pairs[3])
    return A.at[0, :, 0].add(prepared.readings[:-2, :-2]).reshape(size, size)


def slopes(misses: Misses, w: Array, z: Array) -> Slopes:
    """All but the block of the readout."""
    prepared, k = misses.prepared, z.size
    P, Q = misses.coefficients(z)
    (r, held), c = misses.rows(w, z), misses.misfit(w, z)
    if k:
        r_z, held_z = jax.jacfwd(misses.rows, argnums=1)(w, z)
        c_z = jax.jacfwd(misses.misfit, argnums=1)(w, z)
    else:
        r_z, held_z, c_z = (jnp.zeros((*x.shape, 0), w.dtype) for x in (r, held, c))
    # The transposed Jacobian of the readout, times the residuals and their slopes by the free coordinates, all at once.
    columns = jnp.concatenate([r[..., None], r_z], axis=-1)
    at_start = jnp.einsum("es,eck->ksc", P, columns)
    over_cell = jnp.einsum("es,eck->ksc", Q, columns)
    none = jnp.zeros_like(over_cell[..., :1])
    at_edges = jnp.concatenate([at_start - over_cell, none], axis=-1) + jnp.concatenate([none, over_cell], axis=-1)
    found = (at_edges.reshape(-1, at_edges.shape[-1]) @ prepared.basis).reshape(1 + k, *w.shape)
    of_readings = prepared.readings @ jnp.concatenate([c[:, None], c_z], axis=1)
    of_data = c @ of_readings[:, 0]
    found = found.at[:, 0].add(of_readings[:-2].T).reshape(1 + k, w.size)
    of_priors = held_z.T @ held_z
    equations = jnp.mean((r / misses.balance) ** 2, axis=1)
    return Slopes(
        readout=found[0],
        free=jnp.einsum("eck,ec->k", r_z, r) + held_z.T @ held + c_z.T @ of_readings[:, 0],
        side=found[1:].T,
        corner=jnp.einsum("eck,ecl->kl", r_z, r_z) + of_priors + c_z.T @ of_readings[:, 1:],
        held=of_priors,
        squares=Terms(jnp.maximum(of_data, 0.0) / jnp.maximum(misses.count, 1), *equations),
        total=jnp.sum(r**2) + jnp.sum(held**2) + of_data,
    )


def _coefficients(
    equations: Callable[[Array], Array], edges: int, scale: Float[Array, " 3"]
) -> tuple[Float[Array, "equation state"], Float[Array, "equation state"]]:
    """`P` and `Q` of `r = P x0 + Q (x1 - x0) + ...` for states in units of one.

    A state that is one everywhere shows `P` in every cell; one that counts the edges from zero shows `Q` in the first.
    """
    nothing = jnp.zeros((edges, 3), scale.dtype)
    _, push = jax.linearize(equations, nothing)
    counting = jnp.arange(edges, dtype=scale.dtype)[:, None]
    one_hot = jnp.eye(3, dtype=scale.dtype) * scale
    seen = lambda shape: jax.vmap(lambda e: push(shape * e)[:, 0])(one_hot).T
    return seen(jnp.ones_like(counting)), seen(counting)
