"""States of a physiology: their units, their columns, and fields of one number."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike


def scalar(x: ArrayLike) -> Array:
    """The converter of a physiology's fields: a number becomes an array of JAX's current default precision.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> from t1djax.physics import scalar
        >>> class Cleared(eqx.Module):
        ...     k: jax.Array = eqx.field(converter=scalar)
        >>> Cleared(0.1).k.shape
        ()
    """
    # A Python number would be weakly typed, and a weak leaf compiles every program a second time.
    dtype = getattr(x, "dtype", None)
    real = dtype is not None and jnp.issubdtype(dtype, jnp.inexact)
    return jnp.asarray(x, dtype if real else jnp.result_type(float))


def state(unit: str, *, column: str | None = None) -> Any:
    """A field of a state, with its unit.

    Args:
        unit: of the state, such as `mg/dL`; `1` where it has none.
        column: its column in tables; made of name and unit if not given, and none at all where it is empty.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> from t1djax.physics import state
        >>> class Glucose(eqx.Module):
        ...     G: jax.Array = state("mg/dL")
    """
    return eqx.field(metadata={"unit": unit, "column": column})


def state_columns(States: type) -> dict[str, str]:
    """Names of the states that tables show, by their columns.

    Example:
        >>> from t1djax.physics import Magdelaine, state_columns
        >>> state_columns(Magdelaine.States)
        {'insulin_U_dL': 'I', 'digestion_mg_dL_min': 'D'}
    """
    found = {}
    for f in dataclasses.fields(States):
        column = f.metadata["column"]
        found[column_of(f.name, f.metadata["unit"]) if column is None else column] = f.name
    found.pop("", None)
    return found


def column_of(name: str, unit: str) -> str:
    """The column of a quantity: its name and its unit.

    Example:
        >>> from t1djax.physics._states import column_of
        >>> column_of("Isc", "uU/mL"), column_of("x1", "1/min"), column_of("x3", "1")
        ('Isc_uU_mL', 'x1_per_min', 'x3')
    """
    slug = re.sub(r"\W+", "_", unit.removeprefix("1/")) if unit != "1" else ""
    return "_".join(filter(None, (name, "per_" * unit.startswith("1/") + slug)))


def start_symbol(leaf: str) -> str:
    """What a state at the start of a window is called, where it is estimated.

    Example:
        >>> from t1djax.physics import start_symbol
        >>> start_symbol("Isc"), start_symbol("S1")
        ('Isc0', 'S1_0')
    """
    return f"{leaf}_0" if leaf[-1].isdigit() else f"{leaf}0"


def state_units(State: type) -> dict[str, str]:
    """Units of a state by name; empty strings where none is stated."""
    return {f.name: f.metadata.get("unit", "") for f in dataclasses.fields(State)}


def residual_columns(States: type, learnt: Iterable[str]) -> dict[str, str]:
    """Names of what learnt states miss of their equations, by columns.

    Example:
        >>> from t1djax.physics import Magdelaine, residual_columns
        >>> list(residual_columns(Magdelaine.States, Magdelaine.facts.learnt))
        ['residual_G_mg_dL_min', 'residual_I_U_dL_min', 'residual_D_mg_dL_min2']
    """
    units = state_units(States)
    slug = {leaf: re.sub(r"\W+", "_", f"{units[leaf]}/min").replace("min_min", "min2") for leaf in learnt}
    return {f"residual_{leaf}_{unit}": leaf for leaf, unit in slug.items()}
