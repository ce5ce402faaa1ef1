"""The files that a command names, each with its options and its person's name."""

import collections
import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..config import ConfigError
from ..io import DataError, DataWarning, Flaw, Recording, inspect_file, people_in, read_recording, recognised_formats
from ._per_file import Group, settings


class ReadingJob(NamedTuple):
    """What is read at once, and how."""

    group: Group
    how: dict[str, Any]


def read_files(files: Sequence[Path], **how: Any) -> list[Recording]:
    """The recordings of all files, each person by a name of their own; for the options see `reading_jobs`.

    Raises:
        DataError: listing everything wrong with any of them.
    """
    read: list[tuple[Group, Recording]] = []
    problems: list[Flaw] = []
    for one in reading_jobs(files, **how):
        try:
            read += [(one.group, x) for x in _recordings(one.group, **one.how)]
        except DataError as e:
            problems += e.problems
    if problems:
        raise DataError(problems)
    return _apart(read)


def reading_jobs(files: Sequence[Path], *, together: bool = False, **how: Any) -> list[ReadingJob]:
    """Files one by one, but JSON files together, since Nightscout's belong to one person; with the options of each.

    An option is for every file, or for one, as in `ada.csv=mmol/L`. A unit of carbohydrate for every file is, among
    files of several formats, only for those that leave theirs open; columns for every file are for those of no known
    format.

    Raises:
        ConfigError: where a value or a name is not known.
    """
    groups = [list(files)] if together else _groups(files)
    given = settings(groups, how)
    plain = {name: one.every for name, one in given.items() if name != "columns"}
    mixed = len({_format(group, plain) for group in groups}) > 1
    out = []
    for number, group in enumerate(groups):
        mine = {name: one.of(number) for name, one in given.items()}
        if mixed and "columns" in given and number not in given["columns"].own and _format(group, {}):
            mine["columns"] = None
        mine = {name: value for name, value in mine.items() if value is not None}
        units = given.get("carbs_unit")
        if mixed and units is not None and number not in units.own and _states_carbs(group, mine):
            mine.pop("carbs_unit", None)
        out.append(ReadingJob(group, mine))
    return out


def _groups(files: Sequence[Path]) -> list[Group]:
    """Folders of the library's own tables give their people's files."""
    each: list[Path] = []
    for file in files:
        each += (own_tables(file) if file.is_dir() else []) or [file]
    together = [file for file in each if file.suffix.lower() == ".json"]
    apart: list[Group] = [file for file in each if file not in together]
    return apart + ([together] if len(together) > 1 else list(together))


def own_tables(folder: Path) -> list[Path]:
    """The people's files where a folder holds t1djax's tables; all else `read_recording` reads or refuses."""
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csv" and path.name[0] != ".")
    people = [path for path in tables if path.stem.casefold() not in ("patients", "truth")]
    ours = len(people) < len(tables) or any("table" in recognised_formats(path) for path in people)
    return people if ours else []


def people(group: Group, how: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Whom to read of one file: everybody where its format holds several people and none is chosen."""
    subject = how.get("subject")
    if not isinstance(group, Path) or not group.is_file() or subject is not None:
        return (subject,)
    names = people_in(group, columns=how.get("columns"))
    return names if len(names) > 1 else (None,)


def _recordings(group: Group, **how: Any) -> list[Recording]:
    return [read_recording(group, **{**how, "subject": name}) for name in people(group, how)]


def _apart(read: Sequence[tuple[Group, Recording]]) -> list[Recording]:
    """People whose files are called alike in different folders are named after the folder as well.

    Raises:
        ConfigError: where two files give one name and their folders do not tell them apart.
    """
    count = collections.Counter(x.patient.name for _, x in read)
    again = {name: [group for group, x in read if x.patient.name == name] for name, n in count.items() if n > 1}
    renamed: dict[str, dict[str, str]] = {}
    for name, groups in again.items():
        files = [_path(group) for group in groups]
        ways = [f"{file.resolve().parent.name}_{name}" for file in files]
        taken = set(count) & set(ways)
        if any(file.stem != name for file in files) or len(set(ways)) < len(ways) or taken:
            raise ConfigError(
                f"{' and '.join(map(str, files))} both give a patient called {name}: files of one person are read one "
                "at a time; if these are several people, rename the files or put each into a folder of its own "
                "(--subject FILE=name names the patient of a file)"
            )
        renamed[name] = dict(zip(map(str, files), ways, strict=True))
    out = []
    for group, x in read:
        file = str(_path(group))
        if (name := renamed.get(x.patient.name, {}).get(file)) is None:
            out.append(x)
            continue
        warning = f"another file is called {x.patient.name} as well: this patient is named {name}, after the folder"
        warnings.warn(f"{file}: {warning}", DataWarning, stacklevel=2)
        report = dataclasses.replace(x.report, subject=name, warnings=(*x.report.warnings, warning))
        out.append(Recording(dataclasses.replace(x.patient, name=name), report))
    return out


def _path(group: Group) -> Path:
    return group if isinstance(group, Path) else group[0]


def _format(group: Group, how: Mapping[str, Any]) -> object:
    return how.get("format") or (recognised_formats(_path(group)) if _path(group).is_file() else ())


def _states_carbs(group: Group, how: Mapping[str, Any]) -> bool:
    """Whether a file states its unit of carbohydrate, or its format does."""
    options = {key: value for key, value in how.items() if key not in ("keep_interpolated", "known", "carbs_unit")}
    return inspect_file(group, **options).carbs_unit_by == "stated or documented"
