"""Constants of the stochastic model by maximum a posteriori, the whole cohort in one program."""

import dataclasses
import time
from collections.abc import Sequence

import jax
import numpy as np

from .._checked import check_types
from ..data import TRAINING_SHARE, Cohort, Patient, readings_ahead, rolling_origins, training_end
from ..physics import AbstractPhysiology
from ..programs import over_cohort
from ..question import Question
from ..records import Cost, Estimate, Outcome
from ._hyper import Form, StateSpaceOptions, layout
from ._model import effect_prior, positive
from ._person import Person, person_of
from ._pool import of_everybody, of_the_cohort
from ._records import Joint, PatientStateSpace, StateSpaceFit
from ._search import REACH, Belief, Data, SearchResult, solve
from ._steps import round_up, stack_steps, steps_for

LEAST_READINGS = 20
"""From fewer nothing is learnt."""
_BLOCK = 1  # person at a time on a core: walks through a record are many side by side already
_PASSES = 4  # of expectation and maximisation: priors then move by less than a tenth of their spread
_ORIGINS_MIN = 14.5  # between origins of forecasts that count in the fit: closer ones say the same


def fit_state_space(
    patients: Sequence[Patient],
    *,
    physiology: str | type[AbstractPhysiology] = "magdelaine",
    options: StateSpaceOptions | None = None,
    train_share: float = TRAINING_SHARE,
    train_until_min: float | None = None,
    pooled: bool = False,
) -> StateSpaceFit:
    """Find each patient's constants from the training part of the record.

    ```
    min over z of   - log p(y)  -  sum over horizons h (step/h) sum over origins log p(y(t+h) | until t)  +  z'z/2
    ```

    with `z` the logarithms of the constants, standardised by their priors (`HYPERPARAMETERS`, `Facts.followed`), `step`
    the time between origins, at least 15 min, and forecasts that know no insulin or meal after `t`. The first term is
    the marginal likelihood of the Kalman filter, extended where the body is not linear; the second makes the model good
    at what it is used for, where it is wrong, and is weighed down since overlapping forecasts say the same. `c`, `p1`,
    `q` and `r` are states of the filter. It computes in float64, whatever the global setting, by damped Fisher scoring.

    Args:
        patients: the cohort.
        physiology: the body, by name or class.
        options: form of the model; `StateSpaceOptions()` if not given.
        train_share: share of each record to learn from.
        train_until_min: the same as a time on the record's clock, min; takes precedence.
        pooled: whether the patients inform each other: the priors' medians and spreads, of the constants and of the
            effects beside the rules of thumb, are then those of the cohort, found by expectation and maximisation, with
            the priors for everybody as a few people more. It steadies short records; a cohort of a few says little.

    Returns:
        The fit. A patient that does not converge has `ok` false; the others are not touched.

    Raises:
        ValueError: where there is no patient, or a training part has fewer than twenty readings.
        ArgumentError: where the physiology is not known.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"])
        >>> options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3)
        >>> fit = t1djax.fit_state_space(list(cohort), options=options)
        >>> fit["Pat3"].readings
        135
    """
    check_types(fit_state_space, locals())
    form = Form(StateSpaceOptions() if options is None else options, Question(physiology=physiology).body)
    _check(form.options)
    patients = Cohort.of(patients).patients
    if not patients:
        raise ValueError("fit_state_space: give at least one patient")
    ends = [training_end(p, share=train_share) if train_until_min is None else train_until_min for p in patients]
    for patient, end in zip(patients, ends, strict=True):
        count = int(np.sum(patient.valid & (patient.time_min <= end)))
        if count < LEAST_READINGS:
            raise ValueError(f"{patient.name}: {count} readings until {end:g} min to learn from; give {LEAST_READINGS}")
    began = time.perf_counter()
    with jax.enable_x64(True):
        data = _stack(patients, ends, form)
    solution, compile_s = over_cohort(solve, data, static=(form,), effort="some", block=_BLOCK, threaded=True)
    rules = data.person
    for _ in range(_PASSES if pooled else 0):
        with jax.enable_x64(True):
            person, belief = of_the_cohort(rules, solution, form)
            data = data._replace(person=person, belief=belief)
        solution, _ = over_cohort(solve, data, static=(form,), effort="some", block=_BLOCK, threaded=True)
    run_s = time.perf_counter() - began - compile_s
    host = jax.device_get((solution, data.person, data.belief))
    rows = lambda i: (jax.tree.map(lambda x: x[i], tree) for tree in host)
    with jax.enable_x64(True):
        found = tuple(
            _record(p, end, *rows(i), form=form) for i, (p, end) in enumerate(zip(patients, ends, strict=True))
        )
    return StateSpaceFit(form, found, Cost(compile_s, run_s))


