"""What is found of each person by the stochastic model."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .._by_name import ByName
from .._html import html_table
from .._words import counted, folded
from ..records import SYMBOLS, Cost, Estimate, Outcome, WithOutcome, legend_line, quantity
from ._hyper import Form
from ._person import Person


class Joint(NamedTuple):
    """Constants and states at the end of training as one normal distribution.

    ```
    z ~ N(z0, C),   x | z ~ N(m + J (z - z0), P):   var(x) = P + J C J',   cov(x, z) = J C
    ```

    with `C` the inverse curvature of the readings' likelihood and the prior, `m` and `P` the filter's at `z0`, and `J`
    the slope of `m` by the constants. The filter alone takes the constants for known.
    """

    mean: Float[np.ndarray, " all"]
    """Standardised logarithms of the constants, then the states, in the order of the form."""
    cov: Float[np.ndarray, "all all"]
    """Their covariance."""


@dataclasses.dataclass(frozen=True, eq=False)
class PatientStateSpace(WithOutcome):
    """The stochastic model of one person."""

    name: str
    """The patient."""
    outcome: Outcome
    """How the optimiser ended."""
    train_until_min: float
    """Nothing after this time was seen, min on the record's clock."""
    constants: Mapping[str, Estimate]
    """Constants by symbol, in the units of `HYPERPARAMETERS` and of the physiology's table; prior medians as initial
    values. The errors (`white_error`) are those of the marginal likelihood and the prior, from the curvature that is
    expected in the logarithms. Where `horizons_min` counted, constants are those that forecast best, and may lie many
    errors from those that describe the person best: `standard_error` is withheld. `horizons_min=()` gives it."""
    effects: Mapping[str, Estimate]
    """`c` (mg/dL/min), `p1` (mg/dL/U), `q` (mg/dL/g), and `r` (mg/dL/U), which a bolus without carbohydrate on record
    raises: posterior means at the end of training, prior means as initial values; standard errors carry what is not
    known of the constants (`together`)."""
    log_likelihood: float
    """Marginal log-likelihood of the training readings, without unit."""
    readings: int
    """How many they are."""
    steps: int
    """Steps of the optimiser."""
    person: Person
    """Level and priors."""
    form: Form
    """Form of the model."""
    joint: Joint
    """What is known of constants and states together."""

    def __repr__(self) -> str:
        trouble = "" if self.ok else f"; failed: {self.message}"
        return f"PatientStateSpace({self.name}: {self.readings} readings, {self.steps} steps{trouble})"

    def _repr_html_(self) -> str:
        rows = [row[1:] for row in _constant_rows(self)]
        return html_table(f"Stochastic model of {self.name}", _CONSTANTS[1:], rows, notes=[_legend([self])])


def _legend(patients: Iterable["PatientStateSpace"]) -> str:
    """What the symbols mean, for below a table."""
    patients = list(patients)
    return legend_line((s for p in patients for s in (*p.constants, *p.effects)), patients[0].form.symbols)


def _in_words(patient: PatientStateSpace) -> str:
    """What was found of a person, in lines of a terminal."""
    rows = {**SYMBOLS, **patient.form.symbols}
    found = {**patient.effects, **patient.constants}
    listed = ", ".join(f"{s} {quantity(f'{e.value:.3g}', rows[s].unit)}" for s, e in found.items())
    return folded(f"{patient.name}: {listed}" if patient.ok else f"{patient.name} failed: {patient.message}")


_PRINTED = 10  # people
_CONSTANTS = ("patient", "symbol", "unit", "value", "standard error", "prior")


def _constant_rows(patient: PatientStateSpace) -> list[tuple[object, ...]]:
    """What a notebook shows of a model, in the order of `_CONSTANTS`."""
    rows = {**SYMBOLS, **patient.form.symbols}
    return [
        (patient.name, symbol, rows[symbol].unit, e.value, e.standard_error, e.initial)
        for symbol, e in {**patient.constants, **patient.effects}.items()
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class StateSpaceFit(ByName[PatientStateSpace]):
    """The stochastic models of a cohort."""

    form: Form
    """Form of the model."""
    patients: tuple[PatientStateSpace, ...]
    """One per patient, in order."""
    cost: Cost
    """Wall time."""

    def __repr__(self) -> str:
        failed = sum(not patient.ok for patient in self.patients)
        trouble = f", {failed} failed" if failed else ""
        return f"StateSpaceFit({counted(len(self), 'patient')}{trouble}; {self.cost})"

    def __str__(self) -> str:
        more = [f"and {len(self) - _PRINTED} more"] * (len(self) > _PRINTED)
        return "\n".join([repr(self), *(_in_words(p) for p in self.patients[:_PRINTED]), *more])

    def _repr_html_(self) -> str:
        notes = [f"{p.name} failed: {p.message}" for p in self if not p.ok]
        rows = [row for p in self for row in _constant_rows(p)]
        return html_table(repr(self), _CONSTANTS, rows, notes=[_legend(self), *notes])


def root(cov: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """A matrix whose product with its own transpose is a covariance, which rounding may have left slightly negative."""
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))
