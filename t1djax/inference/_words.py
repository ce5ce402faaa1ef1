"""Directions in which parameters move together, found and put into words."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..physics import AbstractPhysiology
from ..records import Direction
from ._information import Bounds

_ROUNDING = 1e-12  # share of what its members do to glucose, of what a symmetry does
_INVOLVED = 0.2  # share of the largest exponent below which a parameter is left out of a sentence
_WEAK = 0.1  # standard deviation of a logarithm from which a direction is worth a sentence
_MOST = 3  # sentences about weak directions
_MEMBERS = 4  # parameters that a sentence names at the most
_FACTOR = 10.0  # standard deviation of a logarithm that is as good as infinite

_SAME = 0.9  # cosine between directions that say the same


class Unseen(NamedTuple):
    """A move of the free logarithms that leaves glucose as it is."""

    move: Float[np.ndarray, " free"]
    """Changes of the logarithms."""
    members: tuple[str, ...]
    """The symbols that move."""
    stays: str
    """What stays the same, in words; empty where a parameter has no effect at all."""
    slope: Float[np.ndarray, " free"]
    """Slope of its logarithm."""


def symmetries(
    free: Sequence[str],
    body: type[AbstractPhysiology],
    values: Mapping[str, float],
    information: Float[np.ndarray, "free free"],
    blind: np.ndarray,
) -> list[Unseen]:
    """The exact symmetries of the equations that hold here, each checked against the information.

    That is of the logarithms of the free parameters, times the variance of the noise; those that are `blind` leave no
    trace.
    """
    vector = lambda by: np.array([by.get(symbol, 0.0) for symbol in free])
    found = [Unseen(vector({s: 1.0}), (s,), "", vector({})) for s, dark in zip(free, blind, strict=True) if dark]
    seen = [s for s, dark in zip(free, blind, strict=True) if not dark]
    for move, stays, slope in body.symmetries(seen, body.complete(values)):
        u = vector(move)
        if u @ information @ u <= _ROUNDING * float(u**2 @ np.diagonal(information)):
            found.append(Unseen(u, tuple(move), stays, vector(slope)))
    return found


def _no_effect(symbol: str, body: type[AbstractPhysiology]) -> str:
    """Why a parameter leaves no trace in glucose."""
    if symbol in body.initial_states():
        return "none is on board, or none is left when the readings begin"
    if symbol in body.facts.need_insulin:
        return "no insulin is given"
    if symbol in body.facts.need_meal:
        return "no meal is absorbed in the window"
    for row in body.facts.proxies:
        if symbol == row.symbol:
            return f"it enters through {row.of} = {row.rule.format(symbol)} alone, and {row.of} is free itself"
    return "nothing in the window depends on it"


def directions(
    free: Sequence[str],
    body: type[AbstractPhysiology],
    exact: Sequence[Unseen],
    alone: Bounds,
    white_alone: Bounds,
) -> list[Direction]:
    """The symmetries, and the weak directions that the readings leave, in words.

    `alone` is of the readings without priors, for their noise as it is; white noise says what is open.
    """
    found = [_structural(free, body, symmetry, alone) for symmetry in exact]
    k, opened = len(free), white_alone.open
    hidden = opened.shape[1] - len(exact)
    if hidden > 0:
        found.append(_unexplained(free, opened, exact))
    across = np.eye(k) - opened @ opened.T
    covariance = across @ alone.covariance @ across
    if not np.all(np.isfinite(covariance)):
        return found  # of a fit that failed
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    weakest = [i for i in np.argsort(values)[::-1] if values[i] > _WEAK**2][:_MOST]
    stated: list[Mapping[str, float]] = []  # products of powers that a sentence has told of
    for i in weakest:
        exponents = _shown(free, vectors[:, i])
        if not any(set(exponents) == set(d.undetermined) for d in found) and not _already_stated(
            exponents, stated, free
        ):
            found.append(_weak(free, exponents, covariance, stated))
    return found


def _already_stated(product: Mapping[str, float], stated: Sequence[Mapping[str, float]], free: Sequence[str]) -> bool:
    """Whether nearly this product was told of before."""
    v, *others = (np.array([x.get(s, 0.0) for s in free]) for x in (product, *stated))
    return any(abs(float(v @ w)) > _SAME * float(np.linalg.norm(v) * np.linalg.norm(w)) for w in others)


def _structural(free: Sequence[str], body: type[AbstractPhysiology], symmetry: Unseen, alone: Bounds) -> Direction:
    exponents = {s: float(e) for s, e in zip(free, symmetry.move, strict=True) if e}
    if not symmetry.stays:
        (symbol,) = symmetry.members
        text = f"{symbol} leaves no trace in glucose: {_no_effect(symbol, body)}"
        return Direction(True, exponents, np.inf, "", np.inf, text)
    sd = alone.sd(symmetry.slope)
    who = listed(symmetry.members)
    is_ = "is" if "," not in symmetry.stays else "are"
    text = f"{who} move together: only {symmetry.stays} {is_} determined ({plus_minus(sd)})"
    return Direction(True, exponents, np.inf, symmetry.stays, 100 * sd, text)


def _unexplained(free: Sequence[str], opened: np.ndarray, exact: Sequence[Unseen]) -> Direction:
    known = np.stack([s.move / np.linalg.norm(s.move) for s in exact], axis=1) if exact else np.zeros((len(free), 0))
    left = opened - known @ np.linalg.lstsq(known, opened, rcond=None)[0] if exact else opened
    v = left[:, int(np.argmax(np.linalg.norm(left, axis=0)))]
    exponents = _shown(free, v)
    text = f"{listed(list(exponents))} move together without a trace in glucose: {power(exponents)} stays open"
    return Direction(True, exponents, np.inf, "", np.inf, text)


def _weak(
    free: Sequence[str], exponents: Mapping[str, float], covariance: np.ndarray, stated: list[Mapping[str, float]]
) -> Direction:
    """A weak direction in words; what it tells of is added to what was said."""
    stated.append(exponents)
    members = [free.index(s) for s in exponents]
    sd = _of_product(exponents, free, covariance)
    if len(members) == 1:
        text = f"{next(iter(exponents))} barely shows in glucose ({plus_minus(sd)})"
        return Direction(False, exponents, 100 * sd, "", np.inf, text)
    _, w = np.linalg.eigh(covariance[np.ix_(members, members)])
    best = _shown([free[i] for i in members], w[:, 0])
    sd_best = _of_product(best, free, covariance)
    left = f"is known to {plus_minus(sd)} only" if sd < _FACTOR else "stays open"
    addition = ""
    if sd_best < _FACTOR and not _already_stated(best, stated, free):
        addition = f", {power(best)} is known to {plus_minus(sd_best)}"
        stated.append(best)
    text = f"{listed(list(exponents))} move together: {power(exponents)} {left}{addition}"
    return Direction(False, exponents, 100 * sd, power(best), 100 * sd_best, text)


def _of_product(exponents: Mapping[str, float], free: Sequence[str], covariance: np.ndarray) -> float:
    g = np.array([exponents.get(s, 0.0) for s in free])
    return float(np.sqrt(max(g @ covariance @ g, 0.0)))


def _shown(free: Sequence[str], v: np.ndarray) -> dict[str, float]:
    """Exponents as a sentence shows them: the largest is one, small ones are left out, two digits."""
    v = v / v[int(np.argmax(np.abs(v)))]
    least = max(_INVOLVED, np.sort(np.abs(v))[-_MEMBERS:][0])
    return {s: round(float(e), 2) for s, e in zip(free, v, strict=True) if abs(e) >= least}


def power(exponents: Mapping[str, float]) -> str:
    """A product of powers as one writes it.

    Example:
        >>> from t1djax.inference._words import power
        >>> power({"ksi": 1.0, "kl": -0.85, "ku_Vi": 1.0})
        'ksi*ku_Vi/kl^0.85'
    """
    up = [_factor(s, e) for s, e in exponents.items() if e > 0]
    down = [_factor(s, -e) for s, e in exponents.items() if e < 0]
    if not up:
        up, down = down, up
    return "/".join(["*".join(up), *down])


def _factor(symbol: str, exponent: float) -> str:
    return symbol if round(exponent, 2) == 1 else f"{symbol}^{exponent:.2g}"


def plus_minus(sd_log: float) -> str:
    """A standard deviation of a logarithm in words."""
    if not sd_log < _FACTOR:
        return "nothing known"
    percent = 100 * sd_log
    if percent >= 1000:
        return f"a factor of {np.exp(min(sd_log, 50)):.2g} either way"
    return f"±{percent:.2g} %" if percent < 100 else f"±{percent:.0f} %"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
