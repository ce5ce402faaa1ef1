"""What glucose alone cannot tell, known from the structure of the equations before any fit.

With `p1 = ksi ku_Vi`, `c = kl - kb` and `J = ksi I` the model reads `G' = c - J + D` and
`J'' + 2 J'/Tu + J/Tu^2 = p1 u/Tu^2`: nothing else of `ksi, ku_Vi, kl, kb` appears in it.
"""

from collections.abc import Callable, Sequence

import numpy as np

from .data import Patient, split


class UnidentifiableError(ValueError):
    """The data cannot tell the requested parameters apart; the message names what can be estimated instead."""


_TOGETHER: tuple[tuple[set[str], str], ...] = (
    (
        {"ksi", "ku_Vi"},
        "only their product p1 = ksi ku_Vi shows in glucose; estimate one of them with the other known (p1 is "
        "reported either way)",
    ),
    (
        {"kl", "kb"},
        "only their difference c = kl - kb shows in glucose; estimate kl with kb known (c is reported either way)",
    ),
    (
        {"kl", "M"},
        "M enters through kb = 128 / M alone, and only c = kl - kb shows in glucose; estimate kl with M known",
    ),
    ({"kb", "M"}, "they are one parameter, kb = 128 / M; estimate one of them"),
)


def check_identifiable(patients: Sequence[Patient], free: Sequence[str]) -> None:
    """Refuse a set of free parameters that glucose cannot tell apart, whatever its noise.

    Args:
        patients: the cohort; what each was given between the first and the last fit reading counts.
        free: symbols to estimate.

    Raises:
        UnidentifiableError: naming the parameters, the reason, and what can be estimated instead.

    Source: Magdelaine et al. 2015, equations (1) to (3); the two symmetries follow by substitution.
    """
    chosen = set(free)
    reasons = [f"{' and '.join(sorted(pair))}: {why}" for pair, why in _TOGETHER if pair <= chosen]
    needs: tuple[tuple[set[str], Callable[[Patient], bool], str], ...] = (
        ({"Tr", "kr_Vb"}, _has_meal, "no meal before the last fit reading"),
        (
            {"ksi", "ku_Vi"},
            _has_insulin,
            "no insulin is given before the last fit reading, and ksi I then decays from c whatever ksi is",
        ),
    )
    for symbols, present, why in needs:
        asked = [symbol for symbol in free if symbol in symbols]
        lacking = [patient.name for patient in patients if asked and not present(patient)]
        if lacking:
            reasons.append(f"{', '.join(asked)} of {', '.join(lacking[:5])}: {why}; name other parameters")
    if reasons:
        raise UnidentifiableError("cannot be estimated from glucose: " + "; ".join(reasons))


def _fit_span(patient: Patient) -> tuple[float, float]:
    seen = patient.time_min[split(patient.time_min, patient.valid).fit]
    return float(patient.time_min[0]), float(seen[-1])


def _has_meal(patient: Patient) -> bool:
    start, end = _fit_span(patient)
    t, amount = patient.doses.meal_time_min, patient.doses.carbs_g
    return bool(np.any((t + patient.doses.meal_duration_min > start) & (t < end) & (amount > 0)))


def _has_insulin(patient: Patient) -> bool:
    start, end = _fit_span(patient)
    doses = patient.doses
    bolus = (doses.bolus_time_min + doses.bolus_duration_min > start) & (doses.bolus_time_min < end)
    return bool(np.any(bolus & (doses.bolus_U > 0)) or np.any(doses.basal_U_h[doses.basal_time_min < end] > 0))
