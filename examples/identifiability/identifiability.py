"""What glucose can tell of each parameter: before a fit, after it, and over many draws of the sensor's noise."""

import argparse
import dataclasses
from pathlib import Path

import jax
import numpy as np
import yaml
from matplotlib.figure import Figure

import t1djax
from t1djax.plotting import plot_identification, plot_profiles

HERE = Path(__file__).resolve().parent


def many_draws(name: str, sensor: dict, draws: int) -> t1djax.Cohort:
    """The same person read by `draws` sensors, as a cohort: it is fitted as one program."""
    people, truth = [], {}
    for i in range(draws):
        key = jax.random.fold_in(jax.random.key(1), i)
        one = t1djax.reference_cohort(names=[name], key=key, **sensor)
        twin = dataclasses.replace(one[name], name=f"{name}-{i}")
        people.append(twin)
        truth[twin.name] = one.truth[name]
    return t1djax.Cohort(tuple(people), truth)


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/identifiability"))
    parser.add_argument("--config", type=Path, default=HERE / "configs" / "two.yaml")
    parser.add_argument("--quick", action="store_true", help="a reading every half an hour, 40 draws")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(flags.config.read_text()) | ({"interval_min": 30, "draws": 40} if flags.quick else {})
    name, free = config["patient"], config["free"]
    noise = t1djax.WhiteNoise(config["noise_sd_mg_dL"])
    sensor = {"interval_min": config["interval_min"], "noise": noise}
    cohort = t1djax.reference_cohort(names=[name], key=jax.random.key(0), **sensor)

    print(f"Before any reading: free {', '.join(free)}; doses, meals and reading times of {name}")
    true = cohort.truth[name].parameters
    here = {symbol: true[symbol] for symbol in free}
    early = t1djax.preflight(cohort, free=free, values=here, noise_sd_mg_dL=config["noise_sd_mg_dL"])
    print(f"  {early[name].line}")
    for direction in early[name].directions:
        print(f"  {direction.words}")
    for change in early[name].what_if:
        known = {s: errors for s, errors in change.percent.items() if np.isfinite(errors[1])}
        gains = ", ".join(f"{s} from ±{a:.2g} to ±{b:.2g} %" for s, (a, b) in known.items())
        print(f"  {change.change}: {gains}")
    plot_identification(early[name]).savefig(flags.out / "before.png")

    try:
        fit = t1djax.fit(cohort, model="ode", free=free)
    except t1djax.UnidentifiableError as reason:
        print(f"A fit refuses: {reason}")
        return
    report = t1djax.identify(fit, cohort)
    print(f"After the fit\n  {report[name].line}")
    plot_identification(report[name]).savefig(flags.out / "after.png")
    profiles = [t1djax.profile(fit, cohort, symbol) for symbol in free]
    plot_profiles(profiles, name).savefig(flags.out / "profiles.png")

    print(f"{config['draws']} draws of the noise, fitted as one program")
    many = many_draws(name, sensor, config["draws"])
    each = t1djax.fit(many, model="ode", free=free)
    figure = Figure(figsize=(2.6 * len(free) + 0.4, 2.8), layout="constrained")
    panels = figure.subplots(1, len(free), squeeze=False)[0]
    for ax, symbol in zip(panels, free, strict=True):
        errors = 100 * np.log([f.estimates[symbol].value / true[symbol] for f in each])
        promised = early[name].parameters[symbol].bound_percent
        ratio = np.sqrt(np.mean(errors**2)) / promised
        print(f"  {symbol}: root mean square error {np.sqrt(np.mean(errors**2)):.3g} %, Cramer-Rao bound "
              f"{promised:.3g} %, ratio {ratio:.2f}")  # fmt: skip
        x = np.linspace(-4 * promised, 4 * promised, 200)
        ax.hist(errors, bins=20, density=True, color="#56B4E9")
        ax.plot(x, np.exp(-((x / promised) ** 2) / 2) / promised / np.sqrt(2 * np.pi), color="#D55E00")
        ax.set_xlabel(f"error of {symbol}, %")
        ax.set_yticks([])
        ax.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle("estimates (blue) and the bound (orange)", fontsize=9, x=0.01, ha="left")
    figure.savefig(flags.out / "draws.png", dpi=120)
    print(f"before.png, after.png, profiles.png and draws.png in {flags.out}")


if __name__ == "__main__":
    main()
