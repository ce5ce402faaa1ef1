"""What glucose alone cannot tell, known from the structure of the equations before any fit, and standard errors."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ._words import each
from .data import Patient
from .physics import ON_BOARD_MIN, AbstractPhysiology, Magdelaine
from .twin import Sensitivities

_DOMINATED = 2.0  # the prior rules where the readings alone would leave so many times the standard error
_ALONG = 1e-3  # of the length of a slope, its part along what nothing tells
_NOTHING = 1e-10  # relative to what they tell in the other directions, readings that tell so little tell nothing


class UnidentifiableError(ValueError):
    """The data cannot tell the requested parameters apart; the message names what can be estimated instead."""


def check_identifiable(
    patients: Sequence[Patient],
    free: str | Sequence[str],
    priors: Collection[str] = (),
    physiology: type[AbstractPhysiology] = Magdelaine,
) -> None:
    """Refuse a set of free parameters that glucose cannot tell apart, whatever its noise.

    A prior adds what glucose does not tell: of two parameters that show together, one must carry a prior; a
    parameter that does not show at all must carry its own.

    Args:
        patients: the cohort; what each was given from a day before the first row to the last fit reading counts.
        free: symbols to estimate.
        priors: symbols among them that carry a prior.
        physiology: whose `facts` say what shows in glucose.

    Raises:
        UnidentifiableError: naming the parameters, the reason, and what can be estimated instead.
    """
    free = each(free)
    chosen, with_prior = set(free), set(priors)
    facts = physiology.facts
    reasons = [
        f"{' and '.join(sorted(group))}: {why}" + ", or give one of them a prior" * (not one)
        for group, why, one in facts.together
        if group <= chosen and (one or not group & with_prior)
    ]
    needs = (
        (facts.need_meal, _has_meal, "no meal before the last fit reading"),
        (facts.need_insulin, _has_insulin, "no insulin is given before the last fit reading"),
    )
    for symbols, present, why in needs:
        without_prior = [symbol for symbol in free if symbol in symbols - with_prior]
        lacking = [patient.name for patient in patients if without_prior and not present(patient)]
        if lacking:
            remedy = f"name other parameters, or give {' and '.join(without_prior)} a prior"
            reasons.append(f"{', '.join(without_prior)} of {', '.join(lacking[:5])}: {why}; {remedy}")
    if reasons:
        raise UnidentifiableError("cannot be estimated from glucose: " + "; ".join(reasons))


class Certainty(NamedTuple):
    """How well a quantity is determined."""

    standard_error: float | None
    """One posterior standard deviation, in the unit of the quantity; None where nothing estimated moves it."""
    prior_dominated: bool
    """Whether the readings alone would leave it more than twice as large."""
    undetermined: bool
    """Whether it changes along a direction of which neither readings nor prior tell anything."""


def certainties(
    information: Float[np.ndarray, "free free"], noise_sd_mg_dL: float, s: Sensitivities
) -> dict[str, Certainty]:
    """Standard errors by the delta rule, with the prior and without it.

    With the information `S` of the readings per unit noise, that of the prior `P`, and the slope `g` of a quantity,
    its variance is `g' (S / sd^2 + P)^-1 g`. It assumes white noise and a model that is right.

    Args:
        information: of the readings about the free coordinates of one patient, per (mg/dL)^2 of noise.
        noise_sd_mg_dL: standard deviation of the noise, mg/dL.
        s: slopes of the quantities; see `Physiology.sensitivities`.

    Returns:
        By symbol.
    """
    information, prior = np.asarray(information, np.float64), np.asarray(s.prior, np.float64)
    both = _with_prior(information, noise_sd_mg_dL, prior)
    alone = inverse(information, _NOTHING) if prior.any() else both
    open_ = _open(information, prior)
    found = {}
    for symbol, slope in s.slopes.items():
        g = np.asarray(slope, np.float64)
        sd, sd_alone = (noise_sd_mg_dL * float(np.sqrt(g @ covariance @ g)) for covariance in (both, alone))
        undetermined = bool(np.linalg.norm(g @ open_) > _ALONG * np.linalg.norm(g))
        found[symbol] = Certainty(sd if g.any() else None, sd_alone > _DOMINATED * sd, undetermined)
    return found


def _spectrum(information: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes of the coordinates, and eigenvalues and eigenvectors in units in which each of them has information one."""
    size = np.sqrt(np.maximum(np.diagonal(information), 0.0))
    size = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(information / np.outer(size, size))
    return size, values, vectors


