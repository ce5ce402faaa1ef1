"""The package as a whole: its metadata, its data files, and what importing it does."""

import importlib.resources
import importlib.util
import json
import subprocess
import sys
import tomllib
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import jaxtyping
import pytest
import yaml

import t1djax

from .conftest import quick_flags

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(t1djax.__file__).parent  # as installed: the checkout may be without it


def load(path: str) -> Any:
    """A module of the repository that is no part of the package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Metadata and files


def test_one_version() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    assert t1djax.__version__ == version("t1djax") == stated == str(cited)


def test_licence() -> None:
    assert metadata("t1djax")["License-Expression"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


@pytest.mark.parametrize("file", ["py.typed", "physics/reference_cohort.yaml"])
def test_data_files_are_part_of_the_package(file: str) -> None:
    assert importlib.resources.files("t1djax").joinpath(file).is_file()


def test_no_file_looks_like_patient_data(tmp_path: Path) -> None:
    guard = load(".ci/check_data.py")
    (tmp_path / "person.csv").write_text("time_min,Glucose_mg_dL\n0,120\n", encoding="utf-8")
    (tmp_path / "sensor.json").write_text('[{"sgv": 120, "date": 0}]', encoding="utf-8")
    (tmp_path / "book.xlsx").write_bytes(b"PK")
    (tmp_path / "lengths.csv").write_text("step,loss\n0,1.5\n", encoding="utf-8")
    refused = {path.name for path in tmp_path.iterdir() if guard.looks_like_patient_data(path)}
    assert refused == {"person.csv", "sensor.json", "book.xlsx"}


# Importing


@pytest.fixture(scope="module")
def after_import() -> dict:
    """What a fresh interpreter looks like after `import t1djax` and a look at each of its names."""
    program = """
import json, sys
import jax
before = dict(jax.config.values)
import t1djax
at_first = sorted(sys.modules)
for name in dir(t1djax):
    getattr(t1djax, name)
from jax._src import xla_bridge
changed = {k: repr(v) for k, v in jax.config.values.items() if before.get(k, v) != v}
print(json.dumps({"changed": changed, "modules": sorted(sys.modules), "at_first": at_first,
                  "device": xla_bridge.backends_are_initialized()}))
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_import_leaves_jax_as_it_was(after_import: dict) -> None:
    assert after_import["changed"] == {}


def test_import_makes_no_array(after_import: dict) -> None:
    """An array made at import would start a device before the user can choose one."""
    assert after_import["device"] is False


@pytest.mark.parametrize(
    "heavy", ["diffrax", "matplotlib", "mlflow", "optimistix", "orbax", "pandas", "scipy.stats", "typer"]
)
def test_import_loads_nothing_heavy(after_import: dict, heavy: str) -> None:
    assert heavy not in after_import["modules"]


def test_rooms_come_when_they_are_asked_for(after_import: dict) -> None:
    assert [name for name in after_import["at_first"] if name.startswith("t1djax")] == ["t1djax", "t1djax._moved"]
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = t1djax.no_such_name  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["trian"]])
def test_command_line_answers_without_jax_and_pandas(words: list[str]) -> None:
    program = """
import contextlib, sys
from t1djax.cli import main
with contextlib.suppress(SystemExit):
    main()
print({"jax", "numpy", "pandas"} & sys.modules.keys())
"""
    run = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert run.stdout.endswith("set()\n")


# Checks at run time


def test_annotations_are_checked_where_asked(request: pytest.FixtureRequest) -> None:
    """A misspelt option would switch it off in silence."""
    if not request.config.getoption("--jaxtyping-packages"):
        pytest.skip("annotations are checked in .ci/run")
    with pytest.raises(jaxtyping.TypeCheckError):
        t1djax.physics.Inputs(jnp.zeros(3), jnp.zeros(2), jnp.zeros(3))


def test_flags_that_a_later_compiler_may_not_know_are_left_out():
    assert "fusion_emitters" in quick_flags("0.10.2")
    assert "fusion_emitters" not in quick_flags("0.11.0")
    assert quick_flags("1.0") == "--xla_backend_optimization_level=0"
