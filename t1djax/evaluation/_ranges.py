"""What a record says of glycaemic control: time in ranges, variability, risk."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from .._types import GlucoseUnit, mg_dL_in
from ..data import Patient
from ._baselines import step_min
from ._errors import GLUCOSE_RANGES

if TYPE_CHECKING:
    import pandas as pd

_EPISODE_MIN = 15.0
LEAST_DAYS, LEAST_DATA_PERCENT = 14.0, 70.0
"""Below so many days, or this share of the time with data, %, these numbers are not representative (consensus)."""


class Glycaemia(NamedTuple):
    """Glycaemic metrics of one record."""

    n_readings: int
    """Readings."""
    days: float
    """Span from the first reading to the last, days: a number of 24 h."""
    data_percent: float
    """Share of that time with data, %: readings times the sensor's own step."""
    mean: float
    """Mean glucose, in the `unit` asked for."""
    sd: float
    """Standard deviation, in the `unit` asked for."""
    unit: str
    """Unit of mean and standard deviation: `mg/dL` or `mmol/L`."""
    cv_percent: float
    """Coefficient of variation, %."""
    gmi_percent: float
    """Glucose management indicator, %: the HbA1c that this mean glucose goes with."""
    very_low_percent: float
    """Readings below 54 mg/dL (3.0 mmol/L), %."""
    low_percent: float
    """Readings of 54 to 69 mg/dL (3.0 to 3.8 mmol/L), %."""
    in_range_percent: float
    """Readings of 70 to 180 mg/dL, or 3.9 to 10.0 mmol/L, %."""
    high_percent: float
    """Readings of 181 to 250 mg/dL, or 10.1 to 13.9 mmol/L, %."""
    very_high_percent: float
    """Readings above 250 mg/dL, or 13.9 mmol/L, %."""
    gri: float
    """Glycaemia risk index, a number from 0 to 100."""
    gri_zone: str
    """Its fifth: `A` (0 to 20) to `E` (above 80)."""
    gri_hypo_percent: float
    """Its hypoglycaemia component, %."""
    gri_hyper_percent: float
    """Its hyperglycaemia component, %."""
    lbgi: float
    """Low blood glucose index, a number from 0."""
    hbgi: float
    """High blood glucose index, a number from 0."""

    @property
    def representative(self) -> bool:
        """Whether there are 14 days with data for 70 % of the time, which the consensus asks for."""
        return self.days >= LEAST_DAYS - 0.5 and self.data_percent >= LEAST_DATA_PERCENT


def glycaemia(patient: Patient, *, unit: GlucoseUnit = "mg/dL") -> Glycaemia:
    """Glycaemic metrics of the readings of a record; each reading counts once.

    With percentages of readings below 54 (`VL`), 54 to 69 (`L`), 181 to 250 (`H`) and above 250 mg/dL (`VH`):

    ```
    GRI = min(100, 3.0 VL + 2.4 L + 1.6 VH + 0.8 H)      hypo = VL + 0.8 L,  hyper = VH + 0.5 H
    GMI = 3.31 + 0.02392 mean (mg/dL)
    f(G) = 1.509 ((ln G)^1.084 - 5.381)                  LBGI, HBGI = mean of 10 f^2 where f < 0, f > 0
    ```

    Args:
        patient: the record.
        unit: unit of mean and standard deviation.

    Returns:
        The metrics.

    Raises:
        ValueError: where the unit is unknown.

    Example:
        >>> import t1djax
        >>> found = t1djax.glycaemia(t1djax.reference_cohort(interval_min=5, names=["Pat2"])["Pat2"])
        >>> round(found.data_percent), found.gri_zone
        (100, 'B')

    Source: Battelino et al., Diabetes Care 42(8):1593 (2019); Klonoff et al., J. Diabetes Sci. Technol. 17(5):1226
    (2023) for GRI; Bergenstal et al., Diabetes Care 41(11):2275 (2018) for GMI; Kovatchev et al., Diabetes Care
    29(11):2433 (2006) for LBGI and HBGI.
    """
    factor = mg_dL_in(unit)
    reading, time = patient.glucose_mg_dL[patient.valid], patient.time_min[patient.valid]
    percent = [100 * float(inside(reading).mean()) for inside in GLUCOSE_RANGES.values()]
    very_low, low, in_range, high, very_high = percent
    mean = float(reading.mean())
    sd = float(reading.std(ddof=1)) if reading.size > 1 else float("nan")
    span = float(time[-1] - time[0])
    covered = 100 * min(1.0, len(time) * step_min(patient) / (span + step_min(patient))) if span > 0 else 0.0
    hypo, hyper = very_low + 0.8 * low, very_high + 0.5 * high
    gri = min(100.0, 3.0 * hypo + 1.6 * hyper)
    lbgi, hbgi = blood_glucose_indices(reading)
    return Glycaemia(
        n_readings=int(reading.size),
        days=span / 1440,
        data_percent=covered,
        mean=mean / factor,
        sd=sd / factor,
        unit=unit,
        cv_percent=100 * sd / mean,
        gmi_percent=3.31 + 0.02392 * mean,
        very_low_percent=very_low,
        low_percent=low,
        in_range_percent=in_range,
        high_percent=high,
        very_high_percent=very_high,
        gri=gri,
        gri_zone="ABCDE"[min(int(np.ceil(gri / 20)) - 1, 4) if gri > 0 else 0],
        gri_hypo_percent=hypo,
        gri_hyper_percent=hyper,
        lbgi=lbgi,
        hbgi=hbgi,
    )


