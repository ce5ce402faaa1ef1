"""`t1djax evaluate` and `t1djax plot`: finished runs."""

import collections
import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from .._words import some
from ..config import ConfigError
from ..io import as_cells, find_results, read_result
from ..plotting import save_figures
from ._app import Json, commands, say
from ._tables import print_json, print_legend, print_table


@commands.command(epilog="Example: t1djax evaluate results --output metrics.csv")
def evaluate(
    results: Annotated[list[Path], typer.Argument(help="Result folders, or folders that hold some.")],
    output: Annotated[Path | None, typer.Option(help="Write the table to this CSV file as well.")] = None,
    as_json: Json = False,
) -> None:
    """Collect the metrics of finished runs into one table."""
    rows, read = [], []
    for folder in find_results(results):
        read.append(read_result(folder))
        m = read[-1].metadata
        row = {k: m[k] for k in ("model", "mode", "patient", "seed", "ok")}
        for symbol, entry in {**m["estimates"], **m["derived"]}.items():
            row |= {symbol: entry["value"], f"{symbol}_se": entry["standard_error"]}
            row[f"{symbol}_error_percent"] = entry["error_percent"]
        rows.append(row | m["metrics"] | {"wall_seconds": m["wall_seconds"], "folder": str(folder)})
    asked = [(m["patient"], m["seed"], json.dumps(m["config"], sort_keys=True)) for m in (r.metadata for r in read)]
    if again := [patient for (patient, *_), times in collections.Counter(asked).items() if times > 1]:
        say("warning", f"{some(again)}: more than one result of one question, as a run that was stopped and one begun "
            "anew leave them; name the folders of one run")  # fmt: skip
    table = pd.DataFrame(rows)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        as_cells(table).to_csv(output, index=False)
    if as_json:
        print_json(rows)
        return
    symbols = list(dict.fromkeys(symbol for result in read for symbol in result.metadata["estimates"]))
    shown = ["model", "mode", "patient", "seed"]
    shown += [c for s in symbols for c in (s, f"{s}_error_percent")]
    shown += [f"rmse_{s}_mg_dL" for s in ("fit", "held_out", "forecast")]
    print_table(table.loc[:, shown].dropna(axis=1, how="all"))
    print_legend(symbols, read[-1].body)
    if output is not None:
        typer.echo(f"all {table.shape[1]} columns in {output}")


@commands.command(epilog="Example: t1djax plot results --out figures")
def plot(
    results: Annotated[list[Path], typer.Argument(help="Result folders, or folders that hold some.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the figures; left out, each result's own.")] = None,
    as_json: Json = False,
) -> None:
    """Draw the figures of finished runs: glucose, latent states, residuals, parameters on their way."""
    paths: list[Path] = []
    folders = find_results(results)
    if out is not None and len({folder.name for folder in folders}) < len(folders):
        raise ConfigError("two of these results bear one name; draw them into their own folders, without --out")
    for folder in folders:
        paths += save_figures(read_result(folder), None if out is None else out / folder.name)
    if as_json:
        print_json([str(path) for path in paths])
    else:
        for path in paths:
            typer.echo(path)
