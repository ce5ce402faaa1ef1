"""Arguments of public functions and fields of records held against their annotations, before any work."""

import functools
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ._arguments import ArgumentError, Path
from ._types import Key

_LONGEST = 60
_HOW = {
    "AbstractNoise": "WhiteNoise(10.0) is one",
    "AbstractPhysiology": "a class with parameters, such as Kanderian(...), is one person's",
    "Inputs": "doses.inputs(start_min, end_min) gives them",
    "LogNormal": "LogNormal(200.0, 0.3) is one: median, and standard deviation of the logarithm",
    "NetworkOptions": "PINNOptions() is one",
    "Patient": "read_cohort, read_recording and virtual_population give them",
}
"""By class, how one comes by it."""


class _Wrong(NamedTuple):
    place: Path
    kind: Any
    value: Any


def check_types(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Refuse arguments of a wrong type; numbers and sequences count as such whatever their class, arrays are left.

    Args:
        function: the public function.
        given: its arguments by name: `locals()` in its first line.

    Raises:
        ArgumentError: naming the argument, the place inside it, and what it must be.

    Example:
        >>> from t1djax._checked import check_types
        >>> def simulated(n: int, name: str = "Ada") -> None:
        ...     check_types(simulated, locals())
        >>> simulated("two")
        Traceback (most recent call last):
            ...
        t1djax._arguments.ArgumentError: n: must be a whole number, not 'two'
    """
    for name, kind in _annotations(function).items():
        if wrong := _wrong((name,), given[name], kind):
            remedy = _remedy(wrong.kind, wrong.value)
            raise ArgumentError(wrong.place, f"must be {_words(wrong.kind)}, not {_shown(wrong.value)}{remedy}")


@functools.cache
def _annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Of a record, those of its fields."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    return {p.name: p.annotation for p in parameters if p.annotation is not inspect.Parameter.empty}


def _wrong(place: Path, value: Any, kind: Any) -> _Wrong | None:
    """What does not fit, or None."""
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    here = _Wrong(place, kind, value)
    if origin in (types.UnionType, typing.Union):
        each = [_wrong(place, value, one) for one in inside]
        deeper = [one for one in each if one is not None and len(one.place) > len(place)]
        return None if None in each else deeper[0] if len(deeper) == 1 else here
    if kind in (float, int, bool):
        return None if _IS[kind](value) else here
    if kind in _KEYS:
        return None if isinstance(value, kind) else here
    if origin is type:
        return None if isinstance(value, type) and issubclass(value, inside[0]) else here
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return here
        return next(filter(None, (_wrong((*place, key), x, inside[1]) for key, x in value.items())), None)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Iterable):
        if isinstance(value, np.ndarray | jax.Array):
            return None if value.ndim else here
        if not hasattr(value, "__iter__") or (isinstance(value, str | Mapping) and inside[0] is not str):
            return here
        fixed = origin is tuple and inside[-1] is not ...
        if not hasattr(value, "__len__") or (fixed and len(value) != len(inside)):
            return here if fixed else None
        each = inside if fixed else [inside[0]] * len(value)
        found = ((*place, i) for i in range(len(value)))
        return next(filter(None, map(_wrong, found, value, each)), None)
    if kind is None or kind is types.NoneType:
        return None if value is None else here
    if getattr(kind, "__module__", "") == "jaxtyping":
        return here if value is None or isinstance(value, str | type | Mapping) else None
    plain = isinstance(kind, type) and origin is None and kind.__module__.partition(".")[0] in ("builtins", "t1djax")
    return here if plain and not isinstance(value, kind) else None


def _is_number(x: Any) -> bool:
    alone = isinstance(x, np.ndarray | jax.Array) and x.shape == () and np.issubdtype(x.dtype, np.number)
    return alone or (isinstance(x, numbers.Real) and not isinstance(x, bool))


def _is_whole(x: Any) -> bool:
    return _is_number(x) and hasattr(x, "__index__") and np.issubdtype(np.result_type(x), np.integer)


_IS: Mapping[Any, Callable[[Any], bool]] = {
    float: _is_number,
    int: _is_whole,
    bool: lambda x: isinstance(x, bool | np.bool_),
}
_KEYS = typing.get_args(Key)
_NAMES = {float: "a number", int: "a whole number", bool: "True or False", str: "a text", types.NoneType: "None"}


def _words(kind: Any) -> str:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(_words(one) for one in inside))
    if origin is type:
        return f"a subclass of {inside[0].__name__}"
    if origin is tuple:
        return f"{len(inside)} of them" if inside[-1] is not ... else "a tuple"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a dictionary of {_words(inside[1])} by name"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Iterable):
        return f"a list of {_words(inside[0])}"
    if kind in _KEYS:
        return "a key, as jax.random.key(0)"
    if getattr(kind, "__module__", "") == "jaxtyping":
        return "an array"
    return _NAMES.get(kind) or getattr(kind, "__name__", str(kind))


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value) if isinstance(value, str | numbers.Number | tuple | list | dict) else f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"a {type(value).__name__}"


def _remedy(kind: Any, value: Any) -> str:
    """How one comes by it, after what is wrong."""
    for one in (kind, *typing.get_args(kind), *(x for inner in typing.get_args(kind) for x in typing.get_args(inner))):
        if typing.get_origin(one) is type and isinstance(value, typing.get_args(one)):
            return f"; give its class, {type(value).__name__}"
        if (name := getattr(one, "__name__", "")) in _HOW:
            return f"; {_HOW[name]}"
    return ""
