"""Readings that come twice, or from two sensors in turn: one series, with what was left out in numbers."""

import numpy as np
from jaxtyping import Bool, Float

from .._arguments import argument
from .._words import counted
from ._remarks import Doubt, Facts, Step, flaw

COPY_MIN = 0.75
"""No sensor gives two readings within this, min."""
_NEAR = 0.55
"""Of the usual interval: two readings nearer than this are one, or of two sensors."""
_SLOW_MIN = 4.0
"""Sensors that give a reading each so many minutes, or fewer, show by their interval what is too near."""
_SAME_MG_DL, _SAME_SHARE = 2.0, 0.02
"""Copies may be rounded otherwise, to whole mg/dL or tenths of a mmol/L."""
_FEW, _FEW_SHARE = 3, 0.01
"""Up to so many readings too near to others are strays, as when one sensor follows upon another."""
_ROUGH, _LEAST_MG_DL, _FEWEST, _OUTLIER = 1.25, 3.0, 60, 60.0


def once(
    time_min: Float[np.ndarray, " readings"], glucose: Float[np.ndarray, " readings"], names: np.ndarray,
    chosen: str | None, file: str,
) -> Step[Bool[np.ndarray, " readings"]]:  # fmt: skip
    """Which readings are kept, so that each is there once, of one sensor; `names` are empty where the file has none."""
    if chosen is not None and chosen in names:
        own = names == chosen
        keep = own.copy()
        keep[own] = yield from once(time_min[own], glucose[own], np.full(int(own.sum()), ""), None, file)
        yield Facts(other_sensors=int(np.sum(~own)))
        return keep
    keep = _first_of(time_min, glucose)
    copies = int(np.sum(~keep))
    yield Facts(copies=copies, other_sensors=0)
    if copies:
        what = counted(copies, "reading")
        yield Doubt(f"{what} repeat one nearby, as when two programs upload one sensor, and are left out")
    track = _tracks(time_min[keep], glucose[keep])
    if track is None:
        if chosen is not None:
            there = ", ".join(dict.fromkeys(name for name in names.tolist() if name)) or "one only"
            remedy = f"leave {argument('device')} out; the file has {there}"
            yield flaw(file, f"there is no sensor {chosen!r}", remedy, column="glucose")
        return keep
    second = np.full(len(time_min), False)
    second[keep] = track
    one = yield from _of_two(time_min, glucose, names, keep, second, chosen, file)
    yield Facts(other_sensors=int(np.sum(keep & ~one)))
    return one


def _of_two(
    time_min: np.ndarray, glucose: np.ndarray, names: np.ndarray, keep: np.ndarray, second: np.ndarray,
    chosen: str | None, file: str,
) -> Step[np.ndarray]:  # fmt: skip
    """The readings of one of two sensors: the one asked for, or by name the one with more of them."""
    by_turn = {"1 of 2": keep & ~second, "2 of 2": keep & second}
    if chosen in by_turn:
        return by_turn[chosen]
    both = [name for name in dict.fromkeys(names[keep].tolist()) if name]
    count = {name: int(np.sum(keep & (names == name))) for name in both}
    if len(both) < 2 or np.mean(names[second] != _before(names, keep, second)) <= 0.9:
        halves = [f"{name} has {int(those.sum())}, median {np.median(glucose[those]):.0f} mg/dL"
                  for name, those in by_turn.items()]  # fmt: skip
        what = f"readings of two sensors stand in turn: {'; '.join(halves)}"
        yield flaw(file, what, f"choose with {argument('device', '1 of 2', '2 of 2')}", column="glucose")
        return keep
    ranks = sorted(both, key=lambda name: -count[name])
    own, rest = names == ranks[0], keep & (names != ranks[0])
    at = time_min[keep & own]
    usual = float(np.median(np.diff(at))) if len(at) > 1 else np.inf
    right = np.searchsorted(at, time_min)
    apart = np.minimum(np.append(at, np.inf)[right] - time_min, time_min - np.insert(at, 0, -np.inf)[right])
    beside = rest & (apart < 1.25 * usual)
    yield Doubt(
        f"readings of {len(both)} sensors or programs stand side by side ("
        f"{', '.join(f'{name}: {count[name]}' for name in ranks)}): those of {ranks[0]} are read, and "
        f"{int(beside.sum())} of others beside them are left out; choose with {argument('device', ranks[1])}"
    )
    return keep & ~beside


