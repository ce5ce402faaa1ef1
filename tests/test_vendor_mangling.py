"""Damaged exports of vendors: an error that names the file, or a record; never anything else."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t1djax.io import ReadOptions, finished
from t1djax.io.formats import FORMATS, recognised

from .test_carelink import export
from .test_nightscout import DAY, FLAT, profile, treatment
from .test_tidepool import EVERYTHING, flat
from .test_vendor_formats import clarity, egv, event, libre, record

NIGHTSCOUT = [
    *DAY,
    profile(A=FLAT),
    treatment(1, "Temp Basal", percent=-50, duration=30),
    treatment(2, "Profile Switch", profile="A", duration=60, percentage=120, profileJson=json.dumps(FLAT)),
    treatment(3, "Combo Bolus", insulin=2, relative=1.5, duration=120),
    treatment(4, "Suspend Pump"),
    treatment(5, "Meal Bolus", carbs=40, insulin=4),
]
TEXTS = {
    "dexcom_clarity": clarity(
        [egv("2024-05-13T08:00:00", 100), egv("2024-05-13T08:05:00", "Low"),
         event("2024-05-13T09:00:00", "Insulin,Long-Acting", 20), event("2024-05-13T09:05:00", "Carbs,", carbs=40)]
    ),
    "libreview": libre(
        [record("13-05-2024 08:00", 0, historic=98), record("13-05-2024 08:15", 1, scan=99),
         record("13-05-2024 09:00", 4, rapid=4, long=20), record("13-05-2024 09:15", 5, carbs=40)]
    ),
    "carelink": export(
        [("00:00:00", {"basal": 1}), ("01:00:00", {"temp": 50, "type": "Percent", "long": "1:00:00"}),
         ("03:00:00", {"suspend": "LOWSG_SUSPEND"}), ("04:00:00", {"suspend": "NORMAL_PUMPING"}),
         ("05:00:00", {"bolus": "Square", "given": 2, "over": "1:00:00"}), ("06:00:00", {"carbs": 40})],
        [("07:00:00", {"sg": 100}), ("07:05:00", {"sg": 101})],
    ),
    "nightscout": json.dumps(NIGHTSCOUT, indent=1),
    "tidepool": json.dumps(EVERYTHING, indent=1),
    "tidepool_csv": flat(EVERYTHING),
}  # fmt: skip
JUNK = ["", "nan", "-1", "1e400", "x", '"', ",", ";", "\n", "null", "[]", "\u00a0", "9" * 20, "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z", "31/02/2024", "1,5", '{"a":1}']  # fmt: skip
VALUES = [None, "", 0, -5, 1e300, float("nan"), "x", [], {}, [1], {"a": 1}, True, "9999-12-31T23:59:59Z",
          "0001-01-01T00:00:00Z", 253402300799000, 10**30]  # fmt: skip


def cut(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text))]


def typed_over(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(JUNK) + text[at + rng.randrange(6) :]


def other_cell(text: str, rng: random.Random) -> str:
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    cells = lines[at].split(",")
    cells[rng.randrange(len(cells))] = rng.choice(JUNK)
    return "\n".join([*lines[:at], ",".join(cells), *lines[at + 1 :]]) + "\n"


def other_field(text: str, rng: random.Random) -> str:
    data: Any = json.loads(text)
    inside, key = data, rng.randrange(len(data))
    while isinstance(inside[key], dict | list) and inside[key] and rng.random() < 0.85:
        inside = inside[key]
        key = rng.choice(list(inside)) if isinstance(inside, dict) else rng.randrange(len(inside))
    inside[key] = rng.choice(VALUES)
    return json.dumps(data)


@pytest.mark.parametrize("name", TEXTS)
def test_damage_is_named_or_harmless(name: str) -> None:
    rng = random.Random(name)
    text = TEXTS[name]
    kind = FORMATS[name.removesuffix("_csv")]
    assert recognised(text) == (kind,)
    ways: list[Callable[[str, random.Random], str]] = [cut, typed_over]
    ways.append(other_field if text.lstrip()[0] == "[" else other_cell)
    named = 0
    for turn in range(150):
        raw, remarks = finished(kind.parse([(Path("dir", "file"), ways[turn % 3](text, rng))], ReadOptions()))
        assert raw is not None or remarks.problems
        assert all("file" in problem.file and problem.remedy for problem in remarks.problems)
        named += bool(remarks.problems)
    assert named > 30
