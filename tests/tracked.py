"""A training without the training: what a tracker is told, and what must then be found."""

import contextlib
import datetime as dt
import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from t1djax.records import ChunkMetrics, RunData, RunInfo
from t1djax.tracking import Tracker

STARTED = dt.datetime(2026, 11, 23, 11, 30)
TRUTH = {"P1": {"ksi": 200.0}, "P2": {"ksi": 100.0}}
STEPS = range(10, 60, 10)


def program(name: str = "pinn_inverse_ksi_20261123_113000", patients: Iterable[str] = ("P1", "P2"), **changes: Any):
    info = {
        "sweep": "sweep_20261123",
        "model": "pinn",
        "mode": "inverse",
        "named": ("ksi",),
        "rows": tuple((patient, seed) for patient in patients for seed in (0, 1)),
        "started": STARTED,
        "config": {"seed": 0, "network": {"width": 16, "stages": [{"steps": 60}]}, "long": "x" * 9000},
        "tags": {"git_commit": "c0ffee", "device": "cpu"},
        "truth": TRUTH,
        "data": (RunData("reference", "d1e5", ("P1", "P2"), 96),),
    }
    return RunInfo(name, **(info | changes))


def told(info: RunInfo, i: int, step: int) -> dict[str, float]:
    """What row `i` comes to at a step; the second row's data loss is no number at first, its G loss is infinite."""
    odd = i == 1 and step == STEPS[0]
    return {
        "loss_data": np.nan if odd else (i + 1) / step,
        "loss_G": np.inf if odd else 0.1 / step,
        "estimate_ksi": 150.0 + i + step / 7,
        "gradient_norm": 1e-9 * step,
    }


def chunk(info: RunInfo, rows: Sequence[tuple[str, int]], step: int) -> ChunkMetrics:
    index = {row: i for i, row in enumerate(info.rows)}
    columns = [told(info, index[row], step) for row in rows]
    column = lambda name: np.asarray([c[name] for c in columns])
    losses = {name: column(f"loss_{name}") for name in ("data", "G")}
    return ChunkMetrics(step, losses, {"ksi": column("estimate_ksi")}, column("gradient_norm"))


def write_folder(results: Path, info: RunInfo, row: tuple[str, int]) -> Path:
    folder = results / f"{info.model}_{info.mode}_{row[0]}_{'+'.join(info.named)}_20261123_113000-s{row[1]}"
    folder.mkdir(exist_ok=True)
    estimate = {"value": 199.0, "standard_error": 2.0, "error_percent": 0.5, "truth": 200.0, "initial": 150.0}
    metadata = {
        "run": info.name,
        "patient": row[0],
        "seed": row[1],
        "ok": row != ("P2", 1),
        "metrics": {"rmse_fit_mg_dL": 4.5, "rmse_forecast_mg_dL": None},
        "estimates": {"ksi": estimate},
        "derived": {},
        "wall_seconds": 12.5,
    }
    (folder / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    (folder / "config.yaml").write_text("seed: 0\n", encoding="utf-8")
    np.savez(folder / "predictions.npz", time_min=np.arange(3))
    (folder / "glucose.png").write_bytes(b"\x89PNG not really")
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "weights").write_bytes(b"x")
    return folder


def steps(tracker: Tracker, info: RunInfo, at: Iterable[int] = STEPS) -> None:
    for step in at:
        tracker.chunk(info.name, info.rows, chunk(info, info.rows, step))


def finish(tracker: Tracker, results: Path, info: RunInfo) -> None:
    for row in info.rows:
        tracker.result(info.name, row, write_folder(results, info, row))
    tracker.end(info.name)


def play(tracker: Tracker, results: Path, info: RunInfo) -> None:
    """A whole program."""
    tracker.begin(info)
    steps(tracker, info)
    finish(tracker, results, info)


def expected(info: RunInfo, at: Iterable[int] = STEPS) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """(patient-seed, metric) -> (step, value), of what was told and is finite, with the error in %."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for i, (patient, seed) in enumerate(info.rows):
        for step in at:
            row = told(info, i, step)
            row["error_percent_ksi"] = 100 * abs(row["estimate_ksi"] / TRUTH[patient]["ksi"] - 1)
            for name, value in row.items():
                if np.isfinite(value):
                    found.setdefault((f"{patient}-s{seed}", name), []).append((step, value))
    return found


class Stored(NamedTuple):
    """A run as the tables of the database have it."""

    id: str
    name: str
    status: str
    stage: str
    experiment: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, list[tuple[int, float, int]]]
    """Name -> (step, value, ms), by step."""
    inputs: int


def stored(ask: Any) -> list[Stored]:
    """All runs, by SQL alone; `ask` runs a query."""
    runs = []
    for run, name, status, stage, experiment in ask(
        "select run_uuid, r.name, status, r.lifecycle_stage, e.name from runs r join experiments e "
        "on r.experiment_id = e.experiment_id order by r.name, run_uuid"
    ):
        metrics: dict[str, list[tuple[int, float, int]]] = {}
        for key, step, value, ms in ask(
            f"select key, step, value, timestamp from metrics where run_uuid='{run}' order by key, step, timestamp"
        ):
            metrics.setdefault(key, []).append((step, value, ms))
        tags = dict(ask(f"select key, value from tags where run_uuid='{run}' and key not like 't1djax.course.%'"))
        params = dict(ask(f"select key, value from params where run_uuid='{run}'"))
        (inputs,) = ask(f"select count(*) from inputs where destination_id='{run}'")[0]
        runs.append(Stored(run, name, status, stage, experiment, tags, params, metrics, inputs))
    return runs


def in_folder(results: Path) -> list[Stored]:
    """The runs of the database that a results folder holds."""
    with contextlib.closing(sqlite3.connect(results / "mlflow.db")) as db:
        return stored(lambda query: db.execute(query).fetchall())


def courses(runs: Iterable[Stored], info: RunInfo) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """What `expected` gives, of a program's runs as they are stored."""
    return {
        (run.tags["t1djax.run"].rpartition("/")[2], key): [(step, value) for step, value, _ in course]
        for run in runs
        if run.tags.get("t1djax.program") == info.name
        for key, course in run.metrics.items()
        if key.startswith(("loss_", "estimate_", "error_percent_", "gradient_"))
    }
