"""What fits and bodies say of themselves: what glucose does not tell, units, times, and the fields of records."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import t1djax
from t1djax.identifiability import certainties
from t1djax.physics import Facts, Parameter, kanderian
from t1djax.records import Estimate
from t1djax.twin import Sensitivities

from .bodies import Bergman


def certain(information: np.ndarray, prior: np.ndarray | None = None) -> dict[str, tuple[float | None, bool]]:
    """Standard error and whether nothing tells it: of three logarithms, and of the sum of the first two."""
    slopes = {s: np.eye(3)[i] for i, s in enumerate("abc")} | {"a+b": np.array([1.0, 1.0, 0.0]), "known": np.zeros(3)}
    prior = np.zeros((3, 3)) if prior is None else prior
    found = certainties(information, 2.0, Sensitivities(dict.fromkeys(slopes, 1.0), slopes, prior))  # pyright: ignore
    return {s: (x.standard_error, x.undetermined) for s, x in found.items()}


def test_of_parameters_that_show_together_each_is_marked_and_their_product_is_not() -> None:
    J = np.random.default_rng(0).normal(size=(50, 2))
    J = np.stack([J[:, 0], J[:, 0], J[:, 1]], axis=1)  # a and b show as their product alone
    found = certain(J.T @ J)
    assert {s for s, (_, nothing) in found.items() if nothing} == {"a", "b"}
    assert found["a+b"][0] == pytest.approx(2.0 / np.linalg.norm(J[:, 0]), rel=0.2)
    assert found["known"] == (None, False)
    assert not any(nothing for _, nothing in certain(J.T @ J, np.diag([4.0, 0.0, 0.0])).values())
    # A direction that is seen hardly, but seen.
    J[:, 1] += 1e-3 * np.random.default_rng(1).normal(size=50)
    assert not any(nothing for _, nothing in certain(J.T @ J).values())


@pytest.fixture(scope="module")
def fit() -> t1djax.Fit:
    return t1djax.fit(t1djax.reference_cohort(interval_min=60, names=["Pat3"]), model="ode", free=["ksi"])


def test_a_fit_says_what_is_not_told_and_what_it_took(fit: t1djax.Fit) -> None:
    one = dataclasses.replace(
        fit["Pat3"],
        body=type("Own", (Bergman,), {"parameters": {"f": Parameter("f", "1", "share", "f", 0.5, 1.0, 0.6, 0.9)}}),
        estimates={"f": Estimate(0.88, 0.8, 4e4, undetermined=True)},
    )
    marked = dataclasses.replace(fit, patients=(one,))
    assert repr(one).endswith("f 0.88 (not told))")
    assert "does not tell f" in repr(marked)
    assert one.estimates["f"].remarks
    assert any("f = 0.88" in text for text in t1djax.doubts(one))
    assert f"{fit.cost.compile_s:.1f} s to compile, {fit.cost.run_s:.1f} s to run" in repr(fit)
    assert not fit["Pat3"].derived["c"].standard_error


def test_a_body_is_printed_with_units_and_a_cohort_by_shapes() -> None:
    body = kanderian()["1"]
    assert "CI 2010 mL/min" in str(body)
    assert max(map(len, str(body).splitlines())) <= 80
    assert str(jax.tree.map(lambda x: jnp.stack([x, x]), body)).startswith("Kanderian(")
    assert float(jax.jit(lambda b: len(str(b)) * b.SI)(body)) > 0


@pytest.mark.parametrize("record", [Facts, Parameter, t1djax.StateSpaceOptions, t1djax.PatientFit, t1djax.Fit])
def test_help_says_what_each_field_is(record: type) -> None:
    text = str(record.__doc__)
    for name in record.__annotations__:
        assert f"\n    {name}: " in text
