"""What t1djax wrote of a person in the folders named, by the records in its own files; nothing else is touched.

| what | known by | whose |
| --- | --- | --- |
| data | the header of `patients.csv`, and of the tables beside it | the name in `patients.csv` that the table bears |
| result | `metadata.json`, its `format` | its `patient` |
| networks | `recipe.json`, its `format` | its `patients` |
| fitted patient | `model.json`, its `format` | its `name` |
| run, unfinished training | `run.json`, its `format` | its `patients` |
| course of a run | `info.json` beside it | its `rows` |
| sweep | `sweep.json`, its `format` | the rows of `summary.json` and `summary.csv` |
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from .._words import counted
from ..config import Loader
from ..experiment import SUMMARY, read_journal
from ..io import CONFIG, MODEL_FILE, REPORT_FILE, CheckpointError, ResultError, drop_twins, from_cell
from ..physics import PHYSIOLOGIES
from ..tracking import COURSE, INFO, drop_patient, read_info
from ._person import NamedPerson
from ._places import SCRATCH, Here, Places

SHARED, OWN = range(2)
"""What is shared with others, first; then the person's own, which tell what to look for until all else is clean."""
METADATA, PATIENTS, TRUTH, RECIPE, RUN, SWEEP = (
    "metadata.json", "patients.csv", "truth.csv", "recipe.json", "run.json", "sweep.json",
)  # fmt: skip
_TELLING = r"predictions\.npz|(glucose|states|residuals|parameters)\.png"
_RESULT = re.compile(rf"{_TELLING}|config\.yaml|parameter_evolution_\w+\.npz")
_COLUMNS = {"time_zone", *(p.column for body in PHYSIOLOGIES.values() for p in body.parameters.values())}


class ForgetStep(NamedTuple):
    """One thing that is done to one place."""

    action: str
    """`remove`, `rewrite` or `vacuum`."""
    where: str
    """File, folder or table."""
    why: str
    """In words."""


class Trace(NamedTuple):
    """A place that carries the person, and that t1djax does not touch."""

    where: str
    """File, folder, or column of a database."""
    what: str
    """Name, readings, or a copy of a file."""


class Task(NamedTuple):
    """A step, when it is due, which files it changes, and how it is taken."""

    stage: int
    step: ForgetStep
    files: frozenset[Path]
    how: Callable[[], object]

    def take(self) -> ForgetStep:
        """Do it."""
        self.how()
        return self.step


