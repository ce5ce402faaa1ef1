"""Many patients against one: a batch of ten, growth with the cohort, a Python loop, SciPy, and memory."""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

import t1djax

from . import jobs
from .peers import ask
from .problems import UNSEEN
from .report import REPETITIONS, Report, median, progress
from .scale import in_own_process

_SAMPLE = 10  # patients that SciPy and the loop are timed on
_TEN, _FIRST = "ten patients over one", "ten patients over one, compilation included"
_CALL, _MEMORY = "one call", "memory, one call"
_POOL, _SCIPY = "a pool of processes over one call", "SciPy least_squares over ours"
PARTS = ("ten", "scaling", "seeds", "windows", "pools", "scipy", "memory")
"""What can be run by itself."""


def run(
    out: Path, *, envs: Path | None, full: bool, quick: bool, parts: Sequence[str] = PARTS, repeat: int = 3
) -> Report:
    """The table; each part adds its rows."""
    repeat = 1 if quick else repeat
    report = Report(
        "cohorts", "Many patients against one", out, {"full": full, "quick": quick, "repeat": repeat, "seeds": [0]}
    ).resume()
    report.note(
        "ksi and G0 of virtual patients, 48 h, 5 min, white noise of 10 mg/dL. Seconds: running, compilation "
        "left out, median of repetitions after one that compiles; the two sides of a ratio are timed in turn,"
        " and the ratio is the median of pairs. `peak`: of the process (memory)."
    )
    sizes = [1, 10] if quick else [1, 10, 100, 1000] + ([10_000] if full else [])
    if "ten" in parts:
        for model in ("ode",) if quick else ("ode", "pinn", "birnn"):
            _ten(report, model, repeat)
    most = 10_000 if full else 100
    if "scaling" in parts:
        for model in ("ode",) if quick else ("ode", "pinn"):
            _scaling(report, model, [n for n in sizes if model == "ode" or n <= most], repeat)
    for model in ("ode",) if quick else ("ode", "pinn"):
        if "seeds" in parts:
            _growth(report, model, "seeds", (1, 2) if quick else (1, 2, 4, 8), repeat)
        if "windows" in parts:
            _growth(report, model, "days", (1, 2) if quick else (1, 2, 4), repeat)
        if "pools" in parts:
            _pool(report, model, 4 if quick else 40, 1 if quick else repeat)
    if "scipy" in parts:
        _scipy(report, 20 if quick else 1000, envs, repeat)
    if "memory" in parts:
        for n in (20,) if quick else (1000, 10_000):
            _memory(report, n, "ode")
        for n in (1000, 10_000) if full else (1000,) * (not quick):
            _memory(report, n, "pinn")
    return report


def _people(n: int, days: int = 2) -> t1djax.Cohort:
    return t1djax.virtual_population(n, key=jax.random.key(UNSEEN), days=days, noise=t1djax.WhiteNoise(10.0))


def _fit(people: t1djax.Cohort, model: str) -> t1djax.Fit:
    return t1djax.fit(people, model=model, free=["ksi"])


def _one_by_one(names: Sequence[int], n: int, model: str) -> None:
    """What a worker of a pool does: the patients of these numbers, each in a call of its own."""
    people = _people(n)
    for i in names:
        _fit(t1djax.Cohort(people.patients[i : i + 1], people.truth), model)


def _timed(f: Callable[[], Any]) -> float:
    gc.collect()
    began = time.perf_counter()
    f()
    return time.perf_counter() - began


def _pairs(sides: Sequence[Callable[[], Any]], repeat: int) -> list[list[float]]:
    """Seconds of each side, in turn; each has run once before."""
    for side in sides:
        side()
    return [list(row) for row in zip(*[[_timed(side) for side in sides] for _ in range(repeat)], strict=True)]


