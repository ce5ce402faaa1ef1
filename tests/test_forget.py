"""Removing a person: what t1djax wrote goes, others keep every byte, and what else carries the person is listed."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml

import t1djax
from t1djax import registry
from t1djax.config import ConfigError, MissingPathError
from t1djax.experiment import Execution, run
from t1djax.experiment._journal import make_journal, read_journal
from t1djax.io import Stopped
from t1djax.tracking import read_info, write_info
from t1djax.tracking._course import Chunk, read_course

from .command import call, done, refused
from .persons import (
    ALIKE,
    GONE,
    NAMES,
    NETWORK,
    OTHERS,
    import_mlflow,
    killed_after,
    rows,
    snapshot,
    sweep,
    write_people,
)
from .tracked import program

pytestmark = pytest.mark.filterwarnings(  # of MLflow's own making
    "ignore:The ``noload`` loader strategy",
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",
    "ignore:.*below 40",
)
LEFT = tuple(name for name in NAMES if name != GONE)


class Workspace:
    """A sweep with tracking and a registered cohort, what the command said, and what is there."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.results = root, root / "data", root / "results"
        write_people(self.data)
        sweep(root, "--tracking", "--no-figures")
        self.uri = f"sqlite:///{self.results / 'mlflow.db'}"
        done("registry", "register", self.results, "--name", "cohort", "--tracking-uri", self.uri)
        done("registry", "register", next(self.results.glob(f"ode_*_{GONE}_*")), "--name", "alone", "--tracking-uri",
             self.uri)  # fmt: skip
        (root / "other" / "notes.txt").write_text(f"{GONE} came late; {ALIKE} did not\n", encoding="utf-8")
        self.before, self.kept = snapshot(root), self.others()
        self.worst = self.of_all()
        query = f"select run_uuid from tags where key = 't1djax.patient' and value = '{GONE}'"
        self.runs = [run for (run,) in rows(self.results / "mlflow.db", query)]
        self.places = ("--data", self.data, "--results", self.results, "--also", root / "other")
        self.dry = call("forget", GONE, *self.places, "--dry-run", "--json")
        self.untouched = snapshot(root) == self.before
        self.first = call("forget", GONE, *self.places, "--yes", "--json")
        self.listed = snapshot(root)
        keep = [part for path in (root / "other").iterdir() for part in ("--keep", path)]
        self.said = call("forget", GONE, *self.places, *keep, "--yes", "--json")
        self.after = snapshot(root)

    def of_all(self) -> list[tuple[Any, ...]]:
        """Median and worst of the cohort, on the parents of its runs."""
        return rows(self.results / "mlflow.db", "select key, value from metrics where key like 'ksi/%' order by 1")

    def others(self) -> list[tuple[Any, ...]]:
        """What MLflow has of the other people: their runs with all metrics."""
        query = (
            "select t.value, m.key, m.value, m.step, m.timestamp from metrics m join tags t on m.run_uuid = t.run_uuid "
            f"where t.key = 't1djax.patient' and t.value != '{GONE}' order by 1, 2, 4, 3"
        )
        return rows(self.results / "mlflow.db", query)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    import_mlflow()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Workspace(tmp_path_factory.mktemp("workspace"))


def test_a_dry_run_lists_and_touches_nothing(workspace: Workspace) -> None:
    assert workspace.untouched
    assert workspace.dry.code == 6
    where = {step["where"] for step in workspace.dry.json["steps"]}
    assert {str(workspace.data / f"{GONE}.csv"), str(workspace.results / "summary.json")} <= where
    assert {Path(one["where"]).name for one in workspace.dry.json["remains"]} == {"notes.txt", "sweep.yaml"}


def test_what_is_listed_waits_for_a_person(workspace: Workspace) -> None:
    assert workspace.first.code == 6
    assert [Path(one["where"]).name for one in workspace.first.json["remains"]] == ["notes.txt", "sweep.yaml"]
    assert str(workspace.data / f"{GONE}.csv") in workspace.listed
    assert workspace.said.code == 0, workspace.said
    assert GONE not in workspace.said.out.replace(ALIKE, "")


def test_nothing_of_the_person_is_left_in_what_t1djax_wrote(workspace: Workspace) -> None:
    named = lambda path, data: GONE.encode() in (path.encode() + data).replace(ALIKE.encode(), b"")
    assert len([path for path, data in workspace.before.items() if named(path, data)]) > 30
    left = [Path(path).name for path, data in workspace.after.items() if named(path, data)]
    assert sorted(left) == ["notes.txt", "sweep.yaml"]


