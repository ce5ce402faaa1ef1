"""How long the rest of a sweep takes, by the training that this process has seen."""

import time
from collections.abc import Callable


class Pace:
    """Fits per second between two reports: neither compilation nor what was done before a stop counts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent_s = self._done = 0.0
        self._fits = 0
        self._began_s = 0.0
        self._last: tuple[float, float] | None = None

    def begin(self, fits: int) -> None:
        """A program of so many fits begins; 0 where it is finished already."""
        self._fits, self._began_s, self._last = fits, self._clock(), None

    def at(self, fits: float) -> None:
        """So many fits' worth of the batch under way is done."""
        now = self._clock()
        if self._last is not None and fits >= self._last[1]:
            self._spent_s += now - self._last[0]
            self._done += fits - self._last[1]
        self._last = now, fits

    def end(self) -> None:
        """The program is done; one that never reported, such as least squares, counts as a whole."""
        if self._last is None and self._fits:
            self._spent_s += self._clock() - self._began_s
            self._done += self._fits

    def seconds_for(self, fits: float) -> float | None:
        """How long so many fits take, s; None before anything was seen."""
        return self._spent_s / self._done * fits if self._done > 0 else None
