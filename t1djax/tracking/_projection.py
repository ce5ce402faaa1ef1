"""A run of a results folder as MLflow shows it: sent as far as it is not there. Sending twice changes nothing."""

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np

from ..records import RunInfo
from ._client import Place
from ._course import COURSE, Chunk, errors, read_course, read_info, results_id
from ._names import as_key, as_tag, experiment_name, params, parent_key, row_key, row_name
from ._tracker import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

WHOLE = -1  # the row of a program whose patients are too many for runs of their own
_QUANTILES = {"median": 0.5, "p05": 0.05, "p95": 0.95}
_MOST_METRICS, _MOST_PARAMS = 1000, 100
_BATCH_BYTES = 2_000_000


class Projection:
    """One run on its way to one MLflow.

    How far the course was sent is a tag of the parent run: what MLflow has, MLflow says, whatever became of it.

    Args:
        place: the MLflow.
        folder: the run's, `RESULTS/.runs/NAME`.
    """

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.parent: str | None = None
        """The parent's run; None where it was deleted, or nothing was sent yet."""
        self.left = 0
        """Bytes of the course that MLflow does not have."""
        self.sent = 0
        """Chunks and results sent so far."""
        self.skipped = 0
        """Runs that somebody deleted; they stay so."""
        self.complete = False
        """Whether MLflow has a result of every fit."""
        self._client: MlflowClient | None = None
        self._runs: dict[int, Run | None] = {}
        self._done: dict[int, dict[str, Any]] = {}
        self._known: set[str] = set()
        self._metrics: dict[str, list[Metric]] = {}
        self._lock = filelock.FileLock(folder / f"lock.{hashlib.sha256(place.uri.encode()).hexdigest()[:8]}", timeout=0)

    def claim(self) -> bool:
        """Whether nobody else sends this run to this MLflow; holds until `release`, or until the process ends."""
        try:
            self._lock.acquire()
        except filelock.Timeout:
            return False
        return True

    def release(self) -> None:
        """Let others send it."""
        self._lock.release()

    def look(self, client: "MlflowClient", *, make: bool = True) -> RunInfo | None:
        """Find the run in MLflow, and how far it was sent; None where nothing can be sent.

        Args:
            client: of the MLflow.
            make: whether what is not there is made.
        """
        info = read_info(self.folder)
        size = (self.folder / COURSE).stat().st_size if (self.folder / COURSE).exists() else 0
        self.left = size
        if info is None:
            return None
        if client is not self._client or not self._runs:
            self._client = client
            self._find(info, make)
        if self.parent is None:
            self.left = 0 if self.skipped else size
            return None
        self._offset = self._offset if self._offset <= size else 0  # of another course of this name
        self.left = size - self._offset
        return info

    def send(self, client: "MlflowClient", *, live: bool = False) -> bool:
        """Send a batch of the course and all results that are not there; whether something of the course is left.

        Args:
            client: of the MLflow.
            live: whether the run is under way: what was said to be killed runs again.

        Raises:
            Exception: whatever MLflow, a driver or a store raises. Nothing is lost: call again.
        """
        try:
            info = self.look(client)
            if info is None:
                return False
            self._gather(info)
            self._begin(info, live)
            chunks, end = read_course(self.folder, self._offset, _BATCH_BYTES)
            for chunk in chunks:
                self._chunk(info, chunk)
            self._flush()
            self.sent += len(chunks)
            for i in [i for i in self._done if i in self._runs and not self._has(i)]:
                self._result(i)
            if len(self._done) == len(info.rows) and not self.complete:
                self._end(info)
            if end != self._offset:
                client.set_tag(self.parent, self._tag(info), str(end))  # pyright: ignore[reportArgumentType]
                self._offset = end
            self.look(client)
            return bool(chunks) and self.left > 0
        except BaseException:
            self._runs.clear()  # what fails in the middle is looked up again
            self._metrics.clear()
            raise

    def killed(self, client: "MlflowClient") -> None:
        """Say of runs that never ended that their process is gone."""
        for run in self._runs.values():
            if run is not None and run.info.status == "RUNNING":
                client.update_run(run.info.run_id, status="KILLED")
        if self.parent is not None:
            client.update_run(self.parent, status="KILLED")

    @staticmethod
    def _tag(info: RunInfo) -> str:
        return as_key(f"t1djax.course.{info.name}")

    # Runs

    def _find(self, info: RunInfo, make: bool) -> None:
        """Look up the runs of the program, and make those that are not there."""
        client = self._client
        assert client is not None
        self.skipped, self.parent, self._runs = 0, None, {}
        self._index = {row: i for i, row in enumerate(info.rows)}
        experiment = self._experiment(experiment_name(info.model, info.mode), make)
        if experiment is None:
            return
        identity = {"t1djax.results": results_id(self.place.results)}
        ms = int(info.started.timestamp() * 1000)
        key = parent_key(info)
        common = identity | {"t1djax.model": info.model, "t1djax.mode": info.mode, "mlflow.source.name": "t1djax"}
        there = self._search(experiment, identity | {"t1djax.run": key})

        def run(key: str, name: str, tags: Mapping[str, str]) -> "Run | None":
            if key in there or not make:
                return there.get(key)
            return client.create_run(experiment, ms, {**common, **tags, "t1djax.run": key}, name)

        parent = run(key, info.sweep, {})
        if parent is None or parent.info.lifecycle_stage == "deleted":
            self.skipped = int(parent is not None)
            return
        self.parent = parent.info.run_id
        self._offset = int(parent.data.tags.get(self._tag(info), "0"))
        self.complete = parent.data.tags.get(f"{self._tag(info)}.complete") == str(len(info.rows))
        program = as_tag(info.name)
        there = self._search(experiment, identity | {"t1djax.program": program})
        common |= {"mlflow.parentRunId": self.parent, "t1djax.program": program}
        wide = len(info.rows) > info.most_children
        wanted = {WHOLE: (program, info.name, {})} if wide else {
            i: (row_key(info, row), row_name(info, row), {"t1djax.patient": row[0], "t1djax.seed": str(row[1])})
            for i, row in enumerate(info.rows)
        }  # fmt: skip
        for i, asked in wanted.items():
            found = run(*asked)
            self.skipped += found is not None and found.info.lifecycle_stage == "deleted"
            self._runs[i] = None if found is None or found.info.lifecycle_stage == "deleted" else found
        self._blocks: dict[int, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
        if wide and self._offset:
            for chunk in read_course(self.folder, 0, self._offset)[0]:
                list(self._quantiles(info, chunk))

    def _experiment(self, name: str, make: bool) -> str | None:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - seconds

        client = self._client
        assert client is not None
        found = client.get_experiment_by_name(name)
        if found is None and not make:
            return None
        if found is None:
            try:
                kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI shows training first
                return client.create_experiment(name, artifact_location=self.place.artifacts(name), tags=kind)
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

        assert self._client is not None
        query = " and ".join(f"tags.`{k}` = '{v}'" for k, v in tags.items())
        runs, token = [], None
        while True:
            page = self._client.search_runs([experiment], query, ViewType.ALL, max_results=1000, page_token=token)
            runs += page
            if not (token := page.token):
                break
        better = lambda run: (run.info.lifecycle_stage == "deleted", not run.data.metrics, run.info.start_time)
        found: dict[str, Run] = {}
        for run in sorted(runs, key=lambda run: (*better(run), run.info.run_id)):
            found.setdefault(run.data.tags["t1djax.run"], run)
        return found

    # What there is, and what of it is sent

    def _gather(self, info: RunInfo) -> None:
        """The results of the run that were not seen before."""
        for entry in os.scandir(self.place.results):
            if entry.name in self._known or entry.name.startswith(".") or entry.name.endswith(".partial"):
                continue
            metadata = _metadata(Path(entry.path))
            if metadata is not None:
                self._known.add(entry.name)
                i = self._index.get((str(metadata.get("patient")), metadata.get("seed", -1)))
                if metadata.get("run") == info.name and i is not None:
                    self._done[i] = {**metadata, "folder": entry.name}

    def _has(self, i: int) -> bool:
        """Whether a run has its result, or is no longer wanted."""
        run = self._runs[i]
        return run is None or (run.data.tags.get("t1djax.folder") == self._done[i]["folder"] and
                               run.info.status in ("FINISHED", "FAILED"))  # fmt: skip

    def _begin(self, info: RunInfo, live: bool) -> None:
        """What is known from the start; again where a run goes on, perhaps at another commit, on another device."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag  # noqa: PLC0415 - seconds

        assert self._client is not None
        stated = {as_key(k): str(v)[:5000] for k, v in info.tags.items()}
        stamp = hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:16]
        stated |= {"t1djax.began": stamp} | (
            {"mlflow.source.git.commit": c} if (c := info.tags.get("git_commit")) else {}
        )
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
        parent = None if self.complete else self._client.get_run(self.parent)  # pyright: ignore[reportArgumentType]
        for i, run in [(None, parent), *self._runs.items()]:
            if run is None or (i in self._done and self._has(i)):
                continue
            if run.data.tags.get("t1djax.began") == stamp and not (live and run.info.status == "KILLED"):
                continue
            number = run.info.run_id
            self._client.update_run(number, status="RUNNING")
            # Params of the programs of one sweep differ, and a param cannot be changed: the parent has none.
            for start in range(0, 0 if i is None else len(config), _MOST_PARAMS):
                self._client.log_batch(number, params=config[start : start + _MOST_PARAMS])
            if inputs:
                self._client.log_inputs(number, inputs)
            self._client.log_batch(number, tags=[RunTag(k, v) for k, v in stated.items()])
            if i is not None:
                self._runs[i] = self._client.get_run(number)

    def _chunk(self, info: RunInfo, chunk: Chunk) -> None:
        if WHOLE in self._runs:
            for metrics in self._quantiles(info, chunk):
                self._log(WHOLE, chunk.step, chunk.ms, metrics)
            return
        columns = chunk.metrics | dict(errors(chunk.metrics, info, chunk.rows))
        for place, fit in enumerate(chunk.rows):
            row = {name: column[place] for name, column in columns.items()}
            self._log(self._index[fit], chunk.step, chunk.ms, row)

    def _quantiles(self, info: RunInfo, chunk: Chunk) -> Iterator[dict[str, float]]:
        """Quantiles over all rows of a step, once all blocks of rows have come."""
        rows, at = len(info.rows), [self._index[fit] for fit in chunk.rows]
        columns = chunk.metrics | dict(errors(chunk.metrics, info, chunk.rows))
        there, full = self._blocks.pop(chunk.step, (np.zeros(rows, bool), {}))
        there[at] = True
        for name, column in columns.items():
            full.setdefault(name, np.full(rows, np.nan))[at] = column
        if not there.all():
            self._blocks[chunk.step] = (there, full)
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
        yield found

    def _log(self, i: int, step: int, ms: int, metrics: Mapping[str, float]) -> None:
        """Put metrics in line; what is not finite stays out, because stores make numbers of it."""
        from mlflow.entities import Metric  # noqa: PLC0415 - seconds

        if (run := self._runs.get(i)) is not None:
            line = self._metrics.setdefault(run.info.run_id, [])
            line += [Metric(as_key(k), float(v), ms, step) for k, v in metrics.items() if math.isfinite(v)]

    def _flush(self) -> None:
        assert self._client is not None
        for run, metrics in self._metrics.items():
            for start in range(0, len(metrics), _MOST_METRICS):
                self._client.log_batch(run, metrics=metrics[start : start + _MOST_METRICS])
        self._metrics.clear()

    def _result(self, i: int) -> None:
        """A finished fit: its numbers, its files, and that it ended, in that order."""
        run, metadata = self._runs[i], self._done[i]
        assert self._client is not None
        assert run is not None
        folder, number = self.place.results / metadata["folder"], run.info.run_id
        ms = int((folder / "metadata.json").stat().st_mtime * 1000)
        # Least squares have no course: MLflow compares by name.
        course = self.folder / COURSE
        bare = {} if course.exists() and course.stat().st_size else _as_chunk(metadata)
        self._client.update_run(number, name=folder.name)
        self._log(i, 0, ms, _final(metadata) | bare)
        self._flush()
        for file in sorted(folder.iterdir()):
            if file.is_file():
                self._client.log_artifact(number, str(file), "figures" if file.suffix in {".png", ".svg"} else None)
        ok = bool(metadata.get("ok"))
        self._client.set_tag(number, "t1djax.ok", str(ok).lower())
        self._client.set_tag(number, "t1djax.folder", folder.name)
        self._client.set_terminated(number, "FINISHED" if ok else "FAILED", end_time=ms)
        self._runs[i] = self._client.get_run(number)
        self.sent += 1

    def _end(self, info: RunInfo) -> None:
        assert self._client is not None
        assert self.parent is not None
        text, rows = io.StringIO(), []
        for i, metadata in sorted(self._done.items()):
            patient, seed = info.rows[i]
            head = {"patient": patient, "seed": seed, "ok": bool(metadata.get("ok")), "folder": metadata["folder"]}
            rows.append(head | _final(metadata))
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        if (whole := self._runs.get(WHOLE)) is not None:
            self._client.log_text(whole.info.run_id, text.getvalue(), "summary.csv")
            self._client.set_terminated(whole.info.run_id, "FINISHED")
        self._client.log_text(self.parent, text.getvalue(), f"summary/{as_key(info.name)}.csv")
        self._client.set_terminated(self.parent, "FINISHED")
        self._client.set_tag(self.parent, f"{self._tag(info)}.complete", str(len(info.rows)))
        self.complete = True


def _metadata(folder: Path) -> dict[str, Any] | None:
    try:
        metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
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
    """The estimates under the names that chunks give them."""
    found: dict[str, Any] = {}
    for symbol, entry in metadata.get("estimates", {}).items():
        found |= {f"estimate_{symbol}": entry["value"], f"error_percent_{symbol}": entry["error_percent"]}
    return {k: float(v) for k, v in found.items() if isinstance(v, int | float)}