def _before(names: np.ndarray, keep: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of each reading that is too near, the name of the one before it in the first series."""
    at = np.flatnonzero(keep & ~second)
    return names[at[np.maximum(np.searchsorted(at, np.flatnonzero(second)) - 1, 0)]]


def _interval(time_min: Float[np.ndarray, " readings"]) -> float:
    """The sensor's own interval, min: of every second reading where readings come in pairs."""
    step = np.diff(time_min)
    two = time_min[2:] - time_min[:-2]
    usual, pairs = float(np.median(step)), float(np.median(two))
    uneven = np.mean(np.minimum(step[1:], step[:-1]) < 0.45 * two) > 0.5
    return pairs if uneven else usual


def _first_of(time_min: np.ndarray, glucose: np.ndarray) -> Bool[np.ndarray, " readings"]:
    """Without copies: readings too near to the last kept one for any sensor, or for this one and alike."""
    keep = np.full(len(time_min), True)
    if len(time_min) < 3:
        return keep
    interval = _interval(time_min)
    own = min(COPY_MIN, 0.75 * interval)  # rows of a simulation may be dense
    near = _NEAR * interval if interval >= _SLOW_MIN else own
    suspects = np.flatnonzero(np.diff(time_min) < near) + 1
    for i in suspects.tolist():
        last = i - 1
        while not keep[last]:
            last -= 1
        step = time_min[i] - time_min[last]
        alike = abs(glucose[i] - glucose[last]) <= max(_SAME_MG_DL, _SAME_SHARE * glucose[i])
        keep[i] = not (step < own or (step < near and alike))
    return keep


def _tracks(time_min: np.ndarray, glucose: np.ndarray) -> Bool[np.ndarray, " readings"] | None:
    """Which readings are a second sensor's; None where there is but one."""
    if len(time_min) < 3:
        return None
    interval = _interval(time_min)
    if interval < _SLOW_MIN or not (np.diff(time_min) < _NEAR * interval).any():
        return _by_turn(time_min, glucose)
    second = np.full(len(time_min), False)
    last = time_min[0]
    for i, t in enumerate(time_min[1:].tolist(), 1):
        second[i] = t - last < _NEAR * interval
        last = last if second[i] else t
    # A few are strays, as when one sensor follows upon another.
    return second if second.sum() > max(_FEW, _FEW_SHARE * len(second)) else None


def _by_turn(time_min: np.ndarray, glucose: np.ndarray) -> Bool[np.ndarray, " readings"] | None:
    """Every second or third row of another sensor: neighbours then differ more than rows farther apart."""
    if len(time_min) < _FEWEST:
        return None
    slot = np.round((time_min - time_min[0]) / float(np.median(np.diff(time_min)))).astype(np.int64)
    beside = lambda k: np.minimum(np.abs(glucose[k:] - glucose[:-k])[slot[k:] - slot[:-k] == k], _OUTLIER)
    near = float(np.mean(beside(1))) if len(beside(1)) else 0.0
    for turn in (2, 3):
        if near < _LEAST_MG_DL or len(beside(turn)) < _FEWEST or near < _ROUGH * float(np.mean(beside(turn))):
            continue
        odd = [_roughness(slot[slot % turn != phase], glucose[slot % turn != phase]) for phase in range(turn)]
        return slot % turn == (int(np.argmin(odd)) if turn > 2 else slot[0] % 2 ^ 1)
    return None


def _roughness(slot: np.ndarray, glucose: np.ndarray) -> float:
    return float(np.mean(np.abs(np.diff(glucose)) / np.diff(slot)))
