"""What a fit returns: estimates and states per patient, the history, what it cost."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Shaped

from .._by_name import ByName
from .._documented import documented
from .._html import html_table
from .._plotted import Plotted
from .._words import counted, folded, some
from ..data import Cohort, Patient
from ..identifiability import Certainty
from ..networks import NetworkOptions
from ..physics import AbstractPhysiology, Magdelaine, physiology_named
from ..problem import Problem
from ..twin import Twin
from ._outcomes import Outcome, WithOutcome
from ._symbols import legend_line, quantity, symbols_of

if TYPE_CHECKING:
    import pandas as pd


@documented
class Estimate(NamedTuple):
    """An estimated parameter of one patient, in the unit of `PARAMETERS`."""

    value: float
    """The estimate."""
    initial: float
    """Where the fit started."""
    standard_error: float | None
    """One standard deviation: `white_error`, widened where the residuals are autocorrelated; None where it was not
    computed, or the model misses its readings by more than a sensor errs."""
    prior_dominated: bool = False
    """Whether the prior rather than the readings sets it: they alone would leave over twice the standard error."""
    at_bound: bool = False
    """Whether it stands at one of its bounds, within 1 %."""
    white_error: float | None = None
    """One standard deviation from the curvature of the fit, were the noise white and the model right."""
    c_assumed: bool = False
    """Whether it goes by a balance (`Facts.balance`) that is assumed, not by the readings alone."""
    undetermined: bool = False
    """Whether neither readings nor priors tell it from others that are free: its value is one of many."""

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> "Estimate":
        """From what `metadata.json` says of a parameter; earlier versions said less.

        Args:
            entry: fields of an estimate by name; those that are missing count as not said.

        Returns:
            The estimate.
        """
        number = lambda x: np.nan if x is None else x
        rest = {name: entry.get(name, cls._field_defaults.get(name)) for name in cls._fields[2:]}
        return cls(number(entry.get("value")), number(entry.get("initial")), **rest)

    @property
    def misfit(self) -> bool:
        """Whether an error is withheld because the model misses its readings by more than a sensor errs."""
        return self.standard_error is None and self.white_error is not None

    @property
    def widened(self) -> bool:
        """Whether its error is wider than white noise would leave it."""
        if self.standard_error is None or self.white_error is None:
            return False
        return self.standard_error > self.white_error

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know before believing it, each in a few words."""
        applies = {
            "glucose does not tell it": self.undetermined,
            "set by its prior": self.prior_dominated,
            "at its bound": self.at_bound,
            "goes by an assumed balance": self.c_assumed,
            "model misfit: no error": self.misfit,
            "error widened: noise is autocorrelated": self.widened,
        }
        return tuple(words for words, true in applies.items() if true)


def estimates_of(
    problem: Problem, certain: Mapping[str, Certainty], values: Mapping[str, Any], starts: Mapping[str, Any]
) -> dict[str, Estimate]:
    """One patient's estimates by symbol, with their errors."""
    return {
        s: Estimate(float(x), float(starts[s]), **certain[s]._asdict(), at_bound=problem.at_bound(s, float(x)))
        for s, x in values.items()
    }


