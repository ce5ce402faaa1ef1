"""What a person's state-space model has to learn: its constants, their units and weak priors."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..records import Symbol


class Hyper(NamedTuple):
    """A constant of the model and its log-normal prior.

    Example:
        >>> from t1djax import HYPERPARAMETERS
        >>> HYPERPARAMETERS["Tu"].unit
        'min'
    """

    symbol: str
    """What it is called."""
    unit: str
    """Its unit."""
    meaning: str
    """What it is, in words."""
    median: float
    """Median of the prior."""
    log_sd: float
    """Standard deviation of its logarithm."""


class StateSpaceOptions(NamedTuple):
    """Form of the model, and how its constants are found.

    Example:
        >>> from t1djax import StateSpaceOptions
        >>> StateSpaceOptions(sensor_lag=True).horizons_min
        (30.0, 60.0, 120.0)
    """

    reversion: bool = True
    """Whether glucose returns to the person's level at a rate `k`. The Magdelaine model has none; on real glucose it
    stands for the kidneys, for glucose acting on itself, and for treatment that a forecast does not know."""
    slow_disturbance: bool = True
    """Whether a second, slow disturbance acts beside the fast one."""
    daily_rhythm: int = 1
    """Harmonics of a daily rhythm of unknown size and phase; 0 for none."""
    unannounced_meals: bool = True
    """Whether a bolus without carbohydrate on record also stands for a meal, as large as the person's data say."""
    sensitivity_walk: float = 0.0
    """Random walk of the insulin effect `p1`: its standard deviation in a day, as a share; 0 keeps it constant."""
    sensor_lag: bool = False
    """Whether the sensor reads interstitial glucose, which follows at `Ts`. Glucose alone can hardly tell `Ts` from
    `Tu` and `Tr`: an estimate of one of them then means little."""
    horizons_min: tuple[float, ...] = (30.0, 60.0, 120.0)
    """Horizons whose forecasts count in the fit beside those of the next reading; none is maximum likelihood."""
    max_steps: int = 150
    """Steps of the optimiser."""
    tolerance: float = 1e-3
    """Relative and absolute tolerance of the optimiser, on the objective and on the standardised logarithms."""


def _table(*rows: Hyper) -> Mapping[str, Hyper]:
    return MappingProxyType({row.symbol: row for row in rows})


HYPERPARAMETERS: Mapping[str, Hyper] = _table(
    Hyper("Tu", "min", "time constant of insulin absorption", 70.0, 0.35),
    Hyper("Tr", "min", "time constant of meal absorption", 45.0, 0.35),
    Hyper("k", "1/min", "rate at which glucose returns to the person's level", 0.006, 0.7),
    Hyper("walk", "mg/dL/min^0.5", "random walk of glucose", 0.5, 1.0),
    Hyper("fast", "mg/dL/min", "standard deviation of the fast disturbance", 0.8, 0.7),
    Hyper("fast_min", "min", "time constant of the fast disturbance", 40.0, 0.5),
    Hyper("slow", "mg/dL/min", "standard deviation of the slow disturbance", 0.2, 0.7),
    Hyper("slow_min", "min", "time constant of the slow disturbance", 300.0, 0.5),
    Hyper("noise", "mg/dL", "standard deviation of the sensor's white noise", 3.0, 0.7),
    Hyper("Ts", "min", "time constant of the sensor", 8.0, 0.3),
)
"""Constants of the stochastic model by symbol, with their priors.

Weak: two standard deviations of most span a factor of four each way. They keep a short or odd record from running
away, and are the same for everybody.
"""


CONSTANTS: Mapping[str, Symbol] = MappingProxyType(
    {symbol: Symbol(row.unit, row.meaning) for symbol, row in HYPERPARAMETERS.items()}
)
"""Their units and meanings alone, for legends."""


def free_symbols(options: StateSpaceOptions) -> tuple[str, ...]:
    """The constants that a model of this form has, in the table's order."""
    absent: set[str] = set()
    if not options.reversion:
        absent |= {"k"}
    if not options.slow_disturbance:
        absent |= {"slow", "slow_min"}
    if not options.sensor_lag:
        absent |= {"Ts"}
    return tuple(symbol for symbol in HYPERPARAMETERS if symbol not in absent)
