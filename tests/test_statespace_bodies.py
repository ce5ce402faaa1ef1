"""The stochastic form of bodies that are not linear, against an independent extended filter, draws, and quadrature."""

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.optimize
import scipy.stats

import t1djax
from t1djax.physics import Hovorka, Kanderian
from t1djax.statespace._ahead import lasting_rates
from t1djax.statespace._body import unit_of
from t1djax.statespace._filter import draw_paths, kalman_filter, smooth
from t1djax.statespace._hyper import Form, StateSpaceOptions, layout
from t1djax.statespace._model import Model
from t1djax.statespace._person import Person
from t1djax.statespace._steps import Steps, steps_for

from .bodies import Bergman
from .test_statespace import built, forecasts

FORMS = {cls.__name__: Form(StateSpaceOptions(), cls) for cls in (Kanderian, Hovorka)}
_LEVEL = 150.0


pytestmark = pytest.mark.usefixtures("float64")


def somebody() -> Person:
    return Person(
        jnp.asarray(_LEVEL), jnp.asarray([0.8, 25.0, 3.0, 10.0]), jnp.asarray([0.5, 7.5, 1.0, 7.5]), jnp.zeros(3)
    )


def record() -> t1djax.Patient:
    """Readings of six hours each 15 min, among them a gap, with a meal, a bolus with it, and one without."""
    time = np.append(15.0 * np.arange(16), 15.0 * np.arange(20, 26))
    doses = t1djax.Doses.of(basal=[(0.0, 1.0), (200.0, 0.5)], boluses=[(62.0, 4.0), (170.0, 2.0)], meals=[(60.0, 50.0)])
    rng = np.random.default_rng(1)
    return t1djax.Patient("Ada", time, np.clip(150 + np.cumsum(rng.normal(2, 12, len(time))), 60, 380), doses)


def typical(form: Form) -> dict[str, jax.Array]:
    return {row.symbol: jnp.asarray(row.median) for row in form.constants}


@pytest.fixture(scope="module", params=["Hovorka", pytest.param("Kanderian", marks=pytest.mark.slow)])
def body(request) -> tuple[str, Model, Any, Steps]:
    form = FORMS[request.param]
    with jax.enable_x64(True):
        steps = steps_for(record(), form)
        model, on_board = jax.device_get(jax.jit(lambda h: built(h, somebody(), steps, form))(typical(form)))
        return request.param, model, on_board, jax.device_get(steps)


def middle(cls: type, symbol: str) -> float:
    row = cls.parameters[symbol]
    return float(np.sqrt(row.start_low * row.start_high))


def kanderian_slope(h: dict[str, float], p1: float, q: float, r: float) -> Callable[..., Any]:
    """By hand: effects about the level leave nothing of SI, CI and VG."""

    def slope(pools, lags, u, carbs, hidden):
        G = pools[0] + _LEVEL
        s, a, b, r1, r2, m1, m2 = lags
        dlags = [
            (u - s) / h["tau1"], (s - a) / h["tau2"], h["p2"] * (a - b),
            (carbs - r1) / h["tauM"], (r1 - r2) / h["tauM"], (hidden - m1) / h["tauM"], (m1 - m2) / h["tauM"],
        ]  # fmt: skip
        dG = -h["GEZI"] * (G - _LEVEL) - p1 * b * G / _LEVEL + q * r2 + r * m2
        return [dG], dlags

    return slope


