"""`t1djax forecast`: rolling forecasts by what others taught and by the person's own model, beside simple methods."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import numpy as np
import pandas as pd
import typer

from .._words import counted
from ..config import ConfigError
from ..data import HORIZONS_MIN, TRAINING_SHARE, Cohort, Patient, rolling_origins, training_end
from ..evaluation import BASELINES, baseline_forecasts, pooled_forecasts, score_forecasts
from ..io import as_cells, find_fitted, read_fitted, write_fitted
from ..plotting import plot_forecasts
from ..population import (
    PopulationForecaster,
    blended_forecasts,
    population_forecasts,
    read_population,
    shipped_forecaster,
)
from ..prediction import with_stochastic
from ..records import FutureInputs, RollingForecasts
from ..statespace import StateSpaceFit, dose_responses, fit_state_space, state_space_forecasts
from ._app import Body, Interval, Json, commands, say
from ._data import READING, Data, Names, read_people
from ._enough import check_horizons, check_length
from ._execution import Line, telling
from ._exit import EXIT_FAILED_PATIENTS
from ._fields import Values, with_flags
from ._output import Overwrite, check_folder, remove_figures
from ._tables import print_json, print_table, symbols_json

_Z90 = 1.6448536269514722
MODELS = ("blend", "population", "stochastic")
_TABLE, _SUBMISSION = "forecasts.csv", "metabonet.csv"
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
    model: Annotated[
        str,
        typer.Option(
            help="blend: what others taught and the person's own stochastic model; population: what others taught, at "
            "once; stochastic: the person's own model."
        ),
    ] = "blend",
    population: Annotated[
        Path | None, typer.Option(help="What others taught, by `t1djax population train`.  [default: the shipped one]")
    ] = None,
    physiology: Body = "magdelaine",
    train_share: Annotated[float, typer.Option(help="Share of each record to learn from.")] = TRAINING_SHARE,
    future_inputs: Annotated[
        str, typer.Option(help="What is known of later insulin and meals: none, announced or recorded.")
    ] = "none",
    announced_min: Annotated[
        float, typer.Option(help="Minutes by which meals and their boluses are announced.")
    ] = 30.0,
    out: Annotated[Path | None, typer.Option(help="Folder for forecasts.csv and a figure per patient.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Results folder whose fitted patients get these stochastic models, for requests to a server."
        ),
    ] = None,
    metabonet: Annotated[
        bool,
        typer.Option("--metabonet", help="Write metabonet.csv too: a row for each origin, and pred_30 and so on."),
    ] = False,
    overwrite: Overwrite = False,
    interval_min: Interval = None,
    reading: Values,
    as_json: Json = False,
) -> None:
    """Forecast the rest of each record from every reading, with intervals, and score it beside simple methods.

    What is learnt of the person is from the first part of the record. Scores are on real readings that follow.
    """
    ahead = _horizons(horizons)
    _check(model, future_inputs, train_share, announced_min, keep=keep is not None)
    kept = [] if keep is None else [(file.parent, read_fitted(file)) for file in find_fitted([keep])]
    if metabonet and out is None:
        raise ConfigError("--metabonet: name a folder for it with --out")
    if out is not None:
        check_folder(out, _TABLE, "forecasts", overwrite=overwrite)
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
        fit = None
        if model != "population":
            fit = fit_state_space(list(cohort), physiology=physiology, train_share=train_share)
        others = None
        if model != "stochastic":
            others = shipped_forecaster() if population is None else read_population(population)
        made = by_every_method(
            cohort,
            fit=fit,
            others=others,
            horizon_min=ahead,
            train_share=train_share,
            future_inputs=future_inputs,
            announced_min=announced_min,
            on_patient=tell,
        )
    scores = score_forecasts(made)
    scores = scores.loc[scores["range"] == "all"]
    shown = _SHOWN
    if fit is not None and future_inputs != "none":
        moves = _responses(fit, cohort, ahead)
        scores = scores.merge(moves, how="left", on=["patient", "method", "horizon_min"])
        shown = [*_SHOWN, *moves.columns[3:]]
    files = [] if out is None else _write(out, cohort, made, metabonet=metabonet)
    for folder, one in kept:
        if fit is not None and one.name in fit.names and fit[one.name].ok:
            files.append(write_fitted(with_stochastic(one, fit), folder))
    failed = [] if fit is None else [f"{p.name}: {p.message}" for p in fit if not p.ok]
    if as_json:
        print_json({
            "scores": scores.drop(columns="range").to_dict(orient="records"),
            "files": [str(f) for f in files],
            **({} if fit is None else _found(fit)),
        })  # fmt: skip
    else:
        print_table(scores.loc[:, shown])
        typer.echo(f"future inputs: {future_inputs}")
        if fit is not None:
            typer.echo(f"fit of {counted(len(fit), 'patient')}: {fit.cost}")
        for file in files:
            typer.echo(file)
    for message in failed:
        say("warning", message)
    if failed:
        raise typer.Exit(EXIT_FAILED_PATIENTS)


def _check(model: str, future_inputs: str, train_share: float, announced_min: float, *, keep: bool) -> None:
    if model not in MODELS:
        raise ConfigError(f"--model {model}: give {', '.join(MODELS)}")
    if future_inputs not in get_args(FutureInputs):
        raise ConfigError(f"--future-inputs {future_inputs}: give none, announced or recorded")
    if future_inputs != "none" and model == "population":
        raise ConfigError(f"--future-inputs {future_inputs}: what others taught knows none; give another --model")
    if keep and model == "population":
        raise ConfigError("--keep: what others taught fits nothing to keep; give another --model")
    if not 0 < train_share < 1:
        raise ConfigError(f"--train-share {train_share:g}: give a share between 0 and 1")
    if not 0 <= announced_min < np.inf:
        raise ConfigError(f"--announced-min {announced_min:g}: give minutes, zero or more")


def _found(fit: StateSpaceFit) -> dict[str, Any]:
    """What was found of each person."""
    return {
        "fits": [{"patient": p.name, "ok": p.ok, **_values(p.constants), **_values(p.effects)} for p in fit],
        "symbols": symbols_json((s for p in fit for s in (*p.constants, *p.effects)), fit.form.symbols),
        "seconds": {"compile_s": fit.cost.compile_s, "run_s": fit.cost.run_s},
    }


class Turn(NamedTuple):
    """Whose forecasts are being made."""

    number: int
    of: int
    name: str


def turn_line(turn: Turn) -> Line:
    return Line("forecasting patient", turn.number, turn.of, turn.name, turn.number == 1)


def by_every_method(
    cohort: Cohort,
    *,
    fit: StateSpaceFit | None,
    others: PopulationForecaster | None,
    horizon_min: Sequence[float] = HORIZONS_MIN,
    train_share: float = TRAINING_SHARE,
    future_inputs: Any = "none",
    announced_min: float = 30.0,
    on_patient: Callable[[Turn], None] = lambda _: None,
) -> list[RollingForecasts]:
    """The best first: the blend, then what it is of, then simple methods, which know no later inputs."""
    made = []
    for k, patient in enumerate(cohort, 1):
        on_patient(Turn(k, len(cohort), patient.name))
        ask: Any = {"horizon_min": horizon_min, "train_until_min": training_end(patient, share=train_share)}
        later: Any = {"future_inputs": future_inputs, "announced_min": announced_min}
        ways: list[Callable[[], Any]] = []
        if fit is not None and others is not None:
            ways.append(partial(_blend, fit, others, patient, ask, later))
        elif fit is not None:
            ways.append(partial(state_space_forecasts, fit, patient, horizon_min=horizon_min, **later))
        elif others is not None:
            ways.append(partial(population_forecasts, others, patient, **ask))
        ways += [partial(baseline_forecasts, patient, method, **ask) for method in BASELINES]
        ways += [partial(pooled_forecasts, patient, list(cohort), **ask)] if len(cohort) > 1 else []
        for way in ways:
            try:
                forecasts = way()
                made += forecasts if isinstance(forecasts, list) else [forecasts]
            except ValueError as e:
                say("warning", e)
    return made


def _blend(
    fit: StateSpaceFit, others: PopulationForecaster, patient: Patient, ask: Any, later: Any
) -> list[RollingForecasts]:
    """The blend and what it is of, after the training part; its weights are from inside that part."""
    end, origins = ask["train_until_min"], rolling_origins(patient, after_min=-np.inf)
    how: Any = {"origin_min": origins, "horizon_min": ask["horizon_min"]}
    own, announced = state_space_forecasts(fit, patient, **how), None
    if later["future_inputs"] != "none":
        announced = state_space_forecasts(fit, patient, **how, **later)
    taught = population_forecasts(others, patient, origin_min=origins, **ask)
    both = blended_forecasts(taught, own, train_until_min=end, announced=announced)
    return [one.after(end) for one in (both, own if announced is None else announced, taught)]


def _responses(fit: StateSpaceFit, cohort: Cohort, horizon_min: Sequence[float]) -> pd.DataFrame:
    """What a unit and 20 g do in the forecasts, mean and share of the right sign."""
    rows = []
    for patient in cohort:
        moves = dose_responses(fit, patient, horizon_min=horizon_min)
        for h, horizon in enumerate(horizon_min):
            unit, carbs = moves.unit_mg_dL[:, h], moves.carbs_mg_dL[:, h]
            rows += [
                {"patient": patient.name, "method": method, "horizon_min": horizon, "unit_mg_dL": unit.mean(),
                 "unit_falls_percent": 100 * (unit < 0).mean(), "carbs_20_g_mg_dL": carbs.mean(),
                 "carbs_20_g_rises_percent": 100 * (carbs > 0).mean()}
                for method in ("blend", "stochastic")
            ]  # fmt: skip
    return pd.DataFrame(rows)


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


def _write(out: Path, cohort: Cohort, made: list[RollingForecasts], *, metabonet: bool = False) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    table = out / _TABLE
    remove_figures(table)
    (out / _SUBMISSION).unlink(missing_ok=True)
    as_cells(pd.concat([_frame(one) for one in made])).to_csv(table, index=False)
    files = [table]
    best = list({one.name: one for one in reversed(made)}.values())  # the first of each person
    if metabonet:
        files.append(out / _SUBMISSION)
        as_cells(pd.concat([_submission(one, cohort[one.name]) for one in best])).to_csv(files[-1], index=False)
    for one in best:
        if one.method not in BASELINES and len(one.origin_min):
            file = out / f"{one.name}.png"
            plot_forecasts(one, cohort[one.name]).savefig(file, dpi=150)
            files.append(file)
    return files


def _submission(one: RollingForecasts, patient: Patient) -> pd.DataFrame:
    """The best method's forecasts in the columns that MetaboNet's challenge takes."""
    minutes = pd.to_timedelta(one.origin_min, unit="min")
    date = one.origin_min if patient.start is None else pd.Timestamp(patient.start) + minutes
    ahead = zip(one.horizon_min.tolist(), one.mean_mg_dL.T, strict=True)
    return pd.DataFrame({"id": one.name, "date": date, **{f"pred_{h:g}": mean for h, mean in ahead}})


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
