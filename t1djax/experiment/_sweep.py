"""A matrix of experiments as a few compiled programs, which survives whatever stops it."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import filelock
import jax

from .._in_use import Busy, using
from ..config import ConfigError, SweepConfig, with_defaults
from ..data import Cohort
from ..evaluation import comparison, results_table
from ..io import JsonFormat, ResultError, as_cells, differences
from ..plotting import save_comparison
from ..training import Memory, Progress
from ._cohort import load_cohort, read_by, source_of
from ._journal import Journal, check_record, check_same, is_plain, make_journal, read_journal, write_json
from ._memory import memory_of
from ._pace import Pace
from ._prepared import Prepared
from ._processes import barrier, everybody
from ._repair import repair
from ._run import Execution, Run, carry_out, prepare_results, run_label, warn_of_batch, warn_of_conditions, writing

if TYPE_CHECKING:
    import pandas as pd

_SWEEP = "sweep.json"
_FORMAT = JsonFormat("t1djax.sweep", 1, what="a sweep of t1djax", remedy="take other results")
SUMMARY = "summary.json"
"""What a sweep leaves at the top of its results: the comparison, and every result's row."""


class Program(NamedTuple):
    """One compiled program of a sweep: a model, a mode and a set of parameters, for all patients and seeds."""

    model: str
    """What is fitted."""
    mode: str
    """Forward or inverse."""
    named: tuple[str, ...]
    """What is estimated."""
    patients: int
    """How many patients."""
    seeds: int
    """Fits per patient."""
    batches: int
    """In how many batches they train."""
    batch: int
    """Fits per batch."""
    memory: Memory | None
    """Estimated working memory; None for least squares, which works in blocks."""

    @property
    def runs(self) -> int:
        """Fits, all together."""
        return self.patients * self.seeds

    @property
    def memory_bytes(self) -> int | None:
        """Estimated working memory of a batch, bytes."""
        return None if self.memory is None else self.memory.of(self.batch)


