"""`t1djax replay`: what glucose would have been with other doses."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd
import typer

from .._arguments import ArgumentError
from ..config import ConfigError
from ..data import Cohort, Patient
from ..io import as_cells
from ..physics import Doses
from ..plotting import plot_replay
from ..records import Replay
from ..reporting import write_report
from ..statespace import (
    BODIES,
    LOOKED_BACK,
    AbstractAnswer,
    RescueCarbs,
    changed_min,
    factor,
    fit_bodies,
    other_doses,
    replaced_doses,
    replay,
)
from ..trials import MPC, PID, BasalBolus, LoopAnswer, TempBasal, profile_by_rules
from ._app import Bodies, Interval, Json, commands, say
from ._data import READING, Data, Names, read_people
from ._execution import telling
from ._fields import Values, with_flags
from ._output import Overwrite, check_folder
from ._tables import print_json, print_table

_TABLE, _PAGE = "replay.csv", "replay.html"
_SHOWN_MIN = (60.0, 120.0, 240.0, 360.0)
_Change = Annotated[
    str | None, typer.Option(help="Change of it: -20%, +10%, or a factor such as 0.8; several side by side: -20%,-50%.")
]
_LOOPS = {"basal-bolus": BasalBolus, "pid": PID, "temp-basal": TempBasal, "mpc": MPC}
_COLUMNS = ("time", "basal_U_h", "bolus_U", "carbs_g")


@commands.command(
    "replay", epilog="Example: t1djax replay ada.csv --bolus=-20% --from 2025-03-02T06:00 --to 2025-03-02T12:00"
)
@with_flags(reading=READING)
def run_replay(
    *,
    data: Data,
    patients: Names = None,
    bolus: _Change = None,
    basal: _Change = None,
    meals: _Change = None,
    bolus_earlier: Annotated[float, typer.Option(help="Minutes by which boluses come earlier.")] = 0.0,
    doses: Annotated[
        Path | None,
        typer.Option(help=f"Table with columns {', '.join(_COLUMNS)}: they replace the record's over its times."),
    ] = None,
    rescue: Annotated[
        float, typer.Option(min=0, help="Carbohydrate taken where replayed glucose is below 70 mg/dL, g.")
    ] = 0.0,
    loop: Annotated[
        str | None,
        typer.Option(help=f"Controller that answers the changed glucose: {', '.join(_LOOPS)}, set by 1800/TDD."),
    ] = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="First time that is changed: local, or minutes of the record.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Time from which nothing is changed any more.")] = None,
    between: Annotated[str, typer.Option(help="Hours of the day that are changed, such as 6-12.")] = "0-24",
    physiology: Bodies = f"{BODIES},magdelaine",
    level: Annotated[float, typer.Option(min=0.5, max=0.99, help="Probability of the intervals.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Sets the draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for replay.csv, figures and a page, replay.html.")] = None,
    overwrite: Overwrite = False,
    interval_min: Interval = None,
    reading: Values,
    as_json: Json = False,
) -> None:
    """Say what glucose would have been with other doses, by a model fitted to the record, with intervals.

    What the model does not explain is kept as it was. It is a model's answer and no advice.
    """
    texts = {"bolus": bolus, "basal": basal, "meals": meals}
    hours = _hours(between)
    several = _several({name: text for name, text in texts.items() if text is not None}, bolus_earlier, hours)
    if (not several) == (doses is None):
        raise ConfigError("give --bolus, --basal, --meals or --bolus-earlier, or a table by --doses")
    if loop is not None and loop not in _LOOPS:
        raise ArgumentError("loop", f"{loop!r} is none of {', '.join(_LOOPS)}")
    flag = "doses" if doses is not None else next((name for name in texts if texts[name] is not None), "bolus_earlier")
    if out is not None:
        check_folder(out, _TABLE, "replays", overwrite=overwrite)
    cohort = read_people(data, names=patients, interval_min=interval_min, **reading).cohort
    with telling(lambda line: line, show=not as_json) as tell:
        others: list[dict[str, Doses]] = []
        for p in cohort:
            span = {"from_min": _minute(p, begin, "from", -np.inf), "to_min": _minute(p, end, "to", np.inf)}
            scenarios = {name: other_doses(p, **change, between_h=hours, **span) for name, change in several.items()}
            scenarios = scenarios if doses is None else {doses.name: _of_table(p, doses)}
            for other in scenarios.values():
                changed_min(p, other, flag)
            others.append(scenarios)
        fits = fit_bodies(list(cohort), physiology, options=LOOKED_BACK, on_stage=tell.now)
        tell.now("replaying")
        found = []
        for p, other in zip(cohort, others, strict=True):
            rules: list[AbstractAnswer] = [RescueCarbs(grams=rescue)] if rescue else []
            rules += [LoopAnswer(_LOOPS[loop](), profile_by_rules(p))] if loop is not None else []
            found += replay([fit[p.name] for fit in fits], p, other, key=jax.random.key(seed), answers=rules)
    for fit in fits:
        for p in fit:
            if not p.ok:
                say("warning", f"{p.name}, {fit.form.physiology.__name__}: {p.message}")
    if out is not None:
        _write(out, found, cohort, level)
    if as_json:
        print_json([_as_json(r, level) for r in found])
        return
    for r in found:
        _print(r, r.span(cohort[r.name].start), level)


def _several(lists: dict[str, str], earlier: float, hours: tuple[float, float]) -> dict[str, dict[str, float]]:
    """Scenarios by name, of the words on the command line: one of them may have several values."""
    found: dict[str, dict[str, float]] = {}
    values = {name: [factor(part, name) for part in text.split(",")] for name, text in lists.items()}
    if sum(len(each) > 1 for each in values.values()) > 1:
        raise ConfigError(f"several values of {' and '.join(f'--{name}' for name in values)}: give them to one alone")
    for i in range(max((len(each) for each in values.values()), default=1)):
        change = {name: each[min(i, len(each) - 1)] for name, each in values.items()}
        words = [f"{name} {100 * (x - 1):+.3g} %" for name, x in change.items()]
        if earlier:
            change["bolus_earlier_min"] = earlier
            words.append(f"boluses {earlier:g} min earlier")
        first, last = hours
        if hours != (0.0, 24.0):
            night = ", over midnight" if last < first else ""
            words.append(f"between {first:g} and {last:g} h{night}")
        found |= {", ".join(words): change} if change else {}
    return found


def _of_table(patient: Patient, path: Path) -> Doses:
    """The record's doses, those of a table in their place over its times."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as e:
        raise ConfigError(f"--doses {path}: {e}; give a CSV table with columns {', '.join(_COLUMNS)}") from e
    if "time" not in table or not set(_COLUMNS[1:]) & set(table) or not set(table) <= set(_COLUMNS) or not len(table):
        raise ConfigError(
            f"--doses {path}: columns are {', '.join(map(str, table))}; give time and some of {', '.join(_COLUMNS[1:])}"
        )
    times = np.asarray([_minute(patient, str(text), "doses", np.nan) for text in table["time"]])
    if np.any(back := np.diff(times) < 0):
        raise ConfigError(f"--doses {path}: row {int(np.argmax(back)) + 3}: time goes back; sort the rows")
    given: dict[str, list[tuple[float, float]]] = {}
    for column, name in zip(_COLUMNS[1:], ("basal", "boluses", "meals"), strict=True):
        if column in table:
            amounts = np.asarray(pd.to_numeric(table[column], errors="coerce"), dtype=float)
            empty = table[column].isna().to_numpy()
            if np.any(wrong := ~empty & ~((amounts >= 0) & np.isfinite(amounts))):
                row = int(np.argmax(wrong))
                text = f"row {row + 2}, {column}: {table[column].iloc[row]}"
                raise ConfigError(f"--doses {path}: {text} is no amount of zero or more")
            there = ~empty & ((amounts > 0) | (name == "basal"))
            given[name] = list(zip(times[there].tolist(), amounts[there].tolist(), strict=True))
    return replaced_doses(patient, **given, from_min=times[0], to_min=times[-1])


