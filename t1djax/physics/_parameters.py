"""What each parameter is called, its unit, and the range in which people are found."""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

KB_BODY_MASS = 128.0
"""Glucose use of the brain, mg/dL/min times kg: `kb = 128 / M` (Magdelaine et al. 2015, section II)."""

_FAR = 20.0  # times the typical value, either way


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
    """Range outside of which a number is one in another unit; left out, from a twentieth of the typical value to
    twenty times of it, and what people have."""

    @property
    def typical(self) -> float:
        """Middle of the population's range: the value that `assume_population` takes, but see `TYPICAL_C`."""
        return (self.low + self.high) / 2

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


def _table(*rows: Parameter) -> Mapping[str, Parameter]:
    return MappingProxyType({row.symbol: row for row in rows})


_METERS_MG_DL = (20.0, 600.0)  # what meters show
_G0 = Parameter(
    "G0", "mg/dL", "glucose at the start of the window", "G0_mg_dL", 70.0, 250.0, 70.0, 250.0, possible=_METERS_MG_DL
)


def parameter_table(*rows: Parameter) -> Mapping[str, Parameter]:
    """The table of a physiology's parameters by symbol, in their order; `G0` comes last and need not be given.

    Args:
        rows: one for each parameter.

    Example:
        >>> from t1djax.physics import Parameter, parameter_table
        >>> list(parameter_table(Parameter("SG", "1/min", "glucose effectiveness", "SG", 0.005, 0.02, 0.005, 0.02)))
        ['SG', 'G0']
    """
    return _table(*rows, _G0)


PARAMETERS: Mapping[str, Parameter] = parameter_table(
    Parameter("M", "kg", "body mass (kb = 128 / M)", "M_kg", 60.0, 110.0, 60.0, 110.0),
    Parameter("ksi", "mg/U/min", "insulin sensitivity", "ksi", 152.0, 320.0, 150.0, 300.0),
    Parameter("kl", "mg/dL/min", "liver glucose output at zero insulin", "kl", 1.58, 2.07, 1.7, 2.07),
    Parameter("kb", "mg/dL/min", "glucose use of the brain", "kb", 1.16, 1.98, 1.16, 1.6),
    Parameter("Tu", "min", "time constant of insulin absorption", "Tu_min", 67.0, 144.0, 67.0, 144.0),
    Parameter("ku_Vi", "min/dL", "insulin clearance time over volume", "ku_Vi", 0.057, 0.065, 0.057, 0.065),
    Parameter("Tr", "min", "time constant of meal absorption", "Tr_min", 1.0, 259.0, 40.0, 200.0,
              prior_range=(40.0, 200.0)),  # at a minute, no meal is absorbed
    Parameter("kr_Vb", "1/dL", "carbohydrate bioavailability over volume", "kr_Vb", 0.0018, 0.0026, 0.0018, 0.0026),
)  # fmt: skip
"""The parameters that a table may assert and a fit may estimate, by symbol.

Ranges: mean and two standard deviations over Pat2..Pat11, as an earlier study of the model drew its starts; starts of
`kl` and `kb` are kept apart so that `kl > kb`, starts of `Tr` to times at which meals are in fact absorbed.
"""

TYPICAL_C = PARAMETERS["kl"].typical - PARAMETERS["kb"].typical
"""The population's balance `c = kl - kb`, mg/dL/min: that of the middles, within 2 % of the mean over Pat2..Pat11.

Glucose tells `c` and neither of the two, and people's `kl` and `kb` spread as far as `c` is large. So what is assumed
of a person is `c`, and the one of `kl` and `kb` that nobody stated follows the other.
"""


def unbalanced(name: str, kl: float, kb: float) -> str:
    """What is wrong with a patient whose liver gives no more glucose than the brain takes; empty where all is well.

    Args:
        name: the patient.
        kl: glucose output of the liver, mg/dL/min.
        kb: glucose use of the brain, mg/dL/min.

    Example:
        >>> from t1djax.physics import unbalanced
        >>> unbalanced("ada", 1.6, 2.0)
        'kl = 1.6 of ada against kb = 2 (128/M of M = 64 kg)'
    """
    return f"kl = {kl:.4g} of {name} against kb = {kb:.4g} (128/M of M = {KB_BODY_MASS / kb:.4g} kg)" * (kl <= kb)


def disagree(M: Any, kb: Any) -> Any:
    """Whether body mass (kg) and `kb` (mg/dL/min), both stated, contradict each other by more than 1 %.

    Args:
        M: body mass, kg; numbers and arrays alike.
        kb: glucose use of the brain, mg/dL/min.

    Example:
        >>> from t1djax.physics import disagree
        >>> disagree(64.0, 2.0)
        False
    """
    return abs(kb * M - KB_BODY_MASS) > 0.01 * KB_BODY_MASS


INITIAL_STATES: Mapping[str, Parameter] = _table(
    Parameter("S0", "U/dL", "insulin on its way to the blood at the start", "S0_U_dL", 0.0, 0.02, 5e-4, 4e-3),
    Parameter("I0", "U/dL", "insulin in the blood at the start", "I0_U_dL", 0.0, 0.02, 5e-4, 4e-3),
    Parameter("E0", "mg/dL/min", "food on its way to the blood at the start", "E0_mg_dL_min", 0.0, 5.0, 0.2, 0.2),
    Parameter(
        "D0", "mg/dL/min", "glucose entering the blood from meals at the start", "D0_mg_dL_min", 0.0, 5.0, 0.2, 0.2
    ),
)
"""The rest of the state at the start of a window, estimated on request: a real window does not begin at rest."""


def with_derived(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with those that follow from them, where they can: `kb = 128 / M`, `p1 = ksi ku_Vi`, `c = kl - kb`.

    `p1` (mg/dL/U) and `c` (mg/dL/min) are what glucose alone determines. Numbers and arrays alike.

    Args:
        values: parameters by symbol, in the units of `PARAMETERS`.

    Returns:
        A new dictionary: the given values, and those that follow from them.

    Example:
        >>> from t1djax import with_derived
        >>> with_derived({"M": 64.0, "kl": 2.25})
        {'M': 64.0, 'kl': 2.25, 'kb': 2.0, 'c': 0.25}
    """
    values = dict(values)
    if "kb" not in values and "M" in values:
        values["kb"] = KB_BODY_MASS / values["M"]
    if {"ksi", "ku_Vi"} <= set(values):
        values["p1"] = values["ksi"] * values["ku_Vi"]
    if {"kl", "kb"} <= set(values):
        values["c"] = values["kl"] - values["kb"]
    return values
