"""What people tell of each other: priors of the stochastic model from the cohort."""

from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._hyper import Form, layout
from ._person import Person, with_balance

PEOPLE = 1.0
"""The priors for everybody weigh as one person of the cohort."""


class Belief(NamedTuple):
    """The prior of the constants' standardised logarithms, and where their search starts."""

    mean: Float[Array, "*batch free"]
    sd: Float[Array, "*batch free"]
    start: Float[Array, "*batch free"]


class _Solution(Protocol):
    z: Array
    converged: Array
    found: Any


def of_everybody(person: Person, form: Form) -> Belief:
    """The priors for everybody."""
    zero = jnp.zeros((*person.level_mg_dL.shape, len(form.constants)))
    return Belief(zero, jnp.ones_like(zero), zero)


def of_the_cohort(rules: Person, solution: _Solution, form: Form) -> tuple[Person, Belief]:
    """The priors of the cohort: one step of expectation and maximisation.

    ```
    m = (n0 m0 + sum over people of x) / (n0 + n),   s^2 = (n0 s0^2 + sum of (x - m)^2 + var(x)) / (n0 + n)
    ```

    with `x` and `var(x)` a person's estimate and its variance, `m0` and `s0` the priors for everybody, which weigh as
    `n0` people. Of effects, `x` is the ratio to what the rules of thumb say of the person (`rules`).

    Source: Dempster, Laird, Rubin, J. R. Stat. Soc. B 39(1), 1977.
    """
    found, where, parts = solution.found, layout(form), form.options.sensitivity_blocks

    def learnt(x: Array, var: Array, m0: Array, s0: Array) -> tuple[Array, Array]:
        each = lambda v: jnp.sum(jnp.where(solution.converged[:, None], v, 0.0), axis=0)
        n = jnp.sum(solution.converged) + PEOPLE
        m = (each(x) + PEOPLE * m0) / n
        return m, jnp.sqrt((each((x - m) ** 2 + var) + PEOPLE * s0**2) / n)

    unknown = jnp.linalg.inv(found.information)
    mean, sd = learnt(solution.z, jnp.diagonal(unknown, axis1=-2, axis2=-1), jnp.zeros(()), jnp.ones(()))
    every = lambda x: jnp.broadcast_to(x, solution.z.shape)
    belief = Belief(every(mean), every(sd), solution.z)

    # p1 is the mean of its parts of the day; r is the rule's where unannounced meals are left out
    effects = len(where.names) - where.core - parts + 1
    pick = jnp.zeros((effects, len(where.names))).at[0, where.core : where.core + parts].set(1 / parts)
    pick = pick.at[1:, where.core + parts :].set(jnp.eye(effects - 1))
    usual = rules.effect_mean[:, 1 : 1 + effects]
    cov = found.cov + found.moves @ unknown @ jnp.swapaxes(found.moves, -1, -2)
    var = jnp.einsum("es,nst,et->ne", pick, cov, pick)
    spread = rules.effect_sd[:, 1 : 1 + effects] / usual
    m, s = learnt(found.mean @ pick.T / usual, var / usual**2, jnp.ones(()), jnp.mean(spread, axis=0))
    ratios = jnp.ones(3).at[:effects].set(m)
    sds = rules.effect_sd.at[:, 1 : 1 + effects].set(s * usual)
    return Person(
        rules.level_mg_dL, with_balance(ratios * rules.effect_mean[:, 1:], rules.usual), sds, rules.usual
    ), belief
