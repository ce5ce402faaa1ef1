"""Simulate ten thousand people with sensors, and identify all of them by one program."""

import argparse
import resource
import time
from pathlib import Path

import jax
import numpy as np
import yaml
from matplotlib.figure import Figure

import t1djax

HERE = Path(__file__).resolve().parent
NOISE = {"white": t1djax.WhiteNoise, "ar1": t1djax.AR1Noise}


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/virtual_population"))
    parser.add_argument("--config", type=Path, default=HERE / "configs" / "white.yaml")
    parser.add_argument("--quick", action="store_true", help="200 people, a reading every quarter of an hour")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(flags.config.read_text()) | ({"people": 200, "interval_min": 15} if flags.quick else {})

    began = time.perf_counter()
    cohort = t1djax.virtual_population(
        config["people"],
        key=jax.random.key(config["seed"]),
        interval_min=config["interval_min"],
        noise=NOISE[config["noise"]](config["noise_sd_mg_dL"]),
    )
    print(f"{len(cohort)} people lived two days in {time.perf_counter() - began:.1f} s")
    true = np.concatenate([cohort.truth[name].glucose_mg_dL for name in cohort.names])
    print(f"of their glucose {100 * np.mean((true >= 70) & (true <= 180)):.1f} % lies in 70 to 180 mg/dL, "
          f"{100 * np.mean((true >= 40) & (true <= 400)):.3f} % in 40 to 400")  # fmt: skip

    fit = t1djax.fit(cohort, model="ode", free=config["free"])
    rate = len(cohort) / fit.cost.run_s
    print(f"all identified in {fit.cost.run_s:.1f} s ({rate:.0f} people a second) after {fit.cost.compile_s:.1f} s of "
          f"compilation; {sum(f.ok for f in fit)} converged")  # fmt: skip

    scores = {}
    for symbol in config["free"]:
        found = [f.estimates[symbol] for f in fit]
        truth = np.array([cohort.truth[f.name].parameters[symbol] for f in fit])
        value, se = np.array([e.value for e in found]), np.array([e.standard_error for e in found], float)
        scores[symbol] = (value - truth) / se
        error = 100 * np.abs(value / truth - 1)
        inside = 100 * np.mean(np.abs(scores[symbol]) < 1.645)
        print(f"{symbol}: error {np.median(error):.2g} % (median), {np.quantile(error, 0.95):.2g} % (95 of 100), "
              f"{error.max():.2g} % (worst); 90 % intervals hold {inside:.1f} % of the truths")  # fmt: skip

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, *rest = figure.subplots(1, 1 + len(scores), width_ratios=[2, *[1] * len(scores)])
    # Rows differ from person to person, since each dose stands on one; the sensor's times are everybody's.
    grid = np.arange(0.0, 2881.0, config["interval_min"])
    rows = (np.interp(grid, p.time_min, cohort.truth[p.name].glucose_mg_dL) for p in cohort)
    levels = np.percentile(np.stack(list(rows)), [5, 25, 50, 75, 95], axis=0)
    left.axhspan(70, 180, color="#009E73", alpha=0.08, lw=0)
    left.fill_between(grid / 60, levels[0], levels[4], color="#56B4E9", alpha=0.3, lw=0, label="90 of 100 people")
    left.fill_between(grid / 60, levels[1], levels[3], color="#56B4E9", alpha=0.6, lw=0, label="50 of 100")
    left.plot(grid / 60, levels[2], color="#0072B2", label="median")
    left.set(xlabel="time, h", ylabel="glucose, mg/dL", ylim=(40, None), xlim=(0, 48))
    left.set_xticks(range(0, 49, 12))
    left.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.13))
    x = np.linspace(-4, 4, 200)
    for ax, (symbol, score) in zip(rest, scores.items(), strict=True):
        ax.hist(np.clip(score, -4, 4), bins=41, range=(-4.1, 4.1), density=True, color="#56B4E9")
        ax.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="#D55E00")
        ax.set(xlabel=f"error of {symbol},\nstandard errors", yticks=[])
    for ax in (left, *rest):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(flags.out / "population.png", dpi=120)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    print(f"at most {most:.1f} GiB of memory; figure in {flags.out / 'population.png'}")


if __name__ == "__main__":
    main()
