"""What a forecaster must beat: persistence, linear extrapolation, and ridge regressions, own and of other people."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from ..data import HORIZONS_MIN, Delivered, Patient, readings_ahead, readings_before, rolling_origins, training_end
from ..records import FutureInputs, RollingForecasts

BaselineMethod = Literal["persistence", "linear", "autoregression", "ridge"]
"""A method that every forecaster must beat."""
BASELINES: tuple[BaselineMethod, ...] = get_args(BaselineMethod)
"""The methods that `baseline_forecasts` knows."""
_PENALTIES = 10.0 ** np.arange(-2.0, 5.1, 0.5)
_FOLDS = 5
_LEAST_PAIRS = 20
_SAME_STEP_MIN = 0.5  # clocks of sensors jitter by seconds


@dataclasses.dataclass(frozen=True)
class RidgeOptions:
    """What the ridge regression looks at.

    Example:
        >>> from t1djax.evaluation import RidgeOptions
        >>> RidgeOptions(readings=4).bins
        11
    """

    readings: int = 6
    """How many readings, at the sensor's own step, the one at the origin among them."""
    bins: int = 11
    """How many sums of each input before the origin."""
    bin_min: float = 15.0
    """Length of a sum, min."""


def baseline_forecasts(
    patient: Patient,
    method: BaselineMethod,
    *,
    origin_min: Float[np.ndarray, " origins"] | None = None,
    horizon_min: Sequence[float] = HORIZONS_MIN,
    train_until_min: float | None = None,
    future_inputs: FutureInputs = "none",
    options: RidgeOptions | None = None,
) -> RollingForecasts:
    """Forecast a record from many origins with a simple method.

    With `G` the reading at the origin and `G15` the record 15 min before it, at horizon `h`:

    ```
    persistence      G
    linear           G + (G - G15) h/15
    autoregression   G + b_h + w_h x     x: the last six readings
    ridge            G + b_h + w_h x     x: those, and eleven 15-min sums of basal, bolus and carbohydrate
    ```

    Which of the two regressions is better differs from person to person: sums of doses cost as much as they bring where
    there are few days to learn from.

    Both regressions minimise `|y - b - X w|^2 + penalty |w|^2` over the training part, on standardised columns,
    for each horizon by itself; the penalty is chosen there by cross-validation over five consecutive blocks. A
    lag that falls between two readings is interpolated from those two, both before the origin, where they are at most
    35 min apart. The standard deviations are the root mean square errors of the training part, for the regressions on
    blocks that their weights have not seen.

    Nothing after the end of training is learnt from, and nothing after an origin is looked at, except as
    `future_inputs` says.

    Args:
        patient: the record.
        method: one of `BASELINES`.
        origin_min: times to forecast from, min; left out, `rolling_origins` after the training part.
        horizon_min: how far ahead, min.
        train_until_min: end of the training part, min; left out, `training_end(patient)`.
        future_inputs: `"none"`, or, for the ridge, `"recorded"`: the sums go on until the horizon.
        options: what the ridge regression looks at.

    Returns:
        The forecasts; NaN where a reading that the method needs is missing, and at horizons with fewer than 20
        examples in the training part.

    Raises:
        ValueError: where the method is unknown, the training part is too short for it, an origin lies inside the
            training part, or it cannot use the future inputs asked for.

    Example:
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=15, names=["Pat2"])["Pat2"]
        >>> forecasts = t1djax.baseline_forecasts(patient, "persistence", horizon_min=(30.0,))
        >>> forecasts.mean_mg_dL.shape, forecasts.future_inputs
        ((58, 1), 'none')
    """
    if method not in BASELINES:
        raise ValueError(f"baseline_forecasts: method is {method!r}; one of {', '.join(BASELINES)}")
    if future_inputs != "none" and (method != "ridge" or future_inputs != "recorded"):
        raise ValueError(
            f"baseline_forecasts: {method} cannot use {future_inputs} inputs; "
            'give future_inputs="none", or "recorded" with the ridge'
        )
    end = training_end(patient) if train_until_min is None else train_until_min
    origins = rolling_origins(patient, after_min=end) if origin_min is None else origin_min
    if len(origins) and origins.min() < end:
        raise ValueError(
            f"{patient.name}: the origin at {origins.min():g} min lies in the training part, which ends at {end:g} min"
        )
    part = _training_part(patient, end)
    pairs = rolling_origins(part, after_min=-np.inf)
    target = readings_ahead(part, pairs, horizon_min)
    horizons = np.asarray(horizon_min, dtype=np.float64)
    simple = {"persistence": _persistence, "linear": _linear}
    if method in simple:
        mean = simple[method](patient, origins, horizons)
        sd = np.sqrt(_mean((target - simple[method](part, pairs, horizons)) ** 2))
    else:
        looks = options or RidgeOptions()
        looks = dataclasses.replace(looks, bins=0) if method == "autoregression" else looks
        ridge = _Ridge(looks, step_min(part), future_inputs == "recorded")
        mean, sd = ridge.forecasts(part, pairs, target, patient, origins, horizons)
    ahead = readings_ahead(patient, origins, horizon_min)
    spread = np.where(np.isfinite(mean), sd, np.nan)
    return RollingForecasts(patient.name, method, future_inputs, origins, horizons, mean, spread, ahead)


