"""Links of the pages that the site does not build lead somewhere, and tutorials are notebooks that the build runs."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(<?([^)\s>#]+)[^)]*\)")
CODE = re.compile(r"^```[^\n]*\n.*?^```\s*$", re.MULTILINE | re.DOTALL)
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    """Those of the site's own pages are looked at when it is built."""
    links = LINK.findall(CODE.sub("", (ROOT / page).read_text(encoding="utf-8")))
    lost = [link for link in links if not re.match(r"(https|mailto):", link) and not (ROOT / link).exists()]
    assert lost == []


def test_readme_is_read_from_anywhere() -> None:
    """A package index shows it: links are absolute, and those into the repository lead to files of this one."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = LINK.findall(CODE.sub("", text))
    assert [link for link in links if not link.startswith("https://")] == []
    home = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    inside = [link.removeprefix(f"{home}/blob/main/") for link in links if link.startswith(f"{home}/blob/main/")]
    assert len(inside) > 20
    assert [path for path in inside if not (ROOT / path).exists()] == []
    assert f"git clone {home}" in text
    assert len(text.splitlines()) <= 120


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_tutorials_are_notebooks(page: Path) -> None:
    head = yaml.safe_load(page.read_text(encoding="utf-8").split("---\n")[1])
    assert head["file_format"] == "mystnb", "without it the cells are not run"
