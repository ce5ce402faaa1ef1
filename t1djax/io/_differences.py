"""How two records differ, in words."""

from collections.abc import Mapping
from typing import Any


def differences(a: Any, b: Any, at: str = "") -> list[str]:
    """How two configurations differ, a line for each value: `sensor.noise: none -> white`.

    Example:
        >>> from t1djax.io import differences
        >>> differences({"seed": 0, "sensor": {"noise": "none"}}, {"seed": 0, "sensor": {"noise": "white"}})
        ['sensor.noise: none -> white']
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = [*a, *(key for key in b if key not in a)]
        inner = (differences(a.get(k), b.get(k), f"{at}.{k}" if at else str(k)) for k in keys)
        return [line for lines in inner for line in lines]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        inner = (differences(x, y, f"{at}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True)))
        return [line for lines in inner for line in lines]
    shown = lambda x: "-" if x is None else f"{x}"
    return [] if a == b else [f"{at}: {shown(a)} -> {shown(b)}"]
