"""Models beside each other: every patient's error, a panel per measure."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ._results import _STYLE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")  # Okabe and Ito (2008)
_FLOOR = 1e-7  # errors of noise-free fits end in rounding


def plot_comparison(table: "pd.DataFrame") -> "dict[str, Figure]":
    """Errors by model, one figure per mode and set of parameters: a point per patient and seed, a bar at the median.

    Args:
        table: see `results_table`.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - heavy
    from matplotlib.figure import Figure  # noqa: PLC0415

    figures = {}
    with rc_context(_STYLE):
        for (mode, named), part in table.groupby(["mode", "parameters"], sort=False):
            measures = {
                f"rmse_{s}_mg_dL": f"RMSE {s.replace('_', ' ')}, mg/dL" for s in ("fit", "held_out", "forecast")
            }
            measures |= {c: f"error of {c.removesuffix('_error_percent')}, %" for c in part if c.endswith("_percent") and
                         c.endswith("_error_percent")}  # fmt: skip
            measures = {c: title for c, title in measures.items() if part[c].notna().any()}
            figure = Figure(figsize=(2.6 * len(measures) + 0.6, 3.2))
            models = list(dict.fromkeys(part["model"]))
            for axes, (column, title) in zip(
                figure.subplots(1, len(measures), squeeze=False)[0], measures.items(), strict=True
            ):
                values = [part.loc[part["model"] == m, column].dropna().to_numpy(float) for m in models]
                smallest = min((v.min() for v in values if v.size), default=1.0)
                largest = max((v.max() for v in values if v.size), default=1.0)
                for i, v in enumerate(values):
                    shift = np.linspace(-0.25, 0.25, v.size) if v.size > 1 else np.zeros(v.size)
                    axes.plot(i + shift, np.maximum(v, _FLOOR), "o", ms=3, alpha=0.7, color=_COLOURS[i % len(_COLOURS)])
                    if v.size:
                        axes.hlines(max(float(np.median(v)), _FLOOR), i - 0.32, i + 0.32, color="#222222", lw=1.5)
                if largest > 20 * max(smallest, _FLOOR):
                    axes.set_yscale("log")
                else:
                    axes.set_ylim(0, 1.1 * largest)
                axes.set_xticks(range(len(models)), models, rotation=30, ha="right")
                axes.set_title(title)
            figures["_".join(x for x in ("comparison", str(mode), str(named)) if x)] = figure
    return figures


def save_comparison(table: "pd.DataFrame", folder: Path) -> list[Path]:
    """Draw `plot_comparison` as PNG files into a folder.

    Raises:
        OSError: where a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in plot_comparison(table).items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1])
    return paths
