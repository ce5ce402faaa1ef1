"""Verdicts on one parameter, from its errors and from whether the model holds."""

from typing import NamedTuple

import numpy as np

from ..problem import Problem
from ..records import Misfit, Verdict
from ._information import Bounds
from ._words import plus_minus

_DETERMINED, _WEAKLY = 0.1, 0.5  # standard deviations of a logarithm up to which a parameter is called so
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


def unless_misfit(verdict: Verdict, misfit: Misfit | None) -> Verdict:
    """What is left of a verdict where the model does not hold."""
    claims = verdict in ("determined", "weakly determined")
    return "model misfit" if claims and misfit is not None and misfit.found else verdict


def doubted(verdict: Verdict, reason: str, e: Error, misfit: Misfit | None) -> tuple[Verdict, str]:
    """A verdict and its reason, and what is left of both where the model does not hold."""
    if misfit is None or unless_misfit(verdict, misfit) == verdict:
        return verdict, reason
    return "model misfit", (
        f"{verdict} ({plus_minus(e.robust)}) only if the model held; it misses its readings by "
        f"{misfit.rms_mg_dL:.3g} mg/dL"
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
