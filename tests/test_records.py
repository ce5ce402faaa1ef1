"""Patients, their fits and their files belong together: names once, records with their own fit, paths of any kind."""

import dataclasses
import inspect

import jax
import pytest

import t1djax
import t1djax.io
import t1djax.plotting
from t1djax.inference import quick_verdict

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def cohort() -> t1djax.Cohort:
    return t1djax.reference_cohort(interval_min=60, names=["Pat2", "Pat3", "Pat4"])


@pytest.fixture(scope="module")
def fit(cohort) -> t1djax.Fit:
    return t1djax.fit(cohort, model="ode")


ENTRIES = {
    "fit": lambda patients, fit: t1djax.fit(patients, model="ode"),
    "fit_ensemble": lambda patients, fit: t1djax.fit_ensemble(patients, seeds=[0, 1]),
    "pose": lambda patients, fit: t1djax.pose(patients, mode="inverse", free=["ksi"], key=KEY),
    "preflight": lambda patients, fit: t1djax.preflight(patients, free=["ksi"]),
    "identify": lambda patients, fit: t1djax.identify(fit, patients),
    "profile": lambda patients, fit: t1djax.profile(fit, patients, "ksi"),
    "sample_posterior": lambda patients, fit: t1djax.sample_posterior(patients, fit.problem, key=KEY),
    "fit_hierarchy": lambda patients, fit: t1djax.fit_hierarchy(patients, fit.problem, key=KEY),
    "fit_state_space": lambda patients, fit: t1djax.fit_state_space(patients),
    "fit_discrepancy": lambda patients, fit: t1djax.fit_discrepancy([], patients, key=KEY),
    "fitted_patients": lambda patients, fit: t1djax.fitted_patients(fit, patients),
    "windows": lambda patients, fit: t1djax.windows(patients, length_h=12),
    "write_report": lambda patients, fit: t1djax.write_report(patients, "report.html"),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_two_patients_of_one_name_are_refused(entry, cohort, fit):
    """Results go by name: the second one's would stand under the first one's."""
    twice = [cohort["Pat2"], dataclasses.replace(cohort["Pat3"], name="Pat2"), cohort["Pat4"]]
    with pytest.raises(ValueError, match=r"Pat2(?!.*Pat3)"):
        ENTRIES[entry](twice, fit)


def test_a_fit_is_scored_on_its_own_record(cohort, fit):
    t1djax.metrics(fit["Pat2"], cohort["Pat2"])
    shorter = dataclasses.replace(
        cohort["Pat2"], time_min=cohort["Pat2"].time_min[:-1], glucose_mg_dL=cohort["Pat2"].glucose_mg_dL[:-1]
    )
    for other in (cohort["Pat3"], shorter):
        for judge in (t1djax.metrics, t1djax.doubts):
            with pytest.raises(ValueError, match="Pat2"):
                judge(fit["Pat2"], other)


def test_what_people_have_is_plausible(cohort):
    """Every value inside the range that a refusal would name is accepted."""
    for symbol, row in t1djax.PARAMETERS.items():
        for value in (row.low, row.high):
            t1djax.Question(priors={symbol: t1djax.LogNormal(value, 0.1)}, free=[symbol])
            # kl and kb are refused together where they are out of balance.
            known = {**cohort["Pat3"].known, symbol: value} if symbol not in ("kl", "kb", "M") else {}
            patient = dataclasses.replace(cohort["Pat3"], known=known or cohort["Pat3"].known)
            t1djax.pose([patient], mode="forward", key=KEY)
    with pytest.raises(ValueError, match="Tr"):
        t1djax.pose([dataclasses.replace(patient, known={**patient.known, "Tr": 0.5})], mode="forward", key=KEY)


def test_a_text_is_one_symbol(cohort):
    assert t1djax.default_stages("inverse", "Tr") == t1djax.default_stages("inverse", ["Tr"])
    assert t1djax.preflight(cohort, free="ksi", what_if=False).verdict
    with pytest.raises(t1djax.UnidentifiableError, match="ksi of Pat2"):
        t1djax.check_identifiable([dataclasses.replace(cohort["Pat2"], doses=t1djax.Doses.of())], "ksi")


def test_an_estimate_that_ran_to_zero_is_not_determined(cohort):
    fit = t1djax.fit(cohort, model="ode")
    zero = {"ksi": fit["Pat2"].estimates["ksi"]._replace(value=0.0)}
    changed = dataclasses.replace(fit["Pat2"], estimates=zero)
    fit = dataclasses.replace(fit, patients=(changed, *fit.patients[1:]))
    assert "not determined in 1 of 3" in quick_verdict(fit, cohort)


@pytest.mark.parametrize("room", [t1djax, t1djax.io, t1djax.plotting], ids=lambda room: room.__name__)
def test_a_path_may_be_a_text(room):
    """Whatever is public and takes a path takes it as a text too."""
    functions = {name: f for name, f in vars(room).items() if inspect.isfunction(f) and not name.startswith("_")}
    assert functions
    for name, function in functions.items():
        for argument in inspect.signature(function).parameters.values():
            hint = str(argument.annotation)
            assert "str" in hint or "pathlib.Path" not in hint, (name, str(argument))


def test_results_are_found_and_read_by_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(t1djax.ResultError):
        t1djax.find_results(["nowhere"])
    with pytest.raises(t1djax.ResultError):
        t1djax.read_result("nowhere")
