"""What is to be done: whose a thing is says whether it goes, is rewritten, or stays."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._words import counted
from ._person import NamedPerson
from ._places import Places

SHARED, OWN = range(2)
"""What is shared with others, first; then the person's own, which tell what to look for until all else is clean."""


class ForgetStep(NamedTuple):
    """One thing that is done to one place."""

    action: str
    """`remove`, `rewrite` or `vacuum`."""
    where: str
    """File, folder or table."""
    why: str
    """In words."""


class Trace(NamedTuple):
    """A place that carries the person, and that t1djax does not touch."""

    where: str
    """File, folder, or column of a database."""
    what: str
    """Name, readings, or a copy of a file."""


class Task(NamedTuple):
    """A step, when it is due, which files it changes, and how it is taken."""

    stage: int
    step: ForgetStep
    files: frozenset[Path]
    how: Callable[[], object]

    def take(self) -> ForgetStep:
        """Do it."""
        self.how()
        return self.step


class Plan:
    """What is to be done, and what is known of the person."""

    def __init__(self, places: Places, person: NamedPerson) -> None:
        self.places, self.person = places, person
        self.tasks: dict[str, Task] = {}
        """By the place."""
        self.names: set[str] = set()
        """Everybody who is known."""
        self.series: list[np.ndarray] = []
        """The person's readings, mg/dL."""
        self.copied: list[Path] = []
        """The person's own files with readings or fits, of which there may be copies."""
        self.ours: set[Path] = set()
        """What t1djax wrote of others: keys and headers in it are words of the format."""
        self.unknown: list[Trace] = []
        """Places of which nobody can tell whether they hold the person."""

    def due(self, stage: int) -> list[Task]:
        """The tasks of a stage in the order in which they are taken; of the person's own, what lies deeper first."""
        tasks = [task for task in self.tasks.values() if task.stage == stage]
        return tasks if stage == SHARED else sorted(tasks, key=lambda task: -len(Path(task.step.where).parts))

    def do(
        self, stage: int, action: str, where: Path | str, why: str, how: Callable[[], object],
        files: Iterable[Path] | None = None,
    ) -> None:  # fmt: skip
        """Plan a step, which changes the place alone if no files are given."""
        changed = frozenset([Path(where)] if files is None else files)
        self.tasks[str(where)] = Task(stage, ForgetStep(action, str(where), why), changed, how)

    def remove(self, stage: int, paths: Sequence[Path], why: str) -> None:
        """Plan that files and folders go, in this order, and what held them where nothing is left in it."""
        self.do(stage, "remove", paths[-1], why, lambda: self.places.remove(*paths), files_of(paths))

    def take(
        self,
        people: Sequence[str],
        paths: Sequence[Path],
        what: str,
        *,
        stage: int = OWN,
        without: Callable[[], object] | None = None,
        telling: Sequence[Path] = (),
    ) -> None:
        """Plan what becomes of a thing: others' stays, the person's own goes, and what is of both is rewritten.

        Paths go in this order: what says whose they are is the last. `without` leaves the person out; where there is
        none, a thing of several people goes as a whole. `telling` are paths with readings or fits, of which there may
        be copies.
        """
        self.names |= set(people)
        mine = [*filter(self.person.same, people)]
        if mine and (without is None or len(mine) == len(people)):
            self.copied += telling
            self.remove(stage, paths, what)
            return
        self.ours |= files_of(paths)
        if mine and without is not None:
            why = f"{what} of {counted(len(people), 'patient')}, without the person"
            self.do(stage, "rewrite", paths[-1], why, without, files_of(paths))


def files_of(paths: Iterable[Path]) -> set[Path]:
    """Files, and all files in folders; links are none."""
    each = (inner for path in paths for inner in (path.rglob("*") if path.is_dir() else [path]))
    return {path for path in each if path.is_file() and not path.is_symlink()}
