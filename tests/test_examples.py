"""Examples run, shrunk, from the installed package; what their pages say to run is there."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import typer.main
import yaml

import t1djax
from t1djax.cli import app

from .test_project import load

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
FOLDERS = sorted(p.name for p in EXAMPLES.iterdir() if p.is_dir() and (p / "README.md").exists())
PAGES = [EXAMPLES / name / "README.md" for name in FOLDERS] + [
    EXAMPLES / "README.md",
    ROOT / "docs" / "reproduction.md",
]


def run(script: str, folder: Path, *flags: str | Path) -> str:
    """What a script of the examples says, run in an empty folder, with warnings as errors."""
    said = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / script, *flags],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr[-3000:]
    return said.stdout


def number(pattern: str, said: str) -> float:
    found = re.search(pattern, said)
    assert found, f"no {pattern!r} in {said}"
    return float(found[1])


def assert_drawn(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        assert file.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert file.stat().st_size > 8_000, f"{name} has little in it"


# Each starts Python anew and compiles what it needs


@pytest.mark.slow
def test_quickstart(tmp_path: Path) -> None:
    said = run("quickstart/quickstart.py", tmp_path, "--quick")
    rows = [line.split() for line in said.splitlines() if line.strip().startswith("Pat")]
    assert [row[0] for row in rows] == ["Pat2", "Pat3"]
    assert all(float(row[3]) < 1 for row in rows)  # % of ksi
    assert "ksi determined in 2 of 2" in said
    assert_drawn(tmp_path / "out/quickstart", "Pat3.png")


@pytest.mark.slow
def test_custom_network(tmp_path: Path) -> None:
    said = run("custom_network/custom_network.py", tmp_path, "--quick")
    out = tmp_path / "out/custom_network"
    assert "read back bit for bit" in said
    assert_drawn(out, "glucose.png")
    table = pd.read_csv(out / "estimates.csv")
    network, equations = (np.asarray(table[f"ksi_error_percent_{which}"]) for which in ("network", "equations"))
    assert np.all(network < equations + 0.5)


@pytest.mark.slow
def test_identifiability(tmp_path: Path) -> None:
    said = run("identifiability/identifiability.py", tmp_path, "--quick")
    # 40 draws know the ratio to 11 %.
    for symbol in ("ksi", "G0"):
        assert 0.65 < number(rf"  {symbol}: .*ratio ([\d.]+)", said) < 1.4
    assert_drawn(tmp_path / "out/identifiability", "before.png", "after.png", "profiles.png", "draws.png")


@pytest.mark.slow
def test_real_patient(tmp_path: Path) -> None:
    said = run("real_patient/real_patient.py", tmp_path, "--quick")
    assert "SIMULATED.csv: hupa, 1152 readings" in said
    assert "ksi determined in 2 of 2" in said
    assert_drawn(tmp_path / "out/real_patient", "agp.png", "day.png", "windows.png")


@pytest.mark.slow
def test_real_patient_says_what_it_needs(tmp_path: Path) -> None:
    script = EXAMPLES / "real_patient/real_patient.py"
    asked = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert asked.returncode == 2
    assert "README.md says where to get one" in asked.stderr


@pytest.mark.slow
def test_virtual_population(tmp_path: Path) -> None:
    said = run("virtual_population/virtual_population.py", tmp_path, "--quick")
    assert "200 converged" in said
    # 200 people know the share to 2.1 %.
    assert 82 < number(r"ksi: .* hold ([\d.]+) %", said) < 97
    assert_drawn(tmp_path / "out/virtual_population", "population.png")


@pytest.mark.slow
def test_forecasting(tmp_path: Path) -> None:
    run("forecasting/forecasting.py", tmp_path, "--quick")
    out = tmp_path / "out/forecasting"
    assert_drawn(out, "horizons.png", "V0001.png")
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores["method"]) == {"stochastic", *t1djax.evaluation.BASELINES}
    rows = [row for row in scores.to_dict("records") if row["range"] == "all"]
    every = {(row["method"], row["horizon_min"]): row["rmse_mg_dL"] for row in rows}
    assert every["stochastic", 30] < every["linear", 30]
    assert every["stochastic", 30] < every["stochastic", 120]


@pytest.mark.slow
def test_custom_physics(tmp_path: Path) -> None:
    said = run("custom_physics/custom_physics.py", tmp_path, "--quick")
    assert 0.3 < number(r"root mean square ([\d.]+)", said) < 2.2  # six numbers
    table = pd.read_csv(tmp_path / "out/custom_physics/estimates.csv")
    for name in ("equations", "network"):
        assert np.all(table[f"{name}: rmse_fit_mg_dL"] < 10)
        assert np.all(table[f"{name}: rmse_fit_mg_dL"] < table["Magdelaine: rmse_fit_mg_dL"])
    assert_drawn(tmp_path / "out/custom_physics", "glucose.png")


@pytest.mark.slow
def test_policy(tmp_path: Path) -> None:
    said = run("policy/policy.py", tmp_path, "--quick")
    assert "network - PID: time in range" in said
    outcomes = pd.read_csv(tmp_path / "out" / "policy" / "outcomes.csv")
    assert set(outcomes.groupby("controller").size()) == {8}
    assert outcomes["in_range_percent"].between(0, 100).all()


@pytest.mark.slow
def test_hyperparameters(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is in the dependency group examples")
    said = run("hyperparameters/hyperparameters.py", tmp_path, "--quick")
    assert "search: V0001 to V0002; validation: V0003 to V0004; test: V0005 to V0006" in said
    assert "3 trials of 1 shapes" in said
    assert_drawn(tmp_path / "out/hyperparameters", "trials.png")


@pytest.mark.slow
def test_weights_that_are_batched_are_those_of_the_stages() -> None:
    """Trials differ by the noise that they are told; the oracle is a fit with the weight in its stages."""
    pytest.importorskip("optuna", reason="optuna is in the dependency group examples")
    h = load("examples/hyperparameters/hyperparameters.py")
    config = yaml.safe_load((EXAMPLES / "hyperparameters/configs/quick.yaml").read_text()) | {"noise_sd_mg_dL": 10}
    cohort, shape = h.groups(config)["search"], h.Shape(8, 1, 6)
    found = h.errors(cohort, shape, [100.0, 1000.0], config)
    truth = np.array([cohort.truth[name].parameters["ksi"] for name in cohort.names])
    problem = t1djax.pose(tuple(cohort), mode="inverse", free=["ksi"], key=jax.random.key(1), noise_sd_mg_dL=10.0)
    for weight, error in zip((100.0, 1000.0), found, strict=True):
        stages = [t1djax.Stage(steps=6, residual_weight=(weight / 1000, weight))]
        options = t1djax.PINNOptions(width=8, depth=1, cell_min=30)
        fit = t1djax.training.fit_network(tuple(cohort), problem, key=jax.random.key(2), options=options, stages=stages)
        ksi = np.array([f.estimates["ksi"].value for f in fit])
        assert error == pytest.approx(100 * np.sqrt(np.mean((ksi / truth - 1) ** 2)), rel=1e-5)
    assert found[0] != found[1]


@pytest.mark.slow
def test_sharding(tmp_path: Path) -> None:
    said = run("gpu_cluster/sharding.py", tmp_path, "--host-devices", "8", "--quick")
    assert said.startswith("8 devices")
    assert "all devices: the networks lie on 8;" in said
    assert "one device: the networks lie on 1;" in said
    assert number(r"largest relative difference of ksi between them: (\S+)", said) < 1e-6
    assert_drawn(tmp_path / "out/gpu_cluster", "sharding.png")


@pytest.mark.slow
def test_processes(tmp_path: Path) -> None:
    said = run("gpu_cluster/processes.py", tmp_path, "--quick")
    assert said.count("4 results") == 2
    assert number(r"4 pairs of results; largest relative difference of an estimate: (\S+)", said) < 1e-6
    assert_drawn(tmp_path / "out/gpu_cluster", "processes.png")


@pytest.mark.slow
def test_reproduction(tmp_path: Path) -> None:
    said = run("reproduction/reproduce.py", tmp_path, "--quick")
    out = tmp_path / "out/reproduction"
    for stage in yaml.safe_load((EXAMPLES / "reproduction/dvc.yaml").read_text())["stages"]:
        assert f"== {stage}: " in said
    assert "| PINN | 6.7 ± 21.6 |" in (out / "study/tables.md").read_text()
    assert_drawn(out / "study", "errors.png", "glucose.png", "states.png", "courses.png")


# The study's script and its pipeline


def test_script_and_pipeline_share_their_commands() -> None:
    reproduce = load("examples/reproduction/reproduce.py")
    stages = yaml.safe_load((EXAMPLES / "reproduction/dvc.yaml").read_text())["stages"]
    params = yaml.safe_load((EXAMPLES / "reproduction/params.yaml").read_text())
    lines = {name: reproduce.command(stage["cmd"], params) for name, stage in stages.items()}
    assert lines["cohort"].startswith("t1djax simulate --patients Pat2-Pat11 --interval-min 1 --noise none")
    assert not any("$" in line for line in lines.values())
    named = {word for line in lines.values() for word in line.split() if word.endswith((".py", ".yaml"))}
    assert named | {"dvc.yaml"} == set(reproduce.FILES)


def test_study_reports_the_signed_mean_and_the_spread() -> None:
    study = load("examples/reproduction/study.py")
    result = lambda patient, value: t1djax.records.Result(
        Path(), {"model": "pinn", "mode": "inverse", "patient": patient, "seed": 0,
                 "estimates": {"ksi": {"value": value, "initial": 150.0, "truth": 200.0}}}, {}, {},
    )  # fmt: skip
    table = study.summary([result("Pat2", 210.0), result("Pat3", 180.0)], {"ksi_error_percent": {}})
    assert table.iloc[0].tolist() == ["PINN", "", "-2.5", "11", "10"]
    assert table.iloc[1].tolist() == ["random start, unfitted", "", "-25", "0", "25"]


def test_page_of_the_study_has_every_patient_and_model() -> None:
    page = (ROOT / "docs/reproduction.md").read_text(encoding="utf-8")
    for row in [
        *(f"| Pat{i} " for i in range(2, 12)),
        "| forward | BI-RNN",
        "| inverse | Modified MLP",
        "| PINN | 6.7",
    ]:
        assert row in page
    for name in re.findall(r"\]\((images/\S+\.png)\)", page):
        assert (ROOT / "docs" / name).is_file()
        assert (ROOT / "docs" / name).stat().st_size < 200_000


# Pages


def commands(page: Path) -> list[str]:
    """What a page says to type, comments cut off."""
    blocks = re.findall(r"^```console\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [re.split(r"\s+#\s", line)[0] for line in lines]


def flags_of(script: Path) -> set[str]:
    """Flags that a script declares, and those that it looks for by itself."""
    strings = {n.value for n in ast.walk(ast.parse(script.read_text(encoding="utf-8"))) if isinstance(n, ast.Constant)}
    return {s for s in strings if isinstance(s, str) and s.startswith("--")}


SCRIPTS = [(page, line) for page in PAGES if page.exists() for line in commands(page) if "python examples/" in line]


def test_pages_have_commands() -> None:
    assert len(SCRIPTS) > 25


@pytest.mark.parametrize(("page", "line"), SCRIPTS, ids=lambda x: x if isinstance(x, str) else x.parent.name)
def test_commands_of_pages_exist(page: Path, line: str) -> None:
    script, *words = line.split("python ", 1)[1].split()
    assert (ROOT / script).is_file()
    unknown = {word for word in words if word.startswith("--")} - flags_of(ROOT / script)
    assert not unknown
    for word in words:
        assert not word.startswith("examples/") or (ROOT / word).is_file()


def test_stages_call_commands_that_exist() -> None:
    cli = typer.main.get_command(app)
    for stage in yaml.safe_load((EXAMPLES / "reproduction/dvc.yaml").read_text())["stages"].values():
        for line in stage["cmd"].split(" | "):
            program, name, *words = line.split()
            if program == "t1djax":
                known = {o for p in cli.commands[name].params for o in (*p.opts, *p.secondary_opts)}  # pyright: ignore[reportAttributeAccessIssue]
                assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("name", [name for name in FOLDERS if name != "deployment"])
def test_every_example_has_a_row_and_a_quick_run(name: str) -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert f"]({name}/README.md)" in listed
    assert any("--quick" in line for line in commands(EXAMPLES / name / "README.md"))


def test_issue_names_every_folder() -> None:
    assert set(FOLDERS) >= {
        "quickstart", "reproduction", "identifiability", "real_patient", "forecasting", "virtual_population",
        "custom_network", "custom_physics", "hyperparameters", "gpu_cluster",
    }  # fmt: skip


@pytest.mark.parametrize("folder", sorted(EXAMPLES.glob("*/configs")), ids=lambda p: p.parent.name)
def test_variants_have_the_same_fields(folder: Path) -> None:
    fields = [set(yaml.safe_load(file.read_text())) for file in sorted(folder.glob("*.yaml"))]
    assert len(fields) > 1
    assert all(each == fields[0] for each in fields)


@pytest.mark.parametrize("page", [p for p in PAGES if p.exists()], ids=lambda p: f"{p.parent.name}/{p.name}")
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_outputs_are_ignored_by_git(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text(encoding="utf-8"))
    (tmp_path / "out/quickstart").mkdir(parents=True)
    (tmp_path / "out/quickstart/Pat3.png").write_bytes(b"x")
    env = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True, env=env)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"],
        cwd=tmp_path, check=True, capture_output=True, text=True, env=env,
    ).stdout.split()  # fmt: skip
    assert listed == [".gitignore"]
