"""Where a table begins in a text: below any preamble, at the header; and whether other tables follow."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from .._checks import BLANKS, split_rows
from .._remarks import Step, flaw
from . import _times

HEAD = 8192
"""Characters of a file that a format is recognised by."""
HEADER_LINES = 30
"""A header stands no deeper in a file, in lines."""
_SAMPLE = 80
_FILLED = 0.6
"""Share of the cells of a header that have a name, at the least."""
_DATUM = re.compile(r"[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?\s*%?")
_MOMENT = re.compile(r"\d.*(:\d\d|\d[-/.]\d{1,2}[-/.]\d).*|\d{4}-\d\d-\d\d.*")
_DELIMITERS = ",;\t|"


class Block(NamedTuple):
    """A table in a text."""

    names: list[str]
    """Of its columns."""
    line: int
    """Line of the header."""
    rows: list[list[str]]
    lines: list[int]
    """Line of each row."""


def delimiter_of(text: str) -> str:
    """What separates the cells of a text: what most of its lines have as often."""
    lines = [line for line in text.lstrip("\ufeff").split("\n", _SAMPLE)[:_SAMPLE] if line.strip()]

    def fits(mark: str) -> tuple[int, int]:
        try:
            widths = Counter(len(row) for row in csv.reader(lines, delimiter=mark) if len(row) > 1)
        except csv.Error:
            return 0, 0
        width, count = max(widths.items(), key=lambda item: item[1], default=(0, 0))
        return count, width

    # A comma in every number of a file with semicolons is as regular as they are: more cells win.
    share = lambda mark: round(4 * fits(mark)[0] / max(len(lines), 1))
    return max(_DELIMITERS, key=lambda mark: (share(mark), fits(mark)[1], fits(mark)[0]))


def blocks(file: str, text: str) -> Step[list[Block]]:
    """The tables of a text, the first with its header within the first lines; none where there is no header.

    Cells of lines above a header are never shown: they may name a person.
    """
    split = yield from split_rows(file, text.lstrip("\ufeff"), delimiter=delimiter_of(text))
    if split is None:
        return []
    rows, lines = split
    heads = _heads(rows, lines)
    if not heads:
        what = "there is no line with names of columns above the numbers"
        yield flaw(file, what, "write one, such as time,glucose")
    out = []
    for start, end in pairwise([*heads, len(rows)] if heads else []):
        names = [name.strip(BLANKS) for name in rows[start]]
        while names and not names[-1]:
            names.pop()
        # Exports that were put one below another repeat their header.
        body = [i for i in range(start + 1, end) if rows[i] != rows[start]]
        out.append(Block(names, lines[start], [rows[i] for i in body], [lines[i] for i in body]))
    return out


def names_of(head: str) -> list[str]:
    """Names of the columns of the first table in the first characters of a file; empty where there is none."""
    cut = head.rfind("\n")
    whole = head[:cut] if cut > 0 and head.count("\n") > 3 else head
    try:
        rows = list(csv.reader(io.StringIO(whole.lstrip("\ufeff"), newline=""), delimiter=delimiter_of(whole)))
    except csv.Error:
        return []
    kept = [(row, number) for number, row in enumerate(rows, 1) if any(row)]
    heads = _heads([row for row, _ in kept], [number for _, number in kept])
    return [name.strip(BLANKS) for name in kept[heads[0]][0]] if heads else []


def is_datum(cell: str) -> bool:
    """Whether a cell holds a number or a time, as the names of columns do not."""
    cell = cell.strip(BLANKS)
    return bool(_DATUM.fullmatch(cell) or _MOMENT.match(cell)) or (
        cell[:1].isalpha() and any(map(str.isdigit, cell)) and _MOMENT.match(_times.plain(cell)) is not None
    )


def _is_names(row: Sequence[str]) -> bool:
    cells = [cell.strip(BLANKS) for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    stated = [cell for cell in cells if cell]
    return (
        len(stated) > 1
        and len(set(stated)) == len(stated)
        and len(stated) >= _FILLED * len(cells)
        and not any(map(is_datum, stated))
    )


def _heads(rows: Sequence[Sequence[str]], lines: Sequence[int]) -> list[int]:
    """Rows that are headers: names alone, with data below; of several on top of a file the last."""

    def data(i: int) -> bool:
        return i < len(rows) and any(map(is_datum, rows[i]))

    width = lambda row: max((i for i, cell in enumerate(row, 1) if cell.strip(BLANKS)), default=0)
    top = [
        i
        for i, line in enumerate(lines)
        if line <= HEADER_LINES
        and _is_names(rows[i])
        and data(i + 1)
        and any(width(row) <= len(rows[i]) for row in rows[i + 1 : i + 11])
    ]
    if not top:
        only = [i for i, line in enumerate(lines) if line <= HEADER_LINES and _is_names(rows[i])]
        return only[-1:] if len(rows) - 1 in only[-1:] else []
    # The last that a table belongs to; above it stand titles, and what is known of the person.
    reach = [sum(len(row) == len(rows[i]) for row in rows[i + 1 : i + _SAMPLE]) for i in top]
    first = [i for i, rows_below in zip(top, reach, strict=True) if 2 * rows_below >= max(reach)][-1]
    more = [
        i for i in range(first + 2, len(rows)) if lines[i] > lines[i - 1] + 1 and _is_names(rows[i]) and data(i + 1)
    ]
    return [first, *more]
