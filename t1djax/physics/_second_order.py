"""The model of Magdelaine et al. (2015) in the five states of the paper."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from ._magdelaine import Magdelaine, State, rates


class SecondOrderState(eqx.Module):
    """The five states as the paper writes them."""

    G: Float[Array, "*shape"]
    """Glucose, mg/dL."""
    I: Float[Array, "*shape"]
    """Plasma insulin, U/dL."""
    dI: Float[Array, "*shape"]
    """Its rate, U/dL/min."""
    D: Float[Array, "*shape"]
    """Appearance of glucose from meals, mg/dL/min."""
    dD: Float[Array, "*shape"]
    """Its rate, mg/dL/min^2."""


def to_second_order(p: Magdelaine, y: State) -> SecondOrderState:
    """The paper's states from the cascaded lags.

    Args:
        p: parameters of one patient; `Tu` and `Tr` count.
        y: the cascaded lags.

    Returns:
        Glucose, insulin and digestion, the latter two with their time derivatives.
    """
    return SecondOrderState(G=y.G, I=y.I, dI=(y.S - y.I) / p.Tu, D=y.D, dD=(y.E - y.D) / p.Tr)


def from_second_order(p: Magdelaine, x: SecondOrderState) -> State:
    """The cascaded lags from the paper's states.

    Args:
        p: parameters of one patient; `Tu` and `Tr` count.
        x: glucose, insulin and digestion, the latter two with their time derivatives.

    Returns:
        The same state as two lags in cascade each.
    """
    return State(G=x.G, S=x.I + p.Tu * x.dI, I=x.I, E=x.D + p.Tr * x.dD, D=x.D)


def second_order_rates(p: Magdelaine, x: SecondOrderState, u: Any, r: Any) -> SecondOrderState:
    """The paper's five-state form: `rates` seen through the change of variables.

    Args:
        p: parameters of one patient.
        x: the paper's states.
        u: insulin delivery, U/min.
        r: carbohydrate intake, mg/min.

    Returns:
        The time derivative of each state, in its unit per minute.

    Source: Magdelaine et al., IEEE Trans. Biomed. Eng. 62(6), 2015.
    """
    f = rates(p, from_second_order(p, x), u, r)
    return SecondOrderState(G=f.G, I=f.I, dI=(f.S - f.I) / p.Tu, D=f.D, dD=(f.E - f.D) / p.Tr)
