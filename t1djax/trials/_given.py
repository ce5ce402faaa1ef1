"""Settings that are given rather than titrated, for everybody or person by person."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from .._arguments import ArgumentError
from .._words import did_you_mean

GIVEN = ("basal_U_h", "g_per_U", "mg_dL_per_U")
"""Settings that can be given: fields of `Profile`."""


def given_settings(settings: Mapping[str, Any], names: Sequence[str]) -> Float[np.ndarray, "people settings"]:
    """Settings as an array, a row for each person; not a number where one is to be titrated.

    By name of `GIVEN`: a number for everybody, one for each person, or numbers by person's name.

    Raises:
        ArgumentError: naming the setting and the person.
    """
    found, rows = np.full((len(names), len(GIVEN)), np.nan), {name: i for i, name in enumerate(names)}
    for setting, value in settings.items():
        if setting not in GIVEN:
            there = f"there are {', '.join(GIVEN)}"
            raise ArgumentError("settings", f"{setting!r} is none{did_you_mean(setting, GIVEN)}; {there}")
        by_name = value if isinstance(value, Mapping) else dict(zip(names, _each(setting, value, names), strict=True))
        if strange := [name for name in by_name if name not in rows]:
            raise ArgumentError(("settings", setting, strange[0]), "nobody of this name is in the trial")
        for name, number in by_name.items():
            if not (isinstance(number, int | float | np.number) and 0 < number < np.inf):
                raise ArgumentError(("settings", setting, name), f"is {number}; give a positive number")
            found[rows[name], GIVEN.index(setting)] = number
    return found


def _each(setting: str, value: Any, names: Sequence[str]) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim and array.shape != (len(names),):
        raise ArgumentError(
            ("settings", setting), f"has the shape {array.shape}; give one number, or one for each of {len(names)}"
        )
    return np.broadcast_to(array, len(names))
