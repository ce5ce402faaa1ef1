"""What the data can tell: a report per patient, and likelihoods along one parameter."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from .._by_name import ByName
from .._html import html_table
from .._plotted import Plotted
from .._words import counted, folded
from ._symbols import Symbol, legend_line

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal[
    "determined",
    "weakly determined",
    "not determined",
    "set by the prior",
    "set by an assumption",
    "at its bound",
    "model misfit",
]
"""*determined*: within 10 %; *weakly*: within 50 % (one robust standard deviation); *set by an assumption*:
it would be one of these if the assumed balance were the patient's; *model misfit*: it would be one of these if
the model held, but the model misses the readings by more than a sensor does."""

_AS_GOOD_AS_OPEN = 20.0  # logarithm of the ratio of an interval's ends


class Misfit(NamedTuple):
    """What a fit leaves of its readings, beside what a sensor's noise explains."""

    rms_mg_dL: float
    """Root mean square of the residuals, mg/dL."""
    sensor_mg_dL: float
    """Standard deviation of the sensor's noise, mg/dL: stated, or 10, or the roughness of the readings if larger."""
    chi_square: float
    """Residuals squared over that noise squared, per degree of freedom; without unit."""
    limit: float
    """The largest that noise explains, autocorrelation and doubt about the sensor allowed for; without unit."""

    @property
    def found(self) -> bool:
        """Whether the model misses the readings by more than noise explains."""
        return not self.chi_square <= self.limit

    @property
    def words(self) -> str:
        """The finding in a sentence."""
        most = self.sensor_mg_dL * np.sqrt(self.limit)
        says = "which the model does not describe" if self.found else "as a sensor's noise may"
        return (
            f"the fit misses its readings by {self.rms_mg_dL:.3g} mg/dL rms, {says}: noise of "
            f"{self.sensor_mg_dL:.3g} mg/dL explains up to {most:.3g}"
        )


def interval_words(low: float | None, high: float | None) -> str:
    """An interval as people read it, without infinities; None is infinite, as in JSON.

    Example:
        >>> from t1djax.records import interval_words
        >>> interval_words(2.0, 3.5), interval_words(0.0, float("inf")), interval_words(2.0, None)
        ('2 to 3.5', 'the readings do not say', 'from 2 up')
    """
    least, most = (-np.inf if low is None else low), (np.inf if high is None else high)
    if least > 0 and np.isfinite(most):
        least = least if np.log(most) - np.log(least) <= _AS_GOOD_AS_OPEN else -np.inf
        most = most if np.isfinite(least) else np.inf
    if np.isfinite(least) and np.isfinite(most):
        return f"{least:.4g} to {most:.4g}"
    if np.isfinite(most):
        return f"up to {most:.4g}"
    return f"from {least:.4g} up" if np.isfinite(least) and least != 0 else "the readings do not say"


def person_of(name: str, people: Collection[str]) -> str | None:
    """Whose record or window this is: of `NAME`, or of `NAME@0012h` as `windows` calls them; None where nobody's.

    Example:
        >>> from t1djax.records import person_of
        >>> person_of("Ada@0012h", ["Ada"]), person_of("Bo", ["Ada"])
        ('Ada', None)
    """
    return next((whole for whole in (name, name.rpartition("@")[0]) if whole in people), None)


class Determination(NamedTuple):
    """How well one quantity of one patient is known. Percentages are one standard deviation of its logarithm."""

    symbol: str
    """The parameter, or what follows from parameters."""
    unit: str
    """Its unit."""
    meaning: str
    """What it is, in words."""
    value: float
    """Where it stands, in its unit."""
    bound_percent: float
    """Cramer-Rao bound from the readings alone under white noise, %; infinite where they tell nothing."""
    error_percent: float
    """Standard error with the priors, under white noise, %."""
    robust_percent: float
    """The same for noise with the autocorrelation of the residuals, %."""
    white_interval: tuple[float, float]
    """Interval under white noise, in the unit of the value."""
    interval: tuple[float, float]
    """Interval for autocorrelated noise: the one to use."""
    verdict: Verdict
    """In a word."""
    reason: str
    """Why, in a sentence."""


class Direction(NamedTuple):
    """A way in which parameters can move with little or no change of glucose."""

    structural: bool
    """Whether no reading of any precision would help."""
    undetermined: Mapping[str, float]
    """Exponents of the product of powers that stays open; for differences, of the change of the logarithms."""
    percent: float
    """One standard deviation of its logarithm, from the readings alone, %; infinite where they tell nothing."""
    determined: str
    """The combination of the same parameters that the readings do tell; empty where there is none."""
    determined_percent: float
    """One standard deviation of that, %."""
    words: str
    """The whole in a sentence."""


class WhatIf(NamedTuple):
    """What a change of the data would bring."""

    change: str
    """The change, in words."""
    percent: Mapping[str, tuple[float, float]]
    """Robust standard error (noise as the residuals are, with the priors) before and after, %, by symbol."""


