"""The same configuration gives the same numbers, and `diff` says what differed where it does not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import t1djax
from t1djax.io import find_results

from .command import NOISY, TINY, done, refused


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with results of `ode` and of a small network."""
    root = tmp_path_factory.mktemp("diff")
    (root / "tiny.yaml").write_text(TINY.replace("steps: 12", "steps: 6"), encoding="utf-8")
    done("train", "--model", "ode", *NOISY, "--no-figures", "--json", "--results", root / "a")
    done("train", "--config", root / "tiny.yaml", *NOISY, "--no-figures", "--json", "--results", root / "a")
    return root


def arrays(folder: Path) -> dict[str, np.ndarray]:
    result = t1djax.read_result(folder)
    courses = {f"{s}/{k}": x for s, course in result.evolution.items() for k, x in course.items()}
    return dict(result.predictions) | courses


def test_the_configuration_of_a_result_gives_it_again(runs):
    """Bit for bit, and `diff` names times and places only."""
    first = find_results([runs / "a"])
    configs = {t1djax.read_result(folder).metadata["model"]: folder / "config.yaml" for folder in first}
    for config in configs.values():
        done("train", "--config", config, "--results", runs / "b", "--no-figures", "--json")
    found = done("diff", runs / "a", runs / "b", "--json").json
    assert len(found["pairs"]) == len(first) == 4
    assert found["first_only"] == found["second_only"] == []
    for pair in found["pairs"]:
        assert pair["same"]
        assert pair["asked"] == pair["made_by"] == pair["data"] == pair["values"] == []
        assert {line.split(":")[0] for line in pair["names"]} <= {
            "folder", "results", "run", "started", "wall_seconds", "compile_seconds",
        }  # fmt: skip
        one, other = arrays(Path(pair["first"])), arrays(Path(pair["second"]))
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)
    assert "4 compared, 4 with the same numbers bit for bit" in done("diff", runs / "a", runs / "b").out


def test_what_differs_is_shown(runs, tmp_path):
    done("train", "--model", "ode", *NOISY, "--seed", "1", "--no-figures", "--results", tmp_path, "--json")
    one, other = find_results([runs / "a"])[0], find_results([tmp_path])[0]
    pair = done("diff", one, other, "--json").json["pairs"][0]
    assert not pair["same"]
    assert pair["asked"] == ["seed: 0 -> 1", "config.seed: 0 -> 1"]
    assert len(pair["data"]) == 2  # other noise
    assert pair["made_by"] == []
    a, b = (t1djax.read_result(folder).metadata for folder in (one, other))
    ksi = pair["estimates"]["ksi"]
    assert (ksi["first"], ksi["second"]) == (a["estimates"]["ksi"]["value"], b["estimates"]["ksi"]["value"])
    assert ksi["difference"] == ksi["second"] - ksi["first"]
    rmse = pair["metrics"]["rmse_fit_mg_dL"]
    assert rmse["difference"] == b["metrics"]["rmse_fit_mg_dL"] - a["metrics"]["rmse_fit_mg_dL"]
    said = done("diff", one, other).out
    assert "configuration: seed: 0 -> 1" in said
    assert "rmse_fit_mg_dL" in said


def test_results_without_a_partner(runs, tmp_path):
    ode, pinn = find_results([runs / "a"])[::2]
    shutil.copytree(ode, tmp_path / "c" / ode.name)
    found = done("diff", runs / "a", tmp_path / "c", "--json").json
    assert len(found["pairs"]) == 1
    assert len(found["first_only"]) == 3
    # Two single results are compared whatever they are of.
    pair = done("diff", ode, pinn, "--json").json["pairs"][0]
    assert "model: ode -> pinn" in pair["asked"]


def test_changed_versions_and_values(runs, tmp_path):
    ode = find_results([runs / "a"])[0]
    copy = tmp_path / ode.name
    shutil.copytree(ode, copy)
    metadata = json.loads((copy / "metadata.json").read_text(encoding="utf-8"))
    metadata["versions"]["jax"] = "0.0.1"
    metadata["known"]["Tu"] += 1
    (copy / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    pair = done("diff", ode, copy, "--json").json["pairs"][0]
    assert [line.split(": ")[0] for line in pair["made_by"]] == ["versions.jax"]
    assert [line.split(": ")[0] for line in pair["values"]] == ["known.Tu"]
    assert pair["same"]


def test_what_cannot_be_read(runs, tmp_path):
    assert "no such results folder" in refused(3, "diff", runs / "a", tmp_path / "none")
