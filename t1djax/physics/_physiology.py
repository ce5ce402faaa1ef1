"""What a physiology is to everything above it: parameters, states, equations, rest, and stated facts."""

import abc
import dataclasses
import functools
import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from .._words import folded
from ._cells import Cells, driven_states, over_cell
from ._facts import Facts, Proxy, Symmetry
from ._inputs import MIN_PER_H, ON_BOARD_MIN, Inputs
from ._parameters import Parameter, row_table
from ._prior import Limits, Prior
from ._states import column_of, start_symbol, state_units
from ._steps import count_steps, runge_kutta

Body = TypeVar("Body", bound="AbstractPhysiology")

_SOME = 0.1  # of a typical size, what is taken to be on board at the least where that is estimated
_ALIKE = 0.01  # relative, of two statements of one thing


class NoRestError(ValueError):
    """No basal rate holds this glucose in this body."""


class Trajectory(eqx.Module):
    """States of one person at given times; `vmap` adds a leading axis.

    Example:
        >>> import jax.numpy as jnp
        >>> import t1djax
        >>> preset = t1djax.presets()["Pat2"]
        >>> path = t1djax.propagate(preset.model(), preset.doses.inputs(0, 2880), jnp.arange(0.0, 2881.0, 5.0))
        >>> path.glucose_mg_dL.shape, bool(path.ok)
        ((577,), True)
    """

    time_min: Float[Array, "*batch times"]
    """Times, min."""
    state: PyTree
    """States at those times: the physiology's own, with an axis of times."""
    glucose_mg_dL: Float[Array, "*batch times"]
    """Glucose as a sensor is handed it, mg/dL."""
    ok: Bool[Array, "*batch"]
    """Whether the solve succeeded and every state is finite: one bad patient does not spoil the others."""

    @property
    def insulin_U_dL(self) -> Float[Array, "*batch times"]:
        """Plasma insulin `I` of `Magdelaine`, U/dL."""
        return self.state.I

    @property
    def digestion_mg_dL_min(self) -> Float[Array, "*batch times"]:
        """Appearance of glucose from meals `D` of `Magdelaine`, mg/dL/min."""
        return self.state.D


