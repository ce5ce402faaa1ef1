"""Refuse files that look like patient data: `python .ci/check_data.py [--] [FILE ...]`, all tracked files by default.

Refused are exports that `t1djax.io` reads, tables and records with columns of glucose or of persons, long runs of
numbers that behave like glucose in any text, tables in binary formats, and all of these in archives. It is made against
mistakes, not against somebody who hides readings.

A file that is refused and holds nobody's data is allowed by its name, its content's hash and a reason:
`python .ci/check_data.py --allow FILE --reason "who made it up, and how"`. When the content changes, it asks again.
"""

import argparse
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median, pvariance

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
ALLOWED = ROOT / ".ci" / "allowed_data.toml"
MOST_BYTES, MOST_MEMBERS, DEPTH = 32 * 2**20, 5000, 3
"""A file, or all that is packed in it, is looked at up to here and refused beyond."""
READINGS, BARE = 12, 24
"""Numbers in a row that are readings: beside times or under a name of glucose, and without."""
TABLES = {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".txt"}
SOURCES = {".py", ".pyi", ".md", ".rst", ".toml", ".yaml", ".yml", ".tf", ".hcl", ".sh", ".cff", ".lock"}
BINARY = re.compile(
    r"\.(xls[xmb]?|ods|parquet|feather|arrows?|orc|avro|h5|hdf5|nc|sqlite3?|db|duckdb|mdb|sas7bdat|xpt|sav|dta|rds|rda"
    r"|rdata|mat|np[yz]|pkl|pickle|joblib|safetensors)"
)
MAGIC = (b"SQLite format 3\0", b"PAR1", b"\x89HDF", b"ARROW1", b"FEA1", b"\xd0\xcf\x11\xe0", b"\x93NUMPY", b"ORC",
         b"Obj\x01", b"<stata_dta>", b"MATLAB 5", b"RDX", b"$FL2", b"\x80\x04\x95", b"\x80\x05\x95", b"CDF\x01",
         b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")  # fmt: skip
"""First bytes of tables in binary formats, and of archives that cannot be opened here."""
PICTURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"%PDF-", b"wOF2", b"wOFF")
GLUCOSE = re.compile(
    r"gluc|gluk|glyc|glic|\bsgv\b|\bcgm\b|mmol/l|mg.?/?dl|\bbg[\"']\s*:\s*[\"']?\d|\A[^\n\[{]*[,;\t]\s*[\"']?bg\b", re.I
)
PERSON = re.compile(
    r"hba1c|date.of.birth|birth.?da(te|y)|\bdob\b|medical.record|patient.?name|geburtsdatum|date.de.naissance"
    r"|fecha.(de.)?nacimiento|data.(di.)?nascita|geboorte.?datum", re.I
)  # fmt: skip
OTHER = re.compile(
    r"heart|pulse|bpm|temp|°|humid|pressure|cpu|mem|load|latency|duration|second|(\b|_)m?s(\b|_)|loss|error|step|iter|price"
    r"|speed|power|watt|kw|volt|request|count|byte|co2|percent|%|score|weight|cadence|rain|wind|open|close|ele|lat|lon|colou?r"
    r"|palette|rgb", re.I
)  # fmt: skip
"""Names of columns that are something else."""
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d|\b\d\d?[./-]\d\d?[./-]\d{4})|(?<!\d)\d\d?:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?\b|\b1\d{9}(\d{3})?\b"
    r"|\b(Date|[Dd]ate[Tt]ime|Timestamp|[Tt]ime)\([\d, a-z=]*"
)
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w])")
_FIELD = re.compile(r"([A-Za-z_][\w.-]{0,40})[\"']?\s*[:=]\s*[\"']?(\d+(?:\.\d+)?)(?=[\"']?\s*[,;})\]/>\n])")
_OUTSIDE = "keep data outside the repository"


def looks_like_patient_data(path: Path) -> str | None:
    """Why a file is refused, or nothing."""
    if path.stat().st_size > MOST_BYTES:
        return f"more than {MOST_BYTES // 2**20} MiB cannot be checked; {_OUTSIDE}"
    return why_refused(entry_name(path), path.read_bytes())