def _ten(report: Report, model: str, repeat: int) -> None:
    if not report.has(what=_TEN, model=model):
        progress(f"ten against one, {model}")
        ten = _people(10)
        one = t1djax.Cohort(ten.patients[:1], ten.truth)
        times = max(repeat, 5 if repeat > 1 else 1)
        of_one, of_ten = _pairs([lambda: _fit(one, model), lambda: _fit(ten, model)], times)
        ratio = median(b / a for a, b in zip(of_one, of_ten, strict=True))
        report.add(
            {"what": _TEN, "model": model, "patients": 10, "seconds": median(of_ten), "ratio": ratio}
            | {REPETITIONS: of_ten, "other side each": of_one}
        )
    if report.has(what=_FIRST, model=model):
        return
    progress(f"ten against one, {model}, first fits")
    pairs = [(_first(model, 1), _first(model, 10)) for _ in range(repeat)]
    each, ratio = [b for _, b in pairs], median(b / a for a, b in pairs)
    report.add(
        {"what": _FIRST, "model": model, "patients": 10, "seconds": median(each), "ratio": ratio}
        | {
            REPETITIONS: each,
            "other side each": [a for a, _ in pairs],
            "note": "first fit of a process, compiled in it",
        }
    )


def _first(model: str, n: int) -> float:
    """Seconds of the first fit of a fresh process, import left out, compilation included."""
    command = [sys.executable, "-m", "benchmarks.cohorts", model, str(n)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def _growth(report: Report, model: str, what: Literal["seeds", "days"], sizes: Sequence[int], repeat: int) -> None:
    """Seconds of ten patients against the number of seeds or of days."""
    name = f"ten patients, {what}"
    for n in sizes:
        if report.has(what=name, model=model, **{what: n}):
            continue
        progress(f"{model}: {n} {what}")
        people = _people(10, days=n if what == "days" else 2)
        seeds = range(n) if what == "seeds" else (0,)
        call = lambda people=people, seeds=seeds: t1djax.fit_ensemble(people, seeds=seeds, model=model, free=["ksi"])
        (each,) = _pairs([call], repeat)
        first = report.find(what=name, model=model, **{what: sizes[0]})
        ratio = median(each) / first["seconds"] if first else 1.0
        row = {"what": name, "model": model, "patients": 10, what: n, "seconds": median(each)}
        report.add(row | {"ratio": ratio, REPETITIONS: each})
    took = _seconds(report, sizes, what, what=name, model=model)
    for n, seconds in zip(sizes, took, strict=True):  # where the first was measured again, all are of it
        report.find(what=name, model=model, **{what: n})["ratio"] = seconds / took[0]  # pyright: ignore[reportOptionalSubscript]
    start = f"{model}: seconds grow as {what}^"
    report.note(f"{start}{_slope(sizes, took):.2f}.", instead=start)


def _seconds(report: Report, sizes: Sequence[int], head: str, **cells: str) -> list[float]:
    """Seconds of the rows of these sizes, those of an earlier run included."""
    rows = [report.find(**cells, **{head: n}) for n in sizes]
    return [row["seconds"] for row in rows if row is not None]


def _slope(sizes: Sequence[int], took: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(took), 1)[0])


def _pool(report: Report, model: str, n: int, repeat: int) -> None:
    """A pool of processes, a patient a call, against one call; start, import and compilation count for both."""
    if report.has(what=_POOL, model=model, patients=n):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares, whole, pool = [list(range(i, n, cores)) for i in range(cores)], [], []
    for _ in range(repeat):
        progress(f"{model}: {n} patients by {cores} processes, then in one call")
        began = time.perf_counter()
        code = "import sys, benchmarks.cohorts as c; c._one_by_one(eval(sys.argv[1]), int(sys.argv[2]), sys.argv[3])"
        workers = [subprocess.Popen([sys.executable, "-c", code, repr(s), str(n), model]) for s in shares]
        ended = [worker.wait() for worker in workers]
        if any(ended):
            report.add({"what": _POOL, "model": model, "patients": n, "status": "failed"})
            return
        pool.append(time.perf_counter() - began)
        whole.append(_timed(lambda: _first(model, n)))
    ratio = median(b / a for a, b in zip(whole, pool, strict=True))
    row = {"what": _POOL, "model": model, "patients": n, "seconds": median(whole), "ratio": ratio}
    report.add(row | {REPETITIONS: whole, "other side each": pool, "note": f"{cores} processes; from nothing"})


