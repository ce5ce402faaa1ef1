"""`t1djax simulate`."""

from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer

from .._words import counted
from ..config import ConfigError, load_experiment
from ..data import virtual_population
from ..experiment import load_cohort, sensor_noise
from ..io import write_cohort
from ._app import Censor, Dropout, Interval, Json, Noise, NoiseSd, app, warnings_in_words
from ._sensor import checked, sensor
from ._tables import print_json


@app.command(
    short_help="Simulate a cohort and write it as tables.",
    epilog="Example: t1djax simulate --virtual 100 --seed 0 --noise white --noise-sd 10 --out cohort",
)
def simulate(
    out: Annotated[Path, typer.Option(help="Folder to write; it must be new or empty.")],
    patients: Annotated[
        str | None, typer.Option(help="Patients of the reference cohort: all, 3,5 or Pat2-Pat11.  [default: all]")
    ] = None,
    virtual: Annotated[int | None, typer.Option(min=1, help="Draw so many virtual patients instead.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=366, help="Days that virtual patients live.  [default: 2]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Sets virtual patients and noise.")] = 0,
    noise: Noise = None,
    noise_sd: NoiseSd = None,
    interval_min: Interval = None,
    dropout: Dropout = None,
    censor: Censor = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a cohort of the same patients.")] = False,
    as_json: Json = False,
) -> None:
    """Simulate a cohort and write it as tables: one CSV per patient, patients.csv, and the truth in truth.csv."""
    if virtual is not None and patients is not None:
        raise ConfigError("--patients names patients of the reference cohort; it does not go with --virtual")
    if virtual is None and days is not None:
        raise ConfigError("--days goes with --virtual; the patients of the reference cohort live their 48 h")
    flags = {"patients": patients, "seed": seed, "sensor": sensor(noise, noise_sd, interval_min, dropout, censor)}
    asked = checked(load_experiment(None, flags), noise_sd)
    if virtual is None:
        cohort = load_cohort(asked)
    else:
        cohort = virtual_population(
            virtual,
            days=days or 2,
            interval_min=asked.sensor.interval_min or 5.0,
            noise=sensor_noise(asked.sensor.noise, asked.sensor.noise_sd_mg_dL),
            dropout=asked.sensor.dropout,
            censor=asked.sensor.censor,
            key=jax.random.fold_in(jax.random.key(seed), 0),
        )
    with warnings_in_words():
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
