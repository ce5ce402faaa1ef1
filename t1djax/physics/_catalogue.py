"""The physiologies of the package by name."""

import importlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from .._arguments import ArgumentError
from .._words import did_you_mean
from ._hovorka import Hovorka
from ._kanderian import Kanderian
from ._magdelaine import Magdelaine
from ._parameters import BODY_MASS, Parameter
from ._physiology import AbstractPhysiology

_BY_NAME: dict[str, type[AbstractPhysiology]] = {cls.__name__.lower(): cls for cls in (Magdelaine, Kanderian, Hovorka)}
PHYSIOLOGIES: Mapping[str, type[AbstractPhysiology]] = MappingProxyType(_BY_NAME)
"""Those of the package by name, and classes of one's own that were named as `module:Class`."""


def has_symbol(symbol: str) -> bool:
    """Whether some physiology has a parameter of this name: of the package, or a class of somebody's own.

    Example:
        >>> from t1djax.physics import has_symbol
        >>> has_symbol("SI"), has_symbol("Q")
        (True, False)
    """
    classes = [AbstractPhysiology]
    for cls in classes:
        classes += cls.__subclasses__()
    return any(symbol in cls.parameters for cls in classes[1:] if hasattr(cls, "parameters"))


def table_with(symbols: Iterable[str]) -> Mapping[str, Parameter] | None:
    """The table of the first physiology of the package that has all of these symbols; None where none has.

    A body mass may be stated whatever the physiology.

    Example:
        >>> from t1djax.physics import table_with
        >>> table_with(["SI", "tau1"])["tau1"].unit
        'min'
    """
    wanted = set(symbols)
    anybodys = {BODY_MASS.symbol: BODY_MASS} if BODY_MASS.symbol in wanted else {}
    tables = ({**anybodys, **cls.parameters} for cls in PHYSIOLOGIES.values())
    return next((table for table in tables if wanted <= set(table)), None)


def physiology_named(name: str | type[AbstractPhysiology]) -> type[AbstractPhysiology]:
    """A physiology by its key in `PHYSIOLOGIES`, or `module:Class`, which is imported; a class is taken as it is.

    Raises:
        ArgumentError: naming the nearest one, where there is none of this name; or what is given in place of a class.

    Example:
        >>> from t1djax.physics import physiology_named
        >>> physiology_named("hovorka").__name__
        'Hovorka'
    """
    if not isinstance(name, str):
        return _class(name, type(name).__name__)
    key = name.strip() if ":" in name else name.lower()
    if key not in _BY_NAME and ":" in key:
        _BY_NAME[key] = _imported(key)
    if key in _BY_NAME:
        return _BY_NAME[key]
    near, known = did_you_mean(key, _BY_NAME), ", ".join(_BY_NAME)
    raise ArgumentError(
        "physiology", f"unknown physiology {name!r}{near}; there are {known}, and your own module:Class"
    )


def _imported(name: str) -> type[AbstractPhysiology]:
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
    except (ImportError, ValueError, TypeError) as e:
        where = "it is looked for in the environment (PYTHONPATH), and by commands with a physiology in this folder"
        raise ArgumentError("physiology", f"{name!r}: cannot import {module!r} ({e}); {where}") from e
    if not hasattr(found, attribute):
        classes = [n for n, x in vars(found).items() if isinstance(x, type) and issubclass(x, AbstractPhysiology)]
        raise ArgumentError("physiology", f"{name!r}: {module} has no {attribute!r}{did_you_mean(attribute, classes)}")
    return _class(getattr(found, attribute), name)


def _class(found: Any, name: str) -> type[AbstractPhysiology]:
    if isinstance(found, AbstractPhysiology):
        raise ArgumentError("physiology", f"is one person's body; give the class, {type(found).__name__}")
    if not (isinstance(found, type) and issubclass(found, AbstractPhysiology)):
        known = ", ".join(PHYSIOLOGIES)
        raise ArgumentError("physiology", f"{name} is no subclass of AbstractPhysiology; give one, or {known}")
    return found
