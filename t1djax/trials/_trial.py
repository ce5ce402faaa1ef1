"""A trial: several controllers on the same people, days and luck; outcomes, and differences with intervals."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import ArgumentError
from .._types import Key
from .._words import counted
from ..data import STEP_MIN, STEPS_PER_DAY, Cohort, Patient, Truth, draw_people, habits_of
from ..physics import AbstractPhysiology, Doses, NoRestError, physiology_named
from ..programs import over_cohort
from ._controllers import AbstractController, Action, Observation, Profile
from ._life import Rules, Tally, Trace, live_in_loop

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 1024  # people at a time: a scan's step costs the same for one as for hundreds
_Z = 1.959964  # of 95 %
_MOST_MG_DL = 1e4  # beyond any glucose: the body's steps did not hold
OUTCOMES = ("in_range_percent", "low_percent", "very_low_percent", "high_percent", "very_high_percent", "mean_mg_dL",
            "cv_percent", "gri", "low_events_per_week", "insulin_U_per_day", "carbs_g_per_day")  # fmt: skip
"""What tables show of a person."""


class Difference(NamedTuple):
    """How one controller's outcome differs from another's on the same people."""

    outcome: str
    """Which."""
    mean: float
    """Mean over people of the first's minus the second's, in the unit of the outcome."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    better: float
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
        """Mean and standard deviation over people of each outcome, a row for each controller."""
        grouped = self.outcomes.groupby("controller", sort=False)[list(OUTCOMES)]
        found = grouped.agg(["mean", "std"])
        found.columns = [name if kind == "mean" else f"{name}_sd" for name, kind in found.columns]
        return found.assign(people=grouped.size()).reset_index()

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
        return Difference(outcome, mean, mean - _Z * error, mean + _Z * error, float((apart > 0).mean()), inside)


