"""The command line: `t1djax simulate | train | evaluate | plot`. It parses, calls the library, and prints."""

import json
import math
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from . import __version__
from .config import ConfigError, Experiment, load_experiment
from .data import Cohort, virtual_population
from .evaluation import doubts, persistence_rmse, spread
from .experiment import Run, load_cohort, run, sensor_noise
from .identifiability import UnidentifiableError
from .io import DataError, DataWarning, ResultError, find_results, read_result, without_nan, write_cohort
from .physics import INITIAL_STATES, PARAMETERS
from .plotting import save_figures
from .problem import Problem
from .training import Progress

EXIT_FAILED_PATIENTS = 4
_EXIT_CODES = (
    "Exit codes: 0 all well; 1 a file could not be read or written; 2 wrong flags or configuration; "
    "3 wrong data; 4 finished, but the fit of some patient failed; 130 interrupted."
)
app = typer.Typer(
    help=f"Type 1 diabetes in JAX: simulate, fit and forecast whole cohorts at once. Research software, not a "
    f"medical device.\n\n{_EXIT_CODES}",
    epilog="Example: t1djax train --model ode --mode inverse --data reference --results results",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_stderr = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables, for machines.")]
Noise = Annotated[str | None, typer.Option(help="Sensor error: none, white, ar1, breton-kovatchev.  [default: none]")]
NoiseSd = Annotated[float | None, typer.Option(help="Its standard deviation, mg/dL (white, ar1).  [default: 10]")]
Interval = Annotated[float | None, typer.Option(help="Minutes between readings.  [default: 1; virtual patients 5]")]
Dropout = Annotated[float | None, typer.Option(help="Share of readings lost at random.  [default: 0]")]
Censor = Annotated[bool | None, typer.Option("--censor", help="Report readings within 40 to 400 mg/dL, as devices do.")]


def main() -> None:
    """Entry point: known errors end in one line and an exit code, never in a traceback."""
    try:
        code = app()  # leaves by SystemExit; wrong flags, --help and interrupts are its own business
    except (DataError, ResultError) as e:
        code = _fail(e, 3)
    except (ConfigError, UnidentifiableError, ValueError) as e:
        code = _fail(e, 2)
    except KeyError as e:
        code = _fail(ValueError(e.args[0] if e.args else str(e)), 2)
    except OSError as e:
        code = _fail(e, 1)
    except MemoryError as e:
        code = _fail(MemoryError(f"not enough memory ({e}); take fewer patients, days or readings"), 1)
    sys.exit(code)


def _fail(error: Exception, code: int) -> int:
    _stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    return code


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"t1djax {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: t1djax simulate --virtual 100 --seed 0 --noise white --noise-sd 10 --out cohort")
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
    flags = {"patients": patients, "seed": seed, "sensor": _sensor(noise, noise_sd, interval_min, dropout, censor)}
    asked = _checked(load_experiment(None, flags), noise_sd)
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
    with _warnings_in_words():
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
        _print_json(facts)
    else:
        typer.echo(
            f"{len(cohort)} patients, {facts['readings']} readings in {out}\n"
            f"true glucose {glucose.min():.0f} to {glucose.max():.0f} mg/dL, {100 * inside:.1f} % within 40 to 400"
        )