def hovorka_slope(h: dict[str, float], p1: float, q: float, r: float) -> Callable[..., Any]:
    """By hand, in mg/dL of glucose; insulin in units of what 1 U/min leaves."""
    value = lambda s: middle(Hovorka, s)
    mg = 18.016
    per = mg / value("VG")  # mg/dL per mmol/kg
    liver, use = value("EGP0") * per, value("F01") * per
    k12 = value("k12")
    plasma = 1000 / (value("ke") * value("VI") * value("M"))
    S1, S2, S3 = (value(s) * plasma for s in ("SI1", "SI2", "SI3"))

    def own(G, G2, x1, x2, x3):
        out = use * min(1.0, G / (4.5 * mg)) + 0.003 * max(G - 9 * mg, 0.0)
        return liver * max(1 - x3, 0.0) - out - x1 * G + k12 * G2, x1 * G - (k12 + x2) * G2

    rise = own(_LEVEL, 0.0, 0.0, 0.0, 0.0)[0]

    def at_rest(u, G):
        x1, x2, x3 = S1 * u, S2 * u, S3 * u
        return own(G, x1 * G / (k12 + x2), x1, x2, x3)[0]

    basal = scipy.optimize.brentq(lambda u: at_rest(u, 120.0), 1e-6, 0.2)
    gross = (rise - at_rest(basal, _LEVEL)) / basal
    share = p1 / gross

    def slope(pools, lags, u, carbs, hidden):
        s1, s2, i, x1, x2, x3, r1, r2, m1, m2 = lags
        tau, ke, tG = h["tau_I"], value("ke"), h["tau_G"]
        dlags = [
            (u - s1) / tau, (s1 - s2) / tau, ke * (s2 - i),
            value("ka1") * (S1 * i - x1), value("ka2") * (S2 * i - x2), value("ka3") * (S3 * i - x3),
            (carbs - r1) / tG, (r1 - r2) / tG, (hidden - m1) / tG, (m1 - m2) / tG,
        ]  # fmt: skip
        dG, dG2 = own(pools[0] + _LEVEL, pools[1], share * x1, share * x2, share * x3)
        return [dG - rise + q * r2 + r * m2, dG2], dlags

    return slope


SLOPES = {"Kanderian": (kanderian_slope, 3, 4), "Hovorka": (hovorka_slope, 6, 4)}


def independent(name: str, model: Model, steps: Steps) -> tuple[np.ndarray, np.ndarray, float]:
    """The continuous-discrete extended filter: moments solved by SciPy, slopes by differences.

    Those of pools are as wide as the filter takes them.
    """
    form = FORMS[name]
    h = {s: float(v) for s, v in typical(form).items()}
    make, insulin, food = SLOPES[name]
    pools, names = len(form.pools), layout(form).names
    at = {n: i for i, n in enumerate(names)}
    n = len(names)
    means = np.array([25.0, 3.0, 10.0])
    noise = np.zeros(n)
    noise[0] = h["walk"] ** 2
    for w in ("fast", "slow"):
        noise[at[w]] = 2 * h[w] ** 2 / h[f"{w}_min"]

    def drift(x, lags, doses):
        effects = means * np.exp(x[-3:] / means - 1)
        dpools, dlags = make(h, *effects)(x[:pools], lags, *doses)
        dx = np.zeros(n)
        dx[:pools] = dpools
        dx[0] += x[at["c"]] + x[at["fast"]] + x[at["slow"]] + x[at["day1_sin"]]
        for w in ("fast", "slow"):
            dx[at[w]] = -x[at[w]] / h[f"{w}_min"]
        omega = 2 * np.pi / 1440
        dx[at["day1_sin"]], dx[at["day1_cos"]] = omega * x[at["day1_cos"]], -omega * x[at["day1_sin"]]
        return dx, np.array(dlags)

    def slopes(x, lags, doses):
        A = np.zeros((n, n))
        for j in range(n):
            d = np.zeros(n)
            d[j] = 10.0 if j < pools else 1e-5 * max(1.0, abs(x[j]))
            A[:, j] = (drift(x + d, lags, doses)[0] - drift(x - d, lags, doses)[0]) / (2 * d[j])
        return A

    basal = float(steps.before_U_min)
    lags = np.zeros(insulin + food)
    if name == "Kanderian":
        lags[:insulin] = basal
    else:
        plasma = 1000 / (middle(Hovorka, "ke") * middle(Hovorka, "VI") * middle(Hovorka, "M"))
        lags[:insulin] = basal * np.array([1, 1, 1, *(middle(Hovorka, s) * plasma for s in ("SI1", "SI2", "SI3"))])
    m, P = np.asarray(model.mean), np.asarray(model.cov)
    read, var = np.asarray(model.read), float(model.noise_sd) ** 2
    found, total = [], 0.0
    dt = np.asarray(steps.dt_min)[np.asarray(steps.interval)]
    for k in range(len(dt)):
        if steps.valid[k]:
            S, miss = read @ P @ read + var, float(model.y[k]) - read @ m
            K = P @ read / S
            m, P = m + K * miss, P - np.outer(K, K) * S
            total += -0.5 * (np.log(2 * np.pi * S) + miss**2 / S)
        found.append((m, P))
        doses = np.asarray(steps.rates[k])

        def moments(_, s, doses=doses):
            x, lags, P = s[:n], s[n : -n * n], s[-n * n :].reshape(n, n)
            dx, dlags = drift(x, lags, doses)
            A = slopes(x, lags, doses)
            return np.concatenate([dx, dlags, (A @ P + P @ A.T + np.diag(noise)).ravel()])

        if dt[k] > 0:
            s = np.concatenate([m, lags, P.ravel()])
            s = scipy.integrate.solve_ivp(moments, (0, dt[k]), s, rtol=1e-5, atol=1e-7).y[:, -1]
            m, lags, P = s[:n], s[n : n + len(lags)], s[n + len(lags) :].reshape(n, n)
    return np.stack([m for m, _ in found]), np.stack([P for _, P in found]), float(total)


