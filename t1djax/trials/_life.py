"""One person's days in closed loop, as two nested scans: over days, and over the steps of a day."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Key, Scalar
from ..data import STEP_MIN, STEPS_PER_DAY, Moment
from ..physics import AbstractPhysiology
from ._controllers import AbstractController
from ._loop import Life, Luck, Rules, StepOutcome, Subject, Trace, begin, observe, profile_of, treat


class Tally(NamedTuple):
    """What is counted of a life as it goes on; memory does not grow with days."""

    below_54: Scalar
    """Steps of 5 min below 54 mg/dL."""
    below_70: Scalar
    """Steps below 70 mg/dL."""
    above_180: Scalar
    """Steps above 180 mg/dL."""
    above_250: Scalar
    """Steps above 250 mg/dL."""
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
    lows_of_days: Scalar
    """Sum of each day's lowest glucose, mg/dL."""
    highs_of_days: Scalar
    """Sum of each day's highest glucose, mg/dL."""
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
    substeps: int | Array = 1,
    gradient_days: int | None = None,
) -> tuple[Tally, Trace | None]:
    """A person's days from midnight, sensor and controller every 5 min. Pure JAX; `vmap` and `grad` it.

    The body takes Runge-Kutta steps of order 4 with the doses of each 5 min spread over them.

    Args:
        controller: what doses.
        body: the person.
        G0: glucose at the start, mg/dL.
        daily_carbs_g: usual carbohydrate of a day without snacks, g.
        key: random key: of settings, meals and sensor, which are the same whatever the controller.
        rules: what is the same for everybody.
        days: how many.
        traced: whether each step is kept too.
        substeps: into how many steps of the body 5 min are cut, see `substeps_for`. Where it is traced there are no
            gradients backwards.
        gradient_days: over how many days gradients reach back, at the most; over all of them if not given.

    Returns:
        What was counted; and the steps, `(days * 288,)`, where asked for.
    """
    subject = subject_of(body, G0, daily_carbs_g, key, rules)
    return live(controller, subject, control_key(key), rules, days, traced, substeps, gradient_days)


def subject_of(body: AbstractPhysiology, G0: Scalar, daily_carbs_g: Scalar, key: Key, rules: Rules) -> Subject:
    """A person with settings titrated to them."""
    settings_key, day_key, sensor_key, _ = jax.random.split(key, 4)
    profile, lead = profile_of(body, daily_carbs_g, settings_key, rules.therapy)
    return Subject(body, G0, daily_carbs_g, profile, lead, day_key, sensor_key)


def control_key(key: Key) -> Key:
    """The controller's random key of a life."""
    return jax.random.split(key, 4)[3]


def live(
    controller: AbstractController,
    subject: Subject,
    key: Key,
    rules: Rules,
    days: int,
    traced: bool,
    substeps: int | Array,
    gradient_days: int | None,
) -> tuple[Tally, Trace | None]:
    """`live_in_loop` of a person whose settings are known; `key` is the controller's."""

    def a_day(now: tuple[Life, Any, Tally], day: Array) -> tuple[tuple[Life, Any, Tally], Trace | None]:
        if gradient_days is not None:
            life, memory, tally = now
            cut = day % gradient_days == 0
            without = lambda x: jnp.where(cut, jax.lax.stop_gradient(x), x)
            now = (*jax.tree.map(without, (life, memory)), tally)
        plan = subject.plan(rules, day)

        def a_step(
            now: tuple[Life, Any, Tally], given: tuple[Array, Luck, Moment]
        ) -> tuple[tuple[Life, Any, Tally], Trace | None]:
            (life, memory, tally), (step, luck, moment) = now, given
            life, seen = observe(subject, rules, life, moment, luck, step)
            memory, action = controller.step(memory, seen, jax.random.fold_in(key, step))
            life, found = treat(subject, rules, life, moment, action, step, substeps)
            return (life, memory, _counted(tally, found)), found.trace if traced else None

        of_day = jnp.arange(STEPS_PER_DAY)
        steps = STEPS_PER_DAY * day + of_day
        life, memory, tally = now
        G = subject.body.glucose(life.body)
        now = life, memory, tally._replace(lowest_mg_dL=G, highest_mg_dL=G)
        each = steps, jax.vmap(subject.luck)(steps), jax.vmap(plan.at)(of_day)
        (life, memory, today), trace = jax.lax.scan(a_step, now, each)
        today = today._replace(
            lowest_mg_dL=jnp.minimum(tally.lowest_mg_dL, today.lowest_mg_dL),
            highest_mg_dL=jnp.maximum(tally.highest_mg_dL, today.highest_mg_dL),
            lows_of_days=tally.lows_of_days + today.lowest_mg_dL,
            highs_of_days=tally.highs_of_days + today.highest_mg_dL,
        )
        return (life, memory, today), trace

    now = begin(subject, rules), controller.init(subject.profile), _none_yet(subject.G0)
    # A day's steps are computed again for its gradients, rather than kept for all days.
    (_, _, tally), trace = jax.lax.scan(jax.checkpoint(a_day), now, jnp.arange(days))
    return tally, jax.tree.map(lambda x: x.reshape(-1), trace)


def _none_yet(G0: Scalar) -> Tally:
    """Nothing counted, at this glucose (mg/dL)."""
    counts = dict.fromkeys(Tally._fields, jnp.zeros_like(G0))
    return Tally(**counts | {"lowest_mg_dL": G0, "highest_mg_dL": G0})


def _counted(t: Tally, found: StepOutcome) -> Tally:
    """With what came of a step."""
    G, _, rate, bolus, carbs, _ = found.trace
    return Tally(
        t.below_54 + (G < 54.0),
        t.below_70 + (G < 70.0),
        t.above_180 + (G > 180.0),
        t.above_250 + (G > 250.0),
        t.total_mg_dL + G,
        t.squares + G * G,
        t.risk + risk(G),
        jnp.minimum(t.lowest_mg_dL, G),
        jnp.maximum(t.highest_mg_dL, G),
        t.lows_of_days,
        t.highs_of_days,
        t.low_events + found.event,
        t.insulin_U + rate * (STEP_MIN / 60) + bolus,
        t.carbs_g + carbs,
        t.rescues + found.rescue,
        t.invalid + ~found.valid,
    )


def risk(G: Array) -> Array:
    """`10 f^2` with `f = 1.509 ((ln G)^1.084 - 5.381)`: Kovatchev et al., Diabetes Care 29(11):2433, 2006."""
    return 10 * jnp.square(1.509 * (jnp.log(jnp.maximum(G, 1.0)) ** 1.084 - 5.381))
