"""Removals and those who read the same data for other results; and what a removal says of data that nobody named."""

import json
import os
import shutil
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import t1djax
from t1djax.experiment import Busy
from t1djax.experiment._readers import reader_near, reading
from t1djax.privacy._log import Log

from .persons import GONE, NAMES, OTHERS, snapshot, write_people
from .test_cli import call, done, refused
from .test_forget_apart import killed_after, spellings, template  # noqa: F401 - a fixture
from .test_forget_words import people


class Enough(Exception):
    """Ends a training that got as far as it should."""


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:  # noqa: F811
    return Path(shutil.copytree(template, tmp_path / "work"))


def trains(data: Path, results: Path, meanwhile: Callable[[], object]) -> None:
    """A training that reads data, does something when it is about to fit, and fails there."""

    def on_problem(*_: object) -> None:
        meanwhile()
        raise Enough

    config = t1djax.Experiment(model="ode", data=str(data), results=str(results))
    with pytest.raises(Enough):
        t1djax.run(config, on_problem=on_problem)


def matrix(data: Path, results: Path) -> t1djax.SweepConfig:
    return t1djax.SweepConfig.model_validate({"models": ("ode",), "data": str(data), "results": str(results)})


@pytest.mark.parametrize("where", ["here", "above", "inside", "file"])
def test_no_removal_beside_who_reads_the_data(root: Path, tmp_path: Path, where: str) -> None:
    """The training writes elsewhere; which folder it reads is said, and nothing is touched."""
    data = root / "data"
    named = {"here": data, "above": root, "inside": data / "inner", "file": data / f"{GONE}.csv"}[where]
    (data / "inner").mkdir()
    shutil.copy(data / f"{GONE}.csv", data / "inner")
    before = snapshot(root)

    def meanwhile() -> None:
        for spelt in spellings(named, tmp_path / "link")[: 3 if where == "file" else 4]:
            with pytest.raises(Busy, match=f"a training reads its data in {data}") as told:
                t1djax.forget(GONE, data=spelt)
            assert GONE not in str(told.value)
        assert snapshot(root) == before, "no lock lies among the data either"

    trains(data, tmp_path / "other", meanwhile)
    assert snapshot(root) == before
    named = {"file": data}.get(where, named)  # a training that failed holds nothing
    assert t1djax.forget(GONE, data=named).complete


def test_what_is_at_work_says_so_on_the_command_line(root: Path, tmp_path: Path) -> None:
    def meanwhile() -> None:
        said = call("forget", GONE, "--data", root / "data", "--results", root / "results", "--yes")
        assert said.code == 1
        assert "a training reads its data" in said.err
        assert GONE not in said.out + said.err

    trains(root / "data", tmp_path / "other", meanwhile)


@pytest.mark.filterwarnings("ignore::t1djax.DataWarning")
def test_a_sweep_holds_its_data_and_what_it_starts_from(root: Path, tmp_path: Path) -> None:
    seen = []

    def look(progress: t1djax.SweepProgress) -> None:
        seen.append(reader_near(root / "data"))
        raise Enough

    with pytest.raises(Enough):
        t1djax.sweep(matrix(root / "data", tmp_path / "other"), on_progress=look)
    assert seen == [root / "data"]
    assert reader_near(root / "data") is None
    (tmp_path / "twins").mkdir()
    config = t1djax.Experiment(model="birnn", data=str(root / "data"), warm_start=str(tmp_path / "twins"))
    with reading([config]):
        assert reader_near(tmp_path / "twins") == tmp_path / "twins"
    with reading([t1djax.Experiment(model="ode")]):
        assert reader_near(tmp_path) is None, "nobody's data"


def test_a_folder_that_cannot_be_locked_is_no_matter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = t1djax.Experiment(model="ode", data=str(root / "data"))
    (root / "data").chmod(0o555)
    with reading([config]), reading([config]):  # two trainings do not disturb each other
        assert reader_near(root / "data") == root / "data"
    (root / "data").chmod(0o755)

    whole = os.open

    def refuse(path: Path, *how: Any) -> int:
        if path.is_dir():
            raise PermissionError
        return whole(path, *how)

    monkeypatch.setattr(os, "open", refuse)
    with reading([config]):
        assert reader_near(root / "data") is None


