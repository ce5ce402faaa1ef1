"""Settings of a person from the whole record: the stochastic model, and small experiments on what it found."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._checked import check_types
from .._types import Key
from ..data import Cohort, Patient
from ..physics import AbstractPhysiology, settings
from ..programs import over_cohort
from ..records import SETTINGS, Informative, Outcome, PersonSettings
from ._bodies import BODIES, fit_bodies, weights
from ._fit import LEAST_READINGS
from ._hyper import Form, StateSpaceOptions, layout
from ._model import RHYTHM_SD, effect_prior, positive
from ._own_body import own_body
from ._person import Person, as_closed_loop
from ._records import PatientStateSpace, root
from ._search import constants
from ._steps import MINUTES_PER_DAY, unpaired

_DRAWS = 256
_WRONG = {False: (0.25, 0.2, 0.1), True: (0.25, 0.2, 0.3)}  # by whether a loop doses; on simulated people of two bodies
_BASAL_SD = 0.35  # of the logarithm of a basal need in shares of half the daily insulin
_LEAST_SHARE = 0.1  # of the draws, that count after they are weighed by the rule
_AHEAD_MIN, _MEAL_DOUBT = 30.0, 0.3
_EVERY_MIN = 5.0  # the largest change is flat
_LEAST_EFFECT = 1e-3  # mg/dL per g, and per U
_ALONE_MIN, _FASTING_MIN = 180.0, 240.0
_ALIKE, _FEW_CORRECTIONS, _FEW_MEALS = 0.15, 3.0, 2.0


def person_settings(
    patients: Sequence[Patient],
    *,
    physiology: str | type[AbstractPhysiology] | Sequence[str | type[AbstractPhysiology]] = BODIES,
    parts: int = 6,
    at_mg_dL: float = 120.0,
    until_min: float = np.inf,
    draws: int = _DRAWS,
    wrong_body: float = 1.0,
    on_stage: Callable[[str], None] = lambda _: None,
    key: Key,
) -> list[PersonSettings]:
    """Insulin sensitivity factor, carbohydrate ratio and basal need of each person, and of parts of the day.

    The stochastic model is fitted to the whole record by maximum a posteriori (`fit_state_space`). What is not known
    of its constants and effects is one normal distribution of their logarithms (`Joint`). For each draw of it small
    experiments are made on the body that the draw makes (`physics.settings`): from rest at `at_mg_dL`, a small dose
    and a small meal. Doses count as given by what was read before them, so that insulin which answers glucose is no
    cause of bias where the model is right. Readings before the first basal rate on record are left out.

    Args:
        patients: the records.
        physiology: the body, by name or class, or several, which differ on what glucose gives back of a dose. Their
            draws are taken together, by how well each forecast the next reading. A text may hold several names with
            commas between them.
        parts: into how many equal parts the day is divided; records without a clock have none.
        at_mg_dL: glucose at which the experiments begin.
        until_min: readings and doses after this time are left out, min.
        draws: how many draws.
        wrong_body: factor on what stands for a body that is not the right one: standard deviations of logarithms of
            0.25 (ISF), 0.2 (CR) and 0.1 (basal), 0.3 where a closed loop doses; zero for one that is.
        on_stage: is handed what begins, in words.
        key: draws.

    Returns:
        One record for each person. Whoever has fewer than twenty readings left has the outcome `too_short`, and no
        numbers.

    Example:
        >>> import jax
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=15, names=["Pat3"])["Pat3"]
        >>> found = t1djax.person_settings([patient], physiology="magdelaine", key=jax.random.key(0))[0]
        >>> found.setting("isf").low < found.setting("isf").value
        True

    Source: Laplace's method, as in Tierney and Kadane, JASA 81(393), 1986.
    """
    check_types(person_settings, locals())
    people = Cohort.of(patients).patients
    count = {p.name: int(np.sum(_seen(p) & (p.time_min <= until_min))) for p in people}
    few = [p for p in people if count[p.name] < LEAST_READINGS]
    found = {p.name: _too_short(p, count[p.name], parts, at_mg_dL) for p in few}
    for clock in (True, False):
        some = [_with_basal(p) for p in people if p.name not in found and (p.start is not None) == clock]
        options = StateSpaceOptions(
            horizons_min=(), sensitivity_blocks=parts if clock else 1, daily_rhythm=2, paired_ahead_min=_AHEAD_MIN,
            meal_doubt=_MEAL_DOUBT, sensor_memory=True, sensitivity_walk=True,
            wide_effects=True,
        )  # fmt: skip
        if some:
            fits = fit_bodies(some, physiology, options=options, until_min=until_min, on_stage=on_stage)
            on_stage("measuring what small doses and meals do")
            how = {"at_mg_dL": at_mg_dL, "draws": draws, "wrong_body": wrong_body, "key": key}
            each = zip(*(settings_of(fit.patients, some, **how) for fit in fits), strict=True)
            for p, bodies in zip(some, each, strict=True):
                found[p.name] = together(bodies, weights([fit[p.name] for fit in fits]))
    return [found[p.name] for p in people]


def _with_basal(patient: Patient) -> Patient:
    """The record from its first basal rate on; before it the insulin is not known."""
    return dataclasses.replace(patient, glucose_mg_dL=np.where(_seen(patient), patient.glucose_mg_dL, np.nan))


def _seen(patient: Patient) -> np.ndarray:
    return patient.valid & (patient.time_min >= patient.doses.basal_time_min[0])


def _days_without_basal(patient: Patient) -> float:
    return max(0.0, float(patient.doses.basal_time_min[0] - patient.time_min[0])) / MINUTES_PER_DAY


def _too_short(patient: Patient, readings: int, parts: int, at_mg_dL: float) -> PersonSettings:
    """Nothing is known of this person."""
    parts = parts if patient.start is not None and parts > 1 else 0
    unknown = np.full((1, 1 + parts), np.nan)
    return PersonSettings(
        name=patient.name,
        outcome=Outcome.too_short,
        bodies={},
        at_mg_dL=at_mg_dL,
        draws=dict.fromkeys(SETTINGS, unknown),
        prior_draws=dict.fromkeys(SETTINGS, unknown),
        changes=unknown[:, 0],
        prior_changes=unknown[:, 0],
        starts_h=_starts_h(parts),
        days=0.0,
        days_without_basal=_days_without_basal(patient),
        readings=readings,
        daily_U=np.nan,
        informative=(Informative(0, 0, 0.0),) * (1 + parts),
        reasons=(Outcome.too_short.value,),
    )


def _starts_h(parts: int) -> tuple[float, ...]:
    return tuple(24 * k / parts for k in range(parts)) if parts > 1 else ()


def together(bodies: Sequence[PersonSettings], shares: Float[np.ndarray, " bodies"]) -> PersonSettings:
    """One person's settings by several bodies: of the draws of each as many as it counts for."""
    most = int(np.argmax(shares))
    number = np.round(shares * len(bodies[most].changes)).astype(int)
    each = [(b.draws, b.prior_draws, b.changes, b.prior_changes) for b in bodies]
    some = [jax.tree.map(lambda x, n=n: x[:n], draws) for draws, n in zip(each, number, strict=True)]
    draws, prior_draws, changes, prior_changes = jax.tree.map(lambda *x: np.concatenate(x), *some)
    return dataclasses.replace(
        bodies[most], draws=draws, prior_draws=prior_draws, changes=changes, prior_changes=prior_changes,
        bodies={next(iter(b.bodies)): float(w) for b, w in zip(bodies, shares, strict=True)},
    )  # fmt: skip


