"""The posterior of every patient by Hamiltonian Monte Carlo, all patients and chains in one program."""

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checked import check_types
from .._types import Key
from ..data import Cohort, Patient, PatientArrays, Series
from ..problem import Problem, patient_keys
from ..programs import over_cohort
from ..question import population_belief
from ..records import Cost, Fit, NoiseModel, Outcome, PatientPosterior, Posterior
from ..twin import LEAST_NOISE_MG_DL, Physiology
from ._chains import HMC, NUTS, run_chains, trust
from ._least_squares import fit_ode

_BLOCK = 64  # patients per vmapped block: bounds memory
_NOISE_PRIOR = (float(np.log(10.0)), 2.0)  # of the logarithm of what the noise exceeds its least by, mg/dL
_CORRELATION_PRIOR = (float(np.log(15.0)), 1.0)  # of the logarithm of the correlation time, min
_WIDEST = 1.0  # standard deviation of a coordinate, where the readings tell less than that
_FURTHEST = 3.0  # standard errors, of a step towards the mode
_ROUNDS, _NEWTON = 4, 4  # of noise and parameters in turns, and of Newton on the noise in each
_ENDLESS = 3.0  # times the spread of what people have, beyond which draws of a flat belief run away
_MOST_R_HAT, _LEAST_ESS, _MOST_DIVERGENT = 1.05, 100.0, 0.01


def sample_posterior(
    patients: Cohort | Sequence[Patient],
    problem: Problem,
    *,
    key: Key,
    chains: int = 4,
    draws: int = 500,
    warmup: int = 200,
    noise: NoiseModel = "white",
    sampler: HMC | NUTS | None = None,
    fit: Fit | None = None,
) -> Posterior:
    """Draw from the posterior of the free parameters given the `fit` readings, all patients in one program.

    ```
    y_i = G(t_i; theta) + e_i,   e ~ N(0, s^2)                         white
    e_i = r e_(i-1) + sqrt(1 - r^2) s v_i,   r = exp(-dt_i / tau)      ar1
    ```

    Priors are those of the problem. A parameter without one is flat in its logarithm, between its bounds where it
    has some; so is what is on board at the start but for the wide prior of `Problem.physiology`. `log(s - 0.1 mg/dL)`
    is normal about `log 10` with standard deviation 2, unless the problem gives the noise, and `log(tau / 15 min)` is
    standard normal. Chains run in coordinates whitened by the curvature at the least-squares fit, so that
    trajectories are short. It computes in float64.

    Args:
        patients: the cohort.
        problem: what is known and what is free; see `pose`.
        key: random key; a patient's draws do not depend on who else is there.
        chains: how many, each with its own start and warm-up.
        draws: per chain.
        warmup: draws that adapt step size and mass matrix and are thrown away.
        noise: whether errors of readings are independent (`white`) or autocorrelated (`ar1`).
        sampler: `HMC()` if not given, or `NUTS()`.
        fit: the least-squares fit of the same problem, where it is at hand.

    Returns:
        The draws. A patient whose chains disagree (R-hat above 1.05), mix badly (an effective size below 100) or
        diverge in more than 1 % of the draws has `ok` false and a message; so has one whose posterior is improper, and
        the message has the prior that would make it proper. The others are not touched.

    Raises:
        ValueError: where nothing is free, or an option is out of its range.

    Example:
        >>> import jax
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(
        ...     interval_min=30, noise=t1djax.WhiteNoise(10.0), key=jax.random.key(0), names=["Pat3"]
        ... )
        >>> problem = t1djax.pose(tuple(cohort), mode="inverse", free=["ksi"], key=jax.random.key(1))
        >>> found = t1djax.sample_posterior(cohort, problem, key=jax.random.key(2), draws=200)
        >>> low, high = found["Pat3"].interval("ksi", 0.9)
        >>> 270 < low < high < 278
        True

    Source: Neal, "MCMC using Hamiltonian dynamics", Handbook of Markov Chain Monte Carlo, 2011.
    """
    check_types(sample_posterior, locals())
    patients = Cohort.of(patients).patients
    sampler = HMC() if sampler is None else sampler
    _check(patients, problem, chains, draws, warmup, noise, sampler)
    began = time.perf_counter()
    first_compile_s = 0.0
    if fit is None:
        fit = fit_ode(patients, problem, key=key)
        first_compile_s = fit.cost.compile_s
    found = {s: np.array([p.estimates[s].value for p in fit]) for s in problem.start}
    start = {s: np.where(np.isfinite(v) & (v > 0), v, problem.start[s]) for s, v in found.items()}
    keys, bodies = patient_keys(key, problem.names), problem.physiology(start=start)
    static = (sampler, noise, chains, draws, warmup)
    sampled, compile_s = over_cohort(_sample, keys, bodies, PatientArrays(patients), static=static, block=_BLOCK)
    compile_s += first_compile_s
    cost = Cost(compile_s, time.perf_counter() - began - compile_s)
    return Posterior(problem, noise, _records(problem, sampled), cost)


