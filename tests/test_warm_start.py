"""Fits that start from earlier ones, and the networks in result folders."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

import t1djax
from t1djax.config import ConfigError
from t1djax.io import CHECKPOINTS, CheckpointError

from .command import TINY, done, refused

# Wide enough to follow the equations: the estimates are then those of least squares.
SMALL = t1djax.PINNOptions(width=96, cell_min=30.0)
LAST = [t1djax.Stage(steps=2, residual_weight=(1000.0, 1000.0))]


@functools.cache
def people() -> t1djax.Cohort:
    return t1djax.reference_cohort(
        interval_min=30, noise=t1djax.WhiteNoise(10.0), key=jax.random.key(3), names=["Pat2", "Pat3"]
    )


def until(person: t1djax.Patient, end_min: float) -> t1djax.Patient:
    kept = person.time_min <= end_min
    return dataclasses.replace(person, time_min=person.time_min[kept], glucose_mg_dL=person.glucose_mg_dL[kept])


def ksi(fit: t1djax.Fit) -> np.ndarray:
    return np.array([f.estimates["ksi"].value for f in fit])


@functools.cache
def cold() -> t1djax.Fit:
    return t1djax.fit(people(), options=SMALL)


def test_the_same_data_has_converged_already():
    warm = t1djax.records.WarmStart.of(cold())
    again = t1djax.fit(people(), options=SMALL, warm_start=warm, stages=LAST)
    np.testing.assert_array_equal([f.estimates["ksi"].initial for f in again], again.history.values["ksi"][0])
    np.testing.assert_allclose(again.history.values["ksi"][0], ksi(cold()), rtol=1e-12)
    np.testing.assert_allclose(ksi(again), ksi(cold()), rtol=1e-6)
    # Its network said the same from the start: the first loss is the last one.
    np.testing.assert_allclose(again.history.losses["data"][0], cold().history.losses["data"][-1], rtol=1e-6)
    assert again.problem.notes[-1] == "starts from the earlier fit: ksi, G0, the networks"


@pytest.mark.slow
def test_a_longer_record_takes_half_of_the_steps():
    short = t1djax.fit([until(p, 2000.0) for p in people()], options=SMALL)
    longer = t1djax.fit(people(), options=SMALL, warm_start=t1djax.records.WarmStart.of(short))
    assert longer.history.step[-1] == cold().history.step[-1] // 2
    np.testing.assert_array_equal(longer.history.values["ksi"][0], ksi(short))
    np.testing.assert_allclose(ksi(longer), ksi(cold()), rtol=1e-4)


@pytest.mark.slow
def test_least_squares_take_fewer_steps():
    free = ["ksi", "kl"]
    begin = t1djax.fit([until(p, 2000.0) for p in people()], model="ode", free=free)
    one = t1djax.inference.LeastSquares(starts=1)
    first = t1djax.fit(people(), model="ode", free=free, options=one)
    second = t1djax.fit(people(), model="ode", free=free, options=one, warm_start=t1djax.records.WarmStart.of(begin))
    np.testing.assert_allclose(ksi(second), ksi(first), rtol=1e-6)
    assert second.history.step[-1] < first.history.step[-1]


def test_what_begins_elsewhere_starts_with_its_own_glucose():
    person = people()["Pat2"]
    same = dataclasses.replace(person, known={k: v for k, v in person.known.items() if k != "G0"})
    begin = t1djax.fit([same], model="ode")
    warm = t1djax.records.WarmStart.of(begin)
    later = dataclasses.replace(same, time_min=same.time_min[9:], glucose_mg_dL=same.glucose_mg_dL[9:])
    starts = [t1djax.fit([p], model="ode", warm_start=warm)["Pat2"].estimates["G0"].initial for p in (same, later)]
    assert starts[0] == pytest.approx(begin["Pat2"].estimates["G0"].value)
    assert starts[1] == pytest.approx(float(later.glucose_mg_dL[0]))


def test_refusals():
    warm = t1djax.records.WarmStart.of(cold())
    with pytest.raises(ValueError, match=r"width=96.*width=9"):
        t1djax.fit(people(), options=dataclasses.replace(SMALL, width=9), warm_start=warm)
    with pytest.raises(ValueError, match=r"pinn.*Pat4.*Pat2, Pat3"):
        t1djax.fit(t1djax.reference_cohort(interval_min=30, names=["Pat4"]), options=SMALL, warm_start=warm)
    with pytest.raises(ValueError, match=r"pinn.*ode"):
        t1djax.fit(people(), model="ode", warm_start=warm)
    with pytest.raises(ConfigError):
        t1djax.load_experiment(None, {"members": 2, "warm_start": "results"})


def test_other_parameters_than_those_that_were_estimated_are_warned_of():
    warm = t1djax.records.WarmStart.of(t1djax.fit(people(), model="ode", free=["ksi"]))
    with pytest.warns(t1djax.DataWarning, match=r"ksi.*kl"):
        t1djax.fit(people(), model="ode", free=["kl"], warm_start=warm)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of a small network of two people, one at a time, and its configuration."""
    root = tmp_path_factory.mktemp("warm")
    (root / "tiny.yaml").write_text(TINY, encoding="utf-8")
    args = ("train", "--config", root / "tiny.yaml", "--interval-min", "30", "--no-figures", "--json")
    return root, args, [done(*args, "--patients", n, "--results", root / "first").json for n in "23"]