def settings_of(
    fitted: Sequence[PatientStateSpace],
    patients: Sequence[Patient],
    *,
    at_mg_dL: float,
    draws: int,
    wrong_body: float,
    key: Key,
) -> list[PersonSettings]:
    """The experiments on people who were fitted with one form."""
    form = fitted[0].form
    ends = np.array([_last(p, f.train_until_min) for p, f in zip(patients, fitted, strict=True)])
    clock = np.array([(t + _clock_min(p)) % MINUTES_PER_DAY for p, t in zip(patients, ends, strict=True)])
    key, doubt_key = jax.random.split(key)
    unit = np.asarray(jax.random.normal(key, (2, draws, len(fitted[0].joint.mean))), np.float64)
    # What is wrong of a body is wrong all day, and half as much of each part by itself.
    parts = form.options.sensitivity_blocks
    wrong = np.asarray(jax.random.normal(doubt_key, (draws, 2 + parts, len(SETTINGS))), np.float64)
    wrong = wrong[:, :1] + 0.5 * np.concatenate([0 * wrong[:, :1], wrong[:, 2:]], axis=1)
    drawn = [_drawn(f, form, unit) for f in fitted]
    each = (np.stack(drawn), clock, jax.tree.map(lambda *x: np.stack(x), *[f.person for f in fitted]))
    (found, changes), _ = over_cohort(_measured, *each, shared=(np.asarray(at_mg_dL),), static=(form,))
    records = []
    for i, (f, p, end) in enumerate(zip(fitted, patients, ends, strict=True)):
        loop, start = as_closed_loop(p), float(p.time_min[p.valid][0])
        sd = wrong_body * np.asarray(_WRONG[loop])
        doubted = found[i] * np.stack([np.exp(sd * wrong), np.ones_like(wrong)])
        given = np.asarray(p.doses.inputs(start, end).delivered(jnp.asarray([start, end])))[0, -1]
        daily_U = float(given) / (end - start) * MINUTES_PER_DAY
        kept = [_by_the_rule(x[:, 0, list(SETTINGS).index("basal")], daily_U) for x in doubted]
        both = [(x[k], walk[k]) for x, walk, k in zip(doubted, changes[i], kept, strict=True)]
        # Not of basal need: the rule narrows it together with its doubt.
        doubts = dict(zip(("isf", "cr"), sd.tolist(), strict=False))
        records.append(_record(f, p, (start, end), both, daily_U, at_mg_dL, doubts, form))
    return records


