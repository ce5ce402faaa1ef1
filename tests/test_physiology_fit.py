"""Least squares, reports and refusals on bodies other than the package's first."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import t1djax
from t1djax.data import virtual_population
from t1djax.inference import _least_squares
from t1djax.physics import PHYSIOLOGIES, Kanderian, NoRestError, PhysiologyError, kanderian

from .bodies import Bergman, bergman
from .command import done
from .test_physiology import GivesDict, NoRow, NoStateUnit, NoTree, NoUnit, Restless

FREE = ("SI", "VG", "tauM", "EGP")
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def ten() -> t1djax.Cohort:
    return virtual_population(10, key=KEY, bodies=kanderian())


@pytest.fixture(scope="module")
def fit(ten: t1djax.Cohort) -> t1djax.Fit:
    return t1djax.fit(ten, model="ode", physiology="kanderian", free=[*FREE, "G0"])


def noisy(cohort: t1djax.Cohort, seed: int = 0) -> t1djax.Cohort:
    rng = np.random.default_rng(seed)
    without = lambda p: {s: x for s, x in p.known.items() if s != "G0"}
    errors = lambda p: 10 * rng.standard_normal(len(p.time_min))
    read = lambda p: dataclasses.replace(p, glucose_mg_dL=p.glucose_mg_dL + errors(p), known=without(p))
    return t1djax.Cohort(tuple(map(read, cohort.patients)), cohort.truth)


def test_ten_people_are_found_again(ten: t1djax.Cohort, fit: t1djax.Fit) -> None:
    for found in fit:
        truth = ten.truth[found.name]
        assert found.ok, found.message
        assert set(found.states) == set(truth.states)
        for symbol in (*FREE, "G0"):
            assert found.estimates[symbol].value == pytest.approx(truth.parameters[symbol], rel=1e-6)
        true = truth.parameters["SI"] / truth.parameters["CI"]
        assert found.derived["SI_CI"].value == pytest.approx(true, rel=1e-6)
        np.testing.assert_allclose(found.glucose_mg_dL, truth.glucose_mg_dL, atol=1e-4)


def test_least_squares_is_that_of_scipy(ten: t1djax.Cohort) -> None:
    """The same readings by SciPy's solver, on glucose of adaptive steps."""
    people = noisy(ten).select(["3"])
    patient = people["3"]
    found = t1djax.fit(people, model="ode", physiology=Kanderian, free=["SI", "VG"])["3"]
    with jax.enable_x64(True):
        data = t1djax.data.series(patient)
        known = {s: jnp.asarray(v) for s, v in patient.known.items()}
        basal = float(patient.doses.basal_U_h[0]) / 60

        @jax.jit
        def glucose(z: jax.Array) -> jax.Array:
            p = Kanderian.of(known | {"SI": jnp.exp(z[0]), "VG": jnp.exp(z[1])})
            y0 = p.start(jnp.exp(z[2]), jnp.asarray(basal))
            return t1djax.simulate(p, data.inputs, data.time_min, y0=y0).glucose_mg_dL

        fits = np.asarray(data.fit)
        misfit = lambda z: (np.asarray(glucose(jnp.asarray(z))) - patient.glucose_mg_dL)[fits]
        start = np.log([patient.known["SI"], patient.known["VG"], 120.0])
        theirs = np.exp(scipy.optimize.least_squares(misfit, start, x_scale=0.1, diff_step=1e-4).x)
    ours = [found.estimates[symbol].value for symbol in ("SI", "VG", "G0")]
    np.testing.assert_allclose(ours, theirs, rtol=2e-4)


