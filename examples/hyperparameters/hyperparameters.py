"""Search the architecture, the weight of the equations and the schedule of a network, with Optuna.

Three groups of people who share nobody: the search scores its trials on the first, the best few are compared on the
second, and the third is looked at once, by the winner and by the library's defaults.
"""

import argparse
import collections
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optuna
import pandas as pd
import yaml
from matplotlib.figure import Figure

import t1djax

HERE = Path(__file__).resolve().parent
GROUPS = ("search", "validation", "test")


class Shape(NamedTuple):
    """What a program is compiled for: trials of one shape train together, as one batch."""

    width: int
    depth: int
    steps: int


class Setting(NamedTuple):
    """A trial: its shape, and how much the equations weigh at the end."""

    shape: Shape
    weight: float


DEFAULT = Setting(Shape(t1djax.PINNOptions().width, t1djax.PINNOptions().depth, 12), 1_000.0)


def groups(config: dict) -> dict[str, t1djax.Cohort]:
    """Search, validation and test people."""
    noise = t1djax.WhiteNoise(config["noise_sd_mg_dL"]) if config["noise_sd_mg_dL"] else None
    sizes = [config[name] for name in GROUPS]
    everyone = t1djax.virtual_population(
        sum(sizes), key=jax.random.key(config["seed"]), interval_min=config["interval_min"], noise=noise
    )
    cuts = np.split(np.array(everyone.names), np.cumsum(sizes)[:-1])
    return {name: everyone.select(names.tolist()) for name, names in zip(GROUPS, cuts, strict=True)}


def errors(cohort: t1djax.Cohort, shape: Shape, weights: Sequence[float], config: dict) -> list[float]:
    """Root mean square error of ksi in % over a cohort, for several weights of one shape: one batched program.

    The equations weigh against the readings relative to the noise that the fit is told (1 mg/dL at least). Told `s`
    times as much noise, it weighs them `s` times as much: so trials that differ in weight share their stages, hence a
    program. The stages have the least weight of the space at the end. A batch has always as many trials, the last one
    repeated where there are fewer, so that every batch of a width and depth is the same program.
    """
    options = t1djax.PINNOptions(width=shape.width, depth=shape.depth, cell_min=config["cell_min"])
    least = config["space"]["weight"][0]
    stages = [t1djax.Stage(steps=shape.steps, residual_weight=(least / 1000, least))]
    noise = config["noise_sd_mg_dL"] or 1.0
    base = t1djax.pose(tuple(cohort), mode="inverse", free=["ksi"], key=jax.random.key(1))
    problems = [dataclasses.replace(base, noise_sd_mg_dL=noise * weight / least) for weight in weights]
    size, fits = config["batch"], []
    for first in range(0, len(problems), size):
        some = problems[first : first + size]
        full = some + some[-1:] * (size - len(some))
        keys = [jax.random.key(2)] * size
        fits += t1djax.training.fit_members(tuple(cohort), full, keys=keys, options=options, stages=stages)[: len(some)]
    truth = np.array([cohort.truth[name].parameters["ksi"] for name in cohort.names])
    found = [np.array([f.estimates["ksi"].value for f in fit]) for fit in fits]
    # A fit that ends in numbers that are not finite is as bad as it gets.
    return [float(np.nan_to_num(100 * np.sqrt(np.mean((v / truth - 1) ** 2)), nan=1e3, posinf=1e3)) for v in found]


def suggest(trial: optuna.Trial, space: dict) -> Setting:
    """A point of the space that the configuration states."""
    shape = Shape(*(trial.suggest_categorical(name, space[name]) for name in Shape._fields))
    return Setting(shape, trial.suggest_float("weight", *space["weight"], log=True))


def search(cohort: t1djax.Cohort, config: dict) -> tuple[optuna.Study, dict[int, Setting]]:
    """Rounds of trials: all of a round are asked for at once, and those of one shape train together."""
    sampler = optuna.samplers.TPESampler(seed=config["seed"], n_startup_trials=config["per_round"], constant_liar=True)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    settings: dict[int, Setting] = {}
    for number in range(1, config["rounds"] + 1):
        began, batches = time.perf_counter(), collections.defaultdict(list)
        for _ in range(config["per_round"]):
            trial = study.ask()
            settings[trial.number] = suggest(trial, config["space"])
            batches[settings[trial.number].shape].append(trial)
        for shape, trials in batches.items():
            weights = [settings[t.number].weight for t in trials]
            for trial, error in zip(trials, errors(cohort, shape, weights, config), strict=True):
                study.tell(trial, np.log10(error))  # errors span decades
        print(f"round {number}: {config['per_round']} trials of {len(batches)} shapes, "
              f"{time.perf_counter() - began:.0f} s; best so far {10**study.best_value:.2g} %", flush=True)  # fmt: skip
    return study, settings


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/hyperparameters"))
    parser.add_argument("--config", type=Path, default=HERE / "configs" / "exact.yaml")
    parser.add_argument("--quick", action="store_true", help="configs/quick.yaml: six small trials")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((HERE / "configs" / "quick.yaml" if flags.quick else flags.config).read_text())
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    people = groups(config)
    print("; ".join(f"{name}: {cohort.names[0]} to {cohort.names[-1]}" for name, cohort in people.items()))
    study, settings = search(people["search"], config)

    ranked = sorted((t for t in study.trials if t.value is not None), key=lambda t: t.value or 0.0)
    best = list(dict.fromkeys(settings[t.number] for t in ranked))[: config["finalists"]]
    rows = [{**s.shape._asdict(), "weight": s.weight, "validation_error_percent":
             errors(people["validation"], s.shape, [s.weight], config)[0]} for s in [*best, DEFAULT]]  # fmt: skip
    table = pd.DataFrame(rows, index=[*range(1, len(best) + 1), "defaults"])
    print(table.to_string(float_format="{:.3g}".format))
    chosen = best[int(np.argmin([row["validation_error_percent"] for row in rows[:-1]]))]
    print(f"chosen on the validation people: {chosen}")
    for name, s in (("chosen", chosen), ("defaults", DEFAULT)):
        error = errors(people["test"], s.shape, [s.weight], config)[0]
        print(f"test people, {name}: root mean square error of ksi {error:.2g} %")
    table.to_csv(flags.out / "finalists.csv")

    figure = Figure(figsize=(9, 2.8), layout="constrained")
    panels = figure.subplots(1, 4, sharey=True)
    values = [10 ** (t.value or 0.0) for t in study.trials]
    for ax, name in zip(panels, (*Shape._fields, "weight"), strict=True):
        x = [getattr(settings[t.number].shape, name, settings[t.number].weight) for t in study.trials]
        ax.scatter(x, values, c=range(len(x)), cmap="viridis", s=16)
        ax.set(xscale="log", yscale="log", xlabel=name)
        if name != "weight":
            ax.set_xticks(config["space"][name], [str(v) for v in config["space"][name]])
            ax.minorticks_off()
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("error of ksi, %\n(search people)")
    figure.colorbar(panels[0].collections[0], ax=panels, label="trial")
    figure.savefig(flags.out / "trials.png", dpi=120)
    print(f"finalists.csv and trials.png in {flags.out}")


if __name__ == "__main__":
    main()
