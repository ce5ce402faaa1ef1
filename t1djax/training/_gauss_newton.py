"""Damped Gauss-Newton on the readout and the free parameters of one twin."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..data import Series
from ..losses import Drive, Terms, cell_residuals, equation_residuals, reading_residuals
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

    @property
    def fitted(self) -> Array:
        """How many readings are fitted: the column of ones with itself."""
        return self.readings[-2, -2]


class Evaluated(NamedTuple):
    """The same where nothing can be condensed, since coefficients change from cell to cell."""

    basis: Float[Array, "edges basis"]
    rows: Float[Array, "rows basis"]
    """The basis at the rows."""
    glucose_mg_dL: Float[Array, " rows"]
    """The readings."""
    fit: Bool[Array, " rows"]
    """Those that are fitted."""

    @property
    def fitted(self) -> Array:
        """How many readings are fitted."""
        return jnp.sum(self.fit)


class Reduced(NamedTuple):
    """The normal equations of the free coordinates, the readout eliminated; see `Slopes`."""

    information: Float[Array, "free free"]
    """Of the readings about the free coordinates, without priors, per (mg/dL)^2 of noise."""
    gradient: Float[Array, " free"]
    """Of half the sum of squares, priors included, (mg/dL)^2."""


class Damping(NamedTuple):
    """State of the solver."""

    damping: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    """Of half the sum of squares before the last step, by what moves: (mg/dL)^2."""
    reduced: Reduced
    """Where the twin is, after steps that one factorisation served; zeros after others."""


def prepare(twin: Twin, data: Series, d: Drive) -> Prepared | Evaluated:
    """Evaluate the basis once and, for linear equations, condense cells and readings to products of its columns."""
    basis, rows = d.parts(twin.surrogate.basis(twin.window, d.points_min))
    if not twin.physiology.model().facts.linear:
        return Evaluated(basis, rows, data.glucose_mg_dL, data.fit)
    rows = rows * twin.scales.states[0]
    reference = jnp.sum(jnp.where(data.fit, data.glucose_mg_dL, 0.0)) / jnp.maximum(jnp.sum(data.fit), 1)
    table = jnp.concatenate([rows, jnp.ones_like(rows[:, :1]), (data.glucose_mg_dL - reference)[:, None]], axis=1)
    table = jnp.where(data.fit[:, None], table, 0.0)
    level, change = basis[:-1], jnp.diff(basis, axis=0)
    mixed = level.T @ change
    cells = jnp.stack([level.T @ level, mixed, mixed.T, change.T @ change])
    return Prepared(basis, cells, table.T @ table, reference)


def prepared_losses(twin: Twin, prepared: Prepared | Evaluated, d: Drive) -> Terms:
    """`losses`, from what is prepared: the network is not evaluated."""
    misses = misses_of(twin, jnp.ones_like(twin.scales.noise), prepared, d, jnp.asarray(True))
    data = misses.data_squares(twin.surrogate.readout.T, misses.start())
    squares = jnp.mean(equation_residuals(twin.from_basis(prepared.basis), twin, d) ** 2, axis=1)
    return Terms(data / jnp.maximum(prepared.fitted, 1), squares)


def initial_damping(twin: Twin) -> Damping:
    """The solver's state before the first step."""
    dtype, k = twin.scales.noise.dtype, len(twin.physiology.free)
    nothing = Reduced(jnp.zeros((k, k), dtype), jnp.zeros(k, dtype))
    return Damping(jnp.asarray(1e-3, dtype), jnp.zeros((), dtype), nothing)


def gauss_newton_step(
    twin: Twin,
    state: Damping,
    weight: Array,
    prepared: Prepared | Evaluated,
    d: Drive,
    moves: tuple[Bool[Array, ""], Bool[Array, ""]],
) -> tuple[Twin, Damping]:
    """One Levenberg-Marquardt step on `sum (misfit)^2 + (weight noise)^2 n/m sum (equation residual)^2 + priors`.

    `n` readings and `m` cells weigh alike, and the equations follow the noise of the readings. So do priors; where it
    is not given, that of the misfit before the step counts for them.
    """
    misses = misses_of(twin, weight, prepared, d, moves[0])
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
    dw, dz = step[:size].reshape(w.shape), limited(step[size:], z, twin)
    moved, damping = misses.judged(dw, dz, found.total, state.damping)
    return moved, state._replace(damping=damping, gradient_norm=jnp.linalg.norm(g))


def limited(dz: Float[Array, " free"], z: Float[Array, " free"], twin: Twin) -> Float[Array, " free"]:
    """A step of the free coordinates, no longer than `LARGEST_LOG_STEP` and not below their least."""
    dz = jnp.clip(dz, -LARGEST_LOG_STEP, LARGEST_LOG_STEP)
    lowest = twin.physiology.lowest()
    return dz if lowest is None else jnp.maximum(dz, lowest - z)