@pytest.mark.slow
def test_errors_are_those_of_the_curvature(ten: t1djax.Cohort) -> None:
    """Standard errors against the inverse of `J'J`, with `J` by differences of solutions."""
    people = noisy(ten).select(["1"])
    question = t1djax.Question(physiology="kanderian", free=FREE, noise_sd_mg_dL=10.0)
    found, patient = t1djax.fit(people, question, model="ode")["1"], people["1"]
    symbols = (*FREE, "G0")
    with jax.enable_x64(True):
        data, known = t1djax.data.series(patient), {s: jnp.asarray(v) for s, v in patient.known.items()}
        basal = jnp.asarray(float(patient.doses.basal_U_h[0]) / 60)
        steps = t1djax.physics.count_steps(data.time_min, data.inputs.break_min, 5.0)

        @jax.jit
        def glucose(z: jax.Array) -> jax.Array:
            values = known | dict(zip(symbols, jnp.exp(z), strict=True))
            p = Kanderian.of(values)
            y0 = p.start(values["G0"], basal)
            return p.solution(data.inputs, data.time_min, y0, steps=steps).glucose_mg_dL

        at = np.log([found.estimates[s].value for s in symbols])
        ways = [(glucose(jnp.asarray(at + h)), glucose(jnp.asarray(at - h))) for h in 1e-4 * np.eye(len(symbols))]
    J = np.stack([(np.asarray(up) - np.asarray(down)) / 2e-4 for up, down in ways], axis=1)[np.asarray(data.fit)]
    bound = 10 * np.sqrt(np.diag(np.linalg.inv(J.T @ J)))
    ours = [(found.estimates[s].white_error or 0.0) / found.estimates[s].value for s in symbols]
    np.testing.assert_allclose(ours, bound, rtol=1e-3)


@pytest.mark.slow
def test_report_says_what_readings_tell(ten: t1djax.Cohort) -> None:
    people = noisy(ten).select(["1", "6"])
    found = t1djax.fit(people, model="ode", physiology="kanderian", free=FREE)
    report = t1djax.identify(found, people)
    assert {s: d.verdict for s, d in report["6"].parameters.items()} == dict.fromkeys((*FREE, "G0"), "determined")
    assert report["6"].derived["SI_CI"].verdict == "determined"
    assert "insulin sensitivity, in mL/uU/min" in report["6"]._repr_html_()
    assert report["6"].what_if
    assert all(np.isfinite(after) for gain in report["6"].what_if for _, after in gain.percent.values())


def test_preflight_sees_what_cannot_be_told_apart(ten: t1djax.Cohort) -> None:
    some = noisy(ten).select(["1"])
    apart = t1djax.preflight(some, physiology="kanderian", free=["SI", "VG"], what_if=False)["1"]
    alike = t1djax.preflight(some, physiology="kanderian", free=["SI", "CI"], what_if=False)["1"]
    assert (apart.rank, alike.rank) == (3, 2)
    assert set(alike.directions[0].undetermined) == {"SI", "CI"}


@pytest.mark.parametrize("free", [("SI", "CI"), ("tau1", "tau2"), ("tau1", "p2"), ("SI", "tau2", "p2")])
def test_sets_that_show_together_are_refused_by_name(ten: t1djax.Cohort, free: tuple[str, ...]) -> None:
    with pytest.raises(t1djax.UnidentifiableError) as caught:
        t1djax.fit(ten, model="ode", physiology="kanderian", free=free)
    assert sum(symbol in str(caught.value) for symbol in free) >= 2


def test_a_prior_lets_them_stand_together(ten: t1djax.Cohort) -> None:
    prior = {"CI": t1djax.LogNormal(ten["3"].known["CI"], 0.1)}
    found = t1djax.fit(ten.select(["3"]), model="ode", physiology="kanderian", free=["SI", "CI"], priors=prior)["3"]
    assert found.ok
    assert found.estimates["CI"].prior_dominated


def test_record_without_a_meal_says_nothing_of_meals(ten: t1djax.Cohort) -> None:
    empty = dict.fromkeys(("meal_time_min", "carbs_g", "meal_duration_min"), np.zeros(0))
    fasting = dataclasses.replace(ten["1"], doses=dataclasses.replace(ten["1"].doses, **empty))
    with pytest.raises(t1djax.UnidentifiableError, match="no meal"):
        t1djax.fit([fasting], model="ode", physiology="kanderian", free=["VG"])


@pytest.mark.parametrize(
    ("known", "part"),
    [({"SI": -1e-4}, "SI of 1"), ({"ksi": 200.0}, "ksi of 1"), ({"VG": 25300.0}, "VG of 1")],
)
def test_parameters_that_nobody_has_are_refused(ten: t1djax.Cohort, known: dict[str, float], part: str) -> None:
    odd = dataclasses.replace(ten["1"], known={**ten["1"].known, **known})
    with pytest.raises(ValueError, match=part):
        t1djax.fit([odd], model="ode", physiology="kanderian", free=["EGP"])


