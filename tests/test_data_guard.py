"""The guard against patient data: disguises that it must refuse, files that it must not, by a commit in Git."""

import base64
import bz2
import csv
import gzip
import importlib.util
import io
import json
import lzma
import math
import os
import random
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from .test_deployment import ROOT, load

guard = load(".ci/check_data.py")
CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]
HOOK = next(hook for hook in CONFIG["hooks"] if hook["id"] == "no-patient-data")


def walk(n: int = 48, seed: int = 0, at: float = 140.0) -> list[int]:
    """Readings of a sensor that nobody wears: a damped random walk, mg/dL."""
    rng, values, speed = random.Random(seed), [at], 0.0
    for _ in range(n - 1):
        speed = 0.85 * speed + rng.gauss(0, 1.6) - 0.01 * (values[-1] - at)
        values.append(min(max(values[-1] + speed, 45.0), 380.0))
    return [round(value) for value in values]


def clock(n: int = 48, step: int = 5, date: str = "") -> list[str]:
    return [f"{date}{7 + i * step // 60:02d}:{i * step % 60:02d}" for i in range(n)]


def rows(*, sep: str = ",", date: str = "2026-03-01 ", step: int = 5, scale: float = 1.0, n: int = 48) -> str:
    """Rows of times and readings without a word that says so."""
    values = [f"{value * scale:.1f}" if scale != 1 else str(value) for value in walk(n)]
    return "".join(f"{when}{sep}{value}\n" for when, value in zip(clock(n, step, date), values, strict=True))


def table(*columns: Sequence[object], start: str = "| ", middle: str = " | ", end: str = " |\n") -> str:
    return "".join(start + middle.join(map(str, row)) + end for row in zip(*columns, strict=True))


def lines(form: str, *columns: Sequence[object], head: str = "", n: int | None = None) -> str:
    """A line of that form for each row; `{i}` is its number."""
    each = list(zip(*columns, strict=True)) if columns else [()] * (n or 0)
    return head + "".join(form.format(*row, i=i) for i, row in enumerate(each))


