"""What a twin misses: of the readings, and of the equations over collocation cells."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .data import Patient, Series, stacked_shape
from .physics import Inputs, State, exact_lags, residual
from .twin import Physiology, Twin


class Terms(eqx.Module):
    """Residuals by name, or their weights, or their mean squares: one shape for all three."""

    data: Float[Array, "..."]
    """Glucose less the readings, mg/dL."""
    G: Float[Array, "..."]
    """Residual of the glucose equation, mg/dL/min."""
    I: Float[Array, "..."]
    """Residual of `Tu I' + I = S`, times ksi, mg/dL/min."""
    D: Float[Array, "..."]
    """Residual of `Tr D' + D = E`, mg/dL/min."""


class Drive(eqx.Module):
    """What the doses give each collocation cell, whatever the parameters."""

    edges_min: Float[Array, " edges"]
    """Edges of the cells, min, evenly from the start of the window to its end."""
    insulin_U_min: Float[Array, " cells"]
    """Mean insulin rate of a cell, U/min."""
    carbs_mg_min: Float[Array, " cells"]
    """Mean carbohydrate rate of a cell, mg/min."""
    inputs: Inputs
    """The rates themselves."""
    between_min: Float[Array, " between"]
    """Times of the fit readings that lie on no edge, min; the rest repeat the last."""
    place: Int[Array, " rows"]
    """Where a row's reading is among edges and `between_min`; anywhere for rows that are not fitted."""

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

    On the host, since how many do not is a shape. With readings and cells both every five minutes all of them do, and a
    step of training costs half.

    Args:
        data: a cohort, stacked.
        cells: collocation cells of a window.
        whole: the cohort of which this is a part: parts then share their shape.
    """
    time, fit = np.asarray(data.time_min, float), np.asarray(data.fit)
    edge, off = _nearest_edge(time, cells)
    off &= fit
    most = [off.sum(axis=1).max(), *(_off_edges(patient, cells) for patient in whole)]
    number = -(-int(max(most)) // 16) * 16
    first = np.argsort(~off, axis=1, kind="stable")[:, :number]  # readings off the edges, then others
    order = np.cumsum(off, axis=1) - 1
    between = np.take_along_axis(time, first, axis=1)
    return Places(jnp.asarray(between), jnp.asarray(np.where(off, cells + 1 + order, edge).astype(np.int32)))


def _nearest_edge(time_min: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Number of the nearest edge, and whether it is elsewhere."""
    start, width = time_min[..., :1], (time_min[..., -1:] - time_min[..., :1]) / cells
    edge = np.rint((time_min - start) / width).astype(int)
    return edge, np.abs(start + edge * width - time_min) > _ON_EDGE_MIN


def _off_edges(patient: Patient, cells: int) -> int:
    return int(np.sum(_nearest_edge(patient.time_min, cells)[1] & patient.masks.fit))


def largest(patients: Sequence[Patient], cells: Callable[[float], int]) -> list[Patient]:
    """The first patient, and those whose arrays and window are the largest: all that parts of a cohort have to know.

    Args:
        patients: the cohort.
        cells: how many of them a window of so many minutes has.
    """
    span = lambda patient: float(patient.time_min[-1] - patient.time_min[0])
    longest = max(patients, key=span)
    number, shapes = cells(span(longest)), {id(patient): stacked_shape([patient]) for patient in patients}
    sizes = (
        lambda patient: shapes[id(patient)][0],
        lambda patient: shapes[id(patient)][1],
        lambda patient: shapes[id(patient)][2],
        lambda patient: _off_edges(patient, number),
    )
    return [patients[0], longest, *(max(patients, key=size) for size in sizes)]


def drive(data: Series, cells: int, where: Places | None = None) -> Drive:
    """Cut the window into `cells` equal cells and give each the doses that fall into it, whole.

    Args:
        data: one patient.
        cells: how many.
        where: the readings among the edges, see `places`; if not given, all count as lying between them.
    """
    edges = data.start_min + (data.end_min - data.start_min) * jnp.linspace(0.0, 1.0, cells + 1)
    width = jnp.diff(edges)
    insulin, carbs = data.inputs.delivered(edges)
    if where is None:
        where = Places(data.time_min, cells + 1 + jnp.arange(data.time_min.shape[0], dtype=jnp.int32))
    rates = (jnp.diff(insulin) / width, 1000.0 * jnp.diff(carbs) / width)
    return Drive(edges, *rates, data.inputs, where.between_min, where.place)