def _by_the_rule(basal_U_h: Float[np.ndarray, " draws"], daily_U: float) -> Int[np.ndarray, " draws"]:
    """Which draws to take, and how often, where basal need is about half of the daily insulin; all if none is near.

    A closed loop can tell basal insulin from that of meals by their dynamics alone, and a body without a basal need
    by nothing but this.
    """
    away = np.log(np.where(basal_U_h > 0, basal_U_h, np.nan) / (daily_U / 48)) / _BASAL_SD
    n, closest = len(away), np.nanmin(away**2, initial=np.inf)
    if not np.isfinite(closest):
        return np.arange(n)
    # Far from the rule a handful of draws would stand for all: it then counts less, until enough of them do.
    less = 0.5 ** np.arange(10)[:, None]
    weights = np.nan_to_num(np.exp(less * (closest - away**2) / 2))
    enough = np.sum(weights, axis=1) ** 2 >= _LEAST_SHARE * n * np.sum(weights**2, axis=1)
    enough[-1] = True
    total = np.cumsum(weights[np.argmax(enough)])
    return np.searchsorted(total, (np.arange(n) + 0.5) / n * total[-1])


def _clock_min(patient: Patient) -> float:
    at = patient.start
    return 0.0 if at is None else at.hour * 60 + at.minute + at.second / 60


def _last(patient: Patient, until_min: float) -> float:
    return float(patient.time_min[patient.valid & (patient.time_min <= until_min)][-1])


def _drawn(f: PatientStateSpace, form: Form, unit: np.ndarray) -> Float[np.ndarray, "2 draws all"]:
    """Constants and states: from the joint distribution, and from the prior."""
    where, n = layout(form), len(form.constants)
    with jax.enable_x64(True):
        effects, spread = (np.asarray(x) for x in effect_prior(f.person, form))
    mean, cov = np.zeros_like(f.joint.mean), np.zeros_like(f.joint.cov)
    cov[range(n), range(n)] = 1.0
    at = n + where.at("c")
    mean[at], cov[at, at] = float(f.person.effect_mean[0]), float(f.person.effect_sd[0]) ** 2
    for harmonic in range(1, form.options.daily_rhythm + 1):
        i = n + where.at(f"day{harmonic}_sin")
        cov[[i, i + 1], [i, i + 1]] = (RHYTHM_SD / harmonic) ** 2
    mean[n + where.core :], cov[n + where.core :, n + where.core :] = effects, spread
    sets = ((f.joint.mean, f.joint.cov), (mean, cov))
    return np.stack([m + u @ root(P).T for (m, P), u in zip(sets, unit, strict=True)])


def _measured(
    drawn: Float[Array, "2 draws all"], end_clock_min: Array, person: Person, at_mg_dL: Array, form: Form
) -> tuple[Float[Array, "2 draws parts settings"], Float[Array, "2 draws"]]:
    """Settings of the whole day and its parts, and how much they change from day to day, for each draw."""
    where, n, parts = layout(form), len(form.constants), form.options.sensitivity_blocks

    def one(v: Array) -> tuple[Array, Array]:
        h, x = constants(v[:n], form), v[n:]
        effects = positive(x[where.core :], person, form)
        p1, q = effects[:parts], effects[parts]
        rises = jnp.stack([_rhythm(x, k, end_clock_min, form) for k in range(parts)])
        c = x[where.at("c")] + jnp.concatenate([jnp.zeros(1), rises])
        whole = jnp.exp(jnp.mean(jnp.log(p1))) if not form.exact else jnp.mean(p1)

        def part(p1: Array, c: Array) -> Array:
            found = settings(own_body(h, person, form, p1=p1, q=q, drift_mg_dL_min=c), at_mg_dL, every_min=_EVERY_MIN)
            # Where no basal rate holds glucose, or doses do not move it, they tell nothing.
            least = jnp.minimum(found.rise_per_g, found.fall_per_U)
            tells = (found.basal_U_h > 0) & (least > _LEAST_EFFECT)
            effects = jnp.where(tells, jnp.stack([found.fall_per_U, found.g_per_U]), jnp.nan)
            return jnp.append(effects, found.basal_U_h)

        return jax.vmap(part)(jnp.append(whole, p1), c), h["change"]

    return jax.vmap(jax.vmap(one))(drawn)


