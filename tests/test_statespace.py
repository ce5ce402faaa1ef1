"""The stochastic model against a joint Gaussian, the matrix exponential, the deterministic model, and its own draws."""

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg

import t1djax
from t1djax.statespace._ahead import Ahead, ahead, lasting_rates
from t1djax.statespace._body import unit_of
from t1djax.statespace._filter import kalman_filter, smooth
from t1djax.statespace._hyper import Form, StateSpaceOptions, layout
from t1djax.statespace._model import Model, build, matrices
from t1djax.statespace._person import Person, person_of
from t1djax.statespace._search import constants
from t1djax.statespace._steps import Steps, stack_steps, steps_of, unpaired

from .command import call

EVERYTHING = Form(StateSpaceOptions(daily_rhythm=2, sensor_lag=True, sensor_memory=True, sensitivity_walk=True))


pytestmark = pytest.mark.usefixtures("float64")


def typical(form: Form, **changed: float) -> dict[str, jax.Array]:
    h = {row.symbol: jnp.asarray(row.median) for row in form.constants}
    return h | {s: jnp.asarray(v) for s, v in changed.items()}


def somebody() -> Person:
    return Person(
        jnp.asarray(130.0), jnp.asarray([0.2, 20.0, 3.0, 10.0]), jnp.asarray([0.5, 10.0, 1.5, 10.0]), jnp.zeros(3)
    )


