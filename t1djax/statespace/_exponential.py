"""Matrix exponentials and the noise that a linear system gathers, over steps of any length."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

_DOUBLINGS = 14  # a step is cut into 2^14 parts for the series, then doubled
_TERMS = 10


def exponential(A: Float[Array, "n n"], dt: Array) -> Float[Array, "n n"]:
    """`exp(A dt)`: the series over `dt / 2^14`, doubled fourteen times."""
    return jax.lax.fori_loop(0, _DOUBLINGS, lambda _, F: F @ F, _series(A * (dt / 2**_DOUBLINGS)))


def discrete(
    A: Float[Array, "n n"], spectral: Float[Array, " n"], dt: Array
) -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
    """Transition and gathered noise of `x' = A x + sqrt(spectral) w` over `dt`.

    Both come from their series over `dt / 2^14`, doubled: `F(2t) = F(t)^2`, `Q(2t) = Q(t) + F(t) Q(t) F(t)'`. Unlike
    the single block exponential of Van Loan it stays exact over gaps of many time constants, since no growing
    exponential is formed.

    Args:
        A: rates of the states, 1/min.
        spectral: spectral density of the noise on each, its unit squared per min.
        dt: length of the step, min.

    Returns:
        The transition, and the covariance of what the noise adds.

    Source: Van Loan, "Computing integrals involving the matrix exponential", IEEE Trans. Autom. Control 23(3), 1978.
    """
    n = A.shape[0]
    part = dt / 2**_DOUBLINGS
    block = jnp.block([[-A, jnp.diag(spectral)], [jnp.zeros((n, n)), A.T]])
    short = _series(block * part)
    F = short[n:, n:].T
    Q = F @ short[:n, n:]

    def double(_: ArrayLike, FQ: tuple[Array, Array]) -> tuple[Array, Array]:
        F, Q = FQ
        return F @ F, Q + F @ Q @ F.T

    F, Q = jax.lax.fori_loop(0, _DOUBLINGS, double, (F, Q))
    return F, (Q + Q.T) / 2


def kalman_spread(
    cov: Float[Array, "states states"], transition: Float[Array, "states states"], noise: Float[Array, "states states"]
) -> Float[Array, "states states"]:
    """Covariance of the states after a step, `F P F' + Q`.

    Args:
        cov: before it.
        transition: `F`, or its derivative.
        noise: `Q`.
    """
    spread = transition @ cov @ transition.T + noise
    return (spread + spread.T) / 2


def _series(X: Float[Array, "n n"]) -> Float[Array, "n n"]:
    eye = jnp.eye(X.shape[0], dtype=X.dtype)
    return jax.lax.fori_loop(0, _TERMS, lambda i, total: eye + X @ total / (_TERMS - i), eye)
