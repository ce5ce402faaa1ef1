"""Two reports of one benchmark: what got slower by more than the noise of their repetitions."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from .report import REPETITIONS, median

LEAST = 0.1
"""A change within this share is none, however still the repetitions were."""
_WORDS = {"status", "why", "note", "verdict", "version"}  # cells that do not say which row it is


@dataclasses.dataclass(frozen=True)
class Change:
    """A row of both reports."""

    row: str
    """Its cells that are words."""
    ratio: float
    """New median over old."""
    noise: float
    """How much of a change the repetitions explain: half the range over the median, of both together."""

    @property
    def slower(self) -> bool:
        """Whether it got slower by more than the noise."""
        return self.ratio > 1 + max(self.noise, LEAST)

    @property
    def faster(self) -> bool:
        """Whether it got faster by more than the noise."""
        return 1 / self.ratio > 1 + max(self.noise, LEAST)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What two reports say of each other."""

    changes: tuple[Change, ...]
    """Rows of both that hold repetitions."""
    lost: tuple[str, ...]
    """Rows that only the old report has, or that failed in the new one alone."""
    warnings: tuple[str, ...]
    """Why the two may not be comparable."""


def compare(old: Path, new: Path) -> Comparison:
    """Match the rows of two JSON reports by their words.

    Raises:
        ValueError: where they are of different benchmarks.
    """
    before, after = (json.loads(path.read_text(encoding="utf-8")) for path in (old, new))
    if before["benchmark"] != after["benchmark"]:
        raise ValueError(f"{old.name} is of {before['benchmark']}, {new.name} of {after['benchmark']}")
    rows, others = ({_name(row): row for row in report["rows"]} for report in (before, after))
    good = lambda row: row.get("status", "ok") == "ok"
    lost = [name for name, row in rows.items() if good(row) and (name not in others or not good(others[name]))]
    both = [(name, row, others[name]) for name, row in rows.items() if name in others]
    changes = [
        _change(name, a[REPETITIONS], b[REPETITIONS])
        for name, a, b in both
        if a.get(REPETITIONS) and b.get(REPETITIONS)
    ]
    warnings = [
        f"{what}: {before.get(what)} before, {after.get(what)} now"
        for what in ("machine", "settings")
        if before.get(what) != after.get(what)
    ]
    return Comparison(tuple(changes), tuple(lost), tuple(warnings))


def _name(row: dict[str, Any]) -> str:
    words = [str(v) for k, v in row.items() if (isinstance(v, str) or k == "patients") and k not in _WORDS]
    return ", ".join(w for w in words if w and not w.startswith("not reached"))


def _change(name: str, old: list[float], new: list[float]) -> Change:
    spread = lambda x: (max(x) - min(x)) / 2 / median(x)
    return Change(name, median(new) / median(old), (spread(old) ** 2 + spread(new) ** 2) ** 0.5)


def told(found: Comparison) -> list[str]:
    """A comparison in lines."""
    lines = [f"note: {warning}" for warning in found.warnings]
    for change in sorted(found.changes, key=lambda c: -c.ratio):
        if change.slower or change.faster:
            word = "slower" if change.slower else "faster"
            times = change.ratio if change.slower else 1 / change.ratio
            lines.append(f"{word}: {change.row}: {times:.2f} x (noise {100 * change.noise:.0f} %)")
    lines += [f"lost: {row}" for row in found.lost]
    same = sum(not (c.slower or c.faster) for c in found.changes)
    return [*lines, f"{len(found.changes)} rows compared, {same} within the noise"]
