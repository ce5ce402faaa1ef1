"""Ahead-of-time compilation with its cost known, each program compiled once, and run without a fight for cores."""

import functools
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import scipy.linalg  # noqa: F401 - loads the library whose threads are limited below
import threadpoolctl
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

_MOST = 64  # programs kept: each holds megabytes of code
_PROGRAMS: dict[Hashable, Any] = {}


# On the CPU, kernels of the older emitter run as fast and compile in two thirds of the time.
_FULL: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False}
_QUICK: dict[str, Any] = _FULL | {"xla_backend_optimization_level": 0}


def compile_once(
    make: Callable[..., Callable[..., Any]], static: tuple[Hashable, ...], args: tuple[Any, ...], *, quick: bool = False
) -> tuple[Callable[..., Any], float]:
    """The compiled program of `make(*static)` for arguments of these shapes, and the seconds it took just now.

    `jax.jit` compiles at the first call and hides the cost in it; here the cost can be reported beside the run's.
    A second cohort of the same shapes costs nothing.

    Args:
        make: builds the function to compile from the static options; a module-level function.
        static: hashable options.
        args: the arguments of the first call.
        quick: for a program that runs once, on little: on the CPU it compiles in a fifth of the time, unoptimised.

    Returns:
        The executable, and the seconds spent (near zero where it was at hand).
    """
    leaves, structure = jax.tree.flatten(args)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    key = (make, static, structure, shapes, quick)
    began = time.perf_counter()
    if key not in _PROGRAMS:
        while len(_PROGRAMS) >= _MOST:
            del _PROGRAMS[next(iter(_PROGRAMS))]  # the oldest
        _PROGRAMS[key] = jax.jit(make(*static)).lower(*args).compile(compiler_options=_options(quick))
    return _PROGRAMS[key], time.perf_counter() - began


@functools.cache
def _options(quick: bool) -> dict[str, Any]:
    """Options of XLA that shorten compilation, where this version of it knows them."""
    options: dict[str, Any] = _QUICK if quick else _FULL
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


class Spread(NamedTuple):
    """How a program runs over patients: on which devices, and how many at a time on each."""

    mesh: Mesh | None = None
    """Devices that share the patients; None for the default one."""
    block: int | None = None
    """Patients per vmapped block; None for all at once."""

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

    def over_patients(self, f: Callable[..., Any], *, shared: int = 0) -> Callable[..., Any]:
        """`f` of one patient made one of all: each device maps over its own patients, and none waits for another.

        Args:
            f: of arrays of one patient.
            shared: how many of its last arguments are the same for everybody.
        """

        def mapped(*args: Any) -> Any:
            each, same = args[: len(args) - shared], args[len(args) - shared :]
            if self.block is None:
                return jax.vmap(lambda *x: f(*x, *same))(*each)
            one = lambda x: f(*x, *same)
            return jax.lax.map(one, each, batch_size=None if self.block == 1 else self.block)

        if self.mesh is None:
            return mapped

        def spread(*args: Any) -> Any:
            specs = (_PATIENTS,) * (len(args) - shared) + (PartitionSpec(),) * shared
            return jax.shard_map(mapped, mesh=self.mesh, in_specs=specs, out_specs=_PATIENTS, check_vma=False)(*args)

        return spread


_PATIENTS = PartitionSpec("patients")


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
