"""Windows: names, edges, gaps, and insulin on board by burn-in."""

import dataclasses

import numpy as np
import pytest

import t1djax


@pytest.fixture(scope="module")
def record() -> t1djax.Cohort:
    return t1djax.reference_cohort(interval_min=15, names=["Pat2", "Pat3"])


def test_names_rows_and_truth(record):
    cut = t1djax.windows(record, length_h=18, step_h=9)
    assert cut.names == tuple(f"{p}@{h:04d}h" for p in ("Pat2", "Pat3") for h in (12, 21, 30))
    window = cut["Pat2@0021h"]
    assert window.time_min[0] == 9 * 60
    assert np.isnan(window.glucose_mg_dL[0])
    np.testing.assert_array_equal(window.time_min[1:], np.arange(21 * 60, 39 * 60 + 1, 15.0))
    assert "G0" not in window.known
    assert window.doses is record["Pat2"].doses
    truth = cut.truth["Pat2@0021h"]
    np.testing.assert_array_equal(truth.glucose_mg_dL[1:], window.glucose_mg_dL[1:])
    assert truth.parameters["G0"] == record.truth["Pat2"].glucose_mg_dL[36]


@pytest.mark.parametrize("step_h", [0.5, 1 / 60, 0.51])
def test_every_window_has_a_name_of_its_own(record, step_h):
    cut = t1djax.windows(record["Pat2"], length_h=35.5, step_h=step_h)
    assert len(cut) > 1
    assert cut.names[0] == "Pat2@0012h"
    assert len(set(cut.names)) == len(cut)


def test_burn_in_gives_insulin_on_board(record):
    errors = {}
    for burn_in in (0.0, 12.0):
        cut = t1djax.windows(record["Pat3"], length_h=20, step_h=5, burn_in_h=burn_in)
        cut = cut.select([name for name in cut.names if int(name[-5:-1]) >= 12])
        fit = t1djax.fit(cut, model="ode", free=["ksi"])
        assert all(f.ok for f in fit)
        errors[burn_in] = max(abs(f.estimates["ksi"].value / 274.0 - 1) for f in fit)
    assert errors[12.0] < 0.01
    assert errors[0.0] > 5 * errors[12.0]


def test_windows_with_few_readings_or_long_gaps_are_left_out(record):
    patient = record["Pat2"]
    holes = (patient.time_min > 1500) & (patient.time_min < 1500 + 7 * 60)
    glucose = np.where(holes, np.nan, patient.glucose_mg_dL)
    patient = dataclasses.replace(patient, glucose_mg_dL=glucose)
    rule = {"length_h": 12, "step_h": 12, "burn_in_h": 0}
    assert t1djax.windows(patient, **rule).names == ("Pat2@0000h", "Pat2@0012h", "Pat2@0036h")
    assert len(t1djax.windows(patient, **rule, min_share=0.2)) == 4
    assert len(t1djax.windows(patient, **rule, min_share=0.2, max_gap_h=3)) == 3
    with pytest.raises(ValueError, match=r"Pat2.*48 h.*length_h=36"):
        t1djax.windows(patient, length_h=100)
    with pytest.raises(ValueError, match="step_h"):
        t1djax.windows(patient, step_h=0)


def test_rows_before_the_first_reading_go(record):
    patient = record["Pat2"]
    late = dataclasses.replace(patient, glucose_mg_dL=np.where(patient.time_min < 100, np.nan, patient.glucose_mg_dL))
    assert t1djax.data.from_first_reading(late).time_min[0] == 105.0
