"""The gate to an alias: an error below the target, and below that of who holds it now, on the same data."""

import datetime as dt
import hashlib
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from .._arguments import ArgumentError
from .._words import some
from ..records import FittedPatient
from ._store import RegistryError, default_uri, mlflow_at
from ._versions import ALIAS, PREFIX, fetch, find

METRIC = "rmse_forecast_mg_dL"
"""What the gate looks at: the error of the forecast part of each record, which no fit sees."""
CHALLENGER = "challenger"
"""The newest version, until it is promoted."""


class Promotion(NamedTuple):
    """What the gate decided, and why."""

    name: str
    """The registered model."""
    version: int
    """The version in question."""
    alias: str
    """What it was to become."""
    promoted: bool
    """Whether it is that now, and the gate lets it (or was overruled)."""
    forced: bool
    """Whether it is so against the gate."""
    reason: str
    """Why, in words."""
    target_mg_dL: float
    """Each patient's error had to be below this, mg/dL."""
    error_mg_dL: float
    """Forecast RMSE, root mean square over the patients, mg/dL."""
    worst_mg_dL: float
    """Largest of the patients' forecast RMSE, mg/dL."""
    champion: int | None
    """The version that held the alias before, if any."""
    champion_error_mg_dL: float | None
    """Its error, mg/dL, as `error_mg_dL`."""


def promote(
    name: str,
    version: str | int,
    *,
    target_mg_dL: float,
    alias: str = "champion",
    force: bool = False,
    tracking_uri: str | None = None,
) -> Promotion:
    """Give a version an alias if it passes the gate; what was decided and why is kept as tags of the version.

    The forecast RMSE of each patient must be below the target. Where another version holds the alias, both must have
    been fitted to the same data (their hashes say so), and the root mean square of the RMSE over the patients must be
    below the other's. The version that held the alias is then found under `former_ALIAS`. A
    version that has the alias already keeps it; whether its errors are below the target is said.

    Args:
        name: of the registered model.
        version: its number, or an alias such as `challenger`.
        target_mg_dL: of the forecast RMSE, mg/dL. Readings have noise, below which no forecast's error can fall.
        alias: to be given.
        force: promote even where the gate refuses; its reasons are kept.
        tracking_uri: where MLflow is; see `default_uri`.

    Returns:
        The decision.

    Raises:
        RegistryError: where there is no such version, the target makes no sense, or MLflow cannot be reached.
        ArgumentError: where the alias makes no sense.
    """
    if not 0 < target_mg_dL < math.inf:
        raise RegistryError(f"the target is {target_mg_dL:g} mg/dL; it must be positive")
    if alias.isdecimal() or alias == CHALLENGER or alias.startswith("former_"):
        raise ArgumentError("alias", f"versions reach {alias} by themselves; take champion, or a word of your own")
    if not re.fullmatch(ALIAS, alias, re.ASCII) or re.fullmatch(r"latest|v\d+", alias, re.ASCII | re.IGNORECASE):
        raise ArgumentError("alias", f"{alias!r}: take letters, digits, dashes and underscores, no latest and no v1")
    with mlflow_at(tracking_uri or default_uri()) as client:
        candidate = find(client, name, version)
        models = fetch(client, name, candidate.version)
        holders = client.get_registered_model(name).aliases
        holder = holders.get(alias)
        _, error, worst = cohort_errors(models)
        known = (name, int(candidate.version), alias)
        if holder is not None and int(holder) == int(candidate.version):
            # It stays what it is; whether it would become so is said.
            against = _against(models, None, target_mg_dL, alias)
            reason = "; ".join([f"it is the {alias} already", *(against or ["its errors are below the target"])])
            return Promotion(
                *known,
                not against or force,
                bool(against) and force,
                reason,
                target_mg_dL,
                error,
                worst,
                int(holder),
                error,
            )
        other = None if holder is None else fetch(client, name, holder)
        against = _against(models, other, target_mg_dL, alias)
        promoted = not against or force
        reason = "; ".join(against) or _for(error, worst, target_mg_dL, other, alias)
        other_error = None if other is None else cohort_errors(other)[1]
        facts = {
            "decision": "forced" if against and force else "promoted" if promoted else "refused",
            "reason": reason[:5000],
            "alias": alias,
            "metric": METRIC,
            "target_mg_dL": repr(float(target_mg_dL)),
            "error_mg_dL": repr(error),
            "worst_mg_dL": repr(worst),
            "champion": "" if holder is None else str(holder),
            "champion_error_mg_dL": "" if other_error is None else repr(other_error),
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        }
        for key, value in facts.items():
            client.set_model_version_tag(name, candidate.version, f"{PREFIX}gate.{key}", value)
        if promoted:
            client.set_registered_model_alias(name, alias, candidate.version)
            if holder is not None:
                client.set_registered_model_alias(name, f"former_{alias}", holder)
            if int(holders.get(CHALLENGER, 0)) == int(candidate.version):
                client.delete_registered_model_alias(name, CHALLENGER)
    return Promotion(
        *known,
        promoted,
        bool(against) and force,
        reason,
        target_mg_dL,
        error,
        worst,
        None if holder is None else int(holder),
        other_error,
    )