class SweepProgress(NamedTuple):
    """How far a sweep is."""

    program: int
    """Number of the program, from 1."""
    programs: int
    """How many there are."""
    label: str
    """Which it is, for people."""
    runs_done: int
    """Fits whose results are on the disk."""
    runs: int
    """Fits there are."""
    seconds_left: float | None
    """Estimated time left for all of it, s."""
    progress: Progress | None
    """Of the training; None where a program begins or ends."""
    phase: Literal["compiling", "training", "done"] = "training"
    """What the program does now: compiling begins it, done ends it; one that was finished before is done at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """A finished sweep."""

    name: str
    """Its name: that of its parent runs in a tracker."""
    runs: tuple[Run, ...]
    """One per program."""
    table: "pd.DataFrame"
    """One row per result; see `results_table`."""
    comparison: "pd.DataFrame"
    """One row per program and measure; see `comparison`."""
    summary: Path
    """The file with all of it."""


def plan_sweep(config: SweepConfig, *, execution: Execution | None = None) -> tuple[Program, ...]:
    """What a sweep would run: programs, batches, memory. Reads the data; fits nothing, compiles nothing.

    Args:
        config: the sweep.
        execution: how it would be carried out.

    Returns:
        One entry per program, in the order in which they run.

    Example:
        >>> import t1djax
        >>> plan = t1djax.experiment.plan_sweep(t1djax.config.SweepConfig(models=("ode",), seeds=3))
        >>> plan[0].runs, plan[0].batches
        (30, 1)
    """
    execution = Execution() if execution is None else execution
    return tuple(_program(each, execution) for each in _prepared(config))


def _prepared(config: SweepConfig) -> list[Prepared]:
    """The experiments, each posed; patients that several have in common are read, and warned of, once."""
    read: dict[str, Cohort] = {}
    found = []
    for experiment in config.experiments():
        source = source_of(experiment)
        if source not in read:
            read[source] = load_cohort(experiment)
        found.append(Prepared(experiment, read[source]))
    return found


def _program(prepared: Prepared, execution: Execution) -> Program:
    config = prepared.config
    rows = prepared.rows(execution.batch)
    batches = prepared.batches(rows)
    memory = memory_of(prepared.cohort.patients, prepared.problems[0], prepared.options, prepared.stages)
    seeds = len(prepared.seeds)
    size = len(batches[0]) * seeds
    return Program(
        config.model,
        config.question.mode,
        tuple(config.question.free),
        len(prepared.cohort),
        seeds,
        len(batches),
        size,
        memory,
    )


def sweep(
    config: SweepConfig,
    *,
    execution: Execution | None = None,
    on_progress: Callable[[SweepProgress], None] | None = None,
) -> Sweep:
    """Run a sweep, or go on with it: what is finished in its results folder is not done again.

    Everything is read and posed before anything is fitted. A results folder belongs to one sweep: another matrix on it
    is refused, with the difference.

    Args:
        config: the sweep.
        execution: how it is carried out; `resume` is not looked at.
        on_progress: called when programs begin and end, and after each chunk of training steps.

    Returns:
        The sweep. Its summary and figures are in the results folder too.

    Raises:
        ConfigError: where the folder is that of another sweep, or the data changed.
        Busy: where another process is at work on it, or somebody is being removed from data or results.
        Stopped: where `execution.stop` said so.
        ResultError: naming a damaged file of the sweep's own. Results that are gone or damaged are fitted again.

    Example:
        >>> import tempfile
        >>> import t1djax
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     config = t1djax.config.SweepConfig(models=("ode",), patients="2,3", results=folder)
        ...     done = t1djax.sweep(config, execution=t1djax.experiment.Execution(figures=False))
        >>> len(done.table)
        2
    """
    execution = Execution() if execution is None else execution
    began = everybody(int(dt.datetime.now().timestamp()))
    root = Path(config.results)
    with contextlib.ExitStack() as stack:
        stack.enter_context(using(read_by(config.experiments())))
        prepared = _prepared(config)
        prepare_results(root)
        stack.enter_context(using([root]))
        return _sweep(prepared, root, config, began, execution, on_progress)


def _sweep(
    prepared: Sequence[Prepared],
    root: Path,
    config: SweepConfig,
    began: int,
    execution: Execution,
    on_progress: Callable[[SweepProgress], None] | None,
) -> Sweep:
    first = jax.process_index() == 0
    lock = filelock.FileLock(root / "sweep.lock", timeout=0)
    try:
        if first:
            lock.acquire()
    except filelock.Timeout as e:
        raise Busy(f"{root}: another process is at work on this sweep; wait for it, or take other results") from e
    try:
        if first:
            with writing(root):
                _claim(root, config, dt.datetime.fromtimestamp(began).astimezone())
        barrier("sweep claimed")
        record = _read(root)
        started = dt.datetime.fromisoformat(record["started"])
        tracker = _Steps(prepared, root, record, started, execution, on_progress)
        if first:
            with writing(root):
                for number, each in enumerate(prepared):
                    tracker.journal(number, each)
        barrier("programs planned")
        runs = tuple(tracker.run(number, each) for number, each in enumerate(prepared))
        table = results_table(m for run in runs for m in run.metadata)
        compared = comparison(table)
        if first:
            with writing(root):
                _summarise(root, record, table, compared, runs, figures=execution.figures)
        return Sweep(record["name"], runs, table, compared, root / SUMMARY)
    finally:
        lock.release()


class _Steps:
    """Bookkeeping of the programs of one sweep."""

    def __init__(
        self,
        prepared: Sequence[Prepared],
        root: Path,
        record: Mapping[str, Any],
        started: dt.datetime,
        execution: Execution,
        on_progress: Callable[[SweepProgress], None] | None,
    ) -> None:
        self.root, self.record, self.started, self.execution = root, record, started, execution
        self.on_progress = on_progress
        self.runs = [len(p.cohort) * len(p.seeds) for p in prepared]
        self.before = self.done = 0
        self.pace = Pace()

    def journal(self, number: int, prepared: Prepared) -> Journal:
        """The program's journal: the one there is, or a new one."""
        label = run_label(prepared.config, self.started)
        folder = self.root / ".runs" / f"{number + 1:02d}_{label}"
        if (folder / "run.json").exists():
            journal = read_journal(folder)
            repair(journal, self.root, range(len(journal.record["batches"])), len(prepared.seeds))
            if journal.done:
                check_same(journal, prepared.record([]), sweep=self.root)
            else:
                warn_of_conditions(journal, prepared.record([]), sweep=self.root)
                warn_of_batch(journal, prepared, self.execution)
        else:
            batches = prepared.batches(prepared.rows(self.execution.batch))
            record = {"started": self.started.isoformat(), "sweep": self.record["name"], **prepared.record(batches)}
            journal = make_journal(folder, record)
        self.before += self.runs[number] if journal.done else 0
        return journal

    def run(self, number: int, prepared: Prepared) -> Run:
        config = prepared.config
        label = " ".join(part for part in (config.model, config.question.mode, "+".join(config.question.free)) if part)
        journal = read_journal(self.root / ".runs" / f"{number + 1:02d}_{run_label(config, self.started)}")
        self.pace.begin(0 if journal.done else self.runs[number])
        self.tell(number, label, None, "done" if journal.done else "compiling")
        done = carry_out(journal, prepared, self.execution, on_progress=lambda p: self.tell(number, label, p))
        self.done += self.runs[number]
        self.pace.end()
        self.tell(number, label, None, "done")
        return done

    def tell(
        self,
        number: int,
        label: str,
        progress: Progress | None,
        phase: Literal["compiling", "training", "done"] = "training",
    ) -> None:
        if self.on_progress is None:
            return
        here = 0.0 if progress is None else progress.step / progress.total_steps * progress.patients
        if progress is not None:
            self.pace.at(here)
        total = sum(self.runs)
        rest = total - max(self.before, self.done) - here
        left = self.pace.seconds_for(rest) if rest > 0 else None
        of = len(self.runs)
        self.on_progress(SweepProgress(number + 1, of, label, self.done, total, left, progress, phase))


