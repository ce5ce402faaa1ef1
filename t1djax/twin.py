"""A patient's double: parameters that are known or move, and the network that stands beside them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from .data import Series
from .networks import AbstractSurrogate, Window
from .physics import AbstractPhysiology, Inputs, Magdelaine, Trajectory, start_symbol

LEAST_NOISE_MG_DL = 0.1
"""Where noise is estimated and a prior is to be weighed by it, the least it is taken to be, mg/dL."""
LEAST_G0_MG_DL = 10.0
"""Least glucose at the start that is estimated where it has no bounds, mg/dL: half of what a meter shows. One that the
readings do not hold would run to zero."""
_INSIDE = 0.01  # a start keeps this share of the (logarithmic) range away from either bound


class Sensitivities(NamedTuple):
    """What follows from the free parameters of one patient, and how it moves with them."""

    values: dict[str, Float[Array, ""]]
    """The estimates and what follows from them, by symbol."""
    slopes: dict[str, Float[Array, " free"]]
    """Their derivatives by the free coordinates, in sorted order."""
    prior: Float[Array, "free free"]
    """Information of the prior about these coordinates, without unit."""


class Physiology(eqx.Module):
    """One patient's parameters, split into what is known and what is free.

    Free parameters are positive and live as logarithms, or, between bounds, as a logit of the logarithm: the ways
    there (`at`) and back (`values`) are here and nowhere else. With `l` and `h` the logarithms of the bounds,
    `w = h - l` and `m` their middle,

    ```
    log value = l + w / (1 + exp(-4 (z - m) / w))
    ```

    which is `z` itself, far from the bounds. Stack and `vmap` for a cohort.

    Example:
        >>> import jax.numpy as jnp
        >>> from t1djax.twin import Physiology
        >>> body = Physiology(known={"M": jnp.float32(72), "kl": jnp.float32(1.94)}, free={"ksi": jnp.log(200.0)})
        >>> round(float(body.values()["ksi"]))
        200
    """

    known: dict[str, Float[Array, "*batch"]]
    """Values by symbol, in the units of the body's table (and of its `initial_states`)."""
    free: dict[str, Float[Array, "*batch"]]
    """Coordinates of the values to be estimated, by symbol: natural logarithms where there are no bounds."""
    prior: dict[str, Float[Array, "*batch 2"]] = eqx.field(default_factory=dict)
    """Normal priors of the logarithms of some of the free ones: median and standard deviation."""
    bounds: dict[str, Float[Array, "*batch 2"]] = eqx.field(default_factory=dict)
    """Logarithms of the lower and the upper bound of some of the free ones."""
    noise_sd_mg_dL: Float[Array, "*batch"] | None = None
    """Standard deviation of the readings' noise, mg/dL, where it is given."""
    insulin_U_min: Float[Array, "*batch"] | None = None
    """Insulin that is no bolus, in force at the start, U/min, for a body that starts by it."""
    body: type[AbstractPhysiology] = eqx.field(static=True, default=Magdelaine)
    """Whose parameters these are."""
    steps: int | None = eqx.field(static=True, default=None)
    """Room for steps of a body without a closed form; see `count_steps`."""

    @classmethod
    def at(
        cls,
        known: Mapping[str, Float[Array, "*batch"]],
        values: Mapping[str, Float[Array, "*batch"]],
        *,
        prior: Mapping[str, Float[Array, "*batch 2"]] | None = None,
        bounds: Mapping[str, Float[Array, "*batch 2"]] | None = None,
        noise_sd_mg_dL: Float[Array, "*batch"] | None = None,
        insulin_U_min: Float[Array, "*batch"] | None = None,
        body: type[AbstractPhysiology] = Magdelaine,
        steps: int | None = None,
    ) -> "Physiology":
        """The physiology whose free parameters have these values; one at or beyond a bound is moved inside.

        Args:
            known: values that stay, by symbol, in the units of `PARAMETERS`.
            values: values of the free ones.
            prior: see the field.
            bounds: see the field.
            noise_sd_mg_dL: see the field, mg/dL.
            insulin_U_min: see the field, U/min.
            body: see the field.
            steps: see the field.

        Returns:
            The physiology, its free parameters as coordinates.
        """
        bounds = dict(bounds or {})
        free = {symbol: _coordinate(jnp.log(value), bounds.get(symbol)) for symbol, value in values.items()}
        return cls(dict(known), free, dict(prior or {}), bounds, noise_sd_mg_dL, insulin_U_min, body, steps)

    def lowest(self) -> Float[Array, " free"] | None:
        """Least coordinates of the free parameters, by sorted symbols, minus infinity where there is none: that of `G0`
        without bounds is that of `LEAST_G0_MG_DL`. None where nothing has one."""
        if "G0" not in self.free or "G0" in self.bounds:
            return None
        of = {"G0": math.log(LEAST_G0_MG_DL)}
        return jnp.stack([jnp.full_like(z, of.get(s, -math.inf)) for s, z in sorted(self.free.items())])

    def with_free(self, free: dict[str, Float[Array, "*batch"]]) -> "Physiology":
        """The same with other coordinates of the free parameters.

        Args:
            free: coordinates by symbol, as in the field.

        Returns:
            A new record; known values, priors and bounds are the same.
        """
        return dataclasses.replace(self, free=free)

    def log_values(self) -> dict[str, Float[Array, "*batch"]]:
        """Natural logarithms of the free parameters, by symbol."""
        return {symbol: _log_value(z, self.bounds.get(symbol)) for symbol, z in self.free.items()}

    def log_stretch(self) -> Float[Array, ""]:
        """Logarithm of how much the logarithms of the values move with the coordinates, all free ones together.

        Added to a density of the logarithms it makes one of the coordinates; zero where there are no bounds.
        """
        each = [jax.grad(_log_value)(self.free[symbol], bounds) for symbol, bounds in sorted(self.bounds.items())]
        return jnp.sum(jnp.log(jnp.stack(each))) if each else jnp.zeros(())

    def estimates(self) -> dict[str, Float[Array, "*batch"]]:
        """Values of the free parameters, by symbol."""
        return {symbol: jnp.exp(x) for symbol, x in self.log_values().items()}

    def values(self) -> dict[str, Float[Array, "*batch"]]:
        """Every parameter by symbol, and those that follow from them (`AbstractPhysiology.complete`)."""
        return self.body.complete(dict(self.known) | self.estimates())

    def model(self) -> Any:
        """The body: the parameters of the differential equations."""
        return self.body.of(self.values())

    def initial_state(self, inputs: Inputs | None = None) -> Any:
        """The state at the start of the window.

        It is that of `AbstractPhysiology.start`, and what is on board of doses on record before the window, but for
        states that are stated or free.

        Args:
            inputs: those of the window, with what was given earlier; left out, nothing was.

        Returns:
            The state, of the body's `States`.
        """
        v = self.values()
        insulin = jnp.zeros_like(v["G0"]) if self.insulin_U_min is None else self.insulin_U_min
        body = self.model()
        y = body.start(v["G0"], insulin)
        if inputs is not None and inputs.earlier is not None:
            more = body.on_board(inputs.earlier, inputs.start_min)
            y = dataclasses.replace(y, **{leaf: getattr(y, leaf) + x for leaf, x in more.items()})
        stated = {leaf: v[start_symbol(leaf)] for leaf in body.facts.dose_states if start_symbol(leaf) in v}
        return dataclasses.replace(y, **stated)

    def trajectory(self, data: Series) -> Trajectory:
        """The exact solution from the initial state, on the rows of a record.

        Args:
            data: the patient's arrays; their inputs and times count, not the readings.

        Returns:
            The states at the rows.
        """
        start = self.initial_state(data.inputs)
        return self.model().solution(data.inputs, data.time_min, start, steps=self.steps)

    def prior_misfit(self, noise_sd_mg_dL: Float[Array, ""]) -> Float[Array, " held"]:
        """How far the free parameters are from their priors, in mg/dL so as to stand beside the misfit of readings.

        `sigma (log value - log median) / sd`: divided by the noise `sigma`, the sum of the squares of both is twice
        the negative logarithm of the posterior density.

        Args:
            noise_sd_mg_dL: standard deviation of the noise of a reading, mg/dL.

        Returns:
            One distance per prior, mg/dL, in the order of the sorted symbols; empty without priors.
        """
        x = self.log_values()
        away = [(x[symbol] - self.prior[symbol][0]) / self.prior[symbol][1] for symbol in sorted(self.prior)]
        return noise_sd_mg_dL * jnp.stack(away) if away else jnp.zeros(0)

    def noise(self, misfit: Float[Array, ""], readings: Num[Array, ""]) -> Float[Array, ""]:
        """Standard deviation of the readings' noise, mg/dL: given, or estimated from a misfit.

        `s^2 = misfit / (n - k)` with `k` free parameters, and not less than `LEAST_NOISE_MG_DL` where there are priors.

        Args:
            misfit: sum of squares over the fitted readings, (mg/dL)^2.
            readings: how many there are.

        Returns:
            The standard deviation, mg/dL.
        """
        if self.noise_sd_mg_dL is not None:
            return self.noise_sd_mg_dL
        s = jnp.sqrt(misfit / jnp.maximum(readings - len(self.free), 1))
        return jnp.maximum(s, LEAST_NOISE_MG_DL) if self.prior else s

    def sensitivities(self) -> Sensitivities:
        """Estimates and what follows from them, their slopes, and what the prior says, at the current coordinates."""
        reported = lambda z: self.with_free(z).estimates() | self.with_free(z).derived()
        values, order = reported(self.free), sorted(self.free)
        if not order:
            return Sensitivities(values, {symbol: jnp.zeros(0) for symbol in values}, jnp.zeros((0, 0)))
        stacked = lambda by: jnp.stack([by[symbol] for symbol in order], axis=-1)
        slopes = {symbol: stacked(by) for symbol, by in jax.jacfwd(reported)(self.free).items()}
        rows = stacked(jax.jacfwd(lambda z: self.with_free(z).prior_misfit(jnp.ones(())))(self.free))
        return Sensitivities(values, slopes, rows.T @ rows)

    def derived(self) -> dict[str, Float[Array, "*batch"]]:
        """What follows from the parameters and is reported beside them, by symbol (`Facts.derived`)."""
        return self.body.derive(self.values())


