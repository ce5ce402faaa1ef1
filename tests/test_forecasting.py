"""Forecasts after a warm-up: what they use, what they add, and that they help where the model is wrong."""

import dataclasses

import jax
import numpy as np
import pytest

import t1djax

ORIGINS = (900.0, 1500.0, 2100.0)


@pytest.fixture(scope="module")
def cohort() -> t1djax.Cohort:
    return t1djax.reference_cohort(
        interval_min=5, noise=t1djax.WhiteNoise(5.0), key=jax.random.key(0), names=["Pat2", "Pat3", "Pat7"]
    )


@pytest.fixture(scope="module", params=["equations", pytest.param("network", marks=pytest.mark.slow)])
def wrong(cohort: t1djax.Cohort, request: pytest.FixtureRequest) -> t1djax.Fit:
    """Rollouts of patients who are said to take a fifth less from their meals than they do."""
    known = [dataclasses.replace(p, known={**p.known, "kr_Vb": 0.8 * p.known["kr_Vb"]}) for p in cohort]
    if request.param == "equations":
        return t1djax.fit(known, mode="forward", model="ode")
    return t1djax.fit(known, mode="forward", options=t1djax.BIRNNOptions(units=8, cell_min=15.0, step_min=15.0))


def _rmse(cohort: t1djax.Cohort, predicted, horizon: float) -> float:
    errors = []
    for patient in cohort:
        truth = cohort.truth[patient.name].glucose_mg_dL
        for origin in ORIGINS:
            i = int(np.searchsorted(patient.time_min, origin + horizon))
            errors.append(predicted(patient, origin, i) - truth[i])
    return float(np.sqrt(np.mean(np.square(errors))))


@pytest.mark.parametrize("horizon", [30.0, 60.0])
def test_a_warm_up_makes_a_wrong_model_useful(cohort, wrong, horizon):
    def warm(patient, origin, i):
        ahead = t1djax.forecast(wrong[patient.name], patient, origin_min=origin)
        return ahead.glucose_mg_dL[np.searchsorted(ahead.time_min, patient.time_min[i])]

    held = lambda patient, origin, i: patient.glucose_mg_dL[int(np.searchsorted(patient.time_min, origin))]
    errors = {
        "free": _rmse(cohort, lambda p, origin, i: wrong[p.name].glucose_mg_dL[i], horizon),
        "warm": _rmse(cohort, warm, horizon),
        "held": _rmse(cohort, held, horizon),
    }
    print(horizon, {k: round(v, 1) for k, v in errors.items()})
    assert errors["warm"] < 0.5 * errors["free"]
    assert errors["warm"] < errors["held"]


def test_level_and_drift_are_those_of_a_known_line(cohort, wrong):
    patient, fit = cohort["Pat2"], wrong["Pat2"]
    line = dataclasses.replace(patient, glucose_mg_dL=fit.glucose_mg_dL + 20.0 + 0.03 * (patient.time_min - 1500.0))
    ahead = t1djax.forecast(fit, line, origin_min=1500.0, warm_up=t1djax.forecasting.WarmUp(drift_sd_mg_dL_min=1e6))
    assert ahead.level_mg_dL == pytest.approx(20.0, rel=1e-6)
    assert ahead.drift_mg_dL_min == pytest.approx(0.03, rel=1e-6)
    rollout = fit.glucose_mg_dL[patient.time_min > 1500.0]
    assert ahead.glucose_mg_dL[-1] - rollout[-1] == pytest.approx(20.0 + 0.03 * 120.0, rel=1e-3)  # the drift has faded
    flat = t1djax.forecast(fit, line, origin_min=1500.0, warm_up=t1djax.forecasting.WarmUp(drift_sd_mg_dL_min=0.0))
    assert flat.drift_mg_dL_min == 0.0
    np.testing.assert_allclose(flat.glucose_mg_dL - rollout, flat.level_mg_dL)


def test_readings_after_the_origin_change_nothing(cohort, wrong):
    patient = cohort["Pat3"]
    later = patient.time_min > 1500.0
    other = dataclasses.replace(patient, glucose_mg_dL=np.where(later, 77.0, patient.glucose_mg_dL))
    a, b = (t1djax.forecast(wrong["Pat3"], p, origin_min=1500.0) for p in (patient, other))
    assert a.glucose_mg_dL.tobytes() == b.glucose_mg_dL.tobytes()


def test_another_patients_fit_is_refused(cohort, wrong):
    with pytest.raises(ValueError, match="Pat2"):
        t1djax.forecast(wrong["Pat2"], cohort["Pat3"], origin_min=1500.0)
    with pytest.raises(ValueError, match="memory_min"):
        t1djax.forecast(
            wrong["Pat2"], cohort["Pat2"], origin_min=1500.0, warm_up=t1djax.forecasting.WarmUp(memory_min=0.0)
        )


@pytest.mark.parametrize("origin", [-1.0, 2880.0, 1e6])
def test_an_origin_outside_the_record_is_refused(cohort, wrong, origin):
    with pytest.raises(ValueError, match=r"Pat2.*origin_min"):
        t1djax.forecast(wrong["Pat2"], cohort["Pat2"], origin_min=origin)
