"""What the registry has: versions, and the fitted patients in one of them."""

import datetime as dt
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..io import read_fitted_cohort
from ..records import FittedPatient
from ..tracking import pages
from ._store import NotRegisteredError, RegistryError, default_uri, mlflow_at

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREFIX = "t1djax."
"""Of the tags that this package sets."""
ALIAS = r"[\w-]{1,100}"
"""What MLflow takes for an alias; digits alone are a version's number."""
PATIENTS_FILE = "patients.json"
MODEL_PATH = "model"


class Version(NamedTuple):
    """One version of a registered model."""

    name: str
    """The registered model."""
    version: int
    """Its number, from 1."""
    aliases: tuple[str, ...]
    """Such as `champion` and `challenger`."""
    patients: int
    """How many it predicts."""
    model: str
    """`ode`, `pinn` and so on."""
    mode: str
    """`forward` or `inverse`."""
    error_mg_dL: float
    """Forecast RMSE, root mean square over the patients, mg/dL; NaN where there is none."""
    worst_mg_dL: float
    """Largest of the patients' forecast RMSE, mg/dL."""
    data_hash: str
    """Of all records together; alike where two versions were fitted to the same data."""
    created: dt.datetime
    """When it was registered, UTC."""
    decision: str
    """What the gate said last: `promoted`, `refused`, `forced`, or empty."""
    reason: str
    """Why."""


def versions(name: str | None = None, *, tracking_uri: str | None = None) -> tuple[Version, ...]:
    """The versions in the registry, the newest of each model first. Models of others are left out.

    Args:
        name: of one registered model; left out, all.
        tracking_uri: where MLflow is; see `default_uri`.

    Raises:
        RegistryError: where there is no such model, or MLflow cannot be reached.
    """
    with mlflow_at(tracking_uri or default_uri()) as client:
        names = [name] if name is not None else sorted(model.name for model in _models(client))
        found = [version for each in names for version in _of_model(client, each)]
        if name is not None and not found:
            raise NotRegisteredError(_no_model(client, name))
    return tuple(found)


def load(name: str, which: str | int = "champion", *, tracking_uri: str | None = None) -> Mapping[str, FittedPatient]:
    """The fitted patients of a registered model, by name, ready for `predict`. No code of the model is run.

    Args:
        name: of the registered model.
        which: an alias, or the number of a version.
        tracking_uri: where MLflow is; see `default_uri`.

    Raises:
        RegistryError: where there is no such model, version or alias, or MLflow cannot be reached.
        ResultError: where the stored file is damaged or of a newer format.
    """
    with mlflow_at(tracking_uri or default_uri()) as client:
        return fetch(client, name, find(client, name, which).version)


def find(client: "MlflowClient", name: str, which: str | int) -> Any:
    """MLflow's record of a version, by alias or number."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    if not re.fullmatch(ALIAS, str(which), re.ASCII):
        raise RegistryError(f"{str(which)!r} is no version; give a number, or an alias such as champion")
    try:
        if str(which).isdecimal():
            return client.get_model_version(name, str(which))
        return client.get_model_version_by_alias(name, str(which))
    except MlflowException as e:
        if e.error_code != "RESOURCE_DOES_NOT_EXIST" and "not found" not in e.message:
            raise
        if name not in [model.name for model in _models(client)]:
            raise NotRegisteredError(_no_model(client, name)) from e
        what = f"version {which}" if str(which).isdecimal() else f"alias {which!r}"
        aliases = ", ".join(sorted(client.get_registered_model(name).aliases)) or "none"
        raise NotRegisteredError(
            f"{name}: there is no {what}; its aliases: {aliases}; its versions: `versions({name!r})`, "
            f"or `t1djax registry list --name {name}` with the same --results or --tracking-uri"
        ) from e


def _no_model(client: "MlflowClient", name: str) -> str:
    there = sorted(model.name for model in _models(client) if model.name != name)
    what = f"there are {', '.join(there[:10])}" if there else "nothing is registered"
    return f"there is no registered model {name!r} in this registry; {what}"


def fetch(client: "MlflowClient", name: str, number: str | int) -> dict[str, FittedPatient]:
    """The fitted patients in a version; MLflow points at the registry."""
    from mlflow.artifacts import download_artifacts  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        source = f"models:/{name}/{number}/artifacts/{PATIENTS_FILE}"
        file = download_artifacts(artifact_uri=source, dst_path=folder)
        return read_fitted_cohort(Path(file))


def described(found: Any, aliases: Mapping[str, Any] | None = None) -> Version:
    """MLflow's record of a version in the words of this package."""
    tag = lambda key, default="": found.tags.get(PREFIX + key, default)
    number = lambda key: float(tag(key, "nan"))
    own = found.aliases if aliases is None else [a for a, v in aliases.items() if int(v) == int(found.version)]
    return Version(
        name=found.name,
        version=int(found.version),
        aliases=tuple(sorted(own)),
        patients=int(tag("patients", "0")),
        model=tag("model"),
        mode=tag("mode"),
        error_mg_dL=number("error_mg_dL"),
        worst_mg_dL=number("worst_mg_dL"),
        data_hash=tag("data_hash"),
        created=dt.datetime.fromtimestamp(found.creation_timestamp / 1000, dt.UTC),
        decision=tag("gate.decision"),
        reason=tag("gate.reason"),
    )


def raw_versions(client: "MlflowClient", name: str) -> list[Any]:
    """MLflow's records of all versions of a model, the newest first."""
    found = pages(lambda t: client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=t))
    return sorted(found, key=lambda v: -int(v.version))


def _of_model(client: "MlflowClient", name: str) -> list[Version]:
    ours = [v for v in raw_versions(client, name) if PREFIX + "content" in v.tags]
    if not ours:
        return []
    # A search does not tell the aliases.
    aliases = client.get_registered_model(name).aliases
    return [described(v, aliases) for v in ours]


def _models(client: "MlflowClient") -> list[Any]:
    return pages(lambda t: client.search_registered_models(max_results=100, page_token=t))
