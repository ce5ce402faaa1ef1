"""What is stated of a physiology beside its equations."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .._documented import documented


class Together(NamedTuple):
    """Parameters that glucose cannot tell apart."""

    symbols: frozenset[str]
    """Which ones, all of them free at once."""
    why: str
    """What shows in glucose in their place, and what to estimate."""
    one: bool = False
    """Whether they are one quantity in several guises, so that no prior helps."""


class Symmetry(NamedTuple):
    """A change of parameters that leaves glucose as it is."""

    move: Mapping[str, float]
    """Changes of logarithms, by symbol of the parameters that change."""
    stays: str
    """What stays the same, in words."""
    slope: Mapping[str, float]
    """Slope of its logarithm by those of parameters."""


class Proxy(NamedTuple):
    """A quantity that is stated in place of a parameter, which follows from it (`AbstractPhysiology.complete`)."""

    symbol: str
    """What is stated."""
    of: str
    """The parameter."""
    rule: str
    """How it follows, with `{}` for what is stated."""

    @property
    def pair(self) -> frozenset[str]:
        """Both symbols."""
        return frozenset({self.symbol, self.of})


class Balance(NamedTuple):
    """A difference of two parameters that glucose adds up, and tells where it tells neither of the two.

    Where nobody states both, it is what is assumed, and the one that is not stated follows the other.
    """

    symbol: str
    """What it is called; one of `Facts.derived`."""
    more: str
    """The parameter that it grows with."""
    less: str
    """The parameter that is taken from it."""
    typical: float
    """The population's, in its unit."""
    made_up_by: frozenset[str]
    """Parameters that make up for an error of it."""
    below_zero: str
    """What would be, were it negative."""
    words: Callable[[str, float, float], str]
    """A name and both parameters of somebody in whom it is negative, in words."""

    @property
    def must(self) -> str:
        """What must hold, and why."""
        return f"{self.more} must be above {self.less}, or {self.below_zero}"


class Derived(NamedTuple):
    """A quantity that follows from parameters and is reported beside them."""

    symbol: str
    """What it is called."""
    unit: str
    """Its unit."""
    meaning: str
    """What it is, in words."""
    needs: frozenset[str]
    """Parameters that it follows from."""
    of: Callable[[Mapping[str, Any]], Any]
    """Its value from theirs, by symbol."""


@documented
@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of a physiology beside its equations. `check_physiology` holds the equations against it."""

    source: str
    """The paper."""
    sensitivity: str
    """The parameter that is estimated where nobody says which: insulin sensitivity."""
    insulin_states: tuple[str, ...] = ()
    """States that insulin alone drives, linearly and with constant coefficients; never learnt."""
    meal_states: tuple[str, ...] = ()
    """States that carbohydrate alone drives, likewise."""
    learnt: tuple[str, ...] = ()
    """States that a network learns; those that follow the doses may stay exact."""
    together: tuple[Together, ...] = ()
    """What glucose cannot tell apart."""
    need_meal: frozenset[str] = frozenset()
    """Parameters of which a record without a meal says nothing."""
    need_insulin: frozenset[str] = frozenset()
    """Parameters of which a record without insulin says nothing."""
    derived: tuple[Derived, ...] = ()
    """What follows from the parameters."""
    symmetries: tuple[Symmetry, ...] = ()
    """Changes that leave glucose as it is, whatever the values; see `AbstractPhysiology.symmetries`."""
    proxies: tuple[Proxy, ...] = ()
    """What is stated in place of parameters."""
    balance: Balance | None = None
    """What is assumed in place of two parameters."""
    followed: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    """Parameters that a person's whole record is asked for where it is followed with disturbances, beside the effects
    of insulin and food: median over people and standard deviation of the logarithm."""
    followed_back: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    """Parameters that settings and replays, which look back on a whole record, learn besides those of `followed`: where
    insulin acts, and how long."""
    linear: bool = False
    """Whether the rates are linear in the states with coefficients that never change, and glucose is the first learnt
    state."""
    coefficients: frozenset[str] = frozenset()
    """Where the rates are linear, the parameters that change how fast states follow, such as time constants, and not
    only how much a dose does."""
    exact: bool = False
    """Whether `solution` has no step error."""
    stays_positive: bool = False
    """Whether glucose stays finite and above zero under any doses."""

    @property
    def dose_states(self) -> tuple[str, ...]:
        """States that the doses alone drive."""
        return (*self.insulin_states, *self.meal_states)

    def pools(self, states: Iterable[str]) -> tuple[str, ...]:
        """Of these states those that the doses do not drive alone: glucose first."""
        return tuple(name for name in states if name not in self.dose_states)

    @property
    def by_balance(self) -> frozenset[str]:
        """What goes by an assumed balance: parameters that make up for its errors, and what is derived from them."""
        made_up = frozenset() if self.balance is None else self.balance.made_up_by
        return made_up | {row.symbol for row in self.derived if row.needs & made_up}
