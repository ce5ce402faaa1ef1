"""ksi of the reference cohort by us and by peers: seconds to an accuracy, cost of a step, errors, memory."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import jobs, ours
from .peers import PEERS, Answer, ask
from .report import PER_PATIENT, REPETITIONS, Report, median, progress
from .runners import Scope

LEVELS = (5.0, 1.0, 0.1)
"""Errors of ksi (%) whose time is taken: below it from then on."""
RESIDUALS = {"cells": "as ours", "first_lag": "first lag, derivatives by the peer", "second_order": "second order"}
"""How a peer's network is told the equations."""
_TRAINED = ("deepxde", "deepxde-jax", "jinns")
_OTHERS = ("numpyro", "py_replay_bg")
SYSTEMS = ("step", "t1djax", "scipy", *_TRAINED, *_OTHERS)
"""What can be run by itself."""
_MINUTE = 60.0
_ONE_STEP, _TO_LEVEL = "one Adam step of {} patients", "{} patients to 1 %, pairs"
_OWN_STEP, _TURNS = "t1djax, Adam, all patients at once", "deepxde, as ours, in turn"


def run(
    scope: Scope,
    out: Path,
    *,
    envs: Path | None,
    steps: int = 1500,
    repeat: int = 3,
    budget_s: float = 180.0,
    only: tuple[str, ...] = (),
    cases: tuple[str, ...] = tuple(ours.CASES),
) -> Report:
    """One row per case, system and way to write the residuals; and the cost of a step from paired runs."""
    settings = scope.settings() | {"steps": steps, "repeat": repeat, "budget_s": budget_s}
    report = Report("peers", "ksi of the reference cohort, by us and by peers", out, settings).resume()
    report.note(
        "48 h, 5 min, ksi alone is free; the same readings, starts and, for networks trained by Adam, the same weights "
        "and points. Seconds to a level: ours until the worst patient stays below it, all in one program, compilation "
        "left out (column `compile`); peers one patient after the other, each only until it stays below, summed. "
        "`first loss`: the peer's objective before the first step over ours. RMSE: against the noise-free glucose, "
        "over the whole window; `RMSE inside`, of another model: of what it replays against the readings it was given."
    )
    names = list(scope.names or ours.all_names(next(iter(ours.CASES))))
    wanted = lambda name: not only or name in only
    if wanted("step") and not report.has(case=_TO_LEVEL.format(len(names)), system=_TURNS):
        for case in (_ONE_STEP, _TO_LEVEL):  # of the same pairs: all of them or none
            report.drop(case=case.format(len(names)))
        _steps(report, scope, names, envs, repeat)
    for case in [case for case in ours.CASES if case in cases][: 1 if scope.quick else None]:
        everybody = ours.all_names(case) if ours.CASES[case][1] else names
        base = {"case": case, "names": everybody, "seed": scope.seeds[0]}
        for system, row in _own(base, steps, 1 if scope.quick else repeat, scope):
            if wanted("t1djax") and not report.has(case=case, system=system):
                report.add({"case": case, "system": system, **row()})
        system = "SciPy least_squares on LSODA"
        if wanted("scipy") and not report.has(case=case, system=system):
            report.add({"case": case, "system": system, **_scipy(base, envs, budget_s)})
        trained = [name for name in _TRAINED if wanted(name)]
        told = ours.ask({**base, "task": "untrained", "options": _options(scope)}) if trained else None
        for name in trained:
            ways = ["cells", "first_lag", "second_order"] if name == "deepxde" else ["first_lag"]
            for way in ways[: 1 if scope.quick else None]:
                system = f"{name}, {RESIDUALS[way]}"
                if report.has(case=case, system=system):
                    continue
                assert told is not None
                job = _training(told, way, scope, steps, budget_s)
                row = _network(name, job, base, envs, budget_s, told)
                report.add({"case": case, "system": system, **row})
        for name in _OTHERS:
            if wanted(name) and not report.has(case=case, system=name):
                report.add({"case": case, "system": name, **_other(name, base, envs, budget_s)})
    return report


def _options(scope: Scope) -> dict[str, Any]:
    return {"width": 8, "depth": 1, "cell_min": 30.0} if scope.quick else {}


