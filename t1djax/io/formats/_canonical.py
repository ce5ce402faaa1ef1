"""The library's own table, and tables whose columns are named by a person."""

import dataclasses

from .._asserted import PATIENTS_FILE, Asserted, read_asserted
from .._columns import BASAL, GLUCOSE, GLUCOSE_MMOL, LONG_ACTING, WHO, placed
from .._options import ReadOptions
from .._raw import Raw
from .._remarks import Step
from . import _layout, _sheets


def recognise(head: str) -> bool:
    """Whether the header has glucose and basal insulin by their canonical names."""
    names = set(_layout.names_of(head))
    return bool(names & {BASAL, LONG_ACTING}) and bool(names & {GLUCOSE, GLUCOSE_MMOL})


def parse(files: _sheets.Files, options: ReadOptions) -> Step[Raw | None]:
    """A patient's table, with what `patients.csv` beside it asserts; or tables with the columns that were asked for."""
    if options.columns is not None:
        return (yield from _sheets.parse(files, options, columns=options.columns or None))
    path, text = files[0]
    whose = _whose(text)
    every = yield from read_asserted(path.parent / PATIENTS_FILE)
    columns = whose or placed({}, _layout.names_of(text[: _layout.HEAD]))
    raw = yield from _sheets.parse(files, options, columns=columns, rows_count=not whose)
    if raw is None:
        return None
    stated = every.get(raw.subject, Asserted())
    return dataclasses.replace(raw, known=stated.parameters, time_zone=stated.time_zone)


def people(text: str) -> tuple[str, ...]:
    """Whom a table holds that has a column `patient`."""
    whose = _whose(text)
    return _sheets.people(text, whose) if whose else ()


def _whose(text: str) -> dict[str, str]:
    return {WHO: WHO} if WHO in _layout.names_of(text[: _layout.HEAD]) else {}
