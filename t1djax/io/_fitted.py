"""Fitted patients on disk: one small JSON file each."""

import dataclasses
import datetime as dt
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._arguments import ArgumentError, argument
from ..physics import PHYSIOLOGIES, AbstractPhysiology, Doses, physiology_named, state_units
from ..records import FittedPatient, Outcome
from ._json_files import JsonFormat, ResultError
from ._results import without_nan
from ._tables import natural

MODEL_FILE = "model.json"
"""Its name in a results folder."""
_TEXTS = ("name", "model", "mode", "data_hash")
_NUMBERS = ("end_min", "noise_sd_mg_dL")
_GROUPS = ("parameters", "state", "metrics")
_NEEDED = (*_TEXTS, "ok", *_NUMBERS, *_GROUPS, "free", "covariance", "slopes", "start", "under_way")
_REMEDY, _ABSENT = "restore it or run the fit again", "the run has no fitted patient, fit it again"
_FITTED = JsonFormat("t1djax.fitted_patient", 1, "a fitted patient of t1djax", _REMEDY, _ABSENT, _NEEDED)
_COHORT = JsonFormat("t1djax.fitted_cohort", 1, "fitted patients of t1djax", _REMEDY, _ABSENT, ("patients",))


def write_fitted(model: FittedPatient, folder: str | Path) -> Path:
    """Write a fitted patient to `folder/model.json`; a file that is there is replaced, whole or not at all.

    Args:
        model: see `fitted_patients`.
        folder: a results folder or any other; made if it is not there.

    Returns:
        The file.

    Example:
        >>> import tempfile
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"])
        >>> model = t1djax.prediction.fitted_patient(t1djax.fit(cohort, model="ode"), cohort["Pat3"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     t1djax.read_fitted(t1djax.write_fitted(model, folder))
        FittedPatient(Pat3: ode inverse of ksi, from minute 2880)
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(fitted_to_json(model), indent=2, allow_nan=False) + "\n"
    partial = folder / f".{MODEL_FILE}.{os.getpid()}.partial"
    partial.write_text(text, encoding="utf-8")  # readable by whom the umask says
    partial.replace(folder / MODEL_FILE)
    return folder / MODEL_FILE


def read_fitted(path: str | Path) -> FittedPatient:
    """Read a fitted patient from a file that `write_fitted` wrote, or from the folder that holds it.

    Args:
        path: `model.json`, or its folder.

    Returns:
        The patient; `predict` takes it.

    Raises:
        ResultError: naming the file, where it is missing, damaged, or of a newer format.
    """
    path = Path(path)
    path = path / MODEL_FILE if path.is_dir() else path
    return fitted_from_json(_FITTED.read(path), str(path))


def write_fitted_cohort(models: Iterable[FittedPatient], path: str | Path) -> None:
    """Write several fitted patients to one file, which a registry or server keeps."""
    each = [fitted_to_json(model) for model in models]
    Path(path).write_text(json.dumps(_COHORT.head | {"patients": each}, allow_nan=False), encoding="utf-8")


def read_fitted_cohort(path: str | Path) -> dict[str, FittedPatient]:
    """Fitted patients by name, from a file that `write_fitted_cohort` wrote.

    Raises:
        ResultError: naming the file, where it is missing, damaged, or of a newer format.
    """
    each = _COHORT.read(Path(path))["patients"]
    if not isinstance(each, list):
        raise ResultError(f"{path}: is damaged; {_REMEDY}")
    models = [fitted_from_json(one, str(path)) for one in each]
    return {model.name: model for model in models}


def find_fitted(paths: Iterable[str | Path]) -> list[Path]:
    """Files of fitted patients among `paths`: each is one, or a folder that holds one or folders with one.

    Args:
        paths: files `model.json`, result folders, or folders of such folders.

    Returns:
        The files, each once; those of one folder in the natural order of their names.

    Raises:
        ResultError: naming the path that is not there or holds none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_file():
            inside = [path]
        elif (path / MODEL_FILE).is_file():
            inside = [path / MODEL_FILE]
        else:
            whole = (file for file in path.glob(f"*/{MODEL_FILE}") if not file.parent.name.endswith(".partial"))
            inside = sorted(whole, key=lambda file: natural(file.parent.name))
        if not inside:
            what = "holds no fitted patient" if path.is_dir() else "no such file or folder"
            raise ResultError(f"{path}: {what} ({MODEL_FILE}); name a folder that `train` wrote")
        found += inside
    return list(dict.fromkeys(found))


