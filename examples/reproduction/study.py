"""Tables and figures of the study from the results of a sweep, beside the numbers of the earlier one.

python study.py results earlier.yaml study
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

import t1djax

NAMES = {"pinn": "PINN", "modified_mlp": "Modified MLP", "birnn": "BI-RNN", "ode": "equations"}
COLOURS = {"pinn": "#0072B2", "modified_mlp": "#E69F00", "birnn": "#009E73", "ode": "#222222"}
FLOOR = 1e-9  # errors of the equations end in rounding, some at zero; %


def read(folder: str) -> list[t1djax.records.Result]:
    """All results below a folder, models in the order of `NAMES`, patients as people count them."""
    results = [t1djax.read_result(path) for path in t1djax.find_results([Path(folder)])]
    number = lambda name: (int("".join(c for c in name if c.isdigit()) or 0), name)
    order = lambda r: (list(NAMES).index(r.metadata["model"]), r.metadata["mode"], number(r.metadata["patient"]))
    return sorted(results, key=order)


def signed_error(result: t1djax.records.Result, which: str) -> float:
    """Of ksi, %: its sign is kept, since the earlier study averaged with signs. `which` is `value` or `initial`."""
    ksi = result.metadata["estimates"]["ksi"]
    return 100 * (ksi[which] / ksi["truth"] - 1)


def summary(results: list[t1djax.records.Result], earlier: dict) -> pd.DataFrame:
    """Error of ksi by model: then, now, and of the random starts."""
    rows = []

    def row(model: str, key: str, errors: list[float]) -> None:
        then, values = earlier["ksi_error_percent"].get(key), np.array(errors)
        sd = f"{values.std(ddof=1):.2g}" if values.size > 1 else ""
        rows.append({
            "ksi from glucose alone": model,
            "earlier: mean ± sd, %": f"{then['mean']} ± {then['sd']}" if then else "",
            "here: mean, %": f"{values.mean():.2g}",
            "sd, %": sd,
            "worst, %": f"{np.abs(values).max():.2g}",
        })  # fmt: skip

    inverse = [r for r in results if r.metadata["mode"] == "inverse"]
    for model in dict.fromkeys(r.metadata["model"] for r in inverse):
        mine = [r for r in inverse if r.metadata["model"] == model]
        row(NAMES[model], model, [signed_error(r, "value") for r in mine])
    # Starts belong to patient and seed, so that they are the same for every model.
    starts = {(r.metadata["patient"], r.metadata["seed"]): signed_error(r, "initial") for r in inverse}
    row("random start, unfitted", "start", list(starts.values()))
    return pd.DataFrame(rows)


def by_model(results: list[t1djax.records.Result]) -> pd.DataFrame:
    """Errors of glucose in each mode, median and worst over patients, and the seconds of all of them together."""
    table = t1djax.evaluation.results_table(r.metadata for r in results)
    rows = []
    for (mode, model), part in table.groupby(["mode", "model"], sort=False):  # pyright: ignore[reportGeneralTypeIssues]
        row = {"mode": mode, "model": NAMES[model], "patients": part["patient"].nunique()}
        for name in ("fit", "held_out", "forecast"):
            rmse = part[f"rmse_{name}_mg_dL"]
            row[f"RMSE {name.replace('_', ' ')}, mg/dL"] = f"{rmse.median():.2g} (worst {rmse.max():.2g})"
        row["s, compilation included"] = f"{part['wall_seconds'].max():.0f}"
        rows.append(row)
    return pd.DataFrame(rows).sort_values("mode", kind="stable")


def by_patient(results: list[t1djax.records.Result]) -> pd.DataFrame:
    """ksi of every patient: truth, start, and each model's error."""
    rows: dict[str, dict] = {}
    for r in results:
        if r.metadata["mode"] == "inverse" and r.metadata["seed"] == results[0].metadata["seed"]:
            ksi = r.metadata["estimates"]["ksi"]
            row = rows.setdefault(r.metadata["patient"], {"patient": r.metadata["patient"]})
            row |= {"ksi, mg/U/min": f"{ksi['truth']:.1f}", "start": f"{ksi['initial']:.1f}"}
            row[f"{NAMES[r.metadata['model']]}, %"] = f"{abs(signed_error(r, 'value')):.1g}"
    return pd.DataFrame(rows.values())