def packed(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def tarred(content: bytes, mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        info = tarfile.TarInfo("notes")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def workbook(kind: str) -> bytes:
    """A spreadsheet of Excel or LibreOffice."""
    if kind == "ods":
        return packed("mimetype", b"application/vnd.oasis.opendocument.spreadsheet")
    cells = "".join(
        f'<row r="{i}"><c r="A{i}"><v>{46082 + (420 + 5 * i) / 1440}</v></c><c r="B{i}"><v>{value}</v></c></row>'
        for i, value in enumerate(walk(), 1)
    )
    return packed("xl/worksheets/sheet1.xml", f"<worksheet><sheetData>{cells}</sheetData></worksheet>".encode())


def database() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table t (a, b)")
        connection.executemany("insert into t values (?, ?)", zip(clock(), walk(), strict=True))
        connection.commit()
        return connection.serialize()


def notebook(source: str) -> str:
    cells = [{"cell_type": "code", "source": source.splitlines(keepends=True), "outputs": [], "execution_count": None}]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)


def bomb(depth: int, mib: int = 1) -> bytes:
    content = bytes(mib * 2**20)
    for _ in range(depth):
        content = packed("a", content)
    return content


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


HOURS, MINUTES = [7 + i * 5 // 60 for i in range(48)], [i * 5 % 60 for i in range(48)]
MEALS = [f"{6 + i}:{i * 17 % 60:02d}" for i in range(14)]
RECORD = json.loads((ROOT / "benchmarks/recorded/cpu/peers.json").read_text())
G, T, DAY = walk(), clock(), clock(date="2026-03-01T")
PAIRS = list(zip(T, G, strict=True))
GAPS = [None if i % 9 == 8 else g for i, g in enumerate(G)]
FENCED = f"# Notes\n\nWhat was seen:\n\n```csv\n{rows()}```\n"
DISGUISES: dict[str, str | bytes | Callable[[], bytes]] = {
    # pasted into sources and notes
    "pairs.py": f"READINGS = {PAIRS!r}\n",
    "pairs_lines.py": lines('    ("{0}", {1}),\n', DAY, G, head="READINGS = [\n") + "]\n",
    "dictionary.py": f"READINGS = {dict(PAIRS)!r}\n",
    "text.py": f'"""Notes."""\n\nROWS = """\n{rows()}"""\n',
    "objects.py": lines("    Reading(datetime(2026, 3, 1, {}, {}), {}),\n", HOURS, MINUTES, G, head="x = [\n"),
    "columns.py": f"t = {T!r}\ny = {G!r}\n",
    "minutes.py": f"rows = {[(5 * i, g) for i, g in enumerate(G)]!r}\n",
    "values.py": f"y = {G!r}\n",
    "table.md": "| when | value |\n| --- | --- |\n" + table(T, G),
    "fence.md": FENCED,
    "tilde.rst": "Notes\n=====\n\n::\n\n" + "".join(f"   {line}\n" for line in rows(sep="  ").splitlines()),
    "list.yaml": "rows:\n" + "".join(f"  - [{t}, {g}]\n" for t, g in PAIRS),
    "records.yml": "rows:\n" + "".join(f"  - at: {t}\n    value: {g}\n" for t, g in PAIRS),
    "map.yaml": "".join(f'"{t}": {g}\n' for t, g in PAIRS),
    "rows.toml": "rows = [\n" + "".join(f'  ["{t}", {g}],\n' for t, g in PAIRS) + "]\n",
    "records.toml": "".join(f'[[row]]\nat = {t}:00\nvalue = {g}\n' for t, g in PAIRS),
    "plain.txt": rows(sep=" "),
    "tabs.txt": rows(sep="\t"),
    "source.ipynb": notebook(f"rows = {PAIRS!r}"),
    "rows.ipynb": notebook(f'rows = """\n{rows()}"""'),
    "quoted.ipynb": notebook("rows = '''" + json.dumps(rows()) + "'''"),
    # other shapes
    "records.json": json.dumps([{"t": t, "v": g} for t, g in PAIRS], indent=1),
    "turned.json": json.dumps([{"v": g, "t": t} for t, g in PAIRS]),
    "columns.json": json.dumps({"t": DAY, "v": G}),
    "values.json": json.dumps(G),
    "wide.csv": "2026-03-01," + ",".join(map(str, G)) + "\n",
    "minutes.csv": "a,b\n" + "".join(f"{5 * i},{g}\n" for i, g in enumerate(G)),
    "minutes.md": "| a | b |\n| - | - |\n" + table([5 * i for i in range(48)], G),
    "one_column.csv": "v\n" + "".join(f"{g}\n" for g in G),
    "rows.xml": "<r>" + "".join(f'<e ts="01-03-2026 {t}:00" v="{g}"/>\n' for t, g in PAIRS) + "</r>",
    "page.html": "<table>" + "".join(f"<tr><td>{t}</td><td>{g}</td></tr>" for t, g in PAIRS) + "</table>",
    "dump.sql": "".join(f"INSERT INTO r VALUES ('2026-03-01 {t}:00',{g});\n" for t, g in PAIRS),
    "change.patch": "".join(f"+{t},{g}\n" for t, g in PAIRS),
    # without spaces, as calls, with gaps
    "compact.py": "E = " + compact([{"time": f"{t}:00", "value": g} for t, g in zip(DAY, G, strict=True)]),
    "compact.md": "```json\n" + compact([{"time": t, "glucose": g} for t, g in zip(DAY, G, strict=True)]) + "\n```\n",
    "compact.js": "x = " + compact([{"type": "cbg", "value": round(g / 18, 1), "time": t} for t, g in PAIRS]),
    "compact_map.json": compact(dict(PAIRS)),
    "compact.html": "<div data-x='" + compact(dict(PAIRS)).replace('"', "&quot;") + "'></div>",
    "minified.js": lines("{{d:{},v:{}}},", [1772323200 + 300 * i for i in range(48)], G, head="const e=["),
    "module.py": lines("    (datetime.datetime(2026, 3, 1, {}, {}), {}),\n", HOURS, MINUTES, G, head="x = [\n"),
    "alias.py": lines("    (dt.datetime(2026, 3, 1, {}, {}, tzinfo=UTC), {}),\n", HOURS, MINUTES, G, head="x = [\n"),
    "repr.py": repr([{"time": datetime(2026, 3, 1, h, m), "v": g} for h, m, g in zip(HOURS, MINUTES, G, strict=True)]),
    "time.py": lines("    (time({}, {}), {}),\n", HOURS, MINUTES, G, head="x = [\n"),
    "named.py": lines("    (time(hour={}, minute={}), {}),\n", HOURS, MINUTES, G, head="x = [\n"),
    "stamp.py": lines("    Timestamp(2026, 3, 1, {}, {}): {},\n", HOURS, MINUTES, G, head="x = {\n"),
    "none.py": f"x = {GAPS!r}\n",
    "nan.py": f"x = np.array({GAPS!r})\n".replace("None", "np.nan"),
    "float_nan.py": f"x = {GAPS!r}\n".replace("None", "float('nan')"),
    "printed.txt": " ".join("nan" if g is None else f"{g}." for g in GAPS),
    "na.R": f"bg <- c({str(GAPS[:30])[1:-1]})\n".replace("None", "NA"),
    "named_none.py": f"glucose_mg_dL = {GAPS[:16]!r}\n",
    "named_array.py": f"glucose: Array = np.array({GAPS[:16]!r})\n".replace("None", "np.nan"),
    "minutes_none.py": f"rows = {[(5 * i, g) for i, g in enumerate(GAPS)]!r}\n",
    "records_null.json": compact([{"min": 5 * i, "v": g} for i, g in enumerate(GAPS)]),
    "french.md": lines("- {}h{:02d} : {:.1f}\n", HOURS, MINUTES, [g / 18 for g in G]),
    "german.md": lines("{:02d}.{:02d} Uhr: {}\n", HOURS, MINUTES, G),
    # clocks
    "hours.csv": rows(date=""),
    "hours.log": rows(date="", sep=";"),
    "hours_12.log": lines("{0}:{1:02d} {2}, {3}\n", [(h - 1) % 12 + 1 for h in HOURS], MINUTES,
                          ["AM" if h < 12 else "PM" for h in HOURS], G),
    "split.log": rows(date="2026-03-01,"),
    "split_day_first.log": rows(date="01.03.2026;", sep=";"),
    "compact.log": "".join(f"20260301T{t.replace(':', '')},{g}\n" for t, g in PAIRS),
    "excel.log": "".join(f"{46082 + (420 + 5 * i) / 1440:.6f},{g}\n" for i, g in enumerate(G)),
    "matlab.log": "".join(f"{740042 + (420 + 5 * i) / 1440:.6f},{g}\n" for i, g in enumerate(G)),
    "epoch.log": "".join(f"{1772323200 + 300 * i},{g}\n" for i, g in enumerate(G)),
    "fifteen.log": rows(step=15),
    "thirty.log": rows(step=30, n=24),
    "minute.log": lines("2026-03-01 {},{}\n", clock(240, 1), [round(140 + 60 * math.sin(i / 40)) for i in range(240)]),
    "midnight.log": "".join(f"{(22 * 60 + 5 * i) // 60 % 24:02d}:{5 * i % 60:02d},{g}\n" for i, g in enumerate(G)),
    "newest_first.log": "".join(f"{t},{g}\n" for t, g in reversed(PAIRS)),
    "hour.log": rows(n=13),
    # units, columns, layout
    "mmol.log": rows(scale=1 / 18.016),
    "decimal_comma.log": rows(scale=1 / 18.016, sep=";").replace(".", ","),
    "float.log": "".join(f"{t},{g:.18e}\n" for t, g in PAIRS),
    "blank_lines.log": rows().replace("\n", "\n\n"),
    "ragged.log": "".join(f"{t},{g}{',' * (i % 2)}\n" for i, (t, g) in enumerate(PAIRS)),
    "long_lines.log": "".join(f"{t},{g},{'z' * 2001}\n" for t, g in PAIRS),
    "two_people.log": "".join(f"{t},A,{g}\n{t},B,{h}\n" for t, g, h in zip(T, G, walk(seed=5), strict=True)),
    "gaps.log": "".join(f"{t},{'' if i % 7 == 3 else g}\n" for i, (t, g) in enumerate(PAIRS)),
    "beside_pulse.csv": "when,pulse,x\n" + "".join(f"{t},{60 + i % 7},{g}\n" for i, (t, g) in enumerate(PAIRS)),
    "below_a_table.md": "| run | s |\n| - | - |\n"
    + table([f"09:{i:02d}" for i in range(30)], [i * i % 97 for i in range(30)])
    + "\n" + table(T, G),
    "doses.md": lines("| {} | {} | {} |\n", MEALS, [1.5 + i % 5 for i in range(14)], [i * 13 % 70 for i in range(14)],
                      head="| time | insulin (U) | carbs (g) |\n| - | - | - |\n"),
    "fingersticks.md": lines("| {} | {} |\n", MEALS, [90 + i * 53 % 140 for i in range(14)],
                             head="| time | glucose |\n| - | - |\n"),
    "late_words.csv": "#" * 70_000 + "\na,glucose\n1,120\n",
    # packed, binary, renamed
    "rows.bz2": bz2.compress(rows().encode()),
    "rows.xz": lzma.compress(rows().encode()),
    "rows.lzma": lzma.compress(rows().encode(), format=lzma.FORMAT_ALONE),
    "rows.zlib": zlib.compress(rows().encode()),
    "rows.gz": gzip.compress(rows().encode()),
    "picture.dat": bz2.compress(lzma.compress(gzip.compress(rows().encode()))),
    "rows.tar.xz": tarred(rows().encode(), "w:xz"),
    "rows.tar.bz2": tarred(rows().encode(), "w:bz2"),
    "rows.jar": packed("a/b.md", FENCED.encode()),
    "rows.tgz.zip": packed("a.tgz", tarred(rows().encode(), "w:gz")),
    "rows.zst": b"\x28\xb5\x2f\xfd" + bytes(40),
    "rows.7z": b"7z\xbc\xaf\x27\x1c" + bytes(40),
    "bomb.zip": lambda: bomb(1, 200),
    "wide_bomb.bz2": lambda: bz2.compress(bytes(200 * 2**20)),
    "deep.zip": lambda: bomb(12),
    "renamed.docx": workbook("xlsx"),
    "renamed.bin": workbook("xlsx"),
    "ods.bin": workbook("ods"),
    "parquet.txt": b"PAR1" + bytes(60) + b"PAR1",
    "feather.md": b"ARROW1\0\0" + bytes(60),
    "sqlite.png": database,
    "matlab.bin": b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(200),
    "pickle.txt": b"\x80\x05\x95" + bytes(60),
    "utf16.txt": rows().encode("utf-16"),
    "utf16_bare.txt": rows().encode("utf-16-le"),
    "utf32.txt": rows().encode("utf-32"),
    "nul.txt": b"\0" + rows().encode(),
    "floats.raw": struct.pack("<48f", *map(float, G)),
    "encoded.md": "Notes\n\n" + base64.encodebytes(rows().encode()).decode(),
    "-h": rows(),
    "--help": rows(),
    "-n5.py": f"READINGS = {PAIRS!r}\n",
    # below what was once exempt
    "benchmarks/recorded/cpu/person.json": json.dumps([{"sgv": g, "date": t} for t, g in PAIRS]),
    "benchmarks/recorded/cpu/rows.json": json.dumps({**RECORD, "rows": [{"what": t, "y": g} for t, g in PAIRS]}),
    "benchmarks/recorded/cpu/each.json": json.dumps({**RECORD, "rows": [{"seconds each": G}]}),
    "benchmarks/recorded/cpu/thirty.json": json.dumps({**RECORD, "rows": [{"seconds each": G[:30]}]}),
    "benchmarks/recorded/cpu/more.json": json.dumps({**RECORD, "readings": G}),
    "benchmarks/recorded/cpu/notes.json": json.dumps({**RECORD, "notes": rows()}),
    "tests/archives/results-9.zip": packed("cohort/Ada.csv", b"time_min,glucose_mg_dL\n" + b"0,120\n" * 20),
    "tests/archives/results-0.1.0-2ce3ea7.zip": packed("a.log", rows().encode()),
}  # fmt: skip


def noise(n: int, low: float, high: float, seed: int = 3) -> list[float]:
    rng = random.Random(seed)
    return [rng.uniform(low, high) for _ in range(n)]


PULSE = [round(72 + 25 * math.sin(i / 9) ** 2 + e) for i, e in enumerate(noise(120, -3, 3))]
ROOM = [round(20.5 + 1.5 * math.sin(i / 20) + e, 1) for i, e in enumerate(noise(120, -0.1, 0.1))]
EACH = clock(120, 1)
FIVE = clock(120, 5)
HARMLESS: dict[str, str | bytes] = {
    "service.log": lines("2026-03-01 {}:07 INFO worker 3 answered {:.0f} requests in {:.0f} ms\n",
                         EACH, noise(120, 80, 300), noise(120, 40, 400, 4)),
    "progress.log": "".join(f"2026-03-01 {t}:00 epoch {i} loss {300 * 0.98**i:.2f}\n" for i, t in enumerate(EACH)),
    "counter.log": "".join(f"{t} done {40 + 2 * i} of 400\n" for i, t in enumerate(EACH)),
    "beats.log": "".join(f"2026-03-01 {t} heartbeat ok\n" for t in EACH),
    "pulse.csv": "time,heart_rate\n" + "".join(f"2026-03-01 {t},{p}\n" for t, p in zip(EACH, PULSE, strict=True)),
    "pulse_5.md": "| time | pulse, bpm |\n| - | - |\n" + table(FIVE, PULSE),
    "pulse.json": json.dumps([{"t": t, "bpm": p} for t, p in zip(FIVE, PULSE, strict=True)]),
    "pulse_bare.log": "".join(f"{t},{p}\n" for t, p in zip(EACH, map(round, noise(120, 62, 78)), strict=True)),
    "room.csv": "time,temperature\n" + "".join(f"2026-03-01 {t},{x}\n" for t, x in zip(FIVE, ROOM, strict=True)),
    "room_unit.log": "".join(f"2026-03-01 {t} kitchen {x} °C\n" for t, x in zip(FIVE, ROOM, strict=True)),
    "room_bare.log": "".join(f"2026-03-01 {t},{x}\n" for t, x in zip(FIVE, ROOM, strict=True)),
    "power.csv": "time,power_kW\n" + rows(step=15),
    "server.csv": lines("{},{:.0f},{:.0f}\n", FIVE, noise(120, 30, 60), noise(120, 200, 260),
                        head="timestamp,cpu_percent,memory_MiB\n"),
    "noise.csv": "when,x\n" + "".join(f"{t},{x:.0f}\n" for t, x in zip(FIVE, noise(120, 60, 300), strict=True)),
    "prices.yaml": "".join(f"- at: {t}\n  price: {g}\n" for t, g in PAIRS),
    "trains.md": lines("| {} | {} |\n", FIVE, [1 + i * 7 % 12 for i in range(120)],
                       head="| leaves | from platform |\n| - | - |\n"),
    "irregular.md": "".join(f"- {8 + i // 2}:{i * 17 % 60:02d} talk in room {101 + i * 5 % 40}\n" for i in range(30)),
    "losses.txt": "step,loss\n" + "".join(f"{i},{200 - i}\n" for i in range(50)),
    "losses_5.csv": "step,loss\n" + "".join(f"{5 * i},{200 * 0.97**i:.1f}\n" for i in range(50)),
    "squares.py": f"X = {[i * i for i in range(7, 19)]!r}\nY = {list(range(40, 400, 5))!r}\n",
    "weights.py": f"W = {[round(x, 4) for x in noise(60, -2, 2)]!r}\n",
    "pixels.py": f"P = {[int(x) for x in noise(200, 41, 255)]!r}\n",
    "few.md": "| time | glucose |\n| - | - |\n" + table(T[:8], G[:8]),
    "snippet.py": f"glucose_mg_dL = {G[:12]!r}\n",
    "snippet_none.py": f"glucose_mg_dL = {[*G[:12], None]!r}\n",
    "grid.py": f"glucose_mg_dL = {list(range(40, 400, 10))!r}\n",
    "room_list.py": f"temperature = np.array({[x if i % 9 else None for i, x in enumerate(ROOM)]!r})\n",
    "took.md": "".join(f"- run {i} took 3h{i * 17 % 60:02d}, {101 + i * 53 % 140} files\n" for i in range(30)),
    "languages.json": json.dumps(["ar", "bg", "cs"]),
    "words.py": "x = {'sgv': 'sensor glucose value', 'glucose': 'mg/dL'}\n",
    "daily.log": "".join(f"2026-03-{day:02d} 08:00,{120 + day}\n" for day in range(1, 28)),
    "tidy.ipynb": notebook("import t1djax\npatient = t1djax.example_patient()\n"),
    "icon.png": b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(4000),
    "noise.bin": random.Random(1).randbytes(40_000),
    "harmless.zip": packed("readme.md", b"nothing here"),
    "harmless.xz": lzma.compress(b"nothing here"),
    "-v.md": "# Nothing here\n",
    "benchmarks/recorded/cpu/fine.json": json.dumps(RECORD),
    "tests/archives/results-0.1.0-current.zip": (ROOT / "tests/archives/results-0.1.0-current.zip").read_bytes(),
}  # fmt: skip


def repository(folder: Path, files: dict[str, str | bytes | Callable[[], bytes]]) -> None:
    """A repository with the project's guard and these files staged."""
    (folder / ".ci").mkdir(parents=True)
    for part in (ROOT / ".ci").glob("*data*"):
        if part.is_file():
            shutil.copy(part, folder / ".ci")
    (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [{**CONFIG, "hooks": [HOOK]}]}))
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made = content() if callable(content) else content
        path.write_bytes(made.encode() if isinstance(made, str) else made)
    for command in (["init", "-q"], ["config", "user.name", "n"], ["config", "user.email", "n@example.org"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    subprocess.run(["git", "add", "-A", "-f"], cwd=folder, check=True)


def commit(folder: Path) -> tuple[int, str]:
    """A commit with the hook, by pre-commit where it is installed: its exit code and what was said."""
    if importlib.util.find_spec("pre_commit"):
        install = [sys.executable, "-m", "pre_commit", "install"]
        subprocess.run(install, cwd=folder, check=True, capture_output=True)
    else:
        script = folder / ".git" / "hooks" / "pre-commit"
        script.write_text(f"#!/bin/sh\ngit diff --cached --name-only -z | xargs -0 {HOOK['entry']}\n")
        script.chmod(0o755)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command, environment = ["git", "commit", "-m", "all"], os.environ | {"PATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the hook said of every file, staged in one repository."""
    folder = tmp_path_factory.mktemp("guard") / "repository"
    repository(folder, DISGUISES | {name: text for name, text in HARMLESS.items() if name not in DISGUISES})
    code, said = commit(folder)
    assert code == 1, said
    found = re.findall(r"^(.+?): (.+)$", said, re.MULTILINE)
    return {name: reason for name, reason in found if (folder / name).exists()}


@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguise_stops_the_commit(refusals: dict[str, str], name: str) -> None:
    assert name in refusals


@pytest.mark.parametrize("name", HARMLESS)
def test_other_files_pass(refusals: dict[str, str], name: str) -> None:
    assert name not in refusals, refusals[name]


def test_a_file_called_like_an_option_hides_no_other(tmp_path: Path) -> None:
    """It did: the guard showed its help, and the commit went through."""
    repository(tmp_path / "r", {"-h": "nothing here", "person.log": rows()})
    code, said = commit(tmp_path / "r")
    assert code == 1
    assert "person.log: rows of times" in said


def test_all_tracked_files_are_looked_at(tmp_path: Path) -> None:
    """As `.ci/run` and the workflow do it."""
    command = HOOK["entry"].split()[:2]
    assert " ".join(command) in (ROOT / ".ci" / "run").read_text()
    assert " ".join(command) in (ROOT / ".github" / "workflows" / "lint.yml").read_text()
    repository(tmp_path / "r", {"-h": rows(), "ünter/person.md": FENCED, "fine.md": "nothing here"})
    (tmp_path / "r" / ".ci" / "allowed_data.toml").unlink()
    done = subprocess.run(
        [sys.executable, *command[1:]], cwd=tmp_path / "r", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert {line.split(":")[0] for line in done.stdout.splitlines()[:-1]} == {"-h", "ünter/person.md"}


def test_an_exception_is_for_one_content(tmp_path: Path) -> None:
    """A file is allowed by name, content and reason; a change asks again, and so does an entry without a file."""

    def said(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, ".ci/check_data.py", *arguments]
        done = subprocess.run(command, cwd=tmp_path / "r", capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    repository(tmp_path / "r", {"made_up.md": FENCED, "copy.md": FENCED})
    (tmp_path / "r" / ".ci" / "allowed_data.toml").unlink()
    assert said("--allow", "made_up.md", "--reason", "because")[0] == 2
    assert said("--", "made_up.md")[0] == 1
    assert said("--allow", "./made_up.md", "--reason", 'a "random" walk, by tests')[0] == 0
    assert said("--", "made_up.md")[0] == 0
    code, text = said()
    assert code == 1
    assert [line.split(":")[0] for line in text.splitlines()[:-1]] == ["copy.md"]
    (tmp_path / "r" / "made_up.md").write_text(FENCED.replace("07:00", "07:01"))
    assert "changed since it was allowed" in said("--", "made_up.md")[1]
    subprocess.run(["git", "rm", "-q", "-f", "made_up.md", "copy.md"], cwd=tmp_path / "r", check=True)
    assert "made_up.md: allowed in allowed_data.toml, but not there" in said()[1]


def test_the_project_passes_with_few_exceptions() -> None:
    """Each tracked file, but for the archives of made-up people."""
    done = subprocess.run([sys.executable, ".ci/check_data.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert all(re.fullmatch(r"tests/archives/[\w.-]+\.zip", name) for name in guard.allowed())
    assert all(len(entry["reason"]) > 20 for entry in guard.allowed().values())


def test_every_shared_file_of_readings_is_known_in_disguise(shared: Path, tmp_path: Path) -> None:
    files = [path for path in (shared / "data").glob("*/*.*") if "patient" not in path.name]
    assert len(files) > 10
    for path in files:
        content = re.sub(rb"[Gg]lucose", b"x", path.read_bytes())
        assert guard.looks_like_patient_data(path) is not None, path.name
        assert guard.why_refused("notes.log", content) is not None, path.name
        if "profiles" not in path.name and "treatments" not in path.name:
            assert guard.why_refused("notes.md", content) is not None, path.name


def test_excerpts_of_real_readings_are_known_by_their_numbers(shared: Path) -> None:
    """Of four hours at five minutes, times and rounded numbers alone, hardly any passes; named pulse does."""
    rng, refused, alarms = random.Random(0), [], []
    for path in sorted((shared / "data" / "hupa_ucm").glob("HUPA*.csv")):
        with path.open(encoding="utf-8") as file:
            table = list(csv.DictReader(file, delimiter=";"))
        for begin in rng.sample(range(len(table) - 48), 30):
            cut = table[begin : begin + 48]
            glucose, pulse = ([round(float(row[name])) for row in cut] for name in ("glucose", "heart_rate"))
            refused.append(guard.why_refused("notes.md", lines("{},{}\n", T, glucose).encode()) is not None)
            alarms.append(guard.why_refused("notes.md", lines("{},{}\n", T, pulse, head="at,heart_rate\n").encode()))
    assert sum(refused) >= 0.95 * len(refused)
    assert not any(alarms)
