"""`t1djax forget`: one person's data removed from everywhere, with the proof."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..config import ConfigError
from ..privacy import Forgotten, Person
from ..privacy import forget as forget_
from ._app import Json, app
from ._exit import EXIT_REMAINS
from ._flags import in_flags
from ._tables import print_json

_EXAMPLE = "Example: t1djax forget PATIENT --data cohort --results results --dry-run"


@app.command(short_help="Remove one person's data, and prove it.", epilog=_EXAMPLE)
def forget(
    patient: Annotated[str, typer.Argument(help="The name, as in the data; `-` reads it from standard input.")],
    data: Annotated[list[Path] | None, typer.Option(help="Folder of data, or a file; repeatable.")] = None,
    results: Annotated[list[Path] | None, typer.Option(help="Results folder; repeatable.")] = None,
    also: Annotated[list[Path] | None, typer.Option(help="Other folder, such as of reports; repeatable.")] = None,
    versions: Annotated[
        list[str] | None,
        typer.Option(help="DVC cache or remote, folder or s3://BUCKET/PREFIX: what holds the person goes whole."),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="MLflow's database.  [default: $MLFLOW_TRACKING_URI; mlflow.db in --results goes always]"),
    ] = None,
    artifacts: Annotated[str | None, typer.Option(help="The MLflow server's --artifacts-destination.")] = None,
    remove_mixed: Annotated[
        bool, typer.Option("--remove-mixed", help="Also remove files of several people that cannot be rewritten.")
    ] = False,
    names_only: Annotated[
        bool, typer.Option("--names-only", help="Search for the name alone: no readings are at hand.")
    ] = False,
    log: Annotated[
        Path | None, typer.Option(help="Log of removals.  [default: forgotten.jsonl in the first folder]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; touch nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it: what is removed cannot be brought back.")] = False,
    as_json: Json = False,
) -> None:
    """Remove one person's data from data, results, checkpoints and MLflow, and prove it by a search of all bytes.

    Exit code 6: something remains, and is named. The output calls the person by a pseudonym, but for --dry-run.
    """
    if dry_run == yes:
        raise ConfigError("look first with --dry-run, then do it with --yes")
    patient = sys.stdin.readline().rstrip("\r\n") if patient == "-" else patient
    done = forget_(
        patient,
        data=data or (),
        results=results or (),
        also=also or (),
        versions=versions or (),
        tracking_uri=tracking_uri,
        artifacts=artifacts,
        remove_mixed=remove_mixed,
        names_only=names_only,
        log=log,
        dry_run=dry_run,
    )

    person = Person(patient)

    def hide(text: str) -> str:
        return text if dry_run else person.masked(text, done.pseudonym, forms=True)

    if as_json:
        print_json(
            done._asdict()
            | {
                "steps": [{k: hide(v) for k, v in step._asdict().items()} for step in done.steps],
                "population": [{k: hide(v) for k, v in one._asdict().items()} for one in done.population],
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
        typer.echo(f"{step.action:8} {hide(step.where)}: {in_flags(hide(step.why))}")
    if done.population:
        typer.echo("trained on the person beside others:")
    for one in done.population:
        typer.echo(f"  {hide(one.where)}: {one.what}; {one.now}")
    counts = Counter(step.action for step in done.steps)
    typer.echo(", ".join(f"{action} {count}" for action, count in counts.items()) or "nothing holds the person")
    if done.dry_run:
        typer.echo("nothing was touched; do it with --yes")
        return
    s = done.searched
    typer.echo(
        f"searched {s.files} files, {s.objects} objects and {s.cells} values of databases, with {s.members} contents "
        f"packed in them: {s.bytes} bytes, for the name"
        + (f" and {done.readings} rows of readings" if done.readings else "; no readings were known")
    )
    for found in done.remains:
        typer.echo(f"REMAINS  {hide(found.where)}: {in_flags(hide(found.what))}")
    left = [step for step in done.steps if step.action == "leave"]
    if done.complete:
        typer.echo(f"nothing of {done.pseudonym} is left; the key of the pseudonym is erased")
    elif left:
        typer.echo("mend by hand what is left, then run this again")
