"""`t1djax replay`: what glucose would have been with other doses."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer

from .._arguments import ArgumentError
from ..config import ConfigError
from ..data import Patient
from ..plotting import plot_replay
from ..records import Replay
from ..statespace import StateSpaceOptions, factor, fit_state_space, other_doses, replay
from ._app import Interval, Json, commands, say, warnings_in_words
from ._data import READING, Data, Names, read_people
from ._execution import telling
from ._fields import Values, with_flags
from ._output import Overwrite, check_folder
from ._tables import print_json, print_table

_TABLE = "replay.csv"
_SHOWN_MIN = (60.0, 120.0, 240.0, 360.0)
_Change = Annotated[str | None, typer.Option(help="Change of it: -20%, +10%, or a factor such as 0.8.")]


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
    begin: Annotated[
        str | None, typer.Option("--from", help="First time that is changed: local, or minutes of the record.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Time from which nothing is changed any more.")] = None,
    between: Annotated[str, typer.Option(help="Hours of the day that are changed, such as 6-12.")] = "0-24",
    physiology: Annotated[
        str, typer.Option(help="The bodies whose answers are taken together: magdelaine, kanderian, hovorka.")
    ] = "kanderian,hovorka",
    level: Annotated[float, typer.Option(min=0.5, max=0.99, help="Probability of the intervals.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Sets the draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for replay.csv and a figure per patient.")] = None,
    overwrite: Overwrite = False,
    interval_min: Interval = None,
    reading: Values,
    as_json: Json = False,
) -> None:
    """Say what glucose would have been with other doses, by a model fitted to the record, with intervals.

    What the model does not explain is kept as it was. It is a model's answer and no advice.
    """
    texts = {"bolus": bolus, "basal": basal, "meals": meals}
    factors = {name: factor(text, name) for name, text in texts.items() if text is not None}
    if not factors and bolus_earlier == 0:
        raise ConfigError("nothing is changed: give --bolus, --basal, --meals or --bolus-earlier")
    hours = _hours(between)
    if out is not None:
        check_folder(out, _TABLE, "replays", overwrite=overwrite)
    with warnings_in_words():
        cohort = read_people(data, names=patients, interval_min=interval_min, **reading).cohort
    with telling(lambda line: line, show=not as_json) as tell:
        others = [
            other_doses(p, **factors, bolus_earlier_min=bolus_earlier, between_h=hours,
                        from_min=_minute(p, begin, "from", -np.inf), to_min=_minute(p, end, "to", np.inf))
            for p in cohort
        ]  # fmt: skip
        tell.now("learning from the record")
        options = StateSpaceOptions(horizons_min=())
        fits = [
            fit_state_space(list(cohort), physiology=body.strip(), options=options, train_until_min=np.inf)
            for body in physiology.split(",")
        ]
        what = ", ".join([f"{name} x {x:g}" for name, x in factors.items()]
                         + [f"boluses {bolus_earlier:g} min earlier"] * (bolus_earlier != 0))  # fmt: skip
        tell.now("replaying")
        found = [
            replay([fit[p.name] for fit in fits], p, {what: other}, key=jax.random.key(seed))[0]
            for p, other in zip(cohort, others, strict=True)
        ]
    for fit in fits:
        for p in fit:
            if not p.ok:
                say("warning", f"{p.name}, {fit.form.physiology.__name__}: {p.message}")
    if out is not None:
        _write(out, found, list(cohort), level)
    if as_json:
        print_json([_as_json(r, level) for r in found])
        return
    for r in found:
        _print(r, level)


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


def _write(out: Path, found: list[Replay], people: list[Patient], level: float) -> None:
    import pandas as pd  # noqa: PLC0415

    out.mkdir(parents=True, exist_ok=True)
    for r, patient in zip(found, people, strict=True):
        plot_replay(r, patient, level=level).savefig(out / f"{r.name}.png")
    tables = [r.table(level).assign(patient=r.name) for r in found]
    pd.concat(tables).set_index("patient").to_csv(out / _TABLE)


def _as_json(r: Replay, level: float) -> dict[str, Any]:
    ranges = r.in_ranges(level).to_dict(orient="records")
    return {"patient": r.name, "scenario": r.scenario, "level": level, "remarks": list(r.remarks), "ranges": ranges,
            "readings": r.table(level).to_dict(orient="records")}  # fmt: skip


def _print(r: Replay, level: float) -> None:
    import pandas as pd  # noqa: PLC0415

    middle, low, high = r.interval(level)
    since = r.time_min - r.time_min[0]
    at = [int(np.argmin(np.abs(since - t))) for t in _SHOWN_MIN if t <= since[-1] + 5]
    typer.echo(f"{r.name}: {r.scenario}; change of glucose since doses differ, {100 * level:.0f} % interval")
    table = {
        "after\nmin": [f"{since[i]:.0f}" for i in at],
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
    for remark in r.remarks:
        say("warning", f"{r.name}: {remark}")
