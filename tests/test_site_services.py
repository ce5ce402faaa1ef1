"""The built pages in a real browser: errors, search, dark mode, phone and desktop, accessibility.

axe-core is looked for in `T1DJAX_AXE`, the file `axe.min.js` that `npm pack axe-core && tar xf axe-core-*.tgz` leaves
in `package/`; without it that one test is skipped. `T1DJAX_SITE` names pages that are built already, `T1DJAX_SHOTS` a
folder for pictures of every page visited.
"""

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .services import chromium

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "index.html",
    "install.html",
    "tutorials/fit-one.html",
    "TROUBLESHOOTING.html",
    "physics.html",
    "api/index.html",
    "api/fit.html",
)
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the pages, built strictly unless they are given."""
    built = os.environ.get("T1DJAX_SITE")
    folder = Path(built) if built else tmp_path_factory.mktemp("site")
    if not built:
        command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", "docs", str(folder)]
        environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
        made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr[-3000:]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


class Visit:
    """A page that remembers what went wrong on it, and what it asked of other hosts."""

    def __init__(self, browser: Any, site: str, size: str, scheme: str = "light") -> None:
        width, height = SIZES[size]
        self.site, self.size, self.scheme = site, size, scheme
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.context.set_default_timeout(60_000)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("requestfailed", lambda request: self.wrong.append(f"failed: {request.url}"))
        self.page.on("request", self._request)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.site, "data:")):
            self.wrong.append(f"asks elsewhere: {request.url}")

    def go(self, page: str) -> Any:
        answer = self.page.goto(self.site + page)
        assert answer.ok, page
        if folder := os.environ.get("T1DJAX_SHOTS"):
            name = page.partition("?")[0].replace("/", "-").removesuffix(".html")
            self.page.screenshot(path=str(Path(folder) / f"{name}-{self.size}-{self.scheme}.png"))
        return self.page


@pytest.fixture(params=SIZES)
def visit(request: pytest.FixtureRequest, browser: Any, site: str) -> Iterator[Visit]:
    opened = Visit(browser, site, request.param)
    yield opened
    opened.context.close()


@pytest.mark.parametrize("page", PAGES)
def test_pages_open_cleanly_and_fit_the_screen(visit: Visit, page: str) -> None:
    opened = visit.go(page)
    assert opened.locator("h1").count() == 1
    assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "the page scrolls sideways"
    assert opened.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)")
    assert visit.wrong == []


def test_landing_page_leads_on(visit: Visit) -> None:
    page = visit.go("index.html")
    page.locator('.sd-card:has(a[href="readers/models.html"])').click()
    page.locator('article a[href="../tutorials/fit-one.html"]').click()
    page.wait_for_url("**/tutorials/fit-one.html")
    assert page.locator("table.dataframe caption", has_text="Fit of Pat3").count() == 1, "records show as tables"
    assert "mg/U/min" in page.locator("table.dataframe", has_text="Fit of Pat3").inner_text()
    assert visit.wrong == []


SEARCHED = {
    "sample_posterior": "t1djax.sample_posterior",
    "carb ratio": "Glossary",
    "resume": "Experiments that survive",
    "mmol": "Real data",
}


@pytest.mark.parametrize("words", SEARCHED)
def test_search_finds_names_and_pages(visit: Visit, words: str) -> None:
    page = visit.go(f"search.html?q={words.replace(' ', '+')}")
    page.wait_for_selector("ul.search li a")
    assert SEARCHED[words] in page.locator("ul.search").inner_text()
    assert visit.wrong == []


def test_api_page_links_types(browser: Any, site: str) -> None:
    visit = Visit(browser, site, "desktop")
    page = visit.go("api/fit.html")
    signature = page.locator(r"#t1djax\.fit")
    assert signature.locator('a[href="types/Cohort.html#t1djax.Cohort"]').count() >= 1
    assert signature.locator('a[href="types/Fit.html#t1djax.Fit"]').count() >= 1
    assert visit.wrong == []
    visit.context.close()


def test_dark_mode_by_system_and_by_hand(browser: Any, site: str) -> None:
    dark = Visit(browser, site, "desktop", "dark")
    luminance = "(() => { const c = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number);"
    luminance += " return (c[0] + c[1] + c[2]) / 3; })()"
    assert dark.go("tutorials/fit-one.html").evaluate(luminance) < 60
    text = dark.page.locator("table.dataframe td").first.evaluate(
        "e => getComputedStyle(e).color.match(/[\\d.]+/g).map(Number)"
    )
    assert min(text[:3]) > 150, "tables of records can be read in the dark"
    dark.context.close()
    light = Visit(browser, site, "desktop")
    page = light.go("index.html")
    assert page.evaluate(luminance) > 200
    for _ in range(3):
        page.locator(".theme-toggle:visible").first.click()
        if page.evaluate(luminance) < 60:
            break
    assert page.evaluate(luminance) < 60
    assert light.wrong == []
    light.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(browser: Any, site: str, scheme: str) -> None:
    """No violation of WCAG 2.1 A and AA that axe calls serious or critical."""
    axe = os.environ.get("T1DJAX_AXE")
    if not axe:
        pytest.skip("no axe: npm pack axe-core && tar xf axe-core-*.tgz, and T1DJAX_AXE=package/axe.min.js")
    found = []
    for size in SIZES:
        visit = Visit(browser, site, size, scheme)
        for name in (*PAGES, "search.html"):
            page = visit.go(name)
            page.add_script_tag(path=axe)
            tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
            result = page.evaluate("tags => axe.run(document, {runOnly: tags, resultTypes: ['violations']})", tags)
            for violation in result["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    nodes = violation["nodes"]
                    found.append(f"{name} {size}: {violation['id']} in {len(nodes)}: {nodes[0]['html'][:200]}")
        visit.context.close()
    assert found == []
