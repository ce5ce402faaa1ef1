"""The question asked of a cohort: what is known, what is estimated, and what is believed beforehand."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypedDict, get_args

from ._arguments import ArgumentError
from ._checked import check_types
from ._words import did_you_mean
from .physics import (
    PHYSIOLOGIES,
    AbstractPhysiology,
    Hovorka,
    Kanderian,
    Magdelaine,
    Parameter,
    check_class,
    physiology_named,
)

Mode = Literal["forward", "inverse"]
"""*forward*: every parameter is known and the states are fitted. *inverse*: the named ones are estimated too."""


@dataclasses.dataclass(frozen=True)
class LogNormal:
    """What is believed of a parameter before any reading is seen: its logarithm is normal.

    Example:
        >>> from t1djax import LogNormal
        >>> LogNormal(200.0, 0.3)
        LogNormal(median=200.0, sd_log=0.3)

    Raises:
        ArgumentError: where a number is not positive and finite.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    median: float
    """The median, in the parameter's unit."""
    sd_log: float
    """Standard deviation of the natural logarithm, without unit: 0.3 is about 30 % either way."""

    def __post_init__(self) -> None:
        check_types(LogNormal, vars(self))
        for name in ("median", "sd_log"):
            if not 0 < getattr(self, name) < math.inf:
                raise ArgumentError(name, f"of a prior must be positive, not {getattr(self, name):g}")