def test_others_keep_every_byte(workspace: Workspace) -> None:
    named = lambda path, data: GONE.encode() in (path.encode() + data).replace(ALIKE.encode(), b"")
    again = ("mlflow.db", "summary.csv", "run.json", ".jsonl")
    for path, data in workspace.before.items():
        theirs = any(run in path for run in workspace.runs)
        if not (theirs or named(path, data) or path.endswith(again) or "/models/" in path):
            assert workspace.after[path] == data, path
    assert workspace.others() == workspace.kept, "runs and metrics of the others in MLflow"
    for path, data in workspace.before.items():  # where the name stood among others, that alone is gone
        if path.endswith(("config.yaml", "metadata.json")) and path in workspace.after:
            old, new = yaml.safe_load(data), yaml.safe_load(workspace.after[path])
            config = lambda x, path=path: x["config"] if path.endswith("json") else x
            assert config(old).pop("patients") == ",".join(NAMES)
            assert config(new).pop("patients") == ",".join(LEFT)
            assert old == new


def test_numbers_over_the_person_and_others_go(workspace: Workspace) -> None:
    assert {key for key, _ in workspace.worst} >= {"ksi/rmse_fit_mg_dL_median", "ksi/rmse_fit_mg_dL_worst"}
    left = rows(workspace.results / "mlflow.db", "select key from metrics where key like 'ksi/%'")
    assert left == rows(workspace.results / "mlflow.db", "select key from latest_metrics where key like 'ksi/%'") == []


def test_what_is_left_still_works(workspace: Workspace) -> None:
    assert t1djax.read_cohort(workspace.data).names == LEFT
    models = registry.load("cohort", "challenger", tracking_uri=workspace.uri)
    assert set(models) == set(LEFT)
    (version,) = registry.versions(tracking_uri=workspace.uri)
    assert (version.name, version.version, version.patients, version.aliases) == ("cohort", 1, 3, ("challenger",))
    # The same sweep of those who are left finds everything done, and makes its summary again.
    before = {p for p in workspace.after if p.endswith("predictions.npz") and "mlartifacts" not in p}
    config = workspace.root / "other" / "sweep.yaml"
    config.write_text(config.read_text().replace(f"{GONE},", ""))
    done("sweep", "--config", config, "--results", workspace.results, "--no-tracking", "--no-figures")
    after = snapshot(workspace.results)
    assert {p for p in after if p.endswith("predictions.npz") and "mlartifacts" not in p} == before
    summary = json.loads((workspace.results / "summary.json").read_text())
    assert [row["patient"] for row in summary["results"]] == list(LEFT)
    assert done("track", "sync", workspace.results, "--json").json["complete"]


def test_the_log_has_a_pseudonym_without_a_key(workspace: Workspace) -> None:
    lines = [json.loads(line) for line in (workspace.results / "forgotten.jsonl").read_text().splitlines()]
    assert [x["event"] for x in lines] == [
        "began",
        "incomplete",
        "began",
        "the person's own data go",
        "nothing is left",
    ]
    assert {line["person"] for line in lines} == {workspace.said.json["pseudonym"]}
    assert not list(workspace.root.rglob(".forg*"))
    shared = {step["where"] for step in workspace.first.json["steps"] if step["action"] == "rewrite"}
    assert "registered model cohort version 1" in shared, "models of several people are told"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::t1djax.DataWarning")
