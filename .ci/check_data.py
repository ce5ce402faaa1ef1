"""Refuse files that look like patient data: `python .ci/check_data.py [FILE ...]`, all tracked files by default.

A file is refused by its content, whatever it is called: an export of a device or program that `t1djax.io` reads, a
table or list of records with glucose columns, rows of times with numbers that behave like glucose, and tables in
binary formats. Archives are opened. Pictures and PDF are not looked into.
"""

import argparse
import datetime as dt
import fnmatch
import gzip
import io
import re
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

ALLOWED: Mapping[str, str] = {
    "tests/archives/*.zip": "results of an earlier version on a made-up person; tests/archives/make.py simulates them",
    "benchmarks/recorded/*.json": "seconds and errors of benchmarks on simulated patients; no readings",
}
"""Files that may look like patient data, by a pattern of their path from the root, with the reason."""

TABLES = {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".txt"}
BINARY_TABLES = {".xlsx", ".xls", ".ods", ".parquet", ".feather", ".h5", ".hdf5", ".sqlite", ".db", ".sas7bdat", ".npz"}
MAGIC = (b"SQLite format 3\0", b"PAR1", b"\x89HDF", b"ARROW1", b"FEA1", b"\xd0\xcf\x11\xe0", b"\x93NUMPY")
"""First bytes of SQLite, Parquet, HDF5, Arrow, Feather, older Excel and NumPy."""
GLUCOSE = re.compile(rb"glucose|\bsgv\b|\bcgm\b|glycaemia|glycemia|mmol/l|mg/dl|mg_dl|\bbg\b", re.IGNORECASE)
PERSON = re.compile(rb"hba1c|\ba1c\b|date.of.birth|birth.?date|\bdob\b|medical.record|patient.?name", re.IGNORECASE)
HEAD_BYTES = 65_536
MOST_BYTES = 64 * 2**20
DEPTH = 3
"""Archives within archives are opened so deep."""
READINGS = 12
"""An hour at five minutes; fewer rows may stand in a test or a manual."""
_SOURCE = {".py", ".pyi", ".md", ".rst", ".toml", ".yaml", ".yml", ".tf", ".hcl", ".sh", ".cff", ".lock"}
_DELIMITER = re.compile(r"[,;\t|]")
_NUMBER = re.compile(r"\d{1,3}([.,]\d{1,6})?")
_EPOCH = re.compile(r"1\d{9}(\d{3})?")
_ISO = re.compile(r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAY_FIRST = re.compile(
    r"(\d{1,2})[-/. ](\d{1,2}|[A-Za-z]{3})[-/. ](\d{2,4})[ T](\d{1,2}):(\d\d)(?::(\d\d))?( ?[AaPp][Mm])?"
)
_OUTSIDE = "keep data outside the repository"


def looks_like_patient_data(path: Path) -> str | None:
    """Why a file is refused, or nothing."""
    if path.stat().st_size > MOST_BYTES:
        return f"more than {MOST_BYTES // 2**20} MiB cannot be checked; {_OUTSIDE}"
    return why_refused(path.name, path.read_bytes())


def why_refused(name: str, content: bytes, depth: int = 0) -> str | None:
    """Why content under a name is refused, or nothing."""
    suffix = Path(name).suffix.lower()
    if suffix in BINARY_TABLES or content.startswith(MAGIC):
        return f"a table in a binary format; {_OUTSIDE}"
    if content[:2] == b"PK" or content[:2] == b"\x1f\x8b" or content[257:262] == b"ustar":
        return _in_archive(name, content, depth)
    if suffix in TABLES and GLUCOSE.search(content[:HEAD_BYTES]):
        return f"it has glucose columns; {_OUTSIDE}, or list it in .ci/check_data.py if simulated"
    if suffix in TABLES and PERSON.search(content[:HEAD_BYTES]):
        return f"it describes a person; {_OUTSIDE}"
    text = _text(content)
    if text is None:
        return None
    if suffix not in _SOURCE and (kinds := _exports(text, name)):
        return f"an export that t1djax reads as {' or '.join(kinds)}; {_OUTSIDE}"
    if has_readings(text):
        return f"rows of times with numbers that behave like glucose; {_OUTSIDE}"
    return None


def _text(content: bytes) -> str | None:
    """The content as text; None where it is none."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return None if "\0" in text[:HEAD_BYTES] else text


def _exports(text: str, name: str) -> tuple[str, ...]:
    """Names of the formats whose reader knows the text."""
    from t1djax.io.formats import recognised  # noqa: PLC0415 - seconds, and only where there is a text

    return tuple(kind.name for kind in recognised(text, name))


def _in_archive(name: str, content: bytes, depth: int) -> str | None:
    if depth == DEPTH:
        return f"archives in archives; {_OUTSIDE}"
    try:
        for member, inside in _members(name, content):
            if reason := why_refused(member, inside, depth + 1):
                return f"in it, {member}: {reason}"
    except (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, RuntimeError, zlib.error) as error:
        return f"an archive that cannot be opened ({error}) cannot be checked; {_OUTSIDE}"
    return None


def _members(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an archive, of which no more than the limit is unpacked."""
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(info.file_size for info in archive.infolist()) > MOST_BYTES:
                raise OSError("it unpacks to too much")
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, archive.read(info)
        return
    if content[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            inside = packed.read(MOST_BYTES + 1)
        if len(inside) > MOST_BYTES:
            raise OSError("it unpacks to too much")
        yield Path(name).stem, inside
        return
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for entry in archive:
            if entry.isfile() and (stream := archive.extractfile(entry)):
                yield entry.name, stream.read()


# Rows of readings, by whoever wrote them


def has_readings(text: str) -> bool:
    """Whether an hour of rows or more stand minutes apart, with a number that moves as glucose does."""
    rows: list[tuple[float, list[float | None]]] = []
    for line in text.splitlines():
        row = _row(line)
        if row is None or (rows and len(row[1]) != len(rows[-1][1])):
            if _like_glucose(rows):
                return True
            rows = []
        if row is not None:
            rows.append(row)
    return _like_glucose(rows)


def _row(line: str) -> tuple[float, list[float | None]] | None:
    """The time of a line, min, and the numbers in its other cells."""
    if len(line) > 2000:
        return None
    cells = [cell.strip(" \"'[](){}\r") for cell in _DELIMITER.split(line)]
    when = next((time for cell in cells if (time := _minutes(cell)) is not None), None)
    if when is None or len(cells) < 2:
        return None
    return when, [float(cell.replace(",", ".")) if _NUMBER.fullmatch(cell) else None for cell in cells]


def _minutes(cell: str) -> float | None:
    """A time as minutes from some origin; None where the cell holds none."""
    try:
        if match := _ISO.search(cell):
            text = match[0].replace("/", "-")
            return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() / 60
        if match := _DAY_FIRST.search(cell):
            one, two = (_MONTHS.index(part.lower()) + 1 if part.isalpha() else int(part) for part in match.groups()[:2])
            year, hour, minute, second = (int(part or 0) for part in match.groups()[2:6])
            day, month = (two, one) if two > 12 else (one, two)
            hour = hour % 12 + 12 * (match[7].strip().lower() == "pm") if match[7] else hour
            when = dt.datetime(year if year > 99 else 2000 + year, month, day, hour, minute, second, tzinfo=dt.UTC)
            return when.timestamp() / 60
    except ValueError:
        return None
    return float(cell[:10]) / 60 if _EPOCH.fullmatch(cell) else None


def _like_glucose(rows: Sequence[tuple[float, Sequence[float | None]]]) -> bool:
    if len(rows) < READINGS:
        return False
    steps = [abs(b[0] - a[0]) for a, b in pairwise(rows)]
    if not 0.9 <= median(steps) <= 16:
        return False
    return any(_moves_like_glucose([row[1][i] for row in rows]) for i in range(len(rows[0][1])))


def _moves_like_glucose(column: Sequence[float | None]) -> bool:
    values = [value for value in column if value is not None]
    if len(values) < READINGS or len(set(values)) < 4:
        return False
    moves = median(abs(b - a) for a, b in pairwise(values))
    in_mg_dL = min(values) >= 20 and max(values) <= 600 and max(values) >= 60 and moves <= 25
    in_mmol_L = min(values) >= 1 and max(values) <= 34 and moves <= 1.5 and any(value % 1 for value in values)
    return in_mg_dL or in_mmol_L


def allowed(path: Path) -> bool:
    """Whether the list of exceptions names the file."""
    return any(fnmatch.fnmatch(path.as_posix(), pattern) for pattern in ALLOWED)


def main() -> int:
    """Print each refused file; 1 if there is any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    files = parser.parse_args().files
    if not files:
        listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
        files = [Path(name) for name in listed.split("\0") if name]
    refused = 0
    for path in files:
        if not path.is_file() or allowed(path):
            continue
        if reason := looks_like_patient_data(path):
            refused += 1
            print(f"{path}: {reason}")
    print(f"{len(files)} files looked at, {refused} refused")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
