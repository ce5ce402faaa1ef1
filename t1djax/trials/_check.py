"""What is refused of a controller before anything is compiled."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import ArgumentError
from ._controllers import AbstractController, Action, Observation, Profile
from ._loop import Rules

_UP_TO_ONE = ("dropout", "noise_rho", "missed_bolus", "late_bolus", "skipped_meal", "snack", "covered_snack")


def check_controller(name: str, controller: Any) -> None:
    """Refuse a controller that is not pure or does not keep its shapes.

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


def check_rules(rules: Rules) -> None:
    """Refuse habits and devices with numbers that cannot be.

    Raises:
        ArgumentError: naming the number.
    """
    for part in ("therapy", "cgm", "pump"):
        record = getattr(rules, part)
        for field in dataclasses.fields(record):
            value, most = getattr(record, field.name), 1.0 if field.name in _UP_TO_ONE else np.inf
            if not 0 <= value <= most:
                raise ArgumentError((part, field.name), f"is {value}; give a number of at least 0, at most {most:g}")
    for i, fault in enumerate(rules.faults):
        if not (fault.begins_min >= 0 and fault.lasts_min >= 0):
            raise ArgumentError(("faults", i), f"begins at {fault.begins_min} min and lasts {fault.lasts_min}")


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
