"""What every public name must say: shapes of arrays, units of numbers, what it raises, which paper it implements."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import t1djax

from .test_project import PUBLIC, UNIT, UNIT_IN_NAME, doc_of, surface

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
            if inspect.isfunction(inner) and (made or not key.startswith("_")):
                yield f"{name}.{key}", inspect.unwrap(inner), doc_of(name) if made else inspect.getdoc(inner) or ""


FUNCTIONS = {name: (function, doc) for name, function, doc in functions()}


def raised(function: Callable[..., Any]) -> set[str]:
    """Classes that the body itself raises; what it calls has a docstring of its own."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):  # made by a decorator
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            named = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            found.add(ast.unparse(named).split(".")[-1])
    return {name for name in found if name[0].isupper()} - {"NotImplementedError"}


def test_the_check_sees_what_is_raised() -> None:
    assert raised(t1djax.pose) or raised(t1djax.fit)
    assert raised(t1djax.Doses.__post_init__) == {"ValueError"}
    assert len(FUNCTIONS) > 200


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
    for parameter in inspect.signature(function).parameters.values():
        said = str(parameter.annotation)
        bare = re.fullmatch(r"<class '(numpy\.ndarray|jax\.Array|jaxlib\.\S*Array)'>", said)
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
