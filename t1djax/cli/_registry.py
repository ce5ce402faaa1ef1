"""`t1djax registry`: fitted patients as versions of a model, the gate to `champion`, and the way back to files."""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from .._words import counted
from ..config import ConfigError
from ..io import MODEL_FILE, safe_name, write_fitted
from ..registry import METRIC, Version, default_uri, versions
from ..registry import load as load_
from ..registry import promote as promote_
from ..registry import register as register_
from ._app import Json, commands
from ._exit import EXIT_REFUSED
from ._tables import print_json, print_table

registry = typer.Typer(help="Fitted patients in MLflow's model registry.", no_args_is_help=True, rich_markup_mode=None)
commands.add_typer(registry, name="registry")

Name = Annotated[str, typer.Option(help="The registered model.")]
Results = Annotated[Path, typer.Option(help="The results folder whose mlflow.db is meant.")]
Uri = Annotated[
    str | None,
    typer.Option(
        help="MLflow server or database.  [default: $MLFLOW_TRACKING_URI, or mlflow.db in the results folder]"
    ),
]


@registry.command(epilog="Example: t1djax registry register results --name cohort")
def register(
    results: Annotated[list[Path], typer.Argument(help="Result folders, or folders that hold some.")],
    name: Name,
    tracking_uri: Uri = None,
    as_json: Json = False,
) -> None:
    """Register fitted patients as a new version; it becomes the challenger. The same patients again change nothing."""
    version = register_(results, name=name, tracking_uri=tracking_uri)
    if as_json:
        print_json(_plain(version))
        return
    typer.echo(
        f"{name} version {version.version}: {counted(version.patients, 'patient')}, {', '.join(version.aliases) or '-'}"
    )


@registry.command("list", epilog="Example: t1djax registry list --name cohort")
def list_(
    name: Annotated[str | None, typer.Option(help="One registered model only.")] = None,
    results: Results = Path("results"),
    tracking_uri: Uri = None,
    as_json: Json = False,
) -> None:
    """List the versions with their aliases, errors and what the gate said."""
    rows = [_plain(version) for version in versions(name, tracking_uri=tracking_uri or default_uri(results))]
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo("nothing is registered")
        return
    table = pd.DataFrame(rows).assign(
        aliases=[", ".join(row["aliases"]) for row in rows], data=[row["data_hash"][:8] for row in rows]
    )
    shown = [
        "name",
        "version",
        "aliases",
        "patients",
        "model",
        "mode",
        "error_mg_dL",
        "worst_mg_dL",
        "data",
        "decision",
    ]
    print_table(table.loc[:, shown])


@registry.command(epilog="Example: t1djax registry promote --name cohort --version challenger --target 15")
def promote(
    name: Name,
    target: Annotated[float, typer.Option(help=f"Each patient's {METRIC} must be below this, mg/dL.")],
    version: Annotated[str, typer.Option(help="Number of a version, or an alias.")] = "challenger",
    alias: Annotated[str, typer.Option(help="What it becomes.")] = "champion",
    force: Annotated[bool, typer.Option("--force", help="Promote against the gate; its reasons are kept.")] = False,
    results: Results = Path("results"),
    tracking_uri: Uri = None,
    as_json: Json = False,
) -> None:
    """Promote a version if its error is below the target and, on the same data, below the champion's."""
    uri = tracking_uri or default_uri(results)
    decision = promote_(name, version, target_mg_dL=target, alias=alias, force=force, tracking_uri=uri)
    if as_json:
        print_json(decision._asdict())
    else:
        word = "forced" if decision.forced else "promoted" if decision.promoted else "refused"
        typer.echo(f"{name} version {decision.version}, {alias}: {word}: {decision.reason}")
    if not decision.promoted:
        raise typer.Exit(EXIT_REFUSED)


@registry.command(epilog="Example: t1djax registry load --name cohort --out champion")
def load(
    name: Name,
    out: Annotated[Path, typer.Option(help=f"Folder for the patients' own folders, each with its {MODEL_FILE}.")],
    version: Annotated[str, typer.Option(help="Number of a version, or an alias.")] = "champion",
    results: Results = Path("results"),
    tracking_uri: Uri = None,
    as_json: Json = False,
) -> None:
    """Write the fitted patients of a version to files that `register` and the library read."""
    models = load_(name, version, tracking_uri=tracking_uri or default_uri(results))
    for patient in models:
        if why := safe_name(patient):
            raise ConfigError(f"{name}: a patient's name {why}; load it in Python instead")
    paths = [str(write_fitted(model, out / patient)) for patient, model in models.items()]
    if as_json:
        print_json(paths)
        return
    for path in paths:
        typer.echo(path)


def _plain(version: Version) -> dict[str, Any]:
    return version._asdict() | {"created": version.created.isoformat(timespec="seconds")}
