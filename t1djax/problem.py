"""The question asked of a cohort: what is known, what is free, where the free ones start."""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import jax
import numpy as np
from jaxtyping import Array, Float, Shaped

from ._arguments import ArgumentError
from ._checked import check_types
from ._settle import check_plausible, settle
from ._types import Key
from ._words import counted, some
from .data import Cohort, Patient, PatientArrays, Series, steps_needed
from .identifiability import check_identifiable
from .physics import AbstractPhysiology, Balance, Magdelaine, Parameter, start_symbol
from .programs import over_cohort
from .question import LogNormal, Mode, Question, QuestionFields, question_of
from .twin import LEAST_G0_MG_DL, Physiology

_LOWEST_READING = 40.0  # what a sensor reports at the least; a start below it would have no logarithm
_ON_BOARD_SD_LOG = 2.0  # of what is on board at the start: a factor of seven either way
_AT_BOUND = 0.01  # so near, in the logarithm, an estimate stands at its bound


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """Known values and starts for every patient of a cohort, and what had to be said about them."""

    names: tuple[str, ...]
    """The patients, in order."""
    mode: Mode
    """Forward or inverse."""
    named: tuple[str, ...]
    """The parameters that were asked for; empty in forward mode."""
    known: Mapping[str, Float[np.ndarray, " patients"]]
    """Values that stay, by symbol."""
    start: Mapping[str, Float[np.ndarray, " patients"]]
    """Starting values of everything that moves: the named ones, and those estimated along (`G0`)."""
    assumed: Mapping[str, float]
    """Values taken from the population because nobody stated them; an assumed balance (`Facts.balance`) by its
    symbol."""
    notes: tuple[str, ...]
    """What a reader of the result should know: values ignored, assumed, estimated along."""
    priors: Mapping[str, LogNormal] = dataclasses.field(default_factory=dict)
    """What is believed of some of the free ones, by symbol."""
    bounds: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    """Lower and upper bounds of some of the free ones, in their units."""
    noise_sd_mg_dL: float | None = None
    """Standard deviation of the readings' noise, mg/dL; estimated from the misfit where it is None."""
    c_assumed: tuple[str, ...] = ()
    """Patients of whom the balance (`Facts.balance`) is assumed and something estimated that goes by it."""
    body: type[AbstractPhysiology] = Magdelaine
    """The physiology."""
    insulin_U_min: Float[np.ndarray, " patients"] | None = None
    """Insulin that is no bolus, in force at the start of each record, U/min; None where nothing starts by it."""
    steps: int | None = None
    """Steps that the longest record needs (`count_steps`); None where the solution is exact."""

    def __repr__(self) -> str:
        free = f"{'+'.join(self.start)} free" if self.start else "nothing free"
        assumed = f", {'+'.join(self.assumed)} assumed" if self.assumed else ""
        return f"Problem({self.mode}: {free}{assumed}, {counted(len(self.names), 'patient')})"

    def physiology(
        self, dtype: Any = np.float64, start: Mapping[str, Float[np.ndarray, " patients"]] | None = None
    ) -> Physiology:
        """The patients' parameters at the start, stacked, as a fit takes them.

        What is on board at the start of the window is held near rest by a wide prior, where it is free and has no
        prior of its own: the readings often do not show it, and its logarithm would drift to minus infinity.

        Args:
            dtype: NumPy type of the numbers, whatever JAX's setting is.
            start: other starts than the problem's own.

        Returns:
            The parameters with their priors and bounds; every leaf has a leading axis of patients.
        """
        with jax.enable_x64(np.dtype(dtype) == np.float64):
            each = np.ones(len(self.names))
            put = lambda x: jax.device_put(np.asarray(x, dtype))
            pairs = lambda a, b: put(np.stack([a * each, b * each], axis=-1))
            on_board = [s for s in self.body.initial_states() if s in self.start]
            prior = {s: pairs(np.log(self.start[s]), _ON_BOARD_SD_LOG) for s in on_board}
            prior |= {s: pairs(np.log(p.median), p.sd_log) for s, p in self.priors.items()}
            return Physiology.at(
                {s: put(v) for s, v in self.known.items()},
                {s: put(v) for s, v in (self.start if start is None else start).items()},
                prior=prior,
                bounds={s: pairs(np.log(low), np.log(high)) for s, (low, high) in self.bounds.items()},
                noise_sd_mg_dL=None if self.noise_sd_mg_dL is None else put(self.noise_sd_mg_dL * each),
                insulin_U_min=None if self.insulin_U_min is None else put(self.insulin_U_min),
                body=self.body,
                steps=self.steps,
            )

    def goes_by(self, name: str) -> Balance | None:
        """The balance by which estimates of a patient go, since it is assumed; None where none is.

        Args:
            name: the patient.

        Returns:
            The balance.
        """
        return self.body.facts.balance if name in self.c_assumed else None

    def take(self, which: Sequence[int]) -> "Problem":
        """The problem of some of the patients, by position; one may come twice.

        Args:
            which: positions of the patients, from 0.

        Returns:
            The problem, its patients in that order.
        """
        at = np.asarray(which)
        part = lambda by_symbol: {symbol: values[at] for symbol, values in by_symbol.items()}
        names = tuple(self.names[i] for i in which)
        c_assumed = tuple(name for name in names if name in self.c_assumed)
        insulin = None if self.insulin_U_min is None else self.insulin_U_min[at]
        known, start = part(self.known), part(self.start)
        return dataclasses.replace(
            self, names=names, known=known, start=start, c_assumed=c_assumed, insulin_U_min=insulin
        )

    def limits(self, symbol: str) -> tuple[float, float]:
        """Between what values a free parameter is estimated, in its unit: its bounds, or above zero (`LEAST_G0_MG_DL`).

        Args:
            symbol: a free parameter.

        Returns:
            The lowest and the highest.
        """
        return self.bounds.get(symbol, (LEAST_G0_MG_DL if symbol == "G0" else 0.0, np.inf))

    def at_bound(self, symbol: str, value: float) -> bool:
        """Whether a value of a free parameter stands at one of its limits: within 1 % of it or of the range.

        Args:
            symbol: a free parameter.
            value: its value, in its unit.

        Returns:
            The answer.
        """
        low, high = self.limits(symbol)
        near = _AT_BOUND * (min(1.0, float(np.log(high / low))) if 0 < low < high < np.inf else 1.0)
        return any(abs(np.log(value / bound)) < near for bound in (low, high) if 0 < bound < np.inf)

    def redraw(self, key: Key) -> dict[str, Float[np.ndarray, " patients"]]:
        """Other starts for the named parameters, drawn as the first were; the rest starts where it did.

        Args:
            key: draws the starts.

        Returns:
            Starts by symbol, one number per patient, in the units of `PARAMETERS`.
        """
        draw = lambda symbol: _draw(self.names, symbol, key, self.bounds.get(symbol), self.body.parameters)
        return {s: v if s not in self.named or s == "G0" else draw(s) for s, v in self.start.items()}