def markdown(table: pd.DataFrame) -> str:
    """The table as Markdown."""
    line = lambda cells: "| " + " | ".join(str(cell) for cell in cells) + " |"
    rows = [line(row) for row in table.itertuples(index=False)]
    return "\n".join([line(table.columns), line("---" for _ in table.columns), *rows])


def missed(ax, hours, found: dict, truth) -> None:
    """How far each model is from the truth, the largest of each hour, in powers of ten: the curves are one line."""
    hour = np.floor(np.asarray(hours))
    first = np.flatnonzero(np.diff(hour, prepend=-1.0))
    for model, values in found.items():
        worst = np.maximum.reduceat(np.nan_to_num(np.abs(np.asarray(values) - np.asarray(truth))), first)
        ax.plot(hour[first] + 0.5, np.maximum(worst, FLOOR), lw=1.1, color=COLOURS[model], drawstyle="steps-mid")
    ax.set_yscale("log")
    ax.yaxis.set_minor_locator(NullLocator())


def legend(figure: Figure, models: list[str], truth: str) -> None:
    """Above the panels."""
    handles = [Line2D([], [], color="0.4", lw=1.4, label=truth)]
    handles += [Line2D([], [], color=COLOURS[m], lw=1.6, label=NAMES[m]) for m in models]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False, fontsize=8)


def tidy(axes) -> None:
    """Less ink."""
    for ax in np.atleast_1d(axes).flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)


