"""Forecast the rest of each record from every reading of it, with intervals, and score the forecasts."""

import argparse
import dataclasses
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import yaml

import t1djax
from t1djax.plotting import plot_forecasts, plot_horizons

HERE = Path(__file__).resolve().parent


def virtual_people(people: int, days: int, interval_min: float, unstated: float) -> list[t1djax.Patient]:
    """Virtual people who do not state all of their meals, which makes their records a little more like real ones."""
    noise, rng = t1djax.AR1Noise(6.0), np.random.default_rng(0)
    cohort = t1djax.virtual_population(people, key=jax.random.key(0), days=days, interval_min=interval_min, noise=noise)
    records = []
    for patient in cohort:
        stated = rng.random(len(patient.doses.carbs_g)) >= unstated
        meals = {
            name: getattr(patient.doses, name)[stated] for name in ("meal_time_min", "carbs_g", "meal_duration_min")
        }
        doses = dataclasses.replace(patient.doses, **meals)
        records.append(t1djax.Patient(patient.name, patient.time_min, patient.glucose_mg_dL, doses))
    return records


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/forecasting"))
    parser.add_argument("--config", type=Path, default=HERE / "configs" / "none.yaml")
    parser.add_argument("--file", type=Path, action="append", help="a person's record, in place of virtual people")
    parser.add_argument("--carbs-unit", help="unit of its carbohydrate where the file does not say, such as g")
    parser.add_argument("--quick", action="store_true", help="one person, four days, few steps of the optimiser")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(flags.config.read_text()) | ({"people": 1, "days": 4} if flags.quick else {})
    if flags.file:
        patients = [t1djax.read_recording(file, carbs_unit=flags.carbs_unit).patient for file in flags.file]
    else:
        patients = virtual_people(config["people"], config["days"], config["interval_min"], config["unstated"])

    # Nothing after the first 70 % of a record is seen by the fit.
    options = t1djax.StateSpaceOptions(max_steps=5) if flags.quick else t1djax.StateSpaceOptions()
    fit = t1djax.fit_state_space(patients, options=options)
    print(f"{len(patients)} people fitted: {fit.cost.compile_s:.1f} s to compile, {fit.cost.run_s:.1f} s to run")
    for person in fit:
        shown = {s: person.constants[s] for s in ("Tu", "Tr", "noise")} | {s: person.effects[s] for s in ("p1", "q")}
        print(f"  {person.name}: " + ", ".join(f"{s} {e.value:.3g}" for s, e in shown.items())
              + ("" if person.ok else f"; {person.message}"))  # fmt: skip

    made, horizons = [], config["horizons_min"]
    for patient in patients:
        ours = t1djax.state_space_forecasts(
            fit,
            patient,
            horizon_min=horizons,
            future_inputs=config["future_inputs"],
            announced_min=config["announced_min"],
        )
        until = fit[patient.name].train_until_min
        made.append(ours)
        made += [t1djax.baseline_forecasts(patient, method, horizon_min=horizons, train_until_min=until)
                 for method in t1djax.evaluation.BASELINES]  # fmt: skip
        start = float(until + (patient.time_min[-1] - until) / 2)
        figure = plot_forecasts(ours, patient, start_min=start, hours=18)
        figure.savefig(flags.out / f"{patient.name}.png", dpi=120)

    scores = t1djax.score_forecasts(made)
    scores.to_csv(flags.out / "scores.csv", index=False)
    every = scores.query("range == 'all'")
    print(f"future inputs: {config['future_inputs']}; mean over people")
    for measure in ("rmse_mg_dL", "coverage_90_percent", "crps_mg_dL"):
        mean = pd.pivot_table(every, index="horizon_min", columns="method", values=measure)
        print(f"{measure}\n{mean.round(1).to_string()}\n")
    plot_horizons(scores).savefig(flags.out / "horizons.png", dpi=120)
    print(f"scores.csv, horizons.png and a figure of each person in {flags.out}")


if __name__ == "__main__":
    main()
