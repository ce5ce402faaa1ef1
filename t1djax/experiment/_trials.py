"""A trial with a results folder: each controller is written when it is finished, and not run again."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from .._whole import whole
from ..config import ConfigError, TrialConfig
from ..data import STEPS_PER_DAY, Cohort
from ..io import write_cohort
from ..physics import physiology_named
from ..trials import Trial, trial
from ._journal import write_json

if TYPE_CHECKING:
    import pandas as pd

_RECIPE, _TRACED = "trial.json", 100
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclasses.dataclass(frozen=True, eq=False)
class TrialRun:
    """A finished trial and the days of its people."""

    trial: Trial
    """Outcomes."""
    profiles: "dict[str, pd.DataFrame]"
    """By controller: quantiles of glucose over the day, mg/dL, of the first hundred people; a row each 5 min."""


def run_trial(
    config: TrialConfig, out: str | Path, *, on_controller: Callable[[str, int, int], None] | None = None
) -> TrialRun:
    """Run a trial and write it: `outcomes-NAME.csv` and `profile-NAME.csv` for each controller.

    Where the configuration asks for recordings there is a folder `recordings-NAME` as well, which `read_cohort` reads.

    The folder is new, empty, or of the same trial, which then goes on with the controllers that are missing;
    `on_controller` is told of each before it starts: its name, its number and how many there are.

    Raises:
        ConfigError: where the folder holds something else.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    folder = Path(out)
    recipe = json.loads(config.model_dump_json())
    if (folder / _RECIPE).exists():
        before = json.loads((folder / _RECIPE).read_text(encoding="utf-8"))
        if before != recipe:
            other = [name for name in recipe if before.get(name) != recipe[name]]
            raise ConfigError(f"{folder} holds another trial ({', '.join(other)} differ); name another folder")
    elif folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is there already and holds no trial; name a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _RECIPE, recipe)
    tables, profiles, compile_s = [], {}, 0.0
    for i, (name, controller) in enumerate(config.made().items()):
        outcomes, profile = (folder / f"{what}-{name}.csv" for what in ("outcomes", "profile"))
        if not outcomes.exists():
            if on_controller is not None:
                on_controller(name, i, len(config.controllers))
            found = trial(
                {name: controller},
                config.people,
                key=jax.random.key(config.seed),
                physiology=physiology_named(config.physiology),
                days=config.days,
                rules=config.rules(),
                settings=config.settings,
                traced=max(_TRACED, config.recorded),
            )
            compile_s += found.compile_s
            _write(profile, _profile(found.traces[name][:_TRACED]))
            if config.recorded:
                write_cohort(found.traces[name][: config.recorded], folder / f"recordings-{name}", overwrite=True)
            _write(outcomes, found.outcomes)
        tables.append(pd.read_csv(outcomes, dtype={"person": str, "controller": str}))
        profiles[name] = pd.read_csv(profile)
    every = pd.concat(tables, ignore_index=True)
    return TrialRun(Trial(every, config.days, config.physiology, {}, compile_s), profiles)


def _write(path: Path, table: "pd.DataFrame") -> None:
    """Whole or not at all."""
    with whole(path) as partial:
        table.to_csv(partial, index=False)


def _profile(cohort: Cohort) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - heavy

    days = [truth.glucose_mg_dL.reshape(-1, STEPS_PER_DAY) for truth in cohort.truth.values()]
    found = np.quantile(np.concatenate(days), _QUANTILES, axis=0).T
    table = pd.DataFrame(found, columns=[f"q{100 * q:02.0f}_mg_dL" for q in _QUANTILES])
    table.insert(0, "minute", 1440 // STEPS_PER_DAY * np.arange(STEPS_PER_DAY))
    return table
