"""Virtual people: distinct, reproducible, physiological, and worth identifying."""

import dataclasses
import datetime as dt

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from t1djax.data import (
    POPULATION,
    Sensor,
    Subject,
    Therapy,
    WhiteNoise,
    draw_people,
    simulate_cohort,
    virtual_population,
)
from t1djax.data._titration import titrate
from t1djax.physics import (
    PARAMETERS,
    Doses,
    Hovorka,
    Kanderian,
    Magdelaine,
    NoRestError,
    kanderian,
    presets,
    settings,
    simulate,
    state_columns,
)

KEY = jax.random.key(11)
N = 300


@pytest.fixture(scope="module")
def cohort():
    return virtual_population(N, key=KEY)


@pytest.fixture(scope="module")
def glucose(cohort):
    return np.array([truth.glucose_mg_dL for truth in cohort.truth.values()])


def column(cohort, symbol):
    return np.array([truth.parameters[symbol] for truth in cohort.truth.values()])


def model(truth):
    return Magdelaine(**{f.name: truth.parameters[f.name] for f in dataclasses.fields(Magdelaine)})


def test_glucose_stays_where_people_live(glucose):
    assert glucose.shape == (N, 577)
    inside = (glucose >= 40) & (glucose <= 400)
    assert inside.mean() > 0.999
    assert inside.mean(axis=1).min() > 0.9
    assert glucose.min() > 0


def test_glucose_moves_as_it_does_in_life(glucose):
    assert 120 < glucose.mean() < 180
    assert np.mean(np.ptp(glucose, axis=1) > 60) > 0.8
    assert_varies(glucose)


def assert_varies(glucose):
    """As real records do: coefficient of variation, time low, very low and in range."""
    assert 0.25 < np.median(glucose.std(axis=1) / glucose.mean(axis=1)) < 0.4
    assert 0.01 < np.mean(glucose < 70) < 0.04
    assert np.mean(glucose < 54) < 0.005
    assert 0.55 < np.mean((glucose >= 70) & (glucose <= 180)) < 0.9


def test_traits_stay_within_their_bounds_and_have_their_means(cohort):
    for symbol in ("M", "ksi", "Tu", "ku_Vi", "Tr", "kr_Vb", "G0"):
        prior, x = POPULATION[symbol], column(cohort, symbol)
        assert x.min() >= prior.low
        assert x.max() <= prior.high
        assert abs(x.mean() - prior.mean) < 0.35 * prior.sd, symbol
        assert prior.unit == PARAMETERS[symbol].unit
    kl, kb, M = (column(cohort, symbol) for symbol in ("kl", "kb", "M"))
    np.testing.assert_allclose(kb, 128 / M, rtol=1e-12)
    assert (kl > kb).all()
    assert 1.4 < np.quantile(kl, 0.05) < np.quantile(kl, 0.95) < 2.2


@pytest.mark.parametrize("symbol", ["ksi", "ku_Vi", "Tr"])
def test_priors_are_truncated_normal_and_log_normal(cohort, symbol):
    prior = POPULATION[symbol]
    if prior.log_normal:
        s = np.sqrt(np.log1p((prior.sd / prior.mean) ** 2))
        parent = stats.lognorm(s, scale=prior.mean / np.exp(s**2 / 2))
    else:
        parent = stats.norm(prior.mean, prior.sd)
    low, high = parent.cdf(prior.low), parent.cdf(prior.high)
    truncated = lambda x: (parent.cdf(x) - low) / (high - low)
    assert stats.kstest(column(cohort, symbol), truncated).pvalue > 1e-3


