"""`t1djax diff`: what differs between two results."""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from ..experiment import Matched, Pair, ResultDifference, diff_results
from ._app import Json, commands
from ._tables import print_json, print_table

_GROUPS = {
    "asked": "configuration",
    "made_by": "versions and device",
    "data": "data",
    "values": "known and assumed values, notes",
    "names": "names and times",
}


@commands.command(epilog="Example: t1djax diff results/first results/second")
def diff(
    first: Annotated[Path, typer.Argument(help="A result folder, or a folder that holds some.")],
    second: Annotated[Path, typer.Argument(help="What it is compared with.")],
    as_json: Json = False,
) -> None:
    """Show what differed between two results: configuration, versions, device, data; estimates and metrics.

    In two folders of results, those of one model, mode, set of parameters, patient and seed are compared.
    """
    found = diff_results(first, second)
    if as_json:
        print_json(_as_json(found))
        return
    for pair in found.pairs:
        _print(pair, long=len(found.pairs) == 1)
    for side, folders in ((first, found.first_only), (second, found.second_only)):
        for folder in folders:
            typer.echo(f"only in {side}: {folder.name}")
    alike = sum(pair.same for pair in found.pairs)
    typer.echo(f"{len(found.pairs)} compared, {alike} with the same numbers bit for bit")


def _print(pair: ResultDifference, *, long: bool) -> None:
    typer.echo(f"{pair.first.name} -> {pair.second.name}")
    for field, words in _GROUPS.items():
        if not long and field == "names":
            continue
        for line in getattr(pair, field):
            typer.echo(f"  {words}: {line}")
    if pair.same:
        typer.echo("  numbers: the same bit for bit")
        return
    numbers = {**pair.estimates, **pair.metrics}
    moved = {name: both for name, both in numbers.items() if both.first != both.second}
    if moved:
        rows = [
            {"number": name, "first": a.first, "second": a.second, "difference": a.difference}
            for name, a in moved.items()
        ]
        print_table(pd.DataFrame(rows))
    if pair.largest_glucose_mg_dL is not None:
        typer.echo(f"  fitted and forecast glucose differs by {pair.largest_glucose_mg_dL:.3g} mg/dL at most")


def _as_json(found: Matched) -> dict[str, Any]:
    numbers = lambda group: {name: _numbers(both) for name, both in group.items()}
    return {
        "pairs": [
            {
                "first": str(pair.first),
                "second": str(pair.second),
                "patient": pair.patient,
                "same": pair.same,
                **{field: list(getattr(pair, field)) for field in _GROUPS},
                "estimates": numbers(pair.estimates),
                "metrics": numbers(pair.metrics),
                "predictions_equal": pair.predictions_equal,
                "largest_glucose_mg_dL": pair.largest_glucose_mg_dL,
            }
            for pair in found.pairs
        ],
        "first_only": [str(folder) for folder in found.first_only],
        "second_only": [str(folder) for folder in found.second_only],
    }


def _numbers(both: Pair) -> dict[str, float | None]:
    return {"first": both.first, "second": both.second, "difference": both.difference}
