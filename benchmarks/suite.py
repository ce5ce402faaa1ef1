"""All benchmarks in turn, each in a process of its own; what is complete already is left out."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

from .compare import read
from .report import ERRORS, progress

Suite = Literal["quick", "full"]


PATIENCE_S = 5.0
"""What a part that is told to end may take before it is killed."""


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
    Part("devices"),
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
    """Whether a report ran to its end with what is installed now, and none of its rows is to be tried again."""
    try:
        found = read(path)
    except ValueError:  # none, or half of one
        return False
    versions = found.get("versions") or {}
    current = all(versions.get(name) == version(name) for name in ("t1djax", "jax"))
    return bool(found.get("complete")) and current and all(row.get("status") not in ERRORS for row in found["rows"])


def run_to_end(command: Sequence[str]) -> int:
    """Run a command and return its exit status; where this process is told to end, so is all that the command began."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    # A session of its own: what the part started itself is reached through its group.
    process = subprocess.Popen(list(command), start_new_session=True)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            _end(process)
        signal.signal(signal.SIGTERM, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group, and its group."""
    for name in ("SIGTERM", "SIGKILL"):
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, getattr(signal, name))
            else:
                process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)


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
        if run_to_end(command):
            progress(f"{part.command}: failed")
            failed.append(part.command)
    return failed