def pooled_forecasts(
    patient: Patient,
    others: Sequence[Patient],
    *,
    origin_min: Float[np.ndarray, " origins"] | None = None,
    horizon_min: Sequence[float] = HORIZONS_MIN,
    train_until_min: float | None = None,
) -> RollingForecasts:
    """Forecast a record by the autoregression of other people, who are pooled.

    The weights of the last six readings are those of the training parts of the others, of whom each reading counts the
    same; the person's own training part gives the standard deviations alone.

    Args:
        patient: the record; where it is among the others it is left out of them.
        others: people to learn from; those whose sensors read at another step are left out.
        origin_min: times to forecast from, min; left out, `rolling_origins` after the training part.
        horizon_min: how far ahead, min.
        train_until_min: end of the person's training part, min; left out, `training_end(patient)`.

    Returns:
        The forecasts, as method `pooled`; NaN where one of the six readings is missing.

    Raises:
        ValueError: where nobody else has a sensor of this step, or there is no reading in the training part.

    Example:
        >>> import t1djax
        >>> people = t1djax.reference_cohort(interval_min=15, names=["Pat2", "Pat3", "Pat4"])
        >>> t1djax.evaluation.pooled_forecasts(people["Pat2"], list(people), horizon_min=(30.0,)).mean_mg_dL.shape
        (58, 1)
    """
    end = training_end(patient) if train_until_min is None else train_until_min
    origins = rolling_origins(patient, after_min=end) if origin_min is None else origin_min
    part = _training_part(patient, end)
    step = step_min(part)
    pool = [_training_part(p, training_end(p)) for p in others if p.name != patient.name]
    pool = [p for p in pool if abs(step_min(p) - step) <= _SAME_STEP_MIN]
    if not pool:
        raise ValueError(f"{patient.name}: nobody else has readings each {step:g} min to learn an autoregression from")
    horizons = np.asarray(horizon_min, dtype=np.float64)
    look = _Ridge(RidgeOptions(bins=0), step, recorded=False)
    ahead, now = look.columns(patient, origins, 0.0)
    own = rolling_origins(part, after_min=-np.inf)
    x, base = look.columns(part, own, 0.0)
    each = [(look.columns(p, at := rolling_origins(p, after_min=-np.inf), 0.0), p, at) for p in pool]
    mean, sd = np.full((len(origins), len(horizons)), np.nan), np.full(len(horizons), np.nan)
    for h, horizon in enumerate(horizons.tolist()):
        rows = np.concatenate([columns for (columns, _), _, _ in each])
        change = np.concatenate([readings_ahead(p, at, (horizon,))[:, 0] - base for (_, base), p, at in each])
        use = np.isfinite(rows).all(axis=1) & np.isfinite(change)
        if use.sum() < _LEAST_PAIRS:
            continue
        weights = _fit(rows[use], change[use])
        mean[:, h] = now + weights(ahead, 1.0)
        miss = base + weights(x, 1.0) - readings_ahead(part, own, (horizon,))[:, 0]
        sd[h] = np.sqrt(_mean(miss[:, None] ** 2))[0]
    observed = readings_ahead(patient, origins, horizon_min)
    spread = np.where(np.isfinite(mean), sd, np.nan)
    return RollingForecasts(patient.name, "pooled", "none", origins, horizons, mean, spread, observed)


def _training_part(patient: Patient, end: float) -> Patient:
    """As a record of its own: what is not in it cannot be learnt from."""
    seen = np.where(patient.valid & (patient.time_min <= end), patient.glucose_mg_dL, np.nan)
    if not np.isfinite(seen).any():
        raise ValueError(f"{patient.name}: there is no reading until {end:g} min to learn from")
    return dataclasses.replace(patient, glucose_mg_dL=seen)


def step_min(patient: Patient) -> float:
    """The sensor's own step, min: the median time from a real reading to the next.

    Raises:
        ValueError: where there are fewer than two readings.
    """
    seen = patient.time_min[patient.valid]
    if len(seen) < 2:
        raise ValueError(f"{patient.name}: there is one reading only; the step of the sensor is unknown")
    return float(np.median(np.diff(seen)))


def _persistence(
    patient: Patient, origins: Float[np.ndarray, " origins"], horizons: Float[np.ndarray, " horizons"]
) -> Float[np.ndarray, "origins horizons"]:
    return np.repeat(readings_before(patient, origins[:, None], origins), len(horizons), axis=1)


def _linear(
    patient: Patient, origins: Float[np.ndarray, " origins"], horizons: Float[np.ndarray, " horizons"]
) -> Float[np.ndarray, "origins horizons"]:
    before, now = readings_before(patient, origins[:, None] - np.array([15.0, 0.0]), origins).T
    return now[:, None] + (now - before)[:, None] / 15.0 * horizons


