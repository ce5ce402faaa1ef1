"""Results on disk: names, uniqueness, whole or not at all, exact contents, and clear errors on reading."""

import dataclasses
import datetime as dt
import json
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import t1djax
from t1djax.io import find_results, read_result, run_name, write_results

STARTED = dt.datetime(2026, 1, 31, 9, 5, 7, tzinfo=dt.UTC)
KNOWN = {"ksi": 200.0, "kl": 1.9, "kb": 1.5, "Tu": 90.0, "ku_Vi": 0.06, "Tr": 60.0, "kr_Vb": 0.002, "G0": 120.0}
ROWS = 41
METADATA = {
    "format", "format_version", "model", "mode", "patient", "named_parameters", "seed", "started", "ok", "outcome",
    "message", "config", "notes", "assumed", "known", "estimates", "derived", "doubts", "metrics", "wall_seconds",
    "compile_seconds", "patients_in_the_program", "versions", "device", "run", "data",
}  # fmt: skip


def cohort() -> t1djax.Cohort:
    time = 5.0 * np.arange(ROWS)
    doses = t1djax.Doses.of(basal=0.9, boluses=[(10, 2.0)], meals=[(10, 20.0)])
    glucose = 120 + 20 * np.sin(time / 50)
    glucose[7] = np.nan
    people = [t1djax.Patient(name, time, glucose + i, doses, dict(KNOWN)) for i, name in enumerate(("Ada", "Bob"))]
    truth = t1djax.Truth(KNOWN, glucose + 0.5, {})
    return t1djax.Cohort(tuple(people), {"Ada": truth})


def fit_of(people: t1djax.Cohort, mode: Any = "inverse", free: tuple[str, ...] = ("ksi", "Tu")) -> t1djax.Fit:
    """A fit made by hand: the numbers are what is stored, not what is estimated."""
    problem = t1djax.pose(people.patients, mode=mode, free=free, key=jax.random.key(1))
    records = tuple(
        t1djax.PatientFit(
            patient=p,
            outcome=t1djax.Outcome.converged,
            estimates={s: t1djax.Estimate(problem.known.get(s, problem.start[s])[i] + 0.25, 90.0, 0.125) for s in free},
            derived={"p1": t1djax.Estimate(12.0, 11.0, float("nan"))} if free else {},
            glucose_mg_dL=p.time_min + i,
            states={"insulin_U_dL": p.time_min * 1e-6, "digestion_mg_dL_min": p.time_min * 1e-2},
            residuals={
                "residual_G_mg_dL_min": p.time_min * 1e-5,
                "residual_I_U_dL_min": p.time_min * 1e-8,
                "residual_D_mg_dL_min2": p.time_min * 1e-7,
            },
        )
        for i, p in enumerate(people)
    )
    values = {s: np.array([[100.0, 101.0], [110.0, 111.0], [120.0, 121.0]]) for s in free}
    history = t1djax.records.History(np.array([0, 2, 4]), values, {"data": np.ones((3, 2))})
    return t1djax.Fit("ode", problem, records, history, t1djax.records.Cost(1.5, 2.25))


def write(root: Path, fit: t1djax.Fit | None = None, **other: Any) -> list[Path]:
    return [result.folder for result in written(root, fit, **other)]


def written(root: Path, fit: t1djax.Fit | None = None, *, seed: int = 3, **other: Any) -> list[t1djax.records.Result]:
    people = cohort()
    fit = fit_of(people) if fit is None else fit
    return write_results(
        root,
        fit,
        recovered={f.name: t1djax.evaluation.recovery(f, people.truth.get(f.name)) for f in fit},
        scores={f.name: t1djax.metrics(f, truth=people.truth.get(f.name)) for f in fit},
        config={"model": "ode", "seed": seed, "nested": {"bad": float("inf")}},
        seed=seed,
        started=STARTED,
        **other,
    )


def test_names_of_folders():
    name = lambda **kw: run_name(**({"model": "pinn", "mode": "inverse", "patient": "Pat3", "named": ["ksi"],
                                     "started": STARTED, "seed": 0} | kw))  # fmt: skip
    assert name() == "pinn_inverse_Pat3_ksi_20260131_090507-s0"
    assert name(named=["ksi", "Tu", "kr_Vb"]) == "pinn_inverse_Pat3_ksi+Tu+kr_Vb_20260131_090507-s0"
    assert name(mode="forward", named=[], seed=12) == "pinn_forward_Pat3_20260131_090507-s12"


