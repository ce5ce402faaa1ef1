"""A recurrent network that rolls out freely from the doses."""

import dataclasses
import functools
from typing import ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._types import Key
from ..physics import Inputs, Lags, cascade
from ._features import largest
from ._surrogates import AbstractFeatures, AbstractSurrogate, NetworkOptions, Window

Cell = Literal["gru", "min_gru"]
"""A GRU, or the minimal one, whose gate and candidate look at the input alone."""
_GATE_SPREAD = 0.5  # of the gates' weights against those of the candidate


@dataclasses.dataclass(frozen=True, kw_only=True)
class BIRNNOptions(NetworkOptions):
    """Shape of the recurrent network.

    Raises:
        ValueError: naming the field that is not valid.

    Example:
        >>> from t1djax import BIRNNOptions
        >>> BIRNNOptions(units=16).cells(2880.0)
        576
    """

    model: ClassVar[str] = "birnn"

    units: int = 32
    """Hidden units."""
    step_min: float = 5.0
    """Length of a step, min; also the time over which a gate acts once."""
    lags_min: tuple[float, ...] = (40.0, 80.0, 160.0)
    """Time constants of the exact lags, min; none leaves the doses themselves."""
    memory_min: tuple[float, float] = (20.0, 720.0)
    """Shortest and longest time constant of a unit, min."""
    spread: float = 0.5
    """Scale of the hidden weights; a small one leaves the units near linear."""
    cell: Cell = "gru"
    """A GRU, or the minimal one, whose gate and candidate look at the input alone."""
    skip: bool = True
    """Whether lags and doses given also go to the readout directly; see `BIRNN`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units < 1 or self.step_min <= 0 or self.spread <= 0 or any(T <= 0 for T in self.lags_min):
            raise ValueError("units must be at least 1; step_min, spread and lags_min must be positive")
        if not 0 < self.memory_min[0] <= self.memory_min[1]:
            raise ValueError("memory_min must be the shortest and the longest time constant, positive")
        if self.cell not in ("gru", "min_gru"):
            raise ValueError(f"cell must be gru or min_gru, not {self.cell!r}")

    def network(self, window: Window, edges_min: Float[Array, " edges"], *, key: Key) -> "BIRNN":
        """Random hidden weights and a readout of zero: the network starts as a flat line."""
        return BIRNN(self, window, edges_min, key=key)


class Scales(AbstractFeatures):
    """What makes a network's numbers about one; follows from the doses."""

    inputs: Float[Array, " inputs"]
    """What the inputs are divided by."""
    basis: Float[Array, " basis"]
    """What the columns of the basis are divided by."""


class _Rollout(NamedTuple):
    """One row per step: where it starts, where it goes, how fast."""

    hidden: Float[Array, "steps units"]
    integral: Float[Array, "steps units"]
    candidate: Float[Array, "steps units"]
    rate: Float[Array, "steps units"]


