"""One person's data removed from everywhere, and the proof that nothing is left."""

import contextlib
import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..config import ConfigError, MissingPathError
from ..experiment import FORGETTING
from ._folders import check_roots, clean_folder, clean_sweep, files, hashes_of, names_in, own_files, readings_in
from ._journals import clean_runs, clean_tracking
from ._links import outside
from ._locks import alone, held
from ._log import DONE, LOG, Log, under_way
from ._objects import Objects
from ._person import Person
from ._readings import Readings
from ._scrub import holds
from ._search import Search, Searched, Trace
from ._store import Store, is_database
from ._trained import Unnamed, traces, unnamed
from ._work import ForgetStep, TrainedOn, Work

_OWN_GO = "the person's own data go"
_UNKNOWN = (
    "none were known, so that they were not searched for, and the person's own data stay: name a folder with the "
    "person's readings by data=FOLDER, or pass names_only=True where there are none"
)
Paths = Sequence[str | Path] | str | Path


class Forgotten(NamedTuple):
    """What was done, or would be, and what the proof says."""

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
    """How much the proof read."""
    remains: tuple[Trace, ...]
    """What still holds the person; empty where all is done."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left, by the proof."""
        return not self.dry_run and not self.remains


def forget(
    patient: str,
    *,
    data: Paths = (),
    results: Paths = (),
    also: Paths = (),
    versions: Sequence[str] = (),
    tracking_uri: str | None = None,
    artifacts: str | None = None,
    dry_run: bool = False,
    remove_mixed: bool = False,
    names_only: bool = False,
    log: str | Path | None = None,
) -> Forgotten:
    """Remove one person from data, results, checkpoints, journals and MLflow, and prove it by a search of all bytes.

    Other people's files stay as they are, byte by byte, but where the name stands in them. A removal that was
    interrupted at any moment is completed by the same call. The person's own data go last, after everything else was
    found clean: they tell what readings to search for.

    Args:
        patient: the name, as in the data.
        data: folders of data, or files.
        results: results folders. Where nothing else is said, `mlflow.db` in them is worked on too.
        also: more folders, such as of reports and forecasts.
        versions: stores that find files by their hashes, such as a DVC cache or remote: folders or `s3://BUCKET/PREFIX`.
            What holds the person there is removed whole, in all versions.
        tracking_uri: MLflow's database; a server cannot delete for good. `sqlite:///FILE` or `postgresql+psycopg2://...`.
        artifacts: where an MLflow server keeps the artifacts that it hands on itself: its `--artifacts-destination`.
        dry_run: say what would be done, and touch nothing.
        remove_mixed: also remove files that hold the person beside others and cannot be rewritten.
        names_only: search for the name alone, where no readings of the person are at hand.
        log: the log of removals; `forgotten.jsonl` in the first results or data folder if not given.

    Returns:
        What was done, what was searched, and what is left.

    Raises:
        ConfigError: where the name cannot be told from another's, or MLflow is a server.
        MissingPathError: where a place is not there, or nothing knows the name.
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
    folders = _folders(data, results, also)
    local = [Path(place) for place in versions if not place.startswith("s3:")]
    check_roots(Person(patient), [*folders.all, *local])
    stores = [Store(uri, artifacts) for uri in _databases(folders.results, tracking_uri)]
    try:
        with contextlib.nullcontext() if dry_run else alone(folders.all):
            known = names_in(folders.all).union(*(store.names() for store in stores))
            person = Person(patient, known)
            person.check()
            place = _log(log, folders)
            artifact = [Path(p) for store in stores for p in store.places() if not p.startswith("s3:")]
            roots = [*folders.all, *local, *artifact]
            away = outside(person, roots)
            elsewhere = _Elsewhere(unnamed([*folders.results, *folders.also], roots), roots)
            if not (away or patient in known or under_way(place, patient)):
                _somebody(person, folders, stores, versions, elsewhere)
            readings = Readings(readings_in(folders.all, person), hashes_of(own_files(folders.data, person)))
            work = Work(person, readings, dry=dry_run, remove_mixed=remove_mixed, outside=away)
            if dry_run:
                with held(folders.all):
                    _remove(work, folders, stores, versions)
                    for path, why in _data(work, folders):
                        work.remove(path, why)
                    elsewhere.note(work)
                return Forgotten("", True, tuple(work.steps), tuple(work.population), readings.rows, Searched(), ())
            told = readings.rows > 0 or names_only or _OWN_GO in under_way(place, patient)
            return _carry_out(work, folders, stores, versions, Log(place, patient), elsewhere, told=told)
    finally:
        for store in stores:
            store.close()


class _Folders(NamedTuple):
    data: list[Path]
    results: list[Path]
    also: list[Path]

    @property
    def all(self) -> list[Path]:
        return [*self.results, *self.also, *self.data]


class _Elsewhere(NamedTuple):
    """Data that results were trained on, and that are not worked on."""

    places: list[Unnamed]
    roots: list[Path]

    def found(self, person: Person, readings: Readings) -> list[Trace]:
        return traces(self.places, person, readings, self.roots)

    def note(self, work: Work) -> list[Trace]:
        """Where they hold the person: each is a step that is left, and a trace."""
        found = self.found(work.person, work.readings)
        for one in found:
            work.do("leave", one.where, one.what)
        return found


def _carry_out(
    work: Work,
    folders: _Folders,
    stores: list[Store],
    versions: Sequence[str],
    log: Log,
    elsewhere: _Elsewhere,
    *,
    told: bool,
) -> Forgotten:
    person, readings = work.person, work.readings
    with held(folders.all, marked=folders.all, log=log):
        log.write("began", places=len(folders.all) + len(stores) + len(versions))
        _remove(work, folders, stores, versions)
        search = Search(person, readings)
        search.folders([*folders.results, *folders.also], but=folders.data)
        _search_stores(search, stores, versions)
        search.links(work.outside)
        search.found += elsewhere.note(work)
        if not told:
            search.found.append(Trace("readings", _UNKNOWN))
        if not search.found:
            own = _data(work, folders)
            search.folders([path for path in folders.data if path.exists()], but=[path for path, _ in own])
            if not search.found:
                log.write(_OWN_GO)
                for path, why in own:
                    work.remove(path, why)
                search.folders(path for path, _ in own if os.path.lexists(path))
    remains = tuple(dict.fromkeys(search.found))
    counts: dict[str, int] = {}
    for step in work.steps:
        counts[step.action] = counts.get(step.action, 0) + 1
    searched = search.searched._asdict()
    log.write(DONE if not remains else "incomplete", steps=counts, searched=searched, remains=len(remains))
    if not remains:
        log.erase_key()
    return Forgotten(
        log.pseudonym, False, tuple(work.steps), tuple(work.population), readings.rows, search.searched, remains
    )


def _remove(work: Work, folders: _Folders, stores: list[Store], versions: Sequence[str]) -> None:
    """Everything but the data."""
    for store in stores:
        store.clean(work)
    for root in folders.results:
        clean_tracking(work, root)
        clean_runs(work, root)
        clean_folder(work, root)
        clean_sweep(work, root)
    for root in folders.also:
        clean_folder(work, root)
    for place in versions:
        if place.startswith("s3:"):
            Objects(place).clean(work, whole=True)
        else:
            _hashed(work, Path(place))


def _data(work: Work, folders: _Folders) -> list[tuple[Path, str]]:
    """Take the person out of data of several people. Returns the person's own files, which are there still."""
    own: list[tuple[Path, str]] = []
    for root in folders.data:
        clean_folder(work, root, keep=own)
    return own


