"""Damped Gauss-Newton on the readout and the free parameters of one twin."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..data import Series
from ..losses import Drive, Terms, equation_residuals
from ..twin import Physiology, Twin

_LARGEST_LOG_STEP = 0.5
_LARGEST_DAMPING = 1e6


class Prepared(NamedTuple):
    """What stays the same from step to step: the basis at the edges, and the readings condensed."""

    basis: Float[Array, "edges basis"]
    readings: Float[Array, "condensed columns"]


class Damping(NamedTuple):
    """State of the solver."""

    damping: Float[Array, ""]
    information: Float[Array, "free free"]
    """Of the readings about the free coordinates: normal equations with the readout eliminated and without priors,
    per (mg/dL)^2 of noise."""


def prepare(twin: Twin, data: Series, d: Drive) -> Prepared:
    """Evaluate the basis once and condense the fit readings.

    The misfit is linear in the readout of G and in G0: `|B w + G0 - y|^2`. The triangular factor of `[B, 1, y]`
    has the same norm with as many rows as columns, however many readings there are.
    """
    rows = twin.surrogate.basis(twin.window, data.time_min) * twin.scales.G
    table = jnp.concatenate([rows, jnp.ones_like(rows[:, :1]), data.glucose_mg_dL[:, None]], axis=1)
    table = jnp.where(data.fit[:, None], table, 0.0)
    return Prepared(twin.surrogate.basis(twin.window, d.edges_min), jnp.linalg.qr(table, mode="r"))


def initial_damping(twin: Twin) -> Damping:
    """The solver's state before the first step."""
    k = len(twin.physiology.free)
    dtype = twin.scales.G.dtype
    return Damping(jnp.asarray(1e-3, dtype), jnp.zeros((k, k), dtype))


def gauss_newton_step(
    twin: Twin,
    state: Damping,
    weight: Array,
    prepared: Prepared,
    d: Drive,
    moves: tuple[Bool[Array, ""], Bool[Array, ""]],
) -> tuple[Twin, Damping]:
    """One Levenberg-Marquardt step on `sum (misfit)^2 + weight^2 n/m sum (equation residual)^2 + priors`.

    `n` readings and `m` cells weigh alike. Priors weigh by the readings' noise, which, where it is not given, is
    that of the misfit before the step. Residuals depend on the readout through the states alone, so their
    Jacobian is the basis pushed through a cell-wise linear map, and costs next to nothing beside the normal
    equations.

    Args:
        twin: the twin.
        state: damping, and the information of the step before.
        weight: of the equations, see `Stage.residual_weight`.
        prepared: see `prepare`.
        d: see `drive`.
        moves: whether the network moves and whether the physiology does.
    """
    symbols = sorted(twin.physiology.free)
    scale = twin.scales.vector()
    readout = twin.surrogate.readout
    size = readout.size
    count = jnp.sum(prepared.readings[:, -2] ** 2)  # the column of ones: how many readings there are
    balance = weight * jnp.sqrt(count / prepared.basis.shape[0])

    def body(z: Array) -> Physiology:
        return twin.physiology.with_free(dict(zip(symbols, z, strict=True)))

    def states_from(w: Array, z: Array) -> Array:
        start = body(z).initial_state()
        return jnp.stack([start.G, start.I, start.D]) + prepared.basis @ (
            w * _same_action(twin.physiology, body(z)) * scale
        )

    def equations(states: Array, z: Array) -> Array:
        terms: Terms = equation_residuals(states, body(z), d)
        return balance * jnp.concatenate([terms.G, terms.I, terms.D])

    def misfit(w: Array, z: Array) -> Array:
        coefficients = jnp.concatenate([w[:, 0], body(z).initial_state().G[None], -jnp.ones(1, w.dtype)])
        return prepared.readings @ coefficients

    def everything(w: Array, z: Array) -> Array:
        return jnp.concatenate([equations(states_from(w, z), z), misfit(w, z), body(z).prior_misfit(noise)])

    z = jnp.stack([twin.physiology.free[s] for s in symbols]) if symbols else jnp.zeros(0, readout.dtype)
    noise = twin.physiology.noise(jnp.sum(misfit(readout, z) ** 2), count)
    r = everything(readout, z)
    # Readout: each basis function enters each state; push it through the cell-wise map.
    states = states_from(readout, z)
    _, push = jax.linearize(lambda y: equations(y, z), states)
    one_hot = jnp.eye(3, dtype=readout.dtype) * scale
    directions = prepared.basis.T[:, None, :, None] * one_hot[None, :, None, :]  # basis, state, edges, 3
    columns = jax.vmap(push)(directions.reshape(size, *states.shape)).T
    data_columns = jnp.zeros((prepared.readings.shape[0], readout.shape[0], 3), readout.dtype)
    data_columns = data_columns.at[:, :, 0].set(prepared.readings[:, :-2]).reshape(-1, size)
    held = jnp.zeros((len(twin.physiology.prior), size), readout.dtype)
    J = jnp.concatenate([columns, data_columns, held])
    if symbols:
        J = jnp.concatenate([J, jax.jacfwd(everything, argnums=1)(readout, z)], axis=1)
    move = jnp.concatenate([jnp.broadcast_to(moves[0], (size,)), jnp.broadcast_to(moves[1], (len(symbols),))])
    J = jnp.where(move, J, 0.0)

    A = J.T @ J
    g = J.T @ r
    diagonal = jnp.diag(A) + 1e-2 * jnp.mean(jnp.diag(A))
    damped = A + jnp.diag(state.damping * diagonal)
    factor = jnp.linalg.cholesky(damped)
    step = -jax.scipy.linalg.cho_solve((factor, True), g)
    step = jnp.where(move, step, 0.0)
    dw, dz = step[:size].reshape(readout.shape), jnp.clip(step[size:], -_LARGEST_LOG_STEP, _LARGEST_LOG_STEP)
    before = jnp.sum(r**2)
    after = jnp.sum(everything(readout + dw, z + dz) ** 2)
    better = jnp.isfinite(after) & (after <= before * (1 + 1e-4))
    least = 10 * jnp.finfo(readout.dtype).eps  # below it the factorisation fails
    damping = jnp.clip(jnp.where(better, 0.1, 10.0) * state.damping, least, _LARGEST_DAMPING)
    # The last block of the Cholesky factor is that of the Schur complement: the readout eliminated.
    corner = factor[size:, size:]
    held_rows = J[J.shape[0] - len(twin.physiology.prior) :, size:]
    stepped = (readout + dw) * _same_action(twin.physiology, body(z + dz))
    w, z = jnp.where(better, stepped, readout), jnp.where(better, z + dz, z)
    moved = eqx.tree_at(
        lambda t: (t.surrogate.readout, t.physiology.free),
        twin,
        (w, dict(zip(symbols, z, strict=True))),
    )
    # Of the readings alone: without the priors, and without the damping, which would pass for knowledge.
    information = corner @ corner.T - held_rows.T @ held_rows - jnp.diag((state.damping * diagonal)[size:])
    return moved, Damping(damping, jnp.where(jnp.all(jnp.isfinite(information)), information, state.information))


def _same_action(now: Physiology, then: Physiology) -> Array:
    """What the readout is multiplied by so that `ksi I` stays as it is when the parameters change.

    Only that product acts on glucose. With it as a coordinate, changing ksi and ku_Vi against each other leaves every
    residual alone; with `I` itself, steps along that valley leave it sideways and are refused.
    """
    ratio = now.values()["ksi"] / then.values()["ksi"]
    return jnp.stack([jnp.ones_like(ratio), ratio, jnp.ones_like(ratio)])
