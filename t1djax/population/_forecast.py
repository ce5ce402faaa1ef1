"""Forecasts of a person by what others taught, with what the person's own days add."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checked import check_types
from ..data import HIGHEST_READING, HORIZONS_MIN, LOWEST_READING, Patient, readings_ahead, rolling_origins, training_end
from ..programs import together
from ..records import RollingForecasts
from ._known import known_at
from ._network import KNOTS_MIN, KNOWN_DAYS, PopulationForecaster, PopulationNetwork, expected, standard

_OWN_PENALTY_MIN = 5000.0
"""Time of readings that the belief in the others' forecast weighs, min; the optimum is broad."""
_BLOCKS = 5
_Z90 = 1.6448536269514722
_TRUSTED_DAYS = 1.0
"""Days of the person's own misses that weigh as much as what others say of the spread."""
_ROWS = 1024
_DAY_MIN = 1440.0


def population_forecasts(
    forecaster: PopulationForecaster,
    patient: Patient,
    *,
    origin_min: Float[np.ndarray, " origins"] | None = None,
    horizon_min: Sequence[float] = HORIZONS_MIN,
    train_until_min: float | None = None,
) -> RollingForecasts:
    """Forecast a record from many origins by what other people taught.

    ```
    G + spread (change_h(x) + w_h x),   sd = factor_h calibration_h spread s_h(x)
    ```

    `change` and `s` are the networks'; `calibration` makes 90 % intervals hold that share of people who were left out,
    by how much of the record there is; `w` is a ridge regression of the misses in the person's training part, which
    weighs the more the longer it is; `factor` makes the 90 % interval hold that share of the training part's readings,
    on blocks that `w` has not seen. With no reading in the training part there is neither `w` nor `factor`, and it is a
    forecast of a person never seen. Origins inside the training part are forecast with a `w` of the other four fifths
    of it.

    Args:
        forecaster: what others taught; `shipped_forecaster()` is the package's own.
        patient: the record; insulin, carbohydrate and the clock may be missing.
        origin_min: times of readings to forecast from, min; left out, `rolling_origins` after the training part.
        horizon_min: how far ahead, min, up to 240.
        train_until_min: end of the training part, min; left out, `training_end(patient)`.

    Returns:
        The forecasts, as method `population`. They know no later insulin and meals.

    Raises:
        ValueError: where a horizon is not positive or above 240 min, or an origin is no reading.

    Example:
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=15, names=["Pat2"])["Pat2"]
        >>> t1djax.population_forecasts(t1djax.shipped_forecaster(), patient, horizon_min=(30.0,)).mean_mg_dL.shape
        (58, 1)

    Source: Vovk, Gammerman, Shafer, "Algorithmic learning in a random world", 2005, for the intervals.
    """
    check_types(population_forecasts, locals())
    horizons = np.asarray(horizon_min, dtype=np.float64)
    if not np.all((horizons > 0) & (horizons <= KNOTS_MIN[-1])):
        raise ValueError(f"population_forecasts: horizon_min is {tuple(horizon_min)}; give times up to 240 min")
    end = training_end(patient) if train_until_min is None else train_until_min
    origins = rolling_origins(patient, after_min=end) if origin_min is None else origin_min
    readings = patient.time_min[patient.valid]
    if not np.all(np.isin(origins, readings)):
        raise ValueError(f"{patient.name}: an origin is no reading of the record; take them from rolling_origins")
    own = readings[readings <= end]
    at = np.concatenate([own, origins])
    known = known_at(patient, at)
    ahead = readings_ahead(patient, own, horizons.tolist())
    ahead = np.where(own[:, None] + horizons <= end, ahead, np.nan) - known.now_mg_dL[: len(own), None]
    seen = np.full((len(at), len(horizons)), np.nan)
    seen[: len(own)] = ahead / known.spread_mg_dL[: len(own), None]
    # Thinner readings weigh more, each for the time until the next.
    step = float(np.median(np.diff(own))) if len(own) > 1 else 5.0
    block = np.searchsorted(own, at) * _BLOCKS // max(len(own), 1)
    block = np.where(at > end, _BLOCKS, block)
    days = len(own) * step / _DAY_MIN
    pad = lambda x: np.pad(x, ((0, -len(at) % _ROWS), *((0, 0) for _ in x.shape[1:])), constant_values=np.nan)
    known_days = (at - readings[0]) / _DAY_MIN
    calibration = np.stack([np.interp(known_days, KNOWN_DAYS, one) for one in forecaster.calibration.T], axis=1)
    more = forecaster.networks, forecaster.scale.astype(np.float64), forecaster.usual.astype(np.float64)
    (change, sd), _ = together(
        _forecasts, *more, pad(calibration), pad(known.columns), pad(seen), pad(block.astype(np.float64)),
        _between(horizons), np.asarray(step), np.asarray(days / (days + _TRUSTED_DAYS)),
    )  # fmt: skip
    keep = slice(len(own), len(at))
    now, spread = known.now_mg_dL[keep, None], known.spread_mg_dL[keep, None]
    return RollingForecasts(
        name=patient.name,
        method="population",
        future_inputs="none",
        origin_min=origins,
        horizon_min=horizons,
        mean_mg_dL=np.clip(now + spread * change[keep], LOWEST_READING, HIGHEST_READING),
        sd_mg_dL=spread * sd[keep],
        observed_mg_dL=readings_ahead(patient, origins, horizons.tolist()),
    )


