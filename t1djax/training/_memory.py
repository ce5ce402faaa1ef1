"""How much memory a training takes, from the shapes of its arrays."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..data import Patient, stack, stacked_shape
from ..losses import places
from ..networks import NetworkOptions
from ..problem import Problem
from ..programs import training_block
from ._fit import _build
from ._gauss_newton import prepare
from ._stages import Stage
from ._train import initial_solver

_COPIES = 2  # of what moves: before and after a step
_MATRICES = 8  # of the size of the normal equations, at work at once


class Memory(NamedTuple):
    """Estimated working memory of a training, bytes; the arrays' shapes are exact, the number of copies is measured."""

    per_row: int
    """For each fit: patient and seed."""
    at_work: int
    """For each fit whose step is being computed: a block of them on a device."""

    def of(self, rows: int) -> int:
        """Working memory of a number of fits.

        Args:
            rows: how many fits train together.

        Returns:
            Bytes.
        """
        return rows * self.per_row + min(rows, training_block()) * self.at_work

    def rows(self, limit: int) -> int:
        """How many fits stay below a limit; one at the least.

        Args:
            limit: memory there is, bytes.

        Returns:
            Their number.
        """
        small, block = limit // (self.per_row + self.at_work), training_block()
        return max(1, small if small <= block else (limit - block * self.at_work) // self.per_row)


def training_memory(
    patients: Sequence[Patient], problem: Problem, options: NetworkOptions, stages: Sequence[Stage]
) -> Memory:
    """Estimate the working memory of `fit_members` without running or compiling anything.

    Example:
        >>> import jax
        >>> import t1djax
        >>> from t1djax.training import default_stages, training_memory
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"])
        >>> problem = t1djax.pose(cohort.patients, mode="inverse", free=["ksi"], key=jax.random.key(0))
        >>> options = t1djax.BIRNNOptions()
        >>> training_memory(cohort.patients, problem, options, default_stages("inverse", ["ksi"], options)).per_row > 0
        True
    """
    span = max(float(p.time_min[-1] - p.time_min[0]) for p in patients)
    with jax.enable_x64(options.precision == "float64"):
        data = stack(patients[:1], least=stacked_shape(patients))
        body = problem.take([0]).physiology(options.dtype)
        keys, cells = jax.random.split(jax.random.key(0), 1), options.cells(span)
        given = keys, data, body, places(data, cells, whole=patients)
        shapes, structure = jax.tree.flatten(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), given))
        return _memory(tuple(shapes), structure, options, cells, tuple(stages))


@functools.lru_cache(maxsize=64)
def _memory(
    shapes: tuple[jax.ShapeDtypeStruct, ...],
    structure: Any,
    options: NetworkOptions,
    cells: int,
    stages: Sequence[Stage],
) -> Memory:
    """By arguments of these shapes: to trace a network takes as long as to train a small one."""
    keys, data, body, where = jax.tree.unflatten(structure, shapes)
    build = jax.vmap(functools.partial(_build, options=options, cells=cells))
    twins, drive = jax.eval_shape(build, keys, data, body, where)
    prepared = jax.eval_shape(jax.vmap(prepare), twins, data, drive)
    solvers = [jax.eval_shape(jax.vmap(functools.partial(initial_solver, stage=stage)), twins) for stage in stages]
    unknowns = int(np.prod(twins.surrogate.readout.shape)) + len(body.free)
    number = jnp.zeros((), options.dtype).dtype.itemsize
    size = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree) if hasattr(x, "dtype"))
    moving = size(twins) + max(map(size, solvers), default=0)
    basis: Any = prepared.basis
    work = _MATRICES * unknowns**2 * number + 4 * size(basis) + size(data)
    return Memory(size(data) + size(drive) + size(prepared) + _COPIES * moving, work)
