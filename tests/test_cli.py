"""The command line as people use it: the golden path, its files, and clear words and codes where it refuses."""

import contextlib
import dataclasses
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import t1djax
from t1djax import Outcome, experiment
from t1djax.cli._exit import EXIT_CODES
from t1djax.experiment import _problems

from .command import NOISY, TINY, TWO, call, done, refused

ODE = ("train", "--model", "ode", "--no-figures", "--json")
FITTED = ("time_min", "glucose_mg_dL", "insulin_U_dL", "digestion_mg_dL_min", "mask_fit", "mask_held_out")


@pytest.fixture
def no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that begins fails the test."""
    never: Callable[..., None] = lambda *_, **__: pytest.fail("the fit began")
    monkeypatch.setattr(_problems, "fit_ode", never)
    monkeypatch.setattr(_problems, "fit_members", never)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort folder of two patients with sensor noise."""
    folder = tmp_path_factory.mktemp("cohort") / "noisy"
    done("simulate", *NOISY, "--seed", "5", "--out", folder)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, noisy: Path) -> tuple[Path, Any]:
    """An inverse fit of that folder, and what it printed."""
    results = tmp_path_factory.mktemp("runs") / "of noisy ü"
    return results, done(*ODE, "--data", noisy, "--seed", "5", "--results", results).json


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a small network."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


def exact(path: Path) -> pd.DataFrame:
    """A table with every number to its last bit, whatever the version of pandas."""
    frame = pd.read_csv(path, dtype=str)
    for column in frame:
        with contextlib.suppress(ValueError):
            frame[column] = [float(x) for x in frame[column]]
    return frame


def edited(cohort: Path, to: Path, **change: Callable[[pd.DataFrame], object]) -> Path:
    """A copy of a cohort folder with some tables changed, by stem."""
    shutil.copytree(cohort, to)
    for stem, alter in change.items():
        frame = exact(to / f"{stem}.csv")
        alter(frame)
        frame.to_csv(to / f"{stem}.csv", index=False)
    return to


def results_of(said: Any) -> list[t1djax.records.Result]:
    return [t1djax.read_result(Path(folder)) for folder in said["folders"]]


def assert_same_fit(one: Any, other: Any) -> None:
    for a, b in zip(results_of(one), results_of(other), strict=True):
        for name in (*FITTED, "residual_G_mg_dL_min", "residual_I_U_dL_min", "residual_D_mg_dL_min2"):
            assert a.predictions[name].tobytes() == b.predictions[name].tobytes(), name
        told = [
            {s: (e["value"], e["initial"], e["standard_error"]) for s, e in r.metadata["estimates"].items()}
            for r in (a, b)
        ]
        assert told[0] == told[1]
        for symbol in a.evolution:
            assert a.evolution[symbol]["value"].tobytes() == b.evolution[symbol]["value"].tobytes()


# Help, version, usage


def test_help_states_the_exit_codes():
    text = " ".join(done("--help").out.split())
    assert "Example: t1djax " in text
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in text


def test_version():
    assert done("--version").out == f"t1djax {t1djax.__version__}\n"


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (["bogus"], "bogus"),
        (["--bogus"], "--bogus"),
        (["simulate"], "out"),
        (["simulate", "--out", "x", "--virtual", "0"], "--virtual"),
        (["simulate", "--out", "x", "--virtual", "1", "--days", "1000000"], "--days"),
        (["simulate", "--out", "x", "--seed", "-1"], "--seed"),
        (["simulate", "--out", "x", "--seed", "1.5"], "--seed"),
        (["train", "--interval-min", "often"], "--interval-min"),
        (["evaluate"], "results"),
    ],
)
def test_wrong_flags_are_refused_by_name(args, names):
    assert names.lower() in refused(2, *args).lower()


def test_an_interrupt_exits_130(monkeypatch):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("t1djax.cli._train.load_experiment", interrupted)
    assert call("train", "--data", "reference").code == 130


def test_no_memory_is_said_in_words(monkeypatch, tmp_path):
    def exhausted(*_: Any, **__: Any) -> None:
        raise MemoryError("21 TiB")

    monkeypatch.setattr("t1djax.cli._simulate.virtual_population", exhausted)
    assert "not enough memory (21 TiB)" in refused(1, "simulate", "--virtual", "9", "--out", tmp_path / "x")