@documented
@dataclasses.dataclass(frozen=True, eq=False)
class PatientFit(WithOutcome, Plotted):
    """The fit of one patient, on the rows of the data."""

    patient: Patient
    """The record that was fitted."""
    outcome: Outcome
    """How the fit ended."""
    estimates: Mapping[str, Estimate]
    """What was estimated, by symbol."""
    derived: Mapping[str, Estimate]
    """What follows from the parameters, such as `p1 = ksi ku_Vi` (mg/dL/U) and `c = kl - kb` (mg/dL/min) of
    `Magdelaine`; empty in forward mode."""
    glucose_mg_dL: Float[np.ndarray, " rows"]
    """Fitted and forecast glucose, mg/dL."""
    states: Mapping[str, Float[np.ndarray, " rows"]]
    """The other states by column: `insulin_U_dL` and `digestion_mg_dL_min` of `Magdelaine`."""
    residuals: Mapping[str, Float[np.ndarray, " rows"]]
    """What the states miss of their equations, by column: `residual_G_mg_dL_min` and so on."""
    gap_mg_dL: float = 0.0
    """Root mean square distance of the fitted glucose from the equations' exact solution under the estimates, mg/dL;
    a network that cannot follow the equations has a large one, and its estimates are then off."""
    body: type[AbstractPhysiology] = Magdelaine
    """The physiology."""

    @property
    def name(self) -> str:
        """The patient."""
        return self.patient.name

    @property
    def time_min(self) -> Float[np.ndarray, " rows"]:
        """Times of the rows, min."""
        return self.patient.time_min

    def frame(self) -> "pd.DataFrame":
        """The states on the rows of the data: `time_min`, `glucose_mg_dL`, and the columns of `states`."""
        import pandas as pd  # noqa: PLC0415 - costs half a second at import

        return pd.DataFrame({"time_min": self.time_min, "glucose_mg_dL": self.glucose_mg_dL, **self.states})

    def arrays(self) -> dict[str, Shaped[np.ndarray, " rows"]]:
        """What `predictions.npz` of a result holds: states, readings, masks, doses and residuals on the rows.

        Returns:
            By name; `bolus_U` and `carbs_g` are what was given from a row to the next.
        """
        patient, masks, d = self.patient, self.patient.masks, self.patient.doses
        edges = [*patient.time_min, np.inf]
        given = lambda times, amounts: np.histogram(times, edges, weights=amounts)[0]
        return {
            "time_min": patient.time_min,
            "glucose_mg_dL": self.glucose_mg_dL,
            **self.states,
            "observed_mg_dL": patient.glucose_mg_dL,
            "mask_fit": masks.fit,
            "mask_held_out": masks.held_out,
            "mask_forecast": masks.forecast,
            "bolus_U": given(d.bolus_time_min, d.bolus_U),
            "carbs_g": given(d.meal_time_min, d.carbs_g),
            **self.residuals,
        }

    @property
    def worse_than_a_constant(self) -> bool:
        """Whether the fit misses its own readings by more than their mean would: the model does not describe them."""
        where = self.patient.masks.fit
        seen = self.patient.glucose_mg_dL[where]
        miss = np.sqrt(np.mean((self.glucose_mg_dL[where] - seen) ** 2))
        return not miss <= max(float(np.std(seen)), 1.0)

    def __repr__(self) -> str:
        rows = symbols_of(self.body)
        number = lambda s, x: quantity(f"{x.value:.4g}", rows[s].unit) + " (not told)" * x.undetermined
        listed = ", ".join(f"{symbol} {number(symbol, x)}" for symbol, x in self.estimates.items())
        trouble = "" if self.ok else f"; failed: {self.message}"
        return folded(f"PatientFit({self.name}: {listed or 'states'}{trouble})")

    def _repr_html_(self) -> str:
        rows = [row[1:] for row in _estimate_rows(self)]
        failed = [] if self.ok else [f"The fit failed: {self.message}"]
        return html_table(f"Fit of {self.name}", _ESTIMATE[1:], rows, notes=[*_legend([self]), *failed])


def record_of(fit: PatientFit, given: Patient | None = None) -> Patient:
    """The record that a fit is of, or the one given in its place.

    Raises:
        ValueError: where the given record is of another patient, or on other rows.
    """
    if given is None:
        return fit.patient
    if given.name != fit.name or not np.array_equal(given.time_min, fit.time_min):
        raise ValueError(
            f"the fit of {fit.name} is on other rows than the record of {given.name}; a fit is kept with its record: "
            "leave the other out"
        )
    return given


def fitted_records(fit: "Fit", given: Cohort | Iterable[Patient] | None = None) -> tuple[Patient, ...]:
    """The records that a fit is of, in its order, or those given in their place; see `record_of`.

    Raises:
        ValueError: where a patient of the fit is not among those given, or on other rows, or two have one name.
    """
    if given is None:
        return tuple(one.patient for one in fit)
    cohort = Cohort.of(given)
    if absent := [name for name in fit.names if name not in cohort.names]:
        raise ValueError(f"the fit is of {', '.join(absent)} too: give the records that were fitted, or none")
    return tuple(record_of(one, cohort[one.name]) for one in fit)


