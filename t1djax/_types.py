"""Array aliases and unit conventions.

Units are fixed throughout and named at every boundary: time in minutes, glucose in mg/dL, insulin
concentration in U/dL, insulin delivery in U/min (U/h in tables), carbohydrate appearance in mg/dL/min,
carbohydrate intake in mg/min (g in tables), body mass in kg.
"""

from typing import Literal, get_args

from jaxtyping import Array, Float, PRNGKeyArray

Scalar = Float[Array, ""]
"""A real number held by JAX."""
Key = PRNGKeyArray
"""A JAX random key."""

GlucoseUnit = Literal["mg/dL", "mmol/L"]
"""The units in which glucose is written."""
MG_DL_PER_MMOL_L = 18.016
"""mg/dL of glucose in 1 mmol/L."""


def mg_dL_in(unit: str) -> float:
    """mg/dL in one of a unit of glucose.

    Raises:
        ValueError: where the unit is not known.
    """
    if unit not in get_args(GlucoseUnit):
        raise ValueError(f"unit is {unit!r}; mg/dL or mmol/L")
    return MG_DL_PER_MMOL_L if unit == "mmol/L" else 1.0