def test_the_installed_script(tmp_path):
    script = Path(sys.executable).with_name("t1djax")
    ran = lambda *args: subprocess.run([script, *args], capture_output=True, text=True, check=False, cwd=tmp_path)
    wrong = ran("train", "--config", "nowhere.yaml")
    assert wrong.returncode == 3
    assert wrong.stderr == "error: nowhere.yaml: there is no such file; name a YAML file\n"


# simulate


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("patients", "names"),
    [
        ("Pat2-Pat4", ["Pat2", "Pat3", "Pat4"]),
        ("3,5", ["Pat3", "Pat5"]),
        (" Pat3 ,, Pat2,3", ["Pat3", "Pat2"]),
        ("all", [f"Pat{i}" for i in range(2, 12)]),
    ],
)
def test_simulate_patients_of_the_reference(tmp_path, patients, names):
    out = tmp_path / "sp ace" / "ünï"
    facts = done("simulate", "--patients", patients, "--interval-min", "60", "--out", out, "--json").json
    assert pd.read_csv(out / "patients.csv")["patient"].tolist() == names
    assert set(contents(out)) == {"patients.csv", "truth.csv", *(f"{name}.csv" for name in names)}
    assert facts["patients"] == len(names)
    assert facts["readings"] == 49 * len(names)
    assert facts["out"] == str(out)


@pytest.mark.parametrize(
    ("patients", "says"),
    [
        ("", "at least one"),
        (",", "at least one"),
        ("Pat99", "no patient Pat99"),
        ("12", "no patient Pat12"),
        ("Pat5-Pat3", "backwards"),
        ("Pat2-Pat4-Pat5", "no patient Pat4-Pat5"),
        ("٣", "no patient Pat٣"),
    ],
)
def test_simulate_refuses_unknown_patients(tmp_path, patients, says):
    assert says in refused(2, "simulate", "--patients", patients, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, noisy):
    done("simulate", *NOISY, "--seed", "5", "--out", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(noisy)
    done("simulate", *NOISY, "--seed", "6", "--out", tmp_path / "other")
    other = contents(tmp_path / "other")
    assert other["Pat2.csv"] != contents(noisy)["Pat2.csv"]
    assert other["truth.csv"] == contents(noisy)["truth.csv"]


@pytest.mark.slow
def test_virtual_patients_follow_the_seed(tmp_path):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        done("simulate", "--virtual", "5", "--days", "1", "--seed", seed, "--out", tmp_path / folder)
    a, b, c = (contents(tmp_path / folder) for folder in "abc")
    assert a == b
    assert len(a) == 7
    assert a["truth.csv"] != c["truth.csv"]
    table = pd.read_csv(tmp_path / "a" / next(iter(a)))
    readings = table["time_min"][table["glucose_mg_dL"].notna()]
    assert np.unique(np.diff(readings)) == [5.0]


def test_noise_interval_dropout_and_censoring_reach_the_table(tmp_path, noisy):
    table = pd.read_csv(noisy / "Pat2.csv")
    seen = table.dropna(subset="glucose_mg_dL")
    assert seen["time_min"].tolist() == list(range(0, 2881, 30))
    assert 7 < np.std(np.asarray(seen["glucose_mg_dL"]) - np.asarray(seen["true_glucose_mg_dL"])) < 13
    assert np.isnan(pd.read_csv(noisy / "patients.csv")["G0_mg_dL"].to_numpy()).all()  # nobody knows it under noise
    done("simulate", "--patients", "5", "--interval-min", "5", "--dropout", "0.3", "--censor", "--out", tmp_path / "x")
    table = pd.read_csv(tmp_path / "x" / "Pat5.csv")
    grid = table.query("time_min % 5 == 0")
    assert 0.25 < np.isnan(grid["glucose_mg_dL"].to_numpy()).mean() < 0.36
    assert np.min(table["true_glucose_mg_dL"].to_numpy()) < 40
    assert np.nanmin(table["glucose_mg_dL"].to_numpy()) == 40
    kept = grid.dropna(subset="glucose_mg_dL")
    np.testing.assert_array_equal(kept["glucose_mg_dL"], kept["true_glucose_mg_dL"].clip(40, 400))


def test_an_interval_that_does_not_divide_the_window_or_an_hour(tmp_path):
    for interval, count in ((7, 412), (0.5, 5761)):
        out = tmp_path / str(interval)
        said = done("simulate", "--patients", "2", "--interval-min", interval, "--out", out, "--json")
        assert said.json["readings"] == count


def test_simulate_refuses_a_folder_in_use_unless_overwriting(tmp_path):
    out = tmp_path / "x"
    done("simulate", *TWO, "--out", out)
    before = contents(out)
    assert "not empty" in refused(2, "simulate", *NOISY, "--out", out)
    assert contents(out) == before
    done("simulate", *NOISY, "--out", out, "--overwrite")
    assert contents(out)["Pat2.csv"] != before["Pat2.csv"]
    err = refused(2, "simulate", "--patients", "2", "--interval-min", "60", "--out", out, "--overwrite")
    assert "Pat3.csv" in err
    (tmp_path / "file").write_text("x")
    assert "is a file" in refused(2, "simulate", *TWO, "--out", tmp_path / "file")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--interval-min", "0"], "--interval-min: "),
        (["--interval-min", "-5"], "--interval-min: "),
        (["--interval-min", "nan"], "--interval-min: "),
        (["--interval-min", "1e-9"], "--interval-min: "),
        (["--interval-min", "1e9"], "--interval-min: "),
        (["--noise", "pink"], "--noise: "),
        (["--noise", "white", "--noise-sd", "-1"], "--noise-sd: "),
        (["--noise", "white", "--noise-sd", "inf"], "--noise-sd: "),
        (["--noise-sd", "10"], "--noise-sd goes with"),
        (["--dropout", "1"], "--dropout: "),
        (["--dropout", "nan"], "--dropout: "),
        (["--seed", str(2**32)], "seed"),  # JAX would take it for seed 0
        (["--seed", "9" * 30], "seed"),
    ],
)
@pytest.mark.parametrize("command", [("simulate", "--out"), ("train", "--model", "ode", "--results")])
def test_wrong_sensor_and_seed_are_refused(tmp_path, no_fit, command, flags, says):
    assert says in refused(2, *command, tmp_path / "x", "--patients", "2", *flags)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--virtual", "2", "--patients", "Pat2"], "does not go with --virtual"),
        (["--virtual", "2", "--interval-min", "0"], "--interval-min: "),
        (["--patients", "2", "--days", "3"], "--days goes with --virtual"),
    ],
)
def test_simulate_refuses_flags_that_contradict(tmp_path, flags, says):
    assert says in refused(2, "simulate", *flags, "--out", tmp_path / "x")


