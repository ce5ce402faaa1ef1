"""Links of the pages that the site does not build lead somewhere, and tutorials are notebooks that the build runs."""

import re
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


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_tutorials_are_notebooks(page: Path) -> None:
    head = yaml.safe_load(page.read_text(encoding="utf-8").split("---\n")[1])
    assert head["file_format"] == "mystnb", "without it the cells are not run"
