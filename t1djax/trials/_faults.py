"""Faults that a trial injects, each by its name."""

from collections.abc import Mapping
from types import MappingProxyType

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._arguments import ArgumentError
from .._types import Scalar

KINDS: Mapping[str, str] = MappingProxyType({
    "occlusion": "the pump delivers less by this share, and believes that it does not",
    "sensor_lost": "no reading arrives",
    "sensor_offset": "readings are off by this many mg/dL",
    "sensor_stuck": "the sensor repeats its last reading as if it were new",
    "unannounced": "meals are announced with less carbohydrate by this share",
})  # fmt: skip
"""What can go wrong, and what its size is."""


class Fault(eqx.Module):
    """Something that goes wrong with everybody at the same time.

    Example:
        >>> from t1djax.trials import Fault, Rules
        >>> rules = Rules(faults=(Fault("occlusion", begins_min=1500.0, lasts_min=240.0),))
    """

    kind: str = eqx.field(static=True)
    """One of `KINDS`."""
    begins_min: float | Scalar
    """When it begins, min from the start of the trial."""
    lasts_min: float | Scalar
    """How long it lasts, min."""
    size: float | Scalar = 1.0
    """Its size, in the unit of its kind; a share where that has none."""

    def __check_init__(self) -> None:
        if self.kind not in KINDS:
            raise ArgumentError("kind", f"{self.kind!r} is no fault that is known; give one of {', '.join(KINDS)}")


def strength(faults: tuple[Fault, ...], kind: str, minute: Array) -> Float[Array, ""]:
    """Sizes of the faults of a kind that are there now, added up."""
    there = [jnp.where(_active(fault, minute), fault.size, 0.0) for fault in faults if fault.kind == kind]
    return sum(there, jnp.zeros((), jnp.result_type(float)))


def present(faults: tuple[Fault, ...], kind: str, minute: Array) -> Bool[Array, ""]:
    """Whether a fault of a kind is there now."""
    return sum((_active(fault, minute) for fault in faults if fault.kind == kind), jnp.asarray(False))


def _active(fault: Fault, minute: Array) -> Bool[Array, ""]:
    return (minute >= fault.begins_min) & (minute < fault.begins_min + fault.lasts_min)
