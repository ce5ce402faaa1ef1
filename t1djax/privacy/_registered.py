"""A registered cohort without one of its patients: the same version under the same aliases."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..io import read_fitted_cohort, write_fitted_cohort
from ..records import FittedPatient
from ..registry import PATIENTS_FILE, PREFIX, cohort_facts
from ._objects import Objects
from ._person import Person
from ._scrub import scrub
from ._work import Work, replace

if TYPE_CHECKING:
    from ._store import Store


def without(store: "Store", work: Work, name: str, version: int) -> None:
    """Rewrite the files and tags of a version; the tag that names the patients comes last.

    Args:
        store: where it is.
        work: the removal.
        name: of the registered model.
        version: its number.
    """
    sa, t = store.sa, store.tables
    with store.engine.connect() as connection:
        c = t["model_versions"].c
        run = connection.execute(sa.select(c.run_id).where(c.name == name, c.version == version)).scalar()
        models = t["logged_models"].c
        place = connection.execute(sa.select(models.artifact_location).where(models.source_run_id == run)).scalar()
    where = f"registered model {name} version {version}"
    if place is None:
        work.do("leave", where, "its files are not known to MLflow")
        return
    work.do("rewrite", where, "its fitted patients, examples and facts, without the person's",
            lambda: _rewrite(store, work, store.located(place), name, version))  # fmt: skip


def _rewrite(store: "Store", work: Work, place: str, name: str, version: int) -> None:
    files = _Files(place)
    path = f"artifacts/{PATIENTS_FILE}"
    models, content = _left(files.read(path), work.person)
    facts, each = cohort_facts(models, hashlib.sha256(content).hexdigest())
    files.write(path, content)
    described = yaml.safe_load(files.read("MLmodel"))
    told = {PREFIX + key: value for key, value in facts.items() if key != "t1djax"}
    metadata = dict(described.get("metadata") or {}) | told | {PREFIX + "rmse_forecast_mg_dL": each}
    described = scrub(work.person, described | {"metadata": metadata})
    files.write("MLmodel", yaml.safe_dump(described, sort_keys=False, allow_unicode=True).encode())
    for example in files.names():
        if "input_example" in example:  # a request that somebody who is left would make
            other = next(iter(models))
            text = files.read(example).decode("utf-8")
            if work.person.in_text(text):
                files.write(example, work.person.masked(text, other).encode())
    sa, t = store.sa, store.tables["model_version_tags"]
    with store.engine.begin() as connection:
        for key, value in sorted(told.items(), key=lambda item: item[0] == f"{PREFIX}names"):
            here = sa.and_(t.c.name == name, t.c.version == version, t.c.key == key)
            connection.execute(sa.update(t).where(here).values(value=value))


def _left(data: bytes, gone: Person) -> tuple[Mapping[str, FittedPatient], bytes]:
    """The patients but for one, and the file that holds them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / PATIENTS_FILE
        file.write_bytes(data)
        models = {name: model for name, model in read_fitted_cohort(file).items() if not gone.same(name)}
        if not any(gone.same(p.get("name")) for p in json.loads(data)["patients"]):
            return models, data
        write_fitted_cohort(models.values(), file)
        return models, file.read_bytes()


class _Files:
    """Files below a folder or a prefix."""

    def __init__(self, place: str) -> None:
        self._objects: Any = Objects(place) if place.startswith("s3:") else None
        self._root = Path(place)

    def names(self) -> list[str]:
        if self._objects is None:
            return [p.relative_to(self._root).as_posix() for p in sorted(self._root.rglob("*")) if p.is_file()]
        latest = [v.key for v in self._objects.versions() if v.latest and not v.mark]
        return [key.removeprefix(self._objects.prefix).lstrip("/") for key in latest]

    def read(self, name: str) -> bytes:
        if self._objects is None:
            return (self._root / name).read_bytes()
        return self._objects.read(next(v for v in self._objects.versions(name, exact=True) if v.latest))

    def write(self, name: str, data: bytes) -> None:
        if self._objects is None:
            replace(self._root / name, data)
            return
        old = list(self._objects.versions(name, exact=True))
        self._objects.write(f"{self._objects.prefix}/{name}", data)
        self._objects.purge(old)