def sizes(A: Float[Array, "n n"]) -> Float[Array, " n"]:
    """What damping counts in: the diagonal, and a little of its mean where it is nearly nothing."""
    return jnp.diag(A) + 1e-2 * jnp.mean(jnp.diag(A))


def least_damping(dtype: Any) -> float:
    """Below it the factorisation fails."""
    return 10 * float(jnp.finfo(dtype).eps)


class AbstractMisses(eqx.Module):
    """What a twin misses, as a function of the readout `w` (state, basis) and the free coordinates `z`."""

    twin: Twin
    weight: Array
    prepared: eqx.AbstractVar[Any]
    drive: Drive
    network_moves: Array

    def start(self) -> Array:
        free = self.twin.physiology.free
        return jnp.stack([free[s] for s in sorted(free)]) if free else jnp.zeros(0, self.twin.scales.noise.dtype)

    def named(self, z: Array) -> dict[str, Array]:
        return dict(zip(sorted(self.twin.physiology.free), z, strict=True))

    def body(self, z: Array) -> Physiology:
        return self.twin.physiology.with_free(self.named(z))

    def at(self, w: Array, z: Array) -> Twin:
        """The twin with this readout, in the units of `readout`."""
        return eqx.tree_at(
            lambda t: (t.surrogate.readout, t.physiology), self.twin, (self.readout(w, z).T, self.body(z))
        )

    def readout(self, w: Array, z: Array) -> Array:
        """The readout such that states times their effects are what `w` says of them under the parameters before.

        Of `Magdelaine` only `ksi I` acts on glucose. With it as a coordinate, changing ksi and ku_Vi against each other
        leaves every residual alone; with `I` itself, steps along that valley leave it sideways and are refused.
        """
        scales = self.twin.scales
        of = lambda body: body.model().effects(scales.glucose_mg_dL, scales.states)
        ratio = of(self.twin.physiology) / of(self.body(z))
        return w * jnp.where(self.network_moves, ratio, 1.0)[:, None]

    @property
    def balance(self) -> Array:
        """What a residual of 1 mg/dL/min counts beside a misfit of 1 mg/dL."""
        return self.weight * self.twin.scales.noise * jnp.sqrt(self.prepared.fitted / self.prepared.basis.shape[0])

    def equations(self, states: Array, z: Array) -> Float[Array, "states cells"]:
        twin = eqx.tree_at(lambda t: t.physiology, self.twin, self.body(z))
        return self.balance * equation_residuals(states, twin, self.drive)

    def rows(self, w: Array, z: Array) -> tuple[Array, Array]:
        """Equations, and distances from priors."""
        now = self.data_squares(self.twin.surrogate.readout.T, self.start())
        noise = self.twin.physiology.noise(now, self.prepared.fitted)
        return self.equations(self.at(w, z).from_basis(self.prepared.basis), z), self.body(z).prior_misfit(noise)

    def sum_of_squares(self, w: Array, z: Array) -> Array:
        parts = self.rows(w, z)
        return jnp.sum(parts[0] ** 2) + jnp.sum(parts[1] ** 2) + self.data_squares(w, z)

    def judged(self, dw: Array, dz: Array, before: Array, damping: Array) -> tuple[Twin, Float[Array, ""]]:
        """The twin after a step, where that lowers the sum of squares, and the damping of the next one."""
        w, z = self.twin.surrogate.readout.T, self.start()
        after = self.sum_of_squares(w + dw, z + dz)
        better = jnp.isfinite(after) & (after <= before * (1 + 1e-4))
        w = jnp.where(better, self.readout(w + dw, z + dz), w)
        z = jnp.where(better, z + dz, z)
        moved = eqx.tree_at(lambda t: (t.surrogate.readout, t.physiology.free), self.twin, (w.T, self.named(z)))
        factor = jnp.where(better, 0.1, 10.0)
        return moved, jnp.clip(factor * damping, least_damping(damping.dtype), _LARGEST_DAMPING)

    @abc.abstractmethod
    def data_squares(self, w: Array, z: Array) -> Array:
        """Sum of squares of the misfit to the fit readings, (mg/dL)^2."""

    @abc.abstractmethod
    def normal_equations(self, w: Array, z: Array) -> tuple[Float[Array, "readout readout"], "Slopes"]:
        """`J'J` over the readout, and the rest of the normal equations."""


def misses_of(
    twin: Twin, weight: Array, prepared: Prepared | Evaluated, d: Drive, network_moves: Array
) -> AbstractMisses:
    """What a twin misses: condensed where its equations are linear, else cell by cell."""
    rest: dict[str, Any] = {"twin": twin, "weight": weight, "drive": d, "network_moves": network_moves}
    if isinstance(prepared, Prepared):
        return LinearMisses(prepared=prepared, **rest)
    return CellMisses(prepared=prepared, **rest)


