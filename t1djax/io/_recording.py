"""Any file that people have, to a patient and a report of what was read."""

import collections
import dataclasses
import datetime as dt
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._arguments import argument
from ..data import Patient
from ._assemble import assemble
from ._columns import as_mapping
from ._options import ReadOptions
from ._raw import BasalUnit, CarbsUnit, GlucoseUnit, Raw
from ._remarks import SHOWN, DataError, DataWarning, Doubt, Flaw, Note, Step, finished, flaw, sound
from ._report import ReadReport, report
from ._text import members, read_text, text_of
from ._unknown import unknown_format
from .formats import FORMATS, Format, recognised
from .formats._sheets import people

REPORT_FILE = "reading.json"
"""Where `t1djax convert` leaves its reports, beside the tables."""
Paths = str | Path | Sequence[str | Path]


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """A person's file as read."""

    patient: Patient
    """The patient."""
    report: ReadReport
    """What was found in the file."""

    def _repr_html_(self) -> str:
        return self.patient._repr_html_() + self.report._repr_html_()


def read_recording(
    path: Paths,
    *,
    format: str | None = None,
    glucose_unit: GlucoseUnit | None = None,
    basal_unit: BasalUnit | None = None,
    carbs_unit: CarbsUnit | None = None,
    time_zone: str | None = None,
    day_first: bool | None = None,
    subject: str | None = None,
    device: str | None = None,
    start: str | dt.datetime | None = None,
    hours: float | None = None,
    keep_interpolated: bool = False,
    known: Mapping[str, float] = {},
    columns: Mapping[str, str] | str | None = None,
) -> Recording:
    """Read a person's file in any format that is known by its content.

    Units are checked against what bodies and devices do: a file that contradicts its own units is refused with the
    remedy. Gaps stay gaps. Readings that someone drew between the sensor's own are left without a value. Doses of the
    day before the first reading are kept, at negative minutes.

    Args:
        path: the file; of a person with several, their list, their folder, or an archive of them.
        format: name of the format, where the content does not tell, such as `table`, `nightscout` or `glooko`.
        glucose_unit: `"mg/dL"` or `"mmol/L"`; left out, what the file states, or its values where they are plain.
        basal_unit: `"U/h"`, `"U/min"` or `"U/5min"` (the dose in each 5-min row); left out, the format's. Stated, a
            sum that looks odd is a warning instead of an error.
        carbs_unit: `"g"`, `"exchange"` (10 g), `"g/min"`, or `"none"` to leave carbohydrate out; left out, the
            format's. HUPA-UCM has no unit of its own: it must be said.
        time_zone: IANA name of the zone that times without an offset are local in, or in which to tell local time.
        day_first: whether dates are written day before month, where the file does not tell.
        subject: name of the patient, and whom to read of a file with several people.
        device: whose readings to take where those of several sensors stand side by side: its name in the file, or
            `"1 of 2"` or `"2 of 2"` where they have none.
        start: first time to keep, ISO 8601 or a datetime; without an offset it is local.
        hours: length to keep, h.
        keep_interpolated: whether to keep readings that lie on lines between the sensor's own.
        known: asserted parameters by symbol, such as `{"M": 72}` (kg).
        columns: of a table that no format knows, which column is which: `{"time": "Zeit", "glucose": "Glukose"}`
            or `"time=Zeit,glucose=Glukose"`.
            Keys are `time` or `time_min`; `glucose`, `glucose_mg_dL` or `glucose_mmol_L`; `basal` or `basal_U_h`;
            `bolus`; `long_acting`; `carbs` or `carbs_g`; `bolus_duration_min`; `meal_duration_min`; `patient`; `event`
            and `value` of a table with a row for each. A time and glucose
            are needed, columns that have such a name are taken by it, and `"Date+Time"` joins two. Cells may be
            separated by commas, semicolons or tabs, and numbers may have a decimal comma. `"auto"` takes the guess that
            `inspect_file` reports.

    Returns:
        The patient and the report. Minute zero is the first row kept.

    Raises:
        DataError: listing everything wrong, with lines and remedies.
        ValueError: where an argument is not one of those above.

    Example:
        >>> import pathlib, tempfile
        >>> import t1djax
        >>> text = "Time,BG,CGM,CHO,insulin\\n2025-01-06 07:00:00,120,121,9,0.02\\n"
        >>> text += "2025-01-06 07:05:00,124,122,0,0.02\\n"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "adult.csv")
        ...     _ = file.write_text(text)
        ...     recording = t1djax.read_recording(file)
        >>> recording.report.format, recording.patient.doses.carbs_g.tolist()
        ('simglucose', [45.0])
    """
    options = _options(
        glucose_unit=glucose_unit, basal_unit=basal_unit, carbs_unit=carbs_unit, time_zone=time_zone,
        day_first=day_first, subject=subject, device=device, start=start, hours=hours,
        keep_interpolated=keep_interpolated, columns=columns,
    )  # fmt: skip
    patient, found, problems = _reported(path, format, options, known)
    if problems:
        raise DataError(problems)
    for text in found.warnings:
        warnings.warn(f"{found.file}: {text}", DataWarning, stacklevel=2)
    assert patient is not None
    return Recording(patient, found)


