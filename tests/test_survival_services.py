"""Sweeps that are killed, terminated, out of disk, on several devices and in several processes: real processes."""

import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from . import devices
from .outcomes import leftovers, outcome
from .services import free_port, wait_for

pytestmark = pytest.mark.services
ROOT = Path(__file__).resolve().parents[1]
KILLS, SEED = int(os.environ.get("T1DJAX_KILLS", "20")), 5
SWEEP = """
models: [ode, pinn]
patients: "2,3"
sensor: {interval_min: 30}
overrides:
  pinn:
    network:
      width: 16
      depth: 1
      time: {octaves: 4}
      cell_min: 60
      stages:
        - {steps: 500, optimizer: adam, learning_rate: 0.01, residual_weight: [100.0, 100.0]}
        - {steps: 12, residual_weight: [1.0, 1000.0]}
"""
"""16 chunks of the network's training, a checkpoint after each."""


class Place:
    """A folder to run in: all configurations are alike, as the results are `results` everywhere."""

    def __init__(self, folder: Path, cache: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.results = folder, folder / "results"
        (folder / "sweep.yaml").write_text(SWEEP)
        # Compiled programs are kept, so that what is killed and started again is mostly training and writing.
        self.env = os.environ | {
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        }

    def start(self, *flags: str, tracking: bool = False) -> subprocess.Popen[str]:
        track = "--tracking" if tracking else "--no-tracking"
        command = ["sweep", "--config", "sweep.yaml", "--no-figures", "--checkpoint-every", "1", track, *flags]
        return subprocess.Popen(
            [sys.executable, "-c", "from t1djax.cli import main; main()", *command],
            cwd=self.folder, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def done(self, *flags: str, tracking: bool = False) -> str:
        """Run to the end; what it said on the way."""
        out, err = (process := self.start(*flags, tracking=tracking)).communicate(timeout=500)
        assert process.returncode == 0, err
        return out + err

    def begun(self) -> bool:
        return (self.results / "sweep.json").exists()

    def states(self) -> list[Path]:
        return [path for path in self.results.glob(".runs/*/batch-*/*") if path.name.isdigit()]


class Whole:
    """The undisturbed sweep."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        Place(folder / "first", self.cache).done()  # compiles
        place = Place(folder / "whole", self.cache)
        process = place.start()
        wait_for(place.begun, "sweep.json")
        began = time.monotonic()
        _, err = process.communicate(timeout=500)
        assert process.returncode == 0, err
        self.seconds = time.monotonic() - began
        self.files, self.summary = outcome(place.results), summary(place.results)
        assert len(self.files) == 4
        assert not leftovers(place.results)
        assert self.files == outcome(folder / "first" / "results")

    def same(self, place: Place) -> None:
        assert outcome(place.results) == self.files
        assert summary(place.results) == self.summary
        assert not leftovers(place.results)


def summary(results: Path) -> list[dict[str, Any]]:
    rows = json.loads((results / "summary.json").read_text())["results"]
    return [{key: value for key, value in row.items() if key != "wall_seconds"} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def place(whole: Whole, tmp_path: Path) -> Place:
    return Place(tmp_path / "place", whole.cache)


def killed_after(place: Place, seconds: float, *, tracking: bool = False) -> bool:
    """Start, and kill so long after the sweep began; whether it was still at work."""
    process = place.start(tracking=tracking)
    until = time.monotonic() + 120
    while not place.begun() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("trial", range(KILLS))
def test_kill_at_a_random_moment(whole: Whole, place: Place, trial: int) -> None:
    moment = random.Random(SEED * 1000 + trial).uniform(0.0, 0.95) * whole.seconds
    at_work = killed_after(place, moment)
    at = sorted(int(path.name) for path in place.states())
    found = len(list(place.results.glob("*/metadata.json")))
    print(f"trial {trial}: killed {moment:.2f} s after it began ({whole.seconds:.2f} s in all; at work: {at_work}); "
          f"{found} results, checkpoints {at}")  # fmt: skip
    place.done()
    whole.same(place)


def test_kill_again_and_again(whole: Whole, place: Place) -> None:
    """Each start goes a little further."""
    moments = random.Random(SEED)
    kills = 0
    while killed_after(place, moments.uniform(0.1, 0.5) * whole.seconds) and kills < 8:
        kills += 1
    place.done()
    whole.same(place)
    print(f"{kills} kills")


def test_kill_while_tracking(whole: Whole, place: Place) -> None:
    pytest.importorskip("mlflow")
    assert killed_after(place, 0.6 * whole.seconds, tracking=True)
    place.done(tracking=True)
    whole.same(place)


def test_sigterm(whole: Whole, place: Place) -> None:
    process = place.start()
    wait_for(place.states, "the first checkpoint")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 143, err
    assert "error: training was stopped at step" in err
    assert "the same sweep again, goes on from there" in " ".join(err.split())
    assert place.states()
    place.done()
    whole.same(place)


@pytest.fixture
def little_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("a small file system needs root to be mounted")
    command = [mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"tmpfs cannot be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def fill(folder: Path, *, leave: int) -> Path:
    """A file that leaves so many bytes."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        file.write(b"x" * max(0, free - leave))
    return filler


@pytest.mark.parametrize(
    ("leave", "when"),
    [(0, "checkpoints"), (20_000, "checkpoints"), (40_000, "checkpoints"), (8_000, "start"), (4_000, "start")],
)
def test_full_disk(whole: Whole, little_disk: Path, leave: int, when: str) -> None:
    place = Place(little_disk, whole.cache)
    process = place.start()
    wait_for(place.states if when == "checkpoints" else place.begun, when, 300)
    filler = fill(little_disk, leave=leave)
    _, err = process.communicate(timeout=400)
    words = " ".join(err.split())
    print(words)
    assert process.returncode == 1, err
    assert err.splitlines()[-1].startswith("error: ")
    assert "ERROR:absl" not in err
    assert "results cannot be written" in words
    assert "No space left on device" in words
    finished = {folder.name: folder.stat().st_mtime_ns for folder in place.results.glob("*-s0")}
    if when == "checkpoints":
        assert "a checkpoint could not be written" in words
        assert sum(name.startswith("ode") for name in finished) == 2  # done before
    filler.unlink()
    place.done()
    whole.same(place)
    assert {name: (place.results / name).stat().st_mtime_ns for name in finished} == finished


def test_full_temporary_folder(whole: Whole, little_disk: Path, place: Place) -> None:
    """Nothing that a sweep needs goes through it."""
    fill(little_disk, leave=0)
    place.env |= {"TMPDIR": str(little_disk)}
    place.done(tracking=importlib.util.find_spec("mlflow") is not None)
    whole.same(place)


def test_clock_set_back_an_hour(whole: Whole, place: Place) -> None:
    """Between a kill and going on, and between two runs of one configuration."""
    found = importlib.util.find_spec("libfaketime")
    if found is None or found.origin is None:
        pytest.skip("libfaketime is not installed")
    assert killed_after(place, 0.5 * whole.seconds)
    before = json.loads((place.results / "sweep.json").read_text())["started"]
    place.env |= {"LD_PRELOAD": str(next(Path(found.origin).parent.rglob("libfaketime.so.1"))), "FAKETIME": "-1h",
                  "DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
    place.done()
    whole.same(place)
    config, cli = place.folder / "results" / "config.yaml", "from t1djax.cli import main; main()"
    first = next(place.results.glob("ode_*_Pat2_*"))
    shutil.copy(first / "config.yaml", config)
    command = [sys.executable, "-c", cli, "train", "--config", str(config), "--results", "results", "--no-figures"]
    subprocess.run(command, cwd=place.folder, env=place.env, check=True, capture_output=True)
    second = next(x for x in place.results.glob("ode_*_Pat2_*") if x != first)
    estimates = [json.loads((folder / "metadata.json").read_text()) for folder in (first, second)]
    assert estimates[0]["estimates"] == estimates[1]["estimates"]
    assert estimates[1]["started"] < before, "the clock was set back"


def test_truncated_latest_checkpoint(whole: Whole, place: Place) -> None:
    process = place.start()
    wait_for(lambda: len(place.states()) > 1, "checkpoints")
    process.kill()
    process.communicate()
    newest = max(place.states(), key=lambda path: int(path.name))
    for file in newest.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    said = " ".join(place.done().split())
    assert "this checkpoint is damaged" in said
    assert f"{newest.name}: this" in said
    whole.same(place)


def test_eight_devices_find_what_one_finds(tmp_path: Path) -> None:
    said: dict[int, Any] = {}
    for count in (1, 8):
        flags = f"--xla_force_host_platform_device_count={count} --xla_backend_optimization_level=0"
        done = subprocess.run(
            [sys.executable, devices.__file__, str(tmp_path / str(count))],
            env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags},
            check=False, capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said[count] = json.loads(done.stdout.splitlines()[-1])
    assert [each["devices"] for each in said.values()] == [1, 8]
    assert len(said[8]["programs"]) >= 7
    for name, (collectives, spread) in said[8]["programs"].items():
        assert not collectives, name
        # Each is on all eight, but for the simulation of the people beforehand and the reading of one number.
        assert spread or "_end_program" in name or "_propagate" in name, name
    alike(*(tmp_path / str(count) / "summary.csv" for count in (1, 8)))


def alike(*tables: Path) -> None:
    """The same numbers but for rounding."""
    one, other = (pd.read_csv(path) for path in tables)
    assert list(one["patient"]) == list(other["patient"])
    np.testing.assert_allclose(one["ksi"], other["ksi"], rtol=1e-7)
    np.testing.assert_allclose(one["rmse_forecast_mg_dL"], other["rmse_forecast_mg_dL"], rtol=1e-4, atol=1e-6)


def together(place: Place) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Two processes of one sweep."""
    port = str(free_port())
    flags = ("--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process")
    return place.start(*flags, "0"), place.start(*flags, "1")


def test_two_processes_share_a_sweep(whole: Whole, place: Place) -> None:
    for process in together(place):
        _, err = process.communicate(timeout=500)
        assert process.returncode == 0, err
    assert not leftovers(place.results)
    assert [row["patient"] for row in summary(place.results)] == [row["patient"] for row in whole.summary]
    for mine, theirs in zip(summary(place.results), whole.summary, strict=True):
        assert mine["ksi"] == pytest.approx(theirs["ksi"], rel=1e-7)
        assert mine["rmse_forecast_mg_dL"] == pytest.approx(theirs["rmse_forecast_mg_dL"], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_dead_peer_ends_the_other_with_a_message(whole: Whole, place: Place, victim: int) -> None:
    both = together(place)
    wait_for(place.states, "the first checkpoint")
    both[victim].kill()
    began = time.monotonic()
    _, err = both[1 - victim].communicate(timeout=300)
    both[victim].communicate()
    print(f"ended {time.monotonic() - began:.1f} s after its peer\n{err[-1500:]}")
    # JAX itself may end the process before the library can.
    says = {1: "error: another process of this sweep is gone", -signal.SIGABRT: "another task died"}
    assert says[both[1 - victim].returncode] in " ".join(err.split())
    assert time.monotonic() - began < 180  # JAX gives a silent process 100 s
    for process in together(place):
        _, err = process.communicate(timeout=500)
        assert process.returncode == 0, err
    assert len(outcome(place.results)) == 4
    assert not leftovers(place.results)
