"""A basal schedule rebuilt from scheduled rates, temporary rates and suspensions."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ._raw import RawBasal


def schedule(
    entries: Sequence[RawBasal], minutes: Float[np.ndarray, " entries"]
) -> tuple[Float[np.ndarray, " basals"], Float[np.ndarray, " basals"], list[str]]:
    """When the rate changes, and to what, in the unit of the entries.

    A scheduled rate holds until the next. A temporary rate covers it for its duration, or until the next temporary
    rate; a suspension covers both. One without a duration holds until the next entry of any kind.

    Args:
        entries: rates as parsed, in any order.
        minutes: when each begins, min.

    Returns:
        Times, min, increasing, rates, and what is odd.
    """
    order = np.argsort(minutes, kind="stable")
    rows = [(float(minutes[i]), entries[i]) for i in order]
    base = [(t, e.rate) for t, e in rows if e.kind == "scheduled"]
    odd: list[str] = []
    if not base:
        odd.append("no scheduled basal rate is stated; between temporary rates it is taken as zero")
        base = [(rows[0][0], 0.0)]
    base_time, base_rate, clash = _once(base)
    if clash:
        odd.append(f"{clash} basal rates contradict another at the same time; the last in the file is kept")
    covers = [
        _cover([(t, e) for t, e in rows if e.kind == kind], np.unique(minutes)) for kind in ("temporary", "suspend")
    ]
    edges = [base_time, *(np.concatenate([begin, end[np.isfinite(end)]]) for begin, end, _ in covers)]
    time = np.unique(np.concatenate(edges))
    rate = base_rate[np.clip(np.searchsorted(base_time, time, side="right") - 1, 0, None)]
    for begin, end, value in covers:
        if len(begin):
            last = np.searchsorted(begin, time, side="right") - 1
            on = (last >= 0) & (time < end[last])
            rate = np.where(on, value[last], rate)
    change = np.concatenate([[True], np.diff(rate) != 0])
    return time[change], rate[change], odd


def _once(base: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray, int]:
    """Scheduled rates, one at each time: the last stated; and how many contradict another."""
    rates: dict[float, float] = {}
    clash = 0
    for t, rate in base:
        clash += t in rates and rates[t] != rate
        rates[t] = rate
    return np.array(list(rates)), np.array(list(rates.values())), clash


def _cover(rows: list[tuple[float, RawBasal]], every: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Begins, ends and rates of what covers the schedule; each ends where the next begins, if not before."""
    last = dict(rows)
    begin = np.array(list(last), dtype=np.float64)
    following = np.concatenate([begin[1:], [np.inf]])
    next_entry = np.concatenate([every, [np.inf]])[np.searchsorted(every, begin, side="right")]
    stated = [entry.duration_min for entry in last.values()]
    end = np.array([n if d is None else t + d for t, d, n in zip(begin, stated, next_entry, strict=True)])
    rate = np.array([0.0 if e.kind == "suspend" else e.rate for e in last.values()])
    return begin, np.minimum(end, following).astype(np.float64), rate


def mean_rate(
    time: Float[np.ndarray, " basals"], rate: Float[np.ndarray, " basals"], span: tuple[float, float]
) -> float:
    """Mean over a span of a rate that holds from each time to the next."""
    edges = np.unique(np.concatenate([span, time[(time > span[0]) & (time < span[1])]]))
    now = np.clip(np.searchsorted(time, edges[:-1], side="right") - 1, 0, None)
    return float(np.sum(rate[now] * np.diff(edges)) / (edges[-1] - edges[0]))
