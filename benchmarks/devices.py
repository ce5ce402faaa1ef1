"""Devices: what sharding costs and changes, several processes, and how far a step is from the arithmetic's ceiling."""

import dataclasses
import gc
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import t1djax

from .optimisers import PLAIN
from .problems import UNSEEN
from .report import REPETITIONS, Report, median, progress

_FORCE = "--xla_force_host_platform_device_count="
_ALIKE, _CEILING, _SHARE = "sharded over devices", "ceiling", "share of the ceiling"
_PROCESSES = "processes of one sweep"


def run(out: Path, *, quick: bool, repeat: int = 3) -> Report:
    """One row per model and number of devices, one per number of processes, and the floor of a training step.

    On the CPU eight devices are made of the same cores: they show that it works and what it changes, not what is
    gained.
    """
    repeat = 1 if quick else repeat
    asked = {"quick": quick, "repeat": repeat}
    report = Report("devices", "Devices, processes and the ceiling", out, asked).resume()
    report.note(
        "ksi of virtual patients, 48 h, white noise of 10 mg/dL. Seconds: running, median of repetitions after one "
        "that compiles. `difference`: largest relative one of an estimate from that of one device or process."
    )
    gpu = jax.default_backend() != "cpu"
    sizes = {"ode": 20, "pinn": 4} if quick else {"ode": 1000, "pinn": 40}
    for model, n in sizes.items():
        _sharded(report, model, n, (None,) if gpu else (1, 8), repeat)
    _two_processes(report, quick)
    _ceiling(report, quick)
    return report


