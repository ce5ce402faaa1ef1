"""What people tell of each other: priors of the stochastic model from the cohort."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._hyper import Form, layout
from ._person import Person, drift
from ._search import Belief, SearchResult

_SHARE = 0.5
"""Priors for everybody are wide on purpose: people are taken to differ by so much of them before they are seen."""


def of_everybody(person: Person, form: Form) -> Belief:
    """The priors for everybody."""
    zero = np.zeros((*person.level_mg_dL.shape, len(form.constants)))
    return Belief(*(jnp.asarray(zero + x) for x in (0.0, 1.0, [row.start for row in form.constants])))


def of_the_cohort(rules: Person, solution: SearchResult, form: Form) -> tuple[Person, Belief]:
    """The priors of the cohort: one step of expectation and maximisation.

    ```
    m = (m0 + sum over people of x) / (1 + n),   s^2 = (s0^2 / 4 + sum of (x - m)^2 + var(x)) / (1 + n)
    ```

    with `x` and `var(x)` a person's estimate and its variance, `m0` and `s0` the priors for everybody, which weigh as
    one person. Of effects, `x` is the ratio to what the rules of thumb say of the person (`rules`).

    Source: Dempster, Laird, Rubin, J. R. Stat. Soc. B 39(1), 1977.
    """
    host: Any = jax.tree.map(np.asarray, (rules, solution))
    (prior, ended), where, parts = host, layout(form), form.options.sensitivity_blocks
    found = ended.found

    def learnt(x: np.ndarray, var: np.ndarray, m0: float, s0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        each = lambda v: np.sum(v[ended.converged], axis=0)
        n = np.sum(ended.converged) + 1
        m = (each(x) + m0) / n
        return m, np.sqrt((each((x - m) ** 2 + var) + (_SHARE * s0) ** 2) / n)

    unknown = np.linalg.inv(found.information)
    mean, sd = learnt(ended.z, np.diagonal(unknown, axis1=-2, axis2=-1), 0.0, np.ones(ended.z.shape[1]))
    every = lambda x: jnp.asarray(np.broadcast_to(x, ended.z.shape))
    belief = Belief(every(mean), every(sd), jnp.asarray(ended.z))

    effects = len(where.names) - where.core - parts + 1  # with one p1, the mean of its parts of the day
    pick = np.zeros((effects, len(where.names)))
    pick[0, where.core : where.core + parts] = 1 / parts
    pick[1:, where.core + parts :] = np.eye(effects - 1)
    own = slice(1, 1 + effects)
    rule = prior.effect_mean[:, own]
    cov = found.cov + found.moves @ unknown @ np.swapaxes(found.moves, -1, -2)
    var = np.einsum("es,nst,et->ne", pick, cov, pick)
    spread = np.mean(prior.effect_sd[:, own] / rule, axis=0)
    means, sds = prior.effect_mean.copy(), prior.effect_sd.copy()
    m, s = learnt(found.mean @ pick.T / rule, var / rule**2, 1.0, spread)
    means[:, own], sds[:, own] = m * rule, s * rule
    means[:, 0] = drift(means[:, 1:], prior.usual)
    return Person(*(jnp.asarray(x) for x in (prior.level_mg_dL, means, sds, prior.usual))), belief
