"""A stretch of a record as it would have been."""

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ..physics import Doses

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, eq=False)
class Replay:
    """A stretch of a record under other doses."""

    name: str
    """The patient."""
    scenario: str
    """What was changed, as it was named."""
    time_min: Float[np.ndarray, " readings"]
    """Times of the readings, min on the record's clock."""
    recorded_mg_dL: Float[np.ndarray, " readings"]
    """The readings, mg/dL."""
    change_mg_dL: Float[np.ndarray, "draws readings"]
    """How much glucose would have been higher, mg/dL: a row for each draw of what is not known."""
    recorded: Doses
    """The doses of the record."""
    changed: Doses
    """The other doses."""
    remarks: tuple[str, ...]
    """What the record cannot support of the answer; empty where it can."""
    answered: Float[np.ndarray, "draws 2"] | None = None
    """What answers gave beyond the other doses, insulin (U) and carbohydrate (g), where there were some."""

    def interval(
        self, level: float = 0.9
    ) -> tuple[Float[np.ndarray, " readings"], Float[np.ndarray, " readings"], Float[np.ndarray, " readings"]]:
        """Median and ends of an interval of the change, mg/dL, at each reading.

        Args:
            level: its probability.

        Returns:
            Median, lower end, upper end.
        """
        low, middle, high = np.quantile(self.change_mg_dL, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
        return middle, low, high

    def span(self, start: dt.datetime | None = None) -> str:
        """From when to when this is, in words.

        Args:
            start: clock time of the record's minute zero, `Patient.start`.

        Returns:
            Clock times, or minutes of the record.
        """
        first, last = float(self.time_min[0]), float(self.time_min[-1])
        if start is None:
            return f"minute {first:.0f} to {last:.0f} of the record"
        begin, end = (start + dt.timedelta(minutes=t) for t in (first, last))
        return f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"

    def table(self, level: float = 0.9) -> "pd.DataFrame":
        """A row for each reading: as it was, as it would have been, and the difference, with intervals.

        Args:
            level: probability of the intervals.

        Returns:
            The table.
        """
        import pandas as pd  # noqa: PLC0415 - heavy

        middle, low, high = self.interval(level)
        was = self.recorded_mg_dL
        return pd.DataFrame({
            "time_min": self.time_min, "recorded_mg_dL": was, "replayed_mg_dL": was + middle,
            "replayed_low_mg_dL": was + low, "replayed_high_mg_dL": was + high,
            "change_mg_dL": middle, "change_low_mg_dL": low, "change_high_mg_dL": high,
        })  # fmt: skip

    def in_ranges(self, level: float = 0.9) -> "pd.DataFrame":
        """Share of readings in the ranges of the consensus, %: as it was, as it would have been, with intervals.

        Args:
            level: probability of the intervals.

        Returns:
            The table.
        """
        import pandas as pd  # noqa: PLC0415 - heavy

        edges = {"below 54": (-np.inf, 54), "54 to 69": (54, 70), "70 to 180": (70, 180.0001),
                 "181 to 250": (180.0001, 250.0001), "above 250": (250.0001, np.inf)}  # fmt: skip
        after = self.recorded_mg_dL + self.change_mg_dL
        rows = []
        for name, (low, high) in edges.items():
            share = lambda x, low=low, high=high: 100 * np.mean((x >= low) & (x < high), axis=-1)
            ends = np.quantile(share(after), [(1 - level) / 2, 0.5, (1 + level) / 2])
            rows.append((name, float(share(self.recorded_mg_dL)), ends[1], ends[0], ends[2]))
        return pd.DataFrame(rows, columns=["range", "recorded_percent", "replayed_percent", "low", "high"])