def patient_key(key: Key, name: str) -> Key:
    """A key of the patient's own: it does not depend on who else is in the cohort."""
    return patient_keys(key, [name])[0]


def patient_keys(key: Key, names: Sequence[str]) -> Shaped[Array, "patients ..."]:
    """A key of each patient's own, `(patients,)`: it does not depend on who else is in the cohort."""
    return _keys(key, _numbers(names))[: len(names)]


def _numbers(names: Sequence[str]) -> np.ndarray:
    """One of each name's own, and of nobody up to a multiple of sixteen: cohorts share a program."""
    numbers = [zlib.crc32(name.encode()) for name in names]
    return np.array(numbers + [0] * (-len(names) % 16), np.uint32)


@jax.jit
def _keys(key: Key, patients: Array) -> Shaped[Array, "patients ..."]:
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, patients)


def pose(
    patients: Sequence[Patient],
    question: Question | None = None,
    *,
    key: Key,
    start: Mapping[str, Float[np.ndarray, " patients"]] = {},
    refuse: bool = True,
    **fields: Unpack[QuestionFields],
) -> Problem:
    """Settle what is known and what is free, before any long work.

    Args:
        patients: the cohort.
        question: what is asked of it.
        key: from which the starts are drawn, uniformly in each parameter's range.
        start: starts in place of those drawn, by symbol, in the parameters' units; those of symbols that are not free
            are not looked at, and where one is NaN it is drawn.
        refuse: whether to refuse what glucose cannot tell apart; a report explains it instead.
        fields: fields of `Question`, in place of one or on top of it.

    Returns:
        The problem. `G0` needs no naming: where a patient does not state it, it is estimated along, starting
        at the first fit reading.

    Raises:
        ValueError: naming the parameter and the patients, where a value is missing or not plausible in its unit, `kl`
            is not above `kb`, or a patient has fewer readings than unknowns; an `ArgumentError` where the question
            makes no sense.
        UnidentifiableError: where glucose cannot tell the free parameters apart.
        PhysiologyError: where a physiology of your own does not keep its terms.
    """
    check_types(pose, locals())
    question = question_of(question, fields)
    free, priors, bounds = tuple(question.free), question.priors, question.bounds
    patients = Cohort.of(patients).patients
    if not patients:
        raise ValueError("no patient is selected")
    body = question.body
    if question.estimate_initial_state and not body.initial_states():
        raise ArgumentError(
            "estimate_initial_state", f"the facts of {body.__name__} state no `insulin_states` or `meal_states`"
        )
    _check_readings(patients, free)
    check_plausible(patients, free, body)
    if refuse:
        check_identifiable(patients, free, priors, body)
    settled = settle(patients, free, question.assume_population, body)
    known, notes = settled.known, settled.notes
    names = tuple(patient.name for patient in patients)
    starts = {
        symbol: _draw(names, symbol, key, bounds.get(symbol), body.parameters) for symbol in free if symbol != "G0"
    }
    if "G0" in free or "G0" not in known:
        if "G0" not in free:
            notes.append("G0 is not stated: it is estimated along, starting at the first fit reading")
        known.pop("G0", None)
        starts["G0"] = np.array([_first_fit_reading(patient) for patient in patients])
    insulin = None if body.facts.exact else np.array([_in_force(patient) for patient in patients])
    steps = steps_needed(patients, body)
    if question.estimate_initial_state:
        starts |= _on_board(patients, body, known | starts, insulin)
        notes.append(
            f"insulin and food on board at the start ({', '.join(body.initial_states())}) are estimated along, with a "
            "wide prior near what doses on record and the insulin in force leave"
        )
    # After what is on board at the start, whose prior is about the drawn starts: the problem itself stays the same.
    starts |= {s: np.where(np.isnan(start[s]), starts[s], start[s]) for s in starts if s in start}
    _check_used(question, starts)
    starts |= {symbol: np.clip(starts[symbol], *limits) for symbol, limits in bounds.items()}
    notes += _outside(patients, bounds)
    return Problem(
        names=names,
        mode=question.mode,
        named=free,
        known=known,
        start=starts,
        assumed=settled.assumed,
        c_assumed=settled.c_assumed,
        notes=tuple(notes),
        priors=priors,
        bounds=bounds,
        noise_sd_mg_dL=question.noise_sd_mg_dL,
        body=body,
        insulin_U_min=insulin,
        steps=steps,
    )


