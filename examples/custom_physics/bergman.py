"""A second physiology: the minimal model of Bergman et al. with insulin under the skin and a meal.

```
G'  = -(SG + X) G + SG Gb + f q2 / (tG VG)      glucose, mg/dL
X'  = -p2 X + p2 SI (I - Ib)                    remote insulin, 1/min
s1' = u - s1/tI        s2' = (s1 - s2)/tI       insulin under the skin, mU
I'  = s2 / (tI VI) - n I                        plasma insulin, mU/L
q1' = r - q1/tG        q2' = (q1 - q2)/tG       carbohydrate on its way, mg
```

Source: Bergman, Ider, Bowden, Cobelli, Am. J. Physiol. 236(6), 1979, for `G` and `X`; insulin and meals through two
lags each, and typical values, after Hovorka et al., Physiol. Meas. 25(4), 2004. Values here are for teaching.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import Array


class Bergman(eqx.Module):
    """Parameters of one person; for a cohort, stack them and `jax.vmap`."""

    SI: Array
    """Insulin sensitivity, 1/min per mU/L."""
    tI: Array
    """Time constant of insulin under the skin, min."""
    tG: Array
    """Time constant of meals, min."""
    SG: float = 0.012
    """Effect of glucose on itself, 1/min."""
    Gb: float = 140.0
    """Glucose at rest under the basal rate, mg/dL."""
    basal_U_h: float = 0.9
    """The basal rate that holds it, U/h."""
    p2: float = 0.025
    """Rate of remote insulin, 1/min."""
    n: float = 0.14
    """Clearance of plasma insulin, 1/min."""
    VI: float = 8.4
    """Volume of insulin, L."""
    VG: float = 112.0
    """Volume of glucose, dL."""
    f: float = 0.8
    """Share of the carbohydrate that arrives."""

    @property
    def Ib(self) -> float:
        """Plasma insulin under the basal rate, mU/L."""
        return 1000 * self.basal_U_h / 60 / (self.n * self.VI)


class BergmanState(eqx.Module):
    """The seven states; the signature of the model gives their units."""

    G: Array
    X: Array
    s1: Array
    s2: Array
    I: Array
    q1: Array
    q2: Array


def rates(p: Bergman, y: BergmanState, u: Array, r: Array) -> BergmanState:
    """The equations, for insulin `u` (U/min) and carbohydrate `r` (mg/min): all that `t1djax.solve` asks for."""
    return BergmanState(
        G=-(p.SG + y.X) * y.G + p.SG * p.Gb + p.f * y.q2 / (p.tG * p.VG),
        X=-p.p2 * y.X + p.p2 * p.SI * (y.I - p.Ib),
        s1=1000 * u - y.s1 / p.tI,
        s2=(y.s1 - y.s2) / p.tI,
        I=y.s2 / (p.tI * p.VI) - p.n * y.I,
        q1=r - y.q1 / p.tG,
        q2=(y.q1 - y.q2) / p.tG,
    )


def at_rest(p: Bergman, G0: Array) -> BergmanState:
    """The state under the basal rate, with glucose at `G0` (mg/dL)."""
    zero = jnp.zeros_like(G0)
    skin = zero + 1000 * p.basal_U_h / 60 * p.tI
    return BergmanState(G=G0, X=zero, s1=skin, s2=skin, I=zero + p.Ib, q1=zero, q2=zero)
