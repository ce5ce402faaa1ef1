"""What a newcomer sees first: records in a notebook, and pandas in and out."""

import html.parser

import jax
import numpy as np
import pandas as pd
import pytest

import t1djax
from t1djax._html import html_table


class Reader(html.parser.HTMLParser):
    """Reads a table back, and fails where a tag is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.caption = ""
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"table", "caption", "thead", "tbody", "tr", "th", "td", "p"}, tag
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"th", "td"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open and self.open[-1] in {"th", "td"}:
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "caption":
            self.caption += data


def read(record: object) -> Reader:
    reader = Reader()
    reader.feed(record if isinstance(record, str) else record._repr_html_())  # type: ignore[attr-defined]
    assert reader.open == []
    assert len({len(row) for row in reader.rows}) == 1, "every row has every column"
    return reader


def column(reader: Reader, name: str) -> list[str]:
    return [row[reader.rows[0].index(name)] for row in reader.rows[1:]]


@pytest.fixture(scope="module")
def cohort() -> t1djax.Cohort:
    noise = t1djax.WhiteNoise(10.0)
    return t1djax.reference_cohort(interval_min=30, noise=noise, key=jax.random.key(0), names=["Pat2", "Pat3"])


@pytest.fixture(scope="module")
def fit(cohort: t1djax.Cohort) -> t1djax.Fit:
    return t1djax.fit(cohort, model="ode", free=["ksi"])


def test_cells_are_text() -> None:
    reader = read(
        html_table("<i>", ["a<b"], [["</td><script>alert(1)</script>"], [None], [True], [1 / 3]], notes=["&"])
    )
    assert reader.caption == "<i>"
    assert [row[0] for row in reader.rows] == ["a<b", "</td><script>alert(1)</script>", "", "yes", "0.3333"]
    assert reader.text[-1] == "&"


def test_long_tables_are_cut_and_say_so() -> None:
    reader = read(html_table("many", ["n"], ([i] for i in range(75))))
    assert len(reader.rows) == 31
    assert reader.text[-1] == "and 45 more rows"


def test_patient_and_cohort(cohort: t1djax.Cohort) -> None:
    patient = cohort["Pat2"]
    facts = dict(read(patient).rows[1:])
    assert facts["readings"] == str(patient.valid.sum()) == "97"
    assert facts["boluses, U"].startswith(f"{patient.doses.bolus_U.sum():.4g} in ")
    assert facts["M, kg"] == f"{patient.known['M']:.4g}"
    shown = read(cohort)
    assert column(shown, "patient") == ["Pat2", "Pat3"]
    assert "2 with a known truth" in shown.caption
    assert repr(cohort) == "Cohort(2 patients: Pat2, Pat3)"


def test_fit_shows_estimates_with_units(fit: t1djax.Fit) -> None:
    shown = read(fit)
    rows = [dict(zip(shown.rows[0], row, strict=True)) for row in shown.rows[1:]]
    row = next(row for row in rows if row["symbol"] == "ksi")
    ksi = fit["Pat2"].estimates["ksi"]
    assert (row["symbol"], row["unit"], row["value"]) == ("ksi", "mg/U/min", f"{ksi.value:.4g}")
    assert row["standard error"] == f"{ksi.standard_error:.4g}"
    assert set(column(shown, "unit")) == {"mg/dL", "mg/U/min", "mg/dL/U", "mg/dL/min"}
    assert column(read(fit["Pat2"]), "symbol") == [*fit["Pat2"].estimates, "p1", "c"]
    assert f"ksi {ksi.value:.4g} mg/U/min" in repr(fit["Pat2"])


def test_what_the_data_tell(fit: t1djax.Fit, cohort: t1djax.Cohort) -> None:
    report = t1djax.identify(fit, cohort, what_if=False)
    shown = read(report)
    assert column(shown, "verdict")[1] == report["Pat2"].parameters["ksi"].verdict
    assert column(shown, "interval")[1].split(" to ")[0] == f"{report['Pat2'].parameters['ksi'].interval[0]:.4g}"
    assert "ksi determined" in repr(report["Pat2"])
    assert column(read(report["Pat2"]), "symbol")[:2] == ["G0", "ksi"]


def test_what_predicts(fit: t1djax.Fit, cohort: t1djax.Cohort) -> None:
    model = t1djax.fitted_patients(fit, cohort)[1]
    shown = read(model)
    errors = dict(zip(column(shown, "symbol"), column(shown, "standard error, %"), strict=True))
    assert errors["ksi"] == f"{100 * float(np.sqrt(model.covariance[1, 1])):.4g}"
    assert errors["Tu"] == "known"


def test_parameters_show_their_meaning() -> None:
    shown = read(t1djax.presets()["Pat2"].model())
    assert dict(zip(column(shown, "symbol"), column(shown, "unit"), strict=True))["ksi"] == "mg/U/min"
    stacked = jax.tree.map(lambda *x: np.stack(x), *[p.model() for p in t1djax.presets().values()])
    assert "..." in column(read(stacked), "value")[0]


def test_posterior_shows_intervals(cohort: t1djax.Cohort) -> None:
    rng = np.random.default_rng(0)
    draws = {"ksi": rng.normal(200, 10, (2, 500))}
    one = t1djax.records.PatientPosterior(
        "<Ada>", t1djax.Outcome.chains_disagree, draws, {"ksi": 1.2}, {"ksi": 40.0}, {"ksi": 30.0}, 0, 0.9
    )
    shown = read(one)
    assert column(shown, "5 %") == [f"{np.quantile(draws['ksi'], 0.05):.4g}"]
    assert repr(one) == f"PatientPosterior(<Ada>: ksi, 2 chains of 500 draws; doubtful: {one.message})"
    assert shown.text[-1] == f"Doubtful: {one.message}"


def test_error_grid_and_forecasts() -> None:
    grid = t1djax.error_grid(np.array([100.0, 100.0]), np.array([100.0, 300.0]))
    assert column(read(grid), "zone") == list("ABCDE")
    assert repr(grid).startswith("ErrorGrid(parkes1 of 2 pairs: A 50.0 %")
    observed = np.array([[100.0], [np.nan], [104.0]])
    ahead = t1djax.records.RollingForecasts(
        "Ada", "linear", "none", np.arange(3.0), np.array([30.0]), np.full((3, 1), 100.0), np.ones((3, 1)), observed
    )
    assert read(ahead).rows[1] == ["30", "2", f"{np.sqrt(8):.4g}"]
    assert repr(ahead) == "RollingForecasts(Ada: linear, 3 origins, 30 min ahead)"


def test_reading_report_shows_warnings() -> None:
    report = t1djax.io.ReadReport("a&b.csv", "table", readings=12, warnings=("odd <b>",))
    shown = read(report)
    assert shown.caption == "What was read of a&b.csv"
    assert shown.text[-1] == "Warning: odd <b>"
    assert ["readings", "12"] in shown.rows


# pandas


def test_fit_as_frames(fit: t1djax.Fit) -> None:
    table = fit.table()
    assert table["patient"].tolist() == ["Pat2"] * 4 + ["Pat3"] * 4
    assert table.set_index(["patient", "symbol"]).loc[("Pat3", "ksi"), "value"] == fit["Pat3"].estimates["ksi"].value
    frame = fit["Pat3"].frame()
    np.testing.assert_array_equal(frame["glucose_mg_dL"], fit["Pat3"].glucose_mg_dL)


def test_cohort_to_frame_and_back(cohort: t1djax.Cohort) -> None:
    frame = t1djax.cohort_to_frame(cohort)
    with pytest.warns(t1djax.DataWarning, match="40 mg/dL"):
        again = t1djax.frame_to_cohort(frame, known={p.name: p.known for p in cohort})
    assert again.names == cohort.names
    for patient in cohort:
        back = again[patient.name]
        valid = back.valid
        np.testing.assert_array_equal(back.time_min[valid], patient.time_min[patient.valid])
        np.testing.assert_array_equal(back.glucose_mg_dL[valid], patient.glucose_mg_dL[patient.valid])
        assert back.doses.carbs_g.sum() == patient.doses.carbs_g[patient.doses.carbs_g > 0].sum()
        assert back.known == patient.known


def test_people_with_and_without_a_clock_share_a_frame() -> None:
    rest = {"glucose_mg_dL": [100, 101], "basal_U_h": [1, None], "bolus_U": None, "carbs_g": None}
    ada = pd.DataFrame({"patient": "Ada", "time": ["2025-01-06 08:00", "2025-01-06 08:05"], **rest})
    ben = pd.DataFrame({"patient": "Ben", "time_min": [0, 5], **rest})
    cohort = t1djax.frame_to_cohort(pd.concat([ada, ben], ignore_index=True))
    assert cohort["Ada"].start is not None
    assert cohort["Ben"].start is None


def test_one_error_lists_everybodys_flaws() -> None:
    frame = pd.DataFrame(
        {
            "patient": ["Ada", "Ada", "Ben", "Ben", None],
            "time_min": [0, 5, 0, 5, 0],
            "glucose_mg_dL": [100, "high", 100, 100, 100],
            "basal_U_h": [1, 1, -1, 1, 1],
            "bolus_U": 0,
            "carbs_g": 0,
        }
    )
    with pytest.raises(t1djax.DataError) as caught:
        t1djax.frame_to_cohort(frame, known={"Cy": {"M": 70.0}})
    text = str(caught.value)
    for part in ("frame Ada", "'high'", "frame Ben", "-1", "nobody's", "'Cy'"):
        assert part in text
    with pytest.raises(t1djax.DataError, match="patient"):
        t1djax.frame_to_cohort(frame.drop(columns="patient"))
