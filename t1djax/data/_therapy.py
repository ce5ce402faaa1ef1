"""How a virtual person doses: decisions taken as glucose unfolds."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Key, Scalar
from ..physics import AbstractPhysiology, Inputs
from ._habits import MEAL_MIN, SNACK_MIN, STEP_MIN, STEPS_PER_DAY, Moment, Plate, Therapy, plan_day, reading_errors
from ._titration import Titration, titrate

_BOLUS_STEP_U = 0.05  # what a pump can meter
_LARGEST_BOLUS_U = 25.0
_LONGEST_BOLUS_MIN = 240
_REST_MIN = 1e4  # since an event that has not happened yet


class VirtualPerson(NamedTuple):
    """What a virtual person brings: a body, a start, and lasting habits."""

    body: AbstractPhysiology
    """Parameters."""
    G0: Scalar
    """Glucose at the start, mg/dL."""
    daily_carbs_g: Scalar
    """Usual carbohydrate of a day without snacks, g."""


class DoseSchedule(NamedTuple):
    """What was eaten and delivered, by step of `STEP_MIN`; zero where nothing began."""

    basal_U_h: Scalar
    """The basal rate, U/h."""
    carbs_g: Float[Array, " steps"]
    """Carbohydrate, g."""
    meal_duration_min: Float[Array, " steps"]
    """Time over which it is eaten, min."""
    bolus_U: Float[Array, " steps"]
    """Insulin of boluses, U."""
    bolus_duration_min: Float[Array, " steps"]
    """Time over which it is delivered, min."""


class PumpSettings(NamedTuple):
    """What a patient's pump is set to, and how the patient times boluses."""

    basal_U_h: Array
    g_per_U: Array  # carbohydrate ratio
    factor: Array  # correction factor, mg/dL per U
    lead: Array  # time by which a bolus comes before its meal, min
    spread: Array  # time over which a meal's bolus is delivered where it is extended, else 0, min


class _Life(NamedTuple):
    """Where a person stands at the start of a step."""

    body: Any
    plate: Plate
    extended_U_min: Array  # rates of extended boluses in the steps to come
    since_bolus: Array
    since_rescue: Array


