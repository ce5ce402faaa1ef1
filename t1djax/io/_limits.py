"""Readings at a limit of the sensor: how many, and what stands for those beyond it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from .._words import counted

LIMITS_MG_DL = (40.0, 400.0)
"""What most sensors report at the least and at the most."""


class Limited(NamedTuple):
    """Readings in time, and which of them the file says to be beyond a limit."""

    time_min: Float[np.ndarray, " readings"]
    glucose_mg_dL: Float[np.ndarray, " readings"]
    side: np.ndarray
    """`low`, `high`, or empty: texts."""

    def take(self, which: np.ndarray) -> "Limited":
        return Limited(self.time_min[which], self.glucose_mg_dL[which], self.side[which])


def facts_of(readings: Limited) -> dict[str, Any]:
    """What a report says of limits, by field."""
    glucose, (low, high) = readings.glucose_mg_dL, LIMITS_MG_DL
    at_limit: Bool[np.ndarray, " readings"] = (readings.side != "") | (glucose <= low) | (glucose >= high)
    facts: dict[str, Any] = {"censored_share": float(at_limit.mean())}
    for side in ("low", "high"):
        those = glucose[readings.side == side]
        facts |= {
            f"censored_{side}": len(those),
            f"censored_{side}_mg_dL": float(np.median(those)) if len(those) else None,
        }
    return facts


def stand_ins(facts: Mapping[str, Any]) -> str:
    """What stands for readings that the file says to be beyond a limit; empty where there is none.

    Example:
        >>> from t1djax.io import stand_ins
        >>> stand_ins({"censored_low": 3, "censored_low_mg_dL": 40.0})
        '3 LOW taken as 40 mg/dL'
    """
    return ", ".join(
        f"{count} {side.upper()} taken as {facts[f'censored_{side}_mg_dL']:.3g} mg/dL"
        for side in ("low", "high")
        if (count := facts.get(f"censored_{side}"))
    )


def warning(facts: Mapping[str, Any]) -> str:
    """What to say of readings for which a limit stands, by `facts_of`; empty where there is none."""
    if not (text := stand_ins(facts)):
        return ""
    n = facts["censored_low"] + facts["censored_high"]
    are = f"{counted(n, 'reading')} {'is' if n == 1 else 'are'}"
    return f"{are} beyond what the sensor reports: {text}; how far beyond, nobody knows"
