"""What is assumed of a person is the balance `c = kl - kb`; and errors are those that the residuals bear out."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import t1djax
from t1djax import pose
from t1djax.inference import quick_verdict
from t1djax.inference._information import Bounds
from t1djax.inference._words import directions
from t1djax.physics import TYPICAL_C
from t1djax.reporting._tables import fit_blocks

from .command import done, refused

KEY = jax.random.key(0)
REST = {"Tu": 122.0, "ku_Vi": 0.059, "Tr": 183.0, "kr_Vb": 0.0024}


@pytest.fixture(scope="module")
def pat2() -> t1djax.Patient:
    noise = t1djax.WhiteNoise(10.0)
    return t1djax.reference_cohort(interval_min=15, names=["Pat2"], noise=noise, key=KEY)["Pat2"]


def knowing(patient: t1djax.Patient, name: str = "ada", **known: float) -> t1djax.Patient:
    return dataclasses.replace(patient, name=name, known=REST | known)


def assumed(patients, free=("ksi",), **options):
    return pose(patients, mode="inverse", free=free, key=KEY, assume_population=True, **options)


def test_the_balance_is_that_of_the_reference_cohort():
    each = [p.parameters["kl"] - p.parameters["kb"] for p in t1djax.presets().values()]
    assert pytest.approx(np.mean(each), rel=0.02) == TYPICAL_C


def test_what_is_not_stated_follows_what_is(pat2):
    people = [
        knowing(pat2, "light", M=62.0),
        knowing(pat2, "kb", kb=1.4),
        knowing(pat2, "kl", kl=1.94),
        knowing(pat2, "neither"),
        knowing(pat2, "both", kl=1.94, M=72.0),
    ]
    problem = assumed(people)
    c = TYPICAL_C
    np.testing.assert_allclose(problem.known["kb"], [128 / 62, 1.4, 1.94 - c, 128 / 85, 128 / 72], rtol=1e-12)
    np.testing.assert_allclose(problem.known["kl"], [128 / 62 + c, 1.4 + c, 1.94, 128 / 85 + c, 1.94], rtol=1e-12)
    assert problem.assumed == {"M": 85.0, "c": TYPICAL_C}
    assert problem.c_assumed == ("light", "kb", "kl", "neither")
    assert problem.take([4, 3]).c_assumed == ("neither",)
    told = next(note for note in problem.notes if "goes by this assumption" in note)
    assert told.startswith("ksi ")


def test_what_does_not_go_by_the_balance_is_left_alone(pat2):
    light = [knowing(pat2, M=62.0)]
    for free in (["ksi", "kl"], ["Tu", "Tr"]):
        problem = assumed(light, free)
        assert problem.c_assumed == ()
        assert not any("goes by" in note for note in problem.notes)
    assert assumed(light, ["ksi", "kl"]).assumed == {}
    # Where the mass is estimated, c is: kl is then the population's own.
    assert assumed(light, ["ksi", "M"]).known["kl"] == t1djax.PARAMETERS["kl"].typical
    with pytest.raises(ValueError, match=r"kl.*ada"):
        pose(light, mode="inverse", free=["ksi"], key=KEY)


def test_a_stated_mass_moves_no_estimate(pat2):
    people = [knowing(pat2, f"{M:g} kg", M=M) for M in (62.0, 75.0, 100.0)]
    fit = t1djax.fit(people, model="ode", free=["ksi"], assume_population=True)
    ksi = [f.estimates["ksi"].value for f in fit]
    assert np.ptp(ksi) < 1e-6 * ksi[0]
    # As if somebody had stated both.
    stated = knowing(pat2, M=72.0, kl=128 / 72 + TYPICAL_C)
    own = t1djax.fit([stated], model="ode", free=["ksi"])
    assert own["ada"].estimates["ksi"].value == pytest.approx(ksi[0], rel=1e-6)
    # The balance of Pat2 is 0.16: what is assumed is said wherever the estimate is.
    assert not own["ada"].estimates["ksi"].c_assumed
    one = fit["62 kg"]
    assert one.estimates["ksi"].c_assumed
    assert one.derived["c"].c_assumed
    assert not one.estimates["G0"].c_assumed
    said = t1djax.doubts(one, people[0])
    assert any(s.startswith("ksi goes by kl - kb = 0.255 mg/dL/min, which is assumed") for s in said)
    assert not any("goes by" in s for s in t1djax.doubts(own["ada"], stated))
    assert "goes by an assumed balance" in one._repr_html_()


def test_what_an_assumption_sets_is_not_called_determined():
    parameters = {**t1djax.presets()["Pat2"].parameters, "kl": 128 / 72 + TYPICAL_C}  # the assumption is right
    ada = t1djax.data.Subject("ada", parameters, t1djax.presets()["Pat2"].doses, 0, 2880)
    sensor = t1djax.Sensor(t1djax.WhiteNoise(10.0), interval_min=15)
    record = knowing(t1djax.data.simulate_cohort([ada], sensor, key=KEY)["ada"], M=72.0)
    fit = t1djax.fit([record], model="ode", free=["ksi"], assume_population=True)
    report = t1djax.identify(fit, [record], what_if=False)
    verdicts = {s: d.verdict for s, d in {**report["ada"].parameters, **report["ada"].derived}.items()}
    assert verdicts == {"G0": "determined", "ksi": "set by an assumption", "p1": "set by an assumption"}
    assert "estimate kl along with it" in report["ada"].parameters["ksi"].reason
    assert quick_verdict(fit) == report.verdict
    stated = dataclasses.replace(record, known={**record.known, "kl": parameters["kl"]})
    own = t1djax.fit([stated], model="ode", free=["ksi"])
    assert own["ada"].estimates["ksi"].value == pytest.approx(fit["ada"].estimates["ksi"].value, rel=1e-6)
    assert t1djax.identify(own, [stated], what_if=False)["ada"].parameters["ksi"].verdict == "determined"


@pytest.mark.parametrize("mode", ["forward", "inverse"])
def test_a_liver_that_gives_less_than_the_brain_takes_is_refused(pat2, mode):
    people = [knowing(pat2, "fine", M=72.0, kl=1.94), knowing(pat2, "light", M=62.0, kl=1.94)]
    people = [dataclasses.replace(p, known={**p.known, "ksi": 200.0}) for p in people]
    free = ["ksi"] if mode == "inverse" else []
    with pytest.raises(ValueError, match=r"kl = 1\.94.*light.*kb = 2\.065.*62") as error:
        pose(people, mode=mode, free=free, key=KEY)
    assert "fine" not in str(error.value)
    assert 'free=["ksi", "kl"]' in str(error.value)
    # So small a kl that no kb lies below it.
    with pytest.raises(ValueError, match=r"kl = 0\.2.*ada.*kb = 1\.506"):
        assumed([knowing(pat2, kl=0.2)])


def test_a_subject_without_balance_is_refused():
    pat2 = t1djax.presets()["Pat2"]
    with pytest.raises(ValueError, match=r"kl = 1\.5.*odd"):
        t1djax.data.Subject("odd", {**pat2.parameters, "kl": 1.5}, pat2.doses, 0, 600)


def test_preflight_looks_where_people_are(pat2):
    report = t1djax.preflight([knowing(pat2, M=62.0)], free=["ksi", "kl"], what_if=False)["ada"]
    assert report.derived["c"].value == pytest.approx(TYPICAL_C)
    alone = t1djax.preflight([knowing(pat2, M=62.0)], free=["ksi"], assume_population=True, what_if=False)["ada"]
    assert alone.parameters["ksi"].verdict == "set by an assumption"


def test_a_balance_below_zero_is_doubted(pat2):
    light = knowing(pat2, kb=1.78)
    fit = t1djax.fit([light], model="ode", free=["ksi", "kl"])["ada"]
    assert not any("nobody's does" in s for s in t1djax.doubts(fit, light))
    below = dataclasses.replace(fit, derived={**fit.derived, "c": fit.derived["c"]._replace(value=-0.1)})
    assert any("kl - kb = -0.1 mg/dL/min: glucose would fall without insulin" in s for s in t1djax.doubts(below, light))


# Errors


def test_white_noise_leaves_errors_as_they_are(pat2):
    fit = t1djax.fit([pat2], model="ode", free=["ksi"])
    for e in fit["Pat2"].estimates.values():
        assert e.standard_error == e.white_error
        assert e.remarks == ()


@pytest.fixture(scope="module")
def misfit(pat2) -> tuple[t1djax.Patient, t1djax.Fit]:
    """Meals that nobody wrote down."""
    doses = dataclasses.replace(pat2.doses, carbs_g=pat2.doses.carbs_g * 0 + 1.0)
    patient = dataclasses.replace(pat2, doses=doses, known={"M": 72.0, "kl": 1.94, **REST})
    return patient, t1djax.fit([patient], model="ode", free=["ksi"])


def test_no_error_is_stated_where_the_model_misses(misfit):
    patient, fit = misfit
    ksi = fit["Pat2"].estimates["ksi"]
    assert ksi.misfit
    assert ksi.standard_error is None
    assert ksi.white_error is not None
    # The curvature is still what identify starts from.
    found = t1djax.identify(fit, [patient], what_if=False)["Pat2"]
    assert found.parameters["ksi"].error_percent == pytest.approx(100 * ksi.white_error / ksi.value, rel=1e-6)
    assert quick_verdict(fit) == "G0 model misfit; ksi model misfit"
    assert "model misfit: no error" in fit._repr_html_()
    assert np.isnan(t1djax.summary(fit, t1djax.Cohort((patient,))).loc[0, "ksi_se"])
    row = next(row for row in fit_blocks(fit, {"Pat2": patient})["Pat2"][0]["rows"] if row[0] == "ksi")
    assert row[3] == "\N{EN DASH}"
    assert row[4] == "model misfit: no error"
    assert np.isnan(fit.table().set_index("symbol").loc["ksi", "standard_error"])


def test_an_error_is_the_priors_where_that_sets_the_estimate(misfit):
    patient, _ = misfit
    tight = {"ksi": t1djax.LogNormal(200.0, 1e-4)}
    e = t1djax.fit([patient], model="ode", free=["ksi"], priors=tight)["Pat2"].estimates["ksi"]
    assert e.prior_dominated
    assert e.standard_error == pytest.approx(200 * 1e-4, rel=0.2)


def test_a_patient_whose_numbers_are_lost_has_no_weak_directions():
    lost = Bounds(np.full((2, 2), np.nan), np.zeros((2, 0)))
    assert directions(["ksi", "kl"], t1djax.Magdelaine, [], lost, lost) == []


# On the command line


def test_train_shows_no_error_of_what_does_not_fit(misfit, tmp_path):
    patient, _ = misfit
    t1djax.write_cohort(t1djax.Cohort((patient,)), tmp_path / "cohort")
    asked = ("train", "--model", "ode", "--data", tmp_path / "cohort", "--free", "ksi", "--no-figures", "--results")
    said = done(*asked, tmp_path / "shown")
    assert "\N{PLUS-MINUS SIGN}" not in said.out
    assert "Pat2: the fit misses its own readings" in said.err
    row = done(*asked, tmp_path / "json", "--json").json["patients"][0]
    assert row["ksi_se"] is None
    (folder,) = (path for path in (tmp_path / "shown").glob("ode_*"))
    entry = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))["estimates"]["ksi"]
    assert entry["standard_error"] is None
    assert entry["white_error"] > 0
    assert "model misfit: no error" in t1djax.read_result(folder)._repr_html_()


def test_train_and_identify_name_what_is_estimated_alike(pat2, tmp_path):
    t1djax.write_cohort(t1djax.Cohort((knowing(pat2, "ada", M=62.0, kl=1.94),)), tmp_path / "cohort")
    ask = ("--data", tmp_path / "cohort", "--results", tmp_path / "r")
    for flag in ("--free", "--inverse-params"):
        assert "kl = 1.94 of ada against kb" in refused(2, "train", "--model", "ode", flag, "ksi", *ask)
        assert "(--free ksi,kl), or take it by --assume-population" in refused(2, "train", flag, "ksi", *ask)
        assert "kl = 1.94 of ada against kb" in refused(2, "identify", tmp_path / "cohort", flag, "ksi")
