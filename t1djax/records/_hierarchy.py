"""A cohort fitted as a population: its middle, its spread, and every patient seen with both in mind."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._by_name import ByName
from .._html import html_table
from .._words import counted
from ..physics import AbstractPhysiology, Magdelaine
from ..problem import Problem
from ._fits import Cost
from ._outcomes import Outcome, WithOutcome
from ._posterior import Interval, central_interval
from ._symbols import legend_line, quantity, symbols_of

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, eq=False)
class PooledPatient(WithOutcome):
    """One patient of a population, drawn from the posterior that the whole cohort gives."""

    name: str
    """The patient."""
    outcome: Outcome
    """How the patient's fit ended; one that did not converge tells the population nothing."""
    draws: Mapping[str, Float[np.ndarray, " draws"]]
    """By symbol, in the units of the physiology: what was estimated."""
    borrowed: Mapping[str, float]
    """Share of what is known of each pooled parameter that comes from the others: 0 where the patient's own readings
    say all, 1 where they say nothing."""
    noise_sd_mg_dL: float
    """Standard deviation of the readings' noise, mg/dL."""
    body: type[AbstractPhysiology] = Magdelaine
    """The physiology."""

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
        trouble = "" if self.ok else f"; failed: {self.message}"
        of = symbols_of(self.body)
        median = lambda symbol, draws: quantity(f"{np.median(draws):.4g}", of[symbol].unit)
        listed = ", ".join(f"{symbol} {median(symbol, draws)}" for symbol, draws in self.draws.items())
        return f"PooledPatient({self.name}: {listed}{trouble})"


@dataclasses.dataclass(frozen=True, eq=False)
class Hierarchy(ByName[PooledPatient]):
    """A cohort fitted as a population; see `fit_hierarchy`."""

    problem: Problem
    """What was asked: known values, starts."""
    pooled: tuple[str, ...]
    """The parameters that are shared."""
    median: Mapping[str, Float[np.ndarray, " draws"]]
    """Draws of the population's median by symbol, in the units of the physiology."""
    sd_log: Mapping[str, Float[np.ndarray, " draws"]]
    """Draws of the standard deviation of the logarithm over people, by symbol, without unit."""
    r_hat: Mapping[str, float]
    """Rank-normalised split R-hat of the spreads by symbol, without unit: near 1 where the chains agree."""
    patients: tuple[PooledPatient, ...]
    """One record per patient, in the order of the cohort."""
    cost: Cost
    """What it took."""

    def __repr__(self) -> str:
        return f"Hierarchy({'+'.join(self.pooled)} of {counted(len(self), 'patient')}; {self.cost})"

    def _repr_html_(self) -> str:
        of = symbols_of(self.problem.body)
        header = ["patient", "symbol", "unit", "median", "5 %", "95 %", "borrowed from the others, %"]
        rows = [
            (p.name, s, of[s].unit, float(np.median(draws)), *p.interval(s), 100 * float(p.borrowed.get(s, 0.0)))
            for p in self
            for s, draws in p.draws.items()
        ]
        notes = [
            f"Population: median of {s} {np.median(self.median[s]):.4g} {of[s].unit}, spread of its logarithm "
            f"{np.median(self.sd_log[s]):.3g}."
            for s in self.pooled
        ]
        return html_table(repr(self), header, rows, notes=[legend_line((row[1] for row in rows), of), *notes])

    def population(self, level: float = 0.9) -> "pd.DataFrame":
        """One row per pooled parameter: what the people have in common.

        Args:
            level: share of the draws between the columns `low` and `high`, between 0 and 1.

        Returns:
            A table with the columns `symbol, median, median_low, median_high` (in the unit of the parameter) and
            `sd_log, sd_log_low, sd_log_high`, the spread between people as a standard deviation of the logarithm.

        Raises:
            ValueError: where the level is not between 0 and 1.
        """
        import pandas as pd  # noqa: PLC0415 - costs half a second at import

        rows = []
        for symbol in self.pooled:
            row: dict[str, object] = {"symbol": symbol}
            for name, draws in (("median", self.median), ("sd_log", self.sd_log)):
                low, high = central_interval(draws, symbol, level)
                row |= {name: float(np.median(draws[symbol])), f"{name}_low": low, f"{name}_high": high}
            rows.append(row)
        return pd.DataFrame(rows)

    def table(self, level: float = 0.9) -> "pd.DataFrame":
        """One row per patient and symbol: what is believed of each after all were seen.

        Args:
            level: share of the draws between the columns `low` and `high`, between 0 and 1.

        Returns:
            A table with the columns `patient, symbol, median, sd, low, high` (in the unit of the symbol), `borrowed`
            and `ok`.

        Raises:
            ValueError: where the level is not between 0 and 1.
        """
        import pandas as pd  # noqa: PLC0415 - costs half a second at import

        rows = []
        for p in self.patients:
            for symbol, draws in p.draws.items():
                low, high = p.interval(symbol, level)
                middle = {"median": float(np.median(draws)), "sd": float(draws.std()), "low": low, "high": high}
                share = p.borrowed.get(symbol, 0.0)
                rows.append({"patient": p.name, "symbol": symbol, **middle, "borrowed": share, "ok": p.ok})
        return pd.DataFrame(rows)
