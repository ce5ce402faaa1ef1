"""Sweeps and runs whose files were removed or damaged afterwards: they are run again, and say so."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import t1djax
from t1djax.config import ConfigError, Experiment, SweepConfig
from t1djax.experiment import Execution, run, sweep
from t1djax.experiment._pace import Pace
from t1djax.io import DataError, DataWarning, NewerFormatError, check_run_names, find_results, read_result

from .command import done
from .outcomes import leftovers, outcome

COMMON: dict[str, Any] = {"patients": "2,3", "sensor": {"interval_min": 60.0}, "results": "results"}


def matrix(**other: Any) -> SweepConfig:
    return SweepConfig.model_validate({"models": ["ode"], **COMMON, **other})


def swept(**other: Any) -> None:
    sweep(matrix(**other), execution=Execution(figures=False))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """A finished sweep, and what is in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("finished"))
        swept()
        return Path("results").absolute(), outcome(Path("results"))


@pytest.fixture
def results(finished: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished[0], "results")
    return Path("results")


def folder_of(patient: str) -> Path:
    return next(folder for folder in find_results([Path("results")]) if f"_{patient}_" in folder.name)


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


def no_json(folder: Path) -> None:
    (folder / "metadata.json").write_text("{", encoding="utf-8")


def truncate(folder: Path) -> None:
    whole = (folder / "predictions.npz").read_bytes()
    (folder / "predictions.npz").write_bytes(whole[: len(whole) // 2])


def lose(folder: Path) -> None:
    (folder / "predictions.npz").unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (remove, r"metadata.json: not there"),
        (no_json, r"metadata.json: is not valid JSON"),
        (truncate, r"predictions.npz: cannot be read"),
        (lose, r"predictions.npz: not there"),
    ],
)
def test_a_sweep_given_again_mends_its_results(
    damage: Callable[[Path], None], says: str, results: Path, finished: tuple[Path, Any]
) -> None:
    damaged, other = folder_of("Pat3"), folder_of("Pat2")
    before = (other / "metadata.json").stat().st_mtime_ns
    damage(damaged)
    with pytest.warns(DataWarning, match=f"{damaged.name}/{says}"):
        swept()
    assert outcome(results) == finished[1]
    assert folder_of("Pat3").name == damaged.name
    assert (other / "metadata.json").stat().st_mtime_ns == before  # what is sound stays as it is
    assert not leftovers(results)
    aside = [path.name for path in results.glob(".runs/*/damaged/*")]
    assert aside == ([] if damage is remove else [damaged.name])  # nothing is thrown away
    swept()  # says nothing any more


@pytest.mark.parametrize("content", ["", "[", "3", "[]", "[1, 2]"])
def test_a_damaged_note_of_a_batch_is_named_and_its_fits_run_again(
    content: str, results: Path, finished: tuple[Path, Any]
) -> None:
    (note,) = results.glob(".runs/*/batch-00000.json")
    note.write_text(content, encoding="utf-8")
    with pytest.warns(DataWarning, match=r"batch-00000\.json"):
        swept()
    assert outcome(results) == finished[1]
    assert len(json.loads(note.read_text(encoding="utf-8"))) == 2


def test_results_of_a_newer_version_are_no_damage(results: Path) -> None:
    path = folder_of("Pat3") / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**metadata, "format_version": 99}), encoding="utf-8")
    with pytest.raises(NewerFormatError):
        swept()
    assert path.exists()


def test_other_data_on_a_finished_sweep_is_refused_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    cohort = t1djax.reference_cohort(interval_min=60.0, names=["Pat2"])
    t1djax.write_cohort(cohort, Path("cohort"))
    own = {"data": "cohort", "patients": "all", "sensor": {}}
    swept(**own)
    shutil.rmtree("cohort")
    t1djax.write_cohort(t1djax.reference_cohort(interval_min=30.0, names=["Pat2"]), Path("cohort"))
    with pytest.raises(ConfigError, match=r"^results: ") as refused:
        swept(**own)
    said = str(refused.value)
    assert "data: the record of Pat2 changed" in said
    assert "take other results" in said
    assert "resume" not in said


