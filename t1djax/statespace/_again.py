"""Steps of a record lived again under other doses: how far glucose comes to differ, all else kept as it was."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._answers import AbstractAnswer, Answering, Course, answered, begin
from ._body import Unit, flow, unit_of
from ._filter import draw_paths, kalman_filter
from ._hyper import Form, layout
from ._model import build, choices, positive, spans
from ._person import Person
from ._search import constants
from ._steps import Steps


class Kept(NamedTuple):
    """What is kept of a record under one draw of the constants, at the steps that are lived again."""

    unit: Unit
    """The body."""
    dt_min: Float[Array, " lengths"]
    """The lengths of steps, min."""
    transition: Float[Array, "lengths driven driven"]
    """Of the states that doses move over each length; where steps are not exact, over half of it without the body."""
    response: Float[Array, "lengths 2 driven inputs"]
    """As in `Matrices`."""
    lags: Float[Array, "lengths 2 lags inputs"]
    """As in `Matrices`."""
    interval: Int[Array, " steps"]
    """Which of the lengths a step has."""
    on_board: Float[Array, "steps 3 lags"]
    """What a unit of each channel's doses on record has left at its start."""
    rates: Float[Array, "steps 3"]
    """Doses on record during it."""
    effects: Float[Array, "paths steps 3"]
    """`p1`, `q`, `r`, by draws of the states."""
    pools: Float[Array, "paths steps pools"]
    """The body's pools where its own equations take over."""


def explained(
    z: Float[Array, " free"],
    key_data: Array,
    steps: Steps,
    person: Person,
    first: Int[Array, ""],
    form: Form,
    paths: int,
    number: int,
) -> Kept:
    """Under one draw of the constants, `paths` draws of the states that explain the record, over so large a `number` of
    steps from the `first` of them on."""
    h, where = constants(z, form), layout(form)
    unit = unit_of(h, person.level_mg_dL, form)
    over = spans(h, unit, form, steps.dt_min)
    model, on_board = build(h, person, steps, form, unit, over)
    span = lambda tree, n: jax.tree.map(lambda rows: jax.lax.dynamic_slice_in_dim(rows, first, n), tree)
    late = lambda tree: span(tree, number + 1)
    ending = model._replace(motion=eqx.tree_at(lambda motion: motion.each, model.motion, late(model.motion.each)))
    # Numbers for the whole record, and the same for its end and all padding: the same draws, whatever part of it is
    # lived again.
    noise = jax.random.normal(jax.random.wrap_key_data(key_data), (len(model.y), paths, len(model.mean)))
    noise = noise[jnp.minimum(jnp.arange(len(noise)), jnp.sum(steps.dt_min[steps.interval] > 0))]
    x = draw_paths(ending, late(kalman_filter(model)), late(noise))[:, :-1]
    begins = lambda rows: span(rows, number)
    at, m = begins(steps.interval), where.core
    M = over.whole if over.half is None else over.half
    # Sums: products of so many small matrices go one by one.
    times = lambda A, v: jnp.sum(A * v[..., None, :], axis=-1)
    return Kept(
        unit=unit,
        dt_min=steps.dt_min,
        transition=M.transition[:, : where.driven, : where.driven],
        response=over.whole.response,
        lags=over.whole.lags,
        interval=at,
        on_board=begins(on_board),
        rates=begins(steps.rates),
        effects=times(choices(begins(steps.block), form), positive(x[..., m:], person, form)),
        pools=times(M.transition[at, : len(form.pools)], x[..., :m]),
    )


class _Row(NamedTuple):
    """What a step takes, of one draw."""

    interval: Array
    on_board: Float[Array, "*steps 3 lags"]
    rates: Float[Array, "*steps 3"]
    effects: Float[Array, "*steps 3"]
    pools: Float[Array, "*steps pools"]


class _Apart(NamedTuple):
    """How far a course is from the recorded one.

    Each state is a number of its own, so that those of all draws and scenarios lie side by side in memory, where a
    processor takes several at once: a thousand scenarios took a tenth of the time.
    """

    driven: list[Array]
    """The body's pools, and the sensor's glucose, mg/dL."""
    on_board: list[list[Array]]
    """The lags of insulin, and of food."""


