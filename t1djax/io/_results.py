"""Results on disk: one folder per patient and run, complete or not there at all."""

import datetime as dt
import errno
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import yaml

from ..data import data_hash
from ..records import Fit, Result
from ._checkpoints import save_twins
from ._json_files import JsonFormat, ResultError
from ._remarks import DataError, Flaw
from ._tables import natural

CHECKPOINTS = "checkpoints"
"""Subfolder of a result with the patient's network; see `load_twins`."""
CONFIG = "config.yaml"
"""The resolved configuration: `t1djax train --config` runs it again."""
OWNER = ".run"
"""In a partial folder: the run that writes it, and its patient."""
_METADATA = JsonFormat(
    "t1djax.result",
    1,
    what="a result of t1djax",
    remedy="restore it or run the fit again",
    absent="the folder is no finished result",
    needed=("model", "mode", "patient", "seed", "ok", "estimates", "derived", "metrics", "wall_seconds"),
)
_PREDICTIONS = (
    "time_min",
    "glucose_mg_dL",
    "observed_mg_dL",
    "mask_fit",
    "mask_held_out",
    "mask_forecast",
)
_PACKAGES = ("t1djax", "jax", "jaxlib", "equinox", "diffrax", "optax", "optimistix", "numpy")


def run_name(model: str, mode: str, patient: str, named: Iterable[str], started: dt.datetime, seed: int) -> str:
    """The folder's name for people: `{model}_{mode}_{patient}_{params}_{timestamp}-s{seed}`.

    Example:
        >>> import datetime as dt
        >>> from t1djax.io import run_name
        >>> run_name("pinn", "inverse", "Pat3", ["ksi"], dt.datetime(2026, 1, 31, 9, 5, 0), 0)
        'pinn_inverse_Pat3_ksi_20260131_090500-s0'
    """
    parts = [model, mode, patient, "+".join(named), f"{started:%Y%m%d_%H%M%S}-s{seed}"]
    return "_".join(part for part in parts if part)


_MOST_NAME = 255  # bytes of a file's name, on all common file systems
_ADDED = len("-9999.partial")


def check_run_names(model: str, mode: str, patients: Iterable[str], named: Iterable[str], seed: int) -> None:
    """Find out before a fit whether the patients' folders can bear their names, with the largest seed.

    Raises:
        DataError: naming the patients whose names are too long.

    Example:
        >>> from t1djax.io import check_run_names
        >>> check_run_names("ode", "inverse", ["Pat2"], ["ksi"], 0)
    """
    most, named = _MOST_NAME - _ADDED, list(named)
    around = len(run_name(model, mode, "?", named, dt.datetime(2000, 1, 1), seed)) - 1
    flaws = []
    for name in patients:
        size = len(os.fsencode(name))
        if around + size > most:
            what = (
                f"the name is too long for the name of a folder of results ({size} bytes, {most - around} at the most)"
            )
            flaws.append(Flaw(name if size < 60 else f"{name[:56]}...", None, (), (what,), "shorten it"))
    if flaws:
        raise DataError(flaws)