def live(key: Key, person: VirtualPerson, *, steps: int, first_step: Array, therapy: Therapy) -> DoseSchedule:
    """Let a person live for `steps` of 5 min, from `first_step` of the first day.

    Every draw of a day comes from the day's own key: a longer life begins with the same days. Pure JAX for one
    person; `vmap` it.
    """
    p = person.body
    settings_key, day_key = jax.random.split(key)
    known = titrate(p, jnp.asarray(therapy.target_mg_dL, person.G0.dtype))
    settings = pump_settings(settings_key, known, therapy)
    days = -(-steps // STEPS_PER_DAY) + 1  # one more, for a life that begins late in its first day

    def a_day(day: Array) -> tuple[Moment, Array]:
        key = jax.random.fold_in(day_key, day)
        plan = plan_day(key, person.daily_carbs_g, settings.lead, therapy)
        return jax.vmap(plan.at)(jnp.arange(STEPS_PER_DAY)), reading_errors(key, person.G0.dtype)

    moments, errors = jax.tree.map(
        lambda x: jax.lax.dynamic_slice_in_dim(x.reshape(-1), first_step, steps), jax.vmap(a_day)(jnp.arange(days))
    )
    hour = ((first_step + jnp.arange(steps)) % STEPS_PER_DAY) * (STEP_MIN / 60)
    awake = (hour >= 7) & (hour < 23.5)
    zero = jnp.zeros_like(person.G0)
    queue = jnp.zeros(_LONGEST_BOLUS_MIN // STEP_MIN, zero.dtype)
    begin = _Life(
        p.start(person.G0, settings.basal_U_h / 60), Plate(zero, zero), queue, zero + _REST_MIN, zero + _REST_MIN
    )
    _, course = jax.lax.scan(
        lambda life, now: _step(p, known, settings, therapy, life, *now), begin, (moments, errors, awake)
    )
    return DoseSchedule(settings.basal_U_h, *course)


def pump_settings(key: Key, known: Titration, therapy: Therapy) -> PumpSettings:
    """Titrate the pump to a patient, with lasting errors."""
    e_basal, e_ratio, e_factor = jax.random.truncated_normal(key, -2.0, 2.0, (3,), known.per_U.dtype)
    basal = known.basal_U_h * (1 + therapy.basal_cv * e_basal)
    # Who absorbs meals slowly doses into them, spread out; who absorbs them fast doses a little ahead.
    lag = known.meal_min - known.insulin_min
    spread = jnp.clip(jnp.round(1.5 * lag / STEP_MIN) * STEP_MIN, 0, _LONGEST_BOLUS_MIN)
    return PumpSettings(
        basal_U_h=jnp.maximum(jnp.round(basal / therapy.basal_step_U_h), 1) * therapy.basal_step_U_h,
        g_per_U=known.per_U / known.per_g * (1 + therapy.settings_cv * e_ratio),
        factor=known.per_U * (1 + therapy.settings_cv * e_factor),
        lead=jnp.clip(-lag / 4, 0, 10),
        spread=jnp.where(spread < 45, 0.0, spread),
    )


def _step(
    p: AbstractPhysiology,
    known: Titration,
    settings: PumpSettings,
    therapy: Therapy,
    life: _Life,
    plan: Moment,
    error: Array,
    awake: Array,
) -> tuple:
    """Look at the reading, decide, and let `STEP_MIN` pass."""
    bolus, bolus_min, rescue_g = _decide(p, known, settings, therapy, life, plan, error, awake)
    carbs = plan.carbs_g + rescue_g
    carbs_min = jnp.where(plan.main, MEAL_MIN, SNACK_MIN)
    plate = life.plate.served(carbs, carbs_min)
    ahead = STEP_MIN * jnp.arange(life.extended_U_min.shape[0])
    at_once = bolus_min <= 1
    queue = life.extended_U_min + jnp.where(~at_once & (ahead < bolus_min), bolus / bolus_min, 0.0)
    steady = settings.basal_U_h / 60 + queue[0]
    inputs = Inputs(
        jnp.asarray([0.0, 1.0], steady.dtype),
        jnp.stack([steady + jnp.where(at_once, bolus, 0.0), steady]),
        1000 * jnp.stack([plate.g_min, plate.g_min]),
    )
    steps = 1 + math.ceil((STEP_MIN - 1) / p.step_min)  # while a bolus is delivered, and after it
    then = p.solution(inputs, jnp.asarray([STEP_MIN], steady.dtype), life.body, steps=steps).state
    life = _Life(
        jax.tree.map(lambda x: x[0], then),
        plate.after_step(),
        jnp.concatenate([queue[1:], jnp.zeros_like(queue[:1])]),
        jnp.where(bolus > 0, 0.0, life.since_bolus + STEP_MIN),
        jnp.where(rescue_g > 0, 0.0, life.since_rescue + STEP_MIN),
    )
    return life, (carbs, carbs_min, bolus, bolus_min)


def _decide(
    p: AbstractPhysiology,
    known: Titration,
    settings: PumpSettings,
    therapy: Therapy,
    life: _Life,
    plan: Moment,
    error: Array,
    awake: Array,
) -> tuple[Array, Array, Array]:
    """A bolus (U), the time it takes (min), and carbohydrate against a low (g)."""
    reading = p.glucose(life.body) * (1 + therapy.reading_cv * error)
    food, insulin = known.on_board(p, life.body)
    food = food + known.per_g * life.plate.g_min * life.plate.left_min
    insulin = insulin + known.per_U * jnp.sum(life.extended_U_min) * STEP_MIN
    eventual = reading + food - insulin  # when all that is on board has acted
    # A correction leaves food that is slower than insulin to later corrections.
    in_time = jnp.minimum(1.0, known.insulin_min / known.meal_min) ** 2
    too_high = reading + food * in_time - insulin - therapy.target_mg_dL

    covers = plan.counted_g > 0
    alarm = (reading > therapy.high_mg_dL) & awake & (life.since_bolus >= 180)
    corrects = (covers & plan.correct) | alarm
    bolus = plan.counted_g / settings.g_per_U + jnp.where(corrects, too_high / settings.factor, 0.0)
    bolus = jnp.where(covers | alarm, jnp.clip(bolus, 0.0, _LARGEST_BOLUS_U), 0.0)
    bolus = jnp.round(bolus / _BOLUS_STEP_U) * _BOLUS_STEP_U
    extended = (bolus > 0) & plan.counted_main & (settings.spread > 0)

    ahead = reading + known.slope(p, life.body) * jnp.clip(known.meal_min / 6, 20, 45)
    low = jnp.where(awake, therapy.low_mg_dL, therapy.low_mg_dL - 5)
    eats = (life.plate.left_min > 0) | (plan.carbs_g > 0)
    rescue = (ahead < low) & (eventual < 180) & (life.since_rescue >= 15) & ~eats
    wanted = jnp.round(jnp.clip((100 - jnp.minimum(ahead, eventual)) / known.per_g, 12, 80))
    return bolus, jnp.where(extended, settings.spread, 1.0), jnp.where(rescue, wanted, 0.0)
