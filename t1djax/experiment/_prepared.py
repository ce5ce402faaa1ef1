"""Everything about a run that is settled before it starts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from ..config import Experiment
from ..data import Cohort, fingerprint
from ..io import check_run_names, made_by
from ..networks import NetworkOptions
from ..programs import training_block
from ..training import Stage
from ._cohort import load_cohort
from ._memory import rows_that_fit
from ._warm import posed, warm_start_of


class Prepared:
    """Everything about a run that is settled before it starts; `cohort`, where its patients are read already."""

    def __init__(self, config: Experiment, cohort: Cohort | None = None) -> None:
        self.config = config
        self.cohort = load_cohort(config) if cohort is None else cohort
        self.seeds = tuple(range(config.seed, config.seed + config.members))
        about = config.question
        check_run_names(config.model, about.mode, self.cohort.names, about.free, self.seeds[-1])
        self.options = config.options()
        self.warm = warm_start_of(config.warm_start, self.cohort.patients, config.model, self.options)
        self.problems = posed(self.cohort.patients, config.question, self.seeds, self.warm)
        self.stages = None if self.options is None else config.stages(self.problems[0].start)

    def resolved(self) -> dict[str, Any]:
        return _resolved(self.config, self.options, self.stages)

    def rows(self, most: int | None) -> int:
        return rows_that_fit(self.cohort.patients, self.problems[0], self.options, self.stages, most=most)

    def batches(self, rows: int) -> list[list[int]]:
        """Patients by position, alike in number but for the last ones; every process gets some where it can."""
        n, share = len(self.cohort), -(-len(self.cohort) // jax.process_count())
        size = max(1, min(rows // len(self.seeds), share))
        return [list(range(first, min(first + size, n))) for first in range(0, n, size)]

    def record(self, batches: Sequence[Sequence[int]]) -> dict[str, Any]:
        """What the journal keeps, without the time."""
        config = {k: v for k, v in self.resolved().items() if k != "results"}
        made = made_by()
        # Several devices, or another number of cores, work in other blocks, which moves last bits.
        made["device"] = {**made["device"], "count": str(jax.local_device_count()), "block": str(training_block())}
        people = {patient.name: fingerprint([patient]) for patient in self.cohort}
        return {
            "config": config, "data": fingerprint(self.cohort), "patients": people, "batches": batches, "made_by": made,
        }  # fmt: skip


def _resolved(config: Experiment, options: NetworkOptions | None, stages: Sequence[Stage] | None) -> dict[str, Any]:
    """The configuration with nothing left to a default that may change: `train --config` runs it again."""
    resolved = config.model_dump(mode="json")
    if options is not None and stages is not None:
        resolved["network"] = dataclasses.asdict(options)
        resolved["network"]["stages"] = [dataclasses.asdict(stage) for stage in stages]
    return resolved
