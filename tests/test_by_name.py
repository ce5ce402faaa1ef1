"""Records of a cohort: in order, and by the patient's name."""

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
    with pytest.raises(KeyError) as e:
        records["Cy"]
    assert all(name in str(e.value) for name in ("Cy", "Ada", "Ben"))
