"""Who else is at work in a folder, in one that holds it, or inside it; no lock outlives its process."""

import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from ..tracking import RUNS

FORGETTING = ".forgetting"
"""A file in a results folder while somebody's data are removed from it; nothing trains there meanwhile."""
FORGETTING_LOCK = ".forgetting.lock"
"""The lock of a removal, in each folder that it works on."""
SWEEP_LOCK = "sweep.lock"


class Busy(OSError):
    """Another process is at work on the same run."""


def real_folder(folder: Path) -> Path:
    """One path for all spellings of a folder: relative, absolute, through links."""
    return Path(os.path.realpath(folder))


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock. To look disturbs nobody else who looks."""
    try:
        import fcntl  # noqa: PLC0415 - not on every system
    except ImportError:
        try:
            with filelock.FileLock(lock, timeout=0):
                return False
        except filelock.Timeout:
            return True
    try:
        file = os.open(lock, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def check_open(root: Path) -> None:
    """Refuse to work on a results folder while a person is being removed from it, from what holds it, or inside it.

    Raises:
        Busy: where that is so, or was interrupted.
    """
    for folder in _around(real_folder(root)):
        if os.path.exists(folder / FORGETTING) or is_held(folder / FORGETTING_LOCK):
            where = "here" if folder == real_folder(root) else str(folder)
            raise Busy(
                f"{root}: a person's data are being removed from {where}, or that was interrupted; finish it with the "
                "same `t1djax forget` first"
            )


def removal_near(folder: Path, mine: set[Path]) -> Path | None:
    """Where another removal is at work: in a folder above or below this one.

    Args:
        folder: its real path.
        mine: the folders that this process has locked itself.
    """
    near = (x for x in _around(folder) if x not in mine and is_held(x / FORGETTING_LOCK))
    return next(near, None)


def training_above(folder: Path) -> Path | None:
    """In which folder that holds this one, by its real path, something trains or is sent to MLflow."""
    for above in folder.parents:
        parts = [above, *(above / RUNS).glob("*")]
        if any(is_held(lock) for part in parts for lock in _in_folder(part, _names(part))):
            return above
    return None


def training_locks(folder: Path) -> Iterator[Path]:
    """The locks of trainings, sweeps and of what is sent to MLflow, in a folder and in all below it."""
    for base, _, names in os.walk(folder):
        yield from _in_folder(Path(base), names)


def _in_folder(folder: Path, names: list[str]) -> list[Path]:
    run = folder.parent.name == RUNS
    return [folder / name for name in sorted(names) if (name.startswith("lock") if run else name == SWEEP_LOCK)]


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _around(folder: Path) -> Iterator[Path]:
    """A folder, those that hold it, and those inside it that a removal left something in."""
    yield folder
    yield from folder.parents
    for base, _, names in os.walk(folder):
        if Path(base) != folder and (FORGETTING in names or FORGETTING_LOCK in names):
            yield Path(base)
