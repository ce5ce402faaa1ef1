"""One journal on its way to one MLflow: in order, in batches, remembering how far it got."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ._client import Place
from ._journal import Cursor, only_one, read_events
from ._recorder import Recorder

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BATCH_BYTES = 2_000_000


class Delivery:
    """Sends what a journal has beyond its cursor."""

    def __init__(self, place: Place, journal: Path) -> None:
        self.place, self.journal = place, journal
        self.cursor = Cursor(journal, place.key)
        self.events = 0
        """Number of events sent so far."""
        self._recorder: Recorder | None = None
        self._lock = ExitStack()

    def claim(self) -> bool:
        """Whether nobody else sends this journal to this MLflow; holds until `release`, or until the process ends."""
        lock = self.journal.with_name(f"{self.journal.stem}.{self.place.key}.lock")
        mine = self._lock.enter_context(only_one(lock))
        if not mine:
            self._lock.close()
        return mine

    def release(self) -> None:
        """Let others send it."""
        self._lock.close()

    @property
    def left(self) -> int:
        """Bytes not sent yet."""
        if not self.journal.exists():
            return 0
        return max(0, self.journal.stat().st_size - self.cursor.read())

    @property
    def recorder(self) -> Recorder:
        """What is known of the program after `advance`."""
        assert self._recorder is not None
        return self._recorder

    def advance(self, client: "MlflowClient") -> int:
        """Send one batch; the cursor moves once it is there.

        Returns:
            How many bytes it was; 0 where nothing is left.

        Raises:
            Exception: whatever MLflow, a driver or a store raises. Nothing is lost: call again.
        """
        recorder = self._recorder
        start = self.cursor.read()
        if start > self.journal.stat().st_size:
            start = 0  # a cursor of another journal of this name
        if recorder is None:
            recorder = Recorder(self.place)
            if start:
                recorder.replay(read_events(self.journal, 0, start)[0])
        self._recorder = None  # what fails in the middle starts from the cursor again
        events, end = read_events(self.journal, start, _BATCH_BYTES)
        if events:
            recorder.send(client, events)
            self.events += len(events)
        if end > start:
            self.cursor.write(end)
        self._recorder = recorder
        return end - start
