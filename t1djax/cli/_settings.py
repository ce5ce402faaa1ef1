"""`t1djax settings`: insulin sensitivity, carbohydrate ratio and basal need of each person, by time of day."""

from pathlib import Path
from typing import Annotated, Any

import jax
import pandas as pd
import typer

from .._types import GlucoseUnit
from ..data import Cohort
from ..io import as_cells
from ..plotting import plot_settings
from ..records import NOT_TOLD, PersonSettings, rounded
from ..reporting import write_report
from ..statespace import BODIES, person_settings
from ._app import Bodies, Interval, Json, commands, say
from ._data import READING, Data, Names, Unit, read_people
from ._execution import telling
from ._exit import EXIT_FAILED_PATIENTS
from ._fields import Values, with_flags
from ._output import Overwrite, check_folder, remove_figures
from ._tables import print_json, print_table

_TABLE, _PAGE = "settings.csv", "settings.html"
_INTENDED_USE = """Research software, not a medical device. These numbers describe a model of the record; they are no
settings for a pump and no dose to take. Talk about changes of treatment with your clinic."""
_BELOW = """?: the record does not tell; the number is mostly what was expected before it was seen.
rules: 1800 and 500 over the daily insulin on record, half of it over 24 h. A model's ISF is smaller than the rule's,
since its body gives part of a fall back."""
_HEADS = {"isf": "ISF", "cr": "CR", "basal": "basal"}


@commands.command("settings", epilog="Example: t1djax settings ada.csv --parts 6 --out settings")
@with_flags(reading=READING)
def run_settings(
    *,
    data: Data,
    patients: Names = None,
    parts: Annotated[int, typer.Option(min=1, max=24, help="Parts of the day.")] = 6,
    physiology: Bodies = BODIES,
    at: Annotated[float, typer.Option("--at-mg-dL", help="Glucose from which the small experiments start.")] = 120.0,
    level: Annotated[float, typer.Option(min=0.5, max=0.99, help="Probability of the intervals.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Sets the draws.")] = 0,
    unit: Unit = "mg/dL",
    out: Annotated[Path | None, typer.Option(help="Folder for settings.csv, figures and settings.html.")] = None,
    overwrite: Overwrite = False,
    interval_min: Interval = None,
    reading: Values,
    as_json: Json = False,
) -> None:
    """Say what each record tells of a person's insulin sensitivity, carbohydrate ratio and basal need, and what not.

    They describe a model of the person, with intervals. They are no settings for a pump and no advice.
    """
    if out is not None:
        check_folder(out, _TABLE, "settings", overwrite=overwrite)
    cohort = read_people(data, names=patients, interval_min=interval_min, **reading).cohort
    with telling(lambda line: line, show=not as_json) as tell:
        asked: Any = {"physiology": physiology, "parts": parts, "at_mg_dL": at, "key": jax.random.key(seed)}
        found = [p.in_unit(unit) for p in person_settings(list(cohort), **asked, on_stage=tell.now)]
        if out is not None:
            tell.now("writing tables and figures")
            _write(out, found, cohort, level, unit)
    if as_json:
        print_json([_as_json(p, level) for p in found])
    else:
        for p in found:
            _print(p, level)
        typer.echo(_INTENDED_USE)
    for p in found:
        if not p.ok:
            say("warning", f"{p.name}: {p.message}")
    if not all(p.ok for p in found):
        raise typer.Exit(EXIT_FAILED_PATIENTS)


def _write(out: Path, found: list[PersonSettings], cohort: Cohort, level: float, unit: GlucoseUnit) -> None:
    out.mkdir(parents=True, exist_ok=True)
    remove_figures(out / _TABLE)
    as_cells(pd.concat([p.table(level) for p in found])).to_csv(out / _TABLE, index=False)
    for p in found:
        plot_settings(p, level=level).savefig(out / f"{p.name}.png", dpi=150)
    write_report(cohort, out / _PAGE, title="Settings", unit=unit, settings=found)


def _as_json(p: PersonSettings, level: float) -> dict[str, Any]:
    units = {which: row.unit for which, row in p.meanings.items()}
    return {
        "patient": p.name, "ok": p.ok, "bodies": dict(p.bodies), "at_mg_dL": p.at_mg_dL, "level": level,
        "days": p.days, "readings": p.readings, "daily_U": p.daily_U, "units": units,
        "parts": p.table(level).drop(columns="patient").to_dict(orient="records"),
        "day_to_day": p.day_to_day(level)._asdict(),
        "rules_of_thumb": p.rules, "reasons": list(p.reasons), "verdict": p.verdict(level),
        "help": p.help,
    }  # fmt: skip


def _print(p: PersonSettings, level: float) -> None:
    typer.echo(
        f"{p.name}: {p.days:.3g} days, {p.readings} readings, {p.daily_U:.3g} U a day; {100 * level:.0f} % intervals, "
        f"bodies {p.bodies_in_words}, at {p.start_glucose}"
    )
    numbers = (None, *range(len(p.starts_h)))
    columns: dict[str, list[str]] = {"part of\nthe day": [*(p.hours(k) for k in numbers), "rules"]}
    for which, row in p.meanings.items():
        cells = [_cell(p, which, k, level) for k in numbers]
        columns[f"{_HEADS[which]}\n{row.unit}"] = [*cells, rounded(p.rules[which])]
    columns["insulin\nalone"] = [*(str(seen.corrections) for seen in p.informative), ""]
    columns["meals"] = [*(str(seen.meals) for seen in p.informative), ""]
    columns["fasting\nh"] = [*(f"{seen.fasting_h:.0f}" for seen in p.informative), ""]
    print_table(pd.DataFrame(columns))
    typer.echo(_BELOW)
    typer.echo(p.verdict(level) + "\n")


def _cell(p: PersonSettings, which: Any, part: int | None, level: float) -> str:
    s = p.setting(which, part, level=level)
    return f"{rounded(s.value)} ({rounded(s.low)} to {rounded(s.high)})" + "?" * (s.knowledge == NOT_TOLD)
