"""The people whom a command is about: the reference cohort, a folder of tables, or files of any known format."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from .._types import GlucoseUnit
from .._words import did_you_mean
from ..config import REFERENCE, ConfigError
from ..data import Cohort, reference_cohort
from ..experiment import patient_names
from ..io import (
    OWN_COLUMNS,
    DataWarning,
    ReadReport,
    lacking,
    read_cohort,
)
from ..io.formats import FORMATS
from ..physics import PARAMETERS, has_symbol
from ._fields import Option
from ._files import own_tables, read_files

Data = Annotated[
    list[str],
    typer.Argument(
        help="`reference`; a folder of t1djax's tables; or files of any known format: one for each person, but the "
        "JSON files of Nightscout together."
    ),
]
Names = Annotated[
    str | None, typer.Option("--patients", help="all, or names: A,B; for the reference also 3,5.  [default: all]")
]
Unit = Annotated[GlucoseUnit, typer.Option(help="Unit of glucose.")]
_EACH = "FILE=value for one of several files, repeatable."
_READING = (
    Option("format", f"One of {', '.join(FORMATS)}; {_EACH}  [default: by the content]"),
    Option("glucose_unit", f"Glucose in the file is in mg/dL or mmol/L; {_EACH}"),
    Option("basal_unit", f"Basal in the file is in U/h, U/min or U/5min (dose per row); {_EACH}"),
    Option(
        "carbs_unit",
        "Carbohydrate is in g, exchange (10 g; else exchange-12g or -15g), g/min, or none to skip it; "
        f"{_EACH} Among several formats a bare unit is for files that leave theirs open.",
    ),
    Option("time_zone", f"IANA zone of local times, such as Europe/Madrid; {_EACH}"),
    Option("day_first", "Order of dates such as 03/04/2025.", bool, ("--day-first/--month-first",)),
    Option("dates", "Order of dates: day-first or month-first; FILE=day-first for one file."),
    Option(
        "columns",
        "Of a table of your own make, which column is which: time=Zeit,glucose=Glukose,carbs_g=KH; there are "
        f"{', '.join(OWN_COLUMNS)}. time=Date+Time joins two, auto takes the guess of inspect; FILE=time=... is for "
        "one of several files, repeatable.",
    ),
    Option(
        "subject", "Name of the patient; whom to read where a file has several; FILE=name for one of several files."
    ),
    Option("device", f"Whose readings to take where those of several sensors stand side by side; {_EACH}"),
    Option(
        "together",
        "All files are of one person: glucose, insulin and food, or one month after another.",
        bool,
        ("--together",),
    ),
    Option("start", f"First time to keep, local, such as 2025-01-31T08:00; {_EACH}"),
    Option("hours", f"Length to keep from there, h; {_EACH}"),
    Option("keep_interpolated", "Keep readings drawn between the sensor's own.", bool, ("--keep-interpolated",)),
)
"""How files are read: options of `read_recording`, each for all files or for one."""
Known = Annotated[
    list[str] | None, typer.Option(help="What is known of everybody, as in M=72 (kg) or M=72,ku_Vi=0.06; repeatable.")
]


def reading_flags(*names: str, without: Sequence[str] = ()) -> tuple[Option, ...]:
    """Flags of a command that reads files, by the names of the options; all if none is named."""
    return tuple(x for x in _READING if x.name not in without and (not names or x.name in names))


READING = reading_flags("glucose_unit", "basal_unit", "carbs_unit", "time_zone", "day_first", "dates", "columns")
"""Those of commands that are about people more than about files."""

_SHOWN = 5


class People(NamedTuple):
    """Who was read, and the report of each file."""

    cohort: Cohort
    reports: tuple[ReadReport, ...]


def read_people(
    data: Sequence[str],
    *,
    names: str | None = None,
    interval_min: float | None = None,
    known: Sequence[str] | None = None,
    **how: Any,
) -> People:
    """Read what a command's arguments name; options of `read_recording` that are None are left out."""
    how = {key: value for key, value in how.items() if value not in (None, [])}
    asserted = known_values(known)
    reference = list(data) == [REFERENCE]
    if not reference and interval_min is not None:
        raise ConfigError("--interval-min is for the reference cohort; a file is read as it is")
    chosen = None if names is None else patient_names(names, reference=reference)
    folders = [Path(item) for item in data if Path(item).is_dir()]
    reports: tuple[ReadReport, ...] = ()
    if reference:
        if how or asserted:
            raise ConfigError(f"{_flags([*how, *(['known'] if asserted else [])])}: for files, not for the reference")
        return People(reference_cohort(interval_min=1.0 if interval_min is None else interval_min, names=chosen), ())
    if len(data) == 1 and folders and not how and own_tables(folders[0]):
        cohort = read_cohort(folders[0], patients=chosen)
        _warn_of_lacking(cohort)
    else:
        read = read_files([Path(item) for item in data], **how)
        cohort, reports = Cohort(tuple(one.patient for one in read)), tuple(one.report for one in read)
        cohort = cohort if chosen is None else cohort.select(chosen)
    return People(cohort.asserting(asserted) if asserted else cohort, reports)


def _warn_of_lacking(cohort: Cohort) -> None:
    """As readers of other formats do; of a large cohort the first few."""
    short = [(patient.name, words) for patient in cohort if (words := lacking(patient))]
    for name, words in short[:_SHOWN]:
        for text in words:
            warnings.warn(f"{name}: {text}", DataWarning, stacklevel=2)
    if len(short) > _SHOWN:
        rest = f"{len(short) - _SHOWN} more people have no insulin, no basal or no meals on record"
        warnings.warn(rest, DataWarning, stacklevel=2)


def known_values(texts: Sequence[str] | None) -> dict[str, float]:
    """What `--known` states, by symbol, in texts such as `M=72` or `M=72,ku_Vi=0.06`.

    Raises:
        ConfigError: where a text is no symbol and number, a symbol is not known, or it stands twice.
    """
    found: dict[str, float] = {}
    for text in (part for given in texts or () for part in given.replace(" ", "").split(",")):
        symbol, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            raise ConfigError(
                f"--known {text}: write a symbol and a number, as in --known M=72, and repeat the flag for another"
            ) from None
        if not has_symbol(symbol):
            near, one_of = did_you_mean(symbol, PARAMETERS), ", ".join(PARAMETERS)
            raise ConfigError(f"--known {text}: unknown parameter {symbol!r}{near}; one of {one_of}")
        if symbol in found:
            raise ConfigError(f"--known {text}: {symbol} stands twice")
        found[symbol] = value
    return found


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
