"""Removing a person: nothing is left by a search of its own, others keep every byte, and it can be killed anywhere."""

import base64
import bz2
import contextlib
import dataclasses
import gzip
import io
import json
import lzma
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow as pa
import pytest
import yaml

import t1djax
from t1djax import registry
from t1djax.config import ConfigError
from t1djax.experiment import Busy, Execution, run
from t1djax.io import Stopped
from t1djax.plotting._results import _STYLE
from t1djax.privacy._contents import inside
from t1djax.privacy._journals import _rows
from t1djax.privacy._person import Person
from t1djax.privacy._readings import Readings
from t1djax.privacy._scrub import clean, scrub
from t1djax.privacy._work import Work

from .persons import (
    ALIKE,
    GONE,
    NAMES,
    NETWORK,
    OTHERS,
    import_mlflow,
    needles,
    rows,
    snapshot,
    sweep,
    traces,
    write_people,
)
from .test_cli import Said, call, done, refused

pytestmark = pytest.mark.filterwarnings(  # of MLflow's own making
    "ignore:The ``noload`` loader strategy", "ignore::DeprecationWarning", "ignore::ResourceWarning"
)
LEFT = tuple(name for name in NAMES if name != GONE)


class Populated:
    """A workspace with everything in it, and a copy. MLflow's database has whole paths: the copy works at its place."""

    def __init__(self, root: Path, template: Path) -> None:
        self.root, self.template, self.data, self.results = root, template, root / "data", root / "results"
        cohort = write_people(self.data)
        self.needles = needles(GONE, cohort[GONE].glucose_mg_dL)
        sweep(root, "--tracking")
        self.uri = f"sqlite:///{self.results / 'mlflow.db'}"
        done("registry", "register", self.results, "--name", "cohort", "--tracking-uri", self.uri)
        done("report", self.data, "--out", root / "other" / "report.html")
        done("evaluate", self.results, "--output", root / "other" / "metrics.csv")
        (root / "other" / "notes.txt").write_text(f"{GONE} came late; {ALIKE} did not\n", encoding="utf-8")
        shutil.copytree(root, template)

    @contextlib.contextmanager
    def anew(self) -> Iterator[Path]:
        """The workspace as it was made, in its place; what is there comes back afterwards."""
        aside = self.root.rename(self.root.with_name("aside"))
        shutil.copytree(self.template, self.root)
        yield self.root
        shutil.rmtree(self.root)
        aside.rename(self.root)


class Workspace:
    """A workspace as it was, what the command said, and as it is."""

    def __init__(self, made: Populated) -> None:
        root = self.root = made.root
        self.data, self.results, self.needles, self.uri = made.data, made.results, made.needles, made.uri
        self.before, self.kept = snapshot(root), self.others()
        self.places = ("--data", self.data, "--results", self.results, "--also", root / "other")
        self.dry = done("forget", GONE, *self.places, "--dry-run")
        self.untouched = snapshot(root) == self.before
        self.said = call("forget", GONE, *self.places, "--yes", "--json")
        self.after = snapshot(root)

    def others(self) -> list[tuple[Any, ...]]:
        """What MLflow has of the other people: their runs with all metrics."""
        query = (
            "select t.value, m.key, m.value, m.step, m.timestamp from metrics m join tags t on m.run_uuid = t.run_uuid "
            f"where t.key = 't1djax.patient' and t.value != '{GONE}' order by 1, 2, 4, 3"
        )
        return rows(self.results / "mlflow.db", query)


@pytest.fixture(scope="module")
def populated(tmp_path_factory: pytest.TempPathFactory) -> Populated:
    import_mlflow()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for item in {"savefig.dpi": 15, "figure.constrained_layout.use": False}.items():
            patch.setitem(_STYLE, *item)  # half of the time goes into figures, whose looks do not matter here
        parent = tmp_path_factory.mktemp("workspace")
        (parent / "work").mkdir()
        return Populated(parent / "work", parent / "template")


@pytest.fixture(scope="module")
def workspace(populated: Populated) -> Workspace:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Workspace(populated)


def test_a_dry_run_lists_and_touches_nothing(workspace: Workspace) -> None:
    assert workspace.untouched
    for word in (f"{GONE}.csv", "mlflow.db", "report.html", "registered model cohort", "nothing was touched"):
        assert word in workspace.dry.out