def test_folders_bear_their_names_and_hold_their_files(tmp_path):
    folders = write(tmp_path / "new" / "results")
    assert [f.name for f in folders] == [f"ode_inverse_{p}_ksi+Tu_20260131_090507-s3" for p in ("Ada", "Bob")]
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {
            "metadata.json", "config.yaml", "predictions.npz", "parameter_evolution_ksi.npz",
            "parameter_evolution_Tu.npz",
        }  # fmt: skip
    people = cohort()
    (forward, _) = write(tmp_path / "f", fit_of(people, "forward", ()))
    assert forward.name == "ode_forward_Ada_20260131_090507-s3"
    assert {path.name for path in forward.iterdir()} == {"metadata.json", "config.yaml", "predictions.npz"}


def test_nothing_is_overwritten(tmp_path):
    first = write(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob("*/*")}
    second, third = write(tmp_path), write(tmp_path)
    assert [f.name for f in second] == [f"{f.name}-2" for f in first]
    assert [f.name for f in third] == [f"{f.name}-3" for f in first]
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len(find_results([tmp_path])) == 6


def test_concurrent_writers_never_share_a_folder(tmp_path):
    people = cohort()
    fit = fit_of(people)
    gate, written, errors = threading.Barrier(4), [], []

    def writer() -> None:
        gate.wait()
        try:
            for _ in range(5):
                written.extend(write(tmp_path, fit))
        except Exception as e:  # a thread's failure would go unseen
            errors.append(e)

    threads = [threading.Thread(target=writer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(written)) == len(written) == 40
    assert sorted(tmp_path.iterdir()) == sorted(written)  # and nothing partial is left
    assert all(read_result(folder).metadata["patient"] in folder.name for folder in written)


def test_a_name_claimed_by_a_crash_is_passed_over(tmp_path):
    name = "ode_inverse_Ada_ksi+Tu_20260131_090507-s3"
    (tmp_path / f"{name}.partial").mkdir()
    assert write(tmp_path)[0].name == f"{name}-2"


def test_a_crash_leaves_earlier_folders_whole_and_a_partial_one(tmp_path):
    def draw(result: t1djax.records.Result) -> None:
        assert result.folder.name.endswith(".partial")
        assert (result.folder / "metadata.json").is_file()
        if result.metadata["patient"] == "Bob":
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, draw=draw)
    ada = "ode_inverse_Ada_ksi+Tu_20260131_090507-s3"
    bob = tmp_path / "ode_inverse_Bob_ksi+Tu_20260131_090507-s3.partial"
    assert sorted(p.name for p in tmp_path.iterdir()) == [ada, bob.name]
    assert find_results([tmp_path]) == [tmp_path / ada]
    assert read_result(tmp_path / ada).metadata["patient"] == "Ada"
    with pytest.raises(t1djax.io.ResultError):
        find_results([bob])


