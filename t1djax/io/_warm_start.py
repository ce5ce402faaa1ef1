"""Result folders as the start of new fits."""

from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

from ..networks import NetworkOptions
from ..records import Result, WarmStart, window_marks
from ._checkpoints import SavedTwins, load_twins
from ._json_files import ResultError
from ._results import CHECKPOINTS, find_results, read_result


def read_warm_start(
    path: str | Path, *, model: str, names: Iterable[str] | None = None, options: NetworkOptions | None = None
) -> WarmStart:
    """What a fit can start from, out of result folders; each patient's folder is read on its own.

    Args:
        path: a result folder, or a folder that holds one result per patient of this model.
        model: the model; results of others are passed over.
        names: the patients that are wanted; all that are there if not given.
        options: those of the network that is to be fitted; the saved networks must have been trained with them.

    Returns:
        Estimates, and for networks their weights, of the patients found.

    Raises:
        ResultError: where there is no result of the model, a patient has none or several, or a file is damaged.
        CheckpointError: where a checkpoint is damaged, or was trained with other options.

    Example:
        >>> import tempfile
        >>> import t1djax
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     config = t1djax.Experiment(model="ode", patients="2,3", results=folder)
        ...     _ = t1djax.run(config, execution=t1djax.experiment.Execution(figures=False))
        ...     warm = t1djax.io.read_warm_start(folder, model="ode")
        >>> [round(value) for value in warm.values["ksi"]]
        [197, 274]
    """
    path = Path(path)
    wanted = None if names is None else list(names)
    found: dict[str, Result] = {}
    for folder in find_results([path]):
        result = read_result(folder)
        name = result.metadata["patient"]
        if result.metadata["model"] != model or (wanted is not None and name not in wanted):
            continue
        if name in found:
            raise ResultError(
                f"{path}: holds several {model} results of {name} ({found[name].folder.name}, {folder.name}); "
                "name the folder of one, or a folder with one per patient"
            )
        found[name] = result
    if absent := [name for name in wanted or () if name not in found]:
        raise ResultError(f"{path}: holds no {model} result of {', '.join(absent[:5])}; name results of these patients")
    if not found:
        raise ResultError(f"{path}: holds no {model} result; name a folder that `train` wrote with this model")
    results = [found[name] for name in wanted or found]
    values = {symbol: [_estimate(result, symbol) for result in results] for symbol in _symbols(results)}
    saved = [] if model == "ode" else [_twins(result.folder, options) for result in results]
    leaves = [jax.tree.leaves(one.twins.surrogate) for one in saved]
    if any(one.options != saved[0].options for one in saved):
        raise ResultError(f"{path}: its networks have different options; name results of one shape")
    return WarmStart(
        str(path),
        model,
        tuple(result.metadata["patient"] for result in results),
        {symbol: np.array(each) for symbol, each in values.items()},
        np.array([result.predictions["time_min"][0] for result in results], np.float64),
        tuple(np.concatenate([np.asarray(x) for x in same]) for same in zip(*leaves, strict=True)) if saved else None,
        jax.tree.map(lambda *x: np.concatenate(x), *(one.twins.scales for one in saved)) if saved else None,
        np.concatenate([window_marks(one.twins.window) for one in saved]) if saved else None,
        saved[0].options if saved else None,
    )


def _symbols(results: list[Result]) -> list[str]:
    """What was estimated in all of the results."""
    first, *others = [result.metadata["estimates"] for result in results]
    return [symbol for symbol in first if all(symbol in other for other in others)]


def _estimate(result: Result, symbol: str) -> float:
    value = result.metadata["estimates"][symbol]["value"]
    if value is None or not 0 < value < np.inf:
        raise ResultError(f"{result.folder}: {symbol} is {value}; a fit cannot start from one that failed")
    return float(value)


def _twins(folder: Path, options: NetworkOptions | None) -> SavedTwins:
    if not (folder / CHECKPOINTS).is_dir():
        raise ResultError(
            f"{folder}: has no {CHECKPOINTS}, so its network cannot be restored; fit it again with this version"
        )
    return load_twins(folder / CHECKPOINTS, options=options)
