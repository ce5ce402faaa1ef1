"""Patients, their fits and their files belong together: names once, records with their own fit, paths of any kind."""

import dataclasses
import datetime as dt
import inspect
from zoneinfo import ZoneInfo

import jax
import jax.numpy as jnp
import numpy as np
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


@pytest.fixture(scope="module")
def begun_at_lunch() -> t1djax.Cohort:
    """A record whose doses an hour before its first row still act, and one that has none; without noise."""
    preset = t1djax.presets()["Pat3"]
    with jax.enable_x64(True):
        p = preset.model()
        doses = t1djax.Doses.of(
            basal=float(p.equilibrium_basal_U_h),
            boluses=[(-60.0, 3.0), (-10.0, 1.0, 30.0), (200.0, 2.0)],
            meals=[(-60.0, 45.0, 20.0), (220.0, 30.0)],
        )
        late = t1djax.Doses.of(basal=[(0.0, float(p.equilibrium_basal_U_h))], boluses=[(30, 2.0)], meals=[(30, 40)])
        ts = jnp.arange(0.0, 721.0, 10.0)
        known = {symbol: value for symbol, value in preset.parameters.items() if symbol != "G0"}
        made = []
        for name, given, start in (("Ada", doses, -300.0), ("Ben", late, 0.0)):
            path = t1djax.propagate(p, given.inputs(start, 720.0), ts, G0=120.0)
            made.append(t1djax.Patient(name, np.asarray(ts), np.asarray(path.glucose_mg_dL), given, known))
    return t1djax.Cohort(tuple(made))


def test_doses_before_the_first_row_act(begun_at_lunch):
    """Against the equations run from long before: what is on board at the first row is that of the doses."""
    free = ["ksi", "kr_Vb"]
    found = t1djax.fit(begun_at_lunch, model="ode", free=free)
    truth = t1djax.presets()["Pat3"].parameters
    for person in found:
        np.testing.assert_allclose([person.estimates[s].value for s in free], [truth["ksi"], truth["kr_Vb"]], rtol=1e-5)
        np.testing.assert_allclose(person.glucose_mg_dL, begun_at_lunch[person.name].glucose_mg_dL, atol=1e-3)
    alone = t1djax.fit([begun_at_lunch["Ben"]], model="ode", free=free)["Ben"]
    assert alone.estimates["ksi"].value == pytest.approx(found["Ben"].estimates["ksi"].value, rel=1e-9)


@pytest.mark.slow
def test_doses_before_the_first_row_act_in_a_network(begun_at_lunch, tmp_path):
    options = t1djax.PINNOptions(width=48, depth=1)
    fit = t1djax.fit(begun_at_lunch, options=options, free=["ksi"])
    for person in fit:
        assert person.gap_mg_dL < 0.5
        assert person.estimates["ksi"].value == pytest.approx(274.0, rel=0.02)
    t1djax.save_twins(fit, tmp_path / "twins")
    kept = t1djax.load_twins(tmp_path / "twins").twins
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(fit.twins), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("clock", [None, dt.datetime(2025, 3, 30, 1, 0, tzinfo=ZoneInfo("Europe/Berlin"))])
def test_doses_before_the_first_row_are_written_and_read(begun_at_lunch, tmp_path, clock):
    """Whole, those that go on into the record too, by each reader; an hour later clocks are changed."""
    cohort = t1djax.Cohort(tuple(dataclasses.replace(p, start=clock) for p in begun_at_lunch))
    t1djax.write_cohort(cohort, tmp_path / "cohort")
    whole = t1djax.read_cohort(tmp_path / "cohort")
    alone = t1djax.read_recording(tmp_path / "cohort" / "Ada.csv").patient
    for found, asked in [(whole["Ada"], cohort["Ada"]), (whole["Ben"], cohort["Ben"]), (alone, cohort["Ada"])]:
        assert found.start == clock
        np.testing.assert_allclose(
            found.time_min,
            np.unique([*asked.time_min, *asked.doses.bolus_time_min[asked.doses.bolus_time_min > 0]]),
            atol=1e-6,
        )
        for one, other in zip(found.doses.events, asked.doses.events, strict=True):
            np.testing.assert_allclose(np.stack(one), np.stack(other), atol=1e-6)


def test_what_people_have_is_plausible(cohort):
    """Every value inside the range that a refusal would name is accepted."""
    patient = cohort["Pat3"]
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
    assert t1djax.training.default_stages("inverse", "Tr") == t1djax.training.default_stages("inverse", ["Tr"])
    assert t1djax.preflight(cohort, free="ksi", what_if=False).verdict
    with pytest.raises(t1djax.UnidentifiableError, match="ksi of Pat2"):
        t1djax.identifiability.check_identifiable([dataclasses.replace(cohort["Pat2"], doses=t1djax.Doses.of())], "ksi")


def test_an_estimate_that_ran_to_zero_is_not_determined(cohort):
    fit = t1djax.fit(cohort, model="ode")
    zero = {"ksi": fit["Pat2"].estimates["ksi"]._replace(value=0.0)}
    changed = dataclasses.replace(fit["Pat2"], estimates=zero)
    fit = dataclasses.replace(fit, patients=(changed, *fit.patients[1:]))
    assert "not determined in 1 of 3" in quick_verdict(fit)


@pytest.mark.parametrize("room", [t1djax, t1djax.io, t1djax.plotting], ids=lambda room: room.__name__)
def test_a_path_may_be_a_text(room):
    """Whatever is public and takes a path takes it as a text too."""
    everything = {name: getattr(room, name) for name in dir(room) if not name.startswith("_")}
    functions = {name: f for name, f in everything.items() if inspect.isfunction(f)}
    assert functions
    for name, function in functions.items():
        for argument in inspect.signature(function).parameters.values():
            hint = str(argument.annotation)
            assert "str" in hint or "pathlib.Path" not in hint, (name, str(argument))


def test_results_are_found_and_read_by_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(t1djax.io.ResultError):
        t1djax.find_results(["nowhere"])
    with pytest.raises(t1djax.io.ResultError):
        t1djax.read_result("nowhere")
