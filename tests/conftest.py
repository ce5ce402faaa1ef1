"""What the tests share: the folder of reference facts, and JAX at its strictest."""

import gc
import itertools
import os
import resource
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import jax
import pytest

from t1djax.programs import _programs

from .services import mlflow_server, moto_s3, postgres  # noqa: F401 - fixtures

# Nearly all of the time of the fast tests is compilation of programs that then run on little. Unoptimised it takes a
# third; `-m slow` and any other choice of marks that leaves out "not slow" compile as users do.
_QUICK = "--xla_backend_optimization_level=0"
# XLA aborts at a flag that it does not know. The older emitters are to go; in one piece a program compiles with a
# fifth less work, and other tests have use for the other cores.
_KNOWN, _KNOWN_UNTIL = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1", (0, 11)


def quick_flags(jaxlib: str) -> str:
    """Flags of XLA that shorten compilation, of those that this version of jaxlib is known to have."""
    first_two = tuple(int(part) for part in jaxlib.split(".")[:2])
    return f"{_QUICK} {_KNOWN}" if first_two < _KNOWN_UNTIL else _QUICK


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is compiled; processes that tests start inherit it.

    Compiled programs are kept in the cache of pytest, for other workers and the next time; `--cache-clear` empties it.
    """
    gc.set_threshold(100_000)  # tracing makes many small objects that stay: looking for dead ones takes a tenth
    flags = os.environ.get("XLA_FLAGS", "")
    if "not slow" in (config.getoption("markexpr") or "") and _QUICK not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {quick_flags(version('jaxlib'))}"
    for name, value in {
        "jax_compilation_cache_dir": str(config.cache.mkdir("xla")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        "jax_traceback_in_locations_limit": 0,  # nobody reads where an operation comes from
    }.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference facts and example files, which stands beside a checkout and is not part of it."""
    folder = Path(os.environ.get("T1DJAX_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir() or not any(folder.iterdir()):
        pytest.skip("no shared/ folder beside the checkout, or nothing in it; name it in T1DJAX_SHARED")
    return folder


@pytest.fixture
def strict_jax() -> Iterator[None]:
    """No silent promotion of types or ranks."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def float64() -> Iterator[None]:
    """All of a file in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def programs_end_before_memory() -> Iterator[None]:
    """Files share what they compile until a worker has held 4 GB."""
    yield
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 4_000_000:  # kB, on Linux
        _programs.PROGRAMS.clear()
        jax.clear_caches()


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write a text into a file of its own."""
    count = itertools.count()

    def put(text: str, suffix: str = "csv") -> Path:
        file = tmp_path / f"person{next(count)}.{suffix}"
        file.write_text(text, encoding="utf-8")
        return file

    return put
