"""Run by a test, in a process with several devices: a small sweep, then which collectives its programs hold."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import jax

from t1djax.config import SweepConfig
from t1djax.experiment import Execution, sweep
from t1djax.programs import _programs

COLLECTIVE = re.compile(
    r"\b(all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter)[.(-]"
)
SWEEP = {
    "models": ["pinn", "ode"],
    "patients": "all",
    "sensor": {"interval_min": 30.0},
    "overrides": {
        "pinn": {
            "network": {
                "width": 16,
                "depth": 1,
                "time": {"octaves": 4},
                "cell_min": 120.0,
                "stages": [
                    {"steps": 50, "optimizer": "adam", "residual_weight": [100.0, 100.0]},
                    {"steps": 6, "residual_weight": [1.0, 1000.0]},
                ],
            }
        }
    },
}


def main(results: Path) -> None:
    done = sweep(SweepConfig.model_validate({**SWEEP, "results": str(results)}), execution=Execution(figures=False))
    found = {}
    programs: dict[Any, Any] = _programs.PROGRAMS
    for key, program in programs.items():
        compiled: Any = program.run
        text = compiled.as_text()
        name = str(key)[:120]
        found[name] = [sorted(set(COLLECTIVE.findall(text))), f"num_partitions={jax.device_count()}" in text]
    print(json.dumps({"devices": jax.device_count(), "programs": found, "results": len(done.table)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