class Plan:
    """What is to be done, and what is known of the person.

    Args:
        places: the folders.
        person: who.
    """

    def __init__(self, places: Places, person: NamedPerson) -> None:
        self.places, self.person = places, person
        self.tasks: dict[str, Task] = {}
        """By the place."""
        self.names: set[str] = set()
        """Everybody who is known."""
        self.series: list[np.ndarray] = []
        """The person's readings, mg/dL."""
        self.copied: list[Path] = []
        """The person's own files with readings or fits, of which there may be copies."""
        self.ours: set[Path] = set()
        """What t1djax wrote of others: keys and headers in it are words of the format."""
        self.unknown: list[Trace] = []
        """Places of which nobody can tell whether they hold the person."""

    def due(self, stage: int) -> list[Task]:
        """The tasks of a stage in the order in which they are taken; of the person's own, what lies deeper first."""
        tasks = [task for task in self.tasks.values() if task.stage == stage]
        return tasks if stage == SHARED else sorted(tasks, key=lambda task: -len(Path(task.step.where).parts))

    def do(
        self, stage: int, action: str, where: Path | str, why: str, how: Callable[[], object],
        files: Iterable[Path] | None = None,
    ) -> None:  # fmt: skip
        """Plan a step, which changes the place alone if no files are given."""
        changed = frozenset([Path(where)] if files is None else files)
        self.tasks[str(where)] = Task(stage, ForgetStep(action, str(where), why), changed, how)

    def remove(self, stage: int, paths: list[Path], why: str) -> None:
        """Plan that files go, in this order, and their folder where nothing is left in it."""
        self.do(stage, "remove", paths[-1], why, lambda: [*map(self.places.remove, (*paths, paths[-1].parent))], paths)

    def tree(self, stage: int, folder: Path, why: str) -> None:
        """Plan that a folder goes which t1djax made for itself."""
        self.do(stage, "remove", folder, why, lambda: self.places.tree(folder), _files(folder))

    def rewrite(self, path: Path, data: bytes, why: str, *, stage: int = SHARED) -> None:
        """Plan a file's new content."""
        self.do(stage, "rewrite", path, why, lambda: self.places.replace(path, data))

    def unlist(self, path: Path) -> None:
        """Plan that the person leaves the list of patients in a file of others."""
        content, data = parsed(path), path.read_bytes()
        if (new := unlisted(data, self.person, path.name)) != data:
            self.rewrite(path, new, "others', where the name stands in the list of patients")
        elif self.person.without(content) != content:
            self.unknown.append(Trace(str(path), "name, in a list of patients that somebody edited"))

    def look(self, here: Here) -> None:
        """Plan what there is to do in one folder."""
        scratch = [here.path / name for name in here.files if name.startswith(SCRATCH)]
        if scratch:
            self.remove(OWN, scratch, "left by a removal that was interrupted")
        if not here.files and not here.folders and not here.links and self.person.in_file_name(here.path.name):
            self.tree(OWN, here.path, "an empty folder that bears the name")
        for name, look in _LOOKS.items():
            if name in here.files:
                look(self, here)

    def _result(self, here: Here) -> None:
        folder, metadata = here.path, of_format(here.path / METADATA, "t1djax.result", "patient")
        if metadata is None:
            return
        mine = [folder / name for name in sorted(here.files) if _RESULT.fullmatch(name)]
        self.names.add(metadata["patient"])
        if self.person.same(metadata["patient"]):
            self.series += _readings(folder / "predictions.npz")
            self.copied += [path for path in mine if re.fullmatch(_TELLING, path.name)]
            self.remove(OWN, [*mine, folder / METADATA], "a result of the person")
            return
        self.ours |= {folder, folder / METADATA, *mine}
        for path in (folder / name for name in (METADATA, CONFIG) if name in here.files):
            self.unlist(path)

    def _model(self, here: Here) -> None:
        path = here.path / MODEL_FILE
        if (metadata := of_format(path, "t1djax.fitted_patient", "name")) is None:
            return
        self.names.add(metadata["name"])
        if self.person.same(metadata["name"]):
            self.copied.append(path)
            self.remove(OWN, [path], "the person, fitted")
        else:
            self.ours.add(path)

    def _networks(self, here: Here) -> None:
        folder, metadata = here.path, of_format(here.path / RECIPE, "t1djax.twins", "patients")
        if metadata is None:
            return
        arrays = [folder / name for name in here.folders if name.startswith("arrays")]
        here.folders[:] = [name for name in here.folders if folder / name not in arrays]
        names, gone = metadata["patients"], [*filter(self.person.same, metadata["patients"])]
        files = {folder / RECIPE}.union(*map(_files, arrays))
        self.names |= set(names)
        self.ours |= files
        for stale in (path for path in arrays if path.name != metadata.get("arrays", "arrays")):
            self.tree(SHARED, stale, "left by a rewriting that was interrupted")

        def remove() -> None:
            for path in arrays:
                self.places.tree(path)
            self.places.remove(folder / RECIPE)
            self.places.remove(folder)

        def drop() -> None:
            try:
                for name in gone:
                    drop_twins(folder, name)
            except CheckpointError:
                remove()  # nobody can read it either

        if len(gone) == len(names):
            self.do(OWN, "remove", folder, "the person's network", remove, files)
        elif gone:
            why = f"networks of {counted(len(names), 'patient')}, without the person's, trained in one program"
            self.do(SHARED, "rewrite", folder, why, drop, files)

    def _cohort(self, here: Here) -> None:
        """Tables, then the rows that say whose they are."""
        folder, listed = here.path, _listed(here.path / PATIENTS)
        if listed is None:
            return
        self.names |= set(listed)
        tables = {name: folder / f"{name}.csv" for name in listed if f"{name}.csv" in here.files}
        tables = {name: path for name, path in tables.items() if _is_table(path)}
        self.ours |= {folder / name for name in (PATIENTS, TRUTH, REPORT_FILE)}
        self.ours |= {path for name, path in tables.items() if not self.person.same(name)}
        if not any(map(self.person.same, listed)):
            return
        for path in (path for name, path in tables.items() if self.person.same(name)):
            self.series += _readings(path)
            self.copied.append(path)
            self.remove(OWN, [path], "the person's record")
        report = parsed(folder / REPORT_FILE) if REPORT_FILE in here.files else None
        if isinstance(report, dict) and isinstance(reports := report.get("reports"), list):
            left = [r for r in reports if not (isinstance(r, dict) and self.person.same(r.get("subject")))]
            if len(left) < len(reports) and as_json(report) == (folder / REPORT_FILE).read_bytes():
                self.rewrite(folder / REPORT_FILE, as_json({**report, "reports": left}), "what was noted of files read")
        for path in (folder / name for name in (TRUTH, PATIENTS) if name in here.files):
            names = _listed(path)
            if names and all(map(self.person.same, names)):
                self.remove(OWN, [path], "what is known of the person")
            elif names:
                new = without_rows(path.read_bytes(), "patient", self.person)
                self.rewrite(path, new, "what is known of people, without the person's row", stage=OWN)

    def _run(self, here: Here) -> None:
        """Finished batches and the record. States of unfinished training go: the others train anew."""
        folder = here.path
        try:
            journal = read_journal(folder)
        except ResultError:
            return
        states = [folder / name for name in here.folders if re.match(r"\.?batch-\d", name)]
        here.folders[:] = [name for name in here.folders if folder / name not in states]
        self.ours |= {folder / name for name in here.files if name.endswith(".json")}.union(*map(_files, states))
        names = journal.record.get("patients", ())
        self.names |= set(names)
        for name in filter(self.person.same, names):
            for state in states:
                self.tree(SHARED, state, "unfinished training of a batch, which begins anew without the person")
            why = f"the record of a run of {counted(len(names), 'patient')}, without the person"
            for path, content in journal.without(name).items():
                self.rewrite(path, as_json(self.person.without(content)), why)

    def _unfinished(self, here: Here) -> None:
        if here.path.suffix == ".partial" and self.person.in_file_name(here.path.name):
            self.tree(OWN, here.path, "a result that was not finished")

    def _course(self, here: Here) -> None:
        folder, info = here.path, read_info(here.path)
        if info is None:
            return
        files = [folder / COURSE, folder / INFO]
        self.ours |= set(files)
        names = {name for name, _ in info.rows}
        self.names |= names
        for name in filter(self.person.same, names):
            if len(names) == 1:
                self.remove(SHARED, files, "the course of the person's training")
                continue
            self.do(SHARED, "rewrite", folder / COURSE, "the course of a training, without the person's rows",
                    lambda name=name: drop_patient(folder, name, self.person.without(info.config)), files)  # fmt: skip

    def _sweep(self, here: Here) -> None:
        """The summary of a sweep is made again by the same sweep."""
        root, summary = here.path, parsed(here.path / SUMMARY)
        if of_format(root / SWEEP, "t1djax.sweep", "name") is None:
            return
        ours = [*(root / "figures").glob("comparison_*.png"), root / "summary.csv", root / SUMMARY]
        self.ours |= {root / SWEEP, *ours}
        self.unlist(root / SWEEP)
        rows = summary.get("results", ()) if isinstance(summary, dict) else ()
        if any(isinstance(row, dict) and self.person.same(row.get("patient")) for row in rows):
            for path in (path for path in ours if path.is_file() and self.places.hold(path)):
                self.remove(OWN, [path], "the summary of a sweep: the same sweep makes it again of what is left")


