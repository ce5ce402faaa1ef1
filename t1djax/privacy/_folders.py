"""What of a person lies in a folder: files of data, results, saved networks, tables, pages."""

import hashlib
import json
import os
import re
import stat
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from .._words import counted
from ..config import ConfigError, MissingPathError
from ..evaluation import comparison, results_table
from ..experiment import FORGETTING, SUMMARY
from ..io import (
    MODEL_FILE,
    CheckpointError,
    DataError,
    ResultError,
    drop_twins,
    find_results,
    people_in,
    read_patient,
    read_recording,
    read_result,
    without_nan,
)
from ..plotting import save_comparison
from ..tracking import FOLDER
from ._links import links, names_person
from ._log import LOG, is_key
from ._person import Person
from ._readings import by_field
from ._work import Work, remove_tree, replace

_UNREADABLE = (DataError, ResultError, ValueError, OSError, KeyError, UnicodeDecodeError)
_SQLITE = b"SQLite format 3\0"
_OWN = (LOG, FORGETTING)
_SWEEP = "sweep.json"
_TELLING = ("metadata.json", "recipe.json", "identification.json", SUMMARY, MODEL_FILE)
_RECORDS = (".csv", ".tsv", ".json", ".xml", ".txt")


def names_in(folders: Iterable[Path]) -> set[str]:
    """The people whom these folders know of, by the names of tables and by what results say."""
    found: set[str] = set()
    for root in folders:
        for path in files(root):
            if path.name in ("patients.csv", "truth.csv"):
                found |= _column(path, "patient")
                found |= {p.stem for p in path.parent.glob("*.csv") if p.stem not in ("patients", "truth", "summary")}
            elif path.name in _TELLING or path.parent.name == FOLDER:
                found |= _told(path)
    return {name for name in found if name}


def _column(path: Path, column: str) -> set[str]:
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    try:
        table = pd.read_csv(path, dtype=str)
    except _UNREADABLE:
        return set()
    return set(table[column].dropna()) if column in table else set()


def _told(path: Path) -> set[str]:
    """Names in a file of this package."""
    found: set[str] = set()
    try:
        for line in [path.read_text("utf-8")] if path.suffix == ".json" else path.read_text("utf-8").splitlines():
            found |= set(_names(json.loads(line)))
    except (OSError, ValueError):
        pass
    return found


def _names(content: object) -> Iterator[str]:
    match content:
        case {"format": "t1djax.result", "patient": str(name)} | {"format": "t1djax.fitted_patient", "name": str(name)}:
            yield name
        case {"format": "t1djax.twins", "patients": [*names]}:
            yield from (str(name) for name in names)
        case {"event": "begin", "info": {"rows": [*rows]}}:
            yield from (str(row[0]) for row in rows)
        case {"sweep": _, "results": [*rows]}:
            yield from (str(row["patient"]) for row in rows if "patient" in row)
        case [*people]:
            yield from (re.sub(r" \[.*", "", str(p["name"])) for p in people if isinstance(p, dict) and "name" in p)


def readings_in(folders: Iterable[Path], person: Person) -> list[np.ndarray]:
    """All readings of a person that these folders let us know of."""
    found: list[np.ndarray] = []
    for root in folders:
        for link in links(root):
            if link.is_file() and link.suffix.lower() in _RECORDS and names_person(person, link):
                found += _recorded(link)
        for path in files(root):
            if path.name == "predictions.npz" and _of_result(path.parent, person):
                try:
                    with np.load(path, allow_pickle=False) as arrays:
                        observed = np.asarray(arrays["observed_mg_dL"], float)
                        seen = arrays["mask_fit"] | arrays["mask_held_out"] | arrays["mask_forecast"]
                        found.append(np.where(seen, observed, np.nan))
                except (*_UNREADABLE, EOFError):
                    continue
            elif path.suffix.lower() in _RECORDS and _named(path, root, person):
                found += _recorded(path)
                if not person.in_text(path.stem):
                    found += _read(path.parent)  # an export of several files
            elif path.suffix.lower() in _RECORDS and person.in_bytes(path.read_bytes()):
                found += _among_others(path, person)
    return found


def _recorded(path: Path) -> list[np.ndarray]:
    """Readings in a file of one person, however it can be read, and its columns of glucose as they stand."""
    found = _read(path)
    for field, numbers in by_field(path.read_bytes()).items():
        if re.search(rb"gluc|cgm|sgv|^bg$", field, re.IGNORECASE):
            found += [numbers, numbers[::-1]]  # some write the newest first
    if path.suffix.lower() in (".csv", ".tsv"):
        import pandas as pd  # noqa: PLC0415 - as above

        for separator in (",", ";", "\t"):
            try:
                table = pd.read_csv(path, sep=separator)
            except _UNREADABLE:
                continue
            wanted = [c for c in table.columns if re.search("gluc|cgm|sgv", str(c), re.IGNORECASE)]
            found += [np.asarray(pd.to_numeric(table[c], errors="coerce"), np.float64) for c in wanted]
    return found