_READER = """
import sys, time, t1djax
from t1djax.experiment._readers import reading
with reading([t1djax.Experiment(model="ode", data=sys.argv[1])]):
    print("reads", flush=True)
    time.sleep(600)
"""
_KILLED = """
import os, signal, sys, t1djax
from t1djax.privacy._work import Work
Work.do = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
t1djax.forget(sys.argv[1], data=sys.argv[2], results=sys.argv[3])
"""


def test_the_lock_of_a_reader_ends_with_its_process(root: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", _READER, str(root / "data")], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "reads\n"
        with pytest.raises(Busy, match="a training reads"):
            t1djax.forget(GONE, data=root / "data")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    assert t1djax.forget(GONE, data=root / "data").complete


def test_a_killed_removal_keeps_readers_of_its_data_away(root: Path, tmp_path: Path) -> None:
    data, other = root / "data", tmp_path / "other"
    child = subprocess.run([sys.executable, "-c", _KILLED, GONE, str(data), str(root / "results")], check=False)
    assert child.returncode == -signal.SIGKILL
    assert (data / f"{GONE}.csv").exists(), "it was killed in between"
    for place in (data, data / f"{OTHERS[0]}.csv"):
        said = refused(1, "train", "--model", "ode", "--data", place, "--results", other, "--no-figures")
        assert "being removed from" in said
        assert GONE not in said
    with pytest.raises(Busy, match="being removed"):
        t1djax.sweep(matrix(data, other))
    assert not other.exists()
    assert t1djax.forget(GONE, data=data, results=root / "results").complete
    assert not list(root.rglob(".forg*"))
    trains(data, other, lambda: None)


def test_another_log_does_not_take_a_mark_away(root: Path, tmp_path: Path) -> None:
    """Two results folders, and two logs, of the same data."""
    data, second = root / "data", root / "second"
    second.mkdir()
    (second / "table.csv").write_text(f"patient,x\n{OTHERS[0]},1\n{OTHERS[1]},1\n")
    with killed_after(1):
        t1djax.forget(GONE, data=data, results=root / "results")
    assert t1djax.forget(OTHERS[0], data=data, results=second).complete
    with pytest.raises(Busy, match="being removed"):
        t1djax.run(t1djax.Experiment(model="ode", data=str(data), results=str(tmp_path / "other")))
    assert t1djax.forget(GONE, data=data, results=root / "results").complete
    assert not (data / ".forgetting").exists()
    # A mark of a removal that its log has as complete is nobody's.
    mine = Log(second / "forgotten.jsonl", GONE)
    mine.write("began")
    mine.erase_key()
    (data / ".forgetting").write_text(f"{mine.pseudonym}\n")
    assert t1djax.forget(OTHERS[1], data=data, results=second).complete
    assert not (data / ".forgetting").exists()


# Data that results were trained on, and that nobody named


def results_of(root: Path, data: str, *names: str) -> Path:
    """A results folder as a run leaves it, without what does not matter here."""
    results = root / "res"
    for name in names:
        (results / f"ode_{name}").mkdir(parents=True)
        said = {"format": "t1djax.result", "patient": name, "config": {"data": data}}
        (results / f"ode_{name}" / "metadata.json").write_text(json.dumps(said))
    (results / ".runs" / "one").mkdir(parents=True)
    config = {"model": "ode", "mode": "inverse", "data": data}
    run = {"format": "t1djax.run", "format_version": 1, "started": "2020-01-01T00:00:00+00:00", "config": config,
           "data": "x", "batches": []}  # fmt: skip
    (results / ".runs" / "one" / "run.json").write_text(json.dumps(run))
    return results


@pytest.mark.parametrize("stated", ["relative", "absolute", "beside", "file"])
def test_data_that_nobody_named_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: str) -> None:
    write_people(tmp_path / "cohort")
    shutil.copytree(tmp_path / "cohort", tmp_path / "copy")
    data = {"absolute": str(tmp_path / "cohort"), "file": f"cohort/{GONE}.csv"}.get(stated, "cohort")
    (tmp_path / "apart").mkdir()
    monkeypatch.chdir(tmp_path / "apart" if stated == "beside" else tmp_path)
    results = results_of(tmp_path, data, GONE, OTHERS[0])
    places = ("--data", tmp_path / "copy", "--results", results)
    before = snapshot(tmp_path)
    dry = done("forget", GONE, *places, "--dry-run")
    assert f"leave    {tmp_path / 'cohort'}" in dry.out
    assert snapshot(tmp_path) == before
    for _ in range(2):  # results that named the data are gone the second time; the record of the run is not
        said = call("forget", GONE, *places, "--yes")
        assert said.code == 6
        assert f"REMAINS  {tmp_path / 'cohort'}" in said.out
        assert "--also" in said.out
        assert "is left;" not in said.out
        assert GONE not in said.out + said.err
    done("forget", GONE, *places, "--also", tmp_path / "cohort", "--yes", "--remove-mixed")
    assert not [path for path, text in snapshot(tmp_path).items() if GONE in path.replace("Quixote77", "")
                or GONE.encode() in text.replace(b"Quixote77", b"")]  # fmt: skip


