"""Refuse files that look like patient data: `python .ci/check_data.py [--] [FILE ...]`, all tracked files by default.

A file is refused by its content, whatever it is called: an export of a device or program that `t1djax.io` reads, a
table or list of records with glucose columns, times minutes apart with numbers that behave like glucose, in any
text, and tables in binary formats. Archives are opened. Pictures and PDF are not looked into.

A file that is refused and holds nobody's data is allowed by its name, its content's hash and a reason:
`python .ci/check_data.py --allow FILE --reason "who made it up, and how"`. When the content changes, it asks again.
"""

import argparse
import base64
import bz2
import fnmatch
import gzip
import hashlib
import io
import json
import lzma
import math
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
import zlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median, pvariance
from typing import NamedTuple

ALLOWED = Path(__file__).resolve().parent / "allowed_data.toml"
"""Files that look like patient data and are none: path, SHA-256, reason."""

TABLES = {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".txt"}
BINARY_TABLES = {".xlsx", ".xls", ".ods", ".parquet", ".feather", ".h5", ".hdf5", ".sqlite", ".db", ".sas7bdat", ".npz"}
MAGIC = (b"SQLite format 3\0", b"PAR1", b"\x89HDF", b"ARROW1", b"FEA1", b"\xd0\xcf\x11\xe0", b"\x93NUMPY", b"ORC",
         b"Obj\x01", b"<stata_dta>", b"MATLAB 5", b"RDX", b"$FL2", b"\x80\x02", b"\x80\x03", b"\x80\x04\x95",
         b"\x80\x05\x95")  # fmt: skip
