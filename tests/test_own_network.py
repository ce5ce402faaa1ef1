"""A network of one's own that does not keep the contract is refused before training, with what is wrong."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import t1djax
from t1djax.networks import AbstractSurrogate, NetworkOptions, Window


class Powers(AbstractSurrogate):
    """The share of the window that has passed, and its square."""

    readout: jax.Array
    flaw: str = eqx.field(static=True, default="")

    def basis(self, window: Window, ts: jax.Array) -> jax.Array:
        share = (ts - window.start_min) / window.span_min
        columns = {"columns": 3}.get(self.flaw, 2)
        found = jnp.stack([share ** (i + 1) for i in range(columns)], axis=1)
        changed = {"transposed": found.T, "start": found + 1, "finite": found / 0}
        return changed.get(self.flaw, found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PowersOptions(NetworkOptions):
    model: ClassVar[str] = "powers"
    cell_min: float = 240.0
    flaw: str = ""

    def network(self, window: Window, edges_min: jax.Array, *, key: jax.Array) -> Any:
        return None if self.flaw == "none" else Powers(jnp.zeros((2, 3), edges_min.dtype), self.flaw)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamelessOptions(NetworkOptions):
    def network(self, window: Window, edges_min: jax.Array, *, key: jax.Array) -> Any:
        return Powers(jnp.zeros((2, 3), edges_min.dtype))


@pytest.fixture(scope="module")
def cohort() -> t1djax.Cohort:
    return t1djax.reference_cohort(interval_min=240, names=["Pat3"])


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (PowersOptions(flaw="transposed"), r"shape \(2, 13\) at 13 times"),
        (PowersOptions(flaw="columns"), r"it must be \(13, 2\)"),
        (PowersOptions(flaw="start"), "is 1 at the start"),
        (PowersOptions(flaw="finite"), "not finite"),
        (PowersOptions(flaw="none"), "gives NoneType"),
        (NamelessOptions(), "ClassVar"),
    ],
)
def test_what_does_not_keep_the_contract_is_refused(cohort: t1djax.Cohort, options: NetworkOptions, part: str) -> None:
    with pytest.raises(t1djax.ArgumentError, match=part) as refused:
        t1djax.fit(cohort, options=options, free=["ksi"])
    assert refused.value.argument == ("options",)


@pytest.mark.slow
def test_what_keeps_it_is_trained(cohort: t1djax.Cohort) -> None:
    fit = t1djax.fit(cohort, options=PowersOptions(), stages=[t1djax.Stage(steps=1)], free=["ksi"])
    assert fit.model == "powers"