def _sharded(report: Report, model: str, n: int, counts: tuple[int | None, ...], repeat: int) -> None:
    asked = {"what": _ALIKE, "model": model, "patients": n}
    there = lambda count: report.has(**asked) if count is None else report.has(**asked, devices=count)
    if all(there(count) for count in counts):
        return
    first: np.ndarray | None = None
    for count in counts:
        # What is there already is asked for its estimates alone, where others are held against them.
        times = 0 if there(count) else repeat
        if not times and first is not None:
            continue
        progress(f"{model}, {n} patients on {count or 'all'} devices")
        flags = {} if count is None else {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {_FORCE}{count}".strip()}
        command = [sys.executable, "-m", "benchmarks.devices", model, str(n), str(times)]
        done = subprocess.run(command, env=os.environ | flags, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        ksi = np.asarray(found["ksi"])
        first = ksi if first is None else first
        if not times:
            continue
        report.add(
            {"what": _ALIKE, "model": model, "patients": n, "devices": found["devices"], "processes": 1}
            | {"seconds": median(found["seconds"]), "patients/s": n / median(found["seconds"])}
            | {"difference": float(np.max(np.abs(ksi / first - 1))), REPETITIONS: found["seconds"]}
        )


def fit(model: str, n: int, repeat: int) -> dict[str, Any]:
    """Estimates of `n` people by this process's devices, and seconds."""
    people = t1djax.virtual_population(n, key=jax.random.key(UNSEEN), noise=t1djax.WhiteNoise(10.0))
    seconds, found = [], t1djax.fit(people, model=model, free=["ksi"])
    for _ in range(repeat):
        gc.collect()
        began = time.perf_counter()
        found = t1djax.fit(people, model=model, free=["ksi"])
        seconds.append(time.perf_counter() - began)
    ksi = [p.estimates["ksi"].value for p in found]
    return {"devices": jax.device_count(), "seconds": seconds, "ksi": ksi}


def _two_processes(report: Report, quick: bool) -> None:
    """A sweep by one process, and by two that `jax.distributed` joins; each starts, compiles and fits its share."""
    there = lambda count: report.has(what=_PROCESSES, processes=count)
    if there(1) and there(2):
        return
    asked = ["sweep", "--models", "ode" if quick else "ode,pinn", "--modes", "inverse", "--data", "reference"]
    asked += ["--patients", "Pat2,Pat3"] if quick else []
    first: np.ndarray | None = None
    for count in (1, 2):
        if there(count) and first is not None:
            continue  # the first is run again for its estimates, where the second is missing
        progress(f"a sweep by {count} processes")
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "t1djax.cli", *asked, "--no-tracking", "--no-figures", "--results", folder]
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            joined = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(count), "--process"]
            began = time.perf_counter()
            everyone = [
                subprocess.Popen(
                    [*command, *([*joined, str(i)] if count > 1 else [])],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
                for i in range(count)
            ]  # fmt: skip
            ended = [process.wait() for process in everyone]
            seconds = time.perf_counter() - began
            row: dict[str, Any] = {"what": _PROCESSES, "model": asked[2], "processes": count, "seconds": seconds}
            if any(ended):
                missing = 2 if there(count) else count
                report.add(row | {"processes": missing, "status": "failed", "why": f"exit codes {ended}"})
                return
            ksi = pd.read_csv(Path(folder) / "summary.csv")["ksi"].to_numpy()
        first = ksi if first is None else first
        if not there(count):
            report.add(row | {"patients": len(ksi), "difference": float(np.max(np.abs(ksi / first - 1)))})


def _ceiling(report: Report, quick: bool) -> None:
    """What the device reaches on large products and copies, and the share of it that training steps reach."""
    size, n = (256, 2) if quick else (2048, 40)
    best: dict[str, float] = {}
    for precision in ("float32", "float64"):
        if (found := report.find(what=_CEILING, model=precision)) is not None:
            best[precision] = found["GFLOP/s"]
            continue
        with jax.enable_x64(precision == "float64"):
            x = jnp.ones((size, size), precision)
            best[precision] = 2 * size**3 / _quickest(jax.jit(lambda a: a @ a), x) / 1e9
            big = jnp.ones(size**2 * 8, precision)
            moved = 2 * big.nbytes / _quickest(jax.jit(lambda a: a + 1), big) / 1e9
        report.add({"what": _CEILING, "model": precision, "GFLOP/s": best[precision], "GB/s": moved})
    people = t1djax.virtual_population(n, key=jax.random.key(UNSEEN), noise=t1djax.WhiteNoise(10.0))
    plain = [dataclasses.replace(PLAIN, steps=20 if quick else 200)]
    single, double = t1djax.PINNOptions(precision="float32"), t1djax.PINNOptions()
    for name, options, stages in (("Adam", single, plain), ("Gauss-Newton", double, None)):
        if report.has(what=_SHARE, model=f"pinn, {name}", patients=n):
            continue
        fit = lambda options=options, stages=stages: t1djax.fit(
            people, model="pinn", free=["ksi"], options=options, stages=stages
        )
        fit()
        began = time.perf_counter()
        found = fit()
        step_s = (time.perf_counter() - began) / int(found.history.step[-1]) / n
        flops = _adam_flops(found) if name == "Adam" else _newton_flops(found)
        reached = flops / step_s / 1e9
        report.add(
            {"what": _SHARE, "model": f"pinn, {name}", "patients": n, "seconds": step_s * n, "GFLOP/s": reached}
            | {"share": reached / best[options.precision], "Mflop per step and patient": flops / 1e6}
        )
    report.note(
        "Floor of a step: for Adam three products per layer (forward, and backward to weights and inputs) at every "
        "edge; for Gauss-Newton one Cholesky factorisation of all unknowns. Everything else that a step does counts as "
        "time, not as work, so that the share is a lower bound. The ceiling is that of a large product of matrices."
    )


def _adam_flops(found: t1djax.Fit) -> float:
    """Of one step of one patient: two per weight and edge, three times."""
    network: Any = found.twins.surrogate if found.twins else None
    weights = sum(layer.weight.shape[-2] * layer.weight.shape[-1] for layer in network.layers)
    return 6.0 * ((found.cells or 0) + 1) * (weights + network.readout.shape[-2] * 3)


def _newton_flops(found: t1djax.Fit) -> float:
    """Of one step of one patient: a third of the cube of the unknowns."""
    network: Any = found.twins.surrogate if found.twins else None
    return (network.readout.shape[-2] * 3 + 2) ** 3 / 3


def _quickest(f: Any, x: jax.Array) -> float:
    jax.block_until_ready(f(x))
    each = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(f(x))
        each.append(time.perf_counter() - began)
    return min(each)


if __name__ == "__main__":
    print(json.dumps(fit(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
