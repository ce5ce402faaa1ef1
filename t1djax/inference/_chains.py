"""Markov chains of one target, by blackjax: warm-up, draws, and what tells whether they can be trusted."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Key

_TARGET_ACCEPTANCE = 0.85
_FIRST_STEP = 0.7  # the targets are whitened: their scale is about one


@dataclasses.dataclass(frozen=True)
class HMC:
    """Hamiltonian Monte Carlo with a fixed number of leapfrog steps, whose length varies from draw to draw.

    Every patient of a batch costs the same, which suits a cohort in one program.

    Example:
        >>> from t1djax.inference import HMC
        >>> HMC(steps=6).steps
        6

    Source: Neal, in *Handbook of Markov Chain Monte Carlo*, 2011, chapter 5.
    """

    steps: int = 4
    """Leapfrog steps per draw."""


@dataclasses.dataclass(frozen=True)
class NUTS:
    """Hamiltonian Monte Carlo that stops each trajectory where it turns back (the no-U-turn sampler).

    It chooses its own length; in a batch every draw costs the longest trajectory of all patients.

    Example:
        >>> from t1djax.inference import NUTS
        >>> NUTS().max_doublings
        5

    Source: Hoffman and Gelman, J. Mach. Learn. Res. 15, 2014.
    """

    max_doublings: int = 5
    """How many times a trajectory may double; at most `2^n - 1` leapfrog steps."""


class Chains(NamedTuple):
    """Draws of one target."""

    positions: Float[Array, "chains draws free"]
    divergent: Array  # how many transitions
    acceptance: Array  # mean
    steps: Array  # mean leapfrog steps


def run_chains(
    key: Key,
    log_density: Callable[[Array], Array],
    starts: Float[Array, "chains free"],
    sampler: HMC | NUTS,
    *,
    draws: int,
    warmup: int,
) -> Chains:
    """Chains of a log density whose coordinates have a scale of about one; pure JAX, `vmap` it over targets.

    Step size and a diagonal mass matrix are adapted during the warm-up, as in Stan, whose draws are thrown away.

    Source: Hoffman and Gelman, J. Mach. Learn. Res. 15, 2014; the windows are those of Stan.
    """
    import blackjax  # noqa: PLC0415 - costs a second at import

    options: dict[str, Any]
    if isinstance(sampler, HMC):
        algorithm, options = blackjax.hmc, {"num_integration_steps": sampler.steps}
    else:
        algorithm, options = blackjax.nuts, {"max_num_doublings": sampler.max_doublings}
    kernel = algorithm.build_kernel()
    adapt = blackjax.window_adaptation(
        algorithm,
        log_density,
        initial_step_size=_FIRST_STEP,
        target_acceptance_rate=_TARGET_ACCEPTANCE,
        adaptation_info_fn=lambda *_: None,
        **options,
    )

    fixed = isinstance(sampler, HMC)

    def one(key: Key, start: Array) -> tuple[Array, ...]:
        warm_key, key = jax.random.split(key)
        (state, tuned), _ = adapt.run(warm_key, start, warmup)  # pyright: ignore[reportCallIssue]

        def step(state, key):
            key, jitter_key = jax.random.split(key)
            # A trajectory of one length could be a whole turn of some direction, which then never mixes.
            shorter = jax.random.uniform(jitter_key, (), minval=0.5) if fixed else 1.0
            by = {"step_size": shorter * tuned["step_size"], "inverse_mass_matrix": tuned["inverse_mass_matrix"]}
            state, info = kernel(key, state, log_density, **by, **options)
            return state, (state.position, info.is_divergent, info.acceptance_rate, info.num_integration_steps)

        return jax.lax.scan(step, state, jax.random.split(key, draws))[1]

    positions, divergent, acceptance, steps = jax.vmap(one)(jax.random.split(key, starts.shape[0]), starts)
    return Chains(positions, jnp.sum(divergent), jnp.mean(acceptance), jnp.mean(jnp.asarray(steps, starts.dtype)))


class Trust(NamedTuple):
    """Whether chains have converged, by quantity."""

    r_hat: Float[Array, " quantities"]
    ess_bulk: Float[Array, " quantities"]
    ess_tail: Float[Array, " quantities"]


def trust(draws: Float[Array, "quantities chains draws"]) -> Trust:
    """Rank-normalised split R-hat, bulk and tail effective sample sizes.

    Source: Vehtari, Gelman, Simpson, Carpenter, Buerkner, Bayesian Analysis 16, 2021.
    """
    from blackjax import diagnostics  # noqa: PLC0415 - costs a second at import

    return Trust(*(jax.vmap(f)(draws) for f in (diagnostics.rhat, diagnostics.ess_bulk, diagnostics.ess_tail)))