class BIRNN(AbstractSurrogate):
    """A gated recurrent network `doses -> (G, I, D)` that rolls out from the start of the window on a regular grid.

    ```
    x = exact means over the step of the lags of the doses
    z = sigmoid(Wz x + Uz h + bz)                      r = sigmoid(Wr x + Ur h + br)
    n = tanh(Wn x + Un (r h) + bn)
    h(t_k + f step) = n + z^f (h - n),  0 <= f <= 1    (at f = 1 the GRU: h' = z h + (1 - z) n)
    y = [h, integral of h, lags, doses given, t - t0] @ readout
    ```

    It sees doses only; no glucose enters but through the initial state. A step of a GRU is a relaxation towards its
    candidate, with time constant `-step / log z`; read so, it has a value and an exact integral at every time, and
    the same speed at any step. Biases of `z` spread the time constants evenly in logarithm (chrono
    initialisation). Glucose integrates insulin and meals, hence the integrals. Everything is zero at the start.

    Lags are second-order, and skip to the readout with the first-order ones: the kinks of doses are then in the right
    place within a step, and the recurrence, smooth there, supplies other time constants. Without the skip the input
    is first-order lags (or the doses themselves, without lags), and the recurrence does all the rest; states between
    steps are then coarse.

    The minimal cell drops `U` and `r`: its state is linear in the one before, and the rollout a parallel scan.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014 (the cell); De Carli
    et al., arXiv 2503.19158 (biology-informed recurrent network for glucose); Tallec and Ollivier, "Can recurrent
    neural networks warp time?", ICLR 2018 (chrono initialisation); Feng et al., "Were RNNs all we needed?", arXiv
    2410.01201 (the minimal cell); Jaeger, GMD report 148, 2001 (least squares on the readout of a random recurrence).
    """

    input_weights: Float[Array, "inputs gates"]
    """From inputs to `z`, `n` and, in a GRU, `r`."""
    biases: Float[Array, " gates"]
    """Of the same."""
    recurrent_weights: Float[Array, "units gates"] | None
    """From the hidden state to the same; none in the minimal cell."""
    readout: Float[Array, "basis states"]
    """From the basis to the states."""
    scales: Scales
    """Of inputs and basis; they do not train."""
    units: int = eqx.field(static=True)
    """Hidden units."""
    steps: int = eqx.field(static=True)
    """Steps from the start of the window to its end."""
    step_min: float = eqx.field(static=True)
    """Time over which a gate acts once, min; a step of another length takes the power."""
    lags_min: tuple[float, ...] = eqx.field(static=True)
    """Fixed time constants of the lags, min."""
    skip: bool = eqx.field(static=True)
    """Whether lags and doses given also go to the readout directly."""

    def __init__(self, options: BIRNNOptions, window: Window, ts: Float[Array, " times"], *, key: Key):
        """Random hidden weights and a readout of zero.

        Args:
            options: the shape.
            window: where it lives; sets the scales.
            ts: edges of the collocation cells, min; steps cover the same span.
            key: draws the weights.
        """
        self.units, self.step_min = options.units, options.step_min
        self.steps = max(1, round((ts.shape[0] - 1) * options.cell_min / options.step_min))
        self.lags_min, self.skip = options.lags_min, options.skip
        units, spread = options.units, options.spread
        inputs, kinds = 2 * max(len(self.lags_min), 1), 3 if options.cell == "gru" else 2
        keys = jax.random.split(key, 4)
        sizes = spread * jnp.repeat(jnp.asarray([_GATE_SPREAD, 1.0, _GATE_SPREAD])[:kinds], units)
        self.input_weights = sizes * jax.random.normal(keys[0], (inputs, kinds * units)) / np.sqrt(inputs)
        self.recurrent_weights = None
        if options.cell == "gru":
            self.recurrent_weights = sizes * jax.random.normal(keys[1], (units, kinds * units)) / np.sqrt(units)
        shortest, longest = np.log(options.memory_min)
        even = (jnp.arange(units) + jax.random.uniform(keys[2], (units,))) / units
        memory = jnp.exp(shortest + (longest - shortest) * even)
        # The gate that decays by exp(-step / memory).
        chrono = -jnp.log(jnp.expm1(self.step_min / memory))
        candidate = spread * jax.random.uniform(keys[3], (units,), minval=-1.0, maxval=1.0)
        self.biases = jnp.concatenate([chrono, candidate, jnp.zeros(units)][:kinds])
        basis = 2 * units + 1 + (2 + 4 * len(self.lags_min) if self.skip else 0)
        self.readout = jnp.zeros((basis, 3))
        self.scales = Scales(largest(self._inputs(window, self._edges(window))), jnp.ones(basis))
        self.scales = Scales(self.scales.inputs, largest(self._columns(window, ts)))

    def basis(self, window: Window, ts: Float[Array, " times"]) -> Float[Array, "times basis"]:
        """Hidden units, their integrals, time, lags and doses given at `ts` (min)."""
        return self._columns(window, ts) / jax.lax.stop_gradient(self.scales.basis)

    def _edges(self, window: Window) -> Array:
        phase = jnp.linspace(0.0, 1.0, self.steps + 1, dtype=window.inputs.break_min.dtype)
        return window.start_min + window.span_min * phase

    def _inputs(self, window: Window, edges: Array) -> Float[Array, "steps inputs"]:
        """Exact means over each step, per min: of second lags; without a skip, of first; without lags, of doses."""
        step = window.span_min / self.steps
        given, first, second = _lag_columns(window.inputs, edges, self.lags_min)
        rate = jnp.diff(given, axis=0) / step
        if not self.lags_min:
            return rate
        # The mean of a lag follows from T y' = u - y, whatever the step.
        T = jnp.repeat(jnp.asarray(self.lags_min, edges.dtype), 2)
        once = jnp.tile(rate, len(self.lags_min)) - T * jnp.diff(first, axis=0) / step
        return once - T * jnp.diff(second, axis=0) / step if self.skip else once

    def _columns(self, window: Window, ts: Array) -> Float[Array, "times basis"]:
        elapsed = ts - window.start_min
        step = window.span_min / self.steps
        run = self._rollout(window, step)
        k = jnp.clip((elapsed / step).astype(jnp.int32), 0, self.steps - 1)
        f = (elapsed / step - k)[:, None]
        away = run.hidden[k] - run.candidate[k]
        hidden = run.candidate[k] + jnp.exp(-f * run.rate[k]) * away
        integral = run.integral[k] + step * _area(run.candidate[k], away, run.rate[k], f)
        columns = [hidden, integral, elapsed[:, None]]
        if self.skip:
            columns += _lag_columns(window.inputs, ts, self.lags_min)
        return jnp.concatenate(columns, axis=1)

    def _rollout(self, window: Window, step: Array) -> _Rollout:
        """The network's state at the start of each step, what it relaxes to, and how fast per step."""
        inputs = self._inputs(window, self._edges(window)) / jax.lax.stop_gradient(self.scales.inputs)
        driven = inputs @ self.input_weights + self.biases
        still = jnp.zeros_like(driven[0, : self.units])
        power = step / self.step_min
        if self.recurrent_weights is None:
            rate = power * jax.nn.softplus(-driven[:, : self.units])
            candidate = jnp.tanh(driven[:, self.units :])
            hidden = _relax(jnp.exp(-rate), -jnp.expm1(-rate) * candidate)
        else:
            u = self.units
            to_z, to_n, to_r = jnp.split(self.recurrent_weights, [u, 2 * u], axis=1)
            to_gates = jnp.concatenate([to_z, to_r], axis=1)

            def advance(h: Array, x: Array) -> tuple[Array, tuple[Array, Array, Array]]:
                pull = h @ to_gates
                rate = power * jax.nn.softplus(-(x[:u] + pull[:u]))
                reset = jax.nn.sigmoid(x[2 * u :] + pull[u:])
                candidate = jnp.tanh(x[u : 2 * u] + (reset * h) @ to_n)
                return candidate + jnp.exp(-rate) * (h - candidate), (h, candidate, rate)

            _, (hidden, candidate, rate) = jax.lax.scan(advance, still, driven)
        areas = step * _area(candidate, hidden - candidate, rate, jnp.ones_like(rate))
        integral = jnp.concatenate([still[None], jnp.cumsum(areas, axis=0)[:-1]])
        return _Rollout(hidden, integral, candidate, rate)


