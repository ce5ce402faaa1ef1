"""Whose a state is, records that lead elsewhere or lack something, and runs whose folder is taken away."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import t1djax
from t1djax.config import ConfigError
from t1djax.experiment import Execution, run
from t1djax.experiment._journal import make_journal, read_journal
from t1djax.experiment._sweep import _read
from t1djax.io import ResultError, Stopped

from .persons import NETWORK
from .services import wait_for

STARTED = "2026-11-30T06:00:00+00:00"
RECORD: dict[str, Any] = {
    "started": STARTED, "sweep": "s", "config": {"seed": 0, "members": 1}, "data": "d1e5", "batches": [[0, 1]],
    "patients": {"Ada": "a", "Ben": "b"}, "made_by": {},
}  # fmt: skip


def small(results: Path, **changes: Any) -> t1djax.Experiment:
    content = {"model": "pinn", "patients": "2", "sensor": {"interval_min": 60}, "network": NETWORK}
    return t1djax.Experiment.model_validate(content | {"results": str(results)} | changes)


def stopped(config: t1djax.Experiment) -> Path:
    """A run that was stopped after its first chunk; the folder of its states."""
    asked = iter(range(100))
    with pytest.raises(Stopped):
        run(config, execution=Execution(figures=False, stop=lambda: next(asked) >= 1))
    (states,) = Path(config.results).glob(".runs/*/batch-00000")
    return states


def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    """Of the same shape, from another seed: it was resumed silently. The difference is shown."""
    one, other = small(tmp_path / "one"), small(tmp_path / "other", seed=1)
    theirs, mine = stopped(one), stopped(other)
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)
    with pytest.raises(ResultError, match="another run's") as told:
        run(other, execution=Execution(figures=False, resume=True))
    assert "seeds[0]: 0 -> 1" in str(told.value)


def test_a_run_stops_where_its_folder_was_removed(tmp_path: Path) -> None:
    config = small(tmp_path / "one")
    with pytest.raises(OSError, match="was removed while the run is at work"):
        run(config, execution=Execution(figures=False), on_progress=lambda _: shutil.rmtree(config.results))
    assert not list(tmp_path.rglob("run.json"))
    assert not list(tmp_path.rglob("metadata.json"))


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record.pop(key)


@pytest.mark.parametrize(
    "damage",
    [
        *map(without, ("config", "data", "batches", "made_by", "sweep", "started")),
        lambda r: r.update(started="yesterday"),
        lambda r: r.update(config=[]),
        lambda r: r.update(batches=[[0, 2]]),
        lambda r: r.update(batches=[[0, "1"]]),
        lambda r: r.update(batches=[[0], [0]]),
        lambda r: r.update(patients=["Ada", "Ben"]),
    ],
)
def test_a_damaged_record_of_a_run_is_an_error_that_names_it(damage: Callable[[Any], Any], tmp_path: Path) -> None:
    folder = tmp_path / "one"
    assert make_journal(folder, RECORD).record["batches"] == [[0, 1]]
    record = json.loads((folder / "run.json").read_text())
    damage(record)
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(ResultError, match=re.escape(str(folder / "run.json"))):
        read_journal(folder)


@pytest.mark.parametrize("key", ["name", "started", "config"])
@pytest.mark.parametrize("value", [None, 3, "../elsewhere"])
def test_a_damaged_record_of_a_sweep_is_an_error_that_names_it(key: str, value: Any, tmp_path: Path) -> None:
    record = {"format": "t1djax.sweep", "format_version": 1, "name": "s", "started": STARTED, "config": {}}
    (tmp_path / "sweep.json").write_text(json.dumps(record))
    assert _read(tmp_path)["name"] == "s"
    (tmp_path / "sweep.json").write_text(json.dumps({**record, key: value}))
    with pytest.raises(ResultError, match=r"sweep\.json"):
        _read(tmp_path)


@pytest.mark.parametrize("name", ["..", "../other", "/etc", "a/b", "a\0b", "", 3])
def test_a_list_of_results_leads_nowhere_else(name: object, tmp_path: Path) -> None:
    journal = make_journal(tmp_path / "one", RECORD)
    journal.states(0).with_suffix(".json").write_text(json.dumps(["fine"]))
    assert journal.finished(0) == ["fine"]
    journal.states(0).with_suffix(".json").write_text(json.dumps(["fine", name]))
    assert journal.finished(0) is None


@pytest.mark.parametrize("field", ["data", "results", "warm_start"])
def test_no_path_holds_a_nul(field: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=field):
        t1djax.Experiment.model_validate({field: "a\0b"})


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux which signals a process catches")
def test_a_term_before_the_command_is_at_work_ends_it_in_order() -> None:
    """Also as the first process of a container, where nothing would happen without a handler."""
    command = [sys.executable, "-m", "t1djax.cli", "forget", "-", "--data", ".", "--yes"]  # waits for a name
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        status = Path(f"/proc/{process.pid}/status")
        caught = lambda: int(re.findall(r"SigCgt:\s*(\w+)", status.read_text())[0], 16) & 1 << 14
        wait_for(caught, "the command")
        process.terminate()
        assert process.wait(30) == 143
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