def test_metadata_holds_what_it_documents(tmp_path):
    folder, other = write(tmp_path)
    text = (folder / "metadata.json").read_text(encoding="utf-8")
    m = json.loads(text, parse_constant=lambda x: pytest.fail(f"{x} is no JSON"))
    assert set(m) == METADATA
    assert (m["format"], m["format_version"]) == ("t1djax.result", 1)
    assert (m["model"], m["mode"], m["patient"], m["seed"], m["ok"]) == ("ode", "inverse", "Ada", 3, True)
    assert m["named_parameters"] == ["ksi", "Tu"]
    assert dt.datetime.fromisoformat(m["started"]) == STARTED
    assert m["config"] == {"model": "ode", "seed": 3, "nested": {"bad": None}}
    assert (m["wall_seconds"], m["compile_seconds"], m["patients_in_the_program"]) == (3.75, 1.5, 2)
    assert set(m["estimates"]) == {"ksi", "Tu"}
    for entry in (*m["estimates"].values(), *m["derived"].values()):
        flags = {"prior_dominated", "at_bound", "white_error", "c_assumed", "undetermined"}
        assert set(entry) == {"value", "initial", "standard_error", "truth", "error_percent"} | flags
    ksi = m["estimates"]["ksi"]
    assert ksi["truth"] == 200.0
    assert ksi["error_percent"] == pytest.approx(100 * abs(ksi["value"] - 200) / 200)
    assert m["derived"]["p1"]["truth"] == pytest.approx(12.0)
    assert m["derived"]["p1"]["standard_error"] is None  # NaN
    for s in ("fit", "held_out", "forecast"):
        assert {f"rmse_{s}_mg_dL", f"mae_{s}_mg_dL", f"mard_{s}_percent", f"rmse_true_{s}_mg_dL"} <= set(m["metrics"])
    assert {"max_abs_residual_G_mg_dL_min", "max_abs_residual_I_U_dL_min"} <= set(m["metrics"])
    assert m["known"]["kl"] == 1.9
    assert {"t1djax", "jax", "equinox", "python"} <= set(m["versions"])
    assert m["device"]["platform"] == jax.devices()[0].platform
    bob = read_result(other).metadata
    assert bob["estimates"]["ksi"]["truth"] is None
    assert bob["estimates"]["ksi"]["error_percent"] is None
    assert not any("true" in key for key in bob["metrics"])


def test_what_is_written_is_what_is_read(tmp_path):
    """Whoever writes results needs not read them: the records are those of the files, missing numbers too."""
    people = cohort()
    failed = dataclasses.replace(fit_of(people)["Bob"], glucose_mg_dL=np.full(ROWS, np.nan))
    fit = dataclasses.replace(fit_of(people), patients=(fit_of(people)["Ada"], failed))
    for mine in written(tmp_path, fit):
        theirs = read_result(mine.folder)
        assert mine.metadata == theirs.metadata
        for arrays, stored in (
            (mine.predictions, theirs.predictions),
            *((mine.evolution[s], theirs.evolution[s]) for s in mine.evolution),
        ):
            assert set(arrays) == set(stored)
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, stored[name])


def test_arrays_are_stored_exactly_on_the_rows_of_the_data(tmp_path):
    people = cohort()
    fit = fit_of(people)
    for folder, f, p in zip(write(tmp_path, fit), fit, people, strict=True):
        r = read_result(folder)
        masks = p.masks
        wanted = {
            "time_min": p.time_min, "observed_mg_dL": p.glucose_mg_dL,
            "mask_fit": masks.fit, "mask_held_out": masks.held_out, "mask_forecast": masks.forecast,
    "glucose_mg_dL": f.glucose_mg_dL, **f.states, **f.residuals,
        }  # fmt: skip
        for name, times, amounts in (
            ("bolus_U", p.doses.bolus_time_min, p.doses.bolus_U), ("carbs_g", p.doses.meal_time_min, p.doses.carbs_g)
        ):  # fmt: skip
            wanted[name] = np.zeros(ROWS)
            for time, amount in zip(times, amounts, strict=True):
                if time >= p.time_min[0]:
                    wanted[name][np.flatnonzero(p.time_min <= time)[-1]] += amount
        assert set(r.predictions) == set(wanted)
        for name, array in wanted.items():
            assert r.predictions[name].shape == (ROWS,)
            assert r.predictions[name].dtype == array.dtype
            np.testing.assert_array_equal(r.predictions[name], array)
        assert np.isnan(r.predictions["observed_mg_dL"][7])
        assert not any(r.predictions[f"mask_{s}"][7] for s in ("fit", "held_out", "forecast"))


def test_evolution_of_each_parameter(tmp_path):
    ada, bob = (read_result(folder) for folder in write(tmp_path))
    assert list(ada.evolution) == ["Tu", "ksi"]
    assert ada.evolution["ksi"]["step"].tolist() == [0, 2, 4]
    assert ada.evolution["ksi"]["value"].tolist() == [100.0, 110.0, 120.0]
    assert float(ada.evolution["ksi"]["truth"]) == 200.0
    assert bob.evolution["ksi"]["value"].tolist() == [101.0, 111.0, 121.0]
    assert set(bob.evolution["ksi"]) == {"step", "value"}