class AbstractPhysiology(eqx.Module):
    """A body: parameters of one person as scalar fields, and the equations they stand in. `vmap` makes a cohort.

    ```
    y' = rates(y, u(t), r(t)),   G = glucose(y)
    ```

    with insulin `u` (U/min) and carbohydrate `r` (mg/min). A body of your own states `parameters`, `States` and
    `facts`, and writes `rates`, `glucose`, `steady` and `scales`; the rest follows. `check_physiology` says what is
    wrong with it.
    """

    parameters: ClassVar[Mapping[str, Parameter]]
    """What a table may assert and a fit may estimate, by symbol; see `parameter_table`."""
    States: ClassVar[type[eqx.Module]]
    """The states: an `equinox.Module` whose fields are made by `state(unit)`."""
    facts: ClassVar[Facts]
    """What is known of the equations."""
    population: ClassVar[Mapping[str, Prior]] = MappingProxyType({})
    """Distributions from which virtual people are drawn, independent of each other; see `prior_table`."""
    limits: ClassVar[Limits | None] = None
    """What a drawn person must show to be kept."""
    step_min: ClassVar[float] = 5.0
    """Longest step of `solution`, min."""
    part_min: ClassVar[float] = 1.0
    """Longest step of `cell_residuals`, min."""

    @abc.abstractmethod
    def rates(self, y: Any, insulin_U_min: Any, carbs_mg_min: Any, /) -> Any:
        """The equations: time derivative of each state, in its unit per minute.

        Args:
            y: the state.
            insulin_U_min: insulin delivery, U/min.
            carbs_mg_min: carbohydrate intake, mg/min.

        Returns:
            The derivatives, as `States`.
        """

    @abc.abstractmethod
    def glucose(self, y: Any) -> Float[Array, "*shape"]:
        """Glucose that a sensor is handed, mg/dL.

        Args:
            y: one state or an array of them.

        Returns:
            Glucose, in the shape of the state's leaves.
        """

    @abc.abstractmethod
    def steady(self, glucose_mg_dL: Float[Array, ""]) -> tuple[Any, Float[Array, ""]]:
        """State and basal rate (U/h) at which this glucose stands still; the rate is below zero where there is none.

        Args:
            glucose_mg_dL: glucose, mg/dL.

        Returns:
            The state, and the rate.
        """

    @abc.abstractmethod
    def scales(self) -> Any:
        """Typical sizes of the states, each in its unit: what an error is weighed against.

        Returns:
            The sizes, as `States`.
        """

    def start(self, glucose_mg_dL: Float[Array, ""], insulin_U_min: Float[Array, ""]) -> Any:
        """What is taken to be the state at the start of a record, where nothing else is known: rest at that glucose.

        A body that does not rest at every glucose overrides it with the state under the insulin in force.

        Args:
            glucose_mg_dL: glucose, mg/dL.
            insulin_U_min: insulin delivery in force, U/min.

        Returns:
            The state.
        """
        return self.steady(glucose_mg_dL)[0]

    def with_some_on_board(self, y: Any) -> Any:
        """A state with something in all that the doses drive: where an estimate of it, a logarithm, may begin.

        Args:
            y: the state.

        Returns:
            The state; of what the doses drive, nothing below a tenth of its typical size.
        """
        sizes = self.scales()
        least = {s: jnp.maximum(getattr(y, s), _SOME * getattr(sizes, s)) for s in self.facts.dose_states}
        return dataclasses.replace(y, **least)

    def on_board(self, earlier: Inputs, at_min: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
        """What doses before a record leave in the states that follow insulin and food alone.

        Args:
            earlier: boluses and meals of the day before, without the basal rate.
            at_min: start of the record, min.

        Returns:
            What is to be added to these states, by name.
        """
        doses = self.facts.dose_states
        empty = dataclasses.replace(self.scales(), **dict.fromkeys(doses, jnp.zeros_like(at_min)))
        room = earlier.break_min.shape[0] + 1 + int(ON_BOARD_MIN / self.step_min)
        states, _ = runge_kutta(self.rates, earlier, at_min[None], empty, steps=room, longest_min=self.step_min)
        return {name: getattr(states, name)[0] for name in doses}

    def no_rest(self, glucose_mg_dL: float, basal_U_h: float) -> str:
        """Why no basal rate holds a glucose, in words.

        Args:
            glucose_mg_dL: glucose, mg/dL.
            basal_U_h: what `steady` gives, U/h.

        Returns:
            A sentence.
        """
        return f"it would take a basal rate of {basal_U_h:.3g} U/h"

    def rest(self, glucose_mg_dL: ArrayLike) -> tuple[Any, Float[Array, ""]]:
        """State and basal rate (U/h) that hold a glucose.

        Args:
            glucose_mg_dL: glucose, mg/dL.

        Returns:
            The state, and the rate. Inside `jit` and `vmap`, where nothing can be raised, a rate below zero says that
            there is no rest.

        Raises:
            NoRestError: saying why nothing holds it.

        Example:
            >>> from t1djax.physics import kanderian
            >>> state, basal_U_h = kanderian()["1"].rest(120.0)
            >>> round(float(basal_U_h), 2)
            1.32
        """
        y, basal = self.steady(jnp.asarray(glucose_mg_dL, jnp.result_type(*jax.tree.leaves(self))))
        if not isinstance(basal, Tracer) and not np.all(np.asarray(basal) >= 0):
            why = self.no_rest(float(np.max(np.asarray(glucose_mg_dL))), float(np.min(np.asarray(basal))))
            raise NoRestError(
                f"{type(self).__name__}: no basal rate holds glucose at {np.asarray(glucose_mg_dL):.4g} mg/dL: {why}"
            )
        return y, basal

    def solution(self, inputs: Inputs, ts: Float[Array, " times"], y0: Any, *, steps: int | None = None) -> Trajectory:
        """States at `ts`, from the start of the window: Runge-Kutta steps of order 4 that end on every jump.

        No step is longer than `step_min`. It differentiates forwards and backwards. A body whose equations have a
        closed form overrides it.

        Args:
            inputs: insulin and carbohydrate rates.
            ts: times, min, increasing, none before `inputs.start_min`.
            y0: state at the start.
            steps: how many steps there shall be room for, see `count_steps`. It must be given where times are traced.

        Returns:
            The trajectory. `ok` is false where a state is not finite, or there was no room for all steps.

        Raises:
            ValueError: where times are traced and the number of steps is not given.
        """
        if steps is None:
            steps = count_steps(ts, inputs.break_min, self.step_min)
        return _walk(self, inputs, ts, y0, steps)

    @classmethod
    def parts(cls, cell_min: float) -> int:
        """Into how many parts `cell_residuals` wants a cell cut.

        Args:
            cell_min: length of the cell, min.

        Returns:
            Their number.
        """
        return max(1, math.ceil(cell_min / cls.part_min - 1e-6))

    def learnt_states(self, y: Any) -> Float[Array, "*shape states"]:
        """The states that a network stands for.

        Args:
            y: the state.

        Returns:
            Their values, along the last axis.
        """
        return jnp.stack([getattr(y, name) for name in self.facts.learnt], axis=-1)

    def with_learnt(self, y: Any, x: Float[Array, "*shape states"]) -> Any:
        """A state with other values of those that a network stands for.

        Args:
            y: the state.
            x: values, in the order of `Facts.learnt`.

        Returns:
            A new state.
        """
        pick = lambda y: [getattr(y, name) for name in self.facts.learnt]
        return eqx.tree_at(pick, y, [x[..., i] for i in range(x.shape[-1])])

    def sizes(self, cells: Cells, y0: Any) -> Float[Array, " states"]:
        """Sizes of the learnt states over a window, each in its unit; that of the readings replaces the first.

        Args:
            cells: the doses.
            y0: the state at the start of the window.

        Returns:
            The sizes, in the order of `Facts.learnt`.
        """
        return self.learnt_states(self.scales())

    def effects(self, glucose_mg_dL: Float[Array, ""], sizes: Float[Array, " states"]) -> Float[Array, " states"]:
        """What one unit of each learnt state counts in residuals, mg/dL per unit: that their sizes are alike.

        Args:
            glucose_mg_dL: size of glucose, mg/dL.
            sizes: sizes of the learnt states, each in its unit.

        Returns:
            One number for each, mg/dL per unit.
        """
        return glucose_mg_dL / sizes

    def cell_residuals(
        self, x0: Float[Array, "cells states"], x1: Float[Array, "cells states"], cells: Cells, y0: Any
    ) -> Float[Array, "states cells"]:
        """How far the learnt states at the ends of cells are from where the equations lead from their starts.

        ```
        r = (x1 - flow(x0)) / h
        ```

        The flow takes Runge-Kutta steps through the doses of the cell, beside states that the doses alone drive, which
        are exact. Nothing is lost between the edges of cells, and the kink of a bolus inside one costs nothing.

        Args:
            x0: learnt states at the starts.
            x1: learnt states at the ends.
            cells: the doses.
            y0: the state at the start of the window.

        Returns:
            One row per learnt state, in its unit per minute.
        """
        y = self.with_learnt(driven_states(self.rates, self.facts.dose_states, cells, y0), x0)
        flow = lambda y, u, r: over_cell(self.rates, y, u, r, cells.part_min)
        ends = self.learnt_states(jax.vmap(flow)(y, cells.insulin_U_min, cells.carbs_mg_min))
        return ((x1 - ends) / (cells.part_min * cells.insulin_U_min.shape[1])).T

    @classmethod
    def complete(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters with those fields that follow from others; as they are, where nothing does.

        Args:
            values: by symbol, in the units of the table.

        Returns:
            A new dictionary.
        """
        return dict(values)

    @classmethod
    def of(cls: type[Body], values: Mapping[str, Any]) -> Body:
        """The body with these parameters; what is no field of it is left out.

        Args:
            values: by symbol, in the units of the table.

        Returns:
            The body.

        Raises:
            ValueError: naming the parameters that are missing.
        """
        full, names = cls.complete(values), [f.name for f in dataclasses.fields(cls)]
        if missing := [name for name in names if name not in full]:
            raise ValueError(f"{cls.__name__}: {', '.join(missing)} missing; it needs {', '.join(names)}")
        return cls(**{name: full[name] for name in names})

    @classmethod
    def drawn(cls, traits: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of a person from a draw of `population`; the draw itself, where it has the same symbols.

        Args:
            traits: one value for each row of `population`.

        Returns:
            Parameters by symbol.
        """
        return dict(traits)

    @classmethod
    def derive(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """What follows from parameters, by symbol (`Facts.derived`): of those that are there.

        Args:
            values: by symbol, in the units of the table.

        Returns:
            A new dictionary of these alone.
        """
        full = cls.complete(values)
        return {row.symbol: row.of(full) for row in cls.facts.derived if row.needs <= set(full)}

    @classmethod
    def symmetries(cls, free: Collection[str], values: Mapping[str, float]) -> list[Symmetry]:
        """Changes of free parameters that leave glucose as it is, each to be checked on a record.

        Args:
            free: symbols of what is estimated and leaves a trace.
            values: every parameter by symbol.

        Returns:
            Those of `facts` whose parameters are all free. A body whose symmetries depend on the values overrides it.
        """
        return [row for row in cls.facts.symmetries if set(row.move) <= set(free)]

    @classmethod
    def contradiction(cls, values: Mapping[str, float]) -> str:
        """What is wrong where a parameter and what stands in its place (`Facts.proxies`) are both stated.

        Args:
            values: numbers by symbol, in the units of the table.

        Returns:
            A sentence; empty where they agree within 1 %, or not both are stated.
        """
        for row in cls.facts.proxies:
            if row.pair <= set(values) and cls.disagree(row, values[row.symbol], values[row.of]):
                unit, rule = cls.parameters[row.symbol].unit, row.rule.format(row.symbol)
                return (
                    f"{row.symbol} = {values[row.symbol]:g} {unit} and {row.of} = {values[row.of]:g} contradict: "
                    f"{row.of} is {rule}; state one"
                )
        return ""

    @classmethod
    def disagree(cls, proxy: Proxy, stated: Any, value: Any) -> Any:
        """Whether a parameter is more than 1 % from what follows of its proxy; numbers and arrays alike.

        Args:
            proxy: one of `Facts.proxies`.
            stated: the proxy's value.
            value: the parameter's.

        Returns:
            Whether they disagree, in the shape of what was given.
        """
        with np.errstate(over="ignore", divide="ignore"):  # of a number that no person has, which is refused elsewhere
            follows = cls.complete({proxy.symbol: stated})[proxy.of]
        return abs(value - follows) > _ALIKE * follows

    @classmethod
    def flaw(cls, name: str, values: Mapping[str, Any]) -> str:
        """What is wrong with a person of these parameters, in words; empty where nothing is.

        Args:
            name: who it is.
            values: numbers by symbol, in the units of the table.

        Returns:
            A sentence.
        """
        if (b := cls.facts.balance) and {b.more, b.less} <= set(values) and values[b.more] <= values[b.less]:
            unit = cls.parameters[b.more].unit
            return f"{b.must}: {b.words(name, values[b.more], values[b.less])}, in {unit}"
        odd = [f"{s} = {values[s]:g} {row.unit}" for s, row in cls.parameters.items() if not values.get(s, 1.0) > 0]
        return f"{', '.join(odd)} of {name}: state numbers above 0" * bool(odd)

    @classmethod
    def initial_states(cls) -> Mapping[str, Parameter]:
        """What can be estimated of what is on board at the start of a window: the states that the doses drive.

        Returns:
            One row for each, by `start_symbol`.
        """
        units = state_units(cls.States)
        row = lambda s, unit: Parameter(
            s, unit, f"{s.removesuffix('0').rstrip('_')} at the start", column_of(s, unit), 0.0, math.inf, 0.0, math.inf
        )
        return row_table(*(row(start_symbol(leaf), units[leaf]) for leaf in cls.facts.dose_states))

    def values(self) -> dict[str, Float[Array, "*shape"]]:
        """The fields by symbol."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def __str__(self) -> str:
        return _printed(self)


def _printed(body: AbstractPhysiology) -> str:
    """One person's parameters with their units, in lines of a terminal; of a cohort, shapes."""
    values, rows = body.values(), getattr(body, "parameters", {})
    if not all(s in rows and np.shape(x) == () and not isinstance(x, Tracer) for s, x in values.items()):
        return repr(body)
    unit = lambda s: f" {rows[s].unit}" * (rows[s].unit != "1")
    return folded(f"{type(body).__name__}({', '.join(f'{s} {float(x):.4g}{unit(s)}' for s, x in values.items())})")


def equilibrium_slope(body: AbstractPhysiology, y: Any, basal_U_h: Any) -> Any:
    """Time derivatives of a state under a basal rate and no food: zero at rest."""
    basal = jnp.asarray(basal_U_h)
    return body.rates(y, basal / MIN_PER_H, jnp.zeros_like(basal))


@functools.partial(jax.jit, static_argnums=4)
def _walk(body: AbstractPhysiology, inputs: Inputs, ts: Float[Array, " times"], y0: Any, steps: int) -> Trajectory:
    states, ok = runge_kutta(body.rates, inputs, ts, y0, steps=steps, longest_min=body.step_min)
    return Trajectory(ts, states, body.glucose(states), ok)
