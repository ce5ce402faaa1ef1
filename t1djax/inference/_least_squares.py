"""The mechanistic fit: least squares on the exact solution of the equations, and what it can know."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._checked import check_types
from .._types import Key
from ..data import Patient, PatientArrays, Series
from ..identifiability import certainties
from ..physics import residual_columns, state_columns
from ..problem import Problem
from ..programs import over_cohort
from ..records import Cost, Fit, History, Outcome, PatientFit, estimates_of
from ..twin import Physiology, Sensitivities
from ._levenberg import Optimum, least_squares

_FIRST_NOISE = 1.0  # mg/dL
_SOON = 40  # steps that nearly all need; in a large cohort the others go on by themselves and hold nobody up
_LARGE = 128  # patients that wait for each other
_ROUNDS = 6  # solves, where priors weigh by a noise that the solve before estimates


class LeastSquares(NamedTuple):
    """Options of the mechanistic fit.

    Example:
        >>> from t1djax.inference import LeastSquares
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
    start: dict[str, Array]
    found: Sensitivities
    information: Array
    noise: Array
    glucose_mg_dL: Array
    states: dict[str, Array]
    loss: Array
    steps: Array
    cut: Bool[Array, ""]
    """Whether a start was out of steps."""
    ok: Bool[Array, ""]


def fit_ode(patients: Sequence[Patient], problem: Problem, *, key: Key, options: LeastSquares | None = None) -> Fit:
    """Fit the equations to the `fit` readings by non-linear least squares, all patients in one program.

    ```
    min over theta of   sum over fit readings of (G(t_i; theta) - y_i)^2
                      + s^2 sum over priors of ((log theta_j - log median_j) / sd_j)^2
    ```

    by Levenberg-Marquardt on the free coordinates of `Physiology`, with `G` the exact solution and derivatives by
    forward-mode autodiff. `s` is the readings' noise: given, or estimated from the misfit, in which case a problem
    with priors is solved six times, each time with the `s` of the solve before. Standard errors come from the
    curvature, `(J'J / s^2 + P)^-1` with `P` the information of the priors; they assume white sensor noise. It
    computes in float64, whatever the global setting.

    Args:
        patients: the cohort.
        problem: what is known and what is free; see `pose`.
        key: draws the second and further starts.
        options: see `LeastSquares`.

    Returns:
        The fit. A patient that does not converge has `ok` false and a message; the others are not touched.

    Raises:
        ValueError: where the tolerance is not positive, or there is no step or no start.

    Source: Marquardt, J. SIAM 11(2), 1963; Cramer-Rao for the standard errors.
    """
    check_types(fit_ode, locals())
    options = LeastSquares() if options is None else options
    if not options.tolerance > 0 or options.max_steps < 1 or (options.starts is not None and options.starts < 1):
        raise ValueError(f"{options}: tolerance must be positive, max_steps and starts at least 1")
    count = options.starts or (4 if _several_valleys(problem) else 1)
    draws = [problem.start] + [problem.redraw(jax.random.fold_in(key, i)) for i in range(1, count)]
    began = time.perf_counter()
    each = [problem.physiology(start=draw) for draw in draws]
    starts = {s: np.stack([np.asarray(body.free[s]) for body in each], axis=1) for s in problem.start}
    data = PatientArrays(patients)
    soon = min(options.max_steps, _SOON) if len(patients) > _LARGE else options.max_steps
    static = (options._replace(max_steps=soon), False)
    solution, compile_s = over_cohort(_fit_patient, each[0], data, starts, static=static)

    def again(solution: _Solution, rows: np.ndarray, bounded: bool) -> tuple[_Solution, float]:
        if not rows.size:
            return solution, 0.0
        with jax.enable_x64(True):
            few = (jax.tree.map(lambda x: x[rows], each[0]), data[rows], {s: x[rows] for s, x in starts.items()})
        found, seconds = over_cohort(_fit_patient, *few, static=(options, bounded))
        return jax.tree.map(lambda x, y: _put(x, rows, y), solution, found), seconds

    late = solution.cut & (soon < options.max_steps)
    solution, seconds = again(solution, np.flatnonzero(late), False)
    compile_s += seconds
    if "G0" in problem.start:  # few, if any: everybody else's numbers are those of a problem without a least
        low = solution.found.values["G0"] < problem.limits("G0")[0]
        solution, seconds = again(solution, np.flatnonzero(low), True)
        compile_s += seconds
    records = tuple(_records(patients, problem, solution, options))
    cost = Cost(compile_s, time.perf_counter() - began - compile_s)
    return Fit("ode", problem, records, _history(problem, solution), cost)