def _own(base: dict[str, Any], steps: int, repeat: int, scope: Scope) -> Iterator[tuple[str, Any]]:
    rows = [("t1djax ode", "ode", "", repeat), ("t1djax pinn, Gauss-Newton", "pinn", "", repeat)]
    if not scope.quick:
        rows += [("t1djax modified_mlp, Gauss-Newton", "modified_mlp", "", repeat)]
        rows += [("t1djax birnn, Gauss-Newton", "birnn", "", repeat), ("t1djax pinn, Adam", "pinn", "adam", 1)]
    for system, model, optimiser, times in rows:
        options = _options(scope) if model == "pinn" else {}
        job = {"task": "fit", "model": model, "optimiser": optimiser, "steps": steps, "repeat": times}
        yield system, lambda job=job, options=options: _own_row(ours.ask(base | job | {"options": options}), base)


def _own_row(answer: Answer, base: dict[str, Any]) -> dict[str, Any]:
    if not answer.ok:
        return _missing(answer)
    found, true = answer.found, _truth(base)
    errors = 100 * np.abs(np.asarray(found["ksi"]) / true - 1)
    cells: dict[str, Any] = {"status": "ok", "compile, s": found["compile_s"]}
    cells["s per 1,000 steps"] = 1000 * median(found["seconds"]) / found["steps"] if found["steps"] else None
    for level in LEVELS:
        times = [_batch_time(course, true, level) for course in found["courses"]]
        cells |= _reached(level, [t for t in times if t is not None], len(times))
    return cells | _errors(errors, found["rmse_mg_dL"]) | _cost(answer, found["seconds"], REPETITIONS)


def _batch_time(course: list[list[Any]], true: np.ndarray, level: float) -> tuple[float, float] | None:
    """Wall and CPU seconds from which the worst patient is below the level to the end."""
    worst = np.max(100 * np.abs(np.array([row[2] for row in course]) / true - 1), axis=1)
    return _from_then_on(course, worst < level)


def _from_then_on(course: list[list[Any]], below: np.ndarray) -> tuple[float, float] | None:
    above = np.flatnonzero(~below)
    first = above[-1] + 1 if above.size else 0
    return (course[first][0], course[first][1]) if first < len(course) else None


def _reached(level: float, times: list[tuple[float, float]], tried: int) -> dict[str, Any]:
    wall = median([t[0] for t in times]) if times and len(times) == tried else None
    cpu = median([t[1] for t in times]) if times and len(times) == tried else None
    absent = "not reached"
    return {
        f"s to {level:g} %": absent if wall is None else wall,
        f"CPU s to {level:g} %": absent if cpu is None else cpu,
    }


def _in_turn(courses: list[list[list[float]]], true: np.ndarray, level: float) -> dict[str, Any]:
    """One patient after the other, each until it stays below the level: sums, where all get there."""
    each = [
        _from_then_on(course, 100 * np.abs(np.array([row[2] for row in course]) / ksi - 1) < level) if course else None
        for course, ksi in zip(courses, true, strict=True)
    ]
    if all(t is not None for t in each):
        wall, cpu = (sum(t[i] for t in each if t is not None) for i in (0, 1))
        return {f"s to {level:g} %": wall, f"CPU s to {level:g} %": cpu}
    reached = sum(t is not None for t in each)
    words = f"not reached ({reached} of {len(each)})"
    return {f"s to {level:g} %": words, f"CPU s to {level:g} %": words}


def _errors(errors: np.ndarray, rmse: list[float] | None) -> dict[str, Any]:
    cells: dict[str, Any] = {"ksi median, %": float(np.median(errors)), "ksi worst, %": float(errors.max())}
    if rmse is not None:
        cells["RMSE median, mg/dL"] = float(np.median(rmse))
    return cells


def _cost(answer: Answer, seconds: list[float], head: str) -> dict[str, Any]:
    return {
        "whole process, s": answer.wall_s,
        "CPU, s": answer.found["cpu_s"],
        "peak, MiB": answer.found["peak_MiB"],
        head: seconds,
    }


def _truth(base: dict[str, Any]) -> np.ndarray:
    people = ours.cohort(base["case"], base["names"], base["seed"])
    return np.array([people.truth[name].parameters["ksi"] for name in people.names])


