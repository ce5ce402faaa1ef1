"""Nightscout: the basal that profiles schedule, what treatments make of it, and documents that are not right."""

import datetime as dt
import json
import zoneinfo
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from t1djax.io import DataError, ReadOptions, finished, settled
from t1djax.io._raw import Raw, RawDose
from t1djax.io._remarks import Remarks
from t1djax.io.formats import _nightscout

from .vendor_files import parsed, refused, steps, told

ZERO = dt.datetime(2024, 5, 13, tzinfo=dt.UTC)
Record = dict[str, Any]


def at(hour: float) -> dt.datetime:
    return ZERO + dt.timedelta(hours=hour)


def iso(hour: float) -> str:
    return at(hour).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def entry(hour: float, sgv: float = 100, **more: Any) -> Record:
    return {"type": "sgv", "sgv": sgv, "date": int(at(hour).timestamp() * 1000), **more}


def treatment(hour: float, kind: str, **more: Any) -> Record:
    return {"eventType": kind, "created_at": iso(hour), **more}


def store(basal: object, zone: str | None = "UTC") -> Record:
    return {"basal": basal, **({} if zone is None else {"timezone": zone})}


def profile(start: float = -24, default: str = "A", **stores: Record) -> Record:
    return {"startDate": iso(start), "defaultProfile": default, "store": stores}


def steps_of(*pairs: tuple[str, object]) -> list[Record]:
    return [{"time": time, "value": value} for time, value in pairs]


FLAT = store(steps_of(("00:00", 1.0)))
DAY = [entry(0), entry(24)]


def read(*records: Record) -> Raw:
    return remarked(*records)[0]


def remarked(*records: Record) -> tuple[Raw, list[str]]:
    raw, remarks = finished(_nightscout.parse([(Path("ns.json"), json.dumps(records))], ReadOptions()))
    return settled(raw, Remarks(remarks.problems)), [*remarks.warnings, *remarks.notes]


def joined(files: list[tuple[Path, str]]) -> Raw:
    return settled(*finished(_nightscout.parse(files, ReadOptions())))


def hours(raw: Raw) -> list[tuple[float, float]]:
    return [((time - ZERO) / dt.timedelta(hours=1), rate) for time, rate in steps(raw)]


