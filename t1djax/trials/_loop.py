"""One person in closed loop: what a controller sees of them, and what comes of its action, 5 min at a time."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Key, Scalar
from ..data import (
    MEAL_MIN,
    SNACK_MIN,
    STEP_MIN,
    STEPS_PER_DAY,
    DayPlan,
    Meals,
    Moment,
    Plate,
    Therapy,
    plan_day,
    pump_settings,
    titrate,
)
from ..physics import AbstractPhysiology, runge_kutta_step
from ._controllers import ON_BOARD_LAG_MIN, Action, Observation, Profile, on_board_after
from ._devices import CGM, Pump
from ._faults import Fault, present, strength

_H = float(STEP_MIN)
_LOW_STEPS = 3  # an event of hypoglycaemia: 15 min below 70, until 15 min above
_LEAST_DRAW = 2.0**-24


class Rules(eqx.Module):
    """What is the same for everybody in a trial."""

    therapy: Therapy = Therapy()
    """Habits of eating, counting and forgetting."""
    meals: Meals | None = None
    """Meals at stated times; drawn by the habits if not given."""
    cgm: CGM = CGM()
    """The sensor."""
    pump: Pump = Pump()
    """The pump."""
    faults: tuple[Fault, ...] = ()
    """What goes wrong."""
    rescue_g: float | Scalar = 16.0
    """Carbohydrate taken against a low, g; zero for none."""
    rescue_wait_min: float | Scalar = 20.0
    """Least time between two of these, min."""


class Luck(NamedTuple):
    """What a step has of chance."""

    knock: Array  # to the error of the sensor, in its standard deviations
    odds: Array  # between zero and one: low for a lost reading, high for an occlusion


class Subject(NamedTuple):
    """A person as the loop knows them: what does not change in a life."""

    body: AbstractPhysiology
    """Parameters."""
    G0: Scalar
    """Glucose at the start, mg/dL."""
    daily_carbs_g: Scalar
    """Usual carbohydrate of a day without snacks, g."""
    profile: Profile
    """What their pump is set to."""
    lead_min: Scalar
    """By how much boluses come before meals, min."""
    day_key: Key
    """Random key of the days."""
    sensor_key: Key
    """Random key of the sensor."""

    def plan(self, rules: Rules, day: Array) -> DayPlan:
        """What a day brings."""
        key = jax.random.fold_in(self.day_key, day)
        return plan_day(key, self.daily_carbs_g, self.lead_min, rules.therapy, rules.meals)

    def luck(self, step: Array) -> Luck:
        """What a step has of chance."""
        u = jax.random.uniform(jax.random.fold_in(self.sensor_key, step), (2,), jnp.float32, _LEAST_DRAW)
        return Luck(jnp.sqrt(2.0).astype(u.dtype) * jax.lax.erf_inv(2 * u[0] - 1), u[1])


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


class StepOutcome(NamedTuple):
    """What came of a step, beside its trace."""

    trace: Trace
    rescue: Array  # whether carbohydrate was taken against a low
    event: Array  # whether an event of hypoglycaemia began
    valid: Array  # whether the action was of two numbers, none below zero


class Life(NamedTuple):
    """Where a person stands."""

    body: Any
    interstitial: Array
    error: Array  # of the sensor, in its standard deviations
    reading: Array
    age: Array
    first: Array  # insulin on board in two lags, U
    second: Array
    plate: Plate
    since_rescue: Array
    blocked: Array  # time until an occlusion ends, min
    begins: Array  # whether one begins
    lows: Array  # steps in a row on the other side of 70 than the person is taken to be
    event: Array
    waiting: tuple[Array, Array]  # rates and boluses that the pump will carry out


def profile_of(body: AbstractPhysiology, daily_carbs_g: Scalar, key: Key, therapy: Therapy) -> tuple[Profile, Scalar]:
    """A person's settings, titrated with the lasting errors of the therapy; and by how much boluses come early, min."""
    known = titrate(body, jnp.asarray(therapy.target_mg_dL, daily_carbs_g.dtype))
    mine = pump_settings(key, known, therapy)
    daily = 24 * mine.basal_U_h + daily_carbs_g / mine.g_per_U
    target = jnp.zeros_like(daily) + therapy.target_mg_dL
    return Profile(mine.basal_U_h, mine.g_per_U, mine.factor, target, daily), mine.lead


