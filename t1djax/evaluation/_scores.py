"""Scores of forecasts: errors, the calibration of their intervals, and whether they see hypoglycaemia coming."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from ..records import RollingForecasts
from ._errors import GLUCOSE_RANGES, reading_errors

if TYPE_CHECKING:
    import pandas as pd

HYPOGLYCAEMIA_MG_DL = 70.0
"""Readings below are hypoglycaemia, mg/dL (level 1; Battelino et al. 2019)."""


def gaussian_crps(
    mean: Float[np.ndarray, "*n"], sd: Float[np.ndarray, "*n"], observed: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """Continuous ranked probability score of normal forecasts, in the unit of the readings.

    ```
    CRPS = sd (z (2 Phi(z) - 1) + 2 phi(z) - 1/sqrt(pi)),  z = (observed - mean)/sd
    ```

    It is the absolute error where the standard deviation is zero, and less is better.

    Args:
        mean: expected readings, mg/dL.
        sd: their standard deviations, mg/dL.
        observed: what was read, mg/dL.

    Returns:
        One score per forecast, mg/dL.

    Example:
        >>> import numpy as np, t1djax
        >>> float(t1djax.evaluation.gaussian_crps(np.zeros(1), np.ones(1), np.zeros(1))[0].round(4))
        0.2337

    Source: Gneiting and Raftery, J. Am. Stat. Assoc. 102:359 (2007), eq. 21.
    """
    from scipy.special import ndtr  # noqa: PLC0415

    miss = observed - mean
    z = np.divide(miss, sd, out=np.zeros_like(miss), where=sd > 0)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    score = sd * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return np.where(sd > 0, score, np.abs(miss) + 0.0 * sd)


def score_forecasts(
    forecasts: RollingForecasts | Iterable[RollingForecasts],
    *,
    alarm_probability: float | None = None,
    common: bool = True,
) -> "pd.DataFrame":
    """Score forecasts against the readings that followed, by horizon and by range of those readings.

    Coverage is the share of readings inside the central interval of the normal forecast. An alarm is a forecast below
    70 mg/dL, or one whose probability of a reading below is at least `alarm_probability`.

    Ranges are of the reading that followed, which nobody knew at the origin: forecasts that regress to the mean, as
    good ones do, are low in high ranges and high in low ones. Rank methods by the rows of all readings.

    Args:
        forecasts: of one or several patients and methods.
        alarm_probability: when to raise the alarm; left out, by the expected reading.
        common: whether to score methods on the readings that all methods of a patient forecast.

    Returns:
        One row per patient, method, knowledge of future inputs, horizon and range: `patient, method, future_inputs,
        horizon_min, range, n, rmse_mg_dL, mae_mg_dL, mard_percent, bias_mg_dL, coverage_50_percent,
        coverage_90_percent, crps_mg_dL, sd_mg_dL`, and, in the rows of all readings, `hypo_n` (readings below 70),
        `alarms`, `hypo_sensitivity_percent` (of those readings, how many had an alarm), `hypo_false_alarm_percent`
        (of the alarms, how many were of a reading of 70 and more) and `hypo_false_positive_percent` (of readings of
        70 and more, how many had an alarm). NaN where there is nothing to count.

    Raises:
        ValueError: where the probability does not lie between 0 and 1.

    Example:
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=15, names=["Pat2"])["Pat2"]
        >>> each = [t1djax.baseline_forecasts(patient, method) for method in ("persistence", "linear")]
        >>> table = t1djax.score_forecasts(each)
        >>> sorted(table["range"].unique())
        ['181-250', '54-69', '70-180', '<54', '>250', 'all']

    Source: Battelino et al., Diabetes Care 42(8), 2019, for the ranges.
    """
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    if alarm_probability is not None and not 0 < alarm_probability < 1:
        raise ValueError(f"score_forecasts: alarm_probability is {alarm_probability!r}; give one between 0 and 1")
    each = [forecasts] if isinstance(forecasts, RollingForecasts) else list(forecasts)
    rows = []
    for one in each:
        scored = np.isfinite(one.mean_mg_dL) & np.isfinite(one.observed_mg_dL)
        if common:
            scored &= _also_by(one, [other for other in each if other.name == one.name])
        for h, horizon in enumerate(one.horizon_min.tolist()):
            who = {"patient": one.name, "method": one.method, "future_inputs": one.future_inputs}
            who["horizon_min"] = horizon
            mean, sd = one.mean_mg_dL[:, h][scored[:, h]], one.sd_mg_dL[:, h][scored[:, h]]
            observed = one.observed_mg_dL[:, h][scored[:, h]]
            rows.append(
                who | {"range": "all"} | _scores(mean, sd, observed) | _hypo(mean, sd, observed, alarm_probability)
            )
            for label, inside in GLUCOSE_RANGES.items():
                use = inside(observed)
                rows.append(who | {"range": label} | _scores(mean[use], sd[use], observed[use]))
    return pd.DataFrame(rows)


def _also_by(one: RollingForecasts, others: Sequence[RollingForecasts]) -> Bool[np.ndarray, "origins horizons"]:
    """Which of its forecasts every other method made as well, of readings there are."""
    keep = np.full(one.mean_mg_dL.shape, True)
    for other in others:
        known = {
            (origin, horizon)
            for (i, origin) in enumerate(other.origin_min.tolist())
            for (h, horizon) in enumerate(other.horizon_min.tolist())
            if np.isfinite(other.mean_mg_dL[i, h])
        }
        horizons = set(other.horizon_min.tolist())
        for h, horizon in enumerate(one.horizon_min.tolist()):
            if horizon in horizons:
                keep[:, h] &= [(origin, horizon) in known for origin in one.origin_min.tolist()]
    return keep


def _scores(
    mean: Float[np.ndarray, " n"], sd: Float[np.ndarray, " n"], observed: Float[np.ndarray, " n"]
) -> dict[str, float]:
    from scipy.special import ndtri  # noqa: PLC0415

    stated = np.isfinite(sd)
    z = np.abs(observed - mean)[stated]
    inside = lambda share: _percent(z <= ndtri((1 + share) / 2) * sd[stated], np.full(z.shape, True))
    average = lambda x: float(x.mean()) if x.size else float("nan")
    return reading_errors(mean, observed) | {
        "coverage_50_percent": inside(0.5),
        "coverage_90_percent": inside(0.9),
        "crps_mg_dL": average(gaussian_crps(mean[stated], sd[stated], observed[stated])),
        "sd_mg_dL": average(sd[stated]),
    }


def _hypo(
    mean: Float[np.ndarray, " n"],
    sd: Float[np.ndarray, " n"],
    observed: Float[np.ndarray, " n"],
    probability: float | None,
) -> dict[str, float]:
    from scipy.special import ndtri  # noqa: PLC0415

    # P(reading < 70) >= p  is  mean + ndtri(p) sd <= 70
    level = mean if probability is None else mean + ndtri(probability) * sd
    alarm = level < HYPOGLYCAEMIA_MG_DL if probability is None else level <= HYPOGLYCAEMIA_MG_DL
    low = observed < HYPOGLYCAEMIA_MG_DL
    return {
        "hypo_n": int(low.sum()),
        "alarms": int(alarm.sum()),
        "hypo_sensitivity_percent": _percent(alarm, low),
        "hypo_false_alarm_percent": _percent(~low, alarm),
        "hypo_false_positive_percent": _percent(alarm, ~low),
    }


def _percent(part: Bool[np.ndarray, " n"], of: Bool[np.ndarray, " n"]) -> float:
    return 100.0 * float(part[of].mean()) if of.any() else float("nan")
