"""Patient-days of simulation per second: the exact path and diffrax, against SciPy and an Euler loop, with errors."""

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import t1djax

from . import jobs
from .peers import PEERS, ask
from .problems import UNSEEN
from .report import REPETITIONS, Report, median, progress

DAYS = 2
_SAMPLE = 10  # patients that SciPy solves, and on which errors are taken
_MOST_MADE = 1000  # virtual patients; more are these again, with other insulin sensitivities
_TIGHT = {"task": "simulate", "method": "DOP853", "rtol": 1e-12, "atol": 1e-10, "repeat": 1}
_SCIPY = {"LSODA": (1e-6, 1e-6), "DOP853": (1e-6, 1e-6)}
BATCHINGS = ("vmap", "lax.map 16", "lax.map 64", "lax.map 256", "map_patients")
"""All patients in one vmapped program, in blocks of so many inside one program, or as the library does: a call a block,
by a program compiled for the CPU's caches."""


class _Arrays:
    """A cohort as arrays of one precision."""

    def __init__(self, cohort: t1djax.Cohort, n: int, precision: str) -> None:
        with jax.enable_x64(precision == "float64"):
            data = t1djax.stack(tuple(cohort))
            truth = [cohort.truth[name].parameters for name in cohort.names]
            column = lambda symbol: jnp.asarray([row[symbol] for row in truth])
            copies = -(-n // len(cohort))
            tile = lambda x: jnp.tile(x, (copies,) + (1,) * (x.ndim - 1))[:n]
            names = ("ksi", "kl", "kb", "Tu", "ku_Vi", "Tr", "kr_Vb")
            p = {symbol: tile(column(symbol)) for symbol in names}
            p["ksi"] = p["ksi"] * (1 + 0.001 * (jnp.arange(n) // len(cohort)))
            cast = lambda x: x.astype(precision) if jnp.issubdtype(x.dtype, jnp.inexact) else x
            self.args = jax.tree.map(
                cast, (t1djax.Magdelaine(**p), jax.tree.map(tile, data.inputs), tile(data.time_min), tile(column("G0")))
            )


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
        "it`: seconds of SciPy's LSODA per patient over the row's, pair by pair, median."
    )
    cohort = t1djax.virtual_population(min(max(sizes), _MOST_MADE), key=jax.random.key(UNSEEN))
    told = jobs.patients(cohort)[:_SAMPLE]
    tight = ask("scipy", {**_TIGHT, "patients": told}, envs=envs)
    reference = np.asarray(tight.found["glucose_mg_dL"])
    lsoda = _peers(report, told, reference, envs, repeat)
    for n in sizes:
        for precision in ("float32", "float64"):
            arrays = _Arrays(cohort, n, precision)
            tried = {1000: BATCHINGS, 100_000: BATCHINGS[-2:]}.get(n, (BATCHINGS[0], BATCHINGS[-1]))
            for batching in tried:
                _row(report, "exact", _exact, batching, arrays, n, precision, reference, told, envs, repeat, lsoda)
            if n <= 100:
                _row(
                    report,
                    "diffrax Tsit5",
                    _diffrax,
                    "vmap",
                    arrays,
                    n,
                    precision,
                    reference,
                    told,
                    envs,
                    repeat,
                    lsoda,
                )
    for precision in ("float32", "float64"):
        _on_one_core(report, sizes[-1] if quick else 1000, precision, repeat)
    return report


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
    arrays = _Arrays(cohort, n, precision)
    with jax.enable_x64(precision == "float64"):
        program = batched(_exact, "map_patients")
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


def _exact(p: t1djax.Magdelaine, inputs: t1djax.Inputs, ts: jax.Array, G0: jax.Array) -> jax.Array:
    return t1djax.propagate(p, inputs, ts, G0=G0).glucose_mg_dL


def _diffrax(p: t1djax.Magdelaine, inputs: t1djax.Inputs, ts: jax.Array, G0: jax.Array) -> jax.Array:
    return t1djax.simulate(p, inputs, ts, G0=G0).glucose_mg_dL


def batched(one: Callable[..., jax.Array], batching: str) -> Callable[..., jax.Array]:
    """A function of one patient made one of all, in one of `BATCHINGS`, to be called from Python."""
    if batching == "map_patients":
        return functools.partial(t1djax.map_patients, one)
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
    n: int,
    precision: str,
    reference: np.ndarray,
    told: list[dict[str, Any]],
    envs: Path | None,
    repeat: int,
    lsoda: list[float],
) -> None:
    progress(f"{system}, {batching}, {precision}, {n} patients")
    with jax.enable_x64(precision == "float64"):
        began = time.perf_counter()
        program = batched(one, batching)
        glucose = np.asarray(program(*arrays.args))
        compile_s = time.perf_counter() - began
        times = max(1, min(50, 1000 // n))  # a short one is timed over several
        seconds, ratios = [], []
        for _ in range(repeat):
            theirs = _lsoda_s(told, envs) if n == 1000 else None
            seconds.append(_timed(program, arrays, times))
            ratios.append((median(lsoda) if theirs is None else theirs) * n / seconds[-1])
    known = min(n, _SAMPLE)
    report.add(
        {
            "system": f"t1djax {system}",
            "batching": batching,
            "precision": precision,
            "patients": n,
            "first call, s": compile_s,
            "seconds": median(seconds),
            "patient-days/s": n * DAYS / median(seconds),
            "error, mg/dL": float(np.abs(glucose[:known, : reference.shape[1]] - reference[:known]).max()),
            "LSODA over it": median(ratios),
            REPETITIONS: seconds,
        }
    )


def _lsoda_s(told: list[dict[str, Any]], envs: Path | None) -> float:
    """Seconds per patient of SciPy's LSODA, now."""
    rtol, atol = _SCIPY["LSODA"]
    job = {"task": "simulate", "method": "LSODA", "rtol": rtol, "atol": atol, "repeat": 1, "patients": told}
    return ask("scipy", job, envs=envs).found["seconds"][0] / len(told)


def _peers(
    report: Report, told: list[dict[str, Any]], reference: np.ndarray, envs: Path | None, repeat: int
) -> list[float]:
    """Rows of SciPy, the Euler loop and simglucose; seconds per patient of LSODA, by repetition."""
    tried = [(f"SciPy {m}, rtol {r:g}", {"method": m, "rtol": r, "atol": a}) for m, (r, a) in _SCIPY.items()]
    tried.append(("NumPy Euler, 1 min", {"method": "euler", "step_min": 1.0}))
    lsoda: list[float] = []
    for system, settings in tried:
        answer = ask("scipy", {"task": "simulate", "patients": told, "repeat": repeat, **settings}, envs=envs)
        if not answer.ok:
            report.add({"system": system, "status": answer.status, "why": answer.words})
            continue
        each = [s / len(told) for s in answer.found["seconds"]]
        lsoda = lsoda or each
        error = np.abs(np.asarray(answer.found["glucose_mg_dL"]) - reference).max()
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
    answer = ask("simglucose", {"task": "simulate", "days": 1}, envs=envs)
    system = f"simglucose, another model ({PEERS['simglucose'].model})"
    if answer.ok:
        days = answer.found["days"] / answer.found["seconds"][0]
        report.add({"system": system, "patients": 1, "seconds": answer.found["seconds"][0], "patient-days/s": days})
    else:
        report.add({"system": system, "status": answer.status, "why": answer.words})
    return lsoda


if __name__ == "__main__":
    print(json.dumps(one_core(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
