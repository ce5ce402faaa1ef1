"""What glucose would have been with other doses: the record explained, what explained it kept, the body run again."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._arguments import ArgumentError
from .._checked import check_types
from .._types import Key
from ..data import Patient
from ..physics import Doses
from ..programs import over_cohort
from ..records import Replay
from ._again import explained, lived_again
from ._answers import AbstractAnswer, Course
from ._hyper import Form
from ._person import as_closed_loop
from ._records import PatientStateSpace, root
from ._scenarios import Rates, differ_min, ends, rates_at
from ._steps import LONGEST_MIN, Steps, round_up, stack_steps, steps_of

# Of the record around a change: before it, what was on board and what insulin and food do to the person; after it, what
# follows.
_BEFORE_MIN, _AFTER_MIN = 14 * 1440.0, 720.0
_CONSTANTS, _PATHS = 16, 8  # draws of the constants, and of the disturbances under each
_TRUST, _TIMING_MIN = 0.3, 10.0
_LOOP = "basal rates change as a closed loop changes them; it would have answered, give it as an answer"
_MG_PER_G = 1000.0
_BLOCK = 32  # scenarios at a time: with the default draws, what they differ by stays in the caches of a CPU
_SUPPORTED = 0.5  # change of insulin or carbohydrate, as a share of that recorded, beyond which nothing was seen


def replay(
    person: PatientStateSpace | Sequence[PatientStateSpace],
    patient: Patient,
    doses: Doses | Mapping[str, Doses],
    *,
    key: Key,
    answers: AbstractAnswer | Sequence[AbstractAnswer] = (),
    draws: int = _CONSTANTS * _PATHS,
    trust: float = _TRUST,
    timing_min: float = _TIMING_MIN,
) -> list[Replay]:
    """What glucose would have been with other doses, a fitted person's record otherwise kept as it was.

    ```
    x[i+1] = step(x[i], doses) + w[i]          the record, explained: w is all that the model did not know
    x'[i+1] = step(x'[i], other doses) + w[i]  the same w, from the same start
    replayed = recorded + read (x' - x)
    ```

    Draws carry what is not known: constants by their curvature, effects of insulin and food and the disturbances by
    backward simulation, and, for a body that is not the right one, a factor on the whole change (`trust`) and a shift
    in time (`timing_min`). The error of the sensor stays as it was. Recorded doses give back the record exactly. The
    disturbance does not answer glucose: where insulin or rescue carbohydrate did, they do what they did, unless
    `answers` are given. These rules see both glucoses at every reading, and what they give on the one beyond what they
    give on the other is added to the other doses.

    Args:
        person: what `fit_state_space` found; or of several bodies, whose draws are taken together: they agree on
            when a dose acts and differ on what glucose gives back of it, so that their answers enclose the truth.
        patient: the record.
        doses: the other doses, whole; or several by name.
        key: draws what is not known.
        answers: rules that dose by glucose: `RescueCarbs`, `t1djax.trials.LoopAnswer`, your own.
        draws: how many draws for each body.
        trust: standard deviation of the logarithm of that factor; zero for a body that is right.
        timing_min: standard deviation of that shift, min; zero for a body that is right.

    Returns:
        A replay for each scenario, from the first change to twelve hours after the last one.

    Raises:
        ArgumentError: where the doses are those of the record, a change lies outside of it, or `person` is another.

    Example:
        >>> import dataclasses
        >>> import jax
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=15, names=["Pat3"])["Pat3"]
        >>> options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3)
        >>> person = t1djax.fit_state_space([patient], options=options)["Pat3"]
        >>> less = dataclasses.replace(patient.doses, bolus_U=0.8 * patient.doses.bolus_U)
        >>> found = t1djax.replay(person, patient, less, key=jax.random.key(0))[0]
        >>> bool(found.interval()[0][-1] > 0)
        True

    Source: keeping what the model did not know is the "net effect" of Patek et al., IEEE Trans. Biomed. Eng. 63(7),
    2016; its domain is studied in Vettoretti et al., Diabetes Technol. Ther. 18, 2016, and Hughes et al., J. Diabetes
    Sci. Technol. 15(6), 2021.
    """
    check_types(replay, locals())
    people = [person] if isinstance(person, PatientStateSpace) else list(person)
    for one in people:
        if one.name != patient.name:
            raise ArgumentError("person", f"is {one.name}, the record is {patient.name}'s")
    if not people:
        raise ArgumentError("person", "there is no fit; give one or more")
    scenarios = {"other doses": doses} if isinstance(doses, Doses) else dict(doses)
    if not scenarios:
        raise ArgumentError("doses", "there are none; give some")
    first, last = ends(patient)
    recorded, columns = patient.doses.rates(first, last), [other.rates(first, last) for other in scenarios.values()]
    spans = [differ_min(recorded, other, last, ("doses", name)) for name, other in zip(scenarios, columns, strict=True)]
    start, end = min(a for a, _ in spans), max(b for _, b in spans)
    near = (patient.time_min >= start - _BEFORE_MIN) & (patient.time_min <= end + _AFTER_MIN)
    part = dataclasses.replace(patient, glucose_mg_dL=np.where(near, patient.glucose_mg_dL, np.nan))
    shown = part.valid & (part.time_min >= start)
    time, read = part.time_min[shown], part.glucose_mg_dL[shown]
    others = _Others(list(scenarios.values()), columns, start, time)
    rules = tuple([answers] if isinstance(answers, AbstractAnswer) else answers)
    doubt_key, *keys = jax.random.split(key, 1 + len(people))
    paths = max(1, draws // _CONSTANTS)
    size, shift = np.asarray(jax.random.normal(doubt_key, (2, len(people), _CONSTANTS * paths)))
    doubts = zip(np.exp(trust * size), timing_min * shift, strict=True)
    bodies = [_changes(one, part, others, rules, doubt, k) for one, doubt, k in zip(people, doubts, keys, strict=True)]
    change, more = (np.concatenate(x, axis=1) for x in zip(*bodies, strict=True))
    looped = not answers and as_closed_loop(patient)
    found = []
    for i, (name, other) in enumerate(scenarios.items()):
        since = np.searchsorted(time, spans[i][0])
        remarks = (*_remarks(patient, other, recorded, columns[i]), *([_LOOP] if looped else []))
        found.append(
            Replay(patient.name, name, time[since:], read[since:], change[i, :, since:], patient.doses, other, remarks,
                   more[i] if rules else None)
        )  # fmt: skip
    return found


class _Others(NamedTuple):
    """The other doses, by scenario, and when glucose under them is asked for."""

    doses: list[Doses]
    columns: list[Rates]
    start_min: float
    """When the first of them differs."""
    time_min: Float[np.ndarray, " readings"]


def _changes(
    person: PatientStateSpace,
    part: Patient,
    others: _Others,
    rules: tuple[AbstractAnswer, ...],
    doubt: tuple[np.ndarray, np.ndarray],
    key: Key,
) -> tuple[Float[np.ndarray, "scenarios draws readings"], Float[np.ndarray, "scenarios draws 2"]]:
    """By one body: how much higher a sensor would have read; and what answers gave beyond the record, insulin (U) and
    carbohydrate (g)."""
    form = person.form
    z_key, path_key = jax.random.split(key)
    with jax.enable_x64(True):
        steps, last = _on_one_grid(part, others.columns, form)
        z = _drawn_constants(person, z_key)
        keys = jax.random.key_data(jax.random.split(path_key, _CONSTANTS))
        time = np.asarray(steps.time_min)
        # Before the first change both are the same; rules have to have seen a day.
        since = 0 if rules else max(0, int(np.searchsorted(time, others.start_min)) - 1)
        number = min(round_up(last - since), len(time) - 1)
        first = max(0, last - number)
        paths, again = len(doubt[0]) // _CONSTANTS, slice(first, first + number)
        shared = (steps, person.person, np.asarray(first))
        kept, _ = over_cohort(explained, z, keys, shared=shared, static=(form, paths, number))
        rates = np.stack([np.stack(rates_at(x, time[again]), axis=-1) for x in others.columns]) / (1.0, _MG_PER_G)
        more = rates - np.asarray(steps.rates)[again, :2]
        course = _courses(part, others.doses, steps, rates) if rules else None
        doubts = tuple(x.reshape(_CONSTANTS, paths) for x in doubt)
        edges = time[first : first + number + 1]
        shared = (kept, doubts, edges, others.time_min, jax.tree.map(jnp.asarray, rules))
        return over_cohort(
            lived_again, more, course, shared=shared, static=(form,), factorises=False, threaded=True, block=_BLOCK
        )[0]


def _on_one_grid(patient: Patient, others: list[Rates], form: Form) -> tuple[Steps, int]:
    """The record's steps, which begin at changes of the other doses too, and which is the last before padding. Meals
    that boluses hint at are the record's."""
    longest, o = np.inf if form.exact else LONGEST_MIN, form.options
    start, end = ends(patient)
    cuts = np.unique(np.concatenate([t[(t > start) & (t < end)] for t, *_ in others]))
    alone = steps_of(
        patient, longest_min=longest, blocks=o.sensitivity_blocks, ahead_min=o.paired_ahead_min, cut_min=cuts
    )
    return jax.tree.map(lambda x: x[0], stack_steps([alone])), len(alone.time_min) - 1


