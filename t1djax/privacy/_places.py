"""The folders that a removal was given: nothing outside of them is touched, and no link in them is followed."""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..config import ConfigError, MissingPathError

SCRATCH = ".rewriting-"
"""How the names of files begin that a removal writes before they take their place."""


class Here(NamedTuple):
    """A folder on the way through all of them."""

    path: Path
    """Where."""
    folders: list[str]
    """Names of the folders in it; what is taken out is not visited."""
    files: frozenset[str]
    """Names of the files in it, without links."""
    links: list[Path]
    """Links in it."""

    @property
    def empty(self) -> bool:
        """Whether nothing is in it."""
        return not (self.folders or self.files or self.links)


class Places:
    """Folders as they were named, without those that lie in others of them.

    Raises:
        MissingPathError: naming the one that is not there.
        ConfigError: naming the one that is no folder.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        named: dict[Path, Path] = {}
        for root in roots:
            if not root.exists():
                raise MissingPathError(f"{root}: there is no such folder; check the path")
            if not root.is_dir():
                raise ConfigError(f"{root}: is a file; name its folder, so that what belongs to it is found")
            named.setdefault(Path(os.path.realpath(root)), root)
        self._real = [place for place in named if not any(above in named for above in place.parents)]
        self.roots = [named[place] for place in self._real]

    def hold(self, path: Path) -> bool:
        """Whether a path, all links in the way to it resolved, lies inside one of the folders."""
        real = Path(os.path.realpath(path.parent)) / path.name
        return not path.is_symlink() and any(root in real.parents for root in self._real)

    def lead_in(self, link: Path) -> bool:
        """Whether what a link leads to is in the folders, or one of them, or not there."""
        real = Path(os.path.realpath(link))
        return not os.path.exists(link) or any(real.is_relative_to(root) for root in self._real)

    def walk(self) -> Iterator[Here]:
        """All folders, those that hold others first; links are not followed."""
        for root in self.roots:
            for base, folders, names in os.walk(root):
                here = Path(base)
                links = [path for name in sorted([*folders, *names]) if (path := here / name).is_symlink()]
                folders[:] = sorted(name for name in folders if here / name not in links)
                yield Here(
                    here, folders, frozenset(n for n in names if stat.S_ISREG((here / n).lstat().st_mode)), links
                )

    def remove(self, *paths: Path) -> None:
        """Remove files, and folders with what is in them but links; then what held them, where nothing is left in it.

        Raises:
            OSError: where one lies outside of the folders.
        """
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                self.remove(*(inner for inner in path.iterdir() if not inner.is_symlink()))
            else:
                self._check(path)
                path.unlink(missing_ok=True)
            for folder in (path, path.parent):
                if self.hold(folder):
                    with contextlib.suppress(OSError):  # something is in it
                        folder.rmdir()

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
        if path.exists():
            partial.chmod(stat.S_IMODE(path.stat().st_mode))
        partial.replace(path)

    def _check(self, path: Path) -> None:
        if not self.hold(path):
            raise OSError(f"{path}: leads out of the folders named; nothing there is touched")