def _check(
    patients: tuple[Patient, ...],
    problem: Problem,
    chains: int,
    draws: int,
    warmup: int,
    noise: str,
    sampler: HMC | NUTS,
) -> None:
    if not problem.start:
        raise ValueError("nothing is free: a posterior needs a parameter to estimate")
    if tuple(p.name for p in patients) != problem.names:
        raise ValueError("the problem was posed for other patients, or in another order")
    if noise not in ("white", "ar1"):
        raise ValueError(f"noise must be white or ar1, not {noise!r}")
    if chains < 1 or draws < 8 or warmup < 20 or min(dataclasses.astuple(sampler)) < 1:
        raise ValueError(
            f"{chains} chains of {draws} draws after {warmup}, {sampler}: take one chain, 8 draws, a warm-up of 20 and "
            "one step at the least"
        )


class Target(NamedTuple):
    """The posterior of one patient in a vector: coordinates of the free parameters, then those of the noise."""

    body: Physiology
    data: Series
    noise: NoiseModel

    def named(self, x: Array) -> dict[str, Array]:
        return {symbol: x[i] for i, symbol in enumerate(sorted(self.body.free))}

    @property
    def samples_noise(self) -> bool:
        return self.body.noise_sd_mg_dL is None

    def noise_sd(self, x: Array) -> Array:
        given = self.body.noise_sd_mg_dL
        return LEAST_NOISE_MG_DL + jnp.exp(x[len(self.body.free)]) if given is None else given

    def correlation_time(self, x: Array) -> Array:
        return jnp.exp(x[-1])

    def misfit(self, x: Array) -> Float[Array, " rows"]:
        """Misfits of the fit readings, in time order and before all other rows, mg/dL."""
        body, data = self.body.with_free(self.named(x)), self.data
        G = body.trajectory(data).glucose_mg_dL
        return jnp.where(data.fit, G - data.glucose_mg_dL, 0.0)[self._order()]

    def _order(self) -> Array:
        return jnp.argsort(~self.data.fit, stable=True)

    def innovations(self, r: Float[Array, " rows"], x: Array) -> tuple[Float[Array, " rows"], Array]:
        """Misfits made independent under the model, of variance `s^2`, and the logarithm of what that costs."""
        if self.noise == "white":
            return r, jnp.zeros(())
        order = self._order()
        both = self.data.fit[order][1:]
        apart = jnp.where(both, jnp.diff(self.data.time_min[order]), 1.0)
        kept = jnp.exp(-apart / self.correlation_time(x))
        rest = -jnp.expm1(-2 * apart / self.correlation_time(x))
        later = jnp.where(both, (r[1:] - kept * r[:-1]) / jnp.sqrt(rest), 0.0)
        return jnp.concatenate([r[:1], later]), 0.5 * jnp.sum(jnp.where(both, jnp.log(rest), 0.0))

    def log_density_of_noise(self, r: Float[Array, " rows"], x: Array) -> Array:
        """The part of the density in which the noise stands, for given misfits."""
        s = self.noise_sd(x)
        e, cost = self.innovations(r, x)
        log_p = -0.5 * jnp.sum(e**2) / s**2 - jnp.sum(self.data.fit) * jnp.log(s) - cost
        if self.samples_noise:
            log_p += _normal(x[len(self.body.free)], _NOISE_PRIOR)
        return log_p + _normal(x[-1], _CORRELATION_PRIOR) if self.noise == "ar1" else log_p

    def log_prior(self, x: Array) -> Array:
        """Of the parameters, in their coordinates."""
        body = self.body.with_free(self.named(x))
        return body.log_stretch() - 0.5 * jnp.sum(body.prior_misfit(jnp.ones(())) ** 2)

    def log_density(self, x: Array) -> Array:
        return self.log_prior(x) + self.log_density_of_noise(self.misfit(x), x)

    def mode(self) -> tuple[Float[Array, " free"], Float[Array, "free free"]]:
        """Where the posterior is about largest, and a square root of its covariance there."""
        k = len(self.body.free)
        x = jnp.stack([self.body.free[symbol] for symbol in sorted(self.body.free)])
        r = self.misfit(x)
        s = self.body.noise(jnp.sum(r**2), jnp.maximum(jnp.sum(self.data.fit), 1))
        if self.samples_noise:
            x = jnp.append(x, jnp.log(jnp.maximum(s - LEAST_NOISE_MG_DL, 0.1 * LEAST_NOISE_MG_DL)))
        if self.noise == "ar1":
            x = jnp.append(x, _CORRELATION_PRIOR[0])
        H = jnp.eye(x.size)

        both = jax.jacfwd(lambda x: (self.misfit(x),) * 2, has_aux=True)  # traced once

        def again(carry: tuple[Array, Array], count: None) -> tuple[tuple[Array, Array], None]:
            x = carry[0]
            J, r = both(x)
            J = J[:, :k]
            # The noise first, for these misfits: Newton, as far as a factor of e at a time.
            of_noise = lambda v: self.log_density_of_noise(r, jnp.concatenate([x[:k], v]))

            def newton(carry: tuple[Array, Array], count: None) -> tuple[tuple[Array, Array], None]:
                v = carry[0]
                curved = _positive(-jax.hessian(of_noise)(v))
                return (v + jnp.clip(jnp.linalg.solve(curved, jax.grad(of_noise)(v)), -1.0, 1.0), curved), None

            noise = (x[k:], jnp.eye(x.size - k))
            if x.size > k:
                noise, _ = jax.lax.scan(newton, noise, length=_NEWTON)
            v, curved = noise
            x = jnp.concatenate([x[:k], v])
            # Then one Gauss-Newton step of the parameters for this noise, by three standard errors at the most.
            whiten = lambda r: self.innovations(r, x)[0] / self.noise_sd(x)
            E = jax.vmap(lambda column: jax.jvp(whiten, (r,), (column,))[1], in_axes=1, out_axes=1)(J)
            prior = self.body.with_free(self.named(x)).sensitivities().prior
            H = jnp.zeros((x.size, x.size)).at[:k, :k].set(E.T @ E + prior).at[k:, k:].set(curved)
            slope = jax.grad(self.log_prior)(x)[:k] - E.T @ whiten(r)
            curved = _positive(H[:k, :k])
            step = jnp.linalg.solve(curved, slope)
            length = jnp.sqrt(step @ curved @ step)
            return (x.at[:k].add(step * jnp.minimum(1.0, _FURTHEST / jnp.maximum(length, 1e-12))), H), None

        (x, H), _ = jax.lax.scan(again, (x, H), length=_ROUNDS)
        return x, jnp.linalg.inv(jnp.linalg.cholesky(_positive(H))).T