def test_nothing_of_the_person_is_left(workspace: Workspace) -> None:
    held = {path for path, _ in traces(workspace.before, workspace.needles)}
    assert len(held) > 30, "the search would find it"
    assert any(path.endswith("predictions.npz") for path in held)
    assert workspace.said.code == 0, workspace.said
    assert traces(workspace.after, workspace.needles) == []
    said = workspace.said.json
    assert said["complete"]
    assert said["remains"] == []
    assert said["searched"]["files"] > 50
    assert said["searched"]["cells"] > 100
    assert GONE not in workspace.said.out.replace(ALIKE, "")


def test_others_keep_every_byte(workspace: Workspace) -> None:
    theirs = lambda path: GONE in path.replace(ALIKE, "")
    named = lambda data: GONE.encode() in data.replace(ALIKE.encode(), b"")
    again = ("mlflow.db", ".png", ".cursor")  # made again, or adapted to what was made again
    for path, data in workspace.before.items():
        if not theirs(path) and not named(data) and not path.endswith(again) and path in workspace.after:
            assert workspace.after[path] == data, path
    for name in LEFT:
        for path, data in workspace.before.items():
            if name in path.replace(ALIKE, "" if name != ALIKE else ALIKE) and not named(data):
                assert workspace.after[path] == data, path
    assert workspace.others() == workspace.kept, "runs and metrics of the others in MLflow"
    # Where the name stood among others, that alone is gone.
    for path, data in workspace.before.items():
        if path.endswith(("config.yaml", "metadata.json")) and path in workspace.after:
            old, new = yaml.safe_load(data), yaml.safe_load(workspace.after[path])
            config = lambda x, path=path: x["config"] if path.endswith("json") else x
            assert config(old).pop("patients") == ",".join(NAMES)
            assert config(new).pop("patients") == ",".join(LEFT)
            assert old == new


def test_what_is_left_still_works(workspace: Workspace) -> None:
    assert t1djax.read_cohort(workspace.data).names == LEFT
    results = [t1djax.read_result(p.parent) for p in workspace.results.glob("*/metadata.json")]
    assert {r.metadata["patient"] for r in results} == set(LEFT)
    summary = json.loads((workspace.results / "summary.json").read_text())
    assert [row["patient"] for row in summary["results"]] == list(LEFT)
    models = registry.load("cohort", "challenger", tracking_uri=workspace.uri)
    assert set(models) == set(LEFT)
    (version,) = registry.versions("cohort", tracking_uri=workspace.uri)
    assert (version.version, version.patients, version.aliases) == (1, 3, ("challenger",))
    # The same sweep of those who are left finds everything done; tracking has nothing to send.
    before = snapshot(workspace.results)
    config = workspace.root / "other" / "sweep.yaml"
    assert json.loads(config.read_text())["patients"] == ",".join(LEFT)
    done("sweep", "--config", config, "--results", workspace.results, "--no-tracking", "--no-figures")
    after = snapshot(workspace.results)
    folders = lambda files: {p for p in files if p.endswith("predictions.npz")}
    assert folders(after) == folders(before)
    assert done("track", "sync", workspace.results, "--json").json["complete"]


