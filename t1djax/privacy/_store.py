"""MLflow's database and artifacts: the person's runs, datasets and registered versions, by their tags."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import yaml

from .._arguments import argument
from .._words import counted
from ..config import ConfigError, MissingPathError
from ..io import read_fitted_cohort, write_fitted_cohort
from ..records import FittedPatient
from ..registry import PATIENTS_FILE, PREFIX, cohort_facts
from ._person import Person
from ._plan import SHARED, Plan, TrainedOn, unlisted, without_rows

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

_DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")
_OF_RUNS = ("metrics", "latest_metrics", "params", "tags")
_OF_MODELS = ("logged_model_metrics", "logged_model_params", "logged_model_tags")

_AWAY = "artifacts of a run of the person, which are not in the folders named, or not there: name or mount their folder"


def is_database(uri: str) -> bool:
    """Whether this is a database rather than a server before one."""
    return uri.startswith(_DATABASES)


class Store:
    """One MLflow, by its database: a server deletes nothing for good, and `mlflow gc` leaves datasets and inputs.

    Args:
        database: SQLAlchemy's URI of the database.
        destination: where the server keeps artifacts that it hands on itself (`--artifacts-destination`).
    """

    def __init__(self, database: str, destination: str | None = None) -> None:
        try:
            import sqlalchemy as sa  # noqa: PLC0415 - comes with MLflow
        except ImportError as e:
            raise ConfigError('an MLflow store needs MLflow: pip install "t1djax[mlflow]"') from e
        self.sa: Any = sa
        self.file = Path(database.removeprefix("sqlite:///")) if database.startswith("sqlite:///") else None
        if self.file is not None and not self.file.exists():
            raise MissingPathError(f"{self.file}: there is no such database; check the path")
        self.engine = sa.create_engine(database)
        self.shown = str(self.file) if self.file is not None else str(self.engine.url.render_as_string())
        self.destination = None if destination is None else destination.rstrip("/")
        metadata = sa.MetaData()
        metadata.reflect(self.engine)
        self.tables: dict[str, Table] = dict(metadata.tables)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def files(self) -> list[Path]:
        """The files of a database of SQLite."""
        return [] if self.file is None else [self.file.with_name(self.file.name + x)
                                             for x in ("", "-wal", "-shm", "-journal")]  # fmt: skip

    def _select(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        if table not in self.tables:
            return []
        t = self.tables[table]
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(self.sa.select(*(t.c[c] for c in columns)))]

    def names(self) -> set[str]:
        """The people that runs and versions name."""
        found = {value for key, value in self._select("tags", "key", "value") if key == "t1djax.patient"}
        return found.union(*(names for _, _, names in self._versions()))

    def _versions(self) -> Iterator[tuple[str, int, list[str]]]:
        """Registered versions and whom they hold."""
        for name, version, key, value in self._select("model_version_tags", "name", "version", "key", "value"):
            if key == f"{PREFIX}names":
                yield name, version, [one.strip() for one in (value or "").split(",")]

    def located(self, uri: str) -> str:
        """A path or an S3 URI for what the database calls an artifact's place.

        Raises:
            ConfigError: where it cannot be known or reached.
        """
        if uri.startswith("mlflow-artifacts:"):
            if self.destination is None:
                raise ConfigError(
                    f"the MLflow server hands artifacts on itself: say where it keeps them with "
                    f"{argument('artifacts')} (the server's --artifacts-destination)"
                )
            return f"{self.destination}/{urlsplit(uri).path.strip('/')}".removeprefix("file://")
        if uri.startswith("file:"):
            return unquote(urlsplit(uri).path)
        if uri.startswith("s3:") or "://" not in uri:
            return uri.rstrip("/")
        raise ConfigError(f"{uri}: artifacts of this kind cannot be reached from here")

    # What there is to do

    def look(self, plan: Plan) -> None:
        """Plan the removal. Where artifacts are out of reach, the rows stay: they say where those are."""
        alone: set[str] = set()
        run_of = {(n, v): run for n, v, run in self._select("model_versions", "name", "version", "run_id")}
        place_of = {run: (m, p) for m, run, p in
                    self._select("logged_models", "model_id", "source_run_id", "artifact_location")}  # fmt: skip
        for name, version, names in self._versions():
            left = [one for one in names if not plan.person.same(one)]
            where = f"registered model {name} version {version}"
            if len(left) == len(names):
                continue
            run = run_of[name, version]
            if not left:
                alone.add(run)
                plan.do(SHARED, "remove", where, "it is the person's alone", lambda n=name, v=version: self._drop(n, v))
            elif run in place_of:
                kept = f"rewritten without them; of others {counted(len(left), 'patient')}, and aliases stay"
                plan.population.append(TrainedOn(where, "a registered cohort that holds the person", kept))
                files = _Files(plan, self.located(place_of[run][1]))
                plan.inner |= files.paths()
                plan.do(SHARED, "rewrite", where, "its fitted patients, example and facts, without the person's",
                        lambda f=files, n=name, v=version: self._rewrite(f, n, v, plan.person))  # fmt: skip
        theirs = {run for run, key, value in self._select("tags", "run_uuid", "key", "value")
                  if key == "t1djax.patient" and plan.person.same(value)}  # fmt: skip
        runs = {run: uri for run, uri in self._select("runs", "run_uuid", "artifact_uri") if run in theirs | alone}
        models = {m: uri for run, (m, uri) in place_of.items() if run in runs}
        gone = {}
        for own, uri in [*runs.items(), *models.items()]:
            files = _Files(plan, self.located(uri))
            if own not in files.place.split("/") or not files.reachable:
                plan.unknown.append((files.place, _AWAY))
                continue
            gone[own] = None
            plan.goes |= files.paths()
            plan.artifacts.append(files.place)
            plan.do(SHARED, "remove", files.place, "artifacts of the person's run", files.remove)
        if gone:
            why = f"{counted(len(gone.keys() & runs), 'MLflow run')} of the person, with all that hangs on them"
            plan.do(SHARED, "remove", self.shown, why,
                    lambda: self._delete([r for r in runs if r in gone], [m for m in models if m in gone]))  # fmt: skip
        self._mentions(plan, set(runs))

    def _mentions(self, plan: Plan, theirs: set[str]) -> None:
        """The list of patients in the params of others' runs, and the tables of results in those of sweeps."""
        sa, t = self.sa, self.tables
        for run, key, value in self._select("params", "run_uuid", "key", "value"):
            new = plan.person.without({"patients": value})["patients"]
            if key.rpartition(".")[2] == "patients" and new != value:
                c = t["params"].c
                update = sa.update(t["params"]).where(c.run_uuid == run, c.key == key).values(value=new)
                plan.do(SHARED, "rewrite", f"{self.shown}: params", "a list of patients",
                        lambda u=update: self._execute([u]))  # fmt: skip
        keys = self._select("tags", "run_uuid", "key")
        ours = {run for run, key in keys if key == "t1djax.run"} - theirs
        of_one = {run for run, key in keys if key == "t1djax.patient"}
        for run, uri in self._select("runs", "run_uuid", "artifact_uri"):
            files = _Files(plan, self.located(uri))
            if run not in ours or (run in of_one and not files.remote):  # on a disk they are found as results
                continue
            for name in files.names():
                new = old = (
                    files.read(name)
                    if re.fullmatch(r"summary(/[^/]+)?\.csv|metadata\.json|config\.yaml", name)
                    else b""
                )
                if name.endswith(".csv"):
                    new = without_rows(old, "patient", plan.person)
                elif old and files.remote:
                    new = unlisted(old, plan.person, name)
                if new != old:
                    plan.do(SHARED, "rewrite", f"{files.place}/{name}", "others', without the person in it",
                            lambda f=files, n=name, d=new: f.write(n, d))  # fmt: skip

    def _execute(self, statements: Iterable[Any]) -> None:
        with self.engine.begin() as connection:
            self._overwrite(connection)
            for statement in statements:
                connection.execute(statement)

    def _delete(self, runs: Sequence[str], models: Sequence[str]) -> None:
        sa, t = self.sa, self.tables
        of = lambda table, column, values: sa.delete(t[table]).where(t[table].c[column].in_(values))
        inputs = t["inputs"]
        both = [*runs, *models]
        hang = sa.or_(inputs.c.destination_id.in_(both), inputs.c.source_id.in_(both))
        ids = sa.select(inputs.c.input_uuid).where(hang)
        statements = [of(name, "model_id", models) for name in (*_OF_MODELS, "logged_models")]
        statements[3:3] = [of("logged_model_metrics", "run_id", runs)]
        statements += [of("input_tags", "input_uuid", ids), sa.delete(inputs).where(hang)]
        statements += [of(name, "run_uuid", runs) for name in (*_OF_RUNS, "runs")]
        # Datasets that nothing refers to: their hash is one of the person's data.
        used = sa.select(inputs.c.source_id)
        self._execute([*statements, sa.delete(t["datasets"]).where(t["datasets"].c.dataset_uuid.not_in(used))])

    def _drop(self, name: str, version: int) -> None:
        """A version for good, and the registered model where it was the last."""
        sa, t = self.sa, self.tables
        of = lambda table, *and_: sa.delete(t[table]).where(t[table].c.name == name, *and_)
        self._execute(of(table, t[table].c.version == version)
                      for table in ("model_version_tags", "registered_model_aliases", "model_versions"))  # fmt: skip
        if not any(other == name for (other,) in self._select("model_versions", "name")):
            self._execute(map(of, ("registered_model_tags", "registered_model_aliases", "registered_models")))

    def _rewrite(self, files: "_Files", name: str, version: int, person: Person) -> None:
        """The files and tags of a version; the tag that names the patients comes last."""
        path = f"artifacts/{PATIENTS_FILE}"
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / PATIENTS_FILE
            file.write_bytes(files.read(path))
            models = {n: model for n, model in read_fitted_cohort(file).items() if not person.same(n)}
            write_fitted_cohort(models.values(), file)
            content = file.read_bytes()
        facts, each = cohort_facts(models, hashlib.sha256(content).hexdigest())
        files.write(path, content)
        told = {PREFIX + key: value for key, value in facts.items() if key != "t1djax"}
        described = yaml.safe_load(files.read("MLmodel"))
        metadata = dict(described.get("metadata") or {}) | told | {PREFIX + "rmse_forecast_mg_dL": each}
        described["metadata"] = metadata
        files.write("MLmodel", yaml.safe_dump(described, sort_keys=False, allow_unicode=True).encode())
        for example in (n for n in ("input_example.json", "serving_input_example.json") if n in files.names()):
            text = files.read(example).decode("utf-8")  # a request that somebody who is left would make
            files.write(example, _renamed(text, person, models).encode())
        t = self.tables["model_version_tags"]
        here = lambda key: self.sa.and_(t.c.name == name, t.c.version == version, t.c.key == key)
        self._execute(self.sa.update(t).where(here(key)).values(value=value)
                      for key, value in sorted(told.items(), key=lambda item: item[0] == f"{PREFIX}names"))  # fmt: skip

    def _overwrite(self, connection: "Connection") -> None:
        if self.file is not None:
            connection.exec_driver_sql("PRAGMA secure_delete = ON")

    def vacuum(self) -> None:
        """Give back what deleted rows took, so that none of their bytes stay in the files."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self.file is not None:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.exec_driver_sql("VACUUM")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            elif self.engine.dialect.name == "postgresql":
                connection.exec_driver_sql("VACUUM (FULL, ANALYZE)")
                with contextlib.suppress(self.sa.exc.DBAPIError):  # for superusers
                    connection.exec_driver_sql("CHECKPOINT")

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every text in the tables but the words of the format, and where it stands."""
        sa = self.sa
        for name, table in self.tables.items():
            for column in (c for c in table.c if isinstance(c.type, sa.String | sa.Text) and c.name != "key"):
                with self.engine.connect() as connection:
                    for (value,) in connection.execute(sa.select(column).distinct().where(column.is_not(None))):
                        yield f"{self.shown}: {name}.{column.name}", str(value)


