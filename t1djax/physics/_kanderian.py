"""The identifiable virtual patient of Kanderian et al. (2009), and its ten published people."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar
from ._facts import Derived, Facts, Symmetry, Together
from ._inputs import MIN_PER_H
from ._parameters import Parameter, parameter_table
from ._physiology import AbstractPhysiology
from ._prior import Limits, Prior, prior_table
from ._states import scalar, state

_UU_PER_U = 1e6
_SOURCE = "Kanderian et al., J. Diabetes Sci. Technol. 3(5):1047-1057, 2009, PMC2769900"
_TEN = "range of the ten people of " + _SOURCE


class KanderianState(eqx.Module):
    """Insulin under the skin, in plasma and at work, glucose, and a meal through two lags."""

    G: Float[Array, "*shape"] = state("mg/dL", column="")
    """Glucose, mg/dL."""
    Isc: Float[Array, "*shape"] = state("uU/mL")
    """Insulin under the skin, uU/mL."""
    Ip: Float[Array, "*shape"] = state("uU/mL")
    """Plasma insulin, uU/mL."""
    Ieff: Float[Array, "*shape"] = state("1/min")
    """Effect of insulin, 1/min."""
    R1: Float[Array, "*shape"] = state("mg/dL/min")
    """Carbohydrate, first lag, mg/dL/min."""
    RA: Float[Array, "*shape"] = state("mg/dL/min")
    """Appearance of glucose from meals, mg/dL/min."""


_LAGS = "tau1, tau2 and 1/p2 are three lags in series, known up to their order and hardly apart where they are alike; "
_ONE_LAG = _LAGS + "estimate one of them with the others known"
_LIKE_THE_TEN = "mean and standard deviation over the ten people of " + _SOURCE + ", cut off at their range"
_POPULATION = prior_table(
    Prior("SI", "mL/uU/min", "insulin sensitivity", 4.41e-4, 2.41e-4, 0.96e-4, 8.2e-4, True, _LIKE_THE_TEN),
    Prior("CI", "mL/min", "insulin clearance", 1267.0, 526.0, 540.0, 2010.0, True, _LIKE_THE_TEN),
    Prior("tau1", "min", "time constant of insulin under the skin", 70.5, 28.0, 41.0, 131.0, True, _LIKE_THE_TEN),
    Prior("tau2", "min", "time constant of plasma insulin", 44.4, 20.1, 10.0, 70.0, True, _LIKE_THE_TEN),
    Prior("p2", "1/min", "rate of insulin's effect", 0.0113, 0.0043, 0.0081, 0.0234, True, _LIKE_THE_TEN),
    Prior("GEZI", "1/min", "glucose's effect on itself", 0.0031, 0.0019, 1e-3, 6.4e-3, True,
          _LIKE_THE_TEN + "; without the two at the ends of its search"),
    Prior("EGP", "mg/dL/min", "glucose output at no insulin", 0.947, 0.315, 0.6, 1.33, True, _LIKE_THE_TEN),
    Prior("VG", "dL", "volume of glucose", 214.0, 67.0, 104.0, 337.0, True, _LIKE_THE_TEN),
    Prior("tauM", "min", "time constant of a meal", 50.0, 20.0, 20.0, 120.0, True,
          "around the median over their meals, 47 min"),
)  # fmt: skip
_FACTS = Facts(
    source=_SOURCE,
    sensitivity="SI",
    insulin_states=("Isc", "Ip", "Ieff"),
    meal_states=("R1", "RA"),
    learnt=("G",),
    together=(
        Together(
            frozenset({"SI", "CI"}),
            "only their ratio SI/CI shows in glucose; estimate SI with CI known (SI_CI is reported either way)",
        ),
        Together(frozenset({"tau1", "tau2"}), _ONE_LAG),
        Together(frozenset({"tau1", "p2"}), _ONE_LAG),
        Together(frozenset({"tau2", "p2"}), _ONE_LAG),
    ),
    symmetries=(Symmetry({"SI": 1.0, "CI": 1.0}, "SI/CI", {"SI": 1.0, "CI": -1.0}),),
    need_meal=frozenset({"VG", "tauM"}),
    need_insulin=frozenset({"SI", "CI", "tau1", "tau2", "p2"}),
    derived=(
        Derived(
            "SI_CI",
            "1/min per uU/min",
            "effect of insulin by its delivery (SI/CI)",
            frozenset({"SI", "CI"}),
            lambda v: v["SI"] / v["CI"],
        ),
    ),
    followed=MappingProxyType({  # as the ten
        "tau1": (65.0, 0.38), "tau2": (40.0, 0.43), "p2": (0.0105, 0.36), "tauM": (46.0, 0.38), "GEZI": (0.0026, 0.57),
    }),
    stays_positive=True,
)  # fmt: skip


class Kanderian(AbstractPhysiology):
    """Parameters of one person.

    ```
    Isc'  = (u/CI - Isc) / tau1
    Ip'   = (Isc - Ip) / tau2
    Ieff' = p2 (SI Ip - Ieff)
    R1'   = (r/VG - R1) / tauM,   RA' = (R1 - RA) / tauM
    G'    = -(GEZI + Ieff) G + EGP + RA
    ```

    with `u` the insulin delivered (uU/min) and `r` the carbohydrate eaten (mg/min), taken whole. It has a set point:
    without insulin glucose settles at `EGP / GEZI`, above which nothing holds it.

    Example:
        >>> from t1djax.physics import kanderian
        >>> person = kanderian()["1"]
        >>> float(person.rest(120.0)[0].G)
        120.0

    Source: Kanderian et al., J. Diabetes Sci. Technol. 3(5):1047-1057, 2009, PMC2769900.
    """

    parameters: ClassVar[Mapping[str, Parameter]] = parameter_table(
        Parameter("SI", "mL/uU/min", "insulin sensitivity", "SI", 0.96e-4, 8.2e-4, 1e-4, 8e-4, _TEN),
        Parameter("CI", "mL/min", "insulin clearance", "CI", 540.0, 2010.0, 600.0, 2000.0, _TEN),
        Parameter("tau1", "min", "time constant of insulin under the skin", "tau1", 41.0, 131.0, 40.0, 120.0, _TEN),
        Parameter("tau2", "min", "time constant of plasma insulin", "tau2", 10.0, 70.0, 20.0, 70.0, _TEN),
        Parameter("p2", "1/min", "rate of insulin's effect", "p2", 0.0081, 0.0233, 0.008, 0.02, _TEN),
        Parameter("GEZI", "1/min", "glucose's effect on itself at no insulin", "GEZI", 1e-3, 6.4e-3, 1e-3, 5e-3,
                  _TEN + ", without two ends of its search (1e-8 and 1.6e-5)", possible=(1e-9, 0.1)),
        Parameter("EGP", "mg/dL/min", "glucose output at no insulin", "EGP", 0.6, 1.33, 0.6, 1.3, _TEN),
        Parameter("VG", "dL", "volume of glucose", "VG", 104.0, 337.0, 110.0, 300.0, _TEN),
        Parameter("tauM", "min", "time constant of a meal", "tauM", 10.0, 231.0, 25.0, 90.0, _TEN, (20.0, 120.0)),
    )  # fmt: skip
    States: ClassVar[type[eqx.Module]] = KanderianState
    facts: ClassVar[Facts] = _FACTS
    population: ClassVar[Mapping[str, Prior]] = _POPULATION
    limits: ClassVar[Limits | None] = Limits(110.0, (0.2, 3.0), (10.0, 200.0), (3.0, 30.0))

    SI: Scalar = eqx.field(converter=scalar)
    """Insulin sensitivity, mL/uU/min."""
    CI: Scalar = eqx.field(converter=scalar)
    """Insulin clearance, mL/min."""
    tau1: Scalar = eqx.field(converter=scalar)
    """Time constant of insulin under the skin, min."""
    tau2: Scalar = eqx.field(converter=scalar)
    """Time constant of plasma insulin, min."""
    p2: Scalar = eqx.field(converter=scalar)
    """Rate of insulin's effect, 1/min."""
    GEZI: Scalar = eqx.field(converter=scalar)
    """Glucose's effect on itself at no insulin, 1/min."""
    EGP: Scalar = eqx.field(converter=scalar)
    """Glucose output at no insulin, mg/dL/min."""
    VG: Scalar = eqx.field(converter=scalar)
    """Volume of glucose, dL."""
    tauM: Scalar = eqx.field(converter=scalar)
    """Time constant of a meal, min."""

    def rates(self, y: KanderianState, insulin_U_min: Any, carbs_mg_min: Any) -> KanderianState:
        """The equations above."""
        return KanderianState(
            G=-(self.GEZI + y.Ieff) * y.G + self.EGP + y.RA,
            Isc=(_UU_PER_U * insulin_U_min / self.CI - y.Isc) / self.tau1,
            Ip=(y.Isc - y.Ip) / self.tau2,
            Ieff=self.p2 * (self.SI * y.Ip - y.Ieff),
            R1=(carbs_mg_min / self.VG - y.R1) / self.tauM,
            RA=(y.R1 - y.RA) / self.tauM,
        )

    def glucose(self, y: KanderianState) -> Float[Array, "*shape"]:
        """Glucose `G`, mg/dL."""
        return y.G

    def steady(self, glucose_mg_dL: Float[Array, ""]) -> tuple[KanderianState, Float[Array, ""]]:
        """`Ieff = EGP/G - GEZI`, and the basal rate that keeps it there."""
        insulin_U_min = (self.EGP / glucose_mg_dL - self.GEZI) / self.SI * self.CI / _UU_PER_U
        return self.start(glucose_mg_dL, insulin_U_min), MIN_PER_H * insulin_U_min

    def start(self, glucose_mg_dL: Float[Array, ""], insulin_U_min: Float[Array, ""]) -> KanderianState:
        """Insulin as a lasting rate leaves it, nothing to digest, and any glucose."""
        insulin = _UU_PER_U * insulin_U_min / self.CI
        nothing = jnp.zeros_like(insulin)
        return KanderianState(glucose_mg_dL, insulin, insulin, self.SI * insulin, nothing, nothing)

    def no_rest(self, glucose_mg_dL: float, basal_U_h: float) -> str:
        """Glucose settles lower than that without any insulin."""
        return f"without insulin it settles at EGP/GEZI = {jnp.min(self.EGP / self.GEZI):.4g} mg/dL"

    def scales(self) -> KanderianState:
        """A standard deviation of glucose, insulin that holds 120 mg/dL without help, and a meal's appearance."""
        effect = self.EGP / 120
        insulin, one = effect / self.SI, jnp.ones_like(self.SI)
        return KanderianState(50 * one, insulin, insulin, effect, one, one)


