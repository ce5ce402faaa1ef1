"""Tidepool exports, JSON and CSV: every type of record, both units, and records that are not right."""

import csv
import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import pytest

from t1djax.io._raw import Raw

from .vendor_files import parsed, refused, told

ZERO = dt.datetime(2024, 5, 13, tzinfo=dt.UTC)
Record = dict[str, Any]
HOUR = 3_600_000


def made(kind: str, hour: float, **more: Any) -> Record:
    time = (ZERO + dt.timedelta(hours=hour)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"type": kind, "time": time, "deviceTime": "2024-05-13T00:00:00", "deviceId": "x", **more}


def cbg(hour: float, value: float, units: str = "mmol/L", **more: Any) -> Record:
    return made("cbg", hour, value=value, units=units, **more)


def hours(rows: Any) -> list[float]:
    return [(row.time - ZERO) / dt.timedelta(hours=1) for row in rows]


def read(path: Path, *records: Record) -> Raw:
    return parsed(path / "ada.json", json.dumps(records))


def flat(records: list[Record]) -> str:
    """The same records as a table: nested fields by dots, lists as JSON in their cells."""

    def row(data: Record, before: str = "") -> Record:
        out: Record = {}
        for key, value in data.items():
            inner = row(value, f"{before}{key}.") if isinstance(value, dict) else None
            out |= inner or {f"{before}{key}": json.dumps(value) if isinstance(value, list) else value}
        return out

    rows = [row(record) for record in records]
    names = list(dict.fromkeys(name for one in rows for name in one))
    out = io.StringIO()
    writer = csv.DictWriter(out, names)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def beyond(side: str, threshold: float | None = None) -> list[Record]:
    mark: Record = {"code": "bg/out-of-range", "value": side}
    return [mark if threshold is None else mark | {"threshold": threshold}]


EVERYTHING = [
    made("upload", 0, timezone="Europe/Madrid"),
    cbg(0, 5.550747991045534, timezoneOffset=120),
    cbg(0.25, 2.109281, annotations=beyond("low", 40)),
    cbg(0.5, 22.258388, annotations=beyond("high")),
    made("smbg", 0.6, value=6.1, units="mmol/L"),
    made("deviceEvent", 0.7, subType="calibration", value=6.0, units="mmol/L"),
    made("deviceEvent", 0.8, subType="status"),
    made("basal", 0, deliveryType="scheduled", rate=0.8, duration=HOUR),
    made("basal", 1, deliveryType="temp", percent=0.5, duration=HOUR, suppressed={"rate": 1.2}),
    made("basal", 2, deliveryType="suspend", duration=HOUR / 2),
    made("basal", 2.5, deliveryType="automated", rate=1.35, duration=HOUR),
    made("basal", 5, deliveryType="scheduled", rate=0.8, duration=HOUR),
    made("bolus", 1, subType="normal", normal=3.5, expectedNormal=5),
    made("bolus", 2, subType="square", extended=2, duration=HOUR),
    made("bolus", 3, subType="dual/square", normal=1, extended=1.5, duration=2 * HOUR),
    made("wizard", 1, carbInput=40, carbUnits="grams"),
    made("wizard", 2, carbInput=0),
    made("food", 3, nutrition={"carbohydrate": {"net": 25, "units": "grams"}}),
    made("insulin", 4, dose={"total": 2}, formulation={"simple": {"actingType": "rapid"}}),
    made("insulin", 22, dose={"total": 12}, formulation={"simple": {"actingType": "long"}}),
]


