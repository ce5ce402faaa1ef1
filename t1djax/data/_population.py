"""Virtual people: stated priors of their bodies and habits, and any number of them with therapy titrated to each."""

import dataclasses
import datetime as dt
import functools
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Key
from ..physics import KB_BODY_MASS, Doses, Magdelaine
from ._records import Cohort
from ._sensors import AbstractNoise, RandomGaps, Sensor
from ._synthetic import Subject, simulate_cohort
from ._therapy import STEP_MIN, STEPS_PER_DAY, Course, Person, Therapy, live

_CHUNK = 256  # people who live together in one program, always this many: bounded memory, one compilation


@dataclasses.dataclass(frozen=True)
class Prior:
    """The distribution of one trait over the virtual population: normal or log-normal, cut off at its bounds.

    Example:
        >>> from t1djax import POPULATION
        >>> POPULATION["ksi"].mean
        236.0
    """

    symbol: str
    """What it is called."""
    unit: str
    """Its unit."""
    meaning: str
    """What it is, in words."""
    mean: float
    """Mean before the cut-off, in the trait's unit."""
    sd: float
    """Standard deviation before the cut-off, in the trait's unit."""
    low: float
    """Lower bound, in the trait's unit."""
    high: float
    """Upper bound, in the trait's unit."""
    log_normal: bool
    """Whether the logarithm is normal."""
    source: str
    """Where the numbers come from."""

    def normal(self) -> tuple[float, float, float, float]:
        """Centre, spread, and bounds in standard units, of the normal distribution underneath."""
        centre, spread, low, high = self.mean, self.sd, self.low, self.high
        if self.log_normal:
            spread = math.sqrt(math.log1p((self.sd / self.mean) ** 2))
            centre = math.log(self.mean) - spread**2 / 2
            low, high = math.log(low), math.log(high)
        return centre, spread, (low - centre) / spread, (high - centre) / spread


_COHORT = "mean and standard deviation over Pat2..Pat11 (`PARAMETERS`), cut off at two standard deviations"
_MAGDELAINE = "Magdelaine et al. 2015, doi 10.1109/TBME.2015.2393105"


def _table(*rows: Prior) -> Mapping[str, Prior]:
    return MappingProxyType({row.symbol: row for row in rows})


POPULATION: Mapping[str, Prior] = _table(
    Prior("M", "kg", "body mass", 85.0, 12.5, 65.0, 110.0, False, _COHORT + "; from 65 kg, so that kb < 2"),
    Prior("ksi", "mg/U/min", "insulin sensitivity", 236.0, 42.0, 152.0, 320.0, True, _COHORT),
    Prior("Tu", "min", "time constant of insulin absorption", 105.5, 19.0, 67.0, 144.0, True, _COHORT),
    Prior("ku_Vi", "min/dL", "insulin clearance time over volume", 0.061, 0.002, 0.057, 0.065, False, _COHORT),
    Prior("Tr", "min", "time constant of meal absorption", 80.0, 40.0, 40.0, 190.0, True,
          "spans the two published patients, 49 min (IF3) and 183 min (IF2): " + _MAGDELAINE),
    Prior("kr_Vb", "1/dL", "carbohydrate bioavailability over volume", 0.0022, 0.0002, 0.0018, 0.0026, False, _COHORT),
    Prior("basal", "U/kg/day", "basal need by body mass", 0.28, 0.07, 0.12, 0.54, True,
          "around the equilibrium of the published patients, 0.28 (IF2) and 0.32 (IF3): " + _MAGDELAINE
          + "; 0.23 on average in titrated type 1 and 2: King, Diabetes 68(Suppl. 1):1108-P, 2019"),
    Prior("G0", "mg/dL", "glucose at the start", 140.0, 30.0, 80.0, 220.0, True, "assumed"),
    Prior("daily_carbs", "g/day", "carbohydrate of a day's meals without snacks", 180.0, 45.0, 90.0, 300.0, True,
          "assumed; the protocols of Pat2 and Pat3 average 208 and 264 g/day"),
)  # fmt: skip
"""Priors of the virtual population, independent of each other.

Two parameters follow from them: `kb = 128 / M`, and `kl = kb + basal M / 1440 ksi ku/Vi`, the liver output that
makes the drawn basal need hold equilibrium. So `kl > kb` always, and heavy people have a low `kl`, as in the
published pair.
"""


