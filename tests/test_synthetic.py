"""The reference cohort as data, and the general simulation behind it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t1djax.data import (
    AR1Noise,
    RandomGaps,
    Sensor,
    Subject,
    WhiteNoise,
    reference_cohort,
    series,
    simulate_cohort,
    split,
)
from t1djax.physics import PARAMETERS, Doses, presets

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def plain():
    return reference_cohort()


def test_truth_equals_the_golden_states(plain, shared):
    golden = np.genfromtxt(
        shared / "reference" / "golden_states.csv", delimiter=",", names=True, dtype=None, encoding="utf-8"
    )
    for name in plain.names:
        rows = golden[golden["patient"] == name]
        minute = rows["minute"].astype(int)
        truth = plain.truth[name]
        assert len(rows) > 100
        np.testing.assert_allclose(truth.glucose_mg_dL[minute], rows["glucose_mg_dL"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(truth.states["insulin_U_dL"][minute], rows["insulin_U_dL"], rtol=1e-9)
        np.testing.assert_allclose(
            truth.states["digestion_mg_dL_min"][minute], rows["digestion_mg_dL_min"], rtol=1e-8, atol=1e-10
        )


def test_the_plain_cohort_is_complete_and_in_float64(plain):
    assert plain.names == tuple(presets())
    for patient in plain:
        assert np.array_equal(patient.time_min, np.arange(2881.0))
        assert patient.valid.all()
        assert patient.glucose_mg_dL.dtype == np.float64
        assert np.array_equal(patient.glucose_mg_dL, plain.truth[patient.name].glucose_mg_dL)
        assert patient.known == presets()[patient.name].parameters
        assert set(patient.known) == set(PARAMETERS)
        assert patient.known["kb"] == 128 / patient.known["M"]
    assert not jax.config.read("jax_enable_x64")


def test_doses_are_those_of_the_protocol_within_the_window(plain):
    for patient in plain:
        before, after = presets()[patient.name].doses, patient.doses
        assert after.bolus_U.sum() == before.bolus_U[before.bolus_time_min <= 2880].sum()
        assert after.carbs_g.sum() == before.carbs_g[before.meal_time_min <= 2880].sum()
        assert after.basal_time_min[0] == 0
        assert after.basal_time_min[-1] <= 2880
        with jax.enable_x64(True):
            ends = jnp.asarray([0.0, 2880.0])
            for given, stated in zip(
                after.inputs(0, 2880).delivered(ends), before.inputs(0, 2880).delivered(ends), strict=True
            ):
                np.testing.assert_allclose(given, stated, rtol=1e-12)


@pytest.mark.parametrize("interval_min", [0.1, 5, 7])
def test_every_dose_stands_on_a_row_and_readings_on_the_sensors_times(interval_min, plain):
    cohort = reference_cohort(interval_min=interval_min, names=["Pat3"])
    patient = cohort["Pat3"]
    d = patient.doses
    for times in (d.basal_time_min, d.bolus_time_min, d.meal_time_min):
        assert np.isin(times, patient.time_min).all()
    seen = patient.time_min[patient.valid]
    np.testing.assert_allclose(seen, interval_min * np.arange(len(seen)), atol=1e-9)
    assert seen[-1] > 2880 - interval_min
    whole = np.isin(patient.time_min, plain["Pat3"].time_min)
    np.testing.assert_allclose(
        cohort.truth["Pat3"].glucose_mg_dL[whole],
        plain.truth["Pat3"].glucose_mg_dL[patient.time_min[whole].astype(int)],
        rtol=1e-10,
    )


def test_a_patient_does_not_depend_on_who_else_is_chosen():
    worn = functools.partial(
        reference_cohort, interval_min=5, noise=AR1Noise(10.0), dropout=0.1, gaps=RandomGaps(2, 60), key=KEY
    )
    everyone, again, some = worn(), worn(), worn(names=["Pat9", "Pat3"])
    assert some.names == ("Pat9", "Pat3")
    for name in some.names:
        np.testing.assert_allclose(some[name].glucose_mg_dL, everyone[name].glucose_mg_dL, rtol=1e-12)
        assert np.array_equal(again[name].glucose_mg_dL, everyone[name].glucose_mg_dL, equal_nan=True)
    other = worn(key=jax.random.key(6))
    assert not np.array_equal(other["Pat3"].glucose_mg_dL, everyone["Pat3"].glucose_mg_dL, equal_nan=True)


def test_patients_have_noise_of_their_own():
    cohort = reference_cohort(interval_min=5, noise=WhiteNoise(10.0), key=KEY)
    e = np.array([p.glucose_mg_dL[p.valid] - cohort.truth[p.name].glucose_mg_dL[p.valid] for p in cohort])
    correlation = np.corrcoef(e)[np.triu_indices(10, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(577)
    assert abs(e.std() / 10 - 1) < 0.05


def test_noise_leaves_the_starting_glucose_unknown():
    noisy = reference_cohort(noise=WhiteNoise(10.0), key=KEY, names=["Pat2"])
    assert "G0" not in noisy["Pat2"].known
    assert noisy.truth["Pat2"].parameters["G0"] == 220
    assert reference_cohort(dropout=0.5, key=KEY, names=["Pat2"])["Pat2"].known["G0"] == 220


def test_censoring_reaches_the_readings_only():
    cohort = reference_cohort(censor=True, names=["Pat5"])
    patient, truth = cohort["Pat5"], cohort.truth["Pat5"]
    assert patient.glucose_mg_dL.min() == 40
    assert truth.glucose_mg_dL.min() < -500
    assert np.array_equal(patient.glucose_mg_dL, np.clip(truth.glucose_mg_dL, 40, 400))


def test_nothing_is_drawn_without_a_key():
    for sensor in (Sensor(WhiteNoise(1.0)), Sensor(dropout=0.1), Sensor(gaps=RandomGaps(1, 60))):
        with pytest.raises(ValueError):
            reference_cohort(noise=sensor.noise, dropout=sensor.dropout, gaps=sensor.gaps)
    assert reference_cohort(gaps=[(0, 60)], names=["Pat2"])["Pat2"].valid.sum() == 2881 - 60


def test_masks_are_computed_once_and_follow_the_readings(plain):
    patient = plain["Pat2"]
    thinned = np.where(np.arange(len(patient.time_min)) % 3, np.nan, patient.glucose_mg_dL)
    fewer = dataclasses.replace(patient, glucose_mg_dL=thinned)
    assert patient.masks is patient.masks
    for record in (patient, fewer):
        np.testing.assert_array_equal(record.masks, split(record.time_min, record.valid))
        np.testing.assert_array_equal(series(record).fit, record.masks.fit)


def test_an_unknown_patient_is_named():
    with pytest.raises(KeyError, match="Pat12"):
        reference_cohort(names=["Pat2", "Pat12"])


def subject(doses, start=0.0, end=600.0, name="a"):
    return Subject(name, presets()["Pat2"].parameters, doses, start, end)


def test_a_window_keeps_what_is_in_force_and_what_is_left():
    doses = Doses.of(
        basal=[(0, 1.0), (50, 0.5), (300, 0.8), (900, 2.0)],
        boluses=[(20, 3.0), (90, 6.0, 60), (600, 2.0), (601, 4.0)],
        meals=[(100, 30)],
    )
    patient = simulate_cohort([subject(doses, start=120.0)], Sensor(interval_min=7)).patients[0]
    kept = patient.doses
    assert kept.basal_time_min.tolist() == [120, 300]
    assert kept.basal_U_h.tolist() == [0.5, 0.8]
    assert kept.bolus_time_min.tolist() == [120, 600]
    assert kept.bolus_U.tolist() == [3.0, 2.0]
    assert kept.bolus_duration_min.tolist() == [30, 1]
    assert len(kept.carbs_g) == 0
    with jax.enable_x64(True):
        whole = doses.inputs(120, 600).delivered(jnp.asarray([600.0]))
        clipped = kept.inputs(120, 600).delivered(jnp.asarray([600.0]))
    np.testing.assert_allclose(clipped, whole, rtol=1e-12)


def test_records_of_different_lengths_are_simulated_together():
    short = subject(Doses.of(basal=0.8), end=60.0, name="short")
    long = subject(Doses.of(basal=0.8, meals=[(31, 20)]), end=600.0, name="long")
    both = simulate_cohort([short, long], Sensor(interval_min=5))
    alone = simulate_cohort([long], Sensor(interval_min=5))
    assert both["short"].time_min.tolist() == list(range(0, 61, 5))
    assert 31 in both["long"].time_min
    assert not both["long"].valid[both["long"].time_min == 31][0]
    np.testing.assert_allclose(both.truth["long"].glucose_mg_dL, alone.truth["long"].glucose_mg_dL, rtol=1e-12)
    assert int(series(both["long"]).valid.sum()) == 121


def test_an_incomplete_subject_is_named():
    with pytest.raises(ValueError, match="b: Tr"):
        Subject("b", {k: v for k, v in presets()["Pat2"].parameters.items() if k != "Tr"}, Doses.of(), 0, 10)
    with pytest.raises(ValueError, match="window"):
        subject(Doses.of(), end=0.0)
    with pytest.raises(ValueError, match="indices"):
        simulate_cohort([subject(Doses.of())], Sensor(), indices=[])
