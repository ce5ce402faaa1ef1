"""How a virtual person eats and doses: a schedule drawn for each day, and decisions taken as glucose unfolds."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Key, Scalar
from ..physics import AbstractPhysiology, Inputs
from ._titration import Titration, titrate

STEP_MIN = 5
"""Virtual people act at multiples of this, min."""
STEPS_PER_DAY = 1440 // STEP_MIN
_BOLUS_STEP_U = 0.05  # what a pump can meter
_MEAL_MIN, _SNACK_MIN = 15, 5
_LARGEST_BOLUS_U = 25.0
_LONGEST_BOLUS_MIN = 240
_STEPS_IN_STEP = 2  # of the body: while a bolus is delivered, and after it
_REST_MIN = 1e4  # since an event that has not happened yet
# Breakfast, lunch, afternoon snack, dinner, late snack: windows (min of day) that leave room for a late bolus.
_EARLIEST = (360, 690, 915, 1080, 1275)
_LATEST = (570, 825, 1020, 1230, 1335)
_USUAL = (450, 750, 960, 1150, 1300)
_IS_MEAL = (True, True, False, True, False)
_SHARE = (0.25, 0.35, 0.0, 0.40, 0.0)  # of the day's carbohydrate


class Therapy(eqx.Module):
    """Habits of eating and dosing in a virtual population; the defaults are ordinary life with a pump and a CGM.

    Settings are titrated to each patient: the basal rate holds the target, and what a unit takes from glucose and a
    gram adds in the end (`Titration`) gives the correction factor and the carbohydrate ratio.

    Doses are decided from glucose as the patient's own device shows it, with an error that is the therapy's, not
    the sensor model's: the doses of a patient are the same whatever sensor later reads the record.
    """

    target_mg_dL: float = 125.0
    """Glucose that corrections aim at, mg/dL."""
    basal_step_U_h: float = 0.05
    """Resolution of the pump's basal rate, U/h."""
    settings_cv: float = 0.15
    """Error of a patient's carbohydrate ratio and correction factor, as a share; lasting."""
    basal_cv: float = 0.06
    """Error of the basal rate before it is rounded, as a share; lasting."""
    counting_cv: float = 0.25
    """Error of counting the carbohydrate of a meal, as a share; each time anew."""
    missed_bolus: float = 0.07
    """Chance that a meal's bolus is forgotten."""
    late_bolus: float = 0.2
    """Chance that it comes 15 to 45 min after the meal has begun."""
    skipped_meal: float = 0.05
    """Chance that a meal is left out."""
    snack: float = 0.5
    """Chance of a snack in the afternoon, and again late in the evening."""
    covered_snack: float = 0.5
    """Chance that a snack gets a bolus."""
    high_mg_dL: float = 270.0
    """Glucose above which a correction is taken between meals, awake and 3 h after the last bolus, mg/dL."""
    low_mg_dL: float = 70.0
    """Glucose below which, seen or foreseen, carbohydrate is taken, mg/dL."""
    reading_cv: float = 0.1
    """Error of the reading that a decision is taken from, as a share."""


class Person(NamedTuple):
    """What a virtual person brings: a body, a start, and lasting habits."""

    body: AbstractPhysiology
    """Parameters."""
    G0: Scalar
    """Glucose at the start, mg/dL."""
    daily_carbs_g: Scalar
    """Usual carbohydrate of a day without snacks, g."""


class Course(NamedTuple):
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


class DayPlan(NamedTuple):
    """A schedule by step: what will be eaten, and which carbohydrate a bolus is meant to cover."""

    carbs_g: Array
    main: Array  # whether what is eaten is a meal
    counted_g: Array
    counted_main: Array  # whether what is covered is a meal
    correct: Array  # whether the bolus calculator also corrects
    error: Array  # of the reading, in units of its standard deviation


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
    meal_g_min: Array
    meal_left_min: Array
    extended_U_min: Array  # rates of extended boluses in the steps to come
    since_bolus: Array
    since_rescue: Array