@pytest.mark.parametrize("form", ["json", "csv"])
def test_everything(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"ada.{form}"
    raw, notes = told(path, json.dumps(EVERYTHING) if form == "json" else flat(EVERYTHING))
    assert [(r.censored, r.kind) for r in raw.readings] == [
        ("", "cgm"), ("low", "cgm"), ("high", "cgm"), ("", "fingerstick"), ("", "calibration"),
    ]  # fmt: skip
    # 100 mg/dL as stored, at full precision; limits are in mg/dL where they are stated at all.
    assert raw.readings[0].value == 5.550747991045534
    assert raw.readings[0].value * 18.01559 == pytest.approx(100, abs=1e-9)
    assert [r.value for r in raw.readings[1:3]] == pytest.approx([40 / 18.01559, 400 / 18.01559])
    assert raw.glucose_unit == "mmol/L"
    assert raw.readings[0].time.utcoffset() == dt.timedelta(hours=2)
    assert raw.readings[0].time == ZERO
    assert raw.time_zone == "Europe/Madrid"
    assert [b.rate for b in raw.basal] == [0.8, 0.6, 0.0, 1.35, 0.8]
    assert hours(raw.basal) == [0, 1, 2, 2.5, 5]
    assert [(d.amount, d.duration_min) for d in raw.boluses] == [(3.5, 1), (2, 60), (1, 1), (1.5, 120), (2, 1)]
    assert [(h, d.amount) for h, d in zip(hours(raw.meals), raw.meals, strict=True)] == [(1, 40), (3, 25)]
    assert raw.carbs_unit == "g"
    for text in ("'upload'", "of the kind temp"):
        assert any(text in note for note in notes), text
    assert [b.duration_min for b in raw.basal][:1] == [60]
    assert [(h, d.amount, d.duration_min) for h, d in zip(hours(raw.long_acting), raw.long_acting, strict=True)] == [
        (22, 12, 1440)
    ]
    line = 1 if form == "csv" else 0
    assert raw.readings[0].where == EVERYTHING.index(EVERYTHING[1]) + 1 + line


def test_units(tmp_path: Path) -> None:
    assert read(tmp_path, cbg(0, 100, "mg/dL"), cbg(1, 120, "mg/dL")).glucose_unit == "mg/dL"
    low = read(tmp_path, cbg(0, 39, "mg/dL", annotations=beyond("low")))
    assert [(r.value, r.censored) for r in low.readings] == [(40, "low")]
    mixed, notes = told(tmp_path / "a.json", json.dumps([cbg(0, 100, "mg/dL"), cbg(1, 5)]))
    assert mixed.glucose_unit == "mmol/L"
    assert [r.value for r in mixed.readings] == pytest.approx([100 / 18.01559, 5])
    assert any("in mg/dL and in mmol/L" in note for note in notes)
    exchanges = read(tmp_path, cbg(0, 5), made("wizard", 1, carbInput=4, carbUnits="exchanges"))
    assert (exchanges.carbs_unit, exchanges.meals[0].amount) == ("exchange", 4)


def test_injections_without_a_pump(tmp_path: Path) -> None:
    long = {"dose": {"total": 12}, "formulation": {"simple": {"actingType": "long"}}}
    raw = read(tmp_path, cbg(0, 5), made("insulin", 1, **long), made("insulin", 2, dose={"total": 3}))
    assert not raw.basal
    assert [d.amount for d in raw.long_acting] == [12]
    assert [d.amount for d in raw.boluses] == [3]


def test_records_in_any_order_and_once(tmp_path: Path) -> None:
    raw = read(tmp_path, cbg(1, 6, id="b"), cbg(0, 5, id="a"), cbg(1, 6, id="b"), cbg(2, 7), cbg(2, 7))
    assert [r.value for r in raw.readings] == [5, 6, 7]


BAD = [
    (cbg(0, "5,5"), "record 1, column value: '5,5' is not a number"),  # pyright: ignore[reportArgumentType]
    (cbg(0, 5, "mmol"), "record 1, column units: 'mmol' is no unit of glucose"),
    (cbg(0, 0), "record 1, column value: there is no reading"),
    (cbg(0, 5) | {"time": None}, "record 1, column time: 'None' is no time in UTC"),
    (made("basal", 0, deliveryType="temp", percent=0.5), "the basal of type 'temp' states no rate"),
    (made("basal", 0, rate=-1), "-1 is negative"),
    (made("bolus", 0, subType="square", extended=2), "the extended bolus has no duration"),
    (made("bolus", 0, subType="normal"), "the bolus states no amount"),
    (made("insulin", 0), "the injection states no amount"),
    (made("wizard", 0, carbInput=4, carbUnits="spoons"), "carbohydrate is stated in spoons"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "says"), BAD, ids=[says for _, says in BAD])
def test_refusals(tmp_path: Path, record: Record, says: str) -> None:
    assert says in refused(tmp_path / "bad.json", json.dumps([record]))


def test_carbohydrate_in_two_units(tmp_path: Path) -> None:
    records = [made("wizard", 1, carbInput=4, carbUnits="exchanges"), made("wizard", 2, carbInput=40)]
    says = refused(tmp_path / "bad.json", json.dumps(records))
    assert "carbohydrate is stated in exchanges and grams" in says


def test_mangled(tmp_path: Path) -> None:
    text = json.dumps(EVERYTHING, indent=0)
    cut = text[: len(text) // 2]
    says = refused(tmp_path / "a.json", cut)
    assert "it is not JSON here" in says
    assert ", row " in says
    table = flat(EVERYTHING)
    says = refused(tmp_path / "b.csv", table[: table.index("bolus") + 30])
    assert "is the file cut short" in says
