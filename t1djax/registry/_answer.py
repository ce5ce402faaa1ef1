"""What a model server answers: a forecast, or what is wrong with the request."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..prediction import predict, predict_from_readings
from ..records import FittedPatient

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 20_000
"""Rows of one request at the most; more are refused before they are looked at."""


def answer(
    models: Mapping[str, FittedPatient], table: "pd.DataFrame", params: Mapping[str, Any] | None = None
) -> "pd.DataFrame":
    """What `predict` gives for a request, or `predict_from_readings` where there are readings in it.

    What is wrong with the request becomes an error that servers report as 400. An optional column without any value
    counts as left out; `params` may have `level`.

    Raises:
        MlflowException: with `INVALID_PARAMETER_VALUE`, naming the column.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - seconds

    try:
        if len(table) > MOST_ROWS:
            raise ValueError(f"the table has {len(table)} rows; send {MOST_ROWS} at the most")
        level = float((params or {}).get("level", 0.9))
        if not math.isfinite(level):
            raise ValueError("level is no number; give a probability, such as 0.9")
        left_out = [c for c in OPTIONAL if c in table.columns and len(table) and not table[c].notna().to_numpy().any()]
        table = table.drop(columns=left_out)
        if GLUCOSE not in table.columns:
            return predict(models, table, level=level)
        return predict_from_readings(models, table, level=level)
    except ValueError as e:
        raise MlflowException.invalid_parameter_value(str(e)) from e


GLUCOSE = "glucose_mg_dL"
OPTIONAL = (
    "patient", "time_min", "time", GLUCOSE, "bolus_duration_min", "meal_duration_min", "long_acting_U",
    "long_acting_duration_min",
)  # fmt: skip
"""Columns of a request that may be left out, though not both times, nor the patient of a cohort."""
