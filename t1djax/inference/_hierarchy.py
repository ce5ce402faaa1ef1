"""Partial pooling: the middle and the spread of a population, estimated along with its people."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float

from .._checked import check_types
from .._types import Key
from .._words import each
from ..data import Cohort, Patient, PatientArrays, Series
from ..problem import Problem
from ..programs import together
from ..records import Cost, Hierarchy, Outcome, PooledPatient
from ..twin import Physiology
from ._chains import HMC, NUTS, run_chains, trust
from ._least_squares import fit_ode
from ._posterior import Target

_SPREAD_PRIOR = (float(np.log(0.2)), 1.0)  # of the logarithm of the population's standard deviation
_ROUNDS, _FIRST = 40, 8  # of Gauss-Newton, in the first of which the spread is held
_NEWTON = 3  # steps on the spread per round
_FURTHEST = 1.0  # in the logarithm, that a patient may start from the median patient
_STILL = 0.02  # standard errors: a step this small has converged


def fit_hierarchy(
    patients: Cohort | Sequence[Patient],
    problem: Problem,
    *,
    key: Key,
    pooled: str | Sequence[str] = (),
    chains: int = 4,
    draws: int = 250,
    warmup: int = 200,
    joint: HMC | NUTS | None = None,
) -> Hierarchy:
    """Estimate a population and its people together, so that a person with little data borrows strength.

    ```
    log theta_ij ~ N(m_j, w_j^2)          patient i, pooled parameter j
    y_i = G(theta_i) + e_i,   e ~ N(0, s_i^2)
    ```

    `m` is flat, `log(w / 0.2)` standard normal; parameters are independent of each other over people. What is free
    and not pooled (`G0`, what is on board) is each patient's own. Patients' modes follow by Gauss-Newton and `w` by
    its marginal density, in turns. About the modes the likelihood of each patient is taken as normal in the
    logarithms (Laplace); patients and `m` are then integrated out exactly, `w` is drawn by Hamiltonian Monte Carlo,
    and `m` and the patients are drawn given `w`. With `joint` everything is drawn together from the true density.
    `s_i` is given, or estimated from each patient's misfit and then held. It computes in float64.

    Args:
        patients: the cohort, at least three people.
        problem: what is known and what is free; see `pose`.
        key: random key.
        pooled: which parameters are shared; those that the problem names, but for `G0`, if not given.
        chains: how many.
        draws: per chain.
        warmup: draws that adapt and are thrown away.
        joint: how to draw patients and population together without Laplace; left out, with it. Its cost per draw
            is that of all patients together, so it is for small cohorts.

    Returns:
        The population and its people. A patient whose fit does not converge has `ok` false; the others are not touched
        where its numbers are not finite.

    Raises:
        ValueError: where there are fewer than three patients, nothing to pool, or a pooled parameter has a prior or
            bounds of its own.

    Example:
        >>> import jax
        >>> import t1djax
        >>> cohort = t1djax.virtual_population(6, key=jax.random.key(0), interval_min=30, noise=t1djax.WhiteNoise(10.0))
        >>> problem = t1djax.pose(tuple(cohort), mode="inverse", free=["ksi"], key=jax.random.key(1))
        >>> found = t1djax.fit_hierarchy(cohort, problem, key=jax.random.key(2))
        >>> found.pooled, len(found)
        (('ksi',), 6)

    Source: Gelman et al., Bayesian Data Analysis, 3rd ed., 2013, chapters 5 and 13 (Laplace, marginal mode).
    """
    check_types(fit_hierarchy, locals())
    patients = Cohort.of(patients).patients
    pooled = each(pooled) or tuple(s for s in problem.named if s != "G0")
    _check(patients, problem, pooled)
    began = time.perf_counter()
    alone = fit_ode(patients, problem, key=key)
    start = {s: _near_the_median(np.array([p.estimates[s].value for p in alone]), problem, s) for s in problem.start}
    index = tuple(sorted(problem.start).index(s) for s in pooled)
    found, compile_s = together(
        _pool, key, problem.physiology(start=start), PatientArrays(patients),
        static=(index, joint, chains, draws, warmup),
    )  # fmt: skip
    compile_s += alone.cost.compile_s
    cost = Cost(compile_s, time.perf_counter() - began - compile_s)
    return _record(problem, pooled, found, cost)


def _check(patients: tuple[Patient, ...], problem: Problem, pooled: tuple[str, ...]) -> None:
    if tuple(p.name for p in patients) != problem.names:
        raise ValueError("the problem was posed for other patients, or in another order")
    if len(patients) < 3:
        raise ValueError(f"a population of {len(patients)} has no spread to speak of; give three patients or more")
    free = [s for s in pooled if s in problem.start]
    if not pooled or len(free) < len(pooled):
        raise ValueError(f"pooled is {', '.join(pooled) or 'empty'}; free are {', '.join(problem.start) or 'none'}")
    restricted = [s for s in pooled if s in problem.priors or s in problem.bounds]
    if restricted:
        raise ValueError(
            f"{', '.join(restricted)}: pooled, so the population is its prior; leave out priors and bounds"
        )


def _near_the_median(values: np.ndarray, problem: Problem, symbol: str) -> np.ndarray:
    usable = np.isfinite(values) & (values > 0)
    log = np.log(np.where(usable, values, problem.start[symbol]))
    if symbol not in problem.named:
        return np.exp(log)
    return np.exp(np.clip(log, np.median(log) - _FURTHEST, np.median(log) + _FURTHEST))


class _Quadratic(NamedTuple):
    """The log likelihood of one patient, `h'x - x'A x / 2`, with priors of what is not pooled."""

    h: Float[Array, " free"]
    A: Float[Array, "free free"]


class _Reduced(NamedTuple):
    """The same of the pooled coordinates alone, the others integrated out."""

    h: Float[Array, " pooled"]
    A: Float[Array, "pooled pooled"]


class _State(NamedTuple):
    x: Float[Array, " free"]
    damping: Float[Array, ""]
    noise: Float[Array, ""]
    step: Float[Array, ""]  # in standard errors


class _Population(NamedTuple):
    mean: Float[Array, " pooled"]
    log_sd: Float[Array, " pooled"]


def _reduce(q: _Quadratic, index: tuple[int, ...]) -> _Reduced:
    p = jnp.asarray(index)
    rest = [i for i in range(q.h.size) if i not in index]
    if not rest:
        return _Reduced(q.h[p], q.A[p][:, p])
    o = jnp.asarray(rest)
    tie = jnp.linalg.solve(q.A[o][:, o], q.A[o][:, p]).T
    return _Reduced(q.h[p] - tie @ q.h[o], q.A[p][:, p] - tie @ q.A[o][:, p])


def _mean_given_spread(each: _Reduced, log_sd: Array) -> tuple[Array, Array, Array]:
    """Information of the cohort about the population's mean, its linear term, and the log density without them."""
    T_inverse = jnp.diag(jnp.exp(-2 * log_sd))

    def one(r: _Reduced) -> tuple[Array, Array, Array]:
        L = jnp.linalg.cholesky(r.A + T_inverse)
        back = cho_solve((L, True), r.h)
        W = T_inverse - T_inverse @ cho_solve((L, True), T_inverse)
        log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(L))) + 2 * jnp.sum(log_sd)
        return W, T_inverse @ back, 0.5 * (r.h @ back - log_det)

    return jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.vmap(one)(each))


