"""Any file that people have, to a patient and a report of what was read."""

import collections
import dataclasses
import datetime as dt
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._arguments import argument
from ..data import Patient
from ._assemble import assemble
from ._checks import SHOWN, DataWarning, Findings
from ._columns import as_mapping
from ._options import ReadOptions
from ._raw import BasalUnit, CarbsUnit, GlucoseUnit, Raw
from ._remarks import Remarks
from ._report import ReadReport, report
from ._text import members, read_text, text_of
from ._unknown import unknown_format
from .formats import FORMATS, Format, recognised
from .formats._mapped import people

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

    Units are held against what bodies and devices do, and a file that contradicts its own is refused with the mend.
    Gaps stay gaps. Readings that someone drew between the sensor's own are left without a value. Doses of the day
    before the first reading are kept, at negative minutes.

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
        DataError: listing everything wrong, with lines and mends.
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
    options = ReadOptions(
        glucose_unit=glucose_unit,
        basal_unit=basal_unit,
        carbs_unit=carbs_unit,
        time_zone=time_zone,
        day_first=day_first,
        subject=subject,
        device=device,
        start=start,
        hours=hours,
        keep_interpolated=keep_interpolated,
        columns=as_mapping(columns),
    )
    found, remarks = Findings(), Remarks()
    patient, kind, merged = _read(path, format, options, known, found, remarks)
    odd, found.odd = found.odd, []
    found.finish()
    assert patient is not None
    said = report(_name(path), kind, patient, remarks, (), merged=merged)
    said = dataclasses.replace(said, warnings=(*odd, *said.warnings))
    for text in said.warnings:
        warnings.warn(text if text in odd else f"{said.file}: {text}", DataWarning, stacklevel=2)
    return Recording(patient, said)


def inspect_file(
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
    columns: Mapping[str, str] | str | None = None,
) -> ReadReport:
    """Report what a file holds. What would make `read_recording` refuse it stands in the report's `problems`.

    Args:
        path: as for `read_recording`, like the rest.
        format: name of the format.
        glucose_unit: unit of the readings.
        basal_unit: unit of basal rates.
        carbs_unit: unit of carbohydrate.
        time_zone: IANA name.
        day_first: order of dates.
        subject: whom to read.
        device: whose readings to take.
        start: first time.
        hours: length to read, h.
        columns: of a table of another make, which column is which; a mapping, or its text.

    Returns:
        The report.

    Raises:
        ValueError: where an argument is not one of those of `read_recording`.

    Example:
        >>> import t1djax
        >>> t1djax.inspect_file("nowhere.csv").problems
        ('nowhere.csv: there is no such file; check the path',)
    """
    options = ReadOptions(
        glucose_unit=glucose_unit,
        basal_unit=basal_unit,
        carbs_unit=carbs_unit,
        time_zone=time_zone,
        day_first=day_first,
        subject=subject,
        device=device,
        start=start,
        hours=hours,
        columns=as_mapping(columns),
    )
    found, remarks = Findings(), Remarks()
    patient, kind, merged = _read(path, format, options, {}, found, remarks)
    remarks.warnings[:0] = found.odd
    return report(_name(path), kind, patient, remarks, tuple(map(str, found.problems)), merged=merged)


def people_in(path: str | Path, *, columns: Mapping[str, str] | str | None = None) -> tuple[str, ...]:
    """Whom a file holds, where its format puts several people into one; else nobody by name.

    Args:
        path: the file.
        columns: of a table of another make, which column is which; a mapping, or its text.
    """
    text = read_text(Path(path), Findings())
    if text is None:
        return ()
    if columns is not None:
        return people(text, as_mapping(columns) or None)
    kinds = recognised(text, Path(path).name)
    return kinds[0].people(text) if len(kinds) == 1 and kinds[0].people else ()


def recognised_formats(path: str | Path) -> tuple[str, ...]:
    """Names of the formats that a file can be of by its content; none where it cannot be read as text."""
    text = read_text(Path(path), Findings())
    return () if text is None else tuple(kind.name for kind in recognised(text, Path(path).name))


def _name(path: Paths) -> str:
    return str(path) if isinstance(path, str | Path) else ", ".join(map(str, path))


