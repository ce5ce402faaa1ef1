"""What is wrong with a physiology, found before any long work."""

import dataclasses
import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._inputs import Inputs
from ._physiology import AbstractPhysiology, equilibrium_slope
from ._states import state_units

_AT_REST = 1e-6  # of the typical size of a state, per minute
_SAME = 1e-6  # relative, between slopes that are said to be the same
_STABLE = 2.5  # fastest rate times the step; Runge-Kutta's method of order 4 grows without bound from 2.79 on


class PhysiologyError(TypeError):
    """A physiology that does not keep its own terms; the message names the class, the part and the remedy."""


def check_physiology(body: AbstractPhysiology, *, glucose_mg_dL: float = 120.0) -> None:
    """Hold a physiology against what it states: units, states, rest, and its facts.

    Args:
        body: one person, with numbers that people have.
        glucose_mg_dL: a glucose at which the person rests, mg/dL.

    Raises:
        PhysiologyError: naming the class and what is wrong with it.
        NoRestError: where this person does not rest there.

    Example:
        >>> from t1djax.physics import check_physiology, kanderian
        >>> check_physiology(kanderian()["1"])
    """
    if isinstance(body, type):
        raise _fail(body, "it is a class; give a body of it, one person with numbers that people have")
    _check_table(body)
    _check_state(type(body))
    with jax.enable_x64(True):
        body = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), body)
        rested = body.rest(glucose_mg_dL)
        _check_equations(body, *rested, glucose_mg_dL)
        _check_facts(body, *rested)
        _check_start(body, rested[1], glucose_mg_dL)
        if body.facts.stays_positive:
            _check_positive(body, *rested)


@functools.cache
def check_class(cls: type[AbstractPhysiology]) -> None:
    """`check_physiology` of a person in the middle of the starts of `parameters`, once for each class.

    Raises:
        PhysiologyError: naming the class and what is wrong with it.
    """
    middle = {s: math.sqrt(row.start_low * row.start_high) for s, row in cls.parameters.items() if s != "G0"}
    if missing := [f.name for f in dataclasses.fields(cls) if f.name not in cls.complete(middle)]:
        raise _fail(cls, f"the field {missing[0]} has no row in `parameters`; add one with its unit")
    check_physiology(cls.of(middle))


def _fail(body: AbstractPhysiology | type, what: str) -> PhysiologyError:
    name = body.__name__ if isinstance(body, type) else type(body).__name__
    return PhysiologyError(f"{name}: {what}")


def _check_table(body: AbstractPhysiology) -> None:
    table, facts = body.parameters, body.facts
    for symbol in (f.name for f in dataclasses.fields(body)):
        if symbol not in table:
            raise _fail(body, f"the field {symbol} has no row in `parameters`; add one with its unit")
        if not jnp.shape(getattr(body, symbol)) == ():
            raise _fail(body, f"the field {symbol} is no scalar; a body is one person, and jax.vmap makes a cohort")
    for row in table.values():
        if not row.unit:
            raise _fail(body, f"{row.symbol} has no unit in `parameters`; write '1' where it has none")
        if not 0 < row.start_low <= row.start_high < np.inf or not 0 <= row.low < row.high < np.inf:
            raise _fail(body, f"the ranges of {row.symbol} are not positive and in order")
        if not row.low <= math.sqrt(row.start_low * row.start_high) <= row.high:
            raise _fail(
                body,
                f"a fit of {row.symbol} would start at {row.start_low:g} to {row.start_high:g} {row.unit}, outside of "
                f"what people have ({row.low:g} to {row.high:g}); is the unit another?",
            )
    named = {facts.sensitivity, *facts.need_meal, *facts.need_insulin, *facts.followed, *facts.followed_back}
    named = named.union(facts.coefficients, *(x.symbols for x in facts.together), *(x.move for x in facts.symmetries))
    if unknown := sorted(named - set(table)):
        raise _fail(body, f"`facts` speak of {', '.join(unknown)}, which `parameters` lacks")


