"""Rows of `t1djax evaluate --json` as the nested mapping that `dvc metrics` reads: medians by model and mode."""

import json
import statistics
import sys
from collections import defaultdict

MEASURES = ("rmse_fit_mg_dL", "rmse_held_out_mg_dL", "rmse_forecast_mg_dL", "ksi_error_percent")


def medians(rows: list[dict]) -> dict[str, dict[str, dict[str, float]]]:
    """By model, mode and measure; what a mode does not have is left out."""
    found: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        for measure in MEASURES:
            if row.get(measure) is not None:
                found[row["model"]][row["mode"]][measure].append(abs(row[measure]))
    return {
        model: {mode: {name: statistics.median(x) for name, x in by.items()} for mode, by in modes.items()}
        for model, modes in found.items()
    }


if __name__ == "__main__":
    print(json.dumps(medians(json.load(sys.stdin)), indent=2))