def _somebody(
    person: Person, folders: _Folders, stores: list[Store], versions: Sequence[str], elsewhere: _Elsewhere
) -> None:
    """Refuse a name that stands nowhere.

    Raises:
        MissingPathError: with a name that is close.
    """
    if any((root / FORGETTING).exists() for root in folders.all):
        return  # what a removal that was interrupted left
    search = Search(person, Readings([]))
    search.folders(folders.all)
    _search_stores(search, stores, versions)
    if not search.found and not elsewhere.found(person, search.readings):
        close = difflib.get_close_matches(person.name, person.others, n=1)
        near = f": did you mean {close[0]}?" if close else "; check the name and the folders"
        raise MissingPathError(f"nothing here knows the patient by that name, and nothing is touched{near}")


def _search_stores(search: Search, stores: list[Store], versions: Sequence[str]) -> None:
    """In MLflow's stores, and in those that find files by their hashes."""
    for store in stores:
        store.search(search)
    for place in versions:
        if place.startswith("s3:"):
            search.objects(Objects(place))
        else:
            search.folders([Path(place)])


def _hashed(work: Work, root: Path) -> None:
    """A folder whose files are found by their hashes: what holds the person is of no use when it is changed."""
    for path in files(root):
        found = holds(work.person, work.readings, path.name, path.read_bytes())
        if found is not None:
            work.remove(path, f"a version of a file: {found}")


def _folders(data: Paths, results: Paths, also: Paths) -> _Folders:
    given = [[Path(p) for p in ([x] if isinstance(x, str | Path) else x)] for x in (data, results, also)]
    if not any(given):
        raise ConfigError("name at least one folder: data=FOLDER, results=FOLDER or also=FOLDER")
    return _Folders(*given)


def _databases(results: Iterable[Path], tracking_uri: str | None) -> list[str]:
    """The MLflow stores: those in results folders, and the one that is named."""
    found = [f"sqlite:///{root.absolute() / 'mlflow.db'}" for root in results if (root / "mlflow.db").exists()]
    stated = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if stated and not is_database(stated):
        raise ConfigError(
            "an MLflow server hides what it deletes and keeps it: name its database with tracking_uri "
            '(the server\'s --backend-store-uri), and with artifacts="PLACE" where it keeps files'
        )
    return list(dict.fromkeys([*found, *([stated] if stated else [])]))


def _log(path: str | Path | None, folders: _Folders) -> Path:
    if path is None:
        first = (folders.results or folders.data or folders.also)[0]
        path = (first if first.is_dir() else first.absolute().parent) / LOG
    return Path(path)
