"""Runs and their unfinished training, sweeps, and what is to be sent to MLflow: rewritten without one of the people."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._words import counted
from ..experiment import SUMMARY, Journal, journals, record_of
from ..io import ResultError, take_rows
from ..records import RunInfo
from ..tracking import COURSE, INFO, RUNS, course_of, read_course, read_info, write_info
from ._places import Places
from ._plan import METADATA, OWN, SHARED, Plan, TrainedOn, as_json, read_json

SWEEP, TABLE = "sweep.json", "summary.csv"
_OLD = "a run of an older version, which does not say whose it is: remove it, or finish it and remove the results"


def look_at_runs(plan: Plan, root: Path) -> None:
    """Plan what there is to do about the runs of a results folder."""
    for journal in journals(root):
        names = journal.record.get("patients")
        plan.structured |= {*journal.folder.glob("*.json")}
        if names is None:
            if not journal.done:
                plan.unknown.append((str(journal.folder), _OLD))
            continue
        plan.names |= set(names)
        if any(map(plan.person.same, names)):
            who = counted(len(names), "patient")
            config = journal.record["config"]
            what = f"a run of {config.get('model')}, {config.get('mode')}, {who}"
            why = "trained in one program; each patient's weights and parameters are their own, none is shared"
            plan.population.append(TrainedOn(str(journal.folder), what, why))
            _run(plan, root, journal, list(names))


def _run(plan: Plan, root: Path, journal: Journal, names: Sequence[str]) -> None:
    """Batches, finished results, states and the record itself, in that order: the record says who is where."""
    gone = next(i for i, name in enumerate(names) if plan.person.same(name))
    batches: list[list[int]] = journal.record["batches"]
    left = [[i for i in which if i != gone] for which in batches]
    seeds = int(journal.record["config"].get("members", 1))
    for partial in root.glob("*.partial"):
        if (partial / ".run").is_file() and (partial / ".run").read_text("utf-8") == journal.name:
            plan.do(OWN, "remove", partial, "a result that was not finished", lambda p=partial: _tree(plan.places, p))
            plan.goes |= {path for path in partial.rglob("*") if path.is_file()}
    smaller = [[i - (i > gone) for i in which] for which in left]
    record = plan.person.without({**record_of(journal, without=names[gone]), "batches": smaller})
    after = dataclasses.replace(journal, record=record)
    for number, which in enumerate(batches):
        states, done = journal.states(number), journal.states(number).with_suffix(".json")
        for half in [*journal.folder.glob(f"{states.name}.partial-*"), *journal.folder.glob(f".{states.name}.partial")]:
            plan.do(SHARED, "remove", half, "a state that was not finished", lambda p=half: _tree(plan.places, p))
        if (folders := journal.finished(number)) is not None:
            kept = [name for name in folders if not plan.person.same((read_json(root / name / METADATA) or {})
                    .get("patient") if (root / name).is_dir() else None)]  # fmt: skip
            if kept != folders:
                plan.rewrite(done, lambda kept=kept: as_json(kept), "the list of a batch's results")
        elif not left[number]:
            why = "a batch of the person alone: nothing is left to do"
            plan.do(SHARED, "rewrite", done, why, lambda p=done: p.write_bytes(as_json([])))
        if states.is_dir():
            rows = _rows(which, left[number], len(batches[0]), len(left[0]), seeds)
            _states(plan, states, rows, after.identity(number))
    path = journal.folder / "run.json"
    plan.rewrite(path, lambda: as_json(record), "the record of a run, without the person")


def _rows(old: Sequence[int], new: Sequence[int], size: int, new_size: int, seeds: int) -> list[int]:
    """Where the rows that a batch has now stood before: blocks of seeds, each padded by copies of its last patient."""
    if not new:
        return []
    padded = [*new, *([new[-1]] * (new_size - len(new)))]
    return [seed * max(size, len(old)) + old.index(i) for seed in range(seeds) for i in padded]


def _states(plan: Plan, folder: Path, rows: Sequence[int], whose: Mapping[str, Any] | None) -> None:
    plan.structured |= {path for path in folder.rglob("*") if path.is_file()}
    if not rows:
        plan.do(OWN, "remove", folder, "a state of the person alone", lambda: _tree(plan.places, folder))
        return

    def take() -> None:
        try:
            take_rows(folder, rows, whose)
        except ResultError:
            _tree(plan.places, folder)  # what cannot be read could not go on either

    plan.do(SHARED, "rewrite", folder, "states of a training of several patients, without the person's rows", take)


def _tree(places: Places, folder: Path) -> None:
    """Remove a folder that t1djax made for itself."""
    if places.hold(folder):
        shutil.rmtree(folder, ignore_errors=True)


def look_at_sweep(plan: Plan, root: Path) -> None:
    """Plan what there is to do about the top of a sweep's results: its summary is made again by the same sweep."""
    record, summary = read_json(root / SWEEP), read_json(root / SUMMARY)
    if not isinstance(record, dict) or record.get("format") != "t1djax.sweep":
        return
    ours = [root / SWEEP, root / SUMMARY, root / TABLE, *(root / "figures").glob("comparison_*.png")]
    plan.structured |= set(ours)
    plan.rewritten(root / SWEEP, record, plan.person.without(record), as_json)
    rows = summary.get("results", ()) if isinstance(summary, dict) else ()
    if any(isinstance(row, dict) and plan.person.same(row.get("patient")) for row in rows):
        there = [str(path.relative_to(root)) for path in ours[1:] if plan.places.hold(path) and path.is_file()]
        why = "the summary of a sweep, its table and its figures: the same sweep makes them again of what is left"
        plan.remove(OWN, root, there, why)


def look_at_tracking(plan: Plan, root: Path) -> None:
    """Plan what there is to do about the courses of runs, which MLflow is shown."""
    for folder in (path.parent for path in (root / RUNS).glob(f"*/{INFO}")):
        info = read_info(folder)
        plan.structured |= {folder / INFO, folder / COURSE}
        if info is not None and any(plan.person.same(name) for name, _ in info.rows):
            plan.do(SHARED, "rewrite", folder / COURSE, "the course of a training, without the person's rows",
                    lambda f=folder, i=info: _course(plan, f, i))  # fmt: skip


def _course(plan: Plan, folder: Path, info: RunInfo) -> None:
    """The course says itself whose its rows are, so that each of the two files is right by itself."""
    same = plan.person.same
    left = tuple(row for row in info.rows if not same(row[0]))
    if not left:
        for name in (COURSE, INFO):
            plan.places.remove(folder / name)
        return
    wide = len(info.rows) > info.most_children  # it stays one MLflow run for all
    new = dataclasses.replace(
        info,
        rows=left,
        config=plan.person.without(info.config),
        truth={name: x for name, x in info.truth.items() if not same(name)},
        data=tuple(dataclasses.replace(d, patients=tuple(n for n in d.patients if not same(n))) for d in info.data),
        most_children=min(info.most_children, len(left) - 1) if wide else info.most_children,
    )
    if (folder / COURSE).is_file():
        plan.places.replace(folder / COURSE, course_of(read_course(folder)[0], left))
    write_info(folder, new)
