"""`t1djax forget`: one person removed from what t1djax wrote, and a list of what else carries them."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..config import ConfigError
from ..privacy import Forgotten, NamedPerson
from ..privacy import forget as forget_
from ._app import Json, commands
from ._exit import EXIT_REMAINS
from ._tables import print_json

_EXAMPLE = "Example: t1djax forget PATIENT --data cohort --results results --dry-run"


@commands.command(epilog=_EXAMPLE)
def forget(
    patient: Annotated[str, typer.Argument(help="The name, as in the data; `-` reads it from standard input.")],
    data: Annotated[list[Path] | None, typer.Option(help="Folder of data; repeatable.")] = None,
    results: Annotated[list[Path] | None, typer.Option(help="Results folder; repeatable.")] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="Other folder, such as of exports and reports; repeatable.")
    ] = None,
    keep: Annotated[
        list[Path] | None, typer.Option(help="File or folder that was looked at and may stay; repeatable.")
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="MLflow's database.  [default: $MLFLOW_TRACKING_URI; mlflow.db in the folders goes always]"),
    ] = None,
    artifacts: Annotated[str | None, typer.Option(help="The MLflow server's --artifacts-destination.")] = None,
    names_only: Annotated[
        bool, typer.Option("--names-only", help="Look for the name alone: no readings are at hand.")
    ] = False,
    log: Annotated[
        Path | None, typer.Option(help="Log of removals.  [default: forgotten.jsonl in the first folder]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; touch nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it: what is removed cannot be brought back.")] = False,
    as_json: Json = False,
) -> None:
    """Remove one person from data, results, checkpoints and MLflow, by what t1djax noted of whose a thing is.

    Files that t1djax did not write are never changed: those that carry the name or the readings are listed, with exit
    code 6, for a person to decide. The output calls the person by a pseudonym, but for --dry-run.
    """
    if dry_run == yes:
        raise ConfigError("look first with --dry-run, then do it with --yes")
    patient = sys.stdin.readline().rstrip("\r\n") if patient == "-" else patient
    done = forget_(
        patient,
        data=data or (),
        results=results or (),
        also=also or (),
        keep=keep or (),
        tracking_uri=tracking_uri,
        artifacts=artifacts,
        names_only=names_only,
        log=log,
        dry_run=dry_run,
    )

    person = NamedPerson(patient)

    def hide(text: str) -> str:
        return text if dry_run else person.masked(text, done.pseudonym)

    if as_json:
        print_json(
            done._asdict()
            | {
                "steps": [{k: hide(v) for k, v in step._asdict().items()} for step in done.steps],
                "searched": done.searched._asdict(),
                "remains": [{k: hide(v) for k, v in one._asdict().items()} for one in done.remains],
                "complete": done.complete,
            }
        )
    else:
        _print(done, hide)
    if done.remains:
        raise typer.Exit(EXIT_REMAINS)


def _print(done: Forgotten, hide: Callable[[str], str]) -> None:
    for step in done.steps:
        typer.echo(f"{step.action:8} {hide(step.where)}: {hide(step.why)}")
    counts = Counter(step.action for step in done.steps)
    typer.echo(", ".join(f"{action} {count}" for action, count in counts.items()) or "nothing is to be done")
    s = done.searched
    typer.echo(
        f"searched {s.files} files and {s.values} values of databases, {s.bytes} bytes, for the name"
        + (f" and {done.readings} rows of readings" if done.readings else "; no readings were known")
    )
    for found in done.remains:
        typer.echo(f"FOUND    {hide(found.where)}: {hide(found.what)}")
    if done.remains:
        typer.echo(
            "what was found stays: look at it, remove what is the person's, name the rest with --keep, "
            "and give the command again"
        )
    if done.dry_run:
        typer.echo("nothing was touched; do it with --yes")
    elif done.complete:
        typer.echo(f"nothing of {done.pseudonym} was found any more; the key of the pseudonym is erased")
    else:
        typer.echo("until then the person's own records and results stay: they tell what to look for")