def test_the_restored_network_says_what_was_written(results):
    for folder in (folder for one in results[2] for folder in one["folders"]):
        saved = t1djax.load_twins(f"{folder}/{CHECKPOINTS}")
        shown = t1djax.read_result(t1djax.find_results([results[0] / "first"])[0].parent / folder)
        with jax.enable_x64(True):
            time = jax.numpy.asarray(shown.predictions["time_min"])
            states = np.asarray(jax.jit(jax.vmap(lambda twin, time=time: twin.states(time)))(saved.twins))[0]
        np.testing.assert_allclose(states[:, 0], shown.predictions["glucose_mg_dL"], rtol=1e-9)
        assert saved.names == (shown.metadata["patient"],)
        value = float(saved.twins.physiology.values()["ksi"][0])
        assert value == pytest.approx(shown.metadata["estimates"]["ksi"]["value"], rel=1e-12)


@pytest.mark.slow
def test_a_recurrent_network_of_the_shorter_record_is_restored(tmp_path):
    """The steps of its rollout follow from the longest record of those that trained together."""
    first, second = people()
    fit = t1djax.fit([first, until(second, 1800.0)], options=t1djax.BIRNNOptions(units=4, step_min=60, cell_min=60))
    saved = t1djax.load_twins(t1djax.save_twins(fit.take([1]), tmp_path / "twins"))
    with jax.enable_x64(True):
        time = jax.numpy.asarray(fit["Pat3"].time_min)
        states = np.asarray(jax.vmap(lambda twin: twin.states(time))(saved.twins))[0]
    np.testing.assert_allclose(states[:, 0], fit["Pat3"].glucose_mg_dL, rtol=1e-9)


def test_from_a_folder(results, tmp_path):
    root, args, (_, before) = results
    said = done(*args, "--patients", "3", "--warm-start", root / "first", "--results", tmp_path / "second").json
    assert said["patients"][0]["ksi"] == pytest.approx(before["patients"][0]["ksi"], rel=1e-5)
    found = t1djax.read_result(t1djax.find_results([tmp_path / "second"])[0])
    assert found.metadata["estimates"]["ksi"]["initial"] == pytest.approx(before["patients"][0]["ksi"], rel=1e-12)
    assert found.metadata["config"]["warm_start"] == str(root / "first")
    assert "starts from" in found.metadata["notes"][-1]


def test_folders_that_do_not_fit(results, tmp_path):
    root, args, _ = results
    train = lambda *more: refused(more[0], *args, "--results", tmp_path / "no", *more[1:])
    assert "holds no pinn result of Pat4" in train(3, "--patients", "3,4", "--warm-start", root / "first")
    wider = root / "wider.yaml"
    wider.write_text(TINY.replace("width: 16", "width: 17"), encoding="utf-8")
    said = refused(3, "train", "--config", wider, "--patients", "3", "--interval-min", "30", "--warm-start",
                   root / "first", "--results", tmp_path / "no")  # fmt: skip
    assert "was trained with other options (network.width: 16, not 17); give those it was trained with" in said
    assert "no such results folder" in train(3, "--warm-start", tmp_path / "nowhere")
    done(*args, "--patients", "3", "--results", root / "twice", "--seed", "1")
    done(*args, "--patients", "3", "--results", root / "twice", "--seed", "2")
    assert "holds several pinn results of Pat3" in train(3, "--patients", "3", "--warm-start", root / "twice")
    with pytest.raises(CheckpointError):
        t1djax.io.read_warm_start(root / "first", model="pinn", options=SMALL)
    with pytest.raises(t1djax.io.ResultError, match="birnn"):
        t1djax.io.read_warm_start(root / "first", model="birnn")
