"""`t1djax report`: a cohort as one page."""

import json
from pathlib import Path
from typing import Annotated, Any

import jax
import typer

from .._words import counted, some
from ..config import ConfigError
from ..data import Cohort
from ..evaluation import glycaemia_table, score_forecasts
from ..io import ResultError, find_results, read_result
from ..population import shipped_forecaster
from ..records import person_of
from ..reporting import write_report
from ..statespace import fit_state_space, person_settings
from ._app import Interval, Json, commands, say
from ._data import READING, Data, Names, Unit, read_people
from ._execution import telling
from ._fields import Values, with_flags
from ._forecast import by_every_method, turn_line
from ._identify import IDENTIFICATION_FILE
from ._tables import print_json, print_table


@commands.command(
    epilog="Example: t1djax report cohort --out report.html --forecast --fit-results results",
)
@with_flags(reading=READING)
def report(
    *,
    data: Data,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    patients: Names = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Glucose report",
    unit: Unit = "mg/dL",
    forecast: Annotated[
        bool,
        typer.Option("--forecast", help="Forecast the last 30 % of each record, several methods."),
    ] = False,
    settings: Annotated[
        bool, typer.Option("--settings", help="Sensitivity, carbohydrate ratio and basal need of each record.")
    ] = False,
    fit_results: Annotated[
        list[Path] | None, typer.Option(help="Result folders of fits, or folders that hold some; repeatable.")
    ] = None,
    identified: Annotated[
        Path | None, typer.Option(help="Folder that `t1djax identify --out` wrote, or its identification.json.")
    ] = None,
    interval_min: Interval = None,
    reading: Values,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if there is one.")] = False,
    as_json: Json = False,
) -> None:
    """Write a report that people read in a browser: glycaemic metrics, profiles, fits, forecasts with baselines."""
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} is there already; name another file, or replace it with --overwrite")
    with telling(turn_line, show=not as_json) as tell:
        tell.now(f"reading {some(data)}")
        cohort, reports = read_people(
            data,
            names=patients,
            interval_min=interval_min,
            **reading,
        )
    # A report of reading names the file; the page names people.
    read = dict(zip(cohort.names, reports, strict=True)) if reports else {}
    results = [read_result(folder) for folder in find_results(fit_results)] if fit_results else []
    known = [r for r in results if r.metadata["patient"] in cohort.names]
    if len(known) < len(results):
        others = sorted({r.metadata["patient"] for r in results} - set(cohort.names))
        say("note", f"results of {', '.join(others)} are left out: not among those read")
    verdicts = {} if identified is None else _of_cohort(_identified(identified), cohort)
    with telling(turn_line, show=not as_json) as tell:
        forecasts = []
        if forecast:
            tell.now(f"learning from {counted(len(cohort), 'patient')}")
            forecasts = by_every_method(
                cohort, fit=fit_state_space(list(cohort)), others=shipped_forecaster(), on_patient=tell
            )
        of_people = []
        if settings:
            of_people = person_settings(list(cohort), key=jax.random.key(0), on_stage=tell.now)
        tell.now("writing the page")
        page = write_report(
            cohort, out, title=title, unit=unit, read=read, fits=known, forecasts=forecasts, identification=verdicts,
            settings=of_people,
        )  # fmt: skip
    table = glycaemia_table(cohort, unit=unit)
    if as_json:
        scores = score_forecasts(forecasts).to_dict(orient="records") if forecasts else []
        print_json({"out": str(page), "glycaemia": table.to_dict(orient="records"), "forecasts": scores})
        return
    suffix = unit.replace("/", "_")
    shown = [
        "patient",
        "days",
        "data_percent",
        f"mean_{suffix}",
        "cv_percent",
        "gmi_percent",
        "in_range_percent",
        "gri",
    ]
    print_table(table.loc[:, shown])
    typer.echo(page)


def _identified(path: Path) -> list[dict[str, Any]]:
    """What `t1djax identify` found, by person or by window."""
    file = path / IDENTIFICATION_FILE if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise ResultError(
            f"--identified {path}: there is no {'such file or folder' if file == path else IDENTIFICATION_FILE}; "
            "name the folder that `t1djax identify --out` wrote"
        ) from e
    except ValueError as e:
        raise ResultError(f"--identified {file}: this is no JSON ({e}); name what `t1djax identify --out` wrote") from e
    if not isinstance(found, list) or not all(isinstance(one, dict) and "name" in one for one in found):
        raise ResultError(f"--identified {file}: not what `t1djax identify --out` writes; name that folder")
    return found


def _of_cohort(found: list[dict[str, Any]], cohort: Cohort) -> dict[str, dict[str, Any]]:
    """Those of the people on the page, whole or in windows; others are told of and left out."""
    mine = {one["name"]: one for one in found if person_of(one["name"], cohort.names)}
    if others := sorted({one["name"] for one in found} - set(mine)):
        say("note", f"identification of {some(others)} is left out: not among those read")
    return mine
