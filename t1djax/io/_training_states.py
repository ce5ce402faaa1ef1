"""The state of a training run on disk, so that another process can go on with it bit for bit."""

import json
import logging
import shutil
import time
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._arguments import argument
from ..records import TrainState
from ._checkpoints import AROUND, apart, not_of_orbax, quiet_orbax, sizes_as_now
from ._differences import differences
from ._json_files import ResultError
from ._remarks import DataWarning
from ._results import without_nan

FORMAT_VERSION = 1
"""Of what is kept of a training run."""


def goes_on() -> str:
    """How to go on with what was stopped."""
    return f"what is finished is kept: {argument('resume', True)}, or the same sweep again, goes on from there"


"""What to tell of a run that was stopped."""
_TRASH = "trash"
_COURSES = ("values", "losses")
# What Orbax and its store raise on damaged files, a full disk, or a state of other shapes.
_TROUBLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, EOFError)


class Stopped(Exception):
    """Training was asked to stop, and its state is on disk."""


class TrainingStates:
    """Keeps the last states of one training run by Orbax: every so many chunks, and at the end of each stage.

    A state is complete or not there at all; what a kill left half-written is passed over. Each carries a checksum:
    where the newest is damaged, the one before it is taken, with a warning that says so. A disk that is full costs the
    checkpoint, not the training.

    Args:
        folder: where; made if it is not there. One process at a time.
        every: chunks of steps between two states.
        most: how many states are kept.
        stop: asked after each chunk; where it says true, the state is kept and `Stopped` raised.
        whose: what a state belongs to, as JSON can hold it: configuration, seeds, patients, fingerprints of their data.
            It is kept with each state, and a state of anything else is refused.

    Source: Orbax's CheckpointManager.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        every: int = 5,
        most: int = 3,
        stop: Callable[[], bool] | None = None,
        whose: Mapping[str, Any] | None = None,
    ) -> None:
        if every < 1 or most < 1:
            raise ValueError("every and most must be at least 1")
        self.folder, self.every, self.most, self.stop = Path(folder).absolute(), every, most, stop
        self.whose = None if whose is None else json.loads(json.dumps(without_nan(whose)))
        self.chunks, self.kept, self.bytes = 0, None, 0
        self._opened: Any = None
        self._trouble = False

    def __enter__(self) -> "TrainingStates":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def restore(self, like: Callable[[int], TrainState]) -> TrainState | None:
        """The newest state that can be read whole; None where there is none. See `Keeper`.

        Raises:
            ResultError: where it is of a newer format, or another run's, with the difference.
        """
        steps = sorted(self._steps(), reverse=True)
        for step in steps:
            try:
                meta, arrays = apart(_read, self.folder, step)
                if meta["format_version"] > FORMAT_VERSION:
                    raise ResultError(
                        f"{self.folder / str(step)}: has format version {meta['format_version']}, this t1djax reads "
                        f"{FORMAT_VERSION}; update it, or begin anew in other results"
                    )
                if _checksum(arrays) != meta["checksum"]:
                    raise ValueError("the checksum does not match")
                before = meta.get("whose")  # states of older versions do not say it
                if self.whose is not None and before is not None and (wrong := differences(before, self.whose)):
                    lines = "\n".join(f"  {line}" for line in wrong)
                    raise ResultError(
                        f"{self.folder / str(step)}: this training state is another run's\n{lines}\n"
                        f"give what it was trained with, or remove {self.folder} to begin anew"
                    )
                state = _as_state(arrays, meta, like(meta["stage"]))
            except ResultError:
                raise
            except _TROUBLE as e:
                self._warn(
                    f"{self.folder / str(step)}: this checkpoint is damaged ({_first_line(e)}); it is passed over"
                )
                # A rename first, like Orbax's own deletion: an interrupted one leaves nothing that cannot be read.
                (self.folder / _TRASH).mkdir(exist_ok=True)
                (self.folder / str(step)).replace(self.folder / _TRASH / f"{step}-{time.time_ns()}")
                continue
            self.kept = step
            return state
        if steps:
            self._warn(f"{self.folder}: no checkpoint is left; training begins anew")
        return None

    def keep(self, state: TrainState, *, stage_ends: bool) -> None:
        """Store the state where that is due. See `Keeper`.

        Raises:
            Stopped: where `stop` said so.
        """
        self.chunks += 1
        stopping = self.stop is not None and self.stop()
        if stage_ends or stopping or self.chunks % self.every == 0:
            self._save(state)
        if stopping:
            self.close()
            where = "" if self.kept is None else f"; its state after step {self.kept} is kept"
            raise Stopped(f"training was stopped at step {state.step}{where}; {goes_on()}")

    def close(self) -> None:
        """Wait for what is being written."""
        if self._opened is not None:
            try:
                self._opened.wait_until_finished()
            except _TROUBLE as e:
                self._warn(self._not_written(e))
            self._opened.close()
            self._opened = None
            self._empty_trash()
        self.kept = self._newest()
        logging.getLogger("absl").removeFilter(not_of_orbax)

    def _save(self, state: TrainState) -> None:
        arrays = _flat(state)
        meta = {
            "format_version": FORMAT_VERSION,
            "stage": state.stage,
            "chunk": state.chunk,
            "step": state.step,
            "checksum": _checksum(arrays),
            "arrays": {name: [list(x.shape), str(x.dtype)] for name, x in arrays.items()},
            "whose": self.whose,
        }
        self.bytes = sum(x.nbytes for x in arrays.values())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            needed, free = 2 * self.bytes + AROUND, shutil.disk_usage(self.folder).free
            if free < needed:
                self._wait()  # the one before may still get its place
                raise OSError(f"No space left on device: {free} bytes are free, {needed} needed")
            if jax.process_count() > 1:
                apart(_write, self.folder, state.step, arrays, meta, self.most)
            else:
                _save(self._manager(), state.step, arrays, meta)
        except _TROUBLE as e:
            # What failed in the background stays with the manager: the next attempt takes a fresh one.
            self._opened = None
            if not self._trouble:  # said once, until one is written again
                self._warn(self._not_written(e))
            self._trouble = True
        else:
            self._trouble = False

    def _manager(self) -> Any:
        if self._opened is None:
            self._empty_trash()
            # What it logs of failures, with tracebacks, is said here in one line.
            logging.getLogger("absl").addFilter(not_of_orbax)
            self._opened = _open(self.folder, self.most)
        return self._opened

    def _wait(self) -> None:
        if self._opened is not None:
            self._opened.wait_until_finished()

    def _empty_trash(self) -> None:
        shutil.rmtree(self.folder / _TRASH, ignore_errors=True)

    def _not_written(self, e: Exception) -> str:
        self.kept = self._newest()
        last = "there is none yet" if self.kept is None else f"the last good one is of step {self.kept}"
        return f"{self.folder}: a checkpoint could not be written ({_first_line(e)}); training goes on, {last}"

    def _newest(self) -> int | None:
        """The newest state that is complete: it has its name only then."""
        return max(self._steps(), default=None)

    def _steps(self) -> list[int]:
        return [int(path.name) for path in self.folder.glob("*") if path.name.isdigit()]

    def _warn(self, message: str) -> None:
        warnings.warn(message, DataWarning, stacklevel=4)


def _open(folder: Path, most: int) -> Any:
    """Orbax's manager of a folder."""
    import orbax.checkpoint as ocp  # noqa: PLC0415 - heavy

    # Deletion is a rename first: an interrupted one leaves no state that is listed and cannot be read.
    options = ocp.CheckpointManagerOptions(max_to_keep=most, todelete_subdir=_TRASH, cleanup_tmp_directories=True)
    return ocp.CheckpointManager(folder, options=options)


