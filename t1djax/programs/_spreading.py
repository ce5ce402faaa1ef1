"""How a program runs over patients: devices, blocks and threads."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from . import _sizes
from ._programs import Effort, compile_once
from ._threads import Shares, on_threads, share_out

T = TypeVar("T")
_PATIENTS = PartitionSpec("patients")


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
        share = -(-patients // _sizes.cores())
        threads = -(-patients // share)
        return self._replace(threads=threads, block=None if self.block is None else max(1, self.block // threads))

    def for_factorisations(self) -> "Spread":
        """The same, for programs that work on large matrices: on a CPU, no more at once than its caches hold.

        On two cores a Gauss-Newton step of ten patients took 17 ms one by one, 18 in twos, 23 at once.
        """
        return (
            self._replace(block=max(1, _sizes.cores() // 2))
            if jax.default_backend() == "cpu" and not self.mesh
            else self
        )

    @property
    def devices(self) -> int:
        """How many share the patients."""
        return 1 if self.mesh is None else self.mesh.size

    def split(self, tree: T) -> Shares[T]:
        """Arrays of patients as the devices and threads take them."""
        if self.mesh is None:
            return share_out(tree, self.threads)
        rows = len(jax.tree.leaves(tree)[0])
        alike = jax.tree.map(lambda x: x[_sizes.stretch(0, -(-rows // self.devices) * self.devices, rows)], tree)
        return Shares((jax.device_put(alike, NamedSharding(self.mesh, _PATIENTS)),), rows)

    def call(
        self,
        one: Callable[..., Any],
        *each: Shares[Any],
        shared: tuple[Any, ...] = (),
        static: tuple[Hashable, ...] = (),
        effort: Effort = "some",
    ) -> tuple[Shares[Any], float]:
        """Compile a function of one patient once for all of them, and call it on every share; see `over_cohort`."""
        rows = [(*args, *shared) for args in zip(*(arg.each for arg in each), strict=True)]
        how = Mapped(self._replace(threads=1), len(shared), static)
        program, seconds = compile_once(one, how, rows[0], effort=effort)
        found = [program(*rows[0])] if len(rows) == 1 else on_threads(program, rows)
        return Shares(tuple(found), each[0].rows), seconds

    def over_patients(self, f: Callable[..., Any], *, shared: int = 0) -> Callable[..., Any]:
        """`f` of one patient made one of all: each device maps over its own patients, and none waits for another.

        The last `shared` arguments are the same for everybody.
        """

        def mapped(*args: Any) -> Any:
            each, same = args[: len(args) - shared], args[len(args) - shared :]
            rows = jax.tree.leaves(each)[0].shape[0]
            if self.block is None or 1 < rows <= self.block:
                return jax.vmap(lambda *x: f(*x, *same))(*each)
            one = lambda x: f(*x, *same)
            return _in_blocks(one, each, rows, _sizes.even(rows, self.block))

        if self.mesh is None:
            return mapped

        def spread(*args: Any) -> Any:
            specs = (_PATIENTS,) * (len(args) - shared) + (PartitionSpec(),) * shared
            return jax.shard_map(mapped, mesh=self.mesh, in_specs=specs, out_specs=_PATIENTS, check_vma=False)(*args)

        return spread


class Mapped(NamedTuple):
    """How a function of one patient is made a program of many."""

    spread: Spread
    shared: int = 0
    static: tuple[Hashable, ...] = ()

    def __call__(self, one: Callable[..., Any]) -> Callable[..., Any]:
        return self.spread.over_patients(lambda *args: one(*args, *self.static), shared=self.shared)


def spread_over(patients: int, block: int, devices: Sequence[Any] | None = None) -> Spread:
    """How to run over so many patients, at most a `block` at once on each of this process's devices."""
    devices = list(jax.local_devices() if devices is None else devices)[:patients]
    mesh = None
    if len(devices) > 1:
        mesh = jax.make_mesh((len(devices),), ("patients",), axis_types=(AxisType.Auto,), devices=devices)
        if devices[0].platform == "cpu":
            # A factorisation of several matrices waits for threads of a pool that all devices of the CPU share; when
            # each device's thread waits, nobody works. One matrix at a time needs no pool.
            return Spread(mesh, 1)
    return Spread(mesh, block if -(-patients // len(devices)) > block else None)


def on_device(tree: T) -> T:
    """Arrays of a device; of double precision where they have it, whatever the setting is."""
    with jax.enable_x64(True):
        return jax.device_put(tree)


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