_LOOKS: dict[str, Callable[[Plan, Here], None]] = {
    METADATA: Plan._result, MODEL_FILE: Plan._model, RECIPE: Plan._networks, PATIENTS: Plan._cohort,
    RUN: Plan._run, ".run": Plan._unfinished, INFO: Plan._course, SWEEP: Plan._sweep,
}  # fmt: skip


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def parsed(path: Path, data: bytes | None = None) -> Any:
    """The content of a JSON or YAML file; None where it is none."""
    try:
        text = (path.read_bytes() if data is None else data).decode("utf-8")
        return yaml.load(text, Loader) if path.suffix == ".yaml" else json.loads(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None


def of_format(path: Path, kind: str, key: str) -> dict[str, Any] | None:
    """The content of a file of t1djax of this format that says whose it is; None where it is another's."""
    content = parsed(path)
    if not isinstance(content, dict) or content.get("format") != kind:
        return None
    whose = content.get(key)
    sound = isinstance(whose, str) or (isinstance(whose, list) and all(isinstance(name, str) for name in whose))
    return content if sound else None


def as_json(content: Any) -> bytes:
    """As t1djax writes JSON."""
    return (json.dumps(content, indent=2) + "\n").encode()


def unlisted(data: bytes, person: NamedPerson, name: str) -> bytes:
    """A file without the person in its list of patients; where it is not as t1djax writes it, as it is."""
    yaml_ = lambda content: yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()
    written = yaml_ if name.endswith(".yaml") else as_json
    content = parsed(Path(name), data)
    new = person.without(content)
    return written(new) if new != content and written(content) == data else data


def _rows(data: bytes) -> Iterator[tuple[str, list[str]]]:
    """Rows of a table as they are written, and their cells."""
    lines = data.decode("utf-8").splitlines(keepends=True)
    reader, before = csv.reader(lines), 0
    for row in reader:
        yield "".join(lines[before : reader.line_num]), row
        before = reader.line_num


def without_rows(data: bytes, column: str, person: NamedPerson) -> bytes:
    """A table without the rows that have the person in a column; the others' as they are."""
    rows = list(_rows(data))
    at = rows[0][1].index(column)
    return "".join(raw for raw, row in rows if not (len(row) > at and person.same(from_cell(row[at].strip())))).encode()


def _listed(path: Path) -> list[str] | None:
    """Whom `patients.csv` or `truth.csv` lists; None where it is no such file of t1djax."""
    try:
        rows = [row for _, row in _rows(path.read_bytes())]
    except (OSError, ValueError, csv.Error):
        return None
    if not rows or rows[0][:1] != ["patient"] or not _COLUMNS.issuperset(rows[0][1:]):
        return None
    return [from_cell(row[0].strip()) for row in rows[1:] if row]


def _is_table(path: Path) -> bool:
    """Whether a file begins as t1djax writes a patient's table."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        names = file.readline(4096).strip().split(",")
    return names[0] in ("time_min", "time") and {"glucose_mg_dL", "basal_U_h"} <= set(names)


def _readings(path: Path) -> list[np.ndarray]:
    """The readings of a result; of a table the columns of glucose, the truth of synthetic patients too."""
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return [np.asarray(arrays["observed_mg_dL"], np.float64)]
        table = pd.read_csv(path, usecols=lambda name: "glucose_mg_dL" in name)
        return [np.asarray(pd.to_numeric(table[name], errors="coerce"), np.float64) for name in table]
    except Exception:  # damaged in whatever way
        return []
