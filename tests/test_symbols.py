"""No parameter of a physiology is known outside of its own files: the contract behind "one class, and all the rest"."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import t1djax
from t1djax.physics import BODY_MASS, PHYSIOLOGIES

PACKAGE = Path(t1djax.__file__).parent
OWN = {  # of a physiology
    "physics/_magdelaine.py", "physics/_magdelaine_facts.py", "physics/_second_order.py", "physics/_presets.py",
    "physics/_kanderian.py", "physics/_hovorka.py",
}  # fmt: skip
EXCEPT = {
    "cli/": "defaults and examples of the command line",
    "config/": "examples in messages about the configuration",
    "io/formats/": "words of many languages",
}
ANYBODYS = {BODY_MASS.symbol, "G0"}  # of a person, whatever the physiology
OTHER_WORDS = {("io/_columns.py", "ke"), ("training/_gauss_newton.py", "kl")}  # of a regular expression, of a sum


def symbols() -> set[str]:
    """Of parameters, by the tables of the physiologies themselves."""
    return {s for body in PHYSIOLOGIES.values() for s in body.parameters} - ANYBODYS


def spoken(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Words of code, docstrings left out: names, attributes, keywords, and words of texts."""
    docs = {
        id(node.value)
        for body in (getattr(node, "body", None) for node in ast.walk(tree))
        for node in (body if isinstance(body, list) else ())
        if isinstance(node, ast.Expr)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docs:
                yield from ((word, node.lineno) for word in re.findall(r"\w+", text))
            case ast.Attribute(attr=word) | ast.keyword(arg=str(word)) | ast.Name(id=word):
                yield word, getattr(node, "lineno", 0)


def test_no_parameter_is_known_outside_its_physiology() -> None:
    known, found = symbols(), []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name not in OWN and not name.startswith(tuple(EXCEPT)):
            words = spoken(ast.parse(path.read_text(encoding="utf-8")))
            found += [f"{name}:{line} {s}" for s, line in words if s in known and (name, s) not in OTHER_WORDS]
    assert not found, f"{', '.join(found)}: state it in the file of the physiology, as one of its facts"


def test_what_is_excepted_is_there_and_needs_it() -> None:
    known = symbols()
    for name in (*OWN, *EXCEPT):
        files = [PACKAGE / name] if name.endswith(".py") else sorted((PACKAGE / name).rglob("*.py"))
        words = {word for path in files for word, _ in spoken(ast.parse(path.read_text(encoding="utf-8")))}
        assert words & known, f"{name} needs no exception any more"
