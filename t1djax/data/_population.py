"""Virtual people: drawn from stated priors of their bodies and habits, with therapy titrated to each."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from .._checked import check_types
from .._types import Key
from ..physics import AbstractPhysiology, Doses, Magdelaine, NoRestError, Prior, physiology_named, prior_table, settings
from ..programs import over_cohort, together
from ._habits import STEP_MIN, STEPS_PER_DAY, Therapy
from ._records import Cohort
from ._sensors import AbstractNoise, RandomGaps, Sensor
from ._synthetic import Subject, simulate_cohort
from ._therapy import DoseSchedule, VirtualPerson, live

_CHUNK = 256  # people who live together in one program, always this many: bounded memory, one compilation
_DRAWS = 100  # for each person wanted, after which a population is taken to hold nobody

HABITS: Mapping[str, Prior] = prior_table(
    Prior("G0", "mg/dL", "glucose at the start", 140.0, 30.0, 80.0, 220.0, True, "assumed"),
    Prior("daily_carbs", "g/day", "carbohydrate of a day's meals without snacks", 210.0, 50.0, 100.0, 350.0, True,
          "assumed; the protocols of Pat2 and Pat3 average 208 and 264 g/day"),
)  # fmt: skip
"""Priors of what a person brings beside a body."""

POPULATION: Mapping[str, Prior] = {**Magdelaine.population, **HABITS}
"""Priors of the virtual population of `Magdelaine`, independent of each other; see `Magdelaine.drawn`."""


class Drawn(NamedTuple):
    """Bodies drawn from a population."""

    values: dict[str, np.ndarray]
    """Parameters and habits by symbol, a number for each person."""
    number: np.ndarray
    """Of each, among all that were drawn."""
    rejected: int
    """How many were nobody's body (`AbstractPhysiology.limits`) and drawn again."""


def draw_people(physiology: type[AbstractPhysiology], n: int, *, key: Key) -> Drawn:
    """Draw bodies and habits: each row of `population` by itself, and again where the body is nobody's.

    Whoever is drawn is the same whatever `n` is. Those rejected on the way are counted.

    Raises:
        ValueError: where the physiology has no population, or hardly anybody is kept.

    Example:
        >>> import jax
        >>> from t1djax.data import draw_people
        >>> from t1djax.physics import Kanderian
        >>> people = draw_people(Kanderian, 3, key=jax.random.key(0))
        >>> people.values["SI"].shape
        (3,)
    """
    check_types(draw_people, locals())
    if not physiology.population:
        raise ValueError(f"{physiology.__name__}: no `population` is stated from which people could be drawn")
    kept: list[dict[str, np.ndarray]] = []
    drawn = rejected = 0
    while (lacking := n - sum(len(k["number"]) for k in kept)) > 0:
        if drawn >= _DRAWS * max(n, _CHUNK):
            raise ValueError(f"{physiology.__name__}: of {drawn} people drawn only {n - lacking} are within `limits`")
        number = np.arange(drawn, drawn + _CHUNK, dtype=np.uint32)
        shared = (jax.random.key_data(key),)
        (found, good), _ = over_cohort(
            _candidate, number, shared=shared, static=(physiology,), block=_CHUNK, effort="most", threaded=True
        )
        last = min(_CHUNK, int(np.searchsorted(np.cumsum(good), lacking)) + 1)
        rejected += last - int(good[:last].sum())
        rows = np.flatnonzero(good[:last])
        kept.append({s: x[rows] for s, x in found.items()} | {"number": number[rows]})
        drawn += _CHUNK
    values = {s: np.concatenate([k[s] for k in kept]) for s in kept[0]}
    return Drawn(values, values.pop("number"), rejected)


