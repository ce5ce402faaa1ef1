"""What a step of reading has to say beside its value: problems, warnings, notes, and facts for the report."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool

from ._checks import SHOWN, Flaw


@dataclasses.dataclass
class Remarks:
    """Remarks of one step; `+=` adds those of another."""

    problems: list[Flaw] = dataclasses.field(default_factory=list)
    """Why a file is refused."""
    warnings: list[str] = dataclasses.field(default_factory=list)
    """What may be wrong."""
    notes: list[str] = dataclasses.field(default_factory=list)
    """What is worth knowing."""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of `ReadReport` by name."""

    def __iadd__(self, other: "Remarks") -> "Remarks":
        self.problems += other.problems
        self.warnings += other.warnings
        self.notes += other.notes
        self.facts |= other.facts
        return self

    def problem(self, file: str, what: str, mend: str, *, column: str | None = None, row: Any = None) -> None:
        """One problem at one place."""
        self.problems.append(Flaw(file, column, () if row is None else (row,), (what,), mend))

    def of_rows(
        self, file: str, column: str, bad: Bool[np.ndarray, " n"], where: np.ndarray, what: str, mend: str
    ) -> None:
        """One problem of the marked rows, where there are any."""
        if bad.any():
            rows = tuple(where[bad].tolist())
            self.problems.append(Flaw(file, column, rows, (what,) * min(SHOWN, len(rows)), mend))
