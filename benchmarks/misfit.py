"""Fits where the model is wrong: what its estimates and intervals are then worth."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import t1djax
from t1djax.physics import Hovorka, hovorka

from .coverage import LEVEL, Claim, coverage_percent
from .plants import STEP_MIN, Habits, Life, answers, live, record
from .problems import UNSEEN
from .report import Report, progress
from .runners import Scope

NOISE_SD = 10.0
"""Of the simulated readings, mg/dL."""
SWING_SD = 0.15
"""Of the unknown disturbance of glucose, mg/dL/min; it fades over an hour."""
GROUPS = ("noise", "loop", "hovorka", "hovorka_loop", "simglucose")
"""What the table is made of."""
ALL = ("ksi", "kl", "Tu", "Tr", "kr_Vb", "G0")
"""Everything that glucose can tell."""
_Z = 1.6449
_LOOP_MIN = 240.0  # in which the loop would correct a deviation, were insulin immediate


class Data(NamedTuple):
    """Records with what is known of the bodies behind them."""

    name: str
    people: Sequence[t1djax.Patient]
    free: tuple[str, ...]
    fall: np.ndarray | None  # what one unit of insulin takes from glucose, mg/dL
    person: Sequence[str] | None = None  # whose day each record is


def run(
    scope: Scope, out: Path, *, patients: int = 100, simglucose: Path | None = None, only: Sequence[str] = ()
) -> Report:
    """The table of misfits; `only` the groups named."""
    report = Report("misfit", "Fits where the model is wrong", out, scope.settings() | {"patients": patients})
    report.note(
        "p1 = ksi ku/Vi is what a unit of insulin takes from glucose in the end; its truth in another model is the "
        "largest fall within six hours of one unit at rest. Bias: median over people; coverage: share of 90 % "
        "intervals that hold the truth. Readings covered: share of readings that the fit did not see inside the "
        "posterior's 90 % intervals, among the others (held out) and after the forecast start. Days agree: share of "
        "pairs of days of one person whose estimates of p1 differ by no more than their 90 % intervals allow."
    )
    groups: dict[str, Callable[[], list[Data]]] = {
        "noise": lambda: _own_model(patients),
        "loop": lambda: _disturbed(patients),
        "hovorka": lambda: _hovorka(patients, "doses by plan", 0.0),
        "hovorka_loop": lambda: _hovorka(patients, "closed loop", 1.0),
        "simglucose": lambda: _simglucose(simglucose),
    }
    for name in only or (("noise",) if scope.quick else GROUPS):
        for each in groups[name]():
            _score(report, each, quick=scope.quick)
    return report


# What is fitted


def _own_model(n: int) -> list[Data]:
    free, found = ("ksi", "G0"), []
    for name, noise in (
        ("the model itself, white noise", t1djax.WhiteNoise(NOISE_SD)),
        ("the model itself, AR(1) noise 0.7", t1djax.AR1Noise(NOISE_SD, rho=0.7)),
    ):
        cohort = t1djax.virtual_population(n, key=jax.random.key(UNSEEN), noise=noise)
        found.append(Data(name, tuple(cohort), free, _falls(cohort)))
    return found


def _falls(cohort: t1djax.Cohort) -> np.ndarray:
    truth = [cohort.truth[name].parameters for name in cohort.names]
    return np.array([t["ksi"] * t["ku_Vi"] for t in truth])


def _disturbed(n: int) -> list[Data]:
    """The model with a disturbance that nobody records: doses by plan, and doses that answer to glucose."""
    cohort = t1djax.virtual_population(n, key=jax.random.key(UNSEEN), noise=t1djax.WhiteNoise(NOISE_SD))
    truth = [cohort.truth[name].parameters for name in cohort.names]
    known = [{s: v for s, v in t.items() if s not in ("ksi", "kl", "G0")} for t in truth]
    column = lambda s: jnp.asarray([t[s] for t in truth])
    found = []
    with jax.enable_x64(True):
        names = [f.name for f in dataclasses.fields(t1djax.Magdelaine)]
        bodies = t1djax.Magdelaine(**{s: column(s) for s in names})

        def one(key: jax.Array, p: t1djax.Magdelaine, G0: jax.Array, closed: float) -> Life:
            p1 = p.ksi * p.ku_Vi
            gain = closed / (p1 * _LOOP_MIN)
            habits = Habits(p.equilibrium_basal_U_h / 60, p1 / (1000 * p.kr_Vb), gain, 120.0, SWING_SD)
            return live(key, p, p.steady(G0)[0], habits)

        keys = jax.random.split(jax.random.key(UNSEEN), n)
        for name, closed in (("doses by plan", 0.0), ("closed loop", 1.0)):
            lives = jax.jit(jax.vmap(one, in_axes=(0, 0, 0, None)))(keys, bodies, column("G0"), closed)
            people = _records(lives, known)
            found.append(
                Data(f"the model with an unknown disturbance, {name}", people, ("ksi", "kl", "G0"), _falls(cohort))
            )
    return found


def _hovorka(n: int, doses: str, closed: float) -> list[Data]:
    """People of another model, around its published means."""
    with jax.enable_x64(True):
        key = jax.random.key(UNSEEN)

        def one(key: jax.Array) -> tuple[Life, jax.Array]:
            body_key, life_key = jax.random.split(key)
            p = _person(body_key)
            at = jnp.asarray(120.0)
            y, basal_U_h = p.steady(at)
            fall, rise = answers(p, at)
            per_U = jnp.max(-fall)
            habits = Habits(basal_U_h / 60, jnp.sum(-fall) / jnp.sum(rise), closed / (per_U * _LOOP_MIN))
            return live(life_key, p, y, habits), per_U

        lives, falls = jax.jit(jax.vmap(one))(jax.random.split(key, n))
    people = _records(lives, [{}] * n)
    starts = [_window(p, 0, 720) for p in people]
    return [
        Data(f"Hovorka, {doses}, 48 h", people, ALL, np.asarray(falls)),
        Data(f"Hovorka, {doses}, first 12 h", starts, ("ksi", "kl", "Tr", "G0"), np.asarray(falls)),
    ]


def _person(key: jax.Array) -> Hovorka:
    p, z = hovorka(), jax.random.truncated_normal(key, -2.0, 2.0, (10,))
    common = jnp.exp(0.25 * z[0])
    spread = {"EGP0": 0.1 * z[2], "tau_G": 0.2 * z[6], "tau_I": 0.15 * z[7], "ke": 0.1 * z[8]}
    factors = {s: jnp.exp(x) for s, x in spread.items()}
    factors |= {s: common * jnp.exp(0.15 * z[3 + i]) for i, s in enumerate(("SI1", "SI2", "SI3"))}
    return Hovorka(**{s: x * factors.get(s, 1.0) for s, x in p.values().items()} | {"M": 75 + 10 * z[1]})


def _records(lives: Life, known: Sequence[dict[str, float]]) -> list[t1djax.Patient]:
    rng = np.random.default_rng(UNSEEN)
    people = []
    for i, mine in enumerate(known):
        life = jax.tree.map(lambda x, i=i: np.asarray(x[i]), lives)
        people.append(record(f"P{i:04d}", life, NOISE_SD * rng.normal(size=life.glucose_mg_dL.size), mine)[0])
    return people


def _window(patient: t1djax.Patient, start_min: float, end_min: float, name: str | None = None) -> t1djax.Patient:
    keep = (patient.time_min >= start_min) & (patient.time_min < end_min)
    cut = {"time_min": patient.time_min[keep], "glucose_mg_dL": patient.glucose_mg_dL[keep]}
    return dataclasses.replace(patient, name=name or patient.name, **cut)


def _simglucose(folder: Path | None) -> list[Data]:
    """Person-days of the UVA/Padova model as simglucose has it, where its traces are at hand."""
    if folder is None:
        return []
    people, whose = [], []
    for path in sorted(folder.glob("*_72h.csv")):
        table = pd.read_csv(path, parse_dates=["Time"]).dropna(subset=["insulin", "CHO"])  # the last row has none
        t = (table["Time"] - table["Time"].iloc[0]).dt.total_seconds().to_numpy() / 60
        rate, carbs = table["insulin"].to_numpy(), table["CHO"].to_numpy()
        change = np.flatnonzero(np.diff(rate, prepend=-1.0) != 0)
        doses = t1djax.Doses.of(
            basal=zip(t[change], 60 * rate[change], strict=True),
            meals=[(t[i], STEP_MIN * carbs[i], STEP_MIN) for i in np.flatnonzero(carbs)],
        )
        patient = t1djax.Patient(path.stem, t, table["CGM"].to_numpy(np.float64), doses)
        for day in range(3):
            people.append(_window(patient, 1440 * day, 1440 * (day + 1), f"{path.stem[:9]}-{day}"))
            whose.append(path.stem[:9])
    free = ("ksi", "kl", "Tr", "G0")
    return [Data("simglucose adults, single days", people, free, None, whose)] if people else []


# How it is scored


def _score(report: Report, data: Data, *, quick: bool) -> None:
    progress(data.name)
    people = tuple(data.people)
    posed = {"mode": "inverse", "free": data.free, "key": jax.random.key(0), "assume_population": True}
    problem = t1djax.pose(people, **posed)
    fit = t1djax.inference.fit_ode(people, problem, key=jax.random.key(1))
    values = np.array([p.derived["p1"].value for p in fit])
    errors = np.array([p.derived["p1"].standard_error for p in fit], dtype=np.float64)
    ok = [p.ok for p in fit]
    common = {"data": data.name, "free": ", ".join(data.free), "people": len(people)}
    misfit = [t1djax.metrics(f, p)["rmse_fit_mg_dL"] for f, p in zip(fit, people, strict=True)]
    fisher = [Claim(v - _Z * e, v + _Z * e, good) for v, e, good in zip(values, errors, ok, strict=True)]
    verdicts = t1djax.identify(fit, people, what_if=False)
    called = 100 * float(np.mean([p.misfit is not None and p.misfit.found for p in verdicts]))
    of_fit = {"interval": "Fisher, white", "misfit, mg/dL": float(np.median(misfit)), "called a misfit, %": called}
    report.add(common | of_fit | _of_p1(data, values, fisher))
    if "ksi" in data.free and not quick:
        ku = problem.known["ku_Vi"]
        found = t1djax.profile(fit, people, "ksi", level=LEVEL)
        claims = [Claim(p.low * k, p.high * k, p.converged) for p, k in zip(found, ku, strict=True)]
        report.add(common | {"interval": "profile, autocorrelation allowed for"} | _of_p1(data, values, claims))
    for noise in ("white", "ar1"):
        posterior = t1djax.sample_posterior(
            people, problem, key=jax.random.key(2), chains=2, draws=250, noise=noise, fit=fit
        )
        claims = [Claim(*p.interval("p1", LEVEL), p.ok) for p in posterior]
        middle = np.array([np.median(p.draws["p1"]) for p in posterior])
        report.add(
            common
            | {"interval": f"posterior, {noise}"}
            | _of_p1(data, middle, claims)
            | _of_readings(posterior, people)
        )


def _of_p1(data: Data, values: np.ndarray, claims: list[Claim]) -> dict[str, Any]:
    cells: dict[str, Any] = {"doubtful": sum(not c.ok for c in claims)}
    widths = np.array([c.high - c.low for c in claims])
    cells["p1 width, %"] = 100 * float(np.median(widths / values))
    if data.fall is not None:
        cells["p1 bias, %"] = 100 * float(np.median(values / data.fall - 1))
        cells["p1 covered, %"] = coverage_percent(claims, data.fall)
    if data.person is not None:
        pairs = [(i, j) for i, a in enumerate(data.person) for j, b in enumerate(data.person) if i < j and a == b]
        allowed = lambda i, j: np.hypot(widths[i], widths[j]) / 2
        agree = [abs(np.log(values[i] / values[j])) * values[i] <= allowed(i, j) for i, j in pairs]
        cells["days agree, %"] = 100 * float(np.mean(agree))
    return cells


def _of_readings(posterior: t1djax.records.Posterior, people: Sequence[t1djax.Patient]) -> dict[str, float]:
    glucose = t1djax.inference.posterior_glucose(posterior, people, key=jax.random.key(3), draws=200)
    rng = np.random.default_rng(UNSEEN)
    inside: dict[str, list[float]] = {"held_out": [], "forecast": []}
    squares: list[float] = []
    for p in people:
        G = glucose[p.name]
        sd = np.median(posterior[p.name].draws["noise_sd_mg_dL"])
        low, high = np.quantile(G + sd * rng.normal(size=G.shape), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        masks = p.masks
        for name, found in inside.items():
            where = getattr(masks, name)
            found.append(float(np.mean((p.glucose_mg_dL >= low)[where] & (p.glucose_mg_dL <= high)[where])))
        squares.append(float(np.mean((np.median(G, axis=0) - p.glucose_mg_dL)[masks.forecast] ** 2)))
    percent = lambda name: 100 * float(np.mean(inside[name]))
    hold = [t1djax.evaluation.persistence_rmse(p) ** 2 for p in people]
    return {
        "held-out readings covered, %": percent("held_out"),
        "forecast readings covered, %": percent("forecast"),
        "forecast RMSE, mg/dL": float(np.sqrt(np.mean(squares))),
        "last reading held, mg/dL": float(np.sqrt(np.mean(hold))),
    }
