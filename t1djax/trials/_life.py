"""One person's days in closed loop, as two nested scans: over days, and over the steps of a day."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Key, Scalar
from ..data import STEP_MIN, STEPS_PER_DAY, Therapy, plan_day, pump_settings, titrate
from ..physics import AbstractPhysiology, runge_kutta_step
from ._controllers import ON_BOARD_LAG_MIN, AbstractController, Observation, Profile, on_board_after
from ._devices import CGM, Pump

_H = float(STEP_MIN)
_MEAL_MIN, _SNACK_MIN = 15.0, 5.0
_LOW_STEPS = 3  # an event of hypoglycaemia: 15 min below 70, until 15 min above


class Rules(eqx.Module):
    """What is the same for everybody in a trial."""

    therapy: Therapy = Therapy()
    """Habits of eating, counting and forgetting."""
    cgm: CGM = CGM()
    """The sensor."""
    pump: Pump = Pump()
    """The pump."""
    rescue_g: float | Scalar = 16.0
    """Carbohydrate taken against a low, g; zero for none."""
    rescue_wait_min: float | Scalar = 20.0
    """Least time between two of these, min."""


class Tally(NamedTuple):
    """What is counted of a life as it goes on; memory does not grow with days."""

    steps_in_range: Array
    """Steps of 5 min below 54, to 69, to 180, to 250 and above 250 mg/dL."""
    total_mg_dL: Scalar
    """Sum of glucose, mg/dL."""
    squares: Scalar
    """Sum of squared glucose, (mg/dL)^2."""
    risk: Scalar
    """Sum of the risk of Kovatchev, without unit; it has a slope everywhere."""
    lowest_mg_dL: Scalar
    """Lowest glucose, mg/dL."""
    highest_mg_dL: Scalar
    """Highest glucose, mg/dL."""
    low_events: Scalar
    """Events of hypoglycaemia."""
    insulin_U: Scalar
    """Insulin delivered, U."""
    carbs_g: Scalar
    """Carbohydrate eaten, with rescues, g."""
    rescues: Scalar
    """How often carbohydrate was taken against a low."""
    invalid: Scalar
    """Steps at which the controller asked for less than nothing or for no number; nothing was delivered."""


class Trace(NamedTuple):
    """What happened at each step of 5 min."""

    glucose_mg_dL: Scalar
    """Glucose of blood at its start, mg/dL."""
    reading_mg_dL: Scalar
    """The reading at its start, mg/dL; not a number where it was lost."""
    basal_U_h: Scalar
    """Basal rate delivered, U/h."""
    bolus_U: Scalar
    """Bolus delivered, U."""
    carbs_g: Scalar
    """Carbohydrate of what began, g."""
    meal_min: Scalar
    """Time over which that is eaten, min."""


class _Now(NamedTuple):
    body: Any
    memory: Any
    interstitial: Array
    error: Array  # of the sensor, in its standard deviations
    reading: Array
    age: Array
    first: Array  # insulin on board in two lags, U
    second: Array
    meal_g_min: Array
    meal_left: Array
    since_rescue: Array
    blocked: Array  # time until an occlusion ends, min
    lows: Array  # steps below 70 in a row; of an event that goes on, minus those above
    event: Array
    tally: Tally


def profile_of(body: AbstractPhysiology, daily_carbs_g: Scalar, key: Key, therapy: Therapy) -> tuple[Profile, Scalar]:
    """A person's settings, titrated with the lasting errors of the therapy; and by how much boluses come early, min.

    Args:
        body: the person.
        daily_carbs_g: usual carbohydrate of a day, g.
        key: random key of the errors.
        therapy: habits.
    """
    known = titrate(body, jnp.asarray(therapy.target_mg_dL, daily_carbs_g.dtype))
    mine = pump_settings(key, known, therapy)
    daily = 24 * mine.basal_U_h + daily_carbs_g / mine.g_per_U
    target = jnp.zeros_like(daily) + therapy.target_mg_dL
    return Profile(mine.basal_U_h, mine.g_per_U, mine.factor, target, daily), mine.lead


def live_in_loop(
    controller: AbstractController,
    body: AbstractPhysiology,
    G0: Scalar,
    daily_carbs_g: Scalar,
    key: Key,
    rules: Rules,
    *,
    days: int,
    traced: bool = False,
) -> tuple[Tally, Trace | None]:
    """A person's days from midnight, sensor and controller every 5 min. Pure JAX; `vmap` and `grad` it.

    The body takes Runge-Kutta steps of order 4, each 5 min long with the doses of that time spread over it.

    Args:
        controller: what doses.
        body: the person.
        G0: glucose at the start, mg/dL.
        daily_carbs_g: usual carbohydrate of a day without snacks, g.
        key: random key: of settings, meals and sensor, which are the same whatever the controller.
        rules: what is the same for everybody.
        days: how many.
        traced: whether each step is kept too.

    Returns:
        What was counted; and the steps, `(days * 288,)`, where asked for.
    """
    settings_key, day_key, sensor_key, control_key = jax.random.split(key, 4)
    profile, lead = profile_of(body, daily_carbs_g, settings_key, rules.therapy)
    zero = jnp.zeros_like(G0)
    begin = _Now(
        body=body.start(G0, profile.basal_U_h / 60),
        memory=controller.init(profile),
        interstitial=G0,
        error=jax.random.normal(sensor_key, (), G0.dtype),
        reading=G0,
        age=zero,
        first=zero,
        second=zero,
        meal_g_min=zero,
        meal_left=zero,
        since_rescue=zero + 1e4,
        blocked=zero,
        lows=zero,
        event=zero,
        tally=Tally(jnp.zeros(5, G0.dtype), zero, zero, zero, G0, G0, zero, zero, zero, zero, zero),
    )

    def a_day(now: _Now, day: Array) -> tuple[_Now, Trace | None]:
        plan = plan_day(jax.random.fold_in(day_key, day), daily_carbs_g, lead, rules.therapy)
        draw_key, lost_key = jax.random.split(jax.random.fold_in(sensor_key, day))
        knocks = jax.random.normal(draw_key, (STEPS_PER_DAY,), G0.dtype)
        lost, blocks = jax.random.uniform(lost_key, (2, STEPS_PER_DAY), G0.dtype)
        keys = jax.random.split(jax.random.fold_in(control_key, day), STEPS_PER_DAY)
        minute = _H * jnp.arange(STEPS_PER_DAY, dtype=G0.dtype)
        each = (plan.carbs_g, plan.main, plan.counted_g, knocks, lost, blocks, keys, minute)
        step = lambda now, given: _step(controller, body, profile, rules, now, *given)
        now, trace = jax.lax.scan(step, now, each)
        return now, trace if traced else None

    now, trace = jax.lax.scan(a_day, begin, jnp.arange(days))
    return now.tally, jax.tree.map(lambda x: x.reshape(-1), trace)


def _step(
    controller: AbstractController,
    body: AbstractPhysiology,
    profile: Profile,
    rules: Rules,
    now: _Now,
    carbs: Array,
    main: Array,
    announced: Array,
    knock: Array,
    lost: Array,
    block: Array,
    key: Key,
    minute: Array,
) -> tuple[_Now, Trace]:
    cgm, pump = rules.cgm, rules.pump
    G = body.glucose(now.body)
    error = cgm.noise_rho * now.error + jnp.sqrt(1 - jnp.square(cgm.noise_rho)) * knock
    read = jnp.clip(now.interstitial + cgm.noise_sd_mg_dL * error, cgm.lowest_mg_dL, cgm.highest_mg_dL)
    missing = lost < cgm.dropout
    reading, age = jnp.where(missing, now.reading, read), jnp.where(missing, now.age + _H, 0.0)
    seen = Observation(reading, age, announced, minute, now.first + now.second, now.second / ON_BOARD_LAG_MIN)
    memory, action = controller.step(now.memory, seen, key)
    valid = jnp.isfinite(action.basal_U_h) & jnp.isfinite(action.bolus_U)
    valid = valid & (action.basal_U_h >= 0) & (action.bolus_U >= 0)
    asked = (jnp.where(valid, action.basal_U_h, 0.0), jnp.where(valid, action.bolus_U, 0.0))
    rate, bolus = pump.metered(*asked)
    blocked = jnp.where(block < pump.occlusions_per_day / STEPS_PER_DAY, pump.occlusion_min, now.blocked)
    rate, bolus = jnp.where(blocked > 0, 0.0, rate), jnp.where(blocked > 0, 0.0, bolus)

    eats = (now.meal_left > 0) | (carbs > 0)
    rescue = (reading < rules.therapy.low_mg_dL) & (now.since_rescue >= rules.rescue_wait_min) & ~eats
    rescue = rescue & (rules.rescue_g > 0)
    begun = carbs + jnp.where(rescue, rules.rescue_g, 0.0)
    meal_min = jnp.where(main, _MEAL_MIN, _SNACK_MIN)
    begins = begun > 0
    # What one meal had left goes on into the next.
    left = now.meal_g_min * now.meal_left
    meal_left = jnp.where(begins, meal_min, now.meal_left)
    g_min = jnp.where(begins, (begun + left) / meal_min, now.meal_g_min) * (meal_left > 0)

    insulin = rate / 60 + bolus / _H
    y = runge_kutta_step(body.rates, now.body, jnp.asarray(_H, G.dtype), insulin, 1000 * g_min)
    first, second = on_board_after(now.first, now.second, insulin - profile.basal_U_h / 60, _H)
    lows, event = _hypoglycaemia(now.lows, now.event, G)
    t = now.tally
    where = (G >= 54.0).astype(int) + (G >= 70.0) + (G > 180.0) + (G > 250.0)
    tally = Tally(
        t.steps_in_range + (jnp.arange(5) == where),
        t.total_mg_dL + G,
        t.squares + G * G,
        t.risk + _risk(G),
        jnp.minimum(t.lowest_mg_dL, G),
        jnp.maximum(t.highest_mg_dL, G),
        t.low_events + jnp.maximum(event - now.event, 0.0),
        t.insulin_U + insulin * _H,
        t.carbs_g + begun,
        t.rescues + rescue,
        t.invalid + ~valid,
    )
    after = _Now(
        y,
        memory,
        cgm.follow(now.interstitial, body.glucose(y), _H),
        error,
        reading,
        age,
        first,
        second,
        g_min,
        jnp.maximum(meal_left - _H, 0.0),
        jnp.where(rescue, 0.0, now.since_rescue + _H),
        jnp.maximum(blocked - _H, 0.0),
        lows,
        event,
        tally,
    )
    return after, Trace(G, jnp.where(missing, jnp.nan, read), rate, bolus, begun, meal_min)


def _hypoglycaemia(lows: Array, event: Array, G: Array) -> tuple[Array, Array]:
    """Steps in a row on the other side of 70 than the person is taken to be, and whether an event goes on."""
    low = G < 70.0
    against = jnp.where(low == (event > 0), 0.0, lows + 1)
    turns = against >= _LOW_STEPS
    return jnp.where(turns, 0.0, against), jnp.where(turns, 1.0 - event, event)


def _risk(G: Array) -> Array:
    """`10 f^2` with `f = 1.509 ((ln G)^1.084 - 5.381)`: Kovatchev et al., Diabetes Care 29(11):2433, 2006."""
    return 10 * jnp.square(1.509 * (jnp.log(jnp.maximum(G, 1.0)) ** 1.084 - 5.381))
