"""A controller as what answers a replayed glucose."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import ArgumentError
from ..data import Patient
from ..statespace import AbstractAnswer, Dose, Seen
from ._controllers import ON_BOARD_LAG_MIN, AbstractController, Observation, Profile, on_board_after


class LoopAnswer(AbstractAnswer):
    """A controller that sees the replayed readings as well as the recorded ones, and doses by the difference.

    Example:
        >>> import t1djax
        >>> from t1djax.trials import LoopAnswer, TempBasal, profile_by_rules
        >>> patient = t1djax.reference_cohort(interval_min=15, names=["Pat3"])["Pat3"]
        >>> answer = LoopAnswer(TempBasal(), profile_by_rules(patient))
    """

    controller: AbstractController
    """The rule."""
    profile: Profile
    """What the person's pump is set to."""

    def init(self) -> Any:
        """Nothing on board beyond the basal rate."""
        profile = jax.tree.map(jnp.asarray, self.profile)
        return self.controller.init(profile), jnp.zeros(()), jnp.zeros(())

    def step(self, memory: Any, seen: Seen) -> tuple[Any, Dose]:
        """What the controller decides at a reading."""
        inner, first, second = memory
        net = seen.insulin_U / seen.since_min - self.profile.basal_U_h / 60
        first, second = on_board_after(first, second, net, seen.since_min)
        observation = Observation(
            glucose_mg_dL=seen.glucose_mg_dL,
            age_min=jnp.zeros(()),
            announced_g=seen.announced_g,
            minute=seen.minute,
            on_board_U=first + second,
            acting_U_min=second / ON_BOARD_LAG_MIN,
        )
        inner, action = self.controller.step(inner, observation, jax.random.key(0))
        return (inner, first, second), Dose(action.basal_U_h / 60, action.bolus_U, jnp.zeros(()))


def profile_by_rules(patient: Patient, *, target_mg_dL: float = 110.0) -> Profile:
    """A person's settings by rules of thumb on the insulin of the record: `1800/TDD`, `500/TDD`.

    Args:
        patient: the record.
        target_mg_dL: glucose aimed at, mg/dL.

    Returns:
        Basal rate as its mean, and the ratios.

    Raises:
        ArgumentError: where there is no insulin on record.

    Source: Davidson et al., Endocr. Pract. 14(9):1095-1101, 2008, for rules of this kind.
    """
    start, end = (float(t) for t in patient.time_min[patient.valid][[0, -1]])
    d, days = patient.doses, (end - start) / 1440
    edges = np.clip(np.append(d.basal_time_min, np.inf), start, end)
    basal = float(np.diff(edges) @ d.basal_U_h) / 60 / days
    inside = (d.bolus_time_min >= start) & (d.bolus_time_min < end)
    daily = basal + float(d.bolus_U[inside].sum()) / days
    if not daily > 0:
        raise ArgumentError("patient", f"{patient.name} has no insulin on record; give the profile")
    return Profile(*(jnp.asarray(x) for x in (basal / 24, 500 / daily, 1800 / daily, target_mg_dL, daily)))
