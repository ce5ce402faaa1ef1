"""A neural correction of forecasts, learnt from some people and meant for others."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from .._types import Key
from ..data import TRAINING_SHARE, Cohort, Patient, readings_ahead, training_end
from ..networks import Dense
from ..programs import over_cohort, together
from ..records import FutureInputs, RollingForecasts
from ._known import known_at_origins

_FURTHEST = 4.0  # standard deviations from the training people's mean beyond which a column says nothing more
_ROWS = 64  # numbers of origins are rounded up to this, so that similar records share one program


class PeopleFold(NamedTuple):
    """People to learn from, and people to judge by.

    Example:
        >>> from t1djax.statespace import PeopleFold
        >>> PeopleFold(("Ada", "Ben"), ("Cy",)).unseen
        ('Cy',)
    """

    train: tuple[str, ...]
    """Names of those to learn from."""
    unseen: tuple[str, ...]
    """Names of those that are kept out of everything that is learnt."""


def people_split(names: Sequence[str], folds: int | None = None) -> tuple[PeopleFold, ...]:
    """Split people, never their readings: each person is unseen in one fold.

    Args:
        names: the people.
        folds: how many folds; one per person if not given.

    Returns:
        The folds: with `n` of them, fold `k` leaves every n-th name from the k-th on unseen.

    Raises:
        ValueError: where there are fewer than two people or folds, more folds than people, or a name twice.

    Example:
        >>> import t1djax
        >>> [fold.unseen for fold in t1djax.statespace.people_split(["Ada", "Ben", "Cy"])]
        [('Ada',), ('Ben',), ('Cy',)]
    """
    count = len(names) if folds is None else folds
    if len(set(names)) < len(names):
        raise ValueError("people_split: a name is there twice")
    if not 2 <= count <= len(names):
        raise ValueError(f"people_split: {count} folds of {len(names)} people; give two people and two folds or more")
    unseen = (tuple(names[k::count]) for k in range(count))
    return tuple(PeopleFold(tuple(n for n in names if n not in some), some) for some in unseen)


class DiscrepancyOptions(NamedTuple):
    """Size of the correction, and how it is held back.

    Example:
        >>> from t1djax.statespace import DiscrepancyOptions
        >>> DiscrepancyOptions(width=4).folds
        5
    """

    width: int = 8
    """Hidden units."""
    most_sd: float = 0.5
    """The largest shift, a number of standard deviations of the forecast."""
    steps: int = 400
    """The most steps of the optimiser."""
    every: int = 10
    """Steps between two looks at the people held out."""
    learning_rate: float = 1e-3
    """Of AdamW, without unit."""
    weight_decay: float = 1.0
    """Of AdamW, without unit: how strongly weights are pulled to zero."""
    folds: int = 5
    """Folds of the training people by which the number of steps is chosen; at most one per person."""
    settle_min: float = 1440.0
    """How long after a record's first reading origins are left out, min: the filter does not know the person yet, and
    errs there as it will not later."""
    train_share: float = TRAINING_SHARE
    """Share of each record that may be learnt from."""


class CorrectionNetwork(eqx.Module):
    """One hidden layer, bounded.

    ```
    shift = most_sd tanh((W2 tanh(W1 x + b1) + b2)/most_sd)
    ```

    The last layer starts at zero, hence so do the shifts.
    """

    hidden: Dense
    """Of the columns."""
    last: Dense
    """Of the hidden units."""
    most_sd: float = eqx.field(static=True)
    """The largest shift, a number of standard deviations of the forecast."""

    def __init__(self, inputs: int, outputs: int, options: DiscrepancyOptions, *, key: Key):
        """Random hidden units, and a last layer of zeros.

        Args:
            inputs: columns.
            outputs: horizons.
            options: size.
            key: draws the hidden layer.
        """
        first, second = jax.random.split(key)
        self.hidden = Dense(inputs, options.width, spread=1.0, key=first)
        self.last = Dense(options.width, outputs, spread=0.0, key=second)
        self.most_sd = options.most_sd

    def __call__(self, x: Float[Array, "rows inputs"]) -> Float[Array, "rows outputs"]:
        return self.most_sd * jnp.tanh(self.last(jnp.tanh(self.hidden(x))) / self.most_sd)


@dataclasses.dataclass(frozen=True, eq=False)
class Discrepancy:
    """A correction of forecasts."""

    people: tuple[str, ...]
    """Who was learnt from; it says nothing to judge the correction by them."""
    horizon_min: Float[np.ndarray, " horizons"]
    """The horizons that it corrects, min."""
    future_inputs: FutureInputs
    """What the forecasts know of insulin and meals after each origin."""
    steps: int
    """Steps of the optimiser, the number that was best for people held out; none where every one did harm."""
    held_out: Float[np.ndarray, " looks"]
    """Mean squared misses of the people held out, relative to the variance of their forecasts, at each look; the first
    is without correction."""
    centre: Float[np.ndarray, " columns"]
    """Mean of each column over the training people, without unit."""
    scale: Float[np.ndarray, " columns"]
    """Standard deviation of each column, without unit; infinite where it does not vary."""
    network: CorrectionNetwork
    """The correction, in standard deviations of the forecast."""

    def correct(self, forecasts: RollingForecasts, patient: Patient) -> RollingForecasts:
        """The forecasts with their means shifted, as method `stochastic+network`.

        Only what is known at each origin is looked at. Standard deviations stay as they are.

        Args:
            forecasts: of a person, at the horizons and with the knowledge that were learnt from.
            patient: the person's record.

        Returns:
            New forecasts; those given stay as they are.

        Raises:
            ValueError: where the forecasts are another person's, of other horizons, or know other future inputs.
        """
        _check(forecasts, patient)
        if not np.array_equal(forecasts.horizon_min, self.horizon_min) or forecasts.future_inputs != self.future_inputs:
            raise ValueError(
                f"{patient.name}: the correction is for horizons of {self.horizon_min.tolist()} min and "
                f"{self.future_inputs!r} future inputs, the forecasts are for {forecasts.horizon_min.tolist()} and "
                f"{forecasts.future_inputs!r}"
            )
        n = len(forecasts.origin_min)
        shift = np.zeros_like(forecasts.mean_mg_dL)
        if n:
            x = _standard(known_at_origins(forecasts, patient), self.centre, self.scale)
            rows = np.pad(x, ((0, -n % _ROWS), (0, 0)))
            shift = together(CorrectionNetwork.__call__, self.network, rows, effort="least")[0][:n]
        mean = forecasts.mean_mg_dL + forecasts.sd_mg_dL * shift
        return dataclasses.replace(forecasts, method=f"{forecasts.method}+network", mean_mg_dL=mean)


def fit_discrepancy(
    forecasts: Sequence[RollingForecasts],
    patients: Sequence[Patient],
    *,
    options: DiscrepancyOptions | None = None,
    key: Key,
) -> Discrepancy:
    """Learn, over several people, how a forecast's mean is to be shifted.

    ```
    min over the network of   mean over people, origins and horizons of ((y - mean)/sd - shift(x))^2
    ```

    with `|shift| < most_sd`. Each person weighs the same. The columns `x` are recent readings and how far the forecast
    is from them, its standard deviations, insulin and carbohydrate of the last four hours, and the time of day. Steps
    start from no shift. How many there are is chosen by folds of the training people: the number at which those held
    out are forecast best, which may be none. Origins and readings after a person's training part are not looked at.

    Args:
        forecasts: of the people to learn from, from origins in their training parts.
        patients: their records, in the same order.
        options: size of the correction, and how it is held back.
        key: draws the hidden units.

    Returns:
        The correction.

    Raises:
        ValueError: where there are fewer than two people, forecasts and records do not belong together, horizons or
            future inputs differ, or a person has nothing to learn from.

    Example:
        >>> import jax, t1djax
        >>> names = ["Pat2", "Pat3", "Pat4"]
        >>> people = list(t1djax.reference_cohort(interval_min=30, names=names))
        >>> ahead = dict(horizon_min=(30.0,), train_until_min=600.0)
        >>> each = [t1djax.baseline_forecasts(p, "persistence", **ahead) for p in people]
        >>> options = t1djax.statespace.DiscrepancyOptions(steps=10, settle_min=0.0)
        >>> learnt = t1djax.statespace.fit_discrepancy(each[:2], people[:2], options=options, key=jax.random.key(0))
        >>> learnt.correct(each[2], people[2]).method
        'persistence+network'

    Source: Kennedy and O'Hagan, "Bayesian calibration of computer models", J. R. Stat. Soc. B 63(3), 2001, for the
    discrepancy of a model as something to be learnt.
    """
    options = DiscrepancyOptions() if options is None else options
    if min(options.width, options.every, options.most_sd, options.steps + 1) <= 0:
        raise ValueError(f"fit_discrepancy: width, every and most_sd must be positive, steps not negative: {options}")
    patients = Cohort.of(patients).patients
    if len(patients) < 2 or len(forecasts) != len(patients):
        raise ValueError(
            f"fit_discrepancy: {len(forecasts)} forecasts of {len(patients)} people; give one each of two people or "
            "more, since some are held out to say when to stop"
        )
    first = forecasts[0]
    for one, patient in zip(forecasts, patients, strict=True):
        _check(one, patient)
        if not np.array_equal(one.horizon_min, first.horizon_min) or one.future_inputs != first.future_inputs:
            raise ValueError(f"fit_discrepancy: {one.name}'s horizons or future inputs are not {first.name}'s")
    each = [_examples(one, patient, options) for one, patient in zip(forecasts, patients, strict=True)]
    # Each person weighs the same here as well.
    centre = np.mean([np.nanmean(x, axis=0) for x, _ in each], axis=0)
    spread = np.sqrt(np.mean([np.nanmean((x - centre) ** 2, axis=0) for x, _ in each], axis=0))
    scale = np.where(spread > 1e-9, spread, np.inf)
    names = [p.name for p in patients]
    folds = people_split(names, min(options.folds, len(names)))
    learns = np.array([[name in fold.train for name in names] for fold in folds] + [[True] * len(names)])
    with jax.enable_x64(True):
        network = CorrectionNetwork(len(centre), len(first.horizon_min), options, key=key)
        data = _stack([(_standard(x, centre, scale), miss) for x, miss in each])
    (networks, losses), _ = over_cohort(
        _course, learns.astype(np.float64), shared=(network, data), static=(options,), effort="some"
    )
    # The last course learns from everybody; the others say where to stop.
    held_out = losses[:-1].T @ (~learns[:-1]).sum(axis=1) / len(names)
    best = int(np.argmin(held_out))
    network = jax.tree.map(lambda x: x[-1, best], networks)
    return Discrepancy(
        people=tuple(names),
        horizon_min=first.horizon_min,
        future_inputs=first.future_inputs,
        steps=best * options.every,
        held_out=held_out,
        centre=centre,
        scale=scale,
        network=network,
    )


class _Data(NamedTuple):
    x: Float[Array, "people rows columns"]
    miss: Float[Array, "people rows horizons"]
    there: Float[Array, "people rows horizons"]


def _examples(
    forecasts: RollingForecasts, patient: Patient, options: DiscrepancyOptions
) -> tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "rows horizons"]]:
    """Columns and misses, in standard deviations, of the training part; NaN where there is no reading to come."""
    end = training_end(patient, share=options.train_share)
    settled = patient.time_min[patient.valid][0] + options.settle_min
    use = (forecasts.origin_min >= settled) & (forecasts.origin_min <= end)
    cut = lambda x: x[use]
    part = dataclasses.replace(
        forecasts, origin_min=cut(forecasts.origin_min), mean_mg_dL=cut(forecasts.mean_mg_dL),
        sd_mg_dL=cut(forecasts.sd_mg_dL), observed_mg_dL=cut(forecasts.observed_mg_dL),
    )  # fmt: skip
    # Readings after the training part are taken out: an origin's horizon may lie there.
    seen = dataclasses.replace(patient, glucose_mg_dL=np.where(patient.time_min <= end, patient.glucose_mg_dL, np.nan))
    miss = (readings_ahead(seen, part.origin_min, part.horizon_min.tolist()) - part.mean_mg_dL) / part.sd_mg_dL
    if not np.isfinite(miss).any():
        raise ValueError(
            f"fit_discrepancy: no forecast of {patient.name} lies in the training part, after {settled:g} and until "
            f"{end:g} min; forecast from its origins with origin_min"
        )
    return known_at_origins(part, seen), miss


def _standard(
    x: Float[np.ndarray, "rows columns"], centre: Float[np.ndarray, " columns"], scale: Float[np.ndarray, " columns"]
) -> Float[np.ndarray, "rows columns"]:
    """Columns in standard units; what is missing is taken to be as usual, what is far out to be less so."""
    z = (x - centre) / scale
    return np.clip(np.where(np.isfinite(z), z, 0.0), -_FURTHEST, _FURTHEST)


def _stack(each: Sequence[tuple[np.ndarray, np.ndarray]]) -> _Data:
    rows = max(len(x) for x, _ in each)
    rows += -rows % _ROWS
    pad = lambda a: np.pad(a, ((0, rows - len(a)), (0, 0)))
    there = np.stack([pad(np.isfinite(miss)) for _, miss in each]).astype(np.float64)
    miss = np.stack([pad(np.where(np.isfinite(miss), miss, 0.0)) for _, miss in each])
    return _Data(*map(jnp.asarray, (np.stack([pad(x) for x, _ in each]), miss, there)))


def _course(
    learns: Float[Array, " people"], network: Any, data: _Data, options: DiscrepancyOptions
) -> tuple[Any, Float[Array, " looks"]]:
    """Networks at each look, and the misses of the people that were not learnt from."""
    optimiser = optax.adamw(options.learning_rate, weight_decay=options.weight_decay)
    weight = learns / jnp.sum(learns)
    others = (1 - learns) / jnp.maximum(jnp.sum(1 - learns), 1)

    def per_person(network: Any) -> Float[Array, " people"]:
        square = data.there * (data.miss - jax.vmap(network)(data.x)) ** 2
        return jnp.sum(square, axis=(1, 2)) / jnp.maximum(jnp.sum(data.there, axis=(1, 2)), 1)

    def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
        network, state = carry
        gradient = jax.grad(lambda net: weight @ per_person(net))(network)
        updates, state = optimiser.update(gradient, state, network)
        return (optax.apply_updates(network, updates), state), None

    def look(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], tuple[Any, Array]]:
        seen = carry[0], others @ per_person(carry[0])
        return jax.lax.scan(step, carry, None, length=options.every)[0], seen

    looks = options.steps // options.every + 1
    return jax.lax.scan(look, (network, optimiser.init(network)), None, length=looks)[1]


def _check(forecasts: RollingForecasts, patient: Patient) -> None:
    if forecasts.name != patient.name:
        raise ValueError(f"the forecasts are {forecasts.name}'s, the record is {patient.name}'s")
