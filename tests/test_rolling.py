"""Forecasts of the simple methods from rolling origins: that they see nothing later, and their scores."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import integrate, stats

import t1djax
from t1djax.evaluation._baselines import _choose, _fit

HORIZONS = (15.0, 30.0, 60.0)


def person(seed: int = 0, days: float = 3.0, name: str = "Ada") -> t1djax.Patient:
    """A wandering record at 15 min with meals and boluses, gaps, and readings off the grid."""
    rng = np.random.default_rng(seed)
    n = int(96 * days)
    time = 15.0 * np.arange(n) + rng.uniform(-0.5, 0.5, n)
    glucose = 140 + 40 * np.sin(time / 200) + np.cumsum(rng.normal(0, 4, n)) * 0.5
    glucose[rng.random(n) < 0.03] = np.nan
    meals = [(t, 40.0 + 10 * rng.random(), 20.0) for t in np.arange(400.0, 1440 * days, 420.0)]
    boluses = [(t - 5, 0.1 * g, 1.0) for t, g, _ in meals] + [(700.0, 3.0, 180.0)]
    basal = [(0.0, 0.8), (600.0, 1.1), (2000.0, 0.7)]
    return t1djax.Patient(name, time, glucose, t1djax.Doses.of(basal=basal, boluses=boluses, meals=meals))


def changed_after(patient: t1djax.Patient, minute: float) -> t1djax.Patient:
    """The same record with every reading and dose after a time made another."""
    later = patient.time_min > minute
    d = patient.doses
    doses = t1djax.Doses(
        d.basal_time_min,
        np.where(d.basal_time_min >= minute, 3 * d.basal_U_h, d.basal_U_h),
        np.append(d.bolus_time_min, minute + 1),
        np.append(np.where(d.bolus_time_min >= minute, 5 + d.bolus_U, d.bolus_U), 9.0),
        np.append(d.bolus_duration_min, 7.0),
        np.append(d.meal_time_min, minute + 3),
        np.append(np.where(d.meal_time_min >= minute, 2 * d.carbs_g, d.carbs_g), 80.0),
        np.append(d.meal_duration_min, 15.0),
    )
    return dataclasses.replace(
        patient, glucose_mg_dL=np.where(later, 500 - patient.glucose_mg_dL, patient.glucose_mg_dL), doses=doses
    )


@pytest.fixture(scope="module")
def ada() -> t1djax.Patient:
    return person()


# Origins and what is read after them


def test_origins_are_real_readings_after_the_training_part(ada):
    origins = t1djax.data.rolling_origins(ada)
    seen = ada.time_min[ada.valid]
    end = seen[0] + 0.7 * (seen[-1] - seen[0])
    np.testing.assert_array_equal(origins, seen[seen > end])
    sparse = t1djax.data.rolling_origins(ada, every_min=60.0)
    assert np.diff(sparse).min() >= 60
    assert set(sparse) < set(origins)
    with pytest.raises(ValueError):
        t1djax.data.training_end(ada, share=1.5)


def test_scores_are_on_real_readings_only(ada):
    origins = t1djax.data.rolling_origins(ada)
    ahead = t1djax.data.readings_ahead(ada, origins, HORIZONS)
    for i, origin in enumerate(origins):
        for h, horizon in enumerate(HORIZONS):
            away = np.abs(ada.time_min - origin - horizon)
            best = np.argmin(np.where(ada.valid, away, np.inf))
            if ada.valid[best] and away[best] <= 2.5:
                assert ahead[i, h] == ada.glucose_mg_dL[best]
            else:
                assert np.isnan(ahead[i, h])
    assert 0 < np.isnan(ahead).mean() < 0.2


# Nothing later is seen


@pytest.mark.parametrize("method", t1djax.evaluation.BASELINES)
def test_nothing_after_an_origin_is_used(ada, method):
    end = t1djax.data.training_end(ada)
    origins = t1djax.data.rolling_origins(ada)
    whole = t1djax.baseline_forecasts(ada, method)
    for origin in origins[[3, 20, 50]]:
        other = t1djax.baseline_forecasts(
            changed_after(ada, origin), method, origin_min=origins[origins <= origin], train_until_min=end
        )
        n = len(other.origin_min)
        # To the last bit.
        np.testing.assert_array_equal(other.mean_mg_dL, whole.mean_mg_dL[:n])
        np.testing.assert_array_equal(other.sd_mg_dL, whole.sd_mg_dL[:n])
        assert np.isfinite(other.mean_mg_dL).any()


def test_a_record_that_ends_at_the_origin_gives_the_same_forecast(ada):
    end, origin = t1djax.data.training_end(ada), t1djax.data.rolling_origins(ada)[10]
    whole = t1djax.baseline_forecasts(ada, "ridge")
    upto = ada.time_min <= origin
    cut = dataclasses.replace(ada, time_min=ada.time_min[upto], glucose_mg_dL=ada.glucose_mg_dL[upto])
    alone = t1djax.baseline_forecasts(cut, "ridge", origin_min=np.array([origin]), train_until_min=end)
    np.testing.assert_array_equal(alone.mean_mg_dL[0], whole.mean_mg_dL[10])


def test_the_test_part_teaches_nothing(ada):
    end = t1djax.data.training_end(ada)
    one = t1djax.baseline_forecasts(ada, "ridge")
    other = t1djax.baseline_forecasts(changed_after(ada, end), "ridge", train_until_min=end)
    spread = lambda f: f.sd_mg_dL[np.isfinite(f.sd_mg_dL[:, 0])][0]
    np.testing.assert_array_equal(spread(one), spread(other))


def test_doses_on_record_are_used_where_declared_and_only_there(ada):
    end = t1djax.data.training_end(ada)
    origin = t1djax.data.rolling_origins(ada)[30:31]
    d = ada.doses
    more = dataclasses.replace(
        d,
        bolus_time_min=np.append(d.bolus_time_min, origin[0] + 20),
        bolus_U=np.append(d.bolus_U, 6.0),
        bolus_duration_min=np.append(d.bolus_duration_min, 1.0),
    )
    cases: list[tuple[t1djax.records.FutureInputs, bool]] = [("none", True), ("recorded", False)]
    for knows, same in cases:
        plain, dosed = (
            t1djax.baseline_forecasts(p, "ridge", origin_min=origin, train_until_min=end, future_inputs=knows)
            for p in (ada, dataclasses.replace(ada, doses=more))
        )
        equal = plain.mean_mg_dL == dosed.mean_mg_dL
        assert equal[0, 0]  # at 15 min the dose has not begun
        assert equal.all() == same
        assert plain.future_inputs == knows
    with pytest.raises(ValueError, match="recorded"):
        t1djax.baseline_forecasts(ada, "linear", future_inputs="recorded")
    with pytest.raises(ValueError):
        t1djax.baseline_forecasts(ada, "ridge", origin_min=np.array([100.0]))


# What each method says


def test_persistence_and_extrapolation_by_hand():
    time = np.array([0.0, 15.0, 30.0, 45.0, 60.0, 75.0])
    glucose = np.array([100.0, 103.0, 109.0, np.nan, 121.0, 120.0])
    patient = t1djax.Patient("Bo", time, glucose, t1djax.Doses.of(basal=1.0))
    ask = lambda method: t1djax.baseline_forecasts(
        patient, method, origin_min=np.array([30.0, 60.0]), horizon_min=(30.0, 45.0), train_until_min=30.0
    )
    held = ask("persistence")
    np.testing.assert_array_equal(held.mean_mg_dL, [[109, 109], [121, 121]])
    np.testing.assert_array_equal(held.observed_mg_dL, [[121, 120], [np.nan, np.nan]])
    assert held.sd_mg_dL[0, 0] == pytest.approx(9)  # 0 to 30 min is the one pair of the training part
    assert math.isnan(held.sd_mg_dL[0, 1])
    # At 60 min the reading 15 min before is missing: on the line from 109 to 121 it is 115.
    np.testing.assert_allclose(ask("linear").mean_mg_dL, [[109 + 12, 109 + 18], [121 + 12, 121 + 18]])


def test_the_ridge_solves_its_normal_equations():
    rng = np.random.default_rng(1)
    x = rng.normal(3, (1, 5, 0.1), (60, 3))
    y = x @ [1.0, -0.2, 4.0] + rng.normal(0, 0.3, 60)
    penalty = 7.0
    z = (x - x.mean(0)) / x.std(0)
    # The same as least squares with sqrt(penalty) I below.
    rows = np.vstack([np.c_[np.ones(60), z], np.c_[np.zeros((3, 1)), np.sqrt(penalty) * np.eye(3)]])
    wanted = np.linalg.lstsq(rows, np.append(y, np.zeros(3)))[0]
    np.testing.assert_allclose(_fit(x, y)(x, penalty), np.c_[np.ones(60), z] @ wanted)


def test_the_autoregression_knows_readings_alone(ada):
    one = t1djax.baseline_forecasts(ada, "autoregression")
    fasting = dataclasses.replace(ada, doses=t1djax.Doses.of(basal=0.1))
    np.testing.assert_array_equal(one.mean_mg_dL, t1djax.baseline_forecasts(fasting, "autoregression").mean_mg_dL)
    assert not np.array_equal(one.mean_mg_dL, t1djax.baseline_forecasts(ada, "ridge").mean_mg_dL)


def test_the_pooled_autoregression_is_least_squares_over_other_people():
    """Two others who follow one rule: the person, whose own training part follows another, is forecast by theirs."""

    def follows(name: str, seed: int, first: float, second: float) -> t1djax.Patient:
        rng, g = np.random.default_rng(seed), [150.0, 150.0]
        for _ in range(600):
            g.append(150 + first * (g[-1] - 150) + second * (g[-2] - 150) + rng.normal(0, 4))
        return t1djax.Patient(name, 5.0 * np.arange(len(g)), np.array(g), t1djax.Doses.of(basal=1.0))

    own, others = follows("Ada", 1, 0.2, 0.0), [follows("Ben", 2, 1.5, -0.6), follows("Cem", 3, 1.5, -0.6)]
    slow = dataclasses.replace(others[0], name="Dee", time_min=3 * others[0].time_min)  # another sensor's step
    pooled = t1djax.evaluation.pooled_forecasts(own, [own, *others, slow], horizon_min=(5.0,))
    at = np.searchsorted(own.time_min, pooled.origin_min)
    g = own.glucose_mg_dL - 150
    wanted = 150 + 1.5 * g[at] - 0.6 * g[at - 1]
    assert np.sqrt(np.mean((pooled.mean_mg_dL[:, 0] - wanted) ** 2)) < 1.0
    part = own.time_min <= t1djax.data.training_end(own)
    miss = (1.5 * g[1:-1] - 0.6 * g[:-2] - g[2:])[part[2:]]
    assert pooled.sd_mg_dL[0, 0] == pytest.approx(np.sqrt(np.mean(miss**2)), rel=0.05)
    with pytest.raises(ValueError):
        t1djax.evaluation.pooled_forecasts(own, [own, slow])


def test_a_column_that_never_varies_does_no_harm():
    rng = np.random.default_rng(2)
    x, y = rng.normal(0, 1, (40, 2)), rng.normal(0, 1, 40)
    constant = np.c_[x, np.full(40, 0.3)]
    np.testing.assert_allclose(_fit(constant, y)(constant + np.array([0, 0, 1e6]), 1.0), _fit(x, y)(x, 1.0))


def test_cross_validation_finds_a_small_penalty_for_signal_and_a_large_one_for_noise():
    rng = np.random.default_rng(3)
    x, time = rng.normal(0, 1, (200, 10)), 15.0 * np.arange(200)
    signal, error = _choose(x, x @ np.ones(10) + rng.normal(0, 0.1, 200), time, 30.0)
    noise, _ = _choose(x, rng.normal(0, 1, 200), time, 30.0)
    assert signal < 10 < noise
    assert error == pytest.approx(0.1, rel=0.2)


def test_the_ridge_learns_what_doses_do():
    """A record that is driven by its doses alone: persistence cannot know, the ridge can."""
    time = 5.0 * np.arange(2000)
    rng = np.random.default_rng(5)
    meals = [(float(t), float(rng.uniform(20, 80)), 1.0) for t in np.sort(rng.choice(time, 120, replace=False))]
    glucose = np.full(time.shape, 120.0)
    for start, carbs, _ in meals:
        after = np.clip(time - start - 1, 0, None)
        glucose += carbs * after / 30 * np.exp(-after / 30)
    patient = t1djax.Patient("Cy", time, glucose, t1djax.Doses.of(basal=1.0, meals=meals))
    rmse = {}
    for method in ("persistence", "ridge"):
        f = t1djax.baseline_forecasts(patient, method, horizon_min=(15.0,))
        begins = np.array([start for start, _, _ in meals]) - f.origin_min[:, None]
        foreseen = ~((begins > -1) & (begins < 15)).any(axis=1)
        rmse[method] = np.sqrt(np.nanmean((f.mean_mg_dL - f.observed_mg_dL)[foreseen] ** 2))
    assert rmse["ridge"] < 0.5 * rmse["persistence"]


def test_too_short_a_record_is_refused(ada):
    with pytest.raises(ValueError):
        t1djax.baseline_forecasts(ada, "ridge", train_until_min=200.0)
    with pytest.raises(ValueError):
        t1djax.baseline_forecasts(ada, "persistence", train_until_min=-10.0)


# Scores


def made(mean, sd, observed, **change) -> t1djax.records.RollingForecasts:
    column = lambda x: np.asarray(x, dtype=float)[:, None]
    record = t1djax.records.RollingForecasts("Ada", "mine", "none", 10.0 * np.arange(len(mean)), np.array([30.0]),
                                     column(mean), column(sd), column(observed))  # fmt: skip
    return dataclasses.replace(record, **change)


def test_scores_by_hand():
    forecasts = made([60, 65, 80, 100, 300], [10, 10, 10, np.nan, 5], [65, 75, 60, 110, np.nan])
    row = t1djax.score_forecasts(forecasts).set_index("range").loc["all"]
    assert row["n"] == 4
    assert row["rmse_mg_dL"] == pytest.approx(math.sqrt((25 + 100 + 400 + 100) / 4))
    assert row["bias_mg_dL"] == pytest.approx((-5 - 10 + 20 - 10) / 4)
    # Inside 0.674 sd: one of the three with an sd; inside 1.645 sd: two.
    assert row["coverage_50_percent"] == pytest.approx(100 / 3)
    assert row["coverage_90_percent"] == pytest.approx(200 / 3)
    assert (row["hypo_n"], row["alarms"]) == (2, 2)
    assert row["hypo_sensitivity_percent"] == 50
    assert row["hypo_false_alarm_percent"] == 50
    assert row["hypo_false_positive_percent"] == 50
    # At 80 with an sd of 10 there is a chance of 15.9 % below 70.
    for probability, alarms in ((0.15, 3), (0.17, 2)):
        told = t1djax.score_forecasts(forecasts, alarm_probability=probability)
        assert told.loc[told["range"] == "all", "alarms"].tolist() == [alarms]
    with pytest.raises(ValueError):
        t1djax.score_forecasts(forecasts, alarm_probability=2.0)


def test_methods_are_scored_on_what_all_forecast():
    easy = made([100, np.nan, 100], [1, 1, 1], [101, 150, 101], method="easy")
    hard = made([100, 100, 100], [1, 1, 1], [101, 150, 101], method="hard")
    table = t1djax.score_forecasts([easy, hard])
    assert table.loc[table["range"] == "all", "n"].tolist() == [2, 2]
    apart = t1djax.score_forecasts([easy, hard], common=False)
    assert apart.loc[apart["range"] == "all", "n"].tolist() == [2, 3]
    other = dataclasses.replace(hard, name="Bo")  # another person's forecasts have no say
    both = t1djax.score_forecasts([easy, other])
    assert both.loc[both["range"] == "all", "n"].tolist() == [2, 3]


@pytest.mark.parametrize(("mean", "sd", "observed"), [(100, 10, 100), (100, 10, 125), (80, 30, 20), (5, 0.5, 7)])
def test_crps_is_its_integral(mean, sd, observed):
    """CRPS is the integral of (F(x) - [x >= observed])^2."""
    below, _ = integrate.quad(lambda x: stats.norm.cdf(x, mean, sd) ** 2, mean - 12 * sd - 100, observed)
    above, _ = integrate.quad(lambda x: stats.norm.sf(x, mean, sd) ** 2, observed, mean + 12 * sd + 100)
    found = t1djax.evaluation.gaussian_crps(np.array([float(mean)]), np.array([float(sd)]), np.array([float(observed)]))
    assert found[0] == pytest.approx(below + above, rel=1e-5)


def test_crps_of_a_certain_forecast_is_its_error():
    found = t1djax.evaluation.gaussian_crps(np.array([100.0, 1.0]), np.array([0.0, np.nan]), np.array([93.0, 1.0]))
    np.testing.assert_array_equal(found, [7.0, np.nan])


def test_calibrated_forecasts_are_found_to_be_so():
    rng = np.random.default_rng(0)
    mean, sd = rng.uniform(80, 200, 20_000), rng.uniform(5, 30, 20_000)
    table = t1djax.score_forecasts(made(mean, sd, rng.normal(mean, sd)))
    row = table.set_index("range").loc["all"]
    assert row["coverage_50_percent"] == pytest.approx(50, abs=1.2)
    assert row["coverage_90_percent"] == pytest.approx(90, abs=0.8)


# Real people

_RIDGE = {"0022": (15.0, 19.5), "0002": (16.9, 31.8)}
_PERSISTENCE = {"0022": (15.9, 21.7), "0002": (21.2, 37.2)}


@pytest.mark.filterwarnings("ignore:.*meals are of exactly 1 g:t1djax.DataWarning")
@pytest.mark.parametrize("who", _RIDGE)
def test_real_people_are_forecast_as_well_as_known(shared, who):
    """Root mean square errors at 30 and 60 min of a study apart from this package, trained on the first 70 %."""
    patient = t1djax.io.read_hupa(shared / "data" / "hupa_ucm" / f"HUPA{who}P.csv", carbs_unit="g")
    cases: list[tuple[t1djax.evaluation.BaselineMethod, tuple[float, float]]] = [
        ("persistence", _PERSISTENCE[who]),
        ("ridge", _RIDGE[who]),
    ]
    for method, known in cases:
        table = t1djax.score_forecasts(t1djax.baseline_forecasts(patient, method, horizon_min=(30.0, 60.0)))
        found = table.loc[table["range"] == "all", "rmse_mg_dL"].tolist()
        # The study's inputs may count what begins at the origin; its ridge then knows a little more.
        assert found == pytest.approx(known, rel=0.005 if method == "persistence" else 0.035)
        inside = table.loc[table["range"] == "all", "coverage_90_percent"]
        assert inside.between(85, 96).all()


def test_readings_drawn_across_gaps_flatter_a_forecast(shared):
    """One person has gaps of hours that the file fills with straight lines.

    Scored on them as well, persistence comes to the errors that are elsewhere given for this person.
    """
    file = shared / "data" / "hupa_ucm" / "HUPA0004P.csv"
    real, drawn = (t1djax.io.read_hupa(file, carbs_unit="g", keep_interpolated=keep) for keep in (False, True))
    phase = real.time_min[real.valid][0] % 15
    every_15 = np.where(drawn.time_min % 15 == phase, drawn.glucose_mg_dL, np.nan)
    rmse = {}
    for name, patient in (("real", real), ("drawn", dataclasses.replace(drawn, glucose_mg_dL=every_15))):
        f = t1djax.baseline_forecasts(patient, "persistence", horizon_min=(30.0, 60.0))
        rmse[name] = np.sqrt(np.nanmean((f.mean_mg_dL - f.observed_mg_dL) ** 2, axis=0))
    np.testing.assert_allclose(rmse["drawn"], (26.4, 46.1), rtol=0.01)
    assert np.all(rmse["real"] > 1.2 * rmse["drawn"])


# Hypoglycaemic events


def low_at(*starts: float) -> t1djax.Patient:
    """A day at 5 min: 100 mg/dL, and 60 for half an hour from each start."""
    time = 5.0 * np.arange(288)
    glucose = np.full(time.shape, 100.0)
    for start in starts:
        glucose[(time >= start) & (time < start + 30)] = 60.0
    return t1djax.Patient("Ada", time, glucose, t1djax.Doses.of(basal=1.0))


def test_events_are_counted_with_their_alarms_and_leads():
    """Alarms by hand: one 20 min before the first event, one for nothing, none for the second event."""
    ada = low_at(600.0, 1000.0)
    found = t1djax.evaluation.hypoglycaemic_events(ada)
    assert found.start_min.tolist() == [600.0, 1000.0]
    assert found.end_min.tolist() == [630.0, 1030.0]
    mean = np.full((288, 1), 100.0)
    mean[(ada.time_min >= 580) & (ada.time_min < 600)] = 65.0
    mean[ada.time_min == 300] = 65.0
    forecasts = t1djax.records.RollingForecasts(
        "Ada", "mine", "none", ada.time_min, np.array([30.0]), mean, np.full((288, 1), 10.0), np.full((288, 1), 100.0)
    )
    row = t1djax.evaluation.score_events(forecasts, ada).iloc[0]
    assert (row["events"], row["recall_percent"], row["false_alarms_per_day"], row["lead_min"]) == (2, 50.0, 1.0, 20.0)
    careful = t1djax.evaluation.score_events(forecasts, ada, alarm_probability=0.9).iloc[0]
    assert (careful["recall_percent"], careful["false_alarms_per_day"]) == (0.0, 0.0)


def test_two_low_readings_are_no_event():
    ada = low_at()
    brief = dataclasses.replace(ada, glucose_mg_dL=np.where(ada.time_min == 500, 60.0, ada.glucose_mg_dL))
    assert len(t1djax.evaluation.hypoglycaemic_events(brief).start_min) == 0
    twice = low_at(600.0, 640.0)  # ten minutes above between: one event
    assert t1djax.evaluation.hypoglycaemic_events(twice).end_min.tolist() == [670.0]
