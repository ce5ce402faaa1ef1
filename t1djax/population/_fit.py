"""Learning a forecaster from people: one program, whose courses differ in whom they leave out."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from .._checked import check_types
from .._types import Key
from .._whole import whole
from ..data import Cohort, Patient, fingerprint, readings_ahead, rolling_origins
from ..programs import together
from ._files import FORMAT_VERSION, TRAINING
from ._known import COLUMNS, MAY_LACK, known_at
from ._network import (
    KNOTS_MIN,
    KNOWN_DAYS,
    PopulationForecaster,
    PopulationNetwork,
    PopulationOptions,
    expected,
    standard,
)

_SPREAD_WEIGHT = 0.3  # of the likelihood, which the spread alone learns from, beside the squared misses
_CHUNK = 250  # steps between two looks at the disk
_EVERY_MIN, _SLOW_MIN = 10.0, 15.0
_NEW_DAYS = 4.0
_LEAST = 200
_UP_TO_DAYS = (0.5, 2.0)  # of a record, between those of `KNOWN_DAYS`
_Z90 = 1.6448536269514722
_DAY_MIN = 1440.0


class Course(NamedTuple):
    """How far a training has come."""

    step: int
    """Steps done."""
    of: int
    """Steps in all."""
    loss: float
    """What is minimised over everybody's examples, mean of the last steps, without unit."""


def fit_population(
    patients: Cohort | Sequence[Patient],
    *,
    options: PopulationOptions | None = None,
    key: Key,
    unseen: Sequence[Sequence[str]] = (),
    checkpoint: str | Path | None = None,
    on_chunk: Callable[[Course], None] = lambda _: None,
) -> tuple[PopulationForecaster, ...]:
    """Learn from people how glucose goes on after an origin, for people who are not among them.

    ```
    min over the networks of   mean of (y - change)^2 + 0.3 (log s + (y - change)^2 / 2 s^2)
    ```

    over people, origins and horizons, with `y` the change until the horizon in units of what is usual there. In the
    second term `change` is held, so that means are those of least squares. Each person weighs the same. What is
    looked at are the readings until the origin, what insulin and carbohydrate delivered until then do through their
    lags, the time of day, and the person's level, spread and usual day so far. Each record is learnt from as it is,
    thinned to a reading each 15 min, and as if it began anew every four days; groups of columns are taken away at
    random, so that people without insulin or carbohydrate on record, or without a clock, can be forecast.

    Args:
        patients: whole records of the people to learn from.
        options: size and training.
        key: draws weights and batches.
        unseen: for further forecasters, whom each of them leaves out; the first learns from everybody. On their
            misses intervals are calibrated, each forecaster's without those whom it leaves out.
        checkpoint: file that keeps the state between chunks; a training of the same people, options and key goes on
            from there.
        on_chunk: called after each chunk of steps; first, of a training that goes on, with the chunks that are done.

    Returns:
        The forecaster of all people, then one for each of `unseen`.

    Raises:
        ValueError: where there are fewer than two people, a name in `unseen` is not among them, nobody has 200 readings
            to learn from, or the checkpoint is of another training.

    Example:
        >>> import jax, t1djax
        >>> people = t1djax.reference_cohort(interval_min=5, names=["Pat2", "Pat3"])
        >>> options = t1djax.population.PopulationOptions(width=4, members=1, steps=10, batch=64)
        >>> t1djax.fit_population(people, options=options, key=jax.random.key(0))[0].people
        ('Pat2', 'Pat3')
    """
    check_types(fit_population, locals())
    options = PopulationOptions() if options is None else options
    if min(options.width, options.members, options.steps, options.batch, options.learning_rate) <= 0:
        raise ValueError(f"fit_population: sizes, steps and learning rate must be positive: {options}")
    people = Cohort.of(patients)
    if len(people) < 2:
        raise ValueError("fit_population: give two people or more; one says nothing of others")
    strange = sorted({name for names in unseen for name in names} - set(people.names))
    if strange:
        raise ValueError(f"fit_population: unseen names {', '.join(strange)}, who are not among the people")
    examples = _examples(people)
    learns = np.array([[name not in names for name in people.names] for names in ((), *unseen)])
    sizes = (
        np.stack([_size(examples.columns, examples.who, learn) for learn in learns]),
        np.stack([_size(examples.change, examples.who, learn) for learn in learns]),
    )
    courses = [np.repeat(x, options.members, axis=0) for x in (learns, *sizes)]
    state = _begin(options, key, len(courses[0]))
    chunks: list[Course] = []
    checkpoint = None if checkpoint is None else Path(checkpoint)
    digest = _fingerprint(people, options, key, unseen)
    if checkpoint is not None and checkpoint.is_file():
        chunks, state = _read(checkpoint, digest, state)
    for chunk in chunks:
        on_chunk(chunk)
    while (done := chunks[-1].step if chunks else 0) < options.steps:
        count = min(_CHUNK, options.steps - done)
        (state, loss), _ = together(_course, state, examples, courses, key, np.asarray(done), static=(options, count))
        chunks.append(Course(done + count, options.steps, float(loss[:, : options.members].mean())))
        if checkpoint is not None:
            _write(checkpoint, people.names, digest, chunks, state)
        on_chunk(chunks[-1])
    networks = jax.tree.map(lambda x: x.reshape(-1, options.members, *x.shape[1:]), state[0])
    every = tuple(
        PopulationForecaster(
            tuple(name for name in people.names if name not in names),
            sizes[0][k],
            sizes[1][k],
            np.ones((len(KNOWN_DAYS), len(KNOTS_MIN)), np.float32),
            jax.tree.map(lambda x, k=k: x[k], networks),
        )
        for k, names in enumerate(((), *unseen))
    )
    far = _far(every, examples, learns)
    return tuple(
        dataclasses.replace(one, calibration=_calibration(far, examples, learn))
        for one, learn in zip(every, learns, strict=True)
    )