# train


def test_inverse_on_the_reference_finds_the_truth(tmp_path):
    said = done(*ODE, *TWO, "--inverse-params", " ksi, G0", "--results", tmp_path).json
    truth = {name: preset.parameters for name, preset in t1djax.presets().items()}
    for row in said["patients"]:
        assert row["ksi"] == pytest.approx(truth[row["patient"]]["ksi"], rel=1e-6)
        assert row["G0"] == pytest.approx(truth[row["patient"]]["G0"], rel=1e-6)
        assert row["ksi_error_percent"] < 1e-4
        assert row["rmse_forecast_mg_dL"] < 1e-4


def test_json_holds_what_it_documents(runs):
    results, said = runs
    assert set(said) == {
        "run",
        "model",
        "mode",
        "notes",
        "symbols",
        "assumed",
        "compile_seconds",
        "run_seconds",
        "patients",
        "spread",
        "folders",
    }
    assert said["spread"] == []  # of one seed there is none
    assert (said["model"], said["mode"], said["assumed"]) == ("ode", "inverse", {})
    assert [Path(folder).parent for folder in said["folders"]] == [results, results]
    assert [row["patient"] for row in said["patients"]] == ["Pat2", "Pat3"]
    for row, result in zip(said["patients"], results_of(said), strict=True):
        assert row["ok"] is True
        entry = result.metadata["estimates"]["ksi"]
        assert (row["ksi"], row["ksi_se"]) == (entry["value"], entry["standard_error"])  # not rounded on the way
        assert row["ksi_error_percent"] == entry["error_percent"]
        assert {k: row[k] for k in result.metadata["metrics"]} == result.metadata["metrics"]


