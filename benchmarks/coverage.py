"""How often an interval that claims 90 % holds the truth: every kind of interval, on virtual patients."""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import t1djax

from .problems import UNSEEN
from .report import Report, progress
from .runners import Scope

LEVEL = 0.9
"""What the intervals claim."""
_Z = 1.6449  # half-width of such an interval, in standard errors
LIMITS = (87.0, 93.0)
"""Within these the claim counts as kept, %."""
NOISE = t1djax.WhiteNoise(10.0)
SETS = (("ksi", "G0"), ("ksi", "kl", "Tu", "G0"))
"""What is free."""
SHORT_MIN = (420.0, 780.0)
"""The six hours that people with little data have, min."""
PARTS = ("mechanistic", "networks", "pool")
"""What the table is made of."""
_NETWORKS = ("pinn", "birnn")


class Claim(NamedTuple):
    """An interval and whether its maker called it good."""

    low: float
    high: float
    ok: bool = True


def run(
    scope: Scope,
    out: Path,
    *,
    patients: int = 1000,
    network_patients: int = 100,
    members: int = 5,
    parts: tuple[str, ...] = PARTS,
) -> Report:
    """The table of coverage."""
    settings = {"patients": patients, "network_patients": network_patients, "members": members}
    report = Report("coverage", "Coverage of 90 % intervals", out, scope.settings() | settings)
    report.note(
        f"Virtual patients (key {UNSEEN}), 48 h at 5 min, white noise of 10 mg/dL that nobody is told. Coverage of the "
        "truth in %, with its own standard error; width: median of high less low over the truth, %. Demanded of the "
        f"mechanistic fit, profile and posterior: {LIMITS[0]:g} to {LIMITS[1]:g} %; networks and pools as measured."
    )
    cohort = t1djax.virtual_population(patients, key=jax.random.key(UNSEEN), noise=NOISE)
    sets = SETS[:1] if scope.quick else SETS
    for free in sets if "mechanistic" in parts else ():
        _mechanistic(report, cohort, free)
    few = cohort.select(cohort.names[:network_patients])
    for model in _NETWORKS if "networks" in parts and not scope.quick else ():
        _networks(report, few, model, members)
    if "pool" in parts:
        _pool(report, cohort.select(cohort.names[: min(patients, 200)]))
    return report


def _mechanistic(report: Report, cohort: t1djax.Cohort, free: tuple[str, ...]) -> None:
    people, name = tuple(cohort), ", ".join(free)
    problem = t1djax.pose(people, mode="inverse", free=free, key=jax.random.key(0))
    progress(f"fit of {name}")
    began = time.perf_counter()
    fit = t1djax.inference.fit_ode(people, problem, key=jax.random.key(1))
    seconds = time.perf_counter() - began
    _add(report, cohort, name, "mechanistic fit, Fisher", {s: _normal(fit, s) for s in free}, seconds, judged=True)
    progress(f"profiles of {name}")
    began = time.perf_counter()
    profiles = {s: t1djax.profile(fit, people, s, level=LEVEL, autocorrelated=False) for s in free}
    claims = {s: [Claim(p.low, p.high, p.converged) for p in found] for s, found in profiles.items()}
    _add(report, cohort, name, "profile likelihood", claims, time.perf_counter() - began, judged=True)
    progress(f"posterior of {name}")
    posterior = t1djax.sample_posterior(people, problem, key=jax.random.key(2), chains=2, draws=300, fit=fit)
    claims = {s: [Claim(*p.interval(s, LEVEL), p.ok) for p in posterior] for s in free}
    seconds = posterior.cost.compile_s + posterior.cost.run_s
    _add(report, cohort, name, "posterior, HMC 2 x 300", claims, seconds, judged=True)


def _networks(report: Report, cohort: t1djax.Cohort, model: str, members: int) -> None:
    free = SETS[0]
    progress(f"{members} members of {model}")
    began = time.perf_counter()
    ensemble = t1djax.fit_ensemble(cohort, model=model, mode="inverse", free=free, seeds=range(members))
    seconds = time.perf_counter() - began
    _add(report, cohort, ", ".join(free), f"{model}, Laplace", {s: _normal(ensemble.members[0], s) for s in free}, None)
    table = t1djax.evaluation.spread(ensemble)
    claims = {
        s: [
            Claim(m - _Z * sd, m + _Z * sd, bool(ok))
            for m, sd, ok in zip(table[s], table[f"{s}_sd"], table["ok"], strict=True)
        ]
        for s in free
    }
    _add(report, cohort, ", ".join(free), f"{model}, spread of {members} seeds", claims, seconds)


