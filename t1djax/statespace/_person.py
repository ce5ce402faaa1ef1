"""What of a person is set before the fit, from the training part of the record alone."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..data import Patient
from ._steps import MINUTES_PER_DAY, steps_of


class Person(eqx.Module):
    """The level about which the model is written, and priors of its effects."""

    level_mg_dL: Float[Array, "*batch"]
    """Median reading, mg/dL."""
    effect_mean: Float[Array, "*batch effects"]
    """Prior means of `c` (mg/dL/min), `p1` (mg/dL/U), `q` (mg/dL/g), `r` (mg/dL/U)."""
    effect_sd: Float[Array, "*batch effects"]
    """Their standard deviations."""
    usual: Float[Array, "*batch 3"]
    """Mean rates of insulin (U/min), carbohydrate (g/min), and boluses without it (U/min)."""


def person_of(
    patient: Patient, *, until_min: float, ahead_min: float = 0.0, wide: bool = False, looked_back: bool = False
) -> Person:
    """Level and priors of one patient.

    ```
    p1 = (1 +- 0.3) 1700 / TDD,   q = 3.4 +- 1,   r = (0.5 +- 0.3) p1
    c  = p1 mean(u) - q mean(carbs) - r mean(unpaired u)  +- 0.5:   no drift on average
    ```

    `TDD` is the total daily dose of the training part, U/day, between 10 and 200. The rules relate insulin effect and
    carbohydrate effect to the dose: 1700 mg/dL U/day over TDD, and 500 g U/day over TDD per unit. The spread is narrow
    for a reason: meals come with boluses, which cancel them, and wider priors let the two trade places until insulin
    raises glucose. Where a record is `looked_back` on, `q` is 4.5 and `p1` the geometric mean of that rule and of `q`
    times the grams of the record for each unit of bolus, which is what covers the person's meals.

    Source: Davidson et al., "Analysis of guidelines for basal-bolus insulin dosing", Endocr. Pract. 14(9), 2008.
    """
    seen = patient.valid & (patient.time_min <= until_min)
    start, end = float(patient.time_min[seen][0]), float(patient.time_min[seen][-1])
    steps = steps_of(patient, until_min=until_min, ahead_min=ahead_min)
    dt = np.asarray(steps.dt_min)[np.asarray(steps.interval)]
    mean = lambda rate: float(np.sum(np.asarray(rate) * dt) / (end - start))
    u, carbs, alone = (mean(x) for x in np.asarray(steps.rates).T)
    p1 = 1700.0 / float(np.clip(u * MINUTES_PER_DAY, 10.0, 200.0))
    q = 4.5 if wide or looked_back else 3.4
    boluses = patient.doses.bolus_U[(patient.doses.bolus_time_min >= start) & (patient.doses.bolus_time_min <= end)]
    bolused = float(np.sum(boluses)) / (end - start)
    if looked_back and min(bolused, carbs) > 0:
        p1 = float(np.sqrt(p1 * q * carbs / bolused))
    r = 0.5 * p1
    own = (_WIDE * p1, _WIDE * q) if wide else (0.3 * p1, 0.3 * q if looked_back else 1.0)
    effects, usual = np.asarray([p1, q, r]), np.asarray([u, carbs, alone])
    return Person(
        level_mg_dL=jnp.asarray(np.median(patient.glucose_mg_dL[seen])),
        effect_mean=jnp.asarray([drift(effects, usual), *effects]),
        effect_sd=jnp.asarray([0.5, *own, 0.3 * p1]),
        usual=jnp.asarray(usual),
    )


def drift(effects: Float[np.ndarray, "*batch 3"], usual: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch"]:
    """The `c` that balances the effects of the usual insulin, carbohydrate and unpaired boluses."""
    return np.asarray(effects * usual @ [1.0, -1.0, -1.0])


_WIDE = 0.45  # standard deviation of the logarithm


def as_closed_loop(patient: Patient) -> bool:
    """Whether basal rates of the record change more often than a person changes them."""
    start, end = patient.time_min[patient.valid][[0, -1]]
    times, rates = patient.doses.basal_time_min, patient.doses.basal_U_h
    changes = np.count_nonzero(np.diff(rates[(times >= start) & (times <= end)]))
    return bool(changes > _LOOP_CHANGES * (end - start) / MINUTES_PER_DAY)


_LOOP_CHANGES = 12  # a day
