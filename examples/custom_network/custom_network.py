"""Fit a cohort with a network written in flax, and compare its estimates with least squares on the equations."""

import argparse
from pathlib import Path

import jax
import matplotlib as mpl
import numpy as np
from flax import nnx

import t1djax

mpl.use("Agg")
import matplotlib.pyplot as plt


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
    parser.add_argument("--out", type=Path, default=Path("custom_network"), help="a new folder for the results")
    parser.add_argument("--quick", action="store_true", help="two patients, few readings")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True)

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

    figure, axes = plt.subplots(len(names), 1, figsize=(9, 2 * len(names)), sharex=True, squeeze=False)
    for ax, patient in zip(axes[:, 0], cohort, strict=True):
        fitted = network[patient.name]
        ax.plot(patient.time_min / 60, patient.glucose_mg_dL, ".", ms=2, color="0.6", label="readings")
        ax.plot(patient.time_min / 60, fitted.glucose_mg_dL, lw=1, label="network")
        ax.set_ylabel(f"{patient.name}\nmg/dL")
    axes[0, 0].legend(loc="upper right")
    axes[-1, 0].set_xlabel("time, h")
    figure.tight_layout()
    figure.savefig(flags.out / "glucose.png", dpi=120)
    print(f"figure in {flags.out / 'glucose.png'}")


if __name__ == "__main__":
    main()