def test_therapy_is_titrated_to_the_patient(cohort):
    basal = np.array([p.doses.basal_U_h[0] for p in cohort])
    equilibrium = np.array([float(model(t).equilibrium_basal_U_h) for t in cohort.truth.values()])
    step = Therapy().basal_step_U_h
    assert np.abs(basal - equilibrium).max() < step / 2 + 2 * Therapy().basal_cv * equilibrium.max() + 1e-6
    np.testing.assert_allclose(basal / step, np.round(basal / step), atol=1e-9)
    assert basal.min() >= 0.25
    assert basal.max() <= 2.9
    bolus = np.array([p.doses.bolus_U.sum() / 2 for p in cohort])
    tdd = 24 * basal + bolus
    assert 25 < np.quantile(tdd, 0.05) < np.quantile(tdd, 0.95) < 110
    assert 0.3 < np.median(24 * basal / tdd) < 0.6


def test_people_eat_and_dose_apart_and_enough(cohort):
    apart = []
    for patient in cohort:
        d = patient.doses
        assert len(d.bolus_U) >= 2
        assert len(d.carbs_g) >= 3
        assert np.all(d.bolus_U > 0)
        np.testing.assert_allclose(d.bolus_U / 0.05, np.round(d.bolus_U / 0.05), atol=1e-9)
        assert np.array_equal(d.carbs_g, np.round(d.carbs_g))
        for times in (d.bolus_time_min, d.meal_time_min):
            assert np.all(np.diff(times) > 0)
            assert np.isin(times, patient.time_min).all()
        apart.append(np.mean(~np.isin(d.bolus_time_min, d.meal_time_min)))
    assert np.mean(apart) > 0.3
    assert np.mean([np.any(p.doses.bolus_duration_min > 1) for p in cohort]) > 0.05


def test_what_is_delivered_is_the_dose(cohort):
    with jax.enable_x64(True):
        for patient in cohort.patients[:30]:
            d = patient.doses
            rates = d.inputs(0.0, 4000.0)
            width = np.diff(np.append(rates.break_min, 4000.0))
            insulin = np.sum(width * np.asarray(rates.insulin_U_min))
            np.testing.assert_allclose(insulin, d.bolus_U.sum() + d.basal_U_h[0] * 4000 / 60, rtol=1e-12)
            np.testing.assert_allclose(
                np.sum(width * np.asarray(rates.carbs_mg_min)) / 1000, d.carbs_g.sum(), rtol=1e-12
            )


def test_truth_is_what_an_ode_solver_finds_for_the_doses(cohort):
    solve = jax.jit(lambda p, inputs, ts, G0: simulate(p, inputs, ts, G0=G0).glucose_mg_dL)
    with jax.enable_x64(True):
        for name in ("V0001", "V0150", "V0300"):
            patient, truth = cohort[name], cohort.truth[name]
            inputs = patient.doses.inputs(0, 2880).pad(128)
            solved = solve(model(truth), inputs, jnp.asarray(patient.time_min), truth.parameters["G0"])
            np.testing.assert_allclose(truth.glucose_mg_dL, solved, atol=2e-3)
            assert truth.states["insulin_U_dL"][0] == float(model(truth).equilibrium_insulin)


@pytest.mark.slow
def test_truth_holds_where_a_body_is_fast():
    """Somebody drawn of Hovorka's: under meal insulin glucose changes pools at 3/min, where long steps fall apart."""
    values = {
        "M": 82.79, "EGP0": 0.01758, "F01": 0.01245, "k12": 0.06362, "ka1": 0.006495, "ka2": 0.04084, "ka3": 0.06366,
        "SI1": 0.009117, "SI2": 2.652e-05, "SI3": 0.02246, "ke": 0.09847, "VI": 0.1301, "tau_G": 69.4, "VG": 0.02309,
        "tau_I": 44.68, "AG": 1.152, "G0": 157.2,
    }  # fmt: skip
    doses = Doses.of(basal=0.8, boluses=[(480, 15), (780, 25), (1150, 20)], meals=[(480, 60), (780, 80), (1150, 90)])
    subject = Subject("fast", values, doses, 0.0, 1440.0, None, Hovorka)
    truth = simulate_cohort([subject], Sensor(interval_min=5)).truth["fast"]
    with jax.enable_x64(True):
        p = Hovorka.of({s: jnp.asarray(x) for s, x in values.items()})
        y0 = p.start(jnp.asarray(157.2), jnp.asarray(0.8 / 60))
        solved = simulate(p, doses.inputs(0, 1440), jnp.arange(0.0, 1441.0, 5.0), y0=y0, max_steps=20000)
    assert bool(solved.ok)
    np.testing.assert_allclose(truth.glucose_mg_dL, solved.glucose_mg_dL, atol=0.5)


