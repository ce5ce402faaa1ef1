"""`t1djax simulate`."""

from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer

from .._arguments import ArgumentError
from .._words import counted
from ..config import ConfigError, Experiment, load_experiment
from ..data import virtual_population
from ..experiment import load_cohort, sensor_noise
from ..io import write_cohort
from ..physics import Magdelaine
from ._app import Json, commands
from ._fields import Values, flags_of, with_flags
from ._sensor import checked
from ._tables import print_json


@commands.command(
    epilog="Example: t1djax simulate --virtual 100 --seed 0 --noise white --noise-sd 10 --out cohort",
)
@with_flags(stated=flags_of(Experiment, only=("patients", "seed", "sensor", "physiology")))
def simulate(
    *,
    stated: Values,
    out: Annotated[Path, typer.Option(help="Folder to write; it must be new or empty.")],
    virtual: Annotated[int | None, typer.Option(min=1, help="Draw so many virtual patients instead.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=366, help="Days that virtual patients live.  [default: 2]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a cohort of the same patients.")] = False,
    as_json: Json = False,
) -> None:
    """Simulate a cohort and write it as tables: one CSV per patient, patients.csv, and the truth in truth.csv."""
    if virtual is not None and "patients" in stated:
        raise ConfigError("--patients names patients of the reference cohort; it does not go with --virtual")
    if virtual is None and days is not None:
        raise ConfigError("--days goes with --virtual; the patients of the reference cohort live their 48 h")
    experiment = checked(load_experiment(None, stated), stated)
    if virtual is None and experiment.question.body is not Magdelaine:
        raise ArgumentError("physiology", "the patients of the reference cohort are Magdelaine's; add --virtual")
    sensor = experiment.sensor
    if virtual is None:
        cohort = load_cohort(experiment)
    else:
        cohort = virtual_population(
            virtual,
            physiology=experiment.question.body,
            days=days or 2,
            interval_min=sensor.interval_min or 5.0,
            noise=sensor_noise(sensor.noise, sensor.noise_sd_mg_dL),
            dropout=sensor.dropout,
            censor=sensor.censor,
            key=jax.random.fold_in(jax.random.key(experiment.seed), 0),
        )
    write_cohort(cohort, out, overwrite=overwrite)
    glucose = np.concatenate([cohort.truth[name].glucose_mg_dL for name in cohort.names])
    inside = float(np.mean((glucose >= 40) & (glucose <= 400)))
    facts = {
        "out": str(out),
        "patients": len(cohort),
        "readings": int(sum(p.valid.sum() for p in cohort)),
        "true_glucose_min_mg_dL": float(glucose.min()),
        "true_glucose_max_mg_dL": float(glucose.max()),
        "share_within_40_400": inside,
    }
    if as_json:
        print_json(facts)
    else:
        typer.echo(
            f"{counted(len(cohort), 'patient')}, {counted(facts['readings'], 'reading')} in {out}\n"
            f"true glucose {glucose.min():.0f} to {glucose.max():.0f} mg/dL, {100 * inside:.1f} % within 40 to 400"
        )
