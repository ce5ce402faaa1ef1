"""Tables and JSON on the terminal."""

import json
import math
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._words import some
from ..io import without_nan
from ..physics import PARAMETERS, AbstractPhysiology, Magdelaine
from ..records import SYMBOLS, Symbol, legend, legend_line, symbols_of

T = TypeVar("T")

PARAMETERS_HELP = f"Parameters: {legend_line(PARAMETERS)}."
"""For the end of a command's help."""


def print_json(x: Any) -> None:
    typer.echo(json.dumps(without_nan(x), indent=2, allow_nan=False))


_NAMES = {"patient", "seed", "model", "mode", "parameters", "method", "horizon_min", "name", "version", "number"}
"""Columns that name a row, where a table begins with them."""
_LEFT = _NAMES - {"seed", "horizon_min", "version"}
_NUMBER = re.compile(r"(?<![\w.:-])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w:]|\.\d)")
"""A number in a sentence, and none within a name, a date or a time of day."""
_HEADINGS = {
    "rmse_fit_mg_dL": "RMSE fit\nmg/dL",
    "rmse_held_out_mg_dL": "RMSE held out\nmg/dL",
    "rmse_forecast_mg_dL": "RMSE forecast\nmg/dL",
    "persistence": "last reading\nheld, mg/dL",
    "glucose_sd_mg_dL": "sd of glucose\nmg/dL",
}


def _heading(column: str) -> str:
    if column.endswith("_error_percent"):
        return f"error of {column.removesuffix('_error_percent')}\n%"
    for end, word in (("_start_sd", "sd of starts"), ("_sd", "sd")):
        if column.endswith(end) and column != "glucose_sd_mg_dL":
            return f"{word}\n{_heading(column.removesuffix(end)).split(chr(10))[-1]}"
    if (row := SYMBOLS.get(column)) is not None and not column.endswith(row.unit.replace("/", "_")):
        return f"{column}\n{row.unit}"
    return _HEADINGS.get(column, column)


def print_table(frame: pd.DataFrame) -> None:
    """Print a table, every cell of it whole.

    A table wider than the terminal becomes several, each of which begins with the columns that name a row.
    """
    shown = {str(column): [_cell(value) for value in frame[column]] for column in frame.columns}
    wide = {column: _width(column, cells) for column, cells in shown.items()}
    # Into a file or a pipe: as wide as it needs to be.
    console = Console(width=None if sys.stdout.isatty() else sum(wide.values()) + len(wide) + 1)
    for k, columns in enumerate(parts(wide, console.width)):
        if k:
            console.print()
        console.print(_table({column: shown[column] for column in columns}))


def parts(wide: Mapping[str, int], width: int) -> list[list[str]]:
    """Columns as tables that fit a width, each with the first columns, which name a row.

    Columns are as wide as stated, with their padding; between two of them there is a line.

    Example:
        >>> from t1djax.cli._tables import parts
        >>> parts({"patient": 9, "ksi": 20, "kl": 20, "G0": 20}, 52)
        [['patient', 'ksi', 'kl'], ['patient', 'G0']]
    """
    columns = list(wide)
    if sum(wide.values()) + len(wide) - 1 <= width:
        return [columns]
    names = [c for i, c in enumerate(columns) if i == 0 or set(columns[: i + 1]) <= _NAMES]
    rest = columns[len(names) :]
    # Names that leave no room for the widest column: the first says which row it is.
    while len(names) > 1 and sum(wide[c] + 1 for c in names) + max((wide[c] for c in rest), default=0) > width:
        rest.insert(0, names.pop())
    found: list[list[str]] = []
    for column in rest:
        if not found or sum(wide[c] + 1 for c in found[-1]) + wide[column] > width:
            found.append(list(names))
        found[-1].append(column)
    return found or [columns]


def _width(column: str, cells: Iterable[str]) -> int:
    """Of a column, with a space on either side."""
    return 2 + max(cell_len(line) for text in (_heading(column), *cells) for line in text.split("\n"))


def _table(shown: Mapping[str, Sequence[str]]) -> Table:
    table = Table(show_edge=False, header_style="bold")
    for column in shown:
        # A cell that is wider than the terminal goes on below.
        table.add_column(Text(_heading(column)), justify="left" if column in _LEFT else "right", overflow="fold")
    for row in zip(*shown.values(), strict=True):
        table.add_row(*map(Text, row))
    return table


def alike(messages: Iterable[tuple[T, str]]) -> list[tuple[list[T], str]]:
    """Sentences that differ in numbers only, as one: with each number, or from which to which it goes.

    Example:
        >>> from t1djax.cli._tables import alike
        >>> alike([("Ada", "misses by 12 mg/dL"), ("Bob", "misses by 9 mg/dL"), ("Bob", "failed")])
        [(['Ada', 'Bob'], 'misses by 9 to 12 mg/dL'), (['Bob'], 'failed')]
    """
    groups: dict[str, list[tuple[T, str]]] = {}
    for name, text in messages:
        groups.setdefault(_NUMBER.sub("#", text), []).append((name, text))
    return [(list(dict.fromkeys(n for n, _ in group)), _merged([t for _, t in group])) for group in groups.values()]


def whom(fits: Iterable[tuple[str, int]], seeds: Collection[int]) -> list[str]:
    """Patients, each with the seeds that are meant where these are not all.

    Example:
        >>> from t1djax.cli._tables import whom
        >>> whom([("Ada", 0), ("Bob", 0), ("Ada", 1)], {0, 1})
        ['Ada', 'Bob (seed 0)']
    """
    of: dict[str, list[int]] = {}
    for name, seed in fits:
        of.setdefault(name, []).append(seed)
    word = lambda those: f"{'seed' if len(those) == 1 else 'seeds'} {some([str(seed) for seed in sorted(those)])}"
    return [name if set(those) == set(seeds) else f"{name} ({word(those)})" for name, those in of.items()]


def _merged(texts: Sequence[str]) -> str:
    numbers = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    spans = iter([(min(each, key=float), max(each, key=float)) for each in numbers])

    def span(_: re.Match[str]) -> str:
        low, high = next(spans)
        return low if float(low) == float(high) else f"{low} to {high}"

    return _NUMBER.sub(span, texts[0])


def print_legend(symbols: Iterable[str], body: type[AbstractPhysiology] = Magdelaine) -> None:
    """What the symbols of a table mean, a line each."""
    meanings = legend(symbols, symbols_of(body))
    width = max(map(len, meanings), default=0)
    for symbol, meaning in meanings.items():
        typer.echo(f"  {symbol:{width}}  {meaning}")


def symbols_json(symbols: Iterable[str], more: Mapping[str, Symbol] = MappingProxyType({})) -> dict[str, Any]:
    """The same for machines: unit and meaning by symbol; rows of `more` win."""
    rows = {**SYMBOLS, **more}
    return {s: {"unit": rows[s].unit, "meaning": rows[s].meaning} for s in dict.fromkeys(symbols) if s in rows}


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    if not isinstance(value, float):
        return str(value)
    return "<0.0001" if 0 < abs(value) < 1e-4 else f"{value:.4g}"


def with_error(value: float, standard_error: float | None) -> str:
    if standard_error is None or not np.isfinite(standard_error) or standard_error <= 1e-9 * abs(value):
        return f"{value:.6g}"
    if standard_error > abs(value):
        return f"{value:.3g} ± {standard_error:.2g}"
    digits = min(12, max(0, 1 - math.floor(math.log10(standard_error))))
    return f"{value:.{digits}f} ± {standard_error:.{digits}f}"