def _check_state(cls: type[AbstractPhysiology]) -> None:
    State = cls.States
    if not (isinstance(State, type) and issubclass(State, eqx.Module)):
        raise _fail(cls, "`States` is no pytree; make it a subclass of equinox.Module")
    for name, unit in state_units(State).items():
        if not unit:
            raise _fail(cls, f"the state {name} has no unit; write {name}: jax.Array = state('mg/dL')")
    learnt, names = cls.facts.learnt, state_units(State)
    if unknown := sorted({*cls.facts.dose_states, *learnt} - set(names)):
        raise _fail(cls, f"`facts` speak of the states {', '.join(unknown)}, which `States` lacks")
    if dropped := [name for name in cls.facts.pools(names) if learnt and name not in learnt]:
        raise _fail(
            cls, f"`learnt` lacks {', '.join(dropped)}, which the doses alone do not drive; add it, glucose first"
        )


def _check_equations(body: AbstractPhysiology, y: Any, basal: Any, glucose_mg_dL: float) -> None:
    dy, sizes, stated = jax.jit(lambda: (equilibrium_slope(body, y, basal), body.scales(), body.glucose(y)))()
    for what, value in (("steady", y), ("rates", dy), ("scales", sizes)):
        if not isinstance(value, body.States):
            raise _fail(body, f"`{what}` gives {type(value).__name__} in place of {body.States.__name__}")
        for name in state_units(body.States):
            leaf = getattr(value, name)
            if not isinstance(leaf, jax.Array | np.ndarray | float) or jnp.shape(leaf) != ():
                raise _fail(body, f"`{what}` gives {name} as {leaf!r}; it must be one number")
    for name in state_units(body.States):
        size, slope = float(getattr(sizes, name)), float(getattr(dy, name))
        if not 0 < size < np.inf:
            raise _fail(body, f"`scales` gives {name} = {size:g}; a typical size is positive")
        if not math.isfinite(slope):
            raise _fail(body, f"`rates` gives {name} = {slope:g} at rest under {float(basal):.4g} U/h")
        if not abs(slope) <= _AT_REST * size:
            raise _fail(
                body,
                f"`steady` does not rest: {name} changes by {slope:.3g} {state_units(body.States)[name]} per minute "
                f"under the basal rate of {float(basal):.4g} U/h that it gives",
            )
    if not np.isclose(float(stated), glucose_mg_dL, rtol=1e-6):
        raise _fail(body, f"`steady` at {glucose_mg_dL:g} mg/dL gives a state whose `glucose` is {float(stated):g}")


def _check_start(body: AbstractPhysiology, basal: Any, glucose_mg_dL: float) -> None:
    """The state at the start of a record, and how glucose hangs on states: what fits and filters rely on."""
    wanted = 1.1 * glucose_mg_dL
    y = body.start(jnp.asarray(wanted), basal / 120)
    if not isinstance(y, body.States):
        raise _fail(body, f"`start` gives {type(y).__name__} in place of {body.States.__name__}")
    read = jax.grad(lambda y: jnp.sum(body.glucose(y)))
    stated, *slopes = jax.jit(lambda y: (body.glucose(y), read(y), read(jax.tree.map(lambda x: 2 * x, y))))(y)
    if not np.isclose(float(stated), wanted, rtol=1e-6):
        raise _fail(body, f"`start` at {wanted:g} mg/dL gives a state whose `glucose` is {float(stated):g}")
    names = list(state_units(body.States))
    first = body.facts.pools(names)[:1]
    near, far = (np.array([float(getattr(d, name)) for name in names]) for d in slopes)
    own = np.isin(names, first)
    if near[~own].any() or not near[own].any() or not np.allclose(near, far):
        pool = f" ({first[0]})" if first else ""
        raise _fail(
            body,
            f"`glucose` must be a multiple of the first state that the doses alone do not drive{pool}, and of that "
            "alone; put the state that a sensor sees first",
        )


