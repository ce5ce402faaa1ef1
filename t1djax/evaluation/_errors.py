"""Errors of predicted glucose, over all readings and by their range."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from ._fits import glucose_errors

if TYPE_CHECKING:
    import pandas as pd

_IN_RANGE, _HIGH = 180.2, 250.5
"""Ranges of whole mg/dL and of tenths of a mmol/L: 10.0 and 13.9 mmol/L are up to here, by whichever factor."""
GLUCOSE_RANGES: Mapping[str, Callable[[Float[np.ndarray, " n"]], Bool[np.ndarray, " n"]]] = {
    "<54": lambda g: g < 54,
    "54-69": lambda g: (g >= 54) & (g < 70),
    "70-180": lambda g: (g >= 70) & (g <= _IN_RANGE),
    "181-250": lambda g: (g > _IN_RANGE) & (g <= _HIGH),
    ">250": lambda g: g > _HIGH,
}
"""The five ranges of the consensus (Battelino et al. 2019), mg/dL, by name; a reading lies in exactly one.

A reading of 10.0 or 13.9 mmol/L lies below the edge, as in the consensus, though it is 180.16 or 250.42 mg/dL.
"""


def reading_errors(predicted: Float[np.ndarray, " n"], observed: Float[np.ndarray, " n"]) -> dict[str, float]:
    """How many pairs, RMSE, MAE and bias in mg/dL, and MARD in %.

    Bias is the mean of predicted less observed. No pair gives NaN.

    Example:
        >>> import numpy as np
        >>> from t1djax.evaluation import reading_errors
        >>> reading_errors(np.array([110.0, 95.0]), np.array([100.0, 100.0]))["bias_mg_dL"]
        2.5
    """
    everywhere = np.full(observed.shape, True)
    bias = float(np.mean(predicted - observed)) if observed.size else float("nan")
    return {"n": int(observed.size)} | glucose_errors(predicted, observed, everywhere) | {"bias_mg_dL": bias}


def errors_by_range(predicted: Float[np.ndarray, " n"], observed: Float[np.ndarray, " n"]) -> "pd.DataFrame":
    """Errors over all pairs and by the range of the reading; pairs with a NaN are left out.

    Args:
        predicted: glucose, mg/dL.
        observed: readings, mg/dL; they set the range.

    Returns:
        One row per range, `all` first: `range, n, rmse_mg_dL, mae_mg_dL, mard_percent, bias_mg_dL`.

    Example:
        >>> import numpy as np, t1djax
        >>> table = t1djax.evaluation.errors_by_range(np.array([60.0, 110.0, np.nan]), np.array([50.0, 100.0, 90.0]))
        >>> table.loc[table["n"] > 0, ["range", "n", "bias_mg_dL"]].values.tolist()
        [['all', 2, 10.0], ['<54', 1, 10.0], ['70-180', 1, 10.0]]

    Source: Battelino et al., Diabetes Care 42(8), 2019, for the ranges.
    """
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    both = np.isfinite(predicted) & np.isfinite(observed)
    p, o = predicted[both], observed[both]
    rows = [{"range": "all"} | reading_errors(p, o)]
    rows += [{"range": name} | reading_errors(p[inside(o)], o[inside(o)]) for name, inside in GLUCOSE_RANGES.items()]
    return pd.DataFrame(rows)