def why_refused(name: str, content: bytes, depth: int = 0) -> str | None:
    """Why content under a name is refused, or nothing."""
    suffix = Path(name).suffix.lower()
    if BINARY.fullmatch(suffix) or content.startswith(MAGIC):
        return f"a table in a binary format, or an archive that cannot be opened; {_OUTSIDE}"
    if content.startswith(PICTURES):
        return None
    try:
        for count, (member, inside) in enumerate(unpacked(content)):
            if depth >= DEPTH or count >= MOST_MEMBERS:
                return f"too much in archives to be checked; {_OUTSIDE}"
            if reason := why_refused(member or Path(name).stem, inside, depth + 1):
                return f"in it, {member}: {reason}"
    except Exception as e:  # damaged, encrypted or too large
        return f"an archive that cannot be opened ({e}); {_OUTSIDE}"
    text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace").lstrip(
        "\ufeff"
    )
    recorded = name.startswith("benchmarks/recorded/")
    if suffix in TABLES and GLUCOSE.search(text) and not (recorded and is_benchmark(text)):
        return f"it has glucose columns; {_OUTSIDE}, or allow it (CONTRIBUTING.md) if simulated"
    if suffix in TABLES and PERSON.search(text):
        return f"it describes a person; {_OUTSIDE}"
    if suffix not in SOURCES and "\0" not in text[:8192] and (kinds := exports(text, name)):
        return f"an export that t1djax reads as {' or '.join(kinds)}; {_OUTSIDE}"
    timed = len(_TIME.findall(text)) >= READINGS
    text = text.replace('\\"', '"').replace("\\n", "\n").replace("&quot;", '"')
    for column, values in columns(re.sub(r"([\])}])\s*,\s*(?=[\[({])", r"\1\n", text)):
        named = bool(GLUCOSE.search(column))
        least = READINGS + 1 if named else READINGS if timed else BARE
        runs = [values[i : i + BARE] for i in range(0, max(len(values) - READINGS, 1), READINGS)]
        if (named or not OTHER.search(column)) and any(len(run) >= least and like_glucose(run) for run in runs):
            return f"numbers that behave like glucose{f' ({column})' if column else ''}; {_OUTSIDE}"
    return None


def unpacked(content: bytes) -> Iterator[tuple[str, bytes]]:
    """What is packed in content, with its names.

    Raises:
        Exception: where it is damaged, or unpacks to too much.
    """
    left = MOST_BYTES

    def read(stream: object) -> bytes:
        nonlocal left
        found: bytes = stream.read(left + 1)  # pyright: ignore[reportAttributeAccessIssue]
        left -= len(found)
        if left < 0:
            raise OSError("it unpacks to too much")
        return found

    stream = io.BytesIO(content)
    if content.startswith(b"PK"):
        with zipfile.ZipFile(stream) as archive:
            if any(re.match(r"xl/|mimetype$|content\.xml$", name) for name in archive.namelist()):
                yield "spreadsheet.xlsx", b""
            yield from ((info.filename, read(archive.open(info))) for info in archive.infolist() if not info.is_dir())
    elif content[257:262] == b"ustar":
        with tarfile.open(fileobj=stream) as archive:
            yield from ((entry.name, read(archive.extractfile(entry))) for entry in archive if entry.isfile())
    for start, opened in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if content.startswith(start):
            yield "", read(opened(stream))


def exports(text: str, name: str) -> tuple[str, ...]:
    """Names of the formats whose reader knows the text."""
    from t1djax.io.formats import recognised  # noqa: PLC0415 - seconds, and only where there is a text

    return tuple(kind.name for kind in recognised(text))


def is_benchmark(text: str) -> bool:
    """Whether it is what `python -m benchmarks` writes."""
    try:
        return {"benchmark", "machine", "versions", "command", "rows"} <= set(json.loads(text))
    except (ValueError, TypeError):
        return False


def columns(text: str) -> Iterator[tuple[str, list[float]]]:
    """Numbers that belong together, with the name they have: fields, columns of rows, and lists in a line."""
    fields: dict[str, list[float]] = defaultdict(list)
    for found in _FIELD.finditer(text + "\n"):
        fields[found[1]].append(float(found[2]))
    yield from fields.items()
    rows: list[list[float]] = []
    header = last = ""
    for line in [*text.splitlines(), "end"]:
        bare = _TIME.sub(" ", line)
        bare = re.sub(r"(?<=\d),(?=\d{1,2}\b)", ".", bare) if ";" in line or "\t" in line else bare
        numbers = [float(x) for x in _NUMBER.findall(re.sub(r"\b(None|null|nan|NaN|NA)\b", " ", bare))]
        if len(numbers) >= READINGS:
            yield line[: line.find("[")] if "[" in line else line[:40], numbers
        gap = not line.strip() or (not numbers and _TIME.search(line))
        if rows and not gap and len(numbers) != len(rows[0]):
            yield from columns_of(header, rows)
            rows = []
        if 1 <= len(numbers) < READINGS:
            header = header if rows else f"{last}\n{line}"
            rows.append(numbers)
        last = line if line.strip(" |-:+") else last


