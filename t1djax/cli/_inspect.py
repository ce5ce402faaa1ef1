"""`t1djax inspect` and `t1djax convert`: files that people have."""

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .._types import MG_DL_PER_MMOL_L
from ..data import Cohort
from ..io import (
    REPORT_FILE,
    ReadReport,
    inspect_file,
    stand_ins,
    without_nan,
    write_cohort,
)
from ..io.formats import FORMATS
from ._app import Json, commands, stderr
from ._data import reading_flags
from ._exit import EXIT_DATA
from ._fields import Values, with_flags
from ._files import people, read_files, reading_jobs
from ._tables import print_json

Files = Annotated[
    list[Path],
    typer.Argument(
        help="Files of any known format; of a person with several, their folder, an archive, or all of them with "
        "--together; also a folder of t1djax's own tables."
    ),
]


@commands.command(
    epilog="Example: t1djax inspect own.csv --columns time=Zeit,glucose=Glukose,carbs_g=KH",
)
@with_flags(how=reading_flags(without=["keep_interpolated"]))
def inspect(
    *,
    files: Files,
    how: Values,
    as_json: Json = False,
) -> None:
    """Report what files hold: span, gaps, units, doses per day, and what is wrong. Exit code 3 if something is."""
    reports = [
        inspect_file(one.group, **{**one.how, "subject": name})
        for one in reading_jobs(files, **how)
        for name in people(one.group, one.how)
    ]
    if as_json:
        print_json([x.as_dict() for x in reports] if len(reports) > 1 else reports[0].as_dict())
    else:
        for x in reports:
            _print(x)
    if any(x.problems for x in reports):
        raise typer.Exit(EXIT_DATA)


@commands.command(
    epilog="Example: t1djax convert ada.csv ben.csv --glucose-unit ada.csv=mmol/L --out cohort",
)
@with_flags(how=reading_flags())
def convert(
    *,
    files: Files,
    out: Annotated[Path, typer.Option(help="Folder for the cohort's tables.")],
    how: Values,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the tables of the same patients.")] = False,
    as_json: Json = False,
) -> None:
    """Write files of any known format as a cohort of t1djax's own tables, in mg/dL, U/h, U and g."""
    read = read_files(files, **how)
    write_cohort(Cohort(tuple(x.patient for x in read)), out, overwrite=overwrite)
    reports = [x.report.as_dict() for x in read]
    made = {"made": dt.datetime.now().astimezone().isoformat(timespec="seconds"), "reports": reports}
    text = json.dumps(without_nan(made), indent=2, allow_nan=False)
    (out / REPORT_FILE).write_text(f"{text}\n", encoding="utf-8")
    if as_json:
        print_json({"folder": str(out), "patients": [x.patient.name for x in read], "reports": reports})
        return
    for x in read:
        typer.echo(out / f"{x.patient.name}.csv")
        stderr.print(f"  {_in_short(x.report)}", markup=False, highlight=False, soft_wrap=True)


