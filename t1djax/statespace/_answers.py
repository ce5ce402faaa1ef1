"""What answers a glucose that is not the recorded one: carbohydrate against a low, a loop."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar

SPREAD_MIN = 5.0
"""Over which a bolus and carbohydrate of an answer are given, min."""


class Seen(NamedTuple):
    """What an answer sees at a reading."""

    glucose_mg_dL: Scalar
    """The reading, as it is on record or as it would have been, mg/dL."""
    minute: Scalar
    """Time of day, min."""
    since_min: Scalar
    """Time since the reading before, min."""
    insulin_U: Scalar
    """Insulin delivered since then, U."""
    announced_g: Scalar
    """Carbohydrate on record since then, g."""


class Dose(NamedTuple):
    """What an answer gives."""

    basal_U_min: Scalar
    """A rate until the next reading, U/min."""
    bolus_U: Scalar
    """A bolus, U."""
    carbs_g: Scalar
    """Carbohydrate, g."""


class AbstractAnswer(eqx.Module):
    """A rule that doses by glucose: a pure pair of `init`, what it knows at first, and `step`, for one person."""

    @abc.abstractmethod
    def init(self) -> Any:
        """What the rule knows before the first reading: a tree of arrays."""

    @abc.abstractmethod
    def step(self, memory: Any, seen: Seen) -> tuple[Any, Dose]:
        """What it knows after a reading, in the same shapes, and what it gives.

        Args:
            memory: what it knew.
            seen: what it sees.
        """


class RescueCarbs(AbstractAnswer):
    """Carbohydrate against a low.

    Example:
        >>> from t1djax.statespace import RescueCarbs
        >>> RescueCarbs(grams=20.0).below_mg_dL
        70.0
    """

    grams: float | Scalar = 15.0
    """How much, g."""
    below_mg_dL: float | Scalar = 70.0
    """Glucose below which it is taken, mg/dL."""
    wait_min: float | Scalar = 20.0
    """Least time between two of these, min."""

    def init(self) -> Array:
        """Time since the last one, min."""
        return jnp.asarray(1e4)

    def step(self, memory: Array, seen: Seen) -> tuple[Array, Dose]:
        """Carbohydrate where glucose is low and none was taken lately."""
        since = memory + seen.since_min
        takes = (seen.glucose_mg_dL < self.below_mg_dL) & (since >= self.wait_min)
        nothing = jnp.zeros_like(since)
        return jnp.where(takes, 0.0, since), Dose(nothing, nothing, jnp.where(takes, self.grams, 0.0))


class Course(NamedTuple):
    """What an answer needs of the record and of the other doses, by step."""

    reading_mg_dL: Float[Array, "*steps"]
    valid: Array
    minute: Float[Array, "*steps"]
    dt_min: Float[Array, "*steps"]
    insulin_U_min: Float[Array, "*steps 2"]
    """Of the record, and of the other doses."""
    announced_g: Float[Array, "*steps 2"]
    """Alike."""


class _Side(NamedTuple):
    memory: Any
    insulin_U: Array  # since the last reading
    announced_g: Array


class Answering(NamedTuple):
    """How answers stand at a step of a replay: the same rules on the record and on what replaces it."""

    sides: tuple[_Side, _Side]
    since_min: Array
    more: Dose
    """What the rules give beyond what they would have given on the record."""


def begin(answers: tuple[AbstractAnswer, ...]) -> Answering:
    """Before the first reading."""
    zero = jnp.zeros(())
    side = _Side(tuple(answer.init() for answer in answers), zero, zero)
    return Answering((side, side), jnp.asarray(SPREAD_MIN), Dose(zero, zero, zero))


def answered(
    answers: tuple[AbstractAnswer, ...], now: Answering, higher_mg_dL: Array, course: Course
) -> tuple[Answering, Float[Array, "2"]]:
    """The rules asked at a step, and what they add to the other doses in it: insulin (U/min), carbohydrate (g/min).

    They add the difference of what they give on both glucoses, so that an unchanged glucose gets the recorded doses.
    Insulin does not fall below none; carbohydrate on record stays eaten.
    """
    asks = course.valid & (now.since_min > SPREAD_MIN - 1)
    sides, given = [], []
    for i, side in enumerate(now.sides):
        announced = side.announced_g + course.announced_g[i]
        seen = Seen(course.reading_mg_dL + i * higher_mg_dL, course.minute, now.since_min, side.insulin_U, announced)
        each = [answer.step(memory, seen) for answer, memory in zip(answers, side.memory, strict=True)]
        kept = _where(asks, tuple(memory for memory, _ in each), side.memory)
        sides.append(_Side(kept, jnp.where(asks, 0.0, side.insulin_U), jnp.where(asks, 0.0, announced)))
        given.append(Dose(*(sum(x, jnp.zeros(())) for x in zip(*(dose for _, dose in each), strict=True))))
    more = Dose(*(b - a for a, b in zip(*given, strict=True)))
    more = _where(asks, more._replace(carbs_g=jnp.maximum(more.carbs_g, 0.0)), now.more)
    since, dt = jnp.where(asks, 0.0, now.since_min), course.dt_min
    share = jnp.clip((SPREAD_MIN - since) / jnp.where(dt > 0, dt, 1.0), 0.0, 1.0) / SPREAD_MIN
    insulin = jnp.maximum(more.basal_U_min + share * more.bolus_U, -course.insulin_U_min[1])
    delivered = course.insulin_U_min + jnp.stack([jnp.zeros(()), insulin])
    sides = [side._replace(insulin_U=side.insulin_U + dt * u) for side, u in zip(sides, delivered, strict=True)]
    return Answering((sides[0], sides[1]), since + dt, more), jnp.stack([insulin, share * more.carbs_g])


def _where(which: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), new, old)