def virtual_population(
    n: int,
    *,
    key: Key,
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

    Physiology is drawn from `POPULATION`. Glucose integrates whatever is unbalanced in this model: nothing in the
    body brings it back. The therapy does, as in life: boluses for meals counted with error, some late, some
    forgotten, corrections that consider what is on board, and carbohydrate against lows (`Therapy`).

    Patient `i` is the same whatever `n` is; its doses and truth are the same whatever sensor reads it, and more
    days begin with the same days.

    Of the glucose of 10,000 people over 48 h, more than 99.99 % lies in 40 to 400 mg/dL and about 80 % in 70 to 180;
    one person in 700 is ever below 40, none below zero. Lows are rarer than in life: nobody exercises or falls ill.

    Args:
        n: how many people, named `V0001` and so on.
        key: random key.
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
        ValueError: where `n` or `days` is less than one, or an option of the sensor is out of its range.

    Example:
        >>> import jax
        >>> import t1djax
        >>> cohort = t1djax.virtual_population(3, key=jax.random.key(0), noise=t1djax.AR1Noise(8.0))
        >>> cohort.names
        ('V0001', 'V0002', 'V0003')
    """
    if n < 1 or days < 1:
        raise ValueError(f"virtual_population: {n} people for {days} days; both must be one or more")
    sensor = Sensor(noise, interval_min=interval_min, dropout=dropout, gaps=gaps, censor=censor)
    therapy = Therapy() if therapy is None else therapy
    life_key, sensor_key = jax.random.split(key)
    clock = 0 if start is None else round((start.hour * 60 + start.minute) / STEP_MIN) % STEPS_PER_DAY
    subjects = []
    for first in range(0, n, _CHUNK):
        with jax.enable_x64(True):
            number = jnp.arange(first, first + _CHUNK, dtype=jnp.uint32)
            lives = _lives(life_key, number, days * STEPS_PER_DAY, jnp.asarray(clock), therapy)
            people, courses = jax.device_get(lives)
        subjects += [_subject(i, people, courses, i - first, days, start) for i in range(first, min(n, first + _CHUNK))]
    return simulate_cohort(subjects, sensor, key=sensor_key)


@functools.partial(jax.jit, static_argnums=2)
def _lives(key: Key, number: jax.Array, steps: int, first_step: jax.Array, therapy: Therapy) -> tuple[dict, Course]:
    def one(i: jax.Array) -> tuple[dict, Course]:
        trait_key, life_key = jax.random.split(jax.random.fold_in(key, i))
        traits = _traits(trait_key)
        kb = KB_BODY_MASS / traits["M"]
        kl = kb + traits["basal"] * traits["M"] / 1440 * traits["ksi"] * traits["ku_Vi"]
        body = Magdelaine(kb=kb, kl=kl, **{s: traits[s] for s in ("ksi", "Tu", "ku_Vi", "Tr", "kr_Vb")})
        person = Person(body, traits["G0"], traits["daily_carbs"])
        course = live(life_key, person, steps=steps, first_step=first_step, therapy=therapy)
        return traits | {"kl": kl, "kb": kb}, course

    return jax.vmap(one)(number)


def _traits(key: Key) -> dict[str, jax.Array]:
    """One draw from every row of `POPULATION`, by symbol."""
    rows = list(POPULATION.values())
    centre, spread, low, high = jnp.asarray([row.normal() for row in rows]).T
    value = centre + spread * jax.random.truncated_normal(key, low, high)
    value = jnp.where(jnp.asarray([row.log_normal for row in rows]), jnp.exp(value), value)
    value = jnp.clip(value, jnp.asarray([row.low for row in rows]), jnp.asarray([row.high for row in rows]))
    return {row.symbol: value[i] for i, row in enumerate(rows)}


def _subject(i: int, people: dict, courses: Course, row: int, days: int, start: dt.datetime | None) -> Subject:
    carbs, meal_min, boluses, bolus_min = (np.asarray(x[row]) for x in courses[1:])
    meal, bolus = np.flatnonzero(carbs), np.flatnonzero(boluses)
    doses = Doses(
        np.zeros(1),
        np.asarray(courses.basal_U_h)[row : row + 1],
        STEP_MIN * bolus.astype(np.float64),
        boluses[bolus],
        bolus_min[bolus],
        STEP_MIN * meal.astype(np.float64),
        carbs[meal],
        meal_min[meal],
    )
    parameters = {s: float(people[s][row]) for s in ("M", "ksi", "kl", "kb", "Tu", "ku_Vi", "Tr", "kr_Vb", "G0")}
    return Subject(f"V{i + 1:04d}", parameters, doses, 0.0, days * 1440.0, start)
