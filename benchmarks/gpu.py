"""What an accelerator makes of large cohorts, beside the CPU's numbers: `python -m benchmarks.gpu`.

1,000,000 people of Magdelaine's model and 100,000 of Kanderian's by least squares (insulin sensitivity and the glucose
at the start), 10,000 PINNs, simulation in float64 and float32, and the precision of products that runs. The numbers of
the first people are held against those of a process that sees the CPU alone. `--scale 1e-4` tries all of it on little.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import t1djax
from t1djax.data import Series, steps_needed, virtual_population
from t1djax.inference._least_squares import _fit_patient
from t1djax.physics import AbstractPhysiology, physiology_named
from t1djax.programs import at_work, over_cohort
from t1djax.twin import Physiology

from .peers.talk import peak_MiB
from .problems import UNSEEN
from .report import Report, progress

NOISE = t1djax.WhiteNoise(10.0)
_MADE = 10_000  # people that are made; more are these again
_HELD = 100  # people whose numbers are held against the CPU's
_BLOCK = {"cpu": 128, "gpu": 8192}
_FREE = {"magdelaine": ["ksi", "G0"], "kanderian": ["SI", "G0"]}
FITS = (("pinn", "magdelaine", 10_000), ("ode", "kanderian", 100_000), ("ode", "magdelaine", 1_000_000))


class _Again:
    """Rows of a tree, over and over, as `over_cohort` takes them: nothing of their number is in memory."""

    def __init__(self, tree: Any, count: int) -> None:
        self.tree, self.count = jax.tree.map(np.asarray, tree), count
        self.made = len(jax.tree.leaves(self.tree)[0])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: Any) -> Any:
        which = np.arange(self.count)[rows] % self.made
        return jax.tree.map(lambda x: x[which], self.tree)


def main() -> None:
    """Write the report; every row is on disk before the next begins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the people")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/recorded") / jax.default_backend())
    parser.add_argument("--numbers", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.numbers:
        what, body, n = args.numbers
        print(json.dumps(_numbers(what, body, int(n))))
        return
    report = Report("gpu", "Large cohorts on an accelerator", args.out, {"scale": args.scale}).resume()
    report.note(
        "48 h, 5 min, white noise of 10 mg/dL. Seconds: without compilation. `from the CPU`: largest difference of the "
        f"first {_HELD} people from a process that sees the CPU alone, relative for estimates, mg/dL for glucose. "
        "Memory: peak of the device; of the process where the device does not tell."
    )
    _products(report)
    for body in _FREE:
        for precision in ("float64", "float32"):
            _simulated(report, body, precision, max(2, int(_MADE * args.scale)))
    for model, body, n in FITS:
        _fitted(report, model, body, max(2, int(n * args.scale)))
    report.finish()


def _products(report: Report) -> None:
    """The error of a product of float32 matrices as the library's programs ask for it, and as JAX does by default."""
    a = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    exact = a.astype(np.float64) @ a
    error = lambda found: float(np.max(np.abs(np.asarray(found) - exact)) / np.max(np.abs(exact)))
    with at_work("float32"):
        ours = error(jax.jit(lambda a: a @ a)(a))
    report.add({"what": "product of float32 matrices, ours", "relative error": ours})
    report.add(
        {"what": "product of float32 matrices, JAX's default", "relative error": error(jax.jit(jnp.matmul)(a, a))}
    )


def _simulated(report: Report, body: str, precision: str, n: int) -> None:
    if report.has(what="simulation", body=body, precision=precision):
        return
    progress(f"simulation, {body}, {precision}, {n} people")
    glucose, compile_s, seconds = _glucose(body, precision, n)
    theirs = _on_the_cpu(f"simulation {precision}", body, n)
    report.add(
        {"what": "simulation", "body": body, "precision": precision, "patients": n, "compile, s": compile_s}
        | {"seconds": seconds, "patient-days/s": 2 * n / seconds, "memory, GiB": _memory()}
        | {"from the CPU": float(np.max(np.abs(glucose[: len(theirs)] - theirs)))}
    )


def _glucose(body: str, precision: str, n: int) -> tuple[np.ndarray, float, float]:
    cls, people = physiology_named(body), tuple(_people(body, n))
    steps = steps_needed(people, cls)

    def one(p: AbstractPhysiology, data: Series, G0: jax.Array, insulin_U_min: jax.Array) -> jax.Array:
        return p.solution(data.inputs, data.time_min, p.start(G0, insulin_U_min), steps=steps).glucose_mg_dL

    with jax.enable_x64(precision == "float64"):
        column = lambda values: jnp.asarray(list(values), precision)
        p = cls(**{f.name: column(x.known[f.name] for x in people) for f in dataclasses.fields(cls)})
        basal = column(x.doses.basal_U_h[0] / 60 for x in people)
        args = (p, t1djax.data.stack(people), jnp.full_like(basal, 120.0), basal)
        program = jax.jit(jax.vmap(one))
        began = time.perf_counter()
        glucose = np.asarray(program(*args))
        first, began = time.perf_counter() - began, time.perf_counter()
        jax.block_until_ready(program(*args))
        seconds = time.perf_counter() - began
    return glucose, first - seconds, seconds


def _fitted(report: Report, model: str, body: str, n: int) -> None:
    if report.has(what=model, body=body):
        return
    progress(f"{model}, {body}, {n} people")
    values, ok, compile_s, seconds = _estimates(model, body, n)
    theirs = _on_the_cpu(model, body, n)
    symbol = _FREE[body][0]
    truth = _people(body, n).truth
    true = np.resize([truth[name].parameters[symbol] for name in truth], n)
    error = values[symbol] / true - 1
    mine = np.stack([values[s] for s in _FREE[body]], axis=1)[: len(theirs)]
    report.add(
        {"what": model, "body": body, "patients": n, "compile, s": compile_s, "seconds": seconds}
        | {"patients/s": n / seconds, "memory, GiB": _memory(), "failed": int(np.sum(~ok))}
        | {"rms error, %": 100 * float(np.sqrt(np.mean(error[ok] ** 2)))}
        | {"from the CPU": float(np.max(np.abs(mine / theirs - 1)))}
    )


def _estimates(model: str, body: str, n: int) -> tuple[dict[str, np.ndarray], np.ndarray, float, float]:
    """Estimates by symbol, whether each is one, and seconds of compilation and of running."""
    people, question = _people(body, n), t1djax.Question(physiology=body, free=_FREE[body])
    if model != "ode":
        fit = t1djax.fit(people, question, model=model)
        values = {s: np.array([f.estimates[s].value for f in fit]) for s in question.free}
        return values, np.array([f.ok for f in fit]), fit.cost.compile_s, fit.cost.run_s
    problem = t1djax.pose(tuple(people), question, key=jax.random.key(0))
    with at_work():
        posed, data = problem.physiology(), t1djax.data.stack(tuple(people))
    each = (posed, data, dict(posed.free))
    block = _BLOCK.get(jax.default_backend(), 8192)
    began = time.perf_counter()
    (values, ok), compile_s = over_cohort(_one, *(_Again(tree, n) for tree in each), block=block, effort="most")
    return values, ok, compile_s, time.perf_counter() - began - compile_s


def _one(body: Physiology, data: Series, start: dict[str, jax.Array]) -> tuple[dict[str, jax.Array], jax.Array]:
    """Least squares of one person from one start: the estimates alone."""
    starts = {symbol: x[None] for symbol, x in start.items()}
    found = _fit_patient(body, data, starts, t1djax.inference.LeastSquares(starts=1), False)
    return {symbol: found.found.values[symbol] for symbol in starts}, found.ok


def _people(body: str, n: int) -> t1djax.Cohort:
    """So many people; of more than are made, those that are."""
    return virtual_population(min(n, _MADE), key=jax.random.key(UNSEEN), physiology=physiology_named(body), noise=NOISE)


def _numbers(what: str, body: str, n: int) -> list[Any]:
    """What the first people come to in this process."""
    if what.startswith("simulation"):
        return _glucose(body, what.split()[1], n)[0].tolist()
    values, *_ = _estimates(what, body, n)
    return np.stack([values[s] for s in _FREE[body]], axis=1).tolist()


def _on_the_cpu(what: str, body: str, n: int) -> np.ndarray:
    """The same by a process that sees the CPU alone."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--numbers", what, body, str(min(n, _HELD))]
    done = subprocess.run(
        command, env=os.environ | {"JAX_PLATFORMS": "cpu"}, check=True, capture_output=True, text=True
    )
    return np.asarray(json.loads(done.stdout.splitlines()[-1]))


def _memory() -> float:
    """Peak, GiB."""
    told = jax.devices()[0].memory_stats() or {}
    return told["peak_bytes_in_use"] / 2**30 if "peak_bytes_in_use" in told else peak_MiB() / 1024


if __name__ == "__main__":
    main()
