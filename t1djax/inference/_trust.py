"""How far the errors of a fit can be trusted, from its own residuals: nothing is computed anew."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..data import Patient
from ..records import Ensemble, Estimate, Fit, Misfit, tally
from ._information import NoiseCorrelation, absorbed, noise_correlations, residuals, unbiased
from ._misfit import misfits
from ._verdicts import Error, qualified, unless_misfit, verdict_of

DIFFERING = "differing between seeds"
"""What a parameter is called whose verdict goes by the seed."""


def misses(
    fit: Fit,
    patients: Sequence[Patient],
    left: Sequence[tuple[np.ndarray, np.ndarray]],
    correlations: Sequence[NoiseCorrelation],
) -> list[Misfit]:
    """What a fit leaves of its readings, beside what a sensor's noise explains; see `misfits`."""
    problem = fit.problem
    return misfits(patients, left, correlations, unknowns=len(problem.start), noise_sd_mg_dL=problem.noise_sd_mg_dL)


def widening(time_min: np.ndarray, correlation: NoiseCorrelation, unknowns: int) -> float:
    """How many times too small errors for white noise are: as that of a mean is.

    `w^2 = 1 + 2 s r / (1 - r)` with `s` the autocorrelated share of the noise and `r` its correlation from one reading
    to the next; and since the fit takes its part of such noise, `w^2 (n - k)/(n - k w^2)`. `identify` has the errors of
    the sandwich formula, parameter by parameter; for a sensor's noise they agree within 15 %, these being the larger.

    Source: variance of the mean of an AR(1) process.
    """
    n, correlation = len(time_min), unbiased(correlation, time_min, unknowns)
    rho = np.exp(-correlation.decay_per_min * np.median(np.diff(time_min))) if len(time_min) > 1 else 0.0
    w2 = 1 + 2 * correlation.share * rho / (1 - rho)
    return float(np.sqrt(w2 * absorbed(n, unknowns, unknowns * w2)))


def trusted(fit: Fit) -> Fit:
    """The fit with standard errors as far as its residuals bear them out.

    Errors from the curvature of a fit take the noise for white and the model for right; they stay as `white_error`.
    Where the residuals are autocorrelated, `standard_error` is wider; where the model misses its readings by more than
    a sensor errs, there is none. Where a prior sets the estimate, the error is the prior's and stays.
    """
    if not fit.problem.start:
        return fit
    left, correlations, missed = _left(fit)
    unknowns, found = len(fit.problem.start), []
    for patient, (times, _), correlation, miss in zip(fit, left, correlations, missed, strict=True):
        wider = None if miss.found else widening(times, correlation, unknowns)
        b = fit.problem.goes_by(patient.name)
        on_c = set() if b is None else {*fit.problem.body.facts.by_balance, b.symbol}
        each = lambda by, wider=wider, on_c=on_c: {s: _trusted(e, wider, s in on_c) for s, e in by.items()}
        found.append(dataclasses.replace(patient, estimates=each(patient.estimates), derived=each(patient.derived)))
    return dataclasses.replace(fit, patients=tuple(found))


def _left(fit: Fit) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[NoiseCorrelation], list[Misfit]]:
    """Residuals of each patient, their autocorrelation, and whether the model misses the readings."""
    left = [residuals(one.patient, one.glucose_mg_dL) for one in fit]
    correlations = noise_correlations(left)
    return left, correlations, misses(fit, [one.patient for one in fit], left, correlations)


def _trusted(e: Estimate, wider: float | None, c_assumed: bool) -> Estimate:
    white = e.standard_error
    if not white:  # known, or not computed
        return e._replace(c_assumed=c_assumed)
    error = white if e.prior_dominated else None if wider is None else wider * white
    return e._replace(standard_error=error, white_error=white, c_assumed=c_assumed)


def quick_verdict(fit: Fit | Ensemble) -> str:
    """The verdicts of a fit in one line, from its standard errors: `ksi determined in 9 of 10, ...`.

    Autocorrelated residuals widen all errors alike here, as they widen that of a mean. Of an ensemble it counts
    patients: a verdict is a patient's where every seed comes to it; elsewhere it is `differing between seeds`.
    """
    members = (fit,) if isinstance(fit, Fit) else fit.members
    counts: dict[str, dict[str, int]] = {}
    for of_patient in zip(*map(_verdicts_of, members), strict=True):
        for symbol in of_patient[0]:
            verdicts = {by[symbol] for by in of_patient}
            verdict = verdicts.pop() if len(verdicts) == 1 else DIFFERING
            by = counts.setdefault(symbol, {})
            by[verdict] = by.get(verdict, 0) + 1
    return tally(counts, len(members[0]))


def _verdicts_of(fit: Fit) -> list[dict[str, str]]:
    """What each patient's parameters are called, by symbol."""
    left, correlations, missed = _left(fit)
    found: list[dict[str, str]] = []
    for patient, (times, _), correlation, miss in zip(fit, left, correlations, missed, strict=True):
        wider = widening(times, correlation, len(fit.problem.start))
        found.append({})
        for symbol, e in sorted(patient.estimates.items()):
            white = e.standard_error if e.white_error is None else e.white_error
            sd = wider * white / abs(e.value) if white is not None and e.value else np.inf  # zero has no logarithm
            alone = np.inf if e.prior_dominated else 1.0
            errors = Error(alone * sd / wider, alone * sd, sd / wider, sd)
            verdict = "at its bound" if e.at_bound else unless_misfit(verdict_of(errors), errors, miss)
            found[-1][symbol], _ = qualified(verdict, "", symbol, fit.problem, patient.name)
    return found