def test_the_log_has_a_pseudonym_without_a_key(workspace: Workspace) -> None:
    lines = [json.loads(line) for line in (workspace.results / "forgotten.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["began", "the person's own data go", "nothing is left"]
    assert {line["person"] for line in lines} == {workspace.said.json["pseudonym"]}
    assert not list(workspace.root.rglob(".forgotten.key"))
    assert not list(workspace.root.rglob(".forgetting*"))


def test_population_models_are_listed(workspace: Workspace) -> None:
    told = [one["what"] for one in workspace.said.json["population"]]
    assert "a registered cohort that holds the person" in told
    assert "a run of ode, inverse, 4 patients" in told


def test_training_tells_the_tracker_who_trained(workspace: Workspace) -> None:
    users = rows(workspace.results / "mlflow.db", "select distinct value from tags where key = 'mlflow.user'")
    assert len(users) == 1


# An unfinished training


@pytest.mark.filterwarnings("ignore::t1djax.DataWarning")
def test_a_training_goes_on_without_the_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The states of four people are rewritten for three; the others' fits end as if the fourth had never been there."""
    monkeypatch.chdir(tmp_path)
    cohort = write_people(tmp_path / "data")
    config = t1djax.Experiment.model_validate({"model": "birnn", "data": "data", "network": NETWORK})
    asked = iter(range(1000))
    with pytest.raises(Stopped):
        run(config, execution=Execution(figures=False, batch=4, stop=lambda: next(asked) >= 1))
    wanted = needles(GONE, cohort[GONE].glucose_mg_dL)
    assert any("batch-00000" in p for p in snapshot(tmp_path))
    assert t1djax.forget(GONE, data="data", results="results").complete
    assert traces(snapshot(tmp_path), wanted) == []
    resumed = run(config, execution=Execution(figures=False, resume=True, batch=4))
    assert not [p for p in Path("results").glob("*") if GONE in p.name.replace(ALIKE, "")]
    fresh = run(config.model_copy(update={"results": "fresh"}), execution=Execution(figures=False, batch=4))
    assert list(resumed.table["patient"]) == list(LEFT)
    np.testing.assert_allclose(resumed.table["ksi"], fresh.table["ksi"], rtol=1e-6)
    # Networks of several people in one folder.
    t1djax.save_twins(fresh.fit, "twins/all")
    assert t1djax.forget(ALIKE, also="twins", names_only=True).complete
    saved = t1djax.load_twins("twins/all")
    assert saved.names == LEFT[:2]
    for new, old in zip(*map(_leaves, (saved.twins, fresh.fit.twins)), strict=True):
        np.testing.assert_array_equal(new, old[:2])


def _leaves(tree: Any) -> list[np.ndarray]:
    import jax  # noqa: PLC0415

    return [np.asarray(x) for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize(
    ("gone", "batches"), [(0, [[0, 1, 2], [3, 4]]), (4, [[0, 1, 2], [3, 4]]), (3, [[0, 1], [2, 3]])]
)
@pytest.mark.parametrize("seeds", [1, 3])
def test_rows_of_a_batch(gone: int, batches: list[list[int]], seeds: int) -> None:
    """Each row is labelled with whose it is; after the rewriting the labels are those of a batch made anew."""
    padded = lambda which, size: [*which, *[which[-1]] * (size - len(which))]
    left = [[i for i in which if i != gone] for which in batches]
    for which, new in zip(batches, left, strict=True):
        labels = [(s, i) for s in range(seeds) for i in padded(which, len(batches[0]))]
        taken = [labels[row] for row in _rows(which, new, len(batches[0]), len(left[0]), seeds)]
        assert taken == [(s, i) for s in range(seeds) for i in padded(new, len(left[0]))]


# Refusals


@pytest.mark.parametrize(
    ("name", "other", "why"),
    [("Quixote7", "quixote7", "case alone"), ("Ben", "Ben-2", "as a word"), ("Ben", "Ben Ali", "as a word")],
)
def test_a_name_that_may_be_anothers_is_refused(name: str, other: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Person(name, [other]).check()


@pytest.mark.parametrize("name", ["1234", "ode", "all", "Tu", "ab", "ksi"])
def test_a_name_that_is_a_word_or_number_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="a number, a word"):
        Person(name).check()


def test_the_command_asks_for_a_word_first(tmp_path: Path) -> None:
    write_people(tmp_path / "data")
    before = snapshot(tmp_path)
    assert "--dry-run" in refused(2, "forget", GONE, "--data", tmp_path / "data")
    assert "no such" in refused(3, "forget", GONE, "--data", tmp_path / "nowhere", "--yes")
    assert "--tracking-uri" in refused(
        2, "forget", GONE, "--data", tmp_path / "data", "--yes", "--tracking-uri", "http://127.0.0.1:9"
    )
    assert snapshot(tmp_path) == before


def test_not_beside_a_training(tmp_path: Path) -> None:
    write_people(tmp_path / "data")
    results = tmp_path / "results"
    (results / ".runs" / "one").mkdir(parents=True)
    places: dict[str, Any] = {"data": tmp_path / "data", "results": results}
    with filelock.FileLock(results / ".runs" / "one" / "lock"), pytest.raises(Busy, match="a training is at work"):
        t1djax.forget(GONE, **places)
    assert (tmp_path / "data" / f"{GONE}.csv").exists()
    (results / ".forgetting").touch()
    with pytest.raises(Busy, match="being removed"):
        t1djax.run(t1djax.Experiment(model="ode", data=str(tmp_path / "data"), results=str(results)))
    assert t1djax.forget(GONE, **places).complete
    assert not (results / ".forgetting").exists()


# What cannot be rewritten


def test_what_remains_is_named(tmp_path: Path) -> None:
    cohort = write_people(tmp_path / "data")
    other = tmp_path / "other"
    other.mkdir()
    np.savez_compressed(other / "both.npz", a=cohort[GONE].glucose_mg_dL, b=cohort[ALIKE].glucose_mg_dL)
    places = ("--data", tmp_path / "data", "--also", other)
    said = call("forget", GONE, *places, "--yes")
    assert said.code == 6
    assert re.search(r"REMAINS .*both\.npz!a\.npy: readings \(float64", said.out)
    assert (tmp_path / "data" / f"{GONE}.csv").exists(), "the data tell what to look for until all else is clean"
    done("forget", GONE, *places, "--yes", "--remove-mixed")
    assert traces(snapshot(tmp_path), needles(GONE, cohort[GONE].glucose_mg_dL)) == []
    pseudonyms = {
        json.loads(line)["person"] for line in (tmp_path / "data" / "forgotten.jsonl").read_text().splitlines()
    }
    assert len(pseudonyms) == 1


def test_a_file_without_the_name_is_never_removed_for_its_readings(tmp_path: Path) -> None:
    """Somebody whose readings are the same, as in simulations, keeps the file; the command says so and fails."""
    write_people(tmp_path / "data")
    twin = tmp_path / "data" / f"{OTHERS[0]}.csv"
    twin.write_bytes((tmp_path / "data" / f"{GONE}.csv").read_bytes())
    before = twin.read_bytes()
    said = call("forget", GONE, "--data", tmp_path / "data", "--yes")
    assert said.code == 6
    assert f"REMAINS  {twin}: readings" in said.out
    assert twin.read_bytes() == before


class Killed(BaseException):
    """Stands for a process that ends at once."""


def small(root: Path) -> dict[str, Any]:
    """A workspace without MLflow."""
    cohort = write_people(root / "data")
    fit = t1djax.fit(cohort, model="ode", free=["ksi"])
    models = t1djax.fitted_patients(fit, cohort)
    for model in models:
        t1djax.write_fitted(model, root / "results" / f"ode_inverse_{model.name}_ksi")
    (root / "other").mkdir()
    (root / "other" / "table.csv").write_text("patient,x\n" + "".join(f"{name},1\n" for name in NAMES))
    (root / "other" / "page.html").write_text(f"<p>{GONE}</p>")
    return {"data": root / "data", "results": root / "results", "also": root / "other"}


def test_killed_at_every_step_and_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = small(tmp_path)
    glucose = t1djax.read_cohort(tmp_path / "data")[GONE].glucose_mg_dL
    steps = len(t1djax.forget(GONE, **places, dry_run=True).steps)
    assert steps >= 5
    whole = Work.do
    for count in range(steps + 3):  # each time after one more step than nothing: the last ones are not reached
        left = iter([True] * (count % 2 + 1))

        def do(self: Work, *step: Any, left: Iterator[bool] = left) -> None:
            if not next(left, False):
                raise Killed
            whole(self, *step)

        monkeypatch.setattr(Work, "do", do)
        with contextlib.suppress(Killed):
            if t1djax.forget(GONE, **places).complete:
                break
    else:
        monkeypatch.setattr(Work, "do", whole)
        assert t1djax.forget(GONE, **places).complete
    monkeypatch.setattr(Work, "do", whole)
    with pytest.raises(ConfigError, match="nothing here knows"):
        t1djax.forget(GONE, **places)
    assert traces(snapshot(tmp_path), needles(GONE, glucose)) == []
    assert not list(tmp_path.rglob(".forg*"))
    assert t1djax.read_cohort(tmp_path / "data").names == LEFT
    assert (tmp_path / "other" / "table.csv").read_text() == "patient,x\n" + "".join(f"{n},1\n" for n in LEFT)


def test_a_folder_of_hashes_is_not_rewritten(tmp_path: Path) -> None:
    cohort = write_people(tmp_path / "data")
    cache = tmp_path / "cache"
    cache.mkdir()
    for i, file in enumerate(sorted((tmp_path / "data").iterdir())):
        (cache / f"{i:032x}").write_bytes(file.read_bytes())
    t1djax.forget(GONE, data=tmp_path / "data", versions=[str(cache)])
    left = [p.read_bytes() for p in sorted(cache.iterdir())]
    assert left == [p.read_bytes() for n in sorted(LEFT) for p in [tmp_path / "data" / f"{n}.csv"]]
    assert traces(snapshot(tmp_path), needles(GONE, cohort[GONE].glucose_mg_dL)) == []


# Copies, links, others at work


def hupa(times: int = 40) -> str:
    """A table as HUPA-UCM writes it, of made-up readings; it wants a unit of carbohydrate."""
    row = lambda i: f"2020-05-01T{i // 12:02}:{5 * (i % 12):02}:00;{110 + i * 7 % 45}.0;6.2;65.1;0.0;0.08;0.0;0.0"
    head = "time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input"
    return "\n".join([head, *map(row, range(times))]) + "\n"


def nightscout(times: int = 40) -> str:
    """Entries as Nightscout writes them, the newest first."""
    at = lambda i: f"2020-05-01T{i // 12:02}:{5 * (i % 12):02}:00.000Z"
    entry = lambda i: {"_id": f"5f{i:06}", "sgv": 110 + i * 7 % 45, "type": "sgv", "dateString": at(i),
                       "date": 1588291200000 + 300000 * i, "utcOffset": 0, "sysTime": at(i)}  # fmt: skip
    return json.dumps([entry(i) for i in reversed(range(times))], indent=1)


@pytest.mark.parametrize(
    ("own", "text"), [(f"{GONE}.csv", hupa()), (f"{GONE}.json", nightscout()), (f"{GONE}/entries.json", nightscout())]
)
def test_copies_of_raw_files_are_named(tmp_path: Path, own: str, text: str) -> None:
    (tmp_path / "data" / own).parent.mkdir(parents=True)
    (tmp_path / "also").mkdir()
    (tmp_path / "data" / own).write_text(text)
    copy, listed = tmp_path / "also" / "download", tmp_path / "also" / "list.txt"
    copy.write_text(text)
    listed.write_text("\n".join(f"{i};{110 + i * 7 % 45}" for i in range(40)))
    places: dict[str, Any] = {"data": tmp_path / "data", "also": tmp_path / "also"}
    done_ = t1djax.forget(GONE, **places)
    assert done_.readings > 0
    assert {one.where for one in done_.remains} == {str(copy), str(listed)}
    assert (tmp_path / "data" / own).exists()
    assert t1djax.forget(GONE, **places, remove_mixed=True).complete
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["forgotten.jsonl"]


def test_readings_among_many_fields() -> None:
    known = Readings([GLUCOSE])
    records = [{f"x{k}": i * k for k in range(13)} | {"sgv": float(x)} for i, x in enumerate(ROW)]
    assert known.in_bytes(json.dumps(records).encode())
    records = [{f"x{k}": 1 for k in range(i % 5)} | {"sgv": float(x)} for i, x in enumerate(ROW)]
    assert known.in_bytes(json.dumps(records).encode()) == "a field of records"
    assert known.in_bytes("".join(f'<r a="{i}" bg="{x}"/>' + "<n/>7" * (i % 3) for i, x in enumerate(ROW)).encode())


def test_unknown_readings_are_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "copy").mkdir()
    for path in (tmp_path / "data" / f"{GONE}.dat", tmp_path / "copy" / "x"):
        path.write_bytes(b"an export of a kind that nobody knows")
    places = ("--data", tmp_path / "data", "--also", tmp_path / "copy", "--yes")
    said = call("forget", GONE, *places)
    assert said.code == 6
    assert "--names-only" in said.out
    assert "nothing of" not in said.out
    assert (tmp_path / "data" / f"{GONE}.dat").exists()
    said = call("forget", GONE, *places, "--names-only")
    assert said.code == 6
    assert "byte for byte" in said.out
    (tmp_path / "copy" / "x").unlink()
    done("forget", GONE, *places, "--names-only")
    assert not (tmp_path / "data" / f"{GONE}.dat").exists()


def test_nobody_and_nowhere(tmp_path: Path) -> None:
    write_people(tmp_path / "data")
    before = snapshot(tmp_path)
    said = refused(3, "forget", f"{GONE}x", "--data", tmp_path / "data", "--yes")
    assert f"did you mean {GONE}" in said
    assert "no such" in refused(3, "forget", GONE, "--data", tmp_path / "data", "--versions", tmp_path / "no", "--yes")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("how", ["named", "content", "folder"])
def test_links_that_lead_out_are_named(tmp_path: Path, how: str) -> None:
    write_people(tmp_path / "data")
    away = tmp_path / "away"
    away.mkdir()
    (away / "r.csv").write_bytes((tmp_path / "data" / f"{GONE}.csv").read_bytes())
    link = tmp_path / "data" / {"named": f"{GONE}.old", "content": "l.csv", "folder": "current"}[how]
    link.symlink_to(away if how == "folder" else away / "r.csv")
    said = call("forget", GONE, "--data", tmp_path / "data", "--yes")
    assert said.code == 6
    assert f"REMAINS  {away}" in said.out
    assert (away / "r.csv").exists()
    (away / "r.csv").unlink()
    if how == "folder":
        link.unlink()
    done("forget", GONE, "--data", tmp_path / "data", "--yes")
    assert link.is_symlink() is (how == "content")


def test_data_behind_a_link_are_not_forgotten(tmp_path: Path) -> None:
    write_people(tmp_path / "real")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "cohort").symlink_to(tmp_path / "real")
    said = call("forget", GONE, "--data", tmp_path / "top", "--yes")
    assert said.code == 6
    assert f"REMAINS  {tmp_path / 'real'}" in said.out
    done("forget", GONE, "--data", tmp_path / "top", "--data", tmp_path / "real", "--yes")
    assert t1djax.read_cohort(tmp_path / "real").names == LEFT


def test_links_to_nothing_and_pipes_are_no_matter(tmp_path: Path) -> None:
    import os  # noqa: PLC0415

    write_people(tmp_path / "data")
    os.mkfifo(tmp_path / "data" / "pipe")
    (tmp_path / "data" / "x.csv").symlink_to("/nonexistent/y")
    (tmp_path / "data" / f"{GONE}.old").symlink_to("/nonexistent/y")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data" / "loop")
    assert t1djax.forget(GONE, data=tmp_path / "data").complete
    assert not (tmp_path / "data" / f"{GONE}.old").is_symlink()


def test_one_removal_at_a_time(tmp_path: Path) -> None:
    write_people(tmp_path / "data")
    with filelock.FileLock(tmp_path / "data" / ".forgetting.lock"), pytest.raises(Busy, match="another removal"):
        t1djax.forget(GONE, data=tmp_path / "data")
    assert (tmp_path / "data" / f"{GONE}.csv").exists()
    assert t1djax.forget(GONE, data=tmp_path / "data").complete
    assert not (tmp_path / "data" / ".forgetting.lock").exists()


def test_artifacts_out_of_reach_keep_their_rows(
    populated: Populated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with populated.anew() as root:
        results = root / "results"
        before = rows(results / "mlflow.db", "select * from tags order by 1, 2, 3")
        (results / "mlartifacts").rename(tmp_path / "unmounted")
        places = ("--data", root / "data", "--results", results, "--also", root / "other", "--yes")
        said = call("forget", GONE, *places)
        assert said.code == 6
        assert f"REMAINS  {results / 'mlartifacts'}" in said.out
        assert rows(results / "mlflow.db", "select * from tags order by 1, 2, 3") == before
        (tmp_path / "unmounted").rename(results / "mlartifacts")
        done("forget", GONE, *places)
        left = {path: data.replace(ALIKE.encode(), b"") for path, data in snapshot(root).items()}
        assert not [path for path, data in left.items() if GONE.encode() in data]


# The search and the scissors, by themselves


def _zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", data)
    return out.getvalue()


def _tarred(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("inner")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda x: b"before" + x + b"after",
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": _zipped,
    "tar": _tarred,
    "tar.gz": lambda x: gzip.compress(_tarred(x)),
    "zip in zip": lambda x: _zipped(_zipped(x)),
    "zstd frame": lambda x: b"header" + pa.compress(x, "zstd", asbytes=True) + b"trailer",
    "base64": lambda x: b'{"a": "' + base64.b64encode(x) + b'"}',
    "pdf": lambda x: b"%PDF-1.7\nstream\n" + zlib.compress(x) + b"\nendstream",
}


@pytest.mark.parametrize("how", PACKED)
def test_the_search_opens(how: str) -> None:
    secret = b"\0" + bytes(range(33, 120)) * 3
    assert any(secret in content for _, content in inside("file", PACKED[how](secret)))


def test_the_search_opens_streams_of_zstandard_without_a_size() -> None:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(b"readings of somebody" * 50)
    assert any(b"readings of somebody" in x for _, x in list(inside("file", sink.getvalue().to_pybytes()))[1:])


GLUCOSE = np.round(140 + 60 * np.sin(np.arange(60) / 7) + np.arange(60) % 5, 1)
ROW = GLUCOSE[20:33]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"x" + ROW.tobytes(), True),
        (b"xyz" + ROW.astype("<f4").tobytes(), True),
        (ROW.astype(">f8").tobytes(), True),
        (", ".join(map(str, ROW)).encode(), True),
        ("\n".join(f"{5 * i},{x:g},0.9,,{'' if i % 3 else 4}" for i, x in enumerate(ROW)).encode(), True),
        ("\n".join(f"2024-05-01T{i:02}:00;{x:.1f}" for i, x in enumerate(ROW)).encode(), True),
        (", ".join(f"{x / 18.016:.1f}" for x in ROW).encode(), True),
        (json.dumps([{"t": i, "sgv": float(x)} for i, x in enumerate(ROW)]).encode(), True),
        (ROW[:8].tobytes(), False),
        ((ROW + 1).tobytes(), False),
        (", ".join(map(str, ROW[::-1])).encode(), False),
        (np.random.default_rng(0).bytes(100_000), False),
    ],
)
def test_readings_are_found_in_every_form(data: bytes, found: bool) -> None:
    readings = Readings([GLUCOSE])
    assert (readings.in_bytes(data) is not None) is found