def population_belief(symbol: str, physiology: str | type[AbstractPhysiology] = "magdelaine") -> LogNormal:
    """What to believe of a person of whom nothing is known: the population's range, twice as wide.

    The ranges stand for few people, so they are too narrow for all.

    Args:
        symbol: of a parameter.
        physiology: whose parameter it is, by name or class.

    Returns:
        The prior, its median in the unit of the parameter.

    Raises:
        ArgumentError: where the symbol is not known.

    Example:
        >>> from t1djax.question import population_belief
        >>> round(population_belief("ksi").median)
        221
    """
    table = physiology_named(physiology).parameters
    if symbol not in table:
        raise ArgumentError(
            "symbol", f"unknown parameter {symbol!r}{did_you_mean(symbol, table)}; there are {', '.join(table)}"
        )
    return LogNormal(*table[symbol].prior)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a cohort: what is estimated, and what is believed beforehand.

    Example:
        >>> from t1djax import LogNormal, Question
        >>> Question(free=["ksi", "kl"], priors={"ksi": LogNormal(200.0, 0.3)}).free
        ('ksi', 'kl')
        >>> Question(mode="forward").free
        ()

    Raises:
        ArgumentError: naming the field, where a symbol is unknown, a number makes no sense or is far from what people
            have, a bound is not above the other, or a median lies outside its bounds.
        PhysiologyError: where a physiology of your own does not keep its terms.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}

    mode: Mode = "inverse"
    """forward (parameters known) or inverse (estimate some)."""
    free: Sequence[str] = ()
    """What to estimate in inverse mode; left out, insulin sensitivity. Symbols of the physiology; a value that a
    patient states for one of them is ignored."""
    priors: Mapping[str, LogNormal] = dataclasses.field(default_factory=dict)
    """Beliefs of parameters that are estimated: median, and standard deviation of the logarithm."""
    bounds: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    """Lower and upper bounds of parameters that are estimated, in their units."""
    noise_sd_mg_dL: float | None = None
    """Standard deviation of the readings' noise, mg/dL; left out, it is estimated from the misfit. Priors weigh by it,
    and standard errors follow from it."""
    assume_population: bool = False
    """Take what nobody stated from the population, and say so. Where glucose tells a balance of two parameters alone
    (`kl - kb` of magdelaine), it is that: where one of them is stated, the other follows it."""
    estimate_initial_state: bool = False
    """Estimate insulin and food on board at the start too: `initial_states` of the physiology."""

    physiology: str | type[AbstractPhysiology] = "magdelaine"
    """The equations of the body: magdelaine, kanderian or hovorka, or module:Class of your own; from Python, a class
    as well."""

    @property
    def body(self) -> type[AbstractPhysiology]:
        """The class of the physiology."""
        return physiology_named(self.physiology)

    def __post_init__(self) -> None:
        check_types(Question, vars(self))
        put = lambda name, value: object.__setattr__(self, name, value)
        free = symbols(self.free) if isinstance(self.free, str) else tuple(self.free)
        body = self.body
        if body not in (Magdelaine, Kanderian, Hovorka):
            check_class(body)
        put("physiology", next((name for name, cls in PHYSIOLOGIES.items() if cls is body), body))
        put("free", free if free or self.mode == "forward" else (body.facts.sensitivity,))
        put("priors", dict(self.priors))
        put("bounds", {symbol: tuple(map(float, limits)) for symbol, limits in self.bounds.items()})
        self._check_free()
        self._check_beliefs()

    def _check_free(self) -> None:
        if self.mode not in get_args(Mode):
            raise ArgumentError("mode", f"must be forward or inverse, not {self.mode!r}")
        table = self.body.parameters
        if unknown := [symbol for symbol in self.free if symbol not in table]:
            near, one_of = did_you_mean(unknown[0], table), ", ".join(table)
            raise ArgumentError("free", f"unknown parameter {', '.join(unknown)}{near}; one can estimate {one_of}")
        if twice := [symbol for symbol in dict.fromkeys(self.free) if self.free.count(symbol) > 1]:
            raise ArgumentError("free", f"{', '.join(twice)} stands twice; name each parameter once")
        if self.mode == "forward" and self.free:
            named = ", ".join(self.free)
            raise ArgumentError("free", f"forward mode estimates no parameter: leave {named} out, or take mode inverse")

    def _check_beliefs(self) -> None:
        """Refuse priors and bounds that contradict each other or mean another unit."""
        if self.noise_sd_mg_dL is not None and not 0 < self.noise_sd_mg_dL < math.inf:
            raise ArgumentError(
                "noise_sd_mg_dL", f"is {self.noise_sd_mg_dL:g}; it must be positive, or left out to be estimated"
            )
        table = self.body.parameters
        there = {**table, **self.body.initial_states()}
        for name in ("priors", "bounds"):
            if unknown := [symbol for symbol in getattr(self, name) if symbol not in there]:
                near, one_of = did_you_mean(unknown[0], there), ", ".join(there)
                raise ArgumentError(name, f"unknown parameter {', '.join(unknown)}{near}; there are {one_of}")
        for symbol, (low, high) in self.bounds.items():
            if not 0 < low < high < math.inf:
                raise ArgumentError(("bounds", symbol), f"{low:g} to {high:g}; state 0 < low < high")
            row = there[symbol]
            least, most = row.plausible
            if symbol in table and (low > most or high < least):
                raise ArgumentError(("bounds", symbol), f"are {low:g} to {high:g} {_far(row)}")
        for symbol, prior in self.priors.items():
            low, high = self.bounds.get(symbol, (0.0, math.inf))
            if not low < prior.median < high:
                raise ArgumentError(
                    ("priors", symbol), f"the median {prior.median:g} is outside the bounds {low:g} to {high:g}"
                )
            row = there[symbol]
            least, most = row.plausible
            if symbol in table and not least <= prior.median <= most:
                raise ArgumentError(("priors", symbol), f"the median is {prior.median:g} {_far(row)}")


class QuestionFields(TypedDict, total=False):
    """The fields of `Question` as keywords of a call, for type checkers alone; a test compares the two."""

    mode: Mode
    free: Sequence[str]
    priors: Mapping[str, LogNormal]
    bounds: Mapping[str, tuple[float, float]]
    noise_sd_mg_dL: float | None
    assume_population: bool
    estimate_initial_state: bool
    physiology: str | type[AbstractPhysiology]


def symbols(text: str) -> tuple[str, ...]:
    """Parameters of a text such as `ksi, kl`.

    Raises:
        ArgumentError: where there is none.
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise ArgumentError("free", "name at least one parameter")
    return found


def question_of(question: Question | None, fields: Mapping[str, Any]) -> Question:
    """The question that a call states: as a record, by keywords, or both; keywords win.

    Args:
        question: the record, if given.
        fields: fields of it.

    Raises:
        TypeError: where there is no such field.
    """
    names = [f.name for f in dataclasses.fields(Question)]
    if unknown := [name for name in fields if name not in names]:
        raise TypeError(f"there is no argument {unknown[0]!r}{did_you_mean(unknown[0], names)}")
    return Question(**fields) if question is None else dataclasses.replace(question, **fields)


def _far(row: Parameter) -> str:
    return f"{row.unit}, far from what people have ({row.low:g} to {row.high:g}); is the unit another?"
