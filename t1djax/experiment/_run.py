"""A run: read, pose, fit in batches, score, write; stopped anywhere, it goes on from there."""

import contextlib
import dataclasses
import datetime as dt
import getpass
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jax

from .._arguments import ArgumentError
from .._in_use import check_unmarked, using
from ..config import Experiment
from ..data import Cohort
from ..evaluation import doubts, metrics, recovery, results_table
from ..io import DataWarning, Stopped, TrainingStates, goes_on, read_result, write_fitted, write_results
from ..plotting import save_figures
from ..prediction import fitted_patients
from ..problem import Problem
from ..records import ChunkMetrics, Ensemble, Fit, Result, RunData, RunInfo
from ..tracking import Tracker, git_state, write_info
from ..training import Progress
from ._cohort import read_by
from ._journal import Journal, check_same, journals, new_journal
from ._prepared import Prepared
from ._problems import fit_problems, padded
from ._processes import barrier, everybody
from ._repair import repair

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a run is carried out. Nothing here changes what is found, but the size of batches its last bits.

    Raises:
        ArgumentError: where a number is below 1.

    Example:
        >>> from t1djax.experiment import Execution
        >>> Execution(checkpoint_every=10).resume
        False
    """

    resume: bool = False
    """Go on with the unfinished run of the same configuration in the results folder; without one, begin."""
    figures: bool = True
    """Draw figures into the result folders."""
    checkpoint_every: int = 5
    """Chunks of training steps between two checkpoints; there is one at the end of each stage too."""
    checkpoints_kept: int = 3
    """Checkpoints kept of a training that is under way."""
    batch: int | None = None
    """Most fits (patients times members) that train together; left out, what half of the free memory holds, 1,024 at
    the most."""
    tracker: Tracker | None = None
    """What is told of the run, such as an `MLflowTracker`."""
    stop: Callable[[], bool] | None = None
    """Asked after each chunk of steps; where it says true, the state is kept and `Stopped` raised."""

    def __post_init__(self) -> None:
        for name in ("checkpoint_every", "checkpoints_kept", "batch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ArgumentError(name, f"is {value}; give 1 or more")


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A finished run."""

    name: str
    """Its name in the results folder."""
    table: "pd.DataFrame"
    """One row per seed and patient: see `results_table`."""
    folders: tuple[Path, ...]
    """The result folders, one per seed and patient."""
    metadata: tuple[Mapping[str, Any], ...]
    """What `metadata.json` in each of them says."""
    problems: tuple[Problem, ...]
    """What was asked, per seed."""
    ensemble: Ensemble | None
    """The fits of the cohort, one per seed; None where a part was fitted in another process or before a stop."""
    compile_s: float
    """Seconds spent on compilation, in this process."""
    run_s: float
    """Seconds spent on everything else of the fits."""

    @property
    def fit(self) -> Fit:
        """The fit of the first seed.

        Raises:
            ValueError: where a part was fitted in another process.
        """
        if self.ensemble is None:
            raise ValueError("this run was finished in several parts: its results are in `table` and `folders`")
        return self.ensemble.members[0]