class Examples(NamedTuple):
    """What the courses learn from."""

    columns: Float[np.ndarray, "rows columns"]
    change: Float[np.ndarray, "rows horizons"]
    """Until each horizon, a number of the person's spreads; NaN where there is no reading."""
    who: Int[np.ndarray, " rows"]
    weight: Float[np.ndarray, " rows"]
    """So that each person weighs the same."""
    days: Float[np.ndarray, " rows"]
    """Since the first reading of the record."""


def _examples(people: Cohort) -> Examples:
    columns, change, who, days = [], [], [], []
    for k, patient in enumerate(people):
        for record, every in _as_seen(patient):
            origins = rolling_origins(record, after_min=-np.inf, every_min=every)
            known = known_at(record, origins)
            ahead = readings_ahead(record, origins, KNOTS_MIN) - known.now_mg_dL[:, None]
            columns.append(known.columns)
            change.append(ahead / known.spread_mg_dL[:, None])
            who.append(np.full(len(origins), k))
            days.append((origins - record.time_min[record.valid][:1]) / _DAY_MIN)
    x, y, who = np.concatenate(columns), np.concatenate(change), np.concatenate(who)
    count = np.bincount(who, minlength=len(people))
    few = [name for name, n in zip(people.names, count, strict=True) if n < _LEAST]
    if few:
        raise ValueError(
            f"fit_population: {', '.join(few)}: fewer than {_LEAST} readings to learn from; leave them out"
        )
    weight = len(who) / len(people) / count[who]
    small = lambda x: x.astype(np.float32)
    return Examples(small(x), small(y), who, small(weight), small(np.concatenate(days)))


def _far(
    every: Sequence[PopulationForecaster], examples: Examples, learns: Bool[np.ndarray, "courses people"]
) -> Float[np.ndarray, "rows horizons"]:
    """Misses beside the half width of the 90 % interval, by the first forecaster that left the person out, or NaN."""
    far = np.full_like(examples.change, np.nan)
    most = int(np.bincount(examples.who).max())
    for k in np.flatnonzero(~learns.all(axis=0)).tolist():
        one, rows = every[int(np.argmin(learns[:, k]))], np.flatnonzero(examples.who == k)
        columns = np.pad(examples.columns[rows], ((0, most - len(rows)), (0, 0)), constant_values=np.nan)
        (change, sd), _ = together(expected, one.networks, one.scale, one.usual, columns)
        far[rows] = np.abs(examples.change[rows] - change[: len(rows)]) / sd[: len(rows)] / _Z90
    return far


def _calibration(
    far: Float[np.ndarray, "rows horizons"], examples: Examples, learn: Bool[np.ndarray, " people"]
) -> Float[np.ndarray, "days horizons"]:
    """The 90 % quantiles over some people, each of whom weighs the same; one where nobody was left out."""
    found = np.ones((len(KNOWN_DAYS), len(KNOTS_MIN)), np.float32)
    known = np.searchsorted(_UP_TO_DAYS, examples.days)
    for d, h in np.ndindex(found.shape):
        use = learn[examples.who] & (known == d) & np.isfinite(far[:, h])
        if use.any():
            who, miss = examples.who[use], far[use, h]
            order = np.argsort(miss)
            share = np.cumsum(1 / np.bincount(who)[who[order]])
            found[d, h] = miss[order][np.searchsorted(share, 0.9 * share[-1])]
    return found


def _size(
    x: Float[np.ndarray, "rows columns"], who: Int[np.ndarray, " rows"], learn: Bool[np.ndarray, " people"]
) -> Float[np.ndarray, " columns"]:
    """Root mean squares over the people that are learnt from; one where there is nothing."""
    some = np.where(learn[who, None] & np.isfinite(x), x, 0.0).astype(np.float64)
    count = (learn[who, None] & np.isfinite(x)).sum(axis=0)
    size = np.sqrt((some**2).sum(axis=0) / np.maximum(count, 1))
    return np.where(size > 1e-6, size, 1.0).astype(np.float32)


