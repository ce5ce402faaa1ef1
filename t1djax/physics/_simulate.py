"""Trajectories of a body: by adaptive steps of diffrax, and by its own solution."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from .._arguments import ArgumentError
from .._checked import check_types
from ._inputs import Inputs
from ._physiology import AbstractPhysiology, Trajectory
from ._solve import solve

if TYPE_CHECKING:
    import diffrax


def simulate(
    p: AbstractPhysiology,
    inputs: Inputs,
    ts: Float[Array, " times"] | Float[np.ndarray, " times"] | Sequence[float],
    *,
    y0: Any = None,
    G0: float | Float[Array, ""] = 120.0,
    solver: "diffrax.AbstractSolver | None" = None,
    stepsize_controller: "diffrax.AbstractStepSizeController | None" = None,
    adjoint: "diffrax.AbstractAdjoint | None" = None,
    max_steps: int = 4096,
) -> Trajectory:
    """Solve a body with diffrax, from the start of the window (`inputs.start_min`): `solve` with its `rates`.

    Steps land on every jump of the inputs; a step across a bolus would err by up to 15 mg/dL.

    Args:
        p: one person's body.
        inputs: insulin and carbohydrate rates: `doses.inputs(start_min, end_min)`.
        ts: times at which to report, min, increasing, none before `inputs.start_min`.
        y0: state at the start; left out, rest at glucose `G0`.
        G0: glucose at the start, mg/dL; not used where `y0` is given.
        solver: a diffrax solver; left out, `Tsit5`.
        stepsize_controller: an adaptive diffrax controller; left out, `PIDController(rtol=1e-8, atol=1e-8)` in
            float64 and `1e-5, 1e-6` in float32. The jumps are added to it.
        adjoint: how to differentiate; left out, `RecursiveCheckpointAdjoint`, which goes backwards alone: for
            `jax.jacfwd` and `jax.hessian` give `diffrax.ForwardMode()` or `diffrax.DirectAdjoint()`.
        max_steps: steps after which the solve gives up.

    Returns:
        The trajectory. A failed solve has `ok` false and whatever states were reached.

    Raises:
        NoRestError: where the body does not rest at `G0`.
        ArgumentError: where `G0` is below zero, times decrease, or an argument is of another type.
        ValueError: where the controller is not adaptive.

    Example:
        >>> import jax.numpy as jnp
        >>> import t1djax
        >>> preset = t1djax.presets()["Pat2"]
        >>> path = t1djax.simulate(preset.model(), preset.doses.inputs(0, 600), jnp.array([0.0, 300.0, 600.0]))
        >>> path.glucose_mg_dL.shape, bool(path.ok)
        ((3,), True)
    """
    check_types(simulate, locals())
    ts, y0 = _times(ts), _start(p, G0) if y0 is None else y0
    found = solve(
        _rates,
        p,
        inputs,
        ts,
        y0=y0,
        solver=solver,
        stepsize_controller=stepsize_controller,
        adjoint=adjoint,
        max_steps=max_steps,
    )
    return Trajectory(ts, found.state, p.glucose(found.state), found.ok)


def _rates(p: AbstractPhysiology, y: Any, insulin_U_min: Any, carbs_mg_min: Any) -> Any:
    return p.rates(y, insulin_U_min, carbs_mg_min)


def propagate(
    p: AbstractPhysiology,
    inputs: Inputs,
    ts: Float[Array, " times"] | Float[np.ndarray, " times"] | Sequence[float],
    *,
    y0: Any = None,
    G0: float | Float[Array, ""] = 120.0,
) -> Trajectory:
    """The body's own solution at `ts` (min): exact for `Magdelaine`, short fixed steps for others. The fast path.

    Args:
        p: one person's body.
        inputs: insulin and carbohydrate rates.
        ts: times at which to report, min, none before `inputs.start_min`.
        y0: state at the start; left out, rest at glucose `G0`.
        G0: glucose at the start, mg/dL; not used where `y0` is given.

    Returns:
        The trajectory. `ok` is false where a state is not finite.

    Raises:
        NoRestError: where the body does not rest at `G0`.
        ArgumentError: where `G0` is below zero, times decrease, or an argument is of another type.

    Example:
        >>> import jax.numpy as jnp
        >>> import t1djax
        >>> preset = t1djax.presets()["Pat2"]
        >>> path = t1djax.propagate(preset.model(), preset.doses.inputs(0, 600), jnp.array([0.0, 300.0, 600.0]))
        >>> path.glucose_mg_dL.shape, bool(path.ok)
        ((3,), True)
    """
    check_types(propagate, locals())
    return p.solution(inputs, _times(ts), _start(p, G0) if y0 is None else y0)


def _times(ts: Any) -> Float[Array, " times"]:
    found = ts if isinstance(ts, Array) else jnp.asarray(ts, jnp.result_type(float))
    if not isinstance(found, Tracer) and np.any(np.diff(found) < 0):
        raise ArgumentError("ts", "the times must increase, min; sort them")
    return found


def _start(p: AbstractPhysiology, G0: Any) -> Any:
    if not isinstance(G0, Tracer) and not np.all(np.asarray(G0) >= 0):
        raise ArgumentError("G0", f"is below zero mg/dL: {np.asarray(G0):g}")
    return p.rest(G0)[0]
