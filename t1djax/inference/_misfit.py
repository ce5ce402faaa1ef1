"""Whether what a fit leaves of its readings may be a sensor's noise."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import special

from ..data import Patient, PatientArrays, noise_level
from ..programs import over_cohort
from ..records import Misfit
from ._information import NoiseCorrelation

SENSOR_MG_DL = 10.0
"""What the noise of a sensor may be where nobody states it."""
_SENSOR_MIN = 60.0  # longest time constant of a sensor's autocorrelated noise
_USUAL_MIN = 30.0  # and twice the longest that studies of sensors report
_SLOW_MIN, _SLOW_SHARE = 120.0, 0.5  # from here on residuals are correlated as no sensor's noise is
_STATED, _GUESSED = 1.25, 1.5  # factors within which a noise is known
_CHANCE = 0.99


def misfits(
    patients: Sequence[Patient],
    left: Sequence[tuple[np.ndarray, np.ndarray]],
    correlations: Sequence[NoiseCorrelation],
    *,
    unknowns: int,
    noise_sd_mg_dL: float | None,
) -> list[Misfit]:
    """Compare the residuals of each patient with the noise that the sensor may have.

    `chi^2 = sum r^2 / ((n - k) s^2)` is compared with its 99 % quantile for as many independent readings as the
    autocorrelation leaves, times the square of the factor within which `s` is known: 1.25 where it is stated and 1.5
    where it is not; it is 10 mg/dL then, or the roughness of the readings if that is more. Residuals correlated for
    more than two hours get no such allowance: no sensor's noise does.

    Source: variance of the mean square of a stationary Gaussian process, Bartlett 1946.
    """
    found = _compare(left, correlations, unknowns, np.full(len(left), noise_sd_mg_dL or SENSOR_MG_DL), noise_sd_mg_dL)
    rough = [i for i, one in enumerate(found) if one.found] if noise_sd_mg_dL is None else []
    if rough:
        level, _ = over_cohort(noise_level, PatientArrays([patients[i] for i in rough]), effort="least")
        levels = np.maximum(level, SENSOR_MG_DL)
        again = _compare([left[i] for i in rough], [correlations[i] for i in rough], unknowns, levels, None)
        for i, one in zip(rough, again, strict=True):
            found[i] = one
    return found


def independent(readings: int, apart_min: float, correlation: NoiseCorrelation) -> float:
    """As many independent readings as tell the same of the variance of this noise.

    Source: Bartlett 1946.
    """
    kept = np.exp(-2 * apart_min * correlation.decay_per_min)
    return float(readings / (1 + 2 * correlation.share**2 * kept / (1 - kept)))


def slower_than_a_sensor(memory: NoiseCorrelation) -> bool:
    """Whether most of what the residuals are outlasts what a sensor's errors do."""
    return memory.share > _SLOW_SHARE and memory.decay_per_min * _USUAL_MIN < 1


def _compare(
    left: Sequence[tuple[np.ndarray, np.ndarray]],
    correlations: Sequence[NoiseCorrelation],
    unknowns: int,
    sensor: Float[np.ndarray, " patients"],
    stated: float | None,
) -> list[Misfit]:
    n = np.array([len(r) for _, r in left], dtype=np.float64)
    squares = np.array([np.sum(r**2) for _, r in left])
    apart = np.array([np.median(np.diff(t)) if len(t) > 1 else np.inf for t, _ in left])
    share, rate = (np.array([m[j] for m in correlations]) for j in (1, 2))
    # As much memory as a sensor can have: a slow misfit is not to hide behind its own slowness.
    kept = np.exp(-2 * apart * np.maximum(rate, 1 / _SENSOR_MIN))
    independent = n / (1 + 2 * share**2 * kept / (1 - kept))
    freedom = np.maximum(independent - unknowns, 1.0)
    slow = (share > _SLOW_SHARE) & (rate * _SLOW_MIN < 1)
    tolerance = np.where(slow, 1.0, _GUESSED if stated is None else _STATED)
    limit = tolerance * np.sqrt(special.chdtri(freedom, 1 - _CHANCE) / freedom)
    chi2 = squares / np.maximum(n - unknowns, 1) / sensor**2
    return [
        Misfit(*map(float, row))
        for row in zip(np.sqrt(squares / np.maximum(n, 1)), sensor, chi2, limit**2, strict=True)
    ]