def test_the_reference_and_its_folder_give_the_same_numbers(tmp_path, runs, noisy):
    _, folder = runs
    reference = done(*ODE, *NOISY, "--seed", "5", "--results", tmp_path / "r").json
    assert_same_fit(reference, folder)
    assert reference["patients"] == folder["patients"]
    forward = ("--mode", "forward", "--results", tmp_path / "f")
    with_g0 = edited(noisy, tmp_path / "g", patients=lambda t: t.__setitem__("G0_mg_dL", [220.0, 125.0]))
    done("simulate", *TWO, "--out", tmp_path / "clean")
    one = done(*ODE, "--data", tmp_path / "clean", *forward).json
    other = done(*ODE, *TWO, *forward).json
    assert_same_fit(one, other)
    third = done(*ODE, "--data", with_g0, *forward).json
    for a, b in zip(results_of(one), results_of(third), strict=True):  # all known: the readings change nothing
        np.testing.assert_array_equal(a.predictions["glucose_mg_dL"], b.predictions["glucose_mg_dL"])


def test_forward_mode_equals_the_exact_solution(tmp_path):
    said = done(*ODE, *TWO, "--mode", "forward", "--results", tmp_path).json
    assert [Path(folder).name.split("_")[:3] for folder in said["folders"]] == [
        ["ode", "forward", "Pat2"],
        ["ode", "forward", "Pat3"],
    ]
    cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"])
    for result in results_of(said):
        assert result.metadata["estimates"] == {}
        assert not result.evolution
        exact = cohort.truth[result.metadata["patient"]]
        np.testing.assert_allclose(result.predictions["glucose_mg_dL"], exact.glucose_mg_dL, atol=1e-8)
        np.testing.assert_allclose(result.predictions["insulin_U_dL"], exact.states["insulin_U_dL"], atol=1e-12)


def test_a_seed_sets_start_and_noise(tmp_path, runs):
    _, first = runs
    initial = lambda said: [r.metadata["estimates"]["ksi"]["initial"] for r in results_of(said)]
    again = done(*ODE, *NOISY, "--seed", "5", "--results", tmp_path).json
    other = done(*ODE, *NOISY, "--seed", "6", "--results", tmp_path).json
    assert initial(again) == initial(first)
    assert set(initial(other)).isdisjoint(initial(first))
    assert all(150 <= x <= 300 for x in initial(first) + initial(other))
    assert other["patients"][0]["ksi"] != first["patients"][0]["ksi"]


def test_names_in_folders_are_exact(tmp_path, noisy, no_fit):
    err = refused(3, *ODE, "--data", noisy, "--patients", "2", "--results", tmp_path)
    assert "there is no patient '2'" in err
    assert "Pat2, Pat3" in err
    assert "no patient 'Pat2-Pat3'" in refused(3, *ODE, "--data", noisy, "--patients", "Pat2-Pat3")
    assert "no patient 'pat2'" in refused(3, *ODE, "--data", noisy, "--patients", "pat2")


def test_patients_are_chosen_from_a_folder_in_the_order_given(tmp_path, noisy):
    said = done(*ODE, "--data", noisy, "--patients", "Pat3,Pat2", "--seed", "5", "--results", tmp_path).json
    assert [row["patient"] for row in said["patients"]] == ["Pat3", "Pat2"]


def test_a_config_file_and_flags_that_win_over_it(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "model: ode\npatients: Pat2,Pat3\nseed: 1\ninverse_params: ksi\n"
        "sensor: {interval_min: 30, noise: white, noise_sd_mg_dL: 2}\n"
        f"results: {tmp_path / 'unused'}\n"
    )
    said = done("train", "--config", path, "--seed", "2", "--results", tmp_path / "r", "--no-figures", "--json").json
    config = results_of(said)[0].metadata["config"]
    assert (config["seed"], config["model"], config["sensor"]["noise_sd_mg_dL"]) == (2, "ode", 2.0)
    assert not (tmp_path / "unused").exists()
    assert t1djax.Experiment.model_validate(config).model_dump(mode="json") == config  # it can be run again


