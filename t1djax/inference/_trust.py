"""How far the errors of a fit can be trusted, from its own residuals: nothing is computed anew."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..data import Patient
from ..records import Ensemble, Estimate, Fit, Misfit, tally
from ._information import Memory, remembered, residuals
from ._misfit import misfits
from ._verdicts import Error, called, held, rests

DIFFERING = "differing between seeds"
"""What a parameter is called whose verdict goes by the seed."""


def misses(
    fit: Fit, patients: Sequence[Patient], left: Sequence[tuple[np.ndarray, np.ndarray]], memories: Sequence[Memory]
) -> list[Misfit]:
    """What a fit leaves of its readings, beside what a sensor's noise explains; see `misfits`."""
    problem = fit.problem
    return misfits(patients, left, memories, unknowns=len(problem.start), noise_sd_mg_dL=problem.noise_sd_mg_dL)


def widening(time_min: np.ndarray, remembers: Memory) -> float:
    """How many times too small errors for white noise are: as that of a mean is.

    `sqrt(1 + 2 s r / (1 - r))` with `s` the share of the noise that remembers and `r` its correlation from one reading
    to the next. `identify` has the errors of the sandwich formula, parameter by parameter; for a sensor's noise they
    agree within 15 %, these being the larger.

    Args:
        time_min: times of the fit readings, min.
        remembers: how the residuals remember.

    Source: variance of the mean of an AR(1) process.
    """
    rho = np.exp(-remembers.forgets_per_min * np.median(np.diff(time_min))) if len(time_min) > 1 else 0.0
    return float(np.sqrt(1 + 2 * remembers.share * rho / (1 - rho)))


def trusted(fit: Fit) -> Fit:
    """The fit with standard errors as far as its residuals bear them out.

    Errors from the curvature of a fit take the noise for white and the model for right; they stay as `white_error`.
    Where the residuals remember, `standard_error` is wider; where the model misses its readings by more than a sensor
    errs, there is none. Where a prior sets the estimate, the error is the prior's and stays.

    Args:
        fit: of any model.
    """
    if not fit.problem.start:
        return fit
    left, memories, missed = _left(fit)
    found = []
    for patient, (times, _), remembers, miss in zip(fit, left, memories, missed, strict=True):
        wider = None if miss.found else widening(times, remembers)
        b = fit.problem.goes_by(patient.name)
        on_c = set() if b is None else {*fit.problem.body.facts.by_balance, b.symbol}
        each = lambda by, wider=wider, on_c=on_c: {s: _trusted(e, wider, s in on_c) for s, e in by.items()}
        found.append(dataclasses.replace(patient, estimates=each(patient.estimates), derived=each(patient.derived)))
    return dataclasses.replace(fit, patients=tuple(found))


def _left(fit: Fit) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[Memory], list[Misfit]]:
    """Residuals of each patient, how they remember, and whether the model misses the readings."""
    left = [residuals(one.patient, one.glucose_mg_dL) for one in fit]
    memories = remembered(left)
    return left, memories, misses(fit, [one.patient for one in fit], left, memories)


def _trusted(e: Estimate, wider: float | None, c_assumed: bool) -> Estimate:
    white = e.standard_error
    if not white:  # known, or not computed
        return e._replace(c_assumed=c_assumed)
    error = white if e.prior_dominated else None if wider is None else wider * white
    return e._replace(standard_error=error, white_error=white, c_assumed=c_assumed)


def quick_verdict(fit: Fit | Ensemble) -> str:
    """The verdicts of a fit in one line, from its standard errors: nothing is computed anew.

    Autocorrelated residuals widen all errors alike here, as they widen that of a mean. Of an ensemble it counts
    patients: a verdict is a patient's where every seed comes to it; elsewhere it is `differing between seeds`.

    Args:
        fit: in inverse mode; or one fit per seed.

    Returns:
        The line, such as `ksi determined in 9 of 10, weakly determined in 1 of 10`.
    """
    members = (fit,) if isinstance(fit, Fit) else fit.members
    counts: dict[str, dict[str, int]] = {}
    for of_patient in zip(*map(_called, members), strict=True):
        for symbol in of_patient[0]:
            said = {by[symbol] for by in of_patient}
            verdict = said.pop() if len(said) == 1 else DIFFERING
            by = counts.setdefault(symbol, {})
            by[verdict] = by.get(verdict, 0) + 1
    return tally(counts, len(members[0]))


def _called(fit: Fit) -> list[dict[str, str]]:
    """What each patient's parameters are called, by symbol."""
    left, memories, missed = _left(fit)
    found: list[dict[str, str]] = []
    for patient, (times, _), remembers, miss in zip(fit, left, memories, missed, strict=True):
        wider = widening(times, remembers)
        found.append({})
        for symbol, e in sorted(patient.estimates.items()):
            white = e.standard_error if e.white_error is None else e.white_error
            sd = wider * white / abs(e.value) if white is not None and e.value else np.inf  # zero has no logarithm
            verdict = called(Error(np.inf if e.prior_dominated else sd, np.inf if e.prior_dominated else sd, sd, sd))
            verdict = "at its bound" if e.at_bound else held(verdict, miss)
            found[-1][symbol], _ = rests(verdict, "", symbol, fit.problem, patient.name)
    return found