def test_the_expected_table(shared: Path) -> None:
    """The table of GluPredKit is in UTC and leaves out what a percentage or a switch's duration does."""
    folder = shared / "data" / "vendor_formats"
    paths = [folder / f"nightscout_{kind}.json" for kind in ("entries", "treatments", "profiles")]
    files = [(path, path.read_text()) for path in paths]
    table = pd.read_csv(folder / "nightscout_expected_output.csv")
    when = pd.to_datetime(table["date"], utc=True).dt.to_pydatetime().tolist()

    def basal_at(raw: Raw) -> np.ndarray:
        times = np.array([b.time.timestamp() for b in raw.basal])
        at = np.searchsorted(times, [t.timestamp() for t in when], side="right") - 1
        return np.array([b.rate for b in raw.basal])[at] / 12

    files[2] = (paths[2], files[2][1].replace("Europe/Helsinki", "UTC"))
    raw = joined(files)
    assert [r.time for r in raw.readings] == when
    assert [r.value for r in raw.readings] == table["CGM"].tolist()
    for doses, column in ((raw.boluses, "bolus"), (raw.meals, "carbs")):
        expected = table.loc[table[column] > 0, column]
        assert [dose.amount for dose in doses] == expected.tolist()
        assert [dose.time for dose in doses] == [when[i] for i in expected.index]
    day = dt.datetime(2024, 10, 26, tzinfo=dt.UTC)
    hour = np.array([(t - day) / dt.timedelta(hours=1) for t in when])
    inside = lambda a, b: (hour >= a) & (hour < b)
    percent = inside(9, 10) | inside(25.5, 27) | inside(44, 45)
    # The third profile is chosen for three hours; then the second holds again, not the default.
    switched = inside(38, 40)
    ours, theirs = basal_at(raw), table["basal"].to_numpy()
    assert np.allclose(ours[~percent & ~switched], theirs[~percent & ~switched], atol=1e-5)
    assert np.all(theirs[percent] == 0)
    assert np.allclose(12 * ours[inside(9, 10)], 0.9 * 2.5)
    assert np.allclose(12 * ours[inside(25.5, 27)], 0.9 * 1.75)
    assert np.allclose(12 * ours[inside(44, 45)], 0.95 * 1.5)
    assert np.allclose(12 * ours[switched], 1.0)
    assert percent.sum() + switched.sum() == 66
    # In its own zone the schedule is three hours earlier in summer time and two after the change in this night.
    local = joined([(p, p.read_text()) for p in paths])
    assert local.time_zone == "Europe/Helsinki"
    assert (day + dt.timedelta(hours=3), 1.0) in steps(local)
    assert (day + dt.timedelta(hours=30), 1.2) in steps(local)


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("Europe/Madrid", "2024-10-26T12:00"),
        ("America/New_York", "2024-03-09T12:00"),
        ("Asia/Kolkata", "2024-05-01T00:00"),
        ("Australia/Lord_Howe", "2024-04-06T06:00"),
    ],
)
def test_time_of_day_by_the_zone(zone: str, start: str) -> None:
    """Every five minutes over a change of the clock, against the clock on the wall."""
    times = ["00:00", "01:30", "02:10", "02:30", "03:00", "09:00", "23:50"]
    rates = [0.5, 0.7, 0.9, 1.1, 1.3, 0.8, 0.6]
    begin = dt.datetime.fromisoformat(start).replace(tzinfo=dt.UTC)
    stamp = lambda t: {"type": "sgv", "sgv": 100, "date": int(t.timestamp() * 1000)}
    raw = read(
        stamp(begin), stamp(begin + dt.timedelta(hours=40)),
        {"startDate": "2020-01-01T00:00:00Z", "defaultProfile": "A",
         "store": {"A": store(steps_of(*zip(times, rates, strict=True)), zone)}},
    )  # fmt: skip
    for step in range(0, 40 * 60, 5):
        now = begin + dt.timedelta(minutes=step)
        wall = now.astimezone(zoneinfo.ZoneInfo(zone)).strftime("%H:%M")
        expected = [rate for time, rate in zip(times, rates, strict=True) if time <= wall][-1]
        assert [b.rate for b in raw.basal if b.time <= now][-1] == expected, now


def test_switches_of_the_profile() -> None:
    two, three = store(steps_of(("00:00", 2.0))), store(steps_of(("00:00", "3.0")))
    raw, notes = remarked(
        *DAY,
        profile(A=FLAT, B=two, C=three),
        treatment(2, "Profile Switch", profile="B"),
        treatment(4, "Profile Switch", profile="C", duration=60),
        profile(8, default="C", A=FLAT, C=three),
        treatment(10, "Profile Switch", profile="A", isValid=False),
        treatment(12, "Profile Switch", profile="gone"),
    )
    assert hours(raw) == [(0, 1.0), (2, 2.0), (4, 3.0), (5, 2.0), (8, 3.0)]
    assert any("'gone' is not stored; the default profile" in note for note in notes)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        # AndroidAPS 3 embeds the profile as it was, and counts the shift in milliseconds, to later hours.
        ({"percentage": 150, "timeshift": 7_200_000}, [(0, 1.0), (2, 3.0), (5, 1.5), (14, 3.0)]),
        # AndroidAPS 2 counts hours, and reads the schedule that much ahead.
        ({"percentage": 50, "timeshift": 3, "CircadianPercentageProfile": True}, [(0, 1.0), (2, 0.5), (9, 1.0)]),
        ({"percentage": 100, "timeshift": 0}, [(0, 1.0), (3, 1.0), (12, 2.0)]),
    ],
)
def test_switches_in_percent_with_a_shift(more: Record, expected: list[tuple[float, float]]) -> None:
    base = store(steps_of(("00:00", 2.0), ("03:00", 1.0), ("12:00", 2.0)))
    raw = read(
        *DAY, profile(A=FLAT), treatment(2, "Profile Switch", profile="A (x)", profileJson=json.dumps(base), **more)
    )
    shown = [(hour, rate) for hour, rate in hours(raw) if hour <= 14]
    if more["percentage"] == 100:
        assert shown == [(0, 1.0), (2, 2.0), (3, 1.0), (12, 2.0)]
    else:
        assert shown == expected