def write_results(
    root: str | Path,
    fit: Fit,
    *,
    recovered: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    scores: Mapping[str, Mapping[str, float]],
    config: Mapping[str, Any],
    seed: int,
    started: dt.datetime,
    doubts: Mapping[str, Sequence[str]] | None = None,
    draw: Callable[[Result], object] | None = None,
    run: str | None = None,
    add: Callable[[str, Path], object] | None = None,
) -> list[Result]:
    """Write each patient's folder under `root`, in `{name}.partial` first, renamed when it is whole.

    Nothing is overwritten: where a name is taken, `-2`, `-3`, ... is added to it. A folder that the same `run` finished
    before it was stopped stays as it is. By patient, `recovered`, `scores` and `doubts` are what the functions
    `recovery`, `metrics` and `doubts` say; `draw` draws figures of a result into its folder, and `add` adds files to it
    by name, before it is complete.

    The results are in the order of the fit, as `read_result` finds them.

    Raises:
        OSError: where the file system refuses; folders that were finished before stay.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    written = []
    for i, patient_fit in enumerate(fit):
        patient = patient_fit.patient
        name = run_name(fit.model, fit.problem.mode, patient.name, fit.problem.named, started, seed)
        partial, final = _claim(root, name, run, patient.name)
        if partial is None:
            written.append(read_result(final))
            continue
        estimates = recovered[patient.name]
        metadata = without_nan(
            {
                **_METADATA.head,
                "run": run,
                "model": fit.model,
                "mode": fit.problem.mode,
                "patient": patient.name,
                "named_parameters": list(fit.problem.named),
                "seed": seed,
                "started": started.isoformat(timespec="seconds"),
                "ok": patient_fit.ok,
                "outcome": patient_fit.outcome.name,
                "message": patient_fit.message,
                "config": config,
                "notes": list(fit.problem.notes),
                "doubts": list((doubts or {}).get(patient.name, ())),
                "assumed": dict(fit.problem.assumed),
                "known": {symbol: float(value[i]) for symbol, value in fit.problem.known.items()},
                "estimates": {s: entry for s, entry in estimates.items() if s in patient_fit.estimates},
                "derived": {s: entry for s, entry in estimates.items() if s in patient_fit.derived},
                "metrics": scores[patient.name],
                "data": data_hash(patient),
                "wall_seconds": fit.cost.compile_s + fit.cost.run_s,
                "compile_seconds": fit.cost.compile_s,
                "patients_in_the_program": len(fit),
                **made_by(),
            }
        )
        predictions = patient_fit.arrays()
        np.savez_compressed(partial / "predictions.npz", allow_pickle=False, **predictions)
        evolution = {}
        for symbol, values in fit.history.values.items():
            course = {"step": fit.history.step, "value": values[:, i]}
            if (true := estimates[symbol]["truth"]) is not None:
                course["truth"] = np.asarray(true)
            evolution[symbol] = course
            np.savez_compressed(partial / f"parameter_evolution_{symbol}.npz", allow_pickle=False, **course)
        if fit.twins is not None:
            save_twins(fit.take([i]), partial / CHECKPOINTS)
        as_yaml = yaml.safe_dump(metadata["config"], sort_keys=False, allow_unicode=True)
        (partial / CONFIG).write_text(as_yaml, encoding="utf-8")
        text = json.dumps(metadata, indent=2, allow_nan=False)
        (partial / "metadata.json").write_text(text + "\n", encoding="utf-8")
        if draw is not None:
            draw(Result(partial, metadata, predictions, evolution))
        if add is not None:
            add(patient.name, partial)
        partial.rename(final)
        (final / OWNER).unlink()
        written.append(Result(final, metadata, predictions, evolution))
    return written


def made_by() -> dict[str, dict[str, str]]:
    """What the bits of a result depend on besides data and configuration: versions, and the kind of device."""
    versions = {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in _PACKAGES}
    device = jax.local_devices()[0]
    return {"versions": versions, "device": {"platform": device.platform, "kind": device.device_kind}}


def _claim(root: Path, name: str, run: str | None, patient: str) -> tuple[Path | None, Path]:
    """A fresh partial folder, and the name it will bear; making the folder is what claims the name.

    No partial folder where this run finished the result before.
    """
    for n in range(1, 10_000):
        final = root / (name if n == 1 else f"{name}-{n}")
        partial = final.with_name(final.name + ".partial")
        if final.exists():
            if run is not None and _read_text(final / "metadata.json", "run") == run:
                (final / OWNER).unlink(missing_ok=True)  # where a kill came before it
                return None, final
            continue
        owner = partial / OWNER
        if run is not None and owner.exists() and owner.read_text("utf-8", "replace").splitlines()[:1] == [run]:
            _discard(partial)  # of this run before it was stopped
        if not _owned(partial, run or "", patient):
            continue
        if final.exists():  # another run finished it in between
            _discard(partial)
            continue
        return partial, final
    raise FileExistsError(f"{root / name}: ten thousand runs bear this name; choose another results folder")


def _owned(partial: Path, run: str, patient: str) -> bool:
    """Make the folder with its owner in it, in one move: no kill leaves it nobody's. False where it is taken."""
    fresh = partial.with_name(_private(partial, run or _writer()))
    shutil.rmtree(fresh, ignore_errors=True)  # of a kill in the middle of this
    if partial.exists():
        return False
    fresh.mkdir()
    (fresh / OWNER).write_text(f"{run}\n{patient}", "utf-8", "surrogateescape")
    try:
        fresh.rename(partial)
    except OSError as e:
        shutil.rmtree(fresh)
        if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise OSError(f"{partial}: cannot be made ({e.strerror or e})") from e
        return False  # another run was quicker; it may have finished and renamed it by now
    return True


