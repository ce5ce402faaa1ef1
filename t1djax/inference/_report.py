"""The identifiability report: what the readings of each patient tell of the parameters, in numbers and in words."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Unpack

import jax
import numpy as np
from scipy import special

from .._checked import check_types
from .._settle import doubtful_mass
from .._types import Key
from ..data import Cohort, Patient
from ..identifiability import inverse
from ..problem import Problem, pose
from ..question import Question, QuestionFields, question_of
from ..records import (
    Determination,
    Direction,
    Fit,
    Identification,
    Misfit,
    Outcome,
    PatientIdentification,
    Verdict,
    WhatIf,
    fitted_records,
    symbols_of,
)
from ._feedback import insulin_follows_glucose
from ._information import (
    WHITE,
    Bounds,
    Information,
    NoiseCorrelation,
    absorbed,
    invert,
    noise_correlations,
    reading_information,
    residuals,
    sandwich,
    unbiased,
)
from ._misfit import SENSOR_MG_DL, independent, slower_than_a_sensor
from ._trust import misses
from ._verdicts import Error, Errors, doubted, qualified, verdict_of
from ._what_if import changed
from ._words import directions, listed, plus_minus, symmetries

_NO_TRACE_MG_DL = 1e-6  # change of glucose per unit of a logarithm that is rounding


def identify(
    fit: Fit, cohort: Cohort | Sequence[Patient] | None = None, *, level: float = 0.9, what_if: bool = True
) -> Identification:
    """Say what the readings tell of each estimate of a fit, and why.

    The information comes from the exact equations at the estimates, whatever model fitted them:
    `F = J'J / s^2` with `J` the sensitivities of glucose by the logarithms of the parameters. Where the residuals are
    autocorrelated, the intervals use `A^-1 (J'RJ / s^2 + P) A^-1` with `A = J'J / s^2 + P`, `P` the information of
    the priors and `R` the correlation of an AR(1) process and white noise that the residuals look like.

    All this takes the model for right. Where the fit misses its readings by more than a sensor's noise explains, what
    would be determined is called *model misfit*.

    Args:
        fit: from any model, in inverse mode.
        cohort: other records of these patients on the same rows; those that were fitted if not given.
        level: probability of the intervals, between 0 and 1.
        what_if: whether to compute what other data would bring.

    Returns:
        One record per patient: intervals, verdicts, and the combinations that the readings leave open.

    Raises:
        ValueError: where the fit estimated nothing, a patient of it is not among those given, or on other rows.

    Example:
        >>> import jax
        >>> import t1djax
        >>> white = t1djax.WhiteNoise(10.0)
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"], noise=white, key=jax.random.key(0))
        >>> fit = t1djax.fit(cohort, model="ode", free=["ksi", "G0"])
        >>> t1djax.identify(fit, what_if=False).verdict
        'G0 determined; ksi determined'

    Source: Cramer-Rao; the sandwich of Huber (1967) and White (1982) for noise that is not as assumed.
    """
    check_types(identify, locals())
    patients = fitted_records(fit, cohort)
    if not fit.problem.start:
        raise ValueError("identify: nothing was estimated; fit in inverse mode")
    values = {s: np.array([f.estimates[s].value for f in fit]) for s in fit.problem.start}
    left = [residuals(p, f.glucose_mg_dL) for p, f in zip(patients, fit, strict=True)]
    noise = [_noise(fit.problem, r) for _, r in left]
    correlations = noise_correlations(left)
    remarks = [_of_fit(f.outcome, left_, p) for f, left_, p in zip(fit, left, patients, strict=True)]
    missed = misses(fit, patients, left, correlations)
    slower = [unbiased(c, times, len(values)) for c, (times, _) in zip(correlations, left, strict=True)]
    evidence = _Evidence(fit.problem, values, noise, slower, remarks, level, missed)
    return _report(patients, evidence, what_if)


def preflight(
    cohort: Cohort | Sequence[Patient],
    question: Question | None = None,
    *,
    values: Mapping[str, float] = {},
    level: float = 0.9,
    what_if: bool = True,
    key: Key | None = None,
    **fields: Unpack[QuestionFields],
) -> Identification:
    """Say before any fit what the doses, meals and reading times of a cohort can tell, whatever is asked for.

    Sets that glucose cannot tell apart are explained here; a fit refuses them. The readings themselves do not count.

    Args:
        cohort: the patients.
        question: what would be asked of it; white noise of 10 mg/dL where it states none.
        values: where to look, by symbol, in the physiology's units; left out, what a patient states, or the
            middle of the population's range.
        level: probability of the intervals.
        what_if: whether to compute what other data would bring.
        key: not needed; draws what has no value.
        fields: fields of `Question`, in place of one or on top of it.

    Returns:
        One record per patient.

    Raises:
        ValueError: where a symbol is unknown or a value is missing.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"])
        >>> report = t1djax.preflight(cohort, free=["ksi", "ku_Vi"], what_if=False)
        >>> report["Pat3"].directions[0].words
        'ksi and ku_Vi move together: only ksi*ku_Vi is determined (±0.089 %)'
    """
    check_types(preflight, locals())
    patients, question = tuple(cohort), question_of(question, fields)
    noise = SENSOR_MG_DL if question.noise_sd_mg_dL is None else question.noise_sd_mg_dL
    key = jax.random.key(0) if key is None else key
    problem = pose(patients, question, key=key, noise_sd_mg_dL=noise, refuse=False)
    table, balance = problem.body.parameters, problem.body.facts.balance
    if unknown := [s for s in values if s not in {**table, **problem.body.initial_states()}]:
        raise ValueError(f"unknown parameter {', '.join(unknown)}; there are {', '.join(table)}")
    here = {}
    for symbol, start in problem.start.items():
        middle = table[symbol].typical if symbol in problem.named else np.nan
        if balance is not None and symbol == balance.more and balance.less in problem.known:
            middle = problem.known[balance.less] + balance.typical
        middles = np.broadcast_to(middle, len(patients))
        stated = np.array([values.get(symbol, p.known.get(symbol, m)) for p, m in zip(patients, middles, strict=True)])
        here[symbol] = np.where(np.isfinite(stated), stated, start)
    known = {s: np.full(len(patients), values[s]) if s in values else v for s, v in problem.known.items()}
    problem = dataclasses.replace(problem, known=known)
    n = len(patients)
    everywhere = _Evidence(problem, here, [noise] * n, [WHITE] * n, [()] * n, level, [None] * n)
    return _report(patients, everywhere, what_if)


class _Evidence(NamedTuple):
    """The question, patient by patient."""

    problem: Problem
    values: Mapping[str, np.ndarray]
    noise: Sequence[float]
    correlations: Sequence[NoiseCorrelation]
    remarks: Sequence[tuple[str, ...]]
    level: float
    misfits: Sequence[Misfit | None]


class _One(NamedTuple):
    """The question about one patient."""

    free: list[str]
    values: Mapping[str, float]
    information: Information
    noise: float
    readings: int
    apart_min: float
    memory: NoiseCorrelation
    problem: Problem
    misfit: Misfit | None


def _noise(problem: Problem, residual: np.ndarray) -> float:
    if problem.noise_sd_mg_dL is not None:
        return problem.noise_sd_mg_dL
    return float(np.sqrt(np.sum(residual**2) / max(len(residual) - len(problem.start), 1)))


def _of_fit(outcome: Outcome, left: tuple[np.ndarray, np.ndarray], patient: Patient) -> tuple[str, ...]:
    remarks = () if outcome.ok else (f"the fit failed: {outcome.value}",)
    feedback = insulin_follows_glucose(patient, *left)
    return (*remarks, feedback) if feedback else remarks


def _report(patients: Sequence[Patient], evidence: _Evidence, what_if: bool) -> Identification:
    problem = dataclasses.replace(evidence.problem, bounds={})  # of no account for what readings tell
    plans = changed(patients) if what_if else []
    everyone = [*patients, *(p for plan in plans for p in plan.patients)]
    rounds = 1 + len(plans)
    body = jax.tree.map(lambda x: np.concatenate([x] * rounds), problem.physiology(start=evidence.values))
    every = reading_information(body, everyone, list(evidence.correlations) * rounds)
    free, n = sorted(evidence.values), len(patients)
    records = []
    for i, patient in enumerate(patients):
        at = lambda by, i=i: {s: float(v[i]) for s, v in by.items()}
        mine = jax.tree.map(lambda x, i=i: x[i], every)
        values = at(problem.known) | at(evidence.values)
        readings = int(patient.masks.fit.sum())
        one = _One(
            free,
            values,
            mine,
            evidence.noise[i],
            readings,
            float(np.median(np.diff(patient.time_min[patient.masks.fit]))) if readings > 1 else np.inf,
            evidence.correlations[i],
            evidence.problem,
            evidence.misfits[i],
        )
        others = {
            plan.change: tuple(np.asarray(x[(j + 1) * n + i]) for x in (every.white, every.coloured))
            for j, plan in enumerate(plans)
        }
        remarks = (*evidence.remarks[i], *doubtful_mass(patient, evidence.problem.start, evidence.problem.body))
        records.append(_of_patient(patient.name, one, others, remarks, evidence.level))
    return Identification(tuple(records), evidence.level, evidence.problem.notes)


def _of_patient(
    name: str, one: _One, others: Mapping[str, tuple[np.ndarray, ...]], remarks: tuple[str, ...], level: float
) -> PatientIdentification:
    s2, k = one.noise**2, len(one.free)
    white, prior = np.asarray(one.information.white), np.asarray(one.information.found.prior)
    coloured = np.asarray(one.information.coloured)
    blind = np.diagonal(white) <= _NO_TRACE_MG_DL**2 * one.readings
    body = one.problem.body
    exact = symmetries(one.free, body, one.values, white, blind)
    alone = _scaled(invert(white, one.readings, len(exact)), s2)
    stated = one.problem.noise_sd_mg_dL is not None or not s2 or not np.all(np.isfinite(coloured))
    wider = 1.0 if stated else absorbed(one.readings, k, float(np.trace(alone.covariance @ coloured)) / s2)
    alone_robust = sandwich(alone, wider * coloured / s2, 0 * prior) if s2 else alone
    total = white + s2 * prior
    both = _scaled(invert(total, one.readings, len(exact) if not prior.any() else 0), s2)
    robust = sandwich(both, wider * coloured / s2, prior) if s2 else both
    bounds_ = Errors(alone, alone_robust, both, robust)
    found = directions(one.free, body, exact, alone_robust, alone)
    freedom = max(independent(one.readings, one.apart_min, one.memory) - k, 1)
    quantile = float(special.stdtrit(freedom, (1 + level) / 2))
    if one.problem.noise_sd_mg_dL is not None:
        quantile = float(special.ndtri((1 + level) / 2))
    correlation = _correlation(total)
    parameters, derived = {}, {}
    for i, symbol in enumerate(one.free):
        e = bounds_.of(np.eye(k)[i])
        verdict, reason = _judge(symbol, i, e, one, found, correlation, white + s2 * prior)
        verdict, reason = doubted(verdict, reason, e, one.misfit)
        verdict, reason = qualified(verdict, reason, symbol, one.problem, name)
        parameters[symbol] = _determination(symbol, one.values[symbol], e, quantile, verdict, reason, one.problem)
    for symbol in (row.symbol for row in body.facts.derived):
        value, slope = float(one.information.found.values[symbol]), np.asarray(one.information.found.slopes[symbol])
        if np.any(slope):
            e = bounds_.of(slope / (value or 1.0))
            verdict, reason = verdict_of(e), f"the readings alone leave {plus_minus(e.alone_robust)}"
            verdict, reason = doubted(verdict, reason, e, one.misfit)
            verdict, reason = qualified(verdict, reason, symbol, one.problem, name)
            derived[symbol] = _determination(symbol, value, e, quantile, verdict, reason, one.problem)
    values = np.linalg.eigvalsh(white) if np.all(np.isfinite(white)) else np.full(k, np.nan)
    rank = k - alone.open.shape[1]
    gains = tuple(_gain(change, one, information_, bounds_) for change, information_ in others.items())
    return PatientIdentification(
        name=name,
        parameters=parameters,
        derived=derived,
        rank=rank,
        condition=float(values[-1] / values[0]) if rank == k and values[0] > 0 else np.inf,
        noise_sd_mg_dL=one.noise,
        autocorrelation=one.memory.correlation,
        correlation=correlation,
        directions=tuple(found),
        what_if=gains,
        warnings=_warnings(remarks, one, parameters),
        misfit=one.misfit,
    )


def _scaled(bounds: Bounds, s2: float) -> Bounds:
    return Bounds(s2 * bounds.covariance, bounds.open)


def _correlation(information: np.ndarray) -> np.ndarray:
    covariance = inverse(information, 1e-12)
    spread = np.sqrt(np.diagonal(covariance))
    return covariance / np.outer(spread, spread)


def _determination(
    symbol: str,
    value: float,
    e: Error,
    quantile: float,
    verdict: Verdict,
    reason: str,
    problem: Problem,
) -> Determination:
    limits = problem.limits(symbol)

    def interval(sd: float) -> tuple[float, float]:
        if not np.isfinite(sd):
            return limits if value > 0 or symbol in problem.start else (-np.inf, np.inf)
        wide = min(quantile * sd, 700.0)
        ends = sorted((value * float(np.exp(-wide)), value * float(np.exp(wide))))
        return (max(ends[0], limits[0]), min(ends[1], limits[1])) if value > 0 else (ends[0], ends[1])

    return Determination(
        symbol=symbol,
        **symbols_of(problem.body)[symbol]._asdict(),
        value=value,
        bound_percent=100 * e.alone,
        error_percent=100 * e.white,
        robust_percent=100 * e.robust,
        white_interval=interval(e.white),
        interval=interval(e.robust),
        verdict=verdict,
        reason=reason,
    )


def _judge(
    symbol: str,
    i: int,
    e: Error,
    one: _One,
    found: Sequence[Direction],
    correlation: np.ndarray,
    information: np.ndarray,
) -> tuple[Verdict, str]:
    """The verdict on one parameter and the reason."""
    if one.problem.at_bound(symbol, one.values[symbol]):
        low, high = one.problem.limits(symbol)
        near = (
            low
            if high == np.inf or abs(np.log(one.values[symbol] / low)) < abs(np.log(one.values[symbol] / high))
            else high
        )
        return "at its bound", f"it stands at its bound {near:g}: the readings want it beyond, or tell nothing of it"
    verdict = verdict_of(e)
    concerned = [d for d in found if symbol in d.undetermined and (d.structural or abs(d.undetermined[symbol]) > 0.5)]
    exact = [d for d in concerned if d.structural]
    if verdict == "set by the prior":
        alone = "nothing" if not np.isfinite(e.alone_robust) else plus_minus(e.alone_robust)
        why = f"; {exact[0].words}" if exact else ""
        return verdict, f"the readings alone leave {alone}, with the prior it is {plus_minus(e.robust)}{why}"
    if verdict == "determined":
        return verdict, f"the readings leave {plus_minus(e.robust)}"
    if exact:
        return verdict, exact[0].words
    if len(one.free) > 1 and np.all(np.isfinite(correlation)):
        others = np.abs(correlation[i]) * (np.arange(len(one.free)) != i)
        j = int(np.argmax(others))
        if others[j] > 0.7:
            keep = [m for m in range(len(one.free)) if m != j]
            less = _scaled(invert(information[np.ix_(keep, keep)], one.readings), one.noise**2)
            known = less.sd(np.eye(len(keep))[keep.index(i)])
            partner = one.free[j]
            return verdict, (
                f"it moves with {partner} (correlation {correlation[i, j]:.2f}): {plus_minus(e.robust)}, "
                f"and {plus_minus(known)} if {partner} were known"
            )
    return verdict, f"the readings leave {plus_minus(e.robust)}"


def _gain(change: str, one: _One, after: tuple[np.ndarray, ...], before: Errors) -> WhatIf:
    s2, prior = one.noise**2, np.asarray(one.information.found.prior)
    white, coloured = after
    then = _scaled(invert(white + s2 * prior, one.readings), s2)
    then = sandwich(then, coloured / s2, prior) if s2 else then
    unit = np.eye(len(one.free))
    return WhatIf(
        change, {s: (100 * before.robust.sd(row), 100 * then.sd(row)) for s, row in zip(one.free, unit, strict=True)}
    )


def _warnings(remarks: tuple[str, ...], one: _One, parameters: Mapping[str, Determination]) -> tuple[str, ...]:
    found = list(remarks)
    if one.misfit is not None and one.misfit.found:
        found.append(one.misfit.words)
    ratios = [d.robust_percent / d.error_percent for d in parameters.values() if 0 < d.error_percent < np.inf]
    if one.memory.correlation > 0 and ratios:
        found.append(
            f"residuals are autocorrelated ({one.memory.correlation:.2f} from one reading to the next): errors for "
            f"white noise (error_percent) are up to {max(ratios):.1f} times too small; the intervals, and each ±, are "
            "of the robust ones (robust_percent)"
        )
        if slower_than_a_sensor(one.memory) and not (one.misfit is not None and one.misfit.found):
            found.append(
                f"residuals keep their sign for about {1 / one.memory.decay_per_min:.0f} min, longer than errors of "
                "a sensor do: something is missing from the model, and estimates may be off by more than their "
                "intervals; compare several windows, and estimate the initial state too"
            )
    bound = [s for s, d in parameters.items() if d.verdict == "at its bound"]
    if bound:
        found.append(
            f"{listed(bound)} {'stands' if len(bound) == 1 else 'stand'} at a bound: other errors assume it stays"
        )
    return tuple(found)
