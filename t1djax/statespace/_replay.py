"""What glucose would have been with other doses: the record explained, what explained it kept, the body run again."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import ArgumentError
from .._checked import check_types
from .._types import Key
from ..data import Patient
from ..physics import Doses
from ..programs import over_cohort
from ..records import Replay
from ._answers import AbstractAnswer, Answering, Course, answered, begin
from ._body import CHANNELS, unit_of
from ._filter import draw_paths, kalman_filter
from ._hyper import Form
from ._model import Answers, Model, after_doses, build, choices, effect_rows, matrices
from ._person import Person, as_closed_loop
from ._records import PatientStateSpace, root
from ._scenarios import changed_min, ends, rates_at
from ._search import constants
from ._steps import LONGEST_MIN, Steps, round_up, stack_steps, steps_of

# Of the record around a change: before it, what was on board and what insulin and food do to the person; after it, what
# follows.
_BEFORE_MIN, _AFTER_MIN = 14 * 1440.0, 720.0
_CONSTANTS, _PATHS = 16, 8  # draws of the constants, and of the disturbances under each
_TRUST, _TIMING_MIN = 0.3, 10.0
_LOOP = "basal rates change as a closed loop changes them; it would have answered, give it as an answer"
_MG_PER_G = 1000.0
_SUPPORTED = 0.5  # change of insulin or carbohydrate, as a share of that recorded, beyond which nothing was seen


class _Paths(NamedTuple):
    """Draws of a record's states, and what no dose explains of each of their steps."""

    x: Float[Array, "paths steps states"]
    unexplained: Float[Array, "paths gaps states"]


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
    spans = {name: changed_min(patient, other, ("doses", name)) for name, other in scenarios.items()}
    looped = not answers and as_closed_loop(patient)
    start, end = min(a for a, _ in spans.values()), max(b for _, b in spans.values())
    near = (patient.time_min >= start - _BEFORE_MIN) & (patient.time_min <= end + _AFTER_MIN)
    part = dataclasses.replace(patient, glucose_mg_dL=np.where(near, patient.glucose_mg_dL, np.nan))
    paths, others = max(1, draws // _CONSTANTS), list(scenarios.values())
    rules = tuple([answers] if isinstance(answers, AbstractAnswer) else answers)
    doubt_key, *keys = jax.random.split(key, 1 + len(people))
    bodies = [_changes(one, part, others, rules, start, paths, k) for one, k in zip(people, keys, strict=True)]
    size, shift = np.asarray(jax.random.normal(doubt_key, (2, len(people) * _CONSTANTS * paths)))
    found = []
    for i, (name, other) in enumerate(scenarios.items()):
        shown = part.valid & (part.time_min >= spans[name][0])
        time = part.time_min[shown]
        rows = [(at, row) for at, change, _ in bodies for row in change[i]]
        more = np.concatenate([given[i] for *_, given in bodies]) if rules else None
        later = [np.interp(time - timing_min * s, at, row) for s, (at, row) in zip(shift, rows, strict=True)]
        change = np.exp(trust * size)[:, None] * np.stack(later)
        read = part.glucose_mg_dL[shown]
        remarks = (*_remarks(patient, other), *([_LOOP] if looped else []))
        found.append(Replay(patient.name, name, time, read, change, patient.doses, other, remarks, more))
    return found


def _changes(
    person: PatientStateSpace,
    part: Patient,
    others: list[Doses],
    rules: tuple[AbstractAnswer, ...],
    start_min: float,
    paths: int,
    key: Key,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By one body: times of its steps, min; how much higher a sensor would have read, scenarios by draws by steps; and
    what answers gave beyond the record, scenarios by draws by insulin (U) and carbohydrate (g)."""
    form = person.form
    z_key, path_key = jax.random.split(key)
    with jax.enable_x64(True):
        steps, rates = _on_one_grid(part, others, form)
        z = _drawn_constants(person, z_key)
        keys = jax.random.key_data(jax.random.split(path_key, _CONSTANTS))
        whole, _ = over_cohort(_explained, z, keys, shared=(steps, person.person), static=(form, paths))
        course = _courses(part, others, steps, rates)
        shared = (steps, z, whole, person.person, jax.tree.map(jnp.asarray, rules))
        time = np.asarray(steps.time_min)
        # Before the first change both are the same; rules have to have seen a day.
        gaps = len(time) - 1 if rules else len(time) - int(np.searchsorted(time, start_min))
        gaps = min(round_up(gaps), len(time) - 1)
        (change, more), _ = over_cohort(_changed, rates, course, shared=shared, static=(form, gaps))
    return time[-gaps - 1 :], change, more


def _on_one_grid(
    patient: Patient, others: list[Doses], form: Form
) -> tuple[Steps, Float[np.ndarray, "scenarios steps 3"]]:
    """The record's steps, which begin at changes of the other doses too, and the rates of these in them. Meals that
    boluses hint at are those of the record."""
    longest, o = np.inf if form.exact else LONGEST_MIN, form.options
    start, end = ends(patient)
    each = [doses.rates(start, end) for doses in others]
    cuts = np.unique(np.concatenate([t[(t > start) & (t < end)] for t, *_ in each]))
    alone = steps_of(
        patient, longest_min=longest, blocks=o.sensitivity_blocks, ahead_min=o.paired_ahead_min, cut_min=cuts
    )
    record = jax.tree.map(lambda x: x[0], stack_steps([alone]))
    time, kept = np.asarray(record.time_min), np.asarray(record.rates[:, 2])
    rows = [rates_at(columns, time) for columns in each]
    return record, np.stack([np.stack([u, carbs / _MG_PER_G, kept], axis=-1) for u, carbs in rows])


def _courses(
    patient: Patient, others: list[Doses], record: Steps, rates: Float[np.ndarray, "scenarios steps 3"]
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
    alike = lambda x: jnp.asarray(np.broadcast_to(np.asarray(x), (len(others), len(time))))
    return Course(
        reading_mg_dL=alike(record.glucose_mg_dL),
        valid=alike(record.valid),
        minute=alike((time + clock) % 1440),
        dt_min=alike(np.asarray(record.dt_min)[np.asarray(record.interval)]),
        insulin_U_min=jnp.asarray(
            np.stack(np.broadcast_arrays(np.asarray(record.rates)[:, 0], rates[..., 0]), axis=-1)
        ),
        announced_g=jnp.asarray(stated),
    )


def _drawn_constants(person: PatientStateSpace, key: Key) -> Float[np.ndarray, "draws free"]:
    """Standardised logarithms of the constants: the estimate first, then draws about it."""
    n = len(person.form.constants)
    unit = np.asarray(jax.random.normal(key, (_CONSTANTS, n))) * (np.arange(_CONSTANTS) > 0)[:, None]
    return person.joint.mean[:n] + unit @ root(person.joint.cov[:n, :n]).T


def _model(z: Array, person: Person, steps: Steps, form: Form) -> Model:
    h = constants(z, form)
    return build(h, person, steps, form, unit_of(h, person.level_mg_dL, form))[0]


def _explained(z: Array, key_data: Array, steps: Steps, person: Person, form: Form, paths: int) -> _Paths:
    model = _model(z, person, steps, form)
    x = draw_paths(model, kalman_filter(model), paths, key=jax.random.wrap_key_data(key_data))
    each = jax.tree.map(lambda row: row[:-1], model.motion.each)
    ahead = jax.vmap(jax.vmap(lambda row, x: model.motion.step(row, x)[0]), in_axes=(None, 0))(each, x[:, :-1])
    return _Paths(x, x[:, 1:] - ahead)


def _changed(
    rates: Float[Array, "steps 3"],
    course: Course,
    steps: Steps,
    z: Array,
    whole: _Paths,
    person: Person,
    rules: tuple[AbstractAnswer, ...],
    form: Form,
    gaps: int,
) -> tuple[Float[Array, "draws later"], Float[Array, "draws 2"]]:
    """How much higher a sensor would have read under other doses over the last `gaps` steps, mg/dL; and what answers
    gave beyond them."""
    steps = dataclasses.replace(steps, rates=rates)
    short = lambda tree: jax.tree.map(lambda row: row[-gaps - 1 : -1], tree)
    each_dt = short(steps.dt_min[steps.interval])

    def under(z: Array, paths: _Paths) -> tuple[Array, Array]:
        h = constants(z, form)
        unit = unit_of(h, person.level_mg_dL, form)
        model, M = build(h, person, steps, form, unit)[0], matrices(h, unit, form, steps.dt_min)
        motion: Any = model.motion
        each = short((model.motion.each, course, steps.interval, choices(steps.block, form)))

        def walk(x: Array, unexplained: Array) -> tuple[Array, Array]:
            def go(carry: tuple[Array, Answering, Array], given: tuple[Any, Array, Array]) -> Any:
                now, answering, on_board = carry
                (row, seen, interval, choice), then, w = given  # row: of `model.motion.each`
                rates = jnp.zeros(3)
                if rules:
                    answering, more = answered(rules, answering, (now - then) @ model.read, seen)
                    rates = rates.at[:2].set(more)
                if rules and isinstance(row, Answers):
                    row = row._replace(rows=row.rows + effect_rows(M, interval, on_board, rates) @ choice)
                elif rules:
                    row = row._replace(on_board=row.on_board + on_board, rates=row.rates + rates)
                on_board = after_doses(M.lags[interval][jnp.asarray(CHANNELS)], on_board, rates)
                now = motion.step(row, now)[0] + w
                return (now, answering, on_board), (now, rates[:2])

            x = x[-gaps - 1 :]
            start = (x[0], begin(rules), jnp.zeros((3, unit.push.shape[1])))
            _, (later, rates) = jax.lax.scan(go, start, (each, x[:-1], unexplained[-gaps:]))
            return (jnp.concatenate([x[:1], later]) - x) @ model.read, each_dt @ rates

        return jax.vmap(walk)(*paths)

    found = jax.vmap(under)(z, whole)
    return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), found)


def _remarks(patient: Patient, other: Doses) -> tuple[str, ...]:
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
    was, would = (_insulin(doses, start, end) for doses in (before, after))
    if would < _SUPPORTED * was:
        found.append("there is less than half of the insulin; counter-regulation and ketones are not in the model")
    return tuple(found)


def _insulin(doses: Doses, start: float, end: float) -> float:
    """What is delivered between two times, U."""
    breaks, rates, _ = doses.rates(start, end)
    return float(rates @ np.diff(np.minimum(breaks, end), append=end))
