"""Fit a cohort with a network written in flax, and compare its estimates with least squares on the equations."""

import argparse
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

import t1djax


class ResidualNetwork(nnx.Module):
    """Two hidden layers, the second of which adds to the first."""

    def __init__(self, features: int, width: int = 96, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(features, width, rngs=rngs)
        self.second = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jax.numpy.tanh(self.first(x))
        return h + jax.numpy.tanh(self.second(h))


def make(features: int, rngs: nnx.Rngs) -> nnx.Module:
    """The module, once the library says how many features it will see."""
    return ResidualNetwork(features, rngs=rngs)


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/custom_network"))
    parser.add_argument("--quick", action="store_true", help="two patients, few readings")
    flags = parser.parse_args()
    if (flags.out / "networks").exists():
        parser.error(f"{flags.out} holds networks already; name a new folder with --out")
    flags.out.mkdir(parents=True, exist_ok=True)

    interval, names = (15, ["Pat2", "Pat3"]) if flags.quick else (5, list(t1djax.presets()))
    noise = t1djax.WhiteNoise(10.0)
    cohort = t1djax.reference_cohort(interval_min=interval, noise=noise, key=jax.random.key(0), names=names)
    options = t1djax.FlaxOptions(module=make, cell_min=interval)
    network = t1djax.fit(cohort, options=options, free=["ksi"])
    equations = t1djax.fit(cohort, model="ode", free=["ksi"])

    for patient in cohort:
        for doubt in t1djax.doubts(network[patient.name], patient):
            print(f"{patient.name}: {doubt}")
    columns = ["patient", "ksi", "ksi_se", "ksi_error_percent", "rmse_true_fit_mg_dL", "rmse_true_forecast_mg_dL"]
    table = t1djax.summary(network, cohort)[columns].merge(
        t1djax.summary(equations, cohort)[columns], on="patient", suffixes=("_network", "_equations")
    )
    table.to_csv(flags.out / "estimates.csv", index=False)
    print(table.round(3).T.to_string(header=False))

    folder = t1djax.save_twins(network, flags.out / "networks")
    saved = t1djax.load_twins(folder, options=options)
    same = all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(network.twins), jax.tree.leaves(saved.twins), strict=True)
    )
    print(f"networks in {folder}, read back {'bit for bit' if same else 'WITH DIFFERENCES'}")

    figure = Figure(figsize=(9, 1.6 * len(names) + 0.6), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for ax, patient in zip(panels, cohort, strict=True):
        hours, later = patient.time_min / 60, patient.masks.forecast
        ax.axvspan(hours[later][0], hours[-1], color="#D55E00", alpha=0.1, lw=0)
        ax.plot(hours, patient.glucose_mg_dL, ".", ms=2, color="0.6", label="readings")
        ax.plot(hours, network[patient.name].glucose_mg_dL, lw=1.3, color="#0072B2", label="network")
        ax.set_ylabel(f"{patient.name}\nmg/dL", fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("time, h (shaded: forecast)", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(flags.out / "glucose.png", dpi=120)
    print(f"figure in {flags.out / 'glucose.png'}")


if __name__ == "__main__":
    main()
