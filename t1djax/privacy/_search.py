"""The proof: everything is read again, to the last byte, and what still holds the person is named."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ._contents import inside
from ._folders import files
from ._links import Link, links
from ._log import is_key
from ._objects import Objects
from ._person import Person
from ._readings import Readings

_SQLITE = b"SQLite format 3\0"


class Trace(NamedTuple):
    """A place that still holds the person."""

    where: str
    """File, member, cell, or object."""
    what: str
    """Name or readings, and in which form."""


class Searched(NamedTuple):
    """How much was searched."""

    files: int = 0
    """Files, with the names of all folders on the way."""
    members: int = 0
    """Contents that were unpacked from them."""
    cells: int = 0
    """Distinct values in databases."""
    objects: int = 0
    """Versions of objects in S3."""
    bytes: int = 0
    """Of all of these, unpacked."""


class Search:
    """Looks for a person's name and readings, and counts where it looked."""

    def __init__(self, person: Person, readings: Readings) -> None:
        self.person, self.readings = person, readings
        self.found: list[Trace] = []
        self.searched = Searched()

    def add(self, **counts: int) -> None:
        """Count."""
        self.searched = Searched(**{k: v + counts.get(k, 0) for k, v in self.searched._asdict().items()})

    def content(self, where: str, data: bytes) -> None:
        """Bytes, and everything packed in them."""
        packed = data.startswith(_SQLITE) or where.endswith(("-wal", "-journal"))
        for part, content in inside(where, data):
            self.add(members=int(part != where), bytes=len(content))
            form = self.person.in_bytes(content, packed=packed)
            if form is not None:
                self.found.append(Trace(part, f"name ({form})"))
            form = self.readings.in_bytes(content)
            if form is not None:
                self.found.append(Trace(part, f"readings ({form})"))

    def folders(self, roots: Iterable[Path], *, but: Iterable[Path] = ()) -> None:
        """Every file below, and every name."""
        left = [path.absolute() for path in but]
        for root in roots:
            names = set()
            for path in files(root):
                if any(path.absolute().is_relative_to(other) for other in left) or is_key(path.name):
                    continue
                relative = path.relative_to(root) if path != root else Path(path.name)
                names |= {*relative.parents, relative}
                self.add(files=1)
                if not path.is_symlink():
                    self.content(str(path), path.read_bytes())
            names |= {path.relative_to(root) for path in links(root)}
            empty = {p.relative_to(root) for p in root.rglob("*") if p.is_dir()} if root.is_dir() else set()
            named = [p for p in names | empty if self.person.in_text(p.name)]
            self.found += [Trace(str(root / p), "name (of a file or folder)") for p in sorted(named)
                           if not any((root / p).absolute().is_relative_to(other) for other in left)]  # fmt: skip

    def links(self, outside: Iterable[Link]) -> None:
        """What links lead to outside of the folders named: a file is read, a folder is not."""
        for link in outside:
            mend = f"a link leads there out of the folders named ({link.path}): name it with also=FOLDER, or remove it"
            if link.named:
                self.found.append(Trace(str(link.target), f"by its name the person's; {mend}"))
            elif link.target.is_dir():
                self.found.append(Trace(str(link.target), f"a folder that was not searched; {mend}"))
            elif link.target.is_file():
                before = len(self.found)
                self.folders([link.target])
                self.found[before:] = [Trace(one.where, f"{one.what}; {mend}") for one in self.found[before:]]

    def objects(self, objects: Objects) -> None:
        """Every version of every object, and every key."""
        for version in objects.versions():
            where = f"s3://{objects.bucket}/{version.key} (version {version.number})"
            self.add(objects=1)
            if self.person.in_text(version.key.removeprefix(objects.prefix)):
                self.found.append(Trace(where, "name (of an object)"))
            if not version.mark:
                self.content(where, objects.read(version))

    def cell(self, where: str, value: object) -> None:
        """One value of a database."""
        data = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
        self.add(cells=1)
        self.content(where, data)
