"""What t1djax wrote of a person in the folders named, by the records in its own files; nothing else is touched.

| what | known by | whose |
| --- | --- | --- |
| data | the header of `patients.csv`, and of the tables beside it | the name in `patients.csv` that the table bears |
| result | `metadata.json`, its `format` | its `patient` |
| networks | `recipe.json`, its `format` | its `patients` |
| fitted patient | `model.json`, its `format` | its `name` |
| run, unfinished training | `run.json`, its `format` | its `patients` |
| sweep | `sweep.json`, its `format` | the rows of `summary.json` and `summary.csv` |
"""

import contextlib
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from .._words import counted
from ..config import read_yaml as read_config
from ..experiment import RUNS
from ..io import CONFIG, MODEL_FILE, REPORT_FILE, CheckpointError, drop_twins, from_cell
from ..physics import PHYSIOLOGIES
from ._person import Person
from ._places import SCRATCH, Here, Places

SHARED, OWN = range(2)
"""What is shared with others, first; then the person's own, which tell what to look for until all else is clean."""
METADATA, PATIENTS, TRUTH, RECIPE = "metadata.json", "patients.csv", "truth.csv", "recipe.json"
_TELLING = r"predictions\.npz|model\.json|(glucose|states|residuals|parameters)\.png"
_RESULT = re.compile(rf"{_TELLING}|config\.yaml|parameter_evolution_\w+\.npz")
_PARTIAL = re.compile(r"(.+)\.partial-[0-9a-z_]+")
_COLUMNS = {"time_zone", *(p.column for body in PHYSIOLOGIES.values() for p in body.parameters.values())}


class ForgetStep(NamedTuple):
    """One thing that is done to one place."""

    action: str
    """`remove`, `rewrite` or `vacuum`."""
    where: str
    """File, folder or table."""
    why: str
    """In words."""


class TrainedOn(NamedTuple):
    """A model that saw the person's data together with others'."""

    where: str
    """Run, model version, or file."""
    what: str
    """What it is."""
    now: str
    """What became of the person's part, and what the rest of it still owes to the person."""


