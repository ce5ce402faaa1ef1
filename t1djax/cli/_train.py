"""`t1djax train`."""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .._words import counted, some
from ..config import ConfigError, Experiment, load_experiment
from ..data import Cohort
from ..evaluation import persistence_rmse, spread
from ..experiment import Execution, Run, run
from ..inference import quick_verdict
from ..problem import Problem
from ..records import Estimate, symbols_of
from ..training import Progress
from ._app import Json, commands, say, stderr
from ._execution import Line, Tracked, stop_on_term, telling, tracker_of
from ._exit import EXIT_FAILED_PATIENTS
from ._fields import Values, flags_of, with_flags
from ._sensor import checked
from ._tables import PARAMETERS_HELP, alike, print_json, print_legend, print_table, symbols_json, whom, with_error


@commands.command(
    epilog="Example: t1djax train --model pinn --mode inverse --data reference --inverse-params ksi --seed 0\n\n"
    + PARAMETERS_HELP,
)
@with_flags(stated=flags_of(Experiment), how=flags_of(Execution), tracked=flags_of(Tracked))
def train(
    *,
    config: Annotated[Path | None, typer.Option(help="YAML file of an experiment; flags win over it.")] = None,
    stated: Values,
    how: Values,
    tracked: Values,
    as_json: Json = False,
) -> None:
    """Fit every patient of a cohort at once, write a result folder for each, and print the table."""
    if config is None and not stated:
        raise ConfigError(
            "say what to fit: --data FILE or FOLDER; --data reference, the ten packaged patients; or --config FILE"
        )
    begun = time.monotonic()
    experiment = checked(load_experiment(config, stated), stated)
    cohort: list[Cohort] = []

    def on_problem(patients_: Cohort, problem: Problem) -> None:
        cohort.append(patients_)
        if not as_json:
            what = f"estimating {', '.join(problem.start)}" if problem.start else "parameters known"
            fits = f"{experiment.model} {problem.mode}: {counted(len(patients_), 'patient')}, {what}"
            stderr.print(fits, highlight=False, markup=False, soft_wrap=True)
            for note in problem.notes:
                say("note", note)
        # Least squares tells nothing on its way: what is said here holds until it ends.
        tell.now("compiling and fitting" if experiment.model == "ode" else "compiling")

    with (
        stop_on_term() as stop,
        tracker_of(Tracked(**tracked), experiment.results) as tracker,
        telling(_line, show=not as_json) as tell,
    ):
        tell.now(f"reading {experiment.data}")
        execution = Execution(**how, tracker=tracker, stop=stop)
        finished = run(experiment, execution=execution, on_problem=on_problem, on_progress=tell)
    if as_json:
        print_json(_as_json(finished, experiment.model))
    else:
        _print_summary(finished, cohort[0], time.monotonic() - begun)
    if not finished.table["ok"].to_numpy().all():
        raise typer.Exit(EXIT_FAILED_PATIENTS)


def _line(p: Progress) -> Line:
    values = ", ".join(f"{s} {np.median(v):.4g}" for s, v in list(p.values.items())[:3])
    middle = f"median of {p.patients}: {values}" if values else f"{counted(p.patients, 'patient')}"
    left = f"{p.seconds_left:.0f} s left" if p.seconds_left is not None else ""
    # What matters most stands first: a narrow terminal cuts the end off.
    detail = "  ".join(x for x in (f"misfit {np.sqrt(np.median(p.loss)):.3g} mg/dL", left, middle) if x)
    return Line(f"stage {p.stage}, step", p.step, p.total_steps, detail, p.step == p.total_steps)


def _as_json(finished: Run, model: str) -> dict[str, Any]:
    problem, ensemble = finished.problems[0], finished.ensemble
    return {
        "run": finished.name,
        "model": model,
        "mode": problem.mode,
        "notes": list(problem.notes),
        "symbols": symbols_json(problem.start, symbols_of(problem.body)),
        "assumed": dict(problem.assumed),
        "compile_seconds": finished.compile_s,
        "run_seconds": finished.run_s,
        "patients": finished.table.to_dict(orient="records"),
        "spread": spread(ensemble).to_dict(orient="records") if ensemble is not None and len(ensemble) > 1 else [],
        "folders": [str(folder) for folder in finished.folders],
    }


def _print_summary(finished: Run, cohort: Cohort, seconds: float) -> None:
    table, problem, ensemble = finished.table.copy(), finished.problems[0], finished.ensemble
    shown = ["patient"] if len(finished.problems) == 1 else ["patient", "seed"]
    for symbol in problem.start:
        table[symbol] = [with_error(v, se) for v, se in zip(table[symbol], table[f"{symbol}_se"], strict=True)]
        shown += [symbol, f"{symbol}_error_percent"]
    shown += [f"rmse_{s}_mg_dL" for s in ("fit", "held_out", "forecast")]
    table["persistence"] = [persistence_rmse(cohort[name]) for name in table["patient"]]
    print_table(table.loc[:, [*shown, "persistence"]].dropna(axis=1, how="all"))
    if ensemble is not None and len(ensemble) > 1:
        over = spread(ensemble)
        columns = [c for s in problem.start for c in (s, f"{s}_sd", f"{s}_start_sd")]
        typer.echo(f"\nspread over {counted(len(ensemble), 'seed')} (starts and initial weights; same readings)")
        print_table(over.loc[:, ["patient", *columns, "glucose_sd_mg_dL"]])
    print_legend(problem.start, problem.body)
    metadata = finished.metadata
    seeds = {m["seed"] for m in metadata}
    for fits, doubt in alike((_fit_of(m), doubt) for m in metadata for doubt in m["doubts"]):
        say("warning", f"{some(whom(fits, seeds))}: {doubt}")
    _tell_of_errors(metadata, seeds)
    if problem.mode == "inverse" and ensemble is not None:
        over = f" over {counted(len(ensemble), 'seed')}" if len(ensemble) > 1 else ""
        typer.echo(f"verdict{over}: {quick_verdict(ensemble)}")
    where = finished.folders[0].parent if finished.folders else ""
    cost = f"{seconds:.0f} s in all: compiling {finished.compile_s:.1f}, running {finished.run_s:.1f}, the rest files"
    typer.echo(f"{cost}; {counted(len(finished.folders), 'folder')} in {where}")


def _fit_of(metadata: Mapping[str, Any]) -> tuple[str, int]:
    return metadata["patient"], metadata["seed"]


def _tell_of_errors(metadata: Sequence[Mapping[str, Any]], seeds: Collection[int]) -> None:
    """Say where standard errors are wider than those of white noise; where there are none, a doubt has said why."""
    estimates = {_fit_of(m): [Estimate.read(e) for e in m["estimates"].values()] for m in metadata}
    if wider := [fit for fit, each in estimates.items() if any(e.widened for e in each)]:
        typer.echo(
            f"\N{PLUS-MINUS SIGN} is widened: residuals are autocorrelated, in {some(whom(wider, seeds))}: "
            "`t1djax identify` says what the readings tell"
        )
