"""What the model expects of later readings, from many origins at once."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..data import Patient
from ..physics import Doses
from ..records import FutureInputs
from ._body import CHANNELS, Unit
from ._filter import Filtered
from ._hyper import Form, layout
from ._model import Matrices, Spans, after_doses, choices, effect_rows, matrices, reading_row, spans, through_body
from ._person import Person
from ._steps import LONGEST_MIN, Steps, unpaired

_AT_MEAL_MIN = 15.0  # a bolus so near to a meal goes with it


class Ahead(NamedTuple):
    """Expected readings."""

    mean: Float[Array, "origins horizons"]
    """Less the level, mg/dL."""
    var: Float[Array, "origins horizons"]
    """Variance of the reading, sensor noise included."""


class Changes(NamedTuple):
    """Changes of the inputs after the origins that a forecast may know, one row per change, origin and horizon.

    Padded with changes of size zero, so that similar records share one program.
    """

    pair: Int[Array, " changes"]
    """Origin times the number of horizons, plus horizon."""
    channel: Int[Array, " changes"]
    """0 insulin (U/min), 1 carbohydrate (g/min), 2 boluses without a meal (U/min)."""
    size: Float[Array, " changes"]
    """By how much the rate changes."""
    span: Int[Array, " changes"]
    """Which of `span_min` lies between the change and the horizon."""
    span_min: Float[Array, " spans"]
    """The distinct times between a change and a horizon, min."""


def ahead(
    h: Mapping[str, Array],
    unit: Unit,
    person: Person,
    form: Form,
    filtered: Filtered,
    on_board: Float[Array, "origins 3 lags"],
    rates: Float[Array, "origins 3"],
    block: Int[Array, " origins"],
    horizon_min: tuple[float, ...],
    changes: Changes | None = None,
    longest_min: float | None = None,
    over: Spans | None = None,
) -> Ahead:
    """Mean and variance of the reading at each horizon after each origin.

    Of a linear body the reading is a known row times the state at the origin, plus noise that the way adds: no walk in
    between is needed, and all origins share the matrices of a horizon. Of any other the mean walks there step by step,
    and rows go back along it.

    Args:
        h: constants.
        unit: the body under them.
        person: level and priors.
        form: of the model.
        filtered: states at the origins.
        on_board: what a unit of each channel's doses has left at the origins.
        rates: insulin (U/min), carbohydrate (g/min) and hidden meals (U/min) that go on from the origin.
        block: parts of the day at the origins; an effect lasts for as long as is looked ahead.
        horizon_min: how far ahead, min.
        changes: later changes of those rates; none if not given.
        longest_min: longest step of a walk, min; `LONGEST_MIN` if not given.
        over: matrices over `lengths_ahead`, if they are at hand.
    """
    origins, horizons = len(rates), len(horizon_min)
    M, half = spans(h, unit, form, jnp.asarray(lengths_ahead(form, horizon_min, longest_min))) if over is None else over
    if half is None:
        wide = lambda x: jnp.broadcast_to(x[:, None], (origins, horizons, *x.shape[1:]))
        response = effect_rows(M, jnp.arange(horizons), wide(on_board), wide(rates))
        if changes is not None:
            by_span = matrices(h, unit, form, changes.span_min).response[..., -1]
            add = by_span[changes.span, jnp.asarray(CHANNELS)[changes.channel]] * changes.size[:, None]
            flat = jnp.zeros((origins * horizons, 3, add.shape[1]), add.dtype)
            flat = flat.at[changes.pair, changes.channel].add(add)
            response = response + jnp.swapaxes(flat.reshape(origins, horizons, *flat.shape[1:]), -1, -2)
        where, read = layout(form), reading_row(layout(form))
        core, choice = read[: where.core], choices(block, form)
        stays = jnp.broadcast_to(core @ M.transition, (origins, horizons, where.core))
        acts = jnp.einsum("i,ohij,ojk->ohk", read[: where.driven], response, choice)
        row = jnp.concatenate([stays, acts], axis=-1)
        mean, added = jnp.sum(row * filtered.mean[:, None], axis=-1), core @ M.noise @ core
    else:
        dt = _walk_steps(form, horizon_min, longest_min)
        start = filtered.mean
        mean, row, added = _walk(M, half, unit, person, form, start, on_board, rates, block, horizon_min, dt, changes)
    spread = jnp.sum(row * jnp.einsum("oij,ohj->ohi", filtered.cov, row), axis=-1)
    return Ahead(mean, spread + added + h["noise"] ** 2)


def lengths_ahead(
    form: Form, horizon_min: tuple[float, ...], longest_min: float | None = None
) -> Float[np.ndarray, " lengths"]:
    """The lengths of time that `ahead` needs matrices over, min."""
    return np.asarray(horizon_min) if form.exact else np.unique(_walk_steps(form, horizon_min, longest_min))


def _walk_steps(form: Form, horizon_min: tuple[float, ...], longest_min: float | None) -> Float[np.ndarray, " steps"]:
    """Lengths of steps that end on every horizon, min."""
    between = np.diff(np.unique([0.0, *horizon_min]))
    longest = LONGEST_MIN if longest_min is None else longest_min
    parts = np.ceil(between / longest - 1e-6).astype(int)
    return np.round(np.repeat(between / parts, parts), 9)


def _walk(
    whole: Matrices,
    half: Matrices,
    unit: Unit,
    person: Person,
    form: Form,
    start: Float[Array, "origins states"],
    on_board: Float[Array, "origins 3 lags"],
    rates: Float[Array, "origins 3"],
    block: Int[Array, " origins"],
    horizon_min: tuple[float, ...],
    dt: Float[np.ndarray, " steps"],
    changes: Changes | None,
) -> tuple[Array, Array, Array]:
    """Expected readings at the horizons, how they depend on the states at the origins, and what noise adds."""
    where, read = layout(form), reading_row(layout(form))
    end = np.cumsum(dt)
    last = np.array([np.argmin(np.abs(end - horizon)) for horizon in horizon_min])
    interval = np.unique(dt, return_inverse=True)[1]
    doses = jnp.broadcast_to(rates[:, None], (len(rates), len(dt), 3))
    if changes is not None:
        # Each of them moves the mean rate of the steps that it falls into, so that no dose is lost.
        furthest = int(np.argmax(horizon_min))
        origin, horizon = jnp.divmod(changes.pair, len(horizon_min))
        begun = horizon_min[furthest] - changes.span_min[changes.span]
        size = jnp.where(horizon == furthest, changes.size, 0.0)[:, None]
        doses = doses.at[origin, :, changes.channel].add(size * jnp.clip((end - begun[:, None]) / dt, 0.0, 1.0))
    choice = choices(block, form)
    n, core, pools = len(where.names), where.core, len(form.pools)
    over_half = lambda i: jnp.eye(n).at[:core, :core].set(half.transition[i])

    def step(now: tuple[Array, Array], given: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Any]:
        x, lags = now
        i, length, u = given
        F = over_half(i)
        one = lambda x, lags, u, choice: through_body(unit, person, form, x, lags, u, choice, length)
        x, J = jax.vmap(one)(x @ F.T, lags, u, choice)
        lags = after_doses(whole.lags[i][jnp.asarray(CHANNELS)], lags, u)
        return (x @ F.T, lags), (x @ F.T @ read, J)

    given = jnp.asarray(interval), jnp.asarray(dt), jnp.swapaxes(doses, 0, 1)
    _, (mean, J) = jax.lax.scan(step, (start, on_board), given)

    def back(now: tuple[Array, Array], given: tuple[Array, ...]) -> tuple[tuple[Array, Array], None]:
        row, var = now
        i, J, begins = given
        F, Q = over_half(i), half.noise[i]
        adds = lambda row: jnp.sum(row[..., :core] @ Q * row[..., :core], axis=-1)
        late = jnp.where(begins[:, None], read, row)
        middle = late @ F
        early = jnp.einsum("ohi,oij->ohj", middle[..., :pools], J) + middle.at[..., :pools].set(0.0)
        return (early @ F, var + adds(late) + adds(early)), None

    empty = jnp.zeros((len(rates), len(horizon_min), n)), jnp.zeros((len(rates), len(horizon_min)))
    begins = jnp.asarray(np.arange(len(dt))[:, None] == last)
    (row, added), _ = jax.lax.scan(back, empty, (jnp.asarray(interval), J, begins), reverse=True)
    return mean[last].T, row, added


def lasting_rates(steps: Steps, future: FutureInputs) -> Float[Array, "steps 3"]:
    """Rates that a forecast lets go on from each step: the basal alone, or all that is running."""
    if future == "none":
        zero = jnp.zeros_like(steps.basal_U_min)
        return jnp.stack([steps.basal_U_min, zero, zero], axis=-1)
    return steps.rates


def changes_after(
    patient: Patient,
    origin_min: Float[np.ndarray, " origins"],
    horizon_min: Float[np.ndarray, " horizons"],
    *,
    future: FutureInputs,
    announced_min: float,
    also: Doses | None = None,
) -> Changes | None:
    """The changes of the inputs between each origin and each horizon that are known at the origin; None for none."""
    if future == "none" and also is None:
        return None
    edges, every = _edges(patient.doses), np.arange(len(origin_min))
    first, last = np.searchsorted(edges.time_min, [origin_min, origin_min + np.max(horizon_min)], side="right")
    count = last - first if future != "none" else 0 * first
    origin = np.repeat(every, count)
    at = np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)
    if future == "announced":
        begins = edges.begun_min[at] - np.where(edges.stated[at], announced_min, 0.0)
        origin, at = (x[begins <= origin_min[origin]] for x in (origin, at))
    after, channel, size = edges.time_min[at] - origin_min[origin], edges.channel[at], edges.size[at]
    if also is not None:
        # Who states them states all: none of these boluses hides a meal.
        more = _edges(also)
        stated = more.channel < 2
        origin = np.concatenate([origin, np.repeat(every, stated.sum())])
        again = lambda x: np.tile(x[stated], len(every))
        after, channel, size = (
            np.concatenate([x, again(y)])
            for x, y in ((after, more.time_min), (channel, more.channel), (size, more.size))
        )
    row, horizon = np.nonzero(after[:, None] < horizon_min)
    spans, span = np.unique(np.round(horizon_min[horizon] - after[row], 6), return_inverse=True)
    most, distinct = (64 << max(0, int(np.ceil(np.log2(max(n, 1) / 64)))) for n in (len(row), len(spans)))
    pad = lambda x, n: jax.device_put(np.pad(x, (0, n - len(x))))
    pair = origin[row] * len(horizon_min) + horizon
    return Changes(
        pad(pair, most), pad(channel[row], most), pad(size[row], most), pad(span, most), pad(spans, distinct)
    )


class _Edges(NamedTuple):
    time_min: np.ndarray
    channel: np.ndarray
    size: np.ndarray
    begun_min: np.ndarray  # start of the dose
    stated: np.ndarray  # whether a person announces it: a meal, or a bolus with one


def _edges(doses: Doses) -> _Edges:
    """Every change of a rate, in order of time."""
    bolus = doses.bolus_U / doses.bolus_duration_min
    alone = np.where(unpaired(doses), bolus, 0.0)
    carbs = doses.carbs_g / doses.meal_duration_min
    since, rate = doses.background
    apart = np.abs(doses.bolus_time_min[:, None] - doses.meal_time_min)
    at_meal = (apart <= _AT_MEAL_MIN).any(axis=1)
    # A loop's later basal and corrections answer glucose that is not known yet: nobody announces them.
    columns = [(since[1:], 0, np.diff(rate) / 60, since[1:], np.full(len(rate) - 1, False))]
    for channel, start, length, rate, stated in (
        (0, doses.bolus_time_min, doses.bolus_duration_min, bolus, at_meal),
        (1, doses.meal_time_min, doses.meal_duration_min, carbs, np.full(len(carbs), True)),
        (2, doses.bolus_time_min, doses.bolus_duration_min, alone, at_meal),
    ):
        columns += [(start, channel, rate, start, stated), (start + length, channel, -rate, start, stated)]
    time, size, begun, stated = (np.concatenate([c[i] for c in columns]) for i in (0, 2, 3, 4))
    channel = np.concatenate([np.full(len(c[0]), c[1]) for c in columns])
    order = np.argsort(time, kind="stable")
    return _Edges(time[order], channel[order], size[order], begun[order], stated[order])