@app.command(epilog="Example: t1djax train --model pinn --mode inverse --data reference --inverse-params ksi --seed 0")
def train(
    config: Annotated[Path | None, typer.Option(help="YAML file of an experiment; flags win over it.")] = None,
    model: Annotated[str | None, typer.Option(help="pinn, modified_mlp, birnn or ode.  [default: pinn]")] = None,
    mode: Annotated[str | None, typer.Option(help="forward or inverse.  [default: inverse]")] = None,
    data: Annotated[
        str | None, typer.Option(help="Folder of a cohort, file of a patient, or `reference`.  [default: reference]")
    ] = None,
    patients: Annotated[
        str | None, typer.Option(help="all, or names: A,B; for the reference also 3,5 or Pat2-Pat11.  [default: all]")
    ] = None,
    inverse_params: Annotated[
        str | None, typer.Option(help=f"What to estimate, of {', '.join(PARAMETERS)}.  [default: ksi]")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Sets noise, starts and weights.  [default: 0]")] = None,
    members: Annotated[
        int | None, typer.Option(min=1, help="Fits per patient, from so many seeds, in one program.  [default: 1]")
    ] = None,
    results: Annotated[str | None, typer.Option(help="Folder for results.  [default: results]")] = None,
    noise: Noise = None,
    noise_sd: NoiseSd = None,
    interval_min: Interval = None,
    dropout: Dropout = None,
    censor: Censor = None,
    assume_population: Annotated[
        bool | None, typer.Option("--assume-population", help="Take what nobody stated from the population; said so.")
    ] = None,
    estimate_initial_state: Annotated[
        bool | None,
        typer.Option("--estimate-initial-state", help="Estimate insulin and food on board at the start too."),
    ] = None,
    prior: Annotated[
        list[str] | None, typer.Option(help="Belief of a parameter, median:sd of its log: ksi=200:0.3; repeatable.")
    ] = None,
    bounds: Annotated[
        list[str] | None, typer.Option(help="Bounds of a parameter: ksi=50:600, in its unit; repeatable.")
    ] = None,
    noise_level: Annotated[
        float | None, typer.Option(help="Noise of the readings, mg/dL, that a fit goes by.  [default: estimated]")
    ] = None,
    strict: Annotated[bool | None, typer.Option("--strict", help="Refuse readings below 40 mg/dL.")] = None,
    layout: Annotated[str | None, typer.Option(help="Layout of the data: table or hupa (HUPA-UCM).")] = None,
    carbs_unit: Annotated[
        str | None, typer.Option(help="HUPA-UCM: its carbohydrate is in g, exchange (10 g), or none.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="HUPA-UCM: first time to keep, ISO 8601 local.")] = None,
    hours: Annotated[float | None, typer.Option(help="HUPA-UCM: length of the window, h.")] = None,
    info: Annotated[str | None, typer.Option(help="HUPA-UCM: patients_info.csv, for the body mass.")] = None,
    figures: Annotated[bool, typer.Option(help="Draw figures into the result folders.")] = True,
    as_json: Json = False,
) -> None:
    """Fit every patient of a cohort at once, write a result folder for each, and print the table."""
    flags = {
        "model": model,
        "mode": mode,
        "data": data,
        "patients": patients,
        "inverse_params": inverse_params,
        "seed": seed,
        "members": members,
        "results": results,
        "sensor": _sensor(noise, noise_sd, interval_min, dropout, censor),
        "layout": layout,
        "hupa": {"carbs_unit": carbs_unit, "start": start, "hours": hours, "info": info},
        "assume_population": assume_population,
        "estimate_initial_state": estimate_initial_state,
        "priors": {s: {"median": a, "sd_log": b} for s, (a, b) in _pairs("--prior", "200:0.3", prior).items()},
        "bounds": {symbol: list(pair) for symbol, pair in _pairs("--bounds", "50:600", bounds).items()},
        "noise_sd_mg_dL": noise_level,
        "strict": strict,
    }
    experiment = _checked(load_experiment(config, flags), noise_sd)
    cohort: list[Cohort] = []

    def on_problem(patients_: Cohort, problem: Problem) -> None:
        cohort.append(patients_)
        if not as_json:
            what = f"estimating {', '.join(problem.start)}" if problem.start else "parameters known"
            _stderr.print(f"{experiment.model} {experiment.mode}: {len(patients_)} patients, {what}", highlight=False)
            for note in problem.notes:
                _stderr.print(f"  note: {note}", highlight=False, markup=False, soft_wrap=True)

    with _warnings_in_words(), _progress(show=not as_json) as on_progress:
        finished = run(experiment, on_problem=on_problem, on_progress=on_progress, figures=figures)
    if as_json:
        _print_json(_as_json(finished))
    else:
        _print_summary(finished, cohort[0])
    if not all(patient.ok for fit in finished.ensemble for patient in fit):
        raise typer.Exit(EXIT_FAILED_PATIENTS)


@app.command(epilog="Example: t1djax evaluate results --output metrics.csv")
def evaluate(
    results: Annotated[list[Path], typer.Argument(help="Result folders, or folders that hold some.")],
    output: Annotated[Path | None, typer.Option(help="Write the table to this CSV file as well.")] = None,
    as_json: Json = False,
) -> None:
    """Collect the metrics of finished runs into one table."""
    rows = []
    for folder in find_results(results):
        m = read_result(folder).metadata
        row = {k: m[k] for k in ("model", "mode", "patient", "seed", "ok")}
        for symbol, entry in {**m["estimates"], **m["derived"]}.items():
            row |= {symbol: entry["value"], f"{symbol}_se": entry["standard_error"]}
            row[f"{symbol}_error_percent"] = entry["error_percent"]
        rows.append(row | m["metrics"] | {"wall_seconds": m["wall_seconds"], "folder": str(folder)})
    table = pd.DataFrame(rows)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(output, index=False)
    if as_json:
        _print_json(rows)
        return
    symbols = [s for s in PARAMETERS if s in table]
    shown = ["model", "mode", "patient", "seed"]
    shown += [c for s in symbols for c in (s, f"{s}_error_percent")]
    shown += [f"rmse_{s}_mg_dL" for s in ("fit", "held_out", "forecast")]
    _print_table(table.loc[:, shown].dropna(axis=1, how="all"))
    if output is not None:
        typer.echo(f"all {table.shape[1]} columns in {output}")


@app.command(epilog="Example: t1djax plot results --out figures")
def plot(
    results: Annotated[list[Path], typer.Argument(help="Result folders, or folders that hold some.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the figures; left out, each result's own.")] = None,
    as_json: Json = False,
) -> None:
    """Draw the figures of finished runs: glucose, latent states, residuals, parameters on their way."""
    paths: list[Path] = []
    folders = find_results(results)
    if out is not None and len({folder.name for folder in folders}) < len(folders):
        raise ConfigError("two of these results bear one name; draw them into their own folders, without --out")
    for folder in folders:
        paths += save_figures(read_result(folder), None if out is None else out / folder.name)
    if as_json:
        _print_json([str(path) for path in paths])
    else:
        for path in paths:
            typer.echo(path)


def _sensor(
    noise: str | None, sd: float | None, interval_min: float | None, dropout: float | None, censor: bool | None
) -> dict[str, Any]:
    return {
        "noise": noise,
        "noise_sd_mg_dL": sd,
        "interval_min": interval_min,
        "dropout": dropout,
        "censor": censor,
    }


def _pairs(flag: str, example: str, texts: Sequence[str] | None) -> dict[str, tuple[float, float]]:
    """Pairs of numbers by symbol, from texts such as `ksi=50:600`."""
    found: dict[str, tuple[float, float]] = {}
    for text in texts or ():
        try:
            symbol, numbers = text.replace(" ", "").split("=")
            first, second = map(float, numbers.split(":"))
        except ValueError as e:
            raise ConfigError(f"{flag} {text}: write a symbol and two numbers, as in {flag} ksi={example}") from e
        if symbol in found:
            raise ConfigError(f"{flag} {text}: {symbol} stands twice")
        found[symbol] = (first, second)
    return found


def _checked(experiment: Experiment, noise_sd: float | None) -> Experiment:
    """Refuse a standard deviation that nothing would use: a person who states one expects noise."""
    if noise_sd is not None and experiment.sensor.noise not in ("white", "ar1"):
        raise ConfigError(f"--noise-sd goes with --noise white or ar1, but the noise is {experiment.sensor.noise}")
    return experiment


@contextmanager
def _warnings_in_words() -> Iterator[None]:
    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        _stderr.print(f"warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show
        yield


@contextmanager
def _progress(*, show: bool) -> Iterator[Any]:
    if not show:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[says]}"),
    )
    with Bar(*columns, console=_stderr, transient=True, disable=not _stderr.is_terminal) as bar:
        task = bar.add_task("compiling", total=None, says="")
        last = [0.0]

        def on_progress(p: Progress) -> None:
            values = ", ".join(f"{s} {np.median(v):.4g}" for s, v in list(p.values.items())[:3])
            middle = f"median of {p.patients}: {values}" if values else f"{p.patients} patients"
            left = f"{p.seconds_left:.0f} s left" if p.seconds_left is not None else ""
            says = f"misfit {np.sqrt(np.median(p.loss)):.3g} mg/dL  {middle}  {left}"
            bar.update(task, description=f"stage {p.stage}", total=p.total_steps, completed=p.step, says=says)
            # Where there is no terminal to redraw, a line now and then.
            if not _stderr.is_terminal and (time.monotonic() - last[0] > 10 or p.step == p.total_steps):
                last[0] = time.monotonic()
                _stderr.print(f"stage {p.stage}: step {p.step} of {p.total_steps}, {says}", highlight=False)

        yield on_progress


def _as_json(finished: Run) -> dict[str, Any]:
    return {
        "model": finished.fit.model,
        "mode": finished.fit.problem.mode,
        "notes": list(finished.fit.problem.notes),
        "assumed": dict(finished.fit.problem.assumed),
        "compile_seconds": finished.fit.cost.compile_s,
        "run_seconds": finished.fit.cost.run_s,
        "patients": finished.table.to_dict(orient="records"),
        "spread": spread(finished.ensemble).to_dict(orient="records") if len(finished.ensemble) > 1 else [],
        "folders": [str(folder) for folder in finished.folders],
    }


def _print_json(x: Any) -> None:
    typer.echo(json.dumps(without_nan(x), indent=2, allow_nan=False))


def _print_summary(finished: Run, cohort: Cohort) -> None:
    table, problem = finished.table.copy(), finished.fit.problem
    shown = ["patient"] if len(finished.ensemble) == 1 else ["patient", "seed"]
    for symbol in problem.start:
        table[symbol] = [_with_error(v, se) for v, se in zip(table[symbol], table[f"{symbol}_se"], strict=True)]
        shown += [symbol, f"{symbol}_error_percent"]
    shown += [f"rmse_{s}_mg_dL" for s in ("fit", "held_out", "forecast")]
    table["persistence"] = [persistence_rmse(cohort[name]) for name in table["patient"]]
    _print_table(table.loc[:, [*shown, "persistence"]].dropna(axis=1, how="all"))
    if len(finished.ensemble) > 1:
        over = spread(finished.ensemble)
        columns = [c for s in problem.start for c in (s, f"{s}_sd", f"{s}_start_sd")]
        typer.echo(f"\nspread over {len(finished.ensemble)} seeds (starts and initial weights; same readings)")
        _print_table(over.loc[:, ["patient", *columns, "glucose_sd_mg_dL"]])
    said = set()
    for patient in (patient for fit in finished.ensemble for patient in fit):
        for doubt in doubts(patient, cohort[patient.name]):
            if (line := f"warning: {patient.name}: {doubt}") not in said:
                _stderr.print(line, style="yellow", markup=False, soft_wrap=True)
                said.add(line)
    cost = finished.fit.cost
    where = finished.folders[0].parent if finished.folders else ""
    typer.echo(
        f"compiled in {cost.compile_s:.1f} s, ran {cost.run_s:.1f} s; {len(finished.folders)} folders in {where}"
    )


_HEADINGS = {
    "rmse_fit_mg_dL": "RMSE fit\nmg/dL",
    "rmse_held_out_mg_dL": "RMSE held out\nmg/dL",
    "rmse_forecast_mg_dL": "RMSE forecast\nmg/dL",
    "persistence": "last reading\nheld, mg/dL",
    "glucose_sd_mg_dL": "sd of glucose\nmg/dL",
}


def _heading(column: str) -> str:
    if column.endswith("_error_percent"):
        return f"error of {column.removesuffix('_error_percent')}\n%"
    for end, word in (("_start_sd", "sd of starts"), ("_sd", "sd")):
        if column.endswith(end) and column != "glucose_sd_mg_dL":
            return f"{word}\n{_heading(column.removesuffix(end)).split(chr(10))[-1]}"
    if (row := {**PARAMETERS, **INITIAL_STATES}.get(column)) is not None:
        return f"{column}\n{row.unit}"
    return _HEADINGS.get(column, column)


def _print_table(frame: pd.DataFrame) -> None:
    table = Table(show_edge=False, header_style="bold")
    for column in frame.columns:
        names = column in ("patient", "model", "mode")
        table.add_column(_heading(str(column)), justify="left" if names else "right", no_wrap=True)
    for row in frame.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    # Into a file or a pipe: as wide as it needs to be, never cut.
    Console(width=None if sys.stdout.isatty() else 28 * frame.shape[1]).print(table)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    if not isinstance(value, float):
        return str(value)
    return "<0.0001" if 0 < abs(value) < 1e-4 else f"{value:.4g}"


def _with_error(value: float, standard_error: float | None) -> str:
    if standard_error is None or not np.isfinite(standard_error) or standard_error <= 1e-9 * abs(value):
        return f"{value:.6g}"
    if standard_error > abs(value):
        return f"{value:.3g} ± {standard_error:.2g}"
    digits = min(12, max(0, 1 - math.floor(math.log10(standard_error))))
    return f"{value:.{digits}f} ± {standard_error:.{digits}f}"


if __name__ == "__main__":
    main()