def test_sensitivity_is_identifiable(cohort):
    """Cramer-Rao bound of ksi alone, white noise of 10 mg/dL on 5-min samples, by central differences."""
    ends = []
    for factor in (1 + 1e-5, 1 - 1e-5):
        moved = [Subject(p.name, p.known | {"ksi": p.known["ksi"] * factor}, p.doses, 0.0, 2880.0) for p in cohort]
        ends.append([t.glucose_mg_dL for t in simulate_cohort(moved, Sensor(interval_min=5)).truth.values()])
    slope = (np.array(ends[0]) - np.array(ends[1])) / 2e-5  # mg/dL per relative change of ksi
    bound = 100 * 10 / np.sqrt(np.sum(slope**2, axis=1))
    assert bound.max() < 0.3
    assert np.median(bound) < 0.15


def test_people_are_distinct_and_do_not_depend_on_how_many_there_are(cohort):
    ksi = column(cohort, "ksi")
    assert len(np.unique(ksi)) == N
    assert len({tuple(p.doses.bolus_U) for p in cohort}) == N
    few = virtual_population(3, key=KEY)
    assert few.names == ("V0001", "V0002", "V0003")
    for patient in few:
        same = cohort[patient.name]
        assert few.truth[patient.name].parameters == cohort.truth[patient.name].parameters
        for field in dataclasses.fields(patient.doses):
            assert np.array_equal(getattr(patient.doses, field.name), getattr(same.doses, field.name)), field.name
        np.testing.assert_allclose(patient.glucose_mg_dL, same.glucose_mg_dL, rtol=1e-11)
    other = virtual_population(3, key=jax.random.key(12))
    assert other.truth["V0001"].parameters["ksi"] != few.truth["V0001"].parameters["ksi"]


@pytest.mark.slow
def test_more_days_begin_with_the_same_days(cohort):
    week = virtual_population(2, key=KEY, days=5)
    for patient in week:
        early = patient.doses.bolus_time_min < 2880
        assert np.array_equal(patient.doses.bolus_U[early], cohort[patient.name].doses.bolus_U)
        assert patient.time_min[-1] == 5 * 1440


def test_the_sensor_changes_readings_and_nothing_else(cohort):
    noisy = virtual_population(5, key=KEY, interval_min=7, noise=WhiteNoise(10.0), dropout=0.1, censor=True)
    for patient in noisy:
        same = cohort[patient.name]
        assert np.array_equal(patient.doses.bolus_U, same.doses.bolus_U)
        assert noisy.truth[patient.name].parameters == cohort.truth[patient.name].parameters
        assert set(same.known) - set(patient.known) == {"G0"}
        e = (patient.glucose_mg_dL - noisy.truth[patient.name].glucose_mg_dL)[patient.valid]
        assert 7 < e.std() < 13


def test_days_begin_at_the_clock(cohort):
    start = dt.datetime(2026, 3, 1, 6, 0)
    later = virtual_population(1, key=KEY, start=start)["V0001"]
    assert later.start == start
    midnight = cohort["V0001"]
    assert np.array_equal(later.doses.carbs_g[:1], midnight.doses.carbs_g[:1])
    assert later.doses.meal_time_min[0] == midnight.doses.meal_time_min[0] - 360


def test_habits_are_an_option(cohort):
    careless = virtual_population(60, key=KEY, therapy=Therapy(missed_bolus=0.7, high_mg_dL=300.0))
    count = lambda c: np.mean([len(p.doses.bolus_U) for p in c.patients[:60]])
    assert count(careless) < 0.8 * count(cohort)


def test_nobody_and_no_time_are_refused():
    for n, days in ((0, 2), (2, 0)):
        with pytest.raises(ValueError):
            virtual_population(n, key=KEY, days=days)