def _pool(report: Report, cohort: t1djax.Cohort) -> None:
    """Every fourth person has six hours; what is on board at their start is unknown for everybody."""
    short = set(cohort.names[::4])
    people = [_cut(p, *SHORT_MIN) if p.name in short else p for p in cohort]
    problem = t1djax.pose(people, mode="inverse", free=["ksi"], key=jax.random.key(0), estimate_initial_state=True)
    alone = t1djax.inference.fit_ode(people, problem, key=jax.random.key(1))
    progress("hierarchy")
    pooled = t1djax.fit_hierarchy(people, problem, key=jax.random.key(2))
    few = cohort.select(name for name in cohort.names if name in short)
    what = "ksi, G0, state at the start; 6 h"
    truth = np.array([few.truth[name].parameters["ksi"] for name in few.names])
    lone = [p for p in alone if p.name in short]
    together = [p for p in pooled if p.name in short]
    rows = (
        (
            "alone, Fisher",
            [p.estimates["ksi"].value for p in lone],
            [_symmetric(p.estimates["ksi"], p.ok) for p in lone],
            alone.cost,
        ),
        (
            "pooled",
            [float(np.median(p.draws["ksi"])) for p in together],
            [Claim(*p.interval("ksi", LEVEL), p.ok) for p in together],
            pooled.cost,
        ),
    )
    for method, values, claims, cost in rows:
        rms = float(np.sqrt(np.mean(np.log(np.array(values) / truth) ** 2)))
        seconds = cost.compile_s + cost.run_s
        _add(report, few, what, method, {"ksi": claims}, seconds, rms_error_of_log=rms)


def _cut(patient: t1djax.Patient, start_min: float, end_min: float) -> t1djax.Patient:
    keep = (patient.time_min >= start_min) & (patient.time_min <= end_min)
    return dataclasses.replace(patient, time_min=patient.time_min[keep], glucose_mg_dL=patient.glucose_mg_dL[keep])


def _normal(fit: t1djax.Fit, symbol: str) -> list[Claim]:
    return [_symmetric(patient.estimates[symbol], patient.ok) for patient in fit]


def _symmetric(estimate: t1djax.Estimate, ok: bool) -> Claim:
    # That of white noise, which is what is judged here.
    white = estimate.standard_error if estimate.white_error is None else estimate.white_error
    error = np.nan if white is None else white
    return Claim(estimate.value - _Z * error, estimate.value + _Z * error, ok)


def _add(
    report: Report,
    cohort: t1djax.Cohort,
    free: str,
    method: str,
    claims: Mapping[str, Sequence[Claim]],
    seconds: float | None,
    *,
    judged: bool = False,
    rms_error_of_log: float | None = None,
) -> None:
    covered: dict[str, Any] = {}
    widths = []
    for symbol, some in claims.items():
        truth = np.array([cohort.truth[name].parameters[symbol] for name in cohort.names])
        covered[f"{symbol}, %"] = coverage_percent(some, truth)
        widths.append(100 * float(np.median([c.high - c.low for c in some] / truth)))
    n = len(cohort)
    good = all(LIMITS[0] <= share <= LIMITS[1] for share in covered.values())
    report.add(
        {
            "free": free,
            "interval": method,
            "patients": n,
            **covered,
            "standard error, %": 100 * float(np.sqrt(LEVEL * (1 - LEVEL) / n)),
            "width, %": " / ".join(f"{width:.3g}" for width in widths),
            "doubtful": sum(not c.ok for c in next(iter(claims.values()))),
            "seconds": seconds,
            "rms error of log": rms_error_of_log,
            "verdict": ("pass" if good else "FAIL") if judged else "as measured",
        }
    )


def coverage_percent(claims: Iterable[Claim], truth: np.ndarray) -> float:
    """Share of the intervals that hold the truth, %; those called doubtful and those without ends count too."""
    return 100 * float(np.mean([c.low <= x <= c.high for c, x in zip(claims, truth, strict=True)]))