class Task(NamedTuple):
    """A step, when it is due, and how it is taken."""

    stage: int
    step: ForgetStep
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

    def __init__(self, places: Places, person: Person) -> None:
        self.places, self.person = places, person
        self.tasks: list[Task] = []
        self.population: list[TrainedOn] = []
        self.names: set[str] = set()
        """Everybody who is known."""
        self.goes: set[Path] = set()
        """Files that go, in which nothing need be looked for."""
        self.series: list[np.ndarray] = []
        """The person's readings, mg/dL."""
        self.copied: list[Path] = []
        """The person's own files with readings or fits, of which there may be copies."""
        self.structured: set[Path] = set()
        """Files of others that t1djax wrote: their keys and headers are words of the format."""
        self.inner: set[Path] = set()
        """Files that are rewritten by a step that is called otherwise."""
        self.artifacts: list[str] = []
        """Folders of MLflow that go with the runs."""
        self.unknown: list[tuple[str, str]] = []
        """Places of which nobody can tell whether they hold the person, and why."""

    def due(self, stage: int) -> list[Task]:
        """The tasks of a stage in the order in which they are taken; of the person's own, what lies deeper first."""
        tasks = [task for task in self.tasks if task.stage == stage]
        if stage == SHARED:
            return tasks
        left = [task for task in tasks if not any(Path(task.step.where).is_relative_to(p) for p in self.artifacts)]
        return sorted(left, key=lambda task: -len(Path(task.step.where).parts))

    def do(self, stage: int, action: str, where: Path | str, why: str, how: Callable[[], object]) -> None:
        """Plan a step."""
        self.tasks.append(Task(stage, ForgetStep(action, str(where), why), how))

    def remove(self, stage: int, folder: Path, files: Iterable[str], why: str, *, last: str | None = None) -> None:
        """Plan that files of a folder go, and the folder where nothing is left in it."""
        paths = [folder / name for name in sorted(files)] + ([] if last is None else [folder / last])
        self.goes |= set(paths)

        def how() -> None:
            for path in paths:
                self.places.remove(path)
            remove_empty(folder)

        self.do(stage, "remove", folder if last is not None else paths[-1], why, how)

    def rewrite(self, path: Path, data: Callable[[], bytes], why: str, *, stage: int = SHARED) -> None:
        """Plan a file's new content, made when it is due."""
        self.do(stage, "rewrite", path, why, lambda: self.places.replace(path, data()))

    def look(self, here: Here) -> None:
        """Plan what there is to do in one folder."""
        folder, files = here.path, here.files
        if folder.parent.name == RUNS:  # what a run keeps of its training is looked after with the run
            here.folders[:] = [name for name in here.folders if not re.match(r"\.?batch-\d", name)]
        for name in (name for name in files if name.startswith(SCRATCH)):
            self.remove(OWN, folder, [name], "left by a removal that was interrupted")
        if not files and not here.folders and self.person.in_file_name(folder.name):
            self.do(OWN, "remove", folder, "an empty folder that bears the name", lambda: remove_empty(folder))
        if METADATA in files and (told := of_format(folder / METADATA, "t1djax.result", "patient")):
            self._result(folder, files, told)
        elif MODEL_FILE in files and (told := of_format(folder / MODEL_FILE, "t1djax.fitted_patient", "name")):
            self._model(folder, told["name"])
        if RECIPE in files and (told := of_format(folder / RECIPE, "t1djax.twins", "patients")):
            here.folders[:] = [name for name in here.folders if name != "arrays"]
            self._networks(folder, told["patients"])
        if PATIENTS in files and (listed := _listed(folder / PATIENTS)) is not None:
            self._cohort(folder, files, listed)

    def _result(self, folder: Path, files: frozenset[str], told: dict[str, Any]) -> None:
        mine = {name for name in files if _RESULT.fullmatch(name)}
        self.names.add(told["patient"])
        if self.person.same(told["patient"]):
            self.series += _observed(folder / "predictions.npz")
            self.copied += [folder / name for name in mine if re.fullmatch(_TELLING, name)]
            self.remove(OWN, folder, mine, "a result of the person", last=METADATA)
            return
        self.structured |= {folder, *(folder / name for name in (*mine, METADATA))}
        new = {**told, "config": self.person.without(told.get("config"))}
        self.rewritten(folder / METADATA, told, new, as_json)
        if CONFIG in mine and (config := read_yaml(folder / CONFIG)) is not None:
            self.rewritten(folder / CONFIG, config, self.person.without(config), _as_yaml)

    def rewritten(self, path: Path, old: Any, new: Any, written: Callable[[Any], bytes]) -> None:
        """Plan a file's new content, where it is as t1djax writes it: nobody else's hand was in it."""
        if new != old and written(old) == path.read_bytes():
            self.rewrite(path, lambda: written(new), "others', where the name stands in the list of patients")

    def _model(self, folder: Path, name: str) -> None:
        self.names.add(name)
        if self.person.same(name):
            self.copied.append(folder / MODEL_FILE)
            self.remove(OWN, folder, [MODEL_FILE], "the person, fitted")
        else:
            self.structured.add(folder / MODEL_FILE)

    def _networks(self, folder: Path, names: Sequence[str]) -> None:
        if _PARTIAL.fullmatch(folder.name):
            self.goes |= {path for path in folder.rglob("*") if path.is_file()}
            self.do(OWN, "remove", folder, "left by a write that was interrupted",
                    lambda: remove_networks(self.places, folder))  # fmt: skip
            return
        self.names |= set(names)
        others = [name for name in names if not self.person.same(name)]
        arrays = {path for path in (folder / "arrays").rglob("*") if path.is_file()}
        self.structured |= {folder / RECIPE, *arrays}
        if len(others) == len(names):
            return
        if not others:
            self.goes |= {folder / RECIPE, *arrays}
            self.do(OWN, "remove", folder, "the person's network", lambda: remove_networks(self.places, folder))
            return
        self.population.append(TrainedOn(str(folder), f"networks of {counted(len(names), 'patient')}, trained in one "
                                         "program", "rewritten without theirs"))  # fmt: skip

        def drop() -> None:
            try:
                for name in set(names) - set(others):
                    drop_twins(folder, name)
            except CheckpointError:
                remove_networks(self.places, folder)  # nobody can read it either

        self.do(SHARED, "rewrite", folder, "networks of several patients, without the person's", drop)

    def _cohort(self, folder: Path, files: frozenset[str], listed: Sequence[str]) -> None:
        """Tables, then the rows that say whose they are."""
        self.names |= set(listed)
        tables = {f"{name}.csv" for name in listed} & {name for name in files if _is_table(folder / name)}
        theirs = {name for name in tables if self.person.same(name.removesuffix(".csv"))}
        self.structured |= {folder / name for name in (*tables - theirs, PATIENTS, TRUTH, REPORT_FILE)}
        if not any(map(self.person.same, listed)):
            return
        for name in sorted(theirs):
            self.series += _columns(folder / name)
            self.copied.append(folder / name)
            self.remove(OWN, folder, [name], "the person's record")
        if REPORT_FILE in files:
            self._report(folder / REPORT_FILE)
        for name in (name for name in (TRUTH, PATIENTS) if name in files and _listed(folder / name) is not None):
            if all(map(self.person.same, _listed(folder / name) or ())):
                self.remove(OWN, folder, [name], "what is known of the person")
            else:
                new = lambda path=folder / name: without_rows(path.read_bytes(), "patient", self.person)
                self.rewrite(folder / name, new, "what is known of people, without the person's row", stage=OWN)

    def _report(self, path: Path) -> None:
        """What `convert` noted of each file that it read."""
        content = read_json(path)
        if isinstance(content, dict) and isinstance(reports := content.get("reports"), list):
            left = [r for r in reports if not (isinstance(r, dict) and self.person.same(r.get("subject")))]
            self.rewritten(path, content, {**content, "reports": left}, as_json)


