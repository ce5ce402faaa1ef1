"""The neural correction: nothing without training, nothing after the origin, nobody's own record, and a known miss."""

import dataclasses
import datetime as dt

import jax
import numpy as np
import pytest

import t1djax
from t1djax.statespace._known import known_at_origins

HORIZONS = (30.0, 60.0)
OPTIONS = t1djax.statespace.DiscrepancyOptions(
    width=6, most_sd=1.0, steps=60, every=20, learning_rate=0.03, weight_decay=0.01, settle_min=0.0
)
STEP = 15.0


def person(name: str, *, seed: int, n: int = 160) -> t1djax.Patient:
    """A walk of readings with gaps, and doses that have nothing to do with it."""
    rng = np.random.default_rng(seed)
    glucose = 150 + np.cumsum(rng.normal(0, 5, n))
    glucose[rng.choice(n, 6, replace=False)] = np.nan
    meals = [(float(t), float(rng.uniform(20, 80))) for t in np.sort(rng.choice(int(STEP * n), 8, replace=False))]
    doses = t1djax.Doses.of(basal=1.0, boluses=[(t, g / 10) for t, g in meals], meals=meals)
    return t1djax.Patient(name, STEP * np.arange(n), glucose, doses, start=dt.datetime(2024, 1, 1, 6))


def forecasts_of(patient: t1djax.Patient, *, origins: np.ndarray | None = None, learnable: bool = True):
    """Persistence from every reading; what is then read lies half a standard deviation higher where it rises now."""
    origins = t1djax.data.rolling_origins(patient, after_min=60.0) if origins is None else origins
    now = np.interp(origins, patient.time_min[patient.valid], patient.glucose_mg_dL[patient.valid])
    shape = (len(origins), len(HORIZONS))
    mean, sd = np.repeat(now[:, None], shape[1], axis=1), np.full(shape, 20.0)
    rising = known_at_origins(empty(patient, origins, mean, sd), patient)[:, [1]] < 0
    ahead = t1djax.data.readings_ahead(patient, origins, HORIZONS)
    # The miss is put into the forecast, not into the record.
    mean = ahead - np.where(rising, 10.0, -10.0) if learnable else mean
    return empty(patient, origins, np.where(np.isnan(mean), now[:, None], mean), sd)


def empty(patient, origins, mean, sd) -> t1djax.records.RollingForecasts:
    ahead = t1djax.data.readings_ahead(patient, origins, HORIZONS)
    return t1djax.records.RollingForecasts(
        patient.name, "stochastic", "none", origins, np.asarray(HORIZONS), mean, sd, ahead
    )


@pytest.fixture(scope="module")
def people() -> list[t1djax.Patient]:
    return [person(f"D{i}", seed=i) for i in range(3)]


@pytest.fixture(scope="module")
def learnt(people) -> t1djax.statespace.Discrepancy:
    return t1djax.statespace.fit_discrepancy(
        [forecasts_of(p) for p in people[:2]], people[:2], options=OPTIONS, key=jax.random.key(0)
    )


def rmse(forecasts: t1djax.records.RollingForecasts, after: float = 0.0) -> float:
    miss = forecasts.mean_mg_dL - forecasts.observed_mg_dL
    return float(np.sqrt(np.nanmean(miss[forecasts.origin_min > after] ** 2)))


def test_a_known_miss_is_learnt_for_a_person_never_seen(people, learnt):
    before = forecasts_of(people[2])
    after = learnt.correct(before, people[2])
    assert learnt.people == ("D0", "D1")
    assert learnt.steps > 0
    assert learnt.held_out.argmin() == learnt.steps / OPTIONS.every
    assert rmse(after) < 0.6 * rmse(before)
    assert after.method == "stochastic+network"
    assert after.sd_mg_dL is before.sd_mg_dL
    assert np.all(np.abs(after.mean_mg_dL - before.mean_mg_dL) <= OPTIONS.most_sd * before.sd_mg_dL)


def test_no_training_is_no_change(people):
    each = [forecasts_of(p) for p in people]
    none = t1djax.statespace.fit_discrepancy(each, people, options=OPTIONS._replace(steps=0), key=jax.random.key(1))
    assert none.steps == 0
    assert np.array_equal(none.correct(each[0], people[0]).mean_mg_dL, each[0].mean_mg_dL)


def test_where_people_contradict_each_other_nothing_is_learnt(people):
    """What is right for one is wrong for the other: every step does harm to who is held out."""
    one, other = (forecasts_of(p) for p in people[:2])
    miss = np.where(np.isnan(other.observed_mg_dL), 0.0, other.observed_mg_dL - other.mean_mg_dL)
    opposite = dataclasses.replace(other, mean_mg_dL=other.mean_mg_dL + 2 * miss)
    found = t1djax.statespace.fit_discrepancy([one, opposite], people[:2], options=OPTIONS, key=jax.random.key(0))
    assert found.steps == 0
    assert np.array_equal(found.correct(one, people[0]).mean_mg_dL, one.mean_mg_dL)


