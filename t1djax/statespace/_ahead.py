"""What the model expects of later readings, from many origins at once."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..data import Patient
from ..physics import Doses
from ..records import FutureInputs
from ._filter import Filtered
from ._hyper import StateSpaceOptions
from ._model import SIGNS, Lags, Person, effect_rows, layout, matrices
from ._steps import Steps, unpaired


class Ahead(NamedTuple):
    """Expected readings."""

    mean: Float[Array, "origins horizons"]
    """Less the level, mg/dL."""
    var: Float[Array, "origins horizons"]
    """Variance of the reading, sensor noise included."""


class Changes(NamedTuple):
    """Changes of the inputs after the origins that a forecast may know, one row per change, origin and horizon.

    Padded with changes of size zero, so that similar records share one program.
    """

    pair: Int[Array, " changes"]
    """Origin times the number of horizons, plus horizon."""
    channel: Int[Array, " changes"]
    """0 insulin (U/min), 1 carbohydrate (g/min), 2 boluses without a meal (U/min)."""
    size: Float[Array, " changes"]
    """By how much the rate changes."""
    span: Int[Array, " changes"]
    """Which of `span_min` lies between the change and the horizon."""
    span_min: Float[Array, " spans"]
    """The distinct times between a change and a horizon, min."""


def ahead(
    h: Mapping[str, Array],
    person: Person,
    options: StateSpaceOptions,
    filtered: Filtered,
    on_board: Lags,
    level: Float[Array, "origins 3"],
    horizon_min: Float[Array, " horizons"],
    changes: Changes | None = None,
) -> Ahead:
    """Mean and variance of the reading at each horizon after each step.

    The reading is a known row times the state at the origin, plus noise that the way adds: no walk in between is
    needed, and all origins share the matrices of a horizon.

    Args:
        h: constants.
        person: level and priors.
        options: form of the model.
        filtered: states at the origins.
        on_board: lags at the origins.
        level: rates of insulin (U/min), carbohydrate (g/min) and hidden meals (U/min) that go on from the origin.
        horizon_min: how far ahead, min.
        changes: later changes of those rates; none if not given.
    """
    where = layout(options)
    M = matrices(h, options, horizon_min)
    rows = effect_rows(M.response, on_board.second[:, None], on_board.first[:, None], level[:, None])
    rows = rows[:, :, where.read]  # origins, horizons, 3
    if changes is not None:
        unit = matrices(h, options, changes.span_min).response[..., where.read, 2]
        add = unit[changes.span, changes.channel] * changes.size * jnp.asarray(SIGNS)[changes.channel]
        flat = jnp.zeros((rows.shape[0] * rows.shape[1], 3), rows.dtype).at[changes.pair, changes.channel].add(add)
        rows = rows + flat.reshape(rows.shape)
    effects = len(where.names) - where.core
    core = jnp.broadcast_to(M.transition[:, where.read], (*rows.shape[:2], where.core))
    row = jnp.concatenate([core, rows[..., :effects]], axis=-1)
    mean = jnp.sum(row * filtered.mean[:, None], axis=-1)
    spread = jnp.sum(row * jnp.einsum("oij,ohj->ohi", filtered.cov, row), axis=-1)
    var = spread + M.noise[:, where.read, where.read] + h["noise"] ** 2
    return Ahead(mean, var)


def level_at(steps: Steps, future: FutureInputs) -> Float[Array, "steps 3"]:
    """Rates that a forecast lets go on from each step: the basal alone, or all that is running."""
    if future == "none":
        zero = jnp.zeros_like(steps.basal_U_min)
        return jnp.stack([steps.basal_U_min, zero, zero], axis=-1)
    return jnp.stack([steps.insulin_U_min, steps.carbs_g_min, steps.unpaired_U_min], axis=-1)


def changes_after(
    patient: Patient,
    origin_min: Float[np.ndarray, " origins"],
    horizon_min: Float[np.ndarray, " horizons"],
    *,
    future: FutureInputs,
    announced_min: float,
) -> Changes | None:
    """The changes of the inputs between each origin and each horizon that are known at the origin; None for none."""
    edges = _edges(patient.doses)
    latest = float(np.max(horizon_min))
    found = []
    for origin, t in enumerate(origin_min.tolist() if future != "none" else []):
        i, j = np.searchsorted(edges.time_min, [t, t + latest], side="right")
        known = np.arange(i, j)
        if future == "announced":
            known = known[edges.begun_min[known] <= t + announced_min]
        for n, horizon in enumerate(horizon_min.tolist()):
            some = known[edges.time_min[known] < t + horizon]
            where = np.full(len(some), origin * len(horizon_min) + n)
            found.append((where, edges.channel[some], edges.size[some], t + horizon - edges.time_min[some]))
    if not found:
        return None
    pair, channel, size, before = (np.concatenate(column) for column in zip(*found, strict=True))
    spans, at = np.unique(np.round(before, 6), return_inverse=True)
    most, distinct = (64 << max(0, int(np.ceil(np.log2(max(n, 1) / 64)))) for n in (len(pair), len(spans)))
    pad = lambda x, n: jnp.asarray(np.pad(x, (0, n - len(x))))
    return Changes(pad(pair, most), pad(channel, most), pad(size, most), pad(at, most), pad(spans, distinct))


class _Edges(NamedTuple):
    time_min: np.ndarray
    channel: np.ndarray
    size: np.ndarray
    begun_min: np.ndarray  # start of the dose; of the scheduled basal, long ago


def _edges(doses: Doses) -> _Edges:
    """Every change of a rate, in order of time."""
    bolus = doses.bolus_U / doses.bolus_duration_min
    alone = np.where(unpaired(doses), bolus, 0.0)
    carbs = doses.carbs_g / doses.meal_duration_min
    since, rate = doses.background
    columns = [(since[1:], 0, np.diff(rate) / 60, np.full(len(rate) - 1, -np.inf))]
    for channel, start, length, rate in (
        (0, doses.bolus_time_min, doses.bolus_duration_min, bolus),
        (1, doses.meal_time_min, doses.meal_duration_min, carbs),
        (2, doses.bolus_time_min, doses.bolus_duration_min, alone),
    ):
        columns += [(start, channel, rate, start), (start + length, channel, -rate, start)]
    time, size, begun = (np.concatenate([c[i] for c in columns]) for i in (0, 2, 3))
    channel = np.concatenate([np.full(len(c[0]), c[1]) for c in columns])
    order = np.argsort(time, kind="stable")
    return _Edges(time[order], channel[order], size[order], begun[order])
