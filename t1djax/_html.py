"""Tables by which notebooks show records: escaped, with units, and no style but the notebook's own."""

import itertools
import math
from collections.abc import Iterable, Sequence
from html import escape

from ._words import counted

_MOST_ROWS = 30


def html_table(
    title: str, header: Sequence[str], rows: Iterable[Sequence[object]], *, notes: Iterable[str] = ()
) -> str:
    """A table with a title, and sentences below it; empty ones are left out.

    Rows beyond thirty are counted, not shown. Everything in it is text: names from files cannot become tags.

    Example:
        >>> from t1djax._html import html_table
        >>> "&lt;b&gt;" in html_table("Cohort", ["patient"], [["<b>"]])
        True
    """
    every = iter(rows)
    shown = list(itertools.islice(every, _MOST_ROWS))
    more = sum(1 for _ in every)
    below = [*filter(None, notes), *([f"and {counted(more, 'more row')}"] if more else [])]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{_cell(row[0])}</th>' + "".join(f"<td>{_cell(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in shown
    )
    return (
        f'<table class="dataframe"><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>" + "".join(f"<p>{escape(note)}</p>" for note in below)
    )


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))
