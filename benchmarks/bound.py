"""Error over the Cramer-Rao bound: the mechanistic fit and the networks over draws of the noise."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import t1djax

from .problems import WHITE
from .report import Report, progress
from .runners import NETWORKS, Scope, rms, solve

NOISE_SD = 10.0
"""mg/dL."""
LIMITS = {"ode": (1.1, 1.0)} | dict.fromkeys(NETWORKS, (3.0, 1.2))
"""At most, and what is aimed at."""
FREE = ("ksi", "G0")
"""What is estimated; ksi is scored."""


def run(scope: Scope, out: Path, *, draws: int = 200) -> Report:
    """One row per model: rms of the error of ksi over its bound, over all draws and patients together."""
    names = scope.names or tuple(t1djax.presets())
    draws = 20 if scope.quick else draws
    report = Report("bound", "Error of ksi over the Cramer-Rao bound", out, scope.settings() | {"draws": draws})
    report.note(
        f"White noise of {NOISE_SD:g} mg/dL, 5 min, 48 h; ksi and G0 are free. Each error is divided by the bound of "
        "the readings that the fit saw; the rms over all is one for an efficient estimator. `+-`: its standard error, "
        "for normal errors. `95th percentile`: of |error| / bound (normal errors: 1.96). Seconds are of one run: "
        "`compare` judges the verdicts alone."
    )
    people, truth = [], {}
    for i in range(max(1, draws // len(names))):
        drawn = WHITE.reference(2000 + i, tuple(names))
        for patient in drawn:
            name = f"{patient.name}-{i}"
            people.append(dataclasses.replace(patient, name=name))
            truth[name] = drawn.truth[patient.name]
    cohort = t1djax.Cohort(tuple(people), truth)
    once = {name: _bound_percent(cohort[f"{name}-0"], truth[f"{name}-0"]) for name in names}
    bounds = np.array([once[name.rsplit("-", 1)[0]] for name in cohort.names])
    for model in ("ode", *NETWORKS[:1]) if scope.quick else ("ode", *NETWORKS):
        progress(f"{model}: {len(people)} fits")
        found = solve(model, [cohort], [0], FREE, options=scope.options(model))
        report.add({"model": model, **_row(model, found.errors("ksi_error_percent") / bounds)} | {
            "compile, s": found.compile_s, "run, s": found.run_s, "failed": found.failed(),
        })  # fmt: skip
    medians = ", ".join(f"{name} {once[name]:.3g}" for name in names)
    report.note(f"The bound itself, one standard deviation, %: {medians}.")
    return report


def _row(model: str, ratios: np.ndarray) -> dict[str, Any]:
    size = rms(ratios)
    spread = size / math.sqrt(2 * len(ratios))
    most, aim = LIMITS[model]
    # An aim of one is met where one is within two standard errors.
    verdict = "aim" if size - 2 * spread <= aim else "pass" if size <= most else "FAIL"
    return {
        "draws": len(ratios),
        "rms error / bound": size,
        "+-": spread,
        "95th percentile": float(np.percentile(ratios, 95)),
        "worst": float(ratios.max()),
        "at most": most,
        "verdict": verdict if size <= most else "FAIL",
    }


def _bound_percent(patient: t1djax.Patient, truth: t1djax.Truth) -> float:
    """Cramer-Rao bound of ksi, one standard deviation in %, with G0 free beside it."""
    with jax.enable_x64(True):
        z = {symbol: jnp.log(jnp.asarray(truth.parameters[symbol])) for symbol in FREE}
        known = {s: jnp.asarray(v) for s, v in patient.known.items() if s not in FREE and s != "M"}
        information = t1djax.inference.fisher_information(
            known, z, t1djax.data.series(patient), noise_sd_mg_dL=NOISE_SD
        )
        sd = np.sqrt(np.diagonal(np.linalg.inv(np.asarray(information))))
    return 100 * float(dict(zip(sorted(z), sd, strict=True))["ksi"])
