"""Errors of ksi and of glucose, model by model, under three kinds of noise, and on patients nobody tuned for."""

from pathlib import Path
from typing import Any

import numpy as np

from .problems import CASES, CLEAN_5, UNSEEN, WHITE, Case
from .report import Report, progress
from .runners import MODELS, Outcome, Scope, rms, solve

SETS = {"fit": "fit", "held_out": "held-out", "forecast": "forecast"}
"""Sets of readings and how the table calls them."""


def run(scope: Scope, out: Path, *, virtual: int = 0) -> Report:
    """The accuracy table; with `virtual`, that many unseen patients beside the reference cohort."""
    report = Report("accuracy", "Accuracy against the truth", out, scope.settings() | {"virtual": virtual})
    report.note(
        "Errors are absolute and against the truth; rms over patients and seeds. `x ode`: ratio of rms to that of "
        "least squares on the same draws. Seconds: compiling once, and running one cohort (median over seeds)."
    )
    for case in CASES[1:2] if scope.quick else CASES:
        progress(case.name)
        cohorts = [case.reference(seed, scope.names) for seed in scope.seeds]
        _compare(report, case, case.name, cohorts, scope.seeds, scope)
    for case in (CLEAN_5, WHITE) if virtual else ():
        name = f"{virtual} virtual (key {UNSEEN}), {case.name}"
        progress(name)
        _compare(report, case, name, [case.virtual(virtual)], (0,), scope)
    return report


def _compare(report: Report, case: Case, name: str, cohorts: list, seeds: tuple[int, ...], scope: Scope) -> None:
    least_squares: dict[str, float] = {}
    for model in (m for m in MODELS if not (scope.quick and m == "modified_mlp")):
        found = solve(model, cohorts, seeds, case.free, options=scope.options(model))
        if model == "ode":
            least_squares = _rms(found)
        report.add({"case": name, "model": model, **row(found, case, least_squares if case.ratio else {})})


def row(found: Outcome, case: Case, least_squares: dict[str, float]) -> dict[str, Any]:
    """Numbers of one model in one case, and whether they are good enough."""
    ksi = found.errors("ksi_error_percent")
    cells: dict[str, Any] = {
        "ksi median, %": float(np.median(ksi)),
        "rms": rms(ksi),
        "95th percentile": float(np.percentile(ksi, 95)),
        "worst": float(ksi.max()),
    }
    for key, head in SETS.items():
        errors = found.errors(f"rmse_true_{key}_mg_dL")
        cells |= {f"RMSE {head} rms, mg/dL": rms(errors), f"{head} worst": float(errors.max())}
    own = _rms(found)
    ratios = {head: own[head] / least_squares[head] for head in least_squares}
    cells["ksi x ode"] = ratios.get("ksi")
    cells["RMSE x ode"] = "" if not ratios else " / ".join(f"{ratios[head]:.3f}" for head in SETS.values())
    cells |= {"compile, s": found.compile_s, "run, s": found.run_s, "failed": found.failed()}
    return cells | {"verdict": verdict(cells, ratios, case)}


def verdict(cells: dict[str, Any], ratios: dict[str, float], case: Case) -> str:
    """`pass` within the limits, `aim` within the stricter ones that the project aims at, else `FAIL`."""
    if case.worst_rmse_mg_dL is not None:
        inside, forecast = case.worst_rmse_mg_dL
        found = (cells["worst"], cells["fit worst"], cells["held-out worst"], cells["forecast worst"])
        good = all(x < most for x, most in zip(found, (case.worst_ksi_percent, inside, inside, forecast), strict=True))
        best = all(x < most for x, most in zip(found, (0.1, 1.0, 1.0, 1.0), strict=True))
    else:
        most = case.ratio or np.inf
        within = cells["worst"] < case.worst_ksi_percent
        good = within and bool(ratios) and max(ratios.values()) <= most
        best = within and bool(ratios) and max(ratios.values()) <= 1.1
    return "aim" if good and best else "pass" if good else "FAIL"


def _rms(found: Outcome) -> dict[str, float]:
    glucose = {head: rms(found.errors(f"rmse_true_{key}_mg_dL")) for key, head in SETS.items()}
    return {"ksi": rms(found.errors("ksi_error_percent")), **glucose}
