"""What each parameter is called, its unit, and the range in which people are found."""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType

from .._documented import documented

_FAR = 20.0  # times the typical value, either way


@documented
@dataclasses.dataclass(frozen=True)
class Parameter:
    """Facts about one parameter of the model.

    Example:
        >>> from t1djax import PARAMETERS
        >>> PARAMETERS["ksi"].unit
        'mg/U/min'
    """

    symbol: str
    """The paper's symbol, the key in every record."""
    unit: str
    """Its unit."""
    meaning: str
    """What it is, in words."""
    column: str
    """Its column in `patients.csv` and `truth.csv`."""
    low: float
    """Lower end of the population's range (mean less two standard deviations)."""
    high: float
    """Upper end of the population's range."""
    start_low: float
    """Lower end of the range from which a fit draws its start."""
    start_high: float
    """Upper end of that range."""
    source: str = ""
    """Where the numbers come from."""
    prior_range: tuple[float, float] | None = None
    """Range that a prior stands for, where it is not the population's."""
    possible: tuple[float, float] | None = None
    """Range outside of which a number is refused as one in another unit. If left out, a twentieth of the typical value
    to twenty times it, widened to what people have."""
    real: tuple[float, float] | None = None
    """Range that records of real people show, where the population's does not cover it."""

    @property
    def typical(self) -> float:
        """The value that `assume_population` takes, but see `Facts.balance`: the middle of what real people show, or of
        the population's range."""
        return (self.low + self.high) / 2 if self.real is None else math.sqrt(self.real[0] * self.real[1])

    @property
    def plausible(self) -> tuple[float, float]:
        """Range outside of which a number is one in another unit; what people have lies inside."""
        return self.possible or (min(self.low, self.typical / _FAR), max(self.high, self.typical * _FAR))

    @property
    def prior(self) -> tuple[float, float]:
        """Median, and standard deviation of the logarithm, of a person of whom nothing is known.

        The range is taken twice as wide: the people behind it are few.
        """
        low, high = self.prior_range or (self.low, self.high)
        return math.sqrt(low * high), math.log(high / low) / 2


def row_table(*rows: Parameter) -> Mapping[str, Parameter]:
    """Rows by symbol, in their order."""
    return MappingProxyType({row.symbol: row for row in rows})


_METERS_MG_DL = (20.0, 600.0)  # what meters show
_G0 = Parameter(
    "G0", "mg/dL", "glucose at the start of the window", "G0_mg_dL", 70.0, 250.0, 70.0, 250.0, possible=_METERS_MG_DL
)
BODY_MASS = Parameter("M", "kg", "body mass", "M_kg", 60.0, 110.0, 60.0, 110.0)
"""What may be stated of a person whatever the physiology, and is looked at where it stands in its table."""


def parameter_table(*rows: Parameter) -> Mapping[str, Parameter]:
    """The table of a physiology's parameters by symbol, in their order; `G0` comes last and need not be given.

    Example:
        >>> from t1djax.physics import Parameter, parameter_table
        >>> list(parameter_table(Parameter("SG", "1/min", "glucose effectiveness", "SG", 0.005, 0.02, 0.005, 0.02)))
        ['SG', 'G0']
    """
    return row_table(*rows, _G0)