def virtual_population(
    n: int,
    *,
    key: Key,
    physiology: str | type[AbstractPhysiology] = "magdelaine",
    bodies: Mapping[str, AbstractPhysiology] | None = None,
    days: int = 2,
    interval_min: float = 5.0,
    noise: AbstractNoise | None = None,
    dropout: float = 0.0,
    gaps: Iterable[tuple[float, float]] | RandomGaps = (),
    censor: bool = False,
    start: dt.datetime | None = None,
    therapy: Therapy | None = None,
) -> Cohort:
    """Distinct people with therapy titrated to each, living for some days, and the truth.

    Bodies are drawn from the population of the physiology (`draw_people`). The therapy is as in life: boluses for meals
    counted with error, some late, some forgotten, corrections that consider what is on board, and carbohydrate against
    lows (`Therapy`). In `Magdelaine` it alone brings glucose back: that body integrates whatever is unbalanced.

    Patient `i` is the same whatever `n` is; its doses and truth are the same whatever sensor reads it, and more
    days begin with the same days.

    Bodies stay as they are, and nobody exercises or falls ill: what varies comes of habits. Over a week of 400 people
    of each body, beside medians of twelve real people with a closed loop (AZT1D) and three with a pump (HUPA-UCM):

    ```
                  median CV   below 70   below 54   70 to 180 mg/dL   ever below 40
    Magdelaine       33 %       2.3 %     0.07 %         65 %            2 people
    Kanderian        33 %       1.3 %     0.00 %         86 %            0
    Hovorka          36 %       2.1 %     0.04 %         71 %            2
    AZT1D            31 %       0.9 %     0.14 %         78 %            6 of 12, in four to seven weeks
    HUPA-UCM         49 %        16 %        6 %         61 %            3 of 3, in two
    ```

    Args:
        n: how many people, named `V0001` and so on.
        key: random key.
        physiology: of which bodies are drawn, by name or class.
        bodies: people by name in place of drawn ones, the first `n` of them, all of one physiology; only their habits
            are drawn.
        days: how long they live.
        interval_min: time between readings, min.
        noise: model of the sensor error; none if not given.
        dropout: share of the readings lost at random.
        gaps: times without readings, `(start_min, length_min)` or `RandomGaps`.
        censor: whether readings are reported within 40 to 400 mg/dL.
        start: clock time of minute zero, taken at 5 min; midnight of no particular day if not given.
        therapy: habits of eating and dosing; `Therapy()` if not given.

    Returns:
        The cohort. Every parameter is asserted in `Patient.known`; `G0` only where readings are noise-free.

    Raises:
        ValueError: where `n` or `days` is less than one, there are fewer bodies than that, the physiology has no
            population, or an option of the sensor is out of its range.
        NoRestError: where a body does not rest at the target of the therapy.

    Example:
        >>> import jax
        >>> import t1djax
        >>> cohort = t1djax.virtual_population(3, key=jax.random.key(0), noise=t1djax.AR1Noise(8.0))
        >>> cohort.names
        ('V0001', 'V0002', 'V0003')
    """
    check_types(virtual_population, locals())
    if n < 1 or days < 1:
        raise ValueError(f"virtual_population: {n} people for {days} days; both must be one or more")
    body = physiology_named(physiology)
    sensor = Sensor(noise, interval_min=interval_min, dropout=dropout, gaps=gaps, censor=censor)
    therapy = Therapy() if therapy is None else therapy
    life_key, sensor_key = jax.random.split(key)
    clock = 0 if start is None else round((start.hour * 60 + start.minute) / STEP_MIN) % STEPS_PER_DAY
    if bodies is None:
        names = [f"V{i + 1:04d}" for i in range(n)]
        people = draw_people(body, n, key=life_key)
    else:
        names, body = list(bodies)[:n], type(next(iter(bodies.values())))
        people = habits_of(bodies, n, key=life_key)
        for name in names:
            try:
                bodies[name].rest(therapy.target_mg_dL)
            except NoRestError as e:
                remedy = f"give a lower target_mg_dL of the therapy, or leave {name} out"
                raise NoRestError(f"{name}: {e}; {remedy}") from None
    subjects = []
    for first in range(0, n, _CHUNK):
        rows = np.minimum(np.arange(first, first + _CHUNK), n - 1)
        mine = {s: np.asarray(x[rows], np.float64) for s, x in people.values.items()}
        own = (jax.random.key_data(life_key), people.number[rows], mine, np.asarray(clock))
        habits = jax.tree.map(np.asarray, therapy)
        courses, _ = together(_lives, *own, habits, static=(body, days * STEPS_PER_DAY))
        for i in range(first, min(n, first + _CHUNK)):
            values = {s: float(people.values[s][i]) for s in body.parameters if s in people.values}
            doses = _doses(jax.tree.map(lambda x, i=i, first=first: x[i - first], courses))
            subjects.append(Subject(names[i], values, doses, 0.0, days * 1440.0, start, body))
    return simulate_cohort(subjects, sensor, key=sensor_key)