def _legend(patients: Iterable["PatientFit"]) -> list[str]:
    """What the symbols mean, for below a table."""
    every = list(patients)
    return [legend_line((s for p in every for s in (*p.estimates, *p.derived)), symbols_of(every[0].body))]


_ESTIMATE = ("patient", "symbol", "unit", "value", "standard error", "start", "remark")


def _estimate_rows(patient: PatientFit) -> list[tuple[object, ...]]:
    """What a notebook shows of a fit, in the order of `_ESTIMATE`."""
    rows, named = [], symbols_of(patient.body)
    for symbol, e in {**patient.estimates, **patient.derived}.items():
        remarks = [*["fit failed"] * (not patient.ok), *e.remarks]
        start = e.initial if symbol in patient.estimates else None
        rows.append((patient.name, symbol, named[symbol].unit, e.value, e.standard_error, start, ", ".join(remarks)))
    return rows


class History(NamedTuple):
    """The course of a fit, at its start and after each chunk of steps."""

    step: np.ndarray
    """Steps taken, `(points,)`."""
    values: Mapping[str, np.ndarray]
    """Estimates by symbol, `(points, patients)`."""
    losses: Mapping[str, np.ndarray]
    """Loss terms by name, `(points, patients)`."""


class Cost(NamedTuple):
    """Wall time of a fit, s."""

    compile_s: float
    """Tracing and compilation."""
    run_s: float
    """Everything after it."""

    def __str__(self) -> str:
        return f"{self.compile_s:.1f} s to compile, {self.run_s:.1f} s to run"


@documented
@dataclasses.dataclass(frozen=True, eq=False)
class Fit(ByName[PatientFit]):
    """The fit of a cohort.

    Example:
        >>> import t1djax
        >>> fit = t1djax.fit(t1djax.reference_cohort(interval_min=15), model="ode", mode="inverse", free=["ksi"])
        >>> round(fit["Pat3"].estimates["ksi"].value, 3)
        274.0
    """

    model: str
    """`pinn`, `modified_mlp`, `birnn`, `flax`, or `ode`."""
    problem: Problem
    """What was asked: known values, starts, assumptions."""
    patients: tuple[PatientFit, ...]
    """One record per patient, in the order of the cohort."""
    history: History
    """Estimates and losses on the way."""
    cost: Cost
    """What it took."""
    twins: Twin | None = None
    """The trained networks with their physiologies, stacked along the patients; None for `ode`."""
    options: NetworkOptions | None = None
    """Shape of the networks; None for `ode`."""
    cells: int | None = None
    """Collocation cells with which the networks were made, those of the longest record; None for `ode`."""

    def take(self, which: Sequence[int]) -> "Fit":
        """The fit of some of the patients, by position. Its cost is that of the program they shared."""
        at = np.asarray(which)
        part = lambda by_name: {name: values[:, at] for name, values in by_name.items()}
        return dataclasses.replace(
            self,
            problem=self.problem.take(which),
            patients=tuple(self.patients[i] for i in which),
            history=History(self.history.step, part(self.history.values), part(self.history.losses)),
            twins=None if self.twins is None else jax.tree.map(lambda x: np.asarray(x)[at], self.twins),
        )

    @classmethod
    def join(cls, parts: Sequence["Fit"], problem: Problem) -> "Fit":
        """Fits of parts of a cohort as one.

        Args:
            parts: alike but for their patients.
            problem: of the whole cohort, its patients in the order of the parts.

        Returns:
            The fit of all. Its cost is the sum of theirs.
        """
        joined = lambda pick: {name: np.concatenate([pick(p)[name] for p in parts], axis=1) for name in pick(parts[0])}
        history = History(
            np.max([p.history.step for p in parts], axis=0),
            joined(lambda p: p.history.values),
            joined(lambda p: p.history.losses),
        )
        twins = [p.twins for p in parts]
        return dataclasses.replace(
            parts[0],
            problem=problem,
            patients=tuple(patient for part in parts for patient in part),
            history=history,
            cost=Cost(sum(p.cost.compile_s for p in parts), sum(p.cost.run_s for p in parts)),
            twins=None if twins[0] is None else jax.tree.map(lambda *x: np.concatenate(x), *twins),
        )

    def table(self) -> "pd.DataFrame":
        """One row per patient and estimate.

        Columns: `patient, symbol, unit, value, initial, standard_error, prior_dominated, at_bound, white_error,
        c_assumed, ok`. Scores, and errors where the truth is known, are in `summary`.
        """
        import pandas as pd  # noqa: PLC0415 - costs half a second at import

        columns = ["patient", "symbol", "unit", *Estimate._fields, "ok"]
        rows = [
            (patient.name, symbol, symbols_of(patient.body)[symbol].unit, *estimate, patient.ok)
            for patient in self
            for symbol, estimate in {**patient.estimates, **patient.derived}.items()
        ]
        return pd.DataFrame(rows, columns=columns).astype({"standard_error": float, "white_error": float})

    def _repr_html_(self) -> str:
        rows = [row for patient in self for row in _estimate_rows(patient)]
        notes = list(self.problem.notes)
        if not rows:
            return html_table(repr(self), ["patient", "converged"], [(p.name, p.ok) for p in self], notes=notes)
        return html_table(repr(self), _ESTIMATE, rows, notes=[*_legend(self), *notes])

    def __repr__(self) -> str:
        what = "+".join(self.problem.named) or "states"
        failed = sum(not patient.ok for patient in self.patients)
        trouble = f", {failed} failed" if failed else ""
        who = f"{what} of {counted(len(self), 'patient')}{trouble}"
        open_ = {s: None for p in self for s, e in p.estimates.items() if e.undetermined}
        limit = f"; glucose does not tell {', '.join(open_)}" if open_ else ""
        lost = [p.name for p in self if p.ok and p.worse_than_a_constant]
        limit += f"; misses the readings of {some(lost)} by more than a constant would: see doubts" if lost else ""
        return f"Fit({self.model} {self.problem.mode}: {who}{limit}; {self.cost})"


