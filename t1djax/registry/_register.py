"""A new version of a registered model."""

import hashlib
import importlib.metadata
import json
import math
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..io import MODEL_FILE, find_fitted, read_fitted, read_fitted_cohort, write_fitted_cohort
from ..records import FittedPatient
from ._promote import CHALLENGER, cohort_errors, cohort_hash
from ._store import RESULTS, RegistryError, default_uri, mlflow_at, place_of
from ._versions import MODEL_PATH, PATIENTS_FILE, PREFIX, Version, described, find, raw_versions

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

EXPERIMENT = "Registry"
"""The MLflow experiment that holds what is registered."""
VERSION_FILES = (f"artifacts/{PATIENTS_FILE}", "MLmodel", "input_example.json", "serving_input_example.json")
"""The files of a version that name its patients."""
_PACKAGES = ("jax", "jaxlib", "mlflow", "numpy", "pandas")


def register(
    models: FittedPatient | Mapping[str, FittedPatient] | Iterable[FittedPatient | str | Path] | str | Path,
    *,
    name: str,
    tracking_uri: str | None = None,
) -> Version:
    """Register fitted patients as a new version of a model, which becomes the `challenger`.

    The version holds the fitted patients and no readings; their names are in it. MLflow serves it with
    `mlflow models serve -m "models:/NAME@champion"`. Registering the same patients again gives the version there is.

    Args:
        models: fitted patients, or results folders, or folders that hold some.
        name: of the registered model.
        tracking_uri: where MLflow is; left out, `default_uri` of the results folder.

    Returns:
        The version.

    Raises:
        RegistryError: where the name will not do, two results are of one patient, a fit failed, or MLflow cannot be
            reached.
        ResultError: where a results folder has no fitted patient, or a damaged one.
    """
    if not re.fullmatch(r"[\w.-]{1,100}", name, re.ASCII) or name.isdecimal():
        raise RegistryError(f"name={name}: take letters, digits, dots, dashes and underscores, and not digits alone")
    chosen, results = _chosen(models)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / PATIENTS_FILE
        write_fitted_cohort(chosen.values(), file)
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        uri = tracking_uri or default_uri(results)
        with mlflow_at(uri, make=True) as client:
            for version in raw_versions(client, name):
                if version.tags.get(PREFIX + "content") == content:
                    return described(find(client, name, version.version))
            number = _new(client, uri, name, chosen, file, content)
            client.set_registered_model_alias(name, CHALLENGER, number)
            return described(find(client, name, number))


def _chosen(models: Any) -> tuple[dict[str, FittedPatient], Path]:
    """The patients by name, and the results folder they lie in."""
    if isinstance(models, Mapping):
        models = models.values()
    given = [models] if isinstance(models, FittedPatient | str | Path) else list(models)
    results = Path(RESULTS)
    read: list[tuple[str, FittedPatient]] = []
    for one in given:
        if isinstance(one, FittedPatient):
            read.append(("given", one))
            continue
        files = find_fitted([one])
        read += [(str(file.parent), read_fitted(file)) for file in files]
        own = Path(one).is_file() or (Path(one) / MODEL_FILE).is_file()
        results = files[0].absolute().parent.parent if own else Path(one)
    if not read:
        raise RegistryError("nothing to register; name a results folder")
    chosen: dict[str, tuple[str, FittedPatient]] = {}
    for where, model in read:
        if model.name in chosen:
            raise RegistryError(
                f"two results are of {model.name}, {chosen[model.name][0]} and {where}; name the folders to take, "
                f"those of one run say, by a pattern: {_pattern(where, model.name)}"
            )
        if not model.ok:
            raise RegistryError(f"the fit of {model.name} failed ({model.message}); leave it out, or fit it again")
        chosen[model.name] = where, model
    return {patient: model for patient, (_, model) in chosen.items()}, results


def _pattern(folder: str, patient: str) -> str:
    """The folders of all patients that are named like this one's."""
    path = Path(folder)
    return str(path.with_name(path.name.replace(f"_{patient}_", "_*_"))) if f"_{patient}_" in path.name else f"{path}*"


