"""First-order steps on the leaves that a stage trains, with the ways the field weighs the terms of the loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from ..data import Series
from ..losses import Drive, Terms, equation_residuals, reading_residuals
from ..twin import Twin
from ._stages import Stage, Trains

_PROBES = 4  # random signs per term in the trace of its tangent kernel


def trainable(twin: Twin, trains: Trains) -> PyTree:
    """Which leaves of a twin move: a tree of booleans.

    The network's are its weights, biases and readout; the physiology's its free parameters. Scales, windows, known
    values and features never move.
    """
    nothing = jax.tree.map(lambda _: False, twin)
    network, free = trains in ("joint", "network"), trains in ("joint", "physiology")
    mask = eqx.tree_at(lambda t: t.surrogate, nothing, twin.surrogate.moves(network))
    return eqx.tree_at(
        lambda t: t.physiology.free, mask, dict.fromkeys(twin.physiology.free, free), is_leaf=lambda x: x is None
    )


class Moments(NamedTuple):
    """State of the solver."""

    optimiser: Any
    """What optax keeps, for the leaves that move and no others."""
    gradient_norm: Float[Array, ""]
    """Of the loss before the last step, by the leaves that move; the loss has no unit."""


def initial_moments(twin: Twin, stage: Stage) -> Moments:
    """The solver's state before the first step."""
    moving = eqx.filter(twin, trainable(twin, stage.trains))
    return Moments(stage.transformation().init(moving), jnp.zeros((), twin.scales.noise.dtype))


def first_order_steps(
    twin: Twin, state: Moments, data: Series, d: Drive, weights: Array, steps: Array, stage: Stage
) -> tuple[Twin, Moments]:
    """So many steps of an optax optimiser, each with its weight of the equations.

    The loss is in units of the noise: `mean (misfit/noise)^2 + weight^2 sum over states of mean r^2`.
    """
    optimiser = stage.transformation()
    moving, still = eqx.partition(twin, trainable(twin, stage.trains))
    parts = lambda moving: _parts(eqx.combine(moving, still), data, d)
    pull = _balance(stage.balance, parts, moving)

    def objective(moving: Any, weight: Array) -> Array:
        miss = parts(moving)
        body = eqx.combine(moving, still).physiology
        equations = weight * miss.equations
        if stage.causal:
            equations = _wait(equations, stage.causal)
        squares = pull.data * jnp.sum(miss.data**2) + jnp.sum(pull.equations * jnp.sum(equations**2, axis=1))
        from_priors = jnp.sum(body.prior_misfit(jnp.ones_like(weight)) ** 2) / jnp.maximum(jnp.sum(data.fit), 1)
        return squares + from_priors

    def step(i: Array, carry: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
        moving, state, _ = carry
        loss = lambda moving: objective(moving, weights[i])
        value, gradient = jax.value_and_grad(loss)(moving)
        updates, state = optimiser.update(gradient, state, moving, value=value, grad=gradient, value_fn=loss)
        return optax.apply_updates(moving, updates), state, optax.tree.norm(gradient)

    moving, *moments = jax.lax.fori_loop(0, steps, step, (moving, *state))
    return eqx.combine(moving, still), Moments(*moments)


def _parts(twin: Twin, data: Series, d: Drive) -> Terms:
    """Residuals by term, scaled so that their sum of squares is the term: the misfit in units of the noise."""
    states, at_rows = d.parts(twin.states(d.points_min))
    equations = equation_residuals(states, twin, d)
    miss = reading_residuals(twin.glucose(at_rows), data.glucose_mg_dL, data.fit)
    size = twin.scales.noise * jnp.sqrt(jnp.maximum(jnp.sum(data.fit), 1))
    return Terms(miss / size, equations / jnp.sqrt(equations.shape[1]))


def _wait(equations: Float[Array, "states cells"], strength: float) -> Float[Array, "states cells"]:
    """Each cell's residuals, the less counted the worse the cells before it are met.

    Source: Wang, Sankaran, Perdikaris, "Respecting causality for training physics-informed neural networks", Comput.
    Methods Appl. Mech. Eng. 421, 2024.
    """
    cell = jnp.sum(equations**2, axis=0)
    earlier = jnp.cumsum(cell) - cell
    return jax.lax.stop_gradient(jnp.exp(-strength * earlier / 2)) * equations


def _balance(kind: str, parts: Callable[[Any], Terms], moving: Any) -> Terms:
    """A factor for each term, held for a chunk of steps: the sum of all terms' pulls over the term's own.

    Source: Wang, Teng, Perdikaris, SIAM J. Sci. Comput. 43(5), 2021 (gradient norms); Wang, Yu, Perdikaris, "When and
    why PINNs fail to train: a neural tangent kernel perspective", J. Comput. Phys. 449, 2022 (traces, here by random
    signs).
    """
    miss = jax.eval_shape(parts, moving)
    states, dtype = miss.equations.shape[0], miss.data.dtype
    if kind == "none":
        return Terms(jnp.ones((), dtype), jnp.ones(states, dtype))
    miss, back = jax.vjp(parts, moving)
    pull = lambda direction: optax.tree.norm(back(direction)[0])
    # The terms: readings, then each equation.
    one, none = jnp.ones((), dtype), jnp.zeros((), dtype)
    masks = [
        Terms(one, jnp.zeros((states, 1), dtype)),
        *(Terms(none, row[:, None]) for row in jnp.eye(states, dtype=dtype)),
    ]
    if kind == "gradient_norm":
        pulls = [pull(jax.tree.map(lambda r, on: 2 * r * on, miss, mask)) for mask in masks]
    else:
        sign = lambda key, r: jax.random.rademacher(key, r.shape, r.dtype)
        signs = [jax.tree.map(lambda r, k=k: sign(k, r), miss) for k in jax.random.split(jax.random.key(0), _PROBES)]
        both = lambda a, on: a * on
        pulls = [jnp.mean(jnp.stack([pull(jax.tree.map(both, s, mask)) for s in signs]) ** 2) for mask in masks]
    total = sum(pulls)
    factors = [jax.lax.stop_gradient(total / jnp.maximum(pulled, 1e-12 * total)) for pulled in pulls]
    return Terms(factors[0], jnp.stack(factors[1:]))