def trial(
    controllers: Mapping[str, AbstractController],
    people: int | Mapping[str, AbstractPhysiology] = 10,
    *,
    key: Key,
    physiology: str | type[AbstractPhysiology] = "kanderian",
    days: int = 14,
    rules: Rules | None = None,
    traced: int = 0,
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
        traced: of how many people, the first, each step is kept as well.
        block: most people at a time.

    Returns:
        The outcomes. A person whose body does not rest, or whose controller asks for no number, has none and is
        warned of; the others have theirs.

    Raises:
        ArgumentError: where there is no controller, no person or no day, or a controller's memory changes its shape
            or its action is not two numbers.

    Example:
        >>> import jax
        >>> from t1djax.physics import kanderian
        >>> from t1djax.trials import PID, trial
        >>> found = trial({"PID": PID()}, kanderian(), days=1, key=jax.random.key(0))
        >>> len(found.outcomes)
        10
    """
    rules = Rules() if rules is None else rules
    if not controllers:
        raise ArgumentError("controllers", "there is none; give some by name")
    if days < 1:
        raise ArgumentError("days", f"is {days}; give one or more")
    for name, controller in controllers.items():
        _check(name, controller)
    bodies = {} if isinstance(people, int) else _at_rest(people, rules.therapy.target_mg_dL)
    n = people if isinstance(people, int) else len(bodies)
    if n < 1:
        raise ArgumentError("people", "there is nobody; give one or more")
    body = physiology_named(physiology) if isinstance(people, int) else type(next(iter(bodies.values())))
    people_key, life_key = jax.random.split(key)
    drawn = habits_of(bodies, n, key=people_key) if bodies else draw_people(body, n, key=people_key)
    names = list(bodies) if bodies else [f"V{i + 1:04d}" for i in range(n)]
    rows, traces, compile_s = [], {}, 0.0
    for name, controller in controllers.items():
        arrays, static = eqx.partition(jax.tree.map(_number, controller), eqx.is_array)
        given = (arrays, jax.tree.map(_number, rules), jax.random.key_data(life_key))
        run = lambda some, keeps, given=given, static=static: over_cohort(
            _one, *some, shared=given, static=(static, body, days, keeps), block=block
        )
        few = jax.tree.map(lambda x: x[:traced], (drawn.number, drawn.values))
        everybody = (drawn.number, drawn.values)
        (tally, trace), seconds = run(few if traced else everybody, traced > 0)
        compile_s += seconds
        if 0 < traced < n:
            (tally, _), seconds = run(everybody, False)
            compile_s += seconds
        rows.append(_outcomes(name, names, tally, days))
        if trace is not None:
            values = [{s: float(x[i]) for s, x in drawn.values.items()} for i in range(min(traced, n))]
            traces[name] = _cohort(names, trace, values, body)
    import pandas as pd  # noqa: PLC0415 - heavy

    return Trial(pd.concat(rows, ignore_index=True), days, body.__name__, traces, compile_s)


def _at_rest(people: Mapping[str, AbstractPhysiology], target_mg_dL: float) -> dict[str, AbstractPhysiology]:
    """Those whose glucose something holds at the target; of the others it is said why not."""
    found = {}
    for name, body in people.items():
        try:
            body.rest(target_mg_dL)
            found[name] = body
        except NoRestError as e:
            warnings.warn(f"{name} is left out: {e}", stacklevel=3)
    return found


def _number(x: Any) -> Any:
    return jnp.asarray(x, jnp.result_type(float)) if isinstance(x, float) else x


def _one(
    number: Any,
    values: dict[str, Any],
    arrays: Any,
    rules: Rules,
    key_data: Any,
    static: Any,
    cls: type[AbstractPhysiology],
    days: int,
    traced: bool,
) -> tuple[Tally, Trace | None]:
    key = jax.random.fold_in(jax.random.wrap_key_data(key_data), number)
    controller = eqx.combine(arrays, static)
    return live_in_loop(
        controller, cls.of(values), values["G0"], values["daily_carbs"], key, rules, days=days, traced=traced
    )


def _check(name: str, controller: Any) -> None:
    """Refuse a controller that does not keep its shapes, before anything is compiled."""
    if not isinstance(controller, AbstractController):
        kind = type(controller).__name__
        raise ArgumentError(("controllers", name), f"is a {kind}; it must be an AbstractController")
    zero = lambda: jnp.zeros((), jnp.result_type(float))
    key = jax.eval_shape(lambda: jax.random.key(0))
    profile = jax.eval_shape(lambda: Profile(*(zero() for _ in Profile._fields)))
    seen = jax.eval_shape(lambda: Observation(*(zero() for _ in Observation._fields)))
    memory = jax.eval_shape(controller.init, profile)
    then, action = jax.eval_shape(controller.step, memory, seen, key)
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    if jax.tree.structure(memory) != jax.tree.structure(then) or shapes(memory) != shapes(then):
        raise ArgumentError(("controllers", name), f"its memory begins as {memory} and goes on as {then}")
    if not isinstance(action, Action) or any(jnp.shape(x) for x in action):
        raise ArgumentError(("controllers", name), f"its action is {action}; return Action(basal_U_h, bolus_U)")


def _outcomes(controller: str, names: list[str], tally: Tally, days: int) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - heavy

    steps = days * STEPS_PER_DAY
    share = 100 * tally.steps_in_range / steps
    mean = tally.total_mg_dL / steps
    with np.errstate(over="ignore", invalid="ignore"):  # of people whose glucose did not stay finite
        sd = np.sqrt(np.maximum(tally.squares / steps - mean**2, 0.0) * steps / (steps - 1))
    found = {
        "controller": controller,
        "person": names,
        "very_low_percent": share[:, 0],
        "low_percent": share[:, 1],
        "in_range_percent": share[:, 2],
        "high_percent": share[:, 3],
        "very_high_percent": share[:, 4],
        "mean_mg_dL": mean,
        "cv_percent": 100 * sd / mean,
        "gri": np.minimum(3.0 * share[:, 0] + 2.4 * share[:, 1] + 1.6 * share[:, 4] + 0.8 * share[:, 3], 100.0),
        "risk": tally.risk / steps,
        "lowest_mg_dL": tally.lowest_mg_dL,
        "highest_mg_dL": tally.highest_mg_dL,
        "low_events_per_week": 7 * tally.low_events / days,
        "insulin_U_per_day": tally.insulin_U / days,
        "carbs_g_per_day": tally.carbs_g / days,
        "rescues_per_day": tally.rescues / days,
    }
    table = pd.DataFrame(found)
    numbers = table.columns[2:]
    good = (mean < _MOST_MG_DL) & (tally.invalid == 0)
    table.loc[~good, numbers] = np.nan
    if not good.all():
        bad = int((~good).sum())
        who = ", ".join(np.array(names)[~good][:3])
        finite = np.isfinite(mean) & (mean < _MOST_MG_DL)
        why = "asked for no number or less than nothing" if finite.all() else "glucose did not stay finite"
        warnings.warn(f"{controller}: {why} in {counted(bad, 'person', 'people')} ({who}); left out", stacklevel=3)
    return table


def _cohort(names: list[str], trace: Trace, values: list[dict[str, float]], body: type[AbstractPhysiology]) -> Cohort:
    """Traces as recordings: what the sensor showed, what the pump gave, what was eaten; and the truth."""
    people, truth = [], {}
    for i, mine in enumerate(values):
        t = jax.tree.map(lambda x, i=i: np.asarray(x[i]), trace)
        at = STEP_MIN * np.arange(len(t.glucose_mg_dL), dtype=float)
        change = np.flatnonzero(np.diff(t.basal_U_h, prepend=np.nan) != 0)
        bolus, meal = np.flatnonzero(t.bolus_U), np.flatnonzero(t.carbs_g)
        spread = np.full(len(bolus), float(STEP_MIN))
        doses = Doses(at[change], t.basal_U_h[change], at[bolus], t.bolus_U[bolus], spread,
                      at[meal], t.carbs_g[meal], t.meal_min[meal])  # fmt: skip
        parameters = {s: x for s, x in mine.items() if s in body.parameters}
        people.append(Patient(names[i], at, t.reading_mg_dL, doses, known=parameters))
        truth[names[i]] = Truth(parameters, t.glucose_mg_dL, {})
    return Cohort(tuple(people), truth)
