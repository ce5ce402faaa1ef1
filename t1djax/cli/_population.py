"""`t1djax population`: learn a forecaster from people of one's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import jax
import numpy as np
import typer

from .._words import counted
from ..config import ConfigError
from ..data import Cohort
from ..evaluation import baseline_forecasts, score_forecasts
from ..population import (
    Course,
    PopulationOptions,
    fit_population,
    people_split,
    population_forecasts,
    write_population,
)
from ..tracking import LEARNT_FROM, Place, params
from ._app import Json, commands, say
from ._data import READING, Data, Names, read_people
from ._execution import Line, telling
from ._fields import Values, with_flags
from ._output import Overwrite
from ._tables import print_json, print_table

if TYPE_CHECKING:
    import pandas as pd

population = typer.Typer(help="Forecasters that people teach.", no_args_is_help=True, rich_markup_mode=None)
commands.add_typer(population, name="population")

_EXPERIMENT = "Population"
_LOGGED = ["rmse_mg_dL", "coverage_90_percent", "crps_mg_dL"]
_JUDGED_MIN = (30.0, 60.0, 120.0)
_SHOWN = ["patient", "method", "horizon_min", "n", "rmse_mg_dL", "coverage_90_percent", "crps_mg_dL"]


@population.command(epilog="Example: t1djax population train cohort --out own.json")
@with_flags(reading=READING)
def train(
    *,
    data: Data,
    out: Annotated[Path, typer.Option(help="File for the forecaster; `t1djax forecast --population` reads it.")],
    patients: Names = None,
    steps: Annotated[int, typer.Option(help="Steps of the optimiser.", min=1)] = PopulationOptions().steps,
    seed: Annotated[int, typer.Option(help="Sets weights and batches.")] = 0,
    folds: Annotated[
        int, typer.Option(help="Parts into which people are cut to be judged unseen and to calibrate; 0 for none.")
    ] = 4,
    overwrite: Overwrite = False,
    tracking: Annotated[
        bool,
        typer.Option(
            "--tracking/--no-tracking", help="Log to MLflow, to a database beside the file unless told otherwise."
        ),
    ] = False,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow server to log to, such as http://localhost:5000.")
    ] = None,
    reading: Values,
    as_json: Json = False,
) -> None:
    """Learn from people's whole records, and judge it on each of them by one that never saw them.

    Its state is kept beside the file while it trains: the same command goes on where it was.
    """
    if out.exists() and not overwrite:
        raise ConfigError(f"--out {out}: is there already; name another file, or replace it with --overwrite")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it")
    place = Place(out.parent, tracking_uri) if tracking or tracking_uri is not None else None
    cohort = read_people(data, names=patients, **reading).cohort
    if len(cohort) < 2:
        raise ConfigError(f"{counted(len(cohort), 'patient')} to learn from; give two or more")
    parts = people_split(cohort.names, min(folds, len(cohort))) if folds > 1 else ()
    kept, options = out.with_name(f"{out.name}.training"), PopulationOptions(steps=steps)
    courses: list[Course] = []
    with telling(_course_line, show=not as_json) as tell:

        def on_chunk(course: Course) -> None:
            courses.append(course)
            tell(course)

        first, *others = fit_population(
            cohort,
            options=options,
            key=jax.random.key(seed),
            unseen=[part.unseen for part in parts],
            checkpoint=kept,
            on_chunk=on_chunk,
        )
    write_population(first, out)
    made = []
    for part, forecaster in zip(parts, others, strict=True):
        for patient in Cohort(cohort.patients).select(part.unseen):
            made.append(population_forecasts(forecaster, patient, horizon_min=_JUDGED_MIN))
            made.append(baseline_forecasts(patient, "autoregression", horizon_min=_JUDGED_MIN))
    scores = score_forecasts(made) if made else None
    if scores is not None:
        scores = scores.loc[scores["range"] == "all"]
    facts = {**options._asdict(), "seed": seed, "folds": len(parts), "people": len(cohort)}
    try:
        if place is not None:
            _log(place, out, first.people, facts, courses, scores)
    except Exception as e:  # whatever MLflow raises; the forecaster is written
        say("warning", f"tracking: {e}; {out} is written, and the same command with --overwrite sends its run")
    else:
        kept.unlink()
    if as_json:
        rows = [] if scores is None else scores.drop(columns="range").to_dict(orient="records")
        print_json({"file": str(out), "people": list(first.people), "scores": rows})
        return
    if scores is not None:
        print_table(scores.loc[:, _SHOWN])
    typer.echo(out)


def _log(
    place: Place,
    file: Path,
    people: Sequence[str],
    facts: dict[str, float],
    courses: Sequence[Course],
    scores: "pd.DataFrame | None",
) -> None:
    """A run in MLflow: of whom it is, what was asked, the course, errors of people left out, and the file."""
    from mlflow.entities import Metric, Param  # noqa: PLC0415 - seconds

    client = place.connect()
    found = client.get_experiment_by_name(_EXPERIMENT)
    number = found.experiment_id if found else client.create_experiment(_EXPERIMENT, place.artifacts(_EXPERIMENT))
    whose = {f"{LEARNT_FROM}{i}": name for i, name in enumerate(people)}  # by which a removal knows it
    run = client.create_run(number, tags=whose, run_name=file.stem)
    now = run.info.start_time
    metrics = [Metric("loss", c.loss, now, c.step) for c in courses]
    rows = [] if scores is None else scores.to_dict(orient="records")
    for method, horizon in dict.fromkeys((row["method"], row["horizon_min"]) for row in rows):
        alike = [row for row in rows if (row["method"], row["horizon_min"]) == (method, horizon)]
        named = f"unseen_{method}/{{}}_{horizon:g}_min"
        metrics += [Metric(named.format(c), float(np.mean([r[c] for r in alike])), now, 0) for c in _LOGGED]
    stated = [Param(key, value) for key, value in params(facts).items()]
    client.log_batch(run.info.run_id, metrics=metrics, params=stated)
    client.log_artifact(run.info.run_id, str(file))
    client.set_terminated(run.info.run_id)


def _course_line(course: Course) -> Line:
    return Line("learning: step", course.step, course.of, f"loss {course.loss:.3g}", course.step == course.of)
