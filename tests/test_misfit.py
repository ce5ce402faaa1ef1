"""The lives of the misfit benchmark are in line with what their records say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import t1djax
from benchmarks.coverage import Claim, coverage_percent
from benchmarks.plants import Habits, live, record
from t1djax.physics import AbstractPhysiology, hovorka


@pytest.mark.parametrize(
    ("body", "g_per_U"),
    [pytest.param(t1djax.presets()["Pat3"].model(), 8.0, marks=pytest.mark.slow), (hovorka(), 19.0)],
)
def test_a_life_is_what_its_record_says(body: AbstractPhysiology, g_per_U: float) -> None:
    """Glucose of a life with a closed loop, against adaptive steps for the doses on its record."""
    with jax.enable_x64(True):
        body = jax.tree.map(lambda x: x.astype(jnp.float64), body)
        y0, basal_U_h = body.rest(150.0)
        habits = Habits(basal_U_h / 60, g_per_U, gain=1e-4)
        life = jax.jit(lambda key: live(key, body, y0, habits))(jax.random.key(0))
        patient, glucose = record("one", life, np.zeros(life.glucose_mg_dL.size))
        inputs = patient.doses.inputs(0.0, 2880.0)
        path = t1djax.simulate(body, inputs, jnp.asarray(patient.time_min), y0=y0)
    assert bool(path.ok)
    np.testing.assert_allclose(glucose, np.asarray(path.glucose_mg_dL), atol=0.01)
    assert np.ptp(glucose) > 50
    assert len(np.unique(patient.doses.basal_U_h)) > 100
    assert patient.doses.carbs_g.sum() == pytest.approx(np.asarray(life.carbs_g).sum())


def test_a_disturbance_is_glucose_that_no_dose_explains() -> None:
    """At first it adds the same to the glucose of any body, whatever state it goes through."""
    with jax.enable_x64(True):
        added = []
        for body in (t1djax.presets()["Pat3"].model(), hovorka()):
            body = jax.tree.map(lambda x: x.astype(jnp.float64), body)  # noqa: PLW2901
            y0, basal_U_h = body.rest(120.0)
            lived = [
                live(jax.random.key(1), body, y0, Habits(basal_U_h / 60, 10.0, swing_sd_mg_dL_min=sd)).glucose_mg_dL
                for sd in (0.0, 1.0)
            ]
            added.append(np.asarray(lived[1] - lived[0])[:4])
    assert abs(added[0][1]) > 0.1
    np.testing.assert_allclose(added[1], added[0], rtol=0.2)


def test_coverage_counts_what_has_no_ends_as_missed() -> None:
    claims = [Claim(1, 3), Claim(2, 3), Claim(float("nan"), float("nan")), Claim(0, 9, ok=False)]
    assert coverage_percent(claims, np.array([2.0, 1.0, 1.0, 5.0])) == 50.0