def _training(told: Answer, way: str, scope: Scope, steps: int, budget_s: float) -> dict[str, Any]:
    return {
        "task": "fit",
        "residuals": way,
        "patients": told.found["patients"],
        "cells": 96 if scope.quick else 576,
        "residual_weight": jobs.RESIDUAL_WEIGHT,
        "learning_rate": 0.01,
        "steps": steps,
        "every": 25,
        "threads": 1,
        "budget_s": budget_s,
    }


def _missing(answer: Answer) -> dict[str, Any]:
    return {"status": answer.status, "why": answer.words}


def _version(name: str, answer: Answer) -> str:
    versions = answer.found["versions"]
    return ", ".join(f"{package} {versions[package]}" for package in versions if package not in ("numpy", "python"))


def _network(
    name: str, job: dict[str, Any], base: dict[str, Any], envs: Path | None, budget_s: float, told: Answer
) -> dict[str, Any]:
    progress(f"{name}, {job['residuals']}: up to {budget_s:g} s")
    answer = ask(name, job, envs=envs, timeout_s=budget_s + 2 * _MINUTE)
    if not answer.ok:
        return _missing(answer)
    found, true = answer.found, _truth(base)
    done = len(found["ksi"])  # a peer whose budget is spent leaves the last patients out
    errors = 100 * np.abs(np.asarray(found["ksi"]) / true[:done] - 1)
    people = ours.cohort(base["case"], base["names"][:done], base["seed"])
    taken = [course[-1][0] for course in found["courses"] if course]
    steps = [found["every"] * len(course) for course in found["courses"] if course]
    whole = min(steps) >= job["steps"] and done == len(true)
    words = "ok" if whole else f"stopped at its budget ({done} of {len(true)} patients)"
    cells: dict[str, Any] = {"status": words}
    cells["compile, s"] = found.get("compile_s")
    # Of all patients: what the cost was of those that it came to, times their number.
    cells["s per 1,000 steps"] = 1000 * sum(t / n for t, n in zip(taken, steps, strict=True)) * len(true) / done
    for level in LEVELS:
        cells |= _in_turn([*found["courses"], *[[]] * (len(true) - done)], true, level)
    cells |= _errors(errors, ours.rmse(people, np.asarray(found["glucose_mg_dL"])).tolist()) | _cost(
        answer, taken, PER_PATIENT
    )
    if "first_loss" in found and job["residuals"] == "cells":
        ratio = np.asarray(found["first_loss"]) / np.asarray(told.found["first_loss"])
        cells["first loss"] = float(ratio[np.argmax(np.abs(ratio - 1))])
    return cells | {"version": _version(name, answer)}


def _scipy(base: dict[str, Any], envs: Path | None, budget_s: float) -> dict[str, Any]:
    answer = ask("scipy", scipy_fit_job(base), envs=envs, timeout_s=budget_s)
    if not answer.ok:
        return _missing(answer)
    found, true = answer.found, _truth(base)
    cells: dict[str, Any] = {"status": "ok"}
    for level in LEVELS:
        cells |= _in_turn(found["courses"], true, level)
    errors = 100 * np.abs(np.asarray([values["ksi"] for values in found["found"]]) / true - 1)
    return (
        cells
        | _errors(errors, None)
        | _cost(answer, found["seconds"], PER_PATIENT)
        | {"version": _version("scipy", answer)}
    )


def scipy_fit_job(base: dict[str, Any]) -> dict[str, Any]:
    """SciPy's fit of the same patients from the same starts."""
    import t1djax  # noqa: PLC0415

    people = ours.cohort(base["case"], base["names"], base["seed"])
    fit = t1djax.fit(people, model="ode", free=["ksi"], seed=base["seed"])
    return {"task": "fit", "patients": jobs.patients(people, fit), "method": "LSODA", "rtol": 1e-6, "atol": 1e-6}