def test_a_training_goes_on_without_the_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training of four people begins anew for three: their fits end as if the fourth had never been there."""
    monkeypatch.chdir(tmp_path)
    write_people(tmp_path / "data")
    config = t1djax.Experiment.model_validate({"model": "pinn", "data": "data", "network": NETWORK})
    asked = iter(range(1000))
    with pytest.raises(Stopped):
        run(config, execution=Execution(figures=False, batch=4, stop=lambda: next(asked) >= 1))
    assert any("batch-00000" in p for p in snapshot(tmp_path))
    assert t1djax.forget(GONE, data="data", results="results").complete
    resumed = run(config, execution=Execution(figures=False, resume=True, batch=4))
    fresh = run(config.model_copy(update={"results": "fresh"}), execution=Execution(figures=False, batch=4))
    assert list(resumed.table["patient"]) == list(LEFT)
    np.testing.assert_allclose(resumed.table["ksi"], fresh.table["ksi"], rtol=1e-6)
    # Networks of several people in one folder.
    t1djax.save_twins(fresh.fit, "twins/all")
    assert t1djax.forget(ALIKE, also="twins", names_only=True).complete
    saved = t1djax.load_twins("twins/all")
    assert saved.names == LEFT[:2]


@pytest.mark.slow
def test_a_removal_ends_alike_after_whichever_step_it_was_killed(tmp_path: Path) -> None:
    import_mlflow()
    root, template, outcomes = tmp_path / "work", tmp_path / "template", []
    write_people(root / "data")
    sweep(root, "--tracking", "--no-figures")
    for name, place in (("cohort", root / "results"), ("alone", next(root.glob(f"results/ode_*_{GONE}_*")))):
        done("registry", "register", place, "--name", name, "--tracking-uri", f"sqlite:///{root}/results/mlflow.db")
    shutil.copytree(root, template)
    for steps in range(40):
        shutil.rmtree(root)
        shutil.copytree(template, root)
        last = None
        with killed_after(steps):
            last = t1djax.forget(GONE, data=root / "data", results=root / "results")
        assert (last or t1djax.forget(GONE, data=root / "data", results=root / "results")).complete
        files = {p: d for p, d in snapshot(root).items() if not p.endswith(("mlflow.db", "forgotten.jsonl"))}
        query = "select key, value from metrics union all select name, version from model_versions order by 1, 2"
        outcomes.append((files, rows(root / "results" / "mlflow.db", query)))
        if last is not None:
            break
    assert 20 < len(outcomes) < 40
    assert all(outcome == outcomes[-1] for outcome in outcomes)


# What lists its people; fitted patients, forecasters and results are in the random workspaces


def people(folder: Path, *names: str) -> None:
    key = jax.random.key(sum(map(ord, "".join(names))))
    both = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"][: len(names)], noise=t1djax.WhiteNoise(5.0),
                                   key=key)  # fmt: skip
    t1djax.write_cohort(t1djax.Cohort(tuple(dataclasses.replace(p, name=n) for p, n in zip(both, names, strict=True))),
                        folder)  # fmt: skip


def noted(folder: Path, *names: str) -> None:
    people(folder, *names)
    (folder / "reading.json").write_text(json.dumps({"reports": [{"subject": n} for n in names]}), encoding="utf-8")


def course(folder: Path, *names: str) -> None:
    info = program("one", names, truth={n: {"ksi": 1.0} for n in names})
    write_info(folder, info)
    chunks = [Chunk(step, step, list(info.rows), {"x": np.arange(2.0 * len(names)) + step}) for step in (1, 2)]
    (folder / "course.jsonl").write_bytes(b"".join(chunk.line() for chunk in chunks))


def journal(folder: Path, *names: str) -> None:
    config = {"patients": ",".join(names), "members": 1}
    record = {"sweep": "s", "config": config, "data": "d", "made_by": {}, "patients": dict.fromkeys(names, "d")}
    made = make_journal(
        folder, record | {"started": "2026-11-30T06:00:00", "batches": [[i] for i in range(len(names))]}
    )
    made.finish(0, [Path("ode_of_the_first")])
    (folder / "batch-00001").mkdir()
    (folder / "batch-00001" / "state").write_bytes(b"\0")


def learning(folder: Path) -> Any:
    chunks, info = read_course(folder)[0], read_info(folder)
    return info and (info.rows, info.truth, [(c.rows, c.metrics["x"].tolist()) for c in chunks])


def recorded(folder: Path) -> Any:
    record = read_journal(folder)
    return [*record.record["patients"]], record.record["config"]["patients"], record.finished(0), record.finished(1)


BEN = (("Ben", 0), ("Ben", 1))
KINDS: dict[str, tuple[Callable[..., None], Callable[[Path], Any], Any]] = {
    "people": (people, lambda folder: t1djax.read_cohort(folder).names, ("Ben",)),
    "noted": (noted, lambda f: json.loads((f / "reading.json").read_text()), {"reports": [{"subject": "Ben"}]}),
    "course": (course, learning, (BEN, {"Ben": {"ksi": 1.0}}, [([*BEN], [3.0, 4.0]), ([*BEN], [4.0, 5.0])])),
    "run": (journal, recorded, (["Ben"], "Ben", [], None)),
}
"""How a thing of some people is written, how it is read, and what is left of Ada's and Ben's when Ada went."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_persons_goes_and_others_keep_theirs(tmp_path: Path, kind: str) -> None:
    write, read, left = KINDS[kind]
    for folder, names in (("alone", ["Ada"]), ("both", ["Ada", "Ben"]), ("others", ["Ben", "Ada Byron"])):
        write(tmp_path / folder, *names)
    before = snapshot(tmp_path / "others")
    done = t1djax.forget("Ada", also=tmp_path, names_only=True)
    assert done.complete, done.remains
    assert snapshot(tmp_path / "others") == before
    assert snapshot(tmp_path / "alone") == {}
    assert read(tmp_path / "both") == left


