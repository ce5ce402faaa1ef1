"""Ahead-of-time compilation with its cost known, each program compiled once, and run without a fight for cores."""

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg  # noqa: F401 - loads the library whose threads are limited below
import threadpoolctl
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

T = TypeVar("T")
_MOST = 64  # programs kept: each holds megabytes of code
_PROGRAMS: dict[Hashable, Any] = {}


Effort = Literal["least", "some", "most"]
# On the CPU, kernels of the older emitter compile in two thirds of the time and take up to twice as long to run.
_OPTIONS: dict[Effort, dict[str, Any]] = {
    "least": {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 0},
    "some": {"xla_cpu_use_fusion_emitters": False},
    "most": {},
}


def compile_once(
    make: Callable[..., Callable[..., Any]],
    static: tuple[Hashable, ...],
    args: tuple[Any, ...],
    *,
    effort: Effort = "some",
) -> tuple[Callable[..., Any], float]:
    """The compiled program of `make(*static)` for arguments of these shapes, and the seconds it took just now.

    `jax.jit` compiles at the first call and hides the cost in it; here the cost can be reported beside the run's.
    A second cohort of the same shapes costs nothing.

    Args:
        make: builds the function to compile from the static options; a module-level function.
        static: hashable options.
        args: the arguments of the first call.
        effort: of the compiler. On the CPU, `least` is for a program that runs once, on little: it compiles in a fifth
            of the time, unoptimised; `most` is for one that runs for thousands of steps.

    Returns:
        The executable, and the seconds spent (near zero where it was at hand).
    """
    leaves, structure = jax.tree.flatten(args)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    key = (make, static, structure, shapes, effort)
    began = time.perf_counter()
    if key not in _PROGRAMS:
        while len(_PROGRAMS) >= _MOST:
            del _PROGRAMS[next(iter(_PROGRAMS))]  # the oldest
        _PROGRAMS[key] = jax.jit(make(*static)).lower(*args).compile(compiler_options=_options(effort))
    return _PROGRAMS[key], time.perf_counter() - began


def map_patients(one: Callable[..., Any], *args: Any, block: int = 1024) -> Any:
    """A function of one patient applied to all of a cohort: compiled once, in blocks that stay in the caches of a CPU.

    For functions called from Python on arrays of many patients. Inside `jax.jit` or `jax.grad` take `jax.vmap`. The
    exact solution of 10,000 patients over 48 h took two quiet cores 163 ms in this way, 229 by `jax.jit` of `jax.vmap`
    (float64; 91 and 163 in float32).

    Args:
        one: of arrays of one patient. Its identity is the program's: a function defined anew is compiled anew.
        args: arrays, or trees of them, with a leading axis of patients.
        block: most patients at a time. Blocks are alike; the last one repeats its last patient to be as long.

    Returns:
        What `one` gives, stacked along a leading axis of patients.

    Raises:
        ValueError: where there is no patient, or arguments differ in their number.

    Example:
        >>> import jax
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=60)
        >>> data = t1djax.stack(cohort.patients)
        >>> jax.device_get(t1djax.map_patients(lambda series: series.glucose_mg_dL[0], data)).shape
        (10,)
    """
    sizes = {leaf.shape[0] if leaf.ndim else 0 for leaf in map(jnp.asarray, jax.tree.leaves(args))}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"map_patients: arguments have {sorted(sizes)} patients; give arrays with the same, at least one"
        )
    count = sizes.pop()
    size, made = -(-count // -(-count // block)), []
    for first in range(0, count, size):
        if first + size <= count:
            some = jax.tree.map(lambda x, first=first: x[first : first + size], args)
        else:
            rows = np.minimum(np.arange(first, first + size), count - 1)
            some = jax.tree.map(lambda x, rows=rows: x[rows], args)
        program, _ = compile_once(_vmapped, (one,), some)
        made.append(program(*some))
    if len(made) == 1:
        return made[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:count], *made)


def _vmapped(one: Callable[..., Any]) -> Callable[..., Any]:
    return jax.vmap(one)


@functools.cache
def _options(effort: Effort) -> dict[str, Any]:
    """Options of XLA that shorten compilation, where this version of it knows them."""
    options = _OPTIONS[effort]
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return {}
    return options


