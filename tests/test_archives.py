"""Files that earlier versions wrote are read; see tests/archives/README.md."""

import json
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

import t1djax
from t1djax.experiment import diff_results
from t1djax.io import CHECKPOINTS, find_results

from .command import done, refused

ARCHIVES = Path(__file__).parent / "archives"
OLDEST, LATER, STOPPED = "results-0.1.0-2ce3ea7", "results-0.1.0-current", "interrupted-0.1.0-current"
KSI = 200.003  # what least squares found when the archives were made; the truth is 200


def unpacked(name: str, to: Path) -> Path:
    with zipfile.ZipFile(ARCHIVES / f"{name}.zip") as archive:
        archive.extractall(to / name)
    return to / name


@pytest.mark.parametrize("name", [OLDEST, LATER])
def test_results_are_read(name, tmp_path):
    folder = unpacked(name, tmp_path) / "results"
    rows = done("evaluate", folder, "--json").json
    assert [row["model"] for row in rows] == ["ode", "pinn"]
    assert rows[0]["ksi"] == pytest.approx(KSI, abs=5e-4)
    assert all(row["patient"] == "Ada" and row["ok"] for row in rows)
    for found in find_results([folder]):
        result = t1djax.read_result(found)
        rmse = np.sqrt(np.nanmean((result.predictions["glucose_mg_dL"] - result.predictions["observed_mg_dL"]) ** 2))
        sets = [result.metadata["metrics"][f"rmse_{s}_mg_dL"] for s in ("fit", "held_out", "forecast")]
        assert min(sets) <= rmse <= max(sets)


def test_the_oldest_results_are_drawn(tmp_path):
    folder = unpacked(OLDEST, tmp_path) / "results"
    one = find_results([folder])[0]
    assert {Path(path).name for path in done("plot", one, "--json").json} >= {"glucose.png", "parameters.png"}


def test_a_result_of_then_beside_one_of_now(tmp_path):
    older, newer = (unpacked(name, tmp_path) / "results" for name in (OLDEST, LATER))
    found = diff_results(older, newer)
    assert len(found.pairs) == 2
    assert found.pairs[0].predictions_equal
    assert "of an earlier version" in found.pairs[0].data[0]


def test_the_oldest_networks_say_that_they_are_not_there(tmp_path):
    root = unpacked(OLDEST, tmp_path)
    assert "no checkpoints" in refused(
        3, "train", "--config", root / "config.yaml", "--data", root / "cohort", "--warm-start", root / "results",
        "--results", tmp_path / "new",
    )  # fmt: skip
    warm = t1djax.io.read_warm_start(root / "results", model="ode")
    assert warm.values["ksi"] == pytest.approx([KSI], abs=5e-4)


def test_networks_and_fitted_patients_are_read(tmp_path):
    root = unpacked(LATER, tmp_path)
    folder = find_results([root / "results"])[1]
    saved = t1djax.load_twins(folder / CHECKPOINTS)
    shown = t1djax.read_result(folder).predictions
    with jax.enable_x64(True):
        time = jax.numpy.asarray(shown["time_min"])
        states = np.asarray(jax.vmap(lambda twin: twin.states(time))(saved.twins))[0]
    np.testing.assert_allclose(states[:, 0], shown["glucose_mg_dL"], rtol=1e-9)
    fitted = t1djax.read_fitted(folder)
    assert fitted.parameters["ksi"] == pytest.approx(float(saved.twins.physiology.values()["ksi"][0]), rel=1e-6)
    t1djax.load_experiment(folder / "config.yaml")


@pytest.mark.filterwarnings("ignore:.*goes on under other conditions")
@pytest.mark.slow
def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(unpacked(STOPPED, tmp_path))
    steps = []
    config = t1djax.load_experiment("config.yaml")
    execution = t1djax.experiment.Execution(resume=True, figures=False)
    run = t1djax.run(config, execution=execution, on_progress=lambda p: steps.append(p.step))
    assert steps == [6]
    assert run.name == next(Path("results/.runs").iterdir()).name
    finished = t1djax.read_result(run.folders[0])
    root = unpacked(LATER, tmp_path)
    whole = t1djax.read_result(find_results([root / "results"])[1])
    # Made by another compilation: the last bits may differ.
    assert run.fit["Ada"].estimates["ksi"].value == pytest.approx(whole.metadata["estimates"]["ksi"]["value"], rel=1e-6)
    assert json.dumps(finished.evolution["ksi"]["step"].tolist()) == "[0, 2, 4, 6]"
