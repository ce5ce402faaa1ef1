"""One person removed from what t1djax wrote, and everything else that carries them listed."""

import contextlib
import difflib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .._arguments import argument
from ..config import ConfigError, MissingPathError
from ..experiment import FORGETTING
from ._locks import alone, held
from ._log import DONE, LOG, Log, under_way
from ._person import Person
from ._places import Places
from ._plan import OWN, SHARED, ForgetStep, Plan, TrainedOn, recovered
from ._search import Search, Searched, Trace
from ._store import Store, is_database
from ._unfinished import look_at_runs, look_at_sweep, look_at_tracking

_OWN_GO = "the person's own data go"
Paths = Sequence[str | Path] | str | Path


def _unknown() -> str:
    return (
        "none are known, so that only the name could be looked for: name a folder with the person's readings by "
        f"{argument('data')}, or pass {argument('names_only', True)} where there are none"
    )


class Forgotten(NamedTuple):
    """What was done, or would be, and what was found that is for a person to decide."""

    pseudonym: str
    """What the log calls the person; the key to it is erased once nothing is left."""
    dry_run: bool
    """Whether nothing was touched."""
    steps: tuple[ForgetStep, ...]
    """What was done, in order. Real names stand in it: it is for the eyes of who asked."""
    population: tuple[TrainedOn, ...]
    """Models that were trained on the person beside others."""
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
        Busy: where a training or another removal is at work in one of the folders, above or inside it, or a training
            reads there.

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
    person, folders = Person(patient), [path for paths in (results, data, also) for path in _paths(paths)]
    if not folders:
        ways = ", ".join(map(argument, ("data", "results", "also")))
        raise ConfigError(f"name at least one folder: {ways}")
    local = [Path(artifacts)] if artifacts is not None and "://" not in artifacts else []
    places = Places([*folders, *local])
    record = Path(log) if log is not None else folders[0] / LOG
    with contextlib.ExitStack() as stack:
        if not dry_run:
            stack.enter_context(alone(places.roots))
        stores = [Store(uri, artifacts) for uri in _databases(places, tracking_uri)]
        for store in stores:
            stack.callback(store.close)
        events = under_way(record, patient)
        plan = _planned(places, person, stores)
        _check_known(plan, going_on=bool(events))
        if dry_run:
            stack.enter_context(held(places.roots))
            search = Search(plan)
            _look_through(search, stores, _paths(keep), but=plan.inner | {Path(task.step.where) for task in plan.tasks})
            steps = tuple(task.step for task in [*plan.due(SHARED), *plan.due(OWN)])
            return Forgotten("", True, steps, tuple(plan.population), search.readings.rows, *search.outcome())
        journal = Log(record, patient)
        stack.enter_context(held(places.roots, marked=places.roots, log=journal))
        if recovered(places):
            plan = _planned(places, person, stores)
        return _carry_out(plan, stores, journal, _paths(keep), told=names_only or _OWN_GO in events)


def _carry_out(plan: Plan, stores: Sequence[Store], log: Log, keep: Sequence[Path], *, told: bool) -> Forgotten:
    log.write("began", places=len(plan.places.roots) + len(stores))
    search = Search(plan)
    steps = [task.take() for task in plan.due(SHARED)]
    own = plan.due(OWN)
    for store in stores:
        store.vacuum()
        steps.append(ForgetStep("vacuum", store.shown, "what was deleted is overwritten or given back"))
    _look_through(search, stores, keep, but={Path(task.step.where) for task in own})
    for store in stores:
        search.database(store.texts())
    if not (search.readings.rows or told):
        search.found.append(Trace("readings", _unknown()))
    if not search.found:
        log.write(_OWN_GO)
        steps += [task.take() for task in own]
    searched, found = search.outcome()
    counts = Counter(step.action for step in steps)
    log.write(DONE if not found else "incomplete", steps=counts, searched=searched._asdict(), remains=len(found))
    if not found:
        log.erase_key()
    return Forgotten(log.pseudonym, False, tuple(steps), tuple(plan.population), search.readings.rows, searched, found)


def _planned(places: Places, person: Person, stores: Sequence[Store]) -> Plan:
    plan = Plan(places, person)
    for here in places.walk():
        plan.look(here)
        look_at_runs(plan, here.path)
        look_at_sweep(plan, here.path)
        look_at_tracking(plan, here.path)
    for store in stores:
        plan.names |= store.names()
        store.look(plan)
    return plan


def _check_known(plan: Plan, *, going_on: bool) -> None:
    """Refuse a name that no record of t1djax bears.

    Raises:
        MissingPathError: with the names that are near.
    """
    interrupted = going_on or any((root / FORGETTING).exists() for root in plan.places.roots)
    if not interrupted and not any(map(plan.person.same, plan.names)):
        close = difflib.get_close_matches(plan.person.name, plan.names, n=3, cutoff=0.4)
        near = f": did you mean {', '.join(close)}?" if close else "; check the name and the folders"
        raise MissingPathError(f"no patient is known by that name here, and nothing is touched{near}")


def _look_through(search: Search, stores: Sequence[Store], keep: Sequence[Path], *, but: set[Path]) -> None:
    """Everything but what goes or is rewritten later."""
    search.places(but | {file for store in stores for file in store.files()}, keep)


def _paths(paths: Paths) -> list[Path]:
    return [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]


def _databases(places: Places, tracking_uri: str | None) -> Iterable[str]:
    """The MLflow stores: those in the folders, and the one that is named."""
    found = [f"sqlite:///{(root / 'mlflow.db').absolute()}" for root in places.roots if (root / "mlflow.db").is_file()]
    stated = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if stated and not is_database(stated):
        raise ConfigError(
            "an MLflow server hides what it deletes and keeps it: name its database with "
            f"{argument('tracking_uri')} (the server's --backend-store-uri), and with {argument('artifacts')} where it "
            "keeps files"
        )
    return dict.fromkeys([*found, *([stated] if stated else [])])