@dataclasses.dataclass(frozen=True, eq=False)
class Ensemble:
    """Fits of one cohort from several seeds."""

    seeds: tuple[int, ...]
    """The seeds, each of which set a member's starts and initial weights."""
    members: tuple[Fit, ...]
    """One fit per seed."""

    def __iter__(self) -> Iterator[Fit]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        return f"Ensemble({counted(len(self), 'seed')} of {self.members[0]!r})"

    def _repr_html_(self) -> str:
        rows = [
            (seed, *row) for seed, fit in zip(self.seeds, self, strict=True) for p in fit for row in _estimate_rows(p)
        ]
        return html_table(repr(self), ["seed", *_ESTIMATE], rows, notes=_legend(p for fit in self for p in fit))


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """One patient's finished run, as read from its folder."""

    folder: Path
    """Where it lies."""
    metadata: Mapping[str, Any]
    """`metadata.json`: model, mode, patient, estimates, metrics, versions."""
    predictions: Mapping[str, np.ndarray]
    """`predictions.npz`: states, readings and masks on the rows of the data."""
    evolution: Mapping[str, Mapping[str, np.ndarray]]
    """`parameter_evolution_*.npz` by symbol: `step`, `value`, and `truth` where it is known."""

    def __repr__(self) -> str:
        return f"Result({self.folder.name})"

    @property
    def body(self) -> type[AbstractPhysiology]:
        """The physiology that was fitted."""
        return physiology_named(self.metadata.get("config", {}).get("physiology", "magdelaine"))

    def _repr_html_(self) -> str:
        m, units = self.metadata, symbols_of(self.body)
        rows = [
            (symbol, units.get(symbol, ("",))[0], e["value"], e["standard_error"], ", ".join(Estimate.read(e).remarks))
            for symbol, e in {**m["estimates"], **m["derived"]}.items()
        ]
        rows += [(name, "", value, None, "") for name, value in m["metrics"].items() if name.startswith("rmse")]
        title = f"{m['patient']}: {m['model']} {m['mode']}, seed {m['seed']}"
        notes = [legend_line({**m["estimates"], **m["derived"]}, units), str(self.folder)]
        return html_table(title, ["symbol", "unit", "value", "standard error", "remark"], rows, notes=notes)
