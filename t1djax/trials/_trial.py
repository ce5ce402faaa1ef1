"""A trial: several controllers on the same people, days and luck; outcomes, and differences with intervals."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from .._arguments import ArgumentError
from .._checked import check_types
from .._types import Key
from .._words import counted
from ..data import STEPS_PER_DAY, Cohort
from ..physics import AbstractPhysiology
from ._check import check_controller, check_rules
from ._controllers import AbstractController
from ._crowd import crowd_of, holds
from ._life import Tally
from ._loop import Rules

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 256  # people at a time on each core: a scan's step costs much the same for one as for hundreds
_Z = 1.959964  # of 95 %
OUTCOMES = ("in_range_percent", "low_percent", "very_low_percent", "high_percent", "very_high_percent", "mean_mg_dL",
            "cv_percent", "gri", "low_events_per_week", "insulin_U_per_day", "carbs_g_per_day")  # fmt: skip
"""What tables show of a person."""
_SHARES = (*OUTCOMES[:5], "gri")  # between 0 and 100


class Difference(NamedTuple):
    """How one controller's outcome differs from another's on the same people."""

    first: str
    """A controller."""
    second: str
    """Another one."""
    outcome: str
    """Which."""
    mean: float
    """Mean over people of the first's minus the second's, in the unit of the outcome."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    more: float
    """Share of the people in whom it is above zero."""
    equivalent: bool | None
    """Whether the 90 % interval lies within the margin, two one-sided tests at 5 %; None where no margin is given."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """What a trial found.

    Example:
        >>> import jax
        >>> import t1djax
        >>> from t1djax.trials import PID, BasalBolus, trial
        >>> found = trial({"PID": PID(), "pump": BasalBolus()}, people=4, days=1, key=jax.random.key(0))
        >>> list(found.table()["controller"])
        ['PID', 'pump']
    """

    outcomes: "pd.DataFrame"
    """A row for each controller and person: time in ranges, %, glucose, mg/dL, events, insulin, U/day."""
    days: int
    """How long it was."""
    physiology: str
    """Whose bodies."""
    traces: Mapping[str, Cohort]
    """By controller, the people who were asked for, as recordings with their truth."""
    compile_s: float
    """Seconds of compilation."""

    def table(self) -> "pd.DataFrame":
        """Of each outcome the mean over people, their standard deviation, and the mean's 95 % interval.

        The interval is that of the normal distribution for the logarithm of the mean, of its odds where it is a
        percentage of the time: it ends above zero, and below 100 %.

        Returns:
            A row for each controller; columns as `OUTCOMES`, with `_sd`, `_low` and `_high`, and how many `people`.
        """
        import pandas as pd  # noqa: PLC0415 - heavy

        grouped = self.outcomes.groupby("controller", sort=False)[list(OUTCOMES)]
        mean, sd, count = grouped.mean(), grouped.std(), grouped.count()
        top = pd.Series({name: 100.0 if name in _SHARES else np.inf for name in OUTCOMES})
        odds, half = mean / (1 - mean / top), _Z * sd / np.sqrt(count) / (mean * (1 - mean / top))
        end = lambda x: (x / (1 + x / top)).where(sd != 0, mean)
        parts = [mean, sd.add_suffix("_sd"), end(odds * np.exp(-half)).add_suffix("_low"),
                 end(odds * np.exp(half)).add_suffix("_high")]  # fmt: skip
        whole = pd.concat(parts, axis=1)
        order = [f"{name}{end}" for name in OUTCOMES for end in ("", "_sd", "_low", "_high")]
        return whole[order].assign(people=count.max(axis=1)).reset_index()

    def differences(
        self, outcomes: Sequence[str] = ("in_range_percent", "low_percent", "very_low_percent", "mean_mg_dL",
                                         "insulin_U_per_day"),
        *, margins: Mapping[str, float] | None = None,
    ) -> list[Difference]:  # fmt: skip
        """Of every other controller from the first one.

        Args:
            outcomes: some of `OUTCOMES`.
            margins: by outcome, the difference that would not matter, for a test of equivalence.

        Returns:
            One difference for each of the others and each outcome.
        """
        first, *others = dict.fromkeys(self.outcomes["controller"])
        margins = margins or {}
        return [self.difference(x, first, y, margin=margins.get(y)) for x in others for y in outcomes]

    def difference(
        self, first: str, second: str, outcome: str = "in_range_percent", *, margin: float | None = None
    ) -> Difference:
        """The paired difference of two controllers.

        Args:
            first: a controller's name.
            second: another's.
            outcome: one of `OUTCOMES`.
            margin: difference that would not matter, in the outcome's unit, for a test of equivalence.

        Returns:
            The difference, over people who have an outcome of both.

        Raises:
            ArgumentError: where a name is not known, or the margin is not positive.
        """
        names = list(dict.fromkeys(self.outcomes["controller"]))
        for argument, name, known in (
            ("first", first, names),
            ("second", second, names),
            ("outcome", outcome, OUTCOMES),
        ):
            if name not in known:
                raise ArgumentError(argument, f"{name!r} is not among {', '.join(known)}")
        if margin is not None and not 0 < margin < np.inf:
            raise ArgumentError("margin", f"is {margin:g}; give a positive number")
        wide = self.outcomes.pivot(index="person", columns="controller", values=outcome)
        apart = (wide[first] - wide[second]).dropna().to_numpy()
        mean, error = float(apart.mean()), float(apart.std(ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else np.nan
        inside = None if margin is None else bool(abs(mean) + 1.644854 * error < margin)
        low, high = mean - _Z * error, mean + _Z * error
        return Difference(first, second, outcome, mean, low, high, float((apart > 0).mean()), inside)


def trial(
    controllers: Mapping[str, AbstractController],
    people: int | Mapping[str, AbstractPhysiology] = 10,
    *,
    key: Key,
    physiology: str | type[AbstractPhysiology] = "kanderian",
    days: int = 14,
    rules: Rules | None = None,
    settings: Mapping[str, float | Sequence[float] | Float[np.ndarray, " people"] | Mapping[str, float]] | None = None,
    traced: int | Sequence[str] = 0,
    block: int = _BLOCK,
) -> Trial:
    """Let every controller treat the same people over the same days: same meals, same counting, same sensor.

    All people of a controller are one compiled program. Sensor and control every 5 min; outcomes are counted as days
    go on, so that memory does not grow with them. It is evidence on models of people, and no advice for anyone.

    Args:
        controllers: by name.
        people: how many to draw of the physiology's population, or bodies by name.
        key: random key.
        physiology: whose people are drawn, by name or class.
        days: how many.
        rules: habits, sensor and pump; `Rules()` if not given.
        settings: what pumps are set to: `basal_U_h`, `g_per_U` and `mg_dL_per_U`, each a number for everybody, one for
            each person, or numbers by person's name; titrated with the errors of the habits where none is given.
        traced: of how many people, the first, or of whom by name, each step is kept as well.
        block: most people at a time.

    Returns:
        The outcomes. A person whose body does not rest, or whose controller asks for no number, has none and is
        warned of; the others have theirs.

    Raises:
        ArgumentError: where there is no controller, no person or no day, somebody to be traced is not known, a
            setting is not positive or of nobody, a number of the habits or devices cannot be, nobody rests, a
            controller is not pure, its memory changes its shape or its action is not two numbers.

    Example:
        >>> import jax
        >>> from t1djax.physics import kanderian
        >>> from t1djax.trials import PID, trial
        >>> found = trial({"PID": PID()}, kanderian(), days=1, key=jax.random.key(0))
        >>> len(found.outcomes)
        10
    """
    check_types(trial, locals())
    rules = Rules() if rules is None else rules
    if not isinstance(controllers, Mapping) or not controllers:
        raise ArgumentError("controllers", 'give one or more by name, as in {"PID": PID()}')
    if days < 1 or days != int(days):
        raise ArgumentError("days", f"is {days}; give a whole number, one or more")
    check_rules(rules)
    for name, controller in controllers.items():
        check_controller(name, controller)
    crowd = crowd_of(people, key=key, physiology=physiology, rules=rules, settings=settings)
    wanted = crowd.rows(traced)
    rows, traces, compile_s = [], {}, crowd.compile_s
    for name, controller in controllers.items():
        tally, _, seconds = crowd.live(controller, rules, days, np.arange(len(crowd.names)), block=block)
        rows.append(_outcomes(name, crowd.names, tally, days))
        compile_s += seconds
        if wanted.size:
            _, trace, seconds = crowd.live(controller, rules, days, wanted, block=block, traced=True)
            assert trace is not None
            traces[name] = crowd.recorded(wanted, trace)
            compile_s += seconds
    import pandas as pd  # noqa: PLC0415 - heavy

    return Trial(pd.concat(rows, ignore_index=True), days, crowd.physiology.__name__, traces, compile_s)


def _outcomes(controller: str, names: list[str], tally: Tally, days: int) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - heavy

    steps = days * STEPS_PER_DAY
    percent = lambda steps_there: 100 * steps_there / steps
    very_low, low, high, very_high = map(percent, (tally.below_54, tally.below_70 - tally.below_54,
                                                   tally.above_180 - tally.above_250, tally.above_250))  # fmt: skip
    mean = tally.total_mg_dL / steps
    with np.errstate(over="ignore", invalid="ignore"):  # of people whose glucose did not stay finite
        sd = np.sqrt(np.maximum(tally.squares / steps - mean**2, 0.0) * steps / (steps - 1))
    found = {
        "controller": controller,
        "person": names,
        "very_low_percent": very_low,
        "low_percent": low,
        "in_range_percent": percent(steps - tally.below_70 - tally.above_180),
        "high_percent": high,
        "very_high_percent": very_high,
        "mean_mg_dL": mean,
        "cv_percent": 100 * sd / mean,
        "gri": np.minimum(3.0 * very_low + 2.4 * low + 1.6 * very_high + 0.8 * high, 100.0),
        "risk": tally.risk / steps,
        "lowest_mg_dL": tally.lowest_mg_dL,
        "highest_mg_dL": tally.highest_mg_dL,
        "lowest_of_day_mg_dL": tally.lows_of_days / days,
        "highest_of_day_mg_dL": tally.highs_of_days / days,
        "low_events_per_week": 7 * tally.low_events / days,
        "insulin_U_per_day": tally.insulin_U / days,
        "carbs_g_per_day": tally.carbs_g / days,
        "rescues_per_day": tally.rescues / days,
    }
    table = pd.DataFrame(found)
    numbers = table.columns[2:]
    good = holds(tally) & (tally.invalid == 0)
    table.loc[~good, numbers] = np.nan
    if not good.all():
        bad = int((~good).sum())
        who = ", ".join(np.array(names)[~good][:3])
        why = "asked for no number or less than nothing" if holds(tally).all() else "glucose did not stay finite"
        warnings.warn(f"{controller}: {why} in {counted(bad, 'person', 'people')} ({who}); left out", stacklevel=3)
    return table