def _on_board(
    patients: Sequence[Patient],
    body: type[AbstractPhysiology],
    values: Mapping[str, np.ndarray],
    insulin_U_min: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """About what is on board at the start: what the insulin in force and doses before the record leave."""
    insulin = np.zeros(len(patients)) if insulin_U_min is None else insulin_U_min
    with jax.enable_x64(True):
        people = body.of(values)
    found, _ = over_cohort(_start, people, values["G0"], insulin, PatientArrays(patients), effort="least")
    return {start_symbol(leaf): found[leaf] for leaf in body.facts.dose_states}


def _start(
    person: AbstractPhysiology, G0: Float[Array, ""], insulin_U_min: Float[Array, ""], data: Series
) -> dict[str, Float[Array, ""]]:
    y, inputs = person.start(G0, insulin_U_min), data.inputs
    if inputs.earlier is not None:
        more = person.on_board(inputs.earlier, inputs.start_min)
        y = dataclasses.replace(y, **{leaf: getattr(y, leaf) + x for leaf, x in more.items()})
    y = person.with_some_on_board(y)
    return {leaf: getattr(y, leaf) for leaf in person.facts.dose_states}


def _in_force(patient: Patient) -> float:
    """Insulin that is no bolus at the start of a record, U/min."""
    times, rates = patient.doses.background
    at = np.searchsorted(times, patient.time_min[0], side="right") - 1
    return float(rates[max(int(at), 0)]) / 60


def _check_used(question: Question, starts: Mapping[str, np.ndarray]) -> None:
    """Refuse priors and bounds that nothing would use."""
    for name in ("priors", "bounds"):
        for symbol in getattr(question, name):
            if symbol not in starts:
                free = f"free are {', '.join(starts)}" if starts else "nothing is free"
                raise ArgumentError((name, symbol), f"is not estimated; name it among the free ones ({free})")


def _outside(patients: Sequence[Patient], bounds: Mapping[str, tuple[float, float]]) -> list[str]:
    notes = []
    for symbol, (low, high) in bounds.items():
        out = [p.name for p in patients if symbol in p.known and not low <= p.known[symbol] <= high]
        if out:
            notes.append(f"the value stated for {symbol} of {some(out)} lies outside its bounds, {low:g} to {high:g}")
    return notes


def _check_readings(patients: Sequence[Patient], free: tuple[str, ...]) -> None:
    count = {p.name: int(p.masks.fit.sum()) for p in patients}
    unknown = {p.name: len({*free, *([] if "G0" in p.known else ["G0"])}) for p in patients}
    few = {name: n for name, n in count.items() if n <= unknown[name]}
    if free and few:
        enough = [name for name in count if name not in few]
        lines = [f"{name} has {n}" for name, n in few.items()]
        rest = f"; leave it out and take {some(enough)}" if enough else ""
        raise ValueError(
            f"too few readings to estimate {', '.join(free)}: {'; '.join(lines[:5])} before the forecast start{rest}"
        )


def _draw(
    names: Sequence[str], symbol: str, key: Key, bounds: tuple[float, float] | None, table: Mapping[str, Parameter]
) -> np.ndarray:
    """Starts within the parameter's range and its bounds; within the bounds alone where these do not meet."""
    row = table[symbol]
    low, high = row.start_low, row.start_high
    if bounds is not None:
        within = max(low, bounds[0]), min(high, bounds[1])
        low, high = within if within[0] < within[1] else bounds
    index = list(table).index(symbol)
    share = np.asarray(_uniform(key, _numbers(names), index), dtype=np.float64)[: len(names)]
    return low + (high - low) * share


@jax.jit
def _uniform(key: Key, patients: Array, index: Array | int) -> Array:
    """A number between 0 and 1 for each patient: `patient_key`, then one for the parameter."""
    one = lambda patient: jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, patient), index))
    return jax.vmap(one)(patients)


def _first_fit_reading(patient: Patient) -> float:
    fit = patient.masks.fit
    return max(float(patient.glucose_mg_dL[fit][0]), _LOWEST_READING)
