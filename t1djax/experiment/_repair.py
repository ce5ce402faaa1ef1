"""Results of finished batches that are gone or damaged: their batches are run again."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .._words import some
from ..io import DataWarning, NewerFormatError, ResultError, read_result
from ._journal import Journal


def repair(journal: Journal, root: Path, batches: Iterable[int], seeds: int) -> dict[int, list[Mapping[str, Any]]]:
    """Take back that batches are finished where their results are not there, with a warning.

    Damaged folders are moved into the run's own folder, so that nothing is lost and their names are free. Those of the
    batch that are sound stay as they are: fitted again, they would come out the same.

    Returns:
        What the results of each finished batch that is sound say of themselves, by its number.

    Raises:
        NewerFormatError: where a result was written by a newer version: it is not damaged.
    """
    sound: dict[int, list[Mapping[str, Any]]] = {}
    for number in batches:
        note = journal.states(number).with_suffix(".json")
        if not note.exists():
            continue
        folders, wrong, found = journal.finished(number), [], []
        if folders is None or len(folders) != len(journal.record["batches"][number]) * seeds:
            wrong = [f"{note}: is damaged"]
        else:
            for name in folders:
                try:
                    found.append(read_result(root / name).metadata)
                except NewerFormatError:
                    raise
                except ResultError as e:
                    wrong.append(str(e).partition(";")[0])
                    journal.set_aside(root / name)
        if wrong:
            warnings.warn(f"{some(wrong, 3)}; these fits are run again", DataWarning, stacklevel=4)
            note.unlink()
        else:
            sound[number] = found
    return sound