def _open(information: np.ndarray, prior: np.ndarray) -> Float[np.ndarray, "free open"]:
    """Directions of the free coordinates of which neither readings nor prior tell anything, in columns of length 1."""
    if not np.all(np.isfinite(information)):
        return np.zeros((len(information), 0))
    size, values, vectors = _spectrum(information)
    blind = vectors[:, values <= _NOTHING] / size[:, None]
    blind /= np.linalg.norm(blind, axis=0)
    values, vectors = np.linalg.eigh(blind.T @ prior @ blind)
    return blind @ vectors[:, values <= _NOTHING]


def gauss_newton_change(
    information: Float[np.ndarray, "free free"],
    gradient: Float[np.ndarray, " free"],
    noise_sd_mg_dL: float,
    s: Sensitivities,
) -> dict[str, float]:
    """Relative change of the quantities by a Gauss-Newton step, `-g' (S + sd^2 P)^-1 J'r / value`; zero at the optimum.

    Args:
        information: see `certainties`.
        gradient: `J'r`, of half the sum of squares of readings and priors by the free coordinates, (mg/dL)^2.
        noise_sd_mg_dL: standard deviation of the noise, mg/dL.
        s: see `certainties`.

    Returns:
        By symbol.
    """
    step = -_with_prior(information, noise_sd_mg_dL, np.asarray(s.prior, np.float64)) @ gradient
    relative = lambda change, value: change / value if value else np.inf
    return {symbol: relative(float(slope @ step), float(s.values[symbol])) for symbol, slope in s.slopes.items()}


def covariance(
    information: Float[np.ndarray, "free free"], noise_sd_mg_dL: float, prior: Float[np.ndarray, "free free"]
) -> Float[np.ndarray, "free free"]:
    """Covariance of the free coordinates, `(S / sd^2 + P)^-1`, from which `certainties` makes standard errors.

    Args:
        information: of the readings, per (mg/dL)^2 of noise.
        noise_sd_mg_dL: standard deviation of the noise, mg/dL.
        prior: information of the prior, without unit.
    """
    return noise_sd_mg_dL**2 * _with_prior(information, noise_sd_mg_dL, prior)


def _with_prior(information: np.ndarray, noise_sd_mg_dL: float, prior: np.ndarray) -> np.ndarray:
    """Inverse of readings and prior together, times the variance: no noise at all then divides by nothing."""
    return inverse(information + noise_sd_mg_dL**2 * prior, np.finfo(np.float64).eps)


def inverse(information: np.ndarray, least: float) -> np.ndarray:
    """Inverse by eigenvalues: a direction without information gets a huge variance, not an error."""
    if not np.all(np.isfinite(information)):
        return np.full(information.shape, np.nan)
    size, values, vectors = _spectrum(information)
    return (vectors / np.maximum(values, least)) @ vectors.T / np.outer(size, size)


def _fit_span(patient: Patient) -> tuple[float, float]:
    """From when on a dose shows in the readings, and until when: those of the day before are on board at the start."""
    seen = patient.time_min[patient.masks.fit]
    return float(patient.time_min[0]) - ON_BOARD_MIN, float(seen[-1])


def _has_meal(patient: Patient) -> bool:
    start, end = _fit_span(patient)
    t, amount = patient.doses.meal_time_min, patient.doses.carbs_g
    return bool(np.any((t + patient.doses.meal_duration_min > start) & (t < end) & (amount > 0)))


def _has_insulin(patient: Patient) -> bool:
    start, end = _fit_span(patient)
    doses = patient.doses
    bolus = (doses.bolus_time_min + doses.bolus_duration_min > start) & (doses.bolus_time_min < end)
    since, rate = doses.background
    return bool(np.any(bolus & (doses.bolus_U > 0)) or np.any(rate[since < end] > 0))
