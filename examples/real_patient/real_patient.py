"""A real person's file: what is in it, how the days went, what it tells of the body, and how far to believe it."""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np
import yaml

import t1djax
from t1djax.plotting import plot_agp, plot_day, plot_windows

HERE = Path(__file__).resolve().parent


def stand_in(folder: Path) -> Path:
    """A file in the layout of HUPA-UCM, of a person who is simulated: it shows the way, and nothing about people."""
    noise = t1djax.AR1Noise(6.0)
    cohort = t1djax.virtual_population(1, key=jax.random.key(3), days=4, interval_min=5, noise=noise, censor=True)
    person = cohort["V0001"]
    readings = np.interp(np.arange(0, 4 * 1440, 5), person.time_min[person.valid], person.glucose_mg_dL[person.valid])
    bolus, carbs = np.zeros(len(readings)), np.zeros(len(readings))
    rows = lambda t: (t[t < 4 * 1440] // 5).astype(int)
    np.add.at(bolus, rows(person.doses.bolus_time_min), person.doses.bolus_U[person.doses.bolus_time_min < 4 * 1440])
    np.add.at(carbs, rows(person.doses.meal_time_min), person.doses.carbs_g[person.doses.meal_time_min < 4 * 1440])
    basal = person.doses.basal_U_h[0] / 12  # U in each row of 5 min
    start = np.datetime64("2024-03-04T00:00:00")
    lines = ["time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input"]
    lines += [f"{start + np.timedelta64(5 * i, 'm')};{g:.1f};;;;{basal:.5f};{b:.3f};{c:.1f}"
              for i, (g, b, c) in enumerate(zip(readings, bolus, carbs, strict=True))]  # fmt: skip
    file = folder / "SIMULATED.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def _number(x: float | None) -> str:
    return "unknown" if x is None else f"{x:.0f}"


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, help="the person's file; README.md says where to get one")
    parser.add_argument("--out", type=Path, default=Path("out/real_patient"))
    parser.add_argument("--config", type=Path, default=HERE / "configs" / "hupa.yaml")
    parser.add_argument("--quick", action="store_true", help="four days of a simulated person where there is no --file")
    flags = parser.parse_args()
    if flags.file is None and not flags.quick:
        parser.error("name a --file; README.md says where to get one, and under which licence")
    flags.out.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(flags.config.read_text())
    file = flags.file or stand_in(flags.out)

    report = t1djax.inspect_file(file, **config["read"])
    print(f"{report.file}: {report.format}, {report.readings} readings, {_number(report.span_h)} h from {report.first}")
    print(f"  insulin {_number(report.insulin_U_day)} U/day, carbohydrate {_number(report.carbs_g_day)} g/day")
    for kind in ("problems", "warnings", "notes"):
        for text in getattr(report, kind):
            print(f"  {kind[:-1]}: {text}")
    if report.problems:
        sys.exit("correct the file, or say in the configuration what it leaves open")
    person = t1djax.read_recording(file, **config["read"]).patient

    days = t1djax.glycaemia_table([person])
    print(days.round(1).T.to_string(header=False))
    plot_agp(person).savefig(flags.out / "agp.png", dpi=120)
    plot_day(person, start_min=float(person.time_min[0]) + 1440.0).savefig(flags.out / "day.png", dpi=120)

    # The body may change over weeks, and the model drifts: two days at a time, insulin and food before them burnt in.
    cut = t1djax.windows(person, length_h=config["length_h"])
    free = config["free"]
    beliefs = {symbol: t1djax.question.population_belief(symbol) for symbol in free}
    fit = t1djax.fit(cut, model="ode", free=[*free, "G0"], priors=beliefs, assume_population=True)
    found = t1djax.identify(fit, cut, what_if=False)
    for window, determined in zip(cut, found, strict=True):
        one = fit[window.name]
        errors = t1djax.metrics(one, window)
        print(f"{determined.line}")
        print(f"  RMSE: fitted {errors['rmse_fit_mg_dL']:.0f}, forecast {errors['rmse_forecast_mg_dL']:.0f} mg/dL "
              f"(the last reading held: {t1djax.evaluation.persistence_rmse(window):.0f})")  # fmt: skip
        for doubt in t1djax.doubts(one, window, priors=fit.problem.priors):
            print(f"  doubt: {doubt}")
    print(found.verdict)
    plot_windows([p.as_dict() for p in found]).savefig(flags.out / "windows.png", dpi=120)
    found.table().to_csv(flags.out / "identification.csv", index=False)
    print(f"agp.png, day.png, windows.png and identification.csv in {flags.out}")


if __name__ == "__main__":
    main()