_COLUMNS = ("CI", "tau1", "tau2", "VG", "p2", "EGP", "GEZI", "SI")
_PEOPLE = {
    "1": (2010.0, 49.0, 47.0, 253.0, 0.0106, 1.33, 0.0022, 8.11e-4),
    "2": (1281.0, 41.0, 10.0, 261.0, 0.0116, 0.6, 0.00438, 0.964e-4),
    "3": (909.0, 71.0, 70.0, 199.0, 0.0233, 1.07, 0.0035, 4.63e-4),
    "4": (1813.0, 91.0, 70.0, 337.0, 0.00814, 0.98, 1.64e-5, 3.77e-4),
    "5": (1535.0, 46.0, 46.0, 188.0, 0.00963, 0.6, 0.00433, 2.05e-4),
    "6": (588.0, 68.0, 30.0, 104.0, 0.00915, 0.603, 0.00101, 4.12e-4),
    "7": (1806.0, 60.0, 60.0, 263.0, 0.0101, 1.11, 0.0023, 8.16e-4),
    "8": (540.0, 95.0, 37.0, 137.0, 0.0103, 1.3, 1e-8, 3.68e-4),
    "9": (875.0, 131.0, 21.0, 193.0, 0.0103, 1.27, 0.00639, 2.56e-4),
    "10": (1309.0, 53.0, 53.0, 204.0, 0.0102, 0.611, 0.00104, 6.03e-4),
}
_TAU_M = 47.0  # median over meals of the ten


def kanderian(*, tauM: float = _TAU_M) -> Mapping[str, Kanderian]:
    """The ten people of the paper, by number.

    The paper identified meals one by one (10 to 231 min); here one time constant stands for all of a person's.

    Args:
        tauM: time constant of meals, min; the median of the paper's if not given.

    Example:
        >>> from t1djax.physics import kanderian
        >>> len(kanderian())
        10

    Source: Kanderian et al., J. Diabetes Sci. Technol. 3(5):1047-1057, 2009, PMC2769900.
    """
    return MappingProxyType(
        {name: Kanderian(**dict(zip(_COLUMNS, row, strict=True)), tauM=tauM) for name, row in _PEOPLE.items()}
    )
