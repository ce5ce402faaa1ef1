"""What is to be identified: cohorts, their noise, and what counts as good enough."""

import dataclasses
from typing import Any

import jax

import t1djax

UNSEEN = 2026
"""Key of the virtual patients: nothing in the library was tuned on them."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Patients with a kind of noise, what is estimated, and the limits that the result is held against."""

    name: str
    """As in the table."""
    free: tuple[str, ...]
    """What is estimated."""
    sensor: dict[str, Any]
    """Interval, noise, losses: as for `reference_cohort` and `virtual_population`."""
    worst_ksi_percent: float
    """Largest error of ksi allowed, %."""
    worst_rmse_mg_dL: tuple[float, float] | None = None
    """Largest errors of glucose allowed inside the window and in the forecast, mg/dL; None: the ratios decide."""
    ratio: float | None = None
    """Largest ratio of rms errors to those of least squares on the same draws; None: the errors decide."""

    def reference(self, seed: int, names: tuple[str, ...] | None = None) -> t1djax.Cohort:
        """The reference cohort under the noise of a seed."""
        return t1djax.reference_cohort(**self.sensor, key=_noise_key(seed), names=names)

    def virtual(self, n: int) -> t1djax.Cohort:
        """Patients that nothing was tuned on."""
        return t1djax.virtual_population(n, **self.sensor, key=jax.random.key(UNSEEN))


def _noise_key(seed: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), UNSEEN)


CLEAN = Case("noise-free, 1 min", ("ksi",), {"interval_min": 1.0}, worst_ksi_percent=1.0, worst_rmse_mg_dL=(1.0, 5.0))
"""What optimisation alone leaves over."""
CLEAN_5 = dataclasses.replace(CLEAN, name="noise-free, 5 min", sensor={"interval_min": 5.0})
"""The same with the readings of a usual sensor."""
WHITE = Case(
    "white 10 mg/dL, 5 min",
    ("ksi", "G0"),
    {"interval_min": 5.0, "noise": t1djax.WhiteNoise(10.0)},
    worst_ksi_percent=1.0,
    ratio=1.5,
)
"""Independent errors."""
AR1 = Case(
    "AR(1) 10 mg/dL, 5 min, dropout, gap",
    ("ksi", "G0"),
    {
        "interval_min": 5.0,
        "noise": t1djax.AR1Noise(10.0, rho=0.7),
        "dropout": 0.05,
        "gaps": t1djax.RandomGaps(1, 180.0),
    },
    worst_ksi_percent=3.0,
    ratio=1.5,
)
"""Errors that remember, 5 % of readings lost, and one gap of three hours."""
CASES = (CLEAN, WHITE, AR1)
"""The three cases of the accuracy table."""
FIVE = ("ksi", "kl", "Tu", "Tr", "kr_Vb", "G0")
"""Everything that glucose can tell, G0 with it."""
SCORED = ("p1", "c", "Tu", "Tr", "kr_Vb")
"""What of it is scored: the product and the difference that glucose determines, in place of ksi and kl."""
