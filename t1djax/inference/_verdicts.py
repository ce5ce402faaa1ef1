"""Verdicts on one parameter, from its errors and from whether the model holds."""

from typing import NamedTuple

import numpy as np

from ..problem import Problem
from ..records import Misfit, Verdict
from ._information import Bounds
from ._words import plus_minus

_DETERMINED, _WEAKLY = 0.1, 0.5  # standard deviations of a logarithm up to which a parameter is called so
_CLAIMS = {"determined", "weakly determined"}
_DOMINATED = 2.0  # the prior rules where the readings alone would leave so many times the error


class Error(NamedTuple):
    """Standard deviations of one logarithm: from the readings alone and with priors, white and robust."""

    alone: float
    alone_robust: float
    white: float
    robust: float


class Errors(NamedTuple):
    """The same for any combination of logarithms."""

    alone: Bounds
    alone_robust: Bounds
    both: Bounds
    robust: Bounds

    def of(self, g: np.ndarray) -> Error:
        return Error(*(bounds.sd(g) for bounds in self))


def verdict_of(e: Error) -> Verdict:
    """The verdict of the errors alone."""
    if e.alone_robust > _DOMINATED * e.robust:
        return "set by the prior"
    if e.robust <= _DETERMINED:
        return "determined"
    return "weakly determined" if e.robust <= _WEAKLY else "not determined"


def unless_misfit(verdict: Verdict, e: Error, misfit: Misfit | None) -> Verdict:
    """What is left of a verdict where the model does not hold.

    What it would be if it held goes by the errors that white noise leaves: what the model misses is not a sensor's.
    """
    missed = misfit is not None and misfit.found
    return "model misfit" if missed and {verdict, _if_it_held(verdict, e)} & _CLAIMS else verdict


def _if_it_held(verdict: Verdict, e: Error) -> Verdict:
    return verdict_of(Error(e.alone, e.alone, e.white, e.white)) if verdict == "not determined" else verdict


def doubted(verdict: Verdict, reason: str, e: Error, misfit: Misfit | None) -> tuple[Verdict, str]:
    """A verdict and its reason, and what is left of both where the model does not hold."""
    if misfit is None or unless_misfit(verdict, e, misfit) == verdict:
        return verdict, reason
    size = e.white if verdict == "not determined" else e.robust
    verdict = _if_it_held(verdict, e)
    return "model misfit", (
        f"{verdict} ({plus_minus(size)}) only if the model held; it misses its readings by {misfit.rms_mg_dL:.3g} mg/dL"
    )


def qualified(verdict: Verdict, reason: str, symbol: str, problem: Problem, name: str) -> tuple[Verdict, str]:
    """A verdict and its reason, and what becomes of both where the patient's balance is assumed."""
    b = problem.goes_by(name)
    if b is None or symbol not in problem.body.facts.by_balance or verdict not in ("determined", "weakly determined"):
        return verdict, reason
    return (
        "set by an assumption",
        f"{reason}, were {b.more} - {b.less} what is assumed; estimate {b.more} along with it",
    )
