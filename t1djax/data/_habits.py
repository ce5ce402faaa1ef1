"""How a virtual person eats: occasions drawn for each day, which carbohydrate a bolus is to cover, and a plate."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import ArgumentError
from .._types import Key, Scalar

STEP_MIN = 5
"""Virtual people act at multiples of this, min."""
STEPS_PER_DAY = 1440 // STEP_MIN
MEAL_MIN, SNACK_MIN = 15.0, 5.0
"""Time over which a meal and anything smaller is eaten, min."""
# Breakfast, lunch, afternoon snack, dinner, late snack: windows (min of day) that leave room for a late bolus.
_EARLIEST = (360, 690, 915, 1080, 1275)
_LATEST = (570, 825, 1020, 1230, 1335)
_USUAL = (450, 750, 960, 1150, 1300)
_IS_MEAL = (True, True, False, True, False)
_SHARE = (0.25, 0.35, 0.0, 0.40, 0.0)  # of the day's carbohydrate


class Therapy(eqx.Module):
    """Habits of eating and dosing in a virtual population; the defaults are ordinary life with a pump and a CGM.

    They were chosen so that glucose varies as in real records (`virtual_population`), since bodies do not: nobody
    exercises, is ill, or is another person on another day.

    Settings are titrated to each patient: the basal rate holds the target, and what a unit takes from glucose and a
    gram adds in the end (`Titration`) gives the correction factor and the carbohydrate ratio.

    Doses are decided from glucose as the patient's own device shows it, with an error that is the therapy's, not
    the sensor model's: the doses of a patient are the same whatever sensor later reads the record.
    """

    target_mg_dL: float = 115.0
    """Glucose that corrections aim at, mg/dL."""
    basal_step_U_h: float = 0.05
    """Resolution of the pump's basal rate, U/h."""
    settings_cv: float = 0.2
    """Error of a patient's carbohydrate ratio and correction factor, as a share; lasting."""
    basal_cv: float = 0.06
    """Error of the basal rate before it is rounded, as a share; lasting."""
    counting_cv: float = 0.35
    """Error of counting the carbohydrate of a meal, as a share; each time anew."""
    missed_bolus: float = 0.2
    """Chance that a meal's bolus is forgotten."""
    late_bolus: float = 0.4
    """Chance that it comes 15 to 45 min after the meal has begun."""
    skipped_meal: float = 0.05
    """Chance that a meal is left out."""
    snack: float = 0.7
    """Chance of a snack in the afternoon, and again late in the evening."""
    covered_snack: float = 0.5
    """Chance that a snack gets a bolus."""
    high_mg_dL: float = 300.0
    """Glucose above which a correction is taken between meals, awake and 3 h after the last bolus, mg/dL."""
    low_mg_dL: float = 55.0
    """Glucose below which, seen or foreseen, carbohydrate is taken, mg/dL: about where people feel it (Mitrakou et al.,
    Am. J. Physiol. 260:E67, 1991)."""
    reading_cv: float = 0.1
    """Error of the reading that a decision is taken from, as a share."""


class Meals(eqx.Module):
    """Meals at stated times, the same every day, in place of those that `Therapy` draws. See `Meals.of`."""

    at_min: Float[Array, " meals"]
    """Times of day, min."""
    carbs_g: Float[Array, " meals"]
    """Carbohydrate, g."""
    timing_sd_min: float | Scalar = 0.0
    """By how much each is earlier or later, standard deviation, min."""
    amount_cv: float | Scalar = 0.0
    """By how much each is larger or smaller, standard deviation as a share."""

    @classmethod
    def of(cls, *meals: tuple[float, float], timing_sd_min: float = 0.0, amount_cv: float = 0.0) -> "Meals":
        """Meals by time of day (min) and carbohydrate (g).

        Args:
            meals: pairs of both.
            timing_sd_min: by how much each is earlier or later, standard deviation, min.
            amount_cv: by how much each is larger or smaller, standard deviation as a share.

        Raises:
            ArgumentError: where a time is outside the day, a meal is empty, or one begins while another is eaten.

        Example:
            >>> from t1djax.trials import Meals
            >>> Meals.of((450, 60), (750, 80), (1140, 80)).carbs_g.shape
            (3,)
        """
        if not meals:
            raise ArgumentError("meals", "there is none; give pairs of a time of day (min) and carbohydrate (g)")
        before = None
        for i in sorted(range(len(meals)), key=lambda i: meals[i][0]):
            at, carbs = meals[i]
            if not (0 <= at < 1440 and 0 < carbs < np.inf):
                raise ArgumentError(("meals", i), f"{carbs:g} g at {at:g} min; give more than 0 g at 0 to 1439 min")
            if before is not None and at - meals[before][0] < MEAL_MIN:
                raise ArgumentError(
                    ("meals", i),
                    f"{carbs:g} g at {at:g} min begin while {meals[before][1]:g} g of {meals[before][0]:g} min are "
                    f"eaten, which takes {MEAL_MIN:g} min; join them, or move one",
                )
            before = i
        at, carbs = np.asarray(meals, float).T
        return cls(jnp.asarray(at), jnp.asarray(carbs), timing_sd_min, amount_cv)


