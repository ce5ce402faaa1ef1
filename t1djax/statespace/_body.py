"""A body as the filter sees it: glucose about the person's level, and effects of doses in mg/dL per unit."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..physics import AbstractPhysiology, runge_kutta_step
from ._hyper import Form

_MG_PER_G = 1000.0
_NEWTON = 8
_TYPICAL_MG_DL = 120.0  # at which every body rests

INSULIN, FOOD = 0, 1
CHANNELS = (INSULIN, FOOD, FOOD)
"""Lags of insulin, of carbohydrate, and of boluses that stand for a meal."""


class Unit(NamedTuple):
    """A body that stands for everybody of the same constants: a person's effects scale what doses leave in it.

    Its own sensitivities cancel: an effect is what a unit or a gram makes of glucose at the level, before the body
    gives any of it back.
    """

    body: AbstractPhysiology
    base: Any
    """The state at the level, without insulin and food."""
    rise: Float[Array, ""]
    """Rate of its glucose there, in the unit of the body's pools per minute; `c` stands in its place."""
    size: Float[Array, ""]
    """Glucose per unit of the pools, mg/dL."""
    lag: Float[Array, "2 lags lags"]
    """Rates of the states that insulin, and food, drive: of themselves, 1/min; padded to one number of them."""
    push: Float[Array, "2 lags"]
    """And of 1 U/min, or 1 g/min."""
    full: Float[Array, "2 lags"]
    """What a lasting 1 U/min, or 1 g/min, leaves in them."""
    gross: Float[Array, "2"]
    """Fall of glucose that a unit makes (mg/dL/U), rise that a gram makes (mg/dL/g)."""


def unit_of(h: Mapping[str, Array], level_mg_dL: Array, form: Form) -> Unit:
    """The body under the constants `h`; parameters that are not among them are in the middle of their table."""
    cls, facts = form.physiology, form.physiology.facts
    middle = {s: sqrt(row.start_low * row.start_high) for s, row in cls.parameters.items()}
    body = cls.of({s: h.get(s, value) for s, value in middle.items()})
    driven = (*facts.insulin_states, *facts.meal_states)
    empty = lambda y: _with(y, driven, [jnp.zeros_like(level_mg_dL)] * len(driven))
    base = _balanced(body, empty(body.start(level_mg_dL, jnp.zeros_like(level_mg_dL))), form)
    widest = max(len(facts.insulin_states), len(facts.meal_states))
    insulin, food = (
        _lags(body, base, names, channel, widest)
        for channel, names in enumerate((facts.insulin_states, facts.meal_states))
    )
    lag, push = (jnp.stack(pair) for pair in zip(insulin, food, strict=True))
    full = -jnp.linalg.solve(lag, push[..., None])[..., 0]
    first = form.pools[0]
    rate = lambda y: getattr(body.rates(y, 0.0, 0.0), first)
    size = jax.grad(lambda x: body.glucose(_with(base, (first,), [x])))(getattr(base, first))
    # Secants, with the other pools in balance: at the basal rate that a typical person of this body rests under.
    with jax.ensure_compile_time_eval():
        basal = cls.of(middle).steady(jnp.asarray(_TYPICAL_MG_DL))[1] / 60
    treated = settled(body, level_mg_dL, basal, full[INSULIN], form)
    fed = _with(base, facts.meal_states, list(full[FOOD]))
    rise = rate(base)
    gross = jnp.stack([(rise - rate(treated)) / basal, rate(fed) - rise]) * size
    return Unit(body, base, rise, size, lag, push, full, gross)


def settled(
    body: AbstractPhysiology, glucose_mg_dL: Array, insulin_U_min: Array, full: Float[Array, " lags"], form: Form
) -> Any:
    """The state under a lasting rate of insulin and no food, with glucose and nothing else out of balance."""
    facts, y = form.physiology.facts, body.start(glucose_mg_dL, insulin_U_min)
    y = _with(y, facts.meal_states, [jnp.zeros_like(glucose_mg_dL)] * len(facts.meal_states))
    return _balanced(body, _with(y, facts.insulin_states, list(insulin_U_min * full)), form)


