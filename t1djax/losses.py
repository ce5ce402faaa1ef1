"""What a twin misses: of the readings, and of the equations over collocation cells."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .data import Series
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


def drive(data: Series, cells: int) -> Drive:
    """Cut the window into `cells` equal cells and give each the doses that fall into it, whole."""
    edges = data.start_min + (data.end_min - data.start_min) * jnp.linspace(0.0, 1.0, cells + 1)
    width = jnp.diff(edges)
    insulin, carbs = data.inputs.delivered(edges)
    return Drive(edges, jnp.diff(insulin) / width, 1000.0 * jnp.diff(carbs) / width, data.inputs)


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
    insulin, digestion = exact_lags(p, d.inputs, d.edges_min, body.initial_state())
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
    terms = equation_residuals(twin.states(d.edges_min), twin.physiology, d)
    miss = reading_residuals(twin.states(data.time_min)[:, 0], data.glucose_mg_dL, data.fit)
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
    insulin, digestion = exact_lags(p, twin.window.inputs, ts, body.initial_state())
    zero = jnp.zeros_like(ts)
    y = State(G=states[:, 0], S=insulin[0], I=states[:, 1], E=digestion[0], D=states[:, 2])
    dy = State(G=slopes[:, 0], S=zero, I=slopes[:, 1], E=zero, D=slopes[:, 2])
    miss = residual(p, y, dy, zero, zero)
    return miss.G, miss.I, miss.D
