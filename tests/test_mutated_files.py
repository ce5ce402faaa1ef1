"""Five thousand files that something went wrong with: an error in words, soon, and no total that changes silently."""

import json
import math
import random
import resource
import time
import warnings
from collections import Counter
from pathlib import Path

import pytest

from t1djax.io import DataError, ReadReport, read_recording

STEPS = 48
GLUCOSE = [round(120 + 40 * math.sin(i / 7) + (i * 37 % 11)) for i in range(STEPS)]
CLOCK = [f"2026-03-01T{7 + i // 12:02d}:{5 * (i % 12):02d}:00" for i in range(STEPS)]
BOLUS, CARBS = {6: 4.5, 30: 3.0}, {6: 45, 30: 30}
MOST_S, MOST_KIB = 5.0, 1 << 20


def own(i: int) -> str:
    return f"{CLOCK[i]},{GLUCOSE[i]},{0.9 if i == 0 else ''},{BOLUS.get(i, '')},{CARBS.get(i, '')}"


def nightscout() -> str:
    readings = [{"type": "sgv", "sgv": g, "dateString": f"{t}Z", "date": 1772348400000 + 300000 * i}
                for i, (g, t) in enumerate(zip(GLUCOSE, CLOCK, strict=True))]  # fmt: skip
    doses = [{"eventType": "Meal Bolus", "created_at": f"{CLOCK[i]}Z", "insulin": x, "carbs": CARBS[i]}
             for i, x in BOLUS.items()]  # fmt: skip
    return json.dumps([*readings, *doses], indent=1)


def ohio() -> str:
    time_ = lambda i: f"01-03-2026 {CLOCK[i][11:]}"
    events = lambda kind, rows: f"<{kind}>\n" + "".join(f"<event {row}/>\n" for row in rows) + f"</{kind}>\n"
    return (
        "<?xml version='1.0'?>\n<patient id='1' weight='70' insulin_type='Novalog'>\n"
        + events("glucose_level", [f'ts="{time_(i)}" value="{g}"' for i, g in enumerate(GLUCOSE)])
        + events("basal", [f'ts="{time_(0)}" value="0.9"'])
        + events("bolus", [f'ts_begin="{time_(i)}" ts_end="{time_(i)}" type="normal" dose="{x}" bwz_carb_input="0"'
                           for i, x in BOLUS.items()])
        + events("meal", [f'ts="{time_(i)}" type="Lunch" carbs="{x}"' for i, x in CARBS.items()]) + "</patient>\n"
    )  # fmt: skip


HUPA = "time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input\n"
SEEDS = {
    "own.csv": "time,glucose_mg_dL,basal_U_h,bolus_U,carbs_g\n" + "".join(f"{own(i)}\n" for i in range(STEPS)),
    "hupa.csv": HUPA
    + "".join(f"{CLOCK[i]};{g}.0;6;70;0;0.075;{BOLUS.get(i, 0.0)};{CARBS.get(i, 0)}\n" for i, g in enumerate(GLUCOSE)),
    "nightscout.json": nightscout(),
    "ohio.xml": ohio(),
}


def mutated(data: bytes, kind: str, r: random.Random) -> bytes:
    if kind == "bytes":
        found = bytearray(data)
        for _ in range(r.randint(1, 4)):
            found[r.randrange(len(found))] = r.randrange(256)
        return bytes(found)
    if kind == "digits":
        places = [i for i, c in enumerate(data) if 48 <= c <= 57]
        found = bytearray(data)
        for i in r.sample(places, min(3, len(places))):
            found[i] = r.choice(b"0123456789")
        return bytes(found)
    if kind == "cut":
        return data[: r.randrange(len(data))]
    lines = data.splitlines(keepends=True)
    i, j = r.randrange(len(lines)), r.randrange(len(lines))
    if kind == "lines":
        change = r.choice(["delete", "repeat", "swap"])
        if change == "delete":
            del lines[i]
        elif change == "repeat":
            lines.insert(j, lines[i])
        else:
            lines[i], lines[j] = lines[j], lines[i]
        return b"".join(lines)
    mark = b";" if b";" in lines[0] else b"," if b"," in lines[0] else b" "
    cells = lines[i].split(mark)
    words = [b"", b"nan", b"-1", b"1e9", b"1e999", b'"', b"9" * 5000, b"24:00", b"Low", b"\xff\xfe", b"0x10", b"=1+1"]
    cells[r.randrange(len(cells))] = r.choice(words)
    return b"".join([*lines[:i], mark.join(cells), *lines[i + 1 :]])


KINDS = ("bytes", "digits", "lines", "cells", "cut")
TOTALS = {"readings": 0.2, "insulin_U_day": 1.0, "carbs_g_day": 1.0, "glucose_median_mg_dL": 0.2, "span_h": 1.0}
"""By how much, of itself, a total changes that a person would notice."""


def noticeable(a: ReadReport, b: ReadReport) -> list[str]:
    far = lambda x, y, share: (x is None) != (y is None) or (x and abs(y / x - 1) > share)
    return [name for name, share in TOTALS.items() if far(getattr(a, name), getattr(b, name), share)]


def said(report: ReadReport) -> set[str]:
    return {*report.warnings, *report.notes}


def read(path: Path) -> ReadReport:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_recording(path, carbs_unit="g" if path.name.startswith("hupa") else None).report


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.slow)])
def test_mutated_files(tmp_path: Path, count: int) -> None:
    r, outcomes, silent = random.Random(1), Counter[str](), []
    peak_KiB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of other tests in this process
    before = {}
    for name, text in SEEDS.items():
        (tmp_path / name).write_text(text)
        before[name] = read(tmp_path / name)
    for number in range(count):
        name, kind = r.choice(list(SEEDS)), r.choice(KINDS)
        path = tmp_path / name
        path.write_bytes(mutated(SEEDS[name].encode(), kind, r))
        began = time.process_time()
        try:
            after = read(path)
        except DataError as e:
            outcomes["refused" if str(path) in str(e) else "refused without its name"] += 1
        except Exception as e:
            raise AssertionError(f"file {number}: {kind} of {name}") from e
        else:
            changed = noticeable(before[name], after)
            remarked = bool(said(after) - said(before[name]))
            outcomes["remarked" if changed and remarked else "silent" if changed else "as before"] += 1
            silent += [(number, name, kind, changed)] if changed and not remarked else []
        assert time.process_time() - began < MOST_S, (number, name, kind)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_KiB < MOST_KIB
    print(dict(outcomes), silent)
    assert "refused without its name" not in outcomes
    assert len(silent) <= 0.02 * count, silent
