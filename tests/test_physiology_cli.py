"""Another physiology from tables and flags to a results folder."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import t1djax
from t1djax.cli import app
from t1djax.config import ConfigError, load_experiment, load_sweep
from t1djax.io import read_cohort
from t1djax.physics import Kanderian


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kanderian") / "cohort"
    run("simulate", "--virtual", 2, "--physiology", "kanderian", "--days", 1, "--interval-min", 15, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def results(cohort: Path) -> list[t1djax.records.Result]:
    where = cohort.parent / "results"
    run("train", "--physiology", "kanderian", "--model", "ode", "--data", cohort, "--results", where)
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
    words = ["train", "--model", "ode", "--data", str(cohort), "--results", str(tmp_path / "r")]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, ValueError)
    assert "tauM of V0002" in str(done.exception)
    assert 'physiology="kanderian"' in str(done.exception)


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
    done = CliRunner().invoke(app, ["simulate", "--physiology", "kanderian", "--out", str(tmp_path / "c")])
    assert isinstance(done.exception, t1djax.ArgumentError)
    assert done.exception.argument == ("physiology",)
    assert not (tmp_path / "c").exists()
