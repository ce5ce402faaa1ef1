"""What keeps the state of a training run."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from ..records import TrainState


@runtime_checkable
class Keeper(Protocol):
    """Keeps the state of a training run so that another process can go on with it."""

    def restore(self, like: Callable[[int], TrainState]) -> TrainState | None:
        """The last state that was kept whole; None where there is none.

        Args:
            like: gives, for the number of a stage, a state of the shapes and types that it has there.

        Returns:
            The state, or None.
        """
        ...

    def keep(self, state: TrainState, *, stage_ends: bool) -> None:
        """Take note of a state, and store it where that is due.

        Args:
            state: its arrays do not change any more.
            stage_ends: whether the stage is done.
        """
        ...
