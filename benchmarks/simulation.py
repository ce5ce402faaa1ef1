"""Patient-days of simulation per second: the exact path and diffrax, against SciPy and an Euler loop, with errors."""

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import t1djax
from t1djax.data import steps_needed
from t1djax.physics import AbstractPhysiology, Hovorka, Kanderian, Magdelaine

from . import jobs
from .peers import PEERS, ask
from .problems import UNSEEN
from .report import REPETITIONS, Report, median, progress

DAYS = 2
PRECISIONS = ("float32", "float64")
_SAMPLE = 10  # patients that SciPy solves, and on which errors are taken
_MOST_MADE = 1000  # virtual patients; more are these again, with other insulin sensitivities
_TIGHT = {"task": "simulate", "method": "DOP853", "rtol": 1e-12, "atol": 1e-10, "repeat": 1}
_SCIPY = {"LSODA": (1e-6, 1e-6), "DOP853": (1e-6, 1e-6)}
BATCHINGS = ("vmap", "lax.map 16", "lax.map 64", "lax.map 256", "map_patients")
"""All patients in one vmapped program, in blocks of so many inside one program, or as the library does: a call a block,
by a program compiled for the CPU's caches."""


class _Arrays:
    """A cohort as arrays of one precision."""

    def __init__(self, body: type[AbstractPhysiology], cohort: t1djax.Cohort, n: int, precision: str) -> None:
        with jax.enable_x64(precision == "float64"):
            data = t1djax.data.stack(tuple(cohort))
            truth = [cohort.truth[name].parameters for name in cohort.names]
            column = lambda symbol: jnp.asarray([row[symbol] for row in truth])
            copies = -(-n // len(cohort))
            tile = lambda x: jnp.tile(x, (copies,) + (1,) * (x.ndim - 1))[:n]
            p = {f.name: tile(column(f.name)) for f in dataclasses.fields(body)}
            p[body.facts.sensitivity] *= 1 + 0.001 * (jnp.arange(n) // len(cohort))
            basal = jnp.asarray([p.doses.basal_U_h[0] for p in cohort])
            cast = lambda x: x.astype(precision) if jnp.issubdtype(x.dtype, jnp.inexact) else x
            self.args = jax.tree.map(
                cast,
                (body(**p), jax.tree.map(tile, data.inputs), tile(data.time_min), tile(column("G0")), tile(basal)),
            )


class _Others(NamedTuple):
    """What the rows of a body are held against."""

    told: list[dict[str, Any]]
    """The patients that SciPy solves."""
    glucose_mg_dL: np.ndarray
    """Theirs, to all digits."""
    lsoda_s: list[float]
    """Seconds per patient of SciPy's LSODA, by repetition."""
    envs: Path | None
    repeat: int


def run(out: Path, *, envs: Path | None, full: bool, quick: bool, repeat: int = 3) -> Report:
    """One row per system, precision, and number of patients; ours and SciPy in turn, `repeat` times."""
    sizes = [1, 20] if quick else [1, 100, 1000] + ([100_000] if full else [])
    repeat = 1 if quick else repeat
    report = Report(
        "simulation", "Simulation of 48 h, readings every 5 min", out, {"sizes": sizes, "repeat": repeat, "seeds": [0]}
    )
    report.note(
        "Seconds: median of repetitions; ours without the first call (`first call`), on all cores. Error: largest "
        f"distance of glucose from DOP853 at rtol 1e-12, of {_SAMPLE} patients, mg/dL. Peers solve the same "
        f"patients one by one, with a call per interval of constant input, timed on {_SAMPLE}. `LSODA over "
        "it`: seconds of SciPy's LSODA per patient over the row's, pair by pair, median. Where no body is named, it "
        "is Magdelaine's; Kanderian's and Hovorka's take Runge-Kutta steps of 5 min at most."
    )
    cohort = t1djax.virtual_population(min(max(sizes), _MOST_MADE), key=jax.random.key(UNSEEN))
    others = _peers(report, Magdelaine, cohort, envs, repeat)
    _simglucose(report, envs)
    for n in sizes:
        for precision in PRECISIONS:
            arrays = _Arrays(Magdelaine, cohort, n, precision)
            tried = {1000: BATCHINGS, 100_000: BATCHINGS[-2:]}.get(n, (BATCHINGS[0], BATCHINGS[-1]))
            for batching in tried:
                _row(report, "exact", _own(None), batching, arrays, precision, others)
            if n <= 100:
                _row(report, "diffrax Tsit5", _diffrax, "vmap", arrays, precision, others)
    for precision in PRECISIONS:
        _on_one_core(report, sizes[-1] if quick else 1000, precision, repeat)
    for body in (Kanderian, Hovorka):
        _body(report, body, (1, 2) if quick else (1, 1000), envs, repeat)
    return report


def _body(
    report: Report, body: type[AbstractPhysiology], sizes: tuple[int, ...], envs: Path | None, repeat: int
) -> None:
    """Rows of a body whose equations have no closed form."""
    cohort = t1djax.virtual_population(max(sizes), key=jax.random.key(UNSEEN), physiology=body)
    others, steps = _peers(report, body, cohort, envs, repeat), steps_needed(tuple(cohort), body)
    for n in sizes:
        for precision in PRECISIONS:
            arrays = _Arrays(body, cohort, n, precision)
            batching = BATCHINGS[0] if n == 1 else BATCHINGS[-1]
            _row(report, f"{body.__name__}, Runge-Kutta 4", _own(steps), batching, arrays, precision, others)


def _on_one_core(report: Report, n: int, precision: str, repeat: int) -> None:
    """The library's way in a process that may use one core."""
    progress(f"exact, map_patients, {precision}, {n} patients, one core")
    command = [sys.executable, "-m", "benchmarks.simulation", str(n), precision, str(repeat)]
    taskset = shutil.which("taskset")
    if taskset is None:
        report.note("One core: not measured, there is no taskset here.")
        return
    command = [taskset, "--cpu-list", str(min(os.sched_getaffinity(0))), *command]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    cells = {"system": "t1djax exact, one core", "batching": "map_patients", "precision": precision, "patients": n}
    each = found["seconds"]
    cells |= {"first call, s": found["compile_s"], "seconds": median(each), "patient-days/s": n * DAYS / median(each)}
    report.add(cells | {REPETITIONS: each})


def one_core(n: int, precision: str, repeat: int) -> dict[str, Any]:
    """Seconds of simulating `n` people by this process."""
    cohort = t1djax.virtual_population(min(n, _MOST_MADE), key=jax.random.key(UNSEEN))
    arrays = _Arrays(Magdelaine, cohort, n, precision)
    with jax.enable_x64(precision == "float64"):
        program = batched(_own(None), "map_patients")
        began = time.perf_counter()
        jax.block_until_ready(program(*arrays.args))
        compile_s = time.perf_counter() - began
        seconds = [_timed(program, arrays, max(1, min(50, 1000 // n))) for _ in range(repeat)]
    return {"compile_s": compile_s, "seconds": seconds}


def _timed(program: Callable[..., Any], arrays: _Arrays, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        jax.block_until_ready(program(*arrays.args))
    return (time.perf_counter() - began) / times


@functools.cache
def _own(steps: int | None) -> Callable[..., jax.Array]:
    """The body's own solution in so many steps."""

    def one(p: Any, inputs: t1djax.physics.Inputs, ts: jax.Array, G0: jax.Array, basal_U_h: jax.Array) -> jax.Array:
        return p.solution(inputs, ts, p.start(G0, basal_U_h / 60), steps=steps).glucose_mg_dL

    return one


def _diffrax(
    p: AbstractPhysiology, inputs: t1djax.physics.Inputs, ts: jax.Array, G0: jax.Array, basal_U_h: jax.Array
) -> jax.Array:
    return t1djax.simulate(p, inputs, ts, y0=p.start(G0, basal_U_h / 60)).glucose_mg_dL


def batched(one: Callable[..., jax.Array], batching: str) -> Callable[..., jax.Array]:
    """A function of one patient made one of all, in one of `BATCHINGS`, to be called from Python."""
    if batching == "map_patients":
        return functools.partial(t1djax.programs.map_patients, one)
    if batching == "vmap":
        return jax.jit(jax.vmap(one))
    size = int(batching.split()[1])
    return jax.jit(lambda *args: jax.lax.map(lambda x: one(*x), args, batch_size=size))


def _row(
    report: Report,
    system: str,
    one: Callable[..., jax.Array],
    batching: str,
    arrays: _Arrays,
    precision: str,
    others: _Others,
) -> None:
    n = len(arrays.args[-1])
    progress(f"{system}, {batching}, {precision}, {n} patients")
    with jax.enable_x64(precision == "float64"):
        began = time.perf_counter()
        program = batched(one, batching)
        glucose = np.asarray(program(*arrays.args))
        compile_s = time.perf_counter() - began
        times = max(1, min(50, 1000 // n))  # a short one is timed over several
        seconds, ratios = [], []
        for _ in range(others.repeat):
            theirs = _lsoda_s(others) if n == 1000 else None
            seconds.append(_timed(program, arrays, times))
            ratios.append((median(others.lsoda_s) if theirs is None else theirs) * n / seconds[-1])
    exact = others.glucose_mg_dL[:n]
    report.add(
        {
            "system": f"t1djax {system}",
            "batching": batching,
            "precision": precision,
            "patients": n,
            "first call, s": compile_s,
            "seconds": median(seconds),
            "patient-days/s": n * DAYS / median(seconds),
            "error, mg/dL": float(np.abs(glucose[: len(exact), : exact.shape[1]] - exact).max()),
            "LSODA over it": median(ratios),
            REPETITIONS: seconds,
        }
    )


def _lsoda_s(others: _Others) -> float:
    """Seconds per patient of SciPy's LSODA, now."""
    rtol, atol = _SCIPY["LSODA"]
    job = {"task": "simulate", "method": "LSODA", "rtol": rtol, "atol": atol, "repeat": 1, "patients": others.told}
    return ask("scipy", job, envs=others.envs).found["seconds"][0] / len(others.told)


def _peers(
    report: Report, body: type[AbstractPhysiology], cohort: t1djax.Cohort, envs: Path | None, repeat: int
) -> _Others:
    """Rows of SciPy and the Euler loop."""
    told = jobs.patients(t1djax.Cohort(cohort.patients[:_SAMPLE], cohort.truth), body=body.__name__.lower())
    tight = ask("scipy", {**_TIGHT, "patients": told}, envs=envs)
    exact = np.asarray(tight.found["glucose_mg_dL"])
    name = "" if body is Magdelaine else f", {body.__name__}"
    tried = [(f"SciPy {m}, rtol {r:g}{name}", {"method": m, "rtol": r, "atol": a}) for m, (r, a) in _SCIPY.items()]
    if body is Magdelaine:
        tried.append(("NumPy Euler, 1 min", {"method": "euler", "step_min": 1.0}))
    lsoda: list[float] = []
    for system, settings in tried:
        answer = ask("scipy", {"task": "simulate", "patients": told, "repeat": repeat, **settings}, envs=envs)
        if not answer.ok:
            report.add({"system": system, "status": answer.status, "why": answer.words})
            continue
        each = [s / len(told) for s in answer.found["seconds"]]
        lsoda = lsoda or each
        error = np.abs(np.asarray(answer.found["glucose_mg_dL"]) - exact).max()
        report.add(
            {
                "system": system,
                "batching": "one by one",
                "precision": "float64",
                "patients": len(told),
                "seconds": median(each) * len(told),
                "patient-days/s": DAYS / median(each),
                "error, mg/dL": float(error),
                "LSODA over it": median([a / b for a, b in zip(lsoda, each, strict=True)]),
                REPETITIONS: [s * len(told) for s in each],
            }
        )
    return _Others(told, exact, lsoda, envs, repeat)


def _simglucose(report: Report, envs: Path | None) -> None:
    answer = ask("simglucose", {"task": "simulate", "days": 1}, envs=envs)
    system = f"simglucose, another model ({PEERS['simglucose'].model})"
    if answer.ok:
        days = answer.found["days"] / answer.found["seconds"][0]
        report.add({"system": system, "patients": 1, "seconds": answer.found["seconds"][0], "patient-days/s": days})
    else:
        report.add({"system": system, "status": answer.status, "why": answer.words})


if __name__ == "__main__":
    print(json.dumps(one_core(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
