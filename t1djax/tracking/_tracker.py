"""What a training tells a tracker."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..records import ChunkMetrics, RunInfo


class TrackingWarning(UserWarning):
    """Tracking has trouble; the training goes on, and the message says what to do about the rest."""


class TrackingError(RuntimeError):
    """What was tracked cannot be sent as things are; the message names the remedy."""


@runtime_checkable
class Tracker(Protocol):
    """Listens to a training. No method may wait for a server. A fit is a row: a patient's name and a seed."""

    def begin(self, info: RunInfo) -> None:
        """A program is about to start, or to go on after it was stopped.

        Args:
            info: its name, its fits, its configuration.
        """
        ...

    def chunk(self, name: str, rows: Sequence[tuple[str, int]], chunk: ChunkMetrics) -> None:
        """Some steps of the fits `rows` of the program `name` are done.

        Args:
            name: the program, as `begin` named it.
            rows: the fits that trained.
            chunk: losses and estimates after these steps, one number per fit.
        """
        ...

    def result(self, name: str, row: tuple[str, int], folder: str | Path) -> None:
        """The result folder of a fit is complete.

        Args:
            name: the program, as `begin` named it.
            row: patient and seed of the fit.
            folder: where its result is.
        """
        ...

    def end(self, name: str) -> None:
        """A program is done with all its fits.

        Args:
            name: the program, as `begin` named it.
        """
        ...

    def close(self) -> None:
        """Nothing more will come; waits a bounded time for what is not sent yet."""
        ...
