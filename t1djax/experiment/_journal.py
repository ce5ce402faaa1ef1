"""What a run leaves on disk besides its results, so that it can be stopped anywhere and go on."""

import contextlib
import dataclasses
import datetime as dt
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from .._arguments import argument
from .._in_use import Busy
from .._whole import whole
from ..config import ConfigError, Experiment, with_defaults
from ..io import JsonFormat, ResultError, differences, without_nan
from ..tracking import RUNS

_RECORD = "run.json"
_FORMAT = JsonFormat("t1djax.run", 1, what="a run of t1djax", remedy="remove its folder and run again")


@dataclasses.dataclass(frozen=True)
class Journal:
    """One run's own folder, `RESULTS/.runs/NAME`: what it is of, what is finished, and where its training stands."""

    folder: Path
    """Where."""
    record: Mapping[str, Any]
    """`run.json`: the resolved configuration, when it began, the batches, and what the bits depend on."""

    @property
    def name(self) -> str:
        """Of the run."""
        return self.folder.name

    @property
    def started(self) -> dt.datetime:
        """When it began first, local time for people."""
        return dt.datetime.fromisoformat(self.record["started"])

    def states(self, number: int) -> Path:
        """Where the training of a batch keeps its states."""
        return self.folder / f"batch-{number:05d}"

    def _note(self, number: int) -> Path:
        """Where it is noted that a batch is done."""
        return self.states(number).with_suffix(".json")

    def finished(self, number: int) -> list[str] | None:
        """Result folders of a batch that is done; None where it is not, or its note is damaged."""
        try:
            names = json.loads(self._note(number).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return names if isinstance(names, list) and all(map(is_plain, names)) else None

    def identity(self, number: int) -> dict[str, Any] | None:
        """Whose the states of a batch are; None where an older version wrote the record, which does not say it."""
        if "patients" not in self.record:
            return None
        config, people = self.record["config"], list(self.record["patients"].items())
        seeds = list(range(config["seed"], config["seed"] + config["members"]))
        theirs = dict(people[i] for i in self.record["batches"][number])
        return {"config": config, "seeds": seeds, "patients": list(theirs), "data": theirs}

    def check_there(self) -> None:
        """See that nobody removed the run's folder while it is at work.

        Raises:
            OSError: where that is so.
        """
        if not (self.folder / _RECORD).exists():
            raise OSError(f"{self.folder}: was removed while the run is at work; nothing more is written, run it again")

    def finish(self, number: int, folders: Sequence[Path]) -> None:
        """Note that a batch is done; its training states are no longer needed."""
        write_json(self._note(number), [folder.name for folder in folders])
        self.tidy()

    def without(self, name: str) -> dict[Path, Any]:
        """The files of the run with one of its patients left out, as if they had never been in it; the record last.

        States of unfinished training have no place in it: their batches are trained anew.
        """
        names, batches, config = list(self.record["patients"]), self.record["batches"], self.record["config"]
        gone = names.index(name)
        new: dict[Path, Any] = {}
        for number, which in enumerate(batches):
            folders, mine = self.finished(number), [i != gone for i in which] * config["members"]
            if folders is not None and len(folders) == len(mine):
                new[self._note(number)] = list(itertools.compress(folders, mine))
            elif not any(mine):
                new[self._note(number)] = []  # nothing is left to do
        people = {other: data for other, data in self.record["patients"].items() if other != name}
        new[self.folder / _RECORD] = {
            **self.record,
            "patients": people,
            "data": hashlib.sha256(json.dumps(people).encode()).hexdigest()[:16],
            "batches": [[i - (i > gone) for i in which if i != gone] for which in batches],
        }
        return new

    def tidy(self) -> None:
        """Remove training states of batches that are done: a kill may have come before that."""
        for number in range(len(self.record["batches"])):
            if self.states(number).exists() and self.finished(number) is not None:
                shutil.rmtree(self.states(number), ignore_errors=True)

    def set_aside(self, folder: Path) -> None:
        """Move what is left of a damaged result into this folder."""
        if not folder.exists():
            return
        (self.folder / "damaged").mkdir(exist_ok=True)
        with_n = (self.folder / "damaged" / (folder.name + (f"-{n}" if n > 1 else "")) for n in itertools.count(1))
        folder.rename(next(path for path in with_n if not path.exists()))

    @property
    def done(self) -> bool:
        """Whether all batches are."""
        return all(self.finished(number) is not None for number in range(len(self.record["batches"])))

    @contextlib.contextmanager
    def alone(self, part: str = "") -> Iterator[None]:
        """Hold the run, or a part of it that processes share, for this process.

        Raises:
            Busy: where another process holds it.
        """
        lock = filelock.FileLock(self.folder / f"lock{part}", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as e:
            raise Busy(
                f"{self.folder}: another process is at work on this run; wait for it, or take other results"
            ) from e
        try:
            yield
        finally:
            lock.release()


def new_journal(root: Path, name: str, record: Mapping[str, Any]) -> Journal:
    """A journal of its own under `root`: a name that is taken gets `-2`, `-3`, ..."""
    (root / RUNS).mkdir(parents=True, exist_ok=True)
    for n in range(1, 10_000):
        folder = root / RUNS / (name if n == 1 else f"{name}-{n}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return make_journal(folder, record)
    raise FileExistsError(f"{root / RUNS / name}: ten thousand runs bear this name; choose another results folder")


def make_journal(folder: Path, record: Mapping[str, Any]) -> Journal:
    """The journal of a run, written down."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _RECORD, {**_FORMAT.head, **record})
    return read_journal(folder)


def read_journal(folder: Path) -> Journal:
    """A run's journal.

    Raises:
        ResultError: naming the file that is damaged or of a newer format.
    """
    path = folder / _RECORD
    record = _FORMAT.read(path)
    check_record(path, record, {"config": dict, "data": str, "batches": list, "made_by": dict, "sweep": str})
    people = len(record["patients"]) if isinstance(record.get("patients"), dict) else None
    if not _is_partition(record["batches"], people) or ("patients" in record and people is None):
        raise ResultError(f"{path}: batches and patients do not fit each other; remove {folder} and run again")
    return Journal(folder, record)


def check_record(path: Path, record: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """See that a record has what its readers need, and a time at which it `started`.

    Raises:
        ResultError: naming what is not there or of another kind.
    """
    wrong = [key for key, kind in kinds.items() if not isinstance(record.get(key), kind)]
    try:
        dt.datetime.fromisoformat(record["started"])
    except (KeyError, TypeError, ValueError):
        wrong.append("started")
    if wrong:
        raise ResultError(f"{path}: lacks {', '.join(wrong)}, or has what is none; remove it and run again")


def is_plain(name: object) -> bool:
    """Whether this is the name of one file or folder, which leads nowhere else."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _is_partition(batches: list[Any], people: int | None) -> bool:
    """Whether batches hold patients by position, each once."""
    if not all(isinstance(which, list) and all(type(i) is int for i in which) for which in batches):
        return False
    found = sorted(i for which in batches for i in which)
    return found == list(range(len(found) if people is None else people))


def journals(root: Path, *, on_damage: Callable[[ResultError], object] = lambda _: None) -> list[Journal]:
    """All runs of a results folder, the newest last; one whose record was never written is none.

    `on_damage` is told of those that cannot be read; they are passed over.
    """
    found = []
    for path in (root / RUNS).glob(f"*/{_RECORD}"):
        try:
            found.append(read_journal(path.parent))
        except ResultError as e:
            on_damage(e)
    return sorted(found, key=lambda journal: (journal.record["started"], journal.name))


def check_same(journal: Journal, record: Mapping[str, Any], *, sweep: Path | None = None) -> list[str]:
    """Whether a run may go on as `record` asks; `sweep` is the results folder, where it belongs to one.

    Returns:
        What may change its bits, in words: other versions, another kind of device.

    Raises:
        ConfigError: showing the difference, where the configuration or the data changed.
    """
    record = json.loads(json.dumps(without_nan(record)))
    before, now = (with_defaults(x["config"], Experiment) for x in (journal.record, record))
    wrong = differences(before, now)
    if "patients" in journal.record:
        people, given = journal.record["patients"], record["patients"]
        pairs = {name: (people.get(name, "-"), given.get(name, "-")) for name in {**people, **given}}
        wrong += [f"data: the record of {name} changed ({a} -> {b})" for name, (a, b) in pairs.items() if a != b]
        if not wrong and list(people) != list(given):
            wrong.append(f"patients: {', '.join(people)} -> {', '.join(given)}")
    elif journal.record["data"] != record["data"]:
        wrong.append(f"data: the records changed (fingerprint {journal.record['data']} -> {record['data']})")
    if wrong:
        lines = "\n".join(f"  {line}" for line in wrong)
        if sweep is not None:
            raise ConfigError(
                f"{sweep}: the sweep began otherwise ({journal.name})\n{lines}\n"
                "give what it began with to go on with it, or take other results for a new sweep"
            )
        raise ConfigError(
            f"{journal.folder}: the unfinished run was of another configuration\n{lines}\n"
            f"give that configuration to go on with it, leave {argument('resume', True)} out to begin a new run, or "
            "remove the folder"
        )
    return differences(journal.record["made_by"], record["made_by"])


def write_json(path: Path, content: Any) -> None:
    """Write a file whole or not at all, and see it on the disk."""
    with whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        json.dump(without_nan(content), file, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