def _read(path: Path) -> list[np.ndarray]:
    """Readings in a file or an export's folder. Units of doses do not matter here, so that none is asked for."""
    no_carbs = lambda path, **more: read_recording(path, carbs_unit="none", **more).patient
    ways = [read_patient, lambda path: read_recording(path).patient, no_carbs]
    ways += [lambda path, unit=unit: no_carbs(path, basal_unit=unit) for unit in ("U/h", "U/min", "U/5min")]
    for read in ways:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                patient = read(path)
        except _UNREADABLE:
            continue
        return [np.where(patient.valid, patient.glucose_mg_dL, np.nan)]
    return []


def _named(path: Path, root: Path, person: Person) -> bool:
    """Whether a file or a folder on the way to it bears the person's name."""
    return any(person.in_text(part) for part in (path.stem, *path.relative_to(root).parts))


def own_files(roots: Iterable[Path], person: Person) -> list[Path]:
    """The files of data that are the person's alone, by their names or a folder's."""
    return [
        path
        for root in roots
        for path in files(root)
        if any(person.alone_in(part) for part in (path.name, *path.relative_to(root).parts))
    ]


def hashes_of(paths: Iterable[Path]) -> set[str]:
    """SHA-256 of files that hold anything."""
    return {hashlib.sha256(data).hexdigest() for path in paths if (data := path.read_bytes()).strip()}


def _among_others(path: Path, person: Person) -> list[np.ndarray]:
    """Readings in a file of several people."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = [read_recording(path, subject=name, carbs_unit="none").patient
                      for name in people_in(path) if person.same(name)]  # fmt: skip
    except _UNREADABLE:
        return []
    return [np.where(patient.valid, patient.glucose_mg_dL, np.nan) for patient in theirs]


def files(root: Path) -> list[Path]:
    """All files below a folder, or the file itself; links are not followed, pipes and sockets passed over."""
    if root.is_file():
        return [root]
    found = sorted(Path(base) / name for base, _, names in os.walk(root) for name in names)
    return [path for path in found if stat.S_ISREG(path.lstat().st_mode)]


def _of_result(folder: Path, person: Person) -> bool:
    try:
        return person.same(json.loads((folder / "metadata.json").read_text("utf-8")).get("patient"))
    except (OSError, ValueError, AttributeError):
        return False


def clean_folder(work: Work, root: Path, *, keep: list[tuple[Path, str]] | None = None) -> None:
    """Take the person out of everything below a folder that no journal or database looks after.

    Args:
        work: the removal.
        root: the folder, or a file.
        keep: of data: the person's own files and why they go are put here instead of being removed. They go when all
            else is clean, so that a removal that was interrupted can be taken up.
    """
    if root.is_file():
        if keep is not None and work.person.alone_in(root.name):
            keep.append((root, "the person's by its name"))
        else:
            work.file(root)
        return
    own: list[tuple[Path, str]] = []
    for base, folders, names in os.walk(root):
        here = Path(base)
        for name in sorted(folders):
            path = here / name
            if path.is_symlink():
                own += _link(work, path)
                continue
            why = _whole(work, path)
            if why is not None:
                own.append((path, why))
                folders.remove(name)
            elif (path / "recipe.json").exists() and path.parent != root.parent:
                _twins(work, path)
        for name in sorted(names):
            path = here / name
            if path.is_symlink():
                own += _link(work, path)
            elif work.person.alone_in(name):
                own.append((path, "the person's by its name"))
            elif work.person.in_text(name) and work.remove_mixed:
                own.append((path, "of several people, by its name"))
            elif work.person.in_text(name):
                work.do("leave", path, "of several people, by its name: rename it, or pass remove_mixed=True")
            elif path.is_file() and not _apart(path, root):
                work.file(path)
    if keep is not None:
        keep += sorted(own, key=lambda one: work.person.same(one[0].stem))
        return
    for path, why in own:
        work.remove(path, why)


def _link(work: Work, path: Path) -> list[tuple[Path, str]]:
    """A link goes where it bears the person's name, unless it leads to what would then be forgotten about."""
    if not names_person(work.person, path):
        return []
    for link in work.outside:
        if link.path == path:
            work.do("leave", path, f"a link that leads out of the folders named, to {link.target}")
            return []
    return [(path, "a link that bears the person's name")]