def _scaling(report: Report, model: str, sizes: list[int], repeat: int) -> None:
    missing = [n for n in sizes if not report.has(what=_CALL, model=model, patients=n)]
    everyone = _people(max(missing)) if missing else None
    for n in missing:
        assert everyone is not None
        progress(f"{n} patients, {model}")
        people = t1djax.Cohort(everyone.patients[:n], everyone.truth)
        few = [t1djax.Cohort((p,), everyone.truth) for p in people.patients[:_SAMPLE]]
        loop = lambda few=few: [_fit(one, model) for one in few]
        whole, single = _pairs([lambda people=people: _fit(people, model), loop], repeat if n < 10_000 else 1)
        # The loop is timed on a sample; every patient costs it the same.
        ratio = median(b * n / len(few) / a for a, b in zip(whole, single, strict=True))
        report.add(
            {"what": _CALL, "model": model, "patients": n, "seconds": median(whole), "ratio": ratio}
            | {
                "patients/s": n / median(whole),
                REPETITIONS: whole,
                "other side each": single,
                "note": "ratio: a Python loop over it",
            }
        )
    took = _seconds(report, sizes, "patients", what=_CALL, model=model)
    last = np.log(took[-1] / took[-2]) / np.log(sizes[-1] / sizes[-2])
    start = f"{model}: seconds grow as patients^"
    report.note(
        f"{start}{_slope(sizes, took):.2f} from {sizes[0]} to {sizes[-1]}, and as patients^{last:.2f} "
        f"from {sizes[-2]} on.",
        instead=start,
    )


def _scipy(report: Report, n: int, envs: Path | None, repeat: int) -> None:
    """Our fit of everyone against SciPy's of a sample, noise and starts the same."""
    if report.has(what=_SCIPY, model="ode", patients=n):
        return
    people = _people(n)
    fit = _fit(people, "ode")
    told = jobs.patients(t1djax.Cohort(people.patients[:_SAMPLE], people.truth), fit)
    job = {"task": "fit", "patients": told, "method": "LSODA", "rtol": 1e-6, "atol": 1e-6}
    mine, theirs, found = [], [], []
    for _ in range(repeat):
        progress(f"SciPy least_squares of {_SAMPLE} patients, then ours of {n}")
        answer = ask("scipy", job, envs=envs)
        if not answer.ok:
            missing = {"status": answer.status, "why": answer.words}
            report.add({"what": _SCIPY, "model": "ode", "patients": n} | missing)
            return
        found = [values["ksi"] for values in answer.found["found"]]
        theirs.append(answer.found["wall_s"] * n / len(told))
        mine.append(_timed(lambda: _fit(people, "ode")))
    apart = max(abs(f.estimates["ksi"].value / ksi - 1) for f, ksi in zip(fit.patients[:_SAMPLE], found, strict=True))
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    report.add(
        {"what": _SCIPY, "model": "ode", "patients": n, "seconds": median(mine)}
        | {"ratio": median(ratios), REPETITIONS: mine, "other side each": theirs}
        | {"note": f"SciPy timed on {len(told)} patients; estimates differ by at most {100 * apart:.2g} %"}
    )


def _memory(report: Report, n: int, model: str) -> None:
    if report.has(what=_MEMORY, model=model, patients=n):
        return
    progress(f"memory of {n} patients, {model}")
    found = in_own_process(n, model)
    report.add(
        {"what": _MEMORY, "model": model, "patients": n, "seconds": found["run, s"]}
        | {"peak, MiB": found["peak, MiB"], "growth, MiB": found["growth, MiB"], "results, MiB": found["results, MiB"]}
    )


if __name__ == "__main__":
    cohort = _people(int(sys.argv[2]))
    print(_timed(lambda: _fit(cohort, sys.argv[1])))