@pytest.mark.slow
@pytest.mark.parametrize("physiology", [Kanderian, Hovorka])
def test_people_of_other_bodies_live_as_people_do(physiology):
    cohort = virtual_population(40, key=KEY, physiology=physiology.__name__.lower(), noise=WhiteNoise(10.0))
    glucose = np.array([truth.glucose_mg_dL[::5] for truth in (cohort.truth[name] for name in cohort.names)])
    assert np.mean((glucose >= 40) & (glucose <= 400)) > 0.97
    assert_varies(glucose)
    assert all(set(p.known) == set(physiology.parameters) - {"G0"} for p in cohort)
    assert all(set(t.states) == set(state_columns(physiology.States)) for t in cohort.truth.values())


def test_people_drawn_again_are_counted_and_the_same_whatever_the_number():
    few, more = (draw_people(Kanderian, n, key=KEY) for n in (5, 40))
    assert 0 < few.rejected < more.rejected
    assert all(np.array_equal(values, more.values[symbol][:5]) for symbol, values in few.values.items())
    with jax.enable_x64(True):
        everyone = Kanderian.of({s: jnp.asarray(x) for s, x in more.values.items()})
        found = jax.device_get(jax.jit(jax.vmap(lambda p: settings(p, jnp.asarray(110.0))))(everyone))
    for name, (low, high) in (("basal_U_h", (0.2, 3)), ("fall_per_U", (10, 200)), ("g_per_U", (3, 30))):
        assert np.all((getattr(found, name) >= low) & (getattr(found, name) <= high)), name


def test_given_people_keep_their_bodies():
    cohort = virtual_population(10, key=KEY, bodies=kanderian())
    assert cohort.names == tuple(kanderian())
    assert {n: cohort[n].known["SI"] for n in cohort.names} == {n: float(p.SI) for n, p in kanderian().items()}
    basal = {n: cohort[n].doses.basal_U_h[0] for n in cohort.names}
    rested = {n: float(p.rest(Therapy().target_mg_dL)[1]) for n, p in kanderian().items()}
    assert all(abs(basal[n] - rested[n]) < 0.14 * rested[n] + 0.03 for n in cohort.names)
    assert all(80 < np.mean(truth.glucose_mg_dL) < 180 for truth in cohort.truth.values())


def test_people_who_do_not_rest_at_the_target_are_refused():
    with pytest.raises(NoRestError, match="137"):
        virtual_population(2, key=KEY, bodies=kanderian(), therapy=Therapy(target_mg_dL=160.0))


def test_titration_is_the_closed_form_where_there_is_one():
    with jax.enable_x64(True):
        p = presets()["Pat3"].model()
        found = jax.jit(titrate)(p, jnp.asarray(120.0))
    assert float(found.per_U) == pytest.approx(float(p.ksi * p.ku_Vi), rel=1e-6)
    assert float(found.per_g) == pytest.approx(1000 * float(p.kr_Vb), rel=1e-6)
    assert float(found.insulin_min) == pytest.approx(2 * float(p.Tu), rel=1e-6)
    assert float(found.meal_min) == pytest.approx(2 * float(p.Tr), rel=1e-6)


def test_a_set_point_gives_back_what_the_titration_counts():
    """What glucose loses to a unit, in all, is what the body's own pull gives back: an integral of the experiment."""
    with jax.enable_x64(True):
        p = kanderian()["1"]
        y0, basal = p.rest(120.0)
        ts = jnp.arange(0.0, 4001.0, 5.0)
        inputs = Doses.of(basal=float(basal), boluses=[(0, 0.01)]).inputs(0, 4000)
        fallen = jax.jit(lambda: p.solution(inputs, ts, y0, steps=832).glucose_mg_dL)() - 120.0
        pull = p.GEZI + y0.Ieff
        found = jax.jit(titrate)(p, jnp.asarray(120.0))
    assert float(found.per_U) == pytest.approx(-100 * float(pull) * np.trapezoid(fallen, ts), rel=5e-3)
