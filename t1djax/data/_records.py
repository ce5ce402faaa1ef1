"""Patients as people know them, and the same as the arrays that compiled programs see."""

import collections
import dataclasses
import datetime as dt
import functools
from collections.abc import Iterable, Mapping, Sequence

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._by_name import ByName
from .._html import html_table
from .._plotted import Plotted
from .._words import counted, folded
from ..physics import PHYSIOLOGIES, AbstractPhysiology, Doses, Inputs, count_steps, has_symbol, table_with
from ._splits import Masks, split


@dataclasses.dataclass(frozen=True, eq=False)
class Patient(Plotted):
    """One person's record: readings, doses, and what is asserted of the physiology.

    There is no truth in it: that of a synthetic patient travels apart, as `Truth`.

    Raises:
        TypeError: where times or readings are no arrays.
        ValueError: naming the patient and the field, where columns differ in length, time does not increase,
            there is no reading at all, or an asserted parameter is unknown or not a finite number.
    """

    name: str
    """Who it is; the name of the file."""
    time_min: Float[np.ndarray, " rows"]
    """Times of the rows, min, increasing. A row may carry a reading, a dose, or neither."""
    glucose_mg_dL: Float[np.ndarray, " rows"]
    """CGM readings, mg/dL; NaN where a row has none. Simulated ones may be below zero, where the noise takes them; of
    files, recordings with such readings are refused, and tables remarked on."""
    doses: Doses
    """Insulin and meals."""
    known: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Asserted parameters by symbol, in the units of the physiology's table; what is absent is unknown."""
    start: dt.datetime | None = None
    """Clock time of minute zero, where the record has one."""

    def __post_init__(self) -> None:
        for field in ("time_min", "glucose_mg_dL"):
            if not isinstance(value := getattr(self, field), np.ndarray):
                what = f"patient {self.name}: {field} must be an array of NumPy, not {type(value).__name__}"
                raise TypeError(f"{what}; numpy.asarray makes one of a list")
        if self.time_min.shape != self.glucose_mg_dL.shape:
            raise ValueError(f"patient {self.name}: time_min and glucose_mg_dL differ in length")
        if len(self.time_min) < 2 or not np.all(np.diff(self.time_min) > 0):
            raise ValueError(f"patient {self.name}: time_min must have two rows or more and increase")
        if not np.all(np.isfinite(self.time_min)):
            raise ValueError(f"patient {self.name}: time_min has what is no finite number; leave those rows out")
        if np.any(np.isinf(self.glucose_mg_dL)):
            raise ValueError(f"patient {self.name}: glucose_mg_dL is infinite; NaN stands for no reading")
        if not np.any(self.valid):
            raise ValueError(f"patient {self.name}: glucose_mg_dL has no reading at all")
        for symbol, value in self.known.items():
            if not has_symbol(symbol):
                raise ValueError(f"patient {self.name}: unknown parameter {symbol!r}; no physiology has it")
            if isinstance(value, str) or not np.isfinite(value):
                raise ValueError(f"patient {self.name}: {symbol} is {value!r}, which is not a finite number")

    @property
    def valid(self) -> Bool[np.ndarray, " rows"]:
        """Which rows carry a reading."""
        return np.isfinite(self.glucose_mg_dL)

    @functools.cached_property
    def masks(self) -> Masks:
        """Which readings a fit may see, and which judge it; see `split`."""
        return split(self.time_min, self.valid)

    @functools.cached_property
    def _rates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.doses.rates(float(self.time_min[0]), float(self.time_min[-1]))

    @functools.cached_property
    def _earlier(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        return self.doses.earlier(float(self.time_min[0]))

    def __repr__(self) -> str:
        hours = (self.time_min[-1] - self.time_min[0]) / 60
        return f"Patient({self.name}: {int(self.valid.sum())} readings over {hours:.1f} h)"

    def _repr_html_(self) -> str:
        facts = {name: cell for name, cell in zip(_FACTS, _facts(self), strict=True) if name != "patient"}
        units = _units(self.known)
        asserted = {f"{s}, {units[s]}" if s in units else s: float(x) for s, x in self.known.items()}
        return html_table(f"Patient {self.name}", ["fact", "value"], [*facts.items(), *asserted.items()])


def _units(symbols: Iterable[str]) -> dict[str, str]:
    """Units by symbol, where one of the package's physiologies has all of them."""
    return {symbol: row.unit for symbol, row in (table_with(symbols) or {}).items()}


_FACTS = ("patient", "readings", "span, h", "glucose, mg/dL", "boluses, U", "meals, g", "known")


def _facts(patient: Patient) -> tuple[object, ...]:
    """What a notebook shows of a patient, in the order of `_FACTS`."""
    low, median, high = np.percentile(patient.glucose_mg_dL[patient.valid], [0, 50, 100])
    doses = patient.doses
    first, last = float(patient.time_min[0]), float(patient.time_min[-1])
    inside = lambda times, amounts: amounts[(times >= first) & (times <= last) & (amounts > 0)]
    boluses, meals = inside(doses.bolus_time_min, doses.bolus_U), inside(doses.meal_time_min, doses.carbs_g)
    return (
        patient.name,
        int(patient.valid.sum()),
        (last - first) / 60,
        f"{median:.0f} ({low:.0f} to {high:.0f})",
        f"{boluses.sum():.4g} in {len(boluses)}",
        f"{meals.sum():.4g} in {len(meals)}",
        ", ".join(patient.known) or "nothing",
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """What only a simulation knows of a patient. Scoring reads it; nothing else does."""

    parameters: Mapping[str, float]
    """True parameters by symbol, in the units of the physiology's table."""
    glucose_mg_dL: Float[np.ndarray, " rows"]
    """Glucose without sensor noise at the patient's rows, mg/dL."""
    states: Mapping[str, Float[np.ndarray, " rows"]]
    """Other states of the physiology at the rows, by column; see `state_columns`."""

    def __repr__(self) -> str:
        units = _units(self.parameters)
        values = (f"{s} {value:.4g} {units.get(s, '')}".rstrip() for s, value in self.parameters.items())
        return folded(f"Truth({', '.join(values)})")


@dataclasses.dataclass(frozen=True, eq=False)
class Cohort(ByName[Patient]):
    """Patients in order, and the truth of those that are simulated.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=5)
        >>> cohort.names[:2], len(cohort)
        (('Pat2', 'Pat3'), 10)

    Raises:
        ValueError: where two patients have one name.
    """

    patients: tuple[Patient, ...]
    """The patients."""
    truth: Mapping[str, Truth] = dataclasses.field(default_factory=dict)
    """Truth by patient name; empty for real people."""

    def __post_init__(self) -> None:
        twice = [name for name, count in collections.Counter(self.names).items() if count > 1]
        if twice:
            raise ValueError(f"cohort: more than one patient is called {', '.join(sorted(twice))}")

    @classmethod
    def of(cls, patients: "Cohort | Patient | Iterable[Patient]") -> "Cohort":
        """Patients as a cohort; one that is given comes back as it is.

        Args:
            patients: a cohort, one patient, or several.

        Returns:
            The cohort.

        Raises:
            ValueError: where two patients have one name.

        Example:
            >>> import t1djax
            >>> cohort = t1djax.reference_cohort(interval_min=60)
            >>> t1djax.Cohort.of([cohort["Pat3"], cohort["Pat2"]]).names
            ('Pat3', 'Pat2')
        """
        if isinstance(patients, Cohort):
            return patients
        return cls((patients,) if isinstance(patients, Patient) else tuple(patients))

    def __repr__(self) -> str:
        return f"Cohort({counted(len(self), 'patient')}: {', '.join(self.names[:5])}{', ...' if len(self) > 5 else ''})"

    def _repr_html_(self) -> str:
        simulated = f", {len(self.truth)} with a known truth" if self.truth else ""
        return html_table(f"Cohort of {counted(len(self), 'patient')}{simulated}", _FACTS, map(_facts, self))

    def select(self, names: Iterable[str]) -> "Cohort":
        """The cohort of the named patients, in the order given.

        Args:
            names: patients of this cohort.

        Returns:
            A cohort of these patients, with their truth where it is known.

        Raises:
            KeyError: naming the patient that is not there.
        """
        chosen = tuple(self[name] for name in names)
        return Cohort(chosen, {p.name: self.truth[p.name] for p in chosen if p.name in self.truth})

    def take(self, which: Sequence[int]) -> "Cohort":
        """The cohort of some patients, by position; `cohort[:3]` is that of the first three."""
        return self.select(self.names[i] for i in which)

    def asserting(self, known: Mapping[str, float]) -> "Cohort":
        """The cohort with these parameters asserted of everybody, in place of what was asserted before.

        Args:
            known: values by symbol, in their units. What stands for a parameter (`Facts.proxies`), as the body mass
                does for one of `Magdelaine`, and the parameter are one: each replaces the other.

        Returns:
            A new cohort; this one stays as it is.

        Raises:
            ValueError: where two that are one contradict each other, a parameter is unknown, or a value is not finite.
        """
        for body in PHYSIOLOGIES.values():
            if odd := body.contradiction(known):
                raise ValueError(odd)
        pairs = [row.pair for body in PHYSIOLOGIES.values() for row in body.facts.proxies]
        gone = {symbol for pair in pairs if pair & set(known) for symbol in pair}
        before = ({s: value for s, value in patient.known.items() if s not in gone} for patient in self.patients)
        each = (dataclasses.replace(p, known={**b, **known}) for p, b in zip(self.patients, before, strict=True))
        return Cohort(tuple(each), self.truth)


class Series(eqx.Module):
    """Readings, masks and inputs of one patient as arrays; `stack` makes a cohort of them for `vmap`.

    Rows that pad a patient to the cohort's length repeat the last time and are in no mask.
    """

    time_min: Float[Array, "*batch rows"]
    """Times of the rows, min."""
    glucose_mg_dL: Float[Array, "*batch rows"]
    """Readings, mg/dL; a finite placeholder where there is none, so that no gradient meets a NaN."""
    valid: Bool[Array, "*batch rows"]
    """Whether the row carries a reading."""
    fit: Bool[Array, "*batch rows"]
    """Readings that a fit may see."""
    held_out: Bool[Array, "*batch rows"]
    """Readings inside the window that it may not see."""
    forecast: Bool[Array, "*batch rows"]
    """Readings after the forecast start, which it may not see."""
    inputs: Inputs
    """Insulin and carbohydrate rates."""

    @property
    def start_min(self) -> Float[Array, "*batch"]:
        """Start of the window, min: the first row."""
        return self.time_min[..., 0]

    @property
    def end_min(self) -> Float[Array, "*batch"]:
        """End of the window, min: the last row."""
        return self.time_min[..., -1]


def series(patient: Patient) -> Series:
    """The arrays of one patient, in JAX's current default precision.

    Args:
        patient: the record.

    Returns:
        Readings, masks and inputs, without padding: one row per row of the record.
    """
    return _as_series(_columns(patient), patient._rates, patient._earlier)


def stacked_shape(patients: Sequence[Patient]) -> tuple[int, int, int]:
    """Rows, input breaks, and breaks of what was given earlier per patient of `stack(patients)`."""
    rows = max(len(patient.time_min) for patient in patients)
    breaks = max(len(patient._rates[0]) for patient in patients)
    earlier = max(0 if patient._earlier is None else len(patient._earlier[0]) for patient in patients)
    return _round_up(rows), _round_up(breaks), _round_up(earlier)


class PatientArrays:
    """The arrays of patients, made for the rows that are asked for; all parts have one shape."""

    def __init__(self, patients: Sequence[Patient]) -> None:
        self.patients, self.shape = patients, stacked_shape(patients)

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, rows: slice | Int[np.ndarray, " rows"]) -> Series:
        """The arrays of these patients, by position, stacked."""
        return stack([self.patients[i] for i in np.arange(len(self))[rows]], least=self.shape)


def steps_needed(patients: Sequence[Patient], body: type[AbstractPhysiology]) -> int | None:
    """Room for steps that a body needs on the longest of these records; None where its solution is exact."""
    if body.facts.exact:
        return None
    return max(count_steps(p.time_min, p._rates[0], body.step_min) for p in patients)


def stack(patients: Sequence[Patient], *, least: tuple[int, int, int] = (0, 0, 0)) -> Series:
    """The arrays of a cohort, padded to the longest record and the largest number of input breaks.

    Every leaf gains a leading axis of patients. Lengths are rounded up to a multiple of 16 so that similar
    cohorts share one compiled program.

    Args:
        patients: the cohort.
        least: `stacked_shape` that there shall be at the least, so that parts of a cohort share their shape.

    Returns:
        The arrays. Rows and breaks that pad have no readings and count nowhere.

    Raises:
        ValueError: where there is no patient.
    """
    if not patients:
        raise ValueError("stack: give at least one patient")
    # On the host until the end: a device call for each leaf of each patient would take longer than the fit.
    rows, breaks, before = map(max, least, stacked_shape(patients))
    each = [_columns(patient) for patient in patients]
    columns = {name: np.stack([_pad(one[name], rows) for one in each]) for name in each[0]}
    together = lambda rates, length: tuple(np.stack([_pad(x, length) for x in one]) for one in zip(*rates, strict=True))
    earlier = [p._earlier or (p.time_min[:1], np.zeros(1), np.zeros(1)) for p in patients] if before else []
    return _as_series(
        columns, together([p._rates for p in patients], breaks), together(earlier, before) if before else None
    )


def _columns(patient: Patient) -> dict[str, np.ndarray]:
    # The placeholder is a reading that the fit sees anyway, so that nothing else leaks through it.
    placeholder = patient.glucose_mg_dL[patient.valid][0]
    return {
        "time_min": patient.time_min,
        "glucose_mg_dL": np.where(patient.valid, patient.glucose_mg_dL, placeholder),
        "valid": patient.valid,
        **patient.masks._asdict(),
    }


def _as_series(
    columns: Mapping[str, np.ndarray], rates: Sequence[np.ndarray], earlier: Sequence[np.ndarray] | None
) -> Series:
    before = None if earlier is None else Inputs.of(*earlier)
    inputs = dataclasses.replace(Inputs.of(*rates), earlier=before)
    return Series(**{name: jax.device_put(column) for name, column in columns.items()}, inputs=inputs)


def _round_up(n: int) -> int:
    return -(-n // 16) * 16


def _pad(column: np.ndarray, length: int) -> np.ndarray:
    """Numbers repeat their last value; masks are false."""
    padded = np.zeros(length, column.dtype)
    padded[: len(column)] = column
    if column.dtype != bool:
        padded[len(column) :] = column[-1]
    return padded