def record(n: int = 24, *, seed: int = 0, interval: float = 15.0) -> t1djax.Patient:
    """Irregular readings with a gap, an extended bolus, a meal with and a bolus without carbohydrate."""
    rng = np.random.default_rng(seed)
    time = interval * np.arange(n) + rng.integers(0, 3, n)
    time[n // 2 :] += 200.0
    doses = t1djax.Doses.of(
        basal=[(0.0, 1.0), (237.0, 0.6)], boluses=[(60.0, 4.0), (130.5, 2.0, 90.0), (400.0, 3.0)], meals=[(59.0, 45.0)]
    )
    glucose = 130 + np.cumsum(rng.normal(0, 6, n))
    glucose[5:8] = np.nan
    return t1djax.Patient("Ada", time, glucose, doses)


def built(h: dict, person: Person, steps: Steps, form: Form) -> tuple[Model, jax.Array]:
    return build(h, person, steps, form, unit_of(h, person.level_mg_dL, form))


def forecasts(h: dict, person: Person, form: Form, *rest: Any) -> Ahead:
    return ahead(h, unit_of(h, person.level_mg_dL, form), person, form, *rest)


def joint(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of all states of all steps at once."""
    F, Q = map(np.asarray, model.matrices())
    steps, n = F.shape[:2]
    mean = np.zeros((steps, n))
    cov = np.zeros((steps, n, steps, n))
    mean[0], cov[0, :, 0] = model.mean, model.cov
    for i in range(1, steps):
        mean[i] = F[i - 1] @ mean[i - 1]
        cov[i, :, i] = F[i - 1] @ cov[i - 1, :, i - 1] @ F[i - 1].T + Q[i - 1]
        for j in range(i):
            cov[i, :, j] = F[i - 1] @ cov[i - 1, :, j]
            cov[j, :, i] = cov[i, :, j].T
    return mean.reshape(-1), cov.reshape(steps * n, steps * n)


def condition(model: Model, upto: int) -> tuple[np.ndarray, np.ndarray, float]:
    """States given the readings of the first `upto` steps, and their log density, by dense algebra."""
    mean, cov = joint(model)
    steps, n = len(model.y), len(model.mean)
    at = [i for i in range(upto) if model.valid[i]]
    H = np.kron(np.eye(steps)[at], np.asarray(model.read))
    S = H @ cov @ H.T + float(model.noise_sd) ** 2 * np.eye(len(at))
    gain = cov @ H.T @ np.linalg.inv(S)
    miss = np.asarray(model.y)[at] - H @ mean
    density = -0.5 * (miss @ np.linalg.solve(S, miss) + np.linalg.slogdet(2 * np.pi * S)[1])
    after = (mean + gain @ miss).reshape(steps, n), cov - gain @ H @ cov
    return after[0], after[1], float(density)


@pytest.fixture(scope="module")
def walked() -> tuple[Model, object, object]:
    with jax.enable_x64(True):
        steps = jax.tree.map(lambda x: x[0], stack_steps([steps_of(record())]))
        model, on_board = jax.jit(lambda h: built(h, somebody(), steps, EVERYTHING))(typical(EVERYTHING))
        return model, on_board, steps


def test_filter_is_the_conditional_gaussian(walked):
    model = walked[0]
    found = jax.jit(kalman_filter)(model)
    for upto in (1, 9, len(model.y)):
        mean, cov, density = condition(model, upto)
        n = mean.shape[1]
        at = slice((upto - 1) * n, upto * n)
        np.testing.assert_allclose(found.mean[upto - 1], mean[upto - 1], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(found.cov[upto - 1], cov[at, at], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.sum(found.log_likelihood[:upto]), density, rtol=1e-8)


def test_smoother_is_the_conditional_gaussian(walked):
    model = walked[0]
    found = jax.jit(lambda m: smooth(m, kalman_filter(m)))(model)
    mean, cov, _ = condition(model, len(model.y))
    n = mean.shape[1]
    np.testing.assert_allclose(found.mean, mean, rtol=1e-4, atol=1e-5)
    for i in (0, 10, 20):
        at = slice(i * n, (i + 1) * n)
        np.testing.assert_allclose(found.cov[i], cov[at, at], rtol=1e-4, atol=1e-4)


def test_parallel_and_sequential_agree(walked):
    # An odd number of steps, among them ones without a reading; more only take longer to compile.
    model = walked[0]
    few = {name: getattr(model, name)[:13] for name in ("y", "valid", "limit")}
    model = model._replace(motion=jax.tree.map(lambda x: x[:13], model.motion), **few)
    assert not np.all(model.valid)
    both = jax.jit(lambda m, parallel: kalman_filter(m, parallel=parallel), static_argnums=1)
    one, other = both(model, False), both(model, True)
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(one.cov, other.cov, rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(one.log_likelihood, other.log_likelihood, rtol=1e-7, atol=1e-9)
    back = jax.jit(lambda m, f, parallel: smooth(m, f, parallel=parallel), static_argnums=2)
    first, second = back(model, one, False), back(model, one, True)
    np.testing.assert_allclose(first.mean, second.mean, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(first.cov, second.cov, rtol=1e-7, atol=1e-6)


def dense_system(h: dict, form: Form) -> tuple[np.ndarray, np.ndarray]:
    """The core's continuous matrices, written down a second time from the documented equations."""
    where = layout(form)
    names = where.names[: where.core]
    A, L = np.zeros((where.core, where.core)), np.zeros(where.core)
    for i, name in enumerate(names):
        if name == "G":
            A[i, i] = -float(h["k"])
            L[i] = float(h["walk"]) ** 2
        if name == "Gi":
            A[i, 0], A[i, i] = 1 / float(h["Ts"]), -1 / float(h["Ts"])
        if name in ("fast", "slow", "error"):
            tau = float(h[f"{name}_min"])
            A[0, i], A[i, i], L[i] = float(name != "error"), -1 / tau, 2 * float(h[name]) ** 2 / tau
        if name == "c":
            A[0, i] = 1.0
        if name.endswith("_sin"):
            omega = 2 * np.pi * int(name[3]) / 1440
            A[0, i], A[i, i + 1], A[i + 1, i] = 1.0, omega, -omega
    return A, np.diag(L)


def test_steps_are_exact():
    h = typical(EVERYTHING)
    spans = np.array([0.0, 1.0, 15.0, 240.0, 2000.0])
    found = jax.jit(lambda h: matrices(h, unit_of(h, jnp.asarray(130.0), EVERYTHING), EVERYTHING, jnp.asarray(spans)))(
        h
    )
    A, L = dense_system(h, EVERYTHING)
    for i, span in enumerate(spans):
        np.testing.assert_allclose(found.transition[i], scipy.linalg.expm(A * span), rtol=1e-8, atol=1e-9)
        integrand = lambda s: scipy.linalg.expm(A * s) @ L @ scipy.linalg.expm(A * s).T
        if span <= 240:
            Q = scipy.integrate.quad_vec(integrand, 0, span, epsrel=1e-9)[0]
            np.testing.assert_allclose(found.noise[i], Q, rtol=1e-6, atol=1e-9)
    # Over 50 time constants the disturbance has forgotten its start.
    fast = layout(EVERYTHING).names.index("fast")
    np.testing.assert_allclose(found.noise[-1][fast, fast], float(h["fast"]) ** 2, rtol=1e-9)


def test_without_noise_it_is_the_deterministic_model():
    patient = record()
    p = t1djax.Magdelaine(ksi=250.0, kl=1.9, kb=1.5, Tu=80.0, ku_Vi=0.06, Tr=50.0, kr_Vb=0.0022)
    p = jax.tree.map(jnp.asarray, p)
    steps = steps_of(patient)
    start, end = float(steps.time_min[0]), float(steps.time_min[-1])
    basal = steps.before_U_min
    y0 = t1djax.physics.State(G=jnp.asarray(140.0), S=0.06 * basal, I=0.06 * basal, E=jnp.zeros(()), D=jnp.zeros(()))
    expected = t1djax.propagate(p, patient.doses.inputs(start, end + 1.0), steps.time_min, y0=y0).glucose_mg_dL
    bare = StateSpaceOptions(daily_rhythm=0, reversion=False, slow_disturbance=False, unannounced_meals=False)
    options = Form(bare)
    h = typical(options, Tu=80.0, Tr=50.0, walk=0.0, fast=0.0)
    model, _ = jax.jit(lambda h: built(h, somebody(), steps, options))(h)
    names = layout(options).names
    x = np.zeros(len(names))
    for name, value in {"G": 140.0 - 130.0, "c": 0.4, "p1": 15.0, "q": 2.2}.items():
        x[names.index(name)] = value
    found = []
    for F in np.asarray(model.matrices()[0]):
        found.append(x[0] + 130.0)
        x = F @ x
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_forecasts_are_those_of_longer_steps():
    """The reading at a horizon, as a row times the state, against walking there step by step."""
    patient = record()
    options = EVERYTHING
    h = typical(options)
    doses = t1djax.Doses.of(basal=0.9, boluses=[(40.0, 3.0)], meals=[(30.0, 50.0)])
    last = float(patient.time_min[10])
    walk = t1djax.Patient("Ada", np.append(patient.time_min[:11], last + np.array([30.0, 60.0])),
                          np.append(patient.glucose_mg_dL[:11], [100.0, 100.0]), doses)  # fmt: skip
    steps = steps_of(walk)
    at = np.searchsorted(np.asarray(steps.time_min), last)
    model, on_board = jax.jit(lambda h: built(h, somebody(), steps, options))(h)
    found = jax.jit(kalman_filter)(model._replace(valid=model.valid & (steps.time_min <= last)))
    take = lambda x: x[at : at + 1]
    expected = jax.jit(forecasts, static_argnums=(2, 7))(
        h, somebody(), options, jax.tree.map(take, found), jax.tree.map(take, on_board),
        take(lasting_rates(steps, "none")), take(steps.block), (30.0, 60.0),
    )  # fmt: skip
    # Without readings the filter walks on; only p1's slow walk differs, which a forecast leaves out.
    np.testing.assert_allclose(expected.mean[0], found.mean[at + 1 :] @ model.read, rtol=1e-9)
    var = jnp.einsum("i,nij,j->n", model.read, found.cov[at + 1 :], model.read) + h["noise"] ** 2
    np.testing.assert_allclose(expected.var[0], var, rtol=1e-3)


def test_a_bolus_counts_as_unpaired_by_what_is_known_when_it_is_given():
    doses = t1djax.Doses.of(boluses=[(10.0, 1.0), (60.0, 2.0), (119.0, 1.0), (121.0, 1.0)], meals=[(60.0, 30.0)])
    assert unpaired(doses).tolist() == [True, False, False, True]


OPTIONS = StateSpaceOptions(horizons_min=(30.0,), max_steps=12, daily_rhythm=0)
FORM = Form(OPTIONS)


def drawn(n_people: int, seed: int, n: int = 204, **changed: float) -> list[t1djax.Patient]:
    """People drawn from the model itself, with typical constants but for those that are changed."""
    people = []
    for i in range(n_people):
        rng = np.random.default_rng([seed, i])
        time = 15.0 * np.arange(n)
        meals = np.sort(rng.uniform(0, time[-1], n // 24))
        doses = t1djax.Doses.of(
            basal=1.0,
            boluses=[(float(t), float(u)) for t, u in zip(meals, rng.uniform(2, 6, len(meals)), strict=True)],
            meals=[(float(t), float(g)) for t, g in zip(meals, rng.uniform(20, 60, len(meals)), strict=True)],
        )
        blank = t1djax.Patient(f"D{i}", time, np.full(n, 130.0), doses)
        h = typical(FORM, **changed)
        person = person_of(blank, until_min=float(time[-1]))
        model, _ = _jitted_build(h, person, jax.tree.map(lambda x: x[0], stack_steps([steps_of(blank)])))
        steps = steps_of(blank)
        x = rng.multivariate_normal(np.asarray(model.mean), np.asarray(model.cov) * 0.25)
        glucose = {}
        for t, F, Q in zip(np.asarray(steps.time_min), *map(np.asarray, model.matrices()), strict=False):
            glucose[float(t)] = x[0] + 130.0 + rng.normal(0, float(h["noise"]))
            x = F @ x + _root(Q) @ rng.normal(size=len(x))
        people.append(dataclasses.replace(blank, glucose_mg_dL=np.array([glucose[t] for t in time.tolist()])))
    return people


@jax.jit
def _jitted_build(h, person, steps):
    return built(h, person, steps, FORM)


def _root(Q: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(Q)
    return vectors * np.sqrt(np.maximum(values, 0))


@pytest.fixture(scope="module")
def fitted() -> tuple[list[t1djax.Patient], t1djax.statespace.StateSpaceFit]:
    with jax.enable_x64(True):
        people = drawn(6, 0)
    with jax.enable_x64(False):
        return people, t1djax.fit_state_space(people, options=OPTIONS)


def test_forecasts_cover_and_beat_persistence(fitted):
    people, fit = fitted
    z, better = [], []
    for patient in people:
        found = t1djax.state_space_forecasts(fit, patient, horizon_min=(30.0, 60.0))
        z.append((found.observed_mg_dL - found.mean_mg_dL) / found.sd_mg_dL)
        still = t1djax.baseline_forecasts(patient, "persistence", horizon_min=(30.0, 60.0))
        rmse = lambda f: np.sqrt(np.nanmean((f.observed_mg_dL - f.mean_mg_dL) ** 2, axis=0))
        better.append(rmse(found) / rmse(still))
    z = np.concatenate(z)
    inside = np.sum(np.abs(z) < 1.6449, axis=0) / np.sum(np.isfinite(z), axis=0)
    assert np.all(inside > 0.84)
    assert np.all(inside < 0.96)
    assert np.all(np.mean(better, axis=0) < 0.95)


def test_constants_and_effects_are_found_within_their_errors(fitted):
    _, fit = fitted
    for found in fit:
        assert found.readings == 143
        for symbol in ("Tu", "fast", "noise"):
            estimate = found.constants[symbol]
            assert estimate.standard_error is None  # those of a horizon forecast best, and need not be the truth
            assert estimate.white_error is not None
            assert abs(np.log(estimate.value / estimate.initial)) < 1.2
        p1 = found.effects["p1"]
        assert p1.standard_error is not None
        assert p1.standard_error < 0.9 * 0.3 * p1.initial  # the readings say more than the prior


def test_people_who_are_alike_are_found_so_when_they_are_pooled(fitted):
    changed = {"fast": 1.7, "k": 0.011}
    with jax.enable_x64(True):
        people = drawn(6, 3, 204, **changed)
        truth = typical(FORM, **changed)

    def found(pooled: bool) -> tuple[np.ndarray, t1djax.records.Estimate]:
        fit = t1djax.fit_state_space(people, options=OPTIONS, pooled=pooled)
        logs = [[np.log(e.value / float(truth[s])) for s, e in p.constants.items()] for p in fit]
        return np.asarray(logs), fit["D0"].constants["fast"]

    (alone, before), (pooled, after) = found(False), found(True)
    apart = lambda logs: np.sqrt(np.mean(np.var(logs, axis=0)))
    assert apart(pooled) < 0.7 * apart(alone)
    assert np.mean(pooled**2) < np.mean(alone**2)
    assert before.initial == pytest.approx(0.8)
    assert 1.0 < after.initial < 2.0  # what the cohort expects of a person has moved towards what its people are


def test_nothing_after_the_origin_counts(fitted):
    people, fit = fitted
    patient = people[0]
    origin = patient.time_min[[170]]
    after = patient.time_min > origin[0]
    rng = np.random.default_rng(3)
    late = patient.doses.bolus_time_min >= origin[0]
    doses = dataclasses.replace(
        patient.doses,
        bolus_U=np.where(late, 3.3, patient.doses.bolus_U),
        carbs_g=np.where(patient.doses.meal_time_min >= origin[0], 77.0, patient.doses.carbs_g),
    )
    glucose = np.where(after, rng.uniform(60, 300, len(after)), patient.glucose_mg_dL)
    other = dataclasses.replace(patient, glucose_mg_dL=glucose, doses=doses)
    ahead_of = lambda p: t1djax.state_space_forecasts(fit, p, origin_min=origin, horizon_min=(30.0, 60.0))
    one, two = ahead_of(patient), ahead_of(other)
    assert np.array_equal(one.mean_mg_dL, two.mean_mg_dL)
    assert np.array_equal(one.sd_mg_dL, two.sd_mg_dL)
    assert not np.array_equal(one.observed_mg_dL, two.observed_mg_dL)


def test_fit_sees_nothing_after_training(fitted):
    people, fit = fitted
    end = fit.patients[0].train_until_min
    glucose = np.where(people[0].time_min > end, 55.0, people[0].glucose_mg_dL)
    changed = [dataclasses.replace(people[0], glucose_mg_dL=glucose), *people[1:]]
    again = t1djax.fit_state_space(changed, options=OPTIONS)
    for symbol, estimate in fit.patients[0].constants.items():
        assert again.patients[0].constants[symbol] == estimate


def test_recorded_inputs_are_those_of_the_walk(fitted):
    """Knowing the future inputs, the forecast equals the filter that walks there without readings."""
    people, fit = fitted
    patient = people[1]
    origin = patient.time_min[[150]]
    found = t1djax.state_space_forecasts(fit, patient, origin_min=origin, horizon_min=(60.0,), future_inputs="recorded")
    one = fit["D1"]
    h = {s: jnp.asarray(e.value) for s, e in one.constants.items()}
    steps = steps_of(patient)
    model, _ = jax.jit(lambda h, person: built(h, person, steps, FORM))(h, one.person)
    blind = jax.jit(kalman_filter)(model._replace(valid=model.valid & (steps.time_min <= origin[0])))
    at = np.searchsorted(np.asarray(steps.time_min), origin[0] + 60.0)
    np.testing.assert_allclose(found.mean_mg_dL[0, 0], blind.mean[at, 0] + one.person.level_mg_dL, rtol=1e-9)
    # Announced far ahead is recorded; announced not at all leaves out what begins later.
    far = t1djax.state_space_forecasts(
        fit, patient, origin_min=origin, horizon_min=(60.0,), future_inputs="announced", announced_min=500.0
    )
    assert np.array_equal(far.mean_mg_dL, found.mean_mg_dL)


def test_a_meal_and_its_bolus_are_announced_and_what_a_loop_does_later_is_not(fitted):
    people, fit = fitted
    patient, d = people[1], people[1].doses
    origin = patient.time_min[[150]]
    t = float(origin[0])

    def ask(known: t1djax.records.FutureInputs, *, meal: float = 0.0, bolus: float = 0.0, basal: float = 0.0) -> float:
        add = lambda times, at, size: np.append(times, at) if size else times
        times = add(d.basal_time_min[d.basal_time_min <= t], t + 20, basal)
        doses = t1djax.Doses(
            times,
            add(d.basal_U_h[d.basal_time_min <= t], basal, basal),
            add(d.bolus_time_min[d.bolus_time_min <= t], t + 15, bolus),
            add(d.bolus_U[d.bolus_time_min <= t], bolus, bolus),
            add(d.bolus_duration_min[d.bolus_time_min <= t], 1.0, bolus),
            add(d.meal_time_min[d.meal_time_min <= t], t + 10, meal),
            add(d.carbs_g[d.meal_time_min <= t], meal, meal),
            add(d.meal_duration_min[d.meal_time_min <= t], 1.0, meal),
        )
        record = dataclasses.replace(patient, doses=doses)
        found = t1djax.state_space_forecasts(
            fit, record, origin_min=origin, horizon_min=(60.0,), future_inputs=known, announced_min=30.0
        )
        return float(found.mean_mg_dL[0, 0])

    nothing = ask("announced")
    assert ask("announced", basal=5.0) == nothing == ask("announced", bolus=3.0)
    assert ask("recorded", basal=5.0) != nothing != ask("recorded", bolus=3.0)
    fed = ask("announced", meal=40.0)
    assert fed > nothing
    assert ask("announced", meal=40.0, bolus=3.0) == pytest.approx(ask("recorded", meal=40.0, bolus=3.0), abs=1e-6)
    assert ask("announced", meal=40.0, bolus=3.0) < fed
    assert ask("none", meal=40.0, bolus=3.0) == pytest.approx(nothing, abs=1e-6)

    # What is announced besides the record is as if it stood in it.
    kept = lambda times: times <= t
    bare = dataclasses.replace(
        patient,
        doses=t1djax.Doses(
            d.basal_time_min[kept(d.basal_time_min)], d.basal_U_h[kept(d.basal_time_min)],
            *(x[kept(columns[0])] for columns in d.events[:2] for x in columns),
        ),
    )  # fmt: skip
    also = t1djax.Doses.of(boluses=[(15, 3)], meals=[(10, 40)])
    how: dict[str, Any] = {"origin_min": origin, "horizon_min": (60.0,), "future_inputs": "announced"}
    found = t1djax.state_space_forecasts(fit, bare, also=also, **how)
    assert found.mean_mg_dL[0, 0] == pytest.approx(ask("announced", meal=40.0, bolus=3.0), abs=1e-6)
    # A unit alone lowers glucose, by no meal that it might hide; the forecast moves by as much from every origin.
    moves = t1djax.statespace.dose_responses(fit, bare, horizon_min=(60.0,))
    one = lambda also: t1djax.state_space_forecasts(fit, bare, also=also, **how).mean_mg_dL[0, 0]
    assert (moves.unit_mg_dL < 0).all()
    assert moves.unit_mg_dL[0, 0] == pytest.approx(one(t1djax.Doses.of(boluses=[(0, 1)])) - one(None), abs=0.5)
    with pytest.raises(ValueError, match="also"):
        one(t1djax.Doses.of(meals=[(-5, 20)]))


@pytest.mark.slow
@pytest.mark.parametrize("body", [t1djax.Kanderian, t1djax.Hovorka])
def test_a_unit_and_20_g_move_forecasts_as_they_move_simulated_people(body):
    """The truth is the body itself, with one more dose; the model is of another body."""
    people = t1djax.virtual_population(
        4, key=jax.random.key(11), physiology=body, days=10, interval_min=15, noise=t1djax.AR1Noise(6.0), censor=True,
        bodies=t1djax.physics.kanderian() if body is t1djax.Kanderian else None,
    )  # fmt: skip
    fit = t1djax.fit_state_space(list(people))
    found: list[tuple[Any, Any]] = []
    for patient in people:
        origins = t1djax.data.rolling_origins(patient)[20:-20:20]
        moves = t1djax.statespace.dose_responses(fit, patient, origin_min=origins, horizon_min=(120.0,))
        for kind, ours in (("bolus", moves.unit_mg_dL), ("meal", moves.carbs_mg_dL)):
            found.append((ours[:, 0], _moved(body, patient, people.truth[patient.name].parameters, origins, kind)))
    ours, true = (np.array([x[i].mean() for x in found]) for i in (0, 1))
    assert np.mean([np.mean(np.sign(a) == np.sign(b)) for a, b in found]) >= 0.95
    assert np.median(np.abs(ours / true - 1)) < 0.35


def _moved(body: Any, patient: t1djax.Patient, parameters: Any, origins: Any, kind: str) -> Any:
    """Glucose 120 min after one more dose less that without it, mg/dL."""
    d, last = patient.doses, float(patient.time_min[-1])
    more = {"bolus": ("bolus_time_min", "bolus_U", "bolus_duration_min", 1.0),
            "meal": ("meal_time_min", "carbs_g", "meal_duration_min", 20.0)}[kind]  # fmt: skip
    each = [d]
    for t in origins:
        add = dict(zip(more[:3], (t, more[3], 1.0), strict=True))
        each.append(dataclasses.replace(d, **{name: np.append(getattr(d, name), x) for name, x in add.items()}))
    subjects = [
        t1djax.data.Subject(f"{i}", parameters, doses, 0.0, last, physiology=body) for i, doses in enumerate(each)
    ]
    cohort = t1djax.data.simulate_cohort(subjects, t1djax.Sensor(interval_min=15))
    then = lambda p, t: np.interp(t + 120, p.time_min[p.valid], p.glucose_mg_dL[p.valid])
    return np.array([then(cohort[f"{i + 1}"], t) - then(cohort["0"], t) for i, t in enumerate(origins)])


def test_what_cannot_be_fitted_is_refused(fitted):
    people, fit = fitted
    short = dataclasses.replace(people[0], time_min=people[0].time_min[:20], glucose_mg_dL=people[0].glucose_mg_dL[:20])
    with pytest.raises(ValueError):
        t1djax.fit_state_space([short])
    with pytest.raises(ValueError):
        t1djax.fit_state_space([])
    with pytest.raises(ValueError):
        t1djax.fit_state_space(people, options=StateSpaceOptions(horizons_min=(0.0,)))
    with pytest.raises(KeyError, match="nobody"):
        t1djax.state_space_forecasts(fit, dataclasses.replace(people[0], name="nobody"))
    with pytest.raises(ValueError):
        t1djax.state_space_forecasts(fit, people[0], origin_min=np.array([7.0]))


def test_constants_stay_in_reach():
    far = constants(jnp.full(len(FORM.constants), 50.0), FORM)
    for row, value in zip(FORM.constants, far.values(), strict=True):
        np.testing.assert_allclose(float(value), row.median * np.exp(2 * row.log_sd))


def test_the_clock_of_the_record_does_not_matter():
    patient = record()
    later = dataclasses.replace(patient, start=dt.datetime(2020, 1, 1, 17, 30))
    assert jax.tree.all(jax.tree.map(np.array_equal, steps_of(patient), steps_of(later)))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--horizons", "30,soon"), "--horizons 30,soon"),
        (("--future-inputs", "guessed"), "give none, announced or recorded"),
        (("--train-share", "1"), "between 0 and 1"),
    ],
)
def test_command_refuses_what_makes_no_sense(flags, words):
    code, _, err = call("forecast", "reference", "--patients", "3", *flags)
    assert code == 2
    assert words in err


@pytest.mark.slow
def test_command_forecasts_beside_the_simple_methods(tmp_path: Path):
    flags = ("--patients", "3", "--interval-min", "15", "--horizons", "30,60", "--out", tmp_path / "new", "--json")
    with jax.enable_x64(False):
        code, out, _ = call("forecast", "reference", *flags)
    assert code in (0, 4)
    said = json.loads(out)
    rmse = {(row["method"], row["horizon_min"]): row["rmse_mg_dL"] for row in said["scores"]}
    assert rmse["stochastic", 30.0] < rmse["persistence", 30.0]
    table = np.genfromtxt(tmp_path / "new" / "forecasts.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    mine = table[table["method"] == "stochastic"]
    assert np.all(mine["lower_90_mg_dL"] < mine["mean_mg_dL"])
    assert (tmp_path / "new" / "Pat3.png").stat().st_size > 10_000