def _balanced(body: AbstractPhysiology, y: Any, form: Form) -> Any:
    """The pools beside glucose where they do not move, by Newton's method: `start` of a class need not say so."""
    others, sizes = form.pools[1:], body.scales()
    if not others:
        return y
    size = jnp.stack(_pick(sizes, others))

    def left(v: Array) -> Array:
        now = _with(y, others, list(v * size))
        return jnp.stack(_pick(body.rates(now, 0.0, 0.0), others)) / size

    newton = lambda _, v: v - jnp.linalg.solve(jax.jacfwd(left)(v), left(v))
    v = jax.lax.fori_loop(0, _NEWTON, newton, jnp.stack(_pick(y, others)) / size)
    return _with(y, others, list(v * size))


def _lags(
    body: AbstractPhysiology, base: Any, names: tuple[str, ...], channel: int, widest: int
) -> tuple[Float[Array, "lags lags"], Float[Array, " lags"]]:
    """Rates of states that doses alone drive, linearly and with constant coefficients."""

    def slope(d: Array, dose: Array) -> Array:
        doses = (dose, 0.0) if channel == INSULIN else (0.0, _MG_PER_G * dose)
        return jnp.stack([getattr(body.rates(_with(base, names, list(d)), *doses), name) for name in names])

    A, b = jax.jacfwd(slope, (0, 1))(jnp.zeros(len(names)), jnp.zeros(()))
    more = widest - len(names)
    # Lags that are not there forget at once what never comes.
    return jnp.pad(A, (0, more)) - jnp.diag(1.0 * (jnp.arange(widest) >= len(names))), jnp.pad(b, (0, more))


def _with(y: Any, names: tuple[str, ...], values: list[Array]) -> Any:
    # Padding of the lags is left behind.
    return eqx.tree_at(lambda y: [getattr(y, name) for name in names], y, values[: len(names)]) if names else y


def coupling(unit: Unit, form: Form) -> tuple[Float[Array, ""], Float[Array, "2 lags"]]:
    """Of a body with linear rates: what glucose's rate gains by glucose (1/min), and by lags of a unit of effect."""
    first, facts = form.pools[0], form.physiology.facts
    gain = jax.grad(lambda y: getattr(unit.body.rates(y, 0.0, 0.0), first))(unit.base)
    widest = unit.push.shape[1]
    row = lambda names: jnp.stack([*(getattr(gain, n) for n in names), *[jnp.zeros(())] * (widest - len(names))])
    each = jnp.stack([row(facts.insulin_states), row(facts.meal_states)])
    return getattr(gain, first), unit.size * each / unit.gross[:, None]


def flow(
    unit: Unit,
    form: Form,
    pools: Sequence[Array],
    effects: Float[Array, "3 *rows"],
    lags: Sequence[Sequence[Array] | Array],
    rates: Sequence[Array],
    dt: Array,
) -> list[Array]:
    """The body's pools after `dt` by its own equations, less the rise at the base: one Runge-Kutta step of order 4.

    Args:
        unit: the body.
        form: of the model.
        pools: glucose less the level and the other pools, all in mg/dL of glucose.
        effects: `p1`, `q`, `r`.
        lags: what a unit of each channel's doses has left in the driven states.
        rates: insulin (U/min), carbohydrate (g/min), hidden meals (U/min) during the step.
        dt: its length, min.
    """
    p1, q, r = effects[0] / unit.gross[INSULIN], effects[1] / unit.gross[FOOD], effects[2] / unit.gross[FOOD]
    facts, first = form.physiology.facts, form.pools[0]
    base = _pick(unit.base, form.pools)
    y = _with(unit.base, form.pools, [at + x / unit.size for at, x in zip(base, pools, strict=True)])
    y = _with(y, facts.insulin_states, [p1 * x for x in lags[0]])
    y = _with(y, facts.meal_states, [q * a + r * b for a, b in zip(lags[1], lags[2], strict=False)])

    def slope(y: Any, u: Array, carbs: Array) -> Any:
        dy = unit.body.rates(y, u, carbs)
        return _with(dy, (first,), [getattr(dy, first) - unit.rise])

    after = runge_kutta_step(slope, y, dt, p1 * rates[0], _MG_PER_G * (q * rates[1] + r * rates[2]))
    both = zip(pools, _pick(after, form.pools), _pick(y, form.pools), strict=True)
    return [x + unit.size * (later - now) for x, later, now in both]


def _pick(y: Any, names: tuple[str, ...]) -> list[Array]:
    return [getattr(y, name) for name in names]