def equation_residuals(states: Float[Array, "edges 3"], body: Physiology, d: Drive) -> Terms:
    """How far the states are from the equations' exact step over each cell, in mg/dL/min.

    The lag equations are stepped exactly, whatever the cell's length. With `e = I - Iex` the distance from the exact
    solution under the current parameters, and `r` a disturbance held over the cell, `Tu e' + e = r` gives

    ```
    r = (e1 - a e0) / (1 - a),   a = exp(-h/Tu)
    ```

    and likewise for `D`. The balance of glucose is taken over the whole cell, `(G1 - G0)/h + ksi mean I - c - mean D`,
    with means that are exact where the lags hold, `mean I = mean S - Tu (I1 - I0)/h`, so that no error adds up over
    the window. Nothing is lost between collocation points, and the kink of a bolus inside a cell costs nothing.

    Args:
        states: `(G, I, D)` at the edges.
        body: current parameters.
        d: see `drive`.
    """
    p = body.model()
    insulin, digestion = exact_lags(p, d.inputs, d.edges_min, body.initial_state(d.inputs))
    width = jnp.diff(d.edges_min)
    slope = lambda x: jnp.diff(x) / width
    G, I, D = states.T
    zero = jnp.zeros_like(width)
    change = State(G=slope(G), S=zero, I=slope(I), E=zero, D=slope(D))
    S = p.ku_Vi * d.insulin_U_min - p.Tu * slope(insulin[0])
    E = p.kr_Vb * d.carbs_mg_min - p.Tr * slope(digestion[0])
    level = State(G=zero, S=S, I=S - p.Tu * change.I, E=E, D=E - p.Tr * change.D)
    balance = residual(p, level, change, zero, zero)

    def disturbance(x: Array, exact: Array, T: Array) -> Array:
        e = x - exact
        return (e[1:] - jnp.exp(-width / T) * e[:-1]) / -jnp.expm1(-width / T)

    # Times the current ksi, in mg/dL/min like the balance.
    miss_I, miss_D = disturbance(I, insulin[1], p.Tu), disturbance(D, digestion[1], p.Tr)
    return Terms(data=jnp.zeros(()), G=balance.G, I=p.ksi * miss_I, D=miss_D)


def reading_residuals(
    glucose: Float[Array, " rows"], readings: Float[Array, " rows"], where: Bool[Array, " rows"]
) -> Float[Array, " rows"]:
    """Glucose less the readings, mg/dL, zero outside the mask."""
    return jnp.where(where, glucose - readings, 0.0)


def losses(twin: Twin, data: Series, d: Drive) -> Terms:
    """Mean squares: of the misfit to the `fit` readings, (mg/dL)^2, and of each equation, (mg/dL/min)^2."""
    states, at_rows = d.parts(twin.states(d.points_min))
    terms = equation_residuals(states, twin.physiology, d)
    miss = reading_residuals(at_rows[:, 0], data.glucose_mg_dL, data.fit)
    squares = jax.tree.map(lambda x: jnp.mean(x**2), terms)
    return eqx.tree_at(lambda t: t.data, squares, jnp.sum(miss**2) / jnp.maximum(jnp.sum(data.fit), 1))


def pointwise_residuals(twin: Twin, ts: Float[Array, " times"]) -> tuple[Array, Array, Array]:
    """What the states miss of the equations at single times, by forward-mode derivatives in time.

    Returns:
        Residuals of `G'` (mg/dL/min), `I' = (S - I)/Tu` (U/dL/min) and `D' = (E - D)/Tr` (mg/dL/min^2).
    """
    states, slopes = jax.jvp(twin.states, (ts,), (jnp.ones_like(ts),))
    body = twin.physiology
    p = body.model()
    inputs = twin.window.inputs
    insulin, digestion = exact_lags(p, inputs, ts, body.initial_state(inputs))
    zero = jnp.zeros_like(ts)
    y = State(G=states[:, 0], S=insulin[0], I=states[:, 1], E=digestion[0], D=states[:, 2])
    dy = State(G=slopes[:, 0], S=zero, I=slopes[:, 1], E=zero, D=slopes[:, 2])
    miss = residual(p, y, dy, zero, zero)
    return miss.G, miss.I, miss.D