def _save(manager: Any, step: int, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    import orbax.checkpoint as ocp  # noqa: PLC0415 - heavy

    args = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave(meta))
    manager.save(step, args=args, force=True)


def _write(folder: Path, step: int, arrays: dict[str, np.ndarray], meta: dict[str, Any], most: int) -> None:
    """The same from beginning to end."""
    with quiet_orbax(), _open(folder, most) as manager:
        _save(manager, step, arrays, meta)
        manager.wait_until_finished()


def _read(folder: Path, step: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What was saved of a step."""
    import orbax.checkpoint as ocp  # noqa: PLC0415 - heavy

    with quiet_orbax(), ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(read_only=True)) as manager:
        meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        if meta["format_version"] > FORMAT_VERSION:
            return meta, {}
        shapes = {name: np.empty(shape, dtype) for name, (shape, dtype) in meta["arrays"].items()}
        found = manager.restore(step, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(shapes)))["arrays"]
        return meta, {name: np.asarray(x) for name, x in found.items()}


def _first_line(e: Exception) -> str:
    return (str(e).splitlines() or [""])[0][:200] or type(e).__name__


def _flat(state: TrainState) -> dict[str, np.ndarray]:
    """Every array by name, on the host; Orbax takes no empty ones, and none are needed."""
    named = jax.tree_util.tree_leaves_with_path({"twins": state.twins, "solver": state.solver})
    found = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in named}
    found["steps"] = np.asarray(state.steps)
    for course in _COURSES:
        found |= {f"{course}/{name}": np.asarray(x) for name, x in getattr(state, course).items()}
    return {name: x for name, x in found.items() if x.size}


def _as_state(arrays: dict[str, np.ndarray], meta: Mapping[str, Any], like: TrainState) -> TrainState:
    skeleton = {"twins": like.twins, "solver": like.solver}
    rows, leaves = jax.tree.leaves(like.twins)[0].shape[0], []
    fitted = {
        name: _padded(x, rows, axis=int(name.startswith(_COURSES))) for name, x in arrays.items() if name != "steps"
    }
    fitted = sizes_as_now(fitted, "['twins']")
    for path, leaf in jax.tree_util.tree_leaves_with_path(skeleton):
        name = jax.tree_util.keystr(path)
        # States of 0.1.0 lack what each step finds anew.
        empty = not leaf.size or (".reduced." in name and name not in fitted)
        found = np.full(leaf.shape, np.nan, leaf.dtype) if empty else fitted[name]
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise ValueError(f"{name} is {found.dtype}{list(found.shape)}, not {leaf.dtype}{list(leaf.shape)}")
        leaves.append(jax.device_put(found))
    tree = jax.tree.unflatten(jax.tree.structure(skeleton), leaves)
    course = lambda kind: {n.removeprefix(f"{kind}/"): x for n, x in fitted.items() if n.startswith(f"{kind}/")}
    return TrainState(
        meta["stage"], meta["chunk"], meta["step"], tree["twins"], tree["solver"], arrays["steps"],
        course("values"), course("losses"),
    )  # fmt: skip


def _padded(x: np.ndarray, rows: int, *, axis: int) -> np.ndarray:
    """As many rows as these devices want: beyond the real ones, all are copies of the last."""
    return np.take(x, np.minimum(np.arange(rows), x.shape[axis] - 1), axis)


def _checksum(arrays: Mapping[str, np.ndarray]) -> int:
    total = 0
    for name in sorted(arrays):
        total = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), zlib.crc32(name.encode(), total))
    return total