@contextmanager
def one_thread_per_factorisation() -> Iterator[None]:
    """Keep the linear algebra library of the CPU to one thread while programs run.

    XLA's factorisations on the CPU call it patient by patient, on matrices too small to share. With threads of its own
    it spins while it waits for a core: beside other work the same ten factorisations took 2,300 ms in place of 9.
    """
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield


@dataclasses.dataclass(frozen=True)
class Shares(Generic[T]):
    """Arrays of patients in stretches of one length, each the work of a thread."""

    each: tuple[T, ...]
    """The last one repeats its last patient to be as long as the others."""
    rows: int
    """How many patients there are."""

    def joined(self) -> T:
        """The arrays of all patients."""
        if len(self.each) == 1:
            return self.each[0]
        return jax.tree.map(lambda *parts: np.concatenate(parts)[: self.rows], *self.each)

    def pick(self, f: Callable[[T], Any]) -> "Shares[Any]":
        """A part of each share, or what a function of it gives."""
        return Shares(tuple(f(share) for share in self.each), self.rows)

    def member(self, i: int) -> "Shares[Any]":
        """Of shares that are tuples, a member of each."""
        whole: tuple[Any, ...] = self.each
        return Shares(tuple(share[i] for share in whole), self.rows)


class Spread(NamedTuple):
    """How a program runs over patients: on which devices, by how many threads, and how many at a time on each."""

    mesh: Mesh | None = None
    """Devices that share the patients; None for the default one."""
    block: int | None = None
    """Patients per vmapped block; None for all at once."""
    threads: int = 1
    """Threads that share the patients, each with calls of its own of the same program."""

    def on_threads(self, patients: int) -> "Spread":
        """The same with a thread for each core of a CPU, where that has several and is the only device.

        A program uses several cores in its largest products alone. Ten networks, whose factorisations are of one core
        each, took two cores 34 ms in two calls side by side, 56 in one.
        """
        if self.mesh is not None or jax.default_backend() != "cpu":
            return self
        share = -(-patients // _cores())
        threads = -(-patients // share)
        return self._replace(threads=threads, block=None if self.block is None else max(1, self.block // threads))

    def for_factorisations(self) -> "Spread":
        """The same, for programs that work on large matrices: on a CPU, no more at once than its caches hold.

        On two cores a Gauss-Newton step of ten patients took 17 ms one by one, 18 in twos, 23 at once.
        """
        return self._replace(block=max(1, _cores() // 2)) if jax.default_backend() == "cpu" and not self.mesh else self

    @property
    def devices(self) -> int:
        """How many share the patients."""
        return 1 if self.mesh is None else self.mesh.size

    def rows(self, patients: int) -> int:
        """The least number of rows, not under `patients`, that the devices share evenly."""
        return -(-patients // self.devices) * self.devices

    def place(self, args: Any) -> Any:
        """Arrays of patients, each device given its share."""
        return args if self.mesh is None else jax.device_put(args, NamedSharding(self.mesh, _PATIENTS))

    def split(self, tree: T) -> Shares[T]:
        """Arrays of patients as the devices and threads take them."""
        rows = jax.tree.leaves(tree)[0].shape[0]
        if self.threads == 1:
            return Shares((self.place(tree),), rows)
        share, host = -(-rows // self.threads), jax.tree.map(_on_host, tree)
        each: list[T] = []
        for first in range(0, rows, share):
            inside = first + share <= rows
            at = slice(first, first + share) if inside else np.minimum(np.arange(first, first + share), rows - 1)
            each.append(jax.device_put(jax.tree.map(lambda x, at=at: x[at], host)))
        return Shares(tuple(each), rows)

    def call(
        self, make: Callable[..., Any], static: tuple[Hashable, ...], *args: Any, effort: Effort = "some"
    ) -> tuple[Shares[Any], float]:
        """Compile `make(*static, spread)` once, and call it on every share.

        Args:
            make: see `compile_once`; the last static option is this spread.
            static: the options before it.
            args: what `split` gave; anything else is the same for everybody.
            effort: of the compiler.

        Returns:
            What each thread's call gave, and the seconds spent compiling.
        """
        split = [arg for arg in args if isinstance(arg, Shares)]
        rows = [
            tuple(arg.each[i] if isinstance(arg, Shares) else arg for arg in args) for i in range(len(split[0].each))
        ]
        program, seconds = compile_once(make, (*static, self._replace(threads=1)), rows[0], effort=effort)
        if len(rows) == 1:
            return Shares((program(*rows[0]),), split[0].rows), seconds
        wide = jnp.result_type(float) == jnp.float64  # in this thread; the others start with their own setting

        def one(row: tuple[Any, ...]) -> Any:
            with jax.enable_x64(wide):
                return jax.block_until_ready(program(*row))

        others = [_threads().submit(one, row) for row in rows[1:]]
        try:
            found = one(rows[0])
        finally:  # an interrupted fit leaves no thread at work
            wait(others)
        return Shares((found, *(other.result() for other in others)), split[0].rows), seconds

    def over_patients(self, f: Callable[..., Any], *, shared: int = 0) -> Callable[..., Any]:
        """`f` of one patient made one of all: each device maps over its own patients, and none waits for another.

        Args:
            f: of arrays of one patient.
            shared: how many of its last arguments are the same for everybody.
        """

        def mapped(*args: Any) -> Any:
            each, same = args[: len(args) - shared], args[len(args) - shared :]
            rows = jax.tree.leaves(each)[0].shape[0]
            if self.block is None or rows <= self.block:
                return jax.vmap(lambda *x: f(*x, *same))(*each)
            one = lambda x: f(*x, *same)
            return _in_blocks(one, each, rows, _even(rows, self.block))

        if self.mesh is None:
            return mapped

        def spread(*args: Any) -> Any:
            specs = (_PATIENTS,) * (len(args) - shared) + (PartitionSpec(),) * shared
            return jax.shard_map(mapped, mesh=self.mesh, in_specs=specs, out_specs=_PATIENTS, check_vma=False)(*args)

        return spread


_PATIENTS = PartitionSpec("patients")


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads that wait for shares; starting them anew takes a millisecond, as long as a small program."""
    return ThreadPoolExecutor(_cores(), "t1djax")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a child has the pool, but none of its threads


def on_device(tree: T) -> T:
    """Arrays of a device; of double precision where they have it, whatever the setting is."""
    with jax.enable_x64(True):
        return jax.device_put(tree)


def _on_host(x: Any) -> Any:
    """Where a stretch of an array costs nothing; random keys have no such form."""
    return x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)


def training_block() -> int:
    """Most patients that a device maps over at once while networks train.

    Blocks bound the memory at work. On a CPU small ones are also the fastest, since their arrays stay in the caches: on
    two cores 100 patients by Adam took 64 ms a step in blocks of 4, 92 in blocks of 32, 104 at once. More cores get
    more, which has not been measured.
    """
    return 2 * _cores() if jax.default_backend() == "cpu" else 256


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_blocks(one: Callable[[Any], Any], each: Any, rows: int, size: int) -> Any:
    """`jax.lax.map` with a batch size, but for arrays of no size too, at which JAX 0.10 divides by zero."""
    if size == 1:
        return jax.lax.map(one, each)
    count = rows // size
    inside = rows - rows % size
    blocks = jax.tree.map(lambda x: x[:inside].reshape(count, size, *x.shape[1:]), each)
    found = jax.lax.map(jax.vmap(one), blocks)
    found = jax.tree.map(lambda x: x.reshape(inside, *x.shape[2:]), found)
    if inside == rows:
        return found
    rest = jax.vmap(one)(jax.tree.map(lambda x: x[inside:], each))
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), found, rest)


def _even(rows: int, block: int) -> int:
    """A size near `block` that leaves no remainder, which would be compiled a second time; `block` if there is none."""
    sizes = [size for size in range(max(1, block // 4), block + block // 4 + 1) if rows % size == 0]
    return max(sizes, default=block)


def spread_over(patients: int, block: int, devices: Sequence[Any] | None = None) -> Spread:
    """How to run over so many patients on this process's devices.

    Args:
        patients: how many rows there are.
        block: most patients that a device maps over at once.
        devices: which to use; all of this process if not given. Not more are taken than there are patients.
    """
    devices = list(jax.local_devices() if devices is None else devices)[:patients]
    mesh = None
    if len(devices) > 1:
        mesh = jax.make_mesh((len(devices),), ("patients",), axis_types=(AxisType.Auto,), devices=devices)
        if devices[0].platform == "cpu":
            # A factorisation of several matrices waits for threads of a pool that all devices of the CPU share; when
            # each device's thread waits, nobody works. One matrix at a time needs no pool.
            return Spread(mesh, 1)
    return Spread(mesh, block if -(-patients // len(devices)) > block else None)