def test_the_extended_filter_is_that_of_moments_solved_in_time(body):
    name, model, _, steps = body
    found = jax.device_get(jax.jit(kalman_filter)(model))
    mean, cov, total = independent(name, model, steps)
    sd = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    ours = np.sqrt(np.diagonal(found.cov, axis1=1, axis2=2))
    errors = (
        np.max(np.abs(found.mean - mean) / sd),
        np.max(np.abs(ours / sd - 1)),
        np.sum(found.log_likelihood) - total,
    )
    print(name, *map(float, errors))
    # What is left is the error of the steps: the body's own and of cutting it from the disturbances.
    assert np.all(np.abs(errors) < 1e-2)


def test_forecasts_are_the_filter_walking_on(body):
    name, model, on_board, steps = body
    form = FORMS[name]
    at = int(np.searchsorted(np.asarray(steps.time_min), 255.0))  # nothing begins or ends in the two hours that follow
    assert np.allclose(np.asarray(steps.rates)[at:], np.asarray(lasting_rates(steps, "none"))[at:])
    seen = model.valid & (steps.time_min <= steps.time_min[at])
    blind = jax.device_get(jax.jit(kalman_filter)(model._replace(valid=seen)))
    take = lambda x: x[at : at + 1]
    expected = jax.jit(forecasts, static_argnums=(2, 7))(
        typical(form),
        somebody(),
        form,
        jax.tree.map(take, blind),
        take(on_board),
        take(steps.rates),
        take(steps.block),
        (30.0, 120.0),
    )
    later = np.searchsorted(np.asarray(steps.time_min), np.asarray(steps.time_min)[at] + np.array([30.0, 120.0]))
    var = np.einsum("i,nij,j->n", model.read, blind.cov[later], model.read) + float(model.noise_sd) ** 2
    np.testing.assert_allclose(expected.mean[0], blind.mean[later] @ model.read, rtol=1e-9)
    np.testing.assert_allclose(expected.var[0], var, rtol=1e-9)


