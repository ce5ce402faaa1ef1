"""MLflow's database and artifacts: the person's runs, datasets and registered versions, by their tags."""

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .._arguments import argument
from .._words import counted
from ..config import ConfigError, MissingPathError
from ..registry import PREFIX, VERSION_FILES, without_patient
from ..tracking import LEARNT_FROM
from ._places import Places
from ._plan import SHARED, Plan, Trace
from ._written import rows_without, unlisted

if TYPE_CHECKING:
    from sqlalchemy import Table

_DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")
_OF_RUNS = ("run_uuid", "run_id", "model_id", "destination_id", "source_id")
"""Columns that say to which run or logged model a row belongs."""
_NAMING = re.compile(r"summary(/[^/]+)?\.csv|metadata\.json|config\.yaml")
"""Artifacts of others' runs that may name the person."""
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
        self.tables: dict[str, Table] = {table.name: table for table in reversed(metadata.sorted_tables)}
        """Those that refer to others first."""

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def files(self) -> set[Path]:
        """The files of a database of SQLite."""
        ends = ("", "-wal", "-shm", "-journal")
        return set() if self.file is None else {self.file.with_name(self.file.name + end) for end in ends}

    def _select(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        if table not in self.tables:
            return []
        t = self.tables[table]
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(self.sa.select(*(t.c[c] for c in columns)))]

    def _located(self, uri: str) -> str:
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

    def look(self, plan: Plan) -> None:
        """Plan the removal. Where artifacts are out of reach, the rows stay: they say where those are."""
        same, open_ = plan.person.same, lambda uri: _Files(plan.places, self._located(uri))
        tags = self._select("tags", "run_uuid", "key", "value")
        people = [(run, v) for run, key, v in tags if key == "t1djax.patient" or key.startswith(LEARNT_FROM)]
        theirs = {run for run, name in people if same(name)}
        plan.names |= {name for _, name in people}
        models = self._select("logged_models", "model_id", "source_run_id", "artifact_location")
        place_of = {run: place for _, run, place in models}
        run_of = {(n, v): run for n, v, run in self._select("model_versions", "name", "version", "run_id")}
        alone: dict[str, Callable[[], None]] = {}
        for name, version, key, value in self._select("model_version_tags", "name", "version", "key", "value"):
            names = [one.strip() for one in (value or "").split(",")] if key == f"{PREFIX}names" else []
            plan.names |= set(names)
            where, run = f"registered model {name} version {version}", run_of.get((name, version))
            gone = [*filter(same, names)]
            if gone and len(gone) == len(names):
                theirs |= {run}
                alone[where] = lambda n=name, v=version: self._drop(n, v)
            elif gone and run in place_of:
                files = open_(place_of[run])
                why = "its fitted patients, example and facts, without the person's; number and aliases stay"
                how = lambda f=files, n=name, v=version, gone=gone: self._rewrite(f, n, v, gone)
                plan.do(SHARED, "rewrite", where, why, how, files.paths())
        runs = self._select("runs", "run_uuid", "artifact_uri")
        mine = [*((run, uri) for run, uri in runs if run in theirs), *((m, uri) for m, r, uri in models if r in theirs)]
        reached: list[str] = []
        for own, uri in mine:
            files = open_(uri)
            if own not in files.place.split("/") or not files.reachable:
                plan.unknown.append(Trace(files.place, _AWAY))
                continue
            reached.append(own)
            plan.tasks = {w: t for w, t in plan.tasks.items() if not Path(w).is_relative_to(files.place)}
            plan.do(SHARED, "remove", files.place, "artifacts of the person's run", files.remove, files.paths())
        # What a run leads to goes before it, and a version, which leads to its run, after it: a kill loses neither.
        self._numbers_of_all(
            plan, {v for run, key, v in tags if key == "mlflow.parentRunId" and run in theirs} - theirs
        )
        if reached:
            why = f"{counted(len(reached), 'run or model')} of the person in MLflow, with all that hangs on them"
            plan.do(SHARED, "remove", self.shown, why, lambda: self._delete(reached))
        for where, how in alone.items():
            plan.do(SHARED, "remove", where, "it is the person's alone", how)
        ours = {run for run, key, _ in tags if key == "t1djax.run"} - theirs
        self._mentions(plan, [open_(uri) for run, uri in runs if run in ours])

    def _numbers_of_all(self, plan: Plan, parents: Collection[str]) -> None:
        """Median and worst of a cohort, on the parent of its runs: they were made of the person's numbers too."""
        there = [self.tables[name] for name in ("metrics", "latest_metrics") if name in self.tables]
        has = {run for (run,) in self._select("metrics", "run_uuid")} & set(parents)
        if has:
            gone = [self.sa.delete(t).where(t.c.run_uuid.in_(has)) for t in there]
            where, why = f"{self.shown}: metrics of {counted(len(has), 'parent run')}", "median and worst of the cohort"
            plan.do(SHARED, "rewrite", where, why, lambda: self._execute(gone), ())

    def _mentions(self, plan: Plan, others: Sequence["_Files"]) -> None:
        """The list of patients in the params of others' runs, and in copies of their results and summaries."""
        t = self.tables["params"]
        for run, key, value in self._select("params", "run_uuid", "key", "value"):
            new = plan.person.without({"patients": value})["patients"]
            if key.rpartition(".")[2] == "patients" and new != value:
                update = self.sa.update(t).where(t.c.run_uuid == run, t.c.key == key).values(value=new)
                plan.do(SHARED, "rewrite", f"{self.shown}: {key} of run {run}", "a list of patients",
                        lambda u=update: self._execute([u]), ())  # fmt: skip
        for files in others:
            for name in filter(_NAMING.fullmatch, files.names()):
                if not files.remote and not name.endswith(".csv"):
                    continue  # on a disk they are found as results
                old, person = files.read(name), plan.person
                new = rows_without(old, person)[1] if name.endswith(".csv") else unlisted(old, person, name)
                if new != old:
                    plan.do(SHARED, "rewrite", f"{files.place}/{name}", "others', without the person in it",
                            lambda f=files, n=name, d=new: f.write(n, d))  # fmt: skip

    def _execute(self, statements: Iterable[Any]) -> None:
        with self.engine.begin() as connection:
            if self.file is not None:
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
            for statement in statements:
                connection.execute(statement)

    def _delete(self, ids: Sequence[str]) -> None:
        """Runs and logged models with every row that hangs on them, and datasets that nothing refers to any more."""
        sa, t = self.sa, self.tables
        inputs, tags, data = t["inputs"].c, t["input_tags"], t["datasets"]
        theirs = sa.select(inputs.input_uuid).where(sa.or_(inputs.destination_id.in_(ids), inputs.source_id.in_(ids)))
        hang = [sa.delete(table).where(table.c[column].in_(ids))
                for table in t.values() for column in _OF_RUNS if column in table.c]  # fmt: skip
        unused = data.c.dataset_uuid.not_in(sa.select(inputs.source_id))  # their hash is one of the person's data
        self._execute([sa.delete(tags).where(tags.c.input_uuid.in_(theirs)), *hang, sa.delete(data).where(unused)])

    def _drop(self, name: str, version: int) -> None:
        """A version for good, and the registered model where it was the last."""
        sa = self.sa
        of = lambda *columns: [table for table in self.tables.values() if {*columns} <= {*table.c.keys()}]
        both = [sa.delete(x).where(x.c.name == name, x.c.version == version) for x in of("name", "version")]
        self._execute(both)
        if not any(other == name for (other,) in self._select("model_versions", "name")):
            rest = [x for x in of("name") if x.name.startswith("registered_model")]
            self._execute(sa.delete(x).where(x.c.name == name) for x in rest)

    def _rewrite(self, files: "_Files", name: str, version: int, gone: Sequence[str]) -> None:
        """The files and tags of a version; the tag that names the patients comes last."""
        t = self.tables["model_version_tags"]
        for patient in gone:
            there = files.names()
            new, tags = without_patient({path: files.read(path) for path in VERSION_FILES if path in there}, patient)
            for path, data in new.items():
                files.write(path, data)
            update = self.sa.update(t).where(t.c.name == name, t.c.version == version)
            last = sorted(tags.items(), key=lambda tag: tag[0] == f"{PREFIX}names")
            self._execute(update.where(t.c.key == key).values(value=value) for key, value in last)

    def vacuum(self) -> None:
        """Give back what deleted rows took, so that none of their bytes stay in the files."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self.file is not None:
                for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                    connection.exec_driver_sql(statement)
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


class _Files:
    """Files below a folder inside of those named, or below a prefix in S3."""

    def __init__(self, places: Places, place: str) -> None:
        self.place, self._places, self._root = place, places, Path(place)
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
        return set() if self.remote else {path for path in self._root.rglob("*") if path.is_file()}

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
        self._places.remove(self._root)