def live(key: Key, person: Person, *, steps: int, first_step: Array, therapy: Therapy) -> Course:
    """Let a person live for `steps` of 5 min, from `first_step` of the first day.

    Every draw of a day comes from the day's own key: a longer life begins with the same days. Pure JAX for one
    person; `vmap` it.
    """
    p = person.body
    settings_key, day_key = jax.random.split(key)
    known = titrate(p, jnp.asarray(therapy.target_mg_dL, person.G0.dtype))
    settings = pump_settings(settings_key, known, therapy)
    days = -(-steps // STEPS_PER_DAY) + 1  # one more, for a life that begins late in its first day
    a_day = lambda d: plan_day(jax.random.fold_in(day_key, d), person.daily_carbs_g, settings.lead, therapy)
    plan = jax.vmap(a_day)(jnp.arange(days))
    plan = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x.reshape(-1), first_step, steps), plan)
    hour = ((first_step + jnp.arange(steps)) % STEPS_PER_DAY) * (STEP_MIN / 60)
    awake = (hour >= 7) & (hour < 23.5)
    zero = jnp.zeros_like(person.G0)
    queue = jnp.zeros(_LONGEST_BOLUS_MIN // STEP_MIN, zero.dtype)
    begin = _Life(p.start(person.G0, settings.basal_U_h / 60), zero, zero, queue, zero + _REST_MIN, zero + _REST_MIN)
    _, course = jax.lax.scan(lambda life, now: _step(p, known, settings, therapy, life, *now), begin, (plan, awake))
    return Course(settings.basal_U_h, *course)


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
    plan: DayPlan,
    awake: Array,
) -> tuple:
    """Look at the reading, decide, and let `STEP_MIN` pass."""
    bolus, bolus_min, rescue_g = _decide(p, known, settings, therapy, life, plan, awake)
    carbs = plan.carbs_g + rescue_g
    carbs_min = jnp.where(plan.main, 1.0 * _MEAL_MIN, _SNACK_MIN)
    begins = carbs > 0
    meal_g_min = jnp.where(begins, carbs / carbs_min, life.meal_g_min * (life.meal_left_min > 0))
    meal_left = jnp.where(begins, carbs_min, life.meal_left_min)
    ahead = STEP_MIN * jnp.arange(life.extended_U_min.shape[0])
    at_once = bolus_min <= 1
    queue = life.extended_U_min + jnp.where(~at_once & (ahead < bolus_min), bolus / bolus_min, 0.0)
    steady = settings.basal_U_h / 60 + queue[0]
    inputs = Inputs(
        jnp.asarray([0.0, 1.0], steady.dtype),
        jnp.stack([steady + jnp.where(at_once, bolus, 0.0), steady]),
        1000 * jnp.stack([meal_g_min, meal_g_min]),
    )
    then = p.solution(inputs, jnp.asarray([STEP_MIN], steady.dtype), life.body, steps=_STEPS_IN_STEP).state
    life = _Life(
        jax.tree.map(lambda x: x[0], then),
        meal_g_min,
        jnp.maximum(meal_left - STEP_MIN, 0),
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
    plan: DayPlan,
    awake: Array,
) -> tuple[Array, Array, Array]:
    """A bolus (U), the time it takes (min), and carbohydrate against a low (g)."""
    reading = p.glucose(life.body) * (1 + therapy.reading_cv * plan.error)
    food, insulin = known.on_board(p, life.body)
    food = food + known.per_g * life.meal_g_min * life.meal_left_min
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
    eats = (life.meal_left_min > 0) | (plan.carbs_g > 0)
    rescue = (ahead < low) & (eventual < 180) & (life.since_rescue >= 25) & ~eats
    wanted = jnp.round(jnp.clip((100 - jnp.minimum(ahead, eventual)) / known.per_g, 12, 40))
    return bolus, jnp.where(extended, settings.spread, 1.0), jnp.where(rescue, wanted, 0.0)


def plan_day(key: Key, daily_carbs_g: Array, lead: Array, therapy: Therapy) -> DayPlan:
    """The schedule of one day: when and what is eaten, and when a bolus is meant to cover how much of it."""
    normal_key, uniform_key, error_key = jax.random.split(key, 3)
    slots, dtype = len(_USUAL), daily_carbs_g.dtype
    timing, amount, counting = jax.random.truncated_normal(normal_key, -2.5, 2.5, (3, slots), dtype)
    u = jax.random.uniform(uniform_key, (4, slots), dtype)
    main = jnp.asarray(_IS_MEAL)

    usual, earliest, latest = (jnp.asarray(x, dtype) for x in (_USUAL, _EARLIEST, _LATEST))
    at = jnp.clip(usual + 30 * timing, earliest, latest)
    size = jnp.where(main, jnp.asarray(_SHARE) * daily_carbs_g, 15.0) * (1 + 0.25 * amount)
    eaten = u[0] >= jnp.where(main, therapy.skipped_meal, 1 - therapy.snack)
    carbs = jnp.where(eaten, jnp.maximum(jnp.round(size), 5.0), 0.0)

    late = u[1] < therapy.late_bolus
    shift = jnp.where(late, 15 + 30 * u[2], jnp.where(main, 20 * (u[2] - 0.5) - lead, 0.0))
    covered = jnp.where(main, u[3] >= therapy.missed_bolus, u[3] < therapy.covered_snack)
    counted = jnp.maximum(carbs * (1 + therapy.counting_cv * counting), 0.0) * covered

    meal_step = jnp.round(at / STEP_MIN).astype(int)
    bolus_step = jnp.round((at + shift) / STEP_MIN).astype(int)
    # A comparison and a sum compile in a fraction of the time that scatters take.
    add = lambda where, what: jnp.sum(jnp.where(jnp.arange(STEPS_PER_DAY)[:, None] == where, what, 0.0), axis=1)
    return DayPlan(
        carbs_g=add(meal_step, carbs),
        main=add(meal_step, carbs * main) > 0,
        counted_g=add(bolus_step, counted),
        counted_main=add(bolus_step, counted * main) > 0,
        correct=add(bolus_step, counted * ~late) > 0,
        error=jax.random.normal(error_key, (STEPS_PER_DAY,), dtype),
    )