def _read(
    path: Paths, asked: str | None, options: ReadOptions, known: Mapping[str, float], found: Findings, remarks: Remarks
) -> tuple[Patient | None, str | None, bool]:
    """The patient, the name of the format, and whether basal and bolus come as one."""
    if asked is not None and asked not in FORMATS:
        raise ValueError(f"format {asked!r} is not known; there are {', '.join(FORMATS)}")
    if options.columns is not None and asked not in (None, "table"):
        raise ValueError(f"columns are for a table of another make; leave them or format {asked} out")
    texts = _texts(path, found)
    files = list(texts)
    if found.problems or not files:
        return None, asked, False
    asked = asked if options.columns is None else "table"
    if options.columns is not None and not options.columns and texts:
        unknown = unknown_format(next(iter(texts.values())))
        remarks.facts |= {"columns": dict(unknown.columns), "columns_unplaced": unknown.unplaced}
    if isinstance(path, str | Path) and len(files) > 1 and asked is None:
        texts = _known(texts, remarks) or texts
        files = list(texts)
    kinds = {file: _kind(file, text, asked, found, remarks) for file, text in texts.items()}
    names = {kind.name for kind in kinds.values() if kind is not None}
    if None in kinds.values():
        return None, asked, False
    kind = kinds[files[0]]
    assert kind is not None
    alone = "others" not in kind.options or (kind.name == "table" and options.columns is None)
    if len(names) > 1 or (len(files) > 1 and alone):
        mend = "read one person's file at a time, or say which columns are which in tables of one person"
        found.add(_name(path), f"these are {len(files)} files of {', '.join(sorted(names))}", mend)
        return None, kind.name, False
    raw = _parse(kind, texts, options, found)
    for file, text in texts.items():
        if not text.endswith(("\n", "\r", "}", "]", ">")):
            remarks.warnings.append(
                f"{file.name}: the last line has no end; if the file was cut off, its last value is wrong"
            )
    if raw is None:
        if not found.problems:
            found.add(_name(path), "nothing can be read from it", "see the formats in docs/real-data.md")
        return None, kind.name, False
    if not raw.clock and _no_clock(raw, options, found):
        return None, kind.name, raw.merged_insulin
    swap = options.day_first is not None and "day_first" not in kind.options and options.day_first != kind.day_first
    raw = dataclasses.replace(raw, turn_dates=swap or raw.turn_dates, known={**raw.known, **known})
    patient, more = assemble(raw, options)
    remarks += more
    found.problems += more.problems
    return patient, kind.name, raw.merged_insulin


def _no_clock(raw: Raw, options: ReadOptions, found: Findings) -> bool:
    """Whether something was asked for that only a record with a clock has; it is reported."""
    wanted = [name for name in ("day_first", "time_zone") if getattr(options, name) is not None]
    for name in wanted:
        found.add(raw.file, "its times are minutes, not of a clock", f"leave {name} out", column="time")
    return bool(wanted)


def _texts(path: Paths, found: Findings) -> dict[Path, str]:
    """The files that a path stands for, and their texts: those of a folder or an archive, too."""
    if not isinstance(path, str | Path):
        if not path:
            raise ValueError("name at least one file")
        files = [Path(one) for one in path]
    elif not Path(path).is_dir():
        if (inside := members(Path(path)) if Path(path).is_file() else None) is not None:
            each = {file: text_of(str(file), raw, found) for file, raw in inside.items()}
            return {file: text for file, text in each.items() if text is not None}
        files = [Path(path)]
    else:
        files = _inside(Path(path), found)
    each = {file: read_text(file, found) for file in files}
    return {file: text for file, text in each.items() if text is not None}


def _inside(folder: Path, found: Findings) -> list[Path]:
    """The files of a folder that belong together: JSON files, else tables, those of folders in it as well."""
    there = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    own = [file for file in there if file.suffix.lower() == ".json" and file.name != REPORT_FILE]
    tables = [file for file in there if file.suffix.lower() in (".csv", ".txt", ".tsv")]
    if not own and not tables:
        files = [file.name for file in there]
        what = f"the folder holds {', '.join(files[:SHOWN])}{', ...' if len(files) > SHOWN else ''} and no tables"
        mend = "a folder is for the files of one person, or for t1djax's own tables; else name the files in it"
        found.add(str(folder), what if files else "the folder is empty", mend)
    files = own or tables
    twice = [name for name, count in collections.Counter(file.name for file in files).items() if count > 1]
    if twice:
        what = f"{twice[0]} is in more than one folder below it: are these several people?"
        found.add(str(folder), what, "read the folder of one person at a time")
    return files


def _known(texts: Mapping[Path, str], remarks: Remarks) -> dict[Path, str]:
    """Of a folder, the files of a format whose files belong together; the others are passed over with a note."""
    joins = lambda kind: "others" in kind.options and kind.name != "table"
    belongs = lambda file, text: any(map(joins, recognised(text, file.name)))
    several = {file: text for file, text in texts.items() if belongs(file, text)}
    if several and (rest := [file.name for file in texts if file not in several]):
        remarks.notes.append(f"files of the folder with no readings or treatments are not read: {', '.join(rest)}")
    return several


def _kind(file: Path, text: str, asked: str | None, found: Findings, remarks: Remarks) -> Format | None:
    """The format of a file."""
    if asked is not None:
        return FORMATS[asked]
    kinds = recognised(text, file.name)
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        what = f"its format may be {' or '.join(kind.name for kind in kinds)}"
        found.add(str(file), what, f"name one of them with {argument('format', 'NAME')}")
    elif {"weight", "bw"} & set(text.split("\n", 1)[0].strip().split(",")):
        what = "this is a table about people, not a recording"
        found.add(
            str(file),
            what,
            f"state a body mass with {argument('known', {'M': 72})} (kg); read_hupa takes the table as info",
        )
    else:
        unknown = unknown_format(text)
        found.add(str(file), unknown.what, unknown.mend)
        remarks.facts |= {"columns": dict(unknown.columns), "columns_unplaced": unknown.unplaced}
    return None


def _parse(kind: Format, texts: Mapping[Path, str], options: ReadOptions, found: Findings) -> Raw | None:
    (path, text), *others = texts.items()
    more: dict[str, Any] = {"subject": options.subject, "day_first": options.day_first}
    more |= {"glucose_unit": options.glucose_unit, "columns": options.columns}
    more = {name: value for name, value in (more | {"others": others}).items() if name in kind.options}
    return kind.parse(path, text, found, **more)
