"""Folders held for a removal: against other removals, and against trainings, in them, above them and inside them."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock

from ..experiment import (
    FORGETTING,
    FORGETTING_LOCK,
    RUNS,
    Busy,
    reader_near,
    real_folder,
    removal_near,
    training_above,
    training_locks,
)
from ._log import Log, completed

_WAIT = "wait for it, then give the command again"
_STOP = "wait for it, or stop it"


@contextlib.contextmanager
def alone(roots: Sequence[Path]) -> Iterator[None]:
    """Hold folders against other removals; no lock stays.

    Each removal takes its own locks before it looks for those of others: of two that overlap one sees the other.

    Raises:
        Busy: where another removal is at work in one of them, above or inside it.
    """
    places = _places(roots)
    with contextlib.ExitStack() as stack:
        for place in places:
            lock = filelock.FileLock(place / FORGETTING_LOCK, timeout=0)
            try:
                stack.enter_context(lock)
            except filelock.Timeout as e:
                raise Busy(f"{place}: another removal is at work here; {_WAIT}") from e
            stack.callback((place / FORGETTING_LOCK).unlink, missing_ok=True)
        for place in places:
            if (other := removal_near(place, set(places))) is not None:
                how = "which holds this folder" if place.is_relative_to(other) else "inside this folder"
                raise Busy(f"{place}: another removal is at work in {other}, {how}; {_WAIT}")
        yield


@contextlib.contextmanager
def held(roots: Sequence[Path], *, marked: Sequence[Path] = (), log: Log | None = None) -> Iterator[None]:
    """Hold folders, and all inside them, against trainings: nothing trains, reads or sends there meanwhile.

    The mark comes before the locks, and a training looks for it holding its own lock: one of the two sees the other.
    The mark says whose removal it is; where another person's was interrupted, theirs stays, unless the log says that
    it was completed.

    Args:
        roots: the folders.
        marked: those of them that are marked, so that a removal that was interrupted still keeps trainings away.
        log: the removal's.

    Raises:
        Busy: where something trains or reads in one of them, above or inside it.
    """
    with contextlib.ExitStack() as stack:
        before = {root: _marks(root) for root in _places(marked)}
        for root, marks in before.items():
            if log is not None:
                _mark(root, {*(marks or ()), log.pseudonym})
        try:
            for place in _places(roots):
                _hold(stack, place, {real_folder(root) for root in roots})
        except Busy:
            for root, marks in before.items():
                _mark(root, marks)
            if log is not None:
                log.give_up()
            raise
        yield
        for root in before:
            left = (_marks(root) or set()) - {log.pseudonym} - completed(log.path) if log is not None else set()
            _mark(root, left or None)


def _places(roots: Sequence[Path]) -> list[Path]:
    return sorted({real_folder(root if root.is_dir() else root.absolute().parent) for root in roots})


def _hold(stack: contextlib.ExitStack, place: Path, roots: set[Path]) -> None:
    if any(above in roots for above in place.parents):
        return  # with what holds this one
    if (above := training_above(place)) is not None:
        raise Busy(f"{place}: a training is at work in {above}, which holds this folder; {_STOP}")
    if (other := reader_near(place)) is not None:
        raise Busy(f"{place}: a training reads its data in {other}; {_STOP}")
    for path in list(training_locks(place)):
        sends = re.fullmatch(r"lock\.[0-9a-f]{8}", path.name) is not None
        folder = path.parents[2] if path.parents[1].name == RUNS else path.parent
        try:
            stack.enter_context(filelock.FileLock(path, timeout=0))
        except filelock.Timeout as e:
            where = "here" if folder == place else f"in {folder}, inside this folder"
            how = "sending to MLflow" if sends else "at work"
            raise Busy(f"{place}: a training is {how} {where}; {_STOP}") from e


def _marks(root: Path) -> set[str] | None:
    """Whose removals a mark tells of; None where there is none."""
    try:
        return set((root / FORGETTING).read_text("ascii").split())
    except FileNotFoundError:
        return None


def _mark(root: Path, whose: set[str] | None) -> None:
    path = root / FORGETTING
    if whose is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text("".join(f"{one}\n" for one in sorted(whose)), "ascii")
