"""What `import t1djax` offers: the list from which the API page is made and against which tests hold it."""

import ast
import inspect
import itertools
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_origin


def public_names(package: ModuleType) -> dict[str, Any]:
    """Every public name of the package but its modules, in alphabetical order."""
    return {
        name: getattr(package, name)
        for name in sorted(dir(package), key=str.lower)
        if not name.startswith("_") and not inspect.ismodule(getattr(package, name))
    }


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
