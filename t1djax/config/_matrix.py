"""The cells of a sweep's matrix, and what is said of some of them: exclude, include, overrides."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from .._words import did_you_mean
from ..physics import PHYSIOLOGIES
from ..question import Mode
from ._experiment import BESIDE, Experiment, Model

OF_A_MODEL = ("network", *(name for name in BESIDE if name not in ("mode", "inverse_params")), "warm_start")
"""Fields of `Experiment` that an override may set; all the others are alike for the models that are compared."""
_SYMBOLS = tuple(dict.fromkeys(symbol for body in PHYSIOLOGIES.values() for symbol in body.parameters))
_PATTERN = {"model": get_args(Model), "mode": get_args(Mode), "inverse_params": _SYMBOLS}
_AXES = {"model": "models", "mode": "modes", "inverse_params": "inverse_params", "members": "seeds"}

Cell = Mapping[str, Any]
Wrong = tuple[tuple[str | int, ...], str]
"""Where something is wrong, and what."""


def cells_of(models: Sequence[str], modes: Sequence[str], sets: Sequence[tuple[str, ...]]) -> list[Cell]:
    """The whole matrix."""
    return [
        {"model": model, "mode": mode, "inverse_params": symbols}
        for model in models
        for mode in modes
        for symbols in (sets if mode == "inverse" else ((),))
    ]


def without(cells: Iterable[Cell], exclude: Iterable[Mapping[str, Any]]) -> list[Cell]:
    """The cells that no pattern matches."""
    return [cell for cell in cells if not any(_matches(cell, pattern) for pattern in exclude)]


def _matches(cell: Cell, pattern: Mapping[str, Any]) -> bool:
    return all(
        set(cell[key]) == set(_texts(value)) if key == "inverse_params" else cell[key] in _texts(value)
        for key, value in pattern.items()
    )


def _texts(value: Any) -> list[Any]:
    """A list as it is, a text as the list that its commas make."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, list | tuple) else [value]


def wrong_patterns(exclude: Sequence[Mapping[str, Any]], cells: Sequence[Cell], *, narrowed: bool) -> Iterator[Wrong]:
    """What is wrong with `exclude`; a pattern may match nothing where flags narrowed a file's matrix."""
    for i, pattern in enumerate(exclude):
        if not pattern:
            yield ("exclude", i), "is empty and would leave out everything; name model, mode or inverse_params"
        found = False
        for key, value in pattern.items():
            if key not in _PATTERN:
                yield ("exclude", i), f"exclude: {key} is not matched; there are {', '.join(_PATTERN)}"
                found = True
                continue
            texts = _texts(value)
            if unknown := [text for text in texts if text not in _PATTERN[key]]:
                what = ", ".join(map(str, unknown))
                yield ("exclude", i, key), f"there is no {what}; there are {', '.join(_PATTERN[key])}"
                found = True
        if pattern and not found and not narrowed and not any(_matches(cell, pattern) for cell in cells):
            what = ", ".join(f"{key}: {'+'.join(_texts(value))}" for key, value in pattern.items())
            yield ("exclude", i), f"matches nothing of the matrix ({what}); correct it, or leave it out"


def completed(
    include: Sequence[Mapping[str, Any]],
    models: Sequence[str],
    modes: Sequence[str],
    sets: Sequence[tuple[str, ...]],
) -> list[Cell]:
    """The experiments of `include`, with what the matrix leaves no choice about."""
    found = []
    for extra in include:
        cell = {name: value for name, value in extra.items() if value is not None}
        if len(set(models)) == 1:
            cell.setdefault("model", models[0])
        only = modes[0] if len(set(modes)) == 1 and "inverse_params" not in cell else "inverse"
        cell.setdefault("mode", only)
        if cell["mode"] == "inverse" and len(sets) == 1:
            cell.setdefault("inverse_params", sets[0])
        found.append(cell)
    return found


def wrong_includes(include: Sequence[Cell], sets: Sequence[tuple[str, ...]]) -> Iterator[Wrong]:
    """What is wrong with `include`, once completed, apart from what `Experiment` says."""
    for i, cell in enumerate(include):
        at = ("include", i)
        if "model" not in cell:
            yield at, "name its model; the matrix has several"
        elif cell["model"] not in get_args(Model):
            yield (*at, "model"), f"must be one of {', '.join(get_args(Model))} (given: {cell['model']!r:.60})"
        if cell["mode"] == "inverse" and "inverse_params" not in cell and len(sets) > 1:
            yield at, "name its inverse_params; the matrix has several sets"
        yield from _of_ode(at, cell.get("model"), cell)
        for key in cell:
            if key == "results":
                yield (*at, key), "a sweep has one results folder; state it at the top level"
            elif key not in Experiment.names():
                yield (*at, str(key)), f"there is no such field{did_you_mean(key, Experiment.names())}"


def wrong_overrides(
    overrides: Mapping[Any, Mapping[str, Any]], cells: Iterable[Cell], *, narrowed: bool
) -> Iterator[Wrong]:
    """What is wrong with `overrides`; `narrowed` as for `wrong_patterns`."""
    there = list(dict.fromkeys(str(cell.get("model")) for cell in cells))
    for model, own in overrides.items():
        if model not in there and not narrowed:
            yield ("overrides", model), f"{model} is not in the matrix ({', '.join(there)}); add it, or leave this out"
        yield from _of_ode(("overrides", model), model, own)
        for key in own:
            at = ("overrides", model, str(key))
            if key in OF_A_MODEL:
                continue
            if key in _AXES:
                yield at, f"is of the matrix; use {_AXES[key]} at the top level, include or exclude"
            elif key in Experiment.names():
                yield at, "is the same for all models that are compared; state it at the top level"
            else:
                yield at, f"there is no such field{did_you_mean(key, OF_A_MODEL)}; there are {', '.join(OF_A_MODEL)}"


def wrong_sets(sets: Sequence[tuple[str, ...]]) -> Iterator[Wrong]:
    """What is wrong with the sets of parameters among each other."""
    seen: dict[frozenset[str], tuple[str, ...]] = {}
    for i, symbols in enumerate(sets):
        before = seen.setdefault(frozenset(symbols), symbols)
        if len(set(symbols)) < len(symbols):
            twice = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
            yield ("inverse_params", i), f"{twice} stands twice; name each parameter once"
        elif before != symbols and len(before) == len(symbols):
            yield ("inverse_params", i), f"{'+'.join(symbols)} is {'+'.join(before)} once more; leave one of them out"
        elif not symbols:
            yield ("inverse_params", i), "name at least one parameter, for example ksi; forward mode estimates none"


def _of_ode(at: tuple[str | int, ...], model: Any, values: Mapping[str, Any]) -> Iterator[Wrong]:
    if model == "ode" and values.get("network"):
        yield (*at, "network"), "ode has no network; leave it out"