def inspect_file(path: Paths, *, format: str | None = None, **options: Any) -> ReadReport:
    """Report what a file holds. What would make `read_recording` refuse it stands in the report's `problems`.

    Args:
        path: as for `read_recording`.
        format: name of the format.
        options: others of `read_recording`.

    Returns:
        The report.

    Raises:
        ValueError: where an argument is not one of those of `read_recording`.

    Example:
        >>> import t1djax
        >>> t1djax.inspect_file("nowhere.csv").problems
        ('nowhere.csv: there is no such file; check the path',)
    """
    known = options.pop("known", {})
    return _reported(path, format, _options(**options), known)[1]


def people_in(path: str | Path, *, columns: Mapping[str, str] | str | None = None) -> tuple[str, ...]:
    """Whom a file holds, where its format puts several people into one; else nobody by name."""
    text, _ = finished(read_text(Path(path)))
    if text is None:
        return ()
    if columns is not None:
        return people(text, as_mapping(columns) or None)
    kinds = recognised(text)
    return kinds[0].people(text) if len(kinds) == 1 and kinds[0].people else ()


def recognised_formats(path: str | Path) -> tuple[str, ...]:
    """Names of the formats that a file can be of by its content; none where it cannot be read as text."""
    text, _ = finished(read_text(Path(path)))
    return () if text is None else tuple(kind.name for kind in recognised(text))


def _options(*, columns: Mapping[str, str] | str | None = None, **given: Any) -> ReadOptions:
    return ReadOptions(columns=as_mapping(columns), **given)


class _Read(NamedTuple):
    """What a file gave."""

    patient: Patient | None = None
    format: str | None = None
    merged: bool = False
    """Whether basal and bolus come as one."""


def _reported(
    path: Paths, format: str | None, options: ReadOptions, known: Mapping[str, float]
) -> tuple[Patient | None, ReadReport, list[Flaw]]:
    """The patient, the report, and why the file is refused."""
    if format is not None and format not in FORMATS:
        raise ValueError(f"format {format!r} is not known; there are {', '.join(FORMATS)}")
    if options.columns is not None and format not in (None, "table"):
        raise ValueError(f"columns are for a table of another make; leave them or format {format} out")
    if not isinstance(path, str | Path) and not path:
        raise ValueError("name at least one file")
    read, remarks = finished(_read(path, format, options, known))
    if read.patient is None and not remarks.problems:
        remarks.problems = [
            flaw(_name(path), "nothing can be read from it", "see the formats in `t1djax inspect --help`")
        ]
    return read.patient, report(_name(path), read.format, read.patient, remarks, merged=read.merged), remarks.problems


def _name(path: Paths) -> str:
    return str(path) if isinstance(path, str | Path) else ", ".join(map(str, path))


def _read(path: Paths, layout: str | None, options: ReadOptions, known: Mapping[str, float]) -> Step[_Read]:
    texts = yield from sound(_texts(path))
    if not texts:
        return _Read(format=layout)
    if options.columns is not None:
        layout = "table"
        if not options.columns:
            yield unknown_format(next(iter(texts.values()))).facts
    elif layout is None and len(texts) > 1 and isinstance(path, str | Path):
        texts = yield from _of_one_format(texts)
    kinds: list[Format] = []
    for file, text in texts.items():
        kind = FORMATS[layout] if layout is not None else (yield from _kind(file, text))
        kinds += [] if kind is None else [kind]
    if len(kinds) < len(texts):
        return _Read()
    kind, names = kinds[0], {kind.name for kind in kinds}
    in_one = isinstance(path, str | Path)
    if len(names) > 1 or (in_one and len(texts) > 1 and not kind.joins and options.columns is None):
        remedy = "read one person's file at a time, or say which columns are which in tables of one person"
        yield flaw(_name(path), f"these are {len(texts)} files of {', '.join(sorted(names))}", remedy)
        return _Read(format=kind.name)
    for file, text in texts.items():
        if not text.endswith(("\n", "\r", "}", "]", ">")):
            yield Doubt(f"{file.name}: the last line has no end; if the file was cut off, its last value is wrong")
    several = kind.joins or options.columns is not None
    raw = yield from _parsed(kind, [list(texts.items())] if several else [[item] for item in texts.items()], options)
    if raw is None or (yield from _asks_for_a_clock(raw, options)):
        return _Read(format=kind.name)
    patient = yield from assemble(dataclasses.replace(raw, known={**raw.known, **known}), options)
    return _Read(patient, kind.name, raw.merged_insulin)


