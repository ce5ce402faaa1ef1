"""What an earlier fit gives a new one to start from."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from ..networks import NetworkOptions, Window
from ..twin import Scales
from ._fits import Fit


@dataclasses.dataclass(frozen=True, eq=False)
class WarmStart:
    """Estimates and networks of an earlier fit, from which a fit of the same people on other data can start.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"])
        >>> warm = t1djax.records.WarmStart.of(t1djax.fit(cohort, model="ode"))
        >>> t1djax.fit(cohort, model="ode", warm_start=warm).history.step[-1] < 6
        np.True_
    """

    source: str
    """Where it is from, for messages."""
    model: str
    """The model that was fitted."""
    names: tuple[str, ...]
    """The patients, in order."""
    values: Mapping[str, Float[np.ndarray, " patients"]]
    """Estimates by symbol, in the units of `PARAMETERS`."""
    first_min: Float[np.ndarray, " patients"]
    """Where the records began, min."""
    leaves: tuple[Any, ...] | None = None
    """Arrays of the networks, stacked along the patients; None for `ode`."""
    scales: Scales | None = None
    """Sizes of the states in which these networks speak."""
    windows: Float[np.ndarray, "patients marks"] | None = None
    """By what the windows of these networks are known again: see `window_marks`."""
    options: NetworkOptions | None = None
    """Shape of the networks."""

    @classmethod
    def of(cls, fit: Fit, *, source: str = "the earlier fit") -> "WarmStart":
        """Start from a fit.

        Args:
            fit: of any model; its patients are known by name.
            source: what messages call it.

        Returns:
            The start: estimates and, of networks, their weights.

        Raises:
            ValueError: naming a patient whose estimates are not finite.
        """
        values = {s: np.array([f.estimates[s].value for f in fit], np.float64) for s in fit.problem.start}
        for symbol, each in values.items():
            if bad := [f.name for f, value in zip(fit, each, strict=True) if not np.isfinite(value)]:
                raise ValueError(f"{source}: {symbol} of {', '.join(bad)} is not finite; leave out what failed")
        twins = fit.twins
        return cls(
            source,
            fit.model,
            fit.problem.names,
            values,
            np.array([f.time_min[0] for f in fit], np.float64),
            None if twins is None else tuple(np.asarray(x) for x in jax.tree.leaves(twins.surrogate)),
            None if twins is None else jax.tree.map(np.asarray, twins.scales),
            None if twins is None else window_marks(twins.window),
            fit.options,
        )

    def take(self, names: Sequence[str]) -> "WarmStart":
        """The same for these patients, in this order; one may come twice.

        Args:
            names: the patients that are wanted.

        Returns:
            The start, its patients in that order.

        Raises:
            ValueError: naming the patients that are not there.
        """
        if absent := [name for name in dict.fromkeys(names) if name not in self.names]:
            raise ValueError(
                f"{self.source}: holds no {self.model} fit of {', '.join(absent[:5])}; there are "
                f"{', '.join(self.names[:10])}"
            )
        at = np.array([self.names.index(name) for name in names])
        return dataclasses.replace(
            self,
            names=tuple(names),
            values={symbol: each[at] for symbol, each in self.values.items()},
            first_min=self.first_min[at],
            leaves=None if self.leaves is None else tuple(x[at] for x in self.leaves),
            scales=None if self.scales is None else jax.tree.map(lambda x: x[at], self.scales),
            windows=None if self.windows is None else self.windows[at],
        )


def window_marks(window: Window) -> Float[np.ndarray, "patients marks"]:
    """Start and length of stacked windows (min), and of insulin (U) and carbohydrate (mg) the amount and its moment.

    Two windows with the same marks are the same stretch of time with the same doses, whatever pads their arrays.
    """
    edges, rates = np.asarray(window.inputs.break_min, np.float64), window.inputs
    length, middle = np.diff(edges, axis=-1), (edges[:, 1:] + edges[:, :-1]) / 2
    marks = [edges[:, 0], np.asarray(window.span_min, np.float64)]
    for rate in (rates.insulin_U_min, rates.carbs_mg_min):
        amount = np.asarray(rate, np.float64)[:, :-1] * length
        marks += [amount.sum(axis=-1), (amount * middle).sum(axis=-1)]
    return np.stack(marks, axis=-1)
