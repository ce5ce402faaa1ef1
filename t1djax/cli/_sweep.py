"""`t1djax sweep`: a matrix of experiments."""

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from .._words import counted
from ..config import ConfigError, Experiment, SweepConfig, load_sweep
from ..experiment import Execution, Program, Sweep, SweepProgress, plan_sweep, sweep
from ._app import Json, commands
from ._execution import Line, Tracked, stop_on_term, telling, tracker_of
from ._exit import EXIT_FAILED_PATIENTS
from ._fields import Values, flags_of, with_flags
from ._tables import PARAMETERS_HELP, print_json, print_legend, print_table

_EXAMPLE = "Example: t1djax sweep --models pinn,birnn,ode --modes forward,inverse --patients all --results sweep"


@commands.command(
    "sweep",
    epilog=f"{_EXAMPLE}\n\n{PARAMETERS_HELP}",
)
@with_flags(
    matrix=flags_of(SweepConfig),
    common=flags_of(Experiment, without=("model", "mode", "inverse_params", "members")),
    how=flags_of(Execution, without=("resume",)),
    tracked=flags_of(Tracked),
)
def run_sweep(
    *,
    config: Annotated[Path | None, typer.Option(help="YAML file of a sweep; flags win over it.")] = None,
    matrix: Values,
    common: Values,
    how: Values,
    tracked: Values,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its memory; fit nothing.")] = False,
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
    matrix_config = load_sweep(config, matrix | common)
    _join_processes(coordinator, processes, process)
    if dry_run:
        plan = plan_sweep(matrix_config, execution=Execution(**how))
        print_json([_planned(p) for p in plan]) if as_json else _print_plan(plan)
        return
    tracked = {"tracking": importlib.util.find_spec("mlflow") is not None} | tracked
    with (
        stop_on_term() as stop,
        tracker_of(Tracked(**tracked), matrix_config.results) as tracker,
        telling(_line, show=not as_json) as tell,
    ):
        tell.now("reading")
        done = sweep(matrix_config, execution=Execution(**how, tracker=tracker, stop=stop), on_progress=tell)
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
    detail = "  ".join(x for x in (at, left) if x)
    return Line(f"{p.program}/{p.programs} {p.label}", p.runs_done, p.runs, detail, p.progress is None, "fits done")


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
    print_legend(named, done.runs[0].problems[0].body)
    typer.echo(f"{counted(len(done.table), 'result')}; every number in {done.summary}")
