"""Removals beside each other and beside trainings: each keeps its own pseudonym and key, and nobody is disturbed."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import t1djax
from t1djax._in_use import alone, marked, using
from t1djax.experiment import Busy
from t1djax.privacy._log import Log

from .command import call, refused
from .persons import GONE, NAMES, OTHERS, killed_after, snapshot, write_people


class Enough(Exception):
    """Ends a training that got as far as it should."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people")
    write_people(root / "data")
    (root / "results").mkdir()
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "work"))


def places(root: Path) -> dict[str, Any]:
    return {"data": root / "data", "results": root / "results"}


def keys(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob(".forgotten*key"))


def people(log: Path) -> set[str]:
    return {json.loads(line)["person"] for line in log.read_text().splitlines()}


def test_a_removal_keeps_its_pseudonym_while_others_come_and_go(root: Path) -> None:
    log = root / "results" / "forgotten.jsonl"
    with killed_after(1):
        t1djax.forget(GONE, **places(root))
    (mine,) = people(log)
    with killed_after(1):
        t1djax.forget(OTHERS[0], **places(root))
    (theirs,) = people(log) - {mine}
    assert keys(root) == sorted(f".forgotten-{one}.key" for one in (mine, theirs))
    assert not [p for p in root.rglob(".forgotten*") for name in NAMES if name in p.name or name in p.read_text()]
    done = t1djax.forget(OTHERS[1], **places(root))
    assert done.complete
    assert done.pseudonym not in {mine, theirs}
    config = t1djax.Experiment(model="ode", data=str(root / "data"), results=str(root / "results"))
    with pytest.raises(Busy, match="being removed"):  # whoever was removed meanwhile
        t1djax.run(config)
    last = t1djax.forget(GONE, **places(root))
    assert (last.complete, last.pseudonym) == (True, mine)
    assert keys(root) == [f".forgotten-{theirs}.key"]
    assert t1djax.forget(OTHERS[0], **places(root)).pseudonym == theirs
    assert not list(root.rglob(".forg*"))