def test_who_does_not_rest_at_the_target_is_named() -> None:
    therapy = t1djax.data.Therapy(target_mg_dL=160.0)
    with pytest.raises(NoRestError, match=r"^Ben: .*137 mg/dL"):
        virtual_population(2, key=KEY, bodies={"Ada": kanderian()["1"], "Ben": kanderian()["2"]}, therapy=therapy)


def test_columns_of_one_name_have_one_unit() -> None:
    units: dict[str, set[str]] = {}
    for body in PHYSIOLOGIES.values():
        for row in body.parameters.values():
            units.setdefault(row.column, set()).add(row.unit)
    assert {column: unit for column, unit in units.items() if len(unit) > 1} == {}


def test_a_volume_of_another_body_is_named_by_its_column(ten: t1djax.Cohort, tmp_path: Path) -> None:
    t1djax.write_cohort(ten.select(["1"]), tmp_path)
    table = tmp_path / "patients.csv"
    whole = table.read_text()
    table.write_text("patient,VG\n1,253\n")
    patient = t1djax.read_cohort(tmp_path)["1"]
    with pytest.raises(ValueError, match=r"VG_L_kg of 1 = 253 L/kg"):
        t1djax.fit([patient], model="ode", physiology="hovorka", free=["SI1"], assume_population=True)
    table.write_text("patient,VG,VG_L_kg\n1,253,0.16\n")
    with pytest.raises(t1djax.DataError, match=r"column VG(_L_kg)?: is VG once more"):
        t1djax.read_cohort(tmp_path)
    table.write_text(whole.replace("tauM", "Tu_min"))
    with pytest.raises(ValueError, match=r"Tu \(column Tu_min\) of 1"):
        t1djax.fit(t1djax.read_cohort(tmp_path), model="ode", physiology="kanderian", free=["SI"])


def test_a_body_mass_may_be_stated_of_anybody(ten: t1djax.Cohort, tmp_path: Path) -> None:
    """A person has one, whatever the physiology; it is read, written and left alone."""
    heavy = dataclasses.replace(ten["1"], known={**ten["1"].known, "M": 89.0})
    t1djax.write_cohort(t1djax.Cohort((heavy,), {}), tmp_path)
    back = t1djax.read_cohort(tmp_path)["1"]
    assert back.known["M"] == 89.0
    problem = t1djax.pose([back], physiology="kanderian", free=["SI"], key=KEY)
    assert set(problem.known) | {"SI"} == set(Kanderian.parameters) - ({"G0"} & set(problem.start))


def test_unknown_physiology_names_the_nearest() -> None:
    with pytest.raises(t1djax.ArgumentError, match="kanderian") as caught:
        t1djax.Question(physiology="kandarian")
    assert caught.value.argument == ("physiology",)


def test_one_bad_person_returns_its_flag(ten: t1djax.Cohort) -> None:
    bad = dataclasses.replace(ten["2"], doses=t1djax.Doses.of(boluses=[(60, 1e305)], meals=[(60, 50)]))
    found = t1djax.fit([ten["1"], bad], model="ode", physiology="kanderian", free=["SI"])
    assert [p.ok for p in found] == [True, False]
    assert found["1"].estimates["SI"].value == pytest.approx(ten["1"].known["SI"], rel=1e-6)


@pytest.mark.parametrize(
    ("wrong", "part"),
    [(NoUnit, "SG"), (NoRow, "SG"), (NoStateUnit, "X"), (NoTree, "pytree"), (Restless, "rest"), (GivesDict, "dict")],
)
@pytest.mark.parametrize("model", ["ode", "pinn"])
def test_a_wrong_body_is_told_so_before_any_work(
    ten: t1djax.Cohort, wrong: type[Bergman], part: str, model: str
) -> None:
    unknown = dataclasses.replace(ten["1"], known={})
    with pytest.raises(PhysiologyError, match=f"{wrong.__name__}: .*{part}"):
        t1djax.fit([unknown], model=model, physiology=wrong, free=["SI"], assume_population=True)
    with pytest.raises(PhysiologyError):
        t1djax.preflight([unknown], physiology=wrong, free=["SI"], assume_population=True)


