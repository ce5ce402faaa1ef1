"""`t1djax identify`."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from .._arguments import ArgumentError
from .._words import counted, some
from ..config import ConfigError, both_ways, built
from ..data import Cohort, from_first_reading, windows
from ..evaluation import doubts, metrics
from ..experiment import fit
from ..inference import identify as identify_
from ..inference import preflight, profile
from ..io import as_cells, without_nan
from ..physics import PHYSIOLOGIES, AbstractPhysiology
from ..plotting import plot_fit, plot_identification, plot_profiles
from ..question import Question, population_belief
from ..records import Fit, Identification, PatientIdentification, Profile, interval_words, person_of, symbols_of
from ._app import Interval, commands, say, stderr
from ._app import Json as Json_
from ._data import READING, Data, Known, Names, known_values, read_people, reading_flags
from ._execution import Line, telling
from ._exit import EXIT_FAILED_PATIENTS
from ._fields import POPULATION, Values, flags_of, with_flags
from ._output import Overwrite, check_folder, remove_figures
from ._tables import PARAMETERS_HELP, alike, print_json, print_legend, print_table, symbols_json

IDENTIFICATION_FILE = "identification.json"
_TABLE = "identification.csv"
_WORTHWHILE = 1.25  # gain in error that is worth a sentence
_FEW = 20  # figures are drawn for so many patients at the most


@commands.command(
    epilog="Example: t1djax identify cohort --free ksi,kl --prior population --out identified\n\n" + PARAMETERS_HELP,
)
@with_flags(stated=flags_of(Question, without=("mode",)), reading=(*READING, *reading_flags("start", "hours")))
def identify(
    *,
    data: Data,
    stated: Values,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables and figures.")] = None,
    overwrite: Overwrite = False,
    patients: Names = None,
    known: Known = None,
    length_h: Annotated[float | None, typer.Option("--windows", help="Cut records into windows this long, h.")] = None,
    step_h: Annotated[
        float | None, typer.Option("--step", help="From the start of a window to that of the next, h.  [default: half]")
    ] = None,
    profiles: Annotated[bool, typer.Option("--profile", help="Profile likelihoods as well.")] = False,
    before_fit: Annotated[
        bool, typer.Option("--preflight", help="No fit: say what the doses and reading times can tell.")
    ] = False,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Probability of the intervals.")] = 0.9,
    interval_min: Interval = None,
    reading: Values,
    seed: Annotated[int, typer.Option(min=0, help="Sets the starts.")] = 0,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Reasons, windows, combinations, warnings, other data."),
    ] = False,
    as_json: Json_ = False,
) -> None:
    """Estimate parameters by the mechanistic fit and say what the readings tell of each, and why."""
    whose, priors = stated.get("physiology", "magdelaine"), stated.get("priors", {})
    free = Question(free=stated.get("free", ()), physiology=whose).free
    if priors.pop(POPULATION, None) is not None:
        priors = {s: population_belief(s, whose) for s in free if s != "G0"} | priors
    question: Question = built(Question, stated | {"free": free, "priors": priors})
    if contradiction := both_ways(known_values(known), question.free):
        raise ArgumentError("known", contradiction)
    if out is not None:
        check_folder(out, _TABLE, "identifications", overwrite=overwrite)
    if step_h is not None and length_h is None:
        raise ConfigError("--step goes with --windows")
    if before_fit and profiles:
        raise ConfigError("--profile needs a fit; leave --preflight out")
    with telling(lambda line: line, show=not as_json) as tell:
        tell.now(f"reading {data[0] if len(data) == 1 else counted(len(data), 'file')}")
        cohort = read_people(
            data,
            names=patients,
            interval_min=interval_min,
            known=known,
            **reading,
        ).cohort
        cohort_names = cohort.names
        if length_h is not None:
            burn_in = 0.0 if question.estimate_initial_state else 12.0
            cohort = windows(cohort, length_h=length_h, step_h=step_h, burn_in_h=burn_in)
        elif question.estimate_initial_state:
            cohort = Cohort(tuple(map(from_first_reading, cohort)))
        if not as_json:
            whose = counted(len(cohort), "patient" if length_h is None else "window")
            what = f"ode inverse: {whose}, estimating {', '.join(question.free)}"
            stderr.print(what, highlight=False, markup=False, soft_wrap=True)
        if before_fit:
            fitted, likelihoods = None, []
            tell.now("working out what doses and times of readings tell")
            report = preflight(cohort, question, level=level)
        else:
            tell.now("compiling and fitting")
            fitted = fit(cohort, question, model="ode", seed=seed)
            tell.now("working out what the readings tell")
            report = identify_(fitted, level=level)
            likelihoods = []
            for number, symbol in enumerate(question.free if profiles else (), 1):
                tell(Line("profile", number, len(question.free), f"of {symbol}", now=True))
                likelihoods.append(profile(fitted, symbol=symbol, level=level))
        if out is not None:
            tell.now("writing tables and figures")
            _write(out, report, fitted, likelihoods)
    if as_json:
        print_json(_as_json(report, fitted, likelihoods, question.body))
    elif verbose:
        _print(report, fitted, likelihoods, question.body)
    else:
        _print_short(report, fitted, likelihoods, cohort_names)
    if fitted is not None and not all(f.ok for f in fitted):
        raise typer.Exit(EXIT_FAILED_PATIENTS)


def _rmse(fitted: Fit | None) -> dict[str, float]:
    """Of the readings fitted, in mg/dL, by patient."""
    return {} if fitted is None else {f.name: metrics(f)["rmse_fit_mg_dL"] for f in fitted}


def _doubts(fitted: Fit | None) -> dict[str, list[str]]:
    """What makes a fit doubtful as a whole, by patient: the verdicts on parameters take the model for right."""
    return {} if fitted is None else {f.name: doubts(f, priors=fitted.problem.priors) for f in fitted}


def _as_json(
    report: Identification, fitted: Fit | None, likelihoods: list[Profile], body: type[AbstractPhysiology]
) -> dict[str, Any]:
    rmse, doubted = _rmse(fitted), _doubts(fitted)
    return {
        "verdict": report.verdict,
        "level": report.level,
        "notes": list(report.notes),
        "symbols": symbols_json(_symbols(report), symbols_of(body)),
        "patients": [
            p.as_dict() | {"rmse_fit_mg_dL": rmse.get(p.name), "doubts": doubted.get(p.name, [])} for p in report
        ],
        "profiles": [row for likelihood in likelihoods for row in likelihood.table().to_dict(orient="records")],
    }


def _print_short(report: Identification, fitted: Fit | None, likelihoods: list[Profile], names: Sequence[str]) -> None:
    """A row for each parameter of each person, windows taken together, and one recommendation."""
    for note in report.notes:
        say("note", note)
    groups: dict[str, list[PatientIdentification]] = {}
    for p in report:
        groups.setdefault(person_of(p.name, names) or p.name, []).append(p)
    rows, doubted = [], _doubts(fitted)
    for name, many in groups.items():
        for symbol in dict.fromkeys(s for p in many for s in (*p.parameters, *p.derived)):
            each = [d for p in many for d in [{**p.parameters, **p.derived}.get(symbol)] if d is not None]
            kinds = Counter(d.verdict for d in each).most_common()
            spread = interval_words(*each[0].interval) if len(each) == 1 else _spread([d.value for d in each])
            verdict = kinds[0][0] if len(each) == 1 else ", ".join(f"{k} {n}" for k, n in kinds)
            rows.append((name, symbol, each[0].unit, f"{np.median([d.value for d in each]):.4g}", spread, verdict))
    windows = " or range of windows" if len(report) > len(groups) else ""
    heads = ["patient", "parameter", "unit", "value", f"interval{windows}", "verdict"]
    print_table(pd.DataFrame(rows, columns=heads))
    for likelihood in likelihoods:
        for one in likelihood:
            typer.echo(f"profile of {one.words}")
    typer.echo(f"recommendation: {_recommendation(report)}")
    hidden = len({text for p in report for text in (*doubted.get(p.name, ()), *p.warnings)})
    if hidden:
        typer.echo(f"{counted(hidden, 'warning')} and all reasons: --verbose")


def _spread(values: list[float]) -> str:
    return f"{min(values):.4g} to {max(values):.4g}, {counted(len(values), 'window')}"


def _recommendation(report: Identification) -> str:
    """The one thing to do next."""
    verdicts = [d.verdict for p in report for d in p.parameters.values()]
    wrong = verdicts.count("model misfit")
    if 2 * wrong > len(verdicts):
        return (
            "the equations alone miss these readings by more than a sensor errs, and no estimate can be trusted; "
            "`t1djax settings` follows the whole record, with what the equations do not explain"
        )
    if all(v == "determined" for v in verdicts):
        return "none; the readings determine what was asked for, if the model holds"
    gains = [
        (_gain(*change.percent[s]), change.change, s, change.percent[s]) for p in report for change in p.what_if
        for s in change.percent
    ]  # fmt: skip
    best = max(gains, default=None, key=lambda g: g[0])
    if best is None or best[0] <= _WORTHWHILE:
        return "estimate fewer parameters, or state a prior; nothing else that was tried would help"
    _, change, symbol, (before, then) = best
    return f"{change}: {symbol} from {_percent(before)} to {_percent(then)}"


def _print(
    report: Identification, fitted: Fit | None, likelihoods: list[Profile], body: type[AbstractPhysiology]
) -> None:
    for note in report.notes:
        say("note", note)
    rmse, doubted = _rmse(fitted), _doubts(fitted)
    for p in report:
        after = f", rmse of the readings fitted {rmse[p.name]:.3g} mg/dL" if p.name in rmse else ""
        typer.echo(f"{p.name}: rank {p.rank} of {len(p.parameters)}, noise {p.noise_sd_mg_dL:.3g} mg/dL{after}")
        for d in [*p.parameters.values(), *p.derived.values()]:
            typer.echo(
                f"  {d.symbol:6} {d.value:.4g} {d.unit} ({interval_words(*d.interval)}): {d.verdict}; {d.reason}"
            )
        reasons = " ".join(d.reason for d in p.parameters.values())
        for direction in p.directions:
            if direction.words not in reasons:
                typer.echo(f"  {direction.words}")
        for change in p.what_if:
            best = max(change.percent, key=lambda s, c=change: _gain(*c.percent[s]))
            before, then = change.percent[best]
            if _gain(before, then) > _WORTHWHILE:
                typer.echo(f"  {change.change}: {best} from {_percent(before)} to {_percent(then)}")
    for names, warning in alike((p.name, text) for p in report for text in (*doubted.get(p.name, ()), *p.warnings)):
        say("warning", f"{some(names)}: {warning}")
    for likelihood in likelihoods:
        for one in likelihood:
            typer.echo(f"profile of {one.words}")
    if len(report) > 1:
        typer.echo(report.verdict)
    typer.echo("where")
    print_legend(_symbols(report), body)


def _symbols(report: Identification) -> list[str]:
    return [symbol for p in report for symbol in (*p.parameters, *p.derived)]


def _percent(x: float) -> str:
    return f"±{x:.2g} %" if np.isfinite(x) else "nothing known"


def _gain(before: float, after: float) -> float:
    if not np.isfinite(after):
        return 1.0
    return np.inf if not np.isfinite(before) else before / max(after, 1e-12)


def _write(out: Path, report: Identification, fitted: Fit | None, likelihoods: list[Profile]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    remove_figures(out / _TABLE, (".png", "_fit.png", "_profiles.png"))
    for symbol in {symbol for body in PHYSIOLOGIES.values() for symbol in body.parameters}:
        (out / f"profile_{symbol}.csv").unlink(missing_ok=True)
    # First: by it the folder is known, should the rest not come.
    as_cells(report.table()).to_csv(out / _TABLE, index=False)
    text = json.dumps(without_nan([p.as_dict() for p in report]), indent=2, allow_nan=False)
    (out / IDENTIFICATION_FILE).write_text(text + "\n", encoding="utf-8")
    for likelihood in likelihoods:
        as_cells(likelihood.table()).to_csv(out / f"profile_{likelihood.symbol}.csv", index=False)
    for p in report.patients[:_FEW]:
        plot_identification(p).savefig(out / f"{p.name}.png")
        if fitted is not None:
            plot_fit(fitted[p.name]).savefig(out / f"{p.name}_fit.png")
        if likelihoods:
            plot_profiles(likelihoods, p.name).savefig(out / f"{p.name}_profiles.png")
