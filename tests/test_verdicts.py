"""Verdicts know whether the model holds: within it they stay, outside they are taken back; and how all is said."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import t1djax
from t1djax.inference import quick_verdict
from t1djax.inference._information import Bounds, noise_correlations, residuals
from t1djax.inference._misfit import misfits
from t1djax.inference._words import directions
from t1djax.records import interval_words, person_of

from .command import done, refused

DRAWS, MEALS = 100, 6


def _noise(rng: np.random.Generator, rho: float, shape: tuple[int, int]) -> np.ndarray:
    """AR(1) of variance one, row by row."""
    e = rng.normal(size=shape)
    for i in range(1, shape[1]):
        e[:, i] = rho * e[:, i - 1] + np.sqrt(1 - rho**2) * e[:, i]
    return e


@pytest.fixture(scope="module")
def people() -> tuple[t1djax.Cohort, t1djax.Fit]:
    """One body under draws of white and AR(1) noise of 10 mg/dL, and eating 40 g more than it says."""
    one = t1djax.reference_cohort(interval_min=15, names=["Pat3"])["Pat3"]
    n = len(one.time_min)
    rng = np.random.default_rng(11)
    names = ("ksi", "kl", "kb", "Tu", "ku_Vi", "Tr", "kr_Vb")
    d = one.doses
    meals = np.append(d.meal_time_min, 900.0), np.append(d.carbs_g, 40.0), np.append(d.meal_duration_min, 15.0)
    more = dataclasses.replace(d, meal_time_min=meals[0], carbs_g=meals[1], meal_duration_min=meals[2])
    with jax.enable_x64(True):
        p = t1djax.Magdelaine(**{s: one.known[s] for s in names})
        inputs = more.inputs(float(one.time_min[0]), float(one.time_min[-1]))
        eaten = t1djax.propagate(p, inputs, jnp.asarray(one.time_min), G0=one.known["G0"]).glucose_mg_dL
    rows = [
        *(("white", g) for g in one.glucose_mg_dL + 10 * _noise(rng, 0.0, (DRAWS, n))),
        *(("red", g) for g in one.glucose_mg_dL + 10 * _noise(rng, 0.7, (DRAWS, n))),
        *(("meal", g) for g in np.asarray(eaten) + 10 * _noise(rng, 0.7, (MEALS, n))),
    ]
    cohort = t1djax.Cohort(
        tuple(dataclasses.replace(one, name=f"{k}{i}", glucose_mg_dL=g) for i, (k, g) in enumerate(rows))
    )
    return cohort, t1djax.fit(cohort, model="ode", free=["ksi", "G0"], noise_sd_mg_dL=10.0)


@pytest.fixture(scope="module")
def report(people: tuple[t1djax.Cohort, t1djax.Fit]) -> t1djax.records.Identification:
    return t1djax.identify(people[1], people[0])


def test_within_the_model_verdicts_stay_and_an_unannounced_meal_takes_them_back(people, report):
    for kind in ("white", "red"):
        mine = [p for p in report if p.name.startswith(kind)]
        stay = np.mean([p.parameters["ksi"].verdict == "determined" for p in mine])
        assert stay > 0.95, kind
        chi2 = np.array([p.misfit.chi_square for p in mine])
        assert abs(np.mean(chi2) - 1) < 0.1  # of the right size: what a known noise gives
    for p in (p for p in report if p.name.startswith("meal")):
        assert {d.verdict for d in [*p.parameters.values(), *p.derived.values()]} == {"model misfit"}
        assert p.parameters["ksi"].reason.startswith("determined (±")
        assert f"only if the model held; it misses its readings by {p.misfit.rms_mg_dL:.3g} mg/dL" in (
            p.parameters["ksi"].reason
        )
        assert any("which the model does not describe" in w for w in p.warnings)
        assert p.as_dict()["misfit"]["found"]
    assert quick_verdict(people[1]) == report.verdict
    assert f"model misfit in {MEALS}" in report.verdict


def test_the_verdict_of_an_ensemble_is_about_patients(people, report):
    _, fit = people
    alike = t1djax.records.Ensemble((0, 1), (fit, fit))
    assert quick_verdict(alike) == report.verdict
    first = fit.patients[0]
    beyond = {s: e._replace(at_bound=True) for s, e in first.estimates.items()}
    other = dataclasses.replace(fit, patients=(dataclasses.replace(first, estimates=beyond), *fit.patients[1:]))
    said = quick_verdict(t1djax.records.Ensemble((0, 1, 2), (fit, fit, other)))
    for symbol in first.estimates:
        of = said.split(f"{symbol} ")[1].split(";")[0]
        assert f"differing between seeds in 1 of {len(fit)}" in of
        assert sum(int(n) for n in re.findall(r"in (\d+) of", of)) == len(fit)


def test_noise_that_nobody_states_is_that_of_a_sensor(people):
    cohort, fit = people
    left = [residuals(cohort[f.name], f.glucose_mg_dL) for f in fit]
    correlations = noise_correlations(left)
    found = misfits(cohort.patients, left, correlations, unknowns=2, noise_sd_mg_dL=None)
    flagged = lambda kind: np.mean([one.found for one, p in zip(found, cohort, strict=True) if p.name.startswith(kind)])
    assert flagged("white") == flagged("red") == 0
    assert flagged("meal") == 1
    # Stated as 3 mg/dL, a noise of 10 is a misfit; 30 mg/dL of white noise is not, as the readings show their noise.
    strict = misfits(cohort.patients[:2], left[:2], correlations[:2], unknowns=2, noise_sd_mg_dL=3.0)
    assert all(one.found for one in strict)
    loud = cohort.patients[0]
    e = np.random.default_rng(0).normal(0, 30, len(loud.time_min))
    loud = dataclasses.replace(loud, glucose_mg_dL=200 + e)
    left_ = residuals(loud, np.full(len(e), 200.0))
    (one,) = misfits([loud], [left_], noise_correlations([left_]), unknowns=2, noise_sd_mg_dL=None)
    assert not one.found
    assert 20 < one.sensor_mg_dL < 40
    # A failed fit leaves nothing to trust.
    broken = (left_[0], np.full(len(left_[0]), np.nan))
    assert misfits([loud], [broken], noise_correlations([broken]), unknowns=2, noise_sd_mg_dL=None)[0].found


def test_what_other_data_would_bring_is_in_the_errors_of_the_table(report):
    p = next(p for p in report if p.name.startswith("red") and p.inflation > 1.5)
    for change in p.what_if:
        for symbol, (before, after) in change.percent.items():
            assert before == pytest.approx(p.parameters[symbol].robust_percent)
            assert 0 < after < 1.5 * before
    assert p.what_if[1].percent["ksi"][1] < p.what_if[1].percent["ksi"][0]


def test_a_trace_of_another_model_is_not_determined(shared):
    file = shared / "data" / "simglucose" / "adult_001_GuardianRT5min_72h.csv"
    said = done("identify", file, "--free", "ksi", "--assume-population", "--json").json["patients"][0]
    assert said["misfit"]["found"]
    assert "determined" not in {d["verdict"] for d in said["parameters"].values()}
    assert said["parameters"]["ksi"]["verdict"] == "model misfit"


@pytest.fixture(scope="module")
def falling():
    """Somebody whose readings would have begun below zero."""
    # Without insulin glucose rises by c all along: 258 mg/dL before the first reading, which is 100.
    one = t1djax.reference_cohort(interval_min=15, names=["Pat3"])["Pat3"]
    t = np.append(0.0, np.arange(720.0, 1800.0, 15.0))
    glucose = np.append(np.nan, 100 + np.random.default_rng(0).normal(0, 5, len(t) - 1))
    known = {s: v for s, v in one.known.items() if s not in ("G0", "M", "kb")} | {"kb": one.known["kb"]}
    return t1djax.Patient("Ada", t, glucose, t1djax.Doses.of(meals=[(800.0, 10.0)]), known)


@pytest.mark.slow
def test_glucose_at_the_start_has_a_least(falling):
    fit = t1djax.fit([falling], model="ode", free=["Tr"], bounds={"Tr": (20.0, 100.0)})
    found = t1djax.identify(fit, what_if=False)["Ada"]
    assert fit["Ada"].ok
    assert found.parameters["G0"].value == pytest.approx(10.0)  # and not 1e-80
    assert fit["Ada"].estimates["G0"].at_bound
    assert found.parameters["G0"].verdict == "at its bound"


@pytest.mark.slow
def test_glucose_at_the_start_has_a_least_for_networks(falling):
    network = t1djax.fit([falling], model="pinn", free=["Tr"], bounds={"Tr": (20.0, 100.0)})
    assert network["Ada"].estimates["G0"].value == pytest.approx(10.0, rel=1e-3)


def test_intervals_in_words():
    said = [interval_words(*x) for x in ((1.0, 2.0), (0.0, 2.0), (-np.inf, 3.0), (1e-300, 1e300), (None, None))]
    assert said == ["1 to 2", "0 to 2", "up to 3", "the readings do not say", "the readings do not say"]
    assert interval_words(-2.0, np.inf) == "from -2 up"


def test_a_direction_is_said_once():
    # Two weak directions of which both sentences would name Tr and kr_Vb; and a third of its own.
    free = ["G0", "Tr", "kr_Vb"]
    v = np.array([[0, 2, 1], [0, -1, 2], [1, 0, 0]]) / np.sqrt([[5], [5], [1]])
    bounds = Bounds(v.T @ np.diag([0.5, 0.2, 0.15]) ** 2 @ v, np.zeros((3, 0)))
    found = directions(free, t1djax.Magdelaine, [], bounds, bounds)
    assert [sorted(d.undetermined) for d in found] == [["Tr", "kr_Vb"], ["G0"]]
    assert found[0].percent == pytest.approx(100 * np.sqrt(5 / 4) * 0.5, rel=0.01)


def test_a_product_that_is_known_is_told_of_once():
    # The weakest names all three and what is known of them, which is a weak direction itself.
    v = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
    bounds = Bounds(v.T @ np.diag([0.5, 0.3, 0.15]) ** 2 @ v, np.zeros((3, 0)))
    found = directions(["a", "b", "c"], t1djax.Magdelaine, [], bounds, bounds)
    assert [sorted(d.undetermined) for d in found] == [["a", "b", "c"], ["a", "b"]]
    assert " ".join(d.words for d in found).count("c/a^0.5/b^0.5 is known to ±18 %") == 1
    assert found[1].words.count("known") == 1  # of a and b nothing is known better than what is open


def test_what_contradicts_its_prior_is_doubted(people):
    cohort, fit = people
    belief = lambda median: {"ksi": t1djax.LogNormal(median, 0.1)}
    mine = fit["white0"]
    said = t1djax.doubts(mine, cohort["white0"], priors=belief(274 * np.exp(0.45)))
    assert any(s.startswith("ksi = 27") and "4.5 standard deviations from its prior" in s for s in said)
    assert not any("prior" in s for s in t1djax.doubts(mine, cohort["white0"], priors=belief(274 * np.exp(0.25))))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--free", ""], "--free: "),
        (["--free", "ksi,kl", "--known", "ksi=200"], "--known: ksi is to be estimated too"),
    ],
)
def test_flags_that_contradict_themselves_are_refused(tmp_path, flags, words):
    t1djax.write_cohort(t1djax.reference_cohort(interval_min=30, names=["Pat2"]), tmp_path / "data")
    assert words in refused(2, "identify", tmp_path / "data", *flags)


def test_a_report_shows_each_window_of_a_person(tmp_path):
    cohort = t1djax.reference_cohort(interval_min=15, names=["Pat2", "Pat3"])
    t1djax.write_cohort(cohort, tmp_path / "data")
    found = [
        {"name": f"Pat2@{hour:04d}h", "warnings": ["mind the gap"], "parameters": {"ksi": {
            "value": 190.0 + hour, "unit": "mg/U/min", "interval": [150.0, None], "verdict": verdict, "reason": "so"}}}
        for hour, verdict in ((12, "determined"), (24, "model misfit"))
    ]  # fmt: skip
    (tmp_path / "identification.json").write_text(json.dumps([*found, found[0] | {"name": "Bo@0012h"}]))
    output = done("report", tmp_path / "data", "--out", tmp_path / "r.html", "--identified", tmp_path)
    assert "Bo@0012h" in output.err
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    pat2, pat3 = re.split(r'<section id="person-', page)[1:3]
    for words in ("window by window", "0012h", "0024h", "202 (from 150 up)", "model misfit", "mind the gap"):
        assert words in pat2, words
        assert words not in pat3.split("</section>")[0], words
    assert 'alt="Estimates of Pat2 by window"' in pat2
    assert person_of("Ada@home", ["Ada@home"]) == "Ada@home"
