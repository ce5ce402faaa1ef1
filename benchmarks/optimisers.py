"""Adam, Adam then L-BFGS, and Gauss-Newton, for every architecture, at equal seconds of running."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

import t1djax

from .problems import CLEAN_5, WHITE, Case
from .report import Report, progress
from .runners import NETWORKS, Outcome, Scope, rms, solve

LEVELS = (1.0, 0.1)
"""Errors of ksi (worst patient, %) whose time is taken."""
_OPTIMISERS = (("adam", "float32"), ("adam + lbfgs", "float64"), ("gauss_newton", "float64"))
_CALIBRATION = 100  # steps, two chunks: the second one is timed
# Tried on three of the ten patients, noise-free. PINN, eight settings: a constant weight of 100 beats one that rises to
# it (0.006 against 1.3 % of ksi after 1,500 steps), a rate of 0.01 beats 0.003 (0.006 against 0.05 %). Recurrent
# network, three settings, all clipped. The Modified MLP and L-BFGS take these over untried.
PLAIN = t1djax.Stage(optimizer="adam", learning_rate=1e-2, residual_weight=(100.0, 100.0))
_ADAM = {"pinn": PLAIN, "modified_mlp": PLAIN, "birnn": dataclasses.replace(PLAIN, clip_norm=1.0)}
_LBFGS = t1djax.Stage(optimizer="lbfgs", residual_weight=(100.0, 100.0))
_OPTIONS: dict[str, type[t1djax.networks.NetworkOptions]] = {
    "pinn": t1djax.PINNOptions,
    "modified_mlp": t1djax.ModifiedMLPOptions,
    "birnn": t1djax.BIRNNOptions,
}


class Course:
    """Estimates against seconds of running, from the progress that a fit tells."""

    def __init__(self) -> None:
        self.stamps: list[tuple[int, int, float]] = [(0, 0, time.perf_counter())]
        self.ksi: list[np.ndarray] = []

    def __call__(self, p: t1djax.training.Progress) -> None:
        """Called after each chunk."""
        self.stamps.append((p.stage, p.step, time.perf_counter()))
        self.ksi.append(p.values["ksi"])

    def seconds(self) -> np.ndarray:
        """After each chunk. The first chunk of a stage, in which it compiles, counts as the stage's median one."""
        stage, step, stamp = (np.array(x) for x in zip(*self.stamps, strict=True))
        took = np.diff(stamp)
        rate = took / np.diff(step)
        first = np.diff(stage) != 0
        for i in np.flatnonzero(first):
            others = (stage[1:] == stage[i + 1]) & ~first
            if others.any():
                took[i] = np.median(rate[others]) * (step[i + 1] - step[i])
        return np.cumsum(took)

    def per_step(self, stage: int) -> float:
        """Seconds per step of a stage, without its first chunk."""
        rows = [i for i in range(1, len(self.stamps)) if self.stamps[i][0] == stage]
        (_, a, begin), (_, b, end) = self.stamps[rows[0]], self.stamps[rows[-1]]
        return (end - begin) / (b - a)

    def time_to(self, percent: float, truth: np.ndarray) -> float | None:
        """Seconds after which the worst patient's error stays below a level; None where it never does."""
        worst = np.max(100 * np.abs(np.stack(self.ksi) / truth - 1), axis=1)
        above = np.flatnonzero(~(worst < percent))
        last = above[-1] + 1 if above.size else 0
        return float(self.seconds()[last]) if last < len(worst) else None


def run(scope: Scope, out: Path, *, budget_s: float = 30.0, models: tuple[str, ...] = NETWORKS) -> Report:
    """The comparison: each optimiser of each architecture gets `budget_s` seconds after compilation."""
    report = Report("optimisers", "Optimisers at equal wall time", out, scope.settings() | {"budget_s": budget_s})
    report.note(
        f"Each row was given {budget_s:g} s of running for the whole cohort, compilation left out; Gauss-Newton ends "
        "when its schedule does. Times to a level of ksi are of the worst patient, and count only if it stays below."
    )
    for model in models[:1] if scope.quick else models:
        for name, precision in _OPTIMISERS[1:] if scope.quick else _OPTIMISERS:
            options = _options(scope, model, precision)
            cases = (CLEAN_5,) if scope.quick else (CLEAN_5, WHITE)
            stages = _plan(name, model, options, budget_s, scope)
            for case in cases:
                _row(report, scope, case, model, name, options, stages)
    return report


def _options(scope: Scope, model: str, precision: str) -> t1djax.networks.NetworkOptions:
    options = scope.options(model) or _OPTIONS[model]()
    return dataclasses.replace(options, precision=precision)


def _plan(
    name: str, model: str, options: t1djax.networks.NetworkOptions, budget: float, scope: Scope
) -> tuple[t1djax.Stage, ...]:
    """Stages that fill the budget, by the seconds that a few steps took."""
    if name == "gauss_newton":
        return t1djax.training.default_stages("inverse", ["ksi"], options)
    stages = (_ADAM[model],) if name == "adam" else (_ADAM[model], _LBFGS)
    if scope.quick:
        return tuple(dataclasses.replace(stage, steps=_CALIBRATION) for stage in stages)
    course = Course()
    trial = [dataclasses.replace(stage, steps=_CALIBRATION) for stage in stages]
    solve(model, [CLEAN_5.reference(0, scope.names)], [0], ("ksi",), options=options, stages=trial, on_progress=course)
    share = budget / len(stages)
    steps = [50 * max(2, round(share / course.per_step(i) / 50)) for i in range(1, len(stages) + 1)]
    progress(f"{model}, {name}: {steps} steps fill {budget:g} s")
    return tuple(dataclasses.replace(stage, steps=n) for stage, n in zip(stages, steps, strict=True))


def _row(
    report: Report,
    scope: Scope,
    case: Case,
    model: str,
    name: str,
    options: t1djax.networks.NetworkOptions,
    stages: tuple[t1djax.Stage, ...],
) -> None:
    cohort = case.reference(0, scope.names)
    course = Course()
    found = solve(model, [cohort], [0], case.free, options=options, stages=stages, on_progress=course)
    truth = np.array([cohort.truth[n].parameters["ksi"] for n in cohort.names])
    reached = {level: course.time_to(level, truth) for level in LEVELS}
    report.add(
        {
            "case": case.name,
            "model": model,
            "optimiser": name,
            "steps": " + ".join(str(stage.steps) for stage in stages),
            "run, s": float(course.seconds()[-1]),
            **{f"s to {level:g} %": "not reached" if s is None else s for level, s in reached.items()},
            **errors(found),
            "failed": found.failed(),
            "settings": "; ".join(_described(stage) for stage in stages) + f"; {options.precision}",
        }
    )


def errors(found: Outcome) -> dict[str, Any]:
    """The errors that every row of a comparison states."""
    ksi, forecast = found.errors("ksi_error_percent"), found.errors("rmse_true_forecast_mg_dL")
    return {
        "ksi rms, %": rms(ksi),
        "ksi worst, %": float(ksi.max()),
        "RMSE forecast rms, mg/dL": rms(forecast),
        "forecast worst": float(forecast.max()),
    }


def _described(stage: t1djax.Stage) -> str:
    low, high = stage.residual_weight
    weight = f"residual x{low:g}" if low == high else f"residual x{low:g} to x{high:g}"
    rate = f", rate {stage.learning_rate:g} {stage.schedule}" if stage.optimizer == "adam" else ""
    clip = "" if stage.clip_norm is None else f", clip {stage.clip_norm:g}"
    return f"{stage.optimizer}{rate}, {weight}{clip}"