def _log_density_of_spread(each: _Reduced, log_sd: Array) -> Array:
    """Marginal log density of the spreads: patients and the population's mean are integrated out."""
    W, b, log_p = _mean_given_spread(each, log_sd)
    L = jnp.linalg.cholesky(W)
    log_p += 0.5 * b @ cho_solve((L, True), b) - jnp.sum(jnp.log(jnp.diagonal(L)))
    return log_p - 0.5 * jnp.sum(((log_sd - _SPREAD_PRIOR[0]) / _SPREAD_PRIOR[1]) ** 2)


def _embedded(values: Array, index: tuple[int, ...], size: int) -> Array:
    return jnp.zeros(size, values.dtype).at[jnp.asarray(index)].set(values)


def _improve(
    state: _State, body: Physiology, data: Series, people: _Population, index: tuple[int, ...]
) -> tuple[_State, _Quadratic]:
    """One damped Gauss-Newton step of a patient towards its mode under the population, and the curvature there."""
    target = Target(body, data, "white")
    at = lambda x: body.with_free(target.named(x))
    precision = _embedded(jnp.exp(-2 * people.log_sd), index, state.x.size)
    mean = _embedded(people.mean, index, state.x.size)
    prior_rows = lambda x: at(x).prior_misfit(jnp.ones(()))

    def cost(x: Array) -> Array:
        seen = jnp.sum(target.misfit(x) ** 2) / state.noise**2
        return seen + jnp.sum(prior_rows(x) ** 2) + jnp.sum(precision * (x - mean) ** 2)

    x, s2 = state.x, state.noise**2
    r, J = target.misfit(x), jax.jacfwd(target.misfit)(x)
    K = jax.jacfwd(prior_rows)(x)
    A, g = J.T @ J / s2 + K.T @ K, J.T @ r / s2 + K.T @ prior_rows(x)
    H = A + jnp.diag(precision)
    slope = g + precision * (x - mean)
    step = -jnp.linalg.solve(H + state.damping * jnp.diag(jnp.diagonal(H)), slope)
    before, after = cost(x), cost(x + step)
    better = after <= before + 1e-9 * jnp.abs(before)
    new = jnp.where(better, x + step, x)
    noise = state.noise
    if body.noise_sd_mg_dL is None:
        counted = jnp.trace(jnp.linalg.solve(H, J.T @ J / s2))  # parameters that the readings, not the others, set
        readings = jnp.maximum(jnp.sum(data.fit) - counted, 1.0)
        noise = jnp.maximum(jnp.sqrt(jnp.sum(target.misfit(new) ** 2) / readings), 0.1)
    moved = jnp.sqrt(step @ H @ step)
    damping = jnp.clip(jnp.where(better, 0.1 * state.damping, 10 * state.damping), 1e-12, 1e8)
    return _State(new, damping, noise, jnp.where(better, moved, state.step)), _Quadratic(A @ x - g, A)


