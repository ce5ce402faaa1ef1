"""People of a physiology of one's own, one class: simulated, judged, fitted by the equations and by a network."""

import argparse
import dataclasses
import math
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import yaml
from bergman import Bergman, bergman
from matplotlib.figure import Figure

import t1djax

HERE = Path(__file__).resolve().parent
FREE = ["SI", "tI", "tG"]


def people(config: dict) -> dict[str, Bergman]:
    """Bodies that differ in what is estimated."""
    rng, usual = np.random.default_rng(config["seed"]), {s: float(x) for s, x in bergman().values().items()}
    spread = lambda: {s: usual[s] * math.exp(config["spread"] * rng.standard_normal()) for s in FREE}
    return {f"B{i + 1}": Bergman(**(usual | spread())) for i in range(config["people"])}


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/custom_physics"))
    parser.add_argument("--config", type=Path, default=HERE / "configs" / "eight.yaml")
    parser.add_argument("--quick", action="store_true", help="two people, a reading every half an hour")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(flags.config.read_text()) | ({"people": 2, "interval_min": 30} if flags.quick else {})

    bodies, noise = people(config), t1djax.WhiteNoise(config["noise_sd_mg_dL"])
    cohort = t1djax.virtual_population(
        len(bodies), key=jax.random.key(config["seed"]), bodies=bodies, interval_min=config["interval_min"], noise=noise
    )
    question = t1djax.Question(physiology=Bergman, free=FREE)

    print("Before any reading:", t1djax.preflight(cohort, question, what_if=False)["B1"].line)
    fits = {
        "equations": t1djax.fit(cohort, question, model="ode"),
        "network": t1djax.fit(cohort, question, model="pinn"),
        "Magdelaine": t1djax.fit(
            [dataclasses.replace(p, known={}) for p in cohort],
            model="ode", free=["ksi", "kl", "Tu", "Tr", "kr_Vb"], assume_population=True,
        ),
    }  # fmt: skip
    for verdict in t1djax.identify(fits["equations"], cohort, what_if=False):
        print(verdict.line)
    wrong = t1djax.identify(fits["Magdelaine"], what_if=False)
    print(
        f"Magdelaine: called a misfit in {sum(v.misfit is not None and v.misfit.found for v in wrong)} of {len(wrong)}"
    )

    scores = ["patient", "rmse_fit_mg_dL", "rmse_forecast_mg_dL"]
    own = [*scores, *(f"{s}_error_percent" for s in FREE)]
    shown = {"equations": own, "network": own, "Magdelaine": scores}
    table = pd.concat(
        [t1djax.summary(fits[name], cohort)[columns].set_index("patient").add_prefix(f"{name}: ")
         for name, columns in shown.items()],
        axis=1,
    )  # fmt: skip
    table.to_csv(flags.out / "estimates.csv")
    print(table.round(1).T.to_string())
    each = [(f.estimates[s], cohort.truth[f.name].parameters[s]) for f in fits["equations"] for s in FREE]
    ratio = [(found.value - true) / found.standard_error for found, true in each if found.standard_error]
    print(f"errors over their standard errors: root mean square {np.sqrt(np.mean(np.square(ratio))):.2f} (1 is right)")
    draw(cohort.patients[:4], fits, flags.out / "glucose.png")
    print(f"estimates.csv and glucose.png in {flags.out}")


def draw(shown: tuple[t1djax.Patient, ...], fits: dict[str, t1djax.Fit], file: Path) -> None:
    """Readings and what each fit makes of them."""
    figure = Figure(figsize=(8, 1.7 * len(shown) + 0.6), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for ax, patient in zip(panels, shown, strict=True):
        hours = patient.time_min / 60
        ax.axvspan(hours[patient.masks.forecast][0], 48, color="#D55E00", alpha=0.1, lw=0)
        ax.plot(hours, patient.glucose_mg_dL, ".", ms=2.5, color="0.6", label="readings")
        for (name, fit), color in zip(fits.items(), ("#0072B2", "#009E73", "#E69F00"), strict=True):
            ax.plot(hours, fit[patient.name].glucose_mg_dL, lw=1.3, color=color, label=name)
        ax.set_ylabel(f"{patient.name}\nmg/dL", fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    panels[-1].set(xlim=(0, 48), xticks=range(0, 49, 6))
    panels[-1].set_xlabel("time, h (shaded: forecast)", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
