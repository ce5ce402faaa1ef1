"""The reference is whole: public names have docstrings with their parameters, their errors and the axes of arrays."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jaxtyping import ArrayLike

import t1djax

from .test_project import load

surface = load("docs/surface.py")
PUBLIC = surface.public_names(t1djax)
DOCS = surface.attribute_docs(t1djax)
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}


def short(name: str) -> str:
    """Without its namespace."""
    return name.rpartition(".")[2]


def doc_of(name: str) -> str:
    if surface.is_data(PUBLIC[name]):
        return DOCS[short(name)].doc if short(name) in DOCS else ""
    return inspect.getdoc(PUBLIC[name]) or ""


def functions() -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Every public function and method, and the text in which a reader looks for what it raises."""
    for name, value in PUBLIC.items():
        if surface.is_data(value):
            continue
        if not inspect.isclass(value):
            yield name, inspect.unwrap(value), doc_of(name)
            continue
        for key, member in vars(value).items():
            inner = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            made = key in {"__post_init__", "__check_init__"}
            # Constructors and calls that somebody wrote, not those that dataclasses make.
            written = key in {"__init__", "__call__"} and f"\n    def {key}(" in inspect.getsource(value)
            # What an override takes and gives stands at the method that it overrides.
            overrides = any(hasattr(base, key) for base in value.__bases__) and not (made or written)
            if inspect.isfunction(inner) and not overrides and (made or written or not key.startswith("_")):
                yield f"{name}.{key}", inspect.unwrap(inner), doc_of(name) if made else inspect.getdoc(inner) or ""


FUNCTIONS = {name: (function, doc) for name, function, doc in functions()}


def raised(function: Callable[..., Any]) -> set[str]:
    """Classes that a function raises, in its body or in private functions of its module that it calls."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):  # made by a decorator
        return set()
    found = set()
    for node in unguarded(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            named = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            found.add(ast.unparse(named).split(".")[-1])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("_"):
            called = inspect.unwrap(function).__globals__.get(node.func.id)
            if inspect.isfunction(called) and called is not function and called.__module__ == function.__module__:
                found |= raised(called)
    return {name for name in found if name[0].isupper()} - {"NotImplementedError"}


def unguarded(node: ast.AST) -> Iterator[ast.AST]:
    """A tree without the bodies of `try`, whose errors are caught."""
    yield node
    caught = node.body if isinstance(node, ast.Try) and node.handlers else []
    for child in ast.iter_child_nodes(node):
        if child not in caught:
            yield from unguarded(child)


def parameters(function: Callable[..., Any]) -> list[str]:
    """What a caller gives."""
    return [name for name in inspect.signature(function).parameters if name not in {"self", "cls"}]


def section(doc: str, title: str) -> str:
    """The lines of a section of a docstring, moved to the left; empty where there is none."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)+)", f"{doc}\n", re.MULTILINE)
    return textwrap.dedent(found[1]) if found else ""


SHAPED = re.compile(r"\b(Bool|Float|Int|Key|Num|PyTree|Real|Shaped|UInt32)\[[^\]]*\]|ArrayLike")


def arrays_without_shape(annotation: Any) -> bool:
    """Whether an array stands bare in an annotation; jaxtyping's say its axes, and ArrayLike is of any."""
    text = inspect.formatannotation(annotation).replace(inspect.formatannotation(ArrayLike), "")
    return re.search(r"\b(Array|ndarray)\b", SHAPED.sub("", text)) is not None


def test_every_public_name_and_field_has_a_docstring() -> None:
    # Dataclasses make one up of their signature.
    bare = [name for name in PUBLIC if not doc_of(name) or doc_of(name).startswith(f"{short(name)}(")]
    for name, value in CLASSES.items():
        bare += [
            key
            for key, (annotation, doc) in DOCS.items()
            if key.startswith(f"{short(name)}.") and annotation and not annotation.startswith("ClassVar")
            if not key.split(".")[1].startswith("_") and not doc
        ]
        for key, member in vars(value).items():
            own = isinstance(member, property | classmethod | staticmethod) or inspect.isfunction(member)
            if own and not key.startswith("_") and key != "copy" and not inspect.getdoc(getattr(value, key)):
                bare.append(f"{name}.{key}")
    assert bare == []


def test_every_parameter_is_in_the_docstring() -> None:
    wrong = []
    for name, (function, doc) in FUNCTIONS.items():
        asked = parameters(function)
        if not asked or name.endswith(("__post_init__", "__check_init__")):
            continue
        if re.findall(r"^(\w+):", section(doc, "Args"), re.MULTILINE) != asked:
            wrong.append(f"{name}: Args")
        returns = inspect.signature(function).return_annotation
        if not name.endswith(".__init__") and returns is not None and not section(doc, "Returns"):
            wrong.append(f"{name}: Returns")
    assert wrong == []


def caught() -> None:
    try:
        raise ValueError
    except ValueError as e:
        raise KeyError from e


def test_every_error_is_in_the_docstring() -> None:
    assert raised(t1djax.Doses.__post_init__) == {"ValueError"}
    assert raised(t1djax.fit_ensemble) == {"ArgumentError", "ValueError"}, "in private functions"
    assert raised(caught) == {"KeyError"}, "what is caught does not count"
    wrong = [
        f"{name}: {error}"
        for name, (function, doc) in FUNCTIONS.items()
        for error in raised(function)
        if error not in doc.partition("Raises:")[2]
    ]
    assert wrong == []


def test_every_array_has_a_shape() -> None:
    assert arrays_without_shape("dict[str, jax.Array] | None")
    assert not arrays_without_shape("dict[str, Float[Array, '*batch 2']] | Float[ndarray, 'n'] | ArrayLike")
    wrong = []
    for name, (function, _) in FUNCTIONS.items():
        signature = inspect.signature(function)
        stated = {"return": signature.return_annotation} | {k: p.annotation for k, p in signature.parameters.items()}
        wrong += [f"{name}: {k}" for k, annotation in stated.items() if arrays_without_shape(annotation)]
    assert wrong == []


def test_moved_names_warn_and_are_what_they_were() -> None:
    assert 70 <= sum("." not in name for name in PUBLIC) <= 90
    for name, namespace in surface.NAMESPACE_OF.items():
        with pytest.warns(DeprecationWarning, match=rf"t1djax\.{namespace}\.{name}\b"):
            assert getattr(t1djax, name) is PUBLIC[f"{namespace}.{name}"]
    with pytest.raises(AttributeError):
        _ = t1djax.nothing_of_the_kind  # pyright: ignore[reportAttributeAccessIssue]


def test_every_public_name_has_a_task() -> None:
    """Under which the pages list it."""
    rooms = surface.rooms(t1djax)
    listed = {room for each in surface.TASKS.values() for room in each}
    assert {rooms[name] for name in PUBLIC} <= listed