def test_a_patient_who_failed_is_written_too(tmp_path):
    people = cohort()
    fit = fit_of(people)
    bad = dataclasses.replace(fit["Bob"], outcome=t1djax.Outcome.far_off, glucose_mg_dL=np.full(ROWS, np.nan))
    _, folder = write(tmp_path, dataclasses.replace(fit, patients=(fit["Ada"], bad)))
    m = read_result(folder).metadata
    assert (m["ok"], m["outcome"], m["message"]) == (False, "far_off", t1djax.Outcome.far_off.value)
    assert m["metrics"]["rmse_fit_mg_dL"] is None


def test_find_results_takes_runs_and_folders_of_runs_once_each(tmp_path):
    folders = write(tmp_path / "a") + write(tmp_path / "b")
    assert find_results([tmp_path / "a", folders[0], tmp_path / "b"]) == folders
    assert find_results([folders[3]]) == [folders[3]]
    (tmp_path / "a" / "notes").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("mine")
    assert find_results([tmp_path / "a"]) == folders[:2]


@pytest.mark.parametrize("name", ["nowhere", "file", "empty"])
def test_find_results_names_what_holds_none(tmp_path, name):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(t1djax.io.ResultError, match=name):
        find_results([tmp_path / name])


def _metadata(change: dict[str, Any], drop: str | None = None) -> Any:
    def alter(folder: Path) -> None:
        path = folder / "metadata.json"
        values = json.loads(path.read_text()) | change
        values.pop(drop, None)
        path.write_text(json.dumps(values))

    return alter


def _damage(name: str) -> Any:
    def alter(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        for i in range(60, 200):
            content[i] ^= 0xFF
        (folder / name).write_bytes(content)

    return alter


def _cut(name: str) -> Any:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:100])


def _save(name: str, **arrays: np.ndarray) -> Any:
    return lambda folder: np.savez(folder / name, **arrays)  # pyright: ignore[reportArgumentType]


def _npy(folder: Path) -> None:
    with (folder / "predictions.npz").open("wb") as file:
        np.save(file, np.zeros(3))


@pytest.mark.parametrize(
    ("spoil", "file", "remedy"),
    [
        (lambda f: (f / "metadata.json").unlink(), "metadata.json", "no finished result"),
        (lambda f: (f / "metadata.json").write_text("{"), "metadata.json", "run the fit again"),
        (lambda f: (f / "metadata.json").write_bytes(b"\xff"), "metadata.json", "run the fit again"),
        (lambda f: (f / "metadata.json").write_text("[]"), "metadata.json", "does not describe a result"),
        (_metadata({"format": "other"}), "metadata.json", "does not describe a result"),
        (_metadata({"format_version": 2}), "metadata.json", "update t1djax"),
        (_metadata({}, drop="estimates"), "metadata.json", "lacks estimates"),
        (lambda f: (f / "predictions.npz").unlink(), "predictions.npz", "run the fit again"),
        (lambda f: (f / "predictions.npz").write_bytes(b""), "predictions.npz", "run the fit again"),
        (lambda f: (f / "predictions.npz").write_text("text"), "predictions.npz", "run the fit again"),
        (_npy, "predictions.npz", "run the fit again"),
        (_cut("predictions.npz"), "predictions.npz", "run the fit again"),
        (_damage("predictions.npz"), "predictions.npz", "run the fit again"),
        (_save("predictions.npz", time_min=np.zeros(2)), "predictions.npz", "lacks glucose_mg_dL"),
        (_save("predictions.npz", time_min=np.array([{}])), "predictions.npz", "run the fit again"),
        (_cut("parameter_evolution_ksi.npz"), "parameter_evolution_ksi.npz", "run the fit again"),
        (_save("parameter_evolution_ksi.npz", step=np.zeros(2)), "parameter_evolution_ksi.npz", "lacks value"),
    ],
)
def test_a_damaged_result_is_named_with_its_remedy(tmp_path, spoil, file, remedy):
    folder = write(tmp_path)[0]
    spoil(folder)
    with pytest.raises(t1djax.io.ResultError) as caught:
        read_result(folder)
    assert str(caught.value).startswith(f"{folder / file}: ")
    assert remedy in str(caught.value)
