"""A person's files with one thing in them that is easily read wrongly: 2 days, 17 U and 170 g a day, basal 24 U/day."""

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from t1djax import inspect_file
from t1djax.io import ReadReport

Record = dict[str, Any]
START = dt.datetime(2024, 3, 4, tzinfo=dt.UTC)
MEALS = ((7, 4.0, 40.0), (12, 6.0, 60.0), (19, 7.0, 70.0))
"""Hour, U and g of each day's meals."""


def course(n: int, seed: int = 1) -> np.ndarray:
    """Readings that no one drew, mg/dL."""
    return np.round(130 + 30 * np.sin(np.arange(n) / 40) + np.random.default_rng(seed).normal(0, 4, n))


def at(minutes: float) -> dt.datetime:
    return START + dt.timedelta(minutes=minutes)


def stamp(minutes: float) -> str:
    return at(minutes).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def entries(days: float = 2, *, first: float = 2, device: str = "xDrip", seed: int = 1, **more: Any) -> list[Record]:
    """Nightscout's readings each 5 min."""
    values = course(int(288 * days), seed).tolist()
    minutes = [first + 5 * i for i in range(len(values))]
    return [
        {"type": "sgv", "sgv": int(v), "date": int(at(m).timestamp() * 1000), "device": device, **more}
        for m, v in zip(minutes, values, strict=True)
    ]


def meals(days: Iterable[int] = (0, 1)) -> list[Record]:
    """Nightscout's treatments: three meals a day, each with its bolus."""
    return [
        {"eventType": "Meal Bolus", "created_at": stamp(1440 * day + 60 * hour + 11), "insulin": units, "carbs": grams}
        for day in days
        for hour, units, grams in MEALS
    ]


def treatment(hour: float, kind: str = "Correction Bolus", **more: Any) -> Record:
    return {"eventType": kind, "created_at": stamp(60 * hour), **more}


PROFILE = [{"startDate": "2024-01-01T00:00:00Z", "defaultProfile": "A",
            "store": {"A": {"basal": [{"time": "00:00", "value": 1.0}], "timezone": "UTC"}}}]  # fmt: skip


def nightscout(folder: Path, **collections: Any) -> Path:
    """A folder of collections, one JSON file each."""
    folder.mkdir(exist_ok=True)
    for name, records in collections.items():
        (folder / f"{name}.json").write_text(json.dumps(records))
    return folder


def person(folder: Path, *more: Record, pump: bool = True, **how: Any) -> ReadReport:
    """What is read of a person with these treatments beside the meals."""
    files = {"entries": entries(), "treatments": [*meals(), *more]} | ({"profile": PROFILE} if pump else {})
    return inspect_file(nightscout(folder / "ns", **files), **how)


def about(report: ReadReport, *words: str) -> bool:
    """Whether one remark has all of the words."""
    return any(all(word in text for word in words) for text in (*report.warnings, *report.notes))


def carelink(folder: Path, *, micro: bool = False, sums: bool = False, rates: bool = True, source: str = "") -> Path:
    """An export of a MiniMed 780G, three days, the newest row first: 17 U/day asked for, 21.6 U/day automatic."""
    names = ["Index", "Date", "Time", "Basal Rate (U/h)", "Bolus Type", "Bolus Volume Selected (U)",
             "Bolus Volume Delivered (U)", "BWZ Carb Input (grams)", "Sensor Glucose (mg/dL)", "ISIG Value",
             "Event Marker", "Bolus Source"]  # fmt: skip
    row = lambda minutes, **cells: (minutes, [cells.get(key, "") for key in ("basal", "kind", "units", "carbs", "sg",
                                                                              "source")])  # fmt: skip
    pump, total, sensor = [], [], []
    for day in range(3):
        for hour, units, grams in MEALS:
            pump.append(row(1440 * day + 60 * hour + 11.15, kind="Normal", units=units, carbs=grams,
                            source="CLOSED_LOOP_BG_CORRECTION_AND_FOOD_BOLUS"))  # fmt: skip
        if rates:
            pump += [row(1440 * day + 60 * hour, basal=rate) for hour, rate in ((0, 0.8), (6, 1.0), (22, 0.9))]
        total.append(row(1440 * day, kind="Normal", units=21.6, source="CLOSED_LOOP_AUTO_INSULIN"))
        if micro:
            pump += [row(1440 * day + 5 * i + 0.333, kind="Normal", units=0.075, source=source or
                         "CLOSED_LOOP_AUTO_BASAL") for i in range(288)]  # fmt: skip
    sensor = [row(5 * i + 0.2, sg=value) for i, value in enumerate(course(864).tolist())]
    lines = ["Last Name;First Name", '"Nym";"Ano"', ""]
    for title, rows in (("", pump), ("Aggregated Auto Insulin Data", total if sums else []), ("Sensor", sensor)):
        if not rows:
            continue
        lines += [f"-------;MiniMed 780G;Pump;-------;{title}", ";".join(names)]
        for number, (minutes, (basal, kind, units, carbs, sg, who)) in enumerate(sorted(rows, reverse=True)):
            t = at(minutes)
            cells = [number, t.strftime("%Y/%m/%d"), t.strftime("%H:%M:%S"), basal, kind, units, units, carbs, sg,
                     "25.7" if sg != "" else "", "", who]  # fmt: skip
            lines.append(";".join(str(cell).replace(".", ",") if isinstance(cell, float) else str(cell)
                                  for cell in cells))  # fmt: skip
    file = folder / "care.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def tidepool(folder: Path, *records: Sequence[Record]) -> Path:
    """Tidepool's records; each gets its time and what every record has."""
    file = folder / "tidepool.json"
    file.write_text(json.dumps([record for group in records for record in group]))
    return file


def tide(kind: str, minutes: float, **more: Any) -> Record:
    return {"type": kind, "time": stamp(minutes), "timezoneOffset": 0, "uploadId": "u", "deviceId": "d", **more}


def cbg(days: float = 2) -> list[Record]:
    values = (course(int(288 * days)) / 18.01559).tolist()
    return [tide("cbg", 2 + 5 * i, units="mmol/L", value=value) for i, value in enumerate(values)]
