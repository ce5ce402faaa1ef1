"""The linear algebra library of the CPU, kept from fighting for cores while programs run."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg  # noqa: F401 - loads the library whose threads are limited below
import threadpoolctl


class _Limit(threading.Thread):
    """Keeps the library to one thread until it is told that the last user is done.

    A thread of its own, since threadpoolctl lets only the thread that set a limit lift it, and the last to leave need
    not be the first to come.
    """

    def __init__(self) -> None:
        super().__init__(name="t1djax-blas", daemon=True)
        self.set, self.done = threading.Event(), threading.Event()

    def run(self) -> None:
        with _libraries().limit(limits=1, user_api="blas"):
            self.set.set()
            self.done.wait()


_LOCK = threading.Lock()
_USERS: list[_Limit] = []  # the same one for each of them


@contextmanager
def one_thread_per_factorisation() -> Iterator[None]:
    """Keep the linear algebra library of the CPU to one thread, until the last of those that ask for it is done.

    XLA's factorisations on the CPU call it patient by patient, on matrices too small to share. With threads of its own
    it spins while it waits for a core: beside other work the same ten factorisations took 2,300 ms in place of 9.
    """
    with _LOCK:
        if not _USERS:
            limit = _Limit()
            limit.start()
            limit.set.wait()
            _USERS.append(limit)
        else:
            _USERS.append(_USERS[0])
    try:
        yield
    finally:
        with _LOCK:
            limit = _USERS.pop()
            if not _USERS:
                limit.done.set()
                limit.join()


@functools.cache
def _libraries() -> threadpoolctl.ThreadpoolController:
    """Those that are loaded; looking for them takes milliseconds."""
    return threadpoolctl.ThreadpoolController()
