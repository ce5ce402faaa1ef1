"""What a person's stochastic model has to learn: its constants, their units and weak priors."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from .._documented import documented
from ..physics import AbstractPhysiology, Magdelaine
from ..records import SYMBOLS, Symbol, symbols_of


class Hyper(NamedTuple):
    """A constant of the model and its log-normal prior.

    Example:
        >>> from t1djax.statespace import HYPERPARAMETERS
        >>> HYPERPARAMETERS["fast"].unit
        'mg/dL/min'
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
    start: float = 0.0
    """Where its search begins, in such standard deviations from the median: about where real records end."""


@documented
class StateSpaceOptions(NamedTuple):
    """Form of the model, and how its constants are found.

    Example:
        >>> from t1djax import StateSpaceOptions
        >>> StateSpaceOptions(sensor_lag=True).horizons_min
        (30.0, 60.0, 120.0)
    """

    reversion: bool = True
    """Whether glucose of a body without a set point returns to the person's level at a rate `k`. The Magdelaine model
    has none; on real glucose it stands for the kidneys, for glucose acting on itself, and for treatment that a forecast
    does not know. A body with a set point returns by its own equations, and has no `k`."""
    slow_disturbance: bool = True
    """Whether a second, slow disturbance acts beside the fast one."""
    daily_rhythm: int = 1
    """Harmonics of a daily rhythm of unknown size and phase; 0 for none."""
    unannounced_meals: bool = True
    """Whether a bolus without carbohydrate on record also stands for a meal, as large as the person's data say."""
    paired_ahead_min: float = 0.0
    """Carbohydrate stated at most so long after a bolus belongs to it as well, min: for records that are looked back
    on; a forecast does not know it."""
    meal_doubt: float = 0.0
    """Standard deviation of what a meal holds about what is stated of it, as a share: what a miscounted meal does
    to glucose lasts as long as the meal, and is not blamed on the insulin that answers it."""
    wide_effects: bool = False
    """Whether a unit and a gram may do half or twice as much as rules of thumb have it, and more of the body is learnt
    (`Facts.followed_back`): for whole records, and bodies whose effects are positive by their form. Others take no
    notice, where meals and their boluses would trade places until insulin raises glucose."""
    looked_back: bool = False
    """Whether the record is looked back on for what doses do, not forecast. What a unit does is then expected from the
    grams that the person covers with one, beside the daily dose; the drift balances whatever a unit and a gram do; and
    `k` is the return of glucose by itself, about 1/250 min: one that stands for all that brings glucose back takes
    back the doses' effects as well."""
    sensitivity_walk: bool = False
    """Whether the insulin effect `p1` walks at random, by a share (`change`) in a day that is learnt."""
    sensitivity_blocks: int = 1
    """Into how many equal parts of the day, from midnight on, `p1` is divided: each has its own, 15 % about the
    person's before anything is seen, and all walk together. More than one needs a record with a clock."""
    sensor_lag: bool = False
    """Whether the sensor reads interstitial glucose, which follows at `Ts`. Glucose alone can hardly tell `Ts` from
    the lags of insulin and meals: an estimate of one of them then means little."""
    sensor_memory: bool = False
    """Whether the sensor errs with a memory as well, beside its white noise."""
    horizons_min: tuple[float, ...] = (30.0, 60.0, 120.0)
    """Horizons whose forecasts count in the fit beside those of the next reading; none is maximum likelihood."""
    max_steps: int = 60
    """Steps of the optimiser."""


def _table(*rows: Hyper) -> Mapping[str, Hyper]:
    return MappingProxyType({row.symbol: row for row in rows})


HYPERPARAMETERS: Mapping[str, Hyper] = _table(
    Hyper("k", "1/min", "rate at which glucose returns to the person's level", 0.006, 0.7, 1.5),
    Hyper("walk", "mg/dL/min^0.5", "random walk of glucose", 0.5, 1.0, 0.5),
    Hyper("fast", "mg/dL/min", "standard deviation of the fast disturbance", 0.8, 0.7, 0.5),
    Hyper("fast_min", "min", "time constant of the fast disturbance", 40.0, 0.5),
    Hyper("slow", "mg/dL/min", "standard deviation of the slow disturbance", 0.2, 0.7, -0.5),
    Hyper("slow_min", "min", "time constant of the slow disturbance", 300.0, 0.5),
    Hyper("noise", "mg/dL", "standard deviation of the sensor's white noise", 3.0, 0.7, -2.0),
    Hyper("Ts", "min", "time constant of the sensor", 8.0, 0.3),
    Hyper("change", "1", "standard deviation by which the insulin effect changes in a day, as a share", 0.05, 1.0),
    Hyper("error", "mg/dL", "standard deviation of the sensor's error with a memory", 5.0, 0.7),
    Hyper("error_min", "min", "how long that error lasts", 60.0, 0.5),
)
"""Constants of the disturbances and the sensor by symbol, with their priors; a physiology adds its own
(`Facts.followed`).

Weak: two standard deviations of most span a factor of four each way. They keep a short or odd record from running
away, and are the same for everybody.
"""

