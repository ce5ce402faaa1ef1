"""`t1djax population`: learn a forecaster from people of one's own."""

from pathlib import Path
from typing import Annotated

import jax
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
from ._app import Json, commands, warnings_in_words
from ._data import READING, Data, Names, read_people
from ._execution import Line, telling
from ._fields import Values, with_flags
from ._output import Overwrite
from ._tables import print_json, print_table

population = typer.Typer(help="Forecasters that people teach.", no_args_is_help=True, rich_markup_mode=None)
commands.add_typer(population, name="population")

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
    folds: Annotated[int, typer.Option(help="Parts into which people are cut to be judged unseen; 0 for none.")] = 4,
    overwrite: Overwrite = False,
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
    with warnings_in_words():
        cohort = read_people(data, names=patients, **reading).cohort
    if len(cohort) < 2:
        raise ConfigError(f"{counted(len(cohort), 'patient')} to learn from; give two or more")
    parts = people_split(cohort.names, min(folds, len(cohort))) if folds > 1 else ()
    kept = out.with_name(f"{out.name}.training")
    with telling(_course_line, show=not as_json) as tell:
        first, *others = fit_population(
            cohort,
            options=PopulationOptions(steps=steps),
            key=jax.random.key(seed),
            unseen=[part.unseen for part in parts],
            checkpoint=kept,
            on_chunk=tell,
        )
    write_population(first, out)
    kept.unlink()
    made = []
    for part, forecaster in zip(parts, others, strict=True):
        for patient in Cohort(cohort.patients).select(part.unseen):
            made.append(population_forecasts(forecaster, patient, horizon_min=_JUDGED_MIN))
            made.append(baseline_forecasts(patient, "autoregression", horizon_min=_JUDGED_MIN))
    scores = score_forecasts(made) if made else None
    if scores is not None:
        scores = scores.loc[scores["range"] == "all"]
    if as_json:
        rows = [] if scores is None else scores.drop(columns="range").to_dict(orient="records")
        print_json({"file": str(out), "people": list(first.people), "scores": rows})
        return
    if scores is not None:
        print_table(scores.loc[:, _SHOWN])
    typer.echo(out)


def _course_line(course: Course) -> Line:
    return Line("learning: step", course.step, course.of, "", course.step == 0)