@pytest.mark.slow
def test_a_body_of_ones_own_is_fitted() -> None:
    bodies = {"Ada": bergman(), "Ben": Bergman(**(bergman().values() | {"SI": 5e-4, "VG": 120.0}))}
    people = virtual_population(2, key=KEY, bodies=bodies)
    found = t1djax.fit(people, model="ode", physiology=Bergman, free=["SI", "VG"])
    for name, body in bodies.items():
        assert found[name].estimates["SI"].value == pytest.approx(float(body.SI), rel=1e-6)
        assert found[name].estimates["VG"].value == pytest.approx(float(body.VG), rel=1e-6)
    report = t1djax.identify(found, people, what_if=False)
    assert report["Ada"].parameters["SI"].unit == "1/min per mU/L"


def test_tables_carry_another_body(ten: t1djax.Cohort, tmp_path: Path) -> None:
    some = ten.select(["1", "2"])
    t1djax.write_cohort(some, tmp_path / "out")
    back = t1djax.read_cohort(tmp_path / "out", truth=True)
    for p in some:
        assert dict(back[p.name].known) == dict(p.known)
        assert set(back.truth[p.name].states) == set(some.truth[p.name].states)
    with pytest.raises(ValueError, match="no parameter of Magdelaine"):
        t1djax.fit(back, model="ode", free=["ksi"])


@pytest.mark.slow
def test_command_line_fits_another_body(ten: t1djax.Cohort, tmp_path: Path) -> None:
    t1djax.write_cohort(noisy(ten).select(["1", "2"]), tmp_path / "in")
    flags = ["--data", str(tmp_path / "in"), "--results", str(tmp_path / "out"), "--no-tracking", "--no-figures"]
    done("train", "--model", "ode", "--physiology", "kanderian", "--free", "SI,VG", *flags)
    folders = t1djax.find_results([tmp_path / "out"])
    found = [t1djax.read_result(folder) for folder in folders]
    assert {r.metadata["patient"] for r in found} == {"1", "2"}
    assert all({"SI", "VG", "G0"} == set(r.metadata["estimates"]) for r in found)
    assert all("Ieff_per_min" in r.predictions for r in found)


@pytest.mark.slow
def test_prediction_goes_on_from_the_end_and_from_a_file(ten: t1djax.Cohort, tmp_path: Path) -> None:
    """One day is fitted, noise-free; the next is told of by its doses alone, and comes out as it was lived."""
    whole = ten["3"]
    first = whole.time_min <= 1440
    day = dataclasses.replace(whole, time_min=whole.time_min[first], glucose_mg_dL=whole.glucose_mg_dL[first])
    found = t1djax.fit([day], model="ode", physiology="kanderian", free=["SI", "VG"])
    model = t1djax.prediction.fitted_patient(found, day)
    t1djax.write_fitted(model, tmp_path / "3.json")
    future = t1djax.patient_to_frame(whole).drop(columns="glucose_mg_dL").query("time_min > 1440")
    future = future.fillna({"basal_U_h": float(whole.doses.basal_U_h[0]), "bolus_U": 0.0, "carbs_g": 0.0})
    told = [t1djax.predict(each, future).glucose_mg_dL for each in (model, t1djax.read_fitted(tmp_path / "3.json"))]
    np.testing.assert_array_equal(*told)
    np.testing.assert_allclose(told[0], ten.truth["3"].glucose_mg_dL[~first], atol=0.5)


@pytest.mark.slow
def test_who_needs_many_steps_goes_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large cohorts first take few steps: those that are cut off come out as if nothing had been."""
    options = t1djax.inference.LeastSquares(starts=1, max_steps=30)
    people = t1djax.reference_cohort(interval_min=120, names=["Pat2", "Pat3"])
    asked = lambda: t1djax.fit(people, model="ode", free=["ksi", "Tr"], options=options)
    whole = asked()
    monkeypatch.setattr(_least_squares, "_LARGE", 1)
    monkeypatch.setattr(_least_squares, "_SOON", 4)
    cut = asked()
    assert whole.history.step[-1] > 4
    for one, same in zip(whole, cut, strict=True):
        assert one.ok
        assert same.ok
        for symbol, e in one.estimates.items():
            assert same.estimates[symbol].value == pytest.approx(e.value, rel=1e-9)
