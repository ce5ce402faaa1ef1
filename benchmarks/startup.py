"""Start-up: import, and seconds until the first training step, with a cold and with a warm compilation cache."""

import subprocess
import sys
import tempfile
from pathlib import Path

from . import ours
from .report import REPETITIONS, Report, median, progress
from .runners import Scope

_IMPORT = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import {}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""
MODELS = ("ode", "pinn")
"""Main jobs: ksi of the reference cohort."""


def run(scope: Scope, out: Path, *, repeat: int = 3) -> Report:
    """Rows of imports, then of the first step."""
    repeat = 1 if scope.quick else repeat
    report = Report("startup", "Start-up", out, scope.settings() | {"repeat": repeat})
    report.note(
        "Each number is of fresh processes. `first step`: from the import of t1djax (done) until the first chunk "
        "of training (two Gauss-Newton steps) of the reference cohort has ended, data, compilation and all; "
        "`with import`: the import added. Cold: JAX's persistent compilation cache is empty; warm: the same job "
        "again, which finds what the cold one left; programs of any compile time are kept."
    )
    for module in ("numpy", "jax", "t1djax"):
        runs = [_imported(module) for _ in range(repeat)]
        wall = [w for w, _ in runs]
        cpu = median(c for _, c in runs)
        report.add({"what": f"import {module}", "cache": "", "seconds": median(wall), "CPU, s": cpu, REPETITIONS: wall})
    names = list(scope.names or ours.all_names("noise-free"))
    for model in MODELS[1:] if scope.quick else MODELS:
        _first_steps(report, model, names, repeat)
    return report


def _first_steps(report: Report, model: str, names: list[str], repeat: int) -> None:
    job = {"task": "first_step", "case": "noise-free", "names": names, "seed": 0, "model": model}
    rows: dict[str, list] = {"none": [], "cold": [], "warm": []}
    for _ in range(repeat):
        progress(f"first step of {model}")
        with tempfile.TemporaryDirectory() as cache:
            for kind, answers in rows.items():
                answers.append(ours.ask(job, cache=None if kind == "none" else cache))
    what = {"ode": "ode, first fit", "pinn": "pinn, first step"}[model]
    for kind, answers in rows.items():
        bad = next((a for a in answers if not a.ok), None)
        if bad is not None:
            report.add({"what": what, "cache": kind, "status": bad.status, "why": bad.words})
            continue
        steps = [a.found["first_step_s"] for a in answers]
        both = [a.found["first_step_s"] + a.found["import_s"] for a in answers]
        report.add(
            {
                "what": f"{what}, {len(names)} patients",
                "cache": kind,
                "seconds": median(steps),
                "with import, s": median(both),
                "CPU, s": median(a.found["cpu_s"] for a in answers),
                "whole job, s": median(a.found["end_s"] for a in answers),
                REPETITIONS: steps,
            }
        )


def _imported(module: str) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", _IMPORT.format(module)], capture_output=True, text=True, check=True)
    wall, cpu = done.stdout.split()
    return float(wall), float(cpu)
