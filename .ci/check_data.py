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
import os
import pickletools
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from data_readings import BARE, TIMES, has_raw_numbers, has_readings, like_glucose, parts  # noqa: E402 - beside this file

ROOT = HERE.parent
ALLOWED = HERE / "allowed_data.toml"
"""Files that look like patient data and are none: path, SHA-256, reason."""

TABLES = {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".txt"}
BINARY_TABLES = {
    *(".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".parquet", ".feather", ".arrow", ".arrows", ".orc", ".avro"),
    *(".h5", ".hdf5", ".nc", ".nc4", ".cdf", ".sqlite", ".sqlite3", ".db", ".duckdb", ".mdb", ".accdb"),
    *(".sas7bdat", ".xpt", ".sav", ".zsav", ".por", ".dta", ".rds", ".rda", ".rdata", ".mat"),
    *(".npy", ".npz", ".pkl", ".pickle", ".joblib", ".safetensors"),
}
MAGIC = (b"SQLite format 3\0", b"PAR1", b"\x89HDF", b"ARROW1", b"FEA1", b"\xd0\xcf\x11\xe0", b"\x93NUMPY", b"ORC",
         b"Obj\x01", b"<stata_dta>", b"MATLAB 5", b"RDX", b"$FL2", b"\x80\x02", b"\x80\x03", b"\x80\x04\x95",
         b"\x80\x05\x95", b"CDF\x01", b"CDF\x02", b"CDF\x05", b"RDA2\n", b"RDB2\n", b"RDB3\n", b"$FL3",
         b"HEADER RECORD*******")  # fmt: skip
"""First bytes of SQLite, Parquet, HDF5, Arrow, Feather, older Excel, NumPy, ORC, Avro, Stata, MATLAB, R, SPSS, pickle,
NetCDF and SAS."""
MAGIC_FORMS = re.compile(
    rb".{8}(?:ARRO|DUCK)"  # Arrow in a file of another name, DuckDB
    rb"|[\x66-\x73][\x01\x02]\x01\0"  # Stata before 13
    rb"|\xff{4}..\0\0.\0\0\0"  # a stream of Arrow
    rb"|X\n\0\0\0[\x02\x03]|[AB]\n[23]\n\d{6}\n"  # one object of R
    rb"|.{4}\0{4}\{\s*\"",  # safetensors
    re.DOTALL,
)
"""What the first bytes of other tables look like."""
CLOSED = (b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"LZIP", b"\x1f\x9d")
"""First bytes of what cannot be opened here: 7z, RAR, zstandard, lz4, lzip, compress."""
PICTURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"%PDF-", b"wOF2", b"wOFF")
GLUCOSE = re.compile(
    rb"glucose|\bsgv\b|\bcgm\b|glycaemia|glycemia|mmol/l|mg/dl|mg_dl|\bbg[\"']\s*:\s*[\"']?\d|\A[^\n\[{]*[,;\t]\s*[\"']?bg\b",
    re.IGNORECASE,
)
PERSON = re.compile(
    rb"hba1c|\ba1c\b|date.of.birth|birth.?da(te|y)|\bdob\b|medical.record|patient.?name|geburts.?(datum|tag|jahr)"
    rb"|geb\.?.?datum|patienten.?(name|nummer)|versicherten.?n|sozialversicherungs.?n|date.de.naissance|nom.du.patient"
    rb"|fecha.(de.)?nacimiento|nombre.del.paciente|data.(di.)?nascita|data.de.nascimento|geboorte.?datum",
    re.IGNORECASE,
)
MOST_BYTES = 32 * 2**20
"""A file, or all that is packed in it, is looked at up to here and refused beyond."""
MOST_MEMBERS = 5000
DEPTH = 4
"""Archives within archives are opened so deep."""
_SOURCE = {".py", ".pyi", ".md", ".rst", ".toml", ".yaml", ".yml", ".tf", ".hcl", ".sh", ".cff", ".lock"}
_PLOTLY = re.compile(rb"bdata\\*[\"']\s*:\s*\\*[\"']((?:[A-Za-z0-9+/=]|\\+u002[fF])+)")
"""Arrays within a chart, as Plotly writes them."""
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{40,}={0,2}\s*){3,}(?:[A-Za-z0-9+/]+={0,2})?")
_TROUBLE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
)
_OUTSIDE = "keep data outside the repository"


def looks_like_patient_data(path: Path) -> str | None:
    """Why a file is refused, or nothing."""
    if path.stat().st_size > MOST_BYTES:
        return f"more than {MOST_BYTES // 2**20} MiB cannot be checked; {_OUTSIDE}"
    return why_refused(entry_name(path), path.read_bytes())