def _finite(q: _Quadratic) -> tuple[_Quadratic, Bool[Array, ""]]:
    """A patient whose numbers are not finite tells nothing."""
    fine = jnp.all(jnp.isfinite(q.h)) & jnp.all(jnp.isfinite(q.A))
    nothing = _Quadratic(jnp.zeros_like(q.h), jnp.eye(q.h.size) * 1e-6)
    return jax.tree.map(lambda a, b: jnp.where(fine, a, b), q, nothing), fine


def _curvature(each: _Reduced, log_sd: Array) -> Array:
    """Negative curvature of the marginal density, made positive."""
    values, vectors = jnp.linalg.eigh(-jax.hessian(lambda v: _log_density_of_spread(each, v))(log_sd))
    return (vectors * jnp.maximum(jnp.abs(values), 0.5)) @ vectors.T


def _modes(
    bodies: Physiology, data: Series, index: tuple[int, ...]
) -> tuple[_State, _Quadratic, _Population, Bool[Array, " patients"]]:
    """Modes of patients and population, in turns."""
    order = sorted(bodies.free)
    x = jnp.stack([bodies.free[s] for s in order], axis=-1)
    one = lambda body, d, x: body.noise(jnp.sum(Target(body, d, "white").misfit(x) ** 2), jnp.sum(d.fit))
    ones = jnp.ones(x.shape[0])
    first = _State(x, 1e-3 * ones, jnp.maximum(jax.vmap(one)(bodies, data, x), 1.0), ones)
    pooled = x[:, jnp.asarray(index)]
    people = _Population(jnp.median(pooled, axis=0), jnp.full(len(index), jnp.log(0.3)))
    improve = jax.vmap(lambda s, b, d, p: _improve(s, b, d, p, index), in_axes=(0, 0, 0, None))

    def again(carry: tuple[_State, _Population], i: Array) -> tuple[tuple[_State, _Population], None]:
        state, people = carry
        state, q = improve(state, bodies, data, people)
        each = jax.vmap(lambda q: _reduce(_finite(q)[0], index))(q)
        log_sd = people.log_sd
        for _ in range(_NEWTON):
            slope = jax.grad(lambda v: _log_density_of_spread(each, v))(log_sd)
            step = jnp.linalg.solve(_curvature(each, log_sd), slope)
            log_sd = jnp.clip(log_sd + jnp.clip(step, -0.5, 0.5), -8.0, 2.0)
        log_sd = jnp.where(i < _FIRST, people.log_sd, log_sd)
        W, b, _ = _mean_given_spread(each, log_sd)
        return (state, _Population(jnp.linalg.solve(W, b), log_sd)), None

    (state, people), _ = jax.lax.scan(again, (first, people), jnp.arange(_ROUNDS))
    _, q = improve(state, bodies, data, people)
    q, fine = jax.vmap(_finite)(q)
    return state, q, people, fine & (state.step < _STILL)


class _Found(NamedTuple):
    mean: Float[Array, "draws pooled"]
    log_sd: Float[Array, "draws pooled"]
    x: Float[Array, "patients draws free"]
    r_hat: Float[Array, " pooled"]
    borrowed: Float[Array, "patients pooled"]
    noise: Float[Array, " patients"]
    ok: Bool[Array, " patients"]


