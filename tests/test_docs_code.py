"""What the README, the pages and the docstrings show is run as it stands."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import t1djax

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)]
BLOCK = re.compile(
    r"^```(?:python|\{code-cell\} ipython3\n---\n.*?\n---|\{code-cell\} ipython3)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
MODULES = [
    "t1djax",
    *(
        module.name
        for module in pkgutil.walk_packages(t1djax.__path__, "t1djax.")
        if not module.name.endswith("__main__")  # it runs when imported
    ),
]


def code(page: Path) -> str:
    """The Python blocks of a page in order, each on its own lines, so that an error names the page's line."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        inside = block.group(1).splitlines()
        lines[first : first + len(inside)] = inside
    return "\n".join(lines)


WITH_CODE = [page for page in PAGES if code(page).strip()]
RUN = [p for p in WITH_CODE if p.parent.name != "tutorials"]
"""Tutorials are run when the pages are built."""


def test_pages_have_code() -> None:
    assert ROOT / "docs" / "index.md" in WITH_CODE
    tutorial = code(ROOT / "docs" / "tutorials" / "fit-one.md")
    assert "alone = t1djax.preflight" in tutorial
    assert "mystnb" not in tutorial, "options of a cell are no code"


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_code_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page share one namespace, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    exec(compile(code(page), str(page), "exec"), {"__name__": "__page__"})


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
