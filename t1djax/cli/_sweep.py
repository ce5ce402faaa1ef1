"""`t1djax sweep`: a matrix of experiments."""

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from .._words import counted
from ..config import ConfigError, load_sweep
from ..experiment import Execution, Program, Sweep, SweepProgress, plan_sweep, sweep
from ..physics import PARAMETERS
from ._app import Censor, Dropout, Interval, Json, Noise, NoiseSd, app, warnings_in_words
from ._data import Known, known_values
from ._execution import (
    AssumePopulation,
    Batch,
    CheckpointEvery,
    Data,
    Figures,
    Line,
    Patients,
    SystemMetrics,
    TrackingUri,
    stop_on_term,
    telling,
    tracker_of,
)
from ._exit import EXIT_FAILED_PATIENTS
from ._sensor import sensor
from ._tables import PARAMETERS_HELP, print_json, print_legend, print_table

_EXAMPLE = "Example: t1djax sweep --models pinn,birnn,ode --modes forward,inverse --patients all --results sweep"


@app.command(
    "sweep",
    short_help="Run models by modes by parameters, or go on with it.",
    epilog=f"{_EXAMPLE}\n\n{PARAMETERS_HELP}",
)
def run_sweep(
    config: Annotated[Path | None, typer.Option(help="YAML file of a sweep; flags win over it.")] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Of pinn, modified_mlp, birnn (networks) and ode (least squares).  [default: all four]"),
    ] = None,
    modes: Annotated[
        str | None, typer.Option(help="Of forward (parameters known) and inverse (estimate some).  [default: inverse]")
    ] = None,
    data: Data = None,
    patients: Patients = None,
    inverse_params: Annotated[
        list[str] | None,
        typer.Option(help=f"A set to estimate, of {', '.join(PARAMETERS)}; repeat it for more sets.  [default: ksi]"),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Fits per patient, in one program.  [default: 1]")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The first seed.  [default: 0]")] = None,
    results: Annotated[str | None, typer.Option(help="Folder for results; it belongs to one sweep.")] = None,
    noise: Noise = None,
    noise_sd: NoiseSd = None,
    interval_min: Interval = None,
    dropout: Dropout = None,
    censor: Censor = None,
    known: Known = None,
    assume_population: AssumePopulation = None,
    figures: Figures = True,
    checkpoint_every: CheckpointEvery = 5,
    batch: Batch = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its memory; fit nothing.")] = False,
    tracking: Annotated[
        bool | None,
        typer.Option("--tracking/--no-tracking", help="Log to MLflow.  [default: where MLflow is installed]"),
    ] = None,
    tracking_uri: TrackingUri = None,
    system_metrics: SystemMetrics = False,
    coordinator: Annotated[
        str | None, typer.Option(help="Several processes share the sweep: address of the first, HOST:PORT.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="How many processes.")] = None,
    process: Annotated[int | None, typer.Option(min=0, help="Which of them this is, from 0.")] = None,
    as_json: Json = False,
) -> None:
    """Run models by modes by parameters on the same patients, or go on with a sweep that was stopped.

    What is finished in --results stays; training goes on from its last checkpoint, bit for bit.
    """
    names = lambda text: None if text is None else [part.strip() for part in text.split(",") if part.strip()]
    flags = {
        "models": names(models),
        "modes": names(modes),
        "inverse_params": None if inverse_params is None else [names(text) for text in inverse_params],
        "seeds": seeds,
        "seed": seed,
        "data": data,
        "patients": patients,
        "results": results,
        "sensor": {k: v for k, v in sensor(noise, noise_sd, interval_min, dropout, censor).items() if v is not None},
        "known": known_values(known),
        "assume_population": assume_population,
    }
    asked = load_sweep(config, {k: v for k, v in flags.items() if v not in (None, {})})
    _join_processes(coordinator, processes, process)
    if dry_run:
        with warnings_in_words():
            plan = plan_sweep(asked, execution=Execution(batch=batch))
        print_json([_planned(p) for p in plan]) if as_json else _print_plan(plan)
        return
    track = importlib.util.find_spec("mlflow") is not None if tracking is None else tracking
    with (
        warnings_in_words(),
        stop_on_term() as stop,
        tracker_of(track, tracking_uri, asked.results, system_metrics=system_metrics) as tracker,
        telling(_line, show=not as_json) as tell,
    ):
        tell.now("reading")
        execution = Execution(
            figures=figures, checkpoint_every=checkpoint_every, batch=batch, tracker=tracker, stop=stop
        )
        done = sweep(asked, execution=execution, on_progress=tell)
    if as_json:
        print_json(_as_json(done))
    else:
        _print_comparison(done)
    if not done.table["ok"].to_numpy().all():
        raise typer.Exit(EXIT_FAILED_PATIENTS)


def _join_processes(coordinator: str | None, processes: int | None, process: int | None) -> None:
    given = [x is not None for x in (coordinator, processes, process)]
    if not any(given):
        return
    if not all(given):
        raise ConfigError("--coordinator, --processes and --process go together")
    import jax  # noqa: PLC0415 - before anything touches a device

    jax.distributed.initialize(coordinator, processes, process)


def _planned(program: Program) -> dict[str, Any]:
    return {
        "model": program.model,
        "mode": program.mode,
        "parameters": "+".join(program.named),
        "patients": program.patients,
        "seeds": program.seeds,
        "fits": program.runs,
        "batches": program.batches,
        "fits_per_batch": program.batch,
        "memory_MiB": None if program.memory_bytes is None else round(program.memory_bytes / 2**20, 1),
    }


def _print_plan(plan: tuple[Program, ...]) -> None:
    print_table(pd.DataFrame([_planned(p) for p in plan]))
    fits = counted(sum(p.runs for p in plan), "fit")
    typer.echo(f"{counted(len(plan), 'program')}, {fits}; memory is an estimate of the working set")


def _line(p: SweepProgress) -> Line:
    left = f"{p.seconds_left:.0f} s left" if p.seconds_left is not None else ""
    at = ""
    if p.progress is not None:
        misfit = np.sqrt(np.median(p.progress.loss))
        at = f"step {p.progress.step} of {p.progress.total_steps}, misfit {misfit:.3g} mg/dL"
    if p.phase == "compiling":  # least squares tells nothing on its way
        at = "compiling and fitting" if p.label.startswith("ode") else "compiling"
    says = "  ".join(x for x in (at, left) if x)
    return Line(f"{p.program}/{p.programs} {p.label}", p.runs_done, p.runs, says, p.progress is None, "fits done")


def _as_json(done: Sweep) -> dict[str, Any]:
    return {
        "sweep": done.name,
        "summary": str(done.summary),
        "comparison": done.comparison.to_dict(orient="records"),
        "results": done.table.to_dict(orient="records"),
        "folders": [str(folder) for run in done.runs for folder in run.folders],
    }


def _print_comparison(done: Sweep) -> None:
    table = done.comparison
    named = sorted({symbol for text in table["parameters"] for symbol in text.split("+") if symbol})
    measures = {"rmse_forecast_mg_dL": ("RMSE forecast", "mg/dL")}
    measures |= {f"{s}_error_percent": (f"error of {s}", "%") for s in named}
    settings = ("settings",) if any(table["settings"]) else ()
    kept = {c: c for c in ("model", "mode", "parameters", *settings, "patients", "seeds", "failed")}
    for measure, (words, unit) in measures.items():
        for end, what in (("median", "median"), ("worst", "worst"), ("seed_sd", "sd of seeds")):
            kept[f"{measure}_{end}"] = f"{words}\n{what}, {unit}"
    there = [column for column in kept if column in table]
    print_table(table.loc[:, there].dropna(axis=1, how="all").rename(columns=kept))
    print_legend(named)
    typer.echo(f"{counted(len(done.table), 'result')}; every number in {done.summary}")
