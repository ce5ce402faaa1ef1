"""Glycaemic metrics against numbers computed by hand and published examples."""

import math

import numpy as np
import pytest

import t1djax
from t1djax.evaluation import GLUCOSE_RANGES, blood_glucose_indices, reading_errors


def record(readings: list, step: float = 5.0, name: str = "Ada") -> t1djax.Patient:
    return t1djax.Patient(
        name, step * np.arange(len(readings)), np.array(readings, dtype=float), t1djax.Doses.of(basal=1.0)
    )


def test_a_reading_lies_in_one_range():
    edges = np.array([53.9, 54, 69.9, 70, 180, 180.3, 250, 250.6])
    where = {name: np.flatnonzero(inside(edges)).tolist() for name, inside in GLUCOSE_RANGES.items()}
    assert where == {"<54": [0], "54-69": [1, 2], "70-180": [3, 4], "181-250": [5, 6], ">250": [7]}


@pytest.mark.parametrize("factor", [18.0, 18.016, 18.01559, 18.0182])
def test_tenths_of_a_mmol_lie_in_the_ranges_of_the_consensus(factor):
    tenths = np.round(np.arange(2.0, 25.0, 0.1), 1)
    # As printed: below 3.0, to 3.8, to 10.0, to 13.9, and above.
    printed = np.searchsorted([3.0, 3.9, 10.05, 13.95], tenths, side="right")
    whole = np.arange(40, 400)
    printed_mg = np.searchsorted([54, 70, 180.5, 250.5], whole, side="right")
    for unit in ("mg/dL", "mmol/L"):
        for mg_dL, there in ((tenths * factor, printed), (whole.astype(float), printed_mg)):
            found = t1djax.glycaemia(record(mg_dL.tolist()), unit=unit)
            shares = (found.very_low_percent, found.low_percent, found.in_range_percent, found.high_percent,
                      found.very_high_percent)  # fmt: skip
            assert shares == pytest.approx(100 * np.bincount(there, minlength=5) / len(there))


def test_shares_and_gri_by_hand():
    # Of 20 readings: 1 very low, 2 low, 12 in range, 3 high, 2 very high: 5, 10, 60, 15, 10 %.
    found = t1djax.glycaemia(record([50] + 2 * [60] + 12 * [120] + 3 * [200] + 2 * [300]))
    shares = (found.very_low_percent, found.low_percent, found.in_range_percent, found.high_percent,
              found.very_high_percent)  # fmt: skip
    assert shares == pytest.approx((5, 10, 60, 15, 10))
    assert found.gri_hypo_percent == pytest.approx(5 + 0.8 * 10)
    assert found.gri_hyper_percent == pytest.approx(10 + 0.5 * 15)
    assert found.gri == pytest.approx(3.0 * 5 + 2.4 * 10 + 1.6 * 10 + 0.8 * 15)  # 67
    assert found.gri_zone == "D"
    mean = (50 + 120 + 12 * 120 + 600 + 600) / 20
    assert found.mean == pytest.approx(mean)
    variance = ((50 - mean) ** 2 + 2 * (60 - mean) ** 2 + 12 * (120 - mean) ** 2 + 3 * (200 - mean) ** 2
                + 2 * (300 - mean) ** 2) / 19  # fmt: skip
    assert found.cv_percent == pytest.approx(100 * math.sqrt(variance) / mean)


@pytest.mark.parametrize(
    ("low", "zone"), [(0, "A"), (8, "A"), (9, "B"), (16, "B"), (17, "C"), (25, "C"), (26, "D"), (34, "E"), (60, "E")]
)
def test_gri_zones(low, zone):
    # So many readings of 60 in 100 make a GRI of 2.4 times that, cut at 100.
    found = t1djax.glycaemia(record(low * [60.0] + (100 - low) * [100.0]))
    assert found.gri == pytest.approx(min(100, 2.4 * low))
    assert found.gri_zone == zone


@pytest.mark.parametrize(
    ("mean", "gmi"),
    [(100, 5.7), (125, 6.3), (150, 6.9), (175, 7.5), (200, 8.1), (225, 8.7), (250, 9.3), (275, 9.9), (300, 10.5),
     (350, 11.7)],
)  # fmt: skip
def test_gmi_is_that_of_the_published_table(mean, gmi):
    """Bergenstal et al. 2018, table of mean glucose and GMI."""
    assert round(t1djax.glycaemia(record([mean - 10.0, mean + 10.0])).gmi_percent, 1) == gmi


