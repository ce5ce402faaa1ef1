"""Profile, posterior and hierarchy of bodies beside Magdelaine's, each against an oracle of its own."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

import t1djax
from t1djax.physics import (
    AbstractPhysiology,
    Hovorka,
    Kanderian,
    count_steps,
    hovorka,
    kanderian,
    start_symbol,
    state_units,
)
from t1djax.records import Fit

from .bodies import Bergman, bergman

KEY = jax.random.key(3)
SD = 10.0
TS = np.arange(0.0, 721.0, 15.0)
MEALS, BOLUSES = [(120.0, 50.0, 15.0), (400.0, 70.0, 15.0)], [(115.0, 4.0), (390.0, 5.0)]
FREE = {Kanderian: ("SI", "VG"), Hovorka: ("SI1", "EGP0"), Bergman: ("SI", "VG")}
BODIES = {"kanderian": lambda: kanderian()["3"], "hovorka": hovorka, "bergman": bergman}
EVERY = pytest.mark.parametrize("name", list(BODIES))


pytestmark = pytest.mark.usefixtures("float64")


def record(name: str, body: AbstractPhysiology, *, seed: int, ts: np.ndarray = TS) -> t1djax.Patient:
    """From rest, under doses that show what is estimated, read with white noise."""
    _, basal = body.rest(120.0)
    doses = t1djax.Doses.of(basal=float(basal), meals=MEALS, boluses=BOLUSES)
    inputs, y0 = doses.inputs(0, ts[-1]), body.rest(120.0)[0]
    steps = count_steps(ts, inputs.break_min, body.step_min)
    run = jax.jit(lambda body, y0: body.solution(inputs, jnp.asarray(ts), y0, steps=steps).glucose_mg_dL)
    G = run(body, y0)
    noise = SD * np.random.default_rng(seed).standard_normal(len(ts))
    return t1djax.Patient(name, ts, np.asarray(G) + noise, doses, {s: float(x) for s, x in body.values().items()})


def glucose(patient: t1djax.Patient, cls: type[AbstractPhysiology], symbols: tuple[str, ...]) -> Callable:
    """Of the logarithms of some parameters, the last of which is `G0`: written apart from what is tested."""
    inputs = patient.doses.inputs(float(patient.time_min[0]), float(patient.time_min[-1]))
    ts, insulin = jnp.asarray(patient.time_min), jnp.asarray(float(patient.doses.basal_U_h[0]) / 60)
    steps = count_steps(ts, inputs.break_min, cls.step_min)

    def of(z: jax.Array) -> jax.Array:
        values = dict(patient.known) | dict(zip(symbols, jnp.exp(z), strict=True))
        p = cls.of(values)
        return p.solution(inputs, ts, p.start(jnp.asarray(values["G0"]), insulin), steps=steps).glucose_mg_dL

    return of


@functools.cache
def ada(name: str) -> t1djax.Patient:
    return record("Ada", BODIES[name](), seed=4)


@functools.cache
def fit_of(name: str) -> Fit:
    cls = type(BODIES[name]())
    question = t1djax.Question(physiology=cls, free=FREE[cls], noise_sd_mg_dL=SD)
    return t1djax.fit([ada(name)], question, model="ode")


@pytest.mark.slow
@EVERY
def test_ends_of_a_profile_are_those_of_refits_by_scipy(name: str) -> None:
    fit = fit_of(name)
    symbol, other = FREE[fit.problem.body]
    patient = fit["Ada"].patient
    found = t1djax.profile(fit, symbol=symbol, autocorrelated=False)["Ada"]
    run = jax.jit(glucose(patient, fit.problem.body, (symbol, other, "G0")))
    slopes = jax.jit(jax.jacfwd(glucose(patient, fit.problem.body, (symbol, other, "G0"))))
    fitted = patient.masks.fit

    def squares(end: float) -> float:
        at = lambda x: jnp.asarray([np.log(end), *x])
        rows = lambda x: (np.asarray(run(at(x))) - patient.glucose_mg_dL)[fitted] / SD
        jac = lambda x: np.asarray(slopes(at(x)))[fitted, 1:] / SD
        start = np.log([fit["Ada"].estimates[s].value for s in (other, "G0")])
        return 2 * optimize.least_squares(rows, start, jac, xtol=1e-12, ftol=1e-12).cost  # pyright: ignore[reportArgumentType]

    excess = [squares(end) - squares(found.estimate) for end in (found.low, found.high)]
    assert found.converged
    assert found.threshold == pytest.approx(stats.chi2.ppf(0.9, 1))
    np.testing.assert_allclose(excess, found.threshold, rtol=0.02)


@pytest.mark.slow
@EVERY
def test_posterior_is_the_density_on_a_grid(name: str) -> None:
    fit = fit_of(name)
    body, patient = fit.problem.body, fit["Ada"].patient
    problem = t1djax.pose([patient], physiology=body, free=FREE[body][:1], noise_sd_mg_dL=SD, key=KEY)
    found = t1djax.sample_posterior([patient], problem, key=KEY, chains=2, draws=300, warmup=100)["Ada"]
    assert found.ok, found.message
    symbols = (*FREE[body][:1], "G0")
    middle = {s: np.log(found.draws[s]) for s in symbols}
    axes = [m.mean() + 5 * m.std() * np.linspace(-1, 1, 61) for m in middle.values()]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    G = np.asarray(jax.jit(jax.vmap(glucose(patient, body, symbols)))(jnp.asarray(points)))
    fitted = patient.masks.fit
    log_p = -0.5 * np.sum((G[:, fitted] - patient.glucose_mg_dL[fitted]) ** 2, axis=1) / SD**2
    p = np.exp(log_p - log_p.max()).reshape(61, 61)
    for i, symbol in enumerate(symbols):
        mass = p.sum(axis=1 - i)
        cdf = (np.cumsum(mass) - mass / 2) / mass.sum()
        for q in (0.1, 0.5, 0.9):
            share = np.mean(middle[symbol] <= np.interp(q, cdf, axes[i]))
            assert share == pytest.approx(q, abs=4 * np.sqrt(q * (1 - q) / found.ess_tail[symbol]))
    assert "noise_sd_mg_dL" not in found.draws
    assert symbols[0] in found._repr_html_()


def test_glucose_of_draws_is_that_of_the_body() -> None:
    patient = ada("kanderian")
    problem = t1djax.pose([patient], physiology=Kanderian, free=["SI"], noise_sd_mg_dL=SD, key=KEY)
    drawn = {"SI": np.array([[6e-4]]), "G0": np.array([[150.0]])}
    one = t1djax.records.PatientPosterior("Ada", t1djax.Outcome.converged, drawn, {}, {}, {}, 0, 1.0, Kanderian)
    posterior = t1djax.records.Posterior(problem, "white", (one,), t1djax.records.Cost(0.0, 0.0))
    found = t1djax.inference.posterior_glucose(posterior, [patient], key=KEY, draws=2)["Ada"]
    expected = glucose(patient, Kanderian, ("SI", "G0"))(jnp.log(jnp.asarray([6e-4, 150.0])))
    np.testing.assert_allclose(found, np.stack([expected] * 2), rtol=1e-9)


@pytest.mark.slow
def test_hierarchy_is_that_of_normal_people() -> None:
    """Informative records: each person's fit is a normal reading of the logarithm, and the population follows on a
    grid of its middle and spread."""
    n, rng = 8, np.random.default_rng(11)
    truth = 4e-4 * np.exp(0.3 * rng.standard_normal(n))
    bodies = [dataclasses.replace(kanderian()["3"], SI=jnp.asarray(x)) for x in truth]
    people = [record(f"P{i}", body, seed=20 + i) for i, body in enumerate(bodies)]
    asked = t1djax.Question(physiology=Kanderian, free=["SI"], noise_sd_mg_dL=SD)
    problem = t1djax.pose(people, asked, key=KEY)
    found = t1djax.fit_hierarchy(people, problem, key=KEY)
    alone = t1djax.fit(people, asked, model="ode")
    y = np.log([f.estimates["SI"].value for f in alone])
    v = np.array([(f.estimates["SI"].white_error or np.nan) / f.estimates["SI"].value for f in alone]) ** 2
    mean, log_sd = np.meshgrid(np.linspace(-9.0, -6.8, 301), np.linspace(-4.0, 1.0, 251), indexing="ij")
    total = v + np.exp(2 * log_sd)[..., None]
    log_p = -0.5 * np.sum((y - mean[..., None]) ** 2 / total + np.log(total), axis=-1)
    log_p -= 0.5 * (log_sd - np.log(0.2)) ** 2
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    moments = lambda x: (np.sum(p * x), np.sqrt(np.sum(p * x**2) - np.sum(p * x) ** 2))
    assert all(person.ok for person in found)
    for draws, axis in ((np.log(found.median["SI"]), mean), (np.log(found.sd_log["SI"]), log_sd)):
        centre, spread = moments(axis)
        assert draws.mean() == pytest.approx(centre, abs=0.2 * spread)
        assert draws.std() == pytest.approx(spread, rel=0.15)
    # The truth is the population's that the people were drawn from.
    assert abs(np.log(found.median["SI"]).mean() - np.log(truth).mean()) < 2 * np.log(found.median["SI"]).std()
    assert "mL/uU/min" in repr(found["P0"])


@pytest.mark.parametrize(
    ("physiology", "free"),
    [
        ("kanderian", ("SI", "CI")),
        ("kanderian", ("tau1", "tau2")),
        pytest.param("hovorka", ("SI1", "SI2", "SI3", "VI"), marks=pytest.mark.slow),
    ],
)
def test_sets_that_glucose_cannot_tell_apart_are_refused_by_name(physiology: str, free: tuple[str, ...]) -> None:
    patient = ada(physiology)
    with pytest.raises(t1djax.UnidentifiableError) as caught:
        t1djax.pose([patient], physiology=physiology, free=free, key=KEY)
    assert all(symbol in str(caught.value) for symbol in free)
    told = t1djax.preflight([patient], physiology=physiology, free=free, what_if=False)["Ada"]
    if physiology == "hovorka" or "CI" in free:
        assert [set(d.undetermined) for d in told.directions if d.structural] == [set(free)]


def lived(body: AbstractPhysiology, *, recorded: bool) -> tuple[t1djax.Patient, AbstractPhysiology, object]:
    """Somebody with a meal and a bolus before the record begins, on record or not; and the state as it begins."""
    y0, basal = body.rest(120.0)
    before, after = {"meals": [(-70.0, 60.0, 15.0)], "boluses": [(-75.0, 5.0)]}, {"meals": MEALS, "boluses": BOLUSES}
    doses = t1djax.Doses.of(basal=[(-600.0, float(basal))], **{k: before[k] + after[k] for k in after})
    seen = doses if recorded else t1djax.Doses.of(basal=[(-600.0, float(basal))], **after)
    path = body.solution(doses.inputs(-600, TS[-1]), jnp.asarray(np.append(-300.0, TS)), y0)
    G = np.asarray(path.glucose_mg_dL)[1:] + SD * np.random.default_rng(5).standard_normal(len(TS))
    known = {s: float(x) for s, x in body.values().items()}
    return t1djax.Patient("Ada", TS, G, seen, known), body, jax.tree.map(lambda x: x[1], path.state)


@pytest.mark.parametrize("name", ["kanderian", "hovorka"])
def test_what_is_on_board_starts_where_doses_before_the_record_leave_it(name: str) -> None:
    patient, body, state = lived(BODIES[name](), recorded=True)
    problem = t1djax.pose([patient], physiology=type(body), estimate_initial_state=True, key=KEY)
    rows = type(body).initial_states()
    assert set(rows) <= set(problem.start)
    truth = {start_symbol(s): float(getattr(state, s)) for s in body.facts.dose_states}
    # The first row's G0 is the reading; what doses drive does not depend on it. The drawn sensitivity moves effects.
    exact = [s for s in rows if not s.startswith(("Ieff", "x"))]
    assert {s: problem.start[s][0] for s in exact} == pytest.approx({s: truth[s] for s in exact}, rel=1e-3)
    assert rows[exact[0]].unit == state_units(type(body).States)[body.facts.dose_states[0]]


def test_a_start_that_is_estimated_takes_doses_that_nobody_recorded() -> None:
    patient, body, _ = lived(kanderian()["3"], recorded=False)
    asked = t1djax.Question(physiology=Kanderian, free=["SI"], noise_sd_mg_dL=SD)
    wrong = t1djax.fit([patient], asked, model="ode")["Ada"].estimates["SI"]
    found = t1djax.fit([patient], asked, model="ode", estimate_initial_state=True)["Ada"]
    right, truth = found.estimates["SI"], float(body.values()["SI"])
    assert found.ok
    assert abs(right.value - truth) < 3 * (right.white_error or 0.0)
    assert abs(wrong.value - truth) > 3 * (wrong.white_error or np.inf)
    assert abs(right.value - truth) < 0.5 * abs(wrong.value - truth)
    assert found.glucose_mg_dL == pytest.approx(patient.glucose_mg_dL, abs=4 * SD)


def test_a_meal_before_the_record_counts() -> None:
    patient, *_ = lived(kanderian()["3"], recorded=True)
    doses = patient.doses
    early = dataclasses.replace(doses, meal_time_min=doses.meal_time_min[:1], carbs_g=doses.carbs_g[:1],
                                meal_duration_min=doses.meal_duration_min[:1])  # fmt: skip
    one = dataclasses.replace(patient, doses=early)
    assert t1djax.pose([one], physiology=Kanderian, free=["tauM"], key=KEY).named == ("tauM",)
    late = dataclasses.replace(early, meal_time_min=early.meal_time_min + 2 * 1440.0)
    with pytest.raises(t1djax.UnidentifiableError, match="no meal"):
        t1djax.pose([dataclasses.replace(patient, doses=late)], physiology=Kanderian, free=["tauM"], key=KEY)
