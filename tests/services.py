"""Servers for tests marked `services`: real ones, on free ports of the loopback, ended with the test.

`postgres` (a cluster of its own), `moto_s3` (the S3 API), `mlflow_server` (starts, kills and restarts MLflow on both).
"""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def wait_for(ready: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    """The first truthy answer of `ready`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := ready():
            return answer
        time.sleep(0.1)
    raise TimeoutError(f"{what}: not within {seconds:.0f} s")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


class Server:
    """A program in a process group of its own, with its output in a file."""

    def __init__(self, command: list[str], log: Path, *, env: dict[str, str] | None = None, **how: Any) -> None:
        self.command, self.log, self._env, self._how = command, log, env, how
        self._process: subprocess.Popen[Any] | None = None
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env=os.environ | (self._env or {}),
                start_new_session=True,
                **self._how,
            )

    def send(self, number: int) -> None:
        """To the whole group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def end(self, number: int = signal.SIGTERM, seconds: float = 10.0) -> None:
        if self._process is None:
            return
        self.send(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.send(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def check(self) -> None:
        """Fail early where it died at the start."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.command[0]} ended:\n{self.log.read_text(errors='replace')[-3000:]}")


class Postgres:
    """A cluster; every `database()` is a new one."""

    def __init__(self, port: int) -> None:
        self.port, self._count = port, 0

    def connect(self, database: str = "postgres") -> Any:
        import psycopg2  # noqa: PLC0415 - only where there is a server

        return psycopg2.connect(host="127.0.0.1", port=self.port, user="t1djax", dbname=database, connect_timeout=3)

    def database(self) -> str:
        self._count += 1
        connection = self.connect()
        connection.autocommit = True
        connection.cursor().execute(f"create database d{self._count}")
        connection.close()
        return f"d{self._count}"

    def uri(self, database: str) -> str:
        return f"postgresql+psycopg2://t1djax@127.0.0.1:{self.port}/{database}"

    def ask(self, database: str) -> Callable[[str], list[tuple[Any, ...]]]:
        """Runs a query."""

        def ask(query: str) -> list[tuple[Any, ...]]:
            with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall()

        return ask


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL from the system's package; it refuses to run as root, so root runs it as another user."""
    pytest.importorskip("psycopg2")
    found = shutil.which("initdb") or next(
        iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True)), None
    )
    if found is None:
        pytest.skip("no PostgreSQL on this machine (initdb)")
    how: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="t1djax-pg-"))
    if os.geteuid() == 0:
        names = {user.pw_name for user in pwd.getpwall()}
        user = "postgres" if "postgres" in names else "nobody"
        shutil.chown(folder, user)
        how = {"user": user, "extra_groups": []}
    data, binaries = folder / "data", Path(found).parent
    try:
        subprocess.run(
            [found, "-D", data, "-U", "t1djax", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, capture_output=True, cwd=folder, **how,
        )  # fmt: skip
        cluster = Postgres(free_port())
        server = Server(
            [str(binaries / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(cluster.port), "-k", str(folder),
             "-c", "fsync=off"],
            folder.with_suffix(".log"), cwd=folder, **how,
        )  # fmt: skip

        def ready() -> bool:
            import psycopg2  # noqa: PLC0415 - as above

            server.check()
            try:
                cluster.connect().close()
            except psycopg2.OperationalError:
                return False
            return True

        try:
            wait_for(ready, "PostgreSQL")
            yield cluster
        finally:
            server.end(signal.SIGINT)  # a fast shutdown
            server.log.unlink(missing_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class S3:
    """An S3 endpoint with one bucket."""

    bucket = "t1djax"

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.env = {
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",  # pragma: allowlist secret
            "AWS_DEFAULT_REGION": "eu-central-1",
        }

    def client(self, service: str = "s3", region: str = "us-east-1") -> Any:
        boto3 = pytest.importorskip("boto3")

        return boto3.client(
            service, endpoint_url=self.endpoint, aws_access_key_id="test", aws_secret_access_key="test",
            region_name=region,
        )  # fmt: skip

    def files(self, prefix: str = "") -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]


@pytest.fixture(scope="session")
def moto_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """The S3 API by moto's server."""
    pytest.importorskip("boto3")
    pytest.importorskip("moto.server")
    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    server = Server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], log)
    s3 = S3(port)
    try:
        wait_for(lambda: server.check() is None and answers(s3.endpoint), "moto")
        s3.client().create_bucket(Bucket=S3.bucket)
        yield s3
    finally:
        server.end()


class MLflowServer(Server):
    """A tracking server."""

    def __init__(self, backend: str, artifacts: str, folder: Path, env: dict[str, str] | None = None) -> None:
        port = free_port()
        self.uri = f"http://127.0.0.1:{port}"
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ]
        command += ["--backend-store-uri", backend, "--artifacts-destination", artifacts]
        quiet = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PYTHONWARNINGS": "",
        }
        super().__init__(command, folder / "mlflow.log", env=quiet | (env or {}), cwd=folder)
        self.ready()

    def ready(self) -> None:
        wait_for(lambda: self.check() is None and answers(f"{self.uri}/health"), "mlflow server")

    def restart(self) -> None:
        """On the same port."""
        self.start()
        self.ready()


@pytest.fixture
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., MLflowServer]]:
    """Starts servers: `mlflow_server(backend, artifacts, env)`."""
    pytest.importorskip("mlflow")
    servers: list[MLflowServer] = []

    def start(backend: str, artifacts: str, env: dict[str, str] | None = None) -> MLflowServer:
        servers.append(MLflowServer(backend, artifacts, tmp_path_factory.mktemp("mlflow"), env))
        return servers[-1]

    yield start
    for server in servers:
        server.send(signal.SIGCONT)
        server.end(seconds=5)


def tool(name: str) -> str:
    """A program by `T1DJAX_<NAME>` in the environment, beside this Python, or on the path; skips without one."""
    variable = "T1DJAX_" + name.upper().replace("-", "_")
    beside = Path(sys.executable).parent / name
    found = os.environ.get(variable) or (str(beside) if beside.exists() else shutil.which(name))
    if found is None:
        pytest.skip(f"no {name} on this machine; name it in {variable}")
    return found
