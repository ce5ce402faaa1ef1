"""A workspace of four people made by the real commands."""

import contextlib
import dataclasses
import json
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

import t1djax
from t1djax.privacy._plan import Task

from .command import done

GONE, ALIKE, OTHERS = "Quixote7", "Quixote77", ("Sancho-11", "Dulcinea")
"""Who is removed; who has a name that begins alike; and the rest."""
NAMES = (OTHERS[0], GONE, OTHERS[1], ALIKE)
STAGES = [
    {"trains": "joint", "steps": 100, "optimizer": "adam", "learning_rate": 0.01, "residual_weight": [100.0, 100.0]}
]
"""Two chunks."""
NETWORK = {"width": 3, "depth": 1, "cell_min": 240.0, "stages": STAGES}


def write_people(folder: Path) -> t1djax.Cohort:
    """Four people with noisy readings and names of their own, in a folder of data."""
    noisy = lambda seed: t1djax.reference_cohort(
        interval_min=30, names=["Pat2", "Pat3"], noise=t1djax.WhiteNoise(5.0), key=jax.random.key(seed)
    )
    people = tuple(dataclasses.replace(p, name=n) for p, n in zip([*noisy(0), *noisy(1)], NAMES, strict=True))
    t1djax.write_cohort(t1djax.Cohort(people), folder)
    return t1djax.read_cohort(folder)


def sweep(root: Path, *flags: object) -> Path:
    """A sweep of the equations, with the patients named, so that everybody's configuration names all."""
    config = root / "other" / "sweep.yaml"
    config.parent.mkdir()
    content = {"models": ["ode"], "data": str(root / "data"), "patients": ",".join(NAMES)}
    config.write_text(json.dumps(content), encoding="utf-8")
    done("sweep", "--config", config, "--results", root / "results", "--json", *flags)
    return root / "results"


def snapshot(*roots: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {str(p): p.read_bytes() for root in roots for p in sorted(root.rglob("*")) if p.is_file()}


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


class Killed(BaseException):
    """Stands for a process that ends at once."""


@contextlib.contextmanager
def killed_after(steps: int) -> Iterator[None]:
    """A removal that ends after so many steps, or by itself."""
    whole, left = Task.take, iter(range(steps))

    def take(self: Task) -> object:
        if next(left, None) is None:
            raise Killed
        return whole(self)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(Task, "take", take)
        yield


def import_mlflow() -> None:
    """Without what it warns of itself; skips where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mlflow")
        pytest.importorskip("mlflow.pyfunc.model")