def _check_positive(body: AbstractPhysiology, y: Any, basal: Any) -> None:
    """Glucose under more insulin than anybody takes."""
    U, length_min = 100.0, 1440.0
    ts, rates = np.linspace(0.0, length_min, 97), np.asarray([U, float(basal) / 60])
    inputs = Inputs(jnp.asarray([0.0, 1.0]), jnp.asarray(rates), jnp.zeros(2))
    G = np.asarray(body.solution(inputs, jnp.asarray(ts), y).glucose_mg_dL)
    if not np.all(G > 0):
        when = ts[np.argmin(G > 0)]
        raise _fail(
            body,
            f"`facts` say that glucose stays positive, but {U:g} U take it to {G[np.argmin(G > 0)]:.3g} mg/dL after "
            f"{when:g} min",
        )


def _check_facts(body: AbstractPhysiology, y: Any, basal: Any) -> None:
    """Slopes of the rates at rest and away from it, against what `facts` say."""
    facts, names = body.facts, list(state_units(body.States))
    vector = lambda y: jnp.stack([getattr(y, name) for name in names])
    made = lambda v: body.States(**dict(zip(names, v, strict=True)))
    sizes = vector(body.scales())

    def scaled(v: Any, u: Any, r: Any) -> Any:
        return vector(body.rates(made(v * sizes), u, r)) / sizes

    def slopes(shift: float) -> tuple[jax.Array, ...]:
        # Away from rest in every state, to values that no two have in common.
        v = vector(y) / sizes + shift * (1 + 0.1 * jnp.arange(len(names)))
        return jax.jacfwd(scaled, (0, 1, 2))(v, basal / 60 + shift * 0.01, shift * 1e3)

    near, far = jax.tree.map(np.asarray, jax.jit(lambda: (slopes(0.0), slopes(0.5)))())
    fastest = np.max(np.abs(np.linalg.eigvals(near[0])))
    if not facts.exact and fastest * body.step_min > _STABLE:
        raise _fail(
            body,
            f"steps of {body.step_min:g} min are too long for a rate of {fastest:.3g} per minute: glucose would grow "
            f"without bound; state step_min: ClassVar[float] = {math.floor(1000 / fastest) / 1000:.2g}",
        )
    same = lambda a, b: np.allclose(a, b, rtol=_SAME, atol=_SAME * np.max(np.abs(near[0])))
    if facts.linear and not all(same(a, b) for a, b in zip(near, far, strict=True)):
        raise _fail(body, "`facts` say linear, but a coefficient of the rates changes with the state")
    for group, other in ((facts.insulin_states, 2), (facts.meal_states, 1)):
        mine = np.isin(names, group)
        if not mine.any():
            continue
        alone = all(not x[0][np.ix_(mine, ~mine)].any() and not x[other][mine].any() for x in (near, far))
        constant = all(same(a[mine], b[mine]) for a, b in zip(near, far, strict=True))
        if not alone or not constant:
            dose = "insulin" if other == 2 else "carbohydrate"
            raise _fail(body, f"`facts` say that {', '.join(group)} follow {dose} alone, linearly; they do not")
        empty = np.asarray(jax.jit(scaled)(np.where(mine, 0.0, vector(y) / sizes), 0.0, 0.0))
        if moved := [f"{name} ({x * size:.3g} {state_units(body.States)[name]} per minute)"
                     for name, x, size, own in zip(names, empty, np.asarray(sizes), mine, strict=True)
                     if own and abs(x) > _AT_REST]:  # fmt: skip
            raise _fail(
                body,
                f"`rates` moves {', '.join(moved)} where there is nothing of {' or '.join(group)} and no dose; states "
                "that a dose drives count from zero: take the constant into the rate of glucose, or leave the state "
                "out of `facts`",
            )
