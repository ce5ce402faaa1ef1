"""A network that somebody wrote in flax, as a surrogate."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._types import Key
from ._features import LONGEST_WINDOW_MIN, TimeFeatureOptions, TimeFeatures
from ._surrogates import AbstractSurrogate, NetworkOptions, Window

if TYPE_CHECKING:
    import flax.linen
    import flax.nnx


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlaxOptions(NetworkOptions):
    """A flax module as the network.

    The module maps features of time and doses, `(times, features)`, to `(times, outputs)`, with any number of outputs;
    a readout maps these, and with `skip` the features too, to the learnt states. It may hold parameters and nothing
    else: no batch statistics, no dropout.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> import t1djax
        >>> def make(features, rngs):
        ...     return nnx.Sequential(nnx.Linear(features, 24, rngs=rngs), jax.numpy.tanh)
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"])
        >>> options = t1djax.FlaxOptions(module=make, cell_min=30)
        >>> fit = t1djax.fit(cohort, model="flax", options=options, stages=[t1djax.Stage(residual_weight=(10, 1e4))])
        >>> round(fit["Pat3"].estimates["ksi"].value)
        274
    """

    model: ClassVar[str] = "flax"
    longest_window_min: ClassVar[float] = LONGEST_WINDOW_MIN
    random_layers_suffice: ClassVar[bool] = False

    module: "flax.linen.Module | Callable[[int, flax.nnx.Rngs], flax.nnx.Module]"
    """A linen module, or a function `(features, rngs)` that makes an nnx module."""
    skip: bool = True
    """Whether the features go to the readout as well."""
    time: TimeFeatureOptions = dataclasses.field(default_factory=TimeFeatureOptions)
    """What the network sees of time and doses."""

    def network(self, window: Window, edges_min: Float[Array, " edges"], *, key: Key) -> "FlaxSurrogate":
        """The module with the parameters that it draws, and a readout of zero.

        Raises:
            ValueError: where the module holds anything but parameters, or gives no `(times, outputs)`.
        """
        return FlaxSurrogate(self, window, edges_min, key=key)


class FlaxSurrogate(AbstractSurrogate):
    """`y = (1 - exp(-(t - t0)/60)) [module(x), x, 1] @ readout`, with `x` features of time and doses.

    See `FlaxOptions`.

    Raises:
        ValueError: where the module holds anything but parameters, or its output has another shape.
    """

    features: TimeFeatures
    """What it sees; does not train."""
    parameters: PyTree[Array]
    """The module's, as nested dictionaries."""
    readout: Float[Array, "basis states"]
    """From the module's outputs, the features and one to the states."""
    apply: Callable[[PyTree, Array], Array] = eqx.field(static=True)
    """Parameters and features to outputs."""
    skip: bool = eqx.field(static=True)
    """Whether the features go to the readout as well."""

    def __init__(self, options: FlaxOptions, window: Window, ts: Float[Array, " times"], *, key: Key):
        """The module with the parameters that it draws, a readout of zero; features scaled over `ts` (min).

        Args:
            options: the module, and what it sees.
            window: the stretch of time and its doses.
            ts: edges of the collocation cells, min.
            key: draws the module's parameters.

        Raises:
            ValueError: where the module holds anything but parameters, or gives no `(times, outputs)`.
        """
        for_module, for_features = jax.random.split(key)
        self.features = TimeFeatures(options.time, window, ts, key=for_features)
        self.skip = options.skip
        self.parameters, self.apply = _bind(options.module, self.features.size, for_module)
        x = jax.ShapeDtypeStruct((2, self.features.size), ts.dtype)
        outputs = jax.eval_shape(self.apply, self.parameters, x)
        shape = getattr(outputs, "shape", None)
        if shape is None or len(shape) != len(x.shape) or shape[0] != x.shape[0]:
            what = type(outputs).__name__ if shape is None else shape
            raise ValueError(
                f"flax module: maps (times, features) = {x.shape} to {what}; it must give (times, outputs)"
            )
        size = outputs.shape[1] + (self.features.size if self.skip else 0) + 1
        self.readout = jnp.zeros((size, 3))

    def basis(self, window: Window, ts: Float[Array, " times"]) -> Float[Array, "times basis"]:
        """Outputs of the module, features and one at `ts` (min), each times the gate."""
        x = self.features(window, ts)
        columns = [self.apply(self.parameters, x), *([x] if self.skip else []), jnp.ones_like(x[:, :1])]
        return self.features.gate(window, ts)[:, None] * jnp.concatenate(columns, axis=1)


def _bind(module: Any, features: int, key: Key) -> tuple[PyTree[Array], "_Linen | _NNX"]:
    """Parameters of the module, and a hashable function from parameters and input to output."""
    from flax import linen, nnx  # noqa: PLC0415 - heavy, and only for those who bring a flax module

    say = "flax module: give an instance of flax.linen.Module, or a function (features, rngs) that makes an nnx module"
    if isinstance(module, nnx.Module) or (isinstance(module, type) and issubclass(module, linen.Module)):
        raise ValueError(f"{say}, not {module!r:.80}")
    if isinstance(module, linen.Module):
        variables = dict(module.init(key, jnp.zeros((1, features))))
        parameters = variables.pop("params", {})
        others = list(variables)
        apply = _Linen(module)
    else:
        made = module(features, nnx.Rngs(key)) if callable(module) else None
        if not isinstance(made, nnx.Module):
            raise ValueError(f"{say}; this one gave {type(made).__name__}")
        graph, state, rest = nnx.split(made, nnx.Param, ...)
        parameters, apply = nnx.to_pure_dict(state), _NNX(graph)
        others = sorted({type(leaf).__name__ for _, leaf in nnx.to_flat_state(rest)})
    if others:
        raise ValueError(
            f"flax module: holds {', '.join(others)} beside its parameters; take a module without batch statistics, "
            "dropout or other state"
        )
    return parameters, apply


@dataclasses.dataclass(frozen=True)
class _Linen:
    module: "flax.linen.Module"

    def __call__(self, parameters: PyTree, x: Array) -> Array:
        return self.module.apply({"params": parameters}, x)  # pyright: ignore[reportReturnType]


@dataclasses.dataclass(frozen=True)
class _NNX:
    graph: "flax.nnx.GraphDef"

    def __call__(self, parameters: PyTree, x: Array) -> Array:
        from flax import nnx  # noqa: PLC0415

        # Integer keys (lists of layers) and nested dictionaries are what `State` is made of.
        state = nnx.State(jax.tree.map(nnx.Param, parameters))
        return nnx.merge(self.graph, state)(x)
