"""Steps of reading: each returns its value, and yields what there is to remark beside it.

`value = yield from step(...)` passes the remarks on, `value, remarks = finished(step(...))` gives both. No step changes
what it is given.
"""

import dataclasses
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool

SHOWN = 5
"""Rows printed of each kind of problem."""


class DataWarning(UserWarning):
    """Something odd in a file that is nevertheless read."""


@dataclasses.dataclass(frozen=True)
class Flaw:
    """One kind of thing wrong in one place, with all the rows that have it.

    Example:
        >>> from t1djax.io import Flaw
        >>> print(Flaw("Pat2.csv", "bolus_U", (7,), ("'-3' is negative",), "write a positive dose"))
        Pat2.csv, row 7, column bolus_U: '-3' is negative; write a positive dose
    """

    file: str
    """The file, or the name of the frame."""
    column: str | None
    """The column, where there is one."""
    rows: Sequence[Any]
    """Rows as an editor numbers the lines (the header is 1), labels of the frame's index, or numbers of records of
    JSON; may be empty."""
    what: Sequence[str]
    """What is wrong: one text for each of the first few rows, or one for all."""
    remedy: str
    """What to do about it."""
    unit: str = "row"
    """What is numbered: a row, a line, or a record."""

    @property
    def mend(self) -> str:
        """The former name of `remedy`, until 0.3."""
        warnings.warn("Flaw.mend is Flaw.remedy now", DeprecationWarning, stacklevel=2)
        return self.remedy

    def __str__(self) -> str:
        place = f", column {self.column}" if self.column else ""
        what = self.what[0]
        if len(self.rows) > 1:
            first = ", ".join(map(str, self.rows[:SHOWN])) + ", ..." * (len(self.rows) > SHOWN)
            return f"{self.file}, {len(self.rows)} {self.unit}s ({first}){place}: {what}; {self.remedy}"
        return f"{self.file}{''.join(f', {self.unit} {row}' for row in self.rows)}{place}: {what}; {self.remedy}"


class DataError(ValueError):
    """A file cannot be read as it stands. The message lists everything wrong with it.

    Example:
        >>> from t1djax.io import DataError, read_patient
        >>> try:
        ...     read_patient("nowhere.csv")
        ... except DataError as error:
        ...     print(error)
        nowhere.csv: there is no such file; check the path
    """

    def __init__(self, problems: Iterable[Flaw]) -> None:
        """An error that tells of all of them at once.

        Args:
            problems: what is wrong, each with its file, row and column.
        """
        self.problems = tuple(problems)
        """Every problem found."""
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return DataError, (self.problems,)


class Doubt(NamedTuple):
    """What may be wrong: a warning of the report."""

    text: str


class Note(NamedTuple):
    """What is worth knowing."""

    text: str


class Facts(dict[str, Any]):
    """Fields of `ReadReport` by name."""


Remark = Flaw | Doubt | Note | Facts
T = TypeVar("T")
Step = Generator[Remark, None, T]
"""A step whose value is a T."""


@dataclasses.dataclass
class Remarks:
    """What steps remarked on."""

    problems: list[Flaw] = dataclasses.field(default_factory=list)
    """Why a file is refused."""
    warnings: list[str] = dataclasses.field(default_factory=list)
    """What may be wrong."""
    notes: list[str] = dataclasses.field(default_factory=list)
    """What is worth knowing."""
    facts: Facts = dataclasses.field(default_factory=Facts)
    """Fields of `ReadReport`."""

    def __iter__(self) -> Iterator[Remark]:
        yield from self.problems
        yield from map(Doubt, self.warnings)
        yield from map(Note, self.notes)
        yield self.facts


def finished(step: Step[T]) -> tuple[T, Remarks]:
    """The value of a step, and what was remarked on; flaws of one kind in several records are one."""
    out = Remarks()
    places: dict[tuple[Any, ...], int] = {}
    while True:
        try:
            remark = next(step)
        except StopIteration as end:
            return end.value, out
        match remark:
            case Flaw(unit="record" | "line"):
                at = places.setdefault((remark.file, remark.column, remark.remedy), len(out.problems))
                if at == len(out.problems):
                    out.problems.append(dataclasses.replace(remark, rows=[]))
                rows = out.problems[at].rows
                assert isinstance(rows, list)
                rows.extend(remark.rows)
            case Flaw():
                out.problems.append(remark)
            case Doubt(text):
                out.warnings.append(text)
            case Note(text):
                out.notes.append(text)
            case _:
                out.facts |= remark


def sound(step: Step[T]) -> Step[T | None]:
    """The value of a step that found no flaw, else None; what it remarked on all the same."""
    value, remarks = finished(step)
    yield from remarks
    return None if remarks.problems else value


def settled(value: T | None, remarks: Remarks) -> T:
    """The value of finished steps; what may be wrong is warned of.

    Raises:
        DataError: where there are flaws, listing all.
    """
    if remarks.problems:
        raise DataError(remarks.problems)
    for text in remarks.warnings:
        warnings.warn(text, DataWarning, stacklevel=3)
    assert value is not None
    return value


def flaw(file: str, what: str, remedy: str, *, column: str | None = None, row: Any = None) -> Flaw:
    """One problem at one place."""
    return Flaw(file, column, () if row is None else (row,), (what,), remedy)


def flaw_of_rows(
    file: str, column: str | None, bad: Bool[np.ndarray, " n"], where: np.ndarray, what: str, remedy: str
) -> Step[None]:
    """One problem of the marked rows, where there are any."""
    rows = tuple(where[bad].tolist())
    if rows:
        yield Flaw(file, column, rows, (what,), remedy)
