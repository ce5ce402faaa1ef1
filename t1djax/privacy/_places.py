"""The folders that a removal was given: nothing outside of them is touched, and no link in them is followed."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..config import ConfigError, MissingPathError

SCRATCH = ".forgetting-"
"""How the names of files begin that a removal writes before they take their place."""


class Here(NamedTuple):
    """A folder on the way through all of them."""

    path: Path
    """Where."""
    folders: list[str]
    """Names of the folders in it; what is taken out is not visited."""
    files: frozenset[str]
    """Names of the files in it, without links."""


class Places:
    """Folders as they were named, without those that lie in others of them.

    Raises:
        MissingPathError: naming the one that is not there.
        ConfigError: naming the one that is no folder.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        given = list(dict.fromkeys(roots))
        for root in given:
            if not root.exists():
                raise MissingPathError(f"{root}: there is no such folder; check the path")
            if not root.is_dir():
                raise ConfigError(f"{root}: is a file; name its folder, so that what belongs to it is found")
        real = [Path(os.path.realpath(root)) for root in given]
        inner = [any(a != b and a.is_relative_to(b) for b in real) or a in real[:i] for i, a in enumerate(real)]
        self.roots = [root for root, within in zip(given, inner, strict=True) if not within]
        self._real = [place for place, within in zip(real, inner, strict=True) if not within]

    def hold(self, path: Path) -> bool:
        """Whether a path, all links in the way to it resolved, lies inside one of the folders."""
        real = Path(os.path.realpath(path.parent)) / path.name
        return not path.is_symlink() and any(real != root and real.is_relative_to(root) for root in self._real)

    def lead_in(self, link: Path) -> bool:
        """Whether what a link leads to is in the folders, or one of them, or not there."""
        real = Path(os.path.realpath(link))
        return not os.path.exists(link) or any(real.is_relative_to(root) for root in self._real)

    def walk(self) -> Iterator[Here]:
        """All folders, those that hold others first; links are not followed."""
        for root in self.roots:
            for base, folders, names in os.walk(root):
                here = Path(base)
                folders[:] = sorted(name for name in folders if not (here / name).is_symlink())
                yield Here(here, folders, frozenset(n for n in names if stat.S_ISREG((here / n).lstat().st_mode)))

    def links(self) -> Iterator[Path]:
        """All links."""
        for root in self.roots:
            for base, folders, names in os.walk(root):
                yield from (path for name in sorted([*folders, *names]) if (path := Path(base) / name).is_symlink())

    def remove(self, path: Path) -> None:
        """Remove a file; one that is gone is no matter.

        Raises:
            OSError: where it lies outside of the folders.
        """
        self._check(path)
        path.unlink(missing_ok=True)

    def replace(self, path: Path, data: bytes) -> None:
        """New content under an old name and mode, whole or not at all, and on the disk.

        Raises:
            OSError: where it lies outside of the folders.
        """
        self._check(path)
        partial = path.with_name(f"{SCRATCH}{os.urandom(6).hex()}")
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(stat.S_IMODE(path.stat().st_mode))
        partial.replace(path)

    def _check(self, path: Path) -> None:
        if not self.hold(path):
            raise OSError(f"{path}: leads out of the folders named; nothing there is touched")