def _parsed(kind: Format, groups: list[list[tuple[Path, str]]], options: ReadOptions) -> Step[Raw | None]:
    """What groups of files hold: each for itself, as exports of one month after another, and then together."""
    raws: list[Raw] = []
    for files in groups:
        raw = yield from kind.parse(files, options)
        raws += [] if raw is None else [raw]
    if len(raws) < len(groups) or len(raws) == 1:
        return raws[0] if len(raws) == len(groups) else None
    first = raws[0]
    for name in ("glucose_unit", "basal_unit", "carbs_unit", "clock"):
        if len({getattr(raw, name) for raw in raws}) > 1:
            yield flaw(first.file, f"the files differ in {name}", "read them one by one, or put them right")
            return None
    events = {name: tuple(x for raw in raws for x in getattr(raw, name)) for name in
              ("readings", "basal", "boluses", "meals", "long_acting")}  # fmt: skip
    folder = Path(first.file).resolve().parent
    return dataclasses.replace(first, file=str(folder), subject=options.subject or folder.name, **events)


def _asks_for_a_clock(raw: Raw, options: ReadOptions) -> Step[bool]:
    """Whether something was asked for that only a record with a clock has; it is reported."""
    wanted = [name for name in ("day_first", "time_zone") if not raw.clock and getattr(options, name) is not None]
    for name in wanted:
        yield flaw(raw.file, "its times are minutes, not of a clock", f"leave {name} out", column="time")
    return bool(wanted)


def _texts(path: Paths) -> Step[dict[Path, str]]:
    """The files that a path stands for, and their texts: those of a folder or an archive, too."""
    files = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    one = files[0] if isinstance(path, str | Path) else None
    inside = members(one) if one is not None and one.is_file() else None
    if one is not None and one.is_dir():
        files = yield from _inside(one)
    out: dict[Path, str] = {}
    for file in inside or files:
        text = yield from read_text(file) if inside is None else text_of(str(file), inside[file])
        out |= {} if text is None else {file: text}
    return out


def _inside(folder: Path) -> Step[list[Path]]:
    """The files of a folder that belong together: JSON files, else tables, those of folders in it as well."""
    there = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    own = [file for file in there if file.suffix.lower() == ".json" and file.name != REPORT_FILE]
    tables = [file for file in there if file.suffix.lower() in (".csv", ".txt", ".tsv")]
    if not own and not tables:
        files = [file.name for file in there]
        what = f"the folder holds {', '.join(files[:SHOWN])}{', ...' if len(files) > SHOWN else ''} and no tables"
        remedy = "a folder is for the files of one person, or for t1djax's own tables; else name the files in it"
        yield flaw(str(folder), what if files else "the folder is empty", remedy)
    files = own or tables
    twice = [name for name, count in collections.Counter(file.name for file in files).items() if count > 1]
    if twice:
        what = f"{twice[0]} is in more than one folder below it: are these several people?"
        yield flaw(str(folder), what, "read the folder of one person at a time")
    return files


def _of_one_format(texts: dict[Path, str]) -> Step[dict[Path, str]]:
    """Of a folder, the files of a format whose files belong together; the others are passed over with a note."""
    several = {file: text for file, text in texts.items() if any(kind.joins for kind in recognised(text))}
    if several and (rest := [file.name for file in texts if file not in several]):
        yield Note(f"files of the folder with no readings or treatments are not read: {', '.join(rest)}")
    return several or texts


def _kind(file: Path, text: str) -> Step[Format | None]:
    """The format of a file."""
    kinds = recognised(text)
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        what = f"its format may be {' or '.join(kind.name for kind in kinds)}"
        yield flaw(str(file), what, f"name one of them with {argument('format', 'NAME')}")
    elif {"weight", "bw"} & set(text.split("\n", 1)[0].strip().split(",")):
        mass = f"state a body mass with {argument('known', {'M': 72})} (kg)"
        remedy = f"{mass}; read_hupa takes the table as info"
        yield flaw(str(file), "this is a table about people, not a recording", remedy)
    else:
        unknown = unknown_format(text)
        yield flaw(str(file), unknown.what, unknown.remedy)
        yield unknown.facts
    return None
