"""The guard against patient data: binary tables and arrays by their bytes, and its command."""

import base64
import io
import json
import math
import pickle
import re
import struct
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import netcdf_file

from .test_data_guard import FENCED, G, guard, lines, repository

ARRAY = np.array(G, float)
GAPPED = np.where(np.arange(len(G)) % 9 == 8, np.nan, ARRAY)
FRAME = pd.DataFrame({"at": [datetime(2026, 3, 1) + timedelta(minutes=5 * i) for i in range(len(G))], "x": G})


def stata(version: int) -> bytes:
    stream = io.BytesIO()
    FRAME.to_stata(stream, version=version)
    return stream.getvalue()


def netcdf(version: int) -> bytes:
    stream = io.BytesIO()
    with netcdf_file(stream, "w", version=version) as file:
        file.createDimension("i", len(G))
        file.createVariable("x", "d", ("i",))[:] = ARRAY
        file.flush()
        return stream.getvalue()


def arrow_stream() -> bytes:
    arrow = pytest.importorskip("pyarrow", reason="a stream of Arrow needs pyarrow")
    table, stream = arrow.table({"x": G}), io.BytesIO()
    with arrow.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def safetensors() -> bytes:
    head = json.dumps({"x": {"dtype": "F32", "shape": [len(G)], "data_offsets": [0, 4 * len(G)]}}).encode()
    return struct.pack("<Q", len(head)) + head + ARRAY.astype("f4").tobytes()


R_OBJECT = b"X\n" + struct.pack(">iii", 3, 0x40000, 0x30500) + struct.pack(">i", 5) + b"UTF-8"
R_DOUBLES = struct.pack(">ii", 14, len(G)) + ARRAY.astype(">f8").tobytes()


def chart(array: np.ndarray) -> bytes:
    """A page as Plotly writes it: slashes escaped."""
    data = base64.b64encode(array.tobytes()).decode().replace("/", "\\u002f")
    return (
        f'<script>Plotly.newPlot("x", [{{"y":{{"dtype":"f8","bdata":"{data}"}},"type":"scatter"}}])</script>'.encode()
    )


BINARY = {
    "Stata 10": lambda: stata(114),
    "Stata 14": lambda: stata(118),
    "NetCDF": lambda: netcdf(1),
    "NetCDF with 64 bit": lambda: netcdf(2),
    "Arrow stream": arrow_stream,
    "safetensors": safetensors,
    "R": lambda: R_OBJECT + R_DOUBLES,
    "R, text": lambda: b"A\n3\n262401\n197888\n5\nUTF-8\n14\n1\n120\n",
    "SAS transport": lambda: b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!" + b"0" * 30,
    "DuckDB": lambda: bytes(8) + b"DUCK" + bytes(500),
    "pickled list, 0": lambda: pickle.dumps(G, 0),
    "pickled list, 1": lambda: pickle.dumps(G, 1),
    "pickled frame, 0": lambda: pickle.dumps(FRAME, 0),
    "pickled frame, 1": lambda: pickle.dumps(FRAME, 1),
    "u1": lambda: ARRAY.astype("u1").tobytes(),
    "i2": lambda: ARRAY.astype("i2").tobytes(),
    "i2, big-endian": lambda: ARRAY.astype(">i2").tobytes(),
    "i8": lambda: ARRAY.astype("i8").tobytes(),
    "f4, gaps": lambda: GAPPED.astype("f4").tobytes(),
    "f8, big-endian, gaps": lambda: GAPPED.astype(">f8").tobytes(),
    "i2, gaps of -1": lambda: np.nan_to_num(GAPPED, nan=-1).astype("i2").tobytes(),
    "f4 behind their number": lambda: struct.pack("<I", len(G)) + ARRAY.astype("f4").tobytes(),
    "chart, u1": lambda: chart(ARRAY.astype("u1")),
    "chart, f8": lambda: chart(ARRAY),
    "chart, gaps": lambda: chart(GAPPED),
    "chart in a notebook": lambda: json.dumps({"text/html": chart(GAPPED).decode()}).encode(),
}


@pytest.mark.parametrize("kind", BINARY)
def test_a_binary_table_is_known_by_its_bytes(kind: str) -> None:
    assert guard.why_refused("notes.bin", BINARY[kind]()) is not None


SUFFIXES = ".rds .rda .dta .sav .mat .xpt .nc .arrows .duckdb .safetensors .pkl .pickle .joblib .npy"


@pytest.mark.parametrize("suffix", SUFFIXES.split())
def test_a_binary_table_is_known_by_its_name(suffix: str) -> None:
    assert guard.why_refused(f"a{suffix.upper()}", b"") is not None