"""First bytes of SQLite, Parquet, HDF5, Arrow, Feather, older Excel, NumPy, ORC, Avro, Stata, MATLAB, R, SPSS, pickle."""
CLOSED = (b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"LZIP", b"\x1f\x9d")
"""First bytes of what cannot be opened here: 7z, RAR, zstandard, lz4, lzip, compress."""
PICTURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"%PDF-", b"wOF2", b"wOFF")
GLUCOSE = re.compile(rb"glucose|\bsgv\b|\bcgm\b|glycaemia|glycemia|mmol/l|mg/dl|mg_dl|\bbg\b", re.IGNORECASE)
PERSON = re.compile(rb"hba1c|\ba1c\b|date.of.birth|birth.?date|\bdob\b|medical.record|patient.?name", re.IGNORECASE)
MOST_BYTES = 32 * 2**20
"""A file, or all that is packed in it, is looked at up to here and refused beyond."""
MOST_MEMBERS = 5000
DEPTH = 4
"""Archives within archives are opened so deep."""
READINGS = 12
"""An hour at five minutes; fewer rows may stand in a test or a manual."""
BARE = 2 * READINGS
"""Numbers without times are readings from here on."""
NEAR = 600
"""Characters between rows that are of one table."""
STEPS = (1.0, 3.0, 5.0, 10.0, 15.0)
"""Minutes between the readings of sensors."""
CLOCKS = (3, 5, 10, 15, 180, 300, 600, 900, 0.05, 1 / 12, 1 / 6, 0.25)
"""Steps of a column that counts minutes, seconds or hours."""
_SOURCE = {".py", ".pyi", ".md", ".rst", ".toml", ".yaml", ".yml", ".tf", ".hcl", ".sh", ".cff", ".lock"}
_READS_GLUCOSE = re.compile(r"gluc|glyc|sgv|cgm|(\b|_)bg(\b|_)|mmol|mg.?dl|dexcom|libre", re.IGNORECASE)
_DOSES = re.compile(r"insulin|bolus|basal|\bcarb|carbohydrate", re.IGNORECASE)
_OTHER = re.compile(
    r"heart|pulse|bpm|(\b|_)hr(\b|_)|temp|°|celsius|fahrenheit|humid|pressure|hpa|cpu|mem|mib|load|latency|duration"
    r"|elapsed|second|(\b|_)m?s(\b|_)|loss|error|epoch|step|iter|price|speed|power|watt|kw|volt|request|count|item"
    r"|byte|co2|ppm|lux|rpm|percent|%|progress|score|accuracy|calor|weight|cadence|spo2|queue|worker|done",
    re.IGNORECASE,
)
"""Names of columns that are something else."""
_TIME = (
    r"(?<![\d:.])(?<!\d[+-])(?:(?<=\dT)|(?<![A-Za-z_]))(?P<h>[01]?\d|2[0-3]):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d)(?:\.\d+)?)?"
    r"(?![\d:])(?:\s?(?P<half>[AaPp])\.?[Mm]\b)?"
    r"|(?<!\d)(?:19|20)\d{6}T?(?P<ch>[01]\d|2[0-3])(?P<cm>[0-5]\d)(?:[0-5]\d)?(?!\d)"
    r"|(?<![\w.])(?P<epoch>1\d{9}(?:\d{3})?)(?:\.\d+)?(?!\w)"
    r"|(?<![\w.])(?P<serial>(?:[34]\d{4}|5[0-4]\d{3}|7[34]\d{4})\.\d{2,})(?!\w)"
)
_NUMBER = (
    r"(?<![\w.:/+-])\d{1,3}(?:\.\d*)?(?:[eE][+-]\d{1,2})?"
    r"(?=$|[^\w:.]|\.(?!\d)|(?:mg|mmol|bpm|m?s|[CF]|U|g|k?W|h|min|[kMG]i?B)(?!\w))(?![-/]\d)"
)
_WHEN = re.compile(_TIME)
_TOKEN = re.compile(f"(?P<time>{_TIME})|(?P<number>{_NUMBER})")
_KEY = re.compile(r"([A-Za-z_°%][\w .%/°²()-]{0,40}?)[\"'\])]*\s*[:=]\s*[\"'\[]*$")
_WORD = re.compile(r"([A-Za-z_]{2,})[ (]{1,2}$")
_UNIT = re.compile(r"\s?([°%]?[A-Za-z/%]*)")
_DATETIME = re.compile(r"\b[Dd]ate[Tt]ime\(\s*\d{4},\s*\d\d?,\s*\d\d?,\s*(\d\d?),\s*(\d\d?)")
_BETWEEN_ROWS = re.compile(r"([\])}])\s*,\s*(?=[\[({])")
_BARE_ROW = re.compile(r"(?!.*\d[:/-]\d)[^A-DF-Za-df-z_\n]*\d[^A-DF-Za-df-z_\n]*")
_ANY_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?![\w])")
_NAMED = re.compile(r"\b([A-Za-z_]\w*)[\"']?\s*[:=]\s*[\"']?(\d{1,7}(?:\.\d*)?)(?=[\"']?\s*(?:[,;})\]/>]|$))", re.MULTILINE)
_LIST = re.compile(
    r"(?<![\w.:/-])(?:\d{1,3}(?:\.\d*)?(?:[eE][+-]\d\d?)?[\"']?(?:[ \t]*[,;|][ \t]*\n?\s*|\s+)(?:-[ ]+)?[\"']?){%d,}\d{1,3}(?:\.\d*)?"
    r"(?![\w.:/])" % READINGS
)
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{40,}={0,2}\s*){3,}(?:[A-Za-z0-9+/]+={0,2})?")
_TROUBLE = (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, RuntimeError, ValueError, zlib.error, lzma.LZMAError)
_OUTSIDE = "keep data outside the repository"


def looks_like_patient_data(path: Path) -> str | None:
    """Why a file is refused, or nothing."""
    if path.stat().st_size > MOST_BYTES:
        return f"more than {MOST_BYTES // 2**20} MiB cannot be checked; {_OUTSIDE}"
    return why_refused(path.as_posix(), path.read_bytes())


def why_refused(name: str, content: bytes, depth: int = 0, budget: list[int] | None = None) -> str | None:
    """Why content under a name is refused, or nothing; `budget` is the bytes that may still be unpacked."""
    budget = [MOST_BYTES] if budget is None else budget
    suffix = Path(name).suffix.lower()
    if suffix in BINARY_TABLES or content.startswith(MAGIC) or content[8:12] == b"ARRO":
        return f"a table in a binary format; {_OUTSIDE}"
    if content.startswith(CLOSED):
        return f"an archive that cannot be opened cannot be checked; {_OUTSIDE}"
    if content.startswith(PICTURES):
        return None
    if members := _packing(name, content):
        return _in_archive(members, depth, budget)
    recorded = fnmatch.fnmatch(name, "benchmarks/recorded/*")
    if recorded and not _is_benchmark(content):
        return f"no record of a benchmark as `python -m benchmarks` writes them; {_OUTSIDE}"
    if suffix in TABLES and not recorded and GLUCOSE.search(content):
        return f"it has glucose columns; {_OUTSIDE}, or allow it (CONTRIBUTING.md) if simulated"
    if suffix in TABLES and PERSON.search(content):
        return f"it describes a person; {_OUTSIDE}"
    for found in _BASE64.finditer(content):
        text = b"".join(found[0].split())
        inside = base64.b64decode(text + b"=" * (-len(text) % 4)) if len(text) % 4 != 1 else b""
        if depth < DEPTH and (reason := why_refused("", inside, depth + 1, budget)):
            return f"in its base64: {reason}"
    text = _text(content)
    if suffix not in _SOURCE and "\0" not in text[:8192] and (kinds := _exports(text, name)):
        return f"an export that t1djax reads as {' or '.join(kinds)}; {_OUTSIDE}"
    if any(has_readings(part) for part in _parts(text)):
        return f"rows of times with numbers that behave like glucose; {_OUTSIDE}"
    if _raw_numbers(content):
        return f"raw numbers that behave like glucose; {_OUTSIDE}"
    return None