class Episodes(NamedTuple):
    """How often glucose was out of range for 15 min or longer."""

    low: int
    """Below 70 mg/dL."""
    very_low: int
    """Below 54 mg/dL."""
    very_high: int
    """Above 250 mg/dL."""


def episodes(patient: Patient) -> Episodes:
    """Episodes of a record: out of range for 15 min, until 15 min within; a reading stands for the sensor's own step.

    Args:
        patient: the record.

    Returns:
        Their numbers.

    Example:
        >>> import numpy as np, t1djax
        >>> glucose = np.array([90.0, 65, 64, 63, 72, 66, 90, 90, 90, 60])
        >>> person = t1djax.Patient("Ada", 5.0 * np.arange(10), glucose, t1djax.Doses.of())
        >>> t1djax.evaluation.episodes(person).low
        1

    Source: Battelino et al., Lancet Diabetes Endocrinol. 11(1):42 (2023).
    """
    time, reading, step = patient.time_min[patient.valid], patient.glucose_mg_dL[patient.valid], step_min(patient)
    count = lambda out: _count(time, out, step)
    return Episodes(count(reading < 70), count(reading < 54), count(reading > 250))


def _count(time: Float[np.ndarray, " n"], out: np.ndarray, step: float) -> int:
    found, inside, since, was = 0, False, 0.0, None
    for t, is_out in zip(time.tolist(), out.tolist(), strict=True):
        since = t if is_out != was else since
        was = is_out
        if is_out != inside and t - since + step >= _EPISODE_MIN:
            inside, found = is_out, found + is_out
    return found


def blood_glucose_indices(glucose_mg_dL: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Low and high blood glucose index of readings (mg/dL), as in `glycaemia`; at least 1 mg/dL is taken of each.

    Example:
        >>> import numpy as np
        >>> from t1djax.evaluation import blood_glucose_indices
        >>> low, high = blood_glucose_indices(np.array([20.0]))
        >>> round(low), high
        (100, 0.0)
    """
    f = 1.509 * (np.log(np.maximum(glucose_mg_dL, 1.0)) ** 1.084 - 5.381)
    risk = 10 * f**2
    return float(np.mean(np.where(f < 0, risk, 0.0))), float(np.mean(np.where(f > 0, risk, 0.0)))


def glycaemia_table(patients: Iterable[Patient], *, unit: GlucoseUnit = "mg/dL") -> "pd.DataFrame":
    """One row per patient with the fields of `Glycaemia`; mean and standard deviation carry their unit in the name.

    Args:
        patients: the records.
        unit: of mean and standard deviation, mg/dL or mmol/L.

    Returns:
        A table with the columns `patient`, the fields of `Glycaemia`, and `representative`.

    Raises:
        ValueError: where the unit is neither of the two.

    Example:
        >>> import t1djax
        >>> table = t1djax.glycaemia_table(t1djax.reference_cohort(interval_min=15, names=["Pat2"]), unit="mmol/L")
        >>> "mean_mmol_L" in table
        True
    """
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    suffix = unit.replace("/", "_")
    rows = []
    for patient in patients:
        found = glycaemia(patient, unit=unit)
        row = {f"{k}_{suffix}" if k in ("mean", "sd") else k: v for k, v in found._asdict().items() if k != "unit"}
        rows.append({"patient": patient.name} | row | {"representative": found.representative})
    return pd.DataFrame(rows)
