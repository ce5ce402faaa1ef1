"""The guard against patient data: what a commit must not take, what it must, and the list of exceptions."""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import math
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from .test_deployment import ROOT, load

guard = load(".ci/check_data.py")
CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]
HOOK = next(hook for hook in CONFIG["hooks"] if hook["id"] == "no-patient-data")
REASON = ("--reason", "a random walk, made by tests")


def walk(n: int = 48, seed: int = 0, at: float = 140.0) -> list[int]:
    """Readings of a sensor that nobody wears: a damped random walk, mg/dL."""
    rng, values, speed = random.Random(seed), [at], 0.0
    for _ in range(n - 1):
        speed = 0.85 * speed + rng.gauss(0, 1.6) - 0.01 * (values[-1] - at)
        values.append(min(max(values[-1] + speed, 45.0), 380.0))
    return [round(value) for value in values]


def clock(n: int = 48, step: int = 5, date: str = "") -> list[str]:
    return [f"{date}{7 + i * step // 60:02d}:{i * step % 60:02d}" for i in range(n)]


def lines(form: str, *columns: Sequence[object], head: str = "") -> str:
    """A line of that form for each row."""
    return head + "".join(form.format(*row) for row in zip(*columns, strict=True))


def packed(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def tarred(content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        info = tarfile.TarInfo("notes")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def database() -> bytes:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table t (a, b)")
        return connection.serialize()


G, T, DAY, MINUTE = walk(), clock(), clock(date="2026-03-01 "), [5 * i for i in range(48)]
HOURS, MINUTES = [7 + i * 5 // 60 for i in range(48)], [i * 5 % 60 for i in range(48)]
ROWS, PAIRS = lines("{},{}\n", DAY, G), list(zip(T, G, strict=True))
FENCED = f"# Notes\n\nWhat was seen:\n\n```csv\n{ROWS}```\n"
NOTEBOOK = {"cells": [{"cell_type": "code", "source": [f"rows = {PAIRS!r}"]}], "nbformat": 4}
RECORD = json.loads((ROOT / "benchmarks/recorded/cpu/peers.json").read_text())
REFUSED: dict[str, str | bytes | Callable[[], bytes]] = {
    # by columns
    "person.csv": "time_min,Glucose_mg_dL\n0,120\n",
    "sensor.json": '[{"sgv": 120, "date": 0}]',
    "meter.csv": "when;bg\n1;120\n",
    "people.csv": "name;Geburtsdatum\nA;3.2.1990\n",
    "visits.json": '[{"date_of_birth": "1990-02-03", "hba1c": 7.1}]',
    # by runs of numbers, in sources, notes and logs
    "pairs.py": f"READINGS = {PAIRS!r}\n",
    "values.py": f"y = {G!r}\n",
    "gaps.py": f"x = {[None if i % 9 == 8 else g for i, g in enumerate(G)]!r}\n",
    "text.py": f'ROWS = """\n{ROWS}"""\n',
    "objects.py": lines("    Reading(datetime(2026, 3, 1, {}, {}), {}),\n", HOURS, MINUTES, G, head="x = [\n"),
    "minutes.py": f"rows = {list(zip(MINUTE, G, strict=True))!r}\n",
    "table.md": lines("| {} | {} |\n", T, G, head="| when | value |\n| --- | --- |\n"),
    "fence.md": FENCED,
    "records.yml": "rows:\n" + lines("  - at: {}\n    value: {}\n", T, G),
    "rows.toml": "rows = [\n" + lines('  ["{}", {}],\n', T, G) + "]\n",
    "source.ipynb": json.dumps(NOTEBOOK),
    "columns.json": json.dumps({"t": DAY, "v": G}),
    "compact.json": json.dumps([{"t": t, "v": g} for t, g in PAIRS], separators=(",", ":")),
    "wide.csv": "2026-03-01," + ",".join(map(str, G)) + "\n",
    "rows.xml": "<r>" + lines('<e ts="01-03-2026 {}:00" v="{}"/>\n', T, G) + "</r>",
    "dump.sql": lines("INSERT INTO r VALUES ('{}:00',{});\n", DAY, G),
    "hour.log": lines("{},{}\n", DAY[:13], G[:13]),
    "epoch.log": lines("{},{}\n", [1772323200 + 300 * i for i in range(48)], G),
    "mmol.log": lines("{};{}\n", DAY, [f"{g / 18.016:.1f}".replace(".", ",") for g in G]),
    "newest_first.log": lines("{},{}\n", T[::-1], G[::-1]),
    "beside_pulse.csv": lines("{},{},{}\n", T, [60 + i % 7 for i in range(48)], G, head="when,pulse,x\n"),
    "utf16.txt": ROWS.encode("utf-16"),
    # packed, binary, renamed
    "rows.gz": gzip.compress(ROWS.encode()),
    "rows.dat": bz2.compress(lzma.compress(ROWS.encode())),
    "rows.tgz": tarred(ROWS.encode()),
    "rows.jar": packed("a/b.md", FENCED.encode()),
    "rows.7z": b"7z\xbc\xaf\x27\x1c" + bytes(40),
    "bomb.zip": lambda: packed("a", bytes(200 * 2**20)),
    "deep.zip": lambda: packed("a", packed("a", packed("a", packed("a", packed("a", b"x"))))),
    "renamed.bin": packed("xl/worksheets/sheet1.xml", b"<worksheet/>"),
    "book.xlsx": b"PK",
    "parquet.txt": b"PAR1" + bytes(60) + b"PAR1",
    "sqlite.png": database,
    "arrays.npz": b"",
    "-h": ROWS,
    "benchmarks/recorded/cpu/person.json": json.dumps([{"sgv": g, "date": t} for t, g in PAIRS]),
    "tests/archives/results-9.zip": packed("cohort/Ada.csv", b"time_min,glucose_mg_dL\n" + b"0,120\n" * 20),
}


def noise(n: int, low: float, high: float) -> list[float]:
    rng = random.Random(3)
    return [rng.uniform(low, high) for _ in range(n)]


PULSE = [round(72 + 25 * math.sin(i / 9) ** 2 + e) for i, e in enumerate(noise(120, -3, 3))]
ROOM = [round(20.5 + 1.5 * math.sin(i / 20) + e, 1) for i, e in enumerate(noise(120, -0.1, 0.1))]
EACH, FIVE = clock(120, 1), clock(120, 5)
PASSES: dict[str, str | bytes] = {
    "service.log": lines("{}:07 INFO answered {:.0f} requests\n", EACH, noise(120, 80, 300)),
    "progress.log": lines("{}:00 epoch {} loss {:.2f}\n", EACH, range(120), [300 * 0.98**i for i in range(120)]),
    "pulse.csv": lines("2026-03-01 {},{}\n", EACH, PULSE, head="time,heart_rate\n"),
    "pulse.json": json.dumps([{"t": t, "bpm": p} for t, p in zip(FIVE, PULSE, strict=True)]),
    "room.csv": lines("2026-03-01 {},{}\n", FIVE, ROOM, head="time,temperature\n"),
    "room_bare.log": lines("2026-03-01 {},{}\n", FIVE, ROOM),
    "noise.csv": lines("{},{:.0f}\n", FIVE, noise(120, 60, 300), head="when,x\n"),
    "prices.yaml": lines("- at: {}\n  price: {}\n", T, G),
    "losses.txt": lines("{},{}\n", range(50), [200 - i for i in range(50)], head="step,loss\n"),
    "squares.py": f"X = {[i * i for i in range(7, 19)]!r}\nY = {list(range(40, 400, 5))!r}\n",
    "pixels.py": f"P = {[int(x) for x in noise(200, 41, 255)]!r}\n",
    "few.md": lines("| {} | {} |\n", T[:8], G[:8], head="| time | glucose |\n| - | - |\n"),
    "snippet.py": f"glucose_mg_dL = {G[:12]!r}\n",
    "words.py": "x = {'sgv': 'sensor glucose value', 'glucose': 'mg/dL'}\n",
    "lengths.csv": "step,loss\n0,1.5\n",
    "icon.png": b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(4000),
    "noise.bin": random.Random(1).randbytes(40_000),
    "harmless.zip": packed("readme.md", b"nothing here"),
    "-v.md": "# Nothing here\n",
    "benchmarks/recorded/cpu/fine.json": json.dumps(RECORD),
}


def content_of(made: str | bytes | Callable[[], bytes]) -> bytes:
    made = made() if callable(made) else made
    return made.encode() if isinstance(made, str) else made


@pytest.mark.parametrize("name", REFUSED)
def test_patient_data_are_refused(name: str) -> None:
    assert guard.why_refused(name, content_of(REFUSED[name])) is not None


@pytest.mark.parametrize("name", PASSES)
def test_other_files_pass(name: str) -> None:
    assert guard.why_refused(name, content_of(PASSES[name])) is None


def repository(folder: Path, files: dict[str, str]) -> Callable[..., tuple[int, str]]:
    """A repository with the project's guard and these files staged; and its command."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "check_data.py", folder / ".ci")
    for command in (["init", "-q"], ["config", "user.name", "n"], ["config", "user.email", "n@example.org"],
                    ["add", "-A", "-f"]):  # fmt: skip
        subprocess.run(["git", *command], cwd=folder, check=True)

    def said(*arguments: str, where: Path = folder) -> tuple[int, str]:
        command = [sys.executable, str(folder / ".ci" / "check_data.py"), *arguments]
        path = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        done = subprocess.run(command, cwd=where, env=os.environ | path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return said


@pytest.mark.slow
def test_the_command_runs_as_hook_and_in_the_workflow(tmp_path: Path) -> None:
    assert HOOK["entry"] == "python .ci/check_data.py --", "a file called like an option hides no other"
    for file in (".ci/run", ".github/workflows/lint.yml"):
        assert "python .ci/check_data.py" in (ROOT / file).read_text()
    said = repository(tmp_path / "r", {"-h": ROWS, "ünter/person.md": FENCED, "fine.md": "nothing here"})
    code, text = said()
    assert code == 1
    assert {line.split(":")[0] for line in text.splitlines()[:-1]} == {"-h", "ünter/person.md"}
    assert said("--", "fine.md", "nothing.md")[0] == 2


def test_an_exception_is_for_one_content(tmp_path: Path) -> None:
    """A file is allowed by name, content and reason; a change asks again, and so does an entry without a file."""
    top = tmp_path / "r"
    said = repository(top, {"made_up.md": FENCED, "below/copy.md": FENCED})
    assert said("--allow", "made_up.md", "--reason", "because")[0] == 2
    assert said("--", "made_up.md")[0] == 1
    assert said("--allow", "./../made_up.md", *REASON, where=top / "below")[0] == 0
    assert said("--", "made_up.md")[0] == 0
    assert {line.split(":")[0] for line in said()[1].splitlines()[:-1]} == {"below/copy.md"}
    (top / "made_up.md").write_text(FENCED.replace("07:00", "07:01"))
    assert said("--", "made_up.md")[0] == 1
    for absent in ("nothing.md", "../outside.md"):
        assert said("--allow", absent, *REASON)[0] == 2
    subprocess.run(["git", "rm", "-q", "-r", "-f", "made_up.md", "below"], cwd=top, check=True)
    code, text = said()
    assert code == 1
    assert "made_up.md" in text


@pytest.mark.slow
def test_the_project_passes_with_few_exceptions() -> None:
    """Each tracked file, but for the archives of made-up people."""
    done = subprocess.run([sys.executable, ".ci/check_data.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert all(re.fullmatch(r"tests/archives/[\w.-]+\.zip", name) for name in guard.allowed())
    assert all(len(entry["reason"]) > 20 for entry in guard.allowed().values())


def test_shared_readings_are_known_without_a_name(shared: Path) -> None:
    """Every file, and of four hours of times and rounded numbers alone, nearly all; named pulse passes."""
    files = [path for path in (shared / "data").glob("*/*.*") if "patient" not in path.name]
    assert len(files) > 10
    assert all(guard.looks_like_patient_data(path) for path in files)
    rng, refused, alarms = random.Random(0), [], []
    for path in sorted((shared / "data" / "hupa_ucm").glob("HUPA*.csv")):
        with path.open(encoding="utf-8") as file:
            table = list(csv.DictReader(file, delimiter=";"))
        for begin in rng.sample(range(len(table) - 48), 30):
            cut = table[begin : begin + 48]
            glucose, pulse = ([round(float(row[name])) for row in cut] for name in ("glucose", "heart_rate"))
            refused.append(guard.why_refused("notes.md", lines("{},{}\n", T, glucose).encode()) is not None)
            alarms.append(guard.why_refused("notes.md", lines("{},{}\n", T, pulse, head="at,heart_rate\n").encode()))
    assert sum(refused) >= 0.9 * len(refused), sum(refused) / len(refused)
    assert not any(alarms)
