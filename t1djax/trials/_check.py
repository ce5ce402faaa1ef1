"""What is refused of a controller before anything is compiled."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import ArgumentError
from ._controllers import AbstractController, Action, Observation, Profile


def check_controller(name: str, controller: Any) -> None:
    """Refuse a controller that is not pure or does not keep its shapes.

    Args:
        name: what it is called.
        controller: what was given.

    Raises:
        ArgumentError: naming it.
    """
    if not isinstance(controller, AbstractController):
        kind = type(controller).__name__
        raise ArgumentError(("controllers", name), f"is a {kind}; it must be an AbstractController")
    zero = lambda: jnp.zeros((), jnp.result_type(float))
    profile = jax.eval_shape(lambda: Profile(*(zero() for _ in Profile._fields)))
    seen = jax.eval_shape(lambda: Observation(*(zero() for _ in Observation._fields)))
    key = jax.eval_shape(lambda: jax.random.key(0))
    _, memory = _traced(name, controller.init, profile)
    _, (then, action) = twice = _traced(name, controller.step, memory, seen, key)
    again = _traced(name, controller.step, memory, seen, key)
    if twice[0] != again[0]:
        raise ArgumentError(
            ("controllers", name),
            "is not pure: it does something else when it is called again; draw with the key that `step` is given, and "
            "keep what changes in its memory",
        )
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    if jax.tree.structure(memory) != jax.tree.structure(then) or shapes(memory) != shapes(then):
        raise ArgumentError(("controllers", name), f"its memory begins as {memory} and goes on as {then}")
    if not isinstance(action, Action) or any(jnp.shape(x) for x in action):
        raise ArgumentError(("controllers", name), f"its action is {action}; return Action(basal_U_h, bolus_U)")


def _traced(name: str, f: Callable[..., Any], *args: Any) -> tuple[tuple[Any, ...], Any]:
    """What JAX sees of a function, to be compared, and the shapes it returns."""
    try:
        program, shapes = jax.make_jaxpr(f, return_shape=True)(*args)
    except (TypeError, AttributeError) as e:
        raise ArgumentError(("controllers", name), f"is not pure JAX: {e}") from e
    if program.effects:
        raise ArgumentError(("controllers", name), f"is not pure: it has effects ({program.effects})")
    constants = tuple(
        np.asarray(x).tobytes() for x in program.consts if not jnp.issubdtype(x.dtype, jax.dtypes.extended)
    )
    return (str(program.jaxpr), constants), shapes
