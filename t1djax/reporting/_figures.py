"""Figures inside a page: as data, never as files."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..data import Patient
from ..evaluation import BASELINES, error_grid
from ..plotting import (
    plot_agp,
    plot_day,
    plot_days,
    plot_error_grid,
    plot_forecasts,
    plot_horizons,
    plot_replay,
    plot_residuals,
    plot_settings,
    plot_windows,
)
from ..records import PersonSettings, Replay, RollingForecasts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_JUDGED_MIN = 60.0
"""Horizon of the error grid and the residuals, min, or the nearest there is."""
_LEAST = 10


class Picture(NamedTuple):
    """A figure as a page holds it."""

    uri: str
    """The picture itself, as a data URI."""
    alt: str
    """What it shows, for who cannot see it."""
    narrow: bool = False
    """Whether it takes half the width."""


def picture(figure: "Figure", alt: str, *, vector: bool = True, narrow: bool = False) -> Picture:
    """A figure as a data URI: lines as SVG, clouds of points as PNG."""
    from matplotlib import rc_context  # noqa: PLC0415 - heavy, and only people who plot need it

    buffer = io.BytesIO()
    # The same figure gives the same bytes.
    with rc_context({"svg.hashsalt": "t1djax", "savefig.dpi": 130}):
        if vector:
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        else:
            figure.savefig(buffer, format="png", metadata={"Software": None})
    kind = "svg+xml" if vector else "png"
    return Picture(f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", alt, narrow)


def patient_figures(patient: Patient, unit: str) -> list[Picture]:
    """The profile, the days of the last two weeks, and the last whole day of the record."""
    first, last = patient.time_min[patient.valid][[0, -1]].tolist()
    day = max(first, last - 1440)
    return [
        picture(plot_agp(patient, unit=unit), f"Ambulatory glucose profile of {patient.name}"),
        picture(plot_days(patient, unit=unit), f"Last days of {patient.name}, a strip each"),
        picture(plot_day(patient, start_min=day, unit=unit), f"Last day of {patient.name}: glucose, insulin, meals"),
    ]


def replay_figure(replay: Replay, patient: Patient) -> Picture:
    """The day as it was and as it would have been."""
    return picture(plot_replay(replay, patient), f"Replay of {patient.name}: {replay.scenario}")


def settings_figure(person: PersonSettings) -> Picture:
    """The three numbers over the clock."""
    return picture(plot_settings(person), f"Insulin sensitivity, carbohydrate ratio and basal need of {person.name}")


def window_figures(name: str, windows: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Estimates of a person's windows over time."""
    return [picture(plot_windows(windows), f"Estimates of {name} by window")] if len(windows) > 1 else []


def forecast_figures(patient: Patient, forecasts: Sequence[RollingForecasts]) -> list[Picture]:
    """Fans, error grid and residuals of the method that is judged: the first that is no baseline, else the last."""
    judged = next((f for f in forecasts if f.method not in BASELINES), forecasts[-1])
    if not np.isfinite(judged.mean_mg_dL).any():
        return []
    h = int(np.argmin(np.abs(judged.horizon_min - _JUDGED_MIN)))
    known = np.isfinite(judged.mean_mg_dL).any(axis=1)
    begin = float(judged.origin_min[known][0])
    which = f"{judged.method} at {judged.horizon_min[h]:g} min"
    pictures = [picture(plot_forecasts(judged, patient, start_min=begin), f"Forecasts of {patient.name}")]
    pairs = error_grid(judged.observed_mg_dL[:, h], judged.mean_mg_dL[:, h])
    if len(pairs.zone):
        drawn = plot_error_grid(pairs, title=which)
        pictures.append(picture(drawn, f"Error grid of {patient.name}, {which}", vector=False, narrow=True))
    miss = (judged.observed_mg_dL - judged.mean_mg_dL)[:, h]
    if np.isfinite(miss).sum() >= _LEAST:
        drawn = plot_residuals(judged.origin_min, miss, title=f"{which}: reading less forecast")
        pictures.append(picture(drawn, f"Residuals of {patient.name}, {which}", vector=False, narrow=True))
    return pictures


def horizon_figures(scores: "pd.DataFrame") -> list[Picture]:
    """Error and coverage against the horizon."""
    drawn = [("rmse_mg_dL", "RMSE"), ("coverage_90_percent", "Coverage of 90 % intervals")]
    return [
        picture(plot_horizons(scores, measure=measure), f"{name} by horizon", narrow=True)
        for measure, name in drawn
        if np.isfinite(scores[measure].to_numpy(dtype=np.float64)).any()
    ]
