"""A physiology of one's own by the name of its module and class: by flags, in files, tables and results."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

import t1djax
from t1djax.config import ConfigError, load_experiment, load_sweep, load_trial
from t1djax.io import ResultError, fitted_from_json, fitted_to_json, read_cohort
from t1djax.physics import _catalogue, physiology_named

from .bodies import bergman
from .command import call

NAME = "body_of_mine:Mine"


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "body_of_mine.py").write_text(
        "from examples.custom_physics.bergman import Bergman\n\n\nclass Mine(Bergman):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("body_of_mine", None)
    _catalogue._BY_NAME.pop(NAME, None)


@pytest.mark.parametrize(
    ("command", "name", "part"),
    [
        (("settings", "nowhere"), "no_such_module:Mine", "no_such_module"),
        (("forecast", "nowhere"), "body_of_mine:Min", "did you mean Mine"),
        (("replay", "nowhere", "--bolus=-20%"), "kanderian,body_of_mine:__name__", "AbstractPhysiology"),
        (("identify", "nowhere"), "body_of_mine:", "has no ''"),
        (("train", "--data", "nowhere"), ":Mine", "cannot import"),
    ],
)
def test_a_class_that_is_not_there_is_said_by_the_flag(command: tuple[str, ...], name: str, part: str) -> None:
    said = call(*command, "--physiology", name)
    assert said.code == 2, said
    assert "--physiology" in said.err
    assert part in said.err


def test_code_of_the_working_folder_is_imported_where_it_is_named_alone() -> None:
    assert call("evaluate", "nowhere").code == 3
    with pytest.raises(t1djax.ArgumentError, match="body_of_mine"):
        physiology_named(NAME)
    assert call("settings", "nowhere", "--physiology", NAME).code == 3
    assert physiology_named(NAME).__name__ == "Mine"


def test_files_of_runs_take_the_name(tmp_path: Path) -> None:
    sys.path.append(str(tmp_path))
    (tmp_path / "trial.yaml").write_text(f"physiology: {NAME}\n")
    assert load_trial(tmp_path / "trial.yaml").physiology == NAME
    asked = load_experiment(None, {"physiology": NAME, "data": "x.csv"})
    assert (asked.question.physiology, asked.question.free) == (NAME, ("SI",))
    assert f'"{NAME}"' in asked.model_dump_json()
    (tmp_path / "sweep.yaml").write_text(f"physiology: {NAME}\ndata: x.csv\nmodels: [ode]\nmodes: [inverse]\n")
    assert load_sweep(tmp_path / "sweep.yaml").inverse_params == (("SI",),)
    (tmp_path / "trial.yaml").write_text("physiology: body_of_mine:Other\n")
    with pytest.raises(ConfigError, match="physiology"):
        load_trial(tmp_path / "trial.yaml")


def test_tables_have_its_columns(tmp_path: Path) -> None:
    sys.path.append(str(tmp_path))
    physiology_named(NAME)
    known = {symbol: float(value) for symbol, value in bergman().values().items()}
    one = t1djax.reference_cohort(interval_min=240, names=["Pat3"])["Pat3"]
    t1djax.write_cohort(t1djax.Cohort((dataclasses.replace(one, known=known),)), tmp_path / "cohort")
    assert read_cohort(tmp_path / "cohort")["Pat3"].known == known


@pytest.mark.slow
def test_results_say_how_the_class_is_found_again(tmp_path: Path) -> None:
    sys.path.append(str(tmp_path))
    mine = physiology_named(NAME)
    body = {"Ada": mine(**bergman().values())}
    people = t1djax.virtual_population(1, key=jax.random.key(0), bodies=body, days=1, interval_min=60)
    t1djax.write_cohort(people, tmp_path / "cohort")
    states = read_cohort(tmp_path / "cohort", truth=True).truth["Ada"].states
    assert set(states) == set(t1djax.physics.state_columns(mine.States))
    said = call("train", "--data", "cohort", "--model", "ode", "--physiology", NAME, "--results", "r", "--no-figures")
    assert said.code == 0, said
    (folder,) = t1djax.find_results(["r"])
    assert t1djax.read_result(folder).body is mine
    kept = fitted_to_json(t1djax.read_fitted(folder / "model.json"))
    assert kept["physiology"] == NAME
    with pytest.raises(ResultError, match="no_such_module"):
        fitted_from_json(kept | {"physiology": "no_such_module:Mine"}, "model.json")