def _discard(partial: Path) -> None:
    """Remove the folder under a name of its own: emptied in place, another run could move its own upon it."""
    private = partial.with_name(_private(partial, f"{_writer()}-discarded"))
    partial.rename(private)
    shutil.rmtree(private)


def _private(partial: Path, whose: str) -> str:
    """A hidden name that is short, whatever the folder's and the run's are."""
    return f".{hashlib.sha256(f'{partial.name}/{whose}'.encode(errors='surrogateescape')).hexdigest()[:32]}.partial"


def _writer() -> str:
    return f"{os.getpid()}-{threading.get_ident()}"


def _read_text(path: Path, key: str) -> object:
    try:
        return json.loads(path.read_text("utf-8")).get(key)
    except (OSError, ValueError, AttributeError):
        return None


def without_nan(x: Any) -> Any:
    """JSON has no NaN: what is not a finite number becomes null."""
    if isinstance(x, Mapping):
        return {str(k): without_nan(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [without_nan(v) for v in x]
    if isinstance(x, np.generic):
        x = x.item()
    return None if isinstance(x, float) and not math.isfinite(x) else x


def find_results(paths: Iterable[str | Path]) -> list[Path]:
    """Run folders among `paths`: each is one itself or holds some. Unfinished (`.partial`) ones are left out.

    Args:
        paths: result folders, or folders that hold some.

    Returns:
        The result folders, each once; those of one folder in the natural order of their names.

    Raises:
        ResultError: naming the path that is not there or holds no result.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        unfinished = path.name.endswith(".partial")
        if (path / "metadata.json").is_file() and not unfinished:
            found.append(path)
            continue
        if not path.is_dir():
            raise ResultError(f"{path}: no such results folder")
        inside = (
            []
            if unfinished
            else sorted(
                (p.parent for p in path.glob("*/metadata.json") if not p.parent.name.endswith(".partial")),
                key=lambda folder: natural(folder.name),
            )
        )
        if not inside:
            raise ResultError(f"{path}: holds no finished result (no metadata.json); name a folder that `train` wrote")
        found += inside
    return list(dict.fromkeys(found))


_ENTRY = {"value", "initial", "standard_error", "truth", "error_percent"}


def read_result(folder: str | Path) -> Result:
    """Read one run folder.

    Args:
        folder: a result folder; see `find_results`.

    Returns:
        Its metadata, its predictions, and the course of each estimated parameter.

    Raises:
        ResultError: naming the file that is missing or damaged.
        NewerFormatError: where a newer version wrote it.
    """
    folder = Path(folder)
    path = folder / "metadata.json"
    metadata = _METADATA.read(path)
    groups = [metadata[key] for key in ("estimates", "derived")]
    entry = lambda x: isinstance(x, dict) and x.keys() >= _ENTRY
    sound = all(isinstance(group, dict) and all(map(entry, group.values())) for group in groups)
    if not sound or not isinstance(metadata["metrics"], dict):
        raise ResultError(f"{path}: estimates, derived or metrics are damaged; restore it or run the fit again")
    predictions = _load(folder / "predictions.npz", _PREDICTIONS)
    prefix = "parameter_evolution_"
    evolution = {
        p.stem.removeprefix(prefix): _load(p, ("step", "value")) for p in sorted(folder.glob(f"{prefix}*.npz"))
    }
    return Result(folder, metadata, predictions, evolution)


def _load(path: Path, needed: Iterable[str]) -> dict[str, np.ndarray]:
    if not path.exists():
        raise ResultError(f"{path}: not there; run the fit again")
    try:
        # `np.load` alone would take other formats too.
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, KeyError, NotImplementedError) as e:
        raise ResultError(f"{path}: cannot be read ({e}); run the fit again") from e
    if absent := [name for name in needed if name not in arrays]:
        raise ResultError(f"{path}: lacks {', '.join(absent)}; run the fit again")
    return arrays
