"""Two reports of one benchmark: what got slower by more than the noise of their repetitions, worse, or lost."""

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .report import ERRORS, REPETITIONS, median

LEAST = 0.1
"""A change within this share is none, however still the repetitions were."""
FEWEST = 2
"""Repetitions that a row needs in both reports; with fewer its noise is unknown."""
NUMBERS = (
    *("patients", "people", "seeds", "days", "devices", "processes", "draws", "members"),
    *("disturbance sd, mg/dL/min", "gain, U/h per mg/dL"),
)
"""Numbers that say which row it is, as words do."""
_RESULTS = {"status", "why", "note", "verdict", "version", "limited by"}  # words that do not say which row it is
_MEASURED = re.compile(r"(not reached.*|[-+]?\d[-+\d.eE\s,/]*( to [-+\d.eE]+)?)?")
_VERDICTS = ("aim", "pass", "FAIL")  # from good to bad
# Small samples: the factor that makes the median absolute deviation estimate a normal's standard deviation
# (Croux and Rousseeuw 1992).
_FACTORS = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}


@dataclasses.dataclass(frozen=True)
class Change:
    """A row of both reports."""

    row: str
    """Its name: the cells that are words, and the numbers of `NUMBERS`."""
    ratio: float
    """New median over old."""
    noise: float
    """How much of a change the repetitions explain: `spread` of both together."""

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

    changes: tuple[Change, ...] = ()
    """Rows whose seconds are judged."""
    lost: tuple[str, ...] = ()
    """Rows that only the old report has, or that have no repetitions any more."""
    warnings: tuple[str, ...] = ()
    """Why the two may not be comparable."""
    worse: tuple[str, ...] = ()
    """Rows whose verdict or status got worse, with both."""
    not_judged: tuple[str, ...] = ()
    """Rows of both whose seconds have too few repetitions."""
    checked: int = 0
    """Rows of both of which anything is judged: seconds, verdict or a status that got worse."""

    @property
    def bad(self) -> bool:
        """Whether anything is slower, worse or lost."""
        return bool(self.lost or self.worse or any(change.slower for change in self.changes))


def compare(old: Path, new: Path) -> Comparison:
    """Match the rows of two JSON reports by their names.

    Raises:
        ValueError: where a file is no report, or they are of different benchmarks.
    """
    before, after = read(old), read(new)
    if before["benchmark"] != after["benchmark"]:
        raise ValueError(f"{old} is of {before['benchmark']}, {new} of {after['benchmark']}")
    rows, others = named(before["rows"]), named(after["rows"])
    changes, lost, worse, few, checked = [], [], [], [], 0
    for name, row in rows.items():
        if name not in others:
            if _standing(row) < 2:
                lost.append(name)
            continue
        other = others[name]
        found = _worse(name, row, other)
        worse += found
        a, b = repetitions(row), repetitions(other)
        timed = min(len(a), len(b)) >= FEWEST
        if timed:
            changes.append(Change(name, median(b) / median(a), math.hypot(spread(a), spread(b))))
        elif a and b:
            few.append(name)
        elif a and not found:
            lost.append(f"{name} (no repetitions now)")
        checked += bool(timed or found or all(r.get("verdict") in _VERDICTS for r in (row, other)))
    return Comparison(tuple(changes), tuple(lost), _differences(before, after), tuple(worse), tuple(few), checked)


def read(path: Path) -> dict[str, Any]:
    """A report, once it is clear that it is one.

    Raises:
        ValueError: where it is none, with its name.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from None
    rows = found.get("rows") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not isinstance(found.get("benchmark"), str):
        raise ValueError(f"{path} is no report of a benchmark: it has no name and rows")
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{path} is no report of a benchmark: {row!r} is no row")
        each = row.get(REPETITIONS)
        if each is not None and not (isinstance(each, list) and all(_seconds(x) for x in each)):
            raise ValueError(f"{path}, row {name_of(row)!r}: {REPETITIONS!r} must be seconds above zero, not {each!r}")
    return found


def _seconds(x: object) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and 1e-12 <= x <= 1e12


def name_of(row: dict[str, Any]) -> str:
    """The cells that say which row it is."""
    words = []
    for head, value in row.items():
        if isinstance(value, str):
            if head not in _RESULTS and not _MEASURED.fullmatch(value):
                words.append(value)
        elif head in NUMBERS and value is not None:
            words.append(f"{value:g} {head}" if isinstance(value, (int, float)) else f"{head} {value}")
    return ", ".join(words)


def named(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows by name; a name that comes again is numbered, in the order of the report."""
    found, times = {}, Counter[str]()
    for row in rows:
        name = name_of(row)
        times[name] += 1
        found[name if times[name] == 1 else f"{name} ({times[name]})"] = row
    return found


def repetitions(row: dict[str, Any]) -> list[float]:
    """Seconds of each repetition; none where the list is of patients, as older reports have it in rows of peers."""
    return [] if "version" in row else row.get(REPETITIONS) or []


def spread(seconds: Sequence[float]) -> float:
    """Standard deviation over the median, from the median absolute deviation: one outlier of three does not count."""
    middle, n = median(seconds), len(seconds)
    return 1.4826 * _FACTORS.get(n, n / (n - 0.8)) * median(abs(x - middle) for x in seconds) / middle


def _standing(row: dict[str, Any]) -> int:
    """0 for a good row, 2 for one that has an error in place of numbers, 1 for what is between."""
    status = row.get("status", "ok")
    return 0 if status == "ok" else 2 if status in ERRORS else 1


def _worse(name: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    if _standing(new) > _standing(old):
        why = f" ({new['why']})" if new.get("why") else ""
        return [f"{name}: {old.get('status', 'ok')} before, {new['status']} now{why}"]
    a, b = old.get("verdict"), new.get("verdict")
    if a in _VERDICTS and b in _VERDICTS and _VERDICTS.index(b) > _VERDICTS.index(a):
        return [f"{name}: {a} before, {b} now"]
    return []


def _differences(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """What the reports were measured on, where it differs; of settings the names alone."""
    found = []
    if before.get("machine") != after.get("machine"):
        found.append(f"machine: {before.get('machine')} before, {after.get('machine')} now")
    for what in ("versions", "settings"):
        a, b = ((report.get(what) if isinstance(report.get(what), dict) else {}) or {} for report in (before, after))
        keys = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
        if keys:
            found.append(f"{what} differ: {', '.join(keys)}")
    return tuple(found)


def told(found: Comparison) -> list[str]:
    """A comparison in lines."""
    lines = [f"note: {warning}" for warning in found.warnings]
    for change in sorted(found.changes, key=lambda c: -c.ratio):
        if change.slower or change.faster:
            word = "slower" if change.slower else "faster"
            times = change.ratio if change.slower else 1 / change.ratio
            lines.append(f"{word}: {change.row}: {times:.2f} x (noise {100 * change.noise:.0f} %)")
    lines += [f"worse: {row}" for row in found.worse]
    lines += [f"lost: {row}" for row in found.lost]
    lines += [f"not judged: {row}: fewer than {FEWEST} repetitions" for row in found.not_judged]
    same = sum(not (c.slower or c.faster) for c in found.changes)
    return [*lines, f"{found.checked} rows compared, {len(found.changes)} by seconds, {same} of them within the noise"]
