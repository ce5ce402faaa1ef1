"""What a tracker is told of a program that fits many patients, and of its steps."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True, eq=False)
class RunData:
    """The data of a program, by name and hash; no reading is in it."""

    name: str
    """Name of the data, such as `reference`."""
    digest: str
    """Hash of their content."""
    patients: tuple[str, ...] = ()
    """Whom they hold."""
    readings: int = 0
    """Number of valid readings, of all patients."""


@dataclasses.dataclass(frozen=True, eq=False)
class RunInfo:
    """One compiled program's worth of fits, told before it starts.

    Example:
        >>> import datetime as dt
        >>> from t1djax.records import RunInfo
        >>> RunInfo(
        ...     "ode_inverse_ksi_20261123_113000", "sweep_20261123", "ode", "inverse", ("ksi",), (("Pat2", 0),),
        ...     dt.datetime(2026, 11, 23, 11, 30),
        ... ).rows
        (('Pat2', 0),)
    """

    name: str
    """Unique in a results folder, such as `pinn_inverse_ksi_20261123_113000`."""
    sweep: str
    """The sweep, or the single training, that the program belongs to."""
    model: str
    """`pinn`, `modified_mlp`, `birnn`, `ode`, ..."""
    mode: str
    """`forward` or `inverse`."""
    named: tuple[str, ...]
    """The parameters that were asked for."""
    rows: tuple[tuple[str, int], ...]
    """Patient and seed of every fit."""
    started: dt.datetime
    """When it began; the run names carry it."""
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The resolved configuration, as JSON can hold it."""
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Git commit, versions, device, and what else says where a number comes from."""
    truth: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    """True parameters by patient and symbol where they are known; used for errors in % and nothing else."""
    data: tuple[RunData, ...] = ()
    """What is fitted."""
    most_children: int = 200
    """A program with more fits is shown as one run with quantiles instead of one run per fit."""


class ChunkMetrics(NamedTuple):
    """What one chunk of steps came to, for several fits."""

    step: int
    """Steps taken."""
    losses: Mapping[str, Float[np.ndarray, " rows"]]
    """Loss terms by name."""
    values: Mapping[str, Float[np.ndarray, " rows"]]
    """Estimates by symbol, in the unit of `PARAMETERS`."""
    gradient_norm: Float[np.ndarray, " rows"] | None = None
    """Norm of the gradient, in the units of the stage's objective; None where it was not computed."""