def _claim(root: Path, config: SweepConfig, started: dt.datetime) -> None:
    """Make the folder this sweep's, or see that it is."""
    content = config.model_dump(mode="json")
    content["common"] = {k: v for k, v in content["common"].items() if k != "results"}
    path = root / _SWEEP
    if path.exists():
        before, now = (with_defaults(x, SweepConfig) for x in (_read(root)["config"], content))
        if wrong := differences(before, now):
            lines = "\n".join(f"  {line}" for line in wrong)
            raise ConfigError(
                f"{root}: holds another sweep\n{lines}\ngive that configuration to go on with it, or take other results"
            )
        return
    name = f"sweep_{started:%Y%m%d_%H%M%S}"
    write_json(path, {**_FORMAT.head, "name": name, "started": started.isoformat(), "config": content})


def _read(root: Path) -> dict[str, Any]:
    path = root / _SWEEP
    record = _FORMAT.read(path)
    check_record(path, record, {"config": dict})
    if not is_plain(record.get("name")):
        raise ResultError(f"{path}: lacks its name, or has what is none; take other results")
    return record


def _summarise(
    root: Path,
    record: Mapping[str, Any],
    table: "pd.DataFrame",
    compared: "pd.DataFrame",
    runs: Sequence[Run],
    *,
    figures: bool,
) -> None:
    as_cells(table).to_csv(root / "summary.csv", index=False)
    drawn = save_comparison(table, root / "figures") if figures else []
    write_json(
        root / SUMMARY,
        {
            "sweep": record["name"],
            "started": record["started"],
            "config": record["config"],
            "programs": [run.name for run in runs],
            "comparison": compared.to_dict(orient="records"),
            "results": table.to_dict(orient="records"),
            "folders": [folder.name for run in runs for folder in run.folders],
            "figures": [str(path.relative_to(root)) for path in drawn],
        },
    )