def _minute(patient: Patient, text: str | None, flag: str, default: float) -> float:
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentError(flag, f"{text!r} is no time; write 2025-03-02T06:00, or minutes of the record") from None
    if patient.start is None:
        raise ArgumentError(flag, f"{patient.name} has no dates; give minutes of the record")
    return (moment.replace(tzinfo=None) - patient.start.replace(tzinfo=None)).total_seconds() / 60


def _hours(text: str) -> tuple[float, float]:
    try:
        first, last = (float(part) for part in text.split("-"))
    except ValueError:
        raise ArgumentError("between", f"{text!r} are no hours; write 6-12") from None
    if not (0 <= first <= 24 and 0 <= last <= 24 and first != last):
        raise ArgumentError("between", f"{text!r}: give two different hours from 0 to 24")
    return first, last


def _write(out: Path, found: list[Replay], cohort: Cohort, level: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for r in found:
        alone = sum(other.name == r.name for other in found) == 1
        number = "" if alone else f"_{[o.scenario for o in found if o.name == r.name].index(r.scenario) + 1}"
        plot_replay(r, cohort[r.name], level=level).savefig(out / f"{r.name}{number}.png")
    write_report(cohort, out / _PAGE, title="Replay", replays=found)
    tables = [r.table(level).assign(patient=r.name, scenario=r.scenario) for r in found]
    as_cells(pd.concat(tables)).set_index(["patient", "scenario"]).to_csv(out / _TABLE)


def _as_json(r: Replay, level: float) -> dict[str, Any]:
    ranges = r.in_ranges(level).to_dict(orient="records")
    found = {"patient": r.name, "scenario": r.scenario, "level": level, "remarks": list(r.remarks), "ranges": ranges}
    if r.answered is not None:
        insulin, carbs = np.median(r.answered, axis=0).tolist()
        found["answered"] = {"insulin_U": insulin, "carbs_g": carbs}
    return found | {"readings": r.table(level).to_dict(orient="records")}


def _print(r: Replay, span: str, level: float) -> None:
    middle, low, high = r.interval(level)
    since = r.time_min - r.time_min[0]
    at = [int(np.argmin(np.abs(since - t))) for t in _SHOWN_MIN if t <= since[-1] + 5]
    typer.echo(f"{r.name}: {r.scenario}; {span}, from the first changed dose on; {100 * level:.0f} % intervals")
    table = {
        "after the\nchange, min": [f"{since[i]:.0f}" for i in at],
        "as it was\nmg/dL": [f"{r.recorded_mg_dL[i]:.0f}" for i in at],
        "change\nmg/dL": [f"{middle[i]:+.0f} ({low[i]:+.0f} to {high[i]:+.0f})" for i in at],
    }
    print_table(pd.DataFrame(table))
    ranges = r.in_ranges(level)
    ranges = pd.DataFrame({
        "glucose\nmg/dL": ranges["range"],
        "as it was\n%": [f"{x:.1f}" for x in ranges["recorded_percent"]],
        "replayed\n%": [f"{m:.1f} ({a:.1f} to {b:.1f})" for m, a, b in
                       ranges[["replayed_percent", "low", "high"]].to_numpy()],
    })  # fmt: skip
    print_table(ranges)
    if r.answered is not None:
        ends = zip(*np.quantile(r.answered, [0.5, (1 - level) / 2, (1 + level) / 2], axis=0), ("U", "g"), strict=True)
        each = [f"{m:+.3g} {unit} ({a:+.3g} to {b:+.3g})" for m, a, b, unit in ends]
        typer.echo(f"answers to the changed glucose gave {' and '.join(each)} beside the other doses")
    for remark in r.remarks:
        say("warning", f"{r.name}: {remark}")
