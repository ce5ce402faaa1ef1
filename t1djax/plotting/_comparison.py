"""Models beside each other: every patient's error, a panel per measure."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")  # Okabe and Ito (2008)
_FLOOR = 1e-7  # errors of noise-free fits end in rounding
_WIDE = 20.0  # a range beyond this ratio is drawn by its logarithm


def plot_comparison(table: "pd.DataFrame") -> "dict[str, Figure]":
    """Errors by model, one figure per mode and set of parameters: a point per patient and seed, a bar at the median.

    Args:
        table: see `results_table`.

    Returns:
        Figures by name: `comparison_{mode}_{parameters}`.
    """
    figures = {}
    groups: Any = table.groupby(["mode", "parameters"], sort=False)
    for (mode, named), part in groups:
        measures = _measures(part)
        with new_figure(2.6 * len(measures) + 0.6, 3.2) as figure:
            panels = figure.subplots(1, len(measures), squeeze=False)[0]
            for axes, (column, title) in zip(panels, measures.items(), strict=True):
                each = part.groupby(_labels(part), sort=False)
                by_model = {label: p[column].dropna().to_numpy(float) for label, p in each}
                _panel(axes, by_model, title)
        figures["_".join(x for x in ("comparison", str(mode), str(named)) if x)] = figure
    return figures


def _labels(part: "pd.DataFrame") -> "pd.Series":
    """What to call each row's experiment: its model, and its settings where there are any."""
    models = part["model"].astype(str)
    settings = part["settings"] if "settings" in part else models.map(lambda _: "")
    return models.str.cat(settings.map(lambda text: f"\n{text}" if text else ""))


def _measures(part: "pd.DataFrame") -> dict[str, str]:
    """Columns that hold something, with their titles."""
    found = {f"rmse_{s}_mg_dL": f"RMSE {s.replace('_', ' ')}, mg/dL" for s in ("fit", "held_out", "forecast")}
    ends = "_error_percent"
    found |= {c: f"error of {c.removesuffix(ends)}, %" for c in part.columns if c.endswith(ends)}
    return {column: title for column, title in found.items() if column in part and bool(part[column].notna().any())}


def _panel(axes: "Axes", by_model: dict[Any, np.ndarray], title: str) -> None:
    everything = np.concatenate(list(by_model.values()))
    for i, values in enumerate(by_model.values()):
        if values.size:
            beside = i + np.linspace(-0.25, 0.25, values.size) if values.size > 1 else np.array([i])
            axes.plot(beside, np.maximum(values, _FLOOR), "o", ms=3, alpha=0.7, color=_COLOURS[i % len(_COLOURS)])
            axes.hlines(max(float(np.median(values)), _FLOOR), i - 0.32, i + 0.32, color="#222222", lw=1.5)
    if everything.max() > _WIDE * max(everything.min(), _FLOOR):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.1 * everything.max())
    axes.set_xticks(range(len(by_model)), list(by_model), rotation=30, ha="right")
    axes.set_title(title)


def save_comparison(table: "pd.DataFrame", folder: str | Path) -> list[Path]:
    """Draw `plot_comparison` as PNG files into a folder.

    Raises:
        OSError: where a file cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in plot_comparison(table).items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1])
    return paths