@dataclasses.dataclass(frozen=True)
class _Ridge:
    options: RidgeOptions
    step_min: float
    recorded: bool

    def forecasts(
        self,
        part: Patient,
        pairs: Float[np.ndarray, " pairs"],
        target: Float[np.ndarray, "pairs horizons"],
        patient: Patient,
        origins: Float[np.ndarray, " origins"],
        horizons: Float[np.ndarray, " horizons"],
    ) -> tuple[Float[np.ndarray, "origins horizons"], Float[np.ndarray, " horizons"]]:
        mean, sd = np.full((len(origins), len(horizons)), np.nan), np.full(len(horizons), np.nan)
        for h, horizon in enumerate(horizons.tolist()):
            x, now = self.columns(part, pairs, horizon)
            use = np.isfinite(x).all(axis=1) & np.isfinite(target[:, h])
            if use.sum() < _LEAST_PAIRS:
                continue  # such as 15 min ahead of a sensor that reads each 30
            change = target[use, h] - now[use]
            penalty, sd[h] = _choose(x[use], change, pairs[use], horizon)
            ahead, base = self.columns(patient, origins, horizon)
            mean[:, h] = base + _fit(x[use], change)(ahead, penalty)
        if not np.isfinite(sd).any():
            raise ValueError(
                f"{patient.name}: at no horizon have {_LEAST_PAIRS} readings of the training part the "
                f"{self.options.readings} before them and one at the horizon; a ridge regression needs them"
            )
        return mean, sd

    def columns(
        self, patient: Patient, origins: Float[np.ndarray, " origins"], horizon: float
    ) -> tuple[Float[np.ndarray, "origins columns"], Float[np.ndarray, " origins"]]:
        """Readings and sums of inputs before each origin, and the reading at it."""
        lags = self.step_min * np.arange(self.options.readings)
        readings = readings_before(patient, origins[:, None] - lags, origins)
        # The row of an origin states what begins at it; a forecast does not know that yet.
        first, last = -self.options.bins, int(np.ceil(horizon / self.options.bin_min)) if self.recorded else 0
        edges = np.minimum(self.options.bin_min * np.arange(first, last + 1), horizon if self.recorded else 0.0)
        sums = Delivered(patient.doses).sums(origins[:, None] + edges)
        return np.concatenate([readings, sums], axis=1), readings[:, 0]


class _fit:
    """Ridge regressions with a free constant, on standardised columns, for any penalty."""

    def __init__(self, x: Float[np.ndarray, "n k"], y: Float[np.ndarray, " n"]) -> None:
        self.centre, scale = x.mean(axis=0), x.std(axis=0)
        # A column that hardly varies (a constant basal) carries rounding, not knowledge.
        self.scale = np.where(scale > 1e-9 * (1 + np.abs(self.centre)), scale, np.inf)
        z = (x - self.centre) / self.scale
        self.constant = y.mean()
        # One decomposition serves every penalty.
        self.values, self.vectors = np.linalg.eigh(z.T @ z)
        self.along = self.vectors.T @ (z.T @ (y - self.constant))

    def weights(self, penalty: float) -> Float[np.ndarray, " k"]:
        return self.vectors @ (self.along / (self.values + penalty))

    def __call__(self, x: Float[np.ndarray, "m k"], penalty: float) -> Float[np.ndarray, " m"]:
        # Summed row by row: the same to the last bit however many rows there are.
        return self.constant + (((x - self.centre) / self.scale) * self.weights(penalty)).sum(axis=1)


def _choose(
    x: Float[np.ndarray, "n k"], y: Float[np.ndarray, " n"], time_min: Float[np.ndarray, " n"], horizon: float
) -> tuple[float, float]:
    """The penalty with the least error on blocks that the fit has not seen, and that error, mg/dL."""
    blocks = np.array_split(np.arange(len(y)), _FOLDS)
    misses = np.zeros((len(_PENALTIES), len(y)))
    for block in blocks:
        # Pairs whose readings overlap with those of the block would know some of its targets.
        apart: Bool[np.ndarray, " n"] = (time_min < time_min[block[0]] - horizon) | (
            time_min > time_min[block[-1]] + horizon
        )
        fit = _fit(x[apart], y[apart])
        for k, penalty in enumerate(_PENALTIES.tolist()):
            misses[k, block] = y[block] - fit(x[block], penalty)
    errors = np.sqrt((misses**2).mean(axis=1))
    best = int(np.argmin(errors))
    return float(_PENALTIES[best]), float(errors[best])


def _mean(x: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, " columns"]:
    """Means of the finite entries; NaN where there is none."""
    finite = np.isfinite(x)
    count = finite.sum(axis=0)
    return np.divide(np.where(finite, x, 0.0).sum(axis=0), count, out=np.full(x.shape[1], np.nan), where=count > 0)