def _courses(
    patient: Patient, others: list[Doses], record: Steps, rates: Float[np.ndarray, "scenarios steps 2"]
) -> Course:
    """What answers see, by scenario."""
    time = np.asarray(record.time_min)
    clock = 0 if patient.start is None else 60 * patient.start.hour + patient.start.minute
    stated = np.zeros((len(others), len(time), 2))
    for row, other in zip(stated, others, strict=True):
        for i, doses in enumerate((patient.doses, other)):
            at = np.searchsorted(time, doses.meal_time_min, side="right") - 1
            inside = (at >= 0) & (doses.meal_time_min < time[-1])
            np.add.at(row[:, i], at[inside], doses.carbs_g[inside])
    alike = lambda x: jnp.asarray(np.broadcast_to(np.asarray(x)[:-1], (len(others), len(time) - 1)))
    return Course(
        reading_mg_dL=alike(record.glucose_mg_dL),
        valid=alike(record.valid),
        minute=alike((time + clock) % 1440),
        dt_min=alike(np.asarray(record.dt_min)[np.asarray(record.interval)]),
        insulin_U_min=jnp.stack([alike(record.rates[:, 0]), rates[..., 0]], axis=-1),
        announced_g=jnp.asarray(stated[:, :-1]),
    )


def _drawn_constants(person: PatientStateSpace, key: Key) -> Float[np.ndarray, "draws free"]:
    """Standardised logarithms of the constants: the estimate first, then draws about it."""
    n = len(person.form.constants)
    unit = np.asarray(jax.random.normal(key, (_CONSTANTS, n))) * (np.arange(_CONSTANTS) > 0)[:, None]
    return person.joint.mean[:n] + unit @ root(person.joint.cov[:n, :n]).T