def _positive(H: Array) -> Array:
    """A curvature with no direction along which a coordinate would go further than `_WIDEST`."""
    values, vectors = jnp.linalg.eigh(jnp.where(jnp.isfinite(H), H, 0.0))
    return (vectors * jnp.maximum(jnp.abs(values), 1 / _WIDEST**2)) @ vectors.T


def _normal(x: Array, prior: tuple[float, float]) -> Array:
    return -0.5 * ((x - prior[0]) / prior[1]) ** 2


class _Sampled(NamedTuple):
    draws: dict[str, Array]
    r_hat: dict[str, Array]
    ess_bulk: dict[str, Array]
    ess_tail: dict[str, Array]
    divergent: Array
    acceptance: Array
    steps: Array


def _sample(
    key: Key,
    body: Physiology,
    data: Series,
    sampler: HMC | NUTS,
    noise: NoiseModel,
    chains: int,
    draws: int,
    warmup: int,
) -> _Sampled:
    target = Target(body, data, noise)
    centre, root = target.mode()
    start_key, key = jax.random.split(key)
    starts = jax.random.normal(start_key, (chains, centre.size), centre.dtype)
    log_density = lambda u: target.log_density(centre + root @ u)
    found = run_chains(key, log_density, starts, sampler, draws=draws, warmup=warmup)

    def quantities(u: Array) -> dict[str, Array]:
        x = centre + root @ u
        at = body.with_free(target.named(x))
        values = at.estimates() | at.derived()
        if target.samples_noise:
            values["noise_sd_mg_dL"] = target.noise_sd(x)
        if noise == "ar1":
            values["correlation_time_min"] = target.correlation_time(x)
        return values

    by_symbol = jax.vmap(jax.vmap(quantities))(found.positions)
    judged = trust(jnp.stack(list(by_symbol.values())))
    named = lambda column: dict(zip(by_symbol, column, strict=True))
    judged = (named(judged.r_hat), named(judged.ess_bulk), named(judged.ess_tail))
    return _Sampled(by_symbol, *judged, found.divergent, found.acceptance, found.steps)


