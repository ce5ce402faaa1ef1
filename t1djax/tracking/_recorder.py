"""From events to MLflow: experiments, parent and child runs, metrics, artifacts. Sending twice changes nothing."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..records import RunInfo
from ._client import Place
from ._journal import results_id, unpack, unpack_info
from ._names import as_key, as_tag, experiment_name, params, parent_key, row_key, row_name
from ._tracker import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

WHOLE = -1  # the row of a program whose patients are too many for runs of their own
_QUANTILES = {"median": 0.5, "p05": 0.05, "p95": 0.95}
_MOST_METRICS, _MOST_PARAMS = 1000, 100


class Recorder:
    """What one program has in MLflow, by the events of its journal."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._client: MlflowClient | None = None
        self.info: RunInfo | None = None
        self.parent: str | None = None
        """The parent's run; None where it was deleted, or nothing was sent yet."""
        self.ended = False
        self.skipped = 0
        """Runs that somebody deleted; they stay so."""
        self._wide = False
        self._chunks = False  # whether any came: least squares have none
        self._runs: dict[int, str | None] = {}
        self._index: dict[tuple[str, int], int] = {}
        self._done: dict[int, str] = {}
        self._steps: dict[int, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
        self._metrics: dict[str, list[Metric]] = {}

    def replay(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take in what the server already has, without sending."""
        for event in events:
            self._learn(event)
            if event["event"] == "chunk" and self._wide:
                for _ in self._quantiles(event):
                    pass

    def send(self, client: "MlflowClient", events: Sequence[Mapping[str, Any]]) -> None:
        """Send events that follow those before.

        Raises:
            Exception: whatever MLflow, a driver or a store raises; make a new recorder then.
        """
        if client is not self._client:
            self._client = client
            self._runs.clear()
        for event in events:
            self._learn(event)
            if self.info is None:
                continue  # the line that began it was torn
            if not self._runs:
                self._find(self.info, self._first_ms)
            if self.parent is None:
                continue
            match event["event"]:
                case "begin":
                    self._begin(self.info, event)
                case "chunk":
                    self._chunk(self.info, event)
                case "result":
                    self._flush()
                    self._result(self.info, event)
                case "end":
                    self._flush()
                    self._end(self.info, int(event["ms"]))
        self._flush()

    def killed(self, client: "MlflowClient") -> None:
        """Say of runs that never ended that their process is gone."""
        if not self._runs and self.info is not None:
            self._client = client
            self._find(self.info, self._first_ms)
        for i, run in self._runs.items():
            if run is not None and i not in self._done:
                client.update_run(run, status="KILLED")
        if self.parent is not None:
            client.update_run(self.parent, status="KILLED")

    def _learn(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "begin":
                self.ended = False
                if self.info is None:
                    self.info = unpack_info(event["info"])
                    self._first_ms = int(event["ms"])
                    self._wide = len(self.info.rows) > event["most_children"]
                    self._index = {row: i for i, row in enumerate(self.info.rows)}
            case "chunk":
                self._chunks = True
            case "result":
                self._done[self._index[event["row"][0], event["row"][1]]] = event["folder"]
            case "end":
                self.ended = True

    # Runs

    def _find(self, info: RunInfo, ms: int) -> None:
        """Look up the runs of the program, and make those that are not there."""
        client = self._client
        assert client is not None
        experiment = self._experiment(experiment_name(info.model, info.mode))
        identity = {"t1djax.results": results_id(self._place.results)}
        key = parent_key(info)
        there = self._search(experiment, identity | {"t1djax.run": key})
        common = identity | {"t1djax.model": info.model, "t1djax.mode": info.mode, "mlflow.source.name": "t1djax"}
        self.skipped = 0
        self.parent = (
            self._adopt(there, key)
            or client.create_run(
                experiment, start_time=ms, run_name=info.sweep, tags=common | {"t1djax.run": key}
            ).info.run_id
        )
        if self.parent in self._deleted:
            self.parent, self.skipped = None, 1
            self._runs[WHOLE] = None
            return
        program = as_tag(info.name)
        there = self._search(experiment, identity | {"t1djax.program": program})
        common |= {"mlflow.parentRunId": self.parent, "t1djax.program": program}
        wanted = {WHOLE: (program, info.name, {})} if self._wide else {
            i: (row_key(info, row), row_name(info, row), {"t1djax.patient": row[0], "t1djax.seed": str(row[1])})
            for i, row in enumerate(info.rows)
        }  # fmt: skip
        for i, (key, name, tags) in wanted.items():
            run = (
                self._adopt(there, key)
                or client.create_run(
                    experiment, start_time=ms, run_name=name, tags=common | tags | {"t1djax.run": key}
                ).info.run_id
            )
            self._runs[i] = None if run in self._deleted else run
            self.skipped += run in self._deleted

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - seconds

        client = self._client
        assert client is not None
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI shows training first
                return client.create_experiment(name, artifact_location=self._place.artifacts(name), tags=kind)
            except MlflowException as e:
                if e.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(name)  # another process was first
        assert found is not None
        if found.lifecycle_stage == "deleted":
            raise TrackingError(
                f"experiment {name} was deleted; restore it: mlflow experiments restore -x {found.experiment_id}"
            )
        return found.experiment_id

    def _search(self, experiment: str, tags: Mapping[str, str]) -> "dict[str, Run]":
        """Runs by key, deleted ones too. A call that was repeated in the transport may have made one twice."""
        from mlflow.entities import ViewType  # noqa: PLC0415 - seconds

        client = self._client
        assert client is not None
        query, token, runs = " and ".join(f"tags.`{k}` = '{v}'" for k, v in tags.items()), None, []
        while True:
            page = client.search_runs([experiment], query, ViewType.ALL, max_results=1000, page_token=token)
            runs += page
            token = page.token
            if not token:
                break
        better = lambda run: (run.info.lifecycle_stage == "deleted", not run.data.metrics, run.info.start_time)
        found: dict[str, Run] = {}
        for run in sorted(runs, key=lambda run: (*better(run), run.info.run_id)):
            found.setdefault(run.data.tags["t1djax.run"], run)
        self._deleted = {run.info.run_id for run in found.values() if run.info.lifecycle_stage == "deleted"}
        return found

    def _adopt(self, found: "Mapping[str, Run]", key: str) -> str | None:
        return found[key].info.run_id if key in found else None

    def _open(self) -> Iterator[tuple[int, str]]:
        return ((i, run) for i, run in self._runs.items() if run is not None)

    # Events

    def _begin(self, info: RunInfo, event: Mapping[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag  # noqa: PLC0415 - seconds

        assert self._client is not None
        assert self.parent is not None
        stated = event["info"]["tags"]  # a resumed run may stand at another commit, on another device
        tags = [RunTag(as_key(k), str(v)[:5000]) for k, v in stated.items()]
        if commit := stated.get("git_commit"):
            tags.append(RunTag("mlflow.source.git.commit", commit))
        config = [Param(k, v) for k, v in params(info.config).items()]
        inputs = [
            DatasetInput(
                Dataset(
                    name=d.name[:500],
                    digest=d.digest[:36],
                    source_type="code",
                    source=json.dumps({"tags": {"data": d.name, "digest": d.digest}}),
                    profile=json.dumps({"patients": len(d.patients), "readings": d.readings}),
                ),
                [InputTag("mlflow.data.context", "training")],
            )
            for d in info.data
        ]
        for i, run in [(WHOLE, self.parent), *self._open()]:
            if i in self._done:
                continue
            self._client.update_run(run, status="RUNNING")
            self._client.log_batch(run, tags=tags)
            # Params of the programs of one sweep differ, and a param cannot be changed: the parent has none.
            for start in range(0, 0 if run == self.parent else len(config), _MOST_PARAMS):
                self._client.log_batch(run, params=config[start : start + _MOST_PARAMS])
            if inputs:
                self._client.log_inputs(run, inputs)

    def _chunk(self, info: RunInfo, event: Mapping[str, Any]) -> None:
        if self._wide:
            for step, metrics in self._quantiles(event):
                self._log(WHOLE, step, int(event["ms"]), metrics)
            return
        columns = {name: unpack(text) for name, text in event["metrics"].items()}
        columns |= dict(_errors(columns, info, event["rows"]))
        for place, i in enumerate(event["rows"]):
            row = {name: column[place] for name, column in columns.items()}
            self._log(i, event["step"], int(event["ms"]), row)

    def _quantiles(self, event: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, float]]]:
        """Quantiles over all rows of a step, once all blocks of rows have come."""
        assert self.info is not None
        rows = len(self.info.rows)
        columns = {name: unpack(text) for name, text in event["metrics"].items()}
        columns |= dict(_errors(columns, self.info, event["rows"]))
        there, full = self._steps.pop(event["step"], (np.zeros(rows, bool), {}))
        there[event["rows"]] = True
        for name, column in columns.items():
            full.setdefault(name, np.full(rows, np.nan))[event["rows"]] = column
        if not there.all():
            self._steps[event["step"]] = (there, full)
            return
        found = {}
        for name, column in full.items():
            finite = column[np.isfinite(column)]
            if finite.size:
                values = np.quantile(finite, list(_QUANTILES.values()))
                found |= {f"{name}_{q}": float(v) for q, v in zip(_QUANTILES, values, strict=True)}
                if not name.startswith("estimate_"):
                    found[f"{name}_worst"] = float(finite.max())
            found[f"{name}_not_finite"] = float(rows - finite.size)
        yield event["step"], found

    def _log(self, i: int, step: int, ms: int, metrics: Mapping[str, float]) -> None:
        """Put metrics in line; what is not finite stays out, because stores make numbers of it."""
        from mlflow.entities import Metric  # noqa: PLC0415 - seconds

        run = self._runs.get(i)
        if run is not None:
            line = self._metrics.setdefault(run, [])
            line += [Metric(as_key(k), float(v), ms, step) for k, v in metrics.items() if math.isfinite(v)]

    def _flush(self) -> None:
        assert self._client is not None
        for run, metrics in self._metrics.items():
            for start in range(0, len(metrics), _MOST_METRICS):
                self._client.log_batch(run, metrics=metrics[start : start + _MOST_METRICS])
        self._metrics.clear()

    def _result(self, info: RunInfo, event: Mapping[str, Any]) -> None:
        assert self._client is not None
        i = self._index[event["row"][0], event["row"][1]]
        run = self._runs.get(i)
        if run is None:  # no run of its own, or a deleted one
            return
        folder = self._place.results / event["folder"]
        metadata = _metadata(folder)
        self._client.set_tag(run, "t1djax.folder", event["folder"])
        if metadata is None:
            self._client.set_tag(run, "t1djax.missing", "the results folder was not there when it was to be sent")
            self._client.set_terminated(run, "FAILED", end_time=int(event["ms"]))
            return
        self._client.update_run(run, name=folder.name)
        self._log(i, 0, int(event["ms"]), _final(metadata) | ({} if self._chunks else _as_chunk(metadata)))
        self._flush()
        for file in sorted(folder.iterdir()):
            if file.is_file():
                self._client.log_artifact(run, str(file), "figures" if file.suffix in {".png", ".svg"} else None)
        ok = bool(metadata.get("ok"))
        self._client.set_tag(run, "t1djax.ok", str(ok).lower())
        self._client.set_terminated(run, "FINISHED" if ok else "FAILED", end_time=int(event["ms"]))

    def _end(self, info: RunInfo, ms: int) -> None:
        assert self._client is not None
        assert self.parent is not None
        table = self._summary(info)
        for i, run in self._open():
            if i not in self._done:
                self._client.set_terminated(run, "FINISHED" if i == WHOLE else "FAILED", end_time=ms)
            if i == WHOLE:
                self._client.log_text(run, table, "summary.csv")
        self._client.log_text(self.parent, table, f"summary/{as_key(info.name)}.csv")
        self._client.set_terminated(self.parent, "FINISHED", end_time=ms)

    def _summary(self, info: RunInfo) -> str:
        """A table with one row per finished fit."""
        rows = []
        for i, folder in sorted(self._done.items()):
            if (metadata := _metadata(self._place.results / folder)) is not None:
                patient, seed = info.rows[i]
                head = {"patient": patient, "seed": seed, "ok": bool(metadata.get("ok")), "folder": folder}
                rows.append(head | _final(metadata))
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def _errors(columns: Mapping[str, np.ndarray], info: RunInfo, rows: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    """Absolute relative errors in %, of the estimates whose truth is known."""
    for name, column in columns.items():
        symbol = name.removeprefix("estimate_")
        if symbol == name:
            continue
        truth = np.asarray([info.truth.get(info.rows[i][0], {}).get(symbol) or np.nan for i in rows], dtype=float)
        if np.isfinite(truth).any():
            yield f"error_percent_{symbol}", 100 * np.abs(column / truth - 1)


def _metadata(folder: Path) -> dict[str, Any] | None:
    try:
        metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return metadata if isinstance(metadata, dict) else None


def _final(metadata: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a finished fit that are finite."""
    found = dict(metadata.get("metrics", {}))
    for symbol, entry in {**metadata.get("estimates", {}), **metadata.get("derived", {})}.items():
        found |= {f"final_{symbol}": entry["value"], f"final_{symbol}_standard_error": entry["standard_error"]}
        found[f"final_{symbol}_error_percent"] = entry["error_percent"]
    found |= {key: metadata.get(key) for key in ("wall_seconds", "compile_seconds")}
    return {k: float(v) for k, v in found.items() if isinstance(v, int | float) and math.isfinite(v)}


def _as_chunk(metadata: Mapping[str, Any]) -> dict[str, float]:
    """The estimates under the names that chunks give them, for models that report no chunks: they compare in MLflow."""
    found: dict[str, Any] = {}
    for symbol, entry in metadata.get("estimates", {}).items():
        found |= {f"estimate_{symbol}": entry["value"], f"error_percent_{symbol}": entry["error_percent"]}
    return {k: float(v) for k, v in found.items() if isinstance(v, int | float)}
