"""Tables and JSON on the terminal."""

import json
import math
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from ..io import without_nan
from ..physics import PARAMETERS
from ..records import SYMBOLS, Symbol, legend, legend_line

PARAMETERS_HELP = f"Parameters: {legend_line(PARAMETERS)}."
"""For the end of a command's help."""


def print_json(x: Any) -> None:
    typer.echo(json.dumps(without_nan(x), indent=2, allow_nan=False))


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
    table = Table(show_edge=False, header_style="bold")
    for column in frame.columns:
        names = column in ("patient", "model", "mode")
        table.add_column(_heading(str(column)), justify="left" if names else "right", no_wrap=True)
    for row in frame.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    # Into a file or a pipe: as wide as it needs to be, never cut.
    Console(width=None if sys.stdout.isatty() else 28 * frame.shape[1]).print(table)


def print_legend(symbols: Iterable[str]) -> None:
    """What the symbols of a table mean, a line each.

    Args:
        symbols: those that were shown.
    """
    meanings = legend(symbols)
    width = max(map(len, meanings), default=0)
    for symbol, meaning in meanings.items():
        typer.echo(f"  {symbol:{width}}  {meaning}")


def symbols_json(symbols: Iterable[str], more: Mapping[str, Symbol] = MappingProxyType({})) -> dict[str, Any]:
    """The same for machines: unit and meaning by symbol.

    Args:
        symbols: those that are shown.
        more: further rows by symbol, which win.
    """
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
