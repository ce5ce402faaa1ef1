"""Journals of runs and of tracking, and the states of unfinished training: rewritten without one of the patients."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._words import counted
from ..config import REFERENCE, Experiment
from ..data import Cohort, fingerprint
from ..experiment import Journal, journals, load_cohort
from ..io import ResultError, take_rows
from ..tracking import FOLDER, pack, unpack
from ._scrub import scrub
from ._work import Work, remove_tree, replace

_UNREADABLE = (OSError, ValueError, KeyError, TypeError)


def clean_runs(work: Work, root: Path) -> None:
    """Take the person out of the journals of a results folder, and out of the training that is under way."""
    for journal in journals(root):
        names = _names(journal)
        if names is None:
            _unknown(work, journal)
        elif any(map(work.person.same, names)):
            config, who = journal.record["config"], counted(len(names), "patient")
            what = f"{config['model']}, {config['mode']}, {who}"
            why = "trained in one program; each patient's weights and parameters are their own, none is shared"
            work.trained(journal.folder, f"a run of {what}", why)
            _rewrite(work, journal, names)
        elif work.person.in_text(json.dumps(journal.record)):
            _record(work, journal, journal.record)


def _names(journal: Journal) -> tuple[str, ...] | None:
    """Who was in the run, in order: by the data where they are the same still, else by its results."""
    cohort = _cohort(journal)
    if cohort is not None and fingerprint(cohort) == journal.record["data"]:
        return cohort.names
    count = 1 + max((i for batch in journal.record["batches"] for i in batch), default=-1)
    found: list[str | None] = [None] * count
    root = journal.folder.parent.parent
    for number, which in enumerate(journal.record["batches"]):
        for i, folder in zip(which, journal.finished(number) or [], strict=False):
            try:
                found[i] = json.loads((root / folder / "metadata.json").read_text("utf-8"))["patient"]
            except _UNREADABLE:
                return None
    whole = tuple(name for name in found if name is not None)
    return whole if len(whole) == count else None


def _cohort(journal: Journal) -> Cohort | None:
    try:
        content = {k: v for k, v in journal.record["config"].items() if v is not None}
        network = content.get("network")
        if isinstance(network, dict):
            content["network"] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would call the person by name
            return load_cohort(Experiment.model_validate(content | {"warm_start": None}))
    except _UNREADABLE:
        return None


def _unknown(work: Work, journal: Journal) -> None:
    """A run of which nobody can tell who stands where."""
    states = sorted(path for path in journal.folder.glob("batch-*") if path.is_dir())
    for path in states:
        work.remove(path, "a training state of which cannot be told whose rows are whose: the data changed since")
    for path in sorted(journal.folder.glob("*.json")):
        work.file(path)


def _rewrite(work: Work, journal: Journal, names: Sequence[str]) -> None:
    """Batches, finished results, states and the record itself, in that order: the record says who is where."""
    gone = next(i for i, name in enumerate(names) if work.person.same(name))
    batches: list[list[int]] = journal.record["batches"]
    left = [[i for i in which if i != gone] for which in batches]
    seeds = int(journal.record["config"].get("members", 1))
    for number, which in enumerate(batches):
        done = journal.states(number).with_suffix(".json")
        if (folders := journal.finished(number)) is not None:
            kept = [f for f in folders if not work.person.in_text(f)]
            if kept != folders:
                text = json.dumps(kept, indent=2) + "\n"
                work.rewrite(done, text.encode(), "the list of a batch's results, without the person's")
        elif not left[number]:
            work.do(
                "rewrite",
                done,
                "a batch of the person alone: nothing is left to do",
                lambda p=done: p.write_text("[]\n"),
            )
        states = journal.states(number)
        if states.is_dir():
            _states(work, states, _rows(which, left[number], len(batches[0]), len(left[0]), seeds), gone in which)
    smaller = [[i - (i > gone) for i in which] for which in left]
    record: dict[str, Any] = {**journal.record, "batches": smaller}
    if (cohort := _cohort(journal)) is not None and record["config"].get("data") != REFERENCE:
        others = tuple(patient for patient in cohort.patients if not work.person.same(patient.name))
        record["data"] = fingerprint(others)
    _record(work, journal, record)


def _rows(old: Sequence[int], new: Sequence[int], size: int, new_size: int, seeds: int) -> list[int]:
    """Where the rows that a batch has now stood before: blocks of seeds, each padded by copies of its last patient."""
    if not new:
        return []
    padded = [*new, *([new[-1]] * (new_size - len(new)))]
    return [seed * max(size, len(old)) + old.index(i) for seed in range(seeds) for i in padded]


def _states(work: Work, folder: Path, rows: Sequence[int], theirs: bool) -> None:
    if not rows:
        work.remove(folder, "a training state of the person alone")
        return

    def take() -> None:
        try:
            take_rows(folder, rows)
        except (ResultError, *_UNREADABLE):
            remove_tree(folder)  # what cannot be read could not go on either

    why = "states of a training of several patients, without the person's rows"
    work.do("rewrite", folder, why if theirs else "states of a training, padded to the batch that is smaller now", take)


def _record(work: Work, journal: Journal, record: Mapping[str, Any]) -> None:
    text = json.dumps(scrub(work.person, dict(record)), indent=2) + "\n"
    work.rewrite(journal.folder / "run.json", text.encode(), "the record of a run, without the person")


def clean_tracking(work: Work, root: Path) -> None:
    """Take the person out of what trackers were told; what was sent to a server still counts as sent."""
    for path in sorted((root / FOLDER).glob("*.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True)
        if any(work.person.in_bytes(line) for line in lines):
            work.do("rewrite", path, "a tracking journal, without the person's rows", lambda p=path: _journal(work, p))


def _journal(work: Work, path: Path) -> None:
    new, ends, before = [], {0: 0}, 0
    keep: dict[int, int] = {}
    total = 0
    with path.open("rb") as file:
        for line in file:
            before += len(line)
            try:
                event = json.loads(line)
            except ValueError:
                event = None  # torn: nobody reads it
            kept = None if not isinstance(event, dict) else _event(work, event, keep)
            if kept is not None:
                whole = (json.dumps(kept, separators=(",", ":")) + "\n").encode()
                new.append(whole)
                total += len(whole)
            ends[before] = total
    for cursor in path.parent.glob(f"{path.stem}.*.cursor"):
        content = json.loads(cursor.read_text("ascii"))
        sent = max((end for end in ends if end <= int(content["offset"])), default=0)
        content["offset"] = ends[sent]
        replace(cursor, (json.dumps(content) + "\n").encode())
    if new and keep:
        replace(path, b"".join(new))
    else:
        remove_tree(path)
        for cursor in path.parent.glob(f"{path.stem}.*.cursor"):
            remove_tree(cursor)


def _event(work: Work, event: dict[str, Any], keep: dict[int, int]) -> dict[str, Any] | None:
    """An event without the person; None where nothing is left of it. `keep` maps old rows to new ones."""
    match event.get("event"):
        case "begin":
            info = event["info"]
            rows = [i for i, row in enumerate(info["rows"]) if not work.person.same(row[0])]
            keep.clear()
            keep.update({old: new for new, old in enumerate(rows)})
            if len(info["rows"]) > event["most_children"]:  # it stays one MLflow run for all
                event["most_children"] = min(event["most_children"], max(len(rows) - 1, 0))
            return scrub(work.person, event) if rows else None
        case "chunk":
            places = [place for place, row in enumerate(event["rows"]) if row in keep]
            if not places:
                return None
            metrics = {key: pack(unpack(text)[places]) for key, text in event["metrics"].items()}
            return event | {"rows": [keep[event["rows"][place]] for place in places], "metrics": metrics}
        case "result":
            return None if work.person.same(event["row"][0]) else event
    return scrub(work.person, event)
