"""Insulin that answers glucose, seen in the residuals of a fit."""

import numpy as np

from ..data import Patient

_FOLLOWS = 4.0  # standard errors of a correlation
_ROUNDING_MG_DL = 1e-6


def insulin_follows_glucose(patient: Patient, time_min: np.ndarray, residual: np.ndarray) -> str:
    """A warning where insulin that no meal explains follows what glucose was above the model; else nothing.

    Insulin that answers glucose (a closed loop, or a person who corrects) is correlated with disturbances that the
    model does not have, and an estimate of insulin sensitivity takes the blame for them. The residual is readings less
    model, mg/dL.
    """
    if len(residual) < 50 or not np.all(np.isfinite(residual)) or np.std(residual) < _ROUNDING_MG_DL:
        return ""
    insulin, carbs = _delivered(patient, time_min)
    past = residual[:-1]  # at the reading before each interval
    near = np.convolve(carbs, np.ones(13), mode="same")  # an hour about each interval
    design = np.stack([np.ones_like(past), carbs, near], axis=1)
    free = lambda x: x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    # Differences, so that slow courses of both do not pass for an answer; ranks, so that no single bolus decides.
    u, e = np.diff(free(insulin / np.diff(time_min))), np.diff(free(past))
    if np.std(u) < 1e-9 or np.std(e) < 1e-9:
        return ""
    from scipy import stats  # noqa: PLC0415 - a second at import

    r = float(np.corrcoef(stats.rankdata(u), stats.rankdata(e))[0, 1])
    if r < _FOLLOWS / np.sqrt(len(u)):
        return ""
    return (
        f"insulin follows what glucose is above the model (correlation {r:.2f}, beyond meals): a closed loop or "
        "corrections bias insulin sensitivity, by how much the readings do not tell"
    )


def _delivered(patient: Patient, time_min: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Insulin (U) and carbohydrate (g) between the times."""
    breaks, insulin, carbs = patient.doses.rates(float(time_min[0]), float(time_min[-1]))
    edges = np.append(breaks, max(time_min[-1], breaks[-1]) + 1.0)
    total = lambda rate: np.diff(np.interp(time_min, edges, np.append(0.0, np.cumsum(rate * np.diff(edges)))))
    return total(insulin), total(carbs) / 1000