def unlisted(data: bytes, person: Person, name: str) -> bytes:
    """A file of a result as t1djax writes it, without the person in its list of patients; another's as it is."""
    written = as_json if name.endswith(".json") else _as_yaml
    try:
        content = yaml.safe_load(data.decode("utf-8")) if written is _as_yaml else json.loads(data)
    except (ValueError, yaml.YAMLError, RecursionError):
        return data
    new = person.without(content)
    return written(new) if new != content and written(content) == data else data


def read_json(path: Path) -> Any:
    """The content of a JSON file; None where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def of_format(path: Path, kind: str, key: str) -> dict[str, Any] | None:
    """The content of a file of t1djax of this format that says whose it is; None where it is another's."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != kind:
        return None
    whose = content.get(key)
    sound = isinstance(whose, str) or (isinstance(whose, list) and all(isinstance(name, str) for name in whose))
    return content if sound else None


def as_json(content: Any) -> bytes:
    """As t1djax writes JSON."""
    return (json.dumps(content, indent=2) + "\n").encode()


def _as_yaml(content: Any) -> bytes:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def read_yaml(path: Path) -> Any:
    """The content of a configuration; None where it is none."""
    try:
        return read_config(path, "a mapping")
    except (ValueError, FileNotFoundError):
        return None


def _rows(data: bytes) -> Iterator[tuple[str, list[str]]]:
    """Rows of a table as they are written, and their cells."""
    lines = data.decode("utf-8").splitlines(keepends=True)
    reader, before = csv.reader(lines), 0
    for row in reader:
        yield "".join(lines[before : reader.line_num]), row
        before = reader.line_num


def without_rows(data: bytes, column: str, person: Person) -> bytes:
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


def _columns(path: Path) -> list[np.ndarray]:
    """The columns of glucose in a table, the truth of synthetic patients too."""
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError):
        return []
    glucose = [column for column in table if "glucose_mg_dL" in str(column)]
    return [np.asarray(pd.to_numeric(table[column], errors="coerce"), np.float64) for column in glucose]


def _observed(path: Path) -> list[np.ndarray]:
    """The readings that a result was fitted to."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [np.asarray(arrays["observed_mg_dL"], np.float64)]
    except Exception:  # damaged in whatever way
        return []


def remove_empty(folder: Path) -> None:
    """Remove a folder in which nothing is left."""
    with contextlib.suppress(OSError):  # something is, or it is gone
        folder.rmdir()


def remove_networks(places: Places, folder: Path) -> None:
    """Saved networks: the arrays, which Orbax wrote into a folder of their own, then the recipe."""
    inner = sorted((folder / "arrays").rglob("*"), reverse=True)
    for path in (path for path in inner if not path.is_symlink()):
        remove_empty(path) if path.is_dir() else places.remove(path)
    remove_empty(folder / "arrays")
    places.remove(folder / RECIPE)
    remove_empty(folder)


def recovered(places: Places) -> bool:
    """Whether saved networks were put in their place, whose rewriting was interrupted between two renames."""
    found = False
    for here in list(places.walk()):
        whole = _PARTIAL.fullmatch(here.path.name)
        if whole and RECIPE in here.files and "arrays" in here.folders:
            final = here.path.with_name(whole[1])
            if not final.exists() and of_format(here.path / RECIPE, "t1djax.twins", "patients"):
                here.path.rename(final)
                found = True
    return found