def _between(horizons: Float[np.ndarray, " horizons"]) -> Float[np.ndarray, "knots horizons"]:
    """How much each knot counts at each horizon: linear between them, and from nothing at the origin."""
    knots = np.array([0.0, *KNOTS_MIN])
    return np.stack([np.interp(horizons, knots, one) for one in np.eye(len(knots))])[1:]


def _forecasts(
    networks: PopulationNetwork,
    scale: Float[Array, " columns"],
    usual: Float[Array, " knots"],
    calibration: Float[Array, "rows knots"],
    columns: Float[Array, "rows columns"],
    seen: Float[Array, "rows horizons"],
    block: Float[Array, " rows"],
    between: Float[Array, "knots horizons"],
    step_min: Float[Array, ""],
    trust: Float[Array, ""],
) -> tuple[Float[Array, "rows horizons"], Float[Array, "rows horizons"]]:
    """Change and its standard deviation, in the person's spreads."""
    change, sd = expected(networks, scale, usual, columns)
    mean, sd, z = change @ between, sd * calibration @ between, standard(columns, scale)[0]

    def one(mean: Array, sd: Array, seen: Array) -> tuple[Array, Array]:
        there = jnp.isfinite(seen)
        miss = jnp.where(there, seen - mean, 0.0)
        member = there * (block == jnp.arange(_BLOCKS)[:, None])
        weight = member * step_min
        square = jnp.einsum("bn,ni,nj->bij", weight, z, z)
        cross = jnp.einsum("bn,ni->bi", weight * miss, z)
        belief = _OWN_PENALTY_MIN * jnp.eye(z.shape[1])
        # The last regression learns from all blocks, the others leave one out each.
        squares = jnp.concatenate([square.sum(0) - square, square.sum(0)[None]])
        crosses = jnp.concatenate([cross.sum(0) - cross, cross.sum(0)[None]])
        own = jnp.linalg.solve(squares + belief, crosses[..., None])[..., 0]
        added = jnp.einsum("bn,ni,bi->n", 1.0 * (block == jnp.arange(_BLOCKS + 1)[:, None]), z, own)
        apart = jnp.abs(miss - added) / sd
        far = jnp.nanquantile(jnp.where(there, apart, jnp.nan), 0.9) / _Z90
        factor = jnp.where(there.any(), far, 1.0) ** trust
        return mean + added, sd * factor

    return jax.vmap(one, in_axes=1, out_axes=1)(mean, sd, seen)
