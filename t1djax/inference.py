"""The mechanistic fit: least squares on the exact solution of the equations, and what it can know."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from jaxtyping import Array, Bool, Float

from ._compile import compile_once
from ._types import Key
from .data import Patient, Series, stack
from .physics import State, Trajectory, propagate
from .problem import Problem
from .records import Cost, Estimate, Fit, History, PatientFit
from .twin import Physiology

_CHUNK = 128  # patients per vmapped block: bounds memory, and one slow patient holds up only its block
_SEVERAL_VALLEYS = {"Tu", "Tr", "S0", "I0", "E0", "D0"}  # time constants enter non-linearly


class LeastSquares(NamedTuple):
    """Options of the mechanistic fit.

    Example:
        >>> from t1djax import LeastSquares
        >>> LeastSquares().max_steps
        256
    """

    starts: int | None = None
    """Starts per patient, the best of which is kept; left out, 4 where a time constant is free and else 1."""
    tolerance: float = 1e-10
    """Relative and absolute tolerance of Levenberg-Marquardt, on the logarithms and on the sum of squares."""
    max_steps: int = 256
    """Steps after which a patient counts as failed."""


class _Solution(NamedTuple):
    z: dict[str, Array]
    start: dict[str, Array]
    covariance: Array
    derived: dict[str, Array]
    derived_start: dict[str, Array]
    derived_sd: dict[str, Array]
    trajectory: Trajectory
    loss: Array
    steps: Array
    ok: Bool[Array, ""]


def fit_ode(patients: Sequence[Patient], problem: Problem, *, key: Key, options: LeastSquares | None = None) -> Fit:
    """Fit the equations to the `fit` readings by non-linear least squares, all patients in one program.

    `min over z of sum over fit readings of (G(t_i; exp(z)) - y_i)^2`, by Levenberg-Marquardt on the
    logarithms of the free parameters, with `G` the exact solution and derivatives by forward-mode autodiff.
    Standard errors come from the curvature, `s^2 (J'J)^-1`, with `s^2` the residual variance; they assume
    white sensor noise. It computes in float64, whatever the global setting.

    Args:
        patients: the cohort.
        problem: what is known and what is free; see `pose`.
        key: draws the second and further starts.
        options: see `LeastSquares`.

    Returns:
        The fit. A patient that does not converge has `ok` false and a message; the others are not touched.

    Source: Levenberg-Marquardt as in optimistix; Cramer-Rao for the standard errors.
    """
    options = LeastSquares() if options is None else options
    starts = options.starts or (4 if _SEVERAL_VALLEYS & set(problem.start) else 1)
    draws = [problem.start] + [problem.redraw(jax.random.fold_in(key, i)) for i in range(1, starts)]
    with jax.enable_x64(True):
        data = stack(patients)
        known = {symbol: jnp.asarray(value) for symbol, value in problem.known.items()}
        z0 = {symbol: jnp.stack([jnp.log(d[symbol]) for d in draws], axis=1) for symbol in problem.start}
        args = (_Given(known, {s: jnp.log(value) for s, value in problem.prior.items()}, data), z0)
        program, compile_s = compile_once(_cohort_program, (options, len(patients)), args)
        began = time.perf_counter()
        solution = jax.block_until_ready(program(*args))
        run_s = time.perf_counter() - began
        solution = jax.tree.map(np.asarray, solution)
    return _record(patients, problem, solution, Cost(compile_s, run_s), options)


def _cohort_program(options: LeastSquares, patients: int) -> Callable[..., _Solution]:
    """The fit of a whole cohort: one vmapped block, or a map over blocks where there are many patients."""

    def solve(args: tuple[_Given, dict[str, Array]]) -> _Solution:
        return _fit_patient(*args, options)

    if patients <= _CHUNK:
        return lambda *args: jax.vmap(solve)(args)
    return lambda *args: jax.lax.map(solve, args, batch_size=_CHUNK)


def _dense_tangents(f: Callable[[Array, Any], Array]) -> Callable[[Array, Any], Array]:
    """`f` with its few sensitivities computed once as a matrix.

    The solver asks for products with the Jacobian and its transpose in several places; left to itself it traces
    the differentiated propagator in each of them, and compilation takes three times as long.
    """

    @jax.custom_jvp
    def g(z: Array, args: Any) -> Array:
        return f(z, args)

    @g.defjvp
    def _(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
        return g(*primals), jax.jacfwd(f)(*primals) @ tangents[0]

    return g


class _Given(NamedTuple):
    known: dict[str, Array]
    prior: dict[str, Array]
    data: Series


def _residuals(z: dict[str, Array], given: _Given) -> Float[Array, " residuals"]:
    body, data = Physiology(given.known, z, given.prior), given.data
    misfit = jnp.where(data.fit, _trajectory(body, data).glucose_mg_dL - data.glucose_mg_dL, 0.0)
    return jnp.concatenate([misfit, body.prior_misfit()])


def _trajectory(body: Physiology, data: Series) -> Trajectory:
    return propagate(body.model(), data.inputs, data.time_min, y0=body.initial_state())


def _fit_patient(args: _Given, starts: dict[str, Array], options: LeastSquares) -> _Solution:
    data, known = args.data, args.known
    if starts:
        solver = optx.LevenbergMarquardt(
            rtol=options.tolerance, atol=options.tolerance, linear_solver=lx.Normal(lx.Cholesky())
        )

        flat = _dense_tangents(lambda z, args: _residuals(dict(zip(sorted(starts), z, strict=True)), args))

        def solve(z0: dict[str, Array]) -> tuple[dict[str, Array], Array, Array, Array]:
            # One vector rather than a leaf per parameter: the sensitivities are then traced once.
            vector = jnp.stack([z0[symbol] for symbol in sorted(z0)])
            found = optx.least_squares(flat, solver, vector, args, max_steps=options.max_steps, throw=False)
            loss = jnp.sum(flat(found.value, args) ** 2)
            z = dict(zip(sorted(starts), found.value, strict=True))
            return z, loss, found.stats["num_steps"], found.result == optx.RESULTS.successful

        each = jax.vmap(solve)(starts)
        best = jnp.argmin(jnp.where(jnp.isfinite(each[1]), each[1], jnp.inf))
        (z, loss, steps, converged), start = jax.tree.map(lambda x: x[best], (each, starts))
    else:  # nothing is free: the states follow from the parameters
        z, start, steps, converged = {}, {}, jnp.asarray(0), jnp.asarray(True)
        loss = jnp.sum(_residuals(z, args) ** 2)
    trajectory = _trajectory(Physiology(known, z), data)
    covariance = _covariance(z, args, loss)
    derived = lambda z: Physiology(known, z).derived()
    return _Solution(
        z=z,
        start=start,
        covariance=covariance,
        derived=derived(z),
        derived_start=derived(start),
        derived_sd=_spread(derived, z, covariance),
        trajectory=trajectory,
        loss=loss / jnp.maximum(jnp.sum(data.fit), 1),
        steps=steps,
        ok=converged & trajectory.ok & jnp.isfinite(loss),
    )


def fisher_information(
    known: dict[str, Array], z: dict[str, Array], data: Series, *, noise_sd_mg_dL: float | Array = 1.0
) -> Float[Array, "free free"]:
    """Fisher information of the logarithms `z` in the `fit` readings of one patient, under white noise.

    `F = J'J / sd^2`, with `J` the sensitivities of glucose; its inverse is the Cramer-Rao bound. Rows and columns
    follow the sorted symbols. Compute in float64.

    Args:
        known: values of the other parameters, by symbol.
        z: logarithms of the free ones.
        data: the patient's arrays; only its `fit` mask and inputs count, not the readings.
        noise_sd_mg_dL: standard deviation of the sensor's white noise, mg/dL.
    """
    J = _jacobian(z, _Given(known, {}, data))
    return J.T @ J / noise_sd_mg_dL**2


def _jacobian(z: dict[str, Array], args: _Given) -> Float[Array, "rows free"]:
    columns = jax.jacfwd(_residuals)(z, args)
    return jnp.stack([columns[symbol] for symbol in sorted(z)], axis=-1)


def _covariance(z: dict[str, Array], args: _Given, loss: Array) -> Array:
    if not z:
        return jnp.zeros((0, 0))
    freedom = jnp.maximum(jnp.sum(args.data.fit) - len(z), 1)
    J = _jacobian(z, args)
    size = jnp.linalg.norm(J, axis=0)
    size = jnp.where(size > 0, size, 1.0)
    eigenvalues, vectors = jnp.linalg.eigh((J / size).T @ (J / size))
    # A direction without information keeps a huge variance; a pseudo-inverse would call it certain.
    inverse = (vectors / jnp.maximum(eigenvalues, jnp.finfo(J.dtype).eps)) @ vectors.T
    return loss / freedom * inverse / jnp.outer(size, size)


def _spread(derived, z: dict[str, Array], covariance: Array) -> dict[str, Array]:
    if not z:
        return {symbol: jnp.zeros_like(value) for symbol, value in derived(z).items()}
    slopes = jax.jacfwd(derived)(z)
    gradient = {symbol: jnp.stack([by[s] for s in sorted(z)]) for symbol, by in slopes.items()}
    return {symbol: jnp.sqrt(g @ covariance @ g) for symbol, g in gradient.items()}


def _why_not(options: LeastSquares, steps: int, finite: bool) -> str:
    if not finite:
        return "least squares met numbers that are not finite; check the patient's parameters and doses"
    if steps >= options.max_steps:
        return f"least squares did not converge in {steps} steps; estimate fewer parameters, or give it a longer window"
    return f"least squares stopped after {steps} steps without converging; estimate fewer parameters"


def _record(patients: Sequence[Patient], problem: Problem, s: _Solution, cost: Cost, options: LeastSquares) -> Fit:
    order = sorted(s.z)
    fits = []
    for i, patient in enumerate(patients):
        rows = len(patient.time_min)
        sd = np.sqrt(np.diagonal(s.covariance[i]))
        value = {symbol: np.exp(s.z[symbol][i]) for symbol in order}
        estimates = {
            symbol: Estimate(float(value[symbol]), float(np.exp(s.start[symbol][i])), float(value[symbol] * sd[j]))
            for j, symbol in enumerate(order)
        }
        derived = {
            symbol: Estimate(float(s.derived[symbol][i]), float(s.derived_start[symbol][i]), float(spread[i]))
            for symbol, spread in s.derived_sd.items()
        }
        states: State = s.trajectory.state
        fits.append(
            PatientFit(
                name=patient.name,
                ok=bool(s.ok[i]),
                message="" if s.ok[i] else _why_not(options, int(s.steps[i]), bool(np.isfinite(s.loss[i]))),
                estimates={symbol: estimates[symbol] for symbol in problem.start},
                derived=derived if problem.mode == "inverse" else {},
                time_min=patient.time_min,
                glucose_mg_dL=np.asarray(states.G[i, :rows]),
                insulin_U_dL=np.asarray(states.I[i, :rows]),
                digestion_mg_dL_min=np.asarray(states.D[i, :rows]),
                # The exact solution misses nothing.
                residual_G_mg_dL_min=np.zeros(rows),
                residual_I_U_dL_min=np.zeros(rows),
                residual_D_mg_dL_min2=np.zeros(rows),
            )
        )
    values = {k: np.stack([np.exp(s.start[k]), np.exp(s.z[k])]) for k in problem.start}
    history = History(np.array([0, int(np.max(s.steps))]), values, {"data": np.stack([s.loss * np.nan, s.loss])})
    return Fit("ode", problem, tuple(fits), history, cost)
