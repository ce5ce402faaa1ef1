"""What a twin misses: of the readings, and of the equations over collocation cells."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .data import Patient, Series, stacked_shape
from .physics import Cells, Trajectory, cut
from .twin import Twin


class Terms(eqx.Module):
    """Residuals by name, or their weights, or their mean squares: one shape for all three."""

    data: Float[Array, "..."]
    """Glucose less the readings, mg/dL."""
    equations: Float[Array, "states ..."]
    """Of each learnt state, times its effect, mg/dL/min."""


class Drive(eqx.Module):
    """What the doses give each collocation cell, whatever the parameters."""

    cells: Cells
    """Cells of the window, from its start to its end, and their doses."""
    between_min: Float[Array, " between"]
    """Times of the fit readings that lie on no edge, min; the rest repeat the last."""
    place: Int[Array, " rows"]
    """Where a row's reading is among edges and `between_min`; anywhere for rows that are not fitted."""

    @property
    def edges_min(self) -> Float[Array, "*batch edges"]:
        """Edges of the cells, min."""
        return self.cells.edges_min

    @property
    def points_min(self) -> Float[Array, " points"]:
        """Where training looks at a network: edges, then the readings between them, min."""
        return jnp.concatenate([self.edges_min, self.between_min])

    def parts(self, at_points: Float[Array, "points *columns"]) -> tuple[Array, Array]:
        """What is at `points_min`, once at the edges and once at the rows."""
        return at_points[: self.edges_min.shape[0]], at_points[self.place]


class Places(NamedTuple):
    """Where the readings of a cohort are among the edges of its cells; see `Drive`."""

    between_min: Float[Array, "*batch between"]
    place: Int[Array, "*batch rows"]


_ON_EDGE_MIN = 1e-3


def places(data: Series, cells: int, *, whole: Sequence[Patient] = ()) -> Places:
    """Find the readings that lie on edges of cells, where a network is evaluated anyway.

    On the host, since how many do not is a shape, which parts of a `whole` cohort share. With readings and cells both
    every five minutes all of them do, and a step of training costs half.
    """
    time, fit = np.asarray(data.time_min, float), np.asarray(data.fit)
    edge, off = _nearest_edge(time, cells)
    off &= fit
    most = [off.sum(axis=1).max(), *(_off_edges(patient, cells) for patient in whole)]
    number = -(-int(max(most)) // 16) * 16
    first = np.argsort(~off, axis=1, kind="stable")[:, :number]  # readings off the edges, then others
    order = np.cumsum(off, axis=1) - 1
    between = np.take_along_axis(time, first, axis=1)
    return Places(jax.device_put(between), jax.device_put(np.where(off, cells + 1 + order, edge).astype(np.int32)))


def _nearest_edge(time_min: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Number of the nearest edge, and whether it is elsewhere."""
    start, width = time_min[..., :1], (time_min[..., -1:] - time_min[..., :1]) / cells
    edge = np.rint((time_min - start) / width).astype(int)
    return edge, np.abs(start + edge * width - time_min) > _ON_EDGE_MIN


def _off_edges(patient: Patient, cells: int) -> int:
    return int(np.sum(_nearest_edge(patient.time_min, cells)[1] & patient.masks.fit))


def largest(patients: Sequence[Patient], cells: Callable[[float], int]) -> list[Patient]:
    """The first patient, and those whose arrays and window are the largest: all that parts of a cohort have to know."""
    span = lambda patient: float(patient.time_min[-1] - patient.time_min[0])
    longest = max(patients, key=span)
    number, shapes = cells(span(longest)), {id(patient): stacked_shape([patient]) for patient in patients}
    sizes = (
        lambda patient: shapes[id(patient)][0],
        lambda patient: shapes[id(patient)][1],
        lambda patient: _off_edges(patient, number),
    )
    return [patients[0], longest, *(max(patients, key=size) for size in sizes)]


def drive(data: Series, cells: int, where: Places | None = None, parts: int = 1) -> Drive:
    """Cut the window of one patient into `cells` equal cells and give each the doses that fall into it, whole.

    Readings count as lying between the edges where `places` is not given. Each cell has `parts`, see
    `AbstractPhysiology.parts`.
    """
    if where is None:
        where = Places(data.time_min, cells + 1 + jnp.arange(data.time_min.shape[0], dtype=jnp.int32))
    return Drive(cut(data.inputs, data.end_min, cells, parts), where.between_min, where.place)


def equation_residuals(states: Float[Array, "edges states"], twin: Twin, d: Drive) -> Float[Array, "states cells"]:
    """How far learnt states at the edges are from the equations' step over each cell, mg/dL/min.

    See `AbstractPhysiology.cell_residuals`.
    """
    return cell_residuals(states[:-1], states[1:], twin, d)


@jax.jit
def cell_residuals(
    x0: Float[Array, "cells states"], x1: Float[Array, "cells states"], twin: Twin, d: Drive
) -> Float[Array, "states cells"]:
    """`equation_residuals` of states at the starts of cells and at their ends."""
    body = twin.physiology.model()
    effects = body.effects(twin.scales.glucose_mg_dL, twin.scales.states)
    return effects[:, None] * body.cell_residuals(x0, x1, d.cells, twin.physiology.initial_state(d.cells.inputs))


def reading_residuals(
    glucose: Float[Array, " rows"], readings: Float[Array, " rows"], where: Bool[Array, " rows"]
) -> Float[Array, " rows"]:
    """Glucose less the readings, mg/dL, zero outside the mask."""
    return jnp.where(where, glucose - readings, 0.0)


def losses(twin: Twin, data: Series, d: Drive) -> Terms:
    """Mean squares: of the misfit to the `fit` readings, (mg/dL)^2, and of each equation, (mg/dL/min)^2."""
    states, at_rows = d.parts(twin.states(d.points_min))
    miss = reading_residuals(twin.glucose(at_rows), data.glucose_mg_dL, data.fit)
    squares = jnp.mean(equation_residuals(states, twin, d) ** 2, axis=1)
    return Terms(jnp.sum(miss**2) / jnp.maximum(jnp.sum(data.fit), 1), squares)


def pointwise_residuals(twin: Twin, data: Series, exact: Trajectory) -> Float[Array, "rows states"]:
    """`x' - rates` of each learnt state at the rows of a record, in its unit per minute.

    The states that are not learnt are the `exact` solution's.
    """
    states, slopes = jax.jvp(twin.states, (data.time_min,), (jnp.ones_like(data.time_min),))
    body = twin.physiology.model()
    y = body.with_learnt(exact.state, states)
    return slopes - body.learnt_states(jax.vmap(body.rates)(y, *data.inputs.at(data.time_min)))
