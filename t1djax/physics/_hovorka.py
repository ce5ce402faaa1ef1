"""The model of Hovorka et al. (2004): ten states, a set point, and loss of glucose by the kidneys above 9 mmol/L."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import MG_DL_PER_MMOL_L, Scalar
from ._facts import Facts, Symmetry, Together
from ._inputs import MIN_PER_H
from ._parameters import BODY_MASS, Parameter, parameter_table
from ._physiology import AbstractPhysiology
from ._prior import Limits, Prior, prior_table
from ._states import scalar, state

_MG_PER_MMOL = 180.16
_MU_PER_U = 1000.0
_F01_FULL, _KIDNEY, _KIDNEY_RATE = 4.5, 9.0, 0.003  # mmol/L, mmol/L, 1/min
_SOURCE = "Hovorka et al., Physiol. Meas. 25:905-920, 2004, doi 10.1088/0967-3334/25/4/010"
_PEOPLE = "mean and two standard deviations, cut off at positive values, of the population after " + _SOURCE


class HovorkaState(eqx.Module):
    """Glucose in two pools, insulin through two lags to plasma and to three effects, a meal through two lags."""

    Q1: Float[Array, "*shape"] = state("mmol")
    """Glucose within reach of the sensor, mmol."""
    Q2: Float[Array, "*shape"] = state("mmol")
    """Glucose elsewhere, mmol."""
    S1: Float[Array, "*shape"] = state("mU")
    """Insulin under the skin, first lag, mU."""
    S2: Float[Array, "*shape"] = state("mU")
    """Insulin under the skin, second lag, mU."""
    I: Float[Array, "*shape"] = state("mU/L")
    """Plasma insulin, mU/L."""
    x1: Float[Array, "*shape"] = state("1/min")
    """Effect of insulin on transport, 1/min."""
    x2: Float[Array, "*shape"] = state("1/min")
    """Effect of insulin on disposal, 1/min."""
    x3: Float[Array, "*shape"] = state("1")
    """Effect of insulin on the liver, as a share."""
    D1: Float[Array, "*shape"] = state("mmol")
    """Carbohydrate, first lag, mmol."""
    D2: Float[Array, "*shape"] = state("mmol")
    """Carbohydrate, second lag, mmol."""


_OPEN = "open population of the model, as used after Wilinska et al., J. Diabetes Sci. Technol. 4(1), 2010, PMC2825634"


def _normal(symbol: str, unit: str, meaning: str, mean: float, sd: float) -> Prior:
    """Cut off at values above zero."""
    return Prior(symbol, unit, meaning, mean, sd, 1e-3 * mean, mean + 5 * sd, False, _OPEN)


def _uniform(symbol: str, unit: str, meaning: str, low: float, high: float) -> Prior:
    """A normal one so wide that it is flat between its bounds."""
    return Prior(symbol, unit, meaning, (low + high) / 2, 1e3 * (high - low), low, high, False, _OPEN + "; uniform")


_POPULATION = prior_table(
    _uniform("M", "kg", "body mass", 65.0, 95.0),
    _normal("EGP0", "mmol/kg/min", "glucose output at no insulin", 0.0161, 0.0039),
    _normal("F01", "mmol/kg/min", "glucose use without insulin", 0.0097, 0.0022),
    _normal("k12", "1/min", "rate of return from the second pool", 0.0649, 0.0282),
    _normal("ka1", "1/min", "rate of insulin's effect on transport", 0.0055, 0.0056),
    _normal("ka2", "1/min", "rate of insulin's effect on disposal", 0.0683, 0.0507),
    _normal("ka3", "1/min", "rate of insulin's effect on the liver", 0.0304, 0.0235),
    _normal("SI1", "1/min per mU/L", "sensitivity of transport", 51.2e-4, 32.09e-4),
    _normal("SI2", "1/min per mU/L", "sensitivity of disposal", 8.2e-4, 7.84e-4),
    _normal("SI3", "L/mU", "sensitivity of the liver", 520e-4, 306.2e-4),
    _normal("ke", "1/min", "clearance of plasma insulin", 0.14, 0.035),
    _normal("VI", "L/kg", "volume of insulin", 0.12, 0.012),
    Prior("exp_VG", "1", "exponential of the volume of glucose (L/kg)", 1.16, 0.23, 1.001, 2.3, False, _OPEN),
    _normal("per_tau_I", "1/min", "rate of absorption of insulin", 0.018, 0.0045),
    Prior("tau_G", "min", "time constant of a meal", 41.3, 10.5, 15.0, 110.0, True, _OPEN),
    _uniform("AG", "1", "share of the carbohydrate that arrives", 0.7, 1.2),
)


def _row(symbol: str, unit: str, meaning: str, mean: float, sd: float) -> Parameter:
    """Two standard deviations about the mean, starts within one; independent draws reach far down."""
    low, high = max(mean - 2 * sd, mean / 10), mean + 2 * sd
    starts = max(mean - sd, mean / 3), mean + sd
    return Parameter(symbol, unit, meaning, symbol, low, high, *starts, _OPEN, None, (mean / 1e3, 20 * mean))


_PLAIN = ("EGP0", "F01", "k12", "ka1", "ka2", "ka3", "SI1", "SI2", "SI3", "ke", "VI", "tau_G")
_TABLE = parameter_table(
    dataclasses.replace(BODY_MASS, start_low=65.0, start_high=95.0, source=_OPEN),
    *(_row(p.symbol, p.unit, p.meaning, p.mean, p.sd) for p in (_POPULATION[symbol] for symbol in _PLAIN)),
    # Not VG, which is the column of `Kanderian`'s, in dL.
    dataclasses.replace(_row("VG", "L/kg", "volume of glucose", 0.16, 0.04), column="VG_L_kg"),
    _row("tau_I", "min", "time constant of insulin under the skin", 57.0, 15.0),
    _row("AG", "1", "share of the carbohydrate that arrives", 0.95, 0.15),
)
_OVER_VI = "sensitivities show in glucose only over VI; estimate them with VI known"
_OVER_VG = "EGP0, F01 and AG show in glucose only over VG; estimate VG with one of the others known"
_FACTS = Facts(
    source=_SOURCE,
    sensitivity="SI1",
    insulin_states=("S1", "S2", "I", "x1", "x2", "x3"),
    meal_states=("D1", "D2"),
    learnt=("Q1", "Q2"),
    together=(
        Together(frozenset({"SI1", "SI2", "SI3", "VI"}), _OVER_VI),
        Together(frozenset({"EGP0", "F01", "AG", "VG"}), _OVER_VG),
        Together(frozenset({"M", "VG"}), "volumes are per kg of body mass; estimate VG with M known"),
    ),
    symmetries=(
        Symmetry(dict.fromkeys(("SI1", "SI2", "SI3", "VI"), 1.0), "each SI over VI", {"SI1": 1.0, "VI": -1.0}),
        Symmetry(
            dict.fromkeys(("EGP0", "F01", "AG", "VG"), 1.0), "each of EGP0, F01, AG over VG", {"EGP0": 1.0, "VG": -1.0}
        ),
    ),
    need_meal=frozenset({"AG", "tau_G"}),
    need_insulin=frozenset({"SI1", "SI2", "SI3", "ka1", "ka2", "ka3", "ke", "VI", "tau_I"}),
    followed=MappingProxyType({"tau_I": (55.0, 0.35), "tau_G": (40.0, 0.35)}),  # the means, and as others spread
    followed_back=MappingProxyType({  # about as the open population
        "SI2": (8e-4, 0.6), "SI3": (0.05, 0.6), "ka1": (0.0055, 0.6), "ka3": (0.03, 0.6), "k12": (0.063, 0.4),
    }),
    stays_positive=True,
)  # fmt: skip


class Hovorka(AbstractPhysiology):
    """Parameters of one person; `hovorka()` has the published means.

    ```
    Q1' = -F01 M min(1, G/4.5) - 0.003 max(G - 9, 0) VG M - x1 Q1 + k12 Q2 + D2/tau_G + EGP0 M max(1 - x3, 0)
    Q2' = x1 Q1 - (k12 + x2) Q2,                        G = Q1 / (VG M)   (mmol/L)
    S1' = u - S1/tau_I,   S2' = (S1 - S2)/tau_I,        I' = S2 / (tau_I VI M) - ke I
    xi' = kai (SIi I - xi)                              i = 1 (transport), 2 (disposal), 3 (liver)
    D1' = AG r - D1/tau_G,   D2' = (D1 - D2)/tau_G
    ```

    with `u` the insulin delivered (mU/min) and `r` the carbohydrate eaten (mmol/min).

    Example:
        >>> from t1djax.physics import hovorka
        >>> round(float(hovorka().rest(110.0)[1]), 3)
        0.384

    Source: Hovorka et al., Physiol. Meas. 25:905-920, 2004, doi 10.1088/0967-3334/25/4/010.
    """

    parameters: ClassVar[Mapping[str, Parameter]] = _TABLE
    States: ClassVar[type[eqx.Module]] = HovorkaState
    facts: ClassVar[Facts] = _FACTS
    population: ClassVar[Mapping[str, Prior]] = _POPULATION
    limits: ClassVar[Limits | None] = Limits(110.0, (0.2, 3.0), (10.0, 200.0), (3.0, 30.0))
    # Under the insulin of meals a pool's exchange reaches 1/min in one drawn person of 150: steps of 5 min fall apart.
    step_min: ClassVar[float] = 2.5

    M: Scalar = eqx.field(converter=scalar)
    """Body mass, kg."""
    EGP0: Scalar = eqx.field(converter=scalar)
    """Glucose output of the liver at no insulin, mmol/kg/min."""
    F01: Scalar = eqx.field(converter=scalar)
    """Glucose use that needs no insulin, mmol/kg/min."""
    k12: Scalar = eqx.field(converter=scalar)
    """Rate of return from the second pool, 1/min."""
    ka1: Scalar = eqx.field(converter=scalar)
    """Rate of insulin's effect on transport, 1/min."""
    ka2: Scalar = eqx.field(converter=scalar)
    """Rate of insulin's effect on disposal, 1/min."""
    ka3: Scalar = eqx.field(converter=scalar)
    """Rate of insulin's effect on the liver, 1/min."""
    SI1: Scalar = eqx.field(converter=scalar)
    """Sensitivity of transport, 1/min per mU/L."""
    SI2: Scalar = eqx.field(converter=scalar)
    """Sensitivity of disposal, 1/min per mU/L."""
    SI3: Scalar = eqx.field(converter=scalar)
    """Sensitivity of the liver, L/mU."""
    ke: Scalar = eqx.field(converter=scalar)
    """Clearance of plasma insulin, 1/min."""
    VI: Scalar = eqx.field(converter=scalar)
    """Volume of insulin, L/kg."""
    VG: Scalar = eqx.field(converter=scalar)
    """Volume of glucose, L/kg."""
    AG: Scalar = eqx.field(converter=scalar)
    """Share of the carbohydrate that arrives."""
    tau_G: Scalar = eqx.field(converter=scalar)
    """Time constant of a meal, min."""
    tau_I: Scalar = eqx.field(converter=scalar)
    """Time constant of insulin under the skin, min."""

    @classmethod
    def drawn(cls, traits: Mapping[str, Any]) -> dict[str, Any]:
        """`VG` from its exponential and `tau_I` from its inverse, which are what is normal."""
        values = dict(traits)
        return values | {"VG": jnp.log(values.pop("exp_VG")), "tau_I": 1 / values.pop("per_tau_I")}

    def rates(self, y: HovorkaState, insulin_U_min: Any, carbs_mg_min: Any) -> HovorkaState:
        """The equations above."""
        liver = self.EGP0 * self.M * jnp.maximum(1 - y.x3, 0)
        return HovorkaState(
            Q1=liver - self._outflow(y.Q1) - y.x1 * y.Q1 + self.k12 * y.Q2 + y.D2 / self.tau_G,
            Q2=y.x1 * y.Q1 - (self.k12 + y.x2) * y.Q2,
            S1=_MU_PER_U * insulin_U_min - y.S1 / self.tau_I,
            S2=(y.S1 - y.S2) / self.tau_I,
            I=y.S2 / (self.tau_I * self.VI * self.M) - self.ke * y.I,
            x1=self.ka1 * (self.SI1 * y.I - y.x1),
            x2=self.ka2 * (self.SI2 * y.I - y.x2),
            x3=self.ka3 * (self.SI3 * y.I - y.x3),
            D1=self.AG * carbs_mg_min / _MG_PER_MMOL - y.D1 / self.tau_G,
            D2=(y.D1 - y.D2) / self.tau_G,
        )

    def _outflow(self, Q1: Any) -> Any:
        """What leaves by use without insulin and by the kidneys, mmol/min."""
        volume = self.VG * self.M
        G = Q1 / volume
        return self.F01 * self.M * jnp.minimum(1, G / _F01_FULL) + _KIDNEY_RATE * volume * jnp.maximum(G - _KIDNEY, 0)

    def glucose(self, y: HovorkaState) -> Float[Array, "*shape"]:
        """Glucose `Q1 / (VG M)`, mg/dL."""
        return y.Q1 / (self.VG * self.M) * MG_DL_PER_MMOL_L

    def steady(self, glucose_mg_dL: Float[Array, ""]) -> tuple[HovorkaState, Float[Array, ""]]:
        """The insulin that holds a glucose: where what the liver gives, what is used and what is stored balance."""
        Q1 = glucose_mg_dL / MG_DL_PER_MMOL_L * self.VG * self.M
        insulin_U_min = _holding(self, Q1) * self.ke * self.VI * self.M / _MU_PER_U
        return self.start(glucose_mg_dL, insulin_U_min), MIN_PER_H * insulin_U_min

    def start(self, glucose_mg_dL: Float[Array, ""], insulin_U_min: Float[Array, ""]) -> HovorkaState:
        """Insulin as a lasting rate leaves it, the second pool in balance, nothing to digest, and any glucose."""
        S = _MU_PER_U * insulin_U_min * self.tau_I
        I = _MU_PER_U * insulin_U_min / (self.ke * self.VI * self.M)
        x1, x2, x3 = self.SI1 * I, self.SI2 * I, self.SI3 * I
        Q1 = glucose_mg_dL / MG_DL_PER_MMOL_L * self.VG * self.M
        nothing = jnp.zeros_like(S)
        return HovorkaState(Q1, x1 * Q1 / (self.k12 + x2), S, S, I, x1, x2, x3, nothing, nothing)

    def no_rest(self, glucose_mg_dL: float, basal_U_h: float) -> str:
        """Without any insulin more glucose is used and lost than the liver gives."""
        return "without insulin as much is used and lost by the kidneys as the liver gives at a lower glucose already"

    def scales(self) -> HovorkaState:
        """Sizes at 120 mg/dL under the insulin that halves the liver's output, and a meal's appearance."""
        half = 0.5 / self.SI3 * self.ke * self.VI * self.M / _MU_PER_U
        y = self.start(jnp.full_like(self.M, 120.0), half)
        return eqx.tree_at(lambda y: (y.D1, y.D2), y, (100 * jnp.ones_like(self.M),) * 2)