def test_flat_stretches_are_nobodys() -> None:
    assert not Readings([np.full(100, 120.0)])
    assert not Readings([])


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"ode_Quixote7_ksi", True),
        (b"Quixote77", False),
        (b"xQuixote7", False),
        ("Quixote7".encode("utf-16-le"), True),
        ("Quixote7".encode("utf-16-be"), True),
        (b"data%2FQuixote7%2Ecsv", True),
        (rb'"first\nQuixote7\nlast"', True),
    ],
)
def test_names_are_found_as_words(data: bytes, found: bool) -> None:
    assert (Person("Quixote7", ["Quixote77"]).in_bytes(data) is not None) is found


def test_names_are_found_as_other_writings_have_them() -> None:
    person = Person("Zoë & Co/1")
    for form in (json.dumps("Zoë & Co/1"), "Zo%C3%AB%20%26%20Co%2F1", "Zoë &amp; Co/1", "Zo%C3%AB+%26+Co%2F1"):
        assert person.in_bytes(form.encode()), form
    assert Person("Quixote7").in_bytes(b"t1djax.patientQuixote7abc", packed=True)
    assert not Person("Quixote7", ["Quixote77"]).in_bytes(b"t1djax.patientQuixote77abc", packed=True)


@pytest.mark.parametrize("name", ["José", "O'Brien", "Zoë \N{PILE OF POO}x"])
def test_names_in_yaml_and_pages(name: str) -> None:
    """PyYAML and Jinja's way to write it are known, and cut."""
    person = Person(name, [ALIKE])
    listed = {"patients": f"{name},{ALIKE}", "x": f"{name}: late"}
    plain = yaml.safe_dump(listed)
    for text in (plain, yaml.safe_dump(listed, default_style='"'),
                 yaml.safe_dump(listed, default_style="'", allow_unicode=True),
                 re.sub(r"\\[xuU][0-9A-F]+", lambda m: m[0][:2] + m[0][2:].lower(), plain)):  # fmt: skip
        assert person.in_bytes(text.encode()), text
        cut = clean(person, Readings([]), "config.yaml", text.encode())
        assert cut.action == "rewrite"
        assert yaml.safe_load(cut.data) == {"patients": ALIKE, "x": "[removed]: late"}
    for page in (name.replace("'", "&#39;"), name.replace("'", "&#x27;"),
                 name.encode("ascii", "xmlcharrefreplace").decode()):  # fmt: skip
        assert person.in_bytes(f"<p>{page}</p>".encode()), page
    assert person.in_bytes(rf'"late\u2014{json.dumps(name)[1:-1]}"'.encode())


