"""What t1djax wrote in a folder, and of whom, by the records in its own files.

| what | known by | whose |
| --- | --- | --- |
| data | the header of `patients.csv`, and of the tables beside it | the name in `patients.csv` that the table bears |
| result | `metadata.json`, its `format` | its `patient` |
| result that is not finished | `.run` | its second line |
| networks | `recipe.json`, its `format` | its `patients` |
| fitted patient | `model.json`, its `format` | its `name` |
| run, unfinished training | `run.json`, its `format` | its `patients` |
| course of a run | `info.json` beside it | its `rows` |
| forecaster, its unfinished training | its `format` | its `people` |
| sweep | `sweep.json`, its `format` | the rows of `summary.json` |
"""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..config import Loader
from ..experiment import SUMMARY, read_journal
from ..io import CONFIG, MODEL_FILE, OWNER, REPORT_FILE, CheckpointError, ResultError, drop_twins, from_cell
from ..physics import PHYSIOLOGIES
from ..population import learnt_from
from ..tracking import COURSE, INFO, drop_patient, read_info
from ._person import NamedPerson
from ._places import SCRATCH, Here
from ._plan import OWN, SHARED, Plan, Trace

METADATA, PATIENTS, TRUTH, RECIPE, RUN, SWEEP = (
    "metadata.json", "patients.csv", "truth.csv", "recipe.json", "run.json", "sweep.json",
)  # fmt: skip
_TELLING = r"predictions\.npz|(glucose|states|residuals|parameters)\.png"
_RESULT = re.compile(rf"{_TELLING}|config\.yaml|parameter_evolution_\w+\.npz")
_COLUMNS = {"time_zone", *(p.column for body in PHYSIOLOGIES.values() for p in body.parameters.values())}


def look(plan: Plan, here: Here) -> None:
    """Plan what there is to do in one folder; folders that belong to a thing in it are not visited."""
    scratch = [here.path / name for name in here.files if name.startswith(SCRATCH)]
    if scratch:
        plan.remove(OWN, scratch, "left by a removal that was interrupted")
    if here.empty and plan.person.in_result_name(here.path.name):
        plan.remove(OWN, [here.path], "what is left of a result that a removal was taking away")
    for name in (name for name in _KINDS if name in here.files):
        _KINDS[name](plan, here)
    for path in (here.path / name for name in sorted(here.files.difference(_KINDS))):
        if people := learnt_from(path):
            what = "a forecaster that learnt from the person, which weights cannot unlearn: train it again without"
            plan.take(people, [path], what, stage=SHARED)


def _result(plan: Plan, here: Here) -> None:
    folder, metadata = here.path, of_format(here.path / METADATA, "t1djax.result", "patient")
    if metadata is None:
        return
    mine = [folder / name for name in sorted(here.files) if _RESULT.fullmatch(name)]
    telling = [path for path in mine if re.fullmatch(_TELLING, path.name)]
    plan.take([metadata["patient"]], [*mine, folder / METADATA], "a result of the person", telling=telling)
    if plan.person.same(metadata["patient"]):
        plan.series += _readings(folder / "predictions.npz")
    else:
        plan.ours.add(folder)
        for path in (folder / name for name in (METADATA, CONFIG) if name in here.files):
            unlist(plan, path)


def _model(plan: Plan, here: Here) -> None:
    path = here.path / MODEL_FILE
    if (metadata := of_format(path, "t1djax.fitted_patient", "name")) is not None:
        plan.take([metadata["name"]], [path], "the person, fitted", telling=[path])


def _networks(plan: Plan, here: Here) -> None:
    folder, metadata = here.path, of_format(here.path / RECIPE, "t1djax.twins", "patients")
    if metadata is None:
        return
    arrays = _take_out(here, r"arrays")
    stale = [path for path in arrays if path.name != metadata.get("arrays", "arrays")]
    if stale:
        plan.remove(SHARED, stale, "left by a rewriting that was interrupted")
    paths = [*arrays, folder / RECIPE]

    def drop() -> None:
        try:
            for name in filter(plan.person.same, metadata["patients"]):
                drop_twins(folder, name)
        except CheckpointError:
            plan.places.remove(*paths)  # nobody can read it either

    plan.take(metadata["patients"], paths, "networks, trained in one program,", stage=SHARED, without=drop)


def _cohort(plan: Plan, here: Here) -> None:
    """Tables, then the rows that say whose they are."""
    folder = here.path
    known = {name: _known(folder / name, plan.person) for name in (TRUTH, PATIENTS) if name in here.files}
    if (listed := known[PATIENTS]) is None:
        return
    for path in (folder / f"{name}.csv" for name in listed[0] if f"{name}.csv" in here.files):
        if {"glucose_mg_dL", "basal_U_h"} <= {*(head := _header(path))} and head[0] in ("time_min", "time"):
            plan.take([path.stem], [path], "the person's record", telling=[path])
            plan.series += _readings(path) if plan.person.same(path.stem) else []
    report = parsed(folder / REPORT_FILE)
    if isinstance(report, dict) and isinstance(reports := report.get("reports"), list):
        known = {REPORT_FILE: _noted(report, reports, plan.person), **known}
    for path, (people, left) in ((folder / name, found) for name, found in known.items() if found is not None):
        how = lambda path=path, left=left: plan.places.replace(path, left)
        plan.take(people, [path], "what is known", without=how)