def _rhythm(x: Array, part: int, end_clock_min: Array, form: Form) -> Array:
    """Mean rise by the daily rhythm in a part of the day, mg/dL/min."""
    where, parts = layout(form), form.options.sensitivity_blocks
    length = MINUTES_PER_DAY / parts
    begin = part * length - end_clock_min
    total = jnp.zeros(())
    for harmonic in range(1, form.options.daily_rhythm + 1):
        i, omega = where.at(f"day{harmonic}_sin"), 2 * jnp.pi * harmonic / MINUTES_PER_DAY
        a, b = omega * begin, omega * (begin + length)
        total += (x[i] * (jnp.sin(b) - jnp.sin(a)) + x[i + 1] * (jnp.cos(a) - jnp.cos(b))) / (omega * length)
    return total * (parts > 1)


def _record(
    f: PatientStateSpace,
    patient: Patient,
    ends: tuple[float, float],
    draws: Sequence[tuple[np.ndarray, np.ndarray]],
    daily_U: float,
    at_mg_dL: float,
    doubts: Mapping[Any, float],
    form: Form,
) -> PersonSettings:
    """Draws are those of settings and of changes: after the record is seen, and before."""
    parts, (start, end) = form.options.sensitivity_blocks, ends
    days = (end - start) / MINUTES_PER_DAY
    seen = _informative(patient, start, end, parts)
    return PersonSettings(
        name=f.name,
        outcome=f.outcome,
        bodies={form.physiology.__name__: 1.0},
        at_mg_dL=at_mg_dL,
        draws={w: draws[0][0][:, :, j] for j, w in enumerate(SETTINGS)},
        prior_draws={w: draws[1][0][:, :, j] for j, w in enumerate(SETTINGS)},
        changes=draws[0][1],
        prior_changes=draws[1][1],
        starts_h=_starts_h(parts),
        days=days,
        days_without_basal=_days_without_basal(patient),
        readings=f.readings,
        daily_U=daily_U,
        informative=seen,
        reasons=_reasons(patient, start, end, days, seen[0]),
        doubts=doubts,
    )


def _informative(patient: Patient, start: float, end: float, parts: int) -> tuple[Informative, ...]:
    doses = patient.doses
    part = lambda t: np.floor((t + _clock_min(patient)) % MINUTES_PER_DAY * parts / MINUTES_PER_DAY).astype(int)
    inside = lambda t: (t >= start) & (t <= end)
    given = doses.bolus_time_min
    others = np.sort(np.concatenate([given, doses.meal_time_min]))
    alone = unpaired(doses, ahead_min=_AHEAD_MIN) & (doses.bolus_U > 0) & inside(given)
    near = np.searchsorted(others, given + _ALONE_MIN) - np.searchsorted(others, given - _ALONE_MIN)
    corrections = part(given[alone & (near <= 1)])
    meals = part(doses.meal_time_min[inside(doses.meal_time_min) & (doses.carbs_g > 0)])
    grid = np.arange(start, end, 15.0)
    before = np.searchsorted(others, grid, side="right") - np.searchsorted(others, grid - _FASTING_MIN)
    fasting = part(grid[before == 0])
    count = lambda x, k: len(x) if k is None else int(np.sum(x == k))
    return tuple(
        Informative(count(corrections, k), count(meals, k), count(fasting, k) / 4)
        for k in (None, *(range(parts) if parts > 1 else ()))
    )


def _reasons(patient: Patient, start: float, end: float, days: float, seen: Informative) -> tuple[str, ...]:
    """What keeps a record from telling insulin from food and from what it answers."""
    found = []
    if as_closed_loop(patient):
        found.append("a closed loop answers glucose: its insulin follows what it should explain")
    if seen.corrections < _FEW_CORRECTIONS * days / 7:
        found.append("there is little insulin that acts alone, hours from meals and other boluses")
    if seen.meals < _FEW_MEALS * days:
        found.append("few meals are on record")
    ratios = _ratios(patient, start, end)
    if len(ratios) and np.std(np.log(ratios)) < _ALIKE:
        found.append("meals are always covered alike, so that insulin and food cancel each other")
    return tuple(found)


def _ratios(patient: Patient, start: float, end: float) -> np.ndarray:
    """Carbohydrate for each unit of the meals that have boluses, g/U."""
    doses, found = patient.doses, []
    for t, g in zip(doses.meal_time_min, doses.carbs_g, strict=True):
        near = np.abs(doses.bolus_time_min - t) <= 20.0
        if start <= t <= end and g > 0 and np.sum(doses.bolus_U[near]) > 0:
            found.append(g / np.sum(doses.bolus_U[near]))
    return np.asarray(found)
