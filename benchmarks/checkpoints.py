"""What checkpoints and tracking cost: milliseconds, bytes, and their share of the wall time of a training."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import t1djax
from t1djax.config import Experiment
from t1djax.experiment import Execution
from t1djax.experiment import run as run_experiment
from t1djax.io import TrainingStates
from t1djax.records import TrainState
from t1djax.training import default_stages, training_memory

from .peers.talk import peak_MiB
from .problems import UNSEEN
from .report import Report, progress

_MIB = 1024**2


def run(sizes: Sequence[int], memory_sizes: Sequence[int], pairs: int, out: Path, *, quick: bool = False) -> Report:
    """Rows of three kinds: saves, overhead, memory."""
    settings = {"sizes": list(sizes), "memory_sizes": list(memory_sizes), "pairs": pairs, "quick": quick}
    report = Report("checkpoints", "Cost of checkpoints and tracking", out, settings)
    report.note(
        "`blocking`: what a save holds the training up; `whole`: until it is on the disk. `share`: median over pairs "
        "of neighbouring runs of the additional wall time, compilation left out, with the quartiles. `estimate`: of "
        "`training_memory`; `growth`: rise of the process's peak memory by the training."
    )
    for n in sizes:
        progress(f"saves of {n} patients")
        report.add(_child("saves", n, quick))
    progress("overhead")
    for row in overhead(pairs, quick=quick):
        report.add(row)
    for n in memory_sizes:
        progress(f"memory of {n} patients")
        report.add(_child("memory", n, quick))
    return report


def _child(what: str, n: int, quick: bool) -> dict[str, Any]:
    """In a process of its own, so that peaks do not mix."""
    command = [sys.executable, "-m", "benchmarks.checkpoints", what, str(n), str(int(quick))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _people(n: int) -> t1djax.Cohort:
    return t1djax.virtual_population(n, key=jax.random.key(UNSEEN))


def _options(quick: bool) -> t1djax.PINNOptions:
    return t1djax.PINNOptions(width=8, depth=1, cell_min=60.0) if quick else t1djax.PINNOptions()


class _Catch:
    """A keeper that only holds on to the last state."""

    state: TrainState | None = None

    def restore(self, like: Any) -> None:
        return None

    def keep(self, state: TrainState, *, stage_ends: bool) -> None:
        self.state = state


def saves(n: int, quick: bool) -> dict[str, Any]:
    """Save the state of `n` patients, several times."""
    cohort, caught = _people(n), _Catch()
    problem = t1djax.pose(cohort.patients, mode="inverse", free=["ksi"], key=jax.random.key(0))
    stages = [t1djax.Stage(steps=2)]
    t1djax.training.fit_members(
        cohort.patients, [problem], keys=[jax.random.key(0)], options=_options(quick), stages=stages, keeper=caught
    )
    assert caught.state is not None
    blocking, whole = [], []
    with tempfile.TemporaryDirectory() as folder, TrainingStates(folder, every=1) as states:
        for i in range(4 if quick else 12):
            began = time.perf_counter()
            states.keep(caught.state._replace(step=i + 1), stage_ends=False)
            blocking.append(time.perf_counter() - began)
            states._manager().wait_until_finished()
            whole.append(time.perf_counter() - began)
        newest = max((p for p in Path(folder).iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
        on_disk = sum(p.stat().st_size for p in newest.rglob("*") if p.is_file())
        held = states.bytes
    return {
        "what": "save",
        "patients": n,
        "blocking, ms": 1e3 * float(np.median(blocking[1:])),
        "whole, ms": 1e3 * float(np.median(whole[1:])),
        "arrays, bytes a patient": held / n,
        "disk, bytes a patient": on_disk / n,
    }


def overhead(pairs: int, *, quick: bool) -> list[dict[str, Any]]:
    """Wall time of a PINN training of ten patients with and without each, in turns."""
    import mlflow  # noqa: F401, PLC0415 - its own loading is no part of a training

    network = {"width": 8, "depth": 1, "cell_min": 60.0} if quick else {}
    patients = "2,3" if quick else "all"
    ways = ("neither", "checkpoints", "checkpoints and tracking")

    def once(way: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            values = {"patients": patients, "network": network, "results": folder, "sensor": {"interval_min": 5.0}}
            config = Experiment.model_validate(values)
            every = 10**9 if way == "neither" else 5
            tracker = t1djax.MLflowTracker(Path(folder)) if "tracking" in way else None
            began = time.perf_counter()
            done = run_experiment(config, execution=Execution(figures=False, checkpoint_every=every, tracker=tracker))
            spent = time.perf_counter() - began - done.compile_s
            if tracker is not None:
                tracker.close()
        return spent

    once(ways[-1])
    spent = np.array([[once(way) for way in ways] for _ in range(pairs)])
    rows = []
    for i, way in enumerate(ways[1:], start=1):
        share = 100 * (spent[:, i] / spent[:, i - 1] - 1)
        low, middle, high = np.percentile(share, [25, 50, 75])
        rows.append(
            {
                "what": f"{way} against {ways[i - 1]}",
                "patients": 2 if quick else 10,
                "wall, s": float(np.median(spent[:, i])),
                "share, %": middle,
                "share, quartiles": f"{low:.1f} to {high:.1f}",
                "pairs": pairs,
            }
        )
    return rows


def memory(n: int, quick: bool) -> dict[str, Any]:
    """Train `n` patients at once."""
    cohort = _people(n)
    problem = t1djax.pose(cohort.patients, mode="inverse", free=["ksi"], key=jax.random.key(0))
    options = _options(quick)
    stages = default_stages("inverse", ["ksi"], options)
    estimate = training_memory(cohort.patients, problem, options, stages).of(n) / _MIB
    t1djax.fit(cohort.patients[:1], options=options)  # libraries and compiler are loaded
    before = peak_MiB()
    t1djax.fit(cohort, options=options)
    grown = peak_MiB() - before
    return {"what": "memory", "patients": n, "estimate, MiB": estimate, "growth, MiB": grown}


if __name__ == "__main__":
    kinds = {"saves": saves, "memory": memory}
    print(json.dumps(kinds[sys.argv[1]](int(sys.argv[2]), sys.argv[3] == "1")))
