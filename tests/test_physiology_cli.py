"""Another physiology from tables and flags to a results folder."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import t1djax
from t1djax.config import ConfigError, load_experiment, load_sweep
from t1djax.io import read_cohort
from t1djax.physics import Kanderian

from .command import done, refused


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kanderian") / "cohort"
    done("simulate", "--virtual", 2, "--physiology", "kanderian", "--days", 1, "--interval-min", 15, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def results(cohort: Path) -> list[t1djax.records.Result]:
    where = cohort.parent / "results"
    done("train", "--physiology", "kanderian", "--model", "ode", "--data", cohort, "--results", where)
    return [t1djax.read_result(folder) for folder in t1djax.find_results([where])]


def test_tables_take_the_symbols_of_the_physiology(cohort: Path) -> None:
    read = read_cohort(cohort, truth=True)
    for patient in read:
        assert set(patient.known) == set(Kanderian.parameters)
        assert patient.known == read.truth[patient.name].parameters
        assert set(read.truth[patient.name].states) == {f"{s}" for s in t1djax.physics.state_columns(Kanderian.States)}


def test_a_results_folder_holds_estimates_states_and_figures(results: list[t1djax.records.Result]) -> None:
    assert len(results) == 2
    for result in results:
        assert result.body is Kanderian
        assert result.metadata["config"]["physiology"] == "kanderian"
        assert result.metadata["estimates"]["SI"]["error_percent"] < 1  # readings without noise
        assert set(t1djax.physics.state_columns(Kanderian.States)) < set(result.predictions)
        assert {"states.png", "residuals.png", "parameters.png", "model.json"} <= {
            file.name for file in result.folder.iterdir()
        }
        assert "mL/uU/min" in result._repr_html_()


def test_the_stored_configuration_asks_the_same_again(results: list[t1djax.records.Result]) -> None:
    again = load_experiment(results[0].folder / "config.yaml")
    assert (again.question.physiology, again.question.free) == ("kanderian", ("SI",))


def test_people_of_another_physiology_are_refused_by_name(cohort: Path, tmp_path: Path) -> None:
    error = refused(2, "train", "--model", "ode", "--data", cohort, "--results", tmp_path / "r")
    assert "tauM of V0002" in error
    assert "--physiology kanderian" in error


def test_what_is_known_is_of_the_physiology() -> None:
    asked = {"physiology": "kanderian", "data": "x.csv"}
    assert load_experiment(None, asked | {"known": {"VG": 200.0}}).known == {"VG": 200.0}
    with pytest.raises(ConfigError, match="known"):
        load_experiment(None, asked | {"known": {"ku_Vi": 0.06}})


def test_a_sweep_estimates_the_sensitivity_of_its_physiology(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"physiology": "hovorka", "models": ["ode"], "data": "cohort"}))
    (experiment,) = load_sweep(path).experiments()
    assert experiment.question.body is t1djax.physics.Hovorka
    assert experiment.question.free == (t1djax.physics.Hovorka.facts.sensitivity,)


def test_a_class_of_ones_own_is_no_text_of_a_file() -> None:
    class Mine(Kanderian):
        pass

    with pytest.raises(ValueError, match="physiology"):
        t1djax.Experiment(model="ode", question=t1djax.Question(physiology=Mine))


def test_the_reference_cohort_is_of_its_own_physiology(tmp_path: Path) -> None:
    assert "--physiology: " in refused(2, "simulate", "--physiology", "kanderian", "--out", tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy", "ignore::DeprecationWarning")
def test_runs_versions_and_a_page_of_the_physiology(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What MLflow holds of a run, what the registry serves of its people, and the report of both."""
    with warnings.catch_warnings():  # MLflow warns of its own type hints
        warnings.simplefilter("ignore")
        mlflow = pytest.importorskip("mlflow")
        pytest.importorskip("mlflow.pyfunc.model")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    where = tmp_path / "results"
    done("train", "--physiology", "kanderian", "--model", "ode", "--data", cohort, "--results", where, "--tracking")
    done("registry", "register", where, "--name", "people")
    uri = t1djax.registry.default_uri(where)
    client = mlflow.MlflowClient(uri)
    kept = {
        r.data.tags["t1djax.patient"]: r.data
        for e in client.search_experiments()
        for r in client.search_runs([e.experiment_id])
        if "t1djax.patient" in r.data.tags
    }
    results = {r.metadata["patient"]: r for r in map(t1djax.read_result, t1djax.find_results([where]))}
    assert set(kept) == set(results) == set(read_cohort(cohort).names)
    for name, data in kept.items():
        assert data.params["physiology"] == "kanderian"
        assert data.metrics["final_SI"] == results[name].metadata["estimates"]["SI"]["value"]
    models = t1djax.registry.load("people", 1, tracking_uri=uri)
    end = models["V0001"].end_min
    meal = pd.DataFrame(
        {"patient": "V0001", "time_min": end + 15.0 * np.arange(1, 9), "basal_U_h": 0.8, "bolus_U": 0.0, "carbs_g": 0.0}
    )
    meal.loc[0, "carbs_g"] = 40.0
    served = t1djax.predict(models, meal)
    here = t1djax.predict(t1djax.read_fitted(results["V0001"].folder), meal)
    pd.testing.assert_frame_equal(served, here, check_exact=True)
    page = tmp_path / "report.html"
    done("report", cohort, "--fit-results", where, "--out", page)
    assert "mL/uU/min" in page.read_text(encoding="utf-8")