def fitted_to_json(model: FittedPatient) -> dict[str, Any]:
    """A fitted patient as plain dictionaries, lists and numbers; what is not finite becomes null."""
    named = next((name for name, body in PHYSIOLOGIES.items() if body is model.body), None)
    if named is None:
        own = f"{model.body.__module__}:{model.body.__qualname__}"
        raise ValueError(
            f"{model.name}: files hold no code; that they can name {model.body.__name__}, put it into a module and fit "
            f"with {argument('physiology', own)}, as text"
        )
    content = _FITTED.head | {"physiology": named}
    content |= {key: getattr(model, key) for key in (*_TEXTS, "ok", "message", *_NUMBERS)}
    content |= {key: dict(getattr(model, key)) for key in _GROUPS}
    content |= {
        "outcome": model.outcome.name,
        "free": list(model.free),
        "covariance": model.covariance.tolist(),
        "slopes": {symbol: row.tolist() for symbol, row in model.slopes.items()},
        "start": None if model.start is None else model.start.isoformat(),
        "under_way": {f.name: getattr(model.under_way, f.name).tolist() for f in dataclasses.fields(Doses)},
        "stochastic": None if model.stochastic is None else dict(model.stochastic),
    }
    return without_nan(content)


def fitted_from_json(content: Any, file: str) -> FittedPatient:
    """The fitted patient that `fitted_to_json` described; `file` is what errors name.

    Raises:
        ResultError: where something is missing, of another kind or shape, or of a newer format.
    """
    content = _FITTED.checked(content, file)
    try:
        body = physiology_named(content.get("physiology", "magdelaine"))  # files of earlier versions are of that one
    except ArgumentError as e:
        raise ResultError(f"{file}: {e}") from e
    try:
        return _fitted(content, body)
    except (TypeError, ValueError, KeyError, AttributeError) as e:
        raise ResultError(f"{file}: is damaged ({e}); restore it or run the fit again") from e


def _fitted(content: Mapping[str, Any], body: type[AbstractPhysiology]) -> FittedPatient:
    free = tuple(map(_text, content["free"]))
    groups = {key: {symbol: _number(x) for symbol, x in content[key].items()} for key in _GROUPS}
    every = {"parameters": [f.name for f in dataclasses.fields(body)], "state": list(state_units(body.States))}
    for key, needed in every.items():
        if absent := [symbol for symbol in needed if symbol not in groups[key]]:
            raise ValueError(f"{key} lacks {', '.join(absent)}")
    k = len(free)
    slopes = {symbol: _array(content["slopes"][symbol], (k,)) for needed in every.values() for symbol in needed}
    kept = content.get("stochastic")  # files of earlier versions have none
    if not isinstance(content["ok"], bool):
        raise ValueError("ok is neither true nor false")
    return FittedPatient(
        name=_text(content["name"]),
        model=_text(content["model"]),
        mode=_text(content["mode"]),
        # Files of earlier versions say only whether all was well, and why not in words.
        outcome=Outcome[content.get("outcome", "converged" if content["ok"] else "not_converged")],
        parameters=groups["parameters"],
        free=free,
        covariance=_array(content["covariance"], (k, k)),
        state=groups["state"],
        slopes=slopes,
        end_min=_number(content["end_min"]),
        start=None if content["start"] is None else dt.datetime.fromisoformat(content["start"]),
        under_way=_doses(content["under_way"]),
        noise_sd_mg_dL=_number(content["noise_sd_mg_dL"]),
        metrics=groups["metrics"],
        data_hash=_text(content["data_hash"]),
        body=body,
        stochastic=None if kept is None else {symbol: _number(x) for symbol, x in kept.items()},
    )


def _doses(columns: Mapping[str, Any]) -> Doses:
    """Of files that were written before there was long-acting insulin as well."""
    fields = dataclasses.fields(Doses)
    late = lambda f: f.default_factory is not dataclasses.MISSING and f.name not in columns
    return Doses(**{f.name: _array(columns[f.name]) for f in fields if not late(f)})


def _text(x: Any) -> str:
    if not isinstance(x, str):
        raise ValueError(f"{x!r} is no text")
    return x


def _number(x: Any) -> float:
    if x is None:
        return float("nan")
    if isinstance(x, bool) or not isinstance(x, int | float):
        raise ValueError(f"{x!r} is no number")
    return float(x)


def _array(x: Any, shape: Sequence[int] | None = None) -> np.ndarray:
    """Numbers of a nested list; null is NaN. An empty list has no inner shape of its own."""
    array = np.array(x, dtype=np.float64)
    if shape is None and array.ndim == 1:
        return array
    if shape is not None and (array.shape == tuple(shape) or array.size == np.prod(shape) == 0):
        return array.reshape(shape)
    raise ValueError(f"an array has the shape {array.shape}, not {shape}")
