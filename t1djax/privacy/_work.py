"""What is done, or would be done, step by step."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ._links import Link
from ._person import Person
from ._readings import Readings
from ._scrub import clean


class ForgetStep(NamedTuple):
    """One thing that is done to one place."""

    action: str
    """`remove`, `rewrite`, `vacuum`, or `leave`: it holds the person, and is not touched."""
    where: str
    """File, folder, table or object."""
    why: str
    """In words."""


class TrainedOn(NamedTuple):
    """A model that saw the person's data together with others'."""

    where: str
    """Run, model version, or file."""
    what: str
    """What it is."""
    now: str
    """What became of the person's part, and what the rest of it still owes to the person."""


class Work:
    """A removal under way: who, what is known of them, and what was done so far.

    Args:
        person: who.
        readings: the person's.
        dry: whether nothing is to be touched.
        remove_mixed: whether files that cannot be rewritten are removed with what they hold of others.
        outside: links that lead out of what is worked on.
    """

    def __init__(
        self, person: Person, readings: Readings, *, dry: bool, remove_mixed: bool, outside: Sequence[Link] = ()
    ) -> None:
        self.outside = outside
        self.person, self.readings, self.dry, self.remove_mixed = person, readings, dry, remove_mixed
        self.steps: list[ForgetStep] = []
        self.population: list[TrainedOn] = []
        self._noted: set[Path] = set()

    def do(self, action: str, where: Path | str, why: str, how: Callable[[], object] | None = None) -> None:
        """Note a step, and take it unless this is a dry run."""
        if self.dry:
            place = Path(where).absolute()
            if self._noted.intersection([place, *place.parents]):
                return  # by what looks after it; it would be gone or mended by now
            self._noted.add(place)
        self.steps.append(ForgetStep(action, str(where), why))
        if how is not None and not self.dry:
            how()

    def trained(self, where: Path | str, what: str, now: str) -> None:
        """Note a model that saw the person beside others."""
        self.population.append(TrainedOn(str(where), what, now))

    def remove(self, path: Path, why: str) -> None:
        """Remove a file or folder."""
        self.do("remove", path, why, lambda: remove_tree(path))

    def rewrite(self, path: Path, data: bytes, why: str) -> None:
        """Replace a file's content, whole or not at all."""
        self.do("rewrite", path, why, lambda: replace(path, data))

    def file(self, path: Path) -> None:
        """Whatever a file asks for by its content."""
        data = path.read_bytes()
        cleaned = clean(self.person, self.readings, path.name, data)
        match cleaned.action:
            case "remove":
                self.remove(path, cleaned.why)
            case "rewrite":
                self.rewrite(path, cleaned.data, cleaned.why)
            case "mixed" if self.remove_mixed:
                self.remove(path, f"{cleaned.why}; with what it holds of others")
            case "mixed":
                self.do(
                    "leave", path, f"{cleaned.why}; it cannot be rewritten: mend it by hand, or pass remove_mixed=True"
                )


def remove_tree(path: Path) -> None:
    """Remove a file, link or folder; one that is gone is no matter.

    A folder bears another name first, so that a kill in the middle leaves nothing that looks whole.
    """
    if path.is_dir() and not path.is_symlink():
        gone = path if path.name.startswith(".forgetting-") else path.with_name(f".forgetting-{os.urandom(6).hex()}")
        if gone != path:
            path.rename(gone)
        shutil.rmtree(gone)
    else:
        path.unlink(missing_ok=True)


def replace(path: Path, data: bytes) -> None:
    """New content under an old name and mode, whole or not at all, and on the disk."""
    partial = path.with_name(f".forgetting-{os.urandom(6).hex()}")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    shutil.copymode(path, partial)
    partial.replace(path)
