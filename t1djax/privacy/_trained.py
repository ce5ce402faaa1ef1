"""Data that results were trained on, by their configurations, and that nobody named."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..config import REFERENCE
from ._folders import files
from ._person import REMOVED, Person
from ._readings import Readings
from ._search import Search, Trace

_TELLING = ("metadata.json", "run.json")
_MEND = "results were trained on these data, which were not named: name the folder with data=FOLDER or also=FOLDER"


class Unnamed(NamedTuple):
    """Data that a configuration names and the caller did not."""

    place: Path
    """Folder or file, by its real path."""
    names_only: bool = False
    """Whether the name was cut from the path, so that only the names of what is there are looked at."""


def unnamed(folders: Iterable[Path], roots: Sequence[Path]) -> list[Unnamed]:
    """The data that the configurations of results and runs name, where they are there and outside of all roots.

    A relative path begins where this process is, or beside the results.

    Args:
        folders: where results lie.
        roots: what is worked on.
    """
    within = [Path(os.path.realpath(root)) for root in roots]
    found: dict[Unnamed, None] = {}
    for root in folders:
        for stated in dict.fromkeys(_data(path) for path in files(root) if path.name in _TELLING):
            for beside in (Path(), root.absolute().parent) if stated not in (None, REFERENCE) else ():
                place = Path(os.path.realpath(beside / str(stated)))
                cut = REMOVED in place.name and not place.exists()
                one = Unnamed(place.parent if cut else place, cut)
                if one.place.exists() and not any(one.place.is_relative_to(other) for other in within):
                    found[one] = None
    return list(found)


def traces(places: Iterable[Unnamed], person: Person, readings: Readings, roots: Sequence[Path]) -> list[Trace]:
    """Which of these data hold the person; what lies in the roots was looked at by others."""
    within = [Path(os.path.realpath(root)) for root in roots]
    found: list[Trace] = []
    for place, names_only in places:
        search = Search(person, readings)
        if names_only:
            search.found += [Trace(str(x), "name (of a file or folder)") for x in sorted(place.glob("*"))
                             if person.in_text(x.name) and x not in within]  # fmt: skip
        else:
            search.folders([place], but=within)
            if place.is_dir() and person.in_text(place.name):
                search.found.append(Trace(str(place), "name (of a file or folder)"))
        if search.found:
            first, more = search.found[0], len(search.found) - 1
            others = f" and in {more} more places" if more else ""
            what = f"the person: {first.what} in {first.where}{others}; {_MEND}"
            found.append(Trace(str(place), what))
    return list(dict.fromkeys(found))


def _data(path: Path) -> str | None:
    try:
        data = json.loads(path.read_text("utf-8"))["config"]["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return data if isinstance(data, str) else None
