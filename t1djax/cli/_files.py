"""The files that a command names, each with its options and its person's name."""

import collections
import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from ..config import ConfigError
from ..io import CarbsUnit, DataWarning, Recording, inspect_file, people_in, read_recording, recognised_formats

Group = Path | list[Path]
"""One person's file, or the files of Nightscout together."""


class Asked(NamedTuple):
    """What is read at once, and how."""

    group: Group
    how: dict[str, Any]


def read_files(files: Sequence[Path], *, subject: str | None = None, **how: Any) -> list[Recording]:
    """The recordings of all files, each person by a name of their own.

    Args:
        files: files and folders.
        subject: name of the patient, for one file.
        how: options of `read_recording`; `carbs_unit` as people write it, see `asked`.
    """
    groups = asked(files, **how)
    read = [(one.group, x) for one in groups for x in _recordings(one.group, subject=subject, **one.how)]
    return _apart(read)


def asked(files: Sequence[Path], *, carbs_unit: Sequence[str] | None = None, **how: Any) -> list[Asked]:
    """Files one by one, but JSON files together, since Nightscout's belong to one person; with the options of each.

    A unit of carbohydrate counts for every file. Among files of several formats it is only for those that leave
    theirs open; `NAME=unit` is for the file of that name.

    Raises:
        ConfigError: where a unit or a name is not known.
    """
    groups = _groups(files)
    default, named = _carbs_units(carbs_unit)
    stems = {stem for group in groups for stem in _stems(group)}
    if unknown := [name for name in named if name not in stems]:
        raise ConfigError(f"--carbs-unit {unknown[0]}=...: there is no such file; there are {', '.join(sorted(stems))}")
    mixed = default is not None and len({_format(group, how) for group in groups}) > 1
    out = []
    for group in groups:
        unit = next((named[stem] for stem in _stems(group) if stem in named), None)
        if unit is None and not (mixed and _states_carbs(group, how)):
            unit = default
        out.append(Asked(group, how | ({} if unit is None else {"carbs_unit": unit})))
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
    """The people's files where a folder holds t1djax's tables; all else is for `read_recording`, which says what it is.

    Args:
        folder: the folder.
    """
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csv" and path.name[0] != ".")
    people = [path for path in tables if path.stem.casefold() not in ("patients", "truth")]
    ours = len(people) < len(tables) or any("table" in recognised_formats(path) for path in people)
    return people if ours else []


def _recordings(group: Group, *, subject: str | None = None, **how: Any) -> list[Recording]:
    """The recordings of one file: several where its format holds several people and none is chosen."""
    names = people_in(group) if isinstance(group, Path) and group.is_file() and subject is None else ()
    return [read_recording(group, subject=name, **how) for name in (names if len(names) > 1 else (subject,))]


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
                "(--subject names the patient of a single file)"
            )
        renamed[name] = dict(zip(map(str, files), ways, strict=True))
    out = []
    for group, x in read:
        file = str(_path(group))
        if (name := renamed.get(x.patient.name, {}).get(file)) is None:
            out.append(x)
            continue
        said = f"another file is called {x.patient.name} as well: this patient is named {name}, after the folder"
        warnings.warn(f"{file}: {said}", DataWarning, stacklevel=2)
        report = dataclasses.replace(x.report, subject=name, warnings=(*x.report.warnings, said))
        out.append(Recording(dataclasses.replace(x.patient, name=name), report))
    return out


def _carbs_units(texts: Sequence[str] | None) -> tuple[str | None, Mapping[str, str]]:
    """The unit for all files, and those by file."""
    default, named = None, {}
    for text in texts or ():
        name, equals, unit = text.rpartition("=")
        if unit not in get_args(CarbsUnit):
            raise ConfigError(f"--carbs-unit {text}: give {', '.join(get_args(CarbsUnit))}, or NAME=unit for one file")
        if equals:
            named[name] = unit
        elif default is not None:
            raise ConfigError(f"--carbs-unit {default} and {unit}: say for which file, as in --carbs-unit NAME={unit}")
        else:
            default = unit
    return default, named


def _path(group: Group) -> Path:
    return group if isinstance(group, Path) else group[0]


def _stems(group: Group) -> list[str]:
    return [file.stem for file in ([group] if isinstance(group, Path) else group)]


def _format(group: Group, how: Mapping[str, Any]) -> object:
    return how.get("format") or (recognised_formats(_path(group)) if _path(group).is_file() else ())


def _states_carbs(group: Group, how: Mapping[str, Any]) -> bool:
    """Whether a file states its unit of carbohydrate, or its format does."""
    options = {key: value for key, value in how.items() if key not in ("keep_interpolated", "known")}
    return inspect_file(group, **options).carbs_unit_by == "stated or documented"
