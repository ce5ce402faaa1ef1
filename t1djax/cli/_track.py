"""`t1djax track`: send to MLflow what a training could not send, and see what is left."""

import logging
import os
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from ..tracking import SyncReport, tracked_runs, tracking_status
from ..tracking import sync as sync_results
from ._app import Json, commands
from ._exit import EXIT_MACHINE
from ._tables import print_json, print_table

track = typer.Typer(help="Runs in MLflow.", no_args_is_help=True, rich_markup_mode=None)
commands.add_typer(track, name="track")

Results = Annotated[Path, typer.Argument(help="The results folder.")]
Uri = Annotated[
    str | None,
    typer.Option(help="MLflow server or database.  [default: $MLFLOW_TRACKING_URI, or mlflow.db in the folder]"),
]


@track.command(epilog="Example: t1djax track sync results --tracking-uri http://127.0.0.1:5000")
def sync(results: Results, tracking_uri: Uri = None, as_json: Json = False) -> None:
    """Send what MLflow does not have yet. Doing it twice changes nothing; exit code 1 where something is left."""
    # This process is ours alone: MLflow's calls may end sooner than after minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    logging.disable(logging.CRITICAL)  # what they log, such as the traceback of a full disk, is said in a line below
    try:
        report = sync_results(results, tracking_uri=tracking_uri)
    finally:
        logging.disable(logging.NOTSET)
    _show(report, as_json)
    if not report.complete:
        raise typer.Exit(EXIT_MACHINE)


@track.command(epilog="Example: t1djax track status results")
def status(results: Results, tracking_uri: Uri = None, as_json: Json = False) -> None:
    """Say how much of each program's journal was sent, without sending anything."""
    _show(tracking_status(results, tracking_uri=tracking_uri), as_json)


@track.command(epilog="Example: t1djax track runs results --tracking-uri http://127.0.0.1:5000")
def runs(results: Results, tracking_uri: Uri = None, as_json: Json = False) -> None:
    """List the runs that a results folder has in MLflow, with links to their pages."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    found = [run._asdict() for run in tracked_runs(results, tracking_uri=tracking_uri)]
    print_json(found) if as_json else print_table(pd.DataFrame(found))


def _show(report: SyncReport, as_json: bool) -> None:
    if as_json:
        print_json({"uri": report.uri, "complete": report.complete, "runs": [run._asdict() for run in report.runs]})
        return
    print_table(pd.DataFrame([run._asdict() for run in report.runs]).drop(columns="message"))
    by_message: dict[str, list[str]] = {}
    for run in report.runs:
        if run.message:
            by_message.setdefault(run.message, []).append(run.name)
    for message, names in by_message.items():
        typer.echo(message if len(names) == len(report.runs) else f"{', '.join(names)}: {message}")
    left = sum(run.left_bytes for run in report.runs)
    typer.echo(f"{report.uri}: " + ("complete" if report.complete else f"{left} bytes of journals are not there"))