def _run(plan: Plan, here: Here) -> None:
    """Finished batches and the record. States of unfinished training go: the others train anew."""
    folder = here.path
    try:
        names = list(read_journal(folder).record.get("patients", ()))
    except ResultError:
        return
    states = _take_out(here, r"\.?batch-\d")
    notes = [folder / name for name in sorted(here.files) if re.match(r"batch-\d.*\.json|lock", name)]

    def drop() -> None:
        plan.places.remove(*states)
        for name in filter(plan.person.same, names):
            for path, content in read_journal(folder).without(name).items():
                plan.places.replace(path, as_json(plan.person.without(content)))

    what = "the record of a run (unfinished training begins anew)"
    plan.take(names, [*states, *notes, folder / RUN], what, stage=SHARED, without=drop)


def _unfinished(plan: Plan, here: Here) -> None:
    _, _, patient = (here.path / OWNER).read_text("utf-8", "surrogateescape").partition("\n")
    if here.path.suffix == ".partial" and patient:
        names = sorted(here.files - {OWNER})
        mine = [here.path / name for name in names if _RESULT.fullmatch(name) or name in (METADATA, MODEL_FILE)]
        paths = [*mine, *_take_out(here, "checkpoints"), here.path / OWNER]
        plan.take([patient], paths, "a result that was not finished")
        plan.ours |= set() if plan.person.same(patient) else {here.path}


def _course(plan: Plan, here: Here) -> None:
    folder, info = here.path, read_info(here.path)
    if info is None:
        return
    names = list(dict.fromkeys(name for name, _ in info.rows))

    def drop() -> None:
        for name in filter(plan.person.same, names):
            drop_patient(folder, name, plan.person.without(info.config))

    paths = [folder / COURSE, folder / INFO]
    plan.take(names, paths, "the course of a training", stage=SHARED, without=drop)


def _sweep(plan: Plan, here: Here) -> None:
    """The summary of a sweep is made again by the same sweep."""
    root, summary = here.path, parsed(here.path / SUMMARY)
    if of_format(root / SWEEP, "t1djax.sweep", "name") is None:
        return
    plan.ours.add(root / SWEEP)
    unlist(plan, root / SWEEP)
    rows = summary.get("results", ()) if isinstance(summary, dict) else ()
    people = [row["patient"] for row in rows if isinstance(row, dict) and isinstance(row.get("patient"), str)]
    paths = [*sorted((root / "figures").glob("comparison_*.png")), root / "summary.csv", root / SUMMARY]
    what = "the summary of a sweep: the same sweep makes it again of what is left"
    plan.take(people, [path for path in paths if plan.places.hold(path)], what)


_KINDS: dict[str, Callable[[Plan, Here], None]] = {
    METADATA: _result, MODEL_FILE: _model, RECIPE: _networks, PATIENTS: _cohort,
    RUN: _run, OWNER: _unfinished, INFO: _course, SWEEP: _sweep,
}  # fmt: skip


def _take_out(here: Here, pattern: str) -> list[Path]:
    """Folders in one whose names begin so; they are not visited."""
    taken = [name for name in here.folders if re.match(pattern, name)]
    here.folders[:] = [name for name in here.folders if name not in taken]
    return [here.path / name for name in taken]


def unlist(plan: Plan, path: Path) -> None:
    """Plan that the person leaves the list of patients in a file of others."""
    content, data = parsed(path), path.read_bytes()
    if (new := unlisted(data, plan.person, path.name)) != data:
        why = "others', where the name stands in the list of patients"
        plan.do(SHARED, "rewrite", path, why, lambda: plan.places.replace(path, new))
    elif plan.person.without(content) != content:
        plan.unknown.append(Trace(str(path), "name, in a list of patients that somebody edited"))


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


def rows_without(data: bytes, person: NamedPerson) -> tuple[list[str], bytes]:
    """Whom the first column of a table lists, and the table without the person's rows; others' rows as they are."""
    lines, before = data.decode("utf-8").splitlines(keepends=True), 0
    people, left = list[str](), list[str]()
    for row in (reader := csv.reader(lines)):
        name = from_cell(row[0].strip()) if row and before else ""
        people += [name] if name else []
        left += [] if person.same(name) else lines[before : reader.line_num]
        before = reader.line_num
    return people, "".join(left).encode()


def _known(path: Path, person: NamedPerson) -> tuple[list[str], bytes] | None:
    """Whom `patients.csv` or `truth.csv` lists, and it without the person; None where it is no such file of t1djax."""
    head = _header(path)
    try:
        ours = head[:1] == ["patient"] and _COLUMNS.issuperset(head[1:])
        return rows_without(path.read_bytes(), person) if ours else None
    except (ValueError, csv.Error):
        return None


def _noted(report: dict[str, Any], reports: list[Any], person: NamedPerson) -> tuple[list[str], bytes]:
    """Whom a report of files read is about, and it without the person."""
    whose = [one.get("subject") if isinstance(one, dict) else None for one in reports]
    left = [one for one, name in zip(reports, whose, strict=True) if not person.same(name)]
    return [name for name in whose if isinstance(name, str)], as_json({**report, "reports": left})


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return file.readline(4096).strip().split(",")


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
