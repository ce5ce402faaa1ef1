"""Removals beside each other: each keeps its own pseudonym and key, and overlaps with no other and with no training."""

import contextlib
import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest

import t1djax
from t1djax.experiment import Busy
from t1djax.privacy._log import Log, under_way
from t1djax.privacy._work import Work
from t1djax.tracking import only_one

from .persons import ALIKE, GONE, NAMES, OTHERS, snapshot, write_people
from .test_cli import call


class Killed(BaseException):
    """Stands for a process that ends at once."""


@contextlib.contextmanager
def killed_after(steps: int) -> Iterator[None]:
    """A removal that ends after so many steps."""
    whole, left = Work.do, iter(range(steps))

    def do(self: Work, *step: Any) -> None:
        if next(left, None) is None:
            raise Killed
        whole(self, *step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Work, "do", do)
        with pytest.raises(Killed):
            yield


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people")
    write_people(root / "data")
    (root / "results").mkdir()
    (root / "results" / "notes.txt").write_text(", ".join(NAMES))
    (root / "results" / "table.csv").write_text("patient,x\n" + "".join(f"{name},1\n" for name in NAMES))
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    import shutil  # noqa: PLC0415

    return Path(shutil.copytree(template, tmp_path / "work"))


def places(root: Path) -> dict[str, Any]:
    return {"data": root / "data", "results": root / "results"}


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def keys(root: Path) -> list[Path]:
    return sorted(root.rglob(".forgotten*key"))


# Pseudonyms


def test_a_removal_keeps_its_pseudonym_while_others_come_and_go(root: Path) -> None:
    log = root / "results" / "forgotten.jsonl"
    with killed_after(1):
        t1djax.forget(GONE, **places(root))
    (mine,) = {line["person"] for line in lines(log)}
    with killed_after(1):
        t1djax.forget(OTHERS[0], **places(root))
    (theirs,) = {line["person"] for line in lines(log)} - {mine}
    assert len(keys(root)) == 2
    assert not [key for key in keys(root) for name in NAMES if name in key.name or name.encode() in key.read_bytes()]
    done = t1djax.forget(OTHERS[1], **places(root))
    assert done.complete
    assert done.pseudonym not in {mine, theirs}
    assert {key.name for key in keys(root)} == {f".forgotten-{one}.key" for one in (mine, theirs)}
    last = t1djax.forget(GONE, **places(root))
    assert last.complete
    assert last.pseudonym == mine
    assert [key.name for key in keys(root)] == [f".forgotten-{theirs}.key"]
    assert t1djax.forget(OTHERS[0], **places(root)).pseudonym == theirs
    assert keys(root) == []
    assert len({line["person"] for line in lines(log)}) == 3
    assert not list(root.rglob(".forg*"))