def test_results_write_names_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    cohort = write_people(tmp_path / "data")
    named = t1djax.Cohort(
        tuple(dataclasses.replace(p, name=n) for p, n in zip(tuple(cohort.patients)[:2], ("José", ALIKE), strict=True))
    )
    t1djax.write_cohort(named, tmp_path / "named")
    config = {
        "model": "ode",
        "data": str(tmp_path / "named"),
        "patients": f"José,{ALIKE}",
        "results": str(tmp_path / "r"),
    }
    run(t1djax.Experiment.model_validate(config), execution=Execution(figures=False))
    assert all(f"José,{ALIKE}" in p.read_text("utf-8") for p in (tmp_path / "r").glob("*/config.yaml"))
    assert t1djax.forget("José", data=tmp_path / "named", results=tmp_path / "r").complete
    assert not [p for p, x in snapshot(tmp_path / "r").items() if b"Jos" in x or "Jos" in p]


def test_scissors() -> None:
    person = Person(GONE, [*OTHERS, ALIKE])
    content = {
        "patients": f"{OTHERS[0]}, {GONE}, {ALIKE}",
        "rows": [[GONE, 0], [ALIKE, 0]],
        "records": [{"patient": GONE, "x": 1}, {"patient": ALIKE, "x": 2}],
        "windows": [{"name": f"{GONE} [0 h]"}, {"name": f"{ALIKE} [0 h]"}],
        "rmse": {GONE: 1.0, ALIKE: 2.0},
        "why": f"{GONE} is worse than {ALIKE}",
        "history": json.dumps([{"names": f"{GONE}, {ALIKE}"}]),
    }
    assert scrub(person, content) == {
        "patients": f"{OTHERS[0]}, {ALIKE}",
        "rows": [[ALIKE, 0]],
        "records": [{"patient": ALIKE, "x": 2}],
        "windows": [{"name": f"{ALIKE} [0 h]"}],
        "rmse": {ALIKE: 2.0},
        "why": f"[removed] is worse than {ALIKE}",
        "history": json.dumps([{"names": ALIKE}]),
    }
    none = Readings([])
    table = f'patient,"a, b",x\r\n{ALIKE},"1\n2",3.10\r\n{GONE},4,5\r\n'.encode()
    assert clean(person, none, "t.csv", table).data == f'patient,"a, b",x\r\n{ALIKE},"1\n2",3.10\r\n'.encode()
    assert clean(person, none, "a.json", json.dumps({"patient": GONE}).encode()).action == "remove"
    assert clean(person, none, "a.html", GONE.encode()).action == "remove"
    assert clean(person, none, "a.bin", b"\xff\xfe " + GONE.encode()).action == "mixed"
    assert clean(person, none, "a.json", json.dumps({"patient": ALIKE}).encode()).action == "keep"