def _pool(
    key: Key,
    bodies: Physiology,
    data: Series,
    index: tuple[int, ...],
    joint: HMC | NUTS | None,
    chains: int,
    draws: int,
    warmup: int,
) -> _Found:
    state, q, people, ok = _modes(bodies, data, index)
    each = jax.vmap(lambda q: _reduce(q, index))(q)
    p, n, k = len(index), q.h.shape[0], q.h.shape[1]
    root = jnp.linalg.inv(jnp.linalg.cholesky(_curvature(each, people.log_sd))).T
    spread = lambda u: people.log_sd + root @ u
    keys = jax.random.split(key, 3)

    def mean_of(log_sd: Array, u: Array) -> tuple[Array, Array]:
        """The population's mean from standard normal numbers, and the logarithm of what that stretches."""
        W, b, _ = _mean_given_spread(each, log_sd)
        L = jnp.linalg.cholesky(W)
        return cho_solve((L, True), b) + solve_triangular(L.T, u, lower=False), -jnp.sum(jnp.log(jnp.diagonal(L)))

    def patient_of(q: _Quadratic, mean: Array, log_sd: Array, u: Array) -> tuple[Array, Array]:
        precision = jnp.exp(-2 * log_sd)
        L = jnp.linalg.cholesky(q.A + jnp.diag(_embedded(precision, index, k)))
        centre = cho_solve((L, True), q.h + _embedded(precision * mean, index, k))
        return centre + solve_triangular(L.T, u, lower=False), -jnp.sum(jnp.log(jnp.diagonal(L)))

    patients_of = jax.vmap(patient_of, in_axes=(0, None, None, 0))

    def split(u: Array) -> tuple[Array, Array, Array, Array]:
        """Spread, mean, patients, and the logarithm of the volume, from one vector of about normal numbers."""
        log_sd = spread(u[:p])
        mean, stretch = mean_of(log_sd, u[p : 2 * p])
        x, stretches = patients_of(q, mean, log_sd, u[2 * p :].reshape(n, k))
        return log_sd, mean, x, stretch + jnp.sum(stretches)

    def log_likelihood(x: Array, body: Physiology, d: Series, noise: Array) -> Array:
        target = Target(body, d, "white")
        prior_rows = body.with_free(target.named(x)).prior_misfit(jnp.ones(()))
        return -0.5 * (jnp.sum(target.misfit(x) ** 2) / noise**2 + jnp.sum(prior_rows**2))

    def log_density(u: Array) -> Array:
        log_sd, mean, x, volume = split(u)
        away = (x[:, jnp.asarray(index)] - mean) / jnp.exp(log_sd)
        prior = -0.5 * jnp.sum(((log_sd - _SPREAD_PRIOR[0]) / _SPREAD_PRIOR[1]) ** 2)
        likelihood = jnp.sum(jax.vmap(log_likelihood)(x, bodies, data, state.noise))
        return likelihood - 0.5 * jnp.sum(away**2) - n * jnp.sum(log_sd) + prior + volume

    options = {"draws": draws, "warmup": warmup}
    if joint is None:
        marginal = lambda u: _log_density_of_spread(each, spread(u))
        starts = jax.random.normal(keys[0], (chains, p), q.h.dtype)
        u = run_chains(keys[1], marginal, starts, HMC(), **options).positions
        rest = jax.random.normal(keys[2], (*u.shape[:2], p + n * k), u.dtype)
        u = jnp.concatenate([u, rest], axis=-1)
    else:
        starts = jax.random.normal(keys[0], (chains, 2 * p + n * k), q.h.dtype)
        u = run_chains(keys[1], log_density, starts, joint, **options).positions
    log_sd, mean, x, _ = jax.lax.map(split, u.reshape(-1, u.shape[-1]), batch_size=100)
    by_chain = jnp.moveaxis(log_sd.reshape(chains, draws, p), -1, 0)
    alone = jnp.exp(-2 * people.log_sd)
    own = jax.vmap(lambda r: jnp.diagonal(jnp.linalg.inv(r.A + jnp.diag(alone))))(each)
    return _Found(mean, log_sd, jnp.moveaxis(x, 1, 0), trust(by_chain).r_hat, own * alone, state.noise, ok)


def _record(problem: Problem, pooled: tuple[str, ...], found: _Found, cost: Cost) -> Hierarchy:
    order = sorted(problem.start)
    patients = []
    for i, name in enumerate(problem.names):
        patients.append(
            PooledPatient(
                name=name,
                outcome=Outcome.converged if found.ok[i] else Outcome.not_converged,
                draws={s: np.exp(found.x[i, :, order.index(s)]) for s in problem.start},
                borrowed={s: float(found.borrowed[i, j]) for j, s in enumerate(pooled)},
                noise_sd_mg_dL=float(found.noise[i]),
                body=problem.body,
            )
        )
    column = lambda x: {s: np.exp(x[:, j]) for j, s in enumerate(pooled)}
    r_hat = {s: float(found.r_hat[j]) for j, s in enumerate(pooled)}
    return Hierarchy(problem, pooled, column(found.mean), column(found.log_sd), r_hat, tuple(patients), cost)
