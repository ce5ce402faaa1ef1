"""Least squares on the bodies of other physiologies: errors over the Cramer-Rao bound, coverage, and speed.

`python -m benchmarks.bodies` fits Kanderian's ten people, 48 h read every 5 min with white noise of 10 mg/dL, in many
draws of the noise, then twenty people drawn of Hovorka's population; `--people 1000` fits that many drawn people of
Kanderian's once, and ten of them by SciPy (`least_squares` on LSODA), for the speed.
"""

import argparse
import dataclasses
import time
from typing import Any

import jax
import numpy as np
import scipy.integrate
import scipy.optimize

import t1djax
from t1djax.data import virtual_population
from t1djax.physics import AbstractPhysiology, Hovorka, Kanderian, kanderian

FREE = {Kanderian: ("SI", "VG", "tauM", "EGP"), Hovorka: ("SI1", "EGP0", "tau_G", "tau_I")}
NOISE_MG_DL = 10.0
_BOUND_95 = 1.959964


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--people", type=int, default=0, help="for the speed; 0 for none")
    args = parser.parse_args()
    if args.people:
        speed(args.people)
        return
    key = jax.random.key(5)
    # Of several starts the best is kept: a time constant is free, and from one start a fit may end in another valley.
    recover(Kanderian, virtual_population(10, key=key, bodies=kanderian()), args.draws)
    recover(Hovorka, virtual_population(20, key=key, physiology=Hovorka), max(1, args.draws // 2))


def noisy(cohort: t1djax.Cohort, draws: int) -> t1djax.Cohort:
    """So many readings of each person's glucose, each under a name of its own."""
    rng, people = np.random.default_rng(1), []
    for p in cohort:
        known = {s: x for s, x in p.known.items() if s != "G0"}
        for i in range(draws):
            read = p.glucose_mg_dL + NOISE_MG_DL * rng.standard_normal(len(p.time_min))
            people.append(dataclasses.replace(p, name=f"{p.name} {i}", glucose_mg_dL=read, known=known))
    return t1djax.Cohort(tuple(people))


def recover(body: type[AbstractPhysiology], cohort: t1djax.Cohort, draws: int) -> None:
    """Errors of the estimates over the bound, and how often intervals hold the truth."""
    free = [*FREE[body], "G0"]
    question = t1djax.Question(physiology=body, free=free, noise_sd_mg_dL=NOISE_MG_DL)
    bounds = t1djax.preflight(cohort, question, what_if=False)
    people = noisy(cohort, draws)
    began = time.perf_counter()
    fit = t1djax.fit(people, question, model="ode")
    seconds = time.perf_counter() - began
    failed = sum(not p.ok for p in fit)
    print(f"{body.__name__}: {len(cohort)} people x {draws} draws, {seconds:.0f} s "
          f"({fit.cost.compile_s:.1f} s compilation), {failed} failed")  # fmt: skip
    print("parameter | rms error / bound, all (lowest to highest person) | coverage at 95 %, all | bound, %")
    for symbol in free:
        ratio, inside, bound = [], [], []
        for i, p in enumerate(cohort):
            sd = bounds[p.name].parameters[symbol].bound_percent / 100
            true = cohort.truth[p.name].parameters[symbol]
            mine = [f.estimates[symbol] for f in fit.patients[i * draws : (i + 1) * draws] if f.ok]
            away = np.log([e.value / true for e in mine])
            error = np.array([(e.white_error or e.standard_error or np.nan) / e.value for e in mine])
            ratio.append(away / sd)
            inside.append(np.abs(away) <= _BOUND_95 * error)
            bound.append(100 * sd)
        each = [float(np.sqrt(np.mean(x**2))) for x in ratio]
        whole = float(np.sqrt(np.mean(np.concatenate(ratio) ** 2)))
        print(f"{symbol} | {whole:.3f} ({min(each):.3f} to {max(each):.3f}) | "
              f"{100 * np.mean(np.concatenate(inside)):.1f} % | {min(bound):.2g} to {max(bound):.2g}")  # fmt: skip


def speed(n: int) -> None:
    """Least squares on many drawn people, and by SciPy on ten of them."""
    cohort = virtual_population(n, key=jax.random.key(3), physiology=Kanderian)
    people = t1djax.Cohort(noisy(cohort, 1).patients)
    question = t1djax.Question(physiology=Kanderian, free=FREE[Kanderian])
    fit = t1djax.fit(people, question, model="ode", options=t1djax.LeastSquares(starts=1))
    each = fit.cost.run_s / n
    print(f"t1djax: {n} people in {fit.cost.run_s:.1f} s and {fit.cost.compile_s:.1f} s of compilation")
    began, theirs, ours = time.perf_counter(), [], []
    for p, found in list(zip(people, fit, strict=True))[:10]:
        theirs.append(_scipy(p, {s: e.initial for s, e in found.estimates.items()}))
        ours.append([found.estimates[s].value for s in (*FREE[Kanderian], "G0")])
    seconds = (time.perf_counter() - began) / 10
    apart = np.max(np.abs(np.array(ours) / np.array(theirs) - 1))
    print(f"SciPy: {seconds:.2f} s a person; {seconds / each:.0f} times; largest difference {100 * apart:.3f} %")


def _scipy(patient: t1djax.Patient, start: dict[str, float]) -> Any:
    """Least squares by SciPy on LSODA, from dose jump to dose jump, with differences for slopes."""
    symbols, mask = (*FREE[Kanderian], "G0"), patient.masks.fit
    breaks, insulin, carbs = patient.doses.rates(float(patient.time_min[0]), float(patient.time_min[-1]))
    ends = np.append(breaks[1:], patient.time_min[-1])

    def glucose(z: np.ndarray) -> np.ndarray:
        v = dict(patient.known) | dict(zip(symbols, np.exp(z), strict=True))
        Ib = 1e6 * patient.doses.basal_U_h[0] / 60 / v["CI"]
        y, G = np.array([v["G0"], Ib, Ib, v["SI"] * Ib, 0.0, 0.0]), np.zeros(len(patient.time_min))
        G[0] = v["G0"]
        for t0, t1, u, r in zip(breaks, ends, 1e6 * insulin, carbs, strict=True):

            def rates(t: float, y: np.ndarray, u: float = u, r: float = r) -> list[float]:
                return [
                    -(v["GEZI"] + y[3]) * y[0] + v["EGP"] + y[5], (u / v["CI"] - y[1]) / v["tau1"],
                    (y[1] - y[2]) / v["tau2"], v["p2"] * (v["SI"] * y[2] - y[3]),
                    (r / v["VG"] - y[4]) / v["tauM"], (y[4] - y[5]) / v["tauM"],
                ]  # fmt: skip

            at = (patient.time_min > t0) & (patient.time_min <= t1)
            times = np.unique(np.append(patient.time_min[at], t1))
            found = scipy.integrate.solve_ivp(
                rates, (t0, t1), y, method="LSODA", t_eval=times, rtol=1e-6, atol=1e-8, first_step=min(0.5, t1 - t0)
            )
            G[at], y = found.y[0][: at.sum()], found.y[:, -1]
        return G

    misfit = lambda z: (glucose(z) - patient.glucose_mg_dL)[mask]
    begin = np.log([start[s] for s in symbols])
    return np.exp(scipy.optimize.least_squares(misfit, begin, diff_step=1e-4, x_scale=0.1).x)


if __name__ == "__main__":
    main()
