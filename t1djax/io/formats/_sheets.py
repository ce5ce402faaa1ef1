"""Tables of any make, one or several of a person: which column is which is known, named by a person, or guessed."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..._arguments import argument
from .._checks import quote_name, section
from .._columns import JOIN, OWN_COLUMNS, TIME, meant, parts, placed, unit_of
from .._options import ReadOptions
from .._raw import Raw, RawReading
from .._remarks import SHOWN, Note, Step, finished, flaw, sound
from .._tables import truth_columns
from . import _layout, _stamps
from ._guess import guessed, person_column
from ._known import Known, Sheet, columns_of, sheet_of
from ._rows import NOT_AMOUNTS, Mapped, Part, part_of

Files = Sequence[tuple[Path, str]]
"""Files of one person, and their content."""
_MINUTE = dt.timedelta(minutes=1)


def parse(
    files: Files,
    options: ReadOptions,
    *,
    columns: Mapping[str, str] | None = None,
    known: Known | None = None,
    rows_count: bool = False,
) -> Step[Raw | None]:
    """Rows of tables in any order: a reading, a rate, a dose or a meal where there is a number.

    Columns by the library's name are as the format or a guess says where left out. With `rows_count` the record begins
    and ends with its rows rather than its readings.
    """
    tables = yield from tables_of(files, columns, known)
    name = "table" if known is None else known.name
    return (yield from raw_of(tables, files, options, name, rows_count=rows_count))


def raw_of(
    tables: Sequence[Mapped], files: Files, options: ReadOptions, name: str, *, rows_count: bool = False, hint: str = ""
) -> Step[Raw | None]:
    """One person's record of tables whose columns are told; `hint` is a date elsewhere in the file, like theirs."""
    path = files[0][0]
    mine: list[Mapped] = []
    for mapped in tables:
        one = yield from _one(mapped, options.subject)
        if one is None:
            return None
        mine += [one] if len(one.table) else []
    read: list[Part] = []
    for mapped in mine:
        part = yield from part_of(mapped, options, hint)
        read += [] if part is None else [part]
    if not read:
        return None
    unread = [quote_name(name) for mapped in tables for name in mapped.unread]
    if unread and name == "table":
        yield Note(f"columns that are not read: {', '.join(unread[: 2 * SHOWN])}{', ...' * (len(unread) > 2 * SHOWN)}")
    who = {cell for mapped in mine for cell in mapped.cells("patient")}
    stem = path.stem if len(files) == 1 else path.resolve().parent.name
    alone = who.pop() if len(who) == 1 else ""
    joined = lambda field: tuple(x for part in read for x in getattr(part, field))
    lead, trail = _ends([t for part in read for t in part.when], joined("readings")) if rows_count else (0.0, 0.0)
    unit = lambda kind: next((part.units[kind] for part in read if part.units.get(kind) is not None), None)
    first = [t for part in read for t in part.when[:1] if t is not None]
    return Raw(
        format=name,
        file=str(path) if len(files) == 1 else str(path.parent),
        subject=options.subject or (f"{stem}-{alone}" if alone.isdecimal() else alone) or stem,
        readings=joined("readings"),
        basal=joined("basal"),
        boluses=joined("boluses"),
        meals=joined("meals"),
        long_acting=joined("long_acting"),
        glucose_unit=unit("glucose"),
        basal_unit=unit("basal"),
        carbs_unit=unit("carbs"),
        merged_insulin=any(mapped.sheet.merged for mapped in mine),
        clock=not any(mapped.minutes for mapped in mine) and all(t.date() != _stamps.EPOCH.date() for t in first),
        turn_dates=any(part.turn for part in read),
        lead_min=lead,
        trail_min=trail,
    )


def people(text: str, columns: Mapping[str, str] | None, known: Known | None = None) -> tuple[str, ...]:
    """Whom a table holds, in order, where a column says so."""
    tables, _ = finished(tables_of([(Path(), text)], columns, known))
    return tuple(dict.fromkeys(cell for mapped in tables for cell in mapped.cells("patient") if cell))