def cohort_errors(models: Mapping[str, FittedPatient]) -> tuple[dict[str, float], float, float]:
    """Forecast RMSE by patient (where there is one), their root mean square and the largest, mg/dL."""
    each = {patient: model.metrics.get(METRIC, math.nan) for patient, model in models.items()}
    known = {patient: x for patient, x in each.items() if math.isfinite(x)}
    if len(known) < len(each):
        return known, math.nan, math.nan
    return known, math.sqrt(sum(x**2 for x in known.values()) / len(known)), max(known.values())


def cohort_hash(models: Mapping[str, FittedPatient]) -> str:
    """SHA-256 of the patients' names and the hashes of their records, in whatever order they come."""
    lines = [f"{patient}:{model.data_hash}" for patient, model in sorted(models.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _against(
    models: Mapping[str, FittedPatient], champion: Mapping[str, FittedPatient] | None, target: float, alias: str
) -> list[str]:
    """What speaks against a promotion; nothing where all is well."""
    each, error, _ = cohort_errors(models)
    found = []
    if lacking := [patient for patient in models if patient not in each]:
        found.append(f"{some(lacking)} has no forecast error: the record has no reading in its forecast part")
    if high := [f"{patient} ({x:.3g})" for patient, x in each.items() if not x < target]:
        found.append(f"the forecast RMSE is not below the target of {target:g} mg/dL: {some(high)}")
    if champion is None:
        return found
    if cohort_hash(models) != cohort_hash(champion):
        found.append(
            f"the {alias} was fitted to other data ({_difference(models, champion)}), so errors do not compare"
        )
        return found
    before = cohort_errors(champion)[1]
    if not error < before:
        found.append(f"its error of {error:.4g} mg/dL is not below the {alias}'s {before:.4g}")
    return found


def _for(error: float, worst: float, target: float, champion: Mapping[str, FittedPatient] | None, alias: str) -> str:
    reason = f"the largest forecast RMSE, {worst:.3g} mg/dL, is below the target of {target:g}"
    if champion is None:
        return f"{reason}; there was no {alias}"
    return f"{reason}; its error of {error:.4g} mg/dL is below the {alias}'s {cohort_errors(champion)[1]:.4g}"


def _difference(models: Mapping[str, FittedPatient], champion: Mapping[str, FittedPatient]) -> str:
    if lost := sorted(champion.keys() - models.keys()):
        return f"it has {some(lost)} as well"
    if new := sorted(models.keys() - champion.keys()):
        return f"it lacks {some(new)}"
    return f"another record of {some([p for p in models if models[p].data_hash != champion[p].data_hash])}"
