"""Trajectories: an adaptive diffrax solve of the vector field, and the exact solution of the linear system."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._inputs import Inputs
from ._magdelaine import Magdelaine, State, rates, steady_state
from ._solve import finite, solve

if TYPE_CHECKING:
    import diffrax


class Trajectory(eqx.Module):
    """States of one patient at given times; `vmap` adds a leading axis.

    Example:
        >>> import jax.numpy as jnp
        >>> import t1djax
        >>> preset = t1djax.presets()["Pat2"]
        >>> path = t1djax.propagate(preset.model(), preset.doses.inputs(0, 2880), jnp.arange(0.0, 2881.0, 5.0))
        >>> path.glucose_mg_dL.shape, bool(path.ok)
        ((577,), True)
    """

    time_min: Float[Array, "*batch times"]
    """Times, min."""
    state: State
    """States at those times."""
    ok: Bool[Array, "*batch"]
    """Whether the solve succeeded and every state is finite: one bad patient does not spoil the others."""

    @property
    def glucose_mg_dL(self) -> Float[Array, "*batch times"]:
        """Glucose `G`, mg/dL."""
        return self.state.G

    @property
    def insulin_U_dL(self) -> Float[Array, "*batch times"]:
        """Plasma insulin `I`, U/dL."""
        return self.state.I

    @property
    def digestion_mg_dL_min(self) -> Float[Array, "*batch times"]:
        """Appearance of glucose from meals `D`, mg/dL/min."""
        return self.state.D


def simulate(
    p: Magdelaine,
    inputs: Inputs,
    ts: Float[Array, " times"],
    *,
    y0: State | None = None,
    G0: float | Float[Array, ""] = 120.0,
    solver: "diffrax.AbstractSolver | None" = None,
    stepsize_controller: "diffrax.AbstractStepSizeController | None" = None,
    adjoint: "diffrax.AbstractAdjoint | None" = None,
    max_steps: int = 4096,
) -> Trajectory:
    """Solve the model with diffrax, from the start of the window (`inputs.start_min`): `solve` with `rates`.

    Steps land on every jump of the inputs; a step across a bolus would err by up to 15 mg/dL.

    Args:
        p: parameters of one patient.
        inputs: insulin and carbohydrate rates.
        ts: times at which to report, min, increasing, none before `inputs.start_min`.
        y0: state at the start; left out, the steady state at glucose `G0`.
        G0: glucose at the start, mg/dL; not used where `y0` is given.
        solver: a diffrax solver; left out, `Tsit5`.
        stepsize_controller: an adaptive diffrax controller; left out, `PIDController(rtol=1e-8, atol=1e-8)` in
            float64 and `1e-5, 1e-6` in float32. The jumps are added to it.
        adjoint: how to differentiate; left out, `RecursiveCheckpointAdjoint`.
        max_steps: steps after which the solve gives up.

    Returns:
        The trajectory. A failed solve has `ok` false and whatever states were reached.

    Raises:
        ValueError: where the controller is not adaptive.

    Example:
        >>> import jax.numpy as jnp
        >>> import t1djax
        >>> preset = t1djax.presets()["Pat2"]
        >>> path = t1djax.simulate(preset.model(), preset.doses.inputs(0, 600), jnp.array([0.0, 300.0, 600.0]))
        >>> path.glucose_mg_dL.shape, bool(path.ok)
        ((3,), True)
    """
    y0 = steady_state(p, G0) if y0 is None else y0
    found = solve(
        rates,
        p,
        inputs,
        ts,
        y0=y0,
        solver=solver,
        stepsize_controller=stepsize_controller,
        adjoint=adjoint,
        max_steps=max_steps,
    )
    assert isinstance(found.state, State)
    return Trajectory(ts, found.state, found.ok)


def propagate(
    p: Magdelaine,
    inputs: Inputs,
    ts: Float[Array, " times"],
    *,
    y0: State | None = None,
    G0: float | Float[Array, ""] = 120.0,
) -> Trajectory:
    """The exact solution at `ts` (min), in closed form: the oracle, and the fast path.

    The system is linear and its inputs are constant between breaks, so each lag pair moves by
    `exp(-h/T) [[1, 0], [h/T, 1]]` towards the level of its input. The states at the breaks are one
    short scan; glucose is the integral of the rest. There is no step, hence no step error, on any grid.

    Args:
        p: parameters of one patient.
        inputs: insulin and carbohydrate rates.
        ts: times at which to report, min, none before `inputs.start_min`.
        y0: state at the start; left out, the steady state at glucose `G0`.
        G0: glucose at the start, mg/dL; not used where `y0` is given.

    Returns:
        The trajectory. `ok` is false where a state is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import t1djax
        >>> preset = t1djax.presets()["Pat2"]
        >>> path = t1djax.propagate(preset.model(), preset.doses.inputs(0, 600), jnp.array([0.0, 300.0, 600.0]))
        >>> path.glucose_mg_dL.shape, bool(path.ok)
        ((3,), True)

    Source: Magdelaine et al., IEEE Trans. Biomed. Eng. 62(6), 2015; the step is derived in
    `docs/physics.md`.
    """
    y0 = steady_state(p, G0) if y0 is None else y0
    insulin, digestion = exact_lags(p, inputs, ts, y0)
    drift = (p.kl - p.kb) * (ts - inputs.start_min)
    G = y0.G + drift - p.ksi * insulin[2] + digestion[2]
    states = State(G=G, S=insulin[0], I=insulin[1], E=digestion[0], D=digestion[1])
    return Trajectory(ts, states, finite(states))


def exact_lags(
    p: Magdelaine, inputs: Inputs, ts: Float[Array, " times"], y0: State
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    """`(S, I, integral of I)` and `(E, D, integral of D)` at `ts`, exactly; the integrals run from the start."""
    pair = _Lags(
        T=jnp.stack([p.Tu, p.Tr]),
        level=jnp.stack([p.ku_Vi * inputs.insulin_U_min, p.kr_Vb * inputs.carbs_mg_min]),
        first0=jnp.stack([y0.S, y0.E]),
        second0=jnp.stack([y0.I, y0.D]),
    )
    index = inputs.index(ts)
    # Insulin and meals are the same pair of lags: one traced body serves both, which halves compilation.
    first, second, area = jax.vmap(lambda lags: _cascade(lags, inputs.break_min, ts, index))(pair)
    return (first[0], second[0], area[0]), (first[1], second[1], area[1])


def lag_response(
    inputs: Inputs, rate: Float[Array, " breaks"], ts: Float[Array, " times"], T: Array
) -> Float[Array, " times"]:
    """Answer of two equal lags, empty at the start, to a piecewise-constant rate: exact, in the rate's unit.

    Args:
        inputs: gives the breaks.
        rate: value on each interval of the inputs.
        ts: times, min.
        T: time constant of each lag, min.
    """
    empty = jnp.zeros((), rate.dtype)
    return _cascade(_Lags(T, rate, empty, empty), inputs.break_min, ts, inputs.index(ts))[1]


class _Lags(NamedTuple):
    """Two equal lags in cascade, driven to `level[k]` on interval `k`."""

    T: Array
    level: Array
    first0: Array
    second0: Array


def _cascade(lags: _Lags, break_min: Array, ts: Array, i: Array) -> tuple[Array, Array, Array]:
    """First lag, second lag and the integral of the second, at `ts`; `i` tells in which interval each lies."""
    T, level, first0, second0 = lags
    tau = jnp.diff(break_min) / T
    # An affine map per interval; (tau, b) stands for y -> exp(-tau) [[1, 0], [tau, 1]] y + b.
    maps = (tau, level[:-1] * _rise1(tau), level[:-1] * _rise2(tau))

    # Sequential: there are few breaks, many patients beside them, and it compiles in half the time of a parallel scan.
    def cross(
        y: tuple[Array, Array], step: tuple[Array, Array, Array]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        tau, b1, b2 = step
        decay = jnp.exp(-tau)
        y = (decay * y[0] + b1, decay * (y[1] + tau * y[0]) + b2)
        return y, y

    _, (firsts, seconds) = jax.lax.scan(cross, (first0, second0), maps)
    first = jnp.concatenate([first0[None], firsts])
    second = jnp.concatenate([second0[None], seconds])
    x1, x2 = first - level, second - level  # deviations from the level, at the start of each interval
    areas = T * (level[:-1] * tau + x2[:-1] * _rise1(tau) + x1[:-1] * _rise2(tau))
    area = jnp.concatenate([jnp.zeros_like(first0)[None], jnp.cumsum(areas)])
    h = (ts - break_min[i]) / T
    decay = jnp.exp(-h)
    return (
        level[i] + x1[i] * decay,
        level[i] + (x2[i] + x1[i] * h) * decay,
        area[i] + T * (level[i] * h + x2[i] * _rise1(h) + x1[i] * _rise2(h)),
    )


def _rise1(tau: Array) -> Array:
    """Answer of one lag to a unit step: `1 - exp(-tau)`."""
    return -jnp.expm1(-tau)


def _rise2(tau: Array) -> Array:
    """Answer of two lags to a unit step: `1 - exp(-tau) - tau exp(-tau)`."""
    return -jnp.expm1(-tau) - tau * jnp.exp(-tau)
