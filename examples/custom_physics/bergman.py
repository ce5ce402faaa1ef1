"""A physiology of one's own: the minimal model of Bergman et al. with insulin under the skin and a meal, in one class.

Source: Bergman, Ider, Bowden, Cobelli, Am. J. Physiol. 236(6), 1979, for `G` and `X`; insulin and meals through two
lags each, and typical values, after Hovorka et al., Physiol. Meas. 25(4), 2004. Values here are for teaching.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from t1djax.physics import AbstractPhysiology, Facts, Parameter, Together, parameter_table, scalar, state

_VI, _N = 8.4, 0.14  # volume of insulin, L; clearance of plasma insulin, 1/min


class BergmanState(eqx.Module):
    """The seven states."""

    G: jax.Array = state("mg/dL")
    X: jax.Array = state("1/min")
    s1: jax.Array = state("mU")
    s2: jax.Array = state("mU")
    I: jax.Array = state("mU/L")
    q1: jax.Array = state("mg")
    q2: jax.Array = state("mg")


class Bergman(AbstractPhysiology):
    """Parameters of one person.

    ```
    G'  = -(SG + X) G + SG Gb + q2 / (tG VG)    glucose
    X'  = -p2 X + p2 SI I                       remote insulin
    s1' = u - s1/tI       s2' = (s1 - s2)/tI    insulin under the skin
    I'  = s2 / (tI VI) - n I                    plasma insulin
    q1' = r - q1/tG       q2' = (q1 - q2)/tG    carbohydrate on its way
    ```
    """

    parameters: ClassVar[Mapping[str, Parameter]] = parameter_table(
        Parameter("SG", "1/min", "effect of glucose on itself", "SG", 0.005, 0.02, 0.008, 0.016),
        Parameter("Gb", "mg/dL", "glucose at no insulin", "Gb_mg_dL", 200.0, 400.0, 250.0, 350.0),
        Parameter("SI", "1/min per mU/L", "insulin sensitivity", "SI", 2e-4, 2e-3, 3e-4, 1.5e-3),
        Parameter("p2", "1/min", "rate of remote insulin", "p2", 0.01, 0.05, 0.02, 0.03),
        Parameter("tI", "min", "time constant of insulin under the skin", "tI_min", 30.0, 90.0, 40.0, 70.0),
        Parameter("tG", "min", "time constant of meals", "tG_min", 20.0, 80.0, 30.0, 60.0),
        Parameter("VG", "dL", "volume of glucose over the share that arrives", "VG_dL", 80.0, 250.0, 110.0, 180.0),
    )
    States: ClassVar[type[eqx.Module]] = BergmanState
    facts: ClassVar[Facts] = Facts(
        source="Bergman et al. 1979",
        sensitivity="SI",
        insulin_states=("s1", "s2", "I", "X"),
        meal_states=("q1", "q2"),
        learnt=("G",),
        together=(
            Together(frozenset({"SG", "Gb"}), "at no insulin they show only where glucose varies; estimate one"),
        ),
        need_meal=frozenset({"tG", "VG"}),
        need_insulin=frozenset({"SI", "p2", "tI"}),
        stays_positive=True,
    )

    SG: jax.Array = eqx.field(converter=scalar)
    Gb: jax.Array = eqx.field(converter=scalar)
    SI: jax.Array = eqx.field(converter=scalar)
    p2: jax.Array = eqx.field(converter=scalar)
    tI: jax.Array = eqx.field(converter=scalar)
    tG: jax.Array = eqx.field(converter=scalar)
    VG: jax.Array = eqx.field(converter=scalar)

    def rates(self, y: BergmanState, insulin_U_min: Any, carbs_mg_min: Any) -> BergmanState:
        """The equations above."""
        return BergmanState(
            G=-(self.SG + y.X) * y.G + self.SG * self.Gb + y.q2 / (self.tG * self.VG),
            X=-self.p2 * y.X + self.p2 * self.SI * y.I,
            s1=1000 * insulin_U_min - y.s1 / self.tI,
            s2=(y.s1 - y.s2) / self.tI,
            I=y.s2 / (self.tI * _VI) - _N * y.I,
            q1=carbs_mg_min - y.q1 / self.tG,
            q2=(y.q1 - y.q2) / self.tG,
        )

    def glucose(self, y: BergmanState) -> jax.Array:
        """What a sensor reads, mg/dL."""
        return y.G

    def steady(self, glucose_mg_dL: jax.Array) -> tuple[BergmanState, jax.Array]:
        """State and basal rate (U/h) that hold this glucose."""
        X = self.SG * (self.Gb / glucose_mg_dL - 1)
        I = X / self.SI
        delivered = I * _N * _VI  # mU/min
        skin, zero = delivered * self.tI, jnp.zeros_like(I)
        return BergmanState(glucose_mg_dL, X, skin, skin, I, zero, zero), 60 * delivered / 1000

    def scales(self) -> BergmanState:
        """Typical sizes of the states."""
        one = jnp.ones_like(self.SG)
        return BergmanState(50 * one, 0.01 * one, 1000 * one, 1000 * one, 10 * one, 1e4 * one, 1e4 * one)


def bergman() -> Bergman:
    """Somebody."""
    return Bergman(SG=0.012, Gb=300.0, SI=8e-4, p2=0.025, tI=55.0, tG=40.0, VG=140.0)
