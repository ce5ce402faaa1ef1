"""Metrics against numbers worked out by hand."""

import dataclasses
import math

import jax
import numpy as np
import pytest

import t1djax
from t1djax import Estimate, PatientFit

nan = float("nan")


def patient(time: list[float], glucose: list[float], name: str = "Ada") -> t1djax.Patient:
    return t1djax.Patient(name, np.array(time), np.array(glucose), t1djax.Doses.of(basal=0.9))


def fitted(p: t1djax.Patient, glucose: np.ndarray) -> PatientFit:
    n = len(p.time_min)
    return PatientFit(
        patient=p,
        outcome=t1djax.Outcome.converged,
        estimates={"ksi": Estimate(198.0, 250.0, 2.0), "G0": Estimate(120.0, 118.0, None)},
        derived={"p1": Estimate(12.0, 15.0, 0.1)},
        glucose_mg_dL=glucose,
        states={"insulin_U_dL": np.full(n, 1e-3), "digestion_mg_dL_min": np.zeros(n)},
        residuals={
            "residual_G_mg_dL_min": np.linspace(-0.3, 0.2, n),
            "residual_I_U_dL_min": np.full(n, -4e-5),
            "residual_D_mg_dL_min2": np.linspace(0, 7e-4, n),
        },
    )


def test_glucose_errors_by_hand():
    errors = t1djax.evaluation.glucose_errors(
        np.array([103.0, 46.0, 0.0, 1e6]), np.array([100.0, 50.0, 30.0, 7.0]), np.array([True, True, True, False])
    )
    assert errors["rmse_mg_dL"] == pytest.approx(math.sqrt((9 + 16 + 900) / 3))
    assert errors["mae_mg_dL"] == pytest.approx((3 + 4 + 30) / 3)
    assert errors["mard_percent"] == pytest.approx((3.0 + 8.0) / 2)  # 30 mg/dL is below what a sensor reports


def test_mard_begins_at_40():
    at = lambda reading: t1djax.evaluation.glucose_errors(np.array([44.0]), np.array([reading]), np.array([True]))[
        "mard_percent"
    ]
    assert at(40.0) == pytest.approx(10.0)
    assert math.isnan(at(39.999))


def test_an_empty_set_gives_nan_without_a_warning():
    errors = t1djax.evaluation.glucose_errors(np.array([100.0]), np.array([90.0]), np.array([False]))
    assert set(errors) == {"rmse_mg_dL", "mae_mg_dL", "mard_percent"}
    assert all(math.isnan(value) for value in errors.values())


def test_metrics_of_each_set_by_hand():
    # 21 rows; row 4 has no reading. Valid ones in time order: the tenth (index 9) is row 10; the forecast is t > 90.
    time = [5.0 * i for i in range(21)]
    glucose = [100.0] * 21
    glucose[4] = nan
    p = patient(time, glucose)
    error = np.full(21, 2.0)
    error[4], error[10], error[19], error[20] = 500.0, -7.0, 30.0, 40.0
    truth = t1djax.Truth({"ksi": 200.0}, np.full(21, 101.0), {})
    found = t1djax.metrics(fitted(p, 100 + error), p, truth)
    assert found["rmse_fit_mg_dL"] == pytest.approx(2.0)
    assert found["mae_held_out_mg_dL"] == pytest.approx(7.0)
    assert found["mard_held_out_percent"] == pytest.approx(7.0)
    assert found["rmse_forecast_mg_dL"] == pytest.approx(math.sqrt((900 + 1600) / 2))
    assert found["mae_forecast_mg_dL"] == pytest.approx(35.0)
    assert found["rmse_true_fit_mg_dL"] == pytest.approx(1.0)
    assert found["rmse_true_held_out_mg_dL"] == pytest.approx(8.0)
    assert found["rmse_true_forecast_mg_dL"] == pytest.approx(math.sqrt((29**2 + 39**2) / 2))
    assert found["max_abs_residual_G_mg_dL_min"] == pytest.approx(0.3)
    assert found["max_abs_residual_I_U_dL_min"] == pytest.approx(4e-5)
    assert found["max_abs_residual_D_mg_dL_min2"] == pytest.approx(7e-4)
    measures = [f"{m}_{s}_{u}" for s in ("fit", "held_out", "forecast")
                for m, u in (("rmse", "mg_dL"), ("mae", "mg_dL"), ("mard", "percent"))]  # fmt: skip
    assert {key for key in found if not {"true", "residual", "gap"} & set(key.split("_"))} == set(measures)


def test_a_network_that_does_not_follow_the_equations_is_doubted():
    p = patient([0.0, 5.0, 10.0, 15.0], [100.0, 120.0, 140.0, 130.0])
    near, far = (dataclasses.replace(fitted(p, p.glucose_mg_dL + 1.0), gap_mg_dL=gap) for gap in (0.09, 0.5))
    assert not any("own solution" in doubt for doubt in t1djax.doubts(near, p))
    assert any("0.5 mg/dL away from the equations' own solution" in doubt for doubt in t1djax.doubts(far, p))