def _new(
    client: "MlflowClient", uri: str, name: str, models: Mapping[str, FittedPatient], file: Path, content: str
) -> str:
    """Log the model in a run of its own and make a version of it; its number."""
    import mlflow  # noqa: PLC0415 - seconds
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    experiment = client.get_experiment_by_name(EXPERIMENT)
    number = (
        experiment.experiment_id
        if experiment is not None
        else client.create_experiment(EXPERIMENT, artifact_location=place_of(uri).artifacts(EXPERIMENT))
    )
    _, error, worst = cohort_errors(models)
    facts, each = cohort_facts(models, content)
    run = client.create_run(number, run_name=f"{name}_{content[:8]}")
    try:
        if math.isfinite(error):
            client.log_metric(run.info.run_id, "rmse_forecast_mg_dL", error)
            client.log_metric(run.info.run_id, "worst_rmse_forecast_mg_dL", worst)
        with mlflow.start_run(run_id=run.info.run_id, nested=True):  # the caller may have a run
            info = mlflow.pyfunc.log_model(
                name=MODEL_PATH,
                python_model=str(Path(__file__).with_name("served") / "model.py"),
                artifacts={"patients": str(file)},
                signature=_signature(len(models)),
                input_example=_example(models),
                pip_requirements=[f"t1djax=={facts['t1djax']}"]
                + [f"{package}=={importlib.metadata.version(package)}" for package in _PACKAGES],
                metadata={PREFIX + key: value for key, value in facts.items()} | {PREFIX + "rmse_forecast_mg_dL": each},
            )
    except BaseException:
        client.set_terminated(run.info.run_id, "FAILED")
        raise
    try:
        client.create_registered_model(name, description="Research software, not a medical device.")
    except MlflowException as e:
        if e.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {PREFIX + key: value for key, value in facts.items()}
    source = client.get_logged_model(info.model_id).artifact_location
    made = client.create_model_version(name, source, run_id=run.info.run_id, tags=tags, model_id=info.model_id)
    return str(made.version)


def cohort_facts(models: Mapping[str, FittedPatient], content: str) -> tuple[dict[str, str], dict[str, float]]:
    """What the tags of a version say, and the forecast RMSE by patient, mg/dL."""
    each, error, worst = cohort_errors(models)
    kinds = lambda key: "+".join(sorted({getattr(m, key) for m in models.values()}))
    facts = {
        "content": content,
        "data_hash": cohort_hash(models),
        "patients": str(len(models)),
        "names": ", ".join(models)[:5000],
        "model": kinds("model"),
        "mode": kinds("mode"),
        "error_mg_dL": repr(error),
        "worst_mg_dL": repr(worst),
        "t1djax": importlib.metadata.version("t1djax"),
    }
    return facts, each


def without_patient(files: Mapping[str, bytes], name: str) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files and the tags of a version of several patients, with one of them left out."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / PATIENTS_FILE
        file.write_bytes(files[VERSION_FILES[0]])
        models = {other: model for other, model in read_fitted_cohort(file).items() if other != name}
        write_fitted_cohort(models.values(), file)
        content = file.read_bytes()
    facts, each = cohort_facts(models, hashlib.sha256(content).hexdigest())
    tags = {PREFIX + key: value for key, value in facts.items() if key != "t1djax"}
    stated = yaml.safe_load(files["MLmodel"])
    stated["metadata"] = {**(stated.get("metadata") or {}), **tags, PREFIX + "rmse_forecast_mg_dL": each}
    new = {VERSION_FILES[0]: content, "MLmodel": yaml.safe_dump(stated, sort_keys=False, allow_unicode=True).encode()}
    other = json.dumps(next(iter(models)))
    for path in (path for path in VERSION_FILES[2:] if path in files):  # a request that somebody who is left would make
        text = files[path].decode("utf-8").replace(json.dumps(name), other)
        new[path] = text.replace(json.dumps(name, ensure_ascii=False), other).encode()
    return new, tags


def _signature(patients: int) -> Any:
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec  # noqa: PLC0415

    number = lambda name, required=True: ColSpec("double", name, required=required)
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec("string", "patient", required=patients > 1),
        number("time_min", False),
        ColSpec("string", "time", required=False),
        number("glucose_mg_dL", False),
        *map(number, ("basal_U_h", "bolus_U", "carbs_g")),
        number("bolus_duration_min", False),
        number("meal_duration_min", False),
        number("long_acting_U", False),
        number("long_acting_duration_min", False),
    ]
    outputs: list[ColSpec | TensorSpec] = [*inputs[:3], *map(number, ("glucose_mg_dL", "lower_mg_dL", "upper_mg_dL"))]
    level = ParamSpec("level", "double", 0.9)
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema([level]))


def _example(models: Mapping[str, FittedPatient]) -> "pd.DataFrame":
    """Two hours of the first patient with a meal and its bolus."""
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    model = next(iter(models.values()))
    return pd.DataFrame(
        {
            "patient": model.name,
            "time_min": [model.end_min + ahead for ahead in (30.0, 60.0, 90.0, 120.0)],
            "basal_U_h": float(model.under_way.basal_U_h[-1]),
            "bolus_U": [4.0, 0.0, 0.0, 0.0],
            "carbs_g": [40.0, 0.0, 0.0, 0.0],
        }
    )
