"""Trained networks on disk: arrays by Orbax, and the recipe to rebuild what they belong to as JSON."""

import dataclasses
import errno
import functools
import json
import logging
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._types import Key
from ..networks import ARCHITECTURES, NetworkOptions, Window
from ..physics import PHYSIOLOGIES, AbstractPhysiology, Inputs, physiology_named
from ..records import Fit
from ..twin import Physiology, Scales, Twin
from ._json_files import JsonFormat

_T = TypeVar("_T")
_RECIPE = "recipe.json"
_ARRAYS = "arrays"
AROUND = 256 * 1024
"""Bytes that Orbax writes beside the arrays, and some to spare."""


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message names the file and the remedy."""


_RECIPES = JsonFormat(
    "t1djax.twins",
    2,
    what="networks of t1djax",
    remedy="take another checkpoint",
    absent="name a folder that save_twins wrote",
    needed=("model", "options", "patients", "cells", "physiology", "noise_given"),
    oldest=1,
    error=CheckpointError,
)


class SavedTwins(NamedTuple):
    """Trained networks of a cohort, read back."""

    names: tuple[str, ...]
    """The patients, in order."""
    twins: Twin
    """Networks with their physiologies, stacked along the patients, bit for bit as they were saved."""
    options: NetworkOptions
    """Shape of the networks."""


def save_twins(fit: Fit, folder: str | Path) -> Path:
    """Write the trained networks of a fit to a new folder: all of it, or nothing.

    Args:
        fit: of a network; `ode` has none.
        folder: where; it must not exist.

    Returns:
        The folder.

    Raises:
        ValueError: where the fit holds no network.
        FileExistsError: where the folder is there.
        OSError: where the file system refuses.
    """
    if fit.twins is None or fit.options is None:
        raise ValueError(f"the fit of {fit.model} holds no network to save")
    folder = Path(folder).absolute()
    if folder.exists():
        raise FileExistsError(f"{folder}: is there already; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    body = fit.twins.physiology
    recipe = {
        **_RECIPES.head,
        "model": fit.model,
        "options": _as_json(fit.options),
        "patients": list(fit.problem.names),
        "cells": fit.cells or fit.options.cells(float(np.max(np.asarray(fit.twins.window.span_min)))),
        "physiology": {name: sorted(getattr(body, name)) for name in ("known", "free", "prior", "bounds")},
        "noise_given": body.noise_sd_mg_dL is not None,
        "body": next((name for name, cls in PHYSIOLOGIES.items() if cls is body.body), body.body.__name__),
        "insulin_given": body.insulin_U_min is not None,
        "steps": body.steps,
    }
    (partial / _RECIPE).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    arrays = _flat(fit.twins)
    needed, free = 2 * sum(x.nbytes for x in arrays.values()) + AROUND, shutil.disk_usage(partial).free
    if free < needed:
        shutil.rmtree(partial)
        raise OSError(errno.ENOSPC, f"No space left on device: {free} bytes are free, {needed} needed", str(folder))
    try:
        apart(_write_arrays, partial / _ARRAYS, arrays)
    except ValueError as e:  # what Orbax's store makes of it
        if "No space left" not in str(e):
            raise
        raise OSError(errno.ENOSPC, "No space left on device", str(folder)) from e
    partial.rename(folder)
    return folder


def load_twins(
    folder: str | Path,
    *,
    options: NetworkOptions | None = None,
    physiology: type[AbstractPhysiology] | None = None,
) -> SavedTwins:
    """Read trained networks.

    Args:
        folder: what `save_twins` wrote.
        options: for a network of your own, which JSON cannot hold: the options it was trained with.
        physiology: for a body of your own, its class.

    Returns:
        The networks. Their arithmetic is that of the options: use float64 ones under `jax.enable_x64(True)`.

    Raises:
        CheckpointError: naming the file that is missing, damaged, of a newer format, or does not fit the options.

    Example:
        >>> import tempfile
        >>> import jax
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"])
        >>> fit = t1djax.fit(cohort, options=t1djax.BIRNNOptions(units=8, cell_min=30))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saved = t1djax.load_twins(t1djax.save_twins(fit, f"{folder}/twins"))
        >>> with jax.enable_x64(True):
        ...     glucose = jax.vmap(lambda twin: twin.states(jax.numpy.asarray([0.0, 60.0])))(saved.twins)[0, :, 0]
        >>> round(float(glucose[0]))
        125
    """
    folder = Path(folder).absolute()
    recipe = _RECIPES.read(folder / _RECIPE)
    damaged = (TypeError, ValueError, AttributeError, KeyError, AssertionError)
    if options is None or recipe["options"] is not None:
        try:
            saved = _options(recipe, folder / _RECIPE)
        except CheckpointError:
            raise
        except damaged as e:
            raise CheckpointError(f"{folder / _RECIPE}: is damaged ({e!r}); take another checkpoint") from e
        if options is not None and options != saved:
            differ = "; ".join(_differing(saved, options))
            raise CheckpointError(
                f"{folder}: was trained with other options ({differ}); give those it was trained with"
            )
        options = saved
    elif options.model != recipe["model"]:
        raise CheckpointError(f"{folder}: holds networks of {recipe['model']}, the options are of {options.model}")
    try:
        arrays = sizes_as_now(apart(_read_arrays, folder / _arrays_in(recipe)))
    except (ValueError, OSError, KeyError, AttributeError, TypeError) as e:
        raise CheckpointError(f"{folder / _arrays_in(recipe)}: cannot be read ({e}); take another checkpoint") from e
    body = physiology or physiology_named(recipe.get("body", "Magdelaine"))
    try:
        with jax.enable_x64(options.precision == "float64"):
            skeleton = _skeleton(recipe, options, arrays, body)
    except damaged as e:
        raise CheckpointError(f"{folder / _RECIPE}: does not fit the arrays ({e!r}); take another checkpoint") from e
    paths = jax.tree_util.tree_leaves_with_path(skeleton)
    names = [jax.tree_util.keystr(path) for path, _ in paths]
    wanted = {name: (leaf.shape, leaf.dtype) for name, (_, leaf) in zip(names, paths, strict=True)}
    misfits = [n for n in names if n not in arrays or (arrays[n].shape, arrays[n].dtype) != wanted[n]]
    if misfits or len(names) != len(arrays):
        wrong = misfits or sorted(set(arrays) - set(names))
        raise CheckpointError(f"{folder}: {wrong[0]} does not fit the options; give those it was trained with")
    with jax.enable_x64(options.precision == "float64"):
        leaves = [jax.device_put(arrays[name]) for name in names]
    return SavedTwins(tuple(recipe["patients"]), jax.tree.unflatten(jax.tree.structure(skeleton), leaves), options)


def drop_twins(folder: str | Path, name: str) -> bool:
    """Remove one patient's network from those of a cohort on disk; the others' stay as they are, bit for bit.

    The new arrays are whole before the recipe names them, and the old ones go then.

    Returns:
        Whether networks of others are left; where not, nothing is done: remove the folder.

    Raises:
        CheckpointError: where the folder is damaged.
    """
    folder = Path(folder).absolute()
    recipe = _RECIPES.read(folder / _RECIPE)
    left = [i for i, other in enumerate(recipe["patients"]) if other != name]
    if not left:
        return False
    old, new = folder / _arrays_in(recipe), f"{_ARRAYS}-{os.urandom(4).hex()}"
    try:
        arrays = apart(_read_arrays, old)
    except (ValueError, OSError, KeyError, AttributeError, TypeError) as e:
        raise CheckpointError(f"{old}: cannot be read ({e}); remove the folder") from e
    apart(_write_arrays, folder / new, {key: x[left] for key, x in arrays.items()})
    recipe |= {"patients": [recipe["patients"][i] for i in left], "arrays": new}
    partial = folder / f"{_RECIPE}.partial"
    partial.write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / _RECIPE)
    shutil.rmtree(old)
    return True


def _arrays_in(recipe: dict[str, Any]) -> str:
    """The folder of the arrays, which lies beside the recipe; another one where they were rewritten."""
    return Path(str(recipe.get("arrays", _ARRAYS))).name


def _differing(saved: Any, given: Any, at: str = "network") -> Iterator[str]:
    """Fields in which two records of options differ, as a configuration names them."""
    if type(saved) is not type(given):
        yield f"{at}: {type(saved).__name__}, not {type(given).__name__}"
        return
    for field in dataclasses.fields(saved):
        one, other = getattr(saved, field.name), getattr(given, field.name)
        if one == other:
            continue
        if dataclasses.is_dataclass(one):
            yield from _differing(one, other, f"{at}.{field.name}")
        else:
            yield f"{at}.{field.name}: {one}, not {other}"


def apart(f: Callable[..., _T], *args: Any) -> _T:
    """`f(*args)`, computed here, or, where this is one of several `jax.distributed` processes, in a process beside it.

    Of several processes Orbax lets only the first write arrays that lie on the host, and makes each wait for all. These
    arrays are this process's own; `f`, its arguments and its result travel between processes.
    """
    return f(*args) if jax.process_count() == 1 else _beside().submit(f, *args).result()


@functools.cache
def _beside() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    """The process that writes has no use for the accelerator, which its parent holds, and does not outlive it."""
    jax.config.update("jax_platforms", "cpu")
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _write_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    import orbax.checkpoint as ocp  # noqa: PLC0415 - heavy

    with quiet_orbax(), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, arrays)


def _read_arrays(folder: Path) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp  # noqa: PLC0415 - heavy

    if not folder.is_dir():
        raise FileNotFoundError("no such folder")
    with ocp.StandardCheckpointer() as checkpointer:
        shapes = dict(checkpointer.metadata(folder).item_metadata.items())
        return checkpointer.restore(folder, {name: np.empty(x.shape, x.dtype) for name, x in shapes.items()})


@contextmanager
def quiet_orbax() -> Iterator[None]:
    """What Orbax logs of failures, with tracebacks, is said in one line by who calls it."""
    logger = logging.getLogger("absl")
    logger.addFilter(not_of_orbax)
    try:
        yield
    finally:
        logger.removeFilter(not_of_orbax)


def not_of_orbax(record: logging.LogRecord) -> bool:
    """A filter for absl's logger."""
    return "orbax" not in record.pathname


