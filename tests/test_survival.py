"""Runs and sweeps that are stopped, damaged or disturbed: what they find does not change by a bit."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import t1djax
from t1djax.config import ConfigError, Experiment, SweepConfig
from t1djax.experiment import Busy, Execution, Run, run, sweep
from t1djax.io import DataWarning, ResultError, Stopped
from t1djax.programs import _programs

from .outcomes import leftovers, outcome

STAGES = [
    {"trains": "joint", "steps": 100, "optimizer": "adam", "learning_rate": 0.01, "residual_weight": [100.0, 100.0]},
    {"trains": "joint", "steps": 4, "residual_weight": [1.0, 100.0]},
    {"trains": "physiology", "steps": 4, "residual_weight": [100.0, 100.0]},
]
"""Two chunks each: of Adam, of Gauss-Newton, of the parameters alone."""
CHUNKS = 6
NETWORK = {"width": 3, "depth": 1, "cell_min": 240.0, "stages": STAGES}
COMMON: dict[str, Any] = {"model": "pinn", "patients": "2,3", "sensor": {"interval_min": 30.0}, "network": NETWORK}
"""Results go into `results` of the working folder, so that configurations are alike wherever they run."""


def small(**other: Any) -> Experiment:
    return Experiment.model_validate({**COMMON, **other})


def after(chunks: int) -> Callable[[], bool]:
    """Says stop after so many chunks; it is asked once before the first."""
    asked = iter(range(10_000))
    return lambda: next(asked) >= chunks


def execution(**how: Any) -> Execution:
    return Execution(figures=False, **how)


def stopped(chunks: int, config: Experiment | None = None, **how: Any) -> None:
    with pytest.raises(Stopped):
        run(small() if config is None else config, execution=execution(stop=after(chunks), **how))


def resumed(config: Experiment | None = None, **how: Any) -> Run:
    return run(small() if config is None else config, execution=execution(resume=True, **how))


def states() -> list[Path]:
    """Checkpoints on the disk, the newest first."""
    found = [path for path in Path("results/.runs").glob("*/batch-*/*") if path.name.isdigit()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, dict[str, Any]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("undisturbed"))
        done = run(small(), execution=execution())
        assert not leftovers(Path("results"))
        return done, outcome(Path("results"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "chunks", [pytest.param(n, marks=() if n in (0, 3, CHUNKS) else pytest.mark.slow) for n in range(CHUNKS + 1)]
)
def test_a_run_that_was_stopped_ends_as_if_it_never_was(chunks, undisturbed):
    stopped(chunks)
    assert not list(Path("results").glob("pinn*"))
    steps = []
    done = run(small(), execution=execution(resume=True), on_progress=lambda p: steps.append(p.step))
    assert len(steps) == CHUNKS - chunks  # what was done is not done again
    whole, files = undisturbed
    assert outcome(Path("results")) == files
    assert not leftovers(Path("results"))
    for one, other in zip(jax.tree.leaves(done.fit.twins), jax.tree.leaves(whole.fit.twins), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(done.fit.history.step, whole.fit.history.step)
    for kind in ("values", "losses"):
        for name, course in getattr(whole.fit.history, kind).items():
            np.testing.assert_array_equal(getattr(done.fit.history, kind)[name], course)
    assert [f.estimates for f in done.fit] == [f.estimates for f in whole.fit]


def test_a_run_stopped_again_and_again(undisturbed):
    stopped(1, checkpoint_every=1)
    for _ in range(2):
        with pytest.raises(Stopped, match="step"):
            resumed(stop=after(2), checkpoint_every=1, checkpoints_kept=2)
        assert len(states()) == 2
    resumed()
    assert outcome(Path("results")) == undisturbed[1]
    assert len(list(Path("results/.runs").iterdir())) == 1


def test_another_configuration_is_refused_with_the_difference():
    stopped(1)
    with pytest.raises(ConfigError, match=r"\n  seed: 0 -> 1\n  network\.width: 3 -> 4\n"):
        resumed(small(seed=1, network={**NETWORK, "width": 4}))
    assert states()  # nothing is lost


def test_other_data_is_refused():
    cohort_folder("2,4")
    config = small(data="cohort", patients="all", sensor={})
    stopped(0, config)
    readings = next(Path("cohort").glob("**/*Pat2*.csv"))
    lines = readings.read_text().splitlines()
    glucose = lines[0].split(",").index("glucose_mg_dL")
    cells = lines[3].split(",")
    cells[glucose] = "123"
    readings.write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:], ""]))
    with pytest.raises(ConfigError, match="data: "):
        resumed(config)


def cohort_folder(names: str) -> Path:
    folder = Path("cohort")
    people = [f"Pat{n}" for n in names.split(",")]
    t1djax.write_cohort(t1djax.reference_cohort(interval_min=30.0, names=people), folder)
    return folder


def test_other_versions_are_warned_of_and_go_on(undisturbed):
    stopped(1)
    (journal,) = Path("results/.runs").glob("*/run.json")
    record = json.loads(journal.read_text())
    record["made_by"]["versions"]["optax"] = "0.0.1"
    journal.write_text(json.dumps(record))
    with pytest.warns(DataWarning, match=r"versions\.optax: 0\.0\.1 -> "):
        resumed()
    assert outcome(Path("results")) == undisturbed[1]


def biggest(state: Path) -> Path:
    return max((path for path in state.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def truncate(state: Path) -> None:
    file = biggest(state)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def corrupt(state: Path) -> None:
    for file in state.rglob("*"):
        if file.is_file() and "d" in file.parent.name:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 0xFF
            file.write_bytes(bytes(content))


def empty(state: Path) -> None:
    for file in state.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")


def lose(state: Path) -> None:
    shutil.rmtree(state / "arrays")


# The store's own threads come too late to a read that failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "damage", [truncate, *(pytest.param(x, marks=pytest.mark.slow) for x in (corrupt, empty, lose))]
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(damage, undisturbed):
    stopped(3, checkpoint_every=1)
    newest, before, *_ = states()
    damage(newest)
    steps = []
    with pytest.warns(DataWarning, match=f"{newest.name}: "):
        run(small(), execution=execution(resume=True), on_progress=lambda p: steps.append(p.step))
    assert steps[0] > int(before.name)
    assert len(steps) == CHUNKS - 2
    assert outcome(Path("results")) == undisturbed[1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_any_good_checkpoint_training_starts_anew(undisturbed):
    stopped(3, checkpoint_every=1)
    damaged = states()
    assert len(damaged) == 3
    for state in damaged:
        empty(state)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        resumed()
    assert sum("is damaged" in str(w.message) for w in said) == 3
    assert any("no checkpoint is left; training begins anew" in str(w.message) for w in said)
    assert outcome(Path("results")) == undisturbed[1]


def test_a_checkpoint_of_a_newer_format_is_neither_read_nor_lost():
    stopped(1)
    (state,) = states()
    file = next((state / "meta").rglob("metadata"))
    meta = json.loads(file.read_text())
    file.write_text(json.dumps({**meta, "format_version": 99}))
    with pytest.raises(ResultError, match="99"):
        resumed()
    assert state.exists()


def test_partial_folders_of_the_killed_run_go_and_those_of_others_stay(undisturbed):
    stopped(CHUNKS)
    name = next(Path("results/.runs").iterdir()).name
    stamp = name.removeprefix("pinn_inverse_ksi_")
    own = Path("results") / f"pinn_inverse_Pat2_ksi_{stamp}-s0.partial"
    other = Path("results") / f"pinn_inverse_Pat3_ksi_{stamp}-s0.partial"
    for folder, owner in ((own, name), (other, "another_run")):
        folder.mkdir()
        (folder / ".run").write_text(owner)
        (folder / "predictions.npz").write_bytes(b"half")
    done = resumed()
    assert not own.exists()
    assert {path.name for path in other.iterdir()} == {".run", "predictions.npz"}
    assert [folder.name for folder in done.folders] == [own.stem, f"{other.stem}-2"]
    assert outcome(Path("results")) == undisturbed[1]


@pytest.mark.parametrize("killed_at", ["claim", "rename", "owner", "journal", "states"])
def test_a_kill_between_two_steps_of_writing(killed_at, undisturbed, monkeypatch, tmp_path):
    """The process dies at a place where no random kill would find it."""

    class Killed(BaseException):
        pass

    if killed_at == "claim":
        monkeypatch.setattr(Path, "write_text", dies_at(Path.write_text, ".run", Killed))
    elif killed_at == "rename":
        monkeypatch.setattr(Path, "rename", dies_at(Path.rename, "s0.partial", Killed))
    elif killed_at == "owner":
        monkeypatch.setattr(Path, "unlink", dies_at(Path.unlink, ".run", Killed))
    elif killed_at == "journal":
        monkeypatch.setattr(Path, "replace", dies_at(Path.replace, "batch-00000.json.partial", Killed))
    else:
        monkeypatch.setattr(shutil, "rmtree", dies_at(shutil.rmtree, "batch-00000", Killed))
    with pytest.raises(Killed):
        run(small(), execution=execution())
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert leftovers(Path("results"))
    if killed_at == "states":  # everything else is done
        with pytest.warns(DataWarning), pytest.raises(Stopped):
            resumed(stop=after(0))
        shutil.rmtree(sorted(Path("results/.runs").iterdir())[-1])
    else:
        resumed()
    assert not leftovers(Path("results"))
    assert outcome(Path("results")) == undisturbed[1]


def dies_at(call: Callable[..., Any], ending: str, error: type[BaseException]) -> Callable[..., Any]:
    def dying(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name.endswith(ending):
            raise error
        return call(self, *args, **kwargs)

    return dying


def test_resume_with_nothing_unfinished_begins(undisturbed):
    with pytest.warns(DataWarning):
        resumed()
    assert outcome(Path("results")) == undisturbed[1]


def matrix(**other: Any) -> SweepConfig:
    common = {key: value for key, value in COMMON.items() if key not in ("model", "network")}
    return SweepConfig.model_validate(
        {"models": ["pinn", "ode"], "overrides": {"pinn": {"network": NETWORK}}, **common, **other}
    )


def test_a_sweep_that_was_stopped_goes_on(undisturbed):
    for chunks in (2, 1, 3):
        with pytest.raises(Stopped):
            sweep(matrix(), execution=execution(stop=after(chunks)))
    with pytest.raises(Stopped, match="batch 1 of 1"):
        sweep(matrix(), execution=execution(stop=after(1)))
    done = sweep(matrix(), execution=execution())
    files = outcome(Path("results"))
    assert list(files) == ["ode_inverse_Pat2_0", "ode_inverse_Pat3_0", "pinn_inverse_Pat2_0", "pinn_inverse_Pat3_0"]
    assert {name: content for name, content in files.items() if "pinn" in name} == undisturbed[1]
    assert not leftovers(Path("results"))
    before = {path: path.stat().st_mtime_ns for folder in done.runs for f in folder.folders for path in f.rglob("*")}
    again = sweep(matrix(), execution=execution())
    assert again.table.equals(done.table)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing is written twice


def test_a_sweep_is_held_by_one_process_and_belongs_to_one_matrix():
    busy: list[str] = []

    def second(_: Any) -> None:
        with pytest.raises(Busy) as refused:
            sweep(matrix(), execution=execution())
        busy.append(str(refused.value))

    with pytest.raises(Stopped):
        sweep(matrix(), execution=execution(stop=after(1)), on_progress=second)
    assert busy
    with pytest.raises(ConfigError, match="modes"):
        sweep(matrix(modes=["forward"]), execution=execution())
    assert states()


def test_a_run_is_held_by_one_process():
    stopped(1)
    busy: list[str] = []

    def second(_: Any) -> None:
        with pytest.raises(Busy) as refused:
            resumed()
        busy.append(str(refused.value))

    with pytest.raises(Stopped):
        run(small(), execution=execution(resume=True, stop=after(2)), on_progress=second)
    assert busy


@pytest.mark.slow
def test_batches_share_a_program_and_find_the_same():
    network = {**NETWORK, "stages": STAGES[1:2]}
    config = small(patients="2,3,4", network=network)
    whole = run(small(patients="2,3,4", network=network, results="whole"), execution=execution(batch=4))
    _programs.PROGRAMS.clear()
    chunks = 0

    def stop() -> bool:
        nonlocal chunks
        chunks += 1
        return chunks == 5  # in the second batch: before each it is asked once, then after each of two chunks

    with pytest.raises(Stopped, match="step 2"):
        run(config, execution=execution(batch=2, stop=stop))
    first = len(_programs.PROGRAMS)
    assert len(list(Path("results").glob("pinn*"))) == 2  # those of the first batch are there already
    with pytest.warns(DataWarning, match="batches of 2"):
        parts = resumed(config, batch=1)
    assert len(parts.folders) == 3
    assert parts.ensemble is None
    assert len(_programs.PROGRAMS) <= first + 1  # the report's program alone is new
    for column in ("ksi", "rmse_fit_mg_dL"):
        one, other = (np.asarray(done.table[column], float) for done in (whole, parts))
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert not leftovers(Path("results"))


def test_a_full_disk_costs_checkpoints_and_not_the_training(undisturbed, monkeypatch):
    usage = shutil.disk_usage
    full = lambda path: usage(path)._replace(free=1000) if "batch-" in str(path) else usage(path)
    monkeypatch.setattr(shutil, "disk_usage", full)
    words = "1000 bytes"
    with pytest.warns(DataWarning, match=words) as said:
        run(small(), execution=execution())
    assert "there is none yet" in str(said[0].message)
    assert outcome(Path("results")) == undisturbed[1]


def test_the_last_good_checkpoint_is_named_where_the_disk_fills_up(undisturbed, monkeypatch, tmp_path):
    usage, asked = shutil.disk_usage, iter(range(1000))
    filled = lambda p: "batch-" in str(p) and next(asked) > 1
    monkeypatch.setattr(shutil, "disk_usage", lambda p: usage(p)._replace(free=0) if filled(p) else usage(p))
    with pytest.warns(DataWarning, match="step 100"):
        stopped(3, checkpoint_every=1)
    assert [path.name for path in states()] == ["100", "50"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    resumed()
    assert outcome(Path("results")) == undisturbed[1]
