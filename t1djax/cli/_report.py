"""`t1djax report`: a cohort as one page."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import ConfigError, load_experiment
from ..data import Cohort, Patient
from ..evaluation import BASELINES, BaselineMethod, baseline_forecasts, glycaemia_table, score_forecasts
from ..experiment import load_cohort
from ..io import find_results, read_result
from ..records import RollingForecasts
from ..reporting import write_report
from ._app import Interval, Json, app, stderr, warnings_in_words
from ._tables import print_json, print_table


@app.command(epilog="Example: t1djax report cohort --out report.html --forecast --fit-results results")
def report(
    data: Annotated[str, typer.Argument(help="Folder of a cohort, file of a patient, or `reference`.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    patients: Annotated[
        str | None, typer.Option(help="all, or names: A,B; for the reference also 3,5 or Pat2-Pat11.  [default: all]")
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Glucose report",
    unit: Annotated[str, typer.Option(help="Unit of glucose: mg/dL or mmol/L.")] = "mg/dL",
    forecast: Annotated[
        bool, typer.Option("--forecast", help="Forecast the last 30 % of each record with the simple methods.")
    ] = False,
    fit_results: Annotated[
        list[Path] | None, typer.Option(help="Result folders of fits, or folders that hold some; repeatable.")
    ] = None,
    interval_min: Interval = None,
    layout: Annotated[str | None, typer.Option(help="Layout of the data: table or hupa (HUPA-UCM).")] = None,
    carbs_unit: Annotated[
        str | None, typer.Option(help="HUPA-UCM: its carbohydrate is in g, exchange (10 g), or none.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if there is one.")] = False,
    as_json: Json = False,
) -> None:
    """Write a report that people read in a browser: glycaemic metrics, profiles, fits, forecasts with baselines."""
    if unit not in ("mg/dL", "mmol/L"):
        raise ConfigError(f"--unit {unit}: give mg/dL or mmol/L")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} is there already; name another file, or replace it with --overwrite")
    flags: dict[str, Any] = {
        "data": data,
        "patients": patients,
        "sensor": {"interval_min": interval_min},
        "layout": layout,
        "hupa": {"carbs_unit": carbs_unit},
    }
    with warnings_in_words():
        cohort = load_cohort(load_experiment(None, flags))
    results = [read_result(folder) for folder in find_results(fit_results)] if fit_results else []
    known = [r for r in results if r.metadata["patient"] in cohort.names]
    if len(known) < len(results):
        others = sorted({r.metadata["patient"] for r in results} - set(cohort.names))
        stderr.print(f"warning: results of {', '.join(others)} are left out: not in {data}", style="yellow",
                     markup=False, soft_wrap=True)  # fmt: skip
    forecasts = _forecasts(cohort) if forecast else []
    page = write_report(cohort, out, title=title, unit=unit, fits=known, forecasts=forecasts)
    table = glycaemia_table(cohort, unit=unit)
    if as_json:
        scores = score_forecasts(forecasts).to_dict(orient="records") if forecasts else []
        print_json({"out": str(page), "glycaemia": table.to_dict(orient="records"), "forecasts": scores})
        return
    suffix = unit.replace("/", "_")
    shown = [
        "patient",
        "days",
        "data_percent",
        f"mean_{suffix}",
        "cv_percent",
        "gmi_percent",
        "in_range_percent",
        "gri",
    ]
    print_table(table.loc[:, shown])
    typer.echo(page)


def _forecasts(cohort: Cohort) -> list[RollingForecasts]:
    """Forecasts of everybody by every simple method; one that cannot be made is told of and left out."""
    each = (_forecast(patient, method) for patient in cohort for method in BASELINES)
    return [made for made in each if made is not None]


def _forecast(patient: Patient, method: BaselineMethod) -> RollingForecasts | None:
    try:
        return baseline_forecasts(patient, method)
    except ValueError as e:
        stderr.print(f"warning: {e}", style="yellow", markup=False, soft_wrap=True)
        return None
