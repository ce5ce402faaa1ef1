"""Draws from the posterior of every patient, and how far they can be trusted."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from .._by_name import ByName
from .._html import html_table
from .._plotted import Plotted
from .._words import counted
from ..physics import AbstractPhysiology, Magdelaine
from ..problem import Problem
from ..question import LogNormal
from ._fits import Cost
from ._outcomes import Outcome, WithOutcome
from ._symbols import legend_line, symbols_of

if TYPE_CHECKING:
    import pandas as pd

NoiseModel = Literal["white", "ar1"]
"""What is believed of the readings' errors. *white*: independent. *ar1*: they fade over a correlation time."""


class Interval(NamedTuple):
    """A central interval of a posterior, in the unit of the quantity."""

    low: float
    """Its lower end."""
    high: float
    """Its upper end."""


def central_interval(draws: Mapping[str, np.ndarray], symbol: str, level: float) -> Interval:
    """The central interval that holds a share of the draws of a symbol.

    Raises:
        KeyError: where there are no draws of the symbol.
        ValueError: where the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level:g}; it is a share between 0 and 1")
    if symbol not in draws:
        raise KeyError(f"no draws of {symbol!r}; there are {', '.join(draws)}")
    low, high = np.quantile(draws[symbol], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


@dataclasses.dataclass(frozen=True, eq=False)
class PatientPosterior(WithOutcome, Plotted):
    """Draws from the posterior of one patient."""

    name: str
    """The patient."""
    outcome: Outcome
    """Whether the chains agree, mix and do not diverge."""
    draws: Mapping[str, Float[np.ndarray, "chains draws"]]
    """By symbol, in the units of the physiology: what was estimated, what follows from it, the standard deviation of
    the noise `noise_sd_mg_dL` where it was not given, and its `correlation_time_min` where it has one."""
    r_hat: Mapping[str, float]
    """Rank-normalised split R-hat by symbol, without unit: near 1 where the chains agree."""
    ess_bulk: Mapping[str, float]
    """Effective number of draws by symbol, for the middle of the distribution."""
    ess_tail: Mapping[str, float]
    """Effective number of draws by symbol, for its 5 % tails."""
    divergences: int
    """Number of transitions whose energy was lost."""
    acceptance: float
    """Share of proposals accepted, mean over chains."""
    body: type[AbstractPhysiology] = Magdelaine
    """The physiology."""
    unbounded: Mapping[str, LogNormal] = dataclasses.field(default_factory=dict)
    """What neither readings nor beliefs bound, and the prior that would: the population's (`population_belief`)."""

    @property
    def message(self) -> str:
        """Why the draws are in doubt, in words, and the priors that would make them proper."""
        priors = ", ".join(f"{s!r}: LogNormal({p.median:.3g}, {p.sd_log:.2g})" for s, p in self.unbounded.items())
        return super().message + f": priors={{{priors}}}" * bool(priors)

    def interval(self, symbol: str, level: float = 0.9) -> Interval:
        """The central interval that holds this share of the draws.

        Args:
            symbol: a key of `draws`.
            level: share, between 0 and 1.

        Returns:
            Its two ends, in the unit of the symbol.

        Raises:
            KeyError: where there are no draws of the symbol.
            ValueError: where the level is not between 0 and 1.
        """
        return central_interval(self.draws, symbol, level)

    def __repr__(self) -> str:
        chains, draws = next(iter(self.draws.values())).shape
        trouble = "" if self.ok else f"; doubtful: {self.message}"
        return f"PatientPosterior({self.name}: {'+'.join(self.draws)}, {chains} chains of {draws} draws{trouble})"

    def _repr_html_(self) -> str:
        notes = [legend_line(self.draws, symbols_of(self.body)), *([] if self.ok else [f"Doubtful: {self.message}"])]
        return html_table(f"Posterior of {self.name}", _DRAWN[1:], [row[1:] for row in _drawn_rows(self)], notes=notes)


_DRAWN = ("patient", "symbol", "unit", "median", "5 %", "95 %", "R-hat", "effective draws")


def _drawn_rows(patient: PatientPosterior) -> list[tuple[object, ...]]:
    """What a notebook shows of draws, in the order of `_DRAWN`."""
    of = symbols_of(patient.body)
    return [
        (patient.name, s, of[s].unit, float(np.median(draws)), *patient.interval(s, 0.9), patient.r_hat[s],
         f"{patient.ess_bulk[s]:.0f}")
        for s, draws in patient.draws.items()
    ]  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior(ByName[PatientPosterior]):
    """Draws from the posterior of every patient of a cohort; see `sample_posterior`."""

    problem: Problem
    """What was asked: known values, priors, bounds."""
    noise: NoiseModel
    """What was believed of the readings' errors."""
    patients: tuple[PatientPosterior, ...]
    """One record per patient, in the order of the cohort."""
    cost: Cost
    """What it took, the least-squares fit that came first with it."""

    def __repr__(self) -> str:
        failed = sum(not patient.ok for patient in self.patients)
        trouble = f", {failed} doubtful" if failed else ""
        symbols = "+".join(self.patients[0].draws)
        return f"Posterior({symbols} of {counted(len(self), 'patient')}{trouble}; {self.cost})"

    def _repr_html_(self) -> str:
        doubtful = [f"{p.name} is doubtful: {p.message}" for p in self if not p.ok]
        notes = [legend_line((s for p in self for s in p.draws), symbols_of(self.problem.body)), *doubtful]
        return html_table(repr(self), _DRAWN, [row for p in self for row in _drawn_rows(p)], notes=notes)

    def table(self, level: float = 0.9) -> "pd.DataFrame":
        """One row per patient and symbol: what the draws say, and how far they can be trusted.

        Args:
            level: share of the draws between the columns `low` and `high`, between 0 and 1.

        Returns:
            A table with the columns `patient, symbol, mean, sd, low, median, high` (in the unit of the symbol), `r_hat,
            ess_bulk, ess_tail` and `ok`. `low` to `high` is the central interval of the level.

        Raises:
            ValueError: where the level is not between 0 and 1.
        """
        import pandas as pd  # noqa: PLC0415 - costs half a second at import

        rows = []
        for p in self.patients:
            for symbol, draws in p.draws.items():
                low, high = p.interval(symbol, level)
                rows.append(
                    {
                        "patient": p.name,
                        "symbol": symbol,
                        "mean": float(draws.mean()),
                        "sd": float(draws.std()),
                        "low": low,
                        "median": float(np.median(draws)),
                        "high": high,
                        "r_hat": p.r_hat[symbol],
                        "ess_bulk": p.ess_bulk[symbol],
                        "ess_tail": p.ess_tail[symbol],
                        "ok": p.ok,
                    }
                )
        return pd.DataFrame(rows)
