"""The physiologies of the package by name."""

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ._hovorka import Hovorka
from ._kanderian import Kanderian
from ._magdelaine import Magdelaine
from ._parameters import BODY_MASS, Parameter
from ._physiology import AbstractPhysiology

PHYSIOLOGIES: Mapping[str, type[AbstractPhysiology]] = MappingProxyType(
    {cls.__name__.lower(): cls for cls in (Magdelaine, Kanderian, Hovorka)}
)
"""Those that can be named, on a command line and in a configuration."""


def has_symbol(symbol: str) -> bool:
    """Whether some physiology has a parameter of this name: of the package, or a class of somebody's own.

    Args:
        symbol: of a parameter.

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

    Args:
        symbols: of parameters.

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
    """A physiology by its name; a class is taken as it is.

    Args:
        name: a key of `PHYSIOLOGIES`, in any case, or a class.

    Returns:
        The class.

    Raises:
        ValueError: naming the nearest one, where there is none of this name.

    Example:
        >>> from t1djax.physics import physiology_named
        >>> physiology_named("hovorka").__name__
        'Hovorka'
    """
    if not isinstance(name, str):
        return name
    if name.lower() in PHYSIOLOGIES:
        return PHYSIOLOGIES[name.lower()]
    close = difflib.get_close_matches(name.lower(), PHYSIOLOGIES, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"unknown physiology {name!r}; there are {', '.join(PHYSIOLOGIES)}{hint}")
