"""MLflow's database and artifacts: runs, models and versions of a person removed for good, others' rewritten."""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .._words import counted
from ..config import ConfigError, MissingPathError
from ._folders import clean_folder
from ._objects import Objects
from ._registered import without
from ._scrub import scrub_text
from ._search import Search, Trace
from ._work import Work

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

_DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")
_OF_RUNS = ("metrics", "latest_metrics", "params", "tags")
_OF_MODELS = ("logged_model_metrics", "logged_model_params", "logged_model_tags")
_MISSING = "artifacts of MLflow that are not there: mount them here, or make the folder if there never were any"
_ROWS = ("params", "tags", "metrics", "latest_metrics", "logged_model_params", "logged_model_tags", "input_tags",
         "model_version_tags", "registered_model_tags", "experiment_tags", "datasets")  # fmt: skip


def is_database(uri: str) -> bool:
    """Whether this is a database, which can be cleaned, rather than a server before one."""
    return uri.startswith(_DATABASES)


class Store:
    """One MLflow, by its database.

    MLflow's own `gc` deletes runs that were deleted before, but neither what their inputs say nor the datasets; a
    server deletes nothing for good. So this works on the tables themselves.

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
        self.tables: dict[str, Table] = {}
        metadata = sa.MetaData()
        metadata.reflect(self.engine)
        self.tables = dict(metadata.tables)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def _select(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        if table not in self.tables:
            return []
        t = self.tables[table]
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(self.sa.select(*(t.c[c] for c in columns)))]

    def names(self) -> set[str]:
        """The people that runs and versions name."""
        found = {value for key, value in self._select("tags", "key", "value") if key == "t1djax.patient"}
        told = [value for key, value in self._select("model_version_tags", "key", "value") if key == "t1djax.names"]
        return found | {name.strip() for value in told for name in value.split(",") if name.strip()}

    def places(self) -> list[str]:
        """Where artifacts lie: the outermost folders and prefixes."""
        found = {uri for (uri,) in self._select("experiments", "artifact_location")}
        found |= {uri for (uri,) in self._select("runs", "artifact_uri")}
        found |= {uri for (uri,) in self._select("logged_models", "artifact_location")}
        found |= {uri for (uri,) in self._select("model_versions", "storage_location")}
        known = sorted({self.located(uri) for uri in found if uri and not uri.startswith(("models:", "runs:"))})
        outer: list[str] = []
        for uri in known:
            if not any(uri == one or uri.startswith(f"{one}/") for one in outer):
                outer.append(uri)
        return outer

    def located(self, uri: str) -> str:
        """A path or an S3 URI for what the database calls an artifact's place.

        Raises:
            ConfigError: where it cannot be known or reached.
        """
        if uri.startswith("mlflow-artifacts:"):
            if self.destination is None:
                raise ConfigError(
                    'the MLflow server hands artifacts on itself: say where it keeps them with artifacts="PLACE" '
                    "(the server's --artifacts-destination)"
                )
            return f"{self.destination}/{urlsplit(uri).path.strip('/')}".removeprefix("file://")
        if uri.startswith("file:"):
            return unquote(urlsplit(uri).path)
        if uri.startswith("s3:") or "://" not in uri:
            return uri.rstrip("/")
        raise ConfigError(f"{uri}: artifacts of this kind cannot be reached from here")

    def unreachable(self) -> list[str]:
        """Folders of artifacts that the database knows of and that are not there."""
        return [place for place in self._used() if not place.startswith("s3:") and not Path(place).exists()]

    def _used(self) -> list[str]:
        """The places in which a run, a model or a version is said to have something."""
        said = [*self._select("runs", "artifact_uri"), *self._select("logged_models", "artifact_location")]
        said += self._select("model_versions", "storage_location")
        inner = [self.located(uri) for (uri,) in said if uri and not uri.startswith(("models:", "runs:"))]
        return [place for place in self.places() if any(f"{one}/".startswith(f"{place}/") for one in inner)]

    # Removal

    def clean(self, work: Work) -> None:
        """Take the person out of runs, models, versions, datasets and all of their files.

        Where artifacts are out of reach, nothing is touched: the rows say where they are.
        """
        if missing := self.unreachable():
            for place in missing:
                work.do("leave", place, f"{_MISSING}; the database stays as it is meanwhile")
            return
        alone: set[str] = set()
        for name, version, run, left in self._versions(work):
            where = f"registered model {name} version {version}"
            if left:
                kept = f"rewritten without them; of others {counted(left, 'patient')}, and aliases stay"
                work.trained(where, "a registered cohort that holds the person", kept)
                without(self, work, name, version)
            else:
                alone.add(run)
                work.do("remove", where, "it is the person's alone", lambda n=name, v=version: self._drop(n, v))
        runs = self._runs(work, alone)
        models = {m: place for m, run, place in self._select("logged_models", "model_id", "source_run_id",
                  "artifact_location") if run in runs}  # fmt: skip
        for place in [*runs.values(), *models.values()]:
            self._remove(work, place)
        if runs:
            why = f"{len(runs)} MLflow runs and {len(models)} models of the person, with all that hangs on them"
            work.do("remove", self.shown, why, lambda: self._delete(list(runs), list(models)))
        for place in self.places():
            if place.startswith("s3:"):
                Objects(place).clean(work)
            elif Path(place).exists():
                clean_folder(work, Path(place))
        self._cells(work)
        if not work.dry:
            self.vacuum()
        work.do("vacuum", self.shown, "what was deleted is overwritten or given back")

    def _versions(self, work: Work) -> Iterator[tuple[str, int, str, int]]:
        """Versions that name the person, with the run of each and how many others it has."""
        run_of = {(n, v): run for n, v, run in self._select("model_versions", "name", "version", "run_id")}
        for name, version, key, value in self._select("model_version_tags", "name", "version", "key", "value"):
            names = [one.strip() for one in (value or "").split(",")]
            left = [one for one in names if not work.person.same(one)]
            if key == "t1djax.names" and len(left) < len(names):
                yield name, version, run_of[name, version], len(left)

    def _runs(self, work: Work, alone: set[str]) -> dict[str, str]:
        """The person's runs, deleted ones too, and where their artifacts lie."""
        theirs = {run for run, key, value in self._select("tags", "run_uuid", "key", "value")
                  if key == "t1djax.patient" and work.person.same(value)}  # fmt: skip
        rows = self._select("runs", "run_uuid", "name", "artifact_uri")
        return {run: uri for run, name, uri in rows if run in theirs | alone or work.person.alone_in(name or "")}

    def _remove(self, work: Work, uri: str) -> None:
        place = self.located(uri)
        if place.startswith("s3:"):
            root, below = re.match(r"(s3://[^/]+)/?(.*)", place).groups()  # pyright: ignore[reportOptionalMemberAccess]
            Objects(root).remove(work, below, "artifacts of the person's run")
        elif Path(place).exists():
            work.remove(Path(place), "artifacts of the person's run")

    def _delete(self, runs: list[str], models: list[str]) -> None:
        sa, t = self.sa, self.tables
        with self.engine.begin() as connection:
            self._overwrite(connection)
            for name in _OF_MODELS:
                connection.execute(sa.delete(t[name]).where(t[name].c.model_id.in_(models)))
            if "run_id" in t["logged_model_metrics"].c:
                connection.execute(
                    sa.delete(t["logged_model_metrics"]).where(t["logged_model_metrics"].c.run_id.in_(runs))
                )
            connection.execute(sa.delete(t["logged_models"]).where(t["logged_models"].c.model_id.in_(models)))
            inputs = t["inputs"]
            hang = sa.or_(inputs.c.destination_id.in_([*runs, *models]), inputs.c.source_id.in_([*runs, *models]))
            ids = sa.select(inputs.c.input_uuid).where(hang)
            connection.execute(sa.delete(t["input_tags"]).where(t["input_tags"].c.input_uuid.in_(ids)))
            connection.execute(sa.delete(inputs).where(hang))
            for name in _OF_RUNS:
                connection.execute(sa.delete(t[name]).where(t[name].c.run_uuid.in_(runs)))
            connection.execute(sa.delete(t["runs"]).where(t["runs"].c.run_uuid.in_(runs)))
            # Datasets that nothing refers to: their hash is one of the person's data.
            used = sa.select(inputs.c.source_id)
            connection.execute(sa.delete(t["datasets"]).where(t["datasets"].c.dataset_uuid.not_in(used)))

    def _drop(self, name: str, version: int) -> None:
        """A version for good, and the registered model where it was the last."""
        sa, t = self.sa, self.tables
        with self.engine.begin() as connection:
            self._overwrite(connection)
            for table in ("model_version_tags", "registered_model_aliases", "model_versions"):
                c = t[table].c
                connection.execute(sa.delete(t[table]).where(c.name == name, c.version == version))
            if not connection.execute(
                sa.select(t["model_versions"].c.version).where(t["model_versions"].c.name == name)
            ).all():
                for table in ("registered_model_tags", "registered_models"):
                    connection.execute(sa.delete(t[table]).where(t[table].c.name == name))

    def _texts(self, table: "Table") -> list[Any]:
        sa = self.sa
        kinds = (sa.String, sa.Text, sa.JSON, sa.LargeBinary)
        return [column for column in table.columns if isinstance(column.type, kinds)]

    def _cells(self, work: Work) -> None:
        """Every text in every table that mentions the person still."""
        sa = self.sa
        forms = {form for one in work.person.spellings for form in (one, json.dumps(one)[1:-1])}
        likes = ["%" + re.sub(r"([%_\\])", r"\\\1", form) + "%" for form in sorted(forms)]
        with self.engine.connect() as connection, connection.begin():
            if not work.dry:
                self._overwrite(connection)
            for name, table in self.tables.items():
                texts = {
                    c.name: sa.cast(c, sa.Text) for c in self._texts(table) if not isinstance(c.type, sa.LargeBinary)
                }
                keys = list(table.primary_key.columns)
                if not texts or not keys:
                    continue
                asked = sa.or_(*(c.like(p, escape="\\") for c in texts.values() for p in likes))
                columns = [*(c.label(f"key_{c.name}") for c in keys), *(x.label(n) for n, x in texts.items())]
                for row in connection.execute(sa.select(*columns).where(asked)).mappings().all():
                    here = sa.and_(*(c == row[f"key_{c.name}"] for c in keys))
                    said = {n: row[n] for n in texts if row[n] and work.person.in_text(row[n])}
                    self._cell(work, connection, name, table, here, said)

    def _cell(
        self, work: Work, connection: "Connection", name: str, table: "Table", here: Any, said: dict[str, str]
    ) -> None:
        if not said:
            return
        where = f"{self.shown}: {name}"
        in_key = any(column in table.primary_key.columns for column in said)
        if in_key and name in _ROWS:
            run = lambda: connection.execute(self.sa.delete(table).where(here))
            work.do("remove", where, f"a row named after the person ({', '.join(said)})", run)
        elif in_key:
            work.do("leave", where, f"{', '.join(said)}: what bears the person's name cannot be renamed; delete it")
        else:
            new = {column: scrub_text(work.person, text) for column, text in said.items()}
            run = lambda: connection.execute(self.sa.update(table).where(here).values(new))
            work.do("rewrite", where, f"a mention of the person in {', '.join(said)}", run)

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
            elif self.engine.dialect.name == "mysql":
                for name in self.tables:
                    connection.exec_driver_sql(f"OPTIMIZE TABLE `{name}`")

    # Proof

    def search(self, search: Search) -> None:
        """Look at every value in every table, at the file, and at every artifact."""
        for name, table in self.tables.items():
            for column in self._texts(table):
                where = f"{self.shown}: {name}.{column.name}"
                for value in self._distinct(column):
                    search.cell(where, value)
        if self.file is not None:
            beside = [self.file.with_name(self.file.name + end) for end in ("-wal", "-shm", "-journal")]
            search.folders([path for path in (self.file, *beside) if path.exists()])
        search.found += [Trace(place, _MISSING) for place in self.unreachable()]
        for place in self.places():
            if place.startswith("s3:"):
                search.objects(Objects(place))
            elif Path(place).exists():
                search.folders([Path(place)])

    def _distinct(self, column: Any) -> Iterable[Any]:
        sa = self.sa
        read = column if isinstance(column.type, sa.LargeBinary) else sa.cast(column, sa.Text)
        with self.engine.connect() as connection:
            for (value,) in connection.execute(sa.select(read).distinct().where(column.is_not(None))):
                yield value