NOISE = np.random.default_rng(0)
OTHERS = {
    "chart of a line": chart(np.arange(100.0)),
    "chart of noise": chart(NOISE.uniform(40, 300, 200)),
    "chart of a small wave": chart(np.sin(np.arange(200) / 20)),
    "noise, u1": NOISE.integers(20, 250, 4000).astype("u1").tobytes(),
    "weights, f4": NOISE.normal(0, 1, 2000).astype("f4").tobytes(),
    "zeros": bytes(4000),
    "Latin": ("Ein Schlüssel, ein Schloß, ein Türstock und ein Gebälk. " * 20).encode("latin-1"),
    "prose": b"I came. I saw. I went home again, and then it rained. " * 40,
    "ends of base64 within": b"A" * 43 + b"= " + b"B" * 42 + b"== " + b"C" * 45 + b"\n",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_bytes_pass(kind: str) -> None:
    assert guard.why_refused("notes.bin", OTHERS[kind]) is None


FIFTEEN = [f"2026-03-01 {i // 4:02d}:{15 * (i % 4):02d}" for i in range(96)]
WAVE = [18 + 5 * math.sin(i / 14) for i in range(96)]
NAMED = {
    "weather.csv": "time,temp,rain,wind_kmh\n"
    + lines("{},{:.1f},0.0,{:.1f}\n", FIFTEEN, WAVE, [0.7 * x for x in WAVE]),
    "station.csv": lines("{};{:.1f};{:.1f}\n", FIFTEEN, WAVE, [5 * x for x in WAVE], head="MESS_DATUM;TT_10;RF_10\n"),
    "shares.csv": "time,open,high,low,close\n"
    + lines("{},{:.2f},{:.2f},{:.2f},{:.2f}\n", FIFTEEN, *([8 * x + d for x in WAVE] for d in (0, 0.3, -0.3, 0.1))),
    "track.gpx": lines("<trkpt><ele>{:.1f}</ele><time>{}:00</time></trkpt>\n", [9 * x for x in WAVE], FIFTEEN),
    "colours.py": f"PALETTE = {[(i, round(8 * x), 255 - i) for i, x in enumerate(WAVE)]!r}\n",
}


@pytest.mark.parametrize("name", NAMED)
def test_a_series_passes_by_its_name_alone(name: str) -> None:
    """The same numbers under a name that says nothing are refused."""
    assert guard.why_refused(name, NAMED[name].encode()) is None
    unnamed = re.sub(r"temp|rain|wind_kmh|TT_10|RF_10|open|high|low|close|ele|PALETTE", "x", NAMED[name])
    assert guard.why_refused(name, unnamed.encode()) is not None


@pytest.mark.parametrize(
    "head",
    [
        "Name;Geburtsdatum",
        "Patientenname;Geb.-Datum",
        "nom;date de naissance",
        "nombre;fecha de nacimiento",
        "FECHA_NACIMIENTO;peso",
        "cognome;data di nascita",
        "name;birthday",
    ],
)
def test_a_table_of_persons_is_known_in_other_languages(head: str) -> None:
    assert guard.why_refused("people.csv", f"{head}\nA;3.2.1990;71\n".encode()) is not None
    assert guard.why_refused("people.csv", b"name;founded;members\nA;3.2.1990;71\n") is None


def test_an_exception_is_entered_from_anywhere_in_the_repository(tmp_path: Path) -> None:
    """By whatever path a file is named, its entry is from the root; what is not there is said."""
    top, below = tmp_path / "r", tmp_path / "r" / "below"
    repository(top, {"made_up.md": FENCED, "below/made_up.md": FENCED, "below/fine.md": "nothing"})
    (top / ".ci" / "allowed_data.toml").unlink()

    def said(where: Path, *arguments: str) -> tuple[int, str]:
        command = [sys.executable, str(top / ".ci" / "check_data.py"), *arguments]
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    because = ("--reason", "a random walk, made by tests")
    assert said(top)[0] == 1
    assert said(below)[1].startswith("made_up.md: ")
    assert said(below, "--allow", "made_up.md", *because)[0] == 0
    assert said(below, "--allow", "./../made_up.md", *because)[0] == 0
    listed = (top / ".ci" / "allowed_data.toml").read_text()
    assert [line for line in listed.splitlines() if "path" in line] == [
        'path = "below/made_up.md"',
        'path = "made_up.md"',
    ]
    for where, name in [(top, "made_up.md"), (below, "../made_up.md"), (tmp_path, "r/below/made_up.md")]:
        assert said(where, "--", name)[0] == 0
    assert said(tmp_path, "--", str(top / "below" / "made_up.md"))[0] == 0
    assert said(below)[0] == 0
    for absent in ("nothing.md", str(tmp_path / "outside.md")):
        code, text = said(top, "--allow", absent, *because)
        assert (code, "Traceback" in text, absent in text) == (2, False, True)
    (tmp_path / "outside.md").write_text(FENCED)
    assert said(top, "--allow", "../outside.md", *because)[0] == 2
    assert said(top, "below/fine.md", "nothing.md") == (
        2,
        "nothing.md: there is no such file\n1 files looked at, 0 refused\n",
    )