def _stack(patients: Sequence[Patient], ends: Sequence[float], form: Form) -> Data:
    each = [steps_for(p, form, end) for p, end in zip(patients, ends, strict=True)]
    o = form.options
    people = [
        person_of(
            p,
            until_min=end,
            ahead_min=o.paired_ahead_min,
            wide=o.wide_effects and not form.exact,
            looked_back=o.looked_back,
        )
        for p, end in zip(patients, ends, strict=True)
    ]
    horizons = form.options.horizons_min
    rows = []
    for patient, end, s in zip(patients, ends, each, strict=True):
        seen = np.where(patient.time_min <= end, patient.glucose_mg_dL, np.nan)
        part = dataclasses.replace(patient, glucose_mg_dL=seen)
        origins = rolling_origins(part, after_min=-np.inf, every_min=_ORIGINS_MIN)
        target = readings_ahead(part, origins, horizons) if horizons else np.zeros((len(origins), 0))
        apart = np.median(np.diff(origins))
        weight = np.where(np.isfinite(target), apart / np.asarray(horizons), 0.0)
        rows.append((np.searchsorted(np.asarray(s.time_min), origins), np.nan_to_num(target, nan=120.0), weight))
    most = round_up(max(len(origin) for origin, _, _ in rows))
    pad = lambda x: np.pad(x, ((0, most - len(x)), *[(0, 0)] * (x.ndim - 1)))
    columns = (jax.device_put(np.stack([pad(x) for x in column])) for column in zip(*rows, strict=True))
    person = jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *people)
    return Data(stack_steps(each), person, of_everybody(person, form), *columns)


def _record(
    patient: Patient, end: float, s: SearchResult, person: Person, belief: Belief, *, form: Form
) -> PatientStateSpace:
    where, found = layout(form), s.found
    finite = bool(np.all(np.isfinite(s.z)) and np.isfinite(found.cost))
    unknown = np.linalg.inv(found.information) if finite else np.full((len(s.z), len(s.z)), np.nan)
    across = found.moves @ unknown
    cov = np.block([[unknown, across.T], [across, found.cov + across @ found.moves.T]])
    spread = np.sqrt(np.diagonal(unknown))
    fitted, within = {}, np.tanh(np.stack([s.z, belief.mean]) / REACH)
    for i, row in enumerate(form.constants):
        inside = within[0, i]
        value, median = (row.median * np.exp(row.log_sd * REACH * within[:, i])).tolist()
        error = value * row.log_sd * float(spread[i] * (1 - inside**2))
        fitted[row.symbol] = Estimate(
            value,
            median,
            None if form.options.horizons_min else error,
            prior_dominated=bool(spread[i] ** 2 > 0.75 * belief.sd[i] ** 2),
            at_bound=bool(abs(inside) > 0.96),
            white_error=error,
        )
    at = [where.at("c"), *range(where.core, len(where.names))]
    prior_mean, prior_cov = (np.asarray(x) for x in effect_prior(person, form))
    means = [float(person.effect_mean[0]), *prior_mean.tolist()]
    prior_sd = [float(person.effect_sd[0]), *np.sqrt(np.diagonal(prior_cov)).tolist()]
    sds = np.sqrt(np.diagonal(cov)[len(s.z) :][at])
    weak = sds**2 > 0.75 * np.square(prior_sd)
    values = np.append(found.mean[at[0]], positive(jax.device_put(found.mean[where.core :]), person, form))
    if not form.exact:  # of a logarithm the error grows with the value
        sds[1:] *= values[1:] / prior_mean
    effects = {
        where.names[j]: Estimate(float(values[i]), means[i], float(sds[i]), prior_dominated=bool(weak[i]))
        for i, j in enumerate(at)
    }
    return PatientStateSpace(
        name=patient.name,
        outcome=Outcome.of(bool(s.converged), finite=finite),
        train_until_min=end,
        constants=fitted,
        effects=effects,
        log_likelihood=float(found.log_likelihood),
        readings=int(np.sum(patient.valid & (patient.time_min <= end))),
        steps=int(s.steps),
        person=person,
        form=form,
        joint=Joint(np.concatenate([s.z, found.mean]), cov),
    )


def _check(options: StateSpaceOptions) -> None:
    if options.daily_rhythm < 0 or min(options.sensitivity_blocks, options.max_steps) < 1:
        raise ValueError(f"{options}: numbers must not be negative, max_steps and sensitivity_blocks must be positive")
    if any(not h > 0 for h in options.horizons_min):
        raise ValueError(f"{options}: horizons_min must be positive")
