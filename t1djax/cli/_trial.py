"""`t1djax trial`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from .._words import counted
from ..config import TrialConfig, load_trial
from ..experiment import TrialRun, run_trial
from ..physics import physiology_named
from ..plotting import plot_trial
from ..reporting import write_trial_page
from ..trials import Difference
from ._app import Json, commands
from ._execution import telling
from ._fields import Values, flags_of, with_flags
from ._tables import print_json, print_table

_SHOWN = {"in_range_percent": "70 to 180\n%", "low_percent": "54 to 69\n%", "very_low_percent": "below 54\n%",
          "high_percent": "181 to 250\n%", "very_high_percent": "above 250\n%", "mean_mg_dL": "mean\nmg/dL",
          "cv_percent": "CV\n%", "gri": "GRI", "low_events_per_week": "lows\nper week",
          "insulin_U_per_day": "insulin\nU/day"}  # fmt: skip
_FLAGS = ("physiology", "people", "days", "seed", "margin_percent")


@commands.command(epilog="Example: t1djax trial trial.yaml --people 1000 --out loops")
@with_flags(stated=flags_of(TrialConfig, only=_FLAGS))
def trial(
    *,
    file: Annotated[Path, typer.Argument(help="YAML file of the trial: people, days, controllers, habits, devices.")],
    stated: Values,
    out: Annotated[Path, typer.Option(help="Folder; the same trial goes on in it where it was.")] = Path("trial"),
    as_json: Json = False,
) -> None:
    """Let controllers treat the same virtual people in closed loop, on the same days, and compare what came of it.

    Evidence on models of people; no advice for anybody.
    """
    config = load_trial(file, stated)
    with telling(lambda line: line, show=not as_json) as tell:
        done = run_trial(config, out, on_controller=lambda name, i, n: tell.now(f"{name} ({i + 1} of {n})"))
    plot_trial(done.trial.outcomes, done.profiles).savefig(out / "trial.png")
    differences = done.trial.differences(margins={"in_range_percent": config.margin_percent})
    write_trial_page(done.trial, out / "trial.html", profiles=done.profiles, differences=differences,
                     setting=json.loads(config.model_dump_json()))  # fmt: skip
    if as_json:
        print_json({"folder": str(out), "controllers": done.trial.table().to_dict("records"),
                    "differences": [x._asdict() for x in differences]})  # fmt: skip
    else:
        _print(done, differences, config, out)


def _print(done: TrialRun, differences: Sequence[Difference], config: TrialConfig, out: Path) -> None:
    found = done.trial.table()
    table = pd.DataFrame({"controller": found["controller"]})
    for name, heading in _SHOWN.items():
        numbers = (found[f"{name}{end}"] for end in ("", "_sd", "_low", "_high"))
        table[heading] = [f"{m:.1f} ± {s:.1f}\n{a:.1f} to {b:.1f}" for m, s, a, b in zip(*numbers, strict=True)]
    people, days = counted(config.people, "person", "people"), counted(config.days, "day")
    whose = f"{people} of {physiology_named(config.physiology).__name__}'s population, {days}"
    typer.echo(f"{whose}: mean ± standard deviation over people, and the mean's 95 % interval")
    print_table(table)
    for x in differences:
        if x.outcome == "in_range_percent":
            same = "equivalent" if x.equivalent else "not equivalent"
            typer.echo(
                f"{x.first} against {x.second}: time in range {x.mean:+.1f} points (95 %: {x.low:+.1f} to "
                f"{x.high:+.1f}), more in {100 * x.more:.0f} % of people, {same} within "
                f"{config.margin_percent:g} points"
            )
    typer.echo(f"outcomes, profiles, trial.png and trial.html in {out}")
