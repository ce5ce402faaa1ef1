"""Symbolic links: where they lead, and whether that is among what is worked on."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ._person import Person


class Link(NamedTuple):
    """A link that leads out of the folders that are worked on."""

    path: Path
    """The link."""
    target: Path
    """What it leads to, by its real path."""
    named: bool
    """Whether the link, or the way to what it leads to, bears the person's name."""


def links(root: Path) -> Iterator[Path]:
    """All symbolic links below a folder; none is followed."""
    for base, folders, names in os.walk(root):
        yield from (path for name in sorted([*folders, *names]) if (path := Path(base) / name).is_symlink())


def names_person(person: Person, link: Path) -> bool:
    """Whether a link, or what stands in it, bears the person's name."""
    return person.in_text(link.name) or person.in_text(os.readlink(link))


def outside(person: Person, roots: Iterable[Path]) -> list[Link]:
    """The links below folders that lead to what is there, and out of all of them."""
    roots = [root for root in roots if root.exists()]
    within = [Path(os.path.realpath(root)) for root in roots]
    found = []
    for path in (path for root in roots for path in links(root)):
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_symlink() and not any(target.is_relative_to(one) for one in within):
            found.append(Link(path, target, names_person(person, path) or person.in_text(str(target))))
    return list(dict.fromkeys(found))