def why_refused(name: str, content: bytes, depth: int = 0, budget: list[int] | None = None) -> str | None:
    """Why content under a name is refused, or nothing; `budget` is the bytes that may still be unpacked."""
    budget = [MOST_BYTES] if budget is None else budget
    suffix = Path(name).suffix.lower()
    if suffix in BINARY_TABLES or content.startswith(MAGIC) or MAGIC_FORMS.match(content) or _is_pickle(content):
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
    for found in _PLOTLY.finditer(content):
        inside = _decoded(re.sub(rb"\\+u002f", b"/", found[1], flags=re.IGNORECASE))
        if has_raw_numbers(inside, surely=True):
            return f"a chart of numbers that behave like glucose; {_OUTSIDE}"
    for found in _BASE64.finditer(content):
        if depth < DEPTH and (reason := why_refused("", _decoded(found[0]), depth + 1, budget)):
            return f"in its base64: {reason}"
    text = _text(content)
    if suffix not in _SOURCE and "\0" not in text[:8192] and (kinds := _exports(text, name)):
        return f"an export that t1djax reads as {' or '.join(kinds)}; {_OUTSIDE}"
    if any(has_readings(part) for part in parts(text)):
        return f"rows of times with numbers that behave like glucose; {_OUTSIDE}"
    if has_raw_numbers(content):
        return f"raw numbers that behave like glucose; {_OUTSIDE}"
    return None


def _decoded(encoded: bytes) -> bytes:
    """What base64 holds, one or several after each other; nothing of what is none."""
    pieces = b"".join(encoded.split()).strip(b"\\").split(b"=")
    return b"".join(base64.b64decode(piece + b"=" * (-len(piece) % 4)) for piece in pieces if len(piece) % 4 != 1)


def _is_pickle(content: bytes) -> bool:
    """Whether it is a pickle of any protocol with as much in it as a list of readings; nothing of it is run."""
    try:
        return sum(1 for _ in pickletools.genops(content)) >= BARE
    except (ValueError, IndexError, UnicodeError):
        return False


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
        and not any(isinstance(value, dict) or (isinstance(value, str) and TIMES.search(value)) for value in rows)
        and all(len(value) <= 30 and all(isinstance(x, (int, float)) for x in value) for value in lists)
        and not any(like_glucose(value, 5, most_rough=0.4) for value in lists)
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
    if content.startswith(b"\x1f\x8b"):
        return lambda budget: iter([(inner, _read(gzip.GzipFile(fileobj=stream), budget))])
    if content.startswith(b"BZh"):
        return lambda budget: iter([(inner, _read(bz2.BZ2File(stream), budget))])
    if content.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        return lambda budget: iter([(inner, _read(lzma.LZMAFile(stream), budget))])
    if content[:2] in (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"):
        try:
            inside = zlib.decompressobj().decompress(content, MOST_BYTES + 1)
        except zlib.error:
            return None
        return lambda budget: iter([(inner, _read(io.BytesIO(inside), budget))])
    return None


def _in_archive(
    members: Callable[[list[int]], Iterator[tuple[str, bytes]]], depth: int, budget: list[int]
) -> str | None:
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


def _read(stream: IO[bytes], budget: list[int]) -> bytes:
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
    if entry is None:
        return reason
    if entry["sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
        return f"changed since it was allowed; {reason}"
    return None if len(entry["reason"]) > 20 else f"allowed without a reason; {reason}"


def allow(path: Path, reason: str) -> None:
    """Enter a file into the list of exceptions, in place of an earlier entry."""
    entries = {
        **allowed(),
        entry_name(path): {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "reason": reason},
    }
    fields = ("path", "sha256", "reason")
    blocks = [
        "[[file]]\n" + "".join(f"{field} = {json.dumps({'path': name, **entry}[field])}\n" for field in fields)
        for name, entry in sorted(entries.items())
    ]
    head = (
        "# Files that .ci/check_data.py would refuse; entered by its --allow, asked again when the content changes.\n\n"
    )
    ALLOWED.write_text(head + "\n".join(blocks), encoding="utf-8")


def main() -> int:
    """Print each refused file; 1 if there is any, 2 if a file that was named is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--allow", type=Path, metavar="FILE", help="enter a file into the list of exceptions")
    parser.add_argument("--reason", default="", help="why it is nobody's data")
    parser.add_argument("files", nargs="*", type=Path)
    asked = parser.parse_args()
    if asked.allow is not None:
        if len(asked.reason) <= 20:
            parser.error("--allow needs a --reason of more than twenty characters")
        if not asked.allow.is_file():
            parser.error(f"--allow: there is no file {asked.allow}")
        if Path(entry_name(asked.allow)).is_absolute():
            parser.error(f"--allow: {asked.allow} is outside the repository")
        allow(asked.allow, asked.reason)
        return 0
    files, gone = asked.files, []
    missing = [path for path in files if not path.is_file()]
    if not files:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
        files = [Path(os.path.relpath(ROOT / name)) for name in os.fsdecode(listed).split("\0") if name]
        gone = sorted(set(allowed()) - {entry_name(path) for path in files})
    refused = {path: reason for path in files if path.is_file() and (reason := examine(path))}
    for path, reason in refused.items():
        print(f"{path}: {reason}")
    for name in gone:
        print(f"{name}: allowed in {ALLOWED.name}, but not there")
    for path in missing:
        print(f"{path}: there is no such file")
    print(f"{len(files) - len(missing)} files looked at, {len(refused)} refused")
    return 1 if refused or gone else 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
