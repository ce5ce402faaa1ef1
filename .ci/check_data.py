"""Refuse files that look like patient data: `python .ci/check_data.py [FILE ...]`, all tracked files by default."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ALLOWED: frozenset[str] = frozenset()
"""Files that may hold glucose columns, by path from the root: made by simulation, with the seed beside them."""

TABLES = {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".txt"}
BINARY_TABLES = {".xlsx", ".xls", ".ods", ".parquet", ".feather", ".h5", ".hdf5", ".sqlite", ".db", ".sas7bdat", ".npz"}
GLUCOSE = re.compile(rb"glucose|\bsgv\b|\bcgm\b|glycaemia|glycemia|mmol/l|mg/dl|mg_dl|\bbg\b", re.IGNORECASE)
HEAD_BYTES = 65_536


def looks_like_patient_data(path: Path) -> str | None:
    """Why a file is refused, or nothing."""
    suffix = path.suffix.lower()
    if suffix in BINARY_TABLES:
        return "a table in a binary format; keep data outside the repository"
    if suffix in TABLES and GLUCOSE.search(path.read_bytes()[:HEAD_BYTES]):
        return "it has glucose columns; keep data outside the repository, or list it in .ci/check_data.py if simulated"
    return None


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
        if not path.is_file() or path.as_posix() in ALLOWED:
            continue
        if reason := looks_like_patient_data(path):
            refused += 1
            print(f"{path}: {reason}")
    print(f"{len(files)} files looked at, {refused} refused")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
