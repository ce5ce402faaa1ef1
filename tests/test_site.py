"""The pages as a whole: links lead somewhere, tutorials are notebooks without outputs, quoted messages are real."""

import ast
import re
from pathlib import Path

import pytest
import yaml

import t1djax

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(t1djax.__file__).parent  # as installed: the checkout may be without it
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)
LINKED = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(<?([^)\s>]+)>?\)|^:link: (\S+)$", re.MULTILINE)
FENCE = re.compile(r"^(`{3,}|:{3,})[^\n]*\n.*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```[^\n]*\n.*?^```\s*$", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The text without code; directives with colons stay."""
    return CODE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Fragments that a page offers: slugs of headings, and labels."""
    text = prose(page)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", re.sub(r"[`*$]", "", h).strip().lower()).replace(" ", "-") for h in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


def links(page: Path) -> list[str]:
    return [a or b for a, b in LINK.findall(prose(page))]


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"(https|mailto):", link):
            continue
        assert not link.startswith("http:"), f"{link}: without encryption"
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.suffix:
            target = target.with_suffix(".md") if not target.exists() else target
        if target.name in {"api.rst", "api.md"} and target.parent == DOCS:  # made when the pages are built
            continue
        assert target.exists(), f"{page.name}: {link} leads nowhere"
        assert target.is_relative_to(ROOT), link
        if fragment and target.suffix == ".md":
            assert fragment in anchors(target), f"{page.name}: {link}: there are {', '.join(sorted(anchors(target)))}"


def test_there_are_links_to_check() -> None:
    assert sum(len(links(page)) for page in LINKED) > 100


def test_every_page_is_in_the_navigation() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    named = [line for block in re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL) for line in block.split("\n")]
    named = [line for line in named if line and not line.startswith(":")]
    assert len(named) == len(set(named))
    there = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES} - {"index"}
    assert set(named) - {"api"} == there


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_tutorials_are_notebooks_in_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["file_format"] == "mystnb", "without it the cells are not run"
    assert text.count("```{code-cell} ipython3") >= 4
    assert "plt.subplots" not in text or text.count("alt: ") == text.count("plt.subplots"), (
        "a figure needs a description"
    )


def test_there_are_five_tutorials() -> None:
    assert len(TUTORIALS) >= 5


# Troubleshooting


def literals() -> list[str]:
    """Every string of the package, with a zero byte where a value is put in."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


STRINGS = literals()
TROUBLE = (DOCS / "TROUBLESHOOTING.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^### `([^\n]+)`\n\n(.*?)(?=^##|\Z)", TROUBLE, re.MULTILINE | re.DOTALL)


def test_there_are_entries() -> None:
    assert len(ENTRIES) >= 20
    assert len({message for message, _ in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(("message", "text"), ENTRIES, ids=lambda x: x[:40])
def test_a_quoted_message_is_one_of_the_package(message: str, text: str) -> None:
    fixed = [part.strip() for part in message.split("...") if part.strip()]
    assert sum(len(part.split()) for part in fixed) >= 3, "too little to know it by"
    said = re.compile(r"[\s\S]*".join(map(re.escape, fixed)))
    assert any(said.search(string) for string in STRINGS), f"no message of the package reads: {message}"
    assert re.search(r"^Why\n: ", text, re.MULTILINE)
    assert re.search(r"^Mend\n: ", text, re.MULTILINE)
