"""Tables that grow row by row: Markdown to read, JSON to compare, both with what they were measured on."""

import dataclasses
import datetime as dt
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

PACKAGES = ("t1djax", "jax", "jaxlib", "equinox", "optax", "optimistix", "numpy", "scipy")
"""Packages whose versions a report states."""
REPETITIONS = "seconds each"
"""The column that holds the seconds of every repetition."""
PER_PATIENT = "seconds of each patient"
"""The column that holds what each patient took a system that takes one after the other: no repetitions."""
ERRORS = ("not installed", "failed", "timed out")
"""What stands as `status` where there are no numbers; it is tried again."""
_stderr = Console(stderr=True, highlight=False)


def progress(text: str) -> None:
    """One line on the error stream."""
    _stderr.print(f"{dt.datetime.now():%H:%M:%S} {text}", markup=False, soft_wrap=True)


def surroundings() -> dict[str, Any]:
    """The machine without its name, the versions, and the date."""
    import jax  # noqa: PLC0415 - asking for devices starts the backend, so only when a report is made

    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": dt.date.today().isoformat(),
        "machine": f"{cores} cores, {platform.machine()}, {device.platform}: {device.device_kind}",
        "load_at_start": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "command": " ".join(["python -m benchmarks", *_without_folders(sys.argv[1:])]),
    }


def _without_folders(words: Sequence[str]) -> list[str]:
    """A command's words but for the options that name folders of the machine."""
    names = ("--out", "--envs")
    return [
        word
        for before, word in zip(["", *words], words, strict=False)
        if before not in names and word.partition("=")[0] not in names
    ]


@dataclasses.dataclass
class Report:
    """One benchmark's table. Every row that is added is on disk before the next one starts.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = Report("demo", "A demonstration", Path(folder), {"seeds": [0]})
        ...     report.add({"model": "ode", "ksi worst, %": 0.123456})
        ...     print((Path(folder) / "demo.md").read_text().splitlines()[-1])
        | ode | 0.123 |
    """

    name: str
    """Name of the two files."""
    title: str
    """What the table shows, in a sentence without its full stop."""
    out: Path
    """The folder for the two files."""
    settings: Mapping[str, Any]
    """What the run was asked for: seeds, patients, sizes."""
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """The rows so far; keys are the column heads."""
    notes: list[str] = dataclasses.field(default_factory=list)
    """Lines under the table."""
    about: dict[str, Any] = dataclasses.field(default_factory=surroundings)
    """Machine, versions and date."""
    complete: bool = False
    """Whether the run came to its end."""

    def resume(self) -> "Report":
        """Take over the rows of an earlier run that was asked for the same and has the same versions."""
        if self.rows or self.notes:
            raise ValueError("resume before anything is written: the first line replaces the earlier report")
        path = self.out / f"{self.name}.json"
        if path.exists():
            old = json.loads(path.read_text(encoding="utf-8"))
            same = old["settings"] == json.loads(json.dumps(dict(self.settings)))
            if same and old["versions"] == self.about.get("versions"):
                # What is missing, failed or was stopped from outside is tried again.
                self.rows = [row for row in old["rows"] if row.get("status", "ok") not in ERRORS]
                self.notes = old["notes"]
        return self

    def find(self, **cells: object) -> dict[str, Any] | None:
        """The row with these cells, words or numbers."""
        same = lambda row: all(row.get(head) == value for head, value in cells.items())
        return next((row for row in self.rows if same(row)), None)

    def has(self, **cells: object) -> bool:
        """Whether a row with these cells is there."""
        return self.find(**cells) is not None

    def drop(self, **cells: object) -> None:
        """Leave out the rows with these cells, to be measured again."""
        while (row := self.find(**cells)) is not None:
            self.rows.remove(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row, write both files, and say so."""
        self.rows.append(dict(row))
        self.write()
        progress(f"{self.name}: " + ", ".join(f"{head} {cell(value)}" for head, value in row.items() if value != ""))

    def note(self, line: str, *, instead: str | None = None) -> None:
        """Add a line under the table, once; in place of those that start with `instead`, from before a resumption."""
        if instead is not None:
            self.notes = [old for old in self.notes if not old.startswith(instead)]
        if line not in self.notes:
            self.notes.append(line)
        self.write()

    def finish(self) -> None:
        """Say in the files that nothing is missing."""
        self.complete = True
        self.write()

    def write(self) -> None:
        """Both files, whole: a reader never meets half a table."""
        self.out.mkdir(parents=True, exist_ok=True)
        content = {"benchmark": self.name, "title": self.title, **self.about, "settings": dict(self.settings)}
        content |= {"rows": [{k: _plain(v) for k, v in row.items()} for row in self.rows], "notes": self.notes}
        content["complete"] = self.complete
        _replace(self.out / f"{self.name}.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
        _replace(self.out / f"{self.name}.md", self.markdown())

    def markdown(self) -> str:
        """The table with its heading, its notes before it."""
        machine = f"{self.about['machine']}; {self.about['date']}"
        parts = [f"# {self.title}", machine, *self.notes, markdown_table(self.rows)]
        return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """A table of every column that any row has."""
    heads = list(dict.fromkeys(head for row in rows for head in row))
    lines = [heads, ["---"] * len(heads), *([cell(row.get(head)) for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def median(values: Iterable[float]) -> float:
    """The middle of several repetitions."""
    return float(statistics.median(values))


def cell(value: object) -> str:
    """Three significant digits; nothing where there is no number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list):
        return ", ".join(cell(x) for x in value)
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _plain(value: Any) -> Any:
    """A value that strict JSON can hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _replace(path: Path, text: str) -> None:
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
