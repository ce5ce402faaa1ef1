"""Adaptive solutions of any equations that take insulin and carbohydrate: the model of this package, or another."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ._inputs import Inputs

if TYPE_CHECKING:
    import diffrax

Rates = Callable[[Any, Any, Any, Any], Any]
"""`rates(p, y, u, r)`: the time derivative of the state `y` (its unit per minute) of a person with parameters `p`, for
insulin `u` (U/min) and carbohydrate `r` (mg/min). `t1djax.physics.rates` is one."""


class Solution(eqx.Module):
    """States of one person at given times; `vmap` adds a leading axis. `Trajectory` is that of the package's model."""

    time_min: Float[Array, "*batch times"]
    """Times, min."""
    state: PyTree[Array]
    """States at those times: like the state at the start, with an axis of times in front."""
    ok: Bool[Array, "*batch"]
    """Whether the solve succeeded and every state is finite."""


def solve(
    rates: Rates,
    p: Any,
    inputs: Inputs,
    ts: Float[Array, " times"],
    *,
    y0: PyTree[Array],
    solver: "diffrax.AbstractSolver | None" = None,
    stepsize_controller: "diffrax.AbstractStepSizeController | None" = None,
    adjoint: "diffrax.AbstractAdjoint | None" = None,
    max_steps: int = 4096,
) -> Solution:
    """Solve equations of your own with diffrax, from the start of the window (`inputs.start_min`).

    ```
    y' = rates(p, y, u(t), r(t)),   y(start) = y0
    ```

    Steps land on every jump of the inputs: a step across a bolus would err by what the bolus does.

    Args:
        rates: the equations, called with parameters, state, insulin (U/min) and carbohydrate (mg/min); see `Rates`.
        p: parameters of one person, any pytree.
        inputs: insulin and carbohydrate rates.
        ts: times at which to report, min, increasing, none before `inputs.start_min`.
        y0: state at the start, any pytree of arrays.
        solver: a diffrax solver; left out, `Tsit5`.
        stepsize_controller: an adaptive diffrax controller; left out, `PIDController(rtol=1e-8, atol=1e-8)` in
            float64 and `1e-5, 1e-6` in float32. The jumps are added to it.
        adjoint: how to differentiate; left out, `RecursiveCheckpointAdjoint`. Forward mode, as `least_squares` uses
            it, needs `diffrax.ForwardMode()`.
        max_steps: steps after which the solve gives up.

    Returns:
        The solution. A failed solve has `ok` false and whatever states were reached.

    Raises:
        ValueError: where the controller is not adaptive.

    Example:
        >>> import jax.numpy as jnp
        >>> import t1djax
        >>> def cleared(p, y, u, r):
        ...     return u - p * y
        >>> inputs = t1djax.Doses.of(basal=0.6).inputs(0, 60)
        >>> found = t1djax.physics.solve(cleared, 0.1, inputs, jnp.array([0.0, 60.0]), y0=jnp.array(0.1))
        >>> round(float(found.state[-1]), 3), bool(found.ok)
        (0.1, True)
    """
    import diffrax  # noqa: PLC0415 - half a second at import, and the exact solution needs none of it

    if stepsize_controller is not None and not isinstance(
        stepsize_controller, diffrax.AbstractAdaptiveStepSizeController
    ):
        # A fixed step that ends on a jump reads the next interval's rate in its last stage, and errs by whole boluses.
        raise ValueError("solve: stepsize_controller must be adaptive, such as diffrax.PIDController")
    double = jnp.result_type(*jax.tree.leaves(y0), ts) == jnp.float64
    if stepsize_controller is None:
        rtol, atol = (1e-8, 1e-8) if double else (1e-5, 1e-6)
        stepsize_controller = diffrax.PIDController(rtol=rtol, atol=atol)
    how = (
        diffrax.Tsit5() if solver is None else solver,
        stepsize_controller,
        diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint,
    )
    return _solved(rates, p, inputs, ts, y0, how, max_steps)


@eqx.filter_jit
def _solved(
    rates: Rates, p: Any, inputs: Inputs, ts: Float[Array, " times"], y0: PyTree[Array], how: Any, max_steps: int
) -> Solution:
    """The same equations are compiled once, not at every call."""
    import diffrax  # noqa: PLC0415

    solver, stepsize_controller, adjoint = how
    # Time counts from the start of the window: in single precision late minutes are coarse.
    since = inputs.since_start()
    start, end = since.start_min, jnp.maximum(ts[-1] - inputs.start_min, 0.0)
    # Breaks at the start, past the end, or repeated as padding are no jumps inside the solve.
    inside = (since.break_min > start) & (since.break_min < end)
    inside = inside & (jnp.diff(since.break_min, prepend=start) > 0)
    jumps = jnp.sort(jnp.where(inside, since.break_min, end + 1.0))
    stretch = _stretch(since.break_min, end)

    def slope(t: Any, y: Any, args: Any) -> Any:
        p, since, stretch = args
        factor = stretch[since.index(t)]
        return jax.tree.map(lambda x: factor.astype(x.dtype) * x, rates(p, y, *since.at(t)))

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),
        solver,
        t0=start,
        t1=end,
        dt0=None,
        y0=y0,
        args=(p, since, stretch),
        saveat=diffrax.SaveAt(ts=ts - inputs.start_min),
        stepsize_controller=diffrax.ClipStepSizeController(stepsize_controller, jump_ts=jumps),
        adjoint=adjoint,
        max_steps=max_steps,
        throw=False,
    )
    return Solution(ts, solution.ys, (solution.result == diffrax.RESULTS.successful) & finite(solution.ys))


def _stretch(break_min: Float[Array, " breaks"], end: Float[Array, ""]) -> Float[Array, " breaks"]:
    """How much longer each interval between jumps is than what the solver walks of it.

    It leaves out the two smallest steps of its clock about each jump: after two weeks in single precision 0.4 % of a
    bolus of one minute.
    """
    stop = jnp.append(break_min[1:], end)
    stop = jnp.minimum(jnp.where(stop > break_min, stop, end), end)
    walked = jnp.where(stop < end, jnp.nextafter(stop, break_min), stop)
    walked = walked - jnp.where(break_min > break_min[0], jnp.nextafter(break_min, end + 1), break_min)
    return jnp.where(walked > 0, (stop - break_min) / jnp.where(walked > 0, walked, 1.0), 1.0)


def finite(y: PyTree[Array]) -> Bool[Array, ""]:
    """Whether every number of a state is finite."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(y)]).all()
