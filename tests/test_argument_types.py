"""Arguments of another type than a public function takes are refused at once, by their name."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import t1djax
from t1djax.physics import kanderian

COHORT = t1djax.data.Cohort(())
BODY = kanderian()["1"]
INPUTS = t1djax.Doses.of(basal=1.0).inputs(0, 60)
any_: Any = t1djax  # what type checkers would refuse

WRONG: dict[str, tuple[tuple[str | int, ...], Callable[[], object]]] = {
    "noise is a number": (("noise",), lambda: any_.virtual_population(2, key=jax.random.key(0), noise=10.0)),
    "bodies are a list": (("bodies",), lambda: any_.virtual_population(1, key=jax.random.key(0), bodies=[BODY])),
    "a key of settings": (("key",), lambda: any_.person_settings(COHORT, key=0)),
    "a key of people": (("key",), lambda: any_.virtual_population(2, key=0)),
    "a key of a trial": (("key",), lambda: any_.trial({}, 2, key=0)),
    "a key of noise": (("key",), lambda: any_.reference_cohort(key=0)),
    "a person for a physiology": (("physiology",), lambda: any_.fit(COHORT, physiology=BODY)),
    "a file for people": (("cohort",), lambda: any_.fit("ada.csv")),
    "a prior of two numbers": (("priors", "ksi"), lambda: any_.fit(COHORT, priors={"ksi": (200.0, 0.1)})),
    "a word for priors": (("priors",), lambda: any_.fit(COHORT, priors="population")),
    "a text for a seed": (("seed",), lambda: any_.fit(COHORT, seed="0")),
    "half a seed": (("seed",), lambda: any_.fit(COHORT, seed=1.5)),
    "a text for a noise": (("noise_sd_mg_dL",), lambda: any_.fit(COHORT, noise_sd_mg_dL="8")),
    "a text for a median": (("median",), lambda: any_.LogNormal("1", 0.1)),
    "doses for inputs": (("inputs",), lambda: any_.simulate(BODY, t1djax.Doses.of(basal=1.0), jnp.arange(3.0))),
    "a class for a body": (("p",), lambda: any_.simulate(type(BODY), INPUTS, jnp.arange(3.0))),
    "times that decrease": (("ts",), lambda: t1djax.simulate(BODY, INPUTS, jnp.asarray([30.0, 0.0]))),
    "no glucose": (("G0",), lambda: t1djax.propagate(BODY, INPUTS, jnp.arange(3.0), G0=-5.0)),
    "a text for glucose": (("G0",), lambda: any_.simulate(BODY, INPUTS, jnp.arange(3.0), G0="120")),
    "a text for a rate": (("basal",), lambda: any_.Doses.of(basal="1.0")),
    "meals without times": (("meals", 0), lambda: any_.Doses.of(meals=[60.0, 45.0])),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_another_type_is_refused_by_the_name_of_the_argument(name: str) -> None:
    place, call = WRONG[name]
    # Where annotations are checked at run time, a wrong type does not come so far.
    with pytest.raises((t1djax.ArgumentError, TypeCheckError)) as refused:
        call()
    if isinstance(refused.value, t1djax.ArgumentError):
        assert refused.value.argument == place


def test_an_argument_that_is_not_there_has_a_near_one() -> None:
    with pytest.raises(TypeError, match="free"):
        any_.fit(COHORT, fre=["ksi"])


def test_numbers_and_sequences_count_whatever_their_class(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--jaxtyping-packages"):
        pytest.skip("annotations, which are narrower, are checked")
    found = [
        t1djax.propagate(BODY, INPUTS, ts, G0=G0).glucose_mg_dL  # pyright: ignore[reportArgumentType]
        for ts, G0 in (([0.0, 30.0], 130), (np.asarray([0.0, 30.0]), np.float32(130.0)),
                       (jnp.asarray([0.0, 30.0]), jnp.asarray(130.0)))
    ]  # fmt: skip
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert dataclasses.replace(t1djax.LogNormal(1, np.float32(0.5))).sd_log == 0.5  # pyright: ignore
    assert t1djax.Doses.of(meals=np.asarray([[60.0, 45.0]])).carbs_g.sum() == 45.0
    assert t1djax.Question(bounds={"ksi": [50, 600]}).bounds["ksi"] == (50.0, 600.0)  # pyright: ignore
