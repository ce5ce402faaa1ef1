"""The glucose-insulin model of Magdelaine et al. (2015): the one place where its equations stand."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._html import html_table
from .._types import Scalar
from ._cells import Cells
from ._facts import Facts, Symmetry
from ._inputs import Inputs
from ._lags import Lags, cascade
from ._magdelaine_facts import FACTS, INITIAL_STATES, KB_BODY_MASS, PARAMETERS, TRAITS, symmetries
from ._parameters import Parameter
from ._physiology import AbstractPhysiology, Trajectory
from ._prior import Prior
from ._solve import finite
from ._states import scalar, state


class State(eqx.Module):
    """The five states, with each second-order absorption written as two first-order lags in cascade.

    The paper's states `(G, I, I', D, D')` follow from `I' = (S - I)/Tu` and `D' = (E - D)/Tr`
    (`to_second_order`). In this form a bolus is a bounded jump of `S`, never a spike.
    """

    G: Float[Array, "*shape"] = state("mg/dL", column="")
    """Glucose, mg/dL."""
    S: Float[Array, "*shape"] = state("U/dL", column="")
    """Insulin, first lag, U/dL."""
    I: Float[Array, "*shape"] = state("U/dL", column="insulin_U_dL")
    """Plasma insulin, U/dL."""
    E: Float[Array, "*shape"] = state("mg/dL/min", column="")
    """Digestion, first lag, mg/dL/min."""
    D: Float[Array, "*shape"] = state("mg/dL/min", column="digestion_mg_dL_min")
    """Appearance of glucose from meals, mg/dL/min."""


class Magdelaine(AbstractPhysiology):
    """Parameters of one patient; for a cohort, stack them and `jax.vmap`.

    ```
    G' = -ksi I + kl - kb + D
    I'' + (2/Tu) I' + I/Tu^2 = (ku/Vi) u / Tu^2
    D'' + (2/Tr) D' + D/Tr^2 = (kr/Vb) r / Tr^2
    ```

    with `u` the insulin delivered (U/min) and `r` the carbohydrate eaten (mg/min).

    Example:
        >>> from t1djax import Magdelaine
        >>> p = Magdelaine.from_mass(M=72, ksi=197, kl=1.94, Tu=122, ku_Vi=0.059, Tr=183, kr_Vb=0.0024)
        >>> round(float(p.equilibrium_insulin), 6)
        0.000823

    Source: Magdelaine et al., IEEE Trans. Biomed. Eng. 62(6), 2015, doi 10.1109/TBME.2015.2393105.
    """

    parameters: ClassVar[Mapping[str, Parameter]] = PARAMETERS
    States: ClassVar[type[eqx.Module]] = State
    facts: ClassVar[Facts] = FACTS
    population: ClassVar[Mapping[str, Prior]] = TRAITS
    part_min: ClassVar[float] = math.inf

    ksi: Scalar = eqx.field(converter=scalar)
    """Insulin sensitivity, mg/U/min."""
    kl: Scalar = eqx.field(converter=scalar)
    """Glucose output of the liver at zero insulin, mg/dL/min."""
    kb: Scalar = eqx.field(converter=scalar)
    """Glucose use of the brain, mg/dL/min."""
    Tu: Scalar = eqx.field(converter=scalar)
    """Time constant of insulin absorption, min."""
    ku_Vi: Scalar = eqx.field(converter=scalar)
    """Insulin clearance time over distribution volume, min/dL."""
    Tr: Scalar = eqx.field(converter=scalar)
    """Time constant of meal absorption, min."""
    kr_Vb: Scalar = eqx.field(converter=scalar)
    """Carbohydrate bioavailability over blood volume, 1/dL."""

    @classmethod
    def from_mass(cls, *, M: ArrayLike, **parameters: ArrayLike) -> "Magdelaine":
        """Parameters with `kb = 128 / M` from the body mass `M` (kg), as in the paper.

        Args:
            M: body mass, kg.
            parameters: every other field by name, in its unit; `kb` is left out.

        Returns:
            The parameters.

        Example:
            >>> from t1djax import Magdelaine
            >>> p = Magdelaine.from_mass(M=64, ksi=197, kl=2.25, Tu=122, ku_Vi=0.059, Tr=183, kr_Vb=0.0024)
            >>> float(p.kb)
            2.0
        """
        return cls(kb=KB_BODY_MASS / jnp.asarray(M), **parameters)

    @classmethod
    def complete(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters with `kb = 128 / M`, where it is not among them."""
        values = dict(values)
        if "kb" not in values and "M" in values:
            values["kb"] = KB_BODY_MASS / values["M"]
        return values

    @classmethod
    def initial_states(cls) -> Mapping[str, Parameter]:
        """What can be estimated of what is on board at the start of a window."""
        return INITIAL_STATES

    @classmethod
    def symmetries(cls, free: Collection[str], values: Mapping[str, float]) -> list[Symmetry]:
        """Changes of free parameters that leave glucose as it is: `ksi` with `ku_Vi`, and `kl` with `kb`."""
        return symmetries(free, values)

    @classmethod
    def drawn(cls, traits: Mapping[str, Any]) -> dict[str, Any]:
        """`kb = 128 / M`, and the liver output that makes the drawn basal need hold equilibrium: `kl > kb` always.

        Heavy people have a low `kl`, as in the published pair.
        """
        values = dict(traits)
        need = values.pop("basal")
        values["kb"] = KB_BODY_MASS / values["M"]
        values["kl"] = values["kb"] + need * values["M"] / 1440 * values["ksi"] * values["ku_Vi"]
        return values

    def rates(self, y: State, insulin_U_min: Any, carbs_mg_min: Any) -> State:
        """The equations: see `t1djax.physics.rates`."""
        return rates(self, y, insulin_U_min, carbs_mg_min)

    def glucose(self, y: State) -> Float[Array, "*shape"]:
        """Glucose, mg/dL."""
        return y.G

    def steady(self, glucose_mg_dL: Float[Array, ""]) -> tuple[State, Float[Array, ""]]:
        """State and basal rate that hold a glucose: `steady_state` and `equilibrium_basal_U_h`."""
        return steady_state(self, glucose_mg_dL), self.equilibrium_basal_U_h

    def with_some_on_board(self, y: State) -> State:
        """Insulin also where the liver gives hardly more than the brain takes, and the end of a meal."""
        insulin = jnp.maximum(self.kl - self.kb, 0.05) / self.ksi
        at_least = jnp.maximum
        return State(y.G, at_least(y.S, insulin), at_least(y.I, insulin), at_least(y.E, 0.2), at_least(y.D, 0.2))

    def on_board(self, earlier: Inputs, at_min: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
        """What doses before a record leave of insulin and food, exactly.

        Returns:
            What is to be added to `S`, `I`, `E` and `D`.
        """
        zero = jnp.zeros_like(self.ksi)
        empty = State(G=zero, S=zero, I=zero, E=zero, D=zero)
        (S, I, _), (E, D, _) = exact_lags(self, earlier, at_min[None], empty)
        return {"S": S[0], "I": I[0], "E": E[0], "D": D[0]}

    def no_rest(self, glucose_mg_dL: float, basal_U_h: float) -> str:
        """Why nothing holds a glucose: the liver gives less than the brain takes."""
        return "the liver gives less glucose than the brain takes (kl < kb)"

    def scales(self) -> State:
        """A standard deviation of glucose, insulin at equilibrium, and a meal's appearance."""
        insulin, one = jnp.abs(self.equilibrium_insulin), jnp.ones_like(self.ksi)
        return State(G=50 * one, S=insulin, I=insulin, E=one, D=one)

    def solution(
        self, inputs: Inputs, ts: Float[Array, " times"], y0: State, *, steps: int | None = None
    ) -> Trajectory:
        """The exact solution at `ts` (min), in closed form: the oracle, and the fast path.

        The system is linear and its inputs are constant between breaks, so each lag pair moves by
        `exp(-h/T) [[1, 0], [h/T, 1]]` towards the level of its input. The states at the breaks are one
        short scan; glucose is the integral of the rest. There is no step, hence no step error, on any grid.

        Returns:
            The trajectory. `ok` is false where a state is not finite.

        Source: the step is derived in `docs/physics.md`.
        """
        return _closed_form(self, inputs, ts, y0)

    def sizes(self, cells: Cells, y0: State) -> Float[Array, " states"]:
        """Standard deviations of insulin and digestion, exact under these parameters.

        Returns:
            One for glucose, then U/dL and mg/dL/min.
        """
        insulin, digestion = exact_lags(self, cells.inputs, cells.edges_min, y0)
        # No change at all leaves a size of nothing: a hundredth of what one sees in people keeps numbers finite.
        I, D = jnp.maximum(jnp.std(insulin[1]), 1e-5), jnp.maximum(jnp.std(digestion[1]), 1e-2)
        return jnp.stack([jnp.ones_like(I), I, D])

    def effects(self, glucose_mg_dL: Float[Array, ""], sizes: Float[Array, " states"]) -> Float[Array, " states"]:
        """Insulin acts on glucose as `ksi I`: in these units residuals do not depend on what insulin is counted in.

        Returns:
            `(1, ksi, 1)`.
        """
        one = jnp.ones_like(self.ksi)
        return jnp.stack([one, self.ksi, one])

    def cell_residuals(
        self, x0: Float[Array, "cells states"], x1: Float[Array, "cells states"], cells: Cells, y0: State
    ) -> Float[Array, "states cells"]:
        """How far the states are from the equations' exact step over each cell.

        The lag equations are stepped exactly, whatever the cell's length. With `e = I - Iex` the distance from the
        exact solution under these parameters, and `r` a disturbance that lasts for the cell, `Tu e' + e = r` gives

        ```
        r = (e1 - a e0) / (1 - a),   a = exp(-h/Tu)
        ```

        and likewise for `D`. The balance of glucose is taken over the whole cell, `(G1 - G0)/h + ksi mean I - c - mean
        D`, with means that are exact where the lags are, `mean I = mean S - Tu (I1 - I0)/h`, so that no error adds up
        over the window.

        Returns:
            Rows of `G` (mg/dL/min), `I` (U/dL) and `D` (mg/dL/min).
        """
        insulin, digestion = exact_lags(self, cells.inputs, cells.edges_min, y0)
        width = jnp.diff(cells.edges_min)
        slope = lambda x: jnp.diff(x) / width
        zero, change = jnp.zeros_like(width), (x1 - x0).T / width
        S = self.ku_Vi * jnp.mean(cells.insulin_U_min, axis=1) - self.Tu * slope(insulin[0])
        E = self.kr_Vb * jnp.mean(cells.carbs_mg_min, axis=1) - self.Tr * slope(digestion[0])
        level = State(G=zero, S=S, I=S - self.Tu * change[1], E=E, D=E - self.Tr * change[2])
        balance = change[0] - self.rates(level, zero, zero).G

        def disturbance(i: int, exact: Array, T: Array) -> Array:
            decay = jnp.exp(-width / T)
            return (x1[:, i] - exact[1:] - decay * (x0[:, i] - exact[:-1])) / -jnp.expm1(-width / T)

        return jnp.stack([balance, disturbance(1, insulin[1], self.Tu), disturbance(2, digestion[1], self.Tr)])

    def _repr_html_(self) -> str:
        shown = lambda x: np.array2string(np.asarray(x), precision=4, threshold=4)
        values = {f.name: shown(getattr(self, f.name)) for f in dataclasses.fields(self)}
        rows = [(s, PARAMETERS[s].unit, value, PARAMETERS[s].meaning) for s, value in values.items()]
        return html_table("Parameters of the model of Magdelaine et al.", ["symbol", "unit", "value", "meaning"], rows)

    @property
    def equilibrium_insulin(self) -> Float[Array, "*batch"]:
        """Insulin at which glucose stands still without a meal, U/dL: `(kl - kb) / ksi`."""
        return (self.kl - self.kb) / self.ksi

    @property
    def equilibrium_basal_U_h(self) -> Float[Array, "*batch"]:
        """Basal rate that holds `equilibrium_insulin`, U/h: `60 (kl - kb) / (ksi ku/Vi)`."""
        return 60.0 * self.equilibrium_insulin / self.ku_Vi


@jax.jit
def _closed_form(p: Magdelaine, inputs: Inputs, ts: Float[Array, " times"], y0: State) -> Trajectory:
    insulin, digestion = exact_lags(p, inputs, ts, y0)
    drift = (p.kl - p.kb) * (ts - inputs.start_min)
    G = y0.G + drift - p.ksi * insulin[2] + digestion[2]
    states = State(G=G, S=insulin[0], I=insulin[1], E=digestion[0], D=digestion[1])
    return Trajectory(ts, states, G, finite(states))


def rates(p: Magdelaine, y: State, u: Any, r: Any) -> State:
    """The right-hand side of the model for insulin `u` (U/min) and carbohydrate `r` (mg/min).

    Args:
        p: parameters of one patient.
        y: the state.
        u: insulin delivery, U/min.
        r: carbohydrate intake, mg/min.

    Returns:
        The time derivative of each state, in its unit per minute.

    Example:
        >>> from t1djax import Magdelaine
        >>> from t1djax.physics import rates, steady_state
        >>> p = Magdelaine.from_mass(M=72, ksi=197, kl=1.94, Tu=122, ku_Vi=0.059, Tr=183, kr_Vb=0.0024)
        >>> dy = rates(p, steady_state(p, 120.0), p.equilibrium_basal_U_h / 60, 0.0)
        >>> abs(float(dy.G)) < 1e-6
        True

    Source: Magdelaine et al., IEEE Trans. Biomed. Eng. 62(6), 2015, the model equations, as two lags in cascade.
    """
    return State(
        G=-p.ksi * y.I + p.kl - p.kb + y.D,
        S=(p.ku_Vi * u - y.S) / p.Tu,
        I=(y.S - y.I) / p.Tu,
        E=(p.kr_Vb * r - y.E) / p.Tr,
        D=(y.E - y.D) / p.Tr,
    )


def steady_state(p: Magdelaine, G0: ArrayLike) -> State:
    """The state at glucose `G0` (mg/dL) with insulin at equilibrium and nothing left to digest.

    Args:
        p: parameters of one patient.
        G0: glucose, mg/dL.

    Returns:
        The state: at the basal rate `equilibrium_basal_U_h` it does not change.

    Example:
        >>> from t1djax import Magdelaine
        >>> from t1djax.physics import steady_state
        >>> p = Magdelaine.from_mass(M=72, ksi=197, kl=1.94, Tu=122, ku_Vi=0.059, Tr=183, kr_Vb=0.0024)
        >>> float(steady_state(p, 120.0).D)
        0.0

    Source: Magdelaine et al., IEEE Trans. Biomed. Eng. 62(6), 2015, basal equilibrium.
    """
    insulin = p.equilibrium_insulin
    G0 = jnp.asarray(G0, insulin.dtype)
    zero = jnp.zeros_like(insulin)
    return State(G=G0, S=insulin, I=insulin, E=zero, D=zero)


def residual(p: Magdelaine, y: State, dy: State, u: Any, r: Any) -> State:
    """What a candidate trajectory `y` with time derivative `dy` misses of the model: `dy - rates`.

    The unit of each field is that of the state per minute.

    Args:
        p: parameters of one patient.
        y: the state.
        dy: its time derivative, in its units per minute.
        u: insulin delivery, U/min.
        r: carbohydrate intake, mg/min.

    Returns:
        What is missed, field by field; zero for a solution.

    Source: Magdelaine et al., IEEE Trans. Biomed. Eng. 62(6), 2015.
    """
    f = rates(p, y, u, r)
    return State(G=dy.G - f.G, S=dy.S - f.S, I=dy.I - f.I, E=dy.E - f.E, D=dy.D - f.D)


def with_derived(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with those that follow from them, where they can: `kb = 128 / M`, `p1 = ksi ku_Vi`, `c = kl - kb`.

    `p1` (mg/dL/U) and `c` (mg/dL/min) are what glucose alone determines. Numbers and arrays alike.

    Args:
        values: parameters by symbol, in the units of `PARAMETERS`.

    Returns:
        A new dictionary: the given values, and those that follow from them.

    Example:
        >>> from t1djax.physics import with_derived
        >>> with_derived({"M": 64.0, "kl": 2.25})
        {'M': 64.0, 'kl': 2.25, 'kb': 2.0, 'c': 0.25}
    """
    return Magdelaine.complete(values) | Magdelaine.derive(values)


@jax.jit
def exact_lags(
    p: Magdelaine, inputs: Inputs, ts: Float[Array, " times"], y0: State
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    """`(S, I, integral of I)` and `(E, D, integral of D)` at `ts`, exactly; the integrals run from the start."""
    pair = Lags(
        T=jnp.stack([p.Tu, p.Tr]),
        level=jnp.stack([p.ku_Vi * inputs.insulin_U_min, p.kr_Vb * inputs.carbs_mg_min]),
        first0=jnp.stack([y0.S, y0.E]),
        second0=jnp.stack([y0.I, y0.D]),
    )
    index = inputs.index(ts)
    # Insulin and meals are the same pair of lags: one traced body serves both, which halves compilation.
    first, second, area = jax.vmap(lambda lags: cascade(lags, inputs.break_min, ts, index))(pair)
    return (first[0], second[0], area[0]), (first[1], second[1], area[1])