def test_drawn_paths_have_the_moments_of_the_smoother(body):
    _, model, _, _ = body

    @jax.jit
    def all_of(model):
        filtered = kalman_filter(model)
        unit = jax.random.normal(jax.random.key(0), (len(model.y), 4000, len(model.mean)))
        return smooth(model, filtered), draw_paths(model, filtered, unit)

    smoothed, paths = jax.device_get(all_of(model))
    sd = np.sqrt(np.diagonal(smoothed.cov, axis1=1, axis2=2))
    z = (np.mean(paths, axis=0) - smoothed.mean) / sd * np.sqrt(len(paths))
    assert np.sqrt(np.mean(z**2)) < 1.5
    for i in (0, 20, 40):
        scale = sd[i][:, None] * sd[i]
        apart = np.cov(np.asarray(paths[:, i]).T) / scale - np.asarray(smoothed.cov[i]) / scale
        assert np.max(np.abs(apart)) < 0.09  # five errors of a correlation from 4,000 draws


def test_a_reading_at_a_limit_says_that_glucose_is_beyond(body):
    _, model, _, _ = body
    low = jax.device_get(steps_for(dataclasses.replace(record(), glucose_mg_dL=np.full(22, 40.0)), FORMS["Kanderian"]))
    assert np.all(low.limit[low.valid] == -1)
    # One step, against the normal distribution cut off at the limit.
    one = jax.tree.map(lambda x: x[:1], model.motion.each)
    motion = dataclasses.replace(jax.device_put(model.motion), each=jax.device_put(one))
    for side in (-1.0, 1.0):
        y = np.array([side * 30.0])
        alone = model._replace(motion=motion, y=y, valid=np.array([True]), limit=np.array([side]))
        found = jax.device_get(jax.jit(kalman_filter)(alone))
        H, m, P, var = model.read, np.asarray(model.mean), np.asarray(model.cov), float(model.noise_sd) ** 2
        S, mu = float(H @ P @ H) + var, float(H @ m)
        ends = ((30.0 - mu) / np.sqrt(S), np.inf) if side > 0 else (-np.inf, (-30.0 - mu) / np.sqrt(S))
        cut = scipy.stats.truncnorm(*ends, loc=mu, scale=np.sqrt(S))
        K = P @ np.asarray(H) / S
        np.testing.assert_allclose(found.mean[0], m + K * (cut.mean() - mu), rtol=1e-9)
        np.testing.assert_allclose(found.cov[0], P - np.outer(K, K) * (S - cut.var()), rtol=1e-7, atol=1e-7)
        beyond = scipy.stats.norm.cdf(ends[1]) - scipy.stats.norm.cdf(ends[0])
        np.testing.assert_allclose(found.log_likelihood[0], np.log(beyond), rtol=1e-9)


@pytest.mark.parametrize("cls", [Kanderian, Bergman])
def test_effects_are_what_a_unit_and_a_gram_do_before_any_is_given_back(cls):
    """The rate of glucose held at the level, summed over time, after a unit and after a gram."""
    form = Form(StateSpaceOptions(), cls)
    with jax.enable_x64(True):
        unit = jax.jit(lambda h: unit_of(h, jnp.asarray(_LEVEL), form))(typical(form))
    run = jax.jit(lambda body, *record: body.solution(*record, steps=1600).state)
    total = {}
    fixed = jax.jit(jax.vmap(lambda y: unit.body.rates(y, 0.0, 0.0).G))
    for channel, doses in enumerate((t1djax.Doses.of(boluses=[(0.0, 1.0)]), t1djax.Doses.of(meals=[(0.0, 1.0)]))):
        ts = np.arange(0.0, 3000.0, 2.0)
        states = run(unit.body, doses.inputs(0, 3000).pad(4), ts, unit.base)
        held = fixed(dataclasses.replace(states, G=jax.device_put(np.full(ts.shape, _LEVEL))))
        total[channel] = np.trapezoid(held - unit.rise, ts)
    np.testing.assert_allclose([-total[0], total[1]], unit.gross, rtol=2e-3)


