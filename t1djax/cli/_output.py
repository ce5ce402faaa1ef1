"""Folders that a command writes, and those of an earlier run of it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from ..config import ConfigError
from ..io import from_cell

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote.")]


def check_folder(out: Path, table: str, what: str, *, overwrite: bool) -> None:
    """Refuse a folder that holds anything but, if it may be replaced, what an earlier run wrote, known by its `table`.

    Raises:
        ConfigError: with what to do instead.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out.is_dir() and (out / table).exists()):
        raise ConfigError(f"{out} is there already and holds no {what}; name a new or empty folder")
    if not overwrite:
        raise ConfigError(f"{out} holds {what} already; name another folder, or replace what is there with --overwrite")


def remove_figures(table: Path, ends: Iterable[str] = (".png",)) -> None:
    """Remove the figures of the run that wrote `table`, also those of people who are no longer in it.

    `ends` are of the figures' names, after a patient's.
    """
    if not table.exists():
        return
    for name in pd.read_csv(table, usecols=["patient"], dtype=str)["patient"].map(from_cell).unique():
        if Path(name).name == name:
            for end in ends:
                (table.parent / f"{name}{end}").unlink(missing_ok=True)
