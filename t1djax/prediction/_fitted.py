"""From a fit to fitted patients: the state at the end of each record, and how it moves with the parameters."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..data import Cohort, Patient, PatientArrays, Series, data_hash
from ..evaluation import errors_by_set
from ..identifiability import covariance
from ..physics import Doses, state_units
from ..programs import over_cohort
from ..records import Fit, FittedPatient, fitted_records
from ..twin import Physiology


def fitted_patients(fit: Fit, patients: Cohort | Sequence[Patient] | None = None) -> tuple[FittedPatient, ...]:
    """What predicts each patient of a fit: the exact equations under the estimates, whatever model found these.

    The state at the end of the record is the solution from its start under the record's doses, and moves with the
    parameters: its derivatives are kept, so that intervals of a forecast carry the uncertainty of the parameters
    through it. The covariance of the logarithms is `(J'J / s^2 + P)^-1` with `J` the slopes of the fitted readings by
    the equations, `s` the noise and `P` the priors; it assumes white noise.

    Args:
        fit: of any model.
        patients: other records of these patients on the same rows; those that were fitted if not given.

    Returns:
        One per patient, in the order of the fit.

    Raises:
        ValueError: where a patient of the fit is not among those given, or on other rows.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"])
        >>> models = t1djax.fitted_patients(t1djax.fit(cohort, model="ode", free=["ksi"]), cohort)
        >>> [round(model.parameters["ksi"]) for model in models]
        [197, 274]

    Source: Cramer-Rao for the covariance; the derivatives of the exact solution are by forward-mode autodiff.
    """
    records = fitted_records(fit, patients)
    # Between bounds a coordinate is no logarithm; without them it is.
    problem = dataclasses.replace(fit.problem, bounds={})
    values = {s: np.array([f.estimates[s].value for f in fit], np.float64) for s in problem.start}
    end, _ = over_cohort(_end, problem.physiology(start=values), PatientArrays(records))
    return tuple(_record(fit, i, record, jax.tree.map(lambda x, i=i: x[i], end)) for i, record in enumerate(records))


def fitted_patient(fit: Fit, patient: Patient) -> FittedPatient:
    """What predicts one patient; see `fitted_patients`, which does a whole cohort at once.

    Args:
        fit: a fit of this patient, perhaps among others.
        patient: the patient, or another record of the same on the same rows.

    Returns:
        The patient, at the end of the record; `predict` goes on from there.

    Raises:
        KeyError: where the patient is not in the fit.
        ValueError: where the record is on other rows than the fit.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"])
        >>> fit = t1djax.fit(cohort, model="ode", free=["ksi"])
        >>> t1djax.prediction.fitted_patient(fit, cohort["Pat3"]).free
        ('ksi',)
    """
    return fitted_patients(fit.take([fit.patients.index(fit[patient.name])]), [patient])[0]


class _End(NamedTuple):
    glucose_mg_dL: Array
    """On the rows of the record."""
    values: dict[str, Array]
    """Every parameter."""
    state: Array
    slopes: Array
    """Of the parameters of the equations, then of the state, by the free logarithms."""
    information: Array
    prior: Array
    noise: Array


def _end(body: Physiology, data: Series) -> _End:
    def solve(z: dict[str, Array]) -> tuple[Array, Array]:
        here = body.with_free(z)
        p, solution = here.model(), here.trajectory(data)
        last = [getattr(solution.state, name)[-1] for name in state_units(body.body.States)]
        return solution.glucose_mg_dL, jnp.stack([*p.values().values(), *last])

    glucose, end = solve(body.free)
    by_glucose, by_end = jax.jacfwd(solve)(body.free) if body.free else ({}, {})
    J = jnp.where(data.fit[:, None], _columns(by_glucose, glucose), 0.0)
    misfit = jnp.sum(jnp.where(data.fit, glucose - data.glucose_mg_dL, 0.0) ** 2)
    return _End(
        glucose_mg_dL=glucose,
        values=body.values(),
        state=end[-len(state_units(body.body.States)) :],
        slopes=_columns(by_end, end),
        information=J.T @ J,
        prior=body.sensitivities().prior,
        noise=body.noise(misfit, jnp.sum(data.fit)),
    )


def _columns(by_symbol: dict[str, Array], of: Float[Array, " n"]) -> Float[Array, "n free"]:
    return jnp.stack([by_symbol[s] for s in sorted(by_symbol)], axis=-1) if by_symbol else jnp.zeros((of.size, 0))


def _record(fit: Fit, i: int, patient: Patient, end: _End) -> FittedPatient:
    body = fit.problem.body
    symbols = [field.name for field in dataclasses.fields(body)]
    return FittedPatient(
        name=patient.name,
        model=fit.model,
        mode=fit.problem.mode,
        outcome=fit.patients[i].outcome,
        parameters={symbol: float(value) for symbol, value in end.values.items()},
        free=tuple(sorted(fit.problem.start)),
        covariance=covariance(np.asarray(end.information), float(end.noise), np.asarray(end.prior)),
        state=dict(zip(state_units(body.States), end.state.tolist(), strict=True)),
        slopes=dict(zip((*symbols, *state_units(body.States)), np.asarray(end.slopes), strict=True)),
        end_min=float(patient.time_min[-1]),
        start=patient.start,
        under_way=_under_way(patient.doses, float(patient.time_min[-1])),
        noise_sd_mg_dL=float(end.noise),
        metrics=errors_by_set(np.asarray(end.glucose_mg_dL)[: len(patient.time_min)], patient),
        data_hash=data_hash(patient),
        body=body,
    )


def _under_way(doses: Doses, end_min: float) -> Doses:
    """The basal rate in force at the end, and what is left of doses and meals that have begun by then."""
    in_force = max(int(np.searchsorted(doses.basal_time_min, end_min, side="right")) - 1, 0)
    left = []
    for time, amount, duration in doses.events:
        rest = time + duration - end_min
        going = (time <= end_min) & (rest > 0) & (amount > 0)
        left += [np.full(going.sum(), end_min), (amount * rest / duration)[going], rest[going]]
    return Doses(np.array([end_min]), doses.basal_U_h[in_force : in_force + 1], *left)