def experiment(**other: Any) -> Experiment:
    return Experiment.model_validate({"model": "ode", **COMMON, **other})


@pytest.mark.parametrize("content", ["{", '{"format": "t1djax.run", "format_version": 99}'])
def test_a_damaged_record_of_an_old_run_blocks_no_new_one(content: str, results: Path) -> None:
    (record,) = results.glob(".runs/*/run.json")
    record.write_text(content, encoding="utf-8")
    done = run(experiment(), execution=Execution(figures=False))  # without a warning: it is of no interest here
    assert all(read_result(folder).metadata["ok"] for folder in done.folders)
    with pytest.warns(DataWarning) as warned:
        run(experiment(), execution=Execution(figures=False, resume=True))
    assert ["run.json" in str(one.message) for one in warned] == [True, False]  # and that a new one begins


def test_another_batch_size_of_a_run_that_goes_on_is_said_to_have_no_effect(results: Path) -> None:
    (note,) = results.glob(".runs/*/batch-00000.json")
    note.unlink()
    with pytest.warns(DataWarning, match="batches of 2"):
        sweep(matrix(), execution=Execution(figures=False, batch=1))


@pytest.mark.parametrize("letter", ["a", "\u00e4"])
def test_a_name_too_long_for_a_folder_is_refused_before_the_fit(
    letter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes count, and what is added to the name counts: a table may hold a name that results cannot."""
    monkeypatch.chdir(tmp_path)
    named = ["ksi", "kl", "Tu", "Tr"]
    most = 200 // len(letter.encode())
    names = [letter * n for n in range(1, most + 1)]
    (shortest, *_) = long = [name for name in names if refuses(name, named)]
    assert long == names[-len(long) :]
    assert len(long) < 6
    (patient,) = t1djax.reference_cohort(interval_min=60.0, names=["Pat2"]).patients
    asked = experiment(data="cohort", patients="all", sensor={}, inverse_params=tuple(named), assume_population=True)

    def try_with(name: str) -> t1djax.experiment.Run:
        shutil.rmtree("cohort", ignore_errors=True)
        t1djax.write_cohort(t1djax.Cohort((dataclasses.replace(patient, name=name),)), Path("cohort"))
        return run(asked, execution=Execution(figures=False))

    with pytest.raises(DataError):
        try_with(shortest)
    assert not Path("results").exists()
    assert len(try_with(shortest[1:]).folders) == 1


def refuses(name: str, named: list[str]) -> bool:
    try:
        check_run_names("ode", "inverse", [name], named, 0)
    except DataError:
        return True
    return False


def test_the_time_left_knows_neither_compilation_nor_what_was_done_before_a_stop() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    pace.begin(10)
    now = 60.0  # compiled
    pace.at(8.0)  # goes on from its checkpoint
    assert pace.seconds_for(2.0) is None
    now = 61.0
    pace.at(8.5)
    assert pace.seconds_for(1.5) == pytest.approx(3.0)
    pace.at(0.0)  # another batch
    pace.end()
    pace.begin(0)
    now = 70.0
    pace.end()  # was finished
    assert pace.seconds_for(10.0) == pytest.approx(20.0)
    pace.begin(5)
    now = 75.0
    pace.end()  # least squares: 5 fits in 5 s, 0.5 in 1 s before
    assert pace.seconds_for(5.5) == pytest.approx(6.0)


def test_progress_without_a_terminal_is_lines(results: Path) -> None:
    shutil.rmtree("results")
    said = done("sweep", "--models", "ode", "--patients", "2,3", "--interval-min", "60", "--results", "results",
                "--no-figures", "--no-tracking")  # fmt: skip
    assert said.err.splitlines()[0] == "reading"
    assert "1/1 ode inverse ksi: 0 of 2 fits done, compiling and fitting" in said.err.splitlines()
    assert "1/1 ode inverse ksi: 2 of 2 fits done" in said.err.splitlines()