@dataclasses.dataclass(frozen=True, eq=False)
class PatientIdentification(Plotted):
    """What the readings of one patient tell of the parameters asked for."""

    name: str
    """The patient."""
    parameters: Mapping[str, Determination]
    """By symbol, in sorted order: what is free."""
    derived: Mapping[str, Determination]
    """`p1` (mg/dL/U) and `c` (mg/dL/min), where something in them is free."""
    rank: int
    """Of the Fisher information of the logarithms: how many directions the readings tell anything of."""
    condition: float
    """Its condition number, without unit; infinite where the rank is short."""
    noise_sd_mg_dL: float
    """Noise of the readings, mg/dL: given, or estimated."""
    autocorrelation: float
    """Of the residuals, from one reading to the next, without unit; zero where it cannot be told from zero."""
    correlation: Float[np.ndarray, "free free"]
    """Of the estimates' logarithms, with the priors, in the order of `parameters`; without unit."""
    directions: tuple[Direction, ...]
    """Structural ones first, then weak ones, the weakest first."""
    what_if: tuple[WhatIf, ...]
    """What other data would bring."""
    warnings: tuple[str, ...]
    """What a reader must know before using the numbers."""
    misfit: Misfit | None = None
    """What the fit leaves of its readings; None before a fit."""

    @property
    def inflation(self) -> float:
        """How many times too small the standard errors for white noise are, at the worst."""
        ratios = [d.robust_percent / d.error_percent for d in self.parameters.values() if d.error_percent > 0]
        return max([r for r in ratios if np.isfinite(r)], default=1.0)

    @property
    def line(self) -> str:
        """The verdicts in one line."""
        return f"{self.name}: {self.verdict}"

    @property
    def verdict(self) -> str:
        """What the readings tell, in one line; first of all where the model does not describe them."""
        misfit = "the model does not describe these readings; " if self.misfit is not None and self.misfit.found else ""
        return misfit + "; ".join(_in_words(d) for d in self.parameters.values())

    def __repr__(self) -> str:
        return folded(f"PatientIdentification({self.line})")

    def _repr_html_(self) -> str:
        rows = [row[1:] for row in _verdict_rows(self)]
        return html_table(
            f"What the readings tell of {self.name}",
            _VERDICTS[1:],
            rows,
            notes=[legend_line(*_meanings([self])), *self.warnings],
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain dictionaries, lists and numbers; infinities stay."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain["parameters"] = {s: d._asdict() for s, d in self.parameters.items()}
        plain["derived"] = {s: d._asdict() for s, d in self.derived.items()}
        plain["correlation"] = self.correlation.tolist()
        plain["directions"] = [d._asdict() | {"undetermined": dict(d.undetermined)} for d in self.directions]
        plain["what_if"] = [{"change": w.change, "percent": dict(w.percent)} for w in self.what_if]
        plain["misfit"] = None if self.misfit is None else self.misfit._asdict() | {"found": self.misfit.found}
        return plain | {"inflation": self.inflation}


_VERDICTS = ("patient", "symbol", "unit", "value", "interval", "robust error, %", "verdict", "reason")


def _verdict_rows(patient: PatientIdentification) -> list[tuple[object, ...]]:
    """What a notebook shows of the verdicts, in the order of `_VERDICTS`."""
    return [
        (patient.name, d.symbol, d.unit, d.value, interval_words(*d.interval), d.robust_percent, d.verdict, d.reason)
        for d in [*patient.parameters.values(), *patient.derived.values()]
    ]


def _meanings(patients: Iterable[PatientIdentification]) -> tuple[list[str], dict[str, Symbol]]:
    """Symbols in order, and what they stand for."""
    found = {d.symbol: Symbol(d.unit, d.meaning) for p in patients for d in {**p.parameters, **p.derived}.values()}
    return list(found), found


def _in_words(d: Determination) -> str:
    return f"{d.symbol} {d.verdict}" + (f" (±{d.robust_percent:.2g} %)" if d.robust_percent < 1000 else "")


@dataclasses.dataclass(frozen=True, eq=False)
class Identification(ByName[PatientIdentification]):
    """The report of a cohort: what its data tell, patient by patient."""

    patients: tuple[PatientIdentification, ...]
    """One record each, in the order of the cohort."""
    level: float
    """Probability of the intervals, such as 0.9; without unit."""
    notes: tuple[str, ...] = ()
    """What was assumed or ignored on the way."""

    def __repr__(self) -> str:
        return f"Identification({self.verdict})"

    def _repr_html_(self) -> str:
        rows = [row for patient in self for row in _verdict_rows(patient)]
        title = f"What the readings tell of {counted(len(self), 'patient')}, intervals of {100 * self.level:.3g} %"
        return html_table(
            title,
            _VERDICTS,
            rows,
            notes=[legend_line(*_meanings(self)), *self.notes],
        )

    @property
    def verdict(self) -> str:
        """The cohort in one line: how many patients have each parameter determined, and what hinders the others."""
        counts: dict[str, dict[str, int]] = {}
        for patient in self.patients:
            for d in patient.parameters.values():
                by = counts.setdefault(d.symbol, {})
                by[d.verdict] = by.get(d.verdict, 0) + 1
        return tally(counts, len(self.patients))

    def table(self) -> "pd.DataFrame":
        """One row per patient and quantity, with all numbers, the verdict and its reason."""
        import pandas as pd  # noqa: PLC0415 - costs half a second at import

        rows = []
        for patient in self.patients:
            for d in [*patient.parameters.values(), *patient.derived.values()]:
                row: dict[str, Any] = {"patient": patient.name, **d._asdict()}
                for key, name in (("white_interval", "white_"), ("interval", "")):
                    row[f"{name}low"], row[f"{name}high"] = row.pop(key)
                verdict, reason = row.pop("verdict"), row.pop("reason")
                rows.append(row | {"verdict": verdict, "reason": reason})
        return pd.DataFrame(rows)


def tally(counts: Mapping[str, Mapping[str, int]], patients: int) -> str:
    """Verdicts by symbol and how often each was given, in one line."""
    if patients == 1:
        return "; ".join(f"{symbol} {next(iter(by))}" for symbol, by in counts.items())
    return "; ".join(
        f"{symbol} " + ", ".join(f"{verdict} in {n} of {patients}" for verdict, n in by.items())
        for symbol, by in counts.items()
    )


@dataclasses.dataclass(frozen=True, eq=False)
class PatientProfile:
    """The likelihood of one patient along one parameter, everything else fitted anew at each value."""

    name: str
    """The patient."""
    symbol: str
    """The parameter."""
    estimate: float
    """Where the likelihood is largest, in the parameter's unit."""
    low: float
    """Lower end of the interval, in the parameter's unit; zero, or the bound, where the profile is open."""
    high: float
    """Upper end, in the parameter's unit; infinite, or the bound, where the profile is open."""
    open_low: bool
    """Whether no lower value is excluded as far as was looked."""
    open_high: bool
    """Whether no higher value is excluded as far as was looked."""
    values: Float[np.ndarray, " points"]
    """Values of the parameter, in its unit, increasing."""
    excess: Float[np.ndarray, " points"]
    """Rise of minus twice the log posterior above its least, over the squares of noise and inflation; without unit."""
    threshold: float
    """Rise at which the interval ends, without unit."""
    inflation: float
    """Factor on the error for autocorrelated noise, by whose square the rise was divided; without unit."""
    converged: bool
    """Whether every fit along the way converged."""

    @property
    def identifiable(self) -> bool:
        """Whether the profile closes on both sides."""
        return not (self.open_low or self.open_high)

    @property
    def words(self) -> str:
        """The interval in a sentence."""
        if self.identifiable:
            return f"{self.name}: {self.symbol} {self.estimate:.4g}, from {self.low:.4g} to {self.high:.4g}"
        sides = " and ".join(side for side, is_open in (("below", self.open_low), ("above", self.open_high)) if is_open)
        return (
            f"{self.name}: {self.symbol} is practically not identifiable, its profile is open {sides} "
            f"({self.low:.4g} to {self.high:.4g})"
        )

    def __repr__(self) -> str:
        return f"PatientProfile({self.words})"


@dataclasses.dataclass(frozen=True, eq=False)
class Profile(ByName[PatientProfile]):
    """Profile likelihoods of a cohort along one parameter."""

    symbol: str
    """The parameter."""
    level: float
    """Probability of the intervals, without unit."""
    patients: tuple[PatientProfile, ...]
    """One record each, in the order of the cohort."""

    def __repr__(self) -> str:
        closed = sum(p.identifiable for p in self.patients)
        return f"Profile({self.symbol}: {closed} of {len(self)} closed)"

    def _repr_html_(self) -> str:
        rows = [
            (p.name, p.estimate, "open" if p.open_low else p.low, "open" if p.open_high else p.high, p.converged)
            for p in self
        ]
        title = (
            f"Profile likelihood of {self.symbol}, intervals of {100 * self.level:.3g} %, in the unit of {self.symbol}"
        )
        return html_table(title, ["patient", "estimate", "from", "to", "converged"], rows)

    def table(self) -> "pd.DataFrame":
        """One row per patient: estimate, interval, whether it is open."""
        import pandas as pd  # noqa: PLC0415 - costs half a second at import

        names = ("name", "symbol", "estimate", "low", "high", "open_low", "open_high", "inflation", "converged")
        rows = [{name: getattr(p, name) for name in names} for p in self.patients]
        return pd.DataFrame(rows).rename(columns={"name": "patient"})
