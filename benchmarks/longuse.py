"""Long use and extremes: many fits in one process, a year's record, short beside long, many people, a huge file."""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

import t1djax
from t1djax.programs._programs import PROGRAMS

from .peers.talk import peak_MiB
from .problems import UNSEEN
from .report import Report, progress

DAY_MIN = 1440.0


def run(out: Path, *, quick: bool) -> Report:
    """A row per part and size, each part in a process of its own."""
    report = Report("longuse", "Long use and extremes", out, {"quick": quick, "key": UNSEEN})
    report.note("`peak`: of the process. `refused`: the words with which it was, and nothing else is in that row.")
    for part in PARTS:
        progress(part)
        command = [sys.executable, "-m", "benchmarks.longuse", part, "quick" if quick else "whole"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode:
            rows.append({"refused": (done.stderr.strip().splitlines() or ["without a word"])[-1][:300]})
        for row in rows:
            report.add({"part": part, **row})
    return report


def record(name: str, days: float, *, seed: int = 0) -> t1djax.Patient:
    """Somebody with meals and boluses, 5 min, white noise of 5 mg/dL."""
    meals = [(60.0 + DAY_MIN * day + 300 * k, 40.0) for day in range(int(days) or 1) for k in range(3)]
    end = max(5.0, days * DAY_MIN)
    meals = [(at, grams) for at, grams in meals if at < end - 5]
    doses = t1djax.Doses.of(basal=0.83, boluses=[(at, 4.0) for at, _ in meals], meals=meals)
    subject = t1djax.data.Subject(name, t1djax.presets()["Pat2"].parameters, doses, 0, end)
    sensor = t1djax.Sensor(t1djax.WhiteNoise(5.0), interval_min=5)
    return t1djax.data.simulate_cohort([subject], sensor, key=jax.random.key(seed))[name]


def fits(quick: bool) -> Iterator[dict[str, Any]]:
    """Fits of records of different lengths, one after another: programs and memory must not grow."""
    count = 20 if quick else 200
    began = time.perf_counter()
    for i in range(1, count + 1):
        t1djax.fit([record("Ada", 1 + i % 5, seed=i)], model="ode", free=["ksi"])
        if i in (count // 10, count // 2, count):
            yield {"fits": i, "programs": len(PROGRAMS), "s": time.perf_counter() - began, "peak, MiB": peak_MiB()}


def timed(cohort: list[t1djax.Patient]) -> dict[str, Any]:
    began = time.perf_counter()
    fit = t1djax.fit(cohort, model="ode", free=["ksi"])
    errors = [abs(f.estimates["ksi"].value / t1djax.presets()["Pat2"].parameters["ksi"] - 1) for f in fit]
    return {"s": time.perf_counter() - began, "worst ksi error, %": 100 * max(errors), "peak, MiB": peak_MiB()}


def year(quick: bool) -> Iterator[dict[str, Any]]:
    """One record of a year."""
    days = 30 if quick else 365
    yield {"days": days, **timed([record("Ada", days)])}


def mixed(quick: bool) -> Iterator[dict[str, Any]]:
    """Short records beside one of a year: memory must not be that of the longest times their number."""
    days, short = (30, 5) if quick else (365, 20)
    people = [record(f"P{i}", 2, seed=i) for i in range(short)] + [record("Ada", days)]
    yield {"patients": len(people), "days": days, **timed(people)}


def instant(quick: bool) -> Iterator[dict[str, Any]]:
    """A record of five minutes beside one of a year."""
    whole = record("Ada", 30 if quick else 365)
    keep = whole.time_min <= whole.time_min[0] + 5
    brief = dataclasses.replace(
        whole, name="Ben", time_min=whole.time_min[keep], glucose_mg_dL=whole.glucose_mg_dL[keep]
    )
    yield {"patients": 2, **timed([whole, brief])}


def people(quick: bool) -> Iterator[dict[str, Any]]:
    """Many people by least squares in one call."""
    n = 1000 if quick else 100_000
    cohort = t1djax.virtual_population(n, key=jax.random.key(UNSEEN), noise=t1djax.WhiteNoise(10.0))
    began = time.perf_counter()
    fit = t1djax.fit(cohort, model="ode", free=["ksi"])
    failed = sum(not f.ok for f in fit)
    yield {"patients": n, "failed": failed, "s": time.perf_counter() - began, "peak, MiB": peak_MiB()}


def rows(quick: bool) -> Iterator[dict[str, Any]]:
    """One file of many rows, a minute each."""
    n = 100_000 if quick else 3_000_000
    values = np.random.default_rng(0).integers(80, 200, n)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "Ada.csv"
        with path.open("w", encoding="ascii") as file:
            file.write("time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g\n0,120,0.8,,\n")
            file.writelines(f"{i},{g},,,\n" for i, g in enumerate(values.tolist(), 1))
        began = time.perf_counter()
        read = t1djax.io.read_patient(path)
        yield {"rows": len(read.time_min), "s": time.perf_counter() - began, "peak, MiB": peak_MiB()}


PARTS: dict[str, Callable[[bool], Iterator[dict[str, Any]]]] = {
    "fits": fits, "year": year, "mixed": mixed, "instant": instant, "people": people, "rows": rows
}  # fmt: skip

if __name__ == "__main__":
    for line in PARTS[sys.argv[1]](sys.argv[2] == "quick"):
        print(json.dumps(line), flush=True)
