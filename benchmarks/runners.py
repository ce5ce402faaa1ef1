"""The systems that solve a problem, and the errors of what they return."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

import t1djax

NETWORKS = ("pinn", "modified_mlp", "birnn")
"""The architectures that are compared."""
MODELS = ("ode", "guess", *NETWORKS)
"""Everything that gets a row: least squares, the random start itself, and the architectures."""
_QUICK: dict[str, t1djax.networks.NetworkOptions] = {
    "pinn": t1djax.PINNOptions(width=8, depth=1, cell_min=30.0),
    "modified_mlp": t1djax.ModifiedMLPOptions(width=8, depth=1, cell_min=30.0),
    "birnn": t1djax.BIRNNOptions(units=8, step_min=30.0, cell_min=30.0),
}


@dataclasses.dataclass(frozen=True)
class Scope:
    """How much of a benchmark is run."""

    quick: bool = False
    """Two patients, one seed, small networks: to see that it works, not how well."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each sets noise, starts and weights."""
    names: tuple[str, ...] | None = None
    """Reference patients; all if not given."""

    @classmethod
    def of(cls, quick: bool, seeds: int = 3, patients: int | None = None) -> "Scope":
        """The whole benchmark, or its shrunk form."""
        some = tuple(t1djax.presets())[: 2 if quick else patients]
        return cls(quick, (0,) if quick else tuple(range(seeds)), some)

    def options(self, model: str) -> t1djax.networks.NetworkOptions | None:
        """The options of a network: the defaults, unless it is to be quick."""
        return _QUICK.get(model) if self.quick else None

    def settings(self) -> dict[str, object]:
        """For the report."""
        return {"quick": self.quick, "seeds": list(self.seeds), "patients": list(self.names or t1djax.presets())}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one model made of some cohorts."""

    draws: pd.DataFrame
    """One row per seed and patient: the columns of `summary`, with `ok` and errors."""
    compile_s: float
    """Tracing and compilation, all cohorts together, s."""
    run_s: float
    """Everything after it, median over cohorts, s."""

    def errors(self, column: str) -> np.ndarray:
        """A column as numbers, one per seed and patient."""
        return np.asarray(self.draws[column], dtype=np.float64)

    def failed(self) -> int:
        """How many fits called themselves failed."""
        return int((~np.asarray(self.draws["ok"], dtype=bool)).sum())


def solve(
    model: str,
    cohorts: Sequence[t1djax.Cohort],
    seeds: Sequence[int],
    free: Sequence[str],
    *,
    options: t1djax.networks.NetworkOptions | None = None,
    stages: Sequence[t1djax.Stage] | None = None,
    on_progress: Callable[[t1djax.training.Progress], None] | None = None,
) -> Outcome:
    """Fit each cohort from its seed and score it against the truth."""
    fits = [
        t1djax.fit(
            cohort,
            model="ode" if model == "guess" else model,
            mode="inverse",
            free=free,
            seed=seed,
            options=options,
            stages=stages,
            on_progress=on_progress,
        )
        for cohort, seed in zip(cohorts, seeds, strict=True)
    ]
    if model == "guess":
        fits = [_starts(fit, cohort) for fit, cohort in zip(fits, cohorts, strict=True)]
    draws = pd.concat([_scored(fit, cohort, model) for fit, cohort in zip(fits, cohorts, strict=True)])
    return Outcome(draws, sum(f.cost.compile_s for f in fits), float(np.median([f.cost.run_s for f in fits])))


def _starts(fit: t1djax.Fit, cohort: t1djax.Cohort) -> t1djax.Fit:
    """The states under the values that a fit started from."""
    values = {**fit.problem.known, **fit.problem.start}
    patients = [
        dataclasses.replace(patient, known={s: float(v[i]) for s, v in values.items() if s in t1djax.PARAMETERS})
        for i, patient in enumerate(cohort)
    ]
    forward = t1djax.fit(patients, model="ode", mode="forward")
    return dataclasses.replace(forward, problem=dataclasses.replace(forward.problem, start=fit.problem.start))


def _scored(fit: t1djax.Fit, cohort: t1djax.Cohort, model: str) -> pd.DataFrame:
    table = t1djax.summary(fit, cohort)
    for symbol, start in fit.problem.start.items() if model == "guess" else ():
        true = np.array([cohort.truth[name].parameters[symbol] for name in cohort.names])
        table[f"{symbol}_error_percent"] = 100 * np.abs(start / true - 1)
    for symbol in ("p1", "c"):
        found = [t1djax.evaluation.recovery(patient, cohort.truth[patient.name]).get(symbol, {}) for patient in fit]
        table[f"{symbol}_error_percent"] = [row.get("error_percent") for row in found]
    return table


def rms(x: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(x**2)))