def _print(x: ReadReport) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, soft_wrap=True, highlight=False, markup=False)
    console.print(f"{x.file}: {_kind(x)}", style="bold")
    table = Table(show_header=False, show_edge=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in _rows(x):
        table.add_row(name, value)
    if x.readings is not None:
        console.print(table)
    for words, style, texts in (
        ("problem", "red", x.problems),
        ("warning", "yellow", x.warnings),
        ("note", "", x.notes),
    ):
        for text in texts:
            console.print(f"{words}: {text}", style=style)


def _kind(x: ReadReport) -> str:
    missing = x.format is None and not Path(x.file).exists()
    if x.format is None:
        return "not there" if missing else "not recognised"
    return FORMATS[x.format].description


def _in_short(x: ReadReport) -> str:
    """What was read, so that a column that was not read shows."""
    limit = f", {_limits(x, ' at a limit of the sensor')}" if x.censored_share else ""
    own = lambda value, unit: f"{value:.0f} {unit}/day"
    insulin = (
        own(x.insulin_U_day or 0.0, "U")
        if x.basal_U_day is None
        else (f"basal {x.basal_U_day:.1f} + bolus {x.bolus_U_day or 0.0:.1f} U/day")
    )
    return (
        f"{_kind(x)}: {x.readings} readings in {(x.span_h or 0.0) / 24:.1f} days{limit}; {insulin}; "
        f"{own(x.carbs_g_day or 0.0, 'g')}"
    )


def _limits(x: ReadReport, at: str = "") -> str | None:
    """How many readings are at a limit of the sensor; in brackets those that the file says to be beyond it."""
    if x.censored_share is None or x.readings is None:
        return None
    n, stands_for = round(x.censored_share * x.readings), stand_ins(x.as_dict())
    return f"{n} ({100 * x.censored_share:.1f} %){at}" + (f": {stands_for}" if stands_for else "")


def _rows(x: ReadReport) -> list[tuple[str, str]]:
    """What there is to say, in the order of reading."""
    number = lambda value, unit="", digits=3: None if value is None else f"{value:.{digits}g}{unit}"
    share = lambda value: None if value is None else f"{100 * value:.1f} %"
    unit = lambda name, by: None if name is None else f"{name} ({by or 'not known'})"
    both = lambda value: "-" if value is None else f"{value:.0f} mg/dL ({value / MG_DL_PER_MMOL_L:.1f} mmol/L)"
    gaps = None
    if x.gaps is not None:
        longest = "".join(f"\n  {length:.0f} min from {begin}" for begin, length in x.gap_list[:5])
        gaps = f"{x.gaps}, the longest {x.longest_gap_min:.0f} min{longest}" if x.gaps else "none"
    insulin = None
    if not x.insulin_U_day:
        insulin = None if x.readings is None else "none on record"
    elif x.basal_U_day is not None:
        insulin = f"{x.insulin_U_day:.1f} U/day: basal {x.basal_U_day:.1f} + bolus {x.bolus_U_day:.1f}, the latter in "
        insulin += f"{x.boluses_day:.1f} boluses/day"
    else:
        insulin = f"{x.insulin_U_day:.1f} U/day, basal and bolus not told apart"
    if x.long_acting_U_day is not None and insulin is not None:
        insulin += f"; long-acting {x.long_acting_U_day:.1f} U/day injected"
    left = [
        f"{count} {word}"
        for count, word in (
            (x.duplicates, "of the same time and value"),
            (x.conflicting_duplicates, "that contradict another of their time"),
            (x.copies, "that repeat one nearby"),
            (x.other_sensors, "of another sensor"),
        )
        if count
    ]
    sources = (
        (x.days_readings, "readings"),
        (x.days_boluses, "boluses"),
        (x.days_meals, "meals"),
        (x.days_long_acting, "long-acting insulin"),
    )
    days = ", ".join(f"{count} with {word}" for count, word in sources if count)
    if x.days_covered is not None:
        days = f"{days}; amounts per day are of {x.days_covered:.3g}"
    carbs = None if x.carbs_g_day is None else f"{x.carbs_g_day:.0f} g/day in {x.meals_day:.1f} meals/day"
    carbs = carbs if x.carbs_g_day != 0 else "none on record"
    rows = [
        ("subject", x.subject),
        ("span", None if x.span_h is None else f"{x.first} to {x.last}, {x.span_h / 24:.2f} days"),
        ("time zone", x.time_zone),
        ("clock changes", ", ".join(x.clock_changes) or None),
        ("readings", None if x.readings is None else f"{x.readings}, each {number(x.interval_min, ' min', 4)}"),
        ("coverage", share(x.coverage)),
        ("gaps", gaps),
        ("left out", ", ".join(left) or None),
        ("days", days or None),
        ("glucose unit", unit(x.glucose_unit, x.glucose_unit_by)),
        (
            "glucose",
            f"median {both(x.glucose_median_mg_dL)}, {both(x.glucose_min_mg_dL)} to {both(x.glucose_max_mg_dL)}",
        ),
        ("at a limit", _limits(x)),
        ("in steps of", number(x.glucose_step_mg_dL, " mg/dL")),
        ("interpolated", f"{share(x.interpolated_share)}, {x.interpolation}" if x.interpolated else None),
        ("basal unit", unit(x.basal_unit, x.basal_unit_by)),
        ("insulin", insulin),
        ("carbs unit", unit(x.carbs_unit, x.carbs_unit_by)),
        ("carbohydrate", carbs),
        ("g per U", number(x.g_per_U)),
        ("body mass", number(x.body_mass_kg, " kg")),
    ]
    return [(name, value) for name, value in rows if value is not None]