def _area(level: Array, away: Array, rate: Array, f: Array) -> Array:
    """Integral over the fraction `f` of a step of a relaxation to `level` that starts `away` from it, per step."""
    return level * f - away * jnp.expm1(-f * rate) / rate


def _relax(decay: Float[Array, "steps units"], push: Float[Array, "steps units"]) -> Float[Array, "steps units"]:
    """States before each step of `h' = decay h + push`, from zero, by a parallel scan."""

    def after(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return first[0] * second[0], first[1] * second[0] + second[1]

    _, ends = jax.lax.associative_scan(after, (decay, push))
    return jnp.concatenate([jnp.zeros_like(ends[:1]), ends[:-1]])


@functools.partial(jax.jit, static_argnums=2)
def _lag_columns(inputs: Inputs, ts: Array, lags_min: tuple[float, ...]) -> list[Array]:
    """Doses given until `ts` (U and mg), and their first and second lags, exact; insulin and meals in turn."""
    insulin, carbs = inputs.delivered(ts)
    given = jnp.stack([insulin, 1000.0 * carbs], axis=1)
    none, index = jnp.zeros((), ts.dtype), inputs.index(ts)

    def through(T: Array) -> tuple[Array, Array]:
        both = jnp.stack([inputs.insulin_U_min, inputs.carbs_mg_min])
        lags = lambda rate: cascade(Lags(T, rate, none, none), inputs.break_min, ts, index)
        first, second, _ = jax.vmap(lags)(both)
        return first.T, second.T

    if not lags_min:
        return [given, given[:, :0], given[:, :0]]
    first, second = jax.vmap(through, out_axes=1)(jnp.asarray(lags_min, ts.dtype))
    return [given, first.reshape(len(ts), -1), second.reshape(len(ts), -1)]