def habits_of(bodies: Mapping[str, AbstractPhysiology], n: int, *, key: Key) -> Drawn:
    """The first `n` of these people, with habits of their own.

    Raises:
        ValueError: where there are fewer, or they are of several physiologies.

    Example:
        >>> import jax
        >>> from t1djax.data import habits_of
        >>> from t1djax.physics import kanderian
        >>> habits_of(kanderian(), 2, key=jax.random.key(0)).values["daily_carbs"].shape
        (2,)
    """
    names, kinds = list(bodies)[:n], {type(body) for body in bodies.values()}
    if len(names) < n or len(kinds) != 1:
        raise ValueError(f"{n} people of one physiology are asked for, {len(names)} bodies are given")
    number = np.arange(n, dtype=np.uint32)
    with jax.enable_x64(True):
        draw = jax.jit(jax.vmap(lambda i: _traits(_keys(key, i)[0], HABITS)))
        habits = jax.device_get(draw(number))
    values = {s: np.array([float(bodies[name].values()[s]) for name in names]) for s in bodies[names[0]].values()}
    return Drawn(values | habits, number, 0)


def _keys(key: Key, i: jax.Array) -> Shaped[jax.Array, "2 ..."]:
    """Keys of one person: for the traits, and for the life."""
    return jax.random.split(jax.random.fold_in(key, i))


def _candidate(number: jax.Array, key_data: jax.Array, cls: type[AbstractPhysiology]) -> tuple[dict, jax.Array]:
    traits = _traits(_keys(jax.random.wrap_key_data(key_data), number)[0], {**cls.population, **HABITS})
    habits = {symbol: traits.pop(symbol) for symbol in HABITS}
    values = cls.drawn(traits)
    if cls.limits is None:
        return values | habits, jnp.asarray(True)
    found = settings(cls.of(values), jnp.asarray(cls.limits.glucose_mg_dL))
    spans = {name: span for name, span in cls.limits._asdict().items() if name in found._fields}
    within = [(getattr(found, name) >= low) & (getattr(found, name) <= high) for name, (low, high) in spans.items()]
    return values | habits, jnp.all(jnp.stack(within))


def _lives(
    key_data: jax.Array,
    number: jax.Array,
    values: dict[str, jax.Array],
    first_step: jax.Array,
    therapy: Therapy,
    cls: type[AbstractPhysiology],
    steps: int,
) -> DoseSchedule:
    key = jax.random.wrap_key_data(key_data)

    def one(i: jax.Array, values: dict[str, jax.Array]) -> DoseSchedule:
        person = VirtualPerson(cls.of(values), values["G0"], values["daily_carbs"])
        return live(_keys(key, i)[1], person, steps=steps, first_step=first_step, therapy=therapy)

    return jax.vmap(one)(number, values)


def _traits(key: Key, table: Mapping[str, Prior]) -> dict[str, jax.Array]:
    """One draw from every row of a table, by symbol."""
    rows = list(table.values())
    centre, spread, low, high = jnp.asarray([row.normal() for row in rows]).T
    value = centre + spread * jax.random.truncated_normal(key, low, high)
    value = jnp.where(jnp.asarray([row.log_normal for row in rows]), jnp.exp(value), value)
    value = jnp.clip(value, jnp.asarray([row.low for row in rows]), jnp.asarray([row.high for row in rows]))
    return {row.symbol: value[i] for i, row in enumerate(rows)}


def _doses(course: DoseSchedule) -> Doses:
    basal, carbs, meal_min, boluses, bolus_min = map(np.asarray, course)
    meal, bolus = np.flatnonzero(carbs), np.flatnonzero(boluses)
    return Doses(
        np.zeros(1),
        np.atleast_1d(basal),
        STEP_MIN * bolus.astype(np.float64),
        boluses[bolus],
        bolus_min[bolus],
        STEP_MIN * meal.astype(np.float64),
        carbs[meal],
        meal_min[meal],
    )
