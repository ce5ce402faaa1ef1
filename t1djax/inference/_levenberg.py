"""Levenberg-Marquardt for a few parameters and many readings, written so that the model is traced once."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_FIRST_DAMPING, _STIFFEST = 1e-6, 1e10  # shares of the diagonal; beyond the last no step helps any more
_LEAST = 1e-14  # share of its own information that a held-up direction is given, so that the matrix has an inverse


class Optimum(NamedTuple):
    """Where a sum of squares is least."""

    z: Float[Array, " free"]
    """The coordinates, in units of your own."""
    squares: Float[Array, ""]
    """The sum, in the square of the unit of the residuals."""
    jacobian: Float[Array, "rows free"]
    """Of the residuals by the coordinates, there; the inverse of `J'J`, times the variance of the noise, is the
    covariance of the coordinates. In the unit of the residuals over that of the coordinates."""
    steps: Array
    """Trials that it took."""
    converged: Array
    """Whether it is a minimum."""


class _State(NamedTuple):
    z: Array
    squares: Array
    rows: Array
    jacobian: Array
    trial: Array
    damping: Array
    steps: Array
    converged: Array
    stuck: Array


def least_squares(
    rows: Callable[[Float[Array, " free"]], Float[Array, " rows"]],
    z0: Float[Array, " free"],
    *,
    moves: Float[Array, " free"] | None = None,
    lowest: Float[Array, " free"] | None = None,
    tolerance: float = 1e-10,
    max_steps: int = 256,
) -> Optimum:
    """Minimise `|rows(z)|^2` by steps `-(A + damping diag A)^-1 J'r` with `A = J'J`, derivatives by forward mode.

    It stands at a minimum when a step that was taken changed the coordinates and the sum by less than the
    tolerance, relative and absolute. Every pass of the loop tries one point and takes its value and Jacobian in one
    sweep.

    Args:
        rows: the residuals.
        z0: where to start.
        moves: one for each coordinate that moves, zero for one that is held; all move if not given.
        lowest: least coordinates, minus infinity where there is none; what would go below stands there.
        tolerance: relative, and absolute without unit; see above.
        max_steps: trials after which to give up.

    Returns:
        The minimum; `converged` says whether it is one. `vmap` it for a cohort, and compute in float64.

    Example:
        >>> import jax.numpy as jnp
        >>> import t1djax
        >>> x = jnp.arange(4.0)
        >>> found = t1djax.inference.least_squares(lambda z: jnp.exp(z[0]) * x - 2.0 * x, jnp.zeros(1), tolerance=1e-6)
        >>> round(float(jnp.exp(found.z[0])), 3), bool(found.converged)
        (2.0, True)

    Source: Marquardt, J. SIAM 11(2), 1963.
    """
    rows = jax.jit(rows)  # traced once, for its shape and in the loop
    moves = jnp.ones_like(z0) if moves is None else moves
    inside = (lambda z: z) if lowest is None else lambda z: jnp.maximum(z, lowest)

    def movable(z: Array, g: Array) -> Array:
        """What moves, less what stands at its least and would go lower."""
        return moves if lowest is None else moves * ((z > lowest) | (g < 0))

    def swept(z: Array) -> tuple[Array, Array]:
        twice = lambda z: (rows(z),) * 2
        jacobian, value = jax.jacfwd(twice, has_aux=True)(z)
        return value, jacobian

    def step(s: _State) -> _State:
        r, J = swept(s.trial)
        squares = jnp.sum(r**2)
        better = squares <= s.squares  # false where it is not a number
        change = jnp.max(jnp.abs(s.trial - s.z) - tolerance * jnp.abs(s.z))
        near = (change <= tolerance) & (s.squares - squares <= tolerance * (1 + squares)) & (s.steps > 0)
        pick = lambda new, old: jnp.where(better, new, old)
        z, J, r = pick(s.trial, s.z), pick(J, s.jacobian), pick(r, s.rows)
        first = s.steps == 0
        damping = jnp.where(
            first, s.damping, jnp.where(better, s.damping / 10, jnp.maximum(s.damping, _FIRST_DAMPING) * 10)
        )
        trial = inside(z + damped(J.T @ J, movable(z, J.T @ r), -J.T @ r, damping))
        return _State(
            z=z,
            squares=pick(squares, s.squares),
            rows=r,
            jacobian=J,
            trial=trial,
            damping=damping,
            steps=s.steps + 1,
            converged=better & near,
            # Rounding keeps every further step from falling, or the first value is not a number.
            stuck=(damping > _STIFFEST) | (first & ~jnp.isfinite(squares)),
        )

    shape = jax.eval_shape(rows, z0)
    empty = jnp.zeros(shape.shape, shape.dtype)
    start = _State(
        z=z0,
        squares=jnp.asarray(jnp.inf, z0.dtype),
        rows=empty,
        jacobian=jnp.zeros((*shape.shape, z0.size), z0.dtype),
        trial=z0,
        damping=jnp.asarray(_FIRST_DAMPING, z0.dtype),
        steps=jnp.asarray(0),
        converged=jnp.asarray(False),
        stuck=jnp.asarray(False),
    )
    going = lambda s: ~s.converged & ~s.stuck & (s.steps < max_steps)
    end = jax.lax.while_loop(going, step, start)
    flat = _gradient(end, movable(end.z, end.jacobian.T @ end.rows)) <= _FLAT
    still = end.stuck & jnp.isfinite(end.squares) & flat
    return Optimum(end.z, end.squares, end.jacobian, end.steps, end.converged | still)


_FLAT = 1e-6  # share of a sum of squares that a Newton step could still take, below which it is flat


def _gradient(s: _State, moves: Array) -> Array:
    """What a full step would still take from the sum, as a share of it."""
    g = s.jacobian.T @ s.rows
    return g @ damped(s.jacobian.T @ s.jacobian, moves, g, 0.0) / jnp.maximum(s.squares, 1e-30)


def damped(
    A: Float[Array, "free free"], moves: Float[Array, " free"], b: Float[Array, " free"], damping: Array | float
) -> Float[Array, " free"]:
    """The solution of `(A + damping diag A) x = b` for what moves; the rest of `x` is zero."""
    size = jnp.sqrt(jnp.maximum(jnp.diagonal(A), 1e-30))
    scaled = A / (size[:, None] * size[None]) * (moves[:, None] * moves[None])
    scaled = scaled + jnp.diag((damping + _LEAST) * moves + (1 - moves))
    factor = jax.scipy.linalg.cho_factor(scaled)
    return jax.scipy.linalg.cho_solve(factor, b * moves / size) / size * moves
