"""The library's own table, read by its own checks; written in another way or with other names, as any table."""

import dataclasses
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from .._asserted import PATIENTS_FILE, read_parameters
from .._checks import BLANKS, Findings, split_table
from .._columns import BASAL, CLOCK, GLUCOSE, GLUCOSE_MMOL, LONG_ACTING, TIME, WHO, placed
from .._raw import GlucoseUnit, Raw, RawBasal, RawDose, RawReading
from .._tables import table_to_patient
from .._zones import read_zones
from . import _clock, _exports, _layout, _mapped, _rows

_HEAD = 8192


def recognise(head: str, name: str) -> bool:
    """Whether the header has glucose and basal insulin by their canonical names."""
    names = set(_layout.names_of(head))
    return bool(names & {BASAL, LONG_ACTING}) and bool(names & {GLUCOSE, GLUCOSE_MMOL})


def parse(
    path: Path,
    text: str,
    found: Findings,
    *,
    columns: Mapping[str, str] | None = None,
    others: Sequence[tuple[Path, str]] = (),
    glucose_unit: GlucoseUnit | None = None,
    subject: str | None = None,
    day_first: bool | None = None,
) -> Raw | None:
    """A patient's table, with what `patients.csv` beside it asserts.

    Args:
        path: the file.
        text: its content.
        found: what is wrong.
        columns: the person's column by the library's name, for a table of another make; empty, as guessed.
        others: other tables of the same person, and their content.
        glucose_unit: of its glucose, where that is not what the column's name says.
        subject: whom to read, where `columns` says which column tells whose a row is.
        day_first: whether dates are written with the day before the month.
    """
    if columns is not None:
        return _mapped.parse(path, text, found, columns=columns or None, others=others, glucose_unit=glucose_unit,
                             subject=subject, day_first=day_first)  # fmt: skip
    asserted = path.parent / PATIENTS_FILE
    every = read_parameters(asserted, found) if asserted.exists() else {}
    names = _layout.names_of(text[:_HEAD])
    whose = {WHO: WHO} if WHO in names else {}
    ours = not whose and GLUCOSE in names and glucose_unit != "mmol/L" and day_first is None and _plain(text, names)
    if ours:
        return _own(path, text, every.get(path.stem, {}), read_zones(asserted).get(path.stem), found)
    raw = _mapped.parse(path, text, found, columns=whose or placed({}, names), glucose_unit=glucose_unit,
                        subject=subject if whose else None, day_first=day_first,
                        rows_count=not whose)  # fmt: skip
    if raw is None:
        return None
    return dataclasses.replace(raw, known=every.get(raw.subject, {}), time_zone=read_zones(asserted).get(raw.subject))


def people(text: str) -> tuple[str, ...]:
    """Whom a table holds that has a column `patient`."""
    return _mapped.people(text, {WHO: WHO}) if WHO in _layout.names_of(text[:_HEAD]) else ()


def _plain(text: str, names: Sequence[str]) -> bool:
    """Whether a table is written as the library writes it: commas between the cells, times in minutes or ISO 8601."""
    head, _, rows = text.lstrip("\ufeff").partition("\n")
    if _exports.delimiter_of(head) != ",":
        return False
    if TIME in names or CLOCK not in names:
        return True
    first = next((line for line in rows.split("\n") if line.strip(BLANKS + ",")), "").split(",")
    at = names.index(CLOCK)
    cell = first[at].strip(BLANKS + '"') if at < len(first) else ""
    return _rows.iso(cell) is not None or _exports.stamp(cell) is None


def _own(path: Path, text: str, known: Mapping[str, float], zone: str | None, found: Findings) -> Raw | None:
    table = split_table(str(path), text, found)
    patient = None if table is None else table_to_patient(table, path.stem, known, found, strict=False)
    if patient is None or table is None:
        return None
    start = patient.start or _clock.EPOCH
    # In one offset throughout: a clock that springs forward cannot be added to.
    start = start if start.tzinfo is None else start.astimezone(dt.timezone(start.utcoffset() or dt.timedelta()))
    when = lambda minute: start + dt.timedelta(minutes=minute)
    doses, lines = patient.doses, table.lines
    lead = len(lines) - len(patient.time_min)  # rows with doses from before the record
    rows = zip(patient.time_min.tolist(), patient.glucose_mg_dL.tolist(), lines[lead:], strict=True)
    earlier = sorted({t for times, *_ in doses.events for t in times.tolist() if t < patient.time_min[0]})
    line_of = dict(zip([*earlier, *patient.time_min.tolist()], lines, strict=True))
    events = lambda columns: tuple(
        RawDose(when(t), amount, line_of[t], minutes)
        for t, amount, minutes in zip(*(column.tolist() for column in columns), strict=True)
    )
    boluses, meals, long_acting = map(events, doses.events)
    return Raw(
        format="table",
        file=str(path),
        subject=path.stem,
        readings=tuple(RawReading(when(t), value, line) for t, value, line in rows if math.isfinite(value)),
        basal=tuple(
            RawBasal(when(t), rate, line_of[t])
            for t, rate in zip(doses.basal_time_min.tolist(), doses.basal_U_h.tolist(), strict=True)
        ),
        boluses=boluses,
        meals=meals,
        long_acting=long_acting,
        glucose_unit="mg/dL",
        lead_min=float(patient.time_min[patient.valid][0] - patient.time_min[0]) if patient.valid.any() else 0.0,
        trail_min=float(patient.time_min[-1] - patient.time_min[patient.valid][-1]) if patient.valid.any() else 0.0,
        time_zone=zone,
        clock=patient.start is not None,
        known=known,
    )
