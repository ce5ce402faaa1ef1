"""Population forecasters on disk: numbers as text, so that everybody can see that no readings are among them."""

import functools
import json
from importlib.resources import files
from pathlib import Path

import jax
import numpy as np

from .._whole import whole
from ._known import COLUMNS
from ._network import KNOTS_MIN, KNOWN_DAYS, PopulationForecaster, PopulationNetwork

FORMAT, FORMAT_VERSION, TRAINING = "t1djax.population", 2, "t1djax.population.training"
_DIGITS = 4
_HEAD = 100
"""Bytes of a file among which its format stands."""
_SHIPPED = files("t1djax.population").joinpath("weights.json")


def write_population(forecaster: PopulationForecaster, file: str | Path) -> Path:
    """Write a forecaster as one JSON file.

    Args:
        forecaster: what `fit_population` gave.
        file: where; what is there is replaced.

    Returns:
        The file. Numbers have four digits.

    Raises:
        OSError: where the file system refuses.

    Example:
        >>> import tempfile, pathlib, t1djax
        >>> shipped = t1djax.shipped_forecaster()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = t1djax.population.write_population(shipped, pathlib.Path(folder) / "own.json")
        ...     t1djax.read_population(file)
        PopulationForecaster(15 people)
    """
    file = Path(file)
    leaves = jax.tree.leaves(forecaster.networks)
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "people": list(forecaster.people),
        "columns": list(COLUMNS),
        "knots_min": list(KNOTS_MIN),
        "known_days": list(KNOWN_DAYS),
        "width": int(forecaster.networks.second.bias.shape[1]),
        "members": int(forecaster.networks.second.bias.shape[0]),
    }
    arrays = {"scale": forecaster.scale, "usual": forecaster.usual, "calibration": forecaster.calibration}
    arrays |= {f"weights_{i}": x for i, x in enumerate(leaves)}
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()]
    lines += [f"  {json.dumps(name)}: [{', '.join(map(_number, np.ravel(x).tolist()))}]" for name, x in arrays.items()]
    with whole(file) as partial:
        partial.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return file


def _number(x: float) -> str:
    return f"{x:.{_DIGITS}g}"


def read_population(file: str | Path) -> PopulationForecaster:
    """Read a forecaster.

    Args:
        file: what `write_population` wrote.

    Returns:
        The forecaster.

    Raises:
        ValueError: where the file is something else, or was written for other columns or horizons.
        OSError: where it cannot be read.

    Example:
        >>> import t1djax
        >>> t1djax.shipped_forecaster().usual.shape
        (11,)
    """
    return _parse(Path(file).read_text(encoding="utf-8"), str(file))


@functools.cache
def shipped_forecaster() -> PopulationForecaster:
    """The package's own forecaster: learnt from fifteen people of AZT1D and HUPA-UCM, as `weights.md` beside it says.

    Returns:
        The forecaster.

    Raises:
        ValueError: where the installed file is damaged.

    Example:
        >>> import t1djax
        >>> t1djax.shipped_forecaster()
        PopulationForecaster(15 people)

    Source: Khamesian et al., AZT1D, Mendeley Data, doi 10.17632/gk9m674wcx.1, 2025 (CC BY 4.0); Hidalgo et al.,
    HUPA-UCM Diabetes Dataset, Mendeley Data, doi 10.17632/3hbcscwz44.1, 2024 (CC BY 4.0).
    """
    return _parse(_SHIPPED.read_text(encoding="utf-8"), "weights.json")


def learnt_from(file: Path) -> tuple[str, ...]:
    """Whom a forecaster, or the training of one that is not finished, learnt from; nobody where a file is neither.

    The package's own forecaster counts as neither, wherever a copy of it lies: everybody has it.
    """
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
        data = head + stream.read() if FORMAT.encode() in head else b""
    if not data or data == _SHIPPED.read_bytes():
        return ()
    try:
        content, _ = json.JSONDecoder().raw_decode(data.decode("utf-8", "replace"))  # a training has arrays behind it
    except (ValueError, RecursionError):
        return ()
    ours = isinstance(content, dict) and content.get("format") in (FORMAT, TRAINING)
    people = content.get("people") if ours else None
    return tuple(people) if isinstance(people, list) and all(isinstance(name, str) for name in people) else ()


def _parse(text: str, name: str) -> PopulationForecaster:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    head = {"format": FORMAT, "format_version": FORMAT_VERSION}
    if not isinstance(content, dict) or any(content.get(key) != value for key, value in head.items()):
        raise ValueError(f"{name}: is no population forecaster of this version; make one with t1djax population train")
    of = {"columns": COLUMNS, "knots_min": KNOTS_MIN, "known_days": KNOWN_DAYS}
    if any(content[key] != list(value) for key, value in of.items()):
        raise ValueError(f"{name}: was learnt from other columns or horizons; train it again with this version")
    one = jax.eval_shape(lambda key: PopulationNetwork(content["width"], key=key), jax.random.key(0))
    shapes, tree = jax.tree.flatten(one)
    members = content["members"]
    leaves = [np.asarray(content[f"weights_{i}"]).reshape(members, *x.shape) for i, x in enumerate(shapes)]
    scale, usual, calibration = (np.asarray(content[key], np.float32) for key in ("scale", "usual", "calibration"))
    calibration = calibration.reshape(len(KNOWN_DAYS), len(KNOTS_MIN))
    return PopulationForecaster(tuple(content["people"]), scale, usual, calibration, jax.tree.unflatten(tree, leaves))