def _flat(twins: Twin) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(twins)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def sizes_as_now(arrays: dict[str, np.ndarray], twins: str = "") -> dict[str, np.ndarray]:
    """Arrays of twins by name; what earlier versions wrote had a size for each state of `Magdelaine`.

    Names of the twins' arrays begin with `twins`.
    """
    old = [f"{twins}.scales.{name}" for name in "GID"]
    if old[0] not in arrays:
        return arrays
    rest = {name: x for name, x in arrays.items() if name not in old}
    sizes = np.stack([arrays[name] for name in old], axis=-1)
    return rest | {f"{twins}.scales.glucose_mg_dL": arrays[old[0]], f"{twins}.scales.states": sizes}


def _as_json(options: NetworkOptions) -> dict[str, Any] | None:
    """Fields of the options; None for a network of the user's own, which JSON cannot hold."""
    if type(options) is not ARCHITECTURES.get(options.model):
        return None
    return json.loads(json.dumps(dataclasses.asdict(options)))


def _options(recipe: dict[str, Any], path: Path) -> NetworkOptions:
    if recipe["model"] not in ARCHITECTURES or recipe["options"] is None:
        raise CheckpointError(
            f"{path}: is of a network of your own ({recipe['model']}); give the options to load_twins"
        )
    return _build(ARCHITECTURES[recipe["model"]], recipe["options"], path)