def _text(content: bytes) -> str:
    """The content as text; NUL is left out, so that UTF-16 and UTF-32 without a mark are read too."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") and content[2:4] != b"\0\0":
        return content.decode("utf-16", "replace")
    content = content.replace(b"\0", b"") if b"\0" in content else content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _exports(text: str, name: str) -> tuple[str, ...]:
    """Names of the formats whose reader knows the text."""
    from t1djax.io.formats import recognised  # noqa: PLC0415 - seconds, and only where there is a text

    return tuple(kind.name for kind in recognised(text, Path(name).name))


def _is_benchmark(content: bytes) -> bool:
    """Whether it is what `python -m benchmarks` writes: rows of words and numbers, no list longer than repetitions."""
    try:
        record = json.loads(content)
        rows = [value for row in record["rows"] for value in row.values()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    keys = {"benchmark", "title", "date", "machine", "load_at_start", "versions", "command", "settings", "rows"}
    lists = [value for value in rows if isinstance(value, list)]
    return (
        keys <= set(record) <= keys | {"notes", "complete"}
        and not any(isinstance(value, dict) or (isinstance(value, str) and _WHEN.search(value)) for value in rows)
        and all(len(value) <= 30 and all(isinstance(x, (int, float)) for x in value) for value in lists)
        and not any(_like_glucose(value, 5, most_rough=0.4) for value in lists)
    )


# Archives


def _packing(name: str, content: bytes) -> Callable[[list[int]], Iterator[tuple[str, bytes]]] | None:
    """How content is unpacked; None where it is not packed."""
    inner = str(Path(name).with_suffix("")) if name else ""
    if content[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return lambda budget: _zipped(content, budget)
    if content[257:262] == b"ustar":
        return lambda budget: _tarred(content, budget)
    stream = io.BytesIO(content)
    for start, opened in ((b"\x1f\x8b", gzip.GzipFile), (b"BZh", bz2.BZ2File), (b"\xfd7zXZ\0", lzma.LZMAFile),
                          (b"\x5d\0\0", lzma.LZMAFile)):  # fmt: skip
        if content.startswith(start):
            packed = opened(fileobj=stream) if opened is gzip.GzipFile else opened(stream)  # type: ignore[call-overload]
            return lambda budget: iter([(inner, _read(packed, budget))])
    if content[:2] in (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"):
        try:
            inside = zlib.decompressobj().decompress(content, MOST_BYTES + 1)
        except zlib.error:
            return None
        return lambda budget: iter([(inner, _read(io.BytesIO(inside), budget))])
    return None


def _in_archive(members: Callable[[list[int]], Iterator[tuple[str, bytes]]], depth: int, budget: list[int]) -> str | None:
    if depth >= DEPTH:
        return f"archives in archives; {_OUTSIDE}"
    try:
        for count, (member, inside) in enumerate(members(budget)):
            if count >= MOST_MEMBERS:
                return f"an archive of more than {MOST_MEMBERS} files cannot be checked; {_OUTSIDE}"
            if reason := why_refused(member, inside, depth + 1, budget):
                return f"in it, {member}: {reason}"
    except _TROUBLE as error:
        return f"an archive that cannot be opened ({error}) cannot be checked; {_OUTSIDE}"
    return None


def _read(stream, budget: list[int]) -> bytes:
    """What a stream unpacks to, as long as it stays within what may still be unpacked."""
    content = stream.read(budget[0] + 1)
    budget[0] -= len(content)
    if budget[0] < 0:
        raise OSError("it unpacks to too much")
    return content


def _zipped(content: bytes, budget: list[int]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if any(re.match(r"xl/|mimetype$|content\.xml$|Index/", name) for name in names):
            yield "spreadsheet.xlsx", b""
        for info in archive.infolist():
            if not info.is_dir():
                with archive.open(info) as stream:
                    yield info.filename, _read(stream, budget)


def _tarred(content: bytes, budget: list[int]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for entry in archive:
            if entry.isfile() and (stream := archive.extractfile(entry)):
                yield entry.name, _read(stream, budget)


# Readings, by whoever wrote them


def _parts(text: str) -> Iterator[str]:
    """The text, with escaped line ends as line ends, and the cells of a notebook."""
    if '"nbformat"' in text:
        try:
            cells = json.loads(text)["cells"]
            joined = ("".join(cell["source"]) for cell in cells)
            yield from (part.replace("\\n", "\n").replace("\\t", "\t") for part in joined)
        except (ValueError, KeyError, TypeError):
            pass  # looked at as any text
    yield text.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"') if "\\" in text else text


def has_readings(text: str) -> bool:
    """Whether an hour of readings or more stands in a text, as rows, records, lists or columns."""
    text = _DATETIME.sub(r"\1:\2", text) if "ime(" in text else text
    text = re.sub(r"(?<![\d:])(\d\d?):(\d)(?![\d:])", r"\1:0\2", text) if "ime(" in text else text
    timed = sum(1 for _ in _WHEN.finditer(text)) >= READINGS
    if timed and _timed(text):
        return True
    if timed and any(mark in text for mark in ";\t|") and _timed(re.sub(r"(?<=\d),(?=\d{1,2}\b)", ".", text)):
        return True
    return _listed(text, timed) or _counted(text)


def _minutes(match: re.Match[str]) -> float:
    """The time of day, min."""
    if match["epoch"]:
        return int(match["epoch"][:10]) / 60 % 1440
    if match["serial"]:
        return float(match["serial"]) % 1 * 1440
    if match["ch"]:
        return int(match["ch"]) * 60.0 + int(match["cm"])
    hour = int(match["h"]) % 12 + 12 * (match["half"] in "pP") if match["half"] else int(match["h"])
    return hour * 60 + int(match["m"]) + int(match["s"] or 0) / 60


class Entry(NamedTuple):
    """A number after a time."""

    minute: float
    number: float
    at: int
    name: str


def _timed(text: str) -> bool:
    """Numbers that follow times: each place after a time, or each key, is a column."""
    columns: dict[object, list[Entry]] = defaultdict(list)
    when, place, order, last = None, 0, 0, 0
    for token in _TOKEN.finditer(text):
        between = text[max(last, token.start() - 200) : token.start()]
        last = token.end()
        if token["time"]:
            when, place, order = _minutes(token), 0, 0
            continue
        if when is None:
            continue
        marks = sum(between.count(mark) for mark in ",;\t|\n")
        place, order = place + marks, 0 if marks else order + 1
        key = _KEY.search(between[-60:])
        word = key or _WORD.search(between[-40:])
        unit = _UNIT.match(text, token.end())
        name = f"{word[1] if word else ''} {unit[1] if unit else ''}".strip()
        columns[key[1] if key else (place, order)].append(Entry(when, float(token["number"]), token.start(), name))
    return any(len(column) >= READINGS and _is_personal(column, text) for column in columns.values())


def _is_personal(column: Sequence[Entry], text: str) -> bool:
    """Whether a column is of glucose or doses, by its name or, where it has none, by its behaviour."""
    for near in _near(column):
        name, values = _name(near, text), [entry.number for entry in near]
        if _READS_GLUCOSE.search(name) and len(set(values)) >= 4 and 1 <= median(values) <= 600:
            return True
        if _DOSES.search(name) and len(set(values)) >= 3:
            return True
    for step in STEPS:
        for stretch in _stretches(column, step):
            if _like_glucose([entry.number for entry in stretch], step) and not _OTHER.search(_name(stretch, text)):
                return True
    return False


def _near(column: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """An hour or more of numbers that stand together, at whatever times."""
    begin = 0
    for i in range(1, len(column) + 1):
        if i == len(column) or column[i].at - column[i - 1].at > NEAR:
            if i - begin >= READINGS:
                yield column[begin:i]
            begin = i


def _name(column: Sequence[Entry], text: str) -> str:
    """What a column is called: by most of the words beside its numbers, else by its header."""
    names = [entry.name for entry in column]
    name = max(set(names), key=names.count)
    known = any(pattern.search(name) for pattern in (_READS_GLUCOSE, _DOSES, _OTHER))
    return name if known else _header(text, column[0].at)


def _stretches(column: Sequence[Entry], step: float) -> Iterator[list[Entry]]:
    """An hour or more whose times are a step apart; up to two may lack between, and times may repeat."""
    begin, ones, last, ended = [column[0]], 0, column[0].minute, False
    for entry in column[1:]:
        apart = min((entry.minute - last) % 1440, (last - entry.minute) % 1440)
        if apart < 0.3:
            continue
        steps = round(apart / step)
        ended = not (1 <= steps <= 3 and abs(apart - steps * step) <= 0.3 + 0.03 * step)
        if ended and len(begin) >= READINGS and ones >= 0.6 * len(begin):
            yield begin
        begin, ones, last = ([entry], 0, entry.minute) if ended else (begin + [entry], ones + (steps == 1), entry.minute)
    if len(begin) >= READINGS and ones >= 0.6 * len(begin):
        yield begin


def _header(text: str, at: int) -> str:
    """What stands above a number: its cell in the nearest line above with as many cells and no time."""
    begin = text.rfind("\n", 0, at) + 1
    line = text[begin : text.find("\n", at) if "\n" in text[at:] else len(text)]
    mark = "|" if line.lstrip().startswith("|") else max(",;\t|", key=line.count)
    cell = line[: at - begin].count(mark)
    for above in reversed(text[max(begin - 2**20, 0) : begin].splitlines()):
        if not above.strip():
            return ""  # another table
        cells = above.split(mark)
        if len(cells) == line.count(mark) + 1 > 1 and re.search(r"[A-Za-z°%]", cells[cell]) and not _WHEN.search(above):
            return cells[cell]
    return ""


def _like_glucose(values: Sequence[float], step: float, *, most_rough: float | None = None) -> bool:
    """Whether numbers lie where glucose does, mg/dL or mmol/L, and move as slowly and as smoothly; not a straight line."""
    held = [value for value in values if 1 <= value <= 600]
    if len(held) < max(0.9 * len(values), READINGS) or len(set(held)) < 4:
        return False
    low, high = min(held), max(held)
    in_mg_dL = low >= 20 and high >= 60
    in_mmol_L = high <= 34 and any(value % 1 for value in held) and not (low >= 15 and high - low < 8)
    moves = [b - a for a, b in pairwise(held)]
    most = min(25.0, 3 + 2.5 * step) / (1 if in_mg_dL else 18)
    if not (in_mg_dL or in_mmol_L) or median(map(abs, moves)) > most:
        return False
    rough = fmean(move * move for move in moves) / (pvariance(held) or 1.0)
    if rough > (most_rough or (0.4 if step < 2.5 else 1.2)):
        return False
    one_way = all(move >= 0 for move in moves) or all(move <= 0 for move in moves)
    straight = pvariance(moves) <= 0.02 * fmean(moves) ** 2
    return not straight and not (one_way and len(held) >= BARE)


def _listed(text: str, timed: bool) -> bool:
    """A list of numbers without times, or beside a list of times."""
    for found in _LIST.finditer(text):
        values = [float(match[0]) for match in _ANY_NUMBER.finditer(found[0])]
        if len(values) < (READINGS if timed else BARE):
            continue
        before = text[max(found.start() - 60, 0) : found.start()]
        words = re.findall(r"[A-Za-z_°%][\w°%/]*", before)
        if words and _OTHER.search(words[-1]) and not _READS_GLUCOSE.search(words[-1]):
            continue
        if _like_glucose(values, 5, most_rough=0.4):
            return True
    return False


def _counted(text: str) -> bool:
    """Rows or records of numbers alone, of which one counts minutes, seconds or hours."""
    tables: list[tuple[list[str], list[list[float]]]] = [([], [])]
    before = ""
    for line in _BETWEEN_ROWS.sub(r"\1\n", text).splitlines():
        bare = len(line) < 400 and _BARE_ROW.fullmatch(line)
        numbers = [float(match[0]) for match in _ANY_NUMBER.finditer(line)] if bare else []
        if len(numbers) < 2:
            before = line if re.search(r"[A-Za-z]", line) else before
            if not bare and re.search(r"\w", line):
                tables.append(([], []))
            continue
        if tables[-1][1] and len(tables[-1][1][-1]) != len(numbers):
            tables.append(([], []))
        if not tables[-1][1]:
            names = [cell for cell in re.split(r"[,;\t|]", before.strip().strip("|"))]
            tables[-1] = (names if len(names) == len(numbers) else [""] * len(numbers), [])
        tables[-1][1].append(numbers)
    named: dict[str, list[float]] = defaultdict(list)
    for match in _NAMED.finditer(text):
        named[match[1]].append(float(match[2]))
    for size in {len(values) for values in named.values() if len(values) >= READINGS}:
        same = {name: values for name, values in named.items() if len(values) == size}
        tables.append((list(same), [list(row) for row in zip(*same.values(), strict=True)]))
    return any(_counts(names, rows) for names, rows in tables if len(rows) > READINGS)


def _counts(names: Sequence[str], rows: Sequence[Sequence[float]]) -> bool:
    columns = list(zip(*rows, strict=True))
    steps = [median(b - a for a, b in pairwise(column)) for column in columns]
    even = [
        sum(abs(b - a - step) < 1e-3 for a, b in pairwise(column)) >= 0.8 * (len(column) - 1)
        for column, step in zip(columns, steps, strict=True)
    ]
    clock = any(e and any(math.isclose(abs(s), c, abs_tol=2e-3) for c in CLOCKS) for e, s in zip(even, steps, strict=True))
    index = any(e and abs(s) == 1 for e, s in zip(even, steps, strict=True)) and len(rows) >= BARE
    return (clock or index) and any(
        not e and not (_OTHER.search(name) and not _READS_GLUCOSE.search(name)) and _like_glucose(column, 5, most_rough=0.5)
        for name, column, e in zip(names, columns, even, strict=True)
    )


def _raw_numbers(content: bytes) -> bool:
    """Numbers as a computer holds them, without a header."""
    if len(content) < 2 * BARE or not re.search(rb"[\x00-\x08\x0e-\x1a]", content[:4096]):
        return False
    for kind in "fdhi":
        values = array(kind)
        if len(content) % values.itemsize == 0 and len(content) // values.itemsize >= BARE:
            values.frombytes(content[: 2**18])
            if all(1 <= value <= 600 for value in values) and _like_glucose(values, 5, most_rough=0.4):
                return True
    return False


# Exceptions, and the command


def allowed() -> Mapping[str, Mapping[str, str]]:
    """The list of exceptions by path."""
    entries = tomllib.loads(ALLOWED.read_text(encoding="utf-8")).get("file", []) if ALLOWED.is_file() else []
    return {entry["path"]: entry for entry in entries}


def examine(path: Path) -> str | None:
    """Why a file is refused, or nothing, also where the list of exceptions has it with this very content."""
    reason = looks_like_patient_data(path)
    entry = allowed().get(path.as_posix()) if reason else None
    if entry is None:
        return reason
    if entry["sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
        return f"changed since it was allowed; {reason}"
    return None if len(entry["reason"]) > 20 else f"allowed without a reason; {reason}"


def allow(path: Path, reason: str) -> None:
    """Enter a file into the list of exceptions, in place of an earlier entry."""
    entries = {**allowed(), path.as_posix(): {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "reason": reason}}
    blocks = [
        f"[[file]]\npath = {json.dumps(name)}\nsha256 = {json.dumps(entry['sha256'])}\nreason = {json.dumps(entry['reason'])}\n"
        for name, entry in sorted(entries.items())
    ]
    head = "# Files that .ci/check_data.py would refuse; entered by its --allow, asked again when the content changes.\n\n"
    ALLOWED.write_text(head + "\n".join(blocks), encoding="utf-8")


def main() -> int:
    """Print each refused file; 1 if there is any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--allow", type=Path, metavar="FILE", help="enter a file into the list of exceptions")
    parser.add_argument("--reason", default="", help="why it is nobody's data")
    parser.add_argument("files", nargs="*", type=Path)
    asked = parser.parse_args()
    if asked.allow is not None:
        if len(asked.reason) <= 20:
            parser.error("--allow needs a --reason of more than twenty characters")
        allow(asked.allow, asked.reason)
        return 0
    files = asked.files
    if not files:
        listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True).stdout
        files = [Path(name) for name in os.fsdecode(listed).split("\0") if name]
    refused = {path: reason for path in files if path.is_file() and (reason := examine(path))}
    for path, reason in refused.items():
        print(f"{path}: {reason}")
    print(f"{len(files)} files looked at, {len(refused)} refused")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
