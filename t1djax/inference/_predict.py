"""Glucose under the draws of a posterior: what was, and what would come."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Float

from .._checked import check_types
from .._types import Key
from ..data import Cohort, Patient, PatientArrays, Series, steps_needed
from ..problem import patient_key
from ..programs import over_cohort
from ..records import Posterior
from ..twin import Physiology

_BLOCK = 32  # patients per vmapped block, times the draws


def posterior_glucose(
    posterior: Posterior, patients: Cohort | Sequence[Patient], *, key: Key, draws: int = 200
) -> dict[str, Float[np.ndarray, "draws rows"]]:
    """Glucose at every row under some draws, after the forecast start too: mg/dL, without the noise of readings.

    Quantiles over the draws are intervals of glucose. An interval of readings has their noise in it as well: add
    normal numbers with the standard deviation `noise_sd_mg_dL`.

    Args:
        posterior: see `sample_posterior`.
        patients: the same cohort, or one with other doses and later rows.
        key: picks the draws; a patient's do not depend on who else is there.
        draws: how many.

    Returns:
        By name of the patient: one row per draw, one column per row of the record, mg/dL.

    Raises:
        ValueError: where the patients are others than those of the posterior.
    """
    check_types(posterior_glucose, locals())
    patients, problem = Cohort.of(patients).patients, posterior.problem
    if tuple(p.name for p in patients) != problem.names:
        raise ValueError("the posterior is of other patients, or in another order")
    picked = {s: [] for s in problem.start}
    for patient in posterior:
        size = next(iter(patient.draws.values())).size
        chosen = np.asarray(jax.random.randint(patient_key(key, patient.name), (draws,), 0, size))
        for s, values in picked.items():
            values.append(np.log(patient.draws[s].reshape(-1)[chosen]))
    logs = {s: np.stack(v) for s, v in picked.items()}
    # Draws are of logarithms, which are the coordinates where there are no bounds.
    problem = dataclasses.replace(problem, bounds={}, steps=steps_needed(patients, problem.body))
    body = problem.physiology()
    glucose, _ = over_cohort(_glucose, body, logs, PatientArrays(patients), block=_BLOCK, effort="some")
    return {p.name: glucose[i, :, : len(p.time_min)] for i, p in enumerate(patients)}


def _glucose(body: Physiology, free: dict[str, Array], data: Series) -> Float[Array, "draws rows"]:
    return jax.vmap(lambda free: body.with_free(free).trajectory(data).glucose_mg_dL)(free)
