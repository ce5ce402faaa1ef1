"""What differs between two finished results, and why it may."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..config import Experiment, with_defaults
from ..io import differences, find_results, read_result
from ..records import Result

_WHAT = ("model", "mode", "patient", "named_parameters", "seed")
_NAMES = ("run", "started", "wall_seconds", "compile_seconds", "patients_in_the_program")


class Pair(NamedTuple):
    """A number in both results."""

    first: float | None
    """In the first; None where it is not there, without unit of its own: that of the number."""
    second: float | None
    """In the second, likewise."""

    @property
    def difference(self) -> float | None:
        """Second less first."""
        return None if self.first is None or self.second is None else self.second - self.first


class ResultDifference(NamedTuple):
    """Two results side by side; see `result_difference`."""

    first: Path
    """Folder of the first."""
    second: Path
    """Folder of the second."""
    patient: str
    """The patient of the first."""
    asked: tuple[str, ...]
    """Differences of model, mode, patient, parameters, seed and configuration, a line each: `seed: 0 -> 1`."""
    made_by: tuple[str, ...]
    """Of versions and device."""
    data: tuple[str, ...]
    """Of the record: its hash, and its rows."""
    values: tuple[str, ...]
    """Of values that were known or assumed, and of what is noted."""
    names: tuple[str, ...]
    """Of what no number depends on: names, places, times."""
    estimates: Mapping[str, Pair]
    """Estimates by symbol, in the units of `PARAMETERS`."""
    metrics: Mapping[str, Pair]
    """Metrics by name, which has the unit."""
    predictions_equal: bool
    """Whether all arrays of the predictions are the same bit for bit."""
    largest_glucose_mg_dL: float | None
    """Largest difference of fitted and forecast glucose, mg/dL; None where the rows differ."""

    @property
    def same(self) -> bool:
        """Whether all numbers are the same bit for bit."""
        return self.predictions_equal and all(
            a == b for group in (self.estimates, self.metrics) for a, b in group.values()
        )


class Matched(NamedTuple):
    """Results of two places, put side by side."""

    pairs: tuple[ResultDifference, ...]
    """Those that are in both."""
    first_only: tuple[Path, ...]
    """Folders without a partner in the second place."""
    second_only: tuple[Path, ...]
    """Folders without one in the first."""


def diff_results(first: str | Path, second: str | Path) -> Matched:
    """Compare two results, or two folders of them.

    Two single results are compared whatever they are of. In folders, results of one model, mode, set of parameters,
    patient and seed belong together, repeated ones in the order of their names.

    Args:
        first: a result folder, or a folder that holds some.
        second: likewise.

    Returns:
        Pairs of results with what differs in each, and the folders that found no partner.

    Raises:
        ResultError: where one cannot be read.

    Example:
        >>> import tempfile
        >>> import t1djax
        >>> quiet = t1djax.experiment.Execution(figures=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for seed in (0, 1):
        ...         config = t1djax.Experiment(model="ode", patients="3", seed=seed, results=f"{folder}/{seed}")
        ...         _ = t1djax.run(config, execution=quiet)
        ...     found = t1djax.diff_results(f"{folder}/0", f"{folder}/1")
        >>> found.pairs[0].asked
        ('seed: 0 -> 1', 'config.seed: 0 -> 1')
    """
    ours, theirs = ([read_result(folder) for folder in find_results([Path(path)])] for path in (first, second))
    if len(ours) == len(theirs) == 1:
        return Matched((result_difference(ours[0], theirs[0]),), (), ())
    groups: dict[str, tuple[list[Result], list[Result]]] = {}
    for side, results in enumerate((ours, theirs)):
        for result in results:
            groups.setdefault(str([result.metadata.get(key) for key in _WHAT]), ([], []))[side].append(result)
    pairs, left, right = [], [], []
    for a, b in groups.values():
        both = min(len(a), len(b))
        pairs += [result_difference(x, y) for x, y in zip(a, b, strict=False)]
        left += [result.folder for result in a[both:]]
        right += [result.folder for result in b[both:]]
    return Matched(tuple(pairs), tuple(left), tuple(right))


def result_difference(a: Result, b: Result) -> ResultDifference:
    """Put two results side by side."""
    x, y = a.metadata, b.metadata
    part = lambda keys: differences({k: x.get(k) for k in keys}, {k: y.get(k) for k in keys})
    settled = [with_defaults(m.get("config", {}), Experiment) for m in (x, y)]
    config = [{k: v for k, v in c.items() if k != "results"} for c in settled]
    places = [{"folder": r.folder.name, "results": r.metadata.get("config", {}).get("results")} for r in (a, b)]
    rows = a.predictions["time_min"].shape == b.predictions["time_min"].shape
    far = np.abs(b.predictions["glucose_mg_dL"] - a.predictions["glucose_mg_dL"]) if rows else np.zeros(0)
    return ResultDifference(
        a.folder,
        b.folder,
        x["patient"],
        tuple(part(_WHAT) + differences(config[0], config[1], "config")),
        tuple(part(("versions", "device"))),
        tuple(_data(a, b)),
        tuple(part(("known", "assumed", "notes", "doubts", "ok", "message"))),
        tuple(differences(places[0], places[1]) + part(_NAMES)),
        _pairs(*({s: e["value"] for s, e in (m["estimates"] | m["derived"]).items()} for m in (x, y))),
        _pairs(x["metrics"], y["metrics"]),
        _equal(a.predictions, b.predictions),
        float(np.max(far)) if far.size else None,
    )


def _data(a: Result, b: Result) -> list[str]:
    hashes = [r.metadata.get("data") for r in (a, b)]
    found = []
    if None in hashes and hashes != [None, None]:
        older = a if hashes[0] is None else b
        found.append(f"data: {older.folder.name} is of an earlier version and does not say of which record it is")
    elif hashes[0] != hashes[1]:
        found.append(f"data: {hashes[0]} -> {hashes[1]}")
    names = ("time_min", "observed_mg_dL")
    if not _equal(*({k: r.predictions[k] for k in names} for r in (a, b))):
        n = [len(r.predictions["time_min"]) for r in (a, b)]
        found.append(f"rows: {n[0]} -> {n[1]}" if n[0] != n[1] else "rows: as many, with other times or readings")
    return found


def _equal(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=a[k].dtype.kind == "f") for k in a)


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Pair]:
    keys: Sequence[str] = [*a, *(key for key in b if key not in a)]
    return {key: Pair(a.get(key), b.get(key)) for key in keys}