def _log_value(z: Array, bounds: Array | None) -> Array:
    if bounds is None:
        return z
    low, high = bounds[..., 0], bounds[..., 1]
    width = high - low
    return low + width * jax.nn.sigmoid(4 * (z - (low + high) / 2) / width)


def _coordinate(log_value: Array, bounds: Array | None) -> Array:
    return log_value if bounds is None else _inside(log_value, bounds)


@jax.jit
def _inside(log_value: Array, bounds: Array) -> Array:
    low, high = bounds[..., 0], bounds[..., 1]
    width = high - low
    share = jnp.clip((log_value - low) / width, _INSIDE, 1 - _INSIDE)
    return (low + high) / 2 + width / 4 * (jnp.log(share) - jnp.log1p(-share))


class Scales(eqx.Module):
    """Sizes in a record; they make the network's numbers about one."""

    glucose_mg_dL: Float[Array, ""]
    """Standard deviation of the fit readings, mg/dL."""
    states: Float[Array, " states"]
    """Of the learnt states, each in its unit, see `AbstractPhysiology.sizes`."""
    noise: Float[Array, ""]
    """Noise of the readings, mg/dL, at least one: what a residual of the equations is weighed against."""


class Twin(eqx.Module):
    """A patient's double: a network for the states beside a physiology for the equations.

    The network stands for the states that the doses alone do not drive (`Facts.learnt`). They start at the
    physiology's initial state and add what the network says, in the sizes of `scales`. Stack and `vmap` for a cohort.
    """

    surrogate: AbstractSurrogate
    """The network."""
    physiology: Physiology
    """Known and free parameters."""
    scales: Scales
    """Sizes of the states; they do not train."""
    window: Window
    """Where the network lives."""

    def states(self, ts: Float[Array, " times"]) -> Float[Array, "times states"]:
        """The learnt states at `ts` (min).

        Args:
            ts: times within the window, min.

        Returns:
            One row per time, each state in its unit: of `Magdelaine` `G` (mg/dL), `I` (U/dL) and `D` (mg/dL/min).
        """
        return self.from_basis(self.surrogate.basis(self.window, ts))

    def from_basis(self, basis: Float[Array, "times basis"]) -> Float[Array, "times states"]:
        """The learnt states where the network's basis is at hand already.

        Args:
            basis: what `surrogate.basis` gives at some times.

        Returns:
            One row per time, each state in its unit.
        """
        start = self.physiology.model().learnt_states(self.physiology.initial_state(self.window.inputs))
        return start + basis @ (self.surrogate.readout * self.scales.states)

    def glucose(self, states: Float[Array, "times states"]) -> Float[Array, " times"]:
        """Glucose that a sensor is handed, mg/dL.

        Args:
            states: learnt states, one row per time.

        Returns:
            Glucose at these times, mg/dL.
        """
        body, start = self.physiology.model(), self.physiology.initial_state(self.window.inputs)
        return jax.vmap(lambda x: body.glucose(body.with_learnt(start, x)))(states)
