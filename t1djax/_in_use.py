"""Who is at work in a folder: a lock of the operating system on the folder itself, which ends with its process.

Who trains, reads or sends there shares it; a removal has it alone, and marks the folder for as long as it takes. A user
locks and then looks for marks; a removal marks and then looks for locks: of two that meet one sees the other. No file
lies among the data, and no right to write is needed. Where a folder cannot be locked, nothing is said.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MARK = ".forgetting-"
"""How the name of a file begins that says that somebody is being removed from a folder."""
_OTHER, _WAIT = "another process trains, reads or removes", "wait for it, or stop it"
_TRIES, _PAUSE_S = 40, 0.05
"""For how long a user waits for one who only looks whether anybody is at work."""


class Busy(OSError):
    """Another process is at work on the same run, or in the same folder."""


@contextlib.contextmanager
def using(folders: Iterable[Path]) -> Iterator[None]:
    """Train in folders, read in them, or send from them, while nobody removes a person from them.

    Raises:
        Busy: where a removal is at work on one of them, above or inside it, or was interrupted.
    """
    places = _real(folders)
    with contextlib.ExitStack() as stack:
        for place in places:
            if not stack.enter_context(_locked(place, alone=False, tries=_TRIES)):
                raise Busy(_removal(place, "here"))
        for place in places:
            check_unmarked(place)
        yield


@contextlib.contextmanager
def alone(folders: Iterable[Path]) -> Iterator[None]:
    """Have folders alone: nobody else trains, reads, sends or removes there.

    Raises:
        Busy: where somebody else is at work in one of them, above or inside it.
    """
    places = _real(folders)
    with contextlib.ExitStack() as stack:
        for place in places:
            if not stack.enter_context(_locked(place, alone=True)):
                raise Busy(f"{place}: {_OTHER} here; {_WAIT}")
        _check_around(places)
        yield


@contextlib.contextmanager
def marked(folders: Iterable[Path], mark: str) -> Iterator[None]:
    """Keep users away from folders that this process has alone, and from all above and inside them.

    Marks stay where the block raises, so that a removal that was interrupted still keeps them away.

    Raises:
        Busy: where somebody is at work there already.
    """
    places = _real(folders)
    marks = [place / (MARK + mark) for place in places]
    new = [path for path in marks if not path.exists()]
    for path in new:
        path.touch()
    try:
        _check_around(places)
    except Busy:
        for path in new:
            path.unlink()
        raise
    yield
    for path in marks:
        path.unlink(missing_ok=True)


def _check_around(places: list[Path]) -> None:
    for place in places:
        for other in (x for x, _ in _around(place) if x not in places and _locked_by_another(x)):
            raise Busy(f"{place}: {_OTHER} in {other}; {_WAIT}")


def check_unmarked(folder: Path) -> None:
    """Refuse a folder while a person is being removed from it, from what holds it, or inside it.

    Raises:
        Busy: where that is so, or was interrupted.
    """
    (place,) = _real([folder])
    for other, names in _around(place):
        if any(name.startswith(MARK) for name in names):
            raise Busy(_removal(folder, "here" if other == place else str(other)))


def _removal(folder: Path, where: str) -> str:
    return (
        f"{folder}: a person's data are being removed from {where}, or that was interrupted; finish it with the same "
        "`t1djax forget` first"
    )


def _real(folders: Iterable[Path]) -> list[Path]:
    """One path for all spellings of a folder: relative, absolute, through links; of a file that of its folder."""
    return sorted({Path(os.path.realpath(x.absolute().parent if x.is_file() else x)) for x in folders})


def _around(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder, those inside it and those that hold it, and the names of their files."""
    yield from ((Path(base), names) for base, _, names in os.walk(folder))
    for above in folder.parents:
        with contextlib.suppress(OSError):
            yield above, os.listdir(above)


@contextlib.contextmanager
def _locked(folder: Path, *, alone: bool, tries: int = 1) -> Iterator[bool]:
    """Hold the lock of a folder; whether nobody's stands against it."""
    try:
        file = os.open(folder, os.O_RDONLY) if fcntl is not None else None
    except OSError:  # whoever reads it says what is wrong
        file = None
    if fcntl is None or file is None:
        yield True
        return
    try:
        yield _took(file, alone=alone, tries=tries)
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)  # for processes that were forked meanwhile, too
        os.close(file)


def _took(file: int, *, alone: bool, tries: int) -> bool:
    if fcntl is not None:
        for left in reversed(range(tries)):
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    return False
                time.sleep(_PAUSE_S)
            except OSError:  # a file system without locks
                break
    return True


def _locked_by_another(folder: Path) -> bool:
    """Whether a process holds the lock of a folder."""
    with _locked(folder, alone=True) as free:
        return not free
