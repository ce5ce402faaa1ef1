"""A run of a results folder as MLflow shows it: sent as far as it is not there. Sending twice changes nothing."""

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np

from ..io import as_cell
from ..records import RunInfo
from ._client import Place, pages
from ._course import COURSE, Chunk, Fit, errors, read_course, read_info, results_id
from ._names import as_key, as_tag, experiment_name, params, parent_key, row_key, row_name
from ._tracker import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

WHOLE = ("", -1)  # the fit that stands for a program whose patients are too many for runs of their own
_QUANTILES = {"median": 0.5, "p05": 0.05, "p95": 0.95}
_MOST_METRICS, _MOST_PARAMS, _BATCH_BYTES = 1000, 100, 2_000_000
_ENDED = ("FINISHED", "FAILED")
_COMPARED = re.compile(r"rmse_|final_.*_error_percent$")


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
        self._client: Any = None
        self._offset = 0
        self._runs: dict[Fit, Run] = {}
        self._results: dict[str, dict[str, Any] | None] = {}
        self._blocks: dict[int, dict[str, np.ndarray]] = {}
        self.lock = filelock.FileLock(folder / f"lock.{hashlib.sha256(place.uri.encode()).hexdigest()[:8]}", timeout=0)
        """Held by who sends this run to this MLflow."""

    def look(self, client: "MlflowClient", *, make: bool = True) -> RunInfo | None:
        """Find the run in MLflow, and how far it was sent; None where nothing can be sent."""
        info, course = read_info(self.folder), self.folder / COURSE
        self.left = course.stat().st_size if course.exists() else 0
        if info is not None and (client is not self._client or not self._runs):
            self._client = client
            self._find(info, make)
        if info is None or self.parent is None:
            self.left = 0 if self.skipped else self.left
            return None
        self._offset = self._offset if self._offset <= self.left else 0  # of another course of this name
        self.left -= self._offset
        return info

    def send(self, client: "MlflowClient", *, live: bool = False) -> bool:
        """Send a batch of the course and all results that are not there; whether something of the course is left.

        In a run that is under way (`live`), what was said to be killed runs again.

        Raises:
            Exception: whatever MLflow, a driver or a store raises. Nothing is lost: call again.
        """
        try:
            if (info := self.look(client)) is None:
                return False
            done = self._done(info)
            self._begin(info, done, live)
            chunks, end = read_course(self.folder, self._offset, _BATCH_BYTES)
            self._log((fit, c.step, c.ms, row) for c in chunks for fit, row in self._shown(info, c))
            self.sent += len(chunks)
            for fit, metadata in done.items():
                if (run := self._runs.get(fit)) is not None and not _has(run, metadata):
                    self._result(fit, run, metadata)
            if len(done) == len(info.rows) and not self.complete:
                self._end(info, done)
            if end != self._offset:
                client.set_tag(str(self.parent), self._tag(info), str(end))
                self._offset = end
            self.look(client)
            return bool(chunks) and self.left > 0
        except BaseException:
            self._runs.clear()  # what fails in the middle is looked up again
            raise

    def killed(self, client: "MlflowClient") -> None:
        """Say of runs that never ended that their process is gone."""
        for run in self._runs.values():
            if run.info.status == "RUNNING":
                client.update_run(run.info.run_id, status="KILLED")
        if self.parent is not None:
            client.update_run(self.parent, status="KILLED")

    @staticmethod
    def _tag(info: RunInfo) -> str:
        return as_key(f"t1djax.course.{info.name}")

    def _find(self, info: RunInfo, make: bool) -> None:
        """Look up the runs of the program, and make those that are not there."""
        from mlflow.entities import ViewType  # noqa: PLC0415 - seconds

        self.skipped, self.parent, self._runs, self._blocks = 0, None, {}, {}
        experiment = self._experiment(experiment_name(info.model, info.mode), make)
        if experiment is None:
            return
        query = f"tags.`t1djax.results` = '{results_id(self.place.results)}'"
        runs = pages(lambda t: self._client.search_runs([experiment], query, ViewType.ALL, 1000, page_token=t))
        # A call that was repeated in the transport may have made one twice; deleted ones count too.
        better = lambda run: (run.info.lifecycle_stage == "deleted", not run.data.metrics, run.info.start_time)
        there: dict[str, Run] = {}
        for one in sorted(runs, key=lambda run: (*better(run), run.info.run_id)):
            there.setdefault(one.data.tags["t1djax.run"], one)
        common = {"t1djax.results": results_id(self.place.results), "t1djax.model": info.model,
                  "t1djax.mode": info.mode, "mlflow.source.name": "t1djax"}  # fmt: skip

        def run(key: str, name: str, tags: Mapping[str, str]) -> "Run | None":
            found = there.get(key)
            if found is None and make:
                ms = int(info.started.timestamp() * 1000)
                return self._client.create_run(experiment, ms, {**common, **tags, "t1djax.run": key}, name)
            deleted = found is not None and found.info.lifecycle_stage == "deleted"
            self.skipped += deleted
            return None if deleted else found

        if (parent := run(parent_key(info), info.sweep, {})) is None:
            return
        self.parent = parent.info.run_id
        self._offset = int(parent.data.tags.get(self._tag(info), "0"))
        self.complete = parent.data.tags.get(f"{self._tag(info)}.complete") == str(len(info.rows))
        common |= {"mlflow.parentRunId": self.parent, "t1djax.program": as_tag(info.name)}
        if len(info.rows) > info.most_children:
            wanted = {WHOLE: (as_tag(info.name), info.name, {})}
            for chunk in read_course(self.folder, 0, self._offset)[0] if self._offset else ():
                list(self._quantiles(info, chunk))
        else:
            tags = lambda fit: {"t1djax.patient": fit[0], "t1djax.seed": str(fit[1])}
            wanted = {fit: (row_key(info, fit), row_name(info, fit), tags(fit)) for fit in info.rows}
        found = {fit: run(*how) for fit, how in wanted.items()}
        self._runs = {fit: run for fit, run in found.items() if run is not None}

    def _experiment(self, name: str, make: bool) -> str | None:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - seconds

        found = self._client.get_experiment_by_name(name)
        if found is None and not make:
            return None
        if found is None:
            try:
                kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI shows training first
                return self._client.create_experiment(name, artifact_location=self.place.artifacts(name), tags=kind)
            except MlflowException as e:
                if e.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self._client.get_experiment_by_name(name)  # another process was first
        if found.lifecycle_stage == "deleted":
            raise TrackingError(
                f"experiment {name} was deleted; restore it: mlflow experiments restore -x {found.experiment_id}"
            )
        return found.experiment_id

    def _done(self, info: RunInfo) -> dict[Fit, dict[str, Any]]:
        """What the results of the run say of themselves; each folder is read once."""
        for entry in os.scandir(self.place.results):
            if entry.name not in self._results and not re.match(r"\.|.*\.partial$", entry.name):
                metadata = _metadata(Path(entry.path))
                if metadata is not None:
                    self._results[entry.name] = metadata if metadata.get("run") == info.name else None
        mine = [{**m, "folder": folder} for folder, m in self._results.items() if m is not None]
        fits = {(str(m.get("patient")), m.get("seed", -1)): m for m in mine}
        return {fit: fits[fit] for fit in info.rows if fit in fits}

    def _begin(self, info: RunInfo, done: Mapping[Fit, Mapping[str, Any]], live: bool) -> None:
        """What is known from the start; again where a run goes on, perhaps at another commit, on another device."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag  # noqa: PLC0415 - seconds

        stated = {as_key(k): str(v)[:5000] for k, v in info.tags.items()}
        stamp = hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:16]
        stated |= {"t1djax.began": stamp, "mlflow.source.git.commit": info.tags.get("git_commit", "")}
        config = [Param(k, v) for k, v in params(info.config).items()]
        inputs = []
        for d in info.data:
            source = json.dumps({"tags": {"data": d.name, "digest": d.digest}})
            profile = json.dumps({"patients": len(d.patients), "readings": d.readings})
            dataset = Dataset(d.name[:500], d.digest[:36], "code", source, profile=profile)
            inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", "training")]))
        parent = [] if self.complete else [(None, self._client.get_run(self.parent))]
        for fit, run in [*parent, *self._runs.items()]:
            number = run.info.run_id
            began = run.data.tags.get("t1djax.began") == stamp and not (live and run.info.status == "KILLED")
            if began or (fit in done and _has(run, done[fit])):
                continue
            self._client.update_run(number, status="RUNNING")
            # Params of the programs of one sweep differ, and a param cannot be changed: the parent has none.
            for start in range(0, 0 if fit is None else len(config), _MOST_PARAMS):
                self._client.log_batch(number, params=config[start : start + _MOST_PARAMS])
            if inputs:
                self._client.log_inputs(number, inputs)
            self._client.log_batch(number, tags=[RunTag(k, v) for k, v in stated.items() if v])
            if fit is not None:
                self._runs[fit] = self._client.get_run(number)

    def _shown(self, info: RunInfo, chunk: Chunk) -> Iterator[tuple[Fit, dict[str, float]]]:
        """What a chunk says of each fit, or of all of them together."""
        if len(info.rows) > info.most_children:
            yield from ((WHOLE, metrics) for metrics in self._quantiles(info, chunk))
            return
        columns = chunk.metrics | dict(errors(chunk.metrics, info, chunk.rows))
        yield from ((fit, {n: column[i] for n, column in columns.items()}) for i, fit in enumerate(chunk.rows))

    def _quantiles(self, info: RunInfo, chunk: Chunk) -> Iterator[dict[str, float]]:
        """Quantiles over all rows of a step, once all blocks of rows have come."""
        index, there = {row: i for i, row in enumerate(info.rows)}, {"": np.ones(len(chunk.rows))}
        at, full = [index[row] for row in chunk.rows], self._blocks.setdefault(chunk.step, {})
        for name, column in (there | chunk.metrics | dict(errors(chunk.metrics, info, chunk.rows))).items():
            full.setdefault(name, np.full(len(info.rows), np.nan))[at] = column
        if not np.isfinite(full[""]).all():
            return
        found = {}
        for name, column in self._blocks.pop(chunk.step).items():
            finite = column[np.isfinite(column)]
            if name and finite.size:
                values = np.quantile(finite, list(_QUANTILES.values()))
                found |= {f"{name}_{q}": float(v) for q, v in zip(_QUANTILES, values, strict=True)}
                if not name.startswith("estimate_"):
                    found[f"{name}_worst"] = float(finite.max())
            if name:
                found[f"{name}_not_finite"] = float(len(column) - finite.size)
        yield found

    def _log(self, rows: Iterable[tuple[Fit, int, int, Mapping[str, float]]]) -> None:
        """Send metrics of fits at a step; what is not finite stays out, because stores make numbers of it."""
        from mlflow.entities import Metric  # noqa: PLC0415 - seconds

        lines: dict[str, list[Metric]] = {}
        for fit, step, ms, metrics in rows:
            if (run := self._runs.get(fit)) is not None:
                line = [Metric(as_key(k), float(v), ms, step) for k, v in metrics.items() if math.isfinite(v)]
                lines.setdefault(run.info.run_id, []).extend(line)
        for number, line in lines.items():
            for start in range(0, len(line), _MOST_METRICS):
                self._client.log_batch(number, metrics=line[start : start + _MOST_METRICS])

    def _result(self, fit: Fit, run: "Run", metadata: Mapping[str, Any]) -> None:
        """A finished fit: its numbers, its files, and that it ended, in that order."""
        folder, number = self.place.results / metadata["folder"], run.info.run_id
        ms = int((folder / "metadata.json").stat().st_mtime * 1000)
        course = self.folder / COURSE
        final = _final(metadata)
        if not (course.exists() and course.stat().st_size):  # least squares have none: MLflow compares by name
            estimates = metadata.get("estimates", {}).items()
            also = {"estimate": "value", "error_percent": "error_percent"}
            final |= _numbers({f"{name}_{s}": entry[key] for s, entry in estimates for name, key in also.items()})
        self._client.update_run(number, name=folder.name)
        self._log([(fit, 0, ms, final)])
        for file in sorted(path for path in folder.iterdir() if path.is_file()):
            self._client.log_artifact(number, str(file), "figures" if file.suffix in {".png", ".svg"} else None)
        ok = bool(metadata.get("ok"))
        self._client.set_tag(number, "t1djax.ok", str(ok).lower())
        self._client.set_tag(number, "t1djax.folder", folder.name)
        self._client.set_terminated(number, "FINISHED" if ok else "FAILED", end_time=ms)
        self._runs[fit] = self._client.get_run(number)
        self.sent += 1

    def _end(self, info: RunInfo, done: Mapping[Fit, Mapping[str, Any]]) -> None:
        text = io.StringIO()
        rows = [{"patient": as_cell(patient), "seed": seed, "ok": bool(m.get("ok")), "folder": m["folder"], **_final(m)}
                for (patient, seed), m in done.items()]  # fmt: skip
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        if (whole := self._runs.get(WHOLE)) is not None:
            self._client.log_text(whole.info.run_id, text.getvalue(), "summary.csv")
            self._client.set_terminated(whole.info.run_id, "FINISHED")
        self._client.log_text(self.parent, text.getvalue(), f"summary/{as_key(info.name)}.csv")
        self._compared(info, rows)
        self._client.set_terminated(self.parent, "FINISHED")
        self._client.set_tag(self.parent, f"{self._tag(info)}.complete", str(len(info.rows)))
        self.complete = True

    def _compared(self, info: RunInfo, rows: Sequence[Mapping[str, Any]]) -> None:
        """On the parent: the cohort's median and worst, so that models of one cohort stand beside each other."""
        from mlflow.entities import Metric, Param  # noqa: PLC0415 - seconds

        files = [self.place.results / row["folder"] / "metadata.json" for row in rows]
        ms = max((int(file.stat().st_mtime * 1000) for file in files), default=0)  # the same when it is sent again
        of = "+".join(info.named) or info.mode
        metrics = []
        for name in dict.fromkeys(name for row in rows for name in row if _COMPARED.match(name)):
            sizes = [abs(row[name]) for row in rows if name in row]
            each = {"median": np.median(sizes), "worst": np.max(sizes)}
            metrics += [Metric(as_key(f"{of}/{name}_{which}"), float(v), ms, 0) for which, v in each.items()]
        params = [Param("model", info.model), Param("mode", info.mode)]
        for start in range(0, max(len(metrics), 1), _MOST_METRICS):
            part = metrics[start : start + _MOST_METRICS]
            self._client.log_batch(self.parent, metrics=part, params=params if start == 0 else [])


def _has(run: "Run", metadata: Mapping[str, Any]) -> bool:
    """Whether a run in MLflow has its result."""
    return run.data.tags.get("t1djax.folder") == metadata["folder"] and run.info.status in _ENDED


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
    return _numbers(found | {key: metadata.get(key) for key in ("wall_seconds", "compile_seconds")})


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}
