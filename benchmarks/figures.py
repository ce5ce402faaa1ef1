"""One picture per report, beside its table."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cycler import cycler

from .report import Report

Rows = list[dict[str, Any]]

# Okabe and Ito (2008), told apart by readers with any colour vision, a mark for each line; the ninth on are dashed.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#222222", "#8A8A8A")
_STYLE: Any = {
    "svg.hashsalt": "t1djax",
    "axes.prop_cycle": cycler(linestyle=("-", "--")) * cycler(color=_COLOURS, marker="osD^vPX*"),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def draw(report: Report) -> Path | None:
    """Draw the report's picture into its folder; None where there is none for it, or no row to show."""
    how = _FIGURES.get(report.name)
    if how is None:
        return None
    import matplotlib as mpl  # noqa: PLC0415 - only for pictures
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        if not how(figure.subplots(), report.rows):
            return None
        path = report.out / f"{report.name}.png"
        figure.savefig(path, dpi=150)
    return path


def _numbers(rows: Rows, *heads: str) -> Rows:
    return [row for row in rows if all(isinstance(row.get(head), int | float) for head in heads)]


def _lines(axes: Any, rows: Rows, x: str, y: str, label: Callable[[dict[str, Any]], str]) -> None:
    """A line for each label, both axes logarithmic."""
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        lines[label(row)].append((row[x], row[y]))
    for name, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), label=name)
    axes.set(xscale="log", yscale="log")
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(fontsize="small")


def _peers(axes: Any, rows: Rows) -> bool:
    """Who reaches which accuracy when: left and low is good."""
    noise_free = [row for row in rows if row.get("case") == "noise-free"]
    level = {"s to 5 %": 5.0, "s to 1 %": 1.0, "s to 0.1 %": 0.1}
    shown = False
    for row in noise_free:
        reached = [(row[head], percent) for head, percent in level.items() if isinstance(row.get(head), int | float)]
        if reached:
            axes.plot(*zip(*reached, strict=True), label=str(row["system"])[:45])
            shown = True
    axes.set(xscale="log", yscale="log", xlabel="seconds for all patients, compilation left out")
    axes.set(ylabel="worst error of ksi, %", title="Ten patients, noise-free: time to accuracy")
    axes.set_yticks([0.1, 1, 5], labels=["0.1", "1", "5"])
    axes.grid(alpha=0.3)
    if shown:
        axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return shown


def _simulation(axes: Any, rows: Rows) -> bool:
    told = lambda row: "lax.map" not in str(row.get("batching")) and "one core" not in row["system"]
    rows = [row for row in _numbers(rows, "patients", "patient-days/s") if told(row)]
    _lines(axes, rows, "patients", "patient-days/s", lambda r: " ".join(
        str(r[head]) for head in ("system", "batching", "precision") if r.get(head)
    ))  # fmt: skip
    axes.set(xlabel="patients", ylabel="patient-days per second", title="Simulation of 48 h, readings every 5 min")
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return bool(rows)


def _cohorts(axes: Any, rows: Rows) -> bool:
    rows = [row for row in _numbers(rows, "patients", "seconds") if row["what"] == "one call"]
    _lines(axes, rows, "patients", "seconds", lambda r: f"{r['model']}, one call")
    loops = [row | {"loop": row["seconds"] * row["ratio"]} for row in _numbers(rows, "ratio")]
    _lines(axes, loops, "patients", "loop", lambda r: f"{r['model']}, a Python loop over it")
    axes.set(xlabel="patients", ylabel="seconds, compilation left out", title="Growth with the cohort")
    return bool(rows)


def _bound(axes: Any, rows: Rows) -> bool:
    rows = _numbers(rows, "rms error / bound", "+-")
    names = [str(row["model"]) for row in rows]
    axes.errorbar(
        range(len(rows)),
        [row["rms error / bound"] for row in rows],
        yerr=[row["+-"] for row in rows],
        fmt="o",
        capsize=4,
    )
    axes.axhline(1.0, color="0.5", lw=1)
    axes.set_xticks(range(len(rows)), labels=names)
    axes.set(ylabel="rms error over the Cramer-Rao bound", title="Noise of 10 mg/dL", ylim=(0, None))
    return bool(rows)


_FIGURES: dict[str, Callable[[Any, Rows], bool]] = {
    "peers": _peers, "simulation": _simulation, "cohorts": _cohorts, "bound": _bound,
}  # fmt: skip
