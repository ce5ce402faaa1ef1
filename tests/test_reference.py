"""What every public name must say: its parameters, shapes, units, what it returns and raises, which paper it has."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jaxtyping import ArrayLike

import t1djax

from .test_project import DOCS, PUBLIC, UNIT, UNIT_IN_NAME, doc_of, surface

OF_PAPERS = {
    "the model": "Magdelaine rates residual second_order_rates steady_state propagate presets reference_cohort",
    "what readings tell": "fisher_information fit_ode identify profile check_identifiable",
    "posteriors": "HMC NUTS sample_posterior fit_hierarchy",
    "filters": "kalman_filter smooth",
    "networks": "PINN ModifiedMLP BIRNN fit_network",
    "sensors": "BretonKovatchevNoise",
    "clinical measures": "glycaemia clarke_zones parkes_zones surveillance_levels errors_by_range gaussian_crps",
    "data": "read_hupa",
}
"""Names that implement, or repeat the numbers of, something published."""


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
            if inspect.isfunction(inner) and (made or written or not key.startswith("_")):
                yield f"{name}.{key}", inspect.unwrap(inner), doc_of(name) if made else inspect.getdoc(inner) or ""


NOTHING = surface.Attribute("", "")
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


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What a caller gives."""
    return {k: p for k, p in inspect.signature(function).parameters.items() if k not in {"self", "cls"}}


def section(doc: str, title: str) -> str:
    """The lines of a section of a docstring, moved to the left; empty where there is none."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)+)", f"{doc}\n", re.MULTILINE)
    return textwrap.dedent(found[1]).rstrip("\n") + "\n" if found else ""


def arguments(doc: str) -> dict[str, str]:
    """What Args says of each parameter, in order."""
    return dict(re.findall(r"^(\w+):(.*\n(?: +.*\n)*)", section(doc, "Args"), re.MULTILINE))


def test_the_check_sees_what_is_raised() -> None:
    assert raised(t1djax.pose) or raised(t1djax.fit)
    assert raised(t1djax.Doses.__post_init__) == {"ValueError"}
    assert raised(t1djax.fit_ensemble) == {"ValueError"}, "in a private function"
    assert raised(t1djax.read_fitted) == {"ResultError"}, "what is caught does not count"
    assert len(FUNCTIONS) > 200


def test_the_check_sees_what_is_said() -> None:
    doc = "One line.\n\nArgs:\n    a: first,\n        in two lines.\n    b: second.\n\nReturns:\n    It.\n"
    assert arguments(doc) == {"a": " first,\n    in two lines.\n", "b": " second.\n"}
    assert section(doc, "Returns") == "It.\n"
    assert section(doc, "Raises") == ""
    assert arrays_without_shape("dict[str, jax.Array] | None")
    assert arrays_without_shape("tuple[numpy.ndarray, ...]")
    assert not arrays_without_shape("dict[str, Float[Array, '*batch 2']] | Float[ndarray, 'n'] | ArrayLike")


CALLED = [name for name in FUNCTIONS if name.split(".")[-1] not in {"__post_init__", "__check_init__"}]


@pytest.mark.parametrize("name", [name for name in CALLED if parameters(FUNCTIONS[name][0])])
def test_every_parameter_is_told(name: str) -> None:
    """In the order of the signature, and in more words than its own name."""
    function, doc = FUNCTIONS[name]
    told = arguments(doc)
    assert list(told) == list(parameters(function)), f"{name}: Args does not name what the signature names"
    for parameter, text in told.items():
        own = {"a", "an", "its", "of", "the", *re.findall(r"[a-z]+", parameter.lower())}
        assert set(re.findall(r"\w+", text.lower())) - own, f"{name}: say more of {parameter} than its name"


@pytest.mark.parametrize("name", [name for name in CALLED if parameters(FUNCTIONS[name][0])])
def test_what_is_returned_is_told(name: str) -> None:
    """With its unit, where it is a number that does not carry one in the names of its fields."""
    function, doc = FUNCTIONS[name]
    given = inspect.formatannotation(inspect.signature(function).return_annotation)
    if name.endswith(".__init__") or given == "None":
        return
    told = section(doc, "Returns")
    assert told, f"{name}: say what it returns"
    if re.search(r"float|Float\[", given):
        assert UNIT.search(told), f"{name}: say the unit of what it returns, or that it has none"


def test_constructors_say_what_they_take() -> None:
    """A field of a record has a doc under it; a constructor that somebody wrote has Args."""
    for name, value in PUBLIC.items():
        if not inspect.isclass(value) or f"{name}.__init__" in FUNCTIONS or not getattr(value, "__annotations__", {}):
            continue
        taken = () if getattr(value, "_is_protocol", False) else inspect.signature(value).parameters
        for field in taken:
            assert any(DOCS.get(f"{base.__name__}.{field}", NOTHING).doc for base in value.__mro__), f"{name}.{field}"


SHAPED = re.compile(r"\b(Bool|Float|Int|Key|Num|PyTree|Real|Shaped|UInt32)\[[^\]]*\]|ArrayLike")


def arrays_without_shape(annotation: str) -> bool:
    """Whether an array stands bare in an annotation; jaxtyping's say its axes, and ArrayLike is of any."""
    any_shape = inspect.formatannotation(ArrayLike)
    return re.search(r"\b(Array|ndarray)\b", SHAPED.sub("", annotation.replace(any_shape, ""))) is not None


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_raised_is_told(name: str) -> None:
    function, doc = FUNCTIONS[name]
    for error in raised(function):
        assert "Raises:" in doc, f"{name} raises {error}, and its docstring has no Raises"
        assert error in doc.split("Raises:")[1], f"{name}: Raises does not name {error}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrays_have_shapes_and_numbers_units(name: str) -> None:
    """A plain array says nothing; jaxtyping names its axes. A float has a unit in its name or in the text."""
    function, doc = FUNCTIONS[name]
    own = name.split(".", maxsplit=1)[0]
    given = inspect.formatannotation(inspect.signature(function).return_annotation)
    assert not arrays_without_shape(given), f"{name} returns an array without a shape"
    for parameter in inspect.signature(function).parameters.values():
        said = str(parameter.annotation)
        bare = arrays_without_shape(inspect.formatannotation(parameter.annotation))
        assert not bare, f"{name}: {parameter.name} is an array without a shape"
        if said in {"<class 'float'>", "float | None"} and not UNIT_IN_NAME.search(parameter.name):
            told = re.search(rf"\b{parameter.name}\b[^\n]*(\n {{8,}}[^\n]*)*", doc)
            assert UNIT.search(told[0] if told else doc_of(own)) or "probability" in doc or "between 0 and 1" in doc, (
                f"{name}: say the unit of {parameter.name}, or that it has none"
            )


@pytest.mark.parametrize("name", " ".join(OF_PAPERS.values()).split())
def test_what_is_published_names_its_source(name: str) -> None:
    source = doc_of(name).partition("Source:")[2]
    assert re.search(r"\b(19|20)\d\d\b|arXiv|doi", source), f"{name}: name the paper, with its year"


@pytest.mark.parametrize("name", PUBLIC)
def test_who_names_a_paper_has_a_source(name: str) -> None:
    doc = doc_of(name)
    if re.search(r"\bet al\.", doc) and not surface.is_data(PUBLIC[name]):
        assert "Source:" in doc