_BY_ITSELF = HYPERPARAMETERS["k"]._replace(median=0.004, log_sd=0.4, start=0.0)


class Form(NamedTuple):
    """What tells one kind of model from another."""

    options: StateSpaceOptions = StateSpaceOptions()
    """Disturbances and sensor."""
    physiology: type[AbstractPhysiology] = Magdelaine
    """The body."""

    @property
    def pools(self) -> tuple[str, ...]:
        """States of the body that the doses do not drive alone: glucose first."""
        return self.physiology.facts.pools(self.physiology.States.__dataclass_fields__)

    @property
    def exact(self) -> bool:
        """Whether the steps are exact: glucose is the one pool, and its rate is linear."""
        return self.physiology.facts.linear and len(self.pools) == 1

    @property
    def constants(self) -> tuple[Hyper, ...]:
        """What is learnt, with its priors: the body's own, then those of disturbances and sensor."""
        absent: set[str] = set()
        if not (self.options.reversion and self.physiology.facts.linear):
            absent |= {"k"}
        if not self.options.slow_disturbance:
            absent |= {"slow", "slow_min"}
        if not self.options.sensitivity_walk:
            absent |= {"change"}
        if not self.options.sensor_lag:
            absent |= {"Ts"}
        if not self.options.sensor_memory:
            absent |= {"error", "error_min"}
        table = self.physiology.parameters
        facts = self.physiology.facts
        followed = {**facts.followed, **(facts.followed_back if self.options.wide_effects else {})}
        own = [Hyper(s, table[s].unit, table[s].meaning, *prior) for s, prior in followed.items()]
        rows = {**HYPERPARAMETERS, **({"k": _BY_ITSELF} if self.options.looked_back else {})}
        return (*own, *(row for symbol, row in rows.items() if symbol not in absent))

    @property
    def symbols(self) -> dict[str, Symbol]:
        """Units and meanings of what is learnt, for tables and legends."""
        own = {s: Symbol(row.unit, row.meaning) for s, row in HYPERPARAMETERS.items()}
        effects = {s: SYMBOLS[s] for s in ("c", "p1", "q", "r")}  # whatever a parameter of the body is called
        return {**symbols_of(self.physiology), **own, **effects}


class Layout(NamedTuple):
    """Where each state stands in the vector."""

    names: tuple[str, ...]
    core: int
    """How many of them evolve by themselves; the rest are effects, which multiply known responses."""
    driven: int
    """How many, from the first, answer to insulin and meals: the body's pools, and the sensor's."""
    reads: tuple[str, ...]
    """Those whose sum the sensor reads."""

    def at(self, name: str) -> int:
        """Where a state stands."""
        return self.names.index(name)


def effect_names(options: StateSpaceOptions) -> tuple[str, ...]:
    """Names of the insulin effect: by the hour at which its part of the day begins, where there are several."""
    parts = options.sensitivity_blocks
    return ("p1",) if parts == 1 else tuple(f"p1_{24 * k / parts:04.1f}h" for k in range(parts))


def meal_names(form: Form) -> list[str]:
    """States of what meals hold beyond what is stated of them."""
    doubted = form.options.meal_doubt > 0
    return [f"meal{i + 1}" for i in range(len(form.physiology.facts.meal_states))] if doubted else []


def layout(form: Form) -> Layout:
    """States of a model of this form: glucose less the level and the body's other pools, the sensor, disturbances,
    `c`, the rhythm, then `p1`, `q`, `r`."""
    o = form.options
    names = ["G", *form.pools[1:], *["Gi"] * o.sensor_lag]
    driven = len(names)
    names += meal_names(form)
    names += [*["error"] * o.sensor_memory, "fast", *["slow"] * o.slow_disturbance, "c"]
    for n in range(1, o.daily_rhythm + 1):
        names += [f"day{n}_sin", f"day{n}_cos"]
    effects = [*effect_names(o), "q", *["r"] * o.unannounced_meals]
    reads = ("Gi" if o.sensor_lag else "G", *["error"] * o.sensor_memory)
    return Layout((*names, *effects), len(names), driven, reads)
