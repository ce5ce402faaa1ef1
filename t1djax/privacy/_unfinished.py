"""Runs and their unfinished training, sweeps, and what is to be sent to MLflow: rewritten without one of the people."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._words import counted
from ..experiment import SUMMARY, Journal, journals, record_of
from ..io import ResultError, take_rows
from ..tracking import FOLDER, pack, unpack
from ._person import Person
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
            _states(plan, states, rows, gone in which)
    smaller = [[i - (i > gone) for i in which] for which in left]
    plan.rewrite(
        journal.folder / "run.json",
        lambda: as_json(plan.person.without({**record_of(journal, without=names[gone]), "batches": smaller})),
        "the record of a run, without the person",
    )


def _rows(old: Sequence[int], new: Sequence[int], size: int, new_size: int, seeds: int) -> list[int]:
    """Where the rows that a batch has now stood before: blocks of seeds, each padded by copies of its last patient."""
    if not new:
        return []
    padded = [*new, *([new[-1]] * (new_size - len(new)))]
    return [seed * max(size, len(old)) + old.index(i) for seed in range(seeds) for i in padded]


def _states(plan: Plan, folder: Path, rows: Sequence[int], theirs: bool) -> None:
    plan.structured |= {path for path in folder.rglob("*") if path.is_file()}
    if not rows:
        plan.do(OWN, "remove", folder, "a state of the person alone", lambda: _tree(plan.places, folder))
        return

    def take() -> None:
        try:
            take_rows(folder, rows)
        except ResultError:
            _tree(plan.places, folder)  # what cannot be read could not go on either

    why = "states of a training of several patients, without the person's rows"
    plan.do(SHARED, "rewrite", folder, why if theirs else "states, padded to the batch that is smaller now", take)


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
    """Plan what there is to do about the journals of tracking; what was sent to a server still counts as sent."""
    for path in sorted((root / FOLDER).glob("*.jsonl")):
        plan.structured.add(path)
        if any(plan.person.same(row[0]) for row in _tracked(path)):
            plan.do(SHARED, "rewrite", path, "a journal of tracking, without the person's rows",
                    lambda p=path: _journal(plan, p))  # fmt: skip


def _tracked(path: Path) -> list[list[Any]]:
    with path.open("rb") as file:
        first = read_event(file.readline())
    return first["info"]["rows"] if first.get("event") == "begin" else []


def read_event(line: bytes) -> dict[str, Any]:
    """A line of a journal of tracking; empty where it is torn."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _journal(plan: Plan, path: Path) -> None:
    new, ends, before, total = [], {0: 0}, 0, 0
    keep: dict[int, int] = {}
    with path.open("rb") as file:
        for line in file:
            before += len(line)
            kept = _event(plan.person, read_event(line), keep)
            if kept is not None:
                new.append((json.dumps(kept, separators=(",", ":")) + "\n").encode())
                total += len(new[-1])
            ends[before] = total
    for cursor in path.parent.glob(f"{path.stem}.*.cursor"):
        content = json.loads(cursor.read_text("ascii"))
        content["offset"] = ends[max((end for end in ends if end <= int(content["offset"])), default=0)]
        plan.places.replace(cursor, (json.dumps(content) + "\n").encode())
    if keep:
        plan.places.replace(path, b"".join(new))
        return
    for each in [*path.parent.glob(f"{path.stem}.*.cursor"), path]:
        plan.places.remove(each)


def _event(person: Person, event: dict[str, Any], keep: dict[int, int]) -> dict[str, Any] | None:
    """An event without the person; None where nothing is left of it. `keep` maps old rows to new ones."""
    match event.get("event"):
        case "begin":
            info = event["info"]
            rows = [i for i, row in enumerate(info["rows"]) if not person.same(row[0])]
            keep.clear()
            keep.update({old: new for new, old in enumerate(rows)})
            if len(info["rows"]) > event["most_children"]:  # it stays one MLflow run for all
                event["most_children"] = min(event["most_children"], max(len(rows) - 1, 0))
            info["rows"] = [info["rows"][i] for i in rows]
            info["truth"] = {name: x for name, x in info["truth"].items() if not person.same(name)}
            for data in info["data"]:
                data["patients"] = [name for name in data["patients"] if not person.same(name)]
            return person.without(event | {"info": {**info, "data": info["data"]}}) if rows else None
        case "chunk":
            places = [place for place, row in enumerate(event["rows"]) if row in keep]
            if not places:
                return None
            metrics = {key: pack(unpack(text)[places]) for key, text in event["metrics"].items()}
            return event | {"rows": [keep[event["rows"][place]] for place in places], "metrics": metrics}
        case "result":
            return None if person.same(event["row"][0]) else event
    return event or None
