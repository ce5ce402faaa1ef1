"""The public surface: the list from which the API pages are made and against which tests hold docstrings."""

import ast
import inspect
import itertools
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_origin

from t1djax._moved import NAMESPACE_OF

NEW = (
    {
        "DoseResponses": "statespace",
        "dose_responses": "statespace",
        "model_numbers": "statespace",
        "model_of_numbers": "statespace",
        "predict_from_readings": "prediction",
        "with_stochastic": "prediction",
    }
    | dict.fromkeys(("Episodes", "episodes", "dts_zones"), "evaluation")
    | dict.fromkeys(
        ("plot", "plot_agp", "plot_day", "plot_days", "plot_forecasts", "plot_replay", "plot_trial"), "plotting"
    )
)
"""Names that live in a namespace and never were elsewhere."""
IN_NAMESPACES = NAMESPACE_OF | NEW

TASKS = {
    "People, doses, sensors": ("data",),
    "Physiologies": ("physics",),
    "Files": ("io",),
    "Questions and fits": ("experiment", "question", "problem", "config", "_arguments"),
    "Networks and training": ("networks", "training", "twin", "programs"),
    "What the readings tell": ("identifiability", "inference"),
    "Forecasts and replays": ("statespace", "population", "forecasting", "prediction"),
    "Controllers": ("trials",),
    "Scores and reports": ("evaluation", "reporting", "plotting", "_types"),
    "What comes back": ("records",),
    "Tracking and removal": ("tracking", "registry", "privacy"),
}
"""In the order of the work: the rooms whose names a task needs."""


def public_names(package: ModuleType) -> dict[str, Any]:
    """What a user may rely on, as it is written after `t1djax.`: the top level, and what lives in the namespaces."""
    top = {
        name: getattr(package, name)
        for name in sorted(dir(package), key=str.lower)
        if not name.startswith("_") and not inspect.ismodule(getattr(package, name))
    }
    return top | {
        f"{space}.{name}": getattr(import_module(f"{package.__name__}.{space}"), name)
        for name, space in sorted(IN_NAMESPACES.items(), key=lambda pair: (pair[1], pair[0].lower()))
    }


def rooms(package: ModuleType) -> dict[str, str]:
    """The room that each public name is defined in, by the name as `public_names` has it."""
    stub = ast.parse(Path(package.__path__[0], "__init__.pyi").read_text(encoding="utf-8"))
    top = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    return top | {f"{space}.{name}": space for name, space in IN_NAMESPACES.items()}


def is_data(value: Any) -> bool:
    """Whether a public value is a table, a constant or a type alias, rather than a class or a function."""
    return get_origin(value) is not None or not (inspect.isclass(value) or callable(value))


class Attribute(NamedTuple):
    """A documented assignment: a field of a class, or a name of a module."""

    annotation: str
    doc: str


def attribute_docs(package: ModuleType) -> dict[str, Attribute]:
    """The annotation of, and the string under, each assignment in the modules and classes of the package.

    Keys are `NAME` for modules and `Class.field` for classes.
    """
    found = {}
    for file in sorted(Path(package.__path__[0]).rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found |= _documented(tree.body, "")
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found |= _documented(node.body, f"{node.name}.")
    return found


def _documented(body: list[ast.stmt], prefix: str) -> dict[str, Attribute]:
    found = {}
    for statement, below in itertools.pairwise([*body, ast.Pass()]):
        if isinstance(statement, ast.AnnAssign):
            target, annotation = statement.target, ast.unparse(statement.annotation)
        elif isinstance(statement, ast.Assign):
            target, annotation = statement.targets[0], ""
        else:
            continue
        if isinstance(target, ast.Name):
            doc = ""
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                doc = inspect.cleandoc(str(below.value.value))
            found[prefix + target.id] = Attribute(annotation.replace("' ", "'"), doc)
    return found
