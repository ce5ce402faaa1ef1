"""Removing a person from MLflow on PostgreSQL and a versioned S3 bucket, killed on the way."""

import json
import random
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

from .persons import ALIKE, GONE, NAMES, import_mlflow, needles, snapshot, sweep, traces, write_people
from .services import S3, MLflowServer, Postgres, wait_for
from .test_cli import done

pytestmark = [
    pytest.mark.services,
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy", "ignore::DeprecationWarning", "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]  # fmt: skip
BUCKET = "versioned"
LEFT = tuple(name for name in NAMES if name != GONE)


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
    return {
        path: data for path, data in snapshot(Path(folder) / "base" / str(number)).items() if "pg_internal" not in path
    }


def test_nothing_is_left_on_postgres_and_s3(
    postgres: Postgres, bucket: Any, mlflow_server: Callable[..., MLflowServer], moto_s3: S3, tmp_path: Path
) -> None:
    import_mlflow()
    database = postgres.database()
    destination = f"s3://{BUCKET}/artifacts"
    server = mlflow_server(postgres.uri(database), destination, moto_s3.env)
    cohort = write_people(tmp_path / "data")
    wanted = needles(GONE, cohort[GONE].glucose_mg_dL)
    results = sweep(tmp_path, "--tracking-uri", server.uri)
    assert done("track", "sync", results, "--tracking-uri", server.uri, "--json").json["complete"]
    done("registry", "register", results, "--name", "cohort", "--tracking-uri", server.uri)
    for step in range(2):  # a store of versions, by hash, with old versions under the same key
        for file in sorted((tmp_path / "data").glob("*.csv")):
            key = f"dvc/files/md5/{NAMES.index(file.stem) if file.stem in NAMES else 9:032x}"
            bucket.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes() + b"\n" * step)
    folders = [tmp_path / "data", results]
    before = versions(bucket)
    assert len({path for path, _ in traces(before, wanted)}) > 10
    places: dict[str, Any] = {"data": folders[0], "results": results, "versions": [f"s3://{BUCKET}/dvc"]}
    store: dict[str, Any] = {"tracking_uri": postgres.uri(database), "artifacts": destination}

    with pytest.raises(ConfigError, match="tracking_uri"):
        t1djax.forget(GONE, **places, tracking_uri=server.uri)
    with pytest.raises(ConfigError, match="artifacts"):
        t1djax.forget(GONE, **places, tracking_uri=postgres.uri(database))
    dry = t1djax.forget(GONE, **places, **store, dry_run=True)
    assert len(dry.steps) > 20
    assert versions(bucket) == before

    # Killed three times on the way, each time a little later; the last one comes to its end.
    command = [sys.executable, "-m", "t1djax.cli", "forget", GONE, "--data", str(folders[0]), "--results", str(results)]
    command += ["--versions", places["versions"][0], "--tracking-uri", store["tracking_uri"]]
    command += ["--artifacts", destination, "--yes"]
    log, random_ = results / "forgotten.jsonl", random.Random(3)
    for attempt in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        began = lambda n=attempt: log.exists() and log.read_text().count("began") > n
        wait_for(began, "the removal")
        time.sleep(random_.uniform(0.05, 0.6) * (attempt + 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if GONE not in "".join(p.stem.replace(ALIKE, "") for p in folders[0].iterdir()):
            break  # it was quicker
    last = t1djax.forget(GONE, **places, **store)
    assert last.complete, last.remains
    assert last.searched.objects > 20
    assert last.searched.cells > 100

    after = versions(bucket)
    assert traces(after, wanted) == []
    assert traces(snapshot(*folders), wanted) == []
    assert traces(pages(postgres, database), wanted) == []
    tables = postgres.ask(database)("select table_name from information_schema.tables where table_schema = 'public'")
    for (table,) in tables:
        for (row,) in postgres.ask(database)(f"select t::text from {table} t"):
            assert GONE not in row.replace(ALIKE, ""), table

    # The others: every object that did not name the person is there, unchanged; the registry and the UI's API answer.
    keys = {path.rpartition("@")[0]: data for path, data in after.items()}
    named = {path for path, _ in traces(before, [GONE.encode()])}
    of_others = {run for (run,) in postgres.ask(database)("select run_uuid from runs")}
    for path, data in before.items():
        if path not in named and any(run in path for run in of_others):
            assert keys[path.rpartition("@")[0]] == data, path
    assert set(registry.load("cohort", "challenger", tracking_uri=server.uri)) == set(LEFT)
    runs = postgres.ask(database)("select distinct value from tags where key = 't1djax.patient'")
    assert {name for (name,) in runs} == set(LEFT)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[-1]["event"] == "nothing is left"
    assert len({line["person"] for line in lines}) == 1
    assert not list(results.glob(".forg*"))