def _put(x: np.ndarray, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    x = np.array(x)
    x[rows] = y
    return x


def _several_valleys(problem: Problem) -> bool:
    """Whether something free enters the equations as a time constant does, or is on board at the start."""
    table = problem.body.parameters
    return any(symbol not in table or table[symbol].unit in ("min", "1/min") for symbol in problem.start)


class _Given(NamedTuple):
    body: Physiology
    data: Series


def _misfit(z: dict[str, Array], given: _Given) -> Float[Array, " rows"]:
    body, data = given.body.with_free(z), given.data
    return jnp.where(data.fit, body.trajectory(data).glucose_mg_dL - data.glucose_mg_dL, 0.0)


def _fit_patient(
    body: Physiology, data: Series, starts: dict[str, Array], options: LeastSquares, bounded: bool
) -> _Solution:
    given = _Given(body, data)
    readings = jnp.sum(data.fit)
    if starts:
        each = jax.vmap(lambda z0: _solve(z0, given, options, bounded))(starts)
        best = jnp.argmin(jnp.where(jnp.isfinite(each.score), each.score, jnp.inf))
        found, start = jax.tree.map(lambda x: x[best], (each, starts))
    else:  # nothing is free: the states follow from the parameters
        start, nothing = {}, jnp.zeros(())
        found = _Found({}, nothing, jnp.zeros((0, 0)), jnp.asarray(0), jnp.asarray(False), jnp.asarray(True))
        each = found
    trajectory = body.with_free(found.z).trajectory(data)
    loss = jnp.sum(jnp.where(data.fit, trajectory.glucose_mg_dL - data.glucose_mg_dL, 0.0) ** 2)
    return _Solution(
        start=body.with_free(start).sensitivities().values,
        found=body.with_free(found.z).sensitivities(),
        information=found.information,
        noise=body.noise(loss, readings),
        glucose_mg_dL=trajectory.glucose_mg_dL,
        states={name: getattr(trajectory.state, leaf) for name, leaf in state_columns(body.body.States).items()},
        loss=loss / jnp.maximum(readings, 1),
        steps=found.steps,
        cut=jnp.any(each.cut),
        ok=found.converged & trajectory.ok & jnp.isfinite(loss),
    )


class _Found(NamedTuple):
    z: dict[str, Array]
    score: Array
    information: Array
    steps: Array
    cut: Array
    converged: Array


def _solve(z0: dict[str, Array], given: _Given, options: LeastSquares, bounded: bool) -> _Found:
    """The least squares from one start; `bounded` says whether nothing may go below its least."""
    body, readings = given.body, jnp.sum(given.data.fit)
    named = lambda vector: dict(zip(sorted(z0), vector, strict=True))
    of_readings = lambda found: found.jacobian[: given.data.fit.size]

    def solve(vector: Array, noise: Array) -> Optimum:
        def rows(vector: Array) -> Array:
            prior_rows = body.with_free(named(vector)).prior_misfit(noise)
            return jnp.concatenate([_misfit(named(vector), given), prior_rows])

        how = {"tolerance": options.tolerance, "max_steps": options.max_steps}
        return least_squares(rows, vector, lowest=body.lowest() if bounded else None, **how)

    def result(found: Optimum, score: Array, steps: Array) -> _Found:
        J = of_readings(found)
        return _Found(
            named(found.z), score, J.T @ J, jnp.sum(steps), jnp.any(steps >= options.max_steps), found.converged
        )

    # One vector rather than a leaf per parameter: the sensitivities are then traced once.
    vector = jnp.stack([z0[symbol] for symbol in sorted(z0)])
    if not body.prior or body.noise_sd_mg_dL is not None:
        found = solve(vector, body.noise(jnp.zeros(()), readings))
        return result(found, found.squares, found.steps)

    def again(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple[Optimum, Array]]:
        vector, noise = carry
        found = solve(vector, noise)
        # Twice the negative logarithm of the posterior: starts differ in the noise that they leave.
        score = 2 * readings * jnp.log(noise) + found.squares / noise**2
        beliefs = jnp.sum(body.with_free(named(found.z)).prior_misfit(noise) ** 2)
        return (found.z, body.noise(jnp.maximum(found.squares - beliefs, 0.0), readings)), (found, score)

    # Nearly exact readings first: the noise is then what the equations miss, not what a wrong prior makes them miss.
    first = jnp.asarray(_FIRST_NOISE, vector.dtype)
    _, (rounds, scores) = jax.lax.scan(again, (vector, first), length=_ROUNDS)
    return result(jax.tree.map(lambda x: x[-1], rounds), scores[-1], rounds.steps)


def fisher_information(
    known: dict[str, Float[Array, ""]],
    z: dict[str, Float[Array, ""]],
    data: Series,
    *,
    noise_sd_mg_dL: float | Float[Array, ""] = 1.0,
) -> Float[Array, "free free"]:
    """Fisher information of the logarithms `z` in the `fit` readings of one patient, under white noise.

    `F = J'J / sd^2`, with `J` the sensitivities of glucose; its inverse is the Cramer-Rao bound. Rows and columns
    follow the sorted symbols. Compute in float64.

    Args:
        known: values of the other parameters, by symbol.
        z: logarithms of the free ones.
        data: the patient's arrays; only its `fit` mask and inputs count, not the readings.
        noise_sd_mg_dL: standard deviation of the sensor's white noise, mg/dL.

    Returns:
        The matrix, without unit.

    Example:
        >>> import jax.numpy as jnp
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=30, names=["Pat3"])["Pat3"]
        >>> known = {symbol: jnp.asarray(value) for symbol, value in patient.known.items()}
        >>> z = {"ksi": jnp.log(known.pop("ksi"))}
        >>> t1djax.inference.fisher_information(known, z, t1djax.data.series(patient), noise_sd_mg_dL=10.0).shape
        (1, 1)

    Source: Kay, *Fundamentals of Statistical Signal Processing: Estimation Theory*, 1993, section 3.9.
    """
    J = _jacobian(z, _Given(Physiology(known, z), data))
    return J.T @ J / noise_sd_mg_dL**2


def _jacobian(z: dict[str, Array], given: _Given) -> Float[Array, "rows free"]:
    columns = jax.jacfwd(_misfit)(z, given) if z else {}
    return jnp.stack([columns[symbol] for symbol in sorted(z)], axis=-1) if z else jnp.zeros((given.data.fit.size, 0))


def _records(patients: Sequence[Patient], problem: Problem, s: _Solution, options: LeastSquares) -> list[PatientFit]:
    fits, body = [], problem.body
    derived = body.facts.derived if problem.mode == "inverse" else ()
    for i, patient in enumerate(patients):
        rows = len(patient.time_min)
        found, start = jax.tree.map(lambda x, i=i: x[i], (s.found, s.start))
        certain = certainties(np.asarray(s.information[i]), float(s.noise[i]), found)
        report = estimates_of(problem, certain, found.values, start)
        # The solution misses nothing.
        nothing = np.broadcast_to(0.0, rows)
        fits.append(
            PatientFit(
                patient=patient,
                outcome=Outcome.of(
                    bool(s.ok[i]), finite=bool(np.isfinite(s.loss[i])), stalled=bool(s.steps[i] < options.max_steps)
                ),
                estimates={symbol: report[symbol] for symbol in problem.start},
                derived={row.symbol: report[row.symbol] for row in derived},
                glucose_mg_dL=np.asarray(s.glucose_mg_dL[i, :rows]),
                states={column: np.asarray(x[i, :rows]) for column, x in s.states.items()},
                residuals=dict.fromkeys(residual_columns(body.States, body.facts.learnt), nothing),
                body=body,
            )
        )
    return fits


def _history(problem: Problem, s: _Solution) -> History:
    values = {k: np.stack([s.start[k], s.found.values[k]]) for k in problem.start}
    loss = np.asarray(s.loss)
    return History(np.array([0, int(np.max(s.steps))]), values, {"data": np.stack([loss * np.nan, loss])})
