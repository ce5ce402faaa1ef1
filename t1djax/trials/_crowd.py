"""The people of a trial: drawn or given, with settings of their own, and lives that run as programs."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import ArgumentError
from .._types import Key
from .._words import some
from ..data import STEP_MIN, Cohort, Patient, Truth, draw_people, habits_of
from ..physics import AbstractPhysiology, Doses, NoRestError, fastest_rate, physiology_named
from ..programs import cores, over_cohort
from ._controllers import AbstractController, Profile
from ._given import given_settings
from ._life import Tally, live, subject_of
from ._loop import Rules, Subject, Trace

_FAST = 1.5  # of a step's length times the fastest rate; explicit steps of order 4 fall apart at 2.8
_FAST_BLOCK = 64  # people on each core of whom more steps than one are taken, always this many: one program
_MANY = 64  # people from whom on the compiler's full effort is worth it
_MOST_SUBSTEPS = 64
_MOST_MG_DL = 1e4  # beyond any glucose
_MEALS_H = 5.0  # over which the insulin of a day's meals is given, where a body's rates are taken


class Settled(NamedTuple):
    """What is known of a person before their first day, an array entry for each."""

    profile: Profile
    """What their pump is set to."""
    lead_min: Array
    """By how much boluses come before meals, min."""
    fastest: Array
    """Fastest rate of the body, 1/min."""


@dataclasses.dataclass(frozen=True, eq=False)
class Crowd:
    """People who are ready for a trial."""

    names: list[str]
    """Their names."""
    physiology: type[AbstractPhysiology]
    """Whose bodies."""
    number: np.ndarray
    """Number of each, by which their days are drawn."""
    values: dict[str, np.ndarray]
    """Parameters and habits by symbol."""
    settled: Settled
    """Settings."""
    key_data: Array
    """Random key of the lives."""
    compile_s: float
    """Seconds of compilation."""

    def rows(self, wanted: int | Sequence[str]) -> np.ndarray:
        """Rows of the first people, or of some by name.

        Raises:
            ArgumentError: where a name is not known.
        """
        if isinstance(wanted, int):
            return np.arange(min(wanted, len(self.names)))
        known = {name: i for i, name in enumerate(self.names)}
        if strange := [name for name in wanted if name not in known]:
            raise ArgumentError("traced", f"{', '.join(strange)}: nobody of this name is in the trial")
        return np.array([known[name] for name in wanted], int)

    def live(
        self,
        controller: AbstractController,
        rules: Rules,
        days: int,
        rows: np.ndarray,
        *,
        block: int,
        traced: bool = False,
    ) -> tuple[Tally, Trace | None, float]:
        """Days of some of them.

        Bodies with rates that are fast beside 5 min take two, four, ... steps in these (`substeps_for`), twice as many
        where glucose did not stay finite.
        """
        arrays, static = eqx.partition(jax.tree.map(as_array, controller), lambda x: hasattr(x, "dtype"))
        shared = arrays, jax.tree.map(as_array, rules), self.key_data
        steps, whole, compile_s = substeps_for(self.settled.fastest[rows]), None, 0.0
        # Most people take one step: their program knows it, and is the faster for it. Of the others those alike stand
        # together, since a block takes as long as the one of most steps in it.
        fast = np.flatnonzero(steps > 1)
        turns = [np.flatnonzero(steps == 1), fast[np.argsort(steps[fast], kind="stable")]]
        while turns:
            if not (there := turns.pop(0)).size:
                continue
            one_step = bool(steps[there[0]] == 1)
            together = _FAST_BLOCK * cores()
            mine = there if one_step else np.resize(there, -(-there.size // together) * together)
            each = jax.tree.map(lambda x, at=rows[mine]: x[at], (self.number, self.values, self.settled))
            found, seconds = over_cohort(
                _one,
                *each,
                steps[mine].astype(np.int32),
                shared=shared,
                static=(static, self.physiology, days, traced, one_step),
                block=block if one_step else _FAST_BLOCK,
                effort="most" if mine.size > _MANY else None,
                threaded=True,
            )
            compile_s += seconds
            if whole is None:
                whole = jax.tree.map(lambda x: np.empty((len(rows), *x.shape[1:]), x.dtype), found)
            for into, x in zip(jax.tree.leaves(whole), jax.tree.leaves(found), strict=True):
                into[there] = x[: there.size]
            if not turns:  # under what this controller did the steps of some did not hold
                again = np.flatnonzero(~holds(whole[0]) & (steps < _MOST_SUBSTEPS))
                steps[again] *= 2
                turns.append(again)
                if not again.size:
                    break
        assert whole is not None
        return *whole, compile_s

    def recorded(self, rows: np.ndarray, trace: Trace) -> Cohort:
        """Traces as recordings: what the sensor showed, what the pump gave, what was eaten; and the truth."""
        people, truth = [], {}
        for i, row in enumerate(rows):
            name, t = self.names[row], jax.tree.map(lambda x, i=i: np.asarray(x[i]), trace)
            at = STEP_MIN * np.arange(len(t.glucose_mg_dL), dtype=float)
            change = np.flatnonzero(np.diff(t.basal_U_h, prepend=np.nan) != 0)
            bolus, meal = np.flatnonzero(t.bolus_U), np.flatnonzero(t.carbs_g)
            spread = np.full(len(bolus), float(STEP_MIN))
            doses = Doses(at[change], t.basal_U_h[change], at[bolus], t.bolus_U[bolus], spread,
                          at[meal], t.carbs_g[meal], t.meal_min[meal])  # fmt: skip
            known = {s: float(x[row]) for s, x in self.values.items() if s in self.physiology.parameters}
            people.append(Patient(name, at, t.reading_mg_dL, doses, known=known))
            truth[name] = Truth(known, t.glucose_mg_dL, {})
        return Cohort(tuple(people), truth)


def crowd_of(
    people: int | Mapping[str, AbstractPhysiology],
    *,
    key: Key,
    physiology: str | type[AbstractPhysiology],
    rules: Rules,
    settings: Mapping[str, Any] | None = None,
) -> Crowd:
    """People drawn of a population, or given, with settings titrated to them where none are given.

    Raises:
        ArgumentError: where there is nobody, or a setting cannot be.
    """
    bodies = {} if isinstance(people, int) else dict(people)
    names = drawn_names(people) if isinstance(people, int) else list(bodies)
    if not names:
        raise ArgumentError("people", "there is nobody; give one or more")
    given = given_settings(settings or {}, names)
    cls = type(bodies[names[0]]) if bodies else physiology_named(physiology)
    people_key, life_key = jax.random.split(key)
    n = len(names)
    drawn = habits_of(bodies, n, key=people_key) if bodies else draw_people(cls, n, key=people_key)
    shared = jax.tree.map(as_array, rules), jax.random.key_data(life_key)
    each = drawn.number, drawn.values, given
    (settled, basal), compile_s = over_cohort(_settle, *each, shared=shared, static=(cls,), block=4096)
    rest = np.asarray(basal) >= 0
    if not rest.all():
        left_out = np.flatnonzero(~rest)
        _say_left_out([names[i] for i in left_out], drawn.values, int(left_out[0]), cls, rules.therapy.target_mg_dL)
    if not rest.any():
        raise ArgumentError(("therapy", "target_mg_dL"), "nobody rests there; give one at which people do")
    values, number, settled = jax.tree.map(lambda x: x[rest], (drawn.values, drawn.number, settled))
    kept = [name for name, rests in zip(names, rest, strict=True) if rests]
    return Crowd(kept, cls, number, values, settled, shared[1], compile_s)


def drawn_names(people: int) -> list[str]:
    """Names of people who are drawn."""
    return [f"V{i + 1:04d}" for i in range(people)]


def substeps_for(fastest: Array | np.ndarray) -> np.ndarray:
    """Into how many steps of a body 5 min are cut: the least power of two that keeps each short beside its rates.

    The fastest, 1/min, is under the basal rate and a day's meal insulin within five hours.
    """
    return 2 ** np.ceil(np.log2(np.maximum(STEP_MIN * np.asarray(fastest) / _FAST, 1.0))).astype(int)


def holds(tally: Tally) -> np.ndarray:
    """Whether glucose stayed finite, of each."""
    return np.asarray(tally.highest_mg_dL) < _MOST_MG_DL


def as_array(x: Any) -> Any:
    """A number as an array, so that another value is no other program; of double precision, as programs want it."""
    return np.asarray(x, np.float64) if isinstance(x, float) else x


def _say_left_out(
    names: list[str], values: dict[str, np.ndarray], row: int, cls: type[AbstractPhysiology], target_mg_dL: float
) -> None:
    """Warn of people whose glucose nothing holds at the target; why not is said of the first, at this row."""
    try:
        with jax.enable_x64(True):
            cls.of({s: jnp.asarray(x[row]) for s, x in values.items() if s in cls.parameters}).rest(target_mg_dL)
    except NoRestError as e:
        who = f"{some(names, 10)} {'is' if len(names) == 1 else 'are'} left out"
        warnings.warn(f"{who}: {e}", stacklevel=4)


def _subject(number: Any, values: dict[str, Any], cls: type[AbstractPhysiology], rules: Rules, key_data: Any) -> tuple:
    key = jax.random.fold_in(jax.random.wrap_key_data(key_data), number)
    return subject_of(cls.of(values), values["G0"], values["daily_carbs"], key, rules), key


def _settle(
    number: Any, values: dict[str, Any], given: Array, rules: Rules, key_data: Any, cls: type[AbstractPhysiology]
) -> tuple[Settled, Array]:
    subject, _ = _subject(number, values, cls, rules, key_data)
    body, mine = subject.body, subject.profile
    titrated = jnp.stack([mine.basal_U_h, mine.g_per_U, mine.mg_dL_per_U])
    basal, ratio, factor = jnp.where(jnp.isnan(given), titrated, given)
    meals_U = values["daily_carbs"] / ratio
    profile = Profile(basal, ratio, factor, mine.target_mg_dL, 24 * basal + meals_U)
    y = body.start(profile.target_mg_dL, (basal + meals_U / _MEALS_H) / 60)
    return Settled(profile, subject.lead_min, fastest_rate(body, y)), body.steady(mine.target_mg_dL)[1]


def _one(
    number: Any,
    values: dict[str, Any],
    settled: Settled,
    substeps: Array,
    arrays: Any,
    rules: Rules,
    key_data: Any,
    static: Any,
    cls: type[AbstractPhysiology],
    days: int,
    traced: bool,
    one_step: bool,
) -> tuple[Tally, Trace | None]:
    key = jax.random.fold_in(jax.random.wrap_key_data(key_data), number)
    _, day_key, sensor_key, control = jax.random.split(key, 4)
    subject = Subject(cls.of(values), values["G0"], values["daily_carbs"], settled.profile, settled.lead_min,
                      day_key, sensor_key)  # fmt: skip
    controller = eqx.combine(arrays, static)
    return live(controller, subject, control, rules, days, traced, 1 if one_step else substeps, None)