def _renamed(text: str, person: Person, models: Mapping[str, FittedPatient]) -> str:
    """An example of a request, with another patient in the person's place."""
    other = json.dumps(next(iter(models)))
    return text.replace(json.dumps(person.name), other).replace(json.dumps(person.name, ensure_ascii=False), other)


class _Files:
    """Files below a folder inside of those named, or below a prefix in S3."""

    def __init__(self, plan: Plan, place: str) -> None:
        self.place, self._places, self._root = place, plan.places, Path(place)
        self._bucket: Any = None
        if place.startswith("s3:"):
            try:
                import boto3  # noqa: PLC0415 - heavy, and not everybody has it
            except ImportError as e:
                raise ConfigError(f"{place}: objects in S3 need boto3: pip install boto3") from e
            parts = urlsplit(place)
            s3: Any = boto3.resource("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"))
            self._bucket, self._prefix = s3.Bucket(parts.netloc), parts.path.strip("/") + "/"

    @property
    def remote(self) -> bool:
        return self._bucket is not None

    @property
    def reachable(self) -> bool:
        return self._bucket is not None or (self._places.hold(self._root) and self._root.parents[1].exists())

    def paths(self) -> set[Path]:
        return set() if self._bucket is not None else {path for path in self._root.rglob("*") if path.is_file()}

    def names(self) -> list[str]:
        if self._bucket is None:
            return [path.relative_to(self._root).as_posix() for path in self.paths()]
        return [one.key.removeprefix(self._prefix) for one in self._bucket.objects.filter(Prefix=self._prefix)]

    def read(self, name: str) -> bytes:
        if self._bucket is None:
            return (self._root / name).read_bytes()
        return self._bucket.Object(self._prefix + name).get()["Body"].read()

    def write(self, name: str, data: bytes) -> None:
        """New content; of an object in S3 the old versions go."""
        if self._bucket is None:
            self._places.replace(self._root / name, data)
            return
        new = self._bucket.put_object(Key=self._prefix + name, Body=data)
        versions = self._bucket.object_versions.filter(Prefix=self._prefix + name)
        for old in (v for v in versions if v.object_key == self._prefix + name and v.id != new.version_id):
            old.delete()

    def remove(self) -> None:
        """All of it; of objects in S3 every version."""
        if self._bucket is not None:
            self._bucket.object_versions.filter(Prefix=self._prefix).delete()
            return
        for path in sorted(self.paths(), reverse=True):
            self._places.remove(path)
        for folder in sorted((p for p in self._root.rglob("*") if p.is_dir()), reverse=True):
            folder.rmdir()
        with contextlib.suppress(OSError):
            self._root.rmdir()
            self._root.parent.rmdir()
