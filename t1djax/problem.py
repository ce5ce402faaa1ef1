"""The question asked of a cohort: what is known, what is free, where the free ones start."""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float

from ._types import Key
from .data import Patient, split
from .identifiability import check_identifiable
from .physics import INITIAL_STATES, KB_BODY_MASS, PARAMETERS

Mode = Literal["forward", "inverse"]
"""*forward*: every parameter is known and the states are fitted. *inverse*: the named ones are estimated too."""

_FAR = 20.0  # times the typical value, either way
_LOWEST_READING = 40.0  # what a sensor reports at the least; a start below it would have no logarithm


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
    """Values taken from the population because nobody stated them."""
    notes: tuple[str, ...]
    """What a reader of the result should know: values ignored, assumed, estimated along."""

    @property
    def prior(self) -> dict[str, np.ndarray]:
        """Values near which a fit holds what is on board at the start, where that is free."""
        return {symbol: value for symbol, value in self.start.items() if symbol in INITIAL_STATES}

    def redraw(self, key: Key) -> dict[str, np.ndarray]:
        """Other starts for the named parameters, drawn as the first were; the rest starts where it did."""
        return {s: v if s not in self.named or s == "G0" else _draw(self.names, s, key) for s, v in self.start.items()}


def patient_key(key: Key, name: str) -> Key:
    """A key of the patient's own: it does not depend on who else is in the cohort."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def pose(
    patients: Sequence[Patient],
    *,
    mode: Mode,
    free: Sequence[str] = (),
    key: Key,
    assume_population: bool = False,
    estimate_initial_state: bool = False,
) -> Problem:
    """Settle what is known and what is free, before any long work.

    Args:
        patients: the cohort.
        mode: forward or inverse.
        free: symbols to estimate; none in forward mode, at least one in inverse mode. A value that a patient
            asserts for one of them is ignored.
        key: from which the starts are drawn, uniformly in each parameter's range.
        assume_population: take what nobody stated from the middle of the population's range.
        estimate_initial_state: estimate insulin and food on board at the start too (`INITIAL_STATES`).

    Returns:
        The problem. `G0` needs no naming: where a patient does not state it, it is estimated along, starting
        at the first fit reading.

    Raises:
        ValueError: naming the parameter and the patients, where a symbol is unknown, a value is missing or not
            plausible in its unit, or a patient has fewer readings than unknowns.
        UnidentifiableError: where glucose cannot tell the free parameters apart.
    """
    free = tuple(dict.fromkeys(free))
    _check_names(mode, free)
    if not patients:
        raise ValueError("no patient is selected")
    _check_readings(patients, free)
    _check_plausible(patients, free)
    check_identifiable(patients, free)
    settled = _settle(patients, free, assume_population)
    known, notes = settled.known, settled.notes
    names = tuple(patient.name for patient in patients)
    starts = {symbol: _draw(names, symbol, key) for symbol in free if symbol != "G0"}
    if "G0" in free or "G0" not in known:
        if "G0" not in free:
            notes.append("G0 is not stated for every patient: it is estimated along, starting at the first fit reading")
        known.pop("G0", None)
        starts["G0"] = np.array([_first_fit_reading(patient) for patient in patients])
    if estimate_initial_state:
        c = (known["kl"] if "kl" in known else starts["kl"]) - _kb(known, starts)
        equilibrium = np.maximum(c, 0.05) / (known["ksi"] if "ksi" in known else starts["ksi"])
        typical = {symbol: np.full(len(patients), INITIAL_STATES[symbol].start_low) for symbol in INITIAL_STATES}
        starts |= typical | {"S0": equilibrium, "I0": equilibrium}
        notes.append(
            "insulin and food on board at the start (S0, I0, E0, D0) are estimated along, with a wide prior near rest"
        )
    return Problem(
        names=names,
        mode=mode,
        named=free,
        known=known,
        start=starts,
        assumed=settled.assumed,
        notes=tuple(notes),
    )


def _check_names(mode: Mode, free: tuple[str, ...]) -> None:
    unknown = [symbol for symbol in free if symbol not in PARAMETERS]
    if unknown:
        raise ValueError(f"unknown parameter {', '.join(unknown)}; one can estimate {', '.join(PARAMETERS)}")
    if mode == "forward" and free:
        raise ValueError(f"forward mode estimates no parameter, but {', '.join(free)} is named; use mode inverse")
    if mode == "inverse" and not free:
        raise ValueError("inverse mode needs at least one parameter to estimate, for example ksi")


def _check_readings(patients: Sequence[Patient], free: tuple[str, ...]) -> None:
    count = {p.name: int(split(p.time_min, p.valid).fit.sum()) for p in patients}
    unknown = {p.name: len({*free, *([] if "G0" in p.known else ["G0"])}) for p in patients}
    few = {name: n for name, n in count.items() if n <= unknown[name]}
    if free and few:
        enough = [name for name in count if name not in few]
        lines = [f"{name} has {n}" for name, n in few.items()]
        rest = f"; leave it out and take {_some(enough)}" if enough else ""
        raise ValueError(
            f"too few readings to estimate {', '.join(free)}: {'; '.join(lines[:5])} before the forecast start{rest}"
        )


def _check_plausible(patients: Sequence[Patient], free: tuple[str, ...]) -> None:
    """A value twenty times off what people have is one in another unit."""
    found = []
    for symbol, row in PARAMETERS.items():
        low, high = row.typical / _FAR, row.typical * _FAR
        odd = {p.name: p.known[symbol] for p in patients if symbol in p.known and not low <= p.known[symbol] <= high}
        found += [
            f"{row.column} of {name} = {value:g} {row.unit} (people have {row.low:g} to {row.high:g})"
            for name, value in odd.items()
            if symbol not in free and symbol != "G0"
        ]
    if found:
        raise ValueError(f"far from what people have, is the unit another? {'; '.join(found[:8])}")


@dataclasses.dataclass
class _Settlement:
    """Values as they are settled, parameter by parameter."""

    known: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    assumed: dict[str, float] = dataclasses.field(default_factory=dict)
    missing: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def assume(self, symbol: str, lacking: Sequence[str]) -> float:
        row = PARAMETERS[symbol]
        self.assumed[symbol] = row.typical
        self.notes.append(f"{symbol} = {row.typical:.4g} {row.unit} is assumed for {_some(lacking)}")
        return row.typical


def _settle(patients: Sequence[Patient], free: tuple[str, ...], assume_population: bool) -> _Settlement:
    settled = _Settlement()
    names = [patient.name for patient in patients]
    for symbol in PARAMETERS:
        stated = np.array([patient.known.get(symbol, np.nan) for patient in patients])
        lacking = [name for name, value in zip(names, stated, strict=True) if np.isnan(value)]
        if symbol in free:
            if len(lacking) < len(patients):
                settled.notes.append(f"{symbol} is to be estimated: the values stated for it are ignored")
        elif symbol in ("M", "kb"):
            continue  # one parameter in two guises: settled below
        elif not lacking:
            settled.known[symbol] = stated
        elif symbol == "G0":
            continue  # estimated along
        elif assume_population:
            settled.known[symbol] = np.where(np.isnan(stated), settled.assume(symbol, lacking), stated)
        else:
            settled.missing[symbol] = lacking
    if not {"kb", "M"} & set(free):
        kb = np.array([p.known.get("kb", KB_BODY_MASS / p.known.get("M", np.nan)) for p in patients])
        lacking = [name for name, value in zip(names, kb, strict=True) if np.isnan(value)]
        if lacking and assume_population:
            kb = np.where(np.isnan(kb), KB_BODY_MASS / settled.assume("M", lacking), kb)
        elif lacking:
            settled.missing["M or kb"] = lacking
        settled.known["kb"] = kb
    if settled.missing:
        lines = [f"{symbol} (for {_some(lacking)})" for symbol, lacking in settled.missing.items()]
        raise ValueError(
            f"neither stated nor to be estimated: {'; '.join(lines)}. State it in patients.csv, name it among the "
            "parameters to estimate, or take the population's value with --assume-population"
        )
    return settled


def _kb(known: Mapping[str, np.ndarray], starts: Mapping[str, np.ndarray]) -> np.ndarray:
    both = {**known, **starts}
    return both["kb"] if "kb" in both else KB_BODY_MASS / both["M"]


def _draw(names: Sequence[str], symbol: str, key: Key) -> np.ndarray:
    row = PARAMETERS[symbol]
    index = list(PARAMETERS).index(symbol)
    u = [float(jax.random.uniform(jax.random.fold_in(patient_key(key, name), index))) for name in names]
    return row.start_low + (row.start_high - row.start_low) * np.asarray(u, dtype=np.float64)


def _first_fit_reading(patient: Patient) -> float:
    fit = split(patient.time_min, patient.valid).fit
    return max(float(patient.glucose_mg_dL[fit][0]), _LOWEST_READING)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