def tables_of(files: Files, columns: Mapping[str, str] | None, known: Known | None) -> Step[list[Mapped]]:
    """The tables of the files whose columns can be told; none where glucose or a time lacks, which is reported."""
    every: list[tuple[str, _layout.Block]] = []
    for path, text in files:
        found, remarks = finished(_layout.blocks(str(path), text))
        yield from remarks
        if remarks.problems:
            return []
        every += [(str(path), block) for block in found]
    names = [name for _, block in every for name in block.names if name]
    there = ", ".join(map(quote_name, dict.fromkeys(names)))
    file, line = every[0][0], every[0][1].line
    wrong = [flaw(file, *why, row=line) for why in _absent(names, columns or {}, there)]
    for other, block in every:
        named = {part for name in (columns or {}).values() for part in parts(name, names)}
        twice = [name for name in dict.fromkeys(block.names) if name in named and block.names.count(name) > 1]
        wrong += [flaw(other, "there is more than one such column", "keep one", column=quote_name(name), row=block.line)
                  for name in twice]  # fmt: skip
    each = [(file, block, *_mapping(block, columns, known)) for file, block in every]
    out: list[Mapped] = []
    for where, block, mapping, sheet in each:
        if sheet is None:
            continue
        if (one := (yield from sound(mapped_of(where, block, mapping, sheet)))) is None:
            return []
        out.append(one)
    if known is not None and not out:
        what = f"its columns are not those of {known.name}"
        yield flaw(file, what, f"leave the format out; there are {there}", row=line)
        return []
    kinds = {kind for mapped in out for kind in mapped.columns} | {OWN_COLUMNS[own].kind for own in columns or {}}
    for kind in ("time", "glucose"):
        if kind not in kinds and not (kind == "glucose" and "value" in kinds):
            remedy = f"name it, as in {argument('columns', f'{kind}=NAME')}; its columns are {there}"
            wrong.append(flaw(file, f"no column is named as {kind}", remedy, row=line))
    for mapped in out:
        if "time" not in mapped.columns and "time" in kinds and not wrong:
            remedy = f"its columns are {', '.join(mapped.unread)}"
            wrong.append(flaw(mapped.table.file, "no column is named as time", remedy))
        if not len(mapped.table):
            remedy = "write the rows below it"
            wrong.append(flaw(mapped.table.file, "there is a header and no row", remedy, row=line))
    if not wrong and (passed := sum(sheet is None for *_, sheet in each)):
        yield Note(f"{passed} tables with no readings or doses are not read")
    yield from wrong
    return [] if wrong else out


def _absent(names: Sequence[str], columns: Mapping[str, str], there: str) -> list[tuple[str, str]]:
    """What to say of columns that are named and in none of the tables, and the remedy."""
    wanted = [(own, part) for own, name in columns.items() for part in parts(name, names)]
    return [
        (f"there is no column {quote_name(part)} to take as {own}{meant(part, names)}", f"its columns are {there}")
        for own, part in wanted
        if part not in names
    ]


def _mapping(
    block: _layout.Block, columns: Mapping[str, str] | None, known: Known | None
) -> tuple[Mapping[str, str], Sheet | None]:
    """Its columns by the library's name, and what is known of it; no sheet where the table is none of the format."""
    names = block.names
    if columns is not None:
        here = {own: name for own, name in columns.items() if all(part in names for part in parts(name, names))}
        return placed(here, names), Sheet()
    if known is not None:
        sheet = sheet_of(known, names)
        return ({} if sheet is None else columns_of(sheet, names)), sheet
    cells = {name: [row[i] for row in block.rows if i < len(row)] for i, name in enumerate(names)}
    return guessed(names, cells), Sheet()


def mapped_of(file: str, block: _layout.Block, mapping: Mapping[str, str], sheet: Sheet) -> Step[Mapped]:
    """A table with its columns by kind; those of a time or of words are put together."""
    names = block.names
    table = yield from section(file, names, block.rows, block.lines)
    kind_of = lambda own: OWN_COLUMNS[own].kind if own in OWN_COLUMNS else own
    columns: dict[str, str] = {}
    taken: set[str] = set()
    for own, whole in mapping.items():
        wanted = parts(whole, names)
        columns[kind_of(own)] = name = JOIN.join(wanted)
        taken |= set(wanted)
        if len(wanted) > 1 and kind_of(own) in NOT_AMOUNTS:
            cells = zip(*(table.stripped(part) for part in wanted), strict=True)
            table = table.with_cells({name: [" ".join(row).strip() for row in cells]})
    units = {kind_of(own): unit_of(own, columns[kind_of(own)]) for own in mapping if own in OWN_COLUMNS}
    unread = tuple(name for name in dict.fromkeys(names) if name and name not in {*taken, *truth_columns()})
    return Mapped(table, columns, {**units, **sheet.units}, TIME in mapping, unread, sheet)


def _one(mapped: Mapped, subject: str | None) -> Step[Mapped | None]:
    """The rows of one person."""
    table, column = mapped.table, mapped.columns.get("patient")
    if column is None:
        cells = {name: table.columns[name] for name in mapped.unread}
        if (other := person_column(list(cells), cells)) is None:
            return mapped
        what = f"{len(set(cells[other]))} people seem to be in it"
        way = argument("columns", f"patient={other},...")
        remedy = f"name the column, as in {way}, or remove it where it is none of persons"
        yield flaw(table.file, what, remedy, column=quote_name(other))
        return None
    who = table.stripped(column)
    there = list(dict.fromkeys(who))
    if subject is None and len(there) < 2:
        return mapped
    if subject not in there:
        what = f"{len(there)} people are in it" if subject is None else f"{subject!a} is not in it"
        remedy = f"choose with {argument('subject', 'NAME')}, one of {', '.join(there[:30])}"
        yield flaw(table.file, what, remedy, column=column)
        return None
    return mapped._replace(table=table.take([i for i, name in enumerate(who) if name == subject]))


def _ends(when: _stamps.Times, readings: Sequence[RawReading]) -> tuple[float, float]:
    """From the first row to the first reading, and from the last reading to the last row, min."""
    stated, seen = [t for t in when if t is not None], [reading.time for reading in readings]
    if not seen or len({t.tzinfo is None for t in stated}) > 1:
        return 0.0, 0.0
    return (min(seen) - min(stated)) / _MINUTE, (max(stated) - max(seen)) / _MINUTE
