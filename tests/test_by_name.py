"""Records of a cohort: in order, and by the patient's name."""

import dataclasses

import numpy as np
import pytest

import t1djax


def profile(name: str) -> t1djax.records.PatientProfile:
    values = np.array([1.0, 2.0, 3.0])
    return t1djax.records.PatientProfile(name, "ksi", 2.0, 1.0, 3.0, False, False, values, values**2, 2.7, 1.0, True)


@pytest.fixture(params=["Cohort", "Profile"])
def records(request: pytest.FixtureRequest) -> t1djax.Cohort | t1djax.records.Profile:
    if request.param == "Profile":
        return t1djax.records.Profile("ksi", 0.9, (profile("Ada"), profile("Ben")))
    time = np.array([0.0, 5.0])
    doses = t1djax.Doses.of(basal=0.9)
    return t1djax.Cohort(tuple(t1djax.Patient(name, time, 100 + time, doses) for name in ("Ada", "Ben")))


def test_records_are_found_by_name_and_keep_their_order(records: t1djax.Cohort | t1djax.records.Profile) -> None:
    assert records.names == ("Ada", "Ben") == tuple(one.name for one in records)
    assert len(records) == 2
    assert records["Ben"] is records.patients[1]
    assert records._ipython_key_completions_() == ["Ada", "Ben"]
    assert "Ben" in records
    assert records["Ben"] in records
    assert "Cy" not in records
    with pytest.raises(KeyError) as e:
        records["Cy"]
    assert all(name in str(e.value) for name in ("Cy", "Ada", "Ben"))


def test_patients_by_position_and_slices_of_them() -> None:
    cohort = t1djax.reference_cohort(interval_min=60, names=["Pat2", "Pat3", "Pat4"])
    fit = t1djax.fit(cohort, model="ode", free=["ksi"])
    assert "doubts" not in repr(fit)
    lost = dataclasses.replace(fit["Pat3"], glucose_mg_dL=fit["Pat3"].glucose_mg_dL + 90)
    assert "Pat3" in repr(dataclasses.replace(fit, patients=(fit["Pat2"], lost, fit["Pat4"])))
    assert cohort[0] is cohort["Pat2"]
    assert cohort[-1] is cohort["Pat4"]
    assert cohort[1:].names == ("Pat3", "Pat4")
    assert set(cohort[1:].truth) == {"Pat3", "Pat4"}
    assert fit[::2].names == ("Pat2", "Pat4")
    assert fit[::2].history.values["ksi"].shape[1] == 2
    with pytest.raises(IndexError):
        _ = cohort[3]
    assert fit["Pat3"].plot().axes[0].get_title(loc="left").startswith("Pat3\nksi")


@pytest.mark.parametrize("wrong", [{"model": t1djax.PINNOptions()}, {"model": t1djax.PINNOptions}, {"options": "pinn"}])
def test_a_model_that_is_no_name_is_refused_with_the_names(wrong: dict) -> None:
    cohort = t1djax.reference_cohort(interval_min=60, names=["Pat2"])
    with pytest.raises((t1djax.ArgumentError, TypeError)):  # run-time checks of types answer in words of their own
        t1djax.fit(cohort, **wrong)


def test_long_records_fit_a_terminal() -> None:
    cohort = t1djax.reference_cohort(interval_min=60, names=["Pat2"])
    assert max(map(len, repr(cohort.truth["Pat2"]).splitlines())) <= 80