class Slopes(NamedTuple):
    """Normal equations without the block of the readout: `J'r`, and what of `J'J` touches the free coordinates."""

    readout: Float[Array, " readout"]
    free: Float[Array, " free"]
    side: Float[Array, "readout free"]
    corner: Float[Array, "free free"]
    from_priors: Float[Array, "free free"]
    """The priors' part of `corner`."""
    squares: Terms
    """As of `losses`."""
    total: Float[Array, ""]
    """The sum of squares that is minimised."""


def _normal_equations(misses: AbstractMisses, w: Array, z: Array) -> tuple[Array, Array, Slopes]:
    """`J'J` and `J'r` over readout and free coordinates, and what they are made of."""
    A, found = misses.normal_equations(w, z)
    A = jnp.concatenate(
        [jnp.concatenate([A, found.side], axis=1), jnp.concatenate([found.side.T, found.corner], axis=1)]
    )
    return A, jnp.concatenate([found.readout, found.free]), found


def _by_free(f: Callable[..., Any], w: Array, z: Array) -> tuple[Any, Any]:
    """A function of readout and free coordinates, traced once; and its slopes by the latter, along a last axis."""
    if z.size:
        slopes, value = jax.jacfwd(lambda w, z: (f(w, z),) * 2, argnums=1, has_aux=True)(w, z)
        return value, slopes
    value = f(w, z)
    return value, jax.tree.map(lambda x: jnp.zeros((*x.shape, 0), w.dtype), value)


class LinearMisses(AbstractMisses):
    """For equations that are linear in the states, with coefficients that are the same in every cell: `r = P x0 + Q (x1
    - x0) + ...`. Cells and readings are then a few products of the basis, made once, and a step costs little more than
    one factorisation. Glucose is the first learnt state."""

    prepared: Prepared

    def coefficients(self, z: Array) -> tuple[Float[Array, "equation state"], Float[Array, "equation state"]]:
        """`P` and `Q` for states in units of one.

        A state that is one everywhere shows `P` in every cell; one that counts the edges from zero shows `Q` in the
        first.
        """
        scale, edges = self.twin.scales.states, self.prepared.basis.shape[0]
        nothing = jnp.zeros((edges, scale.size), scale.dtype)
        _, push = jax.linearize(lambda states: self.equations(states, z), nothing)
        counting = jnp.arange(edges, dtype=scale.dtype)[:, None]
        one_hot = jnp.eye(scale.size, dtype=scale.dtype) * scale
        seen = lambda shape: jax.vmap(lambda e: push(shape * e)[:, 0])(one_hot).T
        return seen(jnp.ones_like(counting)), seen(counting)

    def misfit(self, w: Array, z: Array) -> Array:
        """Coefficients of the columns of the readings: basis, one, reading."""
        body = self.body(z)
        G0 = body.model().learnt_states(body.initial_state(self.drive.cells.inputs))[0] - self.prepared.reference
        return jnp.concatenate([w[0], G0[None], -jnp.ones(1, w.dtype)])

    def data_squares(self, w: Array, z: Array) -> Array:
        c = self.misfit(w, z)
        return jnp.maximum(c @ self.prepared.readings @ c, 0.0)

    def normal_equations(self, w: Array, z: Array) -> tuple[Float[Array, "readout readout"], Slopes]:
        return self.readout_block(z), self.slopes(w, z)

    def readout_block(self, z: Array) -> Float[Array, "readout readout"]:
        """`J'J` over the readout."""
        prepared, size = self.prepared, self.twin.surrogate.readout.size
        P, Q = self.coefficients(z)
        both = (P.T @ P, P.T @ Q, Q.T @ P, Q.T @ Q)
        # Written out: as one contraction a batch of patients takes ten times as long on a CPU.
        pairs = [m[:, None, :, None] * cells[None, :, None, :] for m, cells in zip(both, prepared.cells, strict=True)]
        A = (pairs[0] + pairs[1]) + (pairs[2] + pairs[3])
        return A.at[0, :, 0].add(prepared.readings[:-2, :-2]).reshape(size, size)

    def slopes(self, w: Array, z: Array) -> Slopes:
        """The normal equations but for the block of the readout."""
        prepared, k = self.prepared, z.size
        P, Q = self.coefficients(z)
        ((r, from_priors), (r_z, from_priors_z)), (c, c_z) = _by_free(self.rows, w, z), _by_free(self.misfit, w, z)
        # The transposed Jacobian of the readout, times the residuals and their slopes by the free coordinates, at once.
        columns = jnp.concatenate([r[..., None], r_z], axis=-1)
        at_start = jnp.einsum("es,eck->ksc", P, columns)
        over_cell = jnp.einsum("es,eck->ksc", Q, columns)
        none = jnp.zeros_like(over_cell[..., :1])
        at_edges = jnp.concatenate([at_start - over_cell, none], axis=-1) + jnp.concatenate([none, over_cell], axis=-1)
        found = (at_edges.reshape(-1, at_edges.shape[-1]) @ prepared.basis).reshape(1 + k, *w.shape)
        of_readings = prepared.readings @ jnp.concatenate([c[:, None], c_z], axis=1)
        of_data = c @ of_readings[:, 0]
        found = found.at[:, 0].add(of_readings[:-2].T).reshape(1 + k, w.size)
        of_priors = from_priors_z.T @ from_priors_z
        return Slopes(
            readout=found[0],
            free=jnp.einsum("eck,ec->k", r_z, r) + from_priors_z.T @ from_priors + c_z.T @ of_readings[:, 0],
            side=found[1:].T,
            corner=jnp.einsum("eck,ecl->kl", r_z, r_z) + of_priors + c_z.T @ of_readings[:, 1:],
            from_priors=of_priors,
            squares=Terms(
                jnp.maximum(of_data, 0.0) / jnp.maximum(prepared.fitted, 1),
                jnp.mean((r / self.balance) ** 2, axis=1),
            ),
            total=jnp.sum(r**2) + jnp.sum(from_priors**2) + of_data,
        )


