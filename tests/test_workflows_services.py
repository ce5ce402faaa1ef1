"""Jobs of the workflows, block by block, as a runner does them: in environments of their own, from a package index."""

import os
import re
import subprocess
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.services
ROOT = Path(__file__).resolve().parents[1]


def clone(folder: Path) -> Path:
    """A copy of what is committed."""
    if not (folder / "copy").exists():
        subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", folder / "copy"], check=True)
    return folder / "copy"


def runs(job: str, folder: Path, instead: dict[str, str] | None = None, **values: str) -> Path:
    """Every `run:` block of `workflow/job` in a copy of the repository, `instead` of some words with others."""
    workflow, name = job.split("/")
    steps = yaml.safe_load((ROOT / f".github/workflows/{workflow}.yml").read_text())["jobs"][name]["steps"]
    copy = clone(folder)
    made = folder / "python"
    venv.create(made, with_pip=True)
    hidden = {"PYTHONPATH", "VIRTUAL_ENV"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"PATH": f"{made / 'bin'}{os.pathsep}{os.environ['PATH']}", "RUNNER_TEMP": str(folder)}
    for step in steps:
        if "run" not in step:
            continue
        script = step["run"]
        for old, new in (instead or {}).items():
            script = script.replace(old, new)
        said = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script],
            cwd=copy, env=environment | {key: values[key] for key in step.get("env", {})}, text=True,
            capture_output=True, check=False, timeout=900,
        )  # fmt: skip
        assert said.returncode == 0, f"{job}, {step['name']}:\n{said.stdout[-3000:]}{said.stderr[-3000:]}"
    return copy


def test_wheel_is_built_and_tested_without_the_checkout(tmp_path: Path) -> None:
    copy = runs("test/wheel", tmp_path)
    (wheel,) = (copy / "dist").glob("*.whl")
    assert "t1djax/__init__.py" in zipfile.ZipFile(wheel).namelist()
    # The whole of the tests takes as long as the tests: a part of them shows that they find the wheel, and its code.
    some = "pytest -n 2 tests/test_physics.py tests/test_project.py tests/test_site.py"
    copy = runs("test/tests", tmp_path, {"pytest -n 4": some}, JAX="oldest")
    assert not (copy / "t1djax").exists()
    seen = subprocess.run(
        [tmp_path / "python/bin/python", "-c", "import jax, t1djax; print(jax.__version__, t1djax.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    ).stdout.split()  # fmt: skip
    assert (copy / "constraints.txt").read_text().split()[0] == f"jax=={seen[0]}"
    assert seen[1].startswith(str(tmp_path / "python"))


def test_release_is_built_and_checked(tmp_path: Path) -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    changes = clone(tmp_path) / "CHANGELOG.md"
    changes.write_text(changes.read_text() + f"\n## [{version[1]}]\n")  # as before a release
    copy = runs("release/build", tmp_path, TAG=f"v{version[1]}")
    assert len(list((copy / "dist").iterdir())) == 2  # a wheel and a source distribution


def test_guards_in_an_environment_of_their_own(tmp_path: Path) -> None:
    runs("security/static", tmp_path)


def test_bill_of_materials(tmp_path: Path) -> None:
    """Without the look-up of vulnerabilities, which asks a service about every package."""
    copy = runs("security/dependencies", tmp_path, {'"$RUNNER_TEMP/tools/bin/pip-audit"': "echo"})
    bill = (copy / "sbom.cdx.json").read_text()
    assert '"bomFormat": "CycloneDX"' in bill
    assert re.search(r'"name": "jax"', bill)


def test_checkov_in_an_environment_of_its_own(tmp_path: Path) -> None:
    runs("security/infrastructure", tmp_path)