@pytest.mark.parametrize("text", ["modle: ode", "network: {stages: [{steps: 2, optimizer: nope}]}"])
def test_a_wrong_config_is_refused_before_any_work(tmp_path, monkeypatch, text):
    monkeypatch.setattr("t1djax.experiment._prepared.load_cohort", lambda _: pytest.fail("data were read"))
    path = tmp_path / "run.yaml"
    path.write_text(text)
    err = refused(2, "train", "--config", path, "--results", tmp_path / "r")
    assert str(path) in err
    assert text.split(":")[0] in err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--inverse-params", "ksi,ku_Vi"], "only their product"),
        (["--inverse-params", "kl,kb"], "only their difference"),
        (["--inverse-params", "kl,M"], "only c = kl - kb"),
        (["--inverse-params", "foo"], "unknown parameter foo"),
        (["--inverse-params", ""], "at least one parameter"),
        (["--mode", "forward", "--inverse-params", "ksi"], "forward mode"),
        (["--mode", "sideways"], "mode: "),
        (["--model", "lstm"], "model: "),
        (["--data", ""], "data: "),
        (["--results", ""], "results: "),
        (["--patients", "Pat99"], "no patient Pat99"),
        (["--data", "somewhere"], "for the reference cohort"),
        (["--layout", "hupa", "--carbs-unit", "g"], "layout hupa"),
        (["--start", "2020-01-01"], "--layout auto or hupa"),
    ],
)
def test_a_question_that_cannot_be_posed_exits_2(tmp_path, no_fit, flags, says):
    assert says in refused(2, *ODE, *TWO, "--results", tmp_path / "r", *flags)


def test_a_missing_parameter_is_an_error_or_assumed(tmp_path, noisy, monkeypatch):
    lacking = edited(noisy, tmp_path / "lacking", patients=lambda t: t.__setitem__("Tu_min", [np.nan, 93.0]))
    with monkeypatch.context() as patch:
        patch.setattr(_problems, "fit_ode", lambda *_, **__: pytest.fail("the fit began"))
        err = refused(2, *ODE, "--data", lacking, "--results", tmp_path / "r")
        assert "Tu (for Pat2)" in err
        assert "--assume-population" in err
    said = done(*ODE, "--data", lacking, "--results", tmp_path / "r", "--assume-population").json
    typical = t1djax.PARAMETERS["Tu"].typical
    assert said["assumed"] == {"Tu": typical}
    assert any("Tu = " in note and "assumed for Pat2" in note for note in said["notes"])
    first, second = results_of(said)
    assert first.metadata["assumed"] == {"Tu": typical}
    assert first.metadata["known"]["Tu"] == typical
    assert second.metadata["known"]["Tu"] == 93.0


def test_what_is_known_by_flag_stands_in_place_of_the_tables(tmp_path, noisy):
    lacking = edited(noisy, tmp_path / "lacking", patients=lambda t: t.pop("M_kg") if "M_kg" in t else t.pop("kb"))
    first = done(
        *ODE, "--data", lacking, "--results", tmp_path / "r", "--known", "M=70,Tu=93", "--known", "kl=2.1"
    ).json
    metadata = [one.metadata for one in results_of(first)]
    assert all(m["config"]["known"] == {"M": 70.0, "Tu": 93.0, "kl": 2.1} for m in metadata)
    assert all(m["known"]["Tu"] == 93.0 and m["known"]["kb"] == pytest.approx(128 / 70) for m in metadata)
    # The result's own configuration runs again, and finds the same; a flag wins over it, symbol by symbol.
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(metadata[0]["config"]), encoding="utf-8")
    again = done(
        "train", "--config", path, "--results", tmp_path / "again", "--known", "Tu=94", "--no-figures", "--json"
    )
    assert results_of(again.json)[0].metadata["config"]["known"] == {"M": 70.0, "Tu": 94.0, "kl": 2.1}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--known", "M"], "--known M: write a symbol"),
        (["--known", "Q=1"], "--known: unknown parameter Q"),
        (["--known", "M=70,M=71"], "M stands twice"),
        (["--known", "M=nan"], "--known M: must be a finite number"),
        (["--known", "ksi=200"], "--known: ksi is to be estimated too"),
        (["--known", "M=70,kb=1.2"], "M = 70 kg and kb = 1.2 contradict"),
        (["--known", "Tu=1.5"], "Tu_min of Pat2, Tu_min of Pat3 = 1.5 min (people have 67 to 144)"),
        (["--known", "G0=7"], "G0_mg_dL of Pat2, G0_mg_dL of Pat3 = 7 mg/dL (people have 70 to 250)"),
        (["--known", "M=-5"], "kg (it is above 0)"),
        (["--data", "reference", "--known", "M=70"], "known: is for files, not for the reference"),
    ],
)
def test_what_cannot_be_known_is_refused(tmp_path, noisy, no_fit, flags, says):
    assert says in refused(2, *ODE, "--data", noisy, "--results", tmp_path / "r", *flags)


