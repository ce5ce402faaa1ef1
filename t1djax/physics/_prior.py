"""How a trait is distributed over people."""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


@dataclasses.dataclass(frozen=True)
class Prior:
    """The distribution of one trait over a virtual population: normal or log-normal, cut off at its bounds.

    Example:
        >>> from t1djax.data import POPULATION
        >>> POPULATION["ksi"].mean
        236.0
    """

    symbol: str
    """What it is called."""
    unit: str
    """Its unit."""
    meaning: str
    """What it is, in words."""
    mean: float
    """Mean before the cut-off, in the trait's unit."""
    sd: float
    """Standard deviation before the cut-off, in the trait's unit."""
    low: float
    """Lower bound, in the trait's unit."""
    high: float
    """Upper bound, in the trait's unit."""
    log_normal: bool
    """Whether the logarithm is normal."""
    source: str
    """Where the numbers come from."""

    def normal(self) -> tuple[float, float, float, float]:
        """Centre, spread, and bounds in standard units, of the normal distribution underneath."""
        centre, spread, low, high = self.mean, self.sd, self.low, self.high
        if self.log_normal:
            spread = math.sqrt(math.log1p((self.sd / self.mean) ** 2))
            centre = math.log(self.mean) - spread**2 / 2
            low, high = math.log(low), math.log(high)
        return centre, spread, (low - centre) / spread, (high - centre) / spread


def prior_table(*rows: Prior) -> Mapping[str, Prior]:
    """Rows by symbol, in their order, for `AbstractPhysiology.population`."""
    return MappingProxyType({row.symbol: row for row in rows})


class Limits(NamedTuple):
    """What a drawn person's `settings` must lie in; others are nobody's body and drawn again."""

    glucose_mg_dL: float
    """Glucose at which they are measured, mg/dL."""
    basal_U_h: tuple[float, float]
    """Basal rate, U/h."""
    fall_per_U: tuple[float, float]
    """Fall of glucose by insulin, mg/dL per U."""
    g_per_U: tuple[float, float]
    """Carbohydrate that a unit covers, g/U."""