def test_temporary_basals_and_suspensions() -> None:
    raw, notes = remarked(
        *DAY,
        profile(A=store(steps_of(("00:00", 1.0), ("03:00", 2.0)))),
        treatment(1, "Temp Basal", absolute=0, duration=30),
        treatment(2, "Temp Basal", percent=-50, duration=120),
        treatment(5, "Temp Basal Start", rate=3.5, duration=60, percent=10),
        treatment(5.5, "Temp Basal End"),
        treatment(7, "Temp Basal", percent=100, durationInMilliseconds=1_800_000),
        treatment(8, "Suspend Pump"),
        treatment(9, "Resume Pump"),
        treatment(10, "Temp Basal", absolute=1, duration=600),
        treatment(11, "Temp Basal", absolute=0.2, duration=30),
        treatment(12, "Suspend Pump", duration=30),
        treatment(23, "Suspend Pump"),
    )
    assert hours(raw) == [
        (0, 1.0), (1, 0.0), (1.5, 1.0), (2, 0.5), (3, 1.0), (4, 2.0), (5, 3.5), (5.5, 2.0), (7, 4.0), (7.5, 2.0),
        (8, 0.0), (9, 2.0), (10, 1.0), (11, 0.2), (11.5, 2.0), (12, 0.0), (12.5, 2.0), (23, 0.0),
    ]  # fmt: skip
    assert any("read as changes" in note for note in notes)
    assert any("1 suspensions have no end" in note for note in notes)


def test_boluses_and_meals() -> None:
    raw, notes = remarked(
        *DAY,
        treatment(1, "Meal Bolus", insulin=3, carbs=30),
        treatment(2, "Combo Bolus", insulin=2, enteredinsulin=5, splitNow=40, splitExt=60, relative=1.5, duration=120),
        treatment(3, "Combo Bolus", insulin=1, enteredinsulin=4, splitNow=25, splitExt=75, duration=90),
        treatment(4, "Bolus", insulin=2, type="square", duration=60),
        treatment(5, "Correction Bolus", insulin="0.5", duration=0.2, type="normal"),
        treatment(6, "Carb Correction", carbs=20, duration=180),
        treatment(7, "Note", insulin=None, carbs=""),
        {"created_at": iso(8), "insulin": 1.5},
        {"eventType": "Bolus", "mills": int(at(9).timestamp() * 1000), "insulin": 1, "_id": "x"},
        {"eventType": "Bolus", "mills": int(at(9).timestamp() * 1000), "insulin": 1, "_id": "x"},
        treatment(10, "Bolus", insulin=9, isValid=False),
    )
    assert [((d.time - ZERO) / dt.timedelta(hours=1), d.amount, d.duration_min) for d in raw.boluses] == [
        (1, 3, 1), (2, 2, 1), (2, 3, 120), (3, 1, 1), (3, 3, 90), (4, 2, 60), (5, 0.5, 1), (8, 1.5, 1), (9, 1, 1),
    ]  # fmt: skip
    assert [(d.amount, d.duration_min) for d in raw.meals] == [(30, 1), (20, 180)]
    assert raw.basal == ()
    assert any("the basal is unknown" in note for note in notes)


def test_entries() -> None:
    raw, notes = remarked(
        entry(1, 39), entry(0, 401), entry(2, 5), entry(3, 142.5), entry(3, 142.5),
        {"type": "mbg", "mbg": 120, "dateString": iso(4)},
        {"type": "cal", "slope": 800, "date": int(at(5).timestamp() * 1000)},
    )  # fmt: skip
    assert [(r.time, r.value, r.censored, r.kind, r.where) for r in raw.readings] == [
        (at(0), 400, "high", "cgm", 2),
        (at(1), 40, "low", "cgm", 1),
        (at(3), 142.5, "", "cgm", 4),
        (at(4), 120, "", "fingerstick", 6),
    ]
    assert any("1 entries below 13 are numbers of sensor errors" in note for note in notes)