def test_the_name_may_come_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_people(tmp_path / "data")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{GONE}\n"))
    said: Said = done("forget", "-", "--data", tmp_path / "data", "--yes")
    assert GONE not in said.out
    assert t1djax.read_cohort(tmp_path / "data").names == LEFT


@pytest.mark.filterwarnings("ignore:.*below 40")
def test_a_name_beyond_ascii_in_a_configuration_goes(tmp_path: Path) -> None:
    cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"])
    people = [dataclasses.replace(p, name=n) for p, n in zip(cohort, ("José", "Benno"), strict=True)]
    t1djax.write_cohort(t1djax.Cohort(tuple(people)), tmp_path / "data")
    config = t1djax.Experiment(
        question=t1djax.Question(free=["ksi", "kl"], assume_population=True),
        model="ode", data=str(tmp_path / "data"), patients="José,Benno", results=str(tmp_path / "results"),
    )  # fmt: skip
    t1djax.run(config, execution=t1djax.Execution(figures=False))
    (tmp_path / "results" / "old.yaml").write_text('patients: "Jos\\xE9,Benno"\n')
    done = t1djax.forget("José", data=tmp_path / "data", results=tmp_path / "results")
    assert done.complete
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert not any(form in file.read_bytes() for form in ("José".encode(), rb"Jos\xE9", rb"Jos\u00e9")), file