def _remarks(patient: Patient, other: Doses, recorded: Rates, columns: Rates) -> tuple[str, ...]:
    """What the record cannot support."""
    start, end = ends(patient)
    inside = lambda t: (t >= start) & (t <= end)
    found = []
    before, after = patient.doses, other
    n = len(before.bolus_U)
    if n == len(after.bolus_U):
        share = np.divide(after.bolus_U, before.bolus_U, out=np.ones(n), where=before.bolus_U > 0)
        if np.any(np.abs(share - 1)[inside(before.bolus_time_min)] > _SUPPORTED):
            found.append("a bolus changes by more than half; errors grow with the change")
    meals = inside(before.meal_time_min).sum(), inside(after.meal_time_min).sum()
    if meals[0] != meals[1] or np.any(np.asarray(after.carbs_g) == 0):
        found.append("meals are added or removed; the record has none of their kind to compare")
    was, would = (_insulin(x, end) for x in (recorded, columns))
    if would < _SUPPORTED * was:
        found.append("there is less than half of the insulin; counter-regulation and ketones are not in the model")
    return tuple(found)


def _insulin(columns: Rates, end_min: float) -> float:
    """What is delivered until a time, U."""
    breaks, rates, _ = columns
    return float(rates @ np.diff(np.minimum(breaks, end_min), append=end_min))