def columns_of(header: str, rows: Sequence[Sequence[float]]) -> Iterator[tuple[str, list[float]]]:
    """The columns of rows, called by the cells of the line above them; by both lines where those are not as many."""
    above = [cell for cell in re.split(r"[,;\t|]", header.partition("\n")[0]) if cell.strip()]
    cells = [cell for cell in above if not (re.search(r"time|date|when|zeit", cell, re.I) or _TIME.search(cell))]
    for i, column in enumerate(zip(*rows, strict=True)):
        yield cells[i] if len(cells) == len(rows[0]) else header[:120].strip(), list(column)


def like_glucose(values: Sequence[float]) -> bool:
    """Whether numbers lie where glucose does, mg/dL or mmol/L, and move as slowly and smoothly; no straight line."""
    kept = [value for value in values if 1 <= value <= 600]
    if len(kept) < 0.9 * len(values) or len(set(kept)) < 4:
        return False
    low, high = min(kept), max(kept)
    mg_dL = low >= 20 and high >= 60
    mmol_L = high <= 34 and any(value % 1 for value in kept) and not (low >= 15 and high - low < 8)
    moves = [b - a for a, b in pairwise(kept)]
    if not (mg_dL or mmol_L) or median(map(abs, moves)) > 16 / (1 if mg_dL else 18):
        return False
    rough = fmean(move * move for move in moves) / (pvariance(kept) or 1.0)
    one_way = all(move >= 0 for move in moves) or all(move <= 0 for move in moves)
    return rough <= 0.8 and not one_way and pvariance(moves) > 0.02 * fmean(moves) ** 2


# Exceptions, and the command


def entry_name(path: Path) -> str:
    """A file's path from the root of the repository, wherever the command runs; the whole path outside of it."""
    whole = path.parent.resolve() / path.name
    return (whole.relative_to(ROOT) if whole.is_relative_to(ROOT) else whole).as_posix()


def allowed() -> Mapping[str, Mapping[str, str]]:
    """The list of exceptions by path."""
    entries = tomllib.loads(ALLOWED.read_text(encoding="utf-8")).get("file", []) if ALLOWED.is_file() else []
    return {entry["path"]: entry for entry in entries}


def examine(path: Path) -> str | None:
    """Why a file is refused, or nothing, also where the list of exceptions has it with this very content."""
    reason = looks_like_patient_data(path)
    entry = allowed().get(entry_name(path)) if reason else None
    if entry is None or entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest():
        return None if entry else reason
    return f"changed since it was allowed; {reason}"


def allow(path: Path, reason: str) -> None:
    """Enter a file into the list of exceptions, in place of an earlier entry."""
    entry = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "reason": reason}
    entries = {**allowed(), entry_name(path): entry}
    text = (
        "# Files that .ci/check_data.py would refuse; entered by its --allow, asked again when the content changes.\n"
    )
    for name, each in sorted(entries.items()):
        fields = {"path": name, **each}
        text += "\n[[file]]\n" + "".join(f"{key} = {json.dumps(fields[key])}\n" for key in ("path", "sha256", "reason"))
    ALLOWED.write_text(text, encoding="utf-8")


def main() -> int:
    """Print each refused file; 1 if there is any, 2 if a file that was named is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--allow", type=Path, metavar="FILE", help="enter a file into the list of exceptions")
    parser.add_argument("--reason", default="", help="why it is nobody's data")
    parser.add_argument("files", nargs="*", type=Path)
    asked = parser.parse_args()
    if asked.allow is not None:
        if len(asked.reason) <= 20 or not asked.allow.is_file() or Path(entry_name(asked.allow)).is_absolute():
            parser.error("--allow needs a file of the repository and a --reason of more than twenty characters")
        allow(asked.allow, asked.reason)
        return 0
    files, gone = asked.files, []
    if not files:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
        files = [Path(os.path.relpath(ROOT / name)) for name in os.fsdecode(listed).split("\0") if name]
        gone = sorted(set(allowed()) - {entry_name(path) for path in files})
    missing = [path for path in files if not path.is_file()]
    refused = {path: reason for path in files if path.is_file() and (reason := examine(path))}
    said = {
        **refused,
        **dict.fromkeys(gone, "allowed, but not there"),
        **dict.fromkeys(missing, "there is no such file"),
    }
    for name, reason in said.items():
        print(f"{name}: {reason}")
    print(f"{len(files) - len(missing)} files looked at, {len(refused)} refused")
    return 1 if refused or gone else 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
