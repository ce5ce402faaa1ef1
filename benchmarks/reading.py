"""Reading: a year of Nightscout's JSON, 100,000 readings each 5 min and 20,000 treatments, in a fresh process."""

import datetime as dt
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from .report import REPETITIONS, Report, median, progress
from .runners import Scope

READINGS, A_DAY = 100_000, 58
_READ = """
import sys, time, warnings
warnings.simplefilter("ignore")
from benchmarks.peers.talk import peak_MiB
from t1djax import read_recording
wall, cpu = time.perf_counter(), time.process_time()
report = read_recording(sys.argv[1]).report
print(time.perf_counter() - wall, time.process_time() - cpu, peak_MiB())
print(report.readings, report.insulin_U_day)
"""


def run(scope: Scope, out: Path, *, repeat: int = 3) -> Report:
    """One row: seconds and peak memory of reading the folder."""
    repeat, count = (1, READINGS // 50) if scope.quick else (repeat, READINGS)
    report = Report("reading", "Reading", out, scope.settings() | {"repeat": repeat, "readings": count})
    report.note("Each number is of a fresh process, after the import of t1djax; the peak has the import in it.")
    with tempfile.TemporaryDirectory() as folder:
        treatments = write_year(Path(folder), count)
        progress("reading")
        runs = [_read(folder) for _ in range(repeat)]
    wall = [w for w, _, _ in runs]
    report.add({
        "what": f"Nightscout, {count} readings and {treatments} treatments", "seconds": median(wall),
        "CPU, s": median(c for _, c, _ in runs), "peak, MiB": max(m for _, _, m in runs), REPETITIONS: wall,
    })  # fmt: skip
    return report


def _read(folder: str) -> tuple[float, float, float]:
    done = subprocess.run([sys.executable, "-c", _READ, folder], check=True, capture_output=True, text=True)
    wall, cpu, peak = map(float, done.stdout.split("\n")[0].split())
    return wall, cpu, peak


def write_year(folder: Path, readings: int) -> int:
    """Entries, treatments and a profile as Nightscout exports them; how many treatments there are."""
    rng, start = random.Random(0), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    stamp = lambda t: t.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    entries, glucose = [], 130
    for i in range(readings):
        glucose, t = min(300, max(50, glucose + rng.randint(-6, 6))), start + i * dt.timedelta(minutes=5)
        entries.append({
            "_id": f"{i:024x}", "type": "sgv", "sgv": glucose, "date": int(t.timestamp() * 1000),
            "dateString": stamp(t), "device": "xDrip-DexcomG6", "direction": "Flat", "sysTime": stamp(t),
        })  # fmt: skip
    treatments = []
    for i in range(readings * A_DAY // 288):
        meal = i % 10 == 7
        treatments.append({
            "_id": f"{10**6 + i:024x}", "created_at": stamp(start + i * dt.timedelta(days=1 / A_DAY)),
            **({"eventType": "Meal Bolus", "insulin": 4 + i % 3, "carbs": 45} if meal else
               {"eventType": "Temp Basal", "duration": 30, "absolute": round(0.5 + rng.random(), 2)}),
        })  # fmt: skip
    rates = [{"time": "00:00", "value": 1.0}, {"time": "06:00", "value": 1.2}]
    profile = [{"startDate": "2023-01-01T00:00:00.000Z", "defaultProfile": "A",
                "store": {"A": {"basal": rates, "timezone": "Europe/Madrid"}}}]  # fmt: skip
    for name, records in (("entries", entries), ("treatments", treatments), ("profile", profile)):
        (folder / f"{name}.json").write_text(json.dumps(records))
    return len(treatments)