def lived_again(
    more: Float[Array, "steps 2"],
    course: Course | None,
    kept: Kept,
    doubt: tuple[Float[Array, "constants paths"], Float[Array, "constants paths"]],
    time_min: Float[Array, " later"],
    asked_min: Float[Array, " readings"],
    rules: tuple[AbstractAnswer, ...],
    form: Form,
) -> tuple[Float[Array, "draws readings"], Float[Array, "draws 2"]]:
    """How much higher a sensor would have read, mg/dL, under so much `more` insulin and carbohydrate.

    ```
    apart[i+1] = step(x[i] + apart[i], doses + more) - step(x[i], doses)
    ```

    Args:
        more: insulin (U/min) and carbohydrate (g/min) in each step.
        course: what answers see, where there are any.
        kept: by draws of the constants, what `explained` gave.
        doubt: by draws, a factor on the change, and how much later it comes, min.
        time_min: when steps begin, and when the last one ends.
        asked_min: when glucose is asked for.
        rules: answers.
        form: of the model.

    Returns:
        The change by draws; and what answers gave, U and g.
    """
    where, facts = layout(form), form.physiology.facts
    read = lambda apart: _sum(x for x, name in zip(apart.driven, where.names, strict=False) if name in where.reads)
    zero = jnp.zeros(())
    same = _Apart([zero] * where.driven, [[zero] * len(states) for states in (facts.insulin_states, facts.meal_states)])

    def under(kept: Kept, effects: Array, pools: Array, size: Array, shift: Array) -> tuple[Array, Array]:
        def go(now: tuple[_Apart, Answering], given: tuple[_Row, Array, Any]) -> Any:
            (apart, answering), (row, more, seen) = now, given
            answer = jnp.zeros(2)
            if rules:
                answering, answer = answered(rules, answering, read(apart), seen)
            apart = _step(kept, row, apart, list(more + answer), form)
            return (apart, answering), (read(apart), answer)

        rows = _Row(kept.interval, kept.on_board, kept.rates, effects, pools)
        _, (later, rates) = jax.lax.scan(go, (same, begin(rules)), (rows, more, course))
        change = jnp.interp(asked_min - shift, time_min, jnp.concatenate([zero[None], later]))
        return size * change, kept.dt_min[kept.interval] @ rates

    drawn = jax.vmap(under, in_axes=(None, 0, 0, 0, 0))
    each = jax.vmap(drawn)(kept, kept.effects, kept.pools, *doubt)
    return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), each)


def _step(kept: Kept, row: _Row, apart: _Apart, more: list[Array], form: Form) -> _Apart:
    # Lags that not all channels have are padded; what comes in is the last input.
    doses = [
        dict(enumerate(lags)) | {kept.lags.shape[-1] - 1: rate} for lags, rate in zip(apart.on_board, more, strict=True)
    ]
    at, of = row.interval, lambda A, i, x: _sum(A[i, j] * v for j, v in x.items())
    on_board = [
        [of(kept.lags[at, channel], i, doses[channel]) for i in range(len(lags))]
        for channel, lags in enumerate(apart.on_board)
    ]
    moved = lambda x: [of(kept.transition[at], i, dict(enumerate(x))) for i in range(len(x))]
    driven = moved(apart.driven)
    if form.exact:
        acts = lambda i: _sum(row.effects[c] * of(kept.response[at, c], i, x) for c, x in enumerate(doses))
        return _Apart([x + acts(i) for i, x in enumerate(driven)], on_board)
    added = lambda record, more: [a + b for a, b in zip(record, more, strict=False)]
    body = lambda pools, lags, rates: flow(kept.unit, form, pools, row.effects, lags, rates, kept.dt_min[at])
    other = body(
        added(row.pools, driven),
        [*map(added, row.on_board, apart.on_board), row.on_board[2]],
        [*added(row.rates, more), row.rates[2]],
    )
    pools = [a - b for a, b in zip(other, body(list(row.pools), list(row.on_board), list(row.rates)), strict=True)]
    return _Apart(moved([*pools, *driven[len(pools) :]]), on_board)


def _sum(values: Iterable[Array]) -> Array:
    return sum(values, start=jnp.zeros(()))
