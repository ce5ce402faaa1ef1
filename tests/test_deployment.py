"""Guards, workflows, containers and the pipeline: what can be checked without a server."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from .services import tool
from .test_project import load

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DEPLOYMENT = ROOT / "examples" / "deployment"


# Guards; the one against patient data is in test_data_guard.py


def test_large_files_and_notebooks_with_outputs_are_refused(tmp_path: Path) -> None:
    check = load(".ci/check_files.py").why_refused
    notebook = {"cells": [{"cell_type": "code", "source": "1", "outputs": [], "execution_count": None}]}
    files = {name: tmp_path / name for name in ("clean.ipynb", "run.ipynb", "broken.ipynb", "large.bin", "small.bin")}
    files["clean.ipynb"].write_text(json.dumps(notebook))
    notebook["cells"][0] |= {"outputs": [{"text": "120 mg/dL"}], "execution_count": 1}
    files["run.ipynb"].write_text(json.dumps(notebook))
    files["broken.ipynb"].write_text("{")
    files["large.bin"].write_bytes(bytes(700 * 1024))
    files["small.bin"].write_bytes(bytes(10))
    refused = {name for name, path in files.items() if check(path)}
    assert refused == {"run.ipynb", "broken.ipynb", "large.bin"}


def test_secrets_are_refused(tmp_path: Path) -> None:
    hook = tool("detect-secrets-hook")
    folder = {"PATH": f"{Path(hook).parent}{os.pathsep}{os.environ['PATH']}"}
    planted = tmp_path / "settings.yaml"
    planted.write_text("aws_access_key_id: " + "AKIA" + "Q7Z3HTT5WQ2EXW4M" + "\n")
    command = ["bash", str(ROOT / ".ci" / "check_secrets")]
    said = subprocess.run([*command, str(planted)], env=os.environ | folder, capture_output=True, check=False)
    assert said.returncode == 1, said.stdout
    here = [str(path) for path in (*WORKFLOWS, DEPLOYMENT / "compose.yaml")]
    assert subprocess.run([*command, *here], env=os.environ | folder, cwd=ROOT, check=False).returncode == 0


# Workflows


def steps_of(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_is_pinned_and_has_least_permissions(path: Path) -> None:
    text = path.read_text()
    workflow = yaml.safe_load(text)
    uses = re.findall(r"uses: (\S+)(.*)", text)
    assert uses
    for action, comment in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert set(job["permissions"]) <= {"contents", "packages", "id-token"}
        assert job["permissions"].get("contents", "read") == "read"
        assert job["timeout-minutes"] > 0
        if "packages" in job["permissions"] or "id-token" in job["permissions"]:
            assert job["environment"]["name"] in {"production", "pypi"}
    for step in steps_of(workflow):
        assert "${{" not in step.get("run", ""), step
        if "--group" in step.get("run", ""):
            assert 'pip install --quiet --upgrade "pip>=25.1' in step["run"], "an older pip does not know --group"
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_metadata_is_of_a_version_that_twine_knows() -> None:
    """The newest that hatchling writes by itself made `twine check` fail, and with it the release."""
    made = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert {name: target["core-metadata-version"] for name, target in made.items()} == {"wheel": "2.4", "sdist": "2.4"}


def test_one_hash_per_action() -> None:
    pinned = {}
    for path in WORKFLOWS:
        for name, number in re.findall(r"uses: ([^@\s]+)@(\S+)", path.read_text()):
            assert pinned.setdefault(name, number) == number, name


def test_test_matrix() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["tests"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    oldest = load(".ci/oldest.py").constraints("oldest")
    assert f'"jax>={oldest[0].removeprefix("jax==")}"' in (ROOT / "pyproject.toml").read_text()
    assert load(".ci/oldest.py").constraints("newest") == []


ELSEWHERE = {
    r"pip install|python -m venv|pip list|pip freeze": "asks a package index",
    r"pip wheel|python -m build|twine": "builds in an environment from a package index; .ci/run builds the wheel",
    r"pytest|sphinx|pyright|lint-imports|smoke\.py": "as long as the tests themselves; a step of .ci/run",
    r"cosign": "signs by the identity of the runner",
    r"checkov|check_workflows|check_secrets": "steps of .ci/run and .ci/services",  # pragma: allowlist secret
    r"cyclonedx": "needs the installed environment of the job",
}
BLOCKS = {
    f"{path.stem}/{name}/{step['name']}": step
    for path in WORKFLOWS
    for name, job in yaml.safe_load(path.read_text())["jobs"].items()
    for step in job["steps"]
    if "run" in step
}
LOCAL = {name: step for name, step in BLOCKS.items() if not any(re.search(p, step["run"]) for p in ELSEWHERE)}


def test_every_block_of_commands_is_a_script_that_bash_reads() -> None:
    for name, step in BLOCKS.items():
        assert subprocess.run(["bash", "-n", "-c", step["run"]], check=False).returncode == 0, name
    steps_of_ci = (ROOT / ".ci" / "run").read_text()
    for what in ("pytest", "sphinx", "pyright", "lint-imports", "smoke.py", "check_workflows", "check_secrets"):
        assert what in steps_of_ci


@pytest.mark.services
@pytest.mark.parametrize("name", sorted(LOCAL.keys() - {"train/train/sweep", "train/train/evaluate"}))
def test_block_of_commands_runs(name: str, tmp_path: Path) -> None:
    """As the runner does: `bash -e -o pipefail`, with the environment of the step, in a copy of the repository."""
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", copy], check=True)
    step = LOCAL[name]
    digest = "sha256:" + "0" * 64
    values = {
        "TAG": "v0.0.0", "JAX": "oldest", "MODELS": "ode", "MODES": "inverse", "PATIENTS": "Pat2",
        "REPOSITORY": "Owner/Name", "IMAGE": "train-cpu", "BASE_DIGEST": digest,
    }  # fmt: skip
    out = tmp_path / "output"
    environment = os.environ | {key: values[key] for key in step.get("env", {})}
    environment |= {"RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(out), "GITHUB_PATH": str(out)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for program in {"ruff", "check-jsonschema"} & set(step["run"].split()):
        tool(program)
    if name.startswith("train/"):
        earlier = [LOCAL[each]["run"] for each in ("train/train/sweep", "train/train/evaluate", "train/train/pack")]
        environment |= {key: values[key] for key in ("MODELS", "MODES", "PATIENTS")}
        script = "\n".join(earlier).replace("--json > sweep.json", "--no-tracking --no-figures --json > sweep.json")
    else:
        script = step["run"]
    said = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script],
        cwd=copy, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if name.endswith("tag and version agree"):
        assert said.returncode == 1
        assert "v0.0.0" in said.stderr
        return
    assert said.returncode == 0, said.stdout + said.stderr
    if name.endswith("names"):
        assert out.read_text().splitlines()[0] == "image=ghcr.io/owner/name/train-cpu"
    if name.endswith("pack"):
        assert (copy / "metrics.csv").stat().st_size > 100
        assert (copy / "results.tar.gz").stat().st_size > 1000


# Containers


def test_images_are_pinned_and_run_as_nobody() -> None:
    files = sorted(DEPLOYMENT.glob("*.Dockerfile"))
    assert len(files) == 3
    for path in files:
        text = path.read_text()
        assert "USER 10001:10001" in text
        assert "HEALTHCHECK" in text
        for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
            # No stage named by an argument: podman's builder does not find it.
            assert base == "${BASE_IMAGE}@${BASE_DIGEST}", base


@pytest.mark.slow
def test_secrets_are_made_once_and_where_one_wishes(tmp_path: Path) -> None:
    """`compose.yaml` reads each of them, from the same folder."""
    folder = tmp_path / "secrets"
    keys = {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "two"}  # pragma: allowlist secret

    def made(keys: dict[str, str]) -> dict[str, str]:
        command = ["bash", str(DEPLOYMENT / "make-secrets")]
        subprocess.run(command, env=os.environ | keys | {"SECRETS": str(folder)}, check=True)
        return {path.name: path.read_text() for path in folder.iterdir()}

    made_once = made(keys)
    assert made(dict.fromkeys(keys, "three")) == made_once
    assert (made_once["s3_access_key"], made_once["s3_secret_key"]) == ("one", "two")
    assert len(set(made_once.values())) == 7
    assert folder.stat().st_mode & 0o777 == 0o700
    stack = yaml.safe_load((DEPLOYMENT / "compose.yaml").read_text())
    assert {name: each["file"] for name, each in stack["secrets"].items()} == {
        name: f"${{SECRETS:-./secrets}}/{name}" for name in made_once
    }


def test_composed_stack_is_closed() -> None:
    stack = yaml.safe_load((DEPLOYMENT / "compose.yaml").read_text())
    for name, service in stack["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY|TOKEN", key):
                assert value.startswith(("/run/secrets/", "${")), key
    assert "ports" not in stack["services"]["postgres"]
    assert stack["services"]["mlflow"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert stack["services"]["train"]["depends_on"]["mlflow"]["condition"] == "service_healthy"
    assert "--app-name basic-auth" in (DEPLOYMENT / "mlflow-start").read_text()
    users = {name: stack["services"][name]["environment"]["MLFLOW_TRACKING_USERNAME"] for name in ("train", "airflow")}
    assert users == {"train": "train", "airflow": "airflow"}
    assert {f"mlflow_{user}_password" for user in users} <= {*stack["services"]["mlflow"]["secrets"]}


def test_scripts_are_read_by_the_shell() -> None:
    names = ("mlflow-start", "make-secrets", "podman-check", "stand-in/base", "stand-in/postgres-start")
    for path in (
        *(DEPLOYMENT / name for name in names),
        *(path for path in (ROOT / ".ci").iterdir() if path.is_file() and not path.suffix),
    ):
        shell = path.read_text().split("\n", 1)[0].rsplit("/", 1)[1].rsplit(" ", 1)[-1]
        subprocess.run([shell, "-n", path], check=True)


@pytest.mark.parametrize("sick", [None, "metadatabase", "scheduler", "dag_processor", "triggerer"])
def test_airflow_is_healthy_when_all_of_it_is(sick: str | None) -> None:
    """Its web server answers 200 with a dead scheduler, too."""
    parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")
    body = json.dumps({part: {"status": "unhealthy" if part == sick else "healthy"} for part in parts}).encode()

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        said = subprocess.run(
            [sys.executable, DEPLOYMENT / "airflow/healthy"], capture_output=True, text=True, check=False,
            env=os.environ | {"AIRFLOW_HEALTH": f"http://127.0.0.1:{server.server_port}"},
        )  # fmt: skip
    assert (said.returncode, said.stderr) == ((0, "") if sick is None else (1, f"not healthy: {sick}\n"))
    assert 'CMD ["airflow-healthy"]' in (DEPLOYMENT / "airflow.Dockerfile").read_text()


def idle_script(folder: Path, minutes: int) -> Path:
    """The script of the machine's timer, as Terraform fills it in, with programs that act the machine."""
    text = (DEPLOYMENT / "terraform/modules/ec2/idle.sh.tftpl").read_text()
    text = text.replace("${idle_minutes}", str(minutes)).replace("$${", "${").replace("$(who)", "$(cat who)")
    subprocess.run(["bash", "-n", "-c", text], check=True)
    script = folder / "stop-when-idle"
    script.write_text(text.split("<<'SCRIPT'\n", 1)[1].split("\nSCRIPT\n", 1)[0])
    shell = "test -e remote && echo $2 | grep -q ssm"
    for name, does in {"nvidia-smi": "cat gpu", "shutdown": "touch stopped", "pgrep": shell}.items():
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)
    return script


