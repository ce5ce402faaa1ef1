"""Patients that are simulated: the table a person would hand over, and the truth apart from it."""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .._checked import check_types
from .._types import Key
from ..physics import AbstractPhysiology, Doses, Inputs, Magdelaine, count_steps, presets, state_columns
from ..programs import check_not_forked, over_cohort
from ._records import Cohort, Patient, Truth
from ._sensors import AbstractNoise, RandomGaps, Sensor

_CHUNK = 256  # patients simulated together: bounds the memory, and one program serves any number of them


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A person to simulate.

    Raises:
        ValueError: naming the subject, where a parameter is missing or none that a person can have, or the window has
            no length.
    """

    name: str
    """Who it is."""
    parameters: Mapping[str, float]
    """Every parameter of the physiology by symbol, in the units of its table."""
    doses: Doses
    """Insulin and meals; what lies outside the window is left out of the record."""
    start_min: float
    """Start of the window, min."""
    end_min: float
    """End of the window, min."""
    start: dt.datetime | None = None
    """Clock time of minute zero, where there is one."""
    physiology: type[AbstractPhysiology] = Magdelaine
    """Whose parameters these are."""

    def __post_init__(self) -> None:
        lacking = [symbol for symbol in self.physiology.parameters if symbol not in self.parameters]
        if lacking:
            raise ValueError(f"subject {self.name}: {', '.join(lacking)} missing; a simulation needs every parameter")
        if flaw := self.physiology.flaw(self.name, self.parameters):
            raise ValueError(flaw)
        if not self.end_min > self.start_min:
            raise ValueError(f"subject {self.name}: the window ends ({self.end_min}) before it starts")


def reference_cohort(
    *,
    interval_min: float = 1.0,
    noise: AbstractNoise | None = None,
    dropout: float = 0.0,
    gaps: Iterable[tuple[float, float]] | RandomGaps = (),
    censor: bool = False,
    key: Key | None = None,
    names: Iterable[str] | None = None,
) -> Cohort:
    """The patients Pat2 to Pat11 over their 48 h protocols, with the truth.

    Without arguments: a reading every minute, no noise, nothing lost, nothing censored. Some of these protocols
    drive glucose below zero; they are kept as published.

    Args:
        interval_min: time between readings, min.
        noise: model of the sensor error; none if not given.
        dropout: share of the readings lost at random.
        gaps: times without readings, `(start_min, length_min)` or `RandomGaps`.
        censor: whether readings are reported within 40 to 400 mg/dL.
        key: random key; needed as soon as anything is drawn.
        names: which patients; all ten if not given. A patient's readings do not depend on who else is chosen.

    Returns:
        The cohort. Every parameter is asserted in `Patient.known`; `G0` only where readings are noise-free.

    Raises:
        ValueError: where something is to be drawn without a key, or an option is out of its range.
        KeyError: naming a patient that is not in the cohort.

    Example:
        >>> import jax
        >>> import t1djax
        >>> noisy = t1djax.reference_cohort(
        ...     interval_min=5, noise=t1djax.WhiteNoise(10.0), key=jax.random.key(0), names=["Pat2", "Pat3"]
        ... )
        >>> noisy["Pat3"].time_min.shape
        (577,)

    Source: Magdelaine et al., IEEE Trans. Biomed. Eng. 62(6), 2015, doi 10.1109/TBME.2015.2393105, for Pat2 and
    Pat3; `presets` says what the others are.
    """
    check_types(reference_cohort, locals())
    check_not_forked()
    everyone = presets()
    chosen = tuple(everyone) if names is None else tuple(names)
    absent = [name for name in chosen if name not in everyone]
    if absent:
        raise KeyError(f"no patient {', '.join(absent)} in the reference cohort; there are {', '.join(everyone)}")
    subjects = [
        Subject(p.name, p.parameters, p.doses, p.start_min, p.end_min) for p in (everyone[name] for name in chosen)
    ]
    sensor = Sensor(noise, interval_min=interval_min, dropout=dropout, gaps=gaps, censor=censor)
    return simulate_cohort(subjects, sensor, key=key, indices=[list(everyone).index(name) for name in chosen])


def simulate_cohort(
    subjects: Sequence[Subject],
    sensor: Sensor,
    *,
    key: Key | None = None,
    indices: Sequence[int] | None = None,
) -> Cohort:
    """Simulate a cohort exactly, in float64, and read it with a sensor.

    Rows are the sensor's times and the times of the doses, so that every dose stands on a row; a row that is not
    the sensor's has no reading. JAX's precision setting outside is neither used nor changed.

    Args:
        subjects: whom to simulate.
        sensor: the device they wear.
        key: random key; needed where the sensor draws anything. Each subject has a key of its own.
        indices: number of each subject from which its own key is made; its place in `subjects` if not given.

    Returns:
        The cohort, with the truth of each patient. Every parameter is asserted in `Patient.known`, except that a
        noisy sensor leaves `G0` unknown.

    Raises:
        ValueError: where the sensor draws and there is no key, where `indices` and `subjects` differ in number, where
            subjects are of several physiologies, or where a subject is left without a reading.

    Example:
        >>> import t1djax
        >>> pat2 = t1djax.presets()["Pat2"]
        >>> fed = t1djax.data.Subject("fed", pat2.parameters, t1djax.Doses.of(basal=0.83, meals=[(60, 30)]), 0, 600)
        >>> cohort = t1djax.data.simulate_cohort([fed], t1djax.Sensor(interval_min=5))
        >>> float(cohort.truth["fed"].glucose_mg_dL[-1]) > 250
        True
    """
    check_not_forked()
    if sensor.random and key is None:
        raise ValueError("the sensor draws noise, dropout or gaps: give key=jax.random.key(seed)")
    if indices is None:
        indices = range(len(subjects))
    if len(indices) != len(subjects):
        raise ValueError(f"simulate_cohort: {len(indices)} indices for {len(subjects)} subjects")
    if len({s.physiology for s in subjects}) > 1:
        raise ValueError("simulate_cohort: the subjects are of several physiologies; simulate each of them by itself")
    pairs: list[tuple[Patient, Truth]] = []
    for first in range(0, len(subjects), _CHUNK):
        some = slice(first, first + _CHUNK)
        pairs += _chunk(subjects[some], sensor, key, indices[some])
    return Cohort(tuple(patient for patient, _ in pairs), {patient.name: truth for patient, truth in pairs})


def _chunk(
    subjects: Sequence[Subject], sensor: Sensor, key: Key | None, indices: Sequence[int]
) -> list[tuple[Patient, Truth]]:
    doses = [_within(s.doses, s.start_min, s.end_min) for s in subjects]
    grids = [_grid(s, sensor.interval_min) for s in subjects]
    times = [
        np.unique(np.concatenate([grid, d.basal_time_min, *(times for times, _, _ in d.events)]))
        for grid, d in zip(grids, doses, strict=True)
    ]
    patients = min(_CHUNK, _power_of_two(len(subjects)))
    repeat = [min(i, len(subjects) - 1) for i in range(patients)]
    with jax.enable_x64(True):
        inputs = [d.inputs(s.start_min, s.end_min) for s, d in zip(subjects, doses, strict=True)]
        stack = lambda rows, multiple: jax.device_put(_padded([np.asarray(rows[i]) for i in repeat], multiple))
        columns = zip(*((x.break_min, x.insulin_U_min, x.carbs_mg_min) for x in inputs), strict=True)
        rates = [stack(column, 32) for column in columns]
        column = lambda values: jax.device_put(np.array([float(values[i]) for i in repeat]))
        cls, rows = subjects[0].physiology, stack(times, 16)
        values = {symbol: column([s.parameters[symbol] for s in subjects]) for symbol in cls.parameters}
        basal = column([d.basal_U_h[0] for d in doses])
        steps = None if cls.facts.exact else count_steps(rows, rates[0], cls.step_min)
        each = (values, basal, rates, rows)
        (true_glucose, truth), _ = over_cohort(_live, *each, static=(cls, steps), block=_CHUNK, effort="some")
        on_grid = [np.searchsorted(t, grid) for t, grid in zip(times, grids, strict=True)]
        seen = stack([g[rows] for g, rows in zip(true_glucose, on_grid, strict=False)], 16)
        number = jax.device_put(np.array([indices[i] for i in repeat], np.uint32))
        readings = np.asarray(_read(sensor, jax.random.key(0) if key is None else key, number, seen))
    states = {name: getattr(truth, leaf) for name, leaf in state_columns(cls.States).items()}
    pairs = []
    for i, s in enumerate(subjects):
        rows = len(times[i])
        glucose = np.full(rows, np.nan)
        glucose[on_grid[i]] = readings[i, : len(grids[i])]
        values = {symbol: float(s.parameters[symbol]) for symbol in cls.parameters}
        known = {symbol: x for symbol, x in values.items() if symbol != "G0" or not sensor.noisy}
        pairs.append(
            (
                Patient(s.name, times[i], glucose, doses[i], known, s.start),
                Truth(values, true_glucose[i, :rows].copy(), {name: x[i, :rows].copy() for name, x in states.items()}),
            )
        )
    return pairs


def _live(
    values: dict[str, jax.Array],
    basal: jax.Array,
    rates: list[jax.Array],
    ts: jax.Array,
    cls: type[AbstractPhysiology],
    steps: int | None,
) -> tuple[jax.Array, Any]:
    """Glucose and states of one person."""
    p = cls.of(values)
    path = p.solution(Inputs(*rates), ts, p.start(values["G0"], basal / 60), steps=steps)
    return path.glucose_mg_dL, path.state


@eqx.filter_jit
def _read(sensor: Sensor, key: Key, number: jax.Array, glucose: jax.Array) -> jax.Array:
    return jax.vmap(lambda i, g: sensor.sample(jax.random.fold_in(key, i), g))(number, glucose)


def _grid(s: Subject, interval_min: float) -> np.ndarray:
    """The sensor's times: from the start in whole intervals, as far as the window goes."""
    count = int(np.floor((s.end_min - s.start_min) / interval_min * (1 + 1e-12))) + 1
    # Rounded so that 0.1-min grids share their times with doses at whole minutes.
    return np.round(s.start_min + interval_min * np.arange(count), 9)


def _within(doses: Doses, start_min: float, end_min: float) -> Doses:
    """The doses of a window: events from its first to its last minute, and the basal rates in force there.

    An event that began before the window counts with what is left of it.
    """
    first = max(int(np.searchsorted(doses.basal_time_min, start_min, side="right")) - 1, 0)
    basal = slice(first, max(int(np.searchsorted(doses.basal_time_min, end_min, side="right")), first + 1))
    since = doses.basal_time_min[basal].copy()
    since[0] = start_min
    events = []
    for time, amount, duration in doses.events:
        begin = np.maximum(time, start_min)
        left = np.where(time < start_min, (time + duration - begin) / duration, 1.0)
        inside = (left > 0) & (time <= end_min)
        events += [begin[inside], (amount * left)[inside], (duration * left)[inside]]
    return Doses(since, doses.basal_U_h[basal], *events)


def _padded(rows: Sequence[np.ndarray], multiple: int) -> np.ndarray:
    """Rows of one length, a multiple of `multiple`, by repeating the last value of each."""
    length = -(-max(len(row) for row in rows) // multiple) * multiple
    return np.stack([np.concatenate([row, np.repeat(row[-1:], length - len(row))]) for row in rows])


def _power_of_two(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()
