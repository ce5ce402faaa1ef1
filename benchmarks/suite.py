"""All benchmarks in turn, each in a process of its own; what is complete already is left out."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from .report import progress

Suite = Literal["quick", "full"]


class Part(NamedTuple):
    """One command of a suite."""

    command: str
    """Its name; with underscores it names its report."""
    full: tuple[str, ...] = ()
    """What the full suite adds."""
    peers: bool = False
    """Whether it asks peers."""


PARTS = (
    Part("startup"),
    Part("simulation", ("--full",), peers=True),
    Part("cohorts", ("--full",), peers=True),
    Part("devices", ("--full",)),
    Part("peers", peers=True),
    Part("bound"),
    Part("accuracy", ("--virtual", "50")),
    Part("parameters"),
    Part("matrix"),
    Part("optimisers"),
    Part("options"),
    Part("coverage"),
    Part("misfit"),
    Part("closed-loop"),
    Part("scale"),
)
"""In the order of a run: what decides first."""


def complete(path: Path) -> bool:
    """Whether a report ran to its end."""
    return path.exists() and bool(json.loads(path.read_text(encoding="utf-8")).get("complete"))


def run(suite: Suite, out: Path, *, envs: Path | None, only: Sequence[str] = ()) -> list[str]:
    """Run the parts that have no complete report in `out/SUITE` yet.

    Returns:
        The parts that failed.

    Raises:
        ValueError: where `only` names no part.
    """
    names = [part.command for part in PARTS]
    strange = sorted(set(only) - set(names))
    if strange:
        raise ValueError(f"no such part: {', '.join(strange)}; there are {', '.join(names)}")
    failed, folder = [], out / suite
    for part in PARTS:
        if only and part.command not in only:
            continue
        if complete(folder / f"{part.command.replace('-', '_')}.json"):
            progress(f"{part.command}: complete, left out")
            continue
        flags = ["--quick"] if suite == "quick" else list(part.full)
        flags += ["--envs", str(envs)] if part.peers and envs is not None else []
        command = [sys.executable, "-m", "benchmarks", part.command, "--out", str(folder), *flags]
        progress(" ".join(command[1:]))
        if subprocess.run(command, check=False).returncode:
            progress(f"{part.command}: failed")
            failed.append(part.command)
    return failed
