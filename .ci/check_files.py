"""Refuse large files and notebooks with outputs: `python .ci/check_files.py [--] [FILE ...]`, by default all in Git."""

import json
import subprocess
import sys
from pathlib import Path

MOST_KIB = 600
"""Pictures of the documentation fit; data and weights belong elsewhere."""


def why_refused(path: Path) -> str | None:
    """Why a file is refused, or nothing."""
    size = path.stat().st_size / 1024
    if size > MOST_KIB:
        return f"{size:.0f} KiB, more than {MOST_KIB}; large files belong to DVC or a release"
    if path.suffix == ".ipynb":
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        except (ValueError, KeyError) as error:
            return f"no notebook that can be read ({error!r})"
        if any(cell.get("outputs") or cell.get("execution_count") or cell.get("attachments") for cell in cells):
            return "a notebook with outputs, which may show a patient; strip it: nbstripout FILE"
    return None


def main() -> int:
    """Print each refused file; 1 if there is any."""
    named = sys.argv[2:] if sys.argv[1:2] == ["--"] else sys.argv[1:]
    if not named:
        listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
        named = [name for name in listed.split("\0") if name]
    refused = [(name, reason) for name in named if Path(name).is_file() and (reason := why_refused(Path(name)))]
    for name, reason in refused:
        print(f"{name}: {reason}")
    print(f"{len(named)} files looked at, {len(refused)} refused")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
