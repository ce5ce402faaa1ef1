"""A fitted patient: what predicts one person, without the readings and without the program that fitted them."""

import dataclasses
import datetime as dt
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from .._html import html_table
from ..physics import AbstractPhysiology, Doses, Magdelaine, state_units
from ._outcomes import Outcome, WithOutcome
from ._symbols import legend_line, symbols_of


@dataclasses.dataclass(frozen=True, eq=False)
class FittedPatient(WithOutcome):
    """All that a forecast of one patient takes: parameters and state at the end of the record, and how sure they are.

    There is no reading in it. Make one with `fitted_patients`, use it with `predict`.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"])
        >>> model, = t1djax.fitted_patients(t1djax.fit(cohort, model="ode"), cohort)
        >>> model
        FittedPatient(Pat3: ode inverse of ksi, from minute 2880)
    """

    name: str
    """The patient."""
    model: str
    """`pinn`, `modified_mlp`, `birnn`, `flax`, or `ode`."""
    mode: str
    """`forward` or `inverse`."""
    outcome: Outcome
    """How the fit ended."""
    parameters: Mapping[str, float]
    """Every parameter by symbol, known and estimated, in the units of `PARAMETERS`."""
    free: tuple[str, ...]
    """Which of them were estimated, in sorted order."""
    covariance: Float[np.ndarray, "free free"]
    """Covariance of the natural logarithms of the free ones, without unit; it assumes white noise."""
    state: Mapping[str, float]
    """State at the end of the record under the parameters, by name, in the units of the physiology's `States`."""
    slopes: Mapping[str, Float[np.ndarray, " free"]]
    """Derivatives by the free logarithms: of the parameters of the equations and of the state, by symbol; each has
    the unit of its quantity."""
    end_min: float
    """End of the record, min on its clock: where a forecast begins."""
    start: dt.datetime | None
    """Clock time of minute zero, where the record has one."""
    under_way: Doses
    """What goes on at the end: the basal rate in force, and the rest of boluses and meals that have begun."""
    noise_sd_mg_dL: float
    """Standard deviation of a reading's noise, mg/dL: given, or estimated from the misfit."""
    metrics: Mapping[str, float]
    """Errors of these equations on the record: `rmse_*_mg_dL`, `mae_*_mg_dL`, `mard_*_percent` for the readings of
    fit, held_out and forecast; NaN where there is none."""
    data_hash: str
    """Of the record; see `data_hash`."""
    body: type[AbstractPhysiology] = Magdelaine
    """The physiology."""
    stochastic: Mapping[str, float] | None = None
    """The person's stochastic model of this body as numbers, where one is kept (`with_stochastic`)."""

    @property
    def moving(self) -> tuple[str, ...]:
        """What the equations go on from: their parameters, then their states."""
        return (*(f.name for f in dataclasses.fields(self.body)), *state_units(self.body.States))

    def __repr__(self) -> str:
        what = f" of {'+'.join(self.free)}" if self.free else ""
        return f"FittedPatient({self.name}: {self.model} {self.mode}{what}, from minute {self.end_min:g})"

    def _repr_html_(self) -> str:
        named = symbols_of(self.body)
        percent = dict(zip(self.free, 100 * np.sqrt(np.diag(self.covariance)), strict=True))
        rows = [
            (
                symbol,
                named[symbol].unit if symbol in named else "",
                float(value),
                float(percent[symbol]) if symbol in percent else "known",
            )
            for symbol, value in self.parameters.items()
        ]
        return html_table(
            repr(self),
            ["symbol", "unit", "value", "standard error, %"],
            rows,
            notes=[legend_line(self.parameters, named)],
        )
