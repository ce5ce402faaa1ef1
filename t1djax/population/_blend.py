"""What others taught and the person's own stochastic model, blended as the person's own days say."""

import dataclasses

import numpy as np
from jaxtyping import Float

from ..data import HIGHEST_READING, LOWEST_READING
from ..records import RollingForecasts

_WEIGHT = 0.4
"""Of the stochastic model, until the own days say more: about the best over days 3 to 14 of AZT1D's twelve, each by
forecasters that never saw them."""
_WEIGHT_DAYS, _SPREAD_DAYS = 7.0, 1.0
"""Days of the person's own misses that weigh as much as that weight, and as the stated spread."""
_Z90 = 1.6448536269514722
_DAY_MIN = 1440.0


def blended_forecasts(
    population: RollingForecasts,
    stochastic: RollingForecasts,
    *,
    train_until_min: float,
    announced: RollingForecasts | None = None,
) -> RollingForecasts:
    """One forecast of two: of what others taught, and of the person's own model.

    ```
    mean = p + w (s - p) + (a - s),   w = (days w_own + 7 * 0.4)/(days + 7)
    w_own = sum (s - p)(y - p) / sum (s - p)^2
    ```

    over the forecasts of the training part, for each horizon; `w` stays between 0 and 1. What announced doses add,
    `a - s`, is wholly the own model's, so that it has the size that doses have in this person. Standard deviations are
    those of the two in the same shares, times the factor that makes the 90 % interval hold that share of the training
    part.

    Args:
        population: from `population_forecasts`, with origins in the training part and after it.
        stochastic: from `state_space_forecasts`, from the same origins at the same horizons.
        train_until_min: end of the training part, min; what was read later teaches nothing.
        announced: the stochastic model's forecasts that know of later doses; left out, nothing is known of them.

    Returns:
        The forecasts, as method `blend`; where one of the two has none, the other's.

    Raises:
        ValueError: where they are of different people, origins, horizons or future inputs.

    Example:
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=15, names=["Pat2"])["Pat2"]
        >>> one = t1djax.population_forecasts(t1djax.shipped_forecaster(), patient, horizon_min=(30.0,))
        >>> other = t1djax.baseline_forecasts(patient, "persistence", horizon_min=(30.0,))
        >>> t1djax.population.blended_forecasts(one, other, train_until_min=2000.0).method
        'blend'
    """
    same = np.array_equal(population.origin_min, stochastic.origin_min)
    same = same and np.array_equal(population.horizon_min, stochastic.horizon_min)
    if announced is not None:
        same = same and announced.mean_mg_dL.shape == stochastic.mean_mg_dL.shape
    if population.name != stochastic.name or not same or population.future_inputs != stochastic.future_inputs:
        raise ValueError(f"blended_forecasts: {population} and {stochastic} are not of the same origins and horizons")
    p, s, y = population.mean_mg_dL, stochastic.mean_mg_dL, population.observed_mg_dL
    ends = population.origin_min[:, None] + population.horizon_min
    learns = (ends <= train_until_min) & np.isfinite(p) & np.isfinite(s) & np.isfinite(y)
    apart, miss = np.where(learns, s - p, 0.0), np.where(learns, y - p, 0.0)
    days = _days(population, learns)
    square = (apart**2).sum(axis=0)
    own = np.divide((apart * miss).sum(axis=0), square, out=np.full(len(days), _WEIGHT), where=square > 0)
    w = ((days * own + _WEIGHT_DAYS * _WEIGHT) / (days + _WEIGHT_DAYS)).clip(0.0, 1.0)
    either = lambda a, b: np.where(np.isfinite(a), np.where(np.isfinite(b), a + w * (b - a), a), b)
    mean, sd = either(p, s), either(population.sd_mg_dL, stochastic.sd_mg_dL)
    if announced is not None:
        mean = np.where(np.isfinite(s), mean + announced.mean_mg_dL - s, mean).clip(LOWEST_READING, HIGHEST_READING)
    far = np.where(learns, np.abs(y - mean) / sd, np.nan)
    factor = np.array([np.quantile(x[np.isfinite(x)], 0.9) / _Z90 if np.isfinite(x).any() else 1.0 for x in far.T])
    return dataclasses.replace(
        population if announced is None else announced,
        method="blend",
        mean_mg_dL=mean,
        sd_mg_dL=sd * factor ** (days / (days + _SPREAD_DAYS)),
    )


def _days(forecasts: RollingForecasts, learns: np.ndarray) -> Float[np.ndarray, " horizons"]:
    """Days that the forecasts of the training part stand for."""
    if len(forecasts.origin_min) < 2:
        return np.zeros(len(forecasts.horizon_min))
    return learns.sum(axis=0) * float(np.median(np.diff(forecasts.origin_min))) / _DAY_MIN
