"""Many patients in one call: seconds, memory, errors; each size in a process of its own, so that peaks do not mix."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import t1djax

from .peers.talk import peak_MiB
from .problems import UNSEEN
from .report import Report, progress

_MIB = 1024**2


def run(sizes: Sequence[int], out: Path) -> Report:
    """One row per size."""
    report = Report("scale", "Least squares of ksi and G0 in one call", out, {"sizes": list(sizes), "key": UNSEEN})
    report.note(
        "48 h, 5 min, white noise of 10 mg/dL. `growth`: rise of the process's peak memory by the call. `results`: "
        "arrays that the fit holds on return. `working`: growth less results."
    )
    for n in sizes:
        progress(f"{n} patients")
        report.add(in_own_process(n))
    return report


def in_own_process(n: int, model: str = "ode") -> dict[str, Any]:
    """`measure` in a process of its own, so that its peak is of this alone."""
    command = [sys.executable, "-m", "benchmarks.scale", str(n), model]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(n: int, model: str) -> dict[str, Any]:
    """Fit `n` virtual patients in this process."""
    cohort = t1djax.virtual_population(n, key=jax.random.key(UNSEEN), noise=t1djax.WhiteNoise(10.0))
    before, cpu, began = peak_MiB(), time.process_time(), time.perf_counter()
    fit = t1djax.fit(cohort, model=model, free=["ksi", "G0"])
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    grown = peak_MiB() - before
    found = np.array([f.estimates["ksi"].value for f in fit])
    true = np.array([cohort.truth[f.name].parameters["ksi"] for f in fit])
    held = sum(x.nbytes for f in fit for x in (f.glucose_mg_dL, *f.states.values())) / _MIB
    return {
        "patients": n,
        "compile, s": fit.cost.compile_s,
        "run, s": fit.cost.run_s,
        "whole call, s": wall,
        "CPU, s": cpu,
        "ksi error rms, %": 100 * float(np.sqrt(np.mean((found / true - 1) ** 2))),
        "failed": sum(not f.ok for f in fit),
        "growth, MiB": grown,
        "results, MiB": held,
        "working, MiB": grown - held,
        "peak, MiB": peak_MiB(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2])))