def _records(problem: Problem, sampled: _Sampled) -> tuple[PatientPosterior, ...]:
    records = []
    believed = {*problem.priors, *problem.bounds}
    flat = {
        s: population_belief(s, problem.body)
        for s in problem.start
        if s in problem.body.parameters and s not in believed
    }
    derived = [row.symbol for row in problem.body.facts.derived]
    order = [*problem.start, *derived, *(s for s in sampled.draws if s.endswith(("_mg_dL", "_min")))]
    order = [s for s in dict.fromkeys(order) if s in sampled.draws]
    for i, name in enumerate(problem.names):
        mine = lambda by, i=i: {s: by[s][i] for s in order}
        each = lambda by, i=i: {s: float(by[s][i]) for s in order}
        draws, r_hat = mine(sampled.draws), each(sampled.r_hat)
        bulk, tail = each(sampled.ess_bulk), each(sampled.ess_tail)
        # What is known does not move: nothing is to be said of it.
        fixed = [s for s, x in draws.items() if np.ptp(x) == 0 and s not in problem.start]
        for symbol in fixed:
            for by in (draws, r_hat, bulk, tail):
                del by[symbol]
        total = next(iter(draws.values())).size
        logs = {s: np.log(x[np.isfinite(x) & (x > 0)]) for s, x in draws.items() if s in flat}
        beliefs = {s: flat[s] for s, x in logs.items() if x.size and np.std(x) > _ENDLESS * flat[s].sd_log}
        outcome = _outcome(draws, r_hat, bulk, tail, int(sampled.divergent[i]) / total)
        records.append(
            PatientPosterior(
                name=name,
                # A fit that ran to a bound has not converged; its chains, which began apart and agree, are no worse.
                outcome=Outcome.improper if beliefs else outcome,
                draws=draws,
                r_hat=r_hat,
                ess_bulk=bulk,
                ess_tail=tail,
                divergences=int(sampled.divergent[i]),
                acceptance=float(sampled.acceptance[i]),
                body=problem.body,
                unbounded=beliefs,
            )
        )
    return tuple(records)


def _outcome(
    draws: dict[str, np.ndarray],
    r_hat: dict[str, float],
    bulk: dict[str, float],
    tail: dict[str, float],
    divergent: float,
) -> Outcome:
    if not all(np.all(np.isfinite(x)) for x in draws.values()):
        return Outcome.not_finite
    if not all(x <= _MOST_R_HAT for x in r_hat.values()):
        return Outcome.chains_disagree
    if not all(min(bulk[s], tail[s]) >= _LEAST_ESS for s in draws):
        return Outcome.few_draws
    return Outcome.divergent if divergent > _MOST_DIVERGENT else Outcome.converged
