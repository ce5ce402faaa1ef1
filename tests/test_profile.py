"""Profile likelihoods against SciPy, and open ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

import t1djax
from t1djax.inference._profile import _crossing


@pytest.fixture(scope="module")
def cohort() -> t1djax.Cohort:
    return t1djax.reference_cohort(
        interval_min=30, names=["Pat2", "Pat3"], noise=t1djax.WhiteNoise(10.0), key=jax.random.key(4)
    )


def test_ends_of_the_interval_equal_those_of_scipy(cohort):
    fit = t1djax.fit(cohort, model="ode", free=["ksi", "Tu", "G0"])
    found = t1djax.profile(fit, cohort, "Tu", autocorrelated=False)["Pat2"]
    patient = cohort["Pat2"]
    mask = patient.masks.fit
    with jax.enable_x64(True):
        inputs = patient.doses.inputs(0, 2880)
        ts = jnp.asarray(patient.time_min)
        rest = {s: patient.known[s] for s in ("kl", "kb", "ku_Vi", "Tr", "kr_Vb")}

        @jax.jit
        def glucose(v):
            p = t1djax.Magdelaine(ksi=v[0], Tu=v[1], **rest)
            return t1djax.propagate(p, inputs, ts, G0=v[2]).glucose_mg_dL

        def rows(v: np.ndarray) -> np.ndarray:
            return (np.asarray(glucose(jnp.asarray(v))) - patient.glucose_mg_dL)[mask]

        def squares(Tu: float) -> float:
            start = [fit["Pat2"].estimates[s].value for s in ("ksi", "G0")]
            best = optimize.least_squares(
                lambda x: rows(np.array([x[0], Tu, x[1]])), start, x_scale=start, xtol=1e-12, ftol=1e-12
            )
            return 2 * best.cost

        least = squares(found.estimate)
        s2 = least / (mask.sum() - 3)
        excess = [(squares(end) - least) / s2 for end in (found.low, found.high)]
    assert found.threshold == pytest.approx(stats.t.ppf(0.95, mask.sum() - 3) ** 2)
    np.testing.assert_allclose(excess, found.threshold, rtol=0.02)
    assert found.converged
    assert found.identifiable
    assert found.low < fit["Pat2"].estimates["Tu"].value < found.high


@pytest.mark.slow
def test_readings_without_noise_are_known_to_rounding():
    exact = t1djax.reference_cohort(interval_min=30, names=["Pat3", "Pat4"])
    found = t1djax.profile(t1djax.fit(exact, model="ode", free=["ksi", "kl"]), exact, "ksi")
    for one in found:
        truth = exact.truth[one.name].parameters["ksi"]
        assert one.identifiable
        assert one.low < truth < one.high < one.low * (1 + 1e-5)


@pytest.mark.slow
def test_a_profile_with_little_information_is_open_on_one_side(cohort):
    # All insulin of two days moves glucose by a few mg/dL: less sensitivity cannot be excluded, much more can.
    doses, pat3 = t1djax.Doses.of(basal=0.003, meals=[(60, 50)]), cohort["Pat3"]
    with jax.enable_x64(True):
        body = t1djax.presets()["Pat3"].model()
        exact = t1djax.propagate(body, doses.inputs(0, 2880), jnp.asarray(pat3.time_min), G0=120.0).glucose_mg_dL
        glucose = np.asarray(exact)
    known = {**pat3.known, "G0": 120.0}
    patient = dataclasses.replace(pat3, doses=doses, glucose_mg_dL=glucose, known=known)
    fit = t1djax.fit([patient], model="ode", free=["ksi"], noise_sd_mg_dL=10.0)
    found = t1djax.profile(fit, [patient], "ksi")["Pat3"]
    assert found.threshold == pytest.approx(2.7055, abs=1e-3)
    assert found.estimate == pytest.approx(274.0, rel=1e-4)
    assert found.open_low
    assert not found.open_high
    assert found.low == 0.0
    # Glucose is linear in ksi here but for I(0) = c/ksi: the excess is that of the straight line.
    bound = t1djax.identify(fit, [patient], what_if=False)["Pat3"].parameters["ksi"].bound_percent / 100
    assert found.high == pytest.approx(274.0 * (1 + np.sqrt(2.7055) * bound), rel=0.05)
    assert "practically not identifiable, its profile is open below" in found.words


def test_crossing_is_exact_for_a_parabola():
    x = np.linspace(0, 5, 9)
    assert _crossing(x, (x / 1.3) ** 2, 2.7) == pytest.approx(1.3 * np.sqrt(2.7))
    assert _crossing(x, 0 * x, 2.7) is None


def test_what_was_not_estimated_has_no_profile(cohort):
    fit = t1djax.fit(cohort, model="ode", free=["ksi", "Tu", "G0"])
    with pytest.raises(ValueError, match=r"kl.*ksi, Tu, G0"):
        t1djax.profile(fit, cohort, "kl")