def test_forms_of_a_file(tmp_path: Path) -> None:
    both: Sequence[Record] = [treatment(1, "Meal Bolus", insulin=3, carbs=30)]
    whole = {"entries": DAY, "treatments": both, "profile": [profile(A=store(0.8, None))]}
    raw, notes = told(tmp_path / "ada.json", json.dumps(whole))
    assert (raw.subject, len(raw.readings), raw.meals) == ("ada", 2, (RawDose(at(1), 30, 1),))
    assert hours(raw) == [(0, 0.8)]
    assert any("no time zone" in note for note in notes)
    lines = parsed(tmp_path / "lines.json", "\n".join(json.dumps(record) for record in DAY))
    assert [r.where for r in lines.readings] == [1, 2]
    old = {"startDate": iso(-1), "basal": steps_of(("00:00", 0.9)), "carbratio": [], "timezone": "ETC/GMT-3"}
    folder = tmp_path / "marie"
    folder.mkdir()
    files = [(folder / f"{i}.json", json.dumps(part)) for i, part in enumerate((DAY, both, [old]))]
    for path, text in files:
        path.write_text(text)
    raw = joined(files)
    assert (raw.subject, raw.time_zone, hours(raw)) == ("marie", "Etc/GMT-3", [(0, 0.9)])


BAD = [
    ([entry(0, "1OO")], "record 1, column sgv: '1OO' is not a number"),  # pyright: ignore[reportArgumentType]
    ([entry(0, -5)], "record 1, column sgv: -5 is negative"),
    ([{"sgv": 100, "type": "sgv", "dateString": "yesterday"}], "record 1, column date: the entry has no time in UTC"),
    ([{"eventType": "Bolus", "insulin": 1, "created_at": "13/05/2024"}], "'13/05/2024' is no time"),
    ([entry(0), 7], "record 2: it is no object"),
    ([*DAY, treatment(1, "Temp Basal", absolute=1, duration=30)], "temporary basals but no profile"),
    ([*DAY, profile(A=FLAT), treatment(1, "Temp Basal", duration=30)], "the temporary basal states no rate"),
    ([*DAY, profile(A=FLAT), treatment(1, "Temp Basal", percent=-150, duration=30)], "-150 would be a negative rate"),
    ([*DAY, profile(A=store(steps_of(("03:00", 1))))], "no rate is stated for midnight"),
    ([*DAY, profile(A=store(steps_of(("00:00", "x"))))], "'x' is not a number"),
    ([*DAY, profile(A=store(steps_of(("25:00", 1))))], "is no time of day and rate"),
    ([*DAY, profile(A=store(steps_of(("00:00", 1)), "Mars/Base"))], "'Mars/Base' is no time zone"),
    ([*DAY, profile(default="Z", A=FLAT)], "'Z' is not in the store"),
    ([*DAY, treatment(1, "Combo Bolus", relative=1)], "the extended bolus has no duration"),
    ([*DAY, treatment(1, "Combo Bolus", splitNow=10)], "the combo bolus states no amount"),
]


@pytest.mark.parametrize(("records", "says"), BAD, ids=[says for _, says in BAD])
def test_refusals(tmp_path: Path, records: list[Any], says: str) -> None:
    path = tmp_path / "bad.json"
    with pytest.raises(DataError) as error:
        settled(*finished(_nightscout.parse([(path, json.dumps(records))], ReadOptions())))
    assert says in str(error.value)
    assert "bad.json" in str(error.value)


def test_truncated_json(tmp_path: Path) -> None:
    text = json.dumps(DAY, indent=1)
    says = refused(tmp_path / "a.json", text[: text.rindex('"date"')])
    assert f"row {text[: text.rindex('date')].count(chr(10)) + 1}: it is not JSON here" in says
    assert "is the file cut short? export it again" in says
