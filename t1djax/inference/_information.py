"""What readings tell of parameters: the Fisher information by autodiff, and the linear algebra on it."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..data import Patient, PatientArrays, Series, steps_needed
from ..programs import over_cohort
from ..twin import Physiology, Sensitivities
from ._least_squares import _Given, _jacobian

_SIGNIFICANT = 2.0  # standard errors of an autocorrelation
_AT_ONCE = 1024  # patients, which bounds the memory at work
_FEWEST = 8  # residuals that say something of their memory
_LONGEST = 0.5  # of the span of a record, longest time over which noise may be found correlated
_NOTHING = 1e-12  # share of the information, in units where each parameter has one, that is rounding
_NO_SENSOR_MG_DL = 0.1  # root mean square of residuals that are no sensor's
_UNSEEN_MG_DL = 1e-6  # change of glucose, per unit of a logarithm, that is rounding


class NoiseCorrelation(NamedTuple):
    """How the noise of a patient's readings is correlated: `R_ij = (1 - share) 1_ij + share exp(-rate |t_i - t_j|)`."""

    correlation: float
    """From one reading to the next; zero where it cannot be told from zero."""
    share: float
    """Part of the variance that is autocorrelated; the rest is new at each reading."""
    decay_per_min: float
    """Rate at which the correlation fades, 1/min."""


WHITE = NoiseCorrelation(0.0, 0.0, 1.0)
"""White noise."""


def residuals(patient: Patient, glucose_mg_dL: Float[np.ndarray, " rows"]) -> tuple[np.ndarray, np.ndarray]:
    """Times (min) of the fit readings and what they are above a fitted curve, mg/dL."""
    fit = patient.masks.fit
    return patient.time_min[fit], patient.glucose_mg_dL[fit] - glucose_mg_dL[fit]