def run(
    config: Experiment,
    *,
    execution: Execution | None = None,
    on_problem: Callable[[Cohort, Problem], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Run an experiment: read the cohort, fit it, score it, write a folder per patient.

    Fits train together in batches; each batch's folders are written as soon as it is done. The state of its training is
    kept on the way, in `.runs` in the results folder: killed at any moment, the run goes on with `resume` as if it had
    never stopped, bit for bit on the same kind of device and versions.

    Args:
        config: the experiment.
        execution: how it is carried out; `Execution()` if not given.
        on_problem: called once everything is known to be in order, before the fit.
        on_progress: called after each chunk of training steps.

    Returns:
        The run.

    Raises:
        DataError: listing everything wrong with the files.
        ConfigError: where a run that is to be resumed was of another configuration or other data.
        ValueError: where the question cannot be posed.
        Busy: where another process is at work on the run that is to be resumed, or somebody is being removed from data
            or results.
        Stopped: where `execution.stop` said so; the state is kept.
        OSError: where results cannot be written; nothing is lost of what was written before.
    """
    execution = Execution() if execution is None else execution
    began = dt.datetime.fromtimestamp(everybody(int(dt.datetime.now().timestamp()))).astimezone()
    root = Path(config.results)
    with contextlib.ExitStack() as stack:
        stack.enter_context(using(read_by([config])))
        prepared = Prepared(config)
        prepare_results(root)
        stack.enter_context(using([root]))
        journal = _unfinished(root, prepared, execution) if execution.resume else None
        if journal is None:
            record = prepared.record(prepared.batches(prepared.rows(execution.batch)))
            name = run_label(config, began)
            with writing(root):
                journal = _begin(root, name, {"started": began.isoformat(), "sweep": name, **record})
        return carry_out(journal, prepared, execution, on_problem=on_problem, on_progress=on_progress)


def _begin(root: Path, name: str, record: Mapping[str, Any]) -> Journal:
    """A new journal, one for all processes."""
    if jax.process_index() == 0:
        made = new_journal(root, name, record)
        barrier("journal begun")
        return made
    barrier("journal begun")
    mine = [journal for journal in journals(root) if journal.record["started"] == record["started"]]
    return [journal for journal in mine if journal.name.startswith(name)][-1]


def run_label(config: Experiment, started: dt.datetime) -> str:
    """The run's name: `{model}_{mode}_{params}_{timestamp}`."""
    parts = [config.model, config.question.mode, "+".join(config.question.free), f"{started:%Y%m%d_%H%M%S}"]
    return "_".join(part for part in parts if part)


def carry_out(
    journal: Journal,
    prepared: Prepared,
    execution: Execution,
    *,
    on_problem: Callable[[Cohort, Problem], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Fit the batches that are not finished, and gather the results of all."""
    cohort, root = prepared.cohort, Path(prepared.config.results)
    if on_problem is not None:
        on_problem(cohort, prepared.problems[0])
    fits: dict[int, tuple[Fit, ...]] = {}
    batches: list[list[int]] = journal.record["batches"]
    mine = range(jax.process_index(), len(batches), jax.process_count())
    journal.tidy()
    with journal.alone(f".{jax.process_index()}" if jax.process_count() > 1 else ""):
        found = repair(journal, root, mine, len(prepared.seeds))
        info = _info(journal, prepared, [i for b in mine for i in batches[b]])
        if execution.tracker is not None:
            execution.tracker.begin(info)
        elif jax.process_count() == 1:
            with writing(root):
                write_info(journal.folder, info)  # what results show in MLflow may be sent later
        for number in mine:
            if number in found:
                continue
            if execution.stop is not None and execution.stop():
                raise Stopped(f"{journal.name} was stopped before batch {number + 1} of {len(batches)}; {goes_on()}")
            fits[number] = _fit_batch(journal, number, prepared, execution, on_progress)
            journal.check_there()
            with writing(root):
                results = _write(journal, number, prepared, execution, fits[number], root)
                journal.finish(number, [result.folder for result in results])
            found[number] = [result.metadata for result in results]
        if execution.tracker is not None:
            execution.tracker.end(journal.name)
    barrier(journal.name)  # the others' folders are read below
    everyone = range(len(batches))
    folders = {number: [root / name for name in journal.finished(number) or ()] for number in everyone}
    others = {n: [read_result(folder).metadata for folder in folders[n]] for n in everyone if n not in found}
    metadata = _in_order(found | others, batches, len(prepared.seeds))
    table = results_table(metadata)
    shown = [c for c in table.columns if c not in ("seed", "model", "mode", "parameters", "settings", "wall_seconds")]
    whole = len(fits) == len(batches)
    cost = [part[0].cost for part in fits.values()]
    return Run(
        journal.name,
        table.loc[:, ["seed", *shown]],
        _in_order(folders, batches, len(prepared.seeds)),
        metadata,
        prepared.problems,
        _join([fits[number] for number in everyone], prepared) if whole else None,
        sum(c.compile_s for c in cost),
        sum(c.run_s for c in cost),
    )


def _unfinished(root: Path, prepared: Prepared, execution: Execution) -> Journal | None:
    """The newest unfinished run, if it is of this configuration."""
    there = journals(root, on_damage=lambda e: warnings.warn(f"{e}; it is passed over", DataWarning, stacklevel=4))
    for journal in there:
        journal.tidy()
    open_ones = [journal for journal in there if not journal.done]
    record = prepared.record([])
    alike = [journal for journal in open_ones if not _refused(journal, record)]
    if not open_ones:
        warnings.warn(f"{root}: no run is unfinished; a new one begins", DataWarning, stacklevel=3)
        return None
    journal = (alike or open_ones)[-1]
    warn_of_conditions(journal, record)
    warn_of_batch(journal, prepared, execution)
    return journal


def warn_of_conditions(journal: Journal, record: Mapping[str, Any], *, sweep: Path | None = None) -> None:
    """Say what may change the last bits of a run that goes on.

    Raises:
        ConfigError: where it may not go on at all; see `check_same`.
    """
    if changed := check_same(journal, record, sweep=sweep):
        lines = "; ".join(changed)
        warnings.warn(
            f"{journal.folder}: goes on under other conditions ({lines}); the last bits may differ from those of an "
            "undisturbed run",
            DataWarning,
            stacklevel=4,
        )


def warn_of_batch(journal: Journal, prepared: Prepared, execution: Execution) -> None:
    """Say where the size of batches that was asked for is not that with which the run began."""
    batches = journal.record["batches"]
    if execution.batch is not None and prepared.batches(prepared.rows(execution.batch)) != batches:
        fits = len(batches[0]) * len(prepared.seeds)
        warnings.warn(
            f"{journal.folder}: goes on in batches of {fits} fits as it began; another batch size has no effect on it",
            DataWarning,
            stacklevel=4,
        )


def _refused(journal: Journal, record: Mapping[str, Any]) -> bool:
    try:
        check_same(journal, record)
    except ValueError:
        return True
    return False


def _fit_batch(
    journal: Journal,
    number: int,
    prepared: Prepared,
    execution: Execution,
    on_progress: Callable[[Progress], None] | None,
) -> tuple[Fit, ...]:
    """The fits of one batch, padded to the size of the others so that all share one program."""
    batches = journal.record["batches"]
    which, size = batches[number], len(batches[0])
    at = padded(which, size)
    patients = [prepared.cohort.patients[i] for i in at]
    rows = [(prepared.cohort.names[i], seed) for seed in prepared.seeds for i in which]
    # Rows that pad are nobody's.
    real = [s * size + i for s in range(len(prepared.seeds)) for i in range(len(which))]
    tracker = execution.tracker

    def tell(progress: Progress) -> None:
        journal.check_there()
        if tracker is not None:
            mine = progress.take(real)
            metrics = ChunkMetrics(mine.step, mine.losses, mine.values, mine.gradient_norm)
            tracker.chunk(journal.name, rows, metrics)
        if on_progress is not None:
            on_progress(progress)

    with TrainingStates(
        journal.states(number),
        whose=journal.identity(number),
        every=execution.checkpoint_every,
        most=execution.checkpoints_kept,
        stop=execution.stop,
    ) as states:
        fits = fit_problems(
            patients,
            [problem.take(at) for problem in prepared.problems],
            prepared.seeds,
            prepared.config.model,
            options=prepared.options,
            stages=prepared.stages,
            whole=prepared.cohort.patients,
            warm=prepared.warm,
            keeper=states,
            on_progress=tell,
        )
    return tuple(fit.take(range(len(which))) for fit in fits)


def _write(
    journal: Journal, number: int, prepared: Prepared, execution: Execution, fits: Sequence[Fit], root: Path
) -> list[Result]:
    truth, tracker = prepared.cohort.truth, execution.tracker
    results: list[Result] = []
    for seed, fitted in zip(prepared.seeds, fits, strict=True):
        models = {model.name: model for model in fitted_patients(fitted)}
        results += write_results(
            root,
            fitted,
            recovered={f.name: recovery(f, truth.get(f.name)) for f in fitted},
            scores={f.name: metrics(f, truth=truth.get(f.name)) for f in fitted},
            doubts={f.name: doubts(f, priors=fitted.problem.priors) for f in fitted},
            config=prepared.resolved(),
            seed=seed,
            started=journal.started,
            draw=save_figures if execution.figures else None,
            run=journal.name,
            add=lambda name, folder, models=models: write_fitted(models[name], folder),
        )
    if tracker is not None:
        names = [(prepared.cohort.names[i], seed) for seed in prepared.seeds for i in journal.record["batches"][number]]
        for row, result in zip(names, results, strict=True):
            tracker.result(journal.name, row, result.folder)
    return results


T = TypeVar("T")


def _in_order(of: Mapping[int, Sequence[T]], batches: Sequence[Sequence[int]], seeds: int) -> tuple[T, ...]:
    """What there is of each batch by seed, then patient, as one batch would give it."""
    share = lambda s, number, n: of[number][s * n : (s + 1) * n]
    return tuple(x for s in range(seeds) for number, which in enumerate(batches) for x in share(s, number, len(which)))


def _join(parts: Sequence[tuple[Fit, ...]], prepared: Prepared) -> Ensemble:
    """The fits of the batches as those of one cohort."""
    if len(parts) == 1:
        return Ensemble(prepared.seeds, parts[0])
    members = []
    for s, problem in enumerate(prepared.problems):
        members.append(Fit.join([part[s] for part in parts], problem))
    return Ensemble(prepared.seeds, tuple(members))


def _info(journal: Journal, prepared: Prepared, which: Sequence[int]) -> RunInfo:
    cohort, config = prepared.cohort, prepared.config
    names = [cohort.names[i] for i in which]
    made = journal.record["made_by"]
    tags = {"data": journal.record["data"], **{f"version.{k}": v for k, v in made["versions"].items()}}
    tags |= {f"device.{k}": v for k, v in made["device"].items()}
    with contextlib.suppress(KeyError, OSError):  # the user of a container need not have a name
        tags["mlflow.user"] = getpass.getuser()
    git = git_state(Path.cwd())
    if git.commit is not None:
        tags |= {"git_commit": git.commit, "git_dirty": str(git.dirty).lower()}
    readings = sum(int(cohort[name].valid.sum()) for name in names)
    return RunInfo(
        name=journal.name,
        sweep=journal.record["sweep"],
        model=config.model,
        mode=config.question.mode,
        named=tuple(config.question.free),
        rows=tuple((name, seed) for seed in prepared.seeds for name in names),
        started=journal.started,
        config=journal.record["config"],
        tags=tags,
        truth={name: dict(cohort.truth[name].parameters) for name in names if name in cohort.truth},
        data=(RunData(config.data, journal.record["data"], tuple(names), readings),),
    )


@contextlib.contextmanager
def writing(root: Path) -> Iterator[None]:
    """Say of what cannot be written where it belongs, and how it goes on.

    Raises:
        OSError: with both.
    """
    try:
        yield
    except OSError as e:
        raise OSError(
            f"{root}: results cannot be written ({e.strerror or e}); when the cause is removed, {goes_on()}"
        ) from e


def prepare_results(root: Path) -> None:
    """Find out before the fit, not after it, whether results can be written."""
    check_unmarked(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as e:
        raise OSError(f"results cannot be written to {root} ({e.strerror or e}); name another folder") from e
