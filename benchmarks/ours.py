"""t1djax asked as a peer is: a job as JSON on the input of a process of its own, an answer as JSON on its output."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

_BEFORE = time.perf_counter()
import t1djax  # noqa: E402 - timed

IMPORT_S = time.perf_counter() - _BEFORE

from . import jobs  # noqa: E402
from .optimisers import PLAIN  # noqa: E402
from .peers import Answer  # noqa: E402
from .peers.talk import peak_MiB  # noqa: E402
from .problems import CLEAN_5, WHITE  # noqa: E402

CASES = {
    "noise-free": (CLEAN_5, 0),
    "white 10 mg/dL": (WHITE, 0),
    "30 virtual, noise-free": (CLEAN_5, 30),
    "30 virtual, white 10 mg/dL": (WHITE, 30),
}
"""What is identified: ksi alone, from readings every 5 min, of the reference cohort or of so many virtual patients."""
_NETWORKS: dict[str, type[t1djax.networks.NetworkOptions]] = {
    "pinn": t1djax.PINNOptions,
    "modified_mlp": t1djax.ModifiedMLPOptions,
    "birnn": t1djax.BIRNNOptions,
}


def cohort(name: str, names: Sequence[str], seed: int) -> t1djax.Cohort:
    """The patients that everybody is given: those of these names of a case of `CASES`."""
    case, virtual = CASES[name]
    people = case.virtual(virtual) if virtual else case.reference(seed, tuple(names))
    # G0 is told to everybody: peers estimate ksi alone.
    told = lambda p: dataclasses.replace(p, known={**p.known, "G0": people.truth[p.name].parameters["G0"]})
    return t1djax.Cohort(tuple(told(patient) for patient in people if patient.name in names), people.truth)


def all_names(name: str) -> list[str]:
    """Everybody of a case."""
    case, virtual = CASES[name]
    return list(case.virtual(virtual).names if virtual else t1djax.presets())


def rmse(found: t1djax.Cohort, glucose: np.ndarray) -> np.ndarray:
    """Root mean square distance of glucose (mg/dL) from the truth over the window, forecast included, by patient."""
    true = np.stack([found.truth[name].glucose_mg_dL for name in found.names])
    return np.sqrt(np.mean((glucose - true) ** 2, axis=1))


def ask(job: dict[str, Any], *, cache: str | None = None, timeout_s: float = 300.0) -> Answer:
    """Give a job to t1djax in a process of its own.

    Args:
        job: see `fit`.
        cache: folder of JAX's persistent compilation cache; none if not given.
        timeout_s: after which it is stopped.
    """
    env = dict(os.environ)
    if cache is not None:
        env |= {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.ours"]
    try:
        done = subprocess.run(
            command, input=json.dumps(job), capture_output=True, text=True, timeout=timeout_s, env=env, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer("timed out", {}, f"after {timeout_s:g} s", time.perf_counter() - began)
    wall_s = time.perf_counter() - began
    if done.returncode:
        return Answer("failed", {}, done.stderr.splitlines()[-1][:200], wall_s)
    return Answer("ok", json.loads(done.stdout.splitlines()[-1]), wall_s=wall_s)


class _Course:
    """Estimates against seconds, from the progress of a fit whose programs are compiled already."""

    def __init__(self) -> None:
        self.began, self.cpu = time.perf_counter(), time.process_time()
        self.rows: list[list[Any]] = []

    def note(self, ksi: np.ndarray) -> None:
        self.rows.append([time.perf_counter() - self.began, time.process_time() - self.cpu, ksi.tolist()])


def course(job: dict[str, Any]) -> tuple[t1djax.Fit, list[list[Any]]]:
    """One fit of ksi of all patients in one program: wall seconds, CPU seconds and ksi after each chunk, and the end.

    The job: `case`, `names`, `seed`, `model`, `optimiser` (`adam`, or else the default), `steps`, `options`.
    """
    people = cohort(job["case"], job["names"], job["seed"])
    model, options, stages = job["model"], None, None
    if model != "ode":
        options = _NETWORKS[model](**job.get("options", {}))
        if job["optimiser"] == "adam":
            options = dataclasses.replace(options, precision="float32")
            stages = [dataclasses.replace(PLAIN, steps=job["steps"])]
    noted = _Course()
    on_progress = None if model == "ode" else lambda p: noted.note(p.values["ksi"])
    how = {"model": model, "options": options, "stages": stages, "on_progress": on_progress}
    found = t1djax.fit(people, free=["ksi"], seed=job["seed"], **how)
    if model == "ode":
        noted.note(np.array([p.estimates["ksi"].value for p in found]))
    return found, noted.rows


def fit(job: dict[str, Any]) -> dict[str, Any]:
    """`course` with compilation, then `repeat` times without."""
    began = time.perf_counter()
    cold, _ = course(job)
    cold_s = time.perf_counter() - began
    courses, seconds, found = [], [], cold
    for _ in range(job["repeat"]):
        began = time.perf_counter()
        found, rows = course(job)
        courses.append(rows)
        seconds.append(time.perf_counter() - began)
    people = cohort(job["case"], job["names"], job["seed"])
    return {
        "ksi": [p.estimates["ksi"].value for p in found],
        "courses": courses,
        "seconds": seconds,
        "compile_s": cold.cost.compile_s,
        "cold_s": cold_s,
        "steps": int(found.history.step[-1]),
        "rmse_mg_dL": rmse(people, np.stack([p.glucose_mg_dL for p in found])).tolist(),
    }


def first_step(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds after the import until the first chunk of training is through, and until the fit is there."""
    began, stamps = time.perf_counter(), []
    noted = None if job["model"] == "ode" else lambda _: stamps.append(time.perf_counter() - began)
    people = cohort(job["case"], job["names"], job["seed"])
    t1djax.fit(people, model=job["model"], free=["ksi"], on_progress=noted)
    end = time.perf_counter() - began
    return {"first_step_s": stamps[0] if stamps else end, "end_s": end}


def untrained(job: dict[str, Any]) -> dict[str, Any]:
    """The job of a peer that trains our network: patients with untrained weights, and our loss at the start."""
    people = cohort(job["case"], job["names"], job["seed"])
    fit = jobs.untrained(people, t1djax.PINNOptions(precision="float32", **job.get("options", {})), job["seed"])
    return {"patients": jobs.with_network(jobs.patients(people, fit), fit), "first_loss": jobs.first_loss(fit)}


_TASKS = {"fit": fit, "first_step": first_step, "untrained": untrained}

if __name__ == "__main__":
    asked = json.load(sys.stdin)
    wall, cpu = time.perf_counter(), time.process_time()
    answer = _TASKS[asked["task"]](asked)
    answer |= {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    answer["import_s"] = IMPORT_S
    answer["peak_MiB"] = peak_MiB()
    print(json.dumps(answer))