def test_a_body_of_ones_own_is_fitted():
    options = StateSpaceOptions(daily_rhythm=0, horizons_min=())
    fit = t1djax.fit_state_space([record()], physiology=Bergman, options=options, train_until_min=400.0)
    assert fit["Ada"].ok
    assert fit["Ada"].effects["p1"].value > 0


@pytest.mark.slow
def test_states_of_a_record_follow_its_readings_and_its_unexplained_rise():
    """Glucose that rises without a meal on record shows in the disturbance, early enough for a replay to keep it."""
    time = 15.0 * np.arange(100)
    rise = 80 / (1 + np.exp(-(time - 700) / 15))
    glucose = 120 + rise + np.random.default_rng(0).normal(0, 2, len(time))
    patient = t1djax.Patient(
        "Ada", time, glucose, t1djax.Doses.of(basal=1.0, boluses=[(100.0, 3.0)], meals=[(100.0, 30.0)])
    )
    options = StateSpaceOptions(daily_rhythm=0, horizons_min=(), max_steps=20)
    fit = t1djax.fit_state_space([patient], physiology="kanderian", options=options, train_until_min=1400.0)
    states = t1djax.smoothed_states(fit, patient, draws=50, key=jax.random.key(1))
    seen = np.isin(states.time_min, time)
    assert np.sqrt(np.mean((states.mean["G"][seen] - glucose) ** 2)) < 5
    unexplained = states.mean["fast"] + states.mean["slow"]
    assert 650 < states.time_min[np.argmax(unexplained)] < 750
    spread = np.std(states.draws["G"], axis=0)
    assert np.all(spread < 3 * states.sd["G"])
    assert 0.7 < np.mean(spread) / np.mean(states.sd["G"]) < 1.3
    with pytest.raises(ValueError):
        t1djax.smoothed_states(fit, patient, draws=2)


def test_parts_of_the_day_have_effects_of_their_own():
    """At each step the one of that hour acts, as the only one would."""
    patient = dataclasses.replace(record(), start=dt.datetime(2024, 3, 1, 4, 30))
    one, four = (Form(StateSpaceOptions(sensitivity_blocks=n)) for n in (1, 4))
    steps = steps_for(patient, four)
    hour = (np.asarray(steps.time_min) / 60 + 4.5) % 24
    assert np.array_equal(np.asarray(steps.block), np.floor(hour / 6 + 1e-9))
    build_one = jax.jit(lambda h, steps, form: built(h, somebody(), steps, form)[0].matrices()[0], static_argnums=2)
    at_once = dataclasses.replace(steps, block=jax.device_put(np.zeros(len(hour), int)))
    F, G = jax.device_get([build_one(typical(one), *each) for each in ((at_once, one), (steps, four))])
    at = layout(one).core
    np.testing.assert_allclose(np.sum(G[:, 0, at : at + 4], axis=-1), F[:, 0, at], rtol=1e-9, atol=1e-12)
    for k, block in enumerate(np.asarray(steps.block)):
        assert np.count_nonzero(G[k, 0, at : at + 4]) <= 1
        assert G[k, 0, at + block] == F[k, 0, at]
    with pytest.raises(ValueError, match="clock"):
        steps_for(record(), four)


def test_a_walk_that_ends_early_is_the_beginning_of_the_whole_one(body):
    _, model, _, _ = body
    whole = jax.device_get(jax.jit(kalman_filter)(model))
    for upto in (7, len(model.y)):
        found = jax.device_get(jax.jit(lambda m, n: kalman_filter(m, upto=n))(model, upto))
        np.testing.assert_allclose(found.mean[0], whole.mean[upto - 1], rtol=1e-12)
        np.testing.assert_allclose(found.cov[0], whole.cov[upto - 1], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.log_likelihood[:upto], whole.log_likelihood[:upto], rtol=1e-10)
        assert not np.any(found.log_likelihood[upto:])