@pytest.mark.slow
def test_a_network_too_small_for_the_equations_is_doubted_and_its_estimate_is_off():
    cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"])
    poor = t1djax.PINNOptions(
        width=4, depth=1, time=t1djax.networks.TimeFeatureOptions(octaves=2, lags_min=()), cell_min=60.0
    )
    fit = t1djax.fit(cohort, options=poor, stages=[t1djax.Stage(steps=16, residual_weight=(1000.0, 1000.0))])["Pat3"]
    assert (t1djax.evaluation.recovery(fit, cohort.truth["Pat3"])["ksi"]["error_percent"] or 0.0) > 1.0
    assert any("own solution" in doubt for doubt in t1djax.doubts(fit, cohort["Pat3"]))


@pytest.mark.parametrize("of", [t1djax.metrics, t1djax.doubts])
def test_a_record_of_another_patient_or_on_other_rows_is_refused(of):
    p = patient([0.0, 5.0, 10.0], [100.0] * 3)
    fit = fitted(p, p.glucose_mg_dL)
    assert str(of(fit)) == str(of(fit, p))  # NaN, too
    for other in (patient([0.0, 5.0, 10.0], [100.0] * 3, "Ben"), patient([0.0, 5.0, 11.0], [100.0] * 3)):
        with pytest.raises(ValueError, match="Ada"):
            of(fit, other)


def test_without_truth_nothing_is_said_of_it():
    p = patient([0.0, 5.0, 10.0], [100.0, 100.0, 100.0])
    found = t1djax.metrics(fitted(p, p.glucose_mg_dL), p)
    assert not any("true" in key for key in found)
    assert math.isnan(found["rmse_held_out_mg_dL"])  # three readings: none is the tenth
    rows = t1djax.evaluation.recovery(fitted(p, p.glucose_mg_dL), None)
    assert {symbol: (row["truth"], row["error_percent"]) for symbol, row in rows.items()} == dict.fromkeys(
        ["ksi", "G0", "p1"], (None, None)
    )


def test_recovery_is_the_absolute_relative_error_in_percent():
    p = patient([0.0, 5.0], [100.0, 100.0])
    truth = t1djax.Truth({"ksi": 200.0, "ku_Vi": 0.05, "G0": 96.0}, np.zeros(2), {})
    rows = t1djax.evaluation.recovery(fitted(p, p.glucose_mg_dL), truth)
    assert rows["ksi"] == {
        "value": 198.0, "initial": 250.0, "standard_error": 2.0, "prior_dominated": False, "at_bound": False,
        "white_error": None, "c_assumed": False, "undetermined": False,
        "truth": 200.0, "error_percent": pytest.approx(1.0),
    }  # fmt: skip
    assert rows["G0"]["error_percent"] == pytest.approx(25.0)
    assert rows["p1"]["truth"] == pytest.approx(10.0)  # 200 x 0.05
    assert rows["p1"]["error_percent"] == pytest.approx(20.0)


def test_persistence_holds_the_last_reading_before_the_forecast():
    time = [10.0 * i for i in range(11)]
    glucose = [100.0] * 8 + [130.0, nan, 145.0]  # the forecast is t > 90; the last reading before it is at 80
    assert t1djax.evaluation.persistence_rmse(patient(time, glucose)) == pytest.approx(15.0)
    assert math.isnan(t1djax.evaluation.persistence_rmse(patient([0.0, 5.0], [100.0, nan])))


def test_persistence_may_start_from_a_held_out_reading():
    time = [float(i) for i in range(12)]
    glucose = [100.0] * 9 + [160.0, 170.0, 150.0]  # index 9 is held out and the last before the forecast (t > 9.9)
    assert t1djax.evaluation.persistence_rmse(patient(time, glucose)) == pytest.approx(10.0)


def test_summary_has_a_row_per_patient_and_what_was_estimated():
    a, b = patient([0.0, 5.0, 10.0], [100.0] * 3), patient([0.0, 5.0, 10.0], [90.0] * 3, "Bob")
    truth = {"Ada": t1djax.Truth({"ksi": 200.0}, np.full(3, 100.0), {})}
    cohort = t1djax.Cohort((a, b), truth)
    known = {"ksi": 200.0, "kl": 1.9, "kb": 1.5, "Tu": 90.0, "ku_Vi": 0.06, "Tr": 60.0, "kr_Vb": 0.002, "G0": 100.0}
    posed = t1djax.pose(
        [dataclasses.replace(p, known=known) for p in cohort], mode="inverse", free=["ksi"], key=jax.random.key(0)
    )
    fit = t1djax.Fit(
        "ode", posed, tuple(fitted(p, p.glucose_mg_dL + 3) for p in cohort),
        t1djax.records.History(np.array([0]), {}, {}), t1djax.records.Cost(0.0, 0.0),
    )  # fmt: skip
    table = t1djax.summary(fit, cohort)
    assert t1djax.summary(fit)["rmse_fit_mg_dL"].tolist() == table["rmse_fit_mg_dL"].tolist()
    assert t1djax.summary(fit)["ksi_error_percent"].isna().tolist() == [True, True]  # a fit keeps no truth
    assert table["patient"].tolist() == ["Ada", "Bob"]
    assert table["ksi"].tolist() == [198.0, 198.0]
    assert table["ksi_se"].tolist() == [2.0, 2.0]
    assert table.loc[0, "ksi_error_percent"] == pytest.approx(1.0)
    assert table["ksi_error_percent"].isna().tolist() == [False, True]
    assert table["rmse_fit_mg_dL"].tolist() == pytest.approx([3.0, 3.0])
    assert "p1" not in table.columns
