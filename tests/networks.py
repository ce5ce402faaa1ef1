"""Small networks of every architecture, and twins made of them, for several test files."""

import functools
from typing import Any

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np

import t1djax
from t1djax.losses import Drive, Places, places
from t1djax.programs import Spread
from t1djax.training._fit import _build

KEY = jax.random.key(0)
_TIME = t1djax.networks.TimeFeatureOptions(octaves=4)


def nnx_module(features: int, rngs: flax.nnx.Rngs) -> flax.nnx.Module:
    """Two layers, as a user would write them."""
    return flax.nnx.Sequential(flax.nnx.Linear(features, 8, rngs=rngs), jnp.tanh, flax.nnx.Linear(8, 3, rngs=rngs))


class LinenModule(flax.linen.Module):
    """The same in the older interface."""

    @flax.linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return flax.linen.Dense(3)(jnp.tanh(flax.linen.Dense(8)(x)))


SMALL = t1djax.PINNOptions(width=16, depth=1, time=_TIME, cell_min=60.0)
ARCHITECTURES: dict[str, t1djax.networks.NetworkOptions] = {
    "pinn": SMALL,
    "modified_mlp": t1djax.ModifiedMLPOptions(width=12, time=_TIME, cell_min=60.0),
    "modified_mlp_factorised": t1djax.ModifiedMLPOptions(
        width=12, factorised=True, time=t1djax.networks.TimeFeatureOptions(waves="random", octaves=4), cell_min=60.0
    ),
    "birnn": t1djax.BIRNNOptions(units=6, step_min=60.0, cell_min=60.0),
    "birnn_min_gru": t1djax.BIRNNOptions(units=6, step_min=60.0, cell="min_gru", cell_min=60.0),
    "birnn_no_skip": t1djax.BIRNNOptions(units=6, step_min=60.0, skip=False, cell_min=60.0),
    "flax_nnx": t1djax.FlaxOptions(module=nnx_module, time=_TIME, cell_min=60.0),
    "flax_linen": t1djax.FlaxOptions(module=LinenModule(), time=_TIME, cell_min=60.0),
}
"""One small network of each kind. A new architecture is one more row here."""


@functools.cache
def cohort(interval: float = 30.0, count: int = 3) -> t1djax.Cohort:
    """The first patients of the reference cohort."""
    return t1djax.reference_cohort(interval_min=interval, names=list(t1djax.presets())[:count])


def pose(mode: str = "inverse", free: tuple[str, ...] = ("ksi",)) -> t1djax.problem.Problem:
    """A problem for `cohort()`."""
    return t1djax.pose(cohort().patients, mode=mode, free=free if mode == "inverse" else (), key=KEY)  # pyright: ignore[reportArgumentType]


def twins(
    problem: t1djax.problem.Problem, options: t1djax.networks.NetworkOptions = SMALL
) -> tuple[t1djax.twin.Twin, Drive, t1djax.data.Series]:
    """Untrained twins of `cohort()`, stacked, with their collocation and data."""
    args = _ingredients(problem, options)
    each = Spread().split(args).members()
    built, _ = Spread().call(_build, *each, static=(options, options.cells(2880.0)), effort="least")
    return *built.joined(), args[1]


def shapes_of_twins(
    problem: t1djax.problem.Problem, options: t1djax.networks.NetworkOptions
) -> tuple[t1djax.twin.Twin, Drive, t1djax.data.Series]:
    """The shapes and types of what `twins` gives, without compiling it."""
    args = _ingredients(problem, options)
    build = jax.vmap(functools.partial(_build, options=options, cells=options.cells(2880.0)))
    return *jax.eval_shape(build, *args), args[1]


def _ingredients(
    problem: t1djax.problem.Problem, options: t1djax.networks.NetworkOptions
) -> tuple[jax.Array, t1djax.data.Series, Any, Places]:
    data = t1djax.data.stack(cohort().patients)
    where = places(data, options.cells(2880.0))
    return jax.random.split(KEY, len(cohort())), data, problem.physiology(options.dtype), where


@jax.jit
def first(tree: Any) -> Any:
    """The first patient's part of a stacked tree."""
    return jax.tree.map(lambda x: x[0], tree)


def same(a: Any, b: Any) -> bool:
    """Whether all leaves are equal, bit for bit."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)
