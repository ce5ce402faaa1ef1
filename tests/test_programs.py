"""Programs are compiled once for each of JAX's settings, by threads and in long processes too."""

import collections
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import threadpoolctl

import t1djax
from t1djax.programs import _programs, at_work
from t1djax.programs._blas import one_thread_per_factorisation
from t1djax.programs._programs import compile_once


def _blas() -> list[int]:
    return [lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]


def _thirds(x: jax.Array) -> jax.Array:
    return x / jnp.asarray(3.0)


def test_double_precision_on_and_off_has_a_program_each():
    whole = np.arange(4, dtype=np.int32)
    for wide in (False, True, False, True):
        with jax.enable_x64(wide):
            found = t1djax.programs.map_patients(_thirds, whole)
            assert found.dtype == (jnp.float64 if wide else jnp.float32)
            np.testing.assert_allclose(found, whole / 3, rtol=1e-15 if wide else 1e-7)


def _square(x: jax.Array) -> jax.Array:
    return x @ x


def test_products_take_all_digits_on_an_accelerator_too():
    with at_work("float32"):
        asked = jax.jit(_square).lower(np.ones((8, 8), np.float32)).as_text()
    assert "HIGHEST" in asked


def test_each_precision_of_products_has_a_program():
    x = np.ones((2, 8, 8), np.float32)
    for precision in ("default", "highest", "default", "highest"):
        with jax.default_matmul_precision(precision):
            t1djax.programs.map_patients(_square, x)
    assert len([key for key in _programs.PROGRAMS if key.one is _square]) == 2


def _as_it_is(one: Any) -> Any:
    return one


def _traced(count: list[int]):
    def one(x: jax.Array) -> jax.Array:
        count.append(1)
        return 2 * x

    return one


def test_threads_that_ask_for_one_program_compile_it_once():
    traces, gate = [], threading.Barrier(6)
    one = _traced(traces)

    def ask(i: int) -> float:
        gate.wait()
        x = np.full(3, float(i), np.float32)
        return float(compile_once(one, _as_it_is, (x,))[0](x)[0])

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == [2.0 * i for i in range(6)]
    assert len(traces) == 1


def test_the_program_used_last_stays(monkeypatch):
    monkeypatch.setattr(_programs, "_MOST", 6)
    monkeypatch.setattr(_programs, "PROGRAMS", collections.OrderedDict())
    hot = lambda: compile_once(jnp.cos, _as_it_is, (np.zeros(1, np.float32),), effort="least")[0]
    first = hot()
    for size in range(1, 10):  # more than are kept
        compile_once(jnp.sin, _as_it_is, (np.zeros(size, np.float32),), effort="least")
        assert hot() is first
    assert len(_programs.PROGRAMS) == _programs._MOST


def test_blas_has_its_threads_back_when_the_last_is_done():
    before, first_left = _blas(), threading.Event()
    entered, both = threading.Barrier(2), threading.Barrier(2)

    def first() -> None:
        with one_thread_per_factorisation():
            entered.wait()
            both.wait()
        first_left.set()

    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(first)
        entered.wait()
        with one_thread_per_factorisation():
            both.wait()
            first_left.wait()  # the first to come is the first to go
            task.result()
            assert set(_blas()) == {1}
    assert _blas() == before


def _readings(seed: int) -> t1djax.Cohort:
    """One person's days, as sensors with noise of their own read them; all fits share a program."""
    key = jax.random.key(seed)
    return t1djax.reference_cohort(interval_min=60, noise=t1djax.WhiteNoise(10.0), key=key, names=["Pat3"])


def _ksi(cohort: t1djax.Cohort) -> float:
    return t1djax.fit(cohort, model="ode", free=["ksi"])["Pat3"].estimates["ksi"].value


def test_six_threads_fit_at_once_as_one_after_the_other():
    before, each = _blas(), [_readings(seed) for seed in range(6)]
    _programs.PROGRAMS.clear()
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(_ksi, each))
    assert _blas() == before
    assert together == [_ksi(one) for one in each]
    assert len(set(together)) == 6
    assert len(_programs.PROGRAMS) == 1


def _resident_mb() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory in use is read from /proc")
@pytest.mark.parametrize("fits", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_many_fits_in_one_process_leave_nothing_behind(fits: int):
    each = [_readings(seed) for seed in range(3)]
    for cohort in each:
        _ksi(cohort)
    programs, before = len(_programs.PROGRAMS), _resident_mb()
    for i in range(fits):
        _ksi(each[i % 3])
    assert len(_programs.PROGRAMS) == programs
    assert _resident_mb() - before < 10
