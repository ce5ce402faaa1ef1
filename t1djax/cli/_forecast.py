"""`t1djax forecast`: rolling forecasts by the stochastic model, beside the simple methods."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import typer

from .._words import counted
from ..config import ConfigError
from ..data import HORIZONS_MIN, TRAINING_SHARE, Cohort
from ..evaluation import BASELINES, baseline_forecasts, pooled_forecasts, score_forecasts
from ..plotting import plot_forecasts
from ..population import population_forecasts, shipped_forecaster
from ..records import RollingForecasts
from ..statespace import StateSpaceFit, fit_state_space, state_space_forecasts
from ._app import Interval, Json, commands, say, warnings_in_words
from ._data import READING, Data, Names, read_people
from ._enough import check_horizons, check_length
from ._execution import Line, telling
from ._exit import EXIT_FAILED_PATIENTS
from ._fields import Values, with_flags
from ._output import Overwrite, check_folder, remove_figures
from ._tables import print_json, print_table, symbols_json

_Z90 = 1.6448536269514722
_TABLE = "forecasts.csv"
_SHOWN = ["patient", "method", "horizon_min", "n", "rmse_mg_dL", "bias_mg_dL", "coverage_90_percent", "crps_mg_dL"]


@commands.command(
    epilog="Example: t1djax forecast cohort --horizons 30,60 --out forecasts",
)
@with_flags(reading=READING)
def forecast(
    *,
    data: Data,
    patients: Names = None,
    horizons: Annotated[str, typer.Option(help="How far ahead, min, with commas between.")] = "30,60",
    physiology: Annotated[str, typer.Option(help="The body: magdelaine, kanderian or hovorka.")] = "magdelaine",
    train_share: Annotated[float, typer.Option(help="Share of each record to learn from.")] = TRAINING_SHARE,
    future_inputs: Annotated[
        str, typer.Option(help="What is known of later insulin and meals: none, announced or recorded.")
    ] = "none",
    announced_min: Annotated[float, typer.Option(help="Minutes by which doses and meals are announced.")] = 30.0,
    out: Annotated[Path | None, typer.Option(help="Folder for forecasts.csv and a figure per patient.")] = None,
    overwrite: Overwrite = False,
    interval_min: Interval = None,
    reading: Values,
    as_json: Json = False,
) -> None:
    """Forecast the rest of each record from every reading, with intervals, and score it beside simple methods.

    The stochastic model learns from the first part of the record. Scores are on real readings that follow.
    """
    ahead = _horizons(horizons)
    if future_inputs not in ("none", "announced", "recorded"):
        raise ConfigError(f"--future-inputs {future_inputs}: give none, announced or recorded")
    if not 0 < train_share < 1:
        raise ConfigError(f"--train-share {train_share:g}: give a share between 0 and 1")
    if not 0 <= announced_min < np.inf:
        raise ConfigError(f"--announced-min {announced_min:g}: give minutes, zero or more")
    if out is not None:
        check_folder(out, _TABLE, "forecasts", overwrite=overwrite)
    with warnings_in_words():
        cohort = read_people(
            data,
            names=patients,
            interval_min=interval_min,
            **reading,
        ).cohort
    check_horizons(cohort, ahead)
    for text in check_length(cohort, ahead, train_share):
        say("warning", text)
    with telling(turn_line, show=not as_json) as tell:
        tell.now(f"learning from {counted(len(cohort), 'patient')}")
        fit = fit_state_space(list(cohort), physiology=physiology, train_share=train_share)
        made = by_every_method(
            fit, cohort, horizon_min=ahead, future_inputs=future_inputs, announced_min=announced_min, on_patient=tell
        )
    scores = score_forecasts(made)
    scores = scores.loc[scores["range"] == "all"]
    files = [] if out is None else _write(out, cohort, made)
    failed = [f"{p.name}: {p.message}" for p in fit if not p.ok]
    if as_json:
        rows = scores.drop(columns="range").to_dict(orient="records")
        found = [{"patient": p.name, "ok": p.ok, **_values(p.constants), **_values(p.effects)} for p in fit]
        seconds = {"compile_s": fit.cost.compile_s, "run_s": fit.cost.run_s}
        symbols = symbols_json((s for p in fit for s in (*p.constants, *p.effects)), fit.form.symbols)
        printed = {"scores": rows, "fits": found, "symbols": symbols, "seconds": seconds}
        print_json(printed | {"files": [str(f) for f in files]})
    else:
        print_table(scores.loc[:, _SHOWN])
        typer.echo(
            f"future inputs: {future_inputs}; fit of {counted(len(fit), 'patient')}: "
            f"{fit.cost.compile_s:.1f} s to compile, {fit.cost.run_s:.1f} s to run"
        )
        for file in files:
            typer.echo(file)
    for message in failed:
        say("warning", message)
    if failed:
        raise typer.Exit(EXIT_FAILED_PATIENTS)


class Turn(NamedTuple):
    """Whose forecasts are being made."""

    number: int
    of: int
    name: str


def turn_line(turn: Turn) -> Line:
    return Line("forecasting patient", turn.number, turn.of, turn.name, turn.number == 1)


def by_every_method(
    fit: StateSpaceFit,
    cohort: Cohort,
    *,
    horizon_min: Sequence[float] = HORIZONS_MIN,
    future_inputs: Any = "none",
    announced_min: float = 30.0,
    on_patient: Callable[[Turn], None] = lambda _: None,
) -> list[RollingForecasts]:
    """The stochastic model, and those that know no later inputs, the shipped one and simple methods."""
    made = []
    for k, patient in enumerate(cohort, 1):
        on_patient(Turn(k, len(cohort), patient.name))
        made.append(
            state_space_forecasts(
                fit, patient, horizon_min=horizon_min, future_inputs=future_inputs, announced_min=announced_min
            )
        )
        ask: Any = {"horizon_min": horizon_min, "train_until_min": fit[patient.name].train_until_min}
        others = [partial(population_forecasts, shipped_forecaster(), patient, **ask)]
        others += [partial(baseline_forecasts, patient, method, **ask) for method in BASELINES]
        others += [partial(pooled_forecasts, patient, list(cohort), **ask)] if len(cohort) > 1 else []
        for other in others:
            try:
                made.append(other())
            except ValueError as e:
                say("warning", e)
    return made


def _horizons(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < h < np.inf for h in found):
        raise ConfigError(f"--horizons {text}: give minutes, such as 30,60")
    return found


def _values(estimates: Any) -> dict[str, float]:
    return {symbol: estimate.value for symbol, estimate in estimates.items()}


def _write(out: Path, cohort: Cohort, made: list[RollingForecasts]) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    table = out / _TABLE
    remove_figures(table)
    pd.concat([_frame(one) for one in made]).to_csv(table, index=False)
    files = [table]
    for one in made:
        if one.method == "stochastic" and len(one.origin_min):
            file = out / f"{one.name}.png"
            plot_forecasts(one, cohort[one.name]).savefig(file, dpi=150)
            files.append(file)
    return files


def _frame(one: RollingForecasts) -> pd.DataFrame:
    origins, horizons = one.mean_mg_dL.shape
    mean, sd = one.mean_mg_dL.ravel(), one.sd_mg_dL.ravel()
    return pd.DataFrame({
        "patient": one.name,
        "method": one.method,
        "future_inputs": one.future_inputs,
        "origin_min": np.repeat(one.origin_min, horizons),
        "horizon_min": np.tile(one.horizon_min, origins),
        "mean_mg_dL": mean,
        "sd_mg_dL": sd,
        "lower_90_mg_dL": mean - _Z90 * sd,
        "upper_90_mg_dL": mean + _Z90 * sd,
        "observed_mg_dL": one.observed_mg_dL.ravel(),
    })  # fmt: skip
