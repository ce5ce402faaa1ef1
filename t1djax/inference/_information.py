"""What readings tell of parameters: the Fisher information by autodiff, and the linear algebra on it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._compile import compile_once
from ..data import Patient, Series, split, stack, stacked_shape
from ..twin import Physiology, Sensitivities
from ._least_squares import _Given, _jacobian, blocks

_BLOCK = 128
_SIGNIFICANT = 2.0  # standard errors of an autocorrelation
_STRONGEST = 0.99  # autocorrelation beyond which a record holds no independent readings
_WHITE = 1e3  # 1/min: noise that forgets within a second
_NOTHING = 1e-12  # share of the information, in units where each parameter has one, that is rounding
_UNSEEN_MG_DL = 1e-6  # change of glucose, per unit of a logarithm, that is rounding


class Memory(NamedTuple):
    """How long the noise of a patient's readings remembers."""

    correlation: float
    """From one reading to the next; zero where it cannot be told from zero."""
    forgets_per_min: float
    """Rate at which the correlation falls off, 1/min."""


WHITE = Memory(0.0, _WHITE)
"""Noise that does not remember."""


def residuals(patient: Patient, glucose_mg_dL: Float[np.ndarray, " rows"]) -> tuple[np.ndarray, np.ndarray]:
    """Times (min) of the fit readings and what they are above a fitted curve, mg/dL."""
    fit = split(patient.time_min, patient.valid).fit
    return patient.time_min[fit], patient.glucose_mg_dL[fit] - glucose_mg_dL[fit]


def memory(time_min: Float[np.ndarray, " readings"], residual: Float[np.ndarray, " readings"]) -> Memory:
    """The AR(1) process that residuals look like: their correlation from one reading to the next.

    ```
    rho = mean of e_i e_(i+1) over neighbours / mean of e_i^2
    ```

    Neighbours are readings at most one and a half usual intervals apart. A correlation within two standard errors of
    zero counts as none, and so does a negative one.
    """
    if len(residual) < 4 or not np.all(np.isfinite(residual)):
        return WHITE
    apart = np.diff(time_min)
    usual = float(np.median(apart))
    near = apart <= 1.5 * usual
    power = float(np.mean(residual**2))
    # Without noise what is left is rounding, and rounding remembers.
    if not near.any() or power < _UNSEEN_MG_DL**2:
        return WHITE
    rho = float(np.mean((residual[:-1] * residual[1:])[near])) / power
    if rho < _SIGNIFICANT / np.sqrt(near.sum()):
        return WHITE
    rho = min(rho, _STRONGEST)
    return Memory(rho, -np.log(rho) / usual)


class Told(NamedTuple):
    """What readings tell of the free logarithms of one patient; leading axes for more."""

    white: Array
    """`J'J`, (mg/dL)^2: the information times the variance of the noise."""
    coloured: Array
    """`J'RJ`, with `R` the correlation of the noise."""
    found: Sensitivities
    """Values, slopes and the prior."""


def told(body: Physiology, patients: Sequence[Patient], memories: Sequence[Memory]) -> Told:
    """The information in the fit readings of each patient, computed from the exact equations, block by block.

    Args:
        body: physiologies of the patients, stacked, without bounds, at the values of interest.
        patients: give times, masks and doses; their readings do not count.
        memories: how long the noise remembers.
    """
    with jax.enable_x64(True):
        everyone = (body, jnp.asarray([m.forgets_per_min for m in memories]))
        shape, parts = stacked_shape(patients), []
        for here in blocks(len(patients), _BLOCK):
            mine, rate = jax.tree.map(lambda x, here=here: x[here], everyone)
            args = (_Given(mine, stack([patients[i] for i in here], least=shape)), rate)
            program, _ = compile_once(_told_program, (), args)
            parts.append(jax.tree.map(np.asarray, program(*args)))
    return jax.tree.map(lambda *x: np.concatenate(x)[: len(patients)], *parts)


def _told_program() -> Callable[..., Told]:
    def one(given: _Given, forgets_per_min: Array) -> Told:
        J = _jacobian(given.body.free, given)
        return Told(J.T @ J, coloured(J, given.data, forgets_per_min), given.body.sensitivities())

    return jax.vmap(one)


def coloured(
    J: Float[Array, "rows free"], data: Series, forgets_per_min: Float[Array, ""]
) -> Float[Array, "free free"]:
    """`J'RJ` for noise whose correlation falls off exponentially: `R_ij = exp(-rate |t_i - t_j|)`, in one pass."""

    def step(kept: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        J_i, decay = row
        before = decay * kept
        return before + J_i, before

    decays = jnp.exp(-forgets_per_min * jnp.diff(data.time_min, prepend=data.time_min[:1]))
    _, earlier = jax.lax.scan(step, jnp.zeros(J.shape[1], J.dtype), (J, decays))
    once = J.T @ earlier
    return once + once.T + J.T @ J


class Bounds(NamedTuple):
    """Variances of logarithms, with directions of which nothing is known kept apart."""

    covariance: Float[np.ndarray, "free free"]
    """Where something is known; zero along the rest."""
    open: Float[np.ndarray, "free open"]
    """Orthonormal directions of which nothing is known."""

    def sd(self, g: Float[np.ndarray, " free"]) -> float:
        """Standard deviation of the combination `g` of the logarithms; infinite where it is open."""
        if self.open.size and np.linalg.norm(self.open.T @ g) > 1e-4 * np.linalg.norm(g):
            return np.inf
        return float(np.sqrt(max(g @ self.covariance @ g, 0.0)))

    def sds(self) -> np.ndarray:
        """Of each logarithm by itself."""
        return np.array([self.sd(row) for row in np.eye(len(self.covariance))])


def invert(information: Float[np.ndarray, "free free"], readings: int, structural: int = 0) -> Bounds:
    """The inverse of an information, (mg/dL)^2, by eigenvalues in units where each parameter has one.

    Args:
        information: symmetric, times the variance of the noise.
        readings: behind it; sets what is rounding.
        structural: how many directions are known to be open.
    """
    k = len(information)
    if not np.all(np.isfinite(information)):
        return Bounds(np.full((k, k), np.nan), np.zeros((k, 0)))
    size = np.sqrt(np.maximum(np.diagonal(information), 0.0))
    seen = size > _UNSEEN_MG_DL * np.sqrt(max(readings, 1))
    size = np.where(seen, size, 1.0)
    scaled = np.where(np.outer(seen, seen), information / np.outer(size, size), 0.0)
    values, vectors = np.linalg.eigh(scaled)
    dark = values <= _NOTHING
    if structural > dark.sum():
        dark = np.arange(k) < structural
    inverse = (vectors[:, ~dark] / values[~dark]) @ vectors[:, ~dark].T / np.outer(size, size)
    directions = vectors[:, dark] / size[:, None]
    return Bounds(inverse, np.linalg.qr(directions)[0] if dark.any() else np.zeros((k, 0)))


def sandwich(inner: Bounds, coloured: np.ndarray, prior: np.ndarray) -> Bounds:
    """Variances of the same estimates where the noise is coloured: `A^-1 (J'RJ + P) A^-1`."""
    return Bounds(inner.covariance @ (coloured + prior) @ inner.covariance, inner.open)