_NEWTON = 30
_MEANS = {
    "EGP0": 0.0161, "F01": 0.0097, "k12": 0.066, "ka1": 0.006, "ka2": 0.06, "ka3": 0.03, "SI1": 51.2e-4, "SI2": 8.2e-4,
    "SI3": 520e-4, "ke": 0.138, "VI": 0.12, "VG": 0.16, "AG": 0.8, "tau_G": 40.0, "tau_I": 55.0,
}  # fmt: skip


def hovorka(*, M: float = 70.0) -> Hovorka:
    """The person with the published means.

    Args:
        M: body mass, kg.

    Source: Hovorka et al., Physiol. Meas. 25, 2004, doi 10.1088/0967-3334/25/4/010, tables 1 and 2.
    """
    return Hovorka(M=M, **_MEANS)


@jax.jit
def _holding(p: Hovorka, Q1: Float[Array, ""]) -> Float[Array, ""]:
    """The plasma insulin under which the first pool stays as it is, mU/L."""

    def gain(I: Array) -> Array:
        # Without max(): an insulin below zero then says that there is no rest.
        x1, x2 = p.SI1 * I, p.SI2 * I
        lost = x1 * Q1 * x2 / (p.k12 + x2)
        return p.EGP0 * p.M * (1 - p.SI3 * I) - p._outflow(Q1) - jnp.where(I > 0, lost, 0)

    # Falling and concave in I > 0: from the right Newton's steps never pass the root.
    I = (p.EGP0 * p.M - p._outflow(Q1)) / (p.EGP0 * p.M * p.SI3)
    return jax.lax.fori_loop(0, _NEWTON, lambda _, I: I - gain(I) / jax.grad(gain)(I), I)
