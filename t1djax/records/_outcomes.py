"""How a fit ended."""

import enum


class Outcome(enum.Enum):
    """How a fit, or the draws from a posterior, ended; the value is the message, empty where all is well.

    Example:
        >>> from t1djax import Outcome
        >>> Outcome.converged.ok, Outcome.few_draws.ok
        (True, False)
    """

    converged = ""
    not_finite = "it met numbers that are not finite; check the patient's parameters and doses"
    out_of_steps = (
        "it did not converge within its steps; allow more of them, estimate fewer parameters, or give a longer window"
    )
    stalled = "it stopped before it had converged; estimate fewer parameters"
    far_off = (
        "it did not converge: a further step would move an estimate by 5 % or more; train longer, or estimate fewer"
    )
    chains_disagree = (
        "the chains disagree (R-hat above 1.05); draw more, estimate fewer parameters, or give them priors"
    )
    few_draws = "fewer than 100 draws are effective; draw more, estimate fewer parameters, or give them priors"
    improper = "beliefs are flat and the readings do not bound them: the posterior is improper, and needs a prior"
    divergent = "more than 1 % of the draws diverge; draw more, estimate fewer parameters, or give them priors"
    too_short = "fewer than twenty readings since the first basal rate on record; give a longer one"
    not_converged = "it did not converge; estimate fewer parameters, or check the record"

    @classmethod
    def of(cls, converged: bool, *, finite: bool, stalled: bool = False) -> "Outcome":
        """How an optimiser ended.

        Args:
            converged: whether it says that it converged.
            finite: whether all its numbers are finite.
            stalled: whether it stopped before its steps were used up.

        Returns:
            The outcome.
        """
        if not finite:
            return cls.not_finite
        return cls.converged if converged else cls.stalled if stalled else cls.out_of_steps

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return self is Outcome.converged


class WithOutcome:
    """Base of records of something that ended in an `outcome`."""

    outcome: Outcome

    @property
    def ok(self) -> bool:
        """Whether it converged to finite numbers; a failure of one patient leaves the others alone."""
        return self.outcome.ok

    @property
    def message(self) -> str:
        """Why not, in words; empty where all is well."""
        return self.outcome.value
