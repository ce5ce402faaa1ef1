"""Cohorts as plain JSON for peers: the same readings, doses, starts, network and points for everybody."""

from typing import Any

import jax
import numpy as np

import t1djax

RESIDUAL_WEIGHT = 100.0
"""Of the Adam stage that is compared."""
_UNMOVED = t1djax.Stage(
    optimizer="adam", steps=1, learning_rate=1e-30, residual_weight=(RESIDUAL_WEIGHT, RESIDUAL_WEIGHT)
)


def patients(cohort: t1djax.Cohort, fit: t1djax.Fit | None = None, body: str = "magdelaine") -> list[dict[str, Any]]:
    """What a peer is told of each patient: known parameters, readings, doses; and starts where a fit is given.

    Args:
        cohort: the patients.
        fit: says which parameters are free, and where they start.
        body: which physiology it is.
    """
    rows = []
    for i, patient in enumerate(cohort):
        breaks, insulin, carbs = patient.doses.rates(float(patient.time_min[0]), float(patient.time_min[-1]))
        masks = patient.masks
        start = {} if fit is None else {symbol: float(x[i]) for symbol, x in fit.problem.start.items()}
        # What is free is not told.
        parameters = {s: float(x) for s, x in cohort.truth[patient.name].parameters.items() if s not in start}
        rows.append(
            {
                "name": patient.name,
                "body": body,
                "parameters": parameters,
                "start": start,
                "time_min": patient.time_min.tolist(),
                "glucose_mg_dL": np.where(patient.valid, patient.glucose_mg_dL, 0.0).tolist(),
                "fit": masks.fit.tolist(),
                "basal_U_min": float(patient.doses.basal_U_h[0]) / 60,
                "break_min": breaks.tolist(),
                "insulin_U_min": insulin.tolist(),
                "carbs_mg_min": carbs.tolist(),
            }
        )
    return rows


def untrained(cohort: t1djax.Cohort, options: t1djax.PINNOptions, seed: int) -> t1djax.Fit:
    """Our network before its first step: its weights and starts are those that a peer begins with."""
    return t1djax.fit(cohort, free=["ksi"], seed=seed, options=options, stages=[_UNMOVED])


def first_loss(fit: t1djax.Fit) -> list[float]:
    """The objective of the Adam stage before the first step, by patient, at residual weight 100."""
    assert fit.twins is not None
    at = {name: np.asarray(x[0], dtype=np.float64) for name, x in fit.history.losses.items()}
    noise = np.asarray(fit.twins.scales.noise, dtype=np.float64)
    return (at["data"] / noise**2 + RESIDUAL_WEIGHT**2 * (at["G"] + at["I"] + at["D"])).tolist()


def with_network(rows: list[dict[str, Any]], fit: t1djax.Fit) -> list[dict[str, Any]]:
    """The patients with the weights, features and scales of our untrained networks beside them."""
    assert fit.twins is not None
    listed = lambda x: np.asarray(x, dtype=np.float64).tolist()
    told = []
    for i, row in enumerate(rows):
        twin = jax.tree.map(lambda x, i=i: np.asarray(x[i]), fit.twins)
        seen, scales = twin.surrogate.features, twin.scales
        features = {name: listed(getattr(seen, name)) for name in ("frequencies", "amplitudes", "memory_scale")}
        network = {
            "layers": [[listed(layer.weight), listed(layer.bias)] for layer in twin.surrogate.layers],
            "features": {**features, "lags_min": list(seen.lags_min), "gate_min": seen.gate_min},
            "scales": {name: float(getattr(scales, name)) for name in ("G", "I", "D", "noise")},
        }
        told.append(row | {"network": network})
    return told