def _as_seen(patient: Patient) -> Iterator[tuple[Patient, float]]:
    """The record as it is, as a slower sensor would give it, and as if it began anew; with the step of origins, min."""
    time, there = patient.time_min, patient.valid
    only = lambda keep: dataclasses.replace(patient, glucose_mg_dL=np.where(keep, patient.glucose_mg_dL, np.nan))
    seen = time[there]
    yield patient, _EVERY_MIN
    if len(seen) > 1 and np.median(np.diff(seen)) < _EVERY_MIN:
        yield only(np.isin(time, rolling_origins(patient, after_min=-np.inf, every_min=_SLOW_MIN - 1))), _SLOW_MIN - 1
    for start in np.arange(seen[0], seen[-1] - _DAY_MIN, _NEW_DAYS * _DAY_MIN)[1:]:
        keep = there & (time >= start) & (time < start + _NEW_DAYS * _DAY_MIN)
        if keep.sum() >= _LEAST:
            yield only(keep), _SLOW_MIN


def _optimiser(options: PopulationOptions) -> optax.GradientTransformation:
    warm = min(100, options.steps // 5)
    rate = optax.warmup_cosine_decay_schedule(0.0, options.learning_rate, warm, options.steps)
    return optax.adamw(rate, weight_decay=options.weight_decay)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _begin(options: PopulationOptions, key: Key, count: int) -> tuple[Any, Any]:
    keys = jax.random.split(jax.random.fold_in(key, 0), count)
    networks = jax.vmap(lambda k: PopulationNetwork(options.width, key=k))(keys)
    networks = jax.tree.map(lambda x: x.astype(jnp.float32), networks)
    return networks, jax.vmap(_optimiser(options).init)(networks)


def _course(
    state: tuple[Any, Any],
    examples: Examples,
    courses: Sequence[Array],
    key: Key,
    done: Int[Array, ""],
    options: PopulationOptions,
    count: int,
) -> tuple[tuple[Any, Any], Float[Array, "steps courses"]]:
    """So many steps of every course, on the same batches, and their losses.

    Courses have whom they learn from, and sizes of columns.
    """
    optimiser, groups = _optimiser(options), np.zeros((len(MAY_LACK), len(COLUMNS)), bool)
    for g, group in enumerate(MAY_LACK):
        groups[g, group] = True

    def step(state: tuple[Any, Any], i: Int[Array, ""]) -> tuple[tuple[Any, Any], Array]:
        draw, hide = jax.random.split(jax.random.fold_in(key, 1 + i))
        rows = jax.random.randint(draw, (options.batch,), 0, len(examples.who))
        gone = jax.random.uniform(hide, (options.batch, len(groups)), jnp.float32) < options.hidden_share
        x = jnp.where((gone[:, :, None] & groups).any(axis=1), jnp.nan, examples.columns[rows])
        y = examples.change[rows]
        there, who, weight = jnp.isfinite(y), examples.who[rows], examples.weight[rows]

        def loss(network: PopulationNetwork, learn: Array, scale: Array, usual: Array) -> Float[Array, ""]:
            change, log_sd = network(*standard(x, scale))
            miss = jnp.where(there, y / usual - change, 0.0)
            likely = log_sd + (jax.lax.stop_gradient(miss) * jnp.exp(-log_sd)) ** 2 / 2
            counts = there * (weight * learn[who])[:, None]
            return jnp.sum(counts * (miss**2 + _SPREAD_WEIGHT * likely)) / jnp.maximum(jnp.sum(counts), 1e-6)

        def one(network: Any, moments: Any, *course: Array) -> tuple[tuple[Any, Any], Array]:
            value, slope = eqx.filter_value_and_grad(loss)(network, *course)
            updates, moments = optimiser.update(slope, moments, network)
            return (eqx.apply_updates(network, updates), moments), value

        return jax.vmap(one)(*state, *courses)

    return jax.lax.scan(step, state, done + jnp.arange(count))


def _fingerprint(people: Cohort, options: PopulationOptions, key: Key, unseen: Sequence[Sequence[str]]) -> str:
    drawn = np.asarray(jax.random.key_data(key)).tolist()
    asked = repr((FORMAT_VERSION, tuple(options), drawn, [list(names) for names in unseen], fingerprint(people)))
    return hashlib.sha256(asked.encode()).hexdigest()


def _write(file: Path, names: Sequence[str], digest: str, chunks: Sequence[Course], state: Any) -> None:
    recipe = {"format": TRAINING, "people": names, "training": digest, "chunks": chunks}
    with whole(file) as partial, partial.open("wb") as stream:
        stream.write((json.dumps(recipe) + "\n").encode())
        eqx.tree_serialise_leaves(stream, state)


def _read(file: Path, digest: str, like: Any) -> tuple[list[Course], Any]:
    with file.open("rb") as stream:
        recipe = json.loads(stream.readline())
        if recipe["training"] != digest:
            raise ValueError(f"{file}: is of other people, options, key or version; remove it, or name another")
        return [Course(*chunk) for chunk in recipe["chunks"]], eqx.tree_deserialise_leaves(stream, like)