def changed_after(patient: t1djax.Patient, time: float) -> t1djax.Patient:
    """Every later reading is another; doses and meals from this very minute on are."""
    rng = np.random.default_rng(9)
    doses, glucose = patient.doses, patient.glucose_mg_dL
    return dataclasses.replace(
        patient,
        glucose_mg_dL=np.where(patient.time_min > time, rng.uniform(60, 300, len(glucose)), glucose),
        doses=dataclasses.replace(
            doses,
            bolus_U=np.where(doses.bolus_time_min >= time, 3.3, doses.bolus_U),
            bolus_duration_min=np.where(doses.bolus_time_min >= time, 47.0, doses.bolus_duration_min),
            carbs_g=np.where(doses.meal_time_min >= time, 77.0, doses.carbs_g),
            basal_time_min=np.append(doses.basal_time_min, time),
            basal_U_h=np.append(doses.basal_U_h, 2.2),
        ),
    )


def test_nothing_after_the_origin_counts(people, learnt):
    patient = people[2]
    origin = t1djax.data.rolling_origins(patient, after_min=600.0)[[40]]
    other = changed_after(patient, float(origin[0]))
    before = forecasts_of(patient, origins=origin, learnable=False)
    later = forecasts_of(other, origins=origin, learnable=False)
    assert np.array_equal(before.mean_mg_dL, later.mean_mg_dL)
    one, two = learnt.correct(before, patient), learnt.correct(later, other)
    assert not np.array_equal(one.mean_mg_dL, before.mean_mg_dL)
    assert np.array_equal(one.mean_mg_dL, two.mean_mg_dL)
    assert not np.array_equal(one.observed_mg_dL, two.observed_mg_dL)
    # Up to the origin they do count.
    early = changed_after(patient, float(origin[0]) - 60)
    assert not np.array_equal(learnt.correct(before, early).mean_mg_dL, one.mean_mg_dL)


def test_nothing_after_the_training_part_is_learnt(people, learnt):
    """Readings, doses and forecasts of the rest are others: the same correction, to the last bit."""
    ends = [t1djax.data.training_end(p) for p in people[:2]]
    changed = [changed_after(p, end + 1e-6) for p, end in zip(people, ends, strict=False)]
    each = []
    for p, end in zip(people[:2], ends, strict=True):
        f = forecasts_of(p)
        mean = np.where(f.origin_min[:, None] > end, 40.0, f.mean_mg_dL)
        each.append(dataclasses.replace(f, mean_mg_dL=mean, observed_mg_dL=np.full(mean.shape, 77.0)))
    again = t1djax.statespace.fit_discrepancy(each, changed, options=OPTIONS, key=jax.random.key(0))
    assert np.array_equal(again.held_out, learnt.held_out)
    assert jax.tree.all(jax.tree.map(np.array_equal, again.network, learnt.network))
    assert np.array_equal(again.centre, learnt.centre)
    assert np.array_equal(again.scale, learnt.scale)


def test_columns_by_hand():
    doses = t1djax.Doses.of(basal=1.2, boluses=[(50.0, 4.0), (120.0, 9.0)], meals=[(100.0, 25.0), (120.0, 60.0)])
    time = np.arange(0.0, 150.0, 15.0)
    patient = t1djax.Patient("Ada", time, 100 + time, doses, start=dt.datetime(2024, 1, 1, 4))
    origin = np.array([120.0])
    columns = lambda p: known_at_origins(empty(p, origin, np.array([[226.0, 235.0]]), np.full((1, 2), 30.0)), p)[0]
    x = columns(patient)
    daily = (40 + 2.4 + 4.0) / (1 + 120 / 1440)
    # In the two hours before 0 min no basal is on record; from 120 to 60 min before there was the bolus.
    insulin = 10 / daily * np.array([0.0, 1.2 + 4.0, 0.6, 0.6])
    wanted = [0.8, *(-np.array([15, 30, 45, 60, 90]) / 30), 0.2, 0.5, 0, 0, *insulin, 0, 0, 0, 0.5, 1, 0]
    np.testing.assert_allclose(x, wanted, atol=1e-12)
    # No clock says nothing of the time of day.
    bare = dataclasses.replace(patient, start=None)
    assert not known_at_origins(empty(bare, origin, np.array([[226.0, 235.0]]), np.full((1, 2), 30.0)), bare)[
        0, -2:
    ].any()


def test_people_are_split_and_never_their_readings():
    names = [f"P{i}" for i in range(7)]
    folds = t1djax.statespace.people_split(names, 3)
    assert sorted(n for fold in folds for n in fold.unseen) == names
    assert all(set(fold.train) | set(fold.unseen) == set(names) for fold in folds)
    assert not any(set(fold.train) & set(fold.unseen) for fold in folds)
    assert [fold.unseen for fold in t1djax.statespace.people_split(names)] == [(n,) for n in names]


def test_what_cannot_be_learnt_or_corrected_is_refused(people, learnt):
    each, key = [forecasts_of(p) for p in people], jax.random.key(0)
    with pytest.raises(ValueError):
        t1djax.statespace.fit_discrepancy(each[:1], people[:1], key=key)
    with pytest.raises(ValueError, match=r"D0.*D1"):
        t1djax.statespace.fit_discrepancy(each[:2], people[1::-1], key=key)
    rest = forecasts_of(people[0], origins=t1djax.data.rolling_origins(people[0]))
    with pytest.raises(ValueError):
        t1djax.statespace.fit_discrepancy([rest, each[1]], people[:2], key=key)
    with pytest.raises(ValueError):
        learnt.correct(dataclasses.replace(each[2], future_inputs="recorded"), people[2])
    with pytest.raises(ValueError, match="D1"):
        learnt.correct(each[2], people[1])
    with pytest.raises(ValueError):
        t1djax.statespace.people_split(["A", "A"])
    with pytest.raises(ValueError):
        t1djax.statespace.people_split(["A", "B"], 1)
