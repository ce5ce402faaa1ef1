"""Who reads a folder of data: a lock on the folder itself, so that no file lies among the data."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..config import REFERENCE, Experiment
from ._overlap import check_open, real_folder

_TRIES, _PAUSE_S = 40, 0.05
"""For how long a reader waits for one who only looks whether anybody reads."""


@contextlib.contextmanager
def reading(configs: Iterable[Experiment]) -> Iterator[None]:
    """Read data, and networks to start from, while nobody removes a person from them.

    The lock comes before the look, and a removal says where it is before it looks for readers: one sees the other. The
    lock is the operating system's, on the folder; it ends with the process, and needs no right to write. Where a folder
    cannot be locked, nothing is said.

    Args:
        configs: what is trained, before anything of it is read.

    Raises:
        Busy: where a removal is at work on the folder, above or inside it, or was interrupted.
    """
    named = [place for config in configs for place in (config.data, config.warm_start)]
    places = {Path(place) for place in named if place not in (None, REFERENCE)}
    folders = sorted({place if place.is_dir() else place.absolute().parent for place in places})
    with contextlib.ExitStack() as stack:
        for folder in folders:
            stack.enter_context(_shared(real_folder(folder)))
        for folder in folders:
            check_open(folder)
        yield


def reader_near(folder: Path) -> Path | None:
    """In which folder a training reads its data: this one, by its real path, one that holds it, or one inside it."""
    below = (Path(base) for base, _, _ in os.walk(folder))
    return next((place for place in (*below, *folder.parents) if _is_read(place)), None)


@contextlib.contextmanager
def _shared(folder: Path) -> Iterator[None]:
    try:
        import fcntl  # noqa: PLC0415 - not on every system
    except ImportError:
        yield
        return
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:  # whoever reads it says what is wrong
        yield
        return
    try:
        for _ in range(_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_PAUSE_S)
            except OSError:  # a file system without locks
                break
        yield
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)  # for processes that were forked meanwhile, too
    finally:
        os.close(file)


def _is_read(folder: Path) -> bool:
    try:
        import fcntl  # noqa: PLC0415 - as above
    except ImportError:
        return False
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(file)
    return False
