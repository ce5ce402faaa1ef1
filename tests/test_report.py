"""The report of a cohort: what stands in it, that it loads nothing, and that a browser opens it."""

import dataclasses
import datetime as dt
import html.parser
import importlib.resources
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import t1djax
from t1djax.reporting._tables import _per_day, stated, text, verdicts

from .command import call

NOW = dt.datetime(2026, 3, 1, 12, 0)


class Page(html.parser.HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.text).split())


def page(path: Path) -> Page:
    found = Page(path.read_text(encoding="utf-8"))
    assert not found.open
    return found


@pytest.fixture(scope="module")
def cohort() -> t1djax.Cohort:
    two = t1djax.reference_cohort(interval_min=15, names=["Pat2", "Pat3"]).patients
    return t1djax.Cohort((two[0], dataclasses.replace(two[1], name="<i>Bo</i> & co", start=NOW)))


@pytest.fixture(scope="module")
def full(cohort: t1djax.Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    first = cohort.patients[0]
    fit = t1djax.fit(t1djax.Cohort((first,)), model="ode", mode="inverse", free=["ksi"])
    mine = t1djax.baseline_forecasts(first, "ridge")
    forecasts = [t1djax.baseline_forecasts(p, m) for p in cohort for m in ("persistence", "linear")]
    forecasts.append(dataclasses.replace(mine, method="mine", future_inputs="announced"))
    return t1djax.write_report(
        cohort,
        tmp_path_factory.mktemp("report") / "new" / "report.html",
        title="A & B <study>",
        read={"Pat2": {"file": "a.csv", "basal_U_day": 21.5, "warnings": ["basal <odd>"], "zone": None}},
        fits=fit,
        forecasts=forecasts,
        identification={"Pat2": {"parameters": {"ksi": {"value": 197.0, "verdict": "determined", "interval": (190, 204),
                                                        "unit": "mg/U/min", "reason": "it is"}},
                                 "directions": [{"words": "ksi and ku_Vi move together"}], "rank": 1}},
        created=NOW,
    )  # fmt: skip


def test_everything_stands_in_it(full):
    found = page(full)
    said = found.said
    for words in ("A & B <study>", "2 people", "2026-03-01 12:00", "not a medical device", "<i>Bo</i> & co",
                  "basal, U/day 21.5", "basal <odd>", "What was read", "ksi and ku_Vi move together", "190 to 204",
                  "Fit: ode, inverse", "Nothing speaks against this fit", "persistence", "announced",
                  "the consensus asks for 14 days"):  # fmt: skip
        assert words in said, words
    assert "nan" not in re.split(r"\W+", said.lower())
    alts = [a["alt"] for tag, a in found.tags if tag == "img"]
    assert len(alts) == 2 + 2 * 6
    assert "Error grid of Pat2, mine at 60 min" in alts  # the method that is no baseline is judged


def test_numbers_are_those_of_the_functions(full, cohort):
    said = page(full).said
    found = t1djax.glycaemia(cohort.patients[0])
    assert f"{found.n_readings} {found.days:.1f} {found.data_percent:.0f} {found.mean:.0f} {found.sd:.0f}" in said
    scores = t1djax.score_forecasts([t1djax.baseline_forecasts(p, "linear") for p in cohort])
    at = scores[(scores["range"] == "all") & (scores["horizon_min"] == 15)]
    assert f"linear none 15 2 {at['n'].sum()} {at['rmse_mg_dL'].mean():.1f}" in said


def test_it_is_whole_in_itself(full):
    found = page(full)
    for tag, attributes in found.tags:
        assert tag not in {"script", "link", "iframe", "object", "video", "form"}
        for name in ("src", "href", "srcset", "action"):
            if value := attributes.get(name):
                assert value.startswith(("data:image/", "#")), value[:60]
    source = full.read_text(encoding="utf-8")
    assert "url(" not in source
    assert "@import" not in source
    anchors = {a["id"] for _, a in found.tags if a.get("id")}
    assert {"#" + i for i in anchors if i} >= {a["href"] for tag, a in found.tags if tag == "a"}
    policy = next(a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy


def test_names_are_escaped(full):
    source = full.read_text(encoding="utf-8")
    assert "<i>Bo</i>" not in source
    assert "&lt;i&gt;Bo&lt;/i&gt; &amp; co" in source


def test_the_same_input_gives_the_same_page(cohort, tmp_path):
    one = t1djax.Cohort(cohort.patients[:1])
    pages = [t1djax.write_report(one, tmp_path / name, created=NOW).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_a_plain_report_in_millimoles(cohort, tmp_path):
    said = page(t1djax.write_report(cohort, tmp_path / "r.html", unit="mmol/L", figures_for=0)).said
    assert "mean, mmol/L" in said
    assert "3.9 to 10.0" in said
    assert "2 more have none" in said
    assert "Forecasts: RMSE" not in said


def test_what_is_of_nobody_is_refused(cohort, tmp_path):
    one = t1djax.Cohort(cohort.patients[:1])
    with pytest.raises(ValueError):
        t1djax.write_report([], tmp_path / "r.html")
    with pytest.raises(ValueError, match="Zoe"):
        t1djax.write_report(one, tmp_path / "r.html", read={"Zoe": {}})
    forecasts = [t1djax.baseline_forecasts(cohort.patients[1], "persistence")]
    with pytest.raises(ValueError, match="<i>Bo"):
        t1djax.write_report(one, tmp_path / "r.html", forecasts=forecasts)
    assert not (tmp_path / "r.html").exists()


def test_doses_per_day_by_hand():
    doses = t1djax.Doses.of(
        basal=[(100.0, 1.0), (720.0, 2.0)], boluses=[(-5.0, 9.0), (10.0, 3.0), (1440.0, 9.0)], meals=[(20.0, 50.0)]
    )
    day = t1djax.Patient("Ada", np.array([0.0, 1440.0]), np.array([100.0, 100.0]), doses)
    assert _per_day(day) == pytest.approx((12 * 1 + 12 * 2, 3, 50))


def test_values_as_people_read_them():
    assert [text(x) for x in (None, float("nan"), True, 3, 0.123456, float("inf"), "x", (1, 2), {"a_min": 1})] == [
        "\N{EN DASH}", "\N{EN DASH}", "yes", "3", "0.1235", "∞", "x", "1; 2", "a, min: 1"
    ]  # fmt: skip
    assert text(list(range(20))).endswith("11 … and 8 more")
    assert stated(None) == {} == verdicts(None)
    bare = verdicts({"parameters": {"ksi": {"value": 1.0}}})
    assert (bare["rows"][0]["unit"], bare["rows"][0]["verdict"]) == ("mg/U/min", "")


def test_records_with_as_dict_are_taken(cohort, tmp_path):
    class Told:
        name = "Pat2"

        def as_dict(self) -> dict[str, object]:
            return {"name": "Pat2", "readings": 193, "warnings": ("mind the gap",), "noise_sd_mg_dL": 9.5}

    said = page(
        t1djax.write_report(cohort, tmp_path / "r.html", read={"Pat2": Told()}, identification=[Told()], figures_for=0)
    ).said
    assert "readings 193" in said
    assert said.count("mind the gap") == 2
    assert "noise sd, mg/dL: 9.5" in said


def test_the_template_is_part_of_the_package():
    assert importlib.resources.files("t1djax.reporting").joinpath("report.html.jinja").is_file()


# The command


@pytest.mark.slow
def test_the_command_writes_a_page_and_says_the_metrics(tmp_path):
    reference = ("report", "reference", "--patients", "Pat2", "--interval-min", "30", "--out", str(tmp_path / "r.html"))
    code, out, _ = call(*reference, "--forecast", "--json")
    assert code == 0
    said = json.loads(out)
    found = t1djax.glycaemia(t1djax.reference_cohort(interval_min=30, names=["Pat2"])["Pat2"])
    assert said["glycaemia"][0]["mean_mg_dL"] == pytest.approx(found.mean)
    assert {row["method"] for row in said["forecasts"]} == {
        *t1djax.evaluation.BASELINES,
        "stochastic",
        "population",
        "blend",
    }
    assert "Pat2" in page(tmp_path / "r.html").said
    code, _, err = call(*reference)
    assert code == 2
    assert "--overwrite" in err
    code, out, _ = call(*reference, "--overwrite", "--unit", "mmol/L")
    assert code == 0
    assert "mean_mmol_L" in out
    code, _, err = call(*reference, "--overwrite", "--unit", "g/L")
    assert (code, "mmol/L" in err) == (2, True)


def test_the_command_shows_what_was_read_and_identified(tmp_path):
    rows = [
        f"{5 * i},{120 + 10 * ((i // 12) % 2)},0.9,{4 if i == 30 else ''},{40 if i == 30 else ''}" for i in range(97)
    ]
    file = tmp_path / "Ada.csv"
    file.write_text("\n".join(["time_min,glucose_mg_dL,basal_U_h,bolus_U,carbs_g", *rows]) + "\n", encoding="utf-8")
    asked = (
        "identify",
        str(file),
        "--known",
        "M=70",
        "--free",
        "ksi",
        "--assume-population",
        "--out",
        str(tmp_path / "id"),
    )
    code, out, _ = call(*asked, "--json")
    assert code == 0
    found = json.loads((tmp_path / "id" / "identification.json").read_text(encoding="utf-8"))[0]
    assert found["name"] == "Ada"
    assert any("misses its own readings" in doubt for doubt in json.loads(out)["patients"][0]["doubts"])
    shown = tmp_path / "r.html"
    code, _, _ = call("report", str(file), "--out", str(shown), "--identified", str(tmp_path / "id"))
    assert code == 0
    said = page(shown).said
    assert found["parameters"]["ksi"]["verdict"] in said
    assert "coverage" in said  # of the report of reading
    (tmp_path / "no.json").write_text("{}", encoding="utf-8")
    wrong = ("report", str(file), "--out", str(shown), "--overwrite", "--identified", str(tmp_path / "no.json"))
    code, _, err = call(*wrong)
    assert (code, "identify --out" in err) == (3, True)
    for flags, words in (
        (("--known", "M"), "--known M: write a symbol"),
        (("--known", "Q=1"), "unknown parameter 'Q'"),
        (("--interval-min", "5"), "--interval-min is for the reference cohort"),
    ):
        code, _, err = call("identify", str(file), *flags)
        assert (code, words in err) == (2, True)


def test_results_of_fits_are_shown(tmp_path):
    two = ("--patients", "Pat2,Pat3", "--interval-min", "30")
    results, out = str(tmp_path / "runs"), tmp_path / "r.html"
    code, *_ = call("train", "--model", "ode", "--no-figures", "--results", results, *two)
    assert code == 0
    code, _, err = call("report", "reference", "--patients", "Pat2", "--interval-min", "30",
                       "--fit-results", results, "--out", str(out))  # fmt: skip
    assert code == 0
    assert "results of Pat3 are left out" in err
    said = page(out).said
    assert said.count("Fit: ode, inverse") == 1
    assert "ksi 197" in said


# A real browser


@pytest.mark.services
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_it(full, tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here")
    shot = tmp_path / "shot.png"
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={shot}",
         f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1600", full.as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    pixels = imread(shot)
    assert pixels.shape[:2] == (1600, width)
    assert 0.02 < np.mean(pixels[..., :3].mean(axis=-1) < 0.95) < 0.9  # neither blank nor black
