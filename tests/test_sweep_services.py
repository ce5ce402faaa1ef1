"""The study's whole matrix from one command, logged to real servers and looked at in a browser."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .services import S3, MLflowServer, Postgres, chromium
from .tracked import stored

pytestmark = [
    pytest.mark.services,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
MODELS = {"pinn": "PINN", "modified_mlp": "ModifiedMLP", "birnn": "BIRNN", "ode": "ODE"}
PATIENTS = [f"Pat{i}" for i in range(2, 12)]


def test_whole_matrix_on_postgres_and_s3(
    postgres: Postgres, moto_s3: S3, mlflow_server: Callable[..., MLflowServer], tmp_path: Path
) -> None:
    """Three networks and the equations, ten patients, forward and inverse: eighty fits from one command."""
    database = postgres.database()
    mlflow = mlflow_server(postgres.uri(database), f"s3://{S3.bucket}/{database}", moto_s3.env)
    results = tmp_path / "matrix"
    command = [sys.executable, "-m", "t1djax.cli", "sweep", "--models", ",".join(MODELS), "--modes", "forward,inverse"]
    command += ["--interval-min", "15", "--results", str(results), "--tracking-uri", mlflow.uri]
    said = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert said.returncode == 0, said.stderr
    summary = json.loads((results / "summary.json").read_text())
    assert len(summary["results"]) == 80
    assert [(row["model"], row["mode"]) for row in summary["comparison"]] == [
        (model, mode) for model in MODELS for mode in ("forward", "inverse")
    ]
    assert all(row["ksi_error_percent_worst"] < 0.1 for row in summary["comparison"] if row["mode"] == "inverse")
    stamp = summary["started"][:19].replace("-", "").replace(":", "").replace("T", "_")
    wanted = {
        f"{model}_{mode}_{patient}_{'ksi_' if mode == 'inverse' else ''}{stamp}-s0"
        for model in MODELS
        for mode in ("forward", "inverse")
        for patient in PATIENTS
    }
    assert {path.parent.name for path in results.glob("*/metadata.json")} == wanted

    # What has not arrived when the command ends is sent by `sync`; nothing comes twice.
    subprocess.run(
        [sys.executable, "-m", "t1djax.cli", "track", "sync", str(results), "--tracking-uri", mlflow.uri],
        check=True,
        timeout=300,
    )
    runs = stored(postgres.ask(database))
    names = Counter(run.experiment for run in runs)
    assert names == {f"{name}_{mode}": 11 for name in MODELS.values() for mode in ("Forward", "Inverse")}
    assert {run.name for run in runs if not run.name.startswith("sweep_")} == wanted
    assert {run.status for run in runs} == {"FINISHED"}
    child = next(run for run in runs if run.name.startswith("pinn_inverse_Pat3_ksi"))
    files = {key.rpartition("/artifacts/")[2] for key in moto_s3.files() if child.id in key}
    assert {"metadata.json", "config.yaml", "model.json", "predictions.npz"} <= files
    look(mlflow.uri, child.id, tmp_path)


def look(uri: str, child: str, folder: Path) -> None:
    """The UI says it too. Pictures go to `T1DJAX_SCREENSHOTS` where that is set."""
    pictures = Path(os.environ.get("T1DJAX_SCREENSHOTS", folder))
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 3200})
        page.set_default_timeout(60_000)
        page.goto(f"{uri}/#/experiments")
        for name in MODELS.values():
            for mode in ("Forward", "Inverse"):
                page.get_by_text(f"{name}_{mode}", exact=True).first.wait_for()
        page.screenshot(path=pictures / "matrix-experiments.png")
        page.get_by_text("PINN_Inverse", exact=True).first.click()
        page.wait_for_url("**/experiments/*/**")
        number = page.url.split("/experiments/")[1].split("/")[0].split("?")[0]
        page.goto(f"{uri}/#/experiments/{number}/runs/{child}/model-metrics")
        for metric in ("error_percent_ksi", "gradient_norm", "loss_G"):
            page.get_by_text(metric, exact=True).first.wait_for()
        page.wait_for_timeout(2000)  # lines are drawn
        page.screenshot(path=pictures / "matrix-metrics.png")