class Moment(NamedTuple):
    """What a plan has for one step."""

    carbs_g: Array
    main: Array  # whether what is eaten is a meal
    counted_g: Array
    counted_main: Array  # whether what is covered is a meal
    correct: Array  # whether the bolus calculator also corrects


class DayPlan(NamedTuple):
    """What will be eaten on a day, and which carbohydrate a bolus is meant to cover: an entry for each occasion."""

    meal_step: Array
    carbs_g: Array
    main: Array
    bolus_step: Array
    counted_g: Array
    late: Array

    def at(self, step: Array) -> Moment:
        """What it has for a step of the day."""
        slots = range(self.carbs_g.shape[-1])
        eaten, covered = (lambda i: self.meal_step[i] == step), (lambda i: self.bolus_step[i] == step)
        # One after another: a sum over so short an axis is no work for a vector.
        none = jnp.zeros_like(self.carbs_g[0])
        some = lambda there, what: sum((jnp.where(there(i), what[i], 0.0) for i in slots), none)
        return Moment(
            some(eaten, self.carbs_g),
            some(eaten, self.carbs_g * self.main) > 0,
            some(covered, self.counted_g),
            some(covered, self.counted_g * self.main) > 0,
            some(covered, self.counted_g * ~self.late) > 0,
        )


class Plate(NamedTuple):
    """What is being eaten."""

    g_min: Array
    """Rate, g/min."""
    left_min: Array
    """For how long, min."""

    def served(self, carbs_g: Array, minutes: Array) -> "Plate":
        """With more carbohydrate, if any: all that is there is eaten over these minutes."""
        begins = carbs_g > 0
        left_min = jnp.where(begins, minutes, self.left_min)
        g_min = jnp.where(begins, (carbs_g + self.g_min * self.left_min) / minutes, self.g_min * (left_min > 0))
        return Plate(g_min, left_min)

    def after_step(self) -> "Plate":
        """After `STEP_MIN`."""
        return self._replace(left_min=jnp.maximum(self.left_min - STEP_MIN, 0))


def plan_day(key: Key, daily_carbs_g: Array, lead: Array, therapy: Therapy, meals: Meals | None = None) -> DayPlan:
    """The plan of one day: when and what is eaten, and when a bolus is meant to cover how much of it.

    Args:
        key: random key of the day.
        daily_carbs_g: usual carbohydrate of a day without snacks, g; not used where meals are stated.
        lead: time by which boluses come before meals, min.
        therapy: habits.
        meals: meals at stated times; drawn if not given.
    """
    normal_key, uniform_key, _ = jax.random.split(key, 3)
    slots, dtype = len(_USUAL) if meals is None else len(meals.at_min), daily_carbs_g.dtype
    timing, amount, counting = jax.random.truncated_normal(normal_key, -2.5, 2.5, (3, slots), dtype)
    u = jax.random.uniform(uniform_key, (4, slots), dtype)
    if meals is None:
        main = jnp.asarray(_IS_MEAL)
        usual, earliest, latest = (jnp.asarray(x, dtype) for x in (_USUAL, _EARLIEST, _LATEST))
        at = jnp.clip(usual + 30 * timing, earliest, latest)
        size = jnp.where(main, jnp.asarray(_SHARE) * daily_carbs_g, 15.0) * (1 + 0.25 * amount)
        eaten = u[0] >= jnp.where(main, therapy.skipped_meal, 1 - therapy.snack)
        carbs = jnp.where(eaten, jnp.maximum(jnp.round(size), 5.0), 0.0)
    else:
        main = jnp.ones(slots, bool)
        at = jnp.clip(meals.at_min.astype(dtype) + meals.timing_sd_min * timing, 0, 1440 - STEP_MIN)
        size = jnp.maximum(meals.carbs_g.astype(dtype) * (1 + meals.amount_cv * amount), 0.0)
        carbs = jnp.where(u[0] >= therapy.skipped_meal, size, 0.0)

    late = u[1] < therapy.late_bolus
    shift = jnp.where(late, 15 + 30 * u[2], jnp.where(main, 20 * (u[2] - 0.5) - lead, 0.0))
    covered = jnp.where(main, u[3] >= therapy.missed_bolus, u[3] < therapy.covered_snack)
    counted = jnp.maximum(carbs * (1 + therapy.counting_cv * counting), 0.0) * covered
    meal_step, bolus_step = (jnp.round(x / STEP_MIN).astype(int) for x in (at, at + shift))
    last = STEPS_PER_DAY - 1
    plan = DayPlan(jnp.clip(meal_step, 0, last), carbs, main, jnp.clip(bolus_step, 0, last), counted, late)
    # The compiler would draw the day anew for each of its steps.
    return jax.lax.optimization_barrier(plan)


def reading_errors(key: Key, dtype: jnp.dtype) -> Float[Array, " steps"]:
    """Errors of a day's readings that decisions are taken from, in units of their standard deviation."""
    return jax.random.normal(jax.random.split(key, 3)[2], (STEPS_PER_DAY,), dtype)
