"""Simulate and identify people of another physiology, and see what the library's own model makes of them."""

import argparse
import time
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import yaml
from bergman import Bergman, at_rest, rates
from jax import Array
from matplotlib.figure import Figure

import t1djax

HERE = Path(__file__).resolve().parent
# Derivatives forwards: `least_squares` wants the Jacobian of many readings by a few parameters.
SOLVE = {
    "solver": diffrax.Bosh3(),
    "adjoint": diffrax.ForwardMode(),
    "stepsize_controller": diffrax.PIDController(rtol=1e-6, atol=1e-6),
}


def glucose(p: Bergman, G0: Array, data: t1djax.Series) -> Array:
    """Glucose of one person at the times of the record, mg/dL."""
    return t1djax.solve(rates, p, data.inputs, data.time_min, y0=at_rest(p, G0), **SOLVE).state.G


def people(config: dict) -> tuple[list[t1djax.Doses], Bergman]:
    """Bodies that differ, and a day's doses for each: three meals with boluses, one forgotten."""
    n, rng = config["people"], np.random.default_rng(config["seed"])
    spread = lambda middle: jnp.asarray(middle * np.exp(config["spread"] * rng.standard_normal(n)))
    bodies = Bergman(SI=spread(5e-4), tI=spread(55.0), tG=spread(40.0))
    doses = []
    for _ in range(n):
        meals = [
            (day * 1440 + t + rng.uniform(-40, 40), rng.uniform(35, 75)) for day in (0, 1) for t in (450, 780, 1150)
        ]
        boluses = [(t, g / config["carbs_g_per_U"]) for i, (t, g) in enumerate(meals) if i != 2]
        doses.append(t1djax.Doses.of(basal=0.9, boluses=boluses, meals=[(t, g, 15.0) for t, g in meals]))
    return doses, bodies


def records(config: dict, doses: list[t1djax.Doses], bodies: Bergman) -> list[t1djax.Patient]:
    """What a sensor with white noise reads of them over two days: `Patient`, as from any file."""
    times = np.arange(0.0, 2881.0, config["interval_min"])
    blank = [t1djax.Patient(f"B{i + 1}", times, np.zeros_like(times), d) for i, d in enumerate(doses)]
    n = len(blank)
    axes = jax.tree.map(lambda x: 0 if isinstance(x, Array) else None, bodies)
    truth = jax.jit(jax.vmap(glucose, in_axes=(axes, 0, 0)))(bodies, jnp.full(n, 130.0), t1djax.stack(blank))
    noise = config["noise_sd_mg_dL"] * np.random.default_rng(config["seed"] + 1).standard_normal((n, len(times)))
    return [t1djax.Patient(p.name, times, np.asarray(g)[: len(times)] + e, p.doses)
            for p, g, e in zip(blank, truth, noise, strict=True)]  # fmt: skip


def body_of(z: Array) -> tuple[Bergman, Array]:
    """The person whose free parameters have these logarithms: SI, tI, tG, and glucose at the start."""
    SI, tI, tG, G0 = jnp.exp(z)
    return Bergman(SI=SI, tI=tI, tG=tG), G0


def identify(data: t1djax.Series) -> tuple[t1djax.Optimum, Array]:
    """Least squares on the readings that a fit may see, and glucose at all times; for one person."""

    def misfit(z: Array) -> Array:
        return jnp.where(data.fit, glucose(*body_of(z), data) - data.glucose_mg_dL, 0.0)

    start = jnp.log(jnp.array([3e-4, 70.0, 60.0, 120.0]))
    found = t1djax.least_squares(misfit, start, tolerance=1e-6, max_steps=40)
    return found, glucose(*body_of(found.z), data)


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/custom_physics"))
    parser.add_argument("--config", type=Path, default=HERE / "configs" / "eight.yaml")
    parser.add_argument("--quick", action="store_true", help="two people, a reading every half an hour")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(flags.config.read_text()) | ({"people": 2, "interval_min": 30} if flags.quick else {})

    with jax.enable_x64(True):
        doses, bodies = people(config)
        patients = records(config, doses, bodies)
        began = time.perf_counter()
        found, fitted = jax.device_get(jax.jit(jax.vmap(identify))(t1djax.stack(patients)))
        print(f"{len(patients)} people fitted in {time.perf_counter() - began:.1f} s, compilation included; "
              f"{int(found.converged.sum())} converged")  # fmt: skip

    own = t1djax.fit(patients, model="ode", free=["ksi", "kl", "Tu", "Tr", "kr_Vb"], assume_population=True)

    rows = []
    for i, patient in enumerate(patients):
        masks = patient.masks
        n, z, J = len(patient.time_min), np.asarray(found.z[i]), np.asarray(found.jacobian[i])
        noise = np.sqrt(found.squares[i] / (masks.fit.sum() - len(z)))
        se = noise * np.sqrt(np.diag(np.linalg.inv(J.T @ J)))  # of the logarithms, Cramer-Rao
        row: dict = {"patient": patient.name}
        for j, symbol in enumerate(("SI", "tI", "tG")):
            true = float(getattr(bodies, symbol)[i])
            row |= {f"{symbol} error, %": 100 * (np.exp(z[j]) / true - 1), f"{symbol} se, %": 100 * se[j]}
        for name, curve in (("Bergman", np.asarray(fitted[i])[:n]), ("Magdelaine", own[patient.name].glucose_mg_dL)):
            for part in ("fit", "forecast"):
                error = t1djax.glucose_errors(curve, patient.glucose_mg_dL, getattr(masks, part))
                row[f"{name} {part}, mg/dL"] = error["rmse_mg_dL"]
        rows.append(row)
    table = pd.DataFrame(rows)
    table.to_csv(flags.out / "estimates.csv", index=False)
    print(table.round(1).T.to_string(header=False))
    errors = np.concatenate([table[f"{s} error, %"] / table[f"{s} se, %"] for s in ("SI", "tI", "tG")])
    print(f"errors over their standard errors: root mean square {np.sqrt(np.mean(errors**2)):.2f} (1 is right)")

    shown = patients[:4]
    figure = Figure(figsize=(8, 1.7 * len(shown) + 0.6), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for i, (ax, patient) in enumerate(zip(panels, shown, strict=True)):
        hours = patient.time_min / 60
        ax.axvspan(hours[patient.masks.forecast][0], 48, color="#D55E00", alpha=0.1, lw=0)
        ax.plot(hours, patient.glucose_mg_dL, ".", ms=2.5, color="0.6", label="readings")
        ax.plot(hours, np.asarray(fitted[i])[: len(hours)], lw=1.3, color="#0072B2", label="Bergman, fitted")
        ax.plot(hours, own[patient.name].glucose_mg_dL, lw=1.3, color="#E69F00", label="Magdelaine, fitted")
        ax.set_ylabel(f"{patient.name}\nmg/dL", fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    panels[-1].set(xlim=(0, 48), xticks=range(0, 49, 6))
    panels[-1].set_xlabel("time, h (shaded: forecast)", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(flags.out / "glucose.png", dpi=120)
    print(f"estimates.csv and glucose.png in {flags.out}")


if __name__ == "__main__":
    main()