# What is nobody's to remove


def test_files_of_people_with_like_names_stay(tmp_path: Path) -> None:
    people(tmp_path / "data", "Ada", "Ben")
    for name in ("Ada.csv", "Ada Byron.csv", "Ada-Marie.csv", "Ben Ada.csv"):
        (tmp_path / "exports").mkdir(exist_ok=True)
        (tmp_path / "exports" / name).write_text("Timestamp,Glucose\n2026-01-01,100\n")
    before = snapshot(tmp_path / "exports")
    found = t1djax.forget("Ada", data=tmp_path / "data", also=tmp_path / "exports")
    assert not found.complete
    assert {trace.where for trace in found.remains} == set(before)
    assert snapshot(tmp_path / "exports") == before
    decided = t1djax.forget("Ada", data=tmp_path / "data", also=tmp_path / "exports", keep=tmp_path / "exports")
    assert decided.complete
    assert snapshot(tmp_path / "exports") == before
    assert t1djax.read_cohort(tmp_path / "data").names == ("Ben",)


@pytest.mark.parametrize("claim", ["figures", "folders", "batch", "artifact"])
def test_no_record_leads_out_of_the_folders(tmp_path: Path, claim: str) -> None:
    people(tmp_path / "data", "Ada", "Ben")
    results, victim = tmp_path / "results", tmp_path / "victim"
    run(t1djax.Experiment(model="ode", data=str(tmp_path / "data"), results=str(results)),
        execution=Execution(figures=False))  # fmt: skip
    shutil.copytree(next(results.glob("*_Ada_*")), victim / "result")
    (victim / "victim.txt").write_text("mine")
    if claim == "batch":
        (next(results.glob(".runs/*")) / "batch-00000.json").write_text('["../victim/result", "../victim"]')
    elif claim == "artifact":
        (results / "mlartifacts").symlink_to(victim)
    else:
        (results / "sweep.json").write_text('{"format": "t1djax.sweep", "name": "s"}')
        summary = {"sweep": "s", "results": [{"patient": "Ada"}], claim: ["../victim/victim.txt", "../victim/result"]}
        (results / "summary.json").write_text(json.dumps(summary))
    before = snapshot(victim)
    t1djax.forget("Ada", data=tmp_path / "data", results=results)
    assert snapshot(victim) == before


def test_who_is_not_known_is_refused_with_who_is_near(tmp_path: Path) -> None:
    write_people(tmp_path / "data")
    before = snapshot(tmp_path)
    said = refused(3, "forget", f"{GONE}x", "--data", tmp_path / "data", "--yes")
    assert GONE in said
    assert ALIKE in said
    assert "--dry-run" in refused(2, "forget", GONE, "--data", tmp_path / "data")
    refused(3, "forget", GONE, "--data", tmp_path / "nowhere", "--yes")
    refused(2, "forget", GONE, "--data", tmp_path / "data", "--yes", "--tracking-uri", "http://127.0.0.1:9")
    with pytest.raises(ConfigError):
        t1djax.forget(GONE, data=tmp_path / "data" / f"{GONE}.csv")
    with pytest.raises(MissingPathError):
        t1djax.forget(OTHERS[0].lower(), data=tmp_path / "data")
    assert snapshot(tmp_path) == before


def test_the_name_may_come_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io  # noqa: PLC0415

    write_people(tmp_path / "data")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{GONE}\n"))
    done("forget", "-", "--data", tmp_path / "data", "--yes")
    assert t1djax.read_cohort(tmp_path / "data").names == LEFT