def _build(kind: type[Any], values: dict[str, Any], path: Path) -> Any:
    """A record from its JSON: tuples were lists, records were dictionaries."""
    known = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := [name for name in values if name not in known]:
        raise CheckpointError(f"{path}: options have {', '.join(unknown)}, which this t1djax does not know; update it")
    made = {}
    for name, value in values.items():
        if isinstance(value, dict):
            factory = known[name].default_factory
            assert isinstance(factory, type)
            made[name] = _build(factory, value, path)
        else:
            made[name] = tuple(value) if isinstance(value, list) else value
    return kind(**made)


def _skeleton(
    recipe: dict[str, Any],
    options: NetworkOptions,
    arrays: dict[str, np.ndarray],
    body: type[AbstractPhysiology],
) -> Twin:
    """Twins of shapes without numbers."""
    breaks = arrays[".window.inputs.break_min"].shape[1:]
    earlier = arrays.get(".window.inputs.earlier.break_min")
    asked = json.dumps({**recipe, "patients": len(recipe["patients"]), "arrays": None})
    return _shapes(asked, options, breaks, None if earlier is None else earlier.shape[1:], body)


@functools.lru_cache(maxsize=16)
def _shapes(
    asked: str,
    options: NetworkOptions,
    breaks: tuple[int, ...],
    earlier: tuple[int, ...] | None,
    body_class: type[AbstractPhysiology],
) -> Twin:
    recipe = json.loads(asked)
    symbols, dtype = recipe["physiology"], options.dtype

    def one(key: Key) -> Twin:
        column, scalar, pair = jnp.zeros(breaks, dtype), jnp.zeros((), dtype), jnp.zeros(2, dtype)
        empty = jnp.zeros(() if earlier is None else earlier, dtype)
        before = None if earlier is None else Inputs(empty, empty, empty)
        window = Window(Inputs(column, column, column, earlier=before), scalar)
        network = options.network(window, jnp.zeros(recipe["cells"] + 1, dtype), key=key)
        body = Physiology(
            known=dict.fromkeys(symbols["known"], scalar),
            free=dict.fromkeys(symbols["free"], scalar),
            prior=dict.fromkeys(symbols["prior"], pair),
            bounds=dict.fromkeys(symbols["bounds"], pair),
            noise_sd_mg_dL=scalar if recipe["noise_given"] else None,
            insulin_U_min=scalar if recipe.get("insulin_given") else None,
            body=body_class,
            steps=recipe.get("steps"),
        )
        states = len(body_class.facts.learnt)
        network = eqx.tree_at(lambda n: n.readout, network, jnp.zeros((network.readout.shape[0], states), dtype))
        twin = Twin(network, body, Scales(scalar, jnp.zeros(states, dtype), scalar), window)
        # A flax module draws its parameters in a precision of its own.
        return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, twin)

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), recipe["patients"]))
    return eqx.filter_eval_shape(jax.vmap(one), keys)
