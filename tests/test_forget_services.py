"""Removing a person from MLflow on PostgreSQL and a versioned S3 bucket; killed at random moments and taken up."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import t1djax
from t1djax import registry
from t1djax.config import ConfigError

from .command import done
from .persons import ALIKE, GONE, NAMES, import_mlflow, rows, snapshot, sweep, write_people
from .services import S3, MLflowServer, Postgres, wait_for

pytestmark = [
    pytest.mark.services,
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy", "ignore::DeprecationWarning", "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]  # fmt: skip
BUCKET = "versioned"
LEFT = tuple(name for name in NAMES if name != GONE)


def holds(files: dict[str, bytes]) -> list[str]:
    """Files that bear the name, in their names or as they are."""
    return [
        path for path, data in files.items() if GONE.encode() in (path.encode() + data).replace(ALIKE.encode(), b"")
    ]


@pytest.fixture
def bucket(moto_s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket that keeps every version."""
    for name, value in moto_s3.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = moto_s3.client()
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    yield client
    for page in client.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
        for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            client.delete_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])
    client.delete_bucket(Bucket=BUCKET)


def versions(client: Any) -> dict[str, bytes]:
    """Every version of every object."""
    found = {}
    for page in client.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
        for one in page.get("Versions", ()):
            key, number = one["Key"], one["VersionId"]
            found[f"{key}@{number}"] = client.get_object(Bucket=BUCKET, Key=key, VersionId=number)["Body"].read()
    return found


def pages(postgres: Postgres, database: str) -> dict[str, bytes]:
    """The files of a database, as they lie on the disk: dead rows are in them until it is vacuumed."""
    ask = postgres.ask(database)
    ((folder,),) = ask("show data_directory")
    ((number,),) = ask(f"select oid from pg_database where datname = '{database}'")
    files = snapshot(Path(folder) / "base" / str(number))
    return {path: data for path, data in files.items() if "pg_internal" not in path}


def test_nothing_is_left_on_postgres_and_s3(
    postgres: Postgres, bucket: Any, mlflow_server: Callable[..., MLflowServer], moto_s3: S3, tmp_path: Path
) -> None:
    import_mlflow()
    database, destination = postgres.database(), f"s3://{BUCKET}/artifacts"
    server = mlflow_server(postgres.uri(database), destination, moto_s3.env)
    write_people(tmp_path / "data")
    results = sweep(tmp_path, "--tracking-uri", server.uri, "--no-figures")
    done("registry", "register", results, "--name", "cohort", "--tracking-uri", server.uri)
    before = versions(bucket)
    assert len(holds(before)) > 4
    places: dict[str, Any] = {"data": tmp_path / "data", "results": results}
    store: dict[str, Any] = {"tracking_uri": postgres.uri(database), "artifacts": destination}
    with pytest.raises(ConfigError, match="tracking_uri"):
        t1djax.forget(GONE, **places, tracking_uri=server.uri)
    with pytest.raises(ConfigError, match="artifacts"):
        t1djax.forget(GONE, **places, tracking_uri=postgres.uri(database))
    assert len(t1djax.forget(GONE, **places, **store, dry_run=True).steps) > 8
    assert versions(bucket) == before
    last = t1djax.forget(GONE, **places, **store)
    assert last.complete, last.remains
    assert last.searched.values > 100
    assert holds(versions(bucket)) == []
    assert holds(pages(postgres, database)) == []
    # The others: every object that did not name the person is there, unchanged; the registry and the API answer.
    after = {path.rpartition("@")[0]: data for path, data in versions(bucket).items()}
    of_others = {run for (run,) in postgres.ask(database)("select run_uuid from runs")}
    named = holds(before)
    for path, data in before.items():
        if path not in named and any(run in path for run in of_others):
            assert after[path.rpartition("@")[0]] == data, path
    assert set(registry.load("cohort", "challenger", tracking_uri=server.uri)) == set(LEFT)
    runs = postgres.ask(database)("select distinct value from tags where key = 't1djax.patient'")
    assert {name for (name,) in runs} == set(LEFT)


def test_killed_ten_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At random moments; the others' files and runs are those of a removal that nothing disturbed."""
    import_mlflow()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "work"
    write_people(root / "data")
    sweep(root, "--tracking", "--no-figures")
    shutil.copytree(root, tmp_path / "template")
    command = [sys.executable, "-m", "t1djax.cli", "forget", GONE, "--data", str(root / "data"), "--results",
               str(root / "results"), "--yes"]  # fmt: skip
    query = "select key, value from metrics order by run_uuid, key, step"
    outcomes, random_ = [], random.Random(3)
    for attempt in range(11):
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "template", root)
        log = root / "results" / "forgotten.jsonl"
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if attempt:
            wait_for(lambda log=log: log.exists(), "the removal")
            time.sleep(random_.uniform(0.0, 0.3))
            process.send_signal(signal.SIGKILL)
        if process.wait() != 0 and [*root.rglob(".forgotten*key")]:  # it was not over yet
            assert t1djax.forget(GONE, data=root / "data", results=root / "results").complete
        assert not list(root.rglob(".forg*"))
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert len({line["person"] for line in lines}) == 1
        files = {p: d for p, d in snapshot(root).items() if not p.endswith(("mlflow.db", "forgotten.jsonl"))}
        assert holds(snapshot(root / "data", root / "results")) == []
        outcomes.append((files, rows(root / "results" / "mlflow.db", query)))
    assert all(outcome == outcomes[0] for outcome in outcomes)