def _apart(path: Path, root: Path) -> bool:
    """Whether a file is looked after elsewhere, or is this package's own lock or log."""
    if path.name in _OWN or is_key(path.name) or path.name.endswith(".lock"):
        return True
    if path.parent.name == FOLDER and path.suffix in (".jsonl", ".cursor"):
        return True
    if path.name in (_SWEEP, SUMMARY, "summary.csv") and (path.parent / _SWEEP).exists():
        return True
    with path.open("rb") as file:
        return file.read(16) == _SQLITE or path.name.endswith((".db-wal", ".db-shm", ".db-journal"))


def _whole(work: Work, path: Path) -> str | None:
    """Why a folder goes with everything in it: it is the person's, or half-written."""
    person = work.person
    if path.name.startswith(".forgetting-"):
        return "left by a removal that was interrupted"
    if (unfinished := re.fullmatch(r"(.+)\.partial-[0-9a-z_]+", path.name)) and (path / "recipe.json").exists():
        whole = path.with_name(unfinished[1])
        if (
            not work.dry
            and not whole.exists()
            and (path / "arrays").is_dir()
            and not person.in_bytes((path / "recipe.json").read_bytes())
        ):
            path.rename(whole)  # the kill came between two renames, and this is the new content
            return None
        return "left by a write that was interrupted"
    if path.parent.parent.name == ".runs" and re.fullmatch(r"batch-\d+\.partial-.*|\.batch-\d+\.partial", path.name):
        return "left by a write that was interrupted"
    if _of_result(path, person):
        return "a result of the person"
    if path.parent.name == ".runs":
        return None
    return "the person's by its name" if person.alone_in(path.name) else None


def _twins(work: Work, folder: Path) -> None:
    """Saved networks of a cohort."""
    try:
        patients = json.loads((folder / "recipe.json").read_text("utf-8"))["patients"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    theirs = [name for name in patients if work.person.same(name)]
    if not theirs:
        return
    if len(patients) == len(theirs):
        work.remove(folder, "the person's network")
        return
    who = counted(len(patients), "patient")
    work.trained(folder, f"networks of {who}, trained in one program", "rewritten without theirs")

    def drop() -> None:
        try:
            for name in theirs:
                drop_twins(folder, name)
        except CheckpointError:
            remove_tree(folder)  # nobody can read it either

    work.do("rewrite", folder, "networks of several patients, without the person's", drop)


def clean_sweep(work: Work, root: Path) -> None:
    """The top of a sweep's results: its configuration, and its summary made again of the results that are left."""
    if not (root / _SWEEP).exists():
        return
    work.file(root / _SWEEP)
    path = root / SUMMARY
    if not path.exists():
        return
    summary = json.loads(path.read_text("utf-8"))
    rows = summary.get("results", [])
    if not any(work.person.same(str(row.get("patient"))) for row in rows):
        work.file(path)
        return
    work.do("rewrite", path, "the summary of the sweep, made again without the person", lambda: _again(work, root))


def _again(work: Work, root: Path) -> None:
    """`summary.json`, `summary.csv` and the figures, of the results that are there."""
    path = root / SUMMARY
    old = json.loads(path.read_text("utf-8"))
    kept = [name for name in old["folders"] if (root / name / "metadata.json").exists()]
    others = [name for name in kept if not _of_result(root / name, work.person)]
    found = find_results([root / name for name in others])
    table = results_table(read_result(folder).metadata for folder in found) if found else None
    drawn: list[str] = []
    for figure in old["figures"]:
        (root / figure).unlink(missing_ok=True)
    if table is not None:
        if old["figures"]:
            drawn = [str(p.relative_to(root)) for p in save_comparison(table, root / "figures")]
        replace(root / "summary.csv", table.to_csv(index=False).encode())
    else:
        (root / "summary.csv").unlink(missing_ok=True)
    records = [] if table is None else table.to_dict(orient="records")
    compared = [] if table is None else comparison(table).to_dict(orient="records")
    config = json.loads((root / _SWEEP).read_text("utf-8"))["config"]
    new = old | {"config": config, "comparison": compared, "results": records, "folders": others, "figures": drawn}
    replace(path, (json.dumps(without_nan(new), indent=2, allow_nan=False) + "\n").encode())


def check_roots(person: Person, roots: Iterable[Path]) -> None:
    """Refuse folders that are not there, or bear the name themselves.

    Raises:
        MissingPathError: naming the one that is not there.
        ConfigError: naming the one that bears the patient's name.
    """
    for root in roots:
        if not root.exists():
            raise MissingPathError(
                f"{person.masked(str(root), '...')}: there is no such file or folder; check the path"
            )
        if root.is_dir() and person.in_text(root.absolute().name):
            raise ConfigError("a folder to work on bears the patient's name itself; remove it, or rename it first")
