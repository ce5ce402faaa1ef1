"""A patient's double: parameters that are known or move, and the network that stands beside them."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .networks import AbstractSurrogate, Window
from .physics import Magdelaine, State, with_derived

PRIOR_SD_LOG = 2.0
"""Standard deviation of the logarithm of what is on board at the start: a factor of seven either way."""
PRIOR_NOISE_MG_DL = 1.0
"""Noise of the imagined reading that states it, mg/dL."""


class Physiology(eqx.Module):
    """One patient's parameters, split into what is known and what is free.

    Free parameters are positive and live as logarithms: positivity is kept here and nowhere else. Stack and
    `vmap` for a cohort.

    Example:
        >>> import jax.numpy as jnp
        >>> from t1djax import Physiology
        >>> body = Physiology(known={"M": jnp.float32(72), "kl": jnp.float32(1.94)}, free={"ksi": jnp.log(200.0)})
        >>> round(float(body.values()["ksi"]))
        200
    """

    known: dict[str, Float[Array, "*batch"]]
    """Values by symbol, in the units of `PARAMETERS` (and of `INITIAL_STATES`)."""
    free: dict[str, Float[Array, "*batch"]]
    """Natural logarithms of the values to be estimated, by symbol."""
    prior: dict[str, Float[Array, "*batch"]] = eqx.field(default_factory=dict)
    """Logarithms near which some of the free ones are held: those of `INITIAL_STATES`, where they are free."""

    def values(self) -> dict[str, Array]:
        """Every parameter by symbol; `kb` follows from `M` where it is not stated itself."""
        values = with_derived(dict(self.known) | {symbol: jnp.exp(z) for symbol, z in self.free.items()})
        return {symbol: value for symbol, value in values.items() if symbol not in ("p1", "c")}

    def model(self) -> Magdelaine:
        """The parameters of the differential equations."""
        v = self.values()
        return Magdelaine(
            ksi=v["ksi"], kl=v["kl"], kb=v["kb"], Tu=v["Tu"], ku_Vi=v["ku_Vi"], Tr=v["Tr"], kr_Vb=v["kr_Vb"]
        )

    def initial_state(self) -> State:
        """The state at the start of the window.

        Insulin starts at the equilibrium `(kl - kb) / ksi` of the current parameters, and nothing is left to
        digest, unless `S0`, `I0`, `E0`, `D0` are stated or free.
        """
        v = self.values()
        equilibrium = (v["kl"] - v["kb"]) / v["ksi"]
        zero = jnp.zeros_like(equilibrium)
        return State(
            G=v["G0"],
            S=v.get("S0", equilibrium),
            I=v.get("I0", equilibrium),
            E=v.get("E0", zero),
            D=v.get("D0", zero),
        )

    def prior_misfit(self) -> Float[Array, " held"]:
        """How far the held parameters are from their prior, in mg/dL so as to stand beside readings.

        A factor of `e^PRIOR_SD_LOG` counts as one reading that is `PRIOR_NOISE_MG_DL` off. What was on board at the
        start is often not visible in the readings; without this its logarithm would drift to minus infinity.
        """
        away = [(self.free[symbol] - self.prior[symbol]) / PRIOR_SD_LOG for symbol in sorted(self.prior)]
        return PRIOR_NOISE_MG_DL * jnp.stack(away) if away else jnp.zeros(0)

    def derived(self) -> dict[str, Array]:
        """What glucose alone determines: `p1 = ksi ku_Vi` (mg/dL/U) and `c = kl - kb` (mg/dL/min)."""
        v = with_derived(self.values())
        return {"p1": v["p1"], "c": v["c"]}


class Scales(eqx.Module):
    """Sizes of the three states, from the fit readings and the doses; they make the network's numbers about one."""

    G: Float[Array, ""]
    """Standard deviation of the fit readings, mg/dL."""
    I: Float[Array, ""]
    """Of insulin, U/dL: that of the doses' exact lags under the starting parameters."""
    D: Float[Array, ""]
    """Of digestion, mg/dL/min, likewise."""
    noise: Float[Array, ""]
    """Noise of the readings, mg/dL, at least one: what a residual of the equations is weighed against."""

    def vector(self) -> Float[Array, " 3"]:
        """The three sizes."""
        return jnp.stack([self.G, self.I, self.D])


class Twin(eqx.Module):
    """A patient's double: a network for the states beside a physiology for the equations.

    The states start at the physiology's initial state and add what the network says, in the sizes of `scales`.
    Mg/dL, U/dL and mg/dL/min are the only units anyone sees. Stack and `vmap` for a cohort.
    """

    surrogate: AbstractSurrogate
    """The network."""
    physiology: Physiology
    """Known and free parameters."""
    scales: Scales
    """Sizes of the states; they do not train."""
    window: Window
    """Where the network lives."""

    def states(self, ts: Float[Array, " times"]) -> Float[Array, "times 3"]:
        """`G` (mg/dL), `I` (U/dL) and `D` (mg/dL/min) at `ts` (min)."""
        return self.from_basis(self.surrogate.basis(self.window, ts))

    def from_basis(self, basis: Float[Array, "times basis"]) -> Float[Array, "times 3"]:
        """The states where the network's basis is at hand already."""
        start = self.physiology.initial_state()
        return jnp.stack([start.G, start.I, start.D]) + basis @ (self.surrogate.readout * self.scales.vector())