class CellMisses(AbstractMisses):
    """For any equations: linearised at the current states, each cell on its own."""

    prepared: Evaluated

    def misfit(self, w: Array, z: Array) -> Float[Array, " rows"]:
        """Glucose less the readings, mg/dL; zero where none is fitted."""
        twin = self.at(w, z)
        glucose = twin.glucose(twin.from_basis(self.prepared.rows))
        return reading_residuals(glucose, self.prepared.glucose_mg_dL, self.prepared.fit)

    def data_squares(self, w: Array, z: Array) -> Array:
        return jnp.sum(self.misfit(w, z) ** 2)

    def by_readout(self, w: Array, z: Array) -> Float[Array, "residuals readout"]:
        """Jacobian of equations, then of the misfit, by the readout."""
        prepared, twin = self.prepared, self.at(w, z)
        states, scale = twin.from_basis(prepared.basis), twin.scales.states
        n, size = scale.size, w.size
        one_hot = jnp.eye(n, dtype=scale.dtype)
        # A cell's residual depends on the states at its two edges alone: one push moves the starts of all cells.
        ends = (states[:-1], states[1:])
        at_edges = lambda x0, x1: self.balance * cell_residuals(x0, x1, twin, self.drive)
        by = lambda e: tuple(jnp.broadcast_to(x, ends[0].shape) for x in jnp.split(e, 2))
        pushed = jax.vmap(lambda e: jax.jvp(at_edges, ends, by(e))[1])(jnp.eye(2 * n, dtype=scale.dtype))
        P, Q = pushed[:n], pushed[n:]  # state, equation, cell
        rows = P[..., None] * prepared.basis[:-1] + Q[..., None] * prepared.basis[1:]  # state, equation, cell, basis
        rows = jnp.moveaxis(rows * scale[:, None, None, None], 0, 2).reshape(-1, size)
        seen = twin.from_basis(prepared.rows)
        G = jax.vmap(lambda e: jax.jvp(twin.glucose, (seen,), (jnp.broadcast_to(e, seen.shape),))[1])(one_hot)
        G = jnp.where(prepared.fit, G * scale[:, None], 0.0)
        return jnp.concatenate([rows, jnp.moveaxis(G[..., None] * prepared.rows, 0, 1).reshape(-1, size)])

    def normal_equations(self, w: Array, z: Array) -> tuple[Float[Array, "readout readout"], Slopes]:
        def both(w: Array, z: Array) -> tuple[Array, Array]:
            equations, from_priors = self.rows(w, z)
            return jnp.concatenate([equations.ravel(), self.misfit(w, z)]), from_priors

        ((r, from_priors), (r_z, from_priors_z)), J = _by_free(both, w, z), self.by_readout(w, z)
        of_priors, readings = from_priors_z.T @ from_priors_z, self.prepared.fit.size
        equations = r[:-readings].reshape(w.shape[0], -1) / self.balance
        return J.T @ J, Slopes(
            readout=r @ J,
            free=r @ r_z + from_priors @ from_priors_z,
            side=J.T @ r_z,
            corner=r_z.T @ r_z + of_priors,
            from_priors=of_priors,
            squares=Terms(
                jnp.sum(r[-readings:] ** 2) / jnp.maximum(self.prepared.fitted, 1), jnp.mean(equations**2, axis=1)
            ),
            total=jnp.sum(r**2) + jnp.sum(from_priors**2),
        )