def test_ignored_values_are_said(runs):
    assert any("ksi" in note and "ignored" in note for note in runs[1]["notes"])


def test_data_errors_list_file_row_and_column(tmp_path, noisy, no_fit):
    def spoil(t: pd.DataFrame) -> None:
        t["glucose_mg_dL"] = t["glucose_mg_dL"].astype(object)
        t.loc[3, "glucose_mg_dL"] = "high"
        t.loc[7, "bolus_U"] = -1.0

    bad = edited(noisy, tmp_path / "bad", Pat2=spoil, Pat3=lambda t: t.pop("carbs_g"))
    err = refused(3, *ODE, "--data", bad, "--results", tmp_path / "r")
    assert "Pat2.csv, row 5, column glucose_mg_dL: 'high'" in err
    assert "Pat2.csv, row 9, column bolus_U" in err
    assert "Pat3.csv, column carbs_g" in err
    assert not (tmp_path / "r").exists()
    assert "no such folder" in refused(3, *ODE, "--data", tmp_path / "nowhere")


def test_low_readings_warn_and_are_refused_when_strict(tmp_path, noisy, monkeypatch):
    low = edited(noisy, tmp_path / "low", Pat2=lambda t: t.__setitem__("glucose_mg_dL", t["glucose_mg_dL"] - 60))
    assert "below 40 mg/dL" in refused(3, *ODE, "--data", low, "--strict", "--results", tmp_path / "r")
    said = done(*ODE, "--data", low, "--results", tmp_path / "r")
    assert "warning: " in said.err
    assert "Pat2.csv" in said.err
    assert "below 40 mg/dL" in said.err
    assert said.json["model"] == "ode"  # warnings keep out of the machine's way