@pytest.mark.parametrize(
    ("gpu", "load", "who", "idle_s", "stops"),
    [
        ("0\n0\n", "0.01", "", 1801, True),
        ("0\n0\n", "0.01", "", 1700, False),
        ("0\n97\n", "0.01", "", 1801, False),
        ("0\n0\n", "1.80", "", 1801, False),
        ("0\n0\n", "0.01", "somebody pts/0\n", 1801, False),
    ],
)
def test_idle_machine_stops_itself(tmp_path: Path, gpu: str, load: str, who: str, idle_s: int, stops: bool) -> None:
    script = idle_script(tmp_path, 30)
    since, average = tmp_path / "since", tmp_path / "loadavg"
    for name, text in {"gpu": gpu, "who": who, "loadavg": f"0.00 {load} 0.00 1/100 1\n"}.items():
        (tmp_path / name).write_text(text)
    since.write_text(str(int(time.time()) - idle_s))
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "IDLE_SINCE_FILE": str(since)}
    subprocess.run(["bash", script], cwd=tmp_path, env=os.environ | env | {"LOADAVG_FILE": str(average)}, check=True)
    assert (tmp_path / "stopped").exists() is stops
    assert since.exists() is (idle_s < 1800)


def test_machine_with_a_remote_shell_goes_on(tmp_path: Path) -> None:
    test_idle_machine_stops_itself(tmp_path, "0\n", "0.01", "", 1801, True)
    (tmp_path / "stopped").unlink()
    (tmp_path / "remote").touch()
    (tmp_path / "since").write_text("0")
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "IDLE_SINCE_FILE": str(tmp_path / "since")}
    load = {"LOADAVG_FILE": str(tmp_path / "loadavg")}
    subprocess.run(["bash", tmp_path / "stop-when-idle"], cwd=tmp_path, env=os.environ | env | load, check=True)
    assert not (tmp_path / "stopped").exists()
    assert not (tmp_path / "since").exists()


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9000"])
def test_an_empty_endpoint_is_none(tmp_path: Path, endpoint: str) -> None:
    for secret in (
        "postgres_password",
        "mlflow_admin_password",
        "mlflow_session_key",
        "s3_access_key",
        "s3_secret_key",
    ):
        (tmp_path / secret).write_text(f"{secret}\n")
    (tmp_path / "mlflow").write_text('#!/bin/sh\necho "<${MLFLOW_S3_ENDPOINT_URL-none}> $AWS_SECRET_ACCESS_KEY"\n')
    (tmp_path / "mlflow").chmod(0o755)
    (tmp_path / "mlflow-users").write_text("#!/bin/sh\n")
    (tmp_path / "mlflow-users").chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "SECRETS": str(tmp_path), "TMPDIR": str(tmp_path)}
    env |= {"MLFLOW_S3_ENDPOINT_URL": endpoint, "ARTIFACTS": "s3://b", "ALLOWED_HOSTS": "x"}
    said = subprocess.run(
        ["sh", DEPLOYMENT / "mlflow-start"], env=env, capture_output=True, text=True, check=True
    ).stdout
    assert said == f"<{endpoint or 'none'}> s3_secret_key\n"


# The pipeline


def test_metrics_of_the_pipeline() -> None:
    rows = [
        {"model": "ode", "mode": "inverse", "ksi_error_percent": -3.0, "rmse_fit_mg_dL": 1.0},
        {"model": "ode", "mode": "inverse", "ksi_error_percent": 1.0, "rmse_fit_mg_dL": None},
        {"model": "ode", "mode": "forward", "rmse_fit_mg_dL": 4.0},
    ]
    assert load("examples/reproduction/metrics.py").medians(rows) == {
        "ode": {"inverse": {"ksi_error_percent": 2.0, "rmse_fit_mg_dL": 1.0}, "forward": {"rmse_fit_mg_dL": 4.0}}
    }


def test_place_for_real_patients_is_ignored_by_git(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "reproduction" / "patients", tmp_path / "patients")
    (tmp_path / "patients" / "readings.txt").write_text("x")
    (tmp_path / "patients" / "readings.txt.dvc").write_text("outs: []")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()
    assert listed == ["patients/.gitignore", "patients/readings.txt.dvc"]
