"""Basal rates in time: each holds until the next."""

import numpy as np
from jaxtyping import Float

from .._words import counted
from ._remarks import Doubt, Step

Rates = Float[np.ndarray, " basals"]


def changes(minutes: Rates, rates: Rates) -> Step[tuple[Rates, Rates]]:
    """When the rate changes, min, and to what; stated in any order, and of several at one time the last counts."""
    order = np.argsort(minutes, kind="stable")
    time, rate = minutes[order], rates[order]
    last = np.append(np.diff(time) > 0, True)
    clash = int(np.sum(~last[:-1] & (np.diff(rate) != 0)))
    if clash:
        yield Doubt(f"basal rates contradict each other at {counted(clash, 'time')}; the last in the file is kept")
    time, rate = time[last], rate[last]
    change = np.concatenate([[True], np.diff(rate) != 0])
    return time[change], rate[change]


def mean_rate(time: Rates, rate: Rates, span: tuple[float, float]) -> float:
    """Mean over a span of a rate that holds from each time to the next, and before the first."""
    edges = np.unique(np.concatenate([span, time[(time > span[0]) & (time < span[1])]]))
    now = np.clip(np.searchsorted(time, edges[:-1], side="right") - 1, 0, None)
    return float(np.sum(rate[now] * np.diff(edges)) / (edges[-1] - edges[0]))