def test_indices_have_the_published_landmarks():
    """The scale is built so that the risk is 100 at 20 and at 600 mg/dL and nothing at 112.5 (Kovatchev et al.)."""
    for glucose, low, high in ((20, 100, 0), (600, 0, 100), (112.5, 0, 0)):
        assert blood_glucose_indices(np.array([float(glucose)])) == pytest.approx((low, high), abs=0.3)
    by_hand = 10 * (1.509 * (math.log(50) ** 1.084 - 5.381)) ** 2
    assert blood_glucose_indices(np.array([50.0, 112.5]))[0] == pytest.approx(by_hand / 2, abs=1e-3)


def test_time_with_data_counts_gaps():
    readings = np.full(289, 120.0)  # a day at 5 min
    whole = record(readings.tolist())
    assert t1djax.glycaemia(whole).data_percent == pytest.approx(100)
    assert t1djax.glycaemia(whole).days == pytest.approx(1)
    readings[100:172] = np.nan  # six hours of it
    assert t1djax.glycaemia(record(readings.tolist())).data_percent == pytest.approx(100 * (1 - 72 / 289))
    single = t1djax.glycaemia(t1djax.Patient("Bo", np.array([0.0, 5.0]), np.array([100.0, np.nan]), whole.doses))
    assert (single.data_percent, single.days) == (0, 0)
    assert math.isnan(single.sd)


def test_what_represents_a_person():
    days = lambda n: t1djax.glycaemia(record((96 * n + 1) * [120.0], step=15.0)).representative
    assert (days(13), days(14)) == (False, True)


def test_millimoles():
    mg, mmol = (t1djax.glycaemia(record([90.0, 180.16]), unit=unit) for unit in ("mg/dL", "mmol/L"))
    assert mmol.mean == pytest.approx(mg.mean / 18.016)
    assert mmol.sd == pytest.approx(mg.sd / 18.016)
    assert mmol.gmi_percent == mg.gmi_percent
    table = t1djax.glycaemia_table([record([90.0, 100.0]), record([80.0, 90.0], name="Bo")], unit="mmol/L")
    assert table["patient"].tolist() == ["Ada", "Bo"]
    assert table["mean_mmol_L"].tolist() == pytest.approx([95 / 18.016, 85 / 18.016])


def test_errors_by_range_by_hand():
    observed = np.array([50.0, 60.0, 100.0, 150.0, 200.0, np.nan])
    predicted = np.array([60.0, 54.0, 110.0, 120.0, 240.0, 100.0])
    table = t1djax.evaluation.errors_by_range(predicted, observed).set_index("range")
    assert table["n"].to_dict() == {"all": 5, "<54": 1, "54-69": 1, "70-180": 2, "181-250": 1, ">250": 0}
    row = table.loc["70-180"]
    assert row["bias_mg_dL"] == pytest.approx((10 - 30) / 2)
    assert row["mae_mg_dL"] == pytest.approx(20)
    assert row["rmse_mg_dL"] == pytest.approx(math.sqrt((100 + 900) / 2))
    assert row["mard_percent"] == pytest.approx(100 * (10 / 100 + 30 / 150) / 2)
    assert np.isnan(table["rmse_mg_dL"].to_dict()[">250"])
    assert reading_errors(predicted[:5], observed[:5])["bias_mg_dL"] == pytest.approx(table.loc["all", "bias_mg_dL"])


def test_episodes_begin_and_end_after_fifteen_minutes() -> None:
    def low(readings: list[float], step: float = 5.0) -> int:
        time = step * np.arange(len(readings))
        patient = t1djax.Patient("Ada", time, np.asarray(readings, dtype=float), t1djax.Doses.of())
        return t1djax.evaluation.episodes(patient).low

    assert low([90, 65, 65, 90, 90, 90]) == 0, "ten minutes"
    assert low([90, 65, 65, 65, 90, 90, 90, 65, 65, 65, 90]) == 2
    assert low([90, 65, 65, 65, 90, 90, 65, 65, 65, 90]) == 1, "ten minutes within do not end it"
    assert low([90, 65, 90, 65], step=15.0) == 2