def test_results_that_cannot_be_written_fail_before_the_fit(tmp_path, no_fit, monkeypatch):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        err = refused(1, *ODE, *TWO, "--results", path)
        assert "results cannot be written" in err
        assert str(path) in err

    def read_only(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(experiment._run.tempfile, "TemporaryFile", read_only)
    assert "Permission denied" in refused(1, *ODE, *TWO, "--results", tmp_path)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder in which nobody may write")
def test_a_read_only_results_folder_fails_before_the_fit(no_fit):
    assert "results cannot be written to /proc" in refused(1, *ODE, *TWO, "--results", "/proc")


def test_a_failed_patient_exits_4_and_leaves_the_others(tmp_path, noisy, monkeypatch):
    honest = _problems.fit_ode

    def one_fails(*args: Any, **kwargs: Any) -> t1djax.Fit:
        fit = honest(*args, **kwargs)
        nothing = np.full_like(fit["Pat3"].glucose_mg_dL, np.nan)
        failed = dataclasses.replace(fit["Pat3"], outcome=Outcome.not_finite, glucose_mg_dL=nothing)
        return dataclasses.replace(fit, patients=(fit["Pat2"], failed))

    monkeypatch.setattr(_problems, "fit_ode", one_fails)
    train = ("train", "--model", "ode", "--data", noisy, "--results", tmp_path)
    said = call(*train)
    assert said.code == 4
    assert f"warning: Pat3: {Outcome.not_finite.value}" in said.err
    said = call(*train, "--no-figures", "--json")
    assert said.code == 4
    assert [row["ok"] for row in said.json["patients"]] == [True, False]
    assert said.json["patients"][1]["rmse_fit_mg_dL"] is None
    assert [r.metadata["outcome"] for r in results_of(said.json)] == ["converged", "not_finite"]
    assert [r.metadata["message"] for r in results_of(said.json)] == ["", Outcome.not_finite.value]


def test_the_table_for_people(tmp_path, noisy):
    said = done("train", "--model", "ode", "--data", noisy, "--no-figures", "--results", tmp_path)
    assert "ode inverse: 2 patients, estimating ksi, G0" in said.err
    assert "note: G0 is not stated" in said.err
    for text in ("Pat2", "Pat3", "ksi", "mg/U/min", "error of ksi", "RMSE forecast", "2 folders in", " ± "):
        assert text in said.out
    assert "…" not in said.out


# The network, small


def test_pinn_end_to_end_and_blind_to_truth_and_forecast(tmp_path, tiny, noisy):
    train = ("train", "--config", tiny, "--seed", "5", "--no-figures", "--json")
    said = done(*train, "--data", noisy, "--results", tmp_path / "r").json
    assert said["model"] == "pinn"
    for result in results_of(said):
        assert result.folder.name.startswith(f"pinn_inverse_{result.metadata['patient']}_ksi_")
        assert result.evolution["ksi"]["step"].tolist() == [0, 2, 4, 6, 8, 10, 12]
        config = result.metadata["config"]
        assert config["network"]["width"] == 16
        assert t1djax.Experiment.model_validate(config).model_dump(mode="json") == config  # it can be run again
        assert np.all(np.isfinite(result.predictions["glucose_mg_dL"]))
        assert result.metadata["metrics"]["max_abs_residual_G_mg_dL_min"] > 0
    blind = perturbed(noisy, tmp_path / "perturbed")
    assert_same_fit(said, done(*train, "--data", blind, "--results", tmp_path / "p").json)
    loud = done("train", "--config", tiny, "--seed", "5", "--no-figures", "--data", noisy, "--results", tmp_path / "l")
    assert "stage 1, step: 12 of 12, misfit" in loud.err
    assert "ksi" in loud.err


# What a fit must not see


def perturbed(cohort: Path, to: Path) -> Path:
    """Every truth column and value changed, and every reading after the forecast start."""

    def alter(t: pd.DataFrame) -> None:
        seen = t.loc[t["glucose_mg_dL"].notna(), "time_min"]
        later = t["time_min"] > seen.iloc[0] + 0.9 * (seen.iloc[-1] - seen.iloc[0])
        assert 0 < later.sum() < len(t)
        t.loc[later, "glucose_mg_dL"] *= 1.7
        for column in ("true_glucose_mg_dL", "insulin_U_dL", "digestion_mg_dL_min"):
            t[column] = 3 * t[column] + 1

    def lie(t: pd.DataFrame) -> None:
        t[t.columns[1:]] *= 1.5
        t["kb"] = 128 / t["M_kg"]

    return edited(cohort, to, Pat2=alter, Pat3=alter, truth=lie)


def test_truth_and_later_readings_leave_the_fit_as_it_was(tmp_path, runs, noisy):
    _, honest = runs
    said = done(*ODE, "--data", perturbed(noisy, tmp_path / "p"), "--seed", "5", "--results", tmp_path / "r").json
    assert_same_fit(honest, said)
    for a, b in zip(honest["patients"], said["patients"], strict=True):
        assert a["rmse_fit_mg_dL"] == b["rmse_fit_mg_dL"]
        assert a["rmse_forecast_mg_dL"] != b["rmse_forecast_mg_dL"]
        assert a["rmse_true_fit_mg_dL"] != b["rmse_true_fit_mg_dL"]  # only the score knows
        assert a["ksi_error_percent"] != b["ksi_error_percent"]


def test_a_held_out_reading_leaves_the_fit_as_it_was(tmp_path, runs, noisy):
    _, honest = runs

    def alter(t: pd.DataFrame) -> None:
        seen = t.dropna(subset="glucose_mg_dL").index
        t.loc[seen[9], "glucose_mg_dL"] += 100

    changed = edited(noisy, tmp_path / "p", Pat2=alter)
    said = done(*ODE, "--data", changed, "--seed", "5", "--results", tmp_path / "r").json
    assert_same_fit(honest, said)
    assert said["patients"][0]["rmse_held_out_mg_dL"] > honest["patients"][0]["rmse_held_out_mg_dL"] + 10


def test_without_truth_the_fit_is_the_same_and_errors_are_null(tmp_path, runs, noisy):
    _, honest = runs
    drop = lambda t: [t.pop(column) for column in ("true_glucose_mg_dL", "insulin_U_dL", "digestion_mg_dL_min")]
    bare = edited(noisy, tmp_path / "bare", Pat2=drop, Pat3=drop)
    (bare / "truth.csv").unlink()
    said = done(*ODE, "--data", bare, "--seed", "5", "--results", tmp_path / "r").json
    assert_same_fit(honest, said)
    for row, result in zip(said["patients"], results_of(said), strict=True):
        assert row["ksi_error_percent"] is None
        assert result.metadata["estimates"]["ksi"]["truth"] is None
        assert "truth" not in result.evolution["ksi"]
        assert not any("true" in key for key in result.metadata["metrics"])


def test_a_truth_file_that_is_no_table_is_refused_rather_than_guessed(tmp_path, noisy, no_fit):
    bad = edited(noisy, tmp_path / "bad")
    (bad / "truth.csv").write_text("patient,ksi\nPat2,lots\n")
    err = refused(3, *ODE, "--data", bad, "--results", tmp_path / "r")
    assert "truth.csv, row 2, column ksi: 'lots'" in err


# evaluate and plot


def test_evaluate_collects_runs_into_a_csv(tmp_path, runs):
    results, said = runs
    forward = tmp_path / "forward"
    done(*ODE, *TWO, "--mode", "forward", "--results", forward)
    output = tmp_path / "new" / "metrics.csv"
    printed = done("evaluate", results, forward, results, "--output", output)
    assert str(output) in printed.out
    assert "warning" not in printed.err
    again = output.parent / "again"
    shutil.copytree(said["folders"][0], again)
    assert "Pat2" in done("evaluate", results, again).err  # of one question twice
    table = exact(output)
    assert table["mode"].tolist() == ["inverse", "inverse", "forward", "forward"]
    assert table["patient"].tolist() == ["Pat2", "Pat3"] * 2
    for i, row in enumerate(said["patients"]):
        for key in ("ksi", "ksi_se", "ksi_error_percent", "rmse_forecast_mg_dL", "rmse_true_fit_mg_dL"):
            assert table.loc[i, key] == row[key]
    assert table["ksi"].isna().tolist() == [False, False, True, True]
    assert {"p1", "c", "wall_seconds", "folder", "seed", "ok"} <= set(table.columns)
    rows = done("evaluate", said["folders"][1], "--json").json
    assert [row["patient"] for row in rows] == ["Pat3"]


def test_evaluate_and_plot_refuse_what_holds_no_result(tmp_path):
    for command in ("evaluate", "plot"):
        assert "holds no finished result" in refused(3, command, tmp_path)
        assert "no such results folder" in refused(3, command, tmp_path / "nowhere")
    (tmp_path / "a_run").mkdir()
    (tmp_path / "a_run" / "metadata.json").write_text("{")
    assert "metadata.json: is not valid JSON" in refused(3, "evaluate", tmp_path)


def test_evaluate_says_where_it_cannot_write(tmp_path, runs):
    (tmp_path / "file").write_text("x")
    refused(2, "evaluate", runs[0], "--output", tmp_path / "file" / "metrics.csv")
    refused(2, "evaluate", runs[0], "--output", tmp_path)


def test_plot_writes_figures(tmp_path, runs):
    results, said = runs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = [Path(path) for path in done("plot", said["folders"][0], "--out", tmp_path / "figures", "--json").json]
    assert [path.name for path in paths] == ["glucose.png", "states.png", "residuals.png", "parameters.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000 for path in paths)
    assert {path.parent for path in paths} == {tmp_path / "figures" / Path(said["folders"][0]).name}
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    assert "bear one name" in refused(2, "plot", results, copy, "--out", tmp_path / "both")
    printed = done("plot", copy / Path(said["folders"][0]).name).out.split("\n")
    assert Path(printed[0]).parent.parent == copy


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is written outside the folders that the tests name."""
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    yield
    assert not list(here.iterdir())
