"""Whether forecasts see hypoglycaemic events coming, and how often they cry wolf."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ..data import Patient
from ..records import RollingForecasts
from ._scores import HYPOGLYCAEMIA_MG_DL

if TYPE_CHECKING:
    import pandas as pd

_EVENT_MIN = 15.0
_DAY_MIN = 1440.0
_GAP_MIN = 35.0


class Events(NamedTuple):
    """Hypoglycaemic events of a record, one row each."""

    start_min: Float[np.ndarray, " events"]
    """First reading below 70 mg/dL, min."""
    end_min: Float[np.ndarray, " events"]
    """First reading from which glucose stayed at 70 mg/dL or above for 15 min, min."""


def hypoglycaemic_events(patient: Patient, *, after_min: float = -np.inf) -> Events:
    """Events of readings below 70 mg/dL for 15 min or more; they end with 15 min at or above.

    A gap of more than 35 min ends what is before it; events that begin before `after_min` are left out.

    Example:
        >>> import numpy as np, t1djax
        >>> glucose = np.array([90.0, 65, 60, 62, 66, 80, 85, 90, 95])
        >>> ada = t1djax.Patient("Ada", 5.0 * np.arange(9), glucose, t1djax.Doses.of(basal=1.0))
        >>> [x.tolist() for x in t1djax.evaluation.hypoglycaemic_events(ada)]
        [[5.0], [25.0]]

    Source: Battelino et al., Diabetes Care 42(8), 2019, for the 15 min.
    """
    time, low = patient.time_min[patient.valid], patient.glucose_mg_dL[patient.valid] < HYPOGLYCAEMIA_MG_DL
    starts: list[float] = []
    ends: list[float] = []
    begun = above = np.nan  # of an event that may be one, and of the readings at or above after it
    for k, (t, is_low) in enumerate(zip([*time.tolist(), np.inf], [*low.tolist(), False], strict=True)):
        last = float(time[k - 1]) if k else t
        gap = t - last > _GAP_MIN
        if not np.isnan(begun) and (gap or t - above >= _EVENT_MIN):
            ended = above if not np.isnan(above) else last
            if ended - begun >= _EVENT_MIN:
                starts.append(begun)
                ends.append(ended)
            begun = above = np.nan
        if is_low:
            begun, above = (t if np.isnan(begun) else begun), np.nan
        elif not np.isnan(begun) and np.isnan(above):
            above = t
    found = np.asarray(starts, dtype=np.float64), np.asarray(ends, dtype=np.float64)
    keep = found[0] >= after_min
    return Events(found[0][keep], found[1][keep])


def score_events(
    forecasts: RollingForecasts, patient: Patient, *, alarm_probability: float | None = None
) -> "pd.DataFrame":
    """How many hypoglycaemic events had an alarm before they began, how long before, and how many alarms were false.

    An alarm begins where the forecast at a horizon is below 70 mg/dL, or its probability of that is at least
    `alarm_probability`, at a reading of 70 mg/dL or above; alarms from one origin to the next are one. It is true where
    an event begins between its first origin and its last plus the horizon, and false otherwise.

    Args:
        forecasts: of the person.
        patient: the record; events that begin after the first origin count.
        alarm_probability: when to raise the alarm; left out, by the expected reading.

    Returns:
        One row per horizon: `patient, method, horizon_min, events, recall_percent, false_alarms_per_day, lead_min`, the
        median time from an alarm to its event; NaN where there is none.

    Raises:
        ValueError: where the forecasts are another person's, or the probability does not lie between 0 and 1.

    Example:
        >>> import t1djax
        >>> patient = t1djax.reference_cohort(interval_min=15, names=["Pat2"])["Pat2"]
        >>> forecasts = t1djax.baseline_forecasts(patient, "linear", horizon_min=(30.0,))
        >>> int(t1djax.evaluation.score_events(forecasts, patient)["events"][0])
        0
    """
    import pandas as pd  # noqa: PLC0415 - costs half a second at import
    from scipy.special import ndtri  # noqa: PLC0415

    if forecasts.name != patient.name:
        raise ValueError(f"score_events: the forecasts are {forecasts.name}'s, the record is {patient.name}'s")
    if alarm_probability is not None and not 0 < alarm_probability < 1:
        raise ValueError(f"score_events: alarm_probability is {alarm_probability!r}; give one between 0 and 1")
    origins, rows = forecasts.origin_min, []
    now = dict(zip(patient.time_min.tolist(), patient.glucose_mg_dL.tolist(), strict=True))
    safe = np.array([now.get(t, np.nan) >= HYPOGLYCAEMIA_MG_DL for t in origins.tolist()], dtype=bool)
    step = float(np.median(np.diff(origins))) if len(origins) > 1 else 5.0
    watched = step * len(origins) / _DAY_MIN
    events = hypoglycaemic_events(patient, after_min=float(origins[0]) + step if len(origins) else np.inf).start_min
    for h, horizon in enumerate(forecasts.horizon_min.tolist()):
        level = forecasts.mean_mg_dL[:, h]
        if alarm_probability is not None:
            level = level + float(ndtri(alarm_probability)) * forecasts.sd_mg_dL[:, h]
        first, last = _alarms(origins, safe & (level < HYPOGLYCAEMIA_MG_DL), 2 * step)
        # An event belongs to the alarms whose time it falls into; its lead is from the earliest of them.
        inside = (first[:, None] < events) & (events <= last[:, None] + horizon + step / 2)
        caught = inside.any(axis=0)
        lead = [float(t - first[inside[:, k]].min()) for k, t in enumerate(events.tolist()) if caught[k]]
        false = int((~inside.any(axis=1)).sum())
        rows.append({
            "patient": forecasts.name,
            "method": forecasts.method,
            "horizon_min": horizon,
            "events": len(events),
            "recall_percent": 100.0 * float(caught.mean()) if len(events) else float("nan"),
            "false_alarms_per_day": false / watched if watched else float("nan"),
            "lead_min": float(np.median(lead)) if lead else float("nan"),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _alarms(
    origins: Float[np.ndarray, " origins"], on: Bool[np.ndarray, " origins"], apart_min: float
) -> tuple[Float[np.ndarray, " alarms"], Float[np.ndarray, " alarms"]]:
    """First and last origins of each alarm."""
    at = origins[on]
    if not len(at):
        return at, at
    new = np.append(True, np.diff(at) > apart_min)
    return at[new], at[np.append(new[1:], True)]
