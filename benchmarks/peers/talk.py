"""How a peer's script speaks: a job as JSON on its input, the answer as one line of JSON on its output.

Scripts of this folder run inside a peer's environment. They may import this file, NumPy and the peer; nothing of ours.
"""

import contextlib
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any


def serve(tasks: dict[str, Callable[[dict[str, Any]], dict[str, Any]]], packages: tuple[str, ...]) -> None:
    """Do the one job on the input. What packages print goes to the error stream."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = json.load(sys.stdin)
    wall, cpu = time.perf_counter(), time.process_time()
    answer = tasks[job["task"]](job)
    answer |= {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    answer["peak_MiB"] = peak_MiB()
    answer["versions"] = {name: version(name) for name in packages} | {"python": platform.python_version()}
    json.dump(answer, answers)
    answers.write("\n")
    answers.flush()


def each(fit: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]], job: dict[str, Any]) -> dict[str, Any]:
    """ksi of every patient, one after the other, until the budget is spent."""
    began, found = time.perf_counter(), []
    for patient in job["patients"]:
        if time.perf_counter() - began > job["budget_s"]:
            break
        found.append(fit(patient, job))
    keys = {"ksi": "ksi", "courses": "course", "seconds": "seconds", "glucose_mg_dL": "glucose_mg_dL"}
    answer: dict[str, Any] = {name: [f[key] for f in found] for name, key in keys.items()}
    return answer | {"every": job["every"], "compile_s": sum(f["compile_s"] for f in found)}


def rates(patient: dict[str, Any]) -> list[tuple[float, float, float, float]]:
    """Intervals of constant input: start and end (min), insulin (U/min), carbohydrate (mg/min)."""
    breaks, last = patient["break_min"], patient["time_min"][-1]
    ends = [*breaks[1:], max(last, breaks[-1])]
    rows = zip(breaks, ends, patient["insulin_U_min"], patient["carbs_mg_min"], strict=True)
    return [(a, min(b, last), u, r) for a, b, u, r in rows if a < last]


def peak_MiB() -> float:
    """Of this program; what `getrusage` tells is at least the peak of the process that started it."""
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status", encoding="ascii") as status:
        return next(float(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024  # bytes there, KiB elsewhere