def begin(subject: Subject, rules: Rules) -> Life:
    """A life at midnight, under the profile's basal rate."""
    G0, basal = subject.G0, subject.profile.basal_U_h
    zero = jnp.zeros_like(G0)
    waiting = jnp.zeros(rules.pump.delay_min // STEP_MIN, G0.dtype)
    return Life(
        body=subject.body.start(G0, basal / 60),
        interstitial=G0,
        error=jax.random.normal(subject.sensor_key, (), G0.dtype),
        reading=G0,
        age=zero,
        first=zero,
        second=zero,
        plate=Plate(zero, zero),
        since_rescue=zero + 1e4,
        blocked=zero,
        begins=jnp.zeros_like(G0, bool),
        lows=zero,
        event=zero,
        waiting=(waiting + basal, waiting),
    )


def observe(
    subject: Subject, rules: Rules, life: Life, moment: Moment, luck: Luck, step: Array
) -> tuple[Life, Observation]:
    """The life with the reading at a step, and what a controller sees."""
    cgm, dtype = rules.cgm, subject.G0.dtype
    minute, of_day = _H * step.astype(dtype), step % STEPS_PER_DAY
    knock, odds = (x.astype(dtype) for x in luck)
    error = cgm.noise_rho * life.error + jnp.sqrt(1 - jnp.square(cgm.noise_rho)) * knock
    offset = strength(rules.faults, "sensor_offset", minute)
    read = jnp.clip(life.interstitial + cgm.noise_sd_mg_dL * error + offset, cgm.lowest_mg_dL, cgm.highest_mg_dL)
    read = jnp.where(present(rules.faults, "sensor_stuck", minute), life.reading, read)
    missing = (odds < cgm.dropout) | present(rules.faults, "sensor_lost", minute)
    life = life._replace(
        error=error,
        reading=jnp.where(missing, life.reading, read),
        age=jnp.where(missing, life.age + _H, 0.0),
        begins=odds > 1 - rules.pump.occlusions_per_day / STEPS_PER_DAY,
    )
    heard = jnp.maximum(1 - strength(rules.faults, "unannounced", minute), 0.0)
    seen = Observation(
        life.reading,
        life.age,
        heard * moment.counted_g,
        _H * of_day.astype(dtype),
        life.first + life.second,
        life.second / ON_BOARD_LAG_MIN,
    )
    return life, seen


def treat(
    subject: Subject,
    rules: Rules,
    life: Life,
    moment: Moment,
    action: Action,
    step: Array,
    substeps: int | Array = 1,
) -> tuple[Life, StepOutcome]:
    """The life 5 min after an action, and what came of it; the body takes `substeps` steps meanwhile."""
    body, profile, pump, dtype = subject.body, subject.profile, rules.pump, subject.G0.dtype
    G, minute = body.glucose(life.body), _H * step.astype(dtype)
    valid = jnp.isfinite(action.basal_U_h) & jnp.isfinite(action.bolus_U)
    valid = valid & (action.basal_U_h >= 0) & (action.bolus_U >= 0)
    meant = pump.metered(jnp.where(valid, action.basal_U_h, 0.0), jnp.where(valid, action.bolus_U, 0.0))
    waiting, (rate, bolus) = life.waiting, meant
    if pump.delay_min:
        rate, bolus = (queue[0] for queue in waiting)
        waiting = tuple(jnp.append(queue[1:], new) for queue, new in zip(waiting, meant, strict=True))
    blocked = jnp.where(life.begins, pump.occlusion_min, life.blocked)
    passes = jnp.where(blocked > 0, 0.0, jnp.clip(1 - strength(rules.faults, "occlusion", minute), 0.0, 1.0))
    rate, bolus = passes * rate, passes * bolus

    eats = (life.plate.left_min > 0) | (moment.carbs_g > 0)
    rescue = (life.reading < rules.therapy.low_mg_dL) & (life.since_rescue >= rules.rescue_wait_min) & ~eats
    rescue = rescue & (rules.rescue_g > 0)
    begun = moment.carbs_g + jnp.where(rescue, rules.rescue_g, 0.0)
    meal_min = jnp.where(moment.main, MEAL_MIN, SNACK_MIN).astype(dtype)
    plate = life.plate.served(begun, meal_min)

    y = _body_step(body, life.body, rate / 60 + bolus / _H, 1000 * plate.g_min, substeps)
    # On board is what the pump was told to deliver: an occlusion is not seen.
    net = meant[0] / 60 + meant[1] / _H - profile.basal_U_h / 60
    first, second = on_board_after(life.first, life.second, net, _H)
    lows, event = _hypoglycaemia(life.lows, life.event, G)
    after = life._replace(
        body=y,
        interstitial=rules.cgm.follow(life.interstitial, body.glucose(y), _H),
        first=first,
        second=second,
        plate=plate.after_step(),
        since_rescue=jnp.where(rescue, 0.0, life.since_rescue + _H),
        blocked=jnp.maximum(blocked - _H, 0.0),
        lows=lows,
        event=event,
        waiting=waiting,
    )
    shown = jnp.where(life.age > 0, jnp.nan, life.reading)
    return after, StepOutcome(Trace(G, shown, rate, bolus, begun, meal_min), rescue, event > life.event, valid)


def _body_step(body: AbstractPhysiology, y: Any, insulin_U_min: Array, carbs_mg_min: Array, substeps: Any) -> Any:
    h = jnp.asarray(_H, insulin_U_min.dtype) / substeps
    once = lambda _, y: runge_kutta_step(body.rates, y, h, insulin_U_min, carbs_mg_min)
    if isinstance(substeps, int) and substeps == 1:
        return once(0, y)
    return jax.lax.fori_loop(0, substeps, once, y)


def _hypoglycaemia(lows: Array, event: Array, G: Array) -> tuple[Array, Array]:
    """Steps in a row on the other side of 70 than the person is taken to be, and whether an event goes on."""
    low = G < 70.0
    against = jnp.where(low == (event > 0), 0.0, lows + 1)
    turns = against >= _LOW_STEPS
    return jnp.where(turns, 0.0, against), jnp.where(turns, 1.0 - event, event)