def _other(name: str, base: dict[str, Any], envs: Path | None, budget_s: float) -> dict[str, Any]:
    """A peer that estimates in its own way: its own columns are few."""
    progress(f"{name}: up to {budget_s:g} s")
    job = scipy_fit_job(base) | {"task": "fit", "budget_s": budget_s, "noise": 10.0 if "10 mg" in base["case"] else 1.0}
    answer = ask(name, job, envs=envs, timeout_s=budget_s + _MINUTE)
    if not answer.ok:
        return _missing(answer) | {"model": PEERS[name].model}
    found, true = answer.found, _truth(base)
    errors = 100 * np.abs(np.asarray(found["ksi"], dtype=np.float64) / true[: len(found["ksi"])] - 1)
    cells: dict[str, Any] = {"status": found.get("status", "ok"), "compile, s": found.get("compile_s")}
    if errors.size and not math.isnan(errors[0]):
        cells |= _errors(errors, None)
    if found.get("inside_mg_dL"):  # another model: how near it comes to readings is all that can be said
        people = ours.cohort(base["case"], base["names"][: len(found["inside_mg_dL"])], base["seed"])
        cells["RMSE median, mg/dL"] = float(np.median(ours.rmse(people, np.asarray(found["glucose_mg_dL"]))))
        cells["RMSE inside, mg/dL"] = median(found["inside_mg_dL"])
        cells["RMSE inside worst, mg/dL"] = max(found["inside_mg_dL"])
        cells |= {"s per patient": median(found["seconds"]), "starts": found["starts"]}
    return (
        cells
        | _cost(answer, found["seconds"], PER_PATIENT)
        | {"version": _version(name, answer), "model": PEERS[name].model}
    )


def _steps(report: Report, scope: Scope, names: list[str], envs: Path | None, repeat: int) -> None:
    """Pairs, one run after the other: a step of Adam, and seconds to 1 %; ours for all at once, the peer's in turn."""
    base = {"case": next(iter(ours.CASES)), "names": names, "seed": scope.seeds[0], "options": _options(scope)}
    told, true = Answer("ok", ours.untrained(base)), _truth(base)
    adam = base | {"model": "pinn", "optimiser": "adam", "steps": 50 if scope.quick else 200}
    newton = base | {"model": "pinn", "optimiser": ""}
    job = _training(told, "cells", scope, 100 if scope.quick else 1500, 3.0 * len(names))
    for own in (adam, newton):
        ours.course(own)  # compiles
    steps: list[list[float]] = []
    levels: list[list[float]] = []
    for i in range(1 if scope.quick else repeat):
        progress(f"pair {i + 1}: DeepXDE for up to {3 * len(names)} s, then ours")
        theirs = ask("deepxde", job, envs=envs)
        if not theirs.ok:
            report.add({"case": _ONE_STEP.format(len(names)), "system": "deepxde", **_missing(theirs)})
            return
        courses = theirs.found["courses"]
        mine = 1000 * _late(ours.course(adam)[1]) / adam["steps"]
        steps.append([mine, sum(1000 * _late(c) / (job["every"] * len(c)) for c in courses)])
        reached = _in_turn(courses, true, 1.0)["s to 1 %"]
        own = _batch_time(ours.course(newton)[1], true, 1.0)
        if own is not None and not isinstance(reached, str):
            levels.append([own[0], reached])
    first = {"system": _OWN_STEP}, {"system": _TURNS}
    second = {"system": "t1djax pinn, Gauss-Newton, all patients at once"}, {"system": _TURNS}
    for case, systems, pairs, head in (
        (_ONE_STEP.format(len(names)), first, steps, "s per 1,000 steps"),
        (_TO_LEVEL.format(len(names)), second, levels, "s to 1 %"),
    ):
        if not pairs:
            report.add({"case": case, "system": _TURNS, "status": "not reached"})
            continue
        ratios = [b / a for a, b in pairs]
        for system, each in zip(systems, zip(*pairs, strict=True), strict=True):
            report.add({"case": case, **system, "status": "ok", head: median(each), REPETITIONS: list(each)})
        told_, start = ", ".join(f"{r:.3g}" for r in ratios), f"{case}: DeepXDE over ours "
        report.note(f"{start}{median(ratios):.3g} ({told_}).", instead=start)


def _late(course: list[list[Any]]) -> float:
    """Seconds of a course as its second half runs: a slow start does not count."""
    half = len(course) // 2 if len(course) > 3 else 0
    if half == 0:
        return course[-1][0]
    return (course[-1][0] - course[half - 1][0]) * len(course) / (len(course) - half)