def noise_correlations(left: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[NoiseCorrelation]:
    """The sum of white noise and an AR(1) process that the residuals of each patient look like.

    Its share and rate are those whose correlations are nearest, by least squares, to those of the residuals (times in
    min, mg/dL) at 1, 2, 4, ... readings apart, up to a third of the record; so it sees slow drifts under white noise,
    too. A correlation from one reading to the next that is within two standard errors of zero counts as none, and so
    does that of residuals below 0.1 mg/dL (root mean square), which are no sensor's noise.
    """
    found = [WHITE] * len(left)
    alike: dict[int, list[int]] = {}
    for i, (_, residual) in enumerate(left):
        # Without noise what is left is rounding, or what a network misses of the equations: both are autocorrelated.
        if len(residual) >= _FEWEST and _NO_SENSOR_MG_DL**2 <= np.mean(residual**2) < np.inf:
            alike.setdefault(len(residual), []).append(i)
    for everyone in alike.values():
        for some in np.array_split(everyone, -(-len(everyone) // _AT_ONCE)):
            rows = _alike_correlations(np.stack([left[i][0] for i in some]), np.stack([left[i][1] for i in some]))
            for i, row in zip(some, rows, strict=True):
                found[i] = row
    return found


def _alike_correlations(
    time_min: Float[np.ndarray, "patients readings"], residual: Float[np.ndarray, "patients readings"]
) -> list[NoiseCorrelation]:
    """`noise_correlations` of patients with the same number of readings."""
    n = residual.shape[1]
    times = time_min[:1] if np.all(time_min == time_min[0]) else time_min  # once for all where they are the same
    power = np.mean(residual**2, axis=1)
    lags = 2 ** np.arange(int(np.log2(max(n // 3, 1))) + 1)
    found, apart = [], []
    for lag in lags:
        gap = times[:, lag:] - times[:, :-lag]
        near = gap <= 1.5 * np.median(gap, axis=1, keepdims=True)  # not across a hole in the record
        pairs = np.sum(near, axis=1)
        found.append(np.sum(residual[:, :-lag] * residual[:, lag:] * near, axis=1) / pairs / power)
        apart.append(np.sum(gap * near, axis=1) / pairs)
    seen, usual = np.stack(found, axis=1), np.median(np.diff(times, axis=1), axis=1)
    rates = np.geomspace(1 / (_LONGEST * (times[:, -1] - times[:, 0])), 2 / usual, 60, axis=1)
    shapes = np.exp(-rates[:, :, None] * np.stack(apart, axis=1)[:, None, :])
    # Far apart few pairs are independent: they weigh less.
    weight = 1 / lags
    shares = np.clip(np.sum(shapes * weight * seen[:, None], axis=2) / (shapes**2 @ weight), 0.0, 1.0)
    best = np.argmin((shares[:, :, None] * shapes - seen[:, None]) ** 2 @ weight, axis=1)
    at_best = lambda x: np.take_along_axis(np.broadcast_to(x, shares.shape), best[:, None], axis=1)[:, 0]
    best_of_each = zip(np.minimum(seen[:, 0], 1.0), at_best(shares), at_best(rates), strict=True)
    return [
        NoiseCorrelation(*map(float, row)) if row[0] >= _SIGNIFICANT / np.sqrt(n) else WHITE for row in best_of_each
    ]


def unbiased(correlation: NoiseCorrelation, time_min: np.ndarray, unknowns: int) -> NoiseCorrelation:
    """The correlation of noise from that of residuals, of which a fit took what looks like its parameters.

    ```
    E rho_residual = rho - (k (1 + rho) + 2 rho) / n
    ```

    for `k` regressors that change slowly, of which a mean is the first.

    Source: Kendall, Biometrika 41, 1954, and Marriott and Pope, ibid., for a mean; each further regressor alike.
    """
    if correlation == WHITE or len(time_min) < _FEWEST:
        return correlation
    apart, n, k = float(np.median(np.diff(time_min))), len(time_min), unknowns
    rho = np.exp(-correlation.decay_per_min * apart)
    rho = min((rho + k / n) / (1 - (k + 2) / n), 1 - _SLOWEST / n)
    return correlation._replace(decay_per_min=float(-np.log(rho) / apart))


def absorbed(readings: int, unknowns: int, taken: float) -> float:
    """By how much residuals understate the variance of autocorrelated noise, of which a fit takes its part.

    `E r'r = s^2 (n - tr((J'J)^-1 J'RJ))`, against `s^2 (n - k)` of white noise, by which `s` was estimated from `n`
    readings with `k` unknowns; the trace is `taken`.
    """
    return max(1.0, (readings - unknowns) / max(readings - taken, _LEAST_LEFT * readings))


_LEAST_LEFT = 0.1
_SLOWEST = 2.0  # share of a record in which noise forgets, at the most half


class Information(NamedTuple):
    """What readings tell of the free logarithms of one patient; leading axes for more."""

    white: Array
    """`J'J`, (mg/dL)^2: the information times the variance of the noise."""
    coloured: Array
    """`J'RJ`, with `R` the correlation of the noise."""
    found: Sensitivities
    """Values, slopes and the prior."""


def reading_information(
    body: Physiology, patients: Sequence[Patient], correlations: Sequence[NoiseCorrelation]
) -> Information:
    """The information in the fit readings of each patient, computed from the exact equations, block by block.

    Parameters are without bounds, at the values of interest; readings themselves do not count.
    """
    if (steps := steps_needed(patients, body.body)) != body.steps:
        with jax.enable_x64(True):
            body = dataclasses.replace(jax.tree.map(jnp.asarray, body), steps=steps)
    correlation = np.array([m[1:] for m in correlations], np.float64)
    return over_cohort(_information, body, PatientArrays(patients), correlation)[0]


def _information(body: Physiology, data: Series, correlation: Array) -> Information:
    J = _jacobian(body.free, _Given(body, data))
    return Information(J.T @ J, coloured(J, data, correlation), body.sensitivities())


def coloured(J: Float[Array, "rows free"], data: Series, correlation: Float[Array, "2"]) -> Float[Array, "free free"]:
    """`J'RJ` in one pass, with `R` as in `NoiseCorrelation`, of which `correlation` is the share and the rate."""
    share, decay_per_min = correlation

    def step(kept: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        J_i, decay = row
        before = decay * kept
        return before + J_i, before

    decays = jnp.exp(-decay_per_min * jnp.diff(data.time_min, prepend=data.time_min[:1]))
    _, earlier = jax.lax.scan(step, jnp.zeros(J.shape[1], J.dtype), (J, decays))
    once = J.T @ earlier
    return share * (once + once.T) + J.T @ J


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


def invert(information: Float[np.ndarray, "free free"], readings: int, structural: int = 0) -> Bounds:
    """The inverse of an information, (mg/dL)^2, by eigenvalues in units where each parameter has one.

    The number of readings behind it sets what is rounding; `structural` directions are known to be open.
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
