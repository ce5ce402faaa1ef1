"""Five parameters and G0 at once: noise-free by every model, and least squares against its Cramer-Rao bound."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import t1djax

from .problems import CLEAN_5, FIVE, SCORED, WHITE
from .report import Report, progress
from .runners import NETWORKS, Scope, rms, solve

NOISE_SD = 10.0
"""Of the noisy draws, mg/dL."""


def run(scope: Scope, out: Path, *, draws: int = 200) -> Report:
    """The table of errors; with `draws` noisy fits in all, the ratio to the bound."""
    report = Report("parameters", "Five parameters and G0 at once", out, scope.settings() | {"draws": draws})
    report.note(
        "Noise-free rows: largest |error|, %, over patients and seeds. Bound rows: rms error of least squares at "
        f"{NOISE_SD:g} mg/dL over the Cramer-Rao bound of the readings it saw."
    )
    cohorts = [CLEAN_5.reference(seed, scope.names) for seed in scope.seeds]
    for model in ("ode", *NETWORKS[:1]) if scope.quick else ("ode", *NETWORKS):
        found = solve(model, cohorts, scope.seeds, FIVE, options=scope.options(model))
        errors = {symbol: float(found.errors(f"{symbol}_error_percent").max()) for symbol in SCORED}
        limit = 0.01 if model == "ode" else 5.0
        report.add(
            {
                "what": "noise-free, worst, %",
                "model": model,
                **errors,
                "all": max(errors.values()),
                "limit": limit,
                "RMSE fit worst, mg/dL": float(found.errors("rmse_true_fit_mg_dL").max()),
                "forecast worst": float(found.errors("rmse_true_forecast_mg_dL").max()),
                "compile, s": found.compile_s,
                "run, s": found.run_s,
                "failed": found.failed(),
                "verdict": "pass" if max(errors.values()) < limit else "FAIL",
            }
        )
    _against_the_bound(report, scope, draws)
    return report


def _against_the_bound(report: Report, scope: Scope, draws: int) -> None:
    names = scope.names or tuple(t1djax.presets())
    each = max(1, draws // len(names))
    progress(f"{each} draws of each of {len(names)} patients")
    patients, truth = [], {}
    for i in range(each):
        drawn = WHITE.reference(1000 + i, names)
        for patient in drawn:
            name = f"{patient.name}-{i}"
            patients.append(dataclasses.replace(patient, name=name))
            truth[name] = drawn.truth[patient.name]
    cohort = t1djax.Cohort(tuple(patients), truth)
    found = solve("ode", [cohort], [0], FIVE)
    errors = np.stack([found.errors(f"{symbol}_error_percent") for symbol in SCORED]).reshape(len(SCORED), each, -1)
    bounds = np.stack([bound_percent(cohort[f"{name}-0"], cohort.truth[f"{name}-0"]) for name in names], axis=1)
    ratios = errors / bounds[:, None, :]
    by_symbol = {symbol: rms(ratios[i]) for i, symbol in enumerate(SCORED)}
    report.add(
        {
            "what": f"rms error / bound, {each * len(names)} draws",
            "model": "ode",
            **by_symbol,
            "all": rms(ratios),
            "limit": 1.1,
            "compile, s": found.compile_s,
            "run, s": found.run_s,
            "failed": found.failed(),
            "verdict": "pass" if rms(ratios) <= 1.1 else "FAIL",
        }
    )
    medians = dict(zip(SCORED, np.median(bounds, axis=1).tolist(), strict=True))
    report.add({"what": "the bound itself, median patient, %", "model": "", **medians})
    furthest = np.sqrt(np.mean(ratios**2, axis=(0, 1)))
    report.note(
        f"Pooled ratio by patient: {', '.join(f'{n} {r:.2f}' for n, r in zip(names, furthest, strict=True))}. "
        f"Median of |error| / bound over all draws and parameters: {np.median(ratios):.3f} (normal errors: 0.674)."
    )


def bound_percent(patient: t1djax.Patient, truth: t1djax.Truth) -> np.ndarray:
    """Cramer-Rao bound of `SCORED` for one patient, one standard deviation in %.

    On logarithms `p1` moves as `ksi` does; `c = kl - kb` moves by `kl/c` of what `kl` does.
    """
    with jax.enable_x64(True):
        z = {symbol: jnp.log(jnp.asarray(truth.parameters[symbol])) for symbol in FIVE}
        known = {s: jnp.asarray(v) for s, v in patient.known.items() if s not in FIVE and s != "M"}
        information = t1djax.inference.fisher_information(
            known, z, t1djax.data.series(patient), noise_sd_mg_dL=NOISE_SD
        )
        sd = np.sqrt(np.diagonal(np.linalg.inv(np.asarray(information))))
    by_symbol = dict(zip(sorted(z), sd, strict=True))
    kl, kb = truth.parameters["kl"], truth.parameters["kb"]
    relative = {"p1": by_symbol["ksi"], "c": by_symbol["kl"] * kl / (kl - kb), **by_symbol}
    return 100 * np.array([relative[symbol] for symbol in SCORED])
