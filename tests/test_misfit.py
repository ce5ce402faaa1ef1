"""The bodies of the misfit benchmark: at rest where they say so, and in line with the exact solution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import t1djax
from benchmarks.coverage import Claim, coverage_percent
from benchmarks.misfit import _answers
from benchmarks.plants import HOVORKA, MAGDELAINE, Habits, Hovorka, live, record, rest_of_hovorka


def test_hovorka_rests_at_the_published_steady_state() -> None:
    """In closed form: at rest transport balances, and production covers what brain and tissue take."""
    with jax.enable_x64(True):
        p = Hovorka()
        u, y = rest_of_hovorka(p, 108.096)  # 6 mmol/L
        rates = np.asarray(HOVORKA.rates(p, y, u, jnp.zeros(()), jnp.zeros(())))
        np.testing.assert_allclose(rates, 0, atol=1e-9)
        I = float(y[4])
        assert pytest.approx(1000 * float(u) / (p.ke * p.VI * p.mass_kg), rel=1e-9) == I
        Q1 = 6 * p.VG * p.mass_kg
        x1, x2, x3 = (s * I for s in p.sensitivity)
        taken = x1 * Q1 - p.k12 * x1 * Q1 / (p.k12 + x2)
        assert p.EGP0 * p.mass_kg * (1 - x3) == pytest.approx(p.F01 * p.mass_kg + taken, rel=1e-6)
        fall, rise = (np.asarray(x) for x in _answers(p, u, y))
    assert 20 < -float(np.min(fall)) < 300
    assert 1 < float(np.max(rise)) < 15
    assert abs(float(fall[-1])) < -float(np.min(fall))  # this body comes back; the model under test does not


def test_a_life_is_what_its_record_says() -> None:
    """Glucose of a life with a closed loop, against the exact solution for the doses on its record."""
    with jax.enable_x64(True):
        preset = t1djax.presets()["Pat3"]
        p = preset.model()
        rest = t1djax.steady_state(p, 150.0)
        y0 = jnp.stack([rest.G, rest.S, rest.I, rest.E, rest.D])
        habits = Habits(p.equilibrium_basal_U_h / 60, 8.0, gain=1e-4)
        life = jax.jit(lambda key: live(key, MAGDELAINE, p, y0, habits))(jax.random.key(0))
        patient, glucose = record("one", life, np.zeros(life.glucose_mg_dL.size))
        inputs = patient.doses.inputs(0.0, 2880.0)
        exact = np.asarray(t1djax.propagate(p, inputs, jnp.asarray(patient.time_min), G0=150.0).glucose_mg_dL)
    np.testing.assert_allclose(glucose, exact, atol=0.01)
    assert np.ptp(glucose) > 50
    assert len(np.unique(patient.doses.basal_U_h)) > 100
    assert patient.doses.carbs_g.sum() == pytest.approx(np.asarray(life.carbs_g).sum())


def test_coverage_counts_what_has_no_ends_as_missed() -> None:
    claims = [Claim(1, 3), Claim(2, 3), Claim(float("nan"), float("nan")), Claim(0, 9, ok=False)]
    assert coverage_percent(claims, np.array([2.0, 1.0, 1.0, 5.0])) == 50.0