def test_a_key_is_overwritten_before_it_goes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with killed_after(1):
        t1djax.forget(GONE, **places(root))
    (key,) = keys(root)
    before, seen = key.read_bytes(), []
    whole = Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self == key:
            seen.append(self.read_bytes())
        whole(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    assert t1djax.forget(GONE, **places(root)).complete
    assert len(seen) == 1
    assert seen[0] != before
    assert len(seen[0]) == len(before)
    assert not key.exists()


def test_a_key_of_an_older_version_goes_on(root: Path) -> None:
    """One key for all who are not complete: it goes with the last of them."""
    results, secret = root / "results", b"5" * 64
    log, key = results / "forgotten.jsonl", results / ".forgotten.key"
    key.write_bytes(secret)
    old = {name: f"person-{hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:16]}" for name in NAMES}
    earlier = {"time": "2020-01-01T00:00:00+00:00", "person": "person-0000", "event": "began"}  # its key is long gone
    began = [{"time": "2999-01-01T00:00:00+00:00", "person": old[name], "event": "began"} for name in (GONE, ALIKE)]
    log.write_text("".join(json.dumps(line) + "\n" for line in [earlier, *began]))
    other = t1djax.forget(OTHERS[0], **places(root))
    assert other.complete
    assert other.pseudonym not in old.values()
    assert key.read_bytes() == secret
    done = t1djax.forget(GONE, **places(root))
    assert done.complete
    assert done.pseudonym == old[GONE]
    assert key.read_bytes() == secret, "another removal needs it"
    assert under_way(log, GONE) == set(), "that one is done"
    assert t1djax.forget(ALIKE, **places(root)).pseudonym == old[ALIKE]
    assert not key.exists()


def test_torn_lines_and_keys_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "forgotten.jsonl"
    mine = Log(log, "José")
    mine.write("began")
    with log.open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00+00:00", "steps": {"a": 1}\n{"ti')
    (tmp_path / ".forgotten-person-0123456789abcdef.key").touch()
    assert under_way(log, "Jose\u0301") == {"began"}, "the other spelling of the same name"
    assert Log(log, "Jose\u0301").pseudonym == mine.pseudonym
    assert Log(log, "Jose").pseudonym != mine.pseudonym


def test_an_interrupted_removal_keeps_trainings_away_whoever_is_removed_next(root: Path) -> None:
    config = t1djax.Experiment(model="ode", data=str(root / "data"), results=str(root / "results"))
    with killed_after(1):
        t1djax.forget(GONE, **places(root))
    assert t1djax.forget(OTHERS[0], **places(root)).complete
    with pytest.raises(Busy, match="being removed"):
        t1djax.run(config)
    assert t1djax.forget(GONE, **places(root)).complete
    assert not (root / "results" / ".forgetting").exists()


# Folders in folders


def spellings(folder: Path, link: Path) -> list[Path]:
    """The same folder by other paths."""
    link.symlink_to(folder.parent)
    return [folder, Path(os.path.relpath(folder)), link / folder.name, folder / ".." / folder.name]


def working(folder: Path, lock: str) -> contextlib.AbstractContextManager[object]:
    """Somebody else at work in a folder."""
    path = folder / lock
    path.parent.mkdir(parents=True, exist_ok=True)
    return only_one(path) if lock.startswith(".tracking") else filelock.FileLock(path)


LOCKS = [".forgetting.lock", ".runs/one/lock", ".runs/one/lock.1", "sweep.lock", ".tracking/one.abc.lock"]


@pytest.mark.parametrize("role", ["results", "also", "data"])
@pytest.mark.parametrize("where", ["inside", "above", "here"])
@pytest.mark.parametrize("lock", LOCKS)
def test_a_removal_overlaps_with_nobody(root: Path, tmp_path: Path, lock: str, where: str, role: str) -> None:
    folder = root / "results"
    (folder / "a").mkdir()
    mine, other = {"inside": (folder, folder / "a"), "above": (folder / "a", folder), "here": (folder,) * 2}[where]
    with working(other, lock):
        before = snapshot(root)
        for spelt in spellings(mine, tmp_path / "link")[:: 1 if role == "results" else 4]:
            named: dict[str, Any] = {"data": [root / "data"]}
            named[role] = [*named.get(role, []), spelt]
            said = "another removal" if "forgetting" in lock else "a training"
            with pytest.raises(Busy, match=said) as told:
                t1djax.forget(GONE, **named)
            assert where == "here" or f"in {os.path.realpath(other)}" in str(told.value)
        assert snapshot(root) == before
    # Locks that nobody holds any more, such as after `kill -9`, are no matter.
    (other / lock).touch()
    assert t1djax.forget(GONE, data=root / "data", results=[folder]).complete


@pytest.mark.parametrize("where", ["inside", "above", "here"])
@pytest.mark.parametrize("how", ["lock", "mark"])
def test_no_training_beside_a_removal(root: Path, tmp_path: Path, where: str, how: str) -> None:
    folder = root / "results"
    (folder / "a").mkdir()
    mine, other = {"inside": (folder, folder / "a"), "above": (folder / "a", folder), "here": (folder,) * 2}[where]
    with contextlib.ExitStack() as stack:
        if how == "lock":
            stack.enter_context(working(other, ".forgetting.lock"))
        else:
            (other / ".forgetting").touch()
        before = snapshot(root)
        for spelt in spellings(mine, tmp_path / "link"):
            config = t1djax.Experiment(model="ode", data=str(root / "data"), results=str(spelt))
            with pytest.raises(Busy, match="being removed") as told:
                t1djax.run(config)
            matrix = t1djax.SweepConfig.model_validate(
                {"models": ("ode",), "data": str(root / "data"), "results": str(spelt)}
            )
            with pytest.raises(Busy, match="being removed"):
                t1djax.sweep(matrix)
            assert where == "here" or f"from {os.path.realpath(other)}" in str(told.value)
        assert snapshot(root) == before


def test_folders_of_one_removal_may_hold_each_other(root: Path) -> None:
    (root / "results" / ".runs" / "one").mkdir(parents=True)
    (root / "results" / ".runs" / "one" / "lock").touch()
    said = call("forget", GONE, "--data", root, "--results", root / "results", "--also", root / "results", "--yes")
    assert said.code == 0, said
    assert not list(root.rglob(".forg*"))


def test_neighbours_do_not_disturb_each_other(root: Path) -> None:
    for name in ("a", "ab"):
        (root / name).mkdir()
    with working(root / "ab", ".forgetting.lock"), working(root / "ab", "sweep.lock"):
        assert t1djax.forget(GONE, data=root / "data", results=root / "a").complete


_CHILD = """
import sys, time
from pathlib import Path
from t1djax.privacy._locks import alone
with alone([Path(sys.argv[1])]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_ends_with_its_process(root: Path) -> None:
    inner = root / "results" / "a"
    inner.mkdir()
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(inner)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=re.escape(f"another removal is at work in {inner}, inside this folder")):
            t1djax.forget(GONE, **places(root))
        assert keys(root) == []
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    assert (inner / ".forgetting.lock").exists()
    assert t1djax.forget(GONE, **places(root)).complete
