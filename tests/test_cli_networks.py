"""Every network from the command line, and ensembles."""

from pathlib import Path

import numpy as np
import pytest

import t1djax

from .command import NOISY, done, refused

SIZES = {
    "pinn": "width: 16\n  depth: 1\n  time: {octaves: 3}",
    "modified_mlp": "width: 16\n  depth: 1\n  time: {octaves: 3}",
    "birnn": "units: 6\n  step_min: 60",
}


@pytest.mark.slow
@pytest.mark.parametrize("model", SIZES)
def test_train_with_members(model, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(f"network:\n  {SIZES[model]}\n  cell_min: 60\n")
    said = done("train", "--config", config, "--model", model, *NOISY, "--members", "2", "--seed", "4",
                "--results", tmp_path / "r", "--no-figures", "--json").json  # fmt: skip
    assert [(row["seed"], row["patient"]) for row in said["patients"]] == [
        (4, "Pat2"), (4, "Pat3"), (5, "Pat2"), (5, "Pat3"),
    ]  # fmt: skip
    assert [row["patient"] for row in said["spread"]] == ["Pat2", "Pat3"]
    results = [t1djax.read_result(Path(folder)) for folder in said["folders"]]
    assert [r.metadata["seed"] for r in results] == [4, 4, 5, 5]
    assert all(r.folder.name.startswith(f"{model}_inverse_Pat") for r in results)
    for row, one, other in zip(said["spread"], results[:2], results[2:], strict=True):
        np.testing.assert_array_equal(one.predictions["observed_mg_dL"], other.predictions["observed_mg_dL"])
        values = [r.metadata["estimates"]["ksi"]["value"] for r in (one, other)]
        assert row["ksi_sd"] == pytest.approx(np.std(values, ddof=1))
        assert values[0] != values[1]
    network = results[0].metadata["config"]["network"]
    assert network["cell_min"] == 60
    assert [stage["residual_weight"] for stage in network["stages"]] == [[1.0, 1.0], [1000.0, 1000.0]]


def test_a_field_of_another_network_is_refused(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("network: {width: 16}\n")
    assert "network.width: there is no such field" in refused(2, "train", "--config", config, "--model", "birnn")