def draw_errors(results: list[t1djax.records.Result], earlier: dict) -> Figure:
    """Error of ksi of every patient by model, beside the spread of the earlier study."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    ax = figure.subplots()
    inverse = [r for r in results if r.metadata["mode"] == "inverse"]
    models = list(dict.fromkeys(r.metadata["model"] for r in inverse))
    groups = {NAMES[m]: [signed_error(r, "value") for r in inverse if r.metadata["model"] == m] for m in models}
    starts = {(r.metadata["patient"], r.metadata["seed"]): signed_error(r, "initial") for r in inverse}
    groups["random\nstart"] = list(starts.values())
    then = earlier["ksi_error_percent"]
    for i, (key, errors) in enumerate(zip([*models, "start"], groups.values(), strict=True)):
        beside = i + np.linspace(-0.12, 0.12, len(errors))
        label = "here, a patient each" if i == 0 else None
        ax.plot(beside, np.maximum(np.abs(errors), FLOOR), "o", ms=4, alpha=0.8, color="#0072B2", label=label)
        if key in then:
            size = np.hypot(then[key]["mean"], then[key]["sd"])  # root mean square of its errors
            label = "earlier study, root mean square" if i == 0 else "_"
            ax.hlines(size, i - 0.3, i + 0.3, lw=2.5, color="#D55E00", label=label)
    if "ode" in models:
        ax.text(models.index("ode"), 2 * FLOOR, "rounding", ha="center", fontsize=7, color="0.4")
    ax.set_yscale("log")
    ax.set_xticks(range(len(groups)), list(groups))
    ax.set_ylabel("error of ksi, %")
    ax.grid(axis="y", color="0.9", lw=0.6)
    ax.set_axisbelow(True)
    tidy(ax)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure


def draw_glucose(results: list[t1djax.records.Result]) -> Figure:
    """Glucose of every patient in inverse mode, and below it how far each model is from it."""
    inverse = [r for r in results if r.metadata["mode"] == "inverse" and r.metadata["seed"] == 0]
    patients = list(dict.fromkeys(r.metadata["patient"] for r in inverse))
    columns = min(5, len(patients))
    rows = -(-len(patients) // columns)
    figure = Figure(figsize=(2.2 * columns + 0.8, 2.6 * rows + 0.7), layout="constrained")
    panels = figure.subplots(2 * rows, columns, sharex=True, squeeze=False, height_ratios=(3, 2) * rows)
    for i, patient in enumerate(patients):
        ax, below = panels[2 * (i // columns) : 2 * (i // columns) + 2, i % columns]
        mine = [r for r in inverse if r.metadata["patient"] == patient]
        p = mine[0].predictions
        hours, later = p["time_min"] / 60, p["mask_forecast"]
        ax.plot(hours, p["observed_mg_dL"], color="0.4", lw=1.4)
        ax.axhspan(70, 180, color="#009E73", alpha=0.08, lw=0)
        missed(below, hours, {r.metadata["model"]: r.predictions["glucose_mg_dL"] for r in mine}, p["observed_mg_dL"])
        for panel in (ax, below):
            panel.axvspan(hours[later][0], hours[-1], color="0.2", alpha=0.07, lw=0)
        ax.set_title(patient, fontsize=8, loc="left")
        ax.set_xticks([0, 24, 48])
        if i % columns == 0:
            ax.set_ylabel("glucose,\nmg/dL", fontsize=8)
            below.set_ylabel("off by,\nmg/dL", fontsize=8)
    tidy(panels)
    figure.supxlabel("time, h (shaded: forecast; green: 70 to 180 mg/dL)", fontsize=9)
    legend(figure, list(dict.fromkeys(r.metadata["model"] for r in inverse)), "glucose")
    return figure


def draw_states(results: list[t1djax.records.Result], truth: pd.DataFrame, patient: str) -> Figure:
    """Insulin and digestion of one patient, which nobody measures, as the networks infer them."""
    chosen = [r for r in results if r.metadata["patient"] == patient and r.metadata["model"] != "ode"]
    modes = sorted({r.metadata["mode"] for r in chosen})
    figure = Figure(figsize=(3.6 * len(modes) + 0.4, 5.6), layout="constrained")
    panels = figure.subplots(4, len(modes), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2, 3, 2))
    states = {"insulin_U_dL": (1000, "insulin I, mU/dL"), "digestion_mg_dL_min": (1, "digestion D,\nmg/dL/min")}
    for column, mode in enumerate(modes):
        panels[0, column].set_title(f"{patient}, {mode}", fontsize=9, loc="left")
        mine = [r for r in chosen if r.metadata["mode"] == mode]
        for row, (state, (factor, label)) in enumerate(states.items()):
            ax, below = panels[2 * row : 2 * row + 2, column]
            time, true = truth["time_min"], factor * truth[state]
            ax.plot(time / 60, true, color="0.4", lw=1.4)
            inside = mine[0].predictions["time_min"]
            found = {r.metadata["model"]: factor * r.predictions[state] for r in mine}
            missed(below, inside / 60, found, np.interp(inside, time, true))
            if column == 0:
                ax.set_ylabel(label, fontsize=9)
                below.set_ylabel("off by", fontsize=9)
        panels[-1, column].set_xlabel("time, h", fontsize=9)
    tidy(panels)
    legend(figure, list(dict.fromkeys(r.metadata["model"] for r in chosen)), "truth")
    return figure


def draw_courses(results: list[t1djax.records.Result]) -> Figure:
    """ksi on its way from its random start, relative to the truth, by model."""
    networks = [r for r in results if r.metadata["mode"] == "inverse" and r.metadata["model"] != "ode"]
    models = list(dict.fromkeys(r.metadata["model"] for r in networks))
    figure = Figure(figsize=(2.5 * len(models) + 0.6, 2.8), layout="constrained")
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for ax, model in zip(panels, models, strict=True):
        for r in networks:
            if r.metadata["model"] == model:
                course = r.evolution["ksi"]
                ax.plot(course["step"], course["value"] / course["truth"], color=COLOURS[model], lw=1, alpha=0.7)
        ax.axhline(1, color="0.4", lw=0.6, ls="--")
        ax.set_title(NAMES[model], fontsize=9, loc="left")
        ax.set_xlabel("Gauss-Newton step", fontsize=9)
    panels[0].set_ylabel("ksi / truth", fontsize=9)
    tidy(panels)
    return figure


def main(results_folder: str, earlier_file: str, out: str) -> None:
    """Write tables and figures."""
    results = read(results_folder)
    earlier, folder = yaml.safe_load(Path(earlier_file).read_text()), Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    tables = [summary(results, earlier), by_model(results), by_patient(results)]
    text = "\n\n".join(markdown(table) for table in tables) + "\n"
    (folder / "tables.md").write_text(text)
    print(text)
    patient = "Pat3"
    truth = pd.read_csv(Path(results[0].metadata["config"]["data"]) / f"{patient}.csv")
    draw_errors(results, earlier).savefig(folder / "errors.png", dpi=110)
    draw_glucose(results).savefig(folder / "glucose.png", dpi=100)
    draw_states(results, truth, patient).savefig(folder / "states.png", dpi=110)
    draw_courses(results).savefig(folder / "courses.png", dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