def test_a_key_is_overwritten_before_it_goes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with killed_after(1):
        t1djax.forget(GONE, **places(root))
    (key,) = root.rglob(".forgotten*key")
    before, seen, whole = key.read_bytes(), [], Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        seen.extend([self.read_bytes()] if self == key else [])
        whole(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    assert t1djax.forget(GONE, **places(root)).complete
    assert [len(data) for data in seen] == [len(before)]
    assert seen[0] != before


def test_torn_lines_and_keys_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "forgotten.jsonl"
    mine = Log(log, "José")
    mine.begin()
    mine.write("began")
    with log.open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00+00:00", "steps": {"a": 1}\n{"ti')
    (tmp_path / ".forgotten-person-0123456789abcdef.key").touch()
    same = Log(log, "Jose\u0301")
    assert (same.pseudonym, same.events()) == (mine.pseudonym, {"began"}), "the other spelling of the same name"
    assert Log(log, "Jose").pseudonym == ""


WHERE = {"inside": ("results", "results/a"), "above": ("results/a", "results"), "here": ("results", "results")}


@pytest.mark.parametrize("where", WHERE)
def test_a_removal_overlaps_with_nobody(root: Path, tmp_path: Path, where: str) -> None:
    """Whether others train, read, send, or remove."""
    (root / "results" / "a").mkdir()
    mine, other = (root / path for path in WHERE[where])
    (tmp_path / "link").symlink_to(mine.parent)
    for work in (using, alone):
        with work([other]):
            before = snapshot(root)
            for spelt in (mine, Path(os.path.relpath(mine)), tmp_path / "link" / mine.name):
                with pytest.raises(Busy) as told:
                    t1djax.forget(GONE, data=root / "data", also=spelt)
                assert where == "here" or f"in {os.path.realpath(other)}" in str(told.value)
            assert snapshot(root) == before
    assert t1djax.forget(GONE, data=root / "data", results=root / "results").complete


@pytest.mark.parametrize("where", WHERE)
def test_no_training_beside_a_removal(root: Path, where: str) -> None:
    (root / "results" / "a").mkdir()
    mine, other = (root / path for path in WHERE[where])
    with alone([other]), marked([other], "person-0"):
        before = snapshot(root)
        content = {"data": str(root / "data"), "results": str(mine)}
        with pytest.raises(Busy) as told:
            t1djax.run(t1djax.Experiment.model_validate({"model": "ode", **content}))
        with pytest.raises(Busy):
            t1djax.sweep(t1djax.config.SweepConfig.model_validate({"models": ("ode",), **content}))
        with pytest.raises(Busy):
            t1djax.sync(mine)
        assert where == "here" or f"from {os.path.realpath(other)}" in str(told.value)
        assert snapshot(root) == before


def trains(data: Path, results: Path, meanwhile: Callable[[], object]) -> None:
    """A training that reads data, does something when it is about to fit, and fails there."""

    def on_problem(*_: object) -> None:
        meanwhile()
        raise Enough

    with pytest.raises(Enough):
        t1djax.run(t1djax.Experiment(model="ode", data=str(data), results=str(results)), on_problem=on_problem)


def test_no_removal_beside_a_training(root: Path, tmp_path: Path) -> None:
    """In the folder that it reads, above or inside it, or where it writes: which is said, and nothing is touched."""
    data, other = root / "data", tmp_path / "other"
    shutil.copytree(data, data / "inner")
    before = snapshot(root)

    def meanwhile() -> None:
        for named in (data, root, data / "inner", other):
            said = call("forget", GONE, "--data", named, "--results", root / "results", "--yes")
            assert (said.code, GONE in said.out + said.err) == (1, False)
            assert named in (data, other) or f"in {data}" in " ".join(said.err.split())

    trains(data, other, meanwhile)
    assert snapshot(root) == before, "no lock lies among the data either"
    assert t1djax.forget(GONE, data=data).complete


def test_a_folder_that_cannot_be_locked_is_no_matter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with using([root / "data"]), using([root / "data"]):  # two trainings do not disturb each other
        pass
    whole = os.open

    def refuse(path: Path, *how: Any) -> int:
        if path.is_dir():
            raise PermissionError
        return whole(path, *how)

    monkeypatch.setattr(os, "open", refuse)
    with using([root / "data"]):
        assert t1djax.forget(GONE, **places(root)).complete


_HELD = """
import sys, time
from pathlib import Path
from t1djax._in_use import alone, using
with alone([Path(sys.argv[1])]), using([Path(sys.argv[2])]):
    print("held", flush=True)
    time.sleep(600)
"""
_KILLED = """
import os, signal, sys, t1djax
from t1djax.privacy._plan import Task
Task.take = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
t1djax.forget(sys.argv[1], data=sys.argv[2], results=sys.argv[3])
"""


def test_a_lock_ends_with_its_process(root: Path) -> None:
    inner = root / "results" / "a"
    inner.mkdir()
    command = [sys.executable, "-c", _HELD, str(inner), str(root / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child, contextlib.ExitStack() as stack:
        stack.callback(child.kill)
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=re.escape(f"in {inner}")):
            t1djax.forget(GONE, data=root / "results")
        with pytest.raises(Busy):
            t1djax.forget(GONE, data=root / "data")
        assert keys(root) == []
    assert t1djax.forget(GONE, **places(root)).complete


@pytest.mark.services
def test_a_killed_removal_keeps_readers_of_its_data_away(root: Path, tmp_path: Path) -> None:
    data, other = root / "data", tmp_path / "other"
    child = subprocess.run([sys.executable, "-c", _KILLED, GONE, str(data), str(root / "results")], check=False)
    assert child.returncode == -signal.SIGKILL
    for place in (data, data / f"{OTHERS[0]}.csv"):
        said = refused(1, "train", "--model", "ode", "--data", place, "--results", other, "--no-figures")
        assert "being removed from" in said
        assert GONE not in said
    assert not other.exists()
    # Another removal with another log does not take the mark away.
    (root / "second").mkdir()
    assert t1djax.forget(OTHERS[0], data=data, results=root / "second").complete
    assert [*data.glob(".forgetting-*")]
    assert t1djax.forget(GONE, data=data, results=root / "results").complete
    assert not list(root.rglob(".forg*"))
    trains(data, other, lambda: None)