@pytest.mark.parametrize("form", ["O''Brien", "O&#39;Brien", "O&#x27;Brien", "O'Brien"])
def test_a_name_with_an_apostrophe_is_known_in_every_form(form: str) -> None:
    assert Person("O'Brien").in_bytes(f"patient: {form}, fitted".encode()) is not None
    assert Person("O'Brien").in_bytes(b"patient: OBrien, fitted") is None


def test_readings_among_many_other_numbers_are_found() -> None:
    """As in an entry of Nightscout, where a dozen numbers stand between two readings."""
    values = np.random.default_rng(3).integers(60, 300, 60).astype(float)
    rows = [
        {"date": 17e11 + i, "sgv": int(v), **{f"n{k}": i * 7.25 + k for k in range(13)}} for i, v in enumerate(values)
    ]
    known = Readings([values])
    assert known.in_text(json.dumps(rows).encode()) is not None
    assert known.in_text(json.dumps([{**row, "sgv": 1} for row in rows]).encode()) is None


def test_a_folder_of_versions_that_is_not_there_is_refused(tmp_path: Path) -> None:
    t1djax.write_cohort(t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"]), tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such file or folder"):
        t1djax.forget("Pat3", data=tmp_path / "data", versions=[str(tmp_path / "nowhere")])
    assert (tmp_path / "data" / "Pat3.csv").exists()