def test_data_without_the_person_are_no_matter(tmp_path: Path) -> None:
    write_people(tmp_path / "cohort")
    people(tmp_path / "others", "Benno", "Cleo")
    results = results_of(tmp_path, str(tmp_path / "others"), GONE, OTHERS[0])
    (results / "nowhere").mkdir()
    for place, data in (("nowhere", "gone"), ("", "reference")):
        (results / place / "metadata.json").write_text(json.dumps({"config": {"data": data}}))
    assert t1djax.forget(GONE, data=tmp_path / "cohort", results=results).complete


# What is said


@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_no_spelling_of_the_name_is_said(tmp_path: Path, asked: Any) -> None:
    """The data warn of low readings by name when they are read again for the journals."""
    name = unicodedata.normalize("NFC", "José")
    write_people(tmp_path / "data")
    table = (tmp_path / "data" / f"{NAMES[0]}.csv").read_text().splitlines()
    column = table[0].split(",").index("glucose_mg_dL")
    low = table[3].split(",")
    low[column] = "20"
    (tmp_path / "data" / f"{name}.csv").write_text("\n".join([*table[:3], ",".join(low), *table[4:]]) + "\n")
    for also in ("truth.csv", "patients.csv"):
        (tmp_path / "data" / also).unlink(missing_ok=True)
    results = results_of(tmp_path, str(tmp_path / "data"), name, NAMES[0])
    (results / f"{name}.bin").write_bytes(b"\xff\xfe " + name.encode())
    (results / "mixed.bin").write_bytes(b"\xff\xfe " + name.encode() + b" " + NAMES[0].encode())
    path = results / ".runs" / "one" / "run.json"
    run = json.loads(path.read_text())
    path.write_text(json.dumps(run | {"batches": [[0, 1, 2, 3, 4]]}))
    places = ("--data", tmp_path / "data", "--results", results, "--yes")
    for more in ((), ("--json",), ("--remove-mixed",)):
        said = call("forget", unicodedata.normalize(asked, name), *places, *more)
        assert said.code == (0 if "--remove-mixed" in more else 6), said
        text = unicodedata.normalize("NFC", said.out + said.err)
        assert "Jos" not in text
        assert "below 40" not in text


def test_a_name_within_a_word_is_not_hidden(tmp_path: Path) -> None:
    people(tmp_path / "Adalbert", "Ada", "Benno")
    said = done("forget", "Ada", "--data", tmp_path / "Adalbert", "--yes")
    assert f"{tmp_path / 'Adalbert'}/person-" in said.out
    said = call("forget", "Benno", "--data", tmp_path / "Adalbert", "--yes", "--json")
    assert all("/Adalbert/" in step["where"] for step in said.json["steps"])
