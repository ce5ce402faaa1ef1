"""Least squares on the bodies of other physiologies: errors over the Cramer-Rao bound, coverage, and speed.

`python -m benchmarks.bodies` fits Kanderian's ten people, 48 h read every 5 min with white noise of 10 mg/dL, in many
draws of the noise, then twenty people drawn of Hovorka's population; `--people 1000` fits that many drawn people of
Kanderian's once, and ten of them by SciPy (`least_squares` on LSODA), for the speed; `--wrong` fits people of each body
by each of them.
"""

import argparse
import dataclasses
import time
from collections.abc import Sequence

import jax
import numpy as np

import t1djax
from t1djax.data import virtual_population
from t1djax.physics import AbstractPhysiology, Hovorka, Kanderian, Magdelaine, kanderian

from . import jobs
from .peers import ask

FREE = {
    Magdelaine: ("ksi", "kl", "Tu", "Tr", "kr_Vb"),
    Kanderian: ("SI", "VG", "tauM", "EGP"),
    Hovorka: ("SI1", "EGP0", "tau_G", "tau_I"),
}
NOISE_MG_DL = 10.0
HORIZONS_MIN = (30, 60, 120)
_AROUND_MIN = 10.0  # readings this near a horizon count for it
_BOUND_95 = 1.959964


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--people", type=int, default=0, help="for the speed; 0 for none")
    parser.add_argument("--wrong", action="store_true", help="fit people of each body by each of them")
    args = parser.parse_args()
    key = jax.random.key(5)
    if args.people or args.wrong:
        speed(args.people) if args.people else wrong(key)
        return
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


def wrong(key: jax.Array, n: int = 10) -> None:
    """People of each body fitted by each; nothing but the readings and doses is known of them."""
    bodies = (Magdelaine, Kanderian, Hovorka)
    print("people of | fitted by | called a misfit; with noise stated | rms residual, mg/dL | "
          + " | ".join(f"forecast {h} min (last reading held)" for h in HORIZONS_MIN))  # fmt: skip
    for theirs in bodies:
        ten = kanderian() if theirs is Kanderian else None
        known = virtual_population(n, key=key, physiology=theirs, bodies=ten, noise=t1djax.WhiteNoise(NOISE_MG_DL))
        strangers = [dataclasses.replace(p, known={}) for p in known]
        _wrong_row(f"{theirs.__name__} | the same, all but the free ones known", tuple(known), theirs, assume=False)
        for mine in bodies:
            _wrong_row(f"{theirs.__name__} | {mine.__name__}", strangers, mine, assume=True)


def _wrong_row(name: str, people: Sequence[t1djax.Patient], body: type[AbstractPhysiology], *, assume: bool) -> None:
    fit = t1djax.fit(people, model="ode", physiology=body, free=FREE[body], assume_population=assume)
    stated = dataclasses.replace(fit, problem=dataclasses.replace(fit.problem, noise_sd_mg_dL=NOISE_MG_DL))
    called = [
        str(sum(v.misfit is not None and v.misfit.found for v in t1djax.identify(f, what_if=False)))
        for f in (fit, stated)
    ]
    rms = lambda x: float(np.sqrt(np.mean(np.square(np.concatenate(x)))))
    misses = [(p.glucose_mg_dL - f.glucose_mg_dL)[p.masks.fit] for p, f in zip(people, fit, strict=True)]
    cells = [name, f"{', '.join(called)} of {len(people)}", f"{rms(misses):.1f}"]
    for h in HORIZONS_MIN:
        ahead, still = [], []
        for p, f in zip(people, fit, strict=True):
            first = p.time_min[p.masks.forecast][0]
            last = p.glucose_mg_dL[p.time_min < first][-1]
            near = np.abs(p.time_min - first - h) <= _AROUND_MIN
            ahead.append((f.glucose_mg_dL - p.glucose_mg_dL)[near])
            still.append((last - p.glucose_mg_dL)[near])
        cells.append(f"{rms(ahead):.1f} ({rms(still):.1f})")
    print(" | ".join(cells), flush=True)


def speed(n: int) -> None:
    """Least squares on many drawn people, and by SciPy on ten of them."""
    cohort = virtual_population(n, key=jax.random.key(3), physiology=Kanderian)
    people = noisy(cohort, 1)
    question = t1djax.Question(physiology=Kanderian, free=FREE[Kanderian])
    call = lambda: t1djax.fit(people, question, model="ode", options=t1djax.inference.LeastSquares(starts=1))
    compile_s, began, cpu = call().cost.compile_s, time.perf_counter(), time.process_time()
    fit = call()
    mine, mine_cpu = (time.perf_counter() - began) / n, (time.process_time() - cpu) / n
    print(f"t1djax: {n} people in {n * mine:.1f} s ({n * mine_cpu:.1f} s CPU), and {compile_s:.1f} s of compilation")
    few = t1djax.Cohort(people.patients[:10], {f"{name} 0": truth for name, truth in cohort.truth.items()})
    told = jobs.patients(few, fit, "kanderian")
    # Differences as wide as the solver's tolerance asks for.
    job = {"task": "fit", "patients": told, "method": "LSODA", "rtol": 1e-6, "atol": 1e-8}
    theirs = ask("scipy", job | {"options": {"diff_step": 1e-4, "x_scale": 0.1}}, envs=None).found
    apart = max(
        abs(f.estimates[s].value / x - 1)
        for f, found in zip(fit.patients, theirs["found"], strict=False)
        for s, x in found.items()
    )
    seconds, cpu = float(np.mean(theirs["seconds"])), theirs["cpu_s"] / len(told)
    print(f"SciPy: {seconds:.2f} s a person ({cpu:.2f} s CPU): {seconds / mine:.0f} times, by CPU {cpu / mine_cpu:.0f}")
    print(f"largest difference {100 * apart:.3f} %")


if __name__ == "__main__":
    main()
