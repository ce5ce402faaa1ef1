"""One person removed from what t1djax wrote, and everything else that carries them listed."""

import contextlib
import difflib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .._arguments import argument
from .._in_use import alone, marked
from ..config import ConfigError, MissingPathError
from ._log import DONE, LOG, Log
from ._person import NamedPerson
from ._places import Places
from ._plan import OWN, SHARED, ForgetStep, Plan, Trace
from ._search import Search, Searched
from ._store import Store, is_database
from ._written import look

_OWN_GO = "the person's own data go"
_NO_READINGS = (
    "none are known, so that only the name could be looked for: name a folder with the person's readings by {}, or "
    "pass {} where there are none"
)
Paths = Sequence[str | Path] | str | Path


class Forgotten(NamedTuple):
    """What was done, or would be, and what was found that is for a person to decide."""

    pseudonym: str
    """What the log calls the person; the key to it is erased once nothing is left."""
    dry_run: bool
    """Whether nothing was touched."""
    steps: tuple[ForgetStep, ...]
    """What was done, in order; of models that saw the person beside others, too. Real names stand in it."""
    readings: int
    """Rows of readings that were searched for; 0 where none were known, so that only the name was."""
    searched: Searched
    """How much was searched."""
    remains: tuple[Trace, ...]
    """What carries the person and t1djax did not write; empty where all is done."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left that the search can see."""
        return not self.dry_run and not self.remains


def forget(
    patient: str,
    *,
    data: Paths = (),
    results: Paths = (),
    also: Paths = (),
    keep: Paths = (),
    tracking_uri: str | None = None,
    artifacts: str | None = None,
    dry_run: bool = False,
    names_only: bool = False,
    log: str | Path | None = None,
) -> Forgotten:
    """Remove one person from what t1djax wrote: data, results, networks, training states, summaries, MLflow.

    Whose a thing is, t1djax's own records say. A file that it did not write is never changed; where it carries the name
    or the readings, it is listed. Nothing outside of the folders is touched. A removal that was interrupted is
    completed by the same call. The person's own records go last, once nothing is listed: they tell what to look for.

    Args:
        patient: the name, as in the data.
        data: folders of data.
        results: results folders.
        also: more folders, such as of exports and reports.
        keep: files and folders that somebody looked at, and that may stay as they are.
        tracking_uri: MLflow's database; `mlflow.db` in the folders goes always. A server cannot delete for good.
        artifacts: where an MLflow server keeps the artifacts that it hands on itself: its `--artifacts-destination`.
        dry_run: say what would be done, and touch nothing.
        names_only: look for the name alone, where no readings of the person are at hand.
        log: the log of removals; `forgotten.jsonl` in the first results or data folder if not given.

    Returns:
        What was done, what was searched, and what is listed.

    Raises:
        ConfigError: where a folder is a file, or MLflow is a server.
        MissingPathError: where a folder is not there, or the name is no known patient's.
        Busy: where somebody trains, reads, sends to MLflow or removes in one of the folders, above or inside it.

    Example:
        >>> import tempfile
        >>> import t1djax
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"])
        ...     t1djax.write_cohort(cohort, f"{folder}/cohort")
        ...     done = t1djax.forget("Pat3", data=f"{folder}/cohort")
        ...     print(done.complete, t1djax.read_cohort(f"{folder}/cohort", truth=True).names)
        True ('Pat2',)
    """
    folders = [path for paths in (results, data, also) for path in _paths(paths)]
    if not folders:
        ways = ", ".join(map(argument, ("data", "results", "also")))
        raise ConfigError(f"name at least one folder: {ways}")
    local = [Path(artifacts)] if artifacts is not None and "://" not in artifacts else []
    places = Places([*folders, *local])
    record = Path(log) if log is not None else folders[0] / LOG
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone(places.roots))
        stores = [Store(uri, artifacts) for uri in _databases(places, tracking_uri)]
        for store in stores:
            stack.callback(store.close)
        plan, journal = Plan(places, NamedPerson(patient)), Log(record, patient)
        events = journal.events()
        for here in places.walk():
            look(plan, here)
        for store in stores:
            store.look(plan)
        _check_known(plan, going_on=bool(events))
        search = Search(plan)
        outcome = lambda whose, steps: Forgotten(
            whose, dry_run, tuple(steps), search.readings.rows, search.searched, tuple(search.found)
        )
        databases = {file for store in stores for file in store.files()}
        if dry_run:
            changed = {file for task in plan.tasks.values() for file in task.files}
            search.places(databases | changed, _paths(keep))
            return outcome("", [task.step for task in plan.due(SHARED) + plan.due(OWN)])
        journal.begin()
        stack.enter_context(marked(places.roots, journal.pseudonym))
        journal.write("began", places=len(places.roots) + len(stores))
        steps = [task.take() for task in plan.due(SHARED)]
        for store in stores:
            store.vacuum()
            steps.append(ForgetStep("vacuum", store.shown, "what was deleted is overwritten or given back"))
            search.database(store.texts())
        own = plan.due(OWN)
        search.places(databases.union(*(task.files for task in own)), _paths(keep))
        if not (search.readings.rows or names_only or _OWN_GO in events):
            search.found.append(Trace("readings", _NO_READINGS.format(argument("data"), argument("names_only", True))))
        if not search.found:
            journal.write(_OWN_GO)
            steps += [task.take() for task in own]
        done = outcome(journal.pseudonym, steps)
        event, counts = DONE if done.complete else "incomplete", Counter(step.action for step in steps)
        journal.write(event, steps=counts, searched=done.searched._asdict(), remains=len(done.remains))
    if done.complete:
        journal.erase_key()
    return done


def _check_known(plan: Plan, *, going_on: bool) -> None:
    """Refuse a name that no record of t1djax bears.

    Raises:
        MissingPathError: with the names that are near.
    """
    if not going_on and not any(map(plan.person.same, plan.names)):
        close = difflib.get_close_matches(plan.person.name, plan.names, n=3, cutoff=0.4)
        near = f": did you mean {', '.join(close)}?" if close else "; check the name and the folders"
        raise MissingPathError(f"no patient is known by that name here, and nothing is touched{near}")


def _paths(paths: Paths) -> list[Path]:
    return [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]


def _databases(places: Places, tracking_uri: str | None) -> list[str]:
    """The MLflow stores: those in the folders, and the one that is named."""
    found = [f"sqlite:///{(root / 'mlflow.db').absolute()}" for root in places.roots if (root / "mlflow.db").is_file()]
    stated = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if stated and not is_database(stated):
        raise ConfigError(
            "an MLflow server hides what it deletes and keeps it: name its database with "
            f"{argument('tracking_uri')} (the server's --backend-store-uri), and with {argument('artifacts')} where it "
            "keeps files"
        )
    return [*dict.fromkeys([*found, *([stated] if stated else [])])]
