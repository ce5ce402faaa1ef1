"""The page of a trial."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plotting import grid_zones, plot_trial
from ..trials import Difference, Trial
from ._figures import picture
from ._page import rendered

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = {"in_range_percent": "70 to 180 mg/dL, %", "low_percent": "54 to 69, %", "very_low_percent": "below 54, %",
            "high_percent": "181 to 250, %", "very_high_percent": "above 250, %", "mean_mg_dL": "mean, mg/dL",
            "cv_percent": "CV, %", "gri": "GRI", "low_events_per_week": "lows a week",
            "insulin_U_per_day": "insulin, U/day"}  # fmt: skip


def write_trial_page(
    trial: Trial,
    path: str | Path,
    *,
    profiles: "Mapping[str, pd.DataFrame]",
    differences: Sequence[Difference] = (),
    setting: Mapping[str, Any] | None = None,
    title: str = "Controllers in closed loop",
    created: dt.datetime | None = None,
) -> Path:
    """Write a trial as one HTML file that loads nothing from anywhere.

    It holds outcomes with intervals, paired differences with the test of equivalence, the day under each controller,
    the control-variability grid, and what was assumed.

    Args:
        trial: what was found.
        path: the file to write; its folder is made.
        profiles: by controller, quantiles of glucose over the day, as `run_trial` gives them.
        differences: of the controllers, see `Trial.differences`.
        setting: what the trial was asked to do, by name.
        title: the heading.
        created: the time to state; left out, now.

    Returns:
        The file.

    Raises:
        OSError: where the file cannot be written.
    """
    table = trial.table()
    rows = [
        {"name": row["controller"], "people": row["people"],
         "cells": [{"mean": _number(row[c]), "sd": _number(row[f"{c}_sd"]),
                    "interval": f"{_number(row[f'{c}_low'])} to {_number(row[f'{c}_high'])}"} for c in _COLUMNS]}
        for row in table.to_dict("records")
    ]  # fmt: skip
    page = rendered(
        "trial.html.jinja",
        title=title,
        created=f"{created or dt.datetime.now():%Y-%m-%d %H:%M}",
        trial=trial,
        rows=rows,
        columns=list(_COLUMNS.values()),
        differences=[
            {"first": x.first, "second": x.second, "outcome": _COLUMNS.get(x.outcome, x.outcome),
             "mean": f"{x.mean:+.2f}", "interval": f"{x.low:+.2f} to {x.high:+.2f}", "more": f"{100 * x.more:.0f}",
             "equivalent": {None: "", True: "yes", False: "no"}[x.equivalent]}
            for x in differences
        ],
        zones=_zones(trial.outcomes),
        figure=picture(plot_trial(trial.outcomes, profiles), "Day under each controller, and the grid", vector=False),
        setting=[{"name": name, "value": _words(value)} for name, value in (setting or {}).items()],
    )  # fmt: skip
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _zones(outcomes: "pd.DataFrame") -> list[dict[str, Any]]:
    """Of each controller the share of people in each letter of the grid, %."""
    found = []
    for name, mine in outcomes.dropna(subset=["mean_mg_dL"]).groupby("controller", sort=False):
        letters = [zone[-1] for zone in grid_zones(mine["lowest_of_day_mg_dL"], mine["highest_of_day_mg_dL"])]
        found.append({"name": name, "shares": [f"{100 * letters.count(x) / len(letters):.1f}" for x in "ABCDE"]})
    return found


def _number(x: float) -> str:
    return f"{x:.1f}" if abs(x) < 100 else f"{x:.0f}"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_words(x)}" for name, x in value.items()) or "as usual"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(map(_words, value)) or "drawn"
    return str(value)
